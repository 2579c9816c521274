//! The waiting line: which batch is sent next, and what becomes of it. A pure state machine.
//!
//! Enters: batches, verdicts, the time (monotonic nanoseconds). Leaves: the next job, or when to ask
//! again; the fate of a finished one. Promised:
//! - oldest first; what failed for the environment's sake comes before what is younger;
//! - while the sink is sick one probe is under way at most, and after `retry_attempts` tries in a row
//!   the probe makes way for the next batch;
//! - only a batch that fails while others pass is split, and only a single record is ever given up;
//! - what is under suspicion has a lane of its own with half of the slots: nothing waits behind it;
//! - what the spool handed out has another (see `spooled`): half of the slots while others wait.

mod spooled;

use std::collections::BTreeMap;
use std::time::Duration;

use super::job::{Fate, Job, Order, Policy, Turn};
use crate::limits;
use crate::metrics::RecordDrop;
use crate::sink::Delivery;
use crate::sink::encode::EncodedBatch;
use crate::sink::retry::{Random, Suspicion, Verdict};

const SECOND_NS: u64 = 1_000_000_000;

/// Whether the backend takes what it is sent.
#[derive(Debug)]
enum Health {
    Well,
    Sick(Sickness),
}

#[derive(Debug)]
struct Sickness {
    since: u64,
    /// Failures in a row: of the first request and of the probes.
    streak: u32,
    /// No probe before this time.
    until: u64,
    /// The backend named a pause: answers to older requests do not end it.
    paused: bool,
    probe: Option<Order>,
    /// The probe that made way: the next one stands behind it.
    made_way: Option<Order>,
}

/// The waiting line.
#[derive(Debug)]
pub(super) struct Line {
    policy: Policy,
    random: Random,
    health: Health,
    ready: BTreeMap<Order, Box<Job>>,
    /// The same of what the spool handed out.
    spooled: BTreeMap<Order, Box<Job>>,
    /// Failed lately: by the time before which they are not sent (a sick sink's probe may be one of them).
    deferred: BTreeMap<(u64, Order), Box<Job>>,
    /// Under suspicion: by the time before which they are not sent.
    aside: BTreeMap<(u64, Order), Box<Job>>,
    /// Receive times of all that is held, with their number.
    oldest: BTreeMap<u64, u32>,
    arrivals: u64,
    under_way: usize,
    suspects_under_way: usize,
    suspect_was_last: bool,
    spooled_under_way: usize,
    spooled_was_last: bool,
    accepts: u64,
    last_accept: Option<u64>,
    refusals_in_a_row: u32,
    next_split: u64,
    pause_max: u64,
}

impl Line {
    pub(super) fn new(policy: Policy, random: Random) -> Self {
        Self {
            policy,
            random,
            health: Health::Well,
            ready: BTreeMap::new(),
            spooled: BTreeMap::new(),
            deferred: BTreeMap::new(),
            aside: BTreeMap::new(),
            oldest: BTreeMap::new(),
            arrivals: 0,
            under_way: 0,
            suspects_under_way: 0,
            suspect_was_last: false,
            spooled_under_way: 0,
            spooled_was_last: false,
            accepts: 0,
            last_accept: None,
            refusals_in_a_row: 0,
            next_split: 0,
            pause_max: u64::MAX,
        }
    }

    /// Takes a batch; its place is behind all that came before.
    pub(super) fn push(&mut self, batch: EncodedBatch, reserved: u64) {
        let job = self.arrive(batch, reserved);
        self.ready.insert(job.order, Box::new(job));
    }

    fn arrive(&mut self, batch: EncodedBatch, reserved: u64) -> Job {
        let order = (self.arrivals, 0);
        self.arrivals += 1;
        *self.oldest.entry(batch.oldest_receive).or_default() += 1;
        Job::whole(batch, reserved, order)
    }

    /// What to do at `now`.
    pub(super) fn next(&mut self, now: u64) -> Turn {
        if self.under_way >= self.policy.slots {
            return Turn::Idle;
        }
        let job = match &self.health {
            Health::Well => self.next_well(now),
            Health::Sick(sick) if sick.probe.is_some() || self.waiting() == 0 => None,
            Health::Sick(sick) if now < sick.until => return Turn::Wait(sick.until),
            Health::Sick(sick) => {
                let made_way = sick.made_way;
                self.next_probe(made_way)
            }
        };
        let Some(mut job) = job else { return self.wait() };
        if let Health::Sick(sick) = &mut self.health {
            sick.probe = Some(job.order);
        }
        job.sent_ns = now;
        job.accepts_at_first_try.get_or_insert(self.accepts);
        self.under_way += 1;
        self.suspects_under_way += usize::from(job.suspect);
        self.suspect_was_last = job.suspect;
        self.spooled_under_way += usize::from(job.ticket.is_some());
        self.spooled_was_last = job.ticket.is_some();
        Turn::Send(job)
    }

    /// Takes back what `next` gave, with the verdict on it.
    pub(super) fn finished(&mut self, mut job: Box<Job>, verdict: &Verdict, now: u64) -> Fate {
        self.under_way -= 1;
        self.suspects_under_way -= usize::from(job.suspect);
        self.spooled_under_way -= usize::from(job.ticket.is_some());
        job.repeated = verdict.maybe_written;
        // Nobody answered: it may have been accepted.
        job.doubtful |= verdict.maybe_written && verdict.suspicion < Suspicion::Split;
        let mut was_probe = false;
        if let Health::Sick(sick) = &mut self.health
            && sick.probe == Some(job.order)
        {
            sick.probe = None;
            was_probe = true;
        }
        match verdict.delivery {
            Delivery::Accepted => {
                self.accepts += 1;
                self.last_accept = Some(now);
                self.refusals_in_a_row = 0;
                self.recover(job.sent_ns);
                self.forget(job.oldest_receive);
                Fate::Delivered(job)
            }
            Delivery::Refused { .. } => self.refused(job, was_probe, now),
            Delivery::Retry { after } => self.failed(job, verdict.suspicion, after, was_probe, now),
        }
    }

    /// True while the backend takes what it is sent.
    pub(super) const fn is_well(&self) -> bool {
        matches!(self.health, Health::Well)
    }

    /// Monotonic time at which the sink became sick.
    pub(super) const fn sick_since(&self) -> Option<u64> {
        match &self.health {
            Health::Well => None,
            Health::Sick(sick) => Some(sick.since),
        }
    }

    /// Receive time of the oldest record held that is not the spool's; None if nothing is.
    pub(super) fn oldest_receive(&self) -> Option<u64> {
        self.oldest.keys().next().copied().filter(|ns| *ns != spooled::AGE_OF_LOANS)
    }

    /// Batches that wait.
    pub(super) fn waiting(&self) -> usize {
        self.ready.len() + self.spooled.len() + self.deferred.len() + self.aside.len()
    }

    /// From now on nothing waits for longer than `pause`: the end is near.
    pub(super) fn hurry(&mut self, pause: Duration, now: u64) {
        self.pause_max = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        let latest = now.saturating_add(self.pause_max);
        if let Health::Sick(sick) = &mut self.health {
            sick.until = sick.until.min(latest);
        }
        for lane in [&mut self.deferred, &mut self.aside] {
            *lane = std::mem::take(lane).into_iter().map(|((at, order), job)| ((at.min(latest), order), job)).collect();
        }
    }

    /// Nothing that was heard so far says when to try again: at `now`.
    pub(super) fn try_now(&mut self, now: u64) {
        let pause_max = std::mem::replace(&mut self.pause_max, u64::MAX);
        self.hurry(Duration::ZERO, now);
        self.pause_max = pause_max;
        if let Health::Sick(sick) = &mut self.health {
            sick.paused = false;
        }
    }

    /// Everything that waits leaves the line.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Box<Job>> + use<> {
        self.oldest.clear();
        let lanes = [std::mem::take(&mut self.deferred), std::mem::take(&mut self.aside)];
        let ready = [std::mem::take(&mut self.ready), std::mem::take(&mut self.spooled)];
        ready.into_iter().flat_map(BTreeMap::into_values).chain(lanes.into_iter().flat_map(BTreeMap::into_values))
    }

    fn wait(&self) -> Turn {
        if !self.is_well() {
            return Turn::Idle;
        }
        let aside = self.aside.first_key_value().filter(|_| self.suspects_under_way < self.suspect_slots());
        let times = [self.deferred.first_key_value(), aside];
        times.into_iter().flatten().map(|((at, _), _)| *at).min().map_or(Turn::Idle, Turn::Wait)
    }

    fn suspect_slots(&self) -> usize {
        (self.policy.slots / 2).max(1)
    }

    fn next_well(&mut self, now: u64) -> Option<Box<Job>> {
        while let Some(entry) = self.deferred.first_entry()
            && entry.key().0 <= now
        {
            let job = entry.remove();
            self.make_ready(job);
        }
        let due = self.suspects_under_way < self.suspect_slots()
            && self.aside.first_key_value().is_some_and(|((at, _), _)| *at <= now);
        // In turns, so that neither lane waits for the other while both have something to send.
        if due && (self.ready.is_empty() && self.spooled.is_empty() || !self.suspect_was_last) {
            return self.aside.pop_first().map(|(_, job)| job);
        }
        self.next_ready()
    }

    /// The oldest batch, or the one behind the last that made way; a suspect only if there is no other.
    fn next_probe(&mut self, made_way: Option<Order>) -> Option<Box<Job>> {
        for (_, job) in std::mem::take(&mut self.deferred) {
            self.make_ready(job);
        }
        let behind = made_way.and_then(|order| self.first_ready(Some(order)));
        if behind.is_none()
            && let Health::Sick(sick) = &mut self.health
        {
            sick.made_way = None;
        }
        match behind.or_else(|| self.first_ready(None)) {
            Some(order) => self.take_ready(order),
            None => self.aside.pop_first().map(|(_, job)| job),
        }
    }

    /// A suspicious failure of a batch while others pass is the batch's; all else is the environment's.
    fn failed(
        &mut self,
        mut job: Box<Job>,
        suspicion: Suspicion,
        after: Option<Duration>,
        was_probe: bool,
        now: u64,
    ) -> Fate {
        if suspicion == Suspicion::None {
            return self.environment(job, after, was_probe, now);
        }
        self.strike(&mut job);
        let others_passed = self.accepts > job.accepts_at_first_strike;
        if !self.is_well() || after.is_some() || !(others_passed || job.suspect && self.accepted_lately(now)) {
            return self.environment(job, after, was_probe, now);
        }
        let single = job.batch.records <= 1;
        let convicted = others_passed && job.strikes >= strikes_of(&job);
        if convicted && single && suspicion == Suspicion::Poison {
            self.forget(job.oldest_receive);
            return Fate::Dropped(job, RecordDrop::DeliveryPoison);
        }
        // A part is split at its first failure: what it is a part of has been convicted already.
        if (convicted || job.suspect && !job.doubtful) && !single && suspicion >= Suspicion::Split {
            let slot = self.next_split.max(now);
            self.next_split = slot + SECOND_NS / limits::POISON_SPLITS_PER_S;
            return self.split(job, slot);
        }
        job.suspect |= convicted;
        self.defer(job, now)
    }

    fn refused(&mut self, mut job: Box<Job>, was_probe: bool, now: u64) -> Fate {
        // For a split, anything since the whole batch was tried first; to give a record up, something since
        // it was split off, most often its neighbour.
        let single = job.batch.records <= 1;
        let proof = if single { job.accepts_at_split.or(job.accepts_at_first_try) } else { job.accepts_at_first_try };
        let others_passed = proof.is_some_and(|then| self.accepts > then);
        self.refusals_in_a_row = self.refusals_in_a_row.saturating_add(1);
        let lately = self.accepted_lately(now) && self.refusals_in_a_row <= limits::REFUSALS_IN_A_ROW_MAX;
        if !others_passed && !lately {
            return self.environment(job, None, was_probe, now);
        }
        if let Health::Sick(sick) = &mut self.health {
            // A refusal is an answer: the next probe need not wait.
            sick.until = sick.until.min(now);
        }
        if others_passed && single {
            self.forget(job.oldest_receive);
            return Fate::Dropped(job, RecordDrop::DeliveryRefused);
        }
        // On the strength of what was accepted before it was tried, a batch is halved once and no record
        // is given up: a backend that begins to refuse everything must not cost anything.
        let doubtful = job.doubtful && job.strikes + 1 < limits::POISON_STRIKES_DOUBTFUL;
        if !single && !doubtful && (others_passed || job.batch.part == 0) {
            return self.split(job, now);
        }
        self.strike(&mut job);
        job.suspect = true;
        self.defer(job, now)
    }

    fn strike(&self, job: &mut Job) {
        if job.strikes == 0 {
            job.accepts_at_first_strike = self.accepts;
        }
        job.strikes = job.strikes.saturating_add(1);
    }

    fn accepted_lately(&self, now: u64) -> bool {
        self.last_accept.is_some_and(|at| now.saturating_sub(at) <= limits::ACCEPTANCE_EVIDENCE_S * SECOND_NS)
    }

    /// Keeps the job for a while; the sink's health is not in question.
    fn defer(&mut self, job: Box<Job>, now: u64) -> Fate {
        let at = now.saturating_add(self.delay(job.strikes));
        if job.ticket.is_some() && self.too_many_loans_wait() {
            return self.give_back(job, at - now);
        }
        let lane = if job.suspect { &mut self.aside } else { &mut self.deferred };
        lane.insert((at, job.order), job);
        Fate::Kept
    }

    fn environment(&mut self, mut job: Box<Job>, after: Option<Duration>, was_probe: bool, now: u64) -> Fate {
        let named = after.map(|d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX).min(self.pause_max));
        let streak = match &self.health {
            Health::Well => 1,
            Health::Sick(sick) => sick.streak.saturating_add(u32::from(was_probe)),
        };
        // A pause that the backend names is the least; the jitter goes on top.
        let at = now.saturating_add(named.unwrap_or(0)).saturating_add(self.delay(streak));
        let began = self.is_well();
        if began {
            let sick = Sickness { since: now, streak, until: at, paused: false, probe: None, made_way: None };
            self.health = Health::Sick(sick);
        }
        job.tries = job.tries.saturating_add(1);
        let makes_way = (began || was_probe) && job.tries >= self.policy.retry_attempts;
        if makes_way {
            job.tries = 0;
        }
        if let Health::Sick(sick) = &mut self.health {
            sick.streak = streak;
            sick.paused |= named.is_some();
            // Other requests of the same failure do not prolong it, but a named pause counts whoever hears it.
            if was_probe {
                sick.until = at;
            } else if named.is_some() {
                sick.until = sick.until.max(at);
            }
            if makes_way {
                sick.made_way = Some(job.order);
            }
        }
        // What is behind it in the spool comes only when it has gone.
        if makes_way && job.ticket.is_some() {
            return self.give_back(job, at - now);
        }
        let lane = if job.suspect { &mut self.aside } else { &mut self.deferred };
        lane.insert((at, job.order), job);
        Fate::Kept
    }

    /// An acceptance of a request sent at `sent` ends the sickness, unless the backend named a pause after it was sent.
    fn recover(&mut self, sent: u64) {
        if let Health::Sick(sick) = &self.health
            && (!sick.paused || sent > sick.since)
        {
            self.health = Health::Well;
        }
    }

    fn delay(&mut self, failures: u32) -> u64 {
        // Never 0: the same instant again would be a loop, not a retry.
        self.policy.backoff.delay_ns(failures, &mut self.random).clamp(1_000_000, self.pause_max.max(1_000_000))
    }

    fn split(&mut self, job: Box<Job>, at: u64) -> Fate {
        if job.ticket.is_some() {
            // In memory they would be lost with the process, while the whole stays on disk.
            self.forget(job.oldest_receive);
            return Fate::Halved(job);
        }
        let (shares, accepts) = (job.shares(), self.accepts);
        let oldest_receive = job.oldest_receive;
        let (batch, reserved) = (job.batch, job.reserved);
        match batch.split() {
            Ok((left, right)) => {
                *self.oldest.entry(oldest_receive).or_default() += 1;
                let left = shares.part(left, reserved / 2, accepts);
                let right = shares.part(right, reserved - reserved / 2, accepts);
                self.aside.insert((at, left.order), Box::new(left));
                self.aside.insert((at, right.order), Box::new(right));
                Fate::Split
            }
            // Our own mistake: more records than ends. It waits in the side lane.
            Err(batch) => self.defer(Box::new(shares.part(batch, reserved, accepts)), at),
        }
    }

    fn forget(&mut self, oldest_receive: u64) {
        if let Some(count) = self.oldest.get_mut(&oldest_receive) {
            *count -= 1;
            if *count == 0 {
                self.oldest.remove(&oldest_receive);
            }
        }
    }
}

/// Failures for which a batch is taken to be at fault itself. A split changes ids: what may have been accepted is not split
/// for what chance brings about.
const fn strikes_of(job: &Job) -> u32 {
    if job.doubtful { limits::POISON_STRIKES_DOUBTFUL } else { limits::POISON_STRIKES }
}

#[cfg(test)]
mod tests;
