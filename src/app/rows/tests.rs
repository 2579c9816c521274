use std::sync::Arc;

use super::*;
use crate::collect::{Pacing, Spell};
use crate::decode::{Datagram, DecodeSettings, decode, identify};
use crate::flow::{Exporter, FlowBatch};
use crate::limits::{DOMAINS_PER_EXPORTER_MAX, HTTP_PAGE_ROWS, TEMPLATES_PER_DOMAIN_MAX};
use crate::web::exporter_json;

/// A template of `fields`, as (element, length).
type Layout<'a> = (u16, &'a [(u16, u16)]);

/// A v9 datagram of observation domain `of` with `layouts`, and whole sets of words behind them.
fn v9(of: u32, layouts: &[Layout<'_>], sets: &[&[u16]]) -> Vec<u8> {
    let mut words: Vec<u16> = Vec::new();
    for (id, fields) in layouts {
        words.extend([0, 8 + 4 * fields.len() as u16, *id, fields.len() as u16]);
        words.extend(fields.iter().flat_map(|(element, length)| [*element, *length]));
    }
    words.extend(sets.concat());
    let mut octets = [9, (layouts.len() + sets.len()) as u16].map(u16::to_be_bytes).concat();
    octets.extend([60_000_u32, 1_700_000_000, 1, of].map(u32::to_be_bytes).concat());
    octets.extend(words.iter().flat_map(|w| w.to_be_bytes()));
    octets
}

fn take(domain: &Domain, octets: &[u8]) {
    let header = identify(octets).unwrap();
    let peer = std::net::SocketAddr::from(([192, 0, 2, 1], 9));
    let datagram = Datagram { peer, receive_ns: 1_700_000_000_000_000_000, octets };
    assert_eq!(decode(&datagram, &header, domain, &mut FlowBatch::with_capacity(64)).rejected, None);
}

fn state() -> Arc<ExporterState> {
    let exporter = Arc::new(Exporter::of_address([192, 0, 2, 1].into()));
    Arc::new(ExporterState::new(exporter, DecodeSettings::default(), Arc::default()))
}

fn domain_of(state: &Arc<ExporterState>, session: Session, observation_domain: u32, listener: u16) -> Arc<Domain> {
    let key = DomainKey { session, version: Version::V9, observation_domain };
    Arc::new(Domain::new(key, Arc::clone(state), None).heard_at(listener))
}

/// The picture of an exporter with these domains, which stand in the order of lists.
fn picture(state: &Arc<ExporterState>, domains: &[Arc<Domain>]) -> ExporterDetail {
    let status = ExporterStatus {
        tenant: Arc::from(""),
        address: [192, 0, 2, 1].into(),
        name: None,
        switch_id: "192.0.2.1".into(),
        maker: None,
        known: true,
        is_gateway: false,
        first_seen_ns: 1,
        last_seen_ns: 2,
        datagrams: 3,
        octets: 4,
        records: 5,
        rejected: 6,
        refused: 7,
        malformed: 0,
        sampling_unknown: 0,
        pace: Pacing { refused: Some(Spell { since_ns: 1, count: 7 }), ..Pacing::default() },
        domains_evicted: 8,
        domains: domains.iter().map(|d| d.status()).collect(),
        faults: vec![],
    };
    let domains = domains.iter().map(|d| (Arc::clone(d), SessionPolicy::Any)).collect();
    ExporterDetail { status, states: vec![Arc::clone(state)], domains }
}

fn names(count: usize) -> Vec<String> {
    ["2055", "4739", "9995"][..count].iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_cursor_reads_what_it_writes_and_nothing_else() {
    for of in [Session::Any, Session::Port(2_055), Session::Connection(9)] {
        let at = |observation_domain, listener| domain_of(&state(), of, observation_domain, listener);
        let cursor = Cursor::of(&at(7, 1), 300);
        assert_eq!(Cursor::parse(&cursor.to_string()), Ok(cursor));
        assert_eq!(behind(Some(cursor), &at(7, 1)), Some(Some(300)));
        for (observation_domain, listener, expected) in
            [(6, 1, None), (7, 0, None), (7, 2, Some(None)), (8, 0, Some(None)), (8, 1, Some(None))]
        {
            assert_eq!(behind(Some(cursor), &at(observation_domain, listener)), expected);
        }
    }
    for wrong in
        ["", "v9", "v9:7:0:0", "v9:7:0:0:65536", "v9:7:65536:0:256", "v4:7:0:0:256", "v9:7:0:0:256:1", "v9:-7:0:0:256"]
    {
        assert!(Cursor::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn n9_14_pages_join_to_all_templates_of_two_listeners() {
    let state = state();
    // In the order of lists: domain, listener, session.
    let scopes = [(7, 0, Session::Any), (7, 1, Session::Any), (7, 1, Session::Port(9)), (8, 0, Session::Any)];
    let domains = scopes.map(|(of, listener, session)| domain_of(&state, session, of, listener));
    for domain in &domains {
        let of = domain.key.observation_domain;
        take(domain, &v9(of, &[(256, &[(8, 4)]), (257, &[(12, 4)]), (300, &[(1, 4)])], &[]));
    }
    let listeners = names(2);
    let ids = |row: &DetailRow| -> Vec<_> {
        row.templates.iter().map(|t| (t.domain.2, t.listener.clone(), t.domain.1.clone(), t.id)).collect()
    };
    let all = page(picture(&state, &domains), None, TemplateRoom { templates: 100, fields: 100 }, &listeners);
    assert_eq!((all.templates.len(), all.templates_left_out, &all.templates_next), (12, 0, &None));
    assert_eq!(all.templates[3].listener.as_deref(), Some("4739"));
    for limit in [1, 2, 3, 5, 11] {
        let (mut seen, mut after) = (Vec::new(), None);
        // One page a template, and one more, is the most that there can be.
        for _ in 0..=12 {
            let query = DetailQuery { tenant: None, after: after.take(), limit };
            let page = detail(picture(&state, &domains), &query, &listeners).unwrap();
            assert_eq!(page.templates.len() + page.templates_left_out, 12);
            seen.extend(ids(&page));
            after = page.templates_next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, ids(&all), "{limit} a page");
    }
    let shown: Vec<_> = all.row.domains.iter().map(|d| (d.listener.as_deref(), d.session_policy)).collect();
    let policy = Some("any");
    assert_eq!(shown, [(Some("2055"), policy), (Some("4739"), policy), (Some("4739"), policy), (Some("2055"), policy)]);
    assert_eq!(all.events[3].listener.as_deref(), Some("4739"));
    assert_eq!((all.row.refused, all.row.domains_evicted, all.row.domains[0].sequence_unit), (7, 8, "datagrams"));
}

#[test]
fn ix_39_flow_keys_are_told_by_name() {
    let state = state();
    let key = DomainKey { session: Session::Any, version: Version::Ipfix, observation_domain: 7 };
    let domain = Arc::new(Domain::new(key, Arc::clone(&state), None));
    // A template of three fields, and an options template whose scope is a templateId 145 and which has
    // flowKeyIndicator 173; bits 0, 1 and one behind the last field are set.
    let sets: [&[u16]; 3] =
        [&[2, 20, 256, 3, 8, 4, 12, 4, 1, 4], &[3, 18, 400, 2, 1, 145, 2, 173, 8], &[400, 14, 256, 0, 0, 0, 0b1011]];
    let words: Vec<u16> = sets.concat();
    let mut octets = [10, 16 + 2 * words.len() as u16].map(u16::to_be_bytes).concat();
    octets.extend([1_700_000_000_u32, 0, 7].map(u32::to_be_bytes).concat());
    octets.extend(words.iter().flat_map(|w| w.to_be_bytes()));
    take(&domain, &octets);
    let row = whole(picture(&state, &[domain]));
    let of = |id: u16| row.templates.iter().find(|t| t.id == id).unwrap();
    let keys = Some(vec!["sourceIPv4Address".to_owned(), "destinationIPv4Address".to_owned()]);
    assert_eq!((&of(256).flow_keys, &of(400).flow_keys), (&keys, &None));
    assert_eq!((of(256).listener.as_ref(), of(256).assumed_maker), (None, false));
    assert_eq!(exporter_json(&row)["templates"]["shown"][0]["flow_keys"], serde_json::json!(keys));
}

#[test]
fn options_are_told_by_what_they_hold_for() {
    let state = state();
    let domain = domain_of(&state, Session::Any, 7, 0);
    // Scope system; a sampler 48 with its rate 50, and an interface 10 with its name 82.
    let sets: [&[u16]; 4] = [
        &[1, 22, 400, 4, 8, 1, 4, 48, 2, 50, 4],
        &[400, 14, 0, 1, 5, 0, 1_000],
        &[1, 22, 401, 4, 8, 1, 4, 10, 2, 82, 6],
        &[401, 16, 0, 1, 12, 0x4769, 0x301b, 0x2f31],
    ];
    take(&domain, &v9(7, &[], &sets));
    let json = exporter_json(&whole(picture(&state, &[domain])));
    let options = &json["options"];
    assert_eq!(options["entries"]["interfaces"], 1, "{options}");
    assert_eq!(
        options["sampling_rates"],
        serde_json::json!([
            { "observation_domain": 7, "rate": 1_000, "scope": "domain" },
            { "observation_domain": 7, "rate": 1_000, "scope": "sampler", "id": 5 },
        ])
    );
    // What would move a terminal's cursor is not shown.
    assert_eq!(
        options["interfaces"],
        serde_json::json!([{ "observation_domain": 7, "id": 12, "name": "Gi0\u{fffd}/1" }])
    );
    assert_eq!(options["learned_elements"], 0);
}

#[test]
fn a_3_the_detail_of_a_full_exporter_stays_small() {
    let layouts: Vec<u16> = (0..TEMPLATES_PER_DOMAIN_MAX as u16).map(|n| 256 + n).collect();
    let domain = domain_of(&state(), Session::Any, 7, 0);
    for ids in layouts.chunks(512) {
        let layouts: Vec<Layout<'_>> = ids.iter().map(|id| (*id, &[(8, 4), (12, 4)][..])).collect();
        take(&domain, &v9(7, &layouts, &[]));
    }
    // The same one again and again shows as much as so many of them.
    let domains = vec![domain; DOMAINS_PER_EXPORTER_MAX];
    let known = DOMAINS_PER_EXPORTER_MAX * TEMPLATES_PER_DOMAIN_MAX;
    let states: Vec<_> = domains.iter().map(|d| Arc::clone(&d.exporter)).collect();
    let limit = usize::try_from(HTTP_PAGE_ROWS.max).unwrap();
    let query = DetailQuery { limit, ..DetailQuery::default() };
    let picture = ExporterDetail { states, ..picture(&state(), &domains) };
    let row = detail(picture, &query, &names(1)).unwrap();
    assert_eq!((row.templates.len(), row.templates_left_out), (limit, known - limit));
    // 1,000 templates, 256 domains, and the newest events.
    let octets = exporter_json(&row).to_string().len();
    assert!(octets < 1 << 20, "{octets} octets");
}
