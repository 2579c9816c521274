//! Other decisions of the operator while datagrams come: what follows at once, what is kept, what learns anew.

use super::*;
use crate::collect::Followed;
use crate::config::fields;
use crate::decode::{Elements, Profile, SessionPolicy, SetDropKind};
use crate::flow::{ElementId, SamplingSource};

/// What the records that were handed over say: switch_id, rate and its source, values in the arena.
type Row = (String, u32, SamplingSource, usize);

fn send(rig: &mut Rig, datagrams: &[Vec<u8>]) -> Vec<Row> {
    rig.pipeline.begin(1);
    datagrams.iter().for_each(|octets| rig.pipeline.take(0, &raw(octets), EXPORT_NS));
    rig.pipeline.end();
    rig.pipeline.hand_over();
    let batches = std::mem::take(&mut *crate::collect::exporters::lock(&rig.queue.batches));
    let rows = batches.iter().flat_map(|batch| {
        batch.records.iter().enumerate().map(|(index, record)| {
            let exporter = &batch.exporters[usize::from(record.exporter)];
            let values = batch.elements_of(index).count();
            (exporter.switch_id.to_string(), record.sampling_rate, record.sampling_source, values)
        })
    });
    rows.collect()
}

fn follow(rig: &Rig, settings: &CollectSettings) -> Followed {
    rig.table.follow(rig.table.prepare(settings).expect("rules that hold"))
}

fn templates(rig: &Rig) -> usize {
    rig.table.snapshot(EXPORT_NS)[0].domains.iter().map(|domain| domain.templates).sum()
}

fn unknown(switch_id: &str, values: usize) -> Row {
    (switch_id.to_owned(), 1, SamplingSource::Unknown, values)
}

#[test]
fn templates_that_came_once_are_kept_and_read_as_is_decided_now() {
    for version in [9, 10] {
        let mut rig = rig(Duration::from_secs(1));
        let template = message(version, 0, &[set(if version == 9 { 0 } else { 2 }, &TEMPLATE), set(256, &RECORD)]);
        assert_eq!(send(&mut rig, &[template]), [unknown("192.0.2.1", 0)]);
        let learned = templates(&rig);

        // Another selection, a name, a rate.
        let mut other = settings(1, 1);
        other.decode.registry = Arc::clone(&rig.table.policy().rules.decode(None).registry);
        other.decode.selection.elements = Elements::These(Arc::new([ElementId { pen: 0, id: 8 }]));
        other.rules = vec![ExporterRule {
            switch_id: Some("edge".into()),
            sampling_override: Some(100),
            ..rule("192.0.2.0", 24)
        }];
        let followed = follow(&rig, &other);
        assert_eq!((followed.exporters, followed.domains_forgotten), (1, 0));
        let row = ("edge".to_owned(), 100, SamplingSource::Override, 1);
        assert_eq!(send(&mut rig, &[message(version, 1, &[set(256, &RECORD)])]), [row], "{version}");
        assert_eq!(templates(&rig), learned);

        // And back.
        let mut first = settings(1, 1);
        first.decode.registry = Arc::clone(&other.decode.registry);
        follow(&rig, &first);
        assert_eq!(send(&mut rig, &[message(version, 2, &[set(256, &RECORD)])]), [unknown("192.0.2.1", 0)]);
        assert_eq!(follow(&rig, &first), Followed::default(), "nothing is new");
        let missing: u64 = rig.metrics.books.missing.iter().map(crate::metrics::Tally::value).sum();
        let waited = rig.metrics.books.sets_parked.level();
        assert_eq!((missing, waited), (0, 0), "sequence and templates go on");
    }
}

#[test]
fn sets_that_wait_go_on_waiting_and_are_read_as_is_decided_when_their_template_comes() {
    let mut rig = rig(Duration::from_secs(1));
    assert_eq!(send(&mut rig, &[message(9, 0, &[set(256, &RECORD)])]), []);
    let mut other = settings(1, 1);
    other.rules = vec![ExporterRule { sampling_default: Some(7), ..rule("192.0.2.0", 24) }];
    follow(&rig, &other);
    assert_eq!(rig.metrics.books.sets_parked.level(), 1);
    let row = ("192.0.2.1".to_owned(), 7, SamplingSource::Default, 0);
    assert_eq!(send(&mut rig, &[message(9, 1, &[set(0, &TEMPLATE)])]), [row]);
    assert_eq!(rig.metrics.books.sets_dropped[SetDropKind::Retired as usize].value(), 0);
}

#[test]
fn another_tenant_or_session_learns_anew_and_what_waited_is_counted() {
    let changes = [
        ExporterRule { tenant: Some("red".into()), ..rule("192.0.2.0", 24) },
        ExporterRule { session: Some(SessionPolicy::Port), ..rule("192.0.2.0", 24) },
    ];
    for change in changes {
        let mut rig = rig(Duration::from_secs(1));
        let mut other_id = set(257, &RECORD);
        send(&mut rig, &[message(9, 0, &[set(0, &TEMPLATE), set(256, &RECORD), std::mem::take(&mut other_id)])]);
        let tenant = change.tenant.clone().unwrap_or_default();
        let mut other = settings(1, 1);
        other.rules = vec![change];
        let followed = follow(&rig, &other);
        assert_eq!((followed.exporters, followed.domains_forgotten, followed.sets_dropped), (1, 1, 1));
        assert_eq!(rig.metrics.books.sets_dropped[SetDropKind::Retired as usize].value(), 1);
        assert_eq!(send(&mut rig, &[message(9, 1, &[set(256, &RECORD)])]), [], "it waits for its template again");
        assert_eq!(send(&mut rig, &[message(9, 2, &[set(0, &TEMPLATE)])]).len(), 1);
        let rows = rig.table.snapshot(EXPORT_NS);
        assert_eq!((rows.len(), &*rows[0].tenant), (1, tenant.as_str()));
        let ledger = rig.metrics.books.ledger();
        assert_eq!(ledger.sets_seen, ledger.sets_explained);
    }
}

#[test]
fn a_deny_list_and_rates_hold_from_the_next_receive_batch_on() {
    let mut rig = rig(Duration::from_secs(1));
    let mut sequence = 0;
    let mut sent = |rig: &mut Rig, datagrams: u32| {
        let all: Vec<Vec<u8>> = (0..datagrams).map(|n| v5(1, sequence + n, 0)).collect();
        sequence += datagrams;
        send(rig, &all).len()
    };
    assert_eq!(sent(&mut rig, 50), 50);
    let mut limited = settings(1, 1);
    limited.admission.limit =
        RateLimit { datagrams_per_second: 10, octets_per_second: 0, burst: Duration::from_secs(1) };
    follow(&rig, &limited);
    assert_eq!(sent(&mut rig, 50), 10);
    let mut denied = limited.clone();
    denied.admission.deny = vec![("192.0.2.1".parse().expect("address"), 32)];
    follow(&rig, &denied);
    assert_eq!(sent(&mut rig, 50), 0);
    assert_eq!(rig.metrics.books.refused[Refusal::Denied as usize].value(), 50);
    follow(&rig, &settings(1, 1));
    assert_eq!(sent(&mut rig, 50), 50);
    assert_eq!(rig.metrics.books.refused[Refusal::RateLimited as usize].value(), 40);
}

#[test]
fn a_rule_that_parts_the_domains_of_an_exporter_forgets_only_those_that_must_go() {
    let mut rig = rig(Duration::from_secs(1));
    let of_domain = |domain: u8, sequence, sets: &[Vec<u8>]| {
        let mut octets = message(9, sequence, sets);
        octets[19] = domain;
        octets
    };
    for domain in [7, 8] {
        send(&mut rig, &[of_domain(domain, 0, &[set(0, &TEMPLATE), set(256, &RECORD)])]);
    }
    let mut other = settings(1, 1);
    other.decode.registry = Arc::clone(&rig.table.policy().rules.decode(None).registry);
    other.rules = vec![ExporterRule { domain: Some(8), switch_id: Some("eight".into()), ..rule("192.0.2.1", 32) }];
    assert_eq!(follow(&rig, &other).domains_forgotten, 1);
    assert_eq!(send(&mut rig, &[of_domain(7, 1, &[set(256, &RECORD)])]), [unknown("192.0.2.1", 0)]);
    let again = of_domain(8, 1, &[set(0, &TEMPLATE), set(256, &RECORD)]);
    assert_eq!(send(&mut rig, &[again]), [unknown("eight", 0)]);
    // One rule for both again: their options stay apart, and nothing is forgotten for that.
    other.rules.clear();
    assert_eq!(follow(&rig, &other).domains_forgotten, 0);
    assert_eq!(send(&mut rig, &[of_domain(8, 2, &[set(256, &RECORD)])]), [unknown("192.0.2.1", 0)]);
}

#[test]
fn a_profile_and_chosen_fields_compile_what_is_there_anew_within_the_room_for_templates() {
    let mut rig = rig(Duration::from_secs(1));
    send(&mut rig, &[message(9, 0, &[set(0, &TEMPLATE), set(256, &RECORD)])]);
    let mut other = settings(1, 1);
    let registry = Arc::clone(&rig.table.policy().rules.decode(None).registry);
    let all = fields::read("all", &registry).expect("a word");
    other.decode.registry = registry;
    other.decode.selection = fields::select(&all, other.decode.selection);
    other.rules = vec![ExporterRule {
        profile: Profile { maker: Some(9), is_mediator: true, ..Profile::default() },
        ..rule("192.0.2.1", 32)
    }];
    for _ in 0..3 {
        follow(&rig, &other);
        follow(&rig, &settings(1, 1));
    }
    follow(&rig, &other);
    assert_eq!(rig.table.snapshot(EXPORT_NS)[0].maker, Some(9));
    assert_eq!(send(&mut rig, &[message(9, 1, &[set(256, &RECORD)])]).len(), 1);
    assert_eq!(templates(&rig), 1);
    // What is given back in the end is what was taken.
    rig.table.maintain(u64::MAX, &rig.metrics.books);
    assert_eq!((rig.table.len(), rig.table.learned_octets()), (0, 0));
}
