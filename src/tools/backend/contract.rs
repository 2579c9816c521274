//! The backend's contract: a body is checked as strictly as the real one checks it, and stricter.
//!
//! Enters: a body. Leaves: its records, borrowed from it, or the first fault. Promised: a batch with one
//! bad record is refused whole; an integer past 2^63-1 is the server error that the real one makes of
//! it; keys that the contract does not name are ignored.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// Why a body is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// 400: not the contract.
    Refused(String),
    /// 500: the real one stumbles over its database's integer.
    Overflow(String),
}

/// A record of an accepted body.
#[derive(Debug, Deserialize)]
pub(super) struct Record<'a> {
    #[serde(borrow)]
    src_ip: Text<'a>,
    #[serde(borrow)]
    dst_ip: Text<'a>,
    src_port: Integer,
    dst_port: Integer,
    protocol: Integer,
    bytes: Integer,
    packets: Integer,
    flow_start: Integer,
    flow_end: Integer,
    #[serde(borrow)]
    switch_id: Text<'a>,
    src_sgt: Option<Integer>,
    dst_sgt: Option<Integer>,
    vlan_id: Option<Integer>,
    #[serde(borrow)]
    src_mac: Option<Text<'a>>,
    #[serde(borrow)]
    dst_mac: Option<Text<'a>>,
}

impl Record<'_> {
    /// The counter in which `generate` numbers its records.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes.0
    }

    /// Packets.
    pub(super) const fn packets(&self) -> u64 {
        self.packets.0
    }

    /// Name of the exporter.
    pub(super) fn switch_id(&self) -> &str {
        &self.switch_id.0
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    records: Vec<Record<'a>>,
    #[serde(borrow)]
    switch_id: Option<Text<'a>>,
}

/// Reads and checks a body.
///
/// # Errors
/// The first fault, by record and key.
pub(super) fn read(body: &[u8]) -> Result<Vec<Record<'_>>, Fault> {
    let body: Body<'_> = serde_json::from_slice(body).map_err(|e| Fault::Refused(e.to_string()))?;
    if body.switch_id.is_some_and(|id| id.0.is_empty()) {
        return Err(Fault::Refused("switch_id: may not be empty".to_owned()));
    }
    for (index, record) in body.records.iter().enumerate() {
        check(record, index)?;
    }
    Ok(body.records)
}

fn check(record: &Record<'_>, index: usize) -> Result<(), Fault> {
    let refused = |key: &str, what: &str| Err(Fault::Refused(format!("records[{index}].{key}: {what}")));
    for (key, address) in [("src_ip", &record.src_ip), ("dst_ip", &record.dst_ip)] {
        if address.0.parse::<IpAddr>().is_err() {
            return refused(key, "not an IPv4 or IPv6 address");
        }
    }
    let bounded = [
        ("src_port", Some(&record.src_port), 65_535),
        ("dst_port", Some(&record.dst_port), 65_535),
        ("protocol", Some(&record.protocol), 255),
        ("src_sgt", record.src_sgt.as_ref(), 65_535),
        ("dst_sgt", record.dst_sgt.as_ref(), 65_535),
        ("vlan_id", record.vlan_id.as_ref(), 4_095),
    ];
    for (key, value, max) in bounded {
        if value.is_some_and(|v| v.0 > max) {
            return refused(key, &format!("more than {max}"));
        }
    }
    for (key, mac) in [("src_mac", &record.src_mac), ("dst_mac", &record.dst_mac)] {
        if mac.as_ref().is_some_and(|m| !is_mac(&m.0)) {
            return refused(key, "not six octets in hex with colons");
        }
    }
    if record.switch_id.0.is_empty() {
        return refused("switch_id", "may not be empty");
    }
    let counters = [
        ("bytes", &record.bytes),
        ("packets", &record.packets),
        ("flow_start", &record.flow_start),
        ("flow_end", &record.flow_end),
    ];
    for (key, value) in counters {
        if value.0 > i64::MAX.cast_unsigned() {
            return Err(Fault::Overflow(format!("records[{index}].{key}: integer out of range")));
        }
    }
    if record.flow_end.0 < record.flow_start.0 {
        return refused("flow_end", "before flow_start");
    }
    Ok(())
}

fn is_mac(text: &str) -> bool {
    text.len() == 17
        && text.bytes().enumerate().all(|(i, b)| if i % 3 == 2 { b == b':' } else { b.is_ascii_hexdigit() })
}

/// Text that is borrowed unless it has escapes. (serde's own `Option<Cow<str>>` always copies.)
#[derive(Debug)]
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor).map(Text)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// A whole number from 0 on; what does not fit in 64 bits is `u64::MAX`, which every check finds too large.
#[derive(Debug)]
struct Integer(u64);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(IntegerVisitor).map(Integer)
    }
}

struct IntegerVisitor;

impl Visitor<'_> for IntegerVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer from 0 on")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<u64, E> {
        Ok(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<u64, E> {
        // serde_json makes a float of an integer past 2^64.
        if value >= 18_446_744_073_709_551_616.0 { Ok(u64::MAX) } else { Err(E::custom("not an integer")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"src_ip":"192.0.2.1","dst_ip":"2001:db8::1","src_port":0,"dst_port":65535,"protocol":255,"bytes":9223372036854775807,"packets":0,"flow_start":10,"flow_end":10,"switch_id":"s"}"#;

    fn body(record: &str) -> String {
        format!(r#"{{"records":[{GOOD},{record}]}}"#)
    }

    fn fault(record: &str) -> Fault {
        read(body(record).as_bytes()).expect_err(record)
    }

    #[test]
    fn a_full_record_and_the_smallest_are_taken() {
        let full = GOOD.replace(
            r#""switch_id":"s""#,
            r#""switch_id":"\u0073","src_sgt":65535,"dst_sgt":0,"src_mac":"00:1b:AA:cc:0D:ee","dst_mac":null,"vlan_id":4095,"sampling_rate":[1,{}]"#,
        );
        let text = body(&full);
        let records = read(text.as_bytes()).unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!(records[1].switch_id(), "s");
        assert_eq!(records[0].bytes(), i64::MAX.cast_unsigned());
        assert!(read(br#"{"records":[],"switch_id":"x"}"#).unwrap().is_empty());
    }

    #[test]
    fn every_key_is_required_and_checked() {
        let value: serde_json::Value = serde_json::from_str(GOOD).unwrap();
        for key in value.as_object().unwrap().keys() {
            let mut without = value.clone();
            without.as_object_mut().unwrap().remove(key);
            let Fault::Refused(why) = fault(&without.to_string()) else { panic!("{key}") };
            assert!(why.contains(key.as_str()), "{why}");
            let mut wrong = value.clone();
            wrong[key] = serde_json::json!([]);
            assert!(matches!(fault(&wrong.to_string()), Fault::Refused(_)), "{key}");
        }
    }

    #[test]
    fn values_outside_their_range_are_refused_by_name() {
        for (from, to, key) in [
            (r#""src_port":0"#, r#""src_port":65536"#, "src_port"),
            (r#""src_port":0"#, r#""src_port":-1"#, "-1"),
            (r#""src_port":0"#, r#""src_port":1.5"#, "integer"),
            (r#""src_port":0"#, r#""src_port":"1""#, "integer"),
            (r#""protocol":255"#, r#""protocol":256"#, "protocol"),
            (r#""protocol":255"#, r#""protocol":99999999999999999999999"#, "protocol"),
            ("192.0.2.1", "192.0.2.256", "src_ip"),
            ("2001:db8::1", "", "dst_ip"),
            (r#""flow_end":10"#, r#""flow_end":9"#, "flow_end"),
            (r#""switch_id":"s""#, r#""switch_id":"""#, "switch_id"),
            (r#""switch_id":"s""#, r#""switch_id":"s","vlan_id":4096"#, "vlan_id"),
            (r#""switch_id":"s""#, r#""switch_id":"s","src_sgt":65536"#, "src_sgt"),
            (r#""switch_id":"s""#, r#""switch_id":"s","dst_mac":"00:1b:aa"#, ""),
            (r#""switch_id":"s""#, r#""switch_id":"s","dst_mac":"001baaccddee""#, "dst_mac"),
        ] {
            assert!(GOOD.contains(from));
            let Fault::Refused(why) = fault(&GOOD.replace(from, to)) else { panic!("{to}") };
            assert!(why.contains(key), "{to}: {why}");
        }
    }

    #[test]
    fn an_integer_past_63_bits_is_a_server_error() {
        for big in ["9223372036854775808", "18446744073709551615", "18446744073709551616", "1e300"] {
            let record = GOOD.replace("9223372036854775807", big);
            let Fault::Overflow(why) = fault(&record) else { panic!("{big}") };
            assert!(why.starts_with("records[1].bytes"), "{why}");
        }
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        for text in ["", "{", "[]", "{}", r#"{"records":{}}"#, r#"{"records":[],"switch_id":""}"#, "\u{1f}\u{8b}"] {
            assert!(matches!(read(text.as_bytes()), Err(Fault::Refused(_))), "{text}");
        }
    }
}
