//! The decoder's promises, checked on any octets. Used by the fuzz targets and, over the corpus, by `cargo test`.
//!
//! Promised for each datagram: no panic; a rejected one leaves nothing behind; the sets balance; flows stay
//! within the row limit and within the octets they came from; every flow is whole. For each sequence: decoding it
//! again gives the same flows, keeping every element gives the same flows as keeping none, and a domain that
//! retires gives back all that was parked. What comes over the wire is one row a record at least; looking into packets
//! and lists never loses one.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clarion_collector::decode::{
    Datagram, DecodeSettings, Domain, DomainKey, Elements, ExporterState, Header, Outcome, Selection, Session,
    carries_templates, decode, identify,
};
use clarion_collector::flow::{Exporter, FieldSet, FlowBatch, FlowRecord, Presence};
use clarion_collector::limits;

/// Receive time of the first datagram, Unix nanoseconds: 2025-01-01.
const START_NS: u64 = 1_735_689_600_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;
/// Age at which a parked set is dropped.
const PARK_AGE_NS: u64 = 60 * SECOND_NS;
/// Sequence window: that of a single worker.
const WINDOW: usize = limits::SEQUENCE_WINDOW_MIN;
/// Datagrams of one conversation: more finds nothing new and costs speed.
const CONVERSATION_DATAGRAMS_MAX: usize = 64;
/// Domains of one conversation.
const CONVERSATION_DOMAINS_MAX: usize = 8;

/// One step of a conversation.
#[derive(Debug, Clone, Copy)]
struct Step<'a> {
    octets: &'a [u8],
    /// Half an hour passes first, and old parked sets are dropped.
    after_a_pause: bool,
}

/// A datagram that a collector with nothing learned receives. Answers with the number of flows.
pub fn check_datagram(octets: &[u8]) -> usize {
    check(&[Step { octets, after_a_pause: false }])
}

/// Datagrams of one exporter in a row: each with a length of 16 bits before it, whose highest bit stands
/// for a pause. Answers with the number of flows.
pub fn check_conversation(input: &[u8]) -> usize {
    check(&steps(input))
}

fn steps(mut input: &[u8]) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    while let Some((length, rest)) = input.split_first_chunk::<2>()
        && steps.len() < CONVERSATION_DATAGRAMS_MAX
    {
        let word = u16::from_be_bytes(*length);
        let (octets, rest) = rest.split_at(usize::from(word & 0x7fff).min(rest.len()));
        steps.push(Step { octets, after_a_pause: word & 0x8000 != 0 });
        input = rest;
    }
    steps
}

fn check(steps: &[Step<'_>]) -> usize {
    let rows = run(steps, Selection::CORE);
    assert_eq!(rows, run(steps, Selection::CORE), "decoding the same datagrams again gave other flows");
    let everything = Selection { fields: FieldSet::ALL, elements: Elements::All, ..Selection::CORE };
    assert_eq!(rows, run(steps, everything), "keeping every element changed the flows");
    run(steps, Selection::WIRE);
    rows.len()
}

/// Export time of the datagrams that are made here.
const EXPORT_S: u32 = 1_735_689_600;

/// An IPFIX message of `sets`, each with its id; None if they do not fit one.
fn message(sets: &[(u16, Vec<u8>)]) -> Option<Vec<u8>> {
    let mut octets = vec![0, 10, 0, 0];
    for word in [EXPORT_S, 0, 1] {
        octets.extend(word.to_be_bytes());
    }
    for (id, body) in sets {
        octets.extend(id.to_be_bytes());
        octets.extend(u16::try_from(body.len() + 4).ok()?.to_be_bytes());
        octets.extend(body);
    }
    let length = u16::try_from(octets.len()).ok()?;
    octets[2..4].copy_from_slice(&length.to_be_bytes());
    Some(octets)
}

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn prefixed(octets: &[u8]) -> Vec<u8> {
    [&[255][..], &u16::try_from(octets.len()).unwrap_or(u16::MAX).to_be_bytes(), octets].concat()
}

/// The octets of a sampled packet; the first octet chooses the element. Answers with the number of flows.
pub fn check_section(input: &[u8]) -> usize {
    const ELEMENTS: [u16; 6] = [315, 313, 316, 317, 104, 314];
    let Some((choice, octets)) = input.split_first() else { return 0 };
    let element = ELEMENTS[usize::from(*choice) % ELEMENTS.len()];
    // Protocol (of 314 alone), size of the frame, the octets.
    let (protocol, number) = if element == 314 { (4, choice / 6) } else { (48, 0) };
    let template = words(&[256, 3, protocol, 1, 312, 2, element, 0xFFFF]);
    let record = [&[number, 5, 220][..], &prefixed(octets)].concat();
    let Some(octets) = message(&[(2, template), (256, record)]) else { return 0 };
    let rows = check_datagram(&octets);
    assert_eq!(rows, 1, "a sampled packet is one row");
    rows
}

/// Records of a set that hold a list of each kind; the templates of what stands in them are known: plain ones, flows,
/// reverse elements, variable lengths, and the lists again. Answers with the number of flows.
pub fn check_list(input: &[u8]) -> usize {
    const LISTS: [u16; 8] = [256, 3, 291, 0xFFFF, 292, 0xFFFF, 293, 0xFFFF];
    let reverse =
        [words(&[302, 2, 0x8000 | 1, 4]), vec![0, 0, 0x72, 0x79], words(&[0x8000 | 152, 8]), vec![0, 0, 0x72, 0x79]];
    let cert = [
        words(&[303, 2, 0x8000 | 14, 1]),
        vec![0, 0, 0x1A, 0xD7],
        words(&[0x8000 | 0x400F, 1]),
        vec![0, 0, 0x1A, 0xD7],
    ];
    let templates = [
        words(&LISTS),
        words(&[257, 6, 8, 4, 12, 4, 1, 4, 291, 0xFFFF, 292, 0xFFFF, 293, 0xFFFF]),
        words(&[300, 3, 8, 4, 12, 4, 1, 1]),
        words(&[301, 2, 56, 6, 80, 6]),
        reverse.concat(),
        cert.concat(),
        words(&[304, 3, 8, 4, 82, 0xFFFF, 12, 4]),
        words(&[305, 1, 313, 0xFFFF]),
        words(&[306, 1, 4, 1]),
    ];
    let Some((choice, records)) = input.split_first() else { return 0 };
    let id = 256 + u16::from(choice % 2);
    let Some(octets) = message(&[(2, templates.concat()), (id, records.to_vec())]) else { return 0 };
    check_datagram(&octets)
}

/// What one exporter taught the collector.
struct Learner {
    state: Arc<ExporterState>,
    domains: BTreeMap<(u16, u32), Learned>,
}

struct Learned {
    domain: Domain,
    parked_sets: u64,
    parked_octets: u64,
}

impl Learner {
    fn new(selection: Selection) -> Self {
        let settings = DecodeSettings { selection, park_age_ns: PARK_AGE_NS, ..DecodeSettings::default() };
        let exporter = Exporter::of_address(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let state = Arc::new(ExporterState::new(Arc::new(exporter), settings, Arc::default()));
        Self { state, domains: BTreeMap::new() }
    }

    /// The domain of this header; None where the conversation has enough of them.
    fn domain(&mut self, header: &Header) -> Option<&mut Learned> {
        let name = (header.version as u16, header.observation_domain);
        if !self.domains.contains_key(&name) && self.domains.len() >= CONVERSATION_DOMAINS_MAX {
            return None;
        }
        Some(self.domains.entry(name).or_insert_with(|| {
            let (version, observation_domain) = (header.version, header.observation_domain);
            let key = DomainKey { session: Session::Any, version, observation_domain };
            Learned { domain: Domain::new(key, Arc::clone(&self.state), None), parked_sets: 0, parked_octets: 0 }
        }))
    }
}

fn run(steps: &[Step<'_>], selection: Selection) -> Vec<FlowRecord> {
    let mut learner = Learner::new(selection);
    let mut rows = Vec::new();
    let mut batch = FlowBatch::with_capacity(64);
    let mut now_ns = START_NS;
    for step in steps {
        now_ns += SECOND_NS;
        if step.after_a_pause {
            now_ns += 30 * PARK_AGE_NS;
            learner.domains.values_mut().for_each(|learned| learned.expire(now_ns));
        }
        let header = match identify(step.octets) {
            Ok(header) => header,
            Err(error) => {
                assert!(error.offset as usize <= step.octets.len(), "{error} is outside the datagram");
                continue;
            }
        };
        let Some(learned) = learner.domain(&header) else { continue };
        batch.clear();
        let datagram =
            Datagram { peer: SocketAddr::from(([127, 0, 0, 1], 2055)), receive_ns: now_ns, octets: step.octets };
        let outcome = decode(&datagram, &header, &learned.domain, &mut batch);
        learned.check_outcome(&datagram, &header, &outcome, &batch);
        check_rows(&header, &batch);
        if let Some(note) = outcome.sequence {
            learned.domain.apply_sequence(&mut [note], WINDOW);
        }
        rows.extend_from_slice(&batch.records);
    }
    for learned in learner.domains.values_mut() {
        learned.retire();
    }
    assert_eq!(learner.state.budget.parked_octets.load(Ordering::Acquire), 0, "octets stay parked after all retired");
    rows
}

impl Learned {
    fn check_outcome(&mut self, datagram: &Datagram<'_>, header: &Header, outcome: &Outcome, batch: &FlowBatch) {
        let octets = datagram.octets.len() as u64;
        assert_eq!(outcome.records as usize, batch.len(), "the outcome miscounts its flows");
        if let Some(error) = outcome.rejected {
            assert!(error.offset as u64 <= octets, "{error} is outside the datagram");
            assert_eq!(
                (outcome.records, outcome.sets_seen, outcome.sets_parked),
                (0, 0, 0),
                "rejected, but used: {error}"
            );
            assert_eq!(outcome.templates_learned, 0, "rejected, but learned from: {error}");
        }
        let dropped: u32 = outcome.sets_dropped.iter().sum();
        assert_eq!(
            u64::from(outcome.sets_seen) + u64::from(outcome.sets_unparked),
            u64::from(outcome.sets_decoded)
                + u64::from(outcome.sets_options)
                + u64::from(outcome.sets_templates)
                + u64::from(outcome.sets_parked)
                + u64::from(dropped),
            "sets do not balance: {outcome:?}"
        );
        let values = 2 * (limits::LIST_ELEMENTS_PER_MESSAGE_MAX + limits::ROWS_PER_MESSAGE_MAX);
        assert!(batch.elements.len() <= values * limits::FIELDS_PER_TEMPLATE_MAX, "more elements than the limits");
        // Each record takes an octet at least, of this datagram or of a set that waited for its template, and is two rows at
        // most: one a direction.
        assert!(u64::from(outcome.records) <= 2 * (octets + outcome.octets_unparked), "more flows than octets");
        let messages = 1 + u64::from(outcome.sets_unparked);
        assert!(
            u64::from(outcome.records) <= messages * limits::ROWS_PER_MESSAGE_MAX as u64,
            "more flows than the limit"
        );
        if outcome.templates_learned > 0 && outcome.sets_unparked == 0 {
            assert!(carries_templates(header, datagram.octets), "learned a template where there is none");
        }
        self.parked_sets += u64::from(outcome.sets_parked);
        self.parked_octets += outcome.octets_parked;
        self.unpark(u64::from(outcome.sets_unparked), outcome.octets_unparked);
        self.check_status();
    }

    fn unpark(&mut self, sets: u64, octets: u64) {
        assert!(sets <= self.parked_sets && octets <= self.parked_octets, "more left the waiting room than came");
        self.parked_sets -= sets;
        self.parked_octets -= octets;
    }

    fn check_status(&self) {
        let status = self.domain.status();
        let waiting = (status.parked_sets as u64, status.parked_octets);
        assert_eq!(waiting, (self.parked_sets, self.parked_octets), "the waiting room miscounts");
        assert!(self.parked_sets <= limits::PARKED_SETS_PER_EXPORTER_MAX, "too many parked sets");
        assert!(self.parked_octets <= limits::PARKED_OCTETS_PER_EXPORTER_MAX, "too many parked octets");
        let templates = status.templates + status.options_templates;
        assert!(templates <= limits::TEMPLATES_PER_DOMAIN_MAX, "too many templates");
    }

    fn expire(&mut self, now_ns: u64) {
        let gone = self.domain.expire_parked(now_ns);
        self.unpark(u64::from(gone.sets), gone.octets);
        assert_eq!((self.parked_sets, self.parked_octets), (0, 0), "a set outlived its parking time");
    }

    fn retire(&mut self) {
        let gone = self.domain.retire();
        self.unpark(u64::from(gone.sets), gone.octets);
        assert_eq!((self.parked_sets, self.parked_octets), (0, 0), "a retired domain keeps sets");
    }
}

fn check_rows(header: &Header, batch: &FlowBatch) {
    for record in &batch.records {
        assert_eq!(record.version, header.version);
        assert_eq!(record.observation_domain, header.observation_domain);
        assert!(record.start_ms <= record.end_ms, "a flow ends before it starts: {record:?}");
        assert!((1..=limits::SAMPLING_RATE_MAX).contains(&record.rate()), "sampling rate: {record:?}");
        assert!(usize::from(record.exporter) < batch.exporters.len(), "a flow without exporter");
        for both in [
            Presence::SRC_V4.with(Presence::SRC_V6),
            Presence::DST_V4.with(Presence::DST_V6),
            Presence::NEXT_HOP_V4.with(Presence::NEXT_HOP_V6),
        ] {
            assert!(!record.has(both), "an address of two families: {record:?}");
        }
    }
    assert!(batch.fields.is_sorted_by_key(|f| f.record), "fields are not in the order of their flows");
    assert!(batch.fields.iter().all(|f| (f.record as usize) < batch.len()), "a field without flow");
    assert!(batch.elements.is_sorted_by_key(|e| e.record), "elements are not in the order of their flows");
    for element in &batch.elements {
        assert!((element.record as usize) < batch.len(), "an element without flow");
        assert!(
            element.offset as usize + usize::from(element.length) <= batch.octets.len(),
            "an element without octets"
        );
    }
}
