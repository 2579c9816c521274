//! HTTP/2 and compression: what many requests on one connection must not cost.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::Ordering;
use std::time::Duration;

use clarion_collector::sink::{Access, Compression, HttpVersion, SinkSettings};
use clarion_collector::tls::MinVersion;

use crate::common::wait_for;
use crate::server::{Behaviour, Server};
use crate::sink::{Bench, Secure, settings};

const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];

fn prior_knowledge() -> Access {
    Access { http_version: HttpVersion::Two, ..Access::default() }
}

/// All that was put in arrived, once, and nothing is counted as perhaps doubled.
fn assert_exact(bench: Bench, server: &Server) {
    let taken = bench.taken;
    let metrics = bench.close();
    assert_eq!(server.records(), (taken, 0), "lost or doubled");
    assert_eq!(metrics.books.duplicated.value(), 0, "counted as perhaps doubled");
}

/// As [`assert_exact`], for a server that closes its connections hard: what it answered just before may never arrive
/// (it resets the connection when something comes that it does not read any more). Such requests are sent again, and
/// each that was doubled has been counted.
fn assert_counted(bench: Bench, server: &Server) {
    let taken = bench.taken;
    let counted = bench.close().books.duplicated.value();
    let (distinct, doubled) = server.records();
    assert_eq!(distinct, taken, "lost");
    assert!(doubled <= counted, "{doubled} doubled, {counted} counted");
    assert!(counted <= taken / 10, "{counted} of {taken} counted as perhaps doubled");
}

#[test]
fn the_backend_chooses_the_version_by_alpn() {
    for (alpn, version) in [(BOTH, "HTTP/2.0"), (&BOTH[1..], "HTTP/1.1"), (&[], "HTTP/1.1")] {
        let secure = Secure::new(alpn, true, MinVersion::Tls12, Behaviour::default());
        let mut bench = Bench::new(secure.settings());
        bench.put(30, 20);
        bench.wait_delivered();
        assert_eq!(secure.server.requests(version, 201), 30);
        assert_exact(bench, &secure.server);
        if version == "HTTP/2.0" {
            assert_eq!(secure.server.connections.load(Ordering::Acquire), 1, "all requests share one connection");
        }
    }
}

#[test]
fn http2_by_prior_knowledge_keeps_the_contract() {
    let server = Server::start(None, Behaviour::default());
    let mut bench = Bench::new(settings(&server, false, "127.0.0.1", prior_knowledge()));
    bench.put(10, 20);
    bench.wait_delivered();
    assert_eq!(server.requests("HTTP/2.0", 201), 10);
    let head = server.seen.lock().unwrap().heads[0].clone();
    assert!(head.starts_with(&format!("POST http://{}/base/api/netflow/netflow\n", server.address)), "{head}");
    for header in
        ["content-type: application/json", "clarion-records: 20", "clarion-instance: test-1", "idempotency-key: "]
    {
        assert!(head.contains(header), "{header} is not in {head}");
    }
    assert!(!head.contains("\nhost:"), "{head}");
    assert_exact(bench, &server);
}

#[test]
fn a_backend_that_says_goodbye_all_the_time_costs_nothing() {
    let behaviour = Behaviour { requests_per_connection: Some(7), ..Behaviour::default() };
    let server = Server::start(None, behaviour);
    let many = SinkSettings { requests_in_flight: 16, ..settings(&server, false, "127.0.0.1", prior_knowledge()) };
    let mut bench = Bench::new(many);
    for _ in 0..40 {
        bench.put(20, 5);
        wait_for("room", || bench.taken - bench.delivered() < 400);
    }
    bench.wait_delivered();
    let connections = server.connections.load(Ordering::Acquire);
    assert!(connections > 30, "{connections} connections for 800 requests, 7 each before the goodbye");
    assert_counted(bench, &server);
}

#[test]
fn connections_that_grow_old_under_load_end_in_good_order() {
    for tls in [false, true] {
        let secure = Secure::new(BOTH, false, MinVersion::Tls13, Behaviour::default());
        let plain = Server::start(None, Behaviour::default());
        let (server, base) = if tls {
            (&secure.server, secure.settings())
        } else {
            (&plain, settings(&plain, false, "127.0.0.1", prior_knowledge()))
        };
        let base = SinkSettings { connection_max_age: Duration::from_millis(50), requests_in_flight: 8, ..base };
        let mut bench = Bench::new(base);
        while server.connections.load(Ordering::Acquire) < 8 {
            bench.put(8, 5);
            wait_for("room", || bench.taken - bench.delivered() < 400);
        }
        bench.wait_delivered();
        assert_exact(bench, server);
    }
}

#[test]
fn streams_that_are_refused_are_sent_again_and_not_counted_as_doubled() {
    // Until its settings have arrived, the client sends more streams than the server takes.
    let behaviour = Behaviour { streams: Some(1), ..Behaviour::default() };
    let server = Server::start(None, behaviour);
    let many = SinkSettings { requests_in_flight: 8, ..settings(&server, false, "127.0.0.1", prior_knowledge()) };
    let mut bench = Bench::new(many);
    bench.put(60, 5);
    bench.wait_delivered();
    assert_exact(bench, &server);
}

#[test]
fn a_late_answer_ends_one_request_and_may_double() {
    let server = Server::start(None, Behaviour { delay: Duration::from_secs(30), ..Behaviour::default() });
    let short = SinkSettings {
        request_timeout: Duration::from_millis(300),
        ..settings(&server, false, "127.0.0.1", prior_knowledge())
    };
    let mut bench = Bench::new(short);
    bench.put(1, 3);
    wait_for("a timeout", || bench.requests("timeout") >= 1);
    server.behaviour.lock().unwrap().delay = Duration::ZERO;
    bench.wait_delivered();
    let metrics = bench.close();
    let (distinct, doubled) = server.records();
    assert!(distinct == 3 && doubled > 0 && metrics.books.duplicated.value() >= doubled, "{distinct}, {doubled}");
}

#[test]
fn a_backend_without_http2_is_named_as_such() {
    let secure = Secure::new(&BOTH[1..], false, MinVersion::Tls12, Behaviour::default());
    let mut base = secure.settings();
    base.access.http_version = HttpVersion::Two;
    let mut bench = Bench::new(base);
    bench.put(1, 1);
    wait_for("a refusal", || bench.requests("tls") >= 1);
    wait_for("the sink is sick", || !bench.sink.is_healthy());
    let _ = bench.sink.finish(Duration::ZERO);
}

#[test]
fn compressed_bodies_are_what_was_put_in() {
    for (compression, name) in [(Compression::Gzip, "gzip"), (Compression::Zstd, "zstd")] {
        let server = Server::start(None, Behaviour::default());
        let access = Access { compression, ..Access::default() };
        let mut bench = Bench::new(settings(&server, false, "127.0.0.1", access));
        bench.put(20, 500);
        bench.wait_delivered();
        assert_eq!(server.seen.lock().unwrap().encodings.get(name), Some(&20));
        let (body, sent) = (bench.metrics.body_bytes.value(), bench.metrics.sent_bytes.value());
        assert!(sent > 0 && sent * 5 < body, "{body} octets became {sent}");
        assert_exact(bench, &server);
    }
}

#[test]
fn a_compressed_batch_survives_an_outage_and_its_memory_is_counted() {
    let server = Server::start(None, Behaviour { authorization: vec!["never".to_owned()], ..Behaviour::default() });
    let access = Access { compression: Compression::Zstd, ..Access::default() };
    let mut bench = Bench::new(settings(&server, false, "127.0.0.1", access));
    bench.put(6, 100);
    let plain: u64 = (0..6).map(|n| crate::sink::batch(n * 100 + 1, 100).body.len() as u64).sum();
    wait_for("a dozen refusals", || bench.requests("401") >= 12);
    assert!(bench.metrics.in_flight_bytes.value() > plain, "what is kept compressed is in the budget");
    server.behaviour.lock().unwrap().authorization.clear();
    bench.wait_delivered();
    assert_exact(bench, &server);
}

/// Frames by hand: a server that takes a whole request on its first connection, then says goodbye with `last` as the
/// last stream that it looked at. On further connections it answers 204.
fn goodbye_after_the_request(last: u8) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut first = true;
        // One at a time: the client shares one connection, and the first ends before it opens another.
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.read_exact(&mut [0; 24]).unwrap();
            stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).unwrap();
            let mut head = [0; 9];
            while stream.read_exact(&mut head).is_ok() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                stream.read_exact(&mut vec![0; length]).unwrap();
                let (data, end_stream) = (head[3] == 0, head[4] & 1 == 1);
                if !(data && end_stream) {
                    continue;
                }
                if std::mem::take(&mut first) {
                    stream.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, last, 0, 0, 0, 0]).unwrap();
                    break;
                }
                // HEADERS with END_STREAM and END_HEADERS; entry 9 of the static table is ":status: 204".
                let answer = [0, 0, 1, 1, 5, head[5], head[6], head[7], head[8], 0x89];
                stream.write_all(&answer).unwrap();
            }
        }
    });
    address
}

#[test]
fn a_goodbye_tells_what_was_looked_at_and_what_was_not() {
    for (last, counted) in [(0, 0), (1, 3)] {
        let dummy = Server::start(None, Behaviour::default());
        let mut base = settings(&dummy, false, "127.0.0.1", prior_knowledge());
        base.backend.port = goodbye_after_the_request(last).port();
        let mut bench = Bench::new(base);
        bench.put(1, 3);
        bench.wait_delivered();
        assert_eq!((bench.requests("204"), bench.requests("reset")), (1, u64::from(last)), "last stream {last}");
        assert_eq!(bench.close().books.duplicated.value(), counted, "last stream {last}");
    }
}

#[test]
fn a_missing_client_certificate_is_named_although_writing_fails_first() {
    let secure = Secure::new(BOTH, true, MinVersion::Tls13, Behaviour::default());
    for version in [HttpVersion::One, HttpVersion::Two] {
        let mut base = secure.settings();
        base.access.tls.identity = None;
        base.access.http_version = version;
        let mut bench = Bench::new(base);
        // More than all buffers on the way hold.
        bench.put(1, 100_000);
        wait_for("refusals", || bench.requests("tls") >= 20);
        assert_eq!((bench.requests("reset"), bench.metrics.books.duplicated.value()), (0, 0));
        let _ = bench.sink.finish(Duration::ZERO);
    }
}
