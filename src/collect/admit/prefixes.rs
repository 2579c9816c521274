//! A set of address prefixes as sorted ranges: overlapping and neighbouring ones are merged, a look-up is one binary search.

use std::net::IpAddr;

use super::Prefix;

/// Ranges of addresses, first and last, by family.
#[derive(Debug)]
pub(super) struct Prefixes {
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

impl Prefixes {
    pub fn new(prefixes: &[Prefix]) -> Self {
        let (v4, v6): (Vec<Prefix>, Vec<Prefix>) = prefixes.iter().partition(|(network, _)| network.is_ipv4());
        Self { v4: merged(&v4, 32), v6: merged(&v6, 128) }
    }

    /// How many addresses they hold.
    pub fn addresses(&self) -> u128 {
        let ranges = self.v4.iter().chain(&self.v6);
        ranges.fold(0, |sum: u128, (first, last)| sum.saturating_add((last - first).saturating_add(1)))
    }

    /// True if a prefix holds `address`.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (bits, ranges) = match address {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), &self.v4),
            IpAddr::V6(v6) => (v6.to_bits(), &self.v6),
        };
        let behind = ranges.partition_point(|(first, _)| *first <= bits);
        behind.checked_sub(1).is_some_and(|at| bits <= ranges[at].1)
    }
}

/// The ranges of prefixes of a family with addresses of `width` bits.
fn merged(prefixes: &[Prefix], width: u32) -> Vec<(u128, u128)> {
    let mut ranges: Vec<(u128, u128)> = prefixes
        .iter()
        .map(|(network, length)| {
            let bits = match network {
                IpAddr::V4(v4) => u128::from(v4.to_bits()),
                IpAddr::V6(v6) => v6.to_bits(),
            };
            let host = u128::MAX.checked_shr(128 - width.saturating_sub(u32::from(*length))).unwrap_or(0);
            (bits & !host, bits | host)
        })
        .collect();
    ranges.sort_unstable();
    let mut all: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match all.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => all.push((first, last)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_become_one_range_and_ends_hold() {
        let half = |last: u8, length| (IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), length);
        let set = Prefixes::new(&[half(0, 25), half(128, 25), half(64, 26)]);
        assert_eq!(set.v4.len(), 1);
        let all = Prefixes::new(&[(Ipv4Addr::UNSPECIFIED.into(), 0), (Ipv6Addr::UNSPECIFIED.into(), 0)]);
        for address in
            [IpAddr::V4(Ipv4Addr::BROADCAST), Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::from_bits(u128::MAX).into()]
        {
            assert!(all.contains(address));
        }
    }

    proptest! {
        #[test]
        fn the_set_holds_what_one_of_its_prefixes_holds(
            prefixes in prop::collection::vec((any::<u32>(), 0_u8..=32), 1..20),
            addresses in prop::collection::vec(any::<u32>(), 1..50),
        ) {
            let list: Vec<Prefix> = prefixes.iter().map(|(n, l)| (IpAddr::V4(Ipv4Addr::from_bits(*n)), *l)).collect();
            let set = Prefixes::new(&list);
            // Also addresses near the networks, where mistakes would be.
            let near = prefixes.iter().flat_map(|(n, _)| [*n, n.wrapping_add(1), n.wrapping_sub(1)]);
            for address in addresses.iter().copied().chain(near) {
                let held = prefixes.iter().any(|(n, l)| {
                    (n ^ address).checked_shr(32 - u32::from(*l)).unwrap_or(0) == 0
                });
                prop_assert_eq!(set.contains(Ipv4Addr::from_bits(address).into()), held, "{}", Ipv4Addr::from_bits(address));
            }
        }
    }
}
