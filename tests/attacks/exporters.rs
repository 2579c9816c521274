//! Floods of what the collector keeps apart: addresses, domains, ports, templates, sets that wait, options.

use std::io::ErrorKind;
use std::net::UdpSocket;

use clarion_collector::flow::Version;
use clarion_collector::limits::{
    DATAGRAM_OCTETS_MAX, EXPORTERS_MAX, EXPORTERS_UNKNOWN_MAX, PARKED_OCTETS_PER_EXPORTER_MAX,
    PARKED_SETS_PER_EXPORTER_MAX, TEMPLATE_OCTETS_PER_EXPORTER_MAX, WORKER_CACHE_MAX,
};

use super::child;
use super::encode::{Field, Head, Row, VARIABLE, field, integer, set, words};
use super::memory::held;
use super::siege::{Siege, forged, socket};

/// Growth that is no growth: what batches, bodies and connections take more or less of, octets.
const NOISE: i64 = 4 << 20;

const FLOW: [Field; 5] = [field(8, 4), field(12, 4), field(4, 1), field(1, 4), field(2, 4)];

/// A datagram without flows, as of an exporter whose templates are not known.
fn unknown(domain: u32) -> Vec<u8> {
    Head::new(Version::V9, domain).message(0, &[])
}

/// Many addresses that were never seen decode nothing: their pool is full at 1,024, and stays so.
fn forged_sources(count: u32) {
    let mut siege = Siege::new(Version::V9, |_| {});
    let grown = siege.growth(count, |siege, n| {
        let from = socket(forged(n));
        siege.send(&from, &unknown(n));
    });
    assert!(siege.running.exporters() <= EXPORTERS_UNKNOWN_MAX + 1, "{} exporters", siege.running.exporters());
    let refused: u64 = siege.running.metrics.books.refused.iter().map(|t| t.value()).sum();
    assert!(refused + siege.running.metrics.books.evictions.value() > u64::from(count) / 2);
    assert!(grown < NOISE, "{grown} octets more after {count} addresses");
    siege.end();
}

#[test]
fn a_01_forged_sources_have_a_pool_of_their_own() {
    forged_sources(8_000);
}

#[test]
#[ignore = "a million addresses take minutes; the test above has 8,000"]
fn a_01_a_million_forged_sources() {
    forged_sources(1_000_000);
}

/// The same with flows in each datagram, so that every address becomes known: 16,384 and no more.
#[test]
#[ignore = "the pool of known exporters takes 20,000 addresses and a minute to fill"]
fn a_01_forged_sources_that_send_flows_fill_the_pool_of_the_known_and_no_more() {
    let mut siege = Siege::new(Version::V9, |_| {});
    let row = Row { counters: [1, 100], ..Row::default() };
    let octets = Head::new(Version::V5, 0).rows(&[row]);
    siege.growth(20_000, |siege, n| {
        let from = socket(forged(n));
        siege.send(&from, &octets);
    });
    assert!(siege.running.exporters() <= EXPORTERS_MAX + EXPORTERS_UNKNOWN_MAX);
    siege.end();
}

/// Source IDs and ports of one address: 256 domains, whatever comes; no other exporter gives up one of its own.
fn domains_and_ports(version: Version, count: u32) {
    let mut siege = Siege::new(version, |_| {});
    let from: Vec<UdpSocket> = (0..64).map(|_| socket(forged(1))).collect();
    let grown = siege.growth(count, |siege, n| {
        let head = Head::new(version, n % 3_000);
        let template = head.templates(&[head.template(256, &FLOW)]);
        let from = &from[n as usize % from.len()];
        siege.send(from, &head.message(1, &[template]));
    });
    assert_eq!(siege.running.exporters(), 2);
    assert!(siege.running.metrics.books.evictions.value() > u64::from(count) / 4);
    // A worker's cache names domains until it is full and begins anew, forgotten ones too: less than 1 KiB each.
    let cached = WORKER_CACHE_MAX as i64 * 1_024;
    assert!(grown < cached, "{grown} octets more after {count} domains");
    siege.end();
}

#[test]
fn a_02_domains_of_one_address_make_room_among_themselves() {
    domains_and_ports(Version::V9, 8_000);
}

#[test]
fn a_02_ports_of_one_address_make_room_among_themselves() {
    domains_and_ports(Version::Ipfix, 20_000);
}

/// All 65,280 ids of a domain, then again with another layout: the exporter's share of templates holds.
#[test]
fn a_03_template_floods_stay_within_the_exporters_share() {
    let mut siege = Siege::new(Version::V9, |_| {});
    let from = socket(forged(1));
    let head = Head::new(Version::V9, 1);
    let ids = 65_280;
    let before = held();
    siege.growth(2 * ids / 40, |siege, n| {
        let first = n * 40;
        let fields = [&FLOW[..], &[field(10, 2)][..(first >= ids).into()]].concat();
        let records: Vec<Vec<u8>> =
            (first..first + 40).map(|n| head.template(256 + (n % ids) as u16, &fields)).collect();
        siege.send(&from, &head.message(40, &[head.templates(&records)]));
    });
    // From the beginning: what was there in the first half would only be replaced in the second.
    let grown = held() - before;
    assert!(grown < TEMPLATE_OCTETS_PER_EXPORTER_MAX as i64 + NOISE, "{grown} octets more");
    assert!(siege.running.metrics.books.templates_learned.value() > u64::from(ids));
    siege.end();
}

/// Redefinitions of the victim's own template ids, sent from another address with the victim's domain.
#[test]
fn a_08_templates_of_another_address_touch_nobody() {
    for version in [Version::V9, Version::Ipfix] {
        let mut siege = Siege::new(version, |_| {});
        let from = socket(forged(1));
        let head = Head::new(version, 1);
        let poison: Vec<Vec<u8>> = (256..270).map(|id| head.template(id, &[field(12, 4), field(8, 4)])).collect();
        let poison = head.message(14, &[head.templates(&poison)]);
        for _ in 0..400 {
            siege.send(&from, &poison);
            siege.victim_speaks();
        }
        siege.end();
    }
}

/// Options for samplers and interfaces without end.
#[test]
fn a_10_options_floods_stay_within_their_tables() {
    let mut siege = Siege::new(Version::Ipfix, |_| {});
    let from = socket(forged(1));
    let head = Head::new(Version::Ipfix, 1);
    let template = head.options_template(300, &[field(302, 4)], &[field(305, 4), field(306, 4)]);
    siege.send(&from, &head.message(0, &[head.options_templates(&[template])]));
    let per_message = 150;
    let before = held();
    siege.growth(1_200, |siege, n| {
        let record =
            |at: u32| [integer((n * per_message + at).into(), 4), integer(1, 4), integer(at.into(), 4)].concat();
        let body: Vec<u8> = (0..per_message).flat_map(record).collect();
        siege.send(&from, &head.message(0, &[set(300, &body)]));
    });
    // The victim tells a sampler of its own.
    assert!(siege.running.metrics.books.options_records.value() >= 180_000);
    let grown = held() - before;
    assert!(grown < NOISE, "{grown} octets more for 180,000 samplers");
    siege.end();
}

/// Sets of templates that never come, from many addresses: what waits is bounded by exporter and in all.
#[test]
fn a_12_sets_without_templates_wait_within_bounds() {
    let parked = 2 << 20;
    let mut siege = Siege::new(Version::V9, |settings| settings.collect.parked_octets_max = parked);
    let body = vec![1; 8_000];
    let from: Vec<UdpSocket> = (0..20).map(|n| socket(forged(n))).collect();
    let grown = siege.growth(4_000, |siege, n| {
        let message = Head::new(Version::V9, n % 7).numbered(n).message(1, &[set(256 + (n % 999) as u16, &body)]);
        siege.send(&from[n as usize % 20], &message);
        let books = &siege.running.metrics.books;
        assert!(books.parked_bytes.value() <= parked);
        assert!(books.sets_parked.value() <= 20 * PARKED_SETS_PER_EXPORTER_MAX);
    });
    assert!(parked > PARKED_OCTETS_PER_EXPORTER_MAX, "one address alone has a smaller share");
    assert!(siege.running.metrics.books.sets_parked.value() > 0);
    assert!(grown < NOISE, "{grown} octets more");
    siege.end();
}

/// Series of both scrapes, and octets of the answers, before and after thousands of addresses and domains.
#[test]
fn a_15_metrics_have_no_more_series_after_a_flood() {
    let mut siege = Siege::new(Version::V9, |_| {});
    let http = siege.running.http_address();
    let series = || {
        let (_, body) = child::get(http, "/metrics/prometheus", "");
        body.lines().filter(|line| !line.starts_with('#')).count()
    };
    let before = series();
    for n in 0..3_000 {
        let from = socket(forged(n));
        siege.send(&from, &unknown(n));
        siege.send(&from, &words(&[(n % 65_536) as u16, 1, 2, 3]));
    }
    siege.wait();
    assert!(before > 50);
    assert_eq!(series(), before);
    siege.end();
}

/// The largest datagram that UDP has, and one whose records fill it.
#[test]
fn a_19_the_largest_datagrams_are_read_whole() {
    let mut siege = Siege::new(Version::V9, |_| {});
    let from = socket(forged(1));
    let head = Head::new(Version::V9, 9);
    siege.send(&from, &head.message(1, &[head.templates(&[head.template(256, &[field(82, 250), field(1, 4)])])]));
    let largest = 65_507;
    let records = (largest - 24) / 254;
    let octets = head.numbered(1).message(1, &[set(256, &vec![1; largest - 24])]);
    assert!(octets.len() == largest && largest < DATAGRAM_OCTETS_MAX);
    siege.settle();
    let before = siege_records(&siege);
    from.send_to(&octets, super::common::port(&siege.running)).unwrap();
    siege.count_one();
    super::common::wait_for("the largest datagram", || siege_records(&siege) - before == records as u64);
    siege.send(&from, &vec![0xFF; largest]);
    siege.end();
}

fn siege_records(siege: &Siege) -> u64 {
    siege.running.metrics.books.decoded.iter().map(|t| t.value()).sum()
}

/// Whatever is sent, nothing is sent back.
#[test]
fn a_26_nothing_is_ever_answered() {
    let mut siege = Siege::new(Version::Ipfix, |_| {});
    let from = socket(forged(1));
    from.set_nonblocking(true).unwrap();
    let head = Head::new(Version::Ipfix, 1);
    let shapes = [
        Vec::new(),
        vec![0],
        unknown(1),
        head.message(0, &[head.templates(&[head.template(256, &FLOW)])]),
        head.message(0, &[head.templates(&[words(&[256, 0])])]),
        head.message(0, &[set(400, &[0; 40])]),
        head.message(0, &[head.templates(&[head.template(257, &[field(82, VARIABLE)])]), set(257, &[255, 255, 255])]),
        Head::new(Version::V5, 0).rows(&[Row::default()]),
        words(&[8, 1, 0, 0]),
        vec![0, 0, 0, 5, 0, 0, 0, 1],
    ];
    for octets in shapes.iter().cycle().take(200) {
        siege.send(&from, octets);
    }
    siege.settle();
    assert_eq!(from.recv(&mut [0; 16]).unwrap_err().kind(), ErrorKind::WouldBlock);
    siege.end();
}

/// An attacker repeats what it once saw: no loss is made up, and nobody else is touched. That the flows count again is
/// said in docs/protocols.md.
#[test]
fn a_28_replayed_datagrams_are_no_loss() {
    let mut siege = Siege::new(Version::V9, |_| {});
    let from = socket(forged(1));
    let head = Head::new(Version::V9, 1);
    let template = head.templates(&[head.template(256, &FLOW)]);
    let seen: Vec<Vec<u8>> =
        (0..20).map(|n| head.numbered(n).message(2, &[template.clone(), set(256, &[1; 17])])).collect();
    for octets in seen.iter().cycle().take(400) {
        siege.send(&from, octets);
    }
    siege.settle();
    let missing: u64 = siege.running.metrics.books.missing.iter().map(|t| t.value()).sum();
    assert_eq!(missing, 0);
    siege.end();
}
