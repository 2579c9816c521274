//! What records go out with: `[output] fields` and `decode --fields`, read and checked.
//!
//! Three kinds of names stand in one list: core keys (of `FlowRecord`, [`CoreKey`]), catalogue fields
//! (`flow::Field`) and elements, by registry name or as `pen/id`. The three never share a name, and what an
//! exporter or a file calls its elements never takes a core key's or a field's place (see `names`).

use std::fmt;
use std::sync::Arc;

use crate::element::{Registry, netflow9_types};
use crate::flow::{ElementId, Field, FieldSet};
use crate::limits::OUTPUT_FIELDS_MAX;

/// One row of the core keys.
#[derive(Debug, Clone, Copy)]
pub struct CoreInfo {
    /// Key in outputs.
    pub name: &'static str,
    /// What it is, for people, without a full stop.
    pub about: &'static str,
}

macro_rules! core_keys {
    ($($name:ident = $key:literal, $about:literal;)*) => {
        /// A key that a record itself feeds; the number is its row in [`CORE_KEYS`].
        #[repr(u8)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum CoreKey { $(#[doc = $about] $name,)* }

        /// The core keys, in the order in which they go out.
        pub const CORE_KEYS: &[CoreInfo] = &[$(CoreInfo { name: $key, about: $about },)*];

        impl CoreKey {
            /// Every one, in the order of [`CORE_KEYS`].
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

core_keys! {
    Version = "version", "Version of the export protocol: 1, 5, 7, 9, or 10 for IPFIX";
    Exporter = "exporter", "Address of the exporter";
    ExporterName = "exporter_name", "Its name, if a rule for exporters gives one";
    Tenant = "tenant", "Its tenant, if it has one";
    SwitchId = "switch_id", "What the backend knows it by";
    ObservationDomain = "observation_domain", "Observation domain; in v9 the Source ID, in v5 engine type * 256 + engine id";
    TemplateId = "template_id", "Template of the record (v9, IPFIX)";
    SrcIp = "src_ip", "Source address";
    DstIp = "dst_ip", "Destination address";
    SrcPort = "src_port", "Source port";
    DstPort = "dst_port", "Destination port";
    Protocol = "protocol", "IP protocol";
    Bytes = "bytes", "Octets; what is counted stands in bytes_kind and counter";
    Packets = "packets", "Packets";
    Counter = "counter", "delta: since the last report; total: of the whole flow so far";
    BytesKind = "bytes_kind", "ip: IP header and payload; l2: octets of layer 2; l4: payload of layer 4";
    TcpFlags = "tcp_flags", "TCP flags seen";
    Tos = "tos", "Type of service";
    IcmpType = "icmp_type", "ICMP type";
    IcmpCode = "icmp_code", "ICMP code";
    Direction = "direction", "0 ingress, 1 egress";
    InputIf = "input_if", "Number of the input interface";
    OutputIf = "output_if", "Number of the output interface";
    SrcAs = "src_as", "Autonomous system of the source";
    DstAs = "dst_as", "Autonomous system of the destination";
    SrcMask = "src_mask", "Prefix length of the source";
    DstMask = "dst_mask", "Prefix length of the destination";
    NextHop = "next_hop", "Next hop";
    SrcMac = "src_mac", "Source MAC address";
    DstMac = "dst_mac", "Destination MAC address";
    VlanId = "vlan_id", "VLAN; 0 is untagged";
    PostVlanId = "post_vlan_id", "VLAN after the exporter";
    SrcSgt = "src_sgt", "Security group tag of the source; 0 is the unknown group";
    DstSgt = "dst_sgt", "Security group tag of the destination";
    SamplingRate = "sampling_rate", "1 in so many packets was looked at";
    SamplingSource = "sampling_source", "Where the rate came from: record, sampler, interface, template, domain, exporter, default, override, or unknown";
    FlowStart = "flow_start", "Start in whole Unix seconds";
    FlowEnd = "flow_end", "End in whole Unix seconds";
    FlowStartMs = "flow_start_ms", "Start in Unix milliseconds, if the record tells it";
    FlowEndMs = "flow_end_ms", "End in Unix milliseconds, if the record tells it";
    TimeSource = "time_source", "Which clock gave the times: nanoseconds, microseconds, milliseconds, seconds, sys_uptime, delta, observation, duration; header or receive if the record has none";
    BadTimes = "bad_times", "true if a stamp was not plausible and was replaced";
    FlowEndReason = "flow_end_reason", "Why the exporter reported the flow: 1 idle, 2 active, 3 end, 4 forced, 5 resources";
    Event = "event", "true for an event (firewall, NAT), which is no traffic";
    Reverse = "reverse", "true for the other direction of a record that tells both";
    Implausible = "implausible", "true if octets and packets cannot both be right";
}

impl CoreKey {
    /// Its row.
    #[must_use]
    pub const fn info(self) -> &'static CoreInfo {
        &CORE_KEYS[self as usize]
    }

    /// The key of that name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|key| key.info().name == name)
    }

    /// True for a key that the contract writes by its own rule: always, or where it is known.
    pub(super) const fn is_contract(self) -> bool {
        matches!(
            self,
            Self::SrcIp
                | Self::DstIp
                | Self::SrcPort
                | Self::DstPort
                | Self::Protocol
                | Self::Bytes
                | Self::Packets
                | Self::FlowStart
                | Self::FlowEnd
                | Self::SwitchId
                | Self::SrcSgt
                | Self::DstSgt
                | Self::SrcMac
                | Self::DstMac
                | Self::VlanId
        )
    }
}

/// A set of core keys: one bit a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CoreSet(u64);

const _: () = assert!(CORE_KEYS.len() <= 64);

impl CoreSet {
    pub(super) const ALL: Self = Self(u64::MAX);

    pub(super) const fn add(&mut self, key: CoreKey) {
        self.0 |= 1 << key as u8;
    }

    pub(super) const fn has(self, key: CoreKey) -> bool {
        self.0 & (1 << key as u8) != 0
    }
}

/// An element of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// The name or `pen/id` as it was written: its key in outputs.
    pub key: Box<str>,
    /// It was asked for by its number.
    pub by_number: bool,
    /// What it may be on the wire.
    ids: Vec<ElementId>,
}

impl Asked {
    /// True if `element` of the wire can be it.
    pub(super) fn may_be(&self, element: ElementId) -> bool {
        self.ids.contains(&element)
    }
}

/// A list of names, sorted out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct These {
    pub core: CoreSet,
    pub fields: FieldSet,
    pub elements: Vec<Asked>,
    /// Names in the list.
    count: usize,
}

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Choice {
    /// The keys that are always there: the contract's, or NDJSON's own.
    #[default]
    Clarion,
    /// These.
    These(Arc<These>),
    /// Everything.
    All,
}

/// What records go out with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputFields {
    pub(super) choice: Choice,
    /// What elements are called.
    pub(super) registry: Arc<Registry>,
}

/// What is wrong with a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldsFault {
    /// Nothing has this name.
    Unknown(String),
    /// A name stands twice.
    Twice(String),
    /// A name and a number, or two numbers, of one element: it goes out under one key.
    Same(String, String),
    /// `all` or `clarion` beside others.
    NotAlone(String),
    /// There are none.
    Empty,
    /// There are too many.
    Count(usize),
}

impl fmt::Display for FieldsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "names {name:?}, which is no core key, field or element"),
            Self::Twice(name) => write!(f, "names {name} twice: write it once"),
            Self::Same(name, other) => write!(f, "names {name}, which is {other}: write one of them"),
            Self::NotAlone(word) => write!(f, "has {word} beside other names: write it alone"),
            Self::Empty => f.write_str("is empty: write clarion, all, or names with commas between them"),
            Self::Count(count) => write!(f, "has {count} names; at most {OUTPUT_FIELDS_MAX} are taken"),
        }
    }
}

impl OutputFields {
    /// Reads `clarion`, `all` or a list with commas.
    ///
    /// # Errors
    /// The first name that is wrong.
    pub fn parse(text: &str, registry: Arc<Registry>) -> Result<Self, FieldsFault> {
        let choice = match text.trim() {
            "clarion" => Choice::Clarion,
            "all" => Choice::All,
            list => Choice::These(Arc::new(these(list, &registry)?)),
        };
        Ok(Self { choice, registry })
    }

    /// Nothing beyond the keys that are always there, with elements called so.
    #[must_use]
    pub const fn of_registry(registry: Arc<Registry>) -> Self {
        Self { choice: Choice::Clarion, registry }
    }

    /// Nothing beyond the keys that are always there.
    #[must_use]
    pub const fn is_clarion(&self) -> bool {
        matches!(self.choice, Choice::Clarion)
    }

    /// Everything.
    #[must_use]
    pub const fn is_all(&self) -> bool {
        matches!(self.choice, Choice::All)
    }

    /// What elements are called.
    #[must_use]
    pub const fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Catalogue fields that the batches must carry.
    #[must_use]
    pub fn field_set(&self) -> FieldSet {
        match &self.choice {
            Choice::Clarion => FieldSet::NONE,
            Choice::These(these) => these.fields,
            Choice::All => FieldSet::ALL,
        }
    }

    /// Elements that the batches must carry, if a list names some.
    #[must_use]
    pub fn element_ids(&self) -> Vec<ElementId> {
        match &self.choice {
            Choice::These(these) => these.elements.iter().flat_map(|asked| asked.ids.iter().copied()).collect(),
            Choice::Clarion | Choice::All => Vec::new(),
        }
    }

    /// True if batches carry more than their records.
    #[must_use]
    pub fn needs_arena(&self) -> bool {
        self.is_all() || !self.field_set().is_empty() || !self.element_ids().is_empty()
    }

    /// Octets that a record takes beyond the usual ones, about: for the memory sum.
    #[must_use]
    pub fn record_octets(&self) -> u64 {
        // A name of 20 octets and a value of 20 are usual; a record of a busy firewall has 40 fields.
        match &self.choice {
            Choice::Clarion => 0,
            Choice::These(these) => 40 * these.count as u64,
            Choice::All => 40 * 40,
        }
    }
}

fn these(list: &str, registry: &Registry) -> Result<These, FieldsFault> {
    let mut these = These::default();
    let names: Vec<&str> = list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return Err(FieldsFault::Empty);
    }
    if names.len() > OUTPUT_FIELDS_MAX {
        return Err(FieldsFault::Count(names.len()));
    }
    for name in names {
        these.count += 1;
        let twice = || FieldsFault::Twice(name.to_owned());
        if let Some(key) = CoreKey::of_name(name) {
            if these.core.has(key) {
                return Err(twice());
            }
            these.core.add(key);
        } else if let Some(field) = Field::of_name(name) {
            if these.fields.has(field) {
                return Err(twice());
            }
            these.fields.add(field);
        } else if matches!(name, "all" | "clarion") {
            return Err(FieldsFault::NotAlone(name.to_owned()));
        } else {
            let asked = asked(name, registry).ok_or_else(|| FieldsFault::Unknown(name.to_owned()))?;
            if these.elements.iter().any(|other| other.key == asked.key) {
                return Err(twice());
            }
            let is_same = |other: &&Asked| other.ids.iter().any(|id| asked.ids.contains(id));
            if let Some(other) = these.elements.iter().find(is_same) {
                return Err(FieldsFault::Same(name.to_owned(), other.key.to_string()));
            }
            these.elements.push(asked);
        }
    }
    Ok(these)
}

fn asked(name: &str, registry: &Registry) -> Option<Asked> {
    if let Some((pen, id)) = name.split_once('/') {
        let element = ElementId { pen: pen.parse().ok()?, id: id.parse().ok()? };
        // As it will be written, so that two ways to write a number are one key.
        let key = format!("{}/{}", element.pen, element.id).into_boxed_str();
        return Some(Asked { key, by_number: true, ids: vec![element] });
    }
    // NetFlow v9 has types of its own for some enterprise elements.
    let mut ids: Vec<ElementId> = registry.by_name(name).into_iter().collect();
    for element in netflow9_types(name).map(|id| ElementId { pen: 0, id }) {
        if !ids.contains(&element) {
            ids.push(element);
        }
    }
    (!ids.is_empty()).then(|| Asked { key: Box::from(name), by_number: false, ids })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<OutputFields, FieldsFault> {
        OutputFields::parse(text, Arc::default())
    }

    #[test]
    fn names_of_the_three_kinds_never_meet() {
        for (index, key) in CoreKey::ALL.iter().enumerate() {
            let name = key.info().name;
            assert_eq!((*key as usize, CoreKey::of_name(name)), (index, Some(*key)));
            assert_eq!(Field::of_name(name), None, "{name}");
            assert_eq!(crate::element::by_name(name), None, "{name}");
        }
        for field in Field::ALL {
            assert_eq!(crate::element::by_name(field.info().name), None, "{}", field.info().name);
        }
    }

    #[test]
    fn a_list_is_sorted_out() {
        let fields = parse(" bytes, app_name ,tcpWindowScale,4294967295/32767,").expect("right");
        let Choice::These(these) = &fields.choice else { panic!("a list") };
        assert!(these.core.has(CoreKey::Bytes) && !these.core.has(CoreKey::Packets));
        assert!(fields.field_set().has(Field::AppName) && !fields.field_set().has(Field::User));
        let wanted = [ElementId { pen: 0, id: 238 }, ElementId { pen: u32::MAX, id: 32_767 }];
        assert_eq!(fields.element_ids(), wanted);
        assert!(parse("clarion").is_ok_and(|fields| fields.is_clarion()));
        assert!(parse("all").is_ok_and(|fields| fields.is_all() && fields.field_set() == FieldSet::ALL));
    }

    #[test]
    fn n9_27_a_name_stands_for_the_makers_type_as_well() {
        let name = crate::element::lookup(ElementId { pen: 9, id: 1_232 }).expect("known").name;
        let ids = parse(name).expect("right").element_ids();
        assert_eq!(ids, [ElementId { pen: 9, id: 1_232 }, ElementId { pen: 0, id: 34_000 }]);
    }

    #[test]
    fn wrong_lists_say_what_is_wrong() {
        for (text, fault) in [
            ("", FieldsFault::Empty),
            (" , ", FieldsFault::Empty),
            ("bytes,nonsense", FieldsFault::Unknown("nonsense".to_owned())),
            ("bytes,1/", FieldsFault::Unknown("1/".to_owned())),
            ("1/65536", FieldsFault::Unknown("1/65536".to_owned())),
            ("bytes,bytes", FieldsFault::Twice("bytes".to_owned())),
            ("user,user", FieldsFault::Twice("user".to_owned())),
            ("9/1,9/1", FieldsFault::Twice("9/1".to_owned())),
            ("9/1,9/01", FieldsFault::Twice("9/01".to_owned())),
            ("0/8,sourceIPv4Address", FieldsFault::Same("sourceIPv4Address".to_owned(), "0/8".to_owned())),
            ("all,bytes", FieldsFault::NotAlone("all".to_owned())),
        ] {
            assert_eq!(parse(text), Err(fault), "{text:?}");
        }
        let many = vec!["9/1"; OUTPUT_FIELDS_MAX + 1].join(",");
        assert_eq!(parse(&many), Err(FieldsFault::Count(OUTPUT_FIELDS_MAX + 1)));
    }
}
