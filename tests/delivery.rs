//! Delivery against the embedded backend over loopback: what is accepted, what is kept, what is given up.
//!
//! Every test ends with the same check: all records that were taken are delivered or dropped by name, and
//! nothing is held. Conditions are waited for with a deadline; no test depends on how fast something is.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clarion_collector::clock::Clock;
use clarion_collector::metrics::{Metrics, REQUEST_CODES, RecordDrop, Shape, SinkMetrics};
use clarion_collector::queue::Outlet;
use clarion_collector::sink::encode::{EncodedBatch, Format};
use clarion_collector::sink::{
    Access, BackendUrl, Concurrency, ExporterRun, Output, Routing, Sink, SinkReport, SinkSettings,
};
use clarion_collector::tools::backend::{Backend, BackendOptions, Misbehaviour};
use uuid::Uuid;

/// Long enough for a machine that does eight other things; reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(60);

#[track_caller]
fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A batch of good records with these serials.
fn batch(serials: RangeInclusive<u64>) -> EncodedBatch {
    batch_with(serials, "192.0.2.1")
}

fn batch_with(serials: RangeInclusive<u64>, first_source: &str) -> EncodedBatch {
    let oldest_receive = 1_000_000_000 + serials.start();
    let mut body = String::from("{\"records\":[");
    let mut record_ends = Vec::new();
    for serial in serials {
        if !record_ends.is_empty() {
            body.push(',');
        }
        let source = if record_ends.is_empty() { first_source } else { "192.0.2.1" };
        body.push_str(&format!(
            "{{\"src_ip\":\"{source}\",\"dst_ip\":\"2001:db8::1\",\"src_port\":1,\"dst_port\":443,\"protocol\":6,\
             \"bytes\":{serial},\"packets\":1,\"flow_start\":1,\"flow_end\":2,\"switch_id\":\"s\"}}"
        ));
        record_ends.push(u32::try_from(body.len()).unwrap());
    }
    body.push_str("],\"switch_id\":\"s\"}");
    let records = u32::try_from(record_ends.len()).unwrap();
    EncodedBatch {
        id: Uuid::now_v7(),
        part: 0,
        format: Format::BackendJson,
        records,
        oldest_receive,
        newest_receive: oldest_receive,
        body: body.into(),
        record_ends,
        per_exporter: vec![ExporterRun { tenant: Arc::from(""), address: [198, 51, 100, 1].into(), records }],
    }
}

fn settings(backend: SocketAddr) -> SinkSettings {
    SinkSettings {
        output: Output::Backend,
        backend: BackendUrl {
            tls: false,
            host: backend.ip().to_string(),
            port: backend.port(),
            path: "/base/api/netflow/netflow".to_owned(),
            display: format!("http://{backend}/base"),
        },
        instance: "test-1".to_owned(),
        requests_in_flight: 4,
        in_flight_octets: 16 << 20,
        request_timeout: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(60),
        connection_max_age: Duration::from_secs(300),
        access: Access::default(),
        retry_attempts: 3,
        backoff: Duration::from_millis(5),
        backoff_max: Duration::from_millis(50),
        threads: 1,
    }
}

fn backend(misbehaviour: Misbehaviour) -> Backend {
    Backend::start(BackendOptions { listen: loopback(0), serials: true, misbehaviour, ..BackendOptions::default() })
        .unwrap()
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn all(status: u16) -> Misbehaviour {
    Misbehaviour { status: Some(status), ..Misbehaviour::default() }
}

/// A sink with its books, and what the test put in.
struct Bench {
    outlet: Arc<dyn Outlet>,
    sink: Sink,
    metrics: SinkMetrics,
    taken: u64,
}

impl Bench {
    fn new(settings: SinkSettings) -> Self {
        Self::with_clock(settings, Clock::system())
    }

    fn with_clock(settings: SinkSettings, clock: Clock) -> Self {
        let shape =
            Shape { listeners: vec![], workers: 0, batchers: 0, sink: "backend", instance: settings.instance.clone() };
        let metrics = Metrics::new(&shape).sink();
        let (outlet, sink) = clarion_collector::sink::start(settings, clock, metrics.clone()).unwrap();
        Self { outlet, sink, metrics, taken: 0 }
    }

    #[expect(clippy::result_large_err, reason = "what comes back is the batch itself, moved")]
    fn offer(&mut self, batch: EncodedBatch) -> Result<(), EncodedBatch> {
        let records = u64::from(batch.records);
        self.outlet.offer(batch)?;
        self.taken += records;
        Ok(())
    }

    fn put(&mut self, batch: EncodedBatch) {
        assert!(self.offer(batch).is_ok(), "the outlet gave the batch back");
    }

    fn delivered(&self) -> u64 {
        self.metrics.books.delivered.value()
    }

    fn dropped(&self, drop: RecordDrop) -> u64 {
        self.metrics.books.dropped[drop as usize].value()
    }

    fn requests(&self, code: &str) -> u64 {
        self.metrics.requests[REQUEST_CODES.iter().position(|c| *c == code).unwrap()].value()
    }

    fn wait_delivered(&self, records: u64) {
        wait_for(&format!("{records} records delivered"), || self.delivered() == records);
    }

    /// Ends the sink and checks the books.
    fn close(self, deadline: Duration) -> (SinkMetrics, SinkReport) {
        let report = self.sink.finish(deadline);
        let books = &self.metrics.books;
        let dropped: u64 = books.dropped.iter().map(|tally| tally.value()).sum();
        assert_eq!(self.taken, books.delivered.value() + dropped, "a record is neither delivered nor dropped");
        assert_eq!(self.metrics.held.value(), 0);
        assert_eq!(self.metrics.in_flight_bytes.value(), 0);
        assert_eq!(self.metrics.in_flight.value(), 0);
        assert_eq!(self.metrics.oldest_receive_ns.value(), 0);
        assert!(self.metrics.saturation.value().abs() < f64::EPSILON);
        assert!(self.outlet.offer(batch(1..=1)).is_err(), "a closed outlet gives batches back");
        assert_eq!((self.metrics.held.value(), self.metrics.in_flight_bytes.value()), (0, 0));
        (self.metrics, report)
    }
}

#[test]
fn good_batches_are_accepted_once() {
    let backend = backend(Misbehaviour::default());
    let mut bench = Bench::new(settings(backend.address()));
    for n in 0..50 {
        bench.put(batch(n * 20 + 1..=n * 20 + 20));
    }
    bench.wait_delivered(1_000);
    assert!(bench.sink.is_healthy());
    assert_eq!(bench.requests("201"), 50);
    let (metrics, report) = bench.close(PATIENCE);
    assert_eq!(report, SinkReport { delivered: 0, dropped: 0, spooled: 0, in_time: true });
    assert_eq!(metrics.books.duplicated.value(), 0);
    assert!(metrics.lag.quantile(0.5).is_some());
    let stats = backend.stop();
    assert_eq!((stats.records, stats.requests, stats.duplicates_by_key), (1_000, 50, 0));
    assert_eq!((stats.serials["s"].missing, stats.serials["s"].doubled), (0, 0));
}

#[test]
fn closing_delivers_what_waits() {
    let backend = backend(Misbehaviour { delay: Duration::from_millis(20), ..Misbehaviour::default() });
    let mut bench = Bench::new(settings(backend.address()));
    for n in 1..=20 {
        bench.put(batch(n..=n));
    }
    let before = bench.delivered();
    let (_, report) = bench.close(PATIENCE);
    assert!(report.in_time && report.dropped == 0 && report.delivered <= 20 && report.delivered + before >= 20);
    assert_eq!(backend.stop().serials["s"].missing, 0);
}

#[test]
fn an_outage_keeps_everything_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("records.ndjson");
    let (listen, out_file) = (loopback(0), Some(out.clone()));
    let options =
        BackendOptions { listen, out: out_file, serials: true, misbehaviour: all(503), ..BackendOptions::default() };
    let backend = Backend::start(options).unwrap();
    let mut bench = Bench::new(SinkSettings { requests_in_flight: 1, ..settings(backend.address()) });
    for n in 0..10 {
        bench.put(batch(n * 3 + 1..=n * 3 + 3));
    }
    wait_for("the sink is sick", || !bench.sink.is_healthy());
    // More than retry_attempts, so that probes have made way for others.
    wait_for("ten probes", || bench.requests("503") >= 10);
    assert_eq!((bench.delivered(), bench.metrics.held.value()), (0, 30));
    assert!(bench.metrics.healthy.value().abs() < f64::EPSILON);
    backend.misbehave(Misbehaviour::default());
    bench.wait_delivered(30);
    wait_for("the sink is well", || bench.sink.is_healthy());
    let (metrics, _) = bench.close(PATIENCE);
    assert_eq!(metrics.books.duplicated.value(), 0, "503 writes nothing");
    drop(backend);
    let text = std::fs::read_to_string(out).unwrap();
    let value = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["bytes"].as_u64().unwrap();
    let serials: Vec<u64> = text.lines().map(value).collect();
    // The batch that was the probe comes first; behind it the others, oldest first.
    let (probe, rest) = serials.split_at(3);
    assert!(probe[0] % 3 == 1 && probe[2] == probe[0] + 2, "{serials:?}");
    assert!(rest.is_sorted(), "{serials:?}");
    assert_eq!(serials.len(), 30);
}

#[test]
fn a_backend_that_comes_up_later_gets_everything() {
    let port = TcpListener::bind(loopback(0)).unwrap().local_addr().unwrap();
    let mut bench = Bench::new(settings(port));
    for n in 1..=8 {
        bench.put(batch(n..=n));
    }
    wait_for("refused connections", || bench.requests("connect") >= 3);
    assert!(!bench.sink.is_healthy());
    let backend = Backend::start(BackendOptions { listen: port, serials: true, ..BackendOptions::default() }).unwrap();
    bench.wait_delivered(8);
    let (metrics, _) = bench.close(PATIENCE);
    assert_eq!(metrics.books.duplicated.value(), 0);
    assert_eq!(backend.stop().serials["s"].missing, 0);
}

#[test]
fn a_connection_that_the_backend_closed_while_idle_is_no_failure() {
    let first = backend(Misbehaviour::default());
    let address = first.address();
    let mut bench = Bench::new(settings(address));
    bench.put(batch(1..=1));
    bench.wait_delivered(1);
    first.stop();
    let second =
        Backend::start(BackendOptions { listen: address, serials: true, ..BackendOptions::default() }).unwrap();
    bench.put(batch(2..=2));
    bench.wait_delivered(2);
    assert_eq!(bench.requests("201"), 2);
    assert_eq!(bench.requests("reset") + bench.requests("connect"), 0);
    let (metrics, _) = bench.close(PATIENCE);
    assert_eq!(metrics.books.duplicated.value(), 0);
    assert_eq!(second.stop().records, 1);
}

#[test]
fn one_refused_record_among_good_ones_is_the_only_one_lost() {
    let backend = backend(Misbehaviour::default());
    let mut bench = Bench::new(settings(backend.address()));
    bench.put(batch(1..=100));
    bench.wait_delivered(100);
    bench.put(batch_with(101..=164, "nowhere"));
    for n in 1..=5 {
        bench.put(batch(n * 100 + 65..=n * 100 + 164));
    }
    wait_for("one record dropped", || bench.dropped(RecordDrop::DeliveryRefused) == 1);
    bench.wait_delivered(100 + 63 + 500);
    assert!(bench.requests("400") >= 7, "six halvings find one in 64");
    bench.close(PATIENCE);
    let serials = backend.stop().serials["s"];
    assert_eq!((serials.missing, serials.doubled, serials.count), (1, 0, 663));
}

#[test]
fn a_backend_that_refuses_everything_loses_nothing() {
    let backend = backend(all(400));
    let mut bench = Bench::new(settings(backend.address()));
    for n in 0..5 {
        bench.put(batch(n * 8 + 1..=n * 8 + 8));
    }
    wait_for("a dozen refusals", || bench.requests("400") >= 12);
    assert!(!bench.sink.is_healthy());
    assert_eq!(bench.metrics.held.value(), 40);
    backend.misbehave(Misbehaviour::default());
    bench.wait_delivered(40);
    bench.close(PATIENCE);
    let stats = backend.stop();
    assert_eq!((stats.accepted_requests, stats.serials["s"].missing), (5, 0), "never split");
}

#[test]
fn a_poisoned_record_is_found_and_dropped_alone() {
    let backend = backend(Misbehaviour { poison_serial: Some(7), ..Misbehaviour::default() });
    let mut bench = Bench::new(settings(backend.address()));
    bench.put(batch(1..=16));
    let mut next = 17;
    // Others pass meanwhile, as on a network that does not stop for one record.
    wait_for("the poisoned record is dropped", || {
        if bench.metrics.held.level() < 100 {
            bench.put(batch(next..=next + 9));
            next += 10;
        }
        bench.dropped(RecordDrop::DeliveryPoison) == 1
    });
    let (_, report) = bench.close(PATIENCE);
    assert!(report.in_time && report.dropped == 0);
    let stats = backend.stop();
    assert_eq!((stats.serials["s"].missing, stats.serials["s"].count), (1, next - 2), "only the poisoned one");
}

#[test]
fn resets_lose_nothing_and_possible_duplicates_are_counted() {
    let backend = backend(Misbehaviour { reset_rate: 0.5, ..Misbehaviour::default() });
    let mut bench = Bench::new(settings(backend.address()));
    for n in 0..40 {
        bench.put(batch(n * 5 + 1..=n * 5 + 5));
    }
    wait_for("resets of both kinds", || bench.requests("reset") >= 4);
    backend.misbehave(Misbehaviour::default());
    bench.wait_delivered(200);
    let (metrics, _) = bench.close(PATIENCE);
    let stats = backend.stop();
    assert_eq!((stats.serials["s"].missing, stats.distinct_records()), (0, 200));
    assert!(stats.records_in_duplicates > 0, "every second reset comes after the body was accepted");
    assert!(
        metrics.books.duplicated.value() >= stats.records_in_duplicates,
        "{} counted, {} seen",
        metrics.books.duplicated.value(),
        stats.records_in_duplicates
    );
}

#[test]
fn a_late_answer_is_a_timeout_and_may_double() {
    let delay = Duration::from_secs(30);
    let backend = backend(Misbehaviour { delay, ..Misbehaviour::default() });
    let mut bench =
        Bench::new(SinkSettings { request_timeout: Duration::from_millis(200), ..settings(backend.address()) });
    bench.put(batch(1..=3));
    wait_for("a timeout", || bench.requests("timeout") >= 1);
    backend.misbehave(Misbehaviour::default());
    bench.wait_delivered(3);
    let (metrics, _) = bench.close(PATIENCE);
    let stats = backend.stop();
    assert!(metrics.books.duplicated.value() >= stats.records_in_duplicates);
    assert_eq!((stats.records_in_duplicates > 0, stats.distinct_records()), (true, 3));
}

#[test]
fn retry_after_is_obeyed() {
    const SECOND: u64 = 1_000_000_000;
    let backend = backend(all(429));
    backend.retry_after(Some(Duration::from_secs(30)));
    let (clock, hand) = Clock::manual(100 * SECOND);
    let mut bench = Bench::with_clock(settings(backend.address()), clock);
    bench.put(batch(1_000..=1_000));
    wait_for("the sink is sick", || !bench.sink.is_healthy());
    backend.misbehave(Misbehaviour::default());
    hand.advance(29 * SECOND);
    // The line is asked what to send, then levels are published: once this batch's receive time shows,
    // the line has been asked with it inside.
    bench.put(batch(1..=1));
    wait_for("the older batch shows", || bench.metrics.oldest_receive_ns.value() == 1_000_000_001);
    assert_eq!((backend.stats().requests, bench.delivered()), (1, 0));
    hand.advance(2 * SECOND);
    bench.wait_delivered(2);
    assert_eq!(backend.stats().requests, 3);
    bench.close(PATIENCE);
}

#[test]
fn a_full_budget_gives_batches_back_and_recovers() {
    let backend = backend(all(503));
    let mut bench = Bench::new(SinkSettings { in_flight_octets: 64 << 10, ..settings(backend.address()) });
    let mut next = 1;
    let refused = loop {
        match bench.offer(batch(next..=next + 9)) {
            Ok(()) => next += 10,
            Err(back) => break back,
        }
        assert!(next < 10_000, "the budget is no bound");
    };
    assert_eq!(refused.records, 10, "the batch comes back whole");
    let bytes = bench.metrics.in_flight_bytes.value();
    assert!(bytes <= 64 << 10 && bytes > 48 << 10, "{bytes}");
    assert_eq!(bench.metrics.in_flight_limit.value(), 64 << 10);
    wait_for("saturation shows", || bench.metrics.saturation.value() > 0.75);
    backend.misbehave(Misbehaviour::default());
    bench.wait_delivered(next - 1);
    bench.put(refused);
    bench.wait_delivered(next + 9);
    bench.close(PATIENCE);
    assert_eq!(backend.stop().serials["s"].missing, 0);
}

#[test]
fn the_deadline_with_a_dead_backend_counts_every_record() {
    let dead = TcpListener::bind(loopback(0)).unwrap().local_addr().unwrap();
    let mut bench = Bench::new(SinkSettings { backoff: Duration::from_secs(30), ..settings(dead) });
    for n in 0..10 {
        bench.put(batch(n * 10 + 1..=n * 10 + 10));
    }
    wait_for("the sink is sick", || !bench.sink.is_healthy());
    let (metrics, report) = bench.close(Duration::from_millis(300));
    assert_eq!(report, SinkReport { delivered: 0, dropped: 100, spooled: 0, in_time: false });
    assert_eq!(metrics.books.dropped[RecordDrop::DeliveryShutdown as usize].value(), 100);
}

#[test]
fn another_target_is_tried_at_once_and_gets_what_waited() {
    let dead = TcpListener::bind(loopback(0)).unwrap().local_addr().unwrap();
    let patient = Duration::from_secs(600);
    let slow = SinkSettings { backoff: patient, backoff_max: patient, ..settings(dead) };
    let mut bench = Bench::new(slow.clone());
    for n in 0..10 {
        bench.put(batch(n * 10 + 1..=n * 10 + 10));
    }
    wait_for("the sink is sick", || !bench.sink.is_healthy());
    let backend = backend(Misbehaviour::default());
    let aim = bench.sink.aim();
    let there = SinkSettings { backend: settings(backend.address()).backend, ..slow };
    assert!(!there.reaches_as(&settings(dead)));
    aim.turn_to(aim.prepare(&there).unwrap());
    assert_eq!(aim.display(), there.backend.display);
    wait_for("all delivered", || bench.metrics.books.delivered.value() == 100);
    assert!(bench.sink.is_healthy());
    let (_, report) = bench.close(PATIENCE);
    assert_eq!(report.dropped, 0);
    let stats = backend.stop();
    assert_eq!((stats.serials["s"].missing, stats.serials["s"].doubled), (0, 0));
}

#[test]
fn the_deadline_catches_requests_under_way() {
    let backend = backend(Misbehaviour { delay: Duration::from_secs(30), ..Misbehaviour::default() });
    let routing = Routing { concurrency: Concurrency::Fixed, ..Routing::default() };
    let at_once = Access { routing, ..Access::default() };
    let mut bench = Bench::new(SinkSettings { access: at_once, ..settings(backend.address()) });
    for n in 0..10 {
        bench.put(batch(n * 10 + 1..=n * 10 + 10));
    }
    wait_for("four requests arrived", || backend.stats().accepted_requests == 4);
    let (_, report) = bench.close(Duration::from_millis(50));
    assert_eq!((report.dropped, report.in_time), (100, false));
}

#[test]
fn a_sick_backend_is_tried_until_the_deadline() {
    let backend = backend(all(503));
    backend.retry_after(Some(Duration::from_secs(600)));
    let patient = Duration::from_secs(600);
    let mut bench = Bench::new(SinkSettings { backoff: patient, backoff_max: patient, ..settings(backend.address()) });
    bench.put(batch(1..=5));
    wait_for("the sink is sick", || !bench.sink.is_healthy());
    backend.misbehave(Misbehaviour::default());
    let (_, report) = bench.close(PATIENCE);
    assert_eq!(report, SinkReport { delivered: 5, dropped: 0, spooled: 0, in_time: true });
}

#[test]
fn offers_and_the_end_race_without_a_lost_record() {
    let backend = backend(Misbehaviour::default());
    let bench = Bench::new(settings(backend.address()));
    let Bench { outlet, sink, metrics, .. } = bench;
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..3_u64)
        .map(|thread| {
            let (outlet, stop) = (Arc::clone(&outlet), Arc::clone(&stop));
            std::thread::spawn(move || {
                let (mut taken, mut serial) = (0, thread << 20);
                while !stop.load(Ordering::Acquire) {
                    serial += 1;
                    taken += u64::from(outlet.offer(batch(serial..=serial)).is_ok());
                }
                taken
            })
        })
        .collect();
    wait_for("traffic", || metrics.books.delivered.value() > 20);
    let report = sink.finish(PATIENCE);
    stop.store(true, Ordering::Release);
    let taken: u64 = threads.into_iter().map(|t| t.join().unwrap()).sum();
    assert!(report.in_time);
    assert_eq!((metrics.books.delivered.value(), metrics.held.value()), (taken, 0));
    assert_eq!(backend.stop().records, taken);
}

/// Answers one request with `answer` on each connection and hands over what was asked.
fn raw_server(answers: Vec<String>) -> (SocketAddr, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind(loopback(0)).unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let mut heads = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut chunk) = (Vec::new(), [0; 4_096]);
            while !request.ends_with(b"],\"switch_id\":\"s\"}") {
                let n = stream.read(&mut chunk).unwrap();
                assert!(n > 0, "the request ends early");
                request.extend_from_slice(&chunk[..n]);
            }
            let text = String::from_utf8(request).unwrap();
            heads.push(text.split_once("\r\n\r\n").unwrap().0.to_owned());
            // The client may have heard enough and be gone.
            let _ = stream.write_all(answer.as_bytes());
        }
        heads
    });
    (address, thread)
}

#[test]
fn headers_are_those_of_the_contract_and_the_key_stays_on_a_retry() {
    let redirect = "HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/\r\nContent-Length: 0\r\n\
                    Connection: close\r\n\r\n";
    // An answer without an end: its length is past the bound, so the connection is given up instead.
    let endless = format!("HTTP/1.1 201 Created\r\nContent-Length: 10000000\r\n\r\n{}", "x".repeat(200_000));
    let good = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    let (address, server) = raw_server(vec![redirect.to_owned(), endless, good.to_owned()]);
    let mut bench = Bench::new(SinkSettings { requests_in_flight: 1, ..settings(address) });
    let first = batch(1..=2);
    let (id, octets) = (first.id, first.body.len());
    bench.put(first);
    bench.wait_delivered(2);
    bench.put(batch(3..=3));
    bench.wait_delivered(3);
    assert_eq!((bench.requests("302"), bench.requests("201"), bench.requests("204")), (1, 1, 1));
    bench.close(PATIENCE);
    let heads = server.join().unwrap();
    for head in &heads[..2] {
        let head = head.to_ascii_lowercase();
        let mut lines = head.lines();
        assert_eq!(lines.next(), Some("post /base/api/netflow/netflow http/1.1"));
        let lines: Vec<&str> = lines.collect();
        for line in [
            format!("host: {address}"),
            "content-type: application/json".to_owned(),
            format!("content-length: {octets}"),
            format!("user-agent: clarion-collector/{} (test-1)", env!("CARGO_PKG_VERSION")),
            format!("idempotency-key: {id}"),
            "clarion-instance: test-1".to_owned(),
            "clarion-records: 2".to_owned(),
        ] {
            assert!(lines.contains(&line.as_str()), "{line:?} is not in {head}");
        }
        assert_eq!(lines.len(), 7, "{head}");
    }
}

#[test]
fn an_answer_that_is_not_http_is_kept_for_better_times() {
    let good = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n".to_owned();
    let (address, server) = raw_server(vec!["SSH-2.0-OpenSSH\r\n\r\n".to_owned(), good]);
    let mut bench = Bench::new(settings(address));
    bench.put(batch(1..=1));
    bench.wait_delivered(1);
    assert_eq!((bench.requests("protocol"), bench.requests("201")), (1, 1));
    let (metrics, _) = bench.close(PATIENCE);
    assert_eq!(metrics.books.duplicated.value(), 1, "whatever it was, it had the request");
    server.join().unwrap();
}

#[test]
fn a_value_that_no_header_can_carry_is_an_error_at_start() {
    let shape = Shape { listeners: vec![], workers: 0, batchers: 0, sink: "backend", instance: "x".to_owned() };
    let metrics = Metrics::new(&shape).sink();
    let bad = SinkSettings { instance: "line\nbreak".to_owned(), ..settings(loopback(1)) };
    let error = clarion_collector::sink::start(bad, Clock::system(), metrics).err().unwrap().to_string();
    assert!(error.contains("line\\nbreak") && error.contains("ASCII"), "{error}");
}
