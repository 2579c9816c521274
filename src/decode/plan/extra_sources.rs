//! Which elements feed the fields that have no place in `FlowRecord`, and how each is read.
//!
//! Rows of one field stand in the order of their precedence. A maker's element has a row for each form in which it comes:
//! its IPFIX number, and its NetFlow v9 field type under the maker's enterprise number (see `canon`). Fields that
//! only options tell (names of interfaces, the VRF of the output) have no row.

use crate::flow::{ElementId, Field};

/// How the octets of an element become a value; what does not fit loses the field (DEC-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) enum Read {
    /// An integer of so many bits at most.
    Number(u8),
    /// The lower bits of an integer, as many as this.
    Low(u8),
    /// An octet without its two lowest bits: the code point of a type of service.
    CodePoint,
    /// ipVersion: 4 or 6.
    IpVersion,
    /// An IPv4 address.
    V4,
    /// An IPv6 address.
    V6,
    /// dateTimeMilliseconds: 8 octets and no fewer (RFC 7011 6.2).
    Milliseconds,
    /// A MAC address; zero is none.
    Mac,
    /// Text.
    Text,
    /// Octets as they are.
    Octets,
    /// applicationId in the text form of RFC 6759.
    AppId,
    /// A number as text; zero is none.
    AppLabel,
    /// layer2SegmentId without its upper octet.
    Segment,
    /// The upper octet of layer2SegmentId.
    Encapsulation,
}

/// One way in which a field is fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) struct Source {
    /// The field.
    pub field: Field,
    /// The element.
    pub element: ElementId,
    /// How it is read.
    pub read: Read,
}

/// Makers' enterprise numbers.
const CISCO: u32 = 9;
const JUNIPER: u32 = 2_636;
const CERT: u32 = 6_871;
const VMWARE: u32 = 6_876;
const SONICWALL: u32 = 8_741;
const PALO_ALTO: u32 = 25_461;

const fn from(field: Field, pen: u32, id: u16, read: Read) -> Source {
    Source { field, element: ElementId { pen, id }, read }
}

const fn iana(field: Field, id: u16, read: Read) -> Source {
    from(field, 0, id, read)
}

/// Of each field that records tell themselves the elements, the first that says something wins.
pub(in crate::decode) const SOURCES: &[Source] = {
    use Field as F;
    use Read::{
        AppId, AppLabel, CodePoint, Encapsulation, IpVersion, Low, Mac, Milliseconds, Number, Octets, Segment, Text,
        V4, V6,
    };
    &[
        iana(F::InnerVlan, 245, Number(16)),
        iana(F::PostInnerVlan, 255, Number(16)),
        iana(F::PostSrcMac, 81, Mac),
        iana(F::PostDstMac, 57, Mac),
        iana(F::EtherType, 256, Number(16)),
        iana(F::IpVersion, 60, IpVersion),
        iana(F::Dscp, 195, Number(6)),
        iana(F::PostTos, 55, Number(8)),
        iana(F::PostDscp, 98, Number(6)),
        iana(F::PostDscp, 55, CodePoint),
        iana(F::Ttl, 192, Number(8)),
        iana(F::TtlMin, 52, Number(8)),
        iana(F::TtlMax, 53, Number(8)),
        iana(F::IpLength, 224, Number(64)),
        iana(F::IpLengthMin, 25, Number(64)),
        iana(F::IpLengthMax, 26, Number(64)),
        iana(F::FragmentId, 54, Number(32)),
        iana(F::FragmentOffset, 88, Low(13)),
        iana(F::FragmentFlags, 197, Number(8)),
        iana(F::FlowLabel, 31, Low(20)),
        iana(F::BgpNextHop, 18, V4),
        iana(F::BgpNextHop, 63, V6),
        iana(F::PrevAs, 129, Number(32)),
        iana(F::NextAs, 128, Number(32)),
        iana(F::SrcPrefix, 44, V4),
        iana(F::SrcPrefix, 170, V6),
        iana(F::DstPrefix, 45, V4),
        iana(F::DstPrefix, 169, V6),
        iana(F::ForwardingStatus, 89, Low(8)),
        iana(F::IngressVrfId, 234, Number(32)),
        iana(F::EgressVrfId, 235, Number(32)),
        iana(F::IngressVrf, 236, Text),
        iana(F::RouteDistinguisher, 90, Octets),
        iana(F::MplsTopLabelType, 46, Number(8)),
        iana(F::MplsTopLabelIp, 47, V4),
        iana(F::MplsTopLabelIp, 140, V6),
        iana(F::Vni, 351, Segment),
        from(F::Vni, VMWARE, 892, Number(64)),
        iana(F::TunnelType, 351, Encapsulation),
        from(F::TunnelType, VMWARE, 891, Number(8)),
        from(F::TunnelSrcIp, VMWARE, 893, V4),
        from(F::TunnelDstIp, VMWARE, 894, V4),
        from(F::TunnelSrcPort, VMWARE, 896, Number(16)),
        from(F::TunnelDstPort, VMWARE, 897, Number(16)),
        from(F::TunnelProtocol, VMWARE, 895, Number(8)),
        from(F::InnerSrcIp, VMWARE, 881, V4),
        from(F::InnerSrcIp, VMWARE, 883, V6),
        from(F::InnerDstIp, VMWARE, 882, V4),
        from(F::InnerDstIp, VMWARE, 884, V6),
        from(F::InnerSrcPort, VMWARE, 886, Number(16)),
        from(F::InnerDstPort, VMWARE, 887, Number(16)),
        from(F::InnerProtocol, VMWARE, 880, Number(8)),
        iana(F::IpsecSpi, 295, Number(32)),
        iana(F::GreKey, 296, Number(32)),
        iana(F::PostSrcIp, 225, V4),
        iana(F::PostSrcIp, 281, V6),
        from(F::PostSrcIp, CISCO, 40_001, V4),
        iana(F::PostDstIp, 226, V4),
        iana(F::PostDstIp, 282, V6),
        from(F::PostDstIp, CISCO, 40_002, V4),
        iana(F::PostSrcPort, 227, Number(16)),
        from(F::PostSrcPort, CISCO, 40_003, Number(16)),
        iana(F::PostDstPort, 228, Number(16)),
        from(F::PostDstPort, CISCO, 40_004, Number(16)),
        iana(F::NatEvent, 230, Number(8)),
        iana(F::NatType, 297, Number(8)),
        iana(F::NatRealm, 229, Number(8)),
        iana(F::NatPoolId, 283, Number(32)),
        iana(F::NatPoolName, 284, Text),
        iana(F::NatInstanceId, 463, Number(32)),
        iana(F::NatQuotaEvent, 466, Number(32)),
        iana(F::NatThresholdEvent, 467, Number(32)),
        iana(F::PortRangeStart, 361, Number(16)),
        iana(F::PortRangeEnd, 362, Number(16)),
        iana(F::PortRangeStep, 363, Number(16)),
        iana(F::PortRangeSize, 364, Number(16)),
        iana(F::FirewallEvent, 233, Number(8)),
        from(F::FirewallEvent, CISCO, 40_005, Number(8)),
        from(F::FirewallExtendedEvent, CISCO, 234, Number(16)),
        from(F::FirewallExtendedEvent, CISCO, 33_002, Number(16)),
        from(F::IngressAcl, CISCO, 232, Octets),
        from(F::IngressAcl, CISCO, 33_000, Octets),
        from(F::EgressAcl, CISCO, 233, Octets),
        from(F::EgressAcl, CISCO, 33_001, Octets),
        iana(F::AppId, 95, AppId),
        from(F::AppId, CERT, 33, AppLabel),
        iana(F::AppName, 96, Text),
        from(F::AppName, PALO_ALTO, 23_933, Text),
        from(F::AppName, PALO_ALTO, 56_701, Text),
        iana(F::AppDescription, 94, Text),
        iana(F::AppCategory, 372, Text),
        iana(F::User, 371, Text),
        from(F::User, CISCO, 40_000, Text),
        from(F::User, PALO_ALTO, 23_934, Text),
        from(F::User, PALO_ALTO, 56_702, Text),
        from(F::User, CISCO, 12_333, Text),
        from(F::User, CISCO, 45_101, Text),
        from(F::User, SONICWALL, 35, Text),
        from(F::SrcSgtName, CISCO, 1_234, Text),
        from(F::SrcSgtName, CISCO, 34_002, Text),
        from(F::DstSgtName, CISCO, 1_235, Text),
        from(F::DstSgtName, CISCO, 34_003, Text),
        iana(F::FlowId, 148, Number(64)),
        from(F::FlowId, JUNIPER, 107, Number(64)),
        iana(F::BiflowDirection, 239, Number(8)),
        iana(F::ExporterTime, 258, Milliseconds),
        iana(F::PostBytes, 23, Number(64)),
        iana(F::PostPackets, 24, Number(64)),
        iana(F::DroppedBytes, 132, Number(64)),
        iana(F::DroppedBytes, 134, Number(64)),
        iana(F::DroppedPackets, 133, Number(64)),
        iana(F::DroppedPackets, 135, Number(64)),
        iana(F::SamplerId, 302, Number(64)),
        iana(F::SamplerId, 48, Number(64)),
        iana(F::SamplerName, 335, Text),
        iana(F::SamplerName, 84, Text),
        iana(F::LineCard, 141, Number(32)),
        iana(F::CommonProperties, 137, Number(64)),
        iana(F::OriginalExporter, 403, V4),
        iana(F::OriginalExporter, 404, V6),
        iana(F::OriginalExporter, 130, V4),
        iana(F::OriginalExporter, 131, V6),
        iana(F::OriginalDomain, 405, Number(32)),
        iana(F::DomainName, 300, Text),
    ]
};

/// The labels of an MPLS stack one by one, the outermost first: mplsTopLabelStackSection 70 to mplsLabelStackSection10 79.
pub(in crate::decode) const LABELS: std::ops::RangeInclusive<u16> = 70..=79;
/// mplsLabelStackSection: the whole stack.
pub(in crate::decode) const STACK: ElementId = ElementId { pen: 0, id: 316 };
/// ipPrecedence: the upper three bits of the type of service.
pub(in crate::decode) const PRECEDENCE: ElementId = ElementId { pen: 0, id: 196 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_field_stand_together_and_no_element_feeds_it_twice() {
        for (at, source) in SOURCES.iter().enumerate() {
            let twice = |other: &Source| (other.field, other.element) == (source.field, source.element);
            assert!(!SOURCES[..at].iter().any(twice), "{source:?}");
            let apart = at > 0 && SOURCES[at - 1].field != source.field;
            assert!(!apart || SOURCES[..at].iter().all(|other| other.field != source.field), "{source:?}");
        }
    }
}
