//! What an operator can see of what was learned: templates as they are, and what happened to them.

use std::net::IpAddr;

use super::domain::DomainKey;
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
    /// Redefinitions come too fast: the last layout stays for now.
    Frozen,
}

impl TemplateEventKind {
    /// All of them, in label order.
    pub const ALL: [Self; 5] = [Self::Learned, Self::Replaced, Self::Expired, Self::Evicted, Self::Frozen];

    /// Name in metrics, logs and the status API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Learned => "learned",
            Self::Replaced => "replaced",
            Self::Expired => "expired",
            Self::Evicted => "evicted",
            Self::Frozen => "frozen",
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
