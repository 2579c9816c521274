//! Life of templates and streams, in simulated time: ages, events, storms, padding, and what numbers count.

use super::*;
use crate::decode::TemplateEventKind::{Evicted, Expired, Frozen, Learned, Replaced};

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3_600 * SECOND;

/// 8, 12, 1: another layout than `TEMPLATE`.
const OTHER: [u16; 6] = [8, 4, 12, 4, 1, 4];

fn told(bench: &Bench) -> Vec<(u16, TemplateEventKind)> {
    bench.state.template_events().iter().map(|event| (event.template_id, event.kind)).collect()
}

fn layout(id: u16, fields: &[u16]) -> Vec<u8> {
    v9(7, 1, &[set(0, &template(id, fields))])
}

fn ipfix_layout(id: u16, fields: &[u16]) -> Vec<u8> {
    ipfix(7, 1, &[set(2, &template(id, fields))])
}

#[test]
fn n9_16_ix_16_a_day_of_refreshes_each_half_hour_loses_nothing() {
    for version in [Version::V9, Version::Ipfix] {
        let mut bench = Bench::new();
        let domain = bench.domain(version, 7);
        let template_set = if version == Version::V9 { 0 } else { 2 };
        let message = if version == Version::V9 { v9 } else { ipfix };
        let both = message(7, 1, &[set(template_set, &[template(256, &TEMPLATE), template(257, &OTHER)].concat())]);
        let data = message(7, 1, &[set(256, &rows([1]))]);
        let seldom = message(7, 1, &[set(257, &[1; 12])]);
        let mut lost = 0;
        for second in 0..86_400_u64 {
            let now = RECEIVE_NS + second * SECOND;
            if second % 1_800 == 0 {
                bench.decode_at(&domain, &both, now);
            }
            if second % 20 == 5 {
                lost += bench.decode_at(&domain, &data, now).sets_parked;
            }
            // A template that is used twice a day.
            if second % 43_200 == 43_199 {
                lost += bench.decode_at(&domain, &seldom, now).sets_parked;
            }
            bench.batch.clear();
            assert_eq!(domain.expire_templates(now), 0, "after {second} s");
        }
        assert_eq!((lost, told(&bench)), (0, vec![(256, Learned), (257, Learned)]), "{version:?}");
        assert_eq!(domain.templates()[0].refresh_interval_ns, Some(1_800 * SECOND));
        assert_eq!(domain.templates()[0].learned_ns, RECEIVE_NS);
    }
}

/// Templates 256 and 257 come each 600 s for an hour, then only 256; gives the age of 257 when it went.
fn age_at_its_end(version: Version, data_every_s: Option<u64>) -> Option<u64> {
    let mut bench = Bench::new();
    let domain = bench.domain(version, 7);
    let one = |id| if version == Version::V9 { layout(id, &OTHER) } else { ipfix_layout(id, &OTHER) };
    let sets = [set(257, &[1; 12])];
    let data = if version == Version::V9 { v9(7, 1, &sets) } else { ipfix(7, 1, &sets) };
    for second in 0..86_400_u64 {
        let now = RECEIVE_NS + second * SECOND;
        if second % 600 == 0 {
            bench.decode_at(&domain, &one(256), now);
            if second <= 3_600 {
                bench.decode_at(&domain, &one(257), now);
            }
        }
        if data_every_s.is_some_and(|every| second % every == 0) {
            assert_eq!(bench.decode_at(&domain, &data, now).sets_parked, 0);
            bench.batch.clear();
        }
        if domain.expire_templates(now) == 1 {
            assert_eq!(told(&bench).last(), Some(&(257, Expired)));
            assert_eq!((domain.plan(256).is_some(), domain.plan(257).is_some()), (true, false));
            return Some(second - 3_600);
        }
    }
    None
}

#[test]
fn n9_16_ix_16_what_is_left_out_goes_alone_and_late() {
    // The last of the others must have come when the age was passed, and a look is made once a minute.
    let v9 = age_at_its_end(Version::V9, None).unwrap();
    assert!((7_200..=7_200 + 660).contains(&v9), "{v9}");
    let ipfix = age_at_its_end(Version::Ipfix, None).unwrap();
    assert!((1_800..=1_800 + 660).contains(&ipfix), "{ipfix}");
}

#[test]
fn n9_16_what_data_sets_use_does_not_go() {
    assert_eq!(age_at_its_end(Version::V9, Some(3_000)), None);
    assert_eq!(age_at_its_end(Version::Ipfix, Some(1_500)), None);
}

#[test]
fn n9_16_templates_told_once_stay_and_so_do_those_of_who_is_silent() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    bench.decode(&domain, &layout(256, &TEMPLATE));
    // Another one comes again and again for a day, and then nothing more.
    for minute in 0..1_440 {
        let now = RECEIVE_NS + minute * 60 * SECOND;
        bench.decode_at(&domain, &layout(257, &OTHER), now);
        domain.expire_templates(now);
    }
    for hour in 24..240 {
        assert_eq!(domain.expire_templates(RECEIVE_NS + hour * HOUR), 0);
    }
    assert_eq!(domain.status().templates, 2);
    assert_eq!(domain.expire_templates(u64::MAX), 0, "a clock that jumps takes nothing");
}

#[test]
fn ix_16_an_age_takes_the_template_from_the_other_ports_too() {
    let mut bench = Bench::new();
    let shared = bench.domain(Version::Ipfix, 7);
    let port = bench.port(1_001, &shared);
    for second in (0..20_000).step_by(100) {
        let now = RECEIVE_NS + second * SECOND;
        bench.decode_at(&port, &ipfix_layout(256, &TEMPLATE), now);
        if second <= 200 {
            bench.decode_at(&port, &ipfix_layout(257, &OTHER), now);
        }
        port.expire_templates(now);
        assert_eq!(shared.expire_templates(now), 0, "they are the port's");
    }
    assert_eq!((port.status().templates, shared.status().templates), (1, 1));
    port.retire();
    assert_eq!(bench.state.template_octets.load(std::sync::atomic::Ordering::Relaxed), 0);
    assert_eq!(told(&bench), [(256, Learned), (257, Learned), (257, Expired), (256, Evicted)]);
}

#[test]
fn n9_12_events_tell_what_became_of_templates() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    for _ in 0..1_000 {
        bench.decode(&domain, &layout(256, &TEMPLATE));
    }
    assert_eq!(told(&bench), [(256, Learned)], "what is the same is no event");
    bench.decode(&domain, &layout(256, &OTHER));
    let news = bench.state.take_template_news().unwrap();
    assert_eq!((news.count(Learned), news.count(Replaced)), (1, 1));
    assert_eq!(news.last.map(|event| (event.kind, event.at_ns)), Some((Replaced, RECEIVE_NS)));
    assert_eq!(bench.state.take_template_news(), None);
    domain.retire_as(Evicted, RECEIVE_NS + 9);
    assert_eq!(told(&bench), [(256, Learned), (256, Replaced), (256, Evicted)]);
    domain.retire();
    assert_eq!(told(&bench).len(), 3, "they go once");
}

#[test]
fn a_3_evicted_templates_leave_a_trace_and_the_ring_is_bounded() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    for id in 256..=1_280 {
        bench.decode_at(&domain, &layout(id, &OTHER), RECEIVE_NS + u64::from(id));
    }
    assert_eq!(bench.state.template_events().len(), limits::TEMPLATE_EVENTS_PER_EXPORTER);
    let news = bench.state.take_template_news().unwrap();
    assert_eq!(news.count(Learned), 1_025);
    assert_eq!(news.count(Evicted) as usize, limits::TEMPLATES_PER_DOMAIN_MAX / 16);
    assert_eq!(news.last.map(|event| event.kind), Some(Evicted));
    assert_eq!(domain.status().templates as u64, 1_025 - news.count(Evicted));
}

#[test]
fn a_8_a_storm_of_redefinitions_freezes_the_last_layout() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    bench.decode(&domain, &layout(256, &TEMPLATE));
    let mut refused = 0;
    for turn in 0..1_000_u64 {
        let fields = if turn % 2 == 0 { &OTHER[..] } else { &TEMPLATE };
        refused += bench.decode_at(&domain, &layout(256, fields), RECEIVE_NS + turn * SECOND / 100).templates_rejected;
    }
    // Of the refused ones half say what is known already.
    assert_eq!(u64::from(refused), (1_000 - limits::REDEFINITIONS_PER_MINUTE_MAX as u64) / 2);
    let events = told(&bench);
    assert_eq!(events.iter().filter(|(_, kind)| *kind == Replaced).count(), limits::REDEFINITIONS_PER_MINUTE_MAX);
    assert_eq!(events.iter().filter(|(_, kind)| *kind == Frozen).count(), 1, "one line a storm, not one a template");
    let since = domain.storm_since().unwrap();
    assert!(since < RECEIVE_NS + SECOND && domain.status().storm_since_ns == Some(since));
    // What is known goes on being decoded, and new ids are still learned.
    assert_eq!(bench.decode(&domain, &v9(7, 2, &[set(256, &rows([5]))])).records, 1);
    assert_eq!(bench.decode(&domain, &layout(300, &TEMPLATE)).templates_learned, 1);
    // A minute later the exporter's word counts again, and after a quiet one the storm is over.
    let later = RECEIVE_NS + 70 * SECOND;
    assert_eq!(bench.decode_at(&domain, &layout(256, &OTHER), later).templates_learned, 1);
    assert!(domain.storm_since().is_some());
    domain.expire_templates(later + 61 * SECOND);
    assert_eq!(domain.storm_since(), None);
}

/// A domain in a storm, whose plan of 256 is `TEMPLATE` while its exporter said `OTHER` last.
fn frozen(bench: &mut Bench, version: Version) -> std::sync::Arc<Domain> {
    let domain = bench.domain(version, 7);
    let one = |fields: &[u16]| if version == Version::V9 { layout(256, fields) } else { ipfix_layout(256, fields) };
    for turn in 0..=limits::REDEFINITIONS_PER_MINUTE_MAX {
        bench.decode(&domain, &one(if turn % 2 == 0 { &TEMPLATE } else { &OTHER }));
    }
    assert_eq!(bench.decode(&domain, &one(&OTHER)).templates_rejected, 1);
    domain
}

#[test]
fn a_8_no_value_is_read_with_a_layout_that_is_known_to_be_wrong() {
    let dropped = |outcome: &Outcome| outcome.sets_dropped[SetDropKind::Frozen as usize];
    for version in [Version::V9, Version::Ipfix] {
        let message = if version == Version::V9 { v9 } else { ipfix };
        let one = |fields: &[u16]| if version == Version::V9 { layout(256, fields) } else { ipfix_layout(256, fields) };
        let mut bench = Bench::new();
        let domain = frozen(&mut bench, version);
        bench.batch.clear();
        // 12 octets of the refused layout fit the old one too, and would be a flow that never was.
        let outcome = bench.decode(&domain, &message(7, 2, &[set(256, &[7; 12]), set(256, &rows([5]))]));
        assert_eq!((outcome.records, dropped(&outcome), outcome.sets_decoded, outcome.sets_malformed()), (0, 2, 0, 0));
        assert!(bench.batch.is_empty(), "a record was invented");
        // Other ids are none the worse, learned before or now.
        let both = [set(if version == Version::V9 { 0 } else { 2 }, &template(300, &TEMPLATE)), set(300, &rows([6]))];
        assert_eq!(bench.decode(&domain, &message(7, 3, &both)).records, 1);
        // The plan's own layout, said again: from there on its data sets are read.
        let outcome = bench.decode(&domain, &one(&TEMPLATE));
        assert_eq!((outcome.templates_learned, outcome.templates_rejected), (0, 0));
        assert_eq!(bench.decode(&domain, &message(7, 4, &[set(256, &rows([7]))])).records, 1);
        // Refused again, and the minute goes by without a word: nobody knows better.
        bench.decode(&domain, &one(&OTHER));
        let later = RECEIVE_NS + 300 * SECOND;
        domain.expire_templates(later);
        assert_eq!(domain.storm_since(), None);
        assert_eq!(dropped(&bench.decode_at(&domain, &message(7, 5, &[set(256, &[7; 12])]), later)), 1);
        // Then the exporter's word counts as ever.
        assert_eq!(bench.decode_at(&domain, &one(&OTHER), later).templates_learned, 1);
        bench.batch.clear();
        let flow = [10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 1, 44];
        assert_eq!(bench.decode_at(&domain, &message(7, 6, &[set(256, &flow)]), later).records, 1);
        assert_eq!(bench.batch.records[0].bytes, 300);
    }
}

#[test]
fn a_8_a_frozen_layout_is_kept_for_nobody() {
    let mut bench = Bench::new();
    let domain = frozen(&mut bench, Version::V9);
    let told = |domain: &Domain| {
        let mut templates = 0;
        domain.export(RECEIVE_NS, |lesson| templates += usize::from(matches!(lesson, Lesson::Template(_))));
        templates
    };
    assert_eq!(told(&domain), 0, "a successor would read by it");
    bench.decode(&domain, &layout(256, &TEMPLATE));
    assert_eq!(told(&domain), 1);
}

#[test]
fn a_8_each_template_may_change_once_after_a_restart() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    let all = |fields: &[u16]| {
        let records: Vec<u8> = (256..456).flat_map(|id| template(id, fields)).collect();
        v9(7, 1, &[set(0, &records)])
    };
    bench.decode(&domain, &all(&TEMPLATE));
    let outcome = bench.decode(&domain, &all(&OTHER));
    assert_eq!((outcome.templates_learned, outcome.templates_rejected), (200, 0));
    assert_eq!(domain.storm_since(), None);
}

#[test]
fn n9_14_two_ports_that_take_an_id_from_each_other_clash() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    let say = |bench: &mut Bench, port: u16, fields: &[u16]| bench.decode_from(&domain, &layout(256, fields), port);
    say(&mut bench, 1_001, &TEMPLATE);
    say(&mut bench, 1_001, &OTHER);
    say(&mut bench, 1_001, &TEMPLATE);
    assert_eq!(domain.clash_ports(), None, "one port may change its mind");
    say(&mut bench, 1_002, &OTHER);
    assert_eq!(domain.clash_ports(), None, "a restart from another port");
    say(&mut bench, 1_001, &TEMPLATE);
    assert_eq!(domain.clash_ports(), Some((1_001, 1_002)));
    assert_eq!(domain.status().clash_ports, Some((1_001, 1_002)));
    domain.expire_templates(RECEIVE_NS + 3 * HOUR);
    assert_eq!(domain.clash_ports(), None, "it is over");
}

#[test]
fn ix_05_a_rest_that_is_no_padding_is_counted() {
    let odd = |rest: &[u8]| {
        let mut bench = Bench::new();
        let domain = bench.domain(Version::Ipfix, 7);
        bench.decode(&domain, &ipfix_layout(256, &TEMPLATE));
        let outcome = bench.decode(&domain, &ipfix(7, 1, &[set(256, &[rows([1, 2]), rest.to_vec()].concat())]));
        assert_eq!((outcome.records, outcome.sets_decoded), (2, 1), "{rest:?}");
        assert_eq!(domain.status().odd_padding_sets, u64::from(outcome.sets_odd_padding));
        outcome.sets_odd_padding
    };
    assert_eq!((odd(&[]), odd(&[0]), odd(&[0; 3])), (0, 0, 0));
    assert_eq!((odd(&[0; 4]), odd(&[0; 20])), (1, 1));
    assert_eq!((odd(&[0, 1]), odd(&[7; 20])), (1, 1));
}

#[test]
fn ix_05_sets_with_a_rest_that_is_not_zero_are_dropped_where_that_is_wanted() {
    let profile = Profile { drops_odd_padding: true, ..Profile::default() };
    let mut bench = Bench::with(DecodeSettings { profile, ..DecodeSettings::default() });
    let domain = bench.domain(Version::Ipfix, 7);
    let variable = [82, 0xFFFF, 8, 4, 12, 4];
    let options = words(&[258, 2, 1, 149, 4, 34, 4]);
    let layouts = [set(2, &template(256, &TEMPLATE)), set(2, &template(257, &variable)), set(3, &options)];
    bench.decode(&domain, &ipfix(7, 1, &layouts));
    let mut one = |id: u16, body: &[u8], rest: &[u8]| {
        let outcome = bench.decode(&domain, &ipfix(7, 1, &[set(id, &[body, rest].concat())]));
        let dropped = outcome.sets_dropped[SetDropKind::OddPadding as usize];
        (outcome.records + outcome.options_records, dropped, outcome.sequence.unwrap().units)
    };
    let named = [1, b'x', 10, 0, 0, 1, 10, 0, 0, 2];
    for (id, body) in [(256, &rows([1])[..]), (257, &named), (258, &[0; 8])] {
        assert_eq!(one(id, body, &[0; 3]), (1, 0, Some(1)), "{id}");
        assert_eq!(one(id, body, &[0, 9]), (0, 1, None), "{id}");
    }
    assert_eq!(one(256, &rows([1]), &[0; 8]), (1, 0, Some(1)), "zeroes are counted and no more");
    assert_eq!(bench.batch.len(), 3, "a dropped set leaves no row");
}

#[test]
fn n9_11_variable_lengths_in_netflow_v9() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    bench.decode(&domain, &layout(256, &[8, 4, 82, 0xFFFF, 12, 4]));
    let row = |name: &[u8]| [&[10, 0, 0, 1][..], name, &[10, 0, 0, 2]].concat();
    let long = [&[255, 1, 44][..], &[b'x'; 300]].concat();
    let body = [row(&[3, b'e', b't', b'h']), row(&[0]), row(&long)].concat();
    let outcome = bench.decode(&domain, &v9(7, 2, &[set(256, &body)]));
    assert_eq!((outcome.records, outcome.sets_decoded), (3, 1));
    assert!(bench.batch.records.iter().all(|r| r.dst_ip() == Some("10.0.0.2".parse().unwrap())));
    // A prefix that runs past the set: nothing of it, and the next set is read.
    let broken = [row(&[3, b'e', b't', b'h']), row(&[200])].concat();
    let outcome = bench.decode(&domain, &v9(7, 3, &[set(256, &broken), set(256, &row(&[0]))]));
    assert_eq!((outcome.records, outcome.sets_dropped[SetDropKind::BadRecord as usize]), (1, 1));
}

#[test]
fn n9_28_enterprise_fields_in_netflow_v9_where_only_they_fit() {
    // Two templates with a field of 29305 between plain ones, as IPFIX would write them.
    let one = |id: u16| words(&[id, 3, 8, 4, 0x8001, 4, 0, 29_305, 12, 4]);
    let body = [one(256), one(257)].concat();
    let learned = |enterprise_in_v9: bool, body: &[u8]| {
        let profile = Profile { enterprise_in_v9, ..Profile::default() };
        let mut bench = Bench::with(DecodeSettings { profile, ..DecodeSettings::default() });
        let domain = bench.domain(Version::V9, 7);
        bench.decode(&domain, &v9(7, 1, &[set(0, body)]));
        domain.templates().into_iter().map(|t| (t.id, t.fields)).collect::<Vec<_>>()
    };
    let element = |pen, id| (crate::flow::ElementId { pen, id }, 4);
    let fields = vec![element(0, 8), element(29_305, 1), element(0, 12)];
    assert_eq!(learned(true, &body), [(256, fields.clone()), (257, fields.clone())]);
    assert_eq!(learned(true, &one(256)), [(256, fields)]);
    // Not allowed, or the plain reading fits: maker's types of v9.
    let plain = vec![element(0, 8), element(0, 0x8001), (crate::flow::ElementId { pen: 0, id: 0 }, 29_305)];
    assert_eq!(learned(false, &one(256)), [(256, plain)]);
    let ambiguous = words(&[256, 2, 8, 4, 33_002, 2, 0, 0]);
    assert_eq!(
        learned(true, &ambiguous),
        [(256, vec![element(0, 8), (crate::flow::ElementId { pen: 0, id: 33_002 }, 2)])]
    );
    let unfit = words(&[256, 2, 8, 4, 0x8001, 4, 0]);
    assert_eq!(learned(true, &unfit), learned(false, &unfit), "neither fits");
}

#[test]
fn ix_14_withdrawals_over_udp_are_counted_and_ignored() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 7);
    bench.decode(&domain, &ipfix_layout(256, &TEMPLATE));
    let withdraw = ipfix(7, 1, &[set(2, &words(&[256, 0])), set(2, &words(&[2, 0])), set(3, &words(&[3, 0]))]);
    assert_eq!(bench.decode(&domain, &withdraw).withdrawals_ignored, 3);
    assert_eq!(bench.decode(&domain, &ipfix(7, 1, &[set(256, &rows([1]))])).records, 1);
    assert_eq!(told(&bench), [(256, Learned)]);
}

/// Decodes and accounts for one message.
fn account(bench: &mut Bench, domain: &Domain, octets: &[u8]) -> SequenceDelta {
    let note = bench.decode(domain, octets).sequence.unwrap();
    bench.batch.clear();
    domain.apply_sequence(&mut [note], limits::SEQUENCE_WINDOW_MIN)
}

#[test]
fn n9_29_numbers_that_go_by_flows_change_the_unit() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    bench.decode(&domain, &layout(256, &TEMPLATE));
    let mut missing = 0;
    let mut next = 1_000_u32;
    for turn in 0..200_u32 {
        let records = 2 + turn % 20;
        // One message of 22 - 2 records is lost on the way.
        if turn != 118 {
            missing += account(&mut bench, &domain, &v9(7, next, &[set(256, &rows(0..records))])).missing;
        }
        next += records;
        if turn == 2 {
            assert_eq!(domain.status().sequence_unit, SequenceUnit::Datagrams);
        }
    }
    assert_eq!(domain.status().sequence_unit, SequenceUnit::Flows);
    assert_eq!((missing, domain.status().missing_units), (2 + 118 % 20, 2 + 118 % 20));
    assert_eq!(domain.status().gap_units, 0);
}

#[test]
fn n9_29_losses_of_an_ordinary_exporter_do_not_change_the_unit() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    bench.decode(&domain, &layout(256, &TEMPLATE));
    let mut missing = 0;
    for turn in (0..400_u32).filter(|turn| turn % 7 != 3) {
        missing += account(&mut bench, &domain, &v9(7, turn, &[set(256, &rows(0..2))])).missing;
    }
    assert_eq!(domain.status().sequence_unit, SequenceUnit::Datagrams);
    assert_eq!(missing + domain.status().gap_units, 57);
}

#[test]
fn a_28_exact_duplicates_are_counted_and_decoded() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 7);
    account(&mut bench, &domain, &ipfix(7, 0, &[set(2, &template(256, &TEMPLATE))]));
    let message = |turn: u32, serial: u32| ipfix(7, turn * 2, &[set(256, &rows([serial, serial]))]);
    let mut sum = SequenceDelta::default();
    let mut add = |bench: &mut Bench, octets: &[u8]| {
        let delta = account(bench, &domain, octets);
        sum.duplicates += delta.duplicates;
        sum.missing += delta.missing;
    };
    for turn in 0..100 {
        add(&mut bench, &message(turn, turn));
        // Each tenth comes again, at once or thirty messages later.
        if turn % 10 == 0 {
            add(&mut bench, &message(turn, turn));
        }
        if turn % 10 == 5 && turn > 30 {
            add(&mut bench, &message(turn - 30, turn - 30));
        }
    }
    // The same number with other octets is none, nor is one older than the window.
    add(&mut bench, &message(99, 7));
    add(&mut bench, &message(1, 1));
    assert_eq!((sum.duplicates, sum.missing), (10 + 7, 0));
    assert_eq!(domain.status().duplicates, 17);
    assert_eq!(domain.status().sequence_unit, SequenceUnit::DataRecords);
    let records = bench.decode(&domain, &message(99, 99)).records;
    assert_eq!(records, 2, "both are decoded");
}

#[test]
fn a_28_every_octet_of_a_short_datagram_tells_it_from_others() {
    let golden = v9(7, 1, &[set(256, &rows([1, 2]))]);
    let own = super::super::sequence::fingerprint(&golden);
    for at in 0..golden.len() {
        let mut other = golden.clone();
        other[at] ^= 1;
        assert_ne!(super::super::sequence::fingerprint(&other), own, "octet {at}");
    }
    assert_ne!(super::super::sequence::fingerprint(&golden[..golden.len() - 1]), own);
    assert_eq!(super::super::sequence::fingerprint(&[]), super::super::sequence::fingerprint(&[]));
}

#[test]
fn a_27_forged_numbers_are_neither_loss_nor_another_unit() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    bench.decode(&domain, &layout(256, &TEMPLATE));
    let mut sum = SequenceDelta::default();
    for turn in 0..500_u32 {
        for sequence in [Some(turn), (turn % 10 == 0).then_some(turn.wrapping_mul(0x9E37_79B9) | 0x4000_0000)] {
            let Some(sequence) = sequence else { continue };
            let delta = account(&mut bench, &domain, &v9(7, sequence, &[set(256, &rows(0..9))]));
            sum.missing += delta.missing;
            sum.resets += delta.resets;
        }
    }
    assert_eq!((sum.missing, domain.status().gap_units), (0, 0));
    assert_eq!(domain.status().sequence_unit, SequenceUnit::Datagrams);
    assert!(sum.resets <= 50);
}

const LIST_OUTER: [u16; 6] = [8, 4, 12, 4, 292, 0xFFFF];

/// A record of `LIST_OUTER` whose list holds one record of template `inner`: TCP flags.
fn listing(inner: u16, flags: u8) -> Vec<u8> {
    let [high, low] = inner.to_be_bytes();
    [&[10, 0, 0, 1, 10, 0, 0, 2][..], &[4, 3, high, low, flags]].concat()
}

#[test]
fn ix_35_a_set_waits_for_the_template_that_its_lists_name() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 7);
    bench.decode(&domain, &ipfix_layout(256, &LIST_OUTER));
    let outcome = bench.decode(&domain, &ipfix(7, 1, &[set(256, &[listing(300, 2), listing(301, 1)].concat())]));
    assert_eq!((outcome.records, outcome.sets_parked, outcome.lists_unread), (0, 1, 0));
    assert_eq!((outcome.sequence.unwrap().units, bench.batch.len()), (Some(2), 0), "its records were counted");
    // One of the two comes: the set goes on waiting for the other.
    let outcome = bench.decode(&domain, &ipfix_layout(300, &[6, 1]));
    assert_eq!((outcome.records, outcome.sets_unparked, outcome.sets_parked), (0, 1, 1));
    let outcome = bench.decode(&domain, &ipfix_layout(301, &[6, 1]));
    assert_eq!((outcome.records, outcome.sets_unparked, outcome.sets_parked, outcome.lists_unread), (2, 1, 0, 0));
    assert_eq!(bench.batch.records.iter().map(|r| r.tcp_flags).collect::<Vec<_>>(), [2, 1]);
    let outcome = bench.decode(&domain, &ipfix(7, 3, &[set(256, &listing(300, 4))]));
    assert_eq!((outcome.records, bench.last().tcp_flags), (1, 4));
    assert_eq!(domain.status().parked_octets, 0);
}

#[test]
fn ix_35_lists_whose_template_never_comes_lose_no_row() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 7);
    bench.decode(&domain, &ipfix_layout(256, &LIST_OUTER));
    let data = ipfix(7, 1, &[set(256, &listing(300, 2))]);
    assert_eq!(bench.decode(&domain, &data).sets_parked, 1);
    let later = RECEIVE_NS + 61 * SECOND;
    assert_eq!(domain.expire_parked(later), ParkedCounts::default(), "it goes with the next datagram");
    let outcome = bench.decode_at(&domain, &data, later);
    assert_eq!((outcome.records, outcome.sets_unparked, outcome.sets_parked), (2, 1, 0), "nor is it waited for again");
    assert_eq!((outcome.lists_unread, bench.last().tcp_flags), (2, 0));
    // Until it was there once.
    bench.decode_at(&domain, &ipfix_layout(300, &[6, 1]), later);
    assert_eq!(bench.decode_at(&domain, &data, later).lists_unread, 0);
    // Whose exporter never sends anything again is dropped in the end.
    assert_eq!(bench.decode(&domain, &ipfix(7, 1, &[set(256, &listing(301, 2))])).sets_parked, 1);
    domain.expire_parked(later);
    assert_eq!(domain.status().parked_sets, 1);
    assert_eq!(domain.expire_parked(RECEIVE_NS + 121 * SECOND).sets, 1);
    assert_eq!(domain.status().parked_octets, 0);
}

#[test]
fn ix_35_at_the_end_of_a_capture_nothing_waits_for_lists() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 7);
    bench.decode(&domain, &ipfix_layout(256, &LIST_OUTER));
    for inner in 300..400_u16 {
        let both = [listing(inner, 1), listing(inner + 1_000, 2)].concat();
        bench.decode(&domain, &ipfix(7, 1, &[set(256, &both), set(999, &[1])]));
    }
    let own = bench.batch.len();
    let (mut rows, mut turns) = (0, 0);
    while {
        let outcome = flush(&domain, &mut bench.batch);
        rows += outcome.records as usize;
        outcome.sets_unparked != 0
    } {
        turns += 1;
        assert!(turns < 100);
    }
    assert_eq!((own + rows, bench.batch.len()), (200, 200), "those without room were read at once");
    assert!(domain.status().parked_sets > 0, "what has no template of its own goes on waiting");
    let row = bench.decode(&domain, &ipfix(7, 1, &[set(256, &listing(9, 1))]));
    assert_eq!((row.records, row.lists_unread), (1, 1), "a number that is no template's is not waited for");
}

#[test]
fn a_12_sets_that_wait_for_lists_are_within_the_bounds_of_the_room() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 7);
    bench.decode(&domain, &ipfix_layout(256, &LIST_OUTER));
    let mut sum = Outcome::default();
    for inner in 300..1_300_u16 {
        let outcome = bench.decode(&domain, &ipfix(7, 1, &[set(256, &listing(inner, 1))]));
        sum.sets_parked += outcome.sets_parked;
        sum.sets_decoded += outcome.sets_decoded;
        assert_eq!(outcome.sets_dropped.iter().sum::<u32>(), 0, "a row is better than none");
    }
    assert_eq!(u64::from(sum.sets_parked), limits::PARKED_SETS_PER_EXPORTER_MAX);
    assert_eq!(sum.sets_parked + sum.sets_decoded, 1_000);
    let parked = domain.retire();
    assert_eq!(parked.sets, sum.sets_parked);
    assert_eq!(bench.state.budget.parked_octets.load(std::sync::atomic::Ordering::Relaxed), 0);
}

proptest::proptest! {
    /// However often an exporter tells its templates, seldom or often, with losses: no data set finds its own gone.
    #[test]
    fn n9_16_no_rhythm_of_refreshes_makes_a_hole(
        every in 1..5_000_u64,
        lost in proptest::collection::vec(proptest::bool::weighted(0.6), 1..40),
        data_every in 1..40_000_u64,
        ipfix_too in proptest::bool::ANY,
    ) {
        let mut bench = Bench::new();
        let domain = bench.domain(if ipfix_too { Version::Ipfix } else { Version::V9 }, 7);
        let (one, two, data) = if ipfix_too {
            (ipfix_layout(256, &OTHER), ipfix_layout(257, &OTHER), ipfix(7, 1, &[set(256, &[1; 12])]))
        } else {
            (layout(256, &OTHER), layout(257, &OTHER), v9(7, 1, &[set(256, &[1; 12])]))
        };
        let (mut refresh, mut use_at) = (0_u64, data_every);
        for turn in 0..2_000_u64 {
            let second = turn * 43;
            let now = RECEIVE_NS + second * SECOND;
            while refresh * every <= second {
                // Both are told together or lost together, however many times in a row.
                let is_lost = refresh > 0 && lost[refresh as usize % lost.len()];
                if !is_lost {
                    bench.decode_at(&domain, &one, now);
                    bench.decode_at(&domain, &two, now);
                }
                refresh += 1;
            }
            if use_at <= second {
                proptest::prop_assert_eq!(bench.decode_at(&domain, &data, now).records, 1);
                bench.batch.clear();
                use_at += data_every;
            }
            domain.expire_templates(now);
        }
    }
}
