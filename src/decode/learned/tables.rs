//! Options tables -> a picture for the status API: taken on request, in an order that stays.

use std::hash::Hash;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::exporter::ExporterState;
use super::status::{NamedEntry, OptionsStatus, SamplingEntry, SamplingEntryScope};
use crate::decode::told::{Facts, SamplingScope, Table, Texts};
use crate::limits::OPTIONS_STATUS_ENTRIES_MAX;

impl ExporterState {
    /// What options records told of the exporter. Walks its tables: for people, not for the data path.
    #[must_use]
    pub fn options_status(&self) -> OptionsStatus {
        let tables = self.options.read().unwrap_or_else(PoisonError::into_inner);
        let (sampling, names) = (&tables.sampling, &tables.names);
        let entry = |(domain, scope, rate)| Some(SamplingEntry { domain, scope: scope_of(scope)?, rate });
        let mut boot_ms: Vec<(u32, u64)> = tables.system_init.iter().map(|(domain, ms)| (*domain, *ms)).collect();
        shorten(&mut boot_ms);
        let process = |of: fn(&Facts) -> Option<u64>| {
            let mut processes: Vec<(u32, u64)> =
                names.facts.iter().filter_map(|(domain, (), facts)| Some((domain, of(facts)?))).collect();
            shorten(&mut processes);
            processes
        };
        let mut addresses: Vec<_> =
            names.facts.iter().flat_map(|(_, (), f)| [f.address_v4, f.address_v6]).flatten().collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(OPTIONS_STATUS_ENTRIES_MAX);
        OptionsStatus {
            entries: vec![
                ("sampling", sampling.len()),
                ("boot_times", tables.system_init.len()),
                ("interfaces", names.interfaces.len()),
                ("vrfs", names.vrfs.len()),
                ("applications", names.applications.len()),
                ("samplers", names.samplers.len()),
                ("observation_domains", names.domains.len()),
                ("common_properties", tables.properties.len()),
            ],
            sampling: sampling.entries(OPTIONS_STATUS_ENTRIES_MAX).into_iter().filter_map(entry).collect(),
            domain_rates: sampling.wide(OPTIONS_STATUS_ENTRIES_MAX),
            interfaces: named(&names.interfaces, u64::from),
            vrfs: named(&names.vrfs, u64::from),
            samplers: named(&names.samplers, |id| id),
            domains: named(&names.domains, |()| 0),
            boot_ms,
            exporting_processes: process(|facts| facts.exporting_process),
            metering_processes: process(|facts| facts.metering_process),
            addresses,
            learned_elements: self.learned_elements.load(Ordering::Acquire),
        }
    }
}

fn shorten(list: &mut Vec<(u32, u64)>) {
    list.sort_unstable();
    list.truncate(OPTIONS_STATUS_ENTRIES_MAX);
}

/// None for a whole domain, whose rate stands elsewhere.
pub(super) const fn scope_of(scope: SamplingScope) -> Option<SamplingEntryScope> {
    Some(match scope {
        SamplingScope::Sampler(id) => SamplingEntryScope::Sampler(id),
        SamplingScope::SamplerOn(sampler, interface) => SamplingEntryScope::SamplerOn { sampler, interface },
        SamplingScope::Interface(index) => SamplingEntryScope::Interface(index),
        SamplingScope::Template(id) => SamplingEntryScope::Template(id),
        SamplingScope::LineCard(card) => SamplingEntryScope::LineCard(card),
        SamplingScope::Domain => return None,
    })
}

fn named<K: Copy + Eq + Hash, const N: usize>(table: &Table<K, Texts<N>>, id: impl Fn(K) -> u64) -> Vec<NamedEntry> {
    let mut keys: Vec<(u32, u64, &Texts<N>)> =
        table.iter().map(|(domain, key, texts)| (domain, id(key), texts)).collect();
    keys.sort_unstable_by_key(|(domain, id, _)| (*domain, *id));
    let entry = |(domain, id, texts): (u32, u64, &Texts<N>)| NamedEntry {
        domain,
        id,
        name: texts.text(0).to_owned(),
        description: texts.text(1).to_owned(),
    };
    keys.into_iter().take(OPTIONS_STATUS_ENTRIES_MAX).map(entry).collect()
}
