//! Reading values out of a record's octets: total functions, any length, no panic.

use crate::decode::wire::template::VARIABLE_LENGTH;

/// An unsigned integer of any length (RFC 7011 6.2): more than 8 octets only if the upper ones are
/// zero (N9-25). None for no octets or a value past 64 bits.
#[inline]
pub(in crate::decode) fn unsigned(octets: &[u8]) -> Option<u64> {
    match *octets {
        [a] => Some(u64::from(a)),
        [a, b] => Some(u64::from(u16::from_be_bytes([a, b]))),
        [a, b, c, d] => Some(u64::from(u32::from_be_bytes([a, b, c, d]))),
        [a, b, c, d, e, f, g, h] => Some(u64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => unsigned_odd(octets),
    }
}

#[cold]
fn unsigned_odd(octets: &[u8]) -> Option<u64> {
    if octets.is_empty() {
        return None;
    }
    let low = octets.len().saturating_sub(8);
    if octets[..low].iter().any(|o| *o != 0) {
        return None;
    }
    Some(octets[low..].iter().fold(0, |value, o| value << 8 | u64::from(*o)))
}

/// float64, or float32 where it was reduced (RFC 7011 6.1.3, 6.1.4, 6.2).
pub(in crate::decode) fn float(octets: &[u8]) -> Option<f64> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Some(f64::from(f32::from_be_bytes(octets)));
    }
    <[u8; 8]>::try_from(octets).ok().map(f64::from_be_bytes)
}

/// Where the fields of a variable-length record stand: fills `positions` with (offset, length) per
/// field and returns the octets of the record. None if it runs past `octets` (IX-10).
pub(in crate::decode) fn field_positions(
    lengths: &[u16],
    octets: &[u8],
    positions: &mut [(u32, u16)],
) -> Option<usize> {
    let mut at = 0_usize;
    for (length, position) in lengths.iter().zip(positions) {
        let mut length = *length;
        if length == VARIABLE_LENGTH {
            let short = *octets.get(at)?;
            at += 1;
            length = u16::from(short);
            // 255 says that two octets of length follow; small values in that form are legal.
            if short == 0xFF {
                length = u16::from_be_bytes([*octets.get(at)?, *octets.get(at + 1)?]);
                at += 2;
            }
        }
        *position = (u32::try_from(at).ok()?, length);
        at += usize::from(length);
        if at > octets.len() {
            return None;
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g_07_integers_of_every_width() {
        for width in 1..=16 {
            let mut octets = vec![0; width];
            octets[width - 1] = 7;
            assert_eq!(unsigned(&octets), Some(7), "{width}");
        }
        assert_eq!(unsigned(&[1, 0, 0]), Some(65_536));
        assert_eq!(unsigned(&[1, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(unsigned(&[]), None);
    }

    #[test]
    fn ix_10_variable_lengths() {
        let mut positions = [(0, 0); 2];
        for (value, prefix) in [(0, 1), (1, 1), (254, 1), (255, 3), (256, 3), (65_000, 3), (3, 3)] {
            let mut octets = match (value, prefix) {
                (_, 1) => vec![u8::try_from(value).unwrap()],
                _ => [&[0xFF][..], &u16::try_from(value).unwrap().to_be_bytes()].concat(),
            };
            octets.extend(vec![9; value]);
            octets.push(4);
            let total = field_positions(&[VARIABLE_LENGTH, 1], &octets, &mut positions);
            assert_eq!(total, Some(prefix + value + 1));
            assert_eq!(positions[0], (u32::try_from(prefix).unwrap(), u16::try_from(value).unwrap()));
            for end in 0..octets.len().min(300) {
                assert_eq!(field_positions(&[VARIABLE_LENGTH, 1], &octets[..end], &mut positions), None);
            }
        }
    }
}
