//! The promises of the spool's reader, checked on any octets. Used by the fuzz target and, over the corpus, by `cargo test`.
//!
//! Promised: no panic and an end; every octet is in one count; entries stand in order inside the octets, and what
//! can be read of them keeps what its readers rely on; what stands whole in front of a cut stays whole.

use clarion_collector::spool::{Scan, read_segment};

/// Octets of a segment's header, and of the head of a frame.
const HEADER: usize = 32;
const HEAD: usize = 80;
const MARKER: [u8; 4] = [0xC1, 0x4C, 0x53, 0x46];

/// A segment as it is, and the same with all checksums made right: without that no changed octet would get any further.
/// Answers with the number of entries that can be read.
pub fn check_spool(octets: &[u8]) -> usize {
    check(octets);
    let mut repaired = octets.to_vec();
    repair(&mut repaired);
    check(&repaired)
}

fn check(octets: &[u8]) -> usize {
    let scan = read_segment(octets);
    balance(octets, &scan);
    let mut next = 0;
    let mut readable = 0;
    for placed in &scan.entries {
        assert!(placed.offset >= next, "entries overlap");
        next = placed.offset + placed.head.frame_octets() as u64;
        assert!(next <= octets.len() as u64, "an entry ends outside the segment");
        if let Ok(entry) = placed.entry(octets) {
            assert_eq!(entry.check(), Ok(()));
            assert_eq!(entry.record_ends.len(), entry.records as usize);
            assert!(entry.record_ends.iter().all(|end| *end as usize <= entry.body.len()));
            readable += 1;
        }
    }
    assert!(scan.entries.is_sorted_by_key(|placed| placed.head.index), "places do not ascend");
    let cut = octets.len() / 2;
    let before = read_segment(&octets[..cut]);
    let whole = scan.entries.iter().filter(|p| p.offset as usize + p.head.frame_octets() <= cut).count();
    if scan.header.is_some() && cut >= HEADER {
        assert!(before.entries.len() >= whole, "a cut took what stood in front of it");
    }
    readable
}

fn balance(octets: &[u8], scan: &Scan) {
    let whole: usize = scan.entries.iter().map(|placed| placed.head.frame_octets()).sum();
    let ends = if scan.header.is_some() { HEADER } else { 0 } + if scan.closed { HEAD } else { 0 };
    let damage = scan.damage;
    assert_eq!(
        (whole + ends) as u64 + damage.octets + damage.torn_octets,
        octets.len() as u64,
        "octets in no count, or in two: {damage:?}"
    );
    assert!(damage.entries <= octets.len() as u64 / HEAD as u64 + 1, "more lost entries than there is room for");
}

fn repair(octets: &mut [u8]) {
    if octets.len() >= HEADER {
        let crc = crc32fast::hash(&octets[..HEADER - 4]);
        octets[HEADER - 4..HEADER].copy_from_slice(&crc.to_be_bytes());
    }
    let mut at = 0;
    while at + HEAD <= octets.len() {
        if octets[at..at + 4] != MARKER {
            at += 1;
            continue;
        }
        let stored = u32::from_be_bytes([octets[at + 68], octets[at + 69], octets[at + 70], octets[at + 71]]) as usize;
        let payload = octets.get(at + HEAD..(at + HEAD).saturating_add(stored)).unwrap_or_default();
        let crc = crc32fast::hash(payload);
        octets[at + 72..at + 76].copy_from_slice(&crc.to_be_bytes());
        let crc = crc32fast::hash(&octets[at..at + 76]);
        octets[at + 76..at + HEAD].copy_from_slice(&crc.to_be_bytes());
        at += HEAD;
    }
}
