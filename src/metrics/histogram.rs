//! A histogram that takes a batch's records in one step.
//!
//! The recorder's histogram keeps every observation until its upkeep; a lag "weighted by records"
//! would cost it one entry a record. Here a batch is two atomic additions.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::catalog::{PREFIX, descriptor};

/// 1 ms to 1 h: from a healthy LAN to a backend that was down over lunch.
pub const SECONDS_BOUNDS: &[f64] =
    &[0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0];

/// Buckets of seconds, counted in records.
#[derive(Debug, Clone)]
pub struct WeightedHistogram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bounds: &'static [f64],
    buckets: Vec<AtomicU64>,
    sum_us: AtomicU64,
}

impl WeightedHistogram {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Inner { bounds, buckets, sum_us: AtomicU64::new(0) }))
    }

    /// Counts `weight` observations of `seconds`.
    pub fn record(&self, seconds: f64, weight: u64) {
        let bucket = self.0.bounds.iter().position(|b| seconds <= *b).unwrap_or(self.0.bounds.len());
        self.0.buckets[bucket].fetch_add(weight, Ordering::Relaxed);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 and far below 2^64")]
        let us = (seconds.max(0.0) * 1e6) as u64;
        self.0.sum_us.fetch_add(us.saturating_mul(weight), Ordering::Relaxed);
    }

    /// The `quantile` (0 to 1) as the upper bound of its bucket; None before the first observation.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let counts: Vec<u64> = self.0.buckets.iter().map(|b| b.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "a quantile of a histogram is approximate")]
        let wanted = quantile * total as f64;
        let mut below = 0_u64;
        for (count, bound) in counts.iter().zip(self.0.bounds) {
            below += count;
            #[expect(clippy::cast_precision_loss, reason = "as above")]
            if below as f64 >= wanted {
                return Some(*bound);
            }
        }
        self.0.bounds.last().copied()
    }

    pub(super) fn write(&self, text: &mut String, name: &str) {
        let help = descriptor(name).map_or("", |d| d.help);
        let _ = writeln!(text, "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} histogram");
        let mut below = 0;
        for (bucket, bound) in self.0.buckets.iter().zip(self.0.bounds) {
            below += bucket.load(Ordering::Relaxed);
            let _ = writeln!(text, "{PREFIX}{name}_bucket{{le=\"{bound}\"}} {below}");
        }
        below += self.0.buckets[self.0.bounds.len()].load(Ordering::Relaxed);
        let _ = writeln!(text, "{PREFIX}{name}_bucket{{le=\"+Inf\"}} {below}");
        let us = self.0.sum_us.load(Ordering::Relaxed);
        let _ = writeln!(text, "{PREFIX}{name}_sum {}.{:06}", us / 1_000_000, us % 1_000_000);
        let _ = writeln!(text, "{PREFIX}{name}_count {below}\n");
    }
}
