//! NetFlow v1, v5 and v7: a header and fixed records, no templates.
//!
//! A datagram that is shorter than its count says is rejected whole: no partial rows (V5-03).

use super::error::{DecodeError, DecodeErrorKind};
use super::learned::Domain;
use super::plan::{Given, OCTETS_PER_IP_PACKET, derive, icmp_from_ports, implausible};
use super::selection::DecodeSettings;
use super::sequence::{SequenceNote, fingerprint};
use super::wire::fixed::{V5_OCTETS, V7_OCTETS, layout};
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
    sampling(&mut prototype, header, &decided.settings);
    let first = batch.records.len();
    batch.records.resize(first + usize::from(count), prototype);
    let (records, judges) = (&mut batch.records[first..], selection.judges());
    match header.version {
        Version::V1 => fill::<V5_OCTETS, 40, false>(rows, records, &clock, judges),
        Version::V7 => fill::<V7_OCTETS, 37, true>(rows, records, &clock, judges),
        _ => fill::<V5_OCTETS, 37, true>(rows, records, &clock, judges),
    }
    if !selection.fields.is_empty() {
        for index in first..batch.records.len() {
            let (record, mut given) = (batch.records[index], Given::new(index, batch));
            derive(selection.fields, &record, &mut given, batch);
        }
    }
    batch.note_receive(datagram.receive_ns);
    outcome.sets_decoded = 1;
    outcome.records = u32::from(count);
    if prototype.sampling_source == SamplingSource::Unknown {
        outcome.sampling_unknown = u32::from(count);
    }
    outcome
}

fn sampling(prototype: &mut FlowRecord, header: &Header, settings: &DecodeSettings) {
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

/// Reads records of OCTETS octets, whose TCP flags stand at FLAGS, into their rows, which are copies of the prototype.
fn fill<const OCTETS: usize, const FLAGS: usize, const HAS_AS: bool>(
    octets: &[u8],
    records: &mut [FlowRecord],
    clock: &MessageClock,
    judges: bool,
) {
    let word = |row: &[u8; OCTETS], at: usize| u16::from_be_bytes([row[at], row[at + 1]]);
    let long = |row: &[u8; OCTETS], at: usize| u32::from_be_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]]);
    let uptimes = clock.uptimes();
    let (earliest, latest) = clock.window();
    for (r, row) in records.iter_mut().zip(octets.as_chunks::<OCTETS>().0) {
        let mut known = r.presence;
        r.src[..4].copy_from_slice(&row[0..4]);
        r.dst[..4].copy_from_slice(&row[4..8]);
        r.next_hop[..4].copy_from_slice(&row[8..12]);
        r.input_if = u32::from(word(row, 12));
        r.output_if = u32::from(word(row, 14));
        r.packets = u64::from(long(row, 16));
        r.bytes = u64::from(long(row, 20));
        r.src_port = word(row, 32);
        r.dst_port = word(row, 34);
        r.tcp_flags = u16::from(row[FLAGS]);
        r.protocol = row[38];
        r.tos = row[39];
        if HAS_AS {
            r.src_as = u32::from(word(row, 40));
            r.dst_as = u32::from(word(row, 42));
            (r.src_mask, r.dst_mask) = (row[44], row[45]);
            // A mask of 0 with AS 0 is "unknown", not /0 (V5-11).
            if r.src_mask != 0 || r.src_as != 0 {
                known.set(Presence::SRC_MASK);
            }
            if r.dst_mask != 0 || r.dst_as != 0 {
                known.set(Presence::DST_MASK);
            }
        }
        if judges {
            // Nothing but TCP has flags.
            if row[FLAGS] == 0 && row[38] != 6 {
                known.clear(Presence::TCP_FLAGS);
            }
            // A router that delivers the packet itself (V5-11).
            if long(row, 8) == 0 {
                known.clear(Presence::NEXT_HOP_V4);
            }
        }
        r.presence = known;
        let (first, last) = (long(row, 24), long(row, 28));
        let read = uptimes.filter(|_| first | last != 0).map(|uptimes| (uptimes.read(first), uptimes.read(last)));
        match read {
            // As nearly all are: nothing the matter.
            Some(((start, starts_ahead), (end, ends_ahead))) if earliest <= start && start <= end && end <= latest => {
                (r.start_ms, r.end_ms, r.time_source) = (start, end, TimeSource::SysUptime);
                r.presence.set(Presence::TIMES);
                if starts_ahead | ends_ahead {
                    r.presence.set(Presence::AHEAD_OF_UPTIME);
                }
            }
            _ => times(r, first, last, clock),
        }
        if row[38] == 1 {
            icmp_from_ports(r);
        }
        if judges {
            if implausible(r, OCTETS_PER_IP_PACKET) {
                r.presence.set(Presence::IMPLAUSIBLE);
            }
            if OCTETS == V7_OCTETS && row[36] != 0 {
                judge_invalid(r);
            }
        }
    }
}

/// Fields of v7 of a record whose flags call some invalid (V7-01).
#[cold]
fn judge_invalid(record: &mut FlowRecord) {
    // Which bit is which field is nowhere written down; a switch that leaves a field out of its flow mask sends 0 in
    // it. So where the flags say that something is invalid, it is what is 0.
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

/// First and Last are sysUpTime milliseconds (V5-05 to V5-07).
#[cold]
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
