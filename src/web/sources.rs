//! What the HTTP side may ask, and the plain rows it is answered with.
//!
//! The wiring fills [`Sources`] with functions over the stages' snapshots. They are called on the
//! web thread, may take short locks of the control plane, and must not wait for the data path.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::detail::{DetailQuery, DetailRow};
use crate::metrics::{HINT_REASONS, LOSS_STAGES, Metrics};

/// A function that the wiring hands over.
pub type Ask<T> = Box<dyn Fn() -> T + Send + Sync>;

/// What `/health` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// State in one word, `healthy` as long as the process works.
    pub status: String,
    /// Name of the service.
    pub service: String,
    /// The backend's base URL without credentials.
    pub backend_url: String,
}

/// The configuration that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigRow {
    /// When one was taken up last, at the start or later, Unix nanoseconds.
    pub taken_up_ns: u64,
    /// Why the last one that was read could not be used; None if it could.
    pub error: Option<String>,
    /// Keys and lists that differ from what runs, and need a restart.
    pub restart: Vec<String>,
}

/// Whether the process may be sent traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Ready.
    pub ready: bool,
    /// Why not; empty when ready.
    pub reason: String,
}

/// Whether the process's own threads turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Liveness {
    /// All threads turn.
    pub live: bool,
    /// Names of those that do not.
    pub stale: Vec<String>,
}

/// An exporter as the status API shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ExporterRow {
    /// Source address of its datagrams.
    pub address: IpAddr,
    /// Tenant of its listener; empty by default.
    pub tenant: String,
    /// Name that a rule gives.
    pub name: Option<String>,
    /// What the backend sees as `switch_id`.
    pub switch_id: String,
    /// First datagram, Unix nanoseconds.
    pub first_seen_ns: u64,
    /// Last datagram, Unix nanoseconds.
    pub last_seen_ns: u64,
    /// Datagrams received.
    pub datagrams: u64,
    /// Octets received.
    pub octets: u64,
    /// Records decoded.
    pub records: u64,
    /// Datagrams rejected.
    pub rejected: u64,
    /// Datagrams refused unread because they came too fast; not among `datagrams`.
    pub refused: u64,
    /// Domains that made room for others so far.
    pub domains_evicted: u64,
    /// Units missing by sequence, over all domains.
    pub missing_units: u64,
    /// Sets waiting for a template, over all domains.
    pub parked_sets: u64,
    /// Their octets.
    pub parked_octets: u64,
    /// Records of it that were lost inside the collector, in the order of `metrics::LOSS_STAGES`; filled in here.
    pub lost: [u64; LOSS_STAGES.len()],
    /// Private Enterprise Number of its maker.
    pub maker: Option<u32>,
    /// Rates over the last 10 s; None before they are known.
    pub last_10s: Option<RateRow>,
    /// The same over the last 60 s.
    pub last_60s: Option<RateRow>,
    /// What is wrong with it.
    pub faults: Vec<FaultRow>,
    /// What was learned, by domain.
    pub domains: Vec<DomainRow>,
}

/// Per second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RateRow {
    /// Datagrams.
    pub datagrams: f64,
    /// Octets of payload.
    pub octets: f64,
    /// Flow records.
    pub records: f64,
}

/// A fault of an exporter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultRow {
    /// One of `metrics::FAULT_REASONS`.
    pub name: &'static str,
    /// Since when, Unix nanoseconds; 0 where that is not known.
    pub since_ns: u64,
    /// What shows it.
    pub evidence: String,
    /// What to do.
    pub remedy: String,
}

impl ExporterRow {
    /// The exporter's name in lists, cursors and the `exporter` label: the address, with the tenant
    /// in front where there is one.
    #[must_use]
    pub fn id(&self) -> String {
        if self.tenant.is_empty() { self.address.to_string() } else { format!("{}/{}", self.tenant, self.address) }
    }

    /// Records of it that were lost inside the collector.
    #[must_use]
    pub fn lost_records(&self) -> u64 {
        self.lost.iter().sum()
    }

    /// Faults without hints.
    pub(super) fn true_faults(&self) -> usize {
        self.faults.iter().filter(|fault| !fault.is_hint()).count()
    }
}

impl FaultRow {
    /// It may be as it should: told by name alone.
    #[must_use]
    pub fn is_hint(&self) -> bool {
        HINT_REASONS.contains(&self.name)
    }
}

/// A domain of an exporter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DomainRow {
    /// Name of the listener that it is heard at; None in a capture, which has none.
    pub listener: Option<String>,
    /// `any`, `port 2055` or `connection 7`.
    pub session: String,
    /// Version of its messages, as in the metrics' label.
    pub version: &'static str,
    /// Observation domain.
    pub observation_domain: u32,
    /// Data templates known.
    pub templates: usize,
    /// Options templates known.
    pub options_templates: usize,
    /// Sets waiting for a template.
    pub parked_sets: usize,
    /// Octets waiting for a template.
    pub parked_octets: u64,
    /// Units received by sequence.
    pub received_units: u64,
    /// Units missing by sequence.
    pub missing_units: u64,
    /// Last datagram, Unix nanoseconds.
    pub last_seen_ns: u64,
    /// What its sequence numbers count; `none` in v1, which has none.
    pub sequence_unit: &'static str,
    /// Datagrams that came twice.
    pub duplicates: u64,
    /// Data sets whose rest was no padding: their template may be another.
    pub odd_padding_sets: u64,
    /// A template has field types whose maker was assumed.
    pub assumed_maker: bool,
    /// Two UDP source ports that redefine the same templates to and fro.
    pub clash_ports: Option<(u16, u16)>,
    /// Since when its templates change faster than they are taken, Unix nanoseconds.
    pub storm_since_ns: Option<u64>,
    /// Units in gaps that a late message may still fill.
    pub gap_units: u64,
    /// Sequence number expected next.
    pub next_sequence: Option<u32>,
    /// Number of the last unit received.
    pub highest_sequence: Option<u32>,
    /// Messages that the sequence accounting knows.
    pub messages: u64,
    /// A part of the stream seems to go elsewhere.
    pub is_interleaved: bool,
    /// Templates that data sets came for and that are not known.
    pub waiting: Vec<WaitingRow>,
    /// Header clock minus receive time, milliseconds.
    pub clock_skew_ms: Option<i64>,
    /// Different boot times seen lately.
    pub boot_times: usize,
    /// UDP source ports seen lately.
    pub udp_ports: usize,
    /// `any` or `port`: which datagrams share templates. Only in the detail.
    pub session_policy: Option<&'static str>,
    /// Sampling rate of the whole domain, and where it is from. Only in the detail.
    pub sampling: Option<(u32, &'static str)>,
}

/// A template that is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingRow {
    /// Its id.
    pub id: u16,
    /// First set without it, Unix nanoseconds.
    pub since_ns: u64,
    /// Last one.
    pub last_ns: u64,
    /// Sets.
    pub sets: u64,
}

/// A function that answers a question about an address, or says what is wrong with the question.
pub type AskAddress<T> = Box<dyn Fn(IpAddr, &DetailQuery) -> Result<Vec<T>, String> + Send + Sync>;

/// All that the HTTP side knows.
pub struct Sources {
    /// The metrics; their books are the ledger.
    pub metrics: Arc<Metrics>,
    /// Name of this instance.
    pub instance: String,
    /// Records in a request to the backend, as set.
    pub batch_size: usize,
    /// Oldest a record gets before its batch is sent, as set.
    pub batch_interval: Duration,
    /// UDP listeners: name and address obtained.
    pub listeners: Vec<(String, SocketAddr)>,
    /// Answer of `/health`.
    pub health: Ask<Health>,
    /// Answer of `/readyz`.
    pub ready: Ask<Readiness>,
    /// Answer of `/livez`.
    pub live: Ask<Liveness>,
    /// What does not work as it should while the process stays ready: backend, spool, shared state.
    pub degraded: Ask<Vec<String>>,
    /// How the configuration stands.
    pub config: Ask<ConfigRow>,
    /// A picture of the exporters, in any order.
    pub exporters: Ask<Vec<ExporterRow>>,
    /// Listeners whose ports other processes share, with the number of their sockets.
    pub shared_ports: Ask<Vec<(String, usize)>>,
    /// Datagrams that made no sense, as a capture file; None if none are kept.
    pub rejected: Ask<Option<Vec<u8>>>,
    /// The exporters of an address in full, one a tenant.
    pub exporter: AskAddress<DetailRow>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("instance", &self.instance).finish_non_exhaustive()
    }
}
