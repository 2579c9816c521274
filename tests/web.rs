//! The HTTP side over loopback, as a backend's poll, a scraper, a probe and a browser see it.

#[path = "web/fixture.rs"]
mod fixture;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clarion_collector::limits::{HTTP_CONNECTIONS_MAX, HTTP_HEAD_OCTETS_MAX, SNAPSHOT_AGE_MS};
use clarion_collector::metrics::RecordDrop;
use fixture::{ask, connect, read, read_reply, start};

const PROMETHEUS_ACCEPT: &str =
    "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

#[test]
fn probes_see_the_state_and_the_reason() {
    let fixture = start();
    let at = fixture.server.address();
    assert_eq!(
        read(at, "/health").json(),
        serde_json::json!({
            "status": "healthy", "service": "clarion-collector", "backend_url": "http://backend:8000/base"
        })
    );
    assert_eq!(read(at, "/readyz").status, 200);
    fixture.ready.store(false, Ordering::Release);
    let reply = read(at, "/readyz");
    assert_eq!((reply.status, &reply.json()["reason"]), (503, &"draining".into()));

    for path in ["/livez", "/healthz"] {
        assert_eq!(read(at, path).status, 200);
    }
    fixture.stale.lock().unwrap().push("worker-3".into());
    let reply = read(at, "/livez");
    assert_eq!((reply.status, &reply.json()["stale_threads"][0]), (503, &"worker-3".into()));
    assert_eq!(read(at, "/health").status, 200);
}

#[test]
fn metrics_speak_json_to_the_backend_and_text_to_a_scraper() {
    let fixture = start();
    let at = fixture.server.address();
    let books = &fixture.metrics.books;
    books.decoded[3].add(100);
    books.delivered.add(60);
    books.drop_records(RecordDrop::DispatchFull, 15);
    let expected = serde_json::json!({
        "total_received": 100, "total_sent": 60, "pending": 25, "errors": 15,
        "batch_size": 1000, "batch_interval_seconds": 2.5
    });
    for accept in
        ["", "Accept: */*\r\n", "Accept: application/json\r\n", "accept: application/json, text/plain, */*\r\n"]
    {
        let reply = ask(at, "GET", "/metrics", accept);
        assert_eq!(reply.json(), expected, "{accept}");
        assert_eq!(reply.header("vary"), Some("Accept"));
    }
    let prometheus = format!("Accept: {PROMETHEUS_ACCEPT}\r\n");
    // Two header lines mean the same as one with a comma.
    let two_lines = "Accept: text/plain;q=0.9\r\nAccept: */*;q=0.1\r\n";
    for (path, accept) in [
        ("/metrics", prometheus.as_str()),
        ("/metrics", two_lines),
        ("/metrics/prometheus", ""),
        ("/metrics/prometheus", "Accept: application/json\r\n"),
    ] {
        let reply = ask(at, "GET", path, accept);
        assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"), "{path} {accept}");
        for line in [
            "clarion_collector_records_decoded_total{version=\"v9\"} 100",
            "clarion_collector_records_delivered_total{sink=\"backend\"} 60",
            "clarion_collector_records_pending 25",
        ] {
            assert!(reply.body.lines().any(|l| l == line), "{path} {accept}: no {line}");
        }
    }
}

#[test]
fn status_and_ledger_are_whole() {
    let fixture = start();
    let at = fixture.server.address();
    fixture.hand.advance(90_000_000_000);
    let status = read(at, "/api/v1/status").json();
    assert_eq!(status["instance"], "test-0");
    assert_eq!(status["time"], "2023-11-14T22:16:30.000Z");
    assert_eq!(status["started"], "2023-11-14T22:15:00.000Z");
    assert_eq!(status["uptime_seconds"], 90);
    assert_eq!(status["degraded"][0], "backend does not answer");
    assert_eq!(status["listeners"][0]["address"], "[::]:2055");
    assert_eq!(status["sink"]["healthy"], true);
    let backend = &status["sink"]["backends"][0];
    assert_eq!((&backend["sink"], &backend["state"]), (&serde_json::json!("backend"), &serde_json::json!("closed")));
    assert_eq!(
        (&backend["last_error"], &backend["requests_in_flight"]),
        (&serde_json::json!(null), &serde_json::json!(0))
    );
    assert_eq!(status["sink"]["lag_seconds"]["p50"], serde_json::Value::Null);

    let ledger = read(at, "/api/v1/ledger").json();
    for equation in ["datagrams", "sets", "records"] {
        assert_eq!(ledger[equation]["unexplained"], 0, "{ledger}");
    }
}

#[test]
fn the_page_reads_what_the_status_has() {
    let fixture = start();
    let at = fixture.server.address();
    let (page, status) = (read(at, "/page.js").body, read(at, "/api/v1/status").json());
    let mut paths = 0;
    for marker in ["s => s.", "percent(s.", "status.", "values(s.", " + s."] {
        for part in page.split(marker).skip(1) {
            let path =
                part.split(|c: char| !c.is_ascii_lowercase() && !matches!(c, '_' | '.' | '0'..='9')).next().unwrap();
            // Methods of a value are called; they are no key.
            let keys = path.split('.').filter(|key| !matches!(*key, "join" | "length" | "to"));
            let mut value = &status;
            for key in keys {
                value = value.get(key).unwrap_or_else(|| panic!("the page reads {path}, the status has no {key}"));
            }
            paths += 1;
        }
    }
    assert!(paths >= 20, "only {paths} paths were found in the page");
}

#[test]
fn exporters_are_listed_and_hostile_names_stay_text() {
    let fixture = start();
    let at = fixture.server.address();
    let list = read(at, "/api/v1/exporters?limit=2").json();
    assert_eq!(list["exporters"][0]["id"], "192.0.2.7");
    assert_eq!(list["exporters"][0]["first_seen"], "2023-11-14T22:13:20.000Z");
    assert_eq!(list["exporters"][0]["name"], "<script>\"edge\"\u{1b}[2J\n");
    assert_eq!(list["next"], "b\"lue\n/192.0.2.7");
    let rest = read(at, "/api/v1/exporters?limit=2&after=b%22lue%0A%2F192.0.2.7").json();
    assert_eq!(rest["exporters"][0]["id"], "2001:db8::1");
    assert_eq!(rest["next"], serde_json::Value::Null);
    assert_eq!(read(at, "/api/v1/exporters/2001:db8::1").json()["exporters"][0]["records"], 30);
    assert_eq!(read(at, "/api/v1/exporters/192.0.2.9").status, 404);
    assert_eq!(read(at, "/api/v1/exporters?fault=x").status, 400);
    let raw = read(at, "/api/v1/exporters").body;
    assert!(!raw.contains('\u{1b}'), "control characters leave the process escaped");

    let scrape = read(at, "/metrics/exporters").body;
    let line = "clarion_collector_exporter_records_total{exporter=\"b\\\"lue\\n/192.0.2.7\"} 30";
    assert!(scrape.lines().any(|l| l == line), "{scrape}");

    let page = read(at, "/");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
    for path in ["/", "/page.js", "/page.css"] {
        let part = read(at, path).body;
        assert!(!part.contains("http://") && !part.contains("https://"), "{path} loads something from elsewhere");
    }
}

#[test]
fn however_often_it_is_asked_the_table_is_walked_a_few_times_a_second() {
    let fixture = start();
    let at = fixture.server.address();
    for path in ["/api/v1/exporters", "/metrics/exporters", "/api/v1/exporters/192.0.2.7"] {
        assert_eq!(read(at, path).status, 200);
    }
    assert_eq!(fixture.pictures.load(Ordering::Acquire), 1);
    fixture.hand.advance(SNAPSHOT_AGE_MS * 1_000_000);
    assert_eq!(read(at, "/api/v1/exporters").status, 200);
    assert_eq!(fixture.pictures.load(Ordering::Acquire), 2);
}

#[test]
fn methods_and_paths_that_do_not_exist_say_what_does() {
    let fixture = start();
    let at = fixture.server.address();
    for (method, path) in [("POST", "/metrics"), ("DELETE", "/api/v1/exporters"), ("OPTIONS", "/")] {
        let reply = ask(at, method, path, "Content-Length: 0\r\n");
        assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, HEAD")), "{method} {path}");
    }
    for path in ["/nothing", "/api/v1", "/api/v1/exporters/192.0.2.1/x", "/metrics/x", "/..%2f"] {
        let reply = read(at, path);
        assert_eq!(reply.status, 404, "{path}");
        assert!(reply.json()["paths"].as_array().unwrap().contains(&"/health".into()));
    }
    assert_eq!(read(at, "/health/").status, 200);
}

#[test]
fn every_listed_path_answers_get_and_head_alike() {
    let fixture = start();
    let at = fixture.server.address();
    let paths: Vec<String> = serde_json::from_value(read(at, "/nothing").json()["paths"].clone()).unwrap();
    assert!(paths.len() >= 11);
    for path in paths {
        let (full, head) = (read(at, &path), ask(at, "HEAD", &path, ""));
        assert_eq!((full.status, head.status), (200, 200), "{path}");
        assert_eq!(full.header("content-type"), head.header("content-type"), "{path}");
        assert!(head.header("content-length").unwrap().parse::<usize>().unwrap() > 0, "{path}");
    }
}

#[test]
fn a_connection_serves_many_requests() {
    let fixture = start();
    let mut stream = connect(fixture.server.address());
    write!(stream, "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(read_reply(&mut stream, false).status, 200);
    for _ in 0..3 {
        write!(stream, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert_eq!(read_reply(&mut stream, true).json()["live"], true);
    }
}

#[test]
fn heads_without_end_and_nonsense_are_refused() {
    let fixture = start();
    let at = fixture.server.address();
    let long = format!("X-Long: {}\r\n", "x".repeat(HTTP_HEAD_OCTETS_MAX));
    let mut stream = connect(at);
    let _ = write!(stream, "GET /health HTTP/1.1\r\nHost: x\r\n{long}\r\n");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{:?}", String::from_utf8_lossy(&answer));

    let mut stream = connect(at);
    stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{:?}", String::from_utf8_lossy(&answer));
    assert_eq!(read(at, "/health").status, 200);
}

/// An open connection whose first request was answered, which proves that it has its slot.
fn answered(at: SocketAddr) -> TcpStream {
    let mut stream = connect(at);
    write!(stream, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(read_reply(&mut stream, true).status, 200);
    stream
}

#[test]
fn who_idles_longest_gives_its_place_to_a_newcomer() {
    let fixture = start();
    let at = fixture.server.address();
    let mut held: Vec<_> = (0..HTTP_CONNECTIONS_MAX).map(|_| answered(at)).collect();
    assert_eq!(read(at, "/livez").status, 200);
    let metrics = fixture.metrics.web();
    assert_eq!((metrics.refused_idle.value(), metrics.refused_connections.value()), (1, 0));
    assert_eq!(held[0].read(&mut [0; 16]).unwrap_or(0), 0, "the first one is closed");
    write!(held[1], "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(read_reply(&mut held[1], true).status, 200, "the second one is not");

    drop(held);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        // As many newcomers as there are places, and nobody has to go for them: the slots came back.
        let before = metrics.refused_idle.value();
        let house: Vec<_> = (0..HTTP_CONNECTIONS_MAX).map(|_| answered(at)).collect();
        if house.len() == HTTP_CONNECTIONS_MAX && metrics.refused_idle.value() == before {
            break;
        }
        assert!(Instant::now() < deadline, "slots did not come back");
    }
}

#[test]
fn stop_ends_idle_connections_and_frees_the_port() {
    let fixture = start();
    let at = fixture.server.address();
    let mut idle = connect(at);
    write!(idle, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(read_reply(&mut idle, true).status, 200);
    fixture.server.stop();
    assert_eq!(idle.read(&mut [0; 16]).unwrap_or(0), 0, "the idle connection is closed");
    assert!(TcpStream::connect(at).is_err(), "nobody listens any more");
}
