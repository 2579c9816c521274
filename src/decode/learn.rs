//! Changing what a domain has learned: templates, offers between ports, and the waiting room.
//!
//! All of it happens under the domain's mutex and is bounded: templates per domain, octets per
//! exporter and process (the least recently refreshed template of the same domain makes room, never
//! another exporter's), parked sets by count, octets and age.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustc_hash::FxHashMap;

use super::domain::{Domain, LearnedBudget, ParkedCounts, PlanTable, Selection, Session};
use super::error::SetDropKind;
use super::plan::DecodePlan;
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

/// A data set that waits for its template, with the header and receive time it came with.
#[derive(Debug)]
pub(super) struct ParkedSet {
    pub id: u16,
    pub body: Box<[u8]>,
    pub header: Header,
    pub receive_ns: u64,
}

impl ParkedSet {
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
    /// In a shared domain: which ports define a template id, and how.
    offers: FxHashMap<u16, Vec<(u16, Arc<DecodePlan>)>>,
}

impl Learned {
    /// Sets and octets that wait.
    pub(super) fn parked(&self) -> ParkedCounts {
        ParkedCounts { sets: u32::try_from(self.parked.len()).unwrap_or(u32::MAX), octets: self.parked_octets }
    }

    /// Drops the sets received before `before_ns`.
    pub(super) fn expire(&mut self, before_ns: u64) -> ParkedCounts {
        let mut counts = ParkedCounts::default();
        self.parked.retain(|set| {
            let keep = set.receive_ns >= before_ns;
            if !keep {
                counts.sets += 1;
                counts.octets += set.octets();
            }
            keep
        });
        self.parked_octets -= counts.octets;
        counts
    }
}

impl Domain {
    /// Learns the templates of a set; true if any id is new or changed, so that sets may wait for it.
    pub(super) fn learn_templates(&self, set: TemplateSet, now_ns: u64, outcome: &mut Outcome) -> bool {
        outcome.templates_rejected += set.rejected;
        let all = self.exporter.settings.selection == Selection::All;
        let guard = self.learned();
        let current = self.plans.load_full();
        let mut changed: Option<PlanTable> = None;
        let mut fresh = Vec::new();
        for template in set.templates {
            let table = changed.as_ref().unwrap_or(&current);
            if let Some(plan) = table.get(&template.id)
                && plan.same_layout(&template)
            {
                plan.refreshed_ns.store(now_ns, Ordering::Relaxed);
                continue;
            }
            let plan = Arc::new(DecodePlan::compile(template, self.key.version, all, now_ns));
            let table = changed.get_or_insert_with(|| (*current).clone());
            if self.make_room(table, &plan) {
                outcome.templates_learned += 1;
                fresh.push(Arc::clone(&plan));
                if let Some(old) = table.insert(plan.template.id, plan) {
                    self.give_back_templates(old.octets);
                }
            } else {
                outcome.templates_rejected += 1;
            }
        }
        if let Some(table) = changed {
            self.plans.store(Arc::new(table));
        }
        drop(guard);
        if let (Some(fallback), Session::Port(port)) = (&self.fallback, self.key.session) {
            fallback.take_offers(port, &fresh);
        }
        !fresh.is_empty()
    }

    /// Reserves `plan`'s octets, forgetting the least recently refreshed templates of this domain
    /// while a bound of the domain or of its exporter is in the way.
    fn make_room(&self, table: &mut PlanTable, plan: &DecodePlan) -> bool {
        let replaces = table.contains_key(&plan.template.id);
        loop {
            let exporter_max = TEMPLATE_OCTETS_PER_EXPORTER_MAX as u64;
            let room = table.len() < TEMPLATES_PER_DOMAIN_MAX || replaces;
            if room && LearnedBudget::reserve(&self.exporter.template_octets, plan.octets, exporter_max) {
                let budget = &self.exporter.budget;
                if LearnedBudget::reserve(&budget.learned_octets, plan.octets, budget.learned_octets_max) {
                    return true;
                }
                self.exporter.template_octets.fetch_sub(plan.octets, Ordering::AcqRel);
            }
            let oldest = table
                .iter()
                .filter(|(id, _)| **id != plan.template.id)
                .min_by_key(|(_, p)| p.refreshed_ns.load(Ordering::Relaxed))
                .map(|(id, _)| *id);
            match oldest.and_then(|id| table.remove(&id)) {
                Some(evicted) => self.give_back_templates(evicted.octets),
                None => return false,
            }
        }
    }

    /// In the shared domain of an address: `port` defines these templates. An id can be used by other
    /// ports only while all that define it agree on the layout (DEC-3).
    fn take_offers(&self, port: u16, plans: &[Arc<DecodePlan>]) {
        if plans.is_empty() {
            return;
        }
        self.is_shared.store(true, Ordering::Release);
        let mut learned = self.learned();
        let mut table = (**self.plans.load()).clone();
        for plan in plans {
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

    /// `port` is gone: what it defined no longer counts.
    pub(super) fn withdraw_offers(&self, port: u16) {
        let mut learned = self.learned();
        let mut table = (**self.plans.load()).clone();
        learned.offers.retain(|id, offers| {
            offers.retain(|(p, _)| *p != port);
            settle(&mut table, *id, offers);
            !offers.is_empty()
        });
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
        header: &Header,
        receive_ns: u64,
        outcome: &mut Outcome,
    ) -> Option<Arc<DecodePlan>> {
        let mut learned = self.learned();
        if let Some(plan) = self.plan(id) {
            return Some(plan);
        }
        if self.exporter.settings.park_age_ns == 0 {
            outcome.drop_set(SetDropKind::UnknownTemplate);
            return None;
        }
        let set = ParkedSet { id, body: body.into(), header: *header, receive_ns };
        if !self.reserve_parked(set.octets()) {
            outcome.drop_set(SetDropKind::ParkFull);
            return None;
        }
        outcome.sets_parked += 1;
        outcome.octets_parked += set.octets();
        learned.parked_octets += set.octets();
        learned.parked.push_back(set);
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
        let found = learned.parked.iter().enumerate().find_map(|(index, set)| Some((index, self.plan(set.id)?)));
        let Some((index, plan)) = found else { return Unparked::None };
        if learned.parked[index].body.len() / plan.record_octets_min > rows {
            return Unparked::TooMany;
        }
        let Some(set) = learned.parked.remove(index) else { return Unparked::None };
        learned.parked_octets -= set.octets();
        drop(learned);
        let counts = ParkedCounts { sets: 1, octets: set.octets() };
        self.give_back_parked(counts);
        outcome.sets_unparked += counts.sets;
        outcome.octets_unparked += counts.octets;
        Unparked::Set(set, plan)
    }

    /// True if sets wait here.
    pub(super) fn has_parked(&self) -> bool {
        !self.learned().parked.is_empty()
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
