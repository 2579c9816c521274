//! One JSON object a line: what `decode` and `--output stdout` print.
//!
//! The keys are the normalised ones of the collector's test captures; a key is there only where the
//! record has the field, so every record can be represented. Counters are as on the wire unless
//! scaled ones are asked for. What a record is out of the ordinary stands only in records that are so: `event`,
//! `implausible`, `reverse`, `bad_times`, `counter`, `bytes_kind`, `time_source`. `ies` holds the batch's further elements
//! as the octets of the wire. With a choice of fields a line has what was chosen and nothing else.

use super::chosen::Chosen;
use super::line::{Line, hex};
use super::{Counters, OutputFields, json};
use crate::flow::{BytesKind, ElementId, ElementValue, FlowBatch, FlowRecord, Presence, SamplingSource, TimeSource};

pub(super) const HEAD: &[u8] = b"";
pub(super) const SEPARATOR: &[u8] = b"\n";

/// Appends record `index` of `batch` as one JSON object, without a line end: what came over the wire, and no word on how
/// it is to be taken but `event` and `implausible`. `record` is that record (given apart, so that a caller may show a
/// changed copy).
///
/// # Panics
/// If the record's exporter is none of the batch's: a mistake of the program, not of the network.
pub fn write_ndjson(record: &FlowRecord, batch: &FlowBatch, index: usize, out: &mut Vec<u8>) {
    let mut line = Line::new();
    start(record, batch, Counters::Raw, &mut line);
    end(batch, index, &mut line, out);
}

/// Writes lines as the collector would.
#[derive(Debug)]
pub struct Lines {
    line: Line,
    chosen: Option<Box<Chosen>>,
}

impl Lines {
    /// Lines with `fields`.
    #[must_use]
    pub fn new(fields: &OutputFields) -> Self {
        Self { line: Line::new(), chosen: Chosen::new(fields) }
    }

    /// Appends record `index` of `batch`, without a line end.
    ///
    /// # Panics
    /// If there is no such record, or its exporter is none of the batch's: mistakes of the program.
    pub fn write(&mut self, batch: &FlowBatch, index: usize, out: &mut Vec<u8>) {
        let record = &batch.records[index];
        match &mut self.chosen {
            Some(chosen) => chosen.object(record, (batch, index), Counters::Raw, &mut self.line, out),
            None => write(record, batch, index, Counters::Raw, &mut self.line, out),
        }
    }
}

/// The same with the encoder's own line and the operator's wish for the counters.
pub(super) fn write(
    record: &FlowRecord,
    batch: &FlowBatch,
    index: usize,
    counters: Counters,
    line: &mut Line,
    out: &mut Vec<u8>,
) {
    start(record, batch, counters, line);
    unusual(record, line);
    end(batch, index, line, out);
}

/// The fields of the record.
fn start(record: &FlowRecord, batch: &FlowBatch, counters: Counters, line: &mut Line) {
    line.clear();
    line.lit(b"{\"version\":");
    line.uint32(record.version as u32);
    line.lit(b",\"exporter\":\"");
    line.ip(batch.exporters[usize::from(record.exporter)].address);
    line.lit(b"\",\"observation_domain\":");
    line.uint32(record.observation_domain);
    if record.has(Presence::TEMPLATE) {
        number(line, b",\"template_id\":", u32::from(record.template_id));
    }
    addresses_and_ports(record, line);
    traffic(record, counters, line);
    topology(record, line);
    if record.has(Presence::SAMPLING_IN_RECORD) || record.sampling_source != SamplingSource::Unknown {
        number(line, b",\"sampling_rate\":", record.sampling_rate);
        line.lit(b",\"sampling_source\":\"");
        line.bytes(record.sampling_source.label().as_bytes());
        line.lit(b"\"");
    }
    if record.has(Presence::TIMES) {
        line.lit(b",\"flow_start_ms\":");
        line.uint(record.start_ms);
        line.lit(b",\"flow_end_ms\":");
        line.uint(record.end_ms);
    }
    if record.presence.has_any(Presence::EVENT.with(Presence::IMPLAUSIBLE)) {
        if record.has(Presence::EVENT) {
            line.lit(b",\"event\":true");
        }
        if record.has(Presence::IMPLAUSIBLE) {
            line.lit(b",\"implausible\":true");
        }
    }
}

/// How the record is to be taken, where it is not as most are.
fn unusual(record: &FlowRecord, line: &mut Line) {
    const UNUSUAL: Presence = Presence::REVERSE.with(Presence::BAD_TIMES).with(Presence::COUNTER_TOTAL);
    if record.presence.has_any(UNUSUAL) {
        if record.has(Presence::REVERSE) {
            line.lit(b",\"reverse\":true");
        }
        if record.has(Presence::BAD_TIMES) {
            line.lit(b",\"bad_times\":true");
        }
        if record.has(Presence::COUNTER_TOTAL) {
            line.lit(b",\"counter\":\"total\"");
        }
    }
    if record.bytes_kind != BytesKind::Ip {
        line.lit(b",\"bytes_kind\":\"");
        line.bytes(record.bytes_kind.label().as_bytes());
        line.lit(b"\"");
    }
    // Stamps of the flow's own are the ordinary.
    if let TimeSource::Header | TimeSource::Receive | TimeSource::Observation | TimeSource::Duration =
        record.time_source
    {
        line.lit(b",\"time_source\":\"");
        line.bytes(record.time_source.label().as_bytes());
        line.lit(b"\"");
    }
}

/// Elements as they are, and the object's end.
fn end(batch: &FlowBatch, index: usize, line: &mut Line, out: &mut Vec<u8>) {
    out.extend_from_slice(line.as_bytes());
    if !batch.elements.is_empty() {
        elements(batch, index, line, out);
    }
    out.push(b'}');
}

#[inline]
fn number<const N: usize>(line: &mut Line, key: &[u8; N], value: u32) {
    line.lit(key);
    line.uint32(value);
}

fn addresses_and_ports(record: &FlowRecord, line: &mut Line) {
    if let Some(address) = record.src_ip() {
        line.lit(b",\"src_ip\":\"");
        line.ip(address);
        line.lit(b"\"");
    }
    if let Some(address) = record.dst_ip() {
        line.lit(b",\"dst_ip\":\"");
        line.ip(address);
        line.lit(b"\"");
    }
    if record.has(Presence::SRC_PORT) {
        number(line, b",\"src_port\":", u32::from(record.src_port));
    }
    if record.has(Presence::DST_PORT) {
        number(line, b",\"dst_port\":", u32::from(record.dst_port));
    }
    if record.has(Presence::PROTOCOL) {
        number(line, b",\"protocol\":", u32::from(record.protocol));
    }
}

fn traffic(record: &FlowRecord, counters: Counters, line: &mut Line) {
    let (bytes, packets) = match counters {
        Counters::Raw => (record.bytes, record.packets),
        Counters::Scaled => json::scaled(record),
    };
    if record.has(Presence::BYTES) {
        line.lit(b",\"bytes\":");
        line.uint(bytes);
    }
    if record.has(Presence::PACKETS) {
        line.lit(b",\"packets\":");
        line.uint(packets);
    }
    if record.has(Presence::TCP_FLAGS) {
        number(line, b",\"tcp_flags\":", u32::from(record.tcp_flags));
    }
    if record.has(Presence::TOS) {
        number(line, b",\"tos\":", u32::from(record.tos));
    }
    if record.has(Presence::ICMP) {
        number(line, b",\"icmp_type\":", u32::from(record.icmp_type));
        number(line, b",\"icmp_code\":", u32::from(record.icmp_code));
    }
    if record.has(Presence::DIRECTION) {
        number(line, b",\"direction\":", u32::from(record.direction));
    }
}

fn topology(record: &FlowRecord, line: &mut Line) {
    if record.has(Presence::INPUT_IF) {
        number(line, b",\"input_if\":", record.input_if);
    }
    if record.has(Presence::OUTPUT_IF) {
        number(line, b",\"output_if\":", record.output_if);
    }
    if record.has(Presence::SRC_AS) {
        number(line, b",\"src_as\":", record.src_as);
    }
    if record.has(Presence::DST_AS) {
        number(line, b",\"dst_as\":", record.dst_as);
    }
    if let Some(address) = record.next_hop_ip() {
        line.lit(b",\"next_hop\":\"");
        line.ip(address);
        line.lit(b"\"");
    }
    if record.has(Presence::SRC_MAC) {
        line.lit(b",\"src_mac\":\"");
        line.mac(record.src_mac);
        line.lit(b"\"");
    }
    if record.has(Presence::DST_MAC) {
        line.lit(b",\"dst_mac\":\"");
        line.mac(record.dst_mac);
        line.lit(b"\"");
    }
    if record.has(Presence::VLAN) {
        number(line, b",\"vlan_id\":", u32::from(record.vlan));
    }
    if record.has(Presence::SRC_SGT) {
        number(line, b",\"src_sgt\":", u32::from(record.src_sgt));
    }
    if record.has(Presence::DST_SGT) {
        number(line, b",\"dst_sgt\":", u32::from(record.dst_sgt));
    }
}

/// `,"ies":{"pen/id":"hex",..}`; nothing for a record without elements. The second occurrence of an
/// element gets `#2`, the third `#3`.
fn elements(batch: &FlowBatch, index: usize, line: &mut Line, out: &mut Vec<u8>) {
    let first = batch.elements.partition_point(|e| (e.record as usize) < index);
    let mut seen = Seen::default();
    for (place, (value, octets)) in batch.elements_of(index).enumerate() {
        out.extend_from_slice(if place == 0 { b",\"ies\":{\"" } else { b",\"" });
        line.clear();
        line.uint32(value.element.pen);
        line.lit(b"/");
        line.uint32(u32::from(value.element.id));
        if seen.maybe_before(value.element) {
            let occurrence = 1 + occurrences(&batch.elements[first..first + place], value.element);
            if occurrence > 1 {
                line.lit(b"#");
                line.uint32(occurrence);
            }
        }
        line.lit(b"\":\"");
        out.extend_from_slice(line.as_bytes());
        hex(out, octets);
        out.push(b'"');
    }
    if batch.elements.get(first).is_some_and(|e| e.record as usize == index) {
        out.push(b'}');
    }
}

fn occurrences(elements: &[ElementValue], element: ElementId) -> u32 {
    elements.iter().filter(|e| e.element == element).map(|_| 1).sum()
}

/// Which elements a record had already: a bitmap with false alarms, so that looking back (a scan) is
/// paid only by elements that repeat or collide. A template may have a thousand fields.
#[derive(Default)]
struct Seen([u64; 16]);

impl Seen {
    /// Notes `element`; false if it was certainly not there before.
    fn maybe_before(&mut self, element: ElementId) -> bool {
        let bit = (u32::from(element.id) ^ element.pen.wrapping_mul(0x9e37_79b1) >> 16) % 1_024;
        let (word, mask) = (&mut self.0[bit as usize / 64], 1 << (bit % 64));
        let before = *word & mask != 0;
        *word |= mask;
        before
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::flow::{Exporter, Version};

    #[test]
    fn the_longest_record_fits_a_line() {
        let mut batch = testing::batch(&["a"]);
        batch.exporters[0] = std::sync::Arc::new(Exporter::of_address(std::net::Ipv6Addr::from([0xff; 16]).into()));
        let mut all = FlowRecord::empty(Version::Ipfix);
        all.presence = Presence(!Presence::SRC_V4.0 & !Presence::DST_V4.0 & !Presence::NEXT_HOP_V4.0);
        (all.src, all.dst, all.next_hop) = ([0xff; 16], [0xff; 16], [0xff; 16]);
        (all.bytes, all.packets, all.start_ms, all.end_ms) = (u64::MAX, u64::MAX, u64::MAX, u64::MAX);
        (all.sampling_rate, all.observation_domain) = (u32::MAX, u32::MAX);
        (all.input_if, all.output_if, all.src_as, all.dst_as) = (u32::MAX, u32::MAX, u32::MAX, u32::MAX);
        (all.src_port, all.dst_port, all.template_id, all.tcp_flags) = (u16::MAX, u16::MAX, u16::MAX, u16::MAX);
        (all.vlan, all.src_sgt, all.dst_sgt) = (u16::MAX, u16::MAX, u16::MAX);
        (all.protocol, all.tos, all.icmp_type, all.icmp_code, all.direction) = (255, 255, 255, 255, 255);
        all.sampling_source = SamplingSource::Interface;
        (all.time_source, all.bytes_kind) = (TimeSource::Observation, BytesKind::Layer4);
        let mut out = Vec::new();
        write(&all, &batch, 0, Counters::Raw, &mut Line::new(), &mut out);
        assert!(out.len() + 16 < super::super::line::LINE_OCTETS, "{}", out.len());
        let value: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(value.as_object().map(serde_json::Map::len), Some(37));
    }

    #[test]
    fn an_element_that_only_collides_in_the_bitmap_is_no_repetition() {
        let mut batch = testing::batch(&["a"]);
        batch.records.push(FlowRecord::empty(Version::Ipfix));
        // 5 and 1029 share a bit.
        for id in [5, 1_029, 5] {
            let element = ElementId { pen: 0, id };
            batch.elements.push(ElementValue { record: 0, element, offset: 0, length: 0 });
        }
        let mut out = Vec::new();
        write_ndjson(&batch.records[0], &batch, 0, &mut out);
        assert!(out.ends_with(br##","ies":{"0/5":"","0/1029":"","0/5#2":""}}"##));
    }
}
