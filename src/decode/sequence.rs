//! Sequence accounting: missing, duplicate, reordered, reset, in the version's own unit.
//!
//! v5 and v7 count flows, v9 counts datagrams, IPFIX counts data records (options records too). A gap
//! becomes "missing" only when the window of messages has passed over it: until then a late message
//! fills it. Several workers apply their messages one after the other, so the order here is not the
//! order of the wire; the window (plan section 4) is wide enough for that.

use std::collections::VecDeque;

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

/// One stream of sequence numbers.
#[derive(Debug, Default)]
pub(super) struct SequenceTracker {
    expected: Option<u32>,
    gaps: VecDeque<Gap>,
    messages: u64,
    /// Units received.
    pub received: u64,
    /// Units counted as missing.
    pub missing: u64,
    /// Largest jump back that is still a late message: what the window can hold.
    reach: u32,
}

impl SequenceTracker {
    /// Applies messages; sorts them first. `window` is in messages.
    pub(super) fn apply(&mut self, notes: &mut [SequenceNote], window: usize) -> SequenceDelta {
        // Sorted relative to what is expected, so that a wrap does not tear them apart.
        let anchor = self.expected.unwrap_or_else(|| notes.first().map_or(0, |n| n.sequence)).wrapping_sub(1 << 31);
        notes.sort_unstable_by_key(|n| n.sequence.wrapping_sub(anchor));
        let mut delta = SequenceDelta::default();
        for note in notes.iter() {
            self.one(*note, window, &mut delta);
        }
        self.missing += delta.missing;
        delta
    }

    fn one(&mut self, note: SequenceNote, window: usize, delta: &mut SequenceDelta) {
        self.messages += 1;
        let units = note.units.unwrap_or(0);
        self.received += u64::from(units);
        // Twice the window's worth of the largest message seen: v5 steps by up to 30, IPFIX by more.
        let window_units = u32::try_from(window).unwrap_or(u32::MAX).saturating_mul(units.max(1)).saturating_mul(2);
        self.reach = self.reach.max(window_units);
        let next = note.units.map(|u| note.sequence.wrapping_add(u));
        match self.expected {
            None => self.expected = next,
            Some(expected) => {
                let ahead = note.sequence.wrapping_sub(expected);
                if ahead == 0 {
                    self.expected = next;
                } else if ahead < JUMP_MAX {
                    self.open_gap(expected, ahead, delta);
                    self.expected = next;
                } else if expected.wrapping_sub(note.sequence) <= self.reach {
                    self.late(note.sequence, units, delta);
                } else {
                    // Another numbering: the exporter restarted (N9-17). Open gaps were loss.
                    delta.resets += 1;
                    delta.missing += self.gaps.drain(..).map(|g| u64::from(g.length)).sum::<u64>();
                    self.expected = next;
                }
            }
        }
        while let Some(gap) = self.gaps.front()
            && self.messages - gap.opened > window as u64
        {
            delta.missing += u64::from(gap.length);
            self.gaps.pop_front();
        }
    }

    fn open_gap(&mut self, start: u32, length: u32, delta: &mut SequenceDelta) {
        if self.gaps.len() >= GAPS_MAX
            && let Some(oldest) = self.gaps.pop_front()
        {
            delta.missing += u64::from(oldest.length);
        }
        self.gaps.push_back(Gap { start, length, opened: self.messages });
    }

    /// A message behind what is expected: it fills a gap, or it came before.
    fn late(&mut self, sequence: u32, units: u32, delta: &mut SequenceDelta) {
        let Some(index) = self.gaps.iter().position(|g| sequence.wrapping_sub(g.start) < g.length) else {
            delta.duplicates += 1;
            return;
        };
        delta.reordered += 1;
        let gap = self.gaps[index];
        let before = sequence.wrapping_sub(gap.start);
        let filled = units.min(gap.length - before);
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

    /// Gaps still open, in units: missing if nothing fills them.
    pub(super) fn open_units(&self) -> u64 {
        self.gaps.iter().map(|g| u64::from(g.length)).sum()
    }

    /// What is expected next; None before the first message or after one of unknown size.
    pub(super) const fn expected(&self) -> Option<u32> {
        self.expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: usize = 64;

    fn run(notes: &[(u32, Option<u32>)]) -> (SequenceTracker, SequenceDelta) {
        let mut tracker = SequenceTracker::default();
        let mut sum = SequenceDelta::default();
        for (sequence, units) in notes {
            let one = tracker.apply(&mut [SequenceNote { sequence: *sequence, units: *units }], WINDOW);
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
        let note = |s: u32| SequenceNote { sequence: s, units: Some(1) };
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
    fn a_27_a_forged_jump_is_a_reset() {
        let (_, sum) = run(&[(1, Some(1)), (0x8000_0001, Some(1)), (2, Some(1)), (3, Some(1))]);
        assert_eq!((sum.missing, sum.resets), (0, 2));
    }

    #[test]
    fn gaps_are_bounded() {
        let (tracker, sum) = run(&(0..2_000_u32).map(|i| (i * 2, Some(1))).collect::<Vec<_>>());
        assert!(tracker.gaps.len() <= WINDOW + 1);
        assert_eq!(sum.missing + tracker.open_units(), 1_999);
    }
}
