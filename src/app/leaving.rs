//! How a process comes and goes besides the drain itself: what it was started with, threads that hang, the last resort.
//!
//! In go the heartbeats and the books; out come the reason why the process cannot go on, records written off that a
//! hung thread took with it, and an end by the deadline even where the drain itself hangs.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::collect::{self, Collector, HandOver, Inherited};
use crate::limits::{DRAIN_OVERRUN_MS, HEARTBEAT_STALE_S, HUNG_LOOKS};
use crate::metrics::{Level, Metrics, RecordDrop};
use crate::monitor::Heartbeats;
use crate::notify::{Attendance, Notifier};
use crate::queue::Outlet;

/// What a test puts between two stages.
type Between<T> = fn(T) -> T;

/// What the process was started with, and who is told of its course. The default is a process on its own.
#[derive(Default)]
pub(crate) struct Entry {
    pub(crate) inherited: Inherited,
    pub(crate) notifier: Notifier,
    /// Stands between batchers and delivery: how a test makes a batcher hang.
    pub(crate) before_outlet: Option<Between<Arc<dyn Outlet>>>,
    /// The same between workers and queue.
    pub(crate) before_queue: Option<Between<Box<dyn HandOver>>>,
}

impl Entry {
    /// From the surroundings of this process; the first thing it does, before it opens any descriptor.
    ///
    /// # Errors
    /// Sockets were announced that are not there or not what they must be.
    pub(super) fn from_surroundings() -> anyhow::Result<Self> {
        let (environment, pid) = (|key: &str| std::env::var_os(key), std::process::id());
        let inherited = Inherited::take(environment, pid)?;
        let notifier = Notifier::from_environment(environment, pid, collect::send_with_descriptors);
        Ok(Self { inherited, notifier, ..Self::default() })
    }
}

/// Has the service manager keep the sockets beyond this process, if it has a store with room for all of them:
/// some in the store and some not would leave a group that is half read.
pub(super) fn keep_sockets(collector: &Collector, notifier: &Notifier) {
    for name in collector.forgotten() {
        notifier.forget(name);
    }
    let (room, sockets) = (notifier.store_room(), collector.sockets());
    if room == 0 {
        return;
    }
    if room < sockets {
        tracing::warn!(
            sockets,
            room,
            "the service manager's store has no room for the sockets, so a restart does not keep what waits in them; set \
             FileDescriptorStoreMax={sockets} in the unit, or 0 to do without"
        );
        return;
    }
    collector.keep(|name, sockets| notifier.store(name, sockets));
}

/// Signs of life and a status line for the service manager.
pub(super) fn attend(notifier: &Notifier, heartbeats: Heartbeats, metrics: &Arc<Metrics>) -> io::Result<Attendance> {
    let books = metrics.books.clone();
    let status = move || {
        let ledger = books.ledger();
        format!(
            "received {} datagrams, delivered {} records, dropped {}, pending {}, spooled {}; kernel dropped {} datagrams",
            ledger.datagrams_received,
            ledger.delivered,
            ledger.dropped,
            ledger.pending(),
            ledger.spooled,
            ledger.kernel_dropped
        )
    };
    Attendance::start(notifier.clone(), move || heartbeats.stale(), status)
}

/// Looks at heartbeats and says when a thread hangs.
#[derive(Debug)]
pub(super) struct HangWatch {
    heartbeats: Heartbeats,
    gauge: Level,
    suspects: Suspects,
}

impl HangWatch {
    pub(super) fn new(heartbeats: Heartbeats, metrics: &Metrics) -> Self {
        Self { heartbeats, gauge: metrics.books.threads_stale.clone(), suspects: Suspects::default() }
    }

    /// One look, four a second: the name of a thread that has stood still for too long.
    pub(super) fn look(&mut self) -> Option<String> {
        let stale = self.heartbeats.stale();
        #[expect(clippy::cast_precision_loss, reason = "a number of threads")]
        self.gauge.set(stale.len() as f64);
        let name = self.suspects.look(stale)?;
        Some(format!("{name} hangs: it has stood still for more than {HEARTBEAT_STALE_S} s"))
    }
}

/// Threads that stood still at the last looks, and at how many in a row.
#[derive(Debug, Default)]
struct Suspects(Vec<(String, u32)>);

impl Suspects {
    fn look(&mut self, stale: Vec<String>) -> Option<String> {
        let before = std::mem::take(&mut self.0);
        let looks = |name: &str| before.iter().find(|(n, _)| n == name).map_or(0, |(_, looks)| *looks);
        self.0 = stale.into_iter().map(|name| (looks(&name) + 1, name)).map(|(looks, name)| (name, looks)).collect();
        self.0.iter().find(|(_, looks)| *looks >= HUNG_LOOKS).map(|(name, _)| name.clone())
    }
}

/// Writes off what threads that never ended hold, and what waits in the queue if no batcher is left to take it: what
/// cannot leave any more is a loss with a name, not something in memory. Says in `notes` how much it was.
pub(super) fn write_off(metrics: &Metrics, workers: &[String], batchers: &[usize], notes: &mut Vec<String>) {
    let held = &metrics.books.held;
    let mut lose = |name: &str, records: u64| {
        if records > 0 {
            metrics.books.drop_records(RecordDrop::ThreadHung, records);
            notes.push(format!("{records} records are lost with {name}"));
        }
    };
    for name in workers {
        let place = name.strip_prefix("worker-").and_then(|place| place.parse::<usize>().ok());
        if let Some(tally) = place.and_then(|place| held.workers.get(place)) {
            let records = tally.value();
            tally.set(0);
            lose(name, records);
        }
    }
    for place in batchers {
        if let Some(tally) = held.batchers.get(*place) {
            let records = tally.value();
            tally.set(0);
            lose(&format!("batcher-{place}"), records);
        }
    }
    if !batchers.is_empty() {
        let waiting = held.queue.level();
        held.queue.sub(waiting);
        lose("the queue", waiting);
    }
}

/// Ends the process if it has not ended by itself in time: a thread that hangs may hold a lock that the drain needs.
#[derive(Debug)]
pub(super) struct LastResort {
    // Dropping it is the word that the drain came to its end.
    _disarm: Sender<()>,
}

impl LastResort {
    /// After `timeout` and DRAIN_OVERRUN_MS, the books are logged as they stand and `end` is called, unless the
    /// guard was dropped before.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(super) fn arm(
        timeout: Duration,
        metrics: Arc<Metrics>,
        end: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let limit = timeout + Duration::from_millis(DRAIN_OVERRUN_MS);
        let (disarm, disarmed) = channel::<()>();
        std::thread::Builder::new().name("last-resort".into()).spawn(move || {
            if disarmed.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                let ledger = metrics.books.ledger();
                let (decoded, delivered, dropped) = (ledger.decoded, ledger.delivered, ledger.dropped);
                let (received, lost, kernel_dropped) =
                    (ledger.datagrams_received, ledger.pending(), ledger.kernel_dropped);
                tracing::error!(
                    received,
                    decoded,
                    delivered,
                    dropped,
                    lost,
                    kernel_dropped,
                    "the drain itself hangs: ended as it stands"
                );
                end();
            }
        })?;
        Ok(Self { _disarm: disarm })
    }
}

#[cfg(test)]
mod tests;
