//! `Encoder`: the open body of one batcher.
//!
//! Enters: FlowBatches, from any position on. Leaves: EncodedBatches of at most so many records and
//! octets. Everything is committed record by record, in the order body, end, run: whatever happens
//! inside a record, the body can be cut back to the last whole one. Buffers live as long as the
//! encoder; nothing is allocated per record, and per body only what leaves with it.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::chosen::Chosen;
use super::line::{Line, json_string};
use super::{EncodeSettings, EncodedBatch, Format, OutputFields, Written, json, ndjson};
use crate::flow::{Exporter, FlowBatch};
use crate::sink::ExporterRun;

/// How far the encoder came in a FlowBatch. Belongs to the caller, so that it survives a panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Index of the first record that was not looked at.
    pub next: usize,
    /// Records that the format cannot carry.
    pub not_representable: u64,
    /// Records that are events, which the format has no place for.
    pub events: u64,
    /// Records with a counter cut to 2^63-1.
    pub clamped: u64,
}

/// Is there room for more?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// Yes; the FlowBatch was read to its end.
    Open,
    /// No: finish the body, then go on with the FlowBatch where [`Progress`] says.
    Full,
}

/// The switch_ids of an open body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Switches {
    /// No record yet.
    None,
    /// All records share the one in `Encoder::shared`.
    One,
    /// At least two.
    Several,
}

/// Turns records into a body.
#[derive(Debug)]
pub struct Encoder {
    settings: EncodeSettings,
    /// What the operator chose beyond the keys that are always there.
    chosen: Option<Box<Chosen>>,
    records_max: usize,
    octets_max: usize,
    body: Vec<u8>,
    record_ends: Vec<u32>,
    runs: Vec<ExporterRun>,
    oldest_receive: u64,
    newest_receive: u64,
    line: Line,
    /// Exporter of the record at hand, and its end of a record: key, escaped switch_id, brace.
    exporter: Option<Arc<Exporter>>,
    switch: Vec<u8>,
    /// The record at hand's exporter has a run in this body.
    in_run: bool,
    switches: Switches,
    shared: Vec<u8>,
}

impl Encoder {
    /// An encoder for bodies of at most `records_max` records (at least one) and `octets_max` octets;
    /// a single record that is longer goes out alone.
    #[must_use]
    pub fn new(settings: EncodeSettings, records_max: usize, octets_max: usize) -> Self {
        Self {
            settings,
            chosen: None,
            records_max: records_max.max(1),
            octets_max,
            body: Vec::new(),
            record_ends: Vec::new(),
            runs: Vec::new(),
            oldest_receive: u64::MAX,
            newest_receive: 0,
            line: Line::new(),
            exporter: None,
            switch: Vec::new(),
            in_run: false,
            switches: Switches::None,
            shared: Vec::new(),
        }
    }

    /// The same with what the operator chose: beside the keys of the contract, instead of those of NDJSON.
    #[must_use]
    pub fn with_fields(self, fields: &OutputFields) -> Self {
        Self { chosen: Chosen::new(fields), ..self }
    }

    /// Records are written so from here on. The format cannot change: the open body keeps its own.
    pub fn write_as(&mut self, settings: EncodeSettings, fields: &OutputFields) {
        self.settings = EncodeSettings { format: self.settings.format, ..settings };
        self.chosen = Chosen::new(fields);
    }

    /// Records in the open body.
    #[must_use]
    pub fn records(&self) -> usize {
        self.record_ends.len()
    }

    /// True if the open body has no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.record_ends.is_empty()
    }

    /// Encodes `batch` from `progress.next` on, until its end or until the body is full.
    ///
    /// # Panics
    /// If a record's exporter is none of the batch's: a mistake of the program, not of the network.
    /// The caller then calls [`Encoder::discard_partial`]; `progress` names the record.
    pub fn append(&mut self, batch: &FlowBatch, progress: &mut Progress) -> Fill {
        let mut entered = None;
        while let Some(record) = batch.records.get(progress.next) {
            if self.record_ends.len() >= self.records_max {
                return Fill::Full;
            }
            if entered != Some(record.exporter) {
                self.enter(&batch.exporters[usize::from(record.exporter)]);
                entered = Some(record.exporter);
            }
            let start = self.body.len();
            let mut clamped = 0;
            match self.settings.format {
                Format::BackendJson => {
                    match json::record(record, self.settings, &mut self.line) {
                        Written::Whole => {}
                        Written::Clamped => clamped = 1,
                        Written::NotRepresentable => {
                            progress.not_representable += 1;
                            progress.next += 1;
                            continue;
                        }
                        Written::Event => {
                            progress.events += 1;
                            progress.next += 1;
                            continue;
                        }
                    }
                    self.join(json::HEAD, json::SEPARATOR);
                    self.body.extend_from_slice(self.line.as_bytes());
                    if let Some(chosen) = &mut self.chosen {
                        let place = (batch, progress.next);
                        let cut = chosen.beside_contract(record, place, self.settings, &mut self.line, &mut self.body);
                        clamped |= u64::from(cut);
                    }
                    self.body.extend_from_slice(&self.switch);
                }
                Format::Ndjson => {
                    self.join(ndjson::HEAD, ndjson::SEPARATOR);
                    let counters = self.settings.counters;
                    let (line, body) = (&mut self.line, &mut self.body);
                    match &mut self.chosen {
                        Some(chosen) => chosen.object(record, (batch, progress.next), counters, line, body),
                        None => ndjson::write(record, batch, progress.next, counters, line, body),
                    }
                }
            }
            if self.body.len() + self.tail_octets() > self.octets_max && !self.is_empty() {
                self.body.truncate(start);
                return Fill::Full;
            }
            progress.clamped += clamped;
            self.commit(batch);
            progress.next += 1;
        }
        if self.record_ends.len() >= self.records_max { Fill::Full } else { Fill::Open }
    }

    /// After a panic inside [`Encoder::append`]: cuts the body back to the last whole record.
    pub fn discard_partial(&mut self) {
        self.body.truncate(self.record_ends.last().map_or(0, |end| *end as usize));
        self.exporter = None;
        self.in_run = false;
    }

    /// Ends the body and begins a new one; None if it has no record.
    ///
    /// A body that fills at least three quarters of its buffer leaves with it and the next body gets a
    /// new one of its size; a smaller one is copied out, so that waiting bodies never hold more than a
    /// third beyond their own length.
    pub fn finish(&mut self) -> Option<EncodedBatch> {
        if self.is_empty() {
            return None;
        }
        match self.settings.format {
            Format::BackendJson => {
                self.body.push(b']');
                if self.switches == Switches::One {
                    // `shared` ends with the record's brace, which closes the body here.
                    self.body.extend_from_slice(&self.shared);
                } else {
                    self.body.push(b'}');
                }
            }
            Format::Ndjson => self.body.extend_from_slice(ndjson::SEPARATOR),
        }
        let body = if self.body.len() >= self.body.capacity() / 4 * 3 {
            // An eighth more than this body: the next one rarely has to grow.
            let next = Vec::with_capacity(self.body.len() + self.body.len() / 8);
            Bytes::from(std::mem::replace(&mut self.body, next))
        } else {
            let copy = Bytes::copy_from_slice(&self.body);
            self.body.clear();
            copy
        };
        let batch = EncodedBatch {
            id: Uuid::now_v7(),
            part: 0,
            format: self.settings.format,
            records: u32::try_from(self.record_ends.len()).unwrap_or(u32::MAX),
            oldest_receive: self.oldest_receive,
            newest_receive: self.newest_receive,
            body,
            record_ends: self.record_ends.as_slice().to_vec(),
            per_exporter: self.runs.drain(..).collect(),
        };
        self.record_ends.clear();
        (self.oldest_receive, self.newest_receive) = (u64::MAX, 0);
        self.in_run = false;
        self.switches = Switches::None;
        Some(batch)
    }

    /// What stands before the next record. Inlined, so that a separator is a store and no copy of unknown length.
    #[inline(always)]
    fn join(&mut self, head: &[u8], separator: &[u8]) {
        if self.is_empty() {
            self.body.extend_from_slice(head);
        } else {
            self.body.extend_from_slice(separator);
        }
    }

    /// Makes `exporter` the one whose records follow.
    fn enter(&mut self, exporter: &Arc<Exporter>) {
        self.in_run = false;
        if self.exporter.as_ref().is_some_and(|e| Arc::ptr_eq(e, exporter)) {
            return;
        }
        self.switch.clear();
        self.switch.extend_from_slice(json::SWITCH_KEY);
        json_string(&mut self.switch, &exporter.switch_id);
        self.switch.push(b'}');
        self.exporter = Some(Arc::clone(exporter));
    }

    /// The record at the body's end is whole: it counts from here on.
    #[inline]
    fn commit(&mut self, batch: &FlowBatch) {
        self.record_ends.push(u32::try_from(self.body.len()).unwrap_or(u32::MAX));
        match self.runs.last_mut() {
            Some(run) if self.in_run => run.records += 1,
            _ => self.begin_run(batch),
        }
    }

    /// First record of an exporter, of a FlowBatch or of a body.
    fn begin_run(&mut self, batch: &FlowBatch) {
        self.in_run = true;
        self.oldest_receive = self.oldest_receive.min(batch.oldest_receive);
        self.newest_receive = self.newest_receive.max(batch.newest_receive);
        match self.switches {
            Switches::None => {
                self.shared.clear();
                self.shared.extend_from_slice(&self.switch);
                self.switches = Switches::One;
            }
            Switches::One if self.shared != self.switch => self.switches = Switches::Several,
            Switches::One | Switches::Several => {}
        }
        let Some(exporter) = &self.exporter else { return };
        match self.runs.last_mut() {
            Some(run) if run.address == exporter.address && run.tenant == exporter.tenant => run.records += 1,
            _ => {
                let tenant = Arc::clone(&exporter.tenant);
                self.runs.push(ExporterRun { tenant, address: exporter.address, records: 1 });
            }
        }
    }

    /// Octets that [`Encoder::finish`] adds at most: bracket, shared switch_id, brace.
    fn tail_octets(&self) -> usize {
        2 + self.switch.len().max(self.shared.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::testing::{self, Flow};
    use super::super::{Counters, EncodeSettings};
    use super::*;
    use crate::flow::{ElementId, ElementValue, FlowRecord, Presence, SamplingSource, Version};

    fn settings(format: Format) -> EncodeSettings {
        EncodeSettings { format, extra_keys: true, counters: Counters::Raw }
    }

    /// All of `batch` as bodies of at most `records_max` records.
    fn encode(settings: EncodeSettings, batch: &FlowBatch, records_max: usize) -> (Vec<EncodedBatch>, Progress) {
        let mut encoder = Encoder::new(settings, records_max, 1 << 26);
        let (mut bodies, mut progress) = (Vec::new(), Progress::default());
        while encoder.append(batch, &mut progress) == Fill::Full {
            bodies.extend(encoder.finish());
        }
        bodies.extend(encoder.finish());
        (bodies, progress)
    }

    fn one(settings: EncodeSettings, batch: &FlowBatch) -> Value {
        let (bodies, _) = encode(settings, batch, 1_000);
        assert_eq!(bodies.len(), 1);
        serde_json::from_slice(&bodies[0].body).expect("a JSON body")
    }

    #[test]
    fn a_plain_record_has_the_ten_keys_and_no_other() {
        let mut batch = testing::batch(&["192.0.2.1"]);
        testing::push(&mut batch, Flow { exporter: 0, serial: 7, v6: false });
        let body = one(EncodeSettings { extra_keys: false, ..settings(Format::BackendJson) }, &batch);
        let expected = json!({"records": [{
            "src_ip": "10.0.0.7", "dst_ip": "198.51.100.7", "src_port": 7, "dst_port": 443, "protocol": 6,
            "bytes": 7, "packets": 1, "flow_start": 1_700_000_000_u64, "flow_end": 1_700_000_001_u64,
            "switch_id": "192.0.2.1"}], "switch_id": "192.0.2.1"});
        assert_eq!(body, expected);
    }

    #[test]
    fn every_known_field_goes_out_and_unknown_counters_are_zero() {
        let mut batch = testing::batch(&["2001:db8::1"]);
        let mut record = FlowRecord::empty(Version::V9);
        record.presence = [
            Presence::SRC_V6,
            Presence::DST_V6,
            Presence::SRC_SGT,
            Presence::DST_SGT,
            Presence::SRC_MAC,
            Presence::DST_MAC,
            Presence::VLAN,
        ]
        .into_iter()
        .fold(Presence::NONE, Presence::with);
        record.src[15] = 1;
        record.dst[0] = 0xfe;
        (record.src_sgt, record.dst_sgt, record.vlan) = (0, 65_535, 4_095);
        (record.src_mac, record.dst_mac) = ([0, 1, 2, 0xab, 0xcd, 0xef], [0xff; 6]);
        (record.start_ms, record.end_ms) = (1_999, 2_000);
        batch.records.push(record);
        let body = one(settings(Format::BackendJson), &batch);
        let expected = json!({"records": [{
            "src_ip": "::1", "dst_ip": "fe00::", "src_port": 0, "dst_port": 0, "protocol": 0, "bytes": 0,
            "packets": 0, "flow_start": 1, "flow_end": 2, "switch_id": "2001:db8::1", "src_sgt": 0,
            "dst_sgt": 65_535, "src_mac": "00:01:02:ab:cd:ef", "dst_mac": "ff:ff:ff:ff:ff:ff", "vlan_id": 4_095,
            "sampling_rate": 1, "sampling_source": "unknown"}], "switch_id": "2001:db8::1"});
        assert_eq!(body, expected);
    }

    #[test]
    fn sampling_keys_and_scaled_counters() {
        let mut batch = testing::batch(&["192.0.2.1"]);
        for (rate, source) in [(1, SamplingSource::Record), (100, SamplingSource::Domain), (1, SamplingSource::Unknown)]
        {
            testing::push(&mut batch, Flow { exporter: 0, serial: 5, v6: false });
            let record = batch.records.last_mut().expect("just pushed");
            (record.sampling_rate, record.sampling_source) = (rate, source);
        }
        let body = one(EncodeSettings { counters: Counters::Scaled, ..settings(Format::BackendJson) }, &batch);
        let records = body["records"].as_array().expect("records");
        assert!(records[0].get("sampling_rate").is_none() && records[0].get("sampling_source").is_none());
        assert_eq!((&records[1]["sampling_rate"], &records[1]["sampling_source"]), (&json!(100), &json!("domain")));
        assert_eq!((&records[1]["bytes"], &records[1]["packets"]), (&json!(500), &json!(100)));
        assert_eq!((&records[2]["sampling_rate"], &records[2]["sampling_source"]), (&json!(1), &json!("unknown")));
    }

    #[test]
    fn integers_above_the_backends_are_cut_and_counted_once_a_record() {
        let mut batch = testing::batch(&["192.0.2.1"]);
        for (bytes, packets) in [(u64::MAX, u64::MAX), (1 << 63, 1), ((1 << 63) - 1, 1)] {
            testing::push(&mut batch, Flow { exporter: 0, serial: 5, v6: false });
            let record = batch.records.last_mut().expect("just pushed");
            (record.bytes, record.packets) = (bytes, packets);
        }
        let (bodies, progress) = encode(settings(Format::BackendJson), &batch, 10);
        assert_eq!(progress, Progress { next: 3, clamped: 2, ..Progress::default() });
        let body: Value = serde_json::from_slice(&bodies[0].body).expect("JSON");
        for record in body["records"].as_array().expect("records") {
            assert_eq!(record["bytes"], json!(i64::MAX));
        }
    }

    #[test]
    fn a_record_without_both_addresses_is_left_out_and_counted() {
        let mut batch = testing::batch(&["192.0.2.1"]);
        for serial in 0..5 {
            testing::push(&mut batch, Flow { exporter: 0, serial, v6: false });
        }
        batch.records[0].presence.clear(Presence::SRC_V4);
        batch.records[2].presence.clear(Presence::DST_V4);
        batch.records[4].presence.clear(Presence::SRC_V4.with(Presence::DST_V4));
        let (bodies, progress) = encode(settings(Format::BackendJson), &batch, 10);
        assert_eq!((progress.not_representable, bodies[0].records), (3, 2));
        assert_eq!(testing::serials(&bodies[0]), [1, 3]);
        // NDJSON carries them all.
        let (bodies, progress) = encode(settings(Format::Ndjson), &batch, 10);
        assert_eq!((progress.not_representable, bodies[0].records), (0, 5));
        // A batch of nothing else gives no body.
        batch.records.retain(|r| !r.has(Presence::SRC_V4));
        let (bodies, progress) = encode(settings(Format::BackendJson), &batch, 10);
        assert_eq!((progress.not_representable, bodies.len()), (2, 0));
    }

    #[test]
    fn b_4_an_event_is_no_flow_of_0_octets() {
        let mut batch = testing::batch(&["192.0.2.1"]);
        for serial in 0..4 {
            testing::push(&mut batch, Flow { exporter: 0, serial, v6: false });
        }
        batch.records[1].presence.set(Presence::EVENT);
        // An event without addresses is an event first.
        batch.records[2].presence.set(Presence::EVENT);
        batch.records[2].presence.clear(Presence::SRC_V4);
        let (bodies, progress) = encode(settings(Format::BackendJson), &batch, 10);
        assert_eq!((progress.events, progress.not_representable, bodies[0].records), (2, 0, 2));
        assert_eq!(testing::serials(&bodies[0]), [0, 3]);
        let (bodies, progress) = encode(settings(Format::Ndjson), &batch, 10);
        assert_eq!((progress.events, bodies[0].records), (0, 4));
        let events = records_of(&bodies[0]).iter().map(|r| r.get("event").cloned()).collect::<Vec<_>>();
        assert_eq!(events, [None, Some(json!(true)), Some(json!(true)), None]);
    }

    #[test]
    fn the_top_level_switch_id_is_there_only_when_all_records_share_it() {
        let mut batch = testing::batch(&["a", "b", "a"]);
        for exporter in [0, 2, 0, 1, 1, 0] {
            testing::push(&mut batch, Flow { exporter, serial: u32::from(exporter), v6: false });
        }
        let (bodies, _) = encode(settings(Format::BackendJson), &batch, 3);
        let tops: Vec<Value> = bodies
            .iter()
            .map(|b| serde_json::from_slice::<Value>(&b.body).expect("JSON")["switch_id"].clone())
            .collect();
        assert_eq!(tops, [json!("a"), Value::Null]);
        // A record that is left out does not speak for its switch.
        batch.records[3].presence.clear(Presence::SRC_V4);
        batch.records[4].presence.clear(Presence::SRC_V4);
        assert_eq!(one(settings(Format::BackendJson), &batch)["switch_id"], json!("a"));
    }

    #[test]
    fn a_hostile_switch_id_stays_inside_its_string() {
        let hostile = "\"},{\"src_ip\":\"\u{0}\u{1f}\u{7f}\\ \r\n\t \u{e9}\u{1f980}\u{2028}";
        let mut batch = testing::batch(&[hostile]);
        testing::push(&mut batch, Flow { exporter: 0, serial: 1, v6: false });
        testing::push(&mut batch, Flow { exporter: 0, serial: 2, v6: true });
        let body = one(settings(Format::BackendJson), &batch);
        assert_eq!(body["switch_id"], json!(hostile));
        assert_eq!(body["records"].as_array().map(Vec::len), Some(2));
        assert_eq!(body["records"][1]["switch_id"], json!(hostile));
    }

    #[test]
    fn runs_and_receive_times_follow_the_records() {
        let mut batch = testing::batch(&["a", "b", "b"]);
        for exporter in [0, 0, 1, 2, 0] {
            testing::push(&mut batch, Flow { exporter, serial: 1, v6: false });
        }
        (batch.oldest_receive, batch.newest_receive) = (50, 60);
        let mut encoder = Encoder::new(settings(Format::BackendJson), 100, 1 << 20);
        encoder.append(&batch, &mut Progress::default());
        (batch.oldest_receive, batch.newest_receive) = (40, 55);
        encoder.append(&batch, &mut Progress::default());
        let body = encoder.finish().expect("a body");
        assert_eq!((body.oldest_receive, body.newest_receive), (40, 60));
        let runs: Vec<u32> = body.per_exporter.iter().map(|r| r.records).collect();
        // b and its repetition are one exporter; the last a of the first batch joins the second's.
        assert_eq!(runs, [2, 2, 3, 2, 1]);
        assert!(encoder.is_empty() && encoder.finish().is_none());
        assert_eq!(body.idempotency_key(), body.id);
        assert_eq!(body.id.get_version_num(), 7);
    }

    #[test]
    fn a_body_never_grows_past_its_octets_unless_for_a_single_record() {
        let mut batch = testing::batch(&["192.0.2.1"]);
        for serial in 0..100 {
            testing::push(&mut batch, Flow { exporter: 0, serial, v6: serial % 3 == 0 });
            batch.records[serial as usize].packets = u64::MAX;
        }
        for octets_max in [1, 300, 700, 5_000] {
            let mut encoder = Encoder::new(settings(Format::BackendJson), 1_000, octets_max);
            let (mut bodies, mut progress) = (Vec::new(), Progress::default());
            while encoder.append(&batch, &mut progress) == Fill::Full {
                bodies.extend(encoder.finish());
            }
            bodies.extend(encoder.finish());
            assert!(bodies.iter().all(|b| b.records == 1 || b.body.len() <= octets_max));
            let all: Vec<u64> = bodies.iter().flat_map(testing::serials).collect();
            assert_eq!(all, (0..100).collect::<Vec<u64>>());
            assert_eq!(progress.clamped, 100, "a record that had to wait for the next body counts once");
        }
    }

    #[test]
    fn a_panic_inside_a_record_leaves_the_whole_ones() {
        let mut batch = testing::batch(&["a"]);
        for serial in 0..4 {
            testing::push(&mut batch, Flow { exporter: 0, serial, v6: false });
        }
        batch.records[2].exporter = 9;
        let mut encoder = Encoder::new(settings(Format::BackendJson), 100, 1 << 20);
        let mut progress = Progress::default();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| encoder.append(&batch, &mut progress)));
        assert!(outcome.is_err());
        assert_eq!(progress.next, 2);
        encoder.discard_partial();
        batch.records[2].exporter = 0;
        assert_eq!(encoder.append(&batch, &mut Progress { next: 3, ..Progress::default() }), Fill::Open);
        assert_eq!(testing::serials(&encoder.finish().expect("a body")), [0, 1, 3]);
    }

    #[test]
    fn small_bodies_do_not_carry_a_large_buffer() {
        let mut batch = testing::batch(&["a"]);
        for serial in 0..500 {
            testing::push(&mut batch, Flow { exporter: 0, serial, v6: true });
        }
        let mut encoder = Encoder::new(settings(Format::BackendJson), 1_000, 1 << 26);
        for _ in 0..3 {
            encoder.append(&batch, &mut Progress::default());
            let body = encoder.finish().expect("a body");
            let len = body.body.len();
            let held = Vec::from(body.body).capacity();
            assert!(held * 3 <= len * 4 + 64, "{held} octets for {len}");
        }
        batch.records.truncate(1);
        encoder.append(&batch, &mut Progress::default());
        let body = encoder.finish().expect("a body");
        assert!(Vec::from(body.body).capacity() < 1_000);
    }

    #[test]
    fn ndjson_has_the_keys_of_the_record_and_the_elements_beside_it() {
        let mut batch = testing::batch(&["192.0.2.9"]);
        testing::push(&mut batch, Flow { exporter: 0, serial: 3, v6: false });
        batch.records.push(FlowRecord::empty(Version::Ipfix));
        let record = &mut batch.records[0];
        record.presence.set(Presence::TEMPLATE.with(Presence::TIMES).with(Presence::ICMP).with(Presence::NEXT_HOP_V4));
        (record.template_id, record.observation_domain, record.icmp_type) = (257, 9, 8);
        (record.sampling_rate, record.sampling_source) = (10, SamplingSource::Record);
        for (pen, id, octets) in [(0, 82, "if"), (9, 1232, ""), (0, 82, "\u{1}"), (0, 82, "x")] {
            let offset = batch.octets.len() as u32;
            batch.octets.extend_from_slice(octets.as_bytes());
            batch.elements.push(ElementValue {
                record: 0,
                element: ElementId { pen, id },
                offset,
                length: octets.len() as u16,
            });
        }
        let (bodies, _) = encode(settings(Format::Ndjson), &batch, 10);
        let text = std::str::from_utf8(&bodies[0].body).expect("UTF-8");
        assert!(text.ends_with("}\n"));
        let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        let expected = json!({
            "version": 9, "exporter": "192.0.2.1", "observation_domain": 9, "template_id": 257,
            "src_ip": "10.0.0.3", "dst_ip": "198.51.100.3", "src_port": 3, "dst_port": 443, "protocol": 6,
            "bytes": 3, "packets": 1, "icmp_type": 8, "icmp_code": 0, "next_hop": "0.0.0.0",
            "sampling_rate": 10, "sampling_source": "record",
            "flow_start_ms": 1_700_000_000_999_u64, "flow_end_ms": 1_700_000_001_000_u64, "time_source": "header",
            "ies": {"0/82": "6966", "9/1232": "", "0/82#2": "01", "0/82#3": "78"}});
        assert_eq!(lines[0], expected);
        let bare = json!({"version": 10, "exporter": "192.0.2.1", "observation_domain": 0, "time_source": "header"});
        assert_eq!(lines[1], bare);
        let mut alone = Vec::new();
        ndjson::Lines::new(&OutputFields::default()).write(&batch, 0, &mut alone);
        assert_eq!(alone, text.lines().next().expect("a line").as_bytes());
        // What came over the wire has no word on how it is to be taken.
        alone.clear();
        ndjson::write_ndjson(&batch.records[0], &batch, 0, &mut alone);
        let mut wire = expected;
        wire.as_object_mut().expect("an object").remove("time_source");
        assert_eq!(serde_json::from_slice::<Value>(&alone).expect("JSON"), wire);
    }

    /// Splits `batch` at every chance that `choices` gives; the leaves in order.
    fn leaves(batch: EncodedBatch, choices: &mut impl Iterator<Item = bool>) -> Vec<EncodedBatch> {
        if !choices.next().unwrap_or(false) {
            return vec![batch];
        }
        match batch.split() {
            Ok((first, second)) => {
                let mut all = leaves(first, choices);
                all.extend(leaves(second, choices));
                all
            }
            Err(whole) => vec![whole],
        }
    }

    fn records_of(body: &EncodedBatch) -> Vec<Value> {
        let records: Vec<Value> = match body.format {
            Format::BackendJson => {
                let value: Value = serde_json::from_slice(&body.body).expect("a JSON body");
                value["records"].as_array().expect("records").clone()
            }
            Format::Ndjson => std::str::from_utf8(&body.body)
                .expect("UTF-8")
                .lines()
                .map(|l| serde_json::from_str(l).expect("a JSON line"))
                .collect(),
        };
        assert_eq!(records.len(), body.records as usize);
        assert_eq!(body.record_ends.len(), body.records as usize);
        assert_eq!(body.per_exporter.iter().map(|r| r.records).sum::<u32>(), body.records);
        // Each record stands exactly between the end before it and its own.
        let mut from = body.format.head().len();
        for (end, value) in body.record_ends.iter().zip(&records) {
            let alone: Value = serde_json::from_slice(&body.body[from..*end as usize]).expect("a record alone");
            assert_eq!(&alone, value);
            from = *end as usize + body.format.separator().len();
        }
        records
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn any_record_gives_valid_bodies_and_splitting_keeps_every_one(
            batch in testing::any_batch(40),
            extra_keys in any::<bool>(),
            scaled in any::<bool>(),
            ndjson in any::<bool>(),
            records_max in 1_usize..50,
            choices in prop::collection::vec(any::<bool>(), 0..64),
        ) {
            let settings = EncodeSettings {
                format: if ndjson { Format::Ndjson } else { Format::BackendJson },
                extra_keys,
                counters: if scaled { Counters::Scaled } else { Counters::Raw },
            };
            let (bodies, progress) = encode(settings, &batch, records_max);
            let total: u32 = bodies.iter().map(|b| b.records).sum();
            prop_assert_eq!(u64::from(total) + progress.not_representable + progress.events, batch.len() as u64);
            let mut choices = choices.into_iter();
            for body in bodies {
                prop_assert!(body.records as usize <= records_max);
                let whole = records_of(&body);
                let top = body.body[*body.record_ends.last().expect("a record") as usize..].to_vec();
                let runs: Vec<_> = body.per_exporter.iter().flat_map(|r| vec![r.address; r.records as usize]).collect();
                let parts = leaves(body, &mut choices);
                let joined: Vec<Value> = parts.iter().flat_map(records_of).collect();
                prop_assert_eq!(joined, whole);
                let joined: Vec<_> = parts
                    .iter()
                    .flat_map(|p| p.per_exporter.iter().flat_map(|r| vec![r.address; r.records as usize]))
                    .collect();
                prop_assert_eq!(joined, runs);
                let mut keys: Vec<Uuid> = parts.iter().map(EncodedBatch::idempotency_key).collect();
                keys.sort_unstable();
                keys.dedup();
                prop_assert_eq!(keys.len(), parts.len(), "parts have different keys");
                for part in &parts {
                    prop_assert!(part.body.ends_with(&top));
                }
            }
        }
    }
}
