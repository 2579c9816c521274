//! DataPlan x octets -> FlowRecords: the hottest loop of the program.
//!
//! Nothing here allocates but the batch's own vectors, which keep their memory. A field is read
//! inside its record, a record inside its set; no octet outside is looked at.

use std::slice::from_mut;

use super::DataPlan;
use super::column::{Column, ROWS, apply};
use super::context::{RowBudget, RunContext};
use super::judge::implausible;
use super::rich::{RecordView, Rich};
use super::step::{ObservationUnit, TimeKind};
use crate::decode::told::SamplingFacts;
use crate::decode::wire::time::MessageClock;
use crate::decode::wire::value::field_positions;
use crate::flow::{ElementValue, FlowBatch, FlowRecord, Presence, SamplingSource, TimeSource};
use crate::limits::FIELDS_PER_TEMPLATE_MAX;

/// Fields of a template that is not unusually large.
pub(super) const FEW_FIELDS: usize = 64;

/// What a set became.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ran {
    /// Data records in the set, as IPFIX counts them.
    pub records: u32,
    /// Rows that they became: more with biflows, fewer where a record is no flow.
    pub rows: u32,
    /// Of these, records whose sampling nothing told.
    pub sampling_unknown: u32,
    /// Records that are no flows: statistics of the exporter (D-1).
    pub non_flow: u32,
    /// Lists, or records of them, that were not looked into.
    pub lists_unread: u32,
    /// Records whose common properties nobody told.
    pub common_properties_unknown: u32,
    /// A template that a list names and nobody knows, the first.
    pub awaits: Option<u16>,
    /// Octets behind the last record, where records are of variable length.
    pub rest: u32,
    /// Rows whose own exporter there was no room for: they are the mediator's.
    pub originals_refused: u32,
    /// The row budget ended before the set did.
    pub cut: bool,
}

impl Ran {
    /// A row's sampling became known after it was counted.
    pub(super) fn note_sampling(&mut self, before: &FlowRecord, after: &FlowRecord) {
        let unknown = |record: &FlowRecord| u32::from(record.sampling_source == SamplingSource::Unknown);
        self.sampling_unknown = self.sampling_unknown + unknown(after) - unknown(before);
    }
}

/// A variable length that runs past the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadRecord;

/// Values of a record that have no field of their own.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scratch {
    pub ip_version: u8,
    pub start: Option<u64>,
    pub end: Option<u64>,
    pub system_init_ms: Option<u64>,
    pub duration: Option<u64>,
    pub sampling: SamplingFacts,
    pub sampler: Option<u64>,
}

impl DataPlan {
    /// Reads the records of `body` and appends them to `batch`.
    ///
    /// # Errors
    /// [`BadRecord`]; the caller takes back what was appended.
    pub(crate) fn run(
        &self,
        body: &[u8],
        context: &RunContext<'_>,
        budget: &mut RowBudget,
        batch: &mut FlowBatch,
    ) -> Result<Ran, BadRecord> {
        let mut prototype = self.prototype;
        prototype.version = context.version;
        prototype.observation_domain = context.observation_domain;
        prototype.exporter = context.exporter;
        self.note_receive_clock(&mut prototype, context);
        let mark = batch.mark();
        let ran = if self.variable {
            self.run_variable(body, &prototype, context, budget, batch)?
        } else {
            self.run_fixed(body, &prototype, context, budget, batch)
        };
        if self.is_statistics {
            // Read like flows, so that they count alike in the sequence, and taken back.
            batch.truncate(mark);
            return Ok(Ran {
                records: ran.records,
                non_flow: ran.records,
                cut: ran.cut,
                rest: ran.rest,
                ..Ran::default()
            });
        }
        Ok(ran)
    }

    fn run_fixed(
        &self,
        body: &[u8],
        prototype: &FlowRecord,
        context: &RunContext<'_>,
        budget: &mut RowBudget,
        batch: &mut FlowBatch,
    ) -> Ran {
        let mut ran = Ran::default();
        if let Some(rich) = &self.rich {
            return self.run_rich(rich, body, prototype, context, budget, batch);
        }
        let fits = body.len() / self.record_octets;
        let rows = fits.min(budget.0 as usize);
        ran.cut = rows < fits;
        batch.records.reserve(rows);
        if self.record_octets < 4 {
            // Zero octets within the last 3 of a set are padding as far as anyone can tell (N9-24).
            for (row, octets) in body.chunks_exact(self.record_octets).take(rows).enumerate() {
                if row * self.record_octets + 3 < body.len() || octets.iter().any(|o| *o != 0) {
                    self.rows(octets, prototype, context, batch, &mut ran);
                }
            }
        } else {
            for octets in body[..rows * self.record_octets].chunks(ROWS * self.record_octets) {
                self.rows(octets, prototype, context, batch, &mut ran);
            }
        }
        ran.rows = ran.records;
        budget.0 -= ran.records;
        ran
    }

    /// Records of fixed length one at a time, each followed by what its template asks beyond its columns.
    fn run_rich(
        &self,
        rich: &Rich,
        body: &[u8],
        prototype: &FlowRecord,
        context: &RunContext<'_>,
        budget: &mut RowBudget,
        batch: &mut FlowBatch,
    ) -> Ran {
        let mut ran = Ran::default();
        for (row, octets) in body.chunks_exact(self.record_octets).enumerate() {
            if budget.0 == 0 {
                ran.cut = true;
                break;
            }
            let last_three = row * self.record_octets + 3 >= body.len();
            if self.record_octets < 4 && last_three && octets.iter().all(|o| *o == 0) {
                continue;
            }
            budget.0 -= 1;
            let index = batch.records.len();
            self.rows(octets, prototype, context, batch, &mut ran);
            ran.rows += 1;
            rich.apply(&RecordView { octets, positions: None }, index, context, budget, batch, &mut ran);
        }
        ran
    }

    /// Up to `ROWS` records, field by field: a step is looked at once for all of them.
    fn rows(
        &self,
        octets: &[u8],
        prototype: &FlowRecord,
        context: &RunContext<'_>,
        batch: &mut FlowBatch,
        ran: &mut Ran,
    ) {
        let first = batch.records.len();
        let rows = octets.len() / self.record_octets;
        batch.records.resize(first + rows, *prototype);
        let records = &mut batch.records[first..];
        let mut scratch = [Scratch::default(); ROWS];
        let scratch = &mut scratch[..rows];
        for step in &self.steps {
            let (at, length) = (usize::from(step.offset), usize::from(step.length));
            apply(step, &Column { octets, stride: self.record_octets, at, length }, records, scratch);
        }
        let mut doubtful = false;
        for (record, scratch) in records.iter_mut().zip(&*scratch) {
            doubtful |= self.finish(record, scratch, context, ran);
        }
        if doubtful {
            for ((record, scratch), octets) in
                records.iter_mut().zip(&*scratch).zip(octets.chunks_exact(self.record_octets))
            {
                self.other_clocks(&RecordView { octets, positions: None }, record, scratch, context);
            }
        }
        if !self.keep.is_empty() {
            for (index, octets) in octets.chunks_exact(self.record_octets).enumerate() {
                let presence = batch.records[first + index].presence;
                self.keep(&RecordView { octets, positions: None }, first + index, Some(presence), batch);
            }
        }
    }

    /// One record, read on its own.
    pub(super) fn one(&self, view: &RecordView<'_>, prototype: &FlowRecord, context: &RunContext<'_>) -> FlowRecord {
        let (mut record, mut scratch) = (*prototype, Scratch::default());
        self.note_receive_clock(&mut record, context);
        for step in &self.steps {
            let (at, length) = view.place(step.offset, step.length, step.field);
            let column = Column { octets: view.octets, stride: view.octets.len(), at, length };
            apply(step, &column, from_mut(&mut record), from_mut(&mut scratch));
        }
        if self.finish(&mut record, &scratch, context, &mut Ran::default()) {
            self.other_clocks(view, &mut record, &scratch, context);
        }
        record
    }

    fn run_variable(
        &self,
        body: &[u8],
        prototype: &FlowRecord,
        context: &RunContext<'_>,
        budget: &mut RowBudget,
        batch: &mut FlowBatch,
    ) -> Result<Ran, BadRecord> {
        let mut ran = Ran::default();
        // Room for the largest template is 8 KiB to clear: few sets need it.
        let (mut few, mut many);
        let positions = if self.lengths.len() <= FEW_FIELDS {
            few = [(0_u32, 0_u16); FEW_FIELDS];
            &mut few[..]
        } else {
            many = [(0_u32, 0_u16); FIELDS_PER_TEMPLATE_MAX];
            &mut many[..]
        };
        let mut rest = body;
        while rest.len() >= self.record_octets {
            if budget.0 == 0 {
                ran.cut = true;
                break;
            }
            let Some(octets) = field_positions(&self.lengths, rest, positions) else {
                // Up to 3 zero octets are padding; anything else does not fit the template.
                if rest.len() < 4 && rest.iter().all(|o| *o == 0) {
                    break;
                }
                return Err(BadRecord);
            };
            let (octets, after) = rest.split_at(octets);
            let mut record = *prototype;
            let mut scratch = Scratch::default();
            for step in &self.steps {
                let (at, length) = positions[usize::from(step.field)];
                let column = Column { octets, stride: octets.len(), at: at as usize, length: usize::from(length) };
                apply(step, &column, from_mut(&mut record), from_mut(&mut scratch));
            }
            let view = RecordView { octets, positions: Some(positions) };
            if self.finish(&mut record, &scratch, context, &mut ran) {
                self.other_clocks(&view, &mut record, &scratch, context);
            }
            let index = batch.records.len();
            self.keep(&view, index, Some(record.presence), batch);
            batch.records.push(record);
            budget.0 -= 1;
            ran.rows += 1;
            if let Some(rich) = &self.rich {
                rich.apply(&view, index, context, budget, batch, &mut ran);
            }
            rest = after;
        }
        ran.rest = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        Ok(ran)
    }

    /// Keeps the elements that are wanted as they are, for row `record`. What the record itself shows is left out: it is
    /// the row, and has this `presence`. None: another one is, and may say something else.
    pub(super) fn keep(&self, view: &RecordView<'_>, record: usize, presence: Option<Presence>, batch: &mut FlowBatch) {
        for keep in &self.keep {
            // An empty field has no position of its own.
            let (at, length) = if keep.length == 0 { (0, 0) } else { view.place(keep.offset, keep.length, keep.field) };
            if let Some(value) = view.octets.get(at..at + length)
                && !presence.is_some_and(|presence| keep.shown.holds(presence, value))
            {
                keep_value(batch, record, keep.element, value);
            }
        }
    }

    /// What can be said only when all fields were read: times, ICMP, sampling. True if the times cannot be: the
    /// caller has the record's octets to look for others.
    #[inline]
    fn finish(&self, record: &mut FlowRecord, scratch: &Scratch, context: &RunContext<'_>, ran: &mut Ran) -> bool {
        ran.records += 1;
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

    fn times(&self, record: &mut FlowRecord, scratch: &Scratch, context: &RunContext<'_>) {
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

pub(super) fn keep_value(batch: &mut FlowBatch, record: usize, element: crate::flow::ElementId, value: &[u8]) {
    // An arena of 4 GiB cannot be reached: a batch ends after one message past its target.
    let (Ok(record), Ok(offset), Ok(length)) =
        (u32::try_from(record), u32::try_from(batch.octets.len()), u16::try_from(value.len()))
    else {
        return;
    };
    batch.octets.extend_from_slice(value);
    batch.elements.push(ElementValue { record, element, offset, length });
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
