//! What options records call interfaces, VRFs, applications, samplers and domains, and the rows that show it.

use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::list::fields;
use super::*;
use crate::flow::{Field, FieldKind, FieldSet, Value};

/// A selection that wants all fields.
fn everything() -> DecodeSettings {
    let selection = Selection { fields: FieldSet::ALL, ..Selection::CORE };
    DecodeSettings { selection, ..DecodeSettings::default() }
}

/// A field of a row as text.
pub(super) fn text_of(bench: &Bench, row: usize, field: Field) -> Option<String> {
    let mut found = bench.batch.fields_of(row).filter(|f| f.field == field);
    let value = found.next().map(|f| match f.value {
        Value::Unsigned(number) => number.to_string(),
        Value::Octets { offset, length } => {
            let octets = &bench.batch.octets[offset as usize..][..usize::from(length)];
            String::from_utf8(octets.to_vec()).expect("names are UTF-8")
        }
    });
    assert!(found.next().is_none(), "{field:?} stands twice in row {row}");
    value
}

fn last(bench: &Bench, field: Field) -> Option<String> {
    text_of(bench, bench.batch.len() - 1, field)
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// `text` in a field of fixed length, as routers fill it up.
pub(super) fn padded(text: &str, length: usize) -> Vec<u8> {
    let mut octets = text.as_bytes().to_vec();
    octets.resize(length, 0);
    octets
}

/// An options template of IPFIX; `scopes` of the fields are the scope.
pub(super) fn options(id: u16, scopes: u16, list: &[(u32, u16, u16)]) -> Vec<u8> {
    let mut octets = fields(id, list);
    octets.splice(4..4, scopes.to_be_bytes());
    octets
}

/// The same of NetFlow v9.
fn v9_options(id: u16, scope: &[u16], list: &[u16]) -> Vec<u8> {
    let octets = |list: &[u16]| u16::try_from(list.len() * 2).unwrap();
    words(&[&[id, octets(scope), octets(list)][..], scope, list].concat())
}

#[test]
fn n9_22_interface_tables_of_v9_name_interfaces_and_are_no_flows() {
    // Scope System with four octets, then 10, 82, 83; scope Interface; and both numbers behind the scope.
    let forms: [(&[u16], &[u16], &[u32]); 3] = [
        (&[1, 4], &[10, 4, 82, 8, 83, 16], &[9, 5]),
        (&[2, 4], &[82, 8, 83, 16], &[5]),
        (&[1, 0], &[10, 4, 14, 4, 82, 8, 83, 16], &[5, 5]),
    ];
    for (scope, list, numbers) in forms {
        let mut bench = Bench::with(everything());
        let domain = bench.domain(Version::V9, 7);
        let data = v9(7, 2, &[set(256, &[5_u32, 6].map(u32::to_be_bytes).concat())]);
        bench.decode(&domain, &v9(7, 1, &[set(0, &template(256, &[10, 4, 14, 4]))]));
        bench.decode(&domain, &data);
        assert_eq!(last(&bench, Field::InputIfName), None, "nobody told it yet");
        let numbers: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
        let record = [numbers, padded("Gi0/5", 8), padded("to the core  ", 16)].concat();
        let outcome = bench.decode(&domain, &v9(7, 3, &[set(1, &v9_options(300, scope, list)), set(300, &record)]));
        assert_eq!((outcome.records, outcome.options_records), (0, 1));
        bench.decode(&domain, &data);
        assert_eq!(last(&bench, Field::InputIfName), some("Gi0/5"), "{scope:?}");
        assert_eq!(last(&bench, Field::InputIfDescription), some("to the core"));
        assert_eq!((last(&bench, Field::OutputIfName), last(&bench, Field::OutputIfDescription)), (None, None));
        // A new name holds for later rows; without a description it has none.
        let record = [&record[..record.len() - 24], &padded("Gi5", 8), &[0; 16]].concat();
        bench.decode(&domain, &v9(7, 4, &[set(300, &record)]));
        bench.decode(&domain, &data);
        assert_eq!((last(&bench, Field::InputIfName), last(&bench, Field::InputIfDescription)), (some("Gi5"), None));
    }
}

#[test]
fn n9_21_a_scope_type_of_v9_is_no_key() {
    let mut bench = Bench::with(everything());
    let domain = bench.domain(Version::V9, 7);
    // Scope type 10 is no interface, whatever field type 10 is.
    let table = v9_options(300, &[10, 4], &[82, 8]);
    let record = [5_u32.to_be_bytes().to_vec(), padded("Gi0/5", 8)].concat();
    bench.decode(&domain, &v9(7, 1, &[set(1, &table), set(300, &record)]));
    assert_eq!(bench.state.options_entries(), 0);
}

#[test]
fn vrfs_samplers_and_domains_have_names() {
    let mut bench = Bench::with(everything());
    let domain = bench.domain(Version::Ipfix, 7);
    let vrf = options(300, 1, &[(0, 234, 4), (0, 236, 12), (0, 235, 4)]);
    let sampler = options(301, 1, &[(0, 302, 4), (0, 84, 8), (0, 335, 8)]);
    let name = options(302, 1, &[(0, 149, 4), (0, 300, 0xFFFF)]);
    let flows = fields(256, &[(0, 234, 4), (0, 235, 4), (0, 302, 1), (0, 1, 4)]);
    let mut vrfs = Vec::new();
    for (id, name) in [(0x6000_0001_u32, "customer-a"), (0x6000_0002, "customer-b")] {
        vrfs.extend([&id.to_be_bytes()[..], &padded(name, 12), &id.to_be_bytes()].concat());
    }
    let samplers = [&1_u32.to_be_bytes()[..], &padded("old", 8), &padded("fnf-100", 8)].concat();
    let domains = [&7_u32.to_be_bytes()[..], &[6], b"core-1"].concat();
    let tables =
        [set(3, &vrf), set(3, &sampler), set(3, &name), set(300, &vrfs), set(301, &samplers), set(302, &domains)];
    bench.decode(&domain, &ipfix(7, 1, &tables));
    let row = [&0x6000_0001_u32.to_be_bytes()[..], &0x6000_0002_u32.to_be_bytes(), &[1], &[0, 0, 0, 9]].concat();
    bench.decode(&domain, &ipfix(7, 1, &[set(2, &flows), set(256, &row)]));
    assert_eq!(last(&bench, Field::IngressVrf), some("customer-a"));
    assert_eq!(last(&bench, Field::EgressVrf), some("customer-b"));
    assert_eq!(last(&bench, Field::SamplerName), some("fnf-100"));
    assert_eq!(last(&bench, Field::DomainName), some("core-1"));
    let status = bench.state.options_status();
    assert_eq!(status.vrfs[1].name, "customer-b");
    assert_eq!((status.samplers[0].id, &*status.samplers[0].name), (1, "fnf-100"));
    assert_eq!((status.domains[0].domain, &*status.domains[0].name), (7, "core-1"));
}

#[test]
fn ix_46_application_names_are_keyed_by_the_whole_value() {
    let mut bench = Bench::with(everything());
    let domain = bench.domain(Version::V9, 1);
    // NBAR with 4 octets, Fortinet with 9 (engine 20, enterprise 12356), and a value of 32.
    let nbar = [13, 0, 1, 187];
    let fortinet = [20, 0, 0, 0x30, 0x44, 0, 0, 0x3E, 0xE2];
    let long = [7; 32];
    let ids: [(&[u8], &str, &str, &str); 3] = [
        (&nbar, "secure-http", "Secured HTTP", ""),
        (&fortinet, "HTTPS.BROWSER", "", "Web.Client"),
        (&long, "thirty-two", "", ""),
    ];
    for (index, (id, name, description, category)) in ids.into_iter().enumerate() {
        let (length, number) = (u16::try_from(id.len()).unwrap(), u16::try_from(index).unwrap());
        let flows = template(256 + number, &[95, length, 1, 4]);
        let data = v9(1, 2, &[set(0, &flows), set(256 + number, &[id, &[0, 0, 0, 9][..]].concat())]);
        bench.decode(&domain, &data);
        assert_eq!(last(&bench, Field::AppName), None);
        // The table comes after the data.
        let table = v9_options(300 + number, &[1, 4], &[95, length, 96, 24, 94, 64, 372, 16]);
        let texts = [padded(name, 24), padded(description, 64), padded(category, 16)].concat();
        let record = [&[10, 0, 0, 1][..], id, &texts].concat();
        bench.decode(&domain, &v9(1, 3, &[set(1, &table), set(300 + number, &record)]));
        bench.decode(&domain, &data);
        let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        assert_eq!(last(&bench, Field::AppName), some(name));
        assert_eq!(last(&bench, Field::AppDescription), known(description));
        assert_eq!(last(&bench, Field::AppCategory), known(category));
    }
    // A prefix of an id is another id.
    let flows = template(260, &[95, 3]);
    bench.decode(&domain, &v9(1, 4, &[set(0, &flows), set(260, &nbar[..3])]));
    assert_eq!(last(&bench, Field::AppName), None);
    // One that is too long for a key is none, and harms nothing.
    bench.decode(&domain, &v9(1, 5, &[set(0, &template(261, &[95, 33])), set(261, &[7; 33])]));
    assert_eq!(last(&bench, Field::AppName), None);
}

#[test]
fn what_the_record_says_itself_wins() {
    let mut bench = Bench::with(everything());
    let domain = bench.domain(Version::Ipfix, 1);
    let interfaces = options(300, 1, &[(0, 10, 4), (0, 82, 8), (0, 83, 8)]);
    let table = [&5_u32.to_be_bytes()[..], &padded("table", 8), &padded("uplink", 8)].concat();
    bench.decode(&domain, &ipfix(1, 0, &[set(3, &interfaces), set(300, &table)]));
    let flows = fields(256, &[(0, 10, 4), (0, 82, 0xFFFF), (0, 82, 0xFFFF), (0, 96, 0xFFFF), (0, 300, 4), (0, 236, 4)]);
    let row = [&5_u32.to_be_bytes()[..], b"\x03own", b"\x03out", b"\x03dns", b"dom\0", b"red\0"].concat();
    let empty = [&5_u32.to_be_bytes()[..], b"\0\0\0", b"\0\0\0\0", b"\0\0\0\0"].concat();
    bench.decode(&domain, &ipfix(1, 0, &[set(2, &flows), set(256, &[row, empty].concat())]));
    let of = |row, field| text_of(&bench, row, field);
    assert_eq!((of(0, Field::InputIfName), of(0, Field::OutputIfName)), (some("own"), some("out")));
    assert_eq!((of(0, Field::InputIfDescription), of(0, Field::AppName)), (some("uplink"), some("dns")));
    assert_eq!((of(0, Field::DomainName), of(0, Field::IngressVrf)), (some("dom"), some("red")));
    // Empty text says nothing: the table does.
    assert_eq!((of(1, Field::InputIfName), of(1, Field::AppName)), (some("table"), None));
}

#[test]
fn ix_37_names_change_sides_with_the_direction() {
    let mut bench = Bench::with(everything());
    let domain = bench.domain(Version::Ipfix, 1);
    let interfaces = options(300, 1, &[(0, 10, 4), (0, 82, 4)]);
    let vrfs = options(301, 1, &[(0, 234, 4), (0, 236, 4)]);
    let entry = |id: u32, name: &str| [id.to_be_bytes().to_vec(), padded(name, 4)].concat();
    let tables = [
        set(3, &interfaces),
        set(3, &vrfs),
        set(300, &[entry(1, "in"), entry(2, "out")].concat()),
        set(301, &[entry(1, "red"), entry(2, "blue")].concat()),
    ];
    bench.decode(&domain, &ipfix(1, 0, &tables));
    let list = [
        (0, 8, 4),
        (0, 12, 4),
        (0, 10, 4),
        (0, 14, 4),
        (0, 234, 4),
        (0, 235, 4),
        (0, 83, 4),
        (0, 1, 4),
        (29_305, 1, 4),
    ];
    let row =
        [[10, 0, 0, 1], [10, 0, 0, 2], [0, 0, 0, 1], [0, 0, 0, 2], [0, 0, 0, 1], [0, 0, 0, 2], *b"lan\0"].concat();
    let row = [row, 600_u32.to_be_bytes().to_vec(), 400_u32.to_be_bytes().to_vec()].concat();
    let outcome =
        bench.decode(&domain, &ipfix(1, 0, &[set(2, &fields(256, &list)), set(256, &[row.clone(), row].concat())]));
    assert_eq!(outcome.records, 4);
    for row in 0..4 {
        let names = [Field::InputIfName, Field::OutputIfName, Field::IngressVrf, Field::EgressVrf]
            .map(|f| text_of(&bench, row, f));
        let expected = if row % 2 == 0 { ["in", "out", "red", "blue"] } else { ["out", "in", "blue", "red"] };
        assert_eq!(names, expected.map(some), "{row}");
        let descriptions = [Field::InputIfDescription, Field::OutputIfDescription].map(|f| text_of(&bench, row, f));
        assert_eq!(descriptions, if row % 2 == 0 { [some("lan"), None] } else { [None, some("lan")] });
    }
    assert!(bench.batch.fields.is_sorted_by_key(|f| f.record));
}

#[test]
fn ix_23_tables_of_domain_0_and_of_an_only_domain_hold_for_others() {
    let mut bench = Bench::with(everything());
    let tables = [set(3, &options(300, 1, &[(0, 10, 4), (0, 82, 4)]))];
    let entry = |id: u32, name: &str| set(300, &[id.to_be_bytes().to_vec(), padded(name, 4)].concat());
    let [zero, seven, data] = [0, 7, 9].map(|id| bench.domain(Version::Ipfix, id));
    for (domain, id, entries) in
        [(&zero, 0, [entry(1, "zero"), entry(2, "all")]), (&seven, 7, [entry(1, "sev"), entry(3, "only")])]
    {
        bench.decode(domain, &ipfix(id, 0, &tables));
        bench.decode(domain, &ipfix(id, 1, &entries));
    }
    bench.decode(
        &data,
        &ipfix(
            9,
            0,
            &[set(2, &fields(256, &[(0, 10, 4)])), set(256, &[1_u32, 2, 3, 4].map(u32::to_be_bytes).concat())],
        ),
    );
    let names: Vec<_> = (0..4).map(|row| text_of(&bench, row, Field::InputIfName)).collect();
    assert_eq!(names, [some("zero"), some("all"), some("only"), None]);
}

#[test]
fn ix_27_the_whole_scope_is_the_key() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 7);
    // Sampler 1 on two interfaces, a domain of its own in the scope, and one rate for the domain.
    let on = options(300, 3, &[(0, 302, 4), (0, 149, 4), (0, 10, 4), (0, 34, 4)]);
    let wide = options(301, 1, &[(0, 149, 4), (0, 34, 4)]);
    let record = |numbers: &[u32]| -> Vec<u8> { numbers.iter().flat_map(|n| n.to_be_bytes()).collect() };
    let on_data = set(300, &record(&[1, 7, 5, 100, 1, 7, 6, 200, 2, 8, 5, 300]));
    bench.decode(&domain, &ipfix(7, 0, &[set(3, &on), set(3, &wide), on_data, set(301, &record(&[7, 1_000, 9, 50]))]));
    let flows = fields(256, &[(0, 302, 4), (0, 10, 4)]);
    let data = record(&[1, 5, 1, 6, 1, 9, 2, 5]);
    let rates = |bench: &mut Bench, id: u32| {
        bench.batch.clear();
        let domain = bench.domain(Version::Ipfix, id);
        bench.decode(&domain, &ipfix(id, 0, &[set(2, &flows), set(256, &data)]));
        bench.batch.records.iter().map(|r| (r.rate(), r.sampling_source)).collect::<Vec<_>>()
    };
    let (sampler, domain_wide) = (SamplingSource::Sampler, SamplingSource::Domain);
    // Not told of interface 9: the interfaces disagree, so the domain's.
    let expected = [(100, sampler), (200, sampler), (1_000, domain_wide), (1_000, domain_wide)];
    assert_eq!(rates(&mut bench, 7), expected);
    // Domain 8 was spoken of in a message of domain 7; the one told interface speaks for its sampler.
    assert_eq!(rates(&mut bench, 8)[3], (300, sampler));
    assert_eq!(rates(&mut bench, 9)[0], (50, domain_wide));
    let status = bench.state.options_status();
    assert_eq!(status.domain_rates, [(7, 1_000), (9, 50)]);
    assert_eq!(status.sampling.len(), 3);
}

#[test]
fn a_10_a_million_entries_stay_within_the_bound() {
    let mut bench = Bench::with(everything());
    let domain = bench.domain(Version::V9, 1);
    let table =
        v9_options(300, &[1, 0], &[10, 4, 234, 4, 48, 4, 95, 4, 82, 4, 83, 4, 236, 4, 84, 4, 96, 4, 94, 4, 372, 4]);
    bench.decode(&domain, &v9(1, 1, &[set(1, &table)]));
    let mut body = Vec::new();
    let mut used = 0;
    for first in (0..1_000_000_u32).step_by(1_000) {
        body.clear();
        for index in first..first + 1_000 {
            for _ in 0..4 {
                body.extend(index.to_be_bytes());
            }
            body.extend(b"nametextnametextnametextname");
        }
        assert_eq!(bench.decode(&domain, &v9(1, 2, &[set(300, &body)])).options_records, 1_000);
        let now = bench.state.budget.learned_octets.load(Ordering::Relaxed);
        if first >= 17_000 {
            assert_eq!(now, used, "full tables take no more");
        }
        used = now;
    }
    let entries = bench.state.options_status().entries;
    for table in ["interfaces", "vrfs", "applications", "samplers"] {
        let count = entries.iter().find(|(name, _)| *name == table).map(|(_, count)| *count);
        assert_eq!(count, Some(limits::OPTIONS_ENTRIES_PER_TABLE_MAX), "{table}");
    }
    assert!(used < 64 << 20, "{used}");
    let status = bench.state.options_status();
    assert_eq!(
        (status.interfaces.len(), status.vrfs.len()),
        (limits::OPTIONS_STATUS_ENTRIES_MAX, limits::OPTIONS_STATUS_ENTRIES_MAX)
    );
    // What is known still changes, and what it takes is given back.
    let taken = || bench.state.budget.learned_octets.load(Ordering::Relaxed);
    body.truncate(44);
    body[..16].copy_from_slice(&[0; 16]);
    body[16..].fill(b' ');
    let before = taken();
    bench.batch.clear();
    let datagram = v9(1, 3, &[set(300, &body)]);
    let header = identify(&datagram).unwrap();
    let peer = SocketAddr::from(([192, 0, 2, 1], 1));
    decode(&Datagram { peer, receive_ns: RECEIVE_NS, octets: &datagram }, &header, &domain, &mut bench.batch);
    assert_eq!(before - taken(), 7 * (4 + 16), "seven texts are gone");
    let budget = Arc::clone(&bench.state.budget);
    domain.retire();
    drop((domain, bench));
    assert_eq!(budget.learned_octets.load(Ordering::Relaxed), 0);
}

#[test]
fn a_10_names_are_within_the_budget_of_learned_state() {
    let mut bench = Bench::bounded(everything(), 64 * 1_024);
    let domain = bench.domain(Version::Ipfix, 1);
    bench.decode(&domain, &ipfix(1, 0, &[set(3, &options(300, 1, &[(0, 10, 4), (0, 83, 256)]))]));
    let record = |index: u32, octet: u8| [index.to_be_bytes().to_vec(), vec![octet; 256]].concat();
    for first in (0..10_000).step_by(100) {
        let body: Vec<u8> = (first..first + 100).flat_map(|index| record(index, b'a')).collect();
        bench.decode(&domain, &ipfix(1, 0, &[set(300, &body)]));
        assert!(bench.state.budget.learned_octets.load(Ordering::Relaxed) <= 64 * 1_024);
    }
    let entries = bench.state.options_entries();
    assert!((100..250).contains(&entries), "{entries}");
    bench.decode(&domain, &ipfix(1, 0, &[set(300, &record(0, b'b'))]));
    assert_eq!(bench.state.options_status().interfaces[0].description, "b".repeat(256));
}

#[test]
fn what_an_exporter_says_of_itself_is_shown() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 7);
    let table = options(300, 1, &[(0, 144, 4), (0, 143, 4), (0, 130, 4), (0, 131, 16), (0, 160, 8)]);
    let record = [&[0, 0, 0, 3, 0, 0, 0, 4, 192, 0, 2, 9][..], &[0; 16], &1_600_000_000_000_u64.to_be_bytes()].concat();
    bench.decode(&domain, &ipfix(7, 0, &[set(3, &table), set(300, &record)]));
    let status = bench.state.options_status();
    assert_eq!((status.exporting_processes, status.metering_processes), (vec![(7, 3)], vec![(7, 4)]));
    assert_eq!(status.addresses, ["192.0.2.9".parse::<IpAddr>().unwrap()]);
    assert_eq!(status.boot_ms, [(7, 1_600_000_000_000)]);
}

#[test]
fn rows_without_a_wish_for_names_have_none() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 7);
    let table = options(300, 1, &[(0, 10, 4), (0, 82, 4)]);
    bench.decode(&domain, &ipfix(7, 0, &[set(3, &table), set(300, &[0, 0, 0, 1, b'e', b't', b'h', 0])]));
    bench.decode(&domain, &ipfix(7, 0, &[set(2, &fields(256, &[(0, 10, 4)])), set(256, &[0, 0, 0, 1])]));
    assert!(bench.batch.fields.is_empty() && bench.batch.octets.is_empty());
    let plan = domain.plan(256).unwrap();
    let super::super::plan::PlanKind::Data(plan) = &plan.kind else { panic!("a data template") };
    assert!(plan.rich.is_none(), "a template without a wish pays nothing");
}

#[test]
fn t_2_the_boot_time_of_an_only_domain_is_the_exporters() {
    let mut bench = Bench::new();
    let seven = bench.domain(Version::Ipfix, 7);
    let eight = bench.domain(Version::Ipfix, 8);
    let boot_ms = u64::from(EXPORT_S) * 1_000 - 3_600_000;
    let table = options(300, 1, &[(0, 149, 4), (0, 160, 8)]);
    let record = |domain: u32| set(300, &[&domain.to_be_bytes()[..], &boot_ms.to_be_bytes()].concat());
    bench.decode(&seven, &ipfix(7, 0, &[set(3, &table), record(7)]));
    let flows = fields(256, &[(0, 22, 4), (0, 21, 4), (0, 1, 4)]);
    let row = [3_500_000_u32, 3_550_000, 9].map(u32::to_be_bytes).concat();
    bench.decode(&eight, &ipfix(8, 0, &[set(2, &flows), set(256, &row)]));
    assert_eq!((bench.last().start_ms, bench.last().end_ms), (boot_ms + 3_500_000, boot_ms + 3_550_000));
    // Two of them: which?
    bench.decode(&seven, &ipfix(7, 0, &[record(9)]));
    bench.decode(&eight, &ipfix(8, 0, &[set(256, &row)]));
    assert_eq!(bench.last().end_ms, u64::from(EXPORT_S) * 1_000);
}

proptest! {
    /// Whatever options templates and records are: nothing panics, no row comes of them, and all is given back.
    #[test]
    fn a_10_any_options_are_survived(
        list in prop::collection::vec((prop::sample::select(IDS), prop_oneof![0_u16..9, Just(40), Just(0xFFFF)]), 1..12),
        scopes in 1_u16..4,
        is_v9 in any::<bool>(),
        octets in prop::collection::vec(prop_oneof![3 => 0_u8..4, 1 => any::<u8>()], 0..600),
    ) {
        let profile = Profile { teaches_elements: true, ..Profile::default() };
        let mut bench = Bench::with(DecodeSettings { profile, ..everything() });
        let budget = Arc::clone(&bench.state.budget);
        let list: Vec<(u32, u16, u16)> = list.into_iter().map(|(id, length)| (0, id, length)).collect();
        let scopes = scopes.min(u16::try_from(list.len()).unwrap());
        let flat = |list: &[(u32, u16, u16)]| list.iter().flat_map(|(_, id, length)| [*id, *length]).collect::<Vec<u16>>();
        let (scope, rest) = list.split_at(usize::from(scopes));
        let (version, table) = if is_v9 {
            (Version::V9, v9_options(300, &flat(scope), &flat(rest)))
        } else {
            (Version::Ipfix, options(300, scopes, &list))
        };
        let domain = bench.domain(version, 1);
        let message = |sets: &[Vec<u8>]| if is_v9 { v9(1, 1, sets) } else { ipfix(1, 1, sets) };
        let (of_options, of_data) = if is_v9 { (1, 0) } else { (3, 2) };
        let outcome = bench.decode(&domain, &message(&[set(of_options, &table), set(300, &octets)]));
        prop_assert!(outcome.records == 0 && bench.batch.is_empty() && bench.batch.fields.is_empty());
        prop_assert!(bench.state.options_status().entries.len() > 4);
        // The same layout as data: its records name what was told.
        bench.decode(&domain, &message(&[set(of_data, &template(256, &flat(&list))), set(256, &octets)]));
        prop_assert!(bench.batch.fields.is_sorted_by_key(|f| f.record));
        for row in 0..bench.batch.len() {
            for field in Field::ALL.iter().filter(|f| f.info().kind == FieldKind::Text) {
                prop_assert!(text_of(&bench, row, *field).is_none_or(|text| !text.is_empty()));
            }
        }
        domain.retire();
        drop((domain, bench));
        prop_assert_eq!(budget.learned_octets.load(Ordering::Relaxed), 0);
    }
}

/// Elements that options tables are made of.
const IDS: &[u16] = &[
    1, 2, 3, 5, 8, 10, 14, 34, 48, 82, 83, 84, 94, 95, 96, 130, 131, 137, 141, 143, 144, 145, 149, 160, 173, 234, 235,
    236, 252, 291, 300, 302, 303, 305, 306, 335, 339, 341, 346, 372,
];
