//! Options records -> learned state: sampling by scope, and the exporter's boot time.
//!
//! Options records never become flows (N9-22). Scope fields of NetFlow v9 are scope types, another
//! number space than field types (N9-21).

use super::plan::RowBudget;
use super::sampling::{SamplingFacts, SamplingScope};
use super::template::{Template, VARIABLE_LENGTH};
use super::value::{field_positions, float, unsigned};
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
    field: u16,
    length: u16,
    offset: u16,
}

/// How to read the records of an options template.
#[derive(Debug)]
pub(super) struct OptionsPlan {
    /// Octets of a record; the smallest where fields are variable.
    pub record_octets: usize,
    variable: bool,
    lengths: Box<[u16]>,
    items: Box<[Item]>,
}

/// What one options record said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct OptionsFact {
    /// Whom the sampling concerns.
    pub scope: SamplingScope,
    /// 1 in N, if the record says so.
    pub rate: Option<u32>,
    /// systemInitTimeMilliseconds 160, Unix milliseconds.
    pub system_init_ms: Option<u64>,
}

fn role(element: ElementId, scope_of_v9: bool) -> Option<Role> {
    if scope_of_v9 {
        // RFC 3954 6.1: 1 System, 2 Interface, 3 Line Card, 4 Cache, 5 Template.
        return match element.id {
            2 => Some(Role::Interface),
            3 => Some(Role::LineCard),
            5 => Some(Role::Template),
            _ => None,
        };
    }
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
    pub(super) fn compile(template: &Template, scopes: u16, version: Version) -> Self {
        let mut items = Vec::new();
        let mut offset = 0_u16;
        let mut lengths = Vec::new();
        for (index, specifier) in template.fields.iter().enumerate() {
            // Nothing of it is in the record.
            if specifier.length == 0 {
                continue;
            }
            let field = u16::try_from(lengths.len()).unwrap_or(u16::MAX);
            lengths.push(specifier.length);
            let in_scope = index < usize::from(scopes);
            let found = role(specifier.element, in_scope && version == Version::V9);
            // Interface, card and template are a scope, or plain information (IE 10 beside a name).
            let found = found.filter(|r| in_scope || !matches!(r, Role::Interface | Role::Template | Role::LineCard));
            if let Some(role) = found {
                items.push(Item { role, field, length: specifier.length, offset });
            }
            if specifier.length != VARIABLE_LENGTH {
                offset = offset.saturating_add(specifier.length);
            }
        }
        Self {
            record_octets: template.record_octets_min(),
            variable: template.is_variable(),
            lengths: lengths.into(),
            items: items.into(),
        }
    }

    /// Reads the records of a set's body while `budget` lasts; returns how many there were and whether
    /// some were left, None if a variable length runs past the set. Padding is less than one record.
    pub(super) fn run(
        &self,
        body: &[u8],
        budget: &mut RowBudget,
        mut learn: impl FnMut(OptionsFact),
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
            if !self.items.is_empty() {
                learn(self.read(record, &positions));
            }
            rest = after;
        }
        Some((records, false))
    }

    fn read(&self, record: &[u8], positions: &[(u32, u16)]) -> OptionsFact {
        let mut facts = SamplingFacts::default();
        let (mut sampler, mut interface, mut template, mut card) = (None, None, None, None);
        let mut system_init_ms = None;
        for item in &self.items {
            let (offset, length) = if self.variable {
                let (offset, length) = positions[usize::from(item.field)];
                (offset as usize, usize::from(length))
            } else {
                (usize::from(item.offset), usize::from(item.length))
            };
            let Some(octets) = record.get(offset..offset + length) else { continue };
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
            (Some(id), ..) => SamplingScope::Sampler(id),
            (None, Some(index), ..) => SamplingScope::Interface(index),
            (None, None, Some(id), _) => SamplingScope::Template(id),
            (None, None, None, Some(card)) => SamplingScope::LineCard(card),
            _ => SamplingScope::Domain,
        };
        OptionsFact { scope, rate: facts.rate(), system_init_ms }
    }
}
