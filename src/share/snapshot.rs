//! The snapshot file: records one behind the other, each with its length and checksums.
//!
//! ```text
//!  header 32:  magic 8 "CLARLRN\n"  version 2  zero 2  written 8 (Unix ns)  zero 8  crc 4 (CRC-32 of all before it)
//!  record:     marker 4 (C1 4C 4C 52)  length 4  crc 4 (of the payload)
//!              crc 4 (of the 12 octets before and of `written`)  payload
//! ```
//!
//! `written` is in each record's checksum, so that octets which an exporter put into its templates never pass for a record,
//! wherever a reader looks for the next one. The payload is a record as in `record`. Promised by the reader, on any octets: it ends; it holds at most two records
//! in memory; what the checksums do not vouch for is counted and passed by, and reading goes on at the next marker; an
//! earlier version is read (there is none yet), a later one is refused.

use std::io::{self, Read, Write};

use super::octets::Octets;
use super::record::{Lessons, Whose};
use crate::limits::{STATE_RECORD_OCTETS_MAX, STATE_SNAPSHOT_OCTETS_MAX};

const MAGIC: [u8; 8] = *b"CLARLRN\n";
const VERSION: u16 = 1;
const HEADER_OCTETS: usize = 32;
const MARKER: [u8; 4] = [0xC1, 0x4C, 0x4C, 0x52];
/// Octets in front of a record's payload.
pub(super) const HEAD_OCTETS: usize = 16;

/// Why a snapshot is not read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Another version's.
    #[error("it has format version {0}, and this program reads up to {VERSION}")]
    Newer(u16),
    /// Not a snapshot, or its header is damaged.
    #[error("its header is damaged, or it is no snapshot")]
    Damaged,
    /// The disk.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// What a reader met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Records that were read.
    pub records: u64,
    /// Places that the checksums do not vouch for.
    pub damaged: u64,
}

/// The header of a snapshot that is written at `now_ns`.
pub(super) fn header(now_ns: u64) -> [u8; HEADER_OCTETS] {
    let mut header = [0; HEADER_OCTETS];
    header[..8].copy_from_slice(&MAGIC);
    header[8..10].copy_from_slice(&VERSION.to_be_bytes());
    header[12..20].copy_from_slice(&now_ns.to_be_bytes());
    let crc = crc32fast::hash(&header[..HEADER_OCTETS - 4]);
    header[HEADER_OCTETS - 4..].copy_from_slice(&crc.to_be_bytes());
    header
}

/// Writes one record; nothing of one that is too long, which no writer of ours makes.
pub(super) fn write_record(to: &mut impl Write, payload: &[u8], written_ns: u64) -> io::Result<usize> {
    let Some(length) = u32::try_from(payload.len()).ok().filter(|n| *n as usize <= STATE_RECORD_OCTETS_MAX) else {
        return Ok(0);
    };
    let mut head = [0; HEAD_OCTETS];
    head[..4].copy_from_slice(&MARKER);
    head[4..8].copy_from_slice(&length.to_be_bytes());
    head[8..12].copy_from_slice(&crc32fast::hash(payload).to_be_bytes());
    let crc = head_crc(&head, written_ns);
    head[12..].copy_from_slice(&crc.to_be_bytes());
    to.write_all(&head)?;
    to.write_all(payload)?;
    Ok(HEAD_OCTETS + payload.len())
}

/// Reads a snapshot record by record.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    /// Octets of the file that may still be read.
    left: u64,
    buffer: Vec<u8>,
    at: usize,
    /// Unix nanoseconds at which it was written.
    pub written_ns: u64,
    /// What was met so far.
    pub counts: Counts,
}

/// Room for a whole record behind any place in it.
const BUFFER_OCTETS: usize = 2 * (STATE_RECORD_OCTETS_MAX + HEAD_OCTETS);

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// What keeps the rest from being read.
    pub fn new(from: R) -> Result<Self, SnapshotError> {
        let left = STATE_SNAPSHOT_OCTETS_MAX;
        let mut reader = Self { from, left, buffer: Vec::new(), at: 0, written_ns: 0, counts: Counts::default() };
        reader.fill()?;
        let mut octets = Octets(&reader.buffer);
        let header = octets.array::<HEADER_OCTETS>().ok_or(SnapshotError::Damaged)?;
        let (checked, crc) = header.split_at(HEADER_OCTETS - 4);
        if checked[..8] != MAGIC || crc32fast::hash(checked).to_be_bytes() != crc {
            return Err(SnapshotError::Damaged);
        }
        let mut fields = Octets(&checked[8..]);
        let version = fields.u16().unwrap_or_default();
        if version > VERSION {
            return Err(SnapshotError::Newer(version));
        }
        fields.u16();
        reader.written_ns = fields.u64().unwrap_or_default();
        reader.at = HEADER_OCTETS;
        Ok(reader)
    }

    /// The next record that the checksums vouch for, and that says whose it is.
    ///
    /// # Errors
    /// The disk's.
    pub fn record(&mut self) -> io::Result<Option<(Whose, Lessons<'_>)>> {
        while let Some((start, end)) = self.find()? {
            self.at = end;
            // Twice, because what is answered borrows the buffer for as long as the caller likes.
            if Whose::take(&mut Octets(&self.buffer[start..end])).is_some() {
                self.counts.records += 1;
                return Ok(Whose::take(&mut Octets(&self.buffer[start..end])));
            }
            self.counts.damaged += 1;
        }
        Ok(None)
    }

    /// Where in the buffer the payload of the next sound record stands.
    fn find(&mut self) -> io::Result<Option<(usize, usize)>> {
        let mut in_damage = false;
        loop {
            self.fill()?;
            let rest = &self.buffer[self.at..];
            if rest.is_empty() {
                return Ok(None);
            }
            let found = head(rest, self.written_ns);
            if let Some((length, crc)) = found
                && let Some(payload) = rest.get(HEAD_OCTETS..HEAD_OCTETS + length)
            {
                let start = self.at + HEAD_OCTETS;
                if crc32fast::hash(payload) == crc {
                    return Ok(Some((start, start + length)));
                }
                // The head is right, so this is where the next one stands.
                self.counts.damaged += u64::from(!in_damage);
                in_damage = false;
                self.at = start + length;
                continue;
            }
            self.counts.damaged += u64::from(!in_damage);
            in_damage = true;
            // To the next place where a record may begin.
            let next = rest[1..].iter().position(|octet| *octet == MARKER[0]);
            self.at += next.map_or(rest.len(), |next| 1 + next);
        }
    }

    /// Makes sure that a whole record stands behind `at`, as far as the file goes.
    fn fill(&mut self) -> io::Result<()> {
        if self.buffer.len() - self.at >= BUFFER_OCTETS / 2 || self.left == 0 {
            return Ok(());
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        let wanted = (BUFFER_OCTETS - self.buffer.len()) as u64;
        let read = (&mut self.from).take(wanted.min(self.left)).read_to_end(&mut self.buffer)? as u64;
        // At the end of the file nothing is asked again.
        self.left = if read == 0 { 0 } else { self.left - read };
        Ok(())
    }
}

/// Length and checksum of the payload, if a record's head stands here.
fn head(octets: &[u8], written_ns: u64) -> Option<(usize, u32)> {
    let head = octets.first_chunk::<HEAD_OCTETS>()?;
    let mut fields = Octets(&head[..]);
    let (marker, length, crc) = (fields.array::<4>()?, fields.u32()?, fields.u32()?);
    let sound = marker == MARKER
        && head_crc(head, written_ns).to_be_bytes() == head[12..]
        && length as usize <= STATE_RECORD_OCTETS_MAX;
    sound.then_some((length as usize, crc))
}

fn head_crc(head: &[u8; HEAD_OCTETS], written_ns: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head[..12]);
    hasher.update(&written_ns.to_be_bytes());
    hasher.finalize()
}
