//! What the spool has to do with the line: what it handed out, and what it shall take.
//!
//! Promised: what it handed out starts in its order, beside what is fresh and with half of the slots while that
//! waits; none of it keeps the spool's head for itself, so that what is behind it comes. What goes to the spool goes
//! oldest first.

use std::ops::Bound::{Excluded, Unbounded};

use super::super::job::{Fate, Job, Order, Past};
use super::{Line, SPLIT_NS};
use crate::limits;
use crate::sink::encode::EncodedBatch;
use crate::spool::Ticket;

/// Where the line counts what the spool handed out: the spool itself answers for its age.
pub(super) const AGE_OF_LOANS: u64 = u64::MAX;

impl Line {
    /// Takes what the spool handed out at `now`.
    pub(in super::super) fn push_spooled(&mut self, batch: EncodedBatch, ticket: Ticket, past: Past, now: u64) {
        let mut job = self.arrive(batch, 0);
        self.forget(std::mem::replace(&mut job.oldest_receive, AGE_OF_LOANS));
        *self.oldest.entry(AGE_OF_LOANS).or_default() += 1;
        let suspect = job.batch.part != 0;
        let Past { repeated, doubtful } = past;
        let mut job = Box::new(Job { ticket: Some(ticket), repeated, doubtful, suspect, ..job });
        let at_once = self.suspects.restore(&mut job);
        if job.suspect {
            // A part has failed as a whole, which may make the backend fail: at the pace of splits, of two halves each.
            let at = if at_once { now } else { self.split_slot(now, SPLIT_NS / 2) };
            self.aside.insert((at, job.order), job);
        } else {
            self.spooled.insert(job.order, job);
        }
    }

    /// Batches that wait and are not the spool's.
    pub(in super::super) fn fresh_waiting(&self) -> usize {
        let waiting = self.deferred.values().chain(self.aside.values());
        self.ready.len() + waiting.filter(|job| job.ticket.is_none()).count()
    }

    /// The request of `job` was broken off, and the line has no more to say about it.
    pub(in super::super) fn broke_off(&mut self, job: &mut Job) {
        self.routes.end(job);
    }

    /// Something that the spool handed out waits or is under way.
    pub(in super::super) fn has_loans(&self) -> bool {
        let mut waiting = self.deferred.values().chain(self.aside.values());
        self.spooled_under_way > 0 || !self.spooled.is_empty() || waiting.any(|job| job.ticket.is_some())
    }

    /// The oldest batch that waits and is not the spool's leaves the line.
    pub(in super::super) fn take_oldest_fresh(&mut self) -> Option<Box<Job>> {
        let fresh = self.deferred.iter().filter(|(_, job)| job.ticket.is_none());
        let failed = fresh.map(|(key, _)| *key).min_by_key(|(_, order)| *order);
        let waits = self.ready.first_key_value().map(|(order, _)| *order);
        let job = match (failed, waits) {
            (Some(key), waits) if waits.is_none_or(|order| key.1 < order) => self.deferred.remove(&key),
            (_, Some(order)) => self.ready.remove(&order),
            _ => {
                let key = self.aside.iter().find(|(_, job)| job.ticket.is_none()).map(|(key, _)| *key)?;
                self.aside.remove(&key)
            }
        };
        if let Some(job) = &job {
            self.forget(job.oldest_receive);
        }
        job
    }

    /// What `take_oldest_fresh` gave is back in its place.
    pub(in super::super) fn put_back(&mut self, job: Box<Job>, now: u64) {
        *self.oldest.entry(job.oldest_receive).or_default() += 1;
        if job.suspect {
            self.aside.insert((now, job.order), job);
        } else {
            self.ready.insert(job.order, job);
        }
    }

    /// Everything that the spool handed out and that waits leaves the line.
    #[expect(clippy::vec_box, reason = "they are boxed in the lanes, and moved on as they are")]
    pub(in super::super) fn take_loans(&mut self) -> Vec<Box<Job>> {
        let mut loans: Vec<_> = std::mem::take(&mut self.spooled).into_values().collect();
        for lane in [&mut self.deferred, &mut self.aside] {
            loans.extend(lane.extract_if(.., |_, job| job.ticket.is_some()).map(|(_, job)| job));
        }
        for job in &loans {
            self.forget(job.oldest_receive);
        }
        loans
    }

    pub(super) fn make_ready(&mut self, job: Box<Job>) {
        let lane = if job.ticket.is_some() { &mut self.spooled } else { &mut self.ready };
        lane.insert(job.order, job);
    }

    /// In turns, and the spool's with half of the slots while others wait.
    pub(super) fn next_ready(&mut self) -> Option<Box<Job>> {
        let room = self.spooled_under_way < (self.routes.capacity() / 2).max(1);
        if (self.ready.is_empty() || room && !self.spooled_was_last)
            && let Some((_, job)) = self.spooled.pop_first()
        {
            return Some(job);
        }
        self.ready.pop_first().map(|(_, job)| job)
    }

    /// Place of the first that is ready, behind `order` if there is one, wherever it came from.
    pub(super) fn first_ready(&self, order: Option<Order>) -> Option<Order> {
        let range = (order.map_or(Unbounded, Excluded), Unbounded);
        let lanes = [&self.ready, &self.spooled];
        lanes.into_iter().filter_map(|lane| lane.range(range).next()).map(|(order, _)| *order).min()
    }

    pub(super) fn take_ready(&mut self, order: Order) -> Option<Box<Job>> {
        self.ready.remove(&order).or_else(|| self.spooled.remove(&order))
    }

    /// So many wait for their time that the spool would soon hand out nothing more.
    pub(super) fn too_many_loans_wait(&self) -> bool {
        let waiting = self.deferred.values().chain(self.aside.values());
        let waiting = waiting.filter(|job| job.ticket.is_some()).count();
        waiting >= (self.policy.slots * limits::SPOOL_LEASES_PER_REQUEST / 2).max(1)
    }

    /// `job` is the spool's now; if it comes back it is under the same suspicion.
    pub(in super::super) fn remember(&mut self, job: &Job) {
        self.suspects.keep(job);
    }

    pub(super) fn give_back(&mut self, job: Box<Job>, pause_ns: u64) -> Fate {
        self.forget(job.oldest_receive);
        self.remember(&job);
        Fate::GivenBack(job, pause_ns)
    }
}
