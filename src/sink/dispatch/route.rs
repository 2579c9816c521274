//! Which backend a batch goes to. A pure state machine over the breaker and the pace of each.
//!
//! Enters: what was sent and how it ended, with the time. Leaves: the backend for the next batch, or for the
//! next probe. Promised:
//! - what was accepted elsewhere proves nothing about this backend, and its sickness is no other one's;
//! - `failover`: the first healthy one in the operator's order gets everything, and those before it are probed;
//! - `spread`: among the healthy ones that have room, the one with the fewest requests under way;
//! - all together have `slots` requests under way at most, and one probe each beside them.

use super::breaker::Breaker;
use super::job::{Job, Policy};
use super::pace::Pace;
use crate::limits;
use crate::sink::Balance;

const SECOND_NS: u64 = 1_000_000_000;

/// One backend.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) breaker: Breaker,
    pub(super) pace: Pace,
    /// Requests under way, the probe included.
    pub(super) under_way: usize,
    /// The line's number of acceptances when this one accepted last: it has accepted since a mark if this is above.
    accepts: u64,
    last_accept: Option<u64>,
    pub(super) refusals_in_a_row: u32,
}

/// How many there are, and how they share the work.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sharing {
    pub(super) backends: usize,
    pub(super) balance: Balance,
    pub(super) adaptive: bool,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Routes {
    ways: Vec<Way>,
    /// Grows when others take their place: what was sent before concerns none of them.
    epoch: u32,
    balance: Balance,
    slots: usize,
    /// Requests under way without probes.
    under_way: usize,
    /// Acceptances of all together.
    accepts: u64,
    /// The one that was chosen last: among equals the next one is.
    last: usize,
}

impl Way {
    /// It accepted something after all together had accepted `mark` batches.
    pub(super) const fn accepted_since(&self, mark: u64) -> bool {
        self.accepts > mark
    }

    pub(super) fn accepted_lately(&self, now: u64) -> bool {
        self.last_accept.is_some_and(|at| now.saturating_sub(at) <= limits::ACCEPTANCE_EVIDENCE_S * SECOND_NS)
    }

    fn has_room(&self) -> bool {
        self.breaker.is_closed() && self.under_way < self.pace.limit()
    }
}

fn ways(count: usize, slots: usize, adaptive: bool) -> Vec<Way> {
    let way = || Way {
        breaker: Breaker::default(),
        pace: Pace::new(slots, adaptive),
        under_way: 0,
        accepts: 0,
        last_accept: None,
        refusals_in_a_row: 0,
    };
    (0..count.max(1)).map(|_| way()).collect()
}

impl Routes {
    pub(super) fn new(policy: &Policy) -> Self {
        Self {
            ways: ways(policy.backends, policy.slots, policy.adaptive),
            epoch: 0,
            balance: policy.balance,
            slots: policy.slots,
            under_way: 0,
            accepts: 0,
            last: 0,
        }
    }

    /// Others take the place of all: nothing is known of them.
    pub(super) fn turn_to(&mut self, sharing: Sharing) {
        self.ways = ways(sharing.backends, self.slots, sharing.adaptive);
        self.balance = sharing.balance;
        self.epoch = self.epoch.wrapping_add(1);
        self.last = 0;
    }

    /// It was sent to a backend that is none of these.
    pub(super) const fn is_stale(&self, job: &Job) -> bool {
        job.epoch != self.epoch
    }

    pub(super) fn way(&self, index: usize) -> &Way {
        &self.ways[index]
    }

    pub(super) fn way_mut(&mut self, index: usize) -> &mut Way {
        &mut self.ways[index]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Way> {
        self.ways.iter()
    }

    /// Acceptances so far: a mark for [`Way::accepted_since`].
    pub(super) const fn accepts(&self) -> u64 {
        self.accepts
    }

    /// True while one takes what it is sent.
    pub(super) fn is_well(&self) -> bool {
        self.ways.iter().any(|way| way.breaker.is_closed())
    }

    /// Since when none does.
    pub(super) fn sick_since(&self) -> Option<u64> {
        self.ways.iter().map(|way| way.breaker.since()).collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// One other than `index` takes what it is sent.
    pub(super) fn another_is_well(&self, index: usize) -> bool {
        self.ways.iter().enumerate().any(|(other, way)| other != index && way.breaker.is_closed())
    }

    /// What `denied` (a bit each) gave up may be asked of another that takes what it is sent.
    pub(super) fn second_opinion(&self, denied: u8) -> bool {
        self.balance == Balance::Spread
            && self.ways.iter().enumerate().any(|(index, way)| denied & bit(index) == 0 && way.breaker.is_closed())
    }

    /// Requests that may be under way now, of all kinds of batches together.
    pub(super) fn capacity(&self) -> usize {
        let limits = self.ways.iter().filter(|way| way.breaker.is_closed()).map(|way| way.pace.limit());
        let sum: usize = match self.balance {
            Balance::Failover => limits.take(1).sum(),
            Balance::Spread => limits.sum(),
        };
        sum.clamp(1, self.slots)
    }

    /// Another request may start now.
    pub(super) fn has_room(&self) -> bool {
        self.pick(0).is_some()
    }

    /// The backend for a batch that those of `denied` gave up; None while it has to wait.
    pub(super) fn pick(&self, denied: u8) -> Option<usize> {
        if self.under_way >= self.slots {
            return None;
        }
        match self.balance {
            Balance::Failover => {
                self.ways.iter().position(|way| way.breaker.is_closed()).filter(|at| self.ways[*at].has_room())
            }
            Balance::Spread => {
                let denied = if self.second_opinion(denied) { denied } else { 0 };
                let ways = self.ways.iter().enumerate();
                let open = ways.filter(|(index, way)| denied & bit(*index) == 0 && way.has_room());
                let count = self.ways.len();
                let behind_last = |index: usize| (index + count - 1 - self.last) % count;
                open.min_by_key(|(index, way)| (way.under_way, behind_last(*index))).map(|(index, _)| index)
            }
        }
    }

    /// The backend that a probe may be sent to now.
    pub(super) fn due(&self, now: u64) -> Option<usize> {
        self.probes().find(|(_, at)| *at <= now).map(|(index, _)| index)
    }

    /// When the next probe may start.
    pub(super) fn due_at(&self, now: u64) -> Option<u64> {
        self.probes().map(|(_, at)| at).filter(|at| *at > now).min()
    }

    /// Those worth asking: a standby behind a healthy one is not needed, and gets nothing.
    fn probes(&self) -> impl Iterator<Item = (usize, u64)> {
        let first_well = self.ways.iter().position(|way| way.breaker.is_closed());
        let end = first_well.filter(|_| self.balance == Balance::Failover).unwrap_or(self.ways.len());
        self.ways[..end].iter().enumerate().filter_map(|(index, way)| Some((index, way.breaker.probe_at()?)))
    }

    /// `job` goes to `index` at `now`, as its probe or as any other.
    pub(super) fn start(&mut self, job: &mut Job, index: usize, is_probe: bool) {
        let way = &mut self.ways[index];
        way.under_way += 1;
        (job.target, job.is_probe, job.company) = (index, is_probe, way.under_way);
        job.epoch = self.epoch;
        if is_probe {
            way.breaker.ask_with(job.order);
        } else {
            self.under_way += 1;
            self.last = index;
        }
    }

    /// Its request ended: true if it was the probe of the present sickness.
    pub(super) fn end(&mut self, job: &mut Job) -> bool {
        self.under_way -= usize::from(!job.is_probe);
        if self.is_stale(job) {
            return false;
        }
        let way = &mut self.ways[job.target];
        job.company = job.company.max(way.under_way);
        way.under_way -= 1;
        way.breaker.ended(job.order)
    }

    /// It was accepted: true if that makes its backend well again.
    pub(super) fn accepted(&mut self, job: &Job, now: u64) -> bool {
        self.accepts += 1;
        if self.is_stale(job) {
            return false;
        }
        let way = &mut self.ways[job.target];
        way.accepts = self.accepts;
        way.last_accept = Some(now);
        way.refusals_in_a_row = 0;
        way.pace.on_answer(now, job.sent_ns, job.batch.records, job.company);
        way.breaker.on_accept(job.sent_ns)
    }

    /// A probe may start at `latest` everywhere.
    pub(super) fn hurry(&mut self, latest: u64) {
        self.ways.iter_mut().for_each(|way| way.breaker.hurry(latest));
    }

    /// `index` gave up a batch for its own sake.
    pub(super) fn deny(job: &mut Job) {
        job.denied |= bit(job.target);
    }
}

const fn bit(index: usize) -> u8 {
    1 << (index % limits::BACKENDS_MAX)
}
