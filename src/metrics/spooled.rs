//! What the spool says of itself, as levels of the books.

use super::{Registrar, Tally};

/// What the spool holds; the wiring hands the tallies to the spool, which writes them.
#[derive(Debug, Clone, Default)]
pub struct SpoolLevels {
    /// Octets on disk (a level).
    pub octets: Tally,
    /// Records on disk, those under delivery included (a level).
    pub records: Tally,
    /// Records on their way in (a level).
    pub pending: Tally,
    /// Records whose fate is counted and that the spool has not let go of yet: its disk may take its time (a level).
    pub closing: Tally,
    /// Bound of the octets (a level).
    pub limit: Tally,
    /// 1 while it takes batches (a level).
    pub enabled: Tally,
    /// 1 while records that the backend refuses for good are kept as dead letters (a level).
    pub dead_letters: Tally,
    /// Records whose octets were found damaged when a directory was opened: never among those recovered.
    pub damaged: Tally,
    /// Files of another format, left alone.
    pub foreign: Tally,
    /// Receive time of its oldest record, Unix nanoseconds; 0 if there is none (a level).
    pub oldest_receive_ns: Tally,
}

impl SpoolLevels {
    pub(super) fn register(r: &mut Registrar<'_>) -> Self {
        Self {
            octets: r.level_u64("spool_bytes", &[]),
            records: r.level_u64("spool_records", &[]),
            limit: r.level_u64("spool_limit_bytes", &[]),
            enabled: r.level_u64("spool_enabled", &[]),
            damaged: r.counter("spool_damaged_records_total", &[]),
            foreign: r.counter("spool_foreign_files_total", &[]),
            dead_letters: r.level_u64("dead_letters_enabled", &[]),
            ..Self::default()
        }
    }

    /// Records that the spool answers for: a term of the record equation.
    #[must_use]
    pub fn spooled(&self) -> u64 {
        // What goes first: else what has gone meanwhile would be taken off twice. Then the way in: what is appended
        // meanwhile is met again, never overlooked.
        let closing = self.closing.level();
        (self.pending.level() + self.records.level()).saturating_sub(closing)
    }
}
