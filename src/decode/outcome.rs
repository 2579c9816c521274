//! What a datagram came to, in numbers of its own: the caller adds them up.

use super::error::{DecodeError, SetDropKind};
use super::sequence::SequenceNote;

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
    /// The first set whose octets made no sense: why, and the how-manieth of the datagram it was (0: one that had waited).
    pub first_malformed: Option<(SetDropKind, u32)>,
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
        if kind.is_malformed() {
            self.first_malformed.get_or_insert((kind, self.sets_seen));
        }
    }
}
