//! What a store does beside giving and taking: making room, committing, the ledger, deleting.
//!
//! The order is what the promises rest on: entries are committed, then the ledger is written, then files
//! are deleted. A failure at any step leaves the rest for the next turn.

use std::io;

use super::super::disk::{remove_if_there, replace_file};
use super::super::ledger::{Closed, Ledger, Row};
use super::super::stats::SpoolDrop;
use super::super::{Fsync, WhenFull};
use super::{AppendError, Fate, Position, Store, file_name, is_full, nanoseconds};
use crate::limits;

/// Name of the ledger.
pub(super) const LEDGER: &str = "ledger";
/// Between two looks for what is too old; and how long a segment of closed entries waits for further ones.
const SECOND_NS: u64 = 1_000_000_000;

impl Store {
    /// Whether an entry of `octets` would be taken, at the price of older ones if so wanted. What is larger than the
    /// whole never is, which says nothing about the others.
    pub(in super::super) fn may_take(&self, octets: u64) -> io::Result<bool> {
        let gives_way = self.segments.values().any(|segment| segment.leased == 0 && !segment.slots.is_empty());
        let policy = self.settings.full == WhenFull::DropOldest && gives_way;
        Ok(octets > self.settings.limit || policy || self.has_room(octets)?)
    }

    /// Whether an entry of `octets` may be written.
    fn has_room(&self, octets: u64) -> io::Result<bool> {
        let files = self.segments.len() < limits::SPOOL_FILES_MAX / 2;
        let own = self.octets.saturating_add(octets) <= self.settings.limit;
        if !own || !files || self.slots >= limits::SPOOL_ENTRIES_MAX {
            return Ok(false);
        }
        let Some(room) = self.disk.room()? else { return Ok(true) };
        let kept = room.total / 100 * self.settings.keep_free_percent;
        Ok(room.free >= kept.saturating_add(octets))
    }

    /// Makes room, or says that there is none.
    pub(super) fn make_room(&mut self, octets: u64) -> Result<(), AppendError> {
        while !self.has_room(octets)? {
            if octets > self.settings.limit {
                return Err(AppendError::Full);
            }
            self.retire_if_closed();
            if self.sweep()? > 0 {
                continue;
            }
            if self.settings.full == WhenFull::DropNewest || !self.drop_oldest()? {
                return Err(AppendError::Full);
            }
        }
        Ok(())
    }

    /// Drops and deletes the oldest segment of which nothing is on loan; false if there is none.
    pub(super) fn drop_oldest(&mut self) -> io::Result<bool> {
        let found = self.segments.iter().find(|(_, segment)| segment.leased == 0 && !segment.slots.is_empty());
        let Some(number) = found.map(|(number, _)| *number) else { return Ok(false) };
        if self.active == Some(number) {
            self.retire();
        }
        for position in self.live(number) {
            self.drop_unread(position, SpoolDrop::Oldest);
        }
        self.finished.insert(number);
        Ok(self.sweep()? > 0)
    }

    /// A segment of closed entries alone is not written any further: it can be deleted.
    fn retire_if_closed(&mut self) {
        let closed = |number: &u64| self.segments.get(number).is_some_and(|s| s.live == 0 && !s.slots.is_empty());
        if self.active.as_ref().is_some_and(closed) {
            self.retire();
        }
    }

    fn live(&self, number: u64) -> Vec<Position> {
        let slots = self.segments.get(&number).map_or(&[][..], |segment| &segment.slots);
        let live = slots.iter().zip(0..).filter(|(slot, _)| slot.fate != Fate::Gone);
        live.map(|(_, index)| (number, index)).collect()
    }

    /// Makes everything appended so far reach the disk, if that is wanted at all.
    ///
    /// After a failure nothing more is written behind what may be missing.
    pub(in super::super) fn commit(&mut self) -> io::Result<()> {
        while let Some(number) = self.unsynced.first().copied() {
            if let Err(error) = self.disk.sync(&file_name(number)) {
                if self.active == Some(number) {
                    self.active = None;
                    if self.segments.get(&number).is_some_and(|segment| segment.live == 0) {
                        self.finished.insert(number);
                    }
                }
                return Err(error);
            }
            self.unsynced.remove(&number);
        }
        if self.names_unsynced {
            self.disk.sync_names()?;
            self.names_unsynced = false;
        }
        self.synced_at = self.clock.monotonic_ns();
        Ok(())
    }

    /// Whether everything appended so far is on the disk.
    #[cfg(test)]
    pub(in super::super) fn is_committed(&self) -> bool {
        self.unsynced.is_empty() && !self.names_unsynced
    }

    /// The regular work: commits, closes what is too old, writes the ledger, deletes.
    pub(in super::super) fn maintain(&mut self) -> io::Result<()> {
        self.refill_names();
        let now = self.clock.monotonic_ns();
        let pause = match self.settings.fsync {
            Fsync::Always => 0,
            Fsync::Interval(pause) => nanoseconds(pause),
            Fsync::Never => limits::SPOOL_FSYNC_MS.default * 1_000_000,
        };
        if now.saturating_sub(self.synced_at) >= pause {
            self.commit()?;
        }
        if now.saturating_sub(self.expired_at) >= SECOND_NS {
            self.expired_at = now;
            self.expire();
        }
        if now.saturating_sub(self.appended_at) >= SECOND_NS {
            self.retire_if_closed();
        }
        self.trim_again();
        if self.ledger_dirty && now.saturating_sub(self.ledger_at) >= pause {
            self.write_ledger()?;
        }
        self.sweep()?;
        Ok(())
    }

    fn expire(&mut self) {
        let now = self.clock.unix_ns();
        if self.oldest_receive().is_none_or(|first| first.saturating_add(self.settings.age_ns) >= now) {
            return;
        }
        let waiting = self.ready.iter().copied().chain(self.aside.iter().map(|(_, position)| *position));
        let old: Vec<Position> =
            waiting.filter(|position| self.slot(*position).is_some_and(|slot| self.is_too_old(slot))).collect();
        for position in old {
            self.drop_unread(position, SpoolDrop::Age);
        }
    }

    fn trim_again(&mut self) {
        while let Some((number, length)) = self.untrimmed.first_key_value().map(|(n, l)| (*n, *l)) {
            let gone = !self.segments.contains_key(&number);
            if !gone && self.disk.truncate(&file_name(number), length).is_err() {
                return;
            }
            self.untrimmed.remove(&number);
        }
    }

    /// Writes the ledger; before it everything that it speaks of is committed.
    pub(in super::super) fn write_ledger(&mut self) -> io::Result<()> {
        self.commit()?;
        let octets = self.ledger().octets();
        replace_file(self.disk.as_mut(), LEDGER, &octets, self.settings.durable())?;
        self.ledger_dirty = false;
        self.begin_journal(0);
        self.ledger_at = self.clock.monotonic_ns();
        Ok(())
    }

    fn ledger(&self) -> Ledger {
        let mut ledger = Ledger { next: self.next, ..Ledger::default() };
        for (number, segment) in &self.segments {
            let mut closed = Closed { created_ns: segment.created_ns, ..Closed::default() };
            for (slot, index) in segment.slots.iter().zip(0..) {
                let row = Row { attempts: slot.attempts, repeated: slot.repeated || slot.fate == Fate::Leased };
                if slot.fate == Fate::Gone {
                    closed.set(index);
                } else if (row.attempts > 0 || row.repeated) && ledger.rows.len() < limits::SPOOL_LEDGER_ROWS_MAX {
                    ledger.rows.insert((*number, index), row);
                }
            }
            if !closed.bits.is_empty() {
                ledger.segments.insert(*number, closed);
            }
        }
        ledger
    }

    /// Deletes the segments without live entries; tells how many.
    pub(super) fn sweep(&mut self) -> io::Result<usize> {
        if self.finished.is_empty() {
            return Ok(0);
        }
        if self.ledger_dirty {
            match self.write_ledger() {
                // On a full disk deleting is what makes room for a ledger.
                Err(error) if !is_full(&error) => return Err(error),
                _ => {}
            }
        }
        let mut deleted = 0;
        while let Some(number) = self.finished.first().copied() {
            remove_if_there(self.disk.as_mut(), &file_name(number))?;
            self.finished.remove(&number);
            self.unsynced.remove(&number);
            self.untrimmed.remove(&number);
            if let Some(segment) = self.segments.remove(&number) {
                self.octets -= segment.octets;
                self.stats.octets.sub(segment.octets);
                self.slots -= segment.slots.len();
            }
            deleted += 1;
        }
        Ok(deleted)
    }

    /// The end: everything is committed, what is on loan counts as repeated when it comes back.
    pub(in super::super) fn finish(&mut self) -> io::Result<()> {
        self.retire();
        self.write_ledger()?;
        self.sweep()?;
        Ok(())
    }

    /// Takes this store's levels out of the figures: it is closed, or its directory must be opened anew.
    pub(in super::super) fn forget(self) {
        self.stats.octets.sub(self.octets);
        let live: u64 = self
            .segments
            .values()
            .flat_map(|segment| &segment.slots)
            .filter(|slot| slot.fate != Fate::Gone)
            .map(|slot| u64::from(slot.records))
            .sum();
        self.stats.records.sub(live);
        self.stats.entries.sub(self.oldest.values().map(|count| u64::from(*count)).sum());
    }
}
