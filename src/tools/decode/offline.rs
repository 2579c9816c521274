//! Captured datagrams -> flows, with state of one file: the collector's decoder without its threads.
//!
//! Exporters and domains are found by the default rules (protocol.md DEC-3): v5 and v9 share
//! templates over all ports of an address, IPFIX keeps ports apart and falls back to the address.
//! Everything is counted, nothing is printed here.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::app::rows;
use crate::collect::{ExporterDetail, ExporterStatus, Judge, Pacing, Spell, own_clock, skew_of};
use crate::decode::{
    self, Datagram, DecodeErrorKind, DecodeSettings, Domain, DomainKey, ExporterState, Header, LearnedBudget, Outcome,
    Session, SessionPolicy, SetDropKind,
};
use crate::flow::{Exporter, FlowBatch, Version};
use crate::limits::{DOMAINS_PER_EXPORTER_MAX, EXPORTERS_MAX, FLOW_BATCH_RECORDS_MAX, SEQUENCE_WINDOW_MIN};
use crate::tools::capture::{CaptureCounts, CapturedDatagram};
use crate::web::{DetailRow, FieldRow, TemplateRow, exporter_json};

/// Decoder with the state of one file.
#[derive(Debug)]
pub struct Offline {
    settings: DecodeSettings,
    budget: Arc<LearnedBudget>,
    exporters: BTreeMap<IpAddr, Peer>,
    /// Datagrams past the bounds of exporters or domains.
    over_limit: u64,
    batch: FlowBatch,
}

/// An exporter with its domains and counts.
#[derive(Debug)]
struct Peer {
    state: Arc<ExporterState>,
    domains: HashMap<DomainKey, Arc<Domain>>,
    summary: ExporterSummary,
    seen: Seen,
}

/// What became of one exporter's datagrams.
#[derive(Debug, Clone, Default)]
pub struct ExporterSummary {
    /// Datagrams.
    pub datagrams: u64,
    /// Of these rejected, in the order of `DecodeErrorKind::ALL`.
    pub rejected: [u64; DecodeErrorKind::ALL.len()],
    /// By version and observation domain, whatever the port.
    pub domains: BTreeMap<(Version, u32), DomainSummary>,
    /// As the status API shows it; made at the end.
    pub detail: Option<DetailRow>,
}

/// What became of the datagrams of one version and observation domain.
#[derive(Debug, Clone, Default)]
pub struct DomainSummary {
    /// Datagrams of which something was used.
    pub datagrams: u64,
    /// Flows.
    pub records: u64,
    /// Options data records.
    pub options_records: u64,
    /// Data records that are statistics of the exporter, no flows.
    pub non_flow_records: u64,
    /// Lists, or records of them, that were not looked into.
    pub lists_unread: u64,
    /// Data sets decoded, options data sets, and sets of templates.
    pub sets: [u64; 3],
    /// Sets dropped, in the order of `SetDropKind::ALL`.
    pub dropped: [u64; SetDropKind::ALL.len()],
    /// Template records refused.
    pub templates_rejected: u64,
    /// Datagrams longer than their header says.
    pub trailing_octets: u64,
    /// Units missing by sequence number, in the version's unit.
    pub missing: u64,
    /// Flows by template; 0 in v5.
    pub templates: BTreeMap<u16, u64>,
    /// Sets that still wait for their template at the end.
    pub parked: u64,
}

/// First and last datagram of an exporter, and what its picture counts.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    first_ns: u64,
    last_ns: u64,
    octets: u64,
    records: u64,
    malformed: u64,
    sampling_unknown: u64,
}

/// What became of a capture.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// What the file held.
    pub capture: CaptureCounts,
    /// By exporter.
    pub exporters: BTreeMap<IpAddr, ExporterSummary>,
    /// Datagrams past the bounds of exporters or domains.
    pub over_limit: u64,
    /// Where the file broke off, if it did.
    pub damage: Option<String>,
}

impl Offline {
    /// A decoder that has learned nothing yet.
    #[must_use]
    pub fn new(settings: DecodeSettings) -> Self {
        Self {
            settings,
            budget: Arc::default(),
            exporters: BTreeMap::new(),
            over_limit: 0,
            batch: FlowBatch::with_capacity(FLOW_BATCH_RECORDS_MAX),
        }
    }

    /// Decodes one datagram; gives its flows and those of waiting sets that it brought the template of.
    pub fn datagram(&mut self, captured: &CapturedDatagram<'_>) -> &FlowBatch {
        self.batch.clear();
        let datagram = Datagram { peer: captured.src, receive_ns: captured.time_ns, octets: captured.octets };
        let address = captured.src.ip();
        if !self.exporters.contains_key(&address) && self.exporters.len() >= EXPORTERS_MAX {
            self.over_limit += 1;
            return &self.batch;
        }
        let peer = self.exporters.entry(address).or_insert_with(|| Peer {
            state: Arc::new(ExporterState::new(
                Arc::new(Exporter::of_address(address)),
                self.settings.clone(),
                Arc::clone(&self.budget),
            )),
            domains: HashMap::new(),
            summary: ExporterSummary::default(),
            seen: Seen { first_ns: captured.time_ns, ..Seen::default() },
        });
        peer.summary.datagrams += 1;
        peer.seen.last_ns = peer.seen.last_ns.max(captured.time_ns);
        peer.seen.octets += captured.octets.len() as u64;
        let header = match decode::identify(datagram.octets) {
            Ok(header) => header,
            Err(error) => {
                peer.summary.rejected[error.kind as usize] += 1;
                return &self.batch;
            }
        };
        let Some(domain) = peer.domain(&header, &datagram) else {
            self.over_limit += 1;
            return &self.batch;
        };
        self.batch.note_receive(datagram.receive_ns);
        let batch = &mut self.batch;
        let outcome = catch_unwind(AssertUnwindSafe(|| decode::decode(&datagram, &header, &domain, batch)));
        match outcome {
            Ok(Outcome { rejected: Some(error), .. }) => peer.summary.rejected[error.kind as usize] += 1,
            Ok(outcome) => {
                peer.summary.count(&domain, 1, &outcome, &self.batch);
                peer.seen.records += u64::from(outcome.records);
                peer.seen.malformed += u64::from(outcome.sets_malformed()) + u64::from(outcome.templates_rejected);
                peer.seen.sampling_unknown += u64::from(outcome.sampling_unknown);
                domain.last_seen_ns.fetch_max(datagram.receive_ns, Ordering::AcqRel);
                domain.observe(&header, datagram.receive_ns, datagram.peer.port());
            }
            Err(_) => {
                // What the domain had learned may be half changed: the next datagram begins anew.
                peer.domains.remove(&domain.key);
                peer.summary.rejected[DecodeErrorKind::Panic as usize] += 1;
                self.batch.clear();
            }
        }
        &self.batch
    }

    /// After the last datagram, until there is none: flows of sets that waited for a template which only their lists
    /// name, and which did not come.
    pub fn flush(&mut self) -> Option<&FlowBatch> {
        self.batch.clear();
        for peer in self.exporters.values_mut() {
            let mut domains: Vec<_> = peer.domains.values().cloned().collect();
            domains.sort_by_key(|domain| (domain.key.version, domain.key.observation_domain, port(domain.key.session)));
            for domain in domains {
                let batch = &mut self.batch;
                let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| decode::flush(&domain, batch))) else {
                    peer.domains.remove(&domain.key);
                    self.batch.clear();
                    continue;
                };
                if outcome.sets_unparked != 0 {
                    peer.summary.count(&domain, 0, &outcome, &self.batch);
                    return Some(&self.batch);
                }
            }
        }
        None
    }

    /// At the end of the capture, when nothing is long ago and nobody silent.
    fn judge(&self) -> Judge {
        let now_ns = self.exporters.values().map(|peer| peer.seen.last_ns).max().unwrap_or(0);
        let mut judge = Judge { linger_ns: u64::MAX, ..Judge::at(now_ns, 0, None) };
        let pictures = self.exporters.iter().map(|(address, peer)| peer.picture(*address));
        let mut skews: Vec<i64> = pictures.filter_map(|picture| skew_of(&judge, &picture)).collect();
        judge.own_clock_ms = own_clock(&mut skews);
        judge
    }

    /// Closes the books.
    #[must_use]
    pub fn finish(self, capture: CaptureCounts) -> Summary {
        let judge = self.judge();
        let exporters = self.exporters.into_iter().map(|(address, mut peer)| {
            peer.summary.detail = Some(peer.detail(address, &judge));
            for domain in peer.domains.values() {
                let key = (domain.key.version, domain.key.observation_domain);
                peer.summary.domains.entry(key).or_default().parked += domain.status().parked_sets as u64;
            }
            // Domains that were only made as a fallback have nothing to tell.
            peer.summary.domains.retain(|_, d| d.datagrams > 0 || d.parked > 0);
            (address, peer.summary)
        });
        Summary { capture, exporters: exporters.collect(), over_limit: self.over_limit, damage: None }
    }
}

fn port(session: Session) -> Option<u16> {
    match session {
        Session::Port(port) => Some(port),
        _ => None,
    }
}

impl Peer {
    /// As a collector would see it at the end.
    fn picture(&self, address: IpAddr) -> ExporterStatus {
        let seen = &self.seen;
        let rejected = self.summary.rejected.iter().sum();
        let spell = |count| (count != 0).then_some(Spell { since_ns: seen.first_ns, count });
        ExporterStatus {
            tenant: Arc::clone(&self.state.decided().exporter.tenant),
            address,
            name: None,
            switch_id: self.state.decided().exporter.switch_id.to_string(),
            maker: self.state.decided().settings.profile.maker,
            known: seen.records != 0,
            is_gateway: false,
            first_seen_ns: seen.first_ns,
            last_seen_ns: seen.last_ns,
            datagrams: self.summary.datagrams,
            octets: seen.octets,
            records: seen.records,
            rejected,
            refused: 0,
            malformed: seen.malformed,
            sampling_unknown: seen.sampling_unknown,
            pace: Pacing {
                malformed: spell(rejected + seen.malformed),
                sampling_unknown: spell(seen.sampling_unknown),
                ..Pacing::default()
            },
            domains_evicted: 0,
            domains: self.in_order().iter().map(|d| d.status()).collect(),
            faults: Vec::new(),
        }
    }

    /// The same with templates, options and faults, in the form of the status API.
    fn detail(&self, address: IpAddr, judge: &Judge) -> DetailRow {
        let mut status = self.picture(address);
        status.faults = judge.faults(&status);
        let policy = |d: &Domain| match d.key.version {
            Version::Ipfix => SessionPolicy::Port,
            _ => SessionPolicy::Any,
        };
        let domains = self.in_order().into_iter().map(|d| (Arc::clone(&d), policy(&d))).collect();
        rows::whole(ExporterDetail { status, states: vec![Arc::clone(&self.state)], domains })
    }

    fn in_order(&self) -> Vec<Arc<Domain>> {
        let mut domains: Vec<Arc<Domain>> = self.domains.values().cloned().collect();
        domains.sort_by_key(|d| (d.key.version, d.key.observation_domain, d.key.session.rank()));
        domains
    }

    /// The domain of a datagram; None where the exporter has too many.
    fn domain(&mut self, header: &Header, datagram: &Datagram<'_>) -> Option<Arc<Domain>> {
        let any =
            DomainKey { session: Session::Any, version: header.version, observation_domain: header.observation_domain };
        if header.version != Version::Ipfix {
            return self.find_or_make(any, None);
        }
        let own = DomainKey { session: Session::Port(datagram.peer.port()), ..any };
        if let Some(domain) = self.domains.get(&own) {
            return Some(Arc::clone(domain));
        }
        let fallback = self.find_or_make(any, None)?;
        // A port without templates of its own creates no scope.
        if decode::carries_templates(header, datagram.octets) {
            self.find_or_make(own, Some(fallback))
        } else {
            Some(fallback)
        }
    }

    fn find_or_make(&mut self, key: DomainKey, fallback: Option<Arc<Domain>>) -> Option<Arc<Domain>> {
        if let Some(domain) = self.domains.get(&key) {
            return Some(Arc::clone(domain));
        }
        if self.domains.len() >= DOMAINS_PER_EXPORTER_MAX {
            return None;
        }
        let domain = Arc::new(Domain::new(key, Arc::clone(&self.state), fallback));
        self.domains.insert(key, Arc::clone(&domain));
        Some(domain)
    }
}

impl ExporterSummary {
    fn count(&mut self, domain: &Domain, datagrams: u64, outcome: &Outcome, batch: &FlowBatch) {
        let to = self.domains.entry((domain.key.version, domain.key.observation_domain)).or_default();
        to.datagrams += datagrams;
        to.records += u64::from(outcome.records);
        to.options_records += u64::from(outcome.options_records);
        to.non_flow_records += u64::from(outcome.non_flow_records);
        to.lists_unread += u64::from(outcome.lists_unread);
        let sets = [outcome.sets_decoded, outcome.sets_options, outcome.sets_templates];
        for (sum, sets) in to.sets.iter_mut().zip(sets) {
            *sum += u64::from(sets);
        }
        for (sum, sets) in to.dropped.iter_mut().zip(outcome.sets_dropped) {
            *sum += u64::from(sets);
        }
        to.templates_rejected += u64::from(outcome.templates_rejected);
        to.trailing_octets += u64::from(outcome.trailing_octets);
        if let Some(note) = outcome.sequence {
            to.missing += domain.apply_sequence(&mut [note], SEQUENCE_WINDOW_MIN).missing;
        }
        for record in &batch.records {
            *to.templates.entry(record.template_id).or_default() += 1;
        }
    }
}

impl Summary {
    /// The whole as JSON: exporters as the status API shows them.
    #[must_use]
    pub fn to_json(&self, file: &str) -> serde_json::Value {
        let c = &self.capture;
        let exporters: Vec<serde_json::Value> =
            self.exporters.values().filter_map(|e| e.detail.as_ref()).map(exporter_json).collect();
        serde_json::json!({
            "file": file,
            "frames": c.frames,
            "datagrams": c.datagrams,
            "records": self.records(),
            "exporters": exporters,
            "problems": self.problems(),
            "damage": self.damage,
        })
    }

    /// Flows of the whole file.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.domains().map(|(_, d)| d.records).sum()
    }

    fn domains(&self) -> impl Iterator<Item = (&(Version, u32), &DomainSummary)> {
        self.exporters.values().flat_map(|e| &e.domains)
    }

    /// What was not used and why, one sentence each; empty where all was.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut say = |count: u64, what: &str| {
            if count > 0 {
                problems.push(format!("{count} {what}"));
            }
        };
        for (count, what) in self.capture.left_out() {
            say(count, what);
        }
        say(self.over_limit, "datagrams were left out: too many exporters or domains");
        for (index, kind) in DecodeErrorKind::ALL.iter().enumerate() {
            let count = self.exporters.values().map(|e| e.rejected[index]).sum();
            say(count, &format!("datagrams rejected: {}", kind.label()));
        }
        for (index, kind) in SetDropKind::ALL.iter().enumerate() {
            let count = self.domains().map(|(_, d)| d.dropped[index]).sum();
            say(count, &format!("sets dropped: {}", kind.label()));
        }
        say(self.domains().map(|(_, d)| d.parked).sum(), "sets never got their template");
        say(self.domains().map(|(_, d)| d.templates_rejected).sum(), "template records refused");
        problems
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.capture;
        write!(f, "{} frames, {} UDP datagrams", c.frames, c.datagrams)?;
        if c.fragments > 0 {
            write!(f, " ({} joined of {} IP fragments)", c.joined, c.fragments)?;
        }
        writeln!(f, ", {} flows", self.records())?;
        for (address, exporter) in &self.exporters {
            writeln!(f, "  exporter {address}: {} datagrams", exporter.datagrams)?;
            let rejected = reasons(&exporter.rejected, DecodeErrorKind::ALL.map(DecodeErrorKind::label));
            if !rejected.is_empty() {
                writeln!(f, "    rejected: {rejected}")?;
            }
            let detail = exporter.detail.as_ref();
            for fault in detail.iter().flat_map(|d| &d.row.faults) {
                writeln!(f, "    fault {}: {}", fault.name, fault.evidence)?;
                writeln!(f, "      to do: {}", fault.remedy)?;
            }
            let told: Vec<String> = detail.iter().flat_map(|d| rows::tables(d)).collect();
            if !told.is_empty() {
                writeln!(f, "    options told: {}", told.join(", "))?;
            }
            for ((version, observation_domain), domain) in &exporter.domains {
                write!(f, "    {} domain {observation_domain}: ", version.label())?;
                let of_domain = |t: &&TemplateRow| (t.domain.0, t.domain.2) == (version.label(), *observation_domain);
                let known = detail.iter().flat_map(|d| &d.templates).filter(of_domain);
                let mut known: Vec<&TemplateRow> = known.collect();
                // Ports may define the same one, and the address's shared domain has it again.
                known.sort_by_key(|t| t.id);
                known.dedup_by(|a, b| a.id == b.id && a.fields == b.fields);
                let row = detail.iter().flat_map(|d| &d.row.domains);
                let mut of_key =
                    row.filter(|d| (d.version, d.observation_domain) == (version.label(), *observation_domain));
                let unit = of_key.next().map_or("units", |d| d.sequence_unit);
                domain.write(f, unit, &known)?;
            }
        }
        Ok(())
    }
}

impl DomainSummary {
    fn write(&self, f: &mut fmt::Formatter<'_>, unit: &str, known: &[&TemplateRow]) -> fmt::Result {
        let [data, options, templates] = self.sets;
        write!(f, "{} datagrams, {} flows, {} options records; ", self.datagrams, self.records, self.options_records)?;
        write!(f, "sets: {data} data, {options} options, {templates} templates")?;
        if self.parked > 0 {
            write!(f, ", {} without template", self.parked)?;
        }
        if self.non_flow_records > 0 {
            write!(f, "; {} data records are statistics, no flows", self.non_flow_records)?;
        }
        if self.lists_unread > 0 {
            write!(f, "; {} lists were not looked into", self.lists_unread)?;
        }
        let dropped = reasons(&self.dropped, SetDropKind::ALL.map(SetDropKind::label));
        if !dropped.is_empty() {
            write!(f, "; dropped: {dropped}")?;
        }
        if self.templates_rejected > 0 {
            write!(f, "; template records refused: {}", self.templates_rejected)?;
        }
        if self.missing > 0 {
            write!(f, "; missing by sequence number: {} {}", self.missing, unit.replace('_', " "))?;
        }
        if self.trailing_octets > 0 {
            write!(f, "; longer than their header says: {} datagrams", self.trailing_octets)?;
        }
        writeln!(f)?;
        for (id, records) in self.templates.iter().filter(|(id, _)| **id != 0) {
            writeln!(f, "      template {id}: {records} flows")?;
        }
        for template in known {
            let kind = if template.scopes.is_some() { "options template" } else { "template" };
            let fields: Vec<String> = template.fields.iter().map(field).collect();
            writeln!(f, "      {kind} {} is {}", template.id, fields.join(" "))?;
        }
        Ok(())
    }
}

/// `octetDeltaCount(4)`; a star where each record says how long it is. Names can come from an exporter.
fn field(field: &FieldRow) -> String {
    let length = field.length.map_or_else(|| "*".to_owned(), |length| length.to_string());
    format!("{}({length})", field.name.escape_debug())
}

/// `label count, label count` of what is not zero.
fn reasons<const N: usize>(counts: &[u64; N], labels: [&str; N]) -> String {
    let shown = counts.iter().zip(labels).filter(|(count, _)| **count > 0);
    shown.map(|(count, label)| format!("{label} {count}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_names_what_was_not_used() {
        let mut summary = Summary::default();
        assert!(summary.problems().is_empty());
        let exporter = summary.exporters.entry(IpAddr::from([192, 0, 2, 1])).or_default();
        exporter.datagrams = 3;
        exporter.rejected[DecodeErrorKind::BadLength as usize] = 1;
        let domain = exporter.domains.entry((Version::V9, 7)).or_default();
        domain.records = 12;
        domain.dropped[SetDropKind::Malformed as usize] = 2;
        domain.parked = 1;
        domain.templates.insert(256, 12);
        let problems = summary.problems().join("\n");
        for wanted in ["1 datagrams rejected: bad_length", "2 sets dropped: malformed", "1 sets never got"] {
            assert!(problems.contains(wanted), "{wanted} in {problems}");
        }
        let text = summary.to_string();
        for wanted in ["exporter 192.0.2.1: 3", "v9 domain 7", "12 flows", "template 256: 12", "malformed 2"] {
            assert!(text.contains(wanted), "{wanted} in {text}");
        }
    }
}
