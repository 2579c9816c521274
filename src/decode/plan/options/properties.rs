//! Common properties (RFC 5473): which fields of an options record are said for all records that name it.
//!
//! The record is read once, as the flow that it would be: what it lends a data record later costs the same whatever its
//! template asks.

use super::fields::{Fields, NOTHING};
use crate::decode::plan::{DataPlan, ListBudget, Place, RecordView, RowBudget, RunContext};
use crate::decode::selection::DecodeSettings;
use crate::decode::told::Properties;
use crate::decode::wire::template::{FieldSpecifier, Template, TemplateKind};
use crate::decode::wire::value::unsigned;
use crate::flow::{FlowBatch, Version};

/// How the records of an options template are read as properties.
#[derive(Debug)]
pub(in crate::decode) struct PropertiesPlan {
    /// commonPropertiesId 137 of the scope.
    id: Place,
    plan: DataPlan,
}

impl PropertiesPlan {
    /// None if the template tells no common properties, or the rows are wanted as on the wire.
    pub(super) fn compile(
        template: &Template,
        scopes: u16,
        fields: &Fields,
        version: Version,
        settings: &DecodeSettings,
    ) -> Option<Box<Self>> {
        let id = fields.scope(137).filter(|_| settings.selection.interpret)?;
        let scopes = usize::from(scopes);
        // The scope says what the rest is for; a field that stays names no other properties.
        let said = |(index, specifier): (usize, &FieldSpecifier)| {
            let is_lent = index >= scopes && specifier.element != id.element;
            FieldSpecifier { element: if is_lent { specifier.element } else { NOTHING }, ..*specifier }
        };
        let fields = template.fields.iter().enumerate().map(said).collect();
        let template = Template { id: template.id, kind: TemplateKind::Data, fields };
        Some(Box::new(Self { id, plan: DataPlan::of(&template, version, settings) }))
    }

    /// What one record says, by its id; `batch` lends its memory and is left as it was. `context` is that of its message.
    pub fn read(
        &self,
        view: &RecordView<'_>,
        context: &RunContext<'_>,
        batch: &mut FlowBatch,
    ) -> Option<(u64, Properties)> {
        let id = view.field(&self.id).and_then(unsigned)?;
        let (mark, index, first) = (batch.mark(), batch.records.len(), batch.fields.len());
        // One row, and a few values where lists hold the properties.
        let mut budget = RowBudget(1, ListBudget { read: LISTED_MAX, kept: 0, lent: LISTED_MAX });
        let ran = self.plan.run(view.octets, context, &mut budget, batch);
        let has_row = ran.is_ok() && batch.records.len() > index;
        let properties = has_row.then(|| Properties::of(batch, index, first));
        batch.truncate(mark);
        properties.map(|properties| (id, properties))
    }
}

/// Values of lists that a record of properties is read for.
const LISTED_MAX: u32 = 64;
