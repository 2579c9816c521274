//! Start and end of the receiving side: sockets, table and workers, in the order that loses nothing.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::company::Company;
use super::cores::Placement;
use super::exporters::ExporterTable;
use super::gateway::Gateways;
use super::inherit::{self, Inherited};
use super::learned::LearnedTable;
use super::notices::Notices;
use super::park::ParkDisk;
use super::pipeline::{Pipeline, PipelineParts};
use super::rejected::Rejected;
use super::socket::{CollectError, Group, LeavingSocket, ListenerSocket};
use super::worker::{Orders, Worker, WorkerParts};
use super::{CollectSettings, HandOver, steer};
use crate::clock::Clock;
use crate::limits::{LISTENERS_MAX, RECEIVE_BATCH, SEQUENCE_WINDOW_MIN, WORKERS_MAX};
use crate::metrics::{Metrics, WorkerMetrics};

/// Workers that were told to abandon their sockets get this long to hand over what they have.
const GRACE: Duration = Duration::from_secs(1);
/// Between two looks at threads that are about to end.
const JOIN_POLL: Duration = Duration::from_millis(2);

/// Bound sockets and the table; not receiving yet.
#[derive(Debug)]
pub struct Collector {
    settings: CollectSettings,
    groups: Vec<Group>,
    /// Names in the service manager's store that mean nothing any more.
    forgotten: Vec<String>,
    table: Arc<ExporterTable>,
    park: Option<ParkDisk>,
    rejected: Option<Arc<Rejected>>,
    clock: Clock,
}

impl Collector {
    /// Binds every listener and logs what was obtained.
    ///
    /// # Errors
    /// Settings that cannot hold, or a port that cannot be had; each says what to do.
    pub fn bind(settings: CollectSettings, clock: Clock, metrics: &Metrics) -> Result<Self, CollectError> {
        Self::bind_taught(settings, &mut Inherited::default(), clock, metrics, |_| {})
    }

    /// The same with the sockets that the process was started with in place of new ones, and after `teach` has put into
    /// the table what is known from before: the first datagram may need it.
    ///
    /// # Errors
    /// The same, and inherited sockets that fit no listener.
    pub fn bind_taught(
        settings: CollectSettings,
        inherited: &mut Inherited,
        clock: Clock,
        metrics: &Metrics,
        teach: impl FnOnce(&LearnedTable),
    ) -> Result<Self, CollectError> {
        check(&settings, metrics.workers().len()).map_err(CollectError::Settings)?;
        let table = ExporterTable::new(&settings, metrics.books.clone()).map_err(CollectError::Settings)?;
        let mut table = table.watching(Gateways::of_this_host());
        let park = park_disk(&settings, metrics);
        if let Some(park) = &park {
            table = table.parking_at(park.door());
        }
        let table = Arc::new(table);
        teach(&learned_table(&settings, &table));
        let mut groups = Vec::with_capacity(settings.listeners.len());
        let dealt = inherited.deal(&settings.listeners)?;
        for (index, (listener, dealt)) in settings.listeners.iter().zip(dealt).enumerate() {
            let steering = settings.steering;
            let group = dealt.into_group(listener, &settings)?;
            for (number, worker) in metrics.workers().iter().enumerate() {
                let own = group.sockets.iter().skip(number).step_by(settings.workers);
                worker.sockets[index].buffer.set(own.map(|socket| socket.granted).sum());
            }
            tracing::info!(
                listener = %group.name,
                address = %group.address,
                sockets = group.sockets.len(),
                receive_buffer_per_socket = group.buffer.granted,
                receive_buffer_asked = group.buffer.asked,
                forced = group.buffer.forced,
                steering = steer::name(steering),
                "listening"
            );
            for warning in &group.warnings {
                tracing::warn!("{warning}");
            }
            groups.push(group);
        }
        let forgotten = inherited.forgotten();
        let addresses = groups.iter().map(|g| (g.name.clone(), g.address)).collect();
        let limit = settings.rejected_octets_max;
        let rejected = (limit > 0).then(|| Arc::new(Rejected::new(limit, addresses, metrics.books.ring.clone())));
        Ok(Self { settings, groups, forgotten, table, park, rejected, clock })
    }

    /// Name and address of each listener; a port 0 has become the one obtained.
    #[must_use]
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.groups.iter().map(|g| (g.name.clone(), g.address)).collect()
    }

    /// Names in the service manager's store that no listener wants any more.
    #[must_use]
    pub fn forgotten(&self) -> &[String] {
        &self.forgotten
    }

    /// Has the sockets kept beyond this process: `store` is told a name and the sockets of a listener, and says
    /// whether it keeps them. Leaving then means to read them no longer.
    pub fn keep(&self, store: impl FnMut(&str, &[BorrowedFd<'_>]) -> bool) {
        inherit::keep(&self.groups, store);
    }

    /// Sockets of all listeners.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.groups.iter().map(|g| g.sockets.len()).sum()
    }

    /// Who shares the listeners' ports, for status.
    #[must_use]
    pub fn company(&self) -> Company {
        Company(self.groups.iter().map(Group::seat).collect())
    }

    /// The table of exporters, for status and maintenance.
    #[must_use]
    pub fn table(&self) -> Arc<ExporterTable> {
        Arc::clone(&self.table)
    }

    /// The ring of datagrams that made no sense, if one is kept.
    #[must_use]
    pub fn rejected(&self) -> Option<Arc<Rejected>> {
        self.rejected.clone()
    }

    /// The table as keeping of learned state sees it.
    #[must_use]
    pub fn learned(&self) -> LearnedTable {
        learned_table(&self.settings, &self.table)
    }

    /// Starts the workers: one sender and one set of handles each.
    ///
    /// # Errors
    /// A thread could not be made; those that ran already have ended. InvalidInput if there are not as
    /// many senders and handles as workers.
    pub fn start(self, senders: Vec<Box<dyn HandOver>>, metrics: Vec<WorkerMetrics>) -> io::Result<Workers> {
        let Self { settings, groups, table, park, rejected, clock, .. } = self;
        if senders.len() != settings.workers || metrics.len() != settings.workers {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "one sender and one set of handles a worker"));
        }
        let placement = Placement::decide(settings.pin, settings.workers);
        tracing::info!(workers = settings.workers, placement = %placement.reason, "workers start");
        let (reader, waker) = io::pipe()?;
        let (reader, orders, notices) = (Arc::new(reader), Arc::new(Orders::default()), Arc::new(Notices::default()));
        let listeners: Vec<String> = groups.iter().map(|g| g.name.clone()).collect();
        let cores = placement.cores.clone();
        let (threads, waker) = (Vec::new(), Some(waker));
        let mut workers = Workers { groups, threads, orders, waker, _park: park, _placement: placement };
        for (index, (sender, metrics)) in senders.into_iter().zip(metrics).enumerate() {
            let pipeline = PipelineParts {
                table: Arc::clone(&table),
                notices: Arc::clone(&notices),
                metrics: metrics.clone(),
                sender,
                listeners: listeners.clone(),
                rejected: rejected.clone(),
                batch_age_ns: u64::try_from(settings.flow_batch_age.as_nanos()).unwrap_or(u64::MAX),
                // Messages of one sender may wait in every worker's receive batch at once.
                window: SEQUENCE_WINDOW_MIN.max(2 * settings.workers * RECEIVE_BATCH),
            };
            let parts = WorkerParts {
                sockets: workers.sockets_of(index, settings.workers),
                metrics,
                notices: Arc::clone(&notices),
                clock: clock.clone(),
                orders: Arc::clone(&workers.orders),
                wake: Arc::clone(&reader),
            };
            let core = cores.get(index).copied();
            let panicked = Arc::new(AtomicBool::new(false));
            let flag = Arc::clone(&panicked);
            let name = format!("worker-{index}");
            let body = move || run_worker(parts, pipeline, core, &flag);
            match thread::Builder::new().name(name.clone()).spawn(body) {
                Ok(handle) => workers.threads.push(WorkerThread { name, handle, panicked }),
                Err(error) => {
                    let _ended = workers.drain(Duration::ZERO);
                    return Err(error);
                }
            }
        }
        Ok(workers)
    }
}

fn learned_table(settings: &CollectSettings, table: &Arc<ExporterTable>) -> LearnedTable {
    LearnedTable::new(Arc::clone(table), settings.listeners.iter().map(|l| l.name.clone()).collect())
}

/// The disk for sets that wait for their template, if it is wanted and can be had: without it memory must do.
fn park_disk(settings: &CollectSettings, metrics: &Metrics) -> Option<ParkDisk> {
    let dir = settings.park_dir.as_deref()?;
    let age_ns = settings.decode.park_disk_age_ns;
    match ParkDisk::start(dir, settings.parked_disk_octets_max, age_ns, metrics.books.clone()) {
        Ok(park) => Some(park),
        Err(error) => {
            tracing::warn!(
                dir = %dir.display(),
                %error,
                "[decode] park = disk: the directory cannot be used, so sets wait for their template in memory alone; make it \
                 writable, or set park = memory"
            );
            None
        }
    }
}

/// The top of a worker's thread: a panic that comes this far is reported, and its batch still leaves.
fn run_worker(parts: WorkerParts, pipeline: PipelineParts, core: Option<core_affinity::CoreId>, panicked: &AtomicBool) {
    if let Some(core) = core
        && !core_affinity::set_for_current(core)
    {
        tracing::warn!(core = core.id, "the worker could not be pinned; the scheduler places it");
    }
    let started = catch_unwind(AssertUnwindSafe(|| Worker::new(parts, Pipeline::new(pipeline))));
    let mut worker = match started {
        Ok(worker) => worker,
        Err(_) => return panicked.store(true, Ordering::Release),
    };
    if catch_unwind(AssertUnwindSafe(|| worker.run())).is_err() {
        panicked.store(true, Ordering::Release);
        tracing::error!(thread = thread::current().name(), "a worker failed; the process should drain and end");
        // What it had decoded is not lost with it.
        let _ = catch_unwind(AssertUnwindSafe(|| worker.finish()));
    }
}

fn check(settings: &CollectSettings, registered: usize) -> Result<(), String> {
    let (listeners, workers) = (settings.listeners.len(), settings.workers);
    if listeners == 0 || listeners > LISTENERS_MAX {
        return Err(format!("receive: {listeners} listeners; configure 1 to {LISTENERS_MAX} [[listener]] entries"));
    }
    if workers == 0 || workers as u64 > WORKERS_MAX {
        return Err(format!("receive: workers = {workers} is out of range; use 1 to {WORKERS_MAX}"));
    }
    if workers != registered {
        return Err(format!("receive: {workers} workers, but metrics for {registered}"));
    }
    steer::validate(settings)
}

#[derive(Debug)]
struct WorkerThread {
    name: String,
    handle: JoinHandle<()>,
    panicked: Arc<AtomicBool>,
}

/// The running workers.
#[derive(Debug)]
pub struct Workers {
    groups: Vec<Group>,
    threads: Vec<WorkerThread>,
    orders: Arc<Orders>,
    waker: Option<io::PipeWriter>,
    // Ends after the workers, and counts what it drops.
    _park: Option<ParkDisk>,
    // Keeps the locks of the cores.
    _placement: Placement,
}

/// How the workers ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DrainReport {
    /// Each listener, and how its sockets left.
    pub left: Vec<(String, LeavingSocket)>,
    /// Threads that had not read their sockets empty at the deadline.
    pub abandoned: Vec<String>,
    /// Threads that did not end.
    pub unfinished: Vec<String>,
    /// Threads that panicked.
    pub panicked: Vec<String>,
}

impl DrainReport {
    /// True if every socket was read empty and every thread ended well.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.abandoned.is_empty() && self.unfinished.is_empty() && self.panicked.is_empty()
    }
}

impl Workers {
    /// Name of a worker that has ended although nobody told it to.
    #[must_use]
    pub fn any_dead(&self) -> Option<String> {
        let dead = |t: &&WorkerThread| t.panicked.load(Ordering::Acquire) || t.handle.is_finished();
        self.threads.iter().find(dead).map(|t| t.name.clone())
    }

    /// Leaves the groups, reads the sockets empty, hands over what is open, and ends the threads.
    /// Takes `deadline` and at most a second more. The senders are gone afterwards, but for threads
    /// that did not end.
    #[must_use]
    pub fn drain(mut self, deadline: Duration) -> DrainReport {
        let end = Instant::now() + deadline;
        let mut report = DrainReport::default();
        for group in &self.groups {
            let how = group.leave();
            tracing::info!(listener = %group.name, ?how, "listener closes");
            report.left.push((group.name.clone(), how));
        }
        self.orders.stop.store(true, Ordering::Release);
        // The other end becomes readable: who waits in ppoll looks at the orders.
        drop(self.waker.take());
        self.wait_until(end);
        report.abandoned = self.running();
        if !report.abandoned.is_empty() {
            self.orders.abandon.store(true, Ordering::Release);
            self.wait_until(Instant::now() + GRACE);
        }
        report.unfinished = self.running();
        for thread in std::mem::take(&mut self.threads) {
            if thread.handle.is_finished() && (thread.handle.join().is_err() || thread.panicked.load(Ordering::Acquire))
            {
                report.panicked.push(thread.name);
            }
        }
        report
    }

    /// Sockets of worker `index` of `workers`, with name and place of their listener.
    fn sockets_of(&self, index: usize, workers: usize) -> Vec<(usize, String, Arc<ListenerSocket>)> {
        let own = |(place, group): (usize, &Group)| {
            let dealt = group.sockets.iter().skip(index).step_by(workers);
            dealt.map(|s| (place, group.name.clone(), Arc::clone(s))).collect::<Vec<_>>()
        };
        self.groups.iter().enumerate().flat_map(own).collect()
    }

    fn running(&self) -> Vec<String> {
        self.threads.iter().filter(|t| !t.handle.is_finished()).map(|t| t.name.clone()).collect()
    }

    fn wait_until(&self, end: Instant) {
        while !self.running().is_empty() && Instant::now() < end {
            thread::sleep(JOIN_POLL);
        }
    }
}

impl Drop for Workers {
    /// Not drained: the threads end by themselves, since nobody can tell them any more.
    fn drop(&mut self) {
        self.orders.stop.store(true, Ordering::Release);
    }
}
