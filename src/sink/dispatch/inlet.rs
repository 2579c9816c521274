//! The batchers' side of dispatch: takes a batch into memory or into the spool, or gives it back.
//!
//! Never blocks. Promised: what was taken stands in the books as held or as spooled before the batcher lowers
//! its own level; what is given back is counted by nobody here. With `always` the spool comes first, else it
//! is where a batch goes that memory has no room for.

use tokio::sync::mpsc;

use super::ExporterRun;
use crate::limits;
use crate::metrics::SinkMetrics;
use crate::queue::Outlet;
use crate::sink::SpoolMode;
use crate::sink::budget::Budget;
use crate::sink::encode::EncodedBatch;
use crate::sink::kept::entry_of;
use crate::spool;

/// What a batch keeps in memory.
fn weight(batch: &EncodedBatch) -> u64 {
    let lists = batch.record_ends.len() * size_of::<u32>() + batch.per_exporter.len() * size_of::<ExporterRun>();
    (batch.body.len() + lists) as u64 + limits::BATCH_OVERHEAD_OCTETS
}

/// A batch on its way to the line, and what it holds of the budget.
pub(super) struct Taken {
    pub(super) batch: EncodedBatch,
    pub(super) reserved: u64,
}

/// The way into the spool, for those who have a batch in hand.
#[derive(Debug, Clone)]
pub(super) struct IntoSpool {
    pub(super) mode: SpoolMode,
    pub(super) inlet: spool::Inlet,
    pub(super) stats: spool::Stats,
}

impl IntoSpool {
    /// True if a batch has a chance: asked before one is made ready for it.
    pub(super) fn takes(&self) -> bool {
        self.stats.enabled.value() == 1
    }

    /// True if the spool took the batch; then its records stand in the spool's books.
    pub(super) fn offer(&self, batch: &EncodedBatch, tries: u32, repeated: bool) -> bool {
        self.takes() && self.inlet.offer(entry_of(batch, tries, repeated)).is_ok()
    }
}

/// What batchers offer to.
#[derive(Debug)]
pub(super) struct Inlet {
    pub(super) batches: mpsc::UnboundedSender<Taken>,
    pub(super) budget: Budget,
    pub(super) metrics: SinkMetrics,
    pub(super) spool: Option<IntoSpool>,
}

impl Inlet {
    #[expect(clippy::result_large_err, reason = "what comes back is the batch itself, moved")]
    fn keep(&self, batch: EncodedBatch) -> Result<(), EncodedBatch> {
        let reserved = weight(&batch);
        if !self.budget.reserve(reserved) {
            return Err(batch);
        }
        let records = u64::from(batch.records);
        // Before the batch can meet its fate, and before the batcher lowers its own level: in between
        // the records stand twice in the books, never nowhere.
        self.metrics.held.add(records);
        self.metrics.in_flight_bytes.add(reserved);
        self.batches.send(Taken { batch, reserved }).map_err(|closed| {
            self.metrics.held.sub(records);
            self.metrics.in_flight_bytes.sub(reserved);
            self.budget.free(reserved);
            closed.0.batch
        })
    }
}

impl Outlet for Inlet {
    fn offer(&self, batch: EncodedBatch) -> Result<(), EncodedBatch> {
        let Some(spool) = &self.spool else { return self.keep(batch) };
        if spool.mode == SpoolMode::Always && spool.offer(&batch, 0, false) {
            return Ok(());
        }
        match self.keep(batch) {
            Err(batch) if spool.mode == SpoolMode::OnFailure && spool.offer(&batch, 0, false) => Ok(()),
            taken => taken,
        }
    }
}
