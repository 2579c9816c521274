//! The promises of the reader of learned state, checked on any octets. Used by the fuzz target and, over the corpus, by
//! `cargo test`.
//!
//! Promised: no panic and an end; every record costs its octets; what a snapshot teaches stays within the bounds of the wire;
//! and what was taught is written and taught again as the same, data sets of it included.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use clarion_collector::decode::{
    Datagram, DecodeSettings, Domain, DomainKey, ExporterState, LearnedBudget, Profile, SharedTable, decode, identify,
};
use clarion_collector::flow::{Exporter, FlowBatch, Version};
use clarion_collector::share::{Reader, Source, Whose, write_snapshot};

/// Octets of a snapshot's header, and of the head of a record.
const HEADER: usize = 32;
const HEAD: usize = 16;
const MARKER: [u8; 4] = [0xC1, 0x4C, 0x4C, 0x52];
const NOW_NS: u64 = 1_735_689_600_000_000_000;
/// Domains that one input makes at most.
const DOMAINS_MAX: usize = 16;

type Domains = BTreeMap<String, (Whose, Arc<Domain>)>;

/// Domains by who they are of, as the collector's table keeps them, with bounds that an input can reach.
pub struct Table {
    domains: Mutex<Domains>,
    states: Mutex<BTreeMap<(String, IpAddr), Arc<ExporterState>>>,
    budget: Arc<LearnedBudget>,
}

impl Default for Table {
    fn default() -> Self {
        let budget = Arc::new(LearnedBudget::new(1 << 16, 1 << 18));
        Self { domains: Mutex::default(), states: Mutex::default(), budget }
    }
}

impl Table {
    /// Everything that it has learned, in an order of its own.
    fn lessons(&self) -> Vec<String> {
        let mut lessons = Vec::new();
        self.each(&mut |whose, domain, has_shared| {
            domain.export(NOW_NS, |lesson| lessons.push(format!("{whose:?} {lesson:?}")));
            for table in SharedTable::ALL.iter().filter(|_| has_shared) {
                domain.exporter.export(*table, |lesson| lessons.push(format!("{:?} {lesson:?}", whose.address)));
            }
            true
        });
        lessons.sort();
        lessons
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut octets = Vec::new();
        let written = write_snapshot(self, NOW_NS, &mut octets).expect("memory takes it");
        assert_eq!(written.octets, octets.len() as u64);
        octets
    }
}

impl Source for Table {
    fn each(&self, show: &mut dyn FnMut(&Whose, &Arc<Domain>, bool) -> bool) {
        let domains: Vec<_> = self.domains.lock().expect("nobody panics with it").values().cloned().collect();
        let mut shared: Vec<Arc<ExporterState>> = Vec::new();
        for (whose, domain) in &domains {
            let is_first = !shared.iter().any(|state| Arc::ptr_eq(state, &domain.exporter));
            shared.push(Arc::clone(&domain.exporter));
            if !show(whose, domain, is_first) {
                return;
            }
        }
    }

    fn domain(&self, whose: &Whose) -> Option<Arc<Domain>> {
        let version = Version::from_wire(whose.version)?;
        let key = DomainKey { session: whose.session, version, observation_domain: whose.observation_domain };
        let name = format!("{:?} {:?} {:?} {key:?}", whose.tenant, whose.address, whose.listener);
        let mut domains = self.domains.lock().expect("nobody panics with it");
        if domains.len() >= DOMAINS_MAX && !domains.contains_key(&name) {
            return None;
        }
        let mut states = self.states.lock().expect("nobody panics with it");
        let state = states.entry((whose.tenant.clone(), whose.address)).or_insert_with(|| {
            let exporter = Exporter { tenant: whose.tenant.as_str().into(), ..Exporter::of_address(whose.address) };
            // With all that a profile can allow.
            let profile = Profile { teaches_elements: true, enterprise_in_v9: true, ..Profile::default() };
            let settings = DecodeSettings { profile, ..DecodeSettings::default() };
            Arc::new(ExporterState::new(Arc::new(exporter), settings, Arc::clone(&self.budget)))
        });
        let make = || (whose.clone(), Arc::new(Domain::new(key, Arc::clone(state), None)));
        Some(Arc::clone(&domains.entry(name).or_insert_with(make).1))
    }
}

/// A snapshot as it is, and the same with all checksums made right: without that no changed octet would get any further.
/// Answers with the lessons that were learned.
pub fn check_snapshot(octets: &[u8]) -> Vec<String> {
    check(octets);
    let mut repaired = octets.to_vec();
    repair(&mut repaired);
    check(&repaired)
}

fn check(octets: &[u8]) -> Vec<String> {
    let first = taught(octets);
    let lessons = first.lessons();
    let budget = &first.budget;
    let taken = budget.learned_octets.load(std::sync::atomic::Ordering::Acquire);
    assert!(taken <= budget.learned_octets_max, "{taken} octets learned");
    // What was learned once is within the bounds: written and read, it is the same.
    let kept = first.snapshot();
    let again = taught(&kept);
    assert_eq!(again.lessons(), lessons);
    decodes_alike(&first, &again);
    lessons
}

fn taught(octets: &[u8]) -> Table {
    let table = Table::default();
    let Ok(mut reader) = Reader::new(octets) else { return table };
    while let Some((whose, lessons)) = reader.record().expect("memory can be read") {
        let Some(domain) = table.domain(&whose) else { continue };
        for lesson in lessons {
            let _ = domain.restore(&lesson, NOW_NS);
        }
    }
    // A record takes a head at least; of a damaged one a marker may be all that is left.
    let most = |octets_of_one: usize| (octets.len() / octets_of_one) as u64;
    let counts = &reader.counts;
    assert!(counts.records <= most(HEAD) && counts.damaged <= most(MARKER.len()) + 1, "{counts:?}");
    table
}

/// A data set of each template, the same for both.
fn decodes_alike(one: &Table, other: &Table) {
    let body: Vec<u8> = (0..200_u8).collect();
    let (ours, theirs) = (one.domains.lock().expect("whole"), other.domains.lock().expect("whole"));
    for (name, (_, domain)) in ours.iter() {
        // One that has learned nothing is not written.
        let Some((_, again)) = theirs.get(name) else { continue };
        let ids: Vec<u16> = domain.templates().iter().map(|template| template.id).collect();
        for id in ids {
            let set = [&id.to_be_bytes()[..], &204_u16.to_be_bytes(), &body].concat();
            let message = message(domain.key.version, domain.key.observation_domain, &set);
            let rows = [domain, again].map(|domain| {
                let mut batch = FlowBatch::with_capacity(64);
                let peer = SocketAddr::from(([192, 0, 2, 1], 4_000));
                let datagram = Datagram { peer, receive_ns: NOW_NS, octets: &message };
                let header = identify(&message).expect("a header of ours");
                let outcome = decode(&datagram, &header, domain, &mut batch);
                (outcome.records, outcome.options_records, outcome.sets_dropped, batch.records)
            });
            assert!(rows[0] == rows[1], "template {id} of {name}");
        }
    }
}

fn message(version: Version, domain: u32, set: &[u8]) -> Vec<u8> {
    let words: &[u32] = &[60_000, 1_735_689_600, 1, domain];
    let (head, words): (u16, &[u32]) = match version {
        Version::Ipfix => (16 + set.len() as u16, &words[1..]),
        _ => (1, words),
    };
    let mut octets = [(version as u16).to_be_bytes(), head.to_be_bytes()].concat();
    words.iter().for_each(|word| octets.extend(word.to_be_bytes()));
    octets.extend(set);
    octets
}

fn repair(octets: &mut [u8]) {
    if octets.len() < HEADER {
        return;
    }
    let crc = crc32fast::hash(&octets[..HEADER - 4]);
    octets[HEADER - 4..HEADER].copy_from_slice(&crc.to_be_bytes());
    let written: [u8; 8] = std::array::from_fn(|at| octets[12 + at]);
    let mut at = HEADER;
    while at + HEAD <= octets.len() {
        if octets[at..at + 4] != MARKER {
            at += 1;
            continue;
        }
        let length = u32::from_be_bytes(std::array::from_fn(|index| octets[at + 4 + index])) as usize;
        let payload = octets.get(at + HEAD..(at + HEAD).saturating_add(length)).unwrap_or_default();
        let crc = crc32fast::hash(payload);
        octets[at + 8..at + 12].copy_from_slice(&crc.to_be_bytes());
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&octets[at..at + 12]);
        hasher.update(&written);
        octets[at + 12..at + HEAD].copy_from_slice(&hasher.finalize().to_be_bytes());
        at += HEAD;
    }
}
