//! What the data plane knows of exporters -> what the HTTP side shows.

use crate::collect::ExporterStatus;
use crate::decode::{DomainStatus, Session};
use crate::web::{DomainRow, ExporterRow};

/// One exporter.
pub(super) fn exporter(status: ExporterStatus) -> ExporterRow {
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
        domains,
    }
}

fn domain(status: &DomainStatus) -> DomainRow {
    DomainRow {
        session: match status.key.session {
            Session::Any => "any".to_owned(),
            Session::Port(port) => format!("port {port}"),
            Session::Connection(id) => format!("connection {id}"),
        },
        version: status.key.version.label(),
        observation_domain: status.key.observation_domain,
        templates: status.templates,
        options_templates: status.options_templates,
        parked_sets: status.parked_sets,
        parked_octets: status.parked_octets,
        received_units: status.received_units,
        missing_units: status.missing_units,
        last_seen_ns: status.last_seen_ns,
    }
}
