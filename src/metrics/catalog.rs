//! The list of metrics: what `docs/metrics.md` says and a test compares it with.

use super::histogram::SECONDS_BOUNDS;

/// Prefix of every name.
pub const PREFIX: &str = "clarion_collector_";

/// How a metric is kept and written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Integer that only grows.
    Counter,
    /// Seconds that only grow, with a fraction.
    SecondsCounter,
    /// Value that goes up and down.
    Gauge,
    /// Observations in the given buckets.
    Histogram(&'static [f64]),
    /// Observations weighted by records, in the given buckets.
    WeightedHistogram(&'static [f64]),
    /// Read from the operating system at each scrape.
    Process,
}

impl Kind {
    /// The type as the text format names it; for what comes from the operating system, by the name's ending.
    #[must_use]
    pub fn text_type(self, name: &str) -> &'static str {
        match self {
            Self::Counter | Self::SecondsCounter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) | Self::WeightedHistogram(_) => "histogram",
            Self::Process if name.ends_with("_total") => "counter",
            Self::Process => "gauge",
        }
    }
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Descriptor {
    /// Name without the prefix.
    pub name: &'static str,
    /// Kind.
    pub kind: Kind,
    /// Help text, with the unit.
    pub help: &'static str,
    /// Label names.
    pub labels: &'static [&'static str],
}

const fn d(name: &'static str, kind: Kind, labels: &'static [&'static str], help: &'static str) -> Descriptor {
    Descriptor { name, kind, help, labels }
}

use Kind::{Counter, Gauge, Histogram, Process, SecondsCounter, WeightedHistogram};

/// Powers of ten and their halves: records in a request.
const RECORDS_BOUNDS: &[f64] = &[1.0, 10.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0, 100_000.0];
/// Encoding takes 30-200 ns a record: 10 us to 100 ms a batch.
const ENCODE_BOUNDS: &[f64] = &[1e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 5e-2, 1e-1];

/// Every metric that is registered, in data-path order.
pub const CATALOG: &[Descriptor] = &[
    d("datagrams_received_total", Counter, &["listener", "worker"], "Datagrams read from the kernel."),
    d("received_bytes_total", Counter, &["listener", "worker"], "Octets of UDP payload read from the kernel."),
    d(
        "kernel_dropped_datagrams_total",
        Counter,
        &["listener", "worker"],
        "Datagrams that the kernel dropped because the socket's receive buffer was full (SO_MEMINFO, exact).",
    ),
    d(
        "socket_fill_ratio",
        Gauge,
        &["listener", "worker"],
        "Share of the socket's receive buffer in use after the last receive batch that emptied it, 0 to 1.",
    ),
    d(
        "socket_receive_buffer_bytes",
        Gauge,
        &["listener", "worker"],
        "Receive buffer that the kernel granted, in octets.",
    ),
    d("datagrams_refused_total", Counter, &["reason"], "Datagrams refused before decoding, by admission."),
    d("datagrams_rejected_total", Counter, &["reason"], "Datagrams of which nothing could be used."),
    d(
        "rejected_kept_total",
        Counter,
        &[],
        "Datagrams kept for /api/v1/rejected.pcap: rejected ones, and such with sets or templates that made no sense.",
    ),
    d(
        "rejected_not_kept_total",
        Counter,
        &[],
        "Such datagrams that were not kept: too many a second, the ring was being read, or one was too large.",
    ),
    d("rejected_kept_bytes", Gauge, &[], "Octets of the ring that they are kept in."),
    d("datagrams_processed_total", Counter, &[], "Datagrams of which something was used."),
    d(
        "datagrams_trailing_octets_total",
        Counter,
        &[],
        "Datagrams with octets behind the end that their header states.",
    ),
    d("sets_seen_total", Counter, &[], "Sets in processed datagrams (a v5 datagram counts as one)."),
    d("sets_decoded_total", Counter, &[], "Data sets decoded to flow records."),
    d("sets_options_total", Counter, &[], "Data sets of options templates."),
    d("sets_templates_total", Counter, &[], "Template sets and options template sets."),
    d("sets_parked", Gauge, &[], "Data sets waiting for their template."),
    d("parked_bytes", Gauge, &[], "Octets of data sets waiting for their template."),
    d(
        "sets_parked_disk",
        Gauge,
        &[],
        "Data sets waiting for their template on disk, or back from it and not decoded yet.",
    ),
    d("parked_disk_bytes", Gauge, &[], "Octets of the files with data sets that wait for their template."),
    d(
        "sets_undecodable_total",
        Counter,
        &["reason"],
        "Sets that were dropped while the rest of their message was used.",
    ),
    d("templates_learned_total", Counter, &[], "Templates and options templates that were new or changed."),
    d("templates_rejected_total", Counter, &[], "Template records that were refused (lengths, limits, ids)."),
    d(
        "template_events_total",
        Counter,
        &["state"],
        "Templates learned, replaced by another layout, expired, evicted by a bound, frozen (too many changes), restored from \
         a snapshot, or corrected (a restored layout that was another).",
    ),
    d("template_withdrawals_ignored_total", Counter, &[], "Withdrawals of templates over UDP: they change nothing."),
    d("sets_odd_padding_total", Counter, &[], "Data sets whose rest is no padding: their template may be another."),
    d("datagrams_duplicated_total", Counter, &[], "Datagrams that came twice; both were decoded."),
    d(
        "sequence_missing_units_total",
        Counter,
        &["version"],
        "Units missing by sequence number: flows for v5 and v7, datagrams for v9, data records for ipfix.",
    ),
    d("records_decoded_total", Counter, &["version"], "Flow records decoded."),
    d(
        "records_sampling_unknown_total",
        Counter,
        &[],
        "Flow records whose sampling rate nothing told; they go out with rate 1.",
    ),
    d("options_records_total", Counter, &[], "Options data records read into learned state."),
    d("non_flow_records_total", Counter, &[], "Data records that are statistics of the exporter itself, no flows."),
    d(
        "records_original_refused_total",
        Counter,
        &[],
        "Flow records of mediators whose own exporter there was no room for: they are the mediator's.",
    ),
    d(
        "elements_refused_total",
        Counter,
        &[],
        "Type records (RFC 5610) that taught nothing: IANA's element, another name than before, no name, or no room.",
    ),
    d(
        "common_properties_unknown_total",
        Counter,
        &[],
        "Data records whose common properties (RFC 5473) nobody told: their flows lack what those would say.",
    ),
    d("lists_unread_total", Counter, &[], "Lists inside records, or records of them, that were not looked into."),
    d("exporters", Gauge, &["state"], "Exporters in the table, by state."),
    d("exporters_with_fault", Gauge, &["reason"], "Exporters that have this fault, looked at each 5 s."),
    d("exporter_table_evictions_total", Counter, &[], "Exporters or domains forgotten to make room."),
    d(
        "gateway_source_datagrams_total",
        Counter,
        &[],
        "Datagrams whose source is a default gateway of this host: address translation may hide the true exporters.",
    ),
    d("worker_busy_seconds_total", SecondsCounter, &["worker"], "Seconds that a worker spent receiving and decoding."),
    d("queue_fill_ratio", Gauge, &[], "Share of the queue's slots in use, 0 to 1."),
    d(
        "batcher_busy_seconds_total",
        SecondsCounter,
        &["worker"],
        "Seconds that a batcher spent encoding; the label is the batcher's number.",
    ),
    d(
        "batcher_blocked_seconds_total",
        SecondsCounter,
        &["worker"],
        "Seconds that a batcher was held up by delivery; not counted as busy.",
    ),
    d("batch_records", Histogram(RECORDS_BOUNDS), &[], "Records in an encoded batch."),
    d("batch_encode_duration_seconds", Histogram(ENCODE_BOUNDS), &[], "Time spent encoding a batch."),
    d("records_clamped_total", Counter, &[], "Records with a counter above 2^63-1, sent as 2^63-1."),
    d(
        "records_dropped_total",
        Counter,
        &["stage", "reason"],
        "Flow records lost inside the collector, by stage and reason.",
    ),
    d("delivery_requests_total", Counter, &["sink", "code"], "Requests finished, by HTTP status or kind of failure."),
    d("backend_records_accepted_total", Counter, &["sink"], "Flow records that this backend acknowledged."),
    d("backend_state", Gauge, &["sink", "state"], "1 for the state that the backend's circuit breaker is in, else 0."),
    d("requests_limit", Gauge, &["sink"], "Requests that may be under way to the backend now."),
    d("delivery_body_bytes_total", Counter, &["sink"], "Octets of the bodies of requests, before compression."),
    d("delivery_sent_bytes_total", Counter, &["sink"], "Octets of the same bodies as they were sent."),
    d(
        "delivery_request_duration_seconds",
        Histogram(SECONDS_BOUNDS),
        &[],
        "Time from sending a request to its answer.",
    ),
    d(
        "delivery_lag_seconds",
        WeightedHistogram(SECONDS_BOUNDS),
        &["state"],
        "Time from the kernel's receipt of a batch's oldest record to the backend's acknowledgement, weighted by records; what was in the spool is told apart from what is fresh.",
    ),
    d("clock_steps_total", Counter, &[], "Times a lag would have been negative because a clock was stepped."),
    d("records_delivered_total", Counter, &["sink"], "Flow records that the backend acknowledged."),
    d(
        "records_possibly_duplicated_total",
        Counter,
        &[],
        "Records in requests that failed after they may have been written, and were sent again.",
    ),
    d("records_recovered_total", Counter, &[], "Records taken over from an earlier run's spool."),
    d("records_pending", Gauge, &[], "Records decoded and neither delivered, dropped nor spooled."),
    d("requests_in_flight", Gauge, &["sink"], "Requests under way."),
    d("in_flight_bytes", Gauge, &["sink"], "Octets of encoded bodies waiting for or under delivery."),
    d("in_flight_limit_bytes", Gauge, &["sink"], "Bound of in_flight_bytes."),
    d(
        "oldest_unacked_seconds",
        Gauge,
        &["state"],
        "Age of the oldest record not acknowledged yet, in memory (fresh) or in the spool (spooled); 0 if there is none.",
    ),
    d(
        "sink_saturation_ratio",
        Gauge,
        &["sink"],
        "Share of the delivery buffer in use, 0 to 1: the backend's share of the load, not a reason to scale out.",
    ),
    d("sink_healthy", Gauge, &["sink"], "1 while the backend answers, 0 while the sink backs off."),
    d(
        "saturation_ratio",
        Gauge,
        &[],
        "The number to scale on, 0 to 1: the maximum over workers and batchers of busy share and socket fill, last 30 s.",
    ),
    d("spool_bytes", Gauge, &[], "Octets of the spool's segments on disk."),
    d("spool_records", Gauge, &[], "Records in the spool, those under delivery included."),
    d("spool_limit_bytes", Gauge, &[], "Bound of the spool in octets; 0 until its directory is open."),
    d(
        "spool_enabled",
        Gauge,
        &[],
        "1 while a spool takes batches; 0 without one, or while it is full or its disk fails.",
    ),
    d(
        "spool_damaged_records_total",
        Counter,
        &[],
        "Records that were found damaged when a directory of the spool was opened, as far as they can be counted.",
    ),
    d(
        "spool_foreign_files_total",
        Counter,
        &[],
        "Files of another format, or unreadable ones, that were left alone when a directory of the spool was opened.",
    ),
    d(
        "dead_letters_enabled",
        Gauge,
        &[],
        "1 while records that the backend refuses for good are kept as dead letters; 0 without a data directory.",
    ),
    d(
        "state_snapshot_timestamp_seconds",
        Gauge,
        &[],
        "When the snapshot of learned state was written, Unix seconds; 0 without one.",
    ),
    d("state_snapshot_bytes", Gauge, &[], "Octets of the snapshot of learned state."),
    d("state_snapshot_failures_total", Counter, &[], "Times a snapshot of learned state could not be written or read."),
    d(
        "state_snapshot_records_total",
        Counter,
        &["state"],
        "Records of snapshots of learned state read at start: restored, too_old, damaged, or refused.",
    ),
    d(
        "ledger_imbalance_records",
        Gauge,
        &[],
        "Records that the books cannot explain, read at rest; anything but 0 is a defect.",
    ),
    d("secret_files_stale", Gauge, &[], "Files with secrets or certificates whose newest content could not be used."),
    d("secret_file_reloads_total", Counter, &["state"], "New contents of such files, by what became of them."),
    d(
        "backend_client_certificate_expiry_timestamp_seconds",
        Gauge,
        &[],
        "End of the client certificate's validity, Unix seconds; 0 without one.",
    ),
    d(
        "backend_server_certificate_expiry_timestamp_seconds",
        Gauge,
        &[],
        "End of the validity of the certificate that the backend showed last, Unix seconds; 0 without one.",
    ),
    d(
        "http_certificate_expiry_timestamp_seconds",
        Gauge,
        &[],
        "End of the validity of the HTTP side's certificate, Unix seconds; 0 without one.",
    ),
    d("http_refused_total", Counter, &["reason"], "HTTP connections or requests turned away, by reason."),
    d("config_last_reload_successful", Gauge, &[], "1 if the last load of the configuration succeeded."),
    d(
        "config_last_reload_success_timestamp_seconds",
        Gauge,
        &[],
        "Unix time at which a configuration was taken up last, at the start or by a reload.",
    ),
    d("config_reloads_total", Counter, &["state"], "Configurations read again on SIGHUP, by what became of them."),
    d("config_restart_needed_keys", Gauge, &[], "Keys and lists of the configuration read last that need a restart."),
    d("build_info", Gauge, &["version", "instance"], "Always 1; the labels name the build and the instance."),
    d("threads_stale", Gauge, &[], "Workers, batchers and the monitor that have stood still for 10 s."),
    d("memory_limit_bytes", Gauge, &[], "What the process may hold, in octets: [memory] limit."),
    d("process_cpu_seconds_total", Process, &[], "User and system CPU time of the process."),
    d("process_resident_memory_bytes", Process, &[], "Resident memory of the process."),
    d("process_virtual_memory_bytes", Process, &[], "Address space of the process."),
    d("process_open_fds", Process, &[], "Open file descriptors."),
    d("process_max_fds", Process, &[], "Limit of open file descriptors."),
    d("process_threads", Process, &[], "Threads of the process."),
    d("process_start_time_seconds", Process, &[], "Start of the process, Unix seconds."),
];

/// Every metric of the second scrape, which alone carries the `exporter` label; ten at most.
pub const EXPORTER_CATALOG: &[Descriptor] = &[
    d("exporter_datagrams_total", Counter, &["exporter"], "Datagrams received from the exporter."),
    d("exporter_received_bytes_total", Counter, &["exporter"], "Octets of UDP payload received from the exporter."),
    d("exporter_records_total", Counter, &["exporter"], "Flow records decoded from the exporter."),
    d("exporter_rejected_datagrams_total", Counter, &["exporter"], "Datagrams of the exporter that were rejected."),
    d(
        "exporter_missing_units_total",
        Counter,
        &["exporter"],
        "Units of the exporter missing by sequence number, each in its version's own unit.",
    ),
    d("exporter_parked_sets", Gauge, &["exporter"], "Data sets of the exporter that wait for their template."),
    d(
        "exporter_lost_records_total",
        Counter,
        &["exporter"],
        "Flow records of the exporter that were lost inside the collector, all stages.",
    ),
    d(
        "exporter_faults",
        Gauge,
        &["exporter"],
        "Faults that the exporter has now, without hints; the status API names them.",
    ),
    d("exporter_domains", Gauge, &["exporter"], "Domains of the exporter (session, version, observation domain)."),
    d("exporter_last_seen_timestamp_seconds", Gauge, &["exporter"], "Unix time of the exporter's last datagram."),
];

const _: () = assert!(EXPORTER_CATALOG.len() <= 10);

/// When a scrape reads `name`: downstream counters before upstream ones, so that a record is never
/// seen to have left before it came.
pub(super) fn read_order(name: &str) -> u8 {
    match name {
        "records_delivered_total" => 0,
        "records_dropped_total" => 1,
        "records_recovered_total" | "records_decoded_total" => 3,
        // A parked set later becomes decoded or dropped: read the level after both.
        "sets_decoded_total" | "sets_options_total" | "sets_templates_total" | "sets_undecodable_total" => 1,
        // A set goes from memory to the disk, never back in the books: memory after the disk.
        "sets_parked" => 3,
        "sets_seen_total" => 4,
        "datagrams_processed_total" | "datagrams_rejected_total" | "datagrams_refused_total" => 5,
        "datagrams_received_total" => 6,
        _ => 2,
    }
}

/// The descriptor of `name` (without prefix).
pub(super) fn descriptor(name: &str) -> Option<&'static Descriptor> {
    CATALOG.iter().chain(EXPORTER_CATALOG).find(|d| d.name == name)
}
