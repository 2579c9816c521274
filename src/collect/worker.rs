//! The worker thread: sockets -> arena -> pipeline, and back to the sockets.
//!
//! One recvmmsg on each listener in turn. A batch that was not full is followed by a short nap, since
//! a receiver that blocks is woken for each datagram; when all were empty the thread waits in ppoll
//! until its next deadline. The clock is read once a receive batch. At the end the sockets are read
//! until they stay empty, and the open batch is handed over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::notices::Notices;
use super::pipeline::Pipeline;
use super::socket::ListenerSocket;
use super::sys::{self, PollSet, ReceiveArena};
use crate::clock::Clock;
use crate::limits::{DROP_READING_MS, HEARTBEAT_MS, NAP_US, RECEIVE_BATCH};
use crate::metrics::{SocketMetrics, WorkerMetrics};

/// Fill is read at most this often, nanoseconds: at low rates each batch ends in EAGAIN.
const FILL_READING_NS: u64 = 10_000_000;
/// Between two looks at a socket that is being left, so that datagrams which the kernel was just
/// queueing are seen.
const QUIET_NAP: Duration = Duration::from_millis(1);
/// Wait after an error of a socket: it may come back at once, for ever.
const ERROR_NAP: Duration = Duration::from_millis(10);

/// What the workers are told while they run.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// Read the sockets empty and end.
    pub stop: AtomicBool,
    /// End now.
    pub abandon: AtomicBool,
}

/// One worker's socket with what was last read of it.
struct Inlet {
    /// Place of its listener.
    listener: usize,
    socket: Arc<ListenerSocket>,
    name: String,
    metrics: SocketMetrics,
    drops_seen: u32,
    /// A batch ended in EAGAIN since the last reading.
    emptied: bool,
    /// Share of the buffer in use at the last reading.
    fill: f64,
}

impl Inlet {
    /// Reads drops and, if `fill`, how full the buffer is.
    fn read_memory(&mut self, fill: bool) {
        let Ok(memory) = sys::memory_info(&*self.socket) else { return };
        // The kernel's counter is 32 bits wide and wraps: only differences count.
        self.metrics.kernel_dropped.add(u64::from(memory.drops.wrapping_sub(self.drops_seen)));
        self.drops_seen = memory.drops;
        if fill && memory.rcvbuf != 0 {
            self.fill = (f64::from(memory.rmem_alloc) / f64::from(memory.rcvbuf)).min(1.0);
        }
        self.emptied = false;
    }
}

/// One worker; lives on its own thread.
pub(super) struct Worker {
    inlets: Vec<Inlet>,
    arena: ReceiveArena,
    waiting: PollSet,
    pipeline: Pipeline,
    metrics: WorkerMetrics,
    notices: Arc<Notices>,
    clock: Clock,
    orders: Arc<Orders>,
    // Kept open for the poll set: its other end closes when the workers shall look at their orders.
    _wake: Arc<std::io::PipeReader>,
    next_reading_ns: u64,
    next_fill_ns: u64,
}

/// What a worker is built from, made on the main thread.
pub(super) struct WorkerParts {
    /// Name and place of the listener with each socket; inherited ones may be several of one listener, or none.
    pub sockets: Vec<(usize, String, Arc<ListenerSocket>)>,
    pub metrics: WorkerMetrics,
    pub notices: Arc<Notices>,
    pub clock: Clock,
    pub orders: Arc<Orders>,
    pub wake: Arc<std::io::PipeReader>,
}

impl Worker {
    pub fn new(parts: WorkerParts, pipeline: Pipeline) -> Self {
        use std::os::fd::AsFd;
        let WorkerParts { sockets, metrics, notices, clock, orders, wake } = parts;
        let waiting = PollSet::new(sockets.iter().map(|(.., s)| s.as_fd()).chain([wake.as_fd()]));
        let inlet = |(listener, name, socket): (usize, String, Arc<ListenerSocket>)| Inlet {
            listener,
            drops_seen: socket.drops_before,
            socket,
            name,
            metrics: metrics.sockets[listener].clone(),
            emptied: false,
            fill: 0.0,
        };
        let inlets = sockets.into_iter().map(inlet).collect();
        Self {
            inlets,
            arena: ReceiveArena::new(),
            waiting,
            pipeline,
            metrics,
            notices,
            clock,
            orders,
            _wake: wake,
            next_reading_ns: 0,
            next_fill_ns: 0,
        }
    }

    /// Runs until told to stop and the sockets stay empty, or told to abandon them.
    pub fn run(&mut self) {
        let mut started = self.clock.monotonic_ns();
        let mut quiet_turns = 0;
        loop {
            // Read before the sockets: what was queued before the order is then read after it.
            let stopping = self.orders.stop.load(Ordering::Acquire);
            let (received, full) = self.turn(stopping);
            let now = self.clock.monotonic_ns();
            if received != 0 {
                self.metrics.busy_ns.add(now.saturating_sub(started));
            }
            self.metrics.heartbeat_ns.set(now);
            self.pipeline.hand_over_if_old(now);
            self.read_sockets(now, received == 0);
            if stopping {
                quiet_turns = if received == 0 { quiet_turns + 1 } else { 0 };
                if quiet_turns >= 2 || self.orders.abandon.load(Ordering::Acquire) {
                    break;
                }
            }
            if full {
                started = now;
                continue;
            }
            self.rest(stopping, received != 0, now);
            started = self.clock.monotonic_ns();
        }
        self.finish();
    }

    /// Last reading of the drops, and the open batch on its way.
    pub fn finish(&mut self) {
        for inlet in &mut self.inlets {
            inlet.read_memory(true);
        }
        self.show_fill();
        self.pipeline.hand_over();
    }

    /// One receive batch of each socket: how many datagrams, and whether one may have more. Who is stopping leaves
    /// to the next process what waits in sockets that outlive this one.
    fn turn(&mut self, stopping: bool) -> (usize, bool) {
        let (mut received, mut full) = (0, false);
        for index in 0..self.inlets.len() {
            let inlet = &mut self.inlets[index];
            if stopping && inlet.socket.is_kept() {
                continue;
            }
            let count = match self.arena.receive(&*inlet.socket) {
                Ok(count) => count,
                Err(error) => {
                    self.notices.socket_error(self.clock.monotonic_ns(), &inlet.name, &error);
                    std::thread::sleep(ERROR_NAP);
                    0
                }
            };
            if count == 0 {
                continue;
            }
            inlet.emptied = count < RECEIVE_BATCH;
            // Before anything that explains them: readers read in the other direction.
            inlet.metrics.received.add(count as u64);
            inlet.metrics.octets.add(self.arena.received_octets());
            let listener = inlet.listener;
            self.take(listener, count);
            received += count;
            full |= count == RECEIVE_BATCH;
        }
        (received, full)
    }

    fn take(&mut self, listener: usize, count: usize) {
        self.pipeline.begin(self.clock.monotonic_ns());
        // Only where the kernel gave no time, and then once.
        let mut fallback_ns = None;
        for index in 0..count {
            match self.arena.datagram(index) {
                Some(raw) => {
                    let now = || *fallback_ns.get_or_insert_with(|| self.clock.unix_ns());
                    let receive_ns = raw.receive_ns.unwrap_or_else(now);
                    self.pipeline.take(listener, &raw, receive_ns);
                }
                None => self.pipeline.reject_without_peer(),
            }
        }
        self.pipeline.end();
    }

    /// Drops at least each DROP_READING_MS and on idle turns; fill after a batch that emptied the
    /// socket, since the kernel returns the charge of read datagrams late. A socket that was not empty
    /// for that long is truly filled, and must not show the figure of quieter times.
    fn read_sockets(&mut self, now: u64, idle: bool) {
        let (due, fill_due) = (idle || now >= self.next_reading_ns, now >= self.next_fill_ns);
        if !due && !fill_due {
            return;
        }
        for inlet in &mut self.inlets {
            if due || inlet.emptied {
                inlet.read_memory(true);
            }
        }
        self.show_fill();
        if due {
            self.next_reading_ns = now + DROP_READING_MS * 1_000_000;
        }
        self.next_fill_ns = now + FILL_READING_NS;
    }

    /// The fullest socket of a listener is its fill.
    fn show_fill(&self) {
        for inlet in &self.inlets {
            let same = self.inlets.iter().filter(|other| other.listener == inlet.listener);
            inlet.metrics.fill.set(same.map(|other| other.fill).fold(0.0, f64::max));
        }
    }

    fn rest(&mut self, stopping: bool, received: bool, now: u64) {
        if stopping {
            std::thread::sleep(QUIET_NAP);
            return;
        }
        if received {
            std::thread::sleep(Duration::from_micros(NAP_US));
            return;
        }
        let heartbeat = Duration::from_millis(HEARTBEAT_MS);
        let left = self.pipeline.time_left(now).map_or(heartbeat, |ns| heartbeat.min(Duration::from_nanos(ns)));
        if let Err(error) = self.waiting.wait(left) {
            self.notices.socket_error(now, "all", &error);
            std::thread::sleep(ERROR_NAP);
        }
    }
}
