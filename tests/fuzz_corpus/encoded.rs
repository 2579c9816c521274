//! Seeds by the encoder: conversations of shapes that are tedious by hand, and templates for the target `reference`.

use clarion_collector::flow::Version;

use super::encode::{
    Field, Head, NSEL, Row, VARIABLE, enterprise, field, frame, ip, nsel, record, reverse, set, sub_template_list,
    transport,
};
use super::seeds::talk;

const FLOW: [Field; 3] = [field(8, 4), field(12, 4), field(1, 4)];

/// Inputs of the target `conversation`.
pub fn conversations() -> Vec<(&'static str, Vec<u8>)> {
    let ipfix = |domain| Head::new(Version::Ipfix, domain);
    let at_ms = u64::from(ipfix(1).export_s) * 1_000;
    let flow = |n: u8| [10, 0, 0, n, 10, 0, 1, n, 0, 0, 1, n];
    let biflow = [&FLOW[..], &[reverse(1, 4), enterprise(6_871, 14, 1)]].concat();
    let both = [&flow(1)[..], &[0, 0, 0, 9, 2], &flow(2), &[0, 0, 0, 8, 2]].concat();
    let events = [(1, [0, 0]), (5, [70, 7]), (2, [70, 7])];
    let events: Vec<u8> = events.iter().flat_map(|(event, octets)| nsel(1, *event, *octets, at_ms)).collect();
    let nsel_message = ipfix(2).message(0, &[ipfix(2).templates(&[ipfix(2).template(256, &NSEL)]), set(256, &events)]);
    let segment = transport(17, [53, 53], 0);
    let packet = ip([192, 0, 2, 1].into(), [192, 0, 2, 2].into(), 17, 8, 0, &segment);
    let lists = [field(315, VARIABLE), field(292, VARIABLE)];
    let inner = sub_template_list(3, 257, &[flow(1).to_vec(), flow(2).to_vec()]);
    let listed = record(&lists, &[frame([[2; 6], [4; 6]], &[5], &[], &packet), inner]);
    let scopes = [field(302, 1), field(149, 4), field(10, 4), enterprise(9, 77, 2), field(346, 4)];
    let options = ipfix(5).options_template(300, &scopes, &[field(305, 4)]);
    let row = Row { counters: [1, 99], stamps: [7_100_000, 7_199_000], ports: [1, 0x0303], ..Row::default() };
    vec![
        (
            "encoded_biflows",
            talk(&[
                (false, ipfix(1).message(0, &[set(256, &both)])),
                (false, ipfix(1).message(0, &[ipfix(1).templates(&[ipfix(1).template(256, &biflow)])])),
            ]),
        ),
        ("encoded_firewall", talk(&[(false, nsel_message.clone()), (true, nsel_message)])),
        (
            "encoded_fixed",
            talk(&[Version::V1, Version::V5, Version::V7].map(|v| (false, Head::new(v, 1).rows(&[row])))),
        ),
        (
            "encoded_lists",
            talk(&[(
                false,
                ipfix(3).message(
                    0,
                    &[
                        ipfix(3).templates(&[ipfix(3).template(256, &lists), ipfix(3).template(257, &FLOW)]),
                        set(256, &listed),
                    ],
                ),
            )]),
        ),
        (
            "encoded_options",
            talk(&[
                (false, ipfix(5).message(0, &[ipfix(5).options_templates(&[options]), set(300, &[1; 19])])),
                (
                    false,
                    ipfix(5).message(0, &[ipfix(5).templates(&[ipfix(5).template(256, &FLOW)]), set(256, &flow(3))]),
                ),
            ]),
        ),
    ]
}

/// Inputs of the target `reference`: octets that become templates of every length and both versions.
pub fn templates() -> Vec<(&'static str, Vec<u8>)> {
    let names = ["mixed_0", "mixed_1", "mixed_2", "mixed_3", "mixed_4", "mixed_5", "mixed_6", "mixed_7"];
    let octets = |seed: u32| {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..300).map(|_| next()).collect::<Vec<u8>>()
    };
    (0..).zip(names).map(|(seed, name)| (name, octets(seed))).collect()
}
