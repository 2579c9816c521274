//! Content-Encoding of a body: gzip and zstd, read within a bound.
//!
//! A compressed body enters, its octets leave. Promised: never more than BACKEND_BODY_OCTETS_MAX octets come out of one
//! body, however small it is on the wire, and no window larger than RFC 9659 allows is made room for.

use std::borrow::Cow;
use std::io::{self, Read as _};

use crate::limits;

/// Log2 of the largest zstd window: 8 MiB, what RFC 9659 section 3 lets a sender of this encoding use.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Zstd,
}

impl Coding {
    /// The coding of a Content-Encoding header; None for one that is not known, lists of them included.
    pub(super) fn of(header: &[u8]) -> Option<Self> {
        let header = header.trim_ascii();
        [Self::Identity, Self::Gzip, Self::Zstd].into_iter().find(|c| c.name().as_bytes().eq_ignore_ascii_case(header))
    }

    /// Its registered name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// Why a body gives nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// More comes out of it than is taken.
    TooLarge,
    /// It is not what its header says.
    Broken(String),
}

/// The octets of a body.
///
/// # Errors
/// It is damaged, cut short, or would become too large.
pub(super) fn decode(coding: Coding, body: &[u8]) -> Result<Cow<'_, [u8]>, Fault> {
    let decoded = match coding {
        Coding::Identity => return Ok(Cow::Borrowed(body)),
        Coding::Gzip => bounded(flate2::read::MultiGzDecoder::new(body)),
        Coding::Zstd => zstd::stream::read::Decoder::with_buffer(body).and_then(|mut decoder| {
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            bounded(decoder)
        }),
    };
    let decoded = decoded.map_err(|e| Fault::Broken(format!("The body is no {}: {e}.", coding.name())))?;
    if decoded.len() > limits::BACKEND_BODY_OCTETS_MAX { Err(Fault::TooLarge) } else { Ok(Cow::Owned(decoded)) }
}

/// All octets, but one more than the bound at most.
fn bounded(from: impl io::Read) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    from.take(limits::BACKEND_BODY_OCTETS_MAX as u64 + 1).read_to_end(&mut octets)?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(octets: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(octets).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(octets: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(octets, 1).unwrap()
    }

    #[test]
    fn what_was_encoded_comes_back_and_a_cut_anywhere_is_noticed() {
        let text: Vec<u8> = (0..2_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for (coding, encoded) in [(Coding::Gzip, gzip(&text)), (Coding::Zstd, zstd(&text))] {
            assert_eq!(decode(coding, &encoded).unwrap().as_ref(), text, "{coding:?}");
            for cut in 1..encoded.len() {
                assert!(matches!(decode(coding, &encoded[..cut]), Err(Fault::Broken(_))), "{coding:?} cut at {cut}");
            }
            assert!(matches!(decode(coding, b"{\"records\":[]}"), Err(Fault::Broken(_))), "{coding:?}");
            let trailing = [encoded.as_slice(), b"trailing"].concat();
            assert!(matches!(decode(coding, &trailing), Err(Fault::Broken(_))), "{coding:?}");
        }
        assert_eq!(decode(Coding::Identity, &text).unwrap().as_ref(), text);
    }

    #[test]
    fn a_small_body_that_becomes_a_large_one_is_refused() {
        let large = vec![b' '; limits::BACKEND_BODY_OCTETS_MAX + 1];
        for (coding, encoded) in [(Coding::Gzip, gzip(&large)), (Coding::Zstd, zstd(&large))] {
            assert!(encoded.len() < large.len() / 100, "{coding:?}");
            assert_eq!(decode(coding, &encoded), Err(Fault::TooLarge), "{coding:?}");
        }
        let fits = &large[1..];
        assert_eq!(decode(Coding::Zstd, &zstd(fits)).unwrap().len(), fits.len());
    }

    #[test]
    fn codings_go_by_their_names() {
        assert_eq!(Coding::of(b" GZip "), Some(Coding::Gzip));
        assert_eq!(Coding::of(b"zstd"), Some(Coding::Zstd));
        assert_eq!(Coding::of(b"identity"), Some(Coding::Identity));
        for unknown in [&b"br"[..], b"gzip, gzip", b"", b"gzi", b"\xff"] {
            assert_eq!(Coding::of(unknown), None, "{unknown:?}");
        }
    }
}
