//! Octets made to cost time or to overflow: what the decoder does with them, alone and measured.

use std::time::{Duration, Instant};

use clarion_collector::decode::{Datagram, DecodeSettings, Domain, Outcome, decode, identify};
use clarion_collector::flow::{FlowBatch, FlowRecord, Version};
use clarion_collector::limits::{FIELDS_PER_TEMPLATE_MAX, SAMPLING_RATE_MAX};
use clarion_collector::sink::encode::ndjson::write_ndjson;
use clarion_collector::sink::encode::{Counters, EncodeSettings, Encoder, Format, Progress};

use super::encode::{Field, Head, Row, VARIABLE, field, integer, set, variable, words};
use super::memory::held;
use super::siege::now_ns;

/// A message that fills a datagram, in a build without optimisation on a busy machine. A loop that does not end would
/// take for ever, one that is quadratic in 64 KiB minutes.
const PATIENCE: Duration = Duration::from_secs(5);

struct Bench {
    domain: Domain,
    batch: FlowBatch,
}

impl Bench {
    fn new(version: Version) -> Self {
        Self { domain: Domain::alone(version, 1, DecodeSettings::default()), batch: FlowBatch::with_capacity(64) }
    }

    fn decode(&mut self, octets: &[u8]) -> Outcome {
        self.batch.clear();
        let header = identify(octets).expect("a known version");
        let datagram = Datagram { peer: ([192, 0, 2, 1], 2_055).into(), receive_ns: now_ns(), octets };
        let begin = Instant::now();
        let outcome = decode(&datagram, &header, &self.domain, &mut self.batch);
        assert!(begin.elapsed() < PATIENCE, "{:?} for {} octets", begin.elapsed(), octets.len());
        outcome
    }
}

/// The most expensive template that is taken: its fields all mean something, or are kept, or vary in length.
#[test]
fn a_04_the_widest_templates_compile_in_time() {
    let ids: Vec<u16> = (1..=500).collect();
    for length in [1, VARIABLE] {
        let fields: Vec<Field> = (0..FIELDS_PER_TEMPLATE_MAX).map(|at| field(ids[at % ids.len()], length)).collect();
        let head = Head::new(Version::Ipfix, 1);
        let mut bench = Bench::new(Version::Ipfix);
        let outcome = bench.decode(&head.message(0, &[head.templates(&[head.template(256, &fields)])]));
        assert_eq!((outcome.templates_learned, outcome.templates_rejected), (1, 0));
        let too_many = [&fields[..], &[field(1, 1)]].concat();
        let outcome = bench.decode(&head.message(0, &[head.templates(&[head.template(257, &too_many)])]));
        assert_eq!((outcome.templates_learned, outcome.templates_rejected), (0, 1));
        // And its data: every field of every record.
        bench.decode(&head.message(0, &[set(256, &vec![0; 65_000])]));
    }
}

/// What takes no octets, wherever the formats have something that could.
#[test]
fn a_06_nothing_that_takes_no_octets_repeats() {
    let head = Head::new(Version::Ipfix, 1);
    let lists = [field(291, VARIABLE), field(292, VARIABLE), field(293, VARIABLE)];
    let empty = [field(1, 0), field(2, 0), field(4, 1)];
    let templates = head.templates(&[
        head.template(256, &lists),
        head.template(257, &empty),
        head.template(258, &[field(82, VARIABLE)]),
        head.template(259, &lists[1..2]),
    ]);
    let many = |octets: &[u8], times| variable(&octets.repeat(times));
    let bodies = [
        // Values of length 0; records of a template that may be empty; entries that say 0 to 3 octets.
        [many(&[3, 1, 44, 0, 0], 1), many(&[3, 1, 2], 1), variable(&[])].concat(),
        [variable(&[]), variable(&[&[3, 1, 2][..], &[0; 60_000]].concat()), variable(&[])].concat(),
        [variable(&[]), variable(&[]), variable(&[&[3][..], &[1, 1, 0, 0].repeat(9_000)].concat())].concat(),
        [variable(&[]), variable(&[]), variable(&[&[3][..], &[1, 1, 0, 4].repeat(9_000)].concat())].concat(),
        [variable(&[]), variable(&[&[3, 1, 3][..], &[3, 1, 3].repeat(9_000)].concat()), variable(&[])].concat(),
    ];
    for body in bodies {
        let mut bench = Bench::new(Version::Ipfix);
        bench.decode(&head.message(0, std::slice::from_ref(&templates)));
        let outcome = bench.decode(&head.message(0, &[set(256, &body)]));
        assert!(outcome.records <= 4_096);
    }
    for (id, body) in [(257, vec![0; 65_000]), (258, vec![0; 65_000])] {
        let mut bench = Bench::new(Version::Ipfix);
        bench.decode(&head.message(0, std::slice::from_ref(&templates)));
        bench.decode(&head.message(0, &[set(id, &body)]));
    }
    // Sets of no length at all, and as many sets as fit.
    for version in [Version::V9, Version::Ipfix] {
        let head = Head::new(version, 1);
        for sets in [vec![0; 60_000], words(&[300, 4]).repeat(15_000), words(&[2, 4]).repeat(15_000)] {
            Bench::new(version).decode(&head.message(0, &[sets]));
        }
    }
}

/// Sampling rates at the end of what a field holds, told by options and by records.
#[test]
fn a_09_rates_beyond_the_bound_are_not_believed() {
    for (fields, values) in [
        (vec![field(34, 8)], vec![u64::MAX]),
        (vec![field(50, 4)], vec![u64::from(u32::MAX)]),
        (vec![field(305, 8), field(306, 8)], vec![1, u64::MAX]),
        (vec![field(305, 8), field(306, 8)], vec![u64::MAX, u64::MAX]),
        (vec![field(309, 8), field(310, 8)], vec![1, u64::MAX]),
        (vec![field(311, 8)], vec![1]),
    ] {
        let octets: Vec<u8> = fields.iter().zip(&values).flat_map(|(f, v)| integer(*v, f.length.into())).collect();
        let head = Head::new(Version::Ipfix, 1);
        let flow = [field(8, 4), field(1, 8), field(2, 8)];
        let full = [vec![10, 0, 0, 1], vec![0xFF; 16]].concat();
        // In the record itself.
        let mut bench = Bench::new(Version::Ipfix);
        let template = head.template(256, &[&flow[..], &fields].concat());
        bench.decode(
            &head.message(0, &[head.templates(&[template]), set(256, &[full.clone(), octets.clone()].concat())]),
        );
        judge(&bench, &values);
        // For the domain, by options.
        let mut bench = Bench::new(Version::Ipfix);
        let options = head.options_template(300, &[field(144, 4)], &fields);
        bench.decode(&head.message(
            0,
            &[
                head.options_templates(&[options]),
                set(300, &[vec![0, 0, 0, 1], octets].concat()),
                head.templates(&[head.template(256, &flow)]),
                set(256, &full),
            ],
        ));
        judge(&bench, &values);
    }
}

fn judge(bench: &Bench, values: &[u64]) {
    let row = bench.batch.records.last().expect("a flow");
    assert!((1..=SAMPLING_RATE_MAX).contains(&row.rate()), "{values:?}: {row:?}");
    // Every output, with the counters multiplied: nothing overflows.
    let settings = EncodeSettings { format: Format::BackendJson, extra_keys: true, counters: Counters::Scaled };
    let mut encoder = Encoder::new(settings, 10, 1 << 20);
    encoder.append(&bench.batch, &mut Progress::default());
    let mut line = Vec::new();
    write_ndjson(row, &bench.batch, 0, &mut line);
    assert!(!line.is_empty());
}

/// Each octet of a message of each version at its extremes, one at a time and all together. Overflow checks are on.
#[test]
fn a_22_every_field_at_its_extremes() {
    let head = |version| Head::new(version, 1);
    let fields: Vec<Field> = (1..=520).map(|id| field(id, if id % 3 == 0 { 8 } else { 4 })).collect();
    let (v9, ipfix) = (head(Version::V9), head(Version::Ipfix));
    let plain = [field(8, 4), field(1, 8), field(2, 8), field(22, 4), field(21, 4), field(10, 4), field(152, 8)];
    let body = [plain, plain].concat().iter().flat_map(|f| vec![1; f.length.into()]).collect::<Vec<u8>>();
    let options = v9.options_templates(&[v9.options_template(300, &[field(1, 4)], &[field(48, 1), field(50, 4)])]);
    let messages = [
        head(Version::V1).rows(&[Row::default(); 2]),
        head(Version::V5).rows(&[Row::default(); 2]),
        head(Version::V7).rows(&[Row::default(); 2]),
        v9.message(2, &[v9.templates(&[v9.template(256, &plain)]), set(256, &body), options, set(300, &[1; 9])]),
        ipfix.message(0, &[ipfix.templates(&[ipfix.template(256, &plain)]), set(256, &body)]),
        ipfix.message(0, &[ipfix.templates(&[ipfix.template(256, &fields[..200])]), set(256, &[0xFF; 3_000])]),
        ipfix.message(0, &[ipfix.templates(&[ipfix.template(256, &fields[200..])]), set(256, &[0xFF; 3_000])]),
    ];
    let before = held();
    for octets in messages {
        let version = identify(&octets).expect("a known version").version;
        // The version word stays, so that each reaches its decoder.
        for at in 2..octets.len() {
            for value in [0, 1, 0x7F, 0x80, 0xFE, 0xFF] {
                let mut octets = octets.clone();
                octets[at] = value;
                rows_are_whole(&Bench::new(version).decoded(&octets));
            }
        }
        for value in [0, 0x7F, 0x80, 0xFF] {
            let mut octets = octets.clone();
            octets[2..].fill(value);
            rows_are_whole(&Bench::new(version).decoded(&octets));
        }
    }
    assert!(held() - before < 64 << 20);
}

impl Bench {
    fn decoded(mut self, octets: &[u8]) -> Vec<FlowRecord> {
        self.decode(octets);
        self.batch.records
    }
}

fn rows_are_whole(rows: &[FlowRecord]) {
    for row in rows {
        assert!(row.start_ms <= row.end_ms && (1..=SAMPLING_RATE_MAX).contains(&row.rate()), "{row:?}");
    }
}
