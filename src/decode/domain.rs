//! What is learned per domain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use crate::flow::{Exporter, Version};

/// Which datagrams share templates (protocol.md DEC-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionPolicy {
    /// All UDP source ports of the address.
    Any,
    /// Each UDP source port by itself, with the address's unambiguous templates as a fallback.
    Port,
}

/// Transport session of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Session {
    /// Any port of the address.
    Any,
    /// This UDP source port.
    Port(u16),
    /// This TCP connection (later).
    Connection(u64),
}

/// Which elements the output wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Selection {
    /// Those that have a field in `FlowRecord`.
    #[default]
    Core,
    /// Every element, kept in the batch's arena as on the wire.
    All,
}

/// What the operator decided for an exporter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeSettings {
    /// Which elements are kept.
    pub selection: Selection,
    /// Rate if nothing else tells one.
    pub sampling_default: Option<u32>,
    /// Rate that beats everything.
    pub sampling_override: Option<u32>,
    /// Age at which a parked set is dropped, nanoseconds; 0 switches parking off.
    pub park_age_ns: u64,
}

/// Bounds that all domains share.
#[derive(Debug)]
pub struct LearnedBudget {
    /// Octets of parked sets now.
    pub parked_octets: AtomicU64,
    /// Bound of `parked_octets`.
    pub parked_octets_max: u64,
    /// Octets of templates and options entries now (an estimate of what they take).
    pub learned_octets: AtomicU64,
    /// Bound of `learned_octets`.
    pub learned_octets_max: u64,
}

/// What all domains of one exporter share: options tables and its share of the waiting room.
#[derive(Debug)]
pub struct ExporterState {
    /// Who it is.
    pub exporter: Arc<Exporter>,
    /// The operator's decisions.
    pub settings: DecodeSettings,
    /// Bounds of the process.
    pub budget: Arc<LearnedBudget>,
}

impl ExporterState {
    /// An exporter that has sent nothing yet.
    #[must_use]
    pub fn new(exporter: Arc<Exporter>, settings: DecodeSettings, budget: Arc<LearnedBudget>) -> Self {
        Self { exporter, settings, budget }
    }
}

/// Names a domain inside its exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DomainKey {
    /// Transport session.
    pub session: Session,
    /// Version of its messages.
    pub version: Version,
    /// Observation domain.
    pub observation_domain: u32,
}

/// What was learned for one (exporter, session, version, observation domain).
#[derive(Debug)]
pub struct Domain {
    /// Its name.
    pub key: DomainKey,
    /// What it shares with the exporter's other domains.
    pub exporter: Arc<ExporterState>,
    /// Under `SessionPolicy::Port`: the address's own domain, where ports without templates look.
    pub fallback: Option<Arc<Domain>>,
    /// Set when the table forgot this domain: caches drop it.
    pub retired: AtomicBool,
    /// Unix nanoseconds of the last datagram, written by workers once per receive batch.
    pub last_seen_ns: AtomicU64,
}

/// Sequence number and units of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SequenceNote {
    /// Sequence number of the header.
    pub sequence: u32,
    /// Units that the message itself holds; None if it cannot be known (unknown template, IX-21).
    pub units: Option<u32>,
}

/// What sequence accounting found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SequenceDelta {
    /// Units newly counted as missing.
    pub missing: u64,
    /// Messages that came twice.
    pub duplicates: u64,
    /// Messages that came late but inside the window.
    pub reordered: u64,
    /// Restarts of the exporter's numbering.
    pub resets: u64,
}

/// Sets and octets that left the waiting room without being decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ParkedCounts {
    /// Sets.
    pub sets: u32,
    /// Octets.
    pub octets: u64,
}

/// A domain for the status API.
#[derive(Debug, Clone)]
pub struct DomainStatus {
    /// Its name.
    pub key: DomainKey,
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
    /// Unix nanoseconds of the last datagram.
    pub last_seen_ns: u64,
}

impl Domain {
    /// A domain that has learned nothing yet.
    #[must_use]
    pub fn new(key: DomainKey, exporter: Arc<ExporterState>, fallback: Option<Arc<Self>>) -> Self {
        Self { key, exporter, fallback, retired: AtomicBool::new(false), last_seen_ns: AtomicU64::new(0) }
    }

    /// Applies the messages of one receive batch, sorted here by sequence number; `window` is how
    /// many messages a late one may be behind (plan section 4). One lock a call.
    pub fn apply_sequence(&self, notes: &mut [SequenceNote], window: usize) -> SequenceDelta {
        let _ = (notes, window);
        SequenceDelta::default()
    }

    /// Drops parked sets that are older than the settings allow.
    pub fn expire_parked(&self, now_ns: u64) -> ParkedCounts {
        let _ = now_ns;
        ParkedCounts::default()
    }

    /// Marks the domain as forgotten and empties its waiting room.
    pub fn retire(&self) -> ParkedCounts {
        ParkedCounts::default()
    }

    /// A picture of the domain.
    #[must_use]
    pub fn status(&self) -> DomainStatus {
        DomainStatus {
            key: self.key,
            templates: 0,
            options_templates: 0,
            parked_sets: 0,
            parked_octets: 0,
            received_units: 0,
            missing_units: 0,
            last_seen_ns: 0,
        }
    }
}
