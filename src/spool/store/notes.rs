//! The store's side of the journal: notes of what was lent and closed since the ledger.
//!
//! Promised: a note that cannot be written changes nothing but what a kill costs: then nothing more is noted until the
//! next ledger, so that no note is missing before one that is there.

use super::super::journal::{self, Event, Events, NOTE_OCTETS, Note};
use super::{Position, Store};
use crate::limits;

/// Name of the journal.
const JOURNAL: &str = "journal";

impl Store {
    /// Notes what happens to an entry that is there.
    pub(super) fn note(&mut self, position: Position, event: Event) {
        let Some(created_ns) = self.segments.get(&position.0).map(|segment| segment.created_ns) else { return };
        let Some(octets) = self.journal.filter(|octets| octets + NOTE_OCTETS <= limits::SPOOL_JOURNAL_OCTETS_MAX)
        else {
            self.journal = None;
            return;
        };
        let note = Note { position, created_ns, event };
        let written = self.disk.append(JOURNAL, &note.octets());
        self.journal = written.is_ok().then_some(octets + NOTE_OCTETS);
    }

    /// The journal as it was left, and its octets that are sound.
    pub(super) fn read_journal(&self) -> (Events, usize) {
        // Without one the ledger alone counts: entries come once more.
        let octets = self.disk.read(JOURNAL, 0, limits::SPOOL_JOURNAL_OCTETS_MAX).unwrap_or_default();
        journal::read(&octets)
    }

    /// Goes on behind `octets` of what was noted: at none of it once the ledger says it all.
    pub(super) fn begin_journal(&mut self, octets: usize) {
        // What cannot be cut off stays; its notes are true, so they do no harm.
        let cut = self.disk.truncate(JOURNAL, octets as u64);
        let cut = if octets == 0 { cut.or_else(|_| self.disk.create(JOURNAL)) } else { cut };
        self.journal = cut.is_ok().then_some(octets);
    }
}
