//! softflowd, a real exporter: what it reads from a capture whose flows are known must be at the backend.

#[path = "process/child.rs"]
mod child;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use child::{Backend, Collector, anywhere, last_words, number};
use serde_json::Value;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP6: u8 = 58;
/// Echo request, by protocol.
const ECHO: u8 = 8;
const ECHO6: u8 = 128;

/// Addresses, ports and protocol, as the backend gets them.
type Key = (IpAddr, IpAddr, u16, u16, u8);

/// What a flow is measured by; times are Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Measured {
    bytes: u64,
    packets: u64,
    start: u64,
    end: u64,
}

/// Two ends that talk: packets with so many octets of payload, from the first end and back.
struct Talk {
    key: Key,
    there: Vec<usize>,
    back: Vec<usize>,
    start: u64,
    end: u64,
}

/// A few hundred conversations within the minute before `now`; counts, lengths and times differ.
fn talks(now: u64) -> Vec<Talk> {
    let address = |v6: bool, net: u8, host: u16| -> IpAddr {
        let text = if v6 {
            format!("2001:db8:{net}::{host:x}")
        } else {
            format!("198.{}.{}.{}", 18 + net, host >> 8, host & 0xff)
        };
        text.parse().expect("an address")
    };
    let mut talks = Vec::new();
    for (protocol, v6, count) in
        [(UDP, false, 120), (TCP, false, 100), (ICMP, false, 40), (UDP, true, 60), (TCP, true, 60), (ICMP6, true, 20)]
    {
        for i in 0..count {
            let host = u16::from(protocol) * 1_000 + i;
            let i = usize::from(i);
            let is_icmp = protocol == ICMP || protocol == ICMP6;
            let ports = if is_icmp { (0, 0) } else { (1_024 + host, [53, 80, 443, 65_535][i % 4]) };
            let start = now - 60 + i as u64 % 30;
            let there: Vec<usize> = (0..1 + i % 4).map(|n| 11 * n + i).collect();
            // Every third is not answered.
            let back: Vec<usize> = if is_icmp { Vec::new() } else { (0..i % 3).map(|n| 300 * n + i).collect() };
            let alone = there.len() + back.len() == 1;
            let end = if alone { start } else { start + i as u64 % 23 };
            let key = (address(v6, 0, host), address(v6, 1, host + 1), ports.0, ports.1, protocol);
            talks.push(Talk { key, there, back, start, end });
        }
    }
    talks
}

/// What should be at the backend. softflowd gives both directions of a conversation the same times.
fn expected(talks: &[Talk], version: u8) -> BTreeMap<Key, Measured> {
    let mut flows = BTreeMap::new();
    for talk in talks.iter().filter(|talk| version != 5 || talk.key.0.is_ipv4()) {
        let (src, dst, src_port, mut dst_port, protocol) = talk.key;
        if protocol == ICMP && version == 5 {
            // Type and code, the way of this version.
            dst_port = u16::from(ECHO) << 8;
        }
        let mut add = |key, lengths: &[usize]| {
            let bytes = lengths.iter().map(|length| packet(talk.key, false, *length).len() as u64 - 14).sum();
            let measured = Measured { bytes, packets: lengths.len() as u64, start: talk.start, end: talk.end };
            assert!(lengths.is_empty() || flows.insert(key, measured).is_none(), "{key:?} twice");
        };
        add((src, dst, src_port, dst_port, protocol), &talk.there);
        add((dst, src, dst_port, src_port, protocol), &talk.back);
    }
    flows
}

/// An Ethernet frame; softflowd does not look at checksums.
fn packet((src, dst, src_port, dst_port, protocol): Key, back: bool, payload: usize) -> Vec<u8> {
    let (src, dst, src_port, dst_port) =
        if back { (dst, src, dst_port, src_port) } else { (src, dst, src_port, dst_port) };
    let mut transport = Vec::new();
    match protocol {
        TCP => {
            transport.extend([src_port.to_be_bytes(), dst_port.to_be_bytes()].concat());
            // Sequence and acknowledgement, header of 5 words, ACK, window, checksum, urgent pointer.
            transport.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 4, 0, 0, 0, 0, 0]);
        }
        UDP => {
            let length = u16::try_from(8 + payload).expect("a short payload");
            transport.extend([src_port, dst_port, length, 0].map(u16::to_be_bytes).concat());
        }
        _ => transport.extend([if protocol == ICMP { ECHO } else { ECHO6 }, 0, 0, 0, 0, 1, 0, 1]),
    }
    transport.resize(transport.len() + payload, 0x61);
    let length = u16::try_from(transport.len()).expect("a short packet");
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let [high, low] = (20 + length).to_be_bytes();
            frame.extend([8, 0, 0x45, 0, high, low, 0, 1, 0, 0, 64, protocol, 0, 0]);
            frame.extend([src.octets(), dst.octets()].concat());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let [high, low] = length.to_be_bytes();
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, high, low, protocol, 64]);
            frame.extend([src.octets(), dst.octets()].concat());
        }
        _ => unreachable!("both ends have one family"),
    }
    frame.extend(transport);
    frame
}

/// The capture, in the order of time. All packets come in the middle of a second, so that a millisecond
/// of rounding does not make another second.
fn write_capture(path: &Path, talks: &[Talk]) {
    let mut packets: Vec<(u64, Vec<u8>)> = Vec::new();
    for talk in talks {
        let (there, back) = (talk.there.iter().map(|n| (false, *n)), talk.back.iter().map(|n| (true, *n)));
        let all: Vec<_> = there.chain(back).collect();
        for (i, (back, payload)) in all.iter().enumerate() {
            let time = if i == 0 { talk.start } else { talk.end };
            packets.push((time, packet(talk.key, *back, *payload)));
        }
    }
    packets.sort_by_key(|(time, _)| *time);
    let mut file = Vec::new();
    // Magic, version 2.4, zone, accuracy, longest packet, Ethernet.
    for word in [0xa1b2_c3d4_u32, 4 << 16 | 2, 0, 0, 65_535, 1] {
        file.extend(word.to_le_bytes());
    }
    for (time, octets) in packets {
        let length = u32::try_from(octets.len()).expect("a short packet");
        for word in [u32::try_from(time).expect("before 2106"), 500_000, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(octets);
    }
    std::fs::write(path, file).expect("the capture can be written");
}

fn softflowd() -> Option<PathBuf> {
    let found = ["/usr/sbin/softflowd", "/usr/local/sbin/softflowd", "/usr/bin/softflowd"].map(PathBuf::from);
    let found = found.into_iter().find(|path| path.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: no softflowd (Debian package softflowd)");
    }
    found
}

fn at_backend(out: &Path) -> BTreeMap<Key, Measured> {
    let mut flows = BTreeMap::new();
    for line in std::fs::read_to_string(out).expect("the backend's file").lines() {
        let record: Value = serde_json::from_str(line).expect("JSON");
        let address = |key: &str| record[key].as_str().and_then(|a| a.parse().ok()).expect("an address");
        let small = |key: &str| u16::try_from(number(&record, key)).expect("16 bits");
        let protocol = u8::try_from(number(&record, "/protocol")).expect("8 bits");
        let key = (address("src_ip"), address("dst_ip"), small("/src_port"), small("/dst_port"), protocol);
        let of = |key| number(&record, key);
        let (bytes, packets) = (of("/bytes"), of("/packets"));
        let measured = Measured { bytes, packets, start: of("/flow_start"), end: of("/flow_end") };
        assert!(flows.insert(key, measured).is_none(), "{key:?} twice");
    }
    flows
}

fn exported_by_softflowd(version: u8) {
    let Some(softflowd) = softflowd() else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (capture, out) = (dir.path().join("capture.pcap"), dir.path().join("out"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let talks = talks(now);
    write_capture(&capture, &talks);
    let expected = expected(&talks, version);

    let backend = Backend::start(anywhere(), &out, &[]);
    let mut collector = Collector::delivering(backend.address, &[]);
    let mut command = Command::new(softflowd);
    command.arg("-r").arg(&capture).arg("-n").arg(collector.port.to_string()).args(["-v", &version.to_string()]);
    let ended = command.arg("-p").arg(dir.path().join("pid")).args(["-c", "none"]).output().expect("softflowd starts");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    // All that it sent is in the socket: the drain reads that empty.
    collector.process.signal(&["TERM"]);
    assert_eq!(collector.process.wait(Duration::from_secs(30)).code(), Some(0), "{}", collector.process.log());
    let words = last_words(&collector.process.log());
    assert_eq!(number(&words, "/delivered"), expected.len() as u64, "{words}");

    let mut seen = at_backend(&out);
    for (key, expected) in &expected {
        let seen = seen.remove(key).unwrap_or_else(|| panic!("{key:?} is missing"));
        // The header of version 9 has whole seconds, so that all its times may be up to one second early.
        let early = if version == 9 && seen.start + 1 == expected.start { 1 } else { 0 };
        let seen = Measured { start: seen.start + early, end: seen.end + early, ..seen };
        assert_eq!(seen, *expected, "{key:?}");
    }
    assert!(seen.is_empty(), "never in the capture: {seen:?}");
}

#[test]
fn version_5() {
    exported_by_softflowd(5);
}

#[test]
fn version_9() {
    exported_by_softflowd(9);
}

#[test]
fn ipfix() {
    exported_by_softflowd(10);
}
