//! Options records -> learned state: sampling by scope, boot times, names, types, flow keys, common properties.
//!
//! Options records never become flows (N9-22). What an exporter says of an observation domain in the scope (149) holds
//! for that domain, whichever one the message is of (IX-27).

mod fields;
mod names;
mod properties;
mod types;

use self::fields::Fields;
pub(in crate::decode) use self::names::NamesPlan;
pub(in crate::decode) use self::properties::PropertiesPlan;
pub(in crate::decode) use self::types::{TypePlan, is_clean};
use super::{Place, RecordView, RowBudget};
use crate::decode::selection::DecodeSettings;
use crate::decode::told::{OptionsFact, SamplingFacts, SamplingScope};
use crate::decode::wire::template::Template;
use crate::decode::wire::value::{field_positions, float, unsigned};
use crate::flow::{ElementId, Version};
use crate::limits::FIELDS_PER_TEMPLATE_MAX;

/// What a field of an options record tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Interface,
    Template,
    LineCard,
    SamplerId,
    Direct,
    Interval,
    Space,
    Size,
    Population,
    Probability,
    SystemInit,
}

#[derive(Debug, Clone, Copy)]
struct Item {
    role: Role,
    place: Place,
}

/// How to read the records of an options template.
#[derive(Debug)]
pub(in crate::decode) struct OptionsPlan {
    /// Octets of a record; the smallest where fields are variable.
    pub record_octets: usize,
    variable: bool,
    lengths: Box<[u16]>,
    /// Sampling and boot time.
    items: Box<[Item]>,
    /// observationDomainId 149 of the scope: the domain that is spoken of.
    pub domain: Option<Place>,
    pub names: Option<Box<NamesPlan>>,
    pub types: Option<TypePlan>,
    /// templateId 145 of the scope and its flowKeyIndicator 173 (IX-39).
    pub flow_keys: Option<(Place, Place)>,
    /// RFC 5473.
    pub properties: Option<Box<PropertiesPlan>>,
}

fn role(element: ElementId) -> Option<Role> {
    if element.pen != 0 {
        return None;
    }
    match element.id {
        10 | 14 | 252 | 253 => Some(Role::Interface),
        141 => Some(Role::LineCard),
        145 => Some(Role::Template),
        48 | 302 => Some(Role::SamplerId),
        34 | 50 => Some(Role::Direct),
        305 => Some(Role::Interval),
        306 => Some(Role::Space),
        309 => Some(Role::Size),
        310 => Some(Role::Population),
        311 => Some(Role::Probability),
        160 => Some(Role::SystemInit),
        _ => None,
    }
}

impl OptionsPlan {
    /// Compiles an options template whose first `scopes` fields are the scope.
    pub(in crate::decode) fn compile(
        template: &Template,
        scopes: u16,
        version: Version,
        settings: &DecodeSettings,
    ) -> Self {
        let fields = Fields::of(template, scopes, version);
        // Common properties are said of records, not of the exporter: a rate among them is theirs alone.
        let is_table = fields.scope(137).is_none();
        // Interface, card and template are a scope, or plain information (IE 10 beside a name).
        let item = |(place, in_scope): (&Place, bool)| {
            let role = role(place.element)?;
            let counts = in_scope || !matches!(role, Role::Interface | Role::Template | Role::LineCard);
            counts.then_some(Item { role, place: *place })
        };
        Self {
            record_octets: template.record_octets_min(),
            variable: template.is_variable(),
            lengths: template.fields.iter().map(|f| f.length).filter(|length| *length > 0).collect(),
            items: fields.iter().filter(|_| is_table).filter_map(item).collect(),
            domain: fields.scope(149),
            names: NamesPlan::compile(&fields).filter(|_| is_table),
            types: TypePlan::compile(&fields),
            flow_keys: fields.scope(145).zip(fields.find(173)),
            properties: PropertiesPlan::compile(template, scopes, &fields, version, settings),
        }
    }

    /// Octets that it takes beside those of its template's fields.
    pub(in crate::decode) fn octets(&self) -> u64 {
        let properties = self.properties.as_ref().map_or(0, |_| self.lengths.len() as u64 * 48);
        properties + self.names.as_ref().map_or(0, |_| size_of::<NamesPlan>() as u64)
    }

    /// Reads the records of a set's body while `budget` lasts; returns how many there were and whether
    /// some were left, None if a variable length runs past the set. Padding is less than one record.
    pub(in crate::decode) fn run(
        &self,
        body: &[u8],
        budget: &mut RowBudget,
        mut learn: impl FnMut(&RecordView<'_>),
    ) -> Option<(u32, bool)> {
        let mut records = 0;
        let mut rest = body;
        let mut positions = [(0_u32, 0_u16); FIELDS_PER_TEMPLATE_MAX];
        while rest.len() >= self.record_octets {
            let octets = if self.variable {
                match field_positions(&self.lengths, rest, &mut positions) {
                    Some(octets) => octets,
                    None if rest.len() < 4 && rest.iter().all(|o| *o == 0) => break,
                    None => return None,
                }
            } else {
                self.record_octets
            };
            // Each record takes the exporter's lock: as many as rows of flows, no more.
            if budget.0 == 0 {
                return Some((records, true));
            }
            budget.0 -= 1;
            let (record, after) = rest.split_at(octets);
            records += 1;
            learn(&RecordView { octets: record, positions: self.variable.then_some(&positions[..]) });
            rest = after;
        }
        Some((records, false))
    }

    /// True if its records tell of sampling or of the boot time.
    pub(in crate::decode) fn tells_facts(&self) -> bool {
        !self.items.is_empty()
    }

    /// What one record says of sampling and of the boot time.
    pub(in crate::decode) fn read(&self, view: &RecordView<'_>) -> OptionsFact {
        let mut facts = SamplingFacts::default();
        let (mut sampler, mut interface, mut template, mut card) = (None, None, None, None);
        let mut system_init_ms = None;
        for item in &self.items {
            let Some(octets) = view.field(&item.place) else { continue };
            let value = unsigned(octets);
            match item.role {
                Role::Interface => interface = value.and_then(|v| u32::try_from(v).ok()),
                Role::Template => template = value.and_then(|v| u16::try_from(v).ok()),
                Role::LineCard => card = value.and_then(|v| u32::try_from(v).ok()),
                Role::SamplerId => sampler = value,
                Role::Direct => facts.direct = facts.direct.or(value),
                Role::Interval => facts.interval = value,
                Role::Space => facts.space = value,
                Role::Size => facts.size = value,
                Role::Population => facts.population = value,
                Role::Probability => facts.probability = float(octets),
                Role::SystemInit => system_init_ms = value,
            }
        }
        let scope = match (sampler, interface, template, card) {
            (Some(id), Some(index), ..) => SamplingScope::SamplerOn(id, index),
            (Some(id), ..) => SamplingScope::Sampler(id),
            (None, Some(index), ..) => SamplingScope::Interface(index),
            (None, None, Some(id), _) => SamplingScope::Template(id),
            (None, None, None, Some(card)) => SamplingScope::LineCard(card),
            _ => SamplingScope::Domain,
        };
        OptionsFact { scope, rate: facts.rate(), system_init_ms }
    }
}
