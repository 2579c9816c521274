//! The backend contract: `{"records":[{..},..],"switch_id":".."}`.
//!
//! A record has ten keys always, SGTs, MACs and the VLAN where they are known, and the sampling keys
//! where the rate is worth a word. A record without both addresses is not representable: the backend
//! would refuse the whole body for it. An event (firewall, NAT) is no flow, and 0 octets of one would be wrong. Integers above 2^63-1 make the backend answer 500, so they are
//! cut to it and counted.

use super::line::Line;
use super::{Counters, EncodeSettings, Written};
use crate::flow::{FlowRecord, Presence, SamplingSource};
use crate::metrics::RecordDrop;

pub(super) const HEAD: &[u8] = b"{\"records\":[";
pub(super) const SEPARATOR: &[u8] = b",";
/// Key of a record's (and the body's) switch; its value is a JSON string.
pub(super) const SWITCH_KEY: &[u8] = b",\"switch_id\":";

/// Largest integer that the backend stores: a signed 64-bit column.
pub(super) const INTEGER_MAX: u64 = i64::MAX.cast_unsigned();

/// Why the contract has no place for `record`; None if it has.
#[inline]
#[must_use]
pub fn no_place(record: &FlowRecord) -> Option<RecordDrop> {
    const SRC: Presence = Presence::SRC_V4.with(Presence::SRC_V6);
    const DST: Presence = Presence::DST_V4.with(Presence::DST_V6);
    let presence = record.presence;
    if presence.has(Presence::EVENT) {
        return Some(RecordDrop::Event);
    }
    (!presence.has_any(SRC) || !presence.has_any(DST)).then_some(RecordDrop::NotRepresentable)
}

/// Writes `record` up to its switch_id; the caller ends it with [`SWITCH_KEY`], value and brace.
#[inline]
pub(super) fn record(record: &FlowRecord, settings: EncodeSettings, line: &mut Line) -> Written {
    if let Some(drop) = no_place(record) {
        return if drop == RecordDrop::Event { Written::Event } else { Written::NotRepresentable };
    }
    let presence = record.presence;
    line.clear();
    line.lit(b"{\"src_ip\":\"");
    address(line, &record.src, presence.has(Presence::SRC_V4));
    line.lit(b"\",\"dst_ip\":\"");
    address(line, &record.dst, presence.has(Presence::DST_V4));
    // Fields that are not known are zero in the record, which is what the contract wants of them.
    line.lit(b"\",\"src_port\":");
    line.uint32(u32::from(record.src_port));
    line.lit(b",\"dst_port\":");
    line.uint32(u32::from(record.dst_port));
    line.lit(b",\"protocol\":");
    line.uint32(u32::from(record.protocol));
    let (bytes, packets) = match settings.counters {
        Counters::Raw => (record.bytes, record.packets),
        Counters::Scaled => scaled(record),
    };
    line.lit(b",\"bytes\":");
    line.uint(bytes.min(INTEGER_MAX));
    line.lit(b",\"packets\":");
    line.uint(packets.min(INTEGER_MAX));
    line.lit(b",\"flow_start\":");
    line.uint(record.start_ms / 1_000);
    line.lit(b",\"flow_end\":");
    line.uint(record.end_ms / 1_000);
    optional(record, settings, line);
    if bytes.max(packets) > INTEGER_MAX { Written::Clamped } else { Written::Whole }
}

#[inline]
fn address(line: &mut Line, octets: &[u8; 16], v4: bool) {
    if v4 {
        let [a, b, c, d, ..] = *octets;
        line.v4([a, b, c, d]);
    } else {
        line.v6(*octets);
    }
}

#[inline]
fn optional(record: &FlowRecord, settings: EncodeSettings, line: &mut Line) {
    const OPTIONAL: Presence =
        Presence::SRC_SGT.with(Presence::DST_SGT).with(Presence::SRC_MAC).with(Presence::DST_MAC).with(Presence::VLAN);
    if record.presence.has_any(OPTIONAL) {
        if record.has(Presence::SRC_SGT) {
            line.lit(b",\"src_sgt\":");
            line.uint32(u32::from(record.src_sgt));
        }
        if record.has(Presence::DST_SGT) {
            line.lit(b",\"dst_sgt\":");
            line.uint32(u32::from(record.dst_sgt));
        }
        // An all-zero address is what exporters send for "none" (protocol rules, section 5).
        if record.has(Presence::SRC_MAC) && record.src_mac != [0; 6] {
            line.lit(b",\"src_mac\":\"");
            line.mac(record.src_mac);
            line.lit(b"\"");
        }
        if record.has(Presence::DST_MAC) && record.dst_mac != [0; 6] {
            line.lit(b",\"dst_mac\":\"");
            line.mac(record.dst_mac);
            line.lit(b"\"");
        }
        if record.has(Presence::VLAN) {
            line.lit(b",\"vlan_id\":");
            line.uint32(u32::from(record.vlan));
        }
    }
    if tells_sampling(record, settings) {
        line.lit(b",\"sampling_rate\":");
        line.uint32(record.rate());
        line.lit(b",\"sampling_source\":\"");
        line.bytes(record.sampling_source.label().as_bytes());
        line.lit(b"\"");
    }
}

/// True if the sampling keys are worth a word.
#[inline]
pub(super) fn tells_sampling(record: &FlowRecord, settings: EncodeSettings) -> bool {
    settings.extra_keys && (record.rate() != 1 || record.sampling_source == SamplingSource::Unknown)
}

/// Bytes and packets times the sampling rate, saturating.
pub(super) fn scaled(record: &FlowRecord) -> (u64, u64) {
    let rate = u64::from(record.rate());
    (record.bytes.saturating_mul(rate), record.packets.saturating_mul(rate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Version;

    #[test]
    fn the_longest_record_fits_a_line() {
        let mut all = FlowRecord::empty(Version::Ipfix);
        all.presence = Presence(!Presence::SRC_V4.0 & !Presence::DST_V4.0 & !Presence::EVENT.0);
        (all.src, all.dst) = ([0xff; 16], [0xff; 16]);
        (all.bytes, all.packets, all.start_ms, all.end_ms) = (u64::MAX, u64::MAX, u64::MAX, u64::MAX);
        (all.src_port, all.dst_port, all.vlan, all.src_sgt, all.dst_sgt) =
            (u16::MAX, u16::MAX, 4_095, u16::MAX, 65_535);
        (all.protocol, all.sampling_rate, all.sampling_source) = (255, u32::MAX, SamplingSource::Interface);
        let settings =
            EncodeSettings { format: super::super::Format::BackendJson, extra_keys: true, counters: Counters::Scaled };
        let mut line = Line::new();
        assert_eq!(record(&all, settings, &mut line), Written::Clamped);
        assert!(line.as_bytes().len() + 16 < super::super::line::LINE_OCTETS);
    }
}
