//! The onlooker: health, readiness, metrics and status over HTTP, on a thread and runtime of its own.
//!
//! In go snapshot functions ([`Sources`]) that the wiring hands over, and the metrics; out come the
//! paths of the stable contract. Nothing of the data path is known here, and nothing in the path
//! ever waits for a reader: answers are bounded in number and size, pictures of the exporters are
//! taken a few times a second at most, and a slow reader loses its connection.

mod accept;
mod answer;
mod exporters;
mod route;
mod server;
mod sources;
mod status;
mod time;

pub use server::{WebError, WebServer, start};
pub use sources::{Ask, DomainRow, ExporterRow, Health, Liveness, Readiness, Sources};

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
