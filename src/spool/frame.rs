//! A frame: the head and the payload of one entry in a segment or a dead letter.
//!
//! ```text
//!  0 marker    4     C1 4C 53 46              40 part           8
//!  4 kind      1     1 plain, 2 zstd, 3 end   48 first receive  8   Unix nanoseconds
//!  5 flags     1     bit 0: repeated          56 last receive   8
//!  6 attempts  2                              64 plain length   4   of the payload before packing
//!  8 index     4     in its segment           68 stored length  4   of the payload as it stands here
//! 12 records   4                              72 payload crc    4   CRC-32 of the payload as it stands
//! 16 before    8     records of the           76 head crc       4   CRC-32 of octets 0 to 75
//! 24 id       16     segment before it        80 payload
//! ```
//!
//! All numbers are big endian. The head has a checksum of its own, so that a damaged payload costs one
//! entry and its records are known; `index` and `before` tell how much a damaged head has cost.

use bytes::Bytes;

use super::entry::{Entry, EntryError};
use super::octets::Reader;
use crate::limits;

/// First octets of a frame: no UTF-8, so that no JSON body contains them.
pub(super) const MARKER: [u8; 4] = [0xC1, 0x4C, 0x53, 0x46];
/// Octets of a head.
pub const HEAD_OCTETS: usize = 80;
const KIND_PLAIN: u8 = 1;
const KIND_ZSTD: u8 = 2;
const KIND_END: u8 = 3;
const FLAG_REPEATED: u8 = 1;
/// Bodies are JSON: the fastest level takes nine tenths off, and the disk is what is slow.
const ZSTD_LEVEL: i32 = 1;

/// What the head of a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    kind: u8,
    /// A request with it may have been processed.
    pub repeated: bool,
    /// How often it was handed out before it was written.
    pub attempts: u16,
    /// Place in its segment.
    pub index: u32,
    /// Records.
    pub records: u32,
    /// Records of the segment before it.
    pub before: u64,
    /// Id of the batch.
    pub id: [u8; 16],
    /// Part of the batch.
    pub part: u64,
    /// Receive time of the oldest record, Unix nanoseconds.
    pub first_receive_ns: u64,
    /// The same of the newest.
    pub last_receive_ns: u64,
    plain: u32,
    stored: u32,
    payload_crc: u32,
}

impl Head {
    /// Reads a head; None if these octets are none.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let octets = octets.first_chunk::<HEAD_OCTETS>()?;
        let (checked, crc) = octets.split_last_chunk::<4>()?;
        if octets[..4] != MARKER || crc32fast::hash(checked) != u32::from_be_bytes(*crc) {
            return None;
        }
        let mut reader = Reader::new(&octets[4..]);
        let (kind, flags, attempts) = (reader.u8()?, reader.u8()?, reader.u16()?);
        let head = Self {
            kind,
            repeated: flags & FLAG_REPEATED != 0,
            attempts,
            index: reader.u32()?,
            records: reader.u32()?,
            before: reader.u64()?,
            id: reader.array()?,
            part: reader.u64()?,
            first_receive_ns: reader.u64()?,
            last_receive_ns: reader.u64()?,
            plain: reader.u32()?,
            stored: reader.u32()?,
            payload_crc: reader.u32()?,
        };
        let largest = limits::SPOOL_ENTRY_OCTETS_MAX;
        let fits = head.plain as usize <= largest && head.stored as usize <= largest + HEAD_OCTETS;
        let known = match kind {
            KIND_PLAIN => head.plain == head.stored,
            KIND_ZSTD => true,
            KIND_END => head.stored == 0 && head.records == 0,
            _ => false,
        };
        (known && fits).then_some(head)
    }

    /// Whether it is no entry, but the end of a segment that was closed in peace.
    pub(super) const fn is_end(&self) -> bool {
        self.kind == KIND_END
    }

    /// Whether the payload is packed.
    pub(super) const fn is_packed(&self) -> bool {
        self.kind == KIND_ZSTD
    }

    /// The end of a segment with so many entries and records.
    pub(super) fn end(entries: u32, records: u64) -> [u8; HEAD_OCTETS] {
        let mut octets = [0; HEAD_OCTETS];
        octets[..4].copy_from_slice(&MARKER);
        octets[4] = KIND_END;
        place(&mut octets, entries, records);
        octets
    }

    /// Octets of the whole frame.
    #[must_use]
    pub const fn frame_octets(&self) -> usize {
        HEAD_OCTETS + self.stored as usize
    }

    /// Whether the payload is what was written.
    pub(super) fn vouches_for(&self, payload: &[u8]) -> bool {
        payload.len() == self.stored as usize && crc32fast::hash(payload) == self.payload_crc
    }

    /// The entry, from the payload that the head vouches for.
    ///
    /// # Errors
    /// What is wrong with the octets.
    pub fn entry(&self, payload: Bytes) -> Result<Entry, EntryError> {
        if self.is_end() || !self.vouches_for(&payload) {
            return Err(EntryError::Length);
        }
        let plain = if self.kind == KIND_ZSTD {
            let unpacked = zstd::bulk::decompress(&payload, self.plain as usize).map_err(|_| EntryError::Length)?;
            Bytes::from(unpacked)
        } else {
            payload
        };
        if plain.len() != self.plain as usize {
            return Err(EntryError::Length);
        }
        let entry = Entry {
            id: self.id,
            part: self.part,
            output: "".into(),
            format: "".into(),
            records: self.records,
            first_receive_ns: self.first_receive_ns,
            last_receive_ns: self.last_receive_ns,
            attempts: self.attempts,
            repeated: self.repeated,
            exporters: Vec::new(),
            record_ends: Vec::new(),
            body: Bytes::new(),
        };
        entry.fill(&plain)
    }
}

/// A frame that still has to learn its place.
#[derive(Debug)]
pub(super) struct Frame {
    /// Head (place and checksum missing), then payload.
    octets: Vec<u8>,
}

impl Frame {
    /// Packs an entry.
    ///
    /// # Errors
    /// What [`Entry::check`] says.
    pub(super) fn of(entry: &Entry, compress: bool) -> Result<Self, EntryError> {
        entry.check()?;
        let plain = entry.payload();
        let packed = if compress { zstd::bulk::compress(&plain, ZSTD_LEVEL).ok() } else { None };
        // What does not get smaller is kept as it is.
        let packed = packed.filter(|packed| packed.len() < plain.len());
        let kind = if packed.is_some() { KIND_ZSTD } else { KIND_PLAIN };
        let stored = packed.as_ref().unwrap_or(&plain);
        let mut octets = Vec::with_capacity(HEAD_OCTETS + stored.len());
        octets.extend_from_slice(&MARKER);
        octets.extend_from_slice(&[kind, if entry.repeated { FLAG_REPEATED } else { 0 }]);
        octets.extend_from_slice(&entry.attempts.to_be_bytes());
        octets.extend_from_slice(&0_u32.to_be_bytes());
        octets.extend_from_slice(&entry.records.to_be_bytes());
        octets.extend_from_slice(&0_u64.to_be_bytes());
        octets.extend_from_slice(&entry.id);
        for number in [entry.part, entry.first_receive_ns, entry.last_receive_ns] {
            octets.extend_from_slice(&number.to_be_bytes());
        }
        for number in [plain.len(), stored.len()] {
            octets.extend_from_slice(&u32::try_from(number).map_err(|_| EntryError::Size)?.to_be_bytes());
        }
        octets.extend_from_slice(&crc32fast::hash(stored).to_be_bytes());
        octets.extend_from_slice(&[0; 4]);
        debug_assert_eq!(octets.len(), HEAD_OCTETS);
        octets.extend_from_slice(stored);
        Ok(Self { octets })
    }

    /// Octets of the frame.
    pub(super) fn len(&self) -> usize {
        self.octets.len()
    }

    /// The octets at `index` of a segment, behind `before` records.
    pub(super) fn placed(&mut self, index: u32, before: u64) -> &[u8] {
        place(&mut self.octets, index, before);
        &self.octets
    }
}

/// Writes a frame's place and the checksum of its head.
fn place(octets: &mut [u8], index: u32, before: u64) {
    octets[8..12].copy_from_slice(&index.to_be_bytes());
    octets[16..24].copy_from_slice(&before.to_be_bytes());
    let crc = crc32fast::hash(&octets[..HEAD_OCTETS - 4]);
    octets[HEAD_OCTETS - 4..HEAD_OCTETS].copy_from_slice(&crc.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::testing::entry;
    use super::*;

    #[test]
    fn frames_give_back_their_entry_packed_or_not() {
        for (compress, attempts, repeated) in [(false, 0, false), (true, 7, true)] {
            let entry = Entry { attempts, repeated, part: 5, ..entry(3, 200) };
            let mut frame = Frame::of(&entry, compress).unwrap();
            let octets = frame.placed(9, 1_000).to_vec();
            let head = Head::read(&octets).unwrap();
            assert_eq!((head.index, head.before, head.frame_octets()), (9, 1_000, octets.len()));
            assert_eq!(compress, octets.len() < entry.payload_octets() / 2, "packed is a half at most");
            assert_eq!(head.entry(Bytes::from(octets[HEAD_OCTETS..].to_vec())), Ok(entry));
        }
    }

    #[test]
    fn no_changed_octet_passes() {
        let entry = entry(3, 4);
        let octets = Frame::of(&entry, true).unwrap().placed(0, 0).to_vec();
        for at in 0..octets.len() {
            let mut damaged = octets.clone();
            damaged[at] ^= 0x10;
            let read = Head::read(&damaged);
            let entry = read.map(|head| head.entry(Bytes::from(damaged[HEAD_OCTETS..].to_vec())));
            assert!(entry.is_none_or(|entry| entry.is_err()), "{at}");
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        // A payload that claims 4 octets and unpacks to 16 MiB, with checksums that are right.
        let bomb = zstd::bulk::compress(&vec![0; 16 << 20], 1).unwrap();
        let mut octets = Frame::of(&entry(3, 1), false).unwrap().placed(0, 0)[..HEAD_OCTETS].to_vec();
        octets[4] = KIND_ZSTD;
        octets[64..68].copy_from_slice(&4_u32.to_be_bytes());
        octets[68..72].copy_from_slice(&u32::try_from(bomb.len()).unwrap().to_be_bytes());
        octets[72..76].copy_from_slice(&crc32fast::hash(&bomb).to_be_bytes());
        let crc = crc32fast::hash(&octets[..76]);
        octets[76..].copy_from_slice(&crc.to_be_bytes());
        let head = Head::read(&octets).unwrap();
        assert_eq!(head.entry(Bytes::from(bomb)), Err(EntryError::Length));
    }
}
