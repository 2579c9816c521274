//! The decoder on whole datagrams, made by hand: each item of the protocol rules bears its id.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::*;
use crate::flow::{Exporter, FlowRecord, Presence, SamplingSource, TimeSource};
use crate::limits;

const RECEIVE_NS: u64 = 1_700_000_100_000_000_000;
const EXPORT_S: u32 = 1_700_000_000;

struct Bench {
    state: Arc<ExporterState>,
    batch: FlowBatch,
}

fn settings() -> DecodeSettings {
    DecodeSettings {
        selection: Selection::Core,
        sampling_default: None,
        sampling_override: None,
        park_age_ns: 60_000_000_000,
    }
}

impl Bench {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: DecodeSettings) -> Self {
        Self::bounded(settings, limits::LEARNED_OCTETS.default)
    }

    fn with_learned_octets(learned_octets_max: u64) -> Self {
        Self::bounded(settings(), learned_octets_max)
    }

    fn bounded(settings: DecodeSettings, learned_octets_max: u64) -> Self {
        let budget = Arc::new(LearnedBudget {
            parked_octets: AtomicU64::new(0),
            parked_octets_max: limits::PARKED_OCTETS.default,
            learned_octets: AtomicU64::new(0),
            learned_octets_max,
        });
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
fn v5_01_every_field_has_its_place() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V5, 0x0102);
    let outcome = bench.decode(&domain, &v5(1, 1, 0x4064));
    assert_eq!((outcome.records, outcome.sets_seen, outcome.sets_decoded), (1, 1, 1));
    assert_eq!(outcome.sequence, Some(SequenceNote { sequence: 42, units: Some(1), port: 9_995 }));
    let r = bench.last();
    assert_eq!(r.observation_domain, 0x0102);
    assert_eq!(r.src_ip(), Some("0.1.2.3".parse().unwrap()));
    assert_eq!(r.dst_ip(), Some("4.5.6.7".parse().unwrap()));
    assert_eq!(r.next_hop_ip(), Some("8.9.10.11".parse().unwrap()));
    assert_eq!((r.input_if, r.output_if), (0x0C0D, 0x0E0F));
    assert_eq!((r.packets, r.bytes), (0x1011_1213, 0x1415_1617));
    assert_eq!((r.src_port, r.dst_port), (0x2021, 0x2223));
    assert_eq!((r.tcp_flags, r.protocol, r.tos), (37, 38, 39));
    assert_eq!((r.src_as, r.dst_as, r.src_mask, r.dst_mask), (0x2829, 0x2A2B, 44, 45));
    // H = EXPORT_S.5; First is 2 s and Last 1 s before it.
    let header_ms = u64::from(EXPORT_S) * 1_000 + 500;
    assert_eq!((r.start_ms, r.end_ms, r.time_source), (header_ms - 2_000, header_ms - 1_000, TimeSource::SysUptime));
    assert_eq!((r.sampling_rate, r.sampling_source), (100, SamplingSource::Record));
}

#[test]
fn v5_02_03_counts_and_lengths() {
    for (count, rows, kind) in [
        (0, 0, Some(DecodeErrorKind::BadCount)),
        (1, 1, None),
        (30, 30, None),
        (31, 31, Some(DecodeErrorKind::BadCount)),
        (65_535, 31, Some(DecodeErrorKind::BadCount)),
        (2, 1, Some(DecodeErrorKind::BadLength)),
    ] {
        let mut bench = Bench::new();
        let domain = bench.domain(Version::V5, 0);
        let outcome = bench.decode(&domain, &v5(count, rows, 0));
        assert_eq!(outcome.rejected.map(|e| e.kind), kind, "count {count}, {rows} rows");
        assert_eq!(bench.batch.len(), if kind.is_none() { usize::from(count) } else { 0 });
    }
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V5, 0);
    let outcome = bench.decode(&domain, &v5(1, 2, 0));
    assert!(outcome.trailing_octets && outcome.records == 1);
}

#[test]
fn v5_04_the_sampling_word() {
    for (word, rate) in [(0x0000, 1), (0x4064, 100), (0x8064, 100), (0x0064, 100), (0x4000, 1)] {
        let mut bench = Bench::new();
        let domain = bench.domain(Version::V5, 0);
        bench.decode(&domain, &v5(1, 1, word));
        assert_eq!(bench.last().rate(), rate, "{word:#06x}");
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
fn n9_12_an_identical_template_changes_nothing() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    let message = v9(7, 1, &[set(0, &template(256, &TEMPLATE))]);
    assert_eq!(bench.decode(&domain, &message).templates_learned, 1);
    for _ in 0..1_000 {
        assert_eq!(bench.decode(&domain, &message).templates_learned, 0);
    }
}

#[test]
fn n9_13_data_and_options_templates_share_ids() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    let options = words(&[256, 4, 4, 1, 4, 34, 4]);
    let message =
        v9(7, 1, &[set(0, &template(256, &TEMPLATE)), set(1, &options), set(256, &[0, 0, 0, 1, 0, 0, 0, 50])]);
    let outcome = bench.decode(&domain, &message);
    assert_eq!((outcome.records, outcome.sets_options, outcome.options_records), (0, 1, 1));
}

#[test]
fn n9_15_a_set_without_a_template_waits_for_it() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    let outcome = bench.decode_at(&domain, &v9(7, 1, &[set(256, &rows([1, 2]))]), RECEIVE_NS - 5);
    assert_eq!((outcome.sets_parked, outcome.records, outcome.sets_decoded), (1, 0, 0));
    bench.decode(&domain, &v9(7, 2, &[set(256, &rows([3]))]));
    assert_eq!(domain.status().parked_sets, 2);
    let outcome = bench.decode(&domain, &v9(7, 3, &[set(0, &template(256, &TEMPLATE)), set(256, &rows([4]))]));
    assert_eq!((outcome.sets_unparked, outcome.sets_decoded, outcome.records), (2, 3, 4));
    assert_eq!(serials(&bench), [1, 2, 3, 4]);
    assert_eq!(bench.batch.oldest_receive, RECEIVE_NS - 5);
    assert_eq!((domain.status().parked_sets, domain.status().parked_octets), (0, 0));
    assert_eq!(bench.state.budget.parked_octets.load(std::sync::atomic::Ordering::Relaxed), 0);
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
    let mut off = Bench::with(DecodeSettings { park_age_ns: 0, ..settings() });
    let domain = off.domain(Version::V9, 7);
    let outcome = off.decode(&domain, &v9(7, 1, &[set(300, &[0; 8])]));
    assert_eq!(outcome.sets_dropped[SetDropKind::UnknownTemplate as usize], 1);
}

#[test]
fn n9_23_records_are_not_aligned() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    let mut body = rows(1..7);
    body.extend([0xAA; 2]);
    let outcome = bench.decode(&domain, &v9(7, 1, &[set(0, &template(256, &TEMPLATE)), set(256, &body)]));
    assert_eq!(outcome.records, 6);
}

#[test]
fn n9_24_tiny_records() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    let body = [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0];
    let message = v9(7, 1, &[set(0, &template(256, &[1, 3])), set(256, &body)]);
    assert_eq!(bench.decode(&domain, &message).records, 3);
}

#[test]
fn n9_25_26_lengths_come_from_the_template() {
    for width in [1_u16, 2, 3, 4, 5, 6, 7, 8, 12] {
        let mut bench = Bench::new();
        let domain = bench.domain(Version::V9, 7);
        let mut body = vec![10, 0, 0, 1, 10, 0, 0, 2];
        body.extend(vec![0; usize::from(width) - 1]);
        body.push(200);
        bench.decode(&domain, &v9(7, 1, &[set(0, &template(256, &[8, 4, 12, 4, 1, width])), set(256, &body)]));
        assert_eq!(bench.last().bytes, 200, "octetDeltaCount in {width} octets");
    }
    for width in [3_u16, 5, 16, 50] {
        let mut bench = Bench::new();
        let domain = bench.domain(Version::V9, 7);
        let mut body = vec![10; usize::from(width)];
        body.extend(words(&[99]));
        bench.decode(&domain, &v9(7, 1, &[set(0, &template(256, &[8, width, 7, 2])), set(256, &body)]));
        assert_eq!((bench.last().src_ip(), bench.last().src_port), (None, 99), "sourceIPv4Address in {width}");
    }
    // A port that does not fit 16 bits is no port.
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    let body = [0, 1, 0, 0, 0, 0, 0, 80];
    bench.decode(&domain, &v9(7, 1, &[set(0, &template(256, &[7, 4, 11, 4])), set(256, &body)]));
    assert!(!bench.last().has(Presence::SRC_PORT) && bench.last().has(Presence::DST_PORT));
    assert_eq!(bench.last().dst_port, 80);
}

#[test]
fn n9_25_uptime_stamps_in_eight_octets() {
    for width in [4_u16, 8] {
        let mut bench = Bench::new();
        let domain = bench.domain(Version::V9, 7);
        let stamp = |ms: u32| [vec![0; usize::from(width) - 4], ms.to_be_bytes().to_vec()].concat();
        let body = [stamp(3_599_000), stamp(3_598_000)].concat();
        bench.decode(&domain, &v9(7, 1, &[set(0, &template(256, &[21, width, 22, width])), set(256, &body)]));
        let header_ms = u64::from(EXPORT_S) * 1_000;
        assert_eq!((bench.last().start_ms, bench.last().end_ms), (header_ms - 2_000, header_ms - 1_000));
    }
}

#[test]
fn ix_02_the_length_must_fit_the_datagram() {
    let message = ipfix(1, 1, &[set(2, &template(256, &TEMPLATE)), set(256, &rows([1]))]);
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    let outcome = bench.decode(&domain, &message[..message.len() - 1]);
    assert_eq!(outcome.rejected.map(|e| e.kind), Some(DecodeErrorKind::BadLength));
    let outcome = bench.decode(&domain, &[&message[..], &message[..]].concat());
    assert!(outcome.trailing_octets && outcome.records == 1);
}

#[test]
fn ix_03_broken_framing_changes_nothing() {
    let mut message = ipfix(1, 1, &[set(2, &template(256, &TEMPLATE)), set(256, &rows([1]))]);
    let last = message.len() - row(1).len() - 1;
    message[last] += 1;
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    let outcome = bench.decode(&domain, &message);
    assert_eq!(outcome.rejected.map(|e| e.kind), Some(DecodeErrorKind::BadFraming));
    assert_eq!((bench.batch.len(), domain.status().templates), (0, 0));
}

#[test]
fn ix_06_10_variable_length_records() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    let fields = template(256, &[82, 0xFFFF, 7, 2]);
    let body =
        [&[0][..], &words(&[1]), &[3, b'e', b't', b'h'], &words(&[2]), &[255, 0, 1, b'x'], &words(&[3])].concat();
    let outcome = bench.decode(&domain, &ipfix(1, 1, &[set(2, &fields), set(256, &body)]));
    assert_eq!(outcome.records, 3);
    assert_eq!(bench.batch.records.iter().map(|r| r.src_port).collect::<Vec<_>>(), [1, 2, 3]);
    // One octet past the set: the set goes, rows of it included.
    let bad = [&[0][..], &words(&[4]), &[9, b'x', 0, 5]].concat();
    let outcome = bench.decode(&domain, &ipfix(1, 4, &[set(256, &bad)]));
    assert_eq!((outcome.records, outcome.sets_dropped[SetDropKind::BadRecord as usize]), (0, 1));
    assert_eq!(bench.batch.len(), 3);
}

#[test]
fn ix_20_21_units_of_a_message() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    let options = words(&[300, 2, 1, 149, 4, 34, 4]);
    let units = |o: Outcome| o.sequence.unwrap().units;
    let templates = [set(2, &template(256, &TEMPLATE)), set(3, &options)];
    assert_eq!(units(bench.decode(&domain, &ipfix(1, 0, &templates))), Some(0));
    let both = [set(256, &rows([1, 2])), set(300, &[0, 0, 0, 1, 0, 0, 0, 9])];
    assert_eq!(units(bench.decode(&domain, &ipfix(1, 0, &both))), Some(3));
    assert_eq!(units(bench.decode(&domain, &ipfix(1, 3, &[set(999, &[1, 2])]))), None);
}

#[test]
fn ix_47_security_group_tags() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    let cisco = [0x8000 | 1232, 2, 0, 9, 0x8000 | 1233, 2, 0, 9];
    let mut body = vec![256, 2];
    body.extend(cisco);
    let message = ipfix(1, 1, &[set(2, &words(&body)), set(256, &words(&[11, 22]))]);
    bench.decode(&domain, &message);
    let r = *bench.last();
    assert_eq!((r.src_sgt, r.dst_sgt), (11, 22));
    assert!(r.has(Presence::SRC_SGT) && r.has(Presence::DST_SGT));
    let domain = bench.domain(Version::V9, 1);
    bench.decode(&domain, &v9(1, 1, &[set(0, &template(256, &[34_000, 2, 34_001, 2])), set(256, &words(&[0, 7]))]));
    let r = *bench.last();
    assert!(r.has(Presence::SRC_SGT), "group 0 is known");
    assert_eq!((r.src_sgt, r.dst_sgt), (0, 7));
    bench.decode(&domain, &v9(1, 2, &[set(0, &template(257, &[411, 2, 412, 4])), set(257, &words(&[1, 2, 3]))]));
    assert!(!bench.last().presence.has_any(Presence::SRC_SGT.with(Presence::DST_SGT)));
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
    assert!(bench.last().has(Presence::SRC_MAC), "an all-zero address is what the exporter said");
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
fn ix_48_sampling_from_options() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 1);
    let mut fields = TEMPLATE.to_vec();
    fields.extend([48, 1]);
    let row_of = |serial: u32, sampler: u8| [row(serial), vec![sampler]].concat();
    bench.decode(&domain, &v9(1, 1, &[set(0, &template(256, &fields)), set(256, &row_of(1, 3))]));
    assert_eq!((bench.last().rate(), bench.last().sampling_source), (1, SamplingSource::Unknown));
    // Scope System, then FLOW_SAMPLER_ID 48 and 50: two samplers (akvorado's and nfdump's lesson).
    let options = words(&[257, 4, 8, 1, 4, 48, 1, 50, 4]);
    let entry = |id: u8, rate: u32| [&[0, 0, 0, 0, id][..], &rate.to_be_bytes()].concat();
    let table = [entry(3, 2_000), entry(4, 4_000)].concat();
    let outcome = bench.decode(&domain, &v9(1, 2, &[set(1, &options), set(257, &table)]));
    assert_eq!((outcome.options_records, outcome.sets_options), (2, 1));
    let body = [row_of(2, 3), row_of(3, 4), row_of(4, 9)].concat();
    let outcome = bench.decode(&domain, &v9(1, 3, &[set(256, &body)]));
    let rates: Vec<_> = bench.batch.records[1..].iter().map(|r| (r.rate(), r.sampling_source)).collect();
    assert_eq!(
        rates,
        [(2_000, SamplingSource::Sampler), (4_000, SamplingSource::Sampler), (1, SamplingSource::Unknown)]
    );
    assert_eq!(outcome.sampling_unknown, 1);
}

#[test]
fn ix_48_a_domain_wide_rate_and_the_operators_word() {
    let options = words(&[257, 4, 4, 1, 4, 34, 4]);
    let learn = v9(1, 1, &[set(1, &options), set(257, &[0, 0, 0, 0, 0, 0, 0, 100])]);
    let flows = v9(1, 2, &[set(0, &template(256, &TEMPLATE)), set(256, &row(1))]);
    for (over, default, told, expected) in [
        (None, None, true, (100, SamplingSource::Domain)),
        (None, Some(7), true, (100, SamplingSource::Domain)),
        (None, Some(7), false, (7, SamplingSource::Default)),
        (Some(9), Some(7), true, (9, SamplingSource::Override)),
    ] {
        let chosen = DecodeSettings { sampling_override: over, sampling_default: default, ..settings() };
        let mut bench = Bench::with(chosen);
        let domain = bench.domain(Version::V9, 1);
        if told {
            bench.decode(&domain, &learn);
        }
        bench.decode(&domain, &flows);
        assert_eq!((bench.last().sampling_rate, bench.last().sampling_source), expected);
    }
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
    let mut bench = Bench::with(DecodeSettings { selection: Selection::All, ..settings() });
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

mod learned;
mod random;
mod rules;
