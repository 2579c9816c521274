//! What a domain is called inside its exporter: transport session, version, observation domain.

use crate::flow::Version;

/// Which datagrams share templates (protocol.md DEC-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionPolicy {
    /// All UDP source ports of the address.
    Any,
    /// Each UDP source port by itself, with the address's unambiguous templates as a fallback.
    Port,
}

/// Transport session of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Session {
    /// Any port of the address.
    Any,
    /// This UDP source port.
    Port(u16),
    /// This TCP connection (later).
    Connection(u64),
}

impl Session {
    /// Its place among the sessions of an observation domain in lists.
    #[must_use]
    pub const fn rank(self) -> u64 {
        match self {
            Self::Any => 0,
            Self::Port(port) => 1 + port as u64,
            Self::Connection(id) => id.saturating_add(65_537),
        }
    }
}

/// Names a domain inside its exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DomainKey {
    /// Transport session.
    pub session: Session,
    /// Version of its messages.
    pub version: Version,
    /// Observation domain.
    pub observation_domain: u32,
}
