//! Disks that lie, forbid and outlive their owner: damage, read-only mounts, other versions, orphaned directories.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use clarion_collector::metrics::RecordDrop;
use clarion_collector::sink::SpoolMode;
use clarion_collector::spool::{Header, read_segment};
use clarion_collector::tools::backend::{Backend, BackendOptions};
use serde_json::Value;

use super::common::{ask, assert_balanced, backend, generate, nobody, port, start, wait_for};
use super::{SmallDisk, drain, dropped, spooling, wait_all_delivered};

/// Fills a spool while nobody listens; tells how many records are in it.
fn fill(dir: &Path, records: u64) -> u64 {
    let mut chosen = spooling(nobody(), dir, SpoolMode::OnFailure);
    chosen.spool.spool.segment_octets = 64 << 10;
    let running = start(chosen);
    let sent = generate(port(&running), 10_000, 3, records).records;
    let books = running.metrics.books.clone();
    wait_for("everything decoded", || books.records_decoded() == sent);
    assert_eq!(drain(running).spooled, sent);
    sent
}

fn segments(root: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(root.join("0")).expect("the directory").map(|file| file.expect("a file").path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect();
    files.sort();
    files
}

/// Exporter and serial of each record of a body or a backend's line.
fn serials(records: &[Value]) -> Vec<(String, u64)> {
    let serial = |r: &Value| Some((r["switch_id"].as_str()?.to_owned(), r["bytes"].as_u64()?));
    records.iter().map(|record| serial(record).expect("a record")).collect()
}

#[test]
fn damage_costs_what_it_hits_and_the_rest_comes_once() {
    for seed in [3_u64, 4_711] {
        let dir = tempfile::tempdir().expect("a directory");
        let (root, out) = (dir.path().join("spool"), dir.path().join("out"));
        let sent = fill(dir.path(), 20_000);
        let mut random = seed;
        let mut next = |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % below
        };
        let files = segments(&root);
        assert!(files.len() > 5, "{files:?}");
        for _ in 0..12 {
            let file = &files[next(files.len())];
            let mut octets = std::fs::read(file).expect("a segment");
            let at = next(octets.len());
            octets[at] ^= 1 << next(8);
            std::fs::write(file, &octets).expect("a segment");
        }
        let mut whole = HashSet::new();
        for file in &files {
            let octets = std::fs::read(file).expect("a segment");
            for placed in read_segment(&octets).entries {
                let Ok(entry) = placed.entry(&octets) else { continue };
                let body: Value = serde_json::from_slice(&entry.body).expect("a body");
                whole.extend(serials(body["records"].as_array().expect("records")));
            }
        }
        let lost = sent - whole.len() as u64;
        assert!(lost > 0 && lost < sent / 2, "seed {seed}: {lost}");

        let listen = nobody();
        let options = BackendOptions { listen, out: Some(out.clone()), serials: true, ..BackendOptions::default() };
        let backend = Backend::start(options).expect("the port is still free");
        let running = start(spooling(listen, dir.path(), SpoolMode::OnFailure));
        let books = running.metrics.books.clone();
        wait_for("an open spool", || books.spool.enabled.value() == 1);
        wait_for("everything that is whole delivered", || {
            let ledger = books.ledger();
            ledger.delivered >= whole.len() as u64 && ledger.held + ledger.spooled == 0
        });
        let counted = books.spool.damaged.value() + dropped(&running, RecordDrop::SpoolDamaged);
        // Damage at the very end of a segment cannot be counted whole.
        assert!(counted > 0 && counted <= lost, "seed {seed}: {counted} of {lost} lost records are counted");
        let text = std::fs::read_to_string(&out).expect("the backend's file");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let came = serials(&lines);
        assert_eq!(came.len(), whole.len(), "seed {seed}: nothing comes twice");
        assert!(came.into_iter().collect::<HashSet<_>>() == whole, "seed {seed}: what is whole, and nothing else");
        drain(running);
        drop(backend);
    }
}

#[test]
fn a_file_of_a_newer_version_is_left_alone_and_shows() {
    let dir = tempfile::tempdir().expect("a directory");
    let sent = fill(dir.path(), 2_000);
    let newer = dir.path().join("spool/0/00000000000000ff.seg");
    let header = Header { version: 2, number: 0xff, created_ns: 7 };
    let octets = [&header.octets()[..], b"what only the next version understands"].concat();
    std::fs::write(&newer, &octets).expect("a file");
    let backend = backend();
    let running = start(spooling(backend.address(), dir.path(), SpoolMode::OnFailure));
    let books = running.metrics.books.clone();
    wait_all_delivered(&running, sent);
    assert_eq!((books.spool.foreign.value(), backend.stats().records), (1, sent));
    drain(running);
    assert_eq!(std::fs::read(&newer).expect("it is still there"), octets);
}

#[test]
fn a_directory_that_its_process_left_is_taken_over_at_start_and_while_running() {
    let (dir, dead) = (tempfile::tempdir().expect("a directory"), nobody());
    let [first, second] = [(); 2].map(|()| start(spooling(dead, dir.path(), SpoolMode::OnFailure)));
    let both = [&first, &second];
    both.iter().for_each(|r| wait_for("an open spool", || r.metrics.books.spool.enabled.value() == 1));
    let sent: Vec<u64> = both.iter().map(|running| generate(port(running), 10_000, 3, 5_000).records).collect();
    for (running, sent) in both.iter().zip(&sent) {
        wait_for("everything decoded", || running.metrics.books.records_decoded() == *sent);
    }
    assert_eq!((drain(first).spooled, drain(second).spooled), (sent[0], sent[1]));

    let backend = backend();
    let third = start(spooling(backend.address(), dir.path(), SpoolMode::OnFailure));
    wait_all_delivered(&third, sent[0] + sent[1]);
    assert_eq!(backend.stats().records, sent[0] + sent[1], "its own directory, and the other one");

    // One that leaves while the third runs: within half a minute its directory has a new owner.
    let fourth = start(spooling(dead, dir.path(), SpoolMode::OnFailure));
    let more = generate(port(&fourth), 10_000, 3, 3_000).records;
    wait_for("everything decoded", || fourth.metrics.books.records_decoded() == more);
    assert_eq!(drain(fourth).spooled, more);
    wait_all_delivered(&third, sent[0] + sent[1] + more);
    assert_eq!(backend.stats().records, sent[0] + sent[1] + more);
    let ledger = drain(third);
    assert_eq!((ledger.recovered, ledger.dropped), (sent[0] + sent[1] + more, 0));
}

fn remount(disk: &SmallDisk, how: &str) {
    let options = format!("remount,{how}");
    let done = Command::new("mount").args(["-o", &options]).arg(disk.0.path()).status().expect("mount runs");
    assert!(done.success(), "{options}");
}

#[test]
fn a_read_only_disk_is_a_state_and_what_is_lost_meanwhile_is_counted() {
    let Some(disk) = SmallDisk::mount("32m") else { return };
    remount(&disk, "ro");
    let address = nobody();
    let running = start(spooling(address, disk.0.path(), SpoolMode::OnFailure));
    let books = running.metrics.books.clone();
    let sent = generate(port(&running), 10_000, 3, 20_000).records;
    wait_for("everything decoded", || books.records_decoded() == sent);
    wait_for("losses by name", || dropped(&running, RecordDrop::DispatchFull) > 0);
    assert_eq!((books.spool.enabled.value(), books.spool.dead_letters.value()), (0, 0));
    let ready = ask(running.http_address(), "/readyz");
    assert!(ready.contains("200 OK") && ready.contains("mount it writable"), "{ready}");
    let before = books.ledger();
    assert!(before.dropped < sent && before.imbalance() == 0, "memory keeps what it can: {before:?}");

    remount(&disk, "rw");
    wait_for("the spool at work", || books.spool.enabled.value() == 1);
    let lost = books.ledger().dropped;
    let options = BackendOptions { listen: address, serials: true, ..BackendOptions::default() };
    let backend = Backend::start(options).expect("the port");
    wait_all_delivered(&running, sent);
    assert_eq!(backend.stats().records, sent - lost);
    assert_balanced(&running.drain().ledger);
}
