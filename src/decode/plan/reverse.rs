//! Biflows (RFC 5103): one record for both directions becomes two rows.
//!
//! The other direction is read by a plan of its own, compiled from the same template seen from the other end: a reverse
//! element (PEN 29305, or bit 14 of CERT's ids) stands for the element that it reverses, addresses, ports, interfaces,
//! AS numbers and prefixes change sides, and what a reverse element tells is not taken from the forward one. So every
//! rule of lengths, clocks and precedence holds for both rows. Without a reverse octet or packet there is one row.

use super::DataPlan;
use super::cert::{CERT_PEN, CERT_REVERSE};
use super::compile;
use super::context::RunContext;
use super::record::RecordView;
use super::step::{Slot, roles};
use crate::decode::selection::Selection;
use crate::decode::wire::template::{FieldSpecifier, Template};
use crate::flow::{ElementId, FlowRecord, Presence};

/// The enterprise number that reverses IANA's elements (RFC 5103 6.1).
pub(super) const REVERSE_PEN: u32 = 29_305;
/// SonicWall's enterprise number.
const SONICWALL: u32 = 8_741;

/// How to read the other direction.
#[derive(Debug)]
pub(super) struct Reverse {
    plan: Box<DataPlan>,
}

impl Reverse {
    /// None if the template has no reverse octets or packets.
    pub(super) fn compile(template: &Template) -> Option<Self> {
        // Counters of responders reverse those of initiators where these are the flow's own (B-3, B-4).
        let from_ends = !template.fields.iter().any(|f| f.element.pen == 0 && matches!(f.element.id, 1 | 2 | 85 | 86));
        let forward_of = |element| forward_of(element).or_else(|| initiators(element).filter(|_| from_ends));
        let reversed: Vec<ElementId> = template.fields.iter().filter_map(|f| forward_of(f.element)).collect();
        let slots = |element: ElementId| roles(element).into_iter().flatten().map(|role| role.slot);
        let told: Vec<Slot> = reversed.iter().copied().flat_map(slots).collect();
        if !told.iter().any(|slot| matches!(slot, Slot::Bytes | Slot::Packets)) {
            return None;
        }
        let fields = template
            .fields
            .iter()
            .map(|specifier| {
                let element = match forward_of(specifier.element) {
                    // It speaks of the packets of that direction: its source is theirs (RFC 5103 6).
                    Some(forward) => forward,
                    // What a reverse element tells is not taken from its forward one; counters never are.
                    None if slots(specifier.element).any(|slot| told.contains(&slot) || is_one_way(slot)) => NOTHING,
                    None => other_end(specifier.element),
                };
                FieldSpecifier { element, ..*specifier }
            })
            .collect();
        let template = Template { fields, ..template.clone() };
        Some(Self { plan: Box::new(compile::columns(&template, &template, &Selection::CORE)) })
    }

    /// The other direction of `forward`, as the record tells it.
    pub(super) fn read(&self, view: &RecordView<'_>, forward: &FlowRecord, context: &RunContext<'_>) -> FlowRecord {
        let mut prototype = self.plan.prototype;
        prototype.version = forward.version;
        prototype.observation_domain = forward.observation_domain;
        prototype.exporter = forward.exporter;
        self.plan.one(view, &prototype, context)
    }
}

/// True if a direction carried anything.
pub(super) const fn carried(row: &FlowRecord) -> bool {
    (row.has(Presence::BYTES) && row.bytes > 0) || (row.has(Presence::PACKETS) && row.packets > 0)
}

/// What the reverse elements of a template tell, by themselves: for a record in a list, whose other end is that of the
/// record round it. None if there is nothing of the kind.
pub(super) fn told(template: &Template) -> Option<Box<DataPlan>> {
    let told = |specifier: &FieldSpecifier| forward_of(specifier.element).unwrap_or(NOTHING);
    let fields: Vec<_> = template.fields.iter().map(|f| FieldSpecifier { element: told(f), ..*f }).collect();
    if fields.iter().all(|f| roles(f.element).iter().flatten().next().is_none()) {
        return None;
    }
    let template = Template { fields, ..template.clone() };
    Some(Box::new(compile::columns(&template, &template, &Selection::CORE)))
}

/// An element that feeds nothing.
const NOTHING: ElementId = ElementId { pen: u32::MAX, id: 0 };

/// What a reverse element reverses; None for others, and for those that have no reverse (RFC 5103 6.1).
pub(super) fn forward_of(element: ElementId) -> Option<ElementId> {
    match element {
        // Identifiers, process statistics and padding are the same from both ends.
        ElementId { pen: REVERSE_PEN, id: 40..=42 | 137 | 145 | 148 | 149 | 163..=173 | 210 | 239 } => None,
        ElementId { pen: REVERSE_PEN, id } => Some(ElementId { pen: 0, id }),
        ElementId { pen: CERT_PEN, id } if id & CERT_REVERSE != 0 => {
            Some(ElementId { pen: CERT_PEN, id: id & !CERT_REVERSE })
        }
        _ => None,
    }
}

/// What counts at the initiator's end what `element` counts at the responder's.
fn initiators(element: ElementId) -> Option<ElementId> {
    match element {
        ElementId { pen: 0, id: 232 } => Some(ElementId { pen: 0, id: 231 }),
        ElementId { pen: 0, id: 299 } => Some(ElementId { pen: 0, id: 298 }),
        ElementId { pen: SONICWALL, id: 16 } => Some(ElementId { pen: SONICWALL, id: 14 }),
        ElementId { pen: SONICWALL, id: 15 } => Some(ElementId { pen: SONICWALL, id: 13 }),
        _ => None,
    }
}

/// True for what holds for one direction alone even if no reverse element tells the other's.
const fn is_one_way(slot: Slot) -> bool {
    matches!(slot, Slot::Bytes | Slot::Packets | Slot::TcpFlags)
}

/// The element that means the same seen from the other end.
fn other_end(element: ElementId) -> ElementId {
    const PAIRS: &[(u16, u16)] = &[
        (7, 11),
        (8, 12),
        (9, 13),
        (10, 14),
        (16, 17),
        (27, 28),
        (29, 30),
        (56, 80),
        (81, 57),
        (180, 181),
        (182, 183),
        (252, 253),
    ];
    const CISCO_PAIRS: &[(u16, u16)] = &[
        (1_232, 1_233),
        (34_000, 34_001),
        (12_236, 12_237),
        (12_238, 12_239),
        (12_240, 12_241),
        (45_004, 45_005),
        (45_006, 45_007),
        (45_008, 45_009),
    ];
    const CISCO: u32 = 9;
    const SONICWALL_PAIRS: &[(u16, u16)] = &[(5, 6), (9, 10), (11, 12)];
    let pairs = match element.pen {
        0 => PAIRS,
        CISCO => CISCO_PAIRS,
        SONICWALL => SONICWALL_PAIRS,
        _ => return element,
    };
    let id = pairs.iter().find_map(|(a, b)| match element.id {
        id if id == *a => Some(*b),
        id if id == *b => Some(*a),
        _ => None,
    });
    ElementId { id: id.unwrap_or(element.id), ..element }
}
