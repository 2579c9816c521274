//! The ring as a capture file: pcapng, because only there a datagram can carry a comment.
//!
//! Little-endian, one section, one interface (link type raw IP, nanoseconds) a listener, one enhanced block a datagram.
//! The headers are made up: both ends as the socket told them (a listener on all addresses does not know to which of
//! them a datagram came: then 0.0.0.0 or ::), right lengths, right checksums, so that no reader complains of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Kept;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_FRAME: u32 = 6;
const LINK_RAW_IP: u16 = 101;
const OPTION_END: u16 = 0;
const OPTION_COMMENT: u16 = 1;
const OPTION_SECTION_APPLICATION: u16 = 4;
const OPTION_INTERFACE_NAME: u16 = 2;
const OPTION_INTERFACE_RESOLUTION: u16 = 9;
/// Octets of a listener's name or a comment: ours are shorter. With the block (32), its options (8), headers (48) and
/// padding (6) it stays below REJECTED_OVERHEAD_OCTETS.
const TEXT_OCTETS_MAX: usize = 160;
/// What fits behind the headers of an IP packet: UDP over IPv4 and IPv6 ends there, so nothing is ever cut.
const UDP_V4_OCTETS_MAX: usize = 65_535 - 28;
const UDP_V6_OCTETS_MAX: usize = 65_535 - 8;
const UDP: u8 = 17;

const NOTE: &str = "datagrams that made no sense; IP and UDP headers are made up from what the socket told";

/// The file.
pub(super) fn write(listeners: &[(String, SocketAddr)], kept: &[Kept]) -> Vec<u8> {
    let octets: usize = kept.iter().map(|k| k.weight() as usize).sum();
    let mut file = Vec::with_capacity(octets + (listeners.len() + 1) * 256);
    block(&mut file, SECTION_HEADER, |body| {
        body.extend_from_slice(&BYTE_ORDER.to_le_bytes());
        // Version 1.0; the length of the section is not told.
        body.extend_from_slice(&[1, 0, 0, 0]);
        body.extend_from_slice(&u64::MAX.to_le_bytes());
        option(body, OPTION_COMMENT, NOTE.as_bytes());
        option(body, OPTION_SECTION_APPLICATION, b"clarion-collector");
        option(body, OPTION_END, &[]);
    });
    for (name, _) in listeners {
        block(&mut file, INTERFACE_DESCRIPTION, |body| {
            body.extend_from_slice(&LINK_RAW_IP.to_le_bytes());
            // Reserved, and no bound on the octets of a frame.
            body.extend_from_slice(&[0; 6]);
            option(body, OPTION_INTERFACE_NAME, name.as_bytes());
            option(body, OPTION_INTERFACE_RESOLUTION, &[9]);
            option(body, OPTION_END, &[]);
        });
    }
    for kept in kept {
        datagram(&mut file, listeners, kept);
    }
    file
}

fn datagram(file: &mut Vec<u8>, listeners: &[(String, SocketAddr)], kept: &Kept) {
    let Some((_, local)) = listeners.get(kept.listener) else { return };
    block(file, ENHANCED_FRAME, |body| {
        let interface = u32::try_from(kept.listener).unwrap_or(0);
        let (high, low) = ((kept.receive_ns >> 32) as u32, kept.receive_ns as u32);
        [interface, high, low].iter().for_each(|word| body.extend_from_slice(&word.to_le_bytes()));
        let lengths = body.len();
        body.extend_from_slice(&[0; 8]);
        let begin = body.len();
        frame(body, kept.peer, *local, &kept.octets);
        // Captured and original: the same.
        let length = u32::try_from(body.len() - begin).unwrap_or(0).to_le_bytes();
        body[lengths..lengths + 4].copy_from_slice(&length);
        body[lengths + 4..lengths + 8].copy_from_slice(&length);
        pad(body, begin);
        option(body, OPTION_COMMENT, kept.reason.to_string().as_bytes());
        option(body, OPTION_END, &[]);
    });
}

/// One IP packet with one UDP datagram.
fn frame(to: &mut Vec<u8>, peer: SocketAddr, local: SocketAddr, octets: &[u8]) {
    let (from, at) = (peer.ip().to_canonical(), local.ip().to_canonical());
    let begin = to.len();
    match from {
        IpAddr::V4(from) => {
            let at = if let IpAddr::V4(at) = at { at } else { Ipv4Addr::UNSPECIFIED };
            let octets = &octets[..octets.len().min(UDP_V4_OCTETS_MAX)];
            let length = u16::try_from(28 + octets.len()).unwrap_or(u16::MAX).to_be_bytes();
            // Version and length of the header; identification, flags and offset: none; 64 hops; checksum to come.
            to.extend_from_slice(&[0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, UDP, 0, 0]);
            to.extend_from_slice(&from.octets());
            to.extend_from_slice(&at.octets());
            let checksum = folded(sum(0, &to[begin..])).to_be_bytes();
            to[begin + 10..begin + 12].copy_from_slice(&checksum);
            udp(to, begin + 12, peer.port(), local.port(), octets);
        }
        IpAddr::V6(from) => {
            let at = if let IpAddr::V6(at) = at { at } else { Ipv6Addr::UNSPECIFIED };
            let octets = &octets[..octets.len().min(UDP_V6_OCTETS_MAX)];
            let length = u16::try_from(8 + octets.len()).unwrap_or(u16::MAX).to_be_bytes();
            to.extend_from_slice(&[0x60, 0, 0, 0, length[0], length[1], UDP, 64]);
            to.extend_from_slice(&from.octets());
            to.extend_from_slice(&at.octets());
            udp(to, begin + 8, peer.port(), local.port(), octets);
        }
    }
}

/// The UDP datagram; both addresses stand from `addresses` to the end.
fn udp(to: &mut Vec<u8>, addresses: usize, from: u16, at: u16, octets: &[u8]) {
    let begin = to.len();
    let length = u16::try_from(8 + octets.len()).unwrap_or(u16::MAX);
    [from, at, length, 0].iter().for_each(|word| to.extend_from_slice(&word.to_be_bytes()));
    to.extend_from_slice(octets);
    let pseudo = sum(u64::from(UDP) + u64::from(length), &to[addresses..begin]);
    let checksum = match folded(sum(pseudo, &to[begin..])) {
        // 0 would say that there is none.
        0 => u16::MAX,
        checksum => checksum,
    };
    to[begin + 6..begin + 8].copy_from_slice(&checksum.to_be_bytes());
}

/// Adds octets to a checksum as words of 16 bits (RFC 1071).
fn sum(before: u64, octets: &[u8]) -> u64 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
    before + octets.chunks(2).map(word).sum::<u64>()
}

fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn block(file: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let begin = file.len();
    file.extend_from_slice(&kind.to_le_bytes());
    file.extend_from_slice(&[0; 4]);
    body(file);
    let length = u32::try_from(file.len() - begin + 4).unwrap_or(0).to_le_bytes();
    file[begin + 4..begin + 8].copy_from_slice(&length);
    file.extend_from_slice(&length);
}

fn option(to: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(TEXT_OCTETS_MAX)];
    to.extend_from_slice(&code.to_le_bytes());
    to.extend_from_slice(&u16::try_from(value.len()).unwrap_or(0).to_le_bytes());
    let begin = to.len();
    to.extend_from_slice(value);
    pad(to, begin);
}

/// To a multiple of four octets since `begin`.
fn pad(to: &mut Vec<u8>, begin: usize) {
    let octets = (to.len() - begin).next_multiple_of(4);
    to.resize(begin + octets, 0);
}
