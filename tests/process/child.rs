//! The real binary as a child process: its log, its HTTP side, signals, and its end.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clarion_collector::flow::Version;
use clarion_collector::tools::generate::{GenerateOptions, GenerateReport, Progress, run_with};
use serde_json::Value;

/// Longest that a condition is waited for: far above what a busy machine needs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` gives something; says what did not come about otherwise.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} in vain for: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A child process whose standard error is kept; killed when it is dropped.
pub struct Process {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts `command` with standard error kept, and standard output piped if `piped`.
    pub fn start(mut command: Command, piped: bool) -> Self {
        let stdout = if piped { Stdio::piped() } else { Stdio::null() };
        command.stdin(Stdio::null()).stdout(stdout);
        Self::spawn(command)
    }

    /// Starts `command` with standard error kept, and input and output as they are set.
    pub fn spawn(mut command: Command) -> Self {
        command.stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program can be started");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (stderr, lines) = (child.stderr.take().expect("it is piped"), Arc::clone(&log));
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().expect("nobody panics with it").push(line);
            }
        });
        Self { child, log, reader: Some(reader) }
    }

    /// All that stands on standard error so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("nobody panics with it").join("\n")
    }

    /// The first line with `part` in it, once it is there.
    pub fn line(&mut self, part: &str) -> String {
        let log = Arc::clone(&self.log);
        let find = || log.lock().expect("nobody panics with it").iter().find(|l| l.contains(part)).cloned();
        wait_for(&format!("a log line with {part:?}"), || {
            let ended = self.child.try_wait().expect("a child can be asked");
            find().or_else(|| {
                // What it wrote last may still be on its way.
                ended.map(|status| {
                    self.reader.take().map(JoinHandle::join);
                    find().unwrap_or_else(|| panic!("ended with {status} without {part:?}:\n{}", self.log()))
                })
            })
        })
    }

    /// Standard output, which must have been piped.
    pub fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("it is piped and was not taken")
    }

    pub fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// Sends signals by name, without waiting between them.
    pub fn signal(&self, names: &[&str]) {
        let id = self.child.id();
        let script: Vec<String> = names.iter().map(|name| format!("kill -{name} {id}")).collect();
        let sent = Command::new("/bin/sh").args(["-c", &script.join(" && ")]).status().expect("a shell");
        assert!(sent.success(), "{script:?}");
    }

    /// How it ended; panics if it does not within `patience`.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        let end = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                self.reader.take().map(JoinHandle::join);
                return status;
            }
            assert!(Instant::now() < end, "still there after {patience:?}:\n{}", self.log());
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary with nothing of the surroundings but what the test gives.
pub fn binary(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clarion-collector"));
    command.env_clear().args(args);
    command
}

/// Arguments of a collector on free loopback ports, with small batches and a log for programs.
pub const COLLECTOR: &[&str] = &[
    "--bind-host=127.0.0.1",
    "--netflow-port=0",
    "--ipfix-port=0",
    "--http-bind-host=127.0.0.1",
    "--http-port=0",
    "--receive-workers=2",
    "--receive-pin=off",
    "--batch-interval=200ms",
    "--retry-backoff=50ms",
    "--retry-backoff-max=200ms",
    "--log-format=json",
];

/// A collector that is ready.
pub struct Collector {
    pub process: Process,
    /// Its first UDP port.
    pub port: SocketAddr,
    /// Its HTTP side.
    pub http: SocketAddr,
}

impl Collector {
    /// A collector that delivers to `backend`.
    pub fn delivering(backend: SocketAddr, more: &[&str]) -> Self {
        let url = format!("--backend-url=http://{backend}");
        let args: Vec<&str> = COLLECTOR.iter().copied().chain([url.as_str()]).chain(more.iter().copied()).collect();
        Self::from_command(binary(&args), false)
    }

    /// What `command` becomes, once it is ready.
    pub fn from_command(command: Command, piped: bool) -> Self {
        Self::from_process(Process::start(command, piped))
    }

    /// What `process` becomes, once it is ready.
    pub fn from_process(mut process: Process) -> Self {
        let ready: Value = serde_json::from_str(&process.line("\"message\":\"ready\"")).expect("a JSON line");
        let http = ready["fields"]["http"].as_str().expect("the HTTP address").parse().expect("an address");
        let port = json(http, "/api/v1/status")["listeners"][0]["address"].as_str().and_then(|a| a.parse().ok());
        Self { process, port: port.expect("the address of the first listener"), http }
    }

    /// `/api/v1/ledger`.
    pub fn ledger(&self) -> Value {
        json(self.http, "/api/v1/ledger")
    }

    /// The ledger at rest: nothing in memory, and all three equations hold.
    pub fn ledger_at_rest(&self, datagrams: u64) -> Value {
        wait_for(&format!("rest after {datagrams} datagrams"), || {
            let ledger = self.ledger();
            let came = number(&ledger, "/datagrams/received") + number(&ledger, "/datagrams/kernel_dropped");
            let at_rest = came >= datagrams
                && number(&ledger, "/records/in_memory") == 0
                && ["/datagrams/unexplained", "/sets/unexplained", "/records/unexplained"]
                    .iter()
                    .all(|term| ledger.pointer(term).and_then(Value::as_i64) == Some(0));
            at_rest.then_some(ledger)
        })
    }
}

/// The fields of the last line of a drained collector.
pub fn last_words(log: &str) -> Value {
    let line = log.lines().rfind(|line| line.contains("\"message\":\"ended\"")).unwrap_or_else(|| panic!("{log}"));
    serde_json::from_str::<Value>(line).expect("a JSON line")["fields"].clone()
}

/// A backend that writes what it accepts to `out`.
pub struct Backend {
    pub process: Process,
    pub address: SocketAddr,
}

impl Backend {
    pub fn start(listen: SocketAddr, out: &Path, more: &[&str]) -> Self {
        let (listen, out) = (listen.to_string(), out.to_str().expect("a path in UTF-8"));
        let mut args = vec!["backend", "--serials", "--listen", listen.as_str(), "--out", out];
        args.extend(more);
        let mut process = Process::start(binary(&args), true);
        let line = process.line("backend listens on");
        let address = line.split("http://").nth(1).and_then(|rest| rest.split(';').next()).expect("an address");
        Self { process, address: address.parse().expect("an address") }
    }

    pub fn stats(&self) -> Value {
        json(self.address, "/stats")
    }
}

/// A free loopback address.
pub fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Head (in lower case) and body of an answer to a GET, by HTTP/1.0 so that no body comes in chunks.
pub fn get(from: SocketAddr, path: &str, headers: &str) -> (String, String) {
    let mut stream = TcpStream::connect(from).expect("the HTTP side listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let request = format!("GET {path} HTTP/1.0\r\nHost: {from}\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("a request can be sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer in UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_lowercase(), body.to_owned())
}

/// JSON that is answered with 200.
pub fn json(from: SocketAddr, path: &str) -> Value {
    let (head, body) = get(from, path, "Accept: application/json\r\n");
    assert!(head.starts_with("http/1.0 200"), "{path}: {head}\n{body}");
    serde_json::from_str(&body).expect("JSON")
}

/// The number at a JSON pointer.
pub fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no number at {pointer} in {value}"))
}

/// Records dropped, by `stage/reason`, zeroes left out.
pub fn dropped(ledger: &Value) -> HashMap<String, u64> {
    let reasons = ledger["records"]["dropped_by_reason"].as_array().expect("a list");
    let named = |r: &Value| (format!("{}/{}", r["stage"], r["reason"]).replace('"', ""), number(r, "/records"));
    reasons.iter().map(named).filter(|(_, records)| *records > 0).collect()
}

/// Exporters of all versions at work on a thread, until they are stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    pub progress: Arc<Progress>,
    thread: JoinHandle<GenerateReport>,
}

impl Load {
    pub fn start(to: SocketAddr, rate: u64, exporters: usize) -> Self {
        Self::of(&[Version::V5, Version::V9, Version::Ipfix], to, rate, exporters)
    }

    pub fn of(versions: &[Version], to: SocketAddr, rate: u64, exporters: usize) -> Self {
        Self::with(GenerateOptions { exporters, versions: versions.to_vec(), ..GenerateOptions::new(to, rate) })
    }

    pub fn with(options: GenerateOptions) -> Self {
        let (stop, progress) = (Arc::new(AtomicBool::new(false)), Arc::clone(&options.progress));
        let asked = Arc::clone(&stop);
        let thread = std::thread::spawn(move || run_with(options, asked).expect("flows are sent"));
        Self { stop, progress, thread }
    }

    /// Records that have been sent.
    pub fn sent(&self) -> u64 {
        self.progress.records.load(Ordering::Relaxed)
    }

    pub fn stop(self) -> GenerateReport {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("the load does not panic")
    }
}

/// Each (switch_id, serial) of the files of a backend, and how many lines there were.
pub fn serials(files: &[&Path]) -> (HashSet<(String, u64)>, u64) {
    let (mut seen, mut lines) = (HashSet::new(), 0);
    for file in files {
        let text = std::fs::read_to_string(file).expect("the backend's file");
        for line in text.lines() {
            // A killed backend may leave a part of its last line, which it never acknowledged.
            let Ok(record) = serde_json::from_str::<Value>(line) else {
                assert!(!text.ends_with('\n') && text.ends_with(line), "no JSON within {}: {line}", file.display());
                continue;
            };
            lines += 1;
            seen.insert((record["switch_id"].as_str().expect("a switch_id").to_owned(), number(&record, "/bytes")));
        }
    }
    (seen, lines)
}
