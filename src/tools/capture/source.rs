//! The octets of a capture file, unpacked where they are compressed.
//!
//! Any reader enters; what leaves is plain octets in reads that fill what they are given. gzip and zstd
//! are known by their first octets, whatever the file is called. A fault of the reader or of the
//! compressed stream ends the octets and is kept, so that all before it can be used first.

use std::io::{self, BufReader, Cursor, Read};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::read::MultiGzDecoder;

/// Octets that tell what a file is.
const HEAD_OCTETS: usize = 8;
/// Octets that are unpacked at once: where a stream is damaged, its unpacker drops what it made of the same call.
const PIECE_OCTETS: usize = 1_024;

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// What ended the octets before their time; shared with whoever reads them.
#[derive(Debug, Clone, Default)]
pub(super) struct Fault(Arc<Mutex<Option<String>>>);

impl Fault {
    /// The fault, if there was one.
    pub(super) fn text(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, error: &io::Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }
}

/// Plain octets; see the head of the file.
pub(super) struct Source {
    inner: Box<dyn Read + Send>,
    fault: Fault,
    ended: bool,
    head: Vec<u8>,
}

/// A reader whose reads fill what they are given, up to the end or a fault.
struct Filled<R>(R);

impl<R: Read> Read for Filled<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match self.0.read(&mut into[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // The next read meets it again, or the end.
                Err(_) if filled > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }
}

impl Source {
    /// Looks at the first octets and unpacks what follows.
    ///
    /// # Errors
    /// The first octets cannot be read.
    pub(super) fn new(mut file: impl Read + Send + 'static) -> io::Result<(Self, Packing, Fault)> {
        let mut head = Vec::with_capacity(HEAD_OCTETS);
        file.by_ref().take(HEAD_OCTETS as u64).read_to_end(&mut head)?;
        let packing = packing(&head);
        // Filled, too: what an unpacker makes of a damaged stream depends on how much of it it is given.
        let file = BufReader::new(Filled(Cursor::new(head.clone()).chain(file)));
        let inner: Box<dyn Read + Send> = match packing {
            Packing::Plain => Box::new(file),
            // Several members in a row are one file, as `gzip -d` has it.
            Packing::Gzip => Box::new(MultiGzDecoder::new(file)),
            // libzstd refuses windows of more than 128 MiB by itself, which bounds its memory.
            Packing::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(file)?),
        };
        let fault = Fault::default();
        Ok((Self { inner, fault: fault.clone(), ended: false, head }, packing, fault))
    }

    /// The file's first octets as they are.
    pub(super) fn head(&self) -> Vec<u8> {
        self.head.clone()
    }
}

fn packing(head: &[u8]) -> Packing {
    match head {
        [0x1f, 0x8b, ..] => Packing::Gzip,
        // A frame, or a skippable frame (0x184d2a50 to 5f) before one, as parallel packers write it.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Packing::Zstd,
        _ => Packing::Plain,
    }
}

/// What a file that is no capture seems to be, by its first octets.
pub(super) fn stranger(head: &[u8]) -> &'static str {
    match head {
        [] => "it is empty",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "it is packed by xz: unpack it first",
        [b'B', b'Z', b'h', ..] => "it is packed by bzip2: unpack it first",
        [0x04, 0x22, 0x4d, 0x18, ..] => "it is packed by lz4: unpack it first",
        [b'P', b'K', 3 | 5, ..] => "it is a ZIP archive: unpack it first",
        [b's', b'n', b'o', b'o', b'p', 0, ..] => "it is a snoop capture: convert it by editcap",
        _ => "its first octets are unknown",
    }
}

impl Read for Source {
    /// Fills `into` as far as there is something: a short read must not be taken for the end.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() && !self.ended {
            let piece = (into.len() - filled).min(PIECE_OCTETS);
            match self.inner.read(&mut into[filled..filled + piece]) {
                Ok(0) => self.ended = true,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.fault.set(&e);
                    self.ended = true;
                }
            }
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(octets: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(octets).unwrap();
        packer.finish().unwrap()
    }

    /// A source that gives an octet at a time, with interruptions between.
    struct Drops(Cursor<Vec<u8>>, bool);

    impl Read for Drops {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            self.0.read(&mut into[..1])
        }
    }

    fn unpacked(octets: Vec<u8>) -> (Vec<u8>, Packing, Option<String>) {
        let (mut source, packing, fault) = Source::new(Drops(Cursor::new(octets), false)).unwrap();
        let mut all = Vec::new();
        source.read_to_end(&mut all).unwrap();
        (all, packing, fault.text())
    }

    #[test]
    fn packed_octets_are_known_by_their_beginning() {
        let plain: Vec<u8> = (0..40_000_u32).flat_map(u32::to_be_bytes).collect();
        assert_eq!(unpacked(plain.clone()), (plain.clone(), Packing::Plain, None));
        let two_members = [gzip(&plain[..100]), gzip(&plain[100..])].concat();
        assert_eq!(unpacked(two_members), (plain.clone(), Packing::Gzip, None));
        let zstd = zstd::encode_all(&plain[..], 1).unwrap();
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9][..], &zstd].concat();
        assert_eq!(unpacked(zstd), (plain.clone(), Packing::Zstd, None));
        assert_eq!(unpacked(skippable), (plain, Packing::Zstd, None));
        assert_eq!(unpacked(Vec::new()).0, b"");
    }

    #[test]
    fn a_broken_stream_gives_what_is_before_the_fault() {
        let plain: Vec<u8> = (0..40_000_u32).flat_map(u32::to_be_bytes).collect();
        for packed in [gzip(&plain), zstd::encode_all(&plain[..], 1).unwrap()] {
            let (all, _, fault) = unpacked(packed[..packed.len() - 9].to_vec());
            assert!(all.len() > 1_000 && plain.starts_with(&all), "{} octets", all.len());
            assert!(fault.is_some(), "the end is missing");
        }
        // Damage in the middle costs what is near it.
        let mut packed = gzip(&plain);
        let middle = packed.len() / 2;
        packed[middle..middle + 64].fill(0xff);
        let (all, _, fault) = unpacked(packed);
        let before = plain.iter().zip(&all).take_while(|(a, b)| a == b).count();
        assert!(before > plain.len() / 3 && fault.is_some(), "{before} of {} octets, {fault:?}", plain.len());
        let mut packed = gzip(&plain);
        let checksum = packed.len() - 8;
        packed[checksum] ^= 1;
        let (all, _, fault) = unpacked(packed);
        assert!(all == plain && fault.is_some(), "a wrong checksum is told: {fault:?}");
    }
}
