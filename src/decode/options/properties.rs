//! Common properties (RFC 5473): what an options record says once for all records that name it by commonPropertiesId 137.
//!
//! The record is read once, as the flow that it would be, when it comes: what it lends a data record later costs the
//! same whatever its template asks. Ids come and go with the flows that share them, so the oldest make room for new ones.

use std::collections::VecDeque;
use std::sync::PoisonError;

use rustc_hash::FxHashMap;

use super::fields::{Fields, NOTHING};
use super::table::Purse;
use crate::decode::domain::{Domain, Session};
use crate::decode::learn::Envelope;
use crate::decode::plan::{DataPlan, ListBudget, Place, RecordView, RowBudget, RunContext};
use crate::decode::selection::DecodeSettings;
use crate::decode::template::{FieldSpecifier, Template, TemplateKind};
use crate::decode::time::MessageClock;
use crate::decode::value::unsigned;
use crate::flow::{FieldValue, FlowBatch, FlowRecord, Presence, SamplingSource, TimeSource, Value, Version};
use crate::limits::{COMMON_PROPERTIES_OCTETS_MAX, OPTIONS_ENTRIES_PER_TABLE_MAX};

/// Id of properties: unique within an observation domain and transport session.
type Key = (u32, Session, u64);

/// What one record said, ready to be lent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::decode) struct Properties {
    /// What has a place in the record.
    pub record: FlowRecord,
    /// What has not, with its octets.
    fields: Box<[FieldValue]>,
    octets: Box<[u8]>,
}

impl Properties {
    /// Record `index` of `batch`, the last one, and its fields that begin at `first`.
    fn of(batch: &FlowBatch, index: usize, first: usize) -> Self {
        let (mut fields, mut octets) = (Vec::new(), Vec::new());
        for field in batch.fields[first..].iter().filter(|f| f.record as usize == index) {
            let value = match field.value {
                Value::Unsigned(number) => Value::Unsigned(number),
                Value::Octets { offset, length } => {
                    let value = &batch.octets[offset as usize..][..usize::from(length)];
                    if octets.len() + value.len() > COMMON_PROPERTIES_OCTETS_MAX {
                        continue;
                    }
                    let offset = u32::try_from(octets.len()).unwrap_or(u32::MAX);
                    octets.extend_from_slice(value);
                    Value::Octets { offset, length }
                }
            };
            fields.push(FieldValue { record: 0, value, ..*field });
        }
        Self { record: lent(&batch.records[index]), fields: fields.into(), octets: octets.into() }
    }

    /// What has no place in the record.
    pub fn fields(&self) -> impl Iterator<Item = (&FieldValue, &[u8])> {
        self.fields.iter().map(|field| match field.value {
            Value::Unsigned(_) => (field, &[][..]),
            Value::Octets { offset, length } => (field, &self.octets[offset as usize..][..usize::from(length)]),
        })
    }

    /// What it takes: in its map, half empty, and in the order of ids.
    fn taken(&self) -> u64 {
        let entry = 2 * size_of::<(Key, Self)>() + size_of::<Key>();
        (entry + size_of_val(&*self.fields) + self.octets.len()) as u64
    }
}

/// `record` without what depends on when it was read.
fn lent(record: &FlowRecord) -> FlowRecord {
    let mut lent = FlowRecord { exporter: 0, template_id: 0, ..*record };
    if !record.has(Presence::TIMES) {
        (lent.start_ms, lent.end_ms, lent.time_source) = (0, 0, TimeSource::Header);
    }
    if !record.has(Presence::SAMPLING_IN_RECORD) {
        (lent.sampling_rate, lent.sampling_source) = (1, SamplingSource::Unknown);
    }
    lent
}

/// Properties by id.
#[derive(Debug, Default)]
pub(in crate::decode) struct PropertiesTable {
    told: FxHashMap<Key, Properties>,
    /// Ids in the order in which they were told first.
    order: VecDeque<Key>,
}

/// Older properties that one record may push out for want of octets.
const PUSHED_OUT_MAX: usize = 4;

impl PropertiesTable {
    /// What `id` stands for in `domain`; domain 0 speaks for the exporter.
    pub fn find(&self, domain: u32, session: Session, id: u64) -> Option<&Properties> {
        if self.told.is_empty() {
            return None;
        }
        let of = |domain| self.told.get(&(domain, session, id)).or_else(|| self.told.get(&(domain, Session::Any, id)));
        of(domain).or_else(|| of(0))
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.told.len()
    }

    fn learn(&mut self, key: Key, properties: Properties, purse: Purse<'_>) {
        if let Some(known) = self.told.get_mut(&key) {
            let (before, now) = (known.taken(), properties.taken());
            if *known != properties && (now <= before || purse.take(now - before)) {
                purse.give(before.saturating_sub(now));
                *known = properties;
            }
            return;
        }
        if self.told.len() >= OPTIONS_ENTRIES_PER_TABLE_MAX {
            self.push_out(purse);
        }
        for _ in 0..PUSHED_OUT_MAX {
            if purse.take(properties.taken()) {
                self.told.insert(key, properties);
                self.order.push_back(key);
                return;
            }
            self.push_out(purse);
        }
    }

    fn push_out(&mut self, purse: Purse<'_>) {
        if let Some(gone) = self.order.pop_front().and_then(|oldest| self.told.remove(&oldest)) {
            purse.give(gone.taken());
        }
    }
}

/// How the records of an options template are read as properties.
#[derive(Debug)]
pub(super) struct PropertiesPlan {
    /// commonPropertiesId 137 of the scope.
    id: Place,
    plan: DataPlan,
}

impl PropertiesPlan {
    /// None if the template tells no common properties, or the rows are wanted as on the wire.
    pub fn compile(
        template: &Template,
        scopes: u16,
        fields: &Fields,
        version: Version,
        settings: &DecodeSettings,
    ) -> Option<Box<Self>> {
        let id = fields.scope(137).filter(|_| settings.selection.interpret)?;
        let scopes = usize::from(scopes);
        // The scope says what the rest is for; a field that stays names no other properties.
        let said = |(index, specifier): (usize, &FieldSpecifier)| {
            let is_lent = index >= scopes && specifier.element != id.element;
            FieldSpecifier { element: if is_lent { specifier.element } else { NOTHING }, ..*specifier }
        };
        let fields = template.fields.iter().enumerate().map(said).collect();
        let template = Template { id: template.id, kind: TemplateKind::Data, fields };
        Some(Box::new(Self { id, plan: DataPlan::of(&template, version, settings) }))
    }

    /// Learns what one record of `domain` says; `batch` lends its memory and is left as it was.
    pub fn learn(&self, view: &RecordView<'_>, of: u32, domain: &Domain, envelope: &Envelope, batch: &mut FlowBatch) {
        let Some(id) = view.field(&self.id).and_then(unsigned) else { return };
        let exporter = &domain.exporter;
        let (header, settings) = (&envelope.header, &exporter.settings);
        let uptime = (header.version == Version::V9).then_some(header.sys_uptime_ms);
        let mut clock = MessageClock::new(header.export_ms, uptime, envelope.receive_ns);
        if settings.selection.receive_window {
            clock = clock.held_against(envelope.receive_ns);
        }
        let context = RunContext {
            clock,
            version: header.version,
            observation_domain: header.observation_domain,
            exporter: 0,
            sampling_override: settings.sampling_override,
            sampling_domain: (1, SamplingSource::Unknown),
            domain: Some(domain),
            sampling_tables: None,
            options: None,
        };
        let (mark, index, first) = (batch.mark(), batch.records.len(), batch.fields.len());
        // One row, and a few values where lists hold the properties.
        let mut budget = RowBudget(1, ListBudget { read: LISTED_MAX, kept: 0, lent: LISTED_MAX });
        let ran = self.plan.run(view.octets, &context, &mut budget, batch);
        if ran.is_ok() && batch.records.len() > index {
            let properties = Properties::of(batch, index, first);
            let mut tables = exporter.options.write().unwrap_or_else(PoisonError::into_inner);
            tables.properties.learn((of, domain.key.session, id), properties, exporter.purse());
        }
        batch.truncate(mark);
    }
}

/// Values of lists that a record of properties is read for.
const LISTED_MAX: u32 = 64;
