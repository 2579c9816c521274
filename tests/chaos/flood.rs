//! One exporter at ten times its share among a hundred: the bucket takes it out of the others' way.

use std::time::Duration;

use serde_json::Value;

use super::rig::{Exporters, MoodyBackend, Size, came, endure, metric, spooling};
use crate::child::{dropped, json, number, wait_for};
use clarion_collector::flow::Version;

/// Records a second of an exporter that behaves: ten datagrams with three v9 records each, about 3,200 octets.
const SHARE: u64 = 30;
const GOOD: usize = 99;

fn one_floods(size: Size) {
    let dir = tempfile::tempdir().expect("a directory");
    let backend = MoodyBackend::start(&dir.path().join("journal"));
    // More than twice what a good one sends, and a quarter of what the other does; what a stalled machine makes the good
    // ones catch up with is within the burst.
    let bucket = ["--admission-bytes-per-second=8000", "--admission-burst=5s", "--batch-size=500"];
    let collector = spooling(backend.address, &dir.path().join("data"), "on_failure", &bucket);
    let good = Exporters::start(collector.port, SHARE * GOOD as u64, 0, GOOD, &[Version::V9]);
    let bad = Exporters::start(collector.port, 10 * SHARE, GOOD, 1, &[Version::V9]);
    endure(Duration::from_secs(size.of(5, 60)));
    let (good, bad) = (good.stop(), bad.stop());

    let ledger = wait_for("everything that was admitted delivered", || {
        let ledger = collector.ledger();
        let at = |pointer| number(&ledger, pointer);
        let came = at("/datagrams/received") + at("/datagrams/kernel_dropped");
        let left = at("/records/in_memory") + at("/records/spooled");
        let explained = ledger["records"]["unexplained"] == 0 && ledger["datagrams"]["unexplained"] == 0;
        (came == good.datagrams + bad.datagrams && left == 0 && explained).then_some(ledger)
    });
    assert_eq!(number(&ledger, "/datagrams/kernel_dropped"), 0, "{ledger}");
    assert!(dropped(&ledger).is_empty(), "{ledger}");
    let came = came(&backend.journal());
    assert_eq!(came.doubled, 0);
    for exporter in &good.by_exporter {
        let serials = &came.serials[&exporter.source.ip().to_string()];
        assert_eq!(serials.len() as u64, exporter.records, "{}: all of it came", exporter.source);
    }
    // The other: what was refused is counted, and everything else came.
    let refused = number(&ledger, "/datagrams/refused");
    let (source, passed) =
        (bad.by_exporter[0].source.ip().to_string(), &came.serials[&bad.by_exporter[0].source.ip().to_string()]);
    eprintln!("{refused} of {} datagrams of {source} refused, {} records passed", bad.datagrams, passed.len());
    assert!(refused * 4 > bad.datagrams && refused < bad.datagrams, "{refused} of {} refused", bad.datagrams);
    let unseen = bad.records - passed.len() as u64;
    assert!(unseen >= refused && unseen <= 30 * refused, "{unseen} records in {refused} datagrams");
    let detail: Value = json(collector.http, &format!("/api/v1/exporters/{source}"));
    assert!(detail.to_string().contains("refused"), "{detail}");
    assert_eq!(metric(&collector, "clarion_collector_ledger_imbalance_records"), 0);
}

#[test]
fn one_exporter_at_ten_times_its_share_costs_the_others_nothing() {
    one_floods(Size::Short);
}

#[test]
#[ignore = "takes a minute"]
fn one_exporter_at_ten_times_its_share_costs_the_others_nothing_long() {
    one_floods(Size::Long);
}
