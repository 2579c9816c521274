//! What learned state and waiting sets may take, over all exporters of the process.
//!
//! Taken before something is kept and given back when it goes: the sums never pass their bounds.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::{LEARNED_OCTETS, PARKED_OCTETS};

/// Bounds that all domains share.
#[derive(Debug)]
pub struct LearnedBudget {
    /// Octets of parked sets now.
    pub parked_octets: AtomicU64,
    /// Bound of `parked_octets`.
    pub parked_octets_max: u64,
    /// Octets of templates and options entries now (an estimate of what they take).
    pub learned_octets: AtomicU64,
    /// Bound of `learned_octets`.
    pub learned_octets_max: u64,
}

impl LearnedBudget {
    /// Nothing taken yet, of so many octets each.
    #[must_use]
    pub const fn new(parked_octets_max: u64, learned_octets_max: u64) -> Self {
        Self {
            parked_octets: AtomicU64::new(0),
            parked_octets_max,
            learned_octets: AtomicU64::new(0),
            learned_octets_max,
        }
    }

    /// Takes `octets` of `counter` if they fit below `max`.
    pub(in crate::decode) fn reserve(counter: &AtomicU64, octets: u64, max: u64) -> bool {
        let fits = |now: u64| now.checked_add(octets).filter(|sum| *sum <= max);
        counter.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok()
    }
}

impl Default for LearnedBudget {
    /// The bounds of a collector that was told nothing else.
    fn default() -> Self {
        Self::new(PARKED_OCTETS.default, LEARNED_OCTETS.default)
    }
}
