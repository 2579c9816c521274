//! The onlooker: health, readiness, metrics and status over HTTP, on a thread and runtime of its own.

use std::net::IpAddr;
use std::ops::RangeInclusive;

/// Where the HTTP side listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSettings {
    /// Address to bind.
    pub bind: IpAddr,
    /// Port, or a range of which the first free one is taken.
    pub ports: RangeInclusive<u16>,
}
