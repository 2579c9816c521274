//! What synthetic flows are made of: templates, addresses of documentation, services.
//!
//! The order of the templates' fields is that of `data_record`; a test compares their lengths.

use super::message::{Field, VARIABLE};

/// Enterprise number of Cisco: Security Group Tags.
const CISCO: u32 = 9;
/// Octets of the longest record: IPv6 with all that follows.
pub(super) const RECORD_OCTETS_MAX: usize = 160;

/// Octets of a data record; variable-length fields by their longest value.
pub(super) const fn octets_of(ipfix: bool, wide: bool) -> usize {
    let addresses = if wide { 48 } else { 12 };
    let times = if ipfix { 16 } else { 8 };
    let service = if ipfix && wide { 1 + SERVICE_OCTETS_MAX } else { 0 };
    addresses + 8 + 16 + 8 + 6 + 12 + 3 + 2 + 1 + 4 + times + service
}

const _: () = assert!(octets_of(true, true) <= RECORD_OCTETS_MAX);

pub(super) const SAMPLER: u8 = 1;
pub(super) const NEXT_HOP: [u8; 4] = [192, 0, 2, 254];
/// AS numbers of documentation (RFC 5398).
pub(super) const SRC_AS: u16 = 64_496;
pub(super) const DST_AS: u16 = 64_511;

#[derive(Clone, Copy)]
pub(super) struct Service {
    pub(super) protocol: u8,
    pub(super) port: u16,
    pub(super) name: &'static str,
}

pub(super) const SERVICE_OCTETS_MAX: usize = 8;

/// What flows go to; HTTPS and DNS more often than the rest. ICMP has type and code in its port.
pub(super) const SERVICES: [Service; 12] = [
    Service { protocol: 6, port: 443, name: "https" },
    Service { protocol: 17, port: 443, name: "quic" },
    Service { protocol: 6, port: 443, name: "https" },
    Service { protocol: 17, port: 53, name: "domain" },
    Service { protocol: 6, port: 443, name: "https" },
    Service { protocol: 17, port: 53, name: "domain" },
    Service { protocol: 6, port: 80, name: "http" },
    Service { protocol: 6, port: 22, name: "ssh" },
    Service { protocol: 17, port: 123, name: "ntp" },
    Service { protocol: 6, port: 3_389, name: "ms-rdp" },
    Service { protocol: 6, port: 5_432, name: "postgres" },
    Service { protocol: 1, port: 2_048, name: "" },
];

pub(super) fn service(port: u16) -> &'static str {
    SERVICES.iter().find(|s| s.port == port).map_or("", |s| s.name)
}

/// 1,024 hosts in 192.0.2.0/24, 198.51.100.0/24 and 203.0.113.0/24.
pub(super) const fn ipv4(host: u32) -> [u8; 4] {
    let low = host.to_be_bytes()[3];
    match (host >> 8) % 3 {
        0 => [192, 0, 2, low],
        1 => [198, 51, 100, low],
        _ => [203, 0, 113, low],
    }
}

/// Hosts in 2001:db8::/32.
pub(super) const fn ipv6(host: u32) -> [u8; 16] {
    let [_, _, high, low] = host.to_be_bytes();
    [0x20, 0x01, 0x0d, 0xb8, 0, high, 0, 0, 0, 0, 0, 0, 0, 0, 0, low]
}

const fn f(id: u16, length: u16) -> Field {
    Field::iana(id, length)
}

pub(super) const V9_IPV4: &[Field] =
    &fields([f(8, 4), f(12, 4), f(15, 4)], [f(34_000, 2), f(34_001, 2), f(22, 4), f(21, 4)]);
pub(super) const V9_IPV6: &[Field] =
    &fields([f(27, 16), f(28, 16), f(62, 16)], [f(34_000, 2), f(34_001, 2), f(22, 4), f(21, 4)]);
pub(super) const IPFIX_IPV4: &[Field] = &fields([f(8, 4), f(12, 4), f(15, 4)], IPFIX_TAIL);
pub(super) const IPFIX_IPV6: &[Field] = &with_name(fields([f(27, 16), f(28, 16), f(62, 16)], IPFIX_TAIL));
pub(super) const V9_SAMPLER: &[Field] = &[f(48, 1), f(49, 1), f(50, 4)];
pub(super) const IPFIX_SAMPLER: &[Field] = &[f(302, 1), f(304, 2), f(305, 4), f(306, 4)];
const IPFIX_TAIL: [Field; 4] = [
    Field { enterprise: CISCO, id: 1_232, length: 2 },
    Field { enterprise: CISCO, id: 1_233, length: 2 },
    f(152, 8),
    f(153, 8),
];

/// Addresses, what all templates share, and the end; the order of `data_record`.
const fn fields(addresses: [Field; 3], tail: [Field; 4]) -> [Field; 24] {
    let sampler = if tail[0].enterprise == 0 { 48 } else { 302 };
    let [a, b, c] = addresses;
    let [w, x, y, z] = tail;
    let v6 = a.length == 16;
    let (src_mask, dst_mask) = if v6 { (29, 30) } else { (9, 13) };
    [
        a,
        b,
        c,
        f(10, 4),
        f(14, 4),
        f(2, 8),
        f(1, 8),
        f(16, 4),
        f(17, 4),
        f(7, 2),
        f(11, 2),
        f(58, 2),
        f(56, 6),
        f(80, 6),
        f(6, 1),
        f(4, 1),
        f(5, 1),
        f(src_mask, 1),
        f(dst_mask, 1),
        f(sampler, 1),
        w,
        x,
        y,
        z,
    ]
}

/// applicationName at the end, of variable length.
const fn with_name(fields: [Field; 24]) -> [Field; 25] {
    let mut all = [f(96, VARIABLE); 25];
    let mut i = 0;
    while i < fields.len() {
        all[i] = fields[i];
        i += 1;
    }
    all
}
