//! Datagrams of our own making for the fuzz corpus: one of each shape that the protocols have, and the classic
//! lies. Written by hand octet by octet, so that the decoder is not tested with an encoder of its own family.

/// Export time of all headers: 2025-01-01.
const EXPORT_S: u32 = 1_735_689_600;
const UPTIME_MS: u32 = 3_600_000;

/// Big-endian octets.
#[derive(Default)]
struct Wire(Vec<u8>);

impl Wire {
    fn words(mut self, words: &[u16]) -> Self {
        words.iter().for_each(|w| self.0.extend(w.to_be_bytes()));
        self
    }

    fn longs(mut self, longs: &[u32]) -> Self {
        longs.iter().for_each(|l| self.0.extend(l.to_be_bytes()));
        self
    }

    fn octets(mut self, octets: &[u8]) -> Self {
        self.0.extend_from_slice(octets);
        self
    }

    /// A set with its header, not padded.
    fn set(self, id: u16, body: Wire) -> Self {
        let length = u16::try_from(body.0.len() + 4).unwrap();
        self.words(&[id, length]).octets(&body.0)
    }
}

fn wire() -> Wire {
    Wire::default()
}

fn v5(count: u16, records: u16, sampling: u16) -> Vec<u8> {
    let mut w =
        wire().words(&[5, count]).longs(&[UPTIME_MS, EXPORT_S, 500_000, 1000]).octets(&[1, 2]).words(&[sampling]);
    for i in 0..records {
        w = w
            .octets(&[192, 0, 2, 1, 198, 51, 100, i as u8, 192, 0, 2, 254])
            .words(&[1, 2])
            .longs(&[10, 1500 + u32::from(i), UPTIME_MS - 5000, UPTIME_MS - 1000])
            .words(&[49152 + i, 443])
            .octets(&[0, 0x1b, 6, 0])
            .words(&[64500, 64501])
            .octets(&[24, 16, 0, 0]);
    }
    w.0
}

fn v1() -> Vec<u8> {
    let record = wire()
        .octets(&[192, 0, 2, 1, 198, 51, 100, 2, 0, 0, 0, 0])
        .words(&[1, 2])
        .longs(&[3, 180, UPTIME_MS - 5000, UPTIME_MS - 1000])
        .words(&[1234, 53, 0])
        .octets(&[17, 0, 0])
        .octets(&[0; 7]);
    wire().words(&[1, 1]).longs(&[UPTIME_MS, EXPORT_S, 0]).octets(&record.0).0
}

fn v7() -> Vec<u8> {
    let record = wire()
        .octets(&[192, 0, 2, 1, 198, 51, 100, 2, 0, 0, 0, 0])
        .words(&[1, 2])
        .longs(&[3, 180, UPTIME_MS - 5000, UPTIME_MS - 1000])
        .words(&[1234, 53])
        .octets(&[0, 0, 17, 0])
        .words(&[0, 0])
        .octets(&[24, 24])
        .words(&[0])
        .octets(&[192, 0, 2, 254]);
    wire().words(&[7, 1]).longs(&[UPTIME_MS, EXPORT_S, 0, 77, 0]).octets(&record.0).0
}

fn v9(count: u16, sequence: u32, source_id: u32, sets: Wire) -> Vec<u8> {
    wire().words(&[9, count]).longs(&[UPTIME_MS, EXPORT_S, sequence, source_id]).octets(&sets.0).0
}

fn ipfix(sequence: u32, domain: u32, sets: Wire) -> Vec<u8> {
    let length = u16::try_from(sets.0.len() + 16).unwrap();
    wire().words(&[10, length]).longs(&[EXPORT_S, sequence, domain]).octets(&sets.0).0
}

/// Fields of a plain IPv4 flow in v9: addresses, ports, protocol, counters, sysUpTime stamps, interface, SGT.
const V9_FIELDS: [(u16, u16); 12] =
    [(8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 4), (2, 4), (22, 4), (21, 4), (10, 2), (34000, 2), (58, 2)];

fn template(id: u16, fields: &[(u16, u16)]) -> Wire {
    let count = u16::try_from(fields.len()).unwrap();
    fields.iter().fold(wire().words(&[id, count]), |w, (kind, length)| w.words(&[*kind, *length]))
}

fn v9_data(records: u32) -> Wire {
    (0..records).fold(wire(), |w, i| {
        w.octets(&[192, 0, 2, 1, 203, 0, 113, i as u8])
            .words(&[40000, 80])
            .octets(&[6])
            .longs(&[i + 1, 2, UPTIME_MS - 9000, UPTIME_MS - 10])
            .words(&[7, 100, 42])
    })
}

/// Options template of v9: scope System, then a sampler (id, mode, interval).
fn v9_options_template() -> Wire {
    wire().words(&[257, 4, 12]).words(&[1, 4]).words(&[48, 1, 49, 1, 50, 4])
}

fn v9_options_data() -> Wire {
    wire().longs(&[0]).octets(&[1, 2]).longs(&[1000])
}

/// IPFIX template with milliseconds, a variable-length name, an enterprise field and a reverse counter.
fn ipfix_template(id: u16) -> Wire {
    wire()
        .words(&[id, 9])
        .words(&[27, 16, 28, 16, 4, 1, 1, 8, 152, 8, 153, 8, 82, 65535])
        .words(&[0x8000 | 1232, 2])
        .longs(&[9])
        .words(&[0x8000 | 1, 8])
        .longs(&[29305])
}

fn ipfix_data(name: &[u8]) -> Wire {
    let mut source = [0; 16];
    source[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    let w = wire().octets(&source).octets(&source).octets(&[58]).longs(&[0, 4096]);
    let start = u64::from(EXPORT_S) * 1000;
    let w = w.octets(&(start - 2000).to_be_bytes()).octets(&start.to_be_bytes());
    let w = match u8::try_from(name.len()) {
        Ok(short) if short < 255 => w.octets(&[short]),
        _ => w.octets(&[255]).words(&[u16::try_from(name.len()).unwrap()]),
    };
    w.octets(name).words(&[100]).longs(&[0, 99])
}

fn ipfix_options() -> Wire {
    let template = wire().words(&[300, 3, 1, 302, 4, 305, 4, 306, 4]);
    wire().set(3, template).set(300, wire().longs(&[1, 1, 999]))
}

/// basicList of ports, and a subTemplateList over template 256.
fn ipfix_lists() -> Wire {
    let template = wire().words(&[301, 2, 291, 65535, 292, 65535]);
    let basic = wire().octets(&[255]).words(&[7, 2, 80, 443]);
    let sub = wire().octets(&[255]).words(&[302]).octets(&[6, 17]);
    let data = wire().octets(&[basic.0.len() as u8]).octets(&basic.0).octets(&[sub.0.len() as u8]).octets(&sub.0);
    wire().set(2, template).set(2, wire().words(&[302, 1, 4, 1])).set(301, data)
}

fn v9_template_and_data() -> Vec<u8> {
    v9(3, 1, 7, wire().set(0, template(256, &V9_FIELDS)).set(256, v9_data(2).octets(&[0, 0])))
}

fn ipfix_template_and_data() -> Vec<u8> {
    ipfix(1, 7, wire().set(2, ipfix_template(256)).set(256, ipfix_data(b"Gi0/0").octets(&ipfix_data(&[b'x'; 300]).0)))
}

/// Inputs of the target `datagram`.
pub fn datagrams() -> Vec<(&'static str, Vec<u8>)> {
    let cut = |octets: Vec<u8>, less: usize| octets[..octets.len() - less].to_vec();
    vec![
        ("empty", Vec::new()),
        ("one_octet", vec![0]),
        ("v1", v1()),
        ("v5_one", v5(1, 1, 0)),
        ("v5_full_sampled", v5(30, 30, 0x4064)),
        ("v5_count_0", v5(0, 0, 0)),
        ("v5_count_31", v5(31, 31, 0)),
        ("v5_short", cut(v5(2, 2, 0), 1)),
        ("v5_trailing", [v5(1, 1, 0), vec![0; 48]].concat()),
        ("v7", v7()),
        ("v8_header", wire().words(&[8, 1]).longs(&[0; 6]).0),
        ("sflow_header", wire().longs(&[5, 1, 0x7f00_0001, 0, 1, 1, 0]).0),
        ("v9_template_and_data", v9_template_and_data()),
        ("v9_data_then_template", v9(2, 1, 7, wire().set(256, v9_data(1)).set(0, template(256, &V9_FIELDS)))),
        ("v9_options", v9(2, 1, 7, wire().set(1, v9_options_template()).set(257, v9_options_data()))),
        ("v9_zero_filled", [v9_template_and_data(), vec![0; 60]].concat()),
        ("v9_set_length_0", v9(1, 1, 7, wire().words(&[256, 0, 1, 2]))),
        ("v9_set_too_long", v9(1, 1, 7, wire().words(&[0, 400, 256, 90]))),
        ("v9_zero_length_field", {
            let fields = template(256, &[(8, 4), (90, 0)]);
            v9(2, 1, 7, wire().set(0, fields).set(256, wire().longs(&[0xc000_0201])))
        }),
        ("v9_all_zero_lengths", v9(2, 1, 7, wire().set(0, template(256, &[(8, 0)])).set(256, wire().longs(&[1])))),
        ("v9_octet_records", v9(2, 1, 7, wire().set(0, template(256, &[(4, 1)])).set(256, wire().octets(&[6; 64])))),
        ("v9_odd_lengths", {
            let fields = template(256, &[(8, 5), (27, 3), (1, 7), (2, 9), (56, 8), (22, 8)]);
            v9(2, 1, 7, wire().set(0, fields).set(256, wire().octets(&[1; 80])))
        }),
        ("ipfix_template_and_data", ipfix_template_and_data()),
        ("ipfix_options", ipfix(1, 0, ipfix_options())),
        ("ipfix_lists", ipfix(1, 7, ipfix_lists())),
        ("ipfix_withdrawal", ipfix(1, 7, wire().set(2, wire().words(&[256, 0])).set(2, wire().words(&[2, 0])))),
        ("ipfix_length_lies", cut(ipfix_template_and_data(), 3)),
        ("ipfix_variable_past_the_set", {
            let fields = template(256, &[(82, 65535), (4, 1)]);
            ipfix(1, 7, wire().set(2, fields).set(256, wire().octets(&[255, 0xff, 0xff, 1, 2, 3])))
        }),
        ("ipfix_reserved_sets", ipfix(1, 7, wire().set(0, wire().longs(&[1])).set(255, wire().longs(&[2])))),
    ]
}

/// Inputs of the target `conversation`.
pub fn conversations() -> Vec<(&'static str, Vec<u8>)> {
    let template_256 = |fields: &[(u16, u16)]| v9(1, 1, 7, wire().set(0, template(256, fields)));
    let data = |sequence, records| v9(records as u16, sequence, 7, wire().set(256, v9_data(records)));
    vec![
        ("v9_template_then_data", talk(&[(false, template_256(&V9_FIELDS)), (false, data(2, 3)), (false, data(3, 1))])),
        ("v9_data_then_template", talk(&[(false, data(1, 2)), (false, data(2, 1)), (false, template_256(&V9_FIELDS))])),
        ("v9_parked_too_long", talk(&[(false, data(1, 2)), (true, template_256(&V9_FIELDS)), (false, data(2, 1))])),
        (
            "v9_redefinition",
            talk(&[
                (false, template_256(&V9_FIELDS)),
                (false, data(2, 2)),
                (false, template_256(&[(12, 4), (8, 4), (1, 8)])),
                (false, data(4, 2)),
            ]),
        ),
        (
            "v9_id_changes_kind",
            talk(&[
                (false, v9(1, 1, 7, wire().set(1, v9_options_template()))),
                (false, v9(1, 2, 7, wire().set(257, v9_options_data()))),
                (false, v9(1, 3, 7, wire().set(0, template(257, &V9_FIELDS)))),
                (false, v9(1, 4, 7, wire().set(257, v9_data(1)))),
            ]),
        ),
        (
            "v9_sampled_by_options",
            talk(&[
                (false, v9(1, 1, 7, wire().set(1, v9_options_template()).set(257, v9_options_data()))),
                (false, v9_template_and_data()),
            ]),
        ),
        (
            "ipfix_two_domains",
            talk(&[
                (false, ipfix(0, 1, wire().set(2, ipfix_template(256)))),
                (false, ipfix(0, 2, wire().set(256, ipfix_data(b"")))),
                (false, ipfix(0, 1, wire().set(256, ipfix_data(b"a")))),
                (false, ipfix(9, 2, wire().set(2, ipfix_template(256)))),
            ]),
        ),
        (
            "ipfix_withdrawn_over_udp",
            talk(&[
                (false, ipfix_template_and_data()),
                (false, ipfix(3, 7, wire().set(2, wire().words(&[256, 0])))),
                (true, ipfix(3, 7, wire().set(256, ipfix_data(b"b")))),
            ]),
        ),
        (
            "versions_mixed",
            talk(&[
                (false, v5(2, 2, 0)),
                (false, ipfix(0, 0, ipfix_options())),
                (false, v9_template_and_data()),
                (false, v1()),
            ]),
        ),
        ("cut_off", vec![0x00, 0xff, 0, 9, 0]),
    ]
}

/// Datagrams as the target `conversation` reads them; `true` is a pause before.
pub fn talk(datagrams: &[(bool, Vec<u8>)]) -> Vec<u8> {
    datagrams.iter().fold(Vec::new(), |mut out, (pause, octets)| {
        let word = u16::try_from(octets.len()).unwrap() | if *pause { 0x8000 } else { 0 };
        out.extend(word.to_be_bytes());
        out.extend_from_slice(octets);
        out
    })
}
