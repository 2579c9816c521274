//! Where the records of an options template hold names, and what they are the names of.
//!
//! Keys are looked for anywhere in the record, for makers put them into the scope or behind it (IX-23).

use std::hash::Hash;
use std::net::IpAddr;

use super::fields::Fields;
use crate::decode::plan::{Place, RecordView};
use crate::decode::told::{ApplicationId, Facts, NameTables, Purse, Table, Texts, say};
use crate::decode::wire::text::{Room, text};
use crate::decode::wire::value::unsigned;
use crate::limits::OPTIONS_KEYS_MAX;

/// Where the records of an options template hold names, and what they are the names of.
#[derive(Debug)]
pub(in crate::decode) struct NamesPlan {
    interfaces: Keyed<2>,
    vrfs: Keyed<1>,
    applications: Keyed<3>,
    samplers: Keyed<1>,
    domain: [Option<Place>; 1],
    /// 144, 143, 130, 131.
    facts: [Option<Place>; 4],
}

/// Texts by key.
#[derive(Debug)]
struct Keyed<const N: usize> {
    keys: Box<[Place]>,
    texts: [Option<Place>; N],
}

impl<const N: usize> Keyed<N> {
    /// `texts` has the elements of each text, the preferred one first.
    fn compile(fields: &Fields, keys: &[u16], texts: [&[u16]; N]) -> Self {
        let texts = texts.map(|ids| ids.iter().find_map(|id| fields.find(*id)));
        let keys = if texts.iter().any(Option::is_some) { fields.keys(keys) } else { Vec::new() };
        Self { keys: keys.into_iter().take(OPTIONS_KEYS_MAX).collect(), texts }
    }

    fn read<'a>(&self, view: &RecordView<'a>, rooms: &'a mut [Room; N]) -> [Option<&'a str>; N] {
        let mut said = [None; N];
        for ((said, place), room) in said.iter_mut().zip(&self.texts).zip(rooms) {
            *said = place.as_ref().and_then(|place| view.field(place)).map(|octets| text(octets, room));
        }
        said
    }

    fn learn<K: Copy + Eq + Hash>(
        &self,
        view: &RecordView<'_>,
        table: &mut Table<K, Texts<N>>,
        domain: u32,
        key: impl Fn(&[u8]) -> Option<K>,
        purse: Purse<'_>,
    ) {
        if self.keys.is_empty() {
            return;
        }
        let mut rooms = [Room::new(); N];
        let said = self.read(view, &mut rooms);
        for place in &self.keys {
            if let Some(key) = view.field(place).and_then(&key) {
                say(table, domain, key, said, purse);
            }
        }
    }
}

fn number(octets: &[u8]) -> Option<u32> {
    unsigned(octets).and_then(|value| u32::try_from(value).ok())
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok().filter(|a| !a.is_unspecified())
}

impl NamesPlan {
    /// None if the template names nothing.
    pub(super) fn compile(fields: &Fields) -> Option<Box<Self>> {
        let plan = Self {
            interfaces: Keyed::compile(fields, &[10, 14, 252, 253], [&[82], &[83]]),
            vrfs: Keyed::compile(fields, &[234, 235], [&[236]]),
            applications: Keyed::compile(fields, &[95], [&[96], &[94], &[372]]),
            samplers: Keyed::compile(fields, &[302, 48], [&[335, 84]]),
            domain: [fields.find(300)],
            facts: [144, 143, 130, 131].map(|id| fields.find(id)),
        };
        let names = !plan.interfaces.keys.is_empty()
            || !plan.vrfs.keys.is_empty()
            || !plan.applications.keys.is_empty()
            || !plan.samplers.keys.is_empty()
            || plan.domain[0].is_some()
            || plan.facts.iter().any(Option::is_some);
        names.then(|| Box::new(plan))
    }

    /// Learns what one record of `domain` says.
    pub fn learn(&self, view: &RecordView<'_>, domain: u32, tables: &mut NameTables, purse: Purse<'_>) {
        self.interfaces.learn(view, &mut tables.interfaces, domain, number, purse);
        self.vrfs.learn(view, &mut tables.vrfs, domain, number, purse);
        self.applications.learn(view, &mut tables.applications, domain, ApplicationId::of, purse);
        self.samplers.learn(view, &mut tables.samplers, domain, unsigned, purse);
        if let [Some(place)] = &self.domain
            && let Some(octets) = view.field(place)
        {
            let mut room = Room::new();
            say(&mut tables.domains, domain, (), [Some(text(octets, &mut room))], purse);
        }
        self.learn_facts(view, domain, &mut tables.facts, purse);
    }

    fn learn_facts(&self, view: &RecordView<'_>, domain: u32, table: &mut Table<(), Facts>, purse: Purse<'_>) {
        let field = |index: usize| self.facts[index].as_ref().and_then(|place| view.field(place));
        let said = Facts {
            exporting_process: field(0).and_then(unsigned),
            metering_process: field(1).and_then(unsigned),
            address_v4: field(2).and_then(address).filter(IpAddr::is_ipv4),
            address_v6: field(3).and_then(address).filter(IpAddr::is_ipv6),
        };
        if said == Facts::default() {
            return;
        }
        if table.own(domain, ()).is_none() {
            if !table.has_room() || !purse.take(Table::<(), Facts>::ENTRY_OCTETS) {
                return;
            }
            table.add(domain, (), Facts::default());
        }
        if let Some(known) = table.own(domain, ()) {
            known.exporting_process = said.exporting_process.or(known.exporting_process);
            known.metering_process = said.metering_process.or(known.metering_process);
            known.address_v4 = said.address_v4.or(known.address_v4);
            known.address_v6 = said.address_v6.or(known.address_v6);
        }
    }
}
