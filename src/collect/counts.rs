//! What a worker counts between two publications: plain integers, added to the books in one go.

use std::net::SocketAddr;

use super::admit::Refusal;
use crate::decode::{DecodeError, DecodeErrorKind, Outcome, SequenceDelta, SetDropKind};
use crate::flow::Version;
use crate::metrics::{Books, REFUSE_REASONS, Tally};

/// Counts since the last publication.
#[derive(Debug, Default)]
pub(super) struct Counts {
    processed: u64,
    trailing: u64,
    refused: [u64; REFUSE_REASONS.len()],
    /// Sender of the last datagram refused for each reason, for a log line.
    pub last_refused: [Option<SocketAddr>; REFUSE_REASONS.len()],
    rejected: [u64; DecodeErrorKind::ALL.len()],
    /// The last rejected datagram of each kind, for a log line.
    pub last_rejected: [Option<(SocketAddr, DecodeError)>; DecodeErrorKind::ALL.len()],
    sets_seen: u64,
    sets_decoded: u64,
    sets_options: u64,
    sets_templates: u64,
    sets_parked: u64,
    octets_parked: u64,
    sets_parked_disk: u64,
    sets_unparked_disk: u64,
    sets_unparked: u64,
    octets_unparked: u64,
    sets_dropped: [u64; SetDropKind::ALL.len()],
    records: [u64; Version::ALL.len()],
    sampling_unknown: u64,
    options_records: u64,
    non_flow_records: u64,
    lists_unread: u64,
    originals_refused: u64,
    elements_refused: u64,
    common_properties_unknown: u64,
    templates_learned: u64,
    templates_rejected: u64,
    withdrawals_ignored: u64,
    sets_odd_padding: u64,
    duplicated: u64,
    missing: [u64; Version::ALL.len()],
}

impl Counts {
    /// A datagram that admission refused.
    pub fn refuse(&mut self, peer: SocketAddr, refusal: Refusal) {
        self.refused[refusal as usize] += 1;
        self.last_refused[refusal as usize] = Some(peer);
    }

    /// A datagram of which nothing was used.
    pub fn reject(&mut self, peer: SocketAddr, error: DecodeError) {
        self.rejected[error.kind as usize] += 1;
        self.last_rejected[error.kind as usize] = Some((peer, error));
    }

    /// A datagram of which something was used; `records` of them were appended.
    pub fn process(&mut self, version: Version, outcome: &Outcome, records: u64) {
        self.processed += 1;
        self.trailing += u64::from(outcome.trailing_octets);
        self.sets_seen += u64::from(outcome.sets_seen);
        self.sets_decoded += u64::from(outcome.sets_decoded);
        self.sets_options += u64::from(outcome.sets_options);
        self.sets_templates += u64::from(outcome.sets_templates);
        self.sets_parked += u64::from(outcome.sets_parked);
        self.octets_parked += outcome.octets_parked;
        self.sets_parked_disk += u64::from(outcome.sets_parked_disk);
        self.sets_unparked_disk += u64::from(outcome.sets_unparked_disk);
        self.sets_unparked += u64::from(outcome.sets_unparked);
        self.octets_unparked += outcome.octets_unparked;
        for (sum, n) in self.sets_dropped.iter_mut().zip(outcome.sets_dropped) {
            *sum += u64::from(n);
        }
        self.records[version.index()] += records;
        self.sampling_unknown += u64::from(outcome.sampling_unknown);
        self.options_records += u64::from(outcome.options_records);
        self.non_flow_records += u64::from(outcome.non_flow_records);
        self.lists_unread += u64::from(outcome.lists_unread);
        self.originals_refused += u64::from(outcome.originals_refused);
        self.elements_refused += u64::from(outcome.elements_refused);
        self.common_properties_unknown += u64::from(outcome.common_properties_unknown);
        self.templates_learned += u64::from(outcome.templates_learned);
        self.templates_rejected += u64::from(outcome.templates_rejected);
        self.withdrawals_ignored += u64::from(outcome.withdrawals_ignored);
        self.sets_odd_padding += u64::from(outcome.sets_odd_padding);
    }

    /// What sequence accounting found.
    pub fn sequence(&mut self, version: Version, delta: &SequenceDelta) {
        self.missing[version.index()] += delta.missing;
        self.duplicated += delta.duplicates;
    }

    /// Datagrams refused for `refusal`.
    pub fn refusals(&self, refusal: Refusal) -> u64 {
        self.refused[refusal as usize]
    }

    /// Rejected datagrams of `kind`.
    pub fn rejections(&self, kind: DecodeErrorKind) -> u64 {
        self.rejected[kind as usize]
    }

    /// Adds everything to the books and begins anew. Upstream counters come first, because readers
    /// read downstream first: so nothing is seen to leave before it came. What leaves the waiting
    /// room is taken off before it shows as decoded or dropped.
    pub fn publish(&mut self, books: &Books) {
        let all = |to: &[Tally], from: &[u64]| to.iter().zip(from).for_each(|(tally, n)| tally.add(*n));
        let take = |from: &Tally, n: u64| {
            if n != 0 {
                from.sub(n);
            }
        };
        all(&books.refused, &self.refused);
        all(&books.rejected, &self.rejected);
        books.processed.add(self.processed);
        books.trailing.add(self.trailing);
        books.sets_seen.add(self.sets_seen);
        take(&books.sets_parked, self.sets_unparked);
        take(&books.sets_parked_disk, self.sets_unparked_disk);
        take(&books.parked_bytes, self.octets_unparked);
        books.sets_parked_disk.add(self.sets_parked_disk);
        books.sets_parked.add(self.sets_parked);
        books.parked_bytes.add(self.octets_parked);
        books.sets_decoded.add(self.sets_decoded);
        books.sets_options.add(self.sets_options);
        books.sets_templates.add(self.sets_templates);
        all(&books.sets_dropped, &self.sets_dropped);
        all(&books.decoded, &self.records);
        books.sampling_unknown.add(self.sampling_unknown);
        books.options_records.add(self.options_records);
        books.non_flow_records.add(self.non_flow_records);
        books.lists_unread.add(self.lists_unread);
        books.originals_refused.add(self.originals_refused);
        books.elements_refused.add(self.elements_refused);
        books.common_properties_unknown.add(self.common_properties_unknown);
        books.templates_learned.add(self.templates_learned);
        books.templates_rejected.add(self.templates_rejected);
        books.withdrawals_ignored.add(self.withdrawals_ignored);
        books.sets_odd_padding.add(self.sets_odd_padding);
        books.datagrams_duplicated.add(self.duplicated);
        all(&books.missing, &self.missing);
        *self = Self::default();
    }
}
