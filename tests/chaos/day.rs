//! A backend that is dead for a day: small limits, and a clock that is put forward hour by hour.
//!
//! In one process with its clock, since no real one can be told that it is tomorrow. Threads turn by the system's time, so
//! saturation is what it would be.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clarion_collector::app::{App, Running};
use clarion_collector::clock::Clock;
use clarion_collector::collect::ListenerSettings;
use clarion_collector::config;
use clarion_collector::metrics::{DROP_REASONS, RecordDrop};
use clarion_collector::sink::{BackendUrl, SpoolMode};
use clarion_collector::tools::generate::{GenerateOptions, run_with};

use super::rig::{MIXED, Size};
use crate::child::wait_for;

const HOUR_NS: u64 = 3_600 * 1_000_000_000;
const SPOOL_OCTETS: u64 = 2 << 20;
const MEMORY_OCTETS: u64 = 1 << 20;

/// Octets that this process has in memory; the backtrace of another test that fails beside this one shows in it as well.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    1_024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
}

/// Octets of all files below `dir`.
fn on_disk(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let octets = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => on_disk(&entry.path()),
        Ok(meta) => meta.len(),
        // Deleted meanwhile.
        Err(_) => 0,
    };
    entries.map(octets).sum()
}

fn start(dir: &Path, clock: Clock) -> Running {
    let dead = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|s| s.local_addr()).expect("a port");
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut settings = config::defaults();
    settings.instance = Some("day".to_owned());
    settings.data_dir = None;
    settings.collect.listeners = vec![ListenerSettings {
        name: "day".to_owned(),
        address: local,
        port: 0,
        interface: None,
        tenant: String::new(),
    }];
    settings.collect.workers = 2;
    settings.queue.batch_size = 100;
    settings.queue.batch_interval = Duration::from_millis(100);
    settings.web.bind = local;
    settings.web.ports = 0..=0;
    settings.sink.backend = BackendUrl {
        tls: false,
        host: dead.ip().to_string(),
        port: dead.port(),
        path: "/api/netflow/netflow".to_owned(),
        display: format!("http://{dead}"),
    };
    settings.sink.in_flight_octets = MEMORY_OCTETS;
    settings.sink.backoff = Duration::from_millis(50);
    settings.sink.backoff_max = Duration::from_millis(500);
    settings.spool.mode = SpoolMode::OnFailure;
    settings.spool.spool.root = dir.join("spool");
    settings.spool.spool.limit = Some(SPOOL_OCTETS);
    settings.spool.spool.keep_free_percent = 0;
    settings.spool.dead.path = dir.join("dead");
    App::start(settings, clock).expect("the collector starts")
}

fn send(to: SocketAddr, records: u64) -> (u64, u64) {
    let options =
        GenerateOptions { versions: MIXED.to_vec(), records: Some(records), ..GenerateOptions::new(to, 4_000) };
    let sent = run_with(options, Arc::default()).expect("flows are sent");
    (sent.records, sent.datagrams)
}

fn a_day_without_a_backend(size: Size) {
    let dir = tempfile::tempdir().expect("a directory");
    let (clock, lead) = Clock::ahead();
    let running = start(dir.path(), clock);
    let books = running.metrics.books.clone();
    wait_for("an open spool", || (books.spool.enabled.value() == 1).then_some(()));
    let (mut records, mut datagrams) = (0, 0);
    let (mut settled_rss, mut peak_rss, mut peak_disk, mut peak_saturation) = (0, 0, 0, 0_f64);
    for hour in 0..24 {
        let (more, in_datagrams) = send(running.listeners()[0].1, size.of(1_500, 30_000));
        (records, datagrams) = (records + more, datagrams + in_datagrams);
        let all_came = || books.ledger().datagrams_received + books.kernel_dropped() >= datagrams;
        wait_for("the hour's datagrams", || all_came().then_some(()));
        wait_for("the books in balance", || (books.ledger().imbalance() == 0).then_some(()));
        // By then the limit has been reached, and whatever grows to its bound has grown.
        if hour == 7 {
            settled_rss = resident();
        }
        peak_rss = peak_rss.max(resident());
        peak_disk = peak_disk.max(on_disk(&dir.path().join("spool")));
        peak_saturation = peak_saturation.max(books.saturation.value());
        assert!(books.spool.octets.level() <= SPOOL_OCTETS, "hour {hour}");
        assert!(running.metrics.sink().in_flight_bytes.level() <= MEMORY_OCTETS, "hour {hour}");
        lead.advance(HOUR_NS - 60_000_000_000);
    }
    let oldest = books.dropped[RecordDrop::SpoolOldest as usize].value();
    eprintln!(
        "{records} records, {oldest} dropped for room; resident {settled_rss} -> {peak_rss}, disk {peak_disk}, saturation {peak_saturation}"
    );
    assert!(oldest > 0 && peak_disk > SPOOL_OCTETS / 2, "the limit was reached");
    assert!(peak_disk <= SPOOL_OCTETS + (1 << 20), "disk: {peak_disk}");
    assert!(peak_rss <= settled_rss + (24 << 20), "resident: {settled_rss} -> {peak_rss}");
    assert!(peak_saturation < 0.3, "saturation: {peak_saturation}");
    // The day is over: what is left of it is too old, and goes by that name.
    lead.advance(2 * HOUR_NS);
    wait_for("what is too old to go", || (books.spool.records.level() == 0).then_some(()));
    let lost: Vec<_> =
        DROP_REASONS.iter().zip(&books.dropped).filter(|(_, n)| n.value() > 0).map(|(r, n)| (r, n.value())).collect();
    eprintln!("{lost:?}");
    assert!(lost.iter().all(|((stage, _), _)| *stage == "spool"), "{lost:?}");
    let report = running.drain();
    assert_eq!(report.ledger.imbalance(), 0, "{:?}", report.ledger);
    assert_eq!(report.ledger.decoded, report.ledger.dropped + report.ledger.spooled, "{:?}", report.ledger);
}

#[test]
fn a_backend_that_is_dead_for_a_day_costs_what_the_limits_say_and_no_more() {
    a_day_without_a_backend(Size::Short);
}

#[test]
#[ignore = "takes some minutes"]
fn a_backend_that_is_dead_for_a_day_costs_what_the_limits_say_and_no_more_long() {
    a_day_without_a_backend(Size::Long);
}
