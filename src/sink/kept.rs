//! A batch as the spool and the dead letters know it, and back.
//!
//! Enters: an [`EncodedBatch`], or an [`Entry`] that was read from a disk and may hold anything. Promised:
//! the body is shared, not copied; what comes back can be sent and split, or is refused here. Whose the
//! records are is a help for people: where it cannot be told, nobody is named and nothing is lost.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::ExporterRun;
use super::encode::{EncodedBatch, Format};
use crate::limits;
use crate::metrics::exporter_of_key;
use crate::spool::{Entry, ExporterCount};

/// Name of the output that batches are kept for.
pub const OUTPUT: &str = "backend";

/// What came from a disk and cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is for another output, or of a format that this version does not know.
    #[error("its output or format is unknown here: another version of the collector, or another output, wrote it")]
    Form,
    /// Its record ends lie.
    #[error("its records do not lie where it says")]
    Records,
}

const fn format_name(format: Format) -> &'static str {
    match format {
        Format::BackendJson => "backend_json",
        Format::Ndjson => "ndjson",
    }
}

/// A batch for the spool. `tries` is how often it was sent; `repeated` says that it may have been written.
#[must_use]
pub fn entry_of(batch: &EncodedBatch, tries: u32, repeated: bool) -> Entry {
    Entry {
        id: batch.id.into_bytes(),
        part: batch.part,
        output: OUTPUT.into(),
        format: format_name(batch.format).into(),
        records: batch.records,
        first_receive_ns: batch.oldest_receive,
        last_receive_ns: batch.newest_receive,
        attempts: u16::try_from(tries).unwrap_or(u16::MAX),
        repeated,
        exporters: exporters(batch).unwrap_or_default(),
        record_ends: batch.record_ends.clone(),
        body: batch.body.clone(),
    }
}

/// Whose records, if it can be told in keys that the spool takes.
fn exporters(batch: &EncodedBatch) -> Option<Vec<ExporterCount>> {
    let key = |run: &ExporterRun| format!("{}|{}", run.tenant, run.address).into_boxed_str();
    let counts: Vec<_> =
        batch.per_exporter.iter().map(|run| ExporterCount { key: key(run), records: run.records }).collect();
    let sum: u64 = counts.iter().map(|count| u64::from(count.records)).sum();
    let fit = counts.iter().all(|count| count.key.len() <= limits::SPOOL_KEY_OCTETS_MAX);
    (fit && sum == u64::from(batch.records)).then_some(counts)
}

/// The batch that an entry is.
///
/// # Errors
/// It cannot be sent, or could not be split: why, and the entry itself.
pub fn batch_of(entry: Entry) -> Result<EncodedBatch, (Unreadable, Box<Entry>)> {
    let format = Format::BackendJson;
    if &*entry.output != OUTPUT || &*entry.format != format_name(format) {
        return Err((Unreadable::Form, Box::new(entry)));
    }
    if !records_are_apart(&entry.body, &entry.record_ends, format) || entry.record_ends.len() != entry.records as usize
    {
        return Err((Unreadable::Records, Box::new(entry)));
    }
    let runs = entry.exporters.iter().map(|count| {
        let (tenant, address) = exporter_of_key(&count.key)?;
        Some(ExporterRun { tenant: Arc::from(tenant), address, records: count.records })
    });
    Ok(EncodedBatch {
        id: Uuid::from_bytes(entry.id),
        part: entry.part,
        format,
        records: entry.records,
        oldest_receive: entry.first_receive_ns,
        newest_receive: entry.last_receive_ns,
        per_exporter: runs.collect::<Option<_>>().unwrap_or_default(),
        body: entry.body,
        record_ends: entry.record_ends,
    })
}

/// What splitting relies on: a head, and between two ends at least a separator.
fn records_are_apart(body: &Bytes, ends: &[u32], format: Format) -> bool {
    let separator = format.separator().len();
    let mut least = format.head().len();
    for end in ends {
        if (*end as usize) < least {
            return false;
        }
        least = *end as usize + separator;
    }
    body.starts_with(format.head()) && ends.last().is_none_or(|end| *end as usize <= body.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::encode::testing::numbered;
    use crate::sink::encode::{Counters, EncodeSettings, Encoder, Progress};

    fn batch(records: u32) -> EncodedBatch {
        let settings = EncodeSettings { format: Format::BackendJson, extra_keys: false, counters: Counters::Raw };
        let mut encoder = Encoder::new(settings, 1_000, 1 << 20);
        encoder.append(&numbered(0, records), &mut Progress::default());
        encoder.finish().expect("a body")
    }

    #[test]
    fn a_batch_comes_back_as_it_went() {
        let went = batch(7);
        let entry = entry_of(&went, 70_000, true);
        assert_eq!((entry.check(), entry.attempts, entry.repeated), (Ok(()), u16::MAX, true));
        assert!(std::ptr::eq(entry.body.as_ptr(), went.body.as_ptr()), "the body is shared");
        let came = batch_of(entry).expect("a batch");
        assert_eq!(format!("{came:?}"), format!("{went:?}"));
    }

    #[test]
    fn tenants_may_hold_the_separator_and_odd_keys_cost_no_record() {
        let mut went = batch(2);
        went.per_exporter[0].tenant = "a|b".into();
        let entry = entry_of(&went, 0, false);
        assert_eq!(batch_of(entry.clone()).expect("a batch").per_exporter, went.per_exporter);
        let odd = vec![ExporterCount { key: "no address".into(), records: 2 }];
        assert!(batch_of(Entry { exporters: odd, ..entry }).expect("a batch").per_exporter.is_empty());
        went.per_exporter[0].tenant = "x".repeat(limits::SPOOL_KEY_OCTETS_MAX).into();
        let entry = entry_of(&went, 0, false);
        assert_eq!((entry.check(), entry.exporters.len()), (Ok(()), 0));
    }

    #[test]
    fn what_could_not_be_sent_or_split_is_refused() {
        let good = entry_of(&batch(3), 0, false);
        let form = Entry { format: "ndjson".into(), ..good.clone() };
        assert_eq!(batch_of(form).unwrap_err().0, Unreadable::Form);
        assert_eq!(batch_of(Entry { output: "x".into(), ..good.clone() }).unwrap_err().0, Unreadable::Form);
        let ends = good.record_ends.clone();
        for lying in [vec![ends[0], ends[0], ends[2]], vec![0, 0, 0], vec![ends[0], ends[1], u32::MAX], vec![ends[0]]] {
            let entry = Entry { record_ends: lying, ..good.clone() };
            assert_eq!(batch_of(entry).unwrap_err().0, Unreadable::Records);
        }
        assert_eq!(batch_of(Entry { body: Bytes::new(), ..good }).unwrap_err().0, Unreadable::Records);
    }
}
