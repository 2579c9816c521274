//! Faults of exporters over the real collector: each shows by what was sent, and goes when it is put right.

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{SystemTime, UNIX_EPOCH};

use clarion_collector::app::Running;
use clarion_collector::metrics::FAULT_REASONS;
use clarion_collector::tools::backend::Backend;
use serde_json::Value;

/// An exporter on a loopback address of its own.
struct Exporter<'a> {
    socket: UdpSocket,
    running: &'a Running,
    sequence: u32,
}

impl<'a> Exporter<'a> {
    fn new(running: &'a Running, last: u8) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, last), 0)).unwrap();
        socket.connect(common::port(running)).unwrap();
        Self { socket, running, sequence: 0 }
    }

    /// Sends a v9 datagram of domain 7 and waits until it was worked on.
    fn send(&mut self, uptime_ms: u32, late_s: u64, sets: &[&[u16]]) {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - late_s;
        let mut octets = [9, sets.len() as u16].map(u16::to_be_bytes).concat();
        octets.extend([uptime_ms, u32::try_from(seconds).unwrap(), self.sequence, 7].map(u32::to_be_bytes).concat());
        octets.extend(sets.concat().iter().flat_map(|word| word.to_be_bytes()));
        self.sequence += 1;
        let before = self.running.metrics.books.processed.value();
        self.socket.send(&octets).unwrap();
        common::wait_for("the datagram", || self.running.metrics.books.processed.value() > before);
    }
}

/// sourceIPv4Address 8, octetDeltaCount 1, samplerId 48; template 256.
const TEMPLATE: &[u16] = &[0, 20, 256, 3, 8, 4, 1, 4, 48, 2];
/// A record of it, with padding.
const DATA: &[u16] = &[256, 16, 0xc000, 0x0201, 0, 1_500, 3, 0];
/// A set that ends past the datagram.
const BROKEN: &[u16] = &[256, 400, 1, 2];

/// A collector that answers as often as a waiting test asks.
fn start(backend: &Backend) -> Running {
    let mut settings = common::settings(backend.address());
    settings.web.access.request_rate = 100_000;
    common::start(settings)
}

fn body(at: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

fn json(running: &Running, path: &str) -> Value {
    serde_json::from_str(&body(running.http_address(), path)).unwrap()
}

/// Addresses of the exporters with `fault`.
fn having(running: &Running, fault: &str) -> Vec<String> {
    assert!(FAULT_REASONS.contains(&fault));
    let list = json(running, &format!("/api/v1/exporters?fault={fault}"));
    list["exporters"].as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap().to_owned()).collect()
}

fn detail(running: &Running, address: &str) -> Value {
    json(running, &format!("/api/v1/exporters/{address}"))["exporters"][0].clone()
}

#[test]
fn a_fault_shows_with_what_to_do_and_goes_when_its_cause_does() {
    let backend = common::backend();
    let running = start(&backend);
    let mut exporter = Exporter::new(&running, 2);
    exporter.send(60_000, 0, &[DATA]);
    common::wait_for("waiting_for_template", || having(&running, "waiting_for_template") == ["127.0.0.2"]);
    let full = detail(&running, "127.0.0.2");
    let fault = &full["faults_in_full"][0];
    assert_eq!(fault["fault"], "waiting_for_template", "{full}");
    assert!(fault["since"].as_str().unwrap().ends_with('Z') && fault["evidence"].as_str().unwrap().contains("256"));
    assert_eq!(full["domains"][0]["waiting_for"][0]["template"], 256);
    assert_eq!(
        (&full["domains"][0]["session_policy"], &full["domains"][0]["sequence_unit"]),
        (&"any".into(), &"datagrams".into())
    );

    exporter.send(61_000, 0, &[TEMPLATE]);
    common::wait_for("the template", || having(&running, "waiting_for_template").is_empty());
    let full = detail(&running, "127.0.0.2");
    let template = &full["templates"]["shown"][0];
    let names: Vec<&str> = template["fields"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    assert_eq!(
        (names, template["id"].as_u64()),
        (vec!["sourceIPv4Address", "octetDeltaCount", "samplerId"], Some(256))
    );
    assert_eq!((&full["template_events"][0]["event"], &full["parked_sets"]), (&"learned".into(), &0.into()));
    // The record that waited came out, and nobody told its rate.
    common::wait_for("sampling_unknown", || having(&running, "sampling_unknown") == ["127.0.0.2"]);

    assert!(having(&running, "clock_skew").is_empty());
    exporter.send(62_000, 3_600, &[DATA]);
    common::wait_for("clock_skew", || having(&running, "clock_skew") == ["127.0.0.2"]);
    exporter.send(63_000, 0, &[DATA]);
    common::wait_for("a clock put right", || having(&running, "clock_skew").is_empty());

    assert!(having(&running, "malformed").is_empty());
    exporter.send(64_000, 0, &[DATA, BROKEN]);
    common::wait_for("malformed", || having(&running, "malformed") == ["127.0.0.2"]);
    let line = "clarion_collector_exporters_with_fault{reason=\"malformed\"} 1";
    common::wait_for(line, || body(running.http_address(), "/metrics/prometheus").lines().any(|l| l == line));

    // Another device, booted a day earlier, behind the same address and in the same domain.
    assert!(having(&running, "looks_like_nat").is_empty());
    for _ in 0..4 {
        exporter.send(86_400_000, 0, &[DATA]);
        exporter.send(65_000, 0, &[DATA]);
    }
    common::wait_for("looks_like_nat", || having(&running, "looks_like_nat") == ["127.0.0.2"]);
    drop(running.drain());
}

#[test]
fn if_all_clocks_are_off_the_same_way_ours_is_the_suspect() {
    let backend = common::backend();
    let running = start(&backend);
    let mut exporters = [2, 3, 4].map(|last| Exporter::new(&running, last));
    for exporter in &mut exporters {
        exporter.send(60_000, 7_200, &[TEMPLATE, DATA]);
    }
    common::wait_for("all_skewed", || having(&running, "all_skewed").len() == 3);
    assert!(having(&running, "clock_skew").is_empty(), "the exporters are not to blame");
    let degraded = json(&running, "/readyz")["degraded"].to_string();
    assert!(degraded.contains("all_skewed") && degraded.contains("behind"), "{degraded}");
    for exporter in &mut exporters[..2] {
        exporter.send(60_000, 0, &[DATA]);
    }
    common::wait_for("the third one's own fault", || having(&running, "clock_skew") == ["127.0.0.4"]);
    drop(running.drain());
}
