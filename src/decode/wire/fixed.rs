//! The layouts of NetFlow v1, v5 and v7: one header, then records of one length.

use crate::flow::Version;

/// How a version's datagram is laid out (Cisco, "NetFlow Export Datagram Formats").
pub(in crate::decode) struct Layout {
    pub header_octets: usize,
    pub record_octets: usize,
    pub count_max: u16,
    pub has_as: bool,
}

/// Octets of a record of v1 and v5.
pub(in crate::decode) const V5_OCTETS: usize = 48;
/// Octets of a record of v7.
pub(in crate::decode) const V7_OCTETS: usize = 52;

/// That of `version`: 1, 5 or 7.
pub(in crate::decode) const fn layout(version: Version) -> Layout {
    match version {
        Version::V1 => Layout { header_octets: 16, record_octets: V5_OCTETS, count_max: 24, has_as: false },
        // 28 rows have been accepted elsewhere, though Cisco says 27 (V7-01).
        Version::V7 => Layout { header_octets: 24, record_octets: V7_OCTETS, count_max: 28, has_as: true },
        _ => Layout { header_octets: 24, record_octets: V5_OCTETS, count_max: 30, has_as: true },
    }
}

/// Most rows that a message of `version` holds.
pub(in crate::decode) const fn count_max(version: Version) -> u16 {
    layout(version).count_max
}

/// Octets of the fixed header of `version`.
pub(in crate::decode) const fn header_octets(version: Version) -> usize {
    layout(version).header_octets
}
