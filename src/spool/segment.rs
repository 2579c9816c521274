//! A segment: a header, then frames, then an end if it was closed in peace. A pure reader of its octets.
//!
//! ```text
//!  0 magic   8  "CLARSPL\n"        12 number   8     28 crc 4  CRC-32 of octets 0 to 27
//!  8 version 2                     20 created  8     32 frames (see `frame`)
//! 10 zero    2                        Unix nanoseconds
//! ```
//!
//! Enters: octets that nobody vouches for. Leaves: where the entries stand that are whole, and what is
//! missing. Promised: no panic, memory in proportion to the octets, time linear in them; a damaged octet
//! costs the entry that it hits and no other, and what that was is counted: exactly while something
//! whole (an entry, or the end) stands behind it. A tail that a crash tore is told apart.

use bytes::Bytes;

use super::entry::{Entry, EntryError};
use super::frame::{HEAD_OCTETS, Head, MARKER};
use super::octets::Reader;
use crate::limits;

const MAGIC: [u8; 8] = *b"CLARSPL\n";
/// Format that is written.
pub const VERSION: u16 = 1;
/// Octets of the header.
pub const HEADER_OCTETS: usize = 32;

/// What the header of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Format.
    pub version: u16,
    /// Number of the segment, also its file name.
    pub number: u64,
    /// When it was begun, Unix nanoseconds: tells it from another of the same number.
    pub created_ns: u64,
}

impl Header {
    /// Reads a header; None if these octets are none.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let octets = octets.first_chunk::<HEADER_OCTETS>()?;
        let (checked, crc) = octets.split_last_chunk::<4>()?;
        if octets[..8] != MAGIC || crc32fast::hash(checked) != u32::from_be_bytes(*crc) {
            return None;
        }
        let mut reader = Reader::new(&octets[8..]);
        let (version, _zero) = (reader.u16()?, reader.u16()?);
        Some(Self { version, number: reader.u64()?, created_ns: reader.u64()? })
    }

    /// Its octets.
    #[must_use]
    pub fn octets(&self) -> [u8; HEADER_OCTETS] {
        let mut octets = [0; HEADER_OCTETS];
        octets[..8].copy_from_slice(&MAGIC);
        octets[8..10].copy_from_slice(&self.version.to_be_bytes());
        octets[12..20].copy_from_slice(&self.number.to_be_bytes());
        octets[20..28].copy_from_slice(&self.created_ns.to_be_bytes());
        let crc = crc32fast::hash(&octets[..28]);
        octets[28..].copy_from_slice(&crc.to_be_bytes());
        octets
    }
}

/// A whole entry of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Where its frame begins.
    pub offset: u64,
    /// What its head says.
    pub head: Head,
}

impl Placed {
    /// The entry, out of the octets of the segment.
    ///
    /// # Errors
    /// What is wrong with its payload.
    pub fn entry(&self, segment: &[u8]) -> Result<Entry, EntryError> {
        let from = usize::try_from(self.offset).map_err(|_| EntryError::Length)?;
        let payload = segment.get(from + HEAD_OCTETS..from + self.head.frame_octets()).ok_or(EntryError::Length)?;
        self.head.entry(Bytes::copy_from_slice(payload))
    }
}

/// What is missing from a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Damage {
    /// Octets that belong to nothing whole, between the header and the last whole thing.
    pub octets: u64,
    /// Entries that stood there.
    pub entries: u64,
    /// Their records.
    pub records: u64,
    /// Octets behind the last whole thing: what a crash tore, or damage whose extent nobody knows.
    pub torn_octets: u64,
}

/// What a segment holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scan {
    /// Its header, if it is whole.
    pub header: Option<Header>,
    /// What is whole, in order.
    pub entries: Vec<Placed>,
    /// What is not.
    pub damage: Damage,
    /// It was closed in peace.
    pub closed: bool,
}

/// Reads a segment of the present format.
#[must_use]
pub fn read_segment(octets: &[u8]) -> Scan {
    let header = Header::read(octets);
    let mut scan = Scan { header, ..Scan::default() };
    // Without a header its frames still stand for themselves.
    let mut at = if header.is_some() { HEADER_OCTETS } else { 0 };
    let mut whole_until = at;
    let (mut index, mut before) = (0_u32, 0_u64);
    while at < octets.len() && scan.entries.len() < limits::SPOOL_SEGMENT_ENTRIES_MAX {
        let rest = &octets[at..];
        let gap = at - whole_until;
        let head = Head::read(rest).filter(|head| follows(head, index, before, gap));
        let Some((head, payload)) = head.and_then(|h| Some((h, rest.get(HEAD_OCTETS..h.frame_octets())?))) else {
            at += 1 + next_marker(&rest[1..]);
            continue;
        };
        // What stood in the gap.
        scan.damage.octets += gap as u64;
        scan.damage.entries += u64::from(head.index - index);
        scan.damage.records += head.before - before;
        if head.is_end() {
            scan.closed = true;
            whole_until = at + HEAD_OCTETS;
            break;
        }
        if head.vouches_for(payload) {
            scan.entries.push(Placed { offset: at as u64, head });
        } else {
            scan.damage.octets += head.frame_octets() as u64;
            scan.damage.entries += 1;
            scan.damage.records += u64::from(head.records);
        }
        (index, before) = (head.index + 1, head.before.saturating_add(u64::from(head.records)));
        at += head.frame_octets();
        whole_until = at;
    }
    scan.damage.torn_octets = (octets.len() - whole_until) as u64;
    scan
}

/// Whether this head may stand here: places only grow, and what is missing stood in the gap.
fn follows(head: &Head, index: u32, before: u64, gap: usize) -> bool {
    let Some(entries) = head.index.checked_sub(index) else { return false };
    let Some(records) = head.before.checked_sub(before) else { return false };
    (head.index as usize) <= limits::SPOOL_SEGMENT_ENTRIES_MAX
        && entries as usize <= gap / HEAD_OCTETS
        && records <= u64::from(entries) * u64::from(u32::MAX)
}

/// Distance to the next marker, or to the end.
fn next_marker(octets: &[u8]) -> usize {
    let mut from = 0;
    while let Some(at) = octets[from..].iter().position(|octet| *octet == MARKER[0]) {
        if octets[from + at..].starts_with(&MARKER) {
            return from + at;
        }
        from += at + 1;
    }
    octets.len()
}

/// Turns the octets of a segment of the previous format into one of the present; None if they are too broken.
pub(super) type Migrate = fn(&[u8]) -> Option<Vec<u8>>;

/// Which formats are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Formats {
    /// The one that is written.
    pub(super) current: u16,
    /// The one before it, and how it is brought up to date.
    pub(super) previous: Option<(u16, Migrate)>,
}

/// 1 is the first.
pub(super) const FORMATS: Formats = Formats { current: VERSION, previous: None };

/// What is to be done with a segment.
#[derive(Debug)]
pub(super) enum Reading {
    /// Use it.
    Current(Scan),
    /// Write these octets in its place and use them.
    Migrated(Vec<u8>),
    /// Leave it alone: another program's format, newer or forgotten.
    Foreign,
}

impl Formats {
    /// Reads a segment of any format.
    pub(super) fn read(&self, octets: &[u8]) -> Reading {
        match (Header::read(octets).map(|header| header.version), self.previous) {
            (Some(version), Some((previous, migrate))) if version == previous => {
                migrate(octets).map_or(Reading::Foreign, Reading::Migrated)
            }
            (Some(version), _) if version != self.current => Reading::Foreign,
            _ => Reading::Current(read_segment(octets)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Frame;
    use super::super::testing::entry;
    use super::*;

    /// A closed segment of `entries` entries with `2 + i` records each.
    fn segment(entries: u32) -> Vec<u8> {
        let header = Header { version: VERSION, number: 1, created_ns: 5 };
        let mut octets = header.octets().to_vec();
        let mut before = 0;
        for index in 0..entries {
            octets.extend_from_slice(Frame::of(&entry(index, 2 + index), false).unwrap().placed(index, before));
            before += u64::from(2 + index);
        }
        octets.extend_from_slice(&Head::end(entries, before));
        octets
    }

    #[test]
    fn the_format_stands_still() {
        // One entry of one record in a closed segment: if this changes, VERSION must.
        let octets = segment(1);
        let text: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_segment_reads_as_it_was_written() {
        let octets = segment(3);
        let scan = read_segment(&octets);
        assert_eq!(scan.header.map(|h| (h.version, h.number, h.created_ns)), Some((1, 1, 5)));
        assert_eq!((scan.entries.len(), scan.closed, scan.damage), (3, true, Damage::default()));
        for (i, placed) in scan.entries.iter().enumerate() {
            assert_eq!(placed.entry(&octets), Ok(entry(i as u32, 2 + i as u32)));
        }
    }

    #[test]
    fn a_cut_costs_what_is_behind_it() {
        let octets = segment(3);
        let ends: Vec<u64> =
            read_segment(&octets).entries.iter().map(|p| p.offset + p.head.frame_octets() as u64).collect();
        for cut in 0..octets.len() {
            let scan = read_segment(&octets[..cut]);
            let whole = if cut < HEADER_OCTETS { 0 } else { ends.iter().filter(|end| **end <= cut as u64).count() };
            assert_eq!((scan.entries.len(), scan.closed), (whole, false), "cut at {cut}");
            assert_eq!(scan.damage.entries, 0, "cut at {cut}: a torn tail is no damage");
        }
    }

    #[test]
    fn a_damaged_octet_costs_the_entry_that_it_hits_and_the_count_is_exact() {
        let octets = segment(4);
        let whole = read_segment(&octets);
        for at in HEADER_OCTETS..octets.len() - HEAD_OCTETS {
            let hit = whole.entries.iter().rposition(|p| p.offset as usize <= at).unwrap();
            for flip in [0x01, 0xFF] {
                let mut damaged = octets.clone();
                damaged[at] ^= flip;
                let scan = read_segment(&damaged);
                let left: Vec<u32> = scan.entries.iter().map(|p| p.head.index).collect();
                let expected: Vec<u32> = (0..4).filter(|i| *i as usize != hit).collect();
                assert_eq!(left, expected, "octet {at}");
                let damage = (scan.damage.entries, scan.damage.records, scan.damage.torn_octets);
                assert_eq!(damage, (1, 2 + hit as u64, 0), "octet {at}");
                assert_eq!(scan.damage.octets, whole.entries[hit].head.frame_octets() as u64, "octet {at}");
            }
        }
        for at in 0..HEADER_OCTETS {
            let mut damaged = octets.clone();
            damaged[at] ^= 1;
            let scan = read_segment(&damaged);
            assert_eq!((scan.header, scan.entries.len(), scan.damage.entries), (None, 4, 0), "octet {at}");
        }
    }

    #[test]
    fn a_hole_is_counted_whole() {
        let mut octets = segment(5);
        let offsets: Vec<usize> = read_segment(&octets).entries.iter().map(|p| p.offset as usize).collect();
        octets[offsets[1] + 5..offsets[3] + 5].fill(0);
        let scan = read_segment(&octets);
        assert_eq!(scan.entries.iter().map(|p| p.head.index).collect::<Vec<_>>(), [0, 4]);
        assert_eq!((scan.damage.entries, scan.damage.records), (3, 3 + 4 + 5));
        assert_eq!(scan.damage.octets, (offsets[4] - offsets[1]) as u64);
    }

    #[test]
    fn heads_that_claim_too_much_are_no_heads() {
        // A second entry that says two thousand stood before it, where no room for them is.
        let mut octets = Header { version: VERSION, number: 1, created_ns: 5 }.octets().to_vec();
        octets.extend_from_slice(Frame::of(&entry(0, 2), false).unwrap().placed(0, 0));
        let first = octets.len();
        octets.extend_from_slice(Frame::of(&entry(1, 2), false).unwrap().placed(2_000, 4));
        let scan = read_segment(&octets);
        assert_eq!((scan.entries.len(), scan.damage.entries), (1, 0));
        assert_eq!(scan.damage.torn_octets, (octets.len() - first) as u64);
    }

    #[test]
    fn the_previous_format_is_brought_up_to_date_and_a_newer_one_left_alone() {
        let of_version = |version: u16| {
            let mut octets = segment(2);
            octets[..HEADER_OCTETS].copy_from_slice(&Header { version, number: 1, created_ns: 5 }.octets());
            octets
        };
        // A synthetic older format: the same with all octets of frames inverted.
        fn migrate(octets: &[u8]) -> Option<Vec<u8>> {
            let header = Header { version: VERSION, ..Header::read(octets)? };
            let frames: Vec<u8> = octets[HEADER_OCTETS..].iter().map(|octet| !octet).collect();
            Some([&header.octets()[..], &frames].concat())
        }
        let formats = Formats { current: VERSION, previous: Some((0, migrate)) };
        let mut old = of_version(0);
        old[HEADER_OCTETS..].iter_mut().for_each(|octet| *octet = !*octet);
        let Reading::Migrated(new) = formats.read(&old) else { panic!("the older one is migrated") };
        assert_eq!(new, segment(2));
        assert!(matches!(formats.read(&new), Reading::Current(scan) if scan.entries.len() == 2));
        assert!(matches!(formats.read(&of_version(2)), Reading::Foreign));
        assert!(matches!(FORMATS.read(&of_version(0)), Reading::Foreign));
        assert!(matches!(FORMATS.read(&[1, 2, 3]), Reading::Current(scan) if scan.entries.is_empty()));
    }
}
