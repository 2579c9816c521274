//! What an operator can see of what was learned: templates as they are, and what happened to them.

use super::domain::DomainKey;
use crate::flow::ElementId;

/// A template as it is known now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateStatus {
    /// Its id.
    pub id: u16,
    /// Number of scope fields; None for a template of data.
    pub scopes: Option<u16>,
    /// Elements with their lengths in octets, 65535 where the record says (RFC 7011 section 7), in wire order.
    pub fields: Vec<(ElementId, u16)>,
    /// When this layout was learned, Unix nanoseconds.
    pub learned_ns: u64,
    /// When it came last, Unix nanoseconds.
    pub refreshed_ns: u64,
    /// The longest time between two refreshes so far, nanoseconds; None before the first.
    pub refresh_interval_ns: Option<u64>,
}

/// What happened to a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TemplateEventKind {
    /// An id got its first layout.
    Learned,
    /// Another layout took the place of the old one (N9-12).
    Replaced,
    /// It was not refreshed for too long (N9-16, IX-16).
    Expired,
    /// It made room for another: a bound was in the way.
    Evicted,
    /// Redefinitions come too fast: the last layout stays for now.
    Frozen,
}

impl TemplateEventKind {
    /// All of them, in label order.
    pub const ALL: [Self; 5] = [Self::Learned, Self::Replaced, Self::Expired, Self::Evicted, Self::Frozen];

    /// Name in metrics, logs and the status API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Learned => "learned",
            Self::Replaced => "replaced",
            Self::Expired => "expired",
            Self::Evicted => "evicted",
            Self::Frozen => "frozen",
        }
    }
}

/// One of the last events of an exporter's templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TemplateEvent {
    /// When, Unix nanoseconds.
    pub at_ns: u64,
    /// In which domain.
    pub domain: DomainKey,
    /// Which template.
    pub template_id: u16,
    /// What.
    pub kind: TemplateEventKind,
}
