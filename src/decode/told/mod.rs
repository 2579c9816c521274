//! What exporters told of themselves: tables that options records fill and data records ask.
//!
//! In go facts, each within the octets that the process has for what is learned; out come answers by (observation domain,
//! key). The tables know neither templates nor domains: who reads records fills them, who runs plans asks them.

mod budget;
mod names;
mod originals;
mod properties;
mod sampling;
mod table;

use rustc_hash::FxHashMap;

pub use self::budget::LearnedBudget;
pub(in crate::decode) use self::names::{APPLICATION, ApplicationId, Facts, INTERFACE, NameTables, Texts, say};
pub(in crate::decode) use self::originals::OriginalsTable;
pub use self::originals::{Original, Originals};
pub(in crate::decode) use self::properties::{Properties, PropertiesTable};
pub(in crate::decode) use self::sampling::{SamplingFacts, SamplingScope, SamplingTables};
pub(in crate::decode) use self::table::{Purse, Table};

/// What one options record said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::decode) struct OptionsFact {
    /// Whom the sampling concerns.
    pub scope: SamplingScope,
    /// 1 in N, if the record says so.
    pub rate: Option<u32>,
    /// systemInitTimeMilliseconds 160, Unix milliseconds.
    pub system_init_ms: Option<u64>,
}

/// What options records told of an exporter.
#[derive(Debug, Default)]
pub(in crate::decode) struct OptionsTables {
    pub sampling: SamplingTables,
    /// systemInitTimeMilliseconds 160 by observation domain.
    pub system_init: FxHashMap<u32, u64>,
    /// What things are called; the octets are accounted where they are learned, as those of `properties`.
    pub names: NameTables,
    /// Common properties (RFC 5473).
    pub properties: PropertiesTable,
}

impl OptionsTables {
    pub fn entries(&self) -> usize {
        self.sampling.len() + self.system_init.len()
    }
}
