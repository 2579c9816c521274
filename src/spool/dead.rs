//! Dead letters: what the backend refused for good, kept with its answer for a person to look at.
//!
//! ```text
//!  magic 8 "CLARDED\n"  version 2  status 2  time 8 (Unix nanoseconds)  octets of the answer 2  zero 2
//!  the answer, at most 1 KiB    crc 4: CRC-32 of all before it    one frame (see `frame`)
//! ```
//!
//! A file each, mode 0600, written whole or not at all; its name begins with the time, so that names sort by
//! age. Promised: at most 4,096 letters, and the octets and the age of the settings; the oldest go first and
//! are counted. Other processes may list and take them at the same time: a file that went is no error.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;

use super::disk::{Directory, Disk, remove_if_there, replace_file};
use super::entry::Entry;
use super::frame::{Frame, HEAD_OCTETS, Head};
use super::octets::Reader;
use super::store::nanoseconds;
use crate::limits;

const MAGIC: [u8; 8] = *b"CLARDED\n";
const VERSION: u16 = 1;
const FIXED_OCTETS: usize = 24;
/// Octets of a file that hold all but the payload.
const SUMMARY_OCTETS: usize = FIXED_OCTETS + limits::DEAD_ANSWER_OCTETS + 4 + HEAD_OCTETS;

/// What dead letters need to know.
#[derive(Debug, Clone)]
pub struct DeadSettings {
    /// The directory; replicas may share it.
    pub path: PathBuf,
    /// Octets of all letters.
    pub limit: u64,
    /// Oldest a letter gets.
    pub age: Duration,
}

impl DeadSettings {
    /// The defaults of `limits`, for a directory.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, limit: limits::DEAD_OCTETS.default, age: Duration::from_secs(limits::DEAD_AGE_S.default) }
    }
}

/// An entry that the backend refused for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// When, Unix nanoseconds.
    pub at_ns: u64,
    /// Status of the answer; 0 if there was none.
    pub status: u16,
    /// First 1 KiB of the answer's text. It may hold anything: escape it before it is shown.
    pub answer: String,
    /// What was refused.
    pub entry: Entry,
}

/// A dead letter in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterSummary {
    /// Names it to `show` and `take`.
    pub name: String,
    /// When, Unix nanoseconds.
    pub at_ns: u64,
    /// Status of the answer.
    pub status: u16,
    /// First 1 KiB of the answer's text.
    pub answer: String,
    /// Id of the batch.
    pub id: [u8; 16],
    /// Part of the batch.
    pub part: u64,
    /// Records.
    pub records: u32,
    /// Octets of the file.
    pub octets: u64,
}

/// What had to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evicted {
    /// Letters.
    pub letters: u64,
    /// Their records, where they could be read.
    pub records: u64,
}

/// The directory of dead letters.
#[derive(Debug)]
pub struct DeadLetters {
    disk: Box<dyn Disk>,
    limit: u64,
    age_ns: u64,
}

impl DeadLetters {
    /// Opens the directory, and makes it if need be.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(settings: &DeadSettings) -> io::Result<Self> {
        let disk = Box::new(Directory::new(&settings.path, None)?);
        Ok(Self { disk, limit: settings.limit, age_ns: nanoseconds(settings.age) })
    }

    /// Opens a directory that is there, for a look or to take: makes nothing.
    ///
    /// # Errors
    /// What the file system says, for one that there is none.
    pub fn existing(path: &Path) -> io::Result<Self> {
        if !path.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no directory {}", path.display())));
        }
        Self::open(&DeadSettings { limit: u64::MAX, age: Duration::MAX, path: path.to_owned() })
    }

    /// Keeps a letter, and lets go of the oldest beyond the bounds.
    ///
    /// # Errors
    /// What the file system says; then the letter is not kept.
    pub fn add(&mut self, letter: &DeadLetter) -> io::Result<Evicted> {
        let octets = encode(letter)?;
        let mut evicted = self.expire(letter.at_ns, octets.len() as u64)?;
        if octets.len() as u64 > self.limit {
            evicted.letters += 1;
            evicted.records += u64::from(letter.entry.records);
            return Ok(evicted);
        }
        replace_file(self.disk.as_mut(), &name_of(letter), &octets, true)?;
        Ok(evicted)
    }

    /// Lets go of what is too old at `now` (Unix nanoseconds), and of the oldest until `octets` fit.
    ///
    /// # Errors
    /// What the file system says.
    pub fn expire(&mut self, now: u64, octets: u64) -> io::Result<Evicted> {
        let mut files = self.files()?;
        let mut sum: u64 = files.values().sum();
        let mut evicted = Evicted::default();
        while let Some((name, length)) = files.pop_first() {
            let old = time_of(&name).is_some_and(|at| at.saturating_add(self.age_ns) < now);
            let over =
                sum.saturating_add(octets) > self.limit || octets > 0 && files.len() + 2 > limits::DEAD_LETTERS_MAX;
            if !old && !over {
                break;
            }
            evicted.letters += 1;
            evicted.records += self.summary(&name, length).map_or(0, |summary| u64::from(summary.records));
            remove_if_there(self.disk.as_mut(), &name)?;
            sum -= length;
        }
        Ok(evicted)
    }

    /// All letters that can be read, oldest first.
    ///
    /// # Errors
    /// What the file system says.
    pub fn list(&self) -> io::Result<Vec<DeadLetterSummary>> {
        let files = self.files()?;
        Ok(files.into_iter().filter_map(|(name, octets)| self.summary(&name, octets)).collect())
    }

    /// A letter.
    ///
    /// # Errors
    /// No such letter, or one that is damaged; what the file system says.
    pub fn show(&self, name: &str) -> io::Result<DeadLetter> {
        if time_of(name).is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no name of a dead letter")));
        }
        let octets = self.disk.read(name, 0, SUMMARY_OCTETS + limits::SPOOL_ENTRY_OCTETS_MAX)?;
        decode(&octets).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the dead letter is damaged"))
    }

    /// Deletes a letter: it was sent again, or is not wanted any more.
    ///
    /// # Errors
    /// No such letter; what the file system says.
    pub fn remove(&mut self, name: &str) -> io::Result<()> {
        if time_of(name).is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no name of a dead letter")));
        }
        self.disk.remove(name)
    }

    /// A letter, which is deleted. Who must not lose it shows it first and removes it when it is safe elsewhere.
    ///
    /// # Errors
    /// As for `show` and `remove`.
    pub fn take(&mut self, name: &str) -> io::Result<DeadLetter> {
        let letter = self.show(name)?;
        self.remove(name)?;
        Ok(letter)
    }

    /// Names sort by age.
    fn files(&self) -> io::Result<BTreeMap<String, u64>> {
        let files = self.disk.list(4 * limits::DEAD_LETTERS_MAX)?;
        Ok(files.into_iter().filter(|(name, _)| time_of(name).is_some()).collect())
    }

    fn summary(&self, name: &str, octets: u64) -> Option<DeadLetterSummary> {
        let start = self.disk.read(name, 0, SUMMARY_OCTETS).ok()?;
        let (at_ns, status, answer, rest) = head(&start)?;
        let frame = Head::read(rest)?;
        let (id, part, records) = (frame.id, frame.part, frame.records);
        Some(DeadLetterSummary { name: name.to_owned(), at_ns, status, answer, id, part, records, octets })
    }
}

fn name_of(letter: &DeadLetter) -> String {
    let id = u128::from_be_bytes(letter.entry.id);
    format!("{:016x}-{id:032x}-{:016x}.dead", letter.at_ns, letter.entry.part)
}

/// The time in a letter's name; None if it is no such name, so that nothing else is ever opened or deleted.
fn time_of(name: &str) -> Option<u64> {
    let (at, rest) = name.strip_suffix(".dead")?.split_once('-')?;
    let (id, part) = rest.split_once('-')?;
    let hex = |text: &str, length| text.len() == length && text.bytes().all(|c| c.is_ascii_hexdigit());
    let fits = hex(at, 16) && hex(id, 32) && hex(part, 16);
    fits.then(|| u64::from_str_radix(at, 16).ok())?
}

fn encode(letter: &DeadLetter) -> io::Result<Vec<u8>> {
    let answer = &letter.answer[..letter.answer.floor_char_boundary(limits::DEAD_ANSWER_OCTETS)];
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
    let mut frame = Frame::of(&letter.entry, false).map_err(invalid)?;
    let mut octets = Vec::with_capacity(SUMMARY_OCTETS + frame.len());
    octets.extend_from_slice(&MAGIC);
    octets.extend_from_slice(&VERSION.to_be_bytes());
    octets.extend_from_slice(&letter.status.to_be_bytes());
    octets.extend_from_slice(&letter.at_ns.to_be_bytes());
    octets.extend_from_slice(&u16::try_from(answer.len()).unwrap_or(u16::MAX).to_be_bytes());
    octets.extend_from_slice(&[0; 2]);
    octets.extend_from_slice(answer.as_bytes());
    let crc = crc32fast::hash(&octets);
    octets.extend_from_slice(&crc.to_be_bytes());
    octets.extend_from_slice(frame.placed(0, 0));
    Ok(octets)
}

/// Time, status, answer, and what stands behind them.
fn head(octets: &[u8]) -> Option<(u64, u16, String, &[u8])> {
    let mut reader = Reader::new(octets);
    let known = reader.array::<8>()? == MAGIC && reader.u16()? == VERSION;
    let (status, at_ns, length, _zero) = (reader.u16()?, reader.u64()?, usize::from(reader.u16()?), reader.u16()?);
    let answer = reader.take(length)?;
    let crc = reader.u32()?;
    let good = known && crc32fast::hash(octets.get(..FIXED_OCTETS + length)?) == crc;
    let rest = octets.get(FIXED_OCTETS + length + 4..)?;
    good.then(|| (at_ns, status, String::from_utf8_lossy(answer).into_owned(), rest))
}

fn decode(octets: &[u8]) -> Option<DeadLetter> {
    let (at_ns, status, answer, rest) = head(octets)?;
    let payload = Bytes::copy_from_slice(rest.get(HEAD_OCTETS..)?);
    Some(DeadLetter { at_ns, status, answer, entry: Head::read(rest)?.entry(payload).ok()? })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::testing::entry;
    use super::*;

    const S: u64 = 1_000_000_000;

    fn letter(second: u64, records: u32) -> DeadLetter {
        let answer = format!("{} is not \u{1b}[31m welcome é", "x".repeat(2_000));
        DeadLetter { at_ns: second * S, status: 422, answer, entry: entry(second as u32, records) }
    }

    fn letters(limit: u64) -> (tempfile::TempDir, DeadLetters) {
        let root = tempfile::tempdir().unwrap();
        let settings = DeadSettings { limit, age: Duration::from_secs(100), path: root.path().join("dead") };
        let letters = DeadLetters::open(&settings).unwrap();
        (root, letters)
    }

    #[test]
    fn letters_are_listed_shown_and_taken() {
        let (root, mut dead) = letters(1 << 20);
        for second in [7, 5] {
            assert_eq!(dead.add(&letter(second, 3)).unwrap(), Evicted::default());
        }
        let other = DeadLetters::existing(&root.path().join("dead")).unwrap();
        let list = other.list().unwrap();
        assert_eq!(
            list.iter().map(|l| (l.at_ns, l.status, l.records)).collect::<Vec<_>>(),
            [(5 * S, 422, 3), (7 * S, 422, 3)]
        );
        assert_eq!(list[0].answer.len(), limits::DEAD_ANSWER_OCTETS);
        let file = root.path().join("dead").join(&list[0].name);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let shown = other.show(&list[0].name).unwrap();
        assert_eq!((shown.entry, shown.status), (letter(5, 3).entry, 422));
        assert_eq!(dead.take(&list[0].name).unwrap().at_ns, 5 * S);
        assert!(dead.take(&list[0].name).is_err() && other.list().unwrap().len() == 1);
    }

    #[test]
    fn the_oldest_go_when_there_is_no_room_and_what_is_old_goes_anyway() {
        let one = encode(&letter(1, 3)).unwrap().len() as u64;
        let (_root, mut dead) = letters(3 * one);
        let evicted: Vec<u64> = (1..=5).map(|second| dead.add(&letter(second, 3)).unwrap().records).collect();
        assert_eq!(evicted, [0, 0, 0, 3, 3]);
        assert_eq!(dead.expire(104 * S, 0).unwrap(), Evicted { letters: 1, records: 3 });
        assert_eq!(dead.list().unwrap().iter().map(|l| l.at_ns / S).collect::<Vec<_>>(), [4, 5]);
    }

    #[test]
    fn names_lead_nowhere_else_and_damage_is_told() {
        let (root, mut dead) = letters(1 << 20);
        std::fs::write(root.path().join("secret"), b"x").unwrap();
        for name in ["../secret", "", "x.dead", "/etc/passwd"] {
            assert!(dead.show(name).is_err() && dead.remove(name).is_err(), "{name}");
        }
        dead.add(&letter(5, 3)).unwrap();
        let name = dead.list().unwrap()[0].name.clone();
        let path = root.path().join("dead").join(&name);
        let octets = std::fs::read(&path).unwrap();
        for at in 0..octets.len() {
            let mut damaged = octets.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_none() && decode(&octets[..at]).is_none(), "{at}");
        }
        std::fs::write(&path, b"short").unwrap();
        assert_eq!(dead.show(&name).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(dead.list().unwrap().is_empty());
    }
}
