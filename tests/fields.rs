//! Chosen fields from outside: docs/fields.md against the tables, captures with everything, lists of a file.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use clarion_collector::config::fields;
use clarion_collector::decode::Selection;
use clarion_collector::element::Registry;
use clarion_collector::flow::{ElementId, Exporter, FIELDS, FieldKind, Version};
use clarion_collector::sink::encode::ndjson::{Lines, write_ndjson};
use clarion_collector::sink::encode::{CORE_KEYS, OutputFields};
use clarion_collector::tools::capture::Capture;
use clarion_collector::tools::decode::decode_capture;
use serde_json::{Map, Value};

fn core_table() -> String {
    let mut table = String::from("| key | what it is |\n| --- | --- |\n");
    for key in CORE_KEYS {
        let _ = writeln!(table, "| `{}` | {} |", key.name, key.about);
    }
    table
}

/// What the catalogue's source says of each field, by its name.
fn sources() -> BTreeMap<String, String> {
    let text = include_str!("../src/flow/field.rs");
    let (_, rows) = text.split_once("\nfields! {\n").expect("the catalogue");
    let rows = rows.split("\n}\n").next().expect("its end");
    let (mut said, mut all) = (Vec::new(), BTreeMap::new());
    for line in rows.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("///") {
            said.push(comment.trim());
        } else if let Some((_, row)) = line.split_once(" = \"") {
            let name = row.split('"').next().expect("a name").to_owned();
            all.insert(name, said.join(" ").trim_end_matches('.').to_owned());
            said.clear();
        }
    }
    all
}

fn catalogue_table() -> String {
    let sources = sources();
    let mut table = String::from("| field | value | from |\n| --- | --- | --- |\n");
    for field in FIELDS {
        let kind = match field.kind {
            FieldKind::Unsigned => "number",
            FieldKind::Address => "address",
            FieldKind::Mac => "MAC address",
            FieldKind::Text => "text",
            FieldKind::Numbers => "list of numbers",
            FieldKind::Octets => "hex",
        };
        let from = sources.get(field.name).unwrap_or_else(|| panic!("{} has no comment", field.name));
        let _ = writeln!(table, "| `{}` | {kind} | {from} |", field.name);
    }
    table
}

#[test]
fn the_page_of_fields_has_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fields.md");
    let text = fs::read_to_string(&path).expect("the page exists");
    let mut right = text.clone();
    for (name, table) in [("core", core_table()), ("catalogue", catalogue_table())] {
        let begin = right.find(&format!("<!-- {name}:")).expect("the page has the mark");
        let begin = begin + right[begin..].find("-->\n").expect("the mark ends") + 4;
        let end = right.find(&format!("<!-- /{name} -->")).expect("the page has the end mark");
        right.replace_range(begin..end, &table);
    }
    if std::env::var_os("CLARION_UPDATE").is_some() {
        fs::write(&path, &right).expect("the page can be written");
    }
    let text = fs::read_to_string(&path).expect("the page exists");
    assert!(text == right, "docs/fields.md differs from the tables: run CLARION_UPDATE=1 cargo test --test fields");
    let toml = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let list: Vec<&str> = toml.split('"').skip(1).step_by(2).collect();
    fields::read(&list.join(","), &Arc::default()).expect("the example is right");
}

/// Every line of a capture as an object.
fn lines(
    path: &Path,
    selection: &Selection,
    mut write: impl FnMut(&clarion_collector::flow::FlowBatch, usize, &mut Vec<u8>),
) -> Vec<Map<String, Value>> {
    let mut capture = Capture::open(path).unwrap();
    let (mut all, mut line) = (Vec::new(), Vec::new());
    decode_capture(&mut capture, selection.clone(), |batch| {
        for index in 0..batch.records.len() {
            line.clear();
            write(batch, index, &mut line);
            all.push(
                serde_json::from_slice(&line).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&line))),
            );
        }
        Ok(())
    })
    .unwrap();
    all
}

/// A key without what is put behind a name.
fn bare(key: &str) -> &str {
    key.trim_end_matches(":hex").split('#').next().unwrap_or(key)
}

/// Core keys that show an element as it is.
fn core_keys_of(element: ElementId) -> Option<&'static str> {
    Some(match (element.pen, element.id) {
        (0, 8 | 27) => "src_ip",
        (0, 12 | 28) => "dst_ip",
        (0, 7 | 180 | 182) => "src_port",
        (0, 11 | 181 | 183) => "dst_port",
        (0, 4) => "protocol",
        (0, 1 | 85 | 231 | 23 | 171 | 352 | 353 | 416 | 419) => "bytes",
        (0, 2 | 86 | 298 | 24 | 172) => "packets",
        (0, 56 | 81) => "src_mac",
        (0, 80 | 57) => "dst_mac",
        (0, 58 | 243) => "vlan_id",
        (0, 59 | 254) => "post_vlan_id",
        (0, 34_000 | 34_004) | (9, 1_232 | 1_236) => "src_sgt",
        (0, 34_001) | (9, 1_233) => "dst_sgt",
        (0, 6) => "tcp_flags",
        (0, 5) => "tos",
        (0, 10 | 252) => "input_if",
        (0, 14 | 253) => "output_if",
        (0, 16) => "src_as",
        (0, 17) => "dst_as",
        (0, 9 | 29) => "src_mask",
        (0, 13 | 30) => "dst_mask",
        (0, 15 | 62) => "next_hop",
        (0, 136) => "flow_end_reason",
        _ => return None,
    })
}

#[test]
fn g_06_every_element_of_every_capture_goes_out_under_a_name_or_number() {
    let Some(corpus) = common::corpus() else { return };
    let registry = Arc::<Registry>::default();
    let all = fields::read("all", &registry).unwrap();
    let selection = fields::select(&all, Selection::CAPTURE);
    let (mut missing, mut elements, mut named) = (Vec::new(), 0, 0);
    let mut captures: Vec<_> = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    captures.retain(|path| path.extension().is_some_and(|e| e == "pcap"));
    captures.sort();
    for path in captures {
        let wire =
            lines(&path, &Selection::WIRE, |batch, index, out| write_ndjson(&batch.records[index], batch, index, out));
        // Records that are no flows are statistics, and go out nowhere.
        let flows = wire.iter().filter(|row| ["src_ip", "src_mac"].iter().any(|key| row.contains_key(*key)));
        let mut print = Lines::new(&all);
        let rows = lines(&path, &selection, |batch, index, out| print.write(batch, index, out));
        let keys: BTreeSet<&str> = rows.iter().flat_map(|row| row.keys().map(|key| bare(key))).collect();
        let mut seen = BTreeSet::new();
        for row in flows {
            let version = row["version"].as_u64().and_then(|v| Version::from_wire(v as u16)).unwrap();
            for key in row.get("ies").and_then(Value::as_object).into_iter().flat_map(|ies| ies.keys()) {
                seen.insert((version, bare(key).to_owned()));
            }
        }
        for (version, number) in seen {
            let (pen, id) = number.split_once('/').unwrap();
            let element = ElementId { pen: pen.parse().unwrap(), id: id.parse().unwrap() };
            elements += 1;
            let exporter = Exporter::of_address([192, 0, 2, 1].into());
            let name = registry.find(&exporter, version, element, None).map(|known| known.name);
            let is_shown = name.as_deref().is_some_and(|name| keys.contains(name));
            named += usize::from(is_shown);
            let by_core = core_keys_of(element).is_some_and(|key| keys.contains(key));
            let is_padding = element == ElementId { pen: 0, id: 210 };
            if !is_shown && !by_core && !is_padding && !keys.contains(number.as_str()) {
                missing.push(format!("{}: {number} ({name:?})", path.display()));
            }
        }
    }
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
    assert!(elements > 500 && named > 200, "{elements} elements, {named} of them by name");
}

#[test]
fn a_capture_with_chosen_fields_has_these_alone() {
    let Some(corpus) = common::corpus() else { return };
    let chosen = fields::read("src_ip,bytes,flowStartSysUpTime", &Arc::default()).unwrap();
    let selection = fields::select(&chosen, Selection::CAPTURE);
    let mut print = Lines::new(&chosen);
    let rows =
        lines(&corpus.join("v9_softflowd_mixed.pcap"), &selection, |batch, index, out| print.write(batch, index, out));
    assert!(rows.len() > 1 && rows.iter().all(|row| row.len() <= 3));
    assert!(rows.iter().any(|row| row.contains_key("src_ip") && row.contains_key("bytes")));
    let usual = lines(&corpus.join("v9_softflowd_mixed.pcap"), &Selection::CAPTURE, {
        let mut print = Lines::new(&OutputFields::default());
        move |batch, index, out| print.write(batch, index, out)
    });
    assert_eq!(rows.len(), usual.len());
    for (row, usual) in rows.iter().zip(&usual) {
        assert_eq!((row.get("src_ip"), row.get("bytes")), (usual.get("src_ip"), usual.get("bytes")));
    }
}
