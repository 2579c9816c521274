//! Everything that a record's own fields do not show: what `all` keeps of the wire.

use super::list::{data, fields, learned};
use super::*;

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
    // An address of three octets, a direction of neither kind, two families, stamps.
    let template = [(0, 8, 3), (0, 12, 4), (0, 28, 16), (0, 61, 1), (0, 152, 8), (0, 4, 1)];
    let record = [&[10, 0, 0][..], &[10, 0, 0, 2], &[0; 16], &[9], &[0; 8], &[6]].concat();
    let ids: Vec<u16> = kept(&template, &record).iter().map(|((_, id), _)| *id).collect();
    assert_eq!(ids, [8, 12, 28, 61, 152]);
    // Counters of a firewall's event.
    let template = [(0, 8, 4), (0, 12, 4), (0, 233, 1), (0, 231, 4), (0, 298, 4)];
    let record = [&[10, 0, 0, 1][..], &[10, 0, 0, 2], &[1], &[0, 0, 0, 5], &[0, 0, 0, 1]].concat();
    let ids: Vec<u16> = kept(&template, &record).iter().map(|((_, id), _)| *id).collect();
    assert_eq!(ids, [233, 231, 298]);
}
