//! What can be said of a record only when all of its fields were read: times, ICMP in the ports, sampling, counters.
//!
//! The rules for any template, record by record. Where little stands beside the fields, `plain` does the same for many
//! records at once and comes here with those that have something the matter.

use super::DataPlan;
use super::context::{Ran, RunContext};
use super::judge::implausible;
use super::record::Scratch;
use super::step::{ObservationUnit, TimeKind};
use crate::decode::wire::time::MessageClock;
use crate::flow::{FlowRecord, Presence, SamplingSource, TimeSource};

impl DataPlan {
    /// Settles a record. True if its times cannot be: the caller has its octets to look for others.
    #[inline]
    pub(super) fn finish(
        &self,
        record: &mut FlowRecord,
        scratch: &Scratch,
        context: &RunContext<'_>,
        ran: &mut Ran,
    ) -> bool {
        self.times(record, scratch, context);
        if !self.has_icmp && (record.protocol == 1 || record.protocol == 58) {
            icmp_from_ports(record);
        }
        self.sampling(record, scratch, context);
        ran.sampling_unknown += u32::from(record.sampling_source == SamplingSource::Unknown);
        if let Some(octets_per_packet) = self.octets_per_packet
            && implausible(record, octets_per_packet)
        {
            record.presence.set(Presence::IMPLAUSIBLE);
        }
        !(context.clock.believes(record.start_ms) && context.clock.believes(record.end_ms))
    }

    /// The times of a record whose stamps are in `scratch`.
    pub(super) fn times(&self, record: &mut FlowRecord, scratch: &Scratch, context: &RunContext<'_>) {
        let mut clock = context.clock;
        if scratch.system_init_ms.is_some() {
            clock.system_init_ms = scratch.system_init_ms;
        }
        let uptime_ms = clock.sys_uptime_ms.unwrap_or(0);
        // First = Last = 0 on a box that has been up for an hour says nothing (V5-07).
        let unset = self.start == TimeKind::Uptime
            && scratch.start == Some(0)
            && scratch.end.unwrap_or(0) == 0
            && uptime_ms > 3_600_000;
        let mut ahead = false;
        let mut read = |kind: TimeKind, raw: Option<u64>| {
            let raw = raw.filter(|_| !unset)?;
            let (ms, late) = stamp(kind, raw, &clock)?;
            ahead |= late;
            Some(ms)
        };
        let start = read(self.start, scratch.start);
        let end = read(self.end, scratch.end);
        let (start_ms, end_ms) = match (start, end, scratch.duration) {
            (Some(start), Some(end), _) => (start, end),
            (Some(start), None, Some(duration)) => (start, start.saturating_add(duration)),
            (None, Some(end), Some(duration)) => (end.saturating_sub(duration), end),
            (Some(only), None, None) | (None, Some(only), None) => (only, only),
            (None, None, duration) => {
                // Without the boot time a sysUpTime pair still tells how long the flow was (T-2).
                let length = match (self.start, scratch.start, scratch.end) {
                    #[expect(clippy::cast_possible_truncation, reason = "sysUpTime is a 32-bit clock")]
                    (TimeKind::Uptime, Some(first), Some(last)) if !unset => {
                        Some(u64::from((last as u32).wrapping_sub(first as u32)))
                            .filter(|length| *length <= u64::from(u32::MAX / 2))
                    }
                    _ => duration,
                };
                (clock.export_ms.saturating_sub(length.unwrap_or(0)), clock.export_ms)
            }
        };
        record.end_ms = end_ms;
        record.start_ms = start_ms;
        if start.is_some() || end.is_some() {
            record.presence.set(Presence::TIMES);
            record.time_source = self.time_source;
            if start.is_none() || end.is_none() {
                record.time_source = if scratch.duration.is_some() { TimeSource::Duration } else { self.time_source };
            }
        }
        if ahead {
            record.presence.set(Presence::AHEAD_OF_UPTIME);
        }
        if end_ms < start_ms {
            record.start_ms = end_ms;
            record.presence.set(Presence::BAD_TIMES);
        }
    }

    fn sampling(&self, record: &mut FlowRecord, scratch: &Scratch, context: &RunContext<'_>) {
        let said = if self.sampling_in_record { scratch.sampling.rate() } else { None };
        if said.is_some() {
            record.presence.set(Presence::SAMPLING_IN_RECORD);
        }
        let (rate, source) = if let Some(rate) = context.sampling_override {
            (rate, SamplingSource::Override)
        } else if let Some(rate) = said {
            (rate, SamplingSource::Record)
        } else {
            context
                .sampling_tables
                .and_then(|tables| {
                    let interface = if record.direction == 1 { record.output_if } else { record.input_if };
                    tables.of_record(context.observation_domain, scratch.sampler, Some(interface), record.template_id)
                })
                .unwrap_or(context.sampling_domain)
        };
        record.sampling_rate = rate;
        record.sampling_source = source;
    }
}

pub(super) fn stamp(kind: TimeKind, raw: u64, clock: &MessageClock) -> Option<(u64, bool)> {
    let observed = |unit| match unit {
        ObservationUnit::Seconds => raw.saturating_mul(1_000),
        ObservationUnit::Milliseconds => raw,
        ObservationUnit::Ntp => clock.of_ntp(raw),
    };
    match kind {
        TimeKind::None => None,
        TimeKind::Seconds => Some((raw.saturating_mul(1_000), false)),
        TimeKind::Milliseconds => Some((raw, false)),
        TimeKind::Ntp => Some((clock.of_ntp(raw), false)),
        #[expect(clippy::cast_possible_truncation, reason = "sysUpTime is a 32-bit clock, also in 8 octets (N9-25)")]
        TimeKind::Uptime => clock.of_uptime(raw as u32),
        TimeKind::Delta => Some((clock.of_delta_us(raw), false)),
        TimeKind::Observation(unit) => Some((observed(unit), false)),
    }
}

/// v5 and Cisco's v9 put type * 256 + code into the destination port (V5-10); the ports stay (DEC-1).
pub(crate) fn icmp_from_ports(record: &mut FlowRecord) {
    if record.has(Presence::DST_PORT) && record.src_port == 0 {
        let [icmp_type, icmp_code] = record.dst_port.to_be_bytes();
        (record.icmp_type, record.icmp_code) = (icmp_type, icmp_code);
        record.presence.set(Presence::ICMP);
    }
}
