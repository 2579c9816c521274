//! DecodePlan: a template, and what the output wants of it, compiled once to steps.
//!
//! `compile` decides everything that the template decides: which element feeds which field of
//! `FlowRecord` (precedence of protocol.md section 5), whether its length can hold the type
//! (a wrong one loses the field, never the record: DEC-4), which clock the times use. `run` then only
//! moves octets. A field that nobody wants has no step and costs nothing.

mod by_options;
mod canon;
mod card;
mod cert;
mod clock;
mod column;
mod common;
mod compile;
mod context;
mod event;
mod extra;
mod extra_class;
mod extra_read;
mod extra_sources;
#[cfg(test)]
mod extra_tests;
mod fill;
mod judge;
mod life;
mod list;
mod named;
mod options;
mod original;
mod plain;
mod record;
mod reverse;
mod rich;
mod run;
mod section;
mod settle;
mod step;

pub(super) use context::{Around, ListBudget, RowBudget, RunContext, Templates};
pub(super) use extra::{Given, derive};
pub(super) use judge::{OCTETS_PER_IP_PACKET, implausible};
pub(super) use options::{NamesPlan, OptionsPlan, PropertiesPlan, TypePlan, is_clean};
pub(super) use record::{Place, RecordView, places};
pub(super) use settle::icmp_from_ports;

use std::sync::atomic::{AtomicU64, Ordering};

use self::canon::Canonical;
use self::clock::Clock;
use self::life::Life;
use self::plain::Plain;
use self::rich::Rich;
use self::step::{Keep, Step, TimeKind};
use super::selection::DecodeSettings;
use super::wire::template::{Template, TemplateKind};
use crate::flow::{FlowRecord, TimeSource, Version};

/// What the data sets of a template become.
#[derive(Debug)]
pub(super) enum PlanKind {
    /// Flow records.
    Data(DataPlan),
    /// Learned state.
    Options(OptionsPlan),
}

/// A compiled template.
#[derive(Debug)]
pub(super) struct DecodePlan {
    /// The template it was made of: an identical one only refreshes it (N9-12).
    pub template: Template,
    /// What its data sets become.
    pub kind: PlanKind,
    /// All its records are of one length.
    pub is_fixed: bool,
    /// Its exporter's maker was assumed from its field types (N9-27).
    pub assumed_maker: bool,
    /// Octets of the smallest record.
    pub record_octets_min: usize,
    /// Unix nanoseconds of the first definition.
    pub learned_ns: u64,
    /// Unix nanoseconds of the last definition.
    pub refreshed_ns: AtomicU64,
    /// Longest time between two definitions, nanoseconds; 0 before the second.
    pub interval_ns: AtomicU64,
    /// What its age is judged by beside that.
    pub life: Life,
    /// What it takes, as the learned-state budget counts it.
    pub octets: u64,
    /// flowKeyIndicator 173: bit 0 is the first field (IX-39); 0 as long as nobody told.
    pub flow_keys: AtomicU64,
}

/// How to read flow records.
#[derive(Debug)]
pub(super) struct DataPlan {
    /// Octets of a record; the smallest where `variable`.
    pub record_octets: usize,
    /// At least one field is of variable length: `fields` say where each begins.
    pub variable: bool,
    /// Lengths of all fields in wire order, where `variable`.
    pub lengths: Box<[u16]>,
    /// What to do, in the order in which it must be done.
    pub steps: Box<[Step]>,
    /// What is left beside the steps, where that is no more than stamps and a sampler.
    pub plain: Option<Plain>,
    /// Elements to keep as they are.
    pub keep: Box<[Keep]>,
    /// Start and end clocks.
    pub start: TimeKind,
    /// Source to report for the times.
    pub time_source: TimeSource,
    /// End clock.
    pub end: TimeKind,
    /// Every clock of the template, best first: asked where the best one's stamp cannot be (T-1).
    pub clocks: Box<[Clock]>,
    /// The template is about the exporter itself: its records are no flows (D-1).
    pub is_statistics: bool,
    /// Fewest and most octets of a packet, where the counters can be held against each other (B-5).
    pub octets_per_packet: Option<(u64, u64)>,
    /// Fields that every record has.
    pub prototype: FlowRecord,
    /// The record itself says something of its sampling.
    pub sampling_in_record: bool,
    /// The record names a sampler (302, 48).
    pub names_sampler: bool,
    /// The record has ICMP elements of its own.
    pub has_icmp: bool,
    /// What takes more than moving octets to a field: done record by record.
    pub rich: Option<Box<Rich>>,
}

impl DecodePlan {
    /// Compiles `template` for what the output wants of it, as its exporter's profile says it is meant.
    pub(super) fn compile(template: Template, version: Version, settings: &DecodeSettings, now_ns: u64) -> Self {
        let meant = Canonical::of(&template, version, settings);
        let kind = match template.kind {
            TemplateKind::Data => PlanKind::Data(compile::data(&meant.template, &template, version, settings)),
            TemplateKind::Options { scopes } => {
                PlanKind::Options(OptionsPlan::compile(&meant.template, scopes, version, settings))
            }
        };
        let assumed_maker = meant.assumed_maker;
        // Specifiers 12 octets, steps up to 16 a field, keeps 20, map entry and box headers 256.
        let further = match &kind {
            PlanKind::Data(data) => size_of_val::<[Clock]>(&data.clocks) as u64,
            PlanKind::Options(options) => options.octets(),
        };
        let fields = match &kind {
            PlanKind::Data(data) => data.rich.as_ref().map_or(0, |rich| rich.field_octets() as u64),
            PlanKind::Options(_) => 0,
        };
        let octets = 256 + template.fields.len() as u64 * 48 + further + fields;
        let is_fixed = !template.is_variable();
        let record_octets_min = template.record_octets_min().max(1);
        Self {
            template,
            kind,
            is_fixed,
            assumed_maker,
            record_octets_min,
            learned_ns: now_ns,
            refreshed_ns: AtomicU64::new(now_ns),
            interval_ns: AtomicU64::new(0),
            life: Life::default(),
            octets,
            flow_keys: AtomicU64::new(0),
        }
    }

    /// Which fields make up the flow key, if the exporter said it.
    pub(super) fn flow_keys(&self) -> Option<u64> {
        Some(self.flow_keys.load(Ordering::Relaxed)).filter(|keys| *keys != 0)
    }

    /// True if data sets of either template read the same.
    pub(super) fn same_layout(&self, template: &Template) -> bool {
        self.template.kind == template.kind && self.template.fields == template.fields
    }
}

impl DataPlan {
    /// How the records of `template` are read as flows.
    pub(super) fn of(template: &Template, version: Version, settings: &DecodeSettings) -> Self {
        compile::data(template, template, version, settings)
    }

    /// True if it asks the exporter's options tables for more than sampling.
    pub(super) fn asks_options(&self) -> bool {
        self.rich.as_ref().is_some_and(|rich| rich.by_options.is_some())
    }
}
