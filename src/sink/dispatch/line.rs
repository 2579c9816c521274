//! The waiting line: which batch is sent next, and what becomes of it. A pure state machine.
//!
//! Enters: batches, verdicts, the time (monotonic nanoseconds). Leaves: the next job, or when to ask
//! again; the fate of a finished one. Promised:
//! - oldest first; what failed for the environment's sake comes before what is younger;
//! - which backend gets it is for `route` to say; to one that is sick one probe is under way at most, and while all
//!   are, a probe makes way for the next batch after `retry_attempts` tries in a row;
//! - what a backend fails for the environment's sake goes to another at once, if one takes what it is sent;
//! - only a batch that fails while the same backend takes others is split, and only a single record is ever given up;
//! - what is under suspicion has a lane of its own with half of the slots: nothing waits behind it;
//! - what the spool handed out has another (see `spooled`): half of the slots while others wait.

mod search;
mod spooled;
mod suspects;

use std::collections::BTreeMap;
use std::time::Duration;

use super::job::{Fate, Job, Order, Policy, Turn};
use super::route::{Routes, Sharing};
use crate::limits;
use crate::metrics::RecordDrop;
use crate::sink::Delivery;
use crate::sink::encode::EncodedBatch;
use crate::sink::retry::{Random, Suspicion, Verdict};
use suspects::Suspects;

/// Between two splits of what makes a backend fail; each of the halves has one of its own half of that.
const SPLIT_NS: u64 = 1_000_000_000 / limits::POISON_SPLITS_PER_S;
/// Until a backend is asked again that shall be asked for its opinion and has no room.
const DENIED_RETRY_NS: u64 = 20_000_000;

/// The waiting line.
#[derive(Debug)]
pub(super) struct Line {
    policy: Policy,
    random: Random,
    routes: Routes,
    /// The probe that made way while all were sick: the next one stands behind it.
    made_way: Option<Order>,
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
    suspects_under_way: usize,
    suspect_was_last: bool,
    spooled_under_way: usize,
    spooled_was_last: bool,
    next_split: u64,
    pause_max: u64,
    /// What was known of batches that the spool has now.
    suspects: Suspects,
}

impl Line {
    pub(super) fn new(policy: Policy, random: Random) -> Self {
        Self {
            routes: Routes::new(&policy),
            policy,
            random,
            made_way: None,
            ready: BTreeMap::new(),
            spooled: BTreeMap::new(),
            deferred: BTreeMap::new(),
            aside: BTreeMap::new(),
            oldest: BTreeMap::new(),
            arrivals: 0,
            suspects_under_way: 0,
            suspect_was_last: false,
            spooled_under_way: 0,
            spooled_was_last: false,
            next_split: 0,
            pause_max: u64::MAX,
            suspects: Suspects::default(),
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
        if let Some(target) = self.routes.due(now)
            && let Some(job) = self.next_probe(target, now)
        {
            return self.start(job, target, true, now);
        }
        while self.routes.has_room()
            && let Some(job) = self.next_well(now)
        {
            if let Some(target) = self.routes.pick(job.denied) {
                return self.start(job, target, false, now);
            }
            // There is room, but not with those that did not give it up.
            self.aside.insert((now.saturating_add(DENIED_RETRY_NS), job.order), job);
        }
        self.wait(now)
    }

    fn start(&mut self, mut job: Box<Job>, target: usize, is_probe: bool, now: u64) -> Turn {
        self.routes.start(&mut job, target, is_probe);
        job.sent_ns = now;
        job.accepts_at_first_try.get_or_insert(self.routes.accepts());
        self.suspects_under_way += usize::from(job.suspect);
        self.suspect_was_last = job.suspect;
        self.spooled_under_way += usize::from(job.ticket.is_some());
        self.spooled_was_last = job.ticket.is_some();
        Turn::Send(job)
    }

    /// Takes back what `next` gave, with the verdict on it.
    pub(super) fn finished(&mut self, mut job: Box<Job>, verdict: &Verdict, now: u64) -> Fate {
        self.suspects_under_way -= usize::from(job.suspect);
        self.spooled_under_way -= usize::from(job.ticket.is_some());
        job.repeated = verdict.maybe_written;
        // Nobody answered: it may have been accepted.
        job.doubtful |= verdict.maybe_written && verdict.suspicion < Suspicion::Split;
        let is_stale = self.routes.is_stale(&job);
        let was_probe = self.routes.end(&mut job);
        if is_stale && verdict.delivery != Delivery::Accepted {
            return self.ask_the_new(job, now);
        }
        match verdict.delivery {
            Delivery::Accepted => {
                if self.routes.accepted(&job, now) {
                    self.made_way = None;
                }
                self.forget(job.oldest_receive);
                Fate::Delivered(job)
            }
            Delivery::Refused { .. } => self.refused(job, was_probe, now),
            Delivery::Retry { after } => self.failed(job, verdict.suspicion, after, was_probe, now),
        }
    }

    /// True while a backend takes what it is sent.
    pub(super) fn is_well(&self) -> bool {
        self.routes.is_well()
    }

    /// Monotonic time since which none does.
    pub(super) fn sick_since(&self) -> Option<u64> {
        self.routes.sick_since()
    }

    /// The backends, in the operator's order.
    pub(super) const fn routes(&self) -> &Routes {
        &self.routes
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
        self.routes.hurry(latest);
        for lane in [&mut self.deferred, &mut self.aside] {
            *lane = std::mem::take(lane).into_iter().map(|((at, order), job)| ((at.min(latest), order), job)).collect();
        }
    }

    /// Requests go to other backends from now on: nothing that was heard so far is about them.
    pub(super) fn turn_to(&mut self, sharing: Sharing, now: u64) {
        self.policy.backends = sharing.backends;
        self.routes.turn_to(sharing);
        let pause_max = std::mem::replace(&mut self.pause_max, u64::MAX);
        self.hurry(Duration::ZERO, now);
        self.pause_max = pause_max;
        let waiting = self.ready.values_mut().chain(self.spooled.values_mut());
        for job in waiting.chain(self.deferred.values_mut()).chain(self.aside.values_mut()) {
            (job.moves, job.denied) = (0, 0);
        }
    }

    /// A backend of before did not take it, which says nothing of those of now.
    fn ask_the_new(&mut self, mut job: Box<Job>, now: u64) -> Fate {
        (job.moves, job.denied) = (0, 0);
        if job.suspect {
            self.aside.insert((now, job.order), job);
        } else {
            self.make_ready(job);
        }
        Fate::Kept
    }

    /// Everything that waits leaves the line.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Box<Job>> + use<> {
        self.oldest.clear();
        let lanes = [std::mem::take(&mut self.deferred), std::mem::take(&mut self.aside)];
        let ready = [std::mem::take(&mut self.ready), std::mem::take(&mut self.spooled)];
        ready.into_iter().flat_map(BTreeMap::into_values).chain(lanes.into_iter().flat_map(BTreeMap::into_values))
    }

    fn wait(&self, now: u64) -> Turn {
        let probe = self.routes.due_at(now).filter(|_| self.waiting() > 0);
        let room = self.routes.has_room();
        let aside = self.aside.first_key_value().filter(|_| room && self.suspects_under_way < self.suspect_slots());
        let lanes = [self.deferred.first_key_value().filter(|_| room), aside];
        let times = lanes.into_iter().flatten().map(|((at, _), _)| *at);
        times.chain(probe).min().map_or(Turn::Idle, Turn::Wait)
    }

    fn suspect_slots(&self) -> usize {
        (self.routes.capacity() / 2).max(1)
    }

    fn make_due_ready(&mut self, now: u64) {
        while let Some(entry) = self.deferred.first_entry()
            && entry.key().0 <= now
        {
            let job = entry.remove();
            self.make_ready(job);
        }
    }

    fn next_well(&mut self, now: u64) -> Option<Box<Job>> {
        self.make_due_ready(now);
        let due = self.suspects_under_way < self.suspect_slots()
            && self.aside.first_key_value().is_some_and(|((at, _), _)| *at <= now);
        // In turns, so that neither lane waits for the other while both have something to send.
        if due && (self.ready.is_empty() && self.spooled.is_empty() || !self.suspect_was_last) {
            return self.aside.pop_first().map(|(_, job)| job);
        }
        self.next_ready()
    }

    /// While another backend takes batches, the next of them. Else what `search` wants to ask with, the oldest, or the one
    /// behind the last that made way; a suspect only if there is no other.
    fn next_probe(&mut self, target: usize, now: u64) -> Option<Box<Job>> {
        if self.is_well() {
            self.make_due_ready(now);
            return self.next_ready();
        }
        for (_, job) in std::mem::take(&mut self.deferred) {
            self.make_ready(job);
        }
        if let Some(piece) = self.next_piece(target) {
            return Some(piece);
        }
        let behind = self.made_way.and_then(|order| self.first_ready(Some(order)));
        if behind.is_none() {
            self.made_way = None;
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
        let way = self.routes.way(job.target);
        let others_passed = way.accepted_since(job.accepts_at_first_strike);
        let proven = others_passed || job.suspect && way.accepted_lately(now);
        if !way.breaker.is_closed() || after.is_some() || !proven {
            return self.environment(job, after, was_probe, now);
        }
        let single = job.batch.records <= 1;
        let convicted = others_passed && job.strikes >= strikes_of(&job);
        if convicted && single && suspicion == Suspicion::Poison {
            return self.give_up(job, RecordDrop::DeliveryPoison, now);
        }
        // A part is split at its first failure: what it is a part of has been convicted already.
        if (convicted || job.suspect && !job.doubtful) && !single && suspicion >= Suspicion::Split {
            // Halves from the spool wait for their time when they come.
            let slot = if job.ticket.is_some() { now } else { self.split_slot(now, SPLIT_NS) };
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
        let way = self.routes.way_mut(job.target);
        let others_passed = proof.is_some_and(|then| way.accepted_since(then));
        way.refusals_in_a_row = way.refusals_in_a_row.saturating_add(1);
        let lately = way.accepted_lately(now) && way.refusals_in_a_row <= limits::REFUSALS_IN_A_ROW_MAX;
        if !others_passed && !lately {
            return self.doubt(job, was_probe, now);
        }
        self.routes.way_mut(job.target).breaker.on_refusal(now);
        if others_passed && single {
            return self.give_up(job, RecordDrop::DeliveryRefused, now);
        }
        // On the strength of what was accepted before it was tried, a batch is halved once and no record
        // is given up: a backend that begins to refuse everything must not cost anything.
        let doubtful = job.doubtful && job.strikes + 1 < limits::POISON_STRIKES_DOUBTFUL;
        if !single && !doubtful && (others_passed || job.batch.part == 0) {
            return self.halve(job, now);
        }
        self.strike(&mut job);
        job.suspect = true;
        self.defer(job, now)
    }

    fn strike(&self, job: &mut Job) {
        if job.strikes == 0 {
            job.accepts_at_first_strike = self.routes.accepts();
        }
        job.strikes = job.strikes.saturating_add(1);
    }

    /// A single record that its backend does not take while it takes others; equals are asked first.
    fn give_up(&mut self, mut job: Box<Job>, drop: RecordDrop, now: u64) -> Fate {
        Routes::deny(&mut job);
        if self.routes.second_opinion(job.denied) {
            job.suspect = true;
            self.aside.insert((now, job.order), job);
            return Fate::Kept;
        }
        self.forget(job.oldest_receive);
        Fate::Dropped(job, drop)
    }

    /// When the next of what makes a backend fail may start, and for how long it is the last.
    fn split_slot(&mut self, now: u64, length_ns: u64) -> u64 {
        let slot = self.next_split.max(now);
        self.next_split = slot + length_ns;
        slot
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
        let streak = self.routes.way(job.target).breaker.streak(was_probe);
        // A pause that the backend names is the least; the jitter goes on top.
        let at = now.saturating_add(named.unwrap_or(0)).saturating_add(self.delay(streak));
        let way = self.routes.way_mut(job.target);
        let began = way.breaker.is_closed();
        if !was_probe {
            way.pace.on_failure(now, job.sent_ns);
        }
        way.breaker.on_failure(now, at, named.is_some(), was_probe);
        job.tries = job.tries.saturating_add(1);
        job.moves += 1;
        // Each backend once: one that fails in turns must not be asked without a pause.
        if job.moves < self.policy.backends && self.routes.another_is_well(job.target) {
            if job.suspect {
                self.aside.insert((now, job.order), job);
            } else {
                self.make_ready(job);
            }
            return Fate::Kept;
        }
        job.moves = 0;
        if (began || was_probe) && job.tries >= self.policy.retry_attempts {
            job.tries = 0;
            self.made_way = Some(job.order);
            // What is behind it in the spool comes only when it has gone.
            if job.ticket.is_some() {
                return self.give_back(job, at - now);
            }
        }
        let lane = if job.suspect { &mut self.aside } else { &mut self.deferred };
        lane.insert((at, job.order), job);
        Fate::Kept
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
        let (shares, accepts) = (job.shares(), self.routes.accepts());
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
