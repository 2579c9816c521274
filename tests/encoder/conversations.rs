//! What sets come to depends on nothing but the sets and the templates before them.

use clarion_collector::decode::Selection;
use clarion_collector::flow::{FlowRecord, Version};
use proptest::prelude::*;

use super::Bench;
use super::encode::{
    Field, Head, NSEL, VARIABLE, basic_list, field, frame, ip, multi_list, nsel, record, reverse, set,
    sub_template_list, transport,
};

/// Layouts by their place: id 256 + place.
fn layout(place: usize) -> Vec<Field> {
    match place {
        0 => vec![field(8, 4), field(12, 4), field(7, 2), field(11, 2), field(4, 1), field(1, 4), field(2, 4)],
        1 => vec![field(8, 4), field(12, 4), field(1, 4), reverse(1, 4)],
        2 => vec![field(312, 2), field(315, 90)],
        3 => NSEL.to_vec(),
        4 => vec![field(8, 4), field(12, 4), field(291, VARIABLE), field(292, VARIABLE), field(293, VARIABLE)],
        5 => vec![field(8, 4), field(12, 4), field(1, 8)],
        _ => vec![field(56, 6), field(80, 6), field(6, 1)],
    }
}

const LAYOUTS: usize = 7;

/// One record of a layout; lists exist in IPFIX alone.
fn one(place: usize, n: u8) -> Vec<u8> {
    let ends = [10, 0, 0, n, 10, 0, 1, n];
    let word = u32::from(n) * 1_000;
    match place {
        0 => [&ends[..], &[1, 2, 3, 4, 6], &word.to_be_bytes(), &[0, 0, 0, 1]].concat(),
        1 => [&ends[..], &word.to_be_bytes(), &(word % 3_000).to_be_bytes()].concat(),
        2 => {
            let segment = transport(6, [1_000, u16::from(n)], 2);
            let src = [192, 0, 2, n].into();
            let packet = ip(src, [198, 51, 100, 1].into(), 6, 0, 0, &segment);
            let mut octets = frame([[2; 6], [4; 6]], &[7, u16::from(n) + 1], &[100], &packet);
            octets.resize(90, 0);
            [vec![0, 90], octets].concat()
        }
        3 => nsel(word, n % 6, [word, word / 2], 1_735_689_590_000),
        4 => {
            let flow = |n| one(5, n);
            let lists = [
                basic_list(3, field(14, 4), &[vec![0, 0, 0, n]]),
                sub_template_list(3, 261, &(0..n % 4).map(flow).collect::<Vec<_>>()),
                multi_list(3, &[(262, vec![vec![n; 13]]), (261, vec![flow(n)])]),
            ];
            record(&layout(4), &[vec![ends[..4].to_vec(), ends[4..].to_vec()], lists.to_vec()].concat())
        }
        5 => [&ends[..], &u64::from(word).to_be_bytes()].concat(),
        _ => vec![n; 13],
    }
}

#[derive(Debug, Clone)]
enum Piece {
    Template(usize),
    Data(usize, Vec<u8>),
    Options(u8),
}

impl Piece {
    fn set(&self, head: &Head) -> Vec<u8> {
        match self {
            Self::Template(place) => head.templates(&[head.template(256 + *place as u16, &layout(*place))]),
            Self::Data(place, numbers) => {
                set(256 + *place as u16, &numbers.iter().flat_map(|n| one(*place, *n)).collect::<Vec<u8>>())
            }
            Self::Options(rate) => {
                let scope = if head.version == Version::V9 { field(1, 4) } else { field(144, 4) };
                let template = head.options_template(400, &[scope], &[field(34, 4)]);
                [head.options_templates(&[template]), set(400, &[0, 0, 0, 1, 0, 0, 0, *rate])].concat()
            }
        }
    }
}

/// Lists and enterprise elements are IPFIX's.
fn places(version: Version) -> Vec<usize> {
    (0..LAYOUTS).filter(|place| version == Version::Ipfix || ![1, 4].contains(place)).collect()
}

fn pieces() -> impl Strategy<Value = (Version, Vec<Piece>)> {
    prop::sample::select(vec![Version::V9, Version::Ipfix]).prop_flat_map(|version| {
        let place = move || prop::sample::select(places(version));
        let piece = prop_oneof![
            2 => place().prop_map(Piece::Template),
            5 => (place(), prop::collection::vec(0..100_u8, 1..8)).prop_map(|(p, n)| Piece::Data(p, n)),
            1 => (1..200_u8).prop_map(Piece::Options),
        ];
        (Just(version), prop::collection::vec(piece, 1..30))
    })
}

fn records(pieces: &[Piece]) -> u32 {
    let count = |piece: &Piece| match piece {
        Piece::Data(_, numbers) => numbers.len() as u32,
        Piece::Options(_) => 1,
        Piece::Template(_) => 0,
    };
    pieces.iter().map(count).sum()
}

/// The pieces in messages of these sizes, with the sequence numbers that belong to them.
fn messages(head: Head, pieces: &[Piece], sizes: &[usize]) -> Vec<Vec<u8>> {
    let (mut rest, mut sequence, mut messages) = (pieces, 0, Vec::new());
    for size in sizes.iter().cycle() {
        let (some, after) = rest.split_at((*size).min(rest.len()));
        let sets: Vec<Vec<u8>> = some.iter().map(|piece| piece.set(&head)).collect();
        messages.push(head.numbered(sequence).message(records(some) as u16, &sets));
        sequence += if head.version == Version::V9 { 1 } else { records(some) };
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    messages
}

fn rows(version: Version, selection: &Selection, messages: &[Vec<u8>]) -> Vec<FlowRecord> {
    let mut bench = Bench::with(version, selection.clone());
    for message in messages {
        let outcome = bench.decode(message);
        assert_eq!(outcome.rejected, None);
    }
    bench.batch.records
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// One message, or one a set, or anything between.
    #[test]
    fn rows_do_not_depend_on_how_sets_are_split_into_messages(
        (version, pieces) in pieces(),
        sizes in prop::collection::vec(1..6_usize, 1..9),
    ) {
        let head = Head::new(version, 1);
        for selection in [Selection::CORE, Selection::WIRE] {
            let whole = rows(version, &selection, &messages(head, &pieces, &[pieces.len()]));
            let split = rows(version, &selection, &messages(head, &pieces, &sizes));
            prop_assert_eq!(whole, split);
        }
    }

    /// The same octets in a fresh state, and again in it.
    #[test]
    fn rows_do_not_depend_on_what_others_decoded((version, pieces) in pieces()) {
        let head = Head::new(version, 1);
        let messages = messages(head, &pieces, &[3]);
        let selection = Selection::CORE;
        prop_assert_eq!(rows(version, &selection, &messages), rows(version, &selection, &messages));
    }

    /// Sets that waited for their templates become the rows that they would have been: with the templates of the lists
    /// in them learned, and but for the order between templates.
    #[test]
    fn what_waited_becomes_what_it_would_have_been((version, pieces) in pieces()) {
        let head = Head::new(version, 1);
        let is_data = |piece: &&Piece| matches!(piece, Piece::Data(..));
        let data: Vec<Piece> = pieces.iter().filter(is_data).cloned().collect();
        // Inner templates first: a list is not read again when one comes (docs/protocols.md).
        let mut templates: Vec<Piece> = places(version).into_iter().map(Piece::Template).collect();
        templates.reverse();
        let first = rows(version, &Selection::CORE, &messages(head, &[&templates[..], &data].concat(), &[4]));
        let last = rows(version, &Selection::CORE, &messages(head, &[&data[..], &templates].concat(), &[4]));
        for place in places(version) {
            let of = |rows: &[FlowRecord]| -> Vec<FlowRecord> {
                rows.iter().filter(|row| usize::from(row.template_id) == 256 + place).copied().collect()
            };
            prop_assert_eq!(of(&first), of(&last));
        }
    }
}
