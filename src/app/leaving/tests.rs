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

/// A collector in which one thread hangs, from the load to the end of its drain.
mod hung {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use super::*;
    use crate::app::{App, Running};
    use crate::clock::Clock;
    use crate::collect::ListenerSettings;
    use crate::config;
    use crate::flow::{FlowBatch, Version};
    use crate::queue::Outlet;
    use crate::sink::BackendUrl;
    use crate::sink::encode::EncodedBatch;
    use crate::tools::backend::{Backend, BackendOptions};
    use crate::tools::generate::{GenerateOptions, run_with};

    static A_BATCHER_HANGS: AtomicBool = AtomicBool::new(false);
    static A_WORKER_HANGS: AtomicBool = AtomicBool::new(false);

    fn for_ever(tell: &AtomicBool) -> ! {
        tell.store(true, Ordering::Release);
        loop {
            std::thread::park();
        }
    }

    /// Hangs at the first offer, and passes all others on.
    struct StuckOutlet {
        behind: Arc<dyn Outlet>,
        stuck: AtomicBool,
    }

    impl Outlet for StuckOutlet {
        fn offer(&self, batch: EncodedBatch) -> Result<(), EncodedBatch> {
            if !self.stuck.swap(true, Ordering::AcqRel) {
                for_ever(&A_BATCHER_HANGS);
            }
            self.behind.offer(batch)
        }
    }

    /// Hangs when it is to hand over.
    struct StuckHandOver {
        behind: Box<dyn HandOver>,
        hangs: bool,
    }

    impl HandOver for StuckHandOver {
        fn first_batch(&self) -> Box<FlowBatch> {
            self.behind.first_batch()
        }

        fn hand_over(&self, batch: &mut Box<FlowBatch>) {
            if self.hangs && !batch.is_empty() {
                for_ever(&A_WORKER_HANGS);
            }
            self.behind.hand_over(batch);
        }
    }

    static FIRST_WORKER: AtomicBool = AtomicBool::new(true);

    fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !done() {
            assert!(Instant::now() < end, "waited in vain for: {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Starts with `entry`, sends until `name` hangs, lets the clock go on, and drains.
    fn run(entry: Entry, name: &str, hangs: &AtomicBool) {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let options = BackendOptions { listen: (local, 0).into(), ..BackendOptions::default() };
        let backend = Backend::start(options).expect("a backend");
        let mut settings = config::defaults();
        let address = backend.address();
        settings.instance = Some("test".to_owned());
        settings.data_dir = None;
        settings.collect.listeners = vec![ListenerSettings {
            name: "test".to_owned(),
            address: local,
            port: 0,
            interface: None,
            tenant: String::new(),
        }];
        settings.collect.workers = 2;
        settings.queue.batchers = 2;
        settings.queue.batch_size = 100;
        settings.web.bind = local;
        settings.web.ports = 0..=0;
        settings.sink.backend = BackendUrl {
            tls: false,
            host: address.ip().to_string(),
            port: address.port(),
            path: "/api/netflow/netflow".to_owned(),
            display: format!("http://{address}"),
        };
        settings.shutdown_timeout = Duration::from_secs(6);
        let (clock, hand) = Clock::manual(1_700_000_000_000_000_000);
        let running: Running = App::start_from(settings, clock, entry).expect("a collector");
        let metrics = Arc::clone(&running.metrics);
        let mut options = GenerateOptions::new(running.listeners()[0].1, 20_000);
        (options.exporters, options.versions, options.records) = (32, vec![Version::V5], Some(20_000));
        let sent = run_with(options, Arc::default()).expect("sent");

        // A batch that is not full is handed over when it is old.
        hand.advance(1_000_000_000);
        wait_for(&format!("{name} to hang"), || hangs.load(Ordering::Acquire));
        // Time goes on for all; only who hangs does not follow.
        let heartbeats = running.heartbeats();
        hand.advance((HEARTBEAT_STALE_S + 1) * 1_000_000_000);
        let alone = || {
            let stale = heartbeats.stale();
            stale.len() == 1 && stale[0].starts_with(name)
        };
        wait_for(&format!("{name} to stand still alone"), alone);
        let mut watch = HangWatch::new(running.heartbeats(), &metrics);
        let looks: Vec<Option<String>> = (0..HUNG_LOOKS).map(|_| watch.look()).collect();
        assert!(looks[..looks.len() - 1].iter().all(Option::is_none), "{looks:?}");
        let why = looks.last().cloned().flatten().expect("it was noticed");
        assert!(why.starts_with(name) && why.contains("stood still"), "{why}");
        assert!(metrics.books.threads_stale.value() >= 1.0);
        assert_eq!(running.fault(), None, "no thread has ended");

        let begun = Instant::now();
        let report = running.drain();
        assert!(begun.elapsed() < Duration::from_secs(6) + Duration::from_millis(DRAIN_OVERRUN_MS), "{report:?}");
        assert!(report.failed && !report.clean, "{report:?}");
        assert!(report.notes.iter().any(|n| n.starts_with(name) && n.ends_with("did not end")), "{report:?}");
        assert!(report.notes.iter().any(|n| n.contains("are lost with") && n.contains(name)), "{report:?}");
        let ledger = report.ledger;
        assert_eq!((ledger.held, ledger.imbalance()), (0, 0), "{report:?}");
        let hung = metrics.books.dropped[RecordDrop::ThreadHung as usize].value();
        assert!(hung > 0 && ledger.dropped == hung && ledger.delivered > 0, "{report:?}");
        assert_eq!(ledger.delivered + hung, ledger.decoded, "all that the others had was delivered: {report:?}");
        assert!(ledger.decoded <= sent.records);
    }

    #[test]
    fn a_batcher_that_hangs_is_named_and_takes_only_its_own_with_it() {
        let between = |behind| Arc::new(StuckOutlet { behind, stuck: AtomicBool::new(false) }) as Arc<dyn Outlet>;
        run(Entry { before_outlet: Some(between), ..Entry::default() }, "batcher-", &A_BATCHER_HANGS);
    }

    #[test]
    fn a_worker_that_hangs_is_named_and_does_not_keep_the_queue_open() {
        let between = |behind| {
            let hangs = FIRST_WORKER.swap(false, Ordering::AcqRel);
            Box::new(StuckHandOver { behind, hangs }) as Box<dyn HandOver>
        };
        run(Entry { before_queue: Some(between), ..Entry::default() }, "worker-0", &A_WORKER_HANGS);
    }
}
