use super::*;
use crate::collect::tests::metrics;
use crate::decode::{DecodeSettings, DomainKey, ExporterState, Session};
use crate::flow::{Exporter, Version};
use crate::metrics::Metrics;

const SECOND: u64 = 1_000_000_000;

/// Both ends by hand: nothing runs but what a test lets run.
struct Rig {
    door: Arc<Door>,
    jobs: Receiver<Job>,
    keeper: Keeper,
    metrics: Arc<Metrics>,
    dir: tempfile::TempDir,
    state: Arc<ExporterState>,
}

impl Rig {
    fn new(octets_max: u64) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let metrics = metrics(1, 1);
        let (door, jobs, keeper) =
            parts(dir.path(), octets_max, 100 * SECOND, metrics.books.clone()).expect("a directory");
        let exporter = Arc::new(Exporter::of_address([192, 0, 2, 1].into()));
        let overflow = Arc::clone(&door) as Arc<dyn ParkOverflow>;
        let state = ExporterState::new(exporter, DecodeSettings::default(), Arc::default()).overflowing_to(overflow);
        let state = Arc::new(state);
        Self { door, jobs, keeper, metrics, dir, state }
    }

    fn domain(&self) -> Arc<Domain> {
        let key = DomainKey { session: Session::Any, version: Version::V9, observation_domain: 1 };
        Arc::new_cyclic(|me| Domain::new(key, Arc::clone(&self.state), None).reachable_as(me.clone()))
    }

    /// As the decoder does it, with the books of a worker.
    fn offer(&self, domain: &Arc<Domain>, receive_ns: u64, body: &[u8]) -> Stored {
        domain.came_to_disk(1);
        let stored = self.door.store(domain, &set(receive_ns, body));
        if stored == Stored::Taken {
            self.metrics.books.sets_parked_disk.add(1);
        } else {
            domain.left_disk(1);
        }
        stored
    }

    fn run(&mut self) {
        while let Ok(job) = self.jobs.try_recv() {
            self.keeper.work(job);
        }
        self.keeper.look_where_due();
    }

    fn dropped(&self, kind: SetDropKind) -> u64 {
        self.metrics.books.sets_dropped[kind as usize].value()
    }

    /// Nothing is left, and nothing is counted that is not there.
    fn assert_empty(&self, domain: &Domain) {
        let counts = &self.keeper.counts;
        let of = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        assert_eq!((of(&counts.octets), of(&counts.sets), of(&counts.pending)), (0, 0, 0));
        assert_eq!((of(&domain.exporter.kept_octets), domain.sets_on_disk()), (0, 0));
        assert_eq!(self.metrics.books.sets_parked_disk.value(), 0);
        assert!(self.keeper.rooms.is_empty());
    }
}

fn set(receive_ns: u64, body: &[u8]) -> WaitingSet<'_> {
    let header = Header {
        version: Version::V9,
        observation_domain: 1,
        sequence: 0,
        export_ms: 0,
        sys_uptime_ms: 0,
        count_or_length: 1,
        sampling: 0,
    };
    WaitingSet { id: 256, port: 5_000, receive_ns, header, body }
}

#[test]
fn the_bounds_of_files_exporters_sets_on_their_way_and_messages_hold() {
    let mut rig = Rig::new(1 << 20);
    let domain = rig.domain();
    // A quarter of the files is one exporter's.
    let entry = entry_octets(60_000);
    for n in 0..(1 << 18) / entry {
        assert_eq!(rig.offer(&domain, n, &[0; 60_000]), Stored::Taken);
    }
    assert_eq!(rig.offer(&domain, 9, &[0; 60_000]), Stored::Full);
    rig.run();
    rig.keeper.tick(200 * SECOND);
    assert_eq!(rig.dropped(SetDropKind::ParkDiskExpired), (1 << 18) / entry);
    rig.assert_empty(&domain);
    // What is under way: 8 MiB, however large the files may be.
    let mut rig = Rig::new(1 << 30);
    let domain = rig.domain();
    let taken = (0..200).take_while(|n| rig.offer(&domain, *n, &[0; 60_000]) == Stored::Taken).count() as u64;
    assert_eq!(taken, PARKED_DISK_PENDING_OCTETS / entry);
    rig.run();
    assert_eq!(rig.offer(&domain, 0, &[]), Stored::Taken);
    let more = (0..5_000).take_while(|n| rig.offer(&domain, *n, &[]) == Stored::Taken).count();
    assert_eq!(more + 1, PARKED_DISK_JOBS, "the channel is full");
    assert_eq!(rig.offer(&domain, 0, &[]), Stored::Busy);
    rig.run();
    domain.retired.store(true, Ordering::Release);
    rig.keeper.tick(0);
    assert_eq!(rig.dropped(SetDropKind::Retired), taken + PARKED_DISK_JOBS as u64);
    rig.assert_empty(&domain);
    rig.door.counts.ended.store(true, Ordering::Release);
    assert_eq!(rig.offer(&domain, 0, &[]), Stored::Busy, "nothing is taken that nobody would count");
}

#[test]
fn what_the_disk_does_not_take_or_give_back_is_dropped_and_counted() {
    let mut rig = Rig::new(1 << 20);
    let domain = rig.domain();
    // Files of 16 KiB: the next set needs a new one, and there is no directory any more.
    assert_eq!(rig.offer(&domain, 1, &[0; 16_000]), Stored::Taken);
    rig.run();
    for file in std::fs::read_dir(rig.dir.path()).expect("the directory") {
        let file = std::fs::OpenOptions::new().write(true).open(file.expect("a file").path()).expect("open");
        file.set_len(100).expect("cut");
    }
    std::fs::remove_dir_all(rig.dir.path()).expect("remove");
    assert_eq!(rig.offer(&domain, 2, &[0; 16_000]), Stored::Taken);
    rig.run();
    assert_eq!(rig.dropped(SetDropKind::ParkDiskFailed), 1);
    assert_eq!(domain.sets_on_disk(), 1);
    // The first is asked for, and cannot be read.
    let template = [0_u8, 9, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 12, 1, 0, 0, 1, 0, 8, 0, 4];
    let octets = &template;
    let header = crate::decode::identify(octets).expect("a header");
    let datagram = crate::decode::Datagram { peer: ([192, 0, 2, 1], 5_000).into(), receive_ns: 3, octets };
    let outcome = crate::decode::decode(&datagram, &header, &domain, &mut crate::flow::FlowBatch::with_capacity(1));
    assert_eq!(outcome.templates_learned, 1);
    rig.run();
    assert_eq!(rig.dropped(SetDropKind::ParkDiskFailed), 2);
    rig.assert_empty(&domain);
}

#[test]
fn a_directory_that_cannot_be_had_is_an_error() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("file"), b"").expect("write");
    let books = metrics(1, 1).books.clone();
    assert!(ParkDisk::start(&dir.path().join("file/park"), 1 << 20, SECOND, books).is_err());
}
