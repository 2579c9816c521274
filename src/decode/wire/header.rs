//! The fixed header of a message, and where the message ends.

use std::net::SocketAddr;

use nom::number::complete::{be_u8, be_u16, be_u32};
use nom::{IResult, Parser};

use super::fixed;
use crate::decode::error::{DecodeError, DecodeErrorKind};
use crate::flow::Version;

/// One datagram as the kernel gave it.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// Who sent it; IPv4-mapped IPv6 is folded to IPv4 (G-05).
    pub peer: SocketAddr,
    /// Kernel receive time, Unix nanoseconds.
    pub receive_ns: u64,
    /// UDP payload.
    pub octets: &'a [u8],
}

/// The fixed header of a message, whatever its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Version.
    pub version: Version,
    /// Observation domain: v9 Source ID; v5 engine_type * 256 + engine_id; 0 in v1 and v7.
    pub observation_domain: u32,
    /// Sequence number in the version's own unit; 0 in v1.
    pub sequence: u32,
    /// Header clock, Unix milliseconds.
    pub export_ms: u64,
    /// sysUpTime in milliseconds; 0 in IPFIX.
    pub sys_uptime_ms: u32,
    /// count of the header (v5: records; v9: records of all kinds); length of the message in IPFIX.
    pub count_or_length: u16,
    /// v5 sampling word.
    pub sampling: u16,
}

/// sFlow v5 begins with a 32-bit version: two zero octets, then 5.
const SFLOW_VERSION: [u8; 4] = [0, 0, 0, 5];

/// Reads the fixed header.
///
/// # Errors
/// `TooShort`, `UnsupportedVersion`, `NotDecoded` (G-01, G-02).
pub fn identify(octets: &[u8]) -> Result<Header, DecodeError> {
    let too_short = |_: nom::Err<nom::error::Error<&[u8]>>| too_short(octets);
    let (rest, word) = be_u16(octets).map_err(too_short)?;
    match Version::from_wire(word) {
        Some(Version::V9) => v9_header(rest).map_err(too_short).map(|(_, header)| header),
        Some(Version::Ipfix) => ipfix_header(rest).map_err(too_short).map(|(_, header)| header),
        Some(version) => fixed_header(version, rest).map_err(too_short).map(|(_, header)| header),
        // v8 aggregates on the router; sFlow is another protocol on the same port.
        None if word == 8 || octets.starts_with(&SFLOW_VERSION) => Err(DecodeError::at(DecodeErrorKind::NotDecoded, 0)),
        None => Err(DecodeError::at(DecodeErrorKind::UnsupportedVersion, 0)),
    }
}

#[cold]
fn too_short(octets: &[u8]) -> DecodeError {
    DecodeError::at(DecodeErrorKind::TooShort, u32::try_from(octets.len()).unwrap_or(u32::MAX))
}

/// RFC 3954 5.1, behind the version.
fn v9_header(octets: &[u8]) -> IResult<&[u8], Header> {
    let (rest, (count, uptime, seconds, sequence, source_id)) =
        (be_u16, be_u32, be_u32, be_u32, be_u32).parse(octets)?;
    let header = Header {
        version: Version::V9,
        observation_domain: source_id,
        sequence,
        export_ms: u64::from(seconds) * 1_000,
        sys_uptime_ms: uptime,
        count_or_length: count,
        sampling: 0,
    };
    Ok((rest, header))
}

/// RFC 7011 3.1, behind the version.
fn ipfix_header(octets: &[u8]) -> IResult<&[u8], Header> {
    let (rest, (length, seconds, sequence, domain)) = (be_u16, be_u32, be_u32, be_u32).parse(octets)?;
    let header = Header {
        version: Version::Ipfix,
        observation_domain: domain,
        sequence,
        export_ms: u64::from(seconds) * 1_000,
        sys_uptime_ms: 0,
        count_or_length: length,
        sampling: 0,
    };
    Ok((rest, header))
}

/// v1, v5 and v7 (V5-01, V1-01, V7-01), behind the version.
fn fixed_header(version: Version, octets: &[u8]) -> IResult<&[u8], Header> {
    let (rest, (count, uptime, seconds, nanoseconds)) = (be_u16, be_u32, be_u32, be_u32).parse(octets)?;
    let (rest, (sequence, engine_type, engine_id, sampling)) = match version {
        Version::V1 => (rest, (0, 0, 0, 0)),
        // v7's last four octets are reserved.
        Version::V7 => {
            let (rest, (sequence, _)) = (be_u32, be_u32).parse(rest)?;
            (rest, (sequence, 0, 0, 0))
        }
        _ => (be_u32, be_u8, be_u8, be_u16).parse(rest)?,
    };
    let header = Header {
        version,
        observation_domain: u32::from(engine_type) << 8 | u32::from(engine_id),
        sequence,
        // More than a second of nanoseconds is nonsense and clamped (V5-05).
        export_ms: u64::from(seconds) * 1_000 + u64::from(nanoseconds.min(999_999_999)) / 1_000_000,
        sys_uptime_ms: uptime,
        count_or_length: count,
        sampling,
    };
    Ok((rest, header))
}

/// The message's own octets behind its header: what IPFIX's length says, the whole datagram in v9.
///
/// # Errors
/// IPFIX: `BadLength` if the length is below the header's or past the datagram (IX-01, IX-02).
pub(in crate::decode) fn message_body<'a>(header: &Header, octets: &'a [u8]) -> Result<&'a [u8], DecodeError> {
    match header.version {
        Version::V9 => Ok(octets.get(V9_HEADER_OCTETS..).unwrap_or_default()),
        Version::Ipfix => octets
            .get(IPFIX_HEADER_OCTETS..usize::from(header.count_or_length))
            .ok_or(DecodeError::at(DecodeErrorKind::BadLength, 2)),
        version => Ok(octets.get(fixed::header_octets(version)..).unwrap_or_default()),
    }
}

const V9_HEADER_OCTETS: usize = 20;
const IPFIX_HEADER_OCTETS: usize = 16;
