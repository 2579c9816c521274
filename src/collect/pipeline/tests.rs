mod park;
mod reload;

use std::time::Duration;

use super::*;
use crate::collect::tests::{Queue, metrics, rule, settings, v5};
use crate::collect::{AdmissionSettings, CollectSettings, ExporterRule, RateLimit};
use crate::metrics::Metrics;

struct Rig {
    pipeline: Pipeline,
    metrics: Arc<Metrics>,
    table: Arc<ExporterTable>,
    queue: Queue,
}

fn rig(batch_age: Duration) -> Rig {
    rig_with(batch_age, &settings(1, 1))
}

fn rig_with(batch_age: Duration, settings: &CollectSettings) -> Rig {
    let metrics = metrics(1, 1);
    let table = Arc::new(ExporterTable::new(settings, metrics.books.clone()).expect("table"));
    let queue = Queue::default();
    let pipeline = Pipeline::new(PipelineParts {
        table: Arc::clone(&table),
        notices: Arc::default(),
        metrics: metrics.worker(0),
        sender: Box::new(queue.clone()),
        listeners: vec!["l0".into()],
        rejected: None,
        batch_age_ns: u64::try_from(batch_age.as_nanos()).expect("short"),
        window: 128,
    });
    Rig { pipeline, metrics, table, queue }
}

fn raw(octets: &[u8]) -> RawDatagram<'_> {
    RawDatagram { peer: SocketAddr::from(([192, 0, 2, 1], 5_000)), receive_ns: None, octets, truncated: false }
}

#[test]
fn what_is_no_message_is_rejected_and_counted() {
    let mut rig = rig(Duration::ZERO);
    rig.pipeline.begin(1);
    rig.pipeline.take(0, &raw(&[]), 7);
    rig.pipeline.take(0, &raw(&[0xff; 100]), 7);
    rig.pipeline.take(0, &RawDatagram { truncated: true, ..raw(&[0, 5]) }, 7);
    assert_eq!(rig.metrics.books.ledger().datagrams_explained, 0, "only a turn's end publishes");
    rig.pipeline.end();
    assert_eq!(rig.metrics.books.ledger().datagrams_explained, 3);
    assert_eq!(rig.metrics.books.rejected[DecodeErrorKind::Truncated as usize].value(), 1);
    assert!(rig.table.is_empty(), "nobody is made an exporter by junk");
}

#[test]
fn a_batch_leaves_full_or_old_and_is_held_until_then() {
    let mut rig = rig(Duration::from_nanos(50));
    let held = rig.metrics.worker(0).held;
    rig.pipeline.begin(100);
    rig.pipeline.take(0, &raw(&v5(30, 0, 0)), 7);
    rig.pipeline.end();
    assert_eq!(held.value(), 30, "needs the decoder");
    assert_eq!(rig.pipeline.time_left(120), Some(30));
    rig.pipeline.hand_over_if_old(149);
    assert_eq!(rig.queue.records.load(Ordering::Acquire), 0);
    rig.pipeline.hand_over_if_old(150);
    assert_eq!((rig.queue.records.load(Ordering::Acquire), held.value()), (30, 0));
    assert_eq!(rig.pipeline.time_left(150), None);
    // 64 datagrams of 30 are more than a batch: it leaves in the middle of the turn.
    rig.pipeline.begin(200);
    for d in 0..64 {
        rig.pipeline.take(0, &raw(&v5(30, 30 + d * 30, 0)), 8);
        assert!(rig.metrics.books.records_decoded() >= rig.queue.records.load(Ordering::Acquire));
    }
    rig.pipeline.end();
    assert!(rig.queue.records.load(Ordering::Acquire) >= 30 + 1_024);
    rig.pipeline.hand_over();
    assert_eq!(rig.queue.records.load(Ordering::Acquire), 65 * 30);
    assert_eq!(rig.metrics.books.records_decoded(), 65 * 30);
    assert_eq!(rig.metrics.books.missing.iter().map(crate::metrics::Tally::value).sum::<u64>(), 0);
}

#[test]
fn a_gap_in_the_sequence_is_counted_once_it_has_left_the_window() {
    let mut rig = rig(Duration::from_secs(1));
    for turn in 0..40_u32 {
        rig.pipeline.begin(1);
        for d in turn * 64..(turn + 1) * 64 {
            // Datagram 10 never comes: its 30 flows are missing.
            if d != 10 {
                rig.pipeline.take(0, &raw(&v5(30, d * 30, 0)), 8);
            }
        }
        rig.pipeline.end();
    }
    let missing = rig.metrics.books.missing[crate::flow::Version::V5.index()].value();
    assert_eq!(missing, 30, "needs the decoder");
}

#[test]
fn a_forgotten_exporter_is_found_again_in_the_next_turn() {
    let mut rig = rig(Duration::from_secs(1));
    let send = |rig: &mut Rig, sequence| {
        rig.pipeline.begin(1);
        rig.pipeline.take(0, &raw(&v5(1, sequence, 0)), 8);
        rig.pipeline.end();
    };
    send(&mut rig, 0);
    assert_eq!(rig.table.len(), 1, "needs the decoder");
    rig.table.maintain(u64::MAX, &rig.metrics.books);
    assert_eq!(rig.table.len(), 0);
    send(&mut rig, 1);
    assert_eq!(rig.table.len(), 1, "the cache must not keep a domain that was retired");
    assert_eq!(rig.table.snapshot(0)[0].datagrams, 1);
}

/// A v9 or IPFIX message of observation domain 7 with the given sets.
fn message(version: u16, sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let body: Vec<u8> = sets.concat();
    let mut octets = version.to_be_bytes().to_vec();
    if version == 9 {
        octets.extend(u16::try_from(sets.len()).expect("few").to_be_bytes());
        octets.extend(60_000_u32.to_be_bytes());
    } else {
        octets.extend(u16::try_from(16 + body.len()).expect("short").to_be_bytes());
    }
    octets.extend([1_700_000_000_u32, sequence, 7].map(u32::to_be_bytes).concat());
    octets.extend(body);
    octets
}

fn set(id: u16, body: &[u16]) -> Vec<u8> {
    let length = u16::try_from(4 + 2 * body.len()).expect("short");
    [id, length].iter().chain(body).flat_map(|word| word.to_be_bytes()).collect()
}

/// Template 256: sourceIPv4Address 8, destinationIPv4Address 12.
const TEMPLATE: [u16; 6] = [256, 2, 8, 4, 12, 4];
/// One record of it.
const RECORD: [u16; 4] = [0xc000, 0x0201, 0xc633, 0x6401];

#[test]
fn sets_parked_in_a_domain_that_was_just_forgotten_are_counted() {
    let mut rig = rig(Duration::from_secs(1));
    let data = message(9, 0, &[set(256, &RECORD)]);
    rig.pipeline.begin(1);
    rig.pipeline.take(0, &raw(&data), 8);
    // The table forgets the exporter in the middle of the turn.
    rig.table.maintain(u64::MAX, &rig.metrics.books);
    rig.pipeline.take(0, &raw(&data), 8);
    rig.pipeline.end();
    let (books, ledger) = (&rig.metrics.books, rig.metrics.books.ledger());
    assert_eq!(ledger.sets_seen, 2, "needs the decoder");
    assert_eq!(ledger.sets_explained, 2);
    assert_eq!((books.sets_parked.level(), books.parked_bytes.level()), (0, 0));
    assert_eq!(books.sets_dropped[crate::decode::SetDropKind::Retired as usize].value(), 2);
}

#[test]
fn a_port_that_sends_templates_gets_a_domain_of_its_own_although_it_was_cached() {
    let mut rig = rig(Duration::from_secs(1));
    let sessions = |rig: &Rig| {
        let mut sessions: Vec<String> =
            rig.table.snapshot(0)[0].domains.iter().map(|d| format!("{:?}", d.key.session)).collect();
        sessions.sort();
        sessions
    };
    let data = message(10, 0, &[set(256, &RECORD)]);
    rig.pipeline.begin(1);
    rig.pipeline.take(0, &raw(&data), 8);
    rig.pipeline.end();
    assert_eq!(rig.table.len(), 1, "needs the decoder");
    assert_eq!(sessions(&rig), ["Any"]);
    // In one turn: the cached domain was used already when the template comes.
    rig.pipeline.begin(2);
    rig.pipeline.take(0, &raw(&data), 8);
    rig.pipeline.take(0, &raw(&message(10, 1, &[set(2, &TEMPLATE), set(256, &RECORD)])), 8);
    rig.pipeline.take(0, &raw(&message(10, 2, &[set(256, &RECORD)])), 8);
    rig.pipeline.end();
    assert_eq!(sessions(&rig), ["Any", "Port(5000)"]);
    assert!(rig.metrics.books.records_decoded() >= 2);
    let ledger = rig.metrics.books.ledger();
    assert_eq!((ledger.sets_seen, ledger.sets_explained), (5, 5));
    assert_eq!((ledger.datagrams_explained, rig.table.snapshot(0)[0].datagrams), (4, 4));
}

#[test]
fn what_made_no_sense_is_kept_with_the_reason() {
    let mut rig = rig(Duration::ZERO);
    let local = vec![("l0".to_owned(), SocketAddr::from(([127, 0, 0, 1], 2_055)))];
    let ring = Arc::new(Rejected::new(1 << 20, local, rig.metrics.books.ring.clone()));
    rig.pipeline.sampler = Sampler::new(Some(Arc::clone(&ring)));
    let good = v5(1, 0, 0);
    // Templates that are only waited for make sense.
    let waits = message(9, 1, &[set(300, &[1, 2])]);
    let odd_set = message(9, 2, &[set(300, &[1, 2]), set(5, &[7])]);
    let bad_template = message(9, 3, &[set(0, &[256, 1, 1, 0])]);
    rig.pipeline.begin(1);
    for octets in [&good, &waits, &odd_set, &bad_template, &vec![0xff; 9], &good[..30].to_vec()] {
        rig.pipeline.take(0, &raw(octets), 1_700_000_000_000_000_001);
    }
    rig.pipeline.decoder = |_, _, _, _| panic!("over this datagram");
    rig.pipeline.take(0, &raw(&good), 8);
    rig.pipeline.end();
    let file = String::from_utf8_lossy(&ring.capture()).into_owned();
    let comments = [
        "1 sets dropped, 0 template records refused; the first: reserved_id at octet 28, set 5",
        "0 sets dropped, 1 template records refused",
        "rejected: unsupported_version at octet 0",
        "rejected: bad_length at octet 2",
        "rejected: panic at octet 0",
    ];
    let places: Vec<_> = comments.iter().map(|c| file.find(c).unwrap_or_else(|| panic!("{c}: {file}"))).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert_eq!((rig.metrics.books.ring.kept.value(), rig.metrics.books.ring.not_kept.value()), (5, 0));
}

#[test]
fn a_panic_costs_the_datagram_and_its_domain_only() {
    let mut rig = rig(Duration::from_secs(1));
    let send = |rig: &mut Rig, sequence| rig.pipeline.take(0, &raw(&v5(2, sequence, 0)), 8);
    rig.pipeline.begin(1);
    send(&mut rig, 0);
    let healthy = std::mem::replace(&mut rig.pipeline.decoder, |_, _, _, batch| {
        batch.records.push(crate::flow::FlowRecord::empty(crate::flow::Version::V5));
        assert!(decoding_now());
        panic!("over this datagram");
    });
    send(&mut rig, 2);
    rig.pipeline.decoder = healthy;
    send(&mut rig, 4);
    rig.pipeline.end();
    assert!(!decoding_now());
    let books = &rig.metrics.books;
    assert_eq!(books.rejected[DecodeErrorKind::Panic as usize].value(), 1, "needs the decoder");
    assert_eq!((books.processed.value(), books.records_decoded()), (2, 4));
    assert_eq!(rig.metrics.worker(0).held.value(), 4, "what the panic left half done is gone");
    let row = &rig.table.snapshot(0)[0];
    assert_eq!((row.datagrams, row.rejected, row.records, row.domains.len()), (3, 1, 4, 1));
    assert_eq!(books.ledger().sets_explained, books.ledger().sets_seen);
}

#[test]
fn a_1_who_may_not_send_is_refused_before_anything_is_learned() {
    let mut admitted = settings(1, 1);
    admitted.admission.allow = vec![("192.0.2.0".parse().expect("address"), 24)];
    admitted.admission.deny = vec![("192.0.2.7".parse().expect("address"), 32)];
    let mut rig = rig_with(Duration::from_secs(1), &admitted);
    rig.pipeline.begin(1);
    for last in 0..=255 {
        for network in [[192, 0, 2], [198, 51, 100]] {
            let [a, b, c] = network;
            let peer = SocketAddr::from(([a, b, c, last], 5_000));
            rig.pipeline.take(0, &RawDatagram { peer, ..raw(&v5(1, 0, 0)) }, 7);
        }
    }
    rig.pipeline.end();
    let books = &rig.metrics.books;
    assert_eq!(books.refused[Refusal::Denied as usize].value(), 257);
    assert_eq!((rig.table.len(), books.records_decoded()), (255, 255));
    assert!(rig.table.snapshot(7).iter().all(|row| row.known), "a list of 256 addresses names them all");
    assert_eq!(books.ledger().datagrams_explained, 512);
}

/// One exporter sends ten times its rate among a hundred: the others lose nothing, and what was refused is no loss on
/// the way.
#[test]
fn a_17_who_sends_too_fast_loses_alone_and_by_name() {
    let mut limited = settings(1, 1);
    limited.admission = AdmissionSettings {
        limit: RateLimit { datagrams_per_second: 100, octets_per_second: 0, burst: Duration::from_secs(1) },
        ..AdmissionSettings::default()
    };
    limited.rules = vec![ExporterRule { datagrams_per_second: Some(0), ..rule("192.0.2.99", 32) }];
    let mut rig = rig_with(Duration::from_secs(1), &limited);
    let mut sequences = [0_u32; 100];
    // Ten seconds in steps of 10 ms; 0 floods, and so does 99, whose rule lifts the limit.
    for step in 0..1_000_u64 {
        rig.pipeline.begin(1_000_000_000 + step * 10_000_000);
        for exporter in 0..100_u8 {
            let datagrams = if exporter == 0 || exporter == 99 { 10 } else { 1 };
            for _ in 0..datagrams {
                let sequence = &mut sequences[usize::from(exporter)];
                let peer = SocketAddr::from(([192, 0, 2, exporter], 5_000));
                rig.pipeline.take(0, &RawDatagram { peer, ..raw(&v5(2, *sequence, 0)) }, 7);
                *sequence += 2;
            }
        }
        rig.pipeline.end();
        rig.pipeline.hand_over();
    }
    let rows = rig.table.snapshot(7);
    for row in &rows[1..] {
        let sent = if row.address.to_string() == "192.0.2.99" { 10_000 } else { 1_000 };
        assert_eq!((row.datagrams, row.records, row.refused), (sent, 2 * sent, 0), "{}", row.address);
    }
    let flooder = &rows[0];
    assert_eq!(flooder.datagrams + flooder.refused, 10_000);
    assert!((1_090..=1_110).contains(&flooder.datagrams), "{flooder:?}");
    let missing: u64 = rig.metrics.books.missing.iter().map(crate::metrics::Tally::value).sum();
    assert_eq!(missing, 0, "a refusal is told to the sequence accounting");
    assert_eq!(rig.metrics.books.refused[Refusal::RateLimited as usize].value(), flooder.refused);
}

/// Faults that the status API shows of the only exporter after the upkeep of that moment.
fn faults_at(rig: &Rig, now_ns: u64) -> Vec<&'static str> {
    rig.table.maintain(now_ns, &rig.metrics.books);
    let rows = rig.table.snapshot(now_ns);
    for (kind, level) in crate::collect::FaultKind::ALL.iter().zip(&rig.metrics.books.exporters_with_fault) {
        let shows = rows[0].faults.iter().any(|fault| fault.kind == *kind);
        assert_eq!(level.value(), u64::from(shows), "{}", kind.label());
    }
    // A hint: nothing here tells of sampling.
    rows[0].faults.iter().map(|fault| fault.kind.label()).filter(|name| *name != "sampling_unknown").collect()
}

const S: u64 = 1_000_000_000;
/// The time that `message` says, so that no clock is off.
const EXPORT_NS: u64 = 1_700_000_000 * S;

/// A template of id 256, defined by `port`: one of two layouts.
fn define(rig: &mut Rig, port: u16, other: bool, now_ns: u64) {
    let mut template = TEMPLATE;
    template[5] = if other { 2 } else { 4 };
    let peer = SocketAddr::from(([192, 0, 2, 1], port));
    rig.pipeline.begin(now_ns);
    rig.pipeline.take(0, &RawDatagram { peer, ..raw(&message(9, 0, &[set(0, &template)])) }, now_ns);
    rig.pipeline.end();
}

#[test]
fn a_17_refusals_are_a_fault_until_they_are_long_ago() {
    let mut limited = settings(1, 1);
    limited.admission.limit = RateLimit { datagrams_per_second: 10, ..RateLimit::default() };
    let mut rig = rig_with(Duration::from_secs(1), &limited);
    let send = |rig: &mut Rig, datagrams: u32, now_ns: u64| {
        rig.pipeline.begin(now_ns);
        for d in 0..datagrams {
            rig.pipeline.take(0, &raw(&v5(1, d, 0)), now_ns);
        }
        rig.pipeline.end();
        rig.pipeline.hand_over();
    };
    let named = |faults: Vec<&'static str>| faults.contains(&"refused");
    send(&mut rig, 5, EXPORT_NS);
    assert!(!named(faults_at(&rig, EXPORT_NS)));
    send(&mut rig, 100, EXPORT_NS + 10 * S);
    assert!(named(faults_at(&rig, EXPORT_NS + 10 * S)));
    let refused = rig.table.snapshot(EXPORT_NS + 10 * S)[0].refused;
    let fault = rig.table.snapshot(EXPORT_NS + 10 * S)[0].faults.iter().find(|f| f.kind.label() == "refused").cloned();
    assert!(fault.is_some_and(|f| f.evidence.starts_with(&format!("{refused} datagrams")) && refused > 0));
    let linger = crate::limits::FAULT_LINGER_S * S;
    assert!(named(faults_at(&rig, EXPORT_NS + 10 * S + linger)));
    assert!(!named(faults_at(&rig, EXPORT_NS + 10 * S + linger + 5 * S)));
}

#[test]
fn a_8_two_ports_that_redefine_each_other_are_a_clash_and_then_a_storm_until_they_stop() {
    let mut rig = rig(Duration::from_secs(1));
    define(&mut rig, 1_000, false, EXPORT_NS);
    // Whose data was decoded is remembered for a day.
    rig.pipeline.begin(EXPORT_NS);
    rig.pipeline.take(0, &raw(&message(9, 1, &[set(256, &RECORD)])), EXPORT_NS);
    rig.pipeline.end();
    assert!(faults_at(&rig, EXPORT_NS).is_empty());
    // One other layout is a change and no clash; the third turn is one.
    define(&mut rig, 2_000, true, EXPORT_NS + S);
    assert!(faults_at(&rig, EXPORT_NS + 5 * S).is_empty());
    define(&mut rig, 1_000, false, EXPORT_NS + 6 * S);
    assert_eq!(faults_at(&rig, EXPORT_NS + 10 * S), ["domain_clash"]);
    for turn in 0..70_u16 {
        let other = turn % 2 == 0;
        define(&mut rig, if other { 2_000 } else { 1_000 }, other, EXPORT_NS + 11 * S + u64::from(turn));
    }
    let storm_ns = EXPORT_NS + 15 * S;
    // Templates that were refused are among what was not used.
    assert_eq!(faults_at(&rig, storm_ns), ["domain_clash", "redefinition_storm", "malformed"]);
    let row = &rig.table.snapshot(storm_ns)[0];
    let fault = |name| row.faults.iter().find(|fault| fault.kind.label() == name).expect("it shows");
    assert!(fault("domain_clash").evidence.contains("1000 and 2000"), "{:?}", fault("domain_clash"));
    assert!((1..storm_ns).contains(&fault("redefinition_storm").since_ns));
    // Two quiet minutes end the storm; a clash is told for as long as templates may take to come again.
    let later_ns = storm_ns + 130 * S;
    rig.table.maintain(later_ns, &rig.metrics.books);
    let left = faults_at(&rig, later_ns + 5 * S);
    assert!(left.contains(&"domain_clash") && !left.contains(&"redefinition_storm"), "{left:?}");
    let over_ns = storm_ns + (crate::limits::TEMPLATE_AGE_V9_S + 120) * S;
    rig.table.maintain(over_ns, &rig.metrics.books);
    let left = faults_at(&rig, over_ns + 5 * S);
    assert!(!left.contains(&"domain_clash"), "{left:?}");
}
