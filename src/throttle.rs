//! `Throttle`: lets one line of a kind through per interval and counts what it swallowed.
//!
//! One `Throttle` a kind of line, in a static or in the struct that may have to say it. Time is
//! passed in, so that tests can move it. Usable from any thread; a call is one or two atomics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Gate of one kind of log line.
#[derive(Debug)]
pub struct Throttle {
    interval_ns: u64,
    // Time of the last line plus 1, so that 0 means "none yet".
    last: AtomicU64,
    swallowed: AtomicU64,
}

impl Throttle {
    /// One line per `interval`.
    #[must_use]
    pub const fn new(interval: Duration) -> Self {
        // 584 years fit, so nothing that an operator can set is cut off here.
        #[expect(clippy::cast_possible_truncation, reason = "see above")]
        let interval_ns = interval.as_nanos() as u64;
        Self { interval_ns, last: AtomicU64::new(0), swallowed: AtomicU64::new(0) }
    }

    /// One line a minute: the rule for conditions that repeat.
    #[must_use]
    pub const fn per_minute() -> Self {
        Self::new(Duration::from_secs(60))
    }

    /// Some(lines swallowed since the last one) if a line may be written at `now_ns` (monotonic
    /// nanoseconds); None counts the line as swallowed. Of several threads that ask at the same
    /// moment exactly one gets through.
    pub fn allow(&self, now_ns: u64) -> Option<u64> {
        let last = self.last.load(Ordering::Acquire);
        let due = last == 0 || now_ns.saturating_sub(last - 1) >= self.interval_ns;
        if due
            && self.last.compare_exchange(last, now_ns.saturating_add(1), Ordering::AcqRel, Ordering::Acquire).is_ok()
        {
            return Some(self.swallowed.swap(0, Ordering::AcqRel));
        }
        self.swallowed.fetch_add(1, Ordering::AcqRel);
        None
    }

    /// Lines swallowed since the last one that got through.
    #[must_use]
    pub fn swallowed(&self) -> u64 {
        self.swallowed.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn first_line_passes_and_the_next_says_how_many_were_swallowed() {
        let throttle = Throttle::per_minute();
        assert_eq!(throttle.allow(0), Some(0));
        assert_eq!(throttle.allow(SECOND), None);
        assert_eq!(throttle.allow(59 * SECOND), None);
        assert_eq!(throttle.swallowed(), 2);
        assert_eq!(throttle.allow(60 * SECOND), Some(2));
        assert_eq!(throttle.allow(60 * SECOND), None);
    }

    #[test]
    fn a_clock_that_goes_back_does_not_open_the_gate() {
        let throttle = Throttle::per_minute();
        assert_eq!(throttle.allow(100 * SECOND), Some(0));
        assert_eq!(throttle.allow(10 * SECOND), None);
    }

    #[test]
    fn of_many_threads_one_gets_through() {
        let throttle = Throttle::per_minute();
        let passed = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        if throttle.allow(5).is_some() {
                            passed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(passed.load(Ordering::Relaxed), 1);
        assert_eq!(throttle.swallowed(), 3_999);
    }
}
