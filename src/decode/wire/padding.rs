//! What stands behind the last record of a set (IX-05).
//!
//! Padding is zeroes up to the next 4-octet boundary. Anything else is taken for padding as well, because exporters exist
//! that send it; but where an exporter uses an id for another layout before it says so, this is how it shows.

/// What the rest of a set says of its template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) enum Rest {
    /// Padding.
    Padding,
    /// Zeroes, more than alignment to 4 octets takes.
    Long,
    /// Not all zeroes.
    NotZero,
}

impl Rest {
    /// Judges what is left of a set, shorter than a record.
    pub fn of(octets: &[u8]) -> Self {
        if octets.iter().any(|octet| *octet != 0) {
            Self::NotZero
        } else if octets.len() >= 4 {
            Self::Long
        } else {
            Self::Padding
        }
    }
}
