//! `demo`: exporters, collector and backend in one process, and a summary that must balance.
//!
//! Nothing is needed: no configuration, network or privilege. Synthetic exporters send v5, v9 and
//! IPFIX over loopback to a collector with the default settings on free ports, which delivers to the
//! embedded backend. Every record carries a number, so that the end can be checked against the
//! beginning: the process exits with 1 and names what does not balance.

mod balance;
mod show;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};

use super::backend::{Backend, BackendOptions, BackendStats};
use super::generate::{self, GenerateOptions, GenerateReport, Progress};
use super::stop;
use crate::app::{App, Running};
use crate::cli::DemoArgs;
use crate::clock::Clock;
use crate::collect::{ListenerSettings, Pin};
use crate::config::{self, Settings};
use crate::flow::Version;
use crate::metrics::{Ledger, Metrics};
use crate::sink::{BackendUrl, Output};
use crate::web::{WebAccess, WebSettings};

/// What is shown.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// End after this time; None: when it is stopped.
    pub duration: Option<Duration>,
    /// Records a second of all exporters together.
    pub rate: u64,
    /// Exporters: a third of them IPFIX, the others v5 and v9 in turns.
    pub exporters: usize,
}

/// One look at everything while it runs.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Since the exporters began.
    pub elapsed: Duration,
    /// Datagrams and records that the exporters have sent.
    pub sent: (u64, u64),
    /// The collector's books.
    pub ledger: Ledger,
    /// Exporters that the collector knows.
    pub exporters: usize,
    /// From kernel to acknowledgement, seconds (upper bound of the bucket): median and 99th percentile.
    pub lag: (Option<f64>, Option<f64>),
    /// Where the collector's HTTP side is.
    pub http: SocketAddr,
}

/// How it ended.
#[derive(Debug)]
pub struct DemoReport {
    /// What each group of exporters sent.
    pub sent: Vec<GenerateReport>,
    /// The collector's books after the drain.
    pub ledger: Ledger,
    /// What the backend has.
    pub backend: BackendStats,
    /// The drain met its deadline and every thread ended well.
    pub clean: bool,
    /// What does not balance; empty in a good end.
    pub faults: Vec<String>,
}

/// A body is closed after this time even if it is not full: the live figures shall follow closely.
const BATCH_INTERVAL: Duration = Duration::from_millis(500);
/// Between two looks.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// Longest wait that does not see a request to stop.
const POLL: Duration = Duration::from_millis(20);

/// The command.
///
/// # Errors
/// Something could not be started, or standard output is full.
pub fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let options = DemoOptions {
        duration: args.seconds.map(Duration::from_secs),
        rate: args.rate,
        exporters: args.exporters as usize,
    };
    let stop = stop::on_signal()?;
    let mut view = show::View::new(&options);
    let mut written = Ok(true);
    let report = run_with(&options, &stop, |sample| {
        if matches!(written, Ok(true)) {
            written = view.sample(sample);
        }
        // Nobody looks any more: it drains at once, and its exit code still says how it went.
        if !matches!(written, Ok(true)) {
            stop.store(true, Ordering::Release);
        }
    })?;
    written?;
    view.summary(&report)?;
    Ok(if report.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs everything until the time is over or `stop` is set, drains and compares; `look` is called
/// once at the beginning and then once a second.
///
/// # Errors
/// Something could not be started, or an exporter could not send.
pub fn run_with(
    options: &DemoOptions,
    stop: &Arc<AtomicBool>,
    mut look: impl FnMut(&Sample),
) -> anyhow::Result<DemoReport> {
    let backend = Backend::start(BackendOptions {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        serials: true,
        ..BackendOptions::default()
    })
    .context("the embedded backend cannot start")?;
    let running = App::start(settings(backend.address()), Clock::system()).context("the collector cannot start")?;
    let metrics = Arc::clone(&running.metrics);
    let exporters = Exporters::start(options, &running)?;
    let begun = Instant::now();
    look(&exporters.sample(&running, &metrics, begun));
    let mut next = begun + SAMPLE_INTERVAL;
    while !stop.load(Ordering::Acquire) && options.duration.is_none_or(|d| begun.elapsed() < d) && !exporters.ended() {
        let end = options.duration.map_or(next, |d| next.min(begun + d));
        std::thread::sleep(end.saturating_duration_since(Instant::now()).min(POLL));
        if Instant::now() >= next {
            look(&exporters.sample(&running, &metrics, begun));
            next += SAMPLE_INTERVAL;
        }
    }
    // Exporters first: what they have sent by then must all arrive.
    let sent = exporters.finish()?;
    let drained = running.drain();
    let stats = backend.stop();
    let mut faults = balance::faults(&sent, &drained.ledger, metrics.books.duplicated.value(), &stats);
    if !drained.clean {
        faults.push("the drain did not end cleanly".to_owned());
        faults.extend(drained.notes);
    }
    Ok(DemoReport { sent, ledger: drained.ledger, backend: stats, clean: drained.clean, faults })
}

/// The defaults, on free ports of loopback, towards the embedded backend.
fn settings(backend: SocketAddr) -> Settings {
    let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
    let mut settings = config::defaults();
    settings.instance = Some("demo".to_owned());
    settings.data_dir = None;
    settings.collect.listeners = ["netflow", "ipfix"]
        .map(|name| ListenerSettings {
            name: name.to_owned(),
            address: loopback,
            port: 0,
            interface: None,
            tenant: String::new(),
        })
        .into();
    // Exporters and backend want the cores as well.
    settings.collect.pin = Pin::Off;
    settings.queue.batch_interval = BATCH_INTERVAL;
    settings.sink.output = Output::Backend;
    settings.sink.backend = BackendUrl {
        tls: false,
        host: backend.ip().to_string(),
        port: backend.port(),
        path: "/api/netflow/netflow".to_owned(),
        display: format!("http://{backend}"),
    };
    settings.web = WebSettings { bind: loopback, ports: 0..=0, access: WebAccess::default() };
    settings
}

/// The generators, one for each listener.
struct Exporters {
    threads: Vec<JoinHandle<anyhow::Result<GenerateReport>>>,
    progress: Vec<Arc<Progress>>,
    stop: Arc<AtomicBool>,
}

impl Exporters {
    fn start(options: &DemoOptions, running: &Running) -> anyhow::Result<Self> {
        let listeners = running.listeners();
        let ipfix = options.exporters / 3;
        let netflow = options.exporters - ipfix;
        let groups = [(0, netflow, 0, vec![Version::V5, Version::V9]), (1, ipfix, netflow, vec![Version::Ipfix])];
        let mut this = Self { threads: Vec::new(), progress: Vec::new(), stop: Arc::default() };
        for (listener, exporters, first_exporter, versions) in groups {
            if exporters == 0 {
                continue;
            }
            let to = listeners.get(listener).map(|(_, to)| *to).context("the collector has no listener")?;
            let rate = (options.rate * exporters as u64 / options.exporters.max(1) as u64).max(1);
            let progress = Arc::<Progress>::default();
            this.progress.push(Arc::clone(&progress));
            let generate = GenerateOptions {
                exporters,
                first_exporter,
                versions,
                // As routers do: a rate in the sampler table that the collector has to find.
                sampling: 100,
                progress,
                ..GenerateOptions::new(to, rate)
            };
            let stop = Arc::clone(&this.stop);
            this.threads.push(
                std::thread::Builder::new()
                    .name(format!("exporters-{listener}"))
                    .spawn(move || generate::run_with(generate, stop))
                    .context("the exporters' thread cannot start")?,
            );
        }
        Ok(this)
    }

    /// True where one gave up by itself.
    fn ended(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    fn finish(self) -> anyhow::Result<Vec<GenerateReport>> {
        self.stop.store(true, Ordering::Release);
        let join = |thread: JoinHandle<anyhow::Result<GenerateReport>>| {
            thread.join().map_err(|_| anyhow!("the exporters' thread panicked"))?
        };
        self.threads.into_iter().map(join).collect()
    }

    fn sample(&self, running: &Running, metrics: &Metrics, begun: Instant) -> Sample {
        let lag = metrics.sink().lag;
        let sum = |of: fn(&Progress) -> u64| self.progress.iter().map(|p| of(p)).sum();
        Sample {
            elapsed: begun.elapsed(),
            sent: (sum(|p| p.datagrams.load(Ordering::Relaxed)), sum(|p| p.records.load(Ordering::Relaxed))),
            ledger: metrics.books.ledger(),
            exporters: running.exporters(),
            lag: (lag.quantile(0.5), lag.quantile(0.99)),
            http: running.http_address(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_demo_balances() {
        let options = DemoOptions { duration: Some(Duration::from_millis(1_500)), rate: 3_000, exporters: 6 };
        let mut looks = Vec::new();
        let report = run_with(&options, &Arc::default(), |sample| looks.push(sample.clone())).expect("it starts");
        assert_eq!(report.faults, Vec::<String>::new());
        let sent: u64 = report.sent.iter().map(|r| r.records).sum();
        assert!(sent > 0 && report.clean);
        let numbered = report.backend.serials.len();
        assert_eq!(numbered, 6, "each exporter has its own switch_id");
        assert!(looks.len() >= 2, "one look at the beginning and one each second");
    }

    #[test]
    fn a_demo_ends_when_it_is_asked_to() {
        let stop = Arc::new(AtomicBool::new(false));
        let options = DemoOptions { duration: None, rate: 500, exporters: 2 };
        let flag = Arc::clone(&stop);
        let report = run_with(&options, &stop, |sample| {
            if sample.ledger.decoded > 0 {
                flag.store(true, Ordering::Release);
            }
        });
        let report = report.expect("it starts");
        assert_eq!(report.faults, Vec::<String>::new());
        assert_eq!(report.sent.len(), 1, "two exporters leave none for IPFIX");
    }
}
