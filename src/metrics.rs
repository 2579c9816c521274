//! Every metric of the process: name, help and labels in `catalog`, handles here.
//!
//! The truth of a counter is a [`Tally`], an atomic of ours that its owner adds to once per receive
//! batch or request. A scrape copies all tallies into the App's own recorder, downstream ones first,
//! so that `records decoded - delivered - dropped` is never negative in motion (promise 1). Nothing
//! registers a metric on the data path: handles are taken when a thread is built.

mod backends;
mod catalog;
mod config;
mod drops;
mod duplicates;
mod handles;
mod histogram;
mod ledger;
mod losses;
mod process;
mod reasons;
mod rejected;
mod secrets;
mod spooled;
mod state;
mod text;
mod web;

pub use backends::{BACKEND_STATES, BackendMetrics, BackendPicture, Backends};
pub use catalog::{CATALOG, Descriptor, EXPORTER_CATALOG, Kind, PREFIX};
pub use config::ConfigMetrics;
pub use drops::{DROP_REASONS, RecordDrop};
pub use duplicates::{BatchName, Duplicate, Duplicates, RECOVERED};
pub use handles::{
    BatcherMetrics, Books, Held, QueueMetrics, REQUEST_CODES, SinkMetrics, SocketMetrics, WorkerMetrics,
};
pub use histogram::WeightedHistogram;
pub use ledger::Ledger;
pub use losses::{LOSS_STAGES, Loss, Losses, LostRun, exporter_of_key};
pub use reasons::{FAULT_REASONS, HINT_REASONS, REFUSE_REASONS};
pub use rejected::RejectedFigures;
pub use secrets::SecretMetrics;
pub use spooled::SpoolLevels;
pub use state::StateMetrics;
pub use text::{ExporterFigures, exporters_text};
pub use web::WebMetrics;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Counter, Gauge, Histogram, Key, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

/// A counter's truth: monotonic, shared, cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tally(Arc<AtomicU64>);

impl Tally {
    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        if n != 0 {
            self.0.fetch_add(n, Ordering::AcqRel);
        }
    }

    /// Takes `n` away: only for levels (what is held now), never for counters.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::AcqRel);
    }

    /// The value of a level that several threads add to and take from: what one has taken before
    /// another's addition shows reads as 0, not as a wrapped number.
    #[inline]
    #[must_use]
    pub fn level(&self) -> u64 {
        self.value().cast_signed().max(0).cast_unsigned()
    }

    /// Overwrites the value: for levels with one writer.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Release);
    }

    /// The value now.
    #[inline]
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// A ratio or another real number that one thread writes and others read.
#[derive(Debug, Clone, Default)]
pub struct Level(Arc<AtomicU64>);

impl Level {
    /// Overwrites the value.
    #[inline]
    pub fn set(&self, v: f64) {
        self.0.store(v.to_bits(), Ordering::Release);
    }

    /// The value now.
    #[inline]
    #[must_use]
    pub fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Acquire))
    }
}

/// What the set of metrics depends on: every label value is known at start.
#[derive(Debug, Clone)]
pub struct Shape {
    /// `listener` label of each listener, in order.
    pub listeners: Vec<String>,
    /// Worker threads.
    pub workers: usize,
    /// Batcher threads.
    pub batchers: usize,
    /// `sink` label.
    pub sink: &'static str,
    /// Name of this instance, in build_info.
    pub instance: String,
}

/// Name and value of a label.
type Label = (&'static str, String);
/// A counter that is written beside the recorder's text: name, labels, value.
type Series = (&'static str, Vec<Label>, Tally);

enum Published {
    Count(Tally, Counter),
    TallyLevel(Tally, Gauge),
    Level(Level, Gauge),
}

/// One recorder per App, with all that is registered on it.
pub struct Metrics {
    handle: PrometheusHandle,
    /// For backends that are named after the start.
    recorder: PrometheusRecorder,
    // Downstream first: the order in which a scrape reads. Locked for a whole scrape: a second one
    // must not move a downstream counter between the first one's reading and its text.
    published: Mutex<Vec<Published>>,
    seconds: Vec<Series>,
    weighted: Vec<(&'static str, Vec<Label>, WeightedHistogram)>,
    /// Totals that the promises are stated in.
    pub books: Books,
    workers: Vec<WorkerMetrics>,
    batchers: Vec<BatcherMetrics>,
    queue: QueueMetrics,
    sink: SinkMetrics,
    web: WebMetrics,
    secrets: SecretMetrics,
    config: ConfigMetrics,
    state: StateMetrics,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("books", &self.books.ledger()).finish_non_exhaustive()
    }
}

/// Registers handles; lives only while [`Metrics::new`] runs.
pub(crate) struct Registrar<'a> {
    recorder: &'a PrometheusRecorder,
    published: Vec<(u8, Published)>,
    seconds: Vec<Series>,
    weighted: Vec<(&'static str, Vec<Label>, WeightedHistogram)>,
}

const METADATA: Metadata<'static> = Metadata::new("clarion", metrics::Level::INFO, None);

fn key(name: &'static str, labels: &[Label]) -> Key {
    let labels: Vec<_> = labels.iter().map(|(k, v)| metrics::Label::new(*k, v.clone())).collect();
    Key::from_parts(format!("{PREFIX}{name}"), labels)
}

impl Registrar<'_> {
    /// A counter of whole units.
    pub(crate) fn counter(&mut self, name: &'static str, labels: &[Label]) -> Tally {
        let tally = Tally::default();
        let handle = self.recorder.register_counter(&key(name, labels), &METADATA);
        self.published.push((catalog::read_order(name), Published::Count(tally.clone(), handle)));
        tally
    }

    /// A gauge that is kept as an integer level.
    pub(crate) fn level_u64(&mut self, name: &'static str, labels: &[Label]) -> Tally {
        let tally = Tally::default();
        let handle = self.recorder.register_gauge(&key(name, labels), &METADATA);
        self.published.push((catalog::read_order(name), Published::TallyLevel(tally.clone(), handle)));
        tally
    }

    /// A gauge of a real number.
    pub(crate) fn level(&mut self, name: &'static str, labels: &[Label]) -> Level {
        let level = Level::default();
        let handle = self.recorder.register_gauge(&key(name, labels), &METADATA);
        self.published.push((catalog::read_order(name), Published::Level(level.clone(), handle)));
        level
    }

    /// A counter of seconds whose tally counts nanoseconds. The recorder's counters are integers,
    /// so these are written beside its text.
    pub(crate) fn seconds(&mut self, name: &'static str, labels: &[Label]) -> Tally {
        let tally = Tally::default();
        self.seconds.push((name, labels.to_vec(), tally.clone()));
        tally
    }

    /// A histogram of the recorder.
    pub(crate) fn histogram(&mut self, name: &'static str) -> Histogram {
        self.recorder.register_histogram(&key(name, &[]), &METADATA)
    }

    /// A histogram that counts a batch's records in one step.
    pub(crate) fn weighted(
        &mut self,
        name: &'static str,
        labels: &[Label],
        bounds: &'static [f64],
    ) -> WeightedHistogram {
        let histogram = WeightedHistogram::new(bounds);
        self.weighted.push((name, labels.to_vec(), histogram.clone()));
        histogram
    }
}

impl Metrics {
    /// Registers everything that `shape` needs.
    ///
    /// # Panics
    /// If a histogram in the catalogue has no bucket: a mistake in this file.
    #[must_use]
    pub fn new(shape: &Shape) -> Arc<Self> {
        let mut builder = PrometheusBuilder::new();
        for descriptor in CATALOG {
            if let Kind::Histogram(bounds) = descriptor.kind {
                builder = builder
                    .set_buckets_for_metric(Matcher::Full(format!("{PREFIX}{}", descriptor.name)), bounds)
                    .expect("every histogram of the catalogue has buckets");
            }
        }
        let recorder = builder.build_recorder();
        for d in CATALOG {
            let name = metrics::KeyName::from(format!("{PREFIX}{}", d.name));
            match d.kind {
                Kind::Counter => recorder.describe_counter(name, None, d.help.into()),
                Kind::Gauge => recorder.describe_gauge(name, None, d.help.into()),
                Kind::Histogram(_) => recorder.describe_histogram(name, None, d.help.into()),
                Kind::SecondsCounter | Kind::WeightedHistogram(_) | Kind::Process => {}
            }
        }
        let mut registrar = Registrar { recorder: &recorder, published: vec![], seconds: vec![], weighted: vec![] };
        let books = Books::register(&mut registrar, shape);
        let workers = (0..shape.workers).map(|w| WorkerMetrics::register(&mut registrar, &books, shape, w)).collect();
        let batchers = (0..shape.batchers).map(|b| BatcherMetrics::register(&mut registrar, &books, b)).collect();
        let queue = QueueMetrics::register(&mut registrar, &books);
        let secrets = SecretMetrics::register(&mut registrar);
        let config = ConfigMetrics::register(&mut registrar);
        let sink = SinkMetrics::register(&mut registrar, &books, &secrets, shape);
        let web = WebMetrics::register(&mut registrar);
        let state = StateMetrics::register(&mut registrar);
        registrar
            .level(
                "build_info",
                &[("version", env!("CARGO_PKG_VERSION").to_owned()), ("instance", shape.instance.clone())],
            )
            .set(1.0);
        let Registrar { mut published, seconds, weighted, .. } = registrar;
        published.sort_by_key(|(order, _)| *order);
        Arc::new(Self {
            handle: recorder.handle(),
            recorder,
            published: Mutex::new(published.into_iter().map(|(_, published)| published).collect()),
            seconds,
            weighted,
            books,
            workers,
            batchers,
            queue,
            sink,
            web,
            secrets,
            config,
            state,
        })
    }

    /// Handles of worker `index`.
    #[must_use]
    pub fn worker(&self, index: usize) -> WorkerMetrics {
        self.workers[index].clone()
    }

    /// Handles of all workers, for the monitor.
    #[must_use]
    pub fn workers(&self) -> &[WorkerMetrics] {
        &self.workers
    }

    /// Handles of batcher `index`.
    #[must_use]
    pub fn batcher(&self, index: usize) -> BatcherMetrics {
        self.batchers[index].clone()
    }

    /// Handles of all batchers, for the monitor.
    #[must_use]
    pub fn batchers(&self) -> &[BatcherMetrics] {
        &self.batchers
    }

    /// Handles of the queue.
    #[must_use]
    pub fn queue(&self) -> QueueMetrics {
        self.queue.clone()
    }

    /// Handles of the sink.
    #[must_use]
    pub fn sink(&self) -> SinkMetrics {
        self.sink.clone()
    }

    /// Makes series for `count` backends; those that are there already stay.
    pub fn backends(&self, count: usize) {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        let mut registrar =
            Registrar { recorder: &self.recorder, published: vec![], seconds: vec![], weighted: vec![] };
        for index in self.sink.backends.all().len()..count {
            self.sink.backends.push(BackendMetrics::register(&mut registrar, &Backends::label(index)));
        }
        // They stand downstream of nothing that is held against them, so their order does not matter.
        published.extend(registrar.published.into_iter().map(|(_, published)| published));
    }

    /// Handles of the HTTP side.
    #[must_use]
    pub fn web(&self) -> WebMetrics {
        self.web.clone()
    }

    /// Handles of the configuration.
    #[must_use]
    pub fn config(&self) -> ConfigMetrics {
        self.config.clone()
    }

    /// Handles of secrets and certificates.
    #[must_use]
    pub fn secrets(&self) -> SecretMetrics {
        self.secrets.clone()
    }

    /// Handles of kept learned state.
    #[must_use]
    pub fn state(&self) -> StateMetrics {
        self.state.clone()
    }

    /// The Prometheus text format, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        self.books.refresh_pending();
        let published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        for published in published.iter() {
            #[expect(clippy::cast_precision_loss, reason = "gauges are f64 by format; levels stay far below 2^53")]
            match published {
                Published::Count(tally, handle) => handle.absolute(tally.value()),
                Published::TallyLevel(tally, handle) => handle.set(tally.level() as f64),
                Published::Level(level, handle) => handle.set(level.value()),
            }
        }
        let mut text = self.handle.render();
        drop(published);
        text::write_seconds(&mut text, &self.seconds);
        text::write_weighted(&mut text, &self.weighted);
        process::write_process(&mut text);
        text
    }

    /// Moves histogram samples into their buckets; called every few seconds by the monitor.
    pub fn run_upkeep(&self) {
        self.handle.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    pub(super) fn shape() -> Shape {
        Shape {
            listeners: vec!["2055".into(), "edge \"7\"\\\n".into()],
            workers: 2,
            batchers: 1,
            sink: "backend",
            instance: "test".into(),
        }
    }

    /// Name -> (type, help) of a text, with the order HELP, TYPE, series checked on the way.
    fn families(text: &str) -> BTreeMap<String, (String, String)> {
        let mut families = BTreeMap::new();
        let mut current = String::new();
        for line in text.lines().filter(|l| !l.is_empty()) {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                name.clone_into(&mut current);
                let entry = (String::new(), help.to_owned());
                assert!(families.insert(current.clone(), entry).is_none(), "{name} comes twice");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(name, current, "TYPE without HELP");
                let entry = families.get_mut(name).unwrap();
                assert!(entry.0.is_empty());
                kind.clone_into(&mut entry.0);
            } else {
                let name = line.split(['{', ' ']).next().unwrap();
                let base = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s)).unwrap_or(name);
                assert!(name == current || base == current, "{line:?} stands under {current}");
                assert!(!families[&current].0.is_empty(), "{line:?} stands before its TYPE");
            }
        }
        families
    }

    #[test]
    fn every_metric_shows_from_the_start_and_no_other() {
        let text = Metrics::new(&shape()).render();
        let families = families(&text);
        let expected: BTreeMap<_, _> = CATALOG
            .iter()
            .map(|d| (format!("{PREFIX}{}", d.name), (d.kind.text_type(d.name).to_owned(), d.help.to_owned())))
            .collect();
        assert_eq!(families, expected);
    }

    #[test]
    fn labels_are_those_of_the_catalogue() {
        let metrics = Metrics::new(&shape());
        let text = metrics.render();
        for d in CATALOG {
            let name = format!("{PREFIX}{}", d.name);
            let series: Vec<&str> = text
                .lines()
                .filter(|l| l.strip_prefix(&name).is_some_and(|rest| rest.starts_with(['{', ' '])))
                .collect();
            for line in series {
                for label in d.labels {
                    assert!(line.contains(&format!("{label}=\"")), "{line} lacks {label}");
                }
                assert_eq!(line.matches("=\"").count(), d.labels.len(), "{line} has other labels than {:?}", d.labels);
            }
        }
        assert!(text.contains(r#"listener="edge \"7\"\\\n""#) || text.contains(r#"listener="edge \"7\""#), "{text}");
        assert!(text.lines().all(|l| l.is_empty() || l.starts_with(['#', 'c'])), "a label broke out of its line");
    }

    #[test]
    fn catalogue_keeps_the_rules_for_names() {
        let mut names: Vec<_> = CATALOG.iter().chain(EXPORTER_CATALOG).map(|d| d.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "a name stands twice");
        for d in CATALOG.iter().chain(EXPORTER_CATALOG) {
            assert_eq!(d.kind.text_type(d.name) == "counter", d.name.ends_with("_total"), "{}", d.name);
            assert!(d.help.ends_with('.') && !d.help.contains('\n'), "{}: help is a sentence", d.name);
        }
    }

    #[test]
    fn what_threads_count_is_what_a_scrape_reads() {
        let metrics = Metrics::new(&shape());
        let worker = metrics.worker(1);
        worker.sockets[0].received.add(3);
        worker.books.decoded[crate::flow::Version::V9.index()].add(9);
        worker.busy_ns.add(1_500_000_000);
        metrics.sink().request("201");
        metrics.sink().request("418");
        metrics.batcher(0).batch_records.record(12.0);
        metrics.sink().lag.record(0.2, 12);
        metrics.books.sets_parked.sub(2);
        let text = metrics.render();
        for line in [
            "datagrams_received_total{listener=\"2055\",worker=\"1\"} 3",
            "records_decoded_total{version=\"v9\"} 9",
            "worker_busy_seconds_total{worker=\"1\"} 1.500000000",
            "delivery_requests_total{sink=\"backend\",code=\"201\"} 1",
            "delivery_requests_total{sink=\"backend\",code=\"other\"} 1",
            "batch_records_count 1",
            "batch_records_bucket{le=\"50\"} 1",
            "batch_records_bucket{le=\"10\"} 0",
            "delivery_lag_seconds_bucket{state=\"fresh\",le=\"0.25\"} 12",
            "delivery_lag_seconds_count{state=\"spooled\"} 0",
            "oldest_unacked_seconds{state=\"spooled\"} 0",
            "records_pending 9",
            "sets_parked 0",
        ] {
            assert!(text.lines().any(|l| l == format!("{PREFIX}{line}")), "no {line} in {text}");
        }
    }
}
