//! A link-layer frame -> the UDP datagram in it, or what it is instead.
//!
//! Ethernet (with VLAN tags), Linux cooked v1 and v2, raw IP, null and loopback; IPv4 and IPv6 with
//! its extension headers. Every length is checked against the frame before it is trusted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a frame turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A whole UDP datagram.
    Udp { src: SocketAddr, dst: SocketAddr, payload: &'a [u8] },
    /// A part of an IP packet.
    Fragment,
    /// A UDP datagram of which the capture kept only the beginning.
    CutOff,
    /// Another protocol.
    Other,
    /// Headers that do not add up.
    Malformed,
    /// A link type that is not read.
    UnknownLink,
}

// Link types of the pcap registry.
const LINK_NULL: i32 = 0;
const LINK_ETHERNET: i32 = 1;
const LINK_RAW_BSD: i32 = 12;
const LINK_RAW_OPENBSD: i32 = 14;
const LINK_RAW: i32 = 101;
const LINK_LOOP: i32 = 108;
const LINK_SLL: i32 = 113;
const LINK_IPV4: i32 = 228;
const LINK_IPV6: i32 = 229;
const LINK_SLL2: i32 = 276;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const PROTOCOL_UDP: u8 = 17;
/// Extension headers that are walked at most: more stand in no honest packet.
const EXTENSIONS_MAX: usize = 16;

/// Takes a frame apart.
pub(super) fn dissect(link: i32, frame: &[u8]) -> Frame<'_> {
    let inner = match link {
        LINK_ETHERNET => word(frame, 12).zip(frame.get(14..)).map_or(Frame::Malformed, |(t, rest)| tagged(t, rest)),
        LINK_SLL => word(frame, 14).zip(frame.get(16..)).map_or(Frame::Malformed, |(t, rest)| tagged(t, rest)),
        LINK_SLL2 => word(frame, 0).zip(frame.get(20..)).map_or(Frame::Malformed, |(t, rest)| tagged(t, rest)),
        // The address family stands in the byte order of the machine that captured: the version
        // nibble says the same without asking.
        LINK_NULL | LINK_LOOP => frame.get(4..).map_or(Frame::Malformed, raw),
        LINK_RAW | LINK_RAW_BSD | LINK_RAW_OPENBSD | LINK_IPV4 | LINK_IPV6 => raw(frame),
        _ => return Frame::UnknownLink,
    };
    match inner {
        Frame::Udp { src, dst, payload } => Frame::Udp { src: folded(src), dst: folded(dst), payload },
        other => other,
    }
}

fn word(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]))
}

/// IPv4-mapped IPv6 is the IPv4 exporter (G-05).
fn folded(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Walks VLAN tags (802.1Q, 802.1ad and the older 0x9100); each takes four octets, so the loop ends.
fn tagged(mut ethertype: u16, mut rest: &[u8]) -> Frame<'_> {
    while matches!(ethertype, 0x8100 | 0x88a8 | 0x9100) {
        match word(rest, 2).zip(rest.get(4..)) {
            Some((inner, behind)) => (ethertype, rest) = (inner, behind),
            None => return Frame::Malformed,
        }
    }
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(rest),
        ETHERTYPE_IPV6 => ipv6(rest),
        _ => Frame::Other,
    }
}

fn raw(packet: &[u8]) -> Frame<'_> {
    match packet.first().map(|b| b >> 4) {
        Some(4) => ipv4(packet),
        Some(6) => ipv6(packet),
        Some(_) => Frame::Other,
        None => Frame::Malformed,
    }
}

fn ipv4(packet: &[u8]) -> Frame<'_> {
    let Some(header) = packet.first_chunk::<20>() else { return Frame::Malformed };
    let header_length = usize::from(header[0] & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    // 0: the network card was to fill it in (segmentation offload); the frame's own end holds then.
    let total = if total == 0 { packet.len() } else { total };
    if header[0] >> 4 != 4 || header_length < 20 || total < header_length {
        return Frame::Malformed;
    }
    // More fragments, or an offset.
    if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
        return Frame::Fragment;
    }
    if header[9] != PROTOCOL_UDP {
        return Frame::Other;
    }
    let src = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    let dst = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
    let end = total.min(packet.len());
    packet
        .get(header_length..end)
        .map_or(Frame::CutOff, |body| udp(src.into(), dst.into(), body, total - header_length))
}

fn ipv6(packet: &[u8]) -> Frame<'_> {
    let Some(header) = packet.first_chunk::<40>() else { return Frame::Malformed };
    if header[0] >> 4 != 6 {
        return Frame::Malformed;
    }
    let address = |at: usize| -> IpAddr {
        let mut octets = [0; 16];
        octets.copy_from_slice(&header[at..at + 16]);
        Ipv6Addr::from(octets).into()
    };
    let (src, dst) = (address(8), address(24));
    let mut stated = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let mut body = &packet[40..];
    body = &body[..stated.min(body.len())];
    let mut next = header[6];
    for _ in 0..EXTENSIONS_MAX {
        let length = match (next, body) {
            (PROTOCOL_UDP, _) => return udp(src, dst, body, stated),
            // Hop-by-hop, routing, destination options: 8 octets and 8 for each counted.
            (0 | 43 | 60, [_, n, ..]) => (usize::from(*n) + 1) * 8,
            // Authentication: 4 octets for each counted, and 8.
            (51, [_, n, ..]) => (usize::from(*n) + 2) * 4,
            // An atomic fragment (offset 0, no more) is a whole packet, RFC 6946.
            (44, [_, _, high, low, ..]) if u16::from_be_bytes([*high, *low]) & 0xfff9 == 0 => 8,
            (44, _) => return Frame::Fragment,
            (0 | 43 | 60 | 51, _) => return Frame::CutOff,
            _ => return Frame::Other,
        };
        if length > stated {
            return Frame::Malformed;
        }
        let Some(rest) = body.get(length..) else { return Frame::CutOff };
        next = body[0];
        stated -= length;
        body = rest;
    }
    Frame::Malformed
}

/// `stated` is what the IP header leaves for UDP; `body` may be shorter where the capture cut it.
fn udp(src: IpAddr, dst: IpAddr, body: &[u8], stated: usize) -> Frame<'_> {
    let Some(header) = body.first_chunk::<8>() else {
        return if stated < 8 { Frame::Malformed } else { Frame::CutOff };
    };
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    if length < 8 || length > stated {
        return Frame::Malformed;
    }
    let src = SocketAddr::new(src, u16::from_be_bytes([header[0], header[1]]));
    let dst = SocketAddr::new(dst, u16::from_be_bytes([header[2], header[3]]));
    body.get(8..length).map_or(Frame::CutOff, |payload| Frame::Udp { src, dst, payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp_octets(payload: &[u8]) -> Vec<u8> {
        let mut octets = vec![0x08, 0x07, 0x12, 0x83, 0, 8 + payload.len() as u8, 0, 0];
        octets.extend_from_slice(payload);
        octets
    }

    fn ipv4_octets(body: &[u8], flags: u16) -> Vec<u8> {
        let mut octets = vec![0x45, 0, 0, 20 + body.len() as u8, 0, 0];
        octets.extend_from_slice(&flags.to_be_bytes());
        octets.extend_from_slice(&[64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2]);
        octets.extend_from_slice(body);
        octets
    }

    fn ipv6_octets(next: u8, src: [u8; 16], body: &[u8]) -> Vec<u8> {
        let mut octets = vec![0x60, 0, 0, 0, 0, body.len() as u8, next, 64];
        octets.extend_from_slice(&src);
        octets.extend_from_slice(&[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        octets.extend_from_slice(body);
        octets
    }

    fn payload_of(link: i32, frame: &[u8]) -> (String, Vec<u8>) {
        match dissect(link, frame) {
            Frame::Udp { src, payload, .. } => (src.to_string(), payload.to_vec()),
            other => panic!("no datagram: {other:?}"),
        }
    }

    #[test]
    fn every_link_type_leads_to_the_datagram() {
        let packet = ipv4_octets(&udp_octets(b"flow"), 0);
        let with = |head: &[u8]| [head, &packet].concat();
        let frames = [
            (LINK_ETHERNET, with(&[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 8, 0])),
            (LINK_ETHERNET, with(&[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 0x88, 0xa8, 0, 5, 0x81, 0, 0, 7, 8, 0])),
            (LINK_SLL, with(&[0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 1, 0, 0, 8, 0])),
            (LINK_SLL2, with(&[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 0, 0, 0, 0, 0, 1, 0, 0])),
            (LINK_NULL, with(&[2, 0, 0, 0])),
            (LINK_LOOP, with(&[0, 0, 0, 2])),
            (LINK_RAW, with(&[])),
        ];
        for (link, frame) in frames {
            assert_eq!(payload_of(link, &frame), ("192.0.2.1:2055".to_owned(), b"flow".to_vec()), "link {link}");
            // Ethernet pads short frames.
            let padded = [frame.as_slice(), &[0; 9]].concat();
            assert_eq!(payload_of(link, &padded).1, b"flow", "link {link}");
            for end in 0..frame.len() {
                assert!(!matches!(dissect(link, &frame[..end]), Frame::Udp { .. }), "link {link}, {end} octets");
            }
        }
        assert_eq!(dissect(105, &packet), Frame::UnknownLink);
    }

    #[test]
    fn fragments_and_others_are_told_apart() {
        assert_eq!(dissect(LINK_RAW, &ipv4_octets(&udp_octets(b"x"), 0x2000)), Frame::Fragment);
        assert_eq!(dissect(LINK_RAW, &ipv4_octets(&udp_octets(b"x"), 185)), Frame::Fragment);
        assert!(matches!(dissect(LINK_RAW, &ipv4_octets(&udp_octets(b"x"), 0x4000)), Frame::Udp { .. }));
        let mut tcp = ipv4_octets(&udp_octets(b"x"), 0);
        tcp[9] = 6;
        assert_eq!(dissect(LINK_RAW, &tcp), Frame::Other);
        assert_eq!(dissect(LINK_ETHERNET, &[[0; 12].as_slice(), &[8, 6], &[0; 28]].concat()), Frame::Other);
        let whole = ipv4_octets(&udp_octets(b"payload"), 0);
        assert_eq!(dissect(LINK_RAW, &whole[..whole.len() - 1]), Frame::CutOff);
        let mut lying = whole;
        lying[25] = 200;
        assert_eq!(dissect(LINK_RAW, &lying), Frame::Malformed);
    }

    #[test]
    fn ipv6_with_extension_headers() {
        let src = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let udp = udp_octets(b"six");
        assert_eq!(payload_of(LINK_RAW, &ipv6_octets(17, src, &udp)).0, "[2001:db8::1]:2055");
        let hop = [&[60, 0, 0, 0, 0, 0, 0, 0], [17, 0, 0, 0, 0, 0, 0, 0].as_slice(), &udp].concat();
        let packet = ipv6_octets(0, src, &hop);
        assert_eq!(payload_of(LINK_RAW, &packet).1, b"six");
        for end in 0..packet.len() {
            assert!(!matches!(dissect(LINK_RAW, &packet[..end]), Frame::Udp { .. }), "{end} octets");
        }
        let atomic = [&[17, 0, 0, 0, 0, 0, 0, 9], udp.as_slice()].concat();
        assert_eq!(payload_of(LINK_RAW, &ipv6_octets(44, src, &atomic)).1, b"six");
        let first = [&[17, 0, 0, 1, 0, 0, 0, 9], udp.as_slice()].concat();
        assert_eq!(dissect(LINK_RAW, &ipv6_octets(44, src, &first)), Frame::Fragment);
        let endless: Vec<u8> = [0_u8, 0, 0, 0, 0, 0, 0, 0].repeat(20);
        assert_eq!(dissect(LINK_RAW, &ipv6_octets(0, src, &endless)), Frame::Malformed);
        let mut mapped = [0; 16];
        mapped[10..].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 7]);
        assert_eq!(payload_of(LINK_RAW, &ipv6_octets(17, mapped, &udp)).0, "192.0.2.7:2055");
    }
}
