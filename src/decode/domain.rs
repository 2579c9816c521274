//! What is learned per domain: plans, options tables, parked sets; limits and expiry.
//!
//! Data sets take no lock: a message loads the plan table once. Templates change it copy-on-write
//! under the domain's mutex; a miss looks again and parks under that same mutex, so that a set is
//! never parked behind the template it waits for.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;

use super::Header;
use super::budget::LearnedBudget;
use super::events::TemplateEvents;
use super::learn::{Learned, Overflow};
use super::mediator::{Originals, OriginalsTable};
use super::observed::Observed;
use super::options::{NameTables, OptionsFact, PropertiesTable};
use super::plan::DecodePlan;
use super::sampling::SamplingTables;
use super::selection::DecodeSettings;
use super::sequence::{SequenceDelta, SequenceNote, Sequences};
use super::status::{DomainStatus, SequenceUnit};
use super::template::TemplateKind;
use crate::flow::{Exporter, SamplingSource, Version};
use crate::limits::OPTIONS_ENTRIES_PER_TABLE_MAX;

/// Which datagrams share templates (protocol.md DEC-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionPolicy {
    /// All UDP source ports of the address.
    Any,
    /// Each UDP source port by itself, with the address's unambiguous templates as a fallback.
    Port,
}

/// Transport session of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Session {
    /// Any port of the address.
    Any,
    /// This UDP source port.
    Port(u16),
    /// This TCP connection (later).
    Connection(u64),
}

impl Session {
    /// Its place among the sessions of an observation domain in lists.
    #[must_use]
    pub const fn rank(self) -> u64 {
        match self {
            Self::Any => 0,
            Self::Port(port) => 1 + port as u64,
            Self::Connection(id) => id.saturating_add(65_537),
        }
    }
}

/// What all domains of one exporter share: options tables and its share of the waiting room.
#[derive(Debug)]
pub struct ExporterState {
    /// Who it is.
    pub exporter: Arc<Exporter>,
    /// The operator's decisions.
    pub settings: DecodeSettings,
    /// Bounds of the process.
    pub budget: Arc<LearnedBudget>,
    pub(super) parked_sets: AtomicU64,
    pub(super) parked_octets: AtomicU64,
    /// What its sets take elsewhere; the keeper counts.
    pub kept_octets: AtomicU64,
    pub(super) template_octets: AtomicU64,
    pub(super) template_events: TemplateEvents,
    pub(super) options: RwLock<OptionsTables>,
    /// Exporters that it spoke for, if it is a mediator.
    pub(super) originals: OriginalsTable,
    /// What `options` takes of the budget.
    pub(super) options_octets: AtomicU64,
    /// Elements that its type records taught (IX-38).
    pub(super) learned_elements: AtomicU64,
    /// Grows with each change of `options`: views made before are stale.
    pub(super) generation: AtomicU32,
}

/// What options records told of an exporter.
#[derive(Debug, Default)]
pub(super) struct OptionsTables {
    pub sampling: SamplingTables,
    /// systemInitTimeMilliseconds 160 by observation domain.
    pub system_init: FxHashMap<u32, u64>,
    /// What things are called; the octets are accounted where they are learned, as those of `properties`.
    pub names: NameTables,
    /// Common properties (RFC 5473).
    pub properties: PropertiesTable,
}

impl ExporterState {
    /// An exporter that has sent nothing yet.
    #[must_use]
    pub fn new(exporter: Arc<Exporter>, settings: DecodeSettings, budget: Arc<LearnedBudget>) -> Self {
        Self {
            exporter,
            settings,
            budget,
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
    pub(super) fn learn(&self, domain: u32, fact: &OptionsFact) {
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
            self.settings.registry.forget(&self.exporter);
        }
    }
}

impl OptionsTables {
    fn entries(&self) -> usize {
        self.sampling.len() + self.system_init.len()
    }
}

/// An entry of an options table: key and value of at most 24 octets, in a map that is half empty.
const OPTIONS_ENTRY_OCTETS: u64 = 48;

/// A record adds at most a scoped entry, its sampler id or card's rate, the domain it stands in, and a boot time.
const ENTRIES_PER_RECORD_OCTETS: u64 = 4 * OPTIONS_ENTRY_OCTETS;

/// Names a domain inside its exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DomainKey {
    /// Transport session.
    pub session: Session,
    /// Version of its messages.
    pub version: Version,
    /// Observation domain.
    pub observation_domain: u32,
}

/// What a data set needs to know of options, made anew only when they change.
#[derive(Debug, Clone, Copy)]
pub(super) struct OptionsView {
    generation: u32,
    /// Rate that holds for the domain, or the operator's default, or unknown.
    pub sampling: (u32, SamplingSource),
    /// Tables must be asked per record even without a sampler id in it.
    pub scoped: bool,
    /// Boot time of the exporter, Unix milliseconds.
    pub system_init_ms: Option<u64>,
}

pub(super) type PlanTable = FxHashMap<u16, Arc<DecodePlan>>;

/// What was learned for one (exporter, session, version, observation domain).
#[derive(Debug)]
pub struct Domain {
    /// Its name.
    pub key: DomainKey,
    /// What it shares with the exporter's other domains.
    pub exporter: Arc<ExporterState>,
    /// Number of the listener that it is heard at: the local end of its sessions (N9-14).
    pub listener: u16,
    /// Under `SessionPolicy::Port`: the address's own domain, where ports without templates look.
    pub fallback: Option<Arc<Domain>>,
    /// Set when the table forgot this domain: caches drop it.
    pub retired: AtomicBool,
    /// Unix nanoseconds of the last datagram, written by workers once per receive batch.
    pub last_seen_ns: AtomicU64,
    pub(super) plans: ArcSwap<PlanTable>,
    pub(super) learned: Mutex<Learned>,
    /// Sets wait in `learned`: to be seen without its lock.
    pub(super) waiting: AtomicBool,
    /// Sets that are kept elsewhere.
    pub(super) overflow: Overflow,
    /// A replay of parked sets ended at its row budget and goes on with the next datagram.
    pub(super) replay_due: AtomicBool,
    /// Ports have offered templates: the plans are theirs.
    pub(super) is_shared: AtomicBool,
    /// A firewall event 5 (flow update) was seen: counters of deletes repeat what updates told (B-4).
    pub(super) firewall_updates: AtomicBool,
    /// Unix nanoseconds of the last template set of this session; 0 before the first.
    pub(super) heard_ns: AtomicU64,
    /// When the ages of templates are looked at next.
    pub(super) next_look_ns: AtomicU64,
    /// Sets whose rest was no padding as it should be.
    pub(super) odd_padding: AtomicU64,
    sequence: Mutex<Sequences>,
    observed: Mutex<Observed>,
    view: ArcSwap<OptionsView>,
}

/// Sets and octets that left the waiting room without being decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ParkedCounts {
    /// Sets.
    pub sets: u32,
    /// Octets.
    pub octets: u64,
    /// Of the sets, those that were back from the disk: the books have them there.
    pub returned: u32,
}

impl Domain {
    /// A domain that has learned nothing yet.
    #[must_use]
    pub fn new(key: DomainKey, exporter: Arc<ExporterState>, fallback: Option<Arc<Self>>) -> Self {
        // A generation that no state has: the first data set makes the view.
        let stale = exporter.generation.load(Ordering::Acquire).wrapping_sub(1);
        let view = OptionsView {
            generation: stale,
            sampling: (1, SamplingSource::Unknown),
            scoped: false,
            system_init_ms: None,
        };
        Self {
            key,
            exporter,
            listener: 0,
            fallback,
            retired: AtomicBool::new(false),
            last_seen_ns: AtomicU64::new(0),
            plans: ArcSwap::default(),
            learned: Mutex::default(),
            waiting: AtomicBool::new(false),
            overflow: Overflow::default(),
            replay_due: AtomicBool::new(false),
            is_shared: AtomicBool::new(false),
            firewall_updates: AtomicBool::new(false),
            heard_ns: AtomicU64::new(0),
            next_look_ns: AtomicU64::new(0),
            odd_padding: AtomicU64::new(0),
            sequence: Mutex::default(),
            observed: Mutex::default(),
            view: ArcSwap::from_pointee(view),
        }
    }

    /// The same, heard at listener number `listener`.
    #[must_use]
    pub fn heard_at(self, listener: u16) -> Self {
        Self { listener, ..self }
    }

    /// A domain of an exporter and bounds of its own, as tests, benches and fuzzing want it.
    #[must_use]
    pub fn alone(version: Version, observation_domain: u32, settings: DecodeSettings) -> Self {
        let exporter = Arc::new(Exporter::of_address([192, 0, 2, 1].into()));
        let state = ExporterState::new(exporter, settings, Arc::default());
        Self::new(DomainKey { session: Session::Any, version, observation_domain }, Arc::new(state), None)
    }

    /// Applies the messages of one receive batch, sorted here by sequence number; `window` is how
    /// many messages a late one may be behind (plan section 4). One lock a call.
    pub fn apply_sequence(&self, notes: &mut [SequenceNote], window: usize) -> SequenceDelta {
        self.sequence.lock().unwrap_or_else(PoisonError::into_inner).apply(notes, window)
    }

    /// Holds a header against its receive time; called with the last one of a receive batch.
    pub fn observe(&self, header: &Header, receive_ns: u64, port: u16) {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner).note(header, receive_ns, port);
    }

    /// A picture of the domain.
    #[must_use]
    pub fn status(&self) -> DomainStatus {
        let plans = self.plans.load();
        let options_templates =
            plans.values().filter(|p| matches!(p.template.kind, TemplateKind::Options { .. })).count();
        let mut learned = self.learned();
        learned.waits.retain(|id| self.plan(id).is_none());
        let (parked, storm_since_ns) = (learned.parked(), learned.storm.since_ns());
        let waiting = learned.waits.list();
        let clash_ports = learned.clash.map(|clash| clash.ports);
        drop(learned);
        let sequence = self.sequence.lock().unwrap_or_else(PoisonError::into_inner);
        DomainStatus {
            key: self.key,
            listener: self.listener,
            templates: plans.len() - options_templates,
            options_templates,
            parked_sets: parked.sets as usize,
            parked_octets: parked.octets,
            assumed_maker: plans.values().any(|plan| plan.assumed_maker),
            received_units: sequence.received(),
            missing_units: sequence.missing(),
            gap_units: sequence.open_units(),
            next_sequence: sequence.expected(),
            last_seen_ns: self.last_seen_ns.load(Ordering::Acquire),
            storm_since_ns,
            clash_ports,
            odd_padding_sets: self.odd_padding.load(Ordering::Relaxed),
            duplicates: sequence.duplicates(),
            sequence_unit: match self.key.version {
                Version::V1 => SequenceUnit::None,
                Version::V9 if !sequence.counts_flows() => SequenceUnit::Datagrams,
                Version::Ipfix => SequenceUnit::DataRecords,
                _ => SequenceUnit::Flows,
            },
            waiting,
            observed: self.observed.lock().unwrap_or_else(PoisonError::into_inner).picture(),
        }
    }

    pub(super) fn learned(&self) -> MutexGuard<'_, Learned> {
        // A panic in the decoder retires the domain; until then its state is whole between calls.
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The plan for data sets with id `id`: this session's own, else the address's if all ports agree.
    pub(super) fn plan(&self, id: u16) -> Option<Arc<DecodePlan>> {
        let own = self.plans.load().get(&id).cloned();
        own.or_else(|| self.fallback.as_ref().and_then(|f| f.plans.load().get(&id).cloned()))
    }

    /// What options say now; cheap while they do not change.
    pub(super) fn options_view(&self) -> OptionsView {
        let generation = self.exporter.generation.load(Ordering::Acquire);
        let view = **self.view.load();
        if view.generation == generation {
            return view;
        }
        let settings = &self.exporter.settings;
        let tables = self.exporter.options.read().unwrap_or_else(PoisonError::into_inner);
        let said = tables.sampling.of_domain(self.key.observation_domain);
        let fresh = OptionsView {
            generation,
            sampling: said
                .or_else(|| settings.sampling_default.map(|rate| (rate, SamplingSource::Default)))
                .unwrap_or((1, SamplingSource::Unknown)),
            scoped: tables.sampling.is_scoped(),
            system_init_ms: tables
                .system_init
                .get(&self.key.observation_domain)
                .or_else(|| tables.system_init.get(&0))
                // The exporter booted as a whole, whichever domain says so.
                .or_else(|| tables.system_init.values().next().filter(|_| tables.system_init.len() == 1))
                .copied(),
        };
        drop(tables);
        self.view.store(Arc::new(fresh));
        fresh
    }

    /// Learns which fields of a template make up the flow key (IX-39); of one that is not known there is nothing to learn.
    pub(super) fn learn_flow_keys(&self, template: u16, keys: u64) {
        if let Some(plan) = self.plan(template) {
            plan.flow_keys.store(keys, Ordering::Relaxed);
        }
    }

    pub(super) fn give_back_parked(&self, counts: ParkedCounts) {
        if counts.sets != 0 {
            self.exporter.parked_sets.fetch_sub(u64::from(counts.sets), Ordering::AcqRel);
            self.exporter.parked_octets.fetch_sub(counts.octets, Ordering::AcqRel);
            self.exporter.budget.parked_octets.fetch_sub(counts.octets, Ordering::AcqRel);
        }
    }

    pub(super) fn give_back_templates(&self, octets: u64) {
        self.exporter.template_octets.fetch_sub(octets, Ordering::AcqRel);
        self.exporter.budget.learned_octets.fetch_sub(octets, Ordering::AcqRel);
    }

    /// Puts a plan for `id` in place over which the decoder panics.
    #[cfg(test)]
    pub(super) fn break_plan_for_test(&self, id: u16, fields: &[u16]) {
        let fields = fields.chunks_exact(2).map(|f| super::template::FieldSpecifier {
            element: crate::flow::ElementId { pen: 0, id: f[0] },
            length: f[1],
        });
        let template = super::template::Template { id, kind: TemplateKind::Data, fields: fields.collect() };
        let mut plan = DecodePlan::compile(template, self.key.version, &DecodeSettings::default(), 0);
        if let crate::decode::plan::PlanKind::Data(data) = &mut plan.kind {
            data.record_octets = 0;
        }
        let mut table = (**self.plans.load()).clone();
        table.insert(id, Arc::new(plan));
        self.plans.store(Arc::new(table));
    }
}
