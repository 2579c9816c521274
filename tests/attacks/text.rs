//! Floods and forgeries of text: log lines and what stands in them, strings from the wire in outputs.

use std::net::UdpSocket;
use std::process::Command;

use clarion_collector::flow::Version;

use super::child::{self, Backend, Collector};
use super::encode::{Head, VARIABLE, field, record, set, words};
use super::siege::{forged, socket};

/// Datagrams that are rejected, refused, unknown or odd, from many addresses: lines are few and say how many.
fn bad_datagrams(count: u32) {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::start(child::anywhere(), &folder.path().join("out"), &[]);
    let mut collector = Collector::delivering(backend.address, &[]);
    let head = Head::new(Version::Ipfix, 7);
    let shapes = [
        vec![0xFF; 60],
        Vec::new(),
        vec![0, 9, 0],
        words(&[5, 31, 0, 0]),
        words(&[8, 1, 0, 0]),
        head.message(0, &[set(300, &[1; 20])]),
        head.message(0, &[words(&[256, 65_535])]),
        head.message(0, &[head.templates(&[words(&[256, 9_000])])]),
        head.message(0, &[head.templates(&[head.template(256, &[field(8, 4)])])]),
        head.message(0, &[head.templates(&[head.template(256, &[field(12, 3), field(8, 4)])])]),
    ];
    let senders: Vec<UdpSocket> = (0..200).map(|n| socket(forged(n))).collect();
    let before = collector.process.log().lines().count();
    for n in 0..count as usize {
        senders[n % senders.len()].send_to(&shapes[n % shapes.len()], collector.port).unwrap();
        if n % 64 == 63 {
            let came = || {
                let ledger = child::json(collector.http, "/api/v1/ledger");
                child::number(&ledger, "/datagrams/received") + child::number(&ledger, "/datagrams/kernel_dropped")
            };
            if n % 6_400 == 6_399 {
                child::wait_for("the datagrams", || (came() > n as u64).then_some(()));
            }
        }
    }
    collector.ledger_at_rest(u64::from(count));
    // One line a minute of each kind; new exporters and templates share 60 a minute. All of it takes less than that.
    let kinds = 20;
    let lines = collector.process.log().lines().count() - before;
    assert!(lines <= kinds + 60 + 2, "{lines} lines:\n{}", collector.process.log());
    assert!(collector.process.line("datagrams rejected").contains("\"datagrams\":"));
    collector.process.kill();
}

#[test]
fn a_13_bad_datagrams_make_few_lines() {
    bad_datagrams(30_000);
}

#[test]
#[ignore = "a million datagrams take minutes; the test above has 30,000"]
fn a_13_a_million_bad_datagrams_make_few_lines() {
    bad_datagrams(1_000_000);
}

/// What a terminal, a log, a table or JSON could take for its own.
const EVIL: [&[u8]; 8] = [
    b"a\nb\r\n",
    b"\x1b[2J\x1b]0;title\x07",
    b"\"},{\"src_ip\":\"1.2.3.4\"",
    "\u{202E}gnp.exe\u{2066}".as_bytes(),
    b"\xff\xfe\xc3\x28",
    b"\0\x01\x7f\xc2\x85",
    b"',;=cmd|'/c calc'!A1",
    "\u{2028}\u{feff}\u{1F4A3}".as_bytes(),
];

/// Strings from the wire reach outputs as one line of JSON without anything that moves a cursor or turns text round.
#[test]
fn a_14_strings_from_the_wire_stay_strings() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("evil.pcap");
    let head = Head::new(Version::Ipfix, 1);
    let fields = [field(8, 4), field(82, VARIABLE), field(96, VARIABLE), field(371, VARIABLE), field(236, VARIABLE)];
    let template = head.templates(&[head.template(256, &fields)]);
    let options = head.options_template(300, &[field(10, 4)], &[field(82, VARIABLE), field(83, VARIABLE)]);
    let mut sets = vec![template, head.options_templates(&[options])];
    for evil in EVIL {
        let values = [vec![10, 0, 0, 1], evil.to_vec(), evil.to_vec(), evil.to_vec(), evil.repeat(40)];
        sets.push(set(256, &record(&fields, &values)));
        let scoped = [vec![0, 0, 0, 1], super::encode::variable(evil), super::encode::variable(evil)].concat();
        sets.push(set(300, &scoped));
    }
    let sent = super::frames::sent("192.0.2.1:9995", "192.0.2.2:4739", 1, &head.message(0, &sets));
    let frame = super::frames::frame(1, &sent.ip());
    std::fs::write(
        &path,
        super::frames::pcap(super::frames::Order::Little, true, 1, &[(1_735_689_600_000_000_000, frame)]),
    )
    .unwrap();
    for args in [&["--elements", "all"][..], &["--elements", "core"], &["--summary"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clarion-collector"));
        let output = command.arg("decode").args(args).arg(&path).output().unwrap();
        assert!(output.status.success());
        for stream in [&output.stdout, &output.stderr] {
            let text = std::str::from_utf8(stream).expect("UTF-8");
            let turns =
                |c: char| matches!(c, '\u{200E}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
            let evil = text.chars().find(|c| *c != '\n' && (c.is_control() || turns(*c)));
            assert_eq!(evil, None, "{args:?}: {text}");
        }
        if args[0] == "--elements" {
            let lines: Vec<&str> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
            assert_eq!(lines.len(), EVIL.len());
            for line in lines {
                let flow: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
                assert_eq!(flow["src_ip"], "10.0.0.1", "{line}");
            }
        }
    }
}
