//! One record as a plan sees it: its octets, where its fields stand, and what has no field of its own.

use crate::decode::told::SamplingFacts;
use crate::decode::wire::template::{Template, VARIABLE_LENGTH};
use crate::flow::ElementId;

/// Where a field stands in its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which element it is.
    pub element: ElementId,
    /// Octets; VARIABLE_LENGTH where the record says.
    pub length: u16,
    /// Offset in a fixed record.
    pub offset: u16,
    /// Number of the field among those that are not empty.
    pub field: u16,
}

/// One record's octets, and where its fields are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordView<'a> {
    /// The record.
    pub octets: &'a [u8],
    /// (offset, length) of each field; None in a record of fixed length.
    pub positions: Option<&'a [(u32, u16)]>,
}

impl<'a> RecordView<'a> {
    /// Where a field begins and how long it is: what the template says, or the record.
    pub(super) fn place(&self, offset: u16, length: u16, field: u16) -> (usize, usize) {
        match self.positions.and_then(|positions| positions.get(usize::from(field))) {
            Some((at, length)) => (*at as usize, usize::from(*length)),
            None => (usize::from(offset), usize::from(length)),
        }
    }

    /// The octets of a field, without its length prefix.
    pub(crate) fn field(&self, place: &Place) -> Option<&'a [u8]> {
        let (at, length) = self.place(place.offset, place.length, place.field);
        self.octets.get(at..at + length)
    }
}

/// The places of a template's fields, in wire order; empty fields are left out.
pub(crate) fn places(template: &Template) -> Vec<Place> {
    let (mut offset, mut places) = (0_u16, Vec::new());
    for specifier in template.fields.iter().filter(|f| f.length > 0) {
        let field = u16::try_from(places.len()).unwrap_or(u16::MAX);
        places.push(Place { element: specifier.element, length: specifier.length, offset, field });
        if specifier.length != VARIABLE_LENGTH {
            offset = offset.saturating_add(specifier.length);
        }
    }
    places
}

/// Values of a record that have no field of their own.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scratch {
    pub ip_version: u8,
    pub start: Option<u64>,
    pub end: Option<u64>,
    pub system_init_ms: Option<u64>,
    pub duration: Option<u64>,
    pub sampling: SamplingFacts,
    pub sampler: Option<u64>,
}
