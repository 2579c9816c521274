//! Templates that come: new, again, changed, too many; and offers between the ports of an address.
//!
//! All of it happens under the domain's mutex and is bounded: templates per domain, octets per exporter and process (the
//! least recently refreshed template of the same domain makes room, never another exporter's).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::domain::{Domain, PlanTable};
use super::life::{Change, Clash};
use super::restore::event_of;
use super::room::{Envelope, Learned};
use super::status::TemplateEventKind;
use crate::decode::key::Session;
use crate::decode::outcome::Outcome;
use crate::decode::plan::DecodePlan;
use crate::decode::told::LearnedBudget;
use crate::decode::wire::template::TemplateSet;
use crate::limits::{TEMPLATE_OCTETS_PER_EXPORTER_MAX, TEMPLATES_PER_DOMAIN_MAX};

/// Ports that may offer a template to their address's shared domain.
const OFFERS_PER_TEMPLATE_MAX: usize = 64;

impl Learned {
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
    pub(in crate::decode) fn learn_templates(&self, set: TemplateSet, from: &Envelope, outcome: &mut Outcome) -> bool {
        let (now_ns, port) = (from.receive_ns, from.port);
        outcome.templates_rejected += set.rejected;
        outcome.withdrawals_ignored += set.withdrawals;
        if !set.templates.is_empty() {
            self.heard_ns.store(now_ns, Ordering::Release);
        }
        let mut learned = self.learned();
        // Under the lock: plans of what was decided before are compiled again under it.
        let decided = self.exporter.decided();
        let settings = &decided.settings;
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
            if let Some(known) = table.get(&id) {
                let change = learned.storm.change(now_ns, table.len());
                if change == Change::FirstRefused {
                    self.note_event(id, TemplateEventKind::Frozen, now_ns);
                }
                if change != Change::Taken {
                    // Whoever sent it, data sets that follow may be of either layout: none is read by a guess.
                    known.freeze();
                    outcome.templates_rejected += 1;
                    continue;
                }
            }
            let mut plan = DecodePlan::compile(template, self.key.version, settings, now_ns);
            let table = changed.get_or_insert_with(|| (*current).clone());
            // The old layout is wrong from here on, also if there is no room for the new one (N9-12).
            let old = table.remove(&id);
            plan.note_author(port, old.as_deref());
            plan.note_restored(set.is_restored);
            let kind = event_of(old.as_deref(), set.is_restored);
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
    pub(in crate::decode) fn take_offers(&self, port: u16, fresh: &[Arc<DecodePlan>], gone: &[Arc<DecodePlan>]) {
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
    pub(in crate::decode) fn withdraw_offers(&self, port: u16, plans: &PlanTable) {
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
