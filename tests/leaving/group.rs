//! SIGTERM under full load: what was sent is what both collectors received and the kernel says it did not deliver.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use clarion_collector::flow::Version;
use clarion_collector::tools::generate::GenerateReport;

use super::child::{Backend, COLLECTOR, Collector, Load, anywhere, binary, last_words, number, wait_for};

/// Says to a test that it runs inside a network namespace of its own.
const INSIDE: &str = "CLARION_TEST_NAMESPACE";
/// Records a second: what collector and backend of this build can deliver on two busy cores.
const RATE: u64 = if cfg!(debug_assertions) { 12_000 } else { 200_000 };
const EXPORTERS: usize = 12;

/// Exporters of all versions at work on the addresses of `host`.
fn load(host: &str, port: u16) -> Vec<Load> {
    let to = targets(host, port);
    let rate = RATE / to.len() as u64;
    to.into_iter().map(|to| Load::of(&[Version::V5, Version::V9, Version::Ipfix], to, rate, EXPORTERS)).collect()
}

/// Addresses that a collector bound to `host` is sent to: a dual-stack socket is sent both.
fn targets(host: &str, port: u16) -> Vec<SocketAddr> {
    let hosts: &[&str] = match host {
        "::" => &["127.0.0.1", "::1"],
        other => &[other],
    };
    hosts.iter().map(|h| SocketAddr::new(h.parse().expect("an address"), port)).collect()
}

fn start(backend: &Backend, host: &str, port: u16) -> Collector {
    let replaced = ["--bind-host", "--netflow-port"];
    let kept = COLLECTOR.iter().filter(|arg| replaced.iter().all(|name| !arg.starts_with(name)));
    let mut command = binary(&["--shutdown-timeout=60s"]);
    command.args(kept).arg(format!("--bind-host={host}")).arg(format!("--netflow-port={port}"));
    command.arg(format!("--backend-url=http://{}", backend.address));
    Collector::from_command(command, false)
}

fn datagrams(collector: &Collector) -> u64 {
    number(&collector.ledger(), "/datagrams/received")
}

/// Ends `collector` by SIGTERM: datagrams that it received and those that the kernel dropped at its sockets.
fn terminate(collector: &mut Collector) -> (u64, u64) {
    collector.process.signal(&["TERM"]);
    let status = collector.process.wait(Duration::from_secs(90));
    let log = collector.process.log();
    assert_eq!(status.code(), Some(0), "{log}");
    let words = last_words(&log);
    assert_eq!(words["clean"], true, "{log}");
    // Each record that was received is delivered.
    assert_eq!((number(&words, "/dropped"), &words["decoded"]), (0, &words["delivered"]), "{log}");
    (number(&words, "/received"), number(&words, "/kernel_dropped"))
}

fn sum(reports: &[GenerateReport]) -> u64 {
    reports.iter().map(|report| report.datagrams).sum()
}

/// With a second collector on the port, `rounds` times: nothing is lost by leaving.
fn in_a_group(host: &str, rounds: usize) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let backend = Backend::start(anywhere(), &dir.path().join("out"), &[]);
    let mut stays = start(&backend, host, 0);
    let port = stays.port.port();
    let (mut sent, mut left) = (0, 0);
    for round in 0..rounds {
        let mut leaves = start(&backend, host, port);
        let before = datagrams(&stays);
        let loads: Vec<Load> = load(host, port);
        wait_for("load on both", || (datagrams(&leaves) > 200 && datagrams(&stays) > before + 200).then_some(()));
        let (received, dropped) = terminate(&mut leaves);
        assert!(leaves.process.log().contains("how=Left") || leaves.process.log().contains("\"how\":\"Left\""));
        let reports: Vec<GenerateReport> = loads.into_iter().map(Load::stop).collect();
        sent += sum(&reports);
        left += received + dropped;
        let came = || {
            let ledger = stays.ledger();
            number(&ledger, "/datagrams/received") + number(&ledger, "/datagrams/kernel_dropped")
        };
        wait_for(&format!("all of round {round} on {host}: {sent} sent, {left} left"), || {
            let all = left + came();
            assert!(all <= sent, "{all} of {sent}");
            (all == sent).then_some(())
        });
    }
    let (received, dropped) = terminate(&mut stays);
    assert_eq!(received + dropped + left, sent, "{host}");
    eprintln!("{host}, {rounds} rounds in a group: {sent} datagrams sent, {left} to those that left");
}

/// Datagrams that came to a port where nobody listened, in this network namespace.
fn no_ports() -> u64 {
    let snmp = std::fs::read_to_string("/proc/net/snmp").expect("the kernel's counters");
    let mut udp = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let names = udp.next().expect("names").split_ascii_whitespace();
    let four = names.zip(udp.next().expect("values").split_ascii_whitespace()).find(|(name, _)| *name == "NoPorts");
    let snmp6 = std::fs::read_to_string("/proc/net/snmp6").unwrap_or_default();
    let six = snmp6.lines().find_map(|line| line.strip_prefix("Udp6NoPorts"));
    let value = |text: &str| text.trim().parse::<u64>().expect("a number");
    value(four.expect("NoPorts").1) + six.map_or(0, value)
}

/// With nobody else on the port, `rounds` times: what is not received is refused by the kernel, which counts it.
fn alone(host: &str, rounds: usize) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let backend = Backend::start(anywhere(), &dir.path().join("out"), &[]);
    for _ in 0..rounds {
        let refused_before = no_ports();
        let mut leaves = start(&backend, host, 0);
        let port = leaves.port.port();
        let loads: Vec<Load> = load(host, port);
        wait_for("load", || (datagrams(&leaves) > 400).then_some(()));
        let (received, dropped) = terminate(&mut leaves);
        let after: u64 = loads.iter().map(Load::sent).sum();
        wait_for("more load", || (loads.iter().map(Load::sent).sum::<u64>() > after + 1_000).then_some(()));
        let sent = sum(&loads.into_iter().map(Load::stop).collect::<Vec<_>>());
        let refused = no_ports() - refused_before;
        assert_eq!(
            sent,
            received + dropped + refused,
            "{host}: {received} received, {dropped} dropped, {refused} refused"
        );
        assert!(refused > 0, "the load outlived the collector");
        eprintln!("{host}, alone: {sent} sent = {received} received + {dropped} dropped + {refused} refused");
    }
}

/// Runs the test `name` of this binary again in a network namespace of its own, if there can be one; true if this
/// is that run.
fn inside_a_namespace(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let ways: [&[&str]; 2] = [&["--net"], &["--user", "--map-root-user", "--net"]];
    let works = |way: &&&[&str]| {
        let script = ["/bin/sh", "-c", "ip link set lo up"];
        Command::new("unshare").args(**way).args(script).output().is_ok_and(|done| done.status.success())
    };
    let Some(way) = ways.iter().find(works) else {
        eprintln!("SKIPPED: no network namespace can be made here (unshare, ip), so other datagrams would count too");
        return false;
    };
    let mut command = Command::new("unshare");
    command.args(*way).args(["/bin/sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""]);
    command.arg(std::env::current_exe().expect("this binary")).args([
        name,
        "--exact",
        "--nocapture",
        "--include-ignored",
    ]);
    let done = command.env(INSIDE, "1").output().expect("it can be started");
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
    eprint!("{}", String::from_utf8_lossy(&done.stderr));
    false
}

fn has_ipv6() -> bool {
    let has = std::net::UdpSocket::bind("[::1]:0").is_ok();
    if !has {
        eprintln!("SKIPPED: there is no IPv6 here");
    }
    has
}

#[test]
fn sigterm_in_a_group_loses_nothing() {
    in_a_group("127.0.0.1", 2);
}

#[test]
fn sigterm_in_a_group_of_both_families_loses_nothing() {
    if has_ipv6() {
        in_a_group("::", 2);
    }
}

#[test]
fn sigterm_alone_loses_nothing_that_reached_the_socket() {
    if inside_a_namespace("group::sigterm_alone_loses_nothing_that_reached_the_socket") {
        alone("127.0.0.1", 2);
    }
}

#[test]
fn sigterm_alone_on_both_families_loses_nothing_that_reached_the_socket() {
    if inside_a_namespace("group::sigterm_alone_on_both_families_loses_nothing_that_reached_the_socket") && has_ipv6() {
        alone("::", 1);
        alone("::1", 1);
    }
}

#[test]
#[ignore = "the long form: 20 rounds of each kind, some minutes"]
fn sigterm_twenty_times_loses_nothing() {
    if inside_a_namespace("group::sigterm_twenty_times_loses_nothing") {
        for host in ["127.0.0.1", "::", "::1"].into_iter().filter(|host| !host.contains(':') || has_ipv6()) {
            in_a_group(host, 20);
            alone(host, 20);
        }
    }
}
