//! A histogram that takes a batch's records in one step.
//!
//! The recorder's histogram keeps every observation until its upkeep; a lag "weighted by records"
//! would cost it one entry a record. Here a batch is two atomic additions.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::catalog::PREFIX;

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
    // f64 bits: an integer of microseconds weighted by records would wrap within days of a slow backend.
    sum: AtomicU64,
}

impl WeightedHistogram {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Inner { bounds, buckets, sum: AtomicU64::new(0) }))
    }

    /// Counts `weight` observations of `seconds`.
    pub fn record(&self, seconds: f64, weight: u64) {
        let bucket = self.0.bounds.iter().position(|b| seconds <= *b).unwrap_or(self.0.bounds.len());
        self.0.buckets[bucket].fetch_add(weight, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "a batch has far fewer than 2^53 records")]
        let share = seconds.max(0.0) * weight as f64;
        let add = |sum: u64| Some((f64::from_bits(sum) + share).to_bits());
        let _ = self.0.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// The `quantile` (0 to 1) as the upper bound of its bucket in seconds, the highest bound for what
    /// lies beyond it; None before the first observation.
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
            if below > 0 && below as f64 >= wanted {
                return Some(*bound);
            }
        }
        self.0.bounds.last().copied()
    }

    /// The quantile over this and another of the same bounds.
    #[must_use]
    pub fn quantile_with(&self, other: &Self, quantile: f64) -> Option<f64> {
        let both = Self::new(self.0.bounds);
        for (sum, (a, b)) in both.0.buckets.iter().zip(self.0.buckets.iter().zip(&other.0.buckets)) {
            sum.store(a.load(Ordering::Relaxed) + b.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        both.quantile(quantile)
    }

    /// The series with these labels, which are written out already; whoever calls writes the head.
    pub(super) fn write(&self, text: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        let all = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let mut below = 0;
        for (bucket, bound) in self.0.buckets.iter().zip(self.0.bounds) {
            below += bucket.load(Ordering::Relaxed);
            let _ = writeln!(text, "{PREFIX}{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}");
        }
        below += self.0.buckets[self.0.bounds.len()].load(Ordering::Relaxed);
        let _ = writeln!(text, "{PREFIX}{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {below}");
        let _ = writeln!(text, "{PREFIX}{name}_sum{all} {}", f64::from_bits(self.0.sum.load(Ordering::Relaxed)));
        let _ = writeln!(text, "{PREFIX}{name}_count{all} {below}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: &[f64] = &[0.1, 1.0, 10.0];

    #[test]
    fn quantiles_weigh_records_not_batches() {
        let histogram = WeightedHistogram::new(BOUNDS);
        assert_eq!(histogram.quantile(0.5), None);
        histogram.record(0.5, 99);
        histogram.record(5.0, 1);
        assert_eq!(histogram.quantile(0.0), Some(1.0), "an empty bucket holds no quantile");
        assert_eq!(histogram.quantile(0.5), Some(1.0));
        assert_eq!(histogram.quantile(0.99), Some(1.0));
        assert_eq!(histogram.quantile(1.0), Some(10.0));
        histogram.record(1e9, 1_000);
        assert_eq!(histogram.quantile(0.99), Some(10.0), "beyond the last bound: the last bound");
    }

    #[test]
    fn text_is_cumulative_and_a_bound_belongs_to_its_bucket() {
        let histogram = WeightedHistogram::new(BOUNDS);
        histogram.record(0.1, 2);
        histogram.record(-3.0, 1);
        histogram.record(2.0, 4);
        histogram.record(f64::NAN, 1);
        let mut text = String::new();
        histogram.write(&mut text, "delivery_lag_seconds", "");
        let name = "clarion_collector_delivery_lag_seconds";
        for line in [
            format!("{name}_bucket{{le=\"0.1\"}} 3"),
            format!("{name}_bucket{{le=\"1\"}} 3"),
            format!("{name}_bucket{{le=\"10\"}} 7"),
            format!("{name}_bucket{{le=\"+Inf\"}} 8"),
            format!("{name}_sum 8.2"),
            format!("{name}_count 8"),
        ] {
            assert!(text.lines().any(|l| l == line), "no {line:?} in {text}");
        }
    }

    #[test]
    fn the_sum_outlives_a_slow_backend() {
        let histogram = WeightedHistogram::new(BOUNDS);
        for _ in 0..100 {
            histogram.record(3_600.0, 1 << 40);
        }
        let mut text = String::new();
        histogram.write(&mut text, "delivery_lag_seconds", "");
        let sum = text.lines().find_map(|l| l.strip_prefix("clarion_collector_delivery_lag_seconds_sum ")).unwrap();
        let expected = 100.0 * 3_600.0 * f64::from(1_u32 << 20) * f64::from(1_u32 << 20);
        assert!((sum.parse::<f64>().unwrap() / expected - 1.0).abs() < 1e-9);
    }
}
