//! Sets that wait for their template on disk: from the datagram to the row.

use std::path::Path;

use super::*;
use crate::collect::park::ParkDisk;
use crate::collect::tests::wait_for;
use crate::decode::SetDropKind;
use crate::limits::PARKED_SETS_PER_EXPORTER_MAX;

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
/// The header clock of `message`, about.
const START: u64 = 1_700_000_000 * SECOND;
const AGE: u64 = 35 * MINUTE;

fn parking_rig(dir: &Path, octets_max: u64) -> (Rig, ParkDisk) {
    let metrics = metrics(1, 1);
    let park = ParkDisk::start(dir, octets_max, AGE, metrics.books.clone()).expect("a directory");
    let mut settings = settings(1, 1);
    settings.decode.park_disk_age_ns = AGE;
    let table = ExporterTable::new(&settings, metrics.books.clone()).expect("table").parking_at(park.door());
    let (table, queue) = (Arc::new(table), Queue::default());
    let pipeline = Pipeline::new(PipelineParts {
        table: Arc::clone(&table),
        notices: Arc::default(),
        metrics: metrics.worker(0),
        sender: Box::new(queue.clone()),
        listeners: vec!["l0".into()],
        rejected: None,
        batch_age_ns: SECOND,
        window: 128,
    });
    (Rig { pipeline, metrics, table, queue }, park)
}

impl Rig {
    fn turn(&mut self, datagrams: &[Vec<u8>], receive_ns: u64) {
        self.pipeline.begin(1);
        for (datagram, at) in datagrams.iter().zip(receive_ns..) {
            self.pipeline.take(0, &raw(datagram), at);
        }
        self.pipeline.end();
    }

    fn dropped(&self, kind: SetDropKind) -> u64 {
        self.metrics.books.sets_dropped[kind as usize].value()
    }

    fn on_disk(&self) -> u64 {
        self.metrics.books.sets_parked_disk.level()
    }

    fn assert_balance(&self) {
        let ledger = self.metrics.books.ledger();
        assert_eq!(ledger.sets_seen, ledger.sets_explained, "{ledger:?}");
    }
}

/// One record from 10.0.x.y, where x and y say `n`, in a message of second `n`.
fn data(n: u16) -> Vec<u8> {
    let mut octets = message(9, u32::from(n), &[set(256, &[0x0a00, n, 0xc633, 0x6401])]);
    octets[8..12].copy_from_slice(&(1_700_000_000 + u32::from(n)).to_be_bytes());
    octets
}

/// An address as rows have it.
fn address(octets: [u8; 4]) -> Option<std::net::IpAddr> {
    Some(octets.into())
}

fn template(sequence: u32) -> Vec<u8> {
    message(9, sequence, &[set(0, &TEMPLATE)])
}

#[test]
fn n9_15_sets_wait_on_disk_until_their_template_comes() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut rig, park) = parking_rig(&dir.path().join("park"), 1 << 26);
    let first: Vec<Vec<u8>> = (0..200).map(data).collect();
    rig.turn(&first, START);
    assert_eq!(rig.metrics.books.sets_parked.level(), PARKED_SETS_PER_EXPORTER_MAX);
    assert_eq!(rig.on_disk(), 200 - PARKED_SETS_PER_EXPORTER_MAX, "what memory has no room for");
    rig.assert_balance();
    for minute in 1..=20_u16 {
        let now = START + u64::from(minute) * MINUTE + SECOND;
        rig.table.maintain(now, &rig.metrics.books);
        rig.turn(&[data(199 + minute)], now);
        rig.assert_balance();
    }
    assert_eq!((rig.metrics.books.sets_parked.level(), rig.on_disk()), (2, 218), "memory waits for a minute");
    assert_eq!(rig.metrics.books.records_decoded(), 0);
    let now = START + 22 * MINUTE;
    rig.table.maintain(now, &rig.metrics.books);
    assert_eq!((rig.metrics.books.sets_parked.level(), rig.on_disk()), (0, 220));
    // The template, and again with each look: what is back is replayed with a datagram.
    let mut sequence = 300;
    wait_for("all rows", || {
        rig.turn(&[template(sequence)], now);
        sequence += 1;
        rig.assert_balance();
        rig.metrics.books.records_decoded() == 220
    });
    assert_eq!((rig.on_disk(), rig.metrics.books.sets_parked.level()), (0, 0));
    wait_for("the octets", || rig.metrics.books.parked_disk_bytes.value() == 0);
    assert_eq!(rig.metrics.books.parked_bytes.level(), 0);
    rig.pipeline.hand_over();
    let batches = rig.queue.batches.lock().expect("lock");
    let rows: Vec<_> = batches.iter().flat_map(|b| &b.records).collect();
    for (n, row) in rows.iter().enumerate() {
        let [high, low] = u16::try_from(n).expect("few").to_be_bytes();
        assert_eq!(row.src_ip(), address([10, 0, high, low]), "in order");
        assert_eq!(row.end_ms, START / 1_000_000 + 1_000 * n as u64, "with the clock of its message");
    }
    assert_eq!(batches.iter().map(|b| b.oldest_receive).min(), Some(START), "with its own receive time");
    drop(park);
    rig.assert_balance();
}

#[test]
fn n9_15_sets_on_disk_are_dropped_at_their_age() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut rig, _park) = parking_rig(dir.path(), 1 << 26);
    rig.turn(&(0..100).map(data).collect::<Vec<_>>(), START);
    for minute in 1..=36 {
        // So that the exporter is not forgotten.
        rig.turn(&[v5(1, minute, 0)], START + u64::from(minute) * MINUTE);
        rig.table.maintain(START + u64::from(minute) * MINUTE, &rig.metrics.books);
        if minute == 34 {
            assert_eq!((rig.on_disk(), rig.dropped(SetDropKind::ParkDiskExpired)), (100, 0));
        }
    }
    wait_for("their end", || rig.dropped(SetDropKind::ParkDiskExpired) == 100);
    assert_eq!((rig.on_disk(), rig.dropped(SetDropKind::ParkExpired)), (0, 0));
    rig.assert_balance();
}

#[test]
fn n9_15_a_flood_of_unknown_ids_stays_within_the_disk_s_bound() {
    const OCTETS_MAX: u64 = 1 << 24;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut rig, park) = parking_rig(dir.path(), OCTETS_MAX);
    let on_disk = || -> u64 {
        let files = std::fs::read_dir(dir.path()).expect("the directory");
        files.map(|f| f.expect("a file").metadata().expect("its length").len()).sum()
    };
    let (mut sequence, mut round) = (0_u32, 0_u16);
    // Six exporters, of which none has more than its part. A worker that is faster than the disk loses to `park_full`.
    wait_for("full files", || {
        rig.pipeline.begin(1);
        for _ in 0..20 {
            for exporter in 1..=6_u8 {
                let octets = message(9, sequence, &[set(256 + round % 5_000, &[7; 700])]);
                let peer = SocketAddr::from(([192, 0, 2, exporter], 5_000));
                rig.pipeline.take(0, &RawDatagram { peer, ..raw(&octets) }, START + u64::from(sequence));
                sequence += 1;
            }
            round += 1;
        }
        rig.pipeline.end();
        assert!(on_disk() <= OCTETS_MAX);
        rig.dropped(SetDropKind::ParkDiskFull) > 2_000
    });
    assert!(rig.on_disk() > 1_000, "{}", rig.on_disk());
    rig.assert_balance();
    let (kept, retired) = (rig.on_disk(), rig.dropped(SetDropKind::Retired));
    drop(park);
    assert_eq!(rig.on_disk(), 0, "what still waits is dropped at the end");
    assert_eq!(rig.dropped(SetDropKind::Retired), retired + kept);
    rig.assert_balance();
    assert_eq!(on_disk(), 0);
}

#[test]
fn n9_15_sets_on_disk_go_with_their_domain() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut rig, _park) = parking_rig(dir.path(), 1 << 26);
    rig.turn(&(0..100).map(data).collect::<Vec<_>>(), START);
    rig.table.maintain(START + 11 * MINUTE, &rig.metrics.books);
    wait_for("their end", || rig.dropped(SetDropKind::Retired) == 100);
    assert_eq!((rig.on_disk(), rig.metrics.books.sets_parked.level()), (0, 0));
    rig.assert_balance();
}

#[test]
fn n9_15_a_port_takes_its_sets_on_disk_into_its_own_domain() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut rig, _park) = parking_rig(dir.path(), 1 << 26);
    // IPFIX: sets of a port without templates wait in the address's domain.
    let ipfix = |n: u16, port: u16, sets: &[Vec<u8>]| (message(10, u32::from(n), sets), port);
    let take = |rig: &mut Rig, (octets, port): (Vec<u8>, u16)| {
        let peer = SocketAddr::from(([192, 0, 2, 1], port));
        rig.pipeline.begin(1);
        rig.pipeline.take(0, &RawDatagram { peer, ..raw(&octets) }, START);
        rig.pipeline.end();
    };
    // Two other ports disagree, so that the address has no template for it.
    for (port, template) in [(5_001, TEMPLATE), (5_002, [256, 2, 12, 4, 8, 4])] {
        take(&mut rig, ipfix(port, port, &[set(2, &template)]));
    }
    for n in 0..100 {
        take(&mut rig, ipfix(n, 5_000, &[set(256, &RECORD)]));
        take(&mut rig, ipfix(n, 5_003, &[set(257, &RECORD)]));
    }
    assert_eq!(rig.on_disk(), 200 - PARKED_SETS_PER_EXPORTER_MAX);
    rig.table.maintain(START, &rig.metrics.books);
    assert_eq!(rig.metrics.books.records_decoded(), 0);
    let mut n = 100;
    wait_for("all rows", || {
        take(&mut rig, ipfix(n, 5_000, &[set(2, &TEMPLATE)]));
        n += 1;
        rig.table.maintain(START, &rig.metrics.books);
        rig.metrics.books.records_decoded() == 100
    });
    assert_eq!(rig.on_disk() + rig.metrics.books.sets_parked.level(), 100, "the other port's stay");
    rig.assert_balance();
    rig.pipeline.hand_over();
    let batches = rig.queue.batches.lock().expect("lock");
    assert_eq!(batches.iter().flat_map(|b| &b.records).filter(|r| r.src_ip() == address([192, 0, 2, 1])).count(), 100);
}
