//! The capture reader's promises, checked on any octets. Used by the fuzz target and, over the corpus, by `cargo test`.
//!
//! Promised: no panic and an end; every frame is in one count; datagrams and joined packets add up; a reader that gives
//! an octet at a time changes nothing; what stands before the end of a plain file stays the same when the end is cut off.

use std::io::{self, Cursor, Read};
use std::net::SocketAddr;

use clarion_collector::tools::capture::{Capture, CaptureCounts};

/// Largest UDP payload in IPv4 or IPv6 without jumbograms.
const PAYLOAD_OCTETS_MAX: usize = 65_535 - 8;
/// Datagrams that are kept for comparison: a packed input may unpack to very many.
const KEPT_MAX: usize = 4_096;

/// Gives an octet at a time.
struct Drops(Cursor<Vec<u8>>);

impl Read for Drops {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let octets = into.len().min(1);
        self.0.read(&mut into[..octets])
    }
}

type Found = (Vec<(u64, SocketAddr, SocketAddr, Vec<u8>)>, CaptureCounts, bool);

fn read(source: impl Read + Send + 'static) -> Found {
    let mut found = Vec::new();
    let Ok(mut capture) = Capture::from_reader("fuzz".to_owned(), source) else {
        return (found, CaptureCounts::default(), false);
    };
    let whole = loop {
        match capture.next_datagram() {
            Ok(Some(d)) => {
                assert!(d.octets.len() <= PAYLOAD_OCTETS_MAX, "a payload of {} octets", d.octets.len());
                if found.len() < KEPT_MAX {
                    found.push((d.time_ns, d.src, d.dst, d.octets.to_vec()));
                }
            }
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    assert!(matches!(capture.next_datagram(), Ok(None)), "a capture ends once");
    (found, capture.counts(), whole)
}

/// A capture file. Answers with the number of datagrams in it.
pub fn check_capture(octets: &[u8]) -> u64 {
    let (found, counts, whole) = read(Cursor::new(octets.to_vec()));
    let c = &counts;
    assert_eq!(
        c.frames,
        c.datagrams - c.joined + c.fragments + c.cut_off + c.other + c.malformed + c.unknown_link,
        "a frame is in no count, or in two: {c:?}"
    );
    let packets = c.joined + c.joined_malformed + c.incomplete + c.crowded_out + c.contradictory;
    assert!(packets <= c.fragments, "more packets than parts: {c:?}");
    assert!(found.len() as u64 == c.datagrams.min(KEPT_MAX as u64), "{} datagrams: {c:?}", found.len());
    let slow = read(Drops(Cursor::new(octets.to_vec())));
    assert!(slow == (found.clone(), counts, whole), "short reads changed something: {c:?} and {:?}", slow.1);
    let cut = read(Cursor::new(octets[..octets.len() / 2].to_vec()));
    // Of a piece that is damaged an unpacker gives nothing, of one that is cut off its beginning.
    let packed = matches!(octets, [0x1f, 0x8b, ..] | [0x28, 0xb5, ..] | [0x50..=0x5f, 0x2a, ..]);
    assert!(packed || found.starts_with(&cut.0), "without its second half the first half reads differently");
    c.datagrams
}
