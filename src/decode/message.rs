//! One message of NetFlow v9 or IPFIX: its sets in wire order, each applied before the next.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::error::{DecodeError, DecodeErrorKind, SetDropKind};
use super::learned::Domain;
use super::learned::{Await, Envelope, Unparked};
use super::plan::{DataPlan, DecodePlan, PlanKind, RowBudget, RunContext};
use super::sequence::{SequenceNote, fingerprint};
use super::wire::padding::Rest;
use super::wire::set::{MalformedSet, Set, Sets};
use super::wire::template::{TEMPLATE_ID_MIN, TemplateSet};
use super::wire::time::MessageClock;
use super::{Datagram, Header, Outcome};
use crate::flow::{FlowBatch, Version};
use crate::limits::ROWS_PER_MESSAGE_MAX;

/// Set ids of templates and options templates, by version (RFC 3954 5.2, 6.1; RFC 7011 3.3.2).
const fn template_sets(version: Version) -> (u16, u16) {
    match version {
        Version::Ipfix => (2, 3),
        _ => (0, 1),
    }
}

/// True if the message holds a template set.
pub(super) fn carries_templates(version: Version, octets: &[u8]) -> bool {
    let (templates, options) = template_sets(version);
    Sets::new(version, octets).any(|set| set.is_ok_and(|s| s.id == templates || s.id == options))
}

/// Rows that one message may become.
fn row_budget() -> RowBudget {
    RowBudget::of_rows(u32::try_from(ROWS_PER_MESSAGE_MAX).unwrap_or(u32::MAX))
}

struct Walk<'a> {
    envelope: Envelope,
    domain: &'a Domain,
    batch: &'a mut FlowBatch,
    outcome: Outcome,
    budget: RowBudget,
    /// The same for sets that were parked.
    replay_budget: RowBudget,
    /// Data records in the message, for IPFIX's sequence; None once a set could not be counted.
    units: Option<u32>,
    /// A set whose lists name an unknown template may wait for it.
    may_wait: bool,
    /// The outcome has left: there is somebody to count it.
    ended: bool,
}

impl Drop for Walk<'_> {
    /// A panic on the way: the datagram will count as rejected and no more.
    fn drop(&mut self) {
        if !self.ended {
            self.domain.undo(&self.envelope, &self.outcome);
        }
    }
}

/// Decodes a message whose fixed header has been read; `octets` is what follows it.
pub(super) fn decode(
    datagram: &Datagram<'_>,
    header: &Header,
    octets: &[u8],
    domain: &Domain,
    batch: &mut FlowBatch,
) -> Outcome {
    let sets = Sets::new(header.version, octets);
    // A broken IPFIX message yields nothing and changes nothing (IX-03).
    if header.version == Version::Ipfix && !sets.clone().fill_exactly() {
        return Outcome::of_rejected(DecodeError::at(DecodeErrorKind::BadFraming, 16));
    }
    let mut walk = Walk {
        envelope: Envelope { header: *header, receive_ns: datagram.receive_ns, port: datagram.peer.port() },
        domain,
        batch,
        outcome: Outcome::default(),
        budget: row_budget(),
        replay_budget: row_budget(),
        units: Some(0),
        may_wait: true,
        ended: false,
    };
    if domain.replay_due.load(Ordering::Acquire) || (domain.fallback.is_some() && domain.has_parked()) {
        walk.replay(domain);
    }
    for set in sets {
        walk.outcome.sets_seen += 1;
        match set {
            Ok(set) => walk.set(set),
            Err(MalformedSet) => {
                walk.outcome.drop_set(SetDropKind::Malformed);
                walk.units = None;
            }
        }
    }
    let units = if header.version == Version::Ipfix { walk.units } else { Some(1) };
    walk.outcome.sequence = Some(SequenceNote {
        sequence: header.sequence,
        units,
        flows: walk.units.filter(|_| header.version == Version::V9),
        port: datagram.peer.port(),
        fingerprint: fingerprint(datagram.octets),
    });
    walk.ended = true;
    std::mem::take(&mut walk.outcome)
}

/// Decodes what waits in `domain` for a template that only a list names: nothing more will come.
pub(super) fn flush(domain: &Domain, batch: &mut FlowBatch) -> Outcome {
    domain.release_lists(u64::MAX);
    let Some(envelope) = domain.oldest_parked() else { return Outcome::default() };
    let mut walk = Walk {
        envelope,
        domain,
        batch,
        outcome: Outcome::default(),
        budget: row_budget(),
        replay_budget: row_budget(),
        units: None,
        may_wait: false,
        ended: false,
    };
    walk.replay(domain);
    walk.ended = true;
    std::mem::take(&mut walk.outcome)
}

impl Walk<'_> {
    fn set(&mut self, set: Set<'_>) {
        let version = self.envelope.header.version;
        let (templates, options) = template_sets(version);
        if set.id >= TEMPLATE_ID_MIN {
            self.data_set(set);
        } else if set.id == templates || set.id == options {
            self.outcome.sets_templates += 1;
            let enterprise_in_v9 = self.domain.exporter.decided().settings.profile.enterprise_in_v9;
            let parsed = TemplateSet::read(version, set.id == options, set.body, enterprise_in_v9);
            if self.domain.learn_templates(parsed, &self.envelope, &mut self.outcome) {
                self.replay(self.domain);
                if let Some(fallback) = &self.domain.fallback {
                    self.replay(fallback);
                }
            }
        } else {
            self.outcome.drop_set(SetDropKind::ReservedId);
        }
    }

    fn data_set(&mut self, set: Set<'_>) {
        let envelope = self.envelope;
        let known = self.domain.plans.load();
        // The guard keeps the table, so the common case counts no reference.
        if let Some(plan) = known.get(&set.id) {
            let records = self.run(plan, set.id, set.body, &envelope);
            self.count_units(records);
            return;
        }
        drop(known);
        let plan = match self.domain.plan(set.id) {
            Some(plan) => Some(plan),
            None => self.domain.park(set.id, set.body, &envelope, &mut self.outcome),
        };
        let records = plan.and_then(|plan| self.run(&plan, set.id, set.body, &envelope));
        self.count_units(records);
    }

    fn count_units(&mut self, records: Option<u32>) {
        self.units = match (self.units, records) {
            (Some(sum), Some(records)) => Some(sum.wrapping_add(records)),
            _ => None,
        };
    }

    /// Runs parked sets of `domain` whose template is known now, oldest first, up to a message's rows a
    /// datagram. What is over that goes on with the next datagram, before its own sets.
    fn replay(&mut self, domain: &Domain) {
        domain.replay_due.store(false, Ordering::Release);
        std::mem::swap(&mut self.budget, &mut self.replay_budget);
        loop {
            // A set larger than any message may be is cut like one that was never parked.
            let rows = if self.budget.0 == row_budget().0 { usize::MAX } else { self.budget.0 as usize };
            match domain.unpark(rows, &mut self.outcome) {
                Unparked::Set(set, plan) => {
                    self.may_wait = !set.waited_in_vain();
                    let _ = self.run(&plan, set.id, &set.body, &set.envelope);
                }
                Unparked::TooMany => {
                    domain.replay_due.store(true, Ordering::Release);
                    break;
                }
                Unparked::None => break,
            }
        }
        self.may_wait = true;
        std::mem::swap(&mut self.budget, &mut self.replay_budget);
        // There is room for more of them.
        domain.call_keeper();
    }

    /// Runs one data set; the number of records, None if it cannot be known.
    fn run(&mut self, plan: &DecodePlan, id: u16, body: &[u8], envelope: &Envelope) -> Option<u32> {
        plan.note_use();
        if plan.is_frozen() {
            self.outcome.drop_set(SetDropKind::Frozen);
            return None;
        }
        let rest = if plan.is_fixed { body.len() % plan.record_octets_min } else { 0 };
        match &plan.kind {
            PlanKind::Options(options) => {
                if !self.takes_rest(&body[body.len() - rest..]) {
                    return None;
                }
                let ran = options.run(body, &mut self.budget, |view| {
                    self.domain.learn_options(options, view, envelope, self.batch, &mut self.outcome);
                });
                let Some((records, cut)) = ran else {
                    self.outcome.drop_set(SetDropKind::BadRecord);
                    return None;
                };
                self.outcome.options_records += records;
                if cut {
                    self.outcome.drop_set(SetDropKind::TooManyRows);
                    return None;
                }
                self.outcome.sets_options += 1;
                Some(records)
            }
            PlanKind::Data(data) => self.run_data(data, id, body, rest, envelope),
        }
    }

    /// Judges what stands behind the records of a set; false if the set is dropped for it.
    fn takes_rest(&mut self, rest: &[u8]) -> bool {
        let found = Rest::of(rest);
        if found != Rest::Padding {
            self.outcome.sets_odd_padding += 1;
            self.domain.odd_padding.fetch_add(1, Ordering::Relaxed);
        }
        let dropped = found == Rest::NotZero && self.domain.exporter.decided().settings.profile.drops_odd_padding;
        if dropped {
            self.outcome.drop_set(SetDropKind::OddPadding);
        }
        !dropped
    }

    fn run_data(&mut self, plan: &DataPlan, id: u16, body: &[u8], rest: usize, envelope: &Envelope) -> Option<u32> {
        let Envelope { header, receive_ns, .. } = *envelope;
        debug_assert_eq!(plan.prototype.template_id, id);
        let mark = self.batch.mark();
        let domain = self.domain;
        let state = &domain.exporter;
        let decided = state.decided();
        let Some(exporter) = self.batch.exporter_index(&decided.exporter) else {
            self.outcome.drop_set(SetDropKind::TooManyRows);
            return None;
        };
        let view = domain.options_view();
        let asks_sampling = plan.names_sampler || view.scoped;
        let tables = (asks_sampling || plan.asks_options())
            .then(|| state.options.read().unwrap_or_else(PoisonError::into_inner));
        let mut clock = MessageClock::of(&header, receive_ns, decided.settings.selection.receive_window);
        clock.system_init_ms = view.system_init_ms;
        let context = RunContext {
            clock,
            version: header.version,
            observation_domain: header.observation_domain,
            exporter,
            sampling_override: decided.settings.sampling_override,
            sampling_domain: view.sampling,
            around: Some(domain.around(&decided)),
            sampling_tables: tables.as_ref().filter(|_| asks_sampling).map(|t| &t.sampling),
            options: tables.as_deref(),
        };
        let budget = self.budget;
        match plan.run(body, &context, &mut self.budget, self.batch) {
            Ok(ran) => {
                if let Some(inner) = ran.awaits.filter(|_| self.may_wait && !ran.cut) {
                    match domain.park_for(inner, id, body, envelope, &mut self.outcome) {
                        Await::Parked => {
                            self.batch.truncate(mark);
                            self.budget = budget;
                            return Some(ran.records);
                        }
                        // It came while this set was read.
                        Await::Known => {
                            self.batch.truncate(mark);
                            self.budget = budget;
                            drop(tables);
                            return self.run_data(plan, id, body, rest, envelope);
                        }
                        Await::Hopeless => {}
                    }
                }
                let records_end = body.len().saturating_sub(rest + ran.rest as usize);
                // Where the rows were cut the rest is no padding.
                if !ran.cut && !self.takes_rest(&body[records_end..]) {
                    self.batch.truncate(mark);
                    return None;
                }
                if ran.rows > 0 {
                    self.batch.note_receive(receive_ns);
                }
                self.outcome.records += ran.rows;
                self.outcome.sampling_unknown += ran.sampling_unknown;
                self.outcome.non_flow_records += ran.non_flow;
                self.outcome.lists_unread += ran.lists_unread;
                self.outcome.common_properties_unknown += ran.common_properties_unknown;
                self.outcome.originals_refused += ran.originals_refused;
                if ran.cut {
                    self.outcome.drop_set(SetDropKind::TooManyRows);
                    return None;
                }
                self.outcome.sets_decoded += 1;
                Some(ran.records)
            }
            Err(_) => {
                self.batch.truncate(mark);
                self.outcome.drop_set(SetDropKind::BadRecord);
                None
            }
        }
    }
}
