//! Bounds, fairness, and the octets of the file; that others read it is tested from outside.

use super::*;
use crate::decode::{Datagram, DecodeErrorKind};

const S: u64 = 1_000_000_000;
const LIMIT: u64 = 64 * 1024;

fn error() -> Reason {
    Reason::Rejected(DecodeError { kind: DecodeErrorKind::BadLength, offset: 2, set_id: 0 })
}

fn sender(number: u32) -> SocketAddr {
    SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0a00_0000 + number), 2_055))
}

fn kept(number: u32, octets: usize, known: bool) -> Kept {
    Kept { receive_ns: 1, peer: sender(number), listener: 0, reason: error(), known, octets: vec![7; octets].into() }
}

fn ring(limit: u64) -> Arc<Rejected> {
    let local = SocketAddr::from(([0, 0, 0, 0], 2_055));
    Arc::new(Rejected::new(limit, vec![("l".to_owned(), local)], RejectedFigures::default()))
}

/// The sums are those of what is there, and within their bounds.
fn check(ring: &Ring) {
    let weights = |whose: &dyn Fn(&Kept) -> bool| ring.kept.iter().filter(|k| whose(k)).map(Kept::weight).sum::<u64>();
    assert_eq!((ring.octets, ring.strangers), (weights(&|_| true), weights(&|k| !k.known)));
    assert!(ring.octets <= ring.limit && ring.strangers <= ring.limit / REJECTED_STRANGERS_PART);
    for (sender, octets) in &ring.senders {
        assert_eq!(*octets, weights(&|k| k.peer.ip() == *sender));
        assert!(*octets > 0 && *octets <= ring.limit / REJECTED_SENDER_PART, "{sender}");
    }
}

#[test]
fn one_that_sends_much_pushes_out_its_own_alone() {
    let mut ring = Ring { limit: LIMIT, ..Ring::default() };
    for number in 0..20 {
        assert!(ring.take(kept(number, 100, true), S));
    }
    for turn in 0..5_000_u64 {
        ring.take(kept(99, 100 + turn as usize % 1_300, true), 2 * S + turn * S / 100);
    }
    check(&ring);
    assert!((0..20).all(|number| ring.of(sender(number).ip()) > 0), "all others are still there");
    assert!(ring.of(sender(99).ip()) > LIMIT / REJECTED_SENDER_PART / 2);
    assert!(!ring.take(kept(7, LIMIT as usize / 4, true), 1_000 * S), "larger than a sender's part");
}

#[test]
fn forged_senders_push_out_each_other_and_nobody_who_is_known() {
    let mut ring = Ring { limit: LIMIT, ..Ring::default() };
    for number in 0..20 {
        assert!(ring.take(kept(number, 100, true), S));
    }
    for number in 0..20_000 {
        ring.take(kept(1_000 + number, 60, false), 2 * S + u64::from(number) * S / 100);
    }
    check(&ring);
    assert!((0..20).all(|number| ring.of(sender(number).ip()) > 0));
    // A known one takes what it needs from those who have more.
    for number in 0..40 {
        assert!(ring.take(kept(number, 1_000, true), 1_000 * S));
    }
    check(&ring);
    assert!((0..20).all(|number| ring.of(sender(number).ip()) > 0));
}

#[test]
fn a_second_has_its_bound_whoever_sends() {
    let mut ring = Ring { limit: 1 << 23, ..Ring::default() };
    let taken = |ring: &mut Ring, at| (0..5_000).filter(|number| ring.take(kept(*number, 9, false), at)).count();
    assert_eq!(taken(&mut ring, 7 * S + 5), REJECTED_PER_S_MAX as usize);
    assert_eq!(taken(&mut ring, 8 * S), REJECTED_PER_S_MAX as usize);
    check(&ring);
}

#[test]
fn a_flood_costs_a_worker_its_allowance_and_the_ring_is_never_waited_for() {
    let shared = ring(1 << 20);
    let mut sampler = Sampler::new(Some(Arc::clone(&shared)));
    let offer = |sampler: &mut Sampler, number, now_ns| {
        let datagram = Datagram { peer: sender(number), receive_ns: 5, octets: b"x" };
        sampler.keep(now_ns, 0, &datagram, error, || false);
    };
    for _ in 0..100_000 {
        offer(&mut sampler, 1, S);
    }
    offer(&mut sampler, 1, 2 * S);
    sampler.publish();
    let (figures, burst) = (&shared.figures, u64::from(REJECTED_BURST));
    assert_eq!((figures.kept.value(), figures.not_kept.value()), (burst + 1, 100_000 - burst));
    assert_eq!(figures.octets.value(), (burst + 1) * (1 + REJECTED_OVERHEAD_OCTETS));

    // Somebody reads it: this would hang if it waited.
    let held = shared.ring.lock().unwrap();
    offer(&mut sampler, 1, 100 * S);
    drop(held);
    sampler.publish();
    assert_eq!((figures.kept.value(), figures.not_kept.value()), (burst + 1, 100_001 - burst));
}

#[test]
fn without_a_ring_nothing_is_kept_and_nobody_asked_why() {
    let mut sampler = Sampler::new(None);
    assert!(!sampler.is_on());
    let datagram = Datagram { peer: sender(1), receive_ns: 5, octets: b"x" };
    sampler.keep(S, 0, &datagram, || panic!("not asked"), || panic!("not asked"));
    sampler.publish();
    assert_eq!(sampler.not_kept, 0);
}

#[test]
fn reasons_say_where_it_was() {
    assert_eq!(error().to_string(), "rejected: bad_length at octet 2");
    let octets = [&[0; 20][..], &[1, 0, 0, 6, 9, 9, 0, 2, 0, 4]].concat();
    let mut outcome = Outcome { templates_rejected: 1, ..Outcome::default() };
    let reason = |outcome: &Outcome| Reason::of_outcome(Version::V9, outcome, &octets).to_string();
    assert_eq!(reason(&outcome), "used in part: 0 sets dropped, 1 template records refused");
    outcome.sets_dropped[SetDropKind::ReservedId as usize] = 2;
    outcome.sets_dropped[SetDropKind::ParkFull as usize] = 7;
    outcome.first_malformed = Some((SetDropKind::ReservedId, 2));
    let said = "used in part: 2 sets dropped, 1 template records refused; the first: reserved_id at octet 26, set 2";
    assert_eq!(reason(&outcome), said);
    outcome.first_malformed = Some((SetDropKind::BadRecord, 0));
    assert!(reason(&outcome).ends_with("bad_record, a set that had waited"));
}

#[test]
fn the_file_is_no_larger_than_what_the_ring_counts() {
    let shared = ring(1 << 20);
    let worst = Reason::Partly {
        sets: u32::MAX,
        templates: u32::MAX,
        first: Some((SetDropKind::ReservedId, Some((u32::MAX, u16::MAX)))),
    };
    let empty = shared.capture().len();
    assert!(empty as u64 <= 2 * REJECTED_OVERHEAD_OCTETS, "{empty}");
    let v6 = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 1));
    for octets in 0..9 {
        assert!(shared.offer(Kept { peer: v6, reason: worst, ..kept(0, octets, true) }, S));
    }
    let octets = shared.capture().len() - empty;
    assert!(octets as u64 <= shared.figures.octets.value(), "{octets}");
}
