//! Names in rows: of interfaces, VRFs, applications, samplers and the observation domain.
//!
//! A name is what the record says, else what the exporter's options said of the number in it. A row of the other
//! direction came in where the forward one left: interfaces and VRFs change sides.

use super::by_options::Lacking;
use super::context::RunContext;
use super::extra_class::other_end;
use super::record::{Place, RecordView};
use crate::decode::told::{APPLICATION, ApplicationId, INTERFACE};
use crate::decode::wire::text::{Room, text};
use crate::decode::wire::value::unsigned;
use crate::flow::{ElementId, Field, FieldSet, Presence};

/// Names that are wanted, and where the record tells them or what they are the names of.
#[derive(Debug)]
pub(super) struct Named {
    wanted: FieldSet,
    own: Box<[(Field, Place)]>,
    ingress_vrf: Option<Place>,
    egress_vrf: Option<Place>,
    application: Option<Place>,
    sampler: Option<Place>,
    has_interfaces: bool,
}

/// Fields that are filled here.
const FIELDS: [Field; 11] = [
    Field::InputIfName,
    Field::InputIfDescription,
    Field::OutputIfName,
    Field::OutputIfDescription,
    Field::IngressVrf,
    Field::EgressVrf,
    Field::AppName,
    Field::AppDescription,
    Field::AppCategory,
    Field::SamplerName,
    Field::DomainName,
];

/// Elements that name things in a data record, with the field of their first and of their second occurrence.
const OWN: [(u16, [Option<Field>; 2]); 9] = [
    (82, [Some(Field::InputIfName), Some(Field::OutputIfName)]),
    (83, [Some(Field::InputIfDescription), Some(Field::OutputIfDescription)]),
    (236, [Some(Field::IngressVrf), Some(Field::EgressVrf)]),
    (96, [Some(Field::AppName), None]),
    (94, [Some(Field::AppDescription), None]),
    (372, [Some(Field::AppCategory), None]),
    (335, [Some(Field::SamplerName), None]),
    (84, [Some(Field::SamplerName), None]),
    (300, [Some(Field::DomainName), None]),
];

impl Named {
    /// None if nothing of what `fields` wants can be known of the template's records.
    pub fn compile(places: &[Place], fields: FieldSet) -> Option<Self> {
        let mut wanted = FieldSet::NONE;
        FIELDS.into_iter().filter(|field| fields.has(*field)).for_each(|field| wanted.add(field));
        if wanted.is_empty() {
            return None;
        }
        let all = |id: u16| places.iter().filter(move |p| p.element == ElementId { pen: 0, id }).copied();
        let first = |ids: &[u16]| ids.iter().find_map(|id| all(*id).next());
        // Where only the output interface is told, a single name is its name.
        let leaves_only = first(&[10, 252]).is_none() && first(&[14, 253]).is_some();
        let own = OWN.iter().flat_map(|(id, names)| {
            let is_single = all(*id).count() == 1;
            all(*id).zip(*names).filter_map(move |(place, field)| {
                let turn = leaves_only && is_single && matches!(id, 82 | 83);
                field.map(|field| (if turn { other_end(field) } else { field }, place))
            })
        });
        let named = Self {
            wanted,
            own: own.collect(),
            ingress_vrf: first(&[234]),
            egress_vrf: first(&[235]),
            application: first(&[95]),
            sampler: first(&[302, 48]),
            has_interfaces: first(&[10, 252, 14, 253]).is_some(),
        };
        let asks = !named.own.is_empty()
            || named.ingress_vrf.or(named.egress_vrf).or(named.application).or(named.sampler).is_some()
            || named.has_interfaces
            || wanted.has(Field::DomainName)
            // Interfaces of a row may come from its lists or its common properties.
            || first(&[137, 291, 292, 293]).is_some();
        asks.then_some(named)
    }

    /// Gives a row the names that its record tells.
    pub fn own(&self, view: &RecordView<'_>, row: &mut Lacking<'_>) {
        let mut room = Room::new();
        for (field, place) in &self.own {
            let field = if row.is_reverse { other_end(*field) } else { *field };
            if self.wants(field, row)
                && let Some(octets) = view.field(place)
            {
                row.give_text(field, text(octets, &mut room));
            }
        }
    }

    /// Gives a row the names that it lacks still and that options told.
    pub fn look_up(&self, view: &RecordView<'_>, context: &RunContext<'_>, row: &mut Lacking<'_>) {
        let Some(tables) = context.options.map(|options| &options.names) else { return };
        let domain = context.observation_domain;
        let record = *row.record();
        let value = |place: &Option<Place>| place.as_ref().and_then(|place| view.field(place)).and_then(unsigned);
        let interfaces = [
            (Presence::INPUT_IF, record.input_if, [Field::InputIfName, Field::InputIfDescription]),
            (Presence::OUTPUT_IF, record.output_if, [Field::OutputIfName, Field::OutputIfDescription]),
        ];
        for (known, index, fields) in interfaces {
            if record.has(known)
                && fields.iter().any(|field| self.wants(*field, row))
                && let Some(texts) = tables.interfaces.find(domain, index)
            {
                self.give(fields.into_iter().zip(INTERFACE.map(|i| texts.text(i))), row);
            }
        }
        for (place, field) in [(&self.ingress_vrf, Field::IngressVrf), (&self.egress_vrf, Field::EgressVrf)] {
            let field = if row.is_reverse { other_end(field) } else { field };
            if self.wants(field, row)
                && let Some(id) = value(place).and_then(|id| u32::try_from(id).ok())
                && let Some(texts) = tables.vrfs.find(domain, id)
            {
                row.give_text(field, texts.text(0));
            }
        }
        let fields = [Field::AppName, Field::AppDescription, Field::AppCategory];
        if fields.iter().any(|field| self.wants(*field, row))
            && let Some(octets) = self.application.as_ref().and_then(|place| view.field(place))
            && let Some(texts) = ApplicationId::of(octets).and_then(|id| tables.applications.find(domain, id))
        {
            self.give(fields.into_iter().zip(APPLICATION.map(|i| texts.text(i))), row);
        }
        if self.wants(Field::SamplerName, row)
            && let Some(texts) = value(&self.sampler).and_then(|id| tables.samplers.find(domain, id))
        {
            row.give_text(Field::SamplerName, texts.text(0));
        }
        // What another domain is called says nothing of this one.
        if self.wants(Field::DomainName, row)
            && let Some(texts) = tables.domains.told(domain, ())
        {
            row.give_text(Field::DomainName, texts.text(0));
        }
    }

    const fn wants(&self, field: Field, row: &Lacking<'_>) -> bool {
        self.wanted.has(field) && row.lacks(field)
    }

    fn give<'a>(&self, texts: impl Iterator<Item = (Field, &'a str)>, row: &mut Lacking<'_>) {
        for (field, text) in texts {
            if self.wants(field, row) {
                row.give_text(field, text);
            }
        }
    }
}
