//! What the operator decided for an exporter, and what follows where that changes while its messages come.
//!
//! Enters: another [`Decided`] for an exporter that is known. Leaves: the same domains with the same templates, compiled
//! for it. Promised: nothing that was learned is lost, but a template whose plan has become larger than the room for it;
//! sequence, options and sets that wait stay as they are; a set that is read meanwhile is read in one way or the other.
//! Who the exporter is (tenant and address), what its elements are called and how sets wait never change here.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::{ArcSwap, Guard};

use super::domain::Domain;
use super::exporter::ExporterState;
use super::status::TemplateEventKind;
use crate::decode::key::Session;
use crate::decode::selection::DecodeSettings;
use crate::decode::told::{LearnedBudget, Originals};
use crate::flow::Exporter;
use crate::limits::TEMPLATE_OCTETS_PER_EXPORTER_MAX;

/// The operator's decisions for an exporter.
#[derive(Debug, Clone)]
pub struct Decided {
    /// Who it is.
    pub exporter: Arc<Exporter>,
    /// How its messages are read.
    pub settings: DecodeSettings,
}

impl Decided {
    /// True if plans that were compiled for `self` read as those for `other` do.
    fn compiles_as(&self, other: &Self) -> bool {
        self.settings.selection == other.settings.selection && self.settings.profile == other.settings.profile
    }
}

/// A place for decisions that may be taken anew at any time.
pub(super) struct DecidedNow(ArcSwap<Decided>);

impl fmt::Debug for DecidedNow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.load().fmt(f)
    }
}

impl DecidedNow {
    pub fn new(exporter: Arc<Exporter>, settings: DecodeSettings) -> Self {
        Self(ArcSwap::from_pointee(Decided { exporter, settings }))
    }
}

impl ExporterState {
    /// What is decided now; costs no lock. One look holds for as long as the guard does.
    #[inline]
    pub fn decided(&self) -> Guard<Arc<Decided>> {
        self.decided.0.load()
    }

    /// Takes other decisions for the same exporter; `rules` know whom it speaks for, if it is a mediator. True if the plans
    /// of its domains were compiled for something else: [`Domain::recompile`].
    pub fn decide(&self, decided: Decided, rules: Option<Arc<dyn Originals>>) -> bool {
        let before = self.decided.0.swap(Arc::new(decided));
        let stale = !before.compiles_as(&self.decided());
        self.originals.follow(rules, &self.budget);
        // Views of the options hold the operator's default rate.
        self.generation.fetch_add(1, Ordering::Release);
        stale
    }
}

impl Domain {
    /// Compiles all templates anew for what is decided now.
    pub fn recompile(&self) {
        // Held throughout: a template that comes meanwhile waits, and is compiled for the same.
        let learned = self.learned();
        // The plans of a shared domain are those of the ports, which offer them again.
        if self.is_shared.load(Ordering::Acquire) {
            return;
        }
        let decided = self.exporter.decided();
        let (mut table, mut fresh, mut gone) = ((**self.plans.load()).clone(), Vec::new(), Vec::new());
        table.retain(|id, plan| {
            let again = plan.compiled_again(self.key.version, &decided.settings);
            gone.push(Arc::clone(plan));
            let fits = self.exchange(plan.octets, again.octets);
            if fits {
                *plan = Arc::new(again);
                fresh.push(Arc::clone(plan));
            } else {
                let now_ns = self.last_seen_ns.load(Ordering::Acquire);
                self.note_event(*id, TemplateEventKind::Evicted, now_ns);
            }
            fits
        });
        self.plans.store(Arc::new(table));
        if let (Some(fallback), Session::Port(port)) = (&self.fallback, self.key.session) {
            fallback.take_offers(port, &fresh, &gone);
        }
        drop(learned);
    }

    /// Gives `before` octets of a plan back and takes `after`; false, with nothing taken, if there is no room for more.
    fn exchange(&self, before: u64, after: u64) -> bool {
        let (exporter, budget) = (&self.exporter, &self.exporter.budget);
        let Some(more) = after.checked_sub(before) else {
            self.give_back_templates(before - after);
            return true;
        };
        if !LearnedBudget::reserve(&exporter.template_octets, more, TEMPLATE_OCTETS_PER_EXPORTER_MAX as u64) {
            self.give_back_templates(before);
            return false;
        }
        if !LearnedBudget::reserve(&budget.learned_octets, more, budget.learned_octets_max) {
            exporter.template_octets.fetch_sub(more, Ordering::AcqRel);
            self.give_back_templates(before);
            return false;
        }
        true
    }
}
