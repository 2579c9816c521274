//! The second look at a record's times (T-1), for records whose best stamp cannot be.
//!
//! Columns read the finest clock of a template and no other. Where its stamp lies outside the window of the receive
//! time, or makes the other end do so, the record's octets are asked for every clock that the template has, finest
//! first, each end by itself; without one that can be, the header's time stands for both ends. What was replaced is
//! flagged, so the plausible case pays one comparison.

use super::DataPlan;
use super::context::RunContext;
use super::record::{Place, RecordView, Scratch};
use super::settle::stamp;
use super::step::{Role, Slot, TimeKind};
use crate::decode::wire::value::unsigned;
use crate::flow::{ElementId, FlowRecord, Presence, TimeSource};

/// One end of a flow by one clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clock {
    slot: Slot,
    rank: u8,
    kind: TimeKind,
    source: TimeSource,
    place: Place,
}

impl Clock {
    /// Notes a field that is a clock; of several of the same kind the first (G-08), so there are at most twenty.
    pub fn collect(clocks: &mut Vec<Self>, role: &Role, place: Place) {
        let Some((kind, source)) = role.time else { return };
        if !clocks.iter().any(|clock| clock.slot == role.slot && clock.rank == role.rank) {
            clocks.push(Self { slot: role.slot, rank: role.rank, kind, source, place });
        }
    }

    /// Starts before ends, the finest first.
    pub fn best_first(mut clocks: Vec<Self>) -> Box<[Self]> {
        clocks.sort_by_key(|clock| (clock.slot, clock.rank));
        clocks.into()
    }
}

impl DataPlan {
    /// Says in the prototype that the header's clock was not believed, if the times hang on it (N9-30).
    pub(super) fn note_receive_clock(&self, prototype: &mut FlowRecord, context: &RunContext<'_>) {
        if context.clock.is_receive {
            prototype.time_source = TimeSource::Receive;
            let hangs = |kind| matches!(kind, TimeKind::None | TimeKind::Uptime | TimeKind::Delta);
            if hangs(self.start) && hangs(self.end) {
                prototype.presence.set(Presence::BAD_TIMES);
            }
        }
    }

    /// Replaces times that cannot be; leaves others alone.
    #[cold]
    pub(super) fn other_clocks(
        &self,
        view: &RecordView<'_>,
        record: &mut FlowRecord,
        scratch: &Scratch,
        context: &RunContext<'_>,
    ) {
        let mut clock = context.clock;
        if scratch.system_init_ms.is_some() {
            clock.system_init_ms = scratch.system_init_ms;
        }
        if clock.believes(record.start_ms) && clock.believes(record.end_ms) {
            return;
        }
        // Stamp 0 of a box that has been up for an hour is none (V5-07).
        let unset = |kind, raw| kind == TimeKind::Uptime && raw == 0 && clock.sys_uptime_ms.unwrap_or(0) > 3_600_000;
        let believed = |slot| {
            self.clocks.iter().filter(|c| c.slot == slot).find_map(|c| {
                let raw = unsigned(view.field(&c.place)?).filter(|raw| !unset(c.kind, *raw))?;
                let (ms, _) = stamp(c.kind, raw, &clock)?;
                clock.believes(ms).then_some((ms, c.source))
            })
        };
        let duration = scratch.duration;
        let (start, end) = (believed(Slot::Start), believed(Slot::End));
        let (start_ms, end_ms, source) = match (start, end) {
            (Some((start, source)), Some((end, _))) => (start, end, Some(source)),
            (Some((start, source)), None) => (start, start.saturating_add(duration.unwrap_or(0)), Some(source)),
            (None, Some((end, source))) => (end.saturating_sub(duration.unwrap_or(0)), end, Some(source)),
            (None, None) => (clock.export_ms, clock.export_ms, None),
        };
        // A duration of weeks cannot be either.
        let only = start.or(end).map_or(clock.export_ms, |(ms, _)| ms);
        let in_window = |ms| if clock.believes(ms) { ms } else { only };
        record.end_ms = in_window(end_ms);
        record.start_ms = in_window(start_ms).min(record.end_ms);
        record.presence.clear(Presence::TIMES.with(Presence::AHEAD_OF_UPTIME));
        record.presence.set(Presence::BAD_TIMES);
        record.time_source = match source {
            Some(source) => {
                record.presence.set(Presence::TIMES);
                source
            }
            None if clock.is_receive => TimeSource::Receive,
            None => TimeSource::Header,
        };
    }
}

/// A field of `element` at a place.
pub(super) const fn place(element: ElementId, field: u16, offset: u16, length: u16) -> Place {
    Place { element, length, offset, field }
}
