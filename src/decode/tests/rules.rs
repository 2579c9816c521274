//! Rules of the message formats that no other file has a test of: each by its id.

use super::*;

/// What records of `fields` come to, in IPFIX.
fn ipfix_rows(fields: &[u16], body: &[u8]) -> (Outcome, Vec<FlowRecord>) {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    let outcome = bench.decode(&domain, &ipfix(1, 1, &[set(2, &template(256, fields)), set(256, body)]));
    (outcome, bench.batch.records)
}

#[test]
fn g_08_of_repeated_elements_the_first_counts_and_all_are_kept() {
    let fields = [8, 4, 8, 4, 210, 3, 1, 2, 210, 1, 1, 2];
    let body = [10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0, 0, 5, 0, 0, 6];
    let (_, rows) = ipfix_rows(&fields, &body);
    assert_eq!((rows[0].src_ip(), rows[0].bytes), (Some("10.0.0.1".parse().unwrap()), 5));
    let mut bench = Bench::with(DecodeSettings { selection: Selection::WIRE, ..DecodeSettings::default() });
    let domain = bench.domain(Version::Ipfix, 1);
    bench.decode(&domain, &ipfix(1, 1, &[set(2, &template(256, &fields)), set(256, &body)]));
    let kept: Vec<_> = bench.batch.elements_of(0).map(|(e, octets)| (e.element.id, octets.len())).collect();
    assert_eq!(kept, [(8, 4), (8, 4), (210, 3), (1, 2), (210, 1), (1, 2)]);
}

#[test]
fn v5_09_12_sixteen_bit_numbers_and_full_counters_survive() {
    let mut octets = v5(1, 1, 0x3FFF);
    octets[24 + 12..24 + 16].fill(0xFF);
    octets[24 + 16..24 + 24].fill(0xFF);
    octets[24 + 40..24 + 44].copy_from_slice(&words(&[23_456, 0xFFFF]));
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V5, 0x0102);
    bench.decode(&domain, &octets);
    let r = bench.last();
    assert_eq!((r.input_if, r.output_if, r.src_as, r.dst_as), (0xFFFF, 0xFFFF, 23_456, 0xFFFF));
    assert_eq!((r.bytes, r.packets, r.rate()), (0xFFFF_FFFF, 0xFFFF_FFFF, 16_383));
}

#[test]
fn v1_01_twenty_four_rows_and_no_more() {
    for (count, rows) in [(1, 1), (24, 24), (25, 0), (0, 0)] {
        let mut octets = words(&[1, count]);
        octets.extend([100_000, EXPORT_S, 0].map(u32::to_be_bytes).concat());
        let row = [&[10; 36][..], &[0, 0, 17, 3, 0x12], &[0; 7]].concat();
        octets.extend(row.repeat(count.into()));
        let mut bench = Bench::new();
        let domain = bench.domain(Version::V1, 0);
        let outcome = bench.decode(&domain, &octets);
        assert_eq!((outcome.records, outcome.rejected.is_none()), (rows, rows != 0), "{count}");
        if rows != 0 {
            assert_eq!((bench.last().protocol, bench.last().tos, bench.last().tcp_flags), (17, 3, 0x12));
        }
    }
}

#[test]
fn v8_01_aggregates_are_recognised_and_not_decoded() {
    assert_eq!(identify(&words(&[8; 30])).unwrap_err().kind, DecodeErrorKind::NotDecoded);
}

#[test]
fn n9_01_ix_01_ix_08_headers_by_their_octets() {
    let octets = [0, 9, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4];
    let header = identify(&octets).unwrap();
    assert_eq!((header.count_or_length, header.sys_uptime_ms, header.export_ms), (3, 1, 2_000));
    assert_eq!((header.sequence, header.observation_domain), (3, 4));
    let octets = [0, 10, 0, 16, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 3, 0, 0, 0, 4];
    let header = identify(&octets).unwrap();
    assert_eq!((header.count_or_length, header.export_ms), (16, u64::from(u32::MAX) * 1_000));
    assert_eq!((header.sequence, header.observation_domain), (3, 4));
}

/// What is left in the set is padding, whatever its parity; records follow each other.
#[test]
fn n9_20_padding_behind_options_templates() {
    for padding in 0..=5 {
        let records = [words(&[256, 4, 4, 1, 4, 34, 4]), words(&[257, 4, 4, 1, 4, 34, 4]), vec![0; padding]].concat();
        let mut bench = Bench::new();
        let domain = bench.domain(Version::V9, 1);
        let outcome = bench.decode(&domain, &v9(1, 1, &[set(1, &records), set(257, &[0, 0, 0, 0, 0, 0, 0, 9])]));
        assert_eq!((outcome.templates_learned, outcome.templates_rejected), (2, 0), "{padding}");
        assert_eq!(outcome.options_records, 1);
    }
}

/// 0, 1 and 4 to 255 say nothing in IPFIX, NetFlow v9's template sets among them; 2 and 3 say nothing in v9.
#[test]
fn ix_04_set_ids_that_say_nothing_are_skipped() {
    let fields = template(256, &TEMPLATE);
    for (version, ids) in [(Version::Ipfix, [0, 1, 4, 255]), (Version::V9, [2, 3, 4, 255])] {
        for id in ids {
            let mut bench = Bench::new();
            let domain = bench.domain(version, 1);
            let sets = [set(id, &fields), set(256, &row(1))];
            let outcome =
                bench.decode(&domain, &if version == Version::V9 { v9(1, 1, &sets) } else { ipfix(1, 1, &sets) });
            assert_eq!((outcome.templates_learned, outcome.records, outcome.sets_parked), (0, 0, 1), "{id}");
            assert_eq!(outcome.sets_dropped[SetDropKind::ReservedId as usize], 1);
        }
    }
}

#[test]
fn ix_05_what_is_shorter_than_a_record_is_padding() {
    for padding in 0..21 {
        let (outcome, rows) = ipfix_rows(&TEMPLATE, &[row(1), vec![0xEE; padding]].concat());
        assert_eq!((outcome.records, rows.len()), (1, 1), "{padding}");
    }
    for padding in 0..8 {
        let mut bench = Bench::new();
        let domain = bench.domain(Version::Ipfix, 1);
        let templates = [template(256, &TEMPLATE), vec![0xEE; padding]].concat();
        // Four octets and more could be another record's beginning: one that is refused costs nothing before it.
        bench.decode(&domain, &ipfix(1, 1, &[set(2, &templates), set(256, &row(1))]));
        assert_eq!(bench.batch.len(), 1, "{padding}");
    }
}

/// Integers shrink, addresses and stamps do not.
#[test]
fn ix_11_28_reduced_sizes() {
    for length in 1..=8_u16 {
        let body = [vec![0; usize::from(length) - 1], vec![200, 10, 0, 0, 1]].concat();
        let (_, rows) = ipfix_rows(&[1, length, 8, 4], &body);
        assert_eq!((rows[0].bytes, rows[0].src_ip()), (200, Some("10.0.0.1".parse().unwrap())), "{length}");
    }
    // A stamp of milliseconds in 4 octets is none; the row stays.
    let (_, rows) = ipfix_rows(&[152, 4, 1, 4], &[1; 8]);
    assert_eq!((rows.len(), rows[0].has(Presence::TIMES), rows[0].bytes), (1, false, 0x0101_0101));
}

#[test]
fn ix_19_kinds_of_templates_share_ids() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    let options = words(&[256, 2, 1, 144, 4, 34, 4]);
    let sets = [set(3, &options), set(2, &template(256, &TEMPLATE)), set(256, &row(1))];
    let outcome = bench.decode(&domain, &ipfix(1, 1, &sets));
    assert_eq!((outcome.records, outcome.options_records), (1, 0));
}

/// Padding elements of any length, anywhere.
#[test]
fn ix_36_padding_elements_are_dropped() {
    let fields = [210, 3, 8, 4, 210, 0xFFFF, 1, 2, 210, 1];
    let (_, rows) = ipfix_rows(&fields, &[9, 9, 9, 10, 0, 0, 1, 4, 9, 9, 9, 9, 1, 0, 9]);
    assert_eq!((rows[0].src_ip(), rows[0].bytes), (Some("10.0.0.1".parse().unwrap()), 256));
}
