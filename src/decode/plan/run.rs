//! DataPlan x octets -> FlowRecords: the hottest loop of the program.
//!
//! Nothing here allocates but the batch's own vectors, which keep their memory. A field is read
//! inside its record, a record inside its set; no octet outside is looked at.

use std::slice::from_mut;

use super::DataPlan;
use super::column::{Column, ROWS, apply};
use super::context::{BadRecord, Ran, RowBudget, RunContext};
use super::record::{RecordView, Scratch};
use super::rich::Rich;
use super::step::Step;
use crate::decode::wire::value::field_positions;
use crate::flow::{ElementValue, FlowBatch, FlowRecord, Presence};
use crate::limits::FIELDS_PER_TEMPLATE_MAX;

/// Fields of a template that is not unusually large.
pub(super) const FEW_FIELDS: usize = 64;

/// Records whose fields stand at the same places.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    /// The records, one behind the other.
    pub octets: &'a [u8],
    /// Octets of each.
    pub stride: usize,
    /// (offset, length) of each field; None in records of fixed length.
    pub positions: Option<&'a [(u32, u16)]>,
}

impl<'a> Rows<'a> {
    /// One record.
    pub const fn one(view: &RecordView<'a>) -> Self {
        Self { octets: view.octets, stride: view.octets.len(), positions: view.positions }
    }

    /// The field that `step` reads.
    #[inline]
    pub fn column(&self, step: &Step) -> Column<'a> {
        let view = RecordView { octets: self.octets, positions: self.positions };
        let (at, length) = view.place(step.offset, step.length, step.field);
        Column { octets: self.octets, stride: self.stride, at, length }
    }

    /// One record of them.
    pub fn view(&self, index: usize) -> RecordView<'a> {
        let octets = self.octets.get(index * self.stride..(index + 1) * self.stride).unwrap_or_default();
        RecordView { octets, positions: self.positions }
    }
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
        self.prepare(&mut prototype, context);
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
                    self.rows::<1>(octets, prototype, context, batch, &mut ran);
                }
            }
        } else {
            for octets in body[..rows * self.record_octets].chunks(ROWS * self.record_octets) {
                self.rows::<ROWS>(octets, prototype, context, batch, &mut ran);
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
            self.rows::<1>(octets, prototype, context, batch, &mut ran);
            ran.rows += 1;
            rich.apply(&RecordView { octets, positions: None }, index, context, budget, batch, &mut ran);
        }
        ran
    }

    /// Up to N records, field by field: a step is looked at once for all of them.
    fn rows<const N: usize>(
        &self,
        octets: &[u8],
        prototype: &FlowRecord,
        context: &RunContext<'_>,
        batch: &mut FlowBatch,
        ran: &mut Ran,
    ) {
        let first = batch.records.len();
        let rows = Rows { octets, stride: self.record_octets, positions: None };
        batch.records.resize(first + octets.len() / self.record_octets, *prototype);
        self.read::<N>(&rows, &mut batch.records[first..], context, ran);
        if !self.keep.is_empty() {
            for (index, octets) in octets.chunks_exact(self.record_octets).enumerate() {
                let presence = batch.records[first + index].presence;
                self.keep(&RecordView { octets, positions: None }, first + index, Some(presence), batch);
            }
        }
    }

    /// One record, read on its own.
    pub(super) fn one(&self, view: &RecordView<'_>, prototype: &FlowRecord, context: &RunContext<'_>) -> FlowRecord {
        let mut record = *prototype;
        self.prepare(&mut record, context);
        self.read::<1>(&Rows::one(view), from_mut(&mut record), context, &mut Ran::default());
        record
    }

    /// Notes in the prototype what the message decides for all records.
    fn prepare(&self, prototype: &mut FlowRecord, context: &RunContext<'_>) {
        self.note_receive_clock(prototype, context);
        if self.plain.is_some()
            && let Some(sampling) = context.sampling()
        {
            (prototype.sampling_rate, prototype.sampling_source) = sampling;
        }
    }

    /// Reads up to N records into their rows, which are copies of the prototype.
    fn read<const N: usize>(
        &self,
        rows: &Rows<'_>,
        records: &mut [FlowRecord],
        context: &RunContext<'_>,
        ran: &mut Ran,
    ) {
        #[expect(clippy::cast_possible_truncation, reason = "N at most")]
        let read = records.len() as u32;
        ran.records += read;
        if let Some(plain) = &self.plain {
            return self.read_plain::<N>(plain, rows, records, context, ran);
        }
        let mut scratch = [Scratch::default(); N];
        let scratch = &mut scratch[..records.len()];
        for step in &self.steps {
            apply(step, &rows.column(step), records, scratch);
        }
        for (index, (record, scratch)) in records.iter_mut().zip(&*scratch).enumerate() {
            if self.finish(record, scratch, context, ran) {
                self.other_clocks(&rows.view(index), record, scratch, context);
            }
        }
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
            let view = RecordView { octets, positions: Some(positions) };
            let index = batch.records.len();
            batch.records.push(*prototype);
            self.read::<1>(&Rows::one(&view), &mut batch.records[index..], context, &mut ran);
            let presence = batch.records[index].presence;
            self.keep(&view, index, Some(presence), batch);
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
