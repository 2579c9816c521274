//! The UDP and HTTP ports of a real process: nonsense beside a good exporter, two collectors on one port.

use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use clarion_collector::flow::Version;

use super::child::{Backend, COLLECTOR, Collector, Load, anywhere, binary, last_words, number, serials, wait_for};

/// Largest payload of a UDP datagram over IPv4.
const DATAGRAM_MAX: usize = 65_507;

/// The same octets each time.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

/// Messages that are cut, or lie about their length: the reason that each must be rejected for.
fn lies() -> Vec<(&'static str, Vec<u8>)> {
    let v5 = |count: u16, length: usize| {
        let mut octets = vec![0, 5, count.to_be_bytes()[0], count.to_be_bytes()[1]];
        octets.resize(length, 0);
        octets
    };
    let ipfix = |says: u16, length: usize| {
        let mut octets = vec![0, 10, says.to_be_bytes()[0], says.to_be_bytes()[1]];
        octets.resize(length, 0);
        octets
    };
    vec![
        ("too_short", Vec::new()),
        ("too_short", vec![0]),
        ("too_short", vec![0, 9]),
        ("too_short", v5(1, 23)),
        ("too_short", ipfix(16, 15)),
        ("unsupported_version", vec![0xff; 100]),
        ("unsupported_version", vec![0xff; DATAGRAM_MAX]),
        ("not_decoded", [&[0, 8][..], &[0; 100]].concat()),
        ("bad_count", v5(0, 24)),
        ("bad_count", v5(31, 24 + 31 * 48)),
        ("bad_length", v5(2, 24 + 48)),
        ("bad_length", v5(30, 24 + 30 * 48 - 1)),
        ("bad_length", ipfix(200, 100)),
    ]
}

#[test]
fn nonsense_on_the_port_is_rejected_by_reason_and_costs_a_good_exporter_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let out = dir.path().join("out");
    let backend = Backend::start(anywhere(), &out, &[]);
    let mut collector = Collector::delivering(backend.address, &[]);
    let load = Load::start(collector.port, 3_000, 3);
    // From an address of its own: what it does must not touch another exporter.
    let bad = UdpSocket::bind("127.9.9.9:0").expect("loopback has many addresses");
    let mut sent = 0_u64;
    let lies = lies();
    for round in 0..40 {
        let length = [1, 17, 64, 400, 1_400, 9_000, DATAGRAM_MAX][round % 7];
        let random = noise(round as u64, length);
        // Random bodies behind headers that are right, so that the decoder goes on.
        let mut v9 = vec![0, 9, 0, 5];
        v9.extend(&random);
        v9.truncate(DATAGRAM_MAX);
        let cut = u16::try_from(length.min(60_000) + 16).expect("it fits").to_be_bytes();
        let mut ipfix = vec![0, 10, cut[0], cut[1]];
        ipfix.extend(noise(round as u64 + 1_000, length.min(60_000) + 12));
        for octets in lies.iter().map(|(_, octets)| octets).chain([&random, &v9, &ipfix]) {
            bad.send_to(octets, collector.port).expect("a datagram can be sent");
            sent += 1;
        }
        let good = load.sent();
        wait_for("the good exporters go on", || (load.sent() > good).then_some(()));
    }
    let good = load.stop();

    let ledger = collector.ledger_at_rest(sent + good.datagrams);
    assert_eq!(number(&ledger, "/datagrams/kernel_dropped"), 0, "{ledger}");
    for (reason, _) in &lies {
        let each = lies.iter().filter(|(other, _)| other == reason).count() as u64 * 40;
        let counted = number(&ledger["datagrams"]["rejected_by_reason"], &format!("/{reason}"));
        assert!(counted >= each, "{reason}: {counted} of {each}\n{ledger}");
    }
    assert_eq!(number(&ledger, "/datagrams/rejected_by_reason/panic"), 0, "{ledger}");
    assert!(collector.process.log().lines().count() < 100, "the log is flooded:\n{}", collector.process.log());

    collector.process.signal(&["TERM"]);
    let status = collector.process.wait(Duration::from_secs(30));
    let log = collector.process.log();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    assert_eq!(number(&last_words(&log), "/dropped"), 0, "{log}");
    let (seen, lines) = serials(&[&out]);
    for exporter in &good.by_exporter {
        let name = exporter.source.ip().to_string();
        let missing = (1..=exporter.records).filter(|serial| !seen.contains(&(name.clone(), *serial))).count();
        assert_eq!(missing, 0, "{name} lost {missing} of {}", exporter.records);
    }
    assert!(lines >= good.records, "{lines}");
}

/// Arguments of a collector that shares `port` and takes the first free HTTP port of a range.
fn sharing(port: &str, range: &str, backend: &Backend) -> Command {
    let mut command = binary(&[]);
    let others = ["--netflow-port", "--ipfix-port", "--http-port"];
    command.args(COLLECTOR.iter().filter(|arg| !others.iter().any(|other| arg.starts_with(other))));
    command.args([format!("--netflow-port={port}"), format!("--ipfix-port={port}"), format!("--http-port={range}")]);
    command.arg(format!("--backend-url=http://{}", backend.address));
    command
}

#[test]
fn two_collectors_share_a_port_and_take_http_ports_of_a_range() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let out = dir.path().join("out");
    let backend = Backend::start(anywhere(), &out, &[]);
    // Ports that were free a moment ago: a group needs a number that both know.
    let udp = UdpSocket::bind(anywhere()).and_then(|s| s.local_addr()).expect("an address").port().to_string();
    let first_http = std::net::TcpListener::bind(anywhere()).and_then(|l| l.local_addr()).expect("an address").port();
    let range = format!("{}-{}", first_http.min(65_000), first_http.min(65_000) + 100);
    let mut one = Collector::from_command(sharing(&udp, &range, &backend), false);
    let mut two = Collector::from_command(sharing(&udp, &range, &backend), false);
    assert_eq!(one.port, two.port);
    assert!(one.http.port() < two.http.port(), "{} {}", one.http, two.http);

    // Version 5 needs no template that only the other has.
    let load = Load::of(&[Version::V5], one.port, 4_000, 40);
    wait_for("both have delivered", || {
        let delivered = |c: &Collector| number(&c.ledger(), "/records/delivered");
        (delivered(&one) > 200 && delivered(&two) > 200).then_some(())
    });
    // One leaves under load: the other gets its exporters, and nothing is lost.
    one.process.signal(&["TERM"]);
    assert_eq!(one.process.wait(Duration::from_secs(30)).code(), Some(0), "{}", one.process.log());
    let so_far = load.sent();
    wait_for("the load goes on", || (load.sent() > so_far + 2_000).then_some(()));
    let sent = load.stop();
    let first = last_words(&one.process.log());
    let all = sent.records - number(&first, "/decoded");
    wait_for("all that was sent", || (number(&two.ledger(), "/records/decoded") >= all).then_some(()));
    two.process.signal(&["TERM"]);
    assert_eq!(two.process.wait(Duration::from_secs(30)).code(), Some(0), "{}", two.process.log());
    let second = last_words(&two.process.log());
    assert_eq!(number(&second, "/decoded"), all, "{second}");
    for words in [&first, &second] {
        assert_eq!(words["decoded"], words["delivered"], "{words}");
    }
    let (seen, lines) = serials(&[&out]);
    assert_eq!((seen.len() as u64, lines), (sent.records, sent.records));
}
