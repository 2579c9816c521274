//! IP fragments -> the payload of the IP packet that they were cut from.
//!
//! Parts enter in any order, some perhaps twice; the payload leaves with the part that completes it.
//! Parts that overlap or contradict each other void their packet, and all later parts of it (RFC 5722,
//! for IPv4 as well: no honest sender does it). Packets, octets and age are bounded by `limits`; time
//! is the capture's. What never becomes whole is counted by cause.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::CaptureCounts;
use crate::limits::{CAPTURE_FRAGMENT_AGE_S, CAPTURE_FRAGMENT_OCTETS_MAX, CAPTURE_FRAGMENTED_MAX};

/// What the parts of one IP packet have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) id: u32,
    /// IPv4 numbers each protocol by itself; 0 in IPv6, which does not.
    pub(super) protocol: u8,
}

/// One fragment. Its octets are whole and not empty, and it ends within [`PAYLOAD_OCTETS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub(super) of: Origin,
    /// Protocol of the payload; that of the first part counts (RFC 8200 section 4.5).
    pub(super) next: u8,
    /// Octets before it.
    pub(super) offset: usize,
    /// Others come behind it.
    pub(super) more: bool,
    pub(super) octets: &'a [u8],
}

/// Largest payload of an IP packet: its length has 16 bits.
pub(super) const PAYLOAD_OCTETS_MAX: usize = 65_535;

/// Packets that are being joined, and those that lately were.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    packets: HashMap<Origin, Assembly>,
    /// By age: each packet is in here once, under its serial.
    order: BTreeMap<u64, Origin>,
    serial: u64,
    /// What all packets hold.
    octets: usize,
    now_ns: u64,
}

/// How far a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Given out. It is kept for its time, so that a part that comes twice begins no new packet.
    Whole,
    /// Its parts contradict each other.
    Void,
}

#[derive(Debug)]
struct Assembly {
    serial: u64,
    since_ns: u64,
    state: State,
    octets: Vec<u8>,
    /// Begin and end of each part, sorted; they do not overlap.
    parts: Vec<(u32, u32)>,
    /// Sum of the parts.
    held: usize,
    /// Length of the whole: known from the last part.
    length: Option<usize>,
    /// Protocol by the first part.
    next: u8,
}

/// What a part did to its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placed {
    Added,
    Repeated,
    Contradicts,
}

impl Joiner {
    /// Takes a part. If it completes its packet: the protocol and the octets of the whole payload.
    pub(super) fn take(&mut self, part: &Part<'_>, time_ns: u64, counts: &mut CaptureCounts) -> Option<(u8, &[u8])> {
        // Frames without a time stand at that of the one before.
        self.now_ns = if time_ns == 0 { self.now_ns } else { time_ns };
        self.make_room(counts);
        let known = self.packets.get(&part.of);
        match known.map(|packet| packet.state) {
            Some(State::Void) => return None,
            Some(State::Whole) if known.is_some_and(|packet| packet.has(part)) => return None,
            // The number is used again.
            Some(State::Whole) => self.forget(part.of),
            Some(State::Open) | None => {}
        }
        if !self.packets.contains_key(&part.of) {
            self.open(part.of, counts);
        }
        let packet = self.packets.get_mut(&part.of)?;
        let before = packet.cost();
        let placed = packet.place(part);
        if placed == Placed::Contradicts {
            counts.contradictory += 1;
            packet.void();
        }
        self.octets = self.octets + packet.cost() - before;
        if placed != Placed::Added || packet.length != Some(packet.held) {
            return None;
        }
        packet.state = State::Whole;
        Some((packet.next, &packet.octets))
    }

    /// The capture has ended: what is open stays incomplete.
    pub(super) fn finish(&mut self, counts: &mut CaptureCounts) {
        counts.incomplete += self.packets.values().filter(|packet| packet.state == State::Open).count() as u64;
        *self = Self::default();
    }

    /// Forgets the old, and the oldest where octets run out: one part adds a whole packet at most.
    fn make_room(&mut self, counts: &mut CaptureCounts) {
        while let Some(origin) = self.order.first_entry().map(|entry| *entry.get()) {
            let old = self.packets.get(&origin).is_none_or(|packet| {
                self.now_ns.saturating_sub(packet.since_ns) > CAPTURE_FRAGMENT_AGE_S * 1_000_000_000
            });
            if old {
                counts.incomplete += u64::from(self.is_open(origin));
            } else if self.octets > CAPTURE_FRAGMENT_OCTETS_MAX {
                counts.crowded_out += u64::from(self.is_open(origin));
            } else {
                break;
            }
            self.forget(origin);
        }
    }

    fn open(&mut self, origin: Origin, counts: &mut CaptureCounts) {
        if self.packets.len() >= CAPTURE_FRAGMENTED_MAX
            && let Some(oldest) = self.order.first_entry().map(|entry| *entry.get())
        {
            counts.crowded_out += u64::from(self.is_open(oldest));
            self.forget(oldest);
        }
        self.serial += 1;
        self.order.insert(self.serial, origin);
        let packet = Assembly {
            serial: self.serial,
            since_ns: self.now_ns,
            state: State::Open,
            octets: Vec::new(),
            parts: Vec::new(),
            held: 0,
            length: None,
            next: 0,
        };
        self.packets.insert(origin, packet);
    }

    fn is_open(&self, origin: Origin) -> bool {
        self.packets.get(&origin).is_some_and(|packet| packet.state == State::Open)
    }

    fn forget(&mut self, origin: Origin) {
        if let Some(packet) = self.packets.remove(&origin) {
            self.order.remove(&packet.serial);
            self.octets -= packet.cost();
        }
    }
}

impl Assembly {
    /// What it holds, octets.
    fn cost(&self) -> usize {
        self.octets.capacity() + self.parts.capacity() * size_of::<(u32, u32)>()
    }

    fn void(&mut self) {
        (self.state, self.octets, self.parts) = (State::Void, Vec::new(), Vec::new());
    }

    /// True if this very part was there before.
    fn has(&self, part: &Part<'_>) -> bool {
        let end = part.offset + part.octets.len();
        let last = self.length == Some(end);
        self.parts.binary_search(&(part.offset as u32, end as u32)).is_ok()
            && self.octets.get(part.offset..end) == Some(part.octets)
            && last != part.more
    }

    fn place(&mut self, part: &Part<'_>) -> Placed {
        let (begin, end) = (part.offset, part.offset + part.octets.len());
        if self.has(part) {
            return Placed::Repeated;
        }
        // The last part says where the packet ends, and nothing may stand behind it.
        let fits = match self.length {
            Some(length) => end <= length && (part.more == (end < length)),
            None => part.more || end >= self.octets.len(),
        };
        let at = self.parts.partition_point(|(other, _)| (*other as usize) < begin);
        let after = at.checked_sub(1).is_none_or(|before| self.parts[before].1 as usize <= begin);
        let before = self.parts.get(at).is_none_or(|(other, _)| end <= *other as usize);
        if !(fits && after && before) {
            return Placed::Contradicts;
        }
        if !part.more {
            self.length = Some(end);
        }
        if begin == 0 {
            self.next = part.next;
        }
        if self.octets.len() < end {
            self.octets.resize(end, 0);
        }
        self.octets[begin..end].copy_from_slice(part.octets);
        self.parts.insert(at, (begin as u32, end as u32));
        self.held += part.octets.len();
        Placed::Added
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn origin(id: u32) -> Origin {
        Origin { src: [192, 0, 2, 1].into(), dst: [192, 0, 2, 2].into(), id, protocol: 17 }
    }

    fn payload(octets: usize) -> Vec<u8> {
        (0..octets).map(|at| (at * 7 + at / 256) as u8).collect()
    }

    /// The parts of `whole`, cut at these multiples of eight.
    fn cut<'a>(whole: &'a [u8], id: u32, at: &[usize]) -> Vec<Part<'a>> {
        let mut ends: Vec<usize> = at.iter().map(|n| n * 8).filter(|n| (1..whole.len()).contains(n)).collect();
        ends.sort_unstable();
        ends.dedup();
        let begins = [&[0], &ends[..]].concat();
        ends.push(whole.len());
        let part = |(&offset, &end): (&usize, &usize)| Part {
            of: origin(id),
            next: 17,
            offset,
            more: end < whole.len(),
            octets: &whole[offset..end],
        };
        begins.iter().zip(&ends).map(part).collect()
    }

    /// What comes out, and with which part; everything at one time.
    fn run(joiner: &mut Joiner, parts: &[Part<'_>]) -> (Vec<(usize, Vec<u8>)>, CaptureCounts) {
        let mut counts = CaptureCounts::default();
        let mut found = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            if let Some((17, octets)) = joiner.take(part, SECOND_NS, &mut counts) {
                found.push((index, octets.to_vec()));
            }
        }
        joiner.finish(&mut counts);
        (found, counts)
    }

    #[test]
    fn cut_anywhere_in_two_in_both_orders() {
        let whole = payload(203);
        for at in 1..26 {
            let mut parts = cut(&whole, 1, &[at]);
            for _ in 0..2 {
                let (found, counts) = run(&mut Joiner::default(), &parts);
                assert_eq!(found, [(1, whole.clone())], "cut at {}", at * 8);
                assert_eq!(counts, CaptureCounts::default());
                parts.reverse();
            }
        }
    }

    #[test]
    fn a_missing_part_is_an_incomplete_packet() {
        let whole = payload(100);
        let parts = cut(&whole, 1, &[3, 6, 9]);
        for missing in 0..parts.len() {
            let mut parts = parts.clone();
            parts.remove(missing);
            let (found, counts) = run(&mut Joiner::default(), &parts);
            assert_eq!((found.len(), counts.incomplete), (0, 1), "without part {missing}");
        }
    }

    #[test]
    fn what_overlaps_or_contradicts_voids_the_packet() {
        let whole = payload(100);
        let parts = cut(&whole, 1, &[3, 6, 9]);
        let other = payload(101)[1..].to_vec();
        // With the place that it may come at first: an early end would make a whole packet of two parts.
        let wrong = [
            ("other octets in the same place", 0, Part { octets: &other[24..48], ..parts[1] }),
            ("longer", 0, Part { octets: &whole[24..56], ..parts[1] }),
            ("shorter", 0, Part { octets: &whole[24..40], ..parts[1] }),
            ("over two", 0, Part { offset: 8, octets: &whole[8..32], ..parts[1] }),
            ("an end before the end", 2, Part { more: false, ..parts[1] }),
            ("behind the end", 0, Part { offset: 104, octets: &whole[..8], ..parts[1] }),
            ("no end at the end", 0, Part { more: true, ..parts[3] }),
        ];
        for (what, first, wrong) in wrong {
            // Wherever it comes before the packet is whole: it and all later parts are gone.
            for at in first..parts.len() {
                let mut sent = parts.clone();
                sent.insert(at, wrong);
                sent.extend(parts.clone());
                let (found, counts) = run(&mut Joiner::default(), &sent);
                assert_eq!((found.len(), counts.contradictory, counts.incomplete), (0, 1, 0), "{what} at {at}");
            }
        }
    }

    #[test]
    fn a_number_that_is_used_again_is_a_new_packet() {
        let (first, second) = (payload(64), payload(72)[8..].to_vec());
        let mut parts = cut(&first, 1, &[4]);
        // The last part again: it was there, and begins nothing.
        parts.push(parts[1]);
        parts.extend(cut(&second, 1, &[4]));
        let (found, counts) = run(&mut Joiner::default(), &parts);
        assert_eq!(found, [(1, first), (4, second)]);
        assert_eq!(counts, CaptureCounts::default());
    }

    #[test]
    fn packets_age_in_the_capture_s_own_time() {
        let whole = payload(64);
        let parts = cut(&whole, 1, &[4]);
        for (seconds, joined) in [(0, true), (CAPTURE_FRAGMENT_AGE_S, true), (CAPTURE_FRAGMENT_AGE_S + 1, false)] {
            let (mut joiner, mut counts) = (Joiner::default(), CaptureCounts::default());
            assert!(joiner.take(&parts[0], SECOND_NS, &mut counts).is_none());
            // A frame without a time does not make anything old.
            assert!(joiner.take(&Part { of: origin(2), ..parts[0] }, 0, &mut counts).is_none());
            let late = joiner.take(&parts[1], SECOND_NS * (1 + seconds), &mut counts);
            assert_eq!(late.is_some(), joined, "{seconds} s later");
            joiner.finish(&mut counts);
            assert_eq!(counts.incomplete, if joined { 1 } else { 3 }, "{seconds} s later");
        }
    }

    #[test]
    fn a_flood_of_first_parts_is_bounded() {
        let whole = payload(65_528);
        let (mut joiner, mut counts) = (Joiner::default(), CaptureCounts::default());
        let packets = 3 * CAPTURE_FRAGMENTED_MAX as u32;
        for id in 0..packets {
            // The largest room for the least octets.
            let part = Part { offset: 65_520, octets: &whole[..8], more: true, of: origin(id), next: 17 };
            assert!(joiner.take(&part, SECOND_NS, &mut counts).is_none());
            let held: usize = joiner.packets.values().map(Assembly::cost).sum();
            assert_eq!((held, joiner.packets.len()), (joiner.octets, joiner.order.len()));
            assert!(joiner.packets.len() <= CAPTURE_FRAGMENTED_MAX);
            assert!(joiner.octets <= CAPTURE_FRAGMENT_OCTETS_MAX + 4 * PAYLOAD_OCTETS_MAX);
        }
        for id in 0..packets {
            let part = Part { offset: 0, octets: &whole[..8], more: true, of: origin(packets + id), next: 17 };
            joiner.take(&part, SECOND_NS, &mut counts);
            assert!(joiner.packets.len() <= CAPTURE_FRAGMENTED_MAX);
        }
        let crowded_out = counts.crowded_out;
        joiner.finish(&mut counts);
        assert_eq!(crowded_out + counts.incomplete, u64::from(2 * packets), "each is counted once");
        assert!(counts.incomplete <= CAPTURE_FRAGMENTED_MAX as u64);
    }

    proptest! {
        /// Several packets, cut anywhere, all parts in any order and some twice: each comes out once.
        #[test]
        fn shuffled_and_repeated_parts_join(
            packets in prop::collection::vec((1_usize..3_000, prop::collection::vec(0_usize..400, 0..6)), 1..6),
            order in any::<u64>(),
            repeats in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let wholes: Vec<Vec<u8>> = packets.iter().map(|(octets, _)| payload(*octets)).collect();
            let mut parts: Vec<Part<'_>> = packets
                .iter()
                .zip(&wholes)
                .enumerate()
                .flat_map(|(id, ((_, at), whole))| cut(whole, id as u32, at))
                .collect();
            for repeat in repeats {
                parts.push(parts[repeat.index(parts.len())]);
            }
            // xorshift: the order is a function of the case alone.
            let mut state = order | 1;
            for last in (1..parts.len()).rev() {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                parts.swap(last, (state % (last as u64 + 1)) as usize);
            }
            let (mut found, counts) = run(&mut Joiner::default(), &parts);
            prop_assert_eq!(counts, CaptureCounts::default());
            let mut expected = wholes.clone();
            expected.sort();
            let mut octets: Vec<Vec<u8>> = found.drain(..).map(|(_, octets)| octets).collect();
            octets.sort();
            prop_assert_eq!(octets, expected);
        }
    }
}
