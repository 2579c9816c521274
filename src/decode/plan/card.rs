//! Sampling by line card (IX-48 step 4): a record that names its card (141) has the card's rate.

use super::context::{Ran, RunContext};
use super::record::{Place, RecordView, places};
use crate::decode::wire::template::Template;
use crate::decode::wire::value::unsigned;
use crate::flow::{FlowRecord, SamplingSource};

/// Where a record names its line card.
#[derive(Debug, Clone, Copy)]
pub(super) struct LineCard(Place);

impl LineCard {
    /// None if the template does not name one.
    pub fn compile(template: &Template) -> Option<Self> {
        places(template).into_iter().find(|p| p.element.pen == 0 && p.element.id == 141).map(Self)
    }

    /// Gives `record` its card's rate, unless something closer to it told one.
    pub fn apply(&self, view: &RecordView<'_>, record: &mut FlowRecord, context: &RunContext<'_>, ran: &mut Ran) {
        use SamplingSource::{Default, Domain, Exporter, Unknown};
        if !matches!(record.sampling_source, Domain | Exporter | Default | Unknown) {
            return;
        }
        let card = view.field(&self.0).and_then(unsigned).and_then(|card| u32::try_from(card).ok());
        let said = card.and_then(|card| context.sampling_tables?.of_card(context.observation_domain, card));
        if let Some((rate, source)) = said {
            if record.sampling_source == Unknown {
                ran.sampling_unknown = ran.sampling_unknown.saturating_sub(1);
            }
            (record.sampling_rate, record.sampling_source) = (rate, source);
        }
    }
}
