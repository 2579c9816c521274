//! What the data plane knows of exporters -> what the HTTP side shows; also what `decode --summary` shows.

use crate::collect::{ExporterDetail, ExporterStatus, Fault, Rates};
use crate::decode::{
    Domain, DomainKey, DomainStatus, ExporterState, OptionsCounts, PostCounters, Session, SessionPolicy, TemplateEvent,
    TemplateRoom, TemplateStatus,
};
use crate::flow::{ElementId, Version};
use crate::limits::HTTP_DETAIL_FIELDS_MAX;
use crate::web::{
    DetailQuery, DetailRow, DomainRow, EventRow, ExporterRow, FaultRow, FieldRow, RateRow, TemplateRow, WaitingRow,
};

/// Length of a field that each record says (RFC 7011 section 7).
const VARIABLE_LENGTH: u16 = 0xFFFF;

/// One exporter.
pub fn exporter(status: ExporterStatus) -> ExporterRow {
    let domains: Vec<DomainRow> = status.domains.iter().map(domain).collect();
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
        missing_units: domains.iter().map(|d| d.missing_units).sum(),
        parked_sets: domains.iter().map(|d| d.parked_sets as u64).sum(),
        parked_octets: domains.iter().map(|d| d.parked_octets).sum(),
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

fn domain(status: &DomainStatus) -> DomainRow {
    let observed = &status.observed;
    DomainRow {
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
        sequence_unit: sequence_unit(status.key.version),
        gap_units: status.gap_units,
        next_sequence: status.next_sequence,
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

/// What the sequence numbers of a version count.
pub const fn sequence_unit(version: Version) -> Option<&'static str> {
    match version {
        Version::V1 => None,
        Version::V5 | Version::V7 => Some("flows"),
        Version::V9 => Some("datagrams"),
        Version::Ipfix => Some("data records"),
    }
}

/// One exporter in full, with the page of its templates that `query` asks for.
///
/// # Errors
/// The cursor of `query` is none, in a sentence.
pub fn detail(detail: ExporterDetail, query: &DetailQuery) -> Result<DetailRow, String> {
    let after = query.after.as_deref().map(Cursor::parse).transpose()?;
    Ok(page(detail, after, TemplateRoom { templates: query.limit, fields: HTTP_DETAIL_FIELDS_MAX }))
}

/// The same with all of its templates.
pub fn whole(detail: ExporterDetail) -> DetailRow {
    page(detail, None, TemplateRoom { templates: usize::MAX, fields: usize::MAX })
}

fn page(detail: ExporterDetail, after: Option<Cursor>, mut room: TemplateRoom) -> DetailRow {
    let ExporterDetail { status, states, domains } = detail;
    let (mut templates, mut known, mut next) = (Vec::new(), 0, None);
    for (domain, _) in &domains {
        known += domain.template_count();
        let Some(behind) = behind(after, &domain.key) else { continue };
        let (shown, left_out) = domain.templates_after(behind, &mut room);
        templates.extend(shown.into_iter().map(|status| template(domain, status)));
        if left_out > 0 {
            next = next.or_else(|| templates.last().map(cursor_of));
        }
    }
    let templates_left_out = known - templates.len();
    let mut row = exporter(status);
    // The domains may have changed between the two looks: what has no counterpart stays without.
    for (domain, policy) in &domains {
        let name = session(domain.key.session);
        let found = row.domains.iter_mut().find(|d| {
            (d.version, d.observation_domain) == (domain.key.version.label(), domain.key.observation_domain)
                && d.session == name
        });
        if let Some(found) = found {
            let (rate, source) = domain.sampling();
            found.session_policy = Some(policy_name(*policy));
            found.sampling = Some((rate, source.label()));
        }
    }
    let mut events: Vec<TemplateEvent> = states.iter().flat_map(|state| state.template_events()).collect();
    events.sort_by_key(|e| e.at_ns);
    DetailRow {
        row,
        profile: states.first().map(|state| profile(state)).unwrap_or_default(),
        options: options(states.iter().map(|state| state.options_counts())),
        templates,
        templates_left_out,
        templates_next: next,
        events: events.into_iter().map(event).collect(),
    }
}

const fn policy_name(policy: SessionPolicy) -> &'static str {
    match policy {
        SessionPolicy::Any => "any",
        SessionPolicy::Port => "port",
    }
}

/// A template's place in the order of lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cursor {
    version: Version,
    observation_domain: u32,
    session: u64,
    id: u16,
}

impl Cursor {
    /// `v9:7:0:256`: version, observation domain, rank of the session, template.
    fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let parsed = if let [version, observation_domain, session, id] = parts[..] {
            let version = Version::ALL.into_iter().find(|v| v.label() == version);
            version.and_then(|version| {
                Some(Self {
                    version,
                    observation_domain: observation_domain.parse().ok()?,
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

/// The id behind which the templates of `key` begin: Some(None) for all of them, None for none.
fn behind(after: Option<Cursor>, key: &DomainKey) -> Option<Option<u16>> {
    let Some(after) = after else { return Some(None) };
    let here = (key.version, key.observation_domain, key.session.rank());
    match here.cmp(&(after.version, after.observation_domain, after.session)) {
        std::cmp::Ordering::Less => None,
        std::cmp::Ordering::Equal => Some(Some(after.id)),
        std::cmp::Ordering::Greater => Some(None),
    }
}

fn cursor_of(row: &TemplateRow) -> String {
    let (version, session, observation_domain) = &row.domain;
    let rank = match session.split_once(' ') {
        Some(("port", port)) => port.parse().map_or(0, |port| Session::Port(port).rank()),
        Some((_, id)) => id.parse().map_or(0, |id| Session::Connection(id).rank()),
        None => 0,
    };
    format!("{version}:{observation_domain}:{rank}:{}", row.id)
}

fn template(domain: &Domain, status: TemplateStatus) -> TemplateRow {
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
    TemplateRow {
        fields: fields.collect(),
        domain: domain_name(&domain.key),
        id: status.id,
        scopes: status.scopes,
        learned_ns: status.learned_ns,
        refreshed_ns: status.refreshed_ns,
        refresh_interval_ns: status.refresh_interval_ns,
    }
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
    let (settings, exporter) = (&domain.exporter.settings, &domain.exporter.exporter);
    let maker = settings.profile.maker.or(exporter.maker);
    let found = settings.registry.find(exporter, domain.key.version, element, maker);
    found.map_or_else(|| format!("{}/{}", element.pen, element.id), |element| element.name.into_owned())
}

fn event(event: TemplateEvent) -> EventRow {
    EventRow {
        at_ns: event.at_ns,
        domain: domain_name(&event.domain),
        template: event.template_id,
        event: event.kind.label(),
    }
}

fn profile(state: &ExporterState) -> Vec<(&'static str, serde_json::Value)> {
    let settings = &state.settings;
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

fn options(counts: impl Iterator<Item = OptionsCounts>) -> Vec<(&'static str, serde_json::Value)> {
    let mut sum = OptionsCounts::default();
    for counts in counts {
        sum.samplers += counts.samplers;
        sum.sampled_interfaces += counts.sampled_interfaces;
        sum.sampled_templates += counts.sampled_templates;
        sum.sampled_line_cards += counts.sampled_line_cards;
        sum.boot_times += counts.boot_times;
    }
    vec![
        ("samplers", sum.samplers.into()),
        ("sampled_interfaces", sum.sampled_interfaces.into()),
        ("sampled_templates", sum.sampled_templates.into()),
        ("sampled_line_cards", sum.sampled_line_cards.into()),
        ("boot_times", sum.boot_times.into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_what_it_writes_and_nothing_else() {
        for (name, of) in
            [("any", Session::Any), ("port 2055", Session::Port(2_055)), ("connection 9", Session::Connection(9))]
        {
            assert_eq!(session(of), name);
            let row = TemplateRow {
                domain: ("ipfix", session(of), 7),
                id: 300,
                scopes: None,
                fields: vec![],
                learned_ns: 0,
                refreshed_ns: 0,
                refresh_interval_ns: None,
            };
            let cursor = Cursor::parse(&cursor_of(&row)).unwrap();
            let key = |observation_domain| DomainKey { session: of, version: Version::Ipfix, observation_domain };
            assert_eq!(behind(Some(cursor), &key(7)), Some(Some(300)));
            assert_eq!((behind(Some(cursor), &key(6)), behind(Some(cursor), &key(8))), (None, Some(None)));
        }
        for wrong in ["", "v9", "v9:7:0", "v9:7:0:65536", "v4:7:0:256", "v9:7:0:256:1", "v9:-7:0:256"] {
            assert!(Cursor::parse(wrong).is_err(), "{wrong}");
        }
    }
}
