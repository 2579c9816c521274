//! `FlowRecord`: one flow as plain old data, the same for every version.
//!
//! Copy, at most 192 octets (asserted below), no pointer. What has no field here stands in the
//! batch's arena (`FlowBatch::elements`). A field counts only where its presence bit is set; the
//! others are zero. Counters are as on the wire: never multiplied by a sampling rate.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Export protocol of a message, by the first 16 bits of its header.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// NetFlow v1 (no sequence, no engine).
    V1 = 1,
    /// NetFlow v5.
    V5 = 5,
    /// NetFlow v7 (Catalyst switches).
    V7 = 7,
    /// NetFlow v9, RFC 3954.
    V9 = 9,
    /// IPFIX, RFC 7011.
    Ipfix = 10,
}

impl Version {
    /// All versions that are decoded, in label order.
    pub const ALL: [Self; 5] = [Self::V1, Self::V5, Self::V7, Self::V9, Self::Ipfix];

    /// The `version` label of metrics and the name in logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V5 => "v5",
            Self::V7 => "v7",
            Self::V9 => "v9",
            Self::Ipfix => "ipfix",
        }
    }

    /// Position in [`Version::ALL`], for arrays of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::V1 => 0,
            Self::V5 => 1,
            Self::V7 => 2,
            Self::V9 => 3,
            Self::Ipfix => 4,
        }
    }

    /// Version of a header's first 16 bits, if it is one that is decoded.
    #[must_use]
    pub const fn from_wire(word: u16) -> Option<Self> {
        match word {
            1 => Some(Self::V1),
            5 => Some(Self::V5),
            7 => Some(Self::V7),
            9 => Some(Self::V9),
            10 => Some(Self::Ipfix),
            _ => None,
        }
    }
}

/// Where the sampling rate of a record came from; the order is the order of precedence.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SamplingSource {
    /// Nothing said anything: rate 1 is a guess.
    #[default]
    Unknown,
    /// The operator's override for this exporter.
    Override,
    /// An element of the record itself (34, 50, 305/306, 309/310, 311), or the v5 header.
    Record,
    /// The sampler table entry that the record's 302 or 48 names.
    Sampler,
    /// An option scoped to the record's interface.
    Interface,
    /// An option scoped to the template or line card.
    Template,
    /// An option for the whole observation domain.
    Domain,
    /// The same of another domain of this exporter.
    Exporter,
    /// The operator's default for this exporter.
    Default,
}

impl SamplingSource {
    /// Name as it stands in outputs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Override => "override",
            Self::Record => "record",
            Self::Sampler => "sampler",
            Self::Interface => "interface",
            Self::Template => "template",
            Self::Domain => "domain",
            Self::Exporter => "exporter",
            Self::Default => "default",
        }
    }
}

/// Which element gave flow_start and flow_end.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeSource {
    /// Time of the message header (nothing better in the record).
    #[default]
    Header,
    /// Receive time, because the header's clock is not plausible.
    Receive,
    /// flowStartNanoseconds 156 / flowEndNanoseconds 157.
    Nanoseconds,
    /// flowStartMicroseconds 154 / 155.
    Microseconds,
    /// flowStartMilliseconds 152 / 153.
    Milliseconds,
    /// flowStartSeconds 150 / 151.
    Seconds,
    /// flowStartSysUpTime 22 / 21 with the header's (or element 160's) clock.
    SysUptime,
    /// flowStartDeltaMicroseconds 158 / 159: negative offsets from the export time.
    Delta,
    /// observationTime* 322-325: events.
    Observation,
    /// A stamp and a duration (161, 162).
    Duration,
}

impl TimeSource {
    /// Name as it stands in outputs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Receive => "receive",
            Self::Nanoseconds => "nanoseconds",
            Self::Microseconds => "microseconds",
            Self::Milliseconds => "milliseconds",
            Self::Seconds => "seconds",
            Self::SysUptime => "sys_uptime",
            Self::Delta => "delta",
            Self::Observation => "observation",
            Self::Duration => "duration",
        }
    }
}

/// What `bytes` counts.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BytesKind {
    /// IP header and payload (1, 85, 23).
    #[default]
    Ip,
    /// Layer 2 octets (352, 353).
    Layer2,
    /// Layer 4 payload (231, 232).
    Layer4,
}

impl BytesKind {
    /// Name as it stands in outputs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Layer2 => "l2",
            Self::Layer4 => "l4",
        }
    }
}

/// Set of fields that a record has. One bit a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Presence(pub u64);

macro_rules! presence_bits {
    ($($(#[$doc:meta])* $name:ident = $bit:expr;)*) => {
        impl Presence { $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)* }
    };
}

presence_bits! {
    /// `src` holds an IPv4 address in its first four octets.
    SRC_V4 = 0;
    /// `src` holds an IPv6 address.
    SRC_V6 = 1;
    /// `dst` holds an IPv4 address in its first four octets.
    DST_V4 = 2;
    /// `dst` holds an IPv6 address.
    DST_V6 = 3;
    /// `next_hop` holds an IPv4 address in its first four octets.
    NEXT_HOP_V4 = 4;
    /// `next_hop` holds an IPv6 address.
    NEXT_HOP_V6 = 5;
    /// `src_port` is known.
    SRC_PORT = 6;
    /// `dst_port` is known.
    DST_PORT = 7;
    /// `protocol` is known (0 is HOPOPT, not "unknown").
    PROTOCOL = 8;
    /// `bytes` is known.
    BYTES = 9;
    /// `packets` is known.
    PACKETS = 10;
    /// `src_mac` is known.
    SRC_MAC = 11;
    /// `dst_mac` is known.
    DST_MAC = 12;
    /// `vlan` is known (0 is "untagged").
    VLAN = 13;
    /// `post_vlan` is known.
    POST_VLAN = 14;
    /// `src_sgt` is known (0 is the "unknown" group and kept).
    SRC_SGT = 15;
    /// `dst_sgt` is known.
    DST_SGT = 16;
    /// `tcp_flags` is known.
    TCP_FLAGS = 17;
    /// `tos` is known.
    TOS = 18;
    /// `input_if` is known.
    INPUT_IF = 19;
    /// `output_if` is known.
    OUTPUT_IF = 20;
    /// `src_as` is known.
    SRC_AS = 21;
    /// `dst_as` is known.
    DST_AS = 22;
    /// `src_mask` is known.
    SRC_MASK = 23;
    /// `dst_mask` is known.
    DST_MASK = 24;
    /// `icmp_type` and `icmp_code` are known.
    ICMP = 25;
    /// `direction` is known.
    DIRECTION = 26;
    /// `flow_end_reason` is known.
    FLOW_END_REASON = 27;
    /// `sampling_rate` came from the record or the message header itself.
    SAMPLING_IN_RECORD = 28;
    /// The message had a template (v9, IPFIX).
    TEMPLATE = 29;
    /// Start and end came from elements of the record, not from the header.
    TIMES = 30;
    /// The counters are totals of the flow, not deltas.
    COUNTER_TOTAL = 31;
    /// A stamp was not plausible and was replaced (V5-07, T-1).
    BAD_TIMES = 32;
    /// A stamp lay after the header's sysUpTime (V5-06).
    AHEAD_OF_UPTIME = 33;
    /// An event (firewall, NAT), not traffic: it has no counters of its own (B-4, RFC 8158).
    EVENT = 34;
    /// The other direction of a record that tells both (RFC 5103, B-4).
    REVERSE = 35;
    /// Octets and packets cannot both be right (B-5).
    IMPLAUSIBLE = 36;
}

impl Presence {
    /// Nothing is known.
    pub const NONE: Self = Self(0);

    /// True if every bit of `bits` is set.
    #[inline]
    #[must_use]
    pub const fn has(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }

    /// True if at least one bit of `bits` is set.
    #[inline]
    #[must_use]
    pub const fn has_any(self, bits: Self) -> bool {
        self.0 & bits.0 != 0
    }

    /// Adds `bits`.
    #[inline]
    pub const fn set(&mut self, bits: Self) {
        self.0 |= bits.0;
    }

    /// Takes `bits` away.
    #[inline]
    pub const fn clear(&mut self, bits: Self) {
        self.0 &= !bits.0;
    }

    /// Both sets together.
    #[inline]
    #[must_use]
    pub const fn with(self, bits: Self) -> Self {
        Self(self.0 | bits.0)
    }
}

/// One flow. Field names are the normalised keys; units stand with each.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowRecord {
    /// Which of the fields below are known.
    pub presence: Presence,
    /// sourceIPv4Address 8 / sourceIPv6Address 27; read it by [`FlowRecord::src_ip`].
    pub src: [u8; 16],
    /// destinationIPv4Address 12 / destinationIPv6Address 28.
    pub dst: [u8; 16],
    /// ipNextHopIPv4Address 15 / ipNextHopIPv6Address 62.
    pub next_hop: [u8; 16],
    /// Octets, unit by `bytes_kind`, not scaled.
    pub bytes: u64,
    /// Packets, not scaled.
    pub packets: u64,
    /// Unix milliseconds; always set, see `time_source`.
    pub start_ms: u64,
    /// Unix milliseconds; never below `start_ms`.
    pub end_ms: u64,
    /// 1 in N as the exporter said it; a 0 counts as 1: read it by [`FlowRecord::rate`].
    pub sampling_rate: u32,
    /// Observation domain (v9 Source ID; v5 engine_type * 256 + engine_id).
    pub observation_domain: u32,
    /// ingressInterface 10.
    pub input_if: u32,
    /// egressInterface 14.
    pub output_if: u32,
    /// bgpSourceAsNumber 16.
    pub src_as: u32,
    /// bgpDestinationAsNumber 17.
    pub dst_as: u32,
    /// Index into the batch's `exporters`.
    pub exporter: u16,
    /// Template id; 0 where the version has none.
    pub template_id: u16,
    /// sourceTransportPort 7, 180, 182.
    pub src_port: u16,
    /// destinationTransportPort 11, 181, 183.
    pub dst_port: u16,
    /// vlanId 58, else 243.
    pub vlan: u16,
    /// postVlanId 59, else 254.
    pub post_vlan: u16,
    /// Source Security Group Tag: 9/1232 (v9 34000), else 9/1236 (v9 34004).
    pub src_sgt: u16,
    /// Destination Security Group Tag: 9/1233 (v9 34001).
    pub dst_sgt: u16,
    /// tcpControlBits 6, low 12 bits.
    pub tcp_flags: u16,
    /// sourceMacAddress 56, else 81.
    pub src_mac: [u8; 6],
    /// destinationMacAddress 80, else postDestinationMacAddress 57.
    pub dst_mac: [u8; 6],
    /// protocolIdentifier 4.
    pub protocol: u8,
    /// ipClassOfService 5.
    pub tos: u8,
    /// ICMP type.
    pub icmp_type: u8,
    /// ICMP code.
    pub icmp_code: u8,
    /// flowDirection 61 as on the wire: 0 ingress, 1 egress.
    pub direction: u8,
    /// Prefix length of the source.
    pub src_mask: u8,
    /// Prefix length of the destination.
    pub dst_mask: u8,
    /// flowEndReason 136.
    pub flow_end_reason: u8,
    /// Export protocol of the message.
    pub version: Version,
    /// Where `sampling_rate` came from.
    pub sampling_source: SamplingSource,
    /// Where the times came from.
    pub time_source: TimeSource,
    /// What `bytes` counts.
    pub bytes_kind: BytesKind,
}

// The batch of 1,024 records stays in 192 KiB: inside the L2 cache of every core this runs on.
const _: () = assert!(size_of::<FlowRecord>() <= 192);

impl FlowRecord {
    /// A record of which nothing is known yet.
    #[must_use]
    pub const fn empty(version: Version) -> Self {
        Self {
            presence: Presence::NONE,
            src: [0; 16],
            dst: [0; 16],
            next_hop: [0; 16],
            bytes: 0,
            packets: 0,
            start_ms: 0,
            end_ms: 0,
            sampling_rate: 1,
            observation_domain: 0,
            input_if: 0,
            output_if: 0,
            src_as: 0,
            dst_as: 0,
            exporter: 0,
            template_id: 0,
            src_port: 0,
            dst_port: 0,
            vlan: 0,
            post_vlan: 0,
            src_sgt: 0,
            dst_sgt: 0,
            tcp_flags: 0,
            src_mac: [0; 6],
            dst_mac: [0; 6],
            protocol: 0,
            tos: 0,
            icmp_type: 0,
            icmp_code: 0,
            direction: 0,
            src_mask: 0,
            dst_mask: 0,
            flow_end_reason: 0,
            version,
            sampling_source: SamplingSource::Unknown,
            time_source: TimeSource::Header,
            bytes_kind: BytesKind::Ip,
        }
    }

    /// True if `field` (one bit or several) is known.
    #[inline]
    #[must_use]
    pub const fn has(&self, field: Presence) -> bool {
        self.presence.has(field)
    }

    /// 1 in N, at least 1; where it came from is `sampling_source`.
    #[inline]
    #[must_use]
    pub const fn rate(&self) -> u32 {
        if self.sampling_rate == 0 { 1 } else { self.sampling_rate }
    }

    /// Source address, if the record has one.
    #[must_use]
    pub fn src_ip(&self) -> Option<IpAddr> {
        address(&self.src, self.has(Presence::SRC_V4), self.has(Presence::SRC_V6))
    }

    /// Destination address, if the record has one.
    #[must_use]
    pub fn dst_ip(&self) -> Option<IpAddr> {
        address(&self.dst, self.has(Presence::DST_V4), self.has(Presence::DST_V6))
    }

    /// Next hop, if the record has one.
    #[must_use]
    pub fn next_hop_ip(&self) -> Option<IpAddr> {
        address(&self.next_hop, self.has(Presence::NEXT_HOP_V4), self.has(Presence::NEXT_HOP_V6))
    }
}

fn address(octets: &[u8; 16], v4: bool, v6: bool) -> Option<IpAddr> {
    if v4 {
        let [a, b, c, d, ..] = *octets;
        Some(Ipv4Addr::new(a, b, c, d).into())
    } else if v6 {
        Some(Ipv6Addr::from(*octets).into())
    } else {
        None
    }
}
