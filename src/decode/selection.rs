//! What is decided before anything is decoded: what the output wants, and the operator's word about an exporter.
//!
//! Plans are compiled with a [`Selection`], so that what nobody wants costs nothing at the record.

use std::sync::Arc;

use crate::flow::{ElementId, FieldSet};
use crate::limits::PARKED_AGE_S;

/// What the output wants beyond the fields of `FlowRecord`; a template is compiled with it, so that what nobody wants
/// costs nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Normalised fields for the batch's arena.
    pub fields: FieldSet,
    /// Elements to keep as on the wire.
    pub elements: Elements,
    /// A record may become more than its plain elements say: two rows where it tells both directions (RFC 5103), what the
    /// headers of a sampled packet and the records of its lists tell (RFC 6313). It is judged: events, statistics,
    /// implausible counters. False keeps one row a record, as on the wire.
    pub interpret: bool,
    /// Stamps and header clocks are held against the receive time (T-1, N9-30); false where that says nothing, as of
    /// an old capture.
    pub receive_window: bool,
}

impl Selection {
    /// Nothing more.
    pub const CORE: Self =
        Self { fields: FieldSet::NONE, elements: Elements::None, interpret: true, receive_window: true };
    /// Every element, one row a record: what came over the wire.
    pub const WIRE: Self =
        Self { fields: FieldSet::NONE, elements: Elements::All, interpret: false, receive_window: false };
    /// The rows of [`Selection::CORE`] out of a capture of any age.
    pub const CAPTURE: Self = Self { receive_window: false, ..Self::CORE };

    /// Records are judged: events, statistics and implausible counters are told apart.
    pub(super) const fn judges(&self) -> bool {
        self.interpret
    }
}

/// Which elements are kept as on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Elements {
    /// None.
    #[default]
    None,
    /// These.
    These(Arc<[ElementId]>),
    /// Every one.
    All,
}

impl Elements {
    /// True if `element` is wanted.
    #[must_use]
    pub fn has(&self, element: ElementId) -> bool {
        match self {
            Self::None => false,
            Self::These(these) => these.contains(&element),
            Self::All => true,
        }
    }
}

/// What the operator decided for an exporter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeSettings {
    /// Which elements are kept.
    pub selection: Selection,
    /// Rate if nothing else tells one.
    pub sampling_default: Option<u32>,
    /// Rate that beats everything.
    pub sampling_override: Option<u32>,
    /// Age at which a parked set is dropped, nanoseconds; 0 switches parking off.
    pub park_age_ns: u64,
}

impl Default for DecodeSettings {
    /// Those of an exporter that the operator said nothing about.
    fn default() -> Self {
        Self {
            selection: Selection::CORE,
            sampling_default: None,
            sampling_override: None,
            park_age_ns: PARKED_AGE_S.default * 1_000_000_000,
        }
    }
}
