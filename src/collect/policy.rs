//! What the operator decided about exporters, and how the table takes up other decisions while datagrams come.
//!
//! Enters: checked settings. Leaves: a [`Policy`] that cannot fail any more, and what became of the exporters when it was
//! taken up. Promised: exporters whom nothing new concerns are not touched; the others keep domains, templates, options,
//! sequence and sets that wait, and their templates are compiled anew. Only a domain that belongs to another tenant now, or
//! whose source ports share templates otherwise than before (`session`), or that must part from others it shared options
//! with, is forgotten and learns anew; what waited there is counted as `retired`. No worker waits for more than one exporter.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::CollectSettings;
use super::admit::Admission;
use super::domains::Domains;
use super::exporters::{ExporterEntry, ExporterTable, lock};
use super::rules::{BehindMediator, RuleIndex, Rules, TenantIndex};
use crate::decode::{Decided, Domain, ExporterState, Originals, ParkedCounts};

/// Who may send, how much, and how it is read: what all of the table follows.
#[derive(Debug)]
pub struct Policy {
    pub(super) rules: Arc<Rules>,
    pub(super) admission: Admission,
}

/// What following another policy came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Followed {
    /// Exporters for which something changed.
    pub exporters: usize,
    /// Domains that were forgotten.
    pub domains_forgotten: usize,
    /// Sets that waited there.
    pub sets_dropped: u64,
}

impl Policy {
    /// The policy of `settings`.
    ///
    /// # Errors
    /// A sentence for the operator: a rule that cannot hold.
    pub(super) fn new(settings: &CollectSettings) -> Result<Self, String> {
        Ok(Self { rules: Arc::new(Rules::new(settings)?), admission: Admission::new(&settings.admission) })
    }

    /// What is decided for an exporter under `rule`, and whom to ask about exporters behind it.
    pub(super) fn decided(
        rules: &Arc<Rules>,
        rule: RuleIndex,
        (tenant, address): (TenantIndex, IpAddr),
    ) -> (Decided, Option<Arc<dyn Originals>>) {
        let exporter = Arc::new(rules.exporter(rule, tenant, address));
        let behind = BehindMediator::of(rules, rule, tenant).map(|behind| Arc::new(behind) as Arc<dyn Originals>);
        (Decided { exporter, settings: rules.decode(rule) }, behind)
    }
}

impl ExporterTable {
    /// The policy of `settings`, which the table can follow: its tenants keep their numbers. The listeners must be those
    /// that the table was made for.
    ///
    /// # Errors
    /// A sentence for the operator: a rule that cannot hold.
    pub fn prepare(&self, settings: &CollectSettings) -> Result<Policy, String> {
        let rules = Rules::after(&self.policy().rules, settings)?;
        Ok(Policy { rules: Arc::new(rules), admission: Admission::new(&settings.admission) })
    }

    /// Follows `policy` from now on. Workers take it up with their next receive batch.
    pub fn follow(&self, policy: Policy) -> Followed {
        let (policy, before) = (Arc::new(policy), self.policy());
        // Who admits an exporter holds the pool: it is in the table before this, or admitted by the new policy.
        let unknown = lock(&self.unknown);
        self.policy.store(Arc::clone(&policy));
        drop(unknown);
        let (mut followed, mut moved) = (Followed::default(), Vec::new());
        for entry in self.entries() {
            let rule = policy.rules.find(entry.admitted_at.0, entry.key.1, entry.admitted_at.1);
            entry.bucket.set(policy.rules.rate(rule));
            entry.is_named.store(policy.rules.names_one(rule), Ordering::Release);
            let mut domains = lock(&entry.domains);
            let had_domains = !domains.all().is_empty();
            let change = domains.follow(&policy.rules, &before.rules, entry.key);
            let is_moved = had_domains && domains.all().is_empty();
            drop(domains);
            if change == DomainsFollowed::default() {
                continue;
            }
            followed.exporters += 1;
            followed.domains_forgotten += change.forgotten;
            followed.sets_dropped += u64::from(change.parked.sets);
            // Caches of workers that have looked at the policy before this let go of what is forgotten by its flag.
            self.count_retired(change.parked);
            if is_moved && policy.rules.tenant(entry.admitted_at.0, rule) != entry.key.0 {
                moved.push(entry);
            }
        }
        self.forget_moved(&moved);
        followed
    }

    /// Exporters that belong to another tenant now: there they are others.
    fn forget_moved(&self, moved: &[Arc<ExporterEntry>]) {
        let mut unknown = lock(&self.unknown);
        for entry in moved {
            if self.holds(entry) {
                self.forget_counted(entry, &mut unknown);
            }
        }
    }
}

/// What became of one exporter's domains.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct DomainsFollowed {
    decided: usize,
    forgotten: usize,
    parked: ParkedCounts,
}

impl Domains {
    /// Brings all domains in line with `rules`.
    fn follow(&mut self, rules: &Arc<Rules>, before: &Rules, key: (TenantIndex, IpAddr)) -> DomainsFollowed {
        let mut followed = DomainsFollowed::default();
        let at = |domain: &Domain| (usize::from(domain.listener), domain.key.observation_domain);
        let mut all = self.all();
        // The lowest listener and observation domain speaks for those that share its options.
        all.sort_by_key(|domain| at(domain));
        let mut states: Vec<(RuleIndex, Arc<ExporterState>, Decided)> = Vec::new();
        let mut goes = Vec::new();
        for domain in &all {
            let (listener, observation_domain) = at(domain);
            let rule = rules.find(listener, key.1, observation_domain);
            let version = domain.key.version;
            let session_before = before.session(before.find(listener, key.1, observation_domain), version);
            let (decided, _) = Policy::decided(rules, rule, key);
            let state = states.iter().find(|(_, state, _)| Arc::ptr_eq(state, &domain.exporter));
            let parts = state
                .is_some_and(|(_, _, first)| first.exporter != decided.exporter || first.settings != decided.settings);
            if rules.tenant(listener, rule) != key.0 || session_before != rules.session(rule, version) || parts {
                goes.push(Arc::clone(domain));
            } else if state.is_none() {
                states.push((rule, Arc::clone(&domain.exporter), decided));
            }
        }
        for domain in &goes {
            // Domains that fall back to it go with it; those are looked at once more and are not there then.
            followed.parked = followed.parked.and(self.retire(domain));
            followed.forgotten += 1;
        }
        for (rule, state, decided) in &states {
            let now = state.decided();
            let is_mediator = now.settings.profile.is_mediator || decided.settings.profile.is_mediator;
            if now.exporter == decided.exporter && now.settings == decided.settings && !is_mediator {
                continue;
            }
            drop(now);
            followed.decided += 1;
            let (decided, behind) = Policy::decided(rules, *rule, key);
            if state.decide(decided, behind) {
                for domain in self.all().iter().filter(|domain| Arc::ptr_eq(&domain.exporter, state)) {
                    domain.recompile();
                }
            }
        }
        self.keep_states(states.into_iter().map(|(rule, state, _)| (rule, state)).collect());
        followed
    }
}
