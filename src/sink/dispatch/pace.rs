//! How many requests one backend has under way: additive up, multiplicative down, judged by its own latency.
//!
//! Enters: answers with their records and the time from sending, and failures. Leaves: a limit from 1 to the
//! operator's. Promised: a backend that is slow but no slower with more requests gets all of them, because it is
//! held against itself: what its answers take when nothing else is under way. One that takes twice as long under
//! load, or fails, gets fewer. One that has become slower for good is learned anew, at one request at a time.

use crate::limits;

/// Of the limit that stays after answers that were too slow, and after a failure.
const SLOW_FACTOR: f64 = 0.75;
const FAILED_FACTOR: f64 = 0.5;
/// Weight of a new answer in what is usual for a backend that answers one request at a time.
const LEARNING: f64 = 0.25;
/// Fewest answers of a judgement: the mean of fewer is chance.
const WINDOW_MIN: u32 = 4;
/// Sizes of batches, in powers of two: each record is work, so only batches of a size are alike.
const SIZES: usize = 17;

/// The pace of one backend.
#[derive(Debug)]
pub(super) struct Pace {
    limit: f64,
    max: f64,
    adaptive: bool,
    /// Nothing was too slow or failed yet: the limit doubles.
    doubling: bool,
    /// Nanoseconds of an answer when nothing else is under way, by size; 0 before it is known.
    alone: [f64; SIZES],
    /// Requests sent before the last change say nothing about it.
    changed_at: u64,
    window: Window,
}

#[derive(Debug, Default)]
struct Window {
    answers: u32,
    /// Sum of what the answers took, in shares of what is usual.
    ratios: f64,
    /// The limit was reached: else more of it would prove nothing.
    filled: bool,
}

impl Pace {
    /// At most `max` requests; always that many unless it is `adaptive`.
    pub(super) fn new(max: usize, adaptive: bool) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "some hundreds at most")]
        let max = max.max(1) as f64;
        Self {
            limit: if adaptive { 1.0 } else { max },
            max,
            adaptive,
            doubling: true,
            alone: [0.0; SIZES],
            changed_at: 0,
            window: Window::default(),
        }
    }

    /// Requests that may be under way at once.
    pub(super) const fn limit(&self) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to some hundreds")]
        let limit = self.limit as usize;
        limit
    }

    /// An answer at `now` to a request of `sent`, when `company` requests were under way, it among them.
    pub(super) fn on_answer(&mut self, now: u64, sent: u64, records: u32, company: usize) {
        if !self.adaptive {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "2^53 ns are a hundred days")]
        let took = now.saturating_sub(sent).max(1) as f64;
        let size = size_of(records);
        if company <= 1 {
            let known = &mut self.alone[size];
            *known = if *known > 0.0 { *known + LEARNING * (took - *known) } else { took };
        }
        if sent < self.changed_at {
            return;
        }
        self.window.answers += 1;
        self.window.ratios += self.ratio(size, took);
        self.window.filled |= company >= self.limit();
        let wanted = u32::try_from(self.limit()).unwrap_or(u32::MAX);
        if self.window.answers < if self.doubling { wanted } else { wanted.max(WINDOW_MIN) } {
            return;
        }
        let Window { answers, ratios, filled } = std::mem::take(&mut self.window);
        if ratios / f64::from(answers) > limits::PACE_TOLERANCE && self.limit > 1.0 {
            self.cut(now, SLOW_FACTOR);
        } else if filled && self.limit < self.max {
            self.limit = (if self.doubling { self.limit * 2.0 } else { self.limit.floor() + 1.0 }).min(self.max);
            self.changed_at = now;
        }
    }

    /// A request of `sent` failed for the backend's sake. Others of the same failure change nothing.
    pub(super) fn on_failure(&mut self, now: u64, sent: u64) {
        if self.adaptive && sent >= self.changed_at {
            self.window = Window::default();
            self.cut(now, FAILED_FACTOR);
        }
    }

    fn cut(&mut self, now: u64, factor: f64) {
        self.doubling = false;
        self.limit = (self.limit.floor() * factor).floor().max(1.0);
        // After now: what is sent in this very moment may still stand behind what was too much.
        self.changed_at = now.saturating_add(1);
    }

    /// What an answer took, in shares of what is usual for its size; 1 where that is not known, or the difference
    /// is too small to matter.
    fn ratio(&self, size: usize, took: f64) -> f64 {
        let known = (0..=size).rev().find(|smaller| self.alone[*smaller] > 0.0);
        let usual = known.map_or(took, |smaller| {
            // Twice the records are twice the work at most.
            self.alone[smaller] * f64::from(1_u32 << (size - smaller))
        });
        #[expect(clippy::cast_precision_loss, reason = "a fraction of a second")]
        let slack = (limits::PACE_SLACK_MS * 1_000_000) as f64;
        if took <= usual + slack { 1.0 } else { took / usual }
    }
}

fn size_of(records: u32) -> usize {
    (records.max(1).ilog2() as usize).min(SIZES - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    /// Keeps a backend busy for `answers` answers, each of which takes what `latency` says for a company.
    fn drive(pace: &mut Pace, start: u64, answers: usize, latency: &mut dyn FnMut(usize) -> u64) -> u64 {
        let mut now = start;
        let mut under_way: Vec<(u64, u64, usize)> = Vec::new();
        for _ in 0..answers {
            while under_way.len() < pace.limit() {
                let company = under_way.len() + 1;
                under_way.push((now + latency(company), now, company));
            }
            under_way.sort_unstable();
            let (at, sent, company) = under_way.remove(0);
            now = now.max(at);
            pace.on_answer(now, sent, 1_000, company);
        }
        now
    }

    #[test]
    fn a_slow_backend_gets_all_that_is_allowed() {
        let mut pace = Pace::new(8, true);
        assert_eq!(pace.limit(), 1);
        drive(&mut pace, 0, 15, &mut |_| 2_000 * MS);
        assert_eq!(pace.limit(), 8, "1 + 2 + 4 answers, and no more were needed");
        drive(&mut pace, 1 << 40, 400, &mut |_| 2_000 * MS);
        assert_eq!(pace.limit(), 8);
    }

    #[test]
    fn one_that_slows_with_its_load_gets_fewer_and_more_again_when_it_does_not() {
        let mut pace = Pace::new(16, true);
        let now = drive(&mut pace, 0, 400, &mut |company| 500 * MS * company as u64);
        assert!((1..=3).contains(&pace.limit()), "{}", pace.limit());
        drive(&mut pace, now, 600, &mut |_| 500 * MS);
        assert_eq!(pace.limit(), 16);
    }

    #[test]
    fn one_that_has_become_slower_for_good_is_learned_anew() {
        let mut pace = Pace::new(8, true);
        let now = drive(&mut pace, 0, 100, &mut |_| 200 * MS);
        assert_eq!(pace.limit(), 8);
        drive(&mut pace, now, 400, &mut |_| 3_000 * MS);
        assert_eq!(pace.limit(), 8);
    }

    #[test]
    fn what_comes_together_cuts_once_and_a_fixed_pace_stays() {
        let mut pace = Pace::new(8, true);
        let now = drive(&mut pace, 0, 100, &mut |_| 100 * MS);
        (0..8).for_each(|_| pace.on_failure(now + MS, now));
        assert_eq!(pace.limit(), 4);
        (0..20).for_each(|n| pace.on_failure(now + (n + 2) * MS, now + (n + 2) * MS));
        assert_eq!(pace.limit(), 1);
        let mut fixed = Pace::new(8, false);
        fixed.on_failure(1, 0);
        drive(&mut fixed, 0, 100, &mut |company| 900 * MS * company as u64);
        assert_eq!(fixed.limit(), 8);
    }

    #[test]
    fn an_idle_backend_proves_nothing_and_small_batches_tell_of_large_ones() {
        let mut pace = Pace::new(8, true);
        (0..50).for_each(|n| pace.on_answer(n * 10 * MS, n * 10 * MS - n * MS, 10, 0));
        assert_eq!(pace.limit(), 1, "it was never filled");
        let mut pace = Pace::new(8, true);
        pace.on_answer(100 * MS, 0, 1, 1);
        assert!((pace.ratio(size_of(8), 1_600.0 * MS as f64) - 2.0).abs() < 1e-9, "eight times 100 ms are usual");
    }

    proptest! {
        #[test]
        fn the_limit_stays_within_its_bounds(
            max in 1_usize..64,
            steps in prop::collection::vec((0_u64..5_000, 0_u64..5_000, 0_u32..5_000, 0_usize..70, prop::bool::weighted(0.2)), 0..300),
        ) {
            let (mut pace, mut now) = (Pace::new(max, true), 0);
            for (pass, took, records, company, failed) in steps {
                now += pass * MS;
                let sent = now.saturating_sub(took * MS);
                if failed { pace.on_failure(now, sent) } else { pace.on_answer(now, sent, records, company) }
                prop_assert!((1..=max).contains(&pace.limit()));
            }
        }
    }
}
