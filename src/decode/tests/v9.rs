//! What holds for NetFlow v9: templates, sets, lengths.

use super::*;

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
fn n9_02_the_count_of_the_header_decides_nothing() {
    for count in [0_u16, 1, 2, 3, 65_535] {
        let mut bench = Bench::new();
        let domain = bench.domain(Version::V9, 7);
        let mut octets = v9(7, 1, &[set(0, &template(256, &TEMPLATE)), set(256, &rows([1, 2]))]);
        octets[2..4].copy_from_slice(&count.to_be_bytes());
        assert_eq!(bench.decode(&domain, &octets).records, 2, "{count}");
    }
}

#[test]
fn n9_03_05_06_filler_reserved_and_empty_sets() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    let sets = [set(0, &template(256, &TEMPLATE)), set(2, &template(257, &TEMPLATE)), set(256, &[]), set(0, &[])];
    let mut octets = v9(7, 1, &sets);
    octets.extend(set(256, &rows([1])));
    octets.extend([0; 1_400]);
    let outcome = bench.decode(&domain, &octets);
    assert_eq!((outcome.sets_seen, outcome.sets_templates, outcome.sets_decoded, outcome.records), (5, 2, 2, 1));
    assert_eq!(outcome.sets_dropped[SetDropKind::ReservedId as usize], 1);
    assert_eq!(outcome.sets_dropped.iter().sum::<u32>(), 1);
    assert!(domain.plan(257).is_none(), "set id 2 is no template set in v9");
}

#[test]
fn n9_11_variable_length_in_v9() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    let body = [&[3, b'e', b't', b'h'][..], &words(&[80]), &[0], &words(&[443])].concat();
    let learn = set(0, &template(256, &[82, 0xFFFF, 11, 2]));
    assert_eq!(bench.decode(&domain, &v9(7, 1, &[learn, set(256, &body)])).records, 2);
    assert_eq!(bench.last().dst_port, 443);
    let outcome = bench.decode(&domain, &v9(7, 2, &[set(256, &[200, 1, 2, 3, 4])]));
    assert_eq!((outcome.records, outcome.sets_dropped[SetDropKind::BadRecord as usize]), (0, 1));
}

#[test]
fn n9_21_22_scope_types_are_no_field_types_and_options_no_flows() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    // Scope Interface (2, which as a field would be packets), 4 octets; then 34 and 35.
    let options = words(&[257, 4, 8, 2, 4, 34, 4, 35, 1]);
    let entry = [&5_u32.to_be_bytes()[..], &64_u32.to_be_bytes(), &[2]].concat();
    let outcome = bench.decode(&domain, &v9(7, 1, &[set(1, &options), set(257, &entry)]));
    assert_eq!((outcome.records, outcome.options_records, bench.batch.len()), (0, 1, 0));
    let fields = template(256, &[10, 4, 7, 2]);
    let body = [&5_u32.to_be_bytes()[..], &words(&[1]), &6_u32.to_be_bytes(), &words(&[2])].concat();
    bench.decode(&domain, &v9(7, 2, &[set(0, &fields), set(256, &body)]));
    let rates: Vec<_> = bench.batch.records.iter().map(|r| (r.rate(), r.sampling_source)).collect();
    assert_eq!(rates, [(64, SamplingSource::Interface), (1, SamplingSource::Unknown)]);
}
