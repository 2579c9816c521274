//! Sampled packets inside a record: what their headers say fills what the record lacks (RFC 7133, RFC 5477).
//!
//! What `FlowRecord` has no field for goes to the batch's arena, where it is wanted and the record's own elements did not
//! tell it.
//!
//! One record is one packet, so it counts as one where the template has no counters; its octets are those that the IP
//! header says, else those of the frame without its link header.

use super::extra::Given;
use super::fill::{COUNTERS, DST, SRC};
use super::record::{Place, RecordView};
use crate::decode::wire::section::{Addresses, Fragment, Packet, Start, read};
use crate::decode::wire::value::unsigned;
use crate::flow::{Field, FieldSet, FlowBatch, FlowRecord, Presence};
use crate::limits::SECTION_LABELS_MAX;

/// dataLinkFrameType 408: Ethernet. Frames of other kinds stay octets.
const ETHERNET: u64 = 1;

/// Which fields of a template describe a sampled packet.
#[derive(Debug)]
pub(super) struct Section {
    /// The octets, what tells most first.
    parts: Box<[(u16, Place)]>,
    frame_type: Option<Place>,
    frame_octets: Option<Place>,
    offset: Option<Place>,
    exported: Option<Place>,
    /// Of the fields beyond the record's own those that are wanted.
    fields: FieldSet,
}

/// What the headers said beyond the record's own fields.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Beyond {
    inner_vlan: Option<u16>,
    labels: crate::decode::wire::section::Labels,
    vni: Option<u32>,
    ether_type: Option<u16>,
    ip_version: Option<u8>,
    ttl: Option<u8>,
    ip_octets: Option<u32>,
    fragment: Option<Fragment>,
    flow_label: Option<u32>,
}

impl Section {
    /// None if the template holds no octets of a packet.
    pub(super) fn compile(places: &[Place], fields: FieldSet) -> Option<Self> {
        const ORDER: [u16; 6] = [315, 104, 316, 313, 317, 314];
        let find = |id: u16| places.iter().find(|p| p.element.pen == 0 && p.element.id == id).copied();
        let parts: Box<[_]> = ORDER.into_iter().filter_map(|id| find(id).map(|place| (id, place))).collect();
        if parts.is_empty() {
            return None;
        }
        // 102 and 103 are what 409 and 410 were before RFC 7133.
        Some(Self {
            parts,
            frame_type: find(408),
            frame_octets: find(312),
            offset: find(409).or(find(102)),
            exported: find(410).or(find(103)),
            fields,
        })
    }

    /// Fills what `record` lacks; answers with what it has no field for.
    pub(super) fn fill(&self, view: &RecordView<'_>, record: &mut FlowRecord) -> Beyond {
        let number = |place: &Option<Place>| place.as_ref().and_then(|place| view.field(place)).and_then(unsigned);
        let (offset, exported) = (number(&self.offset), number(&self.exported));
        let is_ethernet = number(&self.frame_type).is_none_or(|kind| kind & ETHERNET != 0 || kind == 0);
        let frame_octets = number(&self.frame_octets).filter(|octets| *octets != 0);
        let counted = record.presence.has_any(COUNTERS) || record.has(Presence::EVENT);
        let (mut beyond, mut octets_of_packet, mut sampled) = (Beyond::default(), None, false);
        for (id, place) in &self.parts {
            let Some(octets) = view.field(place).filter(|octets| !octets.is_empty()) else { continue };
            sampled = true;
            let start = match id {
                316 => Start::Labels,
                313 => Start::Ip,
                317 => Start::Labelled,
                314 if record.has(Presence::PROTOCOL) => Start::Transport(record.protocol),
                314 => continue,
                _ if is_ethernet => Start::Frame,
                _ => continue,
            };
            // The middle of a packet looks like anything.
            if offset.is_some_and(|offset| offset != 0) {
                continue;
            }
            // A field of fixed length is longer than a short packet.
            let valid = exported.map_or(usize::MAX, |octets| usize::try_from(octets).unwrap_or(usize::MAX));
            let packet = read(start, &octets[..octets.len().min(valid)]);
            octets_of_packet = octets_of_packet.or_else(|| {
                let link = packet.network_at.filter(|_| start == Start::Frame);
                let payload = || frame_octets?.checked_sub(link? as u64);
                packet.ip_octets.map(u64::from).or_else(payload)
            });
            beyond.take(&packet, start);
            fill_record(record, &packet);
        }
        if sampled && !counted {
            record.packets = 1;
            record.presence.set(Presence::PACKETS);
            if let Some(octets) = octets_of_packet {
                record.bytes = octets;
                record.presence.set(Presence::BYTES);
            }
        }
        beyond
    }

    /// Gives a row the fields of `said` that are wanted and that it does not have yet.
    pub(super) fn push(&self, said: &Beyond, given: &mut Given, batch: &mut FlowBatch) {
        if self.fields.is_empty() {
            return;
        }
        for (field, value) in said.numbers() {
            if let Some(value) = value
                && self.fields.has(field)
            {
                given.number(field, value, batch);
            }
        }
        let labels = said.labels.as_slice();
        if !labels.is_empty() && self.fields.has(Field::MplsLabels) {
            let mut octets = [0; 4 * SECTION_LABELS_MAX];
            for (place, label) in octets.chunks_exact_mut(4).zip(labels) {
                place.copy_from_slice(&label.to_be_bytes());
            }
            given.octets(Field::MplsLabels, &octets[..4 * labels.len()], batch);
        }
    }
}

impl Beyond {
    fn take(&mut self, packet: &Packet, start: Start) {
        self.inner_vlan = self.inner_vlan.or(packet.inner_vlan);
        self.vni = self.vni.or(packet.vni);
        self.ether_type = self.ether_type.or(packet.ether_type);
        self.ip_version = self.ip_version.or(packet.ip_version);
        self.ttl = self.ttl.or(packet.ttl);
        self.ip_octets = self.ip_octets.or(packet.ip_octets);
        self.fragment = self.fragment.or(packet.fragment);
        self.flow_label = self.flow_label.or(packet.flow_label);
        // A stack without its frame is an element of the record's own.
        if self.labels.as_slice().is_empty() && start != Start::Labels {
            self.labels = packet.labels;
        }
    }

    /// The fields that are integers.
    fn numbers(&self) -> [(Field, Option<u64>); 10] {
        let fragment = self.fragment;
        [
            (Field::InnerVlan, self.inner_vlan.map(u64::from)),
            (Field::Vni, self.vni.map(u64::from)),
            (Field::EtherType, self.ether_type.map(u64::from)),
            (Field::IpVersion, self.ip_version.map(u64::from)),
            (Field::Ttl, self.ttl.map(u64::from)),
            (Field::IpLength, self.ip_octets.map(u64::from)),
            (Field::FragmentId, fragment.map(|f| u64::from(f.id))),
            (Field::FragmentOffset, fragment.map(|f| u64::from(f.offset))),
            (Field::FragmentFlags, fragment.map(|f| u64::from(f.flags))),
            (Field::FlowLabel, self.flow_label.map(u64::from)),
        ]
    }
}

/// Writes what the headers say into the fields that are not known.
fn fill_record(record: &mut FlowRecord, packet: &Packet) {
    fn lend<T>(
        record: &mut FlowRecord,
        value: Option<T>,
        own: Presence,
        group: Presence,
        write: impl Fn(&mut FlowRecord, T),
    ) {
        if let Some(value) = value
            && !record.presence.has_any(group)
        {
            write(record, value);
            record.presence.set(own);
        }
    }
    let plain =
        |record: &mut FlowRecord, value, own, write: fn(&mut FlowRecord, u16)| lend(record, value, own, own, write);
    lend(record, packet.src_mac, Presence::SRC_MAC, Presence::SRC_MAC, |r, mac| r.src_mac = mac);
    lend(record, packet.dst_mac, Presence::DST_MAC, Presence::DST_MAC, |r, mac| r.dst_mac = mac);
    match packet.addresses {
        Addresses::None => {}
        Addresses::V4(src, dst) => {
            lend(record, src, Presence::SRC_V4, SRC, |r, octets| r.src[..4].copy_from_slice(&octets));
            lend(record, dst, Presence::DST_V4, DST, |r, octets| r.dst[..4].copy_from_slice(&octets));
        }
        Addresses::V6(src, dst) => {
            lend(record, src, Presence::SRC_V6, SRC, |r, octets| r.src = octets);
            lend(record, dst, Presence::DST_V6, DST, |r, octets| r.dst = octets);
        }
    }
    plain(record, packet.vlan, Presence::VLAN, |r, v| r.vlan = v);
    plain(record, packet.src_port, Presence::SRC_PORT, |r, v| r.src_port = v);
    plain(record, packet.dst_port, Presence::DST_PORT, |r, v| r.dst_port = v);
    plain(record, packet.tcp_flags, Presence::TCP_FLAGS, |r, v| r.tcp_flags = v);
    lend(record, packet.protocol, Presence::PROTOCOL, Presence::PROTOCOL, |r, v| r.protocol = v);
    lend(record, packet.tos, Presence::TOS, Presence::TOS, |r, v| r.tos = v);
    lend(record, packet.icmp, Presence::ICMP, Presence::ICMP, |r, (kind, code)| {
        (r.icmp_type, r.icmp_code) = (kind, code);
    });
}
