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
