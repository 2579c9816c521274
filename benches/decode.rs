//! What decoding a datagram costs, per flow: v5, v9 and IPFIX as the synthetic exporters send them, and
//! v9 with a template of 20 IPv4 fields (64 octets a record, 22 records, as the performance plan has it).

use std::hint::black_box;

use clarion_collector::decode::{Datagram, DecodeSettings, Domain, decode, identify};
use clarion_collector::flow::{FlowBatch, Version};
use clarion_collector::tools::synthetic::{SyntheticExporter, SyntheticOptions};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const NOW_NS: u64 = 1_700_000_000_000_000_000;

fn domain(version: Version) -> Domain {
    Domain::alone(version, 1, DecodeSettings { park_age_ns: 0, ..DecodeSettings::default() })
}

/// 20 fields, 64 octets: addresses, ports, protocol, flags, TOS, interfaces, AS, counters, times ...
const FIELDS: [(u16, u16); 20] = [
    (8, 4),
    (12, 4),
    (15, 4),
    (10, 4),
    (14, 4),
    (2, 4),
    (1, 4),
    (22, 4),
    (21, 4),
    (7, 2),
    (11, 2),
    (6, 1),
    (4, 1),
    (5, 1),
    (61, 1),
    (16, 4),
    (17, 4),
    (9, 1),
    (13, 1),
    (210, 10),
];

fn twenty_fields(records: usize) -> (Vec<u8>, Vec<u8>) {
    let header = |body: Vec<u8>| {
        let mut octets = vec![0, 9, 0, 1];
        for word in [3_600_000_u32, 1_700_000_000, 1, 1] {
            octets.extend(word.to_be_bytes());
        }
        octets.extend(body);
        octets
    };
    let set = |id: u16, body: Vec<u8>| {
        let length = u16::try_from(body.len() + 4).unwrap();
        [&id.to_be_bytes()[..], &length.to_be_bytes(), &body].concat()
    };
    let mut template = vec![1, 0, 0, 20];
    for (id, length) in FIELDS {
        template.extend(id.to_be_bytes());
        template.extend(length.to_be_bytes());
    }
    let octets: u16 = FIELDS.iter().map(|f| f.1).sum();
    assert_eq!(octets, 64);
    let mut data: Vec<u8> = (0..records * 64).map(|i| u8::try_from(i % 251).unwrap()).collect();
    for record in data.chunks_exact_mut(64) {
        // 22 and 21, seconds before the header's uptime: other times would send each record to look for better ones.
        record[28..32].copy_from_slice(&3_590_000_u32.to_be_bytes());
        record[32..36].copy_from_slice(&3_595_000_u32.to_be_bytes());
    }
    (header(set(0, template)), header(set(256, data)))
}

fn measure(criterion: &mut Criterion, name: &str, version: Version, teach: &[&[u8]], octets: &[u8]) {
    let domain = domain(version);
    let mut batch = FlowBatch::with_capacity(4_096);
    let peer = "192.0.2.1:2055".parse().unwrap();
    for octets in teach {
        let header = identify(octets).unwrap();
        decode(&Datagram { peer, receive_ns: NOW_NS, octets }, &header, &domain, &mut batch);
    }
    batch.clear();
    let header = identify(octets).unwrap();
    let records = decode(&Datagram { peer, receive_ns: NOW_NS, octets }, &header, &domain, &mut batch).records;
    assert!(records > 0, "{name} decodes to nothing");
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(u64::from(records)));
    group.bench_function(name, |b| {
        b.iter(|| {
            batch.clear();
            let octets = black_box(octets);
            let header = identify(octets).unwrap();
            decode(&Datagram { peer, receive_ns: NOW_NS, octets }, &header, &domain, &mut batch).records
        });
    });
    group.finish();
}

fn decoding(criterion: &mut Criterion) {
    let (template, data) = twenty_fields(22);
    measure(criterion, "v9 20 fields, 22 records", Version::V9, &[&template], &data);
    for (name, version) in
        [("v5 synthetic", Version::V5), ("v9 synthetic", Version::V9), ("ipfix synthetic", Version::Ipfix)]
    {
        let mut exporter = SyntheticExporter::new(SyntheticOptions::new(version, 1));
        let first = exporter.next_datagram(NOW_NS, 20).octets.to_vec();
        let second = exporter.next_datagram(NOW_NS, 20).octets.to_vec();
        measure(criterion, name, version, &[&first], &second);
    }
}

criterion_group!(benches, decoding);
criterion_main!(benches);
