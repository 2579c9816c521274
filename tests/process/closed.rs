//! Every command with nobody at the other end of standard output, standard error or both: it ends by itself,
//! quietly, with the code that its work deserves.

use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::child::{binary, wait_for};

/// The end of a pipe whose other end is closed.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

/// Exit code, and what it said where somebody listened.
fn end(mut command: Command, stdout: Stdio, stderr: Option<Stdio>) -> (Option<i32>, String) {
    let listens = stderr.is_none();
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr.unwrap_or_else(Stdio::piped));
    let mut child = command.spawn().expect("it can be started");
    let said = if listens {
        std::io::read_to_string(child.stderr.take().expect("it is piped")).expect("text")
    } else {
        String::new()
    };
    let status = wait_for("its end", || child.try_wait().expect("a child can be asked"));
    (status.code(), said)
}

/// A pcap file of raw IP with one v5 datagram, and as many more as make a pipe full.
fn capture(datagrams: usize) -> Vec<u8> {
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 101, 0, 0, 0];
    for _ in 0..datagrams {
        file.extend([0, 0, 0, 1, 0, 0, 0, 0, 100, 0, 0, 0, 100, 0, 0, 0]);
        file.extend([0x45, 0, 0, 100, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        file.extend([8, 7, 8, 7, 0, 80, 0, 0, 0, 5, 0, 1]);
        file.extend([1; 68]);
    }
    file
}

#[test]
fn no_command_minds_that_nobody_reads() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).to_str().expect("a path in UTF-8").to_owned();
    let (whole, cut, none) = (path("whole.pcap"), path("cut.pcap"), path("none.pcap"));
    std::fs::write(&whole, capture(2_000)).expect("a file");
    std::fs::write(&cut, &capture(2)[..200]).expect("a file");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let to = socket.local_addr().expect("an address").to_string();
    let cases: [(&[&str], i32); 11] = [
        (&["decode", &whole], 0),
        (&["decode", "--summary", &whole], 0),
        (&["decode", &cut], 1),
        (&["decode", &none], 1),
        (&["replay", &cut, "--to", &to], 1),
        (&["generate", "--to", &to, "--rate", "10k", "--records", "100"], 0),
        (&["backend", "--listen", "127.0.0.1:0", "--seconds", "1"], 0),
        (&["demo", "--seconds", "1", "--rate", "500"], 0),
        (&["check"], 0),
        (&["--help"], 0),
        (&["check", "--batch-size", "0"], 1),
    ];
    for (args, code) in cases {
        for (out, err) in [(true, false), (false, true), (true, true)] {
            let stdout = if out { closed() } else { Stdio::null() };
            let (found, said) = end(binary(args), stdout, err.then(closed));
            assert!(!said.contains("panicked"), "{args:?}: {said}");
            // A reader that went away before the damage was met is told nothing of it.
            let early = args[..] == ["decode", &cut] && out;
            assert!(found == Some(code) || early && found == Some(0), "{args:?}, {out} {err}: {found:?} {said}");
        }
    }
}

/// Without `--seconds` it would go on for ever.
#[test]
fn an_endless_demo_ends_when_nobody_looks() {
    let (code, said) = end(binary(&["demo", "--rate", "500"]), closed(), None);
    assert_eq!((code, said.contains("panicked")), (Some(0), false), "{said}");
}

#[test]
fn a_full_disk_is_a_failure() {
    if !std::path::Path::new("/dev/full").exists() {
        eprintln!("SKIPPED: no /dev/full");
        return;
    }
    let full = || Stdio::from(std::fs::File::options().write(true).open("/dev/full").expect("a device"));
    for args in
        [&["check"][..], &["backend", "--listen", "127.0.0.1:0", "--seconds", "1"], &["demo", "--seconds", "60"]]
    {
        let begun = std::time::Instant::now();
        let (code, said) = end(binary(args), full(), None);
        assert_eq!(code, Some(1), "{args:?}: {said}");
        assert!(said.contains("cannot write to standard output") && !said.contains("panicked"), "{said}");
        assert!(begun.elapsed() < Duration::from_secs(50), "{args:?} went on");
    }
}
