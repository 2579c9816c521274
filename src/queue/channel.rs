//! The hand-off: a bounded lock-free channel of full FlowBatches and a pool of empty ones.
//!
//! Enters: a worker's batch. Leaves: the same box, on a batcher's side. Promised: no call of a worker
//! blocks or, with an empty batch at hand, allocates; what finds no room is dropped and counted by name.
//!
//! Batches in existence: one in each slot, one in each worker's hands, two for each batcher (the one it
//! reads, and one on its way back). A worker takes an empty batch before it sends the full one, so an
//! empty pool means that workers raced for the last slots: it is as good as a full queue.
//!
//! Memory: a batch starts with room for its target and a spare; one that a hostile datagram made grow is
//! shrunk when it is recycled. Grown ones inside the queue are bounded by records instead: the queue
//! holds no more records than all its slots have room for (or one batch, however large).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use super::{QueueSettings, lost};
use crate::flow::{Exporter, FlowBatch, FlowRecord};
use crate::limits::{FLOW_BATCH_ARENA_KEPT_OCTETS, FLOW_BATCH_SPARE_RECORDS, ROWS_PER_MESSAGE_MAX};
use crate::metrics::{QueueMetrics, RecordDrop};

/// The queue and its pool; `workers` is the number of threads that will hold a batch.
///
/// The receiver sees the end when every sender is gone and the queue is empty.
#[must_use]
pub fn channel(settings: &QueueSettings, workers: usize, metrics: QueueMetrics) -> (FlowSender, FlowReceiver) {
    let slots = settings.queue_batches.max(1);
    let batches = batches(settings, workers);
    let capacity = batch_capacity(settings);
    let (full_in, full_out) = bounded(slots);
    let (empty_in, empty_out) = bounded(batches);
    for _ in 0..batches {
        // Never full: it has room for exactly these.
        let _ = empty_in.try_send(Box::new(FlowBatch::with_capacity(capacity)));
    }
    let batch_records = settings.flow_batch_records;
    let records_max = (slots * capacity) as u64;
    let ends = Ends { metrics, empty_in, batch_records, capacity, records_max, closed: Arc::default() };
    (FlowSender { full: full_in, empty: empty_out, ends: ends.clone() }, FlowReceiver { full: full_out, ends })
}

/// What a queue of `slots` batches that aim at `batch_records` keeps at most, pool and batches in somebody's
/// hands included, octets; for the memory sum.
///
/// Recycled batches keep their first capacity; queued ones may together hold as many records again in
/// grown batches; and each batch in somebody's hands (and one in an empty queue) may hold the rows of one
/// largest message past its target, in a vector that doubled to get there.
#[must_use]
pub fn pool_octets(slots: usize, workers: usize, batchers: usize, batch_records: usize) -> u64 {
    // A record, and at worst an exporter entry for each.
    const RECORD_OCTETS: usize = size_of::<FlowRecord>() + size_of::<std::sync::Arc<Exporter>>();
    let in_hand = (workers + 2 * batchers + 1) * 2 * (batch_records + 2 * ROWS_PER_MESSAGE_MAX);
    ((2 * slots * (batch_records + FLOW_BATCH_SPARE_RECORDS) + in_hand) * RECORD_OCTETS) as u64
}

fn batches(settings: &QueueSettings, workers: usize) -> usize {
    settings.queue_batches.max(1) + workers + 2 * settings.batchers
}

fn batch_capacity(settings: &QueueSettings) -> usize {
    settings.flow_batch_records + FLOW_BATCH_SPARE_RECORDS
}

/// What both ends know.
#[derive(Debug, Clone)]
struct Ends {
    metrics: QueueMetrics,
    empty_in: Sender<Box<FlowBatch>>,
    /// Records that a batch aims at.
    batch_records: usize,
    /// Records an empty batch has room for.
    capacity: usize,
    /// Records in the queue at most.
    records_max: u64,
    /// Told that nothing more shall come, though a sender may live.
    closed: Arc<AtomicBool>,
}

impl Ends {
    /// Back to the pool; a batch too many (a worker's that ended) is freed.
    fn recycle(&self, mut batch: Box<FlowBatch>) {
        batch.clear();
        if batch.records.capacity() > self.capacity {
            batch.records.shrink_to(self.capacity);
        }
        if batch.exporters.capacity() > self.capacity {
            batch.exporters.shrink_to(self.capacity);
        }
        if batch.octets.capacity() > FLOW_BATCH_ARENA_KEPT_OCTETS {
            batch.octets.shrink_to(FLOW_BATCH_ARENA_KEPT_OCTETS);
            batch.elements.shrink_to(self.capacity);
        }
        let _ = self.empty_in.try_send(batch);
    }

    /// Share of the queue in use, by slots or by records, whichever is more.
    #[expect(clippy::cast_precision_loss, reason = "both are far below 2^52")]
    fn note_fill(&self, slots: usize, slots_max: usize) {
        let by_records = self.metrics.held.level() as f64 / self.records_max as f64;
        let by_slots = slots as f64 / slots_max as f64;
        self.metrics.fill.set(by_slots.max(by_records).min(1.0));
    }
}

/// A worker's end.
#[derive(Debug, Clone)]
pub struct FlowSender {
    full: Sender<Box<FlowBatch>>,
    empty: Receiver<Box<FlowBatch>>,
    ends: Ends,
}

impl FlowSender {
    /// The batch that a worker begins with.
    #[must_use]
    pub fn first_batch(&self) -> Box<FlowBatch> {
        self.empty.try_recv().unwrap_or_else(|_| Box::new(FlowBatch::with_capacity(self.ends.capacity)))
    }

    /// Hands `batch` over and puts an empty one in its place. Never blocks: without a slot or an empty
    /// batch the records are dropped and counted. When this returns, the caller no longer holds them.
    pub fn hand_over(&self, batch: &mut Box<FlowBatch>) {
        let records = batch.len() as u64;
        if records == 0 {
            batch.clear();
            return;
        }
        let metrics = &self.ends.metrics;
        if self.ends.closed.load(Ordering::Acquire) {
            self.drop_batch(batch, RecordDrop::QueueClosed);
            return;
        }
        let waiting = metrics.held.level();
        if waiting > 0 && waiting + records > self.ends.records_max {
            self.drop_batch(batch, RecordDrop::QueueFull);
            return;
        }
        let Ok(empty) = self.empty.try_recv() else {
            self.drop_batch(batch, RecordDrop::QueueNoBatch);
            return;
        };
        let full = std::mem::replace(batch, empty);
        // Before the send: a batcher may have taken the records over before this thread goes on.
        metrics.held.add(records);
        if let Err(refused) = self.full.try_send(full) {
            let (full, reason) = match refused {
                TrySendError::Full(full) => (full, RecordDrop::QueueFull),
                TrySendError::Disconnected(full) => (full, RecordDrop::QueueClosed),
            };
            metrics.books.drop_runs(reason, records, lost::runs(&full, 0));
            metrics.held.sub(records);
            self.ends.recycle(full);
        }
        self.note_fill();
    }

    /// Records that a worker's batch aims at.
    #[must_use]
    pub const fn batch_records(&self) -> usize {
        self.ends.batch_records
    }

    /// FlowBatches that wait for a batcher.
    #[must_use]
    pub fn len(&self) -> usize {
        self.full.len()
    }

    /// True if no FlowBatch waits for a batcher.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.full.is_empty()
    }

    /// True if nothing waits and the batchers have taken over all that was handed over.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.full.is_empty() && self.ends.metrics.held.level() == 0
    }

    /// Empty batches in the pool.
    #[cfg(test)]
    pub(crate) fn pooled(&self) -> usize {
        self.empty.len()
    }

    fn drop_batch(&self, batch: &mut FlowBatch, reason: RecordDrop) {
        self.ends.metrics.books.drop_runs(reason, batch.len() as u64, lost::runs(batch, 0));
        batch.clear();
        self.note_fill();
    }

    fn note_fill(&self) {
        self.ends.note_fill(self.full.len(), self.full.capacity().unwrap_or(1));
    }
}

/// What a batcher got.
#[derive(Debug)]
pub enum Received {
    /// Flows. The receiver answers for them after [`FlowReceiver::taken_over`].
    Batch(Box<FlowBatch>),
    /// None came in time.
    Nothing,
    /// None will ever come.
    Closed,
}

/// Ends a queue that a sender would keep open.
#[derive(Debug, Clone)]
pub struct Closer(Arc<AtomicBool>);

impl Closer {
    /// Ends it; more than once is the same.
    pub fn close(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A batcher's end; clones share the queue.
#[derive(Debug, Clone)]
pub struct FlowReceiver {
    full: Receiver<Box<FlowBatch>>,
    ends: Ends,
}

impl FlowReceiver {
    /// The next batch, waiting for at most `timeout`.
    #[must_use]
    pub fn receive(&self, timeout: Duration) -> Received {
        let received = match self.full.recv_timeout(timeout) {
            Ok(batch) => Received::Batch(batch),
            Err(RecvTimeoutError::Timeout) if self.ends.closed.load(Ordering::Acquire) => Received::Closed,
            Err(RecvTimeoutError::Timeout) => Received::Nothing,
            Err(RecvTimeoutError::Disconnected) => Received::Closed,
        };
        self.note_fill();
        received
    }

    /// What ends the queue for all batchers once it is empty, whatever senders live: a worker that hangs keeps its own
    /// for ever. What is handed over afterwards is dropped and counted.
    #[must_use]
    pub fn closer(&self) -> Closer {
        Closer(Arc::clone(&self.ends.closed))
    }

    /// The caller's own `held` now counts `records` that it received.
    pub fn taken_over(&self, records: u64) {
        self.ends.metrics.held.sub(records);
        self.note_fill();
    }

    /// Gives a batch back to the pool, cleared.
    pub fn recycle(&self, batch: Box<FlowBatch>) {
        self.ends.recycle(batch);
    }

    fn note_fill(&self) {
        self.ends.note_fill(self.full.len(), self.full.capacity().unwrap_or(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::testing::{metrics, settings};
    use crate::sink::encode::testing::{fill, numbered};

    fn sent(sender: &FlowSender, records: u32) {
        let mut batch = numbered(0, records);
        sender.hand_over(&mut batch);
        assert!(batch.is_empty(), "the caller holds nothing any more");
    }

    fn batch_of(received: Received) -> Box<FlowBatch> {
        match received {
            Received::Batch(batch) => batch,
            other => panic!("expected a batch, got {other:?}"),
        }
    }

    #[test]
    fn batches_go_through_in_order_and_come_back_empty() {
        let metrics = metrics(1);
        let (sender, receiver) = channel(&settings(4, 10), 1, metrics.queue());
        let mut batch = sender.first_batch();
        fill(&mut batch, 0, 3);
        sender.hand_over(&mut batch);
        sent(&sender, 5);
        assert_eq!((metrics.queue().held.value(), sender.len(), sender.is_idle()), (8, 2, false));
        assert!((metrics.queue().fill.value() - 0.5).abs() < 1e-9);
        for records in [3, 5] {
            let batch = batch_of(receiver.receive(Duration::ZERO));
            assert_eq!(batch.len(), records);
            receiver.taken_over(records as u64);
            receiver.recycle(batch);
        }
        assert_eq!((metrics.queue().held.value(), sender.is_idle()), (0, true));
        assert!(metrics.queue().fill.value() < 1e-9);
        assert!(matches!(receiver.receive(Duration::from_millis(1)), Received::Nothing));
        drop(sender);
        assert!(matches!(receiver.receive(Duration::ZERO), Received::Closed));
    }

    #[test]
    fn what_finds_no_slot_no_batch_or_no_queue_is_counted_by_name() {
        let metrics = metrics(1);
        let dropped = |reason: RecordDrop| metrics.books.dropped[reason as usize].value();
        let (sender, receiver) = channel(&settings(2, 10), 1, metrics.queue());
        for _ in 0..4 {
            sent(&sender, 7);
        }
        assert_eq!((dropped(RecordDrop::QueueFull), metrics.queue().held.value(), sender.len()), (14, 14, 2));
        assert!((metrics.queue().fill.value() - 1.0).abs() < 1e-9);

        // With every empty batch in somebody's hands there is none to swap in.
        let _one = batch_of(receiver.receive(Duration::ZERO));
        receiver.taken_over(7);
        let _hands: Vec<_> = std::iter::from_fn(|| sender.empty.try_recv().ok()).collect();
        sent(&sender, 9);
        assert_eq!((dropped(RecordDrop::QueueNoBatch), sender.len()), (9, 1));
        assert_eq!(sender.first_batch().len(), 0);

        receiver.recycle(numbered(0, 1));
        drop((batch_of(receiver.receive(Duration::ZERO)), receiver.taken_over(7), receiver));
        sent(&sender, 3);
        assert_eq!((dropped(RecordDrop::QueueClosed), metrics.queue().held.value()), (3, 0));
    }

    #[test]
    fn a_failed_hand_over_loses_no_empty_batch() {
        let metrics = metrics(1);
        let (sender, _receiver) = channel(&settings(2, 10), 1, metrics.queue());
        let mut batch = sender.first_batch();
        for _ in 0..50 {
            fill(&mut batch, 0, 1);
            sender.hand_over(&mut batch);
        }
        assert_eq!(metrics.books.dropped[RecordDrop::QueueFull as usize].value(), 48);
        assert_eq!(metrics.books.dropped[RecordDrop::QueueNoBatch as usize].value(), 0);
        // Five in all: two queued, one here, two in the pool.
        assert_eq!(sender.pooled(), 2);
    }

    #[test]
    fn grown_batches_are_bounded_by_records_and_shrink_on_their_way_back() {
        let metrics = metrics(1);
        let (sender, receiver) = channel(&settings(2, 10), 1, metrics.queue());
        let room = 2 * (10 + FLOW_BATCH_SPARE_RECORDS) as u32;
        sent(&sender, room + 1); // An empty queue takes any batch.
        sent(&sender, 1);
        assert_eq!(metrics.books.dropped[RecordDrop::QueueFull as usize].value(), 1);
        let mut batch = batch_of(receiver.receive(Duration::ZERO));
        receiver.taken_over(batch.len() as u64);
        sent(&sender, 1);
        assert_eq!(sender.len(), 1);
        batch.octets = Vec::with_capacity(8 * FLOW_BATCH_ARENA_KEPT_OCTETS);
        while sender.empty.try_recv().is_ok() {}
        receiver.recycle(batch);
        let back = sender.empty.try_recv().expect("the recycled batch");
        assert!(back.is_empty() && back.exporters.is_empty());
        assert!(back.records.capacity() <= 10 + FLOW_BATCH_SPARE_RECORDS);
        assert!(back.octets.capacity() <= FLOW_BATCH_ARENA_KEPT_OCTETS);
    }

    #[test]
    fn the_memory_sum_grows_with_each_of_its_parts() {
        let octets = pool_octets(64, 2, 1, 1_024);
        // 64 slots and what is in hands, at some 190 octets a record: tens of MB, not GB.
        assert!(octets > 64 * 1_024 * 176 && octets < 200 << 20, "{octets}");
        assert!(pool_octets(64, 3, 1, 1_024) > octets);
        assert!(pool_octets(64, 2, 2, 1_024) > octets);
        assert!(pool_octets(65, 2, 1, 1_024) > octets);
    }
}
