//! Files of sets that wait for their template: appended to, read at random, deleted when nothing in them is wanted.
//!
//! In goes a set with its number, out comes its place; what is read back is believed only if length, checksum and number are
//! right. The files are of this process alone: [`Segments::open`] deletes those that an earlier one left, since what it
//! counted is in no books any more. Nothing is synced: what a crash takes, the crash has made worthless.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::decode::{Header, WaitingSet};
use crate::flow::Version;

/// Length and checksum of an entry, then number, receive time, port, id, and the message's header.
const ENTRY_OCTETS: usize = 4 + 4 + 8 + 8 + 2 + 2 + 1 + 4 + 4 + 8 + 4 + 2 + 2;
/// What is checksummed: all behind the checksum.
const CHECKED_FROM: usize = 8;
/// Names tried for a new file.
const NAMES_MAX: u64 = 1_000;
const SUFFIX: &str = "sets";

/// Octets that a set of `body` octets takes in a file.
pub(super) const fn entry_octets(body: usize) -> u64 {
    (ENTRY_OCTETS + body) as u64
}

/// Where a set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    segment: u64,
    offset: u64,
    octets: u32,
}

impl Place {
    /// Octets that it takes.
    pub fn octets(self) -> u64 {
        u64::from(self.octets)
    }
}

#[derive(Debug)]
struct Segment {
    file: File,
    path: PathBuf,
    octets: u64,
    /// Sets in it that are still wanted.
    live: u64,
}

/// The files.
#[derive(Debug)]
pub(super) struct Segments {
    dir: PathBuf,
    segment_octets: u64,
    segments: BTreeMap<u64, Segment>,
    /// The last one made: it is appended to.
    newest: u64,
    /// An entry as it is written or was read; keeps its memory.
    entry: Vec<u8>,
}

impl Segments {
    /// Makes `dir` and deletes what an earlier process left in it.
    pub fn open(dir: &Path, segment_octets: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == SUFFIX) {
                std::fs::remove_file(path)?;
            }
        }
        let mut segments =
            Self { dir: dir.to_owned(), segment_octets, segments: BTreeMap::new(), newest: 0, entry: Vec::new() };
        // Now, while somebody reads what fails.
        segments.begin()?;
        Ok(segments)
    }

    /// Appends a set. An error leaves everything as it was.
    pub fn append(&mut self, number: u64, set: &WaitingSet<'_>) -> io::Result<Place> {
        let octets = entry_octets(set.body.len());
        let is_full = |s: &Segment| s.octets > 0 && s.octets + octets > self.segment_octets;
        if self.segments.get(&self.newest).is_none_or(is_full) {
            self.begin()?;
        }
        encode(&mut self.entry, number, set);
        let segment = self.segments.get_mut(&self.newest).ok_or(ErrorKind::NotFound)?;
        segment.file.write_all_at(&self.entry, segment.octets)?;
        let octets = u32::try_from(octets).map_err(|_| ErrorKind::FileTooLarge)?;
        let place = Place { segment: self.newest, offset: segment.octets, octets };
        segment.octets += u64::from(octets);
        segment.live += 1;
        Ok(place)
    }

    /// Reads the set that was appended as `number`.
    pub fn read(&mut self, place: Place, number: u64) -> io::Result<WaitingSet<'_>> {
        let segment = self.segments.get(&place.segment).ok_or(ErrorKind::NotFound)?;
        self.entry.resize(place.octets as usize, 0);
        segment.file.read_exact_at(&mut self.entry, place.offset)?;
        decode(&self.entry, number).ok_or_else(|| ErrorKind::InvalidData.into())
    }

    /// The set at `place` is not wanted any more; returns the octets that became free: those of a whole file, or none.
    pub fn release(&mut self, place: Place) -> u64 {
        let Some(segment) = self.segments.get_mut(&place.segment) else { return 0 };
        segment.live = segment.live.saturating_sub(1);
        if segment.live > 0 {
            return 0;
        }
        if place.segment == self.newest {
            // It goes on being written to, from its beginning. What cannot be cut off is written over.
            let _ = segment.file.set_len(0);
            return std::mem::take(&mut segment.octets);
        }
        let octets = segment.octets;
        if let Some(segment) = self.segments.remove(&place.segment) {
            let _ = std::fs::remove_file(segment.path);
        }
        octets
    }

    /// Makes the next file. One that nothing is wanted of does not exist beside the newest.
    fn begin(&mut self) -> io::Result<()> {
        for number in self.newest + 1..self.newest + NAMES_MAX {
            let path = self.dir.join(format!("{}-{number}.{SUFFIX}", std::process::id()));
            match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => {
                    self.segments.insert(number, Segment { file, path, octets: 0, live: 0 });
                    self.newest = number;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }
}

impl Drop for Segments {
    fn drop(&mut self) {
        for segment in self.segments.values() {
            let _ = std::fs::remove_file(&segment.path);
        }
    }
}

fn encode(entry: &mut Vec<u8>, number: u64, set: &WaitingSet<'_>) {
    let WaitingSet { id, port, receive_ns, header, body } = *set;
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    entry.clear();
    entry.extend(length.to_be_bytes());
    entry.extend([0; 4]);
    entry.extend(number.to_be_bytes());
    entry.extend(receive_ns.to_be_bytes());
    entry.extend(port.to_be_bytes());
    entry.extend(id.to_be_bytes());
    entry.push(u8::try_from(header.version.index()).unwrap_or(u8::MAX));
    entry.extend(header.observation_domain.to_be_bytes());
    entry.extend(header.sequence.to_be_bytes());
    entry.extend(header.export_ms.to_be_bytes());
    entry.extend(header.sys_uptime_ms.to_be_bytes());
    entry.extend(header.count_or_length.to_be_bytes());
    entry.extend(header.sampling.to_be_bytes());
    debug_assert_eq!(entry.len(), ENTRY_OCTETS, "what the arithmetic says");
    entry.extend(body);
    let checksum = checksum(&entry[CHECKED_FROM..]).to_be_bytes();
    entry[4..CHECKED_FROM].copy_from_slice(&checksum);
}

/// The set of an entry, if it is whole and the one that was asked for.
fn decode(entry: &[u8], number: u64) -> Option<WaitingSet<'_>> {
    let mut rest = entry;
    let length: [u8; 4] = take(&mut rest)?;
    let said: [u8; 4] = take(&mut rest)?;
    if checksum(rest) != u32::from_be_bytes(said) || u64::from_be_bytes(take(&mut rest)?) != number {
        return None;
    }
    let receive_ns = u64::from_be_bytes(take(&mut rest)?);
    let port = u16::from_be_bytes(take(&mut rest)?);
    let id = u16::from_be_bytes(take(&mut rest)?);
    let [version] = take(&mut rest)?;
    let header = Header {
        version: *Version::ALL.get(usize::from(version))?,
        observation_domain: u32::from_be_bytes(take(&mut rest)?),
        sequence: u32::from_be_bytes(take(&mut rest)?),
        export_ms: u64::from_be_bytes(take(&mut rest)?),
        sys_uptime_ms: u32::from_be_bytes(take(&mut rest)?),
        count_or_length: u16::from_be_bytes(take(&mut rest)?),
        sampling: u16::from_be_bytes(take(&mut rest)?),
    };
    let whole = u32::from_be_bytes(length) as usize == rest.len();
    whole.then_some(WaitingSet { id, port, receive_ns, header, body: rest })
}

fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(*taken)
}

/// CRC-32 as gzip has it.
fn checksum(octets: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(octets);
    crc.sum()
}

#[cfg(test)]
mod tests;
