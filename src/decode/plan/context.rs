//! What holds for all records of a set while its plan runs: whose they are, what may be asked, how much is left.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::DecodePlan;
use crate::decode::key::Session;
use crate::decode::selection::DecodeSettings;
use crate::decode::told::{LearnedBudget, OptionsTables, OriginalsTable, SamplingTables};
use crate::decode::wire::time::MessageClock;
use crate::flow::{Exporter, FlowRecord, SamplingSource, Version};
use crate::limits::{FIELDS_LENT_PER_MESSAGE_MAX, LIST_ELEMENTS_PER_MESSAGE_MAX};

/// What holds for all records of a set.
#[derive(Debug)]
pub(crate) struct RunContext<'a> {
    /// Clock of the message.
    pub clock: MessageClock,
    /// Version of the message.
    pub version: Version,
    /// Observation domain of the message.
    pub observation_domain: u32,
    /// Index of the exporter in the batch.
    pub exporter: u16,
    /// The operator's word, which beats everything.
    pub sampling_override: Option<u32>,
    /// Rate of the domain as a whole, or the operator's default.
    pub sampling_domain: (u32, SamplingSource),
    /// Whom the records are of; None where nobody is known.
    pub around: Option<Around<'a>>,
    /// Tables to ask per record: only if the plan names samplers or the tables are scoped.
    pub sampling_tables: Option<&'a SamplingTables>,
    /// All of the exporter's options tables: only if the plan wants names or common properties.
    pub options: Option<&'a OptionsTables>,
}

impl RunContext<'_> {
    /// Rate and source where the record does not speak of sampling itself; None if it takes a look at the tables.
    pub(super) fn sampling(&self) -> Option<(u32, SamplingSource)> {
        let by_operator = self.sampling_override.map(|rate| (rate, SamplingSource::Override));
        by_operator.or_else(|| self.sampling_tables.is_none().then_some(self.sampling_domain))
    }
}

/// What a plan may ask of whom its records are of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Around<'a> {
    /// Transport session of the message.
    pub session: Session,
    /// The operator's decisions.
    pub settings: &'a DecodeSettings,
    /// Who sent it.
    pub exporter: &'a Arc<Exporter>,
    /// Bounds of what is learned.
    pub budget: &'a LearnedBudget,
    /// Exporters that it speaks for.
    pub originals: &'a OriginalsTable,
    /// A firewall event 5 (flow update) was seen: counters of deletes repeat what updates told (B-4).
    pub firewall_updates: &'a AtomicBool,
    /// Templates that lists refer to.
    pub templates: &'a dyn Templates,
}

/// Templates that are known.
pub(crate) trait Templates: fmt::Debug {
    /// The plan for data sets with id `id`.
    fn plan(&self, id: u16) -> Option<Arc<DecodePlan>>;
}

/// Rows that a message may still become, and what may still be read inside its lists.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowBudget(pub u32, pub ListBudget);

/// Values and records of lists that may still be read. What is only kept as an element has a share of its own: what an
/// output wants must not change the rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListBudget {
    pub read: u32,
    pub kept: u32,
    /// Fields that flows of lists may still inherit.
    pub lent: u32,
}

impl RowBudget {
    /// So many rows, and a message's share of lists.
    pub(crate) const fn of_rows(rows: u32) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "asserted below")]
        const SHARE: u32 = LIST_ELEMENTS_PER_MESSAGE_MAX as u32;
        #[expect(clippy::cast_possible_truncation, reason = "asserted below")]
        const LENT: u32 = FIELDS_LENT_PER_MESSAGE_MAX as u32;
        Self(rows, ListBudget { read: SHARE, kept: SHARE, lent: LENT })
    }
}

const _: () = assert!(LIST_ELEMENTS_PER_MESSAGE_MAX <= u32::MAX as usize);
const _: () = assert!(FIELDS_LENT_PER_MESSAGE_MAX <= u32::MAX as usize);

/// What a set became.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ran {
    /// Data records in the set, as IPFIX counts them.
    pub records: u32,
    /// Rows that they became: more with biflows, fewer where a record is no flow.
    pub rows: u32,
    /// Of these, records whose sampling nothing told.
    pub sampling_unknown: u32,
    /// Records that are no flows: statistics of the exporter (D-1).
    pub non_flow: u32,
    /// Lists, or records of them, that were not looked into.
    pub lists_unread: u32,
    /// Records whose common properties nobody told.
    pub common_properties_unknown: u32,
    /// A template that a list names and nobody knows, the first.
    pub awaits: Option<u16>,
    /// Octets behind the last record, where records are of variable length.
    pub rest: u32,
    /// Rows whose own exporter there was no room for: they are the mediator's.
    pub originals_refused: u32,
    /// The row budget ended before the set did.
    pub cut: bool,
}

impl Ran {
    /// A row's sampling became known after it was counted.
    pub(super) fn note_sampling(&mut self, before: &FlowRecord, after: &FlowRecord) {
        let unknown = |record: &FlowRecord| u32::from(record.sampling_source == SamplingSource::Unknown);
        self.sampling_unknown = self.sampling_unknown + unknown(after) - unknown(before);
    }
}

/// A variable length that runs past the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadRecord;
