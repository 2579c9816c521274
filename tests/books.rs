//! Promise 1: the books balance, to the last record, at rest, in motion and after shutdown, whatever the
//! backend does.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clarion_collector::metrics::DROP_REASONS;
use clarion_collector::tools::backend::Misbehaviour;
use common::{assert_balanced, backend, backend_with, generate, nobody, port, settings, start, wait_for};

#[test]
fn at_rest_every_record_sent_is_at_the_backend() {
    let backend = backend();
    let running = start(settings(backend.address()));
    let sent = generate(port(&running), 20_000, 9, 20_000);
    assert_eq!(sent.records, 20_000);
    wait_for("all records at the backend", || backend.stats().records == sent.records);
    wait_for("the books at rest", || running.metrics.books.ledger().pending() == 0);
    let ledger = running.metrics.books.ledger();
    assert_balanced(&ledger);
    assert_eq!((ledger.decoded, ledger.delivered, ledger.dropped), (sent.records, sent.records, 0));
    assert_eq!(ledger.datagrams_received, sent.datagrams);
    let stats = backend.stats();
    assert_eq!(stats.serials.len(), 9);
    for (exporter, serials) in &stats.serials {
        assert_eq!((serials.missing, serials.doubled), (0, 0), "{exporter}");
    }
    let report = running.drain();
    assert!(report.clean, "{:?}", report.notes);
    assert_balanced(&report.ledger);
}

#[test]
fn in_motion_nothing_leaves_before_it_came() {
    let backend = backend();
    let running = start(settings(backend.address()));
    let (metrics, done) = (Arc::clone(&running.metrics), Arc::new(AtomicBool::new(false)));
    let watcher = {
        let done = Arc::clone(&done);
        std::thread::spawn(move || {
            let (mut readings, mut moving) = (0_u64, 0_u64);
            while !done.load(Ordering::Acquire) {
                let ledger = metrics.books.ledger();
                let gone = ledger.delivered + ledger.dropped;
                assert!(gone <= ledger.decoded, "{ledger:?}");
                assert!(ledger.sets_explained <= ledger.sets_seen, "{ledger:?}");
                assert!(ledger.datagrams_explained <= ledger.datagrams_received, "{ledger:?}");
                readings += 1;
                moving += u64::from(gone < ledger.decoded);
            }
            (readings, moving)
        })
    };
    let sent = generate(port(&running), 50_000, 6, 50_000);
    wait_for("all records at the backend", || backend.stats().records == sent.records);
    done.store(true, Ordering::Release);
    let (readings, moving) = watcher.join().expect("the inequalities hold");
    assert!(moving > 0, "none of {readings} readings saw a record on its way");
    assert_balanced(&running.drain().ledger);
}

#[test]
fn a_drain_under_load_delivers_or_counts_everything_received() {
    let backend = backend();
    let running = start(settings(backend.address()));
    let to = port(&running);
    let metrics = Arc::clone(&running.metrics);
    let sender = std::thread::spawn(move || generate(to, 100_000, 6, 60_000));
    wait_for("load", || metrics.books.records_decoded() > 5_000);
    let report = running.drain();
    let sent = sender.join().expect("the generator ends");
    assert_balanced(&report.ledger);
    assert!(report.clean, "{:?}", report.notes);
    assert_eq!(report.ledger.delivered + report.ledger.dropped, report.ledger.decoded);
    assert_eq!(backend.stats().records, report.ledger.delivered, "the backend has what the books say");
    assert!(report.ledger.decoded <= sent.records);
}

#[test]
fn a_dead_backend_is_not_a_reason_to_scale() {
    let mut chosen = settings(nobody());
    // So small that the buffer is full at once: what dispatch cannot hold is dropped by name.
    chosen.sink.in_flight_octets = 256 * 1024;
    chosen.shutdown_timeout = Duration::from_millis(500);
    let running = start(chosen);
    let sent = generate(port(&running), 20_000, 6, 40_000);
    let books = running.metrics.books.clone();
    wait_for("everything received", || books.records_decoded() == sent.records);
    let lost = |stage: &str| -> u64 {
        let of_stage = DROP_REASONS.iter().zip(&books.dropped).filter(|((s, _), _)| *s == stage);
        of_stage.map(|(_, tally)| tally.value()).sum()
    };
    wait_for("drops at dispatch", || lost("dispatch") > 0);
    running.metrics.run_upkeep();
    assert_eq!(lost("queue"), 0);
    assert!(books.saturation.value() < 0.3, "saturation {}", books.saturation.value());
    assert_eq!(books.delivered.value(), 0);
    let report = running.drain();
    assert_balanced(&report.ledger);
    assert_eq!(report.ledger.dropped, sent.records);
    assert!(lost("delivery") > 0, "what was held at the deadline is counted as delivery/shutdown");
}

#[test]
fn a_backend_that_fails_and_resets_gets_everything_in_the_end() {
    let misbehaviour =
        Misbehaviour { fail_rate: Some(0.3), reset_rate: 0.2, status: Some(503), ..Misbehaviour::default() };
    let backend = backend_with(misbehaviour);
    let mut chosen = settings(backend.address());
    chosen.queue.batch_size = 200;
    let running = start(chosen);
    let sent = generate(port(&running), 20_000, 6, 20_000);
    wait_for("everything acknowledged", || running.metrics.books.ledger().delivered == sent.records);
    let duplicated = running.metrics.books.duplicated.value();
    let report = running.drain();
    assert_balanced(&report.ledger);
    let stats = backend.stats();
    for (exporter, serials) in &stats.serials {
        assert_eq!(serials.missing, 0, "{exporter}");
    }
    let doubled: u64 = stats.serials.values().map(|s| s.doubled).sum();
    assert!(doubled <= duplicated, "{doubled} doubled, {duplicated} counted as possible duplicates");
}
