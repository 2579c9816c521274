//! Flows for tests of what comes behind decode.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;

use super::EncodedBatch;
use crate::flow::{Exporter, FlowBatch, FlowRecord, Presence, SamplingSource, Version};

/// A flow that can be recognised: its serial stands in its ports, addresses and bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    /// Index into the batch's exporters.
    pub(crate) exporter: u16,
    /// What tells it from others.
    pub(crate) serial: u32,
    /// IPv6 addresses.
    pub(crate) v6: bool,
}

/// An empty batch with one exporter for each switch_id; equal ones have equal addresses.
pub(crate) fn batch(switch_ids: &[&str]) -> FlowBatch {
    let mut batch = FlowBatch::with_capacity(16);
    for switch_id in switch_ids {
        let first = switch_ids.iter().position(|s| s == switch_id).unwrap_or(0);
        batch.exporters.push(Arc::new(Exporter {
            switch_id: Box::from(*switch_id),
            ..Exporter::of_address(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1 + first as u8)))
        }));
    }
    batch.note_receive(1_700_000_000_000_000_000);
    batch
}

/// Appends `flow`.
pub(crate) fn push(batch: &mut FlowBatch, flow: Flow) {
    let mut record = FlowRecord::empty(Version::V9);
    let serial = flow.serial.to_be_bytes();
    if flow.v6 {
        record.presence = Presence::SRC_V6.with(Presence::DST_V6);
        record.src[..2].copy_from_slice(&[0x20, 1]);
        record.src[12..].copy_from_slice(&serial);
        record.dst = record.src;
    } else {
        record.presence = Presence::SRC_V4.with(Presence::DST_V4);
        record.src[..4].copy_from_slice(&[10, serial[1], serial[2], serial[3]]);
        record.dst[..4].copy_from_slice(&[198, 51, 100, serial[3]]);
    }
    record.presence.set(Presence::SRC_PORT.with(Presence::DST_PORT).with(Presence::PROTOCOL));
    record.presence.set(Presence::BYTES.with(Presence::PACKETS));
    (record.src_port, record.dst_port, record.protocol) = (flow.serial as u16, 443, 6);
    (record.bytes, record.packets) = (u64::from(flow.serial), 1);
    (record.start_ms, record.end_ms) = (1_700_000_000_999, 1_700_000_001_000);
    record.exporter = flow.exporter;
    batch.records.push(record);
}

/// Makes `batch` hold `records` flows of exporter `192.0.2.1` with serials from `first` on.
pub(crate) fn fill(batch: &mut FlowBatch, first: u32, records: u32) {
    batch.clear();
    let exporters = self::batch(&["192.0.2.1"]).exporters;
    batch.exporters.extend(exporters);
    batch.note_receive(1_700_000_000_000_000_000);
    for serial in first..first + records {
        push(batch, Flow { exporter: 0, serial, v6: false });
    }
}

/// A batch that is filled so.
pub(crate) fn numbered(first: u32, records: u32) -> Box<FlowBatch> {
    let mut batch = Box::new(FlowBatch::with_capacity(16));
    fill(&mut batch, first, records);
    batch
}

/// Serials (their low 16 bits, from the source port) of a backend body.
pub(crate) fn serials(body: &EncodedBatch) -> Vec<u64> {
    let value: Value = serde_json::from_slice(&body.body).expect("a JSON body");
    let records = value["records"].as_array().expect("records");
    records.iter().map(|r| r["src_port"].as_u64().expect("a port")).collect()
}

prop_compose! {
    fn any_record(exporters: u16)(
        presence in any::<u64>(),
        octets in any::<[u8; 32]>(),
        wide in any::<[u64; 4]>(),
        words in any::<[u32; 6]>(),
        halves in any::<[u16; 8]>(),
        macs in any::<[[u8; 6]; 2]>(),
        small in any::<[u8; 4]>(),
        exporter in 0..exporters,
        version in prop::sample::select(Version::ALL.to_vec()),
        source in prop::sample::select(vec![SamplingSource::Unknown, SamplingSource::Record, SamplingSource::Default]),
    ) -> FlowRecord {
        let mut record = FlowRecord::empty(version);
        // Addresses are there more often than not.
        record.presence = Presence(presence | if small[0] % 4 == 0 { 0 } else { 0b0101 });
        record.src.copy_from_slice(&octets[..16]);
        record.dst.copy_from_slice(&octets[16..]);
        record.next_hop = record.src;
        [record.bytes, record.packets, record.start_ms, record.end_ms] = wide;
        [record.sampling_rate, record.observation_domain, record.input_if, record.output_if, record.src_as,
         record.dst_as] = words;
        record.sampling_source = source;
        [record.template_id, record.src_port, record.dst_port, record.vlan, record.post_vlan, record.src_sgt,
         record.dst_sgt, record.tcp_flags] = halves;
        [record.src_mac, record.dst_mac] = macs;
        [record.protocol, record.tos, record.icmp_type, record.direction] = small;
        record.exporter = exporter;
        record
    }
}

/// Batches of up to `records` flows of any content, from up to four exporters.
pub(crate) fn any_batch(records: usize) -> impl Strategy<Value = FlowBatch> {
    let switch_ids = prop::collection::vec(prop_oneof![Just("same".to_owned()), any::<String>()], 4);
    (switch_ids, prop::collection::vec(any_record(4), 0..=records)).prop_map(|(switch_ids, records)| {
        let mut batch = batch(&switch_ids.iter().map(String::as_str).collect::<Vec<_>>());
        batch.records = records;
        batch
    })
}
