//! Rules that stand above or between the others (steps, ports of ICMP, disagreement, reordering), and exporters as they
//! tell everything in one datagram.

use super::list::{REVERSE, data, fields, learned, multi, prefixed};
use super::*;
use crate::flow::{Field, FieldSet, Value};

const V: u16 = 0xFFFF;
const CISCO: u32 = 9;
const ALL: Selection = Selection { fields: FieldSet::ALL, ..Selection::CORE };

/// The text of a field of the last row.
fn text(bench: &Bench, field: Field) -> Option<String> {
    let value = bench.batch.fields_of(bench.batch.len() - 1).find(|v| v.field == field)?.value;
    Some(match value {
        Value::Unsigned(number) => number.to_string(),
        Value::Octets { offset, length } => {
            String::from_utf8_lossy(&bench.batch.octets[offset as usize..][..usize::from(length)]).into_owned()
        }
    })
}

/// What is counted takes octets: sets, records and values are never more than the datagram has.
#[test]
fn g_03_each_step_takes_octets() {
    let lists = multi(3, &[(256, Vec::new()), (999, vec![0; 8]), (256, vec![0; 7])]);
    let bodies: [(Vec<u8>, Vec<u8>); 5] = [
        // Fields of no octets beside one that has some.
        (template(256, &[8, 0, 1, 1, 90, 0]), vec![0; 60_000]),
        // Values of no octets, each of them one octet of length.
        (template(256, &[82, V, 83, V]), vec![0; 60_000]),
        // Lists of nothing.
        (fields(256, &[(0, 293, V)]), prefixed(&lists).repeat(1_000)),
        (fields(256, &[(0, 291, V)]), prefixed(&[3, 0, 8, 0, 0]).repeat(10_000)),
        (template(256, &[210, 3]), vec![0; 60_000]),
    ];
    for (version, id) in [(Version::V9, 0), (Version::Ipfix, 2)] {
        for (template, body) in &bodies {
            let mut bench = Bench::new();
            let domain = bench.domain(version, 1);
            let sets = [set(id, template), set(256, body)];
            let message = if version == Version::V9 { v9(1, 1, &sets) } else { ipfix(1, 1, &sets) };
            let outcome = bench.decode(&domain, &message);
            assert!(outcome.sets_seen == 2 && outcome.records as usize <= body.len());
            assert!(bench.batch.len() <= limits::ROWS_PER_MESSAGE_MAX);
        }
        // Nothing but headers of sets.
        let mut bench = Bench::new();
        let domain = bench.domain(version, 1);
        let sets = vec![set(256, &[]); 16_000];
        let message = if version == Version::V9 { v9(1, 1, &sets) } else { ipfix(1, 1, &sets) };
        let outcome = bench.decode(&domain, &message);
        assert!(outcome.sets_seen as usize <= message.len() / 4 && outcome.records == 0, "{version:?}");
    }
}

/// The header's nanoseconds count, and cannot be more than a second.
#[test]
fn v5_05_times_hang_on_the_headers_clock() {
    for (nanoseconds, ms) in [(0, 0), (500_000_000, 500), (999_999_999, 999), (u32::MAX, 999)] {
        let mut octets = v5(1, 1, 0);
        octets[12..16].copy_from_slice(&nanoseconds.to_be_bytes());
        let mut bench = Bench::new();
        let domain = bench.domain(Version::V5, 0x0102);
        bench.decode(&domain, &octets);
        let header_ms = u64::from(EXPORT_S) * 1_000 + ms;
        assert_eq!((bench.last().start_ms, bench.last().end_ms), (header_ms - 2_000, header_ms - 1_000));
    }
}

#[test]
fn v7_01_twenty_eight_rows_and_no_more() {
    for (count, rows) in [(0, 0), (1, 1), (27, 27), (28, 28), (29, 0), (65_535, 0)] {
        let mut octets = words(&[7, count]);
        octets.extend([3_600_000, EXPORT_S, 0, 9, 0].map(u32::to_be_bytes).concat());
        let row: Vec<u8> = (1..=52).map(|at| if at == 37 { 0 } else { at }).collect();
        octets.extend(row.repeat(usize::from(count).min(30)));
        let mut bench = Bench::new();
        let domain = bench.domain(Version::V7, 0);
        assert_eq!(bench.decode(&domain, &octets).records, rows, "{count}");
        if rows != 0 {
            let r = bench.last();
            assert_eq!((r.src_ip(), r.dst_ip()), (Some([1, 2, 3, 4].into()), Some([5, 6, 7, 8].into())));
            assert_eq!((r.input_if, r.output_if, r.packets, r.bytes), (0x0D0E, 0x0F10, 0x1112_1314, 0x1516_1718));
            assert_eq!((r.src_port, r.dst_port, r.tcp_flags, r.protocol, r.tos), (0x2122, 0x2324, 38, 39, 40));
            assert_eq!((r.src_as, r.dst_as, r.src_mask, r.dst_mask), (0x292A, 0x2B2C, 45, 46));
        }
    }
}

/// Ports keep what the wire says, ICMP's type and code stand beside them; other protocols have none.
#[test]
fn dec_1_icmp_keeps_the_ports_and_other_protocols_have_no_type() {
    // Protocol, source port, destination port; type and code that follow.
    for (protocol, ports, icmp) in [
        (1_u8, [0, 0x0303], Some((3, 3))),
        (58, [0, 0x8100], Some((129, 0))),
        (1, [77, 0x0303], None),
        (6, [0, 0x0303], None),
    ] {
        let body = [&[protocol][..], &words(&ports)].concat();
        for version in [Version::V9, Version::Ipfix] {
            let mut bench = Bench::new();
            let domain = bench.domain(version, 1);
            let fields = template(256, &[4, 1, 7, 2, 11, 2]);
            let message = if version == Version::V9 {
                v9(1, 1, &[set(0, &fields), set(256, &body)])
            } else {
                ipfix(1, 1, &[set(2, &fields), set(256, &body)])
            };
            bench.decode(&domain, &message);
            let r = bench.last();
            assert_eq!([r.src_port, r.dst_port], ports);
            assert!(r.has(Presence::SRC_PORT.with(Presence::DST_PORT)));
            assert_eq!(r.has(Presence::ICMP).then_some((r.icmp_type, r.icmp_code)), icmp, "{protocol} {ports:?}");
        }
    }
    // 32 and 139 before 176 to 179, unless they are 0; nothing where the protocol is another, but as on the wire.
    let template = fields(256, &[(0, 4, 1), (0, 176, 1), (0, 177, 1), (0, 178, 1), (0, 32, 2), (0, 139, 2)]);
    for (record, icmp) in [
        ([1, 3, 1, 0, 11, 0, 0, 0], Some((11, 0))),
        ([1, 3, 1, 0, 0, 0, 0, 0], Some((3, 1))),
        ([1, 0, 0, 0, 0, 0, 0, 0], Some((0, 0))),
        ([58, 0, 0, 0, 0, 0, 128, 0], Some((128, 0))),
        ([58, 0, 0, 135, 0, 0, 0, 0], Some((135, 0))),
        ([6, 0, 0, 0, 0, 0, 0, 0], None),
        ([17, 3, 3, 0, 3, 3, 0, 0], None),
    ] {
        let (mut bench, domain) = learned(Selection::CORE, std::slice::from_ref(&template));
        data(&mut bench, &domain, &record);
        let r = bench.last();
        assert_eq!(r.has(Presence::ICMP).then_some((r.icmp_type, r.icmp_code)), icmp, "{record:?}");
        assert!(icmp.is_some() || (r.icmp_type, r.icmp_code) == (0, 0));
        let (mut bench, domain) = learned(Selection::WIRE, std::slice::from_ref(&template));
        data(&mut bench, &domain, &record);
        assert!(bench.last().has(Presence::ICMP));
    }
}

/// A rate stands beside the counters and is never multiplied in, wherever it comes from.
#[test]
fn dec_2_counters_stay_as_on_the_wire() {
    let (mut bench, domain) = learned(Selection::CORE, &[fields(256, &[(0, 1, 4), (0, 2, 4), (0, 34, 4)])]);
    data(&mut bench, &domain, &[5_000_u32, 5, 1_000].map(u32::to_be_bytes).concat());
    let r = bench.last();
    assert_eq!((r.bytes, r.packets, r.rate(), r.sampling_source), (5_000, 5, 1_000, SamplingSource::Record));
}

/// A length that cannot be loses the field alone, and unknown neighbours cost nothing.
#[test]
fn dec_4_what_fails_its_type_is_the_only_loss() {
    let template =
        fields(256, &[(0, 8, 3), (65_535, 7, 5), (0, 12, 4), (0, 152, 4), (0, 56, 5), (0, 7, 4), (0, 1, 9), (0, 2, 3)]);
    let (mut bench, domain) = learned(Selection::CORE, &[template]);
    let record = [&[1; 8][..], &[10, 0, 0, 2], &[1; 9], &[0, 1, 0, 0], &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9]].concat();
    assert_eq!(data(&mut bench, &domain, &record).records, 1);
    let r = bench.last();
    assert_eq!((r.dst_ip(), r.bytes, r.packets), (Some([10, 0, 0, 2].into()), 256, 9));
    let lost = Presence::SRC_V4.with(Presence::SRC_MAC).with(Presence::SRC_PORT).with(Presence::TIMES);
    assert!(!r.presence.has_any(lost));
}

/// Of two elements for one field the first in priority wins, in whichever order the template has them.
#[test]
fn d_2_of_two_values_that_disagree_the_first_in_priority_wins() {
    type Known = fn(&FlowRecord) -> u64;
    let pairs: [([u16; 2], Known); 9] = [
        ([58, 243], |r| r.vlan.into()),
        ([59, 254], |r| r.post_vlan.into()),
        ([10, 252], |r| r.input_if.into()),
        ([14, 253], |r| r.output_if.into()),
        ([7, 180], |r| r.src_port.into()),
        ([11, 183], |r| r.dst_port.into()),
        ([1, 85], |r| r.bytes),
        ([2, 24], |r| r.packets),
        ([34, 50], |r| r.rate().into()),
    ];
    for ([first, second], known) in pairs {
        for ids in [[first, second], [second, first]] {
            let value = |id: u16| if id == first { 7_u16 } else { 9 };
            let (mut bench, domain) = learned(Selection::CORE, &[fields(256, &ids.map(|id| (0, id, 2)))]);
            data(&mut bench, &domain, &words(&ids.map(value)));
            assert_eq!(known(bench.last()), 7, "{ids:?}");
        }
    }
}

/// Messages that are late, come twice or are far off in their number decode, and no template goes for it.
#[test]
fn ix_22_messages_in_any_order_decode_and_keep_templates() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    bench.decode(&domain, &ipfix(1, 100, &[set(2, &template(256, &TEMPLATE))]));
    let numbers = [100, 103, 101, 102, 101, 104, 104, 104 + (1 << 31), 105, 0, u32::MAX, 106];
    for number in numbers {
        let outcome = bench.decode(&domain, &ipfix(1, number, &[set(256, &row(number))]));
        assert_eq!((outcome.records, outcome.sets_parked), (1, 0), "{number}");
    }
    assert_eq!(serials(&bench), numbers.map(u64::from));
    assert_eq!(domain.status().templates, 1);
}

/// Performance monitors tell a connection by its client and server, with the counters of both directions.
#[test]
fn maker_cisco_connections_have_a_client_and_a_server() {
    let ids = [12_236, 12_237, 12_240, 12_241];
    let counters = [(0, 4, 1), (0, 231, 4), (0, 232, 4), (0, 298, 4), (0, 299, 4)];
    let ends = |pen: u32, base: u16| [0, 1, 2, 3].map(|at: usize| (pen, base + ids[at], [4, 4, 2, 2][at]));
    let record = [
        &[10, 0, 0, 1, 10, 0, 0, 2][..],
        &words(&[50_000, 443]),
        &[6],
        &[100_u32, 900, 5, 9].map(u32::to_be_bytes).concat(),
    ]
    .concat();
    for version in [Version::V9, Version::Ipfix] {
        let mut bench = Bench::new();
        let domain = bench.domain(version, 1);
        let ipfix_fields = [&ends(CISCO, 0)[..], &counters].concat();
        let message = if version == Version::V9 {
            v9(1, 1, &[set(0, &fields(256, &[&ends(0, 0x8000)[..], &counters].concat())), set(256, &record)])
        } else {
            ipfix(1, 1, &[set(2, &fields(256, &ipfix_fields)), set(256, &record)])
        };
        assert_eq!(bench.decode(&domain, &message).records, 2, "{version:?}");
        let [forward, reverse] = bench.batch.records[..] else { panic!("two rows") };
        let ends = |r: &FlowRecord| (r.src_ip(), r.src_port, r.dst_ip(), r.dst_port, r.bytes, r.packets);
        let (client, server) = (Some([10, 0, 0, 1].into()), Some([10, 0, 0, 2].into()));
        assert_eq!(ends(&forward), (client, 50_000, server, 443, 100, 5));
        assert_eq!(ends(&reverse), (server, 443, client, 50_000, 900, 9));
    }
    // IPv6; and where the record has addresses of its own, those count.
    let (mut bench, domain) = learned(Selection::CORE, &[fields(256, &[(CISCO, 12_238, 16), (CISCO, 12_239, 16)])]);
    data(&mut bench, &domain, &[[0x20; 16], [0x30; 16]].concat());
    assert_eq!((bench.last().src_ip(), bench.last().dst_ip()), (Some([0x20; 16].into()), Some([0x30; 16].into())));
    let (mut bench, domain) = learned(Selection::CORE, &[fields(256, &[(CISCO, 12_236, 4), (0, 8, 4)])]);
    data(&mut bench, &domain, &[10, 0, 0, 1, 10, 0, 0, 9]);
    assert_eq!(bench.last().src_ip(), Some([10, 0, 0, 9].into()));
}

/// Names of applications come in options whose scope is the system, in 2 octets of zeroes; flows name them by engine 20.
#[test]
fn maker_fortinet_names_applications_by_their_enterprise_number() {
    let mut bench = Bench::with(DecodeSettings { selection: ALL, ..DecodeSettings::default() });
    let domain = bench.domain(Version::V9, 1);
    let app = [0x14, 0, 0, 0x30, 0x44, 0, 0, 0x9C, 0x8A];
    let padded = |name: &[u8]| [name, &vec![0; 64 - name.len()]].concat();
    let options = words(&[257, 4, 16, 1, 2, 95, 9, 96, 64, 94, 64, 372, 64]);
    let names = [&[0, 0][..], &app, &padded(b"SSL_TLSv1.2"), &padded(b"text"), &padded(b"Network.Service")].concat();
    let flow = [&[10, 0, 0, 1, 0, 0, 0, 9][..], &app, &[0, 1]].concat();
    let sets =
        [set(1, &options), set(257, &names), set(0, &template(262, &[8, 4, 1, 4, 95, 9, 65, 2])), set(262, &flow)];
    assert_eq!(bench.decode(&domain, &v9(1, 1, &sets)).records, 1);
    assert_eq!(text(&bench, Field::AppId).as_deref(), Some("20:12356:40074"));
    assert_eq!(text(&bench, Field::AppName).as_deref(), Some("SSL_TLSv1.2"));
    assert_eq!(text(&bench, Field::AppCategory).as_deref(), Some("Network.Service"));
}

/// Boot time, samplers, interfaces and VRFs in options of one message, flows behind them with sysUpTime stamps.
#[test]
fn maker_cisco_ios_xr_tells_everything_in_options() {
    let mut bench = Bench::with(DecodeSettings { selection: ALL, ..DecodeSettings::default() });
    let domain = bench.domain(Version::Ipfix, 2_079);
    let boot_ms = u64::from(EXPORT_S) * 1_000 - 7_200_000;
    let sets = [
        set(3, &words(&[260, 2, 1, 144, 4, 160, 8])),
        set(260, &[&[0, 0, 8, 31][..], &boot_ms.to_be_bytes()].concat()),
        set(3, &words(&[261, 4, 1, 302, 4, 304, 2, 309, 4, 310, 4])),
        set(261, &[0, 0, 0, 1, 0, 3, 0, 0, 0, 1, 0, 0, 3, 0xE8]),
        set(3, &words(&[262, 2, 1, 10, 4, 82, V])),
        set(262, &[&[0, 0, 0, 10][..], &prefixed(b"TenGigE0/0/0/1")].concat()),
        set(3, &words(&[263, 2, 1, 234, 4, 236, V])),
        set(263, &[&[0x60, 0, 0, 0][..], &prefixed(b"default")].concat()),
        set(2, &template(256, &[8, 4, 22, 4, 21, 4, 10, 4, 302, 4, 234, 4])),
        set(256, &[0x0A00_0001_u32, 7_100_000, 7_199_000, 10, 1, 0x6000_0000].map(u32::to_be_bytes).concat()),
    ];
    let outcome = bench.decode(&domain, &ipfix(2_079, 1, &sets));
    assert_eq!((outcome.records, outcome.options_records), (1, 4));
    let r = *bench.last();
    assert_eq!((r.start_ms, r.end_ms), (boot_ms + 7_100_000, boot_ms + 7_199_000));
    assert_eq!((r.rate(), r.sampling_source), (1_000, SamplingSource::Sampler));
    assert_eq!(text(&bench, Field::InputIfName).as_deref(), Some("TenGigE0/0/0/1"));
    assert_eq!(text(&bench, Field::IngressVrf).as_deref(), Some("default"));
}

/// A biflow by whole seconds, with the flags of each direction.
#[test]
fn maker_softflowd_biflows_have_flags_of_their_own() {
    let template = fields(
        256,
        &[(0, 8, 4), (0, 12, 4), (0, 1, 4), (0, 2, 4), (0, 4, 1), (0, 6, 1), (0, 150, 4), (0, 151, 4)]
            .iter()
            .copied()
            .chain([(REVERSE, 1, 4), (REVERSE, 2, 4), (REVERSE, 6, 1)])
            .collect::<Vec<_>>(),
    );
    let (mut bench, domain) = learned(Selection::CORE, &[template]);
    let record = [
        &[10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 1, 0, 0, 0, 0, 2, 6, 2][..],
        &(EXPORT_S - 9).to_be_bytes(),
        &(EXPORT_S - 1).to_be_bytes(),
        &[0, 0, 2, 0, 0, 0, 0, 3, 18],
    ];
    assert_eq!(data(&mut bench, &domain, &record.concat()).records, 2);
    let told = bench.batch.records.iter().map(|r| (r.bytes, r.packets, r.tcp_flags, r.end_ms - r.start_ms));
    assert_eq!(told.collect::<Vec<_>>(), [(256, 2, 2, 8_000), (512, 3, 18, 8_000)]);
}

/// What is refused leaves the template of its id as it was.
#[test]
fn n9_09_a_refused_template_leaves_the_one_before() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 1);
    bench.decode(&domain, &v9(1, 1, &[set(0, &template(256, &TEMPLATE))]));
    for refused in [words(&[256, 0]), words(&[256, 9, 8, 4]), words(&[256, 1, 8, 0])] {
        let outcome = bench.decode(&domain, &v9(1, 2, &[set(0, &refused), set(256, &row(1))]));
        assert_eq!((outcome.templates_learned, outcome.records), (0, 1), "{refused:?}");
    }
    assert_eq!(serials(&bench), [1, 1, 1]);
}

/// One id in two domains of an exporter, and of two exporters: each decodes with its own layout.
#[test]
fn n9_14_an_id_belongs_to_its_domain_and_its_exporter() {
    let mut benches = [Bench::new(), Bench::new()];
    for (at, bench) in benches.iter_mut().enumerate() {
        let domains = [7, 8].map(|id| bench.domain(Version::V9, id));
        for (domain, width) in domains.iter().zip([4, 8]) {
            let width = width - u16::try_from(at).unwrap();
            bench.decode(domain, &v9(0, 1, &[set(0, &template(256, &[1, width, 8, 4]))]));
        }
        for (domain, width) in domains.iter().zip([4, 8]) {
            let body = [&vec![0; width - at - 1][..], &[9, 10, 0, 0, 1]].concat();
            bench.decode(domain, &v9(0, 2, &[set(256, &body)]));
            assert_eq!((bench.last().bytes, bench.last().src_ip()), (9, Some([10, 0, 0, 1].into())));
        }
        assert_eq!(bench.batch.len(), 2);
    }
}

/// Two line cards of a router number their datagrams apart: neither loses what the other sends.
#[test]
fn v5_08_engines_are_domains_of_their_own() {
    let domain_of = |engine: [u8; 2]| {
        let mut octets = v5(1, 1, 0);
        octets[20..22].copy_from_slice(&engine);
        identify(&octets).unwrap().observation_domain
    };
    assert_eq!([[0, 0], [0, 1], [1, 0], [1, 2]].map(domain_of), [0, 1, 256, 258]);
}
