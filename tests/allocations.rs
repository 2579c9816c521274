//! What the path allocates in steady state, counted: nothing per record, nothing per datagram.
//!
//! A counting allocator stands in for the system's in this test binary alone. Counts are per thread, so that
//! tests may run side by side. Everything is warmed up first: templates learned, vectors at their size.

#![allow(unsafe_code, reason = "an allocator cannot be written without; it only counts and passes on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use clarion_collector::config::fields;
use clarion_collector::decode::{Datagram, DecodeSettings, Domain, Outcome, Selection, SequenceNote, decode, identify};
use clarion_collector::flow::{
    ElementId, ElementValue, Exporter, Field, FieldSet, FlowBatch, FlowRecord, Presence, Version,
};
use clarion_collector::limits;
use clarion_collector::metrics::{Metrics, Shape};
use clarion_collector::queue::{FlowReceiver, QueueSettings, Received, channel};
use clarion_collector::sink::encode::{Counters, EncodeSettings, Encoder, Fill, Format, OutputFields, Progress};
use clarion_collector::tools::synthetic::{SyntheticExporter, SyntheticOptions};

const NOW_NS: u64 = 1_700_000_000_000_000_000;

thread_local! {
    /// Calls of the allocator by this thread. Const and without a destructor: using it allocates nothing.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() {
    // A thread that is about to end has no counter any more, and nobody who asks.
    let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
}

// SAFETY: every call goes to `System` as it came, which keeps the contract; counting touches no memory of theirs.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise for `alloc` is the one that `System::alloc` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, octets: usize) -> *mut u8 {
        count();
        // SAFETY: `pointer` came from `System`, since all allocation goes there; the rest is the caller's promise.
        unsafe { System.realloc(pointer, layout, octets) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as in `realloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Calls of the allocator while `work` runs on this thread.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = CALLS.get();
    work();
    CALLS.get() - before
}

#[test]
fn the_allocator_counts_what_is_allocated() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1_u64)))), 1);
    let grown = allocations(|| {
        let mut octets: Vec<u8> = Vec::with_capacity(1);
        (0..100).for_each(|n| octets.push(n));
        std::hint::black_box(&octets);
    });
    assert!(grown > 3, "a vector that grows from 1 to 100 octets took {grown} calls");
}

fn domain(version: Version, selection: Selection) -> Domain {
    Domain::alone(version, 1, DecodeSettings { selection, park_age_ns: 0, ..DecodeSettings::default() })
}

fn decode_into(domain: &Domain, octets: &[u8], batch: &mut FlowBatch) -> Outcome {
    let peer = SocketAddr::from(([192, 0, 2, 1], 2_055));
    let header = identify(octets).expect("a known version");
    decode(&Datagram { peer, receive_ns: NOW_NS, octets }, &header, domain, batch)
}

/// Decodes `teach`, one round of `datagrams` to warm up, then counts over many rounds; with the sequence
/// numbers applied as a worker does it.
fn assert_decodes_without_allocating(what: &str, domain: &Domain, teach: &[Vec<u8>], datagrams: &[Vec<u8>]) {
    const ROUNDS: u32 = 50;
    let mut batch = FlowBatch::with_capacity(4_096);
    let mut notes: Vec<SequenceNote> = Vec::with_capacity(datagrams.len());
    for octets in teach {
        decode_into(domain, octets, &mut batch);
    }
    let mut records = 0;
    let mut round = |records: &mut u32| {
        batch.clear();
        notes.clear();
        for octets in datagrams {
            let outcome = decode_into(domain, octets, &mut batch);
            *records += outcome.records;
            notes.extend(outcome.sequence);
        }
        domain.apply_sequence(&mut notes, 64);
    };
    round(&mut records);
    assert!(records as usize >= 10 * datagrams.len(), "{what}: only {records} records to measure with");
    let per_round = records;
    let calls = allocations(|| (0..ROUNDS).for_each(|_| round(&mut records)));
    assert_eq!(records, per_round * (ROUNDS + 1), "{what}: every round decodes the same");
    assert_eq!(calls, 0, "{what}: {calls} allocations in {} datagrams", ROUNDS as usize * datagrams.len());
}

/// Datagrams of a synthetic exporter: (those with templates, those with data alone).
fn synthetic(version: Version) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut exporter = SyntheticExporter::new(SyntheticOptions::new(version, 1));
    let teach = exporter.next_datagram(NOW_NS, 20).octets.to_vec();
    let data = (0..40).map(|_| exporter.next_datagram(NOW_NS, 20).octets.to_vec()).collect();
    (vec![teach], data)
}

/// v9 with one template of 20 IPv4 fields in 64 octets, and datagrams of 22 records.
fn twenty_fields() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let lengths = [4_u16, 4, 4, 4, 4, 4, 4, 4, 4, 2, 2, 1, 1, 1, 1, 4, 4, 1, 1, 10];
    let ids = [8_u16, 12, 15, 10, 14, 2, 1, 22, 21, 7, 11, 6, 4, 5, 61, 16, 17, 9, 13, 210];
    let message = |sequence: u32, set: u16, body: &[u8]| {
        let mut octets = vec![0, 9, 0, 1];
        for word in [3_600_000_u32, 1_700_000_000, sequence, 1] {
            octets.extend(word.to_be_bytes());
        }
        octets.extend(set.to_be_bytes());
        octets.extend(u16::try_from(body.len() + 4).expect("one datagram").to_be_bytes());
        octets.extend(body);
        octets
    };
    let mut template = vec![1, 0, 0, 20];
    for (id, length) in ids.iter().zip(lengths) {
        template.extend(id.to_be_bytes());
        template.extend(length.to_be_bytes());
    }
    let data: Vec<u8> = (0..22 * 64_u32).map(|i| (i % 251) as u8).collect();
    (vec![message(0, 0, &template)], (1..=40).map(|sequence| message(sequence, 256, &data)).collect())
}

/// IPFIX with fields of each kind, both directions and a list of flows, and datagrams of ten records.
fn many_fields() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let message = |sequence: u32, sets: &[(u16, &[u8])]| {
        let length = 16 + sets.iter().map(|(_, body)| body.len() + 4).sum::<usize>();
        let mut octets = vec![0, 10];
        octets.extend(u16::try_from(length).expect("one datagram").to_be_bytes());
        for word in [1_700_000_000, sequence, 1] {
            octets.extend(word.to_be_bytes());
        }
        for (id, body) in sets {
            octets.extend(id.to_be_bytes());
            octets.extend(u16::try_from(body.len() + 4).expect("one datagram").to_be_bytes());
            octets.extend(*body);
        }
        octets
    };
    const ANY: u16 = 0xFFFF;
    // Addresses, counter, NAT, TTL, labels, application, user, MAC addresses, list; the counter of the other direction.
    let outer = [
        (8_u16, 4_u16),
        (12, 4),
        (1, 4),
        (225, 4),
        (52, 1),
        (70, 3),
        (71, 3),
        (95, 4),
        (371, ANY),
        (56, 6),
        (81, 6),
        (292, ANY),
    ];
    let mut template = vec![1, 0, 0, 13];
    for (id, length) in outer {
        template.extend([id, length].map(u16::to_be_bytes).concat());
    }
    template.extend([0x80, 1, 0, 4, 0, 0, 0x72, 0x79]);
    template.extend([257_u16, 4, 8, 4, 12, 4, 1, 4, 234, 4].map(u16::to_be_bytes).concat());
    let mut record =
        vec![10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 1, 0, 192, 0, 2, 1, 64, 0, 1, 0, 0, 1, 0x11, 13, 0, 1, 197, 3];
    record.extend(b"ann");
    record.extend([1; 12]);
    record.extend([35, 3, 1, 1]);
    for vrf in [1, 2] {
        record.extend([10, 0, 0, 3, 10, 0, 0, 4, 0, 0, 0, 9, 0, 0, 0, vrf]);
    }
    record.extend([0, 0, 0, 9]);
    let data = record.repeat(10);
    (vec![message(0, &[(2, &template)])], (1..=40).map(|sequence| message(sequence, &[(256, &data)])).collect())
}

#[test]
fn decoding_allocates_nothing_per_datagram() {
    for version in [Version::V5, Version::V9, Version::Ipfix] {
        let (teach, data) = synthetic(version);
        assert_decodes_without_allocating(version.label(), &domain(version, Selection::CORE), &teach, &data);
    }
    let (teach, data) = twenty_fields();
    assert_decodes_without_allocating("v9, 20 fields", &domain(Version::V9, Selection::CORE), &teach, &data);
    // Further elements go to the batch's arena, which keeps its memory as well.
    for version in [Version::V9, Version::Ipfix] {
        let (teach, data) = synthetic(version);
        assert_decodes_without_allocating("all elements", &domain(version, Selection::WIRE), &teach, &data);
        let all = fields::select(&fields::read("all", &Arc::default()).expect("right"), Selection::CORE);
        assert_decodes_without_allocating("all fields", &domain(version, all), &teach, &data);
    }
    let (teach, data) = many_fields();
    let everything = Selection { fields: FieldSet::ALL, ..Selection::CORE };
    assert_decodes_without_allocating("every kind of field", &domain(Version::Ipfix, everything), &teach, &data);
}

fn flow(serial: u32) -> FlowRecord {
    let mut record = FlowRecord::empty(Version::V9);
    record.presence = Presence::SRC_V4.with(Presence::DST_V4).with(Presence::BYTES).with(Presence::PACKETS);
    record.src[..4].copy_from_slice(&serial.to_be_bytes());
    (record.bytes, record.packets, record.exporter) =
        (u64::from(serial) * 977, u64::from(serial), serial as u16 / 25 % 4);
    record
}

fn fill(batch: &mut FlowBatch, exporters: &[Arc<Exporter>], records: u32) {
    batch.exporters.extend(exporters.iter().cloned());
    batch.records.extend((0..records).map(flow));
    batch.note_receive(NOW_NS);
}

fn four_exporters() -> Vec<Arc<Exporter>> {
    (1..=4).map(|n| Arc::new(Exporter::of_address(IpAddr::from([192, 0, 2, n])))).collect()
}

fn encoding(format: Format) -> EncodeSettings {
    EncodeSettings { format, extra_keys: true, counters: Counters::Raw }
}

fn take(receiver: &FlowReceiver) {
    let Received::Batch(batch) = receiver.receive(Duration::ZERO) else { panic!("a batch was handed over") };
    receiver.taken_over(batch.len() as u64);
    receiver.recycle(batch);
}

#[test]
fn handing_over_and_recycling_allocate_nothing() {
    const RECORDS: u32 = 256;
    let shape =
        Shape { listeners: vec!["0".to_owned()], workers: 1, batchers: 1, sink: "test", instance: "test".to_owned() };
    let metrics = Metrics::new(&shape);
    let settings = QueueSettings {
        queue_batches: 4,
        flow_batch_records: RECORDS as usize,
        batchers: 1,
        batch_size: 1_000,
        batch_interval: Duration::from_secs(5),
        encode: encoding(Format::BackendJson),
        fields: OutputFields::default(),
    };
    let (sender, receiver) = channel(&settings, 1, metrics.queue());
    let exporters = four_exporters();
    let mut batch = sender.first_batch();
    let mut round = || {
        // Three wait at once, so that all batches of the pool take part.
        for _ in 0..3 {
            fill(&mut batch, &exporters, RECORDS);
            sender.hand_over(&mut batch);
        }
        (0..3).for_each(|_| take(&receiver));
    };
    // Each batch of the pool, and the channel itself, has been used once.
    (0..10).for_each(|_| round());
    let calls = allocations(|| (0..200).for_each(|_| round()));
    assert_eq!(calls, 0, "{calls} allocations in 600 hand-overs");

    // A full queue drops and counts; once it has names for whose records they are, that is no reason to allocate either.
    let mut overrun = || {
        for _ in 0..20 {
            fill(&mut batch, &exporters, RECORDS);
            sender.hand_over(&mut batch);
        }
    };
    overrun();
    let calls = allocations(overrun);
    assert_eq!(calls, 0, "{calls} allocations in 20 hand-overs to a full queue");
    let dropped: u64 = metrics.books.dropped.iter().map(clarion_collector::metrics::Tally::value).sum();
    assert_eq!(dropped, 36 * u64::from(RECORDS));
}

#[test]
fn encoding_allocates_a_handful_per_body_and_nothing_per_record() {
    // The body, what counts its references, its ends, its runs, and the buffer of the next one.
    const PER_BODY: u64 = 6;
    const BODIES: u64 = 40;
    let exporters = four_exporters();
    for format in [Format::BackendJson, Format::Ndjson] {
        for records in [100_u32, 1_000, 4_000] {
            let mut batch = FlowBatch::with_capacity(records as usize);
            fill(&mut batch, &exporters, records);
            let mut encoder = Encoder::new(encoding(format), records as usize, limits::BODY_OCTETS_MAX);
            let mut bodies = |count: u64| {
                for _ in 0..count {
                    assert_eq!(encoder.append(&batch, &mut Progress::default()), Fill::Full);
                    let body = encoder.finish().expect("a body");
                    assert_eq!(body.records, records);
                }
            };
            bodies(3);
            let calls = allocations(|| bodies(BODIES));
            // The runs of exporters are collected into one vector: its length is known, so it never grows.
            assert!(calls <= PER_BODY * BODIES, "{format:?}: {calls} allocations in {BODIES} bodies of {records}");
        }
    }
}

#[test]
fn chosen_fields_allocate_nothing_per_record_either() {
    const PER_BODY: u64 = 6;
    const BODIES: u64 = 20;
    const RECORDS: u32 = 500;
    let mut batch = FlowBatch::with_capacity(RECORDS as usize);
    fill(&mut batch, &four_exporters(), RECORDS);
    for record in 0..RECORDS {
        batch.push_number(record as usize, Field::Ttl, 64);
        batch.push_octets(record as usize, Field::AppName, b"a name\n");
        // Known and unknown, twice, of a wrong length, a time, a number with a fraction.
        for (id, length) in [(238, 1), (238, 1), (12, 3), (154, 8), (311, 4), (32_767, 5), (291, 9)] {
            let offset = batch.octets.len() as u32;
            batch.octets.resize(batch.octets.len() + usize::from(length), 0x3f);
            batch.elements.push(ElementValue { record, element: ElementId { pen: 0, id }, offset, length });
        }
    }
    for (format, list) in [(Format::BackendJson, "all"), (Format::Ndjson, "all"), (Format::Ndjson, "ttl,0/32767,bytes")]
    {
        let chosen = fields::read(list, &Arc::default()).expect("right");
        let mut encoder =
            Encoder::new(encoding(format), RECORDS as usize, limits::BODY_OCTETS_MAX).with_fields(&chosen);
        let mut bodies = |count: u64| {
            for _ in 0..count {
                assert_eq!(encoder.append(&batch, &mut Progress::default()), Fill::Full);
                assert_eq!(encoder.finish().map(|body| body.records), Some(RECORDS));
            }
        };
        bodies(3);
        let calls = allocations(|| bodies(BODIES));
        assert!(calls <= PER_BODY * BODIES, "{format:?}, {list}: {calls} allocations in {BODIES} bodies");
    }
}

#[test]
fn an_open_body_takes_records_without_allocating() {
    const RECORDS: u32 = 500;
    let mut batch = FlowBatch::with_capacity(RECORDS as usize);
    fill(&mut batch, &four_exporters(), RECORDS);
    let mut encoder = Encoder::new(encoding(Format::BackendJson), 2 * RECORDS as usize, limits::BODY_OCTETS_MAX);
    // Two bodies of full size: the buffers have theirs.
    for _ in 0..2 {
        encoder.append(&batch, &mut Progress::default());
        encoder.append(&batch, &mut Progress::default());
        encoder.finish();
    }
    let calls = allocations(|| {
        encoder.append(&batch, &mut Progress::default());
        encoder.append(&batch, &mut Progress::default());
    });
    assert_eq!((calls, encoder.records()), (0, 2 * RECORDS as usize));
}
