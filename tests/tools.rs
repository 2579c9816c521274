//! The tools from outside: captures written here by hand are read, decoded and replayed, and what
//! `generate` sends is received and read octet by octet.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Write as _};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clarion_collector::decode::Selection;
use clarion_collector::flow::Version;
use clarion_collector::tools::capture::{Capture, CaptureCounts, CaptureError};
use clarion_collector::tools::decode::decode_capture;
use clarion_collector::tools::generate::{self, GenerateOptions};
use clarion_collector::tools::replay::{self, ReplayOptions, Speed};
use clarion_collector::tools::synthetic::{SyntheticExporter, SyntheticOptions};

const NOW: u64 = 1_700_000_000_000_000_000;
/// Longest that any wait of these tests takes before it fails.
const DEADLINE: Duration = Duration::from_secs(20);

// ---- captures by hand ----------------------------------------------------------------------------

/// A datagram in a capture.
#[derive(Clone, Debug, PartialEq)]
struct Sent {
    src: SocketAddr,
    time_ns: u64,
    payload: Vec<u8>,
}

fn sent(src: &str, time_ns: u64, payload: &[u8]) -> Sent {
    Sent { src: src.parse().expect("an address"), time_ns, payload: payload.to_vec() }
}

/// Ethernet, IP and UDP headers before the payload; to port 2055.
fn frame(sent: &Sent) -> Vec<u8> {
    let udp_length = u16::try_from(8 + sent.payload.len()).expect("a UDP length");
    let mut frame = vec![0, 0, 0x5e, 0, 0x53, 1, 0, 0, 0x5e, 0, 0x53, 2];
    match sent.src.ip() {
        IpAddr::V4(src) => {
            frame.extend_from_slice(&[0x08, 0x00, 0x45, 0]);
            frame.extend_from_slice(&(20 + udp_length).to_be_bytes());
            frame.extend_from_slice(&[0, 0, 0x40, 0, 64, 17, 0, 0]);
            frame.extend_from_slice(&src.octets());
            frame.extend_from_slice(&[198, 51, 100, 1]);
        }
        IpAddr::V6(src) => {
            frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend_from_slice(&udp_length.to_be_bytes());
            frame.extend_from_slice(&[17, 64]);
            frame.extend_from_slice(&src.octets());
            frame.extend_from_slice(&[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        }
    }
    frame.extend_from_slice(&sent.src.port().to_be_bytes());
    frame.extend_from_slice(&2055_u16.to_be_bytes());
    frame.extend_from_slice(&udp_length.to_be_bytes());
    frame.extend_from_slice(&[0, 0]);
    frame.extend_from_slice(&sent.payload);
    frame
}

/// How a file writes its integers.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u32(self, value: u32) -> [u8; 4] {
        if self == Self::Little { value.to_le_bytes() } else { value.to_be_bytes() }
    }

    fn u16(self, value: u16) -> [u8; 2] {
        if self == Self::Little { value.to_le_bytes() } else { value.to_be_bytes() }
    }
}

fn pcap(order: Order, nanoseconds: bool, datagrams: &[Sent]) -> Vec<u8> {
    let mut file = order.u32(if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 }).to_vec();
    file.extend_from_slice(&order.u16(2));
    file.extend_from_slice(&order.u16(4));
    for word in [0, 0, 262_144, 1] {
        file.extend_from_slice(&order.u32(word));
    }
    for datagram in datagrams {
        let frame = frame(datagram);
        let length = u32::try_from(frame.len()).expect("a frame");
        let part = (datagram.time_ns % 1_000_000_000) / if nanoseconds { 1 } else { 1_000 };
        let seconds = u32::try_from(datagram.time_ns / 1_000_000_000).expect("before 2106");
        for word in [seconds, u32::try_from(part).expect("below a second"), length, length] {
            file.extend_from_slice(&order.u32(word));
        }
        file.extend_from_slice(&frame);
    }
    file
}

/// A block of pcapng: type, length, body padded to four octets, length.
fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let length = order.u32(u32::try_from(12 + padded).expect("a block"));
    let mut block = [order.u32(kind), length].concat();
    block.extend_from_slice(body);
    block.resize(8 + padded, 0);
    block.extend_from_slice(&length);
    block
}

/// A section whose interface counts nanoseconds, an hour behind the real time.
fn pcapng(order: Order, datagrams: &[Sent]) -> Vec<u8> {
    const OFFSET_S: i64 = 3_600;
    let mut section = order.u32(0x1a2b_3c4d).to_vec();
    section.extend_from_slice(&order.u16(1));
    section.extend_from_slice(&order.u16(0));
    section.extend_from_slice(&[0xff; 8]);
    let mut file = block(order, 0x0a0d_0d0a, &section);

    let mut interface = [order.u16(1), order.u16(0)].concat();
    interface.extend_from_slice(&order.u32(262_144));
    interface.extend_from_slice(&order.u16(9)); // if_tsresol
    interface.extend_from_slice(&order.u16(1));
    interface.extend_from_slice(&[9, 0, 0, 0]);
    interface.extend_from_slice(&order.u16(14)); // if_tsoffset
    interface.extend_from_slice(&order.u16(8));
    interface.extend_from_slice(&if order == Order::Little { OFFSET_S.to_le_bytes() } else { OFFSET_S.to_be_bytes() });
    interface.extend_from_slice(&[0; 4]);
    file.extend_from_slice(&block(order, 1, &interface));

    // A block that no reader knows is skipped.
    file.extend_from_slice(&block(order, 0x0bad_cafe, b"whatever it says"));
    for datagram in datagrams {
        let frame = frame(datagram);
        let stamp = datagram.time_ns - OFFSET_S.unsigned_abs() * 1_000_000_000;
        let length = u32::try_from(frame.len()).expect("a frame");
        let mut body = Vec::new();
        for word in [0, (stamp >> 32) as u32, stamp as u32, length, length] {
            body.extend_from_slice(&order.u32(word));
        }
        body.extend_from_slice(&frame);
        file.extend_from_slice(&block(order, 6, &body));
    }
    file
}

fn read_all(octets: &[u8]) -> (Vec<Sent>, Option<CaptureError>, CaptureCounts) {
    let mut capture = match Capture::from_reader("test".to_owned(), Cursor::new(octets.to_vec())) {
        Ok(capture) => capture,
        Err(error) => return (Vec::new(), Some(error), CaptureCounts::default()),
    };
    let mut found = Vec::new();
    let error = loop {
        match capture.next_datagram() {
            Ok(Some(d)) => found.push(Sent { src: d.src, time_ns: d.time_ns, payload: d.octets.to_vec() }),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    assert!(matches!(capture.next_datagram(), Ok(None)), "a capture ends once");
    let counts = capture.counts();
    (found, error, counts)
}

fn some_datagrams() -> Vec<Sent> {
    vec![
        sent("192.0.2.1:2055", NOW, b"first"),
        sent("[2001:db8::1]:4739", NOW + 1_500_000, b"second, over IPv6"),
        sent("192.0.2.1:50000", NOW + 2_000_000_000, &[7; 1_400]),
        sent("192.0.2.2:2055", NOW + 2_000_001_000, b""),
    ]
}

#[test]
fn captures_of_every_kind_are_read() {
    let expected = some_datagrams();
    for order in [Order::Little, Order::Big] {
        for (file, what) in [
            (pcap(order, false, &expected), "pcap, microseconds"),
            (pcap(order, true, &expected), "pcap, nanoseconds"),
            (pcapng(order, &expected), "pcapng"),
        ] {
            let (found, error, counts) = read_all(&file);
            assert!(error.is_none(), "{what} {order:?}: {error:?}");
            assert_eq!(found, expected, "{what} {order:?}");
            assert_eq!((counts.frames, counts.datagrams), (4, 4), "{what} {order:?}");
        }
    }
}

#[test]
fn a_capture_cut_anywhere_gives_what_is_whole() {
    let expected = some_datagrams();
    for file in
        [pcap(Order::Little, false, &expected), pcap(Order::Big, true, &expected), pcapng(Order::Little, &expected)]
    {
        let mut whole_before = 0;
        for end in 0..file.len() {
            let (found, error, _) = read_all(&file[..end]);
            assert_eq!(found, expected[..found.len()], "cut at {end}");
            assert!(found.len() >= whole_before, "cut at {end} lost a datagram");
            whole_before = found.len();
            if let Some(error) = error {
                assert!(error.to_string().starts_with("test: "), "{error}");
            }
        }
        assert_eq!(whole_before, expected.len() - 1, "only the last one was never whole");
    }
}

#[test]
fn damaged_captures_say_where() {
    let expected = some_datagrams();
    let mut file = pcap(Order::Little, false, &expected);
    // The second frame says that it has 4 GiB.
    let second = 24 + 16 + frame(&expected[0]).len();
    file[second + 8..second + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    let (found, error, _) = read_all(&file);
    assert_eq!(found, expected[..1], "before the damage");
    assert!(matches!(error, Some(CaptureError::Damaged { octet, .. }) if octet == second as u64), "{error:?}");

    // Each octet of a file turned over: whatever it means then, nothing panics.
    for file in [pcap(Order::Little, false, &expected[..2]), pcapng(Order::Big, &expected[..2])] {
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 0xff;
            let (found, ..) = read_all(&damaged);
            assert!(found.len() <= 2);
        }
    }
}

// ---- replay --------------------------------------------------------------------------------------

/// A loopback socket that waits for a datagram until the deadline.
fn receiver() -> (UdpSocket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).expect("a socket");
    // As much as an unprivileged process gets: a burst must not be lost here.
    let _ = socket.set_recv_buffer_size(4 << 20);
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}

fn write_capture(directory: &tempfile::TempDir, name: &str, octets: &[u8]) -> PathBuf {
    let path = directory.path().join(name);
    std::fs::File::create(&path).and_then(|mut f| f.write_all(octets)).expect("a file");
    path
}

#[test]
fn replay_sends_equal_payloads_in_order_from_sources_that_stay_apart() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut datagrams = Vec::new();
    for i in 0..200_u32 {
        let src = ["192.0.2.1:2055", "192.0.2.1:2056", "[2001:db8::1]:2055", "10.0.2.1:80"][i as usize % 4];
        datagrams.push(sent(src, NOW + u64::from(i) * 1_000, format!("datagram {i}").as_bytes()));
    }
    let paths = [
        write_capture(&directory, "a.pcap", &pcap(Order::Little, false, &datagrams[..120])),
        write_capture(&directory, "b.pcapng", &pcapng(Order::Big, &datagrams[120..])),
    ];
    let (socket, to) = receiver();
    let options = ReplayOptions {
        speed: Speed::Rate(20_000),
        per_exporter_source: true,
        rounds: Some(2),
        ..ReplayOptions::default()
    };
    let thread = std::thread::spawn(move || replay::send(&paths, to, &options));

    let mut seen = BTreeMap::<SocketAddr, SocketAddr>::new();
    let mut buffer = [0; 2_048];
    for round in 0..2 {
        for datagram in &datagrams {
            let (length, from) = socket.recv_from(&mut buffer).expect("a datagram before the deadline");
            assert_eq!(buffer[..length], datagram.payload, "round {round}");
            assert_eq!(*seen.entry(datagram.src).or_insert(from), from, "a source keeps its address and port");
        }
    }
    let report = thread.join().expect("no panic").expect("a replay");
    assert_eq!(report.datagrams, 400);
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_eq!(seen, report.sources, "the report says where each source was sent from");
    let of = |original: &str| seen[&original.parse::<SocketAddr>().expect("an address")];
    assert_eq!(of("192.0.2.1:2055").ip(), of("192.0.2.1:2056").ip(), "one exporter, one address");
    assert_ne!(of("192.0.2.1:2055").port(), of("192.0.2.1:2056").port(), "two sessions, two ports");
    let addresses: BTreeSet<IpAddr> = seen.values().map(SocketAddr::ip).collect();
    assert_eq!(addresses.len(), 3, "three exporters, three addresses: {addresses:?}");
    assert!(addresses.iter().all(IpAddr::is_loopback));
}

#[test]
fn replay_keeps_the_timing_it_is_asked_for_and_stops() {
    let directory = tempfile::tempdir().expect("a directory");
    let (socket, to) = receiver();
    let datagrams = [sent("192.0.2.1:2055", NOW, b"now"), sent("192.0.2.1:2055", NOW + 2_000_000_000, b"2 s later")];
    let path = write_capture(&directory, "slow.pcap", &pcap(Order::Little, false, &datagrams));
    let options = ReplayOptions { speed: Speed::Timing(10.0), ..ReplayOptions::default() };
    let begun = Instant::now();
    replay::send(std::slice::from_ref(&path), to, &options).expect("a replay");
    assert!(begun.elapsed() >= Duration::from_millis(200), "2 s at ten times the speed take at least 0.2 s");

    // Without an end, only the flag ends it.
    let options = ReplayOptions { speed: Speed::Timing(1.0), rounds: None, ..ReplayOptions::default() };
    let stop = Arc::clone(&options.stop);
    let thread = std::thread::spawn(move || replay::send(&[path], to, &options));
    let mut buffer = [0; 64];
    for _ in 0..3 {
        socket.recv(&mut buffer).expect("a datagram before the deadline");
    }
    stop.store(true, Ordering::Release);
    assert!(thread.join().expect("no panic").is_ok());
}

#[test]
fn replay_sends_what_is_whole_of_a_damaged_capture() {
    let directory = tempfile::tempdir().expect("a directory");
    let (socket, to) = receiver();
    let file = pcap(Order::Little, false, &some_datagrams());
    let path = write_capture(&directory, "cut.pcap", &file[..file.len() - 1]);
    let report = replay::send(&[path], to, &ReplayOptions::default()).expect("a replay");
    assert_eq!(report.datagrams, 3);
    assert!(report.problems.iter().any(|p| p.contains("cut.pcap")), "{:?}", report.problems);
    let mut buffer = [0; 2_048];
    for _ in 0..3 {
        socket.recv(&mut buffer).expect("a datagram before the deadline");
    }
    let missing = replay::send(&[directory.path().join("none.pcap")], to, &ReplayOptions::default());
    assert!(missing.expect_err("no such file").to_string().contains("none.pcap"));
}

// ---- generate ------------------------------------------------------------------------------------

fn word(octets: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([octets[at], octets[at + 1]])
}

fn long(octets: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
}

#[test]
fn generate_sends_as_many_as_asked_and_numbers_them() {
    const RECORDS: u64 = 5_000;
    let (socket, to) = receiver();
    let options = GenerateOptions {
        exporters: 3,
        versions: vec![Version::V5],
        records: Some(RECORDS),
        ..GenerateOptions::new(to, 100_000)
    };
    let progress = Arc::clone(&options.progress);
    let thread = std::thread::spawn(move || generate::run_with(options, Arc::new(AtomicBool::new(false))));
    // By source: datagrams and the number of the last record.
    let mut by_source = BTreeMap::<SocketAddr, (u64, u64)>::new();
    let mut buffer = [0; 2_048];
    let mut received = 0;
    while received < RECORDS {
        let (length, from) = socket.recv_from(&mut buffer).expect("a datagram before the deadline");
        let datagram = &buffer[..length];
        let (datagrams, serial) = by_source.entry(from).or_default();
        assert_eq!(word(datagram, 0), 5);
        assert_eq!(length, 24 + 48 * usize::from(word(datagram, 2)));
        assert_eq!(u64::from(long(datagram, 16)), *serial, "flow_sequence counts the flows before");
        for record in datagram[24..].chunks(48) {
            *serial += 1;
            received += 1;
            assert_eq!(u64::from(long(record, 20)), *serial, "each record has the next number");
            assert!(long(record, 16) >= 1, "packets");
        }
        *datagrams += 1;
    }
    let report = thread.join().expect("no panic").expect("a report");
    assert_eq!((report.records, received), (RECORDS, RECORDS));
    assert_eq!(progress.records.load(Ordering::Relaxed), RECORDS);
    assert_eq!(report.exporters, 3);
    assert_eq!(report.versions["v5"].records, RECORDS);
    let sources: BTreeSet<IpAddr> = by_source.keys().map(SocketAddr::ip).collect();
    assert_eq!(sources.len(), 3, "each exporter has an address of its own");
    assert!(sources.iter().all(|ip| ip.to_string().starts_with("127.1.")));
    for exporter in &report.by_exporter {
        assert_eq!(by_source[&exporter.source], (exporter.datagrams, exporter.records));
    }
}

#[test]
fn generate_ends_on_request_and_mixes_versions() {
    let (socket, to) = receiver();
    let stop = Arc::new(AtomicBool::new(false));
    let options = GenerateOptions { exporters: 6, first_exporter: 300, ..GenerateOptions::new(to, 3_000) };
    let flag = Arc::clone(&stop);
    let thread = std::thread::spawn(move || generate::run_with(options, flag));
    let mut versions = BTreeMap::<SocketAddr, u16>::new();
    let mut buffer = [0; 2_048];
    while versions.len() < 6 {
        let (_, from) = socket.recv_from(&mut buffer).expect("a datagram before the deadline");
        versions.insert(from, word(&buffer, 0));
    }
    stop.store(true, Ordering::Release);
    let report = thread.join().expect("no panic").expect("a report");
    let mut found: Vec<u16> = versions.values().copied().collect();
    found.sort_unstable();
    assert_eq!(found, [5, 5, 9, 9, 10, 10]);
    assert_eq!(report.versions.values().map(|v| v.records).sum::<u64>(), report.records);
    assert_eq!(versions.keys().next().expect("a source").ip().to_string(), "127.1.1.47");
}

// ---- decode --------------------------------------------------------------------------------------

/// Three exporters of 500 records each; IPFIX begins with data before its template.
fn synthetic_capture() -> Vec<Sent> {
    let mut datagrams = Vec::new();
    let exporters =
        [(Version::V5, "192.0.2.5:2055"), (Version::V9, "192.0.2.9:2055"), (Version::Ipfix, "192.0.2.10:4739")];
    for (version, src) in exporters {
        let mut exporter = SyntheticExporter::new(SyntheticOptions::new(version, 1));
        let first = sent(src, NOW, exporter.next_datagram(NOW, 10).octets);
        let mut time_ns = NOW;
        let mut own = Vec::new();
        while exporter.serial() < 500 {
            time_ns += 1_000_000;
            let left = usize::try_from(500 - exporter.serial()).expect("at most 500");
            own.push(sent(src, time_ns, exporter.next_datagram(time_ns, left.min(12)).octets));
        }
        own.insert(usize::from(version == Version::Ipfix), first);
        datagrams.extend(own);
    }
    datagrams
}

#[test]
fn decode_gives_every_record_of_a_synthetic_capture() {
    let file = pcap(Order::Little, true, &synthetic_capture());
    let mut capture = Capture::from_reader("synthetic".to_owned(), Cursor::new(file)).expect("a capture");
    let mut serials = BTreeMap::<Version, Vec<u64>>::new();
    let summary = decode_capture(&mut capture, Selection::CORE, |batch| {
        for record in &batch.records {
            assert!(record.src_ip().is_some() && record.dst_ip().is_some() && record.packets >= 1);
            assert!(record.start_ms <= record.end_ms && record.end_ms <= NOW / 1_000_000 + 1_000);
            serials.entry(record.version).or_default().push(record.bytes);
        }
        Ok(())
    })
    .expect("nothing that could fail");
    assert_eq!(serials.len(), 3);
    for (version, mut serials) in serials {
        serials.sort_unstable();
        assert!(serials.iter().copied().eq(1..=500), "{version:?}: {} records", serials.len());
    }
    assert_eq!(summary.records(), 1_500);
    assert_eq!(summary.problems(), Vec::<String>::new());
    assert_eq!(summary.exporters.len(), 3);
    let ipfix = &summary.exporters[&IpAddr::from([192, 0, 2, 10])].domains[&(Version::Ipfix, 1)];
    assert_eq!((ipfix.records, ipfix.options_records), (500, 1));
    assert_eq!(ipfix.templates.values().sum::<u64>(), 500);
    assert!(ipfix.templates[&257] > 0, "IPv6 flows have their own template");
}

#[test]
fn decode_of_noise_counts_and_goes_on() {
    let mut datagrams = synthetic_capture();
    let noise: [&[u8]; 6] = [b"", b"\0", b"\0\x05", b"\0\x09\0\x01", &[0xff; 64], b"hello"];
    let kept = datagrams.len();
    for (i, payload) in noise.iter().enumerate() {
        datagrams.insert(i * 7, sent("198.51.100.66:1234", NOW, payload));
    }
    let file = pcap(Order::Big, false, &datagrams);
    let mut capture = Capture::from_reader("noise".to_owned(), Cursor::new(file)).expect("a capture");
    let mut records = 0;
    let summary = decode_capture(&mut capture, Selection::WIRE, |batch| {
        records += batch.records.len() as u64;
        Ok(())
    })
    .expect("nothing that could fail");
    assert_eq!((records, summary.records()), (1_500, 1_500));
    assert_eq!(summary.capture.datagrams, (kept + noise.len()) as u64);
    let bad = &summary.exporters[&IpAddr::from([198, 51, 100, 66])];
    assert_eq!(bad.rejected.iter().sum::<u64>(), noise.len() as u64);
    assert!(summary.problems().iter().any(|p| p.contains("rejected")), "{:?}", summary.problems());
}

/// Each capture of the corpus: `decode --summary --json` parses, and every template has names or says `pen/id`.
#[test]
fn decode_summary_json_tells_templates_of_the_corpus_by_name() {
    let Some(corpus) = common::corpus() else { return };
    let (mut captures, mut templates, mut fields, mut unknown) = (0, 0, 0, 0);
    let files = std::fs::read_dir(&corpus).expect("the corpus").map(|entry| entry.expect("an entry").path());
    for path in files.filter(|path| path.extension().is_some_and(|end| end == "pcap")) {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_clarion-collector"))
            .args(["decode", "--summary", "--json"])
            .arg(&path)
            .output()
            .expect("the program runs");
        let summary: serde_json::Value = serde_json::from_slice(&out.stdout)
            .unwrap_or_else(|error| panic!("{}: {error}: {}", path.display(), String::from_utf8_lossy(&out.stderr)));
        let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
        for exporter in list(&summary["exporters"]) {
            let shown = list(&exporter["templates"]["shown"]);
            let counted: u64 = list(&exporter["domains"])
                .iter()
                .map(|d| {
                    d["templates"].as_u64().expect("a number") + d["options_templates"].as_u64().expect("a number")
                })
                .sum();
            assert_eq!(shown.len() as u64, counted, "{}: all templates of all domains", path.display());
            for field in shown.iter().flat_map(|template| list(&template["fields"])) {
                let name = field["name"].as_str().expect("a name");
                let numbers = format!("{}/{}", field["pen"], field["id"]);
                assert!(!name.is_empty(), "{}: {numbers}", path.display());
                fields += 1;
                unknown += usize::from(name == numbers);
            }
            templates += shown.len();
        }
        captures += 1;
    }
    assert!(captures > 0 && templates > captures, "{captures} captures, {templates} templates");
    assert!(unknown * 5 < fields, "{unknown} of {fields} fields have no name");
}
