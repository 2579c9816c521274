//! Fields beyond `FlowRecord` in whole messages: both directions, lists, events, fixed formats.

use proptest::prelude::*;

use super::list::{ALL_OF, REVERSE, basic, data, fields, iana, learned, multi, prefixed, sub};
use super::*;
use crate::flow::{Field, FieldKind, FieldSet, Value};

const V: u16 = 0xFFFF;
const ALL: Selection = Selection { fields: FieldSet::ALL, ..Selection::CORE };

/// The fields of a row, by name; addresses of IPv4 as such, other octets as text.
fn of_row(bench: &Bench, row: usize) -> Vec<(&'static str, String)> {
    let text = |field: Field, value: &Value| match *value {
        Value::Unsigned(number) => number.to_string(),
        Value::Octets { offset, length } => {
            let octets = &bench.batch.octets[offset as usize..][..usize::from(length)];
            match *octets {
                [a, b, c, d] if field.info().kind == FieldKind::Address => Ipv4Addr::new(a, b, c, d).to_string(),
                _ => String::from_utf8_lossy(octets).into_owned(),
            }
        }
    };
    let mut fields: Vec<_> =
        bench.batch.fields_of(row).map(|field| (field.field.info().name, text(field.field, &field.value))).collect();
    fields.sort_unstable();
    fields
}

fn owned(fields: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// Fields stand in the order of their rows, each row has each once, and none belongs to a row that is not there.
fn assert_in_order(bench: &Bench) {
    assert!(bench.batch.fields.is_sorted_by_key(|field| field.record));
    let mut seen: Vec<_> = bench.batch.fields.iter().map(|field| (field.record, field.field)).collect();
    seen.sort_unstable();
    assert!(seen.windows(2).all(|pair| pair[0] != pair[1]), "twice: {seen:?}");
    assert!(bench.batch.fields.last().is_none_or(|field| (field.record as usize) < bench.batch.len()));
}

#[test]
fn ix_37_the_other_direction_has_its_fields_from_its_own_end() {
    let template = fields(
        256,
        &[
            (0, 8, 4),
            (0, 12, 4),
            (0, 1, 4),
            (0, 225, 4),
            (0, 227, 2),
            (0, 234, 4),
            (0, 235, 4),
            (0, 128, 4),
            (0, 52, 1),
            (0, 371, V),
            (9, 1234, V),
            (0, 5, 1),
            (REVERSE, 1, 4),
            (REVERSE, 52, 1),
            (REVERSE, 55, 1),
        ],
    );
    let record = [
        &[10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0, 9, 192, 0, 2, 1, 0, 80, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 1, 1, 60][..],
        &prefixed(b"ann"),
        &prefixed(b"staff"),
        &[0xB8, 0, 0, 0, 5, 50, 4],
    ]
    .concat();
    let (mut bench, domain) = learned(ALL, std::slice::from_ref(&template));
    assert_eq!(data(&mut bench, &domain, &record).records, 2);
    assert_in_order(&bench);
    let forward = [
        ("dscp", "46"),
        ("dst_peer_as", "257"),
        ("egress_vrf_id", "8"),
        ("ingress_vrf_id", "7"),
        ("ip_version", "4"),
        ("post_src_ip", "192.0.2.1"),
        ("post_src_port", "80"),
        ("src_sgt_name", "staff"),
        ("ttl_min", "60"),
        ("user", "ann"),
    ];
    let reverse = [
        ("dscp", "46"),
        ("dst_sgt_name", "staff"),
        ("egress_vrf_id", "7"),
        ("ingress_vrf_id", "8"),
        ("ip_version", "4"),
        ("post_dscp", "1"),
        ("post_dst_ip", "192.0.2.1"),
        ("post_dst_port", "80"),
        ("post_tos", "4"),
        ("src_peer_as", "257"),
        ("ttl_min", "50"),
        ("user", "ann"),
    ];
    assert_eq!(of_row(&bench, 0), owned(&forward));
    assert_eq!(of_row(&bench, 1), owned(&reverse));
    // One side alone is wanted: each row has that of its own end.
    let mut wanted = FieldSet::NONE;
    wanted.add(Field::IngressVrfId);
    let (mut bench, domain) = learned(Selection { fields: wanted, ..Selection::CORE }, &[template]);
    data(&mut bench, &domain, &record);
    assert_eq!(of_row(&bench, 0), owned(&[("ingress_vrf_id", "7")]));
    assert_eq!(of_row(&bench, 1), owned(&[("ingress_vrf_id", "8")]));
}

#[test]
fn b_4_both_directions_of_a_firewalls_update_have_their_fields() {
    let template = fields(
        256,
        &[(0, 8, 4), (0, 12, 4), (0, 226, 4), (0, 228, 2), (0, 233, 1), (0, 231, 4), (0, 232, 4), (9, 232, 12)],
    );
    let (mut bench, domain) = learned(ALL, &[template]);
    let record = |event: u8| {
        let ends = [10, 0, 0, 1, 10, 0, 0, 2, 192, 0, 2, 2, 0, 80, event];
        [&ends[..], &[0, 0, 0, 9, 0, 0, 0, 8], b"abcdefghijkl"].concat()
    };
    assert_eq!(data(&mut bench, &domain, &[record(1), record(5)].concat()).records, 3);
    assert_in_order(&bench);
    let of = |event, from, port, acl| {
        owned(&[
            ("firewall_event", event),
            (acl, "abcdefghijkl"),
            ("ip_version", "4"),
            (from, "192.0.2.2"),
            (port, "80"),
        ])
    };
    assert_eq!(of_row(&bench, 0), of("1", "post_dst_ip", "post_dst_port", "ingress_acl"));
    assert_eq!(of_row(&bench, 1), of("5", "post_dst_ip", "post_dst_port", "ingress_acl"));
    let mut reverse = of("5", "post_src_ip", "post_src_port", "egress_acl");
    reverse.sort_unstable();
    assert_eq!(of_row(&bench, 2), reverse);
}

#[test]
fn ix_42_nat_logs_are_events_with_their_fields() {
    // 230 event, 323 time, 8, 225, 12, 226, 7, 227, 4.
    let session = fields(
        256,
        &[(0, 230, 1), (0, 323, 8), (0, 8, 4), (0, 225, 4), (0, 12, 4), (0, 226, 4), (0, 7, 2), (0, 227, 2), (0, 4, 1)],
    );
    let time = 1_700_000_000_500_u64.to_be_bytes();
    let record = |event: u8, post: u8| {
        let ends = [10, 0, 0, 1, 192, 0, 2, post, 198, 51, 100, 1, 198, 51, 100, 1, 4, 0, 8, 0, 17];
        [&[event][..], &time, &ends].concat()
    };
    let (mut bench, domain) = learned(ALL, &[session]);
    data(&mut bench, &domain, &[record(1, 1), record(2, 1)].concat());
    for (row, event) in [(0, "1"), (1, "2")] {
        let r = bench.batch.records[row];
        assert!(r.has(Presence::EVENT) && !r.presence.has_any(Presence::BYTES.with(Presence::PACKETS)));
        assert_eq!((r.start_ms, r.end_ms), (1_700_000_000_500, 1_700_000_000_500));
        // The destination was not translated: what is the same before and after stays.
        let expected = [
            ("ip_version", "4"),
            ("nat_event", event),
            ("post_dst_ip", "198.51.100.1"),
            ("post_src_ip", "192.0.2.1"),
            ("post_src_port", "2048"),
        ];
        assert_eq!(of_row(&bench, row), owned(&expected));
    }
    // A block of ports, then a pool that has none left, in records of their own.
    let ports = fields(
        256,
        &[
            (0, 230, 1),
            (0, 8, 4),
            (0, 225, 4),
            (0, 361, 2),
            (0, 362, 2),
            (0, 363, 2),
            (0, 364, 2),
            (0, 463, 4),
            (0, 229, 1),
        ],
    );
    let (mut bench, domain) = learned(ALL, &[ports]);
    let block = [&[16, 10, 0, 0, 1, 192, 0, 2, 1][..], &words(&[1024, 2047, 1, 1024, 0, 9]), &[2]].concat();
    data(&mut bench, &domain, &block);
    let expected = [
        ("ip_version", "4"),
        ("nat_event", "16"),
        ("nat_instance_id", "9"),
        ("nat_realm", "2"),
        ("port_range_end", "2047"),
        ("port_range_size", "1024"),
        ("port_range_start", "1024"),
        ("port_range_step", "1"),
        ("post_src_ip", "192.0.2.1"),
    ];
    assert_eq!(of_row(&bench, 0), owned(&expected));
    let exhausted =
        fields(256, &[(0, 230, 1), (0, 283, 4), (0, 284, 8), (0, 466, 4), (0, 467, 4), (0, 225, 4), (0, 297, 1)]);
    let (mut bench, domain) = learned(ALL, &[exhausted]);
    data(&mut bench, &domain, &[&[3, 0, 0, 0, 5][..], b"pool\0\0\0\0", &words(&[0, 1, 0, 2]), &[0; 4], &[1]].concat());
    assert!(bench.last().has(Presence::EVENT));
    let expected = [
        ("nat_event", "3"),
        ("nat_pool_id", "5"),
        ("nat_pool_name", "pool"),
        ("nat_quota_event", "1"),
        ("nat_threshold_event", "2"),
        ("nat_type", "1"),
    ];
    assert_eq!(of_row(&bench, 0), owned(&expected));
}

#[test]
fn dec_1_fragments_keep_their_ports() {
    let (mut bench, domain) = learned(ALL, &[fields(256, &[(0, 8, 4), (0, 7, 2), (0, 11, 2), (0, 88, 2), (0, 54, 2)])]);
    data(&mut bench, &domain, &[10, 0, 0, 1, 0, 80, 1, 187, 0xE0, 185, 0, 7]);
    let r = bench.last();
    assert!(r.has(Presence::SRC_PORT.with(Presence::DST_PORT)));
    assert_eq!((r.src_port, r.dst_port), (80, 443));
    assert_eq!(of_row(&bench, 0), owned(&[("fragment_id", "7"), ("fragment_offset", "185"), ("ip_version", "4")]));
}

#[test]
fn v5_rows_have_what_follows_from_their_own_fields() {
    let mut wanted = FieldSet::NONE;
    wanted.add(Field::Dscp);
    wanted.add(Field::IpVersion);
    let mut bench = Bench::with(DecodeSettings {
        selection: Selection { fields: wanted, ..Selection::CORE },
        ..DecodeSettings::default()
    });
    let domain = bench.domain(Version::V5, 0x0102);
    assert_eq!(bench.decode(&domain, &v5(2, 2, 0)).records, 2);
    let dscp = (bench.batch.records[1].tos >> 2).to_string();
    assert_eq!(of_row(&bench, 1), owned(&[("dscp", &dscp), ("ip_version", "4")]));
    assert_in_order(&bench);
}

#[test]
fn ix_35_the_only_record_of_a_list_gives_its_fields_to_the_flow() {
    let templates = [
        fields(256, &[(0, 8, 4), (0, 12, 4), (0, 192, 1), (0, 293, V), (0, 291, V)]),
        fields(300, &[(0, 192, 1), (0, 371, V), (6_871, 33, 2)]),
        fields(301, &[(0, 245, 2)]),
    ];
    let (mut bench, domain) = learned(ALL, &templates);
    let told = [&[9][..], &prefixed(b"ann"), &[0, 80]].concat();
    let list = multi(ALL_OF, &[(300, told), (301, vec![0, 1, 0, 2])]);
    let single = basic(ALL_OF, iana(148), 4, &[0, 0, 0, 7]);
    let record = [&[10, 0, 0, 1, 10, 0, 0, 2, 64][..], &prefixed(&list), &prefixed(&single)].concat();
    assert_eq!(data(&mut bench, &domain, &record).records, 1);
    // Of several records (301) none is the flow's; what the flow says itself stands.
    let expected = [("app_id", "80"), ("flow_id", "7"), ("ip_version", "4"), ("ttl", "64"), ("user", "ann")];
    assert_eq!(of_row(&bench, 0), owned(&expected));
    assert_in_order(&bench);
}

#[test]
fn ix_35_reverse_elements_of_a_list_give_their_fields_to_the_other_direction() {
    let templates = [
        fields(256, &[(0, 8, 4), (0, 12, 4), (0, 1, 4), (REVERSE, 1, 4), (0, 293, V)]),
        fields(300, &[(0, 52, 1), (REVERSE, 52, 1)]),
    ];
    let (mut bench, domain) = learned(ALL, &templates);
    let list = prefixed(&multi(ALL_OF, &[(300, vec![60, 50])]));
    let record = |back: u8| [&[10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0, 9, 0, 0, 0, back][..], &list].concat();
    // The second has no other direction: nothing is left of what its list told of it.
    assert_eq!(data(&mut bench, &domain, &[record(5), record(0)].concat()).records, 3);
    assert_in_order(&bench);
    for (row, ttl) in [(0, "60"), (1, "50"), (2, "60")] {
        assert_eq!(of_row(&bench, row), owned(&[("ip_version", "4"), ("ttl_min", ttl)]), "{row}");
    }
}

#[test]
fn ix_35_flows_of_a_list_inherit_fields_but_no_counters() {
    let inner = fields(300, &[(0, 8, 4), (0, 12, 4), (0, 1, 4), (0, 235, 4)]);
    let flow = |vrf: u8| [&[10, 0, 0, vrf, 10, 0, 0, 9][..], &[0, 0, 0, 9, 0, 0, 0, vrf]].concat();
    let flows = [flow(1), flow(2)].concat();
    // An aggregate without ends: the first flow takes its place, fields and all.
    let aggregate = fields(256, &[(0, 234, 4), (0, 235, 4), (0, 371, V), (0, 132, 4), (0, 292, V)]);
    let record = [&[0, 0, 0, 7, 0, 0, 0, 8][..], &prefixed(b"ann"), &[0, 0, 0, 1], &prefixed(&sub(3, 300, &flows))];
    let (mut bench, domain) = learned(ALL, &[aggregate, inner.clone()]);
    assert_eq!(data(&mut bench, &domain, &[record.concat(), record.concat()].concat()).records, 4);
    assert_in_order(&bench);
    for row in 0..4 {
        let own = ["1", "2"][row % 2];
        let expected = [("egress_vrf_id", own), ("ingress_vrf_id", "7"), ("ip_version", "4"), ("user", "ann")];
        assert_eq!(of_row(&bench, row), owned(&expected), "{row}");
    }
    // Of a record with ends of its own they inherit what is not of its ends; both keep their place.
    let outer = fields(256, &[(0, 8, 4), (0, 12, 4), (0, 234, 4), (0, 371, V), (0, 292, V)]);
    let record = [&[10, 1, 0, 1, 10, 1, 0, 2, 0, 0, 0, 7][..], &prefixed(b"ann"), &prefixed(&sub(3, 300, &flows))];
    let (mut bench, domain) = learned(ALL, &[outer, inner]);
    assert_eq!(data(&mut bench, &domain, &record.concat()).records, 3);
    assert_in_order(&bench);
    assert_eq!(of_row(&bench, 0), owned(&[("ingress_vrf_id", "7"), ("ip_version", "4"), ("user", "ann")]));
    for (row, own) in [(1, "1"), (2, "2")] {
        let expected = [("egress_vrf_id", own), ("ingress_vrf_id", "7"), ("ip_version", "4")];
        assert_eq!(of_row(&bench, row), owned(&expected), "{row}");
    }
}

#[test]
fn ix_35_what_a_list_tells_of_a_flow_behind_the_flows_of_another_stands_with_its_row() {
    let templates = [
        fields(256, &[(0, 8, 4), (0, 12, 4), (0, 292, V), (0, 291, V)]),
        fields(300, &[(0, 8, 4), (0, 12, 4), (0, 192, 1)]),
    ];
    let (mut bench, domain) = learned(ALL, &templates);
    let flows = [10, 0, 0, 3, 10, 0, 0, 4, 9].repeat(2);
    let single = basic(ALL_OF, iana(148), 4, &[0, 0, 0, 7]);
    let record = [&[10, 0, 0, 1, 10, 0, 0, 2][..], &prefixed(&sub(ALL_OF, 300, &flows)), &prefixed(&single)].concat();
    assert_eq!(data(&mut bench, &domain, &record).records, 3);
    assert_in_order(&bench);
    assert_eq!(of_row(&bench, 0), owned(&[("flow_id", "7"), ("ip_version", "4")]));
    assert_eq!(of_row(&bench, 2), owned(&[("ip_version", "4"), ("ttl", "9")]));
}

#[test]
fn a_5_what_flows_of_lists_inherit_is_bounded_in_a_message() {
    // 25 fields of the outer record, none of its ends.
    let ids = [245, 255, 234, 235, 351, 295, 296, 141, 137, 405, 302, 229, 297, 283, 463, 466, 467, 361, 362, 363, 364];
    let told: Vec<_> = ids.iter().map(|id| (0, *id, if *id == 229 || *id == 297 { 1 } else { 2 })).collect();
    let octets: Vec<u8> = told.iter().flat_map(|(.., length)| vec![1; usize::from(*length)]).collect();
    let templates = [fields(256, &[&told[..], &[(0, 292, V)]].concat()), fields(300, &[(0, 8, 4), (0, 12, 4)])];
    let (mut bench, domain) = learned(ALL, &templates);
    let flows = [10, 0, 0, 1, 10, 0, 0, 2].repeat(4_000);
    let outcome = data(&mut bench, &domain, &[octets, prefixed(&sub(3, 300, &flows))].concat());
    assert_eq!(outcome.records, 4_000, "rows stay");
    assert!(outcome.lists_unread > 0, "and it is said");
    // What they inherit, and the version of each one's addresses.
    assert!(bench.batch.fields.len() <= limits::FIELDS_LENT_PER_MESSAGE_MAX + 4_000, "{}", bench.batch.fields.len());
    assert_in_order(&bench);
}

#[test]
fn d_1_rows_that_are_taken_back_leave_no_fields() {
    let (mut bench, domain) = learned(ALL, &[fields(256, &[(0, 41, 4), (0, 405, 4), (0, 292, V)])]);
    let record = [&[0, 0, 0, 7, 0, 0, 0, 9][..], &prefixed(&sub(3, 999, &[]))].concat();
    let outcome = data(&mut bench, &domain, &record);
    assert_eq!((outcome.records, outcome.non_flow_records), (0, 1));
    assert!(bench.batch.fields.is_empty());
}

#[test]
fn the_wire_view_has_no_fields() {
    let (mut bench, domain) = learned(Selection::WIRE, &[fields(256, &[(0, 8, 4), (0, 192, 1)])]);
    data(&mut bench, &domain, &[10, 0, 0, 1, 64]);
    assert!(bench.batch.fields.is_empty());
}

#[test]
fn sonicwalls_own_elements_are_a_flow_with_both_directions() {
    const SONICWALL: u32 = 8_741;
    let ids = [(5, 4), (6, 4), (9, 4), (10, 4), (11, 2), (12, 2), (13, 4), (14, 4), (15, 4), (16, 4), (20, 1), (35, V)];
    let template = fields(256, &ids.map(|(id, length)| (SONICWALL, id, length)));
    let (mut bench, domain) = learned(ALL, &[template]);
    let record = [
        &[10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 80, 1, 187][..],
        &[0, 0, 0, 1, 0, 0, 0, 100, 0, 0, 0, 2, 0, 0, 0, 200, 6],
        &prefixed(b"ann"),
    ];
    assert_eq!(data(&mut bench, &domain, &record.concat()).records, 2);
    let [forward, reverse] = bench.batch.records[..] else { panic!("two rows") };
    let ends = |r: &FlowRecord| (r.src_ip().unwrap(), r.src_port, r.input_if, r.bytes, r.packets, r.protocol);
    assert_eq!(ends(&forward), (IpAddr::from([10, 0, 0, 1]), 80, 3, 100, 1, 6));
    assert_eq!(ends(&reverse), (IpAddr::from([10, 0, 0, 2]), 443, 4, 200, 2, 6));
    assert_eq!(of_row(&bench, 1), owned(&[("ip_version", "4"), ("user", "ann")]));
}

#[test]
fn a_next_header_is_the_protocol_unless_it_is_an_extension() {
    let (mut bench, domain) = learned(Selection::CORE, &[fields(256, &[(0, 27, 16), (0, 193, 1)])]);
    for (header, known) in
        [(6, true), (17, true), (58, true), (59, true), (0, false), (43, false), (44, false), (60, false)]
    {
        data(&mut bench, &domain, &[&[1; 16][..], &[header]].concat());
        let protocol = if known { header } else { 0 };
        assert_eq!((bench.last().has(Presence::PROTOCOL), bench.last().protocol), (known, protocol), "{header}");
    }
    let (mut bench, domain) = learned(Selection::CORE, &[fields(256, &[(0, 193, 1), (0, 4, 1), (0, 27, 16)])]);
    data(&mut bench, &domain, &[&[6, 17][..], &[1; 16]].concat());
    assert_eq!(bench.last().protocol, 17, "the protocol itself comes first");
}

#[test]
fn dec_6_the_ip_version_chooses_where_both_families_are_set() {
    let template = fields(256, &[(0, 8, 4), (0, 12, 4), (0, 27, 16), (0, 28, 16), (0, 60, 1)]);
    let (mut bench, domain) = learned(ALL, &[template]);
    for (version, is_v4) in [(4, true), (6, false), (0, true)] {
        bench.batch.clear();
        data(&mut bench, &domain, &[&[10, 0, 0, 1, 10, 0, 0, 2][..], &[1; 32], &[version]].concat());
        let row = bench.last();
        assert_eq!((row.src_ip().unwrap().is_ipv4(), row.dst_ip().unwrap().is_ipv4()), (is_v4, is_v4));
        assert_eq!(of_row(&bench, 0), owned(&[("ip_version", if is_v4 { "4" } else { "6" })]));
    }
}

#[test]
fn values_that_stand_for_nothing_are_absent() {
    // Interfaces, next hop, protocol, flags.
    let template = fields(256, &[(0, 10, 4), (0, 14, 4), (0, 15, 4), (0, 4, 1), (0, 6, 1), (0, 8, 4)]);
    let (mut bench, domain) = learned(Selection::CORE, std::slice::from_ref(&template));
    let record = |input: u32, output: u32, hop: u8, protocol: u8, flags: u8| {
        [&input.to_be_bytes()[..], &output.to_be_bytes(), &[0, 0, 0, hop, protocol, flags, 10, 0, 0, 1]].concat()
    };
    let bits = [Presence::INPUT_IF, Presence::OUTPUT_IF, Presence::NEXT_HOP_V4, Presence::TCP_FLAGS];
    let known = |bench: &Bench| bits.map(|bit| bench.last().has(bit));
    let cases = [
        (record(0, 0, 0, 17, 0), [true, true, false, false]),
        (record(1, 0x3FFF_FFFF, 1, 6, 0), [true, false, true, true]),
        (record(u32::MAX, u32::MAX, 1, 17, 2), [false, false, true, true]),
        (record(0x4000_0000, 7, 1, 17, 2), [true; 4]),
    ];
    for (record, expected) in &cases {
        data(&mut bench, &domain, record);
        assert_eq!(known(&bench), *expected);
    }
    // Side by side in one set, each by itself.
    let first = bench.batch.records.len();
    data(&mut bench, &domain, &cases.clone().map(|(record, _)| record).concat());
    for (row, (_, expected)) in bench.batch.records[first..].iter().zip(&cases) {
        assert_eq!(bits.map(|bit| row.has(bit)), *expected);
    }
    assert_eq!(bench.batch.records.len(), first + cases.len());
    let (mut bench, domain) = learned(Selection::WIRE, &[template]);
    data(&mut bench, &domain, &record(u32::MAX, u32::MAX, 0, 17, 0));
    assert_eq!(known(&bench), [true; 4], "the wire view keeps what came");
}

/// Elements of lists: what is a flow of its own, what says more of one, what is a list again.
fn layout() -> impl Strategy<Value = Vec<(u32, u16, u16)>> {
    let field = prop::sample::select(vec![
        (0, 8, 4),
        (0, 12, 4),
        (0, 1, 4),
        (0, 192, 1),
        (0, 234, 2),
        (0, 371, V),
        (0, 225, 4),
        (0, 41, 2),
        (0, 5, 1),
        (0, 313, V),
        (REVERSE, 1, 1),
        (REVERSE, 52, 1),
        (0, 291, V),
        (0, 292, V),
        (0, 293, V),
    ]);
    prop::collection::vec(field, 1..8)
}

fn body(layout: &[(u32, u16, u16)], inner: &[u8], octets: &[u8]) -> Vec<u8> {
    let mut octets = octets.iter().copied().cycle();
    let mut body = Vec::new();
    for (_, id, length) in layout {
        match id {
            291 => body.extend(prefixed(&basic(ALL_OF, iana(148), 2, &[1, 2]))),
            292 => body.extend(prefixed(&sub(ALL_OF, 300, inner))),
            293 => body.extend(prefixed(&multi(ALL_OF, &[(300, inner.to_vec()), (301, vec![1, 2, 3])]))),
            _ => {
                let count = if *length == V { 5 } else { usize::from(*length) };
                let value: Vec<u8> = octets.by_ref().take(count).collect();
                body.extend(if *length == V { prefixed(&value) } else { value });
            }
        }
    }
    body
}

proptest! {
    #[test]
    fn fields_stand_in_the_order_of_their_rows_whatever_lists_hold(
        outer in layout(),
        inner in layout(),
        octets in prop::collection::vec(prop_oneof![1 => Just(0_u8), 3 => any::<u8>()], 40),
        copies in 1..4_usize,
        cut in 0..200_usize,
    ) {
        let leaf = body(&inner, &[0, 1, 2, 3], &octets);
        let nested = body(&inner, &leaf, &octets).repeat(copies);
        let mut records = body(&outer, &nested, &octets).repeat(copies);
        records.truncate(records.len().saturating_sub(cut / 50));
        let templates = [fields(256, &outer), fields(300, &inner), fields(301, &[(0, 235, 1)])];
        let (mut bench, domain) = learned(ALL, &templates);
        data(&mut bench, &domain, &records);
        assert_in_order(&bench);
        // What is wanted does not change the rows.
        let (mut core, domain) = learned(Selection::CORE, &templates);
        data(&mut core, &domain, &records);
        prop_assert_eq!(&core.batch.records, &bench.batch.records);
        prop_assert!(core.batch.fields.is_empty());
    }
}
