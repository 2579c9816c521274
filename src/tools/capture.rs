//! Capture files (pcap, pcapng) -> UDP payloads in the order of the file.
//!
//! A file enters, [`CapturedDatagram`]s leave: time, both ends, payload. The file is read as a
//! stream, so its size does not matter. A damaged or truncated file gives every datagram that is
//! whole and then one [`CaptureError`] that says where it broke. What is not a whole UDP datagram is
//! counted by kind in [`CaptureCounts`]; IP fragments are counted, not joined.

mod frame;

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;

use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};

use crate::limits::{CAPTURE_BLOCK_OCTETS_MAX, CAPTURE_BUFFER_OCTETS, CAPTURE_INTERFACES_MAX};
use frame::{Frame, dissect};

/// One UDP datagram of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapturedDatagram<'a> {
    /// Time of the capture, Unix nanoseconds; 0 where the file has none.
    pub time_ns: u64,
    /// Who sent it; IPv4-mapped IPv6 is folded to IPv4.
    pub src: SocketAddr,
    /// Where it went.
    pub dst: SocketAddr,
    /// UDP payload, whole.
    pub octets: &'a [u8],
}

/// What a capture held; every frame is in exactly one of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CaptureCounts {
    /// Frames in the file.
    pub frames: u64,
    /// UDP datagrams given out.
    pub datagrams: u64,
    /// IP fragments.
    pub fragments: u64,
    /// UDP datagrams that the capture cut off (snap length).
    pub cut_off: u64,
    /// Frames of other protocols.
    pub other: u64,
    /// Frames whose headers do not add up.
    pub malformed: u64,
    /// Frames of link types that are not read.
    pub unknown_link: u64,
}

/// Why a capture could not be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file cannot be opened or read.
    #[error("{name}: {source}")]
    Io {
        /// The file.
        name: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The beginning is neither pcap nor pcapng.
    #[error(
        "{name}: neither a pcap nor a pcapng file ({detail}): give a capture made by tcpdump, dumpcap or Wireshark"
    )]
    NotACapture {
        /// The file.
        name: String,
        /// What it looks like instead.
        detail: &'static str,
    },
    /// The file breaks off or makes no sense from some octet on; all before it was given out.
    #[error("{name}: {detail} at octet {octet}: what stood before it was read, the rest was not")]
    Damaged {
        /// The file.
        name: String,
        /// What is wrong.
        detail: &'static str,
        /// Where the block begins.
        octet: u64,
    },
}

/// Clock and link type of one interface of the capture.
#[derive(Debug, Clone, Copy)]
struct Interface {
    link: i32,
    /// Units of a stamp in a second.
    resolution: u64,
    /// Seconds to add to a stamp.
    offset: i64,
}

/// A capture file that is being read.
pub struct Capture {
    name: String,
    reader: Box<dyn PcapReaderIterator + Send>,
    /// pcapng: those of the current section; pcap: one, of the file header.
    interfaces: Vec<Interface>,
    big_endian: bool,
    ended: bool,
    counts: CaptureCounts,
    payload: Vec<u8>,
}

impl std::fmt::Debug for Capture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capture").field("name", &self.name).field("counts", &self.counts).finish_non_exhaustive()
    }
}

/// What a block was, once it no longer borrows the reader.
enum Step {
    Datagram { time_ns: u64, src: SocketAddr, dst: SocketAddr },
    Nothing,
}

impl Capture {
    /// Opens a capture file; `-` is standard input.
    ///
    /// # Errors
    /// The file cannot be opened, or is no capture.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let name = path.display().to_string();
        if name == "-" {
            return Self::from_reader("standard input".to_owned(), io::stdin());
        }
        match File::open(path) {
            Ok(file) => Self::from_reader(name, file),
            Err(source) => Err(CaptureError::Io { name, source }),
        }
    }

    /// Reads a capture from any source; `name` is for messages.
    ///
    /// # Errors
    /// It cannot be read, or is no capture.
    pub fn from_reader(name: String, source: impl Read + Send + 'static) -> Result<Self, CaptureError> {
        match create_reader(CAPTURE_BUFFER_OCTETS, Whole(source)) {
            Ok(reader) => Ok(Self {
                name,
                reader,
                interfaces: Vec::new(),
                big_endian: false,
                ended: false,
                counts: CaptureCounts::default(),
                payload: Vec::new(),
            }),
            Err(PcapError::ReadError) => Err(CaptureError::Io { name, source: io::Error::other("it cannot be read") }),
            Err(PcapError::Eof) => Err(CaptureError::NotACapture { name, detail: "it is empty" }),
            Err(PcapError::Incomplete(_)) => Err(CaptureError::NotACapture { name, detail: "it is too short" }),
            Err(_) => Err(CaptureError::NotACapture { name, detail: "its first octets are unknown" }),
        }
    }

    /// Name of the file, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was seen so far.
    #[must_use]
    pub const fn counts(&self) -> CaptureCounts {
        self.counts
    }

    /// The next UDP datagram, or None at the end.
    ///
    /// # Errors
    /// The file is damaged from here on: reported once, then the capture has ended.
    pub fn next_datagram(&mut self) -> Result<Option<CapturedDatagram<'_>>, CaptureError> {
        while !self.ended {
            if let Step::Datagram { time_ns, src, dst } = self.step()? {
                return Ok(Some(CapturedDatagram { time_ns, src, dst, octets: &self.payload }));
            }
        }
        Ok(None)
    }

    /// Reads one block, or more of the file.
    fn step(&mut self) -> Result<Step, CaptureError> {
        let (detail, grow) = match self.reader.next() {
            Ok((length, block)) => {
                let mut view = View {
                    interfaces: &mut self.interfaces,
                    big_endian: &mut self.big_endian,
                    counts: &mut self.counts,
                    payload: &mut self.payload,
                };
                let step = view.read(block);
                self.reader.consume(length);
                return Ok(step);
            }
            Err(PcapError::Eof) => {
                self.ended = true;
                return Ok(Step::Nothing);
            }
            Err(PcapError::Incomplete(_)) => ("", false),
            Err(PcapError::BufferTooSmall) => ("", true),
            Err(PcapError::UnexpectedEof) => ("the file ends inside a block", false),
            Err(PcapError::ReadError) => ("the file cannot be read further", false),
            Err(_) => ("a block's header makes no sense", false),
        };
        if !detail.is_empty() {
            return Err(self.damaged(detail));
        }
        let held = self.reader.data().len();
        if grow || held >= CAPTURE_BUFFER_OCTETS {
            // Frames end at 256 KiB; larger are pcapng's name and secret blocks, or garbage.
            if held >= CAPTURE_BLOCK_OCTETS_MAX {
                return Err(self.damaged("a block says that it is longer than any capture has them"));
            }
            self.reader.grow((held * 2).max(CAPTURE_BUFFER_OCTETS * 2));
        }
        if self.reader.refill().is_err() {
            return Err(self.damaged("the file cannot be read further"));
        }
        if self.reader.data().len() == held && !self.reader.reader_exhausted() {
            return Err(self.damaged("a block says that it is longer than any capture has them"));
        }
        Ok(Step::Nothing)
    }

    fn damaged(&mut self, detail: &'static str) -> CaptureError {
        self.ended = true;
        CaptureError::Damaged { name: self.name.clone(), detail, octet: self.reader.consumed() as u64 }
    }
}

/// A source whose reads fill what they are given, so that a pipe's first short read is not taken for
/// a file that is too short to be a capture.
struct Whole<R>(R);

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match self.0.read(&mut into[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if filled == 0 => return Err(e),
                Err(_) => break,
            }
        }
        Ok(filled)
    }
}

/// The parts of a [`Capture`] that a block may change while it borrows the reader.
struct View<'a> {
    interfaces: &'a mut Vec<Interface>,
    big_endian: &'a mut bool,
    counts: &'a mut CaptureCounts,
    payload: &'a mut Vec<u8>,
}

impl View<'_> {
    fn read(&mut self, block: PcapBlockOwned<'_>) -> Step {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let resolution = if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
                // The upper bits of the link type word tell of a frame check sequence.
                self.interfaces.push(Interface { link: header.network.0 & 0x0fff_ffff, resolution, offset: 0 });
                Step::Nothing
            }
            PcapBlockOwned::Legacy(frame) => {
                let Some(interface) = self.interfaces.first().copied() else { return Step::Nothing };
                let part = u64::from(frame.ts_usec).saturating_mul(1_000_000_000 / interface.resolution);
                let time_ns = u64::from(frame.ts_sec) * 1_000_000_000 + part;
                self.frame(interface.link, time_ns, frame.data)
            }
            PcapBlockOwned::NG(Block::SectionHeader(section)) => {
                *self.big_endian = section.big_endian();
                self.interfaces.clear();
                Step::Nothing
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                if self.interfaces.len() < CAPTURE_INTERFACES_MAX {
                    // The reader takes the offset as little-endian whatever the section says.
                    let offset = interface.if_tsoffset;
                    self.interfaces.push(Interface {
                        link: interface.linktype.0,
                        resolution: resolution(interface.if_tsresol),
                        offset: if *self.big_endian { offset.swap_bytes() } else { offset },
                    });
                }
                Step::Nothing
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
                let interface = usize::try_from(block.if_id).ok().and_then(|i| self.interfaces.get(i)).copied();
                let Some(interface) = interface else { return self.without_interface() };
                let stamp = u64::from(block.ts_high) << 32 | u64::from(block.ts_low);
                self.frame(interface.link, interface.unix_ns(stamp), block.packet_data())
            }
            PcapBlockOwned::NG(Block::SimplePacket(block)) => {
                let Some(interface) = self.interfaces.first().copied() else { return self.without_interface() };
                self.frame(interface.link, 0, block.packet_data())
            }
            PcapBlockOwned::NG(_) => Step::Nothing,
        }
    }

    fn without_interface(&mut self) -> Step {
        self.counts.frames += 1;
        self.counts.malformed += 1;
        Step::Nothing
    }

    fn frame(&mut self, link: i32, time_ns: u64, octets: &[u8]) -> Step {
        self.counts.frames += 1;
        let count = match dissect(link, octets) {
            Frame::Udp { src, dst, payload } => {
                self.counts.datagrams += 1;
                self.payload.clear();
                self.payload.extend_from_slice(payload);
                return Step::Datagram { time_ns, src, dst };
            }
            Frame::Fragment => &mut self.counts.fragments,
            Frame::CutOff => &mut self.counts.cut_off,
            Frame::Other => &mut self.counts.other,
            Frame::Malformed => &mut self.counts.malformed,
            Frame::UnknownLink => &mut self.counts.unknown_link,
        };
        *count += 1;
        Step::Nothing
    }
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

    #[test]
    fn resolutions_of_pcapng() {
        assert_eq!(resolution(6), 1_000_000);
        assert_eq!(resolution(9), 1_000_000_000);
        assert_eq!(resolution(0x8a), 1_024);
        assert_eq!(resolution(0x7f), 1_000_000, "10^127 is nothing: the default stands");
        assert_eq!(resolution(0xff), 1_000_000, "2^127 likewise");
        let binary = Interface { link: 1, resolution: 1_024, offset: -1 };
        assert_eq!(binary.unix_ns(3 * 1_024 + 512), 2_500_000_000);
        assert_eq!(binary.unix_ns(0), 0, "before 1970 there is no stamp");
    }

    #[test]
    fn what_is_no_capture_is_named() {
        let of = |octets: &'static [u8]| Capture::from_reader("x".to_owned(), octets).unwrap_err().to_string();
        assert!(of(b"").contains("empty"));
        assert!(of(b"\xd4\xc3\xb2\xa1").contains("too short"));
        assert!(of(b"{\"records\": []}, and more of the kind").contains("first octets"));
        assert!(Capture::open(Path::new("/nonexistent/x.pcap")).unwrap_err().to_string().contains("x.pcap"));
    }
}
