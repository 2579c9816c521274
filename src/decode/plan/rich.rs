//! What a template asks beyond moving octets to fields: done record by record, behind the columns.
//!
//! A template without any of it has no `Rich`, and its records never come here. One that has takes its records one at a
//! time: the record is read as every other, then [`Rich::apply`] sees it with its octets. It may fill in what the record
//! lacks, give it fields for the arena, append further rows (the other direction of a biflow), or take the row back.

use super::DataPlan;
use super::by_options::ByOptions;
use super::card::LineCard;
use super::cert::Flags;
use super::context::{Ran, RowBudget, RunContext};
use super::event::Firewall;
use super::extra::{self, Extra, Given};
use super::fill::{COUNTERS, DST, SRC, beside, fill, other_end};
use super::judge::{is_no_traffic, judge, may_be_statistics};
use super::list::Lists;
use super::original::OriginalExporter;
use super::record::{RecordView, places};
use super::reverse::{self, Reverse, carried};
use super::section::Section;
use crate::decode::selection::{Profile, Selection};
use crate::decode::wire::template::Template;
use crate::flow::{ElementId, FieldValue, FlowBatch, FlowRecord, Presence, SamplingSource, Version};

/// What is done with a record of this template beyond its columns, in this order.
#[derive(Debug)]
pub(crate) struct Rich {
    /// A mediator's word whose flow it is (IX-41).
    original: Option<OriginalExporter>,
    /// A sampled packet (RFC 7133, RFC 5477).
    pub(super) section: Option<Section>,
    /// TCP flags in two parts.
    pub(super) flags: Option<Flags>,
    /// Sampling by line card (IX-48).
    card: Option<LineCard>,
    /// Fields for the arena that the record's own elements tell.
    extra: Option<Extra>,
    /// Structured data (RFC 6313).
    pub(super) lists: Option<Lists>,
    /// What a firewall says happened (B-4).
    firewall: Option<Firewall>,
    /// The filled row is judged (B-5, IX-49).
    judges: bool,
    /// The exporter speaks of itself, unless a packet or list holds traffic (D-1).
    may_be_statistics: bool,
    /// The other direction (RFC 5103).
    reverse: Option<Reverse>,
    /// The same where the record stands in a list.
    pub(super) told: Option<Box<DataPlan>>,
    /// What options told of what the record names.
    pub(super) by_options: Option<ByOptions>,
}

impl Rich {
    /// None if the template asks nothing of the kind, or nothing that `selection` wants.
    pub(super) fn compile(
        template: &Template,
        _version: Version,
        selection: &Selection,
        profile: &Profile,
    ) -> Option<Box<Self>> {
        let card = LineCard::compile(template);
        let by_options = ByOptions::compile(template, selection);
        let places = places(template);
        let rich = if selection.interpret {
            let reverse = Reverse::compile(template);
            let lists = Lists::compile(&places, selection.fields);
            Self {
                original: OriginalExporter::compile(&places, profile),
                section: Section::compile(&places, selection.fields),
                flags: Flags::compile(&places),
                card,
                extra: Extra::compile(&places, selection.fields, reverse.is_some() || lists.is_some()),
                lists,
                firewall: Firewall::compile(template),
                judges: selection.judges(),
                may_be_statistics: may_be_statistics(template),
                reverse,
                told: reverse::told(template),
                by_options,
            }
        } else {
            let (section, flags, lists, firewall, reverse, told) = (None, None, None, None, None, None);
            let extra = Extra::compile(&places, selection.fields, false);
            Self {
                original: None,
                section,
                flags,
                card,
                extra,
                lists,
                firewall,
                judges: false,
                may_be_statistics: false,
                reverse,
                told,
                by_options,
            }
        };
        let asks = rich.original.is_some()
            || rich.section.is_some()
            || rich.flags.is_some()
            || rich.card.is_some()
            || rich.extra.is_some()
            || rich.lists.is_some()
            || rich.firewall.is_some()
            || rich.reverse.is_some()
            || rich.told.is_some()
            || rich.by_options.is_some();
        asks.then(|| Box::new(rich))
    }

    /// A packet or a list may hold traffic that the record itself does not tell of.
    pub(super) const fn looks_inside(&self) -> bool {
        self.section.is_some() || self.lists.is_some()
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
        if let Some(original) = &self.original {
            original.apply(view, index, context, batch, ran);
        }
        let before = batch.records[index].presence;
        let elements = batch.elements.len();
        let mut given = Given::new(index, batch);
        let said = self.fill(view, &mut batch.records[index]);
        if let Some(by_options) = &self.by_options {
            by_options.fill(view, &mut batch.records[index], context, ran);
        }
        let record = batch.records[index];
        self.give(view, &said, &record, &mut given, batch);
        let mut beyond = Beyond { context, budget, batch, ran };
        self.beyond(view, given, 0, &mut beyond);
        if self.may_be_statistics
            && beyond.batch.records.len() == index + 1
            && is_no_traffic(&beyond.batch.records[index], before)
        {
            beyond.take_back(index);
        } else if self.lists.is_some() {
            beyond.settle(index, elements, given.from);
        }
        if let Some(by_options) = &self.by_options {
            by_options.push(view, index, context, batch);
        }
    }

    /// The part of [`Rich::apply`] that may append rows, at `depth` of lists.
    pub(super) fn beyond(&self, view: &RecordView<'_>, mut given: Given, depth: usize, beyond: &mut Beyond<'_>) {
        let index = given.index;
        if let Some(card) = &self.card {
            card.apply(view, &mut beyond.batch.records[index], beyond.context, beyond.ran);
        }
        let found = self.lists.as_ref().map(|lists| lists.apply(view, &mut given, depth, beyond));
        let told = found.as_ref().map(|found| &found.reverse);
        let row = &mut beyond.batch.records[index];
        // What is an event by its template has no counter of its own; with one of a list it is a flow.
        if row.presence.has_any(COUNTERS) || told.is_some_and(carried) {
            row.presence.clear(Presence::EVENT);
        }
        let carries = self.firewall.as_ref().is_none_or(|firewall| firewall.apply(view, row, beyond.context));
        if self.judges {
            judge(row);
        }
        let forward = *row;
        if let Some(extra) = self.extra.as_ref().filter(|_| found.is_some()) {
            extra.derive(view, &forward, &mut given, beyond.batch);
        }
        if carries
            && let Some(row) = self.other_direction(view, &forward, told, depth, beyond.context)
            && beyond.push_row(row)
        {
            extra::turn(self.extra.as_ref(), view, &given, depth, beyond);
        }
    }

    /// The other direction of `forward`, if it carried anything: what the record says of it, and what its lists `told`.
    fn other_direction(
        &self,
        view: &RecordView<'_>,
        forward: &FlowRecord,
        told: Option<&FlowRecord>,
        depth: usize,
        context: &RunContext<'_>,
    ) -> Option<FlowRecord> {
        let mut row = match (&self.reverse, told) {
            (Some(reverse), _) => reverse.read(view, forward, context),
            (None, Some(_)) => beside(forward),
            (None, None) => return None,
        };
        if self.original.is_some() {
            OriginalExporter::apply_reverse(forward, &mut row);
        }
        if let Some(card) = &self.card {
            // Not counted before it is pushed.
            card.apply(view, &mut row, context, &mut Ran::default());
        }
        if let Some(flags) = &self.flags {
            flags.fill_reverse(view, &mut row);
        }
        if let Some(told) = told {
            fill(&mut row, told, Presence::NONE);
        }
        if !carried(&row) {
            return None;
        }
        // What stands in a list, or round it, or in common properties, is no part of the template that the other direction
        // was read by.
        let is_lent = self.by_options.as_ref().is_some_and(ByOptions::lends);
        if told.is_some() || depth > 0 || is_lent {
            if !row.has(Presence::SAMPLING_IN_RECORD) {
                (row.sampling_rate, row.sampling_source) = (forward.sampling_rate, forward.sampling_source);
            }
            fill(&mut row, &other_end(forward), Presence::NONE);
            row.template_id = forward.template_id;
        }
        if forward.has(Presence::FLOW_END_REASON) {
            row.presence.set(Presence::FLOW_END_REASON);
            row.flow_end_reason = forward.flow_end_reason;
        }
        row.presence.set(Presence::REVERSE);
        if self.judges {
            judge(&mut row);
        }
        Some(row)
    }

    /// What a record alone says more of its row, without rows and fields of the arena; answers with what packets say of
    /// those.
    pub(super) fn fill(&self, view: &RecordView<'_>, record: &mut FlowRecord) -> Said {
        let said = self.section.as_ref().map(|section| section.fill(view, record));
        if let Some(flags) = &self.flags {
            flags.fill(view, record);
        }
        said
    }

    /// Gives a row the fields of the arena that its record `view` tells, which was read as `record`.
    pub(super) fn give(
        &self,
        view: &RecordView<'_>,
        said: &Said,
        record: &FlowRecord,
        given: &mut Given,
        batch: &mut FlowBatch,
    ) {
        if let Some(extra) = &self.extra {
            extra.own(view, given, batch);
        }
        if let (Some(section), Some(said)) = (&self.section, said) {
            section.push(said, given, batch);
        }
        if let Some(extra) = &self.extra {
            extra.derive(view, record, given, batch);
        }
    }

    /// The same of the other direction, by what reverse elements of the record tell.
    pub(super) fn give_reverse(&self, view: &RecordView<'_>, given: &mut Given, batch: &mut FlowBatch) {
        if let Some(extra) = &self.extra {
            extra.told(view, given, batch);
        }
    }

    /// What it takes for fields of the arena, as the learned-state budget counts it.
    pub(super) fn field_octets(&self) -> usize {
        self.extra.as_ref().map_or(0, Extra::octets)
    }
}

/// What the sampled packets of a record say of fields of the arena.
pub(super) type Said = Option<super::section::Beyond>;

/// What one record may become beyond its own row.
#[derive(Debug)]
pub(super) struct Beyond<'a> {
    pub context: &'a RunContext<'a>,
    pub budget: &'a mut RowBudget,
    pub batch: &'a mut FlowBatch,
    pub ran: &'a mut Ran,
}

impl Beyond<'_> {
    /// Appends a row beside the record's own; false where the message's rows are used up: the set counts as cut.
    pub(super) fn push_row(&mut self, row: FlowRecord) -> bool {
        if self.budget.0 == 0 {
            self.ran.cut = true;
            return false;
        }
        self.budget.0 -= 1;
        self.ran.rows += 1;
        self.ran.sampling_unknown += u32::from(row.sampling_source == SamplingSource::Unknown);
        self.batch.records.push(row);
        true
    }

    /// Takes one value or record of a list, which is read or else `only_kept`; false if the message has had its share.
    pub(super) fn takes(&mut self, only_kept: bool) -> bool {
        let left = if only_kept { &mut self.budget.1.kept } else { &mut self.budget.1.read };
        let takes = *left > 0;
        *left -= u32::from(takes);
        takes
    }

    /// True if the output wants `element` as it is.
    pub(super) fn keeps(&self, element: ElementId) -> bool {
        self.context.around.is_some_and(|around| around.settings.selection.elements.has(element))
    }

    /// Takes back row `index`, the last one, with all that was kept for it: it is no flow.
    fn take_back(&mut self, index: usize) {
        let Self { budget, batch, ran, .. } = self;
        let unknown = batch.records[index].sampling_source == SamplingSource::Unknown;
        batch.records.truncate(index);
        let is_kept = |record: u32| (record as usize) < index;
        batch.elements.truncate(batch.elements.partition_point(|e| is_kept(e.record)));
        batch.fields.truncate(batch.fields.partition_point(|f| is_kept(f.record)));
        budget.0 += 1;
        ran.rows -= 1;
        ran.sampling_unknown -= u32::from(unknown);
        ran.non_flow += 1;
    }

    /// Ends record `index`, whose elements begin at `elements` and whose fields at `fields`: a record without addresses
    /// whose lists held flows is none itself, the first of them takes its place, with the fields that it inherited.
    /// Elements and fields come in the order of their rows.
    fn settle(&mut self, index: usize, elements: usize, fields: usize) {
        let records = &mut self.batch.records;
        let own = records[index];
        let takes_place = index + 1 < records.len() && !own.presence.has_any(SRC.with(DST));
        if takes_place {
            records.remove(index);
            self.budget.0 += 1;
            self.ran.rows -= 1;
            self.ran.sampling_unknown -= u32::from(own.sampling_source == SamplingSource::Unknown);
        }
        let elements = self.batch.elements.get_mut(elements..).unwrap_or_default();
        for element in elements.iter_mut().filter(|e| takes_place && e.record as usize > index) {
            element.record -= 1;
        }
        if !elements.is_sorted_by_key(|e| e.record) {
            elements.sort_unstable_by_key(|e| (e.record, e.offset));
        }
        let rows = self.batch.records.len();
        let all = &mut self.batch.fields;
        let mut kept = fields;
        for at in fields..all.len() {
            let field = all[at];
            let gone = takes_place && field.record as usize == index;
            let record = field.record - u32::from(takes_place && field.record as usize > index);
            // What lists told of the other direction has no row of its own.
            if !gone && (record as usize) < rows {
                all[kept] = FieldValue { record, ..field };
                kept += 1;
            }
        }
        all.truncate(kept);
        let fields = all.get_mut(fields..).unwrap_or_default();
        if !fields.is_sorted_by_key(|f| f.record) {
            // A row has a field once.
            fields.sort_unstable_by_key(|f| (f.record, f.field));
        }
    }
}
