//! Answers that a collector must not believe too early: a wrong token, a redirect, a record that is always too much.

use std::time::Duration;

use serde_json::{Value, json};

use super::rig::{Exporters, MoodyBackend, Size, account, came, endure, settled, spooling};
use crate::child::{binary, dropped, number, wait_for};
use clarion_collector::flow::Version;

const POISON: u64 = 700;
const BATCH: u64 = 50;

fn wrong_token_poison_and_redirects(mode: &str, size: Size) {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let backend = MoodyBackend::start(&dir.path().join("journal"));
    backend.mood(&json!({ "poison_serial": POISON }));
    let collector = spooling(backend.address, &data, mode, &["--batch-size=50"]);
    let load = Exporters::start(collector.port, 1_000, 0, 1, &[Version::V9]);
    wait_for("the poisonous record given up", || dropped(&collector.ledger()).get("delivery/poison").copied());

    let time = Duration::from_secs(size.of(3, 30));
    for status in [401, 302] {
        backend.mood(&json!({ "status": status }));
        let before = number(&collector.ledger(), "/records/delivered");
        endure(time);
        let after = number(&collector.ledger(), "/records/delivered");
        // Four requests may have been under way when the mood changed.
        assert!(after - before <= 4 * BATCH, "{} delivered to a backend that answered {status}", after - before);
    }
    backend.mood(&json!({}));
    let sent = load.stop();
    let ledger = settled(&collector, sent.datagrams);
    let journal = backend.journal();
    let came = came(&journal);
    assert_eq!(account(&ledger, &sent, &came), [("delivery/poison".to_owned(), 1)].into(), "{mode}: {ledger}");
    assert_eq!(came.doubled, 0, "{mode}: every answer was clear");
    let serials = came.serials.values().next().expect("one exporter");
    assert!(serials.binary_search(&POISON).is_err(), "{mode}: the poisonous record never passed");

    // Its neighbours came when the batch had been taken apart; what was behind that batch did not wait for them.
    let firsts = |of: &dyn Fn(u64) -> bool| {
        journal.iter().position(|request| request.serials.values().flatten().all(|serial| of(*serial)))
    };
    let behind = firsts(&|serial| serial > POISON + BATCH).expect("there was more");
    let neighbour = journal
        .iter()
        .rposition(|request| request.serials.values().flatten().any(|serial| serial.abs_diff(POISON) <= 1));
    assert!(Some(behind) < neighbour, "{mode}: request {behind} waited for {neighbour:?}");

    let data = format!("--data-dir={}", data.to_str().expect("a path in UTF-8"));
    let output = binary(&["dead-letter", "list", &data]).output().expect("it runs");
    let letter: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    let id = letter["id"].as_str().expect("an id");
    let output = binary(&["dead-letter", "show", id, &data]).output().expect("it runs");
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    assert_eq!(shown["body"]["records"][0]["bytes"], POISON, "{mode}: {shown}");
}

#[test]
fn a_wrong_token_and_a_redirect_cost_time_and_poison_costs_one_record_with_always() {
    wrong_token_poison_and_redirects("always", Size::Short);
}

#[test]
fn a_wrong_token_and_a_redirect_cost_time_and_poison_costs_one_record_with_on_failure() {
    wrong_token_poison_and_redirects("on_failure", Size::Short);
}

#[test]
#[ignore = "takes two minutes"]
fn a_wrong_token_and_a_redirect_cost_time_and_poison_costs_one_record_long() {
    for mode in ["always", "on_failure"] {
        wrong_token_poison_and_redirects(mode, Size::Long);
    }
}
