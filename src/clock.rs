//! The App's `Clock`: the one place where time comes from, so that tests can move it.
//!
//! Two readings: Unix time for stamps that leave the process, and a monotonic one for ages and
//! deadlines. `decode` has no clock at all: it is told the receive time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Handle to the process's time; cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System(Instant),
    Manual(Arc<ManualClock>),
}

/// The hand that moves a test's clock.
#[derive(Debug, Default)]
pub struct ManualClock {
    unix_ns: AtomicU64,
    monotonic_ns: AtomicU64,
}

impl Clock {
    /// The operating system's clocks.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System(Instant::now()))
    }

    /// A clock that stands still at `unix_ns` until its hand moves it.
    #[must_use]
    pub fn manual(unix_ns: u64) -> (Self, Arc<ManualClock>) {
        let hand = Arc::new(ManualClock { unix_ns: AtomicU64::new(unix_ns), monotonic_ns: AtomicU64::new(0) });
        (Self(Source::Manual(Arc::clone(&hand))), hand)
    }

    /// Unix time in nanoseconds.
    #[must_use]
    pub fn unix_ns(&self) -> u64 {
        match &self.0 {
            Source::System(_) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)),
            Source::Manual(hand) => hand.unix_ns.load(Ordering::Acquire),
        }
    }

    /// Nanoseconds since the process began; never goes back.
    #[must_use]
    pub fn monotonic_ns(&self) -> u64 {
        match &self.0 {
            Source::System(start) => u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
            Source::Manual(hand) => hand.monotonic_ns.load(Ordering::Acquire),
        }
    }
}

impl ManualClock {
    /// Moves both clocks forward by `ns` nanoseconds.
    pub fn advance(&self, ns: u64) {
        self.unix_ns.fetch_add(ns, Ordering::AcqRel);
        self.monotonic_ns.fetch_add(ns, Ordering::AcqRel);
    }
}
