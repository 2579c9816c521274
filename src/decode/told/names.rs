//! What things are called: interfaces, VRFs, applications, samplers, observation domains, as options records say it.
//!
//! One table a kind, each bounded. What a domain does not say itself, domain 0 says for it, or the only domain that does (IX-23).

use std::hash::Hash;
use std::net::IpAddr;

use super::table::{Purse, Table};
use crate::limits::APPLICATION_ID_OCTETS_MAX;

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

    /// The octets that came.
    pub fn octets(&self) -> &[u8] {
        &self.octets[..usize::from(self.length)]
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
pub(in crate::decode) fn say<K: Copy + Eq + Hash, const N: usize>(
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
