//! Batcher threads: FlowBatches in, EncodedBatches out.
//!
//! A batcher encodes what comes at once into its open body, so that FlowBatches go straight back to the
//! pool; it closes the body at `batch_size` records, at `batch_interval` after the first of them, or at
//! `BODY_OCTETS_MAX`, and offers it. It never waits for delivery: what the outlet refuses is dropped and
//! counted. Its only waits are for flows, so its busy share measures the CPU that encoding takes.
//!
//! A panic over a record drops the rest of that FlowBatch, counted to the record, and the thread goes
//! on; records that are whole in the open body stay there.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::lost;
use super::writing::Reading;
use super::{Closer, FlowReceiver, Outlet, QueueSettings, Received, WritingNow};
use crate::clock::Clock;
use crate::flow::FlowBatch;
use crate::limits::{BODY_OCTETS_MAX, HEARTBEAT_MS};
use crate::metrics::{BatcherMetrics, LostRun, RecordDrop};
use crate::sink::encode::{EncodedBatch, Encoder, Fill, Progress, no_place};
use crate::throttle::Throttle;

/// Starts `settings.batchers` threads, `batcher-0` and so on, each with its entry of `metrics`. They end
/// when every sender of `receiver`'s queue is gone and all that was handed over is offered.
///
/// # Errors
/// There are fewer metrics than batchers, or the system refuses a thread. Threads that run already end
/// with their queue.
pub fn spawn_batchers(
    settings: &QueueSettings,
    receiver: FlowReceiver,
    outlet: Arc<dyn Outlet>,
    clock: Clock,
    metrics: Vec<BatcherMetrics>,
) -> io::Result<Batchers> {
    if metrics.len() < settings.batchers {
        let text = format!("{} batchers need as many metrics, there are {}", settings.batchers, metrics.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let writing = WritingNow::new(settings);
    let mut threads = Vec::with_capacity(settings.batchers);
    for (index, metrics) in metrics.into_iter().take(settings.batchers).enumerate() {
        let batcher = Batcher {
            encoder: Encoder::new(settings.encode, settings.batch_size, BODY_OCTETS_MAX).with_fields(&settings.fields),
            reading: writing.reading(),
            receiver: receiver.clone(),
            outlet: Arc::clone(&outlet),
            clock: clock.clone(),
            metrics,
            interval_ns: u64::try_from(settings.batch_interval.as_nanos()).unwrap_or(u64::MAX),
            deadline_ns: None,
            held: 0,
            body_ns: 0,
            panics: Throttle::default(),
            incoming_ns: 0,
        };
        let name = format!("batcher-{index}");
        threads.push((name.clone(), thread::Builder::new().name(name).spawn(move || batcher.run())?));
    }
    Ok(Batchers { threads, queue: receiver.closer(), writing })
}

/// The running batchers.
#[derive(Debug)]
pub struct Batchers {
    threads: Vec<(String, JoinHandle<()>)>,
    writing: WritingNow,
    queue: Closer,
}

impl Batchers {
    /// How they write records, to be changed while they run.
    #[must_use]
    pub fn writing(&self) -> WritingNow {
        self.writing.clone()
    }

    /// True if all have ended; they do once every sender is gone.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.threads.iter().all(|(_, thread)| thread.is_finished())
    }

    /// Name of one that has ended; while senders live, only a panic outside encoding ends a batcher.
    #[must_use]
    pub fn any_ended(&self) -> Option<String> {
        self.threads.iter().find(|(_, thread)| thread.is_finished()).map(|(name, _)| name.clone())
    }

    /// Lets them end once the queue is empty, though a worker that hangs may hold its end of it.
    pub fn close_queue(&self) {
        self.queue.close();
    }

    /// Places of those that have not ended.
    #[must_use]
    pub fn unfinished(&self) -> Vec<usize> {
        let running = self.threads.iter().enumerate().filter(|(_, (_, thread))| !thread.is_finished());
        running.map(|(place, _)| place).collect()
    }

    /// Waits for the end of all: (name, whether it panicked).
    #[must_use]
    pub fn join(self) -> Vec<(String, bool)> {
        self.threads.into_iter().map(|(name, thread)| (name, thread.join().is_err())).collect()
    }

    /// The same of those that have ended; the others are left to themselves.
    #[must_use]
    pub fn join_finished(self) -> Vec<(String, bool)> {
        let ended = self.threads.into_iter().filter(|(_, thread)| thread.is_finished());
        ended.map(|(name, thread)| (name, thread.join().is_err())).collect()
    }
}

struct Batcher {
    encoder: Encoder,
    reading: Reading,
    receiver: FlowReceiver,
    outlet: Arc<dyn Outlet>,
    clock: Clock,
    metrics: BatcherMetrics,
    interval_ns: u64,
    /// When the open body is offered at the latest, monotonic; None while it is empty.
    deadline_ns: Option<u64>,
    /// Records in the open body and in the FlowBatch at hand: what `metrics.held` shows.
    held: u64,
    /// Time spent on the open body.
    body_ns: u64,
    panics: Throttle,
    /// Receive time of the oldest record in the FlowBatch that is being encoded, Unix nanoseconds.
    incoming_ns: u64,
}

impl Batcher {
    fn run(mut self) {
        loop {
            let now = self.clock.monotonic_ns();
            self.metrics.heartbeat_ns.set(now);
            if self.deadline_ns.is_some_and(|deadline| deadline <= now) {
                self.close();
            }
            let heartbeat = Duration::from_millis(HEARTBEAT_MS);
            let wait = self.deadline_ns.map_or(heartbeat, |d| Duration::from_nanos(d - now).min(heartbeat));
            match self.receiver.receive(wait) {
                Received::Batch(batch) => self.take_over(batch),
                Received::Nothing => {}
                Received::Closed => break,
            }
        }
        self.close();
    }

    /// Encodes all of `batch`.
    fn take_over(&mut self, batch: Box<FlowBatch>) {
        self.reading.apply(&mut self.encoder);
        let records = batch.len() as u64;
        // Held here before the queue lets go: no record is ever nowhere.
        self.incoming_ns = batch.oldest_receive;
        if self.held == 0 {
            self.metrics.oldest_receive_ns.set(batch.oldest_receive);
        }
        self.hold(self.held + records);
        self.receiver.taken_over(records);
        let mut progress = Progress::default();
        loop {
            let begun = self.clock.monotonic_ns();
            let fill = catch_unwind(AssertUnwindSafe(|| self.encoder.append(&batch, &mut progress)));
            let ended = self.worked_since(begun);
            if self.deadline_ns.is_none() && !self.encoder.is_empty() {
                self.deadline_ns = Some(begun.saturating_add(self.interval_ns));
            }
            match fill {
                Ok(Fill::Open) => break,
                Ok(Fill::Full) => self.close(),
                Err(_) => {
                    self.encoder.discard_partial();
                    let lost = records - progress.next as u64;
                    self.lose(RecordDrop::BatcherPanic, lost, lost::runs(&batch, progress.next));
                    self.log_panic(ended, lost);
                    break;
                }
            }
        }
        self.metrics.books.clamped.add(progress.clamped);
        let read = progress.next;
        let left_out =
            [(RecordDrop::NotRepresentable, progress.not_representable), (RecordDrop::Event, progress.events)];
        for (reason, records) in left_out {
            self.lose(reason, records, lost::runs_where(&batch, 0..read, |r| no_place(r) == Some(reason)));
        }
        self.receiver.recycle(batch);
    }

    /// Offers the open body, if there is one.
    fn close(&mut self) {
        self.deadline_ns = None;
        let begun = self.clock.monotonic_ns();
        let Some(body) = self.encoder.finish() else { return };
        let ended = self.worked_since(begun);
        let records = u64::from(body.records);
        self.metrics.batch_records.record(f64::from(body.records));
        self.metrics.encode_seconds.record(Duration::from_nanos(self.body_ns).as_secs_f64());
        self.body_ns = 0;
        match self.offer(body) {
            Offered::Taken => self.hold(self.held - records),
            Offered::Refused(body) => self.lose(RecordDrop::DispatchFull, records, body.runs()),
            Offered::Panicked => {
                // Whose they were went with it.
                self.lose(RecordDrop::BatcherPanic, records, []);
                self.log_panic(ended, records);
            }
        }
        self.metrics.blocked_ns.add(self.clock.monotonic_ns().saturating_sub(ended));
        // What is still held came with the FlowBatch that is being encoded.
        self.metrics.oldest_receive_ns.set(if self.held == 0 { 0 } else { self.incoming_ns });
    }

    fn offer(&self, body: EncodedBatch) -> Offered {
        let taken = catch_unwind(AssertUnwindSafe(|| self.outlet.offer(body).map_err(Box::new)));
        match taken {
            Ok(Ok(())) => Offered::Taken,
            Ok(Err(body)) => Offered::Refused(body),
            Err(_) => Offered::Panicked,
        }
    }

    /// Counts `records` of the held ones as dropped; in the books first, so that they are never nowhere.
    fn lose<'a>(&mut self, reason: RecordDrop, records: u64, whose: impl IntoIterator<Item = LostRun<'a>>) {
        if records > 0 {
            self.metrics.books.drop_runs(reason, records, whose);
            self.hold(self.held - records);
        }
    }

    fn hold(&mut self, records: u64) {
        if records == 0 {
            self.metrics.oldest_receive_ns.set(0);
        }
        self.held = records;
        self.metrics.held.set(records);
    }

    /// Adds the time since `begun` to what is busy; returns now.
    fn worked_since(&mut self, begun: u64) -> u64 {
        let ended = self.clock.monotonic_ns();
        self.body_ns += ended.saturating_sub(begun);
        self.metrics.busy_ns.add(ended.saturating_sub(begun));
        ended
    }

    /// The panic hook has said where; this says what it cost.
    fn log_panic(&self, now: u64, records: u64) {
        let Some(panics) = self.panics.note(now, 1) else { return };
        tracing::error!(records, panics, "a batcher panicked: records dropped, the thread goes on; please report it");
    }
}

enum Offered {
    Taken,
    Refused(Box<EncodedBatch>),
    Panicked,
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::clock::ManualClock;
    use crate::flow::{Presence, Version};
    use crate::metrics::{Ledger, Metrics};
    use crate::queue::testing::{Basket, Mood, metrics, settings, wait_for};
    use crate::queue::{FlowSender, channel};
    use crate::sink::encode::testing::{fill, numbered, serials};

    struct Rig {
        metrics: Arc<Metrics>,
        basket: Arc<Basket>,
        sender: FlowSender,
        batchers: Batchers,
        hand: Arc<ManualClock>,
    }

    impl Rig {
        fn new() -> Self {
            let metrics = metrics(1);
            let basket = Basket::new(&metrics);
            let (clock, hand) = Clock::manual(1_700_000_000_000_000_000);
            let settings = settings(8, 10);
            let (sender, receiver) = channel(&settings, 1, metrics.queue());
            let outlet: Arc<dyn Outlet> = Arc::clone(&basket) as Arc<dyn Outlet>;
            let batchers = spawn_batchers(&settings, receiver, outlet, clock, vec![metrics.batcher(0)]);
            Self { metrics, basket, sender, batchers: batchers.expect("a thread"), hand }
        }

        /// Hands `batch` over as a worker would, and waits until it is encoded and back in the pool.
        fn send(&self, mut batch: Box<FlowBatch>) {
            let pooled = self.sender.pooled();
            self.metrics.books.decoded[Version::V9.index()].add(batch.len() as u64);
            self.sender.hand_over(&mut batch);
            wait_for("the batcher", || self.sender.is_idle() && self.sender.pooled() == pooled);
        }

        fn dropped(&self, reason: RecordDrop) -> u64 {
            self.metrics.books.dropped[reason as usize].value()
        }

        /// Ends the batchers: the books afterwards, nothing held.
        fn end(self) -> (Arc<Basket>, Ledger) {
            drop(self.sender);
            assert_eq!(self.batchers.join(), [("batcher-0".to_owned(), false)]);
            let ledger = self.metrics.books.ledger();
            assert_eq!((ledger.held, ledger.imbalance()), (0, 0));
            (self.basket, ledger)
        }
    }

    #[test]
    fn bodies_have_batch_size_records_whatever_the_flow_batches_have() {
        let rig = Rig::new();
        for (first, records) in [(0, 4), (4, 25), (29, 1), (30, 12)] {
            rig.send(numbered(first, records));
        }
        let (basket, ledger) = rig.end();
        assert_eq!(basket.sizes(), [10, 10, 10, 10, 2]);
        let all: Vec<u64> = basket.taken().iter().flat_map(serials).collect();
        assert_eq!(all, (0..42).collect::<Vec<u64>>());
        assert_eq!(ledger.delivered, 42);
    }

    #[test]
    fn an_open_body_is_offered_when_its_first_record_is_an_interval_old() {
        let rig = Rig::new();
        rig.send(numbered(0, 3));
        rig.hand.advance(4_999_999_999);
        rig.send(numbered(3, 1));
        assert_eq!((rig.basket.sizes(), rig.metrics.batcher(0).held.value()), (vec![], 4));
        rig.hand.advance(1);
        wait_for("the body", || rig.basket.sizes() == [4]);
        wait_for("the level", || rig.metrics.batcher(0).held.value() == 0);
        // The next body has its own interval.
        rig.send(numbered(4, 1));
        rig.hand.advance(4_999_999_999);
        rig.send(numbered(5, 1));
        assert_eq!(rig.basket.sizes(), [4]);
        let (basket, _) = rig.end();
        assert_eq!(basket.sizes(), [4, 2]);
    }

    #[test]
    fn what_the_outlet_refuses_or_panics_over_is_counted_and_the_thread_goes_on() {
        let rig = Rig::new();
        rig.basket.set_mood(Mood::Refuse);
        rig.send(numbered(0, 20));
        wait_for("the refusal", || rig.dropped(RecordDrop::DispatchFull) == 20);
        rig.basket.set_mood(Mood::Panic);
        rig.send(numbered(20, 10));
        wait_for("the panic", || rig.dropped(RecordDrop::BatcherPanic) == 10);
        rig.basket.set_mood(Mood::Take);
        rig.send(numbered(30, 10));
        let (basket, ledger) = rig.end();
        assert_eq!((basket.sizes(), ledger.dropped, ledger.delivered), (vec![10], 30, 10));
    }

    #[test]
    fn a_panic_over_a_record_costs_the_rest_of_its_flow_batch_exactly() {
        let rig = Rig::new();
        rig.send(numbered(0, 3));
        let mut poisoned = numbered(3, 20);
        poisoned.records[12].exporter = 1_000;
        rig.send(poisoned);
        wait_for("the panic", || rig.dropped(RecordDrop::BatcherPanic) > 0);
        rig.send(numbered(40, 2));
        assert_eq!(rig.dropped(RecordDrop::BatcherPanic), 8);
        let (basket, ledger) = rig.end();
        let all: Vec<u64> = basket.taken().iter().flat_map(serials).collect();
        assert_eq!(all, (0..15).chain(40..42).collect::<Vec<u64>>());
        assert_eq!(ledger.delivered, 17);
    }

    #[test]
    fn records_that_the_format_cannot_carry_and_cut_counters_are_counted() {
        let rig = Rig::new();
        let mut batch = numbered(0, 15);
        for index in [0, 9, 14] {
            batch.records[index].presence.clear(Presence::SRC_V4);
        }
        batch.records[3].bytes = u64::MAX;
        rig.send(batch);
        let mut events = numbered(15, 2);
        events.records[0].presence.set(Presence::EVENT);
        rig.send(events);
        let books = rig.metrics.books.clone();
        let (basket, _) = rig.end();
        assert_eq!(basket.sizes(), [10, 3]);
        assert_eq!(books.dropped[RecordDrop::NotRepresentable as usize].value(), 3);
        assert_eq!(books.dropped[RecordDrop::Event as usize].value(), 1);
        assert_eq!(books.clamped.value(), 1);
    }

    #[test]
    fn too_few_metrics_are_an_error_that_says_so() {
        let metrics = metrics(1);
        let settings = QueueSettings { batchers: 2, ..settings(2, 10) };
        let (_sender, receiver) = channel(&settings, 1, metrics.queue());
        let outlet: Arc<dyn Outlet> = Basket::new(&metrics);
        let error = spawn_batchers(&settings, receiver, outlet, Clock::system(), vec![metrics.batcher(0)]);
        assert!(error.expect_err("an error").to_string().contains("2 batchers"));
    }

    /// Two workers, two batchers, an outlet that changes its mind: at every moment each record that was
    /// decoded is held somewhere, delivered or dropped; at the end the books balance to the record.
    #[test]
    fn no_record_is_ever_nowhere() {
        let metrics = metrics(2);
        let basket = Basket::new(&metrics);
        let settings = QueueSettings { batchers: 2, batch_size: 7, ..settings(4, 10) };
        let (sender, receiver) = channel(&settings, 2, metrics.queue());
        let handles = metrics.batchers().to_vec();
        let outlet: Arc<dyn Outlet> = Arc::clone(&basket) as Arc<dyn Outlet>;
        let batchers = spawn_batchers(&settings, receiver, outlet, Clock::system(), handles).expect("threads");
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            let workers: Vec<_> = (0..2)
                .map(|index| {
                    let (sender, worker) = (sender.clone(), metrics.worker(index));
                    scope.spawn(move || {
                        let mut batch = sender.first_batch();
                        for round in 0..2_000_u32 {
                            fill(&mut batch, round, 1 + round % 23);
                            worker.held.set(batch.len() as u64);
                            worker.books.decoded[Version::V9.index()].add(batch.len() as u64);
                            sender.hand_over(&mut batch);
                            worker.held.set(0);
                        }
                    })
                })
                .collect();
            let (metrics, basket, ended) = (&metrics, &basket, &ended);
            scope.spawn(move || {
                while !ended.load(Ordering::Acquire) {
                    // Upstream first, so that a record on its way is seen at least once.
                    let decoded = metrics.books.records_decoded();
                    let held = metrics.books.held.total();
                    let dropped: u64 = metrics.books.dropped.iter().map(crate::metrics::Tally::value).sum();
                    let out = dropped + metrics.books.delivered.value();
                    assert!(decoded <= held + out, "{decoded} decoded, {held} held, {out} out");
                    basket.set_mood(if out.is_multiple_of(3) { Mood::Refuse } else { Mood::Take });
                }
            });
            // The reader ends with the workers, also when one of them fails.
            let outcomes: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
            ended.store(true, Ordering::Release);
            assert!(outcomes.iter().all(Result::is_ok));
        });
        drop(sender);
        assert!(batchers.join().iter().all(|(_, panicked)| !panicked));
        let ledger = metrics.books.ledger();
        assert_eq!((ledger.held, ledger.imbalance()), (0, 0));
        assert_eq!(ledger.delivered, basket.sizes().iter().map(|n| u64::from(*n)).sum::<u64>());
    }
}
