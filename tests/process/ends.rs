//! How processes end: SIGTERM under load, a second signal, a backend that is killed and comes back.

use std::time::Duration;

use clarion_collector::tools::generate::GenerateReport;

use super::child::{Backend, Collector, Load, anywhere, dropped, json, last_words, number, serials, wait_for};

/// Flow records in a datagram at most, by which one kernel drop may be missed.
const RECORDS_PER_DATAGRAM: u64 = 30;

#[test]
fn sigterm_under_load_delivers_all_that_was_received() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let backend = Backend::start(anywhere(), &dir.path().join("out"), &[]);
    let mut collector = Collector::delivering(backend.address, &["--shutdown-timeout=20s"]);
    let load = Load::start(collector.port, 10_000, 6);
    wait_for("5,000 records delivered", || (number(&backend.stats(), "/records") > 5_000).then_some(()));
    let sent_before = load.sent();
    collector.process.signal(&["TERM"]);
    let status = collector.process.wait(Duration::from_secs(30));
    let report = load.stop();

    let log = collector.process.log();
    assert_eq!(status.code(), Some(0), "{log}");
    let words = last_words(&log);
    let (decoded, delivered) = (number(&words, "/decoded"), number(&words, "/delivered"));
    assert_eq!((decoded, number(&words, "/dropped")), (delivered, 0), "{log}");
    assert_eq!(words["clean"], true, "{log}");
    let kernel = number(&words, "/kernel_dropped") * RECORDS_PER_DATAGRAM;
    assert!(decoded + kernel >= sent_before, "{decoded} decoded, {sent_before} sent before the signal\n{log}");
    assert!(report.records > decoded, "the load outlived the collector");

    let stats = backend.stats();
    assert_eq!(number(&stats, "/records"), delivered, "{stats}");
    let (mut missing, mut doubled) = (0, 0);
    for (_, serials) in stats["serials"].as_object().expect("an object") {
        missing += number(serials, "/missing");
        doubled += number(serials, "/doubled");
    }
    assert_eq!(doubled, 0, "{stats}");
    assert!(missing <= kernel, "{missing} missing between those that came\n{stats}");
}

#[test]
fn a_second_signal_ends_at_once() {
    for (first, second) in [("TERM", "TERM"), ("INT", "TERM")] {
        let mut collector = waiting_for_a_backend();
        collector.process.signal(&[first]);
        collector.process.line("draining; a second signal ends at once");
        collector.process.signal(&[second]);
        ends_as_killed(&mut collector);
    }
    // No time between them: the second must not be taken for the first.
    let mut collector = waiting_for_a_backend();
    collector.process.signal(&["INT", "TERM"]);
    ends_as_killed(&mut collector);
}

/// A collector with records that nobody takes: its drain would last a minute.
fn waiting_for_a_backend() -> Collector {
    let nobody = std::net::TcpListener::bind(anywhere()).and_then(|l| l.local_addr()).expect("an address");
    let collector = Collector::delivering(nobody, &["--shutdown-timeout=60s"]);
    let load = Load::start(collector.port, 5_000, 3);
    wait_for("records that wait", || (number(&collector.ledger(), "/records/in_memory") > 1_000).then_some(()));
    load.stop();
    collector
}

fn ends_as_killed(collector: &mut Collector) {
    let status = collector.process.wait(Duration::from_secs(20));
    let log = collector.process.log();
    assert_eq!(status.code(), Some(130), "{log}");
    assert!(log.contains("second signal: ending at once"), "{log}");
}

#[test]
fn a_backend_killed_and_restarted_under_load_leaves_no_record_unexplained() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let backend = Backend::start(anywhere(), &first, &[]);
    let address = backend.address;
    // Little room, so that the outage overflows it soon.
    let mut collector = Collector::delivering(address, &["--backend-in-flight-bytes=1MiB"]);
    let load = Load::start(collector.port, 8_000, 6);
    wait_for("3,000 records delivered", || (number(&backend.stats(), "/records") > 3_000).then_some(()));
    backend.process.kill();
    wait_for("records dropped", || (number(&collector.ledger(), "/records/dropped") > 0).then_some(()));
    let backend = Backend::start(address, &second, &[]);
    wait_for("3,000 records more", || (number(&backend.stats(), "/records") > 3_000).then_some(()));
    let sent = load.stop();

    let ledger = collector.ledger_at_rest(sent.datagrams);
    let possibly = number(&json(collector.http, "/api/v1/status"), "/records/possibly_duplicated");
    collector.process.signal(&["TERM"]);
    let status = collector.process.wait(Duration::from_secs(30));
    let log = collector.process.log();
    assert_eq!(status.code(), Some(0), "{log}");
    let words = last_words(&log);
    for term in ["decoded", "delivered", "dropped"] {
        assert_eq!(words[term], ledger["records"][term], "{term} changed at rest\n{log}");
    }
    let decoded = number(&ledger, "/records/decoded");
    let (delivered, lost) = (number(&ledger, "/records/delivered"), number(&ledger, "/records/dropped"));
    assert_eq!(decoded, delivered + lost, "{ledger}");
    let reasons = dropped(&ledger);
    assert_eq!(reasons.keys().collect::<Vec<_>>(), ["dispatch/buffer_full"], "{reasons:?}");

    // What is missing at the backend is what the counters say, record by record.
    let (seen, lines) = serials(&[&first, &second]);
    let numbered = numbered_by(&sent);
    assert!(seen.iter().all(|record| numbered.contains(record)), "a record that was never sent");
    let seen_of_sent = seen.len() as u64;
    let missing = sent.records - seen_of_sent;
    let before = sent.records - decoded;
    let kernel = number(&ledger, "/datagrams/kernel_dropped") * RECORDS_PER_DATAGRAM;
    assert!(before <= kernel, "{before} records never came, the kernel dropped at most {kernel}");
    // A request whose answer died with the backend was taken there, yet may be dropped here later.
    assert!(missing <= lost + before, "{missing} missing, {lost} dropped, {before} never came");
    assert!(seen_of_sent >= delivered, "{seen_of_sent} at the backend, {delivered} acknowledged");
    let doubled = lines - seen_of_sent;
    assert!(doubled <= possibly, "{doubled} doubled, {possibly} counted as possible");
}

fn numbered_by(sent: &GenerateReport) -> std::collections::HashSet<(String, u64)> {
    let of = |e: &clarion_collector::tools::generate::ExporterReport| {
        let name = e.source.ip().to_string();
        (1..=e.records).map(move |serial| (name.clone(), serial)).collect::<Vec<_>>()
    };
    sent.by_exporter.iter().flat_map(of).collect()
}
