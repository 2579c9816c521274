//! What kind of thing a field tells: whose it is when flows share a record, or when a record tells both directions.

use crate::flow::Field;

/// Counts traffic: nobody inherits it.
pub(super) const fn is_counter(field: Field) -> bool {
    matches!(field, Field::PostBytes | Field::PostPackets | Field::DroppedBytes | Field::DroppedPackets)
}

/// Belongs to a flow's own two ends and packets: a flow of a list does not inherit it from one that has ends itself.
pub(super) const fn is_of_its_ends(field: Field) -> bool {
    use Field as F;
    matches!(
        field,
        F::PostSrcMac
            | F::PostDstMac
            | F::EtherType
            | F::IpVersion
            | F::Dscp
            | F::PostTos
            | F::PostDscp
            | F::Ttl
            | F::TtlMin
            | F::TtlMax
            | F::IpLength
            | F::IpLengthMin
            | F::IpLengthMax
            | F::FragmentId
            | F::FragmentOffset
            | F::FragmentFlags
            | F::FlowLabel
            | F::BgpNextHop
            | F::PrevAs
            | F::NextAs
            | F::SrcPrefix
            | F::DstPrefix
            | F::InnerSrcIp
            | F::InnerDstIp
            | F::InnerSrcPort
            | F::InnerDstPort
            | F::InnerProtocol
            | F::IpsecSpi
            | F::GreKey
            | F::PostSrcIp
            | F::PostDstIp
            | F::PostSrcPort
            | F::PostDstPort
            | F::AppId
            | F::AppName
            | F::AppDescription
            | F::AppCategory
            | F::User
            | F::SrcSgtName
            | F::DstSgtName
            | F::FlowId
            | F::BiflowDirection
    )
}

/// Holds for the packets of one direction alone: the other one's row has it only if a reverse element tells it.
pub(super) const fn is_one_way(field: Field) -> bool {
    use Field as F;
    is_counter(field)
        || matches!(
            field,
            F::Ttl
                | F::TtlMin
                | F::TtlMax
                | F::IpLength
                | F::IpLengthMin
                | F::IpLengthMax
                | F::FragmentId
                | F::FragmentOffset
                | F::FragmentFlags
                | F::FlowLabel
                | F::BgpNextHop
                | F::ForwardingStatus
                | F::MplsLabels
                | F::MplsTopLabelType
                | F::MplsTopLabelIp
        )
}

/// The field that means the same seen from the other end.
pub(super) fn other_end(field: Field) -> Field {
    use Field as F;
    const PAIRS: [(Field, Field); 15] = [
        (F::PostSrcMac, F::PostDstMac),
        (F::InputIfName, F::OutputIfName),
        (F::InputIfDescription, F::OutputIfDescription),
        (F::PrevAs, F::NextAs),
        (F::SrcPrefix, F::DstPrefix),
        (F::IngressVrfId, F::EgressVrfId),
        (F::IngressVrf, F::EgressVrf),
        (F::TunnelSrcIp, F::TunnelDstIp),
        (F::TunnelSrcPort, F::TunnelDstPort),
        (F::InnerSrcIp, F::InnerDstIp),
        (F::InnerSrcPort, F::InnerDstPort),
        (F::PostSrcIp, F::PostDstIp),
        (F::PostSrcPort, F::PostDstPort),
        (F::IngressAcl, F::EgressAcl),
        (F::SrcSgtName, F::DstSgtName),
    ];
    let pair = PAIRS.iter().find(|(one, other)| field == *one || field == *other);
    pair.map_or(field, |(one, other)| if field == *one { *other } else { *one })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_end_of_the_other_end_is_the_field() {
        for field in Field::ALL {
            assert_eq!(other_end(other_end(*field)), *field);
        }
        // Whatever has two sides in its name has a pair.
        let sided =
            |name: &str| ["src", "dst", "input", "output", "ingress", "egress"].iter().any(|s| name.contains(s));
        for field in Field::ALL {
            assert_eq!(other_end(*field) != *field, sided(field.info().name), "{}", field.info().name);
        }
    }
}
