//! What a template or a record cannot be: statistics sent as data (D-1), counters that contradict each other (B-5).
//!
//! The first is decided when the template is compiled. The second costs two products a record, and only where both
//! counters are there; it flags and never changes a value.

use super::compile::is_icmp;
use super::fill::{COUNTERS, DST, SRC};
use super::step::{Slot, roles};
use crate::decode::wire::template::Template;
use crate::flow::{BytesKind, ElementId, FlowRecord, Presence};

/// Octets of an IPv4 packet: its header at least, its length field's largest value at most.
pub(crate) const OCTETS_PER_IP_PACKET: (u64, u64) = (20, 65_535);

/// Ethernet header, two VLAN tags, check sum and ten labels on top of it.
const LAYER_2_OCTETS_MAX: u64 = 14 + 8 + 4 + 40;

/// Fewest and most octets of a packet, by what the octets are.
pub(super) const fn octets_per_packet(kind: BytesKind) -> (u64, u64) {
    let (least, most) = OCTETS_PER_IP_PACKET;
    match kind {
        BytesKind::Ip => (least, most),
        BytesKind::Layer2 => (least, most + LAYER_2_OCTETS_MAX),
        // Payload alone: a packet may have none.
        BytesKind::Layer4 => (0, most),
    }
}

/// True if so many octets cannot be in so many packets (B-5): of IPv4 that was not sampled, since some exporters scale
/// one counter and not the other. IPv6 has jumbograms.
#[inline]
pub(crate) fn implausible(record: &FlowRecord, (least, most): (u64, u64)) -> bool {
    const V4: Presence = Presence::SRC_V4.with(Presence::DST_V4);
    let (bytes, packets) = (record.bytes, record.packets);
    (packets.checked_mul(least).is_none_or(|low| bytes < low) || bytes > packets.saturating_mul(most))
        && record.has(COUNTERS)
        && record.presence.has_any(V4)
        && record.rate() == 1
}

/// Judges a row anew that was given more after its columns were read.
pub(super) fn judge(record: &mut FlowRecord) {
    record.presence.clear(Presence::IMPLAUSIBLE);
    if implausible(record, octets_per_packet(record.bytes_kind)) {
        record.presence.set(Presence::IMPLAUSIBLE);
    }
    judge_values(record);
}

/// Slots whose values may say that nothing is known: a direction that is neither (IX-49), interfaces that are none,
/// addresses of zeroes, TCP's flags and ICMP's type of other protocols. The protocol is read before them.
const JUDGED: [Slot; 13] = [
    Slot::Direction,
    Slot::InputIf,
    Slot::OutputIf,
    Slot::SrcMac,
    Slot::DstMac,
    Slot::NextHopV4,
    Slot::TcpFlags,
    Slot::IcmpTypeCodeV4,
    Slot::IcmpTypeV4,
    Slot::IcmpCodeV4,
    Slot::IcmpTypeCodeV6,
    Slot::IcmpTypeV6,
    Slot::IcmpCodeV6,
];

/// Judges all values of a row.
pub(super) fn judge_values(record: &mut FlowRecord) {
    for slot in JUDGED {
        judge_value(slot, record);
    }
}

/// Takes back what a slot's values say where that is nothing.
pub(super) fn judge_slot(slot: Slot, rows: &mut [FlowRecord]) {
    rows.iter_mut().for_each(|record| judge_value(slot, record));
}

/// Takes back what a record's value says where that is nothing. A bit that is not set is cleared without harm. Where the
/// slot is a constant no more is left of this than its own question.
#[inline]
pub(super) fn judge_value(slot: Slot, record: &mut FlowRecord) {
    const NEXT_HOP: Presence = Presence::NEXT_HOP_V4.with(Presence::NEXT_HOP_V6);
    match slot {
        Slot::Direction => judge_direction(record),
        Slot::InputIf if is_no_interface(record.input_if) => {
            record.presence.clear(Presence::INPUT_IF);
            record.input_if = 0;
        }
        Slot::OutputIf if is_no_interface(record.output_if) => {
            record.presence.clear(Presence::OUTPUT_IF);
            record.output_if = 0;
        }
        Slot::SrcMac => clear_if(record.src_mac == [0; 6], record, Presence::SRC_MAC),
        Slot::DstMac => clear_if(record.dst_mac == [0; 6], record, Presence::DST_MAC),
        Slot::NextHopV4 | Slot::NextHopV6 => clear_if(record.next_hop == [0; 16], record, NEXT_HOP),
        Slot::TcpFlags => {
            let is_none = record.tcp_flags == 0 && record.protocol != TCP && record.has(Presence::PROTOCOL);
            clear_if(is_none, record, Presence::TCP_FLAGS);
        }
        // Templates for all protocols send zeroes (or what stands in the ports' place) where there is no ICMP.
        slot if is_icmp(slot) && record.has(Presence::PROTOCOL) && !matches!(record.protocol, ICMP | ICMP_V6) => {
            record.presence.clear(Presence::ICMP);
            (record.icmp_type, record.icmp_code) = (0, 0);
        }
        _ => {}
    }
}

#[inline]
fn clear_if(says_nothing: bool, record: &mut FlowRecord, known: Presence) {
    if says_nothing {
        record.presence.clear(known);
    }
}

/// ifIndex of what has no interface, as the makers of routers write it.
const fn is_no_interface(index: u32) -> bool {
    index == NO_INTERFACE || index == u32::MAX
}

const NO_INTERFACE: u32 = 0x3FFF_FFFF;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const ICMP_V6: u8 = 58;

/// 0 is ingress, 1 is egress, the rest says nothing (IX-49).
#[inline]
pub(super) const fn judge_direction(record: &mut FlowRecord) {
    if record.direction > 1 {
        record.presence.clear(Presence::DIRECTION);
        record.direction = 0;
    }
}

/// True if a data template tells of the exporter itself and of no traffic (D-1), but for sections of packets and lists,
/// which tell at the record whether there was any.
pub(super) fn may_be_statistics(template: &Template) -> bool {
    of_the_exporter(template) && !template.fields.iter().any(|f| f.length > 0 && is_of_traffic(f.element))
}

/// True if a record of such a template was given no traffic: neither ends, nor counters that it had not `before`.
pub(super) const fn is_no_traffic(record: &FlowRecord, before: Presence) -> bool {
    const ENDS: Presence = SRC.with(DST).with(Presence::SRC_MAC).with(Presence::DST_MAC);
    let given = Presence(record.presence.0 & !before.0);
    !record.presence.has_any(ENDS) && !given.has_any(COUNTERS)
}

fn of_the_exporter(template: &Template) -> bool {
    template.fields.iter().any(|f| f.length > 0 && is_of_the_exporter(f.element))
}

/// Counts of the exporting and metering processes.
const fn is_of_the_exporter(element: ElementId) -> bool {
    element.pen == 0 && matches!(element.id, 40..=42 | 163..=168 | 407 | 426 | 427 | 433)
}

/// Addresses and MACs of either side.
fn is_of_traffic(element: ElementId) -> bool {
    match element {
        ElementId { pen: 0, id: 225 | 226 | 281 | 282 } => true,
        // SonicWall's own addresses; VMware's of tunnels.
        ElementId { pen: 8_741, id: 5 | 6 } | ElementId { pen: 6_876, id: 880..=887 } => true,
        _ => roles(element).into_iter().flatten().any(|role| {
            use Slot::{DstMac, DstV4, DstV6, SrcMac, SrcV4, SrcV6};
            matches!(role.slot, SrcV4 | SrcV6 | DstV4 | DstV6 | SrcMac | DstMac)
        }),
    }
}
