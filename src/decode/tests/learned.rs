//! What a domain learns, under hostile and unlucky senders: bounds, ports, panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use super::*;

/// A template of `fields` fields of one octet each.
fn wide(id: u16, fields: u16) -> Vec<u8> {
    let list: Vec<u16> = (0..fields).flat_map(|_| [4, 1]).collect();
    template(id, &list)
}

fn ipfix_templates(body: &[u8]) -> Vec<u8> {
    ipfix(5, 0, &[set(2, body)])
}

#[test]
fn a_3_what_a_port_forgets_its_address_forgets_too() {
    let mut bench = Bench::new();
    let shared = bench.domain(Version::Ipfix, 5);
    let port = bench.port(1_001, &shared);
    // Each takes 44 KiB of the exporter's 1 MiB, so the port keeps the last two dozen.
    for id in 256..356_u16 {
        bench.decode_at(&port, &ipfix_templates(&wide(id, 1_000)), RECEIVE_NS + u64::from(id));
    }
    let own = port.status().templates;
    assert!(own < 30, "{own} templates in a port's share");
    assert_eq!(shared.status().templates, own, "the address must not keep what the bound made the port forget");
    assert!(shared.plan(355).is_some() && shared.plan(256).is_none());
}

#[test]
fn a_domain_that_is_emptied_twice_takes_nothing_from_its_successor() {
    let mut bench = Bench::new();
    let shared = bench.domain(Version::Ipfix, 5);
    let old = bench.port(1_001, &shared);
    bench.decode(&old, &ipfix_templates(&template(256, &TEMPLATE)));
    old.retire();
    let new = bench.port(1_001, &shared);
    bench.decode(&new, &ipfix_templates(&template(256, &TEMPLATE)));
    // A worker that still had the old one at hand empties it once more at the end of its turn.
    old.retire();
    assert_eq!(bench.decode(&shared, &ipfix(5, 0, &[set(256, &rows([1]))])).records, 1);
    new.retire();
    assert_eq!(shared.status().templates, 0);
}

#[test]
fn dec_3_sets_that_came_before_their_ports_template_wait_for_that_port() {
    let mut bench = Bench::new();
    let shared = bench.domain(Version::Ipfix, 5);
    let (a, b) = (bench.port(1_001, &shared), bench.port(1_002, &shared));
    let other = [8, 4, 12, 4, 1, 4];
    bench.decode(&a, &ipfix_templates(&template(256, &TEMPLATE)));
    bench.decode(&b, &ipfix_templates(&template(256, &other)));
    // The exporter comes back on a third port; its first data set is before its template.
    assert_eq!(bench.decode_from(&shared, &ipfix(5, 0, &[set(256, &rows([1]))]), 1_003).sets_parked, 1);
    assert_eq!(bench.decode_from(&shared, &ipfix(5, 0, &[set(256, &rows([9]))]), 1_004).sets_parked, 1);
    let c = bench.port(1_003, &shared);
    let outcome = bench.decode_from(&c, &ipfix_templates(&template(256, &TEMPLATE)), 1_003);
    assert_eq!((outcome.sets_unparked, outcome.records), (1, 1), "its own word is enough for its own sets");
    assert_eq!(serials(&bench), [1]);
    assert_eq!((shared.status().parked_sets, c.status().parked_sets), (1, 0));
}

#[test]
fn n9_12_a_layout_that_finds_no_room_takes_the_old_one_with_it() {
    let mut bench = Bench::with_learned_octets(1_000);
    let domain = bench.domain(Version::V9, 7);
    bench.decode(&domain, &v9(7, 1, &[set(0, &template(256, &TEMPLATE))]));
    let outcome = bench.decode(&domain, &v9(7, 2, &[set(0, &wide(256, 100)), set(256, &rows([1]))]));
    assert_eq!((outcome.templates_rejected, outcome.templates_learned), (1, 0));
    assert_eq!((outcome.records, outcome.sets_parked), (0, 1), "data of the new layout must not be read by the old");
    assert_eq!(bench.state.budget.learned_octets.load(Ordering::Relaxed), 0);
}

#[test]
fn a_3_a_template_that_can_never_fit_pushes_nobody_out() {
    let mut bench = Bench::with_learned_octets(2_000);
    let domain = bench.domain(Version::V9, 7);
    bench.decode(&domain, &v9(7, 1, &[set(0, &template(256, &TEMPLATE)), set(0, &template(257, &TEMPLATE))]));
    let outcome = bench.decode(&domain, &v9(7, 2, &[set(0, &wide(300, 100)), set(256, &rows([1]))]));
    assert_eq!((outcome.templates_rejected, outcome.records), (1, 1));
    assert_eq!(domain.status().templates, 2);
}

#[test]
fn a_panic_in_the_middle_of_a_replay_leaves_the_books_whole() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    for (sequence, id) in [(1, 256), (2, 257), (3, 258)] {
        bench.decode(&domain, &v9(7, sequence, &[set(id, &rows([sequence]))]));
    }
    assert_eq!(domain.status().parked_sets, 3);
    domain.break_plan_for_test(257, &TEMPLATE);
    // One more set is parked by the datagram over which the decoder fails, after one was replayed.
    let message = v9(7, 4, &[set(300, &[1, 2]), set(0, &template(256, &TEMPLATE))]);
    assert!(catch_unwind(AssertUnwindSafe(|| bench.decode(&domain, &message))).is_err());
    // Three were counted as parked; so many must leave, whatever the failed datagram did.
    assert_eq!(domain.retire().sets, 3);
    let state = &bench.state;
    assert_eq!((state.parked_sets.load(Ordering::Relaxed), state.parked_octets.load(Ordering::Relaxed)), (0, 0));
    assert_eq!(state.budget.parked_octets.load(Ordering::Relaxed), 0);
    assert_eq!(domain.retire(), ParkedCounts::default(), "they leave once");
}

#[test]
fn a_5_options_records_of_a_message_are_bounded() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 1);
    let options = words(&[257, 0, 4, 34, 1]);
    let outcome = bench.decode(&domain, &v9(1, 1, &[set(1, &options), set(257, &[9; 60_000])]));
    assert_eq!(outcome.options_records as usize, limits::ROWS_PER_MESSAGE_MAX);
    assert_eq!(outcome.sets_dropped[SetDropKind::TooManyRows as usize], 1);
    assert_eq!((outcome.sets_seen, outcome.sets_options, outcome.sets_templates), (2, 0, 1));
}

#[test]
fn n9_10_empty_fields_take_no_place_and_no_time() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    // 8:0, 82:variable, 7:2 between and behind fields without octets.
    let fields = [90, 0, 8, 0, 82, 0xFFFF, 12, 0, 7, 2, 11, 0];
    let body = [&[1, b'x'][..], &words(&[80]), &[0], &words(&[443])].concat();
    let outcome = bench.decode(&domain, &ipfix(1, 1, &[set(2, &template(256, &fields)), set(256, &body)]));
    assert_eq!(outcome.records, 2);
    assert_eq!(bench.batch.records.iter().map(|r| r.src_port).collect::<Vec<_>>(), [80, 443]);
    assert!(!bench.last().has(Presence::DST_PORT) && bench.last().src_ip().is_none());
    // The same of an options template: scope 149:0, then 34.
    let options = words(&[300, 3, 1, 149, 0, 82, 0xFFFF, 34, 4]);
    let data = [&[1, b'x'][..], &1_000_u32.to_be_bytes()].concat();
    bench.decode(&domain, &ipfix(1, 2, &[set(3, &options), set(300, &data), set(256, &body)]));
    assert_eq!((bench.last().rate(), bench.last().sampling_source), (1_000, SamplingSource::Domain));
}

#[test]
fn sets_survive_in_order_when_two_workers_race_with_the_template() {
    for _ in 0..400 {
        let bench = Bench::new();
        let domain = bench.domain(Version::V9, 7);
        let start = std::sync::Barrier::new(2);
        let worker = |messages: Vec<Vec<u8>>| {
            let mut bench = Bench { state: Arc::clone(&bench.state), batch: FlowBatch::with_capacity(64) };
            let (start, domain) = (&start, &domain);
            move || {
                start.wait();
                let mut sum = Outcome::default();
                for octets in &messages {
                    let one = bench.decode(domain, octets);
                    sum.sets_seen += one.sets_seen;
                    sum.sets_parked += one.sets_parked;
                    sum.sets_unparked += one.sets_unparked;
                    sum.sets_decoded += one.sets_decoded;
                }
                (sum, serials(&bench))
            }
        };
        let data = worker((1..=12).map(|s| v9(7, s, &[set(256, &rows([s]))])).collect());
        let layout = worker(vec![v9(7, 20, &[set(0, &template(256, &TEMPLATE))])]);
        let ((data, first), (layout, second)) = std::thread::scope(|scope| {
            let (data, layout) = (scope.spawn(data), scope.spawn(layout));
            (data.join().unwrap(), layout.join().unwrap())
        });
        assert_eq!(domain.status().parked_sets, 0, "a set is parked behind its own template");
        assert!(first.is_sorted() && second.is_sorted(), "{first:?} {second:?}");
        let mut all = [first, second].concat();
        all.sort_unstable();
        assert_eq!(all, (1..=12).collect::<Vec<u64>>());
        assert_eq!((data.sets_seen, data.sets_parked), (12, data.sets_unparked + layout.sets_unparked));
        assert_eq!(data.sets_decoded + layout.sets_decoded, 12);
    }
}

#[test]
fn a_10_options_entries_are_within_the_budget_of_learned_state() {
    let mut bench = Bench::with_learned_octets(64 * 1_024);
    let budget = Arc::clone(&bench.state.budget);
    let domain = bench.domain(Version::V9, 1);
    // Scope Interface, samplingInterval: 4 + 4 octets a record.
    bench.decode(&domain, &v9(1, 1, &[set(1, &words(&[257, 4, 4, 2, 4, 34, 4]))]));
    let record = |index: u32, rate: u32| [index.to_be_bytes(), rate.to_be_bytes()].concat();
    for first in (0..20_000).step_by(100) {
        let body: Vec<u8> = (first..first + 100).flat_map(|index| record(index, 10)).collect();
        bench.decode(&domain, &v9(1, 2, &[set(257, &body)]));
    }
    let used = || budget.learned_octets.load(Ordering::Relaxed);
    assert!(used() <= 64 * 1_024, "{}", used());
    let entries = bench.state.options_entries();
    assert!((1_000..1_500).contains(&entries), "{entries}");
    // What is known still changes.
    bench.decode(&domain, &v9(1, 3, &[set(257, &record(0, 77))]));
    let tables = bench.state.options.read().unwrap();
    assert_eq!(tables.sampling.of_record(1, None, Some(0), 1), Some((77, SamplingSource::Interface)));
    drop(tables);
    domain.retire();
    drop((domain, bench));
    assert_eq!(used(), 0, "a forgotten exporter gives everything back");
}
