//! A link-layer frame -> the UDP datagram in it, or what it is instead.
//!
//! Ethernet (VLAN tags, PPPoE), Linux cooked v1 and v2, PPP, Cisco HDLC, raw IP, null and loopback; IPv4
//! with options, IPv6 with its extension headers. Every length is checked against the frame before it is
//! trusted. An IP fragment comes out as a [`Part`]; [`joined`] takes the payload that parts made.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::join::{Origin, PAYLOAD_OCTETS_MAX, Part};

/// What a frame turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A whole UDP datagram.
    Udp { src: SocketAddr, dst: SocketAddr, payload: &'a [u8] },
    /// A part of an IP packet that may hold a UDP datagram.
    Part(Part<'a>),
    /// A UDP datagram, or a part of one, of which the capture kept only the beginning.
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
const LINK_PPP: i32 = 9;
const LINK_RAW_BSD: i32 = 12;
const LINK_RAW_OPENBSD: i32 = 14;
const LINK_PPP_HDLC: i32 = 50;
const LINK_PPP_ETHERNET: i32 = 51;
const LINK_RAW: i32 = 101;
const LINK_CISCO_HDLC: i32 = 104;
const LINK_LOOP: i32 = 108;
const LINK_SLL: i32 = 113;
const LINK_IPV4: i32 = 228;
const LINK_IPV6: i32 = 229;
const LINK_SLL2: i32 = 276;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_PPPOE_SESSION: u16 = 0x8864;
const PPP_IPV4: u16 = 0x0021;
const PPP_IPV6: u16 = 0x0057;
const PROTOCOL_UDP: u8 = 17;
const EXTENSION_FRAGMENT: u8 = 44;
/// Extension headers that are walked at most: more stand in no honest packet.
const EXTENSIONS_MAX: usize = 16;

/// Takes a frame apart.
pub(super) fn dissect(link: i32, frame: &[u8]) -> Frame<'_> {
    let inner = match link {
        LINK_ETHERNET => typed(frame, 12, 14),
        LINK_SLL => typed(frame, 14, 16),
        LINK_SLL2 => typed(frame, 0, 20),
        LINK_CISCO_HDLC => typed(frame, 2, 4),
        LINK_PPP | LINK_PPP_HDLC => ppp(frame),
        LINK_PPP_ETHERNET => pppoe(frame),
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

/// The UDP datagram in the joined payload of an IP packet whose first part said `next`.
pub(super) fn joined(of: Origin, next: u8, payload: &[u8]) -> Frame<'_> {
    match inside(of.src, of.dst, next, payload, payload.len()) {
        Frame::Udp { src, dst, payload } => Frame::Udp { src: folded(src), dst: folded(dst), payload },
        // Parts of parts: no sender cuts twice.
        Frame::Part(_) => Frame::Malformed,
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

/// A frame whose EtherType stands at `at` and whose payload begins at `begin`.
fn typed(frame: &[u8], at: usize, begin: usize) -> Frame<'_> {
    word(frame, at).zip(frame.get(begin..)).map_or(Frame::Malformed, |(ethertype, rest)| tagged(ethertype, rest))
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
        ETHERTYPE_PPPOE_SESSION => pppoe(rest),
        _ => Frame::Other,
    }
}

/// Six octets of PPPoE, then the PPP protocol.
fn pppoe(session: &[u8]) -> Frame<'_> {
    session.get(6..).map_or(Frame::Malformed, ppp)
}

/// PPP, with its address and control octets (0xff03) or without.
fn ppp(frame: &[u8]) -> Frame<'_> {
    let frame = frame.strip_prefix(&[0xff, 0x03]).unwrap_or(frame);
    match word(frame, 0).zip(frame.get(2..)) {
        Some((PPP_IPV4, packet)) => ipv4(packet),
        Some((PPP_IPV6, packet)) => ipv6(packet),
        Some(_) => Frame::Other,
        None => Frame::Malformed,
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
    if header[9] != PROTOCOL_UDP {
        return Frame::Other;
    }
    let src = IpAddr::from(Ipv4Addr::new(header[12], header[13], header[14], header[15]));
    let dst = IpAddr::from(Ipv4Addr::new(header[16], header[17], header[18], header[19]));
    let stated = total - header_length;
    let Some(body) = packet.get(header_length..total.min(packet.len())) else { return Frame::CutOff };
    let cut = u16::from_be_bytes([header[6], header[7]]);
    // More fragments, or an offset.
    if cut & 0x3fff != 0 {
        let id = u32::from(u16::from_be_bytes([header[4], header[5]]));
        let of = Origin { src, dst, id, protocol: header[9] };
        return part(of, header[9], usize::from(cut & 0x1fff) * 8, cut & 0x2000 != 0, body, stated);
    }
    udp(src, dst, body, stated)
}

/// A fragment, if it can be one: `stated` is what the headers say it has.
fn part(of: Origin, next: u8, offset: usize, more: bool, octets: &[u8], stated: usize) -> Frame<'_> {
    // Every part but the last ends where another can begin.
    if stated == 0 || more && !stated.is_multiple_of(8) || offset + stated > PAYLOAD_OCTETS_MAX {
        return Frame::Malformed;
    }
    if octets.len() < stated {
        return Frame::CutOff;
    }
    Frame::Part(Part { of, next, offset, more, octets })
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
    let stated = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let body = &packet[40..];
    inside(address(8), address(24), header[6], &body[..stated.min(body.len())], stated)
}

/// Walks extension headers to UDP; `stated` is what the headers before leave, `body` may be shorter.
fn inside(src: IpAddr, dst: IpAddr, mut next: u8, mut body: &[u8], mut stated: usize) -> Frame<'_> {
    for _ in 0..EXTENSIONS_MAX {
        let length = match (next, body) {
            (PROTOCOL_UDP, _) => return udp(src, dst, body, stated),
            // Hop-by-hop, routing, destination options: 8 octets and 8 for each counted.
            (0 | 43 | 60, [_, n, ..]) => (usize::from(*n) + 1) * 8,
            // Authentication: 4 octets for each counted, and 8.
            (51, [_, n, ..]) => (usize::from(*n) + 2) * 4,
            // An atomic fragment (offset 0, no more) is a whole packet, RFC 6946.
            (EXTENSION_FRAGMENT, [_, _, high, low, ..]) if u16::from_be_bytes([*high, *low]) & 0xfff9 == 0 => 8,
            (EXTENSION_FRAGMENT, [inner, _, high, low, a, b, c, d, octets @ ..]) if stated >= 8 => {
                // What is behind can only be UDP if it is UDP, or headers that may lead to it.
                if !matches!(*inner, PROTOCOL_UDP | 0 | 43 | 51 | 60) {
                    return Frame::Other;
                }
                let cut = u16::from_be_bytes([*high, *low]);
                let of = Origin { src, dst, id: u32::from_be_bytes([*a, *b, *c, *d]), protocol: 0 };
                return part(of, *inner, usize::from(cut & 0xfff8), cut & 1 != 0, octets, stated - 8);
            }
            (0 | 43 | 51 | 60 | EXTENSION_FRAGMENT, _) if body.len() < stated => return Frame::CutOff,
            (0 | 43 | 51 | 60 | EXTENSION_FRAGMENT, _) => return Frame::Malformed,
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
            (LINK_ETHERNET, [&[0; 12][..], &[0x81, 0, 0, 5, 0x91, 0, 0, 6, 0x81, 0, 0, 7, 8, 0], &packet].concat()),
            (LINK_ETHERNET, [&[0; 12][..], &[0x88, 0x64, 0x11, 0, 0, 1, 0, 0, 0, 0x21], &packet].concat()),
            (LINK_PPP, with(&[0, 0x21])),
            (LINK_PPP_HDLC, with(&[0xff, 0x03, 0, 0x21])),
            (LINK_PPP_ETHERNET, with(&[0x11, 0, 0, 1, 0, 0, 0, 0x21])),
            (LINK_CISCO_HDLC, with(&[0x0f, 0, 8, 0])),
            (LINK_SLL, with(&[0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 1, 0, 0, 8, 0])),
            (LINK_SLL2, with(&[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 0, 0, 0, 0, 0, 1, 0, 0])),
            (LINK_NULL, with(&[2, 0, 0, 0])),
            (LINK_LOOP, with(&[0, 0, 0, 2])),
            (LINK_LOOP, with(&[2, 0, 0, 0])),
            (LINK_RAW, with(&[])),
            (LINK_RAW_BSD, with(&[])),
            (LINK_RAW_OPENBSD, with(&[])),
            (LINK_IPV4, with(&[])),
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
        let of = Origin { src: [192, 0, 2, 1].into(), dst: [198, 51, 100, 2].into(), id: 0, protocol: 17 };
        let first = udp_octets(b"12345678");
        assert_eq!(
            dissect(LINK_RAW, &ipv4_octets(&first, 0x2000)),
            Frame::Part(Part { of, next: 17, offset: 0, more: true, octets: &first })
        );
        assert_eq!(
            dissect(LINK_RAW, &ipv4_octets(b"rest", 185)),
            Frame::Part(Part { of, next: 17, offset: 1_480, more: false, octets: b"rest" })
        );
        assert_eq!(dissect(LINK_RAW, &ipv4_octets(&first[..9], 0x2000)), Frame::Malformed, "no multiple of 8");
        assert_eq!(dissect(LINK_RAW, &ipv4_octets(b"", 185)), Frame::Malformed, "empty");
        assert_eq!(dissect(LINK_RAW, &ipv4_octets(b"12345678", 0x1fff)), Frame::Malformed, "past 64 KiB");
        let cut = ipv4_octets(&first, 0x2000);
        assert_eq!(dissect(LINK_RAW, &cut[..cut.len() - 1]), Frame::CutOff);
        let mut tcp_part = cut;
        tcp_part[9] = 6;
        assert_eq!(dissect(LINK_RAW, &tcp_part), Frame::Other);
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
        let first = [&[17, 0, 0, 1, 0, 0, 0, 9], &udp[..8]].concat();
        let of = Origin {
            src: src.into(),
            dst: [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2].into(),
            id: 9,
            protocol: 0,
        };
        let packet = ipv6_octets(44, src, &first);
        assert_eq!(
            dissect(LINK_RAW, &packet),
            Frame::Part(Part { of, next: 17, offset: 0, more: true, octets: &udp[..8] })
        );
        for end in 40..packet.len() {
            assert_eq!(dissect(LINK_RAW, &packet[..end]), Frame::CutOff, "{end} octets");
        }
        assert_eq!(dissect(LINK_RAW, &ipv6_octets(44, src, &[58, 0, 0, 1, 0, 0, 0, 9, 0, 0])), Frame::Other);
        assert_eq!(dissect(LINK_RAW, &ipv6_octets(44, src, &[17, 0, 0, 1, 0, 0])), Frame::Malformed);
        let hop_and_udp = [&[17, 0, 0, 0, 0, 0, 0, 0], udp.as_slice()].concat();
        assert!(matches!(joined(of, 60, &hop_and_udp), Frame::Udp { payload: b"six", .. }));
        assert_eq!(joined(of, 44, &first), Frame::Malformed, "a part of a part");
        assert_eq!(joined(of, 17, &udp[..9]), Frame::Malformed, "UDP says it is longer");
        let endless: Vec<u8> = [0_u8, 0, 0, 0, 0, 0, 0, 0].repeat(20);
        assert_eq!(dissect(LINK_RAW, &ipv6_octets(0, src, &endless)), Frame::Malformed);
        let mut mapped = [0; 16];
        mapped[10..].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 7]);
        assert_eq!(payload_of(LINK_RAW, &ipv6_octets(17, mapped, &udp)).0, "192.0.2.7:2055");
    }
}
