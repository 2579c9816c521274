//! Workers -> batchers: bounded hand-off of FlowBatches, and the batcher threads.

use std::time::Duration;

use crate::sink::encode::{EncodeSettings, EncodedBatch};

/// Where a batcher puts what it has encoded. Never blocks.
pub trait Outlet: Send + Sync {
    /// Takes the batch, or gives it back when there is no room.
    ///
    /// # Errors
    /// The batch itself.
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
    /// Oldest a record gets before its batch is offered, from the worker's first append on.
    pub batch_interval: Duration,
    /// How bodies are made.
    pub encode: EncodeSettings,
}
