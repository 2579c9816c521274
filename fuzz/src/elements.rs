//! The promises of the elements file, checked on any text. Used by the fuzz target and, over the corpus, by `cargo test`.
//!
//! Promised: no panic; faults are few, each with a line of the text and no control character; what is read keeps to its
//! bounds, is unique, leaves IANA's first 127 alone, prints and is read again to the same; and a registry made of it finds
//! every row by number and some row by each name.

use std::collections::BTreeSet;

use clarion_collector::element::{ElementFault, OperatorElement, Registry, parse_elements, print_elements};
use clarion_collector::flow::{ElementId, Exporter, Version};
use clarion_collector::limits::{ELEMENT_FILE_ROWS_MAX, ELEMENT_NAME_OCTETS_MAX};

/// Faults that are told, and octets of one: a quoted value, or all registered types.
const FAULTS_MAX: usize = 20;
const FAULT_OCTETS_MAX: usize = 1_024;
/// First field type of NetFlow v9 that is a maker's own.
const MAKERS_FIRST: u16 = 0x8000;

/// Checks what becomes of `octets`; answers with the number of elements.
pub fn check_elements(octets: &[u8]) -> usize {
    let Ok(text) = std::str::from_utf8(octets) else { return 0 };
    match parse_elements(text) {
        Ok(rows) => {
            check_rows(&rows);
            rows.len()
        }
        Err(faults) => {
            check_faults(text, &faults);
            0
        }
    }
}

fn check_faults(text: &str, faults: &[ElementFault]) {
    assert!((1..=FAULTS_MAX).contains(&faults.len()), "{} faults", faults.len());
    for fault in faults {
        let told = fault.to_string();
        assert!((1..=text.lines().count().max(1)).contains(&fault.line), "{told}");
        assert!(!told.chars().any(char::is_control), "{told:?}");
        assert!(told.len() <= FAULT_OCTETS_MAX, "{} octets: {told}", told.len());
    }
}

fn check_rows(rows: &[OperatorElement]) {
    assert!(rows.len() <= ELEMENT_FILE_ROWS_MAX, "{} rows", rows.len());
    let (mut ids, mut names) = (BTreeSet::new(), BTreeSet::new());
    for row in rows {
        let ElementId { pen, id } = row.id;
        assert!(id != 0 && (pen != 0 || (128..MAKERS_FIRST).contains(&id)), "{pen}/{id}");
        assert!(row.name.len() <= ELEMENT_NAME_OCTETS_MAX && row.name.starts_with(|c: char| c.is_ascii_alphabetic()));
        assert!(row.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{}", row.name);
        assert!(ids.insert(row.id), "{pen}/{id} twice");
        assert!(names.insert((pen, id >= MAKERS_FIRST, &row.name)), "{pen}: {} twice", row.name);
    }
    assert_eq!(parse_elements(&print_elements(rows)).as_deref(), Ok(rows), "what is printed is read the same");
    let registry = Registry::with_operator(rows.to_vec());
    let exporter = Exporter::of_address([192, 0, 2, 1].into());
    for row in rows {
        let ElementId { pen, id } = row.id;
        let found = if id >= MAKERS_FIRST {
            registry.find(&exporter, Version::V9, ElementId { pen: 0, id }, Some(pen))
        } else {
            registry.find(&exporter, Version::Ipfix, row.id, None)
        };
        assert_eq!(found.map(|f| (f.name.into_owned(), f.data_type)), Some((row.name.to_string(), row.data_type)));
        assert!(registry.by_name(&row.name).is_some(), "{} names nothing", row.name);
    }
    for id in 1..128 {
        let name = |registry: &Registry| registry.find(&exporter, Version::Ipfix, ElementId { pen: 0, id }, None);
        assert_eq!(name(&registry), name(&Registry::default()), "IANA's {id} was changed");
    }
}
