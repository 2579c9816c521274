//! One step on the same field of several records: the inner loops of a plan.
//!
//! A step is decided once for up to [`ROWS`] records and then runs down its column, so that what the
//! template decides is not asked again for each record. Records of variable length come one at a time.
//! A field is read inside its record; steps stand in the order of `Slot`, which holds in each record.
//!
//! What a step does to a record is written down once, in [`write`], for values from wherever they come.

use std::slice::from_mut;

use super::compile::presence;
use super::judge::{judge_slot, judge_value};
use super::record::Scratch;
use super::step::{Slot, Step, TCP_FLAGS_MAX, Width, width};
use crate::decode::wire::value::{float, unsigned};
use crate::flow::{FlowRecord, Presence};

/// Records that a step takes at once: as many as nearly every datagram holds, few enough for the L1 cache (6 KiB of rows).
pub(super) const ROWS: usize = 32;

/// The same field of records that follow each other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column<'a> {
    /// The records.
    pub octets: &'a [u8],
    /// Octets of a record.
    pub stride: usize,
    /// Where the field begins in each.
    pub at: usize,
    /// Octets of the field.
    pub length: usize,
}

impl<'a> Column<'a> {
    /// The octets of the field, record by record.
    fn fields(self) -> impl Iterator<Item = &'a [u8]> {
        let field = self.at..self.at + self.length;
        self.octets.chunks_exact(self.stride).map(move |record| record.get(field.clone()).unwrap_or_default())
    }

    /// Gives each row its field of N octets.
    #[inline]
    fn arrays<const N: usize, T>(self, rows: &mut [T], mut write: impl FnMut(&mut T, [u8; N])) {
        let field = self.at..self.at + N;
        // Asked once: behind it the compiler knows that the field is inside every record.
        if field.end > self.stride {
            return;
        }
        for (row, record) in rows.iter_mut().zip(self.octets.chunks_exact(self.stride)) {
            if let Some(octets) = record[field.clone()].first_chunk() {
                write(row, *octets);
            }
        }
    }

    /// Reads integers of 1, 2, 4 or 8 octets, for scratch columns.
    pub(super) fn integers(self, values: &mut [u64]) {
        self.each::<8, u64>(values, |value, read| *value = read);
    }
}

/// Integers for rows, one for each.
trait Values {
    /// Gives each row its value, of at most MAX octets: longer ones do not come here.
    fn each<const MAX: usize, T>(self, rows: &mut [T], write: impl FnMut(&mut T, u64));
}

impl Values for Column<'_> {
    #[inline]
    fn each<const MAX: usize, T>(self, rows: &mut [T], mut write: impl FnMut(&mut T, u64)) {
        match self.length {
            1 => self.arrays(rows, |row, octets: [u8; 1]| write(row, u64::from(octets[0]))),
            2 if MAX >= 2 => self.arrays(rows, |row, octets| write(row, u64::from(u16::from_be_bytes(octets)))),
            4 if MAX >= 4 => self.arrays(rows, |row, octets| write(row, u64::from(u32::from_be_bytes(octets)))),
            8 if MAX >= 8 => self.arrays(rows, |row, octets| write(row, u64::from_be_bytes(octets))),
            length => debug_assert!(false, "{length} octets do not stand in a column of {MAX}"),
        }
    }
}

/// One value, for one row.
impl Values for u64 {
    #[inline]
    fn each<const MAX: usize, T>(self, rows: &mut [T], mut write: impl FnMut(&mut T, u64)) {
        rows.iter_mut().for_each(|row| write(row, self));
    }
}

/// True if a step on an unchecked field of `length` octets can run down its column.
pub(super) fn is_plain(slot: Slot, length: u16) -> bool {
    match width(slot, None) {
        Width::Exact(_) if !matches!(slot, Slot::Start | Slot::End | Slot::SystemInit) => true,
        Width::Exact(_) | Width::Integer(_) => matches!(length, 1 | 2 | 4 | 8) && !asks_record(slot),
        Width::Float => false,
    }
}

/// Does `step` for every record of `rows`; `scratch` has one entry for each, or none where no step writes there.
pub(super) fn apply(step: &Step, column: &Column<'_>, rows: &mut [FlowRecord], scratch: &mut [Scratch]) {
    if !step.plain {
        return one_by_one(step, column, rows, scratch);
    }
    let judged = step.judged;
    match step.slot {
        Slot::SrcV4 => copy::<4>(rows, column, |r| &mut r.src),
        Slot::DstV4 => copy::<4>(rows, column, |r| &mut r.dst),
        Slot::SrcV6 => copy::<16>(rows, column, |r| &mut r.src),
        Slot::DstV6 => copy::<16>(rows, column, |r| &mut r.dst),
        Slot::NextHopV4 => column.arrays::<4, _>(rows, |r, octets| {
            r.next_hop[..4].copy_from_slice(&octets);
            if judged && octets == [0; 4] {
                judge_value(Slot::NextHopV4, r);
            }
        }),
        Slot::NextHopV6 => column.arrays(rows, |r, octets| {
            r.next_hop = octets;
            if judged {
                judge_value(Slot::NextHopV6, r);
            }
        }),
        Slot::SrcMac => column.arrays(rows, |r, octets| {
            r.src_mac = octets;
            if judged {
                judge_value(Slot::SrcMac, r);
            }
        }),
        Slot::DstMac => column.arrays(rows, |r, octets| {
            r.dst_mac = octets;
            if judged {
                judge_value(Slot::DstMac, r);
            }
        }),
        slot => write(slot, judged, *column, rows, scratch),
    }
}

/// Copies a field whose length the template has settled.
#[inline]
fn copy<const N: usize>(rows: &mut [FlowRecord], column: &Column<'_>, target: impl Fn(&mut FlowRecord) -> &mut [u8]) {
    column.arrays::<N, _>(rows, |record, octets| target(record)[..N].copy_from_slice(&octets));
}

/// Fields of which the record says whether they count, or how long they are.
fn one_by_one(step: &Step, column: &Column<'_>, rows: &mut [FlowRecord], scratch: &mut [Scratch]) {
    let fitting = value_max(step.slot);
    for (index, (record, octets)) in rows.iter_mut().zip(column.fields()).enumerate() {
        let scratch = scratch.get_mut(index).map(from_mut).unwrap_or_default();
        match step.slot {
            Slot::SrcV4
            | Slot::DstV4
            | Slot::NextHopV4
            | Slot::SrcV6
            | Slot::DstV6
            | Slot::NextHopV6
            | Slot::SrcMac
            | Slot::DstMac
            | Slot::SamplingProbability => octets_of_one(step.slot, octets, record, scratch),
            // A value that does not fit loses the field (DEC-4).
            slot => {
                if let Some(value) = unsigned(octets).filter(|v| *v <= fitting && applies(slot, *v, record)) {
                    write(slot, false, value, from_mut(record), scratch);
                    if step.checked {
                        record.presence.set(presence(slot));
                    }
                }
            }
        }
    }
    if step.judged {
        judge_slot(step.slot, rows);
    }
}

/// A field that is no integer and whose octets say whether it counts.
fn octets_of_one(slot: Slot, octets: &[u8], record: &mut FlowRecord, scratch: &mut [Scratch]) {
    const V4: [Presence; 3] = [Presence::SRC_V4, Presence::DST_V4, Presence::NEXT_HOP_V4];
    const V6: [Presence; 3] = [Presence::SRC_V6, Presence::DST_V6, Presence::NEXT_HOP_V6];
    let known = &mut record.presence;
    let said = scratch.first().map_or(0, |scratch| scratch.ip_version);
    match slot {
        Slot::SrcV4 => address::<4>(&mut record.src, octets, V4[0], V6[0], (4, said), known),
        Slot::DstV4 => address::<4>(&mut record.dst, octets, V4[1], V6[1], (4, said), known),
        Slot::NextHopV4 => address::<4>(&mut record.next_hop, octets, V4[2], V6[2], (4, said), known),
        Slot::SrcV6 => address::<16>(&mut record.src, octets, V6[0], V4[0], (6, said), known),
        Slot::DstV6 => address::<16>(&mut record.dst, octets, V6[1], V4[1], (6, said), known),
        Slot::NextHopV6 => address::<16>(&mut record.next_hop, octets, V6[2], V4[2], (6, said), known),
        Slot::SrcMac => mac(&mut record.src_mac, octets, Presence::SRC_MAC, known),
        Slot::DstMac => mac(&mut record.dst_mac, octets, Presence::DST_MAC, known),
        Slot::SamplingProbability => {
            scratch.iter_mut().for_each(|scratch| scratch.sampling.probability = float(octets));
        }
        _ => debug_assert!(false, "{slot:?} is an integer"),
    }
}

fn mac(target: &mut [u8; 6], octets: &[u8], own: Presence, known: &mut Presence) {
    if let Ok(octets) = <[u8; 6]>::try_from(octets) {
        *target = octets;
        known.set(own);
    }
}

/// One family of an address where the template has both: the one that is not zero counts; where
/// both are set, ipVersion 60 decides, else the first (DEC-6).
fn address<const N: usize>(
    target: &mut [u8; 16],
    octets: &[u8],
    own: Presence,
    other: Presence,
    version: (u8, u8),
    known: &mut Presence,
) {
    if octets.len() != N || octets.iter().all(|o| *o == 0) {
        return;
    }
    let (own_version, said) = version;
    if known.has_any(other) && said != own_version {
        return;
    }
    *target = [0; 16];
    target[..N].copy_from_slice(octets);
    known.clear(other);
    known.set(own);
}

/// True if what else the record says decides whether a value counts.
fn asks_record(slot: Slot) -> bool {
    matches!(slot, Slot::NextHeader | Slot::IcmpTypeCodeV6 | Slot::IcmpTypeV6 | Slot::IcmpCodeV6)
}

/// In a template with both families the fields of the other one are 0, or not the flow's. Next headers that are extensions
/// (hop-by-hop, routing, fragment, destination, mobility, HIP, shim6) say nothing of the protocol.
fn applies(slot: Slot, value: u64, record: &FlowRecord) -> bool {
    // The mask of the address's family; what stands alone is it.
    let mask = |mask, v4, v6| !record.has(mask) || record.has(v6) || value != 0 && !record.has(v4);
    match slot {
        Slot::NextHeader => {
            return !record.has(Presence::PROTOCOL) && !matches!(value, 0 | 43 | 44 | 60 | 135 | 139 | 140);
        }
        Slot::SrcMaskV6 => return mask(Presence::SRC_MASK, Presence::SRC_V4, Presence::SRC_V6),
        Slot::DstMaskV6 => return mask(Presence::DST_MASK, Presence::DST_V4, Presence::DST_V6),
        _ => {}
    }
    value != 0
        || match slot {
            Slot::IcmpTypeCodeV6 | Slot::IcmpTypeV6 | Slot::IcmpCodeV6 => record.protocol == 58,
            _ => true,
        }
}

/// Largest value that the slot's place in the record holds.
fn value_max(slot: Slot) -> u64 {
    match width(slot, None) {
        Width::Integer(octets) if octets < 8 => (1 << (8 * octets)) - 1,
        Width::Integer(_) | Width::Exact(_) | Width::Float => u64::MAX,
    }
}

/// Writes values into records, and takes back what says nothing where that is `judged`.
#[inline]
fn write(slot: Slot, judged: bool, values: impl Values, rows: &mut [FlowRecord], scratch: &mut [Scratch]) {
    #![expect(clippy::cast_possible_truncation, reason = "lengths were settled by the template, or `value_max` asked")]
    match slot {
        Slot::Bytes => values.each::<8, _>(rows, |r, v| r.bytes = v),
        Slot::Packets => values.each::<8, _>(rows, |r, v| r.packets = v),
        Slot::SrcPort => values.each::<2, _>(rows, |r, v| r.src_port = v as u16),
        Slot::DstPort => values.each::<2, _>(rows, |r, v| r.dst_port = v as u16),
        Slot::Protocol | Slot::NextHeader => values.each::<1, _>(rows, |r, v| r.protocol = v as u8),
        Slot::Tos => values.each::<1, _>(rows, |r, v| r.tos = v as u8),
        Slot::TcpFlags => values.each::<2, _>(rows, |r, v| {
            r.tcp_flags = (v & TCP_FLAGS_MAX) as u16;
            if judged {
                judge_value(Slot::TcpFlags, r);
            }
        }),
        Slot::InputIf => values.each::<4, _>(rows, |r, v| {
            r.input_if = v as u32;
            if judged {
                judge_value(Slot::InputIf, r);
            }
        }),
        Slot::OutputIf => values.each::<4, _>(rows, |r, v| {
            r.output_if = v as u32;
            if judged {
                judge_value(Slot::OutputIf, r);
            }
        }),
        Slot::SrcAs => values.each::<4, _>(rows, |r, v| r.src_as = v as u32),
        Slot::DstAs => values.each::<4, _>(rows, |r, v| r.dst_as = v as u32),
        Slot::Vlan => values.each::<2, _>(rows, |r, v| r.vlan = v as u16),
        Slot::PostVlan => values.each::<2, _>(rows, |r, v| r.post_vlan = v as u16),
        Slot::SrcSgt => values.each::<2, _>(rows, |r, v| r.src_sgt = v as u16),
        Slot::DstSgt => values.each::<2, _>(rows, |r, v| r.dst_sgt = v as u16),
        Slot::Direction => values.each::<1, _>(rows, |r, v| {
            r.direction = v as u8;
            if judged {
                judge_value(Slot::Direction, r);
            }
        }),
        Slot::FlowEndReason => values.each::<1, _>(rows, |r, v| r.flow_end_reason = v as u8),
        Slot::SrcMaskV4 | Slot::SrcMaskV6 => values.each::<1, _>(rows, |r, v| r.src_mask = v as u8),
        Slot::DstMaskV4 | Slot::DstMaskV6 => values.each::<1, _>(rows, |r, v| r.dst_mask = v as u8),
        Slot::IcmpTypeCodeV4 | Slot::IcmpTypeCodeV6 => values.each::<2, _>(rows, |r, v| {
            // Zero is what the record begins with; it takes nothing from elements that say more.
            if v != 0 {
                [r.icmp_type, r.icmp_code] = (v as u16).to_be_bytes();
            }
            if judged {
                judge_value(Slot::IcmpTypeCodeV4, r);
            }
        }),
        Slot::IcmpTypeV4 | Slot::IcmpTypeV6 => values.each::<1, _>(rows, |r, v| {
            r.icmp_type = v as u8;
            if judged {
                judge_value(Slot::IcmpTypeV4, r);
            }
        }),
        Slot::IcmpCodeV4 | Slot::IcmpCodeV6 => values.each::<1, _>(rows, |r, v| {
            r.icmp_code = v as u8;
            if judged {
                judge_value(Slot::IcmpCodeV4, r);
            }
        }),
        Slot::IpVersion => values.each::<1, _>(scratch, |s, v| s.ip_version = v as u8),
        Slot::Start => values.each::<8, _>(scratch, |s, v| s.start = Some(v)),
        Slot::End => values.each::<8, _>(scratch, |s, v| s.end = Some(v)),
        Slot::SystemInit => values.each::<8, _>(scratch, |s, v| s.system_init_ms = Some(v)),
        Slot::Duration => values.each::<8, _>(scratch, |s, v| s.duration = Some(v)),
        // Milliseconds win where a template has both.
        Slot::DurationMicroseconds => {
            values.each::<8, _>(scratch, |s, v| s.duration = s.duration.or(Some(v / 1_000)));
        }
        Slot::SamplingDirect => values.each::<8, _>(scratch, |s, v| s.sampling.direct = Some(v)),
        Slot::SamplingInterval => values.each::<8, _>(scratch, |s, v| s.sampling.interval = Some(v)),
        Slot::SamplingSpace => values.each::<8, _>(scratch, |s, v| s.sampling.space = Some(v)),
        Slot::SamplingSize => values.each::<8, _>(scratch, |s, v| s.sampling.size = Some(v)),
        Slot::SamplingPopulation => values.each::<8, _>(scratch, |s, v| s.sampling.population = Some(v)),
        Slot::SamplerId => values.each::<8, _>(scratch, |s, v| s.sampler = Some(v)),
        Slot::SrcV4
        | Slot::SrcV6
        | Slot::DstV4
        | Slot::DstV6
        | Slot::NextHopV4
        | Slot::NextHopV6
        | Slot::SrcMac
        | Slot::DstMac
        | Slot::SamplingProbability => debug_assert!(false, "{slot:?} is no integer"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::context::{RowBudget, RunContext};
    use super::super::{DecodePlan, PlanKind};
    use crate::decode::selection::{DecodeSettings, Selection};
    use crate::decode::wire::template::{FieldSpecifier, Template, TemplateKind};
    use crate::decode::wire::time::MessageClock;
    use crate::flow::{ElementId, FlowBatch, SamplingSource, Version};

    fn field() -> impl Strategy<Value = FieldSpecifier> {
        // Addresses, integers of all widths and some too wide, times, sampling, ICMP, MACs, IP version.
        let ids = vec![
            1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 21, 22, 27, 28, 29, 30, 32, 34, 50, 56, 58, 60, 61, 80,
            136, 139, 150, 152, 153, 161, 178, 179, 302, 305, 306, 311, 323,
        ];
        let lengths = prop_oneof![2 => 1_u16..=9, 1 => Just(4_u16), 1 => Just(16_u16)];
        (prop::sample::select(ids), lengths)
            .prop_map(|(id, length)| FieldSpecifier { element: ElementId { pen: 0, id }, length })
    }

    fn run(template: &Template, all: bool, sets: &[&[u8]]) -> FlowBatch {
        let selection = if all { Selection::WIRE } else { Selection::CORE };
        let settings = DecodeSettings { selection, ..DecodeSettings::default() };
        let plan = DecodePlan::compile(template.clone(), Version::V9, &settings, 0);
        let PlanKind::Data(plan) = &plan.kind else { panic!("a template of data") };
        let clock = MessageClock::new(1_700_000_000_000, Some(7_200_000), 1);
        let context = RunContext {
            // Hardly a stamp of random octets can be: each record asks its other clocks.
            clock: if all { clock } else { clock.held_against(1_700_000_000_000_000_000) },
            version: Version::V9,
            observation_domain: 1,
            exporter: 0,
            sampling_override: None,
            sampling_domain: (1, SamplingSource::Unknown),
            around: None,
            sampling_tables: None,
            options: None,
        };
        let mut batch = FlowBatch::with_capacity(64);
        for octets in sets {
            let before = batch.records.len();
            let ran = plan.run(octets, &context, &mut RowBudget::of_rows(1_000), &mut batch).expect("fixed records");
            assert_eq!(ran.rows as usize, batch.records.len() - before);
        }
        batch
    }

    proptest! {
        /// Records of one set come out as if each had a set of its own.
        #[test]
        fn a_column_reads_each_record_as_it_stands(
            fields in prop::collection::vec(field(), 1..12),
            octets in prop::collection::vec(prop_oneof![1 => Just(0_u8), 3 => any::<u8>()], 0..2_500),
            all in any::<bool>(),
        ) {
            let template = Template { id: 256, kind: TemplateKind::Data, fields };
            let record = template.record_octets_min();
            // Shorter ones may be padding, which is a matter of where the set ends (N9-24).
            prop_assume!(record >= 4);
            let whole = &octets[..octets.len() / record * record];
            let together = run(&template, all, &[whole]);
            let apart = run(&template, all, &whole.chunks(record).collect::<Vec<_>>());
            prop_assert_eq!(together.records.len(), whole.len() / record);
            prop_assert_eq!(together.records, apart.records);
            prop_assert_eq!((together.elements, together.octets), (apart.elements, apart.octets));
        }
    }
}
