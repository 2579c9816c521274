//! What the tests of the spool share: entries, and a disk in memory that fails, tears and forgets.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use super::disk::{Disk, Room};
use super::entry::{Entry, ExporterCount};

/// Entry number `seed` with `records` records, each with a text of its own.
pub(super) fn entry(seed: u32, records: u32) -> Entry {
    let mut id = [0xA5; 16];
    id[..4].copy_from_slice(&seed.to_be_bytes());
    part_of(id, 0, u64::from(seed), 0..records)
}

fn part_of(id: [u8; 16], part: u64, seed: u64, serials: std::ops::Range<u32>) -> Entry {
    let (mut body, mut record_ends) = (Vec::new(), Vec::new());
    for serial in serials.clone() {
        body.extend_from_slice(format!("{{\"serial\":{serial:06}}}").as_bytes());
        record_ends.push(body.len() as u32);
    }
    let records = serials.len() as u32;
    let first = ExporterCount { key: "|192.0.2.1".into(), records: records - records / 2 };
    let second = ExporterCount { key: "tenant|2001:db8::1".into(), records: records / 2 };
    Entry {
        id,
        part,
        output: "backend".into(),
        format: "json".into(),
        records,
        first_receive_ns: 1_000 + seed,
        last_receive_ns: 2_000 + seed,
        attempts: 0,
        repeated: false,
        exporters: if records == 0 { vec![] } else { vec![first, second] },
        record_ends,
        body: Bytes::from(body),
    }
}

/// The serials in an entry's body.
pub(super) fn serials(entry: &Entry) -> Vec<u32> {
    let text = std::str::from_utf8(&entry.body).expect("text");
    text.split('{').skip(1).map(|record| record[9..15].parse().expect("a serial")).collect()
}

/// Its two halves.
pub(super) fn halves(entry: &Entry) -> [Entry; 2] {
    let serials = serials(entry);
    let (from, middle) = (serials[0], serials[serials.len() / 2]);
    let seed = entry.first_receive_ns - 1_000;
    [
        part_of(entry.id, 2 * entry.part + 1, seed, from..middle),
        part_of(entry.id, 2 * entry.part + 2, seed, middle..from + serials.len() as u32),
    ]
}

/// What happens instead of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It fails; of a write a part is done.
    Error(io::ErrorKind),
    /// The machine stops; of a write a part is done.
    Crash,
}

#[derive(Debug, Clone, Default)]
struct Content {
    octets: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Set(String, u64),
    Move(String, String),
    Remove(String),
}

fn change(names: &mut BTreeMap<String, u64>, change: &NameChange) {
    match change {
        NameChange::Set(name, file) => {
            names.insert(name.clone(), *file);
        }
        NameChange::Move(from, to) => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        NameChange::Remove(name) => {
            names.remove(name);
        }
    }
}

#[derive(Debug, Default)]
struct Platter {
    names: BTreeMap<String, u64>,
    synced_names: BTreeMap<String, u64>,
    changes: Vec<NameChange>,
    files: BTreeMap<u64, Content>,
    next: u64,
    operations: u64,
    fault: Option<(u64, Fault)>,
    stopped: bool,
    random: u64,
    capacity: Option<u64>,
}

impl Platter {
    fn random(&mut self, below: usize) -> usize {
        // xorshift64
        let mut x = self.random | 1;
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random = x;
        (x >> 11) as usize % below.max(1)
    }

    /// Counts an operation; says whether it is to fail.
    fn begin(&mut self) -> io::Result<()> {
        if self.stopped {
            return Err(io::Error::other("the machine has stopped"));
        }
        self.operations += 1;
        match self.fault {
            Some((at, fault)) if at == self.operations => {
                self.fault = None;
                self.stopped = fault == Fault::Crash;
                let kind = if let Fault::Error(kind) = fault { kind } else { io::ErrorKind::Other };
                Err(kind.into())
            }
            _ => Ok(()),
        }
    }

    fn content(&mut self, name: &str) -> io::Result<&mut Content> {
        let file = self.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.files.entry(*file).or_default())
    }

    fn used(&self) -> u64 {
        self.names.values().filter_map(|file| self.files.get(file)).map(|content| content.octets.len() as u64).sum()
    }

    fn note(&mut self, note: NameChange) {
        change(&mut self.names, &note);
        self.changes.push(note);
    }
}

/// A disk in memory; clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(super) struct MemoryDisk(Arc<Mutex<Platter>>);

impl MemoryDisk {
    pub(super) fn new(random: u64) -> Self {
        let disk = Self::default();
        disk.platter().random = random;
        disk
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().expect("no test panics while it holds this")
    }

    /// The operation after `skipped` others meets `fault`.
    pub(super) fn fail(&self, skipped: u64, fault: Fault) {
        let mut platter = self.platter();
        platter.fault = Some((platter.operations + 1 + skipped, fault));
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.platter().stopped
    }

    /// Changes so far.
    pub(super) fn operations(&self) -> u64 {
        self.platter().operations
    }

    /// Octets that fit, from now on.
    pub(super) fn hold(&self, capacity: Option<u64>) {
        self.platter().capacity = capacity;
    }

    /// The power goes: of what was not synced some is there, some is not, some is zeros.
    pub(super) fn lose_power(&self) {
        let mut platter = self.platter();
        let kept = platter.changes.len() + 1;
        let kept = platter.random(kept);
        let changes: Vec<_> = platter.changes.drain(..).take(kept).collect();
        let mut names = platter.synced_names.clone();
        changes.iter().for_each(|note| change(&mut names, note));
        let mut files = std::mem::take(&mut platter.files);
        for content in files.values_mut() {
            let grown = content.octets.len() > content.synced.len() && content.octets.starts_with(&content.synced);
            if grown {
                let more = content.octets.len() - content.synced.len() + 1;
                let more = platter.random(more);
                let mut octets = content.octets[..content.synced.len() + more].to_vec();
                if platter.random(2) == 1 {
                    octets.resize(content.octets.len(), 0);
                }
                content.octets = octets;
            } else if platter.random(2) == 1 {
                content.octets.clone_from(&content.synced);
            }
            content.synced.clone_from(&content.octets);
        }
        platter.files = files;
        platter.names.clone_from(&names);
        platter.synced_names = names;
        platter.stopped = false;
        platter.fault = None;
    }

    /// The process alone is killed: what was written stays written.
    pub(super) fn lose_process(&self) {
        let mut platter = self.platter();
        platter.stopped = false;
        platter.fault = None;
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.platter().names.keys().cloned().collect()
    }

    pub(super) fn octets(&self, name: &str) -> Vec<u8> {
        self.platter().content(name).expect("the file").octets.clone()
    }

    pub(super) fn put(&self, name: &str, octets: &[u8]) {
        let mut platter = self.platter();
        if !platter.names.contains_key(name) {
            platter.next += 1;
            let file = platter.next;
            platter.names.insert(name.to_owned(), file);
            platter.synced_names.insert(name.to_owned(), file);
        }
        *platter.content(name).expect("the file") = Content { octets: octets.to_vec(), synced: octets.to_vec() };
    }
}

impl Disk for MemoryDisk {
    fn list(&self, limit: usize) -> io::Result<Vec<(String, u64)>> {
        let platter = self.platter();
        let length = |file: &u64| platter.files.get(file).map_or(0, |content| content.octets.len() as u64);
        Ok(platter.names.iter().take(limit).map(|(name, file)| (name.clone(), length(file))).collect())
    }

    fn read(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut platter = self.platter();
        let octets = &platter.content(name)?.octets;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(octets.len());
        Ok(octets[from..from.saturating_add(length).min(octets.len())].to_vec())
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let mut platter = self.platter();
        platter.begin()?;
        if platter.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        platter.next += 1;
        let file = platter.next;
        platter.note(NameChange::Set(name.to_owned(), file));
        Ok(())
    }

    fn append(&mut self, name: &str, octets: &[u8]) -> io::Result<()> {
        let mut platter = self.platter();
        if platter.stopped {
            return platter.begin();
        }
        let begun = platter.begin();
        let room = platter.capacity.map_or(usize::MAX, |most| most.saturating_sub(platter.used()) as usize);
        let done = match &begun {
            Ok(()) => octets.len().min(room),
            Err(_) => platter.random(octets.len() + 1).min(room),
        };
        platter.content(name)?.octets.extend_from_slice(&octets[..done]);
        begun?;
        if done < octets.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        let mut platter = self.platter();
        platter.begin()?;
        platter.content(name)?.octets.truncate(length as usize);
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut platter = self.platter();
        platter.begin()?;
        let content = platter.content(name)?;
        content.synced.clone_from(&content.octets);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut platter = self.platter();
        platter.begin()?;
        if !platter.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        platter.note(NameChange::Move(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut platter = self.platter();
        platter.begin()?;
        if !platter.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        platter.note(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        let mut platter = self.platter();
        platter.begin()?;
        platter.synced_names = platter.names.clone();
        platter.changes.clear();
        Ok(())
    }

    fn room(&self) -> io::Result<Option<Room>> {
        let platter = self.platter();
        Ok(platter.capacity.map(|total| Room { free: total.saturating_sub(platter.used()), total }))
    }
}
