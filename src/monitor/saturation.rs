//! saturation_ratio: the one number to scale on.
//!
//! In goes, once a second, what each worker and batcher has been busy for so far and how full its
//! sockets were; out comes 0 to 1: of each thread the larger of its busy share and its mean socket
//! pressure over the last 30 s, and of all threads the largest, since work does not move between
//! workers: one that is full loses datagrams while others idle.

use std::collections::VecDeque;

use crate::limits::{SATURATION_READINGS_MAX, SATURATION_WINDOW_S};

/// Fill below this is no pressure: what a burst leaves between two receive calls of a worker that keeps up.
const FILL_FREE: f64 = 0.25;

/// What one thread shows at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ThreadReading {
    /// Nanoseconds of work since the start; only grows.
    pub(super) busy_ns: u64,
    /// Pressure of its fullest socket now, 0 to 1.
    pub(super) pressure: f64,
}

/// What all threads show at one time.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    /// Monotonic nanoseconds.
    pub(super) at_ns: u64,
    /// Always the same threads in the same order.
    pub(super) threads: Vec<ThreadReading>,
}

/// max(0, (fill - 0.25) / 0.75).
pub(super) fn pressure(fill: f64) -> f64 {
    ((fill - FILL_FREE) / (1.0 - FILL_FREE)).clamp(0.0, 1.0).max(0.0)
}

/// The readings of the last 30 s.
#[derive(Debug, Default)]
pub(super) struct Window(VecDeque<Reading>);

impl Window {
    /// Adds a reading and gives the ratio over the window that ends with it. Until 30 s have passed,
    /// the window is what there is.
    pub(super) fn add(&mut self, reading: Reading) -> f64 {
        self.0.push_back(reading);
        let now = self.0.back().map_or(0, |r| r.at_ns);
        let start = now.saturating_sub(SATURATION_WINDOW_S * 1_000_000_000);
        // The first reading stands at or just before the start: it is where the busy time is counted from.
        while self.0.len() > SATURATION_READINGS_MAX || self.0.get(1).is_some_and(|r| r.at_ns <= start) {
            self.0.pop_front();
        }
        let threads = self.0.back().map_or(0, |r| r.threads.len());
        (0..threads).map(|i| self.busy(i).max(self.mean_pressure(i))).fold(0.0, f64::max)
    }

    /// Share of the window that thread `i` was busy.
    #[expect(clippy::cast_precision_loss, reason = "a share needs three digits")]
    fn busy(&self, i: usize) -> f64 {
        let (Some(first), Some(last)) = (self.0.front(), self.0.back()) else { return 0.0 };
        let elapsed = last.at_ns.saturating_sub(first.at_ns);
        if elapsed == 0 {
            return 0.0;
        }
        let busy = last.threads[i].busy_ns.saturating_sub(first.threads[i].busy_ns);
        (busy as f64 / elapsed as f64).min(1.0)
    }

    /// Mean of thread `i`'s pressure over the window's readings, but for the one it is counted from.
    #[expect(clippy::cast_precision_loss, reason = "at most SATURATION_READINGS_MAX readings")]
    fn mean_pressure(&self, i: usize) -> f64 {
        let skipped = usize::from(self.0.len() > 1);
        let sum: f64 = self.0.iter().skip(skipped).map(|r| r.threads[i].pressure).sum();
        sum / (self.0.len() - skipped).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn reading(second: u64, threads: &[(u64, f64)]) -> Reading {
        let threads = threads.iter().map(|&(busy_ns, pressure)| ThreadReading { busy_ns, pressure }).collect();
        Reading { at_ns: second * S, threads }
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn a_quarter_of_a_buffer_is_free() {
        assert!(close(pressure(0.0), 0.0) && close(pressure(0.25), 0.0));
        assert!(close(pressure(0.625), 0.5) && close(pressure(1.0), 1.0));
        assert!(close(pressure(1.4), 1.0), "the kernel's own overhead may pass the bound");
        assert!(close(pressure(f64::NAN), 0.0));
    }

    #[test]
    fn the_busiest_thread_counts_not_the_mean_of_all() {
        let mut window = Window::default();
        assert!(close(window.add(reading(100, &[(50 * S, 0.0), (0, 0.0), (0, 0.0)])), 0.0), "what was before is past");
        let ratio = window.add(reading(110, &[(59 * S, 0.0), (S, 0.0), (2 * S, 0.0)]));
        assert!(close(ratio, 0.9), "{ratio}");
    }

    #[test]
    fn full_sockets_count_even_where_no_thread_is_busy() {
        let mut window = Window::default();
        assert!(close(window.add(reading(0, &[(0, 0.8)])), 0.8), "the first reading speaks for itself");
        let mut last = 0.0;
        for second in 1..=10 {
            last = window.add(reading(second, &[(0, if second <= 5 { 1.0 } else { 0.0 })]));
        }
        assert!(close(last, 0.5), "{last}");
    }

    #[test]
    fn thirty_seconds_later_a_burst_is_forgotten() {
        let mut window = Window::default();
        window.add(reading(0, &[(0, 0.0)]));
        let mut ratios = Vec::new();
        for second in 1..=60 {
            // Busy all the time for the first 15 s, idle afterwards.
            ratios.push(window.add(reading(second, &[(second.min(15) * S, 0.0)])));
            assert!(window.0.len() <= SATURATION_READINGS_MAX);
        }
        assert!(close(ratios[14], 1.0) && close(ratios[29], 0.5), "{ratios:?}");
        assert!(close(ratios[39], 5.0 / 30.0) && close(ratios[44], 0.0) && close(ratios[59], 0.0), "{ratios:?}");
    }

    #[test]
    fn a_late_turn_is_counted_from_the_last_reading_before_the_start() {
        let mut window = Window::default();
        for second in [0, 1, 2, 100] {
            window.add(reading(second, &[(second * S / 2, 0.0)]));
        }
        let ratio = window.add(reading(110, &[(60 * S, 0.0)]));
        assert!(close(ratio, (60.0 - 1.0) / (110.0 - 2.0)), "{ratio}");
    }

    #[test]
    fn fast_turns_do_not_swell_the_window() {
        let mut window = Window::default();
        for i in 0..1_000 {
            window.add(Reading { at_ns: S + i, threads: vec![ThreadReading { busy_ns: i, pressure: 0.0 }] });
            assert!(window.0.len() <= SATURATION_READINGS_MAX);
        }
    }
}
