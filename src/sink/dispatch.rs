//! The crossing to tokio: batches that batchers offer become requests, each with one fate.
//!
//! Enters: an [`EncodedBatch`] through [`Outlet::offer`], which never blocks and gives back what the
//! budget has no room for. Leaves: requests by `http`, in the order and at the time that `line` decides;
//! what cannot be delivered now, to the spool, and comes back from there (`spooled`).
//! Promised: what was taken is counted as delivered or dropped exactly once, or still held or spooled; octets held
//! stay within the budget; the budget of a batch is freed when its last record has met its fate.
//! One task owns the line, so nothing in it is locked.

mod books;
mod breaker;
mod dead;
mod inlet;
mod job;
mod journal;
mod line;
mod pace;
mod route;
mod spooled;
mod targets;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc as report;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use super::budget::Budget;
use super::compress::{Packed, Press};
use super::http::{Answer, Failure, Parcel};
use super::retry::{self, Backoff, Fault, Random};
use super::target::Aim;
use super::{Compression, ExporterRun, SinkError, SinkReport, SinkSettings};
use crate::clock::Clock;
use crate::metrics::{RecordDrop, SinkMetrics, Tally};
use crate::queue::Outlet;
use crate::refresh::tell;
use crate::secret::Refresh;
use crate::spool::DeadLetters;
use dead::Graves;
use inlet::{Inlet, Taken};
use job::{Fate, Job, Policy, Turn};
use journal::Journal;
use line::Line;
use spooled::SpoolSide;
use targets::Targets;

pub use spooled::{Bell, SpoolEnds};

/// Longest the task sleeps while a time of the line is due: the App's clock may be moved by hand.
const TICK: Duration = Duration::from_millis(100);
/// Longest it sleeps otherwise: idle connections are closed at this pace.
const SWEEP: Duration = Duration::from_secs(1);
/// Batches taken from the inlet in one go.
const INTAKE: usize = 64;
/// While everything ends, nothing waits for longer than this share of what is left, nor than a second.
const HURRY_SHARE: u32 = 8;
/// With a spool delivery ends this share of what is left before the deadline: the rest is for what remains.
const SPOOL_SHARE: u32 = 4;

/// Name of a certificate, end of its validity in Unix seconds, and where that shows.
pub type WatchedEnd = (&'static str, Box<dyn Fn() -> u64 + Send>, Tally);

/// The far end of delivery: ends it, and says how it is.
pub struct Sink {
    runtime: Option<Runtime>,
    close: Option<oneshot::Sender<Instant>>,
    report: report::Receiver<SinkReport>,
    healthy: Arc<AtomicBool>,
    aim: Aim,
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink").field("healthy", &self.healthy).finish_non_exhaustive()
    }
}

/// Starts delivery on threads of its own.
///
/// # Errors
/// A setting that cannot stand in a request, or no threads.
pub fn start(settings: SinkSettings, clock: Clock, metrics: SinkMetrics) -> Result<(Arc<dyn Outlet>, Sink), SinkError> {
    start_with(settings, clock, metrics, None, None)
}

/// The same with a spool for what cannot be delivered now, and dead letters for what is refused for good.
///
/// # Errors
/// A setting that cannot stand in a request, or no threads.
pub fn start_with(
    settings: SinkSettings,
    clock: Clock,
    metrics: SinkMetrics,
    spool: Option<SpoolEnds>,
    letters: Option<DeadLetters>,
) -> Result<(Arc<dyn Outlet>, Sink), SinkError> {
    let aim = Aim::at(&settings, clock.clone())?;
    let number = AtomicU64::new(0);
    let runtime = Builder::new_multi_thread()
        .worker_threads(settings.threads.max(1))
        .thread_name_fn(move || format!("dispatch-{}", number.fetch_add(1, Ordering::Relaxed)))
        .enable_all()
        .build()
        .map_err(|source| SinkError::Runtime { threads: settings.threads, source })?;
    let (inlet, batches) = mpsc::unbounded_channel();
    let (close, closed) = oneshot::channel();
    let (report_to, report) = report::channel();
    let healthy = Arc::new(AtomicBool::new(true));
    metrics.in_flight_limit.set(settings.in_flight_octets);
    metrics.healthy.set(1.0);
    let budget = Budget::new(settings.in_flight_octets);
    let targets = Targets::of(aim.now(), &metrics, &clock);
    let (sharing, journal) = (targets.sharing(), Journal::new(targets.names()));
    let press =
        Press::new(settings.access.compression, settings.threads, budget.clone(), metrics.in_flight_bytes.clone());
    let policy = Policy {
        slots: settings.requests_in_flight.max(1),
        adaptive: sharing.adaptive,
        backends: sharing.backends,
        balance: sharing.balance,
        retry_attempts: settings.retry_attempts.max(1),
        backoff: Backoff { first: settings.backoff, max: settings.backoff_max },
    };
    let spool = spool.map(SpoolSide::new);
    let into_spool = spool.as_ref().map(|spool| spool.into.clone());
    let dispatch = Dispatch {
        targets,
        aim: aim.clone(),
        press,
        spool,
        graves: Graves::new(letters, clock.clone()),
        clock,
        metrics: metrics.clone(),
        budget: budget.clone(),
        line: Line::new(policy, Random::from_system()),
        journal,
        requests: JoinSet::new(),
        jobs: HashMap::default(),
        healthy: Arc::clone(&healthy),
        report: SinkReport::default(),
    };
    runtime.spawn(async move {
        let report = dispatch.run(batches, closed).await;
        // Nobody waits for it if the Sink was dropped.
        let _ = report_to.send(report);
    });
    let inlet = Arc::new(Inlet { batches: inlet, budget, metrics, spool: into_spool });
    Ok((inlet, Sink { runtime: Some(runtime), close: Some(close), report, healthy, aim }))
}

impl Sink {
    /// Closes the inlet, delivers what it can until `deadline` is over, and hands the rest to the spool, or counts it as
    /// dropped.
    ///
    /// Blocks the calling thread, which must not be one of an asynchronous runtime.
    #[must_use]
    pub fn finish(mut self, deadline: Duration) -> SinkReport {
        // An instant has an end; nobody waits for a day.
        let deadline = deadline.min(Duration::from_secs(86_400));
        if let Some(close) = self.close.take() {
            // An error means that the task is gone; then there is no report either.
            let _ = close.send(Instant::now() + deadline);
        }
        // The task keeps the deadline itself; the second is for a machine that has other things to do.
        let report = self.report.recv_timeout(deadline + Duration::from_secs(1));
        report.unwrap_or_else(|_| {
            tracing::error!("delivery ended without a report: what it held is not accounted for");
            SinkReport::default()
        })
    }

    /// True if delivery ended without being told to, which only a defect of ours can cause: nothing is
    /// delivered any more, and what it held stays in the books as held.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        // The task reports only after `finish` asked it to, so until then there is nothing to take away.
        is_gone(&self.report)
    }

    /// Values that follow files, to be read again.
    #[must_use]
    pub fn watched(&self) -> Vec<Arc<dyn Refresh>> {
        self.aim.watched()
    }

    /// Where requests go, to be changed while delivery runs.
    #[must_use]
    pub fn aim(&self) -> Aim {
        self.aim.clone()
    }

    /// True while the backend takes what it is sent.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A name look-up may hang in the system's resolver: nobody waits for that.
            runtime.shutdown_background();
        }
    }
}

fn is_gone(report: &report::Receiver<SinkReport>) -> bool {
    matches!(report.try_recv(), Err(report::TryRecvError::Disconnected))
}

/// What became of a request, how long it took, and the compressed body if it may be kept.
type Finished = (Result<Answer, Failure>, f64, Option<Packed>);

/// The task that owns the line.
struct Dispatch {
    targets: Targets,
    /// Where requests go: `targets` are it as it was seen last.
    aim: Aim,
    press: Press,
    spool: Option<SpoolSide>,
    graves: Graves,
    clock: Clock,
    metrics: SinkMetrics,
    budget: Budget,
    line: Line,
    journal: Journal,
    requests: JoinSet<Finished>,
    /// What is under way stays here, so that no failure of a request's task can lose it.
    jobs: HashMap<Id, Box<Job>, rustc_hash::FxBuildHasher>,
    healthy: Arc<AtomicBool>,
    report: SinkReport,
}

impl Dispatch {
    async fn run(
        mut self,
        mut batches: mpsc::UnboundedReceiver<Taken>,
        mut closed: oneshot::Receiver<Instant>,
    ) -> SinkReport {
        let mut intake = Vec::with_capacity(INTAKE);
        // The end of delivering, and of everything.
        let mut end: Option<(Instant, Instant)> = None;
        let mut inlet_open = true;
        let bell = self.spool.as_ref().map(SpoolSide::bell);
        loop {
            self.look_at_aim();
            self.take_from_spool();
            self.spill();
            let due = self.send_what_may_go();
            self.publish();
            let all_settled = self.line.waiting() == 0 && self.jobs.is_empty() && self.graves.is_empty();
            let quiet = self.spool_is_quiet();
            if end.is_some() && !inlet_open && (all_settled && quiet || self.need_not_wait()) {
                break;
            }
            let until = Instant::now() + self.pause(due);
            let until = end.map_or(until, |(end, _)| until.min(end).min(Instant::now() + TICK));
            tokio::select! {
                Some(finished) = self.requests.join_next_with_id() => self.settle(finished),
                Some(written) = self.graves.next() => self.buried(written),
                () = SpoolSide::rung(bell.clone()) => {}
                taken = batches.recv_many(&mut intake, INTAKE), if inlet_open => {
                    inlet_open = taken > 0;
                    for Taken { batch, reserved } in intake.drain(..) {
                        self.line.push(batch, reserved);
                    }
                }
                asked = &mut closed, if end.is_none() => {
                    // A Sink that was dropped takes the runtime with it; until then nothing is left to wait for.
                    let deadline = asked.unwrap_or_else(|_| Instant::now());
                    batches.close();
                    self.report = SinkReport::default();
                    let left = deadline.saturating_duration_since(Instant::now());
                    let share = if self.spool.is_some() { left / SPOOL_SHARE } else { Duration::ZERO };
                    end = Some((deadline - share, deadline));
                    self.line.hurry((left / HURRY_SHARE).min(Duration::from_secs(1)), self.clock.monotonic_ns());
                }
                () = tokio::time::sleep_until(until) => {
                    if end.is_some_and(|(end, _)| Instant::now() >= end) {
                        break;
                    }
                    self.targets.sweep();
                    self.graves.expire();
                }
            }
        }
        // What the inlet took before it was closed and the loop did not get to.
        while let Ok(Taken { batch, reserved }) = batches.try_recv() {
            self.line.push(batch, reserved);
        }
        // Waited for, so that what requests hold of the budget is given back.
        self.requests.shutdown().await;
        for (job, drop) in self.graves.take_all() {
            self.dropped(*job, drop);
        }
        self.report.in_time = true;
        self.give_up(end.map_or_else(Instant::now, |(_, end)| end)).await;
        self.publish();
        self.report
    }

    /// Other backends are tried at once: what was wrong with those of before says nothing of them.
    fn look_at_aim(&mut self) {
        let target = self.aim.now();
        if !self.targets.are(&target) {
            self.targets = Targets::of(target, &self.metrics, &self.clock);
            self.journal.turn_to(self.targets.names());
            self.line.turn_to(self.targets.sharing(), self.clock.monotonic_ns());
        }
    }

    /// Starts all requests that may start now; tells when the next may, if that is a matter of time.
    fn send_what_may_go(&mut self) -> Option<u64> {
        loop {
            match self.line.next(self.clock.monotonic_ns()) {
                Turn::Idle => return None,
                Turn::Wait(at) => return Some(at),
                Turn::Send(job) => self.send(job),
            }
        }
    }

    fn pause(&self, due: Option<u64>) -> Duration {
        let left = |at: u64| Duration::from_nanos(at.saturating_sub(self.clock.monotonic_ns()));
        due.map_or(SWEEP, |at| left(at).min(TICK))
    }

    fn send(&mut self, mut job: Box<Job>) {
        self.note_sending(&job);
        let (key, records) = (job.batch.idempotency_key(), job.batch.records);
        // Shares the octets with the job.
        let (body, packed) = (job.batch.body.clone(), job.packed.take());
        let (client, press) = (self.targets.client(job.target), self.press.clone());
        let (plain, sent) = (self.metrics.body_bytes.clone(), self.metrics.sent_bytes.clone());
        let task = self.requests.spawn(async move {
            let packed = match packed {
                Some(packed) => Some(packed),
                None => press.pack(&body).await,
            };
            let (octets, encoding) = packed.as_ref().map_or((&body, Compression::None), |p| (&p.octets, p.encoding));
            plain.add(body.len() as u64);
            sent.add(octets.len() as u64);
            let parcel = Parcel { key, records, body: octets.clone(), encoding };
            let begin = Instant::now();
            let result = client.post(&parcel).await;
            (result, begin.elapsed().as_secs_f64(), packed.filter(Packed::is_charged))
        });
        self.jobs.insert(task.id(), job);
    }

    fn settle(&mut self, finished: Result<(Id, Finished), JoinError>) {
        let (id, (result, seconds, packed)) = finished.unwrap_or_else(|e| (e.id(), (Err(broken(&e)), 0.0, None)));
        let Some(mut job) = self.jobs.remove(&id) else { return };
        job.packed = packed;
        self.metrics.request_seconds.record(seconds);
        // None of a backend that is none any more.
        let target = Some(job.target).filter(|_| !self.line.routes().is_stale(&job));
        if let Some(target) = target {
            self.targets.note(target, job.batch.records, &result, self.clock.unix_ns());
        }
        let verdict = match &result {
            Ok(answer) => {
                if matches!(answer.status, 401 | 403) {
                    self.read_secrets_again();
                }
                retry::of_status(answer.status, answer.retry_after)
            }
            Err(failure) => {
                if failure.fault == Fault::Tls {
                    self.read_secrets_again();
                }
                retry::of_fault(failure.fault, failure.handed_over)
            }
        };
        self.note_doubt(&job, &verdict, &result);
        let now = self.clock.monotonic_ns();
        let sick_since = target.and_then(|target| self.line.routes().way(target).breaker.since());
        match self.line.finished(job, &verdict, now) {
            Fate::Delivered(job) => {
                self.delivered(*job);
                if let Some((target, since)) = target.zip(sick_since)
                    && self.line.routes().way(target).breaker.is_closed()
                {
                    self.journal.well(target, now.saturating_sub(since), self.waiting_records());
                }
            }
            Fate::Dropped(job, drop) => {
                self.journal.dropped(job.target, &job.batch, drop, &result, now);
                if let Err(job) = self.graves.keep(job, drop, &result) {
                    self.dropped(*job, drop);
                }
            }
            Fate::Split => {
                tracing::debug!(?verdict.delivery, "a batch was split to find the record that the backend does not take");
            }
            Fate::Halved(job) => self.halve(job),
            Fate::GivenBack(job, pause_ns) => {
                self.give_back(job, pause_ns);
                self.tell_of_sickness(target, &result, now);
            }
            Fate::Kept => self.tell_of_sickness(target, &result, now),
        }
    }

    fn tell_of_sickness(&mut self, target: Option<usize>, result: &Result<Answer, Failure>, now: u64) {
        if let Some(target) = target
            && !self.line.routes().way(target).breaker.is_closed()
        {
            let waiting = self.waiting_records();
            self.journal.sick(target, result, waiting, self.line.is_well(), now);
        }
    }

    /// A dead letter was written, or could not be: its record is given up.
    fn buried(&mut self, written: dead::Written) {
        if let Some((job, drop)) = self.graves.done(written) {
            self.dropped(*job, drop);
        }
    }

    /// What the backend does not accept may have been replaced already. Not waited for: a file system may hang.
    fn read_secrets_again(&self) {
        for watched in self.targets.watched() {
            let metrics = self.metrics.secrets.clone();
            drop(tokio::task::spawn_blocking(move || tell(watched.name(), &watched.refresh(), &metrics)));
        }
    }

    fn delivered(&mut self, job: Job) {
        let records = u64::from(job.batch.records);
        let now = self.clock.unix_ns();
        if now < job.batch.oldest_receive {
            self.metrics.clock_steps.add(1);
        }
        #[expect(clippy::cast_precision_loss, reason = "a lag of 2^53 ns is a hundred days")]
        let lag = now.saturating_sub(job.batch.oldest_receive) as f64 / 1e9;
        self.lag_of(&job).record(lag, records);
        self.metrics.books.delivered.add(records);
        self.report.delivered += records;
        self.journal.delivered(job.target, &job.batch);
        self.release(job);
    }

    fn dropped(&mut self, job: Job, drop: RecordDrop) {
        let records = u64::from(job.batch.records);
        self.metrics.books.drop_runs(drop, records, job.batch.runs());
        self.report.dropped += records;
        self.release(job);
    }

    /// After the fate was counted, so that the books never show a record nowhere.
    fn release(&self, job: Job) {
        if let Some(ticket) = job.ticket {
            self.close(ticket);
            return;
        }
        self.metrics.held.sub(u64::from(job.batch.records));
        self.metrics.in_flight_bytes.sub(job.reserved);
        self.budget.free(job.reserved);
    }

    fn publish(&self) {
        let well = self.line.is_well();
        self.healthy.store(well, Ordering::Release);
        let metrics = &self.metrics;
        metrics.healthy.set(if well { 1.0 } else { 0.0 });
        self.targets.publish(self.line.routes(), self.clock.unix_ns());
        metrics.oldest_receive_ns.set(self.line.oldest_receive().unwrap_or(0));
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        let ratio = self.budget.used() as f64 / self.budget.limit().max(1) as f64;
        metrics.saturation.set(ratio);
    }
}

/// A request's task panicked: our own mistake, and nobody knows how far the request got.
fn broken(error: &JoinError) -> Failure {
    Failure { fault: Fault::Protocol, handed_over: true, untouched: false, detail: format!("internal error: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_nobody_asked_for_shows() {
        let (report_to, report) = report::channel();
        assert!(!is_gone(&report));
        // What a panic of the task does to its end of the channel.
        drop(report_to);
        assert!(is_gone(&report));
    }
}
