//! A backend that goes through everything: away, slow, failing, resetting, refusing batches, and well again.

use std::time::Duration;

use serde_json::json;

use super::rig::{
    Accepted, Exporters, MIXED, MoodyBackend, Size, account, came, endure, metric, resident, settled, spooling,
};
use crate::child::{number, wait_for};

const MIB: u64 = 1 << 20;

/// Requests that were accepted after one with younger records of the same exporter, among those of which all records have
/// serials in `range`; and how many those are.
fn out_of_order(journal: &[Accepted], range: std::ops::Range<u64>) -> (usize, usize) {
    let (mut back, mut all) = (0, 0);
    let mut youngest = std::collections::HashMap::<&str, u64>::new();
    for request in journal {
        for (switch, serials) in &request.serials {
            let Some((&first, &last)) = serials.first().zip(serials.last()) else { continue };
            if !range.contains(&first) || !range.contains(&last) {
                continue;
            }
            let youngest = youngest.entry(switch).or_default();
            all += 1;
            back += usize::from(first < *youngest);
            *youngest = first.max(*youngest);
        }
    }
    (back, all)
}

fn through_every_phase(size: Size) {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = dir.path().join("journal");
    let backend = MoodyBackend::start(&journal);
    let collector = spooling(backend.address, &dir.path().join("data"), "on_failure", &["--batch-size=50"]);
    let load = Exporters::start(collector.port, 1_500, 0, 3, &MIXED);
    load.wait_until_sent(1_500);

    let from = load.sent();
    let backend = backend.away(Duration::from_secs(size.of(5, 60)));
    let until = load.sent();
    assert!(number(&collector.ledger(), "/records/spooled") > 0, "what could not be delivered went to disk");
    let after_outage = resident(&collector);
    wait_for("an empty spool", || (number(&collector.ledger(), "/records/spooled") == 0).then_some(()));
    // Each exporter sent a third of it; what was in memory when the backend left, or fresh when it came back, may pass.
    let (back, all) = out_of_order(&backend.journal(), from / 3 + 500..until / 3 - 500);
    eprintln!("{back} of {all} out of order; resident {} MiB", after_outage / MIB);
    assert!(all >= 10 && back * 10 <= all, "{back} of {all} were accepted after younger ones");

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
    eprintln!("{} sent, {} doubled: {ledger}", sent.records, came.doubled);
    assert!(account(&ledger, &sent, &came).is_empty(), "nothing is lost: {ledger}");
    assert!(
        came.doubled
            <= number(&ledger, "/records/possibly_duplicated")
                .max(metric(&collector, "clarion_collector_records_possibly_duplicated_total")),
        "{} doubled: {ledger}",
        came.doubled
    );
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
