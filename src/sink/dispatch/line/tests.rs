//! The line under a clock of numbers: every failure class against the plan.

mod refusals;
mod routes;

use std::collections::VecDeque;
use std::sync::Arc;

use uuid::Uuid;

use super::super::job::Past;
use super::*;
use crate::sink::ExporterRun;
use crate::sink::encode::Format;
use crate::sink::retry::{Backoff, Fault, of_fault, of_status};
use crate::spool::Ticket;

/// A batch whose records are the numbers of `serials`.
fn batch(serials: std::ops::Range<u32>) -> EncodedBatch {
    let mut body = b"{\"records\":[".to_vec();
    let mut record_ends = Vec::new();
    for serial in serials.clone() {
        body.extend_from_slice(if record_ends.is_empty() { b"" } else { b"," });
        body.extend_from_slice(serial.to_string().as_bytes());
        record_ends.push(u32::try_from(body.len()).unwrap());
    }
    body.extend_from_slice(b"]}");
    let records = u32::try_from(serials.len()).unwrap();
    EncodedBatch {
        id: Uuid::from_u128(u128::from(serials.start)),
        part: 0,
        format: Format::BackendJson,
        records,
        oldest_receive: u64::from(serials.start) + 1,
        newest_receive: u64::from(serials.end),
        body: body.into(),
        record_ends,
        per_exporter: vec![ExporterRun { tenant: Arc::from(""), address: [192, 0, 2, 1].into(), records }],
    }
}

fn serials(job: &Job) -> Vec<u32> {
    let text = std::str::from_utf8(&job.batch.body).unwrap();
    let list = text.strip_prefix("{\"records\":[").unwrap().strip_suffix("]}").unwrap();
    list.split(',').map(|n| n.parse().unwrap()).collect()
}

const MS: u64 = 1_000_000;

/// A line with a time that only this bench moves, and the books that dispatch would keep.
struct Bench {
    line: Line,
    now: u64,
    held: usize,
    delivered: Vec<Vec<u32>>,
    dropped: Vec<(u32, RecordDrop)>,
    given_back: Vec<Vec<u32>>,
    halved: Vec<Vec<u32>>,
    /// What a spool would hand out again: halves, and what was given back.
    lent_again: Vec<EncodedBatch>,
    reserved: u64,
}

impl Bench {
    fn new(slots: usize) -> Self {
        let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(2) };
        let policy = Policy {
            slots,
            retry_attempts: 3,
            backoff,
            adaptive: false,
            backends: 1,
            balance: crate::sink::Balance::Failover,
        };
        Self::with(policy)
    }

    fn with(policy: Policy) -> Self {
        let line = Line::new(policy, Random::new(7));
        Self {
            line,
            now: 0,
            held: 0,
            delivered: vec![],
            dropped: vec![],
            given_back: vec![],
            halved: vec![],
            lent_again: vec![],
            reserved: 0,
        }
    }

    fn push(&mut self, serials: std::ops::Range<u32>) {
        self.held += serials.len();
        self.reserved += 1_001;
        self.line.push(batch(serials), 1_001);
    }

    fn push_spooled(&mut self, serials: std::ops::Range<u32>) {
        self.held += serials.len();
        let ticket = Ticket::of(u64::from(serials.start));
        self.line.push_spooled(batch(serials), ticket, Past::default(), self.now);
    }

    fn sent(&mut self) -> Box<Job> {
        match self.line.next(self.now) {
            Turn::Send(job) => job,
            other => panic!("nothing to send at {}: {other:?}", self.now),
        }
    }

    fn status(&mut self, job: Box<Job>, status: u16) {
        self.judged(job, &of_status(status, None));
    }

    fn judged(&mut self, job: Box<Job>, verdict: &Verdict) {
        match self.line.finished(job, verdict, self.now) {
            Fate::Delivered(job) => {
                self.held -= job.batch.records as usize;
                self.reserved -= job.reserved;
                self.delivered.push(serials(&job));
            }
            Fate::Dropped(job, drop) => {
                assert_eq!(job.batch.records, 1, "only a single record is ever given up");
                self.held -= 1;
                self.reserved -= job.reserved;
                self.dropped.push((serials(&job)[0], drop));
            }
            Fate::GivenBack(job, _) => {
                self.held -= job.batch.records as usize;
                self.given_back.push(serials(&job));
                self.lent_again.push(job.batch);
            }
            Fate::Halved(job) => {
                self.held -= job.batch.records as usize;
                self.halved.push(serials(&job));
                let (left, right) = job.batch.split().expect("two records and more");
                self.lent_again.extend([left, right]);
            }
            Fate::Kept | Fate::Split => {}
        }
    }

    /// Lets the line work against `backend` with all its slots, answers in order of sending, each `ms` after
    /// the last; until nothing is left or `rounds` are over.
    fn work(&mut self, rounds: usize, backend: &mut dyn FnMut(&[u32], u64) -> u16) {
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
                let status = backend(&serials(&job), self.now);
                self.status(job, status);
            } else if let Some(at) = wait {
                assert!(at > self.now, "the line asks to wait for the past");
                self.now = at;
            } else {
                break;
            }
        }
        for job in under_way {
            self.status(job, 201);
        }
    }

    fn all_done(&self) {
        assert_eq!((self.held, self.reserved), (0, 0));
        assert_eq!(self.line.oldest_receive(), None);
        assert_eq!(self.line.waiting(), 0);
    }
}

#[test]
fn oldest_first_with_a_bounded_number_under_way() {
    let mut bench = Bench::new(2);
    (0..3).for_each(|n| bench.push(n * 10..n * 10 + 10));
    let (first, second) = (bench.sent(), bench.sent());
    assert!(matches!(bench.line.next(0), Turn::Idle));
    assert_eq!((serials(&first)[0], serials(&second)[0]), (0, 10));
    assert_eq!(bench.line.oldest_receive(), Some(1));
    bench.status(first, 201);
    assert_eq!(bench.line.oldest_receive(), Some(11));
    let third = bench.sent();
    bench.status(third, 200);
    bench.status(second, 204);
    bench.all_done();
}

#[test]
fn a_sick_backend_gets_one_probe_at_a_time_and_order_is_kept() {
    let mut bench = Bench::new(4);
    (0..6).for_each(|n| bench.push(n..n + 1));
    let jobs: Vec<_> = (0..4).map(|_| bench.sent()).collect();
    for job in jobs {
        bench.status(job, 503);
    }
    assert!(!bench.line.is_well());
    let Turn::Wait(at) = bench.line.next(0) else { panic!("a sick sink waits") };
    assert!(at <= 100 * MS, "four answers of one failure count as one: {at}");
    bench.now = at;
    let probe = bench.sent();
    assert_eq!(serials(&probe), [0], "the oldest is the probe");
    assert!(matches!(bench.line.next(at), Turn::Idle), "one probe only");
    bench.status(probe, 201);
    assert!(bench.line.is_well());
    bench.work(100, &mut |_, _| 201);
    assert_eq!(bench.delivered.concat(), [0, 1, 2, 3, 4, 5]);
    bench.all_done();
}

#[test]
fn back_off_grows_and_a_probe_makes_way_after_its_tries() {
    let mut bench = Bench::new(1);
    (0..3).for_each(|n| bench.push(n..n + 1));
    let mut probes = Vec::new();
    let mut longest = 0;
    bench.work(400, &mut |serials, now| {
        probes.push(serials[0]);
        longest = longest.max(now);
        if probes.len() < 40 { 502 } else { 201 }
    });
    assert_eq!(probes[..12], [0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 0, 0]);
    assert!(longest > 10_000 * MS, "39 failures took only {longest} ns");
    // Recovery starts with the probe that got through, then the oldest.
    bench.all_done();
    assert_eq!(bench.delivered.len(), 3);
}

#[test]
fn a_named_pause_is_kept_even_when_an_older_request_is_accepted() {
    let mut bench = Bench::new(2);
    (0..3).for_each(|n| bench.push(n..n + 1));
    let (first, second) = (bench.sent(), bench.sent());
    bench.judged(first, &of_status(429, Some(Duration::from_secs(30))));
    bench.now += MS;
    bench.status(second, 201);
    assert!(!bench.line.is_well());
    let Turn::Wait(at) = bench.line.next(bench.now) else { panic!("a pause was named") };
    assert!((30_000 * MS..=30_100 * MS).contains(&at), "{at}");
    bench.now = at;
    bench.work(20, &mut |_, _| 201);
    bench.all_done();
}

#[test]
fn an_older_request_accepted_ends_a_sickness_without_a_pause() {
    let mut bench = Bench::new(2);
    (0..3).for_each(|n| bench.push(n..n + 1));
    let (first, second) = (bench.sent(), bench.sent());
    bench.judged(first, &of_fault(Fault::Reset, true));
    bench.status(second, 201);
    assert!(bench.line.is_well());
    let next = bench.sent();
    assert_eq!(serials(&next), [2], "the failed one has its back-off");
    bench.status(next, 201);
    bench.work(20, &mut |_, _| 201);
    assert_eq!(bench.delivered.concat(), [1, 2, 0]);
    bench.all_done();
}

#[test]
fn refused_records_are_found_among_good_ones() {
    for slots in [1, 4] {
        for bad in [vec![0], vec![63], vec![31, 32], vec![5, 17, 18, 19, 60]] {
            let mut bench = Bench::new(slots);
            (0..8).for_each(|n| bench.push(n * 16..n * 16 + 16));
            bench.work(5_000, &mut |s, _| if s.iter().any(|n| bad.contains(n)) { 400 } else { 201 });
            let mut dropped: Vec<_> = bench.dropped.iter().map(|(n, _)| *n).collect();
            dropped.sort_unstable();
            assert_eq!(dropped, bad);
            assert!(bench.dropped.iter().all(|(_, drop)| *drop == RecordDrop::DeliveryRefused));
            assert_eq!(bench.delivered.concat().len(), 128 - bad.len());
            bench.all_done();
        }
    }
}

#[test]
fn a_backend_that_refuses_everything_is_the_environment() {
    let mut bench = Bench::new(4);
    (0..8).for_each(|n| bench.push(n * 16..n * 16 + 16));
    let mut requests = 0;
    bench.work(200, &mut |s, _| {
        requests += 1;
        assert_eq!(s.len(), 16, "never split");
        if requests < 60 { 400 } else { 201 }
    });
    assert!(bench.dropped.is_empty());
    bench.all_done();
}

#[test]
fn a_backend_that_begins_to_refuse_everything_costs_no_record() {
    let mut bench = Bench::new(4);
    (0..30).for_each(|n| bench.push(n * 16..n * 16 + 16));
    let (mut requests, mut refused) = (0, 0);
    bench.work(20_000, &mut |_, now| {
        requests += 1;
        // Good for ten requests, broken for ten minutes, good again.
        let good = requests <= 10 || now > 600_000 * MS;
        refused += usize::from(!good);
        if good { 201 } else { 422 }
    });
    assert!(refused < 1_500, "{refused}: three batches may be searched, then the sink backs off");
    assert_eq!(bench.delivered.concat().len(), 30 * 16 - bench.dropped.len());
    assert!(bench.dropped.is_empty(), "{:?}", bench.dropped);
    bench.all_done();
}

#[test]
fn a_single_record_needs_an_acceptance_after_its_first_try() {
    let mut bench = Bench::new(1);
    bench.push(0..1);
    bench.push(1..2);
    let first = bench.sent();
    bench.status(first, 201);
    let bad = bench.sent();
    bench.status(bad, 422);
    assert!(bench.dropped.is_empty() && bench.line.is_well());
    bench.push(2..3);
    bench.work(20, &mut |s, _| if s == [1] { 422 } else { 201 });
    assert_eq!(bench.dropped, [(1, RecordDrop::DeliveryRefused)]);
    bench.all_done();
}

#[test]
fn a_poisoned_record_is_found_and_holds_up_nobody() {
    let mut bench = Bench::new(2);
    (0..40).for_each(|n| bench.push(n * 16..n * 16 + 16));
    let mut others_before_the_end = 0;
    bench.work(5_000, &mut |s, _| {
        others_before_the_end += usize::from(s.len() == 16);
        if s.contains(&5) { 500 } else { 201 }
    });
    // Nothing is left to pass meanwhile: the last part waits for others.
    bench.push(900..901);
    bench.push(901..902);
    for n in 902..930 {
        bench.work(20, &mut |s, _| if s.contains(&5) { 500 } else { 201 });
        bench.push(n..n + 1);
    }
    bench.work(500, &mut |s, _| if s.contains(&5) { 500 } else { 201 });
    assert_eq!(bench.dropped, [(5, RecordDrop::DeliveryPoison)]);
    bench.all_done();
}

#[test]
fn nothing_is_given_up_for_503_or_a_reset() {
    for verdict in [of_status(503, None), of_fault(Fault::Reset, true), of_fault(Fault::Timeout, true)] {
        let mut bench = Bench::new(2);
        bench.push(0..2);
        let mut tries = 0;
        for n in 2..400 {
            bench.push(n..n + 1);
            for _ in 0..4 {
                match bench.line.next(bench.now) {
                    Turn::Send(job) if serials(&job).iter().any(|s| *s < 2) => {
                        tries += 1;
                        bench.judged(job, &verdict);
                    }
                    Turn::Send(job) => bench.status(job, 201),
                    Turn::Wait(_) | Turn::Idle => {}
                }
            }
            bench.now += 500 * MS;
        }
        assert!(tries > 5, "{tries}");
        assert!(bench.dropped.is_empty());
        bench.work(100, &mut |_, _| 201);
        bench.all_done();
    }
}

#[test]
fn what_may_have_been_written_is_marked_when_it_is_sent_again() {
    let mut bench = Bench::new(1);
    bench.push(0..2);
    let job = bench.sent();
    assert!(!job.repeated);
    bench.judged(job, &of_fault(Fault::Timeout, true));
    bench.now += 10_000 * MS;
    let job = bench.sent();
    assert!(job.repeated);
    bench.judged(job, &of_fault(Fault::Connect, false));
    bench.now += 10_000 * MS;
    let job = bench.sent();
    assert!(!job.repeated, "this one was counted when it was sent again");
    bench.status(job, 201);
    bench.all_done();
}

#[test]
fn near_the_end_nothing_waits_for_long() {
    let mut bench = Bench::new(1);
    (0..3).for_each(|n| bench.push(n..n + 1));
    let job = bench.sent();
    bench.judged(job, &of_status(503, Some(Duration::from_secs(600))));
    bench.line.hurry(Duration::from_millis(5), bench.now);
    let Turn::Wait(at) = bench.line.next(bench.now) else { panic!("still sick") };
    assert!(at <= 5 * MS);
    bench.now = at;
    let job = bench.sent();
    bench.judged(job, &of_status(503, Some(Duration::from_secs(600))));
    let Turn::Wait(at) = bench.line.next(bench.now) else { panic!("still sick") };
    assert!(at <= bench.now + 10 * MS, "named pause and back-off: {at}");
    assert_eq!(bench.line.take_all().count(), 3);
    assert_eq!(bench.line.oldest_receive(), None);
}

#[test]
fn the_spools_batches_have_half_of_the_slots_while_others_wait_and_all_of_them_alone() {
    let mut bench = Bench::new(4);
    (0..10).for_each(|n| bench.push_spooled(n..n + 1));
    (100..110).for_each(|n| bench.push(n..n + 1));
    let first: Vec<_> = (0..4).map(|_| bench.sent()).collect();
    let of_spool = |jobs: &[Box<Job>]| jobs.iter().filter(|job| job.ticket.is_some()).map(|j| serials(j)[0]).collect();
    let spooled: Vec<u32> = of_spool(&first);
    assert_eq!(spooled, [0, 1], "the oldest of the spool, beside as many others");
    for job in first {
        bench.status(job, 201);
    }
    // The same with one slot: in turns.
    let mut one = Bench::new(1);
    (0..3).for_each(|n| one.push_spooled(n..n + 1));
    (100..103).for_each(|n| one.push(n..n + 1));
    for _ in 0..6 {
        let job = one.sent();
        one.status(job, 201);
    }
    assert_eq!(one.delivered, [vec![0], vec![100], vec![1], vec![101], vec![2], vec![102]]);
    // Alone.
    let mut alone = Bench::new(4);
    (0..5).for_each(|n| alone.push_spooled(n..n + 1));
    let jobs: Vec<_> = (0..4).map(|_| alone.sent()).collect();
    assert_eq!(jobs.iter().map(|job| serials(job)[0]).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn a_sick_backend_sees_the_spools_head_make_way_for_what_is_behind_it() {
    let mut bench = Bench::new(2);
    (0..3).for_each(|n| bench.push_spooled(n..n + 1));
    for _ in 0..30 {
        match bench.line.next(bench.now) {
            Turn::Send(job) => bench.status(job, 503),
            Turn::Wait(at) => bench.now = at,
            Turn::Idle => break,
        }
    }
    assert_eq!(bench.given_back, [[0], [1], [2]], "three tries each");
    assert!(bench.line.oldest_receive().is_none() && !bench.line.has_loans() && bench.held == 0);
}

#[test]
fn the_spools_batches_are_halved_on_disk_and_their_parts_are_under_suspicion() {
    let mut bench = Bench::new(2);
    bench.push_spooled(0..4);
    bench.push(100..101);
    let (whole, other) = (bench.sent(), bench.sent());
    bench.status(other, 201);
    bench.status(whole, 413);
    assert_eq!(bench.halved, [vec![0, 1, 2, 3]]);
    let (part, _) = batch(0..4).split().unwrap();
    bench.held += 2;
    bench.line.push_spooled(part, Ticket::of(9), Past { repeated: true, doubtful: false }, bench.now);
    let part = bench.sent();
    assert!(part.suspect && part.repeated);
    bench.status(part, 201);
    assert!(bench.line.oldest_receive().is_none());
}

#[test]
fn what_goes_to_the_spool_goes_oldest_first_and_may_come_back() {
    let mut bench = Bench::new(1);
    (0..4).for_each(|n| bench.push(n..n + 1));
    bench.push_spooled(50..51);
    let first = bench.sent();
    bench.status(first, 503);
    let mut taken = Vec::new();
    while let Some(job) = bench.line.take_oldest_fresh() {
        taken.push(serials(&job)[0]);
        if taken.len() == 2 {
            bench.line.put_back(job, bench.now);
            assert_eq!(bench.line.fresh_waiting(), 3);
        }
    }
    assert_eq!(taken, [0, 1, 1, 2, 3], "the failed one is the oldest, the spool's own is not taken");
    assert_eq!((bench.line.fresh_waiting(), bench.line.take_loans().len(), bench.line.waiting()), (0, 1, 0));
    assert!(bench.line.oldest_receive().is_none());
}

/// Tries with a batch of the spool while others pass, and whether it was halved then; given back, it is lent again.
fn tries(past: Past, status: impl Fn(u32) -> u16) -> (u32, bool) {
    let (mut bench, mut tries) = (Bench::new(4), 0);
    for n in 100..2_000 {
        bench.push(n..n + 1);
        let lent = bench.line.has_loans();
        if !lent && (tries == 0 || bench.given_back.pop().is_some()) {
            bench.held += 4;
            bench.line.push_spooled(batch(0..4), Ticket::of(1), past, bench.now);
        }
        bench.work(4, &mut |serials, _| {
            tries += u32::from(serials.len() == 4);
            if serials.len() == 4 { status(tries) } else { 201 }
        });
        if !bench.halved.is_empty() || bench.delivered.iter().any(|serials| serials.len() == 4) {
            break;
        }
    }
    (tries, !bench.halved.is_empty())
}

#[test]
fn what_may_have_been_accepted_is_not_split_for_what_chance_brings_about() {
    let (known, lent) = (Past { repeated: true, doubtful: false }, Past { repeated: true, doubtful: true });
    for status in [500, 400] {
        let (few, halved) = tries(known, |_| status);
        assert!(halved && few <= limits::POISON_STRIKES + 2, "{status}: {few}");
        let (many, halved) = tries(lent, |_| status);
        assert!(halved && many >= limits::POISON_STRIKES_DOUBTFUL, "{status}: {many}");
    }
    let chance = |tries| if tries < limits::POISON_STRIKES_DOUBTFUL { 500 } else { 201 };
    assert_eq!(tries(lent, chance), (limits::POISON_STRIKES_DOUBTFUL, false));
    // Nobody answered the first time: from then on it may be there.
    let mut bench = Bench::new(1);
    bench.push_spooled(0..4);
    let job = bench.sent();
    bench.judged(job, &of_fault(Fault::Timeout, true));
    let job = bench.line.take_loans().pop().expect("it waits");
    assert!(job.doubtful && job.repeated);
}
