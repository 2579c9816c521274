//! Datagram -> FlowRecord. Pure: no socket, no clock, no log, no metric, no unsafe.
//!
//! The caller asks [`identify`] what the datagram is, finds the [`Domain`] that has learned its
//! templates, and calls [`decode`], which walks the sets in wire order inside their own bounds,
//! changes what is learned, and appends flows to the caller's batch. What went wrong is counted in
//! the [`Outcome`], never returned as an error that stops anybody else.

mod domain;
mod error;

pub use domain::{
    DecodeSettings, Domain, DomainKey, DomainStatus, ExporterState, LearnedBudget, ParkedCounts, Selection,
    SequenceDelta, SequenceNote, Session, SessionPolicy,
};
pub use error::{DecodeError, DecodeErrorKind, SetDropKind};

use std::net::SocketAddr;

use crate::flow::{FlowBatch, Version};

/// One datagram as the kernel gave it.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// Who sent it; IPv4-mapped IPv6 is folded to IPv4 (G-05).
    pub peer: SocketAddr,
    /// Kernel receive time, Unix nanoseconds.
    pub receive_ns: u64,
    /// UDP payload.
    pub octets: &'a [u8],
}

/// The fixed header of a message, whatever its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Version.
    pub version: Version,
    /// Observation domain: v9 Source ID; v5 engine_type * 256 + engine_id; 0 in v1 and v7.
    pub observation_domain: u32,
    /// Sequence number in the version's own unit; 0 in v1.
    pub sequence: u32,
    /// Header clock, Unix milliseconds.
    pub export_ms: u64,
    /// sysUpTime in milliseconds; 0 in IPFIX.
    pub sys_uptime_ms: u32,
    /// count of the header (v5: records; v9: records of all kinds); length of the message in IPFIX.
    pub count_or_length: u16,
    /// v5 sampling word.
    pub sampling: u16,
}

/// What a datagram came to; all counts are of this datagram alone.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Set if nothing of it was used.
    pub rejected: Option<DecodeError>,
    /// Sets in it.
    pub sets_seen: u32,
    /// Data sets decoded, replayed ones included.
    pub sets_decoded: u32,
    /// Sets of options data, replayed ones included.
    pub sets_options: u32,
    /// Template sets.
    pub sets_templates: u32,
    /// Sets parked by this datagram.
    pub sets_parked: u32,
    /// Octets parked by this datagram.
    pub octets_parked: u64,
    /// Sets taken out of the waiting room (replayed or dropped).
    pub sets_unparked: u32,
    /// Octets taken out of the waiting room.
    pub octets_unparked: u64,
    /// Sets dropped, by `SetDropKind`.
    pub sets_dropped: [u32; SetDropKind::ALL.len()],
    /// Flow records appended to the batch.
    pub records: u32,
    /// Of these, records whose sampling rate nothing told.
    pub sampling_unknown: u32,
    /// Options data records read.
    pub options_records: u32,
    /// Templates that were new or changed.
    pub templates_learned: u32,
    /// Template records refused.
    pub templates_rejected: u32,
    /// The datagram is longer than its header says.
    pub trailing_octets: bool,
    /// What sequence accounting needs to know.
    pub sequence: Option<SequenceNote>,
}

impl Outcome {
    /// A datagram of which nothing was used.
    #[cold]
    #[must_use]
    pub fn of_rejected(error: DecodeError) -> Self {
        Self { rejected: Some(error), ..Self::default() }
    }
}

/// Reads the fixed header.
///
/// # Errors
/// `TooShort`, `UnsupportedVersion`, `NotDecoded` (G-01, G-02).
pub fn identify(octets: &[u8]) -> Result<Header, DecodeError> {
    let _ = octets;
    Err(DecodeError::at(DecodeErrorKind::TooShort, 0))
}

/// True if the message holds a template set or options template set (set headers only, bounded by
/// the datagram). Under `SessionPolicy::Port` only such a datagram creates a domain for its port.
#[must_use]
pub fn carries_templates(header: &Header, octets: &[u8]) -> bool {
    let _ = (header, octets);
    false
}

/// Decodes one datagram with what `domain` has learned and appends its flows to `batch`.
///
/// `header` is what [`identify`] said of the same octets. At most `ROWS_PER_MESSAGE_MAX` records
/// plus those of replayed parked sets are appended; the batch must have room for one more exporter.
pub fn decode(datagram: &Datagram<'_>, header: &Header, domain: &Domain, batch: &mut FlowBatch) -> Outcome {
    let _ = (datagram, header, domain, batch);
    Outcome::default()
}
