use super::*;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_thread_hangs_only_if_it_stands_still_at_look_after_look() {
    let mut suspects = Suspects::default();
    // A process that was stopped: all are stale once, and beat again.
    assert_eq!(suspects.look(names(&["worker-0", "worker-1", "monitor"])), None);
    assert_eq!(suspects.look(vec![]), None);
    for _ in 1..HUNG_LOOKS {
        assert_eq!(suspects.look(names(&["worker-1", "monitor"])), None);
    }
    // The other one has begun to beat.
    assert_eq!(suspects.look(names(&["monitor"])), Some("monitor".to_owned()));
}

#[test]
fn what_a_hung_thread_holds_is_written_off_by_name() {
    let shape = crate::metrics::Shape {
        listeners: vec!["2055".into()],
        workers: 2,
        batchers: 2,
        sink: "backend",
        instance: "test".into(),
    };
    let metrics = Metrics::new(&shape);
    metrics.books.decoded[0].add(17);
    metrics.worker(1).held.set(5);
    metrics.batcher(0).held.set(3);
    metrics.queue().held.add(9);
    let mut notes = Vec::new();
    write_off(&metrics, &[], &[], &mut notes);
    assert_eq!(metrics.books.ledger().held, 17, "nobody hangs");
    write_off(&metrics, &names(&["worker-1"]), &[0], &mut notes);
    let ledger = metrics.books.ledger();
    assert_eq!((ledger.held, ledger.dropped, ledger.imbalance()), (0, 17, 0));
    assert_eq!(
        notes,
        ["5 records are lost with worker-1", "3 records are lost with batcher-0", "9 records are lost with the queue"]
    );
}

#[test]
fn the_last_resort_comes_only_to_a_drain_that_hangs() {
    let shape =
        crate::metrics::Shape { listeners: vec![], workers: 1, batchers: 1, sink: "backend", instance: "test".into() };
    let (told, ended) = channel();
    let end = move || told.send(()).expect("somebody listens");
    let guard = LastResort::arm(Duration::from_secs(600), Metrics::new(&shape), end).expect("a thread");
    drop(guard);
    // The thread has gone, and its closure with it, without having been called.
    assert_eq!(ended.recv_timeout(Duration::from_secs(20)), Err(RecvTimeoutError::Disconnected));
}
