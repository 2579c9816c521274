//! Capture files (pcap, pcapng) -> UDP payloads in the order of the file.
//!
//! A file enters, packed by gzip or zstd or plain; [`CapturedDatagram`]s leave: time, both ends, payload.
//! It is read as a stream, so its size does not matter. A damaged or truncated file gives every datagram
//! that is whole and then one [`CaptureError`] that says where it broke. IP fragments are joined; what
//! gives no whole UDP datagram is counted by kind in [`CaptureCounts`].

mod block;
mod frame;
mod join;
mod source;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;

use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{PcapError, create_reader};

use crate::limits::{CAPTURE_BLOCK_OCTETS_MAX, CAPTURE_BUFFER_OCTETS};
use block::{Found, Look, Sections};
use source::{Fault, Packing, Source, stranger};

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

/// What a capture held. Every frame is in one of `datagrams` (without those of `joined`), `fragments`,
/// `cut_off`, `other`, `malformed` and `unknown_link`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CaptureCounts {
    /// Frames in the file.
    pub frames: u64,
    /// UDP datagrams given out.
    pub datagrams: u64,
    /// Of these joined from IP fragments.
    pub joined: u64,
    /// IP fragments that may belong to UDP datagrams.
    pub fragments: u64,
    /// Fragmented IP packets of which a part never came.
    pub incomplete: u64,
    /// Fragmented IP packets that were given up because too many were open at once.
    pub crowded_out: u64,
    /// Fragmented IP packets whose parts overlap or contradict each other.
    pub contradictory: u64,
    /// Joined IP packets without a UDP datagram that adds up.
    pub joined_malformed: u64,
    /// UDP datagrams, and fragments, that the capture cut off (snap length).
    pub cut_off: u64,
    /// Frames of other protocols.
    pub other: u64,
    /// Frames whose headers do not add up.
    pub malformed: u64,
    /// Frames of link types that are not read.
    pub unknown_link: u64,
}

impl CaptureCounts {
    /// What gave no datagram though it might have: how many, and what.
    #[must_use]
    pub fn left_out(&self) -> Vec<(u64, &'static str)> {
        let all = [
            (self.incomplete, "IP packets were left out: not all of their fragments are in the capture"),
            (self.crowded_out, "IP packets were left out: too many fragmented ones were open at once"),
            (self.contradictory, "IP packets were left out: their fragments overlap or contradict each other"),
            (self.joined_malformed, "joined IP packets were left out: their UDP header does not add up"),
            (self.cut_off, "datagrams or fragments were left out: the capture kept only their beginning (snap length)"),
            (self.malformed, "frames were left out: their headers do not add up"),
            (self.unknown_link, "frames were left out: their link type is not read"),
        ];
        all.into_iter().filter(|(count, _)| *count > 0).collect()
    }
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
        detail: Cow<'static, str>,
        /// Where the block begins, in what a packed file unpacks to.
        octet: u64,
    },
}

/// A capture file that is being read.
pub struct Capture {
    name: String,
    reader: Box<dyn PcapReaderIterator + Send>,
    packing: Packing,
    /// What ended the reading of the file before its end.
    fault: Fault,
    sections: Sections,
    ended: bool,
    counts: CaptureCounts,
    payload: Vec<u8>,
}

impl std::fmt::Debug for Capture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capture").field("name", &self.name).field("counts", &self.counts).finish_non_exhaustive()
    }
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
        let (source, packing, fault) = match Source::new(source) {
            Ok(parts) => parts,
            Err(source) => return Err(CaptureError::Io { name, source }),
        };
        let head = source.head();
        let reader = match create_reader(CAPTURE_BUFFER_OCTETS, source) {
            Ok(reader) => reader,
            Err(error) => {
                let detail = match (fault.text(), error) {
                    (Some(text), _) => return Err(CaptureError::Io { name, source: io::Error::other(text) }),
                    (None, PcapError::Incomplete(_)) => "it is too short",
                    (None, PcapError::Eof) if packing != Packing::Plain => "there is nothing in it",
                    (None, _) => stranger(&head),
                };
                return Err(CaptureError::NotACapture { name, detail });
            }
        };
        let sections = Sections::new(reader.data());
        let counts = CaptureCounts::default();
        Ok(Self { name, reader, packing, fault, sections, ended: false, counts, payload: Vec::new() })
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
            if let Found::Datagram { time_ns, src, dst } = self.step()? {
                return Ok(Some(CapturedDatagram { time_ns, src, dst, octets: &self.payload }));
            }
        }
        Ok(None)
    }

    /// Reads one block, or more of the file.
    fn step(&mut self) -> Result<Found, CaptureError> {
        match self.sections.look(self.reader.data()) {
            Look::Read => {}
            Look::Pass(length) => {
                self.reader.consume(length);
                return Ok(Found::Nothing);
            }
            Look::Nonsense => return self.end(Some(NONSENSE)),
        }
        let (detail, grow) = match self.reader.next() {
            Ok((length, block)) => {
                let found = self.sections.read(&block, &mut self.counts, &mut self.payload);
                self.reader.consume(length);
                return Ok(found);
            }
            Err(PcapError::Eof) => return self.end(None),
            Err(PcapError::Incomplete(_)) => ("", false),
            Err(PcapError::BufferTooSmall) => ("", true),
            Err(PcapError::UnexpectedEof) => ("the file ends inside a block", false),
            Err(PcapError::ReadError) => ("the file cannot be read further", false),
            Err(_) => (NONSENSE, false),
        };
        // Between two whole lengths that agree only the inside is wrong: the next block is where it should be.
        if let Some(length) = self.sections.skip(self.reader.data(), &mut self.counts) {
            self.reader.consume(length);
            return Ok(Found::Nothing);
        }
        if !detail.is_empty() {
            return self.end(Some(detail));
        }
        let held = self.reader.data().len();
        if grow || held >= CAPTURE_BUFFER_OCTETS {
            // Frames end at 256 KiB; larger are pcapng's name and secret blocks, or garbage.
            if held >= CAPTURE_BLOCK_OCTETS_MAX {
                return self.end(Some(TOO_LONG));
            }
            self.reader.grow((held * 2).max(CAPTURE_BUFFER_OCTETS * 2));
        }
        if self.reader.refill().is_err() {
            return self.end(Some("the file cannot be read further"));
        }
        if self.reader.data().len() == held && !self.reader.reader_exhausted() {
            return self.end(Some(TOO_LONG));
        }
        Ok(Found::Nothing)
    }

    /// The end of the file, or of what can be read of it.
    fn end(&mut self, detail: Option<&'static str>) -> Result<Found, CaptureError> {
        self.ended = true;
        self.sections.finish(&mut self.counts);
        let mut detail = match (self.fault.text(), detail) {
            (Some(text), _) => Cow::Owned(format!("the file cannot be read further ({text})")),
            (None, Some(detail)) => Cow::Borrowed(detail),
            (None, None) => return Ok(Found::Nothing),
        };
        if self.packing != Packing::Plain {
            detail.to_mut().push_str(", unpacked");
        }
        Err(CaptureError::Damaged { name: self.name.clone(), detail, octet: self.reader.consumed() as u64 })
    }
}

const NONSENSE: &str = "a block's header makes no sense";
const TOO_LONG: &str = "a block says that it is longer than any capture has them";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_capture_is_named() {
        let of = |octets: &'static [u8]| Capture::from_reader("x".to_owned(), octets).unwrap_err().to_string();
        assert!(of(b"").contains("empty"));
        assert!(of(b"\xd4\xc3\xb2\xa1").contains("too short"));
        assert!(of(b"{\"records\": []}, and more of the kind").contains("first octets"));
        assert!(of(b"\xfd7zXZ\x00\x00\x04 and so on, and so on").contains("xz"));
        assert!(of(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]).contains("nothing in it"));
        assert!(of(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 7, 7, 7, 7, 7, 7, 7]).starts_with("x: "));
        assert!(Capture::open(Path::new("/nonexistent/x.pcap")).unwrap_err().to_string().contains("x.pcap"));
    }
}
