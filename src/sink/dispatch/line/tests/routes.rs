//! Several backends: each job of the line is answered by the backend that it was sent to.

use proptest::prelude::*;

use super::*;
use crate::sink::Balance;
use crate::sink::dispatch::route::Sharing;

fn bench(slots: usize, backends: usize, balance: Balance) -> Bench {
    let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(2) };
    Bench::with(Policy { slots, retry_attempts: 3, backoff, adaptive: false, backends, balance })
}

impl Bench {
    /// Like `work`, for a backend that knows which one it is.
    fn work_with(&mut self, rounds: usize, backend: &mut dyn FnMut(usize, &[u32], u64) -> u16) {
        let mut under_way = VecDeque::new();
        for _ in 0..rounds {
            let wait = loop {
                match self.line.next(self.now) {
                    Turn::Send(job) => under_way.push_back(job),
                    Turn::Wait(at) => break Some(at),
                    Turn::Idle => break None,
                }
            };
            if let Some(job) = under_way.pop_front() {
                self.now += MS;
                let status = backend(job.target, &serials(&job), self.now);
                self.status(job, status);
            } else if let Some(at) = wait {
                assert!(at > self.now, "the line asks to wait for the past");
                self.now = at;
            } else {
                break;
            }
        }
        for job in under_way {
            let status = backend(job.target, &serials(&job), self.now);
            self.status(job, status);
        }
    }
}

#[test]
fn failover_takes_the_first_and_returns_to_it() {
    let mut bench = bench(2, 3, Balance::Failover);
    (0..60).for_each(|n| bench.push(n..n + 1));
    let mut seen = Vec::new();
    bench.work_with(2_000, &mut |target, _, now| {
        seen.push(target);
        // The first is away for a while; so that time passes, the second is slow to take what is left.
        if target == 0 && (10 * MS..40 * MS).contains(&now) { 503 } else { 201 }
    });
    bench.all_done();
    assert_eq!(bench.delivered.concat().len(), 60);
    assert!(seen[..9].iter().all(|target| *target == 0), "{seen:?}");
    assert!(seen.contains(&1) && !seen.contains(&2), "{seen:?}");
    for n in 100..110 {
        bench.now += 2_000 * MS;
        bench.push(n..n + 1);
        bench.work_with(10, &mut |target, _, _| {
            seen.push(target);
            201
        });
    }
    assert_eq!(seen[seen.len() - 9..], [0; 9], "the preferred one is back, and a probe brought that to light");
    bench.all_done();
}

#[test]
fn a_probe_beside_a_healthy_backend_is_one_batch_and_moves_on_at_once() {
    let mut bench = bench(4, 2, Balance::Failover);
    bench.push(0..1);
    let first = bench.sent();
    bench.status(first, 503);
    let moved = bench.sent();
    assert_eq!((moved.target, serials(&moved)), (1, vec![0]), "without a pause");
    (1..10).for_each(|n| bench.push(n..n + 1));
    bench.now += 5_000 * MS;
    let probe = bench.sent();
    assert_eq!((probe.target, serials(&probe)), (0, vec![1]));
    assert_eq!(bench.line.routes().way(0).breaker.state(), crate::sink::dispatch::breaker::State::HalfOpen);
    let others: Vec<_> = (0..3).map(|_| bench.sent()).collect();
    assert!(others.iter().all(|job| job.target == 1), "while it asks, the others go on");
    assert!(matches!(bench.line.next(bench.now), Turn::Idle), "four beside the probe, which has a place of its own");
    bench.status(probe, 502);
    bench.status(moved, 201);
    let again = bench.sent();
    assert_eq!((again.target, serials(&again)), (1, vec![1]), "the oldest, and not deferred");
    bench.status(again, 201);
    others.into_iter().for_each(|job| bench.status(job, 201));
    bench.work_with(200, &mut |target, _, _| if target == 0 { 502 } else { 201 });
    bench.all_done();
}

#[test]
fn spread_gives_to_all_and_a_dead_one_costs_nothing() {
    let mut bench = bench(6, 3, Balance::Spread);
    (0..90).for_each(|n| bench.push(n..n + 1));
    let mut taken = [0; 3];
    bench.work_with(45, &mut |target, _, _| {
        taken[target] += 1;
        201
    });
    assert!(taken.iter().all(|count| (10..=20).contains(count)), "{taken:?}");
    bench.work_with(500, &mut |target, _, _| if target == 1 { 503 } else { 201 });
    bench.all_done();
    assert_eq!(bench.delivered.concat().len(), 90);
}

#[test]
fn one_that_refuses_everything_is_sick_and_splits_nothing() {
    for balance in [Balance::Failover, Balance::Spread] {
        for status in [400, 413, 500] {
            let mut bench = bench(4, 2, balance);
            (0..30).for_each(|n| bench.push(n * 8..n * 8 + 8));
            bench.work_with(1_000, &mut |target, s, _| {
                assert_eq!(s.len(), 8, "never split");
                if target == 0 { status } else { 201 }
            });
            bench.all_done();
            assert_eq!((bench.delivered.len(), bench.dropped.len()), (30, 0));
            assert!(!bench.line.routes().way(0).breaker.is_closed());
        }
    }
}

#[test]
fn one_that_begins_to_refuse_everything_is_not_searched_while_another_takes_it() {
    for balance in [Balance::Failover, Balance::Spread] {
        let (mut bench, mut asked, mut parts) = (bench(4, 2, balance), 0, 0);
        (0..200).for_each(|n| bench.push(n * 8..n * 8 + 8));
        bench.work_with(5_000, &mut |target, s, _| {
            asked += usize::from(target == 0);
            let refuses = target == 0 && asked > 10;
            parts += u32::from(s.len() < 8);
            if refuses { 400 } else { 201 }
        });
        assert!(bench.dropped.is_empty() && bench.delivered.concat().len() == 1_600, "{balance:?}");
        // Those of its first refusals, for a while on the strength of what it had accepted, asked of either.
        assert!(parts <= 4 * limits::REFUSALS_IN_A_ROW_MAX, "{balance:?}: {parts} parts were sent");
        bench.all_done();
    }
}

#[test]
fn what_one_gives_up_is_shown_to_its_equals_before_it_is_lost() {
    // So many that chance does not bring each of them to the one that takes it, and so few that it is not sick.
    const BAD: [u32; 8] = [165, 249, 331, 410, 493, 570, 651, 740];
    for (status, everywhere) in [(400, false), (400, true), (500, false), (500, true)] {
        let mut bench = bench(4, 2, Balance::Spread);
        let bad = |target: usize, s: &[u32]| s.iter().any(|n| BAD.contains(n)) && (everywhere || target == 0);
        (0..100).for_each(|n| bench.push(n * 8..n * 8 + 8));
        for n in 0..400 {
            bench.work_with(20, &mut |target, s, _| if bad(target, s) { status } else { 201 });
            bench.now += 100 * MS;
            bench.push(1_000 + n..1_001 + n);
        }
        bench.work_with(1_000, &mut |target, s, _| if bad(target, s) { status } else { 201 });
        bench.all_done();
        let mut lost: Vec<u32> = bench.dropped.iter().map(|(n, _)| *n).collect();
        lost.sort_unstable();
        assert_eq!(lost, if everywhere { BAD.to_vec() } else { vec![] }, "{status}");
    }
}

#[test]
fn the_spool_takes_only_when_all_are_sick() {
    let mut bench = bench(2, 2, Balance::Failover);
    (0..2).for_each(|n| bench.push(n..n + 1));
    let (a, b) = (bench.sent(), bench.sent());
    bench.status(a, 503);
    assert_eq!(bench.line.sick_since(), None);
    bench.now += MS;
    bench.status(b, 503);
    let moved = bench.sent();
    assert_eq!(moved.target, 1);
    bench.status(moved, 503);
    assert_eq!(bench.line.sick_since(), Some(bench.now), "since the last one fell sick");
    assert!(!bench.line.is_well());
}

#[test]
fn a_suspect_that_the_spool_had_is_what_it_was() {
    let mut bench = bench(2, 1, Balance::Failover);
    let mut visits = 0;
    while bench.halved.is_empty() && visits < 10 {
        visits += 1;
        bench.now += 10_000 * MS;
        // Others pass meanwhile; the first of them ends the sickness that the last visit brought.
        bench.push(100 + visits..101 + visits);
        let other = bench.sent();
        bench.status(other, 201);
        bench.push_spooled(0..4);
        let mut job = bench.sent();
        assert_eq!(job.strikes, visits - 1, "each visit is remembered");
        // It makes way with its first failure, or is taken back because too many wait.
        job.tries = 2;
        bench.status(job, 500);
        for job in bench.line.take_loans() {
            bench.held -= 4;
            bench.line.remember(&job);
        }
    }
    assert_eq!((bench.halved, visits), (vec![vec![0, 1, 2, 3]], limits::POISON_STRIKES));
}

#[test]
fn what_is_remembered_of_suspects_is_bounded() {
    let mut suspects = super::super::suspects::Suspects::default();
    let mut bench = bench(1, 1, Balance::Failover);
    bench.push(0..1);
    let mut job = bench.sent();
    suspects.keep(&job);
    assert_eq!(suspects.len(), 0, "nothing speaks against it");
    job.strikes = 2;
    for n in 0..limits::SUSPECTS_REMEMBERED_MAX as u128 + 10 {
        job.batch.id = Uuid::from_u128(n);
        suspects.keep(&job);
    }
    assert_eq!(suspects.len(), limits::SUSPECTS_REMEMBERED_MAX);
    job.strikes = 0;
    suspects.restore(&mut job);
    assert_eq!((job.strikes, suspects.len()), (2, limits::SUSPECTS_REMEMBERED_MAX - 1));
    (job.batch.id, job.strikes) = (Uuid::from_u128(0), 0);
    suspects.restore(&mut job);
    assert_eq!(job.strikes, 0, "the oldest made room");
}

#[test]
fn halves_start_twenty_a_second_wherever_they_come_from() {
    for from_spool in [false, true] {
        let mut bench = bench(64, 1, Balance::Failover);
        let mut halves = 0;
        if from_spool {
            for n in 0..200 {
                let (part, _) = batch(n * 4..n * 4 + 4).split().unwrap();
                bench.held += 2;
                bench.line.push_spooled(part, Ticket::of(u64::from(n)), Past::default(), bench.now);
            }
        } else {
            for _ in 0..100 {
                bench.line.split_slot(0, SPLIT_NS);
            }
            assert_eq!(bench.line.split_slot(0, SPLIT_NS), 10_000 * MS, "a hundred splits, two hundred halves");
            continue;
        }
        while bench.now < 5_000 * MS {
            match bench.line.next(bench.now) {
                Turn::Send(job) => {
                    halves += 1;
                    bench.status(job, 201);
                }
                Turn::Wait(at) => bench.now = at,
                Turn::Idle => break,
            }
        }
        assert!((95..=101).contains(&halves), "{halves} in 5 s");
    }
}

proptest! {
    /// Backends that fail at random with everything there is: nothing is lost but by name, nothing is doubled in the
    /// line, nothing waits for ever.
    #[test]
    fn nothing_is_lost_between_backends(
        backends in 1_usize..5,
        slots in 1_usize..6,
        spread in any::<bool>(),
        adaptive in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let balance = if spread { Balance::Spread } else { Balance::Failover };
        let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(2) };
        let mut bench = Bench::with(Policy { slots, retry_attempts: 3, backoff, adaptive, backends, balance });
        let mut random = Random::new(seed);
        (0..40).for_each(|n| bench.push(n * 4..n * 4 + 4));
        for _ in 0..10 {
            let modes: Vec<u64> = (0..backends).map(|_| random.up_to(4)).collect();
            bench.work_with(60, &mut |target, _, _| match modes[target] {
                0 => 201,
                1 => 503,
                2 => 401,
                3 => if random.up_to(1) == 0 { 500 } else { 201 },
                _ => 204,
            });
        }
        bench.work_with(5_000, &mut |_, _, _| 201);
        bench.all_done();
        let mut all: Vec<u32> = bench.delivered.concat();
        all.extend(bench.dropped.iter().map(|(n, _)| *n));
        all.sort_unstable();
        prop_assert_eq!(all, (0..160).collect::<Vec<_>>());
    }
}

#[test]
fn other_backends_begin_anew_and_answers_of_those_before_say_nothing_of_them() {
    let mut bench = bench(4, 3, Balance::Spread);
    (0..6).for_each(|n| bench.push(n..n + 1));
    let (lost, refused, taken) = (bench.sent(), bench.sent(), bench.sent());
    let failed = bench.sent();
    bench.status(failed, 503);
    assert!(bench.line.routes().iter().any(|way| !way.breaker.is_closed()));
    bench.line.turn_to(Sharing { backends: 1, balance: Balance::Failover, adaptive: false }, bench.now);
    assert!(bench.line.is_well() && bench.line.routes().iter().count() == 1);
    // Their indices are those of before, two of them beyond the list of now.
    bench.status(taken, 201);
    bench.status(lost, 503);
    bench.status(refused, 400);
    assert!(bench.line.is_well(), "an answer of a backend of before");
    bench.work_with(100, &mut |target, _, _| {
        assert_eq!(target, 0);
        201
    });
    bench.all_done();
    let mut all = bench.delivered.concat();
    all.sort_unstable();
    assert_eq!(all, (0..6).collect::<Vec<_>>(), "nothing was lost or split");
}
