//! What one record lends another: parts of a row that come from a list, from the record round it, or from the other end.

use crate::flow::{FlowRecord, Presence};

/// An address of either family.
pub(super) const SRC: Presence = Presence::SRC_V4.with(Presence::SRC_V6);
pub(super) const DST: Presence = Presence::DST_V4.with(Presence::DST_V6);
const NEXT_HOP: Presence = Presence::NEXT_HOP_V4.with(Presence::NEXT_HOP_V6);

/// What counts traffic.
pub(super) const COUNTERS: Presence = Presence::BYTES.with(Presence::PACKETS);

/// What belongs to a flow's own two ends: no other flow may inherit it.
pub(super) const OF_ITS_ENDS: Presence = SRC
    .with(DST)
    .with(Presence::SRC_PORT)
    .with(Presence::DST_PORT)
    .with(Presence::PROTOCOL)
    .with(Presence::TCP_FLAGS)
    .with(Presence::TOS)
    .with(Presence::ICMP)
    .with(Presence::SRC_MAC)
    .with(Presence::DST_MAC)
    .with(Presence::SRC_SGT)
    .with(Presence::DST_SGT)
    .with(Presence::SRC_AS)
    .with(Presence::DST_AS)
    .with(Presence::SRC_MASK)
    .with(Presence::DST_MASK);

/// Gives `record` what it lacks and `from` knows, but nothing of `but`.
pub(super) fn fill(record: &mut FlowRecord, from: &FlowRecord, but: Presence) {
    macro_rules! lend {
        ($($bits:expr, $marks:expr => $($field:ident),+;)*) => {
            $(if from.presence.has_any($bits) && !record.presence.has_any($bits) && !but.has_any($bits) {
                $(record.$field = from.$field;)+
                record.presence.clear($marks);
                record.presence.set(Presence(from.presence.0 & $bits.with($marks).0));
            })*
        };
    }
    const NONE: Presence = Presence::NONE;
    lend! {
        SRC, NONE => src;
        DST, NONE => dst;
        NEXT_HOP, NONE => next_hop;
        Presence::SRC_PORT, NONE => src_port;
        Presence::DST_PORT, NONE => dst_port;
        Presence::PROTOCOL, NONE => protocol;
        Presence::BYTES, Presence::COUNTER_TOTAL => bytes, bytes_kind;
        Presence::PACKETS, NONE => packets;
        Presence::SRC_MAC, NONE => src_mac;
        Presence::DST_MAC, NONE => dst_mac;
        Presence::VLAN, NONE => vlan;
        Presence::POST_VLAN, NONE => post_vlan;
        Presence::SRC_SGT, NONE => src_sgt;
        Presence::DST_SGT, NONE => dst_sgt;
        Presence::TCP_FLAGS, NONE => tcp_flags;
        Presence::TOS, NONE => tos;
        Presence::INPUT_IF, NONE => input_if;
        Presence::OUTPUT_IF, NONE => output_if;
        Presence::SRC_AS, NONE => src_as;
        Presence::DST_AS, NONE => dst_as;
        Presence::SRC_MASK, NONE => src_mask;
        Presence::DST_MASK, NONE => dst_mask;
        Presence::ICMP, NONE => icmp_type, icmp_code;
        Presence::DIRECTION, NONE => direction;
        Presence::FLOW_END_REASON, NONE => flow_end_reason;
        Presence::TIMES, Presence::BAD_TIMES.with(Presence::AHEAD_OF_UPTIME) => start_ms, end_ms, time_source;
        Presence::SAMPLING_IN_RECORD, NONE => sampling_rate, sampling_source;
    }
}

/// A row beside `record`, of the same exporter and set, of which nothing is known but when it was and how it was sampled.
pub(super) fn beside(record: &FlowRecord) -> FlowRecord {
    let mut row = FlowRecord::empty(record.version);
    row.observation_domain = record.observation_domain;
    row.exporter = record.exporter;
    row.template_id = record.template_id;
    row.sampling_rate = record.sampling_rate;
    row.sampling_source = record.sampling_source;
    (row.start_ms, row.end_ms, row.time_source) = (record.start_ms, record.end_ms, record.time_source);
    row.presence = Presence(record.presence.0 & OF_THE_SET.0);
    row
}

/// What says how a record was read, not what it holds.
const OF_THE_SET: Presence = Presence::TEMPLATE.with(Presence::SAMPLING_IN_RECORD).with(Presence::BAD_TIMES);

/// `record` seen from its other end: who was the source is the destination. What counts one direction is left out.
pub(super) fn other_end(record: &FlowRecord) -> FlowRecord {
    const PAIRS: [(Presence, Presence); 8] = [
        (Presence::SRC_V4, Presence::DST_V4),
        (Presence::SRC_V6, Presence::DST_V6),
        (Presence::SRC_PORT, Presence::DST_PORT),
        (Presence::SRC_MAC, Presence::DST_MAC),
        (Presence::SRC_SGT, Presence::DST_SGT),
        (Presence::INPUT_IF, Presence::OUTPUT_IF),
        (Presence::SRC_AS, Presence::DST_AS),
        (Presence::SRC_MASK, Presence::DST_MASK),
    ];
    let mut row = *record;
    (row.src, row.dst) = (record.dst, record.src);
    (row.src_port, row.dst_port) = (record.dst_port, record.src_port);
    (row.src_mac, row.dst_mac) = (record.dst_mac, record.src_mac);
    (row.src_sgt, row.dst_sgt) = (record.dst_sgt, record.src_sgt);
    (row.input_if, row.output_if) = (record.output_if, record.input_if);
    (row.src_as, row.dst_as) = (record.dst_as, record.src_as);
    (row.src_mask, row.dst_mask) = (record.dst_mask, record.src_mask);
    for (one, other) in PAIRS {
        for (here, there) in [(one, other), (other, one)] {
            row.presence.clear(here);
            if record.has(there) {
                row.presence.set(here);
            }
        }
    }
    row.presence.clear(COUNTERS.with(Presence::COUNTER_TOTAL).with(Presence::TCP_FLAGS));
    (row.bytes, row.packets, row.tcp_flags) = (0, 0, 0);
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Version;

    /// A record with all the bits of a record's fields, and a number of its own in each field.
    fn full(seed: u8) -> FlowRecord {
        let mut record = FlowRecord::empty(Version::Ipfix);
        let (word, long) = (u16::from(seed), u32::from(seed));
        (record.src, record.dst, record.next_hop) = ([seed; 16], [seed + 1; 16], [seed + 2; 16]);
        (record.bytes, record.packets) = (u64::from(seed) + 3, u64::from(seed) + 4);
        (record.src_port, record.dst_port, record.tcp_flags) = (word + 5, word + 6, word + 7);
        (record.src_mac, record.dst_mac) = ([seed + 8; 6], [seed + 9; 6]);
        (record.input_if, record.output_if, record.src_as, record.dst_as) =
            (long + 10, long + 11, long + 12, long + 13);
        (record.src_mask, record.dst_mask) = (seed + 14, seed + 15);
        (record.src_sgt, record.dst_sgt) = (word + 16, word + 17);
        record.presence = SRC.with(DST).with(COUNTERS).with(OF_ITS_ENDS).with(Presence::INPUT_IF);
        record.presence.set(Presence::OUTPUT_IF.with(Presence::COUNTER_TOTAL).with(NEXT_HOP));
        record
    }

    #[test]
    fn what_is_known_stays() {
        let (one, other) = (full(1), full(100));
        let mut record = one;
        fill(&mut record, &other, Presence::NONE);
        assert_eq!(record, one);
        let mut record = FlowRecord::empty(Version::Ipfix);
        fill(&mut record, &other, Presence::NONE);
        assert_eq!(record, other);
        let mut record = FlowRecord::empty(Version::Ipfix);
        fill(&mut record, &other, COUNTERS);
        assert_eq!((record.bytes, record.packets, record.has(Presence::COUNTER_TOTAL)), (0, 0, false));
    }

    #[test]
    fn the_other_end_of_the_other_end_is_the_record_without_its_counters() {
        let mut record = full(1);
        record.presence.clear(Presence::DST_MAC);
        let other = other_end(&record);
        assert!(other.has(Presence::DST_MAC) && !other.has(Presence::SRC_MAC));
        assert_eq!((other.src, other.dst_port, other.output_if), (record.dst, record.src_port, record.input_if));
        let mut back = other_end(&other);
        fill(&mut back, &record, Presence::NONE);
        assert_eq!(back, record);
    }
}
