//! The spool across processes: kill -9 at any moment, a poisonous record and `dead-letter` afterwards.

use std::path::Path;
use std::process::Output;

use super::child::{Backend, Collector, Load, anywhere, binary, dropped, get, number, serials, wait_for};

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Waits until nothing is left to deliver.
fn empty(collector: &Collector) {
    wait_for("an empty spool", || {
        let ledger = collector.ledger();
        let left = number(&ledger, "/records/in_memory") + number(&ledger, "/records/spooled");
        (left == 0 && ledger.pointer("/records/unexplained")?.as_i64() == Some(0)).then_some(())
    });
}

/// Kills a collector under load and starts another on its spool: records that the first had delivered, that are at the
/// backend in the end, and that came twice.
fn kill_and_restart(mode: &str, after: u64, status: &str) -> (u64, u64, u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let out = dir.path().join("out");
    let data = format!("--data-dir={}", text(&dir.path().join("data")));
    let mode = format!("--spool-mode={mode}");
    // Some answers fail, so that the kill finds batches in every state. With 500 chance has some of them split; what the
    // first process may have delivered must not be: a part has a key of its own.
    let status = format!("--status={status}");
    let backend = Backend::start(anywhere(), &out, &["--delay=5ms", "--fail-rate=0.3", &status]);
    let more = [data.as_str(), mode.as_str(), "--batch-size=50"];
    let first = Collector::delivering(backend.address, &more);
    wait_for("an open spool", || first.process.log().contains("the spool is open").then_some(()));
    let load = Load::start(first.port, 4_000, 3);
    wait_for("records delivered", || (number(&backend.stats(), "/records") > after).then_some(()));
    let delivered = number(&first.ledger(), "/records/delivered");
    first.process.kill();
    load.stop();

    let second = Collector::delivering(backend.address, &more);
    wait_for("an open spool", || second.process.log().contains("the spool is open").then_some(()));
    empty(&second);
    let ledger = second.ledger();
    assert!(dropped(&ledger).is_empty(), "{ledger}");
    let stats = backend.stats();
    let (distinct, lines) = serials(&[&out]);
    // What came twice came with the key that it had before.
    let doubled = lines - distinct.len() as u64;
    assert_eq!(doubled, number(&stats, "/records_in_duplicates"), "{stats}");
    (delivered, distinct.len() as u64, doubled)
}

#[test]
fn kill_9_loses_nothing_that_was_delivered_and_doubles_with_the_same_key() {
    for (after, status) in [(500, "429"), (1_500, "500"), (3_000, "500")] {
        let (delivered, came, _) = kill_and_restart("always", after, status);
        assert!(came >= delivered, "{delivered} records were delivered, {came} came");
    }
    let (delivered, came, _) = kill_and_restart("on_failure", 2_000, "500");
    assert!(came >= delivered, "{delivered} records were delivered, {came} came");
}

/// Records that were appended, not those on their way to it.
fn appended(collector: &Collector) -> u64 {
    let (_, text) = get(collector.http, "/metrics/prometheus", "");
    let line = text.lines().find(|line| line.starts_with("clarion_collector_spool_records "));
    line.and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0)
}

/// While the backend takes nothing, the spool only grows: what is in it when the kill comes must all arrive.
#[test]
fn kill_9_loses_nothing_that_was_in_the_spool() {
    for mode in ["always", "on_failure"] {
        let dir = tempfile::tempdir().expect("a directory");
        let out = dir.path().join("out");
        let data = format!("--data-dir={}", text(&dir.path().join("data")));
        let mode = format!("--spool-mode={mode}");
        let more = [data.as_str(), mode.as_str(), "--batch-size=50"];
        let dead = Backend::start(anywhere(), &dir.path().join("nothing"), &["--status=503"]);
        let first = Collector::delivering(dead.address, &more);
        wait_for("an open spool", || first.process.log().contains("the spool is open").then_some(()));
        let load = Load::start(first.port, 4_000, 3);
        let safe = wait_for("records in the spool", || Some(appended(&first)).filter(|records| *records > 1_000));
        first.process.kill();
        load.stop();

        let healthy = Backend::start(anywhere(), &out, &[]);
        let second = Collector::delivering(healthy.address, &more);
        wait_for("an open spool", || second.process.log().contains("the spool is open").then_some(()));
        empty(&second);
        let ledger = second.ledger();
        assert!(dropped(&ledger).is_empty(), "{ledger}");
        let came = serials(&[&out]).0.len() as u64;
        assert!(came >= safe, "{mode}: {safe} records were in the spool, {came} came");
    }
}

#[test]
fn a_dead_letter_is_listed_shown_and_sent_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (out, healed) = (dir.path().join("out"), dir.path().join("healed"));
    let data = format!("--data-dir={}", text(dir.path()));
    let backend = Backend::start(anywhere(), &out, &["--poison-serial=300"]);
    let collector = Collector::delivering(backend.address, &[&data, "--batch-size=50"]);
    let load = Load::start(collector.port, 2_000, 1);
    wait_for("a poisonous record given up", || {
        dropped(&collector.ledger()).get("delivery/poison").is_some_and(|records| *records == 1).then_some(())
    });
    load.stop();
    let run = |args: &[&str], more: &str| -> (Output, String) {
        let output = binary(args).arg(&data).arg(more).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output, said)
    };
    let url = |backend: &Backend| format!("--backend-url=http://{}", backend.address);
    let (_, list) = run(&["dead-letter", "list"], &url(&backend));
    let letter: serde_json::Value = serde_json::from_str(list.trim()).unwrap_or_else(|e| panic!("{e}: {list}"));
    assert_eq!((&letter["status"], &letter["records"]), (&500.into(), &1.into()), "{list}");
    let id = letter["id"].as_str().expect("an id");
    let (_, shown) = run(&["dead-letter", "show", id], &url(&backend));
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["body"]["records"][0]["bytes"], 300, "{shown}");

    let (refused, _) = run(&["dead-letter", "resend", "--all"], &url(&backend));
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let well = Backend::start(anywhere(), &healed, &[]);
    // The first of two URLs has nobody behind it, and the other one answers.
    let both = format!("--backend-url=http://127.0.0.1:9,http://{}", well.address);
    let (taken, _) = run(&["dead-letter", "resend", id], &both);
    let said = String::from_utf8_lossy(&taken.stderr);
    assert_eq!(taken.status.code(), Some(0), "{taken:?}");
    assert!(said.contains(&format!("accepted by http://{}", well.address)), "{said}");
    assert!(serials(&[&healed]).0.iter().any(|(_, serial)| *serial == 300));
    let (none, list) = run(&["dead-letter", "list"], &url(&well));
    assert!(none.status.success() && list.is_empty(), "{list}");
}
