//! What the operator decided for an exporter: the most specific `[[exporter]]` rule that matches.
//!
//! A longer prefix wins over a shorter one, then a rule for a listener, then one for an observation
//! domain, then the one that stands first in the file. Looked up when a domain is made, never per
//! datagram. Tenants are known at start, so that the table's keys need only a number for them.
//!
//! Rules never change while they are in use: others take their place as a whole (`policy`). A [`RuleIndex`] means nothing
//! under other rules; the number of a tenant means the same under all that follow.

use std::net::IpAddr;
use std::sync::Arc;

use super::{CollectSettings, ExporterRule, RateLimit};
use crate::decode::{DecodeSettings, Original, Originals, SessionPolicy};
use crate::flow::{Exporter, Version};

/// Number of a tenant in [`Rules`].
pub type TenantIndex = u32;

/// The rules, most specific first, and what holds where none matches.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    tenants: Vec<Arc<str>>,
    listeners: Vec<TenantIndex>,
    decode: DecodeSettings,
    switch_id: Option<Box<str>>,
    rate: RateLimit,
}

#[derive(Debug)]
struct Rule {
    written: ExporterRule,
    /// Index of the listener it is for; None for all.
    listener: Option<usize>,
    tenant: Option<TenantIndex>,
}

/// The rule that an exporter's domain falls under; None if no rule does.
pub type RuleIndex = Option<usize>;

impl Rules {
    /// Sorts the rules of `settings`.
    ///
    /// # Errors
    /// A sentence for the operator: a rule names a listener that is not there.
    pub fn new(settings: &CollectSettings) -> Result<Self, String> {
        Self::numbered(Vec::new(), settings)
    }

    /// The same for a table that has followed `before`: tenants keep their numbers.
    ///
    /// # Errors
    /// As [`Rules::new`].
    pub fn after(before: &Self, settings: &CollectSettings) -> Result<Self, String> {
        Self::numbered(before.tenants.clone(), settings)
    }

    fn numbered(mut tenants: Vec<Arc<str>>, settings: &CollectSettings) -> Result<Self, String> {
        let mut number = |name: &str| {
            let known = tenants.iter().position(|t| &**t == name);
            let index = known.unwrap_or_else(|| {
                tenants.push(Arc::from(name));
                tenants.len() - 1
            });
            TenantIndex::try_from(index).unwrap_or(TenantIndex::MAX)
        };
        let listeners = settings.listeners.iter().map(|l| number(&l.tenant)).collect();
        let mut rules = Vec::with_capacity(settings.rules.len());
        for written in &settings.rules {
            let tenant = written.tenant.as_deref().map(&mut number);
            let listener = match &written.listener {
                None => None,
                Some(name) => {
                    let found = settings.listeners.iter().position(|l| l.name == *name || l.port.to_string() == *name);
                    Some(found.ok_or_else(|| unknown_listener(written, name, settings))?)
                }
            };
            rules.push(Rule { written: written.clone(), listener, tenant });
        }
        // Stable: equal ones stay in the order of the file.
        rules
            .sort_by_key(|r| (std::cmp::Reverse(r.written.prefix.1), r.listener.is_none(), r.written.domain.is_none()));
        let switch_id = (!settings.switch_id_from_ip).then(|| settings.switch_id.clone().into_boxed_str());
        Ok(Self {
            rules,
            tenants,
            listeners,
            decode: settings.decode.clone(),
            switch_id,
            rate: settings.admission.limit,
        })
    }

    /// The rule for a datagram.
    #[must_use]
    pub fn find(&self, listener: usize, address: IpAddr, observation_domain: u32) -> RuleIndex {
        self.find_at(Some(listener), address, observation_domain)
    }

    fn find_at(&self, listener: Option<usize>, address: IpAddr, observation_domain: u32) -> RuleIndex {
        self.rules.iter().position(|r| {
            contains(r.written.prefix, address)
                && (r.listener.is_none() || r.listener == listener)
                && r.written.domain.is_none_or(|d| d == observation_domain)
        })
    }

    fn rule(&self, rule: RuleIndex) -> Option<&Rule> {
        self.rules.get(rule?)
    }

    /// Tenant of what comes in at `listener` under `rule`.
    #[must_use]
    pub fn tenant(&self, listener: usize, rule: RuleIndex) -> TenantIndex {
        let of_rule = self.rule(rule).and_then(|r| r.tenant);
        of_rule.or_else(|| self.listeners.get(listener).copied()).unwrap_or(0)
    }

    /// How many tenants there are: their numbers begin at 0.
    #[must_use]
    pub fn tenants(&self) -> TenantIndex {
        TenantIndex::try_from(self.tenants.len()).unwrap_or(TenantIndex::MAX)
    }

    /// Name of a tenant; empty by default.
    #[must_use]
    pub fn tenant_name(&self, tenant: TenantIndex) -> Arc<str> {
        self.tenants.get(tenant as usize).cloned().unwrap_or_else(|| Arc::from(""))
    }

    /// The exporter as records name it.
    #[must_use]
    pub fn exporter(&self, rule: RuleIndex, tenant: TenantIndex, address: IpAddr) -> Exporter {
        let written = self.rule(rule).map(|r| &r.written);
        let mut exporter = Exporter::of_address(address);
        exporter.tenant = self.tenant_name(tenant);
        exporter.maker = written.and_then(|w| w.profile.maker);
        exporter.name = written.and_then(|w| w.name.clone()).map(String::into_boxed_str);
        if let Some(id) = written.and_then(|w| w.switch_id.clone()) {
            exporter.switch_id = id.into_boxed_str();
        } else if let Some(id) = &self.switch_id {
            exporter.switch_id = id.clone();
        }
        exporter
    }

    /// How its messages are decoded.
    #[must_use]
    pub fn decode(&self, rule: RuleIndex) -> DecodeSettings {
        let mut settings = self.decode.clone();
        if let Some(rule) = self.rule(rule) {
            settings.sampling_default = rule.written.sampling_default.or(settings.sampling_default);
            settings.sampling_override = rule.written.sampling_override.or(settings.sampling_override);
            settings.profile = rule.written.profile;
        }
        settings
    }

    /// Which of its datagrams share templates (DEC-3).
    #[must_use]
    pub fn session(&self, rule: RuleIndex, version: Version) -> SessionPolicy {
        let default = if version == Version::Ipfix { SessionPolicy::Port } else { SessionPolicy::Any };
        self.rule(rule).and_then(|r| r.written.session).unwrap_or(default)
    }

    /// What an exporter under `rule` may send.
    #[must_use]
    pub fn rate(&self, rule: RuleIndex) -> RateLimit {
        let mut limit = self.rate;
        if let Some(rule) = self.rule(rule) {
            limit.datagrams_per_second = rule.written.datagrams_per_second.unwrap_or(limit.datagrams_per_second);
            limit.octets_per_second = rule.written.octets_per_second.unwrap_or(limit.octets_per_second);
        }
        limit
    }

    /// True if `rule` names this one address: the operator knows the exporter.
    #[must_use]
    pub fn names_one(&self, rule: RuleIndex) -> bool {
        self.rule(rule).is_some_and(|r| r.written.prefix.1 == if r.written.prefix.0.is_ipv4() { 32 } else { 128 })
    }
}

/// The rules for exporters behind a mediator (IX-41): as if they sent themselves to the listener that the mediator's rule
/// names, or to any. The tenant stays the mediator's: nobody speaks for another's exporters.
#[derive(Debug)]
pub struct BehindMediator {
    rules: Arc<Rules>,
    listener: Option<usize>,
    tenant: TenantIndex,
}

impl BehindMediator {
    /// None if an exporter under `rule` is no mediator.
    #[must_use]
    pub fn of(rules: &Arc<Rules>, rule: RuleIndex, tenant: TenantIndex) -> Option<Self> {
        let mediator = rules.rule(rule).filter(|r| r.written.profile.is_mediator)?;
        Some(Self { rules: Arc::clone(rules), listener: mediator.listener, tenant })
    }
}

impl Originals for BehindMediator {
    fn original(&self, address: IpAddr, observation_domain: u32) -> Original {
        let rule = self.rules.find_at(self.listener, address, observation_domain);
        let DecodeSettings { sampling_default, sampling_override, .. } = self.rules.decode(rule);
        let exporter = Arc::new(self.rules.exporter(rule, self.tenant, address));
        Original { exporter, sampling_default, sampling_override }
    }
}

fn unknown_listener(rule: &ExporterRule, name: &str, settings: &CollectSettings) -> String {
    let known: Vec<&str> = settings.listeners.iter().map(|l| l.name.as_str()).collect();
    format!(
        "[[exporter]] {}/{}: listener = {name:?} is none of the listeners; use one of {}",
        rule.prefix.0,
        rule.prefix.1,
        known.join(", ")
    )
}

/// True if `address` is in `prefix`; families never match each other.
fn contains(prefix: (IpAddr, u8), address: IpAddr) -> bool {
    let (length, network) = (u32::from(prefix.1), prefix.0);
    match (network, address) {
        (IpAddr::V4(n), IpAddr::V4(a)) => {
            let mask = u32::MAX.checked_shl(32 - length.min(32)).unwrap_or(0);
            (n.to_bits() ^ a.to_bits()) & mask == 0
        }
        (IpAddr::V6(n), IpAddr::V6(a)) => {
            let mask = u128::MAX.checked_shl(128 - length.min(128)).unwrap_or(0);
            (n.to_bits() ^ a.to_bits()) & mask == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::tests::{rule, settings};
    use crate::decode::Profile;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    #[test]
    fn the_most_specific_rule_wins() {
        let mut s = settings(2, 1);
        let named = |prefix: &str, length, name: &str| ExporterRule { name: Some(name.into()), ..rule(prefix, length) };
        s.rules = vec![
            named("0.0.0.0", 0, "all"),
            named("192.0.2.0", 24, "net"),
            ExporterRule { domain: Some(7), ..named("192.0.2.0", 24, "net-domain") },
            ExporterRule { listener: Some("l1".into()), ..named("192.0.2.0", 24, "net-listener") },
            named("192.0.2.9", 32, "host"),
            named("192.0.2.9", 32, "host-later"),
            named("2001:db8::", 32, "six"),
        ];
        let rules = Rules::new(&s).expect("rules");
        let name = |listener, address: &str, domain| {
            let rule = rules.find(listener, ip(address), domain);
            rules.exporter(rule, 0, ip(address)).name.map(String::from)
        };
        assert_eq!(name(0, "198.51.100.1", 0).as_deref(), Some("all"));
        assert_eq!(name(0, "192.0.2.1", 0).as_deref(), Some("net"));
        assert_eq!(name(0, "192.0.2.1", 7).as_deref(), Some("net-domain"));
        assert_eq!(name(1, "192.0.2.1", 7).as_deref(), Some("net-listener"));
        assert_eq!(name(1, "192.0.2.9", 7).as_deref(), Some("host"));
        assert_eq!(name(0, "2001:db8::1", 0).as_deref(), Some("six"));
        assert_eq!(name(0, "2001:db9::1", 0), None);
        assert!(rules.names_one(rules.find(0, ip("192.0.2.9"), 0)));
        assert!(!rules.names_one(rules.find(0, ip("192.0.2.1"), 0)));
    }

    #[test]
    fn a_rule_gives_tenant_switch_id_sampling_session_and_profile() {
        let mut s = settings(2, 1);
        s.listeners[1].tenant = "blue".into();
        s.switch_id_from_ip = false;
        s.switch_id = "site".into();
        s.rules = vec![ExporterRule {
            tenant: Some("red".into()),
            switch_id: Some("core-1".into()),
            sampling_override: Some(100),
            session: Some(SessionPolicy::Any),
            profile: Profile { maker: Some(9), is_mediator: true, ..Profile::default() },
            ..rule("192.0.2.0", 24)
        }];
        let rules = Rules::new(&s).expect("rules");
        let (inside, outside) = (rules.find(1, ip("192.0.2.1"), 0), rules.find(1, ip("203.0.113.1"), 0));
        assert_eq!(&*rules.tenant_name(rules.tenant(1, inside)), "red");
        assert_eq!(&*rules.tenant_name(rules.tenant(1, outside)), "blue");
        assert_eq!(&*rules.tenant_name(rules.tenant(0, None)), "");
        assert_eq!(&*rules.exporter(inside, 0, ip("192.0.2.1")).switch_id, "core-1");
        assert_eq!(&*rules.exporter(outside, 0, ip("203.0.113.1")).switch_id, "site");
        assert_eq!(rules.decode(inside).sampling_override, Some(100));
        assert_eq!(rules.decode(inside).profile, Profile { maker: Some(9), is_mediator: true, ..Profile::default() });
        assert_eq!(rules.exporter(inside, 0, ip("192.0.2.1")).maker, Some(9));
        assert_eq!(rules.decode(outside).profile, Profile::default());
        assert_eq!(rules.exporter(outside, 0, ip("203.0.113.1")).maker, None);
        assert_eq!(rules.decode(outside).sampling_override, None);
        assert_eq!(rules.session(inside, Version::Ipfix), SessionPolicy::Any);
        assert_eq!(rules.session(outside, Version::Ipfix), SessionPolicy::Port);
        assert_eq!(rules.session(outside, Version::V9), SessionPolicy::Any);
    }

    #[test]
    fn ix_41_exporters_behind_a_mediator_fall_under_their_own_rules_and_its_tenant() {
        let mut s = settings(2, 1);
        let profile = Profile { is_mediator: true, ..Profile::default() };
        s.rules = vec![
            ExporterRule { listener: Some("l1".into()), tenant: Some("red".into()), profile, ..rule("192.0.2.1", 32) },
            ExporterRule {
                switch_id: Some("edge".into()),
                tenant: Some("blue".into()),
                sampling_default: Some(50),
                ..rule("203.0.113.0", 24)
            },
            ExporterRule { domain: Some(7), sampling_override: Some(9), ..rule("203.0.113.0", 24) },
            ExporterRule { listener: Some("l0".into()), name: Some("no".into()), ..rule("203.0.113.0", 24) },
        ];
        let rules = Arc::new(Rules::new(&s).expect("rules"));
        let mediator = rules.find(1, ip("192.0.2.1"), 0);
        let behind = BehindMediator::of(&rules, mediator, rules.tenant(1, mediator)).expect("a mediator");
        let of = |address: &str, domain| behind.original(ip(address), domain);
        let named = of("203.0.113.5", 1);
        assert_eq!((&*named.exporter.switch_id, &*named.exporter.tenant), ("edge", "red"));
        assert_eq!(
            (named.sampling_default, named.sampling_override, named.exporter.name.as_deref()),
            (Some(50), None, None)
        );
        assert_eq!(of("203.0.113.5", 7).sampling_override, Some(9));
        let unknown = of("2001:db8::1", 1);
        assert_eq!((&*unknown.exporter.switch_id, unknown.sampling_default), ("2001:db8::1", None));
        assert!(BehindMediator::of(&rules, rules.find(1, ip("203.0.113.5"), 0), 0).is_none(), "it was not given that");
    }

    #[test]
    fn a_rule_for_an_unknown_listener_is_an_error_that_names_the_known_ones() {
        let mut s = settings(2, 1);
        s.rules = vec![ExporterRule { listener: Some("2056".into()), ..rule("192.0.2.0", 24) }];
        let message = Rules::new(&s).expect_err("unknown");
        assert!(message.contains("\"2056\"") && message.contains("l0, l1"), "{message}");
    }
}
