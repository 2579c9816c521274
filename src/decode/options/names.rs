//! What things are called: interfaces, VRFs, applications, samplers, observation domains, as options records say it.
//!
//! One table a kind, each bounded. Keys are looked for anywhere in the record, for makers put them into the scope
//! or behind it. What a domain does not say itself, domain 0 says for it, or the only domain that does (IX-23).

use std::hash::Hash;
use std::net::IpAddr;

use super::fields::Fields;
use super::table::{Purse, Table};
use crate::decode::plan::{Place, RecordView};
use crate::decode::text::{Room, text};
use crate::decode::value::unsigned;
use crate::limits::{APPLICATION_ID_OCTETS_MAX, OPTIONS_KEYS_MAX};

/// What is said of one thing, N texts.
#[derive(Debug)]
pub(in crate::decode) struct Texts<const N: usize>([Option<Box<str>>; N]);

impl<const N: usize> Texts<N> {
    /// Text number `index`, empty if there is none.
    pub fn text(&self, index: usize) -> &str {
        self.0.get(index).and_then(Option::as_deref).unwrap_or_default()
    }
}

/// Name and description of an interface.
pub(in crate::decode) const INTERFACE: [usize; 2] = [0, 1];
/// Name, description and category of an application.
pub(in crate::decode) const APPLICATION: [usize; 3] = [0, 1, 2];

/// applicationId 95 as it came, with its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::decode) struct ApplicationId {
    octets: [u8; APPLICATION_ID_OCTETS_MAX],
    length: u8,
}

impl ApplicationId {
    /// None for no octets, or too many.
    pub fn of(value: &[u8]) -> Option<Self> {
        let mut octets = [0; APPLICATION_ID_OCTETS_MAX];
        octets.get_mut(..value.len())?.copy_from_slice(value);
        let length = u8::try_from(value.len()).ok().filter(|length| *length > 0)?;
        Some(Self { octets, length })
    }
}

/// What an exporter says of itself in one observation domain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::decode) struct Facts {
    /// exportingProcessId 144.
    pub exporting_process: Option<u64>,
    /// meteringProcessId 143.
    pub metering_process: Option<u64>,
    /// exporterIPv4Address 130.
    pub address_v4: Option<IpAddr>,
    /// exporterIPv6Address 131.
    pub address_v6: Option<IpAddr>,
}

/// All of it, of one exporter.
#[derive(Debug, Default)]
pub(in crate::decode) struct NameTables {
    pub interfaces: Table<u32, Texts<2>>,
    pub vrfs: Table<u32, Texts<1>>,
    pub applications: Table<ApplicationId, Texts<3>>,
    pub samplers: Table<u64, Texts<1>>,
    pub domains: Table<(), Texts<1>>,
    pub facts: Table<(), Facts>,
}

impl NameTables {
    /// Entries in all tables.
    pub fn len(&self) -> usize {
        self.interfaces.len()
            + self.vrfs.len()
            + self.applications.len()
            + self.samplers.len()
            + self.domains.len()
            + self.facts.len()
    }
}

/// What a text takes beside its octets.
const TEXT_OVERHEAD_OCTETS: u64 = 16;

fn octets_of(text: &str) -> u64 {
    if text.is_empty() { 0 } else { text.len() as u64 + TEXT_OVERHEAD_OCTETS }
}

/// Learns what is said of `key`; None says nothing of a text, an empty one that there is none.
fn learn<K: Copy + Eq + Hash, const N: usize>(
    table: &mut Table<K, Texts<N>>,
    domain: u32,
    key: K,
    said: [Option<&str>; N],
    purse: Purse<'_>,
) {
    if table.own(domain, key).is_none() {
        if said.iter().all(|text| text.is_none_or(str::is_empty))
            || !table.has_room()
            || !purse.take(Table::<K, Texts<N>>::ENTRY_OCTETS)
        {
            return;
        }
        table.add(domain, key, Texts([const { None }; N]));
    }
    let Some(known) = table.own(domain, key) else { return };
    for (known, said) in known.0.iter_mut().zip(said) {
        let Some(said) = said else { continue };
        let before = known.as_deref().unwrap_or_default();
        if before == said {
            continue;
        }
        let (before, now) = (octets_of(before), octets_of(said));
        // Where the process has no octets left the old text stays.
        if now > before && !purse.take(now - before) {
            continue;
        }
        if now < before {
            purse.give(before - now);
        }
        *known = (!said.is_empty()).then(|| Box::from(said));
    }
}

/// Where the records of an options template hold names, and what they are the names of.
#[derive(Debug)]
pub(super) struct NamesPlan {
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
                learn(table, domain, key, said, purse);
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
    pub fn compile(fields: &Fields) -> Option<Box<Self>> {
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
            learn(&mut tables.domains, domain, (), [Some(text(octets, &mut room))], purse);
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
