//! Batches that each hold something that the backend refuses: what is good goes through, at once.

use super::*;

/// Serials from here on are good.
const FRESH: u32 = 1_000_000;

/// Which serials the backend refuses.
type Bad = fn(u32) -> bool;

/// Batches of `size` records that all come at once, against a backend that refuses those with a `bad` one. Gives the
/// longest time between two acceptances, milliseconds, and how many requests it took.
fn course(slots: usize, (count, size): (u32, u32), bad: Bad) -> (u64, u32) {
    let bad = |serial: &u32| *serial < FRESH && bad(*serial);
    let mut bench = Bench::new(slots);
    // Something was accepted before.
    bench.push(FRESH..FRESH + 1);
    bench.work(2, &mut |_, _| 201);
    (0..count).for_each(|n| bench.push(n * size..(n + 1) * size));
    let (mut last, mut longest, mut requests) = (bench.now, 0, 0);
    bench.work(200_000, &mut |serials, now| {
        requests += 1;
        if serials.iter().any(bad) {
            return 400;
        }
        longest = longest.max(now - last);
        last = now;
        201
    });
    let good = (0..count * size).filter(|serial| !bad(serial)).count();
    assert_eq!(bench.delivered.concat().len(), 1 + good, "{slots} slots: all that is good came, with no help");
    // A record that nothing was accepted after waits until something is.
    for n in FRESH + 1..FRESH + 65 {
        bench.push(n..n + 1);
        bench.work(10_000, &mut |serials, _| if serials.iter().any(bad) { 400 } else { 201 });
    }
    let mut dropped: Vec<u32> = bench.dropped.iter().map(|(serial, _)| *serial).collect();
    dropped.sort_unstable();
    assert_eq!(dropped, (0..count * size).filter(bad).collect::<Vec<u32>>(), "those that are refused, and no other");
    bench.all_done();
    (longest / MS, requests)
}

#[test]
fn a_refused_record_in_every_batch_costs_itself_alone() {
    for slots in [1, 4, 16] {
        // One a batch; a run of 30 in each 100; two of three.
        let every: [(u32, Bad); 3] = [
            (1_000, |serial| serial % 1_000 == 7),
            (1_000, |serial| serial % 100 < 30),
            (256, |serial| serial % 3 != 0),
        ];
        for (size, bad) in every {
            let (pause, requests) = course(slots, (40, size), bad);
            // The bench's clock: a request takes a millisecond, and a backend that fails is left alone for up to 2 s.
            assert!(pause < 4_000, "{slots} slots, {size}: nothing came for {pause} ms of {requests} requests");
        }
    }
}

#[test]
fn the_same_of_batches_that_come_from_the_spool() {
    let bad = |serial: &u32| serial % 100 < 30;
    let mut bench = Bench::new(4);
    bench.push(FRESH..FRESH + 1);
    bench.work(2, &mut |_, _| 201);
    (0..20).for_each(|n| bench.push_spooled(n * 200..n * 200 + 200));
    let (mut fresh, mut ticket) = (FRESH, 1_000);
    for _ in 0..100_000 {
        for batch in std::mem::take(&mut bench.lent_again) {
            (ticket, bench.held) = (ticket + 1, bench.held + batch.records as usize);
            bench.line.push_spooled(batch, Ticket::of(ticket), Past::default(), bench.now);
        }
        match bench.line.next(bench.now) {
            Turn::Send(job) => {
                bench.now += MS;
                let status = if serials(&job).iter().any(|serial| *serial < FRESH && bad(serial)) { 400 } else { 201 };
                bench.status(job, status);
            }
            Turn::Wait(at) => bench.now = at,
            // What is left waits for a proof that others are taken.
            Turn::Idle if bench.held > 0 => {}
            Turn::Idle => break,
        }
        if bench.delivered.concat().len() > 20 * 140 && fresh < FRESH + 64 {
            fresh += 1;
            bench.push(fresh..fresh + 1);
        }
    }
    assert_eq!(bench.dropped.len(), 20 * 60);
    assert!(bench.dropped.iter().all(|(serial, _)| bad(serial)));
    assert_eq!(bench.delivered.concat().len() as u32, 1 + 20 * 140 + fresh - FRESH);
    bench.all_done();
}
