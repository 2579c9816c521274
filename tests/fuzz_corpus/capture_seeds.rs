//! Captures of our own making for the fuzz corpus: one of each shape, small, and with the datagrams that are in it.

use crate::frames::{Blocks, LINKS, Order, Sent, frame, pattern, pcap, sent, tagged};

const NOW_NS: u64 = 1_735_689_600_000_000_000;

fn v4(id: u32, octets: usize) -> Sent {
    sent("192.0.2.1:2055", "192.0.2.9:2055", id, &pattern(octets))
}

fn v6(id: u32, octets: usize) -> Sent {
    sent("[2001:db8::1]:4739", "[2001:db8::9]:4739", id, &pattern(octets))
}

fn timed(frames: Vec<Vec<u8>>) -> Vec<(u64, Vec<u8>)> {
    (0..).zip(frames).map(|(at, frame)| (NOW_NS + at * 1_000_000, frame)).collect()
}

fn raw(frames: Vec<Vec<u8>>) -> Vec<u8> {
    pcap(Order::Little, false, 101, &timed(frames))
}

/// A gzip member with one stored block: a packer's output would change with its version.
fn gzip(octets: &[u8]) -> Vec<u8> {
    let length = u16::try_from(octets.len()).unwrap();
    let mut crc = u32::MAX;
    for octet in octets {
        crc ^= u32::from(*octet);
        for _ in 0..8 {
            crc = if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0xedb8_8320 };
        }
    }
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1];
    let tail = [(!crc).to_le_bytes(), u32::from(length).to_le_bytes()].concat();
    [&head[..], &length.to_le_bytes(), &(!length).to_le_bytes(), octets, &tail].concat()
}

/// A zstd frame with its size in one octet and one raw block.
fn zstd(octets: &[u8]) -> Vec<u8> {
    let length = u8::try_from(octets.len()).unwrap();
    let block = (u32::from(length) << 3 | 1).to_le_bytes();
    [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, length], &block[..3], octets].concat()
}

/// Name, file, datagrams in it.
pub fn captures() -> Vec<(&'static str, Vec<u8>, u64)> {
    let both = [v4(1, 12).ip(), v6(2, 9).ip()];
    let ethernet: Vec<Vec<u8>> = both.iter().map(|ip| frame(1, ip)).collect();
    let plain = pcap(Order::Big, true, 1, &timed(ethernet.clone()));
    let tags = vec![tagged(&[0x88a8, 0x8100], &both[0]), tagged(&[0x9100, 0x8100, 0x8100], &both[1])];
    let mut seeds = vec![
        ("pcap_ethernet", pcap(Order::Little, false, 1, &timed(ethernet)), 2),
        ("pcap_big_nanoseconds", plain.clone(), 2),
        ("pcap_gzip", gzip(&plain), 2),
        ("pcap_zstd", zstd(&plain), 2),
        ("pcap_vlans", pcap(Order::Little, false, 1, &timed(tags)), 2),
        ("pcap_cut_off", plain[..plain.len() - 5].to_vec(), 1),
        ("fragments_v4", raw(v4(3, 40).fragments(&[16, 32])), 1),
        ("fragments_v6_turned", raw(v6(4, 40).fragments(&[16, 32]).into_iter().rev().collect()), 1),
        ("pcapng", sections(), 8),
    ];
    for (name, link) in [("pcap_cooked", 113), ("pcap_cooked_2", 276), ("pcap_null", 0), ("pcap_pppoe", 51)] {
        assert!(LINKS.contains(&link));
        let frames = both.iter().map(|ip| frame(link, ip)).collect();
        seeds.push((name, pcap(Order::Little, false, link, &timed(frames)), 2));
    }
    let (twice, overlap) = (v4(5, 40).fragments(&[24]), v6(6, 40));
    seeds.push(("fragments_repeated", raw(vec![twice[0].clone(), twice[0].clone(), twice[1].clone()]), 1));
    let parts = overlap.fragments(&[24]);
    let over = overlap.fragment(16, true, &[0; 16]);
    seeds.push(("fragments_overlapping", raw(vec![parts[0].clone(), over, parts[1].clone()]), 0));
    seeds.push(("fragments_missing", raw(vec![v4(7, 40).fragments(&[24]).remove(1)]), 0));
    seeds
}

/// Sections of both byte orders, three interfaces, every kind of block that holds a frame.
fn sections() -> Vec<u8> {
    let mut blocks = Blocks::new(Order::Little);
    for order in [Order::Little, Order::Big] {
        if order == Order::Big {
            blocks.section(order);
        }
        blocks.interface(1, 0, 6, 0);
        blocks.interface(113, 128, 9, -60);
        blocks.interface(101, 64, 0x8a, 60);
        let ip = v4(8, 10).ip();
        blocks.enhanced(0, NOW_NS / 1_000, &frame(1, &ip));
        blocks.obsolete(1, NOW_NS, &frame(113, &ip));
        blocks.enhanced(2, NOW_NS / 1_000_000, &ip);
        blocks.simple(frame(1, &ip).len(), &frame(1, &ip));
        blocks.block(5, &[0; 12]);
    }
    blocks.file
}
