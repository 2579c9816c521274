//! Text of the wire -> text that can be shown (IX-32): bounded, whole UTF-8, nothing behind the first NUL.

use crate::limits::OPTIONS_TEXT_OCTETS_MAX;

/// Room for a text that had to be mended.
pub(in crate::decode) type TextRoom = [u8; OPTIONS_TEXT_OCTETS_MAX];

/// An empty room.
pub(in crate::decode) const TEXT_ROOM: TextRoom = [0; OPTIONS_TEXT_OCTETS_MAX];

/// The text up to the first NUL, without the blanks that fill a field up. What is no UTF-8 is replaced visibly, in
/// `room`; what is well-formed, nearly everything, is not copied.
pub(in crate::decode) fn text<'a>(octets: &'a [u8], room: &'a mut TextRoom) -> &'a str {
    let end = octets.iter().position(|o| *o == 0).unwrap_or(octets.len());
    let octets = &octets[..end];
    let whole = match str::from_utf8(octets) {
        Ok(text) => text,
        Err(_) => mended(octets, room),
    };
    whole[..whole.floor_char_boundary(OPTIONS_TEXT_OCTETS_MAX)].trim_end()
}

#[cold]
fn mended<'a>(octets: &[u8], room: &'a mut TextRoom) -> &'a str {
    const INSTEAD: &str = "\u{FFFD}";
    let mut length = 0;
    // False when the room is used up; a character is taken whole or not at all.
    let mut add = |text: &str| {
        let fits = text.floor_char_boundary(OPTIONS_TEXT_OCTETS_MAX - length);
        room[length..length + fits].copy_from_slice(&text.as_bytes()[..fits]);
        length += fits;
        fits == text.len()
    };
    for chunk in octets.utf8_chunks() {
        if !add(chunk.valid()) || !chunk.invalid().is_empty() && !add(INSTEAD) {
            break;
        }
    }
    str::from_utf8(&room[..length]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(octets: &[u8]) -> String {
        let mut room = TEXT_ROOM;
        text(octets, &mut room).to_owned()
    }

    #[test]
    fn ix_32_text_is_cut_trimmed_and_mended() {
        assert_eq!(of(b"Gi0/0\0\0rest"), "Gi0/0");
        assert_eq!(of(b"WAN  to ISP   "), "WAN  to ISP");
        assert_eq!(of(b""), "");
        assert_eq!(of(b"\0abc"), "");
        assert_eq!(of(b"a\xFF\xFEb"), "a\u{FFFD}\u{FFFD}b");
        assert_eq!(of("Zürich".as_bytes()), "Zürich");
        assert_eq!(of(&[b'x'; 300]).len(), 256);
        // A character that does not fit whole is left out.
        assert_eq!(of("ü".repeat(200).as_bytes()).len(), 256);
        assert_eq!(of(["x", &"ü".repeat(200)].concat().as_bytes()).len(), 255);
        assert_eq!(of(&[0xFF; 300]), "\u{FFFD}".repeat(85));
    }

    proptest! {
        #[test]
        fn a_10_text_is_bounded_whatever_the_octets_are(octets in prop::collection::vec(any::<u8>(), 0..600)) {
            let said = of(&octets);
            prop_assert!(said.len() <= OPTIONS_TEXT_OCTETS_MAX && !said.contains('\0'));
            let end = octets.iter().position(|o| *o == 0).unwrap_or(octets.len());
            let reference = String::from_utf8_lossy(&octets[..end]).into_owned();
            prop_assert!(reference.starts_with(&said));
        }
    }
}
