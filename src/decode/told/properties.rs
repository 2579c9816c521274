//! Common properties (RFC 5473): what an options record says once for all records that name it by commonPropertiesId 137.
//!
//! The record is read once, as the flow that it would be, when it comes: what it lends a data record later costs the
//! same whatever its template asks. Ids come and go with the flows that share them, so the oldest make room for new ones.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::table::Purse;
use crate::decode::key::Session;
use crate::flow::{FieldValue, FlowBatch, FlowRecord, Presence, SamplingSource, TimeSource, Value};
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
    pub fn of(batch: &FlowBatch, index: usize, first: usize) -> Self {
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

    pub fn learn(&mut self, key: Key, properties: Properties, purse: Purse<'_>) {
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
