//! FlowBatch -> EncodedBatch: one file a format.

use bytes::Bytes;
use uuid::Uuid;

use super::ExporterRun;

/// Format of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `{"records": [..], "switch_id": ".."}` of the backend contract.
    BackendJson,
    /// One JSON object a line, with the keys of `decode`.
    Ndjson,
}

/// How counters go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Counters {
    /// As on the wire.
    #[default]
    Raw,
    /// Multiplied by the sampling rate, saturating.
    Scaled,
}

/// What the encoder needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeSettings {
    /// Format of the body.
    pub format: Format,
    /// sampling_rate and sampling_source where the rate is not 1 or not known.
    pub extra_keys: bool,
    /// Raw or scaled counters.
    pub counters: Counters,
}

/// The unit of HTTP, retry, splitting and spool.
#[derive(Debug, Clone)]
pub struct EncodedBatch {
    /// UUIDv7 made when the batch was encoded; the same on every retry.
    pub id: Uuid,
    /// 0 for a whole batch; the halves of part p are 2p + 1 and 2p + 2.
    pub part: u64,
    /// Format of the body.
    pub format: Format,
    /// Records in the body.
    pub records: u32,
    /// Kernel receive time of the oldest record, Unix nanoseconds.
    pub oldest_receive: u64,
    /// The same of the newest.
    pub newest_receive: u64,
    /// The body, not compressed.
    pub body: Bytes,
    /// Offset behind each record in the body (before the separator).
    pub record_ends: Vec<u32>,
    /// Whose records, in their order.
    pub per_exporter: Vec<ExporterRun>,
}
