//! Datagrams that made no sense, as an operator gets them: sent to the port, downloaded, read by others.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;

use clarion_collector::limits::{REJECTED_BURST, REJECTED_OCTETS};
use clarion_collector::tools::capture::Capture;

use super::child::{COLLECTOR, Collector, PATIENCE, Process, binary, get, number, wait_for};

const PATH: &str = "/api/v1/rejected.pcap";

/// Head and body of an answer that is no text.
fn download(from: SocketAddr, headers: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(from).expect("the HTTP side listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    write!(stream, "GET {PATH} HTTP/1.0\r\nHost: {from}\r\n{headers}\r\n").expect("a request can be sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
    let body = answer.split_off(end);
    (String::from_utf8(answer).expect("a head in UTF-8").to_lowercase(), body)
}

/// Sender and payload of each datagram, as our own reader finds them.
fn read(file: &Path) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
    let mut capture = Capture::open(file).expect("a capture");
    let mut found = Vec::new();
    while let Some(d) = capture.next_datagram().expect("no damage") {
        assert!(d.time_ns > 1_700_000_000_000_000_000, "the time of the kernel");
        found.push((d.src, d.dst, d.octets.to_vec()));
    }
    found
}

/// A NetFlow v9 message with a set of a reserved id behind an empty one of a template that nobody knows.
fn used_in_part() -> Vec<u8> {
    let mut octets = [&[0, 9, 0, 2][..], &60_000_u32.to_be_bytes(), &1_700_000_000_u32.to_be_bytes()].concat();
    octets.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 7, 1, 0, 0, 4, 0, 5, 0, 6, 9, 9]);
    octets
}

fn wait_rejected(collector: &Collector, datagrams: u64) {
    wait_for(&format!("{datagrams} datagrams seen"), || {
        (number(&collector.ledger(), "/datagrams/received") >= datagrams).then_some(())
    });
}

/// A collector for what is wrong, with `more` in place of the same flags; nobody is behind it.
fn command(more: &[&str]) -> Command {
    let flag = |arg: &str| arg.split('=').next().map(str::to_owned);
    let usual = COLLECTOR.iter().copied().filter(|arg| more.iter().all(|other| flag(other) != flag(arg)));
    let args: Vec<&str> = usual.chain(["--output=stdout"]).chain(more.iter().copied()).collect();
    binary(&args)
}

fn collector(more: &[&str]) -> Collector {
    Collector::from_command(command(more), false)
}

#[test]
fn nonsense_is_downloaded_as_it_came_and_others_read_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let collector = collector(&[]);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let from = socket.local_addr().expect("an address");
    let sent =
        [b"<34>not a flow".to_vec(), vec![0, 5, 0, 1, 7], used_in_part(), (1..=255).cycle().take(9_001).collect()];
    for octets in &sent {
        socket.send_to(octets, collector.port).expect("loopback takes it");
    }
    wait_rejected(&collector, sent.len() as u64);

    let file = dir.path().join("rejected.pcap");
    let (head, capture) = download(collector.http, "");
    assert!(head.starts_with("http/1.0 200") && head.contains("attachment; filename=\"rejected.pcapng\""), "{head}");
    std::fs::write(&file, &capture).expect("a file");
    let came = read(&file);
    let expected: Vec<_> = sent.iter().map(|octets| (from, collector.port, octets.clone())).collect();
    assert_eq!(came, expected);

    // The command says of the file what the collector said of the wire.
    let summary = binary(&["decode", "--summary"]).arg(&file).output().expect("it runs");
    let said = String::from_utf8_lossy(&summary.stdout).into_owned();
    assert!(summary.status.success() && said.contains("unsupported_version"), "{said}");

    let columns = ["ip.src", "udp.srcport", "udp.length", "udp.checksum.status", "ip.checksum.status", "frame.comment"];
    let fields = columns.iter().flat_map(|column| ["-e", column]);
    let checks = ["-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-T", "fields"];
    let Ok(shark) = Command::new("tshark").arg("-r").arg(&file).args(checks).args(fields).output() else {
        eprintln!("SKIPPED: tshark is not installed");
        return;
    };
    let lines = String::from_utf8_lossy(&shark.stdout).into_owned();
    let reasons = [
        "rejected: unsupported_version at octet 0",
        "rejected: too_short at octet 5",
        "used in part: 1 sets dropped, 0 template records refused; the first: reserved_id at octet 24, set 5",
        "rejected: unsupported_version at octet 0",
    ];
    let wanted: Vec<String> = sent
        .iter()
        .zip(reasons)
        // 1: the checksum is right.
        .map(|(octets, why)| format!("127.0.0.1\t{}\t{}\t1\t1\t{why}", from.port(), octets.len() + 8))
        .collect();
    assert_eq!(lines.lines().collect::<Vec<_>>(), wanted, "{shark:?}");
}

#[test]
fn a_flood_stays_in_bounds_and_leaves_others_what_they_sent() {
    let dir = tempfile::tempdir().expect("a directory");
    let collector = collector(&["--receive-workers=1", "--receive-rejected-bytes=64KiB"]);
    let socket = |last| UdpSocket::bind((Ipv4Addr::new(127, 0, 0, last), 0)).expect("a socket");
    // Within the share of those of whom nothing was decoded: 32 KiB, 256 octets each and their own.
    let others: Vec<_> = (2..22).map(socket).collect();
    for other in &others {
        other.send_to(b"something else", collector.port).expect("loopback takes it");
    }
    wait_rejected(&collector, others.len() as u64);

    let flood = socket(99);
    for number in 0..100_000_u32 {
        // Full socket buffers are no matter here.
        let _ = flood.send_to(&number.to_le_bytes().repeat(100), collector.port);
    }
    wait_for("the flood seen", || {
        let ledger = collector.ledger();
        let came = number(&ledger, "/datagrams/received") + number(&ledger, "/datagrams/kernel_dropped");
        (came >= 100_000 + others.len() as u64).then_some(())
    });
    let file = dir.path().join("rejected.pcap");
    let (_, capture) = download(collector.http, "");
    assert!(capture.len() < 64 << 10, "{}", capture.len());
    std::fs::write(&file, &capture).expect("a file");
    let came = read(&file);
    let of = |socket: &UdpSocket| came.iter().filter(|(src, ..)| *src == socket.local_addr().expect("one")).count();
    assert_eq!(others.iter().map(of).sum::<usize>(), others.len(), "each of the others is still there");
    assert!((1..=64 * 1024 / 4 / 256).contains(&of(&flood)), "{}", of(&flood));

    let (_, text) = get(collector.http, "/metrics/prometheus", "");
    let figure = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("clarion_collector_{name} ")));
        line.and_then(|line| line.split(' ').nth(1)?.parse::<u64>().ok()).unwrap_or_else(|| panic!("{name}: {text}"))
    };
    // Some of the others may share the flood's allowance.
    assert!(figure("rejected_kept_total") >= 20 + u64::from(REJECTED_BURST) / 2);
    assert!(figure("rejected_not_kept_total") > 0);
    assert!((1..=64 << 10).contains(&figure("rejected_kept_bytes")));
}

#[test]
fn who_may_have_it() {
    let ask = |more: &[&str], headers: &str| {
        // Not all of them let their status be asked.
        let mut process = Process::start(command(more), false);
        let ready: serde_json::Value = serde_json::from_str(&process.line("\"message\":\"ready\"")).expect("JSON");
        let http: SocketAddr = ready["fields"]["http"].as_str().expect("an address").parse().expect("an address");
        let (head, body) = download(SocketAddr::from((Ipv4Addr::LOCALHOST, http.port())), headers);
        let status = head.split(' ').nth(1).expect("a status").to_owned();
        (status, String::from_utf8_lossy(&body).into_owned())
    };
    let open = ["--http-bind-host=0.0.0.0"];
    let (status, why) = ask(&open, "");
    assert!(status == "403" && why.contains("token_file") && why.contains("bind_host"), "{status}: {why}");
    let guarded = ["--http-bind-host=0.0.0.0", "--http-token=0123456789abcdef"];
    assert_eq!(ask(&guarded, "").0, "401");
    assert_eq!(ask(&guarded, "Authorization: Bearer 0123456789abcdef\r\n").0, "200");
    let (status, why) = ask(&["--receive-rejected-bytes=0"], "");
    assert!(status == "404" && why.contains("rejected_bytes"), "{status}: {why}");
    const { assert!(REJECTED_OCTETS.default > 0) };
}
