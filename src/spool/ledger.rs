//! The ledger of positions: which entries are closed, how often the others were tried, which were under way.
//!
//! ```text
//!  magic 8 "CLARLED\n"  version 2  zero 2  next segment 8
//!  segments 4, of each: number 8, created 8, bits 4, octets of them (bit i of octet i / 8, lowest first: entry i is closed)
//!  rows 4, of each: segment 8, index 4, attempts 2, flags 1 (bit 0: under way or repeated)
//!  crc 4: CRC-32 of all before it
//! ```
//!
//! One small file that is written whole, beside the old one, and renamed over it. Promised: what reads
//! back is what was written, or nothing: then entries are delivered once more, never lost.

use std::collections::BTreeMap;

use super::octets::Reader;
use crate::limits;

const MAGIC: [u8; 8] = *b"CLARLED\n";
const VERSION: u16 = 1;
const FLAG_REPEATED: u8 = 1;

/// What is known of a segment whose entries are closed in part.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Closed {
    /// When the segment was begun: another one of the same number is another one.
    pub(super) created_ns: u64,
    /// A bit an entry.
    pub(super) bits: Vec<u8>,
}

impl Closed {
    pub(super) fn set(&mut self, index: u32) {
        let octet = index as usize / 8;
        if self.bits.len() <= octet {
            self.bits.resize(octet + 1, 0);
        }
        self.bits[octet] |= 1 << (index % 8);
    }

    pub(super) fn has(&self, index: u32) -> bool {
        self.bits.get(index as usize / 8).is_some_and(|octet| octet & (1 << (index % 8)) != 0)
    }
}

/// What is known of an entry that is not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) attempts: u16,
    pub(super) repeated: bool,
}

/// The ledger's content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Ledger {
    /// No segment so far has this number or a higher one.
    pub(super) next: u64,
    pub(super) segments: BTreeMap<u64, Closed>,
    pub(super) rows: BTreeMap<(u64, u32), Row>,
}

/// Why a ledger is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LedgerError {
    /// Another format: it is kept under another name.
    Foreign,
    /// Damaged.
    Damaged,
}

impl Ledger {
    /// Its octets.
    pub(super) fn octets(&self) -> Vec<u8> {
        let mut octets = MAGIC.to_vec();
        octets.extend_from_slice(&VERSION.to_be_bytes());
        octets.extend_from_slice(&[0; 2]);
        octets.extend_from_slice(&self.next.to_be_bytes());
        octets.extend_from_slice(&length(self.segments.len()));
        for (number, closed) in &self.segments {
            octets.extend_from_slice(&number.to_be_bytes());
            octets.extend_from_slice(&closed.created_ns.to_be_bytes());
            octets.extend_from_slice(&length(closed.bits.len()));
            octets.extend_from_slice(&closed.bits);
        }
        octets.extend_from_slice(&length(self.rows.len()));
        for ((segment, index), row) in &self.rows {
            octets.extend_from_slice(&segment.to_be_bytes());
            octets.extend_from_slice(&index.to_be_bytes());
            octets.extend_from_slice(&row.attempts.to_be_bytes());
            octets.push(if row.repeated { FLAG_REPEATED } else { 0 });
        }
        let crc = crc32fast::hash(&octets);
        octets.extend_from_slice(&crc.to_be_bytes());
        octets
    }

    /// Reads octets that nobody vouches for.
    pub(super) fn read(octets: &[u8]) -> Result<Self, LedgerError> {
        if octets.len() > limits::SPOOL_LEDGER_OCTETS_MAX || octets.get(..8) != Some(&MAGIC[..]) {
            return Err(LedgerError::Damaged);
        }
        let (checked, crc) = octets.split_last_chunk::<4>().ok_or(LedgerError::Damaged)?;
        if crc32fast::hash(checked) != u32::from_be_bytes(*crc) {
            return Err(LedgerError::Damaged);
        }
        let mut reader = Reader::new(&checked[8..]);
        if reader.u16() != Some(VERSION) {
            return Err(LedgerError::Foreign);
        }
        Self::body(&mut reader).filter(|_| reader.left() == 0).ok_or(LedgerError::Damaged)
    }

    /// Grows with the octets that are there, whatever the counts say.
    fn body(reader: &mut Reader<'_>) -> Option<Self> {
        reader.u16()?;
        let mut ledger = Self { next: reader.u64()?, ..Self::default() };
        for _ in 0..reader.u32()? {
            let (number, created_ns, bits) = (reader.u64()?, reader.u64()?, reader.u32()? as usize);
            ledger.segments.insert(number, Closed { created_ns, bits: reader.take(bits)?.to_vec() });
        }
        for _ in 0..reader.u32()? {
            let (place, attempts) = ((reader.u64()?, reader.u32()?), reader.u16()?);
            ledger.rows.insert(place, Row { attempts, repeated: reader.u8()? & FLAG_REPEATED != 0 });
        }
        Some(ledger)
    }
}

/// Lengths are bounded far below 2^32.
fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let mut closed = Closed { created_ns: 77, bits: vec![] };
        [0, 9, 16].into_iter().for_each(|index| closed.set(index));
        Ledger {
            next: 12,
            segments: BTreeMap::from([(3, closed), (4, Closed { created_ns: 78, bits: vec![0xFF] })]),
            rows: BTreeMap::from([((3, 1), Row { attempts: 4, repeated: true })]),
        }
    }

    #[test]
    fn a_ledger_reads_as_written_and_no_changed_octet_passes() {
        let octets = ledger().octets();
        assert_eq!(Ledger::read(&octets), Ok(ledger()));
        let read = Ledger::read(&octets).unwrap();
        let closed = &read.segments[&3];
        assert_eq!((0..20).filter(|index| closed.has(*index)).collect::<Vec<_>>(), [0, 9, 16]);
        for at in 0..octets.len() {
            let mut damaged = octets.clone();
            damaged[at] ^= 4;
            assert_eq!(Ledger::read(&damaged), Err(LedgerError::Damaged), "{at}");
            assert_eq!(Ledger::read(&octets[..at]), Err(LedgerError::Damaged), "{at}");
        }
    }

    #[test]
    fn the_format_stands_still_and_another_is_told_apart() {
        let mut octets = ledger().octets();
        let text: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        insta::assert_snapshot!(text);
        octets[9] = 2;
        let end = octets.len() - 4;
        let crc = crc32fast::hash(&octets[..end]);
        octets[end..].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(Ledger::read(&octets), Err(LedgerError::Foreign));
    }

    #[test]
    fn counts_that_lie_ask_for_no_memory() {
        let mut octets = MAGIC.to_vec();
        octets.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF]);
        let crc = crc32fast::hash(&octets);
        octets.extend_from_slice(&crc.to_be_bytes());
        assert_eq!(Ledger::read(&octets), Err(LedgerError::Damaged));
    }
}
