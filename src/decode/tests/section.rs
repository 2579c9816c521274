//! Sampled packets: an encoder of headers, the parser on what it makes, and records that hold such octets.

use proptest::prelude::*;

use super::*;
use crate::decode::wire::section::{Addresses, Fragment, Packet, Start, read};
use crate::flow::{Field, FieldSet, Value};

const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

/// A packet to be written, layer by layer.
#[derive(Debug, Clone, Default)]
struct Layers {
    tags: Vec<u16>,
    labels: Vec<u32>,
    /// Behind the labels a control word and a frame of its own.
    pseudowire: bool,
    v6: bool,
    /// Octets of options in fours (IPv4), extension headers (IPv6).
    extra: u8,
    fragment: u16,
    protocol: u8,
    payload: Vec<u8>,
}

impl Layers {
    fn frame(&self) -> Vec<u8> {
        let mut octets = [MACS[0], MACS[1]].concat();
        for tag in &self.tags {
            octets.extend(words(&[0x8100, tag | 0x2000]));
        }
        if !self.labels.is_empty() {
            octets.extend(words(&[0x8847]));
            octets.extend(self.stack());
        }
        if self.pseudowire && !self.labels.is_empty() {
            octets.extend([0; 4]);
            octets.extend([9; 12]);
        }
        if self.pseudowire || self.labels.is_empty() {
            octets.extend(words(&[if self.v6 { 0x86DD } else { 0x0800 }]));
        }
        octets.extend(self.ip());
        octets
    }

    fn stack(&self) -> Vec<u8> {
        let last = self.labels.len().saturating_sub(1);
        let entry = |(at, label): (usize, &u32)| (label << 12 | u32::from(at == last) << 8 | 64).to_be_bytes();
        self.labels.iter().enumerate().flat_map(entry).collect()
    }

    fn ip(&self) -> Vec<u8> {
        let extra = usize::from(self.extra);
        if self.v6 {
            let length = u16::try_from(8 * extra + self.payload.len()).unwrap();
            let mut octets = words(&[0x6B85, 0x1234, length]);
            octets.extend([if extra > 0 { 60 } else { self.protocol }, 64]);
            octets.extend([0x20; 16]);
            octets.extend([0x30; 16]);
            for at in 1..=extra {
                octets.extend([if at == extra { self.protocol } else { 60 }, 0, 0, 0, 0, 0, 0, 0]);
            }
            octets.extend(&self.payload);
            return octets;
        }
        let header = 20 + 4 * extra;
        let mut octets = vec![0x40 | u8::try_from(header / 4).unwrap(), 0xB8];
        octets.extend(words(&[u16::try_from(header + self.payload.len()).unwrap(), 7, self.fragment]));
        octets.extend([64, self.protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        octets.resize(header, 1);
        octets.extend(&self.payload);
        octets
    }

    /// What the frame must be read as.
    fn expected(&self) -> Packet {
        let (tags, pushed) = (&self.tags, 4 * self.labels.len());
        let wire = if self.pseudowire && pushed > 0 { 18 } else { 0 };
        let mut packet = Packet {
            dst_mac: Some(MACS[0]),
            src_mac: Some(MACS[1]),
            vlan: tags.first().copied(),
            inner_vlan: tags.get(1).copied(),
            network_at: Some(14 + 4 * tags.len() + pushed + wire),
            ether_type: Some(match (self.labels.is_empty(), self.v6) {
                (false, _) => 0x8847,
                (true, v6) => {
                    if v6 {
                        0x86DD
                    } else {
                        0x0800
                    }
                }
            }),
            ip_version: Some(if self.v6 { 6 } else { 4 }),
            ttl: Some(64),
            fragment: (!self.v6).then(|| Fragment {
                id: 7,
                offset: self.fragment & 0x1FFF,
                flags: self.fragment.to_be_bytes()[0] & 0xE0,
            }),
            flow_label: self.v6.then_some(0x5_1234),
            addresses: Addresses::V4(Some([10, 0, 0, 1]), Some([10, 0, 0, 2])),
            tos: Some(0xB8),
            protocol: Some(self.protocol),
            ip_octets: Some(u32::try_from(self.ip().len()).unwrap()),
            ..read(Start::Labels, &self.stack())
        };
        if self.v6 {
            packet.addresses = Addresses::V6(Some([0x20; 16]), Some([0x30; 16]));
        }
        let word = |at: usize| Some(u16::from_be_bytes([self.payload[at], self.payload[at + 1]]));
        if self.fragment & 0x1FFF == 0 || self.v6 {
            if matches!(self.protocol, 6 | 17 | 132) {
                (packet.src_port, packet.dst_port) = (word(0), word(2));
            }
            if self.protocol == 6 {
                packet.tcp_flags = word(12).map(|w| w & 0x0FFF);
            }
            if matches!(self.protocol, 1 | 58) {
                packet.icmp = Some((self.payload[0], self.payload[1]));
            }
        }
        packet
    }
}

fn layers() -> impl Strategy<Value = Layers> {
    (
        prop::collection::vec(1..4_095_u16, 0..=8),
        prop::collection::vec(16..0x10_0000_u32, 0..=8),
        any::<bool>(),
        any::<bool>(),
        0..=8_u8,
        prop_oneof![3 => Just(0_u16), 1 => 1..0x1FFF_u16, 1 => Just(0x4000_u16)],
        prop::sample::select(vec![1_u8, 2, 6, 17, 47, 50, 58, 132]),
        prop::collection::vec(0..16_u8, 20..60),
    )
        .prop_map(|(tags, labels, pseudowire, v6, extra, fragment, protocol, payload)| {
            let pseudowire = pseudowire && !labels.is_empty();
            Layers { tags, labels, pseudowire, v6, extra, fragment, protocol, payload }
        })
}

proptest! {
    #[test]
    fn ix_45_headers_are_read_as_they_were_written(layers in layers()) {
        let packet = read(Start::Frame, &layers.frame());
        prop_assert_eq!(packet, layers.expected());
        prop_assert_eq!(packet.labels.as_slice(), &layers.labels[..]);
    }

    /// What a cut frame says is what the whole one says, or nothing.
    #[test]
    fn ix_45_cut_headers_give_what_is_there(layers in layers()) {
        let (octets, whole) = (layers.frame(), layers.expected());
        for end in 0..octets.len() {
            let cut = read(Start::Frame, &octets[..end]);
            let same = |cut: bool, equal: bool| !cut || equal;
            prop_assert!(same(cut.src_mac.is_some(), cut.src_mac == whole.src_mac));
            prop_assert!(same(cut.vlan.is_some(), cut.vlan == whole.vlan));
            prop_assert!(same(cut.inner_vlan.is_some(), cut.inner_vlan == whole.inner_vlan));
            prop_assert!(same(cut.ip_octets.is_some(), cut.ip_octets == whole.ip_octets));
            prop_assert!(same(cut.protocol.is_some(), cut.protocol == whole.protocol), "{end}");
            prop_assert!(same(cut.src_port.is_some(), cut.src_port == whole.src_port));
            prop_assert!(same(cut.dst_port.is_some(), cut.dst_port == whole.dst_port));
            prop_assert!(same(cut.tcp_flags.is_some(), cut.tcp_flags == whole.tcp_flags));
            prop_assert!(same(cut.icmp.is_some(), cut.icmp == whole.icmp));
            prop_assert!(whole.labels.as_slice().starts_with(cut.labels.as_slice()));
        }
    }

    #[test]
    fn a_23_any_octets_are_survived(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        for start in [Start::Frame, Start::Labels, Start::Ip, Start::Labelled, Start::Transport(6), Start::Transport(17)] {
            let _ = read(start, &octets);
        }
    }
}

fn tcp() -> Layers {
    let mut payload = words(&[40_000, 443, 0, 0, 0, 0, 0x5012]);
    payload.resize(20, 0);
    Layers { protocol: 6, payload, ..Layers::default() }
}

#[test]
fn a_23_tags_labels_and_extensions_are_bounded() {
    let nothing = |layers: &Layers| read(Start::Frame, &layers.frame()).addresses == Addresses::None;
    assert!(!nothing(&Layers { tags: vec![5; limits::SECTION_TAGS_MAX], ..tcp() }));
    assert!(nothing(&Layers { tags: vec![5; limits::SECTION_TAGS_MAX + 1], ..tcp() }));
    assert!(!nothing(&Layers { labels: vec![55; limits::SECTION_LABELS_MAX], ..tcp() }));
    assert!(nothing(&Layers { labels: vec![55; limits::SECTION_LABELS_MAX + 1], ..tcp() }));
    for (extra, found) in [(limits::SECTION_EXTENSIONS_MAX, Some(6)), (limits::SECTION_EXTENSIONS_MAX + 1, None)] {
        let layers = Layers { v6: true, extra: u8::try_from(extra).unwrap(), ..tcp() };
        assert_eq!(read(Start::Frame, &layers.frame()).protocol, found);
    }
}

#[test]
fn ix_45_later_fragments_have_no_ports() {
    let packet = read(Start::Frame, &Layers { fragment: 3, ..tcp() }.frame());
    assert_eq!((packet.protocol, packet.src_port, packet.tcp_flags), (Some(6), None, None));
    // IPv6 with a fragment header: offset 1, then the first fragment.
    for (offset, port) in [(1 << 3, None), (1, Some(40_000))] {
        let mut octets = Layers { v6: true, extra: 1, ..tcp() }.ip();
        octets[6] = 44;
        octets[42..44].copy_from_slice(&u16::to_be_bytes(offset));
        let packet = read(Start::Ip, &octets);
        assert_eq!((packet.protocol, packet.src_port), (Some(6), port), "{offset}");
    }
}

#[test]
fn ix_44_the_network_of_a_vxlan_packet() {
    let mut payload = words(&[50_000, 4_789, 100, 0]);
    payload.extend([8, 0, 0, 0, 0x00, 0x12, 0x34, 0]);
    let mut layers = Layers { protocol: 17, payload, ..Layers::default() };
    assert_eq!(read(Start::Ip, &layers.ip()).vni, Some(0x1234));
    layers.payload[8] = 0;
    assert_eq!(read(Start::Ip, &layers.ip()).vni, None, "its flag says that there is none");
}

/// A domain that knows template 256 of `fields`, and a bench that wants the further fields.
fn learned(fields: &[u16]) -> (Bench, Arc<Domain>) {
    let selection = Selection { fields: FieldSet::ALL, ..Selection::CORE };
    let mut bench = Bench::with(DecodeSettings { selection, ..DecodeSettings::default() });
    let domain = bench.domain(Version::Ipfix, 1);
    bench.decode(&domain, &ipfix(1, 0, &[set(2, &template(256, fields))]));
    (bench, domain)
}

fn prefixed(octets: &[u8]) -> Vec<u8> {
    [&[255][..], &u16::try_from(octets.len()).unwrap().to_be_bytes(), octets].concat()
}

/// 64 octets of a frame with two tags, IPv6 and TCP.
fn qinq() -> Vec<u8> {
    Layers { tags: vec![100, 200], v6: true, ..tcp() }.frame()[..76].to_vec()
}

#[test]
fn ix_45_a_frame_fills_what_the_record_lacks() {
    // 10 ingressInterface, 4 protocol of its own (which stays), 312 size, 315.
    let (mut bench, domain) = learned(&[10, 2, 4, 1, 312, 2, 315, 0xFFFF]);
    let data = [words(&[7]), vec![17], words(&[94]), prefixed(&qinq())].concat();
    bench.decode(&domain, &ipfix(1, 0, &[set(256, &data)]));
    let r = *bench.last();
    assert_eq!(r.src_ip(), Some("2020:2020:2020:2020:2020:2020:2020:2020".parse().unwrap()));
    assert_eq!((r.src_mac, r.dst_mac, r.vlan), (MACS[1], MACS[0], 100));
    assert_eq!((r.src_port, r.dst_port, r.tcp_flags, r.tos), (40_000, 443, 0x012, 0xB8));
    assert_eq!((r.protocol, r.input_if), (17, 7), "the record's own word stands");
    assert_eq!((r.packets, r.bytes), (1, 60));
    let fields: Vec<_> = bench.batch.fields_of(0).map(|f| (f.field, f.value)).collect();
    let expected = [
        (Field::InnerVlan, 200),
        (Field::EtherType, 0x86DD),
        (Field::IpVersion, 6),
        (Field::Ttl, 64),
        (Field::IpLength, 60),
        (Field::FlowLabel, 0x5_1234),
        (Field::Dscp, 46),
    ];
    assert_eq!(fields, expected.map(|(field, value)| (field, Value::Unsigned(value))));
}

#[test]
fn ix_45_counters_of_the_record_are_not_touched() {
    let (mut bench, domain) = learned(&[2, 4, 315, 0xFFFF]);
    let data = [9_u32.to_be_bytes().to_vec(), prefixed(&qinq())].concat();
    bench.decode(&domain, &ipfix(1, 0, &[set(256, &data)]));
    let r = bench.last();
    assert_eq!((r.packets, r.has(Presence::BYTES)), (9, false));
}

#[test]
fn ix_45_octets_without_a_length_are_the_frames() {
    // ARP: no IP header; 60 octets of frame, 14 of them Ethernet.
    let (mut bench, domain) = learned(&[312, 2, 315, 20]);
    let mut arp = [MACS[0], MACS[1]].concat();
    arp.extend([8, 6, 0, 1, 8, 0, 6, 4]);
    bench.decode(&domain, &ipfix(1, 0, &[set(256, &[words(&[60]), arp].concat())]));
    let r = bench.last();
    assert_eq!((r.packets, r.bytes, r.src_ip(), r.src_mac), (1, 46, None, MACS[1]));
}

#[test]
fn ix_45_other_link_types_offsets_and_valid_octets() {
    let frame = tcp().frame();
    // 408 type, 409 offset, 410 valid octets, 315.
    for (kind, offset, valid, known) in
        [(1, 0, 54, true), (2, 0, 54, false), (1, 4, 54, false), (1, 0, 20, false), (3, 0, 60, true)]
    {
        let (mut bench, domain) = learned(&[408, 2, 409, 2, 410, 2, 315, 0xFFFF]);
        let data = [words(&[kind, offset, valid]), prefixed(&frame)].concat();
        bench.decode(&domain, &ipfix(1, 0, &[set(256, &data)]));
        let r = bench.last();
        assert_eq!(r.src_ip().is_some(), known, "type {kind}, offset {offset}, {valid} octets");
        assert_eq!(r.packets, 1);
    }
}

#[test]
fn ix_45_sections_of_every_layer() {
    let layers = Layers { labels: vec![100, 200, 300], ..tcp() };
    let stack = [layers.stack(), layers.ip()].concat();
    let cases: [(&[u16], Vec<u8>, bool); 4] = [
        (&[313, 0xFFFF], prefixed(&layers.ip()), true),
        (&[316, 0xFFFF], prefixed(&stack), true),
        (&[317, 0xFFFF], prefixed(&layers.ip()), true),
        (&[4, 1, 314, 0xFFFF], [vec![6], prefixed(&layers.payload)].concat(), false),
    ];
    for (fields, data, has_addresses) in cases {
        let (mut bench, domain) = learned(fields);
        bench.decode(&domain, &ipfix(1, 0, &[set(256, &data)]));
        let r = *bench.last();
        assert_eq!((r.src_port, r.dst_port, r.tcp_flags, r.packets), (40_000, 443, 0x012, 1), "{fields:?}");
        assert_eq!(r.src_ip().is_some(), has_addresses, "{fields:?}");
        assert_eq!(r.has(Presence::BYTES), has_addresses, "{fields:?}");
    }
}

#[test]
fn ix_43_labels_of_a_stack() {
    let (mut bench, domain) = learned(&[316, 0xFFFF]);
    let layers = Layers { labels: vec![100, 200, 300], ..tcp() };
    bench.decode(&domain, &ipfix(1, 0, &[set(256, &prefixed(&layers.stack()))]));
    let labels: Vec<u8> = [100_u32, 200, 300].iter().flat_map(|label| label.to_be_bytes()).collect();
    let found: Vec<_> = bench.batch.fields_of(0).map(|f| (f.field, f.value)).collect();
    assert_eq!(found, [(Field::MplsLabels, Value::Octets { offset: 0, length: 12 })]);
    assert_eq!(bench.batch.octets, labels);
}

#[test]
fn ix_45_the_old_elements_of_v9() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 1);
    let frame = tcp().frame();
    // 102 offset, 103 size of the section, 104 its octets, filled up.
    let fields = template(256, &[102, 2, 103, 2, 104, 64]);
    let mut data = [words(&[0, u16::try_from(frame.len()).unwrap()]), frame].concat();
    data.resize(68, 0);
    bench.decode(&domain, &v9(1, 0, &[set(0, &fields), set(256, &data)]));
    let r = bench.last();
    assert_eq!((r.src_ip(), r.bytes), (Some("10.0.0.1".parse().unwrap()), 40));
}

#[test]
fn ix_45_the_wire_view_looks_into_nothing() {
    let mut bench = Bench::with(DecodeSettings { selection: Selection::WIRE, ..DecodeSettings::default() });
    let domain = bench.domain(Version::Ipfix, 1);
    let fields = template(256, &[315, 0xFFFF]);
    bench.decode(&domain, &ipfix(1, 0, &[set(2, &fields), set(256, &prefixed(&qinq()))]));
    let r = bench.last();
    assert_eq!(r.presence, Presence::TEMPLATE);
    assert_eq!(bench.batch.elements_of(0).count(), 1);
}
