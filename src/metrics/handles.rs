//! Handle structs: what each thread adds to, and the books that the promises are stated in.

use std::sync::{Arc, Mutex};

use metrics::Histogram;

use super::backends::{BackendMetrics, Backends};
use super::duplicates::Duplicates;
use super::losses::{Losses, LostRun};
use super::reasons::{FAULT_REASONS, REFUSE_REASONS};
use super::rejected::RejectedFigures;
use super::spooled::SpoolLevels;
use super::{DROP_REASONS, Ledger, Level, RecordDrop, Registrar, SecretMetrics, Shape, Tally, WeightedHistogram};
use crate::decode::{DecodeErrorKind, SetDropKind, TemplateEventKind};
use crate::flow::Version;

/// Codes of `delivery_requests_total`: what is not in here counts as `other`.
pub const REQUEST_CODES: [&str; 34] = [
    "200", "201", "202", "204", "301", "302", "303", "307", "308", "400", "401", "403", "404", "405", "407", "408",
    "413", "415", "421", "422", "425", "429", "500", "501", "502", "503", "504", "other", "connect", "timeout",
    "reset", "protocol", "tls", "proxy",
];

pub(super) fn label(name: &'static str, value: impl ToString) -> (&'static str, String) {
    (name, value.to_string())
}

/// Tallies of the equations (plan section 5, promise 1).
#[derive(Debug, Clone)]
pub struct Books {
    /// Datagrams: refused by reason, in the order of `REFUSE_REASONS`.
    pub refused: Vec<Tally>,
    /// Datagrams: rejected by reason, in the order of `DecodeErrorKind::ALL`.
    pub rejected: Vec<Tally>,
    /// The ring that keeps some of these, and of those that were used in part.
    pub ring: RejectedFigures,
    /// Datagrams processed.
    pub processed: Tally,
    /// Datagrams with trailing octets.
    pub trailing: Tally,
    /// Sets seen.
    pub sets_seen: Tally,
    /// Sets decoded.
    pub sets_decoded: Tally,
    /// Sets of options data.
    pub sets_options: Tally,
    /// Sets of templates.
    pub sets_templates: Tally,
    /// Sets parked now (a level).
    pub sets_parked: Tally,
    /// Octets parked now (a level).
    pub parked_bytes: Tally,
    /// Sets parked on disk now, or back from it and not decoded yet (a level).
    pub sets_parked_disk: Tally,
    /// Octets of the files with them (a level).
    pub parked_disk_bytes: Tally,
    /// Sets dropped by reason, in the order of `SetDropKind::ALL`.
    pub sets_dropped: Vec<Tally>,
    /// Templates learned.
    pub templates_learned: Tally,
    /// Template records refused.
    pub templates_rejected: Tally,
    /// Events of templates, in the order of `TemplateEventKind::ALL`.
    pub template_events: Vec<Tally>,
    /// Sets whose rest is no padding as it should be.
    pub sets_odd_padding: Tally,
    /// Withdrawals over UDP, which change nothing.
    pub withdrawals_ignored: Tally,
    /// Datagrams that came twice, octet by octet as far as one can tell.
    pub datagrams_duplicated: Tally,
    /// Options data records.
    pub options_records: Tally,
    /// Data records that are no flows.
    pub non_flow_records: Tally,
    /// Lists, or records of them, that were not looked into.
    pub lists_unread: Tally,
    /// Rows of mediators whose own exporter there was no room for.
    pub originals_refused: Tally,
    /// Elements that type records name and that were not learned.
    pub elements_refused: Tally,
    /// Rows that name common properties nobody has told yet.
    pub common_properties_unknown: Tally,
    /// Units missing by sequence, by version.
    pub missing: Vec<Tally>,
    /// Records decoded, by version.
    pub decoded: Vec<Tally>,
    /// Records with unknown sampling.
    pub sampling_unknown: Tally,
    /// Exporters: active (a level).
    pub exporters_active: Tally,
    /// Exporters: nothing decoded yet (a level).
    pub exporters_unknown: Tally,
    /// Exporters: silent for longer than the idle time (a level).
    pub exporters_idle: Tally,
    /// Exporters with a fault now, in the order of `FAULT_REASONS` (levels).
    pub exporters_with_fault: Vec<Tally>,
    /// Datagrams whose source is a default gateway of this host.
    pub gateway_datagrams: Tally,
    /// Exporters or domains evicted.
    pub evictions: Tally,
    /// Records dropped, in the order of `DROP_REASONS`.
    pub dropped: Vec<Tally>,
    /// Whose records were dropped.
    pub losses: Losses,
    /// Records delivered.
    pub delivered: Tally,
    /// Records taken over from an earlier spool.
    pub recovered: Tally,
    /// Records possibly written twice.
    pub duplicated: Tally,
    /// The batches that they are in.
    pub duplicates: Duplicates,
    /// Records pending (a level, derived).
    pub pending: Tally,
    /// Records held by stage now (levels): in workers, in the queue, in batchers, in delivery.
    pub held: Held,
    /// What the spool holds.
    pub spool: SpoolLevels,
    /// Imbalance at the last time the books stood still.
    pub imbalance: Level,
    /// Records with a clamped counter.
    pub clamped: Tally,
    /// All datagrams received (sum over sockets).
    pub(super) received: Vec<Tally>,
    pub(crate) received_octets: Vec<Tally>,
    pub(crate) kernel_dropped: Vec<Tally>,
    /// The number to scale on.
    pub saturation: Level,
    /// Age of the oldest record in memory that is not acknowledged, seconds.
    pub oldest_fresh: Level,
    /// The same in the spool.
    pub oldest_spooled: Level,
    /// Threads that stand still now.
    pub threads_stale: Level,
    /// Result of the last configuration load.
    pub config_ok: Level,
    /// What the process may hold, octets (a level, set once at start).
    pub memory_limit: Tally,
    /// What the last refresh read: only what stands still is judged.
    pub(super) last_reading: Arc<Mutex<Option<Ledger>>>,
}

/// Records that each stage holds now.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// In the workers' open batches: one tally a worker.
    pub workers: Vec<Tally>,
    /// In the queue.
    pub queue: Tally,
    /// In the batchers' open bodies: one tally a batcher.
    pub batchers: Vec<Tally>,
    /// In delivery.
    pub sink: Tally,
}

impl Held {
    /// Sum over all stages.
    #[must_use]
    pub fn total(&self) -> u64 {
        let sum = |tallies: &[Tally]| tallies.iter().map(Tally::value).sum::<u64>();
        sum(&self.workers) + self.queue.level() + sum(&self.batchers) + self.sink.level()
    }
}

impl Books {
    pub(super) fn register(r: &mut Registrar<'_>, shape: &Shape) -> Self {
        Self {
            refused: REFUSE_REASONS.map(|x| r.counter("datagrams_refused_total", &[label("reason", x)])).into(),
            rejected: DecodeErrorKind::ALL
                .map(|k| r.counter("datagrams_rejected_total", &[label("reason", k.label())]))
                .into(),
            ring: RejectedFigures::register(r),
            processed: r.counter("datagrams_processed_total", &[]),
            trailing: r.counter("datagrams_trailing_octets_total", &[]),
            sets_seen: r.counter("sets_seen_total", &[]),
            sets_decoded: r.counter("sets_decoded_total", &[]),
            sets_options: r.counter("sets_options_total", &[]),
            sets_templates: r.counter("sets_templates_total", &[]),
            sets_parked: r.level_u64("sets_parked", &[]),
            parked_bytes: r.level_u64("parked_bytes", &[]),
            sets_parked_disk: r.level_u64("sets_parked_disk", &[]),
            parked_disk_bytes: r.level_u64("parked_disk_bytes", &[]),
            sets_dropped: SetDropKind::ALL
                .map(|k| r.counter("sets_undecodable_total", &[label("reason", k.label())]))
                .into(),
            templates_learned: r.counter("templates_learned_total", &[]),
            templates_rejected: r.counter("templates_rejected_total", &[]),
            template_events: TemplateEventKind::ALL
                .map(|k| r.counter("template_events_total", &[label("state", k.label())]))
                .into(),
            sets_odd_padding: r.counter("sets_odd_padding_total", &[]),
            withdrawals_ignored: r.counter("template_withdrawals_ignored_total", &[]),
            datagrams_duplicated: r.counter("datagrams_duplicated_total", &[]),
            options_records: r.counter("options_records_total", &[]),
            non_flow_records: r.counter("non_flow_records_total", &[]),
            lists_unread: r.counter("lists_unread_total", &[]),
            originals_refused: r.counter("records_original_refused_total", &[]),
            elements_refused: r.counter("elements_refused_total", &[]),
            common_properties_unknown: r.counter("common_properties_unknown_total", &[]),
            missing: Version::ALL
                .map(|v| r.counter("sequence_missing_units_total", &[label("version", v.label())]))
                .into(),
            decoded: Version::ALL.map(|v| r.counter("records_decoded_total", &[label("version", v.label())])).into(),
            sampling_unknown: r.counter("records_sampling_unknown_total", &[]),
            exporters_active: r.level_u64("exporters", &[label("state", "active")]),
            exporters_unknown: r.level_u64("exporters", &[label("state", "unknown")]),
            exporters_idle: r.level_u64("exporters", &[label("state", "idle")]),
            exporters_with_fault: FAULT_REASONS
                .map(|x| r.level_u64("exporters_with_fault", &[label("reason", x)]))
                .into(),
            gateway_datagrams: r.counter("gateway_source_datagrams_total", &[]),
            evictions: r.counter("exporter_table_evictions_total", &[]),
            dropped: DROP_REASONS
                .map(|(stage, reason)| {
                    r.counter("records_dropped_total", &[label("stage", stage), label("reason", reason)])
                })
                .into(),
            losses: Losses::default(),
            delivered: r.counter("records_delivered_total", &[label("sink", shape.sink)]),
            recovered: r.counter("records_recovered_total", &[]),
            duplicated: r.counter("records_possibly_duplicated_total", &[]),
            duplicates: Duplicates::default(),
            pending: r.level_u64("records_pending", &[]),
            held: Held {
                workers: (0..shape.workers).map(|_| Tally::default()).collect(),
                queue: Tally::default(),
                batchers: (0..shape.batchers).map(|_| Tally::default()).collect(),
                sink: Tally::default(),
            },
            spool: SpoolLevels::register(r),
            imbalance: r.level("ledger_imbalance_records", &[]),
            clamped: r.counter("records_clamped_total", &[]),
            received: per_socket(r, "datagrams_received_total", shape),
            received_octets: per_socket(r, "received_bytes_total", shape),
            kernel_dropped: per_socket(r, "kernel_dropped_datagrams_total", shape),
            saturation: r.level("saturation_ratio", &[]),
            oldest_fresh: r.level("oldest_unacked_seconds", &[label("state", "fresh")]),
            oldest_spooled: r.level("oldest_unacked_seconds", &[label("state", "spooled")]),
            threads_stale: r.level("threads_stale", &[]),
            config_ok: {
                let level = r.level("config_last_reload_successful", &[]);
                level.set(1.0);
                level
            },
            memory_limit: r.level_u64("memory_limit_bytes", &[]),
            last_reading: Arc::default(),
        }
    }

    /// The tallies of what the spool drops, in the order of its own reasons.
    #[must_use]
    pub fn spool_drops(&self) -> [Tally; 5] {
        std::array::from_fn(|index| self.dropped[RecordDrop::SpoolOldest as usize + index].clone())
    }

    /// Counts `records` as lost at `drop`.
    pub fn drop_records(&self, drop: RecordDrop, records: u64) {
        self.dropped[drop as usize].add(records);
    }

    /// The same of records whose exporters are known, who are counted as well.
    pub fn drop_runs<'a>(&self, drop: RecordDrop, records: u64, runs: impl IntoIterator<Item = LostRun<'a>>) {
        // In this order: what exporters have lost never passes what was lost in all.
        self.drop_records(drop, records);
        self.losses.add(drop, runs);
    }

    /// Age of the oldest record that is not acknowledged, in memory or in the spool, seconds; 0 if there is none.
    #[must_use]
    pub fn oldest_unacked(&self) -> f64 {
        self.oldest_fresh.value().max(self.oldest_spooled.value())
    }
}

fn per_socket(r: &mut Registrar<'_>, name: &'static str, shape: &Shape) -> Vec<Tally> {
    let mut tallies = Vec::new();
    for worker in 0..shape.workers {
        for listener in &shape.listeners {
            tallies.push(r.counter(name, &[label("listener", listener), label("worker", worker)]));
        }
    }
    tallies
}

fn lag(r: &mut Registrar<'_>, state: &str) -> WeightedHistogram {
    r.weighted("delivery_lag_seconds", &[label("state", state)], super::histogram::SECONDS_BOUNDS)
}

/// One socket of one worker.
#[derive(Debug, Clone)]
pub struct SocketMetrics {
    /// Datagrams read.
    pub received: Tally,
    /// Octets read.
    pub octets: Tally,
    /// Datagrams that the kernel dropped.
    pub kernel_dropped: Tally,
    /// Fill after a batch that ended in EAGAIN, 0 to 1.
    pub fill: Level,
    /// Receive buffer granted, octets.
    pub buffer: Tally,
}

/// A worker's handles.
#[derive(Debug, Clone)]
pub struct WorkerMetrics {
    /// One per listener, in order.
    pub sockets: Vec<SocketMetrics>,
    /// Totals of the equations.
    pub books: Books,
    /// Records in this worker's open batch (a level).
    pub held: Tally,
    /// Receive time of the oldest record held here, Unix nanoseconds; 0 if there is none.
    pub oldest_receive_ns: Tally,
    /// Nanoseconds of work.
    pub busy_ns: Tally,
    /// Clock::monotonic_ns of the last turn of the loop, for liveness.
    pub heartbeat_ns: Tally,
}

impl WorkerMetrics {
    pub(super) fn register(r: &mut Registrar<'_>, books: &Books, shape: &Shape, worker: usize) -> Self {
        let sockets = (0..shape.listeners.len()).map(|l| {
            let at = worker * shape.listeners.len() + l;
            let labels = [label("listener", &shape.listeners[l]), label("worker", worker)];
            SocketMetrics {
                received: books.received[at].clone(),
                octets: books.received_octets[at].clone(),
                kernel_dropped: books.kernel_dropped[at].clone(),
                fill: r.level("socket_fill_ratio", &labels),
                buffer: r.level_u64("socket_receive_buffer_bytes", &labels),
            }
        });
        Self {
            sockets: sockets.collect(),
            books: books.clone(),
            held: books.held.workers[worker].clone(),
            oldest_receive_ns: Tally::default(),
            busy_ns: r.seconds("worker_busy_seconds_total", &[label("worker", worker)]),
            heartbeat_ns: Tally::default(),
        }
    }
}

/// A batcher's handles.
#[derive(Debug, Clone)]
pub struct BatcherMetrics {
    /// Totals of the equations.
    pub books: Books,
    /// Records in this batcher's open body (a level).
    pub held: Tally,
    /// Receive time of the oldest record held here, Unix nanoseconds; 0 if there is none.
    pub oldest_receive_ns: Tally,
    /// Nanoseconds of work.
    pub busy_ns: Tally,
    /// Nanoseconds held up by delivery.
    pub blocked_ns: Tally,
    /// Clock::monotonic_ns of the last turn of the loop, for liveness.
    pub heartbeat_ns: Tally,
    /// Records in a finished batch.
    pub batch_records: Histogram,
    /// Seconds of encoding in a finished batch.
    pub encode_seconds: Histogram,
}

impl BatcherMetrics {
    pub(super) fn register(r: &mut Registrar<'_>, books: &Books, batcher: usize) -> Self {
        let labels = [label("worker", batcher)];
        Self {
            books: books.clone(),
            held: books.held.batchers[batcher].clone(),
            oldest_receive_ns: Tally::default(),
            busy_ns: r.seconds("batcher_busy_seconds_total", &labels),
            blocked_ns: r.seconds("batcher_blocked_seconds_total", &labels),
            heartbeat_ns: Tally::default(),
            batch_records: r.histogram("batch_records"),
            encode_seconds: r.histogram("batch_encode_duration_seconds"),
        }
    }
}

/// The queue's handles.
#[derive(Debug, Clone)]
pub struct QueueMetrics {
    /// Totals of the equations.
    pub books: Books,
    /// Records in the queue (a level): add on send, sub on receive.
    pub held: Tally,
    /// Share of slots in use, 0 to 1.
    pub fill: Level,
}

impl QueueMetrics {
    pub(super) fn register(r: &mut Registrar<'_>, books: &Books) -> Self {
        Self { books: books.clone(), held: books.held.queue.clone(), fill: r.level("queue_fill_ratio", &[]) }
    }
}

/// The sink's handles.
#[derive(Debug, Clone)]
pub struct SinkMetrics {
    /// Totals of the equations.
    pub books: Books,
    /// Records in delivery (a level).
    pub held: Tally,
    /// Finished requests to the first backend, in the order of `REQUEST_CODES`.
    pub requests: Vec<Tally>,
    /// What each backend has of its own.
    pub backends: Backends,
    /// Octets of the bodies of requests, before compression.
    pub body_bytes: Tally,
    /// Octets of the same bodies as they were sent.
    pub sent_bytes: Tally,
    /// Secrets and certificates.
    pub secrets: SecretMetrics,
    /// Seconds from request to answer.
    pub request_seconds: Histogram,
    /// Seconds from kernel to acknowledgement, weighted by records: of what never was in the spool.
    pub lag: WeightedHistogram,
    /// The same of what came out of the spool.
    pub lag_spooled: WeightedHistogram,
    /// Negative lags.
    pub clock_steps: Tally,
    /// Requests to the first backend under way (a level).
    pub in_flight: Tally,
    /// Octets waiting or under way (a level).
    pub in_flight_bytes: Tally,
    /// Bound of `in_flight_bytes`.
    pub in_flight_limit: Tally,
    /// Share of the delivery buffer in use.
    pub saturation: Level,
    /// 1 while the backend answers.
    pub healthy: Level,
    /// Receive time of the oldest record in delivery, Unix nanoseconds; 0 if there is none.
    pub oldest_receive_ns: Tally,
}

impl SinkMetrics {
    pub(super) fn register(r: &mut Registrar<'_>, books: &Books, secrets: &SecretMetrics, shape: &Shape) -> Self {
        let sink = [label("sink", shape.sink)];
        let healthy = r.level("sink_healthy", &sink);
        healthy.set(1.0);
        let first = BackendMetrics::register(r, shape.sink);
        let (requests, in_flight, backends) = (first.requests.clone(), first.in_flight.clone(), Backends::default());
        backends.push(first);
        Self {
            books: books.clone(),
            held: books.held.sink.clone(),
            requests,
            backends,
            body_bytes: r.counter("delivery_body_bytes_total", &sink),
            sent_bytes: r.counter("delivery_sent_bytes_total", &sink),
            secrets: secrets.clone(),
            request_seconds: r.histogram("delivery_request_duration_seconds"),
            lag: lag(r, "fresh"),
            lag_spooled: lag(r, "spooled"),
            clock_steps: r.counter("clock_steps_total", &[]),
            in_flight,
            in_flight_bytes: r.level_u64("in_flight_bytes", &sink),
            in_flight_limit: r.level_u64("in_flight_limit_bytes", &sink),
            saturation: r.level("sink_saturation_ratio", &sink),
            healthy,
            oldest_receive_ns: Tally::default(),
        }
    }

    /// Counts a finished request to the first backend under `code` (a status or a kind of failure).
    pub fn request(&self, code: &str) {
        if let Some(first) = self.backends.all().first() {
            first.request(code);
        }
    }
}
