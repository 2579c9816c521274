//! Everything that a record's own fields do not show: what `all` keeps of the wire.

use super::list::{data, fields, learned, prefixed, sub};
use super::*;
use crate::flow::FieldSet;

const V: u16 = 0xFFFF;

/// Elements of the first row, with their octets, of a record of `template` 256.
fn kept(template: &[(u32, u16, u16)], record: &[u8]) -> Vec<((u32, u16), Vec<u8>)> {
    let selection = Selection { elements: Elements::Others, ..Selection::CORE };
    let (mut bench, domain) = learned(selection, &[fields(256, template)]);
    data(&mut bench, &domain, record);
    bench.batch.elements_of(0).map(|(e, octets)| ((e.element.pen, e.element.id), octets.to_vec())).collect()
}

#[test]
fn g_08_the_first_of_a_repeated_element_is_a_field_and_the_rest_stay() {
    let template = [(0, 8, 4), (0, 12, 4), (0, 1, 4), (0, 8, 4), (0, 85, 4)];
    let record = [[10, 0, 0, 1], [10, 0, 0, 2], [0, 0, 0, 9], [10, 0, 0, 3], [0, 0, 0, 8]].concat();
    assert_eq!(kept(&template, &record), [((0, 8), vec![10, 0, 0, 3]), ((0, 85), vec![0, 0, 0, 8])]);
}

#[test]
fn g_06_unknown_elements_stay_and_ix_36_padding_goes() {
    let template = [(0, 8, 4), (u32::MAX, 32_767, 2), (0, 210, 3), (0, 12, 4), (0, 210, 1), (0, 238, 1)];
    let record = [&[10, 0, 0, 1][..], &[0xca, 0xfe], &[0; 3], &[10, 0, 0, 2], &[0], &[7]].concat();
    assert_eq!(kept(&template, &record), [((u32::MAX, 32_767), vec![0xca, 0xfe]), ((0, 238), vec![7])]);
}

#[test]
fn what_may_yet_be_taken_back_stays() {
    // An address of three octets, a direction of neither kind, the family that is zero, stamps.
    let template = [(0, 8, 3), (0, 12, 4), (0, 28, 16), (0, 61, 1), (0, 152, 8), (0, 4, 1)];
    let record = [&[10, 0, 0][..], &[10, 0, 0, 2], &[0; 16], &[9], &[0; 8], &[6]].concat();
    let ids: Vec<u16> = kept(&template, &record).iter().map(|((_, id), _)| *id).collect();
    assert_eq!(ids, [8, 28, 61, 152]);
    // Counters of a firewall's event.
    let template = [(0, 8, 4), (0, 12, 4), (0, 233, 1), (0, 231, 4), (0, 298, 4)];
    let record = [&[10, 0, 0, 1][..], &[10, 0, 0, 2], &[1], &[0, 0, 0, 5], &[0, 0, 0, 1]].concat();
    let ids: Vec<u16> = kept(&template, &record).iter().map(|((_, id), _)| *id).collect();
    assert_eq!(ids, [233, 231, 298]);
}

/// Numbers of the elements that are kept for each row, where the output wants all fields.
fn numbers(templates: &[Vec<u8>], records: &[u8]) -> Vec<Vec<u16>> {
    let selection = Selection { elements: Elements::Others, fields: FieldSet::ALL, ..Selection::CORE };
    let (mut bench, domain) = learned(selection, templates);
    data(&mut bench, &domain, records);
    let rows = 0..bench.batch.records.len();
    rows.map(|row| bench.batch.elements_of(row).map(|(e, _)| e.element.id).collect()).collect()
}

#[test]
fn g_06_what_a_record_takes_back_stays_in_that_record() {
    let template = [(0, 8, 4), (0, 12, 4), (0, 4, 1), (0, 6, 2), (0, 10, 4), (0, 14, 4), (0, 15, 4), (0, 56, 6)];
    let templates = [fields(256, &[&template[..], &[(0, 61, 1)]].concat())];
    let record = |protocol: u8, flags: [u8; 2], interface: [u8; 4], last: u8| {
        let ends = [[10, 0, 0, 1], [10, 0, 0, 2]].concat();
        let interfaces = [interface, interface, [0, 0, 0, last]].concat();
        [ends, vec![protocol], flags.to_vec(), interfaces, vec![0, 0, 0, 0, 0, last], vec![last]].concat()
    };
    let records = [
        record(6, [0, 2], [0, 0, 0, 1], 1),
        record(6, [0, 0], [0; 4], 1),
        record(17, [0, 0], [0; 4], 1),
        // The length of the TCP header stands before its flags.
        record(6, [0x50, 2], [0, 0, 0, 1], 1),
        record(6, [0, 2], [0x3F, 0xFF, 0xFF, 0xFF], 1),
        record(6, [0, 2], [0xFF; 4], 1),
        record(6, [0, 2], [0, 0, 0, 1], 0),
        record(6, [0, 2], [0, 0, 0, 1], 2),
    ];
    let expected: [&[u16]; 8] = [&[], &[], &[6], &[6], &[10, 14], &[10, 14], &[15, 56], &[61]];
    assert_eq!(numbers(&templates, &records.concat()), expected);
}

#[test]
fn g_06_what_a_field_of_the_catalogue_cannot_show_stays() {
    let templates = [fields(256, &[(0, 8, 4), (0, 12, 4), (0, 192, 2), (0, 18, 4), (0, 371, V), (0, 88, 2)])];
    let record = |ttl: u16, hop: u8, user: &[u8], offset: u16| {
        let ends = [[10, 0, 0, 1], [10, 0, 0, 2]].concat();
        let hop = vec![10 * hop, 0, 0, hop];
        [ends, ttl.to_be_bytes().to_vec(), hop, prefixed(user), offset.to_be_bytes().to_vec()].concat()
    };
    let records = [
        record(64, 1, b"ann  ", 0x1FFF),
        record(256, 1, b"ann\0\0", 0),
        record(0, 0, b"ann", 0),
        record(64, 1, b"", 0),
        record(64, 1, b" \0", 0),
        record(64, 1, b"an\xff", 0),
        record(64, 1, b"ann\0x", 0),
        record(64, 1, &[b'x'; 257], 0),
        record(64, 1, b"ann", 0x2000),
    ];
    let expected: [&[u16]; 9] = [&[], &[192], &[18], &[371], &[371], &[371], &[371], &[371], &[88]];
    assert_eq!(numbers(&templates, &records.concat()), expected);
    // The second of a field's elements has no other place.
    let templates = [fields(256, &[(0, 8, 4), (0, 12, 4), (0, 48, 1), (0, 302, 1)])];
    assert_eq!(numbers(&templates, &[10, 0, 0, 1, 10, 0, 0, 2, 3, 4]), [[48, 302]]);
}

#[test]
fn g_06_what_lists_say_otherwise_leaves_both_words() {
    let inner = fields(300, &[(0, 8, 4), (0, 12, 4), (0, 58, 2), (0, 192, 1)]);
    let flow = [10, 0, 0, 1, 10, 0, 0, 2, 0, 8, 64];
    // A record without addresses gives its row to the first flow of its list.
    let outer = fields(256, &[(0, 58, 2), (0, 192, 1), (0, 292, V)]);
    let record = [&[0, 7, 32][..], &prefixed(&sub(3, 300, &flow.repeat(2)))].concat();
    assert_eq!(numbers(&[outer, inner.clone()], &record), [&[58, 192, 292][..], &[]]);
    // The only record of a list says more of its flow, which has said some of it itself.
    let outer = fields(256, &[(0, 8, 4), (0, 12, 4), (0, 58, 2), (0, 192, 1), (0, 292, V)]);
    let inner = fields(300, &[(0, 58, 2), (0, 192, 1)]);
    let record = [&[10, 0, 0, 1, 10, 0, 0, 2, 0, 7, 32][..], &prefixed(&sub(3, 300, &[0, 8, 64]))].concat();
    assert_eq!(numbers(&[outer, inner], &record), [[292, 58, 192]]);
}
