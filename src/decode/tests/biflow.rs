//! Records that tell both directions (RFC 5103).

use super::list::{REVERSE, fields};
use super::*;

/// Addresses, ports, interfaces, flags, counters and millisecond stamps of both directions.
fn biflow_template() -> Vec<u8> {
    let forward = [8, 12, 7, 11, 10, 14, 4, 6, 1, 2, 152, 153].map(|id| (0, id, length(id)));
    let reverse = [1, 2, 6, 152].map(|id| (REVERSE, id, length(id)));
    fields(256, &[&forward[..], &reverse[..]].concat())
}

fn length(id: u16) -> u16 {
    match id {
        7 | 11 | 10 | 14 => 2,
        4 | 6 => 1,
        1 | 2 | 152 | 153 => 8,
        _ => 4,
    }
}

fn biflow(reverse_octets: u64, reverse_packets: u64) -> Vec<u8> {
    let mut octets = vec![10, 0, 0, 1, 10, 0, 0, 2];
    octets.extend(words(&[40_000, 443, 7, 9]));
    octets.extend([6, 0x1b]);
    for value in [1_000, 10, 1_700_000_000_000_u64, 1_700_000_005_000] {
        octets.extend(value.to_be_bytes());
    }
    for value in [reverse_octets, reverse_packets] {
        octets.extend(value.to_be_bytes());
    }
    octets.push(0x13);
    octets.extend(1_700_000_000_020_u64.to_be_bytes());
    octets
}

#[test]
fn ix_37_a_biflow_becomes_two_rows_and_each_has_its_own_side() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    let message = ipfix(1, 0, &[set(2, &biflow_template()), set(256, &[biflow(5_000, 40), biflow(0, 0)].concat())]);
    let outcome = bench.decode(&domain, &message);
    assert_eq!((outcome.records, outcome.sets_decoded), (3, 1));
    assert_eq!(outcome.sequence.and_then(|s| s.units), Some(2), "IPFIX counts records, not rows");
    let [forward, reverse, alone] = bench.batch.records[..] else { panic!("three rows") };
    assert_eq!((forward.src_ip(), forward.dst_ip()), (reverse.dst_ip(), reverse.src_ip()));
    assert_eq!((forward.src_port, forward.dst_port), (reverse.dst_port, reverse.src_port));
    assert_eq!((forward.input_if, forward.output_if, reverse.input_if, reverse.output_if), (7, 9, 9, 7));
    assert_eq!((forward.bytes, forward.packets, forward.tcp_flags), (1_000, 10, 0x1b));
    assert_eq!((reverse.bytes, reverse.packets, reverse.tcp_flags), (5_000, 40, 0x13));
    assert_eq!((reverse.start_ms, reverse.end_ms), (1_700_000_000_020, 1_700_000_005_000));
    assert_eq!((reverse.exporter, reverse.template_id, reverse.version), (forward.exporter, 256, Version::Ipfix));
    assert!(reverse.has(Presence::REVERSE) && !forward.has(Presence::REVERSE));
    assert_eq!(alone.bytes, 1_000, "nothing came back: one row");
}

#[test]
fn ix_37_without_reverse_counters_there_is_one_row() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    let template = fields(256, &[(0, 8, 4), (0, 12, 4), (0, 1, 4), (REVERSE, 6, 1), (REVERSE, 148, 4)]);
    let outcome = bench.decode(&domain, &ipfix(1, 0, &[set(2, &template), set(256, &[1; 17])]));
    assert_eq!(outcome.records, 1);
}

#[test]
fn ix_37_the_wire_view_keeps_one_row_a_record() {
    let mut bench = Bench::with(DecodeSettings { selection: Selection::WIRE, ..DecodeSettings::default() });
    let domain = bench.domain(Version::Ipfix, 1);
    let message = ipfix(1, 0, &[set(2, &biflow_template()), set(256, &biflow(5_000, 40))]);
    assert_eq!(bench.decode(&domain, &message).records, 1);
    let reverse = |(value, _): &(&crate::flow::ElementValue, &[u8])| value.element.pen == REVERSE;
    assert_eq!(bench.batch.elements_of(0).filter(reverse).count(), 4);
}

#[test]
fn ix_37_of_variable_length_and_of_certs_numbers() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    // YAF reverses its own elements by bit 14: they feed no field, so IANA's reverse counter is what makes the row.
    let template =
        fields(256, &[(0, 8, 4), (0, 12, 4), (0, 1, 4), (0, 82, 0xFFFF), (6_871, 14 | 0x4000, 1), (REVERSE, 1, 4)]);
    let mut record = vec![10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0, 5, 3];
    record.extend(b"eth");
    record.extend([9, 0, 0, 0, 6]);
    let outcome = bench.decode(&domain, &ipfix(1, 0, &[set(2, &template), set(256, &record)]));
    assert_eq!(outcome.records, 2);
    assert_eq!((bench.batch.records[0].bytes, bench.batch.records[1].bytes), (5, 6));
    assert_eq!(bench.batch.records[1].src_ip(), bench.batch.records[0].dst_ip());
}

#[test]
fn a_5_biflows_do_not_double_the_rows_of_a_message() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    let template = fields(256, &[(0, 4, 1), (REVERSE, 1, 1)]);
    let octets = vec![1; 2 * (limits::ROWS_PER_MESSAGE_MAX / 2 + 10)];
    let outcome = bench.decode(&domain, &ipfix(1, 0, &[set(2, &template), set(256, &octets)]));
    assert_eq!(outcome.records as usize, limits::ROWS_PER_MESSAGE_MAX);
    assert_eq!(outcome.sets_dropped[SetDropKind::TooManyRows as usize], 1);
    assert_eq!(bench.batch.records.len(), limits::ROWS_PER_MESSAGE_MAX);
}
