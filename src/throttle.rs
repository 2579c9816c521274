//! `Throttle`: a condition that repeats is told at once and then at most once a minute, with a count.
//!
//! One `Throttle` a kind of line. Time is passed in, so that tests can move it. Usable from any
//! thread; a call is two or three atomics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Shortest time between two lines of a kind.
pub const MINUTE_NS: u64 = 60_000_000_000;

/// Gate of one kind of log line.
#[derive(Debug, Default)]
pub struct Throttle {
    next_ns: AtomicU64,
    count: AtomicU64,
}

impl Throttle {
    /// Notes that it happened `n` times at `now_ns` (any clock, always the same). Gives how often it
    /// happened since the last line, these included, if it is time for one; of several threads that
    /// ask at the same moment one gets it.
    pub fn note(&self, now_ns: u64, n: u64) -> Option<u64> {
        self.count.fetch_add(n, Ordering::AcqRel);
        let next = self.next_ns.load(Ordering::Acquire);
        let then = now_ns.saturating_add(MINUTE_NS);
        let mine =
            now_ns >= next && self.next_ns.compare_exchange(next, then, Ordering::AcqRel, Ordering::Acquire).is_ok();
        mine.then(|| self.count.swap(0, Ordering::AcqRel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_speaks_at_once_and_then_once_a_minute_with_the_sum() {
        let throttle = Throttle::default();
        assert_eq!(throttle.note(5, 3), Some(3));
        assert_eq!(throttle.note(6, 2), None);
        assert_eq!(throttle.note(4 + MINUTE_NS, 2), None);
        assert_eq!(throttle.note(5 + MINUTE_NS, 1), Some(5));
    }

    #[test]
    fn of_many_threads_one_gets_the_line_and_nothing_is_lost() {
        let throttle = Throttle::default();
        let told: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..1_000).filter_map(|_| throttle.note(7, 1)).sum::<u64>())).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(told + throttle.count.load(Ordering::Acquire), 4_000);
        assert!(throttle.note(6, 1).is_none());
    }
}
