//! A bounded table of what options records told, by observation domain and key.
//!
//! A full table refuses what is new and keeps what it has, as the sampling tables do: what was told first is what the
//! records refer to, and a sender of made-up entries pushes none of it out. Known entries change in place. The cost of a
//! look-up or of a record does not depend on how much the table holds.

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};

use rustc_hash::FxHashMap;

use super::budget::LearnedBudget;
use crate::limits::OPTIONS_ENTRIES_PER_TABLE_MAX;

/// What an exporter takes of the process's octets for learned state.
#[derive(Debug, Clone, Copy)]
pub(in crate::decode) struct Purse<'a> {
    pub budget: &'a LearnedBudget,
    /// What this exporter has taken of it: given back when it is forgotten.
    pub taken: &'a AtomicU64,
}

impl Purse<'_> {
    /// Takes `octets`; false if the process has none left.
    pub fn take(&self, octets: u64) -> bool {
        let takes = LearnedBudget::reserve(&self.budget.learned_octets, octets, self.budget.learned_octets_max);
        if takes {
            self.taken.fetch_add(octets, Ordering::AcqRel);
        }
        takes
    }

    /// Gives `octets` back.
    pub fn give(&self, octets: u64) {
        self.taken.fetch_sub(octets, Ordering::AcqRel);
        self.budget.learned_octets.fetch_sub(octets, Ordering::AcqRel);
    }
}

/// Values by (observation domain, key).
#[derive(Debug)]
pub(in crate::decode) struct Table<K, V> {
    told: FxHashMap<(u32, K), V>,
    /// Keys whatever the domain: how many domains tell of it, and the first of them.
    keys: FxHashMap<K, (u32, u32)>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { told: FxHashMap::default(), keys: FxHashMap::default() }
    }
}

impl<K: Copy + Eq + Hash, V> Table<K, V> {
    /// What an entry takes beside the octets of its value's texts, in maps that are half empty.
    pub const ENTRY_OCTETS: u64 = 2 * (size_of::<((u32, K), V)>() + size_of::<(K, (u32, u32))>()) as u64;

    /// What holds for `key` in `domain`: told there, or for the whole exporter by domain 0 (IX-23), or by the only
    /// domain that tells of it.
    pub fn find(&self, domain: u32, key: K) -> Option<&V> {
        let near = self.told.get(&(domain, key)).or_else(|| self.told.get(&(0, key)));
        near.or_else(|| match self.keys.get(&key) {
            Some((1, only)) => self.told.get(&(*only, key)),
            _ => None,
        })
    }

    /// What `domain` itself told.
    pub fn told(&self, domain: u32, key: K) -> Option<&V> {
        self.told.get(&(domain, key))
    }

    /// The same, to change it.
    pub fn own(&mut self, domain: u32, key: K) -> Option<&mut V> {
        self.told.get_mut(&(domain, key))
    }

    /// True if a new entry has a place.
    pub fn has_room(&self) -> bool {
        self.told.len() < OPTIONS_ENTRIES_PER_TABLE_MAX
    }

    /// Adds an entry that `domain` had not told yet.
    pub fn add(&mut self, domain: u32, key: K, value: V) {
        debug_assert!(self.has_room() && !self.told.contains_key(&(domain, key)));
        self.told.insert((domain, key), value);
        self.keys.entry(key).or_insert((0, domain)).0 += 1;
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.told.len()
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, K, &V)> {
        self.told.iter().map(|((domain, key), value)| (*domain, *key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ix_23_domain_0_speaks_for_the_exporter_and_an_only_one_for_all() {
        let mut table: Table<u32, &str> = Table::default();
        table.add(7, 1, "seven");
        assert_eq!((table.find(7, 1), table.find(8, 1), table.find(8, 2)), (Some(&"seven"), Some(&"seven"), None));
        table.add(9, 1, "nine");
        assert_eq!((table.find(9, 1), table.find(8, 1)), (Some(&"nine"), None), "which of the two?");
        table.add(0, 1, "all");
        assert_eq!((table.find(8, 1), table.find(7, 1)), (Some(&"all"), Some(&"seven")));
    }
}
