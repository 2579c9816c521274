//! What dispatch writes into the books when a batch ends, or is in doubt.
//!
//! Enters: a batch and its fate. Promised: whose records were lost is counted with them; a batch that the backend may
//! have written is named before anything else is sent with its key. Called once a batch and only at its end, so
//! that what is delivered at once costs nothing here.

use super::Dispatch;
use super::job::Job;
use crate::metrics::{BatchName, Books, RecordDrop, WeightedHistogram, exporter_of_key};
use crate::sink::encode::EncodedBatch;
use crate::sink::http::{Answer, Failure};
use crate::sink::retry::Verdict;
use crate::spool::Entry;

/// A batch is lost as the spool had it: its records, and whose they are.
pub(super) fn drop_entry(books: &Books, drop: RecordDrop, entry: &Entry) {
    let named = entry.exporters.iter().filter_map(|count| {
        exporter_of_key(&count.key).map(|(tenant, address)| (tenant, address, u64::from(count.records)))
    });
    books.drop_runs(drop, u64::from(entry.records), named);
}

fn name(batch: &EncodedBatch) -> BatchName {
    BatchName { id: batch.id, part: batch.part, key: batch.idempotency_key(), records: u64::from(batch.records) }
}

impl Dispatch {
    /// A request with it is about to be sent: one in doubt counts as a possible duplicate from here on.
    pub(super) fn note_sending(&self, job: &Job) {
        if job.repeated {
            let books = &self.metrics.books;
            books.duplicated.add(u64::from(job.batch.records));
            books.duplicates.sent_again(name(&job.batch), self.clock.unix_ns());
        }
    }

    /// A request with it has ended: if it may have been processed, the batch is in doubt.
    pub(super) fn note_doubt(&self, job: &Job, verdict: &Verdict, result: &Result<Answer, Failure>) {
        if !verdict.maybe_written {
            return;
        }
        let mut status = itoa::Buffer::new();
        let why = match result {
            Ok(answer) => status.format(answer.status),
            Err(failure) => failure.fault.label(),
        };
        self.metrics.books.duplicates.doubt(name(&job.batch), why, self.clock.unix_ns());
    }

    /// Where its lag is counted.
    pub(super) const fn lag_of(&self, job: &Job) -> &WeightedHistogram {
        if job.ticket.is_some() { &self.metrics.lag_spooled } else { &self.metrics.lag }
    }
}
