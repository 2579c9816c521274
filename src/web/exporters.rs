//! The list of exporters: filtered, paged, one in full, and the second scrape.
//!
//! In go the rows of one picture and what the request asks for, out come JSON and text. Rows are in
//! the order of (address, tenant), so that a page's cursor stays right while exporters come and go.

use std::net::IpAddr;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::answer::{Answer, PROMETHEUS};
use super::detail::{exporter_json, summary};
use super::picture::fill_one;
use super::{AskAddress, DetailQuery, DetailRow, ExporterRow};
use crate::limits::{EXPORTER_SERIES_MAX, HTTP_PAGE_ROWS};
use crate::metrics::{Books, ExporterFigures, FAULT_REASONS, exporters_text};

/// Puts a picture into the order of lists.
pub(super) fn sort(rows: &mut [ExporterRow]) {
    rows.sort_by(|a, b| (a.address, &a.tenant).cmp(&(b.address, &b.tenant)));
}

/// What `?fault=` can name beside the faults of [`FAULT_REASONS`].
const OWN_FILTERS: [&str; 4] = ["any", "missing", "parked", "rejected"];

/// What is wrong with an exporter, as `?fault=` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fault(&'static str);

impl Fault {
    fn of_name(name: &str) -> Result<Self, String> {
        let known = OWN_FILTERS.iter().chain(&FAULT_REASONS).find(|known| **known == name).map(|known| Self(known));
        known.ok_or_else(|| {
            format!("fault: {name:?} is not one of {}, {}", OWN_FILTERS.join(", "), FAULT_REASONS.join(", "))
        })
    }

    fn shows_in(self, row: &ExporterRow) -> bool {
        match self.0 {
            "any" => row.missing_units > 0 || row.parked_sets > 0 || row.rejected > 0 || row.true_faults() > 0,
            "missing" => row.missing_units > 0,
            "parked" => row.parked_sets > 0,
            "rejected" => row.rejected > 0,
            name => row.faults.iter().any(|fault| fault.name == name),
        }
    }
}

/// What a list request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    prefix: Option<(IpAddr, u8)>,
    fault: Option<Fault>,
    limit: usize,
    after: Option<(IpAddr, String)>,
}

impl Query {
    /// Reads `prefix=&fault=&limit=&after=`; an empty value is as good as none.
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let limit = usize::try_from(HTTP_PAGE_ROWS.default).unwrap_or(usize::MAX);
        let mut parsed = Self { prefix: None, fault: None, limit, after: None };
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode(value).ok_or_else(|| format!("{name}: not valid percent-encoded UTF-8"))?;
            match name {
                "prefix" | "fault" | "limit" | "after" if value.is_empty() => {}
                "prefix" => parsed.prefix = Some(parse_prefix(&value)?),
                "fault" => parsed.fault = Some(Fault::of_name(&value)?),
                "limit" => parsed.limit = Self::parse_limit(&value)?,
                "after" => parsed.after = Some(parse_id(&value)?),
                _ => return Err(format!("{name:?} is not one of prefix, fault, limit, after")),
            }
        }
        Ok(parsed)
    }

    /// `limit=`: rows of a page.
    pub(super) fn parse_limit(value: &str) -> Result<usize, String> {
        let (min, max) = (HTTP_PAGE_ROWS.min, HTTP_PAGE_ROWS.max);
        let limit = value.parse().ok().filter(|l| (min..=max).contains(l));
        let limit = limit.ok_or_else(|| format!("limit: {value:?} is not a number from {min} to {max}"))?;
        Ok(usize::try_from(limit).unwrap_or(usize::MAX))
    }

    /// Rows of a page.
    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    /// Where the page begins in `rows`, which are in the order of lists.
    pub(super) fn start(&self, rows: &[ExporterRow]) -> usize {
        let after = self.after.as_ref().map(|(address, tenant)| (*address, tenant.as_str()));
        after.map_or(0, |after| rows.partition_point(|row| (row.address, row.tenant.as_str()) <= after))
    }

    pub(super) fn admits(&self, row: &ExporterRow) -> bool {
        self.prefix.is_none_or(|prefix| contains(prefix, row.address)) && self.fault.is_none_or(|f| f.shows_in(row))
    }
}

/// `?prefix=`: `192.0.2.0/24`, or an address alone.
fn parse_prefix(text: &str) -> Result<(IpAddr, u8), String> {
    let wrong = || format!("prefix: {text:?} is not an address or prefix such as 192.0.2.0/24 or 2001:db8::/32");
    let (address, length) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let full = if address.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Ok(full), |l| l.parse().map_err(|_| wrong()))?;
    if length > full { Err(wrong()) } else { Ok((address, length)) }
}

fn contains((network, length): (IpAddr, u8), address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(n), IpAddr::V4(a)) => {
            (n.to_bits() ^ a.to_bits()).checked_shr(32 - u32::from(length)).unwrap_or(0) == 0
        }
        (IpAddr::V6(n), IpAddr::V6(a)) => {
            (n.to_bits() ^ a.to_bits()).checked_shr(128 - u32::from(length)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// `address` or `tenant/address`, as [`ExporterRow::id`] writes it.
fn parse_id(text: &str) -> Result<(IpAddr, String), String> {
    let (tenant, address) = text.rsplit_once('/').unwrap_or(("", text));
    let wrong = |_| format!("after: {text:?} is not the \"next\" of an earlier page");
    Ok((address.parse().map_err(wrong)?, tenant.to_owned()))
}

/// `%3A` -> `:`; None for a broken escape or what is not UTF-8 afterwards.
pub(super) fn percent_decode(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(if octet == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            u8::try_from(digit()? * 16 + digit()?).ok()?
        } else {
            octet
        });
    }
    String::from_utf8(octets).ok()
}

/// `/api/v1/exporters`.
pub(super) fn list(rows: &[ExporterRow], query: &str) -> Answer {
    let query = match Query::parse(query) {
        Ok(query) => query,
        Err(error) => return Answer::bad_request(&error),
    };
    let matching = rows.iter().filter(|row| query.admits(row)).count();
    let mut page = rows[query.start(rows)..].iter().filter(|row| query.admits(row));
    let shown: Vec<&ExporterRow> = page.by_ref().take(query.limit).collect();
    let next = page.next().and_then(|_| shown.last()).map(|row| row.id());
    let exporters: Vec<Value> = shown.into_iter().map(summary).collect();
    Answer::ok(&json!({ "total": rows.len(), "matching": matching, "exporters": exporters, "next": next }))
}

/// `/api/v1/exporters/{address}`: every tenant's exporter of that address in full, as `ask` knows them.
pub(super) fn one(ask: &AskAddress<DetailRow>, books: &Books, address: &str, query: &str) -> Answer {
    let Some(parsed) = percent_decode(address).and_then(|a| a.parse::<IpAddr>().ok()) else {
        return Answer::bad_request(&format!("{address:?} is not an IPv4 or IPv6 address"));
    };
    // Exporters are known by their folded address (IPv4-mapped IPv6 is IPv4).
    let address = parsed.to_canonical();
    let mut details = match DetailQuery::parse(query).and_then(|query| ask(address, &query)) {
        Ok(details) => details,
        Err(error) => return Answer::bad_request(&error),
    };
    if details.is_empty() {
        return Answer::json(
            StatusCode::NOT_FOUND,
            &json!({ "error": format!("no exporter with the address {address} is known") }),
        );
    }
    details.iter_mut().for_each(|detail| fill_one(&mut detail.row, books));
    let exporters: Vec<Value> = details.iter().map(exporter_json).collect();
    Answer::ok(&json!({ "address": address.to_string(), "exporters": exporters }))
}

/// `/metrics/exporters`: the busiest have series of their own, the rest are summed as `other`.
///
/// `lost_elsewhere` are lost records of exporters without a row: they are `other`'s, so that the sum is that of
/// `records_dropped_total`.
pub(super) fn scrape(rows: &[ExporterRow], lost_elsewhere: u64) -> Answer {
    let mut order: Vec<&ExporterRow> = rows.iter().collect();
    // Stable, so that equals keep the order of addresses and do not swap places between scrapes.
    order.sort_by_key(|row| std::cmp::Reverse(row.records));
    let own = order.len().min(EXPORTER_SERIES_MAX);
    let mut figures: Vec<ExporterFigures> = order[..own].iter().map(|row| figures_of(row)).collect();
    if own < order.len() || lost_elsewhere > 0 {
        let mut other =
            ExporterFigures { exporter: "other".into(), lost: lost_elsewhere, ..ExporterFigures::default() };
        for row in &order[own..] {
            other.merge(&figures_of(row));
        }
        figures.push(other);
    }
    Answer::text(PROMETHEUS, exporters_text(&figures))
}

fn figures_of(row: &ExporterRow) -> ExporterFigures {
    ExporterFigures {
        exporter: row.id(),
        datagrams: row.datagrams,
        octets: row.octets,
        records: row.records,
        rejected: row.rejected,
        missing_units: row.missing_units,
        parked_sets: row.parked_sets,
        lost: row.lost_records(),
        faults: row.true_faults() as u64,
        domains: row.domains.len() as u64,
        last_seen_s: row.last_seen_ns / 1_000_000_000,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::metrics::{HINT_REASONS, Metrics, Shape};
    use crate::web::{DomainRow, EventRow, FaultRow, FieldRow, RateRow, TemplateRow, WaitingRow};

    pub(crate) fn row(address: &str, records: u64) -> ExporterRow {
        ExporterRow {
            address: address.parse().unwrap(),
            tenant: String::new(),
            name: None,
            switch_id: address.to_owned(),
            first_seen_ns: 1_700_000_000_000_000_000,
            last_seen_ns: 1_700_000_001_000_000_000,
            datagrams: 1,
            octets: 100,
            records,
            rejected: 0,
            refused: 0,
            domains_evicted: 0,
            missing_units: 0,
            parked_sets: 0,
            parked_octets: 0,
            lost: Default::default(),
            maker: None,
            last_10s: None,
            last_60s: None,
            faults: vec![],
            domains: vec![],
        }
    }

    fn books() -> Books {
        let shape = Shape { listeners: vec![], workers: 1, batchers: 1, sink: "backend", instance: "test".into() };
        Metrics::new(&shape).books.clone()
    }

    fn body(answer: &Answer) -> Value {
        serde_json::from_slice(&answer.body).unwrap()
    }

    fn ids(value: &Value) -> Vec<&str> {
        value["exporters"].as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap()).collect()
    }

    fn picture() -> Vec<ExporterRow> {
        let mut rows = vec![row("2001:db8::1", 5), row("192.0.2.7", 1), row("192.0.2.65", 2), row("198.51.100.1", 3)];
        rows.push(ExporterRow { tenant: "blue".into(), missing_units: 4, ..row("192.0.2.7", 9) });
        sort(&mut rows);
        rows
    }

    #[test]
    fn pages_join_to_the_whole_list_while_rows_come_and_go() {
        let rows = picture();
        let all = ["192.0.2.7", "blue/192.0.2.7", "192.0.2.65", "198.51.100.1", "2001:db8::1"];
        assert_eq!(ids(&body(&list(&rows, ""))), all);
        let mut seen = Vec::new();
        let mut after = String::new();
        loop {
            let page = body(&list(&rows, &format!("limit=2&after={after}")));
            seen.extend(ids(&page).into_iter().map(str::to_owned));
            let Some(next) = page["next"].as_str() else { break };
            next.clone_into(&mut after);
        }
        assert_eq!(seen, all);
        // The row that the cursor names has gone: the page goes on behind its place.
        let without: Vec<_> = rows.iter().filter(|r| r.id() != "blue/192.0.2.7").cloned().collect();
        assert_eq!(ids(&body(&list(&without, "after=blue%2F192.0.2.7&limit=1"))), ["192.0.2.65"]);
    }

    #[test]
    fn filters_narrow_and_count() {
        let rows = picture();
        let page = body(&list(&rows, "prefix=192.0.2.0/26"));
        assert_eq!(ids(&page), ["192.0.2.7", "blue/192.0.2.7"]);
        assert_eq!((&page["total"], &page["matching"]), (&json!(5), &json!(2)));
        assert_eq!(ids(&body(&list(&rows, "prefix=2001%3Adb8%3A%3A%2F32"))), ["2001:db8::1"]);
        assert_eq!(ids(&body(&list(&rows, "prefix=0.0.0.0/0"))).len(), 4);
        assert_eq!(ids(&body(&list(&rows, "prefix=::/0"))), ["2001:db8::1"]);
        assert_eq!(ids(&body(&list(&rows, "prefix=198.51.100.1"))), ["198.51.100.1"]);
        assert_eq!(ids(&body(&list(&rows, "fault=missing"))), ["blue/192.0.2.7"]);
        assert_eq!(ids(&body(&list(&rows, "fault=any"))), ["blue/192.0.2.7"]);
        assert!(ids(&body(&list(&rows, "fault=rejected&prefix="))).is_empty());
    }

    #[test]
    fn wrong_questions_are_told_what_is_right() {
        for (query, part) in [
            ("prefix=300.0.0.0/8", "prefix"),
            ("prefix=10.0.0.0/33", "prefix"),
            ("prefix=10.0.0.0/", "prefix"),
            ("fault=lost", "missing, parked, rejected, waiting_for_template"),
            ("limit=0", "from 1 to 1000"),
            ("limit=1001", "from 1 to 1000"),
            ("limit=-1", "from 1 to 1000"),
            ("after=x", "next"),
            ("page=2", "prefix, fault, limit, after"),
            ("prefix=%zz", "percent"),
            ("prefix=%ff", "UTF-8"),
        ] {
            let answer = list(&picture(), query);
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
            let error = body(&answer)["error"].as_str().unwrap().to_owned();
            assert!(error.contains(part), "{query}: {error}");
        }
    }

    #[test]
    fn faults_are_listed_by_name_and_asked_for_by_name() {
        let mut rows = picture();
        let fault = |name| FaultRow { name, since_ns: 0, evidence: "e".into(), remedy: "r".into() };
        for (row, name) in rows.iter_mut().zip(FAULT_REASONS) {
            row.faults = vec![fault(name), fault("silent")];
        }
        for (row, name) in rows.iter().zip(FAULT_REASONS) {
            let page = body(&list(&rows, &format!("fault={name}")));
            assert_eq!(ids(&page), [row.id()], "{name}");
            assert_eq!(page["exporters"][0]["faults"], json!([name, "silent"]));
        }
        assert_eq!(ids(&body(&list(&rows, "fault=silent"))).len(), 5);
        assert_eq!(ids(&body(&list(&rows, "fault=any"))).len(), 5);
        assert!(ids(&body(&list(&rows, "fault=malformed"))).is_empty());
    }

    #[test]
    fn a_hint_is_found_by_its_name_and_is_no_fault_among_any() {
        let mut rows = vec![row("192.0.2.1", 1), row("192.0.2.2", 1), row("192.0.2.3", 1)];
        let fault = |name| FaultRow { name, since_ns: 0, evidence: "e".into(), remedy: "r".into() };
        rows[0].faults = vec![fault("sampling_unknown")];
        rows[1].faults = vec![fault("sampling_unknown"), fault("clock_skew")];
        assert_eq!(ids(&body(&list(&rows, "fault=sampling_unknown"))), ["192.0.2.1", "192.0.2.2"]);
        assert_eq!(ids(&body(&list(&rows, "fault=any"))), ["192.0.2.2"]);
        let text = String::from_utf8(scrape(&rows, 0).body.to_vec()).unwrap();
        for (exporter, faults) in [("192.0.2.1", 0), ("192.0.2.2", 1), ("192.0.2.3", 0)] {
            let line = format!("clarion_collector_exporter_faults{{exporter=\"{exporter}\"}} {faults}\n");
            assert!(text.contains(&line), "{line}{text}");
        }
        assert!(HINT_REASONS.iter().all(|hint| FAULT_REASONS.contains(hint)));
    }

    #[test]
    fn a_page_of_ten_thousand_exporters_stays_small() {
        let mut rows: Vec<ExporterRow> = (0..10_000)
            .map(|i| {
                let mut row = row(&std::net::Ipv4Addr::from_bits(0x0a00_0000 + i).to_string(), 1);
                row.faults = FAULT_REASONS
                    .map(|name| FaultRow { name, since_ns: 1, evidence: "e".repeat(500), remedy: "r".repeat(500) })
                    .into();
                // The list counts domains, it does not tell them.
                row.domains = vec![DomainRow::default(); 256];
                row
            })
            .collect();
        sort(&mut rows);
        for (query, exporters) in [("", 100), ("limit=1000", 1_000)] {
            let answer = list(&rows, query);
            assert_eq!(ids(&body(&answer)).len(), exporters);
            assert!(answer.body.len() < 1_200 * exporters, "{} octets for {exporters} exporters", answer.body.len());
        }
    }

    fn full(row: ExporterRow) -> DetailRow {
        DetailRow {
            row,
            profile: vec![("session", "port".into())],
            options: vec![("samplers", 3.into())],
            templates: vec![TemplateRow {
                domain: ("v9", "any".into(), 7),
                listener: Some("2055".into()),
                flow_keys: None,
                assumed_maker: false,
                restored: false,
                id: 256,
                scopes: None,
                fields: vec![FieldRow { name: "9/12345".into(), pen: 9, id: 12_345, length: None }],
                learned_ns: 1_700_000_000_000_000_000,
                refreshed_ns: 0,
                refresh_interval_ns: Some(60_500_000_000),
            }],
            templates_left_out: 4,
            templates_next: Some("v9:7:any:256".into()),
            events: vec![EventRow {
                at_ns: 0,
                domain: ("v9", "any".into(), 7),
                listener: None,
                template: 256,
                event: "learned",
            }],
        }
    }

    #[test]
    fn one_exporter_comes_in_full_from_every_tenant() {
        let mut rows = picture();
        rows[0].domains.push(DomainRow {
            session: "any".into(),
            version: "v9",
            observation_domain: 7,
            waiting: vec![WaitingRow { id: 300, since_ns: 1_700_000_000_000_000_000, last_ns: 0, sets: 2 }],
            sequence_unit: "datagrams",
            clash_ports: Some((9, 10)),
            ..DomainRow::default()
        });
        rows[0].faults = vec![FaultRow {
            name: "clock_skew",
            since_ns: 1_700_000_000_000_000_000,
            evidence: "late".into(),
            remedy: "NTP".into(),
        }];
        rows[0].last_10s = Some(RateRow { datagrams: 1.0 / 3.0, octets: 0.0, records: 10.0 });
        let ask: AskAddress<DetailRow> = Box::new(move |address, query| {
            assert!(query.limit == 100 || query.limit == 5);
            let rows = rows.iter().filter(|r| r.address == address).cloned();
            Ok(rows.filter(|r| query.tenant.as_ref().is_none_or(|t| *t == r.tenant)).map(full).collect())
        });
        let value = body(&one(&ask, &books(), "::ffff:192.0.2.7", ""));
        assert_eq!(ids(&value), ["192.0.2.7", "blue/192.0.2.7"]);
        let first = &value["exporters"][0];
        assert_eq!(first["domains"][0]["observation_domain"], 7);
        assert_eq!(first["domains"][0]["last_seen"], Value::Null);
        assert_eq!(first["domains"][0]["clash_ports"], json!([9, 10]));
        assert_eq!(first["domains"][0]["storm_since"], Value::Null);
        assert_eq!(first["domains"][0]["waiting_for"][0]["since"], "2023-11-14T22:13:20.000Z");
        assert_eq!(first["last_seen"], "2023-11-14T22:13:21.000Z");
        assert_eq!(
            first["faults_in_full"][0],
            json!({ "fault": "clock_skew", "hint": false, "since": "2023-11-14T22:13:20.000Z", "evidence": "late", "what_to_do": "NTP" })
        );
        assert_eq!(first["rates"]["10s"]["datagrams_per_second"], 0.333);
        assert_eq!(first["rates"]["60s"], Value::Null);
        assert_eq!(
            first["templates"]["shown"][0]["fields"][0],
            json!({ "name": "9/12345", "pen": 9, "id": 12345, "length": null })
        );
        assert_eq!(first["templates"]["shown"][0]["refresh_interval_seconds"], 60.5);
        assert_eq!((&first["templates"]["left_out"], &first["templates"]["next"]), (&json!(4), &json!("v9:7:any:256")));
        assert_eq!(first["template_events"][0]["event"], "learned");
        assert_eq!((&first["profile"]["session"], &first["options"]["samplers"]), (&json!("port"), &json!(3)));
        assert_eq!(ids(&body(&one(&ask, &books(), "2001%3adb8::1", "limit=5&after="))), ["2001:db8::1"]);
        assert_eq!(ids(&body(&one(&ask, &books(), "192.0.2.7", "tenant=blue"))), ["blue/192.0.2.7"]);
        assert_eq!(one(&ask, &books(), "192.0.2.99", "").status, StatusCode::NOT_FOUND);
        for (address, query) in [("blue", ""), ("192.0.2.7", "limit=0"), ("192.0.2.7", "page=1")] {
            assert_eq!(one(&ask, &books(), address, query).status, StatusCode::BAD_REQUEST, "{address} {query}");
        }
        let refuses: AskAddress<DetailRow> = Box::new(|_, _| Err("after: x".into()));
        assert_eq!(body(&one(&refuses, &books(), "192.0.2.7", ""))["error"], "after: x");
    }

    #[test]
    fn a_15_dec_7_the_second_scrape_keeps_the_busiest_and_sums_the_rest() {
        let rows: Vec<ExporterRow> = (0..EXPORTER_SERIES_MAX as u32 + 3)
            .map(|i| row(&std::net::Ipv4Addr::from_bits(0x0a00_0000 + i).to_string(), u64::from(i)))
            .collect();
        let text = String::from_utf8(scrape(&rows, 0).body.to_vec()).unwrap();
        let records: Vec<&str> = text.lines().filter(|l| l.contains("exporter_records_total{")).collect();
        assert_eq!(records.len(), EXPORTER_SERIES_MAX + 1);
        assert!(records[0].ends_with(" 10002") && records[0].contains("\"10.0.39.18\""), "{}", records[0]);
        assert_eq!(*records.last().unwrap(), "clarion_collector_exporter_records_total{exporter=\"other\"} 3");
        assert!(text.contains("clarion_collector_exporter_datagrams_total{exporter=\"other\"} 3\n"));
        let few = String::from_utf8(scrape(&rows[..2], 0).body.to_vec()).unwrap();
        assert!(!few.contains("other"));
        let lost = String::from_utf8(scrape(&rows[..2], 7).body.to_vec()).unwrap();
        assert!(lost.contains("clarion_collector_exporter_lost_records_total{exporter=\"other\"} 7\n"), "{lost}");
    }
}
