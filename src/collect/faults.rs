//! What is wrong with an exporter, by name, with since when, by what it shows, and what to do.
//!
//! In go a picture of the exporter and the time; out come faults. Pure functions, one a fault: the same
//! picture gives the same faults at a running collector and of a capture. Names are those of
//! `exporters_with_fault{reason}`, `?fault=` and the table in docs/troubleshooting.md.

use std::collections::{BTreeMap, BTreeSet};

use super::advice;
use super::picture::ExporterStatus;
use crate::decode::{DomainKey, DomainStatus, Observation, Session, distinct_boots};
use crate::limits::{CLOCK_SKEW_MAX_S, FAULT_LINGER_S};
use crate::metrics::FAULT_REASONS;

const SECOND_NS: u64 = 1_000_000_000;
/// A boot time that came back so often after another one is no accident.
const BOOT_TURNS_MIN: u32 = 4;
/// Boot times behind one address that are more than a chassis with a restarted card has.
const BOOTS_MIN: usize = 4;
/// UDP ports that export the same observation domain with templates of their own.
const PORT_DOMAINS_MIN: usize = 4;
/// Template ids that an evidence names; the rest is a number.
const IDS_NAMED: usize = 8;
/// Exporters whose clocks are compared at least before this host's own is suspected.
const CLOCKS_MIN: usize = 3;

/// Names of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum FaultKind {
    /// Data sets came whose template is not known.
    WaitingForTemplate = 0,
    /// Nothing tells the sampling rate of its records.
    SamplingUnknown = 1,
    /// Several processes redefine each other's templates.
    DomainClash = 2,
    /// Its address is a default gateway of this host.
    SourceIsGateway = 3,
    /// Several devices send from its address.
    LooksLikeNat = 4,
    /// Its clock is off.
    ClockSkew = 5,
    /// Its clock is off, and so are most others, the same way.
    AllSkewed = 6,
    /// Its templates change faster than they are taken.
    RedefinitionStorm = 7,
    /// It sent regularly and has stopped.
    Silent = 8,
    /// Datagrams, sets or templates of it made no sense lately.
    Malformed = 9,
    /// It sends more than it may: datagrams of it were refused lately.
    Refused = 10,
}

impl FaultKind {
    /// All kinds, in the order of [`FAULT_REASONS`].
    pub const ALL: [Self; FAULT_REASONS.len()] = [
        Self::WaitingForTemplate,
        Self::SamplingUnknown,
        Self::DomainClash,
        Self::SourceIsGateway,
        Self::LooksLikeNat,
        Self::ClockSkew,
        Self::AllSkewed,
        Self::RedefinitionStorm,
        Self::Silent,
        Self::Malformed,
        Self::Refused,
    ];

    /// Its name everywhere.
    #[must_use]
    pub const fn label(self) -> &'static str {
        FAULT_REASONS[self as usize]
    }
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its name.
    pub kind: FaultKind,
    /// Since when, Unix nanoseconds; 0 where that is not known.
    pub since_ns: u64,
    /// What shows it.
    pub evidence: String,
    /// What to do.
    pub remedy: String,
}

/// What a picture is judged against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judge {
    /// The time, Unix nanoseconds.
    pub now_ns: u64,
    /// How long something that comes in bursts shows after the last one, nanoseconds.
    pub linger_ns: u64,
    /// Silence that is none yet, however short the usual gap, nanoseconds; 0 never speaks of silence.
    pub silence_ns: u64,
    /// How far most exporters' clocks are off, all to one side, milliseconds; None if they are not.
    pub own_clock_ms: Option<i64>,
}

impl Judge {
    /// At `now_ns`, with the shortest silence that is one.
    #[must_use]
    pub const fn at(now_ns: u64, silence_ns: u64, own_clock_ms: Option<i64>) -> Self {
        Self { now_ns, linger_ns: FAULT_LINGER_S * SECOND_NS, silence_ns, own_clock_ms }
    }

    const fn is_recent(&self, at_ns: u64) -> bool {
        self.now_ns.saturating_sub(at_ns) <= self.linger_ns
    }

    /// All faults of `picture`, in the order of their kinds.
    #[must_use]
    pub fn faults(&self, picture: &ExporterStatus) -> Vec<Fault> {
        let checks = [
            waiting_for_template,
            sampling_unknown,
            domain_clash,
            source_is_gateway,
            looks_like_nat,
            clock_skew,
            redefinition_storm,
            silent,
            malformed,
            refused,
        ];
        checks.iter().filter_map(|check| check(self, picture)).collect()
    }
}

fn waiting_for_template(judge: &Judge, picture: &ExporterStatus) -> Option<Fault> {
    let waits = || {
        let all = picture.domains.iter().flat_map(|d| d.waiting.iter().map(move |w| (d, w)));
        all.filter(|(_, w)| judge.is_recent(w.last_ns))
    };
    let since_ns = waits().map(|(_, w)| w.since_ns).min()?;
    let sets: u64 = waits().map(|(_, w)| w.sets).sum();
    let count = waits().count();
    let mut ids: Vec<String> =
        waits().take(IDS_NAMED).map(|(d, w)| format!("{} of {}", w.id, domain(&d.key))).collect();
    if count > ids.len() {
        ids.push(format!("{} more", count - ids.len()));
    }
    let parked: usize = picture.domains.iter().map(|d| d.parked_sets).sum();
    Some(Fault {
        kind: FaultKind::WaitingForTemplate,
        since_ns,
        evidence: format!(
            "{sets} data sets came before their template ({parked} sets are parked now): template {}",
            ids.join(", ")
        ),
        remedy: advice::shorter_template_refresh(picture.maker).to_owned(),
    })
}

fn sampling_unknown(_: &Judge, picture: &ExporterStatus) -> Option<Fault> {
    let spell = picture.pace.sampling_unknown?;
    Some(Fault {
        kind: FaultKind::SamplingUnknown,
        since_ns: spell.since_ns,
        evidence: format!(
            "{} records went out with rate 1 because neither they nor options nor a rule tell their sampling rate",
            spell.count
        ),
        remedy: "let it export its sampler table as options, or write sampling_default in an [[exporter]] rule: the \
                 rate, or 1 if it does not sample"
            .to_owned(),
    })
}

fn domain_clash(_: &Judge, picture: &ExporterStatus) -> Option<Fault> {
    let (clash, (one, other)) = picture.domains.iter().find_map(|d| Some((d, d.clash_ports?)))?;
    Some(Fault {
        kind: FaultKind::DomainClash,
        since_ns: clash.storm_since_ns.unwrap_or(0),
        evidence: format!(
            "UDP ports {one} and {other} redefine the same templates to and fro in {}",
            domain(&clash.key)
        ),
        remedy:
            "session = \"port\" in an [[exporter]] rule keeps them apart; better, give each process a Source ID or \
                 observation domain of its own"
                .to_owned(),
    })
}

fn source_is_gateway(_: &Judge, picture: &ExporterStatus) -> Option<Fault> {
    picture.is_gateway.then(|| Fault {
        kind: FaultKind::SourceIsGateway,
        since_ns: picture.first_seen_ns,
        evidence: format!(
            "{} is a default gateway of this host: address translation may hide others behind it",
            picture.address
        ),
        remedy: "let the collector see the true addresses (the host's network; once: conntrack -D -p udp); if the \
                 gateway itself exports, an [[exporter]] rule for its address says so"
            .to_owned(),
    })
}

fn looks_like_nat(judge: &Judge, picture: &ExporterStatus) -> Option<Fault> {
    let recent: Vec<&DomainStatus> =
        picture.domains.iter().filter(|d| d.observed.noted_ns != 0 && judge.is_recent(d.observed.noted_ns)).collect();
    let mut shows = Vec::new();
    let mut since_ns = 0;
    if let Some(turns) = recent.iter().max_by_key(|d| d.observed.boot_turns)
        && turns.observed.boot_turns >= BOOT_TURNS_MIN
    {
        since_ns = turns.observed.boot_turns_since_ns;
        let boots = turns.observed.boots.len();
        shows.push(format!("{boots} boot times take turns in {}", domain(&turns.key)));
    }
    let boots = distinct_boots(recent.iter().map(|d| &d.observed));
    if boots >= BOOTS_MIN {
        shows.push(format!("{boots} or more boot times"));
    }
    // By observation domain; a port that is heard at several listeners is one port.
    let mut ports: BTreeMap<_, BTreeSet<u16>> = BTreeMap::new();
    for key in recent.iter().map(|d| &d.key) {
        if let Session::Port(port) = key.session {
            ports.entry((key.version, key.observation_domain)).or_default().insert(port);
        }
    }
    if let Some(((_, observation_domain), ports)) = ports.iter().max_by_key(|(_, ports)| ports.len())
        && ports.len() >= PORT_DOMAINS_MIN
    {
        let ports = ports.len();
        shows.push(format!("{ports} UDP ports export observation domain {observation_domain} each for itself"));
    }
    if shows.is_empty() {
        return None;
    }
    Some(Fault {
        kind: FaultKind::LooksLikeNat,
        since_ns,
        evidence: format!("several devices seem to send from {}: {}", picture.address, shows.join("; ")),
        remedy:
            "let the collector see the true addresses; where that cannot be, session = \"port\" in an [[exporter]] \
                 rule keeps their templates apart, and all have one switch_id"
                .to_owned(),
    })
}

fn clock_skew(judge: &Judge, picture: &ExporterStatus) -> Option<Fault> {
    let skewed = |d: &&DomainStatus| d.observed.skewed_since_ns != 0 && judge.is_recent(d.observed.noted_ns);
    let worst = picture.domains.iter().filter(skewed).max_by_key(|d| d.observed.skew_ms.unsigned_abs())?;
    let since_ns = picture.domains.iter().filter(skewed).map(|d| d.observed.skewed_since_ns).min().unwrap_or(0);
    let Observation { skew_ms, .. } = worst.observed;
    let evidence = format!("its header clock is {} the receive time ({})", offset(skew_ms), domain(&worst.key));
    match judge.own_clock_ms {
        Some(own_ms) if own_ms.signum() == skew_ms.signum() => Some(Fault {
            kind: FaultKind::AllSkewed,
            since_ns,
            evidence,
            remedy: "most exporters' clocks are off the same way: look at this host's clock first (chronyc tracking, \
                     timedatectl)"
                .to_owned(),
        }),
        _ => Some(Fault {
            kind: FaultKind::ClockSkew,
            since_ns,
            evidence,
            remedy: "set the exporter's clock (NTP); until then the times of flows that it dates by its header are \
                     wrong, or the receive time is taken"
                .to_owned(),
        }),
    }
}

fn redefinition_storm(_: &Judge, picture: &ExporterStatus) -> Option<Fault> {
    let storms = picture.domains.iter().filter_map(|d| Some((d.storm_since_ns?, d)));
    let (since_ns, storm) = storms.min_by_key(|(since_ns, _)| *since_ns)?;
    Some(Fault {
        kind: FaultKind::RedefinitionStorm,
        since_ns,
        evidence: format!(
            "templates of {} change faster than they are taken: data sets of those that were refused \
             are dropped as frozen",
            domain(&storm.key)
        ),
        remedy:
            "several processes with one Source ID, or forged datagrams: session = \"port\" in an [[exporter]] rule, \
                 and a firewall that lets only exporters to the port"
                .to_owned(),
    })
}

fn silent(judge: &Judge, picture: &ExporterStatus) -> Option<Fault> {
    let usual_ns = picture.pace.usual_gap_ns?;
    let silence_ns = judge.now_ns.saturating_sub(picture.last_seen_ns);
    if judge.silence_ns == 0 || silence_ns < judge.silence_ns || silence_ns <= usual_ns.saturating_mul(3) {
        return None;
    }
    Some(Fault {
        kind: FaultKind::Silent,
        since_ns: picture.last_seen_ns,
        evidence: format!(
            "no datagram for {} s, while gaps of {} s were usual",
            silence_ns / SECOND_NS,
            usual_ns.div_ceil(SECOND_NS)
        ),
        remedy:
            "is the exporter up, and does its export still point here? On this host: tcpdump -ni any host with its \
                 address"
                .to_owned(),
    })
}

fn malformed(_: &Judge, picture: &ExporterStatus) -> Option<Fault> {
    let spell = picture.pace.malformed?;
    Some(Fault {
        kind: FaultKind::Malformed,
        since_ns: spell.since_ns,
        evidence: format!(
            "{} datagrams, sets or templates were not used: they made no sense, or there was no room for them",
            spell.count
        ),
        remedy:
            "take a capture and read it with clarion-collector decode --summary: a path that cuts datagrams, several \
                 devices behind one address, or a defect of the exporter"
                .to_owned(),
    })
}

fn refused(_: &Judge, picture: &ExporterStatus) -> Option<Fault> {
    let spell = picture.pace.refused?;
    Some(Fault {
        kind: FaultKind::Refused,
        since_ns: spell.since_ns,
        evidence: format!("{} datagrams were refused unread, because it sends more than its rate", spell.count),
        remedy:
            "find out why it sends so much (a loop, no sampling, somebody who forges its address); if it may, raise \
                 datagrams_per_second and bytes_per_second in an [[exporter]] rule for it, or in [admission] for all"
                .to_owned(),
    })
}

/// How far most clocks are off if they are off to one side by about as much, milliseconds: then this host's own is the
/// suspect. In go the skews of all exporters that tell the time.
#[must_use]
pub fn own_clock(skews_ms: &mut [i64]) -> Option<i64> {
    let bound_ms = (CLOCK_SKEW_MAX_S * 1_000).cast_signed();
    skews_ms.sort_unstable();
    // More than half are off to one side only if the one in the middle is.
    let lower = skews_ms.get(skews_ms.len().saturating_sub(1) / 2).copied().unwrap_or(0);
    let upper = skews_ms.get(skews_ms.len() / 2).copied().unwrap_or(0);
    let suspect = if lower > bound_ms {
        lower
    } else if upper < -bound_ms {
        upper
    } else {
        return None;
    };
    // One clock that is off shows the same offset everywhere; old captures that are replayed do not.
    let agree = skews_ms.iter().filter(|skew| skew.abs_diff(suspect) <= bound_ms.unsigned_abs()).count();
    (skews_ms.len() >= CLOCKS_MIN && 2 * agree > skews_ms.len()).then_some(suspect)
}

/// The clock of an exporter: that of the domain heard last, if lately.
#[must_use]
pub fn skew_of(judge: &Judge, picture: &ExporterStatus) -> Option<i64> {
    let newest = picture.domains.iter().map(|d| &d.observed).max_by_key(|o| o.noted_ns)?;
    (newest.noted_ns != 0 && judge.is_recent(newest.noted_ns)).then_some(newest.skew_ms)
}

/// `61.0 s behind`, from two days on `2 days behind`.
pub fn offset(skew_ms: i64) -> String {
    const DAY_MS: u64 = 86_400_000;
    let ms = skew_ms.unsigned_abs();
    let side = if skew_ms < 0 { "behind" } else { "ahead of" };
    if ms >= 2 * DAY_MS {
        return format!("{} days {side}", ms / DAY_MS);
    }
    format!("{}.{} s {side}", ms / 1_000, ms % 1_000 / 100)
}

/// `v9 domain 7`, with the port where it is one's own.
fn domain(key: &DomainKey) -> String {
    let port = match key.session {
        Session::Port(port) => format!(" port {port}"),
        Session::Any | Session::Connection(_) => String::new(),
    };
    format!("{} domain {}{port}", key.version.label(), key.observation_domain)
}

#[cfg(test)]
mod tests;
