//! One worker's way from a datagram to its open FlowBatch: admit, decode, count, hand over.
//!
//! No socket in here, so that tests can feed it octets. A turn is one receive batch: `begin`, `take`
//! for each datagram, `end`. Counters are kept in locals and published at the end of a turn, or just
//! before a batch leaves, so that the books never show a record downstream that was not decoded yet.
//! A panic costs the datagram and its domain, never the worker.

use std::any::Any;
use std::cell::Cell;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::HandOver;
use super::admit::Refusal;
use super::cache::Cache;
use super::counts::Counts;
use super::exporters::ExporterTable;
use super::notices::Notices;
use super::policy::Policy;
use super::rejected::{Reason, Rejected, Sampler};
use super::sys::RawDatagram;
use crate::decode::{self, Datagram, DecodeError, DecodeErrorKind, Domain, Header, Outcome};
use crate::flow::FlowBatch;
use crate::limits::{BATCH_EXPORTERS_MAX, FLOW_BATCH_ARENA_OCTETS};
use crate::metrics::WorkerMetrics;

thread_local! {
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// True while this thread decodes a datagram: a panic now is caught, counted and logged once a minute,
/// so a panic hook may stay silent.
#[must_use]
pub fn decoding_now() -> bool {
    DECODING.get()
}

/// What a pipeline is built from.
pub(super) struct PipelineParts {
    pub table: Arc<ExporterTable>,
    pub notices: Arc<Notices>,
    pub metrics: WorkerMetrics,
    pub sender: Box<dyn HandOver>,
    /// Name of each listener.
    pub listeners: Vec<String>,
    /// Where datagrams that make no sense are kept, if they are.
    pub rejected: Option<Arc<Rejected>>,
    /// Oldest that the open batch gets, nanoseconds.
    pub batch_age_ns: u64,
    /// Messages of the reorder window.
    pub window: usize,
}

/// The open batch and what was counted on the way to it.
pub(super) struct Pipeline {
    parts: PipelineParts,
    cache: Cache,
    // What the table follows, looked at once a turn.
    policy: Arc<Policy>,
    counts: Counts,
    sampler: Sampler,
    batch: Box<FlowBatch>,
    batch_records: usize,
    // Monotonic time of the turn, and of the first record in the open batch.
    now_ns: u64,
    opened_ns: u64,
    // Run of the datagram under way, for a panic.
    current: Option<usize>,
    // A test puts one that fails here.
    decoder: Decoder,
}

type Decoder = fn(&Datagram<'_>, &Header, &Domain, &mut FlowBatch) -> Outcome;

enum Step {
    Decoded { run: usize, header: Header, outcome: Outcome },
    Rejected(DecodeError),
    Refused(Refusal),
}

impl Pipeline {
    pub fn new(parts: PipelineParts) -> Self {
        let batch = parts.sender.first_batch();
        let batch_records = parts.sender.batch_records().max(1);
        let sampler = Sampler::new(parts.rejected.clone());
        Self {
            policy: parts.table.policy(),
            parts,
            cache: Cache::default(),
            counts: Counts::default(),
            sampler,
            batch,
            batch_records,
            now_ns: 0,
            opened_ns: 0,
            current: None,
            decoder: decode::decode,
        }
    }

    /// Begins a turn at `now_ns` (monotonic).
    pub fn begin(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        if self.parts.table.has_left(&self.policy) {
            // What the cache holds is still right, or was retired.
            self.policy = self.parts.table.policy();
        }
        self.cache.begin();
    }

    /// Takes one datagram; `receive_ns` is its receive time, Unix nanoseconds.
    pub fn take(&mut self, listener: usize, raw: &RawDatagram<'_>, receive_ns: u64) {
        let datagram = Datagram { peer: raw.peer, receive_ns, octets: raw.octets };
        if raw.truncated {
            // Slots hold the largest datagram: this says that something is wrong with them.
            let octets = u32::try_from(raw.octets.len()).unwrap_or(u32::MAX);
            let error = DecodeError { kind: DecodeErrorKind::Truncated, offset: octets, set_id: 0 };
            return self.reject(listener, &datagram, error);
        }
        if self.batch.len() >= self.batch_records
            || self.batch.exporters.len() >= BATCH_EXPORTERS_MAX
            || self.batch.arena_octets() >= FLOW_BATCH_ARENA_OCTETS
        {
            self.hand_over();
        }
        let (mark, before) = (self.batch.mark(), self.batch.len());
        self.current = None;
        DECODING.set(true);
        let step = catch_unwind(AssertUnwindSafe(|| self.decode(listener, &datagram)));
        DECODING.set(false);
        match step {
            Ok(Step::Decoded { run, header, outcome }) => match outcome.rejected {
                None => {
                    self.accept(run, &header, &outcome, &datagram, before);
                    self.keep_if_partly_used(listener, &header, &outcome, &datagram);
                }
                Some(error) => {
                    self.batch.truncate(mark);
                    self.reject(listener, &datagram, error);
                    self.count_in_run(run, &datagram).rejected += 1;
                }
            },
            Ok(Step::Rejected(error)) => self.reject(listener, &datagram, error),
            Ok(Step::Refused(refusal)) => self.counts.refuse(raw.peer, refusal),
            Err(panic) => {
                self.batch.truncate(mark);
                self.recover(listener, &datagram, panic.as_ref());
            }
        }
    }

    fn decode(&mut self, listener: usize, datagram: &Datagram<'_>) -> Step {
        if !self.policy.admission.admits(datagram.peer.ip()) {
            return Step::Refused(Refusal::Denied);
        }
        let header = match decode::identify(datagram.octets) {
            Ok(header) => header,
            Err(error) => return Step::Rejected(error),
        };
        let (peer, octets) = (datagram.peer, datagram.octets);
        let run = match self.cache.run(&self.parts.table, listener, peer, &header, octets, datagram.receive_ns) {
            Ok(run) => run,
            Err(refusal) => return Step::Refused(refusal),
        };
        self.current = Some(run);
        if !self.cache.found(run).exporter.bucket.admits(octets.len(), self.now_ns) {
            return self.refuse_in_run(run, &header, datagram);
        }
        let found = self.cache.found(run);
        if !found.exporter.announced.load(Ordering::Relaxed) {
            let name = self.parts.listeners.get(listener).map_or("", String::as_str);
            self.parts.notices.exporter(self.now_ns, &found.exporter, name, header.version);
        }
        let outcome = (self.decoder)(datagram, &header, &found.domain, &mut self.batch);
        Step::Decoded { run, header, outcome }
    }

    /// An exporter sends too fast: its datagram is not decoded, but what it counts is told to the sequence accounting, so
    /// that a refusal never looks like a loss on the way.
    #[cold]
    fn refuse_in_run(&mut self, run: usize, header: &Header, datagram: &Datagram<'_>) -> Step {
        let run = self.cache.run_mut(run);
        run.counts.refused += 1;
        run.counts.last_seen_ns = run.counts.last_seen_ns.max(datagram.receive_ns);
        run.notes.extend(header.sequence_note(datagram));
        Step::Refused(Refusal::RateLimited)
    }

    fn accept(&mut self, run: usize, header: &Header, outcome: &Outcome, datagram: &Datagram<'_>, before: usize) {
        // The batch is the truth, not what the outcome says of it: so the books balance in any case.
        let records = (self.batch.len() - before) as u64;
        debug_assert_eq!(records, u64::from(outcome.records), "the outcome counts what was appended");
        if records != 0 {
            if before == 0 {
                self.opened_ns = self.now_ns;
            }
            self.batch.note_receive(datagram.receive_ns);
        }
        self.counts.process(header.version, outcome, records);
        if outcome.withdrawals_ignored != 0 {
            self.parts.notices.withdrawal(self.now_ns, &self.cache.found(run).exporter, header.version);
        }
        let counts = self.count_in_run(run, datagram);
        counts.records += records;
        counts.sets_used += u64::from(outcome.sets_decoded) + u64::from(outcome.sets_options);
        counts.sets_malformed += u64::from(outcome.sets_malformed()) + u64::from(outcome.templates_rejected);
        counts.sampling_unknown += u64::from(outcome.sampling_unknown);
        let run = self.cache.run_mut(run);
        run.learned |= outcome.templates_learned != 0;
        run.header = Some((*header, datagram.receive_ns, datagram.peer.port()));
        run.notes.extend(outcome.sequence);
    }

    fn count_in_run(&mut self, run: usize, datagram: &Datagram<'_>) -> &mut super::exporters::ExporterCounts {
        let counts = &mut self.cache.run_mut(run).counts;
        counts.datagrams += 1;
        counts.octets += datagram.octets.len() as u64;
        counts.last_seen_ns = counts.last_seen_ns.max(datagram.receive_ns);
        counts
    }

    /// Counts a datagram of which nothing is used, and keeps it to be looked at.
    #[cold]
    fn reject(&mut self, listener: usize, datagram: &Datagram<'_>, error: DecodeError) {
        self.counts.reject(datagram.peer, error);
        self.keep(listener, datagram, || Reason::Rejected(error));
    }

    #[inline]
    fn keep_if_partly_used(&mut self, listener: usize, header: &Header, outcome: &Outcome, datagram: &Datagram<'_>) {
        if (outcome.first_malformed.is_some() || outcome.templates_rejected != 0) && self.sampler.is_on() {
            self.keep(listener, datagram, || Reason::of_outcome(header.version, outcome, datagram.octets));
        }
    }

    #[cold]
    fn keep(&mut self, listener: usize, datagram: &Datagram<'_>, reason: impl FnOnce() -> Reason) {
        let table = &self.parts.table;
        let known = || table.of_address(datagram.peer.ip()).iter().any(|exporter| exporter.is_known());
        self.sampler.keep(self.now_ns, listener, datagram, reason, known);
    }

    #[cold]
    fn recover(&mut self, listener: usize, datagram: &Datagram<'_>, panic: &(dyn Any + Send)) {
        self.reject(listener, datagram, DecodeError { kind: DecodeErrorKind::Panic, offset: 0, set_id: 0 });
        if let Some(run) = self.current {
            self.count_in_run(run, datagram).rejected += 1;
            let found = self.cache.found(run);
            self.parts.table.retire(&found.exporter, &found.domain);
            // The sender's next datagram in this turn must not meet the same domain.
            self.cache.distrust(run);
        }
        self.parts.notices.panicked(self.now_ns, datagram.peer, panic_message(panic), datagram.octets);
    }

    /// A datagram without a sender that could be read: UDP has none such, but the books must balance.
    pub fn reject_without_peer(&mut self) {
        let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
        self.counts.reject(nobody, DecodeError { kind: DecodeErrorKind::Truncated, offset: 0, set_id: 0 });
    }

    /// Ends a turn: exporters' counters, sequence accounting, the books; hands over what is full.
    pub fn end(&mut self) {
        let PipelineParts { table, notices, window, .. } = &self.parts;
        for (found, run) in self.cache.runs() {
            table.count(&found.exporter, &run.counts);
            found.domain.last_seen_ns.fetch_max(run.counts.last_seen_ns, Ordering::AcqRel);
            if let Some((header, receive_ns, port)) = run.header.take() {
                found.domain.observe(&header, receive_ns, port);
            }
            let version = found.domain.key.version;
            if run.learned && !found.exporter.template_announced.load(Ordering::Relaxed) {
                notices.template(self.now_ns, &found.exporter, version);
            }
            if run.notes.is_empty() {
                continue;
            }
            // Still code over what the network sent: a panic here costs the domain, too.
            DECODING.set(true);
            let delta = catch_unwind(AssertUnwindSafe(|| found.domain.apply_sequence(&mut run.notes, *window)));
            DECODING.set(false);
            match delta {
                Ok(delta) => self.counts.sequence(version, &delta),
                Err(panic) => {
                    table.retire(&found.exporter, &found.domain);
                    let nobody = SocketAddr::from((found.exporter.address(), 0));
                    notices.panicked(self.now_ns, nobody, panic_message(panic.as_ref()), &[]);
                }
            }
        }
        self.publish();
        metrics_held(&self.parts.metrics, &self.batch);
        // A domain that the table forgot during this turn may have parked a set after it was emptied.
        // After the books: the set must have been seen before it is dropped.
        for (found, _) in self.cache.runs() {
            if found.domain.retired.load(Ordering::Acquire) {
                self.parts.table.empty(&found.domain);
            }
        }
        if self.batch.len() >= self.batch_records {
            self.hand_over();
        }
    }

    /// Adds the counts to the books, with a log line where one is due.
    fn publish(&mut self) {
        let notices = &self.parts.notices;
        for (kind, last) in DecodeErrorKind::ALL.into_iter().zip(self.counts.last_rejected) {
            // A panic has a line of its own.
            if last.is_some() && kind != DecodeErrorKind::Panic {
                notices.rejected(self.now_ns, self.counts.rejections(kind), last);
            }
        }
        for refusal in Refusal::ALL {
            if self.counts.refusals(refusal) != 0 {
                notices.refused(self.now_ns, refusal, self.counts.refusals(refusal), self.counts.last_refused);
            }
        }
        self.counts.publish(&self.parts.metrics.books);
        self.sampler.publish();
    }

    /// Hands the open batch over if it is too old at `now_ns` (monotonic).
    pub fn hand_over_if_old(&mut self, now_ns: u64) {
        if !self.batch.is_empty() && now_ns.saturating_sub(self.opened_ns) >= self.parts.batch_age_ns {
            self.hand_over();
        }
    }

    /// Nanoseconds until the open batch is too old; None if it is empty.
    pub fn time_left(&self, now_ns: u64) -> Option<u64> {
        let age = now_ns.saturating_sub(self.opened_ns);
        (!self.batch.is_empty()).then(|| self.parts.batch_age_ns.saturating_sub(age))
    }

    /// Hands the open batch over. A pending record is always in some `held`: this worker's is set
    /// before the queue takes over, and taken back after.
    pub fn hand_over(&mut self) {
        self.publish();
        if self.batch.is_empty() {
            // Exporters without records may have filled it.
            self.batch.clear();
            return;
        }
        metrics_held(&self.parts.metrics, &self.batch);
        self.parts.sender.hand_over(&mut self.batch);
        metrics_held(&self.parts.metrics, &self.batch);
        self.opened_ns = self.now_ns;
    }
}

fn metrics_held(metrics: &WorkerMetrics, batch: &FlowBatch) {
    metrics.held.set(batch.len() as u64);
    metrics.oldest_receive_ns.set(if batch.is_empty() { 0 } else { batch.oldest_receive });
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests;
