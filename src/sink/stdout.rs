//! `--output stdout`: bodies to standard output (or any other writer), in the order of their offers.
//!
//! Enters: EncodedBatches, by `offer`, which never blocks: a thread of its own writes, behind a queue that
//! is bounded in octets, so that a stalled pipe costs nothing but that bound. Promised: each batch taken is
//! counted once, as delivered (written and flushed) or as dropped with a reason. Left to the wiring: to
//! watch `broken` and end the process when nobody reads any more.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::encode::EncodedBatch;
use crate::clock::Clock;
use crate::metrics::{RecordDrop, SinkMetrics};
use crate::queue::Outlet;

/// How long to wait before a writer that is set to not block is tried again: long enough to cost
/// nothing, short enough to keep a terminal fluent.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// Writes batches to a stream.
#[derive(Debug)]
pub struct StdoutOutlet {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// A batch came, or the end.
    work: Condvar,
    /// The writer has ended.
    settled: Condvar,
    octets_max: u64,
    clock: Clock,
    metrics: SinkMetrics,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<EncodedBatch>,
    /// What the writer has in hand; who takes this out counts the batch.
    in_hand: Option<EncodedBatch>,
    octets: u64,
    /// Nothing more is taken in.
    closed: bool,
    /// A write failed.
    broken: bool,
    /// The writer has ended.
    ended: bool,
}

#[derive(Debug, Clone, Copy)]
struct InHand {
    records: u64,
    octets: u64,
    oldest_receive: u64,
}

impl InHand {
    fn of(batch: &EncodedBatch) -> Self {
        Self { records: u64::from(batch.records), octets: batch.octets(), oldest_receive: batch.oldest_receive }
    }
}

impl StdoutOutlet {
    /// Starts the thread that writes to `out`; at most `octets_max` octets of batches wait for it (or
    /// one batch, if that is larger).
    ///
    /// # Errors
    /// The system refuses the thread.
    pub fn spawn<W: Write + Send + 'static>(
        out: W,
        octets_max: u64,
        clock: Clock,
        metrics: SinkMetrics,
    ) -> io::Result<Arc<Self>> {
        metrics.in_flight_limit.set(octets_max);
        let (state, work, settled) = (Mutex::default(), Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { state, work, settled, octets_max, clock, metrics });
        let writer = Arc::clone(&shared);
        thread::Builder::new().name("stdout".to_owned()).spawn(move || writer.run(out))?;
        Ok(Arc::new(Self { shared }))
    }

    /// True once a write has failed: nobody reads any more, and every record is dropped and counted.
    #[must_use]
    pub fn broken(&self) -> bool {
        self.shared.lock().broken
    }

    /// Takes nothing more and waits until all is written, for at most `deadline`; what is left then is
    /// counted as dropped by the shutdown. True if everything was written.
    #[must_use]
    pub fn finish(&self, deadline: Duration) -> bool {
        let begun = Instant::now();
        let mut state = self.shared.lock();
        state.closed = true;
        self.shared.work.notify_all();
        while !state.ended {
            let left = deadline.saturating_sub(begun.elapsed());
            if left.is_zero() {
                self.shared.drop_all(&mut state, RecordDrop::DeliveryShutdown);
                return false;
            }
            state = self.shared.settled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        !state.broken
    }
}

impl Drop for StdoutOutlet {
    /// The thread ends when it has written what was taken.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
    }
}

impl Outlet for StdoutOutlet {
    fn offer(&self, batch: EncodedBatch) -> Result<(), EncodedBatch> {
        let shared = &*self.shared;
        let taken = InHand::of(&batch);
        let mut state = shared.lock();
        if state.closed {
            // Taken only to be counted: the batcher would call it a full buffer.
            shared.metrics.books.drop_runs(RecordDrop::DispatchClosed, taken.records, batch.runs());
            return Ok(());
        }
        if state.octets > 0 && state.octets + taken.octets > shared.octets_max {
            return Err(batch);
        }
        shared.metrics.held.add(taken.records);
        state.octets += taken.octets;
        state.waiting.push_back(batch);
        shared.show(&state);
        shared.work.notify_one();
        Ok(())
    }
}

impl Shared {
    // A panic while the lock is held would be one of this file's few lines; the state is whole between them.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run<W: Write>(&self, mut out: W) {
        while let Some(body) = self.next() {
            let written = catch_unwind(AssertUnwindSafe(|| self.write(&mut out, &body)))
                .unwrap_or_else(|_| Err(io::Error::other("the writer panicked")));
            let mut state = self.lock();
            if let Err(error) = written {
                if state.in_hand.is_some() {
                    tracing::error!(%error, "standard output cannot be written to any more: records are dropped");
                }
                state.closed = true;
                state.broken = true;
                self.metrics.healthy.set(0.0);
                self.drop_all(&mut state, RecordDrop::DispatchClosed);
                break;
            }
            // None if `finish` has counted the batch already.
            if let Some(done) = state.in_hand.take().as_ref().map(InHand::of) {
                self.deliver(done);
                state.octets -= done.octets;
                self.show(&state);
            }
        }
        self.lock().ended = true;
        self.settled.notify_all();
    }

    /// The body of the next batch; None at the end.
    fn next(&self) -> Option<Bytes> {
        let mut state = self.lock();
        loop {
            if let Some(batch) = state.waiting.pop_front() {
                let body = batch.body.clone();
                state.in_hand = Some(batch);
                return Some(body);
            }
            if state.closed {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn write<W: Write>(&self, out: &mut W, mut octets: &[u8]) -> io::Result<()> {
        let mut flushed = false;
        while !flushed {
            let step = if octets.is_empty() { out.flush().map(|()| 0) } else { out.write(octets) };
            match step {
                Ok(0) if octets.is_empty() => flushed = true,
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => octets = &octets[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Somebody who shares the terminal or pipe has set it to not block.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.lock().in_hand.is_some() => {
                    thread::sleep(TRY_AGAIN);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Counts a written batch: delivered first, then no longer held.
    fn deliver(&self, done: InHand) {
        self.metrics.books.delivered.add(done.records);
        let now = self.clock.unix_ns();
        if now < done.oldest_receive {
            self.metrics.clock_steps.add(1);
        }
        let lag = Duration::from_nanos(now.saturating_sub(done.oldest_receive));
        self.metrics.lag.record(lag.as_secs_f64(), done.records);
        self.metrics.held.sub(done.records);
    }

    /// Counts all that is waiting or in hand as dropped.
    fn drop_all(&self, state: &mut State, reason: RecordDrop) {
        let in_hand = state.in_hand.take();
        for batch in in_hand.into_iter().chain(state.waiting.drain(..)) {
            let records = u64::from(batch.records);
            self.metrics.books.drop_runs(reason, records, batch.runs());
            self.metrics.held.sub(records);
        }
        state.octets = 0;
        self.show(state);
    }

    #[expect(clippy::cast_precision_loss, reason = "a ratio of octets far below 2^53")]
    fn show(&self, state: &State) {
        self.metrics.in_flight_bytes.set(state.octets);
        self.metrics.saturation.set((state.octets as f64 / self.octets_max.max(1) as f64).min(1.0));
        let oldest = state.in_hand.as_ref().or_else(|| state.waiting.front()).map(|batch| batch.oldest_receive);
        self.metrics.oldest_receive_ns.set(oldest.unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::metrics::Metrics;
    use crate::queue::testing::{metrics, wait_for};
    use crate::sink::encode::testing::numbered;
    use crate::sink::encode::{Counters, EncodeSettings, Encoder, Format, Progress};

    fn body(first: u32, records: u32) -> EncodedBatch {
        let settings = EncodeSettings { format: Format::Ndjson, extra_keys: false, counters: Counters::Raw };
        let mut encoder = Encoder::new(settings, 1_000, 1 << 20);
        encoder.append(&numbered(first, records), &mut Progress::default());
        encoder.finish().expect("a body")
    }

    /// A pipe: each write waits for its answer, so that a test says when and how it ends.
    struct Pipe {
        answers: mpsc::Receiver<io::Result<usize>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Pipe {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            // With nobody to answer, everything is taken.
            let length = self.answers.recv().unwrap_or(Ok(usize::MAX))?.min(octets.len());
            self.written.lock().expect("no panic before").extend_from_slice(&octets[..length]);
            Ok(length)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Rig {
        metrics: Arc<Metrics>,
        outlet: Arc<StdoutOutlet>,
        answers: mpsc::Sender<io::Result<usize>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Rig {
        fn new(octets_max: u64) -> Self {
            let metrics = metrics(1);
            let (answers, receiver) = mpsc::channel();
            let written = Arc::default();
            let pipe = Pipe { answers: receiver, written: Arc::clone(&written) };
            // Two seconds after the records of the test were received.
            let (clock, _) = Clock::manual(1_700_000_002_000_000_000);
            let outlet = StdoutOutlet::spawn(pipe, octets_max, clock, metrics.sink()).expect("a thread");
            Self { metrics, outlet, answers, written }
        }

        fn offer(&self, batch: EncodedBatch) -> bool {
            // What was never decoded would unbalance the books.
            let records = u64::from(batch.records);
            let taken = self.outlet.offer(batch).is_ok();
            self.metrics.books.decoded[0].add(if taken { records } else { 0 });
            taken
        }

        fn dropped(&self, reason: RecordDrop) -> u64 {
            self.metrics.books.dropped[reason as usize].value()
        }

        fn at_rest(&self) {
            let (ledger, sink) = (self.metrics.books.ledger(), self.metrics.sink());
            assert_eq!((ledger.held, ledger.imbalance(), sink.in_flight_bytes.value()), (0, 0, 0));
            assert_eq!(sink.oldest_receive_ns.value(), 0);
        }
    }

    #[test]
    fn bodies_come_out_whole_and_in_order_through_a_stuttering_pipe() {
        let rig = Rig::new(1 << 20);
        let (first, second) = (body(0, 3), body(3, 2));
        let expected = [first.body.as_ref(), second.body.as_ref()].concat();
        assert!(rig.offer(first) && rig.offer(second));
        for kind in [io::ErrorKind::Interrupted, io::ErrorKind::WouldBlock] {
            rig.answers.send(Ok(5)).expect("a reader");
            rig.answers.send(Err(kind.into())).expect("a reader");
        }
        let Rig { answers, .. } = &rig;
        answers.send(Ok(usize::MAX)).expect("a reader");
        answers.send(Ok(usize::MAX)).expect("a reader");
        assert!(rig.outlet.finish(Duration::from_secs(10)));
        assert_eq!(*rig.written.lock().expect("no panic"), expected);
        assert_eq!(rig.metrics.books.delivered.value(), 5);
        assert_eq!(rig.metrics.sink().lag.quantile(1.0), Some(2.5));
        assert!(!rig.outlet.broken());
        rig.at_rest();
        // After the end a batch is taken only to be counted.
        assert!(rig.offer(body(0, 4)));
        assert_eq!(rig.dropped(RecordDrop::DispatchClosed), 4);
        rig.at_rest();
    }

    #[test]
    fn a_stalled_pipe_gives_batches_back_at_its_bound_and_the_deadline_counts_the_rest() {
        let octets = body(0, 3).octets();
        let rig = Rig::new(octets * 2);
        assert!(rig.offer(body(0, 3)) && rig.offer(body(0, 3)));
        assert!(!rig.offer(body(0, 3)), "the bound is reached");
        let sink = rig.metrics.sink();
        assert_eq!((sink.held.value(), sink.in_flight_bytes.value()), (6, octets * 2));
        assert!(sink.saturation.value() > 0.99 && sink.oldest_receive_ns.value() > 0);
        assert!(!rig.outlet.finish(Duration::from_millis(1)));
        assert_eq!(rig.dropped(RecordDrop::DeliveryShutdown), 6);
        rig.at_rest();
        // The write that was under way ends after all: its batch is not counted twice.
        let Rig { metrics, outlet, answers, .. } = rig;
        drop(answers);
        wait_for("the writer's end", || outlet.shared.lock().ended);
        assert_eq!((metrics.books.delivered.value(), metrics.books.ledger().imbalance()), (0, 0));
    }

    #[test]
    fn one_batch_may_be_larger_than_the_bound() {
        let rig = Rig::new(1);
        assert!(rig.offer(body(0, 3)));
        rig.answers.send(Ok(usize::MAX)).expect("a reader");
        wait_for("the delivery", || rig.metrics.books.delivered.value() == 3);
    }

    #[test]
    fn a_closed_pipe_is_broken_for_good_and_every_record_is_counted() {
        for answer in [Err(io::ErrorKind::BrokenPipe.into()), Ok(0)] {
            let rig = Rig::new(1 << 20);
            assert!(rig.offer(body(0, 3)) && rig.offer(body(3, 4)));
            assert!(!rig.outlet.broken());
            rig.answers.send(answer).expect("a reader");
            wait_for("the failure", || rig.outlet.broken());
            assert_eq!(rig.dropped(RecordDrop::DispatchClosed), 7);
            assert!(rig.offer(body(7, 1)));
            assert_eq!(rig.dropped(RecordDrop::DispatchClosed), 8);
            assert!(!rig.outlet.finish(Duration::from_secs(10)), "not everything was written");
            assert!(rig.metrics.sink().healthy.value() < 0.5);
            rig.at_rest();
        }
    }
}
