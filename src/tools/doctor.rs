//! `doctor`: looks at this host and at the backend, and says what to do.
//!
//! ```text
//! settings + host (files of /proc and /sys, a trial socket, one empty batch) -> facts -> judge -> report
//! ```
//!
//! Each group of checks has a file: facts that are gathered once, and a pure `judge` over them, so that
//! every finding can be tested without such a host. Promised: nothing is changed (no datagram is taken
//! away from anybody, nothing is delivered, no file is left); no privilege is needed; what cannot be seen
//! is "unknown", with the reason, and never "ok".

mod ask;
pub mod backend;
pub mod buffers;
pub mod clock;
pub mod filters;
mod finding;
pub mod host;
pub mod ports;
pub mod resources;
pub mod surroundings;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub use finding::{EXIT_FAULTS, EXIT_FINE, EXIT_WARNINGS, Finding, Report, Severity};

use crate::cli::DoctorArgs;
use crate::config::{self, Loaded, Machine, NoteLevel, Overrides};
use crate::sink::Output;
use buffers::{BufferFacts, Counters};
use clock::ClockFacts;
use filters::FilterFacts;
use host::Host;
use ports::PortFacts;
use resources::ResourceFacts;
use surroundings::Surroundings;

/// Every check, in the order of the report; `docs/doctor.md` explains each.
pub const CHECKS: &[&str] = &[
    "configuration",
    "kernel",
    "container",
    "ipv6",
    "receive-buffer",
    "rmem-default",
    "backlog",
    "udp-drops",
    "udp-mem",
    "conntrack",
    "rp-filter",
    "firewall",
    "udp-ports",
    "port-forms",
    "gateway-source",
    "http-port",
    "cpu-quota",
    "cores",
    "open-files",
    "memory",
    "data-dir",
    "clock-sync",
    "clock-skew",
    "backend",
];

/// Between the two readings of counters, at least: what is lost now shows within it.
const LOOK: Duration = Duration::from_secs(1);

/// Runs the command.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &DoctorArgs, overrides: &Overrides) -> anyhow::Result<ExitCode> {
    let report = match config::load_here(overrides) {
        Ok(loaded) => examine(&Host::default(), &loaded),
        Err(errors) => Report { findings: vec![refused(&errors.to_string())] },
    };
    let text = if args.json { format!("{:#}\n", report.json()) } else { report.text() };
    match std::io::stdout().write_all(text.as_bytes()) {
        // The reader has seen enough; the exit code still says how it is.
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(ExitCode::from(report.exit_code())),
    }
}

/// All checks of `host`; sockets, the kernel's clock and the backend are this machine's.
#[must_use]
pub fn examine(host: &Host, loaded: &Loaded) -> Report {
    let (settings, machine) = (&loaded.settings, Machine::detect());
    let (start, before) = (Instant::now(), Counters::read(host));
    let ports = PortFacts::gather(host, settings);
    let mut resources = ResourceFacts::gather(host, settings, &machine, ports.running());
    let ipv6_wanted = settings.collect.listeners.iter().any(|l| l.address.is_ipv6());
    let in_kubernetes = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    let mut surroundings = Surroundings::gather(host, in_kubernetes, ipv6_wanted);
    surroundings.asked = ask::gateways(&ports.http_addresses(), surroundings.gateways.addresses());
    let numbers = ports.udp.iter().map(|p| p.address.port()).collect();
    let filters = FilterFacts::gather(host, numbers);
    let buffers = BufferFacts::gather(host, settings);
    let clock_facts = ClockFacts::gather(host);
    let probes = match settings.sink.output {
        Output::Stdout => Vec::new(),
        Output::Backend => backend::ask(&settings.sink),
    };
    std::thread::sleep(LOOK.saturating_sub(start.elapsed()));
    let after = Counters::read(host);
    resources.look_again(host);

    let mut findings = configuration(loaded);
    findings.extend(resources::judge(&resources));
    findings.extend(surroundings::judge(&surroundings));
    findings.extend(buffers::judge(&buffers, &before, &after));
    findings.extend(filters::judge(&filters, &before, &after));
    findings.extend(ports::judge(&ports));
    findings.extend(clock::judge(&clock_facts, probes.iter().find_map(|(_, probe)| probe.as_ref().ok())));
    findings.extend(backend::judge_all(&probes));
    findings.sort_by_key(|f| CHECKS.iter().position(|check| *check == f.check));
    Report { findings }
}

/// A configuration that is refused: nothing else can be judged.
fn refused(errors: &str) -> Finding {
    Finding::new(
        "configuration",
        Severity::Fault,
        errors.trim_end(),
        "the collector does not start; no other check was made",
        "correct what is named; clarion-collector check tells all of it again",
    )
}

fn configuration(loaded: &Loaded) -> Vec<Finding> {
    const CHECK: &str = "configuration";
    let mut findings: Vec<Finding> = loaded
        .notes
        .iter()
        .filter(|note| note.level == NoteLevel::Warning)
        .map(|note| {
            let cure = "correct it, or leave it out; clarion-collector check shows what is in effect";
            Finding::new(CHECK, Severity::Warning, &note.text, "probably not what was meant", cure)
        })
        .collect();
    if findings.is_empty() {
        let from = loaded.file.as_ref().map_or_else(|| "no file".to_owned(), |file| file.display().to_string());
        findings.push(Finding::ok(CHECK, format!("right ({from}, environment, flags)")));
    }
    findings
}
