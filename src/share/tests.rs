//! Snapshots against a table of its own: the format, round trips, damage at every octet, ages, turns of the thread.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use super::*;
use crate::clock::Clock;
use crate::decode::{
    Datagram, DecodeSettings, DomainKey, ExporterState, Header, LearnedBudget, Lesson, SamplingEntryScope, Session,
    SharedTable, decode, identify,
};
use crate::flow::{Exporter, FlowBatch, Version};
use crate::limits::STATE_RECORD_OCTETS_MAX;
use crate::metrics::{Metrics, Shape, StateMetrics};

const NOW_NS: u64 = 1_700_000_000_000_000_000;
const HOUR_NS: u64 = 3_600_000_000_000;

/// Domains by who they are of.
#[derive(Default)]
struct Table {
    domains: Mutex<BTreeMap<String, (Whose, Arc<Domain>)>>,
    states: Mutex<BTreeMap<IpAddr, Arc<ExporterState>>>,
    closed: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Table {
    fn state(&self, address: IpAddr) -> Arc<ExporterState> {
        let make = || {
            let exporter = Arc::new(Exporter::of_address(address));
            Arc::new(ExporterState::new(exporter, DecodeSettings::default(), Arc::<LearnedBudget>::default()))
        };
        Arc::clone(lock(&self.states).entry(address).or_insert_with(make))
    }

    fn lessons(&self) -> Vec<String> {
        let mut lessons = Vec::new();
        self.each(&mut |whose, domain, first| {
            let name = format!("{} {} {}", whose.address, whose.version, whose.observation_domain);
            domain.export(NOW_NS, |lesson| lessons.push(format!("{name} {lesson:?}")));
            for table in SharedTable::ALL.iter().filter(|_| first) {
                domain.exporter.export(*table, |lesson| lessons.push(format!("{name} {lesson:?}")));
            }
            true
        });
        lessons.sort();
        lessons
    }
}

impl Source for Table {
    fn each(&self, show: &mut dyn FnMut(&Whose, &Arc<Domain>, bool) -> bool) {
        let mut seen = Vec::new();
        for (whose, domain) in lock(&self.domains).values() {
            let is_first = !seen.contains(&whose.address);
            seen.push(whose.address);
            if !show(whose, domain, is_first) {
                return;
            }
        }
    }

    fn domain(&self, whose: &Whose) -> Option<Arc<Domain>> {
        if self.closed {
            return None;
        }
        let version = Version::from_wire(whose.version)?;
        let key = DomainKey { session: whose.session, version, observation_domain: whose.observation_domain };
        let make = || (whose.clone(), Arc::new(Domain::new(key, self.state(whose.address), None)));
        let name = format!("{} {key:?}", whose.address);
        Some(Arc::clone(&lock(&self.domains).entry(name).or_insert_with(make).1))
    }
}

fn whose(host: u8, version: Version) -> Whose {
    Whose {
        tenant: "blue".into(),
        address: IpAddr::from([192, 0, 2, host]),
        listener: "2055".into(),
        version: version as u16,
        session: Session::Any,
        observation_domain: 7,
        is_known: true,
        last_seen_ns: NOW_NS - HOUR_NS,
    }
}

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// Two exporters: one of v9 with a template, an options template, a rate and a name; one of IPFIX with an enterprise
/// field and one of variable length.
fn taught() -> Table {
    let table = Table::default();
    let mut v9 = words(&[9, 5]);
    [60_000_u32, 1_700_000_000, 1, 7].iter().for_each(|word| v9.extend(word.to_be_bytes()));
    v9.extend(words(&[0, 20, 256, 3, 8, 4, 1, 4, 48, 1]));
    v9.extend(words(&[1, 22, 257, 4, 8, 1, 4, 48, 1, 34, 4]));
    v9.extend(words(&[1, 22, 258, 4, 8, 1, 4, 10, 4, 82, 4]));
    v9.extend(words(&[257, 13]));
    v9.extend([0, 0, 0, 0, 3, 0, 0, 3, 0xE8]);
    v9.extend(words(&[258, 16]));
    v9.extend([0, 0, 0, 0, 0, 0, 0, 5, b'e', b't', b'h', b'5']);
    let mut ipfix = words(&[10, 16 + 28]);
    [1_700_000_000_u32, 1, 7].iter().for_each(|word| ipfix.extend(word.to_be_bytes()));
    ipfix.extend(words(&[2, 28, 300, 4, 8, 4, 0x8001, 0xFFFF, 0, 999, 1, 8, 2, 8]));
    for (host, version, octets) in [(1, Version::V9, v9), (2, Version::Ipfix, ipfix)] {
        let domain = table.domain(&whose(host, version)).unwrap();
        let header: Header = identify(&octets).unwrap();
        let peer = SocketAddr::from(([192, 0, 2, host], 4_000));
        let datagram = Datagram { peer, receive_ns: NOW_NS - HOUR_NS, octets: &octets };
        let outcome = decode(&datagram, &header, &domain, &mut FlowBatch::with_capacity(16));
        assert_eq!((outcome.rejected, outcome.templates_rejected), (None, 0));
    }
    table
}

fn snapshot_of(table: &Table) -> Vec<u8> {
    let mut octets = Vec::new();
    let written = write_snapshot(table, NOW_NS, &mut octets).unwrap();
    assert_eq!((written.octets, written.is_short), (octets.len() as u64, false));
    octets
}

/// What reads of a snapshot, taught to an empty table.
fn restored(octets: &[u8]) -> (Table, Counts) {
    let table = Table::default();
    let mut reader = Reader::new(octets).unwrap();
    while let Some((whose, lessons)) = reader.record().unwrap() {
        let domain = table.domain(&whose).unwrap();
        lessons.for_each(|lesson| _ = domain.restore(&lesson, NOW_NS));
    }
    (table, reader.counts)
}

#[test]
fn what_is_read_is_what_was_written() {
    let table = taught();
    let lessons = table.lessons();
    // Of v9 what was heard, three templates, a rate and a name; of IPFIX what was heard and a template.
    assert_eq!(lessons.len(), 6 + 2, "{lessons:#?}");
    let (again, counts) = restored(&snapshot_of(&table));
    assert_eq!((again.lessons(), counts), (lessons, Counts { records: 2, damaged: 0 }));
}

/// Each octet of the format stands where an earlier version put it: a change of any needs a new version.
#[test]
fn the_format_stands_still() {
    let octets = snapshot_of(&taught());
    let text: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    insta::assert_snapshot!(text);
}

#[test]
fn no_changed_octet_is_believed_and_costs_more_than_its_record() {
    let octets = snapshot_of(&taught());
    let all = taught().lessons();
    for at in 0..octets.len() {
        let mut damaged = octets.clone();
        damaged[at] ^= 0x40;
        let Ok(reader) = Reader::new(&damaged[..]) else {
            assert!(at < 32, "octet {at} is not in the header");
            continue;
        };
        drop(reader);
        let (table, counts) = restored(&damaged);
        assert_eq!((counts.records, counts.damaged), (1, 1), "octet {at}");
        assert!(table.lessons().iter().all(|lesson| all.contains(lesson)), "octet {at}");
    }
    for end in 32..octets.len() {
        let (_, counts) = restored(&octets[..end]);
        assert!(counts.records < 2 && counts.damaged <= 1, "cut at {end}: {counts:?}");
    }
}

#[test]
fn octets_of_an_exporter_never_pass_for_a_record() {
    let forged = snapshot_of(&taught());
    // The records of another snapshot stand in the payload of a record whose head is damaged.
    let mut octets = snapshot::header(NOW_NS + 1).to_vec();
    let mut payload = Vec::new();
    assert!(whose(9, Version::V9).put(&mut payload));
    payload.extend([5, 0, 0]);
    payload.extend(&forged[32..]);
    snapshot::write_record(&mut octets, &payload, NOW_NS + 1).unwrap();
    octets[33] ^= 1;
    let (table, counts) = restored(&octets);
    assert_eq!((table.lessons().len(), counts), (0, Counts { records: 0, damaged: 1 }));
}

#[test]
fn another_version_is_told_by_its_number() {
    let mut octets = snapshot_of(&taught());
    octets[9] = 2;
    let crc = crc32fast::hash(&octets[..28]);
    octets[28..32].copy_from_slice(&crc.to_be_bytes());
    assert!(matches!(Reader::new(&octets[..]), Err(SnapshotError::Newer(2))));
    assert!(matches!(Reader::new(&octets[..31]), Err(SnapshotError::Damaged)));
}

#[test]
fn lessons_of_a_later_version_are_passed_by() {
    let mut payload = Vec::new();
    assert!(whose(1, Version::V9).put(&mut payload));
    payload.extend([200, 0, 2, 7, 7]);
    let lesson = Lesson::Sampling { domain: 7, scope: Some(SamplingEntryScope::Interface(5)), rate: 100 };
    assert!(record::put(&mut payload, &lesson));
    let (found, lessons) = Whose::take(&mut octets::Octets(&payload)).unwrap();
    assert_eq!((found, lessons.collect::<Vec<_>>()), (whose(1, Version::V9), vec![lesson]));
}

#[test]
fn a_large_table_is_many_records_and_the_reader_holds_two() {
    let table = taught();
    let state = table.state([192, 0, 2, 1].into());
    let domain = table.domain(&whose(1, Version::V9)).unwrap();
    for index in 0..16_384_u32 {
        let name = format!("interface {index} with a description that is about as long as they are");
        let texts = [name.as_bytes(), name.as_bytes(), b""];
        let key = (1_000 + index).to_be_bytes();
        let kind = crate::decode::NameKind::Interface;
        domain.restore(&Lesson::Name(crate::decode::NameLesson { kind, domain: 7, key: &key, texts }), NOW_NS);
    }
    let mut entries = 0;
    state.export(SharedTable::Names(crate::decode::NameKind::Interface), |_| entries += 1);
    assert_eq!(entries, 16_384, "a full table refuses what is new");
    let octets = snapshot_of(&table);
    let (again, counts) = restored(&octets);
    assert!(counts.records > 20 && octets.len() / STATE_RECORD_OCTETS_MAX < counts.records as usize, "{counts:?}");
    assert_eq!(again.lessons(), table.lessons());
}

fn metrics() -> StateMetrics {
    let shape = Shape { listeners: vec![], workers: 0, batchers: 0, sink: "backend", instance: "test".into() };
    Metrics::new(&shape).state()
}

fn settings(root: &std::path::Path) -> StateSettings {
    StateSettings {
        root: root.to_owned(),
        interval: Duration::from_millis(5),
        max_age: Duration::from_nanos(24 * HOUR_NS),
    }
}

/// Long, for a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn the_thread_writes_at_the_end_and_the_next_start_reads_it() {
    let root = tempfile::tempdir().unwrap();
    let (clock, hand) = Clock::manual(NOW_NS);
    let table = Arc::new(taught());
    let handles = metrics();
    let store = Store::open(settings(root.path()), clock.clone(), handles.clone());
    assert_eq!(store.load(&*table), Loaded::default());
    let keeper = Keeper::start(store, Arc::clone(&table) as Arc<dyn Source>).unwrap();
    assert_eq!(keeper.finish(PATIENCE), StateReport::Written);
    assert_eq!(handles.written_s.value(), NOW_NS / 1_000_000_000);
    assert!(handles.octets.value() > 100 && handles.failures.value() == 0);

    // Two replicas start: one takes the directory, the other reads it all the same.
    let again = [(); 2].map(|()| (Table::default(), metrics()));
    let stores = [0, 1].map(|at: usize| Store::open(settings(root.path()), clock.clone(), again[at].1.clone()));
    for (store, (found, handles)) in stores.iter().zip(&again) {
        let loaded = store.load(found);
        assert_eq!((loaded.restored, loaded.lessons, loaded.damaged), (2, 8, 0));
        assert_eq!((found.lessons(), handles.restored.value()), (table.lessons(), 2));
    }
    // Exporters were heard an hour before it was written.
    hand.advance(23 * HOUR_NS + 1);
    let loaded = Store::open(settings(root.path()), clock.clone(), metrics()).load(&Table::default());
    assert_eq!((loaded.restored, loaded.too_old), (0, 2));
    let closed = Table { closed: true, ..Table::default() };
    let loaded = Store::open(settings(root.path()), Clock::manual(NOW_NS).0, metrics()).load(&closed);
    assert_eq!((loaded.restored, loaded.refused), (0, 2));
}

#[test]
fn a_snapshot_is_written_again_when_something_is_learned_or_its_ages_are_old() {
    let root = tempfile::tempdir().unwrap();
    let (clock, hand) = Clock::manual(NOW_NS);
    let handles = metrics();
    let mut store = Store::open(settings(root.path()), clock, handles.clone());
    let written = || handles.written_s.value() - NOW_NS / 1_000_000_000;
    let second = |n: u64| hand.advance(n * 1_000_000_000);
    let nobody = Table::default();
    second(1);
    assert!(store.write(&nobody, true));
    assert_eq!(handles.written_s.value(), 0, "nothing was learned, and what an earlier run left stays");
    let table = taught();
    assert!(store.write(&table, false));
    assert_eq!(written(), 1);
    second(1);
    let domain = table.domain(&whose(1, Version::V9)).unwrap();
    domain.last_seen_ns.store(NOW_NS, Ordering::Release);
    assert!(store.write(&table, false));
    assert_eq!(written(), 1, "nothing but ages changed");
    let rate = Lesson::Sampling { domain: 7, scope: None, rate: 50 };
    domain.restore(&rate, NOW_NS);
    assert!(store.write(&table, false));
    assert_eq!(written(), 2);
    second(crate::limits::STATE_REWRITE_S);
    assert!(store.write(&table, false));
    assert_eq!(written(), 2 + crate::limits::STATE_REWRITE_S);
}

#[test]
fn a_disk_that_fails_is_counted_and_tried_again() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("state");
    std::fs::write(&path, b"in the way").unwrap();
    let handles = metrics();
    let mut store = Store::open(settings(&path), Clock::manual(NOW_NS).0, handles.clone());
    let table = taught();
    assert!(!store.write(&table, true));
    assert_eq!(handles.failures.value(), 2);
    std::fs::remove_file(&path).unwrap();
    assert!(store.write(&table, true));
    assert_eq!(handles.failures.value(), 2);
}
