//! The three date formats of RFC 9110 section 5.6.7, read for Retry-After.
//!
//! Week days are not compared with the date: a backend that gets its own week day wrong still means
//! the date. Everything is UTC by definition.

/// Unix seconds of an HTTP date; None if it is none, or lies before 1970.
pub(super) fn unix_seconds(text: &str) -> Option<u64> {
    let mut words = [""; 6];
    let mut count = 0;
    for word in text.split([' ', ',', '-']).filter(|w| !w.is_empty()) {
        *words.get_mut(count)? = word;
        count += 1;
    }
    match words[..count] {
        // Sun, 06 Nov 1994 08:49:37 GMT, and with a two-digit year Sunday, 06-Nov-94 08:49:37 GMT.
        [_, day, month, year, time, "GMT"] => assemble(day, month, year, time),
        // Sun Nov  6 08:49:37 1994
        [_, month, day, time, year] => assemble(day, month, year, time),
        _ => None,
    }
}

fn assemble(day: &str, month: &str, year: &str, time: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = MONTHS.iter().position(|m| *m == month)? as u64 + 1;
    let year = match (year.len(), number(year)?) {
        (4, year) => year,
        (2, year @ 70..) => 1900 + year,
        (2, year) => 2000 + year,
        _ => return None,
    };
    let day = number(day).filter(|d| (1..=31).contains(d))?;
    let mut clock = time.split(':').map(number);
    let hour = clock.next()??;
    let minute = clock.next()??;
    let second = clock.next()??;
    if clock.next().is_some() || hour > 23 || minute > 59 || second > 60 || year < 1970 {
        return None;
    }
    Some(days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Digits only (parse alone would take a sign), at most four of them.
fn number(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leaps = |y: u64| y / 4 - y / 100 + y / 400;
    let leap_year = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let leap_day = u64::from(leap_year && month > 2);
    (year - 1970) * 365 + leaps(year - 1) - leaps(1969) + BEFORE[(month - 1) as usize] + leap_day + day - 1
}

#[cfg(test)]
mod tests {
    use super::unix_seconds;

    #[test]
    fn the_three_formats_name_one_instant() {
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(unix_seconds(text), Some(784_111_777), "{text}");
        }
    }

    #[test]
    fn leap_days_and_centuries() {
        assert_eq!(unix_seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(unix_seconds("Tue, 29 Feb 2000 00:00:00 GMT"), Some(951_782_400));
        assert_eq!(unix_seconds("Wed, 01 Mar 2000 00:00:00 GMT"), Some(951_868_800));
        assert_eq!(unix_seconds("Sat, 01 Mar 2025 12:00:00 GMT"), Some(1_740_830_400));
        assert_eq!(unix_seconds("Mon, 01 Mar 2100 00:00:00 GMT"), Some(4_107_542_400));
    }

    #[test]
    fn anything_else_is_no_date() {
        for text in [
            "",
            "soon",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:49:37:1 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT more",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 99999999999999999999 08:49:37 GMT",
            "Wed, 31 Dec 1969 23:59:59 GMT",
        ] {
            assert_eq!(unix_seconds(text), None, "{text}");
        }
    }
}
