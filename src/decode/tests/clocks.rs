//! Times that cannot be: which clock stands in, and what is flagged.

use super::semantics::{Shape, row_of, rows_of};
use super::*;
use proptest::prelude::*;

const EXPORT_MS: u64 = EXPORT_S as u64 * 1_000;
const RECEIVE_MS: u64 = RECEIVE_NS / 1_000_000;
const DAY_MS: u64 = 86_400_000;
const NTP_UNIX_S: u64 = 2_208_988_800;

fn ntp(unix_s: u64) -> u64 {
    unix_s.wrapping_add(NTP_UNIX_S) << 32
}

/// Stamps that cannot be: 1970, 2106, the year 457,400, and the ends of the range.
const IMPOSSIBLE_MS: [u64; 5] = [1, 4_294_967_295_000, 14_372_000_000_000_000, 0, u64::MAX];

#[test]
fn t_1_the_finest_plausible_clock_wins() {
    let real = |shape: Shape| shape.u32(150, EXPORT_S - 9).u32(151, EXPORT_S - 3);
    for bad in IMPOSSIBLE_MS {
        let row = row_of(&real(Shape::new().u64(152, bad).u64(153, bad)));
        assert_eq!((row.start_ms, row.end_ms), (EXPORT_MS - 9_000, EXPORT_MS - 3_000), "{bad}");
        assert_eq!((row.time_source, row.has(Presence::BAD_TIMES)), (TimeSource::Seconds, true), "{bad}");
    }
    let row = row_of(&real(Shape::new().u64(152, EXPORT_MS - 8_500).u64(153, EXPORT_MS - 3_500)));
    assert_eq!(
        (row.start_ms, row.end_ms, row.time_source),
        (EXPORT_MS - 8_500, EXPORT_MS - 3_500, TimeSource::Milliseconds)
    );
    assert!(!row.has(Presence::BAD_TIMES));
}

#[test]
fn t_1_each_of_the_twelve_clocks_is_read_and_stands_in() {
    use TimeSource as T;
    let at = EXPORT_S - 5;
    let shapes = [
        (Shape::new().u64(156, ntp(at.into())).u64(157, ntp(at.into())), T::Nanoseconds),
        (Shape::new().u64(154, ntp(at.into())).u64(155, ntp(at.into())), T::Microseconds),
        (Shape::new().u64(152, EXPORT_MS - 5_000).u64(153, EXPORT_MS - 5_000), T::Milliseconds),
        (Shape::new().u32(150, at).u32(151, at), T::Seconds),
        (Shape::new().u64(160, EXPORT_MS - 60_000).u32(22, 55_000).u32(21, 55_000), T::SysUptime),
        (Shape::new().u32(158, 5_000_000).u32(159, 5_000_000), T::Delta),
        (Shape::new().u64(325, ntp(at.into())), T::Observation),
        (Shape::new().u64(324, ntp(at.into())), T::Observation),
        (Shape::new().u64(323, EXPORT_MS - 5_000), T::Observation),
        (Shape::new().u32(322, at), T::Observation),
    ];
    for (shape, source) in shapes {
        let row = row_of(&shape);
        assert_eq!((row.start_ms, row.end_ms, row.time_source), (EXPORT_MS - 5_000, EXPORT_MS - 5_000, source));
        assert!(!row.has(Presence::BAD_TIMES) && row.has(Presence::TIMES));
        // A finer clock that cannot be, of another kind than the shape's own, in front of it.
        let finer = if source == T::Nanoseconds { continue } else { shape.u64(156, ntp(86_400)).u64(157, ntp(86_400)) };
        let row = row_of(&finer);
        assert_eq!((row.start_ms, row.end_ms, row.time_source), (EXPORT_MS - 5_000, EXPORT_MS - 5_000, source));
        assert!(row.has(Presence::BAD_TIMES) && row.has(Presence::TIMES));
    }
}

#[test]
fn t_1_without_a_plausible_one_the_header_speaks() {
    for bad in IMPOSSIBLE_MS {
        let row = row_of(&Shape::new().u64(152, bad).u64(153, bad));
        assert_eq!((row.start_ms, row.end_ms, row.time_source), (EXPORT_MS, EXPORT_MS, TimeSource::Header), "{bad}");
        assert!(row.has(Presence::BAD_TIMES) && !row.has(Presence::TIMES));
    }
    // Nor does the header's: it is 1970.
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    let mut message = ipfix(1, 0, &Shape::new().u64(152, 7).u64(153, 9).sets(256));
    message[4..8].copy_from_slice(&[0, 0, 0, 77]);
    bench.decode(&domain, &message);
    let row = bench.last();
    assert_eq!((row.start_ms, row.end_ms, row.time_source), (RECEIVE_MS, RECEIVE_MS, TimeSource::Receive));
    assert!(row.has(Presence::BAD_TIMES));
}

#[test]
fn t_1_one_end_that_cannot_be_takes_the_other() {
    let row = row_of(&Shape::new().u64(152, 0).u64(153, EXPORT_MS - 10));
    assert_eq!((row.start_ms, row.end_ms, row.has(Presence::BAD_TIMES)), (EXPORT_MS - 10, EXPORT_MS - 10, true));
    let row = row_of(&Shape::new().u64(152, EXPORT_MS - 20).u64(153, u64::MAX));
    assert_eq!((row.start_ms, row.end_ms, row.has(Presence::BAD_TIMES)), (EXPORT_MS - 20, EXPORT_MS - 20, true));
    let row = row_of(&Shape::new().u64(152, EXPORT_MS - 20).u64(153, u64::MAX).u32(161, 15));
    assert_eq!((row.start_ms, row.end_ms), (EXPORT_MS - 20, EXPORT_MS - 5), "a duration fills in");
    // A duration of months makes a start that cannot be.
    let row = row_of(&Shape::new().u64(153, EXPORT_MS).u32(161, u32::MAX));
    assert_eq!((row.start_ms, row.end_ms, row.has(Presence::BAD_TIMES)), (EXPORT_MS, EXPORT_MS, true));
    let row = row_of(&Shape::new().u32(161, u32::MAX));
    assert_eq!((row.start_ms, row.end_ms, row.time_source), (EXPORT_MS, EXPORT_MS, TimeSource::Header));
}

#[test]
fn t_1_in_records_of_variable_length_and_among_good_ones() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    let fields = template(256, &[8, 4, 82, 0xFFFF, 152, 8, 153, 8, 150, 4]);
    let row =
        |ms: u64| [&[10, 0, 0, 1, 2, 7, 7][..], &ms.to_be_bytes(), &ms.to_be_bytes(), &EXPORT_S.to_be_bytes()].concat();
    let body = [row(EXPORT_MS + 1), row(3), row(EXPORT_MS + 2)].concat();
    bench.decode(&domain, &ipfix(1, 0, &[set(2, &fields), set(256, &body)]));
    let starts: Vec<_> =
        bench.batch.records.iter().map(|r| (r.start_ms - EXPORT_MS, r.has(Presence::BAD_TIMES))).collect();
    assert_eq!(starts, [(1, false), (0, true), (2, false)]);
    // The same in records of fixed length, more than one column takes at once.
    let fields = template(257, &[152, 8, 153, 8, 150, 4]);
    let row = |ms: u64| [ms.to_be_bytes().as_slice(), &ms.to_be_bytes(), &EXPORT_S.to_be_bytes()].concat();
    let body: Vec<u8> = (0..50).flat_map(|i| row(if i % 7 == 3 { i } else { EXPORT_MS + i })).collect();
    bench.batch.clear();
    bench.decode(&domain, &ipfix(1, 0, &[set(2, &fields), set(257, &body)]));
    for (i, record) in (0_u64..).zip(&bench.batch.records) {
        let bad = i % 7 == 3;
        assert_eq!(record.start_ms, if bad { EXPORT_MS } else { EXPORT_MS + i }, "{i}");
        assert_eq!(record.has(Presence::BAD_TIMES), bad, "{i}");
    }
}

#[test]
fn t_1_a_capture_and_the_wire_keep_what_came() {
    for selection in [Selection::CAPTURE, Selection::WIRE] {
        let row = rows_of(
            &Shape::new().u64(152, 77_000).u64(153, 78_000),
            DecodeSettings { selection, ..DecodeSettings::default() },
        )[0];
        assert_eq!((row.start_ms, row.end_ms, row.has(Presence::BAD_TIMES)), (77_000, 78_000, false));
    }
}

#[test]
fn t_4_an_event_time_is_start_and_end() {
    let row = row_of(&Shape::new().u64(323, EXPORT_MS - 1));
    assert_eq!((row.start_ms, row.end_ms, row.time_source), (EXPORT_MS - 1, EXPORT_MS - 1, TimeSource::Observation));
}

#[test]
fn n9_30_a_frozen_header_clock_moves_what_hangs_on_it() {
    for header_s in [0, 3_600, EXPORT_S - 200_000, u32::MAX] {
        let mut bench = Bench::new();
        let domain = bench.domain(Version::V9, 1);
        let uptime = set(0, &template(256, &[8, 4, 22, 4, 21, 4]));
        let bare = set(0, &template(257, &[8, 4, 1, 4]));
        let absolute = set(0, &template(258, &[8, 4, 152, 8, 153, 8]));
        let stamps = [[10, 0, 0, 1], 3_590_000_u32.to_be_bytes(), 3_595_000_u32.to_be_bytes()].concat();
        let own = [&[10, 0, 0, 1][..], &EXPORT_MS.to_be_bytes(), &EXPORT_MS.to_be_bytes()].concat();
        let sets = [uptime, bare, absolute, set(256, &stamps), set(257, &[10, 0, 0, 1, 0, 0, 0, 1]), set(258, &own)];
        let mut message = v9(1, 0, &sets);
        message[8..12].copy_from_slice(&header_s.to_be_bytes());
        bench.decode(&domain, &message);
        let [uptime, bare, own] = bench.batch.records[..] else { panic!("three rows") };
        assert_eq!((uptime.start_ms, uptime.end_ms), (RECEIVE_MS - 10_000, RECEIVE_MS - 5_000), "{header_s}");
        assert_eq!((uptime.time_source, uptime.has(Presence::BAD_TIMES)), (TimeSource::SysUptime, true));
        assert_eq!(
            (bare.start_ms, bare.time_source, bare.has(Presence::BAD_TIMES)),
            (RECEIVE_MS, TimeSource::Receive, true)
        );
        assert_eq!((own.start_ms, own.has(Presence::BAD_TIMES)), (EXPORT_MS, false), "it has clocks of its own");
    }
}

#[test]
fn n9_30_fixed_records_and_captures() {
    let mut octets = v5(1, 1, 0);
    octets[8..12].copy_from_slice(&1_000_000_000_u32.to_be_bytes());
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V5, 0);
    bench.decode(&domain, &octets);
    let row = bench.last();
    assert_eq!(
        (row.start_ms, row.end_ms, row.has(Presence::BAD_TIMES)),
        (RECEIVE_MS - 2_000, RECEIVE_MS - 1_000, true)
    );
    // A flow that began three weeks ago by a clock that is right.
    let mut octets = v5(1, 1, 0);
    octets[4..8].copy_from_slice(&u32::try_from(30 * DAY_MS).unwrap().to_be_bytes());
    octets[24 + 24..24 + 28].copy_from_slice(&u32::try_from(9 * DAY_MS).unwrap().to_be_bytes());
    octets[24 + 28..24 + 32].copy_from_slice(&u32::try_from(30 * DAY_MS).unwrap().to_be_bytes());
    bench.decode(&domain, &octets);
    assert_eq!((bench.last().start_ms, bench.last().end_ms), (EXPORT_MS + 500, EXPORT_MS + 500));
    let mut capture = Bench::with(DecodeSettings { selection: Selection::CAPTURE, ..DecodeSettings::default() });
    let domain = capture.domain(Version::V5, 0);
    capture.decode(&domain, &octets);
    assert_eq!(capture.last().start_ms, EXPORT_MS + 500 - 21 * DAY_MS);
}

#[test]
fn t_1_a_header_some_hours_fast_keeps_the_length_of_its_flows() {
    let mut octets = v5(1, 1, 0);
    octets[8..12].copy_from_slice(&(EXPORT_S + 7_200).to_be_bytes());
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V5, 0);
    bench.decode(&domain, &octets);
    let row = bench.last();
    assert_eq!((row.end_ms - row.start_ms, row.has(Presence::BAD_TIMES)), (1_000, false));
    assert_eq!(row.end_ms, EXPORT_MS + 7_200_000 + 500 - 1_000);
}

proptest! {
    /// Whatever an exporter sends as times: a row ends after it began, and both are about now.
    #[test]
    fn t_1_a_16_no_row_is_far_from_its_receive_time(
        header_s in prop_oneof![any::<u32>(), Just(EXPORT_S), EXPORT_S - 100_000..EXPORT_S + 100_000],
        fields in prop::collection::vec(
            (prop_oneof![21_u16..=22, 150_u16..=162, 322_u16..=325],
             prop_oneof![any::<u64>(), EXPORT_MS - 100_000..EXPORT_MS + 100_000, Just(0)]),
            0..8,
        ),
    ) {
        let shape = fields.into_iter().fold(Shape::new(), |shape, (id, value)| match id {
            21 | 22 | 150 | 151 | 158 | 159 | 161 | 162 | 322 => {
                shape.u32(id, u32::try_from((value / 1_000) & 0xFFFF_FFFF).unwrap())
            }
            _ => shape.u64(id, value),
        });
        for version in [Version::Ipfix, Version::V9] {
            let mut bench = Bench::new();
            let domain = bench.domain(version, 1);
            let [template, record] = shape.sets(256);
            let mut message = match version {
                Version::V9 => v9(1, 0, &[[&[0, 0], &template[2..]].concat(), record]),
                _ => ipfix(1, 0, &[template, record]),
            };
            let at = if version == Version::V9 { 8 } else { 4 };
            message[at..at + 4].copy_from_slice(&header_s.to_be_bytes());
            bench.decode(&domain, &message);
            let row = bench.last();
            prop_assert!(row.start_ms <= row.end_ms);
            prop_assert!(row.start_ms >= RECEIVE_MS - 8 * DAY_MS && row.end_ms <= RECEIVE_MS + DAY_MS + 3_600_000);
        }
    }
}
