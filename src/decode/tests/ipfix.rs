//! What holds for IPFIX: framing, variable lengths, enterprise elements, options; sampling by options of both.

use super::*;

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
        let chosen = DecodeSettings { sampling_override: over, sampling_default: default, ..DecodeSettings::default() };
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
