//! What is left of most templates when their steps are done: two stamps, and perhaps the id of a sampler.
//!
//! Such records are finished together. Stamps are read down their columns and held against the window of T-1 while they
//! are there. If any of those that are read together cannot be, or says nothing, all of them are settled one by one as
//! any other template's are (`DataPlan::times`, `DataPlan::other_clocks`): the rules stand there alone, and here is a fast
//! way to know that none applies.

use super::DataPlan;
use super::column::apply;
use super::context::{Ran, RunContext};
use super::judge::implausible;
use super::record::Scratch;
use super::run::Rows;
use super::settle::icmp_from_ports;
use super::step::{ObservationUnit, Slot, Step, TimeKind};
use crate::decode::wire::time::MessageClock;
use crate::flow::{FlowRecord, Presence, SamplingSource, TimeSource};

/// The steps of a plain template that do not write to the record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plain {
    /// Start and end; None where the template has neither.
    stamps: Option<(Step, Step)>,
    sampler: Option<Step>,
}

impl Plain {
    /// Takes them out of `steps`; None, and they stay, where a template has more beside the record, or something of it has
    /// to be looked at record by record.
    pub fn take(steps: &mut Vec<Step>) -> Option<Self> {
        let find = |slot| steps.iter().find(|step| step.slot == slot).copied();
        let (start, end, sampler) = (find(Slot::Start), find(Slot::End), find(Slot::SamplerId));
        let taken = [start, end, sampler].into_iter().flatten().count();
        let all_plain = [start, end, sampler].iter().flatten().all(|step| step.plain);
        // Which family a record is of is only asked by addresses of both.
        let is_version_asked = steps.iter().any(|step| step.checked && is_address(step.slot));
        let is_idle = |step: &Step| step.slot == Slot::IpVersion && !is_version_asked;
        let is_aside = |step: &Step| step.slot == Slot::IpVersion || step.slot >= Slot::Start;
        let aside = steps.iter().filter(|step| is_aside(step) && !is_idle(step)).count();
        if aside != taken || !all_plain || start.is_some() != end.is_some() {
            return None;
        }
        steps.retain(|step| !is_aside(step));
        Some(Self { stamps: start.zip(end), sampler })
    }
}

const fn is_address(slot: Slot) -> bool {
    matches!(slot, Slot::SrcV4 | Slot::SrcV6 | Slot::DstV4 | Slot::DstV6 | Slot::NextHopV4 | Slot::NextHopV6)
}

impl DataPlan {
    /// Reads up to N records of a plain template.
    pub(super) fn read_plain<const N: usize>(
        &self,
        plain: &Plain,
        rows: &Rows<'_>,
        records: &mut [FlowRecord],
        context: &RunContext<'_>,
        ran: &mut Ran,
    ) {
        for step in &self.steps {
            apply(step, &rows.column(step), records, &mut []);
        }
        self.plain_times::<N>(plain, rows, records, context);
        ran.sampling_unknown += plain.sample::<N>(rows, records, context);
        for record in records {
            if !self.has_icmp && (record.protocol == 1 || record.protocol == 58) {
                icmp_from_ports(record);
            }
            if let Some(octets_per_packet) = self.octets_per_packet
                && implausible(record, octets_per_packet)
            {
                record.presence.set(Presence::IMPLAUSIBLE);
            }
        }
    }

    fn plain_times<const N: usize>(
        &self,
        plain: &Plain,
        rows: &Rows<'_>,
        records: &mut [FlowRecord],
        context: &RunContext<'_>,
    ) {
        use ObservationUnit as Unit;
        use TimeKind::{Delta, Milliseconds, Ntp, Observation, Seconds, Uptime};
        let clock = &context.clock;
        let Some((start, end)) = &plain.stamps else {
            if !clock.believes(clock.export_ms) {
                return self.times_one_by_one(None, rows, records, context);
            }
            return records.iter_mut().for_each(|r| (r.start_ms, r.end_ms) = (clock.export_ms, clock.export_ms));
        };
        let (mut starts, mut ends) = ([0; N], [0; N]);
        let (starts, ends) = (&mut starts[..records.len()], &mut ends[..records.len()]);
        rows.column(start).integers(starts);
        rows.column(end).integers(ends);
        let columns = Columns { starts, ends, source: self.time_source };
        let is_settled = match (self.start, self.end) {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "sysUpTime is a 32-bit clock, also in 8 octets (N9-25)"
            )]
            (Uptime, Uptime) => clock.uptimes().is_some_and(|uptimes| {
                columns.settle(records, clock, |start, end| {
                    let ((from, starts_ahead), (to, ends_ahead)) =
                        (uptimes.read(start as u32), uptimes.read(end as u32));
                    // First = Last = 0 may say nothing (V5-07).
                    (start | end != 0).then_some((from, to, starts_ahead | ends_ahead))
                })
            }),
            (Milliseconds, Milliseconds) | (Observation(Unit::Milliseconds), Observation(Unit::Milliseconds)) => {
                columns.settle(records, clock, |start, end| Some((start, end, false)))
            }
            (Seconds, Seconds) | (Observation(Unit::Seconds), Observation(Unit::Seconds)) => {
                let ms = |seconds: u64| seconds.saturating_mul(1_000);
                columns.settle(records, clock, |start, end| Some((ms(start), ms(end), false)))
            }
            (Ntp, Ntp) | (Observation(Unit::Ntp), Observation(Unit::Ntp)) => {
                columns.settle(records, clock, |start, end| Some((clock.of_ntp(start), clock.of_ntp(end), false)))
            }
            (Delta, Delta) => columns
                .settle(records, clock, |start, end| Some((clock.of_delta_us(start), clock.of_delta_us(end), false))),
            _ => false,
        };
        if !is_settled {
            self.times_one_by_one(Some(columns), rows, records, context);
        }
    }

    /// The times of records of which one at least has something the matter.
    #[cold]
    fn times_one_by_one(
        &self,
        columns: Option<Columns<'_>>,
        rows: &Rows<'_>,
        records: &mut [FlowRecord],
        context: &RunContext<'_>,
    ) {
        let clock = &context.clock;
        for (index, record) in records.iter_mut().enumerate() {
            // What was settled before the one with the matter is taken back.
            record.presence.clear(Presence::TIMES.with(Presence::AHEAD_OF_UPTIME));
            record.time_source = if clock.is_receive { TimeSource::Receive } else { TimeSource::Header };
            let start = columns.and_then(|columns| columns.starts.get(index).copied());
            let end = columns.and_then(|columns| columns.ends.get(index).copied());
            let scratch = Scratch { start, end, ..Scratch::default() };
            self.times(record, &scratch, context);
            if !(clock.believes(record.start_ms) && clock.believes(record.end_ms)) {
                self.other_clocks(&rows.view(index), record, &scratch, context);
            }
        }
    }
}

/// The stamps of records that are read together.
#[derive(Clone, Copy)]
struct Columns<'a> {
    starts: &'a [u64],
    ends: &'a [u64],
    source: TimeSource,
}

impl Columns<'_> {
    /// Gives the records their times, which `read` makes of both stamps: start, end, and whether one is ahead of the
    /// header. False, and any of them may be left as it was, where a pair says nothing or cannot be.
    #[inline]
    fn settle(
        self,
        records: &mut [FlowRecord],
        clock: &MessageClock,
        read: impl Fn(u64, u64) -> Option<(u64, u64, bool)>,
    ) -> bool {
        let (earliest, latest) = clock.window();
        for ((record, start), end) in records.iter_mut().zip(self.starts).zip(self.ends) {
            let Some((start, end, is_ahead)) = read(*start, *end) else { return false };
            if start < earliest || end < start || end > latest {
                return false;
            }
            (record.start_ms, record.end_ms, record.time_source) = (start, end, self.source);
            record.presence.set(Presence::TIMES);
            if is_ahead {
                record.presence.set(Presence::AHEAD_OF_UPTIME);
            }
        }
        true
    }
}

impl Plain {
    /// Gives the records their sampling; answers for how many nothing told it.
    fn sample<const N: usize>(&self, rows: &Rows<'_>, records: &mut [FlowRecord], context: &RunContext<'_>) -> u32 {
        let is_unknown = |record: &FlowRecord| record.sampling_source == SamplingSource::Unknown;
        let Some(tables) = context.sampling_tables.filter(|_| context.sampling().is_none()) else {
            // The prototype has it.
            let unknown = if records.first().is_some_and(is_unknown) { records.len() } else { 0 };
            return u32::try_from(unknown).unwrap_or(u32::MAX);
        };
        let mut samplers = [0; N];
        let samplers = &mut samplers[..records.len()];
        if let Some(step) = &self.sampler {
            rows.column(step).integers(samplers);
        }
        let mut unknown = 0;
        // Neighbours mostly ask the same.
        let mut before = None;
        for (record, sampler) in records.iter_mut().zip(samplers) {
            let sampler = self.sampler.map(|_| *sampler);
            let interface = if record.direction == 1 { record.output_if } else { record.input_if };
            let (rate, source) = match before {
                Some((asked, told)) if asked == (sampler, interface) => told,
                _ => {
                    let domain = context.observation_domain;
                    let told = tables.of_record(domain, sampler, Some(interface), record.template_id);
                    let told = told.unwrap_or(context.sampling_domain);
                    before = Some(((sampler, interface), told));
                    told
                }
            };
            (record.sampling_rate, record.sampling_source) = (rate, source);
            unknown += u32::from(is_unknown(record));
        }
        unknown
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::context::RowBudget;
    use super::*;
    use crate::decode::selection::{DecodeSettings, Selection};
    use crate::decode::told::{SamplingScope, SamplingTables};
    use crate::decode::wire::template::{FieldSpecifier, Template, TemplateKind};
    use crate::flow::{ElementId, FlowBatch, Version};

    const NOW_MS: u64 = 1_700_000_000_000;

    /// Plans of one template: as it is compiled, and with all steps where any other template has them.
    fn plans(fields: &[(u16, u16)]) -> (DataPlan, DataPlan) {
        let fields = fields
            .iter()
            .map(|(id, length)| FieldSpecifier { element: ElementId { pen: 0, id: *id }, length: *length });
        let template = Template { id: 256, kind: TemplateKind::Data, fields: fields.collect() };
        let settings = DecodeSettings { selection: Selection::CORE, ..DecodeSettings::default() };
        let plain = DataPlan::of(&template, Version::V9, &settings);
        let mut other = DataPlan::of(&template, Version::V9, &settings);
        let aside = other.plain.take().expect("a plain template");
        let (start, end) = aside.stamps.unzip();
        let aside = [start, end, aside.sampler].into_iter().flatten();
        other.steps = other.steps.iter().copied().chain(aside).collect();
        (plain, other)
    }

    /// The starts and ends of flows: of every kind of clock, and none.
    const STAMPS: [&[(u16, u16)]; 9] = [
        &[(22, 4), (21, 4)],
        &[(22, 8), (21, 8)],
        &[(152, 8), (153, 8)],
        &[(150, 4), (151, 4)],
        &[(156, 8), (157, 8)],
        &[(158, 4), (159, 4)],
        &[(323, 8)],
        &[(152, 8), (151, 4)],
        &[],
    ];

    /// A stamp by some clock, mostly one that can be.
    fn stamp(width: u16, id: u16, apart_ms: i64) -> Vec<u8> {
        let at = NOW_MS.wrapping_add_signed(apart_ms);
        let value = match id {
            21 | 22 => 7_200_000_u64.wrapping_add_signed(apart_ms) & 0xFFFF_FFFF,
            150 | 151 => at / 1_000,
            156 | 157 => (at / 1_000 + 2_208_988_800) << 32,
            158 | 159 => apart_ms.unsigned_abs() * 1_000,
            _ => at,
        };
        value.to_be_bytes()[8 - usize::from(width)..].to_vec()
    }

    proptest! {
        #[test]
        fn what_is_settled_together_is_what_is_settled_one_by_one(
            stamps in prop::sample::select(&STAMPS[..]),
            rows in prop::collection::vec((0..40_000_i64, 0..20_000_i64, 0..40_u8, any::<[u8; 16]>()), 1..50),
            has_tables in any::<bool>(),
            by_operator in prop::option::of(Just(7_u32)),
            (uptime, boot) in (prop::option::of(Just(7_200_000_u32)), prop::option::of(Just(NOW_MS - 7_200_000))),
            export_ms in prop::sample::select(vec![NOW_MS, NOW_MS + 7_200_000, 5_000]),
        ) {
            let fields = [&[(8, 4), (12, 4), (1, 4), (2, 1), (4, 1), (48, 1), (10, 1), (14, 1), (61, 1)][..], stamps].concat();
            let mut octets = Vec::new();
            for (start, length, odd, values) in &rows {
                octets.extend(&values[..14]);
                // Few samplers, one without a rate, few interfaces, one with a rate: neighbours are alike or nearly so.
                let [sampler, ends] = [values[14], values[15]];
                octets.extend([100 + sampler % 2 * 100, 200 + ends % 2, 200 + ends / 2 % 2, ends / 4 % 2]);
                for (number, (id, width)) in stamps.iter().enumerate() {
                    let apart = if number == 0 { -*start } else { length - start };
                    octets.extend(match odd {
                        // Nothing, never, ahead, before the window, the end before the start.
                        0 => vec![0; usize::from(*width)],
                        1 => vec![0xFF; usize::from(*width)],
                        2 => stamp(*width, *id, 3_000),
                        3 => stamp(*width, *id, -8 * 86_400_000),
                        4 => stamp(*width, *id, -apart),
                        _ => stamp(*width, *id, apart),
                    });
                }
            }
            let mut tables = SamplingTables::default();
            for sampler in 0..128 {
                tables.learn(1, SamplingScope::Sampler(sampler), 100 + u32::try_from(sampler).unwrap());
            }
            tables.learn(1, SamplingScope::Interface(200), 9);
            let mut clock = MessageClock::new(export_ms, uptime, NOW_MS * 1_000_000).held_against(NOW_MS * 1_000_000);
            clock.system_init_ms = boot;
            let context = RunContext {
                clock,
                version: Version::V9,
                observation_domain: 1,
                exporter: 0,
                sampling_override: by_operator,
                sampling_domain: (1, SamplingSource::Unknown),
                around: None,
                sampling_tables: has_tables.then_some(&tables),
                options: None,
            };
            let (plain, other) = plans(&fields);
            let (mut one, mut two) = (FlowBatch::with_capacity(64), FlowBatch::with_capacity(64));
            let of = |plan: &DataPlan, batch: &mut FlowBatch| {
                plan.run(&octets, &context, &mut RowBudget::of_rows(1_000), batch).expect("records of fixed length")
            };
            prop_assert_eq!(of(&plain, &mut one), of(&other, &mut two));
            prop_assert_eq!(one.records.len(), rows.len());
            prop_assert_eq!(one.records, two.records);
        }
    }

    #[test]
    fn what_has_more_beside_the_record_is_not_plain() {
        let is_plain = |fields: &[(u16, u16)]| {
            let fields: Vec<_> = fields
                .iter()
                .map(|(id, length)| FieldSpecifier { element: ElementId { pen: 0, id: *id }, length: *length })
                .collect();
            let template = Template { id: 256, kind: TemplateKind::Data, fields };
            DataPlan::of(&template, Version::V9, &DecodeSettings::default()).plain.is_some()
        };
        assert!(
            is_plain(&[(8, 4), (22, 4), (21, 4), (48, 1)]) && is_plain(&[(8, 4)]) && is_plain(&[(60, 1), (27, 16)])
        );
        for more in [(161, 4), (160, 8), (34, 4), (305, 4), (311, 8), (302, 3), (48, 9)] {
            assert!(!is_plain(&[(8, 4), (22, 4), (21, 4), more]), "{more:?}");
        }
        // One end alone; an odd length; the version decides between addresses.
        assert!(!is_plain(&[(8, 4), (152, 8)]) && !is_plain(&[(22, 3), (21, 4)]));
        assert!(!is_plain(&[(60, 1), (8, 4), (27, 16)]) && is_plain(&[(8, 4), (27, 16)]));
    }
}
