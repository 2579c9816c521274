//! The room of delivery: octets of bodies that wait for or are under delivery, compressed copies included.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Octets that delivery may hold.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    used: Arc<AtomicU64>,
    limit: u64,
}

impl Budget {
    /// An empty room of `limit` octets.
    pub(super) fn new(limit: u64) -> Self {
        Self { used: Arc::default(), limit }
    }

    /// Octets in use.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    /// Bound of [`Budget::used`].
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Takes `octets` if they fit.
    pub(super) fn reserve(&self, octets: u64) -> bool {
        let room = |used: u64| used.checked_add(octets).filter(|sum| *sum <= self.limit);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).is_ok()
    }

    /// Gives back what was taken.
    pub(super) fn free(&self, octets: u64) {
        self.used.fetch_sub(octets, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_never_exceeded_and_comes_back() {
        let budget = Budget::new(10);
        assert!(budget.reserve(6));
        assert!(!budget.reserve(5));
        assert!(budget.reserve(4));
        assert!(!budget.reserve(1) && !budget.reserve(u64::MAX));
        budget.free(6);
        assert!(budget.reserve(6));
    }
}
