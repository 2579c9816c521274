//! Common properties of a data record (RFC 5473): what options said once under its commonPropertiesId 137.

use super::by_options::Lacking;
use super::context::{Ran, RunContext};
use super::extra_class::other_end;
use super::fill::fill;
use super::record::{Place, RecordView};
use crate::decode::told::Properties;
use crate::decode::wire::value::unsigned;
use crate::flow::{FlowRecord, Presence, Value};
use crate::limits::OPTIONS_KEYS_MAX;

/// Where a record names its properties.
#[derive(Debug)]
pub(super) struct Common {
    ids: Box<[Place]>,
}

impl Common {
    /// None if the template names none.
    pub fn compile(places: &[Place]) -> Option<Self> {
        let names = |place: &&Place| place.element.pen == 0 && place.element.id == 137;
        let ids: Box<[Place]> = places.iter().filter(names).take(OPTIONS_KEYS_MAX).copied().collect();
        (!ids.is_empty()).then_some(Self { ids })
    }

    /// The properties of each id, None where nobody told them.
    fn told<'a>(
        &'a self,
        view: &'a RecordView<'_>,
        context: &'a RunContext<'_>,
    ) -> impl Iterator<Item = Option<&'a Properties>> {
        self.ids.iter().map(|place| {
            let id = view.field(place).and_then(unsigned)?;
            let session = context.around?.session;
            context.options?.properties.find(context.observation_domain, session, id)
        })
    }

    /// Gives `record` what it lacks; one whose properties are not known stays as it is and is counted.
    pub fn fill(&self, view: &RecordView<'_>, record: &mut FlowRecord, context: &RunContext<'_>, ran: &mut Ran) {
        let mut is_whole = true;
        for properties in self.told(view, context) {
            let Some(properties) = properties else {
                is_whole = false;
                continue;
            };
            let before = *record;
            // Judged with the counters that they belong to.
            fill(record, &properties.record, Presence::NONE);
            ran.note_sampling(&before, record);
        }
        ran.common_properties_unknown += u32::from(!is_whole);
    }

    /// Gives a row the fields that it lacks.
    pub fn push(&self, view: &RecordView<'_>, context: &RunContext<'_>, row: &mut Lacking<'_>) {
        for properties in self.told(view, context).flatten() {
            for (said, octets) in properties.fields() {
                let field = if row.is_reverse { other_end(said.field) } else { said.field };
                if !row.lacks(field) {
                    continue;
                }
                match said.value {
                    Value::Unsigned(number) => row.give_number(field, number),
                    Value::Octets { .. } => row.give_octets(field, octets),
                }
            }
        }
    }
}
