//! The catalogue's fields against a table walk and against a slow reading of the record.

use proptest::prelude::*;

use super::compile;
use super::context::{RowBudget, RunContext};
use super::extra_sources::{LABELS, Read, SOURCES, STACK};
use crate::decode::selection::{DecodeSettings, Selection};
use crate::decode::wire::template::{FieldSpecifier, Template, TemplateKind, VARIABLE_LENGTH};
use crate::decode::wire::time::MessageClock;
use crate::flow::{ElementId, Field, FieldSet, FlowBatch, FlowRecord, Presence, SamplingSource, Value, Version};

/// A value of a field, apart from where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Number(u64),
    Octets(Vec<u8>),
}

/// An element, the length that the template says, and its octets.
type Element = (ElementId, u16, Vec<u8>);

pub(super) const fn iana(id: u16) -> ElementId {
    ElementId { pen: 0, id }
}

const ALL: Selection = Selection { fields: FieldSet::ALL, ..Selection::CORE };

/// An element of fixed length.
fn fixed(element: ElementId, octets: &[u8]) -> Element {
    (element, u16::try_from(octets.len()).unwrap(), octets.to_vec())
}

/// Decodes one record of these elements: its row and fields.
fn decode(elements: &[Element], selection: &Selection) -> (FlowRecord, Vec<(Field, Said)>) {
    let fields = elements.iter().map(|(element, length, _)| FieldSpecifier { element: *element, length: *length });
    let template = Template { id: 256, kind: TemplateKind::Data, fields: fields.collect() };
    let mut octets = Vec::new();
    for (_, length, value) in elements {
        if *length == VARIABLE_LENGTH {
            octets.push(255);
            octets.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        }
        octets.extend(value);
    }
    let settings = DecodeSettings { selection: selection.clone(), ..DecodeSettings::default() };
    let context = RunContext {
        clock: MessageClock::new(1_700_000_000_000, None, 1),
        version: Version::Ipfix,
        observation_domain: 1,
        exporter: 0,
        sampling_override: None,
        sampling_domain: (1, SamplingSource::Unknown),
        around: None,
        sampling_tables: None,
        options: None,
    };
    let mut batch = FlowBatch::with_capacity(4);
    let plan = compile::data(&template, &template, Version::Ipfix, &settings);
    let ran = plan.run(&octets, &context, &mut RowBudget::of_rows(10), &mut batch).expect("a whole record");
    assert_eq!((ran.rows, batch.records.len()), (1, 1));
    let said = batch.fields_of(0).map(|field| (field.field, value(&batch, field.value))).collect();
    assert_eq!(batch.fields_of(0).count(), batch.fields.len());
    (batch.records[0], said)
}

fn value(batch: &FlowBatch, value: Value) -> Said {
    match value {
        Value::Unsigned(number) => Said::Number(number),
        Value::Octets { offset, length } => {
            Said::Octets(batch.octets[offset as usize..][..usize::from(length)].to_vec())
        }
    }
}

fn said(elements: &[Element], field: Field) -> Option<Said> {
    let (_, fields) = decode(elements, &ALL);
    fields.into_iter().find(|(of, _)| *of == field).map(|(_, said)| said)
}

/// Octets of a source that hold `serial`, and what the field must say.
fn example(read: Read, serial: u8) -> (Vec<u8>, Said) {
    let wide = u64::from(serial);
    match read {
        Read::Number(bits) => {
            let number = if bits < 8 { wide & ((1 << bits) - 1) } else { wide };
            let octets = number.to_be_bytes()[8 - usize::from(bits.div_ceil(8))..].to_vec();
            (octets, Said::Number(number))
        }
        Read::Low(bits) => {
            let upper = 0xFFFF_FFFF_u64 << bits;
            let octets = (upper | wide).to_be_bytes()[8 - usize::from(bits.div_ceil(8)).max(2)..].to_vec();
            (octets, Said::Number(wide))
        }
        Read::CodePoint => (vec![(serial & 0x3F) << 2 | 3], Said::Number(u64::from(serial & 0x3F))),
        Read::IpVersion => (vec![6], Said::Number(6)),
        Read::V4 => (vec![10, 0, 0, serial], Said::Octets(vec![10, 0, 0, serial])),
        Read::V6 => (vec![serial; 16], Said::Octets(vec![serial; 16])),
        Read::Mac => (vec![serial; 6], Said::Octets(vec![serial; 6])),
        Read::Milliseconds => (wide.to_be_bytes().to_vec(), Said::Number(wide)),
        Read::Text => {
            let text = format!("text {serial}");
            ([text.as_bytes(), b"  \0\0x"].concat(), Said::Octets(text.into_bytes()))
        }
        Read::Octets => (vec![0, serial, 0], Said::Octets(vec![0, serial, 0])),
        Read::AppId => (vec![13, 0, 0, serial], Said::Octets(format!("13:{serial}").into_bytes())),
        Read::AppLabel => (vec![0, serial], Said::Octets(serial.to_string().into_bytes())),
        Read::Segment => (vec![1, 0, 0, 0, 0, 0, 0, serial], Said::Number(wide)),
        Read::Encapsulation => (vec![serial, 0, 0, 0, 0, 0, 0, 9], Said::Number(wide)),
    }
}

/// What must stand beside an element that else feeds the record itself.
fn companions() -> Vec<Element> {
    let mut companions: Vec<Element> = [56, 80].into_iter().map(|id| fixed(iana(id), &[0xEE; 6])).collect();
    companions.extend([1, 2].into_iter().map(|id| fixed(iana(id), &[1, 0, 0, 0])));
    companions
}

#[test]
fn every_field_that_a_record_tells_is_told_by_each_of_its_elements() {
    for (at, source) in SOURCES.iter().enumerate() {
        let (octets, expected) = example(source.read, u8::try_from(at + 1).unwrap());
        for element in [fixed(source.element, &octets), (source.element, VARIABLE_LENGTH, octets.clone())] {
            let elements = [companions(), vec![element]].concat();
            assert_eq!(said(&elements, source.field), Some(expected.clone()), "{source:?}");
            // Nobody wants it: nothing is kept.
            let (_, fields) = decode(&elements, &Selection::CORE);
            assert_eq!(fields, [], "{source:?}");
            let mut wanted = FieldSet::NONE;
            wanted.add(source.field);
            let (_, fields) = decode(&elements, &Selection { fields: wanted, ..Selection::CORE });
            assert_eq!(fields, [(source.field, expected.clone())], "{source:?} alone");
        }
    }
    // What no element of a data record tells: names by number, which options tell, and the stack, which has a test.
    let untold: Vec<&str> = Field::ALL
        .iter()
        .filter(|field| SOURCES.iter().all(|source| source.field != **field))
        .map(|field| field.info().name)
        .collect();
    let names = ["input_if_name", "input_if_description", "output_if_name", "output_if_description", "egress_vrf"];
    assert_eq!(untold, [&names[..], &["mpls_labels"]].concat());
}

#[test]
fn of_several_elements_the_first_of_the_table_that_says_something_wins() {
    for field in Field::ALL {
        let sources: Vec<_> = SOURCES.iter().filter(|source| source.field == *field).collect();
        for skipped in 0..sources.len() {
            let elements = sources.iter().enumerate().map(|(at, source)| {
                let (octets, expected) = example(source.read, u8::try_from(at + 1).unwrap());
                // What is skipped is there and has no octets.
                let octets = if at < skipped { Vec::new() } else { octets };
                ((source.element, VARIABLE_LENGTH, octets), expected)
            });
            let (elements, expected): (Vec<Element>, Vec<Said>) = elements.unzip();
            let backwards: Vec<Element> = [companions(), elements.into_iter().rev().collect()].concat();
            assert_eq!(said(&backwards, *field).as_ref(), expected.get(skipped), "{field:?} but {skipped}");
        }
    }
}

#[test]
fn g_08_of_repeated_elements_the_first_that_can_be_one_counts() {
    let twice = [fixed(iana(192), &[1, 0]), fixed(iana(192), &[7]), fixed(iana(192), &[8])];
    assert_eq!(said(&twice, Field::Ttl), Some(Said::Number(7)), "256 is no TTL");
}

#[test]
fn n9_26_lengths_that_cannot_be_lose_the_field_alone() {
    for (id, field) in [(225, Field::PostSrcIp), (63, Field::BgpNextHop), (258, Field::ExporterTime)] {
        for length in [1, 3, 5, 7, 15, 17, 50] {
            let elements = [fixed(iana(id), &vec![1; length]), fixed(iana(52), &[9])];
            assert_eq!(said(&elements, field), None, "{id} of {length} octets");
            assert_eq!(said(&elements, Field::TtlMin), Some(Said::Number(9)));
        }
    }
}

/// The record read one field at a time, by the rules as they are written down.
fn slow(elements: &[Element], row: &FlowRecord, field: Field) -> Option<Said> {
    let has = |id: u16, lengths: &[u16]| {
        elements
            .iter()
            .any(|(e, length, _)| *e == iana(id) && *length > 0 && (lengths.is_empty() || lengths.contains(length)))
    };
    let of_record = |element: ElementId| match (element.pen, element.id) {
        (0, 81) => !has(56, &[6, VARIABLE_LENGTH]),
        (0, 57) => !has(80, &[6, VARIABLE_LENGTH]),
        (0, 23) => !has(1, &[]),
        (0, 24) => !has(2, &[]),
        _ => false,
    };
    if field == Field::MplsLabels {
        return labels(elements).map(Said::Octets);
    }
    let mut told = Vec::new();
    for source in SOURCES.iter().filter(|source| source.field == field && !of_record(source.element)) {
        let same = |(element, length, octets): &&Element| {
            let fits = |octets: usize| *length == VARIABLE_LENGTH || usize::from(*length) == octets;
            *element == source.element
                && !octets.is_empty()
                && match source.read {
                    Read::V4 => fits(4),
                    Read::V6 => fits(16),
                    Read::Mac => fits(6),
                    Read::Milliseconds => fits(8),
                    _ => true,
                }
        };
        told.extend(elements.iter().filter(same).map(|(_, _, octets)| (source.read, octets.as_slice())));
    }
    // A prefix of zeroes stands if no other element could.
    let could = |(element, length, _): &&Element| {
        let fits = |read| *length == VARIABLE_LENGTH || *length == if read == Read::V4 { 4 } else { 16 };
        SOURCES.iter().any(|source| source.field == field && source.element == *element && fits(source.read))
    };
    let is_prefix = matches!(field, Field::SrcPrefix | Field::DstPrefix);
    let zero = is_prefix && elements.iter().filter(could).count() == 1;
    let own = told.into_iter().find_map(|(read, octets)| slow_value(read, octets, zero));
    own.or_else(|| match field {
        Field::Dscp if row.has(Presence::TOS) => Some(Said::Number(u64::from(row.tos / 4))),
        Field::Dscp => {
            let (.., octets) = elements.iter().find(|(e, length, _)| *e == iana(196) && *length > 0)?;
            number(octets).filter(|value| *value <= 7).map(|value| Said::Number(value * 8))
        }
        Field::IpVersion => match (row.src_ip().or(row.dst_ip())?, row.dst_ip()) {
            (std::net::IpAddr::V4(_), _) | (_, Some(std::net::IpAddr::V4(_))) => Some(Said::Number(4)),
            _ => Some(Said::Number(6)),
        },
        _ => None,
    })
}

fn number(octets: &[u8]) -> Option<u64> {
    let mut sum = 0_u128;
    for octet in octets {
        sum = sum.checked_mul(256)? + u128::from(*octet);
    }
    u64::try_from(sum).ok().filter(|_| !octets.is_empty())
}

fn slow_value(read: Read, octets: &[u8], zero: bool) -> Option<Said> {
    let address = |length: usize| {
        (octets.len() == length && (zero || octets.iter().any(|o| *o > 0))).then(|| Said::Octets(octets.to_vec()))
    };
    let text = |text: String| (!text.is_empty()).then(|| Said::Octets(text.into_bytes()));
    match read {
        Read::Number(bits) => number(octets).filter(|n| u128::from(*n) < 1 << bits).map(Said::Number),
        Read::Low(bits) => number(octets).map(|n| Said::Number(n % (1 << bits))),
        Read::CodePoint => number(octets).filter(|n| *n < 256).map(|n| Said::Number(n / 4)),
        Read::IpVersion => number(octets).filter(|n| *n == 4 || *n == 6).map(Said::Number),
        Read::Milliseconds => number(octets).filter(|_| octets.len() == 8).map(Said::Number),
        Read::V4 => address(4),
        Read::V6 => address(16),
        Read::Mac => address(6),
        Read::Octets => Some(Said::Octets(octets.to_vec())),
        Read::Text => {
            let wire = octets.split(|o| *o == 0).next().unwrap_or_default();
            let mut whole = String::from_utf8_lossy(wire).into_owned();
            while whole.len() > 256 {
                whole.pop();
            }
            text(whole.trim_ascii_end().to_owned())
        }
        Read::AppLabel => number(octets).filter(|n| *n > 0).and_then(|n| text(n.to_string())),
        Read::AppId => {
            if octets.len() < 2 || octets.iter().all(|o| *o == 0) {
                return None;
            }
            let mut parts = vec![octets[0].to_string()];
            let mut selector = &octets[1..];
            if octets[0] == 20 && octets.len() > 5 {
                parts.push(number(&octets[1..5])?.to_string());
                selector = &octets[5..];
            }
            let hex = || selector.iter().fold("0x".to_owned(), |hex, octet| format!("{hex}{octet:02x}"));
            parts.push(number(selector).map_or_else(hex, |n| n.to_string()));
            let mut whole = parts.join(":");
            whole.truncate(256);
            text(whole)
        }
        Read::Segment => number(octets).filter(|n| *n > 0).map(|n| Said::Number(n % (1 << 24))),
        Read::Encapsulation => {
            number(octets)?;
            let tail = &octets[octets.len().saturating_sub(8)..];
            Some(Said::Number(u64::from(tail[0]))).filter(|said| tail.len() > 3 && *said != Said::Number(0))
        }
    }
}

fn labels(elements: &[Element]) -> Option<Vec<u8>> {
    let mut entries: Vec<&[u8]> = Vec::new();
    for id in LABELS {
        let entry = elements.iter().find(|(element, length, _)| *element == iana(id) && *length > 0);
        entries.extend(entry.map(|(.., octets)| octets.as_slice()).filter(|o| o.len() == 3 || o.len() == 4));
    }
    stack(&entries).or_else(|| {
        let (.., whole) = elements.iter().find(|(element, length, _)| *element == STACK && *length > 0)?;
        stack(&whole.chunks_exact(4).collect::<Vec<_>>())
    })
}

fn stack(entries: &[&[u8]]) -> Option<Vec<u8>> {
    let bottom = entries.iter().position(|entry| entry[2] & 1 == 1).map_or(entries.len(), |at| at + 1);
    let mut entries = entries[..bottom.min(10)].to_vec();
    while entries.last().is_some_and(|entry| entry[..3] == [0; 3]) {
        entries.pop();
    }
    let label = |entry: &&[u8]| (u32::from_be_bytes([0, entry[0], entry[1], entry[2]]) / 16).to_be_bytes();
    (!entries.is_empty()).then(|| entries.iter().flat_map(label).collect())
}

fn element() -> impl Strategy<Value = Element> {
    let mut ids: Vec<ElementId> = SOURCES.iter().map(|source| source.element).collect();
    ids.extend((70..=79).chain([316, 196, 5, 8, 12, 27, 28, 56, 80, 1, 2, 210]).map(iana));
    let octet = prop_oneof![3 => Just(0_u8), 1 => Just(1_u8), 2 => Just(32_u8), 6 => any::<u8>()];
    let octets = prop_oneof![
        6 => prop::collection::vec(octet.clone(), 1..10),
        1 => prop::collection::vec(octet.clone(), 16),
        1 => prop::collection::vec(Just(0_u8), 4),
        1 => prop::collection::vec(octet, 0..400),
    ];
    (prop::sample::select(ids), octets, any::<bool>()).prop_map(|(element, octets, variable)| {
        let length = if variable { VARIABLE_LENGTH } else { u16::try_from(octets.len()).unwrap() };
        (element, length, octets)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(768))]

    #[test]
    fn any_record_has_the_fields_of_a_slow_reading(elements in prop::collection::vec(element(), 1..24)) {
        prop_assume!(elements.iter().map(|(_, length, octets)| octets.len() + usize::from(*length == VARIABLE_LENGTH)).sum::<usize>() > 4);
        // What a label stack carries is a sampled packet, which this reading knows nothing of.
        let interpret = !elements.iter().any(|(element, ..)| *element == STACK);
        let (row, mut fields) = decode(&elements, &Selection { interpret, ..ALL });
        // Names that a second occurrence of their element gives (see `named`) are not this reading's.
        fields.retain(|(field, _)| *field == Field::MplsLabels || SOURCES.iter().any(|source| source.field == *field));
        fields.sort_by_key(|(field, _)| *field);
        let slow: Vec<_> =
            Field::ALL.iter().filter_map(|field| slow(&elements, &row, *field).map(|said| (*field, said))).collect();
        prop_assert_eq!(fields, slow);
    }
}

#[test]
fn ix_43_labels_stand_in_elements_of_their_own_or_as_a_stack() {
    let numbers = |labels: &[u32]| Some(Said::Octets(labels.iter().flat_map(|label| label.to_be_bytes()).collect()));
    let entry = |label: u32, bottom: u32| (label << 4 | 5 << 1 | bottom).to_be_bytes()[1..].to_vec();
    let of = |entries: &[(u16, Vec<u8>)]| {
        let elements = entries.iter().map(|(id, octets)| fixed(iana(*id), octets));
        said(&elements.chain(companions()).collect::<Vec<_>>(), Field::MplsLabels)
    };
    let three = [(70, entry(16, 0)), (71, entry(17, 0)), (72, entry(0xF_FFFF, 1)), (73, entry(99, 0))];
    assert_eq!(of(&three), numbers(&[16, 17, 0xF_FFFF]), "the bottom of the stack ends it");
    let backwards: Vec<_> = three.iter().rev().cloned().collect();
    assert_eq!(of(&backwards), numbers(&[16, 17, 0xF_FFFF]), "by number, not by place");
    let wide = |label, bottom| [entry(label, bottom), vec![64]].concat();
    assert_eq!(of(&[(70, wide(16, 0)), (71, wide(17, 1))]), numbers(&[16, 17]), "four octets: the first 20 bits");
    assert_eq!(of(&[(70, entry(16, 0)), (71, vec![0; 3]), (72, vec![0; 3])]), numbers(&[16]), "unused entries");
    assert_eq!(of(&[(70, vec![0, 0, 1])]), numbers(&[0]), "explicit null");
    assert_eq!(of(&[(70, vec![0; 3])]), None);
    assert_eq!(of(&[(70, vec![1; 5])]), None);
    let whole = [wide(16, 0), wide(17, 0), wide(18, 1), wide(19, 1)].concat();
    assert_eq!(of(&[(316, whole.clone())]), numbers(&[16, 17, 18]));
    assert_eq!(of(&[(316, whole), (70, entry(9, 1))]), numbers(&[9]), "the elements come first");
    let long: Vec<u8> = (16..40).flat_map(|label| wide(label, 0)).collect();
    assert_eq!(of(&[(316, long)]), numbers(&(16..26).collect::<Vec<_>>()), "at most ten");
}

#[test]
fn ix_44_a_segment_has_an_encapsulation_above_its_number() {
    let of = |id: ElementId, octets: &[u8]| {
        let elements = [fixed(id, octets)];
        (said(&elements, Field::TunnelType), said(&elements, Field::Vni))
    };
    let both = |kind: u64, id: u64| (Some(Said::Number(kind)), Some(Said::Number(id)));
    assert_eq!(of(iana(351), &[1, 0, 0, 0, 0, 0x12, 0x34, 0x56]), both(1, 0x12_3456), "VXLAN");
    assert_eq!(of(iana(351), &[2, 0, 0, 7]), both(2, 7), "NVGRE, in fewer octets");
    assert_eq!(of(iana(351), &[0, 0, 7]), (None, Some(Said::Number(7))));
    assert_eq!(of(iana(351), &[0; 8]), (None, None));
    let vmware = |id| ElementId { pen: 6_876, id };
    assert_eq!(of(vmware(891), &[3]), (Some(Said::Number(3)), None));
    assert_eq!(of(vmware(892), &[0, 0x12, 0x34, 0x56]), (None, Some(Said::Number(0x12_3456))));
    let inner = [fixed(vmware(881), &[10, 0, 0, 1]), fixed(vmware(887), &[1, 187])];
    let (row, fields) = decode(&inner, &ALL);
    assert_eq!((row.src_ip(), row.has(Presence::DST_PORT)), (None, false), "what is inside is not the flow's own");
    assert_eq!(fields.len(), 2);
}

#[test]
fn ix_46_application_ids_have_a_text_form() {
    let of = |octets: &[u8]| match said(&[fixed(iana(95), octets)], Field::AppId)? {
        Said::Octets(text) => Some(String::from_utf8(text).unwrap()),
        Said::Number(_) => None,
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(of(&[13, 0, 1, 197]), text("13:453"), "NBAR");
    assert_eq!(of(&[3, 0, 0, 80]), text("3:80"));
    assert_eq!(of(&[3, 1, 187]), text("3:443"));
    assert_eq!(of(&[20, 0, 0, 0x30, 0x44, 0, 0, 0x3E, 0x9C]), text("20:12356:16028"), "Fortinet: nine octets");
    assert_eq!(of(&[20, 0, 0, 0x30, 0x44]), text("20:12356"), "no selector behind the number: read as any other");
    assert_eq!(of(&[1, 9, 8, 7, 6, 5, 4, 3, 2, 1]), text("1:0x090807060504030201"));
    assert_eq!(of(&[0, 0, 0, 0]), None);
    assert_eq!(of(&[13]), None);
    assert!(of(&[255; 60_000]).is_some_and(|text| text.len() == 256), "bounded");
}

#[test]
fn values_are_cut_to_what_they_are() {
    let number = |id: u16, octets: &[u8], field| match said(&[fixed(iana(id), octets)], field) {
        Some(Said::Number(number)) => Some(number),
        _ => None,
    };
    assert_eq!(number(88, &[0xFF, 0xFF], Field::FragmentOffset), Some(0x1FFF), "13 bits");
    assert_eq!(number(31, &[0xFF, 0xFF, 0xFF], Field::FlowLabel), Some(0xF_FFFF), "20 bits of three octets");
    assert_eq!(number(31, &[0xFF, 0xF1, 0x23, 0x45], Field::FlowLabel), Some(0x1_2345), "and of four");
    assert_eq!(number(89, &[0x42], Field::ForwardingStatus), Some(0x42), "one octet in NetFlow v9");
    assert_eq!(number(89, &[1, 2, 3, 0x80], Field::ForwardingStatus), Some(0x80), "up to four in IPFIX");
    assert_eq!(number(196, &[5], Field::Dscp), Some(40), "the precedence alone");
    let tos = [fixed(iana(196), &[5]), fixed(iana(5), &[0xB8])];
    assert_eq!(said(&tos, Field::Dscp), Some(Said::Number(46)), "the type of service says more");
    let all = [fixed(iana(196), &[5]), fixed(iana(5), &[0xB8]), fixed(iana(195), &[10])];
    assert_eq!(said(&all, Field::Dscp), Some(Said::Number(10)));
    assert_eq!(said(&[fixed(iana(55), &[0xB9])], Field::PostDscp), Some(Said::Number(46)));
}

#[test]
fn addresses_of_zeroes_are_none_and_of_both_families_the_other_counts() {
    let octets = |octets: &[u8]| Some(Said::Octets(octets.to_vec()));
    for (v4, v6, field) in [(18, 63, Field::BgpNextHop), (225, 281, Field::PostSrcIp), (44, 170, Field::SrcPrefix)] {
        let both = [fixed(iana(v4), &[0; 4]), fixed(iana(v6), &[7; 16])];
        assert_eq!(said(&both, field), octets(&[7; 16]));
        let none = [fixed(iana(v4), &[0; 4]), fixed(iana(v6), &[0; 16])];
        assert_eq!(said(&none, field), None);
    }
    assert_eq!(said(&[fixed(iana(18), &[0; 4])], Field::BgpNextHop), None);
    assert_eq!(said(&[fixed(iana(44), &[0; 4])], Field::SrcPrefix), octets(&[0; 4]), "the prefix of everything");
    let macs = [fixed(iana(56), &[1; 6]), fixed(iana(81), &[0; 6]), fixed(iana(80), &[1; 6]), fixed(iana(57), &[2; 6])];
    assert_eq!((said(&macs, Field::PostSrcMac), said(&macs, Field::PostDstMac)), (None, octets(&[2; 6])));
}

#[test]
fn b_3_counters_after_forwarding_stand_beside_those_before() {
    let four = |id: u16, value: u8| fixed(iana(id), &[0, 0, 0, value]);
    let (row, fields) = decode(&[four(1, 9), four(2, 1), four(23, 7), four(24, 2)], &ALL);
    assert_eq!((row.bytes, row.packets), (9, 1));
    assert_eq!(fields, [(Field::PostBytes, Said::Number(7)), (Field::PostPackets, Said::Number(2))]);
    let (row, fields) = decode(&[four(23, 7), four(24, 2)], &ALL);
    assert_eq!((row.bytes, row.packets, fields), (7, 2, vec![]), "alone they are the row's own");
}
