//! The spool's thread, and the two ends that others hold.
//!
//! Enters: entries by [`Inlet::offer`], bounded in octets, and answers to tickets. Leaves: entries, oldest
//! first, into a hand-over that holds `leases` of them at most; the waker is called for each. Promised:
//! what was taken is appended, or dropped by name, or in hand while the disk is sick; neither end ever
//! waits for the disk. The thread turns at least each 200 ms, unless the disk lets it hang.

mod work;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::entry::Entry;
use super::stats::Stats;
use super::{SpoolError, SpoolSettings};
use crate::clock::Clock;
use work::Work;

/// Called, from the spool's thread, whenever an entry is ready: wakes whoever calls [`Outlet::next`].
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// Stands for an entry that was handed out; answered once, by value. One that is lost keeps its entry in
/// the spool, and its place among the leases, until the process ends.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an entry that is not answered for is never given out again"]
pub struct Ticket {
    number: u64,
    /// Records of its entry.
    records: u64,
}

#[cfg(test)]
impl Ticket {
    /// One that no spool knows.
    pub(crate) const fn of(number: u64) -> Self {
        Self { number, records: 0 }
    }
}

/// An entry to deliver.
#[derive(Debug)]
pub struct Spooled {
    /// To answer with.
    pub ticket: Ticket,
    /// The entry.
    pub entry: Entry,
    /// It was handed out before and may have been accepted under its own id: so its parts would have others.
    pub doubtful: bool,
}

/// What the spool held when it was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpoolReport {
    /// Records that stay on disk.
    pub kept: u64,
    /// Records that the disk did not take until then.
    pub dropped: u64,
    /// Everything kept is committed, and so is what was closed.
    pub clean: bool,
}

#[derive(Debug)]
enum Message {
    Offer(Box<Entry>),
    Closed { ticket: u64, records: u64 },
    GivenBack { ticket: u64, pause: Duration, maybe_written: bool },
    Halves { ticket: u64, halves: Box<[Entry; 2]> },
    Finish(Sender<SpoolReport>),
}

/// Octets on the way in.
#[derive(Debug)]
struct Way {
    used: AtomicU64,
    limit: u64,
    /// Written once, at the end: what is offered before is in the channel before the end.
    open: RwLock<bool>,
}

/// The way in; cheap to clone.
#[derive(Debug, Clone)]
pub struct Inlet {
    messages: Sender<Message>,
    way: Arc<Way>,
    stats: Stats,
}

impl Inlet {
    /// Takes the entry, or gives it back: no room on the way in, the spool is full or sick, or it has ended.
    ///
    /// # Errors
    /// The entry itself.
    #[expect(clippy::result_large_err, reason = "what comes back is the entry itself, moved")]
    pub fn offer(&self, entry: Entry) -> Result<(), Entry> {
        let open = self.way.open.read().unwrap_or_else(PoisonError::into_inner);
        let octets = entry.octets();
        let room = |used: u64| used.checked_add(octets).filter(|sum| *sum <= self.way.limit || used == 0);
        let fits = || self.way.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).is_ok();
        if !*open || !self.stats.takes() || !fits() {
            return Err(entry);
        }
        let records = u64::from(entry.records);
        // Before it can meet its fate: the books may show it twice, never nowhere.
        self.stats.pending_records.add(records);
        self.stats.pending_octets.add(octets);
        self.messages.send(Message::Offer(Box::new(entry))).map_err(|closed| {
            self.stats.pending_records.sub(records);
            self.stats.pending_octets.sub(octets);
            self.way.used.fetch_sub(octets, Ordering::AcqRel);
            match closed.0 {
                Message::Offer(entry) => *entry,
                _ => unreachable!("what comes back is what was sent"),
            }
        })
    }
}

/// The way out; for one who asks.
#[derive(Debug)]
pub struct Outlet {
    ready: Receiver<Spooled>,
    messages: Sender<Message>,
    stats: Stats,
}

impl Outlet {
    /// The next entry, if one is ready. Never blocks.
    #[must_use]
    pub fn next(&self) -> Option<Spooled> {
        self.ready.try_recv().ok()
    }

    /// The backend has it, or it met another fate that the caller has counted: it leaves the spool.
    ///
    /// From here on its records count as gone, however long the disk takes.
    pub fn close(&self, ticket: Ticket) {
        let Ticket { number, records } = ticket;
        self.stats.closing.add(records);
        self.tell(Message::Closed { ticket: number, records });
    }

    /// It could not be delivered now: it comes again after `pause`, with one attempt more, before what is younger.
    /// `maybe_written` says that its records may have been written.
    pub fn give_back(&self, ticket: Ticket, pause: Duration, maybe_written: bool) {
        self.tell(Message::GivenBack { ticket: ticket.number, pause, maybe_written });
    }

    /// Puts its halves (parts 2p + 1 and 2p + 2 of the same id, all its records) in its place; they come like any
    /// other entry. If the disk does not take them, the whole comes again.
    pub fn replace(&self, ticket: Ticket, halves: [Entry; 2]) {
        self.tell(Message::Halves { ticket: ticket.number, halves: Box::new(halves) });
    }

    /// After the end nobody listens: then the entry stays on disk.
    fn tell(&self, message: Message) {
        let _ = self.messages.send(message);
    }
}

/// The thread.
#[derive(Debug)]
pub struct Thread {
    handle: JoinHandle<()>,
    messages: Sender<Message>,
    way: Arc<Way>,
}

impl Thread {
    /// Ends it: takes what is on the way in, commits, writes the ledger. None if it took longer than `deadline`.
    ///
    /// What is on loan and not yet answered stays on disk, marked as repeated. Blocks the calling thread.
    #[must_use]
    pub fn finish(self, deadline: Duration) -> Option<SpoolReport> {
        *self.way.open.write().unwrap_or_else(PoisonError::into_inner) = false;
        let (report_to, report) = bounded(1);
        self.messages.send(Message::Finish(report_to)).ok()?;
        let report = report.recv_timeout(deadline).ok();
        if report.is_some() {
            // It has nothing left to do but to end; an error would be its panic, which is logged where it happens.
            let _ = self.handle.join();
        }
        report
    }

    /// True if it ended without being told to, which only a defect of ours can cause.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.handle.is_finished()
    }
}

/// Starts the spool. The directory is opened by the thread; how that goes is a state.
///
/// # Errors
/// No thread.
pub fn start(
    settings: SpoolSettings,
    clock: Clock,
    stats: Stats,
    waker: Waker,
) -> Result<(Inlet, Outlet, Thread), SpoolError> {
    let (messages, received) = unbounded();
    let (ready_to, ready) = bounded(settings.leases.max(1));
    let way = Arc::new(Way { used: AtomicU64::new(0), limit: settings.inlet_octets, open: RwLock::new(true) });
    let work = Work::new(settings, clock, stats.clone(), Arc::clone(&way), ready_to, waker);
    let handle = std::thread::Builder::new()
        .name("spool".to_owned())
        .spawn(move || work.run(&received))
        .map_err(SpoolError::Thread)?;
    let outlet = Outlet { ready, messages: messages.clone(), stats: stats.clone() };
    let inlet = Inlet { messages: messages.clone(), way: Arc::clone(&way), stats };

    Ok((inlet, outlet, Thread { handle, messages, way }))
}

#[cfg(test)]
mod tests;
