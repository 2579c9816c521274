//! What lists and sampled packets fill is judged like what a record tells itself.

use super::list::{ALL_OF, REVERSE, basic, data, fields, iana, learned, prefixed, sub};
use super::*;
use crate::flow::FieldSet;

const V: u16 = 0xFFFF;

/// A flow that the exporter counts in its lists alone.
fn flow() -> Vec<u8> {
    fields(300, &[(0, 8, 4), (0, 12, 4), (0, 1, 4), (0, 2, 4)])
}

fn flow_record(bytes: u32, packets: u32) -> Vec<u8> {
    [[192, 0, 2, 1], [192, 0, 2, 2], bytes.to_be_bytes(), packets.to_be_bytes()].concat()
}

#[test]
fn d_1_statistics_are_told_when_their_lists_were_read() {
    let templates = [fields(256, &[(0, 41, 4), (0, 292, V)]), flow(), fields(301, &[(0, 10, 4)])];
    let everything = Selection { fields: FieldSet::ALL, elements: Elements::All, ..Selection::CORE };
    for selection in [Selection::CORE, everything] {
        let (mut bench, domain) = learned(selection, &templates);
        let record = |list: &[u8]| [&[0, 0, 0, 7][..], &prefixed(list)].concat();
        // An empty list, a list of interfaces, one of a template that nobody knows.
        let none =
            [record(&sub(ALL_OF, 300, &[])), record(&sub(ALL_OF, 301, &[0, 0, 0, 9])), record(&sub(3, 999, &[1]))];
        let outcome = data(&mut bench, &domain, &none.concat());
        assert_eq!((outcome.records, outcome.non_flow_records, outcome.lists_unread), (0, 3, 1));
        assert_eq!((outcome.sampling_unknown, outcome.sequence.and_then(|note| note.units)), (0, Some(3)));
        assert!(bench.batch.is_empty() && bench.batch.elements.is_empty());
        // Flows among them stay.
        let flows = [flow_record(600, 5), flow_record(700, 6)].concat();
        let mixed = [none[0].clone(), record(&sub(ALL_OF, 300, &flows)), none[1].clone()].concat();
        let outcome = data(&mut bench, &domain, &mixed);
        assert_eq!((outcome.records, outcome.non_flow_records, outcome.sampling_unknown), (2, 2, 2));
        assert_eq!(bench.batch.records.iter().map(|row| row.bytes).collect::<Vec<_>>(), [600, 700]);
        let one = data(&mut bench, &domain, &record(&sub(ALL_OF, 300, &flow_record(800, 7))));
        assert_eq!((one.records, one.non_flow_records, bench.last().bytes), (1, 0, 800));
    }
    let (mut bench, domain) = learned(Selection::WIRE, &templates);
    let outcome = data(&mut bench, &domain, &[&[0, 0, 0, 7][..], &prefixed(&sub(ALL_OF, 300, &[]))].concat());
    assert_eq!((outcome.records, outcome.non_flow_records), (1, 0), "the wire view keeps them");
}

#[test]
fn d_1_a_sampled_packet_is_traffic() {
    let (mut bench, domain) = learned(Selection::CORE, &[fields(256, &[(0, 41, 4), (0, 313, V)])]);
    let record = |packet: &[u8]| [&[0, 0, 0, 7][..], &prefixed(packet)].concat();
    let outcome = data(&mut bench, &domain, &[record(&[]), record(&[1]), record(&[])].concat());
    assert_eq!((outcome.records, outcome.non_flow_records), (1, 2));
    assert_eq!(bench.last().packets, 1);
}

#[test]
fn b_5_counters_of_lists_are_judged_with_the_sampling_of_the_row() {
    let templates =
        [fields(256, &[(0, 8, 4), (0, 12, 4), (0, 292, V)]), flow(), fields(302, &[(0, 1, 4), (0, 2, 4), (0, 34, 4)])];
    let ends = [192, 0, 2, 1, 192, 0, 2, 2];
    let judged = |template: u16, record: &[u8]| {
        let (mut bench, domain) = learned(Selection::CORE, &templates);
        let outcome = data(&mut bench, &domain, &[&ends[..], &prefixed(&sub(ALL_OF, template, record))].concat());
        assert!(outcome.records > 0);
        bench.last().has(Presence::IMPLAUSIBLE)
    };
    let counted = |packets: u32, rate: u32| [100_u32, packets, rate].map(u32::to_be_bytes).concat();
    assert!(judged(302, &counted(60, 1)), "60 packets in 100 octets");
    assert!(!judged(302, &counted(60, 100)), "exporters scale one counter and not the other");
    assert!(!judged(302, &counted(2, 1)));
    assert!(judged(300, &flow_record(100, 60)), "a flow of its own");
}

#[test]
fn ix_49_directions_of_lists() {
    for (value, known) in [(1, true), (7, false)] {
        let (mut bench, domain) = learned(Selection::CORE, &[fields(256, &[(0, 8, 4), (0, 12, 4), (0, 291, V)])]);
        let list = prefixed(&basic(ALL_OF, iana(61), 1, &[value]));
        data(&mut bench, &domain, &[&[192, 0, 2, 1, 192, 0, 2, 2][..], &list].concat());
        assert_eq!((bench.last().has(Presence::DIRECTION), bench.last().direction), (known, u8::from(known)));
    }
}

#[test]
fn ix_42_an_event_with_the_counters_of_a_list_is_a_flow() {
    let templates = [
        fields(256, &[(0, 8, 4), (0, 12, 4), (0, 230, 1), (0, 292, V)]),
        fields(300, &[(0, 1, 4)]),
        fields(301, &[(0, 6, 1)]),
    ];
    let row = |list: &[u8]| {
        let (mut bench, domain) = learned(Selection::CORE, &templates);
        data(&mut bench, &domain, &[&[192, 0, 2, 1, 192, 0, 2, 2, 1][..], &prefixed(list)].concat());
        *bench.last()
    };
    let flow = row(&sub(ALL_OF, 300, &[0, 0, 2, 88]));
    assert!(!flow.has(Presence::EVENT) && flow.bytes == 600);
    let event = row(&sub(ALL_OF, 301, &[0x12]));
    assert!(event.has(Presence::EVENT) && event.tcp_flags == 0x12);
}

#[test]
fn b_4_what_a_firewall_says_holds_for_the_direction_of_a_list_too() {
    let templates =
        [fields(256, &[(0, 8, 4), (0, 12, 4), (0, 231, 4), (0, 233, 1), (0, 292, V)]), fields(300, &[(REVERSE, 1, 4)])];
    for (event, rows, reason) in [(1, 1, 0), (2, 2, 3), (3, 1, 0)] {
        let (mut bench, domain) = learned(Selection::CORE, &templates);
        let record = [&[192, 0, 2, 1, 192, 0, 2, 2, 0, 0, 0, 100, event][..], &prefixed(&sub(3, 300, &[0, 0, 0, 50]))];
        let outcome = data(&mut bench, &domain, &record.concat());
        assert_eq!(outcome.records, rows, "{event}");
        let last = bench.last();
        assert_eq!((last.flow_end_reason, last.has(Presence::EVENT)), (reason, event != 2), "{event}");
        assert_eq!((last.has(Presence::REVERSE), last.bytes), (rows == 2, if rows == 2 { 50 } else { 0 }));
    }
}

#[test]
fn t_1_a_flow_of_a_list_inherits_what_is_known_of_its_times() {
    let templates = [fields(256, &[(0, 8, 4), (0, 12, 4), (0, 152, 8), (0, 292, V)]), flow()];
    let (mut bench, domain) = learned(Selection::CORE, &templates);
    // 1970: the only clock of the record cannot be.
    let head = [&[192, 0, 2, 8, 192, 0, 2, 9][..], &1_u64.to_be_bytes()].concat();
    let flows = [flow_record(600, 5), flow_record(700, 6)].concat();
    let outcome = data(&mut bench, &domain, &[head, prefixed(&sub(ALL_OF, 300, &flows))].concat());
    assert_eq!(outcome.records, 3);
    let [outer, .., inner] = bench.batch.records[..] else { panic!("three rows") };
    assert!(outer.has(Presence::BAD_TIMES) && inner.has(Presence::BAD_TIMES));
    assert_eq!((inner.bytes, inner.start_ms, inner.end_ms), (700, outer.start_ms, outer.end_ms));
}
