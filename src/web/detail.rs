//! One exporter in full: what the wiring hands over, and the JSON that it becomes.
//!
//! Also the form in which `decode --summary --json` shows an exporter of a capture, so that both read the
//! same. Keys are only ever added. How many templates come in an answer is bounded by the query.

use serde_json::{Value, json};

use super::exporters::{self, Query};
use super::time::rfc3339;
use super::{DomainRow, ExporterRow, FaultRow, RateRow};
use crate::limits::HTTP_PAGE_ROWS;
use crate::metrics::LOSS_STAGES;

/// What of an exporter is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetailQuery {
    /// Only this tenant's.
    pub tenant: Option<String>,
    /// Templates behind this one: `next` of `templates` in an earlier answer.
    pub after: Option<String>,
    /// Templates in the answer.
    pub limit: usize,
}

impl Default for DetailQuery {
    fn default() -> Self {
        Self { tenant: None, after: None, limit: usize::try_from(HTTP_PAGE_ROWS.default).unwrap_or(usize::MAX) }
    }
}

impl DetailQuery {
    /// Reads `tenant=&after=&limit=`; an empty value is as good as none, but for the tenant: the empty one is
    /// the default.
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let mut parsed = Self::default();
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value =
                exporters::percent_decode(value).ok_or_else(|| format!("{name}: not valid percent-encoded UTF-8"))?;
            match name {
                "tenant" => parsed.tenant = Some(value),
                "after" | "limit" if value.is_empty() => {}
                "after" => parsed.after = Some(value),
                "limit" => parsed.limit = Query::parse_limit(&value)?,
                _ => return Err(format!("{name:?} is not one of tenant, limit, after")),
            }
        }
        Ok(parsed)
    }
}

/// An exporter in full.
#[derive(Debug, Clone, PartialEq)]
pub struct DetailRow {
    /// As in the list.
    pub row: ExporterRow,
    /// What the operator's rules say, by key of an `[[exporter]]` rule.
    pub profile: Vec<(&'static str, Value)>,
    /// What its options records told.
    pub options: Vec<(&'static str, Value)>,
    /// A page of its templates.
    pub templates: Vec<TemplateRow>,
    /// Templates before this page or behind it.
    pub templates_left_out: usize,
    /// Cursor of the next page.
    pub templates_next: Option<String>,
    /// What happened to its templates, oldest first.
    pub events: Vec<EventRow>,
}

/// A template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateRow {
    /// Version, session and observation domain of its domain.
    pub domain: (&'static str, String, u32),
    /// Name of the listener that its domain is heard at; None in a capture.
    pub listener: Option<String>,
    /// Its id.
    pub id: u16,
    /// Scope fields; None for a template of data.
    pub scopes: Option<u16>,
    /// Fields in wire order.
    pub fields: Vec<FieldRow>,
    /// Names of the fields that make up the flow key; None if the exporter does not say.
    pub flow_keys: Option<Vec<String>>,
    /// It has field types whose maker was assumed.
    pub assumed_maker: bool,
    /// It was kept from an earlier run, and its exporter has not sent it since.
    pub restored: bool,
    /// When this layout was learned, Unix nanoseconds.
    pub learned_ns: u64,
    /// When it came last.
    pub refreshed_ns: u64,
    /// Longest time between two refreshes, nanoseconds.
    pub refresh_interval_ns: Option<u64>,
}

/// A field of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRow {
    /// Name of the element; `pen/id` where nobody knows one.
    pub name: String,
    /// Its Private Enterprise Number, 0 for IANA's.
    pub pen: u32,
    /// Its number.
    pub id: u16,
    /// Octets; None where each record says.
    pub length: Option<u16>,
}

/// What happened to a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// When, Unix nanoseconds.
    pub at_ns: u64,
    /// Version, session and observation domain.
    pub domain: (&'static str, String, u32),
    /// Name of the listener.
    pub listener: Option<String>,
    /// Which template.
    pub template: u16,
    /// What.
    pub event: &'static str,
}

/// What stands in a list of exporters.
pub(super) fn summary(row: &ExporterRow) -> Value {
    json!({
        "id": row.id(),
        "address": row.address.to_string(),
        "tenant": row.tenant,
        "name": row.name,
        "switch_id": row.switch_id,
        "maker": row.maker,
        "first_seen": rfc3339(row.first_seen_ns),
        "last_seen": rfc3339(row.last_seen_ns),
        "datagrams": row.datagrams,
        "octets": row.octets,
        "records": row.records,
        "rejected_datagrams": row.rejected,
        "refused_datagrams": row.refused,
        "missing_units": row.missing_units,
        "lost_records": row.lost_records(),
        "lost_by_stage": lost_by_stage(&row.lost),
        "parked_sets": row.parked_sets,
        "parked_octets": row.parked_octets,
        "rates": { "10s": row.last_10s.as_ref().map(rates), "60s": row.last_60s.as_ref().map(rates) },
        "faults": row.faults.iter().map(|f| f.name).collect::<Vec<_>>(),
        "domain_count": row.domains.len(),
        "domains_evicted": row.domains_evicted,
    })
}

/// An object of labels and figures.
pub(super) fn object_of(figures: impl IntoIterator<Item = (&'static str, u64)>) -> Value {
    figures.into_iter().map(|(label, n)| (label.to_owned(), Value::from(n))).collect()
}

/// Lost records by stage.
pub(super) fn lost_by_stage(lost: &[u64; LOSS_STAGES.len()]) -> Value {
    LOSS_STAGES.into_iter().zip(lost).map(|(stage, n)| (stage.to_owned(), Value::from(*n))).collect()
}

/// An exporter with all that is known of it.
#[must_use]
pub fn exporter_json(detail: &DetailRow) -> Value {
    let mut value = summary(&detail.row);
    value["faults_in_full"] = detail.row.faults.iter().map(fault).collect();
    value["profile"] = object(&detail.profile);
    value["options"] = object(&detail.options);
    value["domains"] = detail.row.domains.iter().map(domain).collect();
    value["templates"] = json!({
        "shown": detail.templates.iter().map(template).collect::<Value>(),
        "left_out": detail.templates_left_out,
        "next": detail.templates_next,
    });
    value["template_events"] = detail.events.iter().map(event).collect();
    value
}

fn object(pairs: &[(&'static str, Value)]) -> Value {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect::<serde_json::Map<_, _>>().into()
}

fn rates(row: &RateRow) -> Value {
    // Three digits behind the point are plenty.
    let round = |rate: f64| (rate * 1_000.0).round() / 1_000.0;
    json!({
        "datagrams_per_second": round(row.datagrams),
        "octets_per_second": round(row.octets),
        "records_per_second": round(row.records),
    })
}

fn fault(row: &FaultRow) -> Value {
    json!({
        "fault": row.name,
        "hint": row.is_hint(),
        "since": rfc3339(row.since_ns),
        "evidence": row.evidence,
        "what_to_do": row.remedy,
    })
}

fn domain(row: &DomainRow) -> Value {
    let waiting: Vec<Value> = row
        .waiting
        .iter()
        .map(|w| json!({ "template": w.id, "since": rfc3339(w.since_ns), "last": rfc3339(w.last_ns), "sets": w.sets }))
        .collect();
    json!({
        "listener": row.listener,
        "session": row.session,
        "session_policy": row.session_policy,
        "version": row.version,
        "observation_domain": row.observation_domain,
        "templates": row.templates,
        "options_templates": row.options_templates,
        "parked_sets": row.parked_sets,
        "parked_octets": row.parked_octets,
        "waiting_for": waiting,
        "sequence_unit": row.sequence_unit,
        "received_units": row.received_units,
        "missing_units": row.missing_units,
        "open_gap_units": row.gap_units,
        "next_sequence": row.next_sequence,
        "highest_sequence": row.highest_sequence,
        "messages": row.messages,
        "looks_interleaved": row.is_interleaved,
        "duplicate_datagrams": row.duplicates,
        "odd_padding_sets": row.odd_padding_sets,
        "assumed_maker": row.assumed_maker,
        "clash_ports": row.clash_ports.map(|(one, other)| [one, other]),
        "storm_since": row.storm_since_ns.and_then(rfc3339),
        "sampling_rate": row.sampling.map(|(rate, _)| rate),
        "sampling_source": row.sampling.map(|(_, source)| source),
        "clock_skew_ms": row.clock_skew_ms,
        "boot_times": row.boot_times,
        "udp_ports": row.udp_ports,
        "last_seen": rfc3339(row.last_seen_ns),
    })
}

fn template(row: &TemplateRow) -> Value {
    let (version, session, observation_domain) = &row.domain;
    let fields: Vec<Value> =
        row.fields.iter().map(|f| json!({ "name": f.name, "pen": f.pen, "id": f.id, "length": f.length })).collect();
    #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
    let seconds = |ns: u64| (ns / 1_000_000) as f64 / 1_000.0;
    json!({
        "listener": row.listener,
        "version": version,
        "session": session,
        "observation_domain": observation_domain,
        "id": row.id,
        "kind": if row.scopes.is_some() { "options" } else { "data" },
        "scope_fields": row.scopes,
        "fields": fields,
        "flow_keys": row.flow_keys,
        "assumed_maker": row.assumed_maker,
        "restored": row.restored,
        "learned": rfc3339(row.learned_ns),
        "refreshed": rfc3339(row.refreshed_ns),
        "refresh_interval_seconds": row.refresh_interval_ns.map(seconds),
    })
}

fn event(row: &EventRow) -> Value {
    let (version, session, observation_domain) = &row.domain;
    json!({
        "at": rfc3339(row.at_ns),
        "event": row.event,
        "template": row.template,
        "listener": row.listener,
        "version": version,
        "session": session,
        "observation_domain": observation_domain,
    })
}
