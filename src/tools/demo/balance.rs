//! Whether what was sent is what arrived: the equations at the end of the demo.

use std::collections::BTreeMap;

use crate::metrics::Ledger;
use crate::tools::backend::BackendStats;
use crate::tools::generate::GenerateReport;

/// What the exporters, the collector and the backend say, in numbers that can be compared.
#[derive(Debug, Clone, Default)]
pub(super) struct Account {
    /// Datagrams and records sent.
    pub(super) datagrams_sent: u64,
    pub(super) records_sent: u64,
    /// The collector's books.
    pub(super) ledger: Ledger,
    /// Records that the collector says may have been written twice.
    pub(super) possibly_doubled: u64,
    /// Records that the backend accepted, without those of repeated batches.
    pub(super) records_at_backend: u64,
    /// Of all numbers sent: how many the backend never saw, and how many records came again.
    pub(super) serials_missing: u64,
    pub(super) serials_doubled: u64,
    /// Records whose number the backend had no room to remember: nothing can be said of numbers then.
    pub(super) serials_untracked: u64,
}

/// Compares; one sentence for each equation that does not hold.
pub(super) fn faults(
    sent: &[GenerateReport],
    ledger: &Ledger,
    possibly_doubled: u64,
    backend: &BackendStats,
) -> Vec<String> {
    account(sent, ledger, possibly_doubled, backend).faults()
}

/// What the exporters numbered against what the backend saw.
pub(super) fn account(
    sent: &[GenerateReport],
    ledger: &Ledger,
    possibly_doubled: u64,
    backend: &BackendStats,
) -> Account {
    let mut numbered = BTreeMap::new();
    for exporter in sent.iter().flat_map(|report| &report.by_exporter) {
        *numbered.entry(exporter.source.ip().to_string()).or_insert(0) += exporter.records;
    }
    let (mut missing, mut doubled) = (0, 0);
    for (switch_id, records) in numbered {
        let seen = backend.serials.get(&switch_id);
        // What is missing at the end leaves no gap: so it is counted from what was sent.
        missing += u64::saturating_sub(records, seen.map_or(0, |s| s.count - s.doubled));
        doubled += seen.map_or(0, |s| s.doubled);
    }
    Account {
        datagrams_sent: sent.iter().map(|r| r.datagrams).sum(),
        records_sent: sent.iter().map(|r| r.records).sum(),
        ledger: *ledger,
        possibly_doubled,
        records_at_backend: backend.distinct_records(),
        serials_missing: missing,
        serials_doubled: doubled,
        serials_untracked: backend.serials_untracked,
    }
}

impl Account {
    fn faults(&self) -> Vec<String> {
        let l = &self.ledger;
        let mut faults = Vec::new();
        let mut equal = |left: u64, right: u64, what: &str| {
            if left != right {
                faults.push(format!("{what}: {left} is not {right}"));
            }
        };
        equal(
            self.datagrams_sent,
            l.datagrams_received + l.kernel_dropped,
            "datagrams sent = received + dropped by the kernel",
        );
        equal(l.datagrams_received, l.datagrams_explained, "datagrams received = processed + rejected + refused");
        equal(
            l.sets_seen,
            l.sets_explained,
            "sets seen = decoded + parked (in memory, on disk) + dropped + options + templates",
        );
        equal(l.decoded + l.recovered, l.delivered + l.dropped, "records decoded = delivered + dropped");
        equal(l.delivered, self.records_at_backend, "records delivered = at the backend");
        if l.kernel_dropped == 0 {
            equal(self.records_sent, l.decoded, "records sent = decoded");
        }
        if self.serials_untracked > 0 {
            return faults;
        }
        // What did not arrive is what the kernel or the collector says it has dropped.
        let lost = self.records_sent.saturating_sub(l.decoded) + l.dropped;
        equal(self.serials_missing, lost, "record numbers missing at the backend = dropped on the way");
        if self.serials_doubled > self.possibly_doubled {
            faults.push(format!(
                "record numbers doubled at the backend: {}, of which {} are explained",
                self.serials_doubled, self.possibly_doubled
            ));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Account {
        let ledger = Ledger {
            delivered: 300,
            decoded: 300,
            sets_seen: 12,
            sets_explained: 12,
            datagrams_received: 10,
            datagrams_explained: 10,
            ..Ledger::default()
        };
        Account { datagrams_sent: 10, records_sent: 300, ledger, records_at_backend: 300, ..Account::default() }
    }

    #[test]
    fn what_balances_has_no_fault() {
        assert_eq!(good().faults(), Vec::<String>::new());
        // Two datagrams of 30 records lost in the kernel, ten records dropped by delivery.
        let mut lossy = good();
        lossy.ledger.kernel_dropped = 2;
        lossy.datagrams_sent = 12;
        lossy.records_sent = 360;
        lossy.ledger.dropped = 10;
        lossy.ledger.delivered = 290;
        lossy.records_at_backend = 290;
        lossy.serials_missing = 70;
        assert_eq!(lossy.faults(), Vec::<String>::new());
        // A batch repeated after a timeout, and counted as such.
        let mut repeated = good();
        (repeated.possibly_doubled, repeated.serials_doubled) = (100, 100);
        assert_eq!(repeated.faults(), Vec::<String>::new());
    }

    /// What goes wrong.
    type Fault = fn(&mut Account);

    #[test]
    fn each_imbalance_is_named() {
        let cases: [(&str, Fault); 7] = [
            ("datagrams sent", |a| a.datagrams_sent += 1),
            ("datagrams received", |a| a.ledger.datagrams_explained -= 1),
            ("sets seen", |a| a.ledger.sets_explained += 1),
            ("records decoded", |a| a.ledger.dropped += 1),
            ("records delivered", |a| a.records_at_backend -= 1),
            ("missing", |a| a.serials_missing = 1),
            ("doubled", |a| a.serials_doubled = 1),
        ];
        for (word, change) in cases {
            let mut account = good();
            change(&mut account);
            let faults = account.faults();
            assert!(faults.iter().any(|f| f.contains(word)), "{word}: {faults:?}");
        }
    }
}
