//! Whether one backend is sent to: closed (as ever), open (not now), half open (one request asks).
//!
//! Enters: how requests to it ended, with the time. Leaves: the state, and when it may be asked again.
//! Promised: one failure for the environment's sake opens it; while it is open nothing is sent but, after a
//! pause, one request at a time; failures of older requests do not make the pause longer; an acceptance closes
//! it, unless it answers a request from before a pause that the backend named.

use super::job::Order;

/// What may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Everything.
    Closed,
    /// Nothing before a time.
    Open,
    /// Nothing but the probe that is under way.
    HalfOpen,
}

/// The breaker of one backend.
#[derive(Debug, Default)]
pub(super) struct Breaker(Option<Sickness>);

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
}

impl Breaker {
    pub(super) const fn state(&self) -> State {
        match &self.0 {
            None => State::Closed,
            Some(Sickness { probe: None, .. }) => State::Open,
            Some(_) => State::HalfOpen,
        }
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.0.is_none()
    }

    /// Since when it is not closed.
    pub(super) fn since(&self) -> Option<u64> {
        self.0.as_ref().map(|sick| sick.since)
    }

    /// When a probe may start; None while it is closed or one is under way.
    pub(super) fn probe_at(&self) -> Option<u64> {
        self.0.as_ref().filter(|sick| sick.probe.is_none()).map(|sick| sick.until)
    }

    /// The probe starts.
    pub(super) fn ask_with(&mut self, order: Order) {
        if let Some(sick) = &mut self.0 {
            sick.probe = Some(order);
        }
    }

    /// A request ended: true if it was the probe of the present sickness.
    pub(super) fn ended(&mut self, order: Order) -> bool {
        match &mut self.0 {
            Some(sick) if sick.probe == Some(order) => {
                sick.probe = None;
                true
            }
            _ => false,
        }
    }

    /// Failures in a row if the request that ended now failed.
    pub(super) fn streak(&self, was_probe: bool) -> u32 {
        self.0.as_ref().map_or(1, |sick| sick.streak.saturating_add(u32::from(was_probe)))
    }

    /// A failure for the environment's sake: not asked again before `until`; `named` if the backend chose it.
    pub(super) fn on_failure(&mut self, now: u64, until: u64, named: bool, was_probe: bool) {
        let streak = self.streak(was_probe);
        let began = self.is_closed();
        let sick = self.0.get_or_insert(Sickness { since: now, streak, until, paused: false, probe: None });
        sick.streak = streak;
        sick.paused |= named;
        // Others of the same failure do not prolong it, but a named pause counts whoever hears it.
        if was_probe {
            sick.until = until;
        } else if named && !began {
            sick.until = sick.until.max(until);
        }
    }

    /// A refusal is an answer: the next probe need not wait.
    pub(super) fn on_refusal(&mut self, now: u64) {
        self.hurry(now);
    }

    /// A request sent at `sent` was accepted: true if that closes it.
    pub(super) fn on_accept(&mut self, sent: u64) -> bool {
        let closes = self.0.as_ref().is_some_and(|sick| !sick.paused || sent > sick.since);
        if closes {
            self.0 = None;
        }
        closes
    }

    /// A probe may start at `latest`.
    pub(super) fn hurry(&mut self, latest: u64) {
        if let Some(sick) = &mut self.0 {
            sick.until = sick.until.min(latest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Order = (1, 0);

    #[test]
    fn one_failure_opens_it_and_one_probe_at_a_time_asks() {
        let mut breaker = Breaker::default();
        assert_eq!((breaker.state(), breaker.probe_at(), breaker.since()), (State::Closed, None, None));
        breaker.on_failure(10, 100, false, false);
        // The others that were under way fail of the same.
        breaker.on_failure(11, 500, false, false);
        assert_eq!((breaker.state(), breaker.probe_at(), breaker.since()), (State::Open, Some(100), Some(10)));
        assert_eq!((breaker.streak(false), breaker.streak(true)), (1, 2));
        breaker.ask_with(A);
        assert_eq!((breaker.state(), breaker.probe_at()), (State::HalfOpen, None));
        assert!(!breaker.ended((2, 0)) && breaker.ended(A) && !breaker.ended(A));
        breaker.on_failure(120, 400, false, true);
        assert_eq!((breaker.state(), breaker.probe_at(), breaker.since()), (State::Open, Some(400), Some(10)));
        breaker.ask_with(A);
        assert!(breaker.ended(A) && breaker.on_accept(400));
        assert_eq!(breaker.state(), State::Closed);
    }

    #[test]
    fn a_named_pause_outlasts_answers_to_older_requests() {
        let mut breaker = Breaker::default();
        breaker.on_failure(10, 20, false, false);
        breaker.on_failure(12, 1_000, true, false);
        assert_eq!(breaker.probe_at(), Some(1_000));
        assert!(!breaker.on_accept(9));
        breaker.on_refusal(30);
        assert_eq!(breaker.probe_at(), Some(30));
        breaker.ask_with(A);
        assert!(breaker.ended(A) && breaker.on_accept(1_000));
    }

    #[test]
    fn what_ends_after_it_closed_is_no_probe_any_more() {
        let mut breaker = Breaker::default();
        breaker.on_failure(1, 2, false, false);
        breaker.ask_with(A);
        assert!(breaker.on_accept(0), "an older request was accepted");
        assert!(!breaker.ended(A) && breaker.is_closed());
        assert!(!breaker.on_accept(5), "it was closed already");
    }
}
