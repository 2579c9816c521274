//! The hand-written part of the text format: what the recorder cannot write or should not hold.
//!
//! Counters with a fraction, whose tallies are nanoseconds, and the second scrape, whose series come
//! and go with the exporters. In go figures and label values as they are, out comes version 0.0.4
//! with every label value escaped.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::catalog::{EXPORTER_CATALOG, PREFIX, descriptor};
use super::{Label, Series, WeightedHistogram};

/// A label value with backslash, quote and line feed escaped.
pub(super) fn escape(value: &str) -> Cow<'_, str> {
    if !value.contains(['\\', '"', '\n']) {
        return Cow::Borrowed(value);
    }
    let mut escaped = String::with_capacity(value.len() + 8);
    for c in value.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// HELP and TYPE of `name`, which the catalogue must know.
pub(super) fn head(text: &mut String, name: &str) {
    let (help, kind) = descriptor(name).map_or(("", "untyped"), |d| (d.help, d.kind.text_type(d.name)));
    let _ = writeln!(text, "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}");
}

/// Counters of seconds, whose tallies are nanoseconds. Series of one name stand together.
pub(super) fn write_seconds(text: &mut String, series: &[Series]) {
    let mut names: Vec<&str> = series.iter().map(|(name, ..)| *name).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        head(text, name);
        for (_, labels, tally) in series.iter().filter(|(n, ..)| *n == name) {
            let ns = tally.value();
            let (whole, part) = (ns / 1_000_000_000, ns % 1_000_000_000);
            let _ = writeln!(text, "{PREFIX}{name}{{{}}} {whole}.{part:09}", label_list(labels));
        }
        text.push('\n');
    }
}

/// Histograms that count a batch in one step. Series of one name stand together.
pub(super) fn write_weighted(text: &mut String, series: &[(&'static str, Vec<Label>, WeightedHistogram)]) {
    for group in series.chunk_by(|a, b| a.0 == b.0) {
        head(text, group[0].0);
        for (name, labels, histogram) in group {
            histogram.write(text, name, &label_list(labels));
        }
        text.push('\n');
    }
}

fn label_list(labels: &[Label]) -> String {
    let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escape(v))).collect();
    labels.join(",")
}

/// One exporter's figures for the second scrape.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExporterFigures {
    /// `exporter` label.
    pub exporter: String,
    /// Datagrams received.
    pub datagrams: u64,
    /// Octets received.
    pub octets: u64,
    /// Records decoded.
    pub records: u64,
    /// Datagrams rejected.
    pub rejected: u64,
    /// Units missing by sequence.
    pub missing_units: u64,
    /// Sets waiting for a template.
    pub parked_sets: u64,
    /// Records lost inside the collector.
    pub lost: u64,
    /// Faults.
    pub faults: u64,
    /// Domains.
    pub domains: u64,
    /// Unix seconds of the last datagram.
    pub last_seen_s: u64,
}

impl ExporterFigures {
    /// Adds the figures of another exporter that shares this one's label.
    pub fn merge(&mut self, other: &Self) {
        self.datagrams += other.datagrams;
        self.octets += other.octets;
        self.records += other.records;
        self.rejected += other.rejected;
        self.missing_units += other.missing_units;
        self.parked_sets += other.parked_sets;
        self.lost += other.lost;
        self.faults += other.faults;
        self.domains += other.domains;
        self.last_seen_s = self.last_seen_s.max(other.last_seen_s);
    }

    /// The values in the order of [`EXPORTER_CATALOG`].
    const fn values(&self) -> [u64; EXPORTER_CATALOG.len()] {
        [
            self.datagrams,
            self.octets,
            self.records,
            self.rejected,
            self.missing_units,
            self.parked_sets,
            self.lost,
            self.faults,
            self.domains,
            self.last_seen_s,
        ]
    }
}

/// The second scrape: one series an exporter and metric.
#[must_use]
pub fn exporters_text(exporters: &[ExporterFigures]) -> String {
    // Longest name, label and value take about 100 octets a line.
    let mut text = String::with_capacity(exporters.len() * EXPORTER_CATALOG.len() * 100 + 2_048);
    let values: Vec<_> = exporters.iter().map(|e| (escape(&e.exporter), e.values())).collect();
    for (i, d) in EXPORTER_CATALOG.iter().enumerate() {
        head(&mut text, d.name);
        for (exporter, values) in &values {
            let _ = writeln!(text, "{PREFIX}{}{{exporter=\"{exporter}\"}} {}", d.name, values[i]);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_cannot_break_out() {
        assert_eq!(escape("edge-1"), "edge-1");
        assert_eq!(escape("a\\\"b\nc"), "a\\\\\\\"b\\nc");
        let text = exporters_text(&[ExporterFigures { exporter: "x\"} 1\n".into(), records: 7, ..Default::default() }]);
        assert!(text.contains("clarion_collector_exporter_records_total{exporter=\"x\\\"} 1\\n\"} 7\n"), "{text}");
    }

    #[test]
    fn second_scrape_puts_each_figure_under_its_own_name() {
        let figures = ExporterFigures {
            exporter: "192.0.2.1".into(),
            datagrams: 1,
            octets: 2,
            records: 3,
            rejected: 4,
            missing_units: 5,
            parked_sets: 6,
            lost: 9,
            faults: 10,
            domains: 7,
            last_seen_s: 8,
        };
        let text = exporters_text(std::slice::from_ref(&figures));
        for (name, value) in [
            ("datagrams_total", 1),
            ("received_bytes_total", 2),
            ("records_total", 3),
            ("rejected_datagrams_total", 4),
            ("missing_units_total", 5),
            ("parked_sets", 6),
            ("lost_records_total", 9),
            ("faults", 10),
            ("domains", 7),
            ("last_seen_timestamp_seconds", 8),
        ] {
            let line = format!("\nclarion_collector_exporter_{name}{{exporter=\"192.0.2.1\"}} {value}\n");
            assert!(text.contains(&line), "no {line:?} in {text}");
        }
        let mut sum = figures.clone();
        sum.merge(&ExporterFigures { last_seen_s: 3, ..figures });
        assert_eq!((sum.records, sum.domains, sum.last_seen_s), (6, 14, 8));
    }
}
