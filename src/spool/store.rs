//! One directory of segments with its ledger: append, lease, close. No thread, no waiting.
//!
//! Enters: entries, answers to leases, the time of the `Clock`. Leaves: entries, oldest first; failures
//! of the file system, which change nothing that was promised. The order of writes that the promises of
//! `spool` rest on is kept here and in `store::room`; what a crash left is read in `store::recover`.

mod notes;
mod recover;
mod room;
mod settings;
mod whose;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use bytes::Bytes;

use super::WhenFull;
use super::disk::Disk;
use super::entry::{Entry, EntryError};
use super::frame::{Frame, HEAD_OCTETS, Head};
use super::journal::Event;
use super::segment::{HEADER_OCTETS, Header, VERSION};
use super::stats::{SpoolDrop, Stats};
use crate::clock::Clock;
use crate::limits;
pub(super) use settings::StoreSettings;

/// Where an entry stands: segment, and place in it. Ascends with the order of appending.
pub(super) type Position = (u64, u32);

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Ready,
    Aside,
    Leased,
    Gone,
}

/// An entry in memory: 40 octets.
#[derive(Debug)]
struct Slot {
    first_receive_ns: u64,
    last_receive_ns: u64,
    offset: u64,
    octets: u32,
    records: u32,
    attempts: u16,
    repeated: bool,
    fate: Fate,
}

#[derive(Debug)]
struct Segment {
    created_ns: u64,
    octets: u64,
    slots: Vec<Slot>,
    records: u64,
    live: u32,
    leased: u32,
}

/// An entry on loan.
#[derive(Debug)]
pub(super) struct Leased {
    pub(super) position: Position,
    pub(super) entry: Entry,
    /// It was handed out before and may have been accepted under its own id.
    pub(super) doubtful: bool,
}

/// Why an entry was not appended.
#[derive(Debug)]
pub(super) enum AppendError {
    /// The limit is reached, and what comes gives way.
    Full,
    /// The file system.
    Disk(io::Error),
    /// It is no entry.
    Entry(EntryError),
}

impl From<io::Error> for AppendError {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A directory of segments.
#[derive(Debug)]
pub(super) struct Store {
    disk: Box<dyn Disk>,
    settings: StoreSettings,
    clock: Clock,
    stats: Stats,
    segments: BTreeMap<u64, Segment>,
    ready: BTreeSet<Position>,
    aside: BTreeSet<(u64, Position)>,
    /// First receive times of all that is live, with their number.
    oldest: BTreeMap<u64, u32>,
    /// The segment that is written, if one is.
    active: Option<u64>,
    appended_at: u64,
    next: u64,
    octets: u64,
    slots: usize,
    /// Segments with octets that may not be on the disk yet, and whether names may not.
    unsynced: BTreeSet<u64>,
    names_unsynced: bool,
    synced_at: u64,
    /// Segments without live entries, to be deleted.
    finished: BTreeSet<u64>,
    /// Segments with octets of a failed write behind this length.
    untrimmed: BTreeMap<u64, u64>,
    ledger_dirty: bool,
    /// Octets of the journal; None while nothing can be noted.
    journal: Option<usize>,
    ledger_at: u64,
    expired_at: u64,
    /// Entries whose exporters may still be looked up in this turn.
    names_left: u32,
}

fn file_name(segment: u64) -> String {
    format!("{segment:016x}.seg")
}

impl Store {
    /// Appends an entry; it is committed by the next [`Store::commit`].
    pub(super) fn append(&mut self, entry: &Entry) -> Result<Position, AppendError> {
        let frame = Frame::of(entry, self.settings.compress).map_err(AppendError::Entry)?;
        let octets = frame.len() as u64;
        let mut frames = [(frame, entry)];
        self.make_room(octets)?;
        let written = match self.write(&mut frames) {
            // Others have filled the disk: the policy is the same as at our own limit.
            Err(error) if is_full(&error) && self.settings.full == WhenFull::DropOldest && self.drop_oldest()? => {
                self.write(&mut frames)
            }
            written => written,
        };
        let position = written?;
        self.stats.appended.add(u64::from(entry.records));
        Ok(position)
    }

    /// Puts the two halves in the place of an entry on loan, which is closed. All or nothing.
    pub(super) fn replace(&mut self, position: Position, halves: &[Entry; 2]) -> Result<(), AppendError> {
        let [first, second] = halves;
        let whole = self.slot(position).filter(|slot| slot.fate == Fate::Leased).map(|slot| u64::from(slot.records));
        let records = u64::from(first.records) + u64::from(second.records);
        let siblings = first.id == second.id && first.part % 2 == 1 && first.part.checked_add(1) == Some(second.part);
        if whole != Some(records) || !siblings {
            return Err(AppendError::Entry(EntryError::Parts));
        }
        // No room is made for them: they take the place of what goes. Only the number of entries is bounded.
        if self.slots >= 2 * limits::SPOOL_ENTRIES_MAX {
            return Err(AppendError::Full);
        }
        let frame = |entry| Frame::of(entry, self.settings.compress).map_err(AppendError::Entry);
        let mut frames = [(frame(first)?, first), (frame(second)?, second)];
        self.write(&mut frames)?;
        self.close(position, None);
        Ok(())
    }

    /// Writes frames behind each other into one segment with one call: all are there, or none counts.
    fn write(&mut self, frames: &mut [(Frame, &Entry)]) -> io::Result<Position> {
        let octets: u64 = frames.iter().map(|(frame, _)| frame.len() as u64).sum();
        let number = self.segment_for(octets, frames.len())?;
        let Some(segment) = self.segments.get_mut(&number) else { return Err(io::ErrorKind::NotFound.into()) };
        let mut whole = Vec::new();
        let (from, mut before) = (segment.slots.len(), segment.records);
        for (i, (frame, entry)) in frames.iter_mut().enumerate() {
            let index = u32::try_from(from + i).unwrap_or(u32::MAX);
            let placed = frame.placed(index, before);
            before += u64::from(entry.records);
            whole.extend_from_slice(placed);
        }
        if let Err(error) = self.disk.append(&file_name(number), &whole) {
            self.trim(number);
            return Err(error);
        }
        let mut offset = segment.octets;
        segment.records = before;
        segment.octets += octets;
        self.octets += octets;
        self.stats.octets.add(octets);
        for (i, (frame, entry)) in frames.iter().enumerate() {
            let index = u32::try_from(from + i).unwrap_or(u32::MAX);
            let slot = Slot {
                first_receive_ns: entry.first_receive_ns,
                last_receive_ns: entry.last_receive_ns,
                offset,
                octets: u32::try_from(frame.len()).unwrap_or(u32::MAX),
                records: entry.records,
                attempts: entry.attempts,
                repeated: entry.repeated,
                fate: Fate::Ready,
            };
            offset += frame.len() as u64;
            self.admit((number, index), slot);
        }
        self.appended_at = self.clock.monotonic_ns();
        if self.settings.durable() {
            self.unsynced.insert(number);
        }
        Ok((number, u32::try_from(from).unwrap_or(u32::MAX)))
    }

    /// The segment that is written, or a new one if it is full.
    fn segment_for(&mut self, octets: u64, entries: usize) -> io::Result<u64> {
        if let Some(number) = self.active
            && let Some(segment) = self.segments.get(&number)
        {
            let fits = segment.octets + octets <= self.settings.segment_octets || segment.slots.is_empty();
            if fits && segment.slots.len() + entries <= limits::SPOOL_SEGMENT_ENTRIES_MAX {
                return Ok(number);
            }
            self.retire();
        }
        // Also after a failure a number is not used again: what was half done may still be there.
        let number = self.next;
        self.next += 1;
        let header = Header { version: VERSION, number, created_ns: self.clock.unix_ns() };
        let name = file_name(number);
        self.disk.create(&name)?;
        self.names_unsynced = self.settings.durable();
        if let Err(error) = self.disk.append(&name, &header.octets()) {
            // An empty segment is deleted when the directory is opened next, if it cannot be now.
            let _ = self.disk.remove(&name);
            return Err(error);
        }
        self.octets += HEADER_OCTETS as u64;
        self.stats.octets.add(HEADER_OCTETS as u64);
        let octets = HEADER_OCTETS as u64;
        let segment = Segment { created_ns: header.created_ns, octets, slots: vec![], records: 0, live: 0, leased: 0 };
        self.segments.insert(number, segment);
        self.active = Some(number);
        if self.settings.durable() {
            self.unsynced.insert(number);
        }
        Ok(number)
    }

    /// Nothing more is written to the active segment.
    fn retire(&mut self) {
        let Some(number) = self.active.take() else { return };
        let Some(segment) = self.segments.get_mut(&number) else { return };
        let end = Head::end(u32::try_from(segment.slots.len()).unwrap_or(u32::MAX), segment.records);
        // Without it damage at the very end cannot be counted, which is all it is for.
        if !self.untrimmed.contains_key(&number) && self.disk.append(&file_name(number), &end).is_ok() {
            segment.octets += HEAD_OCTETS as u64;
            self.octets += HEAD_OCTETS as u64;
            self.stats.octets.add(HEAD_OCTETS as u64);
            if self.settings.durable() {
                self.unsynced.insert(number);
            }
        }
        if segment.live == 0 {
            self.finished.insert(number);
        }
    }

    /// Cuts off what a failed write has left; if that fails too, the segment is left behind.
    fn trim(&mut self, number: u64) {
        let Some(length) = self.segments.get(&number).map(|segment| segment.octets) else { return };
        if self.disk.truncate(&file_name(number), length).is_err() {
            self.untrimmed.insert(number, length);
            self.retire();
        }
    }

    /// Takes a slot into the books.
    fn admit(&mut self, position: Position, slot: Slot) {
        let Some(segment) = self.segments.get_mut(&position.0) else { return };
        self.slots += 1;
        if slot.fate == Fate::Ready {
            segment.live += 1;
            self.ready.insert(position);
            *self.oldest.entry(slot.first_receive_ns).or_default() += 1;
            self.stats.records.add(u64::from(slot.records));
            self.stats.entries.add(1);
        }
        segment.slots.push(slot);
    }

    fn slot(&self, (segment, index): Position) -> Option<&Slot> {
        self.segments.get(&segment)?.slots.get(index as usize)
    }

    fn slot_mut(&mut self, (segment, index): Position) -> Option<&mut Slot> {
        self.segments.get_mut(&segment)?.slots.get_mut(index as usize)
    }

    /// First receive time of the entry that comes next; None if none is ready.
    pub(super) fn peek(&mut self) -> Option<u64> {
        self.wake();
        self.ready.first().and_then(|position| self.slot(*position)).map(|slot| slot.first_receive_ns)
    }

    /// What was set aside and may come again.
    fn wake(&mut self) {
        let now = self.clock.monotonic_ns();
        while let Some((at, position)) = self.aside.first().copied()
            && at <= now
        {
            self.aside.remove(&(at, position));
            self.ready.insert(position);
            if let Some(slot) = self.slot_mut(position) {
                slot.fate = Fate::Ready;
            }
        }
    }

    /// The oldest entry that is ready; what is too old or damaged is dropped on the way.
    ///
    /// # Errors
    /// The disk's; the entry that it happened to is passed by for a while.
    pub(super) fn lease(&mut self) -> io::Result<Option<Leased>> {
        self.wake();
        while let Some(position) = self.ready.first().copied() {
            let Some(slot) = self.slot(position) else {
                self.ready.remove(&position);
                continue;
            };
            if self.is_too_old(slot) {
                self.drop_unread(position, SpoolDrop::Age);
                continue;
            }
            let read = self.disk.read(&file_name(position.0), slot.offset, slot.octets as usize);
            let (attempts, repeated) = (slot.attempts, slot.repeated);
            let octets = match read {
                Ok(octets) => octets,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                Err(error) => {
                    self.set_aside(position, limits::SPOOL_BACKOFF_MAX_MS * 1_000_000);
                    return Err(error);
                }
            };
            let head = Head::read(&octets).filter(|head| head.index == position.1);
            let entry = head.and_then(|head| head.entry(Bytes::from(octets).slice(HEAD_OCTETS..)).ok());
            let Some(entry) = entry else {
                self.close(position, Some(SpoolDrop::Damaged));
                continue;
            };
            self.ready.remove(&position);
            self.mark_leased(position);
            self.note(position, Event::Lent);
            // A part inherits the mark from its whole, which was sent under another id.
            let doubtful = repeated && (entry.part == 0 || !entry.repeated);
            return Ok(Some(Leased { position, entry: Entry { attempts, repeated, ..entry }, doubtful }));
        }
        Ok(None)
    }

    fn mark_leased(&mut self, position: Position) {
        if let Some(slot) = self.slot_mut(position) {
            slot.fate = Fate::Leased;
        }
        if let Some(segment) = self.segments.get_mut(&position.0) {
            segment.leased += 1;
        }
        self.ledger_dirty = true;
    }

    /// Closes an entry on loan: it was delivered, or met its fate elsewhere. False if it is not on loan.
    pub(super) fn acknowledge(&mut self, position: Position) -> bool {
        let Some(records) = self.slot(position).filter(|s| s.fate == Fate::Leased).map(|s| u64::from(s.records)) else {
            return false;
        };
        self.stats.closed.add(records);
        self.note(position, Event::Closed);
        self.close(position, None);
        true
    }

    /// Takes an entry back that could not be delivered; it is not given out again for `pause_ns`.
    pub(super) fn give_back(&mut self, position: Position, pause_ns: u64, maybe_written: bool) {
        let Some(slot) = self.slot_mut(position).filter(|slot| slot.fate == Fate::Leased) else { return };
        slot.attempts = slot.attempts.saturating_add(1);
        slot.repeated |= maybe_written;
        let unwritten = !slot.repeated;
        if let Some(segment) = self.segments.get_mut(&position.0) {
            segment.leased -= 1;
        }
        if unwritten {
            self.note(position, Event::Back);
        }
        self.set_aside(position, pause_ns);
        self.ledger_dirty = true;
    }

    fn set_aside(&mut self, position: Position, pause_ns: u64) {
        let at = self.clock.monotonic_ns().saturating_add(pause_ns);
        self.ready.remove(&position);
        if let Some(slot) = self.slot_mut(position) {
            slot.fate = Fate::Aside;
            self.aside.insert((at, position));
        }
    }

    /// An entry leaves; with a reason it is dropped, without one the caller has counted it.
    fn close(&mut self, position: Position, drop: Option<SpoolDrop>) {
        let Some(slot) = self.slot_mut(position).filter(|slot| slot.fate != Fate::Gone) else { return };
        let (was, records, first) = (slot.fate, u64::from(slot.records), slot.first_receive_ns);
        slot.fate = Fate::Gone;
        if let Some(reason) = drop {
            self.stats.drop_records(reason, records);
        }
        self.stats.records.sub(records);
        self.stats.entries.sub(1);
        match was {
            Fate::Ready => {
                self.ready.remove(&position);
            }
            Fate::Aside => self.aside.retain(|(_, other)| *other != position),
            Fate::Leased | Fate::Gone => {}
        }
        if let Some(count) = self.oldest.get_mut(&first) {
            *count -= 1;
            if *count == 0 {
                self.oldest.remove(&first);
            }
        }
        if let Some(segment) = self.segments.get_mut(&position.0) {
            segment.live -= 1;
            segment.leased -= u32::from(was == Fate::Leased);
            if segment.live == 0 && self.active != Some(position.0) {
                self.finished.insert(position.0);
            }
        }
        self.ledger_dirty = true;
    }

    fn is_too_old(&self, slot: &Slot) -> bool {
        slot.last_receive_ns.saturating_add(self.settings.age_ns) < self.clock.unix_ns()
    }

    /// First receive time of the oldest entry; None if there is none.
    pub(super) fn oldest_receive(&self) -> Option<u64> {
        self.oldest.keys().next().copied()
    }

    /// Nothing live is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.oldest.is_empty()
    }

    /// Bound of its octets.
    pub(super) fn limit(&self) -> u64 {
        self.settings.limit
    }

    /// When something that is set aside may come again, monotonic nanoseconds.
    pub(super) fn due(&self) -> Option<u64> {
        self.aside.first().map(|(at, _)| *at)
    }
}

/// No room on the disk, or none for us.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests;
