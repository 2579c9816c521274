//! Chosen fields through the real processes: keys that the backend gets, and lines on standard output.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use serde_json::Value;

use super::child::{Backend, COLLECTOR, Collector, Load, anywhere, binary, number, wait_for};

/// Keys that the backend refuses a record without.
const CONTRACT: [&str; 10] =
    ["src_ip", "dst_ip", "src_port", "dst_port", "protocol", "bytes", "packets", "flow_start", "flow_end", "switch_id"];

#[test]
fn the_backend_gets_what_a_list_of_the_file_names() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (out, file) = (dir.path().join("out"), dir.path().join("c.toml"));
    let list =
        "[output]\nfields = [\"version\", \"time_source\", \"src_mask\",\n  \"flowStartMilliseconds\", \"0/34000\"]\n";
    std::fs::write(&file, list).expect("the file can be written");
    let backend = Backend::start(anywhere(), &out, &[]);
    let config = format!("--config={}", file.display());
    let mut collector = Collector::delivering(backend.address, &[&config]);
    let load = Load::start(collector.port, 2_000, 3);
    wait_for("1,000 records", || (number(&collector.ledger(), "/records/delivered") > 1_000).then_some(()));
    let sent = load.stop();
    let ledger = collector.ledger_at_rest(sent.datagrams);
    collector.process.signal(&["TERM"]);
    assert_eq!(collector.process.wait(Duration::from_secs(30)).code(), Some(0));
    let text = std::fs::read_to_string(&out).expect("the backend's file");
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        let record: Value = serde_json::from_str(line).expect("JSON");
        let has = |key: &str| record.get(key).is_some();
        assert!(CONTRACT.iter().chain(&["version", "time_source"]).all(|key| has(key)), "{line}");
        let version = record["version"].as_u64().expect("a number");
        assert!(has("flowStartMilliseconds") == (version == 10) && has("0/34000") == (version == 9), "{line}");
        if let Some(start) = record["flowStartMilliseconds"].as_str() {
            assert!(start.len() == 24 && start.ends_with('Z'), "{start}");
        }
        seen.insert(version);
    }
    assert_eq!(seen, BTreeSet::from([5, 9, 10]));
    assert_eq!(text.lines().count() as u64, number(&ledger, "/records/delivered"));
}

#[test]
fn a_line_on_standard_output_has_what_is_chosen() {
    for (fields, keys) in [("src_ip,bytes", 2..=2), ("all", 24..=64)] {
        let flag = format!("--output-fields={fields}");
        let args: Vec<&str> = COLLECTOR.iter().copied().chain(["--output", "stdout", &flag]).collect();
        let mut collector = Collector::from_command(binary(&args), true);
        let stdout = collector.process.stdout();
        let lines =
            std::thread::spawn(move || BufReader::new(stdout).lines().map_while(Result::ok).collect::<Vec<_>>());
        let load = Load::start(collector.port, 2_000, 3);
        wait_for("500 records", || (number(&collector.ledger(), "/records/delivered") > 500).then_some(()));
        collector.process.signal(&["TERM"]);
        let status = collector.process.wait(Duration::from_secs(30));
        load.stop();
        assert_eq!(status.code(), Some(0), "{}", collector.process.log());
        let lines = lines.join().expect("the reader does not panic");
        assert!(lines.len() > 500);
        for line in lines {
            let flow: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
            let count = flow.as_object().map_or(0, serde_json::Map::len);
            assert!(keys.contains(&count) && flow.get("src_ip").is_some(), "{count}: {line}");
        }
    }
}

#[test]
fn an_unknown_field_is_refused_with_the_nearest() {
    let told = |args: &[&str]| {
        let output = binary(args).output().expect("it can be started");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let text = told(&["check", "--output-fields", "bytes,app_nmae"]);
    assert!(text.contains("--output-fields") && text.contains("is app_name meant?"), "{text}");
    let text = told(&["decode", "--fields", "tcpWindowScal", "none.pcap"]);
    assert!(text.contains("--fields") && text.contains("is tcpWindowScale meant?"), "{text}");
}
