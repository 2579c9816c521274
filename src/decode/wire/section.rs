//! What the headers at the start of a sampled packet say (RFC 7133, RFC 5477): octets -> [`Packet`].
//!
//! The octets end where the exporter cut them, so each field is looked for by itself and a missing one is None. Nothing is
//! put together from several packets, and the outermost IP header counts: what a tunnel carries is another flow. Tags,
//! labels and extension headers are bounded by limits.rs, so the steps are too, whatever the octets are.

use crate::limits::{SECTION_EXTENSIONS_MAX, SECTION_LABELS_MAX, SECTION_TAGS_MAX};

/// Where the octets of a section begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::decode) enum Start {
    /// An Ethernet frame: dataLinkFrameSection 315, layer2packetSectionData 104.
    Frame,
    /// The MPLS label stack: mplsLabelStackSection 316.
    Labels,
    /// The IP header: ipHeaderPacketSection 313.
    Ip,
    /// What an MPLS label stack carries: mplsPayloadPacketSection 317.
    Labelled,
    /// What an IP packet carries: ipPayloadPacketSection 314; its protocol stands in the record.
    Transport(u8),
}

/// What the headers say; None where the octets do not reach, or where there is no such header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::decode) struct Packet {
    /// MAC addresses of the frame.
    pub src_mac: Option<[u8; 6]>,
    pub dst_mac: Option<[u8; 6]>,
    /// VLAN of the outermost tag, and of the one inside it. A tag of VLAN 0 has a priority only.
    pub vlan: Option<u16>,
    pub inner_vlan: Option<u16>,
    /// MPLS labels, the outermost first.
    pub labels: Labels,
    /// Octets before the IP header, or before what is no IP.
    pub network_at: Option<usize>,
    /// Type of what the frame carries, behind its tags.
    pub ether_type: Option<u16>,
    /// Version of the IP header.
    pub ip_version: Option<u8>,
    /// TTL, or hop limit.
    pub ttl: Option<u8>,
    /// Flow label of IPv6.
    pub flow_label: Option<u32>,
    /// How the packet was cut: its IPv4 header, or the extension header of IPv6.
    pub fragment: Option<Fragment>,
    /// Addresses, by family.
    pub addresses: Addresses,
    pub tos: Option<u8>,
    /// Protocol of what the IP packet carries, extension headers skipped.
    pub protocol: Option<u8>,
    /// Octets of the IP packet.
    pub ip_octets: Option<u32>,
    pub src_port: Option<u16>,
    pub dst_port: Option<u16>,
    pub tcp_flags: Option<u16>,
    /// ICMP type and code.
    pub icmp: Option<(u8, u8)>,
    /// VXLAN network identifier.
    pub vni: Option<u32>,
}

/// Fragmentation of an IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) struct Fragment {
    /// Number that its fragments share.
    pub id: u32,
    /// Where this one begins, in units of 8 octets.
    pub offset: u16,
    /// The flags where fragmentFlags 197 has them: 0x40 do not fragment, 0x20 more follow.
    pub flags: u8,
}

/// Labels of a stack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::decode) struct Labels {
    values: [u32; SECTION_LABELS_MAX],
    count: usize,
}

impl Labels {
    fn push(&mut self, label: u32) -> bool {
        let room = self.values.get_mut(self.count);
        if let Some(place) = room {
            *place = label;
            self.count += 1;
            return true;
        }
        false
    }

    /// The labels, the outermost first.
    pub(in crate::decode) fn as_slice(&self) -> &[u32] {
        &self.values[..self.count]
    }
}

/// Source and destination.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::decode) enum Addresses {
    #[default]
    None,
    V4(Option<[u8; 4]>, Option<[u8; 4]>),
    V6(Option<[u8; 16]>, Option<[u8; 16]>),
}

/// Reads the headers from `start` on.
pub(in crate::decode) fn read(start: Start, octets: &[u8]) -> Packet {
    let mut reader = Reader { octets, packet: Packet::default(), framed: false };
    match start {
        Start::Frame => reader.frame(0),
        Start::Labels => reader.labels(0),
        Start::Ip => reader.ip(0),
        Start::Labelled => reader.labelled(0),
        Start::Transport(protocol) => reader.transport(protocol, 0),
    }
    reader.packet
}

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86DD;
const MPLS: [u16; 2] = [0x8847, 0x8848];
/// 802.1Q, 802.1ad, and the number that stacked tags had before it.
const TAGS: [u16; 3] = [0x8100, 0x88A8, 0x9100];

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP_V6: u8 = 58;
/// TCP, UDP, DCCP, SCTP, UDP-Lite: two ports come first.
const WITH_PORTS: [u8; 5] = [TCP, UDP, 33, 132, 136];
const VXLAN_PORT: u16 = 4_789;

struct Reader<'a> {
    octets: &'a [u8],
    packet: Packet,
    /// A frame was read: one inside it (a pseudowire's) has addresses and tags of its own, which are not the packet's.
    framed: bool,
}

impl Reader<'_> {
    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.octets.get(at..).and_then(<[u8]>::first_chunk).copied()
    }

    fn octet(&self, at: usize) -> Option<u8> {
        self.octets.get(at).copied()
    }

    fn word(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_be_bytes)
    }

    fn frame(&mut self, at: usize) {
        let outer = !self.framed;
        self.framed = true;
        if outer {
            let mac = |octets: Option<[u8; 6]>| octets.filter(|mac| *mac != [0; 6]);
            self.packet.dst_mac = mac(self.array(at));
            self.packet.src_mac = mac(self.array(at + 6));
        }
        let mut at = at + 12;
        for depth in 0..=SECTION_TAGS_MAX {
            let Some(kind) = self.word(at) else { return };
            at += 2;
            // Smaller numbers are the length of an 802.3 frame.
            if outer && kind >= 0x0600 && !TAGS.contains(&kind) {
                self.packet.ether_type = Some(kind);
            }
            match kind {
                IPV4 | IPV6 => return self.ip(at),
                _ if MPLS.contains(&kind) => return self.labels(at),
                _ if TAGS.contains(&kind) => {
                    let vlan = self.word(at).map(|tag| tag & 0x0FFF).filter(|vlan| *vlan != 0);
                    match depth {
                        0 if outer => self.packet.vlan = vlan,
                        1 if outer => self.packet.inner_vlan = vlan,
                        _ => {}
                    }
                    at += 2;
                }
                _ => {
                    self.packet.network_at = Some(at);
                    return;
                }
            }
        }
    }

    /// RFC 3032: 20 bits of label, 3 of class, the bottom of the stack, 8 of TTL.
    fn labels(&mut self, mut at: usize) {
        while let Some(entry) = self.array(at).map(u32::from_be_bytes) {
            if !self.packet.labels.push(entry >> 12) {
                return;
            }
            at += 4;
            if entry & 0x100 != 0 {
                return self.labelled(at);
            }
        }
    }

    /// Nothing says what a label stack carries: an IP header shows by its version (RFC 4928), a frame by its type, behind
    /// a control word (RFC 4385) or without one.
    fn labelled(&mut self, at: usize) {
        match self.octet(at).map(|octet| octet >> 4) {
            Some(4 | 6) => self.ip(at),
            // A pseudowire inside a pseudowire's frame is not followed.
            Some(_) if self.packet.network_at.is_none() => {
                let known = |kind: u16| {
                    kind == IPV4 || kind == IPV6 || kind == ARP || MPLS.contains(&kind) || TAGS.contains(&kind)
                };
                for frame in [at + 4, at] {
                    if self.word(frame + 12).is_some_and(known) {
                        return self.frame(frame);
                    }
                }
                self.packet.network_at = Some(at);
            }
            _ => {}
        }
    }

    fn ip(&mut self, at: usize) {
        let Some(first) = self.octet(at) else { return };
        self.packet.network_at = Some(at);
        self.packet.ip_version = Some(first >> 4).filter(|version| matches!(version, 4 | 6));
        match first >> 4 {
            4 => self.ipv4(at, usize::from(first & 0x0F) * 4),
            6 => self.ipv6(at),
            _ => {}
        }
    }

    fn ipv4(&mut self, at: usize, header: usize) {
        if header < 20 {
            return;
        }
        self.packet.tos = self.octet(at + 1);
        // Network cards that segment by themselves show a length of 0.
        self.packet.ip_octets = self.word(at + 2).filter(|octets| *octets != 0).map(u32::from);
        self.packet.protocol = self.octet(at + 9);
        self.packet.addresses = Addresses::V4(self.array(at + 12), self.array(at + 16));
        self.packet.ttl = self.octet(at + 8);
        self.packet.fragment = self.word(at + 4).zip(self.word(at + 6)).map(|(id, word)| Fragment {
            id: u32::from(id),
            offset: word & 0x1FFF,
            flags: word.to_be_bytes()[0] & 0xE0,
        });
        if let (Some(Fragment { offset: 0, .. }), Some(protocol)) = (self.packet.fragment, self.packet.protocol) {
            self.transport(protocol, at + header);
        }
    }

    fn ipv6(&mut self, at: usize) {
        self.packet.tos = self.word(at).map(|word| (word >> 4).to_be_bytes()[1]);
        // A jumbogram's length is 0 and stands in an option.
        self.packet.ip_octets = self.word(at + 4).filter(|octets| *octets != 0).map(|octets| u32::from(octets) + 40);
        self.packet.flow_label = self.array(at).map(|word| u32::from_be_bytes(word) & 0xF_FFFF);
        self.packet.ttl = self.octet(at + 7);
        self.packet.addresses = Addresses::V6(self.array(at + 8), self.array(at + 24));
        let Some(mut next) = self.octet(at + 6) else { return };
        let mut at = at + 40;
        for _ in 0..=SECTION_EXTENSIONS_MAX {
            let octets = match next {
                // Hop-by-hop, routing, destination, mobility, HIP, shim6: eight octets and as many more as they say.
                0 | 43 | 60 | 135 | 139 | 140 => self.octet(at + 1).map(|more| 8 + 8 * usize::from(more)),
                44 => Some(8),
                // Authentication counts in fours.
                51 => self.octet(at + 1).map(|more| 8 + 4 * usize::from(more)),
                _ => {
                    self.packet.protocol = Some(next);
                    return self.transport(next, at);
                }
            };
            // Cut inside the chain: what the packet carries is not known.
            let (Some(octets), Some(following)) = (octets, self.octet(at)) else { return };
            if next == 44 {
                let fragment = self.word(at + 2).zip(self.array(at + 4)).map(|(word, id)| Fragment {
                    id: u32::from_be_bytes(id),
                    offset: word >> 3,
                    flags: if word & 1 == 0 { 0 } else { 0x20 },
                });
                self.packet.fragment = self.packet.fragment.or(fragment);
                match self.word(at + 2).map(|word| word >> 3) {
                    Some(0) => {}
                    // A later fragment: what follows is the middle of something.
                    Some(_) => {
                        self.packet.protocol = Some(following);
                        return;
                    }
                    None => return,
                }
            }
            (next, at) = (following, at + octets);
        }
    }

    fn transport(&mut self, protocol: u8, at: usize) {
        if WITH_PORTS.contains(&protocol) {
            self.packet.src_port = self.word(at);
            self.packet.dst_port = self.word(at + 2);
        }
        match protocol {
            TCP => self.packet.tcp_flags = self.word(at + 12).map(|word| word & 0x0FFF),
            ICMP | ICMP_V6 => self.packet.icmp = self.octet(at).zip(self.octet(at + 1)),
            // RFC 7348: the flag says that there is a number.
            UDP if self.packet.dst_port == Some(VXLAN_PORT) && self.octet(at + 8).is_some_and(|f| f & 0x08 != 0) => {
                self.packet.vni = self.array(at + 12).map(|entry| u32::from_be_bytes(entry) >> 8);
            }
            _ => {}
        }
    }
}
