//! Exporters that forward for others (RFC 7119), and those that pretend to.

use std::net::Ipv6Addr;

use super::list::{REVERSE, fields};
use super::semantics::Shape;
use super::*;
use crate::decode::{Original, Originals};
use crate::limits::ORIGINALS_PER_MEDIATOR_MAX;

const MEDIATOR: Profile = Profile {
    maker: None,
    post_counters: PostCounters::Post,
    enterprise_in_v9: false,
    is_mediator: true,
    drops_odd_padding: false,
    teaches_elements: false,
};

fn mediating() -> DecodeSettings {
    DecodeSettings { profile: MEDIATOR, ..DecodeSettings::default() }
}

/// Address of each row's exporter, and its observation domain.
fn exporters(bench: &Bench) -> Vec<(String, u32)> {
    let of =
        |r: &FlowRecord| (bench.batch.exporters[usize::from(r.exporter)].address.to_string(), r.observation_domain);
    bench.batch.records.iter().map(of).collect()
}

fn told(shape: &Shape, settings: DecodeSettings) -> (String, u32) {
    let mut bench = Bench::with(settings);
    let domain = bench.domain(Version::Ipfix, 1);
    bench.decode(&domain, &ipfix(1, 0, &shape.sets(256)));
    let told = exporters(&bench);
    assert_eq!(told.len(), 1);
    told[0].clone()
}

fn mapped(last: u8) -> [u8; 16] {
    Ipv4Addr::new(203, 0, 113, last).to_ipv6_mapped().octets()
}

#[test]
fn ix_41_a_mediators_records_are_those_of_the_exporter_that_they_name() {
    let v6: Ipv6Addr = "2001:db8::7".parse().unwrap();
    let shape = || Shape::new().u32(1, 100);
    for (shape, address, observation_domain) in [
        (shape().octets(403, &[203, 0, 113, 1]), "203.0.113.1", 1),
        (shape().octets(403, &[203, 0, 113, 1]).u32(405, 77), "203.0.113.1", 77),
        (shape().octets(404, &v6.octets()).u32(405, 78), "2001:db8::7", 78),
        (shape().octets(404, &mapped(3)), "203.0.113.3", 1),
        (shape().octets(130, &[203, 0, 113, 2]), "203.0.113.2", 1),
        (shape().octets(131, &v6.octets()), "2001:db8::7", 1),
        // The original exporter is who saw the flow; 130 may be a mediator on the way.
        (shape().octets(130, &[203, 0, 113, 9]).octets(403, &[203, 0, 113, 1]), "203.0.113.1", 1),
        // Zero and a wrong length name nobody.
        (shape().octets(403, &[0; 4]).octets(130, &[203, 0, 113, 2]), "203.0.113.2", 1),
        (shape().octets(403, &[0; 4]).u32(405, 77), "192.0.2.1", 1),
        (shape().octets(403, &[203, 0, 113]), "192.0.2.1", 1),
        (shape(), "192.0.2.1", 1),
    ] {
        assert_eq!(told(&shape, mediating()), (address.to_owned(), observation_domain));
    }
}

#[test]
fn a_24_who_is_no_mediator_speaks_for_nobody_else() {
    let shape = Shape::new().u32(1, 100).octets(403, &[203, 0, 113, 1]).u32(405, 77).octets(130, &[203, 0, 113, 2]);
    assert_eq!(told(&shape, DecodeSettings::default()), ("192.0.2.1".to_owned(), 1));
    // The view of the wire is the sender's, whoever it is.
    let wire = DecodeSettings { selection: Selection::WIRE, ..mediating() };
    assert_eq!(told(&shape, wire), ("192.0.2.1".to_owned(), 1));
}

/// Rules of a house: the last octet of an address is its default rate, 9 is overridden.
#[derive(Debug)]
struct Rates;

impl Originals for Rates {
    fn original(&self, address: IpAddr, observation_domain: u32) -> Original {
        let IpAddr::V4(v4) = address else { panic!("IPv4") };
        let last = u32::from(v4.octets()[3]);
        let exporter =
            Exporter { switch_id: format!("sw-{last}-{observation_domain}").into(), ..Exporter::of_address(address) };
        Original {
            exporter: Arc::new(exporter),
            sampling_default: Some(last),
            sampling_override: (last == 9).then_some(900),
        }
    }
}

fn with_rates(settings: DecodeSettings) -> Bench {
    let Bench { state, batch } = Bench::with(settings);
    let state = Arc::into_inner(state).expect("nobody else has it").with_originals(Arc::new(Rates));
    Bench { state: Arc::new(state), batch }
}

#[test]
fn ix_41_the_rules_of_the_original_exporter_hold_for_its_flows_in_both_directions() {
    let mut bench = with_rates(mediating());
    let domain = bench.domain(Version::Ipfix, 1);
    let template = fields(256, &[(0, 8, 4), (0, 12, 4), (0, 1, 4), (REVERSE, 1, 4), (0, 403, 4), (0, 34, 4)]);
    let record = |last: u8, rate: u32| {
        let counters = [100_u32, 50].map(u32::to_be_bytes).concat();
        [&[10, 0, 0, 1, 10, 0, 0, 2][..], &counters, &[203, 0, 113, last], &rate.to_be_bytes()].concat()
    };
    let unsampled = fields(257, &[(0, 8, 4), (0, 12, 4), (0, 1, 4), (REVERSE, 1, 4), (0, 403, 4)]);
    let plain = |last: u8| record(last, 0)[..20].to_vec();
    let sets = [
        set(2, &[template, unsampled].concat()),
        set(256, &[record(5, 64), record(9, 64)].concat()),
        set(257, &[plain(5), plain(9)].concat()),
    ];
    let outcome = bench.decode(&domain, &ipfix(1, 0, &sets));
    assert_eq!((outcome.records, outcome.sampling_unknown, outcome.originals_refused), (8, 0, 0));
    let said: Vec<_> = bench.batch.records.iter().map(|r| (r.sampling_rate, r.sampling_source)).collect();
    use SamplingSource::{Default, Override, Record};
    assert_eq!(
        said,
        [
            (64, Record),
            (64, Record),
            (900, Override),
            (900, Override),
            (5, Default),
            (5, Default),
            (900, Override),
            (900, Override)
        ],
    );
    let ids: Vec<&str> =
        bench.batch.records.iter().map(|r| &*bench.batch.exporters[usize::from(r.exporter)].switch_id).collect();
    assert_eq!(ids, ["sw-5-1", "sw-5-1", "sw-9-1", "sw-9-1", "sw-5-1", "sw-5-1", "sw-9-1", "sw-9-1"]);
    assert_eq!(bench.state.originals(), 2, "asked once each");
}

#[test]
fn ix_41_exporters_behind_a_mediator_are_bounded_and_further_ones_are_its_own() {
    let mut bench = Bench::with(mediating());
    let domain = bench.domain(Version::Ipfix, 1);
    let template = fields(256, &[(0, 8, 4), (0, 12, 4), (0, 403, 4)]);
    bench.decode(&domain, &ipfix(1, 0, &[set(2, &template)]));
    let (mut refused, mut named) = (0, 0);
    let all = u32::try_from(ORIGINALS_PER_MEDIATOR_MAX).unwrap() + 1_000;
    let addresses: Vec<u32> = (0..all).map(|n| 0x0B00_0000 + n).collect();
    for some in addresses.chunks(1_000) {
        let records: Vec<u8> =
            some.iter().flat_map(|a| [&[10, 0, 0, 1, 10, 0, 0, 2][..], &a.to_be_bytes()].concat()).collect();
        let outcome = bench.decode(&domain, &ipfix(1, 0, &[set(256, &records)]));
        assert_eq!(outcome.records as usize, some.len(), "no row is lost");
        refused += outcome.originals_refused;
        named += exporters(&bench).iter().filter(|(address, _)| address != "192.0.2.1").count();
        bench.batch.clear();
    }
    assert_eq!((refused, named), (1_000, ORIGINALS_PER_MEDIATOR_MAX));
    assert_eq!(bench.state.originals(), ORIGINALS_PER_MEDIATOR_MAX);
    // What they took of the budget comes back with the mediator.
    let budget = Arc::clone(&bench.state.budget);
    let learned = || budget.learned_octets.load(std::sync::atomic::Ordering::Relaxed);
    assert!(learned() > 512 * 4_096);
    domain.retire();
    drop((bench, domain));
    assert_eq!(learned(), 0);
}

#[test]
fn ix_41_without_room_in_the_budget_rows_are_the_mediators() {
    let mut bench = Bench::bounded(mediating(), 1_000);
    let domain = bench.domain(Version::Ipfix, 1);
    let template = fields(256, &[(0, 8, 4), (0, 12, 4), (0, 403, 4)]);
    let record = |last| [10, 0, 0, 1, 10, 0, 0, 2, 203, 0, 113, last];
    let outcome = bench.decode(&domain, &ipfix(1, 0, &[set(2, &template), set(256, &[record(1), record(2)].concat())]));
    assert_eq!((outcome.records, outcome.originals_refused), (2, 1));
    assert_eq!(exporters(&bench), [("203.0.113.1".to_owned(), 1), ("192.0.2.1".to_owned(), 1)]);
}
