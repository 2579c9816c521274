//! A real Prometheus scrapes a running collector; promtool and plain requests read the same figures.

#[path = "process/child.rs"]
mod child;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use child::{Backend, Collector, Load, Process, anywhere, get, json, number, wait_for};
use serde_json::Value;

/// What Prometheus 2 sends.
const SCRAPER: &str = "Accept: application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;\
                       q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n";
/// Text of the exposition format.
const TEXT: &str = "content-type: text/plain; version=0.0.4; charset=utf-8";

fn program(name: &str) -> Option<PathBuf> {
    let found = ["/usr/bin", "/usr/local/bin"].map(|dir| PathBuf::from(dir).join(name));
    let found = found.into_iter().find(|path| path.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: no {name} (Debian package prometheus)");
    }
    found
}

/// A collector that has delivered some records to a backend and is at rest, and how many.
fn collector_at_rest(dir: &tempfile::TempDir) -> (Collector, Backend, u64) {
    let backend = Backend::start(anywhere(), &dir.path().join("out"), &[]);
    let collector = Collector::delivering(backend.address, &[]);
    let load = Load::start(collector.port, 5_000, 6);
    wait_for("2,000 records sent", || (load.sent() > 2_000).then_some(()));
    let sent = load.stop();
    let ledger = collector.ledger_at_rest(sent.datagrams);
    let delivered = number(&ledger, "/records/delivered");
    assert_eq!(delivered, number(&backend.stats(), "/records"));
    (collector, backend, delivered)
}

#[test]
fn who_asks_decides_between_text_and_json() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (collector, _backend, delivered) = collector_at_rest(&dir);
    let line = format!("\nclarion_collector_records_delivered_total{{sink=\"backend\"}} {delivered}\n");
    for (path, headers) in [
        ("/metrics", SCRAPER),
        ("/metrics", "Accept: text/plain\r\n"),
        ("/metrics/prometheus", SCRAPER),
        ("/metrics/prometheus", "Accept: */*\r\n"),
        ("/metrics/prometheus", ""),
    ] {
        let (head, body) = get(collector.http, path, headers);
        assert!(head.starts_with("http/1.0 200") && head.contains(TEXT), "{path} {headers}: {head}");
        assert!(body.contains(&line), "{path} {headers}: {line} is not in\n{body}");
    }
    let (_, body) = get(collector.http, "/metrics/prometheus", "");
    let limit = body.lines().find_map(|l| l.strip_prefix("clarion_collector_memory_limit_bytes "));
    let limit: u64 = limit.and_then(|l| l.parse().ok()).expect("the limit is served, in octets");
    assert!(limit >= 64 << 20, "the bound that alerts compare resident memory with: {limit}");
    // curl sends */*; the backend polls without the header or for JSON.
    for headers in ["Accept: */*\r\n", "", "Accept: application/json\r\n"] {
        let (head, body) = get(collector.http, "/metrics", headers);
        assert!(head.contains("content-type: application/json"), "{headers}: {head}");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(number(&body, "/total_sent"), delivered);
        assert_eq!(number(&body, "/pending"), 0);
    }
}

#[test]
fn promtool_has_nothing_to_say() {
    let Some(promtool) = program("promtool") else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (collector, _backend, _) = collector_at_rest(&dir);
    for path in ["/metrics/prometheus", "/metrics/exporters"] {
        let (_, text) = get(collector.http, path, SCRAPER);
        assert!(text.lines().count() > 20, "{path}: {text}");
        let mut check = Command::new(&promtool);
        check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut check = check.spawn().expect("promtool starts");
        check.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("promtool reads");
        let said = check.wait_with_output().expect("promtool ends");
        let words = [said.stdout, said.stderr].map(|octets| String::from_utf8_lossy(&octets).into_owned()).concat();
        assert!(said.status.success() && words.is_empty(), "{path}: {words}");
    }
}

/// The value of an instant query with one result; None while there is none.
fn value_of(prometheus: SocketAddr, query: &str) -> Option<f64> {
    let answer = json(prometheus, &format!("/api/v1/query?query={query}"));
    let result = answer["data"]["result"].as_array().expect("a list");
    assert!(result.len() <= 1, "{query}: {answer}");
    result.first()?["value"][1].as_str()?.parse().ok()
}

#[test]
fn prometheus_scrapes_what_the_backend_got() {
    let Some(prometheus) = program("prometheus") else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (collector, _backend, delivered) = collector_at_rest(&dir);
    let config = dir.path().join("prometheus.yml");
    let job = |name: &str, path: &str| {
        let target = format!("static_configs: [{{targets: ['{}']}}]", collector.http);
        format!("  - {{job_name: {name}, metrics_path: {path}, {target}}}\n")
    };
    let jobs = [job("negotiated", "/metrics"), job("text", "/metrics/prometheus"), job("each", "/metrics/exporters")];
    let text = format!("global: {{scrape_interval: 1s}}\nscrape_configs:\n{}", jobs.concat());
    std::fs::write(&config, text).expect("the file can be written");
    let mut command = Command::new(prometheus);
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()));
    command.arg("--web.listen-address=127.0.0.1:0");
    let mut prometheus = Process::start(command, false);
    let listens = prometheus.line("msg=\"Listening on\"");
    let address = listens.split("address=").nth(1).and_then(|a| a.split_whitespace().next()).expect("an address");
    let at: SocketAddr = address.parse().expect("an address");
    prometheus.line("Server is ready to receive web requests");

    for job in ["negotiated", "text", "each"] {
        let targets = wait_for(&format!("a scrape of {job}"), || {
            let targets = json(at, "/api/v1/targets?state=active");
            let targets = targets["data"]["activeTargets"].as_array().expect("a list");
            let target = targets.iter().find(|target| target["labels"]["job"] == job)?;
            (target["health"] != "unknown").then(|| target.clone())
        });
        assert_eq!((&targets["health"], &targets["lastError"]), (&"up".into(), &"".into()), "{targets}");
        wait_for("the sample", || value_of(at, &format!("up{{job=\"{job}\"}}")).filter(|up| *up > 0.5));
    }
    #[expect(clippy::cast_precision_loss, reason = "a few thousand records")]
    let delivered = delivered as f64;
    for job in ["negotiated", "text"] {
        let of = |name: &str| {
            let query = format!("sum(clarion_collector_{name}{{job=\"{job}\"}})");
            wait_for(&query, || value_of(at, &query))
        };
        for name in ["records_delivered_total", "records_decoded_total", "delivery_lag_seconds_count"] {
            assert!((of(name) - delivered).abs() < 0.5, "{name} of {job}: {}, not {delivered}", of(name));
        }
        assert!(of("ledger_imbalance_records").abs() < 0.5);
    }
    let sum = "sum(clarion_collector_exporter_records_total)";
    assert!((value_of(at, sum).expect("a sample") - delivered).abs() < 0.5);
    // The exporters of the second scrape are the six that sent.
    let exporters = value_of(at, "count(clarion_collector_exporter_records_total)");
    assert_eq!(exporters, Some(6.0));
}
