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

/// Keys that show an element as it is, by the number that it has on the wire.
fn keys_of(element: ElementId) -> &'static [&'static str] {
    match (element.pen, element.id) {
        (0, 8 | 27) => &["src_ip"],
        (0, 12 | 28) => &["dst_ip"],
        (0, 7 | 180 | 182) => &["src_port"],
        (0, 11 | 181 | 183) => &["dst_port"],
        (0, 4) => &["protocol"],
        (0, 1 | 85 | 231 | 171 | 352 | 353 | 416 | 419) => &["bytes"],
        (0, 2 | 86 | 298 | 172) => &["packets"],
        (0, 23) => &["bytes", "post_bytes"],
        (0, 24) => &["packets", "post_packets"],
        (0, 56) => &["src_mac"],
        (0, 80) => &["dst_mac"],
        (0, 81) => &["src_mac", "post_src_mac"],
        (0, 57) => &["dst_mac", "post_dst_mac"],
        (0, 58 | 243) => &["vlan_id"],
        (0, 59 | 254) => &["post_vlan_id"],
        (0, 34_000 | 34_004) | (9, 1_232 | 1_236) => &["src_sgt"],
        (0, 34_001) | (9, 1_233) => &["dst_sgt"],
        (0, 6) => &["tcp_flags"],
        (0, 5) => &["tos"],
        (0, 10 | 252) => &["input_if"],
        (0, 14 | 253) => &["output_if"],
        (0, 16) => &["src_as"],
        (0, 17) => &["dst_as"],
        (0, 9 | 29) => &["src_mask"],
        (0, 13 | 30) => &["dst_mask"],
        (0, 15 | 62) => &["next_hop"],
        (0, 61) => &["direction"],
        (0, 136) => &["flow_end_reason"],
        (0, 245) => &["inner_vlan_id"],
        (0, 255) => &["post_inner_vlan_id"],
        (0, 256) => &["ether_type"],
        (0, 60) => &["ip_version"],
        (0, 195) => &["dscp"],
        (0, 55) => &["post_tos"],
        (0, 98) => &["post_dscp"],
        (0, 192) => &["ttl"],
        (0, 52) => &["ttl_min"],
        (0, 53) => &["ttl_max"],
        (0, 224) => &["ip_length"],
        (0, 25) => &["ip_length_min"],
        (0, 26) => &["ip_length_max"],
        (0, 54) => &["fragment_id"],
        (0, 88) => &["fragment_offset"],
        (0, 197) => &["fragment_flags"],
        (0, 31) => &["ipv6_flow_label"],
        (0, 18 | 63) => &["bgp_next_hop"],
        (0, 129) => &["src_peer_as"],
        (0, 128) => &["dst_peer_as"],
        (0, 44 | 170) => &["src_prefix"],
        (0, 45 | 169) => &["dst_prefix"],
        (0, 89) => &["forwarding_status"],
        (0, 234) => &["ingress_vrf_id"],
        (0, 235) => &["egress_vrf_id"],
        (0, 236) => &["ingress_vrf"],
        (0, 90) => &["route_distinguisher"],
        (0, 46) => &["mpls_top_label_type"],
        (0, 47 | 140) => &["mpls_top_label_ip"],
        (0, 295) => &["ipsec_spi"],
        (0, 296) => &["gre_key"],
        (0, 225 | 281 | 40_001) => &["post_src_ip"],
        (0, 226 | 282 | 40_002) => &["post_dst_ip"],
        (0, 227 | 40_003) => &["post_src_port"],
        (0, 228 | 40_004) => &["post_dst_port"],
        (0, 230) => &["nat_event"],
        (0, 297) => &["nat_type"],
        (0, 229) => &["nat_realm"],
        (0, 283) => &["nat_pool_id"],
        (0, 284) => &["nat_pool_name"],
        (0, 463) => &["nat_instance_id"],
        (0, 361) => &["port_range_start"],
        (0, 362) => &["port_range_end"],
        (0, 363) => &["port_range_step"],
        (0, 364) => &["port_range_size"],
        (0, 233 | 40_005) => &["firewall_event"],
        (0, 33_002) | (9, 234) => &["firewall_extended_event"],
        (0, 33_000) | (9, 232) => &["ingress_acl"],
        (0, 33_001) | (9, 233) => &["egress_acl"],
        (0, 96 | 56_701) => &["app_name"],
        (0, 94) => &["app_description"],
        (0, 372) => &["app_category"],
        (0, 371 | 40_000 | 56_702) | (9, 12_333 | 45_101) | (8_741, 35) => &["user"],
        (0, 34_002) | (9, 1_234) => &["src_sgt_name"],
        (0, 34_003) | (9, 1_235) => &["dst_sgt_name"],
        (0, 148) | (2_636, 107) => &["flow_id"],
        (0, 239) => &["biflow_direction"],
        (0, 258) => &["exporter_time_ms"],
        (0, 132 | 134) => &["dropped_bytes"],
        (0, 133 | 135) => &["dropped_packets"],
        (0, 48 | 302) => &["sampler_id"],
        (0, 84 | 335) => &["sampler_name"],
        (0, 141) => &["line_card_id"],
        (0, 137) => &["common_properties_id"],
        (0, 130 | 131 | 403 | 404) => &["original_exporter"],
        (0, 405) => &["original_observation_domain"],
        (0, 300) => &["observation_domain_name"],
        (6_876, 880) => &["inner_protocol"],
        (6_876, 881 | 883) => &["inner_src_ip"],
        (6_876, 882 | 884) => &["inner_dst_ip"],
        (6_876, 886) => &["inner_src_port"],
        (6_876, 887) => &["inner_dst_port"],
        (6_876, 891) => &["tunnel_type"],
        (6_876, 892) => &["vni"],
        (6_876, 893) => &["tunnel_src_ip"],
        (6_876, 894) => &["tunnel_dst_ip"],
        (6_876, 895) => &["tunnel_protocol"],
        (6_876, 896) => &["tunnel_src_port"],
        (6_876, 897) => &["tunnel_dst_port"],
        _ => &[],
    }
}

/// The octets that an element has in the view of the wire.
fn octets_of(hex: &Value) -> Vec<u8> {
    let digits = hex.as_str().expect("hex").as_bytes();
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks_exact(2).map(octet).collect()
}

/// True if a key's value says all that `octets` do.
fn says_all(value: &Value, octets: &[u8]) -> bool {
    let hex = || octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>();
    match value {
        Value::Number(number) => {
            let (upper, lower) = octets.split_at(octets.len().saturating_sub(8));
            let says = lower.iter().fold(0, |all, octet| all << 8 | u64::from(*octet));
            number.as_u64() == Some(says) && upper.iter().all(|octet| *octet == 0)
        }
        Value::String(text) => {
            let is_address = text.parse::<std::net::IpAddr>().is_ok_and(|address| match address {
                std::net::IpAddr::V4(v4) => v4.octets() == octets,
                std::net::IpAddr::V6(v6) => v6.octets() == octets,
            });
            let filled = octets.strip_prefix(text.as_bytes());
            let is_text = filled.is_some_and(|rest| rest.iter().all(|octet| matches!(octet, 0 | b' ')));
            is_address || is_text || *text == hex().join(":") || *text == hex().concat()
        }
        _ => false,
    }
}

#[test]
fn g_06_every_element_of_every_capture_goes_out_under_a_name_or_number() {
    let Some(corpus) = common::corpus() else { return };
    let registry = Arc::<Registry>::default();
    let all = fields::read("all", &registry).unwrap();
    let selection = fields::select(&all, Selection::CAPTURE);
    let (exporter, mut names) = (Exporter::of_address([192, 0, 2, 1].into()), BTreeMap::new());
    let (mut missing, mut named, mut by_key, mut apart) = (BTreeSet::new(), 0, 0, 0);
    let mut captures: Vec<_> = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    captures.retain(|path| path.extension().is_some_and(|e| e == "pcap"));
    captures.sort();
    for path in captures {
        let mut wire =
            lines(&path, &Selection::WIRE, |batch, index, out| write_ndjson(&batch.records[index], batch, index, out));
        // Records that are no flows are statistics, and go out nowhere.
        wire.retain(|row| ["src_ip", "src_mac"].iter().any(|key| row.contains_key(*key)));
        let mut print = Lines::new(&all);
        let rows = lines(&path, &selection, |batch, index, out| print.write(batch, index, out));
        let same = |key: &str| rows.iter().zip(&wire).all(|(row, wire)| row.get(key) == wire.get(key));
        // Row by row where each record became one; else any row of the capture may have it.
        let each = rows.len() == wire.len() && ["template_id", "src_ip", "dst_ip"].into_iter().all(same);
        apart += usize::from(!each);
        for (at, record) in wire.iter().enumerate() {
            let version = record["version"].as_u64().and_then(|v| Version::from_wire(v as u16)).unwrap();
            let rows = if each { &rows[at..=at] } else { &rows[..] };
            for (number, hex) in record.get("ies").and_then(Value::as_object).into_iter().flatten() {
                let (pen, id) = bare(number).split_once('/').unwrap();
                let element = ElementId { pen: pen.parse().unwrap(), id: id.parse().unwrap() };
                let name = names.entry((version as u16, element)).or_insert_with(|| {
                    registry.find(&exporter, version, element, None).map(|known| known.name.to_string())
                });
                let octets = octets_of(hex);
                let has = |key: &str| rows.iter().any(|row| row.keys().any(|other| bare(other) == key));
                let says = |key: &&str| rows.iter().any(|row| row.get(*key).is_some_and(|v| says_all(v, &octets)));
                let is_padding = element == ElementId { pen: 0, id: 210 };
                if name.as_deref().is_some_and(has) || has(bare(number)) {
                    named += 1;
                } else if keys_of(element).iter().any(says) {
                    by_key += 1;
                } else if !is_padding {
                    missing.insert(format!("{}: {number} ({name:?}) {hex}", path.display()));
                }
            }
        }
    }
    let first: Vec<String> = missing.iter().take(50).cloned().collect();
    assert!(missing.is_empty(), "{} of them\n{}", missing.len(), first.join("\n"));
    assert!(named > 50_000 && by_key > 200_000, "{named} by name, {by_key} by a key");
    assert!(apart < 20, "{apart} captures could not be looked at row by row");
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
