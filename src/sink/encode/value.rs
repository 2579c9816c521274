//! One value -> JSON: an element's octets by its abstract data type, a catalogue field by its kind.
//!
//! Total functions: every type takes octets of every length. What fails its type (a 3-octet address, a time past the year
//! 9999) is shown as hex, and its key says so; what is no number of JSON (NaN, infinities) and what is no truth value is
//! null. Lengths are those of the wire (RFC 7011 section 6.2): a reduced integer, a float64 in 4 octets.

use std::io::Write as _;

use super::json::INTEGER_MAX;
use super::line::{Line, hex};
use super::text::{Instant, json_text};
use crate::element::DataType;
use crate::flow::FieldKind;

/// What octets turned out to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Shown<'a> {
    /// null.
    Null,
    /// true or false.
    Truth(bool),
    /// An integer.
    Unsigned(u64),
    /// An integer.
    Signed(i64),
    /// A finite number that was sent in 4 octets.
    Single(f32),
    /// A finite number.
    Double(f64),
    /// An address.
    V4([u8; 4]),
    /// An address.
    V6([u8; 16]),
    /// A MAC address.
    Mac([u8; 6]),
    /// Text.
    Text(&'a [u8]),
    /// A time.
    Time(Instant),
    /// Integers of 4 octets each.
    Numbers(&'a [[u8; 4]]),
    /// Hex.
    Octets(&'a [u8]),
    /// Hex, of octets that are not of their type.
    Misfit(&'a [u8]),
}

impl<'a> Shown<'a> {
    /// What `octets` of type `data_type` are. `near_ms` tells the NTP era: a time about that of the message.
    pub(super) fn element(data_type: DataType, octets: &'a [u8], near_ms: u64) -> Self {
        use DataType as D;
        let fits = match data_type {
            D::String => Some(Self::Text(octets)),
            D::OctetArray | D::BasicList | D::SubTemplateList | D::SubTemplateMultiList => Some(Self::Octets(octets)),
            // A template may have a field of no octets: there is nothing to be wrong.
            _ if octets.is_empty() => Some(Self::Null),
            D::Unsigned8 | D::Unsigned16 | D::Unsigned32 | D::Unsigned64 | D::Unsigned256 => {
                unsigned(octets).map(Self::Unsigned)
            }
            D::Signed8 | D::Signed16 | D::Signed32 | D::Signed64 => signed(octets).map(Self::Signed),
            // Only float64 may be reduced.
            D::Float32 => octets.try_into().ok().map(|octets| single(f32::from_be_bytes(octets))),
            D::Float64 if octets.len() == 4 => octets.try_into().ok().map(|octets| single(f32::from_be_bytes(octets))),
            D::Float64 => octets.try_into().ok().map(|octets| double(f64::from_be_bytes(octets))),
            D::Boolean => truth(octets),
            D::MacAddress => octets.try_into().ok().map(Self::Mac),
            D::Ipv4Address => octets.try_into().ok().map(Self::V4),
            D::Ipv6Address => octets.try_into().ok().map(Self::V6),
            D::DateTimeSeconds => {
                octets.try_into().ok().map(|octets| Self::Time(Instant::of_seconds(u32::from_be_bytes(octets))))
            }
            D::DateTimeMilliseconds => word(octets).and_then(Instant::of_milliseconds).map(Self::Time),
            D::DateTimeMicroseconds => {
                word(octets).and_then(|stamp| Instant::of_ntp(stamp, near_ms, true)).map(Self::Time)
            }
            D::DateTimeNanoseconds => {
                word(octets).and_then(|stamp| Instant::of_ntp(stamp, near_ms, false)).map(Self::Time)
            }
        };
        fits.unwrap_or(Self::Misfit(octets))
    }

    /// What `octets` of a catalogue field are.
    pub(super) fn field(kind: FieldKind, octets: &'a [u8]) -> Self {
        let fits = match kind {
            FieldKind::Text => Some(Self::Text(octets)),
            FieldKind::Octets => Some(Self::Octets(octets)),
            FieldKind::Unsigned => unsigned(octets).map(Self::Unsigned),
            FieldKind::Mac => octets.try_into().ok().map(Self::Mac),
            FieldKind::Address => octets.try_into().ok().map(Self::V4).or_else(|| octets.try_into().ok().map(Self::V6)),
            FieldKind::Numbers => {
                let (numbers, rest) = octets.as_chunks::<4>();
                rest.is_empty().then_some(Self::Numbers(numbers))
            }
        };
        fits.unwrap_or(Self::Misfit(octets))
    }

    /// Writes it as JSON. With `clamp` an integer above what the backend stores is cut to it; true if one was.
    pub(super) fn write(self, clamp: bool, line: &mut Line, out: &mut Vec<u8>) -> bool {
        line.clear();
        let mut clamped = false;
        match self {
            Self::Null => line.lit(b"null"),
            Self::Truth(true) => line.lit(b"true"),
            Self::Truth(false) => line.lit(b"false"),
            Self::Unsigned(value) => {
                clamped = clamp && value > INTEGER_MAX;
                line.uint(if clamped { INTEGER_MAX } else { value });
            }
            Self::Signed(value) => {
                if value < 0 {
                    line.lit(b"-");
                }
                line.uint(value.unsigned_abs());
            }
            // The shortest text that reads back as the same number; a Vec takes it all.
            Self::Single(value) => drop(write!(out, "{value:?}")),
            Self::Double(value) => drop(write!(out, "{value:?}")),
            Self::V4(address) => quoted(line, |line| line.v4(address)),
            Self::V6(address) => quoted(line, |line| line.v6(address)),
            Self::Mac(address) => quoted(line, |line| line.mac(address)),
            Self::Time(instant) => quoted(line, |line| instant.write(line)),
            Self::Text(octets) => json_text(out, octets),
            Self::Numbers(numbers) => {
                out.push(b'[');
                for (place, number) in numbers.iter().enumerate() {
                    line.clear();
                    if place > 0 {
                        line.lit(b",");
                    }
                    line.uint32(u32::from_be_bytes(*number));
                    out.extend_from_slice(line.as_bytes());
                }
                line.clear();
                line.lit(b"]");
            }
            Self::Octets(octets) | Self::Misfit(octets) => {
                out.push(b'"');
                hex(out, octets);
                out.push(b'"');
            }
        }
        out.extend_from_slice(line.as_bytes());
        clamped
    }
}

fn quoted(line: &mut Line, write: impl FnOnce(&mut Line)) {
    line.lit(b"\"");
    write(line);
    line.lit(b"\"");
}

fn word(octets: &[u8]) -> Option<u64> {
    octets.try_into().ok().map(u64::from_be_bytes)
}

/// An integer of any length whose upper octets, past eight, are zero (N9-25).
fn unsigned(octets: &[u8]) -> Option<u64> {
    let (upper, low) = octets.split_at(octets.len().saturating_sub(8));
    let fits = !octets.is_empty() && upper.iter().all(|octet| *octet == 0);
    fits.then(|| low.iter().fold(0, |value, octet| value << 8 | u64::from(*octet)))
}

/// An integer of one to eight octets in two's complement.
fn signed(octets: &[u8]) -> Option<i64> {
    let missing = 8_usize.checked_sub(octets.len())?;
    let value = unsigned(octets)?.cast_signed();
    // Up to the sign bit and back, which copies it.
    Some(value << (8 * missing) >> (8 * missing))
}

fn single(value: f32) -> Shown<'static> {
    if value.is_finite() { Shown::Single(value) } else { Shown::Null }
}

fn double(value: f64) -> Shown<'static> {
    if value.is_finite() { Shown::Double(value) } else { Shown::Null }
}

fn truth(octets: &[u8]) -> Option<Shown<'static>> {
    match octets {
        [1] => Some(Shown::Truth(true)),
        [2] => Some(Shown::Truth(false)),
        [_] => Some(Shown::Null),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;

    fn read(shown: Shown<'_>) -> Value {
        let mut out = Vec::new();
        shown.write(false, &mut Line::new(), &mut out);
        serde_json::from_slice(&out).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out)))
    }

    fn of(data_type: DataType, octets: &[u8]) -> Value {
        let shown = Shown::element(data_type, octets, NOW_MS);
        let value = read(shown);
        if let Shown::Misfit(_) = shown { json!({"misfit": value}) } else { value }
    }

    fn misfit(hex: &str) -> Value {
        json!({"misfit": hex})
    }

    #[test]
    fn ix_28_integers_of_every_width_and_sign() {
        use DataType::{Signed8, Signed32, Signed64, Unsigned8, Unsigned64};
        assert_eq!(of(Unsigned64, &[0xff; 8]), json!(u64::MAX));
        assert_eq!(of(Unsigned64, &[0; 8]), json!(0));
        assert_eq!(of(Unsigned64, &[1, 0, 0]), json!(65_536));
        assert_eq!(of(Unsigned8, &[0, 0, 0, 5]), json!(5), "the length is the template's word (G-07)");
        assert_eq!(of(Unsigned64, &[0, 0, 0, 0, 0, 0, 0, 0, 7]), json!(7));
        assert_eq!(of(Unsigned64, &[1, 0, 0, 0, 0, 0, 0, 0, 7]), misfit("010000000000000007"));
        assert_eq!(of(Signed8, &[0x80]), json!(-128));
        assert_eq!(of(Signed64, &[0xff]), json!(-1));
        assert_eq!(of(Signed32, &[0xff, 0x7f]), json!(-129));
        assert_eq!(of(Signed32, &[0x7f, 0xff, 0xff]), json!(0x7f_ffff));
        assert_eq!(of(Signed64, &[0x80, 0, 0, 0, 0, 0, 0, 0]), json!(i64::MIN));
        assert_eq!(of(Signed64, &[0; 9]), misfit(&"00".repeat(9)));
        assert_eq!(of(Unsigned8, &[]), Value::Null);
    }

    #[test]
    fn ix_11_unsigned256_of_any_length() {
        assert_eq!(of(DataType::Unsigned256, &[9]), json!(9));
        let mut octets = [0; 32];
        octets[31] = 9;
        assert_eq!(of(DataType::Unsigned256, &octets), json!(9));
        octets[0] = 1;
        assert!(of(DataType::Unsigned256, &octets).get("misfit").is_some(), "past what JSON readers take");
    }

    #[test]
    fn ix_29_floats_and_what_is_no_number() {
        use DataType::{Float32, Float64};
        assert_eq!(of(Float64, &1.5_f64.to_be_bytes()), json!(1.5));
        assert_eq!(of(Float64, &0.1_f32.to_be_bytes()), json!(0.1));
        assert_eq!(of(Float32, &0.1_f32.to_be_bytes()), json!(0.1));
        assert_eq!(of(Float64, &f64::MAX.to_be_bytes()), json!(f64::MAX));
        assert_eq!(of(Float64, &f64::MIN_POSITIVE.to_be_bytes()), json!(f64::MIN_POSITIVE));
        assert!(of(Float64, &(-0.0_f64).to_be_bytes()).as_f64().is_some_and(|zero| zero.is_sign_negative()));
        for none in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(of(Float64, &none.to_be_bytes()), Value::Null);
            #[expect(clippy::cast_possible_truncation, reason = "none of them is a number")]
            let short = none as f32;
            assert_eq!(of(Float32, &short.to_be_bytes()), Value::Null);
        }
        assert_eq!(of(Float32, &[0; 8]), misfit(&"00".repeat(8)), "float32 is not reduced from 8");
        assert_eq!(of(Float64, &[0; 3]), misfit("000000"));
    }

    #[test]
    fn ix_30_booleans() {
        let values: Vec<Value> = [0, 1, 2, 3, 255].map(|octet| of(DataType::Boolean, &[octet])).into();
        assert_eq!(values, [Value::Null, json!(true), json!(false), Value::Null, Value::Null]);
        assert_eq!(of(DataType::Boolean, &[0, 1]), misfit("0001"));
    }

    #[test]
    fn ix_31_addresses_keep_their_family() {
        let mapped: [u8; 16] = "::ffff:10.0.0.1".parse::<std::net::Ipv6Addr>().expect("an address").octets();
        assert_eq!(of(DataType::Ipv6Address, &mapped), json!("::ffff:10.0.0.1"));
        assert_eq!(of(DataType::Ipv4Address, &[10, 0, 0, 1]), json!("10.0.0.1"));
        assert_eq!(of(DataType::MacAddress, &[0, 1, 2, 3, 4, 0xff]), json!("00:01:02:03:04:ff"));
        // N9-26.
        assert_eq!(of(DataType::Ipv4Address, &[10, 0, 0]), misfit("0a0000"));
        assert_eq!(of(DataType::Ipv4Address, &[0; 50]), misfit(&"00".repeat(50)));
        assert_eq!(of(DataType::Ipv6Address, &[0; 4]), misfit("00000000"));
        assert_eq!(of(DataType::MacAddress, &[0; 8]), misfit("0000000000000000"));
    }

    #[test]
    fn ix_33_octets_and_ix_35_lists_are_hex() {
        for data_type in [DataType::OctetArray, DataType::BasicList, DataType::SubTemplateMultiList] {
            assert_eq!(of(data_type, &[]), json!(""));
            assert_eq!(of(data_type, &[0xab; 65_000]), json!("ab".repeat(65_000)));
        }
    }

    #[test]
    fn ix_34_times_have_their_length_or_are_none() {
        use DataType::{DateTimeMicroseconds, DateTimeMilliseconds, DateTimeSeconds};
        assert_eq!(of(DateTimeSeconds, &1_700_000_000_u32.to_be_bytes()), json!("2023-11-14T22:13:20Z"));
        assert_eq!(of(DateTimeMilliseconds, &NOW_MS.to_be_bytes()), json!("2023-11-14T22:13:20.000Z"));
        assert_eq!(of(DateTimeMilliseconds, &[0xff; 8]), misfit(&"ff".repeat(8)));
        // IX-11: times are not reduced.
        assert_eq!(of(DateTimeMilliseconds, &[0, 0, 0, 1]), misfit("00000001"));
        assert_eq!(of(DateTimeSeconds, &[0; 8]), misfit(&"00".repeat(8)));
        assert_eq!(of(DateTimeMicroseconds, &[0; 8]), json!("2036-02-07T06:28:16.000000Z"));
    }

    #[test]
    fn fields_by_kind() {
        let of = |kind, octets: &[u8]| read(Shown::field(kind, octets));
        assert_eq!(of(FieldKind::Address, &[10, 0, 0, 1]), json!("10.0.0.1"));
        assert_eq!(of(FieldKind::Address, &[0; 16]), json!("::"));
        assert_eq!(of(FieldKind::Numbers, &[0, 0, 0, 1, 0, 1, 0, 0]), json!([1, 65_536]));
        assert_eq!(of(FieldKind::Numbers, &[]), json!([]));
        assert_eq!(of(FieldKind::Mac, &[1; 6]), json!("01:01:01:01:01:01"));
        assert_eq!(of(FieldKind::Text, b"a\"b"), json!("a\"b"));
        assert_eq!(of(FieldKind::Octets, &[1, 0xff]), json!("01ff"));
        assert_eq!(Shown::field(FieldKind::Address, &[1; 5]), Shown::Misfit(&[1; 5]));
        assert_eq!(Shown::field(FieldKind::Numbers, &[1; 5]), Shown::Misfit(&[1; 5]));
    }

    #[test]
    fn what_the_backend_cannot_store_is_cut_and_said() {
        let mut out = Vec::new();
        assert!(Shown::Unsigned(u64::MAX).write(true, &mut Line::new(), &mut out));
        assert!(!Shown::Unsigned(INTEGER_MAX).write(true, &mut Line::new(), &mut out));
        assert_eq!(out, format!("{INTEGER_MAX}{INTEGER_MAX}").into_bytes());
    }

    proptest! {
        #[test]
        fn any_octets_of_any_type_are_json(
            data_type in prop::sample::select(DataType::ALL.to_vec()),
            octets in prop::collection::vec(any::<u8>(), 0..40),
            near in any::<u64>(),
        ) {
            read(Shown::element(data_type, &octets, near));
        }

        #[test]
        fn integers_come_back(value in any::<i64>(), width in 1_usize..=8) {
            let octets = &value.to_be_bytes()[8 - width..];
            let shift = 64 - 8 * width;
            prop_assert_eq!(of(DataType::Signed64, octets), json!(value << shift >> shift));
            prop_assert_eq!(of(DataType::Unsigned64, octets), json!((value.cast_unsigned()) << shift >> shift));
        }
    }
}
