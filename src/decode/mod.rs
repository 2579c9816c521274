//! Datagram -> FlowRecord. Pure: no socket, no clock, no log, no metric, no unsafe.
//!
//! The caller asks [`identify`] what the datagram is, finds the [`Domain`] that has learned its
//! templates, and calls [`decode`], which walks the sets in wire order inside their own bounds,
//! changes what is learned, and appends flows to the caller's batch. What went wrong is counted in
//! the [`Outcome`], never returned as an error that stops anybody else.
//!
//! Each room knows only those before it: `wire` (octets as they stand there), `told` (tables of what exporters told),
//! `plan` (a template compiled, and the hottest loop), `learned` (what domains and exporters know), and the drive over
//! them, `message` and `v5`.

mod error;
mod key;
mod learned;
mod message;
mod outcome;
mod plan;
mod selection;
mod sequence;
mod told;
mod v5;
mod wire;

pub use error::{DecodeError, DecodeErrorKind, SetDropKind};
pub use key::{DomainKey, Session, SessionPolicy};
pub use learned::{
    Decided, Domain, DomainStatus, ExporterState, IdentityLesson, Lesson, NameKind, NameLesson, NamedEntry,
    Observation, OptionsStatus, Overflowed, ParkOverflow, ParkedCounts, Restored, SamplingEntry, SamplingEntryScope,
    SequenceUnit, SharedTable, Stored, TemplateEvent, TemplateEventCounts, TemplateEventKind, TemplateForm,
    TemplateLesson, TemplateNews, TemplateRoom, TemplateStatus, WaitingSet, WaitingTemplate, distinct_boots,
    parked_octets,
};
pub use outcome::Outcome;
pub use selection::{DecodeSettings, Elements, PostCounters, Profile, Selection};
pub use sequence::{SequenceDelta, SequenceNote};
pub use told::{LearnedBudget, Original, Originals};
pub use wire::header::{Datagram, Header, identify};
pub use wire::set::set_at;

use wire::header::message_body;

use crate::flow::{FlowBatch, Version};

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
