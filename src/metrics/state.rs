//! Handles of kept learned state.

use super::{Registrar, Tally};

/// What became of records of snapshots at start, in label order.
const RECORD_STATES: [&str; 4] = ["restored", "too_old", "damaged", "refused"];

/// Handles of the snapshot of learned state.
#[derive(Debug, Clone)]
pub struct StateMetrics {
    /// When the snapshot was written, Unix seconds; 0 without one (a level).
    pub written_s: Tally,
    /// Its octets (a level).
    pub octets: Tally,
    /// Times it could not be written or read.
    pub failures: Tally,
    /// Records that taught something, or what was known already.
    pub restored: Tally,
    /// Records nobody was heard of for too long.
    pub too_old: Tally,
    /// Places whose checksums are wrong.
    pub damaged: Tally,
    /// Records that the settings, a bound, or the octets themselves did not allow.
    pub refused: Tally,
}

impl StateMetrics {
    pub(super) fn register(r: &mut Registrar<'_>) -> Self {
        let [restored, too_old, damaged, refused] =
            RECORD_STATES.map(|state| r.counter("state_snapshot_records_total", &[("state", state.to_owned())]));
        Self {
            written_s: r.level_u64("state_snapshot_timestamp_seconds", &[]),
            octets: r.level_u64("state_snapshot_bytes", &[]),
            failures: r.counter("state_snapshot_failures_total", &[]),
            restored,
            too_old,
            damaged,
            refused,
        }
    }
}
