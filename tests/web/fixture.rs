//! An HTTP side on loopback with a clock and sources of the test's own, and the plainest of clients.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clarion_collector::clock::{Clock, ManualClock};
use clarion_collector::metrics::{Metrics, Shape};
use clarion_collector::web::{
    self, ConfigRow, DetailRow, ExporterRow, Health, Liveness, Readiness, Sources, WebAccess, WebServer, WebSettings,
};

pub struct Fixture {
    pub server: WebServer,
    pub metrics: Arc<Metrics>,
    pub hand: Arc<ManualClock>,
    pub ready: Arc<AtomicBool>,
    pub stale: Arc<Mutex<Vec<String>>>,
    pub pictures: Arc<AtomicUsize>,
}

pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{}", self.head);
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (n, value) = line.split_once(':')?;
            n.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

pub fn exporter(address: &str, tenant: &str) -> ExporterRow {
    ExporterRow {
        address: address.parse().unwrap(),
        tenant: tenant.into(),
        name: Some("<script>\"edge\"\u{1b}[2J\n".into()),
        switch_id: address.into(),
        first_seen_ns: 1_700_000_000_000_000_000,
        last_seen_ns: 1_700_000_060_500_000_000,
        datagrams: 3,
        octets: 300,
        records: 30,
        rejected: 1,
        refused: 0,
        domains_evicted: 0,
        missing_units: 0,
        parked_sets: 0,
        parked_octets: 0,
        lost: Default::default(),
        maker: None,
        last_10s: None,
        last_60s: None,
        faults: vec![],
        domains: vec![],
    }
}

/// The same in full.
pub fn detail(row: ExporterRow) -> DetailRow {
    DetailRow {
        row,
        profile: vec![],
        options: vec![],
        templates: vec![],
        templates_left_out: 0,
        templates_next: None,
        events: vec![],
    }
}

/// What there is to be seen.
fn exporters() -> Vec<ExporterRow> {
    vec![exporter("192.0.2.7", "b\"lue\n"), exporter("2001:db8::1", ""), exporter("192.0.2.7", "")]
}

/// Open to everybody, without TLS.
pub fn start() -> Fixture {
    start_with(WebAccess::default())
}

/// An HTTP side whose clock stands still until it is moved.
pub fn start_with(access: WebAccess) -> Fixture {
    let metrics = Metrics::new(&Shape {
        listeners: vec!["2055".into()],
        workers: 1,
        batchers: 1,
        sink: "backend",
        instance: "test-0".into(),
    });
    let (clock, hand) = Clock::manual(1_700_000_100_000_000_000);
    metrics.sink().backends.all()[0].name("http://backend:8000", 0);
    let ready = Arc::new(AtomicBool::new(true));
    let stale = Arc::new(Mutex::new(Vec::new()));
    let pictures = Arc::new(AtomicUsize::new(0));
    let sources = Sources {
        metrics: Arc::clone(&metrics),
        instance: "test-0".into(),
        batch_size: 1_000,
        batch_interval: Duration::from_millis(2_500),
        listeners: vec![("2055".into(), "[::]:2055".parse().unwrap())],
        health: Box::new(|| Health {
            status: "healthy".into(),
            service: "clarion-collector".into(),
            backend_url: "http://backend:8000/base".into(),
        }),
        ready: Box::new({
            let ready = Arc::clone(&ready);
            move || {
                let ready = ready.load(Ordering::Acquire);
                Readiness { ready, reason: if ready { String::new() } else { "draining".into() } }
            }
        }),
        live: Box::new({
            let stale = Arc::clone(&stale);
            move || {
                let stale = stale.lock().unwrap().clone();
                Liveness { live: stale.is_empty(), stale }
            }
        }),
        degraded: Box::new(|| vec!["backend does not answer".into()]),
        config: Box::new(|| ConfigRow {
            taken_up_ns: 1_700_000_000_000_000_000,
            error: None,
            restart: vec!["[receive] workers".into()],
        }),
        exporters: Box::new({
            let pictures = Arc::clone(&pictures);
            move || {
                pictures.fetch_add(1, Ordering::AcqRel);
                exporters()
            }
        }),
        shared_ports: Box::new(Vec::new),
        rejected: Box::new(|| Some(b"a capture".to_vec())),
        exporter: Box::new(|address, _| {
            Ok(exporters().into_iter().filter(|row| row.address == address).map(detail).collect())
        }),
    };
    let settings = WebSettings { bind: IpAddr::V4(Ipv4Addr::LOCALHOST), ports: 0..=0, access };
    let server = web::start(settings, sources, clock).unwrap();
    Fixture { server, metrics, hand, ready, stale, pictures }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// One reply from a connection that may stay open; `has_body` is false for HEAD.
pub fn read_reply(stream: &mut impl Read, has_body: bool) -> Reply {
    let mut octets = Vec::new();
    let mut octet = [0; 1];
    while !octets.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut octet).unwrap(), 1, "closed within a head: {:?}", String::from_utf8_lossy(&octets));
        octets.push(octet[0]);
    }
    let head = String::from_utf8(octets).unwrap();
    let status = head[9..12].parse().unwrap();
    let mut reply = Reply { status, head, body: String::new() };
    if has_body {
        let length: usize = reply.header("content-length").unwrap().parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        reply.body = String::from_utf8(body).unwrap();
    }
    reply
}

pub fn ask(address: SocketAddr, method: &str, path: &str, headers: &str) -> Reply {
    ask_on(connect(address), method, path, headers)
}

/// One request on a connection that ends with its answer.
pub fn ask_on(mut stream: impl Read + Write, method: &str, path: &str, headers: &str) -> Reply {
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let reply = read_reply(&mut stream, method != "HEAD");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty(), "{method} {path}: octets behind the answer: {:?}", String::from_utf8_lossy(&rest));
    reply
}

pub fn read(address: SocketAddr, path: &str) -> Reply {
    ask(address, "GET", path, "")
}
