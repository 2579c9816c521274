//! FlowBatch -> EncodedBatch: records become bytes once, in the batcher's thread.
//!
//! One file a format: `json` (the backend contract), `ndjson` (`--output stdout` and `decode`). What
//! they share: `Encoder` (the open body, long-lived), `line` (numbers, addresses and strings as text),
//! what the operator chose beyond the usual keys (`fields` reads it, `chosen` writes it, `names` and `value` help)
//! and `EncodedBatch` with its splitting. A body is `head record (separator record)* tail`; the head
//! and the separator are constants of the format, so that a body can be split without decoding it.

mod batch;
mod chosen;
mod encoder;
mod fields;
mod json;
mod line;
mod names;
pub mod ndjson;
mod text;
mod value;

#[cfg(test)]
pub(crate) mod testing;

pub use batch::EncodedBatch;
pub use encoder::{Encoder, Fill, Progress};
pub use fields::{CORE_KEYS, CoreInfo, CoreKey, FieldsFault, OutputFields};
pub use json::no_place;

/// Format of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `{"records": [..], "switch_id": ".."}` of the backend contract.
    BackendJson,
    /// One JSON object a line, with the keys of `decode`.
    Ndjson,
}

impl Format {
    /// What stands before the first record.
    #[must_use]
    pub const fn head(self) -> &'static [u8] {
        match self {
            Self::BackendJson => json::HEAD,
            Self::Ndjson => ndjson::HEAD,
        }
    }

    /// What stands between two records.
    #[must_use]
    pub const fn separator(self) -> &'static [u8] {
        match self {
            Self::BackendJson => json::SEPARATOR,
            Self::Ndjson => ndjson::SEPARATOR,
        }
    }
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

/// What became of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// It is in the body.
    Whole,
    /// It is in the body, with a counter cut to 2^63-1.
    Clamped,
    /// The format cannot carry it; nothing was written.
    NotRepresentable,
    /// It is an event, no traffic; nothing was written.
    Event,
}
