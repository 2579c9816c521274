//! The onlooker: health, readiness, metrics and status over HTTP, on a thread and runtime of its own, with TLS and a
//! token if the operator wants them.
//!
//! In go snapshot functions ([`Sources`]) that the wiring hands over, and the metrics; out come the
//! paths of the stable contract. Nothing of the data path is known here, and nothing in the path
//! ever waits for a reader: answers are bounded in number and size, pictures of the exporters are
//! taken a few times a second at most, and a slow reader loses its connection.

mod accept;
mod answer;
pub(crate) mod bearer;
mod budget;
mod connection;
mod detail;
mod door;
mod duplicates;
mod exporters;
mod guests;
mod observation;
mod picture;
mod route;
mod server;
mod sources;
mod status;
mod targets;
pub(crate) mod time;

pub use detail::{DetailQuery, DetailRow, EventRow, FieldRow, TemplateRow, exporter_json};
pub use server::{WebError, WebServer, start, start_on};
pub use sources::{
    Ask, AskAddress, ConfigRow, DomainRow, ExporterRow, FaultRow, Health, Liveness, RateRow, Readiness, Sources,
    WaitingRow,
};
pub use targets::{Announcement, TargetsSettings, announce};

use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::limits;
use crate::secret::SecretSource;
use crate::tls::ServerTls;

/// Where the HTTP side listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSettings {
    /// Address to bind.
    pub bind: IpAddr,
    /// Port, or a range of which the first free one is taken.
    pub ports: RangeInclusive<u16>,
    /// Who may ask, and how.
    pub access: WebAccess,
}

impl WebSettings {
    /// True if only this machine or who knows the token gets answers that are not for everybody.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.bind.to_canonical().is_loopback() || self.access.token.is_some()
    }
}

/// Who may ask the HTTP side, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebAccess {
    /// TLS, if the HTTP side speaks it.
    pub tls: Option<ServerTls>,
    /// Token that the page and the API ask for.
    pub token: SecretSource,
    /// The metrics need no token.
    pub metrics_open: bool,
    /// Requests a second that are answered, of all peers together; health does not count.
    pub request_rate: u32,
}

impl Default for WebAccess {
    fn default() -> Self {
        let request_rate = u32::try_from(limits::HTTP_REQUEST_RATE.default).unwrap_or(u32::MAX);
        Self { tls: None, token: SecretSource::None, metrics_open: true, request_rate }
    }
}
