//! What the tests of chaos share: exporters that can be numbered, a backend with moods, and the accounts at the end.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clarion_collector::flow::Version;
use clarion_collector::tools::generate::{GenerateOptions, GenerateReport, Progress, run_with};
use serde_json::Value;
use uuid::Uuid;

use crate::child::{Collector, PATIENCE, Process, anywhere, binary, dropped, get, json, number, wait_for};

/// All versions, in turns.
pub const MIXED: [Version; 3] = [Version::V5, Version::V9, Version::Ipfix];
/// Parts of a split batch that are looked for when a key may be derived from another: seven halvings.
const PARTS: u64 = 255;

/// How long a test takes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    Short,
    Long,
}

impl Size {
    pub const fn of<T: Copy>(self, short: T, long: T) -> T {
        match self {
            Self::Short => short,
            Self::Long => long,
        }
    }
}

/// Lets the fault that stands last for its time: the time is what is tested, nothing is hoped to happen in it.
pub fn endure(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

/// The same numbers each time.
pub struct Dice(pub u64);

impl Dice {
    /// From 0 to `below`, without it.
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// Exporters at work until they are stopped.
pub struct Exporters {
    stop: Arc<AtomicBool>,
    progress: Arc<Progress>,
    thread: JoinHandle<GenerateReport>,
}

impl Exporters {
    /// `count` exporters from number `first` on, with `rate` records a second together.
    pub fn start(to: SocketAddr, rate: u64, first: usize, count: usize, versions: &[Version]) -> Self {
        let options = GenerateOptions {
            exporters: count,
            first_exporter: first,
            versions: versions.to_vec(),
            ..GenerateOptions::new(to, rate)
        };
        let (stop, progress) = (Arc::<AtomicBool>::default(), Arc::clone(&options.progress));
        let asked = Arc::clone(&stop);
        let thread = std::thread::spawn(move || run_with(options, asked).expect("flows are sent"));
        Self { stop, progress, thread }
    }

    /// Records that have been sent.
    pub fn sent(&self) -> u64 {
        self.progress.records.load(Ordering::Relaxed)
    }

    pub fn wait_until_sent(&self, records: u64) {
        wait_for("records sent", || (self.sent() >= records).then_some(()));
    }

    pub fn stop(self) -> GenerateReport {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("the load does not panic")
    }
}

/// The `backend` with a journal that survives it.
pub struct MoodyBackend {
    process: Process,
    pub address: SocketAddr,
    journal: PathBuf,
}

impl MoodyBackend {
    pub fn start(journal: &Path) -> Self {
        Self::start_at(anywhere(), journal).expect("a free port")
    }

    /// None if the port is taken just now.
    fn start_at(listen: SocketAddr, journal: &Path) -> Option<Self> {
        let listen = listen.to_string();
        let mut args = binary(&["backend", "--listen", &listen, "--journal"]);
        args.arg(journal);
        let process = Process::start(args, true);
        let line = wait_for("the backend's first line", || {
            let log = process.log();
            log.lines().next().map(str::to_owned)
        });
        let address = line.split("listens on http://").nth(1)?.split(';').next()?.parse().ok()?;
        Some(Self { process, address, journal: journal.to_owned() })
    }

    /// Gone without a word.
    pub fn leave(self) -> GoneBackend {
        self.process.kill();
        GoneBackend { address: self.address, journal: self.journal }
    }

    /// From the next request on it behaves like this.
    pub fn mood(&self, mood: &Value) {
        let body = mood.to_string();
        let mut stream = TcpStream::connect(self.address).expect("the backend listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        let length = body.len();
        write!(stream, "POST /mood HTTP/1.0\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{body}")
            .expect("a request can be sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.0 200"), "{mood}: {answer}");
    }

    pub fn stats(&self) -> Value {
        json(self.address, "/stats")
    }

    /// What it has accepted so far, in this life and those before.
    pub fn journal(&self) -> Vec<Accepted> {
        journal(&self.journal)
    }
}

/// A backend that may come back where it was.
pub struct GoneBackend {
    address: SocketAddr,
    journal: PathBuf,
}

impl GoneBackend {
    pub fn come_back(self) -> MoodyBackend {
        wait_for("the backend's port", || MoodyBackend::start_at(self.address, &self.journal))
    }
}

/// An accepted request.
#[derive(Debug)]
pub struct Accepted {
    pub key: Uuid,
    /// Serials by switch_id.
    pub serials: BTreeMap<String, Vec<u64>>,
}

impl Accepted {
    /// Unix time at which the batch was encoded; None for a part.
    pub fn encoded(&self) -> Option<Duration> {
        let (seconds, nanos) = self.key.get_timestamp()?.to_unix();
        Some(Duration::new(seconds, nanos))
    }
}

/// Unix time.
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970")
}

fn journal(path: &Path) -> Vec<Accepted> {
    let text = std::fs::read_to_string(path).expect("the journal");
    let mut lines: Vec<&str> = text.split('\n').collect();
    // Behind the last line's end stands nothing, or what a killed backend never acknowledged.
    lines.pop();
    let accepted = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let key = line["key"].as_str().and_then(|key| key.parse().ok()).expect("each batch has a key");
        let serials = serde_json::from_value(line["serials"].clone()).expect("serials by switch_id");
        Accepted { key, serials }
    };
    lines.into_iter().map(accepted).collect()
}

/// What came, by serial.
#[derive(Debug, Default)]
pub struct Came {
    /// Distinct serials by switch_id, in order.
    pub serials: BTreeMap<String, Vec<u64>>,
    /// Records that had come before.
    pub doubled: u64,
}

impl Came {
    pub fn distinct(&self) -> u64 {
        self.serials.values().map(|serials| serials.len() as u64).sum()
    }
}

/// Reads the journal, and insists that what came twice came under a key that the backend could know it by.
pub fn came(journal: &[Accepted]) -> Came {
    let mut keys = HashMap::<(&str, u64), Uuid>::new();
    let mut doubled = 0;
    for request in journal {
        for (switch, serials) in &request.serials {
            for serial in serials {
                let Some(before) = keys.insert((switch, *serial), request.key) else { continue };
                doubled += 1;
                assert!(
                    is_related(before, request.key),
                    "{switch} {serial} came under {before}, then under {}",
                    request.key
                );
            }
        }
    }
    let mut serials = BTreeMap::<String, Vec<u64>>::new();
    for (switch, serial) in keys.into_keys() {
        serials.entry(switch.to_owned()).or_default().push(serial);
    }
    serials.values_mut().for_each(|serials| serials.sort_unstable());
    Came { serials, doubled }
}

/// Of each request, in order: records that had come before.
pub fn doubled_in_turn(journal: &[Accepted]) -> Vec<u64> {
    let mut seen = std::collections::HashSet::<(&str, u64)>::new();
    journal
        .iter()
        .map(|request| {
            let serials =
                request.serials.iter().flat_map(|(switch, serials)| serials.iter().map(move |n| (&**switch, *n)));
            serials.filter(|serial| !seen.insert(*serial)).count() as u64
        })
        .collect()
}

/// The same key; or a batch that was accepted without its sender hearing of it, and parts of it afterwards. Two parts of
/// one batch cannot be told from parts of two, since the batch's own key never came.
fn is_related(before: Uuid, after: Uuid) -> bool {
    let is_part = |key: Uuid| key.get_version_num() == 5;
    let derived = || (1..=PARTS).any(|part| Uuid::new_v5(&before, &part.to_be_bytes()) == after);
    before == after || (is_part(before) && is_part(after)) || derived()
}

/// A collector with small batches, little memory and a spool below `dir` that is open.
pub fn spooling(backend: SocketAddr, dir: &Path, mode: &str, more: &[&str]) -> Collector {
    let data = format!("--data-dir={}", dir.to_str().expect("a path in UTF-8"));
    let mode = format!("--spool-mode={mode}");
    let usual = [data.as_str(), mode.as_str(), "--spool-keep-free=0", "--backend-in-flight-bytes=1MiB"];
    let args: Vec<&str> = usual.iter().chain(more).copied().collect();
    let collector = Collector::delivering(backend, &args);
    wait_for("an open spool", || collector.process.log().contains("the spool is open").then_some(()));
    collector
}

/// One value of the scrape; 0 where it is not there.
pub fn metric(collector: &Collector, name: &str) -> u64 {
    let (_, text) = get(collector.http, "/metrics/prometheus", "");
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).map_or(0, |value| value as u64)
}

/// Resident memory of the collector, octets.
pub fn resident(collector: &Collector) -> u64 {
    metric(collector, "clarion_collector_process_resident_memory_bytes")
}

/// The ledger once everything that was sent has met its fate.
pub fn settled(collector: &Collector, datagrams: u64) -> Value {
    let mut last = Value::Null;
    let end = Instant::now() + 2 * PATIENCE;
    loop {
        let ledger = collector.ledger();
        let at = |pointer| number(&ledger, pointer);
        let all_came = at("/datagrams/received") + at("/datagrams/kernel_dropped") >= datagrams;
        let explained = ["datagrams", "sets", "records"].iter().all(|part| ledger[part]["unexplained"] == 0);
        if all_came && explained && at("/records/in_memory") + at("/records/spooled") == 0 {
            return ledger;
        }
        assert!(Instant::now() < end, "not settled: {ledger}\nbefore: {last}\n{}", collector.process.log());
        last = ledger;
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Sent = delivered + lost by name, to the record; gives what was lost by `stage/reason`.
pub fn account(ledger: &Value, sent: &GenerateReport, came: &Came) -> HashMap<String, u64> {
    let at = |pointer| number(ledger, pointer);
    let kernel = at("/datagrams/kernel_dropped");
    assert_eq!(sent.refused, 0, "there was always somebody to receive");
    assert_eq!(at("/datagrams/received") + kernel, sent.datagrams, "{ledger}");
    let (decoded, lost) = (at("/records/decoded"), at("/records/dropped"));
    // What a kernel drops has no number of records, but a datagram has 30 at most.
    let unseen = sent.records - decoded;
    assert!(unseen <= 30 * kernel, "{unseen} records were not seen, with {kernel} datagrams dropped: {ledger}");
    assert_eq!(came.distinct(), decoded - lost, "delivered is what came: {ledger}");
    for exporter in &sent.by_exporter {
        let last = came.serials.get(&exporter.source.ip().to_string()).and_then(|serials| serials.last());
        assert!(last.is_some_and(|last| *last <= exporter.records), "{exporter:?}: {last:?}");
    }
    dropped(ledger)
}
