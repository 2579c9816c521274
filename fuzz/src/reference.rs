//! A second decoder of data records, slow and plain, that the compiled plan is held against.
//!
//! A template (a list of elements with lengths) and the octets of a set enter; for each record a map of what is known
//! leaves. Written from the rules of `docs/protocols.md` alone: values are 128 bits wide, every record is taken apart
//! into a vector of octets first, and every field is looked for by its sources, best one first. What it does not know:
//! lists, packets, events, statistics, options, clocks held against the receive time. Templates for it avoid those.

#![allow(dead_code, reason = "each user takes a part of it")]

use std::collections::BTreeMap;

use clarion_collector::decode::{Datagram, DecodeSettings, Domain, Selection, decode, identify};
use clarion_collector::flow::{BytesKind, FlowBatch, FlowRecord, Presence, Version};

use super::encode::{Field, Head, VARIABLE, enterprise, field, integer, record, set};

/// What is known of one record. Addresses and MACs are integers too.
pub type Known = BTreeMap<&'static str, u128>;

/// Sources of a field, best one first: (PEN, element).
type Sources = &'static [(u32, u16)];

/// Plain integers: name, sources, largest value that is one.
const INTEGERS: [(&str, Sources, u128); 16] = [
    ("src_port", &[(0, 7), (0, 180), (0, 182)], 0xFFFF),
    ("dst_port", &[(0, 11), (0, 181), (0, 183)], 0xFFFF),
    ("protocol", &[(0, 4)], 0xFF),
    ("tos", &[(0, 5)], 0xFF),
    ("tcp_flags", &[(0, 6)], 0xFFFF),
    ("packets", &[(0, 2), (0, 86), (0, 298), (0, 24), (0, 172)], u64::MAX as u128),
    ("input_if", &[(0, 10), (0, 252)], 0xFFFF_FFFF),
    ("output_if", &[(0, 14), (0, 253)], 0xFFFF_FFFF),
    ("src_as", &[(0, 16)], 0xFFFF_FFFF),
    ("dst_as", &[(0, 17)], 0xFFFF_FFFF),
    ("vlan", &[(0, 58), (0, 243)], 0xFFFF),
    ("post_vlan", &[(0, 59), (0, 254)], 0xFFFF),
    ("src_sgt", &[(9, 1232), (0, 34_000), (9, 1236), (0, 34_004)], 0xFFFF),
    ("dst_sgt", &[(9, 1233), (0, 34_001)], 0xFFFF),
    ("direction", &[(0, 61)], 1),
    ("end_reason", &[(0, 136)], 0xFF),
];

/// Octets, and what they count: 0 IP, 1 layer 2, 2 payload; true where the count is of the whole flow.
const OCTETS: [((u32, u16), u128, bool); 7] = [
    ((0, 1), 0, false),
    ((0, 85), 0, true),
    ((0, 231), 2, false),
    ((0, 23), 0, false),
    ((0, 171), 0, true),
    ((0, 352), 1, false),
    ((0, 353), 1, true),
];

/// Start and end by their sources; the unit of each.
const STARTS: [((u32, u16), Clock); 5] = [
    ((0, 156), Clock::Ntp),
    ((0, 154), Clock::Ntp),
    ((0, 152), Clock::Milliseconds),
    ((0, 150), Clock::Seconds),
    ((0, 22), Clock::Uptime),
];
const ENDS: [((u32, u16), Clock); 5] = [
    ((0, 157), Clock::Ntp),
    ((0, 155), Clock::Ntp),
    ((0, 153), Clock::Milliseconds),
    ((0, 151), Clock::Seconds),
    ((0, 21), Clock::Uptime),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clock {
    Ntp,
    Milliseconds,
    Seconds,
    Uptime,
}

/// Seconds from 1900 to 1970.
const NTP_TO_UNIX_S: u128 = 2_208_988_800;

/// The fields of one record with their octets, in template order.
type Octets = Vec<(Field, Vec<u8>)>;

/// Takes a set apart; None if a length in it lies.
fn records(template: &[Field], mut octets: &[u8]) -> Option<Vec<Octets>> {
    let shortest: usize = template.iter().map(|f| if f.length == VARIABLE { 1 } else { usize::from(f.length) }).sum();
    let mut found = Vec::new();
    // What is shorter than the shortest record is padding (N9-23, IX-05).
    while octets.len() >= shortest.max(1) {
        let mut one = Vec::new();
        for field in template {
            let mut length = usize::from(field.length);
            if field.length == VARIABLE {
                let (first, rest) = octets.split_first()?;
                (length, octets) = (usize::from(*first), rest);
                if *first == 255 {
                    let (long, rest) = octets.split_at_checked(2)?;
                    (length, octets) = (usize::from(long[0]) << 8 | usize::from(long[1]), rest);
                }
            }
            let (value, rest) = octets.split_at_checked(length)?;
            one.push((*field, value.to_vec()));
            octets = rest;
        }
        found.push(one);
    }
    Some(found)
}

/// An unsigned integer; None if it is empty or wider than 64 bits (N9-25).
fn number(octets: &[u8]) -> Option<u128> {
    let value = octets.iter().try_fold(0_u128, |sum, octet| sum.checked_mul(256)?.checked_add(u128::from(*octet)))?;
    (!octets.is_empty() && value <= u128::from(u64::MAX)).then_some(value)
}

fn wide(octets: &[u8]) -> u128 {
    octets.iter().fold(0, |sum, octet| sum << 8 | u128::from(*octet))
}

/// Deprecated elements are those that took their place (IX-50).
const fn today(id: u16) -> u16 {
    match id {
        416 => 352,
        419 => 353,
        _ => id,
    }
}

/// The first field of the record for the best of `sources` whose length can be one of `fits`. The template decides:
/// a field of variable length is a source whatever its value turns out to be.
fn source(
    record: &Octets,
    sources: impl IntoIterator<Item = (u32, u16)>,
    fits: impl Fn(u16) -> bool,
) -> Option<(usize, &[u8])> {
    sources.into_iter().enumerate().find_map(|(rank, (pen, id))| {
        let at = |f: &Field| (f.pen, today(f.id)) == (pen, id) && (f.length == VARIABLE || fits(f.length));
        record.iter().find(|(f, _)| at(f)).map(|(_, octets)| (rank, &octets[..]))
    })
}

/// The same for octets of exactly one length.
fn exactly(record: &Octets, sources: &[(u32, u16)], length: u16) -> Option<u128> {
    let (_, octets) = source(record, sources.iter().copied(), |l| l == length)?;
    (octets.len() == usize::from(length)).then(|| wide(octets))
}

/// One side of a flow: an address of either family. Where a template has both, the one that is not zero counts; where
/// both are not, the record's IP version decides, else IPv4 (DEC-6).
fn side(record: &Octets, known: &mut Known, names: [&'static str; 2], elements: [u16; 2], version: Option<u128>) {
    let has = |id: u16, length: u16| source(record, [(0, id)], |l| l == length).is_some();
    let both = has(elements[0], 4) && has(elements[1], 16);
    // No address has a variable length by its type: a zero there is nobody's.
    let typed = |id: u16, length: u16| {
        let fits = |f: &&(Field, Vec<u8>)| (f.0.pen, f.0.id) == (0, id) && [VARIABLE, length].contains(&f.0.length);
        record.iter().find(fits).is_some_and(|(f, _)| f.length == length)
    };
    let counts = |id, length, a: &u128| *a != 0 || !both && typed(id, length);
    let v4 = exactly(record, &[(0, elements[0])], 4).filter(|a| counts(elements[0], 4, a));
    let v6 = exactly(record, &[(0, elements[1])], 16).filter(|a| counts(elements[1], 16, a));
    match (v4, v6) {
        (Some(_), Some(v6)) if version == Some(6) => known.insert(names[1], v6),
        (Some(v4), _) => known.insert(names[0], v4),
        (None, Some(v6)) => known.insert(names[1], v6),
        (None, None) => None,
    };
}

fn stamp(octets: &[u8], clock: Clock, head: &Head) -> Option<u128> {
    let value = number(octets)?;
    let export_ms = u128::from(head.export_s) * 1_000;
    match (clock, octets.len()) {
        (Clock::Milliseconds, 8) => Some(value),
        (Clock::Seconds, 4) => Some(value * 1_000),
        (Clock::Ntp, 8) => {
            let fraction_ms = ((value & 0xFFFF_FFFF) * 1_000) >> 32;
            Some(((value >> 32) - NTP_TO_UNIX_S) * 1_000 + fraction_ms)
        }
        // Milliseconds since the box started; it counts to 2^32 and begins anew (V5-06).
        (Clock::Uptime, _) if value <= 0xFFFF_FFFF => {
            let age = (u128::from(head.uptime_ms) + (1 << 32) - value) % (1 << 32);
            let ahead = (1 << 32) - age;
            Some(if ahead < 3_600_000 { export_ms + ahead } else { export_ms - age })
        }
        _ => None,
    }
}

/// What one record says.
fn known(record: &Octets, head: &Head) -> Known {
    let mut known = Known::new();
    for (name, sources, most) in INTEGERS {
        let found = source(record, sources.iter().copied(), |l| l > 0);
        if let Some(value) = found.and_then(|(_, octets)| number(octets)).filter(|v| *v <= most) {
            known.insert(name, if name == "tcp_flags" { value & 0x0FFF } else { value });
        }
    }
    // An interface that is none, and flags of what has none (the protocol is not TCP).
    for name in ["input_if", "output_if"] {
        if known.get(name).is_some_and(|index| [0x3FFF_FFFF, 0xFFFF_FFFF].contains(index)) {
            known.remove(name);
        }
    }
    if known.get("tcp_flags") == Some(&0) && known.get("protocol").is_some_and(|protocol| *protocol != 6) {
        known.remove("tcp_flags");
    }
    let octets = source(record, OCTETS.map(|(element, _, _)| element), |l| l > 0);
    if let Some((rank, value)) = octets
        && let Some(value) = number(value)
    {
        known.extend([("bytes", value), ("bytes_kind", OCTETS[rank].1)]);
    }
    let version = source(record, [(0, 60)], |l| l > 0).and_then(|(_, octets)| number(octets));
    side(record, &mut known, ["src_v4", "src_v6"], [8, 27], version);
    side(record, &mut known, ["dst_v4", "dst_v6"], [12, 28], version);
    side(record, &mut known, ["next_hop_v4", "next_hop_v6"], [15, 62], version);
    // Nobody is at an address of zeroes.
    known.retain(|name, address| !name.starts_with("next_hop") || *address != 0);
    for (name, sources) in [("src_mac", [(0, 56), (0, 81)]), ("dst_mac", [(0, 80), (0, 57)])] {
        known.extend(exactly(record, &sources, 6).filter(|mac| *mac != 0).map(|mac| (name, mac)));
    }
    for (name, family, id) in
        [("src_mask", ["src_v4", "src_v6"], [9, 29]), ("dst_mask", ["dst_v4", "dst_v6"], [13, 30])]
    {
        // The mask of the address's family where the template has both; without an address the one that says something.
        let of = |id| source(record, [(0, id)], |l| l > 0).map(|(_, octets)| number(octets).filter(|v| *v <= 0xFF));
        let mask = match (of(id[0]), of(id[1])) {
            (Some(v4), Some(v6)) if known.contains_key(family[1]) => v6.or(v4),
            (Some(v4), Some(v6)) if known.contains_key(family[0]) => v4.or(v6),
            (Some(v4), Some(v6)) => v6.filter(|v| *v != 0).or(v4).or(v6),
            (v4, v6) => v4.or(v6).flatten(),
        };
        known.extend(mask.map(|mask| (name, mask)));
    }
    times(record, head, &mut known);
    if let Some((_, octets)) = source(record, [(0, 34), (0, 50)], |l| l > 0)
        && let Some(rate) = number(octets)
        && rate <= 16_777_215
    {
        // 0 is no rate: one of one (IX-48).
        known.insert("rate", rate.max(1));
    }
    // Addresses of zeroes, interfaces that are none, and flags of what is no TCP say nothing.
    let other = known.get("protocol").is_some_and(|protocol| *protocol != 6);
    known.retain(|name, value| match *name {
        "src_mac" | "dst_mac" | "next_hop_v4" | "next_hop_v6" => *value != 0,
        "input_if" | "output_if" => !matches!(*value, 0x3FFF_FFFF | 0xFFFF_FFFF),
        "tcp_flags" => *value != 0 || !other,
        _ => true,
    });
    known
}

fn times(record: &Octets, head: &Head, known: &mut Known) {
    let one = |sources: [((u32, u16), Clock); 5]| {
        let fits = |l: u16| l > 0;
        let (rank, octets) = source(record, sources.map(|(element, _)| element), fits)?;
        stamp(octets, sources[rank].1, head)
    };
    if let (Some(start), Some(end)) = (one(STARTS), one(ENDS)) {
        // A flow that ends before it starts starts when it ends (V5-07).
        known.extend([("start", start.min(end)), ("end", end)]);
    }
}

/// The rows of a data set; None if the set cannot be taken apart.
pub fn rows(template: &[Field], head: &Head, octets: &[u8]) -> Option<Vec<Known>> {
    Some(records(template, octets)?.iter().map(|record| known(record, head)).collect())
}

/// What the decoder made of a record, in the reference's words; only what the reference may know of `template`.
fn told(row: &FlowRecord, has_times: bool) -> Known {
    use Presence as P;
    let mut known = Known::new();
    let mut tell = |presence: Presence, name: &'static str, value: u128| {
        if row.has(presence) {
            known.insert(name, value);
        }
    };
    let v4 = |octets: &[u8; 16]| wide(&octets[..4]);
    tell(P::SRC_V4, "src_v4", v4(&row.src));
    tell(P::SRC_V6, "src_v6", wide(&row.src));
    tell(P::DST_V4, "dst_v4", v4(&row.dst));
    tell(P::DST_V6, "dst_v6", wide(&row.dst));
    tell(P::NEXT_HOP_V4, "next_hop_v4", v4(&row.next_hop));
    tell(P::NEXT_HOP_V6, "next_hop_v6", wide(&row.next_hop));
    tell(P::SRC_PORT, "src_port", row.src_port.into());
    tell(P::DST_PORT, "dst_port", row.dst_port.into());
    tell(P::PROTOCOL, "protocol", row.protocol.into());
    tell(P::TOS, "tos", row.tos.into());
    tell(P::TCP_FLAGS, "tcp_flags", row.tcp_flags.into());
    tell(P::BYTES, "bytes", row.bytes.into());
    tell(
        P::BYTES,
        "bytes_kind",
        match row.bytes_kind {
            BytesKind::Ip => 0,
            BytesKind::Layer2 => 1,
            BytesKind::Layer4 => 2,
        },
    );
    tell(P::PACKETS, "packets", row.packets.into());
    tell(P::SRC_MAC, "src_mac", wide(&row.src_mac));
    tell(P::DST_MAC, "dst_mac", wide(&row.dst_mac));
    tell(P::VLAN, "vlan", row.vlan.into());
    tell(P::POST_VLAN, "post_vlan", row.post_vlan.into());
    tell(P::SRC_SGT, "src_sgt", row.src_sgt.into());
    tell(P::DST_SGT, "dst_sgt", row.dst_sgt.into());
    tell(P::INPUT_IF, "input_if", row.input_if.into());
    tell(P::OUTPUT_IF, "output_if", row.output_if.into());
    tell(P::SRC_AS, "src_as", row.src_as.into());
    tell(P::DST_AS, "dst_as", row.dst_as.into());
    tell(P::SRC_MASK, "src_mask", row.src_mask.into());
    tell(P::DST_MASK, "dst_mask", row.dst_mask.into());
    tell(P::DIRECTION, "direction", row.direction.into());
    tell(P::FLOW_END_REASON, "end_reason", row.flow_end_reason.into());
    tell(P::SAMPLING_IN_RECORD, "rate", row.rate().into());
    if has_times {
        known.extend([("start", u128::from(row.start_ms)), ("end", u128::from(row.end_ms))]);
    }
    known
}

/// A template and records of it, and padding.
#[derive(Debug, Clone)]
pub struct Case {
    /// NetFlow v9 or IPFIX.
    pub version: Version,
    /// The template.
    pub fields: Vec<Field>,
    /// Value by value, record by record.
    pub records: Vec<Vec<Vec<u8>>>,
}

/// Elements that templates are made of: some that nothing reads, and an address of either family for each end.
pub const ELEMENTS: [(u32, u16); 72] = {
    let mut all = [(0, 0); 72];
    let iana = [
        1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 21, 22, 23, 24, 27, 28, 29, 30, 34, 50, 56, 57, 58, 59,
        60, 61, 62, 80, 81, 85, 86, 136, 150, 151, 152, 153, 154, 155, 156, 157, 171, 172, 180, 181, 182, 183, 231,
        243, 252, 253, 254, 298, 352, 353, 416, 419, 82, 210, 411, 999,
    ];
    let mut at = 0;
    while at < iana.len() {
        all[at] = (0, iana[at]);
        at += 1;
    }
    let others = [(9, 1232), (9, 1233), (9, 1236), (29_999, 1), (29_999, 8), (12_356, 77)];
    let mut other = 0;
    while other < others.len() {
        all[at + other] = others[other];
        other += 1;
    }
    assert!(at + other == all.len());
    all
};

/// The length that an element has by its type.
fn natural(pen: u32, id: u16) -> u16 {
    match (pen, id) {
        (0, 27 | 28 | 62) => 16,
        (0, 1 | 2 | 23 | 24 | 85 | 86 | 152..=157 | 171 | 172) => 8,
        (0, 56 | 57 | 80 | 81) => 6,
        (0, 8 | 12 | 15 | 10 | 14 | 16 | 17 | 21 | 22 | 150 | 151 | 34 | 50 | 231 | 252 | 253 | 298) => 4,
        (0, 4 | 5 | 9 | 13 | 29 | 30 | 60 | 61 | 136) => 1,
        (0, 352 | 353 | 416 | 419) => 8,
        _ => 2,
    }
}

/// Stamps must keep their type: what an impossible length of one means is a matter of clocks, not of columns.
const fn is_stamp(id: u16) -> bool {
    matches!(id, 21 | 22 | 150..=157)
}

impl Case {
    /// A case out of any octets: how they are used is of no importance, only that all cases can come about.
    pub fn from_octets(input: &[u8]) -> Self {
        let mut input = input.iter().copied().chain(std::iter::repeat(0));
        let mut next = || input.next().unwrap_or(0);
        let version = if next() & 1 == 0 { Version::V9 } else { Version::Ipfix };
        let count = 1 + usize::from(next() % 24);
        let mut fields: Vec<Field> = Vec::new();
        for _ in 0..count {
            let (pen, id) = ELEMENTS[usize::from(next()) % ELEMENTS.len()];
            let how = next();
            let natural = natural(pen, id);
            let length = match how {
                _ if pen == 0 && is_stamp(id) => natural,
                0..160 => natural,
                160..200 => 1 + u16::from(how) % 9,
                200..210 => 0,
                210..220 => 9 + u16::from(how) % 9,
                _ => VARIABLE,
            };
            fields.push(match (version, pen, id) {
                // Without enterprise numbers Cisco's tags have the upper half of the space.
                (Version::V9, 9, id) => field(id + 0x8000, length),
                (Version::V9, _, id) if pen != 0 => field(id + 0x9000, length),
                _ if pen != 0 => enterprise(pen, id, length),
                // Uptime stamps without a boot time tell a length only (T-2).
                (Version::Ipfix, _, 21 | 22) => field(id + 131, 8),
                _ => field(id, length),
            });
        }
        // Records of fewer than four octets may be padding (N9-24).
        fields.push(field(999, 4));
        let records = 1 + usize::from(next() % 40);
        let mut value = |field: &Field| {
            let length = if field.length == VARIABLE { usize::from(next() % 20) } else { usize::from(field.length) };
            let mut octets: Vec<u8> =
                if next() % 4 == 0 { vec![0; length] } else { (0..length).map(|_| next()).collect() };
            if field.pen == 0 && is_stamp(field.id) {
                octets = plausible(field.id, u64::from(next()) << 8 | u64::from(next()));
            }
            octets
        };
        let records = (0..records).map(|_| fields.iter().map(&mut value).collect()).collect();
        Self { version, fields, records }
    }

    /// The set's octets, with what no record can be at its end.
    fn body(&self) -> Vec<u8> {
        let body: Vec<u8> = self.records.iter().flat_map(|values| record(&self.fields, values)).collect();
        [body, vec![0; 3]].concat()
    }
}

/// A stamp up to 65 seconds before the export time.
fn plausible(id: u16, before_ms: u64) -> Vec<u8> {
    let head = Head::new(Version::V9, 1);
    let ms = u64::from(head.export_s) * 1_000 - before_ms;
    match id {
        21 | 22 => integer(u64::from(head.uptime_ms) - before_ms, 4),
        150 | 151 => integer(ms / 1_000, 4),
        152 | 153 => integer(ms, 8),
        _ => integer(((ms / 1_000 + 2_208_988_800) << 32) | (before_ms % 1_000 * 4_294_967), 8),
    }
}

/// Decodes a case by both decoders and holds them against each other; answers with the number of rows.
pub fn check_case(case: &Case) -> usize {
    let head = Head::new(case.version, 1);
    let body = case.body();
    let sets = [head.templates(&[head.template(256, &case.fields)]), set(256, &body)];
    if sets.concat().len() > 60_000 {
        return 0;
    }
    let octets = head.message(0, &sets);
    let settings = DecodeSettings { selection: Selection::CAPTURE, ..DecodeSettings::default() };
    let domain = Domain::alone(case.version, 1, settings);
    let mut batch = FlowBatch::with_capacity(64);
    let header = identify(&octets).expect("a known version");
    let datagram =
        Datagram { peer: ([192, 0, 2, 1], 2_055).into(), receive_ns: 1_735_689_600_000_000_000, octets: &octets };
    decode(&datagram, &header, &domain, &mut batch);
    let expected = rows(&case.fields, &head, &body).unwrap_or_default();
    assert_eq!(batch.len(), expected.len(), "rows of {:?}", case.fields);
    for (row, expected) in batch.records.iter().zip(&expected) {
        let told = told(row, expected.contains_key("start"));
        assert_eq!(&told, expected, "the plan and the reference differ: {:?}", case.fields);
    }
    batch.len()
}

/// The same of any octets: the fuzz target.
pub fn check_reference(input: &[u8]) -> usize {
    check_case(&Case::from_octets(input))
}
