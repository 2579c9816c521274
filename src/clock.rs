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
    Ahead(Instant, Arc<ClockLead>),
}

/// The hand that moves a test's clock.
#[derive(Debug, Default)]
pub struct ManualClock {
    unix_ns: AtomicU64,
    monotonic_ns: AtomicU64,
}

/// How far a test's clock is ahead of the operating system's Unix time.
#[derive(Debug, Default)]
pub struct ClockLead(AtomicU64);

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

    /// A clock that runs as the operating system's do, with a Unix time that can be put forward: as after a machine was
    /// suspended, ages grow at once while threads turn as ever.
    #[must_use]
    pub fn ahead() -> (Self, Arc<ClockLead>) {
        let lead = Arc::<ClockLead>::default();
        (Self(Source::Ahead(Instant::now(), Arc::clone(&lead))), lead)
    }

    /// Unix time in nanoseconds.
    #[must_use]
    pub fn unix_ns(&self) -> u64 {
        match &self.0 {
            Source::System(_) => system_unix_ns(),
            Source::Ahead(_, lead) => system_unix_ns().saturating_add(lead.0.load(Ordering::Acquire)),
            Source::Manual(hand) => hand.unix_ns.load(Ordering::Acquire),
        }
    }

    /// Nanoseconds since the process began; never goes back.
    #[must_use]
    pub fn monotonic_ns(&self) -> u64 {
        match &self.0 {
            Source::System(start) | Source::Ahead(start, _) => {
                u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
            }
            Source::Manual(hand) => hand.monotonic_ns.load(Ordering::Acquire),
        }
    }
}

fn system_unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

impl ClockLead {
    /// Puts Unix time forward by `ns` nanoseconds.
    pub fn advance(&self, ns: u64) {
        self.0.fetch_add(ns, Ordering::AcqRel);
    }
}

impl ManualClock {
    /// Moves both clocks forward by `ns` nanoseconds.
    pub fn advance(&self, ns: u64) {
        self.unix_ns.fetch_add(ns, Ordering::AcqRel);
        self.monotonic_ns.fetch_add(ns, Ordering::AcqRel);
    }
}
