//! What makers of exporters do beside the standards, as messages by the facts (docs/protocols.md has the table).

use super::*;

/// Fields with both families of masks, and the record's: only the mask of its address is the flow's.
#[test]
fn masks_are_those_of_the_addresss_family() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 1);
    let fields = [8, 4, 27, 16, 9, 1, 29, 1];
    let v4 = [&[10, 0, 0, 1][..], &[0; 16], &[24, 64]].concat();
    let v6 = [&[0; 4][..], &[0x20; 16], &[24, 64]].concat();
    let none = [&[0; 20][..], &[24, 0]].concat();
    bench.decode(&domain, &v9(1, 1, &[set(0, &template(256, &fields)), set(256, &[v4, v6, none].concat())]));
    let masks: Vec<_> = bench.batch.records.iter().map(|r| (r.has(Presence::SRC_MASK), r.src_mask)).collect();
    assert_eq!(masks, [(true, 24), (true, 64), (true, 24)]);
    // One family's mask alone is the record's whatever it is, and in any width.
    for (length, octets) in [(1, vec![0]), (2, vec![0, 48])] {
        let fields = [4, 1, 29, length];
        let body = [vec![6], octets].concat();
        bench.decode(&domain, &v9(1, 2, &[set(0, &template(257, &fields)), set(257, &[body, vec![6; 3]].concat())]));
        assert!(bench.batch.records.iter().rev().nth(1).unwrap().has(Presence::SRC_MASK), "{length}");
    }
}

/// Data of a template that is decoded in full, or the message is wrong.
fn decoded(version: Version, sets: &[Vec<u8>]) -> Vec<FlowRecord> {
    let mut bench = Bench::new();
    let domain = bench.domain(version, 1);
    let octets = if version == Version::V9 { v9(1, 1, sets) } else { ipfix(1, 1, sets) };
    let outcome = bench.decode(&domain, &octets);
    assert_eq!((outcome.rejected, outcome.sets_dropped.iter().sum::<u32>(), outcome.sets_parked), (None, 0, 0));
    bench.batch.records
}

/// An enterprise field of IPFIX: its words.
fn of(pen: u32, id: u16, length: u16) -> [u16; 4] {
    [0x8000 | id, length, (pen >> 16) as u16, pen as u16]
}

fn enterprise_template(id: u16, fields: &[&[u16]]) -> Vec<u8> {
    words(&[&[id, u16::try_from(fields.len()).unwrap()], &fields.concat()[..]].concat())
}

#[test]
fn maker_cisco_asa_sends_sixteen_templates_in_one_datagram() {
    let templates: Vec<u8> = (256..272).flat_map(|id| template(id, &[148, 4, 8, 4, 12, 4, 233, 1])).collect();
    let data: Vec<Vec<u8>> = (256..272).map(|id| set(id, &[1; 13])).collect();
    let rows = decoded(Version::V9, &[&[set(0, &templates)], &data[..]].concat());
    assert_eq!(rows.iter().map(|r| r.template_id).collect::<Vec<_>>(), (256..272).collect::<Vec<_>>());
}

/// SRX: the scope of an options template takes no octets. MX: options of domain 0, data of a large one.
#[test]
fn maker_juniper_scopes_of_no_octets_and_options_of_another_domain() {
    let mut bench = Bench::new();
    let of_options = bench.domain(Version::V9, 0);
    let options = words(&[257, 4, 4, 1, 0, 34, 4]);
    let outcome = bench.decode(&of_options, &v9(0, 1, &[set(1, &options), set(257, &[0, 0, 0, 100])]));
    assert_eq!(outcome.options_records, 1);
    let domain = bench.domain(Version::V9, 2_064_641);
    bench.decode(&domain, &v9(2_064_641, 1, &[set(0, &template(256, &TEMPLATE)), set(256, &row(1))]));
    assert_eq!((bench.last().rate(), bench.last().sampling_source), (100, SamplingSource::Exporter));
}

/// The rate stands in each record, and beats what options say.
#[test]
fn maker_huawei_rates_in_data_records_beat_options() {
    let options = words(&[257, 4, 4, 1, 4, 34, 4]);
    let fields = [8, 4, 12, 4, 34, 4];
    let data = [10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 4, 0];
    let rows = decoded(
        Version::V9,
        &[set(1, &options), set(257, &[0, 0, 0, 0, 0, 0, 0, 100]), set(0, &template(256, &fields)), set(256, &data)],
    );
    assert_eq!((rows[0].rate(), rows[0].sampling_source), (1_024, SamplingSource::Record));
}

/// FortiGate's options 256: a scope of 2 octets, counters of the box, and the rate among them.
#[test]
fn maker_fortinet_options_with_a_scope_of_two_octets() {
    let fields = [40_u16, 8, 41, 8, 42, 8, 36, 2, 37, 2, 34, 4, 35, 1];
    let options = words(&[&[256, 4, 28, 1, 2], &fields[..]].concat());
    let record = [&[0; 2 + 24 + 4][..], &[0, 0, 0, 50, 2]].concat();
    let rows = decoded(
        Version::V9,
        &[set(1, &options), set(256, &record), set(0, &template(258, &TEMPLATE)), set(258, &row(1))],
    );
    assert_eq!((rows.len(), rows[0].rate()), (1, 50));
}

/// Sets whose length is no multiple of four, one behind the other.
#[test]
fn maker_softflowd_sets_are_not_padded() {
    for version in [Version::V9, Version::Ipfix] {
        let ids = if version == Version::V9 { 0 } else { 2 };
        let sets = [set(ids, &template(256, &TEMPLATE)), set(256, &row(1)), set(256, &rows(2..4)), set(256, &row(4))];
        let octets: Vec<u64> = decoded(version, &sets).iter().map(|r| r.bytes).collect();
        assert_eq!(octets, [1, 2, 3, 4], "{version:?}");
    }
}

/// Addresses of the tunnel are not those of the flow; 88 templates; times as offsets from the export time.
#[test]
fn maker_vmware_and_open_vswitch_tunnels_many_templates_and_offsets() {
    let tunnel = [of(6_876, 880, 1), of(6_876, 881, 4), of(6_876, 882, 4)];
    let fields = |id| enterprise_template(id, &[&tunnel[0], &tunnel[1], &tunnel[2], &[8, 4], &[158, 4], &[159, 4]]);
    let templates: Vec<u8> = (256..344).flat_map(fields).collect();
    let data = [&[1, 9, 9, 9, 9, 8, 8, 8, 8, 10, 0, 0, 1][..], &words(&[22, 58_208, 0, 0])].concat();
    let rows = decoded(Version::Ipfix, &[set(2, &templates), set(343, &data)]);
    assert_eq!((rows[0].src_ip(), rows[0].dst_ip()), (Some("10.0.0.1".parse().unwrap()), None));
    let export_ms = u64::from(EXPORT_S) * 1_000;
    assert_eq!((rows[0].start_ms, rows[0].end_ms), (export_ms - 1_500, export_ms));
}

/// NetScaler: more than 80 templates full of elements that nobody else knows; Procera, Versa, Viptela likewise.
#[test]
fn g_06_unknown_enterprise_elements_never_cost_a_template() {
    for pen in [5_951, 15_397, 42_359, 41_916, u32::MAX] {
        let fields = |id| enterprise_template(id, &[&of(pen, 32_767, 3), &[8, 4], &of(pen, 128, 0xFFFF), &[1, 4]]);
        let templates: Vec<u8> = (256..333).flat_map(fields).collect();
        let data = [&[7, 7, 7, 10, 0, 0, 1][..], &[2, 9, 9], &[0, 0, 1, 0]].concat();
        let rows = decoded(Version::Ipfix, &[set(2, &templates), set(332, &data)]);
        assert_eq!((rows[0].src_ip(), rows[0].bytes), (Some("10.0.0.1".parse().unwrap()), 256));
    }
}

/// SR OS: 305 = 1 with 306 = N - 1; NAT logs with text of variable length and padding elements.
#[test]
fn maker_nokia_rates_in_two_parts_and_nat_logs() {
    let options = words(&[300, 3, 1, 302, 4, 305, 4, 306, 4]);
    let sampler = [1_u32, 1, 999].map(u32::to_be_bytes).concat();
    let nat =
        [&[230, 1][..], &of(637, 91, 0xFFFF), &[210, 3], &of(637, 93, 0xFFFF), &[323, 8], &[8, 4], &[210, 0xFFFF]];
    let log = [&[1, 3][..], b"abc", &[0; 3], &[0], &1_699_999_999_000_u64.to_be_bytes(), &[10, 0, 0, 9], &[2, 0, 0]];
    let rows = decoded(
        Version::Ipfix,
        &[
            set(3, &options),
            set(300, &sampler),
            set(2, &[template(256, &[8, 4, 302, 4]), enterprise_template(257, &nat)].concat()),
            set(256, &[10, 0, 0, 1, 0, 0, 0, 1]),
            set(257, &log.concat()),
        ],
    );
    assert_eq!((rows[0].rate(), rows[0].sampling_source), (1_000, SamplingSource::Sampler));
    assert_eq!((rows[1].src_ip(), rows[1].start_ms), (Some("10.0.0.9".parse().unwrap()), 1_699_999_999_000));
    assert!(rows[1].has(Presence::EVENT));
}

/// Templates with four octets of padding behind them in their set, then data.
#[test]
fn maker_ixia_padding_behind_templates() {
    let padded = [template(256, &TEMPLATE), vec![0; 4]].concat();
    assert_eq!(decoded(Version::Ipfix, &[set(2, &padded), set(256, &row(1))]).len(), 1);
}

/// Options of five scopes and one field.
#[test]
fn maker_ipt_netflow_options_of_many_scopes() {
    let options = words(&[300, 6, 5, 144, 4, 10, 4, 302, 4, 346, 4, 149, 4, 305, 4]);
    let record = [1_u32, 2, 3, 4, 5, 6].map(u32::to_be_bytes).concat();
    let mut bench = Bench::new();
    let domain = bench.domain(Version::Ipfix, 1);
    let outcome =
        bench.decode(&domain, &ipfix(1, 1, &[set(3, &options), set(300, &[record.clone(), record].concat())]));
    assert_eq!((outcome.options_records, outcome.templates_rejected, outcome.records), (2, 0, 0));
}
