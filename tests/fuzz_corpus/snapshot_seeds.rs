//! Seeds of the target `snapshot`: learned state as the collector writes it, and what a disk may make of it.

use std::net::SocketAddr;

use clarion_collector::decode::{Datagram, Session, decode, identify};
use clarion_collector::flow::{FlowBatch, Version};
use clarion_collector::share::{Source, Whose, write_snapshot};

use super::encode::{Field, Head, VARIABLE, enterprise, field, record, set};
use super::snapshots::Table;

const NOW_NS: u64 = 1_735_689_600_000_000_000;
const FLOW: [Field; 4] = [field(8, 4), field(12, 4), field(10, 4), field(1, 4)];

/// What the messages of one exporter taught a table.
fn taught(messages: &[(Version, Session, Vec<u8>)]) -> Vec<u8> {
    let table = Table::default();
    for (version, session, octets) in messages {
        let whose = Whose {
            tenant: "blue".into(),
            address: [192, 0, 2, 1].into(),
            listener: "2055".into(),
            version: *version as u16,
            session: *session,
            observation_domain: 7,
            is_known: true,
            last_seen_ns: NOW_NS,
        };
        let domain = table.domain(&whose).expect("room");
        let header = identify(octets).expect("a header of ours");
        let datagram = Datagram { peer: SocketAddr::from(([192, 0, 2, 1], 4_000)), receive_ns: NOW_NS, octets };
        let outcome = decode(&datagram, &header, &domain, &mut FlowBatch::with_capacity(16));
        assert_eq!((outcome.rejected, outcome.templates_rejected), (None, 0));
    }
    let mut octets = Vec::new();
    write_snapshot(&table, NOW_NS, &mut octets).expect("memory takes it");
    octets
}

/// Inputs of the target `snapshot`, each with the lessons that it teaches.
pub fn snapshots() -> Vec<(&'static str, Vec<u8>, usize)> {
    let (v9, ipfix) = (Head::new(Version::V9, 7), Head::new(Version::Ipfix, 7));
    let templates = [v9.template(256, &FLOW), v9.template(257, &[field(8, 4), field(0x9000, 2)])];
    let flows = (Version::V9, Session::Any, v9.message(0, &[v9.templates(&templates)]));
    let names = [field(10, 4), field(82, VARIABLE), field(34, 4)];
    let types = [field(346, 4), field(303, 2), field(339, 1), field(341, VARIABLE)];
    let ids = [field(149, 4), field(160, 8), field(144, 4), field(300, VARIABLE)];
    let options = [
        ipfix.options_template(300, &names[..1], &names[1..]),
        ipfix.options_template(301, &types[..2], &types[2..]),
        ipfix.options_template(302, &ids[..1], &ids[1..]),
    ];
    let long = [field(8, 4), enterprise(9, 77, VARIABLE), field(1, 8)];
    let told = ipfix.message(
        0,
        &[
            ipfix.templates(&[ipfix.template(256, &long)]),
            ipfix.options_templates(&options),
            set(300, &record(&names, &[vec![0, 0, 0, 5], b"eth5".to_vec(), vec![0, 0, 0, 100]])),
            set(301, &record(&types, &[vec![0, 15, 66, 63], vec![0, 5], vec![13], b"hatColour".to_vec()])),
            set(302, &record(&ids, &[vec![0, 0, 0, 7], vec![1; 8], vec![0, 0, 0, 3], b"core".to_vec()])),
        ],
    );
    let shared = (Version::Ipfix, Session::Any, told.clone());
    let port = (Version::Ipfix, Session::Port(4_000), told);
    let whole = taught(&[flows.clone(), shared]);
    let ports = taught(&[port, flows.clone()]);
    let alone = taught(&[flows]);
    let mut hole = whole.clone();
    hole[40..60].fill(0);
    let torn = whole[..whole.len() - 20].to_vec();
    vec![
        ("v9", alone, 3),
        ("options", whole, 14),
        ("ports", ports, 14),
        // The larger of its records is lost, with its head.
        ("hole", hole, 3),
        // The smaller is, which stands last.
        ("torn", torn, 11),
    ]
}
