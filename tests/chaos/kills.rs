//! kill -9 in the middle of everything, again and again, on one data directory.
//!
//! A life: a collector starts on what the last one left, exporters of its own send to it, and it is killed when a random
//! number of records has been sent. The backend is well, busy or away in turns. What may be missing in the end is what
//! each life still held when it was last looked at, and what was sent since; what came twice was called possibly doubled.

use serde_json::{Value, json};

use super::rig::{Dice, Exporters, MIXED, MoodyBackend, came, doubled_in_turn, metric, settled, spooling};
use crate::child::{dropped, number};

const EXPORTERS: usize = 3;

/// What one life may have lost, and what it must not have lost.
struct Life {
    first_exporter: usize,
    sent: u64,
    /// Records that were neither delivered nor on disk when it was last looked at, or came after that.
    at_risk: u64,
    /// What the backend had accepted when it began, and when it was last looked at.
    accepted: std::ops::Range<usize>,
    /// Records that it had called possibly doubled when it was last looked at.
    called_doubled: u64,
}

/// Lives until a collector has been killed `kills` times.
fn kill_again_and_again(mode: &str, kills: usize, seed: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let (data, mut dice) = (dir.path().join("data"), Dice(seed));
    let backend = MoodyBackend::start(&dir.path().join("journal"));
    let mut lives = Vec::new();
    for number_of_life in 0..kills {
        // No answer here makes a batch be split, and none is ambiguous: only a kill can double a record.
        let mood = match number_of_life % 3 {
            0 => json!({ "delay_ms": 5, "fail_rate": 0.2, "status": 429 }),
            1 => json!({ "status": 503 }),
            _ => json!({ "delay_ms": 300 }),
        };
        backend.mood(&mood);
        let began = backend.journal().len();
        let collector = spooling(backend.address, &data, mode, &["--batch-size=50"]);
        let first_exporter = number_of_life * EXPORTERS;
        let load = Exporters::start(collector.port, 2_500, first_exporter, EXPORTERS, &MIXED);
        // Without `always` a backend that is away fills half of the memory first: 512 KiB, some 1,700 records.
        let first = if number_of_life % 3 == 1 { 2_500 } else { 200 };
        load.wait_until_sent(first + dice.below(2_500));
        // Looked at in this order: what moves on in between is counted as at risk, never as safe.
        let ledger = collector.ledger();
        let on_disk = metric(&collector, "clarion_collector_spool_records");
        // First what came, then what was said of it: that is said before a request leaves.
        let accepted = began..backend.journal().len();
        let called_doubled = metric(&collector, "clarion_collector_records_possibly_duplicated_total");
        collector.process.kill();
        let sent = load.stop().records;
        assert!(dropped(&ledger).is_empty(), "{mode}: {ledger}");
        let at_risk = at_risk(&ledger, on_disk, sent);
        let life = Life { first_exporter, sent, at_risk, accepted, called_doubled };
        eprintln!("{mode}: life {number_of_life} sent {sent}, {} at risk, {on_disk} on disk", life.at_risk);
        lives.push(life);
    }

    backend.mood(&json!({}));
    let began = backend.journal().len();
    let last = spooling(backend.address, &data, mode, &["--batch-size=50"]);
    let ledger = settled(&last, 0);
    assert!(dropped(&ledger).is_empty(), "{mode}: no batch on disk was damaged: {ledger}");
    assert!(!last.process.log().contains("damaged"), "{}", last.process.log());
    let journal = backend.journal();
    let (came, doubled) = (came(&journal), doubled_in_turn(&journal));
    // What came between the last look at a life and its end nobody can hold against its counter.
    let called = metric(&last, "clarion_collector_records_possibly_duplicated_total");
    let looks = lives.iter().map(|life| (life.accepted.clone(), life.called_doubled));
    for (number_of_life, (accepted, called)) in looks.chain([(began..journal.len(), called)]).enumerate() {
        let doubled: u64 = doubled[accepted].iter().sum();
        assert!(doubled <= called, "{mode}: {doubled} records came again in life {number_of_life}, it said {called}");
    }
    let mut lost = 0;
    for (number_of_life, life) in lives.iter().enumerate() {
        let mut arrived = 0;
        for exporter in life.first_exporter..life.first_exporter + EXPORTERS {
            let serials = came.serials.get(&format!("127.1.0.{}", exporter + 1)).map_or(&[][..], Vec::as_slice);
            arrived += serials.len() as u64;
            if mode == "always" {
                // Batches reach the disk in their order, so a kill takes the youngest records and leaves no hole.
                assert_eq!(serials.last().copied().unwrap_or(0), serials.len() as u64, "life {number_of_life}: a hole");
            }
        }
        let missing = life.sent - arrived;
        assert!(
            missing <= life.at_risk,
            "{mode}: life {number_of_life} lost {missing} records, {} were at risk",
            life.at_risk
        );
        lost += missing;
    }
    let sent: u64 = lives.iter().map(|life| life.sent).sum();
    let called = called + lives.iter().map(|life| life.called_doubled).sum::<u64>();
    eprintln!("{mode}: {kills} kills, {sent} sent, {lost} lost, {} doubled of {called} called so", came.doubled);
    assert!(came.distinct() > 0 && lost < sent);
}

/// Records of a life that were not safe: those not decoded yet, those in memory, and those on their way to the disk.
fn at_risk(ledger: &Value, on_disk: u64, sent: u64) -> u64 {
    let at = |pointer| number(ledger, pointer);
    let on_the_way = at("/records/spooled").saturating_sub(on_disk);
    sent - at("/records/decoded") + at("/records/in_memory") + on_the_way
}

#[test]
fn kills_cost_what_was_not_on_disk_yet_with_always() {
    kill_again_and_again("always", 4, 0x5eed_0001);
}

#[test]
fn kills_cost_what_was_in_memory_with_on_failure() {
    kill_again_and_again("on_failure", 4, 0x5eed_0002);
}

#[test]
#[ignore = "takes two minutes"]
fn kills_cost_what_was_not_on_disk_yet_long() {
    kill_again_and_again("always", 20, 0x5eed_0003);
    kill_again_and_again("on_failure", 20, 0x5eed_0004);
}
