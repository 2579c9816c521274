use std::collections::HashSet;

use super::*;
use crate::collect::tests::{metrics, rule, settings};
use crate::collect::{CollectSettings, ExporterRule};
use crate::decode::{self, Datagram, Profile, Session, SessionPolicy};
use crate::flow::{FlowBatch, Version};
use crate::limits::{DOMAINS_PER_EXPORTER_MAX, EXPORTER_FORGET_S};
use crate::metrics::Tally;

const HOLD: u64 = EXPORTER_HOLD_MS * 1_000_000;

fn table(settings: &CollectSettings) -> (ExporterTable, Books) {
    let books = metrics(settings.listeners.len(), settings.workers).books.clone();
    (ExporterTable::new(settings, books.clone()).expect("table"), books)
}

fn header(version: Version, observation_domain: u32) -> Header {
    Header { version, observation_domain, sequence: 0, export_ms: 0, sys_uptime_ms: 0, count_or_length: 0, sampling: 0 }
}

fn peer(host: u32, port: u16) -> SocketAddr {
    SocketAddr::from((std::net::Ipv4Addr::from(0x0a00_0000 + host), port))
}

/// A look-up of a v5 datagram from `host`.
fn seen(table: &ExporterTable, host: u32, now: u64) -> Result<Found, Refusal> {
    table.find(0, peer(host, 1), &header(Version::V5, 0), || false, now)
}

fn decoded(now: u64) -> ExporterCounts {
    ExporterCounts { datagrams: 1, sets_used: 1, last_seen_ns: now, ..ExporterCounts::default() }
}

#[test]
fn a_flood_of_forged_addresses_neither_grows_the_table_nor_pushes_out_the_known() {
    let (table, books) = table(&settings(1, 1));
    let known = seen(&table, 1, 0).expect("room");
    table.count(&known.exporter, &decoded(0));
    let mut refused = 0;
    let mut now = 0;
    for host in 2..20_000 {
        now = u64::from(host) * 100_000;
        refused += u32::from(seen(&table, host, now).is_err());
        assert!(table.len() <= 1 + EXPORTERS_UNKNOWN_MAX);
    }
    assert!(refused > 0, "within the hold time newcomers wait");
    assert!(books.evictions.value() > 0, "after it the oldest go");
    assert!(!known.domain.retired.load(Ordering::Acquire));
    let again = seen(&table, 1, now).expect("known");
    assert!(Arc::ptr_eq(&again.domain, &known.domain));
    table.maintain(now, &books);
    assert_eq!(books.exporters_active.value(), 1);
    assert_eq!(books.exporters_unknown.value(), EXPORTERS_UNKNOWN_MAX as u64);
}

#[test]
fn the_unknown_exporter_not_seen_for_longest_makes_room() {
    let (table, _) = table(&settings(1, 1));
    let entries: Vec<Found> = (0..EXPORTERS_UNKNOWN_MAX)
        .map(|h| seen(&table, u32::try_from(h).expect("few"), h as u64).expect("room"))
        .collect();
    assert_eq!(seen(&table, 5_000, 10).err(), Some(Refusal::ExporterLimit), "all are recent");
    // Host 0 is the oldest, but has spoken since.
    let now = 2 * HOLD;
    table.count(&entries[0].exporter, &ExporterCounts { last_seen_ns: now, ..ExporterCounts::default() });
    seen(&table, 5_000, now).expect("room for one");
    assert!(!entries[0].domain.retired.load(Ordering::Acquire));
    assert!(entries[1].domain.retired.load(Ordering::Acquire));
    assert!(!entries[2].domain.retired.load(Ordering::Acquire));
    assert_eq!(table.len(), EXPORTERS_UNKNOWN_MAX);
}

#[test]
fn a_rule_for_one_address_makes_it_known_from_the_start() {
    let mut s = settings(1, 1);
    s.rules = vec![ExporterRule { name: Some("core".into()), ..rule("10.0.19.136", 32) }];
    let (table, books) = table(&s);
    for host in 0..EXPORTERS_UNKNOWN_MAX {
        seen(&table, u32::try_from(host).expect("few"), 0).expect("room");
    }
    assert!(seen(&table, 6_000, 0).is_err());
    seen(&table, 5_000, 0).expect("10.0.19.136 has a place of its own");
    table.maintain(0, &books);
    assert_eq!(books.exporters_active.value(), 1);
    let row = table.snapshot(0).into_iter().find(|e| e.known).expect("row");
    assert_eq!((row.name.as_deref(), row.switch_id.as_str()), (Some("core"), "10.0.19.136"));
}

#[test]
fn under_port_only_templates_make_a_domain_of_the_port() {
    let (table, _) = table(&settings(1, 1));
    let find = |port, carries| table.find(0, peer(1, port), &header(Version::Ipfix, 7), || carries, 0).expect("room");
    let data = find(1_000, false);
    assert_eq!(data.domain.key.session, Session::Any);
    assert_eq!(data.port_domains, Some(0), "it may get one of its own");
    let own = find(1_000, true);
    assert_eq!(own.domain.key.session, Session::Port(1_000));
    assert_eq!(own.port_domains, None);
    let fallback = own.domain.fallback.as_ref().expect("fallback");
    assert!(Arc::ptr_eq(fallback, &data.domain));
    // From now on its data goes there, while other ports stay with the address.
    assert!(Arc::ptr_eq(&find(1_000, false).domain, &own.domain));
    let other = find(1_001, false);
    assert!(Arc::ptr_eq(&other.domain, &data.domain));
    assert_eq!(other.port_domains, Some(1), "caches can see that something changed");
}

#[test]
fn policy_any_and_other_versions_share_all_ports() {
    let mut s = settings(1, 1);
    s.rules = vec![ExporterRule { session: Some(SessionPolicy::Any), ..rule("10.0.0.2", 32) }];
    let (table, _) = table(&s);
    for (host, version) in [(1, Version::V9), (2, Version::Ipfix)] {
        let find = |port| table.find(0, peer(host, port), &header(version, 7), || true, 0).expect("room");
        let first = find(1);
        assert_eq!((first.domain.key.session, first.port_domains), (Session::Any, None));
        assert!(Arc::ptr_eq(&first.domain, &find(2).domain));
    }
}

#[test]
fn domains_of_one_exporter_are_bounded_and_the_oldest_goes() {
    let (table, books) = table(&settings(1, 1));
    let find = |domain: u32| {
        table.find(0, peer(1, 1), &header(Version::V9, domain), || false, u64::from(domain)).expect("room")
    };
    let max = u32::try_from(DOMAINS_PER_EXPORTER_MAX).expect("few");
    let domains: Vec<Arc<Domain>> = (0..max).map(|d| find(d).domain).collect();
    domains[0].last_seen_ns.store(u64::MAX, Ordering::Release);
    find(max);
    assert!(!domains[0].retired.load(Ordering::Acquire));
    assert!(domains[1].retired.load(Ordering::Acquire));
    assert_eq!(table.snapshot(0)[0].domains.len(), DOMAINS_PER_EXPORTER_MAX);
    assert_eq!(books.evictions.value(), 1);
    // Others do not feel it.
    assert!(
        !table
            .find(0, peer(2, 1), &header(Version::V9, 0), || false, 0)
            .expect("room")
            .domain
            .retired
            .load(Ordering::Acquire)
    );
}

#[test]
fn a_flood_of_ports_never_takes_the_domain_they_fall_back_to() {
    let (table, _) = table(&settings(1, 1));
    let find =
        |port: u16| table.find(0, peer(1, port), &header(Version::Ipfix, 7), || true, u64::from(port)).expect("room");
    let fallback = find(1).domain.fallback.clone().expect("fallback");
    for port in 2..2_000 {
        assert!(Arc::ptr_eq(find(port).domain.fallback.as_ref().expect("fallback"), &fallback));
    }
    assert!(!fallback.retired.load(Ordering::Acquire));
    assert!(table.snapshot(0)[0].domains.len() <= DOMAINS_PER_EXPORTER_MAX);
}

#[test]
fn retiring_a_fallback_takes_the_ports_that_use_it() {
    let (table, _) = table(&settings(1, 1));
    let found = table.find(0, peer(1, 9), &header(Version::Ipfix, 7), || true, 0).expect("room");
    let fallback = found.domain.fallback.clone().expect("fallback");
    table.retire(&found.exporter, &fallback);
    assert!(fallback.retired.load(Ordering::Acquire) && found.domain.retired.load(Ordering::Acquire));
    assert!(table.snapshot(0)[0].domains.is_empty());
}

#[test]
fn silence_makes_idle_and_then_forgets() {
    let (table, books) = table(&settings(1, 1));
    let (known, unknown) = (seen(&table, 1, 0).expect("room"), seen(&table, 2, 0).expect("room"));
    table.count(&known.exporter, &decoded(0));
    table.maintain(1, &books);
    let levels = || (books.exporters_active.value(), books.exporters_idle.value(), books.exporters_unknown.value());
    assert_eq!(levels(), (1, 0, 1));
    table.maintain((EXPORTER_IDLE_S + 1) * SECOND_NS, &books);
    assert!(unknown.domain.retired.load(Ordering::Acquire) && !known.domain.retired.load(Ordering::Acquire));
    assert_eq!(table.len(), 1);
    table.maintain((EXPORTER_FORGET_S + 1) * SECOND_NS, &books);
    assert!(known.domain.retired.load(Ordering::Acquire) && table.is_empty());
    table.maintain((EXPORTER_FORGET_S + 2) * SECOND_NS, &books);
    assert_eq!(levels(), (0, 0, 0));
    assert_eq!(books.evictions.value(), 0, "forgetting the silent makes no room for anybody");
}

#[test]
fn tenants_keep_equal_addresses_apart_and_the_snapshot_is_sorted() {
    let mut s = settings(2, 1);
    s.listeners[1].tenant = "blue".into();
    let (table, _) = table(&s);
    for (listener, host) in [(1, 9), (0, 9), (0, 3)] {
        table.lookup(listener, peer(host, 1), &header(Version::V5, 0), || false, 5).expect("room");
    }
    let rows: Vec<(String, String)> =
        table.snapshot(0).iter().map(|e| (e.address.to_string(), e.tenant.to_string())).collect();
    let expected = [("10.0.0.3", ""), ("10.0.0.9", ""), ("10.0.0.9", "blue")];
    assert_eq!(rows, expected.map(|(a, t)| (a.to_owned(), t.to_owned())));
}

#[test]
fn threads_that_race_for_one_exporter_get_one_domain() {
    let (table, _) = table(&settings(1, 1));
    let domains: Vec<Vec<Arc<Domain>>> = std::thread::scope(|scope| {
        let look = || (0..500).map(|host| seen(&table, host, 0).expect("room").domain).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(look)).collect();
        threads.into_iter().map(|t| t.join().expect("thread")).collect()
    });
    for host in 0..500 {
        let distinct: HashSet<_> = domains.iter().map(|d| Arc::as_ptr(&d[host])).collect();
        assert_eq!(distinct.len(), 1);
    }
    assert_eq!(table.len(), 500);
}

#[test]
fn datagrams_of_the_default_gateway_are_counted_and_no_others() {
    let (table, books) = table(&settings(1, 1));
    let table = table.watching([peer(7, 1).ip()].into_iter().collect());
    for (host, datagrams) in [(7, 3), (8, 100), (7, 2)] {
        let found = seen(&table, host, 1).expect("room");
        assert_eq!(found.exporter.is_gateway, host == 7);
        table.count(&found.exporter, &ExporterCounts { datagrams, ..decoded(1) });
    }
    assert_eq!(books.gateway_datagrams.value(), 5);
}

#[test]
fn n9_14_ix_15_each_listener_has_templates_of_its_own() {
    let (table, _) = table(&settings(2, 1));
    for (version, session) in [(Version::V9, Session::Any), (Version::Ipfix, Session::Port(1_000))] {
        let at = |listener: usize| table.find(listener, peer(1, 1_000), &header(version, 7), || true, 0).expect("room");
        let (first, second) = (at(0), at(1));
        assert!(!Arc::ptr_eq(&first.domain, &second.domain));
        assert!(Arc::ptr_eq(&first.exporter, &second.exporter), "it is one exporter");
        assert!(Arc::ptr_eq(&first.domain, &at(0).domain) && Arc::ptr_eq(&second.domain, &at(1).domain));
        assert_eq!((first.domain.key, first.domain.listener), (second.domain.key, 0));
        assert_eq!((second.domain.key.session, second.domain.listener), (session, 1));
        if let (Some(a), Some(b)) = (&first.domain.fallback, &second.domain.fallback) {
            assert!(!Arc::ptr_eq(a, b) && b.listener == 1);
        }
    }
    let row = table.snapshot(5).pop().expect("row");
    assert_eq!(row.domains.iter().map(|d| d.listener).collect::<Vec<_>>(), [0, 1, 0, 0, 1, 1]);
}

#[test]
fn ix_15_two_ports_with_the_same_ids_read_each_by_its_own_layout() {
    let (table, _) = table(&settings(1, 1));
    let find = |port| table.find(0, peer(1, port), &header(Version::Ipfix, 7), || true, 0).expect("room").domain;
    let (a, b) = (find(1_000), find(1_001));
    let mut batch = crate::flow::FlowBatch::with_capacity(8);
    let mut decode = |domain: &Domain, port: u16, octets: &[u8]| {
        let header = crate::decode::identify(octets).expect("header");
        let datagram = crate::decode::Datagram { peer: peer(1, port), receive_ns: 1, octets };
        crate::decode::decode(&datagram, &header, domain, &mut batch).records
    };
    let layout = |fields: &[u16]| ipfix(2, &[&[256, u16::try_from(fields.len() / 2).expect("few")], fields].concat());
    decode(&a, 1_000, &layout(&[8, 4, 12, 4]));
    decode(&b, 1_001, &layout(&[8, 4, 12, 4, 7, 2, 11, 2]));
    let data = ipfix(256, &[1; 12]);
    assert_eq!((decode(&a, 1_000, &data), decode(&b, 1_001, &data)), (3, 2));
}

/// An IPFIX message of domain 7 with one set.
fn ipfix(set: u16, body: &[u16]) -> Vec<u8> {
    let length = |octets: usize| u16::try_from(octets).expect("short");
    let head = [10, length(20 + body.len() * 2), 0, 0, 0, 0, 0, 7, set, length(4 + body.len() * 2)];
    [&head, body].concat().iter().flat_map(|word: &u16| word.to_be_bytes()).collect()
}

#[test]
fn a_8_a_forged_redefinition_shows_with_the_next_second() {
    let (table, books) = table(&settings(1, 1));
    let found = table.find(0, peer(1, 9), &header(Version::Ipfix, 7), || true, 0).expect("room");
    let mut batch = crate::flow::FlowBatch::with_capacity(8);
    for fields in [[8, 4, 12, 4], [12, 4, 8, 4]] {
        let octets = ipfix(2, &[&[256, 2], &fields[..]].concat());
        let header = crate::decode::identify(&octets).expect("header");
        let datagram = crate::decode::Datagram { peer: peer(1, 9), receive_ns: 1, octets: &octets };
        crate::decode::decode(&datagram, &header, &found.domain, &mut batch);
    }
    assert_eq!(books.template_events.iter().map(Tally::value).sum::<u64>(), 0);
    table.maintain(SECOND_NS, &books);
    let events: Vec<u64> = books.template_events.iter().map(Tally::value).collect();
    assert_eq!(events, [1, 1, 0, 0, 0, 0, 0], "one learned, one replaced");
    table.maintain(2 * SECOND_NS, &books);
    assert_eq!(books.template_events[1].value(), 1, "counted once");
}

#[test]
fn a_2_domains_that_made_room_are_counted_with_their_exporter_and_leave_a_trace() {
    let (table, books) = table(&settings(1, 1));
    let mut batch = crate::flow::FlowBatch::with_capacity(8);
    for odid in 0..u32::try_from(DOMAINS_PER_EXPORTER_MAX).expect("few") + 10 {
        let domain = table.find(0, peer(1, 9), &header(Version::V9, odid), || true, 5).expect("room").domain;
        let low = u16::try_from(odid).expect("few");
        let octets = [9, 1, 0, 0, 0, 0, 0, 0, 0, low, 0, 12, 256, 1, 8, 4].map(u16::to_be_bytes).concat();
        let header = crate::decode::identify(&octets).expect("header");
        let datagram = crate::decode::Datagram { peer: peer(1, 9), receive_ns: 5, octets: &octets };
        let outcome = crate::decode::decode(&datagram, &header, &domain, &mut batch);
        assert_eq!(outcome.templates_learned, 1);
    }
    assert_eq!(table.snapshot(5)[0].domains_evicted, 10);
    table.maintain(SECOND_NS, &books);
    assert_eq!(books.template_events[crate::decode::TemplateEventKind::Evicted as usize].value(), 10);
}

#[test]
fn ix_41_a_mediator_under_a_rule_speaks_for_exporters_under_theirs() {
    let message = {
        let fields: [u16; 6] = [8, 4, 1, 4, 403, 4];
        let template: Vec<u16> = [&[2, 20, 256, 3][..], &fields, &[256, 16]].concat();
        let mut octets: Vec<u8> = [10_u16, 52].iter().flat_map(|w| w.to_be_bytes()).collect();
        octets.extend([0; 12]);
        octets.extend(template.iter().flat_map(|w| w.to_be_bytes()));
        octets.extend([10, 0, 0, 1, 0, 0, 0, 9, 203, 0, 113, 5]);
        octets
    };
    let mut s = settings(1, 1);
    let edge = ExporterRule { name: Some("edge".into()), sampling_default: Some(50), ..rule("203.0.113.0", 24) };
    let profile = Profile { is_mediator: true, ..Profile::default() };
    s.rules = vec![edge, ExporterRule { profile, ..rule("10.0.0.1", 32) }];
    let (table, _) = table(&s);
    let named = |host| {
        let peer = peer(host, 1);
        let header = decode::identify(&message).expect("a header");
        let found = table.find(0, peer, &header, || true, 0).expect("room");
        let mut batch = FlowBatch::with_capacity(4);
        let datagram = Datagram { peer, receive_ns: 0, octets: &message };
        assert_eq!(decode::decode(&datagram, &header, &found.domain, &mut batch).records, 1);
        let row = batch.records[0];
        let exporter = &batch.exporters[usize::from(row.exporter)];
        (exporter.address.to_string(), exporter.name.clone().map(String::from), row.sampling_rate)
    };
    assert_eq!(named(1), ("203.0.113.5".to_owned(), Some("edge".to_owned()), 50));
    assert_eq!(named(2), ("10.0.0.2".to_owned(), None, 1), "who is no mediator speaks for nobody (A-24)");
}
