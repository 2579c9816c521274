//! The store against a model in memory: failures and crashes at any operation, and what must hold behind them.
//!
//! The model knows of each record (batch, serial) whether it was committed and whether it was closed. After
//! each crash: a committed record that was not closed is there; none is there twice, whole or in halves;
//! every entry that is there has the octets that were appended. Books balance after each step.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use proptest::prelude::*;

use super::entry::Entry;
use super::segment::FORMATS;
use super::stats::Stats;
use super::store::{Leased, Store, StoreSettings};
use super::testing::{Fault, MemoryDisk, entry, halves, serials};
use super::{Fsync, WhenFull};
use crate::clock::{Clock, ManualClock};

#[derive(Debug, Clone, Copy)]
enum Step {
    Append(u32),
    Lease,
    Close(u8),
    GiveBack(u8),
    Halve(u8),
    Maintain(u16),
    /// So many operations later the disk fails once.
    Fail(u8),
    /// So many operations later the machine stops.
    Stop(u8),
    LosePower,
    LoseProcess,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..6_u32).prop_map(Step::Append),
        6 => Just(Step::Lease),
        5 => any::<u8>().prop_map(Step::Close),
        2 => any::<u8>().prop_map(Step::GiveBack),
        3 => any::<u8>().prop_map(Step::Halve),
        6 => (0..3_000_u16).prop_map(Step::Maintain),
        2 => (0..12_u8).prop_map(Step::Fail),
        2 => (0..20_u8).prop_map(Step::Stop),
        1 => Just(Step::LosePower),
        1 => Just(Step::LoseProcess),
    ]
}

#[derive(Debug, Default, Clone, Copy)]
struct Known {
    committed: bool,
    closed: bool,
}

struct Run {
    disk: MemoryDisk,
    settings: StoreSettings,
    clock: Clock,
    hand: Arc<ManualClock>,
    stats: Stats,
    store: Option<Store>,
    leased: Vec<Leased>,
    records: BTreeMap<(u32, u32), Known>,
    batches: u32,
    /// The power went while nothing was synced: nothing was promised, and what that left behind stays.
    unpromised: bool,
}

impl Run {
    fn new(seed: u64, fsync: Fsync) -> Self {
        let (clock, hand) = Clock::manual(10_000);
        let settings = StoreSettings {
            limit: 1 << 30,
            age_ns: u64::MAX,
            keep_free_percent: 0,
            full: WhenFull::DropOldest,
            fsync,
            compress: seed % 2 == 1,
            segment_octets: 1_500,
        };
        let disk = MemoryDisk::new(seed);
        let mut run = Self {
            disk,
            settings,
            clock,
            hand,
            stats: Stats::default(),
            store: None,
            leased: Vec::new(),
            records: BTreeMap::new(),
            batches: 0,
            unpromised: false,
        };
        run.open();
        run
    }

    fn open(&mut self) {
        self.stats = Stats::default();
        let disk = Box::new(self.disk.clone());
        let (settings, clock, stats) = (self.settings.clone(), self.clock.clone(), self.stats.clone());
        self.store = Some(Store::open(disk, settings, &FORMATS, clock, stats, &mut || {}).expect("no fault is set"));
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().expect("always open between steps")
    }

    fn pick(&mut self, which: u8) -> Option<Leased> {
        let number = self.leased.len();
        (number > 0).then(|| self.leased.swap_remove(usize::from(which) % number))
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Append(records) => {
                self.batches += 1;
                let batch = self.batches;
                if self.store().append(&entry(batch, records)).is_ok() {
                    self.records.extend((0..records).map(|serial| ((batch, serial), Known::default())));
                }
            }
            Step::Lease => {
                let leased = self.store().lease().expect("reading does not fail here");
                self.leased.extend(leased);
            }
            Step::Close(which) => {
                let Some(leased) = self.pick(which) else { return };
                assert!(self.store().acknowledge(leased.position));
                for serial in serials(&leased.entry) {
                    self.records.get_mut(&(batch_of(&leased.entry), serial)).expect("known").closed = true;
                }
            }
            Step::GiveBack(which) => {
                let Some(leased) = self.pick(which) else { return };
                self.store().give_back(leased.position, u64::from(which) * 10_000_000, which % 2 == 0);
            }
            Step::Halve(which) => {
                let Some(leased) = self.pick(which) else { return };
                if leased.entry.records < 2 || self.store().replace(leased.position, &halves(&leased.entry)).is_err() {
                    self.store().give_back(leased.position, 0, false);
                }
            }
            Step::Maintain(ms) => {
                self.hand.advance(u64::from(ms) * 1_000_000);
                let _ = self.store().maintain();
            }
            Step::Fail(skipped) => self.disk.fail(u64::from(skipped), Fault::Error(io::ErrorKind::Other)),
            Step::Stop(skipped) => self.disk.fail(u64::from(skipped), Fault::Crash),
            Step::LosePower => self.crash(true),
            Step::LoseProcess => self.crash(false),
        }
        assert_eq!(self.stats.imbalance(), 0, "after {step:?}");
        if self.disk.has_stopped() {
            self.crash(true);
        } else if self.store().is_committed() {
            self.records.values_mut().for_each(|known| known.committed = true);
        }
    }

    fn crash(&mut self, power: bool) {
        self.leased.clear();
        self.store = None;
        if power {
            self.disk.lose_power();
        } else {
            self.disk.lose_process();
        }
        self.open();
        // With `never` only the process may go: what was written is written then.
        self.unpromised |= power && self.settings.fsync == Fsync::Never;
        let promised = !self.unpromised;
        let mut found: BTreeMap<(u32, u32), u32> = BTreeMap::new();
        let mut leased = Vec::new();
        while let Some(next) = self.store().lease().expect("no fault is set") {
            let batch = batch_of(&next.entry);
            let serials = serials(&next.entry);
            check_octets(&next.entry, &serials);
            for serial in serials {
                *found.entry((batch, serial)).or_default() += 1;
            }
            leased.push(next);
        }
        for (record, times) in &found {
            assert!(*times == 1 || !promised, "{record:?} is there {times} times");
        }
        for (record, known) in &self.records {
            let there = found.contains_key(record);
            let kept = if power { known.committed } else { true };
            assert!(there || known.closed || !kept || !promised, "{record:?} is lost: {known:?}");
        }
        assert_eq!(self.stats.recovered.value(), found.values().map(|times| u64::from(*times)).sum::<u64>());
        // What is not there any more is not expected any more; after a loss of power all that is there is on disk.
        let committed = |record: &(u32, u32)| power || self.records.get(record).is_some_and(|known| known.committed);
        let known = |record: &(u32, u32)| (*record, Known { committed: committed(record), closed: false });
        self.records = found.keys().map(known).collect();
        for next in leased {
            self.store().give_back(next.position, 0, false);
        }
    }
}

fn batch_of(entry: &Entry) -> u32 {
    u32::from_be_bytes([entry.id[0], entry.id[1], entry.id[2], entry.id[3]])
}

fn check_octets(found: &Entry, serials: &[u32]) {
    let whole: String = serials.iter().map(|serial| format!("{{\"serial\":{serial:06}}}")).collect();
    assert_eq!(found.body, whole.as_bytes());
    assert_eq!((found.check(), found.records as usize), (Ok(()), serials.len()));
    if found.part == 0 {
        let written = entry(batch_of(found), found.records);
        assert_eq!(Entry { attempts: 0, repeated: false, ..found.clone() }, written);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_nothing_committed_is_lost_and_nothing_is_there_twice(
        seed in any::<u64>(),
        policy in 0..3_u8,
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let fsync = match policy {
            0 => Fsync::Always,
            1 => Fsync::Interval(std::time::Duration::from_secs(1)),
            _ => Fsync::Never,
        };
        let mut run = Run::new(seed, fsync);
        for step in steps {
            run.run(step);
        }
        run.crash(true);
    }
}

/// One life with everything in it, stopped at each operation in turn.
#[test]
fn a_stop_at_every_operation_of_a_life_loses_nothing_committed() {
    let life: Vec<Step> = (0..40)
        .flat_map(|n| {
            let answer = [Step::Close(0), Step::Halve(0), Step::GiveBack(1), Step::Close(1)][n % 4];
            [Step::Append(n as u32 % 4 + 1), Step::Lease, Step::Lease, answer, Step::Maintain(400)]
        })
        .collect();
    for seed in 0..2 {
        let mut whole = Run::new(seed, Fsync::Always);
        life.iter().for_each(|step| whole.run(*step));
        let operations = whole.disk.operations();
        assert!(operations > 200, "{operations}");
        for stop in 0..operations {
            let mut run = Run::new(seed ^ stop << 8, Fsync::Always);
            run.disk.fail(stop, Fault::Crash);
            life.iter().for_each(|step| run.run(*step));
            run.crash(true);
        }
    }
}
