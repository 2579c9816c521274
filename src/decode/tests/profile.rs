//! What the operator says of an exporter: its maker, what its counters behind forwarding count.

use super::semantics::{Shape, rows_of};
use super::*;
use crate::element::{Registry, parse_elements};
use crate::flow::ElementId;

const CISCO: u32 = 9;
const PALO_ALTO: u32 = 25_461;

fn of_profile(profile: Profile) -> DecodeSettings {
    DecodeSettings { profile, ..DecodeSettings::default() }
}

fn made_by(maker: u32) -> DecodeSettings {
    of_profile(Profile { maker: Some(maker), ..Profile::default() })
}

/// A record of addresses and these fields in NetFlow v9, with the domain that read it.
fn v9_of(fields: &[(u16, u16)], settings: DecodeSettings) -> (Bench, Arc<Domain>) {
    let mut bench = Bench::with(settings);
    let domain = bench.domain(Version::V9, 7);
    let mut shape = vec![8, 4, 12, 4];
    let mut record = vec![10, 0, 0, 1, 10, 0, 0, 2];
    for (id, value) in fields {
        shape.extend([*id, 2]);
        record.extend(value.to_be_bytes());
    }
    let outcome = bench.decode(&domain, &v9(7, 1, &[set(0, &template(256, &shape)), set(256, &record)]));
    assert_eq!((outcome.records, bench.batch.len()), (1, 1));
    (bench, domain)
}

fn groups(fields: &[(u16, u16)], settings: DecodeSettings) -> (Option<u16>, Option<u16>, bool) {
    let (bench, domain) = v9_of(fields, settings);
    let row = bench.last();
    let said = |bit, value| row.has(bit).then_some(value);
    (said(Presence::SRC_SGT, row.src_sgt), said(Presence::DST_SGT, row.dst_sgt), domain.status().assumed_maker)
}

#[test]
fn n9_27_a_type_above_32767_is_that_of_the_exporters_maker() {
    let fields = [(34_000, 17), (34_001, 18)];
    assert_eq!(groups(&fields, made_by(CISCO)), (Some(17), Some(18), false));
    assert_eq!(groups(&fields, made_by(PALO_ALTO)), (None, None, false), "another maker's 34000 is no group");
    assert_eq!(groups(&[(34_004, 19)], made_by(CISCO)).0, Some(19));
    assert_eq!(groups(&[(34_004, 19)], made_by(14_988)).0, None);
}

#[test]
fn n9_27_without_a_word_the_only_known_maker_is_assumed_and_told() {
    assert_eq!(groups(&[(34_000, 17), (34_001, 18)], DecodeSettings::default()), (Some(17), Some(18), true));
    let (bench, domain) = v9_of(&[(61_000, 1), (5, 2)], DecodeSettings::default());
    assert_eq!((bench.last().tos, domain.status().assumed_maker), (2, false), "nobody is known to use it");
    // Two makers of the operator's file: neither is more likely.
    let file = "pen\tid\tname\tabstract_data_type\tsemantics\tunits\n\
                77\t34000\ta\tunsigned16\tidentifier\tnone\n78\t34000\tb\tunsigned16\tidentifier\tnone\n";
    let registry = Arc::new(Registry::with_operator(parse_elements(file).unwrap()));
    let settings = DecodeSettings { registry, ..DecodeSettings::default() };
    assert_eq!(groups(&[(34_000, 17), (34_001, 18)], settings), (None, Some(18), true));
}

#[test]
fn n9_27_a_firewalls_own_numbers_follow_its_maker() {
    let event = |settings| v9_of(&[(33_002, 1_001), (5, 2)], settings).0.last().has(Presence::EVENT);
    assert!(event(DecodeSettings::default()) && event(made_by(CISCO)));
    assert!(!event(made_by(PALO_ALTO)));
}

#[test]
fn n9_27_what_is_kept_stays_as_on_the_wire() {
    let kept = |elements: Elements, maker: Option<u32>| {
        let selection = Selection { elements, ..Selection::CORE };
        let profile = Profile { maker, ..Profile::default() };
        let settings = DecodeSettings { selection, profile, ..DecodeSettings::default() };
        let (bench, _) = v9_of(&[(90, 3), (34_000, 17)], settings);
        bench.batch.elements_of(0).map(|(e, octets)| (e.element, octets.to_vec())).collect::<Vec<_>>()
    };
    let wire = ElementId { pen: 0, id: 34_000 };
    let all: Vec<u16> = kept(Elements::All, Some(CISCO)).iter().map(|(e, _)| e.id).collect();
    assert_eq!(all, [8, 12, 90, 34_000]);
    // Wanted by the wire's number, by the maker's, and by that of the element in IPFIX.
    for wanted in [wire, ElementId { pen: CISCO, id: 34_000 }, ElementId { pen: CISCO, id: 1_232 }] {
        assert_eq!(kept(Elements::These([wanted].into()), None), [(wire, vec![0, 17])], "{wanted:?}");
        assert_eq!(kept(Elements::These([wanted].into()), Some(PALO_ALTO)).is_empty(), wanted != wire);
    }
}

#[test]
fn b_3_counters_behind_forwarding_are_the_other_direction_if_the_operator_says_so() {
    let shape = || {
        let ports = Shape::new().octets(7, &[0x9c, 0x40]).octets(11, &[1, 187]);
        ports.u8(6, 0x1b).octets(10, &[0, 3]).octets(14, &[0, 4])
    };
    let settings = |post_counters| of_profile(Profile { post_counters, ..Profile::default() });
    let both = shape().u32(1, 1_000).u32(2, 10).u32(23, 5_000).u32(24, 40);
    let rows = rows_of(&both, settings(PostCounters::Post));
    assert_eq!(rows.iter().map(|r| (r.bytes, r.packets)).collect::<Vec<_>>(), [(1_000, 10)]);
    let rows = rows_of(&both, settings(PostCounters::Reverse));
    let [forward, reverse] = rows[..] else { panic!("two rows") };
    assert_eq!((forward.bytes, forward.packets), (1_000, 10));
    assert_eq!((reverse.bytes, reverse.packets), (5_000, 40));
    assert_eq!((reverse.src_ip(), reverse.dst_ip()), (forward.dst_ip(), forward.src_ip()));
    assert_eq!((reverse.src_port, reverse.dst_port), (443, 40_000));
    assert_eq!((reverse.input_if, reverse.output_if), (4, 3));
    assert!(reverse.has(Presence::REVERSE) && !reverse.has(Presence::TCP_FLAGS), "flags are those of one direction");
    // Nothing came back: one row.
    let silent = shape().u32(1, 1_000).u32(2, 10).u32(23, 0).u32(24, 0);
    assert_eq!(rows_of(&silent, settings(PostCounters::Reverse)).len(), 1);
    // As on the wire nothing changes.
    let wire = DecodeSettings { selection: Selection::WIRE, ..settings(PostCounters::Reverse) };
    assert_eq!(rows_of(&both, wire).len(), 1);
}

#[test]
fn b_3_alone_they_are_the_flows_own_unless_they_are_the_other_direction() {
    let alone = Shape::new().u32(23, 900).u32(24, 9);
    let rows = rows_of(&alone, DecodeSettings::default());
    assert_eq!(rows.iter().map(|r| (r.bytes, r.packets)).collect::<Vec<_>>(), [(900, 9)]);
    let reverse = Profile { post_counters: PostCounters::Reverse, ..Profile::default() };
    let rows = rows_of(&alone, of_profile(reverse));
    let [forward, back] = rows[..] else { panic!("two rows") };
    assert!(!forward.has(Presence::BYTES) && !forward.has(Presence::PACKETS));
    assert_eq!((back.bytes, back.packets, back.src_ip()), (900, 9, forward.dst_ip()));
}
