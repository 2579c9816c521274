//! What memory has no room or no time for, and who keeps it.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::*;

/// Id, port, receive time, header, body.
type Kept = (u16, u16, u64, Header, Vec<u8>);

/// Keeps sets in a list, or says what it was told to say.
#[derive(Debug)]
struct Shelf {
    sets: Mutex<VecDeque<Kept>>,
    says: Mutex<Stored>,
    looks: std::sync::atomic::AtomicU32,
}

impl ParkOverflow for Shelf {
    fn store(&self, _: &Arc<Domain>, set: &WaitingSet<'_>) -> Stored {
        let says = *self.says.lock().unwrap();
        if says == Stored::Taken {
            let WaitingSet { id, port, receive_ns, header, body } = *set;
            self.sets.lock().unwrap().push_back((id, port, receive_ns, header, body.to_vec()));
        }
        says
    }

    fn look(&self, _: &Arc<Domain>) {
        self.looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    fn adopt(&self, _: &Arc<Domain>, _: &Arc<Domain>, _: u16) {}

    fn tick(&self, _: u64) {}
}

fn shelf() -> (Arc<Shelf>, Bench, Arc<Domain>) {
    let shelf = Arc::new(Shelf { sets: Mutex::default(), says: Mutex::new(Stored::Taken), looks: 0.into() });
    let mut bench = Bench::new();
    let exporter = Arc::clone(&bench.state.decided().exporter);
    let keeper = Arc::clone(&shelf) as Arc<dyn ParkOverflow>;
    let state = ExporterState::new(exporter, DecodeSettings::default(), Arc::default()).overflowing_to(keeper);
    bench.state = Arc::new(state);
    let key = DomainKey { session: Session::Any, version: Version::V9, observation_domain: 7 };
    let domain = Arc::new_cyclic(|me| Domain::new(key, Arc::clone(&bench.state), None).reachable_as(me.clone()));
    (shelf, bench, domain)
}

const SECOND: u64 = 1_000_000_000;

fn data(n: u32) -> Vec<u8> {
    v9(7, n, &[set(256, &rows([n]))])
}

#[test]
fn n9_15_a_domain_gives_and_takes_what_memory_has_no_room_for() {
    let (shelf, mut bench, domain) = shelf();
    let in_memory = u32::try_from(limits::PARKED_SETS_PER_EXPORTER_MAX).unwrap();
    for n in 0..in_memory + 2 {
        let outcome = bench.decode(&domain, &data(n));
        assert_eq!((outcome.sets_parked, outcome.sets_parked_disk), if n < in_memory { (1, 0) } else { (0, 1) });
    }
    for (says, kind) in [(Stored::Busy, SetDropKind::ParkFull), (Stored::Full, SetDropKind::ParkDiskFull)] {
        *shelf.says.lock().unwrap() = says;
        let outcome = bench.decode(&domain, &data(99));
        assert_eq!((outcome.sets_parked_disk, outcome.sets_dropped[kind as usize]), (0, 1));
    }
    assert_eq!(domain.sets_on_disk(), 2);
    // At their age: what is not taken now has a second turn, then it is too old.
    let later = RECEIVE_NS + 61 * SECOND;
    assert_eq!(domain.overflow_parked(RECEIVE_NS), Overflowed::default());
    *shelf.says.lock().unwrap() = Stored::Busy;
    assert_eq!((domain.overflow_parked(later).moved.sets, domain.expire_parked(later).sets), (0, 0));
    *shelf.says.lock().unwrap() = Stored::Taken;
    assert_eq!(domain.overflow_parked(later).moved.sets, in_memory);
    assert_eq!((domain.status().parked_octets, domain.sets_on_disk()), (0, u64::from(in_memory) + 2));
    // Back again, as far as there is room; not to the shelf again, and dropped at the disk's age.
    let looks = || shelf.looks.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(looks(), 0);
    bench.decode(&domain, &v9(7, 100, &[set(0, &template(256, &TEMPLATE))]));
    assert!(looks() > 0, "its template came");
    let give = |domain: &Domain| {
        let sets: Vec<_> = shelf.sets.lock().unwrap().drain(..).collect();
        let back = sets.iter().filter(|(id, port, receive_ns, header, body)| {
            let set = WaitingSet { id: *id, port: *port, receive_ns: *receive_ns, header: *header, body };
            domain.unpark_from_disk(&set)
        });
        u32::try_from(back.count()).unwrap()
    };
    assert_eq!(give(&domain), in_memory);
    assert_eq!((domain.overflow_parked(later), domain.expire_parked(later).sets), (Overflowed::default(), 0));
    let before = looks();
    let outcome = bench.decode(&domain, &v9(7, 101, &[]));
    assert_eq!((outcome.sets_unparked, outcome.sets_unparked_disk, outcome.sets_decoded), (0, in_memory, in_memory));
    assert_eq!(looks(), before + 1, "there is room for more");
    assert_eq!(domain.status().parked_octets, 0);
    let gone = |domain: &Domain, counts: ParkedCounts| {
        assert_eq!((counts.sets, counts.returned, domain.status().parked_octets), (1, 1, 0));
    };
    let set = |body| WaitingSet { id: 300, port: 1, receive_ns: RECEIVE_NS, header: identify(&data(1)).unwrap(), body };
    assert!(domain.unpark_from_disk(&set(&[1])));
    assert_eq!(domain.expire_parked(RECEIVE_NS + 35 * 60 * SECOND).sets, 0);
    gone(&domain, domain.expire_parked(RECEIVE_NS + 35 * 60 * SECOND + 1));
    assert!(domain.unpark_from_disk(&set(&[1])));
    gone(&domain, domain.retire());
    assert!(!domain.unpark_from_disk(&set(&[1])), "nobody would look any more");
    assert_eq!(bench.state.budget.parked_octets.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn n9_15_what_a_failed_datagram_gave_away_is_in_no_books() {
    let (shelf, mut bench, domain) = shelf();
    for n in 0..100 {
        bench.decode(&domain, &v9(7, n, &[set(256, &rows([n]))]));
    }
    let kept = domain.sets_on_disk();
    domain.break_plan_for_test(300, &TEMPLATE);
    let failing = v9(7, 100, &[set(256, &rows([1])), set(300, &rows([1]))]);
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bench.decode(&domain, &failing)));
    assert!(failed.is_err());
    assert_eq!((domain.sets_on_disk(), shelf.sets.lock().unwrap().len() as u64), (kept + 1, kept + 1));
    assert_eq!((domain.counted_of(kept + 1), domain.counted_of(5)), (kept, 5), "told once");
}
