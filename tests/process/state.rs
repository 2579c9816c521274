//! Restarts that decode from the first datagram: learned state across SIGTERM and kill -9, damage, age, sick disks.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::child::{COLLECTOR, Collector, PATIENCE, binary, get, json, number, wait_for};

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn set(id: u16, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 4).expect("short");
    [&id.to_be_bytes()[..], &length.to_be_bytes(), body].concat()
}

/// A NetFlow v9 exporter that tells its templates and options once, at its own start.
struct Exporter {
    socket: UdpSocket,
    sequence: u32,
    sent: u64,
}

impl Exporter {
    fn new() -> Self {
        Self { socket: UdpSocket::bind("127.0.0.1:0").expect("a port"), sequence: 0, sent: 0 }
    }

    fn send(&mut self, to: &Collector, sets: &[Vec<u8>]) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
        let mut octets = words(&[9, u16::try_from(sets.len()).expect("few")]);
        for word in [3_600_000, u32::try_from(now).expect("before 2106"), self.sequence, 7] {
            octets.extend(word.to_be_bytes());
        }
        octets.extend(sets.concat());
        self.socket.send_to(&octets, to.port).expect("loopback takes it");
        (self.sequence, self.sent) = (self.sequence + 1, self.sent + 1);
    }

    /// Template 256; options template 257 with a rate of sampler 3, 258 with the name of interface 5.
    fn introduce(&mut self, to: &Collector) {
        let flows = words(&[256, 6, 8, 4, 12, 4, 1, 4, 2, 4, 10, 4, 48, 1]);
        let rate = words(&[257, 4, 8, 1, 4, 48, 1, 34, 4]);
        let name = words(&[258, 4, 8, 1, 4, 10, 4, 82, 8]);
        let told = [
            set(0, &flows),
            set(1, &rate),
            set(1, &name),
            set(257, &[0, 0, 0, 0, 3, 0, 0, 3, 0xE8]),
            set(258, &[&[0, 0, 0, 0, 0, 0, 0, 5][..], b"ge-0/0/5"].concat()),
        ];
        self.send(to, &told);
    }

    /// One flow with its serial as the number of octets.
    fn flow(&mut self, to: &Collector, serial: u32) {
        let mut row = vec![10, 0, 0, 1, 10, 0, 0, 2];
        [serial, 9, 5].iter().for_each(|word| row.extend(word.to_be_bytes()));
        row.push(3);
        self.send(to, &[set(256, &row)]);
    }
}

struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    fn start(&self, more: &[&str]) -> Collector {
        let data = format!("--data-dir={}", self.dir.path().display());
        let output = ["--output-kind=stdout", "--output-fields=all", "--state-snapshot-interval=1s"];
        let args: Vec<&str> =
            COLLECTOR.iter().copied().chain([data.as_str()]).chain(output).chain(more.iter().copied()).collect();
        Collector::from_command(binary(&args), false)
    }

    fn snapshot(&self) -> PathBuf {
        self.dir.path().join("state/0/learned.snapshot")
    }
}

fn metric(collector: &Collector, name: &str) -> u64 {
    let (_, text) = get(collector.http, "/metrics/prometheus", "");
    let name = format!("clarion_collector_{name} ");
    let line = text.lines().find(|line| line.starts_with(&name)).unwrap_or_else(|| panic!("no {name}"));
    line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number") as u64
}

fn restored(collector: &Collector, state: &str) -> u64 {
    metric(collector, &format!("state_snapshot_records_total{{state=\"{state}\"}}"))
}

/// The exporter's templates as the status API shows them.
fn templates(collector: &Collector) -> Vec<Value> {
    let detail = json(collector.http, "/api/v1/exporters/127.0.0.1");
    let shown = detail.pointer("/templates/shown").or_else(|| detail.pointer("/exporters/0/templates/shown"));
    shown.and_then(Value::as_array).unwrap_or_else(|| panic!("no templates in {detail}")).clone()
}

fn decoded(collector: &Collector, records: u64) {
    wait_for(&format!("{records} records"), || {
        (number(&collector.ledger(), "/records/decoded") >= records).then_some(())
    });
}

fn copy(from: &Path) -> Vec<u8> {
    fs::read(from).expect("a snapshot")
}

/// A collector that has learned, with its exporter, and the snapshot that says so.
fn taught(site: &Site) -> (Collector, Exporter) {
    let collector = site.start(&[]);
    let mut exporter = Exporter::new();
    exporter.introduce(&collector);
    exporter.flow(&collector, 1);
    decoded(&collector, 1);
    (collector, exporter)
}

fn ends_well(mut collector: Collector) {
    collector.process.signal(&["TERM"]);
    let status = collector.process.wait(PATIENCE);
    assert!(status.success(), "{status}: {}", collector.process.log());
}

/// Templates come once, and never again: what follows a restart is decoded with the rate and the name told before it.
fn goes_on(site: &Site, exporter: &mut Exporter) {
    let second = site.start(&[]);
    assert_eq!((restored(&second, "restored"), restored(&second, "damaged")), (1, 0), "{}", second.process.log());
    let shown = templates(&second);
    assert_eq!(shown.iter().filter(|template| template["restored"] == true).count(), 3, "{shown:?}");
    exporter.flow(&second, 2);
    decoded(&second, 1);
    let ledger = second.ledger_at_rest(1);
    assert_eq!(number(&ledger, "/sets/parked") + number(&ledger, "/sets/dropped"), 0, "{ledger}");
    assert_eq!(metric(&second, "records_sampling_unknown_total"), 0);
    let detail = json(second.http, "/api/v1/exporters/127.0.0.1").to_string();
    assert!(detail.contains("ge-0/0/5") && detail.contains("1000"), "{detail}");
    // Its own word confirms what was kept.
    exporter.introduce(&second);
    wait_for("confirmed templates", || {
        let confirmed = |templates: &[Value]| templates.iter().filter(|t| t["restored"] == false).count() == 3;
        confirmed(&templates(&second)).then_some(())
    });
    ends_well(second);
}

#[test]
fn a_restart_decodes_from_the_first_datagram() {
    let site = Site::new();
    let (first, mut exporter) = taught(&site);
    ends_well(first);
    let facts = fs::metadata(site.snapshot()).expect("written at the end");
    assert_eq!(facts.permissions().mode() & 0o777, 0o600);
    goes_on(&site, &mut exporter);
}

#[test]
fn kill_9_after_an_interval_costs_no_template() {
    let site = Site::new();
    let (first, mut exporter) = taught(&site);
    // The names are in it when all of what came with the template is.
    wait_for("a snapshot", || {
        fs::read(site.snapshot()).ok().filter(|octets| octets.windows(8).any(|part| part == b"ge-0/0/5"))
    });
    first.process.kill();
    goes_on(&site, &mut exporter);
}

#[test]
fn another_layout_wins_over_what_was_kept() {
    let site = Site::new();
    let (first, mut exporter) = taught(&site);
    ends_well(first);
    let second = site.start(&[]);
    exporter.send(&second, &[set(0, &words(&[256, 1, 1, 4])), set(256, &[0, 0, 0, 9])]);
    decoded(&second, 1);
    wait_for("the correction told", || {
        (metric(&second, "template_events_total{state=\"corrected\"}") == 1).then_some(())
    });
    assert_eq!(metric(&second, "template_events_total{state=\"restored\"}"), 3);
}

#[test]
fn damage_age_and_newer_formats_cost_what_they_hit_and_never_the_start() {
    let site = Site::new();
    let (first, mut exporter) = taught(&site);
    ends_well(first);
    let whole = copy(&site.snapshot());
    // At the marker, in a length, in the payload, at the end, and in the header.
    for (at, why) in [(32, "marker"), (38, "length"), (60, "payload"), (whole.len() - 1, "end"), (3, "header")] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(site.snapshot(), &damaged).expect("a snapshot can be written");
        let second = site.start(&[]);
        assert_eq!((restored(&second, "restored"), restored(&second, "damaged")), (0, 1), "{why}");
        exporter.introduce(&second);
        exporter.flow(&second, 3);
        decoded(&second, 1);
        second.process.kill();
    }
    // The time of its making is in the header: 25 hours ago, and its checksum right.
    let mut old = whole.clone();
    let written = u64::from_be_bytes(old[12..20].try_into().expect("eight"));
    let then = written - Duration::from_secs(25 * 3_600).as_nanos() as u64;
    old[12..20].copy_from_slice(&then.to_be_bytes());
    let crc = crc32fast::hash(&old[..28]);
    old[28..32].copy_from_slice(&crc.to_be_bytes());
    // So are those of its records: the last eight octets of whose it is, and both checksums.
    let head = 32;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&old[head..head + 12]);
    hasher.update(&then.to_be_bytes());
    let crc = hasher.finalize();
    old[head + 12..head + 16].copy_from_slice(&crc.to_be_bytes());
    fs::write(site.snapshot(), &old).expect("a snapshot can be written");
    let second = site.start(&[]);
    assert_eq!((restored(&second, "restored"), restored(&second, "too_old")), (0, 1), "{}", second.process.log());
    second.process.kill();
    // A newer format is kept for the program that can read it.
    let mut newer = whole;
    newer[9] = 9;
    let crc = crc32fast::hash(&newer[..28]);
    newer[28..32].copy_from_slice(&crc.to_be_bytes());
    fs::write(site.snapshot(), &newer).expect("a snapshot can be written");
    let mut second = site.start(&[]);
    second.process.line("format version 9");
    assert_eq!(metric(&second, "state_snapshot_failures_total"), 1);
    assert_eq!(copy(&site.snapshot().with_extension("snapshot.newer")), newer);
}

#[test]
fn a_directory_that_cannot_be_used_is_a_line_and_a_count() {
    let site = Site::new();
    fs::write(site.dir.path().join("state"), b"in the way").expect("a file");
    let mut collector = site.start(&[]);
    collector.process.line("no directory for learned state can be had");
    let mut exporter = Exporter::new();
    exporter.introduce(&collector);
    exporter.flow(&collector, 1);
    decoded(&collector, 1);
    assert!(metric(&collector, "state_snapshot_failures_total") >= 1);
    // What was in the way goes: the next turn finds its place.
    fs::remove_file(site.dir.path().join("state")).expect("it can go");
    wait_for("a snapshot after all", || site.snapshot().exists().then_some(()));
    ends_well(collector);
}
