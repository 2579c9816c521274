//! Unix nanoseconds -> RFC 3339 in UTC, with milliseconds: the only form of time in the API.

const NS_PER_S: u64 = 1_000_000_000;
const S_PER_DAY: u64 = 86_400;

/// `2024-02-29T23:59:59.999Z`; None for 0, which stands for "never".
pub(crate) fn rfc3339(unix_ns: u64) -> Option<String> {
    if unix_ns == 0 {
        return None;
    }
    let (seconds, ms) = (unix_ns / NS_PER_S, unix_ns % NS_PER_S / 1_000_000);
    let (day, second) = (seconds / S_PER_DAY, seconds % S_PER_DAY);
    let (year, month, day) = civil(day);
    let (h, m, s) = (second / 3_600, second / 60 % 60, second % 60);
    Some(format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z"))
}

/// `2024-02-29`, the day of a second.
pub(crate) fn day(unix_s: u64) -> String {
    let (year, month, day) = civil(unix_s / S_PER_DAY);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Year, month and day of a day counted from 1970-01-01. Years begin in March here, so that the leap
/// day is the last of its year; an era is the 400 years after which the calendar repeats.
const fn civil(day: u64) -> (u64, u64, u64) {
    const DAYS_PER_ERA: u64 = 146_097;
    let day = day + 719_468; // days from 0000-03-01 to 1970-01-01
    let (era, day) = (day / DAYS_PER_ERA, day % DAYS_PER_ERA);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // March is 0; five months have 153 days
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days_read_as_they_should() {
        for (seconds, expected) in [
            (1, "1970-01-01T00:00:01.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (1_709_251_200, "2024-03-01T00:00:00.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (18_446_744_073, "2554-07-21T23:34:33.000Z"),
        ] {
            assert_eq!(rfc3339(seconds * NS_PER_S).as_deref(), Some(expected));
        }
        assert_eq!(rfc3339(1_700_000_000_123_456_789).as_deref(), Some("2023-11-14T22:13:20.123Z"));
        assert_eq!(rfc3339(0), None);
        assert_eq!(day(1_709_251_199), "2024-02-29");
    }

    #[test]
    fn days_follow_each_other_without_a_gap() {
        let mut last = civil(0);
        for day in 1..200_000 {
            let now = civil(day);
            let next_in_month = now == (last.0, last.1, last.2 + 1);
            let next_month = now == (last.0, last.1 + 1, 1) && last.2 >= 28;
            let next_year = now == (last.0 + 1, 1, 1) && (last.1, last.2) == (12, 31);
            assert!(next_in_month || next_month || next_year, "{last:?} then {now:?}");
            last = now;
        }
    }
}
