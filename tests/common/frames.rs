//! Captures by hand: UDP, IP (whole and in fragments), link layers, pcap and pcapng. The reader is not tested
//! with an encoder of its own family.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::net::{IpAddr, SocketAddr};

/// How a file writes its integers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Order {
    Little,
    Big,
}

pub const ORDERS: [Order; 2] = [Order::Little, Order::Big];

impl Order {
    pub fn u32(self, value: u32) -> [u8; 4] {
        if self == Self::Little { value.to_le_bytes() } else { value.to_be_bytes() }
    }

    pub fn u16(self, value: u16) -> [u8; 2] {
        if self == Self::Little { value.to_le_bytes() } else { value.to_be_bytes() }
    }
}

/// A datagram, and what its IP packet is numbered.
#[derive(Clone, Debug)]
pub struct Sent {
    pub src: SocketAddr,
    pub dst: SocketAddr,
    pub id: u32,
    pub payload: Vec<u8>,
}

pub fn sent(src: &str, dst: &str, id: u32, payload: &[u8]) -> Sent {
    Sent { src: src.parse().unwrap(), dst: dst.parse().unwrap(), id, payload: payload.to_vec() }
}

/// Octets that differ from place to place.
pub fn pattern(octets: usize) -> Vec<u8> {
    (0..octets).map(|at| (at * 7 + at / 256) as u8).collect()
}

impl Sent {
    /// UDP header and payload.
    pub fn udp(&self) -> Vec<u8> {
        let length = u16::try_from(8 + self.payload.len()).unwrap();
        let words = [self.src.port(), self.dst.port(), length, 0];
        let mut octets: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
        octets.extend_from_slice(&self.payload);
        octets
    }

    /// One IP packet.
    pub fn ip(&self) -> Vec<u8> {
        let udp = self.udp();
        if self.src.is_ipv4() { self.ipv4(0x4000, &udp) } else { self.ipv6(17, &udp) }
    }

    /// The fragments of it, cut behind these octets of UDP (multiples of eight).
    pub fn fragments(&self, cuts: &[usize]) -> Vec<Vec<u8>> {
        let udp = self.udp();
        let begins = [&[0], cuts].concat();
        let ends = [cuts, &[udp.len()]].concat();
        begins.iter().zip(ends).map(|(&begin, end)| self.fragment(begin, end < udp.len(), &udp[begin..end])).collect()
    }

    /// A fragment with these octets, whatever they are.
    pub fn fragment(&self, offset: usize, more: bool, octets: &[u8]) -> Vec<u8> {
        let offset = u16::try_from(offset).unwrap();
        if self.src.is_ipv4() {
            return self.ipv4((offset / 8) | if more { 0x2000 } else { 0 }, octets);
        }
        let mut body = vec![17, 0];
        body.extend_from_slice(&(offset | u16::from(more)).to_be_bytes());
        body.extend_from_slice(&self.id.to_be_bytes());
        body.extend_from_slice(octets);
        self.ipv6(44, &body)
    }

    /// With four octets of options.
    pub fn ipv4(&self, cut: u16, body: &[u8]) -> Vec<u8> {
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (self.src.ip(), self.dst.ip()) else { panic!("not IPv4") };
        let mut octets = vec![0x46, 0];
        for word in [u16::try_from(24 + body.len()).unwrap(), self.id as u16, cut] {
            octets.extend_from_slice(&word.to_be_bytes());
        }
        octets.extend_from_slice(&[64, 17, 0, 0]);
        octets.extend_from_slice(&src.octets());
        octets.extend_from_slice(&dst.octets());
        octets.extend_from_slice(&[1, 1, 1, 0]);
        octets.extend_from_slice(body);
        octets
    }

    pub fn ipv6(&self, next: u8, body: &[u8]) -> Vec<u8> {
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (self.src.ip(), self.dst.ip()) else { panic!("not IPv6") };
        let mut octets = vec![0x60, 0, 0, 0];
        octets.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
        octets.extend_from_slice(&[next, 64]);
        octets.extend_from_slice(&src.octets());
        octets.extend_from_slice(&dst.octets());
        octets.extend_from_slice(body);
        octets
    }
}

/// Link types that lead to IP.
pub const LINKS: [u16; 14] = [0, 1, 9, 12, 14, 50, 51, 101, 104, 108, 113, 228, 229, 276];

/// An IP packet in a frame of this link type.
pub fn frame(link: u16, ip: &[u8]) -> Vec<u8> {
    let v4 = ip[0] >> 4 == 4;
    let ethertype: [u8; 2] = if v4 { [8, 0] } else { [0x86, 0xdd] };
    let ppp: [u8; 2] = if v4 { [0, 0x21] } else { [0, 0x57] };
    let family = if v4 { 2 } else { 28 };
    let head: Vec<u8> = match link {
        0 => vec![family, 0, 0, 0],
        1 => [&[0, 0, 0x5e, 0, 0x53, 1, 0, 0, 0x5e, 0, 0x53, 2], &ethertype[..]].concat(),
        9 => ppp.to_vec(),
        50 => [&[0xff, 3], &ppp[..]].concat(),
        51 => [&[0x11, 0, 0, 1, 0, 0], &ppp[..]].concat(),
        104 => [&[0x0f, 0], &ethertype[..]].concat(),
        108 => vec![0, 0, 0, family],
        113 => [&[0, 0, 0, 1, 0, 6, 0, 0, 0x5e, 0, 0x53, 2, 0, 0], &ethertype[..]].concat(),
        276 => [&ethertype[..], &[0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 0, 0, 0x5e, 0, 0x53, 2, 0, 0]].concat(),
        _ => Vec::new(),
    };
    [&head, ip].concat()
}

/// An Ethernet frame with VLAN tags of these types.
pub fn tagged(types: &[u16], ip: &[u8]) -> Vec<u8> {
    let whole = frame(1, ip);
    let tags: Vec<u8> = types.iter().flat_map(|t| [t.to_be_bytes(), [0, 7]].concat()).collect();
    [&whole[..12], &tags, &whole[12..]].concat()
}

/// A pcap file: frames with their times.
pub fn pcap(order: Order, nanoseconds: bool, link: u16, frames: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut file = order.u32(if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 }).to_vec();
    file.extend_from_slice(&order.u16(2));
    file.extend_from_slice(&order.u16(4));
    for word in [0, 0, 262_144, u32::from(link)] {
        file.extend_from_slice(&order.u32(word));
    }
    for (time_ns, frame) in frames {
        let length = u32::try_from(frame.len()).unwrap();
        let part = (time_ns % 1_000_000_000) / if nanoseconds { 1 } else { 1_000 };
        for word in [(time_ns / 1_000_000_000) as u32, part as u32, length, length] {
            file.extend_from_slice(&order.u32(word));
        }
        file.extend_from_slice(frame);
    }
    file
}

/// A pcapng file, block by block.
pub struct Blocks {
    pub order: Order,
    pub file: Vec<u8>,
}

impl Blocks {
    /// Begins with a section header of this byte order.
    pub fn new(order: Order) -> Self {
        let mut this = Self { order, file: Vec::new() };
        this.section(order);
        this
    }

    pub fn section(&mut self, order: Order) {
        self.order = order;
        let body = [&order.u32(0x1a2b_3c4d)[..], &order.u16(1), &order.u16(0), &[0xff; 8]].concat();
        self.block(0x0a0d_0d0a, &body);
    }

    /// Type, length, body padded to four octets, length.
    pub fn block(&mut self, kind: u32, body: &[u8]) {
        let padded = body.len().next_multiple_of(4);
        let length = self.order.u32(u32::try_from(12 + padded).unwrap());
        self.file.extend_from_slice(&self.order.u32(kind));
        self.file.extend_from_slice(&length);
        self.file.extend_from_slice(body);
        self.file.resize(self.file.len() + padded - body.len(), 0xee);
        self.file.extend_from_slice(&length);
    }

    /// Clock: units by if_tsresol, seconds by if_tsoffset.
    pub fn interface(&mut self, link: u16, snap_length: u32, resolution: u8, offset: i64) {
        let order = self.order;
        let offset = if order == Order::Little { offset.to_le_bytes() } else { offset.to_be_bytes() };
        let body = [
            &order.u16(link)[..],
            &order.u16(0),
            &order.u32(snap_length),
            &order.u16(9),
            &order.u16(1),
            &[resolution, 0, 0, 0],
            &order.u16(14),
            &order.u16(8),
            &offset,
            &[0; 4],
        ];
        self.block(1, &body.concat());
    }

    pub fn enhanced(&mut self, interface: u32, stamp: u64, frame: &[u8]) {
        let length = u32::try_from(frame.len()).unwrap();
        let words = [interface, (stamp >> 32) as u32, stamp as u32, length, length];
        let mut body: Vec<u8> = words.iter().flat_map(|w| self.order.u32(*w)).collect();
        body.extend_from_slice(frame);
        self.block(6, &body);
    }

    /// `original` octets on the wire, of which `frame` was kept.
    pub fn simple(&mut self, original: usize, frame: &[u8]) {
        let body = [&self.order.u32(u32::try_from(original).unwrap())[..], frame].concat();
        self.block(3, &body);
    }

    pub fn obsolete(&mut self, interface: u16, stamp: u64, frame: &[u8]) {
        let length = u32::try_from(frame.len()).unwrap();
        let mut body = [self.order.u16(interface), self.order.u16(0xffff)].concat();
        for word in [(stamp >> 32) as u32, stamp as u32, length, length] {
            body.extend_from_slice(&self.order.u32(word));
        }
        body.extend_from_slice(frame);
        self.block(2, &body);
    }
}
