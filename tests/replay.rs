//! Real captures by UDP into a running collector with the backend behind it, each exporter of each
//! capture from a source address of its own: what is delivered is what is expected.

mod common;

use std::fs;
use std::path::Path;

use clarion_collector::metrics::{REFUSE_REASONS, RecordDrop};
use clarion_collector::tools::replay::{self, ReplayOptions, Speed};
use common::{assert_balanced, backend, port, settings, start, wait_for};
use serde_json::Value;

/// Datagrams a second: far below what a busy test machine receives without loss.
const RATE: u64 = 4_000;

/// (records expected, of these with a source and a destination address, more may come).
fn expected(corpus: &Path, name: &str) -> (u64, u64, bool) {
    let text = fs::read(corpus.join(format!("{name}.expected.json"))).unwrap();
    let records: Vec<Value> = serde_json::from_slice(&text).unwrap();
    let has = |record: &Value, key: &str, elements: [&str; 2]| {
        let there: Vec<&str> = elements.iter().filter_map(|e| record["ies"][e].as_str()).collect();
        // Where both families are in a template, the one that is zero is not there.
        let counts = |hex: &&str| there.len() == 1 || hex.bytes().any(|digit| digit != b'0');
        record.get(key).is_some() || there.iter().any(counts)
    };
    let addressed =
        records.iter().filter(|r| has(r, "src_ip", ["0/8", "0/27"]) && has(r, "dst_ip", ["0/12", "0/28"])).count();
    let manifest = fs::read_to_string(corpus.join("MANIFEST.tsv")).unwrap();
    let line = manifest.lines().find(|l| l.split('\t').next() == Some(name)).unwrap();
    // A record that tells both directions is expected as one and may become two rows.
    let tells_both = |record: &Value| {
        let elements = record["ies"].as_object().into_iter().flat_map(|ies| ies.keys());
        elements.into_iter().any(|name| name.starts_with("29305/") || name == "0/232" || name == "0/299")
    };
    let more = line.contains("EXTRA-OK") || records.iter().any(tells_both);
    (records.len() as u64, addressed as u64, more)
}

#[test]
fn every_capture_by_udp_is_delivered_or_counted() {
    let Some(corpus) = common::corpus() else { return };
    let backend = backend();
    let running = start(settings(backend.address()));
    let books = running.metrics.books.clone();
    let mut paths: Vec<_> = fs::read_dir(&corpus)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "pcap"))
        .collect();
    paths.sort();
    let mut wrong = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let (records, addressed, more) = expected(&corpus, &name);
        let before = books.ledger();
        let unaddressed = books.dropped[RecordDrop::NotRepresentable as usize].value();
        let no_traffic = || books.dropped[RecordDrop::Event as usize].value() + books.non_flow_records.value();
        let no_traffic_before = no_traffic();
        let options = ReplayOptions {
            speed: Speed::Rate(RATE),
            per_exporter_source: true,
            salt: index as u64,
            ..ReplayOptions::default()
        };
        let report = replay::send(std::slice::from_ref(path), port(&running), &options).unwrap();
        assert!(report.problems.is_empty(), "{name}: {:?}", report.problems);
        wait_for(&name, || {
            let now = books.ledger();
            now.datagrams_explained == before.datagrams_received + report.datagrams && now.pending() == 0
        });
        let after = books.ledger();
        let delivered = after.delivered - before.delivered;
        let dropped = books.dropped[RecordDrop::NotRepresentable as usize].value() - unaddressed;
        let no_traffic = no_traffic() - no_traffic_before;
        let exact = delivered + no_traffic >= addressed && delivered + dropped + no_traffic == records;
        let enough = more && delivered + dropped + no_traffic >= records;
        if !exact && !enough {
            wrong.push(format!(
                "{name}: {delivered} delivered and {dropped} without addresses, expected {addressed} and {}",
                records - addressed
            ));
        }
    }
    for (kind, tally) in clarion_collector::decode::DecodeErrorKind::ALL.iter().zip(&books.rejected) {
        assert_eq!(tally.value(), 0, "rejected: {}", kind.label());
    }
    for (reason, tally) in REFUSE_REASONS.iter().zip(&books.refused) {
        assert_eq!(tally.value(), 0, "refused: {reason}");
    }
    let stats = backend.stats();
    assert_eq!(stats.refused_requests, 0, "the backend refused a batch");
    assert_eq!(stats.records, books.delivered.value());
    let report = running.drain();
    assert_balanced(&report.ledger);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
