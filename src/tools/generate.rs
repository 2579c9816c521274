//! `generate`: a load generator that keeps its rate and numbers every record.
//!
//! A rate and a number of exporters enter; datagrams leave, and one report of what was sent. Each
//! exporter has its own socket, on loopback its own source address (127.1.x.y), its own sequence
//! numbers, templates and record numbers, so that a receiver can say exactly what is missing or
//! doubled. The average rate is kept: what a stall delayed is caught up within a bound, and the
//! report says what was obtained.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::say::{note, print, tell};
use super::sender::{Pace, Sender};
use super::stop;
use super::synthetic::{SyntheticExporter, SyntheticOptions};
use crate::cli::{GenerateArgs, GenerateVersion};
use crate::clock::Clock;
use crate::flow::Version;
use crate::limits::{GENERATE_EXPORTERS_MAX, SYNTHETIC_DATAGRAM_OCTETS_MAX};

/// What is sent, and how fast.
#[derive(Debug, Clone)]
pub struct GenerateOptions {
    /// Where to.
    pub to: SocketAddr,
    /// Records a second, all exporters together.
    pub rate: u64,
    /// Exporters, 1 to `GENERATE_EXPORTERS_MAX`.
    pub exporters: usize,
    /// Number of the first exporter: its source address and seed follow from it, so that several
    /// generators beside each other stay apart.
    pub first_exporter: usize,
    /// Versions that the exporters take turns with; not empty.
    pub versions: Vec<Version>,
    /// End after this time.
    pub duration: Option<Duration>,
    /// End after exactly so many records.
    pub records: Option<u64>,
    /// 1 in N that the exporters say they sample; 0: they say nothing.
    pub sampling: u32,
    /// After so many seconds the templates of an exporter change their ids; 0: never.
    pub churn_seconds: u32,
    /// Templates and samplers stand in an exporter's first datagram and never again, as with exporters that tell them at
    /// their start alone.
    pub templates_once: bool,
    /// Counters that another thread may watch.
    pub progress: Arc<Progress>,
}

impl GenerateOptions {
    /// One exporter of each version at `rate`, until it is stopped.
    #[must_use]
    pub fn new(to: SocketAddr, rate: u64) -> Self {
        Self {
            to,
            rate,
            exporters: MIXED.len(),
            first_exporter: 0,
            versions: MIXED.to_vec(),
            duration: None,
            records: None,
            sampling: 1,
            churn_seconds: 0,
            templates_once: false,
            progress: Arc::default(),
        }
    }
}

/// What was sent so far.
#[derive(Debug, Default)]
pub struct Progress {
    /// Records.
    pub records: AtomicU64,
    /// Datagrams.
    pub datagrams: AtomicU64,
}

/// What one version sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct VersionReport {
    /// Exporters of it.
    pub exporters: u64,
    /// Datagrams.
    pub datagrams: u64,
    /// Records.
    pub records: u64,
}

/// What one exporter sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExporterReport {
    /// Where its datagrams came from.
    pub source: SocketAddr,
    /// Its version.
    pub version: Version,
    /// Datagrams.
    pub datagrams: u64,
    /// Records: numbered from 1 to this.
    pub records: u64,
}

/// What was sent.
#[derive(Debug, Clone, Serialize)]
pub struct GenerateReport {
    /// Datagrams.
    pub datagrams: u64,
    /// Records.
    pub records: u64,
    /// Octets of UDP payload.
    pub octets: u64,
    /// Time it took.
    pub seconds: f64,
    /// Records a second asked.
    pub rate_asked: u64,
    /// Records a second obtained.
    pub rate_obtained: f64,
    /// Datagrams that met a closed port.
    pub refused: u64,
    /// By version.
    pub versions: BTreeMap<&'static str, VersionReport>,
    /// How many exporters.
    pub exporters: usize,
    /// Each of them.
    #[serde(skip)]
    pub by_exporter: Vec<ExporterReport>,
}

/// What `mixed` takes turns with.
const MIXED: [Version; 3] = [Version::V5, Version::V9, Version::Ipfix];
/// A datagram leaves each exporter at least so often, as far as the rate has a record for it.
const DATAGRAMS_PER_SECOND_MIN: f64 = 10.0;
/// Between two looks at the clock and at the request to stop.
const BURST_DATAGRAMS: usize = 64;
/// Records in a datagram at most: no version has shorter ones than v5, and none fits more.
const RECORDS_PER_DATAGRAM_MAX: u8 = 30;
const _: () = assert!(RECORDS_PER_DATAGRAM_MAX as usize * 48 >= SYNTHETIC_DATAGRAM_OCTETS_MAX);

/// One exporter with its socket.
struct Source {
    exporter: SyntheticExporter,
    sender: Sender,
    address: SocketAddr,
}

/// The command.
///
/// # Errors
/// Sockets cannot be opened, or sending fails.
pub fn run(args: &GenerateArgs) -> anyhow::Result<ExitCode> {
    let options = GenerateOptions {
        exporters: args.exporters as usize,
        versions: match args.version {
            GenerateVersion::V5 => vec![Version::V5],
            GenerateVersion::V9 => vec![Version::V9],
            GenerateVersion::Ipfix => vec![Version::Ipfix],
            GenerateVersion::Mixed => MIXED.to_vec(),
        },
        duration: args.seconds.map(Duration::from_secs),
        records: args.records,
        churn_seconds: args.churn.unwrap_or_default(),
        ..GenerateOptions::new(args.to, args.rate)
    };
    if options.exporters < options.versions.len() {
        tell(format_args!(
            "{} exporters take turns with v5, v9 and IPFIX: give --exporters 3 or more for all",
            options.exporters
        ));
    }
    let stop = stop::on_signal()?;
    let watched = Arc::clone(&options.progress);
    let ended = Arc::new(AtomicBool::new(false));
    let watch = std::io::stderr().is_terminal().then(|| {
        let (ended, rate) = (Arc::clone(&ended), options.rate);
        std::thread::spawn(move || show_progress(&watched, rate, &ended))
    });
    let result = run_with(options, stop);
    ended.store(true, Ordering::Release);
    if let Some(watch) = watch {
        watch.thread().unpark();
        let _ = watch.join();
    }
    let report = result?;
    if report.refused > 0 {
        tell(format_args!(
            "{} of {} datagrams met a closed port: nobody listens on {}",
            report.refused, report.datagrams, args.to
        ));
    }
    let mut line = serde_json::to_vec(&report).context("cannot write the report")?;
    line.push(b'\n');
    print(&line)?;
    Ok(ExitCode::SUCCESS)
}

/// Once a second one line that overwrites itself.
fn show_progress(progress: &Progress, rate: u64, ended: &AtomicBool) {
    let (mut before, mut at) = (0, Instant::now());
    while !ended.load(Ordering::Acquire) {
        std::thread::park_timeout(Duration::from_secs(1));
        let records = progress.records.load(Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let obtained = (records - before) as f64 / at.elapsed().as_secs_f64().max(1e-3);
        (before, at) = (records, Instant::now());
        let datagrams = progress.datagrams.load(Ordering::Relaxed);
        note(format!("\r\x1b[K{obtained:.0}/s of {rate}/s, {records} records, {datagrams} datagrams sent"));
    }
    note("\n");
}

/// Sends until the time or the number of records is reached, or `stop` is set.
///
/// # Errors
/// The options make no sense, sockets cannot be opened, or sending fails.
pub fn run_with(options: GenerateOptions, stop: Arc<AtomicBool>) -> anyhow::Result<GenerateReport> {
    let mut sources = open_sources(&options)?;
    let clock = Clock::system();
    #[expect(clippy::cast_precision_loss, reason = "rates and numbers of exporters are far below 2^53")]
    let (rate, count) = (options.rate as f64, sources.len() as f64);
    // What is due before the next datagram leaves.
    let wanted = (rate / count / DATAGRAMS_PER_SECOND_MIN).clamp(1.0, f64::from(RECORDS_PER_DATAGRAM_MAX)).floor();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1..=30")]
    let per_datagram = wanted as u64;
    let mut left = options.records.unwrap_or(u64::MAX);
    let (mut octets, mut datagrams, mut records) = (0_u64, 0_u64, 0_u64);
    let begun = Instant::now();
    let mut pace = Pace::new(rate);
    let mut next = 0;
    'sending: while left > 0 && !stop.load(Ordering::Acquire) {
        if options.duration.is_some_and(|d| begun.elapsed() >= d) {
            break;
        }
        pace.sleep_until_due(wanted);
        let mut due = pace.due();
        let now_ns = clock.unix_ns();
        for _ in 0..BURST_DATAGRAMS {
            if due < wanted {
                break;
            }
            let source = &mut sources[next];
            next = (next + 1) % options.exporters;
            #[expect(clippy::cast_possible_truncation, reason = "at most 30")]
            let produced = source.exporter.next_datagram(now_ns, per_datagram.min(left) as usize);
            source.sender.send(produced.octets).with_context(|| format!("sending to {}", options.to))?;
            octets += produced.octets.len() as u64;
            datagrams += 1;
            records += produced.records as u64;
            left -= produced.records as u64;
            #[expect(clippy::cast_precision_loss, reason = "at most 30")]
            let sent = produced.records as f64;
            pace.count(sent);
            due -= sent;
            if left == 0 {
                break 'sending;
            }
        }
        options.progress.records.store(records, Ordering::Relaxed);
        options.progress.datagrams.store(datagrams, Ordering::Relaxed);
    }
    options.progress.records.store(records, Ordering::Relaxed);
    options.progress.datagrams.store(datagrams, Ordering::Relaxed);
    let seconds = begun.elapsed().as_secs_f64();
    Ok(report(&options, &sources, octets, seconds))
}

fn open_sources(options: &GenerateOptions) -> anyhow::Result<Vec<Source>> {
    if !(1..=GENERATE_EXPORTERS_MAX).contains(&options.exporters) {
        bail!("exporters is {}: give 1 to {GENERATE_EXPORTERS_MAX}", options.exporters);
    }
    if options.versions.is_empty() || options.rate == 0 {
        bail!("a rate above 0 and at least one version are needed");
    }
    let mut sources = Vec::with_capacity(options.exporters);
    for i in 0..options.exporters {
        let number = options.first_exporter + i;
        let address = source_address(options.to, number)?;
        let sender = Sender::open(address, 0, options.to)
            .with_context(|| format!("exporter {} of {}", i + 1, options.exporters))?;
        let usual = SyntheticOptions::new(options.versions[i % options.versions.len()], number as u64);
        let repeats = u32::from(!options.templates_once);
        let exporter = SyntheticExporter::new(SyntheticOptions {
            sampling: options.sampling,
            churn_seconds: options.churn_seconds,
            refresh_datagrams: usual.refresh_datagrams * repeats,
            refresh_seconds: usual.refresh_seconds * repeats,
            // Behind one address, exporters are told apart by their domain.
            observation_domain: if address.is_some() { 1 } else { u32::try_from(number).unwrap_or(0) + 1 },
            ..usual
        });
        let address = sender.local_addr().context("socket without an address")?;
        sources.push(Source { exporter, sender, address });
    }
    Ok(sources)
}

/// 127.1.x.y of exporter `number`, y from 1 to 254, where the target is on IPv4 loopback; elsewhere
/// exporters differ by their port alone.
fn source_address(to: SocketAddr, number: usize) -> anyhow::Result<Option<IpAddr>> {
    if !to.is_ipv4() || !to.ip().is_loopback() {
        return Ok(None);
    }
    let (x, y) = (u8::try_from(number / 254), u8::try_from(number % 254 + 1));
    match (x, y) {
        (Ok(x), Ok(y)) => Ok(Some(Ipv4Addr::new(127, 1, x, y).into())),
        _ => bail!("exporter number {number}: there are addresses for 65,024"),
    }
}

fn report(options: &GenerateOptions, sources: &[Source], octets: u64, seconds: f64) -> GenerateReport {
    let mut versions = BTreeMap::<&'static str, VersionReport>::new();
    let by_exporter: Vec<ExporterReport> = sources
        .iter()
        .map(|source| ExporterReport {
            source: source.address,
            version: source.exporter.version(),
            datagrams: source.exporter.datagrams(),
            records: source.exporter.serial(),
        })
        .collect();
    for exporter in &by_exporter {
        let version = versions.entry(exporter.version.label()).or_default();
        version.exporters += 1;
        version.datagrams += exporter.datagrams;
        version.records += exporter.records;
    }
    let records = by_exporter.iter().map(|e| e.records).sum();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate_obtained = (records as f64 / seconds.max(1e-9)).round();
    GenerateReport {
        datagrams: by_exporter.iter().map(|e| e.datagrams).sum(),
        records,
        octets,
        seconds: (seconds * 1e3).round() / 1e3,
        rate_asked: options.rate,
        rate_obtained,
        refused: sources.iter().map(|s| s.sender.refused).sum(),
        versions,
        exporters: by_exporter.len(),
        by_exporter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_apart_on_loopback() {
        let loopback: SocketAddr = ([127, 0, 0, 1], 2055).into();
        let mut seen = std::collections::HashSet::new();
        for number in 0..GENERATE_EXPORTERS_MAX {
            let address = source_address(loopback, number).expect("in range").expect("on loopback");
            assert!(seen.insert(address), "{address} twice");
        }
        assert_eq!(source_address(loopback, 0).unwrap().unwrap().to_string(), "127.1.0.1");
        assert_eq!(source_address(loopback, 254).unwrap().unwrap().to_string(), "127.1.1.1");
        assert!(source_address(loopback, 65_024).is_err());
        assert_eq!(source_address(([192, 0, 2, 1], 2055).into(), 0).unwrap(), None);
    }

    #[test]
    fn options_without_sense_are_refused() {
        let to: SocketAddr = ([127, 0, 0, 1], 9).into();
        let stop = Arc::new(AtomicBool::new(true));
        for options in [
            GenerateOptions { exporters: 0, ..GenerateOptions::new(to, 1) },
            GenerateOptions { exporters: GENERATE_EXPORTERS_MAX + 1, ..GenerateOptions::new(to, 1) },
            GenerateOptions { versions: vec![], ..GenerateOptions::new(to, 1) },
            GenerateOptions::new(to, 0),
        ] {
            assert!(run_with(options, Arc::clone(&stop)).is_err());
        }
    }
}
