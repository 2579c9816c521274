//! Whose records of a FlowBatch are lost: asked where one is dropped, never on the way of one that is not.
//!
//! Enters: a batch, and from which of its records on. Leaves: runs of records of one exporter. Promised: nothing
//! panics, whatever made the batch be dropped; a record whose exporter is not in the batch is nobody's.

use std::ops::Range;

use crate::flow::{FlowBatch, FlowRecord};
use crate::metrics::LostRun;

/// The records of `batch` from `from` on, by exporter, in their order.
pub(super) fn runs(batch: &FlowBatch, from: usize) -> impl Iterator<Item = LostRun<'_>> {
    runs_where(batch, from..batch.len().max(from), |_| true)
}

/// The same of the records in `range` that `wanted` holds for.
pub(super) fn runs_where(
    batch: &FlowBatch,
    range: Range<usize>,
    wanted: impl Fn(&FlowRecord) -> bool,
) -> impl Iterator<Item = LostRun<'_>> {
    let records = batch.records.get(range).unwrap_or_default();
    records.chunk_by(|a, b| a.exporter == b.exporter).filter_map(move |run| {
        let exporter = batch.exporters.get(usize::from(run.first()?.exporter))?;
        let lost = run.iter().filter(|record| wanted(record)).count() as u64;
        (lost > 0).then_some((&*exporter.tenant, exporter.address, lost))
    })
}
