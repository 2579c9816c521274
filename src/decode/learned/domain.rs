//! What is learned per domain: plans, options tables, parked sets; limits and expiry.
//!
//! Data sets take no lock: a message loads the plan table once. Templates change it copy-on-write
//! under the domain's mutex; a miss looks again and parks under that same mutex, so that a set is
//! never parked behind the template it waits for.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;

use super::exporter::ExporterState;
use super::observed::Observed;
use super::room::{Learned, Overflow, ParkedCounts};
use super::status::{DomainStatus, SequenceUnit};
use crate::decode::key::{DomainKey, Session};
use crate::decode::plan::DecodePlan;
use crate::decode::selection::DecodeSettings;
use crate::decode::sequence::{SequenceDelta, SequenceNote, Sequences};
use crate::decode::wire::header::Header;
use crate::decode::wire::template::TemplateKind;
use crate::flow::{Exporter, SamplingSource, Version};

/// What a data set needs to know of options, made anew only when they change.
#[derive(Debug, Clone, Copy)]
pub(in crate::decode) struct OptionsView {
    generation: u32,
    /// Rate that holds for the domain, or the operator's default, or unknown.
    pub sampling: (u32, SamplingSource),
    /// Tables must be asked per record even without a sampler id in it.
    pub scoped: bool,
    /// Boot time of the exporter, Unix milliseconds.
    pub system_init_ms: Option<u64>,
}

pub(in crate::decode) type PlanTable = FxHashMap<u16, Arc<DecodePlan>>;

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
    pub(in crate::decode) plans: ArcSwap<PlanTable>,
    pub(in crate::decode) learned: Mutex<Learned>,
    /// Sets wait in `learned`: to be seen without its lock.
    pub(in crate::decode) waiting: AtomicBool,
    /// Sets that are kept elsewhere.
    pub(in crate::decode) overflow: Overflow,
    /// A replay of parked sets ended at its row budget and goes on with the next datagram.
    pub(in crate::decode) replay_due: AtomicBool,
    /// Ports have offered templates: the plans are theirs.
    pub(in crate::decode) is_shared: AtomicBool,
    /// A firewall event 5 (flow update) was seen: counters of deletes repeat what updates told (B-4).
    pub(in crate::decode) firewall_updates: AtomicBool,
    /// Unix nanoseconds of the last template set of this session; 0 before the first.
    pub(in crate::decode) heard_ns: AtomicU64,
    /// When the ages of templates are looked at next.
    pub(in crate::decode) next_look_ns: AtomicU64,
    /// Sets whose rest was no padding as it should be.
    pub(in crate::decode) odd_padding: AtomicU64,
    sequence: Mutex<Sequences>,
    observed: Mutex<Observed>,
    view: ArcSwap<OptionsView>,
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
            highest_sequence: sequence.highest(),
            messages: sequence.messages(),
            is_interleaved: sequence.is_interleaved(),
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

    pub(in crate::decode) fn learned(&self) -> MutexGuard<'_, Learned> {
        // A panic in the decoder retires the domain; until then its state is whole between calls.
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The plan for data sets with id `id`: this session's own, else the address's if all ports agree.
    pub(in crate::decode) fn plan(&self, id: u16) -> Option<Arc<DecodePlan>> {
        let own = self.plans.load().get(&id).cloned();
        own.or_else(|| self.fallback.as_ref().and_then(|f| f.plans.load().get(&id).cloned()))
    }

    /// What options say now; cheap while they do not change.
    pub(in crate::decode) fn options_view(&self) -> OptionsView {
        let generation = self.exporter.generation.load(Ordering::Acquire);
        let view = **self.view.load();
        if view.generation == generation {
            return view;
        }
        let decided = self.exporter.decided();
        let settings = &decided.settings;
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
    pub(in crate::decode) fn learn_flow_keys(&self, template: u16, keys: u64) {
        if let Some(plan) = self.plan(template) {
            plan.flow_keys.store(keys, Ordering::Relaxed);
        }
    }

    pub(in crate::decode) fn give_back_parked(&self, counts: ParkedCounts) {
        if counts.sets != 0 {
            self.exporter.parked_sets.fetch_sub(u64::from(counts.sets), Ordering::AcqRel);
            self.exporter.parked_octets.fetch_sub(counts.octets, Ordering::AcqRel);
            self.exporter.budget.parked_octets.fetch_sub(counts.octets, Ordering::AcqRel);
        }
    }

    pub(in crate::decode) fn give_back_templates(&self, octets: u64) {
        self.exporter.template_octets.fetch_sub(octets, Ordering::AcqRel);
        self.exporter.budget.learned_octets.fetch_sub(octets, Ordering::AcqRel);
    }

    /// Puts a plan for `id` in place over which the decoder panics.
    #[cfg(test)]
    pub(in crate::decode) fn break_plan_for_test(&self, id: u16, fields: &[u16]) {
        let fields = fields.chunks_exact(2).map(|f| crate::decode::wire::template::FieldSpecifier {
            element: crate::flow::ElementId { pen: 0, id: f[0] },
            length: f[1],
        });
        let template =
            crate::decode::wire::template::Template { id, kind: TemplateKind::Data, fields: fields.collect() };
        let mut plan = DecodePlan::compile(template, self.key.version, &DecodeSettings::default(), 0);
        if let crate::decode::plan::PlanKind::Data(data) = &mut plan.kind {
            data.record_octets = 0;
        }
        let mut table = (**self.plans.load()).clone();
        table.insert(id, Arc::new(plan));
        self.plans.store(Arc::new(table));
    }
}
