//! The decoder on whole datagrams, made by hand: each item of the protocol rules bears its id.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use std::net::SocketAddr;

use super::*;
use crate::flow::{Exporter, FlowRecord, Presence, SamplingSource, TimeSource};
use crate::limits;

const RECEIVE_NS: u64 = 1_700_000_100_000_000_000;
const EXPORT_S: u32 = 1_700_000_000;

struct Bench {
    state: Arc<ExporterState>,
    batch: FlowBatch,
}

impl Bench {
    fn new() -> Self {
        Self::with(DecodeSettings::default())
    }

    fn with(settings: DecodeSettings) -> Self {
        Self::bounded(settings, limits::LEARNED_OCTETS.default)
    }

    fn with_learned_octets(learned_octets_max: u64) -> Self {
        Self::bounded(DecodeSettings::default(), learned_octets_max)
    }

    fn bounded(settings: DecodeSettings, learned_octets_max: u64) -> Self {
        let budget = Arc::new(LearnedBudget::new(limits::PARKED_OCTETS.default, learned_octets_max));
        let exporter = Arc::new(Exporter::of_address(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))));
        Self { state: Arc::new(ExporterState::new(exporter, settings, budget)), batch: FlowBatch::with_capacity(64) }
    }

    fn domain(&self, version: Version, observation_domain: u32) -> Arc<Domain> {
        let key = DomainKey { session: Session::Any, version, observation_domain };
        Arc::new(Domain::new(key, Arc::clone(&self.state), None))
    }

    fn port(&self, port: u16, shared: &Arc<Domain>) -> Arc<Domain> {
        let key = DomainKey { session: Session::Port(port), ..shared.key };
        Arc::new(Domain::new(key, Arc::clone(&self.state), Some(Arc::clone(shared))))
    }

    fn decode(&mut self, domain: &Domain, octets: &[u8]) -> Outcome {
        self.decode_at(domain, octets, RECEIVE_NS)
    }

    fn decode_at(&mut self, domain: &Domain, octets: &[u8], receive_ns: u64) -> Outcome {
        self.decode_as(domain, octets, receive_ns, 9_995)
    }

    fn decode_from(&mut self, domain: &Domain, octets: &[u8], port: u16) -> Outcome {
        self.decode_as(domain, octets, RECEIVE_NS, port)
    }

    fn decode_as(&mut self, domain: &Domain, octets: &[u8], receive_ns: u64, port: u16) -> Outcome {
        let peer = SocketAddr::from(([192, 0, 2, 1], port));
        match identify(octets) {
            Ok(header) => decode(&Datagram { peer, receive_ns, octets }, &header, domain, &mut self.batch),
            Err(error) => Outcome::of_rejected(error),
        }
    }

    fn last(&self) -> &FlowRecord {
        self.batch.records.last().expect("a record was decoded")
    }
}

fn set(id: u16, body: &[u8]) -> Vec<u8> {
    let mut octets = id.to_be_bytes().to_vec();
    octets.extend(u16::try_from(body.len() + 4).unwrap().to_be_bytes());
    octets.extend(body);
    octets
}

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_be_bytes()).collect()
}

fn v9(domain: u32, sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let mut octets = words(&[9, 1]);
    for word in [3_600_000, EXPORT_S, sequence, domain] {
        octets.extend(word.to_be_bytes());
    }
    octets.extend(sets.concat());
    octets
}

fn ipfix(domain: u32, sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let body = sets.concat();
    let mut octets = words(&[10, u16::try_from(body.len() + 16).unwrap()]);
    for word in [EXPORT_S, sequence, domain] {
        octets.extend(word.to_be_bytes());
    }
    octets.extend(body);
    octets
}

/// 8, 12, 7, 11, 4, 1, 2: 21 octets a record.
const TEMPLATE: [u16; 14] = [8, 4, 12, 4, 7, 2, 11, 2, 4, 1, 1, 4, 2, 4];

fn template(id: u16, fields: &[u16]) -> Vec<u8> {
    let mut body = vec![id, u16::try_from(fields.len() / 2).unwrap()];
    body.extend(fields);
    words(&body)
}

fn row(serial: u32) -> Vec<u8> {
    let mut octets = vec![10, 0, 0, 1, 10, 0, 0, 2];
    octets.extend(words(&[1234, 443]));
    octets.push(6);
    octets.extend(serial.to_be_bytes());
    octets.extend(9_u32.to_be_bytes());
    octets
}

fn rows(serials: impl IntoIterator<Item = u32>) -> Vec<u8> {
    serials.into_iter().flat_map(row).collect()
}

fn v5(count: u16, rows: usize, sampling: u16) -> Vec<u8> {
    let mut octets = words(&[5, count]);
    for word in [100_000, EXPORT_S, 500_000_000, 42] {
        octets.extend(word.to_be_bytes());
    }
    octets.extend([1, 2]);
    octets.extend(sampling.to_be_bytes());
    for index in 0..rows {
        let mut row: Vec<u8> = (0..48).map(|at| u8::try_from(at + index % 100).unwrap()).collect();
        row[24..28].copy_from_slice(&98_000_u32.to_be_bytes());
        row[28..32].copy_from_slice(&99_000_u32.to_be_bytes());
        octets.extend(row);
    }
    octets
}

fn serials(bench: &Bench) -> Vec<u64> {
    bench.batch.records.iter().map(|r| r.bytes).collect()
}

#[test]
fn g_01_only_known_versions_are_decoded() {
    for version in (0..=255_u16).chain([0xFFFF]) {
        let octets = words(&[version; 40]);
        let kind = identify(&octets).map_err(|e| e.kind);
        match version {
            1 | 5 | 7 | 9 | 10 => assert!(kind.is_ok(), "{version}"),
            8 => assert_eq!(kind, Err(DecodeErrorKind::NotDecoded)),
            _ => assert_eq!(kind, Err(DecodeErrorKind::UnsupportedVersion), "{version}"),
        }
    }
    assert_eq!(identify(&[0, 0, 0, 5, 0, 0, 0, 1]).unwrap_err().kind, DecodeErrorKind::NotDecoded);
}

#[test]
fn g_02_every_cut_of_every_version_is_survived() {
    let fields = template(256, &TEMPLATE);
    let golden = [
        v5(3, 3, 0),
        v9(1, 1, &[set(0, &fields), set(256, &rows(1..4))]),
        ipfix(1, 1, &[set(2, &fields), set(256, &rows(1..4))]),
    ];
    for octets in golden {
        for end in 0..octets.len() {
            let mut bench = Bench::new();
            let version = Version::from_wire(u16::from_be_bytes([octets[0], octets[1]])).unwrap();
            let domain = bench.domain(version, 1);
            let outcome = bench.decode(&domain, &octets[..end]);
            if version != Version::V9 {
                assert!(outcome.rejected.is_some(), "{version:?} cut at {end}");
                assert_eq!(bench.batch.len(), 0);
            }
            assert_eq!(outcome.records as usize, bench.batch.len());
        }
    }
}

#[test]
fn g_04_sets_apply_in_wire_order() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    let other = [8, 4, 12, 4, 1, 4];
    let short_row = [&[10, 0, 0, 9, 10, 0, 0, 8][..], &77_u32.to_be_bytes()].concat();
    let message = v9(
        7,
        1,
        &[
            set(0, &template(256, &TEMPLATE)),
            set(256, &rows([1, 2])),
            set(0, &template(256, &other)),
            set(256, &short_row),
        ],
    );
    let outcome = bench.decode(&domain, &message);
    assert_eq!((outcome.records, outcome.sets_seen, outcome.sets_decoded, outcome.sets_templates), (3, 4, 2, 2));
    assert_eq!(outcome.templates_learned, 2);
    assert_eq!(serials(&bench), [1, 2, 77]);
}

#[test]
fn a_12_the_waiting_room_is_bounded_and_ages() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    let mut full = 0;
    for sequence in 0..200 {
        let outcome = bench.decode(&domain, &v9(7, sequence, &[set(300, &[0; 1_000])]));
        full += outcome.sets_dropped[SetDropKind::ParkFull as usize];
    }
    assert_eq!(u64::from(full), 200 - limits::PARKED_SETS_PER_EXPORTER_MAX);
    assert_eq!(domain.expire_parked(RECEIVE_NS), ParkedCounts::default());
    let gone = domain.expire_parked(RECEIVE_NS + 61_000_000_000);
    assert_eq!(u64::from(gone.sets), limits::PARKED_SETS_PER_EXPORTER_MAX);
    assert_eq!(domain.status().parked_octets, 0);
    let mut off = Bench::with(DecodeSettings { park_age_ns: 0, ..DecodeSettings::default() });
    let domain = off.domain(Version::V9, 7);
    let outcome = off.decode(&domain, &v9(7, 1, &[set(300, &[0; 8])]));
    assert_eq!(outcome.sets_dropped[SetDropKind::UnknownTemplate as usize], 1);
}

#[test]
fn macs_and_vlans() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 1);
    let fields = [56, 6, 57, 6, 80, 6, 58, 2, 243, 2, 59, 2];
    let body = [&[1; 6][..], &[2; 6], &[3; 6], &words(&[10, 20, 30])].concat();
    bench.decode(&domain, &v9(1, 1, &[set(0, &template(256, &fields)), set(256, &body)]));
    let r = *bench.last();
    // 80 is what came in; 57 is what the box sent on (section 5).
    assert_eq!((r.src_mac, r.dst_mac, r.vlan, r.post_vlan), ([1; 6], [3; 6], 10, 30));
    bench.decode(&domain, &v9(1, 2, &[set(256, &[0; 24])]));
    assert!(!bench.last().presence.has_any(Presence::SRC_MAC.with(Presence::DST_MAC)), "zeroes are no address");
    assert!(bench.last().has(Presence::VLAN), "VLAN 0 is untagged, not unknown");
}

#[test]
fn dec_6_the_family_that_is_not_zero() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 1);
    let fields = [27, 16, 28, 16, 8, 4, 12, 4];
    let v6 = [&[0x20; 32][..], &[0; 8]].concat();
    let v4 = [&[0; 32][..], &[10; 8]].concat();
    let body = [v6, v4, vec![0; 40]].concat();
    bench.decode(&domain, &v9(1, 1, &[set(0, &template(256, &fields)), set(256, &body)]));
    let ips: Vec<_> = bench.batch.records.iter().map(FlowRecord::src_ip).collect();
    let v6: IpAddr = [0x20; 16].into();
    assert_eq!(ips, [Some(v6), Some("10.10.10.10".parse().unwrap()), None]);
}

#[test]
fn dec_3_ports_share_templates_only_while_they_agree() {
    let mut bench = Bench::new();
    let shared = bench.domain(Version::Ipfix, 5);
    let (a, b) = (bench.port(1_001, &shared), bench.port(1_002, &shared));
    let template_message = |fields: &[u16]| ipfix(5, 0, &[set(2, &template(256, fields))]);
    let data = ipfix(5, 0, &[set(256, &rows([1]))]);
    // A port without templates: the set waits in the shared domain until one port tells.
    assert_eq!(bench.decode(&shared, &data).sets_parked, 1);
    let outcome = bench.decode(&a, &template_message(&TEMPLATE));
    assert_eq!((outcome.records, outcome.sets_unparked), (1, 1));
    assert_eq!(bench.decode(&shared, &data).records, 1);
    assert_eq!(bench.decode(&b, &data).records, 1, "b has no templates of its own");
    // Another layout on another port: each keeps its own, a third has none.
    bench.decode(&b, &template_message(&[8, 4, 12, 4, 1, 4]));
    assert_eq!(bench.decode(&a, &data).records, 1);
    assert_eq!(bench.decode(&b, &ipfix(5, 0, &[set(256, &[1; 12])])).records, 1);
    assert_eq!(bench.decode(&shared, &data).sets_parked, 1);
    b.retire();
    assert_eq!(bench.decode(&shared, &data).records, 2, "the other port's word is gone: parked and new set decode");
}

#[test]
fn a_3_templates_are_bounded_and_the_oldest_goes() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 1);
    for id in 256..3_256_u16 {
        let message = v9(1, 1, &[set(0, &template(id, &TEMPLATE))]);
        bench.decode_at(&domain, &message, RECEIVE_NS + u64::from(id));
    }
    assert!(domain.status().templates <= limits::TEMPLATES_PER_DOMAIN_MAX);
    assert!(domain.plan(3_255).is_some() && domain.plan(256).is_none());
    let octets = bench.state.template_octets.load(std::sync::atomic::Ordering::Relaxed);
    assert!(octets <= limits::TEMPLATE_OCTETS_PER_EXPORTER_MAX as u64);
    domain.retire();
    assert_eq!(bench.state.template_octets.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn a_5_rows_of_a_message_are_bounded() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 1);
    let message = v9(1, 1, &[set(0, &template(256, &[4, 1])), set(256, &[6; 65_000])]);
    let outcome = bench.decode(&domain, &message);
    assert_eq!(outcome.records as usize, limits::ROWS_PER_MESSAGE_MAX);
    assert_eq!(outcome.sets_dropped[SetDropKind::TooManyRows as usize], 1);
    assert_eq!(outcome.sets_decoded, 0);
}

#[test]
fn a_5_a_replay_is_bounded_too() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 1);
    for sequence in 0..10 {
        bench.decode(&domain, &v9(1, sequence, &[set(256, &[6; 1_000])]));
    }
    let outcome = bench.decode(&domain, &v9(1, 10, &[set(0, &template(256, &[4, 1]))]));
    assert!(outcome.records as usize <= limits::ROWS_PER_MESSAGE_MAX);
    let mut total = outcome.records;
    for sequence in 11..20 {
        total += bench.decode(&domain, &v9(1, sequence, &[])).records;
    }
    assert!(total >= 9_000, "the rest follows with the next datagrams: {total}");
    assert_eq!(domain.status().parked_sets, 0);
}

#[test]
fn all_elements_are_kept_when_asked_for() {
    let mut bench = Bench::with(DecodeSettings { selection: Selection::WIRE, ..DecodeSettings::default() });
    let domain = bench.domain(Version::Ipfix, 1);
    let mut body = vec![256, 3, 8, 4];
    body.extend([0x8000 | 77, 0xFFFF, 0, 1234]);
    body.extend([7, 2]);
    let data = [&[10, 0, 0, 1][..], &[2, 0xAB, 0xCD], &words(&[80])].concat();
    bench.decode(&domain, &ipfix(1, 1, &[set(2, &words(&body)), set(256, &data)]));
    let kept: Vec<_> =
        bench.batch.elements_of(0).map(|(e, octets)| (e.element.pen, e.element.id, octets.to_vec())).collect();
    assert_eq!(kept, [(0, 8, vec![10, 0, 0, 1]), (1234, 77, vec![0xAB, 0xCD]), (0, 7, vec![0, 80])]);
}

mod biflow;
mod clocks;
mod fields;
mod filled;
mod firewall;
mod ipfix;
mod items;
mod kept;
mod learned;
mod life;
mod list;
mod makers;
mod mediator;
mod names;
mod others;
mod overflow;
mod profile;
mod random;
mod rules;
mod section;
mod semantics;
mod taught;
mod v5;
mod v9;
