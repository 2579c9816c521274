//! Text of numbers and addresses, written into a buffer of fixed size.
//!
//! A record is built in a [`Line`] and copied to the body in one step: the pieces have lengths that the
//! compiler knows, so that most of them cost a few moves instead of a call. A line never grows; each
//! format's longest record is asserted to fit by a test. Strings and hex, which have no such bound,
//! go to the body directly.

use std::net::IpAddr;

/// Longest fixed part of a record, octets: NDJSON with every key needs less than 900.
pub(super) const LINE_OCTETS: usize = 1_024;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// `"0."` .. `"255."`: an octet of an IPv4 address with its dot, padded to four.
static OCTETS: [[u8; 4]; 256] = octet_texts();

const fn octet_texts() -> [[u8; 4]; 256] {
    let mut texts = [[b'.'; 4]; 256];
    let mut n = 0;
    while n < 256 {
        let (hundreds, tens, ones) = ((n / 100) as u8, (n / 10 % 10) as u8, (n % 10) as u8);
        if n >= 100 {
            texts[n] = [b'0' + hundreds, b'0' + tens, b'0' + ones, b'.'];
        } else if n >= 10 {
            texts[n] = [b'0' + tens, b'0' + ones, b'.', b'.'];
        } else {
            texts[n][0] = b'0' + ones;
        }
        n += 1;
    }
    texts
}

/// `"00"` .. `"99"`.
static PAIRS: [[u8; 2]; 100] = pair_texts();

const fn pair_texts() -> [[u8; 2]; 100] {
    let mut texts = [[b'0'; 2]; 100];
    let mut n = 0;
    while n < 100 {
        texts[n] = [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
        n += 1;
    }
    texts
}

/// A buffer for one record's text.
#[derive(Debug, Clone)]
pub(super) struct Line {
    octets: [u8; LINE_OCTETS],
    len: usize,
}

impl Line {
    /// An empty line.
    pub(super) const fn new() -> Self {
        Self { octets: [0; LINE_OCTETS], len: 0 }
    }

    /// Forgets the text.
    pub(super) const fn clear(&mut self) {
        self.len = 0;
    }

    /// The text so far.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.octets[..self.len]
    }

    /// A text whose length the compiler knows.
    #[inline(always)]
    pub(super) fn lit<const N: usize>(&mut self, text: &[u8; N]) {
        self.octets[self.len..self.len + N].copy_from_slice(text);
        self.len += N;
    }

    /// A text of any length.
    #[inline]
    pub(super) fn bytes(&mut self, text: &[u8]) {
        self.octets[self.len..self.len + text.len()].copy_from_slice(text);
        self.len += text.len();
    }

    /// An integer in decimal.
    #[inline]
    pub(super) fn uint(&mut self, value: u64) {
        let digits = 1 + value.checked_ilog10().unwrap_or(0) as usize;
        // 20 octets hold the largest; two digits at a time, from the last ones on.
        let text: &mut [u8] = &mut self.octets[self.len..self.len + 20];
        let (mut rest, mut end) = (value, digits);
        while end > 2 {
            text[end - 2..end].copy_from_slice(&PAIRS[(rest % 100) as usize]);
            rest /= 100;
            end -= 2;
        }
        if end == 2 {
            text[..2].copy_from_slice(&PAIRS[(rest % 100) as usize]);
        } else {
            text[0] = b'0' + (rest % 10) as u8;
        }
        self.len += digits;
    }

    /// An integer of at most 32 bits in decimal.
    #[inline]
    pub(super) fn uint32(&mut self, value: u32) {
        self.uint(u64::from(value));
    }

    /// An integer in decimal with leading zeros, its last `digits` digits.
    pub(super) fn padded(&mut self, value: u64, digits: usize) {
        let mut rest = value;
        for place in self.octets[self.len..self.len + digits].iter_mut().rev() {
            *place = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        self.len += digits;
    }

    /// An address, without quotes.
    #[inline]
    pub(super) fn ip(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => self.v4(v4.octets()),
            IpAddr::V6(v6) => self.v6(v6.octets()),
        }
    }

    /// An IPv4 address in dotted decimal.
    #[inline]
    pub(super) fn v4(&mut self, address: [u8; 4]) {
        // Four copies of four octets; each begins where the one before it has its dot.
        let text: &mut [u8] = &mut self.octets[self.len..self.len + 16];
        let mut at = 0;
        for octet in address {
            text[at..at + 4].copy_from_slice(&OCTETS[usize::from(octet)]);
            at += 2 + usize::from(octet >= 10) + usize::from(octet >= 100);
        }
        self.len += at - 1;
    }

    /// An IPv6 address as RFC 5952 has it: lower case, no leading zeros, the longest run of two or
    /// more zero groups (the first of equals) as `::`, IPv4-mapped ones with the dotted form.
    pub(super) fn v6(&mut self, address: [u8; 16]) {
        let mut groups = [0_u16; 8];
        for (group, pair) in groups.iter_mut().zip(address.as_chunks::<2>().0) {
            *group = u16::from_be_bytes(*pair);
        }
        if let [0, 0, 0, 0, 0, 0xffff, ..] = groups {
            self.lit(b"::ffff:");
            let [.., a, b, c, d] = address;
            self.v4([a, b, c, d]);
            return;
        }
        let (from, to) = zero_run(&groups);
        let mut index = 0;
        while index < groups.len() {
            if index == from && from < to {
                self.lit(b"::");
                index = to;
                continue;
            }
            if index != 0 && index != to {
                self.lit(b":");
            }
            self.group(groups[index]);
            index += 1;
        }
    }

    /// Up to four hex digits without leading zeros.
    #[inline]
    fn group(&mut self, group: u16) {
        let digits = (16 - (group | 1).leading_zeros()).div_ceil(4);
        let all = [12, 8, 4, 0].map(|shift| HEX[usize::from(group >> shift & 0xf)]);
        // All four at once, without the leading ones; what is written too much is written over.
        let text = (u32::from_be_bytes(all) << (32 - 8 * digits)).to_be_bytes();
        self.octets[self.len..self.len + 4].copy_from_slice(&text);
        self.len += digits as usize;
    }

    /// A MAC address with colons, without quotes.
    #[inline]
    pub(super) fn mac(&mut self, mac: [u8; 6]) {
        let mut text = [b':'; 17];
        for (octet, place) in mac.iter().zip((0..17).step_by(3)) {
            text[place] = HEX[usize::from(octet >> 4)];
            text[place + 1] = HEX[usize::from(octet & 0xf)];
        }
        self.lit(&text);
    }
}

/// The longest run of two or more zero groups as (first, behind the last); (9, 9) if there is none.
fn zero_run(groups: &[u16; 8]) -> (usize, usize) {
    let (mut best_from, mut best_length, mut length) = (9, 1, 0);
    for (index, group) in groups.iter().enumerate() {
        length = if *group == 0 { length + 1 } else { 0 };
        if length > best_length {
            (best_from, best_length) = (index + 1 - length, length);
        }
    }
    if best_from == 9 { (9, 9) } else { (best_from, best_from + best_length) }
}

/// `octets` in hex, lower case.
pub(super) fn hex(out: &mut Vec<u8>, octets: &[u8]) {
    out.extend(octets.iter().flat_map(|o| [HEX[usize::from(o >> 4)], HEX[usize::from(o & 0xf)]]));
}

/// `text` as a JSON string with its quotes (RFC 8259 section 7); what is not ASCII stays UTF-8.
pub(super) fn json_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for octet in text.bytes() {
        match octet {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..=0x1f | 0x7f => {
                out.extend_from_slice(b"\\u00");
                hex(out, &[octet]);
            }
            _ => out.push(octet),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn text(write: impl FnOnce(&mut Line)) -> String {
        let mut line = Line::new();
        write(&mut line);
        String::from_utf8(line.as_bytes().to_vec()).expect("ASCII")
    }

    #[test]
    fn every_octet_of_an_ipv4_address_reads_as_std_writes_it() {
        for n in 0..=255_u8 {
            let address = [n, 255 - n, 0, n];
            assert_eq!(text(|l| l.v4(address)), Ipv4Addr::from(address).to_string());
        }
    }

    #[test]
    fn ipv6_corner_cases_of_rfc_5952() {
        for written in [
            "::",
            "::1",
            "1::",
            "2001:db8::1",
            "2001:db8:0:1:1:1:1:1",
            "2001:0:0:1::1",
            "2001:db8::1:0:0:1",
            "::ffff:192.0.2.1",
            "::192.0.2.1",
            "1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6::",
            "::3:4:5:6:7:8",
            "0:0:1::",
            "ff02::fb",
        ] {
            let address: Ipv6Addr = written.parse().expect("an address");
            assert_eq!(text(|l| l.v6(address.octets())), address.to_string());
        }
    }

    proptest! {
        #[test]
        fn integers_read_as_std_writes_them(value in any::<u64>(), shift in 0_u32..64) {
            prop_assert_eq!(text(|l| l.uint(value >> shift)), (value >> shift).to_string());
        }

        #[test]
        fn ipv6_reads_as_std_writes_it(groups in prop::array::uniform8(prop_oneof![2 => Just(0_u16), 1 => any::<u16>(), 1 => 0_u16..32])) {
            let address = Ipv6Addr::from(groups);
            prop_assert_eq!(text(|l| l.v6(address.octets())), address.to_string());
        }

        #[test]
        fn strings_come_back_from_a_json_parser(original in any::<String>()) {
            let mut out = Vec::new();
            json_string(&mut out, &original);
            let read: String = serde_json::from_slice(&out).expect("JSON");
            prop_assert_eq!(read, original);
        }
    }

    #[test]
    fn macs_and_numbers() {
        assert_eq!(text(|l| l.mac([0, 0x1a, 0xff, 0x05, 0xb0, 0x0c])), "00:1a:ff:05:b0:0c");
        assert_eq!(text(|l| l.uint(u64::MAX)), u64::MAX.to_string());
        assert_eq!(text(|l| l.uint32(0)), "0");
        for power in (0..20).map(|n| 10_u64.pow(n)) {
            for value in [power - 1, power, power + 1, power.wrapping_mul(7)] {
                assert_eq!(text(|l| l.uint(value)), value.to_string());
            }
        }
        let mut out = Vec::new();
        hex(&mut out, &[0, 0xab, 0x10]);
        assert_eq!(out, b"00ab10");
    }
}
