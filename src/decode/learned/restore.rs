//! Learning again what was kept: [`Lesson`]s that nobody vouches for, through the ordinary way of learning.
//!
//! Enters: lessons of a snapshot, or of another replica. What leaves is the state that the exporter's own datagrams would
//! have made, within the same bounds. Promised: a template is parsed and judged as one from the wire; it keeps its ages, so
//! that it is too old when it would have been; it is provisional until its exporter sends it again: another layout from
//! the exporter takes its place at once, and is told apart (`corrected`). What the exporter said to this process stands:
//! a lesson never takes its place. No time lies in the future.

use std::net::IpAddr;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::domain::Domain;
use super::export::{IdentityLesson, Lesson, NameKind, NameLesson, TemplateForm, TemplateLesson};
use super::exporter::ExporterState;
use super::room::Envelope;
use super::status::{SamplingEntryScope, TemplateEventKind};
use crate::decode::key::Session;
use crate::decode::outcome::Outcome;
use crate::decode::plan::{DecodePlan, is_clean};
use crate::decode::told::{ApplicationId, Facts, OptionsFact, SamplingScope, Table, say};
use crate::decode::wire::header::Header;
use crate::decode::wire::template::TemplateSet;
use crate::decode::wire::text::{Room, text};
use crate::element::DataType;
use crate::flow::{ElementId, Version};
use crate::limits::SAMPLING_RATE_MAX;

/// What became of a lesson.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restored {
    /// It is learned.
    Taken,
    /// The same, or something newer, is known.
    Known,
    /// It makes no sense, has no room, or the settings do not want it.
    Refused,
}

impl Domain {
    /// Learns one lesson at `now_ns`, Unix nanoseconds.
    pub fn restore(&self, lesson: &Lesson<'_>, now_ns: u64) -> Restored {
        match lesson {
            Lesson::Heard { heard_ns, firewall_updates } => {
                self.heard_ns.fetch_max((*heard_ns).min(now_ns), Ordering::AcqRel);
                self.firewall_updates.fetch_or(*firewall_updates, Ordering::Relaxed);
                Restored::Taken
            }
            Lesson::Template(template) => self.restore_template(template, now_ns),
            shared => self.exporter.restore(shared),
        }
    }

    fn restore_template(&self, told: &TemplateLesson<'_>, now_ns: u64) -> Restored {
        let decided = self.exporter.decided();
        let settings = &decided.settings;
        let read_as = match (told.form, self.key.version) {
            (TemplateForm::Netflow9, Version::V9) => Version::V9,
            (TemplateForm::Ipfix, Version::Ipfix) => Version::Ipfix,
            (TemplateForm::Ipfix, Version::V9) if settings.profile.enterprise_in_v9 && !told.options => Version::Ipfix,
            _ => return Restored::Refused,
        };
        // The templates of an address's own domain are lent by its ports, which have lessons of their own.
        if self.key.session == Session::Any && self.is_shared.load(Ordering::Acquire) {
            return Restored::Refused;
        }
        let mut set = TemplateSet::parse(read_as, told.options, told.octets);
        let [template] = &set.templates[..] else { return Restored::Refused };
        if set.rejected != 0 || set.withdrawals != 0 {
            return Restored::Refused;
        }
        let id = template.id;
        let learned_ns = told.learned_ns.min(now_ns);
        let refreshed_ns = told.refreshed_ns.clamp(learned_ns, now_ns);
        if let Some(known) = self.plans.load().get(&id)
            && (!known.is_restored()
                || known.same_layout(template)
                || known.refreshed_ns.load(Ordering::Relaxed) >= refreshed_ns)
        {
            if known.is_restored() && known.same_layout(template) {
                known.refreshed_ns.fetch_max(refreshed_ns, Ordering::Relaxed);
                self.heard_ns.fetch_max(refreshed_ns, Ordering::AcqRel);
                known.life.used_ns.fetch_max(told.used_ns.min(now_ns), Ordering::Relaxed);
            }
            return Restored::Known;
        }
        set.is_restored = true;
        let envelope = Envelope { header: self.header(), receive_ns: learned_ns, port: told.author };
        let heard_ns = self.heard_ns.load(Ordering::Acquire);
        let mut outcome = Outcome::default();
        self.learn_templates(set, &envelope, &mut outcome);
        self.heard_ns.store(heard_ns.max(refreshed_ns), Ordering::Release);
        let plans = self.plans.load();
        let Some(plan) = plans.get(&id).filter(|_| outcome.templates_learned == 1) else { return Restored::Refused };
        plan.refreshed_ns.store(refreshed_ns, Ordering::Relaxed);
        plan.interval_ns.store(told.interval_ns.min(now_ns), Ordering::Relaxed);
        plan.life.used_ns.store(told.used_ns.min(now_ns), Ordering::Relaxed);
        plan.flow_keys.store(told.flow_keys, Ordering::Relaxed);
        Restored::Taken
    }

    /// A header of this domain that no datagram had.
    fn header(&self) -> Header {
        Header {
            version: self.key.version,
            observation_domain: self.key.observation_domain,
            sequence: 0,
            export_ms: 0,
            sys_uptime_ms: 0,
            count_or_length: 0,
            sampling: 0,
        }
    }
}

/// What it is that a template is learned in the place of `old`.
pub(super) fn event_of(old: Option<&DecodePlan>, is_restored: bool) -> TemplateEventKind {
    match old {
        _ if is_restored => TemplateEventKind::Restored,
        Some(old) if old.is_restored() => TemplateEventKind::Corrected,
        Some(_) => TemplateEventKind::Replaced,
        None => TemplateEventKind::Learned,
    }
}

impl ExporterState {
    /// Learns what the exporter's domains share.
    fn restore(&self, lesson: &Lesson<'_>) -> Restored {
        match lesson {
            Lesson::Heard { .. } | Lesson::Template(_) => Restored::Refused,
            Lesson::Sampling { rate, .. } if *rate > SAMPLING_RATE_MAX => Restored::Refused,
            Lesson::Sampling { domain, scope, rate } => {
                let scope = scope_of(*scope);
                let tables = self.options.read().unwrap_or_else(PoisonError::into_inner);
                let known = tables.sampling.tells(*domain, scope);
                drop(tables);
                self.restore_fact(known, *domain, &OptionsFact { scope, rate: Some(*rate), system_init_ms: None })
            }
            Lesson::BootTime { domain, ms } => {
                let tables = self.options.read().unwrap_or_else(PoisonError::into_inner);
                let known = tables.system_init.contains_key(domain);
                drop(tables);
                let fact = OptionsFact { scope: SamplingScope::Domain, rate: None, system_init_ms: Some(*ms) };
                self.restore_fact(known, *domain, &fact)
            }
            Lesson::Name(name) => self.restore_name(name),
            Lesson::Identity(identity) => self.restore_identity(identity),
            Lesson::Element { pen, id, data_type, name } => {
                let mut room = Room::new();
                let name = text(name, &mut room);
                let Some(data_type) = DataType::from_code(*data_type) else { return Restored::Refused };
                let wanted =
                    self.decided().settings.profile.teaches_elements && *pen != 0 && *id <= 0x7FFF && is_clean(name);
                taken_if(wanted && self.teach(ElementId { pen: *pen, id: *id }, name, data_type))
            }
        }
    }

    fn restore_fact(&self, known: bool, domain: u32, fact: &OptionsFact) -> Restored {
        if known {
            return Restored::Known;
        }
        let before = self.options_octets.load(Ordering::Acquire);
        self.learn(domain, fact);
        // A scope may share its entry with another; what had room is there now.
        let tables = self.options.read().unwrap_or_else(PoisonError::into_inner);
        let is_there = match fact.rate {
            Some(_) => tables.sampling.knows(domain, fact.scope),
            None => tables.system_init.contains_key(&domain),
        };
        taken_if(is_there || self.options_octets.load(Ordering::Acquire) > before)
    }

    fn restore_name(&self, told: &NameLesson<'_>) -> Restored {
        let (domain, purse) = (told.domain, self.purse());
        let mut rooms = [Room::new(); 3];
        let [first, second, third] = &mut rooms;
        // As texts from the wire: cut, and without what a terminal would obey.
        let said = [text(told.texts[0], first), text(told.texts[1], second), text(told.texts[2], third)];
        if said.iter().all(|said| said.is_empty()) {
            return Restored::Refused;
        }
        let mut tables = self.options.write().unwrap_or_else(PoisonError::into_inner);
        let names = &mut tables.names;
        let four = || <[u8; 4]>::try_from(told.key).ok().map(u32::from_be_bytes);
        macro_rules! learn {
            ($table:expr, $key:expr, $said:expr) => {{
                let Some(key) = $key else { return Restored::Refused };
                if $table.told(domain, key).is_some() {
                    return Restored::Known;
                }
                say(&mut $table, domain, key, $said, purse);
                taken_if($table.told(domain, key).is_some())
            }};
        }
        match told.kind {
            NameKind::Interface => learn!(names.interfaces, four(), [Some(said[0]), Some(said[1])]),
            NameKind::Vrf => learn!(names.vrfs, four(), [Some(said[0])]),
            NameKind::Application => learn!(names.applications, ApplicationId::of(told.key), said.map(Some)),
            NameKind::Sampler => {
                let key = <[u8; 8]>::try_from(told.key).ok().map(u64::from_be_bytes);
                learn!(names.samplers, key, [Some(said[0])])
            }
            NameKind::Domain => learn!(names.domains, told.key.is_empty().then_some(()), [Some(said[0])]),
        }
    }

    fn restore_identity(&self, told: &IdentityLesson) -> Restored {
        let facts = Facts {
            exporting_process: told.exporting_process,
            metering_process: told.metering_process,
            address_v4: told.address_v4.map(IpAddr::V4).filter(|address| !address.is_unspecified()),
            address_v6: told.address_v6.map(IpAddr::V6).filter(|address| !address.is_unspecified()),
        };
        if facts == Facts::default() {
            return Restored::Refused;
        }
        let mut tables = self.options.write().unwrap_or_else(PoisonError::into_inner);
        let table = &mut tables.names.facts;
        if table.told(told.domain, ()).is_some() {
            return Restored::Known;
        }
        if !table.has_room() || !self.purse().take(Table::<(), Facts>::ENTRY_OCTETS) {
            return Restored::Refused;
        }
        table.add(told.domain, (), facts);
        Restored::Taken
    }
}

const fn taken_if(taken: bool) -> Restored {
    if taken { Restored::Taken } else { Restored::Refused }
}

const fn scope_of(scope: Option<SamplingEntryScope>) -> SamplingScope {
    match scope {
        None => SamplingScope::Domain,
        Some(SamplingEntryScope::Sampler(id)) => SamplingScope::Sampler(id),
        Some(SamplingEntryScope::SamplerOn { sampler, interface }) => SamplingScope::SamplerOn(sampler, interface),
        Some(SamplingEntryScope::Interface(index)) => SamplingScope::Interface(index),
        Some(SamplingEntryScope::Template(id)) => SamplingScope::Template(id),
        Some(SamplingEntryScope::LineCard(card)) => SamplingScope::LineCard(card),
    }
}
