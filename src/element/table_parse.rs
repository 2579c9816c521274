//! data/*.tsv -> Rust source of the element tables. Shared by `build.rs` and the tests; std only.
//!
//! In: the text of a table. Out: checked rows, and the source text of sorted tables. Promised:
//! a table with a duplicate, an unknown type or a name clash ends the build with file, line, value and
//! what would be right; what is generated is sorted by (pen, id), so that a binary search is right.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::reverse::{REVERSE_PEN, reverse_name, reverse_number};

const COLUMNS: &str = "pen\tid\tname\tabstract_data_type\tsemantics\tunits";

/// Registered abstract data types in the order of their IANA number, with our variant.
pub const DATA_TYPES: [(&str, &str); 24] = [
    ("octetArray", "OctetArray"),
    ("unsigned8", "Unsigned8"),
    ("unsigned16", "Unsigned16"),
    ("unsigned32", "Unsigned32"),
    ("unsigned64", "Unsigned64"),
    ("signed8", "Signed8"),
    ("signed16", "Signed16"),
    ("signed32", "Signed32"),
    ("signed64", "Signed64"),
    ("float32", "Float32"),
    ("float64", "Float64"),
    ("boolean", "Boolean"),
    ("macAddress", "MacAddress"),
    ("string", "String"),
    ("dateTimeSeconds", "DateTimeSeconds"),
    ("dateTimeMilliseconds", "DateTimeMilliseconds"),
    ("dateTimeMicroseconds", "DateTimeMicroseconds"),
    ("dateTimeNanoseconds", "DateTimeNanoseconds"),
    ("ipv4Address", "Ipv4Address"),
    ("ipv6Address", "Ipv6Address"),
    ("basicList", "BasicList"),
    ("subTemplateList", "SubTemplateList"),
    ("subTemplateMultiList", "SubTemplateMultiList"),
    ("unsigned256", "Unsigned256"),
];

/// Registered data type semantics, with our variant.
pub const SEMANTICS: [(&str, &str); 9] = [
    ("default", "Default"),
    ("quantity", "Quantity"),
    ("totalCounter", "TotalCounter"),
    ("deltaCounter", "DeltaCounter"),
    ("identifier", "Identifier"),
    ("flags", "Flags"),
    ("list", "List"),
    ("snmpCounter", "SnmpCounter"),
    ("snmpGauge", "SnmpGauge"),
];

/// Units in use, with our variant.
pub const UNITS: [(&str, &str); 16] = [
    ("none", "None"),
    ("bits", "Bits"),
    ("octets", "Octets"),
    ("packets", "Packets"),
    ("flows", "Flows"),
    ("seconds", "Seconds"),
    ("milliseconds", "Milliseconds"),
    ("microseconds", "Microseconds"),
    ("nanoseconds", "Nanoseconds"),
    ("4-octet words", "FourOctetWords"),
    ("messages", "Messages"),
    ("hops", "Hops"),
    ("entries", "Entries"),
    ("frames", "Frames"),
    ("ports", "Ports"),
    ("inferred", "Inferred"),
];

/// One checked row; types, semantics and units are names of our variants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Private Enterprise Number, 0 for IANA.
    pub pen: u32,
    /// Element id, or the NetFlow v9 field type.
    pub id: u16,
    /// Name, unique inside the PEN.
    pub name: String,
    /// Variant of `DataType`.
    pub data_type: &'static str,
    /// Variant of `Semantics`.
    pub semantics: &'static str,
    /// Variant of `Units`.
    pub units: &'static str,
}

/// Reads one table.
///
/// # Errors
/// Says file, line, value and what is expected there.
pub fn parse(file: &str, text: &str) -> Result<Vec<Row>, String> {
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    if header != COLUMNS {
        return Err(format!("{file} line 1: columns are {header:?}, expected {COLUMNS:?}"));
    }
    lines.enumerate().map(|(i, line)| parse_row(line).map_err(|e| format!("{file} line {}: {e}", i + 2))).collect()
}

fn parse_row(line: &str) -> Result<Row, String> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [pen, id, name, data_type, semantics, units] = columns[..] else {
        return Err(format!("{} columns, expected 6 separated by tabs", columns.len()));
    };
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        return Err(format!("name {name:?} is empty or holds something else than letters, digits, '-', '_' and '.'"));
    }
    Ok(Row {
        pen: pen.parse().map_err(|_| format!("pen {pen:?} is no number from 0 to 4294967295"))?,
        id: id.parse().map_err(|_| format!("id {id:?} is no number from 0 to 65535"))?,
        name: name.to_owned(),
        data_type: variant("data type", &DATA_TYPES, data_type)?,
        semantics: variant("semantics", &SEMANTICS, semantics)?,
        units: variant("units", &UNITS, units)?,
    })
}

fn variant(what: &str, known: &[(&str, &'static str)], word: &str) -> Result<&'static str, String> {
    known.iter().find(|(label, _)| *label == word).map(|(_, variant)| *variant).ok_or_else(|| {
        let labels: Vec<&str> = known.iter().map(|(label, _)| *label).collect();
        format!("unknown {what} {word:?}, expected one of: {}", labels.join(", "))
    })
}

/// Sorts by (pen, id).
///
/// # Errors
/// Names a (pen, id) that stands twice, or a name that stands twice inside one PEN.
pub fn sort_unique(mut rows: Vec<Row>) -> Result<Vec<Row>, String> {
    rows.sort_by_key(|r| (r.pen, r.id));
    for pair in rows.windows(2) {
        if (pair[0].pen, pair[0].id) == (pair[1].pen, pair[1].id) {
            let [a, b] = pair else { continue };
            return Err(format!("pen {} id {} stands twice: as {} and as {}", a.pen, a.id, a.name, b.name));
        }
    }
    let mut names = HashMap::new();
    for row in &rows {
        if let Some(first) = names.insert((row.pen, row.name.as_str()), row.id) {
            return Err(format!("pen {}: ids {first} and {} share the name {}", row.pen, row.id, row.name));
        }
    }
    Ok(rows)
}

/// Adds the reverse elements that follow by rule. A row that stands in a table beats the rule, and so
/// does a name that the PEN already uses.
#[must_use]
pub fn with_reverse(mut rows: Vec<Row>) -> Vec<Row> {
    let ids: HashMap<(u32, u16), ()> = rows.iter().map(|r| ((r.pen, r.id), ())).collect();
    let names: HashMap<(u32, &str), ()> = rows.iter().map(|r| ((r.pen, r.name.as_str()), ())).collect();
    let reversed: Vec<Row> = rows
        .iter()
        .filter_map(|row| {
            let (pen, id) = reverse_number(row.pen, row.id)?;
            let name = reverse_name(&row.name);
            let taken = ids.contains_key(&(pen, id)) || names.contains_key(&(pen, name.as_str()));
            (!taken).then(|| Row { pen, id, name, ..row.clone() })
        })
        .collect();
    rows.extend(reversed);
    rows
}

/// Source of a static table over sorted rows; `e(..)` is a const constructor where it is included.
#[must_use]
pub fn table_source(name: &str, rows: &[Row]) -> String {
    let mut text = format!("pub(super) static {name}: [InformationElement; {}] = [\n", rows.len());
    for r in rows {
        let _ = writeln!(
            text,
            "    e({}, {}, {:?}, DataType::{}, Semantics::{}, Units::{}),",
            r.pen, r.id, r.name, r.data_type, r.semantics, r.units
        );
    }
    text.push_str("];\n");
    text
}

/// Source of the positions of `rows` in the order of name; of one name the standard elements (IANA,
/// then its reverse) come first, then the others by PEN.
#[must_use]
pub fn name_index_source(name: &str, rows: &[Row]) -> String {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|a, b| {
        let key = |i: usize| (rows[i].name.as_str(), rows[i].pen != 0, rows[i].pen != REVERSE_PEN, rows[i].pen);
        key(*a).cmp(&key(*b))
    });
    format!("pub(super) static {name}: [u16; {}] = {order:?};\n", order.len())
}

/// Source of the NetFlow v9 types above 32767 of sorted `rows` that one maker alone uses, with that maker, by type.
#[must_use]
pub fn sole_maker_source(name: &str, rows: &[Row]) -> String {
    let mut types: Vec<(u16, u32)> = rows.iter().filter(|r| r.id >= 0x8000).map(|r| (r.id, r.pen)).collect();
    types.sort_unstable();
    let sole: Vec<(u16, u32)> = types.chunk_by(|a, b| a.0 == b.0).filter(|c| c.len() == 1).map(|c| c[0]).collect();
    format!("pub(super) static {name}: [(u16, u32); {}] = {sole:?};\n", sole.len())
}

#[cfg(test)]
mod tests {
    use super::super::reverse::CERT_PEN;
    use super::*;

    fn table(rows: &[&str]) -> String {
        format!("{COLUMNS}\n{}\n", rows.join("\n"))
    }

    fn read(rows: &[&str]) -> Result<Vec<Row>, String> {
        parse("x.tsv", &table(rows)).and_then(sort_unique)
    }

    #[test]
    fn a_good_table_is_sorted_by_pen_and_id() {
        let rows = read(&[
            "9\t1\ta\tstring\tdefault\tnone",
            "0\t2\tb\tunsigned8\tflags\tbits",
            "0\t1\tc\tboolean\tlist\thops",
        ]);
        let order: Vec<(u32, u16)> = rows.unwrap().iter().map(|r| (r.pen, r.id)).collect();
        assert_eq!(order, [(0, 1), (0, 2), (9, 1)]);
    }

    #[test]
    fn rg_02_each_fault_is_named_with_its_place() {
        let good = "0\t1\ta\tstring\tdefault\tnone";
        for (bad, words) in [
            ("0\t1\ta\tstring\tdefault", "x.tsv line 3: 5 columns"),
            ("0\t1\ta\tstring\tdefault\tnone\tmore", "x.tsv line 3: 7 columns"),
            ("-1\t1\ta\tstring\tdefault\tnone", "pen \"-1\""),
            ("0\t65536\ta\tstring\tdefault\tnone", "id \"65536\""),
            ("0\t2\t\tstring\tdefault\tnone", "name \"\""),
            ("0\t2\ta\"b\tstring\tdefault\tnone", "name \"a\\\"b\""),
            ("0\t2\tb\tunsigned65\tdefault\tnone", "unknown data type \"unsigned65\""),
            ("0\t2\tb\tstring\tDefault\tnone", "unknown semantics \"Default\""),
            ("0\t2\tb\tstring\tdefault\tfurlongs", "unknown units \"furlongs\""),
            ("0\t1\tb\tstring\tdefault\tnone", "pen 0 id 1 stands twice"),
            ("0\t2\ta\tstring\tdefault\tnone", "ids 1 and 2 share the name a"),
        ] {
            let error = read(&[good, bad]).unwrap_err();
            assert!(error.contains(words), "{bad:?} gave {error:?}");
        }
        assert!(parse("x.tsv", "pen\tid\n").unwrap_err().contains("x.tsv line 1"));
    }

    #[test]
    fn one_name_may_stand_in_two_pens() {
        assert!(read(&["0\t1\ta\tstring\tdefault\tnone", "9\t1\ta\tstring\tdefault\tnone"]).is_ok());
    }

    #[test]
    fn rg_01_reverse_elements_follow_by_rule_and_rows_beat_it() {
        let rows = read(&[
            "0\t1\toctetDeltaCount\tunsigned64\tdeltaCounter\toctets",
            "0\t148\tflowId\tunsigned64\tidentifier\tnone",
            "6871\t14\tinitialTCPFlags\tunsigned8\tflags\tnone",
            "6871\t15\tx\tunsigned8\tflags\tnone",
            "6871\t16399\town\tunsigned16\tflags\tnone",
        ]);
        let all = sort_unique(with_reverse(rows.unwrap())).unwrap();
        let name = |pen, id| all.iter().find(|r| (r.pen, r.id) == (pen, id)).map(|r| r.name.as_str());
        assert_eq!(name(REVERSE_PEN, 1), Some("reverseOctetDeltaCount"));
        assert_eq!(name(REVERSE_PEN, 148), None);
        assert_eq!(name(CERT_PEN, 16398), Some("reverseInitialTCPFlags"));
        assert_eq!(name(CERT_PEN, 16399), Some("own"));
        assert_eq!(all.len(), 7);
    }
}
