//! Every metric of the process: name, help and labels in `catalog`, handles here.
//!
//! The truth of a counter is a [`Tally`], an atomic of ours that its owner adds to once per receive
//! batch or request. A scrape copies all tallies into the App's own recorder, downstream ones first,
//! so that `records decoded - delivered - dropped` is never negative in motion (promise 1). Nothing
//! registers a metric on the data path: handles are taken when a thread is built.

mod catalog;
mod handles;
mod histogram;
mod process;

pub use catalog::{CATALOG, Descriptor, Kind, PREFIX};
pub use handles::{
    BatcherMetrics, Books, DROP_REASONS, Held, Ledger, QueueMetrics, REFUSE_REASONS, REQUEST_CODES, RecordDrop,
    SinkMetrics, SocketMetrics, WorkerMetrics,
};
pub use histogram::WeightedHistogram;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Counter, Gauge, Histogram, Key, Label, Metadata, Recorder};
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

enum Published {
    Count(Tally, Counter),
    TallyLevel(Tally, Gauge),
    Level(Level, Gauge),
}

/// One recorder per App, with all that is registered on it.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    // Downstream first: the order in which a scrape reads.
    published: Mutex<Vec<(u8, Published)>>,
    seconds: Mutex<Vec<(&'static str, Vec<(&'static str, String)>, Tally)>>,
    weighted: Mutex<Vec<(&'static str, WeightedHistogram)>>,
    /// Totals that the promises are stated in.
    pub books: Books,
    workers: Vec<WorkerMetrics>,
    batchers: Vec<BatcherMetrics>,
    queue: QueueMetrics,
    sink: SinkMetrics,
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
    seconds: Vec<(&'static str, Vec<(&'static str, String)>, Tally)>,
    weighted: Vec<(&'static str, WeightedHistogram)>,
}

const METADATA: Metadata<'static> = Metadata::new("clarion", metrics::Level::INFO, None);

fn key(name: &'static str, labels: &[(&'static str, String)]) -> Key {
    let labels: Vec<Label> = labels.iter().map(|(k, v)| Label::new(*k, v.clone())).collect();
    Key::from_parts(format!("{PREFIX}{name}"), labels)
}

impl Registrar<'_> {
    /// A counter of whole units.
    pub(crate) fn counter(&mut self, name: &'static str, labels: &[(&'static str, String)]) -> Tally {
        let tally = Tally::default();
        let handle = self.recorder.register_counter(&key(name, labels), &METADATA);
        self.published.push((catalog::read_order(name), Published::Count(tally.clone(), handle)));
        tally
    }

    /// A gauge that is kept as an integer level.
    pub(crate) fn level_u64(&mut self, name: &'static str, labels: &[(&'static str, String)]) -> Tally {
        let tally = Tally::default();
        let handle = self.recorder.register_gauge(&key(name, labels), &METADATA);
        self.published.push((catalog::read_order(name), Published::TallyLevel(tally.clone(), handle)));
        tally
    }

    /// A gauge of a real number.
    pub(crate) fn level(&mut self, name: &'static str, labels: &[(&'static str, String)]) -> Level {
        let level = Level::default();
        let handle = self.recorder.register_gauge(&key(name, labels), &METADATA);
        self.published.push((catalog::read_order(name), Published::Level(level.clone(), handle)));
        level
    }

    /// A counter of seconds whose tally counts nanoseconds. The recorder's counters are integers,
    /// so these are written beside its text.
    pub(crate) fn seconds(&mut self, name: &'static str, labels: &[(&'static str, String)]) -> Tally {
        let tally = Tally::default();
        self.seconds.push((name, labels.to_vec(), tally.clone()));
        tally
    }

    /// A histogram of the recorder.
    pub(crate) fn histogram(&mut self, name: &'static str) -> Histogram {
        self.recorder.register_histogram(&key(name, &[]), &METADATA)
    }

    /// A histogram that counts a batch's records in one step.
    pub(crate) fn weighted(&mut self, name: &'static str, bounds: &'static [f64]) -> WeightedHistogram {
        let histogram = WeightedHistogram::new(bounds);
        self.weighted.push((name, histogram.clone()));
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
        let sink = SinkMetrics::register(&mut registrar, &books, shape);
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
            published: Mutex::new(published),
            seconds: Mutex::new(seconds),
            weighted: Mutex::new(weighted),
            books,
            workers,
            batchers,
            queue,
            sink,
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

    /// The Prometheus text format, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        self.books.refresh();
        for (_, published) in self.published.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            #[expect(clippy::cast_precision_loss, reason = "gauges are f64 by format; levels stay far below 2^53")]
            match published {
                Published::Count(tally, handle) => handle.absolute(tally.value()),
                Published::TallyLevel(tally, handle) => handle.set(tally.level() as f64),
                Published::Level(level, handle) => handle.set(level.value()),
            }
        }
        let mut text = self.handle.render();
        process::write_seconds(&mut text, &self.seconds.lock().unwrap_or_else(PoisonError::into_inner));
        for (name, histogram) in self.weighted.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            histogram.write(&mut text, name);
        }
        process::write_process(&mut text);
        text
    }

    /// Moves histogram samples into their buckets; called every few seconds by the monitor.
    pub fn run_upkeep(&self) {
        let _ = &self.recorder;
        self.handle.run_upkeep();
    }
}
