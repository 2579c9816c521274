//! Chosen fields from a batch to a body: a golden line with every kind, what a list leaves out, bounds, any octets.

use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::fields::OutputFields;
use super::super::ndjson::Lines;
use super::super::testing::{self, Flow};
use super::super::{Counters, EncodeSettings, Encoder, Format, Progress};
use crate::element::{self, Registry};
use crate::flow::{
    BytesKind, ElementId, ElementValue, Exporter, Field, FieldKind, FlowBatch, FlowRecord, Presence, TimeSource,
    Version,
};
use crate::limits::{BODY_OCTETS_MAX, ROW_FIELDS_OCTETS_MAX, ROW_LEFT_OUT_NAMES_MAX};

fn fields(text: &str) -> OutputFields {
    OutputFields::parse(text, Arc::default()).unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

fn push_element(batch: &mut FlowBatch, pen: u32, id: u16, octets: &[u8]) {
    let record = batch.records.len() as u32 - 1;
    let (offset, length) = (batch.octets.len() as u32, octets.len() as u16);
    batch.octets.extend_from_slice(octets);
    batch.elements.push(ElementValue { record, element: ElementId { pen, id }, offset, length });
}

fn push_named(batch: &mut FlowBatch, name: &str, octets: &[u8]) {
    let ElementId { pen, id } = element::by_name(name).unwrap_or_else(|| panic!("{name} is not registered")).id;
    push_element(batch, pen, id, octets);
}

fn line(batch: &FlowBatch, fields: &OutputFields) -> (String, Map<String, Value>) {
    let mut out = Vec::new();
    Lines::new(fields).write(batch, batch.records.len() - 1, &mut out);
    let text = String::from_utf8(out).expect("UTF-8");
    let Value::Object(object) = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}")) else {
        panic!("no object: {text}")
    };
    // A key that stood twice would be one here: each `":` behind a word is one of them.
    (text, object)
}

fn settings(format: Format) -> EncodeSettings {
    EncodeSettings { format, extra_keys: true, counters: Counters::Raw }
}

fn encode(batch: &FlowBatch, format: Format, fields: &OutputFields) -> (Vec<u8>, Progress) {
    let mut encoder = Encoder::new(settings(format), 1_000, BODY_OCTETS_MAX).with_fields(fields);
    let mut progress = Progress::default();
    encoder.append(batch, &mut progress);
    (encoder.finish().map(|body| body.body.to_vec()).unwrap_or_default(), progress)
}

/// A record with a value of every kind of field and every type of element.
fn everything() -> FlowBatch {
    let mut batch = FlowBatch::with_capacity(1);
    batch.exporters.push(Arc::new(Exporter {
        name: Some("border".into()),
        switch_id: "sw\"1".into(),
        tenant: "blue".into(),
        ..Exporter::of_address(IpAddr::from([192, 0, 2, 1]))
    }));
    batch.note_receive(1_700_000_000_000_000_000);
    testing::push(&mut batch, Flow { exporter: 0, serial: 7, v6: false });
    let record = &mut batch.records[0];
    record.version = Version::Ipfix;
    record.presence.set(Presence::TIMES.with(Presence::COUNTER_TOTAL).with(Presence::BAD_TIMES));
    record.presence.set(Presence::REVERSE.with(Presence::IMPLAUSIBLE).with(Presence::TEMPLATE));
    record.presence.set(Presence::SRC_MASK.with(Presence::POST_VLAN).with(Presence::FLOW_END_REASON));
    (record.template_id, record.src_mask, record.post_vlan, record.flow_end_reason) = (256, 24, 12, 3);
    (record.time_source, record.bytes_kind) = (TimeSource::Delta, BytesKind::Layer4);
    batch.push_number(0, Field::Ttl, 64);
    batch.push_number(0, Field::FlowId, u64::MAX);
    batch.push_octets(0, Field::BgpNextHop, &[192, 0, 2, 9]);
    batch.push_octets(0, Field::PostSrcIp, &[0xfe; 16]);
    batch.push_octets(0, Field::PostDstMac, &[2, 0, 0, 0, 0, 1]);
    batch.push_octets(0, Field::AppName, "w\u{202e}eb\n".as_bytes());
    batch.push_octets(0, Field::MplsLabels, &[0, 0, 0, 16, 0, 0, 1, 0]);
    batch.push_octets(0, Field::RouteDistinguisher, &[0, 1, 0xff]);
    // Given twice by mistake: the first counts.
    batch.push_number(0, Field::Ttl, 1);
    push_named(&mut batch, "tcpWindowScale", &[7]);
    push_named(&mut batch, "tcpWindowScale", &[0, 8]);
    push_named(&mut batch, "mibObjectValueInteger", &[0xff]);
    push_named(&mut batch, "samplingProbability", &0.5_f32.to_be_bytes());
    push_named(&mut batch, "absoluteError", &f64::NAN.to_be_bytes());
    push_named(&mut batch, "dataRecordsReliability", &[2]);
    push_named(&mut batch, "wlanSSID", b"caf\xe9\0\0");
    push_named(&mut batch, "staMacAddress", &[0, 1, 2, 3, 4, 5]);
    push_named(&mut batch, "collectorIPv4Address", &[192, 0, 2, 200]);
    push_named(&mut batch, "collectorIPv6Address", &[0; 16]);
    push_named(&mut batch, "collectorIPv4Address", &[192, 0, 2]);
    push_named(&mut batch, "flowStartSeconds", &1_700_000_000_u32.to_be_bytes());
    push_named(&mut batch, "flowStartMilliseconds", &1_700_000_000_123_u64.to_be_bytes());
    push_named(&mut batch, "flowStartNanoseconds", &((1_700_000_000_u64 + 2_208_988_800) << 32).to_be_bytes());
    push_named(&mut batch, "mplsLabelStackSection", &[0, 1, 0x41]);
    push_named(&mut batch, "basicList", &[3, 0, 1]);
    push_element(&mut batch, u32::MAX, 32_767, &[0xca, 0xfe]);
    push_element(&mut batch, u32::MAX, 32_767, &[]);
    batch
}

#[test]
fn g_06_and_ix_28_to_36_a_line_of_all_kinds() {
    let (text, _) = line(&everything(), &fields("all"));
    let golden = concat!(
        r#"{"version":10,"exporter":"192.0.2.1","exporter_name":"border","tenant":"blue","switch_id":"sw\"1","#,
        r#""observation_domain":0,"template_id":256,"src_ip":"10.0.0.7","dst_ip":"198.51.100.7","src_port":7,"#,
        r#""dst_port":443,"protocol":6,"bytes":7,"packets":1,"counter":"total","bytes_kind":"l4","src_mask":24,"#,
        r#""post_vlan_id":12,"sampling_rate":1,"sampling_source":"unknown","flow_start":1700000000,"#,
        r#""flow_end":1700000001,"flow_start_ms":1700000000999,"flow_end_ms":1700000001000,"time_source":"delta","#,
        r#""bad_times":true,"flow_end_reason":3,"reverse":true,"implausible":true,"ttl":64,"#,
        r#""flow_id":18446744073709551615,"bgp_next_hop":"192.0.2.9","#,
        r#""post_src_ip":"fefe:fefe:fefe:fefe:fefe:fefe:fefe:fefe","post_dst_mac":"02:00:00:00:00:01","#,
        r#""app_name":"w\u202eeb","mpls_labels":[16,256],"route_distinguisher":"0001ff","#,
        r#""tcpWindowScale":7,"tcpWindowScale#2":8,"mibObjectValueInteger":-1,"samplingProbability":0.5,"#,
        r#""absoluteError":null,"dataRecordsReliability":false,"wlanSSID":"caf�","#,
        r#""staMacAddress":"00:01:02:03:04:05","collectorIPv4Address":"192.0.2.200","#,
        r#""collectorIPv6Address":"::","collectorIPv4Address#2:hex":"c00002","#,
        r#""flowStartSeconds":"2023-11-14T22:13:20Z","flowStartMilliseconds":"2023-11-14T22:13:20.123Z","#,
        r#""flowStartNanoseconds":"2023-11-14T22:13:20.000000000Z","mplsLabelStackSection":"000141","#,
        r#""basicList":"030001","4294967295/32767":"cafe","4294967295/32767#2":""}"#,
    );
    assert_eq!(text, golden);
}

#[test]
fn a_14_and_ix_32_no_text_of_the_wire_acts_on_what_shows_it() {
    // Control characters of all kinds, ends of JSON and of lines, marks and overrides of direction, what cannot be seen.
    let hostile = "a\u{1b}[2J\r\n\t\u{7}\u{7f}\u{85}\u{9b}\"\\,\"bytes\":1}\u{202a}\u{202e}\u{2066}\u{2069}\u{61c}\u{200b}\u{200f}\u{2028}\u{feff}\u{e0041}b";
    let mut batch = everything();
    let mut names = Vec::new();
    let has: Vec<Field> = batch.fields.iter().map(|value| value.field).collect();
    for field in Field::ALL.iter().filter(|field| field.info().kind == FieldKind::Text && !has.contains(field)) {
        batch.push_octets(0, *field, hostile.as_bytes());
        names.push(field.info().name);
    }
    assert!(names.len() >= 15, "{names:?}");
    for element in ["userName", "interfaceName", "httpRequestHost"] {
        push_named(&mut batch, element, hostile.as_bytes());
        names.push(element);
    }
    for format in [Format::Ndjson, Format::BackendJson] {
        let (body, _) = encode(&batch, format, &fields("all"));
        let text = String::from_utf8(body).expect("UTF-8");
        let shown = text.strip_suffix('\n').unwrap_or(&text);
        let acts = |c: &char| c.is_control() || !c.is_ascii() && *c != '\u{fffd}';
        assert_eq!(shown.chars().find(acts), None, "{shown}");
        // Nothing is lost by it.
        let value: Value = serde_json::from_str(shown).expect("JSON");
        let record = if format == Format::Ndjson { &value } else { &value["records"][0] };
        for name in &names {
            assert_eq!(record[*name], hostile, "{name}");
        }
    }
}

#[test]
fn a_list_has_what_it_names_and_nothing_else() {
    let list = "src_ip,time_source,event,ttl,post_src_port,tcpWindowScale,4294967295/32767";
    let (text, _) = line(&everything(), &fields(list));
    assert_eq!(
        text,
        r#"{"src_ip":"10.0.0.7","time_source":"delta","ttl":64,"tcpWindowScale":7,"tcpWindowScale#2":8,"4294967295/32767":"cafe","4294967295/32767#2":""}"#
    );
    let (text, _) = line(&everything(), &fields("event"));
    assert_eq!(text, "{}");
    // The same through the encoder of a batcher.
    let (body, _) = encode(&everything(), Format::Ndjson, &fields("ttl"));
    assert_eq!(body, b"{\"ttl\":64}\n");
}

#[test]
fn the_backend_gets_its_own_keys_whatever_is_chosen() {
    let plain = encode(&everything(), Format::BackendJson, &OutputFields::default()).0;
    let plain: Value = serde_json::from_slice(&plain).expect("JSON");
    let plain = plain["records"][0].as_object().expect("a record").clone();
    for (list, added) in [
        ("ttl,tcpWindowScale", json!({"ttl": 64, "tcpWindowScale": 7, "tcpWindowScale#2": 8})),
        ("src_ip,bytes,switch_id,flow_start", json!({})),
        ("sampling_rate,version,counter", json!({"version": 10, "counter": "total"})),
    ] {
        let (body, progress) = encode(&everything(), Format::BackendJson, &fields(list));
        let text = String::from_utf8(body).expect("UTF-8");
        assert_eq!(text.matches("\"sampling_rate\"").count(), 1, "{text}");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let mut expected = plain.clone();
        expected.extend(added.as_object().expect("an object").clone());
        assert_eq!(value["records"][0], Value::Object(expected), "{list}");
        assert_eq!(progress.clamped, 0);
    }
    let (body, progress) = encode(&everything(), Format::BackendJson, &fields("all"));
    let value: Value = serde_json::from_slice(&body).expect("JSON");
    let record = value["records"][0].as_object().expect("a record");
    assert!(plain.iter().all(|(key, value)| record.get(key) == Some(value)));
    // The backend stores signed 64 bits.
    assert_eq!((&record["flow_id"], progress.clamped), (&json!(i64::MAX), 1));
    assert_eq!(value["switch_id"], "sw\"1");
}

#[test]
fn a_field_that_is_too_large_for_the_row_is_left_out_by_name() {
    let mut batch = everything();
    for _ in 0..20 {
        push_element(&mut batch, 7_000_000, 1, &[0xab; 65_535]);
    }
    push_element(&mut batch, 7_000_000, 2, &[1]);
    let (text, object) = line(&batch, &fields("all"));
    assert!(text.len() < ROW_FIELDS_OCTETS_MAX + 4_096, "{}", text.len());
    // One of 131,070 octets fits beside the others; what comes later and is small fits as well.
    assert_eq!(object["7000000/1"].as_str().map(str::len), Some(131_070));
    assert_eq!(object["7000000/2"], "01");
    let names = object["left_out"].as_array().expect("names");
    assert_eq!((names.len(), &object["left_out_count"]), (ROW_LEFT_OUT_NAMES_MAX, &json!(19)));
    assert_eq!(names[0], "7000000/1#2");
    // The next record has room again.
    let (_, object) = line(&everything(), &fields("all"));
    assert!(!object.contains_key("left_out"));
}

#[test]
fn ix_33_octets_of_65000_arrive_whole() {
    let mut batch = everything();
    push_named(&mut batch, "dataLinkFrameSection", &[0x5a; 65_000]);
    let (_, object) = line(&batch, &fields("dataLinkFrameSection"));
    assert_eq!(object["dataLinkFrameSection"].as_str(), Some(&*"5a".repeat(65_000)));
}

#[test]
fn a_full_row_of_the_longest_kind_ends_in_its_bounds() {
    // A message's worth of list elements, all of one name, and each with the largest number behind it.
    let mut batch = everything();
    for _ in 0..8_192 {
        push_named(&mut batch, "informationElementDescription", &[0x1b; 4]);
    }
    let mut out = Vec::new();
    Lines::new(&fields("all")).write(&batch, 0, &mut out);
    assert!(out.len() < ROW_FIELDS_OCTETS_MAX + 4_096, "{}", out.len());
    let read: Value = serde_json::from_slice(&out).expect("JSON");
    assert!(read["left_out_count"].as_u64().is_some_and(|count| count > 1_000));
    // In a body that is smaller than the record it goes out alone.
    let mut encoder = Encoder::new(settings(Format::BackendJson), 10, 1_000).with_fields(&fields("all"));
    encoder.append(&batch, &mut Progress::default());
    let body = encoder.finish().expect("a body");
    assert_eq!(body.records, 1);
    serde_json::from_slice::<Value>(&body.body).expect("JSON");
}

#[test]
fn what_is_not_asked_for_costs_no_key_even_if_the_batch_has_it() {
    let mut batch = everything();
    push_element(&mut batch, 9, 1_232, &[0, 7]);
    let (_, object) = line(&batch, &fields("9/1232"));
    assert_eq!(Value::Object(object), json!({"9/1232": 7}));
    let name = element::lookup(ElementId { pen: 9, id: 1_232 }).expect("known").name;
    let (_, object) = line(&batch, &fields(name));
    assert_eq!(Value::Object(object), json!({name: 7}));
}

#[test]
fn n9_27_a_makers_type_has_its_name_where_the_maker_is_known() {
    let mut batch = testing::batch(&["a", "b"]);
    batch.exporters[1] = Arc::new(Exporter { maker: Some(9), ..Exporter::of_address(IpAddr::from([192, 0, 2, 2])) });
    // Sixteen bits above IANA's that several makers use.
    let name = element::lookup_netflow9(34_000, Some(9)).expect("known").name;
    testing::push(&mut batch, Flow { exporter: 1, serial: 1, v6: false });
    push_element(&mut batch, 0, 34_000, &[0, 7]);
    let (_, object) = line(&batch, &fields("all"));
    assert_eq!(object[name], 7);
    let (_, object) = line(&batch, &fields(name));
    assert_eq!(Value::Object(object), json!({name: 7}));
}

#[test]
fn the_usual_lines_say_what_is_out_of_the_ordinary() {
    let ordinary = |change: &dyn Fn(&mut FlowRecord)| {
        let mut batch = testing::batch(&["a"]);
        testing::push(&mut batch, Flow { exporter: 0, serial: 1, v6: false });
        batch.records[0].time_source = TimeSource::Milliseconds;
        change(&mut batch.records[0]);
        line(&batch, &OutputFields::default()).1
    };
    let usual = ordinary(&|_| {});
    for (key, value, change) in [
        ("counter", json!("total"), (|r| r.presence.set(Presence::COUNTER_TOTAL)) as fn(&mut FlowRecord)),
        ("reverse", json!(true), |r| r.presence.set(Presence::REVERSE)),
        ("bad_times", json!(true), |r| r.presence.set(Presence::BAD_TIMES)),
        ("implausible", json!(true), |r| r.presence.set(Presence::IMPLAUSIBLE)),
        ("event", json!(true), |r| r.presence.set(Presence::EVENT)),
        ("bytes_kind", json!("l2"), |r| r.bytes_kind = BytesKind::Layer2),
        ("bytes_kind", json!("l4"), |r| r.bytes_kind = BytesKind::Layer4),
        ("time_source", json!("header"), |r| r.time_source = TimeSource::Header),
        ("time_source", json!("receive"), |r| r.time_source = TimeSource::Receive),
    ] {
        assert!(!usual.contains_key(key), "{key}");
        let mut expected = usual.clone();
        expected.insert(key.to_owned(), value);
        assert_eq!(ordinary(&change), expected);
    }
}

#[test]
fn a_registry_that_changes_is_asked_again_and_one_name_never_hides_another() {
    // Two elements that go by one name are told apart.
    let mut batch = everything();
    let twins: Vec<ElementId> = ["flowStartSeconds", "tcpWindowScale"].map(|n| element::by_name(n).unwrap().id).into();
    for twin in twins {
        push_element(&mut batch, twin.pen, twin.id, &[0, 0, 0, 1]);
    }
    let (text, object) = line(&batch, &fields("all"));
    assert_eq!(object["tcpWindowScale#3"], 1);
    assert_eq!(text.matches("\"flowStartSeconds").count(), 2);
    assert_eq!(Registry::default().generation(), 0);
}

prop_compose! {
    fn any_elements()(elements in prop::collection::vec(
        (prop_oneof![Just(0_u32), Just(9), Just(29_305), any::<u32>()], any::<u16>(), prop::collection::vec(any::<u8>(), 0..40)),
        0..30,
    )) -> Vec<(u32, u16, Vec<u8>)> { elements }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_octets_under_any_name_are_json_with_each_key_once(
        elements in any_elements(),
        given in prop::collection::vec((prop::sample::select(Field::ALL.to_vec()), prop::collection::vec(any::<u8>(), 0..40)), 0..10),
        template in testing::any_batch(1),
    ) {
        let mut batch = template;
        prop_assume!(!batch.records.is_empty());
        for (field, octets) in given {
            batch.push_octets(0, field, &octets);
        }
        for (pen, id, octets) in &elements {
            // Two thirds of what IANA has below 600.
            push_element(&mut batch, *pen, if *pen == 0 { id % 600 } else { *id }, octets);
        }
        let (text, object) = line(&batch, &fields("all"));
        // Written again without the map, a key that stood twice would be missed.
        let keys = Keys::of(&text);
        prop_assert_eq!(keys, object.len());
        // Padding is the writer's business no less than any other element: decode leaves it out.
        prop_assert!(object.len() >= elements.len());
        for format in [Format::BackendJson, Format::Ndjson] {
            let (body, _) = encode(&batch, format, &fields("all"));
            if !body.is_empty() {
                serde_json::from_slice::<Value>(&body).expect("JSON");
            }
        }
    }
}

/// Counts the keys of an object as they were written.
struct Keys;

impl Keys {
    fn of(text: &str) -> usize {
        let (mut depth, mut keys, mut in_string, mut escaped) = (0, 0, false, false);
        let mut before = ' ';
        for c in text.chars() {
            match c {
                _ if escaped => escaped = false,
                '\\' if in_string => escaped = true,
                '"' => in_string = !in_string,
                '{' | '[' if !in_string => depth += 1,
                '}' | ']' if !in_string => depth -= 1,
                ':' if !in_string && depth == 1 && before == '"' => keys += 1,
                _ => {}
            }
            before = c;
        }
        keys
    }
}
