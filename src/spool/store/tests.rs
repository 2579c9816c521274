//! The store by itself: order, answers, bounds, a full disk, corruption. What crashes do is in `spool::model`.

use std::sync::Arc;

use super::super::ledger::Ledger;
use super::super::segment::{FORMATS, Formats, read_segment};
use super::super::stats::SpoolDrop;
use super::super::testing::{Fault, MemoryDisk, entry, halves, serials};
use super::*;
use crate::clock::ManualClock;
use crate::metrics::{Loss, Tally};
use crate::spool::Fsync;

const S: u64 = 1_000_000_000;

struct Bench {
    disk: MemoryDisk,
    settings: StoreSettings,
    clock: Clock,
    hand: Arc<ManualClock>,
}

impl Bench {
    fn new() -> Self {
        let (clock, hand) = Clock::manual(10_000);
        let settings = StoreSettings {
            limit: 1 << 20,
            age_ns: 3_600 * S,
            keep_free_percent: 10,
            full: WhenFull::DropOldest,
            fsync: Fsync::Always,
            compress: false,
            segment_octets: 2_000,
        };
        Self { disk: MemoryDisk::new(7), settings, clock, hand }
    }

    fn open(&self) -> Store {
        self.open_with(&FORMATS)
    }

    fn open_with(&self, formats: &Formats) -> Store {
        let disk = Box::new(self.disk.clone());
        let clock = self.clock.clone();
        Store::open(disk, self.settings.clone(), formats, clock, Stats::default(), &mut || {}).unwrap()
    }

    fn segments(&self) -> usize {
        self.disk.names().iter().filter(|name| name.ends_with(".seg")).count()
    }
}

fn lease(store: &mut Store) -> Option<Leased> {
    store.lease().unwrap()
}

/// Seeds of all entries that are ready, in order; they stay on loan.
fn seeds(store: &mut Store) -> Vec<u32> {
    std::iter::from_fn(|| lease(store)).map(|leased| seed(&leased.entry)).collect()
}

fn seed(entry: &Entry) -> u32 {
    u32::from_be_bytes([entry.id[0], entry.id[1], entry.id[2], entry.id[3]])
}

fn dropped(store: &Store, drop: SpoolDrop) -> u64 {
    store.stats.dropped[drop as usize].value()
}

#[test]
fn entries_come_oldest_first_and_leave_with_their_segments() {
    let bench = Bench::new();
    let mut store = bench.open();
    for n in 0..20 {
        store.append(&entry(n, 10)).unwrap();
    }
    store.commit().unwrap();
    assert!(bench.segments() > 3);
    assert_eq!(store.peek(), Some(1_000));
    let leased: Vec<_> = std::iter::from_fn(|| lease(&mut store)).collect();
    assert_eq!(
        leased.iter().map(|l| l.entry.clone()).collect::<Vec<_>>(),
        (0..20).map(|n| entry(n, 10)).collect::<Vec<_>>()
    );
    // Out of order: the last first.
    for leased in leased.iter().rev() {
        assert!(store.acknowledge(leased.position));
        assert!(!store.acknowledge(leased.position), "once");
        assert_eq!(store.stats.imbalance(), 0);
    }
    bench.hand.advance(2 * S);
    store.maintain().unwrap();
    assert_eq!((bench.segments(), store.stats.octets.value(), store.stats.records.value()), (0, 0, 0));
    assert_eq!((store.stats.closed.value(), store.oldest_receive()), (200, None));
    assert!(seeds(&mut bench.open()).is_empty());
}

#[test]
fn what_comes_back_waits_and_nothing_waits_behind_it() {
    let bench = Bench::new();
    let mut store = bench.open();
    for n in 0..3 {
        store.append(&entry(n, 1)).unwrap();
    }
    let head = lease(&mut store).unwrap();
    store.give_back(head.position, 5 * S, true);
    assert_eq!(seeds(&mut store), [1, 2], "the head is passed by");
    bench.hand.advance(5 * S - 1);
    assert!(lease(&mut store).is_none());
    assert_eq!(store.due(), Some(5 * S));
    bench.hand.advance(1);
    let again = lease(&mut store).unwrap();
    assert_eq!((seed(&again.entry), again.entry.attempts, again.entry.repeated), (0, 1, true));
}

#[test]
fn a_kill_knows_what_was_lent_and_what_was_closed_before_the_next_ledger() {
    let bench = Bench::new();
    let mut store = bench.open();
    for n in 0..5 {
        store.append(&entry(n, 2)).unwrap();
    }
    store.maintain().unwrap();
    let lent: Vec<_> = (0..4).map(|_| lease(&mut store).unwrap()).collect();
    assert!(lent.iter().all(|leased| !leased.doubtful && !leased.entry.repeated));
    assert!(store.acknowledge(lent[0].position));
    store.give_back(lent[1].position, 0, false);
    store.give_back(lent[2].position, 0, true);
    // No ledger is written: the process is gone.
    for _ in 0..2 {
        drop(store);
        store = bench.open();
        let again: Vec<_> = std::iter::from_fn(|| lease(&mut store)).collect();
        let known: Vec<_> = again.iter().map(|l| (seed(&l.entry), l.entry.repeated, l.doubtful)).collect();
        assert_eq!(known, [(1, false, false), (2, true, true), (3, true, true), (4, false, false)]);
        assert_eq!((store.stats.recovered.value(), store.stats.imbalance()), (8, 0));
        // Notes go on behind those that were found.
        for leased in again {
            let unwritten = !leased.entry.repeated;
            store.give_back(leased.position, 0, !unwritten);
        }
    }
    store.write_ledger().unwrap();
    assert!(bench.disk.octets("journal").is_empty());
}

#[test]
fn halves_inherit_the_mark_and_not_the_doubt() {
    let bench = Bench::new();
    let mut store = bench.open();
    store.append(&entry(1, 4)).unwrap();
    let whole = lease(&mut store).unwrap();
    let parts = halves(&whole.entry).map(|part| Entry { repeated: true, ..part });
    store.replace(whole.position, &parts).unwrap();
    let first = lease(&mut store).unwrap();
    assert_eq!((first.entry.part, first.entry.repeated, first.doubtful), (1, true, false));
    drop(store);
    let mut store = bench.open();
    assert!(lease(&mut store).unwrap().entry.part == 1);
}

#[test]
fn a_journal_that_cannot_be_written_costs_no_more_than_the_ledger_alone_would() {
    let bench = Bench::new();
    let mut store = bench.open();
    for n in 0..3 {
        store.append(&entry(n, 1)).unwrap();
    }
    store.maintain().unwrap();
    bench.disk.fail(0, Fault::Error(io::ErrorKind::Other));
    let first = lease(&mut store).unwrap();
    assert!(store.acknowledge(first.position));
    drop(store);
    let mut store = bench.open();
    assert_eq!(seeds(&mut store), [0, 1, 2], "it comes once more");
}

#[test]
fn attempts_and_what_was_under_way_survive_the_end() {
    let bench = Bench::new();
    let mut store = bench.open();
    for n in 0..3 {
        store.append(&entry(n, 1)).unwrap();
    }
    let tried = lease(&mut store).unwrap();
    store.give_back(tried.position, S, false);
    lease(&mut store).unwrap();
    store.finish().unwrap();
    let mut store = bench.open();
    assert_eq!(store.stats.recovered.value(), 3);
    let back: Vec<_> = std::iter::from_fn(|| lease(&mut store)).map(|l| (l.entry.attempts, l.entry.repeated)).collect();
    assert_eq!(back, [(1, false), (0, true), (0, false)]);
}

#[test]
fn halves_take_the_place_of_the_whole() {
    let bench = Bench::new();
    let mut store = bench.open();
    store.append(&entry(1, 5)).unwrap();
    let whole = lease(&mut store).unwrap();
    let parts = halves(&whole.entry);
    let wrong = [parts[1].clone(), parts[0].clone()];
    assert!(matches!(store.replace(whole.position, &wrong), Err(AppendError::Entry(EntryError::Parts))));
    store.replace(whole.position, &parts).unwrap();
    assert!(store.replace(whole.position, &parts).is_err(), "it is closed");
    store.commit().unwrap();
    assert_eq!((store.stats.records.value(), store.stats.imbalance()), (5, 0));
    drop(store);
    // Not even a ledger was written: the halves speak for themselves.
    let mut store = bench.open();
    let back: Vec<_> = std::iter::from_fn(|| lease(&mut store)).map(|l| (l.entry.part, serials(&l.entry))).collect();
    assert_eq!(back, [(1, vec![0, 1]), (2, vec![2, 3, 4])]);
    assert_eq!((store.stats.recovered.value(), store.stats.duplicates.value()), (5, 1));
}

#[test]
fn the_oldest_go_at_the_limit_but_not_what_is_on_loan() {
    let mut bench = Bench::new();
    bench.settings.limit = 8_000;
    let mut store = bench.open();
    store.append(&entry(0, 10)).unwrap();
    let head = lease(&mut store).unwrap();
    for n in 1..60 {
        store.append(&entry(n, 10)).unwrap();
        assert!(store.stats.octets.value() <= 8_000);
        assert_eq!(store.stats.imbalance(), 0);
    }
    let lost = dropped(&store, SpoolDrop::Oldest);
    assert!(lost > 0 && lost.is_multiple_of(10), "{lost}");
    assert!(store.may_take(3_000).unwrap(), "what is not on loan gives way");
    let rest = seeds(&mut store);
    assert!(!store.may_take(3_000).unwrap(), "all is on loan");
    let survivors = rest.len() as u64 * 10;
    assert_eq!(lost + survivors + 10, 600);
    assert_eq!(rest.last(), Some(&59));
    assert!(store.acknowledge(head.position));
    let huge = entry(99, 500);
    assert!(matches!(store.append(&huge), Err(AppendError::Full)), "larger than all");
}

#[test]
fn the_newest_is_refused_at_the_limit_if_so_wanted() {
    let mut bench = Bench::new();
    bench.settings.limit = 4_000;
    bench.settings.full = WhenFull::DropNewest;
    let mut store = bench.open();
    let taken = (0..40).take_while(|n| store.append(&entry(*n, 10)).is_ok()).count() as u32;
    assert!((5..40).contains(&taken));
    assert!(!store.may_take(600).unwrap());
    let all: Vec<_> = std::iter::from_fn(|| lease(&mut store)).collect();
    assert_eq!(all.len() as u32, taken);
    all.iter().for_each(|leased| assert!(store.acknowledge(leased.position)));
    store.append(&entry(50, 10)).expect("room was made by deleting what is closed");
}

#[test]
fn the_disks_reserve_is_kept() {
    let mut bench = Bench::new();
    bench.disk.hold(Some(10_000));
    bench.settings.full = WhenFull::DropNewest;
    let mut store = bench.open();
    while store.append(&entry(1, 10)).is_ok() {}
    assert!((8_000..=9_000).contains(&store.stats.octets.value()), "{}", store.stats.octets.value());
}

#[test]
fn what_is_too_old_is_dropped() {
    let bench = Bench::new();
    let mut store = bench.open();
    for n in 0..4 {
        store.append(&entry(n, 2)).unwrap();
    }
    let on_loan = lease(&mut store).unwrap();
    bench.hand.advance(3_600 * S + 1);
    store.append(&Entry { last_receive_ns: 3_600 * S, ..entry(9, 2) }).unwrap();
    store.maintain().unwrap();
    assert_eq!((dropped(&store, SpoolDrop::Age), store.stats.records.value()), (6, 4));
    assert!(store.acknowledge(on_loan.position), "what is on loan meets its fate elsewhere");
    assert_eq!((seeds(&mut store), store.stats.imbalance()), (vec![9], 0));
}

#[test]
fn a_full_disk_costs_the_oldest_and_is_tidy() {
    let mut bench = Bench::new();
    bench.settings.keep_free_percent = 0;
    let mut store = bench.open();
    for n in 0..12 {
        store.append(&entry(n, 10)).unwrap();
    }
    store.commit().unwrap();
    // Others fill it: the file system itself refuses.
    bench.disk.fail(0, Fault::Error(io::ErrorKind::StorageFull));
    store.append(&entry(12, 10)).unwrap();
    assert!(dropped(&store, SpoolDrop::Oldest) > 0);
    assert_eq!(store.stats.imbalance(), 0);
    bench.settings.full = WhenFull::DropNewest;
    drop(store);
    let mut store = bench.open();
    assert_eq!(store.stats.damaged_octets.value(), 0, "what a failed write left was cut off");
    bench.disk.fail(1, Fault::Error(io::ErrorKind::StorageFull));
    let error = store.append(&entry(13, 10)).unwrap_err();
    assert!(matches!(error, AppendError::Disk(error) if is_full(&error)));
    store.append(&entry(13, 10)).unwrap();
    assert_eq!(seeds(&mut store).last(), Some(&13));
}

#[test]
fn any_single_failure_of_the_disk_loses_nothing() {
    for kind in [io::ErrorKind::Other, io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::PermissionDenied] {
        for failing in 0..60 {
            let bench = Bench::new();
            let mut store = bench.open();
            bench.disk.fail(failing, Fault::Error(kind));
            let mut expected = Vec::new();
            for n in 0..8 {
                // Tried until it is taken, as the thread does.
                while store.append(&entry(n, 10)).is_err() {}
                expected.push(n);
                let _ = store.maintain();
                bench.hand.advance(S);
                if n % 3 == 2 {
                    let leased = lease(&mut store).unwrap();
                    store.acknowledge(leased.position);
                    expected.retain(|other| *other != seed(&leased.entry));
                }
            }
            if store.finish().is_err() {
                store.finish().expect("one failure only");
            }
            bench.disk.lose_process();
            assert_eq!((store.stats.imbalance(), seeds(&mut store)), (0, expected.clone()), "{kind} at {failing}");
            assert_eq!(seeds(&mut bench.open()), expected, "{kind} at {failing}");
        }
    }
}

#[test]
fn octets_changed_on_disk_cost_what_they_hit() {
    let bench = Bench::new();
    let mut store = bench.open();
    for n in 0..30 {
        store.append(&entry(n, 10)).unwrap();
    }
    store.finish().unwrap();
    let segments: Vec<_> = bench.disk.names().into_iter().filter(|name| name.ends_with(".seg")).collect();
    let mut random = 12_345_u64;
    for round in 0..300 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let name = &segments[(random >> 33) as usize % segments.len()];
        let good = bench.disk.octets(name);
        let mut bad = good.clone();
        let at = (random >> 17) as usize % bad.len();
        bad[at] ^= 1 << (round % 8);
        bench.disk.put(name, &bad);
        let mut store = bench.open();
        let found = seeds(&mut store);
        let lost = 30 - found.len() as u64;
        assert!(lost <= 1, "octet {at} of {name}");
        assert_eq!(store.stats.damaged_entries.value(), lost);
        assert_eq!(store.stats.damaged_records.value(), 10 * lost);
        assert_eq!(store.stats.recovered.value(), 300 - 10 * lost);
        bench.disk.put(name, &good);
    }
}

#[test]
fn an_entry_that_is_damaged_while_the_spool_runs_is_dropped_by_name() {
    let bench = Bench::new();
    let mut store = bench.open();
    for n in 0..3 {
        store.append(&entry(n, 10)).unwrap();
    }
    let name = bench.disk.names().remove(0);
    let mut octets = bench.disk.octets(&name);
    let at = read_segment(&octets).entries[1].offset as usize + 100;
    octets[at] ^= 1;
    bench.disk.put(&name, &octets);
    assert_eq!(seeds(&mut store), [0, 2]);
    assert_eq!((dropped(&store, SpoolDrop::Damaged), store.stats.imbalance()), (10, 0));
}

#[test]
fn a_lost_ledger_brings_entries_back_and_never_closes_others() {
    let bench = Bench::new();
    let mut store = bench.open();
    for n in 0..10 {
        store.append(&entry(n, 10)).unwrap();
    }
    let first = lease(&mut store).unwrap();
    store.acknowledge(first.position);
    store.finish().unwrap();
    let good = bench.disk.octets("ledger");
    assert_eq!(seeds(&mut bench.open()).len(), 9);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        bench.disk.put("ledger", &bad);
        let mut store = bench.open();
        assert_eq!((seeds(&mut store).len(), store.stats.ledgers_lost.value()), (10, 1), "octet {at}");
    }
    // A ledger that speaks of another segment of the same number.
    let mut other = Ledger::read(&good).unwrap();
    other.segments.values_mut().for_each(|closed| closed.created_ns += 1);
    bench.disk.put("ledger", &other.octets());
    assert_eq!(seeds(&mut bench.open()).len(), 10);
}

#[test]
fn other_formats_are_migrated_or_left_alone() {
    fn invert(octets: &[u8]) -> Option<Vec<u8>> {
        let header = Header { version: VERSION, ..Header::read(octets)? };
        Some([&header.octets()[..], &octets[HEADER_OCTETS..].iter().map(|octet| !octet).collect::<Vec<u8>>()].concat())
    }
    let bench = Bench::new();
    let mut store = bench.open();
    for n in 0..9 {
        store.append(&entry(n, 10)).unwrap();
    }
    store.finish().unwrap();
    let names: Vec<_> = bench.disk.names().into_iter().filter(|name| name.ends_with(".seg")).collect();
    let of_version = |name: &String, version: u16, frames: fn(u8) -> u8| {
        let octets = bench.disk.octets(name);
        let header = Header { version, ..Header::read(&octets).unwrap() };
        let frames: Vec<u8> = octets[HEADER_OCTETS..].iter().map(|octet| frames(*octet)).collect();
        bench.disk.put(name, &[&header.octets()[..], &frames].concat());
    };
    of_version(&names[0], 0, |octet| !octet);
    of_version(&names[1], 2, |octet| octet);
    let (newer, whole) = (bench.disk.octets(&names[1]), read_segment(&bench.disk.octets(&names[1])).entries.len());
    let mut store = bench.open_with(&Formats { current: VERSION, previous: Some((0, invert)) });
    assert_eq!(store.stats.foreign_files.value(), 1);
    assert_eq!(seeds(&mut store).len(), 9 - whole, "the older one is read, the newer one is not");
    for leased in std::iter::from_fn(|| lease(&mut store)).collect::<Vec<_>>() {
        store.acknowledge(leased.position);
    }
    store.append(&entry(20, 1)).unwrap();
    store.finish().unwrap();
    assert_eq!(bench.disk.octets(&names[1]), newer, "untouched");
    let header = Header::read(&bench.disk.octets(&names[0])).unwrap();
    assert_eq!(header.version, VERSION);
}

#[test]
fn packed_entries_come_back_whole() {
    let mut bench = Bench::new();
    bench.settings.compress = true;
    let mut store = bench.open();
    store.append(&entry(1, 1_000)).unwrap();
    assert!(store.stats.octets.value() < entry(1, 1_000).octets() / 3);
    assert_eq!(lease(&mut store).unwrap().entry, entry(1, 1_000));
}

#[test]
fn a_store_that_is_let_go_leaves_no_figures_behind() {
    let bench = Bench::new();
    let mut store = bench.open();
    let stats = store.stats.clone();
    for n in 0..5 {
        store.append(&entry(n, 3)).unwrap();
    }
    lease(&mut store).unwrap();
    store.forget();
    assert_eq!((stats.octets.value(), stats.records.value(), stats.entries.value()), (0, 0, 0));
}

#[test]
fn what_goes_unread_is_counted_by_exporter_as_far_as_a_turn_reads() {
    for compress in [false, true] {
        let mut bench = Bench::new();
        bench.settings.compress = compress;
        let mut store = bench.open();
        for n in 0..8 {
            store.append(&entry(n, 10)).unwrap();
        }
        assert!(store.drop_oldest().unwrap());
        bench.hand.advance(2 * 3_600 * S);
        store.maintain().unwrap();
        let all: u64 = store.stats.dropped.iter().map(Tally::value).sum();
        let losses = store.stats.losses.all();
        assert_eq!((all, losses.iter().map(Loss::records).sum::<u64>()), (80, 80), "compress = {compress}");
        let whose: Vec<_> = losses.iter().map(|loss| (&*loss.tenant, loss.records())).collect();
        assert_eq!(whose, [("", 40), ("tenant", 40)]);
    }
    let mut bench = Bench::new();
    bench.settings.segment_octets = 1 << 20;
    let mut store = bench.open();
    for n in 0..4 {
        store.append(&entry(n, 10)).unwrap();
    }
    store.names_left = 1;
    assert!(store.drop_oldest().unwrap());
    let named: u64 = store.stats.losses.all().iter().map(Loss::records).sum();
    assert_eq!((dropped(&store, SpoolDrop::Oldest), named), (40, 10), "one was looked up");
}
