//! The wiring, top to bottom: what starts in which order, what a signal does, how the process drains.
//!
//! Start: metrics -> spool -> delivery -> queue -> learned state -> sockets -> batchers -> workers -> monitor -> HTTP. Nothing
//! receives before everything behind it runs. Drain, in one place: [`Running::drain`]. Only main and
//! the tools may import this module.

mod drain;
mod leaving;
mod reload;
pub(crate) mod rows;
mod signals;
mod spool;
mod state;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once, OnceLock};

use anyhow::Context as _;

use crate::clock::Clock;
use crate::collect::{self, Collector, Company, ExporterDetail, ExporterTable, LearnedTable, Workers};
use crate::config::{Loaded, Settings, instance};
use crate::metrics::{Ledger, Metrics, Shape};
use crate::monitor::{Heartbeats, Monitor, MonitorInputs};
use crate::notify::{Attendance, Notifier};
use crate::queue::{self, Batchers, FlowSender, Outlet};
use crate::refresh::{Certificate, RefreshInputs, Refresher};
use crate::sink::stdout::StdoutOutlet;
use crate::sink::{self, Aim, Output, Sink, SpoolEnds};
use crate::spool::{DeadLetters, Stats};
use crate::web::{self, Announcement, ConfigRow, Health, Liveness, Readiness, Sources, WebServer};

pub use drain::DrainReport;
use leaving::{Entry, HangWatch, LastResort};
use reload::Outcome;
pub use signals::Signals;
use spool::RunningSpool;
use state::RunningState;

/// Share of `batch_interval` that a worker's batch may wait at most before the batcher's own begins.
const WORKER_SHARE_OF_INTERVAL: u32 = 4;

impl RunningSink {
    fn aim(&self) -> Option<Aim> {
        match self {
            Self::Backend(sink) => Some(sink.aim()),
            Self::Stdout(_) => None,
        }
    }
}

/// The collector as a whole.
#[derive(Debug)]
pub struct App;

/// Where finished batches go, as something that can be ended.
enum RunningSink {
    Backend(Sink),
    Stdout(Arc<StdoutOutlet>),
}

/// What the onlookers ask about the process's course.
#[derive(Debug, Default)]
struct Course {
    ready: AtomicBool,
    draining: AtomicBool,
    /// Why the process cannot go on.
    fault: OnceLock<String>,
}

impl Course {
    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

/// A collector that runs.
pub struct Running {
    /// Its metrics.
    pub metrics: Arc<Metrics>,
    /// Its name.
    pub instance: String,
    settings: Settings,
    course: Arc<Course>,
    listeners: Vec<(String, SocketAddr)>,
    table: Arc<ExporterTable>,
    workers: Workers,
    batchers: Batchers,
    sink: RunningSink,
    spool: RunningSpool,
    state: RunningState,
    monitor: Monitor,
    // Reads secrets and certificates again for as long as it is held.
    _refresher: Refresher,
    web: WebServer,
    /// Stands as long as the HTTP side answers.
    announcement: Option<Announcement>,
    /// How reading the configuration again went.
    outcome: Outcome,
    clock: Clock,
    notifier: Notifier,
    attendance: Attendance,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("instance", &self.instance).finish_non_exhaustive()
    }
}

impl App {
    /// Starts everything; returns when datagrams are being received.
    ///
    /// # Errors
    /// A port, thread or setting that cannot be had; each says what to do. What ran already ends.
    pub fn start(settings: Settings, clock: Clock) -> anyhow::Result<Running> {
        Self::start_from(settings, clock, Entry::default())
    }

    /// The same with what the process was started with.
    fn start_from(mut settings: Settings, clock: Clock, mut entry: Entry) -> anyhow::Result<Running> {
        quiet_decoder_panics();
        let (instance, source) = instance::resolve(&settings);
        tracing::info!(instance, source, version = env!("CARGO_PKG_VERSION"), "clarion-collector starts");
        if let (None, Some(data_dir)) = (&settings.instance, &settings.data_dir)
            && !instance::is_kept(data_dir, &instance)
        {
            tracing::warn!(
                data_dir = %data_dir.display(),
                source,
                "the data directory cannot keep the instance name, the next start will have another: the source says why"
            );
        }
        settings.sink.instance.clone_from(&instance);
        share_interval(&mut settings);
        let metrics = Metrics::new(&shape(&settings, &instance));
        metrics.books.memory_limit.set(settings.memory_limit);

        let (ends, letters, spool) = spool::start(&settings, &clock, &metrics)?;
        let spool_stats = ends.as_ref().map(|ends| ends.stats.clone()).unwrap_or_default();
        let (outlet, sink) = start_sink(&settings, &clock, &metrics, ends, letters)?;
        let (sender, receiver) = queue::channel(&settings.queue, settings.collect.workers, metrics.queue());
        let outlet = entry.before_outlet.map_or(Arc::clone(&outlet), |between| between(outlet));
        let http = entry.inherited.take_http();
        if !settings.web.is_private() {
            // Nobody could download them.
            settings.collect.rejected_octets_max = 0;
        }
        let state = state::open(settings.kept_state(), &clock, &metrics);
        let (collect, teach) = (settings.collect.clone(), |table: &LearnedTable| state.load(table));
        let collector = Collector::bind_taught(collect, &mut entry.inherited, clock.clone(), &metrics, teach)?;
        leaving::keep_sockets(&collector, &entry.notifier);
        let (listeners, table, company) = (collector.addresses(), collector.table(), collector.company());
        let (rejected, learned) = (collector.rejected(), collector.learned());
        let batchers =
            queue::spawn_batchers(&settings.queue, receiver, outlet, clock.clone(), metrics.batchers().to_vec())
                .context("the batcher threads cannot start; check the process's limits (ulimit -u, pids.max)")?;
        let between = entry.before_queue.unwrap_or(std::convert::identity);
        let senders = (0..settings.collect.workers).map(|_| between(Box::new(sender.clone()))).collect();
        // The workers hold the only senders: the queue closes when they have ended.
        drop::<FlowSender>(sender);
        let workers = collector
            .start(senders, metrics.workers().to_vec())
            .context("the worker threads cannot start; check the process's limits (ulimit -u, pids.max)")?;
        let state = state.start(learned)?;
        let monitor = start_monitor(&settings, &clock, &metrics, &table, &listeners);
        let course = Arc::new(Course::default());
        let (outcome, aim) = (Outcome::started(clock.unix_ns()), sink.aim());
        metrics.config().taken_up_at.set(clock.unix_ns() / 1_000_000_000);
        let mut sources =
            sources(&settings, &metrics, &table, &listeners, &course, &monitor, &clock, spool_stats, company);
        sources.rejected = Box::new(move || rejected.as_ref().map(|ring| ring.capture()));
        let (asked, shown) = (outcome.clone(), aim.clone());
        sources.config = Box::new(move || asked.now());
        if let Some(aim) = shown {
            sources.health = Box::new(move || health(aim.display()));
        }
        let web = web::start_on(settings.web.clone(), http, sources, clock.clone())?;
        let announcement = web::announce(&settings.targets, &instance, web.address());
        let refresher = start_refresher(&sink, &web, &clock, &metrics)?;
        let attendance = leaving::attend(&entry.notifier, monitor.heartbeats(), &metrics)
            .context("the thread that speaks to the service manager cannot start")?;
        course.ready.store(true, Ordering::Release);
        entry.notifier.ready(&format!("receives on {} listeners, HTTP on {}", listeners.len(), web.address()));
        tracing::info!(http = %web.address(), workers = settings.collect.workers, batchers = settings.queue.batchers, output = %output_name(&settings), "ready");
        Ok(Running {
            metrics,
            instance,
            settings,
            course,
            listeners,
            table,
            workers,
            batchers,
            sink,
            spool,
            state,
            monitor,
            _refresher: refresher,
            web,
            announcement,
            outcome,
            clock,
            notifier: entry.notifier,
            attendance,
        })
    }
}

/// A panic in the decoder is caught, counted and logged once a minute: the default hook would print a
/// line for each, as often as a hostile sender likes.
fn quiet_decoder_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !collect::decoding_now() {
                default(info);
            }
        }));
    });
}

/// The worker's share of the batching interval: the sum of both stays within what was set.
fn share_interval(settings: &mut Settings) {
    let age = settings.collect.flow_batch_age.min(settings.queue.batch_interval / WORKER_SHARE_OF_INTERVAL);
    settings.collect.flow_batch_age = age;
    settings.queue.batch_interval -= age;
}

fn output_name(settings: &Settings) -> String {
    match settings.sink.output {
        Output::Backend => settings.sink.display(),
        Output::Stdout => "stdout".to_owned(),
    }
}

fn shape(settings: &Settings, instance: &str) -> Shape {
    Shape {
        listeners: settings.collect.listeners.iter().map(|l| l.name.clone()).collect(),
        workers: settings.collect.workers,
        batchers: settings.queue.batchers,
        sink: match settings.sink.output {
            Output::Backend => "backend",
            Output::Stdout => "stdout",
        },
        instance: instance.to_owned(),
    }
}

fn start_sink(
    settings: &Settings,
    clock: &Clock,
    metrics: &Metrics,
    spool: Option<SpoolEnds>,
    letters: Option<DeadLetters>,
) -> anyhow::Result<(Arc<dyn Outlet>, RunningSink)> {
    match settings.sink.output {
        Output::Backend => {
            metrics.backends(settings.sink.each_backend().len());
            let (outlet, sink) =
                sink::start_with(settings.sink.clone(), clock.clone(), metrics.sink(), spool, letters)?;
            Ok((outlet, RunningSink::Backend(sink)))
        }
        Output::Stdout => {
            let limit = settings.sink.in_flight_octets;
            let outlet = StdoutOutlet::spawn(std::io::stdout(), limit, clock.clone(), metrics.sink())
                .context("the thread for standard output cannot start")?;
            Ok((Arc::clone(&outlet) as Arc<dyn Outlet>, RunningSink::Stdout(outlet)))
        }
    }
}

fn start_monitor(
    settings: &Settings,
    clock: &Clock,
    metrics: &Arc<Metrics>,
    table: &Arc<ExporterTable>,
    listeners: &[(String, SocketAddr)],
) -> Monitor {
    let (table, books) = (Arc::clone(table), metrics.books.clone());
    Monitor::start(MonitorInputs {
        metrics: Arc::clone(metrics),
        clock: clock.clone(),
        maintain: Box::new(move |now_ns| table.maintain(now_ns, &books)),
        listeners: listeners.to_vec(),
        silence_hint: settings.collect.silence_hint,
        heartbeats: Vec::new(),
    })
}

/// What follows files, on both sides.
fn start_refresher(sink: &RunningSink, web: &WebServer, clock: &Clock, metrics: &Metrics) -> anyhow::Result<Refresher> {
    let secrets = metrics.secrets();
    let of_web = web.watched();
    let aim = sink.aim();
    let mut certificates = vec![Certificate {
        name: "the HTTP side's certificate",
        expires: web.certificate_expires(),
        gauge: secrets.http_expiry.clone(),
    }];
    for (name, expires, gauge) in aim.iter().flat_map(|aim| aim.certificates(&secrets)) {
        certificates.push(Certificate { name, expires, gauge });
    }
    let of_sink = move || aim.iter().flat_map(Aim::watched).collect::<Vec<_>>();
    let values = Box::new(move || of_web.iter().cloned().chain(of_sink()).collect());
    Refresher::start(RefreshInputs { values, certificates, metrics: secrets, clock: clock.clone() })
        .context("the thread that reads secrets again cannot start; check the process's limits (ulimit -u, pids.max)")
}

#[expect(clippy::too_many_arguments, reason = "all that is shown, from where it is known")]
fn sources(
    settings: &Settings,
    metrics: &Arc<Metrics>,
    table: &Arc<ExporterTable>,
    listeners: &[(String, SocketAddr)],
    course: &Arc<Course>,
    monitor: &Monitor,
    clock: &Clock,
    spool_stats: Stats,
    company: Company,
) -> Sources {
    let (ready, heartbeats) = (Arc::clone(course), monitor.heartbeats());
    let (all, one, clocks) = (Arc::clone(table), Arc::clone(table), Arc::clone(table));
    let (clock_of_all, clock_of_one) = (clock.clone(), clock.clone());
    let spool_clock = clock.clone();
    let (sink, backend_url) = (metrics.sink(), output_name(settings));
    let names: Vec<String> = listeners.iter().map(|(name, _)| name.clone()).collect();
    let names_of_all = names.clone();
    Sources {
        metrics: Arc::clone(metrics),
        instance: settings.sink.instance.clone(),
        batch_size: settings.queue.batch_size,
        batch_interval: settings.queue.batch_interval + settings.collect.flow_batch_age,
        listeners: listeners.to_vec(),
        health: Box::new(move || health(backend_url.clone())),
        config: Box::new(ConfigRow::default),
        ready: Box::new(move || readiness(&ready)),
        live: Box::new(move || {
            let stale = heartbeats.stale();
            Liveness { live: stale.is_empty(), stale }
        }),
        degraded: Box::new(move || {
            let sick = (sink.healthy.value() < 1.0)
                .then(|| "the backend does not accept batches: see the log and delivery_requests_total".to_owned());
            let clock = clocks.own_clock_ms().map(own_clock_note);
            sick.into_iter().chain(clock).chain(spool::degraded(&spool_stats, &spool_clock)).collect()
        }),
        exporters: Box::new(move || {
            let rows = all.snapshot(clock_of_all.unix_ns()).into_iter();
            rows.map(|status| rows::exporter(status, &names_of_all)).collect()
        }),
        shared_ports: Box::new(move || company.others()),
        rejected: Box::new(|| None),
        exporter: Box::new(move |address, query| {
            let details = one.detail(address, clock_of_one.unix_ns()).into_iter();
            let wanted = |d: &ExporterDetail| query.tenant.as_ref().is_none_or(|tenant| **tenant == *d.status.tenant);
            details.filter(wanted).map(|d| rows::detail(d, query, &names)).collect()
        }),
    }
}

fn health(backend_url: String) -> Health {
    Health { status: "healthy".to_owned(), service: "clarion-collector".to_owned(), backend_url }
}

/// A fault of the process, not of one exporter.
fn own_clock_note(skew_ms: i64) -> String {
    format!(
        "all_skewed: the clocks of most exporters are {} this host's: look at this one first",
        collect::clock_offset(skew_ms)
    )
}

fn readiness(course: &Course) -> Readiness {
    let (ready, reason) = if let Some(why) = course.fault.get() {
        (false, why.as_str())
    } else if course.draining.load(Ordering::Acquire) {
        (false, "draining")
    } else if course.ready.load(Ordering::Acquire) {
        (true, "sockets bound")
    } else {
        (false, "starting")
    };
    Readiness { ready, reason: reason.to_owned() }
}

impl Running {
    /// Name and address of each listener.
    #[must_use]
    pub fn listeners(&self) -> Vec<(String, SocketAddr)> {
        self.listeners.clone()
    }

    /// Where the HTTP side listens.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.web.address()
    }

    /// The heartbeats of its threads.
    #[must_use]
    pub fn heartbeats(&self) -> Heartbeats {
        self.monitor.heartbeats()
    }

    /// Exporters in the table.
    #[must_use]
    pub fn exporters(&self) -> usize {
        self.table.len()
    }

    /// Why the process cannot go on: a thread that ended by itself, or a closed standard output.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        if let Some(worker) = self.workers.any_dead() {
            return Some(format!("{worker} ended by itself"));
        }
        if let Some(batcher) = self.batchers.any_ended() {
            return Some(format!("{batcher} ended by itself"));
        }
        if let Some(why) = self.monitor.any_dead() {
            return Some(why);
        }
        if self.spool.has_ended() {
            return Some("the spool ended by itself".to_owned());
        }
        if self.state.has_ended() {
            return Some("keeping of learned state ended by itself".to_owned());
        }
        match &self.sink {
            RunningSink::Backend(sink) if sink.has_ended() => Some("delivery ended by itself".to_owned()),
            RunningSink::Stdout(outlet) if outlet.broken() => Some("standard output was closed".to_owned()),
            _ => None,
        }
    }

    /// Ends readiness: `/readyz` answers 503 from here on, receiving goes on.
    pub fn begin_drain(&self) {
        if !self.course.draining.swap(true, Ordering::AcqRel) {
            self.notifier.stopping(self.course.fault.get().map_or("draining", String::as_str));
        }
        self.monitor.begin_drain();
    }
}

/// The command `run`: the collector until a signal or a fault. `signals` were installed before anything that takes time.
///
/// # Errors
/// What kept it from starting.
pub fn run(loaded: Loaded, mut signals: Signals) -> anyhow::Result<ExitCode> {
    let entry = Entry::from_surroundings()?;
    let (drain_delay, timeout) = (loaded.settings.drain_delay, loaded.settings.shutdown_timeout);
    let running = App::start_from(loaded.settings.clone(), Clock::system(), entry)?;
    if let Some(wishes) = signals.hangups() {
        running.heed_hangups(loaded, wishes).context("the thread that reads the configuration again cannot start")?;
    }
    let mut watch = HangWatch::new(running.heartbeats(), &running.metrics);
    let cause = signals.wait(|| running.fault().or_else(|| watch.look()));
    let faulty = matches!(cause, signals::Cause::Fault(_));
    match &cause {
        signals::Cause::Signal(name) => tracing::info!(signal = name, "draining; a second signal ends at once"),
        signals::Cause::Fault(why) => {
            tracing::error!(why, "draining: the process cannot go on");
            let _ = running.course.fault.set(why.clone());
        }
    }
    running.begin_drain();
    if !faulty && !drain_delay.is_zero() {
        tracing::info!(?drain_delay, "not ready any more, still receiving");
        std::thread::sleep(drain_delay);
    }
    let guard = LastResort::arm(timeout, Arc::clone(&running.metrics), || std::process::exit(1));
    let report = running.drain();
    drop(guard);
    let Ledger { datagrams_received: received, decoded, delivered, dropped, kernel_dropped, .. } = report.ledger;
    for note in &report.notes {
        tracing::warn!("{note}");
    }
    tracing::info!(received, decoded, delivered, dropped, kernel_dropped, clean = report.clean, "ended");
    Ok(if faulty || report.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
