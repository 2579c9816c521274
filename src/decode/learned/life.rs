//! What becomes of templates with time: those that are too old go, and what changes too often stays as it is.
//!
//! When one is too old its plan says; here it is taken out of the table, with its octets and its offers. Time is passed in.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::domain::Domain;
use super::room::{ParkedCounts, Waits};
use super::status::{TemplateEvent, TemplateEventKind};
use crate::decode::key::Session;
use crate::limits::{REDEFINITIONS_PER_MINUTE_MAX, TEMPLATE_AGE_V9_S, TEMPLATE_LOOK_S};

const SECOND_NS: u64 = 1_000_000_000;
const MINUTE_NS: u64 = 60 * SECOND_NS;
/// Two processes that take an id from each other are told for this long: templates come each half hour.
const CLASH_NS: u64 = TEMPLATE_AGE_V9_S * SECOND_NS;

/// Changes of layouts in one domain: so many a minute, then further ones are refused, and what they are for is not read
/// until its template comes again.
#[derive(Debug, Default)]
pub(in crate::decode) struct Storm {
    window_ns: u64,
    changes: usize,
    /// When the limit was reached first; None once a minute went by below it.
    since_ns: Option<u64>,
}

impl Storm {
    /// Whether one more layout may change at `now_ns`, in a domain of `templates`: each may change once in a minute, as
    /// after a restart of the exporter, if they are more than the limit.
    pub fn change(&mut self, now_ns: u64, templates: usize) -> Change {
        self.settle(now_ns);
        self.changes += 1;
        let beyond = self.changes.saturating_sub(REDEFINITIONS_PER_MINUTE_MAX.max(templates));
        if beyond > 0 {
            self.since_ns.get_or_insert(now_ns);
        }
        match beyond {
            0 => Change::Taken,
            1 => Change::FirstRefused,
            _ => Change::Refused,
        }
    }

    /// When the limit was reached first, of a storm that goes on.
    pub const fn since_ns(&self) -> Option<u64> {
        self.since_ns
    }

    /// Begins another minute if this one is over.
    fn settle(&mut self, now_ns: u64) {
        let past = now_ns.abs_diff(self.window_ns);
        if past < MINUTE_NS {
            return;
        }
        // The minute before may have been below the limit without anybody looking.
        if self.changes <= REDEFINITIONS_PER_MINUTE_MAX || past >= 2 * MINUTE_NS {
            self.since_ns = None;
        }
        (self.window_ns, self.changes) = (now_ns, 0);
    }
}

/// What is done with a changed layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) enum Change {
    /// It takes the place of the last.
    Taken,
    /// It is refused, and the last one frozen: the first time in this minute.
    FirstRefused,
    /// It is refused, and the last one frozen.
    Refused,
}

/// Two UDP ports of an address redefine the same template to and fro, where ports share templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) struct Clash {
    pub ports: (u16, u16),
    pub at_ns: u64,
}

impl Domain {
    /// Forgets templates that are too old and ends what is over; looks once in a while, however often it is asked.
    /// Returns how many templates went.
    pub fn expire_templates(&self, now_ns: u64) -> usize {
        if now_ns < self.next_look_ns.load(Ordering::Acquire) {
            return 0;
        }
        self.next_look_ns.store(now_ns.saturating_add(TEMPLATE_LOOK_S * SECOND_NS), Ordering::Release);
        let heard_ns = self.heard_ns.load(Ordering::Acquire);
        // Plans of a shared domain are those of the ports, which say when they go.
        if heard_ns == 0 {
            return 0;
        }
        let version = self.key.version;
        // Under the lock, so that none is refreshed or replaced between the look and its going.
        let mut learned = self.learned();
        learned.storm.settle(now_ns);
        learned.clash = learned.clash.filter(|clash| now_ns.saturating_sub(clash.at_ns) <= CLASH_NS);
        let plans = self.plans.load_full();
        let gone: Vec<_> = plans.values().filter(|p| p.is_too_old(version, heard_ns, now_ns)).cloned().collect();
        if gone.is_empty() {
            return 0;
        }
        let mut table = (*plans).clone();
        table.retain(|_, plan| !gone.iter().any(|gone| Arc::ptr_eq(gone, plan)));
        self.plans.store(Arc::new(table));
        for plan in &gone {
            self.give_back_templates(plan.octets);
            self.note_event(plan.template.id, TemplateEventKind::Expired, now_ns);
        }
        if let (Some(fallback), Session::Port(port)) = (&self.fallback, self.key.session) {
            fallback.take_offers(port, &[], &gone);
        }
        gone.len()
    }

    /// Notes what happened to a template.
    pub(in crate::decode) fn note_event(&self, template_id: u16, kind: TemplateEventKind, at_ns: u64) {
        self.exporter.template_events.push(TemplateEvent {
            at_ns,
            domain: self.key,
            listener: self.listener,
            template_id,
            kind,
        });
    }

    /// Drops parked sets that are older than the settings allow.
    pub fn expire_parked(&self, now_ns: u64) -> ParkedCounts {
        let age = self.exporter.decided().settings.park_age_ns;
        let before_ns = now_ns.saturating_sub(age);
        self.release_lists(before_ns);
        let mut learned = self.learned();
        // What the keeper could not take at once, and what goes with the next datagram, has another turn.
        let later_ns = before_ns.saturating_sub(age);
        let own_ns = if self.exporter.keeper.is_some() { later_ns } else { before_ns };
        let returned_ns = now_ns.saturating_sub(self.exporter.decided().settings.park_disk_age_ns);
        let counts = learned.expire(|waits| match waits {
            Waits::Own => own_ns,
            Waits::Inner(_) => before_ns,
            Waits::Nothing => later_ns,
            Waits::Returned => returned_ns,
        });
        self.note_waiting(&learned);
        drop(learned);
        self.give_back_parked(counts);
        counts
    }

    /// Marks the domain as forgotten and empties its waiting room; templates give back their octets.
    pub fn retire(&self) -> ParkedCounts {
        self.retire_as(TemplateEventKind::Evicted, self.last_seen_ns.load(Ordering::Acquire))
    }

    /// The same at `now_ns`, with what that is for its templates.
    pub fn retire_as(&self, kind: TemplateEventKind, now_ns: u64) -> ParkedCounts {
        self.retired.store(true, Ordering::Release);
        let mut learned = self.learned();
        let plans = self.plans.swap(Arc::default());
        if let (Some(fallback), Session::Port(port)) = (&self.fallback, self.key.session) {
            fallback.withdraw_offers(port, &plans);
        }
        let waiting = learned.clear();
        self.note_waiting(&learned);
        let lost = learned.take_lost();
        drop(learned);
        // The plans of a shared domain belong to the ports that offered them.
        let own = !self.is_shared.load(Ordering::Acquire);
        let octets: u64 = if own { plans.values().map(|p| p.octets).sum() } else { 0 };
        for id in plans.keys().filter(|_| own) {
            self.note_event(*id, kind, now_ns);
        }
        self.give_back_parked(waiting);
        self.give_back_templates(octets);
        self.call_keeper();
        waiting.and(lost)
    }

    /// Since when redefinitions come faster than they are taken, Unix nanoseconds.
    #[must_use]
    pub fn storm_since(&self) -> Option<u64> {
        self.learned().storm.since_ns
    }

    /// Two UDP source ports that redefine the same templates to and fro: processes that need scopes of their own.
    #[must_use]
    pub fn clash_ports(&self) -> Option<(u16, u16)> {
        self.learned().clash.map(|clash| clash.ports)
    }
}
