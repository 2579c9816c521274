//! What the embedded backend has counted: totals, records by switch_id, repeated keys, serials.
//!
//! Everything is bounded (limits.rs, "embedded backend"); what goes past a bound is counted as such.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use rustc_hash::FxBuildHasher;
use serde::Serialize;
use uuid::Uuid;

use super::contract::Record;
use crate::limits;

/// What `GET /stats` answers and [`super::Backend::stats`] returns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BackendStats {
    /// POSTs to the endpoint.
    pub requests: u64,
    /// POSTs that were accepted (201, or a reset after the records were taken).
    pub accepted_requests: u64,
    /// POSTs that were refused because of what they contained.
    pub refused_requests: u64,
    /// POSTs that met a misbehaviour that was asked for.
    pub failed_on_purpose: u64,
    /// POSTs without the bearer token that was asked for.
    pub unauthorized_requests: u64,
    /// TLS handshakes that came to nothing: no certificate, a wrong one, another protocol.
    pub failed_handshakes: u64,
    /// POSTs by HTTP version: 1.0, 1.1, 2.
    pub http_versions: BTreeMap<String, u64>,
    /// Accepted POSTs by encoding of their body: identity, gzip, zstd.
    pub encodings: BTreeMap<String, u64>,
    /// Records accepted, repetitions included.
    pub records: u64,
    /// Sum of their bytes.
    pub bytes: u64,
    /// Sum of their packets.
    pub packets: u64,
    /// Accepted POSTs whose Idempotency-Key had been accepted before.
    pub duplicates_by_key: u64,
    /// Records in those.
    pub records_in_duplicates: u64,
    /// Records whose switch_id came after the bound on their number; they are in the totals only.
    pub records_unlisted: u64,
    /// Records whose serial is 0 or past the bound of what is tracked; 0 without `serials`.
    pub serials_untracked: u64,
    /// Records by switch_id.
    pub by_switch_id: BTreeMap<String, u64>,
    /// Serials by switch_id; empty without `serials`.
    pub serials: BTreeMap<String, SerialStats>,
}

impl BackendStats {
    /// Records accepted, repetitions by key left out.
    #[must_use]
    pub const fn distinct_records(&self) -> u64 {
        self.records.saturating_sub(self.records_in_duplicates)
    }
}

/// Serials of one switch_id: its records are numbered from 1 in `bytes`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SerialStats {
    /// Records with a tracked serial.
    pub count: u64,
    /// Smallest serial.
    pub min: u64,
    /// Largest serial.
    pub max: u64,
    /// Serials from 1 to `max` that never came.
    pub missing: u64,
    /// Records whose serial had come before.
    pub doubled: u64,
}

#[derive(Debug, Default)]
struct Switch {
    records: u64,
    seen: Vec<u64>,
    count: u64,
    min: u64,
    max: u64,
    doubled: u64,
}

/// The books of a running backend.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) totals: BackendStats,
    track_serials: bool,
    words: usize,
    switches: HashMap<Box<str>, Switch, FxBuildHasher>,
    keys: HashSet<Uuid, FxBuildHasher>,
    keys_by_age: VecDeque<Uuid>,
}

/// Serials in a word of the bit set.
const WORD: u64 = u64::BITS as u64;
/// Words are taken in steps, so that a growing set is not moved at each record.
const STEP: usize = 1_024;

impl Tally {
    pub(super) fn new(track_serials: bool) -> Self {
        Self { track_serials, ..Self::default() }
    }

    /// Counts an accepted request.
    pub(super) fn accept(&mut self, records: &[Record<'_>], key: Option<Uuid>) {
        let count = records.len() as u64;
        self.totals.accepted_requests += 1;
        self.totals.records += count;
        if key.is_some_and(|key| !self.remember(key)) {
            self.totals.duplicates_by_key += 1;
            self.totals.records_in_duplicates += count;
        }
        let mut rest = records;
        // Records of one switch stand together more often than not: one look-up for each run.
        while let Some(first) = rest.first() {
            let name = first.switch_id();
            let run = rest.iter().take_while(|r| r.switch_id() == name).count();
            let (now, later) = rest.split_at(run);
            self.count_run(name, now);
            rest = later;
        }
    }

    /// The figures as they are now.
    pub(super) fn stats(&self) -> BackendStats {
        let mut stats = self.totals.clone();
        for (name, switch) in &self.switches {
            stats.by_switch_id.insert(name.to_string(), switch.records);
            if self.track_serials {
                let Switch { count, min, max, doubled, .. } = *switch;
                let missing = max - (count - doubled);
                stats.serials.insert(name.to_string(), SerialStats { count, min, max, missing, doubled });
            }
        }
        stats
    }

    /// False if the key was accepted before.
    fn remember(&mut self, key: Uuid) -> bool {
        if !self.keys.insert(key) {
            return false;
        }
        self.keys_by_age.push_back(key);
        if self.keys_by_age.len() > limits::BACKEND_KEYS_MAX
            && let Some(oldest) = self.keys_by_age.pop_front()
        {
            self.keys.remove(&oldest);
        }
        true
    }

    fn count_run(&mut self, name: &str, records: &[Record<'_>]) {
        let totals = &mut self.totals;
        for record in records {
            totals.bytes = totals.bytes.saturating_add(record.bytes());
            totals.packets = totals.packets.saturating_add(record.packets());
        }
        if !self.switches.contains_key(name) {
            if self.switches.len() >= limits::BACKEND_SWITCHES_MAX {
                totals.records_unlisted += records.len() as u64;
                return;
            }
            self.switches.insert(name.into(), Switch::default());
        }
        let Some(switch) = self.switches.get_mut(name) else { return };
        switch.records += records.len() as u64;
        if self.track_serials {
            for record in records {
                if !switch.see(record.bytes(), &mut self.words) {
                    totals.serials_untracked += 1;
                }
            }
        }
    }
}

impl Switch {
    /// False if the serial cannot be tracked.
    fn see(&mut self, serial: u64, words: &mut usize) -> bool {
        let Some(index) = serial.checked_sub(1) else { return false };
        if index >= limits::BACKEND_SERIALS_MAX as u64 {
            return false;
        }
        let (word, bit) = ((index / WORD) as usize, 1_u64 << (index % WORD));
        if word >= self.seen.len() {
            let wanted = (word + 1).next_multiple_of(STEP);
            let more = wanted - self.seen.len();
            if *words + more > limits::BACKEND_SERIALS_MAX / WORD as usize {
                return false;
            }
            *words += more;
            self.seen.resize(wanted, 0);
        }
        self.doubled += u64::from(self.seen[word] & bit != 0);
        self.seen[word] |= bit;
        self.count += 1;
        self.max = self.max.max(serial);
        self.min = if self.count == 1 { serial } else { self.min.min(serial) };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;

    fn accept(tally: &mut Tally, serials: &[(&str, u64)], key: u128) {
        let records: Vec<String> = serials
            .iter()
            .map(|(name, serial)| {
                format!(
                    r#"{{"src_ip":"::","dst_ip":"::","src_port":1,"dst_port":1,"protocol":6,"bytes":{serial},"packets":2,"flow_start":1,"flow_end":1,"switch_id":"{name}"}}"#
                )
            })
            .collect();
        let body = format!(r#"{{"records":[{}]}}"#, records.join(","));
        tally.accept(&contract::read(body.as_bytes()).unwrap(), Some(Uuid::from_u128(key)));
    }

    #[test]
    fn missing_and_doubled_serials_are_known_by_switch() {
        let mut tally = Tally::new(true);
        accept(&mut tally, &[("a", 2), ("a", 3), ("b", 1), ("a", 70)], 1);
        accept(&mut tally, &[("a", 3), ("b", 2), ("b", 2), ("b", 2)], 2);
        let stats = tally.stats();
        assert_eq!(stats.serials["a"], SerialStats { count: 4, min: 2, max: 70, missing: 67, doubled: 1 });
        assert_eq!(stats.serials["b"], SerialStats { count: 4, min: 1, max: 2, missing: 0, doubled: 2 });
        assert_eq!((stats.by_switch_id["a"], stats.by_switch_id["b"]), (4, 4));
        assert_eq!((stats.records, stats.bytes, stats.packets), (8, 85, 16));
    }

    #[test]
    fn a_repeated_key_is_counted_with_its_records() {
        let mut tally = Tally::new(false);
        accept(&mut tally, &[("a", 1), ("a", 2)], 7);
        accept(&mut tally, &[("a", 1), ("a", 2)], 7);
        accept(&mut tally, &[("a", 3)], 8);
        let stats = tally.stats();
        assert_eq!((stats.duplicates_by_key, stats.records_in_duplicates, stats.distinct_records()), (1, 2, 3));
        assert!(stats.serials.is_empty());
    }

    #[test]
    fn serials_that_cannot_be_tracked_are_counted() {
        let mut tally = Tally::new(true);
        let bound = limits::BACKEND_SERIALS_MAX as u64;
        accept(&mut tally, &[("a", 0), ("a", bound + 1), ("a", i64::MAX as u64), ("a", 1)], 1);
        // The whole bound goes to one switch; there is nothing left for another.
        let mut full = Tally::new(true);
        accept(&mut full, &[("a", bound), ("b", 1)], 1);
        assert_eq!(tally.stats().serials_untracked, 3);
        assert_eq!(full.stats().serials_untracked, 1);
        assert_eq!(full.stats().serials["b"].count, 0);
    }
}
