//! Sockets that outlive the process: this test holds them as a service manager does, and restarts lose nothing.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use clarion_collector::flow::Version;
use clarion_collector::tools::generate::GenerateOptions;
use socket2::{Domain, Socket, Type};

use super::child::{
    Backend, COLLECTOR, Collector, Load, Process, anywhere, json, last_words, number, serials, wait_for,
};

/// Becomes the collector with standard input and output as descriptors 3 and 4, as a manager would hand them over; what this
/// process was itself started with beyond them is closed.
const HAND_OVER: &str = "exec 3<&0 4>&1 5>&- 6>&- </dev/null >/dev/null; LISTEN_PID=$$ exec \"$0\" \"$@\"";

/// A backend's address where nobody listens: the discard port.
pub fn nobody() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

/// A UDP socket that shares its port.
pub fn member(address: SocketAddr) -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None).expect("a socket");
    socket.set_reuse_port(true).expect("an option");
    socket.set_recv_buffer_size(4 << 20).expect("an option");
    socket.bind(&address.into()).expect("it can be bound");
    let address = socket.local_addr().ok().and_then(|a| a.as_socket()).expect("an address");
    (socket, address)
}

/// The collector with two inherited descriptors, and `settings` in a file beside `dir`'s others.
pub fn with_descriptors(
    pair: [OwnedFd; 2],
    names: &str,
    listener: (&str, SocketAddr),
    backend: SocketAddr,
    dir: &std::path::Path,
) -> Command {
    let (name, address) = listener;
    let file = dir.join("clarion.toml");
    let text = format!("[[listener]]\nname = \"{name}\"\naddress = \"{}\"\nport = {}\n", address.ip(), address.port());
    std::fs::write(&file, text).expect("a file");
    let mut command = Command::new("/bin/sh");
    command.env_clear().args(["-c", HAND_OVER, env!("CARGO_BIN_EXE_clarion-collector")]);
    command.args(COLLECTOR.iter().filter(|arg| !arg.contains("-port=0") || arg.contains("http")));
    command.arg(format!("--backend-url=http://{backend}")).arg(format!("--config={}", file.display()));
    command.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", names);
    let [one, other] = pair;
    command.stdin(Stdio::from(one)).stdout(Stdio::from(other));
    command
}

/// Datagrams that the kernel dropped at the sockets of `port`, as /proc tells; None if it does not.
fn kernel_drops(port: u16) -> Option<u64> {
    let table = std::fs::read_to_string("/proc/net/udp").ok()?;
    let local = format!(":{port:04X}");
    let of_port =
        table.lines().skip(1).filter(|row| row.split_ascii_whitespace().nth(1).is_some_and(|a| a.ends_with(&local)));
    of_port.map(|row| row.split_ascii_whitespace().last()?.parse::<u64>().ok()).sum()
}

fn copy(socket: &Socket) -> OwnedFd {
    socket.try_clone().expect("a copy").into()
}

#[test]
fn a_restart_with_inherited_sockets_loses_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let backend = Backend::start(anywhere(), &dir.path().join("out"), &[]);
    // Held here all the time: what the collectors get are copies.
    let (one, address) = member(anywhere());
    let (other, _) = member(address);
    let start = || {
        let pair = [copy(&one), copy(&other)];
        let command = with_descriptors(pair, "flows:flows", ("flows", address), backend.address, dir.path());
        Collector::from_process(Process::spawn(command))
    };
    let (mut datagrams, mut records, mut received, mut delivered) = (0, 0, 0, 0);
    let mut v5 = None;
    for _ in 0..3 {
        let mut collector = start();
        assert_eq!(collector.port, address);
        // v5 goes on through the restarts; exporters with templates announce them to each process, as none is told
        // where to keep what it learned.
        v5.get_or_insert_with(|| Load::of(&[Version::V5], address, 3_000, 4));
        let others = Load::of(&[Version::V9, Version::Ipfix], address, 1_000, 2);
        let before = number(&backend.stats(), "/records");
        wait_for("records", || (number(&backend.stats(), "/records") > before + 3_000).then_some(()));
        let report = others.stop();
        (datagrams, records) = (datagrams + report.datagrams, records + report.records);
        // What they sent is read by this process, whose successor knows no templates.
        let v5_sent = v5.as_ref().map_or(0, Load::sent);
        wait_for("what was sent", || {
            (number(&collector.ledger(), "/records/decoded") + delivered > records + v5_sent).then_some(())
        });
        collector.process.signal(&["TERM"]);
        let status = collector.process.wait(Duration::from_secs(60));
        let log = collector.process.log();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("\"how\":\"Kept\""), "{log}");
        let words = last_words(&log);
        assert_eq!((number(&words, "/dropped"), &words["decoded"]), (0, &words["delivered"]), "{log}");
        received += number(&words, "/received");
        delivered += number(&words, "/delivered");
    }
    // While nobody runs, datagrams wait.
    let load = v5.take().expect("it runs");
    let waited = load.sent();
    wait_for("datagrams that wait", || (load.sent() > waited + 200).then_some(()));
    let report = load.stop();
    (datagrams, records) = (datagrams + report.datagrams, records + report.records);
    let mut last = start();
    let drops = kernel_drops(address.port());
    wait_for("the rest", || {
        (received + number(&last.ledger(), "/datagrams/received") + drops.unwrap_or(0) >= datagrams).then_some(())
    });
    last.process.signal(&["TERM"]);
    last.process.wait(Duration::from_secs(60));
    let words = last_words(&last.process.log());
    received += number(&words, "/received");
    delivered += number(&words, "/delivered");
    let lost = drops.unwrap_or(0);
    assert_eq!(received + lost, datagrams, "{lost} dropped by the kernel");
    assert!(lost > 0 || delivered == records, "{delivered} of {records} records");
    eprintln!("four processes: {datagrams} datagrams sent, {received} received, {lost} dropped by the kernel");
}

#[test]
fn exporters_that_tell_their_templates_once_go_on_through_restarts() {
    const EXPORTERS: usize = 4;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let out = dir.path().join("out");
    let backend = Backend::start(anywhere(), &out, &[]);
    let (one, address) = member(anywhere());
    let (other, _) = member(address);
    let start = || {
        let pair = [copy(&one), copy(&other)];
        let mut command = with_descriptors(pair, "flows:flows", ("flows", address), backend.address, dir.path());
        command.arg(format!("--data-dir={}", dir.path().join("data").display()));
        Collector::from_process(Process::spawn(command))
    };
    let end = |mut collector: Collector| {
        collector.process.signal(&["TERM"]);
        assert_eq!(collector.process.wait(Duration::from_secs(60)).code(), Some(0), "{}", collector.process.log());
        let words = last_words(&collector.process.log());
        assert_eq!(number(&words, "/dropped"), 0, "{words}");
        number(&words, "/received")
    };
    // The one load of all: what stands in its first datagrams alone is all that any of the processes is told.
    let versions = vec![Version::V9, Version::Ipfix];
    let options = GenerateOptions {
        exporters: EXPORTERS,
        versions,
        templates_once: true,
        ..GenerateOptions::new(address, 2_000)
    };
    let mut collector = start();
    let load = Load::with(options);
    let mut received = 0;
    for life in 0..3 {
        let before = number(&backend.stats(), "/records");
        wait_for("records", || (number(&backend.stats(), "/records") > before + 2_000).then_some(()));
        let ledger = collector.ledger();
        assert_eq!(number(&ledger, "/sets/parked") + number(&ledger, "/sets/dropped"), 0, "life {life}: {ledger}");
        received += end(collector);
        // Nobody runs: what comes now waits in the sockets, and is the first that the next one reads.
        let waited = load.sent();
        wait_for("datagrams that wait", || (load.sent() > waited + 300).then_some(()));
        collector = start();
    }
    let report = load.stop();
    let drops = kernel_drops(address.port()).unwrap_or(0);
    wait_for("the rest", || {
        (received + number(&collector.ledger(), "/datagrams/received") + drops >= report.datagrams).then_some(())
    });
    let ledger = collector.ledger_at_rest(0);
    assert_eq!(number(&ledger, "/sets/parked") + number(&ledger, "/sets/dropped"), 0, "{ledger}");
    assert_eq!(number(&ledger, "/datagrams/rejected"), 0, "{ledger}");
    received += end(collector);
    assert_eq!(received + drops, report.datagrams);
    let (seen, lines) = serials(&[&out]);
    assert_eq!(lines, seen.len() as u64, "something came twice");
    assert!(drops > 0 || seen.len() as u64 == report.records, "{} of {} records", seen.len(), report.records);
    eprintln!(
        "four processes, templates once: {} records sent, {} came, {drops} dropped by the kernel",
        report.records,
        seen.len()
    );
}

#[test]
fn the_http_side_may_inherit_its_socket_too() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (flows, address) = member(anywhere());
    let http = TcpListener::bind(anywhere()).expect("bind");
    let at = http.local_addr().expect("an address");
    let pair = [http.into(), flows.into()];
    let command = with_descriptors(pair, "http:flows", ("flows", address), nobody(), dir.path());
    let mut collector = Collector::from_process(Process::spawn(command));
    assert_eq!(collector.http, at);
    assert_eq!(number(&json(at, "/api/v1/ledger"), "/records/decoded"), 0);
    // One socket for two workers: said once.
    collector.process.line("1 inherited sockets for 2 workers");
}

#[test]
fn descriptors_that_do_not_fit_are_refused_by_name() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let refuse = |pair: [OwnedFd; 2], names: &str, listener: (&str, SocketAddr), change: &[(&str, &str)]| {
        let mut command = with_descriptors(pair, names, listener, nobody(), dir.path());
        command.envs(change.iter().copied());
        let mut process = Process::spawn(command);
        assert_eq!(process.wait(Duration::from_secs(60)).code(), Some(1), "{}", process.log());
        process.log()
    };
    let pair = || {
        let (one, address) = member(anywhere());
        ([one.into(), member(address).0.into()], address)
    };
    let tcp = || OwnedFd::from(TcpListener::bind(anywhere()).expect("bind"));

    let (both, address) = pair();
    let log = refuse(both, "flows:flows", ("flows", SocketAddr::new(address.ip(), 1)), &[]);
    assert!(log.contains("listener flows, whose name it has") && log.contains(&address.to_string()), "{log}");
    let ([one, _], address) = pair();
    let log = refuse([one, tcp()], "flows:flows", ("flows", address), &[]);
    assert!(log.contains("descriptor 4") && log.contains("is no UDP socket"), "{log}");
    for (key, value, part) in [
        ("LISTEN_FDS", "9", "LISTEN_FDNAMES has 2 names for the 9"),
        ("LISTEN_FDS", "many", "LISTEN_FDS is no number"),
        ("LISTEN_FDNAMES", "flows", "LISTEN_FDNAMES has 1 names for the 2"),
    ] {
        let (both, address) = pair();
        let log = refuse(both, "flows:flows", ("flows", address), &[(key, value)]);
        assert!(log.contains(part), "{log}");
    }
    let (both, address) = pair();
    let log = refuse(both, "a:b:c:d", ("flows", address), &[("LISTEN_FDS", "4")]);
    // Whoever runs the tests may have left something open there, which is no socket of ours either.
    assert!(log.contains("descriptor 5") && (log.contains("is not open") || log.contains("is no")), "{log}");
}
