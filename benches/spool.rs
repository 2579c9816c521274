//! What a batch costs on its way through the disk, for each `[spool] fsync` and with and without `compress`.
//!
//! `append` is a backend that is away: batches of 1,000 records are offered as fast as the spool takes them, and the last
//! is on disk when the clock stops (with `always` it has reached it). `through` is `mode = "always"` with a backend that
//! accepts at once: each batch is appended, read back, handed out and closed. The directory is below cargo's target
//! directory: what a policy costs is the disk's affair, so put that on the disk in question (CARGO_TARGET_DIR).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clarion_collector::clock::Clock;
use clarion_collector::spool::{Entry, ExporterCount, Fsync, Inlet, Outlet, SpoolSettings, Stats, start};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const RECORDS: u32 = 1_000;

/// A body as the backend gets it: texts that differ as flows differ, so that zstd finds what it finds in truth.
fn batch() -> Entry {
    let mut body = b"{\"records\":[".to_vec();
    let mut record_ends = Vec::new();
    for index in 0..RECORDS {
        let wide = index.wrapping_mul(0x9e37_79b1);
        let [a, b, c, d] = wide.to_be_bytes();
        let separator = if index == 0 { "" } else { "," };
        let record = format!(
            "{separator}{{\"src_ip\":\"10.{a}.{b}.{c}\",\"dst_ip\":\"192.0.2.{d}\",\"src_port\":{},\"dst_port\":443,\
             \"protocol\":6,\"bytes\":{},\"packets\":{},\"flow_start\":{},\"flow_end\":{},\"switch_id\":\"198.51.100.{}\"}}",
            wide as u16,
            wide >> (wide % 24),
            wide >> (16 + wide % 12),
            1_700_000_000 + wide % 60,
            1_700_000_060 + wide % 9,
            index / 25 % 4
        );
        body.extend_from_slice(record.as_bytes());
        record_ends.push(u32::try_from(body.len()).expect("a small body"));
    }
    body.extend_from_slice(b"]}");
    Entry {
        id: [7; 16],
        part: 0,
        output: "backend".into(),
        format: "backend_json".into(),
        records: RECORDS,
        first_receive_ns: u64::MAX / 4,
        last_receive_ns: u64::MAX / 4,
        attempts: 0,
        repeated: false,
        exporters: vec![ExporterCount { key: "|198.51.100.1".into(), records: RECORDS }],
        record_ends,
        body: Bytes::from(body),
    }
}

/// Offers batches and, if so asked, takes them out again; returns when all have met their fate.
fn run(batches: u64, entry: &Entry, inlet: &Inlet, outlet: Option<&Outlet>, stats: &Stats) -> Duration {
    let records = u64::from(RECORDS) * batches;
    let (appended, closed) = (stats.appended.value() + records, stats.closed.value() + records);
    let (begun, mut offered) = (Instant::now(), 0);
    loop {
        let mut idle = true;
        if offered < batches && inlet.offer(entry.clone()).is_ok() {
            offered += 1;
            idle = false;
        }
        if let Some((outlet, spooled)) = outlet.and_then(|outlet| Some((outlet, outlet.next()?))) {
            outlet.close(spooled.ticket);
            idle = false;
        }
        let done = if outlet.is_some() { stats.closed.value() >= closed } else { stats.appended.value() >= appended };
        if done && stats.pending_records.value() == 0 {
            return begun.elapsed();
        }
        if idle {
            std::thread::park_timeout(Duration::from_micros(50));
        }
    }
}

fn spool(c: &mut Criterion) {
    let entry = batch();
    for way in ["append", "through"] {
        let mut group = c.benchmark_group(format!("spool_{way}"));
        group.throughput(Throughput::Elements(u64::from(RECORDS))).sample_size(10);
        group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
        println!("a batch is {} octets", entry.body.len());
        let interval = Fsync::Interval(Duration::from_secs(1));
        for (name, fsync) in [("never", Fsync::Never), ("interval", interval), ("always", Fsync::Always)] {
            for compress in [false, true] {
                let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
                let mut settings = SpoolSettings::new(directory.path().to_owned());
                // Small enough that the oldest make room: a spool that has been full for long costs the same.
                (settings.fsync, settings.compress, settings.limit) = (fsync, compress, Some(512 << 20));
                let stats = Stats::default();
                let (inlet, outlet, thread) =
                    start(settings, Clock::system(), stats.clone(), Arc::new(|| {})).expect("a thread");
                while stats.enabled.value() == 0 {
                    std::thread::park_timeout(Duration::from_millis(1));
                }
                let out = (way == "through").then_some(&outlet);
                let name = if compress { format!("{name}_zstd") } else { name.to_owned() };
                group.bench_function(name, |b| {
                    b.iter_custom(|batches| run(batches, &entry, &inlet, out, &stats));
                });
                let _ = thread.finish(Duration::from_secs(30));
            }
        }
    }
}

criterion_group!(benches, spool);
criterion_main!(benches);
