//! What a template asks beyond moving octets to fields: done record by record, behind the columns.
//!
//! A template without any of it has no `Rich`, and its records never come here. One that has takes its records one at a
//! time: the record is read as every other, then [`Rich::apply`] sees it with its octets. It may fill in what the record
//! lacks, give it fields for the arena, append further rows (the other direction of a biflow), or take the row back.

use super::card::LineCard;
use super::event::Firewall;
use super::reverse::Reverse;
use super::run::{Ran, RowBudget, RunContext};
use crate::decode::selection::Selection;
use crate::decode::template::{Template, VARIABLE_LENGTH};
use crate::flow::{ElementId, FlowBatch, FlowRecord, SamplingSource, Version};

/// Where a field stands in its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which element it is.
    pub element: ElementId,
    /// Octets; VARIABLE_LENGTH where the record says.
    pub length: u16,
    /// Offset in a fixed record.
    pub offset: u16,
    /// Number of the field among those that are not empty.
    pub field: u16,
}

/// One record's octets, and where its fields are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordView<'a> {
    /// The record.
    pub octets: &'a [u8],
    /// (offset, length) of each field; None in a record of fixed length.
    pub positions: Option<&'a [(u32, u16)]>,
}

impl<'a> RecordView<'a> {
    /// Where a field begins and how long it is: what the template says, or the record.
    pub(super) fn place(&self, offset: u16, length: u16, field: u16) -> (usize, usize) {
        match self.positions.and_then(|positions| positions.get(usize::from(field))) {
            Some((at, length)) => (*at as usize, usize::from(*length)),
            None => (usize::from(offset), usize::from(length)),
        }
    }

    /// The octets of a field, without its length prefix.
    pub(crate) fn field(&self, place: &Place) -> Option<&'a [u8]> {
        let (at, length) = self.place(place.offset, place.length, place.field);
        self.octets.get(at..at + length)
    }
}

/// The places of a template's fields, in wire order; empty fields are left out.
pub(crate) fn places(template: &Template) -> Vec<Place> {
    let (mut offset, mut places) = (0_u16, Vec::new());
    for specifier in template.fields.iter().filter(|f| f.length > 0) {
        let field = u16::try_from(places.len()).unwrap_or(u16::MAX);
        places.push(Place { element: specifier.element, length: specifier.length, offset, field });
        if specifier.length != VARIABLE_LENGTH {
            offset = offset.saturating_add(specifier.length);
        }
    }
    places
}

/// What is done with a record of this template beyond its columns.
#[derive(Debug)]
pub(crate) struct Rich {
    /// The other direction (RFC 5103).
    reverse: Option<Reverse>,
    /// What a firewall says happened (B-4).
    firewall: Option<Firewall>,
    /// Sampling by line card (IX-48).
    card: Option<LineCard>,
}

impl Rich {
    /// None if the template asks nothing of the kind, or nothing that `selection` wants.
    pub(super) fn compile(template: &Template, _version: Version, selection: &Selection) -> Option<Box<Self>> {
        let reverse = if selection.reverse_rows { Reverse::compile(template) } else { None };
        let firewall = if selection.judges() { Firewall::compile(template) } else { None };
        let card = LineCard::compile(template);
        (reverse.is_some() || firewall.is_some() || card.is_some()).then(|| Box::new(Self { reverse, firewall, card }))
    }

    /// Sees record `index` of `batch`, the last one so far, which was read from `view`.
    pub(super) fn apply(
        &self,
        view: &RecordView<'_>,
        index: usize,
        context: &RunContext<'_>,
        budget: &mut RowBudget,
        batch: &mut FlowBatch,
        ran: &mut Ran,
    ) {
        if let Some(card) = &self.card {
            card.apply(view, &mut batch.records[index], context, ran);
        }
        let firewall = self.firewall.as_ref();
        let carries = firewall.is_none_or(|firewall| firewall.apply(view, &mut batch.records[index], context));
        let reverse = self.reverse.as_ref().filter(|_| carries);
        if let Some(mut row) = reverse.and_then(|reverse| reverse.row(view, &batch.records[index], context)) {
            if let Some(card) = &self.card {
                // Not counted before it is pushed.
                card.apply(view, &mut row, context, &mut Ran::default());
            }
            push_row(row, budget, batch, ran);
        }
    }
}

/// Appends a row beside the record's own; where the message's rows are used up, the set counts as cut.
fn push_row(row: FlowRecord, budget: &mut RowBudget, batch: &mut FlowBatch, ran: &mut Ran) {
    if budget.0 == 0 {
        ran.cut = true;
        return;
    }
    budget.0 -= 1;
    ran.rows += 1;
    ran.sampling_unknown += u32::from(row.sampling_source == SamplingSource::Unknown);
    batch.records.push(row);
}
