//! The thread as others see it, on real directories: the two ends, states, the end, replicas.

use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;
use std::{fs, io};

use super::super::stats::{SpoolDrop, SpoolState};
use super::super::testing::{entry, halves, serials};
use super::super::{Fsync, Room, WhenFull};
use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

fn settings(root: &Path) -> SpoolSettings {
    SpoolSettings {
        limit: Some(64 << 20),
        fsync: Fsync::Never,
        age: PATIENCE * 1_000_000_000,
        ..SpoolSettings::new(root.to_owned())
    }
}

struct Bench {
    inlet: Inlet,
    outlet: Outlet,
    thread: Thread,
    stats: Stats,
    woken: Arc<AtomicUsize>,
}

fn spool(settings: SpoolSettings) -> Bench {
    let (stats, woken) = (Stats::default(), Arc::new(AtomicUsize::new(0)));
    let waker = Arc::clone(&woken);
    let wake: Waker = Arc::new(move || {
        waker.fetch_add(1, Ordering::AcqRel);
    });
    let (inlet, outlet, thread) = start(settings, Clock::system(), stats.clone(), wake).unwrap();
    Bench { inlet, outlet, thread, stats, woken }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited for: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Bench {
    fn working(self) -> Self {
        until("the directory is open", || self.stats.state() == SpoolState::Working);
        self
    }

    fn next(&self) -> Spooled {
        let mut found = None;
        until("an entry", || {
            found = self.outlet.next();
            found.is_some()
        });
        found.expect("waited for")
    }

    fn offer(&self, entry: &Entry) {
        until("the inlet takes it", || self.inlet.offer(entry.clone()).is_ok());
    }

    fn end(self) -> (SpoolReport, Stats) {
        let report = self.thread.finish(PATIENCE).expect("in time");
        assert_eq!(self.stats.imbalance(), 0);
        assert_eq!((self.stats.pending_records.value(), self.stats.pending_octets.value()), (0, 0));
        (report, self.stats)
    }
}

#[test]
fn entries_go_in_and_come_out_and_the_waker_is_called() {
    let root = tempfile::tempdir().unwrap();
    let bench = spool(settings(root.path())).working();
    for n in 0..20 {
        bench.offer(&entry(n, 4));
    }
    for n in 0..20 {
        let Spooled { ticket, entry: found, .. } = bench.next();
        assert_eq!(found, entry(n, 4));
        bench.outlet.close(ticket);
    }
    assert!(bench.woken.load(Ordering::Acquire) >= 20);
    until("all is closed", || bench.stats.closed.value() == 80 && bench.stats.closing.value() == 0);
    assert!(bench.outlet.next().is_none() && !bench.thread.has_ended());
    assert!(bench.stats.heartbeat_ns.value() > 0);
    let (report, stats) = bench.end();
    assert_eq!((report, stats.records.value()), (SpoolReport { kept: 0, dropped: 0, clean: true }, 0));
}

#[test]
fn no_more_than_the_leases_are_out_at_once() {
    let root = tempfile::tempdir().unwrap();
    let bench = spool(SpoolSettings { leases: 2, ..settings(root.path()) }).working();
    (0..5).for_each(|n| bench.offer(&entry(n, 1)));
    until("all is appended", || bench.stats.appended.value() == 5);
    let (first, second) = (bench.next(), bench.next());
    let turn = bench.stats.heartbeat_ns.value();
    until("a turn", || bench.stats.heartbeat_ns.value() > turn);
    assert!(bench.outlet.next().is_none());
    bench.outlet.give_back(first.ticket, Duration::ZERO, true);
    let again = bench.next();
    assert_eq!((again.entry.id, again.entry.attempts, again.entry.repeated), (entry(0, 1).id, 1, true));
    bench.outlet.close(second.ticket);
    assert_eq!(bench.next().entry.id, entry(2, 1).id);
    bench.outlet.close(again.ticket);
    let (report, _) = bench.end();
    assert_eq!(report.kept, 3);
}

#[test]
fn what_is_in_it_at_the_end_is_there_at_the_next_start() {
    let root = tempfile::tempdir().unwrap();
    let bench = spool(settings(root.path())).working();
    (0..6).for_each(|n| bench.offer(&entry(n, 4)));
    let first = bench.next();
    bench.outlet.replace(first.ticket, halves(&first.entry));
    let (inlet, (report, _)) = (bench.inlet.clone(), bench.end());
    assert_eq!(report, SpoolReport { kept: 24, dropped: 0, clean: true });
    assert_eq!(inlet.offer(entry(9, 1)), Err(entry(9, 1)), "it has ended");
    let bench = spool(settings(root.path())).working();
    assert_eq!(bench.stats.recovered.value(), 24);
    let mut found = Vec::new();
    for _ in 0..7 {
        let next = bench.next();
        found.push((next.entry.part, serials(&next.entry).len()));
        bench.outlet.close(next.ticket);
    }
    assert_eq!(found, [(0, 4), (0, 4), (0, 4), (0, 4), (0, 4), (1, 2), (2, 2)]);
    let (report, stats) = bench.end();
    assert_eq!((report.kept, stats.octets.value()), (0, 0));
}

#[test]
fn a_place_where_no_directory_can_be_is_a_state_that_ends_by_itself() {
    let root = tempfile::tempdir().unwrap();
    let in_the_way = root.path().join("spool");
    fs::write(&in_the_way, b"a file").unwrap();
    let bench = spool(settings(&in_the_way));
    until("it says so", || matches!(bench.stats.state(), SpoolState::Failed { .. }));
    let SpoolState::Failed { reason } = bench.stats.state() else { panic!("just seen") };
    assert!(reason.contains("spool") && reason.contains(';'), "{reason}");
    assert_eq!(bench.inlet.offer(entry(1, 1)), Err(entry(1, 1)));
    assert_eq!(bench.stats.enabled.value(), 0);
    fs::remove_file(&in_the_way).unwrap();
    let bench = bench.working();
    bench.offer(&entry(1, 1));
    bench.outlet.close(bench.next().ticket);
    assert_eq!(bench.end().0, SpoolReport { kept: 0, dropped: 0, clean: true });
}

/// What the file system says to the test below.
static ROOM: AtomicU64 = AtomicU64::new(0);

fn room_of(_: &Path) -> io::Result<Room> {
    Ok(Room { free: ROOM.load(Ordering::Acquire), total: 100 << 20 })
}

#[test]
fn a_full_disk_is_a_state_that_ends_by_itself() {
    let root = tempfile::tempdir().unwrap();
    let newest = SpoolSettings { full: WhenFull::DropNewest, room_of: Some(room_of), ..settings(root.path()) };
    let bench = spool(newest).working();
    bench.offer(&entry(1, 3));
    until("it is dropped", || bench.stats.dropped[SpoolDrop::Full as usize].value() == 3);
    until("it says so", || bench.stats.state() == SpoolState::Full);
    assert!(bench.inlet.offer(entry(2, 1)).is_err(), "nobody loses what it can keep");
    ROOM.store(50 << 20, Ordering::Release);
    bench.offer(&entry(2, 1));
    assert_eq!(bench.next().entry, entry(2, 1));
    assert_eq!(bench.end().0.kept, 1);
}

#[test]
fn an_entry_larger_than_the_spool_is_dropped_and_does_not_close_it() {
    let root = tempfile::tempdir().unwrap();
    let bench = spool(SpoolSettings { limit: Some(20_000), ..settings(root.path()) }).working();
    bench.offer(&entry(1, 5_000));
    until("it is dropped", || bench.stats.dropped[SpoolDrop::Full as usize].value() == 5_000);
    bench.offer(&entry(2, 1));
    assert_eq!(bench.next().entry, entry(2, 1));
    assert_eq!(bench.end().0.kept, 1);
}

#[test]
fn the_way_in_is_bounded_in_octets() {
    let root = tempfile::tempdir().unwrap();
    let in_the_way = root.path().join("spool");
    fs::write(&in_the_way, b"a file").unwrap();
    // The state of a spool that works, while nothing is taken away: the thread cannot open its directory.
    let bench = spool(SpoolSettings { inlet_octets: 3 * entry(0, 2).octets(), ..settings(&in_the_way) });
    until("it has failed", || matches!(bench.stats.state(), SpoolState::Failed { .. }));
    bench.stats.set_state(&SpoolState::Working);
    let mut taken = 0_u64;
    until("it is full", || {
        bench.stats.set_state(&SpoolState::Working);
        let result = bench.inlet.offer(entry(0, 2));
        taken += u64::from(result.is_ok());
        result.is_err() && taken == 3
    });
    assert_eq!(bench.stats.pending_records.value(), 6);
    let (report, stats) = bench.end();
    assert_eq!((report.dropped, stats.dropped[SpoolDrop::Failed as usize].value()), (6, 6));
}

#[test]
fn replicas_have_a_directory_each_and_what_one_leaves_is_adopted() {
    let root = tempfile::tempdir().unwrap();
    let (first, second) = (spool(settings(root.path())).working(), spool(settings(root.path())).working());
    assert!(root.path().join("0").is_dir() && root.path().join("1").is_dir());
    second.offer(&entry(7, 3));
    assert_eq!(second.end().0.kept, 3);
    drop(first.end());
    // The next one takes directory 0, and finds 1 at once.
    let third = spool(settings(root.path())).working();
    let found = third.next();
    assert_eq!((found.entry.id, third.stats.recovered.value()), (entry(7, 3).id, 3));
    third.outlet.close(found.ticket);
    let segments = || {
        fs::read_dir(root.path().join("1")).unwrap().flatten().any(|f| f.path().extension().is_some_and(|e| e == "seg"))
    };
    until("it is emptied", || !segments());
    // And let go of: a further replica may have it.
    let fourth = spool(settings(root.path())).working();
    assert_eq!(fourth.end().0.kept, 0);
    assert_eq!(third.end().0, SpoolReport { kept: 0, dropped: 0, clean: true });
}
