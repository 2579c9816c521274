//! What the encoder was given comes out of the decoder.

use std::net::IpAddr;

use clarion_collector::flow::{FlowRecord, Presence, SamplingSource, Version};
use proptest::prelude::*;

use super::Bench;
use super::encode::{
    Field, Head, NSEL, Row, VARIABLE, address, basic_list, enterprise, field, frame, integer, ip, multi_list, nsel,
    record, reverse, set, sub_template_list, transport, variable_long,
};

fn row() -> impl Strategy<Value = Row> {
    let head = Head::new(Version::V5, 0);
    let age = 1_u32..3_600_000;
    (
        any::<([[u8; 4]; 3], [u16; 2], [u32; 2], [u16; 2], [u8; 3], [u16; 2])>(),
        (age.clone(), age).prop_map(move |(a, b)| [head.uptime_ms - a.max(b), head.uptime_ms - a.min(b)]),
        [0_u8..=32, 0..=32],
    )
        .prop_map(|((addresses, interfaces, counters, ports, octets, systems), stamps, masks)| Row {
            addresses,
            interfaces,
            counters,
            stamps,
            ports,
            octets,
            systems,
            masks,
        })
}

/// The row as the fixed formats have it, out of a record.
fn as_row(record: &FlowRecord, head: &Head) -> Row {
    let first = |octets: &[u8; 16]| [octets[0], octets[1], octets[2], octets[3]];
    let stamp = |ms: u64| head.uptime_ms - (u64::from(head.export_s) * 1_000 - ms) as u32;
    Row {
        addresses: [first(&record.src), first(&record.dst), first(&record.next_hop)],
        interfaces: [record.input_if as u16, record.output_if as u16],
        counters: [record.packets as u32, record.bytes as u32],
        stamps: [stamp(record.start_ms), stamp(record.end_ms)],
        ports: [record.src_port, record.dst_port],
        octets: [record.tcp_flags as u8, record.protocol, record.tos],
        systems: [record.src_as as u16, record.dst_as as u16],
        masks: [record.src_mask, record.dst_mask],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn fixed_formats_come_back(
        rows in prop::collection::vec(row(), 1..24),
        version in prop::sample::select(vec![Version::V1, Version::V5, Version::V7]),
        sampling in 0..0x4000_u16,
    ) {
        let head = Head { sampling, ..Head::new(version, 0x0102) };
        let mut bench = Bench::new(version);
        let outcome = bench.decode(&head.rows(&rows));
        prop_assert_eq!((outcome.rejected, outcome.records as usize), (None, rows.len()));
        for (found, sent) in bench.rows().iter().zip(&rows) {
            let sent = if version == Version::V1 { Row { systems: [0; 2], masks: [0; 2], ..*sent } } else { *sent };
            prop_assert_eq!(as_row(found, &head), sent);
            let rate = if version == Version::V5 { u32::from(sampling).max(1) } else { 1 };
            prop_assert_eq!(found.rate(), rate);
        }
    }

    #[test]
    fn templates_and_records_come_back(
        v9 in any::<bool>(),
        flows in prop::collection::vec(any::<(u32, u32, u16, u16, u8, u64, u32)>(), 1..60),
        names in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 60),
        widths in [4_usize..=8, 4..=8],
    ) {
        let version = if v9 { Version::V9 } else { Version::Ipfix };
        let head = Head::new(version, 1);
        let mut fields = vec![
            field(8, 4), field(12, 4), field(7, 2), field(11, 2), field(4, 1), field(1, 8), field(2, widths[0] as u16),
        ];
        if !v9 {
            fields.extend([field(82, VARIABLE), enterprise(9, 1232, 2), field(210, widths[1] as u16)]);
        }
        let body = flows.iter().zip(&names).flat_map(|((src, dst, sport, dport, protocol, bytes, packets), name)| {
            let mut values = vec![
                src.to_be_bytes().to_vec(), dst.to_be_bytes().to_vec(), sport.to_be_bytes().to_vec(),
                dport.to_be_bytes().to_vec(), vec![*protocol], bytes.to_be_bytes().to_vec(),
                integer(u64::from(*packets), widths[0]),
            ];
            values.extend([name.clone(), sport.to_be_bytes().to_vec(), vec![0; widths[1]]]);
            record(&fields, &values)
        });
        let sets = [head.templates(&[head.template(300, &fields)]), set(300, &body.collect::<Vec<u8>>())];
        let mut bench = Bench::new(version);
        bench.decode(&head.message(flows.len() as u16 + 1, &sets));
        let found: Vec<_> = bench.rows().iter().map(|r| {
            let v4 = |octets: &[u8; 16]| u32::from_be_bytes([octets[0], octets[1], octets[2], octets[3]]);
            (v4(&r.src), v4(&r.dst), r.src_port, r.dst_port, r.protocol, r.bytes, r.packets as u32)
        }).collect();
        prop_assert_eq!(found, flows);
        for row in bench.rows() {
            prop_assert_eq!(row.has(Presence::SRC_SGT), !v9);
            prop_assert!(v9 || row.src_sgt == row.src_port);
        }
    }

    #[test]
    fn sampled_packets_come_back(
        v6 in any::<bool>(),
        ends in any::<([u8; 16], [u8; 16])>(),
        ports in any::<[u16; 2]>(),
        protocol in prop::sample::select(vec![6_u8, 17, 132]),
        vlans in prop::collection::vec(1..4_096_u16, 0..4),
        labels in prop::collection::vec(16..0x10_0000_u32, 0..4),
        extensions in 0..4_usize,
        tos in any::<u8>(),
        macs in any::<[[u8; 6]; 2]>(),
    ) {
        let end = |o: [u8; 16]| if v6 { IpAddr::from(o) } else { IpAddr::from([o[0], o[1], o[2], o[3]]) };
        let (src, dst) = (end(ends.0), end(ends.1));
        let payload = transport(protocol, ports, 0x12);
        let packet = ip(src, dst, protocol, tos, extensions, &payload);
        let octets = frame(macs, &vlans, &labels, &packet);
        let head = Head::new(Version::Ipfix, 1);
        let fields = [field(312, 2), field(315, VARIABLE)];
        let body = record(&fields, &[integer(octets.len() as u64, 2), octets]);
        let mut bench = Bench::new(Version::Ipfix);
        bench.decode(&head.message(0, &[head.templates(&[head.template(256, &fields)]), set(256, &body)]));
        prop_assert_eq!(bench.rows().len(), 1);
        let row = &bench.rows()[0];
        prop_assert_eq!((row.src_ip(), row.dst_ip()), (Some(src), Some(dst)));
        prop_assert_eq!((row.protocol, row.tos, row.src_port, row.dst_port), (protocol, tos, ports[0], ports[1]));
        prop_assert_eq!((row.packets, row.bytes), (1, packet.len() as u64));
        prop_assert_eq!((row.src_mac, row.dst_mac), (macs[0], macs[1]));
        prop_assert_eq!(row.has(Presence::VLAN).then_some(row.vlan), vlans.first().copied());
        prop_assert_eq!(row.tcp_flags, if protocol == 6 { 0x12 } else { 0 });
    }

    #[test]
    fn biflows_come_back(flows in prop::collection::vec((any::<[u32; 2]>(), any::<[u32; 2]>(), any::<[u16; 2]>()), 1..30)) {
        let head = Head::new(Version::Ipfix, 1);
        let fields = [
            field(8, 4), field(12, 4), field(7, 2), field(11, 2), field(1, 4), field(2, 4), reverse(1, 4), reverse(2, 4),
        ];
        let mut expected = Vec::new();
        let body = flows.iter().flat_map(|([there, back], [src, dst], [sport, dport])| {
            expected.push((*src, *dst, *sport, *dport, u64::from(*there)));
            if *back != 0 {
                expected.push((*dst, *src, *dport, *sport, u64::from(*back)));
            }
            let words = [src.to_be_bytes(), dst.to_be_bytes()].concat();
            let ports = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
            let counters = [there, there, back, back].map(|c| c.to_be_bytes()).concat();
            [words, ports, counters].concat()
        }).collect::<Vec<u8>>();
        let mut bench = Bench::new(Version::Ipfix);
        bench.decode(&head.message(0, &[head.templates(&[head.template(256, &fields)]), set(256, &body)]));
        let found: Vec<_> = bench.rows().iter().map(|r| {
            let v4 = |octets: &[u8; 16]| u32::from_be_bytes([octets[0], octets[1], octets[2], octets[3]]);
            (v4(&r.src), v4(&r.dst), r.src_port, r.dst_port, r.bytes)
        }).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn options_of_both_forms_come_back(v9 in any::<bool>(), sampler in 1..200_u8, rate in 2..16_777_215_u32) {
        let version = if v9 { Version::V9 } else { Version::Ipfix };
        let head = Head::new(version, 1);
        let (scopes, told) = match version {
            Version::V9 => (vec![field(1, 4)], vec![field(48, 1), field(50, 4)]),
            _ => (vec![field(302, 1), enterprise(9, 12_432, 4)], vec![field(305, 4), field(306, 4)]),
        };
        let record = match version {
            Version::V9 => [&[0, 0, 0, 0, sampler][..], &rate.to_be_bytes()].concat(),
            _ => [&[sampler, 0, 0, 0, 0, 0, 0, 0, 1][..], &(rate - 1).to_be_bytes()].concat(),
        };
        let flow = [field(8, 4), field(if v9 { 48 } else { 302 }, 1), field(1, 4)];
        let sets = [
            head.options_templates(&[head.options_template(300, &scopes, &told)]),
            set(300, &record),
            head.templates(&[head.template(256, &flow)]),
            set(256, &[10, 0, 0, 1, sampler, 0, 0, 1, 0]),
        ];
        let mut bench = Bench::new(version);
        let outcome = bench.decode(&head.message(4, &sets));
        prop_assert_eq!((outcome.options_records, outcome.records), (1, 1));
        let row = &bench.rows()[0];
        prop_assert_eq!((row.rate(), row.sampling_source), (rate, SamplingSource::Sampler));
    }
}

const INNER: [Field; 3] = [field(8, 4), field(12, 4), field(1, 4)];

fn inner(n: u8) -> Vec<u8> {
    [&[10, 0, 0, n, 10, 0, 1, n][..], &u32::from(n).to_be_bytes()].concat()
}

/// Lists of the three kinds: the flows in them are rows.
#[test]
fn lists_come_back() {
    let head = Head::new(Version::Ipfix, 1);
    let outer = [field(148, 8), field(291, VARIABLE), field(292, VARIABLE), field(293, VARIABLE)];
    let lists = [
        basic_list(3, field(14, 4), &[vec![0, 0, 0, 7]]),
        sub_template_list(3, 257, &[inner(1), inner(2)]),
        multi_list(3, &[(257, vec![inner(3)]), (257, vec![inner(4), inner(5)])]),
    ];
    let body = record(&outer, &[vec![vec![0; 8]], lists.to_vec()].concat());
    let templates = head.templates(&[head.template(256, &outer), head.template(257, &INNER)]);
    let mut bench = Bench::new(Version::Ipfix);
    let outcome = bench.decode(&head.message(0, &[templates, set(256, &body)]));
    assert_eq!(outcome.lists_unread, 0);
    let mut octets: Vec<u64> = bench.rows().iter().map(|r| r.bytes).collect();
    octets.sort_unstable();
    assert_eq!(octets, [1, 2, 3, 4, 5]);
    let out: Vec<u32> = bench.rows().iter().map(|r| r.output_if).collect();
    assert_eq!(out, [7, 0, 0, 0, 0], "a value of a list is the flow's round it");
}

/// A firewall's life of a connection: only the updates count.
#[test]
fn firewall_events_come_back() {
    for version in [Version::V9, Version::Ipfix] {
        let head = Head::new(version, 1);
        let at = u64::from(head.export_s) * 1_000;
        let events = [(1, [0, 0]), (5, [100, 10]), (5, [50, 5]), (2, [150, 15])];
        let body: Vec<u8> = events.iter().flat_map(|(event, octets)| nsel(7, *event, *octets, at)).collect();
        let mut bench = Bench::new(version);
        bench.decode(&head.message(5, &[head.templates(&[head.template(256, &NSEL)]), set(256, &body)]));
        let flows: Vec<u64> = bench.rows().iter().filter(|r| !r.has(Presence::EVENT)).map(|r| r.bytes).collect();
        assert_eq!(flows, [100, 10, 50, 5], "{version:?}");
    }
}

/// The long form of a length is as good as the short one, whatever the length.
#[test]
fn ix_10_both_forms_of_a_length_are_one() {
    let head = Head::new(Version::Ipfix, 1);
    let fields = [field(82, VARIABLE), field(1, 4)];
    for length in [0, 1, 3, 254, 255, 256, 65_000] {
        let long = [variable_long(&vec![b'x'; length]), vec![0, 0, 0, 9]].concat();
        let mut bench = Bench::new(Version::Ipfix);
        let sets = [head.templates(&[head.template(256, &fields)]), set(256, &long)];
        assert_eq!(bench.decode(&head.message(0, &sets)).records, 1, "{length}");
        assert_eq!(bench.rows()[0].bytes, 9);
        let short = record(&fields, &[vec![b'x'; length], vec![0, 0, 0, 8]]);
        assert_eq!(bench.decode(&head.message(0, &[set(256, &short)])).records, 1, "{length}");
    }
}

/// Addresses of both families through the encoder's own `address`.
#[test]
fn addresses_come_back() {
    let head = Head::new(Version::V9, 1);
    for text in ["192.0.2.7", "2001:db8::7", "::ffff:10.0.0.1"] {
        let sent: IpAddr = text.parse().unwrap();
        let fields = if sent.is_ipv4() { [field(8, 4)] } else { [field(27, 16)] };
        let mut bench = Bench::new(Version::V9);
        bench.decode(&head.message(1, &[head.templates(&[head.template(256, &fields)]), set(256, &address(sent))]));
        assert_eq!(bench.rows()[0].src_ip(), Some(sent), "ix_31: an IPv6 element holds an IPv6 address");
    }
}
