//! Who may send, and how much: asked before anything is decoded.
//!
//! Enters: a source address; the size of a datagram and the time. Leaves: nothing, or a [`Refusal`] that is counted by
//! reason. Prefix lists are merged to ranges once and searched without a lock; without lists nothing is searched. A rate
//! is a bucket per exporter that all workers share: what one exporter sends too much costs nobody else.

mod prefixes;
mod rate;

use std::net::IpAddr;

use crate::limits::EXPORTERS_MAX;
use prefixes::Prefixes;
pub(super) use rate::Bucket;
pub use rate::RateLimit;

/// Why a datagram was refused before it was decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The pool of exporters that have sent nothing decodable yet is full of recent ones.
    ExporterLimit,
    /// Its source address is on the deny list, or not on the allow list.
    Denied,
    /// Its exporter sends more than its rate.
    RateLimited,
}

impl Refusal {
    /// All of them, in the order of `metrics::REFUSE_REASONS`.
    pub const ALL: [Self; 3] = [Self::ExporterLimit, Self::Denied, Self::RateLimited];

    /// The `reason` label of `datagrams_refused_total`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ExporterLimit => "exporter_limit",
            Self::Denied => "denied",
            Self::RateLimited => "rate_limited",
        }
    }
}

/// An address prefix: network and length in bits.
pub type Prefix = (IpAddr, u8);

/// What the operator says of senders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdmissionSettings {
    /// Only these may send; empty lets all.
    pub allow: Vec<Prefix>,
    /// These may not, whatever `allow` says.
    pub deny: Vec<Prefix>,
    /// What one exporter may send, where no rule says otherwise.
    pub limit: RateLimit,
}

/// The lists, ready to be asked.
#[derive(Debug, Default)]
pub(super) struct Admission {
    allow: Option<Prefixes>,
    deny: Option<Prefixes>,
    /// The allow list is short enough to be a list of exporters.
    names_exporters: bool,
}

impl Admission {
    pub fn new(settings: &AdmissionSettings) -> Self {
        let list = |prefixes: &[Prefix]| (!prefixes.is_empty()).then(|| Prefixes::new(prefixes));
        let allow = list(&settings.allow);
        let names_exporters = allow.as_ref().is_some_and(|allow| allow.addresses() <= EXPORTERS_MAX as u128);
        Self { allow, deny: list(&settings.deny), names_exporters }
    }

    /// True if the operator named `address`, which may send, as an exporter by an allow list on which there are no more
    /// addresses than the table holds: forged ones can then not use up the room of true ones.
    pub fn names(&self, _admitted: IpAddr) -> bool {
        self.names_exporters
    }

    /// True if `address` may send.
    #[inline]
    pub fn admits(&self, address: IpAddr) -> bool {
        self.deny.as_ref().is_none_or(|deny| !deny.contains(address))
            && self.allow.as_ref().is_none_or(|allow| allow.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn labels_are_those_of_the_metric() {
        for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, index);
            assert_eq!(crate::metrics::REFUSE_REASONS[index], refusal.label());
        }
    }

    #[test]
    fn without_lists_all_may_send_and_deny_beats_allow() {
        let lists = |allow: &[(&str, u8)], deny: &[(&str, u8)]| {
            let list = |of: &[(&str, u8)]| of.iter().map(|(a, l)| (ip(a), *l)).collect();
            Admission::new(&AdmissionSettings { allow: list(allow), deny: list(deny), limit: RateLimit::default() })
        };
        let none = lists(&[], &[]);
        assert!(none.admits(ip("192.0.2.1")) && none.admits(ip("2001:db8::1")));
        let allow = lists(&[("192.0.2.0", 24)], &[("192.0.2.128", 25)]);
        assert!(allow.admits(ip("192.0.2.127")) && !allow.admits(ip("192.0.2.128")) && !allow.admits(ip("192.0.3.0")));
        assert!(allow.names(ip("192.0.2.1")) && !lists(&[("10.0.0.0", 8)], &[]).names(ip("10.1.1.1")));
        // A list of one family allows none of the other.
        assert!(!allow.admits(ip("2001:db8::1")));
        let deny = lists(&[], &[("2001:db8::", 32)]);
        assert!(deny.admits(ip("192.0.2.1")) && !deny.admits(ip("2001:db8:ffff::1")) && deny.admits(ip("2001:db9::")));
    }
}
