//! What the demo prints: a block that redraws itself on a terminal, else one line a second.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Duration;

use super::{DemoOptions, DemoReport, Sample};
use crate::tools::say::print;

/// Where the figures go.
pub(super) struct View {
    terminal: bool,
    rate: u64,
    /// Lines of the block on the terminal, to be drawn over.
    drawn: usize,
    last: Option<Sample>,
}

/// Figures of the time between two looks, a second each.
struct Rates {
    sent: u64,
    decoded: u64,
    delivered: u64,
    datagrams: u64,
}

impl View {
    pub(super) fn new(options: &DemoOptions) -> Self {
        Self { terminal: std::io::stdout().is_terminal(), rate: options.rate, drawn: 0, last: None }
    }

    /// Shows how things stand. False if nobody looks any more.
    ///
    /// # Errors
    /// Standard output cannot be written to.
    pub(super) fn sample(&mut self, sample: &Sample) -> anyhow::Result<bool> {
        let text = if self.last.is_none() {
            let head = format!(
                "collector, backend and exporters run; status and metrics: http://{0}/ and http://{0}/metrics\n\
                 Ctrl-C ends the demo.\n",
                sample.http
            );
            self.last = Some(sample.clone());
            head
        } else if self.terminal {
            let block = self.block(sample);
            let over = std::mem::replace(&mut self.drawn, block.lines().count());
            let up = if over > 0 { format!("\x1b[{over}A\x1b[J") } else { String::new() };
            format!("{up}{block}")
        } else {
            self.line(sample)
        };
        self.last = Some(sample.clone());
        print(text.as_bytes())
    }

    fn rates(&self, sample: &Sample) -> Rates {
        let Some(last) = &self.last else { return Rates { sent: 0, decoded: 0, delivered: 0, datagrams: 0 } };
        let elapsed = sample.elapsed.saturating_sub(last.elapsed);
        let rate = |now: u64, before: u64| per_second(now.saturating_sub(before), elapsed);
        Rates {
            sent: rate(sample.sent.1, last.sent.1),
            decoded: rate(sample.ledger.decoded, last.ledger.decoded),
            delivered: rate(sample.ledger.delivered, last.ledger.delivered),
            datagrams: rate(sample.ledger.datagrams_received, last.ledger.datagrams_received),
        }
    }

    fn block(&self, sample: &Sample) -> String {
        let (rates, l) = (self.rates(sample), &sample.ledger);
        let mut text = String::new();
        let _ = writeln!(text, "\n  time       {} s", sample.elapsed.as_secs());
        let _ = writeln!(text, "  exporters  {} known", sample.exporters);
        let _ = writeln!(text, "  sent       {:>12} records {:>9}/s of {}/s", sample.sent.1, rates.sent, self.rate);
        let _ = writeln!(text, "  received   {:>12} datagrams {:>7}/s", l.datagrams_received, rates.datagrams);
        let _ = writeln!(text, "  decoded    {:>12} records {:>9}/s", l.decoded, rates.decoded);
        let _ = writeln!(text, "  delivered  {:>12} records {:>9}/s", l.delivered, rates.delivered);
        let _ = writeln!(text, "  pending    {:>12} records", l.pending());
        let _ = writeln!(text, "  lost       {:>12} records, {} datagrams by the kernel", l.dropped, l.kernel_dropped);
        let _ = writeln!(text, "  lag        {} (half), {} (99 of 100)", lag(sample.lag.0), lag(sample.lag.1));
        text
    }

    fn line(&self, sample: &Sample) -> String {
        let (rates, l) = (self.rates(sample), &sample.ledger);
        format!(
            "{:>4} s: {} exporters, sent {}/s, decoded {}/s, delivered {}/s; {} delivered, {} pending, {} lost, \
             {} datagrams dropped by the kernel; lag {} half, {} 99%\n",
            sample.elapsed.as_secs(),
            sample.exporters,
            rates.sent,
            rates.decoded,
            rates.delivered,
            l.delivered,
            l.pending(),
            l.dropped,
            l.kernel_dropped,
            lag(sample.lag.0),
            lag(sample.lag.1),
        )
    }

    /// The end.
    ///
    /// # Errors
    /// Standard output cannot be written to.
    pub(super) fn summary(&self, report: &DemoReport) -> anyhow::Result<bool> {
        print(summary(report).as_bytes())
    }
}

/// The end as text: who sent what, what became of it, and whether it balances.
fn summary(report: &DemoReport) -> String {
    let l = &report.ledger;
    let mut text = String::from("\nsummary\n");
    for (version, sent) in report.sent.iter().flat_map(|r| &r.versions) {
        let who = format!("sent by {} x {version}", sent.exporters);
        let _ = writeln!(text, "  {who:<28} {:>10} datagrams {:>12} records", sent.datagrams, sent.records);
    }
    let (datagrams, records) = report.sent.iter().fold((0, 0), |(d, r), s| (d + s.datagrams, r + s.records));
    let rows = [
        ("sent", Some(datagrams), Some(records), String::new()),
        (
            "received",
            Some(l.datagrams_received),
            None,
            format!("and {} datagrams dropped by the kernel", l.kernel_dropped),
        ),
        ("decoded", None, Some(l.decoded), String::new()),
        ("delivered", None, Some(l.delivered), format!("and {} records dropped by the collector", l.dropped)),
        ("at the backend", None, Some(report.backend.records), String::new()),
    ];
    for (what, datagrams, records, more) in rows {
        let cell = |n: Option<u64>, unit: &str| n.map_or(String::new(), |n| format!("{n} {unit}"));
        let row = format!("  {what:<28} {:>20} {:>20} {more}", cell(datagrams, "datagrams"), cell(records, "records"));
        let _ = writeln!(text, "{}", row.trim_end());
    }
    if !report.faults.is_empty() {
        text.push_str("this does not balance:\n");
        for fault in &report.faults {
            let _ = writeln!(text, "  {fault}");
        }
    } else if l.kernel_dropped + l.dropped > 0 {
        text.push_str("everything balances: what is missing was counted where it was lost\n");
    } else {
        text.push_str("everything balances: no record is missing and none came twice\n");
    }
    text
}

fn per_second(count: u64, elapsed: Duration) -> u64 {
    let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1_000) / ms
}

/// A quantile of a histogram is the upper bound of its bucket.
fn lag(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(s) if s < 1.0 => format!("<= {:.0} ms", s * 1e3),
        Some(s) => format!("<= {s} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_lags() {
        assert_eq!(per_second(500, Duration::from_millis(250)), 2_000);
        assert_eq!(per_second(5, Duration::ZERO), 5_000);
        assert_eq!(lag(None), "-");
        assert_eq!(lag(Some(0.25)), "<= 250 ms");
        assert_eq!(lag(Some(2.5)), "<= 2.5 s");
    }
}
