//! Type records (RFC 5610), flow keys (RFC 7011 4.4) and common properties (RFC 5473).

use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::list::fields;
use super::names::{options, text_of};
use super::*;
use crate::element::DataType;
use crate::flow::{ElementId, Field, FieldSet};

fn teaching() -> DecodeSettings {
    let profile = Profile { teaches_elements: true, ..Profile::default() };
    DecodeSettings { profile, ..DecodeSettings::default() }
}

/// Scope 346 + 303, then 339, 344 and the name.
fn type_template() -> Vec<u8> {
    options(300, 2, &[(0, 346, 4), (0, 303, 2), (0, 339, 1), (0, 344, 1), (0, 341, 0xFFFF)])
}

fn type_record(pen: u32, id: u16, data_type: u8, name: &str) -> Vec<u8> {
    let length = u8::try_from(name.len()).unwrap();
    [&pen.to_be_bytes()[..], &id.to_be_bytes(), &[data_type, 5, length], name.as_bytes()].concat()
}

fn name_of(bench: &Bench, pen: u32, id: u16) -> Option<(String, DataType)> {
    let decided = bench.state.decided();
    let registry = &decided.settings.registry;
    let found = registry.find(&decided.exporter, Version::Ipfix, ElementId { pen, id }, None)?;
    Some((found.name.into_owned(), found.data_type))
}

#[test]
fn ix_38_type_records_name_and_type_enterprise_elements() {
    let mut bench = Bench::with(teaching());
    let domain = bench.domain(Version::Ipfix, 1);
    let records = [
        type_record(999_999, 5, 3, "hatColour"),
        // The enterprise bit copied along.
        type_record(999_999, 0x8006, 13, "hat-Owner_2"),
        // IANA's, a registered one, one of no type, no name, a name that is none, a reverse.
        type_record(0, 1, 3, "bytes"),
        type_record(9, 1_232, 13, "notAGroup"),
        type_record(999_999, 7, 99, "ofNoType"),
        type_record(999_999, 8, 3, ""),
        type_record(999_999, 9, 3, "a b\u{1b}[2J"),
        type_record(29_305, 1, 3, "reverseMine"),
        type_record(999_999, 10, 3, &"x".repeat(65)),
        // Again, and otherwise.
        type_record(999_999, 5, 3, "hatColour"),
        type_record(999_999, 5, 13, "hatColour"),
    ];
    let outcome = bench.decode(&domain, &ipfix(1, 0, &[set(3, &type_template()), set(300, &records.concat())]));
    assert_eq!((outcome.options_records, outcome.elements_refused), (11, 8));
    assert_eq!(name_of(&bench, 999_999, 5), Some(("hatColour".to_owned(), DataType::Unsigned32)));
    assert_eq!(name_of(&bench, 999_999, 6), Some(("hat-Owner_2".to_owned(), DataType::String)));
    assert_eq!(name_of(&bench, 0, 1).unwrap().0, "octetDeltaCount");
    assert_ne!(name_of(&bench, 9, 1_232).unwrap().0, "notAGroup");
    assert_eq!((7..=10).find_map(|id| name_of(&bench, 999_999, id)), None);
    assert_eq!(bench.state.options_status().learned_elements, 2);
    // Without the operator's leave nobody learns anything.
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    let outcome = bench.decode(&domain, &ipfix(1, 0, &[set(3, &type_template()), set(300, &records.concat())]));
    assert_eq!((outcome.elements_refused, name_of(&bench, 999_999, 5)), (0, None));
}

#[test]
fn a_11_a_million_type_records_stay_within_the_bound() {
    let mut bench = Bench::with(teaching());
    let domain = bench.domain(Version::Ipfix, 1);
    bench.decode(&domain, &ipfix(1, 0, &[set(3, &type_template())]));
    let registry = Arc::clone(&bench.state.decided().settings.registry);
    let budget = Arc::clone(&bench.state.budget);
    let mut refused = 0;
    for first in (0..1_000_000_u32).step_by(2_000) {
        let body: Vec<u8> = (first..first + 2_000)
            .flat_map(|n| type_record(900_000 + n / 1_000, (n % 1_000) as u16, 4, "flood"))
            .collect();
        refused += bench.decode(&domain, &ipfix(1, 0, &[set(300, &body)])).elements_refused as usize;
    }
    assert_eq!(refused, 1_000_000 - limits::LEARNED_ELEMENTS_PER_EXPORTER_MAX);
    assert_eq!(bench.state.options_status().learned_elements as usize, limits::LEARNED_ELEMENTS_PER_EXPORTER_MAX);
    assert_eq!(registry.generation() as usize, limits::LEARNED_ELEMENTS_PER_EXPORTER_MAX);
    assert!(budget.learned_octets.load(Ordering::Relaxed) < 2 << 20);
    // What is known is no news.
    let known = type_record(900_000, 1, 4, "flood");
    assert_eq!(bench.decode(&domain, &ipfix(1, 0, &[set(300, &known)])).elements_refused, 0);
    domain.retire();
    let exporter = Arc::clone(&bench.state.decided().exporter);
    drop((domain, bench));
    assert_eq!(budget.learned_octets.load(Ordering::Relaxed), 0);
    assert_eq!(registry.find(&exporter, Version::Ipfix, ElementId { pen: 900_000, id: 1 }, None), None);
}

#[test]
fn ix_39_flow_keys_are_kept_with_their_template() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    let table = options(300, 1, &[(0, 145, 2), (0, 173, 8)]);
    let record = |id: u16, keys: u64| [&id.to_be_bytes()[..], &keys.to_be_bytes()].concat();
    let flows = set(2, &template(256, &TEMPLATE));
    let keys = || domain.plan(256).and_then(|plan| plan.flow_keys());
    bench.decode(&domain, &ipfix(1, 0, &[flows.clone(), set(3, &table)]));
    assert_eq!(keys(), None);
    // Of an unknown template there is nothing to keep.
    bench.decode(&domain, &ipfix(1, 0, &[set(300, &[record(999, 3), record(256, 0b1_1111)].concat())]));
    assert_eq!((keys(), domain.plan(300).unwrap().flow_keys()), (Some(0b1_1111), None));
    bench.decode(&domain, &ipfix(1, 0, &[flows]));
    assert_eq!(keys(), Some(0b1_1111), "the same layout keeps them");
    bench.decode(&domain, &ipfix(1, 0, &[set(2, &template(256, &[8, 4]))]));
    assert_eq!(keys(), None, "another layout has other keys");
}

fn with_fields() -> DecodeSettings {
    let selection = Selection { fields: FieldSet::ALL, ..Selection::CORE };
    DecodeSettings { selection, ..DecodeSettings::default() }
}

/// Properties: the source, an interface, a name.
fn properties_template() -> Vec<u8> {
    options(300, 1, &[(0, 137, 8), (0, 8, 4), (0, 7, 2), (0, 10, 4), (0, 82, 0xFFFF)])
}

fn properties(id: u64, source: [u8; 4], port: u16, interface: u32, name: &str) -> Vec<u8> {
    let length = u8::try_from(name.len()).unwrap();
    [&id.to_be_bytes()[..], &source, &port.to_be_bytes(), &interface.to_be_bytes(), &[length], name.as_bytes()].concat()
}

#[test]
fn ix_40_common_properties_fill_what_a_record_lacks() {
    let mut bench = Bench::with(with_fields());
    let domain = bench.domain(Version::Ipfix, 7);
    // The record has a source port of its own, and the same id in another width.
    let flows = fields(256, &[(0, 137, 4), (0, 12, 4), (0, 7, 2), (0, 1, 4)]);
    let row = |id: u32| [&id.to_be_bytes()[..], &[10, 0, 0, 2], &words(&[53]), &600_u32.to_be_bytes()].concat();
    let data = ipfix(7, 0, &[set(256, &[row(4), row(5)].concat())]);
    bench.decode(&domain, &ipfix(7, 0, &[set(2, &flows)]));
    let outcome = bench.decode(&domain, &data);
    assert_eq!((outcome.records, outcome.common_properties_unknown), (2, 2));
    assert!(bench.last().src_ip().is_none() && bench.last().src_port == 53, "the row as it is");
    let told = [properties(4, [192, 0, 2, 4], 1_000, 9, "et-4"), properties(6, [192, 0, 2, 6], 1, 1, "")].concat();
    let outcome = bench.decode(&domain, &ipfix(7, 0, &[set(3, &properties_template()), set(300, &told)]));
    assert_eq!((outcome.records, outcome.options_records, bench.batch.len()), (0, 2, 2));
    let outcome = bench.decode(&domain, &data);
    assert_eq!((outcome.records, outcome.common_properties_unknown), (2, 1));
    let row = bench.batch.records[2];
    assert_eq!((row.src_ip(), row.input_if), (Some("192.0.2.4".parse().unwrap()), 9));
    assert_eq!((row.src_port, row.bytes, row.observation_domain), (53, 600, 7), "its own fields win");
    assert_eq!(text_of(&bench, 2, Field::InputIfName).as_deref(), Some("et-4"));
    assert!(bench.batch.records[3].src_ip().is_none());
    // Told anew, later rows have it; those before keep what they had.
    bench.decode(&domain, &ipfix(7, 0, &[set(300, &properties(4, [192, 0, 2, 40], 1, 9, "et-40"))]));
    bench.decode(&domain, &data);
    assert_eq!(bench.batch.records[4].src_ip(), Some("192.0.2.40".parse().unwrap()));
    assert_eq!(text_of(&bench, 4, Field::InputIfName).as_deref(), Some("et-40"));
    assert_eq!(bench.batch.records[2].src_ip(), Some("192.0.2.4".parse().unwrap()));
    // Another domain's id is another one.
    let other = bench.domain(Version::Ipfix, 8);
    let outcome = bench.decode(&other, &ipfix(8, 0, &[set(2, &flows), set(256, &row_of(4))]));
    assert_eq!(outcome.common_properties_unknown, 1);
}

fn row_of(id: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &[10, 0, 0, 2], &words(&[53]), &600_u32.to_be_bytes()].concat()
}

#[test]
fn ix_40_both_directions_share_common_properties() {
    let mut bench = Bench::with(with_fields());
    let domain = bench.domain(Version::Ipfix, 7);
    let told = properties(4, [192, 0, 2, 4], 1_000, 9, "et-4");
    bench.decode(&domain, &ipfix(7, 0, &[set(3, &properties_template()), set(300, &told)]));
    let flows = fields(256, &[(0, 137, 8), (0, 12, 4), (0, 1, 4), (29_305, 1, 4)]);
    let row = [&4_u64.to_be_bytes()[..], &[10, 0, 0, 2], &[0, 0, 0, 60], &[0, 0, 0, 40]].concat();
    let outcome = bench.decode(&domain, &ipfix(7, 0, &[set(2, &flows), set(256, &row)]));
    assert_eq!(outcome.records, 2);
    let [there, back] = bench.batch.records[..] else { panic!("two rows") };
    assert_eq!((there.src_ip(), there.dst_ip()), (back.dst_ip(), back.src_ip()));
    assert_eq!((there.src_port, there.input_if, there.bytes), (1_000, 9, 60));
    assert_eq!((back.dst_port, back.output_if, back.bytes), (1_000, 9, 40));
    assert_eq!(text_of(&bench, 0, Field::InputIfName).as_deref(), Some("et-4"));
    assert_eq!(text_of(&bench, 1, Field::OutputIfName).as_deref(), Some("et-4"));
    assert_eq!(text_of(&bench, 1, Field::InputIfName), None);
}

#[test]
fn ix_40_a_rate_among_common_properties_is_their_records_alone() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 7);
    let table = options(300, 1, &[(0, 137, 4), (0, 34, 4)]);
    let flows = fields(256, &[(0, 137, 4), (0, 12, 4)]);
    let row = |id: u32| [id.to_be_bytes(), [10, 0, 0, 2]].concat();
    let told = set(300, &[4_u32, 1_000].map(u32::to_be_bytes).concat());
    let sets = [set(3, &table), told, set(2, &flows), set(256, &[row(4), row(5)].concat())];
    let outcome = bench.decode(&domain, &ipfix(7, 0, &sets));
    assert_eq!(outcome.sampling_unknown, 1);
    let rates: Vec<_> = bench.batch.records.iter().map(|r| (r.rate(), r.sampling_source)).collect();
    assert_eq!(rates, [(1_000, SamplingSource::Record), (1, SamplingSource::Unknown)]);
}

#[test]
fn ix_40_the_wire_view_shows_no_common_properties() {
    let mut bench = Bench::with(DecodeSettings { selection: Selection::WIRE, ..DecodeSettings::default() });
    let domain = bench.domain(Version::Ipfix, 7);
    let told = properties(4, [192, 0, 2, 4], 1_000, 9, "et-4");
    let flows = fields(256, &[(0, 137, 8), (0, 12, 4)]);
    let row = [&4_u64.to_be_bytes()[..], &[10, 0, 0, 2]].concat();
    let sets = [set(3, &properties_template()), set(300, &told), set(2, &flows), set(256, &row)];
    let outcome = bench.decode(&domain, &ipfix(7, 0, &sets));
    assert_eq!((outcome.records, outcome.common_properties_unknown), (1, 0));
    assert!(bench.last().src_ip().is_none() && bench.state.options_entries() == 0);
}

#[test]
fn a_10_common_properties_are_bounded_and_the_oldest_go() {
    let mut bench = Bench::with(with_fields());
    let domain = bench.domain(Version::Ipfix, 7);
    bench.decode(&domain, &ipfix(7, 0, &[set(3, &properties_template())]));
    for first in (0..40_000_u64).step_by(500) {
        let body: Vec<u8> = (first..first + 500).flat_map(|id| properties(id, [192, 0, 2, 4], 1, 1, "x")).collect();
        bench.decode(&domain, &ipfix(7, 0, &[set(300, &body)]));
    }
    assert_eq!(bench.state.options_entries(), limits::OPTIONS_ENTRIES_PER_TABLE_MAX);
    let flows = fields(256, &[(0, 137, 4), (0, 12, 4), (0, 7, 2), (0, 1, 4)]);
    let outcome =
        bench.decode(&domain, &ipfix(7, 0, &[set(2, &flows), set(256, &[row_of(0), row_of(39_999)].concat())]));
    assert_eq!(outcome.common_properties_unknown, 1);
    // Without octets for more, the oldest go too.
    let mut bench = Bench::bounded(with_fields(), 16 * 1_024);
    let domain = bench.domain(Version::Ipfix, 7);
    bench.decode(&domain, &ipfix(7, 0, &[set(3, &properties_template()), set(2, &flows)]));
    for id in 0..1_000 {
        bench.decode(&domain, &ipfix(7, 0, &[set(300, &properties(id, [192, 0, 2, 4], 1, 0, ""))]));
    }
    let outcome = bench.decode(&domain, &ipfix(7, 0, &[set(256, &[row_of(0), row_of(999)].concat())]));
    assert_eq!(outcome.common_properties_unknown, 1);
    let budget = Arc::clone(&bench.state.budget);
    assert!(budget.learned_octets.load(Ordering::Relaxed) <= 16 * 1_024);
    domain.retire();
    drop((domain, bench));
    assert_eq!(budget.learned_octets.load(Ordering::Relaxed), 0);
}

#[test]
fn ix_40_what_properties_lend_a_row_is_bounded() {
    let mut bench = Bench::with(with_fields());
    let domain = bench.domain(Version::Ipfix, 7);
    let names: Vec<(u32, u16, u16)> = [82, 82, 83, 83, 96, 94, 372].map(|id| (0, id, 256)).to_vec();
    let table = options(300, 1, &[&[(0, 137, 4)][..], &names].concat());
    let record = [4_u32.to_be_bytes().to_vec(), vec![b'n'; 7 * 256]].concat();
    let flows = fields(256, &[(0, 137, 4)]);
    let sets = [set(3, &table), set(300, &record), set(2, &flows), set(256, &4_u32.to_be_bytes())];
    bench.decode(&domain, &ipfix(7, 0, &sets));
    let texts = bench.batch.fields_of(0).filter(|f| matches!(f.value, crate::flow::Value::Octets { .. })).count();
    assert_eq!(texts, 4);
    assert_eq!(bench.batch.octets.len(), limits::COMMON_PROPERTIES_OCTETS_MAX);
}

proptest! {
    /// A record whose first fields stand in common properties becomes the row of a record that has all of them.
    #[test]
    fn ix_40_a_record_in_two_parts_is_the_record(
        octets in prop::collection::vec(any::<u8>(), 29),
        common in 0_usize..9,
        is_known in any::<bool>(),
    ) {
        const FIELDS: [(u32, u16, u16); 9] = [
            (0, 8, 4), (0, 12, 4), (0, 7, 2), (0, 11, 2), (0, 4, 1), (0, 10, 4), (0, 14, 4), (0, 1, 4), (0, 2, 4),
        ];
        let split: usize = FIELDS[..common].iter().map(|(_, _, length)| usize::from(*length)).sum();
        let decoded = |bench: &mut Bench, sets: &[Vec<u8>]| {
            let domain = bench.domain(Version::Ipfix, 7);
            bench.decode(&domain, &ipfix(7, 0, sets));
            *bench.last()
        };
        let whole = decoded(&mut Bench::new(), &[set(2, &fields(256, &FIELDS)), set(256, &octets)]);
        let table = options(300, 1, &[&[(0, 137, 1)][..], &FIELDS[..common]].concat());
        let rest = fields(256, &[&[(0, 137, 1)][..], &FIELDS[common..]].concat());
        let told = set(300, &[&[1][..], &octets[..split]].concat());
        let data = set(256, &[&[u8::from(is_known)][..], &octets[split..]].concat());
        let apart = decoded(&mut Bench::new(), &[set(3, &table), told, set(2, &rest), data]);
        // ICMP is read from ports, and plausibility from counters, only where a record has both itself.
        let plain = |row: FlowRecord| {
            let mut row = FlowRecord { icmp_type: 0, icmp_code: 0, ..row };
            row.presence.clear(Presence::ICMP.with(Presence::IMPLAUSIBLE));
            row
        };
        if is_known {
            prop_assert_eq!(plain(apart), plain(whole));
        } else if common > 0 {
            prop_assert!(apart.src_ip().is_none() && !apart.has(Presence::SRC_V4));
        }
    }
}
