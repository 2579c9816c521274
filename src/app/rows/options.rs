//! What an exporter's options records told -> JSON of its detail. Bounded by [`OPTIONS_STATUS_ENTRIES_MAX`] a list.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::decode::{NamedEntry, OptionsStatus, SamplingEntry, SamplingEntryScope};
use crate::limits::OPTIONS_STATUS_ENTRIES_MAX;
use crate::web::DetailRow;
use crate::web::time::rfc3339;

/// The states of an exporter as one, by key: there is one for each rule that its domains fall under.
pub(super) fn options(states: impl Iterator<Item = OptionsStatus>) -> Vec<(&'static str, Value)> {
    let all = states.fold(OptionsStatus::default(), join);
    let of_domains = |key: &str, list: &[(u32, u64)]| -> Value {
        list.iter().map(|(domain, value)| json!({ "observation_domain": domain, (key): value })).collect()
    };
    vec![
        ("entries", entries(&all)),
        ("sampling_rates", rates(&all)),
        ("samplers", named(&all.samplers)),
        ("interfaces", named(&all.interfaces)),
        ("vrfs", named(&all.vrfs)),
        ("observation_domains", domains(&all.domains)),
        (
            "boot_times",
            all.boot_ms
                .iter()
                .map(|(domain, ms)| {
                    json!({ "observation_domain": domain, "booted": rfc3339(ms.saturating_mul(1_000_000)) })
                })
                .collect(),
        ),
        ("exporting_processes", of_domains("id", &all.exporting_processes)),
        ("metering_processes", of_domains("id", &all.metering_processes)),
        ("says_its_addresses_are", all.addresses.iter().map(IpAddr::to_string).collect()),
        ("learned_elements", all.learned_elements.into()),
    ]
}

/// Tables that have entries, as `interfaces 12`.
pub fn tables(detail: &DetailRow) -> Vec<String> {
    let entries = detail.options.iter().find(|(key, _)| *key == "entries").and_then(|(_, value)| value.as_object());
    let some = entries.into_iter().flatten().filter(|(_, entries)| **entries != 0);
    some.map(|(table, entries)| format!("{table} {entries}")).collect()
}

fn join(mut all: OptionsStatus, one: OptionsStatus) -> OptionsStatus {
    for (table, entries) in one.entries {
        match all.entries.iter_mut().find(|(known, _)| *known == table) {
            Some((_, sum)) => *sum += entries,
            None => all.entries.push((table, entries)),
        }
    }
    append(&mut all.sampling, one.sampling);
    append(&mut all.domain_rates, one.domain_rates);
    append(&mut all.interfaces, one.interfaces);
    append(&mut all.vrfs, one.vrfs);
    append(&mut all.samplers, one.samplers);
    append(&mut all.domains, one.domains);
    append(&mut all.boot_ms, one.boot_ms);
    append(&mut all.exporting_processes, one.exporting_processes);
    append(&mut all.metering_processes, one.metering_processes);
    append(&mut all.addresses, one.addresses);
    all.learned_elements += one.learned_elements;
    all
}

fn append<T>(all: &mut Vec<T>, one: Vec<T>) {
    all.extend(one);
    all.truncate(OPTIONS_STATUS_ENTRIES_MAX);
}

fn entries(all: &OptionsStatus) -> Value {
    let pairs = all.entries.iter().map(|(table, entries)| ((*table).to_owned(), Value::from(*entries)));
    pairs.collect::<serde_json::Map<_, _>>().into()
}

/// Rates with what they hold for: the whole domains first.
fn rates(all: &OptionsStatus) -> Value {
    let wide = all
        .domain_rates
        .iter()
        .map(|(domain, rate)| json!({ "observation_domain": domain, "rate": rate, "scope": "domain" }));
    wide.chain(all.sampling.iter().map(rate)).collect()
}

fn rate(entry: &SamplingEntry) -> Value {
    let (domain, rate) = (entry.domain, entry.rate);
    let of = |scope: &str, id: u64| json!({ "observation_domain": domain, "rate": rate, "scope": scope, "id": id });
    match entry.scope {
        SamplingEntryScope::Sampler(id) => of("sampler", id),
        SamplingEntryScope::SamplerOn { sampler, interface } => {
            let mut value = of("sampler", sampler);
            value["interface"] = interface.into();
            value
        }
        SamplingEntryScope::Interface(index) => of("interface", index.into()),
        SamplingEntryScope::Template(id) => of("template", id.into()),
        SamplingEntryScope::LineCard(card) => of("line_card", card.into()),
    }
}

fn named(list: &[NamedEntry]) -> Value {
    let entry = |entry: &NamedEntry| {
        let mut value = json!({ "observation_domain": entry.domain, "id": entry.id, "name": shown(&entry.name) });
        if !entry.description.is_empty() {
            value["description"] = shown(&entry.description).into();
        }
        value
    };
    list.iter().map(entry).collect()
}

/// Text of the wire without what would move a cursor or turn a line round, for JSON is read in terminals too.
fn shown(text: &str) -> String {
    let moves = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.replace(moves, "\u{fffd}")
}

fn domains(list: &[NamedEntry]) -> Value {
    list.iter().map(|entry| json!({ "observation_domain": entry.domain, "name": shown(&entry.name) })).collect()
}
