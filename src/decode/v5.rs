//! NetFlow v1, v5 and v7: a header and fixed records, no templates.
//!
//! A datagram that is shorter than its count says is rejected whole: no partial rows (V5-03).

use super::error::{DecodeError, DecodeErrorKind};
use super::learned::Domain;
use super::plan::{Given, OCTETS_PER_IP_PACKET, derive, icmp_from_ports, implausible};
use super::sequence::{SequenceNote, fingerprint};
use super::wire::fixed::{Layout, layout};
use super::wire::time::MessageClock;
use super::{Datagram, Header, Outcome};
use crate::flow::{FlowBatch, FlowRecord, Presence, SamplingSource, TimeSource, Version};

/// Rate of the header's sampling word: the low 14 bits, whatever the mode bits say (V5-04).
const fn sampling_interval(word: u16) -> u16 {
    word & 0x3FFF
}

/// Decodes a datagram whose header said `header`.
pub(super) fn decode(datagram: &Datagram<'_>, header: &Header, domain: &Domain, batch: &mut FlowBatch) -> Outcome {
    let layout = layout(header.version);
    let count = header.count_or_length;
    if count == 0 || count > layout.count_max {
        return Outcome::of_rejected(DecodeError::at(DecodeErrorKind::BadCount, 2));
    }
    let octets = layout.record_octets * usize::from(count);
    let body = &datagram.octets[layout.header_octets.min(datagram.octets.len())..];
    let Some(rows) = body.get(..octets) else {
        return Outcome::of_rejected(DecodeError::at(DecodeErrorKind::BadLength, 2));
    };
    let mut outcome = Outcome {
        sets_seen: 1,
        trailing_octets: body.len() > octets,
        sequence: (header.version != Version::V1).then_some(SequenceNote {
            sequence: header.sequence,
            units: Some(u32::from(count)),
            flows: None,
            port: datagram.peer.port(),
            fingerprint: fingerprint(datagram.octets),
        }),
        ..Outcome::default()
    };
    let decided = domain.exporter.decided();
    let Some(exporter) = batch.exporter_index(&decided.exporter) else {
        outcome.drop_set(super::SetDropKind::TooManyRows);
        return outcome;
    };
    let selection = &decided.settings.selection;
    let mut clock = MessageClock::new(header.export_ms, Some(header.sys_uptime_ms), datagram.receive_ns);
    if selection.receive_window {
        clock = clock.held_against(datagram.receive_ns);
    }
    let mut prototype = FlowRecord::empty(header.version);
    prototype.exporter = exporter;
    prototype.observation_domain = header.observation_domain;
    prototype.presence = Presence::SRC_V4
        .with(Presence::DST_V4)
        .with(Presence::NEXT_HOP_V4)
        .with(Presence::SRC_PORT)
        .with(Presence::DST_PORT)
        .with(Presence::PROTOCOL)
        .with(Presence::BYTES)
        .with(Presence::PACKETS)
        .with(Presence::TCP_FLAGS)
        .with(Presence::TOS)
        .with(Presence::INPUT_IF)
        .with(Presence::OUTPUT_IF);
    if layout.has_as {
        prototype.presence.set(Presence::SRC_AS.with(Presence::DST_AS));
    }
    if clock.is_receive {
        // First and Last hang on a clock that was not believed (N9-30).
        prototype.time_source = TimeSource::Receive;
        prototype.presence.set(Presence::BAD_TIMES);
    }
    sampling(&mut prototype, header, domain);
    batch.records.reserve(usize::from(count));
    for row in rows.chunks_exact(layout.record_octets) {
        let mut record = record(row, &layout, &clock, prototype);
        if selection.judges() {
            judge(&mut record, row, header.version);
        }
        if !selection.fields.is_empty() {
            let mut given = Given::new(batch.records.len(), batch);
            derive(selection.fields, &record, &mut given, batch);
        }
        batch.records.push(record);
    }
    batch.note_receive(datagram.receive_ns);
    outcome.sets_decoded = 1;
    outcome.records = u32::from(count);
    if prototype.sampling_source == SamplingSource::Unknown {
        outcome.sampling_unknown = u32::from(count);
    }
    outcome
}

fn sampling(prototype: &mut FlowRecord, header: &Header, domain: &Domain) {
    let decided = domain.exporter.decided();
    let settings = &decided.settings;
    let interval = if header.version == Version::V5 { sampling_interval(header.sampling) } else { 0 };
    let (rate, source) = if let Some(rate) = settings.sampling_override {
        (rate, SamplingSource::Override)
    } else if interval > 0 {
        prototype.presence.set(Presence::SAMPLING_IN_RECORD);
        (u32::from(interval), SamplingSource::Record)
    } else if let Some(rate) = settings.sampling_default {
        (rate, SamplingSource::Default)
    } else if header.version == Version::V5 {
        // The header has the field and says "not sampled".
        (1, SamplingSource::Record)
    } else {
        (1, SamplingSource::Unknown)
    };
    prototype.sampling_rate = rate;
    prototype.sampling_source = source;
}

fn word(row: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([row[at], row[at + 1]])
}

fn long(row: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]])
}

/// One row; `row` has the layout's record_octets, so no index below can be outside.
fn record(row: &[u8], layout: &Layout, clock: &MessageClock, prototype: FlowRecord) -> FlowRecord {
    let mut r = prototype;
    r.src[..4].copy_from_slice(&row[0..4]);
    r.dst[..4].copy_from_slice(&row[4..8]);
    r.next_hop[..4].copy_from_slice(&row[8..12]);
    r.input_if = u32::from(word(row, 12));
    r.output_if = u32::from(word(row, 14));
    r.packets = u64::from(long(row, 16));
    r.bytes = u64::from(long(row, 20));
    r.src_port = word(row, 32);
    r.dst_port = word(row, 34);
    r.tcp_flags = u16::from(row[layout.tcp_flags]);
    r.protocol = row[layout.protocol];
    r.tos = row[layout.tos];
    if layout.has_as {
        r.src_as = u32::from(word(row, 40));
        r.dst_as = u32::from(word(row, 42));
        (r.src_mask, r.dst_mask) = (row[44], row[45]);
        // A mask of 0 with AS 0 is "unknown", not /0 (V5-11).
        if r.src_mask != 0 || r.src_as != 0 {
            r.presence.set(Presence::SRC_MASK);
        }
        if r.dst_mask != 0 || r.dst_as != 0 {
            r.presence.set(Presence::DST_MASK);
        }
    }
    if r.protocol == 1 {
        icmp_from_ports(&mut r);
    }
    times(&mut r, long(row, 24), long(row, 28), clock);
    r
}

/// What cannot be: counters (B-5), a next hop of zeroes, and fields of v7 that the record's flags call invalid (V7-01).
fn judge(record: &mut FlowRecord, row: &[u8], version: Version) {
    if implausible(record, OCTETS_PER_IP_PACKET) {
        record.presence.set(Presence::IMPLAUSIBLE);
    }
    // Nothing but TCP has flags.
    if record.tcp_flags == 0 && record.protocol != 6 {
        record.presence.clear(Presence::TCP_FLAGS);
    }
    // A router that delivers the packet itself (V5-11).
    if record.next_hop == [0; 16] {
        record.presence.clear(Presence::NEXT_HOP_V4);
    }
    // Which bit is which field is nowhere written down; a switch that leaves a field out of its flow mask sends 0 in
    // it. So where the flags say that something is invalid, it is what is 0.
    if version == Version::V7 && row[36] != 0 {
        let fields = [
            (record.src == [0; 16], Presence::SRC_V4),
            (record.dst == [0; 16], Presence::DST_V4),
            (record.input_if == 0, Presence::INPUT_IF),
            (record.output_if == 0, Presence::OUTPUT_IF),
            (record.src_port == 0, Presence::SRC_PORT),
            (record.dst_port == 0, Presence::DST_PORT),
            (record.protocol == 0, Presence::PROTOCOL),
            (record.tos == 0, Presence::TOS),
            (record.tcp_flags == 0, Presence::TCP_FLAGS),
            (record.src_as == 0, Presence::SRC_AS),
            (record.dst_as == 0, Presence::DST_AS),
        ];
        for (_, field) in fields.into_iter().filter(|(is_zero, _)| *is_zero) {
            record.presence.clear(field);
        }
    }
}

/// First and Last are sysUpTime milliseconds (V5-05 to V5-07).
fn times(record: &mut FlowRecord, first: u32, last: u32, clock: &MessageClock) {
    let uptime = clock.sys_uptime_ms.unwrap_or(0);
    let start = clock.of_uptime(first);
    let end = clock.of_uptime(last);
    let unset = first == 0 && last == 0 && uptime > 3_600_000;
    let (Some((start, start_ahead)), Some((end, end_ahead)), false) = (start, end, unset) else {
        (record.start_ms, record.end_ms) = (clock.export_ms, clock.export_ms);
        return;
    };
    record.presence.set(Presence::TIMES);
    record.time_source = TimeSource::SysUptime;
    if start_ahead || end_ahead {
        record.presence.set(Presence::AHEAD_OF_UPTIME);
    }
    if end < start {
        record.presence.set(Presence::BAD_TIMES);
    }
    (record.start_ms, record.end_ms) = (start.min(end), end);
    if !(clock.believes(start) && clock.believes(end)) {
        unbelieved(record, clock);
    }
}

/// Replaces stamps outside the window: a start by the end, else both by the header's time (T-1).
#[cold]
fn unbelieved(record: &mut FlowRecord, clock: &MessageClock) {
    record.presence.set(Presence::BAD_TIMES);
    if clock.believes(record.end_ms) {
        record.start_ms = record.end_ms;
        return;
    }
    (record.start_ms, record.end_ms) = (clock.export_ms, clock.export_ms);
    record.presence.clear(Presence::TIMES.with(Presence::AHEAD_OF_UPTIME));
    record.time_source = if clock.is_receive { TimeSource::Receive } else { TimeSource::Header };
}
