//! What was learned, told piece by piece, so that it can be kept and taught again.
//!
//! Enters: a domain, and what its exporter's domains share. Leaves: [`Lesson`]s, each the one thing that an exporter once
//! said: a template in its wire form, a sampling rate, a name. Promised: no lock of a domain is taken, and the options tables
//! are locked for reading one table at a time, so that who learns meanwhile waits for one walk at most. Left out on purpose:
//! sequence numbers (a gap would count as a loss), sets that wait, and common properties, whose ids come and go with flows.
//! [`Domain::restore`] is the way back.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::domain::Domain;
use super::exporter::ExporterState;
use super::status::SamplingEntryScope;
use super::tables::scope_of;
use crate::decode::plan::DecodePlan;
use crate::decode::wire::template::{FieldSpecifier, Template, TemplateKind};
use crate::flow::{ElementId, Version};

/// One thing that an exporter said of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lesson<'a> {
    /// Of the domain as a whole.
    Heard {
        /// Unix nanoseconds of its last template set; 0 before the first.
        heard_ns: u64,
        /// A flow update of a firewall was seen, so that counters of deletes repeat what updates told.
        firewall_updates: bool,
    },
    /// A template.
    Template(TemplateLesson<'a>),
    /// A sampling rate.
    Sampling {
        /// Observation domain that it was told of.
        domain: u32,
        /// What it holds for; None for the domain as a whole.
        scope: Option<SamplingEntryScope>,
        /// 1 in N.
        rate: u32,
    },
    /// systemInitTimeMilliseconds 160.
    BootTime {
        /// Observation domain.
        domain: u32,
        /// Unix milliseconds.
        ms: u64,
    },
    /// What something is called.
    Name(NameLesson<'a>),
    /// Who the exporter says it is.
    Identity(IdentityLesson),
    /// An enterprise element of a type record (RFC 5610).
    Element {
        /// Private Enterprise Number.
        pen: u32,
        /// Number of the element.
        id: u16,
        /// Number of its data type in IANA's registry.
        data_type: u8,
        /// What it is called.
        name: &'a [u8],
    },
}

/// How a template's fields are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TemplateForm {
    /// RFC 3954: field type and length.
    Netflow9,
    /// RFC 7011: an enterprise number where bit 15 says so; also of v9 templates with enterprise fields (N9-28).
    Ipfix,
}

/// A template with its ages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TemplateLesson<'a> {
    /// How its record is written.
    pub form: TemplateForm,
    /// It is an options template.
    pub options: bool,
    /// UDP source port that defined it.
    pub author: u16,
    /// flowKeyIndicator 173; 0 if nobody told.
    pub flow_keys: u64,
    /// When its layout was learned, Unix nanoseconds.
    pub learned_ns: u64,
    /// When it came last.
    pub refreshed_ns: u64,
    /// Longest time between two refreshes, nanoseconds; 0 before the second.
    pub interval_ns: u64,
    /// When a data set last used it, as far as anybody looked; 0 if none did.
    pub used_ns: u64,
    /// The template record as on the wire, without its set.
    pub octets: &'a [u8],
}

/// What a name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NameKind {
    /// An interface: name and description; the key is four octets.
    Interface,
    /// A VRF: its name; the key is four octets.
    Vrf,
    /// An application: name, description and category; the key is its applicationId.
    Application,
    /// A sampler: its name; the key is eight octets.
    Sampler,
    /// The observation domain itself; the key is empty.
    Domain,
}

impl NameKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Interface, Self::Vrf, Self::Application, Self::Sampler, Self::Domain];
}

/// Texts about one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameLesson<'a> {
    /// What it is.
    pub kind: NameKind,
    /// Observation domain that told it.
    pub domain: u32,
    /// Which one, in network order.
    pub key: &'a [u8],
    /// Its texts, empty where there is none.
    pub texts: [&'a [u8]; 3],
}

/// Identity of an exporter in one observation domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IdentityLesson {
    /// Observation domain.
    pub domain: u32,
    /// exportingProcessId 144.
    pub exporting_process: Option<u64>,
    /// meteringProcessId 143.
    pub metering_process: Option<u64>,
    /// exporterIPv4Address 130.
    pub address_v4: Option<Ipv4Addr>,
    /// exporterIPv6Address 131.
    pub address_v6: Option<Ipv6Addr>,
}

/// A table of what an exporter's domains share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedTable {
    /// Rates and boot times.
    Sampling,
    /// Names of one kind.
    Names(NameKind),
    /// Identities.
    Identities,
    /// Elements of type records.
    Elements,
}

impl SharedTable {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Sampling,
        Self::Names(NameKind::Interface),
        Self::Names(NameKind::Vrf),
        Self::Names(NameKind::Application),
        Self::Names(NameKind::Sampler),
        Self::Names(NameKind::Domain),
        Self::Identities,
        Self::Elements,
    ];
}

impl Domain {
    /// Tells what this domain has learned at `now_ns`, the templates by id; nothing is told of a domain that has learned
    /// nothing, nor of templates that ports lent to their address, nor of layouts that are known to be wrong.
    pub fn export(&self, now_ns: u64, mut tell: impl FnMut(&Lesson<'_>)) {
        let plans = self.plans.load_full();
        if plans.is_empty() || self.is_shared.load(Ordering::Acquire) {
            return;
        }
        tell(&Lesson::Heard {
            heard_ns: self.heard_ns.load(Ordering::Acquire),
            firewall_updates: self.firewall_updates.load(Ordering::Relaxed),
        });
        let mut plans: Vec<&Arc<DecodePlan>> = plans.values().filter(|plan| !plan.is_frozen()).collect();
        plans.sort_unstable_by_key(|plan| plan.template.id);
        let mut octets = Vec::new();
        for plan in plans {
            octets.clear();
            let form = form(&plan.template, self.key.version);
            write_template(&plan.template, form, &mut octets);
            let used = plan.life.used.load(Ordering::Relaxed);
            tell(&Lesson::Template(TemplateLesson {
                form,
                options: matches!(plan.template.kind, TemplateKind::Options { .. }),
                author: plan.life.author,
                flow_keys: plan.flow_keys.load(Ordering::Relaxed),
                learned_ns: plan.learned_ns,
                refreshed_ns: plan.refreshed_ns.load(Ordering::Relaxed),
                interval_ns: plan.interval_ns.load(Ordering::Relaxed),
                used_ns: if used { now_ns } else { plan.life.used_ns.load(Ordering::Relaxed) },
                octets: &octets,
            }));
        }
    }
}

/// IPFIX's form can tell enterprise fields, v9's can tell field types above 32767.
fn form(template: &Template, version: Version) -> TemplateForm {
    let has_enterprise = template.fields.iter().any(|field| field.element.pen != 0);
    if version == Version::Ipfix || has_enterprise { TemplateForm::Ipfix } else { TemplateForm::Netflow9 }
}

/// The template record of `template` (RFC 7011 3.4.1, 3.4.2.2; RFC 3954 5.2, 6.1). Counts fit: a template has at most
/// `FIELDS_PER_TEMPLATE_MAX` fields.
fn write_template(template: &Template, form: TemplateForm, octets: &mut Vec<u8>) {
    let count = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
    let mut word = |value: u16| octets.extend_from_slice(&value.to_be_bytes());
    word(template.id);
    let fields = count(template.fields.len());
    match (template.kind, form) {
        (TemplateKind::Data, _) => word(fields),
        (TemplateKind::Options { scopes }, TemplateForm::Ipfix) => {
            word(fields);
            word(scopes);
        }
        (TemplateKind::Options { scopes }, TemplateForm::Netflow9) => {
            word(scopes.saturating_mul(4));
            word(fields.saturating_sub(scopes).saturating_mul(4));
        }
    }
    for FieldSpecifier { element: ElementId { pen, id }, length } in &template.fields {
        word(if *pen == 0 { *id } else { 0x8000 | id });
        word(*length);
        if *pen != 0 {
            let [a, b, c, d] = pen.to_be_bytes();
            word(u16::from_be_bytes([a, b]));
            word(u16::from_be_bytes([c, d]));
        }
    }
}

impl ExporterState {
    /// Tells what stands in one of the tables that the exporter's domains share, in no order. The table is locked for
    /// reading meanwhile: `tell` must not wait.
    pub fn export(&self, table: SharedTable, mut tell: impl FnMut(&Lesson<'_>)) {
        if table == SharedTable::Elements {
            let decided = self.decided();
            for (element, name, data_type) in decided.settings.registry.taught(&decided.exporter) {
                let ElementId { pen, id } = element;
                tell(&Lesson::Element { pen, id, data_type: data_type as u8, name: name.as_bytes() });
            }
            return;
        }
        let tables = self.options.read().unwrap_or_else(PoisonError::into_inner);
        let names = &tables.names;
        match table {
            SharedTable::Elements => {}
            SharedTable::Sampling => {
                for (domain, scope, rate) in tables.sampling.told() {
                    tell(&Lesson::Sampling { domain, scope: scope_of(scope), rate });
                }
                for (domain, ms) in &tables.system_init {
                    tell(&Lesson::BootTime { domain: *domain, ms: *ms });
                }
            }
            SharedTable::Names(kind) => {
                let mut name = |domain: u32, key: &[u8], texts: [&str; 3]| {
                    tell(&Lesson::Name(NameLesson { kind, domain, key, texts: texts.map(str::as_bytes) }));
                };
                match kind {
                    NameKind::Interface => names.interfaces.iter().for_each(|(domain, key, texts)| {
                        name(domain, &key.to_be_bytes(), [texts.text(0), texts.text(1), ""]);
                    }),
                    NameKind::Vrf => names.vrfs.iter().for_each(|(domain, key, texts)| {
                        name(domain, &key.to_be_bytes(), [texts.text(0), "", ""]);
                    }),
                    NameKind::Application => names.applications.iter().for_each(|(domain, key, texts)| {
                        name(domain, key.octets(), [texts.text(0), texts.text(1), texts.text(2)]);
                    }),
                    NameKind::Sampler => names.samplers.iter().for_each(|(domain, key, texts)| {
                        name(domain, &key.to_be_bytes(), [texts.text(0), "", ""]);
                    }),
                    NameKind::Domain => names.domains.iter().for_each(|(domain, (), texts)| {
                        name(domain, &[], [texts.text(0), "", ""]);
                    }),
                }
            }
            SharedTable::Identities => {
                for (domain, (), facts) in names.facts.iter() {
                    tell(&Lesson::Identity(IdentityLesson {
                        domain,
                        exporting_process: facts.exporting_process,
                        metering_process: facts.metering_process,
                        address_v4: facts.address_v4.and_then(|address| match address {
                            std::net::IpAddr::V4(v4) => Some(v4),
                            std::net::IpAddr::V6(_) => None,
                        }),
                        address_v6: facts.address_v6.and_then(|address| match address {
                            std::net::IpAddr::V6(v6) => Some(v6),
                            std::net::IpAddr::V4(_) => None,
                        }),
                    }));
                }
            }
        }
    }
}
