//! Datagram -> FlowRecord. Pure: no socket, no clock, no log, no metric, no unsafe.
//!
//! The caller asks [`identify`] what the datagram is, finds the [`Domain`] that has learned its
//! templates, and calls [`decode`], which walks the sets in wire order inside their own bounds,
//! changes what is learned, and appends flows to the caller's batch. What went wrong is counted in
//! the [`Outcome`], never returned as an error that stops anybody else.

mod budget;
mod domain;
mod error;
mod events;
mod learn;
mod life;
mod list;
mod mediator;
mod message;
mod observed;
mod options;
mod padding;
mod picture;
mod plan;
mod sampling;
mod section;
mod selection;
mod sequence;
mod set;
mod status;
mod template;
mod text;
mod time;
mod v5;
mod value;
mod waiting;

pub use budget::LearnedBudget;
pub use domain::{Domain, DomainKey, ExporterState, ParkedCounts, Session, SessionPolicy};
pub use error::{DecodeError, DecodeErrorKind, SetDropKind};
pub use events::{TemplateEventCounts, TemplateNews};
pub use learn::{Overflowed, ParkOverflow, Stored, WaitingSet, parked_octets};
pub use mediator::{Original, Originals};
pub use observed::{Observation, distinct_boots};
pub use picture::TemplateRoom;
pub use selection::{DecodeSettings, Elements, PostCounters, Profile, Selection};
pub use sequence::{SequenceDelta, SequenceNote};
pub use status::{
    DomainStatus, NamedEntry, OptionsStatus, SamplingEntry, SamplingEntryScope, SequenceUnit, TemplateEvent,
    TemplateEventKind, TemplateStatus,
};
pub use waiting::WaitingTemplate;

use std::net::SocketAddr;

use nom::number::complete::{be_u8, be_u16, be_u32};
use nom::{IResult, Parser};

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

impl Header {
    /// What a message that nobody decodes is to the sequence accounting: its number, and its units where the header
    /// tells them (IX-21: IPFIX counts data records, which only the sets tell).
    #[must_use]
    pub fn sequence_note(&self, datagram: &Datagram<'_>) -> Option<SequenceNote> {
        let units = match self.version {
            Version::V1 => return None,
            Version::V5 | Version::V7 => Some(u32::from(self.count_or_length.min(v5::count_max(self.version)))),
            Version::V9 => Some(1),
            Version::Ipfix => None,
        };
        let (port, fingerprint) = (datagram.peer.port(), sequence::fingerprint(datagram.octets));
        Some(SequenceNote { sequence: self.sequence, units, flows: None, port, fingerprint })
    }
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
    /// Sets of this datagram for which memory had no room, and the disk had.
    pub sets_parked_disk: u32,
    /// Sets taken out of the waiting room (replayed or dropped).
    pub sets_unparked: u32,
    /// The same of sets that were back from the disk.
    pub sets_unparked_disk: u32,
    /// Octets taken out of the waiting room.
    pub octets_unparked: u64,
    /// Sets dropped, by `SetDropKind`.
    pub sets_dropped: [u32; SetDropKind::ALL.len()],
    /// Flow records appended to the batch.
    pub records: u32,
    /// Of these, records whose sampling rate nothing told.
    pub sampling_unknown: u32,
    /// Lists, or records of them, that were not looked into: no template, no sense, or more than the limits allow. Their
    /// octets are kept where all elements are, and so is the row.
    pub lists_unread: u32,
    /// Flow records of a mediator whose own exporter there was no room for: they are the mediator's (IX-41).
    pub originals_refused: u32,
    /// Options data records read.
    pub options_records: u32,
    /// Data records that are statistics of the exporter, no flows (D-1).
    pub non_flow_records: u32,
    /// Type records (RFC 5610) that taught nothing: IANA's element, named otherwise before, no name, no room.
    pub elements_refused: u32,
    /// Data records whose common properties (RFC 5473) nobody told: their rows lack what those would say.
    pub common_properties_unknown: u32,
    /// Templates that were new or changed.
    pub templates_learned: u32,
    /// Template records refused.
    pub templates_rejected: u32,
    /// Withdrawals of templates over UDP: ignored (IX-14).
    pub withdrawals_ignored: u32,
    /// Data sets whose rest is no padding as it should be (IX-05).
    pub sets_odd_padding: u32,
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

    /// Sets whose octets made no sense, as against those whose template is not known.
    #[must_use]
    pub fn sets_malformed(&self) -> u32 {
        let kinds = [SetDropKind::Malformed, SetDropKind::ReservedId, SetDropKind::BadRecord];
        kinds.iter().map(|kind| self.sets_dropped[*kind as usize]).sum()
    }

    /// Counts a set as dropped.
    #[cold]
    pub(crate) fn drop_set(&mut self, kind: SetDropKind) {
        self.sets_dropped[kind as usize] += 1;
    }
}

/// sFlow v5 begins with a 32-bit version: two zero octets, then 5.
const SFLOW_VERSION: [u8; 4] = [0, 0, 0, 5];

/// Reads the fixed header.
///
/// # Errors
/// `TooShort`, `UnsupportedVersion`, `NotDecoded` (G-01, G-02).
pub fn identify(octets: &[u8]) -> Result<Header, DecodeError> {
    let too_short = |_: nom::Err<nom::error::Error<&[u8]>>| too_short(octets);
    let (rest, word) = be_u16(octets).map_err(too_short)?;
    match Version::from_wire(word) {
        Some(Version::V9) => v9_header(rest).map_err(too_short).map(|(_, header)| header),
        Some(Version::Ipfix) => ipfix_header(rest).map_err(too_short).map(|(_, header)| header),
        Some(version) => fixed_header(version, rest).map_err(too_short).map(|(_, header)| header),
        // v8 aggregates on the router; sFlow is another protocol on the same port.
        None if word == 8 || octets.starts_with(&SFLOW_VERSION) => Err(DecodeError::at(DecodeErrorKind::NotDecoded, 0)),
        None => Err(DecodeError::at(DecodeErrorKind::UnsupportedVersion, 0)),
    }
}

#[cold]
fn too_short(octets: &[u8]) -> DecodeError {
    DecodeError::at(DecodeErrorKind::TooShort, u32::try_from(octets.len()).unwrap_or(u32::MAX))
}

/// RFC 3954 5.1, behind the version.
fn v9_header(octets: &[u8]) -> IResult<&[u8], Header> {
    let (rest, (count, uptime, seconds, sequence, source_id)) =
        (be_u16, be_u32, be_u32, be_u32, be_u32).parse(octets)?;
    let header = Header {
        version: Version::V9,
        observation_domain: source_id,
        sequence,
        export_ms: u64::from(seconds) * 1_000,
        sys_uptime_ms: uptime,
        count_or_length: count,
        sampling: 0,
    };
    Ok((rest, header))
}

/// RFC 7011 3.1, behind the version.
fn ipfix_header(octets: &[u8]) -> IResult<&[u8], Header> {
    let (rest, (length, seconds, sequence, domain)) = (be_u16, be_u32, be_u32, be_u32).parse(octets)?;
    let header = Header {
        version: Version::Ipfix,
        observation_domain: domain,
        sequence,
        export_ms: u64::from(seconds) * 1_000,
        sys_uptime_ms: 0,
        count_or_length: length,
        sampling: 0,
    };
    Ok((rest, header))
}

/// v1, v5 and v7 (V5-01, V1-01, V7-01), behind the version.
fn fixed_header(version: Version, octets: &[u8]) -> IResult<&[u8], Header> {
    let (rest, (count, uptime, seconds, nanoseconds)) = (be_u16, be_u32, be_u32, be_u32).parse(octets)?;
    let (rest, (sequence, engine_type, engine_id, sampling)) = match version {
        Version::V1 => (rest, (0, 0, 0, 0)),
        // v7's last four octets are reserved.
        Version::V7 => {
            let (rest, (sequence, _)) = (be_u32, be_u32).parse(rest)?;
            (rest, (sequence, 0, 0, 0))
        }
        _ => (be_u32, be_u8, be_u8, be_u16).parse(rest)?,
    };
    let header = Header {
        version,
        observation_domain: u32::from(engine_type) << 8 | u32::from(engine_id),
        sequence,
        // More than a second of nanoseconds is nonsense and clamped (V5-05).
        export_ms: u64::from(seconds) * 1_000 + u64::from(nanoseconds.min(999_999_999)) / 1_000_000,
        sys_uptime_ms: uptime,
        count_or_length: count,
        sampling,
    };
    Ok((rest, header))
}

/// The message's own octets behind its header: what IPFIX's length says, the whole datagram in v9.
///
/// # Errors
/// IPFIX: `BadLength` if the length is below the header's or past the datagram (IX-01, IX-02).
fn message_body<'a>(header: &Header, octets: &'a [u8]) -> Result<&'a [u8], DecodeError> {
    match header.version {
        Version::V9 => Ok(octets.get(V9_HEADER_OCTETS..).unwrap_or_default()),
        Version::Ipfix => octets
            .get(IPFIX_HEADER_OCTETS..usize::from(header.count_or_length))
            .ok_or(DecodeError::at(DecodeErrorKind::BadLength, 2)),
        version => Ok(octets.get(v5::header_octets(version)..).unwrap_or_default()),
    }
}

const V9_HEADER_OCTETS: usize = 20;
const IPFIX_HEADER_OCTETS: usize = 16;

/// True if the message holds a template set or options template set (set headers only, bounded by
/// the datagram). Under `SessionPolicy::Port` only such a datagram creates a domain for its port.
#[must_use]
pub fn carries_templates(header: &Header, octets: &[u8]) -> bool {
    match header.version {
        Version::V9 | Version::Ipfix => {
            message_body(header, octets).is_ok_and(|body| message::carries_templates(header.version, body))
        }
        _ => false,
    }
}

/// Decodes one datagram with what `domain` has learned and appends its flows to `batch`.
///
/// `header` is what [`identify`] said of the same octets. At most `ROWS_PER_MESSAGE_MAX` records are
/// appended, and as many again of sets that were parked; the batch must have room for one more exporter.
pub fn decode(datagram: &Datagram<'_>, header: &Header, domain: &Domain, batch: &mut FlowBatch) -> Outcome {
    let body = match message_body(header, datagram.octets) {
        Ok(body) => body,
        Err(error) => return Outcome::of_rejected(error),
    };
    let mut outcome = match header.version {
        Version::V9 | Version::Ipfix => message::decode(datagram, header, body, domain, batch),
        _ => v5::decode(datagram, header, domain, batch),
    };
    if outcome.rejected.is_none() {
        outcome.trailing_octets |=
            header.version == Version::Ipfix && datagram.octets.len() > usize::from(header.count_or_length);
    }
    outcome
}

/// Appends to `batch` what waits in `domain` for a template that only its lists name, at most a message's rows: for who
/// knows that nothing more will come. Sets without a template of their own go on waiting.
pub fn flush(domain: &Domain, batch: &mut FlowBatch) -> Outcome {
    message::flush(domain, batch)
}

#[cfg(test)]
mod tests;
