//! Nanoseconds a record costs in a batcher: records of one FlowBatch to a finished body.
//!
//! `elem/s` is records per second of one thread. A body is 1,000 records (the default batch) of four
//! exporters in runs of 25, as datagrams of v5 and v9 bring them.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use clarion_collector::flow::{Exporter, FlowBatch, FlowRecord, Presence, SamplingSource, Version};
use clarion_collector::sink::encode::{Counters, EncodeSettings, Encoder, Format, Progress};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const RECORDS: u32 = 1_000;
const RUN: u32 = 25;

/// Numbers of every length, the same in each run: multiplicative hashing of the index.
fn spread(index: u32) -> u32 {
    index.wrapping_mul(0x9e37_79b1)
}

fn batch(fill: impl Fn(&mut FlowRecord, u32)) -> FlowBatch {
    let mut batch = FlowBatch::with_capacity(RECORDS as usize);
    for index in 0..4 {
        batch.exporters.push(Arc::new(Exporter::of_address(IpAddr::V4(Ipv4Addr::new(192, 0, 2, index)))));
    }
    batch.note_receive(1_700_000_000_000_000_000);
    for index in 0..RECORDS {
        let mut record = FlowRecord::empty(Version::V9);
        let wide = spread(index);
        record.presence = Presence::SRC_PORT.with(Presence::DST_PORT).with(Presence::PROTOCOL);
        record.presence.set(Presence::BYTES.with(Presence::PACKETS).with(Presence::TIMES));
        (record.src_port, record.dst_port, record.protocol) = (wide as u16, 443, 6);
        (record.bytes, record.packets) = (u64::from(wide >> (wide % 24)), u64::from(wide >> (16 + wide % 12)));
        record.end_ms = 1_700_000_000_000 + u64::from(wide % 60_000);
        record.start_ms = record.end_ms - u64::from(wide % 10_000);
        record.sampling_source = SamplingSource::Record;
        record.exporter = (index / RUN % 4) as u16;
        fill(&mut record, wide);
        batch.records.push(record);
    }
    batch
}

fn v4(record: &mut FlowRecord, wide: u32) {
    record.presence.set(Presence::SRC_V4.with(Presence::DST_V4));
    record.src[..4].copy_from_slice(&wide.to_be_bytes());
    record.dst[..4].copy_from_slice(&wide.rotate_left(9).to_be_bytes());
}

fn v6(record: &mut FlowRecord, wide: u32) {
    record.presence.set(Presence::SRC_V6.with(Presence::DST_V6));
    record.src = [0x20, 1, 0x0d, 0xb8, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
    record.dst = [0x2a, 2, 0x0d, 0xb8, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0, 0, 0, 0, 0];
    record.src[12..].copy_from_slice(&wide.to_be_bytes());
    record.dst[8..12].copy_from_slice(&wide.rotate_left(9).to_be_bytes());
}

fn all_keys(record: &mut FlowRecord, wide: u32) {
    v4(record, wide);
    record.presence.set(Presence::SRC_SGT.with(Presence::DST_SGT).with(Presence::VLAN));
    record.presence.set(Presence::SRC_MAC.with(Presence::DST_MAC));
    (record.src_sgt, record.dst_sgt, record.vlan) = (wide as u16, 17, (wide % 4_096) as u16);
    record.src_mac[2..].copy_from_slice(&wide.to_be_bytes());
    record.dst_mac = [0x02, 0, 0x5e, 0x10, 0, 0xff];
    (record.sampling_rate, record.sampling_source) = (1_000, SamplingSource::Domain);
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    group.throughput(Throughput::Elements(u64::from(RECORDS)));
    for (name, format, batch) in [
        ("backend_json/v4_10_keys", Format::BackendJson, batch(v4)),
        ("backend_json/v6_10_keys", Format::BackendJson, batch(v6)),
        ("backend_json/v4_all_keys", Format::BackendJson, batch(all_keys)),
        ("ndjson/v4_all_keys", Format::Ndjson, batch(all_keys)),
    ] {
        let settings = EncodeSettings { format, extra_keys: true, counters: Counters::Raw };
        let mut encoder = Encoder::new(settings, RECORDS as usize, 1 << 26);
        group.bench_function(name, |b| {
            b.iter(|| {
                encoder.append(black_box(&batch), &mut Progress::default());
                encoder.finish()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
