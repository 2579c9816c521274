//! What the data plane knows of exporters -> what the HTTP side shows; also what `decode --summary` shows.
//!
//! `listeners` are the names of the listeners in order; a capture has none, and its rows name none.

use std::cmp::Ordering;
use std::fmt;

use crate::collect::{ExporterDetail, ExporterStatus, Fault, Rates};
use crate::decode::{
    Domain, DomainKey, DomainStatus, ExporterState, PostCounters, Session, SessionPolicy, TemplateEvent, TemplateRoom,
    TemplateStatus,
};
use crate::flow::{ElementId, Version};
use crate::limits::{HTTP_DETAIL_FIELDS_MAX, TEMPLATE_EVENTS_PER_EXPORTER};
use crate::web::{
    DetailQuery, DetailRow, DomainRow, EventRow, ExporterRow, FaultRow, FieldRow, RateRow, TemplateRow, WaitingRow,
};

mod options;

pub use options::tables;

/// Length of a field that each record says (RFC 7011 section 7).
const VARIABLE_LENGTH: u16 = 0xFFFF;

/// One exporter.
pub fn exporter(status: ExporterStatus, listeners: &[String]) -> ExporterRow {
    let domains: Vec<DomainRow> = status.domains.iter().map(|status| domain(status, listeners)).collect();
    ExporterRow {
        address: status.address,
        tenant: status.tenant.to_string(),
        name: status.name,
        switch_id: status.switch_id,
        first_seen_ns: status.first_seen_ns,
        last_seen_ns: status.last_seen_ns,
        datagrams: status.datagrams,
        octets: status.octets,
        records: status.records,
        rejected: status.rejected,
        refused: status.refused,
        domains_evicted: status.domains_evicted,
        missing_units: domains.iter().map(|d| d.missing_units).sum(),
        parked_sets: domains.iter().map(|d| d.parked_sets as u64).sum(),
        parked_octets: domains.iter().map(|d| d.parked_octets).sum(),
        lost: Default::default(),
        maker: status.maker,
        last_10s: status.pace.last_10s.map(rates),
        last_60s: status.pace.last_60s.map(rates),
        faults: status.faults.into_iter().map(fault).collect(),
        domains,
    }
}

fn rates(rates: Rates) -> RateRow {
    RateRow { datagrams: rates.datagrams, octets: rates.octets, records: rates.records }
}

fn fault(fault: Fault) -> FaultRow {
    FaultRow { name: fault.kind.label(), since_ns: fault.since_ns, evidence: fault.evidence, remedy: fault.remedy }
}

fn domain(status: &DomainStatus, listeners: &[String]) -> DomainRow {
    let observed = &status.observed;
    DomainRow {
        listener: listener(listeners, status.listener),
        session: session(status.key.session),
        version: status.key.version.label(),
        observation_domain: status.key.observation_domain,
        templates: status.templates,
        options_templates: status.options_templates,
        parked_sets: status.parked_sets,
        parked_octets: status.parked_octets,
        received_units: status.received_units,
        missing_units: status.missing_units,
        last_seen_ns: status.last_seen_ns,
        sequence_unit: status.sequence_unit.label(),
        duplicates: status.duplicates,
        odd_padding_sets: status.odd_padding_sets,
        assumed_maker: status.assumed_maker,
        clash_ports: status.clash_ports,
        storm_since_ns: status.storm_since_ns,
        gap_units: status.gap_units,
        next_sequence: status.next_sequence,
        highest_sequence: status.highest_sequence,
        messages: status.messages,
        is_interleaved: status.is_interleaved,
        waiting: status
            .waiting
            .iter()
            .map(|w| WaitingRow { id: w.id, since_ns: w.since_ns, last_ns: w.last_ns, sets: w.sets })
            .collect(),
        clock_skew_ms: (observed.noted_ns != 0).then_some(observed.skew_ms),
        boot_times: observed.boots.len(),
        udp_ports: observed.ports,
        session_policy: None,
        sampling: None,
    }
}

fn session(session: Session) -> String {
    match session {
        Session::Any => "any".to_owned(),
        Session::Port(port) => format!("port {port}"),
        Session::Connection(id) => format!("connection {id}"),
    }
}

fn listener(listeners: &[String], number: u16) -> Option<String> {
    listeners.get(usize::from(number)).cloned()
}

/// One exporter in full, with the page of its templates that `query` asks for.
///
/// # Errors
/// The cursor of `query` is none, in a sentence.
pub fn detail(detail: ExporterDetail, query: &DetailQuery, listeners: &[String]) -> Result<DetailRow, String> {
    let after = query.after.as_deref().map(Cursor::parse).transpose()?;
    Ok(page(detail, after, TemplateRoom { templates: query.limit, fields: HTTP_DETAIL_FIELDS_MAX }, listeners))
}

/// The same with all of its templates, of a capture.
pub fn whole(detail: ExporterDetail) -> DetailRow {
    page(detail, None, TemplateRoom { templates: usize::MAX, fields: usize::MAX }, &[])
}

fn page(detail: ExporterDetail, after: Option<Cursor>, mut room: TemplateRoom, listeners: &[String]) -> DetailRow {
    let ExporterDetail { status, states, domains } = detail;
    let (mut templates, mut known, mut next, mut last) = (Vec::new(), 0, None, None);
    for (domain, _) in &domains {
        known += domain.template_count();
        let Some(behind) = behind(after, domain) else { continue };
        let (shown, left_out) = domain.templates_after(behind, &mut room);
        last = shown.last().map(|status| Cursor::of(domain, status.id)).or(last);
        templates.extend(shown.into_iter().map(|status| template(domain, status, listeners)));
        if left_out > 0 {
            next = next.or(last);
        }
    }
    let templates_left_out = known - templates.len();
    let mut row = exporter(status, listeners);
    // The domains may have changed between the two looks: what has no counterpart stays without.
    for (domain, policy) in &domains {
        let key = (domain.key.version.label(), domain.key.observation_domain);
        let (name, listener) = (session(domain.key.session), listener(listeners, domain.listener));
        let found = row
            .domains
            .iter_mut()
            .find(|d| (d.version, d.observation_domain) == key && d.session == name && d.listener == listener);
        if let Some(found) = found {
            let (rate, source) = domain.sampling();
            found.session_policy = Some(policy_name(*policy));
            found.sampling = Some((rate, source.label()));
        }
    }
    let mut events: Vec<TemplateEvent> = states.iter().flat_map(|state| state.template_events()).collect();
    events.sort_by_key(|e| e.at_ns);
    // One state has no more; of several the newest count.
    events.drain(..events.len().saturating_sub(TEMPLATE_EVENTS_PER_EXPORTER));
    DetailRow {
        row,
        profile: states.first().map(|state| profile(state)).unwrap_or_default(),
        options: options::options(states.iter().map(|state| state.options_status())),
        templates,
        templates_left_out,
        templates_next: next.map(|cursor: Cursor| cursor.to_string()),
        events: events.into_iter().map(|told| event(told, listeners)).collect(),
    }
}

const fn policy_name(policy: SessionPolicy) -> &'static str {
    match policy {
        SessionPolicy::Any => "any",
        SessionPolicy::Port => "port",
    }
}

/// A template's place in the order of lists, which is that of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cursor {
    version: Version,
    observation_domain: u32,
    listener: u16,
    session: u64,
    id: u16,
}

impl Cursor {
    fn of(domain: &Domain, id: u16) -> Self {
        let DomainKey { session, version, observation_domain } = domain.key;
        Self { version, observation_domain, listener: domain.listener, session: session.rank(), id }
    }

    /// `v9:7:0:0:256`: version, observation domain, number of the listener, rank of the session, template.
    fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let parsed = if let [version, observation_domain, listener, session, id] = parts[..] {
            let version = Version::ALL.into_iter().find(|v| v.label() == version);
            version.and_then(|version| {
                Some(Self {
                    version,
                    observation_domain: observation_domain.parse().ok()?,
                    listener: listener.parse().ok()?,
                    session: session.parse().ok()?,
                    id: id.parse().ok()?,
                })
            })
        } else {
            None
        };
        parsed.ok_or_else(|| format!("after: {text:?} is not the \"next\" of an earlier answer's templates"))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, observation_domain, listener, session, id } = self;
        write!(f, "{}:{observation_domain}:{listener}:{session}:{id}", version.label())
    }
}

/// The id behind which the templates of `domain` begin: Some(None) for all of them, None for none.
fn behind(after: Option<Cursor>, domain: &Domain) -> Option<Option<u16>> {
    let Some(after) = after else { return Some(None) };
    // The cursor, were it in this domain.
    match Cursor::of(domain, after.id).cmp(&after) {
        Ordering::Less => None,
        Ordering::Equal => Some(Some(after.id)),
        Ordering::Greater => Some(None),
    }
}

fn template(domain: &Domain, status: TemplateStatus, listeners: &[String]) -> TemplateRow {
    let scopes = usize::from(status.scopes.unwrap_or(0));
    let fields = status.fields.iter().enumerate().map(|(index, (element, length))| {
        let v9_scope = index < scopes && domain.key.version == Version::V9;
        FieldRow {
            name: if v9_scope { scope_name(element.id) } else { element_name(domain, *element) },
            pen: element.pen,
            id: element.id,
            length: (*length != VARIABLE_LENGTH).then_some(*length),
        }
    });
    let fields: Vec<FieldRow> = fields.collect();
    TemplateRow {
        flow_keys: status.flow_keys.map(|keys| flow_keys(keys, &fields)),
        assumed_maker: status.assumed_maker,
        fields,
        domain: domain_name(&domain.key),
        listener: listener(listeners, domain.listener),
        id: status.id,
        scopes: status.scopes,
        learned_ns: status.learned_ns,
        refreshed_ns: status.refreshed_ns,
        refresh_interval_ns: status.refresh_interval_ns,
        restored: status.restored,
    }
}

/// Names of the fields whose bit is set; bit 0 is the first field (173).
fn flow_keys(keys: u64, fields: &[FieldRow]) -> Vec<String> {
    let keyed = fields.iter().enumerate().take(64).filter(|(index, _)| keys >> index & 1 == 1);
    keyed.map(|(_, field)| field.name.clone()).collect()
}

fn domain_name(key: &DomainKey) -> (&'static str, String, u32) {
    (key.version.label(), session(key.session), key.observation_domain)
}

/// RFC 3954 6.1: scope types are a number space of their own (N9-21).
fn scope_name(scope: u16) -> String {
    match scope {
        1 => "scope:system".to_owned(),
        2 => "scope:interface".to_owned(),
        3 => "scope:lineCard".to_owned(),
        4 => "scope:cache".to_owned(),
        5 => "scope:template".to_owned(),
        other => format!("scope:{other}"),
    }
}

fn element_name(domain: &Domain, element: ElementId) -> String {
    let decided = domain.exporter.decided();
    let (settings, exporter) = (&decided.settings, &decided.exporter);
    let maker = settings.profile.maker.or(exporter.maker);
    let found = settings.registry.find(exporter, domain.key.version, element, maker);
    found.map_or_else(|| format!("{}/{}", element.pen, element.id), |element| element.name.into_owned())
}

fn event(event: TemplateEvent, listeners: &[String]) -> EventRow {
    EventRow {
        at_ns: event.at_ns,
        listener: listener(listeners, event.listener),
        domain: domain_name(&event.domain),
        template: event.template_id,
        event: event.kind.label(),
    }
}

fn profile(state: &ExporterState) -> Vec<(&'static str, serde_json::Value)> {
    let decided = state.decided();
    let settings = &decided.settings;
    let profile = &settings.profile;
    let post_counters = match profile.post_counters {
        PostCounters::Post => "post",
        PostCounters::Reverse => "reverse",
    };
    vec![
        ("maker", profile.maker.into()),
        ("post_counters", post_counters.into()),
        ("enterprise_in_v9", profile.enterprise_in_v9.into()),
        ("mediator", profile.is_mediator.into()),
        ("drop_odd_padding", profile.drops_odd_padding.into()),
        ("teach_elements", profile.teaches_elements.into()),
        ("sampling_default", settings.sampling_default.into()),
        ("sampling_override", settings.sampling_override.into()),
    ]
}

#[cfg(test)]
mod tests;
