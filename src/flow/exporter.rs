//! Who sent a flow: the Exporter of RFC 7011 section 2, as this process knows it.

use std::net::IpAddr;
use std::sync::Arc;

/// An exporter: (tenant, address) with what the operator's rules made of it.
///
/// Shared by `Arc` between the exporter table, the domains and every batch that carries its flows,
/// so that a record needs only a 16-bit index.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Exporter {
    /// Tenant of the listener that received the datagram; empty by default.
    pub tenant: Arc<str>,
    /// Source address of the datagrams; IPv4-mapped IPv6 is folded to IPv4 before it gets here.
    pub address: IpAddr,
    /// Name given by an `[[exporter]]` rule, for people.
    pub name: Option<Box<str>>,
    /// What the backend sees as `switch_id`.
    pub switch_id: Box<str>,
    /// Its maker's Private Enterprise Number, if a rule or its options say it.
    pub maker: Option<u32>,
}

impl Exporter {
    /// An exporter that no rule names: its switch_id is its address.
    #[must_use]
    pub fn of_address(address: IpAddr) -> Self {
        Self {
            tenant: Arc::from(""),
            address,
            name: None,
            switch_id: address.to_string().into_boxed_str(),
            maker: None,
        }
    }
}
