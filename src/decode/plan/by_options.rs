//! What options records told of what a data record names: its common properties, and what things are called.
//!
//! Two turns: before other rows are made of the record it gets what its common properties say; when all of its rows stand
//! they get the fields of the arena that they lack. What the record says itself wins. A table that comes after the data
//! serves the records after it.

use super::common::Common;
use super::context::{Ran, RunContext};
use super::named::Named;
use super::record::{RecordView, places};
use crate::decode::selection::Selection;
use crate::decode::wire::template::Template;
use crate::flow::{Field, FieldSet, FlowBatch, FlowRecord, Presence};

/// What of a template's records is looked up.
#[derive(Debug)]
pub(super) struct ByOptions {
    common: Option<Common>,
    named: Option<Named>,
}

impl ByOptions {
    /// None if the template names nothing that `selection` wants.
    pub fn compile(template: &Template, selection: &Selection) -> Option<Self> {
        let places = places(template);
        let common = if selection.interpret { Common::compile(&places) } else { None };
        let named = Named::compile(&places, selection.fields);
        (common.is_some() || named.is_some()).then_some(Self { common, named })
    }

    /// True if rows may get parts that do not stand in the record.
    pub const fn lends(&self) -> bool {
        self.common.is_some()
    }

    /// Gives `record` what its common properties say.
    pub fn fill(&self, view: &RecordView<'_>, record: &mut FlowRecord, context: &RunContext<'_>, ran: &mut Ran) {
        if let Some(common) = &self.common {
            common.fill(view, record, context, ran);
        }
    }

    /// Gives the rows of a record, which begin at `index` and are the last, the fields that they lack.
    pub fn push(&self, view: &RecordView<'_>, index: usize, context: &RunContext<'_>, batch: &mut FlowBatch) {
        let first = batch.fields.partition_point(|f| (f.record as usize) < index);
        in_order(batch, first);
        let (mut at, known) = (first, batch.fields.len());
        for row in index..batch.records.len() {
            let mut has = FieldSet::NONE;
            while let Some(field) = batch.fields[..known].get(at).filter(|f| f.record as usize == row) {
                has.add(field.field);
                at += 1;
            }
            let is_reverse = batch.records[row].has(Presence::REVERSE);
            let mut lacking = Lacking { row, is_reverse, has, batch };
            if let Some(named) = &self.named {
                named.own(view, &mut lacking);
            }
            if let Some(common) = &self.common {
                common.push(view, context, &mut lacking);
            }
            if let Some(named) = &self.named {
                named.look_up(view, context, &mut lacking);
            }
        }
        in_order(batch, first);
    }
}

/// Fields come in the order of their rows; those of one row in any.
fn in_order(batch: &mut FlowBatch, first: usize) {
    let fields = batch.fields.get_mut(first..).unwrap_or_default();
    if !fields.is_sorted_by_key(|f| f.record) {
        fields.sort_unstable_by_key(|f| (f.record, f.field));
    }
}

/// A row and what it has already.
#[derive(Debug)]
pub(super) struct Lacking<'a> {
    row: usize,
    /// It tells the other direction.
    pub is_reverse: bool,
    has: FieldSet,
    batch: &'a mut FlowBatch,
}

impl Lacking<'_> {
    /// The row.
    pub fn record(&self) -> &FlowRecord {
        &self.batch.records[self.row]
    }

    /// True if the row has no `field` yet.
    pub const fn lacks(&self, field: Field) -> bool {
        !self.has.has(field)
    }

    /// Gives it a text, unless there is nothing in it.
    pub fn give_text(&mut self, field: Field, text: &str) {
        if !text.is_empty() && self.lacks(field) {
            self.give_octets(field, text.as_bytes());
        }
    }

    /// Gives it octets.
    pub fn give_octets(&mut self, field: Field, octets: &[u8]) {
        self.has.add(field);
        self.batch.push_octets(self.row, field, octets);
    }

    /// Gives it an integer.
    pub fn give_number(&mut self, field: Field, number: u64) {
        self.has.add(field);
        self.batch.push_number(self.row, field, number);
    }
}
