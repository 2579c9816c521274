//! Events: firewall logs (Cisco NSEL, B-4) and NAT logs (RFC 8158), which look like flows and are none.
//!
//! A template with an event and no counter makes events of all its records; that is settled when it is compiled. One
//! with counters of both ends (231, 232, 298, 299; 85 of old firewalls) is asked record by record: updates (5) carry
//! traffic; deletes (2) carry the same octets once more, so they count only while the domain has sent no update;
//! creations (1), refusals (3) and alerts (4) carry none. What is an event has no counters.
//!
//! That a domain sends updates is a flag in it, set by the worker that reads the first one and never cleared while the
//! domain lives. It orders nothing else, so relaxed is enough: a delete that another worker reads at that moment counts
//! as before or after the first update.

use std::sync::atomic::Ordering;

use super::context::RunContext;
use super::record::{Place, RecordView, places};
use super::step::{Slot, roles};
use crate::decode::wire::template::Template;
use crate::decode::wire::value::unsigned;
use crate::flow::{ElementId, FlowRecord, Presence};

/// Values of firewallEvent 233.
const CREATED: u64 = 1;
const DELETED: u64 = 2;
const DENIED: u64 = 3;
const ALERT: u64 = 4;
const UPDATED: u64 = 5;

/// Cisco's enterprise number: its NetFlow v9 types stand under it where the maker is known.
const CISCO: u32 = 9;

/// flowEndReason 136 of a flow whose end was seen.
const END_OF_FLOW: u8 = 3;

/// Where a firewall's record says what happened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Firewall {
    event: Place,
    extended: Option<Place>,
}

impl Firewall {
    /// None if the template is no firewall's, or its counters are those of a flow (1, 2), as of makers that add the
    /// event to each flow.
    pub fn compile(template: &Template) -> Option<Self> {
        let places = places(template);
        let find = |is: fn(ElementId) -> bool| places.iter().copied().find(|place| is(place.element));
        let event = find(is_firewall_event)?;
        let extended = find(is_extended_event);
        let of_a_flow = find(|e| e.pen == 0 && matches!(e.id, 1 | 2)).is_some();
        let of_both_ends = find(|e| e.pen == 0 && matches!(e.id, 85 | 86 | 231 | 232 | 298 | 299)).is_some();
        (!of_a_flow && (of_both_ends || extended.is_some() && counts(template))).then_some(Self { event, extended })
    }

    /// Sees a record as its columns left it; false if it carries no traffic, in either direction.
    pub fn apply(&self, view: &RecordView<'_>, record: &mut FlowRecord, context: &RunContext<'_>) -> bool {
        let number = |place: &Place| view.field(place).and_then(unsigned).filter(|value| *value != 0);
        let said = number(&self.event).or_else(|| self.extended.as_ref().and_then(number).and_then(of_extended));
        let updates = context.around.map(|around| around.firewall_updates);
        let carries = match said {
            Some(UPDATED) => {
                if let Some(seen) = updates.filter(|seen| !seen.load(Ordering::Relaxed)) {
                    seen.store(true, Ordering::Relaxed);
                }
                true
            }
            Some(DELETED) => {
                if !record.has(Presence::FLOW_END_REASON) {
                    record.flow_end_reason = END_OF_FLOW;
                    record.presence.set(Presence::FLOW_END_REASON);
                }
                !updates.is_some_and(|seen| seen.load(Ordering::Relaxed))
            }
            Some(CREATED | DENIED | ALERT) => false,
            _ => true,
        };
        if !carries {
            const COUNTERS: Presence = Presence::BYTES.with(Presence::PACKETS).with(Presence::COUNTER_TOTAL);
            record.presence.clear(COUNTERS.with(Presence::IMPLAUSIBLE));
            record.presence.set(Presence::EVENT);
            (record.bytes, record.packets) = (0, 0);
        }
        carries
    }
}

/// The event that an extended one belongs to: reasons above 1,000 refuse a flow, above 2,000 end it.
const fn of_extended(reason: u64) -> Option<u64> {
    match reason {
        1_001..=1_999 => Some(DENIED),
        2_001..=2_999 => Some(DELETED),
        _ => None,
    }
}

/// True if every record of the template is an event: it has one, and no counter (IX-42).
pub(super) fn is_event(template: &Template) -> bool {
    let is_event = |e| is_firewall_event(e) || is_extended_event(e) || e == ElementId { pen: 0, id: 230 };
    template.fields.iter().any(|f| is_event(f.element)) && !counts(template)
}

/// firewallEvent 233; 40005 of firewalls before it was registered.
fn is_firewall_event(element: ElementId) -> bool {
    matches!(element, ElementId { pen: 0, id: 233 } | ElementId { pen: CISCO, id: 40_005 })
}

/// Cisco's extended event: 9/234, in NetFlow v9 33002.
fn is_extended_event(element: ElementId) -> bool {
    matches!(element, ElementId { pen: CISCO, id: 234 | 33_002 })
}

/// True if the template counts octets or packets of either direction.
fn counts(template: &Template) -> bool {
    template.fields.iter().any(|f| {
        let fed = |slot| matches!(slot, Slot::Bytes | Slot::Packets);
        roles(f.element).into_iter().flatten().any(|role| fed(role.slot))
            || f.element.pen == 0 && matches!(f.element.id, 232 | 299)
    })
}
