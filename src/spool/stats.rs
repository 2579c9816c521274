//! What the spool says about itself: atomics that any thread may read, and its state.
//!
//! The stores add and take, the thread sets; nobody waits for anybody. Levels are exact at rest.

use std::sync::{Arc, Mutex, PoisonError};

use super::entry::ExporterCount;
use crate::metrics::{Losses, RecordDrop, Tally, exporter_of_key};

/// Why the spool dropped records; the position is the index into `Stats::dropped`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum SpoolDrop {
    /// They were the oldest when the limit was reached.
    Oldest = 0,
    /// They were the newest then.
    Full = 1,
    /// They were older than the age limit.
    Age = 2,
    /// Their octets were damaged on disk.
    Damaged = 3,
    /// The disk did not take them until the process ended, or they were no batch at all.
    Failed = 4,
}

impl SpoolDrop {
    /// All of them, in the order of `Stats::dropped`.
    pub const ALL: [Self; 5] = [Self::Oldest, Self::Full, Self::Age, Self::Damaged, Self::Failed];

    /// The `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Oldest => "oldest",
            Self::Full => "full",
            Self::Age => "age",
            Self::Damaged => "damaged",
            Self::Failed => "failed",
        }
    }

    /// What the books call it.
    const fn in_books(self) -> RecordDrop {
        match self {
            Self::Oldest => RecordDrop::SpoolOldest,
            Self::Full => RecordDrop::SpoolFull,
            Self::Age => RecordDrop::SpoolAge,
            Self::Damaged => RecordDrop::SpoolDamaged,
            Self::Failed => RecordDrop::SpoolFailed,
        }
    }
}

/// How the spool is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SpoolState {
    /// There is none.
    #[default]
    Off,
    /// It takes and gives.
    Working,
    /// It gives, and takes nothing for lack of room.
    Full,
    /// The disk does not do what it should.
    Failed {
        /// What was tried, where, and what the operating system said.
        reason: String,
    },
}

impl SpoolState {
    const fn code(&self) -> u64 {
        match self {
            Self::Off => 0,
            Self::Working => 1,
            Self::Full => 2,
            Self::Failed { .. } => 3,
        }
    }
}

/// Figures of the spool; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Octets of its segments on disk (a level).
    pub octets: Tally,
    /// Bound of them (a level; 0 until the directory is open).
    pub limit: Tally,
    /// Entries in it, those under way included (a level).
    pub entries: Tally,
    /// Their records (a level).
    pub records: Tally,
    /// Records on their way in (a level).
    pub pending_records: Tally,
    /// Octets on their way in (a level).
    pub pending_octets: Tally,
    /// 1 while it takes entries: Working, not Full (a level).
    pub enabled: Tally,
    /// Receive time of the oldest record in it, Unix nanoseconds; 0 if there is none (a level).
    pub oldest_receive_ns: Tally,
    /// Monotonic time of the thread's last turn (a level). A disk may hang: a reason to show `degraded`, not to end.
    pub heartbeat_ns: Tally,
    /// Records appended.
    pub appended: Tally,
    /// Records found at start, or adopted.
    pub recovered: Tally,
    /// Records acknowledged or discarded.
    pub closed: Tally,
    /// Records whose fate others have counted and that are still in it: their closing is on its way (a level).
    pub closing: Tally,
    /// Records dropped, in the order of `SpoolDrop::ALL`.
    pub dropped: [Tally; 5],
    /// Whose they were.
    pub losses: Losses,
    /// Entries that damage had made unreadable when a directory was opened; never counted as recovered.
    pub damaged_entries: Tally,
    /// Their records, where something whole stood behind them.
    pub damaged_records: Tally,
    /// Octets that belonged to nothing whole, torn tails included.
    pub damaged_octets: Tally,
    /// Entries that stood twice, or whole and in halves, and count once.
    pub duplicates: Tally,
    /// Files of another format, left alone.
    pub foreign_files: Tally,
    /// Ledgers that could not be read: their entries come once more.
    pub ledgers_lost: Tally,
    /// Failures of the file system.
    pub disk_errors: Tally,
    state: Tally,
    reason: Arc<Mutex<String>>,
}

impl Stats {
    /// How the spool is.
    #[must_use]
    pub fn state(&self) -> SpoolState {
        match self.state.value() {
            0 => SpoolState::Off,
            1 => SpoolState::Working,
            2 => SpoolState::Full,
            _ => SpoolState::Failed { reason: self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone() },
        }
    }

    /// Whether an offer may be taken now.
    pub(super) fn takes(&self) -> bool {
        self.state.value() == 1
    }

    pub(super) fn set_state(&self, state: &SpoolState) {
        if let SpoolState::Failed { reason } = state {
            self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone_from(reason);
        }
        self.state.set(state.code());
        self.enabled.set(u64::from(*state == SpoolState::Working));
    }

    pub(super) fn drop_records(&self, drop: SpoolDrop, records: u64) {
        self.dropped[drop as usize].add(records);
    }

    /// Whose the records were that `drop_records` has counted.
    pub(super) fn name_lost(&self, drop: SpoolDrop, named: &[ExporterCount]) {
        let runs = named.iter().filter_map(|count| {
            exporter_of_key(&count.key).map(|(tenant, address)| (tenant, address, u64::from(count.records)))
        });
        self.losses.add(drop.in_books(), runs);
    }

    /// Records that the books leave unexplained; 0 at rest, or there is a defect.
    #[must_use]
    pub fn imbalance(&self) -> i64 {
        let dropped: u64 = self.dropped.iter().map(Tally::value).sum();
        let came = self.appended.value() + self.recovered.value();
        came.cast_signed() - (self.closed.value() + dropped + self.records.level()).cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_at_the_index_of_their_drop_and_states_read_back() {
        for (index, drop) in SpoolDrop::ALL.into_iter().enumerate() {
            assert_eq!(drop as usize, index, "{}", drop.label());
        }
        let stats = Stats::default();
        assert_eq!((stats.state(), stats.takes()), (SpoolState::Off, false));
        let failed = SpoolState::Failed { reason: "no".to_owned() };
        for state in [SpoolState::Working, failed, SpoolState::Full] {
            stats.set_state(&state);
            assert_eq!((stats.state(), stats.enabled.value() == 1), (state.clone(), state == SpoolState::Working));
        }
    }
}
