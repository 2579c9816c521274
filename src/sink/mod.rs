//! FlowBatch -> bytes -> backend: the tokio side.
//!
//! `encode` turns records into bodies (called by the batcher threads), `dispatch` keeps a bounded
//! number of requests in flight, `compress` packs bodies if asked, `http` speaks to the backend, `retry` decides what an answer means,
//! `kept` is a batch as the spool knows it.

mod budget;
mod compress;
mod dispatch;
pub mod encode;
mod http;
pub mod kept;
pub mod probe;
mod resend;
pub mod retry;
pub mod stdout;
mod target;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

pub use dispatch::{Bell, Sink, SpoolEnds, start, start_with};
pub use probe::probe;
pub use resend::Resender;
pub use target::{Aim, Target};

use crate::secret::{Secret, SecretError, SecretSource};
use crate::tls::ClientTls;

/// Where finished batches go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// POST to the backend.
    Backend,
    /// NDJSON on standard output.
    Stdout,
}

/// When batches go through the spool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SpoolMode {
    /// When they cannot be delivered now.
    #[default]
    OnFailure,
    /// Each of them, before it is sent.
    Always,
    /// Never.
    Off,
}

/// Which HTTP is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HttpVersion {
    /// The backend chooses by ALPN; 1.1 without TLS.
    #[default]
    Auto,
    /// HTTP/1.1.
    One,
    /// HTTP/2; without TLS by prior knowledge.
    Two,
}

/// Content-Encoding of bodies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// zstd (RFC 8878).
    Zstd,
}

/// What shows the backend who sends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Bearer token.
    pub token: SecretSource,
    /// User of basic authentication; empty without it.
    pub username: String,
    /// Password of basic authentication.
    pub password: SecretSource,
    /// Further headers, one `Name: value` a line.
    pub headers: SecretSource,
}

/// How the backend is reached, beside its address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Which HTTP is spoken.
    pub http_version: HttpVersion,
    /// Content-Encoding of bodies.
    pub compression: Compression,
    /// Proxy for this backend, chosen from the setting and the environment.
    pub proxy: Option<Proxy>,
    /// TLS of an `https` backend.
    pub tls: ClientTls,
    /// Credentials for the backend.
    pub credentials: Credentials,
    /// Further backends; those of `Routing::others` have none.
    pub routing: Routing,
}

/// Which of several backends gets a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Balance {
    /// The first in the operator's order that takes what it is sent.
    #[default]
    Failover,
    /// The one of those with the fewest requests under way.
    Spread,
}

/// Several backends, and how much each of them is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routing {
    /// Backends beside `SinkSettings::backend`, in the operator's order, each with its own way.
    pub others: Vec<(BackendUrl, Access)>,
    /// Which of them gets a batch.
    pub balance: Balance,
    /// How many requests a backend has under way.
    pub concurrency: Concurrency,
}

/// How many requests a backend has under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Concurrency {
    /// Fewer than the most where more only make it slower.
    #[default]
    Adaptive,
    /// Always the most.
    Fixed,
}

/// A proxy on the way to the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `user:password` for the proxy.
    pub credentials: Option<Secret>,
    /// Where the setting came from and what it is, for people, without credentials.
    pub display: String,
}

/// Base URL of the backend, checked; base path kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendUrl {
    /// True with `https`.
    pub tls: bool,
    /// Host name or address, without brackets.
    pub host: String,
    /// Port; 80 or 443 if the URL has none.
    pub port: u16,
    /// Path of requests: base path and endpoint, beginning with `/`.
    pub path: String,
    /// The base URL as people may see it: without credentials.
    pub display: String,
}

impl BackendUrl {
    /// `host` or `host:port`, as it stands in requests.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.tls { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }
}

/// What delivery needs to know.
#[derive(Debug, Clone)]
pub struct SinkSettings {
    /// Where batches go.
    pub output: Output,
    /// The backend; unused with `Output::Stdout`.
    pub backend: BackendUrl,
    /// `Clarion-Instance` and part of the User-Agent.
    pub instance: String,
    /// Requests under way at once.
    pub requests_in_flight: usize,
    /// Octets of bodies waiting for or under delivery.
    pub in_flight_octets: u64,
    /// Whole request.
    pub request_timeout: Duration,
    /// TCP connect.
    pub connect_timeout: Duration,
    /// Idle connection.
    pub idle_timeout: Duration,
    /// Oldest a connection gets; each one's own end is jittered by up to a tenth below.
    pub connection_max_age: Duration,
    /// Tries with one batch before it makes way for the next.
    pub retry_attempts: u32,
    /// First back-off.
    pub backoff: Duration,
    /// Longest back-off.
    pub backoff_max: Duration,
    /// Threads of the delivery runtime.
    pub threads: usize,
    /// How the backend is reached.
    pub access: Access,
}

impl SinkSettings {
    /// All backends in the operator's order: each as if it were the only one.
    #[must_use]
    pub fn each_backend(&self) -> Vec<Self> {
        let others = self.access.routing.others.iter().map(|(backend, access)| {
            let (backend, access) = (backend.clone(), access.clone());
            Self { backend, access, ..self.clone() }
        });
        std::iter::once(self.clone()).chain(others).collect()
    }

    /// The URLs of all backends as people may see them, with commas.
    #[must_use]
    pub fn display(&self) -> String {
        let others = self.access.routing.others.iter().map(|(backend, _)| backend.display.as_str());
        std::iter::once(self.backend.display.as_str()).chain(others).collect::<Vec<_>>().join(", ")
    }
}

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The backend has it.
    Accepted,
    /// Environment: try again, not before `after` if the backend named a time.
    Retry {
        /// Retry-After of the answer.
        after: Option<Duration>,
    },
    /// The backend refused this batch (400, 413, 422).
    Refused {
        /// HTTP status.
        status: u16,
    },
}

/// Records of one exporter that stand next to each other in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExporterRun {
    /// Tenant of the exporter.
    pub tenant: std::sync::Arc<str>,
    /// Address of the exporter.
    pub address: IpAddr,
    /// How many records in a row.
    pub records: u32,
}

/// Why delivery cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// No threads or no event queue.
    #[error("delivery cannot start its {threads} threads: {source}; check the process's limits (ulimit -u, pids.max)")]
    Runtime {
        /// Threads asked for.
        threads: usize,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A setting cannot stand in a header.
    #[error("the value {value:?} cannot be sent in the header {header}: use visible ASCII characters only")]
    Header {
        /// Name of the header.
        header: &'static str,
        /// Its value.
        value: String,
    },
    /// A file of credentials or TLS, or a credential, cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The proxy's user or password.
    #[error("the user or password of [backend] proxy {what}")]
    Proxy {
        /// What is wrong with it.
        what: String,
    },
    /// The host of an https URL.
    #[error(
        "the host {host:?} of [backend] url is no name that a certificate could be for: write a DNS name or an address"
    )]
    ServerName {
        /// The host.
        host: String,
    },
    /// The path of the URL is none.
    #[error("the backend's path {path:?} is not a path of a URL: it begins with / and has no spaces")]
    Path {
        /// The path.
        path: String,
    },
}

/// What became of the records that delivery held when it was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SinkReport {
    /// Records delivered since then.
    pub delivered: u64,
    /// Records given up since then: those that the deadline caught, and those that the backend refused for good.
    pub dropped: u64,
    /// Records handed to the spool since then, or left in it.
    pub spooled: u64,
    /// True if everything met its fate before the deadline: delivered, given up for good, or in the spool.
    pub in_time: bool,
}
