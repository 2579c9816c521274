//! Several backends over loopback: failover and return, spreading, the breaker, and how many requests each gets.
//!
//! Every test ends with the same check by serial number: what was taken has arrived, at one backend or another, and
//! nothing is held. Conditions are waited for with a deadline; no test depends on how fast something is.

#[path = "backends/server.rs"]
mod server;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use clarion_collector::clock::Clock;
use clarion_collector::metrics::{
    BACKEND_STATES, BackendMetrics, Metrics, REQUEST_CODES, RecordDrop, Shape, SinkMetrics,
};
use clarion_collector::queue::Outlet;
use clarion_collector::sink::encode::{EncodedBatch, Format};
use clarion_collector::sink::{
    Access, BackendUrl, Balance, Concurrency, ExporterRun, Output, Routing, Sink, SinkSettings,
};
use server::Server;
use uuid::Uuid;

/// Long enough for a machine that does eight other things; reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(90);

#[track_caller]
fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Two records, `2 * number` and the next.
fn batch(number: u64) -> EncodedBatch {
    let body = format!("{{\"records\":[{{\"n\":{}}},{{\"n\":{}}}]}}", 2 * number, 2 * number + 1);
    let ends = body.match_indices('}').take(2).map(|(at, _)| u32::try_from(at + 1).unwrap()).collect();
    EncodedBatch {
        id: Uuid::now_v7(),
        part: 0,
        format: Format::BackendJson,
        records: 2,
        oldest_receive: 1_000_000_000 + number,
        newest_receive: 1_000_000_000 + number,
        body: body.into(),
        record_ends: ends,
        per_exporter: vec![ExporterRun { tenant: Arc::from(""), address: [198, 51, 100, 1].into(), records: 2 }],
    }
}

fn url(server: SocketAddr) -> BackendUrl {
    BackendUrl {
        tls: false,
        host: server.ip().to_string(),
        port: server.port(),
        path: "/flows".to_owned(),
        display: format!("http://{server}"),
    }
}

/// A sink with its books, and what the test put in.
struct Bench {
    outlet: Arc<dyn Outlet>,
    sink: Sink,
    metrics: SinkMetrics,
    next: u64,
}

impl Bench {
    fn new(servers: &[&Server], balance: Balance, concurrency: Concurrency, requests_in_flight: usize) -> Self {
        let others = servers[1..].iter().map(|server| (url(server.address()), Access::default())).collect();
        let settings = SinkSettings {
            output: Output::Backend,
            backend: url(servers[0].address()),
            instance: "test-1".to_owned(),
            requests_in_flight,
            in_flight_octets: 16 << 20,
            request_timeout: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            connection_max_age: Duration::from_secs(300),
            access: Access { routing: Routing { others, balance, concurrency }, ..Access::default() },
            retry_attempts: 3,
            backoff: Duration::from_millis(5),
            backoff_max: Duration::from_millis(50),
            threads: 1,
        };
        let shape =
            Shape { listeners: vec![], workers: 0, batchers: 0, sink: "backend", instance: settings.instance.clone() };
        let metrics = Metrics::new(&shape);
        metrics.backends(servers.len());
        let (outlet, sink) = clarion_collector::sink::start(settings, Clock::system(), metrics.sink()).unwrap();
        Self { outlet, sink, metrics: metrics.sink(), next: 0 }
    }

    fn put(&mut self, batches: u64) {
        for _ in 0..batches {
            assert!(self.outlet.offer(batch(self.next)).is_ok(), "the outlet gave the batch back");
            self.next += 1;
        }
    }

    /// Keeps some batches waiting until `condition` holds.
    #[track_caller]
    fn feed_until(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "not in {PATIENCE:?}: {what}");
            if self.metrics.held.level() < 60 {
                self.put(10);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn backend(&self, index: usize) -> BackendMetrics {
        self.metrics.backends.all().swap_remove(index)
    }

    fn requests(&self, index: usize, code: &str) -> u64 {
        self.backend(index).requests[REQUEST_CODES.iter().position(|c| *c == code).unwrap()].value()
    }

    fn state(&self, index: usize) -> &'static str {
        BACKEND_STATES[self.backend(index).picture().state]
    }

    /// All that was taken is delivered, each serial is with at least one server, and what is there twice was counted.
    fn close(self, servers: &[&Server]) {
        let taken = self.next * 2;
        wait_for("all is delivered", || self.metrics.books.delivered.value() == taken);
        assert!(self.sink.finish(PATIENCE).in_time);
        assert_eq!(self.metrics.held.value(), 0);
        assert_eq!(self.metrics.books.dropped[RecordDrop::DeliveryRefused as usize].value(), 0);
        let lists: Vec<Vec<u64>> = servers.iter().map(|server| server.accepted()).collect();
        let all: BTreeSet<u64> = lists.iter().flatten().copied().collect();
        assert_eq!(all, (0..taken).collect(), "every serial has arrived");
        let more = lists.iter().map(Vec::len).sum::<usize>() as u64 - taken;
        let counted = self.metrics.books.duplicated.value();
        assert!(more <= counted, "{more} arrived twice, {counted} counted as possible");
        let accepted: u64 = self.metrics.backends.all().iter().map(|one| one.records.value()).sum();
        assert_eq!(accepted, taken);
    }
}

#[test]
fn failover_goes_to_the_next_and_returns_to_the_preferred() {
    let status = Arc::new(AtomicU16::new(201));
    let told = Arc::clone(&status);
    let preferred = Server::start(move || told.load(Ordering::SeqCst));
    let standby = Server::start(|| 201);
    let servers = [&preferred, &standby];
    let mut bench = Bench::new(&servers, Balance::Failover, Concurrency::Adaptive, 4);
    bench.feed_until("the preferred one takes", |_| preferred.accepted().len() >= 200);
    assert_eq!(standby.accepted().len(), 0);
    status.store(503, Ordering::SeqCst);
    bench.feed_until("the standby takes", |_| standby.accepted().len() >= 200);
    assert!(bench.sink.is_healthy(), "one of them takes what it is sent");
    let before = preferred.accepted().len();
    bench.feed_until("several probes", |bench| bench.requests(0, "503") >= 5);
    assert_eq!(preferred.accepted().len(), before, "nothing was accepted there");
    assert_ne!(bench.state(0), "closed");
    let error = bench.backend(0).picture().last_error.expect("an error");
    assert!(error.1.contains("503"), "{error:?}");
    status.store(201, Ordering::SeqCst);
    bench.feed_until("the preferred one is back", |bench| {
        bench.state(0) == "closed" && preferred.accepted().len() >= before + 200
    });
    bench.feed_until("what was under way at the standby ended", |bench| bench.backend(1).in_flight.level() == 0);
    let there = standby.accepted().len();
    let here = preferred.accepted().len();
    bench.feed_until("more", |_| preferred.accepted().len() >= here + 200);
    assert_eq!(standby.accepted().len(), there, "the standby is left alone");
    bench.close(&servers);
}

#[test]
fn spreading_survives_the_death_of_one() {
    let (first, mut second, third) = (Server::start(|| 201), Server::start(|| 201), Server::start(|| 201));
    let mut bench = Bench::new(&[&first, &second, &third], Balance::Spread, Concurrency::Adaptive, 6);
    bench.feed_until("all three take", |_| [&first, &second, &third].iter().all(|s| s.accepted().len() >= 100));
    second.stop();
    let before = first.accepted().len() + third.accepted().len();
    bench.feed_until("the others go on", |_| first.accepted().len() + third.accepted().len() >= before + 400);
    wait_for("it is known", || bench.state(1) != "closed");
    assert!(bench.sink.is_healthy());
    assert_eq!((bench.state(0), bench.state(2)), ("closed", "closed"));
    bench.close(&[&first, &second, &third]);
}

#[test]
fn a_half_open_breaker_lets_one_request_through() {
    // 0: 503 for all; 1: hold what comes; 2: 201.
    let mood = Arc::new((Mutex::new(0), Condvar::new()));
    let (held, told) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&mood));
    let counted = Arc::clone(&held);
    let server = Server::start(move || {
        let (lock, bell) = &*told;
        let mut now = lock.lock().unwrap();
        if *now == 0 {
            return 503;
        }
        counted.fetch_add(1, Ordering::SeqCst);
        while *now == 1 {
            now = bell.wait(now).unwrap();
        }
        201
    });
    let servers = [&server];
    let mut bench = Bench::new(&servers, Balance::Failover, Concurrency::Fixed, 8);
    bench.put(40);
    // Nothing is under way then: what comes next is a probe.
    wait_for("it is open", || bench.state(0) == "open" && bench.backend(0).in_flight.level() == 0);
    *mood.0.lock().unwrap() = 1;
    wait_for("a probe is held", || held.load(Ordering::SeqCst) >= 1);
    wait_for("it is half open", || bench.state(0) == "half_open");
    bench.put(40);
    // Ten of the longest pauses: whatever would follow the probe has had its time.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!((held.load(Ordering::SeqCst), bench.backend(0).in_flight.level()), (1, 1), "one probe, others wait");
    *mood.0.lock().unwrap() = 2;
    mood.1.notify_all();
    wait_for("it is closed", || bench.state(0) == "closed");
    bench.close(&servers);
}

#[test]
fn concurrency_shrinks_where_more_makes_a_backend_slower_and_grows_back() {
    let (serial, turn) = (Arc::new(AtomicBool::new(false)), Mutex::new(()));
    let (told, work) = (Arc::clone(&serial), Duration::from_millis(80));
    let server = Server::start(move || {
        // One at a time, like a table that is locked, or all at once.
        let _turn = told.load(Ordering::SeqCst).then(|| turn.lock().unwrap());
        std::thread::sleep(work);
        201
    });
    let servers = [&server];
    let mut bench = Bench::new(&servers, Balance::Failover, Concurrency::Adaptive, 8);
    bench.feed_until("all are allowed", |bench| bench.backend(0).limit.level() == 8);
    serial.store(true, Ordering::SeqCst);
    bench.feed_until("few are allowed", |bench| bench.backend(0).limit.level() <= 3);
    serial.store(false, Ordering::SeqCst);
    bench.feed_until("all are allowed again", |bench| bench.backend(0).limit.level() == 8);
    assert_eq!(bench.state(0), "closed", "slow is not sick");
    bench.close(&servers);
}
