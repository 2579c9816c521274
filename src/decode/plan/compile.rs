//! Template -> DataPlan.

use super::DataPlan;
use super::canon::is_wanted;
use super::clock::{Clock, place};
use super::column::is_plain;
use super::event::{Firewall, is_event};
use super::extra::fed;
use super::judge::{may_be_statistics, octets_per_packet};
use super::list::Lists;
use super::plain::Plain;
use super::record::places;
use super::rich::Rich;
use super::step::{Keep, Role, Shown, Slot, Step, TimeKind, Width, roles, width};
use crate::decode::selection::{DecodeSettings, Elements, Selection};
use crate::decode::wire::template::{Template, VARIABLE_LENGTH};
use crate::flow::{BytesKind, ElementId, FlowRecord, Presence, TimeSource, Version};

/// A field that could feed a slot.
#[derive(Clone, Copy)]
struct Candidate {
    role: Role,
    element: ElementId,
    field: u16,
    offset: u16,
    length: u16,
}

/// Compiles a data template, as it is meant and as the `wire` has it; the version is filled in by the runner.
pub(super) fn data(template: &Template, wire: &Template, version: Version, settings: &DecodeSettings) -> DataPlan {
    let DecodeSettings { selection, profile, .. } = settings;
    let rich = Rich::compile(template, version, selection, profile);
    // Where neither packets nor lists are looked into, the template alone decides.
    let looks_inside = rich.as_ref().is_some_and(|rich| rich.looks_inside());
    let is_statistics = selection.judges() && !looks_inside && may_be_statistics(template);
    DataPlan { rich, is_statistics, ..columns(template, wire, selection) }
}

/// The part that moves octets to fields of the record, and those that are kept as on the `wire`, which differs from
/// `template` in elements alone.
pub(super) fn columns(template: &Template, wire: &Template, selection: &Selection) -> DataPlan {
    let variable = template.is_variable();
    let mut chosen: Vec<Candidate> = Vec::new();
    let mut clocks: Vec<Clock> = Vec::new();
    let mut keep = Vec::new();
    let mut offset = 0_u16;
    let mut lengths = Vec::new();
    for (specifier, wire) in template.fields.iter().zip(&wire.fields) {
        let length = specifier.length;
        let wanted = is_wanted(&selection.elements, wire.element, specifier.element);
        // Nothing of it is in the record (N9-10); a thousand of them would cost each octet a thousand
        // steps in a record of variable length (G-03).
        if length == 0 {
            if wanted {
                keep.push(Keep { element: wire.element, length, offset, field: 0, shown: Shown::Nowhere });
            }
            continue;
        }
        // Field counts and record lengths are bounded by `template::sound`.
        let field = u16::try_from(lengths.len()).unwrap_or(u16::MAX);
        lengths.push(length);
        for role in roles(specifier.element).into_iter().flatten() {
            if accepts(&role, length) {
                Clock::collect(&mut clocks, &role, place(specifier.element, field, offset, length));
                offer(&mut chosen, Candidate { role, element: specifier.element, field, offset, length });
            }
        }
        if wanted {
            keep.push(Keep { element: wire.element, length, offset, field, shown: Shown::Nowhere });
        }
        if length != VARIABLE_LENGTH {
            offset = offset.saturating_add(length);
        }
    }
    chosen.sort_by_key(|c| c.role.slot);
    if selection.elements == Elements::Others {
        note_shown(&mut keep, template, &chosen, selection);
    }
    let find = |slot: Slot| chosen.iter().find(|c| c.role.slot == slot);
    let time = |slot: Slot| find(slot).and_then(|c| c.role.time);
    let (start, end) = (time(Slot::Start), time(Slot::End));
    let sampling = chosen.iter().any(|c| {
        matches!(
            c.role.slot,
            Slot::SamplingDirect
                | Slot::SamplingInterval
                | Slot::SamplingSize
                | Slot::SamplingPopulation
                | Slot::SamplingProbability
        )
    });
    let mut prototype = prototype(template.id, &chosen);
    let has_v4 = find(Slot::SrcV4).or(find(Slot::DstV4)).is_some();
    let has_counters = find(Slot::Bytes).and(find(Slot::Packets)).is_some();
    let held_together = selection.judges() && has_v4 && has_counters;
    if selection.judges() && is_event(template) {
        prototype.presence.set(Presence::EVENT);
    }
    let mut steps: Vec<Step> = chosen.iter().map(|c| step(c, &chosen, selection.judges())).collect();
    let plain = Plain::take(&mut steps);
    DataPlan {
        record_octets: template.record_octets_min(),
        variable,
        lengths: if variable { lengths.into() } else { Box::default() },
        steps: steps.into(),
        plain,
        keep: keep.into(),
        start: start.map_or(TimeKind::None, |t| t.0),
        end: end.map_or(TimeKind::None, |t| t.0),
        time_source: start.or(end).map_or(TimeSource::Header, |t| t.1),
        clocks: Clock::best_first(clocks),
        is_statistics: false,
        octets_per_packet: held_together.then(|| octets_per_packet(prototype.bytes_kind)),
        prototype,
        sampling_in_record: sampling,
        names_sampler: find(Slot::SamplerId).is_some(),
        has_icmp: chosen.iter().any(|c| is_icmp(c.role.slot)),
        rich: None,
    }
}

/// The step for one value that stands by itself; None for what feeds no field of the record, and for counters and
/// clocks, which mean nothing without their neighbours.
pub(super) fn single(element: ElementId, length: u16) -> Option<Step> {
    let role = roles(element).into_iter().flatten().next()?;
    let known = presence(role.slot);
    let fits =
        accepts(&role, length) && known != Presence::NONE && !known.has_any(Presence::BYTES.with(Presence::PACKETS));
    fits.then_some(Step { slot: role.slot, checked: true, plain: false, judged: false, length, offset: 0, field: 0 })
}

/// Drops padding (IX-36) and notes where rows show what else would be kept.
fn note_shown(keep: &mut Vec<Keep>, template: &Template, chosen: &[Candidate], selection: &Selection) {
    const PADDING: ElementId = ElementId { pen: 0, id: 210 };
    keep.retain(|keep| keep.element != PADDING);
    let places = places(template);
    let is_placed = chosen.iter().any(|c| {
        matches!(c.role.slot, Slot::SrcV4 | Slot::SrcV6 | Slot::DstV4 | Slot::DstV6) && !decided_at_run_time(c, chosen)
    });
    // A record without addresses gives its row to the first flow of its lists, which may say something else.
    if !is_placed && Lists::compile(&places, selection.fields).is_some() {
        return;
    }
    let may_be_event = Firewall::compile(template).is_some();
    for keep in keep.iter_mut().filter(|keep| keep.length > 0) {
        let Some(place) = places.get(usize::from(keep.field)) else { continue };
        let core = chosen.iter().find(|c| c.field == keep.field && stays(c, chosen, may_be_event));
        keep.shown = match (core, fed(place.element, &places, selection.fields)) {
            (Some(core), _) => Shown::Core(core.role.slot),
            (None, Some(read)) => Shown::Field(read),
            (None, None) => Shown::Nowhere,
        };
    }
}

/// True if a record that has the candidate's field has it from there, and nothing takes it back once its columns are read.
fn stays(candidate: &Candidate, chosen: &[Candidate], may_be_event: bool) -> bool {
    match candidate.role.slot {
        Slot::Bytes | Slot::Packets => !may_be_event,
        // What a list or a sampled packet says of the protocol decides on the flags (see `judge`).
        Slot::TcpFlags => chosen.iter().any(|c| c.role.slot == Slot::Protocol && !decided_at_run_time(c, chosen)),
        // They may share the field with others.
        Slot::SrcMaskV4 | Slot::SrcMaskV6 | Slot::DstMaskV4 | Slot::DstMaskV6 => {
            !decided_at_run_time(candidate, chosen)
        }
        Slot::NextHeader => false,
        Slot::Protocol => !chosen.iter().any(|c| c.role.slot == Slot::NextHeader),
        // What clocks and sampling are made of has no place of its own, ICMP's type and code come in several forms.
        slot => presence(slot) != Presence::NONE && !is_icmp(slot),
    }
}

/// Keeps the best candidate of each slot: lowest rank, then first in the template (G-08).
fn offer(chosen: &mut Vec<Candidate>, candidate: Candidate) {
    match chosen.iter_mut().find(|c| c.role.slot == candidate.role.slot) {
        Some(best) if candidate.role.rank < best.role.rank => *best = candidate,
        Some(_) => {}
        None => chosen.push(candidate),
    }
}

/// True if a value of `length` octets can be this slot's (DEC-4, N9-25, N9-26, IX-11).
pub(super) fn accepts(role: &Role, length: u16) -> bool {
    if length == VARIABLE_LENGTH {
        return true;
    }
    match width(role.slot, role.time.map(|t| t.0)) {
        Width::Exact(octets) => length == octets,
        Width::Integer(_) => length >= 1,
        Width::Float => length == 4 || length == 8,
    }
}

pub(super) const fn is_icmp(slot: Slot) -> bool {
    matches!(
        slot,
        Slot::IcmpTypeCodeV4
            | Slot::IcmpTypeCodeV6
            | Slot::IcmpTypeV4
            | Slot::IcmpCodeV4
            | Slot::IcmpTypeV6
            | Slot::IcmpCodeV6
    )
}

/// True if whether the slot's field is known shows only at the record.
fn decided_at_run_time(candidate: &Candidate, chosen: &[Candidate]) -> bool {
    let has = |slot: Slot| chosen.iter().any(|c| c.role.slot == slot);
    let too_wide = match width(candidate.role.slot, candidate.role.time.map(|t| t.0)) {
        Width::Integer(octets) => candidate.length > octets,
        Width::Exact(_) | Width::Float => candidate.length == VARIABLE_LENGTH,
    };
    too_wide
        || match candidate.role.slot {
            // An extension header is no protocol.
            Slot::NextHeader => true,
            // Both families in one template: the one that is not zero (DEC-6).
            Slot::SrcV4 | Slot::SrcV6 => has(Slot::SrcV4) && has(Slot::SrcV6),
            Slot::DstV4 | Slot::DstV6 => has(Slot::DstV4) && has(Slot::DstV6),
            Slot::NextHopV4 | Slot::NextHopV6 => has(Slot::NextHopV4) && has(Slot::NextHopV6),
            Slot::SrcMaskV4 | Slot::SrcMaskV6 => has(Slot::SrcMaskV4) && has(Slot::SrcMaskV6),
            Slot::DstMaskV4 | Slot::DstMaskV6 => has(Slot::DstMaskV4) && has(Slot::DstMaskV6),
            _ => false,
        }
}

fn step(candidate: &Candidate, chosen: &[Candidate], judged: bool) -> Step {
    let checked = decided_at_run_time(candidate, chosen);
    Step {
        slot: candidate.role.slot,
        checked,
        plain: !checked && is_plain(candidate.role.slot, candidate.length),
        judged,
        length: candidate.length,
        offset: candidate.offset,
        field: candidate.field,
    }
}

/// The record before its octets are read: what the template alone decides.
fn prototype(template_id: u16, chosen: &[Candidate]) -> FlowRecord {
    let mut record = FlowRecord::empty(Version::Ipfix);
    record.template_id = template_id;
    record.presence = Presence::TEMPLATE;
    for candidate in chosen {
        if !decided_at_run_time(candidate, chosen) {
            record.presence.set(presence(candidate.role.slot));
        }
        match (candidate.role.slot, candidate.element.id) {
            // Of the whole flow so far: several reports of it add up to too much (B-1).
            (Slot::Bytes, 85 | 171) | (Slot::Packets, 86 | 172) => record.presence.set(Presence::COUNTER_TOTAL),
            (Slot::Bytes, 231) => record.bytes_kind = BytesKind::Layer4,
            (Slot::Bytes, 352 | 416) => record.bytes_kind = BytesKind::Layer2,
            (Slot::Bytes, 353 | 419) => {
                record.bytes_kind = BytesKind::Layer2;
                record.presence.set(Presence::COUNTER_TOTAL);
            }
            _ => {}
        }
    }
    record
}

/// The presence bit that goes with a slot.
pub(super) const fn presence(slot: Slot) -> Presence {
    match slot {
        Slot::SrcV4 => Presence::SRC_V4,
        Slot::SrcV6 => Presence::SRC_V6,
        Slot::DstV4 => Presence::DST_V4,
        Slot::DstV6 => Presence::DST_V6,
        Slot::NextHopV4 => Presence::NEXT_HOP_V4,
        Slot::NextHopV6 => Presence::NEXT_HOP_V6,
        Slot::Protocol | Slot::NextHeader => Presence::PROTOCOL,
        Slot::SrcPort => Presence::SRC_PORT,
        Slot::DstPort => Presence::DST_PORT,
        Slot::Bytes => Presence::BYTES,
        Slot::Packets => Presence::PACKETS,
        Slot::SrcMac => Presence::SRC_MAC,
        Slot::DstMac => Presence::DST_MAC,
        Slot::Vlan => Presence::VLAN,
        Slot::PostVlan => Presence::POST_VLAN,
        Slot::SrcSgt => Presence::SRC_SGT,
        Slot::DstSgt => Presence::DST_SGT,
        Slot::TcpFlags => Presence::TCP_FLAGS,
        Slot::Tos => Presence::TOS,
        Slot::InputIf => Presence::INPUT_IF,
        Slot::OutputIf => Presence::OUTPUT_IF,
        Slot::SrcAs => Presence::SRC_AS,
        Slot::DstAs => Presence::DST_AS,
        Slot::SrcMaskV4 | Slot::SrcMaskV6 => Presence::SRC_MASK,
        Slot::DstMaskV4 | Slot::DstMaskV6 => Presence::DST_MASK,
        Slot::IcmpTypeCodeV4
        | Slot::IcmpTypeCodeV6
        | Slot::IcmpTypeV4
        | Slot::IcmpCodeV4
        | Slot::IcmpTypeV6
        | Slot::IcmpCodeV6 => Presence::ICMP,
        Slot::Direction => Presence::DIRECTION,
        Slot::FlowEndReason => Presence::FLOW_END_REASON,
        Slot::IpVersion
        | Slot::Start
        | Slot::End
        | Slot::SystemInit
        | Slot::Duration
        | Slot::DurationMicroseconds
        | Slot::SamplingDirect
        | Slot::SamplingInterval
        | Slot::SamplingSpace
        | Slot::SamplingSize
        | Slot::SamplingPopulation
        | Slot::SamplingProbability
        | Slot::SamplerId => Presence::NONE,
    }
}
