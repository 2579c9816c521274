//! The steps of a plan: which octets go where.

use super::compile::presence as presence_of;
use super::extra_read::shows_all;
use super::extra_sources::Read;
use crate::decode::wire::value::unsigned;
use crate::flow::{ElementId, Presence, TimeSource};

/// The upper four bits of the word are the TCP header's length, not flags (RFC 7125).
pub(super) const TCP_FLAGS_MAX: u64 = 0x0FFF;

/// A place that one or several elements can feed. Order is the order of execution: what others
/// look at (IP version, protocol) comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Slot {
    IpVersion,
    Protocol,
    /// What follows the IPv6 header: the protocol, unless it is an extension header.
    NextHeader,
    SrcV4,
    SrcV6,
    DstV4,
    DstV6,
    NextHopV4,
    NextHopV6,
    SrcPort,
    DstPort,
    Bytes,
    Packets,
    SrcMac,
    DstMac,
    Vlan,
    PostVlan,
    SrcSgt,
    DstSgt,
    TcpFlags,
    Tos,
    InputIf,
    OutputIf,
    SrcAs,
    DstAs,
    SrcMaskV4,
    SrcMaskV6,
    DstMaskV4,
    DstMaskV6,
    IcmpTypeV4,
    IcmpCodeV4,
    IcmpTypeV6,
    IcmpCodeV6,
    /// Both in one, behind the others: it wins where it says something.
    IcmpTypeCodeV4,
    IcmpTypeCodeV6,
    Direction,
    FlowEndReason,
    Start,
    End,
    SystemInit,
    Duration,
    DurationMicroseconds,
    SamplingDirect,
    SamplingInterval,
    SamplingSpace,
    SamplingSize,
    SamplingPopulation,
    SamplingProbability,
    SamplerId,
}

/// One move. `offset` and `length` are of the record; in a variable-length record `offset` is
/// replaced by where field number `field` begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Where the value goes.
    pub slot: Slot,
    /// The value may be too large for its place: look before writing.
    pub checked: bool,
    /// It runs down its column without a look at the record.
    pub plain: bool,
    /// Values that say that nothing is known are taken back.
    pub judged: bool,
    /// Octets; VARIABLE_LENGTH where the record says.
    pub length: u16,
    /// Offset in a fixed record.
    pub offset: u16,
    /// Number of the field.
    pub field: u16,
}

/// An element that is kept as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keep {
    /// Which.
    pub element: ElementId,
    /// Octets; VARIABLE_LENGTH where the record says.
    pub length: u16,
    /// Offset in a fixed record.
    pub offset: u16,
    /// Number of the field.
    pub field: u16,
    /// Where the row shows it already.
    pub shown: Shown,
}

/// Where a row shows an element that may be kept; whether it really does is asked at the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Nowhere.
    Nowhere,
    /// In the record's own field of this slot.
    Core(Slot),
    /// In a field of the arena that is read so.
    Field(Read),
}

impl Shown {
    /// True if a row of this `presence`, which has what its record says, shows all that `octets` say.
    pub(super) fn holds(self, presence: Presence, octets: &[u8]) -> bool {
        match self {
            Self::Nowhere => false,
            Self::Core(Slot::TcpFlags) => {
                presence.has_any(Presence::TCP_FLAGS) && unsigned(octets).is_some_and(|flags| flags <= TCP_FLAGS_MAX)
            }
            Self::Core(slot) => presence.has_any(presence_of(slot)),
            Self::Field(read) => shows_all(read, octets),
        }
    }
}

/// How a time stamp is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeKind {
    /// Nothing in the record.
    None,
    /// Unix seconds.
    Seconds,
    /// Unix milliseconds.
    Milliseconds,
    /// NTP, 64 bits.
    Ntp,
    /// sysUpTime milliseconds.
    Uptime,
    /// Microseconds before the export time.
    Delta,
    /// Observation time in Unix seconds or milliseconds or NTP: events.
    Observation(ObservationUnit),
}

/// Unit of observationTime*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ObservationUnit {
    /// 322.
    Seconds,
    /// 323.
    Milliseconds,
    /// 324, 325.
    Ntp,
}

/// What an element can be to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Role {
    /// Which place it feeds.
    pub slot: Slot,
    /// Among elements for one place the lowest wins; the first of equals (G-08).
    pub rank: u8,
    /// For Start and End: the clock and its name.
    pub time: Option<(TimeKind, TimeSource)>,
}

const fn role(slot: Slot, rank: u8) -> Role {
    Role { slot, rank, time: None }
}

const fn stamp(slot: Slot, rank: u8, kind: TimeKind, source: TimeSource) -> Role {
    Role { slot, rank, time: Some((kind, source)) }
}

/// Cisco's enterprise number (TrustSec, connections of its performance monitors).
const CISCO: u32 = 9;
/// SonicWall's, which tells nearly every field of a flow by elements of its own.
const SONICWALL: u32 = 8_741;

/// The roles of `element` (protocol.md section 5); observation times feed both ends of a flow.
pub(crate) fn roles(element: ElementId) -> [Option<Role>; 2] {
    use Slot as S;
    use TimeKind as K;
    use TimeSource as T;
    let one = |r: Role| [Some(r), None];
    let ElementId { pen, id } = element;
    match (pen, id) {
        (0, 8) => one(role(S::SrcV4, 0)),
        (SONICWALL, 5) => one(role(S::SrcV4, 1)),
        // The client of a connection is who began it, as 231 and 298 count it.
        (CISCO, 12_236 | 45_004) => one(role(S::SrcV4, 2)),
        (0, 12) => one(role(S::DstV4, 0)),
        (SONICWALL, 6) => one(role(S::DstV4, 1)),
        (CISCO, 12_237 | 45_005) => one(role(S::DstV4, 2)),
        (0, 27) => one(role(S::SrcV6, 0)),
        (CISCO, 12_238 | 45_006) => one(role(S::SrcV6, 1)),
        (0, 28) => one(role(S::DstV6, 0)),
        (CISCO, 12_239 | 45_007) => one(role(S::DstV6, 1)),
        (0, 15) => one(role(S::NextHopV4, 0)),
        (0, 62) => one(role(S::NextHopV6, 0)),
        (0, 60) => one(role(S::IpVersion, 0)),
        (0, 4) => one(role(S::Protocol, 0)),
        (SONICWALL, 20) => one(role(S::Protocol, 1)),
        (0, 193) => one(role(S::NextHeader, 0)),
        (0, 7) => one(role(S::SrcPort, 0)),
        (0, 180) => one(role(S::SrcPort, 1)),
        (0, 182) => one(role(S::SrcPort, 2)),
        (SONICWALL, 11) => one(role(S::SrcPort, 3)),
        (CISCO, 12_240 | 45_008) => one(role(S::SrcPort, 4)),
        (0, 11) => one(role(S::DstPort, 0)),
        (0, 181) => one(role(S::DstPort, 1)),
        (0, 183) => one(role(S::DstPort, 2)),
        (SONICWALL, 12) => one(role(S::DstPort, 3)),
        (CISCO, 12_241 | 45_009) => one(role(S::DstPort, 4)),
        // Deltas beat totals, which add up twice when a long flow is reported again (B-1).
        (0, 1) => one(role(S::Bytes, 0)),
        (0, 85) => one(role(S::Bytes, 1)),
        (0, 231) => one(role(S::Bytes, 2)),
        (0, 23) => one(role(S::Bytes, 3)),
        (0, 171) => one(role(S::Bytes, 4)),
        (0, 352 | 416) => one(role(S::Bytes, 5)),
        (0, 353 | 419) => one(role(S::Bytes, 6)),
        // From the initiator to the responder; 16 and 15 count what came back.
        (SONICWALL, 14) => one(role(S::Bytes, 7)),
        (SONICWALL, 13) => one(role(S::Packets, 5)),
        (0, 2) => one(role(S::Packets, 0)),
        (0, 86) => one(role(S::Packets, 1)),
        (0, 298) => one(role(S::Packets, 2)),
        (0, 24) => one(role(S::Packets, 3)),
        (0, 172) => one(role(S::Packets, 4)),
        (0, 56) => one(role(S::SrcMac, 0)),
        (0, 81) => one(role(S::SrcMac, 1)),
        // 80 is the destination as it came in; 57 is the one after forwarding.
        (0, 80) => one(role(S::DstMac, 0)),
        (0, 57) => one(role(S::DstMac, 1)),
        (0, 58) => one(role(S::Vlan, 0)),
        (0, 243) => one(role(S::Vlan, 1)),
        (0, 59) => one(role(S::PostVlan, 0)),
        (0, 254) => one(role(S::PostVlan, 1)),
        // TrustSec, in NetFlow v9 from 34000 on: IANA 411 and 412 are something else (IX-47).
        (CISCO, 1232 | 34_000) => one(role(S::SrcSgt, 0)),
        (CISCO, 1236 | 34_004) => one(role(S::SrcSgt, 1)),
        (CISCO, 1233 | 34_001) => one(role(S::DstSgt, 0)),
        (0, 6) => one(role(S::TcpFlags, 0)),
        (0, 5) => one(role(S::Tos, 0)),
        (0, 10) => one(role(S::InputIf, 0)),
        (0, 252) => one(role(S::InputIf, 1)),
        (SONICWALL, 9) => one(role(S::InputIf, 2)),
        (0, 14) => one(role(S::OutputIf, 0)),
        (0, 253) => one(role(S::OutputIf, 1)),
        (SONICWALL, 10) => one(role(S::OutputIf, 2)),
        (0, 16) => one(role(S::SrcAs, 0)),
        (0, 17) => one(role(S::DstAs, 0)),
        (0, 9) => one(role(S::SrcMaskV4, 0)),
        (0, 29) => one(role(S::SrcMaskV6, 0)),
        (0, 13) => one(role(S::DstMaskV4, 0)),
        (0, 30) => one(role(S::DstMaskV6, 0)),
        (0, 32) => one(role(S::IcmpTypeCodeV4, 0)),
        (0, 139) => one(role(S::IcmpTypeCodeV6, 0)),
        (0, 176) => one(role(S::IcmpTypeV4, 0)),
        (0, 177) => one(role(S::IcmpCodeV4, 0)),
        (0, 178) => one(role(S::IcmpTypeV6, 0)),
        (0, 179) => one(role(S::IcmpCodeV6, 0)),
        (0, 61) => one(role(S::Direction, 0)),
        (0, 136) => one(role(S::FlowEndReason, 0)),
        (0, 156) => one(stamp(S::Start, 0, K::Ntp, T::Nanoseconds)),
        (0, 157) => one(stamp(S::End, 0, K::Ntp, T::Nanoseconds)),
        (0, 154) => one(stamp(S::Start, 1, K::Ntp, T::Microseconds)),
        (0, 155) => one(stamp(S::End, 1, K::Ntp, T::Microseconds)),
        (0, 152) => one(stamp(S::Start, 2, K::Milliseconds, T::Milliseconds)),
        (0, 153) => one(stamp(S::End, 2, K::Milliseconds, T::Milliseconds)),
        (0, 150) => one(stamp(S::Start, 3, K::Seconds, T::Seconds)),
        (0, 151) => one(stamp(S::End, 3, K::Seconds, T::Seconds)),
        (0, 22) => one(stamp(S::Start, 4, K::Uptime, T::SysUptime)),
        (0, 21) => one(stamp(S::End, 4, K::Uptime, T::SysUptime)),
        (0, 158) => one(stamp(S::Start, 5, K::Delta, T::Delta)),
        (0, 159) => one(stamp(S::End, 5, K::Delta, T::Delta)),
        (0, 322..=325) => {
            let (unit, rank) = match id {
                325 => (ObservationUnit::Ntp, 6),
                324 => (ObservationUnit::Ntp, 7),
                323 => (ObservationUnit::Milliseconds, 8),
                _ => (ObservationUnit::Seconds, 9),
            };
            let event = |slot| Some(stamp(slot, rank, K::Observation(unit), T::Observation));
            [event(S::Start), event(S::End)]
        }
        (0, 160) => one(role(S::SystemInit, 0)),
        (0, 161) => one(role(S::Duration, 0)),
        (0, 162) => one(role(S::DurationMicroseconds, 0)),
        (0, 34) => one(role(S::SamplingDirect, 0)),
        (0, 50) => one(role(S::SamplingDirect, 1)),
        (0, 305) => one(role(S::SamplingInterval, 0)),
        (0, 306) => one(role(S::SamplingSpace, 0)),
        (0, 309) => one(role(S::SamplingSize, 0)),
        (0, 310) => one(role(S::SamplingPopulation, 0)),
        (0, 311) => one(role(S::SamplingProbability, 0)),
        (0, 302) => one(role(S::SamplerId, 0)),
        (0, 48) => one(role(S::SamplerId, 1)),
        _ => [None, None],
    }
}

/// Octets that a slot's value can have: (exact, or 0 for "an integer of 1 to 8 octets and more if
/// the upper ones are zero"), and the octets of its field in the record.
pub(crate) const fn width(slot: Slot, time: Option<TimeKind>) -> Width {
    use Slot as S;
    match slot {
        S::SrcV4 | S::DstV4 | S::NextHopV4 => Width::Exact(4),
        S::SrcV6 | S::DstV6 | S::NextHopV6 => Width::Exact(16),
        S::SrcMac | S::DstMac => Width::Exact(6),
        S::Start | S::End => match time {
            Some(TimeKind::Seconds | TimeKind::Observation(ObservationUnit::Seconds)) => Width::Exact(4),
            // NX-OS sends its 4-octet stamps in 8 (N9-25).
            Some(TimeKind::Uptime | TimeKind::Delta) => Width::Integer(8),
            _ => Width::Exact(8),
        },
        S::SystemInit => Width::Exact(8),
        S::SamplingProbability => Width::Float,
        S::Bytes | S::Packets => Width::Integer(8),
        S::InputIf | S::OutputIf | S::SrcAs | S::DstAs => Width::Integer(4),
        S::Duration | S::DurationMicroseconds => Width::Integer(8),
        S::SamplingDirect | S::SamplingInterval | S::SamplingSpace | S::SamplingSize | S::SamplingPopulation => {
            Width::Integer(8)
        }
        S::SamplerId => Width::Integer(8),
        S::SrcPort | S::DstPort | S::Vlan | S::PostVlan | S::SrcSgt | S::DstSgt | S::TcpFlags => Width::Integer(2),
        S::IcmpTypeCodeV4 | S::IcmpTypeCodeV6 => Width::Integer(2),
        S::IpVersion
        | S::Protocol
        | S::NextHeader
        | S::Tos
        | S::SrcMaskV4
        | S::SrcMaskV6
        | S::DstMaskV4
        | S::DstMaskV6
        | S::IcmpTypeV4
        | S::IcmpCodeV4
        | S::IcmpTypeV6
        | S::IcmpCodeV6
        | S::Direction
        | S::FlowEndReason => Width::Integer(1),
    }
}

/// Which lengths a slot accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    /// Only this many octets (N9-26, IX-11).
    Exact(u16),
    /// An unsigned integer that fits this many octets.
    Integer(u16),
    /// float32 or float64.
    Float,
}
