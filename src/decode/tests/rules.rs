//! Items of the protocol rules that need only a message or two.

use super::*;

/// One v5 row with `edit` applied.
fn v5_row(uptime: u32, edit: impl Fn(&mut [u8])) -> FlowRecord {
    let mut octets = v5(1, 1, 0);
    octets[4..8].copy_from_slice(&uptime.to_be_bytes());
    edit(&mut octets[24..]);
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V5, 0x0102);
    assert_eq!(bench.decode(&domain, &octets).records, 1);
    *bench.last()
}

fn stamps(row: &mut [u8], first: u32, last: u32) {
    row[24..28].copy_from_slice(&first.to_be_bytes());
    row[28..32].copy_from_slice(&last.to_be_bytes());
}

const HEADER_MS: u64 = EXPORT_S as u64 * 1_000 + 500;

#[test]
fn v5_06_07_stamps_that_wrap_run_ahead_swap_or_are_not_set() {
    let r = v5_row(1_000, |row| stamps(row, 0xFFFF_FC18, 500));
    assert_eq!((r.start_ms, r.end_ms), (HEADER_MS - 2_000, HEADER_MS - 500));
    let r = v5_row(66_892_000, |row| stamps(row, 66_890_000, 66_892_160));
    assert_eq!((r.start_ms, r.end_ms), (HEADER_MS - 2_000, HEADER_MS + 160));
    assert!(r.has(Presence::AHEAD_OF_UPTIME));
    let r = v5_row(100_000, |row| stamps(row, 99_000, 98_000));
    assert_eq!((r.start_ms, r.end_ms), (HEADER_MS - 2_000, HEADER_MS - 2_000));
    assert!(r.has(Presence::BAD_TIMES));
    let r = v5_row(4_000_000, |row| stamps(row, 0, 0));
    assert_eq!((r.start_ms, r.end_ms, r.has(Presence::TIMES)), (HEADER_MS, HEADER_MS, false));
}

#[test]
fn v5_10_11_icmp_pads_and_unknown_masks() {
    let r = v5_row(100_000, |row| {
        row[32..36].copy_from_slice(&[0, 0, 3, 1]);
        (row[36], row[46], row[47]) = (0xFF, 0xFF, 0xFF);
        row[38] = 1;
        row[40..46].fill(0);
    });
    assert_eq!((r.icmp_type, r.icmp_code, r.dst_port), (3, 1, 0x0301));
    assert!(r.has(Presence::ICMP) && !r.presence.has_any(Presence::SRC_MASK.with(Presence::DST_MASK)));
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

#[test]
fn ix_07_options_template_its_data_template_and_data_in_one_message() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    let options = words(&[300, 3, 1, 149, 4, 305, 4, 306, 4]);
    let entry = [1_u32, 1, 999].map(u32::to_be_bytes).concat();
    let sets = [set(3, &options), set(300, &entry), set(2, &template(256, &TEMPLATE)), set(256, &rows([1]))];
    let outcome = bench.decode(&domain, &ipfix(1, 1, &sets));
    assert_eq!((outcome.records, outcome.options_records, outcome.sets_templates), (1, 1, 2));
    assert_eq!((bench.last().rate(), bench.last().sampling_source), (1_000, SamplingSource::Domain));
}

#[test]
fn ix_23_options_of_domain_0_hold_for_the_exporter() {
    let mut bench = Bench::new();
    let (zero, seven) = (bench.domain(Version::Ipfix, 0), bench.domain(Version::Ipfix, 7));
    let options = words(&[300, 2, 1, 144, 4, 34, 4]);
    bench.decode(&zero, &ipfix(0, 1, &[set(3, &options), set(300, &[0, 0, 0, 1, 0, 0, 0, 50])]));
    bench.decode(&seven, &ipfix(7, 1, &[set(2, &template(256, &TEMPLATE)), set(256, &rows([1]))]));
    assert_eq!((bench.last().rate(), bench.last().sampling_source), (50, SamplingSource::Exporter));
}

#[test]
fn ix_13_14_a_withdrawal_over_udp_changes_nothing() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    let sets = [set(2, &template(256, &TEMPLATE)), set(2, &words(&[256, 0])), set(2, &words(&[2, 0]))];
    bench.decode(&domain, &ipfix(1, 1, &sets));
    assert_eq!(bench.decode(&domain, &ipfix(1, 1, &[set(256, &rows([1]))])).records, 1);
}

#[test]
fn t_2_t_3_times_of_ipfix_without_absolute_stamps() {
    let export_ms = u64::from(EXPORT_S) * 1_000;
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    let uptimes = [5_000_u32, 8_000].map(u32::to_be_bytes).concat();
    bench.decode(&domain, &ipfix(1, 1, &[set(2, &template(256, &[22, 4, 21, 4])), set(256, &uptimes)]));
    assert_eq!((bench.last().start_ms, bench.last().end_ms), (export_ms - 3_000, export_ms), "the length is known");
    // The boot time, told by an option.
    let options = words(&[300, 2, 1, 149, 4, 160, 8]);
    let entry = [&[0, 0, 0, 1][..], &(export_ms - 10_000).to_be_bytes()].concat();
    bench.decode(&domain, &ipfix(1, 2, &[set(3, &options), set(300, &entry), set(256, &uptimes)]));
    assert_eq!((bench.last().start_ms, bench.last().end_ms), (export_ms - 5_000, export_ms - 2_000));
    let deltas = [1_500_000_u32, 500_000].map(u32::to_be_bytes).concat();
    bench.decode(&domain, &ipfix(1, 3, &[set(2, &template(257, &[158, 4, 159, 4])), set(257, &deltas)]));
    assert_eq!((bench.last().start_ms, bench.last().end_ms), (export_ms - 1_500, export_ms - 500));
}
