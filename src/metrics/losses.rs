//! Whose records were lost inside the collector: a bounded table of exporters, by stage.
//!
//! Written where a batch is dropped, never on the way of one that is not: one lock a batch. Promised: what is
//! counted here was counted in `records_dropped_total` before, so the sum over exporters never passes it; what
//! is not here (a full table, octets that nobody could read) is the difference, and shows as `other`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::drops::{DROP_REASONS, RecordDrop};
use crate::limits::LOSS_EXPORTERS_MAX;

/// Stages of `records_dropped_total`, in the order of [`Loss::by_stage`].
pub const LOSS_STAGES: [&str; 7] = ["queue", "batcher", "encode", "dispatch", "delivery", "spool", "thread"];

/// One exporter's records in a row that are lost: tenant, address, how many.
pub type LostRun<'a> = (&'a str, IpAddr, u64);

/// What one exporter has lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Tenant; empty by default.
    pub tenant: Arc<str>,
    /// Address.
    pub address: IpAddr,
    /// Records, in the order of [`LOSS_STAGES`].
    pub by_stage: [u64; LOSS_STAGES.len()],
}

impl Loss {
    /// Records, all stages.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.by_stage.iter().sum()
    }
}

#[derive(Debug, Default)]
struct Table {
    // By address, then by tenant: an address is in one tenant mostly, and is looked up without making a key.
    by_address: HashMap<IpAddr, Vec<Loss>, rustc_hash::FxBuildHasher>,
    exporters: usize,
}

/// The table; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Losses(Arc<Mutex<Table>>);

impl Losses {
    /// Counts records that `drop` has counted already.
    pub fn add<'a>(&self, drop: RecordDrop, runs: impl IntoIterator<Item = LostRun<'a>>) {
        let stage = stage_of(drop);
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (tenant, address, records) in runs {
            table.add(stage, tenant, address, records);
        }
    }

    /// All that have lost something, by address and tenant.
    #[must_use]
    pub fn all(&self) -> Vec<Loss> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Loss> = table.by_address.values().flatten().cloned().collect();
        drop(table);
        all.sort_by(|a, b| (a.address, &a.tenant).cmp(&(b.address, &b.tenant)));
        all
    }
}

impl Table {
    fn add(&mut self, stage: usize, tenant: &str, address: IpAddr, records: u64) {
        let full = self.exporters >= LOSS_EXPORTERS_MAX;
        if full && !self.by_address.contains_key(&address) {
            return;
        }
        let of_address = self.by_address.entry(address).or_default();
        let at = of_address.iter().position(|loss| *loss.tenant == *tenant);
        let at = match at {
            Some(at) => at,
            None if full => return,
            None => {
                of_address.push(Loss { tenant: Arc::from(tenant), address, by_stage: [0; LOSS_STAGES.len()] });
                self.exporters += 1;
                of_address.len() - 1
            }
        };
        of_address[at].by_stage[stage] += records;
    }
}

fn stage_of(drop: RecordDrop) -> usize {
    let (stage, _) = DROP_REASONS[drop as usize];
    LOSS_STAGES.iter().position(|known| *known == stage).unwrap_or(0)
}

/// An exporter as a batch on disk names it: `tenant|address`. None if it is no such name.
#[must_use]
pub fn exporter_of_key(key: &str) -> Option<(&str, IpAddr)> {
    let (tenant, address) = key.rsplit_once('|')?;
    Some((tenant, address.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn every_stage_has_its_place() {
        for (stage, _) in DROP_REASONS {
            assert!(LOSS_STAGES.contains(&stage), "{stage}");
        }
        assert_eq!(LOSS_STAGES[stage_of(RecordDrop::SpoolAge)], "spool");
        assert_eq!(LOSS_STAGES[stage_of(RecordDrop::DeliveryPoison)], "delivery");
    }

    #[test]
    fn tenants_of_one_address_are_told_apart_and_a_full_table_takes_no_other() {
        let losses = Losses::default();
        losses.add(RecordDrop::QueueFull, [("", address(1), 2), ("blue", address(1), 3), ("", address(1), 4)]);
        losses.add(RecordDrop::SpoolFull, [("blue", address(1), 5)]);
        let all = losses.all();
        assert_eq!(all.iter().map(|l| (&*l.tenant, l.records())).collect::<Vec<_>>(), [("", 6), ("blue", 8)]);
        assert_eq!(all[1].by_stage, [3, 0, 0, 0, 0, 5, 0]);
        let many = u32::try_from(LOSS_EXPORTERS_MAX).expect("a small number") + 10;
        losses.add(RecordDrop::QueueFull, (0..many).map(|n| ("", address(n), 1)));
        let all = losses.all();
        assert_eq!(all.len(), LOSS_EXPORTERS_MAX);
        losses.add(RecordDrop::QueueFull, [("green", address(1), 1), ("", address(1), 1)]);
        let again = losses.all();
        let sum = |all: &[Loss]| all.iter().map(Loss::records).sum::<u64>();
        assert_eq!((again.len(), sum(&again)), (LOSS_EXPORTERS_MAX, sum(&all) + 1), "who is known is still counted");
    }

    #[test]
    fn names_of_the_disk_are_read_from_their_end() {
        assert_eq!(exporter_of_key("a|b|192.0.2.1"), Some(("a|b", "192.0.2.1".parse().expect("an address"))));
        assert_eq!(exporter_of_key("192.0.2.1"), None);
        assert_eq!(exporter_of_key("|no address"), None);
    }
}
