//! What all domains of one exporter share: settings, options tables, its part of the bounds, events of templates.
//!
//! Options records change the tables under their lock; whoever made a view of them sees by `generation` that it is stale.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::decided::DecidedNow;
use super::events::TemplateEvents;
use super::room::ParkOverflow;
use crate::decode::selection::DecodeSettings;
use crate::decode::told::{LearnedBudget, OptionsFact, OptionsTables, Originals, OriginalsTable};
use crate::flow::Exporter;
use crate::limits::OPTIONS_ENTRIES_PER_TABLE_MAX;

/// What all domains of one exporter share: options tables and its share of the waiting room.
#[derive(Debug)]
pub struct ExporterState {
    /// The operator's decisions: who it is, and how it is read.
    pub(super) decided: DecidedNow,
    /// Bounds of the process.
    pub budget: Arc<LearnedBudget>,
    /// Takes the sets for which memory has no room.
    pub(super) keeper: Option<Arc<dyn ParkOverflow>>,
    pub(in crate::decode) parked_sets: AtomicU64,
    pub(in crate::decode) parked_octets: AtomicU64,
    /// What its sets take elsewhere; the keeper counts.
    pub kept_octets: AtomicU64,
    pub(in crate::decode) template_octets: AtomicU64,
    pub(in crate::decode) template_events: TemplateEvents,
    pub(in crate::decode) options: RwLock<OptionsTables>,
    /// Exporters that it spoke for, if it is a mediator.
    pub(in crate::decode) originals: OriginalsTable,
    /// What `options` takes of the budget.
    pub(in crate::decode) options_octets: AtomicU64,
    /// Elements that its type records taught (IX-38).
    pub(in crate::decode) learned_elements: AtomicU64,
    /// Grows with each change of `options`: views made before are stale.
    pub(in crate::decode) generation: AtomicU32,
}

impl ExporterState {
    /// An exporter that has sent nothing yet.
    #[must_use]
    pub fn new(exporter: Arc<Exporter>, settings: DecodeSettings, budget: Arc<LearnedBudget>) -> Self {
        Self {
            decided: DecidedNow::new(exporter, settings),
            budget,
            keeper: None,
            parked_sets: AtomicU64::new(0),
            parked_octets: AtomicU64::new(0),
            kept_octets: AtomicU64::new(0),
            template_octets: AtomicU64::new(0),
            template_events: TemplateEvents::default(),
            options: RwLock::default(),
            originals: OriginalsTable::default(),
            options_octets: AtomicU64::new(0),
            learned_elements: AtomicU64::new(0),
            generation: AtomicU32::new(0),
        }
    }

    /// The same, of whose sets `keeper` takes those for which memory has no room.
    #[must_use]
    pub fn overflowing_to(self, keeper: Arc<dyn ParkOverflow>) -> Self {
        let mut state = self;
        state.keeper = Some(keeper);
        state
    }

    /// A mediator: `rules` know the exporters that it speaks for.
    #[must_use]
    pub fn with_originals(self, rules: Arc<dyn Originals>) -> Self {
        // Nothing moves out of what has a Drop; the table that goes is empty.
        let mut state = self;
        state.originals = OriginalsTable::asking(rules);
        state
    }

    /// Exporters that it spoke for so far: 0 unless it is a mediator.
    #[must_use]
    pub fn originals(&self) -> usize {
        self.originals.len()
    }

    /// Entries of the exporter's options tables.
    #[must_use]
    pub fn options_entries(&self) -> usize {
        let tables = self.options.read().unwrap_or_else(PoisonError::into_inner);
        tables.entries() + tables.names.len() + tables.properties.len()
    }

    /// Applies what an options record of `domain` said. An entry that the process has no octets left for
    /// is not learned; one that is known changes in place.
    pub(in crate::decode) fn learn(&self, domain: u32, fact: &OptionsFact) {
        if fact.rate.is_none() && fact.system_init_ms.is_none() {
            return;
        }
        let mut tables = self.options.write().unwrap_or_else(PoisonError::into_inner);
        let before = tables.entries();
        let may_grow = self.reserve_entries();
        let mut changed = false;
        if let Some(rate) = fact.rate
            && (may_grow || tables.sampling.knows(domain, fact.scope))
        {
            changed |= tables.sampling.learn(domain, fact.scope, rate);
        }
        if let Some(init) = fact.system_init_ms
            && (tables.system_init.contains_key(&domain)
                || may_grow && tables.system_init.len() < OPTIONS_ENTRIES_PER_TABLE_MAX)
        {
            changed |= tables.system_init.insert(domain, init) != Some(init);
        }
        let grown = (tables.entries() - before) as u64 * OPTIONS_ENTRY_OCTETS;
        drop(tables);
        if may_grow {
            self.budget.learned_octets.fetch_sub(ENTRIES_PER_RECORD_OCTETS - grown, Ordering::AcqRel);
        }
        self.options_octets.fetch_add(grown, Ordering::AcqRel);
        if changed {
            self.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// Reserves what one options record can add at most; the caller gives back what it did not use.
    fn reserve_entries(&self) -> bool {
        let budget = &self.budget;
        LearnedBudget::reserve(&budget.learned_octets, ENTRIES_PER_RECORD_OCTETS, budget.learned_octets_max)
    }
}

impl Drop for ExporterState {
    /// The exporter is forgotten: its options tables go, and whom it spoke for. Templates go with their domains.
    fn drop(&mut self) {
        let octets = *self.options_octets.get_mut() + self.originals.octets();
        self.budget.learned_octets.fetch_sub(octets, Ordering::AcqRel);
        if *self.learned_elements.get_mut() > 0 {
            let decided = self.decided();
            decided.settings.registry.forget(&decided.exporter);
        }
    }
}

/// An entry of an options table: key and value of at most 24 octets, in a map that is half empty.
const OPTIONS_ENTRY_OCTETS: u64 = 48;

/// A record adds at most a scoped entry, its sampler id or card's rate, the domain it stands in, and a boot time.
const ENTRIES_PER_RECORD_OCTETS: u64 = 4 * OPTIONS_ENTRY_OCTETS;
