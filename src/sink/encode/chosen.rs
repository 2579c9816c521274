//! Records with what the operator chose: core keys, catalogue fields and elements, one `,"key":value` after the other.
//!
//! The keys that are always there have a writer of their own (`json`, `ndjson`), which knows nothing of this one and pays
//! nothing for it. A record's part here is bounded by `ROW_FIELDS_OCTETS_MAX`; what would go past it is left out, and
//! `left_out` says its name. Nothing is allocated per record: names come from `Names`, text goes straight to the body.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::fields::{Choice, CoreKey, CoreSet, OutputFields};
use super::line::{Line, json_string};
use super::names::Names;
use super::value::Shown;
use super::{Counters, EncodeSettings, json};
use crate::flow::{Exporter, FieldSet, FlowBatch, FlowRecord, Presence, Value};
use crate::limits::{ROW_FIELDS_OCTETS_MAX, ROW_LEFT_OUT_NAMES_MAX};

/// Writes what was chosen.
#[derive(Debug)]
pub(super) struct Chosen {
    fields: OutputFields,
    core: CoreSet,
    wanted: FieldSet,
    names: Names,
    left_out: LeftOut,
}

/// Names of what was left out of a record.
#[derive(Debug, Default)]
struct LeftOut {
    /// `"name"` with commas between.
    names: Vec<u8>,
    count: usize,
}

impl Chosen {
    /// None if nothing was chosen beyond what is always there.
    pub(super) fn new(fields: &OutputFields) -> Option<Box<Self>> {
        let core = match &fields.choice {
            Choice::Clarion => return None,
            Choice::These(these) => these.core,
            Choice::All => CoreSet::ALL,
        };
        let (wanted, fields) = (fields.field_set(), fields.clone());
        Some(Box::new(Self { fields, core, wanted, names: Names::default(), left_out: LeftOut::default() }))
    }

    /// Writes `record` as an object of what was chosen alone.
    ///
    /// # Panics
    /// If the record's exporter is none of the batch's: a mistake of the program, not of the network.
    pub(super) fn object(
        &mut self,
        record: &FlowRecord,
        (batch, index): (&FlowBatch, usize),
        counters: Counters,
        line: &mut Line,
        out: &mut Vec<u8>,
    ) {
        let start = out.len();
        let exporter = &batch.exporters[usize::from(record.exporter)];
        for key in CoreKey::ALL.iter().copied().filter(|key| self.core.has(*key)) {
            core(key, record, exporter, counters, line, out);
        }
        self.beyond(record, (batch, index), exporter, false, line, out);
        match out.get_mut(start) {
            // The comma before the first key.
            Some(first) => *first = b'{',
            None => out.push(b'{'),
        }
        out.push(b'}');
    }

    /// Writes what was chosen beside the keys of the contract, which stand before it. True if an integer was clamped.
    pub(super) fn beside_contract(
        &mut self,
        record: &FlowRecord,
        (batch, index): (&FlowBatch, usize),
        settings: EncodeSettings,
        line: &mut Line,
        out: &mut Vec<u8>,
    ) -> bool {
        let exporter = &batch.exporters[usize::from(record.exporter)];
        let told = json::tells_sampling(record, settings);
        for key in CoreKey::ALL.iter().copied().filter(|key| self.core.has(*key) && !key.is_contract()) {
            if !(told && matches!(key, CoreKey::SamplingRate | CoreKey::SamplingSource)) {
                core(key, record, exporter, settings.counters, line, out);
            }
        }
        self.beyond(record, (batch, index), exporter, true, line, out)
    }

    /// Catalogue fields and elements.
    fn beyond(
        &mut self,
        record: &FlowRecord,
        (batch, index): (&FlowBatch, usize),
        exporter: &Arc<Exporter>,
        clamp: bool,
        line: &mut Line,
        out: &mut Vec<u8>,
    ) -> bool {
        let Self { fields, wanted, names, left_out, .. } = self;
        let start = out.len();
        let mut clamped = false;
        // What a field says first counts: a key stands once.
        let mut seen = FieldSet::NONE;
        for value in batch.fields_of(index) {
            if !wanted.has(value.field) || seen.has(value.field) {
                continue;
            }
            seen.add(value.field);
            let info = value.field.info();
            let shown = match value.value {
                Value::Unsigned(number) => Shown::Unsigned(number),
                Value::Octets { offset, length } => {
                    let octets = batch.octets.get(offset as usize..).and_then(|rest| rest.get(..usize::from(length)));
                    Shown::field(info.kind, octets.unwrap_or_default())
                }
            };
            let mark = out.len();
            let cut = pair((info.name, 1), shown, clamp, line, out);
            clamped |= left_out.unless_room(start, mark, (info.name, 1), out) && cut;
        }
        if !batch.elements.is_empty() {
            names.begin(exporter, fields);
            for (value, octets) in batch.elements_of(index) {
                let entry = names.of(record.version, value.element, fields);
                if !entry.wanted {
                    continue;
                }
                let (number, data_type) = (entry.number(), entry.data_type);
                let shown = data_type.map_or(Shown::Octets(octets), |t| Shown::element(t, octets, record.end_ms));
                let occurrence = names.occurrence(number);
                let name = &*names.of(record.version, value.element, fields).key;
                let mark = out.len();
                let cut = pair((name, occurrence), shown, clamp, line, out);
                clamped |= left_out.unless_room(start, mark, (name, occurrence), out) && cut;
            }
        }
        left_out.tell(line, out);
        clamped
    }
}

impl LeftOut {
    /// Takes back what stands in `out` from `mark` on if the row, which began at `start`, has no room for it; true if it has.
    fn unless_room(&mut self, start: usize, mark: usize, (name, occurrence): (&str, u32), out: &mut Vec<u8>) -> bool {
        if out.len() - start <= ROW_FIELDS_OCTETS_MAX {
            return true;
        }
        out.truncate(mark);
        if self.count < ROW_LEFT_OUT_NAMES_MAX {
            if self.count > 0 {
                self.names.push(b',');
            }
            self.names.push(b'"');
            self.names.extend_from_slice(name.as_bytes());
            behind(occurrence, &mut Line::new(), &mut self.names);
            self.names.push(b'"');
        }
        self.count += 1;
        false
    }

    /// `,"left_out":["a","b"]` and, if not all have a name there, `,"left_out_count":n`.
    fn tell(&mut self, line: &mut Line, out: &mut Vec<u8>) {
        if self.count == 0 {
            return;
        }
        out.extend_from_slice(b",\"left_out\":[");
        out.extend_from_slice(&self.names);
        out.push(b']');
        if self.count > ROW_LEFT_OUT_NAMES_MAX {
            line.clear();
            line.lit(b",\"left_out_count\":");
            line.uint(self.count as u64);
            out.extend_from_slice(line.as_bytes());
        }
        self.names.clear();
        self.count = 0;
    }
}

/// `,"name#2:hex":value`; the number from the second time on, `:hex` where the value fails its type. True if it was clamped.
fn pair((name, occurrence): (&str, u32), shown: Shown<'_>, clamp: bool, line: &mut Line, out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(b",\"");
    // Names are plain words, or numbers.
    out.extend_from_slice(name.as_bytes());
    behind(occurrence, line, out);
    out.extend_from_slice(if matches!(shown, Shown::Misfit(_)) { b":hex\":" } else { b"\":" });
    shown.write(clamp, line, out)
}

fn behind(occurrence: u32, line: &mut Line, out: &mut Vec<u8>) {
    if occurrence > 1 {
        line.clear();
        line.lit(b"#");
        line.uint32(occurrence);
        out.extend_from_slice(line.as_bytes());
    }
}

/// A core key with its value, if the record has it.
fn core(
    key: CoreKey,
    record: &FlowRecord,
    exporter: &Exporter,
    counters: Counters,
    line: &mut Line,
    out: &mut Vec<u8>,
) {
    let Some(shown) = core_value(key, record, exporter, counters) else { return };
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.info().name.as_bytes());
    out.extend_from_slice(b"\":");
    match shown {
        Core::Shown(shown) => drop(shown.write(false, line, out)),
        // The operator's own words, which the backend gets the same way.
        Core::Words(text) => json_string(out, text),
    }
}

/// A core key's value.
enum Core<'a> {
    Shown(Shown<'a>),
    Words(&'a str),
}

fn core_value<'a>(key: CoreKey, record: &FlowRecord, exporter: &'a Exporter, counters: Counters) -> Option<Core<'a>> {
    use CoreKey as K;
    use Presence as P;
    let number = |bit: P, value: u64| record.has(bit).then_some(Core::Shown(Shown::Unsigned(value)));
    let address = |address: std::net::IpAddr| {
        Core::Shown(match address {
            std::net::IpAddr::V4(v4) => Shown::V4(v4.octets()),
            std::net::IpAddr::V6(v6) => Shown::V6(v6.octets()),
        })
    };
    let mac = |bit: P, mac: [u8; 6]| record.has(bit).then_some(Core::Shown(Shown::Mac(mac)));
    let word = |label: &'static str| Some(Core::Words(label));
    let flag = |bit: P| record.has(bit).then_some(Core::Shown(Shown::Truth(true)));
    let always = |value: u64| Some(Core::Shown(Shown::Unsigned(value)));
    let (bytes, packets) = match counters {
        Counters::Raw => (record.bytes, record.packets),
        Counters::Scaled => json::scaled(record),
    };
    match key {
        K::Version => always(u64::from(record.version as u8)),
        K::Exporter => Some(address(exporter.address)),
        K::ExporterName => exporter.name.as_deref().map(Core::Words),
        K::Tenant => Some(&*exporter.tenant).filter(|tenant| !tenant.is_empty()).map(Core::Words),
        K::SwitchId => Some(Core::Words(&exporter.switch_id)),
        K::ObservationDomain => always(u64::from(record.observation_domain)),
        K::TemplateId => number(P::TEMPLATE, u64::from(record.template_id)),
        K::SrcIp => record.src_ip().map(address),
        K::DstIp => record.dst_ip().map(address),
        K::SrcPort => number(P::SRC_PORT, u64::from(record.src_port)),
        K::DstPort => number(P::DST_PORT, u64::from(record.dst_port)),
        K::Protocol => number(P::PROTOCOL, u64::from(record.protocol)),
        K::Bytes => number(P::BYTES, bytes),
        K::Packets => number(P::PACKETS, packets),
        K::Counter if !record.presence.has_any(P::BYTES.with(P::PACKETS)) => None,
        K::Counter => word(if record.has(P::COUNTER_TOTAL) { "total" } else { "delta" }),
        K::BytesKind => record.has(P::BYTES).then(|| Core::Words(record.bytes_kind.label())),
        K::TcpFlags => number(P::TCP_FLAGS, u64::from(record.tcp_flags)),
        K::Tos => number(P::TOS, u64::from(record.tos)),
        K::IcmpType => number(P::ICMP, u64::from(record.icmp_type)),
        K::IcmpCode => number(P::ICMP, u64::from(record.icmp_code)),
        K::Direction => number(P::DIRECTION, u64::from(record.direction)),
        K::InputIf => number(P::INPUT_IF, u64::from(record.input_if)),
        K::OutputIf => number(P::OUTPUT_IF, u64::from(record.output_if)),
        K::SrcAs => number(P::SRC_AS, u64::from(record.src_as)),
        K::DstAs => number(P::DST_AS, u64::from(record.dst_as)),
        K::SrcMask => number(P::SRC_MASK, u64::from(record.src_mask)),
        K::DstMask => number(P::DST_MASK, u64::from(record.dst_mask)),
        K::NextHop => record.next_hop_ip().map(address),
        K::SrcMac => mac(P::SRC_MAC, record.src_mac),
        K::DstMac => mac(P::DST_MAC, record.dst_mac),
        K::VlanId => number(P::VLAN, u64::from(record.vlan)),
        K::PostVlanId => number(P::POST_VLAN, u64::from(record.post_vlan)),
        K::SrcSgt => number(P::SRC_SGT, u64::from(record.src_sgt)),
        K::DstSgt => number(P::DST_SGT, u64::from(record.dst_sgt)),
        K::SamplingRate => always(u64::from(record.rate())),
        K::SamplingSource => word(record.sampling_source.label()),
        K::FlowStart => always(record.start_ms / 1_000),
        K::FlowEnd => always(record.end_ms / 1_000),
        K::FlowStartMs => number(P::TIMES, record.start_ms),
        K::FlowEndMs => number(P::TIMES, record.end_ms),
        K::TimeSource => word(record.time_source.label()),
        K::BadTimes => flag(P::BAD_TIMES),
        K::FlowEndReason => number(P::FLOW_END_REASON, u64::from(record.flow_end_reason)),
        K::Event => flag(P::EVENT),
        K::Reverse => flag(P::REVERSE),
        K::Implausible => flag(P::IMPLAUSIBLE),
    }
}
