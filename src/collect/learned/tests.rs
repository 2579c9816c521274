use super::*;
use crate::collect::tests::{metrics, rule, settings};
use crate::collect::{CollectSettings, ExporterRule};
use crate::decode::{self, Datagram, Profile, SessionPolicy};
use crate::flow::FlowBatch;
use crate::limits::{EXPORTER_FORGET_S, EXPORTERS_UNKNOWN_MAX};
use crate::metrics::Books;

const NOW_NS: u64 = 1_700_000_000_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

fn table(settings: &CollectSettings) -> (LearnedTable, Books) {
    let books = metrics(settings.listeners.len(), settings.workers).books.clone();
    let table = Arc::new(ExporterTable::new(settings, books.clone()).expect("table"));
    (LearnedTable::new(table, settings.listeners.iter().map(|l| l.name.clone()).collect()), books)
}

fn whose(session: Session, version: Version) -> Whose {
    Whose {
        tenant: String::new(),
        address: [192, 0, 2, 1].into(),
        listener: "l1".into(),
        version: version as u16,
        session,
        observation_domain: 7,
        is_known: true,
        last_seen_ns: NOW_NS,
    }
}

fn shown(table: &LearnedTable) -> Vec<(Whose, bool)> {
    let mut shown = Vec::new();
    table.each(&mut |whose, _, first| {
        shown.push((whose.clone(), first));
        true
    });
    shown
}

#[test]
fn what_is_shown_is_made_again_where_datagrams_will_look_for_it() {
    let settings = settings(2, 1);
    let ((from, _), (to, books)) = (table(&settings), table(&settings));
    // A port with templates of its own, its address's domain, and a v9 exporter of the same address.
    for whose in [whose(Session::Port(4_000), Version::Ipfix), whose(Session::Any, Version::V9)] {
        from.domain(&whose).expect("room");
    }
    let rows = shown(&from);
    let sessions: Vec<_> = rows.iter().map(|(w, first)| (w.version, w.session, *first)).collect();
    assert_eq!(
        sessions,
        [(9, Session::Any, true), (10, Session::Any, false), (10, Session::Port(4_000), false)],
        "one exporter has one set of shared tables"
    );
    for (whose, _) in &rows {
        let made = to.domain(whose).expect("room");
        assert_eq!((made.key.session, made.listener), (whose.session, 1));
        // The datagram finds the very same.
        let header = Header {
            version: Version::from_wire(whose.version).expect("a version"),
            observation_domain: 7,
            sequence: 0,
            export_ms: 0,
            sys_uptime_ms: 0,
            count_or_length: 0,
            sampling: 0,
        };
        let port = if let Session::Port(port) = whose.session { port } else { 5_000 };
        let peer = SocketAddr::new(whose.address, port);
        let found = to.table.find(1, peer, &header, || false, NOW_NS + 1).expect("known");
        assert!(Arc::ptr_eq(&found.domain, &made) && found.exporter.is_known());
    }
    assert_eq!(shown(&to), rows);
    // Silent for a day since it was heard last, not since it was restored.
    to.table.maintain(NOW_NS + EXPORTER_FORGET_S * SECOND_NS + 1, &books);
    assert!(to.table.is_empty());
}

#[test]
fn what_the_settings_of_today_do_not_want_is_not_made() {
    let made = |change: fn(&mut CollectSettings), whose: &Whose| {
        let mut settings = settings(2, 1);
        change(&mut settings);
        let (table, _) = table(&settings);
        let made = table.domain(whose).is_some();
        assert!(made || table.table.is_empty(), "nothing stays of what was refused");
        made
    };
    let (any, port) = (whose(Session::Any, Version::V9), whose(Session::Port(9), Version::Ipfix));
    assert!(made(|_| (), &any) && made(|_| (), &port));
    assert!(!made(|s| s.admission.deny = vec![([192, 0, 2, 0].into(), 24)], &any));
    assert!(!made(|s| s.listeners[1].tenant = "blue".into(), &any));
    assert!(!made(|s| s.listeners[1].name = "other".into(), &any));
    assert!(!made(
        |s| s.rules = vec![ExporterRule { session: Some(SessionPolicy::Any), ..rule("192.0.2.1", 32) }],
        &port
    ));
    assert!(!made(|_| (), &Whose { version: 8, ..any.clone() }));
    assert!(!made(|_| (), &whose(Session::Connection(1), Version::Ipfix)));
}

#[test]
fn strangers_take_the_places_of_strangers() {
    let (table, _) = table(&settings(2, 1));
    for host in 0..u32::try_from(EXPORTERS_UNKNOWN_MAX).expect("few") + 100 {
        let address = std::net::Ipv4Addr::from(0x0A00_0000 + host).into();
        table.domain(&Whose { address, is_known: false, ..whose(Session::Any, Version::V9) });
    }
    assert_eq!(table.table.len(), EXPORTERS_UNKNOWN_MAX);
    assert!(table.domain(&whose(Session::Any, Version::V9)).is_none(), "as with the wire: all of them are recent");
}

#[test]
fn rules_of_one_exporter_have_tables_of_their_own() {
    let mut settings = settings(2, 1);
    let profile = Profile { maker: Some(9), ..Profile::default() };
    settings.rules = vec![ExporterRule { domain: Some(8), profile, ..rule("192.0.2.1", 32) }];
    let (table, _) = table(&settings);
    for observation_domain in [7, 8, 9] {
        table.domain(&Whose { observation_domain, ..whose(Session::Any, Version::V9) }).expect("room");
    }
    let firsts: Vec<_> = shown(&table).iter().map(|(w, first)| (w.observation_domain, *first)).collect();
    assert_eq!(firsts, [(7, true), (8, true), (9, false)]);
}

#[test]
fn a_datagram_is_decoded_by_what_was_kept() {
    let (table, _) = table(&settings(2, 1));
    let domain = table.domain(&whose(Session::Any, Version::V9)).expect("room");
    let octets: Vec<u8> = [256_u16, 1, 1, 4].iter().flat_map(|w| w.to_be_bytes()).collect();
    let lesson = decode::Lesson::Template(decode::TemplateLesson {
        form: decode::TemplateForm::Netflow9,
        options: false,
        author: 1,
        flow_keys: 0,
        learned_ns: NOW_NS,
        refreshed_ns: NOW_NS,
        interval_ns: 0,
        used_ns: 0,
        octets: &octets,
    });
    assert_eq!(domain.restore(&lesson, NOW_NS), decode::Restored::Taken);
    let mut message: Vec<u8> = [9_u16, 1].iter().flat_map(|w| w.to_be_bytes()).collect();
    message.extend([1_u32, 1_700_000_000, 1, 7].iter().flat_map(|w| w.to_be_bytes()));
    message.extend([1, 0, 0, 8, 0, 0, 0, 77]);
    let header = decode::identify(&message).expect("v9");
    let peer = SocketAddr::from(([192, 0, 2, 1], 2_000));
    let found = table.table.find(1, peer, &header, || false, NOW_NS).expect("known");
    let datagram = Datagram { peer, receive_ns: NOW_NS, octets: &message };
    let mut batch = FlowBatch::with_capacity(4);
    let outcome = decode::decode(&datagram, &header, &found.domain, &mut batch);
    assert_eq!((outcome.records, outcome.sets_parked, batch.records[0].bytes), (1, 0, 77));
}
