//! Fields beyond `FlowRecord`, for the batch's arena: what a record's own elements tell of them.
//!
//! Compiled for what the output wants, so that a field nobody wants has no item and costs nothing. Of several elements for
//! one field the first in the table that says something wins; each row has a field at most once. The other direction of a
//! record that tells both has them too, seen from its own end: a reverse element (RFC 5103) tells first, then the record,
//! source and destination changed over, but for what holds for one direction alone. Flows in lists inherit from the record
//! round them as their other fields do. All of it is pushed behind the fields of earlier rows; where lists mix rows,
//! `Beyond::settle` puts them in order.

use std::ops::Range;

use super::compile::{accepts, presence};
use super::extra_class::{is_counter, is_of_its_ends, is_one_way, other_end};
use super::extra_read::{Labels, read};
use super::extra_sources::{LABELS, PRECEDENCE, Read, SOURCES, STACK};
use super::record::{Place, RecordView};
use super::reverse::forward_of;
use super::rich::Beyond;
use super::step::roles;
use crate::decode::wire::template::VARIABLE_LENGTH;
use crate::decode::wire::value::unsigned;
use crate::flow::{ElementId, Field, FieldSet, FieldValue, FlowBatch, FlowRecord, Presence};

/// Which fields a row has been given, and where those in the batch begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given {
    /// The row.
    pub index: usize,
    /// Its first field in the batch.
    pub from: usize,
    fields: FieldSet,
}

impl Given {
    /// Row `index`, which has no fields yet.
    pub(crate) fn new(index: usize, batch: &FlowBatch) -> Self {
        Self { index, from: batch.fields.len(), fields: FieldSet::NONE }
    }

    /// A row that is not there yet: what lists at `depth` tell of the other direction.
    pub(super) fn pending(depth: usize, batch: &FlowBatch) -> Self {
        Self::new(pending(depth), batch)
    }

    /// True if the row has `field`.
    pub(super) const fn has(&self, field: Field) -> bool {
        self.fields.has(field)
    }

    /// Gives the row an integer, unless it has the field.
    pub(super) fn number(&mut self, field: Field, value: u64, batch: &mut FlowBatch) {
        if !self.has(field) {
            self.fields.add(field);
            batch.push_number(self.index, field, value);
        }
    }

    /// The same with octets.
    pub(super) fn octets(&mut self, field: Field, octets: &[u8], batch: &mut FlowBatch) {
        if !self.has(field) {
            self.fields.add(field);
            batch.push_octets(self.index, field, octets);
        }
    }

    /// The same with a value of another row; octets in the arena serve both.
    fn value(&mut self, value: FieldValue, batch: &mut FlowBatch) {
        if let Ok(record) = u32::try_from(self.index)
            && !self.has(value.field)
        {
            self.fields.add(value.field);
            batch.fields.push(FieldValue { record, ..value });
        }
    }
}

/// Stands for the row of the other direction until that is there: no batch has so many rows.
const fn pending(depth: usize) -> usize {
    u32::MAX as usize - depth
}

/// An element that feeds a field.
#[derive(Debug, Clone, Copy)]
struct Item {
    field: Field,
    read: Read,
    /// An address of zeroes counts.
    zero: bool,
    place: Place,
}

/// The elements of an MPLS stack.
#[derive(Debug)]
struct Stack {
    entries: Box<[Place]>,
    whole: Option<Place>,
}

/// How the wanted fields of a template are read.
#[derive(Debug)]
pub(super) struct Extra {
    wanted: FieldSet,
    items: Box<[Item]>,
    stack: Option<Stack>,
    precedence: Option<Place>,
    /// What reverse elements tell of the other direction.
    told: Box<[Item]>,
    /// What the record tells of the other direction, seen from its end.
    turned: Box<[Item]>,
}

impl Extra {
    /// None if nothing is wanted that this template tells. `turns`: its records may become a row of the other direction.
    pub(super) fn compile(places: &[Place], wanted: FieldSet, turns: bool) -> Option<Self> {
        if wanted.is_empty() {
            return None;
        }
        let reversed: Vec<Place> = places
            .iter()
            .filter_map(|place| forward_of(place.element).map(|element| Place { element, ..*place }))
            .collect();
        let find = |element: ElementId| places.iter().find(|place| place.element == element).copied();
        let turn = |field| (turns && !is_one_way(field)).then(|| other_end(field));
        let extra = Self {
            wanted,
            items: items(places, wanted, Some),
            stack: Stack::compile(places).filter(|_| wanted.has(Field::MplsLabels)),
            precedence: find(PRECEDENCE).filter(|_| wanted.has(Field::Dscp)),
            told: items(&reversed, wanted, Some),
            turned: items(places, wanted, turn),
        };
        // What is read off the row itself any template can have.
        let asks = wanted.has(Field::Dscp) || wanted.has(Field::IpVersion) || extra.stack.is_some();
        let reads = !(extra.items.is_empty() && extra.told.is_empty() && extra.turned.is_empty());
        (asks || reads).then_some(extra)
    }

    /// Octets that it takes beside its own, as the learned-state budget counts them.
    pub(super) fn octets(&self) -> usize {
        let stack = self.stack.as_ref().map_or(0, |stack| size_of_val::<[Place]>(&stack.entries));
        let items = size_of_val::<[Item]>(&self.items) + size_of_val::<[Item]>(&self.told);
        items + size_of_val::<[Item]>(&self.turned) + stack
    }

    /// Gives a row what its record's elements tell.
    pub(super) fn own(&self, view: &RecordView<'_>, given: &mut Given, batch: &mut FlowBatch) {
        fill(&self.items, view, given, batch);
        if let Some(stack) = &self.stack {
            stack.fill(view, given, batch);
        }
    }

    /// Gives a row what reverse elements tell of its direction.
    pub(super) fn told(&self, view: &RecordView<'_>, given: &mut Given, batch: &mut FlowBatch) {
        fill(&self.told, view, given, batch);
    }

    /// Gives a row what its other fields say: the code point of its type of service, the version of its addresses.
    pub(super) fn derive(&self, view: &RecordView<'_>, row: &FlowRecord, given: &mut Given, batch: &mut FlowBatch) {
        derive(self.wanted, row, given, batch);
        if let Some(place) = &self.precedence
            && let Some(precedence) = view.field(place).and_then(unsigned).filter(|value| *value < 8)
        {
            given.number(Field::Dscp, precedence << 3, batch);
        }
    }
}

/// The part of [`Extra::derive`] that asks the row alone.
pub(crate) fn derive(wanted: FieldSet, row: &FlowRecord, given: &mut Given, batch: &mut FlowBatch) {
    if wanted.has(Field::Dscp) && row.has(Presence::TOS) {
        given.number(Field::Dscp, u64::from(row.tos >> 2), batch);
    }
    if wanted.has(Field::IpVersion) {
        if row.presence.has_any(Presence::SRC_V4.with(Presence::DST_V4)) {
            given.number(Field::IpVersion, 4, batch);
        } else if row.presence.has_any(Presence::SRC_V6.with(Presence::DST_V6)) {
            given.number(Field::IpVersion, 6, batch);
        }
    }
}

/// Fields out of the elements at `places`, in the order of the table; `to` says which field an element's field stands for.
fn items(places: &[Place], wanted: FieldSet, to: impl Fn(Field) -> Option<Field>) -> Box<[Item]> {
    let mut items: Vec<Item> = Vec::new();
    for source in SOURCES {
        let Some(field) = to(source.field).filter(|field| wanted.has(*field)) else { continue };
        let fits = |place: &&Place| place.element == source.element && fits(source.read, place.length);
        let before = items.len();
        let item = |place: &Place| Item { field, read: source.read, zero: false, place: *place };
        items.extend(places.iter().filter(fits).map(item));
        if items.len() > before && feeds_record(source.element, places) {
            items.truncate(before);
        }
    }
    // The prefix of everything is all zeroes; beside another family's it is the one that is not meant.
    for prefix in [Field::SrcPrefix, Field::DstPrefix] {
        let mut of_it = items.iter_mut().filter(|item| item.field == prefix);
        if let (Some(only), None) = (of_it.next(), of_it.next()) {
            only.zero = true;
        }
    }
    items.into()
}

/// True if a value of `length` octets can be read so.
const fn fits(read: Read, length: u16) -> bool {
    length == VARIABLE_LENGTH
        || match read {
            Read::V4 => length == 4,
            Read::V6 => length == 16,
            Read::Mac => length == 6,
            Read::Milliseconds => length == 8,
            _ => true,
        }
}

/// How a wanted field reads `element`, which is the only one of the record's for it; None where no field is sure to be fed
/// by it.
pub(super) fn fed(element: ElementId, places: &[Place], wanted: FieldSet) -> Option<Read> {
    let source = SOURCES.iter().find(|source| source.element == element && wanted.has(source.field))?;
    let of_field = |place: &&Place| SOURCES.iter().any(|s| s.field == source.field && s.element == place.element);
    let is_only = places.iter().filter(of_field).count() == 1;
    (is_only && !feeds_record(element, places)).then_some(source.read)
}

/// True if `element` feeds a field of the record itself, for want of a better one.
fn feeds_record(element: ElementId, places: &[Place]) -> bool {
    roles(element).into_iter().flatten().filter(|role| presence(role.slot) != Presence::NONE).any(|role| {
        !places.iter().any(|place| {
            let better = |other: &super::step::Role| other.slot == role.slot && other.rank < role.rank;
            roles(place.element).iter().flatten().any(|other| better(other) && accepts(other, place.length))
        })
    })
}

fn fill(items: &[Item], view: &RecordView<'_>, given: &mut Given, batch: &mut FlowBatch) {
    for item in items {
        if !given.has(item.field)
            && let Some(octets) = view.field(&item.place).filter(|octets| !octets.is_empty())
        {
            read(item.field, item.read, item.zero, octets, given, batch);
        }
    }
}

impl Stack {
    fn compile(places: &[Place]) -> Option<Self> {
        let is_entry = |place: &&Place| place.element.pen == 0 && LABELS.contains(&place.element.id);
        let mut entries: Vec<Place> = places.iter().filter(is_entry).copied().collect();
        // The sort is stable: of repeated elements the first stays (G-08).
        entries.sort_by_key(|place| place.element.id);
        entries.dedup_by_key(|place| place.element.id);
        let whole = places.iter().find(|place| place.element == STACK).copied();
        (whole.is_some() || !entries.is_empty()).then(|| Self { entries: entries.into(), whole })
    }

    fn fill(&self, view: &RecordView<'_>, given: &mut Given, batch: &mut FlowBatch) {
        let mut labels = Labels::new();
        for entry in &self.entries {
            if view.field(entry).is_some_and(|octets| !labels.push(octets)) {
                break;
            }
        }
        if labels.as_octets().is_empty() {
            labels = Labels::new();
            let whole = self.whole.as_ref().and_then(|place| view.field(place)).unwrap_or_default();
            for entry in whole.chunks_exact(4) {
                if !labels.push(entry) {
                    break;
                }
            }
        }
        if !labels.as_octets().is_empty() {
            given.octets(Field::MplsLabels, labels.as_octets(), batch);
        }
    }
}

/// Gives a row what the only value of a list says, which is `element`'s.
pub(super) fn single(element: ElementId, octets: &[u8], wanted: FieldSet, given: &mut Given, batch: &mut FlowBatch) {
    if wanted.is_empty() || octets.is_empty() {
        return;
    }
    for source in SOURCES.iter().filter(|source| source.element == element && wanted.has(source.field)) {
        // Counters mean nothing without their neighbours.
        if !given.has(source.field) && !is_counter(source.field) && !feeds_record(element, &[]) {
            read(source.field, source.read, false, octets, given, batch);
        }
    }
}

/// Gives the flow of a list what stands at `own` in the batch, the fields of the record round it: no counters, and nothing
/// of the ends if that record `has_ends` itself. False where the message has had its share.
pub(super) fn lend(own: Range<usize>, has_ends: bool, given: &mut Given, beyond: &mut Beyond<'_>) -> bool {
    for at in own {
        let Some(value) = beyond.batch.fields.get(at).copied() else { break };
        if given.has(value.field) || is_counter(value.field) || (has_ends && is_of_its_ends(value.field)) {
            continue;
        }
        if beyond.budget.1.lent == 0 {
            return false;
        }
        beyond.budget.1.lent -= 1;
        given.value(value, beyond.batch);
    }
    true
}

/// Gives the row of the other direction, the last one, its fields: what reverse elements of the record and of its lists at
/// `depth` tell, then those of `forward` seen from its end.
pub(super) fn turn(
    extra: Option<&Extra>,
    view: &RecordView<'_>,
    forward: &Given,
    depth: usize,
    beyond: &mut Beyond<'_>,
) {
    let Some(row) = beyond.batch.records.last().copied() else { return };
    let mut given = Given::new(beyond.batch.records.len() - 1, beyond.batch);
    let end = given.from;
    if let Some(extra) = extra {
        extra.told(view, &mut given, beyond.batch);
    }
    for at in forward.from..end {
        let Some(value) = beyond.batch.fields.get(at).copied() else { break };
        if value.record as usize == pending(depth) {
            given.value(value, beyond.batch);
        }
    }
    if let Some(extra) = extra {
        derive(extra.wanted, &row, &mut given, beyond.batch);
        fill(&extra.turned, view, &mut given, beyond.batch);
        extra.derive(view, &row, &mut given, beyond.batch);
    }
    // What lists, sampled packets and the record round it told.
    for at in forward.from..end {
        let Some(value) = beyond.batch.fields.get(at).copied() else { break };
        let field = other_end(value.field);
        let wanted = extra.is_none_or(|extra| extra.wanted.has(field));
        if value.record as usize == forward.index && wanted && !is_one_way(value.field) {
            given.value(FieldValue { field, ..value }, beyond.batch);
        }
    }
}
