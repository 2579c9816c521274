//! FlowBatch -> EncodedBatch: records become bytes once, in the batcher's thread.
//!
//! One file a format: `json` (the backend contract), `ndjson` (`--output stdout` and `decode`). What
//! they share: `Encoder` (the open body, long-lived), `line` (numbers, addresses and strings as text)
//! and `EncodedBatch` with its splitting. A body is `head record (separator record)* tail`; the head
//! and the separator are constants of the format, so that a body can be split without decoding it.

mod batch;
mod encoder;
mod json;
mod line;
pub mod ndjson;

#[cfg(test)]
pub(crate) mod testing;

pub use batch::EncodedBatch;
pub use encoder::{Encoder, Fill, Progress};

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
}

impl EncodedBatch {
    /// The `Idempotency-Key`: the batch's id, or for a part an id derived from it and the part's number.
    #[must_use]
    pub fn idempotency_key(&self) -> Uuid {
        if self.part == 0 { self.id } else { Uuid::new_v5(&self.id, &self.part.to_be_bytes()) }
    }

    /// Octets that the batch keeps in memory.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.body.len() + self.record_ends.len() * size_of::<u32>() + self.per_exporter.len() * size_of::<ExporterRun>()
    }

    /// Two halves with bodies of their own.
    ///
    /// # Errors
    /// The batch itself, if it has fewer than two records.
    pub fn split(self) -> Result<(Self, Self), Self> {
        let count = self.record_ends.len();
        if count < 2 {
            return Err(self);
        }
        let head: &[u8] = match self.format {
            Format::BackendJson => b"{\"records\":[",
            Format::Ndjson => b"",
        };
        let tail = &self.body[self.record_ends[count - 1] as usize..];
        let half = |from: usize, to: usize, part: u64| {
            let start = if from == 0 { head.len() } else { self.record_ends[from - 1] as usize + 1 };
            let end = self.record_ends[to - 1] as usize;
            let body = [head, &self.body[start..end], tail].concat();
            let shift = start - head.len();
            let record_ends = self.record_ends[from..to].iter().map(|e| e - shift as u32).collect();
            let (mut skip, mut left) = (from as u32, (to - from) as u32);
            let mut per_exporter = Vec::new();
            for run in &self.per_exporter {
                let hidden = skip.min(run.records);
                skip -= hidden;
                let records = (run.records - hidden).min(left);
                left -= records;
                if records > 0 {
                    per_exporter.push(ExporterRun { records, ..run.clone() });
                }
            }
            Self { part, records: (to - from) as u32, body: body.into(), record_ends, per_exporter, ..self.clone() }
        };
        let (left, right) =
            (self.part.saturating_mul(2).saturating_add(1), self.part.saturating_mul(2).saturating_add(2));
        Ok((half(0, count / 2, left), half(count / 2, count, right)))
    }
}
