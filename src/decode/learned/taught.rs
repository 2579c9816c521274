//! What one options record changes in what is learned: tables of the exporter, elements, flow keys, common properties.
//!
//! The plan says where the record holds what; here it is applied, under the exporter's lock and within its bounds.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::decided::Decided;
use super::domain::Domain;
use super::exporter::ExporterState;
use super::room::Envelope;
use crate::decode::outcome::Outcome;
use crate::decode::plan::{
    Around, DecodePlan, NamesPlan, OptionsPlan, Place, PropertiesPlan, RecordView, RunContext, Templates, TypePlan,
};
use crate::decode::told::{LearnedBudget, Purse};
use crate::decode::wire::text::Room;
use crate::decode::wire::time::MessageClock;
use crate::decode::wire::value::unsigned;
use crate::element::{DataType, Taught};
use crate::flow::{ElementId, FlowBatch, SamplingSource};
use crate::limits::{LEARNED_ELEMENT_NAME_OCTETS_MAX, LEARNED_ELEMENTS_PER_EXPORTER_MAX};

impl Domain {
    /// Learns what one record of an options set says; `batch` lends its memory and is left as it was.
    pub(in crate::decode) fn learn_options(
        &self,
        plan: &OptionsPlan,
        view: &RecordView<'_>,
        envelope: &Envelope,
        batch: &mut FlowBatch,
        outcome: &mut Outcome,
    ) {
        let exporter = &self.exporter;
        let of_message = envelope.header.observation_domain;
        let number = |place: &Place| view.field(place).and_then(unsigned).and_then(|value| u32::try_from(value).ok());
        // 0 is no domain in particular: the message's.
        let of = plan.domain.as_ref().and_then(number).filter(|domain| *domain != 0).unwrap_or(of_message);
        if plan.tells_facts() {
            exporter.learn(of, &plan.read(view));
        }
        if let Some(names) = &plan.names {
            exporter.learn_names(of, names, view);
        }
        if let Some(types) = &plan.types
            && exporter.decided().settings.profile.teaches_elements
        {
            outcome.elements_refused += u32::from(!exporter.learn_type(types, view));
        }
        if let Some((template, keys)) = &plan.flow_keys
            && of == of_message
            && let Some(id) = number(template).and_then(|id| u16::try_from(id).ok())
            && let Some(keys) = view.field(keys).and_then(unsigned)
        {
            self.learn_flow_keys(id, keys);
        }
        if let Some(properties) = &plan.properties {
            self.learn_properties(properties, view, of, envelope, batch);
        }
    }

    /// Learns common properties, told in observation domain `of`.
    fn learn_properties(
        &self,
        plan: &PropertiesPlan,
        view: &RecordView<'_>,
        of: u32,
        envelope: &Envelope,
        batch: &mut FlowBatch,
    ) {
        let exporter = &self.exporter;
        let decided = exporter.decided();
        let (header, settings) = (&envelope.header, &decided.settings);
        let context = RunContext {
            clock: MessageClock::of(header, envelope.receive_ns, settings.selection.receive_window),
            version: header.version,
            observation_domain: header.observation_domain,
            exporter: 0,
            sampling_override: settings.sampling_override,
            sampling_domain: (1, SamplingSource::Unknown),
            around: Some(self.around(&decided)),
            sampling_tables: None,
            options: None,
        };
        if let Some((id, properties)) = plan.read(view, &context, batch) {
            let mut tables = exporter.options.write().unwrap_or_else(PoisonError::into_inner);
            tables.properties.learn((of, self.key.session, id), properties, exporter.purse());
        }
    }

    /// What a plan asks of the domain while it runs.
    pub(in crate::decode) fn around<'a>(&'a self, decided: &'a Decided) -> Around<'a> {
        let Decided { exporter, settings } = decided;
        let ExporterState { budget, originals, .. } = &*self.exporter;
        Around {
            session: self.key.session,
            settings,
            exporter,
            budget,
            originals,
            firewall_updates: &self.firewall_updates,
            templates: self,
        }
    }
}

impl Templates for Domain {
    fn plan(&self, id: u16) -> Option<Arc<DecodePlan>> {
        Self::plan(self, id)
    }
}

/// An element in the registry, its keys and name.
const ELEMENT_OCTETS: u64 = 128 + LEARNED_ELEMENT_NAME_OCTETS_MAX as u64;

impl ExporterState {
    /// What its options tables may still take.
    pub(in crate::decode) fn purse(&self) -> Purse<'_> {
        Purse { budget: &self.budget, taken: &self.options_octets }
    }

    /// Applies what an options record said of names in `domain`.
    fn learn_names(&self, domain: u32, names: &NamesPlan, view: &RecordView<'_>) {
        let mut tables = self.options.write().unwrap_or_else(PoisonError::into_inner);
        names.learn(view, domain, &mut tables.names, self.purse());
    }

    /// Learns what a type record says (RFC 5610); false if it was refused.
    fn learn_type(&self, types: &TypePlan, view: &RecordView<'_>) -> bool {
        let mut room = Room::new();
        types.read(view, &mut room).is_some_and(|(element, name, data_type)| self.teach(element, name, data_type))
    }
    /// Tells the registry what the exporter calls `element`; false if that was refused.
    pub(in crate::decode) fn teach(&self, element: ElementId, name: &str, data_type: DataType) -> bool {
        let decided = self.decided();
        let registry = &decided.settings.registry;
        // Room first: two workers may read type records of one exporter at once.
        let has_room = LearnedBudget::reserve(&self.learned_elements, 1, LEARNED_ELEMENTS_PER_EXPORTER_MAX as u64);
        if !has_room {
            return registry.knows(&decided.exporter, element, name, data_type);
        }
        if !self.purse().take(ELEMENT_OCTETS) {
            self.learned_elements.fetch_sub(1, Ordering::AcqRel);
            return registry.knows(&decided.exporter, element, name, data_type);
        }
        let taught = registry.teach(&decided.exporter, element, name, data_type);
        if taught != Taught::New {
            self.learned_elements.fetch_sub(1, Ordering::AcqRel);
            self.purse().give(ELEMENT_OCTETS);
        }
        taught != Taught::Refused
    }
}
