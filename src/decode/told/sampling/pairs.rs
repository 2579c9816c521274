//! Rates of samplers that are told interface by interface (IX-27): the whole scope is the key.

use rustc_hash::FxHashMap;

use super::SamplingScope;
use crate::limits::{OPTIONS_ENTRIES_PER_TABLE_MAX, SAMPLING_RATE_MAX};

/// In the place of a rate: the interfaces of a sampler tell different ones.
const DISAGREE: u32 = u32::MAX;

const _: () = assert!(SAMPLING_RATE_MAX < DISAGREE);

/// Rates by (domain, sampler, interface).
#[derive(Debug, Default)]
pub(super) struct Pairs {
    rates: FxHashMap<(u32, u64, u32), u32>,
    /// By (domain, sampler): number of interfaces, and the rate that all of them tell.
    agreed: FxHashMap<(u32, u64), (u32, u32)>,
}

impl Pairs {
    /// Learns a rate; true if that changes anything.
    pub fn learn(&mut self, domain: u32, sampler: u64, interface: u32, rate: u32) -> bool {
        let key = (domain, sampler, interface);
        let before = self.rates.get(&key).copied();
        if before == Some(rate) || before.is_none() && self.rates.len() >= OPTIONS_ENTRIES_PER_TABLE_MAX {
            return false;
        }
        self.rates.insert(key, rate);
        let (interfaces, agreed) = self.agreed.entry((domain, sampler)).or_insert((0, rate));
        *interfaces += u32::from(before.is_none());
        if *interfaces == 1 {
            *agreed = rate;
        } else if *agreed != rate {
            *agreed = DISAGREE;
        }
        true
    }

    /// True if `learn` would only change an entry.
    pub fn knows(&self, domain: u32, sampler: u64, interface: u32) -> bool {
        self.rates.contains_key(&(domain, sampler, interface))
    }

    /// The rate of a sampler for an interface.
    pub fn of(&self, domain: u32, sampler: u64, interface: Option<u32>) -> Option<u32> {
        let of = |domain| self.rates.get(&(domain, sampler, interface?)).copied();
        of(domain).or_else(|| of(0))
    }

    /// The rate that a sampler has on all interfaces told.
    pub fn agreed(&self, domain: u32, sampler: u64) -> Option<u32> {
        let of = |domain| self.agreed.get(&(domain, sampler)).map(|(_, rate)| *rate);
        of(domain).or_else(|| of(0)).filter(|rate| *rate != DISAGREE)
    }

    /// Entries in both tables.
    pub fn len(&self) -> usize {
        self.rates.len() + self.agreed.len()
    }

    /// All rates, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, SamplingScope, u32)> {
        self.rates.iter().map(|((d, sampler, on), rate)| (*d, SamplingScope::SamplerOn(*sampler, *on), *rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ix_27_interfaces_of_a_sampler_speak_for_it_while_they_agree() {
        let mut pairs = Pairs::default();
        assert!(pairs.learn(7, 1, 5, 100) && !pairs.learn(7, 1, 5, 100));
        assert_eq!(
            (pairs.of(7, 1, Some(5)), pairs.of(7, 1, Some(6)), pairs.agreed(7, 1)),
            (Some(100), None, Some(100))
        );
        assert!(pairs.learn(7, 1, 5, 200));
        assert_eq!(pairs.agreed(7, 1), Some(200), "the only one may change its mind");
        assert!(pairs.learn(7, 1, 6, 100));
        assert_eq!((pairs.of(7, 1, Some(6)), pairs.of(7, 1, None), pairs.agreed(7, 1)), (Some(100), None, None));
        assert_eq!(pairs.of(8, 1, Some(6)), None);
        for interface in 0..40_000 {
            pairs.learn(0, 2, interface, 1);
        }
        assert_eq!(pairs.rates.len(), OPTIONS_ENTRIES_PER_TABLE_MAX);
        assert_eq!((pairs.of(8, 2, Some(9)), pairs.agreed(8, 2)), (Some(1), Some(1)), "domain 0 speaks for all");
    }
}
