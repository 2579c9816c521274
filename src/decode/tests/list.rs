//! Structured data (RFC 6313): an encoder of lists, and what records that hold them become.

use proptest::prelude::*;

use super::*;
use crate::decode::wire::list::{BasicList, Entries, Entry};
use crate::flow::{ElementId, ElementValue};

const CERT: u32 = 6_871;
pub(super) const REVERSE: u32 = 29_305;
/// All of these are properties of the record.
pub(super) const ALL_OF: u8 = 3;

/// A template of (enterprise, element, length).
pub(super) fn fields(id: u16, fields: &[(u32, u16, u16)]) -> Vec<u8> {
    let mut body = words(&[id, u16::try_from(fields.len()).unwrap()]);
    for (pen, element, length) in fields {
        let bit = if *pen == 0 { 0 } else { 0x8000 };
        body.extend(words(&[element | bit, *length]));
        if *pen != 0 {
            body.extend(pen.to_be_bytes());
        }
    }
    body
}

/// A value of variable length with its prefix.
pub(super) fn prefixed(octets: &[u8]) -> Vec<u8> {
    match u8::try_from(octets.len()) {
        Ok(short) if short < 255 => [&[short][..], octets].concat(),
        _ => [&[255][..], &u16::try_from(octets.len()).unwrap().to_be_bytes(), octets].concat(),
    }
}

pub(super) fn basic(semantic: u8, element: ElementId, length: u16, values: &[u8]) -> Vec<u8> {
    let bit = if element.pen == 0 { 0 } else { 0x8000 };
    let mut octets = [vec![semantic], words(&[element.id | bit, length])].concat();
    if element.pen != 0 {
        octets.extend(element.pen.to_be_bytes());
    }
    [octets, values.to_vec()].concat()
}

pub(super) fn sub(semantic: u8, template: u16, records: &[u8]) -> Vec<u8> {
    [vec![semantic], words(&[template]), records.to_vec()].concat()
}

pub(super) fn multi(semantic: u8, entries: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let entry = |(id, records): &(u16, Vec<u8>)| {
        [words(&[*id, u16::try_from(records.len() + 4).unwrap()]), records.clone()].concat()
    };
    [vec![semantic], entries.iter().flat_map(entry).collect()].concat()
}

pub(super) const fn iana(id: u16) -> ElementId {
    ElementId { pen: 0, id }
}

/// A domain that learned `templates`, and waits for no others.
pub(super) fn learned(selection: Selection, templates: &[Vec<u8>]) -> (Bench, Arc<Domain>) {
    let mut bench = Bench::with(DecodeSettings { selection, park_age_ns: 0, ..DecodeSettings::default() });
    let domain = bench.domain(Version::Ipfix, 1);
    let outcome = bench.decode(&domain, &ipfix(1, 0, &[set(2, &templates.concat())]));
    assert_eq!(outcome.templates_learned as usize, templates.len());
    (bench, domain)
}

pub(super) fn data(bench: &mut Bench, domain: &Domain, records: &[u8]) -> Outcome {
    bench.decode(domain, &ipfix(1, 0, &[set(256, records)]))
}

/// Addresses, counters, and a list of each kind behind them.
fn flow_with(list: u16) -> Vec<u8> {
    fields(256, &[(0, 8, 4), (0, 12, 4), (0, 4, 1), (0, 7, 2), (0, 11, 2), (0, 1, 4), (0, 2, 4), (0, list, 0xFFFF)])
}

fn flow(list: &[u8]) -> Vec<u8> {
    let mut octets = vec![10, 0, 0, 1, 10, 0, 0, 2, 6];
    octets.extend(words(&[40_000, 443]));
    octets.extend([0, 0, 4, 0, 0, 0, 0, 8]);
    octets.extend(prefixed(list));
    octets
}

/// What a flow meter of CERT's kind sends: flags and MAC addresses in records of templates of their own, the other
/// direction's counters among them.
fn yaf_templates() -> [Vec<u8>; 4] {
    [
        flow_with(293),
        fields(300, &[(CERT, 14, 1), (CERT, 15, 1), (CERT, 14 | 0x4000, 1), (CERT, 15 | 0x4000, 1), (0, 184, 4)]),
        fields(301, &[(0, 56, 6), (0, 80, 6)]),
        fields(302, &[(REVERSE, 1, 8), (REVERSE, 2, 8), (REVERSE, 152, 8), (CERT, 21, 4)]),
    ]
}

fn yaf_record(reverse_octets: u64) -> Vec<u8> {
    let flags = vec![0x02, 0x18, 0x12, 0x19, 1, 2, 3, 4];
    let macs = [[0xA; 6], [0xB; 6]].concat();
    let mut reverse: Vec<u8> = [reverse_octets, 3, 1_700_000_000_020].iter().flat_map(|v| v.to_be_bytes()).collect();
    reverse.extend([0; 4]);
    flow(&multi(ALL_OF, &[(300, flags), (301, macs), (302, reverse)]))
}

#[test]
fn ix_35_records_in_a_multi_list_say_more_of_their_flow() {
    let (mut bench, domain) = learned(Selection::CORE, &yaf_templates());
    let outcome = data(&mut bench, &domain, &yaf_record(900));
    assert_eq!((outcome.records, outcome.lists_unread), (2, 0));
    assert_eq!(outcome.sequence.and_then(|s| s.units), Some(1), "IPFIX counts data records, not rows");
    let [forward, reverse] = bench.batch.records[..] else { panic!("two rows") };
    assert_eq!((forward.bytes, forward.packets, forward.tcp_flags), (1_024, 8, 0x1A));
    assert_eq!((forward.src_mac, forward.dst_mac), ([0xA; 6], [0xB; 6]));
    assert_eq!((reverse.bytes, reverse.packets, reverse.tcp_flags), (900, 3, 0x1B));
    assert_eq!((reverse.src_mac, reverse.dst_mac), ([0xB; 6], [0xA; 6]));
    assert_eq!((reverse.src_ip(), reverse.dst_ip()), (forward.dst_ip(), forward.src_ip()));
    assert_eq!((reverse.src_port, reverse.dst_port, reverse.protocol), (443, 40_000, 6));
    assert_eq!((reverse.start_ms, reverse.template_id), (1_700_000_000_020, 256));
    assert!(reverse.has(Presence::REVERSE.with(Presence::TEMPLATE)) && !forward.has(Presence::REVERSE));
    bench.batch.clear();
    data(&mut bench, &domain, &yaf_record(0).repeat(2));
    assert_eq!(bench.batch.len(), 4, "packets came back");
}

#[test]
fn ix_35_the_other_direction_of_the_outer_record_takes_from_the_list() {
    let outer = fields(256, &[(0, 8, 4), (0, 12, 4), (0, 1, 1), (REVERSE, 1, 1), (0, 293, 0xFFFF)]);
    let [_, flags, macs, _] = yaf_templates();
    let (mut bench, domain) = learned(Selection::CORE, &[outer, flags, macs]);
    let list = multi(ALL_OF, &[(300, vec![2, 0, 0x12, 0, 1, 2, 3, 4]), (301, [[1; 6], [2; 6]].concat())]);
    let record = [vec![10, 0, 0, 1, 10, 0, 0, 2, 7, 9], prefixed(&list)].concat();
    data(&mut bench, &domain, &record);
    let [forward, reverse] = bench.batch.records[..] else { panic!("two rows") };
    assert_eq!((forward.bytes, forward.tcp_flags, forward.src_mac), (7, 2, [1; 6]));
    assert_eq!((reverse.bytes, reverse.tcp_flags, reverse.src_mac), (9, 0x12, [2; 6]));
}

/// Outer: interface, protocol and times; inner: addresses and octets.
fn aggregate_templates() -> [Vec<u8>; 2] {
    [
        fields(256, &[(0, 10, 4), (0, 4, 1), (0, 11, 2), (0, 152, 8), (0, 153, 8), (0, 34, 1), (0, 292, 0xFFFF)]),
        fields(300, &[(0, 8, 4), (0, 12, 4), (0, 1, 4)]),
    ]
}

fn aggregate(pairs: &[(u8, u8, u32)]) -> Vec<u8> {
    let mut octets = [7_u32.to_be_bytes().to_vec(), vec![17], words(&[53])].concat();
    octets.extend(1_700_000_000_000_u64.to_be_bytes());
    octets.extend(1_700_000_009_000_u64.to_be_bytes());
    octets.push(10);
    let inner =
        |(src, dst, bytes): &(u8, u8, u32)| [&[10, 0, 0, *src, 10, 0, 1, *dst][..], &bytes.to_be_bytes()].concat();
    octets.extend(prefixed(&sub(ALL_OF, 300, &pairs.iter().flat_map(inner).collect::<Vec<_>>())));
    octets
}

#[test]
fn ix_35_flows_of_an_aggregate_are_rows_that_inherit() {
    let (mut bench, domain) = learned(Selection::CORE, &aggregate_templates());
    let outcome = data(&mut bench, &domain, &aggregate(&[(1, 2, 100), (3, 4, 200), (5, 6, 300)]));
    assert_eq!((outcome.records, outcome.sampling_unknown), (3, 0));
    assert_eq!(serials(&bench), [100, 200, 300], "the record round them is no flow of its own");
    for r in &bench.batch.records {
        assert_eq!((r.input_if, r.protocol, r.dst_port, r.template_id), (7, 17, 53, 256));
        assert_eq!(
            (r.start_ms, r.end_ms, r.time_source),
            (1_700_000_000_000, 1_700_000_009_000, TimeSource::Milliseconds)
        );
        assert_eq!((r.sampling_rate, r.sampling_source), (10, SamplingSource::Record));
    }
    assert_eq!(bench.last().src_ip(), Some("10.0.0.5".parse().unwrap()));
    bench.batch.clear();
    data(
        &mut bench,
        &domain,
        &[aggregate(&[(1, 2, 100)]), aggregate(&[]), aggregate(&[(3, 4, 5), (6, 7, 8)])].concat(),
    );
    assert_eq!(serials(&bench), [100, 0, 5, 8], "one flow fills its record; an empty list leaves it as it is");
    assert_eq!(bench.batch.records[0].input_if, 7);
}

#[test]
fn ix_35_counters_are_nobodys_twice() {
    // The outer record counts, its pairs do not: whose octets they are is not known.
    let inner = fields(300, &[(0, 8, 4), (0, 12, 4)]);
    let (mut bench, domain) = learned(Selection::CORE, &[fields(256, &[(0, 1, 4), (0, 292, 0xFFFF)]), inner.clone()]);
    let pairs = sub(ALL_OF, 300, &[[1_u8; 8], [2; 8]].concat());
    data(&mut bench, &domain, &[&500_u32.to_be_bytes()[..], &prefixed(&pairs)].concat());
    assert_eq!((serials(&bench), bench.last().src_ip()), (vec![500], None));
    // Flows inside a flow with ends of its own inherit neither its ends nor its counters.
    let counted = fields(300, &[(0, 8, 4), (0, 12, 4), (0, 1, 1)]);
    let (mut bench, domain) = learned(Selection::CORE, &[flow_with(292), counted]);
    data(&mut bench, &domain, &flow(&sub(ALL_OF, 300, &[1, 1, 1, 1, 2, 2, 2, 2, 77])));
    let [outer, inner] = bench.batch.records[..] else { panic!("two rows") };
    assert_eq!((outer.bytes, inner.bytes), (1_024, 77));
    assert!(!inner.presence.has_any(Presence::SRC_PORT.with(Presence::PROTOCOL).with(Presence::PACKETS)));
}

#[test]
fn ix_35_of_several_records_none_is_the_flows_and_none_of_says_nothing() {
    let (mut bench, domain) = learned(Selection::CORE, &[flow_with(292), fields(301, &[(0, 56, 6), (0, 80, 6)])]);
    let macs = [[0xA; 6], [0xB; 6]].concat();
    for (semantic, records, known) in
        [(ALL_OF, macs.clone(), true), (255, macs.clone(), true), (ALL_OF, macs.repeat(2), false), (0, macs, false)]
    {
        data(&mut bench, &domain, &flow(&sub(semantic, 301, &records)));
        assert_eq!(bench.last().has(Presence::SRC_MAC), known, "{semantic}, {} octets", records.len());
    }
}

#[test]
fn ix_35_basic_lists() {
    let (mut bench, domain) = learned(Selection::CORE, &[flow_with(291)]);
    for (list, output_if) in [
        (basic(ALL_OF, iana(14), 4, &[0, 0, 0, 7]), 7),
        (basic(ALL_OF, iana(14), 0xFFFF, &[2, 1, 7]), 263),
        (basic(ALL_OF, iana(14), 4, &[0, 0, 0, 7, 0, 0, 0, 8]), 0),
        (basic(0, iana(14), 4, &[0, 0, 0, 7]), 0),
        (basic(ALL_OF, ElementId { pen: 99, id: 14 }, 4, &[0, 0, 0, 7]), 0),
        (basic(ALL_OF, iana(14), 0, &[0, 0, 0, 7]), 0),
        (basic(ALL_OF, iana(14), 4, &[]), 0),
    ] {
        let outcome = data(&mut bench, &domain, &flow(&list));
        assert_eq!((outcome.records, outcome.lists_unread), (1, 0));
        assert_eq!((bench.last().output_if, bench.last().bytes), (output_if, 1_024), "{list:?}");
    }
    let counter = basic(ALL_OF, iana(1), 4, &[0, 0, 0, 7]);
    data(&mut bench, &domain, &flow(&counter));
    assert_eq!(bench.last().bytes, 1_024);
}

#[test]
fn ix_35_elements_of_lists_are_kept_with_their_rows_where_they_are_wanted() {
    let wanted: Arc<[ElementId]> = Arc::from([iana(1), iana(184), iana(14), iana(293)]);
    let selection = Selection { elements: Elements::These(wanted), ..Selection::CORE };
    let (mut bench, domain) = learned(selection.clone(), &yaf_templates());
    data(&mut bench, &domain, &yaf_record(900));
    let of = |bench: &Bench, row: usize| -> Vec<(u16, usize)> {
        bench.batch.elements_of(row).map(|(e, octets): (&ElementValue, _)| (e.element.id, octets.len())).collect()
    };
    assert_eq!(of(&bench, 0).iter().map(|e| e.0).collect::<Vec<_>>(), [1, 293, 184]);
    let [outer, inner] = aggregate_templates();
    let (mut bench, domain) = learned(selection, &[outer, inner]);
    data(&mut bench, &domain, &aggregate(&[(1, 2, 100), (3, 4, 200)]));
    assert_eq!((bench.batch.len(), of(&bench, 0), of(&bench, 1)), (2, vec![(1, 4)], vec![(1, 4)]));
    assert!(bench.batch.elements.is_sorted_by_key(|e| e.record));
    let basic_list = basic(ALL_OF, iana(14), 2, &[0, 7, 0, 8]);
    let everything = Selection { elements: Elements::All, ..Selection::CORE };
    let (mut bench, domain) = learned(everything, &[flow_with(291)]);
    data(&mut bench, &domain, &flow(&basic_list));
    assert_eq!(of(&bench, 0)[7..], [(291, 9), (14, 2), (14, 2)]);
}

#[test]
fn ix_35_the_wire_view_keeps_lists_as_octets() {
    let (mut bench, domain) = learned(Selection::WIRE, &yaf_templates());
    let outcome = data(&mut bench, &domain, &yaf_record(900));
    assert_eq!((outcome.records, outcome.lists_unread), (1, 0));
    assert!(!bench.last().has(Presence::TCP_FLAGS));
    assert_eq!(bench.batch.elements_of(0).count(), 8);
}

#[test]
fn ix_35_what_cannot_be_read_is_counted_and_the_row_survives() {
    let [outer, flags, ..] = yaf_templates();
    let (mut bench, domain) = learned(Selection::CORE, &[outer, flags]);
    let good = multi(ALL_OF, &[(300, vec![2, 0, 0, 0, 1, 2, 3, 4])]);
    for (tail, unread) in [
        (vec![], 0),
        // A template that nobody sent; one whose record is cut; lengths of 0 and 3; a header that is cut.
        (words(&[999, 8, 0, 0]), 1),
        (words(&[300, 6, 0]), 1),
        (words(&[300, 0]), 1),
        (words(&[300, 3]), 1),
        (vec![1], 1),
        // No records: nothing is missing.
        (words(&[999, 4]), 0),
    ] {
        let outcome = data(&mut bench, &domain, &flow(&[good.clone(), tail.clone()].concat()));
        assert_eq!((outcome.records, outcome.sets_decoded, outcome.lists_unread), (1, 1, unread), "{tail:?}");
        assert_eq!((bench.last().bytes, bench.last().tcp_flags), (1_024, 2), "{tail:?}");
    }
}

#[test]
fn ix_35_every_cut_and_every_lie_of_a_length_is_survived() {
    let (mut bench, domain) = learned(Selection::CORE, &yaf_templates());
    let record = yaf_record(900);
    for end in 0..record.len() {
        data(&mut bench, &domain, &record[..end]);
    }
    for at in 0..record.len() {
        for octet in [0, 1, 3, 4, 5, 0x7F, 0xFE, 0xFF] {
            let mut lying = record.clone();
            lying[at] = octet;
            let outcome = data(&mut bench, &domain, &lying);
            assert_eq!(outcome.sets_decoded + outcome.sets_dropped.iter().sum::<u32>(), 1);
            bench.batch.clear();
        }
    }
}

/// `depth` lists of kind `kind`, each inside the other, the innermost of an interface.
fn nested(kind: u16, depth: usize) -> Vec<u8> {
    let mut list = basic(ALL_OF, iana(14), 1, &[7]);
    for _ in 0..depth {
        list = match kind {
            291 => basic(ALL_OF, iana(291), 0xFFFF, &prefixed(&list)),
            292 => sub(ALL_OF, 301, &prefixed(&list)),
            _ => multi(ALL_OF, &[(302, prefixed(&list))]),
        };
    }
    list
}

#[test]
fn a_7_lists_are_read_to_a_bounded_depth() {
    let templates = [
        flow_with(291),
        fields(301, &[(0, 292, 0xFFFF)]),
        fields(302, &[(0, 293, 0xFFFF)]),
        fields(303, &[(0, 291, 0xFFFF)]),
    ];
    let (mut bench, domain) = learned(Selection::CORE, &templates);
    for (depth, output_if) in
        [(0, 7), (limits::LIST_DEPTH_MAX - 1, 7), (limits::LIST_DEPTH_MAX, 0), (200, 0), (5_000, 0)]
    {
        let outcome = data(&mut bench, &domain, &flow(&nested(291, depth)));
        assert_eq!((bench.last().output_if, outcome.lists_unread), (output_if, u32::from(output_if == 0)), "{depth}");
    }
    for kind in [292, 293] {
        let (mut bench, domain) =
            learned(Selection::CORE, &[flow_with(kind), templates[1].clone(), templates[2].clone()]);
        let outcome = data(&mut bench, &domain, &flow(&nested(kind, 200)));
        assert_eq!((outcome.records, outcome.lists_unread), (1, 1), "{kind}");
    }
}

#[test]
fn a_7_a_template_inside_itself_ends_with_its_octets() {
    // 256: addresses, octets, and a list of records of 256.
    let outer = fields(256, &[(0, 8, 4), (0, 12, 4), (0, 1, 1), (0, 292, 0xFFFF)]);
    let (mut bench, domain) = learned(Selection::CORE, &[outer]);
    let mut record = vec![];
    for depth in 0..200_u8 {
        record = [vec![10, 0, 0, depth, 10, 0, 0, 1, depth], prefixed(&sub(ALL_OF, 256, &record))].concat();
    }
    let outcome = data(&mut bench, &domain, &record);
    assert_eq!((outcome.records as usize, outcome.lists_unread), (1 + limits::LIST_DEPTH_MAX, 1));
    assert_eq!(serials(&bench), [199, 198, 197, 196, 195]);
}

#[test]
fn a_5_flows_of_lists_are_rows_of_the_message() {
    let inner = fields(300, &[(0, 8, 4), (0, 12, 4)]);
    let (mut bench, domain) = learned(Selection::CORE, &[fields(256, &[(0, 292, 0xFFFF)]), inner]);
    let flows = limits::ROWS_PER_MESSAGE_MAX + 50;
    let outcome = data(&mut bench, &domain, &prefixed(&sub(ALL_OF, 300, &vec![1; 8 * flows])));
    assert_eq!(outcome.sets_dropped[SetDropKind::TooManyRows as usize], 1);
    assert_eq!((outcome.records as usize, bench.batch.len()), (bench.batch.len(), limits::ROWS_PER_MESSAGE_MAX - 1));
    assert_eq!(outcome.sampling_unknown, outcome.records, "each row is counted once");
}

#[test]
fn a_7_elements_of_lists_are_bounded_in_a_message() {
    let everything = Selection { elements: Elements::All, ..Selection::CORE };
    let (mut bench, domain) = learned(everything, &[fields(256, &[(0, 291, 0xFFFF)])]);
    let values = limits::LIST_ELEMENTS_PER_MESSAGE_MAX + 10;
    let record = prefixed(&basic(ALL_OF, iana(14), 1, &vec![7; values]));
    let outcome = data(&mut bench, &domain, &record.repeat(2));
    assert_eq!((outcome.records, outcome.sets_decoded, outcome.lists_unread), (2, 1, 2));
    // The lists themselves, and the first value of each, which is read and not only kept.
    assert_eq!(bench.batch.elements.len(), limits::LIST_ELEMENTS_PER_MESSAGE_MAX + 2 + 2);
    let outcome = data(&mut bench, &domain, &prefixed(&basic(ALL_OF, iana(14), 1, &[7])));
    assert_eq!(outcome.lists_unread, 0, "the next message has a share of its own");
}

#[test]
fn ix_35_a_section_in_a_list_is_looked_into() {
    let (mut bench, domain) =
        learned(Selection::CORE, &[fields(256, &[(0, 292, 0xFFFF)]), fields(300, &[(0, 313, 20)])]);
    let ip = [0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
    data(&mut bench, &domain, &prefixed(&sub(ALL_OF, 300, &ip)));
    let r = bench.last();
    assert_eq!((r.src_ip(), r.bytes, r.packets), (Some("192.0.2.1".parse().unwrap()), 40, 1));
    data(&mut bench, &domain, &prefixed(&sub(ALL_OF, 300, &ip.repeat(3))));
    assert_eq!(serials(&bench), [40; 4], "several packets are several rows");
}

proptest! {
    #[test]
    fn ix_35_basic_lists_are_read_as_they_were_written(
        semantic in any::<u8>(),
        pen in prop_oneof![Just(0_u32), 1..u32::MAX],
        id in 1..0x8000_u16,
        length in prop_oneof![Just(0xFFFF_u16), 1..9_u16],
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..9),
    ) {
        let variable = length == 0xFFFF;
        let sized: Vec<Vec<u8>> = values
            .into_iter()
            .map(|mut value| { if !variable { value.resize(usize::from(length), 9); } value })
            .collect();
        let wire: Vec<u8> = sized.iter().flat_map(|v| if variable { prefixed(v) } else { v.clone() }).collect();
        let octets = basic(semantic, ElementId { pen, id }, length, &wire);
        let list = BasicList::parse(&octets).unwrap();
        prop_assert_eq!((list.semantic, list.element, list.value_octets()), (semantic, ElementId { pen, id }, length));
        prop_assert_eq!(list.collect::<Vec<_>>(), sized.iter().map(Vec::as_slice).collect::<Vec<_>>());
        for end in 0..octets.len() {
            let cut = BasicList::parse(&octets[..end]).into_iter().flatten().count();
            prop_assert!(cut <= sized.len());
        }
    }

    #[test]
    fn ix_35_sub_template_lists_are_read_as_they_were_written(
        semantic in any::<u8>(),
        entries in prop::collection::vec((256..65_535_u16, prop::collection::vec(any::<u8>(), 0..40)), 1..9),
    ) {
        let octets = multi(semantic, &entries);
        let mut read = Entries::parse(true, &octets).unwrap();
        let found: Vec<_> = read.by_ref().map(|e| (e.template, e.records.to_vec())).collect();
        prop_assert_eq!((read.semantic, read.broken, &found), (semantic, false, &entries));
        for end in 1..octets.len() {
            prop_assert!(Entries::parse(true, &octets[..end]).unwrap().count() <= entries.len());
        }
        let (template, records) = &entries[0];
        let octets = sub(semantic, *template, records);
        let found: Vec<_> = Entries::parse(false, &octets).unwrap().collect();
        prop_assert_eq!(found, [Entry { template: *template, records }]);
    }

    /// Whatever stands in the lists, rows and their elements stay whole, and each list costs its own row at most.
    #[test]
    fn a_7_any_octets_in_lists_are_survived(
        list in prop::sample::select(vec![291_u16, 292, 293]),
        head in prop::sample::select(vec![vec![3_u8], vec![3, 1, 0], vec![3, 1, 44], vec![3, 1, 44, 0, 12], vec![3, 1, 36, 255, 255]]),
        tail in prop::collection::vec(prop_oneof![2 => any::<u8>(), 1 => Just(1), 1 => Just(44)], 0..400),
        all in any::<bool>(),
    ) {
        let elements = if all { Elements::All } else { Elements::None };
        let selection = Selection { elements, ..Selection::CORE };
        let inner = fields(300, &[(0, 8, 4), (0, 12, 4), (0, 1, 1), (REVERSE, 1, 1), (0, 292, 0xFFFF)]);
        let (mut bench, domain) = learned(selection, &[fields(256, &[(0, 4, 1), (0, list, 0xFFFF)]), inner]);
        let record = [vec![6], prefixed(&[head, tail].concat())].concat();
        let outcome = data(&mut bench, &domain, &record.repeat(2));
        prop_assert_eq!(outcome.records as usize, bench.batch.len());
        prop_assert!(bench.batch.len() >= 2 && bench.batch.len() <= 2 * record.len());
        prop_assert!(bench.batch.elements.is_sorted_by_key(|e| e.record));
        prop_assert!(bench.batch.elements.iter().all(|e| (e.record as usize) < bench.batch.len()));
        prop_assert!(bench.batch.records.iter().all(|r| r.start_ms <= r.end_ms && r.template_id == 256));
    }
}
