//! Captures of every kind, written by hand or by other tools: each datagram comes out once, at its place, and
//! what cannot come out is counted and said.

#[path = "common/frames.rs"]
mod frames;

use std::io::{Cursor, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use clarion_collector::tools::capture::{Capture, CaptureCounts};
use frames::{Blocks, LINKS, ORDERS, Order, Sent, frame, pattern, pcap, sent, tagged};
use proptest::prelude::*;

const NOW: u64 = 1_700_000_000_000_000_000;
const SECOND: u64 = 1_000_000_000;

/// A datagram that came out.
#[derive(Debug, Clone, PartialEq)]
struct Out {
    time_ns: u64,
    src: SocketAddr,
    dst: SocketAddr,
    payload: Vec<u8>,
}

fn out(time_ns: u64, sent: &Sent) -> Out {
    Out { time_ns, src: sent.src, dst: sent.dst, payload: sent.payload.clone() }
}

fn v4(id: u32, octets: usize) -> Sent {
    sent("192.0.2.1:2055", "198.51.100.1:9995", id, &pattern(octets))
}

fn v6(id: u32, octets: usize) -> Sent {
    sent("[2001:db8::1]:4739", "[2001:db8::9]:4739", id, &pattern(octets))
}

fn read(file: Vec<u8>) -> (Vec<Out>, Option<String>, CaptureCounts) {
    let mut capture = match Capture::from_reader("test".to_owned(), Cursor::new(file)) {
        Ok(capture) => capture,
        Err(error) => return (Vec::new(), Some(error.to_string()), CaptureCounts::default()),
    };
    read_on(&mut capture)
}

fn read_on(capture: &mut Capture) -> (Vec<Out>, Option<String>, CaptureCounts) {
    let mut found = Vec::new();
    let error = loop {
        match capture.next_datagram() {
            Ok(Some(d)) => {
                found.push(Out { time_ns: d.time_ns, src: d.src, dst: d.dst, payload: d.octets.to_vec() });
            }
            Ok(None) => break None,
            Err(error) => break Some(error.to_string()),
        }
    };
    assert!(matches!(capture.next_datagram(), Ok(None)), "a capture ends once");
    let counts = capture.counts();
    let c = counts;
    assert_eq!(
        c.frames,
        c.datagrams - c.joined + c.fragments + c.cut_off + c.other + c.malformed + c.unknown_link,
        "every frame is in one count: {c:?}"
    );
    (found, error, counts)
}

/// Frames a microsecond apart.
fn timed(frames: impl IntoIterator<Item = Vec<u8>>) -> Vec<(u64, Vec<u8>)> {
    (0..).zip(frames).map(|(at, frame)| (NOW + at * 1_000, frame)).collect()
}

#[test]
fn every_link_type_in_every_kind_of_pcap() {
    for link in LINKS {
        let datagrams: Vec<Sent> = match link {
            228 => vec![v4(1, 100)],
            229 => vec![v6(1, 100)],
            _ => vec![v4(1, 100), v6(2, 200)],
        };
        let frames = timed(datagrams.iter().map(|d| frame(link, &d.ip())));
        let expected: Vec<Out> = frames.iter().zip(&datagrams).map(|((t, _), d)| out(*t, d)).collect();
        for order in ORDERS {
            for nanoseconds in [false, true] {
                let (found, error, counts) = read(pcap(order, nanoseconds, link, &frames));
                assert_eq!((found, error), (expected.clone(), None), "link {link}, {order:?}, ns {nanoseconds}");
                assert_eq!(counts.datagrams, counts.frames);
            }
        }
    }
    let (_, _, counts) = read(pcap(Order::Little, false, 105, &timed([frame(1, &v4(1, 9).ip())])));
    assert_eq!((counts.unknown_link, counts.left_out().len()), (1, 1));
}

#[test]
fn vlan_tags_of_every_type_and_depth() {
    for types in [&[0x8100_u16][..], &[0x88a8, 0x8100], &[0x9100, 0x8100, 0x8100], &[0x8100; 6]] {
        for datagram in [v4(1, 60), v6(1, 60)] {
            let (found, ..) = read(pcap(Order::Little, false, 1, &timed([tagged(types, &datagram.ip())])));
            assert_eq!(found, [out(NOW, &datagram)], "{types:x?}");
        }
    }
}

#[test]
fn fragments_cut_anywhere_are_joined_at_the_one_that_completes_them() {
    for whole in [v4(7, 250), v6(70_000, 250)] {
        for cut in (8..258).step_by(8) {
            for turned in [false, true] {
                let mut parts = whole.fragments(&[cut]);
                if turned {
                    parts.reverse();
                }
                let other = v4(8, 20);
                let frames =
                    timed([parts[0].clone(), other.ip(), parts[1].clone(), other.ip()].map(|p| frame(113, &p)));
                let (found, error, counts) = read(pcap(Order::Big, true, 113, &frames));
                let expected = [out(NOW + 1_000, &other), out(NOW + 2_000, &whole), out(NOW + 3_000, &other)];
                assert_eq!((&found[..], error), (&expected[..], None), "cut behind {cut}, turned: {turned}");
                assert_eq!((counts.joined, counts.fragments, counts.left_out().len()), (1, 2, 0));
            }
        }
    }
}

#[test]
fn the_largest_datagram_in_the_smallest_fragments() {
    let whole = v4(1, 65_480);
    let cuts: Vec<usize> = (8..65_488).step_by(8).collect();
    let mut parts = whole.fragments(&cuts);
    let last = parts.len() - 1;
    parts.swap(0, last);
    let (found, _, counts) = read(pcap(Order::Little, false, 101, &timed(parts)));
    assert_eq!(found.len(), 1);
    assert!(found[0].payload == whole.payload);
    assert_eq!(counts.fragments, 8_186);
}

#[test]
fn what_stays_incomplete_is_counted_by_its_kind() {
    let (lost, overlapping, old, lying) = (v4(1, 100), v6(2, 100), v4(3, 100), v4(4, 100));
    let overlap = overlapping.fragments(&[48]);
    let mut short = lying.udp();
    short[4..6].copy_from_slice(&2_000_u16.to_be_bytes());
    let whole = v6(9, 30);
    let frames = [
        (NOW, lost.fragments(&[48]).remove(1)),
        (NOW, overlap[0].clone()),
        (NOW, overlapping.fragment(40, true, &[0; 16])),
        (NOW, overlap[1].clone()),
        (NOW, old.fragments(&[16]).remove(0)),
        (NOW, lying.fragment(0, true, &short[..64])),
        (NOW, lying.fragment(64, false, &short[64..])),
        (NOW + 31 * SECOND, old.fragments(&[16]).remove(1)),
        (NOW + 31 * SECOND, whole.ip()),
    ];
    let (found, error, counts) = read(pcap(Order::Little, false, 101, &frames));
    assert_eq!((found, error), (vec![out(NOW + 31 * SECOND, &whole)], None));
    assert_eq!((counts.fragments, counts.joined), (8, 0));
    // Of `old` both halves: each waited in vain for the other.
    assert_eq!((counts.incomplete, counts.contradictory, counts.joined_malformed), (3, 1, 1));
    let said: Vec<String> = counts.left_out().iter().map(|(n, what)| format!("{n} {what}")).collect();
    assert_eq!(said.len(), 3, "{said:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Datagrams of several exporters, each cut anywhere; frames in any order, some twice.
    #[test]
    fn shuffled_fragments_come_out_once_each(
        sizes in prop::collection::vec((0_usize..2_000, prop::collection::btree_set(1_usize..240, 0..5)), 1..8),
        keys in prop::collection::vec(any::<u32>(), 64),
        twice in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let datagrams: Vec<Sent> = sizes.iter().enumerate()
            .map(|(id, (octets, _))| if id % 2 == 0 { v4(id as u32, *octets) } else { v6(id as u32, *octets) })
            .collect();
        let mut parts: Vec<Vec<u8>> = Vec::new();
        for (datagram, (octets, cuts)) in datagrams.iter().zip(&sizes) {
            let cuts: Vec<usize> = cuts.iter().map(|n| n * 8).filter(|n| *n < octets + 8).collect();
            let fragments = datagram.fragments(&cuts);
            if fragments.len() > 1 {
                for again in &twice {
                    parts.push(fragments[again.index(fragments.len())].clone());
                }
                parts.extend(fragments);
            } else {
                parts.push(datagram.ip());
            }
        }
        let mut order: Vec<usize> = (0..parts.len()).collect();
        order.sort_by_key(|at| (keys[at % keys.len()].wrapping_mul(*at as u32 + 1), *at));
        let frames = timed(order.iter().map(|at| frame(1, &parts[*at])));
        let (found, error, counts) = read(pcap(Order::Little, false, 1, &frames));
        prop_assert_eq!(error, None);
        prop_assert!(counts.left_out().is_empty(), "{:?}", counts);
        let mut payloads: Vec<(SocketAddr, Vec<u8>)> = found.into_iter().map(|d| (d.src, d.payload)).collect();
        let mut expected: Vec<(SocketAddr, Vec<u8>)> =
            datagrams.into_iter().map(|d| (d.src, d.payload)).collect();
        payloads.sort();
        expected.sort();
        prop_assert_eq!(payloads, expected);
    }
}

/// Two sections of different byte order, interfaces of different links and clocks, all three kinds of frames.
fn manifold(first: Order) -> (Vec<u8>, Vec<Out>) {
    let second = if first == Order::Little { Order::Big } else { Order::Little };
    let (a, b, c) = (v4(1, 33), v6(2, 34), v4(3, 35));
    let mut expected = Vec::new();
    let mut blocks = Blocks::new(first);
    for order in [first, second] {
        if order == second {
            blocks.section(order);
        }
        blocks.interface(1, 0, 6, 0);
        blocks.interface(113, 0, 9, -3_600);
        blocks.interface(101, 0, 0x8a, 7_200);
        blocks.block(4, &[0xff; 24]);
        blocks.enhanced(0, NOW / 1_000, &frame(1, &a.ip()));
        blocks.obsolete(1, NOW + 3_600 * SECOND + 5, &frame(113, &b.ip()));
        blocks.enhanced(2, (NOW / SECOND - 7_200) * 1_024 + 512, &c.ip());
        blocks.simple(frame(1, &b.ip()).len(), &frame(1, &b.ip()));
        blocks.block(0x0bad_cafe, b"whatever it says");
        expected.extend([out(NOW, &a), out(NOW + 5, &b), out(NOW + SECOND / 2, &c), out(0, &b)]);
    }
    (blocks.file, expected)
}

#[test]
fn sections_interfaces_and_all_blocks_of_pcapng() {
    for first in ORDERS {
        let (file, expected) = manifold(first);
        let (found, error, counts) = read(file);
        assert_eq!((found, error), (expected, None), "{first:?} first");
        assert_eq!((counts.frames, counts.datagrams), (8, 8));
    }
}

#[test]
fn a_snap_length_and_blocks_that_lie_cost_their_frame_only() {
    for order in ORDERS {
        let whole = v4(1, 99);
        let kept = whole.ip().len() - 2;
        let mut blocks = Blocks::new(order);
        blocks.interface(101, u32::try_from(kept).unwrap(), 9, 0);
        // Padding stands where the cut octets were: it is not taken for them.
        blocks.simple(kept + 2, &whole.ip()[..kept]);
        // An interface that cannot be read keeps its number, and its frames are not guessed at.
        blocks.block(1, &[0; 4]);
        blocks.enhanced(1, NOW, &whole.ip());
        blocks.interface(101, 0, 9, 0);
        // A frame that is longer than its block, an obsolete block without room for its head.
        let lying: Vec<u8> = [2, 0, 0, u32::MAX - 9, 9].iter().flat_map(|w| order.u32(*w)).collect();
        blocks.block(6, &[lying, whole.ip()].concat());
        blocks.block(2, &[0; 8]);
        blocks.enhanced(9, NOW, &whole.ip());
        blocks.enhanced(2, NOW, &whole.ip());
        let (found, error, counts) = read(blocks.file);
        assert_eq!((found, error), (vec![out(NOW, &whole)], None), "{order:?}");
        assert_eq!((counts.frames, counts.cut_off, counts.malformed, counts.unknown_link), (6, 1, 3, 1));
    }
}

fn gzip(octets: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(octets).unwrap();
    packer.finish().unwrap()
}

#[test]
fn a_21_cut_anywhere_it_gives_what_is_whole_and_never_panics() {
    let parts = v6(5, 80).fragments(&[24, 48]);
    let frames = timed([v4(1, 20).ip(), parts[2].clone(), parts[0].clone(), parts[1].clone(), v4(2, 9).ip()]);
    for file in [pcap(Order::Big, true, 101, &frames), manifold(Order::Little).0, manifold(Order::Big).0] {
        let (all, ..) = read(file.clone());
        let mut before = 0;
        for end in 0..=file.len() {
            let (found, error, _) = read(file[..end].to_vec());
            assert!(found.len() >= before && found == all[..found.len()], "cut at {end}");
            before = found.len();
            assert!(error.is_none_or(|e| e.starts_with("test: ")));
        }
        assert_eq!(before, all.len());
        for at in 0..file.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut damaged = file.clone();
                damaged[at] ^= change;
                read(damaged);
            }
        }
        for packed in [gzip(&file), zstd::encode_all(&file[..], 1).unwrap()] {
            assert_eq!(read(packed.clone()).0, all);
            for end in 0..packed.len() {
                let (found, error, _) = read(packed[..end].to_vec());
                assert!(found == all[..found.len()] && error.is_some(), "packed, cut at {end}");
            }
        }
    }
}

fn run(args: &[&str], input: Option<&[u8]>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clarion-collector"));
    command.env_clear().args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn().expect("the binary can be started");
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input).expect("it reads to the end");
    }
    child.wait_with_output().expect("it ends")
}

fn v5_datagram() -> Vec<u8> {
    let mut octets = vec![0, 5, 0, 1];
    octets.resize(24 + 48, 1);
    octets
}

#[test]
fn decode_reads_packed_damaged_and_piped_captures_and_says_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let flows = Sent { payload: v5_datagram(), ..v4(1, 0) };
    let cut = Sent { id: 2, ..flows.clone() };
    let lost = Sent { id: 3, ..flows.clone() };
    let parts = cut.fragments(&[40]);
    let frames = timed([flows.ip(), parts[1].clone(), parts[0].clone(), lost.fragments(&[40]).remove(0), flows.ip()]);
    let file = pcap(Order::Little, false, 101, &frames);
    let write = |name: &str, octets: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, octets).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let whole = run(&["decode", &write("a.pcap", &file)], None);
    assert_eq!((whole.status.code(), whole.stdout.split(|b| *b == b'\n').count() - 1), (Some(0), 3));
    let said = String::from_utf8_lossy(&whole.stderr).into_owned();
    assert!(said.contains("1 IP packets were left out: not all of their fragments"), "{said}");
    for (name, packed) in [("a.pcap.gz", gzip(&file)), ("a.pcap.zst", zstd::encode_all(&file[..], 1).unwrap())] {
        let output = run(&["decode", &write(name, &packed)], None);
        assert_eq!((output.status.code(), &output.stdout), (Some(0), &whole.stdout), "{name}");
        let piped = run(&["decode", "-"], Some(&packed));
        assert_eq!((piped.status.code(), &piped.stdout), (Some(0), &whole.stdout), "{name} by a pipe");
    }
    let summary = run(&["decode", "--summary", "-"], Some(&file));
    let text = String::from_utf8_lossy(&summary.stdout).into_owned();
    assert!(text.contains("5 frames, 3 UDP datagrams (1 joined of 3 IP fragments), 3 flows"), "{text}");
    // The last frame is cut: the others come out, and the place is named.
    let last = file.len() - frames[4].1.len() - 16;
    let output = run(&["decode", &write("cut.pcap", &file[..file.len() - 1])], None);
    assert_eq!((output.status.code(), output.stdout.split(|b| *b == b'\n').count() - 1), (Some(1), 2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&format!("cut.pcap: the file ends inside a block at octet {last}:")), "{said}");
    let mut packed = gzip(&file);
    packed.truncate(packed.len() - 4);
    let output = run(&["decode", &write("cut.pcap.gz", &packed)], None);
    assert_eq!((output.status.code(), &output.stdout), (Some(1), &whole.stdout), "only the checksum is missing");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("cut.pcap.gz: the file cannot be read further (") && said.contains("unpacked"), "{said}");
}

// ---- other tools ---------------------------------------------------------------------------------

/// Runs a tool; None, and a line, where it is not here.
fn tool(name: &str, args: &[&str]) -> Option<Output> {
    match Command::new(name).args(args).output() {
        Ok(output) => {
            assert!(output.status.success(), "{name} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
            Some(output)
        }
        Err(error) => {
            eprintln!("SKIPPED: {name}: {error}");
            None
        }
    }
}

fn read_file(path: &Path) -> Vec<Out> {
    let (found, error, counts) = read_on(&mut Capture::open(path).unwrap());
    assert_eq!((error, counts.left_out()), (None, Vec::new()), "{}", path.display());
    found
}

/// What Wireshark's tools write is read as what was written before.
#[test]
fn files_of_editcap_and_mergecap() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    let large = v4(3, 4_000);
    let mut ips = vec![v4(1, 40).ip(), v6(2, 1_000).ip()];
    ips.extend(large.fragments(&[1_480, 2_960]));
    let of_link = |link| pcap(Order::Big, true, link, &timed(ips.iter().map(|ip| frame(link, ip))));
    std::fs::write(path("ether.pcap"), of_link(1)).unwrap();
    std::fs::write(path("cooked.pcap"), of_link(276)).unwrap();
    let expected = read_file(&path("ether.pcap"));
    assert_eq!(expected.len(), 3);
    for format in ["pcap", "nsecpcap", "pcapng", "modpcap"] {
        if tool("editcap", &["-F", format, &text("ether.pcap"), &text(format)]).is_none() {
            return;
        }
        assert_eq!(read_file(&path(format)), expected, "editcap -F {format}");
    }
    // Two interfaces with different links; behind each other, then in the order of time.
    for how in [&["-a"][..], &[]] {
        let (merged, ether, cooked) = (text("merged"), text("ether.pcap"), text("cooked.pcap"));
        let args = [how, &["-F", "pcapng", "-w", &merged, &ether, &cooked]].concat();
        if tool("mergecap", &args).is_none() {
            return;
        }
        let merged = read_file(&path("merged"));
        // The second copy of the fragments is the first again.
        let payloads = |found: &[Out]| found.iter().map(|d| d.payload.len()).collect::<Vec<_>>();
        assert_eq!(payloads(&merged).iter().filter(|n| **n == 4_000).count(), 1);
        assert_eq!(merged.len(), 5, "{how:?}: {:?}", payloads(&merged));
    }
}

/// The same datagrams, joined or not, as Wireshark's own dissector finds.
#[test]
fn tshark_finds_the_same_datagrams() {
    let directory = tempfile::tempdir().unwrap();
    let mut frames = Vec::new();
    for (id, octets) in [(1, 300), (2, 3_000), (3, 9_000), (4, 65_000)] {
        for whole in [v4(id, octets), v6(id, octets)] {
            let cuts: Vec<usize> = (1_448..octets + 8).step_by(1_448).collect();
            let parts = if cuts.is_empty() { vec![whole.ip()] } else { whole.fragments(&cuts) };
            frames.extend(parts.into_iter().rev().map(|ip| tagged(&[0x88a8, 0x8100], &ip)));
        }
    }
    // One that never becomes whole.
    frames.push(frame(1, &v4(77, 2_000).fragments(&[800]).remove(0)));
    let path = directory.path().join("fragments.pcap");
    std::fs::write(&path, pcap(Order::Little, false, 1, &timed(frames))).unwrap();
    let args = ["-n", "-r", path.to_str().unwrap(), "-Y", "udp.length", "-T", "fields", "-e", "udp.srcport"];
    let more = ["-e", "udp.length", "-e", "frame.time_epoch", "-d", "udp.port==1-65535,data"];
    let Some(output) = tool("tshark", &[&args[..], &more].concat()) else { return };
    let theirs: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    let (found, _, counts) = read(std::fs::read(&path).unwrap());
    let ours: Vec<String> = found
        .iter()
        .map(|d| {
            let (seconds, ns) = (d.time_ns / SECOND, d.time_ns % SECOND);
            format!("{}\t{}\t{seconds}.{ns:09}", d.src.port(), d.payload.len() + 8)
        })
        .collect();
    assert_eq!((counts.incomplete, ours.len()), (1, 8));
    assert_eq!(ours, theirs);
}
