//! Changing what a domain has learned: templates, offers between ports, and the waiting room.
//!
//! All of it happens under the domain's mutex and is bounded: templates per domain, octets per
//! exporter and process (the least recently refreshed template of the same domain makes room, never
//! another exporter's), parked sets by count, octets and age.

mod inner;
mod overflow;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustc_hash::FxHashMap;

pub(super) use self::inner::{Await, Waits};
pub(super) use self::overflow::Overflow;
pub use self::overflow::{Overflowed, ParkOverflow, Stored, WaitingSet, parked_octets};
use super::budget::LearnedBudget;
use super::domain::{Domain, ParkedCounts, PlanTable, Session};
use super::error::SetDropKind;
use super::life::{Change, Clash, Storm};
use super::plan::DecodePlan;
use super::status::TemplateEventKind;
use super::template::TemplateSet;
use super::{Header, Outcome};
use crate::limits::{
    PARKED_OCTETS_PER_EXPORTER_MAX, PARKED_SETS_PER_EXPORTER_MAX, TEMPLATE_OCTETS_PER_EXPORTER_MAX,
    TEMPLATES_PER_DOMAIN_MAX,
};

/// What a parked set takes beside its octets.
const PARKED_OVERHEAD_OCTETS: u64 = 96;

/// Ports that may offer a template to their address's shared domain.
const OFFERS_PER_TEMPLATE_MAX: usize = 64;

/// The datagram that a set came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Envelope {
    pub header: Header,
    pub receive_ns: u64,
    /// UDP source port.
    pub port: u16,
}

/// A data set that waits for its template.
#[derive(Debug)]
pub(super) struct ParkedSet {
    pub id: u16,
    pub body: Box<[u8]>,
    pub envelope: Envelope,
    waits: Waits,
}

impl ParkedSet {
    /// True if it is to be read without the templates that its lists name.
    pub fn waited_in_vain(&self) -> bool {
        self.waits == Waits::Nothing
    }

    fn octets(&self) -> u64 {
        self.body.len() as u64 + PARKED_OVERHEAD_OCTETS
    }
}

/// What the waiting room gives.
#[derive(Debug)]
pub(super) enum Unparked {
    /// The oldest set that can be decoded now.
    Set(ParkedSet, Arc<DecodePlan>),
    /// There is one, with more rows than asked for.
    TooMany,
    /// Nothing waits that could be decoded.
    None,
}

/// What is behind a domain's mutex.
#[derive(Debug, Default)]
pub(super) struct Learned {
    parked: VecDeque<ParkedSet>,
    parked_octets: u64,
    /// In a shared domain: which ports define a template id, and how. Only plans that the port itself
    /// still knows, so that they are within the bounds of the exporter's templates.
    offers: FxHashMap<u16, Vec<(u16, Arc<DecodePlan>)>>,
    /// Sets that a datagram took out of the room and over which the decoder failed: they go with the
    /// domain, which is retired for that.
    lost: ParkedCounts,
    /// Changes of layouts lately.
    pub(super) storm: Storm,
    /// Templates that lists name and that did not come: they are not waited for again.
    given_up: Vec<u16>,
    /// Ports that take templates from each other.
    pub(super) clash: Option<Clash>,
    /// Templates that sets came for in vain.
    pub(super) waits: super::waiting::Waits,
}

impl Learned {
    /// Sets and octets that wait.
    pub(super) fn parked(&self) -> ParkedCounts {
        let mut counts = ParkedCounts::default();
        self.parked.iter().for_each(|set| counts.note(set));
        debug_assert_eq!(counts.octets, self.parked_octets, "the sum of what waits");
        counts
    }

    /// Empties the room.
    pub(super) fn clear(&mut self) -> ParkedCounts {
        let counts = self.parked();
        self.parked.clear();
        self.parked_octets = 0;
        counts
    }

    /// Drops the sets received before what `limit` says of them, Unix nanoseconds.
    pub(super) fn expire(&mut self, limit: impl Fn(Waits) -> u64) -> ParkedCounts {
        let mut counts = ParkedCounts::default();
        self.parked.retain(|set| {
            let keep = set.envelope.receive_ns >= limit(set.waits);
            if !keep {
                counts.note(set);
            }
            keep
        });
        self.parked_octets -= counts.octets;
        counts
    }

    /// Takes out what came from `port`, in order.
    fn leave_with(&mut self, port: u16) -> VecDeque<ParkedSet> {
        let (theirs, others) = std::mem::take(&mut self.parked).into_iter().partition(|s| s.envelope.port == port);
        self.parked = others;
        let theirs: VecDeque<ParkedSet> = theirs;
        self.parked_octets -= theirs.iter().map(ParkedSet::octets).sum::<u64>();
        // What only that port waited for is its own business now.
        let parked = &self.parked;
        self.waits.retain(|id| parked.iter().any(|set| set.id == id));
        theirs
    }

    /// Puts sets that are older than all others before them.
    fn put_first(&mut self, mut older: VecDeque<ParkedSet>) {
        self.parked_octets += older.iter().map(ParkedSet::octets).sum::<u64>();
        older.append(&mut self.parked);
        self.parked = older;
    }

    /// What a failed datagram took out of the room; counted once.
    pub(super) fn take_lost(&mut self) -> ParkedCounts {
        std::mem::take(&mut self.lost)
    }

    /// `port` no longer defines `plan`; another plan of the same id stays.
    fn withdraw(&mut self, port: u16, plan: &Arc<DecodePlan>, table: &mut PlanTable) {
        let id = plan.template.id;
        let Some(offers) = self.offers.get_mut(&id) else { return };
        offers.retain(|(p, offered)| *p != port || !Arc::ptr_eq(offered, plan));
        settle(table, id, offers);
        if offers.is_empty() {
            self.offers.remove(&id);
        }
    }
}

impl Domain {
    /// Learns the templates of a set; true if sets may have waited for them.
    pub(super) fn learn_templates(&self, set: TemplateSet, from: &Envelope, outcome: &mut Outcome) -> bool {
        let (now_ns, port) = (from.receive_ns, from.port);
        outcome.templates_rejected += set.rejected;
        outcome.withdrawals_ignored += set.withdrawals;
        if !set.templates.is_empty() {
            self.heard_ns.store(now_ns, Ordering::Release);
        }
        let settings = &self.exporter.settings;
        let mut learned = self.learned();
        let current = self.plans.load_full();
        let mut changed: Option<PlanTable> = None;
        let (mut fresh, mut gone) = (Vec::new(), Vec::new());
        for template in set.templates {
            let table = changed.as_ref().unwrap_or(&current);
            if let Some(plan) = table.get(&template.id)
                && plan.same_layout(&template)
            {
                plan.refresh(now_ns);
                continue;
            }
            let id = template.id;
            if table.contains_key(&id) {
                let change = learned.storm.change(now_ns, table.len());
                if change == Change::FirstRefused {
                    self.note_event(id, TemplateEventKind::Frozen, now_ns);
                }
                if change != Change::Taken {
                    outcome.templates_rejected += 1;
                    continue;
                }
            }
            let mut plan = DecodePlan::compile(template, self.key.version, settings, now_ns);
            let table = changed.get_or_insert_with(|| (*current).clone());
            // The old layout is wrong from here on, also if there is no room for the new one (N9-12).
            let old = table.remove(&id);
            plan.note_author(port, old.as_deref());
            let plan = Arc::new(plan);
            let replaces = old.is_some();
            if let Some(old) = old {
                if let Some(ports) = old.contended(port) {
                    learned.clash = Some(Clash { ports, at_ns: now_ns });
                }
                self.give_back_templates(old.octets);
                gone.push(old);
            }
            let kept = gone.len();
            let has_room = self.make_room(table, plan.octets, &mut gone);
            for plan in &gone[kept..] {
                self.note_event(plan.template.id, TemplateEventKind::Evicted, now_ns);
            }
            if has_room {
                learned.given_up.retain(|given_up| *given_up != id);
                let kind = if replaces { TemplateEventKind::Replaced } else { TemplateEventKind::Learned };
                self.note_event(id, kind, now_ns);
                outcome.templates_learned += 1;
                table.insert(id, Arc::clone(&plan));
                fresh.push(plan);
            } else {
                if replaces {
                    self.note_event(id, TemplateEventKind::Evicted, now_ns);
                }
                outcome.templates_rejected += 1;
            }
        }
        if let Some(table) = changed {
            fresh.retain(|plan| table.get(&plan.template.id).is_some_and(|p| Arc::ptr_eq(p, plan)));
            self.plans.store(Arc::new(table));
        }
        let mut adopted = false;
        // Under this domain's lock, so that the address hears of changes in their order. Nobody takes the
        // two locks the other way round.
        if let (Some(fallback), Session::Port(port)) = (&self.fallback, self.key.session) {
            fallback.take_offers(port, &fresh, &gone);
            adopted = self.adopt(&mut learned, fallback, port);
        }
        if !fresh.is_empty() {
            self.call_keeper();
        }
        adopted || !fresh.is_empty()
    }

    /// Sets of this port that came before its domain was made wait in the address's: they are its own.
    fn adopt(&self, learned: &mut Learned, fallback: &Self, port: u16) -> bool {
        // Else their octets are reserved with another rule's state.
        if !Arc::ptr_eq(&self.exporter, &fallback.exporter) {
            return false;
        }
        self.adopt_kept(fallback, port);
        if !fallback.has_parked() {
            return false;
        }
        let mut theirs = fallback.learned();
        let older = theirs.leave_with(port);
        fallback.note_waiting(&theirs);
        drop(theirs);
        let any = !older.is_empty();
        learned.put_first(older);
        self.note_waiting(learned);
        any
    }

    /// Reserves `octets` for a plan, forgetting the least recently refreshed templates of this domain
    /// (into `gone`) while a bound of the domain or of its exporter is in the way. False, with nothing
    /// forgotten, if even that would not do.
    fn make_room(&self, table: &mut PlanTable, octets: u64, gone: &mut Vec<Arc<DecodePlan>>) -> bool {
        if table.len() < TEMPLATES_PER_DOMAIN_MAX && self.reserve_templates(octets) {
            return true;
        }
        let own: u64 = table.values().map(|p| p.octets).sum();
        let fits = |used: &AtomicU64, max: u64| used.load(Ordering::Acquire).saturating_sub(own) + octets <= max;
        let (exporter, budget) = (&self.exporter, &self.exporter.budget);
        if !fits(&exporter.template_octets, TEMPLATE_OCTETS_PER_EXPORTER_MAX as u64)
            || !fits(&budget.learned_octets, budget.learned_octets_max)
        {
            return false;
        }
        let mut oldest: Vec<(u64, u16)> =
            table.iter().map(|(id, p)| (p.refreshed_ns.load(Ordering::Relaxed), *id)).collect();
        oldest.sort_unstable();
        // A full table makes room for more than one, so that a flood does not sort it for each template.
        let at_least = if table.len() < TEMPLATES_PER_DOMAIN_MAX { 0 } else { TEMPLATES_PER_DOMAIN_MAX / 16 };
        for (forgotten, (_, id)) in oldest.into_iter().enumerate() {
            if forgotten >= at_least && self.reserve_templates(octets) {
                return true;
            }
            if let Some(plan) = table.remove(&id) {
                self.give_back_templates(plan.octets);
                gone.push(plan);
            }
        }
        self.reserve_templates(octets)
    }

    fn reserve_templates(&self, octets: u64) -> bool {
        let (exporter, budget) = (&self.exporter, &self.exporter.budget);
        if !LearnedBudget::reserve(&exporter.template_octets, octets, TEMPLATE_OCTETS_PER_EXPORTER_MAX as u64) {
            return false;
        }
        let reserved = LearnedBudget::reserve(&budget.learned_octets, octets, budget.learned_octets_max);
        if !reserved {
            exporter.template_octets.fetch_sub(octets, Ordering::AcqRel);
        }
        reserved
    }

    /// In the shared domain of an address: `port` defines `fresh` and no longer `gone`. An id can be used
    /// by other ports only while all that define it agree on the layout (DEC-3).
    pub(super) fn take_offers(&self, port: u16, fresh: &[Arc<DecodePlan>], gone: &[Arc<DecodePlan>]) {
        if fresh.is_empty() && gone.is_empty() {
            return;
        }
        self.is_shared.store(true, Ordering::Release);
        let mut learned = self.learned();
        let mut table = (**self.plans.load()).clone();
        for plan in gone {
            learned.withdraw(port, plan, &mut table);
        }
        for plan in fresh {
            let id = plan.template.id;
            if learned.offers.len() >= TEMPLATES_PER_DOMAIN_MAX && !learned.offers.contains_key(&id) {
                continue;
            }
            let offers = learned.offers.entry(id).or_default();
            match offers.iter().position(|(p, _)| *p == port) {
                Some(index) => offers[index].1 = Arc::clone(plan),
                None if offers.len() < OFFERS_PER_TEMPLATE_MAX => offers.push((port, Arc::clone(plan))),
                None => continue,
            }
            settle(&mut table, id, offers);
        }
        self.plans.store(Arc::new(table));
        drop(learned);
        self.replay_due.store(true, Ordering::Release);
    }

    /// `port` is gone: that it defined `plans` no longer counts. A successor's word for the same port does.
    pub(super) fn withdraw_offers(&self, port: u16, plans: &PlanTable) {
        if plans.is_empty() {
            return;
        }
        let mut learned = self.learned();
        let mut table = (**self.plans.load()).clone();
        for plan in plans.values() {
            learned.withdraw(port, plan, &mut table);
        }
        self.plans.store(Arc::new(table));
        drop(learned);
        // The others may agree now.
        self.replay_due.store(true, Ordering::Release);
    }

    /// Parks a set without a template, or gives the plan that came while nobody looked.
    pub(super) fn park(
        &self,
        id: u16,
        body: &[u8],
        envelope: &Envelope,
        outcome: &mut Outcome,
    ) -> Option<Arc<DecodePlan>> {
        let mut learned = self.learned();
        if let Some(plan) = self.plan(id) {
            return Some(plan);
        }
        learned.waits.note(id, envelope.receive_ns);
        if self.exporter.settings.park_age_ns == 0 {
            outcome.drop_set(SetDropKind::UnknownTemplate);
            return None;
        }
        let octets = body.len() as u64 + PARKED_OVERHEAD_OCTETS;
        if !self.reserve_parked(octets) {
            self.park_elsewhere(id, body, envelope, outcome);
            return None;
        }
        outcome.sets_parked += 1;
        outcome.octets_parked += octets;
        learned.parked_octets += octets;
        learned.parked.push_back(ParkedSet { id, body: body.into(), envelope: *envelope, waits: Waits::Own });
        self.note_waiting(&learned);
        None
    }

    fn reserve_parked(&self, octets: u64) -> bool {
        let (exporter, budget) = (&self.exporter, &self.exporter.budget);
        if !LearnedBudget::reserve(&exporter.parked_sets, 1, PARKED_SETS_PER_EXPORTER_MAX) {
            return false;
        }
        if LearnedBudget::reserve(&exporter.parked_octets, octets, PARKED_OCTETS_PER_EXPORTER_MAX) {
            if LearnedBudget::reserve(&budget.parked_octets, octets, budget.parked_octets_max) {
                return true;
            }
            exporter.parked_octets.fetch_sub(octets, Ordering::AcqRel);
        }
        exporter.parked_sets.fetch_sub(1, Ordering::AcqRel);
        false
    }

    /// Takes the oldest waiting set whose template is known now, if it is at most `rows` records.
    pub(super) fn unpark(&self, rows: usize, outcome: &mut Outcome) -> Unparked {
        let mut learned = self.learned();
        let found = learned.parked.iter().enumerate().find_map(|(index, set)| {
            if let Waits::Inner(inner) = set.waits {
                self.plan(inner)?;
            }
            Some((index, self.plan(set.id)?))
        });
        let Some((index, plan)) = found else { return Unparked::None };
        if learned.parked[index].body.len() / plan.record_octets_min > rows {
            return Unparked::TooMany;
        }
        let Some(set) = learned.parked.remove(index) else { return Unparked::None };
        learned.parked_octets -= set.octets();
        self.note_waiting(&learned);
        drop(learned);
        let mut counts = ParkedCounts::default();
        counts.note(&set);
        self.give_back_parked(counts);
        outcome.sets_unparked += counts.sets - counts.returned;
        outcome.sets_unparked_disk += counts.returned;
        outcome.octets_unparked += counts.octets;
        Unparked::Set(set, plan)
    }

    /// The decoder failed over the datagram of `envelope`, and nobody will count what it came to: what it
    /// parked leaves again, and what it took out of the room is kept for [`Domain::retire`] to count.
    pub(super) fn undo(&self, envelope: &Envelope, outcome: &Outcome) {
        let mut learned = self.learned();
        let mut back = ParkedCounts::default();
        while back.sets < outcome.sets_parked
            && let Some(at) = learned.parked.iter().rposition(|set| set.envelope == *envelope)
            && let Some(set) = learned.parked.remove(at)
        {
            back.note(&set);
        }
        learned.parked_octets -= back.octets;
        self.note_waiting(&learned);
        // What it parked and took out again was never counted as parked.
        let (sets, octets) = (outcome.sets_parked - back.sets, outcome.octets_parked - back.octets);
        let returned = outcome.sets_unparked_disk;
        learned.lost.sets += outcome.sets_unparked.saturating_sub(sets) + returned;
        learned.lost.returned += returned;
        learned.lost.octets += outcome.octets_unparked.saturating_sub(octets);
        drop(learned);
        self.overflow.uncounted.fetch_add(u64::from(outcome.sets_parked_disk), Ordering::AcqRel);
        self.give_back_parked(back);
    }

    /// True if sets wait here.
    pub(super) fn has_parked(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Called under the lock, after each change of the waiting room.
    pub(super) fn note_waiting(&self, learned: &Learned) {
        self.waiting.store(!learned.parked.is_empty(), Ordering::Release);
    }
}

/// Brings `table`'s entry in line with what the ports say of `id`.
fn settle(table: &mut PlanTable, id: u16, offers: &[(u16, Arc<DecodePlan>)]) {
    match offers {
        [(_, first), rest @ ..] if rest.iter().all(|(_, p)| p.same_layout(&first.template)) => {
            table.insert(id, Arc::clone(first));
        }
        _ => _ = table.remove(&id),
    }
}
