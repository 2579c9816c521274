//! `EncodedBatch`: the unit of HTTP, retry, splitting and spool.
//!
//! It carries all that later stages may ask, so that nobody has to read the body again: how many
//! records, where each ends, whose they are, how old they are. Splitting cuts at a record's end and
//! gives each half the same head and tail; ids of parts are derived, so that a retried part keeps its
//! idempotency key.

use std::net::IpAddr;

use bytes::Bytes;
use uuid::Uuid;

use super::Format;
use crate::sink::ExporterRun;

/// Encoded records with what is needed to deliver, split and account for them.
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

impl EncodedBatch {
    /// What the `Idempotency-Key` header says: the id, or for a part one that is derived from it.
    #[must_use]
    pub fn idempotency_key(&self) -> Uuid {
        if self.part == 0 { self.id } else { Uuid::new_v5(&self.id, &self.part.to_be_bytes()) }
    }

    /// Whose records: tenant, address, how many in a row.
    pub fn runs(&self) -> impl Iterator<Item = (&str, IpAddr, u64)> {
        self.per_exporter.iter().map(|run| (&*run.tenant, run.address, u64::from(run.records)))
    }

    /// Memory that the batch takes, octets: what a bound on waiting batches counts. The body may have
    /// up to a third more behind it (see `Encoder::finish`).
    #[must_use]
    pub fn octets(&self) -> u64 {
        let parts = size_of::<Self>()
            + self.body.len()
            + size_of_val(self.record_ends.as_slice())
            + size_of_val(self.per_exporter.as_slice());
        parts as u64
    }

    /// Cuts the batch into two halves, each a valid body with the same tail. A top-level switch_id
    /// stays in both; one that only a half would have earned is not added.
    ///
    /// # Errors
    /// The batch itself, if it has fewer than two records.
    #[expect(clippy::result_large_err, reason = "what comes back is the batch itself, moved")]
    pub fn split(self) -> Result<(Self, Self), Self> {
        let middle = self.record_ends.len() / 2;
        let (Some(&cut), Some(&last)) = (self.record_ends.get(middle.wrapping_sub(1)), self.record_ends.last()) else {
            return Err(self);
        };
        let (head, separator) = (self.format.head(), self.format.separator());
        let tail = &self.body[last as usize..];
        let second_from = cut as usize + separator.len();

        let mut first_body = Vec::with_capacity(cut as usize + tail.len());
        first_body.extend_from_slice(&self.body[..cut as usize]);
        first_body.extend_from_slice(tail);
        let mut second_body = Vec::with_capacity(head.len() + self.body.len() - second_from);
        second_body.extend_from_slice(head);
        second_body.extend_from_slice(&self.body[second_from..]);

        // Offsets of the second half move with its first record: from behind the cut to behind the head.
        let moved = |end: &u32| end - (cut + separator.len() as u32) + head.len() as u32;
        let second_ends: Vec<u32> = self.record_ends[middle..].iter().map(moved).collect();
        let (first_runs, second_runs) = split_runs(&self.per_exporter, middle as u32);
        let half = |part: u64, body: Vec<u8>, record_ends: Vec<u32>, per_exporter| Self {
            id: self.id,
            part,
            format: self.format,
            records: record_ends.len() as u32,
            oldest_receive: self.oldest_receive,
            newest_receive: self.newest_receive,
            body: Bytes::from(body),
            record_ends,
            per_exporter,
        };
        Ok((
            half(2 * self.part + 1, first_body, self.record_ends[..middle].to_vec(), first_runs),
            half(2 * self.part + 2, second_body, second_ends, second_runs),
        ))
    }
}

/// Runs of the first `records` records, and of the rest.
fn split_runs(runs: &[ExporterRun], records: u32) -> (Vec<ExporterRun>, Vec<ExporterRun>) {
    let (mut first, mut second, mut wanted) = (Vec::new(), Vec::new(), records);
    for run in runs {
        let here = run.records.min(wanted);
        wanted -= here;
        for (side, count) in [(&mut first, here), (&mut second, run.records - here)] {
            if count > 0 {
                side.push(ExporterRun { records: count, ..run.clone() });
            }
        }
    }
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::encode::testing::{numbered, serials};
    use crate::sink::encode::{Counters, EncodeSettings, Encoder, Progress};

    fn body(records: u32) -> EncodedBatch {
        let settings = EncodeSettings { format: Format::BackendJson, extra_keys: false, counters: Counters::Raw };
        let mut encoder = Encoder::new(settings, 1_000, 1 << 20);
        encoder.append(&numbered(0, records), &mut Progress::default());
        encoder.finish().expect("a body")
    }

    #[test]
    fn halves_have_numbers_and_keys_of_their_own_that_a_retry_repeats() {
        let whole = body(5);
        let id = whole.id;
        let (first, second) = whole.clone().split().expect("two halves");
        assert_eq!((first.records, second.records, first.part, second.part), (2, 3, 1, 2));
        assert_eq!((serials(&first), serials(&second)), (vec![0, 1], vec![2, 3, 4]));
        let (_, last) = second.clone().split().expect("two halves");
        assert_eq!((last.part, last.id, serials(&last)), (6, id, vec![3, 4]));
        let (again, _) = whole.split().expect("two halves");
        assert_eq!(again.idempotency_key(), first.idempotency_key());
        assert_ne!(first.idempotency_key(), second.idempotency_key());
        assert_eq!(first.idempotency_key().get_version_num(), 5);
    }

    #[test]
    fn one_record_or_none_cannot_be_split() {
        let one = body(1);
        let back = one.clone().split().expect_err("the batch itself");
        assert_eq!((back.body, back.part, back.records), (one.body, 0, 1));
        let empty = EncodedBatch { records: 0, record_ends: vec![], per_exporter: vec![], ..body(1) };
        assert!(empty.split().is_err());
    }
}
