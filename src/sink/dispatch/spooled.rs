//! Dispatch's side of the spool: what goes there, what comes from there, and who answers for it.
//!
//! Promised: a batch that the spool handed out is answered for once, and only after its fate stands in the books;
//! while the backend is sick memory keeps a share of what waits, and after a while a single batch; what is left at
//! the end goes to the spool, and is dropped only where that takes nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Dispatch;
use super::books::drop_entry;
use super::inlet::IntoSpool;
use super::job::{Job, Past};
use crate::limits;
use crate::metrics::RecordDrop;
use crate::sink::SpoolMode;
use crate::sink::kept::{batch_of, entry_of};
use crate::spool::{Inlet, Outlet, Spooled, Stats, Ticket, Waker};

const MS_NS: u64 = 1_000_000;
/// Between two offers at the end, while the way into the spool is full.
const END_RETRY: Duration = Duration::from_millis(5);

/// Rings when the spool has an entry for dispatch; made before both.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    /// What the spool calls.
    #[must_use]
    pub fn waker(&self) -> Waker {
        let notify = Arc::clone(&self.0);
        Arc::new(move || notify.notify_one())
    }
}

/// Both ends of a spool that runs.
#[derive(Debug)]
pub struct SpoolEnds {
    /// When batches go there; `Off` counts as `OnFailure`.
    pub mode: SpoolMode,
    /// The way in.
    pub inlet: Inlet,
    /// The way out.
    pub outlet: Outlet,
    /// What it says about itself.
    pub stats: Stats,
    /// What its waker rings.
    pub bell: Bell,
}

/// The spool as the task that owns the line knows it.
pub(super) struct SpoolSide {
    pub(super) into: IntoSpool,
    outlet: Outlet,
    bell: Bell,
    /// When an entry came last, or something was left to do.
    busy_at: Instant,
}

impl SpoolSide {
    pub(super) fn new(ends: SpoolEnds) -> Self {
        let mode = if ends.mode == SpoolMode::Off { SpoolMode::OnFailure } else { ends.mode };
        let into = IntoSpool { mode, inlet: ends.inlet, stats: ends.stats };
        Self { into, outlet: ends.outlet, bell: ends.bell, busy_at: Instant::now() }
    }

    /// Returns when an entry may be there; never without a spool.
    pub(super) async fn rung(bell: Option<Bell>) {
        match bell {
            Some(Bell(notify)) => notify.notified().await,
            None => std::future::pending().await,
        }
    }

    pub(super) fn bell(&self) -> Bell {
        self.bell.clone()
    }

    fn is_empty(&self) -> bool {
        self.into.stats.entries.level() == 0 && self.into.stats.pending_records.level() == 0
    }
}

impl Dispatch {
    /// Records that wait for the backend, in memory and on disk.
    pub(super) fn waiting_records(&self) -> u64 {
        self.metrics.held.level() + self.metrics.books.spool.spooled()
    }

    /// Takes over what the spool has ready: it never has more out than its bounds allow.
    pub(super) fn take_from_spool(&mut self) {
        let Some(spool) = &mut self.spool else { return };
        while let Some(Spooled { ticket, entry, doubtful }) = spool.outlet.next() {
            spool.busy_at = Instant::now();
            let (records, past) = (u64::from(entry.records), Past { repeated: entry.repeated, doubtful });
            match batch_of(entry) {
                Ok(batch) => self.line.push_spooled(batch, ticket, past, self.clock.monotonic_ns()),
                Err((reason, entry)) => {
                    tracing::error!(%reason, records, "a batch of the spool cannot be sent: it was dropped");
                    drop_entry(&self.metrics.books, RecordDrop::DeliveryUnreadable, &entry);
                    self.report.dropped += records;
                    spool.outlet.close(ticket);
                }
            }
        }
    }

    /// While the backend is sick: what is more than memory shall keep goes to the spool, the oldest first.
    pub(super) fn spill(&mut self) {
        let (now, Some(since)) = (self.clock.monotonic_ns(), self.line.sick_since()) else { return };
        let share = self.budget.limit() / 100 * limits::SPOOL_SPILL_PERCENT;
        let long = now.saturating_sub(since) >= limits::SPOOL_PATIENCE_MS * MS_NS;
        // One stays to ask the backend with, unless the spool has lent one.
        let kept = usize::from(!self.line.has_loans());
        while let Some(spool) = &self.spool
            && spool.into.takes()
            && (self.budget.used() > share || long && self.line.fresh_waiting() > kept)
            && let Some(job) = self.line.take_oldest_fresh()
        {
            if !spool.into.offer(&job.batch, job.tries, job.repeated) {
                self.line.put_back(job, now);
                break;
            }
            self.report.spooled += u64::from(job.batch.records);
            self.line.remember(&job);
            self.release(*job);
        }
    }

    /// Its fate stands in the books.
    pub(super) fn close(&self, ticket: Ticket) {
        if let Some(spool) = &self.spool {
            spool.outlet.close(ticket);
        }
    }

    /// It comes again after the pause.
    pub(super) fn give_back(&self, mut job: Box<Job>, pause_ns: u64) {
        if let (Some(spool), Some(ticket)) = (&self.spool, job.ticket.take()) {
            spool.outlet.give_back(ticket, Duration::from_nanos(pause_ns), job.repeated);
        }
    }

    /// Its halves are written before it is closed; they come again as entries of their own.
    pub(super) fn halve(&self, mut job: Box<Job>) {
        let (Some(spool), Some(ticket)) = (&self.spool, job.ticket.take()) else { return };
        match job.batch.split() {
            Ok((first, second)) => {
                let half = |batch| entry_of(batch, 0, job.repeated);
                spool.outlet.replace(ticket, [half(&first), half(&second)]);
            }
            // Our own mistake: more records than ends.
            Err(_) => spool.outlet.give_back(ticket, Duration::from_secs(1), job.repeated),
        }
    }

    /// Nothing is left of the spool that a drain should wait for.
    pub(super) fn spool_is_quiet(&mut self) -> bool {
        let idle = self.line.waiting() == 0 && self.jobs.is_empty();
        let Some(spool) = &mut self.spool else { return true };
        if !idle {
            spool.busy_at = Instant::now();
        }
        spool.is_empty() || spool.busy_at.elapsed() >= Duration::from_millis(limits::SPOOL_DRAIN_QUIET_MS)
    }

    /// The backend will hardly take anything before the end, and the spool takes what is left.
    pub(super) fn need_not_wait(&self) -> bool {
        let Some(since) = self.line.sick_since() else { return false };
        let sick_ns = self.clock.monotonic_ns().saturating_sub(since);
        sick_ns >= limits::SPOOL_DRAIN_PATIENCE_MS * MS_NS
            && self.spool.as_ref().is_some_and(|spool| spool.into.takes())
    }

    /// What is left goes to the spool while it takes something and until `end`; the rest is lost to the end of
    /// the process.
    pub(super) async fn give_up(&mut self, end: Instant) {
        let mut left: Vec<_> = self.line.take_loans();
        for (_, mut job) in self.jobs.drain() {
            self.line.broke_off(&mut job);
            // Nobody knows how far its request got.
            job.repeated = true;
            left.push(job);
        }
        let (loans, mut fresh): (Vec<_>, Vec<_>) =
            left.into_iter().chain(self.line.take_all()).partition(|job| job.ticket.is_some());
        for job in loans {
            self.report.spooled += u64::from(job.batch.records);
            self.give_back(job, 0);
        }
        fresh.sort_unstable_by_key(|job| job.order);
        let mut dropped = 0;
        for job in fresh {
            if self.is_spooled_until(&job, end).await {
                self.report.spooled += u64::from(job.batch.records);
                self.release(*job);
            } else {
                dropped += u64::from(job.batch.records);
                self.dropped(*job, RecordDrop::DeliveryShutdown);
            }
        }
        if dropped > 0 {
            tracing::warn!(
                records = dropped,
                "the deadline of the shutdown came before the backend took everything: the rest was dropped"
            );
        }
        self.report.in_time &= dropped == 0;
    }

    /// Offers a job until it is taken, or nothing more is, or the time is over.
    async fn is_spooled_until(&self, job: &Job, end: Instant) -> bool {
        let Some(spool) = &self.spool else { return false };
        loop {
            if spool.into.offer(&job.batch, job.tries, job.repeated) {
                return true;
            }
            if !spool.into.takes() || Instant::now() >= end {
                return false;
            }
            tokio::time::sleep(END_RETRY).await;
        }
    }
}
