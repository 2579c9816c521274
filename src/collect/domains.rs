//! Domains of one exporter, and the state that they share.
//!
//! Under `SessionPolicy::Port` a port gets a domain of its own only by a datagram that carries
//! templates; all other ports use the domain of the address, which is also what a port's own domain
//! falls back to (DEC-3). At most DOMAINS_PER_EXPORTER_MAX: the one not seen for longest goes, but
//! never the domain of an address that a port's domain still falls back to.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustc_hash::{FxHashMap, FxHashSet};

use super::exporters::ExporterEntry;
use super::policy::Policy;
use super::rules::{RuleIndex, Rules, TenantIndex};
use crate::decode::{
    Domain, DomainKey, ExporterState, Header, LearnedBudget, Overflowed, ParkOverflow, ParkedCounts, Session,
    SessionPolicy, TemplateEventKind, TemplateNews,
};
use crate::flow::Exporter;
use crate::limits::DOMAINS_PER_EXPORTER_MAX;

/// What a look-up gives a worker.
#[derive(Debug, Clone)]
pub struct Found {
    /// The domain.
    pub domain: Arc<Domain>,
    /// Whose it is.
    pub exporter: Arc<ExporterEntry>,
    /// Set if the port has no domain of its own and may get one: the exporter's count of such
    /// domains when this was found.
    pub port_domains: Option<u32>,
}

/// Both ends of a datagram, inside its exporter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    /// Number of the listener.
    pub listener: u16,
    /// UDP source port.
    pub port: u16,
}

/// What [`Domains::find_or_make`] did.
pub(super) struct Made {
    pub domain: Arc<Domain>,
    /// The port may get a domain of its own later.
    pub provisional: bool,
    /// A port got a domain of its own now.
    pub port_domain_made: bool,
    /// Set if another domain had to go: what waited there.
    pub evicted: Option<ParkedCounts>,
}

/// Number of the listener, and the domain's name: what came in elsewhere is another session, with templates of its own
/// (N9-14, IX-15).
type Scope = (u16, DomainKey);

/// Domains of one exporter.
#[derive(Debug, Default)]
pub(super) struct Domains {
    /// One state a rule that the exporter's domains fall under: mostly one.
    states: Vec<(RuleIndex, Arc<ExporterState>)>,
    domains: FxHashMap<Scope, Arc<Domain>>,
    /// Domains that made room for others so far.
    pub evicted: u64,
    /// The table has forgotten this exporter: look it up again.
    pub forgotten: bool,
}

impl Domains {
    /// State of the exporter under `rule`. Bounded by the number of rules.
    pub fn state(
        &mut self,
        rule: RuleIndex,
        rules: &Arc<Rules>,
        key: (TenantIndex, std::net::IpAddr),
        budget: &Arc<LearnedBudget>,
        keeper: Option<&Arc<dyn ParkOverflow>>,
    ) -> Arc<ExporterState> {
        if let Some((_, state)) = self.states.iter().find(|(r, _)| *r == rule) {
            return Arc::clone(state);
        }
        let (decided, behind) = Policy::decided(rules, rule, key);
        let mut state = ExporterState::new(decided.exporter, decided.settings, Arc::clone(budget));
        if let Some(keeper) = keeper {
            state = state.overflowing_to(Arc::clone(keeper));
        }
        if let Some(behind) = behind {
            state = state.with_originals(behind);
        }
        let state = Arc::new(state);
        self.states.push((rule, Arc::clone(&state)));
        state
    }

    /// Other rules hold: `states` are those in use, each with the rule that it is under now.
    pub fn keep_states(&mut self, states: Vec<(RuleIndex, Arc<ExporterState>)>) {
        self.states = states;
    }

    /// The exporter as its first rule names it.
    pub fn exporter(&self) -> Option<Arc<Exporter>> {
        self.states.first().map(|(_, s)| Arc::clone(&s.decided().exporter))
    }

    /// What the exporter's domains share: one a rule.
    pub fn states(&self) -> Vec<Arc<ExporterState>> {
        self.states.iter().map(|(_, state)| Arc::clone(state)).collect()
    }

    /// The rule that `domain` falls under.
    pub fn rule_of(&self, domain: &Domain) -> RuleIndex {
        self.states.iter().find(|(_, state)| Arc::ptr_eq(state, &domain.exporter)).and_then(|(rule, _)| *rule)
    }

    /// All domains, in no order.
    pub fn all(&self) -> Vec<Arc<Domain>> {
        self.domains.values().cloned().collect()
    }

    /// The domain that a datagram of `header` between `ends` belongs to.
    pub fn find_or_make(
        &mut self,
        ends: Ends,
        header: &Header,
        policy: SessionPolicy,
        state: Arc<ExporterState>,
        carries_templates: impl FnOnce() -> bool,
        now_ns: u64,
    ) -> Made {
        let any =
            DomainKey { session: Session::Any, version: header.version, observation_domain: header.observation_domain };
        let own = (ends.listener, DomainKey { session: Session::Port(ends.port), ..any });
        let any = (ends.listener, any);
        let found = |domain: &Arc<Domain>, provisional| Made {
            domain: Arc::clone(domain),
            provisional,
            port_domain_made: false,
            evicted: None,
        };
        let by_port = policy == SessionPolicy::Port;
        if by_port && let Some(domain) = self.domains.get(&own) {
            return found(domain, false);
        }
        let wants_own = by_port && carries_templates();
        if !wants_own && let Some(domain) = self.domains.get(&any) {
            return found(domain, by_port);
        }
        let mut evicted = None;
        let mut make = |domains: &mut Self, scope: Scope, fallback| {
            let parked = domains.make_room(&any, now_ns);
            if let Some(parked) = parked {
                evicted = Some(parked.and(evicted.unwrap_or_default()));
            }
            let domain = Arc::new_cyclic(|me| {
                Domain::new(scope.1, Arc::clone(&state), fallback).heard_at(scope.0).reachable_as(me.clone())
            });
            domain.last_seen_ns.store(now_ns, Ordering::Release);
            domains.domains.insert(scope, Arc::clone(&domain));
            domain
        };
        let of_address = match self.domains.get(&any) {
            Some(domain) => Arc::clone(domain),
            None => make(self, any, None),
        };
        let domain = if wants_own { make(self, own, Some(of_address)) } else { of_address };
        Made { domain, provisional: by_port && !wants_own, port_domain_made: wants_own, evicted }
    }

    /// Makes room for one more domain; `keep` is about to be used and stays.
    fn make_room(&mut self, keep: &Scope, now_ns: u64) -> Option<ParkedCounts> {
        if self.domains.len() < DOMAINS_PER_EXPORTER_MAX {
            return None;
        }
        let fallbacks = self.fallbacks();
        let may_go = |scope: &Scope| scope != keep && !(scope.1.session == Session::Any && fallbacks.contains(scope));
        let oldest =
            self.domains.iter().filter(|(k, _)| may_go(k)).min_by_key(|(_, d)| last_seen(d)).map(|(k, _)| *k)?;
        self.evicted += 1;
        self.domains.remove(&oldest).map(|d| retire(&d, TemplateEventKind::Evicted, now_ns))
    }

    /// Domains of the address that a port's domain falls back to.
    fn fallbacks(&self) -> FxHashSet<Scope> {
        let of_ports = self.domains.keys().filter(|(_, key)| matches!(key.session, Session::Port(_)));
        of_ports.map(|(listener, key)| (*listener, DomainKey { session: Session::Any, ..*key })).collect()
    }

    /// Forgets `domain`; what falls back to it goes too, since it would go on using it.
    pub fn retire(&mut self, domain: &Arc<Domain>) -> ParkedCounts {
        let goes =
            |d: &Arc<Domain>| Arc::ptr_eq(d, domain) || d.fallback.as_ref().is_some_and(|f| Arc::ptr_eq(f, domain));
        let mut parked = ParkedCounts::default();
        self.domains.retain(|_, d| {
            let gone = goes(d);
            if gone {
                parked = parked.and(retire(d, TemplateEventKind::Evicted, last_seen(d)));
            }
            !gone
        });
        parked
    }

    /// Forgets templates that are too old, and tells what became of templates since the last call.
    pub fn review_templates(&self, now_ns: u64) -> Option<TemplateNews> {
        for domain in self.domains.values() {
            domain.expire_templates(now_ns);
        }
        self.states.iter().filter_map(|(_, state)| state.take_template_news()).reduce(TemplateNews::and)
    }

    /// Moves sets that waited for long to the disk, where there is one.
    pub fn overflow_parked(&self, now_ns: u64) -> Overflowed {
        self.domains.values().map(|domain| domain.overflow_parked(now_ns)).fold(Overflowed::default(), Overflowed::and)
    }

    /// Drops sets that waited for longer than the settings allow.
    pub fn expire_parked(&self, now_ns: u64, expired: &mut ParkedCounts) {
        for domain in self.domains.values() {
            *expired = expired.and(domain.expire_parked(now_ns));
        }
    }

    /// Forgets domains that were silent for `silence_ns`.
    pub fn forget_silent(&mut self, now_ns: u64, silence_ns: u64) -> ParkedCounts {
        let is_silent = |d: &Arc<Domain>| now_ns.saturating_sub(last_seen(d)) > silence_ns;
        let mut parked = ParkedCounts::default();
        // The common case first, without the set of fallbacks: nobody is.
        if !self.domains.values().any(is_silent) {
            return parked;
        }
        let fallbacks = self.fallbacks();
        self.domains.retain(|scope, domain| {
            let gone = is_silent(domain) && !fallbacks.contains(scope);
            if gone {
                parked = parked.and(retire(domain, TemplateEventKind::Expired, now_ns));
            }
            !gone
        });
        parked
    }

    /// Forgets everything, and that the exporter is in the table.
    pub fn forget_all(&mut self) -> ParkedCounts {
        self.forgotten = true;
        self.states.clear();
        self.domains.drain().fold(ParkedCounts::default(), |parked, (_, d)| {
            parked.and(retire(&d, TemplateEventKind::Evicted, last_seen(&d)))
        })
    }
}

fn last_seen(domain: &Arc<Domain>) -> u64 {
    domain.last_seen_ns.load(Ordering::Acquire)
}

/// The flag first: who parks a set from now on sees under the domain's lock that it is too late.
fn retire(domain: &Arc<Domain>, kind: TemplateEventKind, now_ns: u64) -> ParkedCounts {
    domain.retired.store(true, Ordering::Release);
    domain.retire_as(kind, now_ns)
}
