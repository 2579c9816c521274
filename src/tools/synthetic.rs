//! An exporter that never was: well-formed v5, v9 or IPFIX datagrams with plausible flows.
//!
//! Time and a number of records enter, a datagram leaves. Sequence numbers, sysUpTime and header
//! times are those of the version; templates and the sampler table stand in the first datagram and
//! again after a number of datagrams or seconds. Addresses are those of documentation (RFC 5737, RFC
//! 3849). Each exporter numbers its records 1, 2, 3 ... and writes the number into the octet counter
//! (32 bits in v5), so that whoever receives them can say which are missing or doubled.

mod layout;
pub mod message;

use crate::flow::Version;
use crate::limits::SYNTHETIC_DATAGRAM_OCTETS_MAX;
use layout::{
    DST_AS, IPFIX_IPV4, IPFIX_IPV6, IPFIX_SAMPLER, NEXT_HOP, RECORD_OCTETS_MAX, SAMPLER, SERVICES, SRC_AS, V9_IPV4,
    V9_IPV6, V9_SAMPLER, ipv4, ipv6, octets_of, service,
};
use message::{Field, MessageHeader, MessageWriter};

/// Template of IPv4 flows.
pub const TEMPLATE_IPV4: u16 = 256;
/// Template of IPv6 flows.
pub const TEMPLATE_IPV6: u16 = 257;
/// Options template of the sampler table.
pub const TEMPLATE_SAMPLER: u16 = 258;
/// Records of a v5 datagram at most (V5-02).
pub const V5_RECORDS_MAX: usize = 30;
/// Ids that templates move through when they churn: more than an exporter has templates, far fewer than a domain keeps.
const CHURN_IDS: u64 = 61;
/// One record in so many is IPv6 (v9 and IPFIX).
const IPV6_EVERY: usize = 8;
/// sysUpTime when the exporter begins, milliseconds: a day, so that flows began after the boot.
const UPTIME_AT_START_MS: u64 = 86_400_000;

/// What an exporter is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyntheticOptions {
    /// V5, V9 or Ipfix; V1 and V7 are taken as V5.
    pub version: Version,
    /// Source ID or observation domain; in v5 engine type and id, the low 16 bits.
    pub observation_domain: u32,
    /// Flows depend on it alone.
    pub seed: u64,
    /// Templates are repeated after so many datagrams; 0: never for that reason.
    pub refresh_datagrams: u32,
    /// Templates are repeated after so many seconds; 0: never for that reason.
    pub refresh_seconds: u32,
    /// 1 in N that the exporter says it samples; 0: it says nothing of sampling.
    pub sampling: u32,
    /// After so many seconds every template takes the next id, which another one had before; 0: never. Each time three
    /// layouts change: a collector that guards against forged templates takes a limited number a minute.
    pub churn_seconds: u32,
}

impl SyntheticOptions {
    /// An exporter of `version` that repeats its templates every 500 datagrams or 30 s, unsampled.
    #[must_use]
    pub const fn new(version: Version, seed: u64) -> Self {
        Self {
            version,
            observation_domain: 1,
            seed,
            refresh_datagrams: 500,
            refresh_seconds: 30,
            sampling: 1,
            churn_seconds: 0,
        }
    }
}

/// A datagram ready to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Produced<'a> {
    /// UDP payload.
    pub octets: &'a [u8],
    /// Flow records in it; as many as asked, or as fit.
    pub records: usize,
}

/// One exporter and its counters.
#[derive(Debug)]
pub struct SyntheticExporter {
    options: SyntheticOptions,
    writer: MessageWriter,
    random: u64,
    /// Number of the last record.
    serial: u64,
    /// In the version's unit: flows (v5), datagrams (v9), data records (IPFIX).
    sequence: u32,
    booted_ms: Option<u64>,
    datagrams: u64,
    refreshed_at: u64,
    refreshed_ms: u64,
    /// How often the templates have changed their ids.
    generation: u64,
    churned_ms: u64,
}

/// A flow before it is written.
struct Flow {
    src: u32,
    dst: u32,
    src_port: u16,
    dst_port: u16,
    protocol: u8,
    tcp_flags: u8,
    packets: u32,
    bytes: u64,
    start_ms: u64,
    end_ms: u64,
    sgt: u16,
    vlan: u16,
}

impl SyntheticExporter {
    /// An exporter that has sent nothing yet.
    #[must_use]
    pub fn new(options: SyntheticOptions) -> Self {
        // Splitmix: neighbouring seeds give unlike flows; the generator must not start at 0.
        let random = (options.seed.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self {
            options: SyntheticOptions {
                version: match options.version {
                    Version::V9 | Version::Ipfix => options.version,
                    Version::V1 | Version::V5 | Version::V7 => Version::V5,
                },
                ..options
            },
            writer: MessageWriter::default(),
            random,
            serial: 0,
            sequence: 0,
            booted_ms: None,
            datagrams: 0,
            refreshed_at: 0,
            refreshed_ms: 0,
            generation: 0,
            churned_ms: 0,
        }
    }

    /// Version of its datagrams.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.options.version
    }

    /// Number of its last record: how many it has made.
    #[must_use]
    pub const fn serial(&self) -> u64 {
        self.serial
    }

    /// Datagrams it has made.
    #[must_use]
    pub const fn datagrams(&self) -> u64 {
        self.datagrams
    }

    /// Sequence number that its next datagram will carry.
    #[must_use]
    pub const fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Makes the templates stand in the next datagram again.
    pub fn refresh_templates(&mut self) {
        self.refreshed_at = u64::MAX;
    }

    /// Makes a datagram of up to `records` flows that ended just before `now_ns` (Unix). With 0 it
    /// holds templates alone, and in v5, where there are none, one flow.
    pub fn next_datagram(&mut self, now_ns: u64, records: usize) -> Produced<'_> {
        let now_ms = now_ns / 1_000_000;
        let booted_ms = *self.booted_ms.get_or_insert(now_ms.saturating_sub(UPTIME_AT_START_MS));
        self.churn(now_ms);
        let version = self.options.version;
        let sampling = self.options.sampling;
        self.writer.begin(&MessageHeader {
            version,
            export_ns: now_ns,
            sys_uptime_ms: low32(now_ms.saturating_sub(booted_ms)),
            sequence: self.sequence,
            observation_domain: self.options.observation_domain,
            // Mode 1 (packet interval) and 14 bits of rate; V5-04.
            sampling: if sampling == 0 { 0 } else { 0x4000 | u16::try_from(sampling.min(0x3fff)).unwrap_or(0x3fff) },
        });
        let (flows, options) = if version == Version::V5 {
            (self.v5_records(now_ms, booted_ms, records), 0)
        } else {
            let refresh = self.refresh_due(now_ms) || records == 0;
            let options = if refresh { self.templates(now_ms) } else { 0 };
            (self.data_sets(now_ms, booted_ms, records), options)
        };
        self.datagrams += 1;
        self.sequence = self.sequence.wrapping_add(match version {
            Version::V9 => 1,
            // RFC 7011 section 3.1: records of options templates are data records.
            Version::Ipfix => low32(flows as u64 + options),
            Version::V1 | Version::V5 | Version::V7 => low32(flows as u64),
        });
        Produced { octets: self.writer.finish(), records: flows }
    }

    fn refresh_due(&self, now_ms: u64) -> bool {
        let datagrams = u64::from(self.options.refresh_datagrams);
        let age_ms = u64::from(self.options.refresh_seconds) * 1_000;
        self.datagrams == 0
            || self.refreshed_at == u64::MAX
            || (datagrams > 0 && self.datagrams - self.refreshed_at >= datagrams)
            || (age_ms > 0 && now_ms.saturating_sub(self.refreshed_ms) >= age_ms)
    }

    /// From the time of the first datagram on.
    fn churn(&mut self, now_ms: u64) {
        let pause_ms = u64::from(self.options.churn_seconds) * 1_000;
        if self.datagrams == 0 {
            self.churned_ms = now_ms;
        } else if pause_ms > 0 && now_ms.saturating_sub(self.churned_ms) >= pause_ms {
            self.churned_ms = now_ms;
            self.generation += 1;
            self.refresh_templates();
        }
    }

    /// Id of a template now.
    fn id(&self, template: u16) -> u16 {
        let moved = (self.generation % CHURN_IDS) as u16;
        template + moved
    }

    /// Templates and, where the exporter speaks of sampling, the sampler table; gives its records.
    fn templates(&mut self, now_ms: u64) -> u64 {
        self.refreshed_at = self.datagrams;
        self.refreshed_ms = now_ms;
        let v9 = self.options.version == Version::V9;
        let (ipv4, ipv6) = if v9 { (V9_IPV4, V9_IPV6) } else { (IPFIX_IPV4, IPFIX_IPV6) };
        self.writer.template(self.id(TEMPLATE_IPV4), ipv4);
        self.writer.template(self.id(TEMPLATE_IPV6), ipv6);
        let rate = self.options.sampling;
        if rate == 0 {
            return 0;
        }
        let mut record = Cursor::default();
        record.put(self.options.observation_domain.to_be_bytes());
        record.put([SAMPLER]);
        if v9 {
            // Scope 1: System. Mode 1: deterministic.
            self.writer.options_template(self.id(TEMPLATE_SAMPLER), &[Field::iana(1, 4)], V9_SAMPLER);
            record.put([1]);
            record.put(rate.to_be_bytes());
        } else {
            self.writer.options_template(self.id(TEMPLATE_SAMPLER), &[Field::iana(149, 4)], IPFIX_SAMPLER);
            record.put(1_u16.to_be_bytes());
            record.put(1_u32.to_be_bytes());
            record.put((rate - 1).to_be_bytes());
        }
        self.writer.begin_set(self.id(TEMPLATE_SAMPLER));
        self.writer.record(record.octets());
        self.writer.end_set();
        1
    }

    fn v5_records(&mut self, now_ms: u64, booted_ms: u64, records: usize) -> usize {
        let records = records.clamp(1, V5_RECORDS_MAX);
        for _ in 0..records {
            let flow = self.next_flow(now_ms);
            let mut record = Cursor::default();
            record.put(ipv4(flow.src));
            record.put(ipv4(flow.dst));
            record.put(NEXT_HOP);
            record.put([0, 1, 0, 2]);
            record.put(flow.packets.to_be_bytes());
            record.put(low32(flow.bytes).to_be_bytes());
            record.put(low32(flow.start_ms.saturating_sub(booted_ms)).to_be_bytes());
            record.put(low32(flow.end_ms.saturating_sub(booted_ms)).to_be_bytes());
            record.put(flow.src_port.to_be_bytes());
            record.put(flow.dst_port.to_be_bytes());
            record.put([0, flow.tcp_flags, flow.protocol, 0]);
            record.put(SRC_AS.to_be_bytes());
            record.put(DST_AS.to_be_bytes());
            record.put([24, 24, 0, 0]);
            self.writer.record(record.octets());
        }
        records
    }

    /// A set of IPv4 flows and, where there are enough, one of IPv6; gives how many fitted.
    fn data_sets(&mut self, now_ms: u64, booted_ms: u64, records: usize) -> usize {
        let variable = self.options.version == Version::Ipfix;
        let (ipv4_octets, ipv6_octets) = (octets_of(variable, false), octets_of(variable, true));
        // Two set headers with their padding.
        let mut room = SYNTHETIC_DATAGRAM_OCTETS_MAX.saturating_sub(self.writer.len() + 2 * 7);
        let ipv6 = (records / IPV6_EVERY).min(room / (ipv6_octets + (IPV6_EVERY - 1) * ipv4_octets));
        room -= ipv6 * ipv6_octets;
        let ipv4 = (records - ipv6).min(room / ipv4_octets);
        for (set, count, wide) in [(TEMPLATE_IPV4, ipv4, false), (TEMPLATE_IPV6, ipv6, true)] {
            if count > 0 {
                self.writer.begin_set(self.id(set));
            }
            for _ in 0..count {
                let flow = self.next_flow(now_ms);
                self.data_record(&flow, booted_ms, wide);
            }
        }
        self.writer.end_set();
        ipv4 + ipv6
    }

    /// In the order of the templates below.
    fn data_record(&mut self, flow: &Flow, booted_ms: u64, wide: bool) {
        let mut record = Cursor::default();
        if wide {
            record.put(ipv6(flow.src));
            record.put(ipv6(flow.dst));
            record.put(ipv6(0xfe));
        } else {
            record.put(ipv4(flow.src));
            record.put(ipv4(flow.dst));
            record.put(NEXT_HOP);
        }
        record.put([0, 0, 0, 1, 0, 0, 0, 2]);
        record.put(u64::from(flow.packets).to_be_bytes());
        record.put(flow.bytes.to_be_bytes());
        record.put(u32::from(SRC_AS).to_be_bytes());
        record.put(u32::from(DST_AS).to_be_bytes());
        record.put(flow.src_port.to_be_bytes());
        record.put(flow.dst_port.to_be_bytes());
        record.put(flow.vlan.to_be_bytes());
        // 00-00-5E-00-53-xx: documentation (RFC 7042).
        record.put([0, 0, 0x5e, 0, 0x53, flow.src.to_be_bytes()[3]]);
        record.put([0, 0, 0x5e, 0, 0x53, flow.dst.to_be_bytes()[3]]);
        record.put([flow.tcp_flags, flow.protocol, 0]);
        record.put(if wide { [64, 64] } else { [24, 24] });
        record.put([SAMPLER]);
        record.put(flow.sgt.to_be_bytes());
        record.put((flow.sgt + 1).to_be_bytes());
        if self.options.version == Version::V9 {
            record.put(low32(flow.start_ms.saturating_sub(booted_ms)).to_be_bytes());
            record.put(low32(flow.end_ms.saturating_sub(booted_ms)).to_be_bytes());
            self.writer.record(record.octets());
        } else {
            record.put(flow.start_ms.to_be_bytes());
            record.put(flow.end_ms.to_be_bytes());
            self.writer.record(record.octets());
            if wide {
                self.writer.variable(service(flow.dst_port).as_bytes());
            }
        }
    }

    fn next_flow(&mut self, now_ms: u64) -> Flow {
        self.serial += 1;
        // Two draws give all the bits that a flow needs.
        let (a, b) = (self.draw(), self.draw());
        let service = SERVICES[(a % SERVICES.len() as u64) as usize];
        let end_ms = now_ms.saturating_sub(b % 2_000);
        Flow {
            src: low32(a >> 8) & 0x3ff,
            dst: low32(a >> 24) & 0x3ff,
            src_port: if service.protocol == 1 { 0 } else { 32_768 + (low32(a >> 40) & 0x6fff) as u16 },
            dst_port: service.port,
            protocol: service.protocol,
            tcp_flags: if service.protocol == 6 { 0x1b } else { 0 },
            packets: low32((self.serial / 800).clamp(1, 1 << 20)),
            bytes: self.serial,
            start_ms: end_ms.saturating_sub((b >> 16) % 60_000),
            end_ms,
            sgt: 10 + (low32(b >> 40) & 0x0f) as u16,
            vlan: 100 + (low32(b >> 48) & 0x07) as u16,
        }
    }

    /// Xorshift: even enough for flows, and the same everywhere.
    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

/// A record under construction: its octets never outgrow the array (asserted above).
struct Cursor {
    octets: [u8; RECORD_OCTETS_MAX],
    at: usize,
}

impl Default for Cursor {
    fn default() -> Self {
        Self { octets: [0; RECORD_OCTETS_MAX], at: 0 }
    }
}

impl Cursor {
    #[inline]
    fn put<const N: usize>(&mut self, value: [u8; N]) {
        self.octets[self.at..self.at + N].copy_from_slice(&value);
        self.at += N;
    }

    fn octets(&self) -> &[u8] {
        &self.octets[..self.at]
    }
}

/// Counters and clocks of 32 bits wrap, as on the wire.
#[expect(clippy::cast_possible_truncation, reason = "wrapping is what the wire's 32 bits do")]
const fn low32(value: u64) -> u32 {
    value as u32
}

#[cfg(test)]
mod tests {
    use super::layout::SERVICE_OCTETS_MAX;
    use super::*;

    const NOW: u64 = 1_700_000_000_000_000_000;

    fn word(octets: &[u8], at: usize) -> u16 {
        u16::from_be_bytes([octets[at], octets[at + 1]])
    }

    fn long(octets: &[u8], at: usize) -> u32 {
        u32::from_be_bytes(octets[at..at + 4].try_into().unwrap())
    }

    /// (set id, body) of a v9 or IPFIX message.
    fn sets(message: &[u8], header: usize) -> Vec<(u16, Vec<u8>)> {
        let (mut at, mut found) = (header, Vec::new());
        while at < message.len() {
            let length = usize::from(word(message, at + 2));
            found.push((word(message, at), message[at + 4..at + length].to_vec()));
            at += length;
        }
        assert_eq!(at, message.len(), "sets add up to the message");
        found
    }

    #[test]
    fn v5_counts_flows_and_numbers_them() {
        let mut exporter = SyntheticExporter::new(SyntheticOptions::new(Version::V5, 1));
        let mut serial = 0;
        for (asked, made) in [(30, 30), (7, 7), (100, 30), (0, 1)] {
            let produced = exporter.next_datagram(NOW, asked);
            assert_eq!(produced.records, made);
            let octets = produced.octets;
            assert_eq!(octets.len(), 24 + 48 * made);
            assert_eq!((word(octets, 0), usize::from(word(octets, 2))), (5, made));
            assert_eq!(u64::from(long(octets, 16)), serial, "flow_sequence");
            let uptime = long(octets, 4);
            for record in octets[24..].chunks(48) {
                serial += 1;
                assert_eq!(u64::from(long(record, 20)), serial);
                let (first, last) = (long(record, 24), long(record, 28));
                assert!(first <= last && last <= uptime);
                assert!(matches!(record[..3], [192, 0, 2] | [198, 51, 100] | [203, 0, 113]));
            }
        }
        assert_eq!(exporter.serial(), serial);
    }

    #[test]
    fn v9_counts_datagrams_and_repeats_templates() {
        let mut exporter =
            SyntheticExporter::new(SyntheticOptions { refresh_datagrams: 3, ..SyntheticOptions::new(Version::V9, 2) });
        let mut serial = 0_u64;
        for datagram in 0..7_u32 {
            let produced = exporter.next_datagram(NOW, 16);
            let (octets, records) = (produced.octets.to_vec(), produced.records);
            assert!(octets.len() <= SYNTHETIC_DATAGRAM_OCTETS_MAX);
            assert_eq!((word(&octets, 0), long(&octets, 12)), (9, datagram));
            let ids: Vec<u16> = sets(&octets, 20).iter().map(|(id, _)| *id).collect();
            let templates = datagram % 3 == 0;
            assert_eq!(ids[..2] == [0, 0] && ids[2] == 1 && ids[3] == TEMPLATE_SAMPLER, templates, "{ids:?}");
            let mut found = 0;
            for (id, body) in sets(&octets, 20) {
                let (length, bytes_at) = match id {
                    TEMPLATE_IPV4 => (octets_of(false, false), 28),
                    TEMPLATE_IPV6 => (octets_of(false, true), 64),
                    _ => continue,
                };
                for record in body.chunks_exact(length) {
                    serial += 1;
                    found += 1;
                    assert_eq!(u64::from_be_bytes(record[bytes_at..bytes_at + 8].try_into().unwrap()), serial);
                }
            }
            assert_eq!(found, records);
            assert_eq!(usize::from(word(&octets, 2)), records + if templates { 4 } else { 0 });
        }
    }

    #[test]
    fn churning_templates_take_ids_that_others_had() {
        let churn = SyntheticOptions { churn_seconds: 2, refresh_seconds: 0, ..SyntheticOptions::new(Version::V9, 5) };
        let mut exporter = SyntheticExporter::new(churn);
        for datagram in 0..200_u16 {
            let now = NOW + u64::from(datagram) * 1_000_000_000;
            let octets = exporter.next_datagram(now, 16).octets.to_vec();
            let (moved, new) = (datagram / 2 % 61, datagram % 2 == 0);
            let data = [TEMPLATE_IPV4 + moved, TEMPLATE_IPV6 + moved];
            let ids: Vec<u16> = sets(&octets, 20).iter().map(|(id, _)| *id).collect();
            assert_eq!(ids.ends_with(&data), !new || ids.len() == 6, "{ids:?}");
            assert_eq!(ids.len(), if new { 6 } else { 2 }, "{ids:?}");
            if new {
                assert_eq!(word(&sets(&octets, 20)[0].1, 0), data[0]);
            }
        }
    }

    #[test]
    fn template_lengths_are_those_of_the_records() {
        let sum = |fields: &[Field]| fields.iter().map(|f| usize::from(f.length)).sum::<usize>();
        assert_eq!(sum(V9_IPV4), octets_of(false, false));
        assert_eq!(sum(V9_IPV6), octets_of(false, true));
        assert_eq!(sum(IPFIX_IPV4), octets_of(true, false));
        assert_eq!(sum(&IPFIX_IPV6[..24]), octets_of(true, true) - 1 - SERVICE_OCTETS_MAX);
        assert!(SERVICES.iter().all(|s| s.name.len() <= SERVICE_OCTETS_MAX));
    }

    #[test]
    fn ipfix_counts_data_records_of_both_kinds() {
        let mut exporter = SyntheticExporter::new(SyntheticOptions::new(Version::Ipfix, 3));
        let first = exporter.next_datagram(NOW, 0);
        assert_eq!(first.records, 0);
        let ids: Vec<u16> = sets(first.octets, 16).iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, [2, 2, 3, TEMPLATE_SAMPLER]);
        assert_eq!(exporter.sequence(), 1, "the sampler's record counts");
        let mut expected = 1;
        for _ in 0..50 {
            let produced = exporter.next_datagram(NOW, 1_000);
            assert_eq!(long(produced.octets, 8), expected);
            assert_eq!(usize::from(word(produced.octets, 2)), produced.octets.len());
            assert!(produced.octets.len() <= SYNTHETIC_DATAGRAM_OCTETS_MAX);
            assert!(produced.records >= 12, "{} records use the room", produced.records);
            expected += u32::try_from(produced.records).unwrap();
        }
        assert_eq!(exporter.serial() + 1, u64::from(expected));
    }

    #[test]
    fn templates_come_back_with_time_and_on_request() {
        let mut exporter = SyntheticExporter::new(SyntheticOptions {
            refresh_datagrams: 0,
            refresh_seconds: 10,
            sampling: 0,
            ..SyntheticOptions::new(Version::Ipfix, 4)
        });
        let has = |produced: Produced<'_>| word(produced.octets, 16) == 2;
        assert!(has(exporter.next_datagram(NOW, 1)));
        assert!(!has(exporter.next_datagram(NOW + 9_000_000_000, 1)));
        assert!(has(exporter.next_datagram(NOW + 10_000_000_000, 1)));
        assert!(!has(exporter.next_datagram(NOW + 10_000_000_000, 1)));
        exporter.refresh_templates();
        assert!(has(exporter.next_datagram(NOW + 10_000_000_000, 1)));
        assert!(!has(exporter.next_datagram(NOW + 10_000_000_000, 1)));
    }
}
