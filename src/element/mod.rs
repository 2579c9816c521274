//! Information Elements: what a (pen, id) is called, and of which type, semantics and unit it is.
//!
//! Static tables made from data/*.tsv at build time, sorted, searched without allocation. Looked up
//! when a template is compiled or a person asks, never per record. A leaf: it knows `ElementId` only.
//! Reverse elements (PEN 29305, CERT's bit 14) stand in the tables too, made by rule.

mod learned;
mod operator;
mod registry;
mod reverse;
#[cfg(test)]
#[expect(dead_code, reason = "the build script uses the rest of it")]
mod table_parse;
mod types;

pub use learned::Taught;
pub use operator::{ElementFault, OperatorElement, parse_elements, print_elements};
pub use registry::{ElementName, Registry};
pub use types::{DataType, Semantics, Units};

use crate::flow::ElementId;

/// One registered element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InformationElement {
    /// Its number. Of an element that [`lookup_netflow9`] gave: the maker and the raw field type.
    pub id: ElementId,
    /// Its name, unique inside its PEN.
    pub name: &'static str,
    /// How to read its octets.
    pub data_type: DataType,
    /// What its value means.
    pub semantics: Semantics,
    /// What its value counts.
    pub units: Units,
}

const fn e(
    pen: u32,
    id: u16,
    name: &'static str,
    data_type: DataType,
    semantics: Semantics,
    units: Units,
) -> InformationElement {
    InformationElement { id: ElementId { pen, id }, name, data_type, semantics, units }
}

/// ELEMENTS: IANA, enterprise and reverse elements by (pen, id). BY_NAME: their positions in the order of
/// names. NETFLOW9: NetFlow v9 field types by (maker, type). NETFLOW9_SOLE: those above 32767 of one maker alone.
mod tables {
    use super::{DataType, InformationElement, Semantics, Units, e};

    include!(concat!(env!("OUT_DIR"), "/elements.rs"));

    // Positions are 16 bit.
    const _: () = assert!(ELEMENTS.len() <= u16::MAX as usize + 1);
}

/// First NetFlow v9 field type that IANA does not share (RFC 7011: bit 15 of an IPFIX element id).
const NETFLOW9_VENDOR_FIRST: u16 = 0x8000;

/// The element with this number, as IPFIX names it.
#[must_use]
pub fn lookup(id: ElementId) -> Option<&'static InformationElement> {
    find(&tables::ELEMENTS, id)
}

/// The element that a NetFlow v9 field type means when `vendor` (a PEN) made the exporter.
///
/// A type below 32768 is the IANA element if there is one. Other types mean nothing without knowing
/// the maker: `None` where `vendor` is not given or not known to use the type.
#[must_use]
pub fn lookup_netflow9(field_type: u16, vendor: Option<u32>) -> Option<&'static InformationElement> {
    let of_vendor = || find(&tables::NETFLOW9, ElementId { pen: vendor?, id: field_type });
    if field_type < NETFLOW9_VENDOR_FIRST {
        lookup(ElementId { pen: 0, id: field_type }).or_else(of_vendor)
    } else {
        of_vendor()
    }
}

/// The maker of a NetFlow v9 field type above 32767 that the tables know of one maker alone (N9-27).
fn sole_maker(field_type: u16) -> Option<u32> {
    let position = tables::NETFLOW9_SOLE.binary_search_by_key(&field_type, |(id, _)| *id).ok()?;
    tables::NETFLOW9_SOLE.get(position).map(|(_, maker)| *maker)
}

/// The element of this name; of several the IANA one or its reverse, else that of the smallest PEN.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static InformationElement> {
    let element = |position: &u16| &tables::ELEMENTS[usize::from(*position)];
    let first = tables::BY_NAME.partition_point(|position| element(position).name < name);
    tables::BY_NAME.get(first).map(element).filter(|found| found.name == name)
}

/// The NetFlow v9 field type of this name. Five hundred are looked through: asked when an output is set up.
fn by_netflow9_name(name: &str) -> Option<&'static InformationElement> {
    tables::NETFLOW9.iter().find(|element| element.name == name)
}

/// NetFlow v9 field types above those of IANA that makers use for an element of this name.
pub fn netflow9_types(name: &str) -> impl Iterator<Item = u16> {
    tables::NETFLOW9.iter().filter(move |element| element.name == name).map(|element| element.id.id)
}

/// Names of the tables, for who looks for a near one.
pub fn names() -> impl Iterator<Item = &'static str> {
    tables::ELEMENTS.iter().map(|element| element.name)
}

fn find(table: &'static [InformationElement], id: ElementId) -> Option<&'static InformationElement> {
    let position = table.binary_search_by_key(&id, |element| element.id).ok()?;
    table.get(position)
}

#[cfg(test)]
mod tests {
    use super::reverse::{CERT_PEN, NOT_REVERSIBLE, REVERSE_PEN};
    use super::table_parse::{Row, parse};
    use super::*;

    const IANA: &str = include_str!("../../data/iana.tsv");
    const ENTERPRISE: &str = include_str!("../../data/enterprise.tsv");
    const NETFLOW9: &str = include_str!("../../data/netflow9_vendor.tsv");

    fn of(pen: u32, id: u16) -> Option<&'static InformationElement> {
        lookup(ElementId { pen, id })
    }

    fn same(element: &InformationElement, row: &Row) -> bool {
        element.name == row.name
            && format!("{:?}", element.data_type) == row.data_type
            && format!("{:?}", element.semantics) == row.semantics
            && format!("{:?}", element.units) == row.units
    }

    #[test]
    fn every_row_of_the_registries_is_found() {
        for (file, text) in [("iana", IANA), ("enterprise", ENTERPRISE)] {
            for row in parse(file, text).unwrap() {
                let found = of(row.pen, row.id).unwrap_or_else(|| panic!("{}/{} not found", row.pen, row.id));
                assert!(same(found, &row), "{found:?} is not {row:?}");
                assert_eq!(by_name(&row.name).map(|e| e.name), Some(row.name.as_str()));
            }
        }
        for row in parse("netflow9_vendor", NETFLOW9).unwrap() {
            let found = lookup_netflow9(row.id, Some(row.pen)).unwrap();
            assert!(same(found, &row), "{found:?} is not {row:?}");
        }
    }

    #[test]
    fn rg_02_tables_are_sorted_without_duplicates() {
        for table in [&tables::ELEMENTS[..], &tables::NETFLOW9[..]] {
            assert!(table.is_sorted_by(|a, b| a.id < b.id));
        }
    }

    #[test]
    fn the_well_known_ones_are_themselves() {
        let octets = of(0, 1).unwrap();
        assert_eq!((octets.name, octets.data_type), ("octetDeltaCount", DataType::Unsigned64));
        assert_eq!((octets.semantics, octets.units), (Semantics::DeltaCounter, Units::Octets));
        assert_eq!(of(0, 27).unwrap().data_type, DataType::Ipv6Address);
        assert_eq!(by_name("flowStartMilliseconds").unwrap().id, ElementId { pen: 0, id: 152 });
        assert_eq!(of(9, 1232).unwrap().data_type, DataType::Unsigned16);
    }

    #[test]
    fn what_is_not_registered_is_not_found() {
        for (pen, id) in [(0, 0), (0, 416), (0, u16::MAX), (u32::MAX, 1), (14988, 1)] {
            assert_eq!(of(pen, id), None, "{pen}/{id}");
        }
        for name in ["", "octetDeltaCoun", "octetDeltaCounts", "zzz"] {
            assert_eq!(by_name(name), None, "{name:?}");
        }
    }

    #[test]
    fn rg_01_reverse_elements_exist_for_what_has_a_direction() {
        let forward = of(0, 1).unwrap();
        let reverse = of(REVERSE_PEN, 1).unwrap();
        assert_eq!(reverse.name, "reverseOctetDeltaCount");
        assert_eq!((reverse.data_type, reverse.units), (forward.data_type, forward.units));
        assert_eq!(by_name("reverseOctetDeltaCount"), Some(reverse));
        for id in NOT_REVERSIBLE {
            assert!(of(0, id).is_some() && of(REVERSE_PEN, id).is_none(), "{id}");
        }
        assert_eq!(of(CERT_PEN, 0x4000 | 14).unwrap().name, "reverseInitialTCPFlags");
    }

    #[test]
    fn netflow9_types_need_their_maker_above_32767() {
        assert_eq!(lookup_netflow9(1, None), of(0, 1));
        assert_eq!(lookup_netflow9(8, Some(9)), of(0, 8));
        assert_eq!(lookup_netflow9(34000, None), None);
        assert_eq!(lookup_netflow9(34000, Some(25461)), None);
        let sgt = lookup_netflow9(34000, Some(9)).unwrap();
        assert_eq!((sgt.name, sgt.id), (of(9, 1232).unwrap().name, ElementId { pen: 9, id: 34000 }));
        assert_eq!(lookup_netflow9(57472 + 82, Some(35632)).map(|e| e.name), of(35632, 82).map(|e| e.name));
        assert_eq!(lookup_netflow9(56701, Some(25461)).unwrap().name, "paloAltoAppId");
        // A private range of one maker below 32768: known only with the maker.
        assert_eq!(lookup_netflow9(24628, None), None);
        assert_eq!(lookup_netflow9(24628, Some(9)).unwrap().data_type, DataType::Unsigned32);
    }
}
