//! What one exporter may send: a bucket of datagrams and one of octets, shared by all workers without a lock.
//!
//! Each is kept as the time at which it would be full again (the generic cell rate algorithm): a datagram moves that time
//! ahead by what it costs, and is refused where it would lie further ahead than the burst is long.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::limits::RATE_BURST_MS;

/// What one exporter may send; 0 means as much as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Datagrams a second.
    pub datagrams_per_second: u64,
    /// Octets of payload a second.
    pub octets_per_second: u64,
    /// How long it may send twice as much, after it was silent for as long: what a bucket holds.
    pub burst: Duration,
}

impl Default for RateLimit {
    /// No limit.
    fn default() -> Self {
        Self { datagrams_per_second: 0, octets_per_second: 0, burst: Duration::from_millis(RATE_BURST_MS.default) }
    }
}

/// The buckets of one exporter.
#[derive(Debug)]
pub struct Bucket {
    datagrams_per_second: AtomicU64,
    octets_per_second: AtomicU64,
    burst_ns: AtomicU64,
    /// Monotonic time at which the bucket of datagrams is full again.
    datagrams: AtomicU64,
    /// The same of octets.
    octets: AtomicU64,
}

impl Bucket {
    /// Full buckets.
    pub fn new(limit: RateLimit) -> Self {
        let bucket = Self {
            datagrams_per_second: AtomicU64::new(0),
            octets_per_second: AtomicU64::new(0),
            burst_ns: AtomicU64::new(0),
            datagrams: AtomicU64::new(0),
            octets: AtomicU64::new(0),
        };
        bucket.set(limit);
        bucket
    }

    /// Changes what may be sent; what was taken stays taken. Who looks meanwhile may see one number changed and the other
    /// not yet: it is one datagram more or less.
    pub fn set(&self, limit: RateLimit) {
        let burst_ns = u64::try_from(limit.burst.as_nanos()).unwrap_or(u64::MAX);
        self.datagrams_per_second.store(limit.datagrams_per_second, Ordering::Relaxed);
        self.octets_per_second.store(limit.octets_per_second, Ordering::Relaxed);
        self.burst_ns.store(burst_ns, Ordering::Relaxed);
    }

    /// Takes a datagram of `octets` octets at `now_ns` (monotonic); false if it is one too many.
    pub fn admits(&self, octets: usize, now_ns: u64) -> bool {
        let datagram = cost_ns(1, self.datagrams_per_second.load(Ordering::Relaxed));
        if !self.take(&self.datagrams, datagram, now_ns) {
            return false;
        }
        if self.take(&self.octets, cost_ns(octets as u64, self.octets_per_second.load(Ordering::Relaxed)), now_ns) {
            return true;
        }
        // What was refused for its octets has cost no datagram.
        self.datagrams.fetch_sub(datagram, Ordering::AcqRel);
        false
    }

    /// Moves `full_at` ahead by `cost`, unless that is further than the burst. A datagram alone is always admitted by a
    /// bucket that is full, or a large one would never pass a low rate.
    fn take(&self, full_at: &AtomicU64, cost: u64, now_ns: u64) -> bool {
        if cost == 0 {
            return true;
        }
        let burst_ns = self.burst_ns.load(Ordering::Relaxed);
        let next = |full_at: u64| {
            let moved = full_at.max(now_ns).saturating_add(cost);
            (full_at <= now_ns || moved - now_ns <= burst_ns).then_some(moved)
        };
        full_at.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).is_ok()
    }
}

/// What `units` take of a second at a rate of `per_second`; 0 where nothing is limited.
fn cost_ns(units: u64, per_second: u64) -> u64 {
    if units == 0 || per_second == 0 {
        return 0;
    }
    u64::try_from(u128::from(units) * 1_000_000_000 / u128::from(per_second)).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn bucket(datagrams_per_second: u64, octets_per_second: u64) -> Bucket {
        Bucket::new(RateLimit { datagrams_per_second, octets_per_second, burst: Duration::from_secs(1) })
    }

    /// Admitted of `count` datagrams of `octets` each in every one of `seconds` seconds.
    fn admitted(bucket: &Bucket, count: u64, octets: usize, seconds: u64) -> u64 {
        let times = (0..seconds).flat_map(|s| (0..count).map(move |i| 5 * SECOND + s * SECOND + i * (SECOND / count)));
        times.filter(|now| bucket.admits(octets, *now)).count() as u64
    }

    #[test]
    fn a_17_ten_times_the_rate_gets_the_rate_and_one_burst() {
        assert_eq!(admitted(&bucket(100, 0), 1_000, 60, 10), 100 * 10 + 100 - 1);
        // 1,000 octets a datagram.
        let by_octets = admitted(&bucket(0, 100_000), 1_000, 1_000, 10);
        assert!((1_098..=1_100).contains(&by_octets), "{by_octets}");
        assert_eq!(admitted(&bucket(100, 0), 99, 60, 10), 990, "below the rate nothing is refused");
    }

    #[test]
    fn both_buckets_must_agree_and_a_refusal_costs_neither() {
        let both = bucket(10, 1_000);
        assert!(both.admits(1_000, SECOND));
        for _ in 0..50 {
            assert!(!both.admits(1_000, SECOND), "no octets left");
        }
        assert!(both.admits(0, SECOND), "of the ten datagrams only one was taken");
    }

    #[test]
    fn a_datagram_larger_than_the_burst_passes_a_full_bucket() {
        let slow = bucket(0, 100);
        assert!(slow.admits(60_000, SECOND));
        assert!(!slow.admits(1, SECOND + 599 * SECOND));
        assert!(slow.admits(1, SECOND + 600 * SECOND));
    }

    #[test]
    fn nothing_overflows() {
        let limit = RateLimit { datagrams_per_second: 1, octets_per_second: u64::MAX, burst: Duration::MAX };
        let bucket = Bucket::new(limit);
        assert!(bucket.admits(usize::MAX, u64::MAX) && bucket.admits(0, 0));
        assert!((0..1_000).all(|_| Bucket::new(RateLimit::default()).admits(1_500, 0)), "no limit");
    }
}
