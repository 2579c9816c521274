//! What an operator can see of what was learned: domains, templates as they are, and what happened to them.

use std::net::IpAddr;

use super::observed::Observation;
use super::waiting::WaitingTemplate;
use crate::decode::key::DomainKey;
use crate::flow::ElementId;

/// A template as it is known now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateStatus {
    /// Its id.
    pub id: u16,
    /// Number of scope fields; None for a template of data.
    pub scopes: Option<u16>,
    /// Elements with their lengths in octets, 65535 where the record says (RFC 7011 section 7), in wire order.
    pub fields: Vec<(ElementId, u16)>,
    /// It has field types whose maker was assumed (N9-27).
    pub assumed_maker: bool,
    /// When this layout was learned, Unix nanoseconds.
    pub learned_ns: u64,
    /// When it came last, Unix nanoseconds.
    pub refreshed_ns: u64,
    /// The longest time between two refreshes so far, nanoseconds; None before the first.
    pub refresh_interval_ns: Option<u64>,
    /// Which fields make up the flow key, if the exporter says it: bit 0 is the first (flowKeyIndicator 173).
    pub flow_keys: Option<u64>,
    /// It was kept from an earlier run, and its exporter has not sent it since.
    pub restored: bool,
}

/// A domain for the status API.
#[derive(Debug, Clone)]
pub struct DomainStatus {
    /// Its name.
    pub key: DomainKey,
    /// Number of the listener that it is heard at.
    pub listener: u16,
    /// Data templates known.
    pub templates: usize,
    /// Options templates known.
    pub options_templates: usize,
    /// Sets waiting for a template.
    pub parked_sets: usize,
    /// Octets waiting for a template.
    pub parked_octets: u64,
    /// A template has field types whose maker was assumed: nobody named it (N9-27).
    pub assumed_maker: bool,
    /// Units received by sequence.
    pub received_units: u64,
    /// Units missing by sequence.
    pub missing_units: u64,
    /// Units in gaps that a late message may still fill.
    pub gap_units: u64,
    /// Sequence number expected next; None before the first message.
    pub next_sequence: Option<u32>,
    /// Number of the last unit of the stream heard last; None before the first message.
    pub highest_sequence: Option<u32>,
    /// Messages that the sequence accounting knows, without those that came twice.
    pub messages: u64,
    /// A part of the stream seems to go elsewhere.
    pub is_interleaved: bool,
    /// Unix nanoseconds of the last datagram.
    pub last_seen_ns: u64,
    /// Since when layouts change faster than they are taken, Unix nanoseconds.
    pub storm_since_ns: Option<u64>,
    /// Two UDP source ports that redefine the same templates to and fro.
    pub clash_ports: Option<(u16, u16)>,
    /// Data sets whose rest was no padding: their template may be another (IX-05).
    pub odd_padding_sets: u64,
    /// Datagrams that came twice.
    pub duplicates: u64,
    /// What the sequence numbers count.
    pub sequence_unit: SequenceUnit,
    /// Templates that data sets came for and that are not known.
    pub waiting: Vec<WaitingTemplate>,
    /// What its headers told lately.
    pub observed: Observation,
}

/// What the sequence numbers of a domain count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SequenceUnit {
    /// Nothing: there are none in v1.
    None,
    /// Datagrams: NetFlow v9.
    Datagrams,
    /// Flows: v5 and v7; also a v9 exporter whose numbers were seen to go that way (N9-29).
    Flows,
    /// Data records, those of options too: IPFIX.
    DataRecords,
}

impl SequenceUnit {
    /// Name in the status API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Datagrams => "datagrams",
            Self::Flows => "flows",
            Self::DataRecords => "data_records",
        }
    }
}

/// What happened to a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TemplateEventKind {
    /// An id got its first layout.
    Learned,
    /// Another layout took the place of the old one (N9-12).
    Replaced,
    /// It was not refreshed for too long (N9-16, IX-16).
    Expired,
    /// It made room for another: a bound was in the way.
    Evicted,
    /// Redefinitions come too fast: this one was refused, and data sets of its id are dropped until the template comes again.
    Frozen,
    /// It was kept from an earlier run.
    Restored,
    /// Its exporter's own layout took the place of a restored one that was another.
    Corrected,
}

impl TemplateEventKind {
    /// All of them, in label order.
    pub const ALL: [Self; 7] =
        [Self::Learned, Self::Replaced, Self::Expired, Self::Evicted, Self::Frozen, Self::Restored, Self::Corrected];

    /// Name in metrics, logs and the status API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Learned => "learned",
            Self::Replaced => "replaced",
            Self::Expired => "expired",
            Self::Evicted => "evicted",
            Self::Frozen => "frozen",
            Self::Restored => "restored",
            Self::Corrected => "corrected",
        }
    }
}

/// One of the last events of an exporter's templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TemplateEvent {
    /// When, Unix nanoseconds.
    pub at_ns: u64,
    /// In which domain.
    pub domain: DomainKey,
    /// Number of the listener that the domain is heard at.
    pub listener: u16,
    /// Which template.
    pub template_id: u16,
    /// What.
    pub kind: TemplateEventKind,
}

/// What an exporter's options records told, as far as a person wants to see it. Lists end at
/// `OPTIONS_STATUS_ENTRIES_MAX` entries, the smallest domains and numbers first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OptionsStatus {
    /// Entries by table.
    pub entries: Vec<(&'static str, usize)>,
    /// Rates that hold for less than a domain.
    pub sampling: Vec<SamplingEntry>,
    /// Rates of domains as a whole: (observation domain, 1 in N).
    pub domain_rates: Vec<(u32, u32)>,
    /// Names of interfaces.
    pub interfaces: Vec<NamedEntry>,
    /// Names of VRFs.
    pub vrfs: Vec<NamedEntry>,
    /// Names of samplers.
    pub samplers: Vec<NamedEntry>,
    /// Names of observation domains; `id` is 0.
    pub domains: Vec<NamedEntry>,
    /// Boot time (160) by observation domain, Unix milliseconds.
    pub boot_ms: Vec<(u32, u64)>,
    /// exportingProcessId 144 by observation domain.
    pub exporting_processes: Vec<(u32, u64)>,
    /// meteringProcessId 143 by observation domain.
    pub metering_processes: Vec<(u32, u64)>,
    /// Addresses that it says are its own (130, 131); nothing follows from them.
    pub addresses: Vec<IpAddr>,
    /// Elements that its type records taught (RFC 5610).
    pub learned_elements: u64,
}

/// A sampling rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SamplingEntry {
    /// Observation domain that told it.
    pub domain: u32,
    /// What it holds for.
    pub scope: SamplingEntryScope,
    /// 1 in N; 0 as the exporter said it counts as 1.
    pub rate: u32,
}

/// What a sampling rate holds for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SamplingEntryScope {
    /// The sampler with this id (302, 48).
    Sampler(u64),
    /// A sampler where it works for an interface.
    SamplerOn {
        /// The sampler's id.
        sampler: u64,
        /// The interface.
        interface: u32,
    },
    /// An interface.
    Interface(u32),
    /// A template.
    Template(u16),
    /// A line card.
    LineCard(u32),
}

/// What something is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedEntry {
    /// Observation domain that told it.
    pub domain: u32,
    /// Number of the interface or VRF.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its description, empty if there is none.
    pub description: String,
}
