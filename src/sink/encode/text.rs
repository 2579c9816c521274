//! Text and times of the wire as JSON: whatever the octets are, what comes out is valid UTF-8 that does nothing to a
//! terminal, a log or a page (A-14).

use super::line::{Line, hex};
use crate::limits::TEXT_VALUE_OCTETS_MAX;

/// `octets` as a JSON string with its quotes: up to the first NUL, without the blanks that fill a fixed length, what is
/// not UTF-8 as U+FFFD, cut with an ellipsis where it is long (IX-32).
pub(super) fn json_text(out: &mut Vec<u8>, octets: &[u8]) {
    let end = octets.iter().position(|octet| *octet == 0).unwrap_or(octets.len());
    let whole = octets[..end].trim_ascii_end();
    let kept = whole.get(..TEXT_VALUE_OCTETS_MAX).map_or(whole, until_character);
    out.push(b'"');
    for chunk in kept.utf8_chunks() {
        escape(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    if kept.len() < whole.len() {
        out.extend_from_slice("\u{2026}".as_bytes());
    }
    out.push(b'"');
}

/// Without the beginning of a character at the end.
fn until_character(octets: &[u8]) -> &[u8] {
    let continued = octets.iter().rev().take(3).take_while(|octet| **octet & 0xc0 == 0x80).count();
    let last = octets.len() - continued;
    match last.checked_sub(1).and_then(|at| octets.get(at)) {
        Some(first) if *first >= 0xc0 => &octets[..last - 1],
        _ => octets,
    }
}

fn escape(out: &mut Vec<u8>, text: &str) {
    // Runs of ordinary characters go in one piece.
    let mut from = 0;
    for (at, character) in text.char_indices() {
        if !is_escaped(character) {
            continue;
        }
        out.extend_from_slice(&text.as_bytes()[from..at]);
        from = at + character.len_utf8();
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.extend_from_slice(b"\\u");
                    hex(out, &unit.to_be_bytes());
                }
            }
        }
    }
    out.extend_from_slice(&text.as_bytes()[from..]);
}

/// What JSON wants escaped, and what changes how its surroundings look: control characters (C0, DEL, C1), marks and
/// overrides of direction, line and paragraph separators, invisible ones, tags.
const fn is_escaped(character: char) -> bool {
    matches!(
        character,
        '"' | '\\'
            | '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// A time that a line can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instant {
    /// Unix seconds, at most [`UNIX_SECONDS_MAX`].
    seconds: u64,
    /// Nanoseconds of that second.
    nanoseconds: u32,
    /// Digits behind the second: 0, 3, 6 or 9.
    digits: usize,
}

/// 9999-12-31T23:59:59Z: the last second whose year has four digits (RFC 3339).
const UNIX_SECONDS_MAX: u64 = 253_402_300_799;
/// Seconds from the NTP epoch (1900) to the Unix epoch.
const NTP_UNIX_OFFSET_S: i64 = 2_208_988_800;

impl Instant {
    pub(super) fn of_seconds(seconds: u32) -> Self {
        Self { seconds: u64::from(seconds), nanoseconds: 0, digits: 0 }
    }

    /// None past the year 9999.
    pub(super) fn of_milliseconds(milliseconds: u64) -> Option<Self> {
        let seconds = milliseconds / 1_000;
        let nanoseconds = u32::try_from(milliseconds % 1_000).ok()? * 1_000_000;
        (seconds <= UNIX_SECONDS_MAX).then_some(Self { seconds, nanoseconds, digits: 3 })
    }

    /// A 64-bit NTP stamp in the era that is nearest to `near_ms` (Unix milliseconds), cut to microseconds if asked, where
    /// the low 11 bits of the fraction mean nothing (RFC 7011 6.1.9, 6.1.10). None before 1970 and past the year 9999.
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a word, and a distance within one era")]
    #[expect(clippy::cast_possible_wrap, reason = "a distance of more than half an era points backwards")]
    pub(super) fn of_ntp(stamp: u64, near_ms: u64, microseconds: bool) -> Option<Self> {
        let near = i64::try_from(near_ms / 1_000).ok()?.checked_add(NTP_UNIX_OFFSET_S)?;
        let distance = ((stamp >> 32) as u32).wrapping_sub(near as u32) as i32;
        let seconds = near.checked_add(i64::from(distance))?.checked_sub(NTP_UNIX_OFFSET_S)?;
        let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds <= UNIX_SECONDS_MAX)?;
        let fraction = stamp & 0xffff_ffff;
        Some(if microseconds {
            Self { seconds, nanoseconds: (((fraction & !0x7ff) * 1_000_000) >> 32) as u32 * 1_000, digits: 6 }
        } else {
            Self { seconds, nanoseconds: ((fraction * 1_000_000_000) >> 32) as u32, digits: 9 }
        })
    }

    /// RFC 3339 in UTC, without quotes.
    pub(super) fn write(self, line: &mut Line) {
        let (year, month, day) = date(self.seconds / 86_400);
        let of_day = self.seconds % 86_400;
        line.padded(year, 4);
        line.lit(b"-");
        line.padded(month, 2);
        line.lit(b"-");
        line.padded(day, 2);
        line.lit(b"T");
        line.padded(of_day / 3_600, 2);
        line.lit(b":");
        line.padded(of_day / 60 % 60, 2);
        line.lit(b":");
        line.padded(of_day % 60, 2);
        if self.digits > 0 {
            line.lit(b".");
            let cut = 10_u64.pow(9 - u32::try_from(self.digits).unwrap_or(9));
            line.padded(u64::from(self.nanoseconds) / cut, self.digits);
        }
        line.lit(b"Z");
    }
}

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    /// Days of 400, 100 and 4 years that begin with the first year after a leap day's.
    const SPANS: [(u64, u64, u64); 3] = [(146_097, 400, u64::MAX), (36_524, 100, 3), (1_461, 4, 24)];
    // Counted from 1600-03-01, so that a leap day is the last of its year: 135,080 days before 1970.
    let mut rest = days + 135_080;
    let mut year = 1_600;
    for (length, years, most) in SPANS {
        let spans = (rest / length).min(most);
        rest -= spans * length;
        year += spans * years;
    }
    let years = (rest / 365).min(3);
    rest -= years * 365;
    year += years;
    // From March on.
    let mut month = 3;
    for length in [31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31] {
        if rest < length {
            break;
        }
        rest -= length;
        month += 1;
    }
    if month > 12 { (year + 1, month - 12, rest + 1) } else { (year, month, rest + 1) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(octets: &[u8]) -> (String, String) {
        let mut out = Vec::new();
        json_text(&mut out, octets);
        let written = String::from_utf8(out).expect("UTF-8");
        let read = serde_json::from_str(&written).expect("JSON");
        (written, read)
    }

    fn time(instant: Instant) -> String {
        let mut line = Line::new();
        instant.write(&mut line);
        String::from_utf8(line.as_bytes().to_vec()).expect("ASCII")
    }

    #[test]
    fn ix_32_strings_end_at_nul_and_show_what_is_not_utf_8() {
        for (octets, read) in [
            (&b"Gi0/0\0\0"[..], "Gi0/0"),
            (b"Gi0/0\0rest", "Gi0/0"),
            (b"Gi0/0   ", "Gi0/0"),
            (b"", ""),
            (b"\0\0", ""),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
            (b"a\xffb", "a\u{fffd}b"),
            (b"a\nb\x1b[2J\x07", "a\nb\u{1b}[2J\u{7}"),
            ("Zürich \u{1f600}".as_bytes(), "Zürich \u{1f600}"),
        ] {
            assert_eq!(text(octets).1, read, "{octets:?}");
        }
    }

    #[test]
    fn a_14_nothing_that_acts_on_a_terminal_is_written_as_it_is() {
        let hostile = "\u{1b}]0;x\u{7}\n\r\"\\\u{7f}\u{85}\u{9b}\u{202e}\u{2066}\u{200b}\u{feff}\u{2028}\u{e0041}";
        let (written, read) = text(hostile.as_bytes());
        assert_eq!(read, hostile);
        assert!(written.is_ascii() && written.bytes().all(|octet| octet >= 0x20 && octet != 0x7f), "{written}");
        assert!(written.contains("\\u202e") && written.contains("\\udb40\\udc41"), "{written}");
    }

    #[test]
    fn a_14_a_long_text_is_cut_visibly_at_a_character() {
        for lead in 0..4 {
            let long = "x".repeat(lead) + &"\u{1f600}".repeat(2_000);
            let (_, read) = text(long.as_bytes());
            assert!(read.ends_with("\u{1f600}\u{2026}") && read.len() <= TEXT_VALUE_OCTETS_MAX + 3, "{lead}");
        }
        assert_eq!(text(&[b'x'; TEXT_VALUE_OCTETS_MAX]).1.len(), TEXT_VALUE_OCTETS_MAX);
        let (_, read) = text(&[0xbf; 2 * TEXT_VALUE_OCTETS_MAX]);
        assert!(read.ends_with("\u{fffd}\u{2026}"));
    }

    #[test]
    fn ix_34_times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (u32::MAX, "2106-02-07T06:28:15Z"),
        ] {
            assert_eq!(time(Instant::of_seconds(seconds)), expected);
        }
        let last = Instant::of_milliseconds(253_402_300_799_999).expect("the last one");
        assert_eq!(time(last), "9999-12-31T23:59:59.999Z");
        assert_eq!(Instant::of_milliseconds(253_402_300_800_000), None);
        assert_eq!(Instant::of_milliseconds(u64::MAX), None);
    }

    #[test]
    fn ix_34_ntp_stamps_are_of_the_nearest_era() {
        const NOW_MS: u64 = 1_700_000_000_000;
        let unix = |seconds: u64| seconds + 2_208_988_800;
        let of = |stamp, near, micro| Instant::of_ntp(stamp, near, micro).map(time);
        let half = unix(1_700_000_000) << 32 | 0x8000_0000;
        assert_eq!(of(half, NOW_MS, false).as_deref(), Some("2023-11-14T22:13:20.500000000Z"));
        assert_eq!(of(half, NOW_MS, true).as_deref(), Some("2023-11-14T22:13:20.500000Z"));
        // The low 11 bits of a microsecond stamp mean nothing.
        let noisy = unix(1_700_000_000) << 32 | 0xffff_ffff;
        assert_eq!(of(noisy, NOW_MS, true), of(noisy & !0x7ff, NOW_MS, true));
        assert_eq!(of(noisy, NOW_MS, false).as_deref(), Some("2023-11-14T22:13:20.999999999Z"));
        // Second 0 of era 1.
        assert_eq!(of(0, NOW_MS, false).as_deref(), Some("2036-02-07T06:28:16.000000000Z"));
        assert_eq!(of(unix(0) << 32, 1_000, false).as_deref(), Some("1970-01-01T00:00:00.000000000Z"));
        assert_eq!(of((unix(0) - 1) << 32, 1_000, false), None, "1969 is before what a Unix time can be");
        assert_eq!(of(u64::MAX, u64::MAX, false), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_a_string_that_shows_no_control_character(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let (written, _) = text(&octets);
            let acts = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
            prop_assert!(!written.chars().any(acts));
        }

        #[test]
        fn days_follow_each_other(day in 0_u64..2_932_896) {
            let (today, tomorrow) = (date(day), date(day + 1));
            prop_assert!(tomorrow > today && (1..=12).contains(&today.1) && (1..=31).contains(&today.2));
            prop_assert!(tomorrow.2 == today.2 + 1 || tomorrow.2 == 1);
        }

        #[test]
        fn any_stamp_has_a_time_or_none(stamp in any::<u64>(), near in any::<u64>(), micro in any::<bool>()) {
            let _ = Instant::of_ntp(stamp, near, micro).map(time);
            let _ = Instant::of_milliseconds(stamp).map(time);
        }
    }
}
