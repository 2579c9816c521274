//! Type records (RFC 5610): an options record that says what an enterprise element is called and of which type it is.

use super::fields::Fields;
use crate::decode::plan::{Place, RecordView};
use crate::decode::wire::text::{Room, text};
use crate::decode::wire::value::unsigned;
use crate::element::DataType;
use crate::flow::ElementId;
use crate::limits::LEARNED_ELEMENT_NAME_OCTETS_MAX;

/// Where type records hold what.
#[derive(Debug)]
pub(in crate::decode) struct TypePlan {
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
    pub(super) fn compile(fields: &Fields) -> Option<Self> {
        let (enterprise, id, name) = (fields.find(346)?, fields.find(303)?, fields.find(341)?);
        Some(Self { enterprise, id, name, data_type: fields.find(339) })
    }

    /// What one record says of an enterprise element, with its name put into `room`; None if that teaches nothing.
    pub fn read<'a>(&self, view: &RecordView<'a>, room: &'a mut Room) -> Option<(ElementId, &'a str, DataType)> {
        let number = |place: &Place| view.field(place).and_then(unsigned);
        let name = view.field(&self.name).map(|octets| text(octets, room)).unwrap_or_default();
        let data_type = match &self.data_type {
            Some(place) => DataType::from_code(u8::try_from(number(place)?).ok()?)?,
            None => DataType::OctetArray,
        };
        // Bit 15 is the enterprise bit where a specifier was copied whole.
        let id = u16::try_from(number(&self.id)?).ok()? & 0x7FFF;
        let pen = u32::try_from(number(&self.enterprise)?).ok()?;
        (pen != 0 && is_clean(name)).then_some((ElementId { pen, id }, name, data_type))
    }
}

/// A name that outputs can take as a key.
pub(in crate::decode) fn is_clean(name: &str) -> bool {
    (1..=LEARNED_ELEMENT_NAME_OCTETS_MAX).contains(&name.len())
        && name.bytes().all(|o| o.is_ascii_alphanumeric() || matches!(o, b'_' | b'-'))
}
