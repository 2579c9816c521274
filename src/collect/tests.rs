//! Tests of the whole receiving side on loopback, and what the tests of its parts share.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::exporters::lock;
use super::*;
use crate::clock::Clock;
use crate::decode::Selection;
use crate::metrics::{Metrics, Shape};

/// `listeners` named l0, l1, .. on loopback, free ports.
pub(super) fn settings(listeners: usize, workers: usize) -> CollectSettings {
    let listener = |i: usize| ListenerSettings {
        name: format!("l{i}"),
        address: IpAddr::from([127, 0, 0, 1]),
        port: 0,
        interface: None,
        tenant: String::new(),
    };
    CollectSettings {
        listeners: (0..listeners).map(listener).collect(),
        workers,
        receive_buffer: 4 << 20,
        pin: Pin::Off,
        steering: Steering::Kernel,
        exclusive: false,
        rules: Vec::new(),
        admission: AdmissionSettings::default(),
        decode: DecodeSettings {
            selection: Selection::CORE,
            sampling_default: None,
            sampling_override: None,
            park_age_ns: 60_000_000_000,
            ..DecodeSettings::default()
        },
        switch_id_from_ip: true,
        switch_id: String::new(),
        parked_octets_max: 1 << 20,
        park_dir: None,
        parked_disk_octets_max: 1 << 26,
        learned_octets_max: 1 << 20,
        flow_batch_age: Duration::from_millis(20),
        rejected_octets_max: crate::limits::REJECTED_OCTETS.default,
        silence_hint: Duration::from_secs(60),
    }
}

/// A rule that changes nothing.
pub(super) fn rule(prefix: &str, length: u8) -> ExporterRule {
    ExporterRule {
        prefix: (prefix.parse().expect("address"), length),
        listener: None,
        domain: None,
        name: None,
        tenant: None,
        switch_id: None,
        sampling_default: None,
        sampling_override: None,
        session: None,
        profile: Profile::default(),
        datagrams_per_second: None,
        octets_per_second: None,
    }
}

pub(super) fn metrics(listeners: usize, workers: usize) -> Arc<Metrics> {
    Metrics::new(&Shape {
        listeners: (0..listeners).map(|i| format!("l{i}")).collect(),
        workers,
        batchers: 1,
        sink: "test",
        instance: "test".into(),
    })
}

/// A v5 datagram with `count` records and sequence number `sequence`.
pub(super) fn v5(count: u16, sequence: u32, engine: u8) -> Vec<u8> {
    let mut octets = Vec::with_capacity(24 + 48 * usize::from(count));
    octets.extend(5_u16.to_be_bytes());
    octets.extend(count.to_be_bytes());
    octets.extend(60_000_u32.to_be_bytes());
    octets.extend(1_700_000_000_u32.to_be_bytes());
    octets.extend(0_u32.to_be_bytes());
    octets.extend(sequence.to_be_bytes());
    octets.extend([0, engine, 0, 0]);
    for i in 0..count {
        let mut record = [0_u8; 48];
        record[..4].copy_from_slice(&[192, 0, 2, 1]);
        record[4..8].copy_from_slice(&[198, 51, 100, 1]);
        record[16..20].copy_from_slice(&1_u32.to_be_bytes());
        record[20..24].copy_from_slice(&(sequence + u32::from(i)).to_be_bytes());
        record[24..28].copy_from_slice(&50_000_u32.to_be_bytes());
        record[28..32].copy_from_slice(&55_000_u32.to_be_bytes());
        record[38] = 17;
        octets.extend(record);
    }
    octets
}

/// Stands in for the queue: keeps the batches and plays their delivery in the books.
#[derive(Clone, Default)]
pub(super) struct Queue {
    pub batches: Arc<Mutex<Vec<FlowBatch>>>,
    pub records: Arc<AtomicU64>,
}

impl HandOver for Queue {
    fn first_batch(&self) -> Box<FlowBatch> {
        Box::new(FlowBatch::with_capacity(crate::limits::FLOW_BATCH_RECORDS))
    }

    fn hand_over(&self, batch: &mut Box<FlowBatch>) {
        let full = std::mem::replace(batch, self.first_batch());
        self.records.fetch_add(full.len() as u64, Ordering::AcqRel);
        lock(&self.batches).push(*full);
    }
}

/// Waits for `condition` for up to ten seconds.
pub(super) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "not within ten seconds: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(super) struct Running {
    pub workers: Workers,
    pub metrics: Arc<Metrics>,
    pub table: Arc<ExporterTable>,
    pub queue: Queue,
    pub addresses: Vec<SocketAddr>,
}

pub(super) fn bind(settings: &CollectSettings) -> (Collector, Arc<Metrics>) {
    let metrics = metrics(settings.listeners.len(), settings.workers);
    (Collector::bind(settings.clone(), Clock::system(), &metrics).expect("bind"), metrics)
}

pub(super) fn run(collector: Collector, metrics: Arc<Metrics>) -> Running {
    let (table, queue) = (collector.table(), Queue::default());
    let addresses = collector.addresses().into_iter().map(|(_, a)| a).collect();
    let senders = metrics.workers().iter().map(|_| Box::new(queue.clone()) as Box<dyn HandOver>).collect();
    let workers = collector.start(senders, metrics.workers().to_vec()).expect("start");
    Running { workers, metrics, table, queue, addresses }
}

fn start(settings: &CollectSettings) -> Running {
    let (collector, metrics) = bind(settings);
    run(collector, metrics)
}

fn sender(address: &str) -> UdpSocket {
    UdpSocket::bind((address, 0)).expect("bind a sender")
}

/// Octets of no version: they are received and rejected whatever the decoder knows.
const JUNK: [u8; 4] = [0xff; 4];

#[test]
fn both_families_come_in_on_one_socket_with_the_folded_address() {
    let mut s = settings(1, 1);
    s.listeners[0].address = "::".parse().expect("address");
    let running = start(&s);
    let port = running.addresses[0].port();
    let (v4, v6) = (sender("127.0.0.1"), UdpSocket::bind("[::1]:0"));
    v4.send_to(&v5(2, 0, 0), ("127.0.0.1", port)).expect("send");
    let mut expected = vec![IpAddr::from([127, 0, 0, 1])];
    if let (Ok(v6), true) = (v6, running.addresses[0].is_ipv6()) {
        v6.send_to(&v5(3, 0, 0), ("::1", port)).expect("send");
        expected.push("::1".parse().expect("address"));
    } else {
        eprintln!("skipped in part: no IPv6 here");
    }
    let books = &running.metrics.books;
    wait_for("all datagrams", || books.ledger().datagrams_explained == expected.len() as u64);
    let seen: Vec<IpAddr> = running.table.snapshot(0).iter().map(|e| e.address).collect();
    assert_eq!(seen, expected, "needs the decoder");
    assert!(running.workers.drain(Duration::from_secs(5)).is_clean());
}

#[test]
fn a_18_kernel_drops_are_exact() {
    // Nobody reads: the collector is bound and not started.
    let mut s = settings(1, 1);
    s.receive_buffer = 64 << 10;
    let (collector, metrics) = bind(&s);
    let (to, from) = (collector.addresses()[0].1, sender("127.0.0.1"));
    let sent = 1_000_u64;
    for _ in 0..sent {
        from.send_to(&[0xff; 1_400], to).expect("send");
    }
    let running = run(collector, metrics);
    let ledger = || running.metrics.books.ledger();
    wait_for("drops and datagrams", || ledger().datagrams_received + ledger().kernel_dropped == sent);
    let ledger = ledger();
    assert!(ledger.kernel_dropped > 0 && ledger.datagrams_received > 0, "{ledger:?}");
    let socket = &running.metrics.workers()[0].sockets[0];
    wait_for("octets", || socket.octets.value() == 1_400 * ledger.datagrams_received);
    assert!(running.workers.drain(Duration::from_secs(5)).is_clean());
    let ledger = running.metrics.books.ledger();
    assert_eq!(ledger.datagrams_received + ledger.kernel_dropped, sent);
    assert_eq!(ledger.datagrams_explained, ledger.datagrams_received);
}

#[test]
fn records_arrive_whole_with_times_and_the_books_balance() {
    let running = start(&settings(2, 2));
    let before = Clock::system().unix_ns();
    let (datagrams, count) = (200_u32, 10_u16);
    for (i, to) in running.addresses.iter().enumerate() {
        let from = sender("127.0.0.1");
        for d in 0..datagrams {
            from.send_to(&v5(count, d * u32::from(count), u8::try_from(i).expect("few")), to).expect("send");
        }
    }
    let sent = u64::from(datagrams) * 2;
    let books = &running.metrics.books;
    wait_for("all datagrams", || books.ledger().datagrams_explained + books.ledger().kernel_dropped == sent);
    assert_eq!(books.ledger().kernel_dropped, 0);
    let (metrics, table, queue) = (running.metrics, running.table, running.queue);
    assert!(running.workers.drain(Duration::from_secs(5)).is_clean());
    let ledger = metrics.books.ledger();
    assert_eq!(ledger.datagrams_received, sent);
    assert_eq!(ledger.datagrams_explained, sent);
    assert_eq!(ledger.sets_explained, ledger.sets_seen);
    assert_eq!(ledger.held, 0);
    assert_eq!(ledger.decoded, sent * u64::from(count), "needs the decoder");
    assert_eq!(queue.records.load(Ordering::Acquire), ledger.decoded);
    assert_eq!(metrics.books.missing.iter().map(crate::metrics::Tally::value).sum::<u64>(), 0);
    // Each serial once per listener: what was handed over is what was sent.
    let batches = lock(&queue.batches);
    let mut serials: Vec<u64> = batches.iter().flat_map(|b| b.records.iter().map(|r| r.bytes)).collect();
    serials.sort_unstable();
    let expected: Vec<u64> = (0..u64::from(datagrams) * u64::from(count)).flat_map(|s| [s, s]).collect();
    assert_eq!(serials, expected);
    let after = Clock::system().unix_ns();
    assert!(batches.iter().all(|b| before <= b.oldest_receive && b.oldest_receive <= b.newest_receive));
    assert!(batches.iter().all(|b| b.newest_receive <= after && !b.is_empty()));
    let status = table.snapshot(0);
    assert_eq!(status.len(), 1);
    assert!(status[0].known && status[0].datagrams == sent && status[0].records == ledger.decoded, "{status:?}");
}

#[test]
fn the_largest_datagram_is_not_cut() {
    let running = start(&settings(1, 1));
    sender("127.0.0.1").send_to(&vec![0xff; 65_507], running.addresses[0]).expect("send");
    let worker = &running.metrics.workers()[0];
    wait_for("the datagram", || running.metrics.books.ledger().datagrams_explained == 1);
    assert_eq!(worker.sockets[0].octets.value(), 65_507);
    let truncated = crate::decode::DecodeErrorKind::Truncated as usize;
    assert_eq!(worker.books.rejected[truncated].value(), 0);
    assert!(running.workers.drain(Duration::from_secs(5)).is_clean());
}

#[test]
fn two_collectors_share_a_port_and_one_leaves_without_loss() {
    let mut s = settings(1, 2);
    s.listeners[0].address = "0.0.0.0".parse().expect("address");
    let first = start(&s);
    s.listeners[0].port = first.addresses[0].port();
    let second = start(&s);
    assert_eq!(first.addresses[0].port(), second.addresses[0].port());
    let to = SocketAddr::from(([127, 0, 0, 1], s.listeners[0].port));
    let senders: Vec<UdpSocket> = (0..64).map(|_| sender("127.0.0.1")).collect();
    let mut sent = 0_u64;
    let mut burst = |rounds: usize, pause: Duration| {
        for _ in 0..rounds {
            for from in &senders {
                from.send_to(&JUNK, to).expect("send");
                sent += 1;
            }
            std::thread::sleep(pause);
        }
        sent
    };
    // What the kernel dropped on a starved machine is known, and was not lost by leaving.
    let received = |m: &Metrics| m.books.datagrams_received() + m.books.ledger().kernel_dropped;
    let before = burst(50, Duration::from_millis(1));
    wait_for("the first part", || received(&first.metrics) + received(&second.metrics) == before);
    assert!(received(&first.metrics) > 0 && received(&second.metrics) > 0, "the kernel spreads 64 ports");
    // While the first leaves, the burst goes on.
    let Running { workers, metrics: left, .. } = first;
    let leaving = std::thread::spawn(move || workers.drain(Duration::from_secs(5)));
    let sent = burst(200, Duration::from_micros(500));
    let report = leaving.join().expect("drain");
    if crate::collect::ports::sockets_on(to.port()).is_empty() {
        eprintln!("skipped: /proc/net/udp is not readable here, so nobody knows of the other collector");
        return;
    }
    assert_eq!(report.left, [("l0".to_owned(), LeavingSocket::Left)]);
    assert!(report.is_clean(), "{report:?}");
    wait_for("all of it", || received(&left) + received(&second.metrics) == sent);
    let at_rest = received(&left);
    // The last one alone has nobody to leave to.
    let report = second.workers.drain(Duration::from_secs(5));
    assert_eq!(report.left, [("l0".to_owned(), LeavingSocket::Alone)]);
    assert_eq!(received(&left), at_rest);
    for books in [&left.books, &second.metrics.books] {
        assert_eq!(books.ledger().datagrams_explained, books.ledger().datagrams_received);
    }
}

#[test]
fn steering_by_source_keeps_an_address_on_one_worker() {
    let mut s = settings(1, 4);
    s.listeners[0].address = "::".parse().expect("address");
    s.steering = Steering::Source;
    s.exclusive = true;
    let running = start(&s);
    let port = running.addresses[0].port();
    let per_worker =
        || -> Vec<u64> { running.metrics.workers().iter().map(|w| w.sockets[0].received.value()).collect() };
    let mut workers_used = 0;
    for host in 1..=40_u8 {
        let before = per_worker();
        // Eight ports of one address: the kernel's hash would spread them.
        for _ in 0..8 {
            sender(&format!("127.0.1.{host}")).send_to(&JUNK, ("127.0.0.1", port)).expect("send");
        }
        let total: u64 = before.iter().sum();
        wait_for("eight datagrams", || per_worker().iter().sum::<u64>() == total + 8);
        let grown: Vec<u64> = per_worker().iter().zip(&before).map(|(a, b)| a - b).collect();
        assert_eq!(grown.iter().filter(|g| **g != 0).count(), 1, "{grown:?}");
        workers_used |= 1 << grown.iter().position(|g| *g != 0).expect("one");
    }
    // 40 addresses over 4 sockets: a program that gives the same index to all would not do.
    assert_eq!(workers_used, 0b1111);
    assert!(running.workers.drain(Duration::from_secs(5)).is_clean());
}

#[test]
fn random_steering_uses_all_workers_for_one_sender() {
    let mut s = settings(1, 2);
    (s.steering, s.exclusive) = (Steering::Random, true);
    let running = start(&s);
    let from = sender("127.0.0.1");
    for _ in 0..200 {
        from.send_to(&JUNK, running.addresses[0]).expect("send");
    }
    wait_for("all", || running.metrics.books.datagrams_received() == 200);
    assert!(running.metrics.workers().iter().all(|w| w.sockets[0].received.value() > 50));
    assert!(running.workers.drain(Duration::from_secs(5)).is_clean());
}

#[test]
fn a_worker_that_fails_is_named_and_its_batch_still_leaves() {
    struct Failing(Queue);
    impl HandOver for Failing {
        fn first_batch(&self) -> Box<FlowBatch> {
            panic!("no batch to begin with");
        }
        fn hand_over(&self, batch: &mut Box<FlowBatch>) {
            self.0.hand_over(batch);
        }
    }
    let s = settings(1, 1);
    let (collector, metrics) = bind(&s);
    let sender: Box<dyn HandOver> = Box::new(Failing(Queue::default()));
    let workers = collector.start(vec![sender], metrics.workers().to_vec()).expect("start");
    wait_for("its end", || workers.any_dead().is_some());
    assert_eq!(workers.any_dead().as_deref(), Some("worker-0"));
    assert_eq!(workers.drain(Duration::from_secs(1)).panicked, ["worker-0"]);
}

#[test]
fn drain_ends_idle_workers_at_once_and_gives_their_senders_back() {
    let running = start(&settings(1, 2));
    assert_eq!(running.workers.any_dead(), None);
    let queue = running.queue;
    // Three: this one and the two of the workers.
    assert_eq!(Arc::strong_count(&queue.records), 3);
    let report = running.workers.drain(Duration::from_secs(5));
    assert!(report.is_clean() && report.left == [("l0".to_owned(), LeavingSocket::Alone)], "{report:?}");
    assert_eq!(Arc::strong_count(&queue.records), 1);
}

#[test]
fn workers_that_are_dropped_end_by_themselves() {
    let running = start(&settings(1, 2));
    drop(running.workers);
    wait_for("the workers' senders", || Arc::strong_count(&running.queue.records) == 1);
}
