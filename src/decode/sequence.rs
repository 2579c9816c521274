//! Sequence accounting: missing, duplicate, reordered, reset, in the version's own unit.
//!
//! v5 and v7 count flows, v9 counts datagrams, IPFIX counts data records (options records too). A gap
//! becomes "missing" only when the window of messages has passed over it: until then a late message
//! fills it. Several workers apply their messages one after the other, so the order here is not the
//! order of the wire; the window (plan section 4) is wide enough for that.
//!
//! Domains are mostly one stream of numbers. Where several processes behind one address export (v9
//! under `SessionPolicy::Any`, IPFIX ports without templates of their own), each UDP source port with
//! a numbering of its own is a stream; a port that continues another's numbering is the same stream.
//!
//! A v9 exporter whose numbers go by the records of its messages, three times running, counts flows (N9-29): from there
//! on its numbers are read so. A message with the octets of one of the last is a duplicate, counts as nothing else, and
//! fills no gap.

use std::collections::VecDeque;

use super::wire::fixed::count_max;
use super::wire::header::{Datagram, Header};
use crate::flow::Version;
use crate::limits::SEQUENCE_WINDOW_MIN;

/// Sequence number and units of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SequenceNote {
    /// Sequence number of the header.
    pub sequence: u32,
    /// Units that the message itself holds; None if it cannot be known (unknown template, IX-21).
    pub units: Option<u32>,
    /// Data records in a message of NetFlow v9, whose unit they are for a few exporters; None if it cannot be known.
    pub flows: Option<u32>,
    /// UDP source port.
    pub port: u16,
    /// A fingerprint of its octets: tells a repeated datagram from another of the same number.
    pub fingerprint: u64,
}

/// Tells datagrams from each other by their length, their header, and words from all over them: it is made of every
/// datagram and asked for seldom, so it does not read every octet of a long one.
pub(super) fn fingerprint(octets: &[u8]) -> u64 {
    const WORDS: usize = 8;
    let mix = |sum: u64, word: u64| (sum.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    let mut sum = octets.len() as u64;
    let Some((header, body)) = octets.split_first_chunk::<24>().filter(|(_, body)| body.len() >= 8) else {
        for chunk in octets.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            sum = mix(sum, u64::from_le_bytes(word));
        }
        return sum;
    };
    for word in header.as_chunks().0 {
        sum = mix(sum, u64::from_le_bytes(*word));
    }
    let last = body.len() - 8;
    let word = |at: usize| body.get(at..at + 8).and_then(<[u8]>::first_chunk).map_or(0, |w| u64::from_le_bytes(*w));
    // A sum of its own, so that one multiplication need not wait for the other's.
    let mut other = word(last);
    for n in 0..WORDS / 2 {
        sum = mix(sum, word(last / WORDS * n));
        other = mix(other, word(last / WORDS * (n + WORDS / 2)));
    }
    mix(sum, other)
}

/// What sequence accounting found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SequenceDelta {
    /// Units newly counted as missing.
    pub missing: u64,
    /// Messages that came twice with the same octets.
    pub duplicates: u64,
    /// Messages that came late but inside the window.
    pub reordered: u64,
    /// Restarts of the exporter's numbering.
    pub resets: u64,
}

/// Largest jump ahead that is loss and not another numbering: at 10,000 units a second this is half
/// an hour of silence (A-27: a forged jump must not raise an alarm of billions).
const JUMP_MAX: u32 = 1 << 24;

/// Gaps kept open at once; the oldest is closed as missing when another one comes.
const GAPS_MAX: usize = 256;

#[derive(Debug, Clone, Copy)]
struct Gap {
    start: u32,
    length: u32,
    /// Number of the message behind which it opened.
    opened: u64,
}

/// Messages that a duplicate may be behind its first.
const DUPLICATE_WINDOW: usize = SEQUENCE_WINDOW_MIN;

/// Messages in a row whose numbers go by another unit, after which it is theirs.
const UNIT_EVIDENCE: u8 = 3;

/// Messages over which gaps are judged, at least half as many: both counts are halved where this is reached.
const LATELY: u32 = 2_048;
/// With a gap before each of so many messages a part of the stream goes elsewhere: of two processes that share one at
/// random, each sees a gap before every second message, while loss comes in bursts, which are few gaps.
const INTERLEAVED_PART: u32 = 8;

/// Numberings of one domain at once; the one not heard for longest makes room.
const STREAMS_MAX: usize = 8;

/// All streams of a domain.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    streams: Vec<Stream>,
    turn: u64,
    duplicates: u64,
    /// Of streams that made room: units received and missing.
    closed: (u64, u64),
    /// Their messages.
    closed_messages: u64,
}

#[derive(Debug, Default)]
struct Stream {
    port: u16,
    heard: u64,
    tracker: SequenceTracker,
}

impl Sequences {
    /// Applies messages; sorts them first. `window` is in messages.
    pub(super) fn apply(&mut self, notes: &mut [SequenceNote], window: usize) -> SequenceDelta {
        self.turn += 1;
        let mut sum = SequenceDelta::default();
        notes.sort_unstable_by_key(|n| n.port);
        for group in notes.chunk_by_mut(|a, b| a.port == b.port) {
            let turn = self.turn;
            let stream = self.stream(group[0], &mut sum);
            stream.heard = turn;
            let delta = stream.tracker.apply(group, window);
            sum.missing += delta.missing;
            sum.duplicates += delta.duplicates;
            sum.reordered += delta.reordered;
            sum.resets += delta.resets;
        }
        self.duplicates += sum.duplicates;
        sum
    }

    fn stream(&mut self, note: SequenceNote, sum: &mut SequenceDelta) -> &mut Stream {
        let known = self.streams.iter().position(|s| s.port == note.port);
        let known = known.or_else(|| self.streams.iter().position(|s| s.tracker.continues(note.sequence)));
        let at = known.unwrap_or_else(|| {
            if self.streams.len() < STREAMS_MAX {
                self.streams.push(Stream::default());
                return self.streams.len() - 1;
            }
            let oldest = (0..self.streams.len()).min_by_key(|i| self.streams[*i].heard).unwrap_or(0);
            let old = std::mem::take(&mut self.streams[oldest]).tracker;
            // Nobody is left to fill its gaps.
            sum.missing += old.open_units();
            self.closed_messages += old.messages;
            self.closed.0 += old.received;
            self.closed.1 += old.missing + old.open_units();
            oldest
        });
        let stream = &mut self.streams[at];
        stream.port = note.port;
        stream
    }

    /// Messages that came twice.
    pub(super) const fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// A stream of v9 counts flows.
    pub(super) fn counts_flows(&self) -> bool {
        self.streams.iter().any(|s| s.tracker.by_flows)
    }

    /// Units received.
    pub(super) fn received(&self) -> u64 {
        self.closed.0 + self.streams.iter().map(|s| s.tracker.received).sum::<u64>()
    }

    /// Messages, without those that came twice.
    pub(super) fn messages(&self) -> u64 {
        self.closed_messages + self.streams.iter().map(|s| s.tracker.messages).sum::<u64>()
    }

    /// Number of the last unit of the stream heard last.
    pub(super) fn highest(&self) -> Option<u32> {
        self.streams.iter().max_by_key(|s| s.heard).and_then(|s| s.tracker.highest)
    }

    /// A stream misses so many messages one by one that a part of it seems to go elsewhere.
    pub(super) fn is_interleaved(&self) -> bool {
        self.streams.iter().any(|s| s.tracker.is_interleaved())
    }

    /// Units counted as missing.
    pub(super) fn missing(&self) -> u64 {
        self.closed.1 + self.streams.iter().map(|s| s.tracker.missing).sum::<u64>()
    }

    /// Gaps still open, in units: missing if nothing fills them.
    pub(super) fn open_units(&self) -> u64 {
        self.streams.iter().map(|s| s.tracker.open_units()).sum()
    }

    /// What is expected next of the stream heard last.
    pub(super) fn expected(&self) -> Option<u32> {
        self.streams.iter().max_by_key(|s| s.heard).and_then(|s| s.tracker.expected())
    }
}

/// One stream of sequence numbers.
#[derive(Debug, Default)]
struct SequenceTracker {
    expected: Option<u32>,
    /// A message far from what was expected: the next one tells whether the stream moved there (loss or
    /// a restart), or whether it was a forged or stray one.
    stray: Option<SequenceNote>,
    gaps: VecDeque<Gap>,
    messages: u64,
    received: u64,
    missing: u64,
    /// Largest jump back that is still a late message: what the window can hold.
    reach: u32,
    /// Fingerprints of the last messages.
    recent: VecDeque<u64>,
    /// The last message had no units: the next one has its number.
    stands: bool,
    /// v9: the numbers count flows.
    by_flows: bool,
    /// v9: the message before and its flows.
    before: Option<(u32, u32)>,
    /// Messages in a row whose numbers went by the other unit.
    evidence: u8,
    /// Number of the last unit that is not late.
    highest: Option<u32>,
    /// Lately: messages, and gaps between them that nothing filled.
    lately: (u32, u32),
}

impl SequenceTracker {
    fn apply(&mut self, notes: &mut [SequenceNote], window: usize) -> SequenceDelta {
        // Sorted relative to what is expected, so that a wrap does not tear them apart.
        let anchor = self.expected.unwrap_or_else(|| notes.first().map_or(0, |n| n.sequence)).wrapping_sub(1 << 31);
        notes.sort_unstable_by_key(|n| n.sequence.wrapping_sub(anchor));
        let mut delta = SequenceDelta::default();
        for note in notes.iter() {
            self.one(*note, window, &mut delta);
        }
        self.missing += delta.missing;
        if self.lately.0 >= LATELY {
            self.lately = (self.lately.0 / 2, self.lately.1 / 2);
        }
        delta
    }

    fn one(&mut self, mut note: SequenceNote, window: usize, delta: &mut SequenceDelta) {
        if self.is_duplicate(&note) {
            delta.duplicates += 1;
            return;
        }
        self.messages += 1;
        self.lately.0 += 1;
        self.learn_unit(&note);
        if self.by_flows {
            note.units = note.flows;
        }
        self.stands = note.units == Some(0);
        let units = note.units.unwrap_or(0);
        self.received += u64::from(units);
        // Twice the window's worth of the largest message seen: v5 steps by up to 30, IPFIX by more.
        let window_units = u32::try_from(window).unwrap_or(u32::MAX).saturating_mul(units.max(1)).saturating_mul(2);
        self.reach = self.reach.max(window_units);
        if self.is_in_stream(note, delta) {
            let next = note.units.map(|u| note.sequence.wrapping_add(u));
            match self.expected {
                Some(expected) if note.sequence != expected && self.reaches(note.sequence, expected) => {
                    self.late(note.sequence, note.units, delta);
                }
                Some(expected) => {
                    let ahead = note.sequence.wrapping_sub(expected);
                    if ahead != 0 {
                        self.open_gap(expected, ahead, delta);
                    }
                    self.goes_to(note, next);
                }
                None => self.goes_to(note, next),
            }
        }
        while let Some(gap) = self.gaps.front()
            && self.messages - gap.opened > window as u64
        {
            delta.missing += u64::from(gap.length);
            self.lately.1 += 1;
            self.gaps.pop_front();
        }
    }

    /// The stream has come to `note`, behind which `next` is expected.
    fn goes_to(&mut self, note: SequenceNote, next: Option<u32>) {
        self.expected = next;
        self.highest = Some(note.sequence.wrapping_add(note.units.unwrap_or(1).saturating_sub(1)));
    }

    /// So many gaps, between so many messages, that loss is not the likely cause.
    const fn is_interleaved(&self) -> bool {
        let (messages, gaps) = self.lately;
        messages >= LATELY / 2 && gaps.saturating_mul(INTERLEAVED_PART) >= messages
    }

    /// True if one of the last messages had the same octets. One with the number that comes next cannot be, unless the
    /// message before had no units.
    fn is_duplicate(&mut self, note: &SequenceNote) -> bool {
        let is_next = self.expected == Some(note.sequence) && !self.stands;
        if !is_next && self.recent.contains(&note.fingerprint) {
            return true;
        }
        if self.recent.len() >= DUPLICATE_WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back(note.fingerprint);
        false
    }

    /// Watches by what the numbers of v9 go: messages, or the flows in them (N9-29).
    fn learn_unit(&mut self, note: &SequenceNote) {
        let before = std::mem::replace(&mut self.before, note.flows.map(|flows| (note.sequence, flows)));
        // With one flow both units say the same, and a message of templates alone is none.
        let Some((sequence, flows)) = before.filter(|(_, flows)| *flows > 1) else { return };
        let other = if self.by_flows { 1 } else { flows };
        if note.sequence.wrapping_sub(sequence) != other {
            self.evidence = 0;
            return;
        }
        self.evidence += 1;
        if self.evidence >= UNIT_EVIDENCE {
            // What looked like gaps was the other unit.
            self.gaps.clear();
            self.stray = None;
            self.expected = Some(note.sequence);
            (self.by_flows, self.evidence) = (!self.by_flows, 0);
        }
    }

    /// True if `to` is at most the window's reach ahead of `from`.
    const fn reaches(&self, from: u32, to: u32) -> bool {
        to.wrapping_sub(from) <= self.reach
    }

    /// True if a message with this number could be the next of the stream, or a late one.
    fn continues(&self, sequence: u32) -> bool {
        self.expected.is_some_and(|expected| self.reaches(expected, sequence) || self.reaches(sequence, expected))
    }

    /// False for a message far from the stream until a second one shows that the stream went there.
    fn is_in_stream(&mut self, note: SequenceNote, delta: &mut SequenceDelta) -> bool {
        let Some(expected) = self.expected else { return true };
        if self.continues(note.sequence) {
            delta.resets += u64::from(self.stray.take().is_some());
            return true;
        }
        let follows = |stray: &SequenceNote| {
            let step = note.sequence.wrapping_sub(stray.sequence);
            step >= stray.units.unwrap_or(0) && step <= self.reach
        };
        let Some(stray) = self.stray.take_if(|stray| follows(stray)) else {
            delta.resets += u64::from(self.stray.replace(note).is_some());
            return false;
        };
        let jump = stray.sequence.wrapping_sub(expected);
        if jump < JUMP_MAX {
            delta.missing += u64::from(jump);
        } else {
            // Another numbering: the exporter restarted (N9-17).
            delta.resets += 1;
        }
        // Nothing fills what is open before the jump.
        delta.missing += self.gaps.drain(..).map(|g| u64::from(g.length)).sum::<u64>();
        self.expected = stray.units.map(|u| stray.sequence.wrapping_add(u));
        true
    }

    fn open_gap(&mut self, start: u32, length: u32, delta: &mut SequenceDelta) {
        if self.gaps.len() >= GAPS_MAX
            && let Some(oldest) = self.gaps.pop_front()
        {
            delta.missing += u64::from(oldest.length);
            self.lately.1 += 1;
        }
        self.gaps.push_back(Gap { start, length, opened: self.messages });
    }

    /// A message behind what is expected: it fills a gap, or it came before.
    fn late(&mut self, sequence: u32, units: Option<u32>, delta: &mut SequenceDelta) {
        let Some(index) = self.gaps.iter().position(|g| sequence.wrapping_sub(g.start) < g.length) else {
            // Another message of a number that came: not the same octets, so not twice.
            return;
        };
        delta.reordered += 1;
        let gap = self.gaps[index];
        let before = sequence.wrapping_sub(gap.start);
        // Of unknown size: whatever it held, it must not count as lost (IX-21).
        let filled = units.unwrap_or(u32::MAX).min(gap.length - before);
        let after = gap.length - before - filled;
        let rest = Gap { start: sequence.wrapping_add(filled), length: after, opened: gap.opened };
        match (before, after) {
            (0, 0) => _ = self.gaps.remove(index),
            (0, _) => self.gaps[index] = rest,
            (_, 0) => self.gaps[index].length = before,
            _ => {
                self.gaps[index].length = before;
                self.gaps.insert(index + 1, rest);
            }
        }
    }

    /// Gaps still open, in units.
    fn open_units(&self) -> u64 {
        self.gaps.iter().map(|g| u64::from(g.length)).sum()
    }

    /// What is expected next; None before the first message or after one of unknown size.
    const fn expected(&self) -> Option<u32> {
        self.expected
    }
}

impl Header {
    /// What a message that nobody decodes is to the sequence accounting: its number, and its units where the header
    /// tells them (IX-21: IPFIX counts data records, which only the sets tell).
    #[must_use]
    pub fn sequence_note(&self, datagram: &Datagram<'_>) -> Option<SequenceNote> {
        let units = match self.version {
            Version::V1 => return None,
            Version::V5 | Version::V7 => Some(u32::from(self.count_or_length.min(count_max(self.version)))),
            Version::V9 => Some(1),
            Version::Ipfix => None,
        };
        let (port, fingerprint) = (datagram.peer.port(), fingerprint(datagram.octets));
        Some(SequenceNote { sequence: self.sequence, units, flows: None, port, fingerprint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: usize = 64;

    fn note(sequence: u32, units: Option<u32>, port: u16) -> SequenceNote {
        SequenceNote { sequence, units, flows: None, port, fingerprint: u64::from(sequence) << 16 | u64::from(port) }
    }

    fn run(notes: &[(u32, Option<u32>)]) -> (SequenceTracker, SequenceDelta) {
        let mut tracker = SequenceTracker::default();
        let mut sum = SequenceDelta::default();
        for (sequence, units) in notes {
            let one = tracker.apply(&mut [note(*sequence, *units, 1)], WINDOW);
            sum.missing += one.missing;
            sum.duplicates += one.duplicates;
            sum.reordered += one.reordered;
            sum.resets += one.resets;
        }
        (tracker, sum)
    }

    fn flows(sequences: impl IntoIterator<Item = u32>) -> Vec<(u32, Option<u32>)> {
        sequences.into_iter().map(|s| (s, Some(30))).collect()
    }

    #[test]
    fn v5_08_a_lost_datagram_is_missing_when_the_window_has_passed() {
        let kept = (0..200_u32).filter(|i| *i != 50).map(|i| i * 30);
        let (_, sum) = run(&flows(kept));
        assert_eq!(sum, SequenceDelta { missing: 30, ..Default::default() });
        let (tracker, sum) = run(&flows([0, 60]));
        assert_eq!((sum.missing, tracker.open_units()), (0, 30));
    }

    #[test]
    fn a_stream_of_which_every_second_message_goes_elsewhere_is_told_from_one_with_bursts_of_loss() {
        let judge = |kept: &dyn Fn(u32) -> bool| {
            let notes: Vec<_> = (0..8_192_u32).filter(|n| kept(*n)).map(|n| (n, Some(1))).collect();
            let (tracker, sum) = run(&notes);
            assert!(sum.missing > 1_000);
            (tracker.is_interleaved(), tracker.highest, tracker.messages, notes.len() as u64)
        };
        let (interleaved, highest, messages, sent) = judge(&|n| n.wrapping_mul(2_654_435_761) >> 31 == 1 || n == 8_191);
        assert_eq!((interleaved, highest, messages), (true, Some(8_191), sent));
        assert!(!judge(&|n| n % 512 >= 128).0, "a quarter is lost, in bursts");
        let (tracker, _) = run(&(0..512).map(|n| (n * 2, Some(1))).collect::<Vec<_>>());
        assert!(!tracker.is_interleaved(), "too few to tell");
    }

    #[test]
    fn the_highest_number_is_that_of_the_last_unit() {
        assert_eq!(run(&flows([0, 30, 60])).0.highest, Some(89));
        assert_eq!(run(&flows([0, 60, 30])).0.highest, Some(89), "a late one does not move it back");
        assert_eq!(run(&[(7, None)]).0.highest, Some(7));
        assert_eq!(run(&[(7, Some(0))]).0.highest, Some(7), "a message of templates alone");
    }

    #[test]
    fn v5_08_a_wrap_is_no_loss() {
        let (tracker, sum) = run(&flows((0..10_u32).map(|i| 0xFFFF_FFF0_u32.wrapping_add(i * 30))));
        assert_eq!(sum, SequenceDelta::default());
        assert_eq!(tracker.open_units(), 0);
    }

    #[test]
    fn n9_29_reorder_and_duplicates() {
        let (tracker, sum) = run(&[(1, Some(1)), (4, Some(1)), (3, Some(1)), (2, Some(1)), (5, Some(1)), (5, Some(1))]);
        assert_eq!(sum, SequenceDelta { reordered: 2, duplicates: 1, ..Default::default() });
        assert_eq!(tracker.open_units(), 0);
    }

    #[test]
    fn a_batch_is_sorted_before_it_is_applied() {
        let mut tracker = SequenceTracker::default();
        let note = |s: u32| note(s, Some(1), 1);
        tracker.apply(&mut [note(u32::MAX - 1)], WINDOW);
        let delta = tracker.apply(&mut [note(1), note(0), note(u32::MAX), note(2)], WINDOW);
        assert_eq!(delta, SequenceDelta::default());
    }

    #[test]
    fn ix_21_unknown_units_anchor_anew() {
        let (tracker, sum) = run(&[(100, Some(5)), (105, None), (160, Some(5)), (165, Some(5))]);
        assert_eq!(sum, SequenceDelta::default());
        assert_eq!(tracker.expected(), Some(170));
    }

    #[test]
    fn n9_17_a_restart_is_one_reset_and_no_loss() {
        let mut notes = flows((0..100).map(|i| 5_000_000 + i * 30));
        notes.extend(flows((0..100).map(|i| i * 30)));
        let (_, sum) = run(&notes);
        assert_eq!(sum, SequenceDelta { resets: 1, ..Default::default() });
    }

    #[test]
    fn a_27_a_forged_jump_is_a_reset_and_no_loss() {
        for forged in [0x8000_0001, 5_000_000, 1_000, u32::MAX - 5_000] {
            let (tracker, sum) = run(&[(1, Some(1)), (forged, Some(1)), (2, Some(1)), (3, Some(1))]);
            assert_eq!((sum.missing, sum.resets, tracker.open_units()), (0, 1, 0), "{forged}");
            assert_eq!(tracker.expected(), Some(4));
        }
    }

    #[test]
    fn n9_17_stragglers_around_a_restart_are_no_loss() {
        let mut notes = flows((0..100).map(|i| 5_000_000 + i * 30));
        notes.extend(flows([0, 30, 60]));
        notes.extend(flows([5_003_000]));
        notes.extend(flows((3..200).map(|i| i * 30)));
        let (_, sum) = run(&notes);
        assert_eq!((sum.missing, sum.resets), (0, 2));
    }

    #[test]
    fn v5_08_an_outage_longer_than_the_window_is_loss() {
        let mut notes = flows((0..100).map(|i| i * 30));
        notes.extend(flows((10_000..10_010).map(|i| i * 30)));
        let (_, sum) = run(&notes);
        assert_eq!(sum, SequenceDelta { missing: 9_900 * 30, ..Default::default() });
    }

    #[test]
    fn ix_21_a_late_message_of_unknown_size_fills_its_gap() {
        let mut notes = vec![(0, Some(5)), (10, Some(5)), (5, None)];
        notes.extend((3..100).map(|i| (i * 5, Some(5))));
        let (_, sum) = run(&notes);
        assert_eq!(sum, SequenceDelta { reordered: 1, ..Default::default() });
    }

    fn streams(notes: impl IntoIterator<Item = (u16, u32)>) -> (Sequences, u64) {
        let mut sequences = Sequences::default();
        let mut missing = 0;
        let notes: Vec<_> = notes.into_iter().map(|(port, sequence)| note(sequence, Some(1), port)).collect();
        for batch in notes.chunks(7) {
            missing += sequences.apply(&mut batch.to_vec(), WINDOW).missing;
        }
        assert_eq!(missing, sequences.missing());
        (sequences, missing)
    }

    #[test]
    fn n9_14_ports_with_numbers_of_their_own_are_streams_of_their_own() {
        let (sequences, missing) = streams((0..500).flat_map(|i| [(1, i), (2, 9_000_000 + i)]));
        assert_eq!((missing, sequences.open_units(), sequences.received()), (0, 0, 1_000));
        // One message of the second is lost.
        let lost = |(port, sequence): &(u16, u32)| (*port, *sequence) != (2, 9_000_100);
        let (_, missing) = streams((0..500).flat_map(|i| [(1, i), (2, 9_000_000 + i)]).filter(lost));
        assert_eq!(missing, 1);
    }

    #[test]
    fn n9_29_one_numbering_over_many_ports_is_one_stream() {
        // A new source port for each message, one message lost.
        let (sequences, missing) = streams((0..500_u16).filter(|i| *i != 77).map(|i| (i, u32::from(i))));
        assert_eq!((missing, sequences.streams.len()), (1, 1));
    }

    #[test]
    fn a_28_fingerprints_tell_datagrams_apart() {
        let octets: Vec<u8> = (0..1_464_u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
        for length in [0, 1, 7, 8, 24, 31, 32, 33, 48, 200, octets.len()] {
            let one = &octets[..length];
            assert!(length == 0 || fingerprint(one) != fingerprint(&one[..length - 1]));
            // The header, the first and the last word of the body are always looked at; short ones as a whole.
            let looked_at = (0..length.min(32)).chain(length.saturating_sub(8)..length);
            let others = looked_at.map(|at| {
                let mut other = one.to_vec();
                other[at] ^= 1;
                fingerprint(&other)
            });
            assert!(others.into_iter().all(|other| other != fingerprint(one)), "{length}");
        }
    }

    #[test]
    fn streams_are_bounded() {
        let (sequences, _) = streams((0..500_u16).map(|i| (i, u32::from(i) * 1_000_000)));
        assert_eq!((sequences.streams.len(), sequences.received()), (STREAMS_MAX, 500));
    }

    #[test]
    fn gaps_are_bounded() {
        let (tracker, sum) = run(&(0..2_000_u32).map(|i| (i * 2, Some(1))).collect::<Vec<_>>());
        assert!(tracker.gaps.len() <= WINDOW + 1);
        assert_eq!(sum.missing + tracker.open_units(), 1_999);
    }
}
