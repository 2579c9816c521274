//! What is decided before anything is decoded: what the output wants, and the operator's word about an exporter.
//!
//! Plans are compiled with a [`Selection`], so that what nobody wants costs nothing at the record.

use std::sync::Arc;

use crate::element::Registry;
use crate::flow::{ElementId, FieldSet};
use crate::limits::{PARKED_AGE_S, PARKED_DISK_AGE_S};

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
    /// Every one that nothing else shows: what became a field of the record or of the arena, and padding, is left out.
    Others,
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
            Self::Others | Self::All => true,
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
    /// Age at which one that went to the disk is dropped, nanoseconds; only where there is one.
    pub park_disk_age_ns: u64,
    /// How its messages are to be taken where the standards leave it open or are not kept.
    pub profile: Profile,
    /// What elements are called: the built-in tables, the operator's file, what exporters taught.
    pub registry: Arc<Registry>,
}

/// How an exporter's messages are taken where the standards leave it open or are not kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Profile {
    /// Its maker's Private Enterprise Number: NetFlow v9 field types above 32767 are that maker's (N9-27).
    pub maker: Option<u32>,
    /// What 23 and 24 are (B-3).
    pub post_counters: PostCounters,
    /// A field of a NetFlow v9 template may be an enterprise field of IPFIX's form (N9-28).
    pub enterprise_in_v9: bool,
    /// It forwards for others: the exporter that its records name is theirs (IX-41).
    pub is_mediator: bool,
    /// A set whose padding is not zero is dropped: its template may be another (IX-05).
    pub drops_odd_padding: bool,
    /// Type records (RFC 5610) teach what its enterprise elements are called.
    pub teaches_elements: bool,
}

/// What postOctetDeltaCount 23 and postPacketDeltaCount 24 count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PostCounters {
    /// What left the exporter, as IANA has it.
    #[default]
    Post,
    /// The other direction, as some probes send NetFlow v9's OUT_BYTES and OUT_PKTS.
    Reverse,
}

impl Default for DecodeSettings {
    /// Those of an exporter that the operator said nothing about.
    fn default() -> Self {
        Self {
            selection: Selection::CORE,
            sampling_default: None,
            sampling_override: None,
            park_age_ns: PARKED_AGE_S.default * 1_000_000_000,
            park_disk_age_ns: PARKED_DISK_AGE_S.default * 1_000_000_000,
            profile: Profile::default(),
            registry: Arc::default(),
        }
    }
}
