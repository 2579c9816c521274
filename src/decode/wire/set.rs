//! Iterator over the Sets of a message: header, length check, body. The one place where a length
//! from the wire is trusted, after it was held against what is there.

use nom::number::complete::be_u16;
use nom::{IResult, Parser};

use crate::flow::Version;

/// Octets of a set header: id and length (RFC 7011 3.3.2, RFC 3954 5.2).
pub(in crate::decode) const SET_HEADER_OCTETS: usize = 4;

/// One set of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) struct Set<'a> {
    /// Set id.
    pub id: u16,
    /// Octets behind the set header.
    pub body: &'a [u8],
}

/// A set whose length cannot be: the rest of the message cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) struct MalformedSet;

/// The sets of a message, in wire order.
#[derive(Debug, Clone)]
pub(in crate::decode) struct Sets<'a> {
    rest: &'a [u8],
    version: Version,
}

impl<'a> Sets<'a> {
    /// `octets`: the message behind its header.
    pub(in crate::decode) const fn new(version: Version, octets: &'a [u8]) -> Self {
        Self { rest: octets, version }
    }

    /// True if every header is sound and the sets fill the message exactly (IX-03).
    pub(in crate::decode) fn fill_exactly(mut self) -> bool {
        loop {
            if self.rest.is_empty() {
                return true;
            }
            match self.next() {
                Some(Ok(_)) => {}
                Some(Err(MalformedSet)) | None => return false,
            }
        }
    }
}

/// Where the set number `nth` (from 1) of a NetFlow v9 or IPFIX datagram begins, and its id as its header says; None
/// for other versions, and where there is none. For reports: it walks the datagram again.
#[must_use]
pub fn set_at(version: Version, datagram: &[u8], nth: u32) -> Option<(u32, u16)> {
    let message_header = match version {
        Version::V9 => 20,
        Version::Ipfix => 16,
        _ => return None,
    };
    let mut sets = Sets::new(version, datagram.get(message_header..)?);
    for _ in 1..nth.max(1) {
        sets.next()?.ok()?;
    }
    let (_, (id, _)) = header(sets.rest).ok()?;
    (nth > 0).then_some((u32::try_from(datagram.len() - sets.rest.len()).ok()?, id))
}

fn header(octets: &[u8]) -> IResult<&[u8], (u16, u16)> {
    (be_u16, be_u16).parse(octets)
}

impl<'a> Iterator for Sets<'a> {
    type Item = Result<Set<'a>, MalformedSet>;

    fn next(&mut self) -> Option<Self::Item> {
        let (_, (id, length)) = header(self.rest).ok()?;
        let length = usize::from(length);
        // Palo Alto and ACI fill the datagram with zeroes behind the last FlowSet (N9-03).
        if id == 0 && length == 0 && self.version == Version::V9 {
            self.rest = &[];
            return None;
        }
        if length < SET_HEADER_OCTETS || length > self.rest.len() {
            self.rest = &[];
            return Some(Err(MalformedSet));
        }
        let (set, rest) = self.rest.split_at(length);
        self.rest = rest;
        Some(Ok(Set { id, body: &set[SET_HEADER_OCTETS..] }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(version: Version, octets: &[u8]) -> Vec<Result<u16, MalformedSet>> {
        Sets::new(version, octets).map(|s| s.map(|s| s.id)).collect()
    }

    #[test]
    fn n9_03_zero_fill_ends_the_message() {
        let mut octets = vec![1, 0, 0, 6, 9, 9];
        for _ in 0..1_400 {
            octets.push(0);
            assert_eq!(ids(Version::V9, &octets), [Ok(256)]);
        }
    }

    #[test]
    fn n9_04_impossible_lengths_stop_the_message() {
        for length in [0, 1, 3, 9, 65_535_u16] {
            let [a, b] = length.to_be_bytes();
            let octets = [1, 1, 0, 4, 1, 0, a, b, 0, 0, 0, 0];
            assert_eq!(ids(Version::V9, &octets), [Ok(257), Err(MalformedSet)], "{length}");
        }
        assert_eq!(ids(Version::V9, &[1, 0, 0, 4]), [Ok(256)]);
    }

    #[test]
    fn a_set_is_found_again_by_its_number() {
        let datagram = [&[0; 20][..], &[1, 0, 0, 6, 9, 9, 1, 1, 0, 4, 1, 7, 0, 3]].concat();
        let found = |nth| set_at(Version::V9, &datagram, nth);
        assert_eq!([found(1), found(2), found(3)], [Some((20, 256)), Some((26, 257)), Some((30, 263))]);
        assert_eq!([found(0), found(4), found(u32::MAX)], [None; 3]);
        assert_eq!(set_at(Version::V5, &datagram, 1), None);
        for end in 0..datagram.len() {
            let _ = set_at(Version::V9, &datagram[..end], 3);
        }
    }

    #[test]
    fn ix_03_framing_is_exact() {
        assert!(Sets::new(Version::Ipfix, &[0, 2, 0, 4, 1, 0, 0, 5, 7]).fill_exactly());
        assert!(!Sets::new(Version::Ipfix, &[0, 2, 0, 4, 1, 0, 0, 6, 7]).fill_exactly());
        assert!(!Sets::new(Version::Ipfix, &[0, 2, 0, 4, 0]).fill_exactly());
    }
}
