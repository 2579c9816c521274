//! The ledger beside its equations: whose records were lost, which batches may be there twice, what the network lost.

mod common;

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clarion_collector::app::Running;
use clarion_collector::flow::Version;
use clarion_collector::sink::SpoolMode;
use clarion_collector::tools::backend::{Backend, BackendOptions, Misbehaviour};
use clarion_collector::tools::generate::GenerateReport;
use clarion_collector::tools::synthetic::{SyntheticExporter, SyntheticOptions};
use common::{ask, assert_balanced, backend_with, generate, nobody, port, settings, start, wait_for};
use serde_json::Value;

fn json(running: &Running, path: &str) -> Value {
    let answer = ask(running.http_address(), path);
    let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
    assert!(head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"), "{head}");
    serde_json::from_str(body).expect("JSON")
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// Records lost by exporter, as the ledger lists them, page by page.
fn lost(running: &Running) -> (BTreeMap<String, u64>, u64) {
    let (mut all, mut after) = (BTreeMap::new(), String::new());
    loop {
        let ledger = json(running, &format!("/api/v1/ledger?limit=2&after={after}"));
        let page = &ledger["observation"]["exporters"];
        for row in page["shown"].as_array().expect("a list") {
            let stages: u64 = row["lost_by_stage"].as_object().expect("an object").values().map(number).sum();
            assert_eq!(stages, number(&row["lost_records"]), "{row}");
            all.insert(row["id"].as_str().expect("an id").to_owned(), stages);
        }
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => return (all, number(&ledger["observation"]["lost_records_elsewhere"])),
        }
    }
}

fn sent(report: &GenerateReport) -> BTreeMap<String, u64> {
    report.by_exporter.iter().map(|e| (e.source.ip().to_string(), e.records)).collect()
}

/// Lost records of the second scrape by exporter, without zeroes.
fn scraped(running: &Running) -> BTreeMap<String, u64> {
    let text = ask(running.http_address(), "/metrics/exporters");
    let lines =
        text.lines().filter_map(|l| l.strip_prefix("clarion_collector_exporter_lost_records_total{exporter=\""));
    let rows = lines.filter_map(|line| line.split_once("\"} "));
    rows.map(|(id, n)| (id.to_owned(), n.parse().expect("a number"))).filter(|(_, n)| *n > 0).collect()
}

#[test]
fn every_record_that_a_dead_backend_costs_has_its_exporter() {
    let mut chosen = settings(nobody());
    chosen.queue.batch_size = 100;
    chosen.sink.in_flight_octets = 128 * 1024;
    let running = start(chosen);
    let report = generate(port(&running), 20_000, 6, 30_000);
    let books = running.metrics.books.clone();
    wait_for("everything decoded", || books.records_decoded() == report.records);
    wait_for("what has no room is dropped", || books.ledger().dropped > 10_000);
    wait_for("rest", || {
        let held = &books.held;
        held.queue.level() == 0 && held.workers.iter().chain(&held.batchers).all(|held| held.level() == 0)
    });
    // Pictures are kept for a moment: one taken before the last drop says so by its sum.
    let mut found = (BTreeMap::new(), 0);
    wait_for("a picture at rest", || {
        found = lost(&running);
        found.0.values().sum::<u64>() == books.ledger().dropped
    });
    let (by_exporter, elsewhere) = found;
    assert_eq!((by_exporter.len(), elsewhere), (6, 0));
    assert_eq!(scraped(&running), by_exporter);
    let list = json(&running, "/api/v1/exporters");
    for row in list["exporters"].as_array().expect("a list") {
        assert_eq!(number(&row["lost_records"]), by_exporter[row["id"].as_str().expect("an id")]);
    }

    let drained = running.drain();
    assert_balanced(&drained.ledger);
    assert_eq!(drained.ledger.dropped, report.records);
    let all: BTreeMap<String, u64> =
        books.losses.all().iter().map(|loss| (loss.address.to_string(), loss.records())).collect();
    assert_eq!(all, sent(&report), "what the shutdown cost included, each exporter has lost what it has sent");
}

#[test]
fn what_the_spool_lets_go_of_is_counted_by_exporter_and_the_rest_arrives() {
    for compress in [false, true] {
        let (dir, address) = (tempfile::tempdir().expect("a directory"), nobody());
        let mut chosen = settings(address);
        chosen.queue.batch_size = 100;
        chosen.sink.in_flight_octets = 512 * 1024;
        chosen.spool.mode = SpoolMode::OnFailure;
        chosen.spool.spool.root = dir.path().join("spool");
        chosen.spool.spool.keep_free_percent = 0;
        chosen.spool.spool.compress = compress;
        chosen.spool.spool.limit = Some(if compress { 160 * 1024 } else { 1024 * 1024 });
        let running = start(chosen);
        wait_for("an open spool", || running.metrics.books.spool.enabled.value() == 1);
        let report = generate(port(&running), 20_000, 6, 30_000);
        let books = running.metrics.books.clone();
        wait_for("everything decoded", || books.records_decoded() == report.records);
        wait_for("drops", || books.ledger().dropped > 1_000);
        wait_for("memory handed over", || {
            let ledger = books.ledger();
            ledger.imbalance() == 0 && ledger.spooled + ledger.held + ledger.dropped == report.records
        });

        let options = BackendOptions { listen: address, serials: true, ..BackendOptions::default() };
        let backend = Backend::start(options).expect("the port is still free");
        wait_for("the rest delivered", || {
            let ledger = books.ledger();
            ledger.delivered + ledger.dropped == report.records && ledger.held + ledger.spooled == 0
        });
        assert!(running.metrics.sink().lag_spooled.quantile(1.0).is_some(), "spooled data has a lag of its own");
        let text = ask(running.http_address(), "/metrics/prometheus");
        let count = |state: &str| -> u64 {
            let name = format!("clarion_collector_delivery_lag_seconds_count{{state=\"{state}\"}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&name));
            line.expect("a series").parse().expect("a number")
        };
        assert_eq!(count("fresh") + count("spooled"), books.delivered.value());
        let stats = backend.stats();
        let lost: BTreeMap<String, u64> =
            books.losses.all().iter().map(|loss| (loss.address.to_string(), loss.records())).collect();
        for (exporter, sent) in sent(&report) {
            let arrived = stats.serials.get(&exporter).map_or(0, |serials| serials.count - serials.doubled);
            let lost = lost.get(&exporter).copied().unwrap_or(0);
            assert_eq!(arrived + lost, sent, "{exporter}, compress = {compress}");
        }
        assert_balanced(&running.drain().ledger);
    }
}

#[test]
fn possible_duplicates_are_named_by_their_key() {
    let backend = backend_with(Misbehaviour { reset_rate: 0.3, ..Misbehaviour::default() });
    let mut chosen = settings(backend.address());
    chosen.queue.batch_size = 100;
    let running = start(chosen);
    let report = generate(port(&running), 20_000, 3, 10_000);
    let books = running.metrics.books.clone();
    wait_for("everything acknowledged", || books.ledger().delivered == report.records);
    let duplicated = books.duplicated.value();
    assert!(duplicated > 0, "connections were reset after the request");
    let (mut again, mut keys, mut after) = (0, Vec::new(), String::new());
    loop {
        let page = json(&running, &format!("/api/v1/duplicates?limit=3&after={after}"));
        assert_eq!(number(&page["records_possibly_duplicated"]), duplicated);
        for row in page["batches"].as_array().expect("a list") {
            assert!(["reset", "timeout", "protocol"].contains(&row["why"].as_str().expect("a reason")), "{row}");
            assert!(row["first"].as_str() <= row["last"].as_str(), "{row}");
            again += number(&row["records"]) * number(&row["sent_again"]);
            keys.push(row["idempotency_key"].as_str().expect("a key").to_owned());
        }
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    assert_eq!(again, duplicated, "each record that was sent again is in a row");
    let rows = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), rows, "a batch has one row");
    assert_balanced(&running.drain().ledger);
}

fn unix_ns() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos()).expect("before 2554")
}

/// Sends `datagrams` of one exporter, without those that `kept` leaves out; tells how many went.
fn send(to: SocketAddr, version: Version, datagrams: u64, kept: impl Fn(u64) -> bool) -> u64 {
    let socket = UdpSocket::bind((to.ip(), 0)).expect("a socket");
    let mut exporter = SyntheticExporter::new(SyntheticOptions::new(version, 1));
    let mut went = 0;
    for n in 0..datagrams {
        let octets = exporter.next_datagram(unix_ns(), 10).octets;
        if kept(n) {
            socket.send_to(octets, to).expect("loopback takes it");
            went += 1;
            if went % 50 == 0 {
                // Far below what a socket's buffer holds.
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
    went
}

fn observation_when(running: &Running, what: &str, mut done: impl FnMut(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    wait_for(what, || {
        last = json(running, "/api/v1/ledger")["observation"].clone();
        done(&last)
    });
    last
}

#[test]
fn what_the_network_loses_is_estimated_in_datagrams_of_each_version() {
    let backend = backend_with(Misbehaviour::default());
    let running = start(settings(backend.address()));
    let to = port(&running);
    // Not where templates and options are repeated, so that each lost datagram has ten records.
    let burst = |n: u64| !(510..535).contains(&n);
    let mut went = 0;
    for version in [Version::V5, Version::V9, Version::Ipfix] {
        went += send(to, version, 2_000, burst);
    }
    wait_for("all that was sent", || running.metrics.books.datagrams_received() == went);
    // A picture is kept for a moment: the one that is meant has all of them.
    let seen = observation_when(&running, "gaps that have left their window, in a picture of all", |seen| {
        number(&seen["missing_datagrams"]) >= 75
            && seen["exporters"]["shown"][0]["datagrams"].as_u64().is_some_and(|datagrams| datagrams == went)
    });
    assert_eq!((number(&seen["missing_datagrams"]), number(&seen["kernel_dropped"])), (75, 0), "{seen}");
    assert_eq!((&seen["network"]["state"], number(&seen["network"]["lost_datagrams"])), (&"estimate".into(), 75));
    let units = &seen["missing_units"];
    assert_eq!((number(&units["v5"]), number(&units["v9"]), number(&units["ipfix"])), (250, 25, 250), "{units}");
    let sockets = seen["sockets"].as_array().expect("a list");
    assert_eq!(sockets.iter().map(|socket| number(&socket["received"])).sum::<u64>(), went);
    // The first messages of a port may be a domain of their own: then the two are added up, as those of replicas are.
    let mut streams: BTreeMap<String, (u64, u64, u64)> = BTreeMap::new();
    for domain in seen["exporters"]["shown"][0]["domains"].as_array().expect("a list") {
        let stream = streams.entry(domain["version"].as_str().expect("a version").to_owned()).or_default();
        stream.0 += number(&domain["received_units"]);
        stream.1 += number(&domain["missing_units"]);
        stream.2 = stream.2.max(domain["highest_sequence"].as_u64().unwrap_or(0));
    }
    assert_eq!(streams.len(), 3, "{seen}");
    for (version, (received, missing, highest)) in streams {
        let of = if version == "v9" { 1 } else { 10 };
        // IPFIX counts the records of its options as well.
        assert!(received >= 1_975 * of && missing == 25 * of, "{version}: {seen}");
        assert_eq!(highest + 1, received + missing, "{version}: {seen}");
    }
    assert_balanced(&running.drain().ledger);
}

#[test]
fn a_part_of_a_stream_is_called_partial() {
    let backend = backend_with(Misbehaviour::default());
    let running = start(settings(backend.address()));
    // A multiplicative hash: every second datagram or so, without a pattern.
    let went = send(port(&running), Version::V9, 6_000, |n| n == 0 || (n.wrapping_mul(2_654_435_761) >> 31) & 1 == 1);
    wait_for("all that was sent", || running.metrics.books.datagrams_received() == went);
    let seen = observation_when(&running, "an interleaved stream", |seen| seen["network"]["state"] == "partial");
    assert_eq!(seen["network"]["why"][0]["reason"], "looks_interleaved", "{seen}");
    assert_eq!(seen["network"]["lost_datagrams"], Value::Null);
    assert_balanced(&running.drain().ledger);

    let running = start(settings(backend.address()));
    let mut beside = settings(backend.address());
    beside.collect.listeners[0].port = port(&running).port();
    let other = start(beside);
    let seen = observation_when(&running, "a shared port", |seen| seen["network"]["state"] == "partial");
    assert_eq!(seen["network"]["why"][0]["reason"], "shared_port", "{seen}");
    assert_eq!(number(&seen["network"]["why"][0]["sockets_of_others"]), 2);
    let _ = other.drain();
    observation_when(&running, "the port to itself", |seen| seen["network"]["state"] == "estimate");
    let _ = running.drain();
}
