//! Firewall events (Cisco NSEL, B-4): made like the datagrams of an ASA.

use super::semantics::Shape;
use super::*;

const CREATE: u8 = 1;
const DELETE: u8 = 2;
const DENY: u8 = 3;
const ALERT: u8 = 4;
const UPDATE: u8 = 5;

/// 5-tuple, interfaces, event, extended event, event time, and counters where there are any.
fn nsel(event: u8, extended: u16, counters: Option<[u64; 4]>) -> Shape {
    let shape = Shape::new()
        .u32(148, 77)
        .octets(7, &[4, 210])
        .octets(11, &[1, 187])
        .octets(10, &[0, 3])
        .octets(14, &[0, 4])
        .u8(4, 6)
        .u8(233, event)
        .of(9, 234, &extended.to_be_bytes())
        .u64(152, 1_699_999_000_000)
        .u64(323, 1_700_000_000_500);
    match counters {
        Some([initiator, responder, initiator_packets, responder_packets]) => shape
            .u32(231, low(initiator))
            .u32(232, low(responder))
            .u32(298, low(initiator_packets))
            .u32(299, low(responder_packets)),
        None => shape,
    }
}

fn low(value: u64) -> u32 {
    u32::try_from(value).unwrap()
}

/// Octets and packets of the rows that carry traffic, and how many events there are.
fn traffic(bench: &Bench) -> (u64, u64, usize) {
    let flows = bench.batch.records.iter().filter(|r| !r.has(Presence::EVENT));
    let (octets, packets) = flows.fold((0, 0), |(octets, packets), r| (octets + r.bytes, packets + r.packets));
    (octets, packets, bench.batch.records.iter().filter(|r| r.has(Presence::EVENT)).count())
}

fn play(bench: &mut Bench, domain: &Domain, events: &[(u8, Option<[u64; 4]>)]) {
    for (serial, (event, counters)) in (0..).zip(events) {
        let id = if counters.is_some() { 300 } else { 301 };
        let outcome = bench.decode(domain, &ipfix(1, serial, &nsel(*event, 0, *counters).sets(id)));
        assert_eq!(outcome.sequence.and_then(|note| note.units), Some(1));
    }
}

#[test]
fn b_4_create_update_update_delete_is_the_sum_of_the_updates() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    let events = [
        (CREATE, None),
        (UPDATE, Some([100, 1_000, 1, 10])),
        (UPDATE, Some([200, 2_000, 2, 20])),
        (DELETE, Some([300, 3_000, 3, 30])),
    ];
    play(&mut bench, &domain, &events);
    assert_eq!(traffic(&bench), (3_300, 33, 2));
    let [create, forward, reverse, ..] = bench.batch.records[..] else { panic!("rows") };
    assert!(create.has(Presence::EVENT) && !create.presence.has_any(Presence::BYTES.with(Presence::PACKETS)));
    assert_eq!((forward.bytes, forward.packets, forward.src_port, forward.input_if), (100, 1, 1_234, 3));
    assert_eq!((reverse.bytes, reverse.packets, reverse.src_port, reverse.input_if), (1_000, 10, 443, 4));
    assert_eq!((reverse.src_ip(), reverse.dst_ip()), (forward.dst_ip(), forward.src_ip()));
    assert!(reverse.has(Presence::REVERSE) && !forward.has(Presence::REVERSE));
    assert_eq!((forward.start_ms, forward.end_ms), (1_699_999_000_000, 1_700_000_000_500));
    let delete = bench.last();
    assert_eq!((delete.bytes, delete.packets, delete.flow_end_reason), (0, 0, 3));
    assert!(delete.has(Presence::EVENT.with(Presence::FLOW_END_REASON)) && !delete.has(Presence::BYTES));
}

#[test]
fn b_4_without_updates_a_delete_carries_its_flow() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    play(&mut bench, &domain, &[(CREATE, None), (DELETE, Some([300, 3_000, 3, 30])), (DELETE, Some([5, 0, 1, 0]))]);
    assert_eq!(traffic(&bench), (3_305, 34, 1));
    assert_eq!(bench.batch.len(), 4, "nothing came back of the last one: one row");
    let ends: Vec<_> = bench.batch.records.iter().map(|r| r.flow_end_reason).collect();
    assert_eq!(ends, [0, 3, 3, 3]);
    // Another domain that sends updates changes nothing here; this one does from now on.
    let other = bench.domain(Version::Ipfix, 2);
    play(&mut bench, &other, &[(UPDATE, Some([1, 1, 1, 1]))]);
    bench.batch.clear();
    play(
        &mut bench,
        &domain,
        &[(DELETE, Some([7, 7, 1, 1])), (UPDATE, Some([1, 2, 1, 1])), (DELETE, Some([9, 9, 1, 1]))],
    );
    assert_eq!(traffic(&bench), (17, 4, 1));
}

#[test]
fn b_4_refusals_and_alerts_are_events_whatever_they_count() {
    for event in [CREATE, DENY, ALERT] {
        for counters in [None, Some([9, 9, 9, 9])] {
            let mut bench = Bench::new();
            let domain = bench.domain(Version::Ipfix, 1);
            play(&mut bench, &domain, &[(event, counters)]);
            assert_eq!(traffic(&bench), (0, 0, 1), "{event} {counters:?}");
            assert_eq!((bench.last().bytes, bench.last().has(Presence::BYTES)), (0, false));
        }
    }
}

#[test]
fn b_4_an_extended_event_tells_where_the_event_does_not() {
    for (extended, expected) in
        [(1_001, (0, 0, 1)), (1_004, (0, 0, 1)), (2_030, (11, 2, 0)), (0, (11, 2, 0)), (3_000, (11, 2, 0))]
    {
        let mut bench = Bench::new();
        let domain = bench.domain(Version::Ipfix, 1);
        bench.decode(&domain, &ipfix(1, 0, &nsel(0, extended, Some([10, 1, 1, 1])).sets(300)));
        assert_eq!(traffic(&bench), expected, "{extended}");
    }
}

#[test]
fn b_4_in_netflow_v9_and_by_the_old_numbers() {
    // ASA: 33002 is the extended event; 8.2 sent 40005 for the event, and 85, which counts both directions.
    for (event, extended, octets) in [(233, 33_002, 231), (40_005, 33_002, 85)] {
        let mut bench = Bench::new();
        let domain = bench.domain(Version::V9, 1);
        let fields = template(256, &[8, 4, 12, 4, event, 1, extended, 2, 323, 8, octets, 4]);
        let row = |event: u8, octets: u8| {
            let mut row = vec![10, 0, 0, 1, 10, 0, 0, 2, event, 0, 0];
            row.extend(1_700_000_000_000_u64.to_be_bytes());
            row.extend([0, 0, 0, octets]);
            row
        };
        let body = [row(CREATE, 0), row(DENY, 3), row(DELETE, 9)].concat();
        let outcome = bench.decode(&domain, &v9(1, 0, &[set(0, &fields), set(256, &body)]));
        assert_eq!((outcome.records, traffic(&bench)), (3, (9, 0, 2)));
        assert_eq!(bench.last().has(Presence::COUNTER_TOTAL), octets == 85);
    }
}

#[test]
fn b_4_a_flow_with_an_event_beside_it_stays_a_flow() {
    // Makers that add the event to records with counters of their own (1, 2).
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    bench.decode(&domain, &ipfix(1, 0, &Shape::new().u8(233, CREATE).u32(1, 600).u32(2, 6).sets(256)));
    assert_eq!(traffic(&bench), (600, 6, 0));
}

#[test]
fn b_4_the_wire_view_does_not_judge() {
    let mut bench = Bench::with(DecodeSettings { selection: Selection::WIRE, ..DecodeSettings::default() });
    let domain = bench.domain(Version::Ipfix, 1);
    let events = [(CREATE, None), (UPDATE, Some([100, 1_000, 1, 10])), (DELETE, Some([300, 3_000, 3, 30]))];
    play(&mut bench, &domain, &events);
    assert_eq!(traffic(&bench), (400, 4, 0));
    assert_eq!(bench.batch.len(), 3);
}
