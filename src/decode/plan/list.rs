//! Lists inside a record (RFC 6313): what their records and values mean for the row.
//!
//! - The only record of its template in a list says more of the flow round it: it fills what that lacks, its reverse
//!   elements the other direction. So does the only value of a basicList.
//! - A record with both addresses of its own is a flow of its own, unless the one round it has no addresses yet. It becomes
//!   a row that inherits what it lacks, but no counters, and no ends if the outer record has ends itself. If only the
//!   outer record has counters, nobody knows whose they are: no row.
//! - The first such row takes the place of an outer record without addresses.
//! - Of several records without addresses none is the flow's: they are kept as elements where those are wanted.
//! - Lists that say "none of these" say nothing of the flow.
//!
//! The walk takes an octet at least with each step, goes `LIST_DEPTH_MAX` deep and ends with the message's budget; what was
//! not looked into is counted, and the row survives.

use std::ops::Range;

use super::column::{Column, apply};
use super::compile;
use super::context::RunContext;
use super::extra::{self, Given, lend};
use super::fill::{COUNTERS, DST, OF_ITS_ENDS, SRC, beside, fill};
use super::judge::judge;
use super::record::{Place, RecordView, Scratch};
use super::rich::{Beyond, Rich, Said};
use super::run::{FEW_FIELDS, keep_value};
use super::step::Slot;
use super::{DataPlan, PlanKind};
use crate::decode::wire::list::{BasicList, Entries, Entry, ListKind, NONE_OF};
use crate::decode::wire::template::TEMPLATE_ID_MIN;
use crate::decode::wire::value::field_positions;
use crate::flow::{ElementId, FieldSet, FlowRecord, Presence};
use crate::limits::{FIELDS_PER_TEMPLATE_MAX, LIST_DEPTH_MAX};

/// The lists of a template.
#[derive(Debug)]
pub(super) struct Lists {
    places: Box<[(ListKind, Place)]>,
    /// Fields of the arena that are wanted.
    wanted: FieldSet,
}

/// What the lists of one record told of its flow.
#[derive(Debug)]
pub(super) struct Found {
    /// The record as it was before: whose the flows in its lists are.
    outer: FlowRecord,
    /// Its row, and the fields that it has been given.
    given: Given,
    /// The fields that its lists told of the other direction, whose row is not there yet.
    told: Given,
    /// Where in the batch those stand that it had itself: what flows in its lists inherit.
    own: Range<usize>,
    /// Fields that are wanted.
    wanted: FieldSet,
    /// What fills the row.
    forward: FlowRecord,
    /// The same of the other direction.
    pub reverse: FlowRecord,
}

impl Lists {
    /// None if the template has no list.
    pub(super) fn compile(places: &[Place], wanted: FieldSet) -> Option<Self> {
        let lists: Box<[_]> = places.iter().filter_map(|p| ListKind::of(p.element).map(|kind| (kind, *p))).collect();
        (!lists.is_empty()).then_some(Self { places: lists, wanted })
    }

    /// Walks the lists of the last row, which was read from `view` and has been `given` fields, and fills it.
    pub(super) fn apply(
        &self,
        view: &RecordView<'_>,
        given: &mut Given,
        depth: usize,
        beyond: &mut Beyond<'_>,
    ) -> Found {
        let index = given.index;
        let outer = beyond.batch.records[index];
        let empty = FlowRecord::empty(outer.version);
        let own = given.from..beyond.batch.fields.len();
        let mut found = Found {
            outer,
            given: *given,
            told: Given::pending(depth, beyond.batch),
            own,
            wanted: self.wanted,
            forward: empty,
            reverse: empty,
        };
        self.walk(view, depth, &mut found, beyond);
        *given = found.given;
        let row = &mut beyond.batch.records[index];
        let unknown = !row.has(Presence::SAMPLING_IN_RECORD);
        fill(row, &found.forward, Presence::NONE);
        if unknown && row.has(Presence::SAMPLING_IN_RECORD) {
            beyond.ran.note_sampling(&outer, row);
        }
        found
    }

    fn walk(&self, view: &RecordView<'_>, depth: usize, found: &mut Found, beyond: &mut Beyond<'_>) {
        for (kind, place) in &self.places {
            if let Some(octets) = view.field(place) {
                list(*kind, octets, depth, found, beyond);
            }
        }
    }
}

/// One list at `depth`, 0 for those of the data set's own records.
fn list(kind: ListKind, octets: &[u8], depth: usize, found: &mut Found, beyond: &mut Beyond<'_>) {
    // No octets: a list that the exporter left out.
    if octets.is_empty() {
        return;
    }
    let read = depth < LIST_DEPTH_MAX
        && match kind {
            ListKind::Basic => basic(octets, depth, found, beyond),
            ListKind::SubTemplate => entries(false, octets, depth, found, beyond),
            ListKind::SubTemplateMulti => entries(true, octets, depth, found, beyond),
        };
    beyond.ran.lists_unread += u32::from(!read);
}

/// False if the list cannot be read to its end.
fn entries(multi: bool, octets: &[u8], depth: usize, found: &mut Found, beyond: &mut Beyond<'_>) -> bool {
    let Some(mut entries) = Entries::parse(multi, octets) else { return false };
    if entries.semantic == NONE_OF {
        return true;
    }
    let mut read = true;
    for entry in entries.by_ref() {
        read &= beyond.takes(false) && records(entry, depth, found, beyond);
    }
    read && !entries.broken
}

fn records(entry: Entry<'_>, depth: usize, found: &mut Found, beyond: &mut Beyond<'_>) -> bool {
    // Nothing to read, so the template need not be known.
    if entry.records.is_empty() {
        return true;
    }
    let Some(plan) = beyond.context.around.and_then(|around| around.templates.plan(entry.template)) else {
        if entry.template >= TEMPLATE_ID_MIN {
            beyond.ran.awaits.get_or_insert(entry.template);
        }
        return false;
    };
    plan.note_use();
    let PlanKind::Data(plan) = &plan.kind else { return false };
    if plan.record_octets == 0 || entry.records.len() < plan.record_octets {
        return false;
    }
    if !plan.variable {
        return each(plan, entry.records, &mut [], depth, found, beyond);
    }
    // Room for the largest template is 8 KiB to clear: its records are longer than that takes.
    if plan.lengths.len() <= FEW_FIELDS {
        each(plan, entry.records, &mut [(0, 0); FEW_FIELDS], depth, found, beyond)
    } else {
        each(plan, entry.records, &mut [(0, 0); FIELDS_PER_TEMPLATE_MAX], depth, found, beyond)
    }
}

fn each(
    plan: &DataPlan,
    records: &[u8],
    positions: &mut [(u32, u16)],
    depth: usize,
    found: &mut Found,
    beyond: &mut Beyond<'_>,
) -> bool {
    let has_addresses = |slots: [Slot; 2]| plan.steps.iter().any(|step| slots.contains(&step.slot));
    // A sampled packet has ends that no step reads.
    let may_have_ends = plan.rich.as_ref().is_some_and(|rich| rich.section.is_some())
        || has_addresses([Slot::SrcV4, Slot::SrcV6]) && has_addresses([Slot::DstV4, Slot::DstV6]);
    let mut rest = records;
    while rest.len() >= plan.record_octets {
        let octets = if plan.variable {
            match field_positions(&plan.lengths, rest, positions) {
                Some(octets) => octets,
                None => return false,
            }
        } else {
            plan.record_octets
        };
        let (octets, after) = rest.split_at(octets);
        let alone = rest.len() == records.len() && after.len() < plan.record_octets;
        // Of several records without ends of their own nothing is taken but their elements.
        let only_kept = !alone && !may_have_ends;
        if only_kept && plan.keep.is_empty() {
            return true;
        }
        if !beyond.takes(only_kept) {
            return false;
        }
        let view = RecordView { octets, positions: plan.variable.then_some(&*positions) };
        if !record(plan, &view, alone, depth, found, beyond) {
            return false;
        }
        rest = after;
    }
    true
}

/// One record of a list; false if the message's rows are used up.
fn record(
    plan: &DataPlan,
    view: &RecordView<'_>,
    alone: bool,
    depth: usize,
    found: &mut Found,
    beyond: &mut Beyond<'_>,
) -> bool {
    let rich = plan.rich.as_deref();
    let (inner, said) = plan.inside(view, &found.outer, beyond.context);
    let ends = |record: &FlowRecord| record.presence.has_any(SRC) && record.presence.has_any(DST);
    let has_address = |record: &FlowRecord| record.presence.has_any(SRC.with(DST));
    let counted = |record: &FlowRecord| record.presence.has_any(COUNTERS);
    let placed = has_address(&found.outer) || has_address(&found.forward);
    if ends(&inner) && (placed || !alone) {
        if !counted(&inner) && counted(&found.outer) {
            return true;
        }
        let Some(index) = row(inner, &found.outer, beyond) else { return false };
        plan.keep(view, index, Some(inner.presence), beyond.batch);
        let mut given = Given::new(index, beyond.batch);
        if let Some(rich) = rich {
            rich.give(view, &said, &inner, &mut given, beyond.batch);
        }
        let all = lend(found.own.clone(), has_address(&found.outer), &mut given, beyond);
        beyond.ran.lists_unread += u32::from(!all);
        if let Some(rich) = rich {
            rich.beyond(view, given, depth + 1, beyond);
        }
        return true;
    }
    plan.keep(view, found.given.index, None, beyond.batch);
    if alone {
        fill(&mut found.forward, &inner, Presence::NONE);
        if let Some(rich) = rich {
            rich.give(view, &said, &inner, &mut found.given, beyond.batch);
            rich.fill_reverse(view, &mut found.reverse, beyond.context);
            rich.give_reverse(view, &mut found.told, beyond.batch);
            if let Some(lists) = &rich.lists {
                lists.walk(view, depth + 1, found, beyond);
            }
        }
    }
    true
}

/// Appends a flow of a list as a row of its own; None if the message's rows are used up.
fn row(inner: FlowRecord, outer: &FlowRecord, beyond: &mut Beyond<'_>) -> Option<usize> {
    let mut row = inner;
    let base = beside(outer);
    row.template_id = outer.template_id;
    if !row.has(Presence::SAMPLING_IN_RECORD) {
        (row.sampling_rate, row.sampling_source) = (base.sampling_rate, base.sampling_source);
    }
    if !row.has(Presence::TIMES) {
        (row.start_ms, row.end_ms, row.time_source) = (base.start_ms, base.end_ms, base.time_source);
        row.presence.clear(Presence::BAD_TIMES);
        row.presence.set(Presence(base.presence.0 & Presence::BAD_TIMES.0));
    }
    let has_ends = outer.presence.has_any(SRC.with(DST));
    let others = if has_ends { COUNTERS.with(OF_ITS_ENDS) } else { COUNTERS };
    fill(&mut row, outer, others);
    judge(&mut row);
    let index = beyond.batch.records.len();
    beyond.push_row(row).then_some(index)
}

/// A basicList; false if it cannot be read to its end.
fn basic(octets: &[u8], depth: usize, found: &mut Found, beyond: &mut Beyond<'_>) -> bool {
    let Some(list) = BasicList::parse(octets) else { return false };
    if list.semantic == NONE_OF {
        return true;
    }
    let inner = ListKind::of(list.element);
    let kept = beyond.keeps(list.element);
    let mut only = None;
    for (number, value) in list.enumerate() {
        // Of several values none is the flow's.
        only = (number == 0).then_some(value);
        if number > 0 && inner.is_none() && !kept {
            return true;
        }
        if !beyond.takes(number > 0 && inner.is_none()) {
            return false;
        }
        if kept {
            keep_value(beyond.batch, found.given.index, list.element, value);
        }
        if let Some(kind) = inner {
            self::list(kind, value, depth + 1, found, beyond);
        }
    }
    if let Some(value) = only {
        fill_value(list.element, list.value_octets(), value, found);
        extra::single(list.element, value, found.wanted, &mut found.given, beyond.batch);
    }
    true
}

/// The only value of a basicList stands for the flow's.
fn fill_value(element: ElementId, length: u16, value: &[u8], found: &mut Found) {
    let Some(step) = compile::single(element, length) else { return };
    let mut record = FlowRecord::empty(found.outer.version);
    let column = Column { octets: value, stride: value.len().max(1), at: 0, length: value.len() };
    let mut scratch = Scratch::default();
    apply(&step, &column, std::slice::from_mut(&mut record), std::slice::from_mut(&mut scratch));
    fill(&mut found.forward, &record, Presence::NONE);
}

impl DataPlan {
    /// A record of a list, read as the records of a set are.
    fn inside(&self, view: &RecordView<'_>, outer: &FlowRecord, context: &RunContext<'_>) -> (FlowRecord, Said) {
        let mut prototype = self.prototype;
        prototype.version = outer.version;
        prototype.observation_domain = outer.observation_domain;
        prototype.exporter = outer.exporter;
        let mut record = self.one(view, &prototype, context);
        let said = self.rich.as_ref().and_then(|rich| rich.fill(view, &mut record));
        (record, said)
    }
}

impl Rich {
    /// What a record of a list says of the other direction of the flow round it.
    fn fill_reverse(&self, view: &RecordView<'_>, reverse: &mut FlowRecord, context: &RunContext<'_>) {
        if let Some(told) = &self.told {
            let (said, _) = told.inside(view, reverse, context);
            fill(reverse, &said, Presence::NONE);
        }
        if let Some(flags) = &self.flags {
            flags.fill_reverse(view, reverse);
        }
    }
}
