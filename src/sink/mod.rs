//! FlowBatch -> bytes -> backend: the tokio side.
//!
//! `encode` turns records into bodies (called by the batcher threads), `dispatch` keeps a bounded
//! number of requests in flight, `http` speaks to the backend, `retry` decides what an answer means.

pub mod encode;
pub mod stdout;

use std::net::IpAddr;
use std::time::Duration;

use encode::EncodedBatch;

/// Where finished batches go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// POST to the backend.
    Backend,
    /// NDJSON on standard output.
    Stdout,
}

/// Base URL of the backend, checked: `http` only until TLS comes, base path kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendUrl {
    /// Host name or address, without brackets.
    pub host: String,
    /// Port; 80 if the URL has none.
    pub port: u16,
    /// Path of requests: base path and endpoint, beginning with `/`.
    pub path: String,
    /// The base URL as people may see it: without credentials.
    pub display: String,
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

/// A batch that delivery could not take, and why.
pub type Offer = Result<(), EncodedBatch>;
