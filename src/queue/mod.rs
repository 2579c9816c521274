//! Workers -> batchers: bounded hand-off of FlowBatches, and the batcher threads.
//!
//! Enters: full or old FlowBatches, by `FlowSender`, which never blocks. Leaves: EncodedBatches,
//! offered to the `Outlet`. Promised: a record that entered is offered or counted as dropped with a
//! reason, and at any moment stands in at least one `held` level. Left to others: delivery, and
//! everything about bytes (`sink::encode`).

mod batcher;
mod channel;
mod lost;
#[cfg(test)]
pub(crate) mod testing;
mod writing;

use std::time::Duration;

pub use batcher::{Batchers, spawn_batchers};
pub use channel::{Closer, FlowReceiver, FlowSender, Received, channel, pool_octets};
pub use writing::{Writing, WritingNow};

use crate::sink::encode::{EncodeSettings, EncodedBatch, OutputFields};

/// Where a batcher puts what it has encoded. Never blocks.
pub trait Outlet: Send + Sync {
    /// Takes the batch, or gives it back when there is no room. Who takes it holds its records (in
    /// `SinkMetrics::held`) before it returns. One that panics has not taken it.
    ///
    /// # Errors
    /// The batch itself.
    #[expect(clippy::result_large_err, reason = "what comes back is the batch itself, moved")]
    fn offer(&self, batch: EncodedBatch) -> Result<(), EncodedBatch>;
}

/// What queue and batchers need to know.
#[derive(Debug, Clone)]
pub struct QueueSettings {
    /// Slots of the queue, in FlowBatches.
    pub queue_batches: usize,
    /// Records a worker's batch aims at.
    pub flow_batch_records: usize,
    /// Batcher threads.
    pub batchers: usize,
    /// Records in an encoded batch.
    pub batch_size: usize,
    /// Oldest an open body gets, from its first record's arrival at the batcher on. Whoever fills this
    /// in has taken the age that a worker's batch may have by then (`flow_batch_age`) from the
    /// operator's `batch_interval`.
    pub batch_interval: Duration,
    /// How bodies are made.
    pub encode: EncodeSettings,
    /// What records go out with.
    pub fields: OutputFields,
}
