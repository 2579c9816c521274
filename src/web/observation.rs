//! The observation beside the books: what is missing by sequence, and how much of it the network has lost.
//!
//! In go the picture of the exporters, the books and what the request asks for; out comes the part of `/api/v1/ledger`
//! that stands beside the three equations. What is missing was lost before decode: in the kernel (known exactly, by
//! socket), in datagrams that were rejected, or on the way. Units are the versions' own, so the sum is made in datagrams, by
//! each version's mean units a datagram. Where this process sees only a part of a stream, no sum is made: `partial`.

use serde_json::{Value, json};

use super::detail::{lost_by_stage, object_of};
use super::exporters::Query;
use super::picture::Picture;
use super::{DomainRow, ExporterRow};
use crate::limits::HTTP_LEDGER_DOMAINS_MAX;
use crate::metrics::Books;

/// Messages and units of one version, over all domains.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Flow {
    messages: u64,
    units: u64,
}

/// What of the missing datagrams the network has lost.
#[derive(Debug, Clone, PartialEq)]
enum Network {
    Estimate { lost: u64 },
    Partial { why: Vec<Value> },
}

/// All of it.
pub(super) fn observation(
    picture: &Picture,
    listeners: &[String],
    books: &Books,
    query: &str,
) -> Result<Value, String> {
    let query = Query::parse(query)?;
    let missing = missing_datagrams(picture, books);
    let (kernel, rejected) = (books.kernel_dropped(), rejected(picture));
    let network = match network(picture, missing, kernel, rejected) {
        Network::Estimate { lost } => json!({ "state": "estimate", "lost_datagrams": lost, "why": [] }),
        Network::Partial { why } => json!({ "state": "partial", "lost_datagrams": null, "why": why }),
    };
    Ok(json!({
        "equation": "network = max(0, missing - kernel_dropped - rejected), in datagrams",
        "missing_datagrams": missing,
        "missing_units": object_of(books.missing_by_version()),
        "kernel_dropped": kernel,
        "rejected": rejected,
        "network": network,
        "sockets": sockets(books, listeners),
        "refused": { "datagrams": object_of(books.refused_by_reason()), "counted_as_missing": false },
        "lost_records_elsewhere": picture.lost_elsewhere,
        "exporters": page(&picture.rows, &query),
    }))
}

/// Units of the books, which forget nobody, as datagrams of each version as they are now.
fn missing_datagrams(picture: &Picture, books: &Books) -> u64 {
    books.missing_by_version().map(|(version, units)| datagrams(units, flow_of(picture, version))).sum()
}

fn flow_of(picture: &Picture, version: &str) -> Flow {
    let domains = picture.rows.iter().flat_map(|row| &row.domains).filter(|domain| domain.version == version);
    domains.fold(Flow::default(), |sum, domain| Flow {
        messages: sum.messages + domain.messages,
        units: sum.units + domain.received_units,
    })
}

/// `units` in datagrams of as many units as those that came; where none came, a datagram each.
fn datagrams(units: u64, flow: Flow) -> u64 {
    if flow.units == 0 || flow.messages == 0 {
        return units;
    }
    let (units, messages, of) = (u128::from(units), u128::from(flow.messages), u128::from(flow.units));
    u64::try_from((units * messages + of / 2) / of).unwrap_or(u64::MAX)
}

/// Datagrams of known exporters that were rejected behind their header: their numbers are missing.
fn rejected(picture: &Picture) -> u64 {
    picture.rows.iter().map(|row| row.rejected).sum()
}

fn network(picture: &Picture, missing: u64, kernel: u64, rejected: u64) -> Network {
    let lost = missing.saturating_sub(kernel).saturating_sub(rejected);
    let mut why = Vec::new();
    for (listener, sockets) in &picture.shared_ports {
        why.push(json!({
            "reason": "shared_port",
            "listener": listener,
            "sockets_of_others": sockets,
            "evidence": "other processes have sockets on this port: the kernel gives them a part of what comes",
        }));
    }
    // What the kernel dropped here explains gaps between single messages as well.
    let explained = lost.saturating_mul(2) < missing;
    for row in picture.rows.iter().filter(|_| !explained) {
        let domains = row.domains.iter().filter(|domain| domain.is_interleaved).count();
        if domains > 0 && why.len() < WHY_MAX {
            why.push(json!({
                "reason": "looks_interleaved",
                "exporter": row.id(),
                "domains": domains,
                "evidence": "messages are missing one by one between those that come: another process seems to get them",
            }));
        }
    }
    if why.is_empty() { Network::Estimate { lost } } else { Network::Partial { why } }
}

/// Reasons that are told: the first exporters of the list stand for the others.
const WHY_MAX: usize = 32;

/// By socket, in the order of workers.
fn sockets(books: &Books, listeners: &[String]) -> Value {
    let rows = books.sockets().enumerate().map(|(at, (received, dropped))| {
        let worker = at / listeners.len().max(1);
        let listener = listeners.get(at % listeners.len().max(1));
        json!({ "listener": listener, "worker": worker, "received": received, "kernel_dropped": dropped })
    });
    rows.collect()
}

/// A page of exporters, which ends earlier where they have many domains.
fn page(rows: &[ExporterRow], query: &Query) -> Value {
    let matching = rows.iter().filter(|row| query.admits(row)).count();
    let mut left = rows[query.start(rows)..].iter().filter(|row| query.admits(row)).peekable();
    let (mut shown, mut domains, mut last) = (Vec::new(), 0, None);
    while let Some(row) = left.next_if(|row| {
        shown.len() < query.limit() && (last.is_none() || domains + row.domains.len() <= HTTP_LEDGER_DOMAINS_MAX)
    }) {
        domains += row.domains.len();
        last = Some(row);
        shown.push(exporter(row));
    }
    let next = left.peek().and(last).map(ExporterRow::id);
    json!({ "total": rows.len(), "matching": matching, "shown": shown, "next": next })
}

fn exporter(row: &ExporterRow) -> Value {
    json!({
        "id": row.id(),
        "address": row.address.to_string(),
        "tenant": row.tenant,
        "name": row.name,
        "datagrams": row.datagrams,
        "rejected_datagrams": row.rejected,
        "refused_datagrams": { "rate_limited": row.refused },
        "records": row.records,
        "lost_records": row.lost_records(),
        "lost_by_stage": lost_by_stage(&row.lost),
        "missing_units": row.missing_units,
        "domains": row.domains.iter().map(domain).collect::<Vec<_>>(),
    })
}

fn domain(row: &DomainRow) -> Value {
    json!({
        "listener": row.listener,
        "session": row.session,
        "version": row.version,
        "observation_domain": row.observation_domain,
        "unit": row.sequence_unit,
        "messages": row.messages,
        "received_units": row.received_units,
        "missing_units": row.missing_units,
        "open_gap_units": row.gap_units,
        "highest_sequence": row.highest_sequence,
        "looks_interleaved": row.is_interleaved,
    })
}

#[cfg(test)]
mod tests {
    use super::super::exporters::tests::row;
    use super::*;
    use crate::metrics::{Metrics, Shape};

    fn metrics() -> std::sync::Arc<Metrics> {
        Metrics::new(&Shape {
            listeners: vec!["a".into(), "b".into()],
            workers: 2,
            batchers: 1,
            sink: "backend",
            instance: "test".into(),
        })
    }

    fn domain_of(version: &'static str, messages: u64, received_units: u64) -> DomainRow {
        DomainRow { version, messages, received_units, ..DomainRow::default() }
    }

    fn picture() -> Picture {
        let mut first = row("192.0.2.1", 10);
        first.domains = vec![domain_of("v5", 100, 3_000), domain_of("v9", 50, 50)];
        let mut second = row("192.0.2.2", 10);
        second.domains = vec![domain_of("v5", 100, 1_000)];
        second.rejected = 2;
        Picture { rows: vec![first, second], ..Picture::default() }
    }

    fn missing(metrics: &Metrics, version: &str, units: u64) {
        let at = metrics.books.missing_by_version().position(|(label, _)| label == version).unwrap();
        metrics.books.missing[at].add(units);
    }

    #[test]
    fn units_become_datagrams_of_their_version_and_what_is_known_is_taken_off() {
        let (metrics, picture) = (metrics(), picture());
        missing(&metrics, "v5", 2_000);
        missing(&metrics, "v9", 7);
        let of = |metrics: &Metrics| observation(&picture, &["a".into(), "b".into()], &metrics.books, "").unwrap();
        let value = of(&metrics);
        assert_eq!((&value["missing_datagrams"], &value["rejected"]), (&json!(107), &json!(2)), "20 flows a datagram");
        assert_eq!(value["network"], json!({ "state": "estimate", "lost_datagrams": 105, "why": [] }));
        metrics.worker(1).sockets[0].kernel_dropped.add(100);
        let value = of(&metrics);
        assert_eq!(value["network"]["lost_datagrams"], 5);
        let third = &value["sockets"][2];
        assert_eq!(
            (&third["worker"], &third["listener"], &third["kernel_dropped"]),
            (&json!(1), &json!("a"), &json!(100))
        );
        metrics.worker(0).sockets[1].kernel_dropped.add(100);
        assert_eq!(of(&metrics)["network"]["lost_datagrams"], 0, "never below nothing");
    }

    #[test]
    fn a_part_of_a_stream_makes_no_estimate() {
        let metrics = metrics();
        missing(&metrics, "v9", 30);
        let network = |picture: &Picture| observation(picture, &[], &metrics.books, "").unwrap()["network"].clone();
        let mut shared = picture();
        shared.shared_ports = vec![("a".into(), 2)];
        let value = network(&shared);
        assert_eq!((&value["state"], &value["lost_datagrams"]), (&json!("partial"), &Value::Null));
        assert_eq!(
            (&value["why"][0]["reason"], &value["why"][0]["sockets_of_others"]),
            (&json!("shared_port"), &json!(2))
        );
        let mut interleaved = picture();
        interleaved.rows[0].domains[1].is_interleaved = true;
        let value = network(&interleaved);
        assert_eq!((&value["state"], &value["why"][0]["exporter"]), (&json!("partial"), &json!("192.0.2.1")));
        metrics.worker(0).sockets[0].kernel_dropped.add(29);
        assert_eq!(network(&interleaved)["state"], "estimate", "the kernel's own drops explain the gaps");
    }

    #[test]
    fn pages_join_and_end_before_they_are_too_long() {
        let metrics = metrics();
        let mut picture = Picture::default();
        for number in 0..60_u8 {
            let mut one = row(&format!("192.0.2.{number}"), 1);
            one.domains = vec![domain_of("v9", 1, 1); 256];
            picture.rows.push(one);
        }
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let query = format!("limit=50&prefix=192.0.2.0/25&after={after}");
            let page = observation(&picture, &[], &metrics.books, &query).unwrap()["exporters"].clone();
            assert_eq!(page["matching"], 60);
            let shown = page["shown"].as_array().unwrap();
            assert!(shown.len() * 256 <= HTTP_LEDGER_DOMAINS_MAX && !shown.is_empty());
            seen.extend(shown.iter().map(|row| row["id"].as_str().unwrap().to_owned()));
            let Some(next) = page["next"].as_str() else { break };
            next.clone_into(&mut after);
        }
        assert_eq!(seen.len(), 60);
        assert!(seen.is_sorted_by_key(|id| id.rsplit('.').next().unwrap().parse::<u8>().unwrap()));
        assert!(observation(&picture, &[], &metrics.books, "limit=x").is_err());
    }
}
