//! A picture of the table: every exporter with its domains, pace and faults; one exporter in full.
//!
//! Out come copies, made under the short locks of the control plane. A picture of all leaves out what only
//! one exporter is asked for: templates, events, tables.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::exporters::{ExporterEntry, ExporterTable, lock};
use super::faults::{Fault, FaultKind, Judge, own_clock, skew_of};
use super::pace::{Look, Pacing, Totals};
use crate::decode::{Domain, DomainStatus, ExporterState, SessionPolicy};
use crate::metrics::Books;

/// An exporter for the status API.
#[derive(Debug, Clone)]
pub struct ExporterStatus {
    /// Tenant; empty by default.
    pub tenant: Arc<str>,
    /// Source address.
    pub address: IpAddr,
    /// Name given by a rule.
    pub name: Option<String>,
    /// What the backend sees.
    pub switch_id: String,
    /// Its maker's Private Enterprise Number, if it is known.
    pub maker: Option<u32>,
    /// It has sent something decodable, or a rule names it.
    pub known: bool,
    /// Its address is a default gateway of this host, and no rule says that it is meant.
    pub is_gateway: bool,
    /// Unix nanoseconds of the first datagram.
    pub first_seen_ns: u64,
    /// The same of the last.
    pub last_seen_ns: u64,
    /// Datagrams.
    pub datagrams: u64,
    /// Octets of payload.
    pub octets: u64,
    /// Flow records decoded.
    pub records: u64,
    /// Datagrams rejected after the header was read.
    pub rejected: u64,
    /// Datagrams refused because they came too fast; not among `datagrams`.
    pub refused: u64,
    /// Sets and template records that made no sense.
    pub malformed: u64,
    /// Records whose sampling rate nothing told.
    pub sampling_unknown: u64,
    /// Rates and spells.
    pub pace: Pacing,
    /// Domains that made room for others so far: more observation domains or ports than an exporter may have.
    pub domains_evicted: u64,
    /// Its domains.
    pub domains: Vec<DomainStatus>,
    /// What is wrong with it.
    pub faults: Vec<Fault>,
}

/// One exporter with what its pictures are made of.
#[derive(Debug, Clone)]
pub struct ExporterDetail {
    /// As in the list.
    pub status: ExporterStatus,
    /// What its domains share: one a rule that they fall under.
    pub states: Vec<Arc<ExporterState>>,
    /// Its domains, in the order of `status.domains`, each with the policy that made it.
    pub domains: Vec<(Arc<Domain>, SessionPolicy)>,
}

impl ExporterTable {
    /// A picture of all exporters at `now_ns`, sorted by address, then tenant.
    #[must_use]
    pub fn snapshot(&self, now_ns: u64) -> Vec<ExporterStatus> {
        let judge = self.judge(now_ns);
        let mut rows: Vec<ExporterStatus> = self.entries().iter().map(|e| self.status(e, &judge)).collect();
        rows.sort_by(|a, b| (a.address, &a.tenant).cmp(&(b.address, &b.tenant)));
        rows
    }

    /// The exporters of `address`, one a tenant.
    #[must_use]
    pub fn detail(&self, address: IpAddr, now_ns: u64) -> Vec<ExporterDetail> {
        let judge = self.judge(now_ns);
        let mut details: Vec<ExporterDetail> =
            self.of_address(address).iter().map(|e| self.detail_of(e, &judge)).collect();
        details.sort_by(|a, b| a.status.tenant.cmp(&b.status.tenant));
        details
    }

    /// How far most exporters' clocks are off to one side, milliseconds: this host's own is the suspect then.
    #[must_use]
    pub fn own_clock_ms(&self) -> Option<i64> {
        *lock(&self.own_clock_ms)
    }

    fn judge(&self, now_ns: u64) -> Judge {
        Judge::at(now_ns, self.silence_ns, self.own_clock_ms())
    }

    fn detail_of(&self, entry: &ExporterEntry, judge: &Judge) -> ExporterDetail {
        let (states, mut domains) = {
            let policy = self.policy();
            let inner = lock(&entry.domains);
            let domains: Vec<_> = inner
                .all()
                .into_iter()
                .map(|d| {
                    let session = policy.rules.session(inner.rule_of(&d), d.key.version);
                    (d, session)
                })
                .collect();
            (inner.states(), domains)
        };
        domains.sort_by_key(|(d, _)| order(d));
        ExporterDetail { status: self.status(entry, judge), states, domains }
    }

    fn status(&self, entry: &ExporterEntry, judge: &Judge) -> ExporterStatus {
        let read = |from: &AtomicU64| from.load(Ordering::Acquire);
        let (exporter, mut domains, domains_evicted) = {
            let inner = lock(&entry.domains);
            (inner.exporter(), inner.all(), inner.evicted)
        };
        let exporter =
            exporter.unwrap_or_else(|| Arc::new(self.policy().rules.exporter(None, entry.key.0, entry.key.1)));
        let maker = domains.iter().find_map(|d| d.exporter.decided().settings.profile.maker);
        domains.sort_by_key(order);
        let look = entry.look();
        let mut status = ExporterStatus {
            tenant: Arc::clone(&exporter.tenant),
            address: exporter.address,
            name: exporter.name.as_deref().map(str::to_owned),
            switch_id: exporter.switch_id.to_string(),
            maker: exporter.maker.or(maker),
            known: entry.is_known(),
            is_gateway: entry.is_gateway && !entry.is_named.load(Ordering::Acquire),
            first_seen_ns: entry.first_seen_ns,
            last_seen_ns: look.last_seen_ns,
            datagrams: look.totals.datagrams,
            octets: look.totals.octets,
            records: look.totals.records,
            rejected: read(&entry.rejected),
            refused: look.refused,
            malformed: read(&entry.malformed),
            sampling_unknown: look.sampling_unknown,
            pace: lock(&entry.pace).picture(look.totals, judge.now_ns),
            domains_evicted,
            domains: domains.iter().map(|d| d.status()).collect(),
            faults: Vec::new(),
        };
        status.faults = judge.faults(&status);
        status
    }

    /// Once in a while: what this host's own clock looks like from outside, and how many exporters have
    /// which fault.
    pub(super) fn count_faults(&self, now_ns: u64, books: &Books) {
        let entries = self.entries();
        let judge = self.judge(now_ns);
        let mut counts = [0; FaultKind::ALL.len()];
        let mut skews = Vec::new();
        for entry in &entries {
            let status = self.status(entry, &judge);
            skews.extend(skew_of(&judge, &status));
            for fault in &status.faults {
                counts[fault.kind as usize] += 1;
            }
        }
        *lock(&self.own_clock_ms) = own_clock(&mut skews);
        books.exporters_with_fault.iter().zip(counts).for_each(|(level, count)| level.set(count));
    }
}

impl ExporterEntry {
    /// Its counters now.
    pub(super) fn look(&self) -> Look {
        let read = |from: &AtomicU64| from.load(Ordering::Acquire);
        Look {
            totals: Totals {
                datagrams: read(&self.datagrams),
                octets: read(&self.octets),
                records: read(&self.records),
            },
            first_seen_ns: self.first_seen_ns,
            last_seen_ns: read(&self.last_seen_ns),
            malformed: read(&self.rejected) + read(&self.malformed),
            sampling_unknown: read(&self.sampling_unknown),
            refused: read(&self.refused),
        }
    }
}

/// Domains in the order of lists.
fn order(domain: &Arc<Domain>) -> (crate::flow::Version, u32, u16, u64) {
    (domain.key.version, domain.key.observation_domain, domain.listener, domain.key.session.rank())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::collect::exporters::ExporterCounts;
    use crate::collect::tests::{metrics, rule, settings};
    use crate::collect::{ExporterRule, Gateways};
    use crate::decode::Header;
    use crate::flow::Version;
    use crate::limits::FAULT_LINGER_S;

    const S: u64 = 1_000_000_000;
    const START: u64 = 1_700_000_000 * S;

    fn header() -> Header {
        Header {
            version: Version::V9,
            observation_domain: 7,
            sequence: 0,
            export_ms: 0,
            sys_uptime_ms: 0,
            count_or_length: 0,
            sampling: 0,
        }
    }

    fn labels(status: &ExporterStatus) -> Vec<&'static str> {
        status.faults.iter().map(|f| f.kind.label()).collect()
    }

    #[test]
    fn silence_and_nonsense_show_in_the_picture_and_in_the_metric_and_go_again() {
        let metrics = metrics(1, 1);
        let books = &metrics.books;
        let table = ExporterTable::new(&settings(1, 1), books.clone()).expect("table");
        let peer = SocketAddr::from(([192, 0, 2, 1], 9));
        let found = table.find(0, peer, &header(), || false, START).expect("room");
        let send = |second: u64, sets_malformed| {
            let last_seen_ns = START + second * S;
            let counts =
                ExporterCounts { datagrams: 1, sets_used: 1, sets_malformed, last_seen_ns, ..Default::default() };
            table.count(&found.exporter, &counts);
            table.maintain(last_seen_ns, books);
        };
        let at = |second: u64| {
            table.maintain(START + second * S, books);
            labels(&table.snapshot(START + second * S)[0])
        };
        let level = |kind: FaultKind| books.exporters_with_fault[kind as usize].value();
        for second in 0..30 {
            send(second, 0);
        }
        assert!(at(60).is_empty());
        let rates = table.snapshot(START + 30 * S)[0].pace.last_10s.expect("half a minute is long enough");
        assert!((0.5..=1.0).contains(&rates.datagrams), "{rates:?}");
        assert_eq!(at(95), ["silent"], "30 + the hint of 60 s");
        assert_eq!(level(FaultKind::Silent), 1);
        send(100, 3);
        assert_eq!(at(105), ["malformed"]);
        assert_eq!((level(FaultKind::Silent), level(FaultKind::Malformed)), (0, 1));
        for second in 106..=106 + FAULT_LINGER_S {
            send(second, 0);
        }
        assert!(at(110 + FAULT_LINGER_S).is_empty());
        assert_eq!(level(FaultKind::Malformed), 0);
    }

    #[test]
    fn a_gateway_is_a_fault_unless_a_rule_is_for_it_alone() {
        for named in [false, true] {
            let mut settings = settings(1, 1);
            if named {
                settings.rules = vec![ExporterRule { name: Some("gw".into()), ..rule("192.0.2.1", 32) }];
            }
            let gateways: Gateways = ["192.0.2.1".parse().expect("address")].into_iter().collect();
            let table = ExporterTable::new(&settings, metrics(1, 1).books.clone()).expect("table").watching(gateways);
            table.find(0, ([192, 0, 2, 1], 9).into(), &header(), || false, START).expect("room");
            let expected: &[&str] = if named { &[] } else { &["source_is_gateway"] };
            assert_eq!(labels(&table.snapshot(START)[0]), expected);
        }
    }

    #[test]
    fn one_address_is_found_in_every_tenant() {
        let mut settings = settings(2, 1);
        settings.listeners[1].tenant = "blue".into();
        let table = ExporterTable::new(&settings, metrics(2, 1).books.clone()).expect("table");
        for listener in 0..2 {
            table.find(listener, ([192, 0, 2, 1], 9).into(), &header(), || false, START).expect("room");
        }
        let found = table.detail([192, 0, 2, 1].into(), START);
        assert_eq!(found.iter().map(|d| &*d.status.tenant).collect::<Vec<_>>(), ["", "blue"]);
        assert_eq!((found[0].domains.len(), found[0].domains[0].1), (1, SessionPolicy::Any));
        assert!(table.detail([192, 0, 2, 2].into(), START).is_empty());
    }
}
