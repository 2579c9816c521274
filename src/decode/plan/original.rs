//! Records of a mediator name the exporter that saw the flow (IX-41): the row becomes that exporter's.
//!
//! originalExporterIPv4Address 403 and originalExporterIPv6Address 404 with originalObservationDomainId 405, else
//! exporterIPv4Address 130 and exporterIPv6Address 131. An address that is zero or of a wrong length names nobody.

use std::net::IpAddr;

use super::context::{Ran, RunContext};
use super::record::{Place, RecordView};
use crate::decode::selection::Profile;
use crate::decode::wire::value::unsigned;
use crate::flow::{FlowBatch, FlowRecord, SamplingSource};

/// Elements that name the exporter, the first that does wins.
const EXPORTERS: [u16; 4] = [403, 404, 130, 131];
const ORIGINAL_DOMAIN: u16 = 405;

/// Where a mediator's record names the exporter that saw the flow.
#[derive(Debug)]
pub(super) struct OriginalExporter {
    /// By precedence.
    exporters: Box<[Place]>,
    domain: Option<Place>,
}

impl OriginalExporter {
    /// None if the template names no exporter, or if its sender may not.
    pub fn compile(places: &[Place], profile: &Profile) -> Option<Self> {
        if !profile.is_mediator {
            return None;
        }
        let of = |id: u16| places.iter().copied().find(move |place| place.element.pen == 0 && place.element.id == id);
        let exporters: Box<[Place]> = EXPORTERS.into_iter().filter_map(of).collect();
        (!exporters.is_empty()).then(|| Self { exporters, domain: of(ORIGINAL_DOMAIN) })
    }

    /// Makes row `index`, which was read from `view`, that of its own exporter.
    pub fn apply(
        &self,
        view: &RecordView<'_>,
        index: usize,
        context: &RunContext<'_>,
        batch: &mut FlowBatch,
        ran: &mut Ran,
    ) {
        let named = self.exporters.iter().find_map(|place| address(view.field(place)?));
        let (Some(address), Some(around)) = (named, context.around) else { return };
        let said = self.domain.as_ref().and_then(|place| view.field(place)).and_then(unsigned);
        let said = said.and_then(|id| u32::try_from(id).ok());
        let observation_domain = said.unwrap_or(context.observation_domain);
        let took = around.originals.with(address, observation_domain, around.exporter, around.budget, |original| {
            let exporter = batch.exporter_index(&original.exporter)?;
            let row = batch.records.get_mut(index)?;
            row.exporter = exporter;
            row.observation_domain = observation_domain;
            let before = *row;
            if let Some(rate) = original.sampling_override {
                (row.sampling_rate, row.sampling_source) = (rate, SamplingSource::Override);
            } else if let Some(rate) = original.sampling_default
                && is_nobodys(row)
            {
                (row.sampling_rate, row.sampling_source) = (rate, SamplingSource::Default);
            }
            ran.note_sampling(&before, row);
            Some(())
        });
        ran.originals_refused += u32::from(took.flatten().is_none());
    }

    /// The same for the other direction of `forward`, which was read without it.
    pub fn apply_reverse(forward: &FlowRecord, row: &mut FlowRecord) {
        let rules_say = forward.sampling_source == SamplingSource::Override
            || forward.sampling_source == SamplingSource::Default && is_nobodys(row);
        if rules_say {
            (row.sampling_rate, row.sampling_source) = (forward.sampling_rate, forward.sampling_source);
        }
    }
}

/// True if no exporter told the rate.
fn is_nobodys(row: &FlowRecord) -> bool {
    matches!(row.sampling_source, SamplingSource::Default | SamplingSource::Unknown)
}

/// IPv4-mapped addresses are folded, as those of senders are (G-05).
fn address(octets: &[u8]) -> Option<IpAddr> {
    let address = match octets.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(octets).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(octets).ok()?).to_canonical(),
        _ => return None,
    };
    (!address.is_unspecified()).then_some(address)
}
