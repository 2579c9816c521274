//! The table of exporters as keeping of learned state sees it: domains to be shown, and domains to be made again.
//!
//! Restored exporters take their places as if their last datagram had just been looked at: in the pools and under the
//! bounds of all others, with the time at which they were heard last. What the settings of today would not let come about
//! (a sender that is denied, another tenant, another session policy, a listener that is gone) is not made.

use std::cmp::Reverse;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::exporters::{ExporterCounts, ExporterTable, lock};
use crate::decode::{Domain, ExporterState, Header, Session, SessionPolicy};
use crate::flow::Version;
use crate::share::{Source, Whose};

/// The table, with the names of its listeners in order.
#[derive(Debug, Clone)]
pub struct LearnedTable {
    table: Arc<ExporterTable>,
    listeners: Vec<String>,
}

impl LearnedTable {
    /// That of `table`, whose domains are heard at `listeners`.
    #[must_use]
    pub const fn new(table: Arc<ExporterTable>, listeners: Vec<String>) -> Self {
        Self { table, listeners }
    }
}

impl Source for LearnedTable {
    fn each(&self, show: &mut dyn FnMut(&Whose, &Arc<Domain>, bool) -> bool) {
        let policy = self.table.policy();
        let mut entries = self.table.entries();
        // Cached, because they are heard while they are sorted.
        entries.sort_by_cached_key(|entry| Reverse(entry.last_seen_ns.load(Ordering::Acquire)));
        for entry in entries {
            let (tenant, address) = entry.key;
            let tenant = policy.rules.tenant_name(tenant);
            let mut domains = lock(&entry.domains).all();
            domains.sort_by_key(|d| (d.listener, d.key.version, d.key.observation_domain, d.key.session.rank()));
            let mut shared: Vec<Arc<ExporterState>> = Vec::new();
            for domain in &domains {
                let Some(listener) = self.listeners.get(usize::from(domain.listener)) else { continue };
                let is_first = !shared.iter().any(|state| Arc::ptr_eq(state, &domain.exporter));
                if is_first {
                    shared.push(Arc::clone(&domain.exporter));
                }
                let whose = Whose {
                    tenant: tenant.to_string(),
                    address,
                    listener: listener.clone(),
                    version: domain.key.version as u16,
                    session: domain.key.session,
                    observation_domain: domain.key.observation_domain,
                    is_known: entry.is_known(),
                    last_seen_ns: domain.last_seen_ns.load(Ordering::Acquire),
                };
                if !show(&whose, domain, is_first) {
                    return;
                }
            }
        }
    }

    fn domain(&self, whose: &Whose) -> Option<Arc<Domain>> {
        let table = &self.table;
        let listener = self.listeners.iter().position(|name| *name == whose.listener)?;
        let version = Version::from_wire(whose.version)?;
        let policy = table.policy();
        if !policy.admission.admits(whose.address) {
            return None;
        }
        let rules = &policy.rules;
        let rule = rules.find(listener, whose.address, whose.observation_domain);
        let tenant = rules.tenant(listener, rule);
        let port = match (whose.session, rules.session(rule, version)) {
            (Session::Any, _) => 0,
            (Session::Port(port), SessionPolicy::Port) => port,
            _ => return None,
        };
        if *rules.tenant_name(tenant) != *whose.tenant {
            return None;
        }
        let header = Header {
            version,
            observation_domain: whose.observation_domain,
            sequence: 0,
            export_ms: 0,
            sys_uptime_ms: 0,
            count_or_length: 0,
            sampling: 0,
        };
        let is_ports = whose.session != Session::Any;
        let peer = SocketAddr::new(whose.address, port);
        let found = table.find(listener, peer, &header, || is_ports, whose.last_seen_ns).ok()?;
        // Port 0 sends no UDP, so the address's own domain was found, or is what its policy makes of it.
        if found.domain.key.session != whose.session {
            return None;
        }
        found.domain.last_seen_ns.fetch_max(whose.last_seen_ns, Ordering::AcqRel);
        let counts = ExporterCounts {
            sets_used: u64::from(whose.is_known),
            last_seen_ns: whose.last_seen_ns,
            ..ExporterCounts::default()
        };
        table.count(&found.exporter, &counts);
        Some(found.domain)
    }
}

#[cfg(test)]
mod tests;
