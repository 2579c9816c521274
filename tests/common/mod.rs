//! A collector, a backend and exporters in one process, on free loopback ports.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use clarion_collector::app::{App, Running};
use clarion_collector::clock::Clock;
use clarion_collector::collect::ListenerSettings;
use clarion_collector::config::{self, Settings};
use clarion_collector::flow::Version;
use clarion_collector::metrics::Ledger;
use clarion_collector::sink::BackendUrl;
use clarion_collector::tools::backend::{Backend, BackendOptions, Misbehaviour};
use clarion_collector::tools::generate::{GenerateOptions, GenerateReport, run_with};

/// Longest that a condition is waited for: far above what a busy machine needs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds; says what did not come about otherwise.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited {PATIENCE:?} in vain for: {what}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Defaults, on free loopback ports, with batches small enough for a test.
pub fn settings(backend: SocketAddr) -> Settings {
    let mut settings = config::defaults();
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    settings.instance = Some("test".to_owned());
    settings.data_dir = None;
    settings.collect.listeners = vec![ListenerSettings {
        name: "test".to_owned(),
        address: local,
        port: 0,
        interface: None,
        tenant: String::new(),
    }];
    settings.collect.workers = 2;
    settings.queue.batch_interval = Duration::from_millis(100);
    settings.web.bind = local;
    settings.web.ports = 0..=0;
    settings.sink.backend = BackendUrl {
        tls: false,
        host: backend.ip().to_string(),
        port: backend.port(),
        path: "/api/netflow/netflow".to_owned(),
        display: format!("http://{backend}"),
    };
    settings.sink.backoff = Duration::from_millis(20);
    settings.sink.backoff_max = Duration::from_millis(200);
    settings.shutdown_timeout = Duration::from_secs(20);
    settings
}

pub fn start(settings: Settings) -> Running {
    App::start(settings, Clock::system()).expect("the collector starts")
}

pub fn port(running: &Running) -> SocketAddr {
    running.listeners()[0].1
}

pub fn backend() -> Backend {
    backend_with(Misbehaviour::default())
}

pub fn backend_with(misbehaviour: Misbehaviour) -> Backend {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Backend::start(BackendOptions { listen, serials: true, misbehaviour, ..BackendOptions::default() })
        .expect("the backend starts")
}

/// An address where nobody listens.
pub fn nobody() -> SocketAddr {
    let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.local_addr().unwrap()
}

/// Sends `records` records from `exporters` exporters of all versions.
pub fn generate(to: SocketAddr, rate: u64, exporters: usize, records: u64) -> GenerateReport {
    let mut options = GenerateOptions::new(to, rate);
    options.exporters = exporters;
    options.versions = vec![Version::V5, Version::V9, Version::Ipfix];
    options.records = Some(records);
    run_with(options, Arc::new(AtomicBool::new(false))).expect("flows are sent")
}

/// The three equations, at rest.
pub fn assert_balanced(ledger: &Ledger) {
    assert_eq!(ledger.datagrams_received, ledger.datagrams_explained, "datagrams: {ledger:?}");
    assert_eq!(ledger.sets_seen, ledger.sets_explained, "sets: {ledger:?}");
    assert_eq!(ledger.imbalance(), 0, "records: {ledger:?}");
}

/// The captures that are not part of this repository.
pub fn corpus() -> Option<PathBuf> {
    let shared = std::env::var_os("CLARION_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let corpus = shared.join("corpus");
    if corpus.join("MANIFEST.tsv").is_file() {
        return Some(corpus);
    }
    eprintln!("SKIPPED: no captures at {}", corpus.display());
    None
}

/// Head and body of the answer to a GET, by HTTP/1.0.
pub fn ask(from: SocketAddr, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(from).expect("the HTTP side listens");
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {from}\r\n\r\n").expect("a request can be sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer in UTF-8");
    answer
}
