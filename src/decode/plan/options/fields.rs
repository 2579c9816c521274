//! The fields of an options template as IPFIX names them, and where they stand in a record.
//!
//! A scope field of NetFlow v9 is a scope type, another number space than field types (N9-21): it gets the element that
//! means the same, or none.

use crate::decode::plan::{Place, places};
use crate::decode::wire::template::{FieldSpecifier, Template};
use crate::flow::{ElementId, Version};

/// An element that means nothing here.
pub(super) const NOTHING: ElementId = ElementId { pen: u32::MAX, id: 0 };

/// Fields with octets, in wire order.
#[derive(Debug)]
pub(super) struct Fields {
    places: Vec<Place>,
    /// How many of them are the scope.
    scopes: usize,
}

impl Fields {
    /// Those of `template`, whose first `scopes` fields are the scope.
    pub fn of(template: &Template, scopes: u16, version: Version) -> Self {
        let scopes = usize::from(scopes).min(template.fields.len());
        let normal = |(index, specifier): (usize, &FieldSpecifier)| {
            let is_scope_type = index < scopes && version == Version::V9;
            let element = if is_scope_type { of_scope_type(specifier.element.id) } else { specifier.element };
            FieldSpecifier { element, ..*specifier }
        };
        let fields = template.fields.iter().enumerate().map(normal).collect();
        // Empty fields have no place.
        let scopes = template.fields[..scopes].iter().filter(|f| f.length > 0).count();
        Self { places: places(&Template { fields, ..*template }), scopes }
    }

    /// The fields and whether each is in the scope.
    pub fn iter(&self) -> impl Iterator<Item = (&Place, bool)> {
        self.places.iter().enumerate().map(|(index, place)| (place, index < self.scopes))
    }

    /// The first field of IANA's element `id`, anywhere.
    pub fn find(&self, id: u16) -> Option<Place> {
        self.iter().find(|(place, _)| is(place, id)).map(|(place, _)| *place)
    }

    /// The same in the scope alone.
    pub fn scope(&self, id: u16) -> Option<Place> {
        self.iter().find(|(place, in_scope)| *in_scope && is(place, id)).map(|(place, _)| *place)
    }

    /// Fields that can be a key: those of the scope, or where the scope has none of `ids` those behind it.
    pub fn keys(&self, ids: &[u16]) -> Vec<Place> {
        let of = |wanted: bool| {
            self.iter()
                .filter(move |(place, in_scope)| *in_scope == wanted && ids.iter().any(|id| is(place, *id)))
                .map(|(place, _)| *place)
        };
        let scope: Vec<Place> = of(true).collect();
        if scope.is_empty() { of(false).collect() } else { scope }
    }
}

fn is(place: &Place, id: u16) -> bool {
    place.element == ElementId { pen: 0, id }
}

/// RFC 3954 6.1: 1 System, 2 Interface, 3 Line Card, 4 Cache, 5 Template.
fn of_scope_type(scope_type: u16) -> ElementId {
    let id = match scope_type {
        2 => 10,
        3 => 141,
        5 => 145,
        _ => return NOTHING,
    };
    ElementId { pen: 0, id }
}
