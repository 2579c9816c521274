//! Type records (RFC 5610): an options record that says what an enterprise element is called and of which type it is.

use super::fields::Fields;
use crate::decode::budget::LearnedBudget;
use crate::decode::domain::ExporterState;
use crate::decode::plan::{Place, RecordView};
use crate::decode::text::{Room, text};
use crate::decode::value::unsigned;
use crate::element::{DataType, Taught};
use crate::flow::ElementId;
use crate::limits::{LEARNED_ELEMENT_NAME_OCTETS_MAX, LEARNED_ELEMENTS_PER_EXPORTER_MAX};
use std::sync::atomic::Ordering;

/// Where type records hold what.
#[derive(Debug)]
pub(super) struct TypePlan {
    /// privateEnterpriseNumber 346; without it the element would be IANA's.
    enterprise: Place,
    /// informationElementId 303.
    id: Place,
    /// informationElementName 341.
    name: Place,
    /// informationElementDataType 339.
    data_type: Option<Place>,
}

impl TypePlan {
    /// None if the template's records do not name enterprise elements.
    pub fn compile(fields: &Fields) -> Option<Self> {
        let (enterprise, id, name) = (fields.find(346)?, fields.find(303)?, fields.find(341)?);
        Some(Self { enterprise, id, name, data_type: fields.find(339) })
    }

    /// Learns what one record says; false if it was refused.
    pub fn learn(&self, view: &RecordView<'_>, exporter: &ExporterState) -> bool {
        let number = |place: &Place| view.field(place).and_then(unsigned);
        let mut room = Room::new();
        let name = view.field(&self.name).map(|octets| text(octets, &mut room)).unwrap_or_default();
        let data_type = match &self.data_type {
            Some(place) => number(place).and_then(|code| u8::try_from(code).ok()).and_then(DataType::from_code),
            None => Some(DataType::OctetArray),
        };
        // Bit 15 is the enterprise bit where a specifier was copied whole.
        let id = number(&self.id).and_then(|id| u16::try_from(id).ok()).map(|id| id & 0x7FFF);
        let pen = number(&self.enterprise).and_then(|pen| u32::try_from(pen).ok());
        match (pen, id, data_type) {
            (Some(pen), Some(id), Some(data_type)) if pen != 0 && is_clean(name) => {
                exporter.teach(ElementId { pen, id }, name, data_type)
            }
            _ => false,
        }
    }
}

/// A name that outputs can take as a key.
fn is_clean(name: &str) -> bool {
    (1..=LEARNED_ELEMENT_NAME_OCTETS_MAX).contains(&name.len())
        && name.bytes().all(|o| o.is_ascii_alphanumeric() || matches!(o, b'_' | b'-'))
}

/// An element in the registry, its keys and name.
const ELEMENT_OCTETS: u64 = 128 + LEARNED_ELEMENT_NAME_OCTETS_MAX as u64;

impl ExporterState {
    /// Tells the registry what the exporter calls `element`; false if that was refused.
    fn teach(&self, element: ElementId, name: &str, data_type: DataType) -> bool {
        let registry = &self.settings.registry;
        // Room first: two workers may read type records of one exporter at once.
        let has_room = LearnedBudget::reserve(&self.learned_elements, 1, LEARNED_ELEMENTS_PER_EXPORTER_MAX as u64);
        if !has_room {
            return registry.knows(&self.exporter, element, name, data_type);
        }
        if !self.purse().take(ELEMENT_OCTETS) {
            self.learned_elements.fetch_sub(1, Ordering::AcqRel);
            return registry.knows(&self.exporter, element, name, data_type);
        }
        let taught = registry.teach(&self.exporter, element, name, data_type);
        if taught != Taught::New {
            self.learned_elements.fetch_sub(1, Ordering::AcqRel);
            self.purse().give(ELEMENT_OCTETS);
        }
        taught != Taught::Refused
    }
}
