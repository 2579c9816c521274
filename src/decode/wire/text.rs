//! Text off the wire -> UTF-8 that any output can take (IX-32).
//!
//! Fields of fixed length are filled up with NULs or spaces. What is no UTF-8 is replaced visibly, never an error. At most
//! [`TEXT_OCTETS_MAX`] octets come out; control characters stay, outputs escape them. Nothing is allocated, and what is
//! well-formed, nearly everything, is not copied.

use crate::limits::TEXT_OCTETS_MAX;

/// Room for a text that has to be written: mended, or made of numbers. What does not fit is cut.
#[derive(Debug, Clone, Copy)]
pub(in crate::decode) struct Room {
    octets: [u8; TEXT_OCTETS_MAX],
    length: usize,
}

impl Room {
    /// No text yet.
    pub(in crate::decode) const fn new() -> Self {
        Self { octets: [0; TEXT_OCTETS_MAX], length: 0 }
    }

    /// What was written.
    pub(in crate::decode) fn as_str(&self) -> &str {
        str::from_utf8(&self.octets[..self.length]).unwrap_or_default()
    }

    /// Appends what there is room for, whole characters; false if that was not all.
    fn push(&mut self, text: &str) -> bool {
        let fits = text.floor_char_boundary(TEXT_OCTETS_MAX - self.length);
        self.octets[self.length..self.length + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.length += fits;
        fits == text.len()
    }
}

impl std::fmt::Write for Room {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.push(text);
        Ok(())
    }
}

/// What `octets` say: up to the first NUL, without the spaces that fill a field up. `room` is written only if something
/// has to be mended.
pub(in crate::decode) fn text<'a>(octets: &'a [u8], room: &'a mut Room) -> &'a str {
    let octets = until_nul(octets);
    let whole = match str::from_utf8(octets) {
        Ok(text) => text,
        Err(_) => mended(octets, room),
    };
    whole[..whole.floor_char_boundary(TEXT_OCTETS_MAX)].trim_ascii_end()
}

/// True if [`text`] says something, and all that `octets` do: nothing is replaced or cut.
pub(in crate::decode) fn is_whole(octets: &[u8]) -> bool {
    let said = until_nul(octets).trim_ascii_end();
    (1..=TEXT_OCTETS_MAX).contains(&said.len())
        && str::from_utf8(said).is_ok()
        && octets[said.len()..].iter().all(|octet| *octet == 0 || octet.is_ascii_whitespace())
}

fn until_nul(octets: &[u8]) -> &[u8] {
    &octets[..octets.iter().position(|octet| *octet == 0).unwrap_or(octets.len())]
}

#[cold]
fn mended<'a>(octets: &[u8], room: &'a mut Room) -> &'a str {
    const INSTEAD: &str = "\u{FFFD}";
    room.length = 0;
    for chunk in octets.utf8_chunks() {
        if !room.push(chunk.valid()) || !chunk.invalid().is_empty() && !room.push(INSTEAD) {
            break;
        }
    }
    room.as_str()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(octets: &[u8]) -> String {
        text(octets, &mut Room::new()).to_owned()
    }

    #[test]
    fn ix_32_text_is_cut_trimmed_and_mended() {
        for (wire, text) in [
            (&b"Gi0/0\0\0"[..], "Gi0/0"),
            (b"Gi0/0\0\0rest", "Gi0/0"),
            (b"Gi0/0   ", "Gi0/0"),
            (b"WAN  to ISP   ", "WAN  to ISP"),
            (b"  a b  \0c", "  a b"),
            (b"\xFF\xFEx\xC3", "\u{FFFD}\u{FFFD}x\u{FFFD}"),
            ("Zürich".as_bytes(), "Zürich"),
            (b"a\nb", "a\nb"),
            (b"", ""),
            (b"\0abc", ""),
        ] {
            assert_eq!(of(wire), text, "{wire:?}");
        }
    }

    #[test]
    fn a_10_whole_characters_are_cut() {
        assert_eq!(of(&[b'x'; 65_000]), "x".repeat(TEXT_OCTETS_MAX));
        assert_eq!(of("ü".repeat(200).as_bytes()).len(), TEXT_OCTETS_MAX);
        // A character that does not fit whole is left out.
        assert_eq!(of(["x", &"ü".repeat(200)].concat().as_bytes()).len(), TEXT_OCTETS_MAX - 1);
        assert_eq!(of(&[0xFF; 300]), "\u{FFFD}".repeat(TEXT_OCTETS_MAX / 3));
    }

    #[test]
    fn a_room_is_mended_in_anew() {
        let mut room = Room::new();
        assert_eq!(text(b"long\xFF", &mut room), "long\u{FFFD}");
        assert_eq!(text(b"\xFF", &mut room), "\u{FFFD}");
    }

    proptest! {
        #[test]
        fn a_10_text_is_bounded_whatever_the_octets_are(octets in prop::collection::vec(any::<u8>(), 0..600)) {
            let said = of(&octets);
            prop_assert!(said.len() <= TEXT_OCTETS_MAX && !said.contains('\0'));
            let end = octets.iter().position(|o| *o == 0).unwrap_or(octets.len());
            let reference = String::from_utf8_lossy(&octets[..end]).into_owned();
            prop_assert!(reference.starts_with(&said));
        }

        #[test]
        fn ix_32_what_is_whole_can_be_made_of_the_text_again(
            octets in prop::collection::vec(prop::sample::select(&b"ab \0\xc3\xbc\xff\n"[..]), 0..8),
            fill in 0_usize..300,
        ) {
            let octets = [&octets[..], &vec![b'x'; fill]].concat();
            let said = of(&octets);
            if is_whole(&octets) {
                prop_assert!(!said.is_empty() && octets.starts_with(said.as_bytes()));
                let filled = |octet: &u8| *octet == 0 || octet.is_ascii_whitespace();
                prop_assert!(octets[said.len()..].iter().all(filled));
            } else {
                prop_assert!(said.is_empty() || octets.trim_ascii_end() != said.as_bytes());
            }
        }
    }
}
