//! The spool in a whole collector: dead, wrong and poisoned backends, small and broken disks, the end of the process.
//!
//! Every record has a serial number, so that the backend can tell what is missing or came twice; every test ends
//! with balanced books.

mod common;
#[path = "spool/faults.rs"]
mod faults;

use std::net::SocketAddr;
use std::path::Path;

use clarion_collector::app::Running;
use clarion_collector::config::Settings;
use clarion_collector::metrics::{DROP_REASONS, Ledger, RecordDrop};
use clarion_collector::sink::SpoolMode;
use clarion_collector::spool::{DeadLetters, WhenFull};
use clarion_collector::tools::backend::{Backend, BackendOptions, Misbehaviour};
use common::{assert_balanced, backend, backend_with, generate, nobody, port, settings, start, wait_for};

/// Settings with a spool in `dir`, small batches and little memory, so that a second of flows needs it.
fn spooling(backend: SocketAddr, dir: &Path, mode: SpoolMode) -> Settings {
    let mut chosen = settings(backend);
    chosen.queue.batch_size = 100;
    chosen.sink.in_flight_octets = 512 * 1024;
    chosen.spool.mode = mode;
    chosen.spool.spool.root = dir.join("spool");
    chosen.spool.spool.keep_free_percent = 0;
    chosen.spool.dead.path = dir.join("dead");
    chosen
}

fn dropped(running: &Running, drop: RecordDrop) -> u64 {
    running.metrics.books.dropped[drop as usize].value()
}

fn wait_all_delivered(running: &Running, records: u64) {
    let books = &running.metrics.books;
    let mut last = Ledger::default();
    let what = format!("{records} records delivered and nothing left");
    wait_for(&what, || {
        last = books.ledger();
        last.delivered + last.dropped >= records && last.held + last.spooled == 0
    });
}

fn assert_each_once(backend: &Backend, records: u64) {
    let stats = backend.stats();
    assert_eq!(stats.records, records, "{stats:?}");
    for (exporter, serials) in &stats.serials {
        assert_eq!((serials.missing, serials.doubled), (0, 0), "{exporter}");
    }
}

fn drain(running: Running) -> Ledger {
    let report = running.drain();
    assert!(report.clean && !report.failed, "{:?}", report.notes);
    assert_balanced(&report.ledger);
    report.ledger
}

#[test]
fn a_dead_backend_that_comes_back_gets_everything_once_and_the_oldest_first() {
    let (dir, address) = (tempfile::tempdir().expect("a directory"), nobody());
    let mut chosen = spooling(address, dir.path(), SpoolMode::OnFailure);
    chosen.collect.workers = 1;
    chosen.queue.batchers = 1;
    chosen.sink.requests_in_flight = 1;
    let limit = chosen.sink.in_flight_octets;
    let running = start(chosen);
    let sent = generate(port(&running), 10_000, 1, 20_000);
    let books = running.metrics.books.clone();
    wait_for("everything in the spool", || books.spool.records.level() == sent.records);
    assert!(running.metrics.sink().in_flight_bytes.level() <= limit / 2, "memory is free again");
    assert_eq!((books.ledger().dropped, books.ledger().imbalance(), books.ledger().pending()), (0, 0, 0));
    assert!(books.spool.oldest_receive_ns.value() > 0 && books.spool.octets.level() > 0);

    let out = dir.path().join("out");
    let options =
        BackendOptions { listen: address, out: Some(out.clone()), serials: true, ..BackendOptions::default() };
    let backend = Backend::start(options).expect("the port is still free");
    let fresh = generate(port(&running), 5_000, 1, 1_000).records;
    wait_all_delivered(&running, sent.records + fresh);
    let stats = backend.stats();
    assert_eq!((stats.records, stats.duplicates_by_key), (sent.records + fresh, 0));
    assert_eq!(drain(running).dropped, 0);

    // The first serial of each hundred lines, as they came, without those that were sent beside them afterwards
    // (their serials begin again at 1, and doubled ones have been ruled out above).
    let text = std::fs::read_to_string(&out).expect("the backend's file");
    let serial = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).expect("JSON")["bytes"].as_u64().expect("a serial")
    };
    let old: Vec<u64> = text.lines().map(serial).filter(|serial| *serial > fresh).collect();
    assert_eq!(old.len() as u64, sent.records - fresh);
    let back = old.windows(2).filter(|pair| pair[1] < pair[0]).count();
    // What was on its way when the backend came back has its turn a moment later; the rest keeps its order.
    assert!(back <= 12, "{back} steps back in {} records", old.len());
}

#[test]
fn a_shutdown_with_a_dead_backend_loses_nothing_and_the_next_start_delivers() {
    for mode in [SpoolMode::OnFailure, SpoolMode::Always] {
        let (dir, address) = (tempfile::tempdir().expect("a directory"), nobody());
        let running = start(spooling(address, dir.path(), mode));
        let sent = generate(port(&running), 20_000, 6, 5_000).records;
        let books = running.metrics.books.clone();
        wait_for("everything decoded", || books.records_decoded() == sent);
        let ledger = drain(running);
        assert_eq!((ledger.delivered, ledger.dropped, ledger.spooled, ledger.held), (0, 0, sent, 0), "{mode:?}");

        let backend = backend();
        let running = start(spooling(backend.address(), dir.path(), mode));
        wait_all_delivered(&running, sent);
        assert_each_once(&backend, sent);
        let ledger = drain(running);
        assert_eq!((ledger.recovered, ledger.delivered, ledger.spooled), (sent, sent, 0), "{mode:?}");
    }
}

#[test]
fn each_batch_goes_through_the_disk_with_always() {
    let (dir, backend) = (tempfile::tempdir().expect("a directory"), backend());
    let running = start(spooling(backend.address(), dir.path(), SpoolMode::Always));
    wait_for("an open spool", || running.metrics.books.spool.enabled.value() == 1);
    let sent = generate(port(&running), 20_000, 6, 20_000).records;
    wait_all_delivered(&running, sent);
    assert_each_once(&backend, sent);
    assert_eq!(running.metrics.sink().in_flight_bytes.level(), 0);
    assert_eq!(drain(running).dropped, 0);
}

#[test]
fn a_wrong_token_costs_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let backend = backend_with(Misbehaviour { status: Some(401), ..Misbehaviour::default() });
    let running = start(spooling(backend.address(), dir.path(), SpoolMode::OnFailure));
    let sent = generate(port(&running), 10_000, 3, 20_000).records;
    let books = running.metrics.books.clone();
    wait_for("most of it in the spool", || books.spool.records.level() > sent / 2);
    backend.misbehave(Misbehaviour::default());
    wait_all_delivered(&running, sent);
    assert_each_once(&backend, sent);
    assert_eq!(drain(running).dropped, 0);
}

#[test]
fn a_poisonous_record_is_found_and_kept_while_all_others_pass() {
    for mode in [SpoolMode::OnFailure, SpoolMode::Always] {
        let dir = tempfile::tempdir().expect("a directory");
        let backend = backend_with(Misbehaviour { poison_serial: Some(777), ..Misbehaviour::default() });
        let running = start(spooling(backend.address(), dir.path(), mode));
        wait_for("an open spool", || running.metrics.books.spool.enabled.value() == 1);
        let sent = generate(port(&running), 2_000, 1, 10_000).records;
        wait_all_delivered(&running, sent);
        assert_eq!(dropped(&running, RecordDrop::DeliveryPoison), 1, "{mode:?}");
        assert_eq!(backend.stats().distinct_records(), sent - 1, "{mode:?}");
        let letters = DeadLetters::existing(&dir.path().join("dead")).expect("the directory");
        let list = letters.list().expect("a list");
        assert_eq!(list.len(), 1, "{mode:?}");
        assert_eq!((list[0].records, list[0].status), (1, 500));
        let body = letters.show(&list[0].name).expect("a letter").entry.body;
        assert!(String::from_utf8_lossy(&body).contains("\"bytes\":777"), "{body:?}");
        drain(running);
    }
}

#[test]
fn a_spool_that_is_full_loses_the_oldest_by_name_and_no_more() {
    let (dir, address) = (tempfile::tempdir().expect("a directory"), nobody());
    for (full, reasons) in [
        (WhenFull::DropOldest, vec![RecordDrop::SpoolOldest]),
        (WhenFull::DropNewest, vec![RecordDrop::SpoolFull, RecordDrop::DispatchFull]),
    ] {
        let root = dir.path().join(format!("{full:?}"));
        let mut chosen = spooling(address, &root, SpoolMode::OnFailure);
        chosen.spool.spool.limit = Some(1 << 20);
        chosen.spool.spool.full = full;
        // A spool that takes nothing leaves a drain nothing but to wait.
        chosen.shutdown_timeout = std::time::Duration::from_secs(3);
        chosen.spool.dead.path = root.join("dead");
        let running = start(chosen);
        let sent = generate(port(&running), 10_000, 3, 20_000).records;
        let lost = |running: &Running| reasons.iter().map(|drop| dropped(running, *drop)).sum::<u64>();
        wait_for("a loss", || lost(&running) > 0);
        let books = running.metrics.books.clone();
        wait_for("everything decoded", || books.records_decoded() == sent);
        wait_for("rest", || books.ledger().imbalance() == 0 && books.spool.pending.level() == 0);
        assert!(books.spool.octets.level() <= 1 << 20, "{full:?}");
        let report = running.drain();
        assert_balanced(&report.ledger);
        assert!(report.ledger.spooled > 0 && report.ledger.dropped < sent, "{full:?}: {:?}", report.ledger);
        if full == WhenFull::DropOldest {
            let others: u64 = DROP_REASONS
                .iter()
                .zip(&books.dropped)
                .filter(|(name, _)| **name != ("spool", "oldest"))
                .map(|(_, tally)| tally.value())
                .sum();
            assert_eq!(others, 0, "{:?}", books.dropped_by_reason().collect::<Vec<_>>());
        }
        let spooled = report.ledger.spooled;
        let backend = backend();
        let mut chosen = spooling(backend.address(), &root, SpoolMode::OnFailure);
        chosen.spool.dead.path = root.join("dead");
        let running = start(chosen);
        wait_all_delivered(&running, spooled);
        assert_eq!(backend.stats().records, spooled);
        drain(running);
    }
}

#[test]
fn a_directory_that_cannot_be_used_is_a_state_that_ends_by_itself() {
    let (dir, address) = (tempfile::tempdir().expect("a directory"), nobody());
    let chosen = spooling(address, dir.path(), SpoolMode::OnFailure);
    let root = chosen.spool.spool.root.clone();
    std::fs::write(&root, b"in the way").expect("a file");
    let running = start(chosen);
    let sent = generate(port(&running), 10_000, 3, 10_000).records;
    let books = running.metrics.books.clone();
    wait_for("everything decoded", || books.records_decoded() == sent);
    wait_for("drops by name", || dropped(&running, RecordDrop::DispatchFull) > 0);
    assert_eq!((books.spool.enabled.value(), books.spool.spooled()), (0, 0));
    let status = common::ask(running.http_address(), "/readyz");
    assert!(status.contains("spool") && status.contains("200 OK"), "{status}");

    std::fs::remove_file(&root).expect("it is there");
    wait_for("the spool at work", || books.spool.enabled.value() == 1);
    let lost = books.ledger().dropped;
    wait_for("memory that went to the spool", || books.ledger().spooled == sent - lost);
    let ledger = drain(running);
    assert_eq!((ledger.dropped, ledger.spooled), (lost, sent - lost));
}

/// A small file system of its own; None if this user may not mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(octets: &str) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let options = format!("size={octets},mode=700");
        let mounted =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(dir)),
            _ => {
                eprintln!("SKIPPED: a small tmpfs cannot be mounted here (that takes root)");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_disk_that_others_fill_is_a_state_and_room_that_comes_back_is_used() {
    let Some(disk) = SmallDisk::mount("3m") else { return };
    let address = nobody();
    let filler = disk.0.path().join("others");
    std::fs::write(&filler, vec![1; 2 << 20]).expect("there is room");
    let mut chosen = spooling(address, disk.0.path(), SpoolMode::OnFailure);
    chosen.spool.spool.full = WhenFull::DropNewest;
    chosen.spool.spool.limit = Some(64 << 20);
    let running = start(chosen);
    let books = running.metrics.books.clone();
    let sent = generate(port(&running), 10_000, 3, 20_000).records;
    wait_for("a full disk", || books.spool.enabled.value() == 0 && books.spool.octets.level() > 0);
    wait_for("everything decoded", || books.records_decoded() == sent);
    wait_for("losses by name", || books.ledger().dropped > 0);
    std::fs::remove_file(&filler).expect("it is there");
    wait_for("the spool at work", || books.spool.enabled.value() == 1);
    let lost = books.ledger().dropped;
    let backend = Backend::start(BackendOptions { listen: address, serials: true, ..BackendOptions::default() })
        .expect("the port");
    wait_all_delivered(&running, sent);
    assert_eq!(backend.stats().records, sent - lost);
    assert_balanced(&running.drain().ledger);
}

/// A spool that takes nothing must not keep the process beyond what the operator allowed.
#[test]
fn a_drain_ends_in_time_whatever_the_spool_does() {
    for broken in [false, true] {
        let (dir, address) = (tempfile::tempdir().expect("a directory"), nobody());
        let mut chosen = spooling(address, dir.path(), SpoolMode::OnFailure);
        chosen.spool.spool.limit = Some(1 << 20);
        chosen.spool.spool.full = WhenFull::DropNewest;
        chosen.shutdown_timeout = std::time::Duration::from_secs(4);
        if broken {
            std::fs::write(&chosen.spool.spool.root, b"in the way").expect("a file");
        }
        let limit = chosen.shutdown_timeout;
        let running = start(chosen);
        let sent = generate(port(&running), 10_000, 3, 20_000).records;
        let books = running.metrics.books.clone();
        wait_for("everything decoded", || books.records_decoded() == sent);
        wait_for("a spool that takes nothing", || books.spool.enabled.value() == 0);
        let begun = std::time::Instant::now();
        let report = running.drain();
        let took = begun.elapsed();
        assert_balanced(&report.ledger);
        assert!(took <= limit, "{took:?} of {limit:?}, broken: {broken}, {:?}", report.notes);
    }
}
