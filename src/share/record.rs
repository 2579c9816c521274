//! One record: who something was learned of, and the lessons. The unit of a snapshot, and of what replicas share.
//!
//! ```text
//!  whose:   family 1 (4, 6)  address 4 or 16  tenant 2+n  listener 2+n  version 2
//!           session 1 (0 any, 1 port, 2 connection) 8  observation domain 4  flags 1 (bit 0: known)  last seen 8
//!  lessons: tag 1  length 2  body; of each:
//!   1 heard     heard 8  flags 1 (bit 0: firewall updates)
//!   2 template  form 1 (9, 10)  options 1  author 2  flow keys 8  learned 8  refreshed 8  interval 8  used 8  record n
//!   3 sampling  domain 4  scope 1  id 8  interface 4  rate 4
//!   4 boot time domain 4  milliseconds 8
//!   5 name      kind 1  domain 4  key 2+n  text 2+n  text 2+n  text 2+n
//!   6 identity  domain 4  has 1 (bits in order)  exporting 8  metering 8  IPv4 4  IPv6 16
//!   7 element   enterprise 4  id 2  type 1  name n
//! ```
//!
//! Numbers in network order, times in Unix nanoseconds. A lesson with an unknown tag is passed by: a later version may add
//! some. Promised: what reads back is what was written; other octets read as fewer lessons, never as a panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::octets::{Octets, put_counted};
use crate::decode::{
    IdentityLesson, Lesson, NameKind, NameLesson, SamplingEntryScope, Session, TemplateForm, TemplateLesson,
};
use crate::limits::STATE_NAME_OCTETS_MAX;

/// Of whom something was learned: one (exporter, session, version, observation domain).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whose {
    /// Tenant of the exporter.
    pub tenant: String,
    /// Its address.
    pub address: IpAddr,
    /// Name of the listener that it is heard at: numbers change with the settings.
    pub listener: String,
    /// Version, as in the first 16 bits of its messages.
    pub version: u16,
    /// Transport session.
    pub session: Session,
    /// Observation domain.
    pub observation_domain: u32,
    /// Something of the exporter was decoded, or a rule names it.
    pub is_known: bool,
    /// Unix nanoseconds of its last datagram.
    pub last_seen_ns: u64,
}

const FLAG: u8 = 1;

impl Whose {
    /// Appends it; false, and octets that are of no use, if a name is too long.
    pub(super) fn put(&self, octets: &mut Vec<u8>) -> bool {
        match self.address {
            IpAddr::V4(address) => {
                octets.push(4);
                octets.extend_from_slice(&address.octets());
            }
            IpAddr::V6(address) => {
                octets.push(6);
                octets.extend_from_slice(&address.octets());
            }
        }
        let (kind, number) = match self.session {
            Session::Any => (0, 0),
            Session::Port(port) => (1, u64::from(port)),
            Session::Connection(id) => (2, id),
        };
        let short = self.tenant.len() <= STATE_NAME_OCTETS_MAX && self.listener.len() <= STATE_NAME_OCTETS_MAX;
        let named = put_counted(octets, self.tenant.as_bytes()) && put_counted(octets, self.listener.as_bytes());
        octets.extend_from_slice(&self.version.to_be_bytes());
        octets.push(kind);
        octets.extend_from_slice(&number.to_be_bytes());
        octets.extend_from_slice(&self.observation_domain.to_be_bytes());
        octets.push(u8::from(self.is_known));
        octets.extend_from_slice(&self.last_seen_ns.to_be_bytes());
        short && named
    }

    /// Takes it off the front of a record; what is left are lessons.
    pub(super) fn take<'a>(octets: &mut Octets<'a>) -> Option<(Self, Lessons<'a>)> {
        let address = match octets.u8()? {
            4 => IpAddr::V4(Ipv4Addr::from(octets.array::<4>()?)),
            6 => IpAddr::V6(Ipv6Addr::from(octets.array::<16>()?)),
            _ => return None,
        };
        let mut name = || {
            let name = octets.counted().filter(|name| name.len() <= STATE_NAME_OCTETS_MAX)?;
            std::str::from_utf8(name).ok().map(str::to_owned)
        };
        let (tenant, listener) = (name()?, name()?);
        let version = octets.u16()?;
        let session = match (octets.u8()?, octets.u64()?) {
            (0, 0) => Session::Any,
            (1, port) => Session::Port(u16::try_from(port).ok()?),
            (2, id) => Session::Connection(id),
            _ => return None,
        };
        let observation_domain = octets.u32()?;
        let is_known = octets.u8()? & FLAG != 0;
        let last_seen_ns = octets.u64()?;
        let whose = Self { tenant, address, listener, version, session, observation_domain, is_known, last_seen_ns };
        Some((whose, Lessons(Octets(octets.0))))
    }
}

/// The lessons of a record that can be read.
#[derive(Debug)]
pub struct Lessons<'a>(Octets<'a>);

impl<'a> Iterator for Lessons<'a> {
    type Item = Lesson<'a>;

    /// Each turn takes at least the three octets of a lesson's head, so it ends.
    fn next(&mut self) -> Option<Lesson<'a>> {
        loop {
            let tag = self.0.u8()?;
            let body = self.0.counted()?;
            if let Some(lesson) = read(tag, Octets(body)) {
                return Some(lesson);
            }
        }
    }
}

/// Appends `lesson` with its head; false, and nothing appended, if it has no room in its length.
pub(super) fn put(octets: &mut Vec<u8>, lesson: &Lesson<'_>) -> bool {
    let start = octets.len();
    octets.extend_from_slice(&[tag(lesson), 0, 0]);
    let whole = body(octets, lesson);
    let length = octets.len() - start - HEAD;
    match u16::try_from(length).ok().filter(|_| whole) {
        Some(length) => {
            octets[start + 1..start + HEAD].copy_from_slice(&length.to_be_bytes());
            true
        }
        None => {
            octets.truncate(start);
            false
        }
    }
}

/// Tag and length.
const HEAD: usize = 3;
/// Octets of a template lesson that are its ages, which change without anything being learned.
const AGES: std::ops::Range<usize> = HEAD + 20..HEAD + 44;

/// What of a written lesson is worth writing it again: all but ages.
pub(super) fn content(written: &[u8]) -> (&[u8], &[u8]) {
    match written {
        [TEMPLATE, ..] => (&written[..AGES.start], written.get(AGES.end..).unwrap_or_default()),
        [HEARD, ..] => (&written[HEAD + 8..], &[]),
        _ => (written, &[]),
    }
}

const HEARD: u8 = 1;
const TEMPLATE: u8 = 2;
const SAMPLING: u8 = 3;
const BOOT_TIME: u8 = 4;
const NAME: u8 = 5;
const IDENTITY: u8 = 6;
const ELEMENT: u8 = 7;

const fn tag(lesson: &Lesson<'_>) -> u8 {
    match lesson {
        Lesson::Heard { .. } => HEARD,
        Lesson::Template(_) => TEMPLATE,
        Lesson::Sampling { .. } => SAMPLING,
        Lesson::BootTime { .. } => BOOT_TIME,
        Lesson::Name(_) => NAME,
        Lesson::Identity(_) => IDENTITY,
        Lesson::Element { .. } => ELEMENT,
    }
}

fn body(octets: &mut Vec<u8>, lesson: &Lesson<'_>) -> bool {
    match lesson {
        Lesson::Heard { heard_ns, firewall_updates } => {
            octets.extend_from_slice(&heard_ns.to_be_bytes());
            octets.push(u8::from(*firewall_updates));
        }
        Lesson::Template(template) => {
            octets.push(match template.form {
                TemplateForm::Netflow9 => 9,
                TemplateForm::Ipfix => 10,
            });
            octets.push(u8::from(template.options));
            octets.extend_from_slice(&template.author.to_be_bytes());
            for number in
                [template.flow_keys, template.learned_ns, template.refreshed_ns, template.interval_ns, template.used_ns]
            {
                octets.extend_from_slice(&number.to_be_bytes());
            }
            octets.extend_from_slice(template.octets);
        }
        Lesson::Sampling { domain, scope, rate } => {
            let (kind, id, interface) = scope_numbers(*scope);
            octets.extend_from_slice(&domain.to_be_bytes());
            octets.push(kind);
            octets.extend_from_slice(&id.to_be_bytes());
            octets.extend_from_slice(&interface.to_be_bytes());
            octets.extend_from_slice(&rate.to_be_bytes());
        }
        Lesson::BootTime { domain, ms } => {
            octets.extend_from_slice(&domain.to_be_bytes());
            octets.extend_from_slice(&ms.to_be_bytes());
        }
        Lesson::Name(name) => {
            let kind = NameKind::ALL.iter().position(|kind| *kind == name.kind).unwrap_or_default();
            octets.push(u8::try_from(kind).unwrap_or_default());
            octets.extend_from_slice(&name.domain.to_be_bytes());
            return put_counted(octets, name.key) && name.texts.iter().all(|text| put_counted(octets, text));
        }
        Lesson::Identity(identity) => {
            let has = [
                identity.exporting_process.is_some(),
                identity.metering_process.is_some(),
                identity.address_v4.is_some(),
                identity.address_v6.is_some(),
            ];
            octets.extend_from_slice(&identity.domain.to_be_bytes());
            octets.push(has.iter().enumerate().map(|(bit, has)| u8::from(*has) << bit).sum());
            octets.extend_from_slice(&identity.exporting_process.unwrap_or_default().to_be_bytes());
            octets.extend_from_slice(&identity.metering_process.unwrap_or_default().to_be_bytes());
            octets.extend_from_slice(&identity.address_v4.map_or([0; 4], |address| address.octets()));
            octets.extend_from_slice(&identity.address_v6.map_or([0; 16], |address| address.octets()));
        }
        Lesson::Element { pen, id, data_type, name } => {
            octets.extend_from_slice(&pen.to_be_bytes());
            octets.extend_from_slice(&id.to_be_bytes());
            octets.push(*data_type);
            octets.extend_from_slice(name);
        }
    }
    true
}

fn read(tag: u8, mut octets: Octets<'_>) -> Option<Lesson<'_>> {
    Some(match tag {
        HEARD => Lesson::Heard { heard_ns: octets.u64()?, firewall_updates: octets.u8()? & FLAG != 0 },
        TEMPLATE => Lesson::Template(TemplateLesson {
            form: match octets.u8()? {
                9 => TemplateForm::Netflow9,
                10 => TemplateForm::Ipfix,
                _ => return None,
            },
            options: octets.u8()? != 0,
            author: octets.u16()?,
            flow_keys: octets.u64()?,
            learned_ns: octets.u64()?,
            refreshed_ns: octets.u64()?,
            interval_ns: octets.u64()?,
            used_ns: octets.u64()?,
            octets: octets.0,
        }),
        SAMPLING => {
            let domain = octets.u32()?;
            let scope = scope_of((octets.u8()?, octets.u64()?, octets.u32()?))?;
            Lesson::Sampling { domain, scope, rate: octets.u32()? }
        }
        BOOT_TIME => Lesson::BootTime { domain: octets.u32()?, ms: octets.u64()? },
        NAME => {
            let kind = *NameKind::ALL.get(usize::from(octets.u8()?))?;
            let (domain, key) = (octets.u32()?, octets.counted()?);
            let texts = [octets.counted()?, octets.counted()?, octets.counted()?];
            Lesson::Name(NameLesson { kind, domain, key, texts })
        }
        IDENTITY => {
            let (domain, has) = (octets.u32()?, octets.u8()?);
            let has = |bit: u8| has >> bit & 1 == 1;
            let (exporting, metering) = (octets.u64()?, octets.u64()?);
            let (v4, v6) = (Ipv4Addr::from(octets.array::<4>()?), Ipv6Addr::from(octets.array::<16>()?));
            Lesson::Identity(IdentityLesson {
                domain,
                exporting_process: has(0).then_some(exporting),
                metering_process: has(1).then_some(metering),
                address_v4: has(2).then_some(v4),
                address_v6: has(3).then_some(v6),
            })
        }
        ELEMENT => Lesson::Element { pen: octets.u32()?, id: octets.u16()?, data_type: octets.u8()?, name: octets.0 },
        _ => return None,
    })
}

const fn scope_numbers(scope: Option<SamplingEntryScope>) -> (u8, u64, u32) {
    match scope {
        None => (0, 0, 0),
        Some(SamplingEntryScope::Sampler(id)) => (1, id, 0),
        Some(SamplingEntryScope::SamplerOn { sampler, interface }) => (2, sampler, interface),
        Some(SamplingEntryScope::Interface(index)) => (3, 0, index),
        Some(SamplingEntryScope::Template(id)) => (4, id as u64, 0),
        Some(SamplingEntryScope::LineCard(card)) => (5, card as u64, 0),
    }
}

fn scope_of(numbers: (u8, u64, u32)) -> Option<Option<SamplingEntryScope>> {
    Some(Some(match numbers {
        (0, 0, 0) => return Some(None),
        (1, id, 0) => SamplingEntryScope::Sampler(id),
        (2, sampler, interface) => SamplingEntryScope::SamplerOn { sampler, interface },
        (3, 0, index) => SamplingEntryScope::Interface(index),
        (4, id, 0) => SamplingEntryScope::Template(u16::try_from(id).ok()?),
        (5, card, 0) => SamplingEntryScope::LineCard(u32::try_from(card).ok()?),
        _ => return None,
    }))
}
