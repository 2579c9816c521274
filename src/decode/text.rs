//! Text off the wire -> UTF-8 that any output can take (IX-32).
//!
//! Fields of fixed length are filled up with NULs or spaces. What is no UTF-8 is replaced visibly, never an error. At most
//! [`TEXT_OCTETS_MAX`] octets come out; control characters stay, outputs escape them.

use crate::limits::TEXT_OCTETS_MAX;

/// Text that is being written: no allocation, and what does not fit is cut.
#[derive(Debug)]
pub(super) struct Text {
    octets: [u8; TEXT_OCTETS_MAX],
    length: usize,
}

impl Text {
    /// No text yet.
    pub(super) const fn new() -> Self {
        Self { octets: [0; TEXT_OCTETS_MAX], length: 0 }
    }

    /// What `octets` say: up to the first NUL, without spaces at the end.
    pub(super) fn of_wire(octets: &[u8]) -> Self {
        let mut text = Self::new();
        let end = octets.iter().position(|octet| *octet == 0).unwrap_or(octets.len());
        for chunk in octets[..end].utf8_chunks() {
            if !text.push(chunk.valid()) {
                break;
            }
            if !chunk.invalid().is_empty() && !text.push("\u{FFFD}") {
                break;
            }
        }
        let spaces = text.as_octets().iter().rev().take_while(|octet| **octet == b' ').count();
        text.length -= spaces;
        text
    }

    /// The text: UTF-8.
    pub(super) fn as_octets(&self) -> &[u8] {
        &self.octets[..self.length]
    }

    /// Appends what there is room for, whole characters; false if that was not all.
    fn push(&mut self, text: &str) -> bool {
        let room = TEXT_OCTETS_MAX - self.length;
        let fits = &text[..text.floor_char_boundary(room)];
        self.octets[self.length..self.length + fits.len()].copy_from_slice(fits.as_bytes());
        self.length += fits.len();
        fits.len() == text.len()
    }
}

impl std::fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.push(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ix_32_text_ends_at_a_nul_or_before_its_spaces_and_is_utf_8() {
        for (wire, text) in [
            (&b"Gi0/0\0\0"[..], "Gi0/0"),
            (b"Gi0/0   ", "Gi0/0"),
            (b"  a b  \0c", "  a b"),
            (b"\xFF\xFEx\xC3", "\u{FFFD}\u{FFFD}x\u{FFFD}"),
            ("äö".as_bytes(), "äö"),
            (b"a\nb", "a\nb"),
            (b"", ""),
            (b"\0abc", ""),
        ] {
            assert_eq!(Text::of_wire(wire).as_octets(), text.as_bytes(), "{wire:?}");
        }
    }

    #[test]
    fn a_10_text_is_bounded_and_whole_characters_are_cut() {
        let long = Text::of_wire(&[b'x'; 65_000]);
        assert_eq!(long.as_octets(), [b'x'; TEXT_OCTETS_MAX]);
        let mut odd = vec![b'x'];
        odd.extend("ä".repeat(400).bytes());
        let cut = Text::of_wire(&odd);
        assert_eq!(std::str::from_utf8(cut.as_octets()).map(str::len), Ok(TEXT_OCTETS_MAX - 1));
        assert!(Text::of_wire(&[0xFF; 65_000]).as_octets().len() <= TEXT_OCTETS_MAX);
    }
}
