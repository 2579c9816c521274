//! The control plane's own turn, once a second: saturation, liveness, silence, kernel drops, upkeep.
//!
//! In go the metrics that the threads of the data path publish, and the exporter table's upkeep; out
//! come the derived gauges, log lines that say what to check, and [`Heartbeats`] for `/livez`. The
//! data path never waits for it. What decides anything is a pure function of readings and time.

mod drops;
mod heartbeats;
mod saturation;
mod silence;

pub use heartbeats::Heartbeats;

use std::fmt;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::limits::{MONITOR_TICK_MS, UPKEEP_S};
use crate::metrics::{Metrics, Tally};
use drops::DropWatch;
use saturation::{Reading, ThreadReading, Window};
use silence::{Silence, Turn};

const NS_PER_S: u64 = 1_000_000_000;

/// What the monitor looks at and after.
pub struct MonitorInputs {
    /// The metrics of this App.
    pub metrics: Arc<Metrics>,
    /// The App's time.
    pub clock: Clock,
    /// Upkeep of the exporter table; called once a second with Unix nanoseconds.
    pub maintain: Box<dyn FnMut(u64) + Send>,
    /// UDP listeners, in the order of the metrics' shape: name and address obtained.
    pub listeners: Vec<(String, SocketAddr)>,
    /// After this time without any datagram one line says what to check; zero switches it off.
    pub silence_hint: Duration,
    /// Heartbeats of further threads (Clock::monotonic_ns), with their names. Workers and batchers
    /// are watched anyway, as `worker-0` and `batcher-0` and so on.
    pub heartbeats: Vec<(String, Tally)>,
}

impl fmt::Debug for MonitorInputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MonitorInputs").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

/// The running monitor; ends with [`Monitor::stop`] or when it is dropped.
#[derive(Debug)]
pub struct Monitor {
    heartbeats: Heartbeats,
    draining: Arc<AtomicBool>,
    dead: Arc<RwLock<Option<String>>>,
    // Dropping it is the signal to stop.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Monitor {
    /// Starts the thread `monitor`. Should the system refuse it, that is logged, and
    /// [`Monitor::any_dead`] says so from the start.
    #[must_use]
    pub fn start(inputs: MonitorInputs) -> Self {
        let own_beat = Tally::default();
        let draining = Arc::new(AtomicBool::new(false));
        let heartbeats = Heartbeats::new(&inputs, own_beat.clone(), Arc::clone(&draining));
        let dead = Arc::new(RwLock::new(None));
        let (stop, stopped) = channel::<()>();
        let mut rounds = Rounds::new(inputs, own_beat, Arc::clone(&draining));
        let report = Arc::clone(&dead);
        let thread = std::thread::Builder::new().name("monitor".into()).spawn(move || {
            let tick = Duration::from_millis(MONITOR_TICK_MS);
            let turned = catch_unwind(AssertUnwindSafe(|| {
                loop {
                    rounds.turn();
                    if stopped.recv_timeout(tick) != Err(RecvTimeoutError::Timeout) {
                        break;
                    }
                }
            }));
            if let Err(panic) = turned {
                die(&report, &format!("the thread monitor panicked: {}", text_of(&*panic)));
            }
        });
        let thread = thread.map_err(|e| die(&dead, &format!("the system refused the thread monitor: {e}"))).ok();
        Self { heartbeats, draining, dead, stop: Some(stop), thread }
    }

    /// What `/livez` asks; may be kept beyond the monitor's own end.
    #[must_use]
    pub fn heartbeats(&self) -> Heartbeats {
        self.heartbeats.clone()
    }

    /// From now on threads may end and datagrams may stop: nothing is stale or silent any more.
    pub fn begin_drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Why the monitor's thread ended before it was told to; None while it turns.
    #[must_use]
    pub fn any_dead(&self) -> Option<String> {
        self.dead.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the thread; does not wait for its next turn. Implies [`Monitor::begin_drain`].
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.begin_drain();
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread catches its own panics and has reported them.
            let _ = thread.join();
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.end();
    }
}

fn die(report: &RwLock<Option<String>>, why: &str) {
    error!(why, "the monitor ended: saturation, liveness and hints are no longer kept; the process should drain");
    *report.write().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// All that one turn does, apart from the thread, so that tests can turn it by hand.
struct Rounds {
    inputs: MonitorInputs,
    own_beat: Tally,
    draining: Arc<AtomicBool>,
    window: Window,
    silence: Silence,
    drops: DropWatch,
    upkeep_ns: u64,
}

impl Rounds {
    fn new(inputs: MonitorInputs, own_beat: Tally, draining: Arc<AtomicBool>) -> Self {
        let now = inputs.clock.monotonic_ns();
        let hint_ns = u64::try_from(inputs.silence_hint.as_nanos()).unwrap_or(u64::MAX);
        Self {
            silence: Silence::new(hint_ns, now),
            drops: DropWatch::new(inputs.listeners.len()),
            window: Window::default(),
            upkeep_ns: now,
            inputs,
            own_beat,
            draining,
        }
    }

    fn turn(&mut self) {
        let now = self.inputs.clock.monotonic_ns();
        let unix_ns = self.inputs.clock.unix_ns();
        self.own_beat.set(now);
        (self.inputs.maintain)(unix_ns);
        let metrics = &self.inputs.metrics;
        let books = &metrics.books;
        books.saturation.set(self.window.add(read_threads(metrics, now)));
        books.oldest_fresh.set(oldest_unacked(oldest_receive(metrics), unix_ns));
        books.oldest_spooled.set(oldest_unacked(books.spool.oldest_receive_ns.value(), unix_ns));
        books.refresh();
        if now.saturating_sub(self.upkeep_ns) >= UPKEEP_S * NS_PER_S {
            self.upkeep_ns = now;
            metrics.run_upkeep();
        }
        if !self.draining.load(Ordering::Acquire) {
            self.watch_silence(now);
        }
        self.watch_drops(now);
    }

    fn watch_silence(&mut self, now: u64) {
        match self.silence.turn(self.inputs.metrics.books.datagrams_received(), now) {
            Some(Turn::Silent { seconds }) => {
                let check = silence::what_to_check(&self.inputs.listeners);
                warn!(seconds, "no datagram has come: {check}");
            }
            Some(Turn::Resumed { seconds }) => info!(seconds, "datagrams come again after a silence"),
            None => {}
        }
    }

    fn watch_drops(&mut self, now: u64) {
        for (i, (name, address)) in self.inputs.listeners.iter().enumerate() {
            let sockets = || self.inputs.metrics.workers().iter().filter_map(|w| w.sockets.get(i));
            let total = sockets().map(|s| s.kernel_dropped.value()).sum();
            if let Some(dropped) = self.drops.turn(i, total, now) {
                let buffer = sockets().map(|s| s.buffer.value()).sum::<u64>();
                let saturation = self.inputs.metrics.books.saturation.value();
                let remedy = drops::remedy(saturation);
                warn!(
                    listener = name,
                    %address,
                    dropped,
                    total,
                    receive_buffer_octets = buffer,
                    saturation,
                    "the kernel dropped datagrams because a receive buffer was full: {remedy}"
                );
            }
        }
    }
}

/// Busy time and socket pressure of each worker and batcher. A batcher's time held up by delivery is
/// kept apart by the batcher itself, and so are a worker's naps and waits: neither is busy.
fn read_threads(metrics: &Metrics, at_ns: u64) -> Reading {
    let workers = metrics.workers().iter().map(|w| ThreadReading {
        busy_ns: w.busy_ns.value(),
        pressure: w.sockets.iter().map(|s| saturation::pressure(s.fill.value())).fold(0.0, f64::max),
    });
    let batchers = metrics.batchers().iter().map(|b| ThreadReading { busy_ns: b.busy_ns.value(), pressure: 0.0 });
    Reading { at_ns, threads: workers.chain(batchers).collect() }
}

/// Receive time of the oldest record that a worker, a batcher or delivery holds; 0 if there is none. What passes through
/// the queue is not seen on its way. What the spool has lent to delivery is the spool's.
fn oldest_receive(metrics: &Metrics) -> u64 {
    let workers = metrics.workers().iter().map(|w| w.oldest_receive_ns.value());
    let batchers = metrics.batchers().iter().map(|b| b.oldest_receive_ns.value());
    let sink = std::iter::once(metrics.sink().oldest_receive_ns.value());
    workers.chain(batchers).chain(sink).filter(|ns| *ns != 0).min().unwrap_or(0)
}

/// Age in seconds of what was received at `receive_ns`; 0 if there is nothing (0) or a clock was stepped.
fn oldest_unacked(receive_ns: u64, now_ns: u64) -> f64 {
    if receive_ns == 0 { 0.0 } else { Duration::from_nanos(now_ns.saturating_sub(receive_ns)).as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::time::Instant;

    use super::*;
    use crate::clock::ManualClock;
    use crate::metrics::Shape;

    fn inputs() -> (MonitorInputs, Arc<ManualClock>, Arc<AtomicU64>) {
        let (clock, hand) = Clock::manual(1_700_000_000 * NS_PER_S);
        let shape = Shape {
            listeners: vec!["2055".into(), "4739".into()],
            workers: 2,
            batchers: 1,
            sink: "backend",
            instance: "test".into(),
        };
        let maintained = Arc::new(AtomicU64::new(0));
        let inputs = MonitorInputs {
            metrics: Metrics::new(&shape),
            clock,
            maintain: Box::new({
                let maintained = Arc::clone(&maintained);
                move |unix_ns| maintained.store(unix_ns, Ordering::Release)
            }),
            listeners: vec![
                ("2055".into(), "[::]:2055".parse().unwrap()),
                ("4739".into(), "[::]:4739".parse().unwrap()),
            ],
            silence_hint: Duration::from_secs(60),
            heartbeats: vec![],
        };
        (inputs, hand, maintained)
    }

    #[test]
    fn a_turn_brings_the_derived_figures_up_to_date() {
        let (inputs, hand, maintained) = inputs();
        let metrics = Arc::clone(&inputs.metrics);
        let mut rounds = Rounds::new(inputs, Tally::default(), Arc::default());
        rounds.turn();
        assert_eq!(maintained.load(Ordering::Acquire), 1_700_000_000 * NS_PER_S);

        hand.advance(10 * NS_PER_S);
        metrics.worker(1).busy_ns.add(4 * NS_PER_S);
        metrics.batcher(0).busy_ns.add(NS_PER_S);
        metrics.batcher(0).blocked_ns.add(9 * NS_PER_S);
        metrics.sink().oldest_receive_ns.set(1_700_000_007 * NS_PER_S + NS_PER_S / 2);
        metrics.books.decoded[0].add(5);
        rounds.turn();
        let books = &metrics.books;
        assert!((books.saturation.value() - 0.4).abs() < 1e-9, "{}: blocked is not busy", books.saturation.value());
        assert!((books.oldest_unacked() - 2.5).abs() < 1e-9);
        assert_eq!(books.pending.value(), 5);

        metrics.batcher(0).oldest_receive_ns.set(1_700_000_004 * NS_PER_S);
        rounds.turn();
        assert!((books.oldest_unacked() - 6.0).abs() < 1e-9, "the oldest record may be before delivery");

        books.spool.oldest_receive_ns.set(1_699_999_910 * NS_PER_S);
        rounds.turn();
        assert!((books.oldest_fresh.value() - 6.0).abs() < 1e-9, "what is in the spool is told apart");
        assert!((books.oldest_unacked() - 100.0).abs() < 1e-9);
        books.spool.oldest_receive_ns.set(0);

        metrics.sink().oldest_receive_ns.set(0);
        metrics.batcher(0).oldest_receive_ns.set(0);
        rounds.turn();
        assert!(books.oldest_unacked().abs() < f64::EPSILON);
        assert!((books.imbalance.value() - 5.0).abs() < f64::EPSILON, "two turns without motion judge the books");
    }

    #[test]
    fn an_age_is_never_negative() {
        assert!(oldest_unacked(5 * NS_PER_S, 3 * NS_PER_S).abs() < f64::EPSILON);
    }

    #[test]
    fn the_thread_turns_and_stops_without_waiting_for_its_tick() {
        let (inputs, _hand, maintained) = inputs();
        let monitor = Monitor::start(inputs);
        let deadline = Instant::now() + Duration::from_secs(20);
        while maintained.load(Ordering::Acquire) == 0 {
            assert!(Instant::now() < deadline, "no turn");
            std::thread::yield_now();
        }
        assert_eq!(monitor.any_dead(), None);
        monitor.stop();
    }

    #[test]
    fn a_panic_in_the_upkeep_is_reported() {
        let (mut inputs, ..) = inputs();
        inputs.maintain = Box::new(|_| panic!("table broken"));
        let monitor = Monitor::start(inputs);
        let deadline = Instant::now() + Duration::from_secs(20);
        while monitor.any_dead().is_none() {
            assert!(Instant::now() < deadline, "nothing reported");
            std::thread::yield_now();
        }
        assert!(monitor.any_dead().unwrap().contains("table broken"));
        monitor.stop();
    }
}
