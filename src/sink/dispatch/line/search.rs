//! Whether a backend that refused the last batches, all of them, takes anything at all.
//!
//! It may refuse everything: then it is sick, and nothing must be halved or given up for that. Or each batch may hold a record
//! that it dislikes: then everything would stand still, with good records in every batch, until one came without. So while its
//! last acceptance is not long ago, the probes of such a backend are parts, and the batch that one probe was refused
//! with is halved for the next. Promised: one batch is searched at a time, two requests a halving, no more than
//! `REFUSALS_SEARCHED_MAX` of them in a row and without a pause; no record is given up before something was accepted.

use super::super::job::{Fate, Job};
use super::Line;
use crate::limits::{REFUSALS_IN_A_ROW_MAX, REFUSALS_SEARCHED_MAX};

impl Line {
    /// `job` was refused, and nothing proves that its backend takes others: that counts against the backend.
    pub(super) fn doubt(&mut self, mut job: Box<Job>, was_probe: bool, now: u64) -> Fate {
        let target = job.target;
        if !self.searches(target, now) {
            return self.environment(job, None, was_probe, now);
        }
        if !was_probe || job.batch.part == 0 && job.doubtful {
            let fate = self.environment(job, None, was_probe, now);
            // It has answered: there is no need to leave it alone.
            self.routes.way_mut(target).breaker.on_refusal(now);
            return fate;
        }
        // The backend stays sick, and its next probe may start at once.
        self.strike(&mut job);
        job.suspect = true;
        let other_half = self.aside.values().any(|other| is_unasked(other) && other.order.0 == job.order.0);
        if job.batch.records > 1 && !job.doubtful && !other_half {
            return self.halve(job, now);
        }
        self.defer(job, now)
    }

    /// The smallest part that nobody was asked about yet, while a search is on.
    pub(super) fn next_piece(&mut self, target: usize) -> Option<Box<Job>> {
        if self.routes.way(target).refusals_in_a_row == 0 {
            return None;
        }
        let unasked = self.aside.iter().filter(|(_, job)| is_unasked(job));
        let key = unasked.min_by_key(|(key, job)| (job.batch.records, **key)).map(|(key, _)| *key)?;
        self.aside.remove(&key)
    }

    /// Splits what was refused: its halves go at once, also those that the spool makes of it.
    pub(super) fn halve(&mut self, job: Box<Job>, now: u64) -> Fate {
        if job.ticket.is_some() {
            self.suspects.keep_halves(&job, self.routes.accepts());
        }
        self.split(job, now)
    }

    fn searches(&self, target: usize, now: u64) -> bool {
        let way = self.routes.way(target);
        // Else that one is asked, with all of the batch.
        !self.routes.another_is_well(target)
            && way.accepted_lately(now)
            && way.refusals_in_a_row <= REFUSALS_IN_A_ROW_MAX + REFUSALS_SEARCHED_MAX
    }
}

const fn is_unasked(job: &Job) -> bool {
    job.batch.part != 0 && job.strikes == 0
}
