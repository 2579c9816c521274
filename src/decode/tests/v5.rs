//! NetFlow v5, field by field.

use super::*;

#[test]
fn v5_01_every_field_has_its_place() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V5, 0x0102);
    let outcome = bench.decode(&domain, &v5(1, 1, 0x4064));
    assert_eq!((outcome.records, outcome.sets_seen, outcome.sets_decoded), (1, 1, 1));
    let note = outcome.sequence.unwrap();
    assert_eq!((note.sequence, note.units, note.flows, note.port), (42, Some(1), None, 9_995));
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
