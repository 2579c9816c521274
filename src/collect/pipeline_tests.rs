use std::time::Duration;

use super::*;
use crate::collect::tests::{Queue, metrics, settings, v5};
use crate::metrics::Metrics;

struct Rig {
    pipeline: Pipeline,
    metrics: Arc<Metrics>,
    table: Arc<ExporterTable>,
    queue: Queue,
}

fn rig(batch_age: Duration) -> Rig {
    let metrics = metrics(1, 1);
    let table = Arc::new(ExporterTable::new(&settings(1, 1), metrics.books.clone()).expect("table"));
    let queue = Queue::default();
    let pipeline = Pipeline::new(PipelineParts {
        table: Arc::clone(&table),
        notices: Arc::default(),
        metrics: metrics.worker(0),
        sender: Box::new(queue.clone()),
        listeners: vec!["l0".into()],
        batch_age_ns: u64::try_from(batch_age.as_nanos()).expect("short"),
        window: 128,
    });
    Rig { pipeline, metrics, table, queue }
}

fn raw(octets: &[u8]) -> RawDatagram<'_> {
    RawDatagram { peer: SocketAddr::from(([192, 0, 2, 1], 5_000)), receive_ns: None, octets, truncated: false }
}

#[test]
fn what_is_no_message_is_rejected_and_counted() {
    let mut rig = rig(Duration::ZERO);
    rig.pipeline.begin(1);
    rig.pipeline.take(0, &raw(&[]), 7);
    rig.pipeline.take(0, &raw(&[0xff; 100]), 7);
    rig.pipeline.take(0, &RawDatagram { truncated: true, ..raw(&[0, 5]) }, 7);
    assert_eq!(rig.metrics.books.ledger().datagrams_explained, 0, "only a turn's end publishes");
    rig.pipeline.end();
    assert_eq!(rig.metrics.books.ledger().datagrams_explained, 3);
    assert_eq!(rig.metrics.books.rejected[DecodeErrorKind::Truncated as usize].value(), 1);
    assert!(rig.table.is_empty(), "nobody is made an exporter by junk");
}

#[test]
fn a_batch_leaves_full_or_old_and_is_held_until_then() {
    let mut rig = rig(Duration::from_nanos(50));
    let held = rig.metrics.worker(0).held;
    rig.pipeline.begin(100);
    rig.pipeline.take(0, &raw(&v5(30, 0, 0)), 7);
    rig.pipeline.end();
    assert_eq!(held.value(), 30, "needs the decoder");
    assert_eq!(rig.pipeline.time_left(120), Some(30));
    rig.pipeline.hand_over_if_old(149);
    assert_eq!(rig.queue.records.load(Ordering::Acquire), 0);
    rig.pipeline.hand_over_if_old(150);
    assert_eq!((rig.queue.records.load(Ordering::Acquire), held.value()), (30, 0));
    assert_eq!(rig.pipeline.time_left(150), None);
    // 64 datagrams of 30 are more than a batch: it leaves in the middle of the turn.
    rig.pipeline.begin(200);
    for d in 0..64 {
        rig.pipeline.take(0, &raw(&v5(30, 30 + d * 30, 0)), 8);
        assert!(rig.metrics.books.records_decoded() >= rig.queue.records.load(Ordering::Acquire));
    }
    rig.pipeline.end();
    assert!(rig.queue.records.load(Ordering::Acquire) >= 30 + 1_024);
    rig.pipeline.hand_over();
    assert_eq!(rig.queue.records.load(Ordering::Acquire), 65 * 30);
    assert_eq!(rig.metrics.books.records_decoded(), 65 * 30);
    assert_eq!(rig.metrics.books.missing.iter().map(crate::metrics::Tally::value).sum::<u64>(), 0);
}

#[test]
fn a_gap_in_the_sequence_is_counted_once_it_has_left_the_window() {
    let mut rig = rig(Duration::from_secs(1));
    for turn in 0..40_u32 {
        rig.pipeline.begin(1);
        for d in turn * 64..(turn + 1) * 64 {
            // Datagram 10 never comes: its 30 flows are missing.
            if d != 10 {
                rig.pipeline.take(0, &raw(&v5(30, d * 30, 0)), 8);
            }
        }
        rig.pipeline.end();
    }
    let missing = rig.metrics.books.missing[crate::flow::Version::V5.index()].value();
    assert_eq!(missing, 30, "needs the decoder");
}

#[test]
fn a_forgotten_exporter_is_found_again_in_the_next_turn() {
    let mut rig = rig(Duration::from_secs(1));
    let send = |rig: &mut Rig, sequence| {
        rig.pipeline.begin(1);
        rig.pipeline.take(0, &raw(&v5(1, sequence, 0)), 8);
        rig.pipeline.end();
    };
    send(&mut rig, 0);
    assert_eq!(rig.table.len(), 1, "needs the decoder");
    rig.table.maintain(u64::MAX, &rig.metrics.books);
    assert_eq!(rig.table.len(), 0);
    send(&mut rig, 1);
    assert_eq!(rig.table.len(), 1, "the cache must not keep a domain that was retired");
    assert_eq!(rig.table.snapshot()[0].datagrams, 1);
}
