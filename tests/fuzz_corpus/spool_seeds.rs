//! Seeds of the target `spool`: segments as the spool writes them, and what a disk may make of them.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clarion_collector::clock::Clock;
use clarion_collector::spool::{Entry, ExporterCount, Fsync, SpoolSettings, Stats, start};

/// Waiting for a thread of ours: far more than it takes.
const PATIENCE: Duration = Duration::from_secs(30);

fn entry(number: u8, records: u32) -> Entry {
    let text = |serial| format!("{{\"serial\":{serial:04}}}");
    let body: String = (0..records).map(text).collect::<Vec<_>>().join(",");
    let width = text(0).len() as u32 + 1;
    Entry {
        id: [number; 16],
        part: u64::from(number % 3),
        output: "backend".into(),
        format: "backend-json".into(),
        records,
        first_receive_ns: 1_735_689_600_000_000_000 + u64::from(number),
        last_receive_ns: 1_735_689_601_000_000_000,
        attempts: u16::from(number),
        repeated: number % 2 == 1,
        exporters: vec![ExporterCount { key: "|192.0.2.1".into(), records }],
        record_ends: (1..=records).map(|n| n * width - 1).collect(),
        body: body.into_bytes().into(),
    }
}

/// The first segment that the spool writes for these entries.
fn segment(compress: bool, entries: &[Entry]) -> Vec<u8> {
    let root = tempfile::tempdir().expect("a directory");
    let (clock, _hand) = Clock::manual(1_735_689_602_000_000_000);
    let settings = SpoolSettings {
        compress,
        fsync: Fsync::Never,
        limit: Some(1 << 26),
        ..SpoolSettings::new(root.path().to_owned())
    };
    let stats = Stats::default();
    let (inlet, _outlet, thread) = start(settings, clock, stats, Arc::new(|| {})).expect("a thread");
    let deadline = Instant::now() + PATIENCE;
    for entry in entries {
        while inlet.offer(entry.clone()).is_err() {
            assert!(Instant::now() < deadline, "the spool takes nothing");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let report = thread.finish(PATIENCE).expect("in time");
    assert!(report.clean);
    read(&root.path().join("0/0000000000000001.seg"))
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Inputs of the target `spool`, each with the entries that can be read of it.
pub fn segments() -> Vec<(&'static str, Vec<u8>, usize)> {
    let three: Vec<Entry> = (1..=3).map(|number| entry(number, 3)).collect();
    let whole = segment(false, &three);
    let packed = segment(true, &[entry(1, 60), entry(2, 60)]);
    let mut hole = whole.clone();
    let second = 32 + (whole.len() - 32 - 80) / 3;
    hole[second..second + 90].fill(0);
    let mut flipped = whole.clone();
    flipped[second + 100] ^= 0x20;
    let torn = whole[..whole.len() - 200].to_vec();
    let mut headless = whole.clone();
    headless[..8].fill(b'x');
    let zeros = [&whole[..whole.len() - 80], &[0; 64][..]].concat();
    vec![
        ("closed", whole, 3),
        ("packed", packed, 2),
        ("hole", hole, 2),
        // Its checksum is made right again, and the text is text still.
        ("flipped", flipped, 3),
        ("torn", torn, 2),
        ("headless", headless, 3),
        ("zeros", zeros, 3),
    ]
}
