//! What values mean: counters and their kinds, events, times that cannot be, deprecated numbers.

use super::*;
use crate::flow::BytesKind;

/// A template of IANA elements, and one record of it.
pub(super) struct Shape(pub Vec<(u32, u16, Vec<u8>)>);

impl Shape {
    pub fn new() -> Self {
        Self(Vec::new()).v4()
    }

    pub fn v4(self) -> Self {
        self.octets(8, &[10, 0, 0, 1]).octets(12, &[10, 0, 0, 2])
    }

    pub fn octets(mut self, id: u16, octets: &[u8]) -> Self {
        self.0.push((0, id, octets.to_vec()));
        self
    }

    pub fn of(mut self, pen: u32, id: u16, octets: &[u8]) -> Self {
        self.0.push((pen, id, octets.to_vec()));
        self
    }

    pub fn u8(self, id: u16, value: u8) -> Self {
        self.octets(id, &[value])
    }

    pub fn u32(self, id: u16, value: u32) -> Self {
        self.octets(id, &value.to_be_bytes())
    }

    pub fn u64(self, id: u16, value: u64) -> Self {
        self.octets(id, &value.to_be_bytes())
    }

    /// Template and record of template id `id`, as IPFIX has them.
    pub fn sets(&self, id: u16) -> [Vec<u8>; 2] {
        let mut body = words(&[id, u16::try_from(self.0.len()).unwrap()]);
        for (pen, element, octets) in &self.0 {
            body.extend(words(&[element | if *pen == 0 { 0 } else { 0x8000 }, u16::try_from(octets.len()).unwrap()]));
            if *pen != 0 {
                body.extend(pen.to_be_bytes());
            }
        }
        [set(2, &body), set(id, &self.record())]
    }

    pub fn record(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(_, _, octets)| octets.clone()).collect()
    }
}

/// The rows of one record, in IPFIX.
pub(super) fn rows_of(shape: &Shape, settings: DecodeSettings) -> Vec<FlowRecord> {
    let mut bench = Bench::with(settings);
    let domain = bench.domain(Version::Ipfix, 1);
    bench.decode(&domain, &ipfix(1, 0, &shape.sets(256)));
    bench.batch.records
}

pub(super) fn row_of(shape: &Shape) -> FlowRecord {
    let rows = rows_of(shape, DecodeSettings::default());
    assert_eq!(rows.len(), 1);
    rows[0]
}

#[test]
fn b_1_totals_count_only_without_deltas_and_are_flagged() {
    let both = row_of(&Shape::new().u32(85, 900).u32(86, 9).u32(1, 100).u32(2, 1));
    assert_eq!((both.bytes, both.packets, both.has(Presence::COUNTER_TOTAL)), (100, 1, false));
    for (bytes, packets) in [(85, 86), (85, 2), (171, 172), (171, 2), (353, 2), (1, 86), (1, 172)] {
        let row = row_of(&Shape::new().u32(bytes, 900).u32(packets, 9));
        assert_eq!((row.bytes, row.packets, row.has(Presence::COUNTER_TOTAL)), (900, 9, true), "{bytes}/{packets}");
    }
}

#[test]
fn b_2_octets_have_a_kind() {
    for (id, kind) in [
        (1, BytesKind::Ip),
        (85, BytesKind::Ip),
        (23, BytesKind::Ip),
        (231, BytesKind::Layer4),
        (352, BytesKind::Layer2),
        (353, BytesKind::Layer2),
    ] {
        let row = row_of(&Shape::new().u32(id, 100));
        assert_eq!((row.bytes, row.bytes_kind), (100, kind), "{id}");
    }
    // Of several the one that counts tells the kind.
    assert_eq!(row_of(&Shape::new().u32(352, 118).u32(1, 100)).bytes_kind, BytesKind::Ip);
}

#[test]
fn b_3_post_counters_stand_alone_only_without_others() {
    let row = row_of(&Shape::new().u32(23, 900).u32(24, 9));
    assert_eq!((row.bytes, row.packets), (900, 9));
    let row = row_of(&Shape::new().u32(23, 900).u32(24, 9).u32(1, 100).u32(2, 1));
    assert_eq!((row.bytes, row.packets), (100, 1));
}

#[test]
fn b_3_initiator_and_responder_are_two_rows() {
    let shape = Shape::new().u64(231, 1_000).u64(232, 5_000).u64(298, 10).u64(299, 40);
    let rows = rows_of(&shape, DecodeSettings::default());
    let [forward, reverse] = rows[..] else { panic!("two rows") };
    assert_eq!((forward.bytes, forward.packets, reverse.bytes, reverse.packets), (1_000, 10, 5_000, 40));
    assert_eq!((forward.src_ip(), reverse.bytes_kind), (reverse.dst_ip(), BytesKind::Layer4));
    assert!(reverse.has(Presence::REVERSE));
    // Counters of the flow itself are there: who began it is beside the point.
    let rows = rows_of(&shape.u64(1, 6_000).u64(2, 50), DecodeSettings::default());
    assert_eq!((rows.len(), rows[0].bytes), (1, 6_000));
}

#[test]
fn b_5_what_is_missing_stays_missing_and_what_cannot_be_is_flagged() {
    let row = row_of(&Shape::new().u32(1, 7));
    assert!(row.has(Presence::BYTES) && !row.has(Presence::PACKETS) && !row.has(Presence::IMPLAUSIBLE));
    let judged = |bytes, packets| row_of(&Shape::new().u64(1, bytes).u64(2, packets)).has(Presence::IMPLAUSIBLE);
    for (bytes, packets, flagged) in [
        (20, 1, false),
        (19, 1, true),
        (65_535, 1, false),
        (65_536, 1, true),
        (0, 0, false),
        (1, 0, true),
        (10_000_000_000_000, 3, true),
        (0, u64::MAX, true),
        (u64::MAX, u64::MAX, true),
        (u64::MAX, u64::MAX / 60_000, false),
    ] {
        assert_eq!(judged(bytes, packets), flagged, "{bytes}/{packets}");
    }
    let row = row_of(&Shape::new().u64(1, 19).u64(2, 1));
    assert_eq!((row.bytes, row.packets), (19, 1), "values never change");
}

#[test]
fn b_5_other_kinds_sampling_and_ipv6() {
    let flagged = |shape: &Shape| row_of(shape).has(Presence::IMPLAUSIBLE);
    // Payload alone may be nothing; layer 2 has its headers on top.
    assert!(!flagged(&Shape::new().u32(231, 0).u32(298, 5)));
    assert!(flagged(&Shape::new().u32(231, 70_000).u32(298, 1)));
    assert!(!flagged(&Shape::new().u32(352, 65_553).u32(2, 1)) && flagged(&Shape::new().u32(352, 65_700).u32(2, 1)));
    // Sampled: some exporters scale one counter and not the other.
    assert!(
        !flagged(&Shape::new().u32(1, 1).u32(2, 1).u32(34, 100))
            && flagged(&Shape::new().u32(1, 1).u32(2, 1).u32(34, 1))
    );
    let v6 = Shape(Vec::new()).octets(27, &[1; 16]).octets(28, &[2; 16]).u32(1, 90_000).u32(2, 1);
    assert!(!flagged(&v6), "a jumbogram");
    let wire = rows_of(
        &Shape::new().u32(1, 1).u32(2, 1),
        DecodeSettings { selection: Selection::WIRE, ..DecodeSettings::default() },
    );
    assert!(!wire[0].has(Presence::IMPLAUSIBLE), "the wire view does not judge");
}

#[test]
fn b_5_in_fixed_records_too() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V5, 0);
    let mut octets = v5(1, 1, 0);
    octets[24 + 16..24 + 24].copy_from_slice(&[0, 0, 0, 1, 0, 1, 0, 0]);
    bench.decode(&domain, &octets);
    assert_eq!((bench.last().packets, bench.last().bytes), (1, 65_536));
    assert!(bench.last().has(Presence::IMPLAUSIBLE));
}

#[test]
fn d_1_statistics_sent_as_data_are_no_rows() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    let statistics = Shape(Vec::new()).u64(160, 5).u64(41, 6).u64(42, 7).u64(164, 8).octets(130, &[10, 0, 0, 9]);
    let mut sets = statistics.sets(256).to_vec();
    sets.push(set(256, &[statistics.record(), statistics.record()].concat()));
    let outcome = bench.decode(&domain, &ipfix(1, 0, &sets));
    assert_eq!((outcome.records, outcome.non_flow_records, outcome.sets_decoded), (0, 3, 2));
    assert_eq!(outcome.sequence.and_then(|note| note.units), Some(3), "they count in the sequence");
    assert!(bench.batch.is_empty());
    // With a MAC it is traffic.
    let row = row_of(&Shape(Vec::new()).u64(42, 7).octets(56, &[1; 6]));
    assert!(row.has(Presence::SRC_MAC));
    let wire = DecodeSettings { selection: Selection::WIRE, ..DecodeSettings::default() };
    assert_eq!(rows_of(&statistics, wire).len(), 1, "the wire view keeps them");
}

#[test]
fn d_1_statistics_of_variable_length() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    let sets = [set(2, &template(256, &[41, 4, 82, 0xFFFF])), set(256, &[0, 0, 0, 1, 2, 9, 9, 0, 0, 0, 2, 0])];
    let outcome = bench.decode(&domain, &ipfix(1, 0, &sets));
    assert_eq!((outcome.records, outcome.non_flow_records, bench.batch.len()), (0, 2, 0));
}

#[test]
fn ix_42_nat_events_without_counters_are_events() {
    let session = Shape::new().octets(225, &[192, 0, 2, 1]).u8(230, 1).u64(323, 1_700_000_000_777);
    let row = row_of(&session);
    assert!(row.has(Presence::EVENT) && !row.has(Presence::BYTES));
    // T-4: the event's time is all the time there is.
    assert_eq!(
        (row.start_ms, row.end_ms, row.time_source),
        (1_700_000_000_777, 1_700_000_000_777, TimeSource::Observation)
    );
    // Port blocks and exhausted pools have no addresses of a flow.
    for pool in [
        Shape(Vec::new()).octets(225, &[192, 0, 2, 1]).u8(230, 16).octets(361, &[4, 0]).octets(362, &[7, 255]),
        Shape(Vec::new()).u8(230, 11).u32(283, 5).u64(323, 1_700_000_000_777),
    ] {
        assert!(row_of(&pool).has(Presence::EVENT));
    }
    // With counters it is a flow that was translated.
    assert!(!row_of(&Shape::new().u8(230, 2).u64(1, 600).u64(2, 5)).has(Presence::EVENT));
    let wire = rows_of(&session, DecodeSettings { selection: Selection::WIRE, ..DecodeSettings::default() });
    assert!(!wire[0].has(Presence::EVENT), "the wire view does not judge");
}

#[test]
fn ix_49_directions() {
    for (value, known) in [(0, true), (1, true), (2, false), (255, false)] {
        let row = row_of(&Shape::new().u8(61, value));
        assert_eq!((row.has(Presence::DIRECTION), row.direction), (known, if known { value } else { 0 }), "{value}");
    }
}

#[test]
fn ix_50_deprecated_numbers_and_their_successors_read_alike() {
    // Sampling: 34 and 50 as is, 305 alone as 1 in N; 48 and 302 are one id space (see sampling.rs).
    for id in [34, 50, 305] {
        assert_eq!(row_of(&Shape::new().u32(id, 64)).sampling_rate, 64, "{id}");
    }
    // Layer 2 counters by their first numbers and by those that IANA kept.
    for (old, new) in [(416, 352), (419, 353)] {
        let (old, new) = (row_of(&Shape::new().u32(old, 99)), row_of(&Shape::new().u32(new, 99)));
        assert_eq!((old.bytes, old.bytes_kind, old.presence), (new.bytes, new.bytes_kind, new.presence));
        assert_eq!(old.bytes, 99);
    }
    // What has no field is kept by the number that came, old or new: sampler mode, extension headers, TCP options,
    // packet sections, sampler name.
    for id in [49, 304, 64, 515, 209, 520, 102, 103, 104, 409, 312, 315, 84, 335] {
        let mut bench = Bench::with(DecodeSettings { selection: Selection::WIRE, ..DecodeSettings::default() });
        let domain = bench.domain(Version::Ipfix, 1);
        bench.decode(&domain, &ipfix(1, 0, &Shape::new().u32(id, 7).sets(256)));
        let kept = bench.batch.elements_of(0).any(|(value, octets)| value.element.id == id && octets == [0, 0, 0, 7]);
        assert!(kept, "{id}");
    }
}

#[test]
fn ix_50_samplers_by_either_number() {
    for (table, row) in [(48, 302), (302, 48), (48, 48), (302, 302)] {
        let mut bench = Bench::new();
        let domain = bench.domain(Version::V9, 1);
        // Scope System of no length, the sampler's id and its interval.
        let options = words(&[260, 4, 8, 1, 0, table, 2, 50, 4]);
        let data = template(261, &[8, 4, 12, 4, row, 1]);
        let sets = [
            set(1, &options),
            set(260, &[0, 3, 0, 0, 7, 208, 0, 4, 0, 0, 15, 160]),
            set(0, &data),
            set(261, &[10, 0, 0, 1, 10, 0, 0, 2, 3]),
        ];
        bench.decode(&domain, &v9(1, 0, &sets));
        assert_eq!((bench.last().sampling_rate, bench.last().sampling_source), (2_000, SamplingSource::Sampler));
    }
}

#[test]
fn ix_48_line_cards_of_options_and_of_records() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 1);
    // Scope type 3 is a line card; each has an interval.
    let options = words(&[260, 4, 4, 3, 2, 34, 4]);
    let data = template(261, &[8, 4, 12, 4, 141, 1]);
    let row = |card| [10, 0, 0, 1, 10, 0, 0, 2, card];
    let sets = [
        set(1, &options),
        set(260, &[0, 1, 0, 0, 0, 100, 0, 2, 0, 0, 0, 200]),
        set(0, &data),
        set(261, &[row(2), row(1), row(3)].concat()),
    ];
    let outcome = bench.decode(&domain, &v9(1, 0, &sets));
    let rates: Vec<_> = bench.batch.records.iter().map(|r| (r.sampling_rate, r.sampling_source)).collect();
    let by_card = |rate| (rate, SamplingSource::Template);
    assert_eq!(rates, [by_card(200), by_card(100), (1, SamplingSource::Unknown)]);
    assert_eq!((outcome.records, outcome.sampling_unknown), (3, 1));
}

#[test]
fn ix_23_options_of_domain_0_hold_for_the_others() {
    let mut bench = Bench::new();
    let (zero, seven) = (bench.domain(Version::Ipfix, 0), bench.domain(Version::Ipfix, 7));
    // Scope: a sampler's id; its interval and space.
    let options = [words(&[258, 3, 1, 302, 4, 305, 4, 306, 4]), vec![]].concat();
    let table = [5_u32, 1, 999, 6, 1, 1_999].map(u32::to_be_bytes).concat();
    bench.decode(&zero, &ipfix(0, 0, &[set(3, &options), set(258, &table)]));
    bench.decode(&seven, &ipfix(7, 0, &Shape::new().u32(302, 6).sets(256)));
    assert_eq!((bench.last().sampling_rate, bench.last().sampling_source), (2_000, SamplingSource::Sampler));
}

/// A v7 datagram of one record: addresses, ports and protocol are not zero.
fn v7(flags: u8) -> Vec<u8> {
    let mut octets = words(&[7, 1]);
    for word in [3_600_000, EXPORT_S, 0, 0, 0] {
        octets.extend(word.to_be_bytes());
    }
    octets.extend([10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0, 0]);
    octets.extend(words(&[3, 4]));
    octets.extend([0, 0, 0, 1, 0, 0, 0, 60, 0, 54, 238, 118, 0, 54, 238, 118]);
    octets.extend(words(&[1_234, 443]));
    octets.extend([flags, 0, 6, 1]);
    octets.extend([0; 12]);
    octets
}

#[test]
fn v7_01_flags_say_that_fields_of_zero_are_not_valid() {
    // A switch leaves a field out of its flow mask: it is 0, and the flags are not.
    for (at, length, field) in [
        (0, 4, Presence::SRC_V4),
        (4, 4, Presence::DST_V4),
        (12, 2, Presence::INPUT_IF),
        (14, 2, Presence::OUTPUT_IF),
        (32, 2, Presence::SRC_PORT),
        (34, 2, Presence::DST_PORT),
        (38, 1, Presence::PROTOCOL),
        (39, 1, Presence::TOS),
    ] {
        for flags in [0, 1, 0x80] {
            let mut octets = v7(flags);
            let mut bench = Bench::new();
            let domain = bench.domain(Version::V7, 0);
            bench.decode(&domain, &octets);
            assert!(bench.last().has(field), "a value that is there");
            octets[24 + at..24 + at + length].fill(0);
            bench.decode(&domain, &octets);
            assert_eq!(bench.last().has(field), flags == 0, "{at} {flags}");
        }
    }
}

#[test]
fn v5_10_icmp_stands_in_the_destination_port() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V5, 0);
    let mut octets = v5(1, 1, 0);
    octets[24 + 32..24 + 36].copy_from_slice(&[0, 0, 3, 1]);
    octets[24 + 38] = 1;
    bench.decode(&domain, &octets);
    let row = bench.last();
    // The ports keep what the wire has (DEC-1).
    assert_eq!((row.icmp_type, row.icmp_code, row.dst_port, row.has(Presence::ICMP)), (3, 1, 0x0301, true));
}

#[test]
fn v5_11_pads_and_zeroes_say_nothing() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V5, 0);
    let mut octets = v5(1, 1, 0);
    octets[24 + 8..24 + 12].fill(0);
    octets[24 + 40..24 + 46].fill(0);
    bench.decode(&domain, &octets);
    let clean = *bench.last();
    assert!(!clean.has(Presence::NEXT_HOP_V4) && !clean.has(Presence::SRC_MASK) && !clean.has(Presence::DST_MASK));
    octets[24 + 36] = 0xFF;
    octets[24 + 46..24 + 48].fill(0xFF);
    bench.decode(&domain, &octets);
    assert_eq!(*bench.last(), clean);
}
