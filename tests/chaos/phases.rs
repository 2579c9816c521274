//! A backend that goes through everything: away, slow, failing, resetting, refusing batches, and well again.

use std::ops::Range;
use std::time::Duration;

use serde_json::json;

use super::rig::{
    Accepted, Exporters, MIXED, MoodyBackend, Size, account, came, endure, metric, now, resident, settled, spooling,
};
use crate::child::{number, wait_for};

const MIB: u64 = 1 << 20;

/// What was encoded this much earlier may be accepted later: four requests are under way, 33 ms of flows each, and the
/// order in which they are answered is the backend's.
const UNDER_WAY: Duration = Duration::from_millis(500);

/// Of the requests that were encoded in `during`, how many there are, and how many were accepted after one that was
/// encoded more than `UNDER_WAY` later.
fn out_of_order(journal: &[Accepted], during: &Range<Duration>) -> (usize, usize) {
    let (mut all, mut late, mut youngest) = (0, 0, Duration::ZERO);
    for request in journal {
        let Some(encoded) = request.encoded().filter(|encoded| during.contains(encoded)) else { continue };
        all += 1;
        late += usize::from(encoded + UNDER_WAY < youngest);
        youngest = youngest.max(encoded);
    }
    (all, late)
}

fn through_every_phase(size: Size) {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = dir.path().join("journal");
    let backend = MoodyBackend::start(&journal);
    let collector = spooling(backend.address, &dir.path().join("data"), "on_failure", &["--batch-size=50"]);
    let load = Exporters::start(collector.port, 1_500, 0, 3, &MIXED);
    load.wait_until_sent(1_500);

    let from = now();
    let gone = backend.leave();
    endure(Duration::from_secs(size.of(5, 60)));
    // From 5 s of sickness on memory keeps one batch to ask with; before that it would deliver its half beside the spool.
    wait_for("all that waits in the spool", || {
        let ledger = collector.ledger();
        let in_line = number(&ledger, "/records/in_memory_by_stage/delivery");
        (number(&ledger, "/records/spooled") > 1_000 && in_line <= 100).then_some(())
    });
    // What is encoded from now on may be sent beside the spool's.
    let until = now();
    let backend = gone.come_back();
    let after_outage = resident(&collector);
    wait_for("an empty spool", || (number(&collector.ledger(), "/records/spooled") == 0).then_some(()));
    let (all, late) = out_of_order(&backend.journal(), &(from..until));
    eprintln!("{all} batches of the outage, {late} out of order; resident {} MiB", after_outage / MIB);
    // One in ten may be held up on its way by a busy machine; what comes newest first, or at random, is all out of order.
    assert!(all >= 50 && late * 10 <= all, "{late} of {all} batches came after much younger ones");

    let time = Duration::from_secs(size.of(3, 30));
    let mut peak = after_outage;
    for mood in [
        json!({ "delay_ms": 2_000 }),
        json!({ "fail_rate": 0.3, "status": 500 }),
        json!({ "reset_rate": 0.3 }),
        json!({ "fail_rate": 0.3, "status": 413, "fail_above": 10 }),
        json!({ "fail_rate": 0.3, "status": 400, "fail_above": 10 }),
    ] {
        backend.mood(&mood);
        endure(time);
        peak = peak.max(resident(&collector));
        eprintln!(
            "{mood}: {} in the spool, resident {} MiB",
            metric(&collector, "clarion_collector_spool_records"),
            peak / MIB
        );
    }
    backend.mood(&json!({}));
    let sent = load.stop();
    let ledger = settled(&collector, sent.datagrams);
    let came = came(&backend.journal());
    let possible = metric(&collector, "clarion_collector_records_possibly_duplicated_total");
    eprintln!("{} sent, {} came twice, {possible} possible duplicates counted", sent.records, came.doubled);
    assert!(account(&ledger, &sent, &came).is_empty(), "nothing is lost: {ledger}");
    assert!(came.doubled <= possible, "{} came twice, {possible} were said to be possible", came.doubled);
    assert!(number(&backend.stats(), "/failed_on_purpose") > 10, "the backend was as bad as it was told to be");
    // Small against what a backlog of these phases would take if it were kept.
    let room = size.of(32, 48) * MIB;
    assert!(peak <= after_outage + room, "resident memory grew from {after_outage} to {peak}");
}

#[test]
fn a_backend_in_every_trouble_gets_everything_oldest_first() {
    through_every_phase(Size::Short);
}

#[test]
#[ignore = "takes four minutes"]
fn a_backend_in_every_trouble_gets_everything_oldest_first_long() {
    through_every_phase(Size::Long);
}
