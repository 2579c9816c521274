//! Standard output and standard error: flows as NDJSON, and readers that go away.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::child::{COLLECTOR, Collector, Load, anywhere, binary, json, last_words, number, wait_for};

fn to_stdout() -> Collector {
    let args: Vec<&str> = COLLECTOR.iter().copied().chain(["--output", "stdout"]).collect();
    Collector::from_command(binary(&args), true)
}

#[test]
fn flows_on_standard_output_are_one_object_a_line() {
    let mut collector = to_stdout();
    let stdout = collector.process.stdout();
    let lines = std::thread::spawn(move || BufReader::new(stdout).lines().map_while(Result::ok).collect::<Vec<_>>());
    let load = Load::start(collector.port, 5_000, 3);
    wait_for("2,000 records", || (number(&collector.ledger(), "/records/delivered") > 2_000).then_some(()));
    collector.process.signal(&["TERM"]);
    let status = collector.process.wait(Duration::from_secs(30));
    load.stop();
    let log = collector.process.log();
    assert_eq!(status.code(), Some(0), "{log}");
    let words = last_words(&log);
    let lines = lines.join().expect("the reader does not panic");
    assert_eq!(lines.len() as u64, number(&words, "/delivered"), "{log}");
    assert_eq!(words["decoded"], words["delivered"], "{log}");
    for line in lines {
        let flow: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        for key in ["src_ip", "dst_ip", "src_port", "dst_port", "protocol", "bytes", "packets"] {
            assert!(flow.get(key).is_some(), "{key} in {line}");
        }
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_process_with_a_reason() {
    let mut collector = to_stdout();
    let load = Load::start(collector.port, 5_000, 3);
    let mut lines = BufReader::new(collector.process.stdout()).lines();
    assert!(lines.by_ref().take(5).all(|line| line.is_ok_and(|line| line.starts_with('{'))));
    drop(lines);
    let status = collector.process.wait(Duration::from_secs(30));
    load.stop();
    let log = collector.process.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("standard output was closed") && !log.contains("panicked"), "{log}");
    let words = last_words(&log);
    assert_eq!(number(&words, "/decoded"), number(&words, "/delivered") + number(&words, "/dropped"), "{log}");
    assert!(number(&words, "/dropped") > 0, "{log}");
}

/// Whoever reads the log may end: lines are lost then, and nothing else.
#[test]
fn a_log_that_nobody_reads_costs_nothing() {
    let mut command = binary(COLLECTOR);
    command.args(["--output", "stdout", "--log-level", "debug"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it can be started");
    let mut log = BufReader::new(child.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
    let ready = log.find(|line| line.contains("\"message\":\"ready\"")).expect("it starts");
    drop(log);
    let ready: Value = serde_json::from_str(&ready).expect("a JSON line");
    let http = ready["fields"]["http"].as_str().and_then(|a| a.parse().ok()).expect("an address");
    let port = json(http, "/api/v1/status")["listeners"][0]["address"].as_str().and_then(|a| a.parse().ok());
    // First datagrams and templates are worth a line each: workers log.
    let load = Load::start(port.expect("an address"), 2_000, 3);
    let delivered = || number(&json(http, "/api/v1/ledger"), "/records/delivered");
    wait_for("500 records delivered", || (delivered() > 500).then_some(()));
    load.stop();
    let killed = std::process::Command::new("/bin/sh").args(["-c", &format!("kill -TERM {}", child.id())]).status();
    assert!(killed.is_ok_and(|status| status.success()));
    let status = wait_for("its end", || child.try_wait().expect("a child can be asked"));
    assert_eq!(status.code(), Some(0));
}

/// From the first line on: the log's reader is gone before the process starts.
#[test]
fn it_starts_and_ends_without_a_log() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let held = std::net::TcpListener::bind(anywhere()).expect("a free port");
    let port = format!("--http-port={}", held.local_addr().expect("an address").port());
    let others = COLLECTOR.iter().copied().filter(|arg| !arg.starts_with("--http-port"));
    // The port is taken: it ends by itself, with an error that it cannot tell.
    let args: Vec<&str> = others.chain([port.as_str()]).collect();
    let status = binary(&args).stderr(writer).status().expect("it can be started");
    assert_eq!(status.code(), Some(1));
}
