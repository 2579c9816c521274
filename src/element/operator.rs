//! Elements that the operator adds: the text of a file -> checked rows, and rows by number and by name.
//!
//! In: tab-separated text with the columns of data/README.md; a seventh, `description`, is read over. Out: every row, or
//! what is wrong with the text by line and column, at most [`FAULTS_MAX`] of it. Promised: no panic on any text, work
//! linear in its length, and what parses prints to a text that parses to the same. Elements 1 to 127 of IANA cannot be
//! changed: NetFlow v9 and IPFIX agree on them, and the decoder reads them by number (RG-03).
//!
//! Ids above 32767 are field types of NetFlow v9, where the PEN says whose; IPFIX has no such ids (RFC 7011 3.2).

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fmt::Write as _;

use super::reverse::{reverse_name, reverse_number};
use super::{DataType, NETFLOW9_VENDOR_FIRST, Semantics, Units, lookup, tables};
use crate::flow::ElementId;
use crate::limits::{ELEMENT_FILE_OCTETS_MAX, ELEMENT_FILE_ROWS_MAX, ELEMENT_NAME_OCTETS_MAX};

/// Faults of one text that are told.
pub const FAULTS_MAX: usize = 20;

/// Elements of IANA that no file changes.
const FIXED_IANA: std::ops::RangeInclusive<u16> = 1..=127;

const COLUMNS: [&str; 6] = ["pen", "id", "name", "abstract_data_type", "semantics", "units"];
const DESCRIPTION: &str = "description";

/// One row of the operator's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorElement {
    /// Its number; above 32767 the field type of NetFlow v9, with its maker.
    pub id: ElementId,
    /// Its name, unique inside its PEN.
    pub name: Box<str>,
    /// How to read its octets.
    pub data_type: DataType,
    /// What its value means.
    pub semantics: Semantics,
    /// What its value counts.
    pub units: Units,
}

/// What is wrong at one place of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElementFault {
    /// Line, from 1.
    pub line: usize,
    /// Column, if one is to blame.
    pub column: Option<&'static str>,
    /// Which value, what it may be, what to do.
    pub problem: String,
}

impl fmt::Display for ElementFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if let Some(column) = self.column {
            write!(f, ", column {column}")?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// Reads the text of an elements file. Empty lines and lines that begin with `#` say nothing.
///
/// # Errors
/// What is wrong, in the order of the text.
pub fn parse_elements(text: &str) -> Result<Vec<OperatorElement>, Vec<ElementFault>> {
    if text.len() > ELEMENT_FILE_OCTETS_MAX {
        let problem = format!(
            "{} octets, at most {ELEMENT_FILE_OCTETS_MAX} are read: leave out elements that no exporter sends",
            text.len()
        );
        return Err(vec![ElementFault { line: 1, column: None, problem }]);
    }
    let mut reader = Reader::default();
    for (index, line) in text.lines().enumerate() {
        if reader.faults.len() >= FAULTS_MAX {
            break;
        }
        if !line.is_empty() && !line.starts_with('#') {
            reader.line(index + 1, line);
        }
    }
    reader.finish()
}

/// The text that [`parse_elements`] reads as `rows`.
#[must_use]
pub fn print_elements(rows: &[OperatorElement]) -> String {
    let mut text = COLUMNS.join("\t") + "\n";
    for row in rows {
        let OperatorElement { id: ElementId { pen, id }, name, data_type, semantics, units } = row;
        let (data_type, semantics, units) = (data_type.label(), semantics.label(), units.label());
        let _ = writeln!(text, "{pen}\t{id}\t{name}\t{data_type}\t{semantics}\t{units}");
    }
    text
}

/// A name inside its PEN; field types of NetFlow v9 may bear the name of the element that they stand for.
type NameKey = (u32, bool, Box<str>);

#[derive(Default)]
struct Reader {
    /// Columns of the text, once its first line was read.
    columns: Option<usize>,
    rows: Vec<OperatorElement>,
    /// Line of each row.
    ids: HashMap<ElementId, usize>,
    names: HashMap<NameKey, (ElementId, usize)>,
    faults: Vec<ElementFault>,
}

impl Reader {
    fn fault(&mut self, line: usize, column: Option<&'static str>, problem: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(ElementFault { line, column, problem });
        }
    }

    fn line(&mut self, line: usize, text: &str) {
        let Some(wanted) = self.columns else {
            let found: Vec<&str> = text.splitn(COLUMNS.len() + 2, '\t').collect();
            let named = found.get(..COLUMNS.len()).is_some_and(|first| first == COLUMNS);
            if !named || !matches!(found.get(COLUMNS.len()..), Some([] | [DESCRIPTION])) {
                let problem = format!(
                    "the first line is {}: write the names of the columns, {}, with tabs between them",
                    shown(text),
                    COLUMNS.join(" ")
                );
                self.fault(line, None, problem);
            }
            self.columns = Some(found.len());
            return;
        };
        if self.rows.len() >= ELEMENT_FILE_ROWS_MAX {
            let problem = format!("more than {ELEMENT_FILE_ROWS_MAX} elements: leave out what no exporter sends");
            self.fault(line, None, problem);
            return;
        }
        let found: Vec<&str> = text.splitn(COLUMNS.len() + 2, '\t').collect();
        let &[pen, id, name, data_type, semantics, units, ..] = found.as_slice() else {
            return self.count_fault(line, found.len(), wanted);
        };
        if found.len() != wanted {
            return self.count_fault(line, found.len(), wanted);
        }
        let before = self.faults.len();
        let pen = self.take(line, "pen", number(pen, 0, u32::MAX));
        let id = self.take(line, "id", number(id, 1, u32::from(u16::MAX)));
        let name = self.take(line, "name", name_of(name));
        let data_type = self.take(line, COLUMNS[3], one_of(data_type, DataType::ALL, DataType::label));
        let semantics = self.take(line, "semantics", one_of(semantics, Semantics::ALL, Semantics::label));
        let units = self.take(line, "units", one_of(units, Units::ALL, Units::label));
        if let (Some(pen), Some(id), Some(name), Some(data_type), Some(semantics), Some(units)) =
            (pen, id.and_then(|id| u16::try_from(id).ok()), name, data_type, semantics, units)
            && self.faults.len() == before
        {
            self.row(line, OperatorElement { id: ElementId { pen, id }, name, data_type, semantics, units });
        }
    }

    fn count_fault(&mut self, line: usize, found: usize, wanted: usize) {
        let more = if found > COLUMNS.len() + 1 { " or more" } else { "" };
        let problem = format!("{found}{more} columns, the first line has {wanted}: separate them with one tab each");
        self.fault(line, None, problem);
    }

    fn take<T>(&mut self, line: usize, column: &'static str, found: Result<T, String>) -> Option<T> {
        found.map_err(|problem| self.fault(line, Some(column), problem)).ok()
    }

    fn row(&mut self, line: usize, row: OperatorElement) {
        let ElementId { pen, id } = row.id;
        if pen == 0 && (FIXED_IANA.contains(&id) || id >= NETFLOW9_VENDOR_FIRST) {
            let problem = if FIXED_IANA.contains(&id) {
                format!(
                    "{id} of PEN 0 is IANA's and fixed: of PEN 0 only 128 to 32767 can be given, leave the line out"
                )
            } else {
                format!("{id} is a maker's field type of NetFlow v9: write the maker's number as pen, not 0")
            };
            return self.fault(line, Some("id"), problem);
        }
        if let Some(first) = self.ids.insert(row.id, line) {
            let problem = format!("{id} of PEN {pen} stands in line {first} already: remove one of them");
            return self.fault(line, Some("id"), problem);
        }
        let key = (pen, id >= NETFLOW9_VENDOR_FIRST, row.name.clone());
        if let Some((other, first)) = self.names.insert(key, (row.id, line)) {
            let problem = format!("{} is the name of {} in line {first} already: rename one", row.name, other.id);
            return self.fault(line, Some("name"), problem);
        }
        self.rows.push(row);
    }

    /// Holds the names against those of the built-in tables.
    fn finish(mut self) -> Result<Vec<OperatorElement>, Vec<ElementFault>> {
        if self.columns.is_none() {
            self.fault(1, None, format!("is empty: begin with the names of the columns, {}", COLUMNS.join(" ")));
        }
        let mut clashes = Vec::new();
        let known = if self.rows.is_empty() { &[][..] } else { &tables::ELEMENTS[..] };
        let of_v9 = if self.rows.is_empty() { &[][..] } else { &tables::NETFLOW9[..] };
        for (element, is_v9) in known.iter().map(|e| (e, false)).chain(of_v9.iter().map(|e| (e, true))) {
            let key = (element.id.pen, is_v9, Box::from(element.name));
            if let Some((id, line)) = self.names.get(&key)
                && *id != element.id
                && !self.ids.contains_key(&element.id)
            {
                clashes.push((*line, element));
            }
        }
        clashes.sort_by_key(|(line, _)| *line);
        for (line, element) in clashes {
            let ElementId { pen, id } = element.id;
            let problem = format!("{} is the name of {id} of PEN {pen} already: choose another", element.name);
            self.fault(line, Some("name"), problem);
        }
        if self.faults.is_empty() { Ok(self.rows) } else { Err(self.faults) }
    }
}

/// Digits alone: what other programs read as a number need not be one here.
fn number(text: &str, min: u32, max: u32) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse::<u32>().ok().filter(|n| digits && (min..=max).contains(n));
    number.ok_or_else(|| format!("{} is no number from {min} to {max}: write one in digits", shown(text)))
}

/// A letter, then letters, digits, `_` and `-`: what is a key in every output as it is.
fn name_of(text: &str) -> Result<Box<str>, String> {
    let letters = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if text.len() <= ELEMENT_NAME_OCTETS_MAX && letters && text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Ok(text.into());
    }
    Err(format!(
        "{} is no name: write a letter, then letters, digits, '_' and '-', at most {ELEMENT_NAME_OCTETS_MAX} in all",
        shown(text)
    ))
}

fn one_of<T: Copy>(text: &str, all: &[T], label: fn(T) -> &'static str) -> Result<T, String> {
    all.iter().copied().find(|known| label(*known) == text).ok_or_else(|| {
        let labels: Vec<&str> = all.iter().map(|known| label(*known)).collect();
        format!("{} is unknown: write one of {}", shown(text), labels.join(", "))
    })
}

/// A value as a message quotes it: escaped, and not at any length.
fn shown(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut chars = text.chars();
    let head: String = chars.by_ref().take(SHOWN).collect();
    if chars.next().is_some() { format!("{head:?}...") } else { format!("{head:?}") }
}

/// The operator's elements, and the reverse ones that follow from them by rule (RG-01).
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OperatorElements {
    /// Sorted by number.
    elements: Vec<OperatorElement>,
    names: HashMap<Box<str>, ElementId>,
    /// The makers of NetFlow v9 field types that one maker alone uses, sorted by type.
    sole_makers: Vec<(u16, Option<u32>)>,
}

impl OperatorElements {
    /// Of rows as [`parse_elements`] gives them.
    pub(super) fn new(rows: Vec<OperatorElement>) -> Self {
        let mut elements = rows;
        elements.sort_by_key(|row| row.id);
        let taken: HashSet<(u32, &str)> = elements.iter().map(|row| (row.id.pen, &*row.name)).collect();
        let reversed: Vec<OperatorElement> = elements
            .iter()
            .filter_map(|row| {
                let (pen, id) = reverse_number(row.id.pen, row.id.id)?;
                let (id, name) = (ElementId { pen, id }, reverse_name(&row.name));
                // What the file says beats the rule.
                let free = elements.binary_search_by_key(&id, |e| e.id).is_err() && !taken.contains(&(pen, &*name));
                free.then(|| OperatorElement { id, name: name.into(), ..row.clone() })
            })
            .collect();
        drop(taken);
        elements.extend(reversed);
        elements.sort_by_key(|row| row.id);
        let mut names: HashMap<Box<str>, ElementId> = HashMap::with_capacity(elements.len());
        // Of one name in several PENs the smallest number, of an element and a NetFlow v9 type the element.
        for row in elements.iter().rev() {
            let of_v9 = row.id.id >= NETFLOW9_VENDOR_FIRST;
            if !(of_v9 && names.contains_key(&row.name)) {
                names.insert(row.name.clone(), row.id);
            }
        }
        let mut sole_makers: Vec<(u16, Option<u32>)> = Vec::new();
        let mut types: Vec<ElementId> =
            elements.iter().map(|e| e.id).filter(|id| id.id >= NETFLOW9_VENDOR_FIRST).collect();
        types.sort_by_key(|id| id.id);
        for ElementId { pen, id } in types {
            match sole_makers.last_mut() {
                Some((last, maker)) if *last == id => *maker = None,
                _ => sole_makers.push((id, Some(pen))),
            }
        }
        Self { elements, names, sole_makers }
    }

    /// The element with this number.
    #[must_use]
    pub fn find(&self, id: ElementId) -> Option<&OperatorElement> {
        // Most have none: nothing is searched then.
        let position = self.elements.binary_search_by_key(&id, |element| element.id).ok()?;
        self.elements.get(position)
    }

    /// The element of this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<ElementId> {
        self.names.get(name).copied()
    }

    /// The one maker whose NetFlow v9 field type this is: None if the file does not say, Some(None) if several are.
    pub(super) fn sole_maker(&self, field_type: u16) -> Option<Option<u32>> {
        let position = self.sole_makers.binary_search_by_key(&field_type, |(id, _)| *id).ok()?;
        self.sole_makers.get(position).map(|(_, maker)| *maker)
    }
}

/// True if `id` is an element that no file changes.
pub(super) fn is_fixed(id: ElementId) -> bool {
    id.pen == 0 && FIXED_IANA.contains(&id.id) && lookup(id).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Registry;
    use super::*;
    use crate::flow::{Exporter, Version};

    const HEAD: &str = "pen\tid\tname\tabstract_data_type\tsemantics\tunits\n";

    fn rows(lines: &str) -> Vec<OperatorElement> {
        parse_elements(&format!("{HEAD}{lines}")).unwrap_or_else(|faults| panic!("{faults:?}"))
    }

    fn faults(text: &str) -> Vec<String> {
        parse_elements(text).expect_err("is wrong").iter().map(ToString::to_string).collect()
    }

    fn named(registry: &Registry, version: Version, pen: u32, id: u16, maker: Option<u32>) -> Option<String> {
        let exporter = Exporter::of_address([192, 0, 2, 1].into());
        registry.find(&exporter, version, ElementId { pen, id }, maker).map(|found| found.name.into_owned())
    }

    #[test]
    fn rg_03_a_file_is_read_with_and_without_descriptions() {
        let plain =
            rows("# ours\n\n9\t5000\tx-1\tunsigned32\tidentifier\tnone\n0\t600\tfoo_Bar\tstring\tdefault\toctets\n");
        let described = parse_elements(
            "pen\tid\tname\tabstract_data_type\tsemantics\tunits\tdescription\r\n\
             9\t5000\tx-1\tunsigned32\tidentifier\tnone\tof \"ours\"\r\n0\t600\tfoo_Bar\tstring\tdefault\toctets\t\r\n",
        );
        assert_eq!(described.as_ref(), Ok(&plain));
        assert_eq!(plain.len(), 2);
        assert_eq!((plain[0].id, &*plain[0].name), (ElementId { pen: 9, id: 5_000 }, "x-1"));
        assert_eq!((plain[1].data_type, plain[1].units), (DataType::String, Units::Octets));
        assert_eq!(parse_elements(&print_elements(&plain)), Ok(plain));
    }

    #[test]
    fn rg_03_each_fault_is_told_with_line_column_value_and_what_to_do() {
        let good = "9\t1\ta\tstring\tdefault\tnone";
        for (bad, place, words) in [
            ("9\t2\tb\tstring\tdefault", "line 3:", "5 columns, the first line has 6"),
            ("9\t2\tb\tstring\tdefault\tnone\tx", "line 3:", "7 columns"),
            ("9\t2\tb\tstring\tdefault\tnone\tx\ty", "line 3:", "8 or more columns"),
            ("-1\t2\tb\tstring\tdefault\tnone", "line 3, column pen:", "\"-1\" is no number from 0 to 4294967295"),
            ("+1\t2\tb\tstring\tdefault\tnone", "line 3, column pen:", "\"+1\" is no number"),
            ("9\t0\tb\tstring\tdefault\tnone", "line 3, column id:", "\"0\" is no number from 1 to 65535"),
            ("9\t65536\tb\tstring\tdefault\tnone", "line 3, column id:", "\"65536\" is no number from 1 to 65535"),
            ("9\t2\t\tstring\tdefault\tnone", "line 3, column name:", "\"\" is no name"),
            ("9\t2\t1b\tstring\tdefault\tnone", "line 3, column name:", "\"1b\" is no name"),
            ("9\t2\tb\u{1b}\tstring\tdefault\tnone", "line 3, column name:", "\"b\\u{1b}\" is no name"),
            (
                "9\t2\tb\tunsigned65\tdefault\tnone",
                "line 3, column abstract_data_type:",
                "write one of octetArray, uns",
            ),
            (
                "9\t2\tb\tstring\tDefault\tnone",
                "line 3, column semantics:",
                "\"Default\" is unknown: write one of default",
            ),
            (
                "9\t2\tb\tstring\tdefault\tfurlongs",
                "line 3, column units:",
                "\"furlongs\" is unknown: write one of none",
            ),
            ("9\t1\tb\tstring\tdefault\tnone", "line 3, column id:", "1 of PEN 9 stands in line 2 already: remove"),
            ("9\t2\ta\tstring\tdefault\tnone", "line 3, column name:", "a is the name of 1 in line 2 already: rename"),
            ("0\t1\tb\tstring\tdefault\tnone", "line 3, column id:", "only 128 to 32767"),
            ("0\t127\tb\tstring\tdefault\tnone", "line 3, column id:", "is IANA's and fixed"),
            ("0\t40000\tb\tstring\tdefault\tnone", "line 3, column id:", "write the maker's number as pen"),
            (
                "9\t2\tctsSourceGroupTag\tstring\tdefault\tnone",
                "line 3, column name:",
                "is the name of 1232 of PEN 9 already: choose another",
            ),
        ] {
            let told = faults(&format!("{HEAD}{good}\n{bad}\n"));
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].starts_with(place) && told[0].contains(words), "{bad:?} gave {told:?}");
        }
        assert!(faults("")[0].contains("is empty"));
        assert!(faults("pen\tid\n")[0].starts_with("line 1: the first line is \"pen\\tid\""));
        let long = "a".repeat(ELEMENT_NAME_OCTETS_MAX + 1);
        assert!(faults(&format!("{HEAD}9\t1\t{long}\tstring\tdefault\tnone\n"))[0].contains("at most 64"));
    }

    #[test]
    fn rg_03_text_is_bounded_in_octets_rows_and_faults() {
        let many: String =
            (0..=ELEMENT_FILE_ROWS_MAX).map(|n| format!("77\t{}\tn{n}\tstring\tdefault\tnone\n", n + 1)).collect();
        let told = faults(&format!("{HEAD}{many}"));
        assert_eq!(told, ["line 16386: more than 16384 elements: leave out what no exporter sends"]);
        let (last, _) = many.trim_end().rsplit_once('\n').expect("lines");
        assert_eq!(rows(last).len(), ELEMENT_FILE_ROWS_MAX);
        assert!(faults(&"#".repeat(ELEMENT_FILE_OCTETS_MAX + 1))[0].contains("4194305 octets"));
        assert_eq!(faults(&format!("{HEAD}{}", "x\n".repeat(1_000))).len(), FAULTS_MAX);
    }

    #[test]
    fn rg_03_the_operators_elements_win_over_the_built_in_ones() {
        let registry = Registry::with_operator(rows(
            "9\t1232\townSgt\tunsigned16\tidentifier\tnone\n0\t600\tfoo\tunsigned8\tflags\tnone\n\
             9\t34000\townSgt\tunsigned16\tidentifier\tnone\n14988\t40999\tours\tunsigned8\tflags\tnone\n\
             14988\t8\toctetDeltaCount\tunsigned8\tflags\tnone\n14988\t9\ttcpWindowSize\tunsigned8\tflags\tnone\n",
        ));
        assert_eq!(named(&registry, Version::Ipfix, 9, 1_232, None).as_deref(), Some("ownSgt"));
        assert_eq!(named(&registry, Version::V9, 0, 34_000, None).as_deref(), Some("ownSgt"));
        assert_eq!(named(&registry, Version::V9, 0, 34_000, Some(25_461)), None, "another maker's");
        assert_eq!(named(&registry, Version::V9, 0, 600, Some(9)).as_deref(), Some("foo"));
        assert_eq!(named(&registry, Version::V9, 0, 40_999, None).as_deref(), Some("ours"));
        assert_eq!(named(&registry, Version::Ipfix, 0, 1, None).as_deref(), Some("octetDeltaCount"));
        // A name: IANA's 1 to 127 keep theirs, others may be taken.
        assert_eq!(registry.by_name("octetDeltaCount"), Some(ElementId { pen: 0, id: 1 }));
        assert_eq!(registry.by_name("tcpWindowSize"), Some(ElementId { pen: 14_988, id: 9 }));
        assert_eq!(registry.by_name("ownSgt"), Some(ElementId { pen: 9, id: 1_232 }));
        assert_eq!(registry.by_name("flowStartMilliseconds"), Some(ElementId { pen: 0, id: 152 }));
        assert_eq!(registry.by_name("monitorEvent").map(|id| id.pen), Some(9), "named by NetFlow v9 alone");
        assert_eq!(registry.by_name("nothing"), None);
    }

    #[test]
    fn rg_01_the_reverse_of_an_operators_element_follows_by_rule() {
        let registry = Registry::with_operator(rows(
            "0\t600\tfoo\tunsigned8\tflags\tnone\n6871\t5000\tbar\tunsigned8\tflags\tnone\n0\t601\tbaz\tstring\tdefault\tnone\n\
             29305\t601\townBaz\tstring\tdefault\tnone\n",
        ));
        let reverse = |pen, id| named(&registry, Version::Ipfix, pen, id, None);
        assert_eq!(reverse(29_305, 600).as_deref(), Some("reverseFoo"));
        assert_eq!(reverse(6_871, 5_000 | 0x4000).as_deref(), Some("reverseBar"));
        assert_eq!(reverse(29_305, 601).as_deref(), Some("ownBaz"), "a row beats the rule");
        assert_eq!(reverse(29_305, 1).as_deref(), Some("reverseOctetDeltaCount"));
        assert_eq!(registry.by_name("reverseFoo"), Some(ElementId { pen: 29_305, id: 600 }));
    }

    #[test]
    fn n9_27_a_field_type_of_one_maker_alone_has_that_maker() {
        let built_in = Registry::default();
        assert_eq!(built_in.sole_maker(34_000), Some(9));
        assert_eq!(built_in.sole_maker(56_701), Some(25_461));
        assert_eq!(built_in.sole_maker(65_535), None);
        let two = Registry::with_operator(rows(
            "77\t34000\ta\tstring\tdefault\tnone\n78\t50001\tb\tstring\tdefault\tnone\n79\t50001\tb\tstring\tdefault\tnone\n",
        ));
        assert_eq!(two.sole_maker(34_000), Some(77), "the operator's word");
        assert_eq!(two.sole_maker(50_001), None, "two of the file");
        assert_eq!(two.sole_maker(34_001), Some(9));
    }

    proptest! {
        /// What can be written is read as it was meant, whatever line ends the writer has.
        #[test]
        fn rg_03_a_file_says_what_was_written(
            written in prop::collection::btree_map(
                (prop_oneof![Just(9_u32), Just(6_871), Just(29_305), any::<u32>()], 1_u16..),
                ("[A-Za-z][A-Za-z0-9_-]{0,50}", 0..DataType::ALL.len(), 0..Semantics::ALL.len(), 0..Units::ALL.len()),
                0..40,
            ),
            windows in any::<bool>(),
        ) {
            let row = |(index, ((pen, id), (name, data_type, semantics, units)))| OperatorElement {
                id: ElementId { pen: u32::max(pen, 1), id },
                // Unique whatever was drawn, and no name of the tables.
                name: format!("{name}-x{index}").into(),
                data_type: DataType::ALL[data_type],
                semantics: Semantics::ALL[semantics],
                units: Units::ALL[units],
            };
            let mut rows: Vec<OperatorElement> = written.into_iter().enumerate().map(row).collect();
            rows.dedup_by_key(|row| row.id);
            let text = print_elements(&rows);
            let text = if windows { text.replace('\n', "\r\n") } else { text };
            prop_assert_eq!(parse_elements(&text), Ok(rows));
        }

        /// Any lines: an answer, and few faults.
        #[test]
        fn rg_03_any_text_is_read_to_an_answer(
            lines in prop::collection::vec("([0-9]{0,6}|[a-z]{0,4}|\t|string|none|default|.){0,14}", 0..60),
            headed in any::<bool>(),
        ) {
            let text = format!("{}{}", if headed { HEAD } else { "" }, lines.join("\n"));
            match parse_elements(&text) {
                Ok(rows) => prop_assert_eq!(parse_elements(&print_elements(&rows)), Ok(rows)),
                Err(faults) => prop_assert!((1..=FAULTS_MAX).contains(&faults.len())),
            }
        }
    }
}
