//! Blocks of a capture file -> datagrams: interfaces, clocks, and the joining of fragments.
//!
//! A parsed block enters; what it holds is dissected, its datagram copied out. Kept between blocks are
//! byte order and interfaces of a pcapng section (or the one of a pcap file) and fragments that wait.

use std::net::SocketAddr;

use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{Block, PcapBlockOwned};

use super::CaptureCounts;
use super::frame::{Frame, dissect, joined};
use super::join::Joiner;
use crate::limits::CAPTURE_INTERFACES_MAX;

/// What was in a block, once it no longer borrows the reader.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Its payload is where the caller asked for it.
    Datagram {
        time_ns: u64,
        src: SocketAddr,
        dst: SocketAddr,
    },
    Nothing,
}

/// What a block is good for, by its head.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// To be read, as soon as it is whole.
    Read,
    /// So many octets to pass over: it holds neither a frame nor what frames need.
    Pass(usize),
    /// Shorter than its own head.
    Nonsense,
}

/// Clock and link type of one interface of the capture.
#[derive(Debug, Clone, Copy)]
struct Interface {
    link: i32,
    /// Octets of a frame that are kept; 0: all.
    snap_length: u32,
    /// Units of a stamp in a second.
    resolution: u64,
    /// Seconds to add to a stamp.
    offset: i64,
}

impl Interface {
    /// An interface whose description cannot be read: it keeps the others at their numbers.
    const UNREADABLE: Self = Self { link: -1, snap_length: 0, resolution: 1_000_000, offset: 0 };
}

/// What earlier blocks said.
#[derive(Debug, Default)]
pub(super) struct Sections {
    /// pcapng: those of the current section; pcap: one, of the file header.
    interfaces: Vec<Interface>,
    pcapng: bool,
    big_endian: bool,
    joiner: Joiner,
}

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
/// The block that the enhanced one replaced: old captures of dumpcap and others have it.
const OBSOLETE_FRAME: u32 = 2;
const SIMPLE_FRAME: u32 = 3;
const ENHANCED_FRAME: u32 = 6;

impl Sections {
    /// Of a file that begins with these octets.
    pub(super) fn new(head: &[u8]) -> Self {
        Self { pcapng: head.starts_with(&SECTION_HEADER.to_be_bytes()), ..Self::default() }
    }

    /// Takes a block; the payload of its datagram, if it has or completes one, goes to `payload`.
    pub(super) fn read(
        &mut self,
        block: &PcapBlockOwned<'_>,
        counts: &mut CaptureCounts,
        payload: &mut Vec<u8>,
    ) -> Found {
        let (interface, stamp, octets) = match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let resolution = if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
                // The upper bits of the link type word tell of a frame check sequence.
                let link = header.network.0 & 0x0fff_ffff;
                self.interfaces.push(Interface { link, snap_length: header.snaplen, resolution, offset: 0 });
                return Found::Nothing;
            }
            PcapBlockOwned::Legacy(frame) => {
                let Some(interface) = self.interfaces.first().copied() else { return Found::Nothing };
                let stamp = u64::from(frame.ts_sec) * interface.resolution + u64::from(frame.ts_usec);
                (Some(interface), Some(stamp), frame.data)
            }
            PcapBlockOwned::NG(Block::SectionHeader(section)) => {
                self.big_endian = section.big_endian();
                self.interfaces.clear();
                return Found::Nothing;
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                // The reader takes the offset as little-endian whatever the section says.
                let offset = interface.if_tsoffset;
                self.describe(Interface {
                    link: interface.linktype.0,
                    snap_length: interface.snaplen,
                    resolution: resolution(interface.if_tsresol),
                    offset: if self.big_endian { offset.swap_bytes() } else { offset },
                });
                return Found::Nothing;
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
                let stamp = u64::from(block.ts_high) << 32 | u64::from(block.ts_low);
                (self.interface(block.if_id), Some(stamp), block.packet_data())
            }
            PcapBlockOwned::NG(Block::SimplePacket(block)) => {
                let interface = self.interface(0);
                // It does not say how much of the frame is there: the rest is padding, not payload.
                let octets = block.packet_data();
                let kept = interface.map(|i| i.snap_length as usize).filter(|n| *n > 0).unwrap_or(octets.len());
                (interface, None, &octets[..kept.min(octets.len())])
            }
            PcapBlockOwned::NG(Block::Unknown(block)) if self.kind(block.block_type) == OBSOLETE_FRAME => {
                match self.obsolete(block.data) {
                    Some((interface, stamp, octets)) => (self.interface(interface), Some(stamp), octets),
                    None => (None, None, block.data),
                }
            }
            PcapBlockOwned::NG(_) => return Found::Nothing,
        };
        counts.frames += 1;
        let Some(interface) = interface else {
            counts.malformed += 1;
            return Found::Nothing;
        };
        let time_ns = stamp.map_or(0, |stamp| interface.unix_ns(stamp));
        self.frame(interface.link, time_ns, octets, counts, payload)
    }

    /// What is to be done with the block at the beginning of `octets`, before the reader takes it apart: it
    /// panics over lengths that are too small, and its views of names and statistics are nobody's concern.
    pub(super) fn look(&self, octets: &[u8]) -> Look {
        let (true, Some(kind), Some(length)) = (self.pcapng, self.word(octets, 0), self.word(octets, 4)) else {
            return Look::Read;
        };
        match (kind, usize::try_from(length)) {
            // It brings its own byte order.
            (SECTION_HEADER, _) => Look::Read,
            (_, Ok(0..12)) => Look::Nonsense,
            (INTERFACE_DESCRIPTION | OBSOLETE_FRAME | SIMPLE_FRAME | ENHANCED_FRAME, _) => Look::Read,
            (_, Ok(length)) if length <= octets.len() => Look::Pass(length),
            _ => Look::Read,
        }
    }

    /// Length of the pcapng block at the beginning of `octets`, if it is whole and both of its lengths agree:
    /// then it can be passed over, whatever is wrong inside.
    pub(super) fn skip(&mut self, octets: &[u8], counts: &mut CaptureCounts) -> Option<usize> {
        let length = self.word(octets, 4)?;
        let length_octets = usize::try_from(length).ok()?;
        let last = length_octets.checked_sub(4).filter(|last| *last >= 8)?;
        let kind = self.word(octets, 0)?;
        // Without a section header nobody knows the byte order of what follows.
        if !self.pcapng || kind == SECTION_HEADER || length % 4 != 0 || self.word(octets, last)? != length {
            return None;
        }
        match kind {
            INTERFACE_DESCRIPTION => self.describe(Interface::UNREADABLE),
            OBSOLETE_FRAME | SIMPLE_FRAME | ENHANCED_FRAME => {
                counts.frames += 1;
                counts.malformed += 1;
            }
            _ => {}
        }
        Some(length_octets)
    }

    /// The file has ended: fragments that wait stay incomplete.
    pub(super) fn finish(&mut self, counts: &mut CaptureCounts) {
        self.joiner.finish(counts);
    }

    fn describe(&mut self, interface: Interface) {
        if self.interfaces.len() < CAPTURE_INTERFACES_MAX {
            self.interfaces.push(interface);
        }
    }

    fn interface(&self, index: u32) -> Option<Interface> {
        self.interfaces.get(usize::try_from(index).ok()?).copied()
    }

    /// Interface, stamp and frame of an obsolete block's body.
    fn obsolete<'a>(&self, body: &'a [u8]) -> Option<(u32, u64, &'a [u8])> {
        let [high, low, kept] = [4, 8, 12].map(|at| self.word(body, at));
        let interface = self.half(body, 0)?;
        let octets = body.get(20..)?.get(..usize::try_from(kept?).ok()?)?;
        Some((interface, u64::from(high?) << 32 | u64::from(low?), octets))
    }

    /// 32 bits in the byte order of the section.
    fn word(&self, octets: &[u8], at: usize) -> Option<u32> {
        let octets: [u8; 4] = octets.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if self.big_endian { u32::from_be_bytes(octets) } else { u32::from_le_bytes(octets) })
    }

    fn half(&self, octets: &[u8], at: usize) -> Option<u32> {
        let octets: [u8; 2] = octets.get(at..at + 2)?.try_into().ok()?;
        Some(u32::from(if self.big_endian { u16::from_be_bytes(octets) } else { u16::from_le_bytes(octets) }))
    }

    /// The reader takes the type of a block as little-endian whatever the section says.
    fn kind(&self, block_type: u32) -> u32 {
        if self.big_endian { block_type.swap_bytes() } else { block_type }
    }

    fn frame(
        &mut self,
        link: i32,
        time_ns: u64,
        octets: &[u8],
        counts: &mut CaptureCounts,
        payload: &mut Vec<u8>,
    ) -> Found {
        let count = match dissect(link, octets) {
            Frame::Udp { src, dst, payload: octets } => {
                counts.datagrams += 1;
                replace(payload, octets);
                return Found::Datagram { time_ns, src, dst };
            }
            Frame::Part(part) => {
                counts.fragments += 1;
                let Some((next, octets)) = self.joiner.take(&part, time_ns, counts) else { return Found::Nothing };
                match joined(part.of, next, octets) {
                    Frame::Udp { src, dst, payload: octets } => {
                        counts.datagrams += 1;
                        counts.joined += 1;
                        replace(payload, octets);
                        return Found::Datagram { time_ns, src, dst };
                    }
                    // Another protocol behind extension headers.
                    Frame::Other => return Found::Nothing,
                    _ => &mut counts.joined_malformed,
                }
            }
            Frame::CutOff => &mut counts.cut_off,
            Frame::Other => &mut counts.other,
            Frame::Malformed => &mut counts.malformed,
            Frame::UnknownLink => &mut counts.unknown_link,
        };
        *count += 1;
        Found::Nothing
    }
}

fn replace(payload: &mut Vec<u8>, octets: &[u8]) {
    payload.clear();
    payload.extend_from_slice(octets);
}

impl Interface {
    fn unix_ns(self, stamp: u64) -> u64 {
        let units = u128::from(stamp);
        let ns = units * 1_000_000_000 / u128::from(self.resolution);
        let offset = i128::from(self.offset) * 1_000_000_000;
        u64::try_from(ns.cast_signed() + offset).unwrap_or(0)
    }
}

/// Units in a second by pcapng's if_tsresol: a power of 10, or of 2 where the top bit is set.
fn resolution(code: u8) -> u64 {
    let exponent = u32::from(code & 0x7f);
    let units = if code & 0x80 == 0 { 10_u64.checked_pow(exponent) } else { 1_u64.checked_shl(exponent) };
    units.filter(|u| *u > 0).unwrap_or(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reader would subtract its 12 octets from the length.
    #[test]
    fn lengths_of_blocks_are_looked_at_first() {
        let look = |pcapng, kind: u32, length: u32| {
            let octets = [kind.to_le_bytes(), length.to_le_bytes(), [0; 4], length.to_le_bytes()].concat();
            Sections { pcapng, ..Sections::default() }.look(&octets)
        };
        for length in 0..12 {
            assert_eq!(look(true, 0x8000_0001, length), Look::Nonsense, "{length}");
            assert_eq!(look(true, ENHANCED_FRAME, length), Look::Nonsense, "{length}");
            assert_eq!(look(true, SECTION_HEADER, length), Look::Read, "{length}");
            assert_eq!(look(false, 0x8000_0001, length), Look::Read, "{length}: a stamp of a pcap file");
        }
        assert_eq!(look(true, 4, 16), Look::Pass(16));
        assert_eq!(look(true, 4, 20), Look::Read, "not whole yet");
        assert_eq!(Sections { pcapng: true, ..Sections::default() }.look(&[0; 7]), Look::Read);
    }

    #[test]
    fn resolutions_of_pcapng() {
        assert_eq!(resolution(6), 1_000_000);
        assert_eq!(resolution(9), 1_000_000_000);
        assert_eq!(resolution(0x8a), 1_024);
        assert_eq!(resolution(0x7f), 1_000_000, "10^127 is nothing: the default stands");
        assert_eq!(resolution(0xff), 1_000_000, "2^127 likewise");
        let binary = Interface { link: 1, snap_length: 0, resolution: 1_024, offset: -1 };
        assert_eq!(binary.unix_ns(3 * 1_024 + 512), 2_500_000_000);
        assert_eq!(binary.unix_ns(0), 0, "before 1970 there is no stamp");
    }
}
