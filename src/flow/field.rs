//! Normalised fields that have no place in `FlowRecord`: kept in the batch's arena, and only if the output wants them.
//!
//! [`FIELDS`] is the catalogue: one row a field, with the name that outputs and `[output] fields` use. A value is an
//! integer, or octets whose meaning is the field's kind. Which elements feed a field is `decode`'s matter.

/// What a field's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// An unsigned integer.
    Unsigned,
    /// An IPv4 or IPv6 address, by its length in octets.
    Address,
    /// A MAC address, 6 octets.
    Mac,
    /// UTF-8 text; what was not UTF-8 has been replaced.
    Text,
    /// A list of unsigned 32-bit integers, 4 octets each.
    Numbers,
    /// Octets without further meaning.
    Octets,
}

/// One row of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct FieldInfo {
    /// Name in outputs.
    pub name: &'static str,
    /// What its value is.
    pub kind: FieldKind,
}

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $kind:ident;)*) => {
        /// A normalised field; the number is its row in [`FIELDS`].
        #[repr(u8)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Field { $($(#[$doc])* $name,)* }

        /// The catalogue, in the order of [`Field`].
        pub const FIELDS: &[FieldInfo] = &[$(FieldInfo { name: $text, kind: FieldKind::$kind },)*];

        impl Field {
            /// Every field, in the order of [`FIELDS`].
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

fields! {
    // Links.
    /// dot1qCustomerVlanId 245.
    InnerVlan = "inner_vlan_id", Unsigned;
    /// postDot1qCustomerVlanId 255.
    PostInnerVlan = "post_inner_vlan_id", Unsigned;
    /// postSourceMacAddress 81 beside 56.
    PostSrcMac = "post_src_mac", Mac;
    /// postDestinationMacAddress 57 beside 80.
    PostDstMac = "post_dst_mac", Mac;
    /// ethernetType 256.
    EtherType = "ether_type", Unsigned;
    /// interfaceName 82 of the input interface, from options.
    InputIfName = "input_if_name", Text;
    /// interfaceDescription 83 of the input interface, from options.
    InputIfDescription = "input_if_description", Text;
    /// interfaceName 82 of the output interface, from options.
    OutputIfName = "output_if_name", Text;
    /// interfaceDescription 83 of the output interface, from options.
    OutputIfDescription = "output_if_description", Text;
    // The IP header.
    /// ipVersion 60, or that of the addresses.
    IpVersion = "ip_version", Unsigned;
    /// ipDiffServCodePoint 195, else the upper six bits of the type of service, else ipPrecedence 196 times eight.
    Dscp = "dscp", Unsigned;
    /// postIpClassOfService 55.
    PostTos = "post_tos", Unsigned;
    /// postIpDiffServCodePoint 98, else the upper six bits of 55.
    PostDscp = "post_dscp", Unsigned;
    /// ipTTL 192.
    Ttl = "ttl", Unsigned;
    /// minimumTTL 52.
    TtlMin = "ttl_min", Unsigned;
    /// maximumTTL 53.
    TtlMax = "ttl_max", Unsigned;
    /// ipTotalLength 224.
    IpLength = "ip_length", Unsigned;
    /// minimumIpTotalLength 25.
    IpLengthMin = "ip_length_min", Unsigned;
    /// maximumIpTotalLength 26.
    IpLengthMax = "ip_length_max", Unsigned;
    /// fragmentIdentification 54.
    FragmentId = "fragment_id", Unsigned;
    /// fragmentOffset 88, its low 13 bits.
    FragmentOffset = "fragment_offset", Unsigned;
    /// fragmentFlags 197.
    FragmentFlags = "fragment_flags", Unsigned;
    /// flowLabelIPv6 31, its low 20 bits.
    FlowLabel = "ipv6_flow_label", Unsigned;
    // Routing.
    /// bgpNextHopIPv4Address 18, bgpNextHopIPv6Address 63; zero is absent.
    BgpNextHop = "bgp_next_hop", Address;
    /// bgpPrevAdjacentAsNumber 129: the peer on the source's side.
    PrevAs = "src_peer_as", Unsigned;
    /// bgpNextAdjacentAsNumber 128: the peer on the destination's side.
    NextAs = "dst_peer_as", Unsigned;
    /// sourceIPv4Prefix 44, sourceIPv6Prefix 170.
    SrcPrefix = "src_prefix", Address;
    /// destinationIPv4Prefix 45, destinationIPv6Prefix 169.
    DstPrefix = "dst_prefix", Address;
    /// forwardingStatus 89, its low octet: 2 bits of status, 6 of reason.
    ForwardingStatus = "forwarding_status", Unsigned;
    /// ingressVRFID 234.
    IngressVrfId = "ingress_vrf_id", Unsigned;
    /// egressVRFID 235.
    EgressVrfId = "egress_vrf_id", Unsigned;
    /// VRFname 236 of 234, from options or the record.
    IngressVrf = "ingress_vrf", Text;
    /// VRFname 236 of 235, from options.
    EgressVrf = "egress_vrf", Text;
    /// mplsVpnRouteDistinguisher 90.
    RouteDistinguisher = "route_distinguisher", Octets;
    // MPLS and tunnels.
    /// Labels of the MPLS stack, the outermost first: 70 to 79, 316, sampled packets.
    MplsLabels = "mpls_labels", Numbers;
    /// mplsTopLabelType 46.
    MplsTopLabelType = "mpls_top_label_type", Unsigned;
    /// mplsTopLabelIPv4Address 47, mplsTopLabelIPv6Address 140.
    MplsTopLabelIp = "mpls_top_label_ip", Address;
    /// Number of the overlay network (VXLAN, NVGRE): layer2SegmentId 351, VMware 892, sampled packets.
    Vni = "vni", Unsigned;
    /// Encapsulation of that network: upper octet of 351 (1 VXLAN, 2 NVGRE), VMware 891.
    TunnelType = "tunnel_type", Unsigned;
    /// VMware 893; the outer source of a tunnel.
    TunnelSrcIp = "tunnel_src_ip", Address;
    /// VMware 894; the outer destination of a tunnel.
    TunnelDstIp = "tunnel_dst_ip", Address;
    /// VMware 896.
    TunnelSrcPort = "tunnel_src_port", Unsigned;
    /// VMware 897.
    TunnelDstPort = "tunnel_dst_port", Unsigned;
    /// VMware 895.
    TunnelProtocol = "tunnel_protocol", Unsigned;
    /// VMware tenantSourceIPv4 881, tenantSourceIPv6 883: the source inside the tunnel.
    InnerSrcIp = "inner_src_ip", Address;
    /// VMware tenantDestIPv4 882, tenantDestIPv6 884: the destination inside the tunnel.
    InnerDstIp = "inner_dst_ip", Address;
    /// VMware tenantSourcePort 886.
    InnerSrcPort = "inner_src_port", Unsigned;
    /// VMware tenantDestPort 887.
    InnerDstPort = "inner_dst_port", Unsigned;
    /// VMware tenantProtocol 880.
    InnerProtocol = "inner_protocol", Unsigned;
    /// IPSecSPI 295.
    IpsecSpi = "ipsec_spi", Unsigned;
    /// greKey 296.
    GreKey = "gre_key", Unsigned;
    // Address translation (RFC 8158) and firewalls.
    /// postNATSourceIPv4Address 225, postNATSourceIPv6Address 281; v9 of ASA 40001.
    PostSrcIp = "post_src_ip", Address;
    /// postNATDestinationIPv4Address 226, postNATDestinationIPv6Address 282; v9 of ASA 40002.
    PostDstIp = "post_dst_ip", Address;
    /// postNAPTSourceTransportPort 227; v9 of ASA 40003.
    PostSrcPort = "post_src_port", Unsigned;
    /// postNAPTDestinationTransportPort 228; v9 of ASA 40004.
    PostDstPort = "post_dst_port", Unsigned;
    /// natEvent 230.
    NatEvent = "nat_event", Unsigned;
    /// natType 297.
    NatType = "nat_type", Unsigned;
    /// natOriginatingAddressRealm 229.
    NatRealm = "nat_realm", Unsigned;
    /// natPoolId 283.
    NatPoolId = "nat_pool_id", Unsigned;
    /// natPoolName 284.
    NatPoolName = "nat_pool_name", Text;
    /// natInstanceID 463.
    NatInstanceId = "nat_instance_id", Unsigned;
    /// natQuotaExceededEvent 466.
    NatQuotaEvent = "nat_quota_event", Unsigned;
    /// natThresholdEvent 467.
    NatThresholdEvent = "nat_threshold_event", Unsigned;
    /// portRangeStart 361.
    PortRangeStart = "port_range_start", Unsigned;
    /// portRangeEnd 362.
    PortRangeEnd = "port_range_end", Unsigned;
    /// portRangeStepSize 363.
    PortRangeStep = "port_range_step", Unsigned;
    /// portRangeNumPorts 364.
    PortRangeSize = "port_range_size", Unsigned;
    /// firewallEvent 233; v9 of ASA 8.2 40005.
    FirewallEvent = "firewall_event", Unsigned;
    /// Cisco 234 (v9 33002): extended firewall event.
    FirewallExtendedEvent = "firewall_extended_event", Unsigned;
    /// Cisco 232 (v9 33000): three hashes of the input ACL.
    IngressAcl = "ingress_acl", Octets;
    /// Cisco 233 (v9 33001): three hashes of the output ACL.
    EgressAcl = "egress_acl", Octets;
    // Who and what.
    /// applicationId 95 in the form of RFC 6759: engine:selector, 20:enterprise:selector; else CERT's silkAppLabel.
    AppId = "app_id", Text;
    /// applicationName 96 of the record, else of 95 from options; Palo Alto's App-ID (v9 56701).
    AppName = "app_name", Text;
    /// applicationDescription 94 of 95, from options.
    AppDescription = "app_description", Text;
    /// applicationCategoryName 372 of the record, else of 95 from options.
    AppCategory = "app_category", Text;
    /// userName 371; v9 of ASA 40000, of Palo Alto 56702.
    User = "user", Text;
    /// Cisco 1234 (v9 34002): name of the source group.
    SrcSgtName = "src_sgt_name", Text;
    /// Cisco 1235 (v9 34003): name of the destination group.
    DstSgtName = "dst_sgt_name", Text;
    // The flow as the exporter keeps it.
    /// flowId 148.
    FlowId = "flow_id", Unsigned;
    /// biflowDirection 239.
    BiflowDirection = "biflow_direction", Unsigned;
    /// collectionTimeMilliseconds 258, Unix milliseconds.
    ExporterTime = "exporter_time_ms", Unsigned;
    /// postOctetDeltaCount 23 beside 1.
    PostBytes = "post_bytes", Unsigned;
    /// postPacketDeltaCount 24 beside 2.
    PostPackets = "post_packets", Unsigned;
    /// droppedOctetDeltaCount 132, else droppedOctetTotalCount 134.
    DroppedBytes = "dropped_bytes", Unsigned;
    /// droppedPacketDeltaCount 133, else droppedPacketTotalCount 135.
    DroppedPackets = "dropped_packets", Unsigned;
    /// selectorId 302, samplerId 48.
    SamplerId = "sampler_id", Unsigned;
    /// selectorName 335, samplerName 84 of it, from options or the record.
    SamplerName = "sampler_name", Text;
    /// lineCardId 141.
    LineCard = "line_card_id", Unsigned;
    /// commonPropertiesId 137.
    CommonProperties = "common_properties_id", Unsigned;
    /// originalExporterIPv4Address 403, originalExporterIPv6Address 404; exporterIPv4Address 130, exporterIPv6Address 131.
    OriginalExporter = "original_exporter", Address;
    /// originalObservationDomainId 405.
    OriginalDomain = "original_observation_domain", Unsigned;
    /// observationDomainName 300, from options or the record.
    DomainName = "observation_domain_name", Text;
}

impl Field {
    /// Its row.
    #[must_use]
    pub const fn info(self) -> &'static FieldInfo {
        &FIELDS[self as usize]
    }

    /// The field of that name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|field| field.info().name == name)
    }
}

/// Which fields are wanted: one bit a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FieldSet(u128);

const _: () = assert!(FIELDS.len() <= 128);

impl FieldSet {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const ALL: Self = Self(u128::MAX);

    /// Adds `field`.
    pub const fn add(&mut self, field: Field) {
        self.0 |= 1 << field as u8;
    }

    /// True if `field` is wanted.
    #[must_use]
    pub const fn has(self, field: Field) -> bool {
        self.0 & (1 << field as u8) != 0
    }

    /// True if nothing is wanted.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The value of a field of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldValue {
    /// Index of the record it belongs to.
    pub record: u32,
    /// Which field.
    pub field: Field,
    /// The value.
    pub value: Value,
}

/// A value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// An integer.
    Unsigned(u64),
    /// Octets in the batch's arena.
    Octets {
        /// Where they begin.
        offset: u32,
        /// How many.
        length: u16,
    },
}

// A record of a busy firewall has a dozen of them: as small as the alignment of an integer allows.
const _: () = assert!(size_of::<FieldValue>() <= 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for (index, field) in Field::ALL.iter().enumerate() {
            assert_eq!(*field as usize, index);
            assert_eq!(Field::of_name(field.info().name), Some(*field), "{}", field.info().name);
        }
        assert_eq!(Field::of_name("nonsense"), None);
        let mut set = FieldSet::NONE;
        set.add(Field::Vni);
        assert!(set.has(Field::Vni) && !set.has(Field::InnerVlan) && !set.is_empty());
    }
}
