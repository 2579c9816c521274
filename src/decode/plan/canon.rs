//! What the fields of a template mean once the exporter is known: whose a NetFlow v9 field type above 32767 is (N9-27),
//! and what the counters behind forwarding count (B-3).
//!
//! NetFlow v9 has no enterprise numbers on the wire. A type above 32767 is that of the maker whom the operator named
//! (`profile`); else, if one maker alone is known to use it, that maker's, which is an assumption and shows as one; else
//! it stays as it is and feeds nothing. Roles and everything beyond columns see `(maker, type)`; what an output keeps as on
//! the wire keeps the wire's number. Scope fields of NetFlow v9 are scope types, not field types (N9-21): left alone.

use std::borrow::Cow;

use super::reverse::REVERSE_PEN;
use crate::decode::selection::{DecodeSettings, Elements, PostCounters};
use crate::decode::wire::template::{FieldSpecifier, Template, TemplateKind};
use crate::flow::{ElementId, Version};

/// First field type of NetFlow v9 that is a maker's own.
const MAKERS_FIRST: u16 = 0x8000;
/// ntop puts its elements in NetFlow v9 from here on; others use 32768 + element, as Cisco began it.
const NTOP: (u32, u16) = (35_632, 57_472);

/// A template as it is meant.
#[derive(Debug)]
pub(super) struct Canonical<'a> {
    /// The template with elements as meant; lengths and order are the wire's.
    pub template: Cow<'a, Template>,
    /// The maker of a field type was nobody's word.
    pub assumed_maker: bool,
}

impl<'a> Canonical<'a> {
    pub fn of(template: &'a Template, version: Version, settings: &DecodeSettings) -> Self {
        let mut assumed_maker = false;
        let profile = &settings.profile;
        let is_data = template.kind == TemplateKind::Data;
        let reverses = is_data && profile.post_counters == PostCounters::Reverse;
        let scopes = match template.kind {
            TemplateKind::Options { scopes } if version == Version::V9 => usize::from(scopes),
            _ => 0,
        };
        let mut meant = |index: usize, element: ElementId| match element {
            ElementId { pen: 0, id } if version == Version::V9 && id >= MAKERS_FIRST && index >= scopes => {
                let maker = profile.maker.or_else(|| {
                    let sole = settings.registry.sole_maker(id);
                    assumed_maker |= sole.is_some();
                    sole
                });
                ElementId { pen: maker.unwrap_or(0), id }
            }
            // The other direction, as RFC 5103 would have it.
            ElementId { pen: 0, id: 23 } if reverses => ElementId { pen: REVERSE_PEN, id: 1 },
            ElementId { pen: 0, id: 24 } if reverses => ElementId { pen: REVERSE_PEN, id: 2 },
            _ => element,
        };
        let fields: Vec<FieldSpecifier> = template
            .fields
            .iter()
            .enumerate()
            .map(|(index, specifier)| FieldSpecifier { element: meant(index, specifier.element), ..*specifier })
            .collect();
        let template = if fields == template.fields {
            Cow::Borrowed(template)
        } else {
            Cow::Owned(Template { fields, ..template.clone() })
        };
        Self { template, assumed_maker }
    }
}

/// True if an output wants `wire` as it is. It can be wanted by the wire's number, by that of the maker who is `meant`, and
/// by that of the element in IPFIX.
pub(super) fn is_wanted(elements: &Elements, wire: ElementId, meant: ElementId) -> bool {
    elements.has(wire) || is_makers(wire) && (elements.has(meant) || elements.has(in_ipfix(meant)))
}

/// True for a maker's own field type of NetFlow v9; IPFIX has no such ids (RFC 7011 3.2).
const fn is_makers(element: ElementId) -> bool {
    element.pen == 0 && element.id >= MAKERS_FIRST
}

/// The element that its maker sends in IPFIX for the same.
fn in_ipfix(element: ElementId) -> ElementId {
    let base = if element.pen == NTOP.0 { NTOP.1 } else { MAKERS_FIRST };
    ElementId { id: element.id.checked_sub(base).unwrap_or(element.id), ..element }
}
