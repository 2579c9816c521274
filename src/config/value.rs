//! Text -> value of a key, with its unit and range, and back.
//!
//! Durations and sizes carry units; bare numbers have the Python collector's unit: seconds and
//! octets. Every refusal says what was expected, in which range, and what to do.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::keys::{Key, Kind, Preset, nearest};
use super::url;
use crate::limits::{self, Range};
use crate::secret::Secret;

/// A checked value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// To be computed at start.
    Auto,
    /// Text, a word of a choice, a path, a URL or a level.
    Text(String),
    /// A secret.
    Secret(Secret),
    /// An address.
    Host(IpAddr),
    /// A port.
    Port(u16),
    /// A port or several.
    Ports(RangeInclusive<u16>),
    /// Yes or no.
    Flag(bool),
    /// A number.
    Count(u64),
    /// Octets.
    Octets(u64),
    /// A duration.
    Duration(Duration),
}

/// Longest text that a key takes: enough for a URL or a path.
const TEXT_OCTETS_MAX: usize = 1_024;
/// Longest list of names.
const NAMES_OCTETS_MAX: usize = 16_384;
/// Longest secret: long tokens have some thousand octets.
const SECRET_OCTETS_MAX: usize = 16_384;

/// Reads what an operator wrote for `key`.
///
/// # Errors
/// What is wrong with it, which values are right and what to do, without the place where it stands.
pub fn parse(key: &Key, text: &str) -> Result<Value, String> {
    let text = text.trim();
    if matches!(key.preset, Preset::Computed(_)) && text.eq_ignore_ascii_case("auto") {
        return Ok(Value::Auto);
    }
    match key.kind {
        Kind::Text | Kind::Path | Kind::File => plain_text(text).map(Value::Text),
        Kind::Secret => secret(text).map(|text| Value::Secret(Secret::new(text))),
        // One comma and one space: what is shown is masked word by word.
        Kind::Url => url::parse_list(text).map(|urls| Value::Text(urls.join(", "))),
        Kind::Host => host(text).map(Value::Host),
        Kind::Port => port(text).map(Value::Port),
        Kind::Ports => ports(text).map(Value::Ports),
        Kind::Flag => flag(text).map(Value::Flag),
        Kind::Choice(words) => choice(text, words).map(|word| Value::Text(word.to_owned())),
        Kind::Switch(words) => switch(text, words).map(|word| Value::Text(word.to_owned())),
        Kind::Level => level(text).map(Value::Text),
        Kind::Names => names(text).map(Value::Text),
        Kind::Count(range) => count(key, text, range).map(Value::Count),
        Kind::Octets(range) => octets(text)
            .ok_or_else(|| "is no size: write octets or a unit, such as \"32MiB\", \"64KiB\" or \"1GiB\"".to_owned())
            .and_then(|n| in_range(key, n, range, render_octets))
            .map(Value::Octets),
        Kind::Duration(range, unit_ms) => duration(key, text, range, unit_ms).map(Value::Duration),
    }
}

/// The value as an operator would write it, without quotes.
#[must_use]
pub fn render(value: &Value) -> String {
    match value {
        Value::Auto => "auto".to_owned(),
        Value::Text(text) => text.clone(),
        Value::Secret(secret) if secret.is_empty() => String::new(),
        Value::Secret(_) => "***".to_owned(),
        Value::Host(host) => host.to_string(),
        Value::Port(port) => port.to_string(),
        Value::Ports(ports) if ports.start() == ports.end() => ports.start().to_string(),
        Value::Ports(ports) => format!("{}-{}", ports.start(), ports.end()),
        Value::Flag(flag) => flag.to_string(),
        Value::Count(n) => n.to_string(),
        Value::Octets(n) => render_octets(*n),
        Value::Duration(duration) => render_duration(*duration),
    }
}

/// The value of a key that nobody set, as an operator would write it, without quotes.
#[must_use]
pub fn preset_text(key: &Key) -> String {
    match (key.preset, key.kind) {
        (Preset::Text(text), _) => text.to_owned(),
        (Preset::Computed(_), _) => "auto".to_owned(),
        (Preset::OfRange, Kind::Count(range)) => range.default.to_string(),
        (Preset::OfRange, Kind::Octets(range)) => render_octets(range.default),
        (Preset::OfRange, Kind::Duration(range, unit_ms)) => {
            render_duration(Duration::from_millis(range.default * unit_ms))
        }
        (Preset::OfRange, _) => String::new(),
    }
}

/// Which values are right, for people.
#[must_use]
pub fn range_text(kind: &Kind) -> String {
    match kind {
        Kind::Text => format!("text, at most {TEXT_OCTETS_MAX} octets"),
        Kind::Path => "a directory".to_owned(),
        Kind::File => "a file".to_owned(),
        Kind::Secret => format!("text, at most {SECRET_OCTETS_MAX} octets"),
        Kind::Url => {
            format!(
                "http:// or https://host[:port][/path], up to {} with commas; in a file also a list",
                limits::BACKENDS_MAX
            )
        }
        Kind::Host => "an IP address".to_owned(),
        Kind::Port => "0 to 65535; 0 takes a free port".to_owned(),
        Kind::Ports => "0 to 65535, or a range; 0 takes a free port".to_owned(),
        Kind::Flag => "true or false".to_owned(),
        Kind::Choice(words) | Kind::Switch(words) => words.join(", "),
        Kind::Level => "a level, or directives".to_owned(),
        Kind::Names => "clarion, all, or names with commas; in a file also a list of names".to_owned(),
        Kind::Count(range) => format!("{} to {}", range.min, range.max),
        Kind::Octets(range) => format!("{} to {}", render_octets(range.min), render_octets(range.max)),
        Kind::Duration(range, unit_ms) => format!(
            "{} to {}",
            render_duration(Duration::from_millis(range.min * unit_ms)),
            render_duration(Duration::from_millis(range.max * unit_ms))
        ),
    }
}

/// Octets with the largest unit that leaves no fraction.
#[must_use]
pub fn render_octets(octets: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if octets != 0 && octets.trailing_zeros() >= shift {
            return format!("{}{unit}", octets >> shift);
        }
    }
    octets.to_string()
}

/// A duration with the largest unit that leaves no fraction.
#[must_use]
pub fn render_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        _ if !duration.subsec_nanos().is_multiple_of(1_000_000) => format!("{}ms", duration.as_secs_f64() * 1e3),
        0 => "0s".to_owned(),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}

/// Text without control characters: it gets into headers, labels and log lines.
pub(super) fn plain_text(text: &str) -> Result<String, String> {
    if text.len() > TEXT_OCTETS_MAX {
        return Err(format!("is {} octets long; at most {TEXT_OCTETS_MAX} are taken: shorten it", text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err("holds a control character: remove it".to_owned());
    }
    Ok(text.to_owned())
}

/// Names with commas; which of them there are is held against the registry later.
fn names(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("is empty: write clarion, all, or names with commas".to_owned());
    }
    if text.len() > NAMES_OCTETS_MAX {
        return Err(format!("is {} octets long; at most {NAMES_OCTETS_MAX} are taken: shorten it", text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err("holds a control character: remove it".to_owned());
    }
    Ok(text.to_owned())
}

/// A secret as it was written; lines are kept, because headers come in lines.
fn secret(text: &str) -> Result<String, String> {
    if text.len() > SECRET_OCTETS_MAX {
        return Err(format!("is {} octets long; at most {SECRET_OCTETS_MAX} are taken: shorten it", text.len()));
    }
    if text.chars().any(|c| c.is_control() && c != '\n') {
        return Err("holds a control character: remove it".to_owned());
    }
    Ok(text.to_owned())
}

/// An IP address, in brackets or not.
pub(super) fn host(text: &str) -> Result<IpAddr, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| {
        "is no IP address: write :: for all addresses, or the address of one interface (names are not resolved here)"
            .to_owned()
    })
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "is no port: write a number from 0 to 65535 (0 takes a free one)".to_owned())
}

fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let wrong = || "is no port: write a number from 0 to 65535, or a range such as \"9100-9199\"".to_owned();
    match text.split_once('-') {
        None => text.parse().map(|port: u16| port..=port).map_err(|_| wrong()),
        Some((first, last)) => {
            let (first, last) =
                first.trim().parse::<u16>().and_then(|f| Ok((f, last.trim().parse::<u16>()?))).map_err(|_| wrong())?;
            if first == 0 || first > last {
                return Err("is no range of ports: write the smaller port first and begin at 1 or above".to_owned());
            }
            Ok(first..=last)
        }
    }
}

fn flag(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => {
            Err("is neither true nor false: write true or false (1, 0, yes, no, on and off are understood)".to_owned())
        }
    }
}

/// The word of `words` that `text` is; a flag is the first or the last.
fn switch<'a>(text: &str, words: &[&'a str]) -> Result<&'a str, String> {
    let of_flag = |on: bool| if on { words.first() } else { words.last() };
    choice(text, words).or_else(|problem| flag(text).ok().and_then(of_flag).copied().ok_or(problem))
}

/// The word of `words` that `text` is.
pub(super) fn choice<'a>(text: &str, words: &[&'a str]) -> Result<&'a str, String> {
    words.iter().find(|word| word.eq_ignore_ascii_case(text)).copied().ok_or_else(|| {
        let hint = nearest(text, words.iter().copied()).map(|word| format!(" (is {word} meant?)")).unwrap_or_default();
        format!("is not one of {}{hint}: write one of them", words.join(", "))
    })
}

const LEVELS: &[&str] = &["trace", "debug", "info", "warn", "error", "off"];

/// A level, or directives of tracing's filter; Python's names of levels are translated.
fn level(text: &str) -> Result<String, String> {
    let mut directives = Vec::new();
    for directive in text.split(',').map(str::trim) {
        let (target, level) = match directive.rsplit_once('=') {
            Some((target, level)) => (Some(target.trim()), level.trim()),
            None => (None, directive),
        };
        let level = match level.to_ascii_lowercase().as_str() {
            "warning" => "warn".to_owned(),
            "critical" | "fatal" => "error".to_owned(),
            "notset" => "trace".to_owned(),
            other => other.to_owned(),
        };
        if !LEVELS.contains(&level.as_str()) || target.is_some_and(|target| target.is_empty() || target.contains(' ')) {
            let hint = nearest(&level, LEVELS.iter().copied()).map(|word| format!(" (is {word} meant?)"));
            return Err(format!(
                "is no log level{}: write one of {}, or directives such as \"info,clarion_collector::sink=debug\"",
                hint.unwrap_or_default(),
                LEVELS.join(", ")
            ));
        }
        directives.push(target.map_or_else(|| level.clone(), |target| format!("{target}={level}")));
    }
    Ok(directives.join(","))
}

fn in_range(key: &Key, n: u64, range: Range, show: fn(u64) -> String) -> Result<u64, String> {
    let (what, to_do) = if n < range.min {
        ("below", "raise it")
    } else if n > range.max {
        ("above", "lower it")
    } else {
        return Ok(n);
    };
    Err(format!(
        "is {what} the range {} to {}: {to_do}, or leave it out for the default ({})",
        show(range.min),
        show(range.max),
        preset_text(key)
    ))
}

fn count(key: &Key, text: &str, range: Range) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(n) => in_range(key, n, range, |n| n.to_string()),
        Err(_) => Err(format!("is no whole number: write one from {} to {}", range.min, range.max)),
    }
}

/// Number and unit; only digits and one point make a number, so that 1e9, inf and signs are none.
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim()))
}

/// Octets of a size with or without a unit.
fn octets(text: &str) -> Option<u64> {
    if let Ok(n) = text.parse::<u64>() {
        return Some(n);
    }
    let (number, unit) = number_and_unit(text)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "b" => 1,
        "kib" | "ki" => 1 << 10,
        "mib" | "mi" => 1 << 20,
        "gib" | "gi" => 1 << 30,
        "tib" | "ti" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    };
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "never negative; saturates, and the range is checked behind it"
    )]
    Some((number * factor as f64).round() as u64)
}

fn duration(key: &Key, text: &str, range: Range, unit_ms: u64) -> Result<Duration, String> {
    let wrong = || {
        "is no duration: write one such as \"150ms\", \"5s\", \"2m\" or \"1h\" (a bare number is seconds)".to_owned()
    };
    let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
    let ms = number
        * match unit {
            "ms" => 1.0,
            "" | "s" => 1e3,
            "m" | "min" => 60e3,
            "h" => 3_600e3,
            "d" => 86_400e3,
            _ => return Err(wrong()),
        };
    // Whole milliseconds for the comparison: 0.4ms is below a minimum of 1ms, 1.5ms is not.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "never negative; saturates")]
    let floor = ms as u64;
    let above = (floor == range.max * unit_ms && ms.fract() > 0.0).into();
    let scaled = Range { default: range.default * unit_ms, min: range.min * unit_ms, max: range.max * unit_ms };
    in_range(key, floor.saturating_add(above), scaled, |ms| render_duration(Duration::from_millis(ms)))?;
    Ok(Duration::from_secs_f64(ms / 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::{KEYS, position};

    fn read(id: &str, text: &str) -> Result<Value, String> {
        parse(&KEYS[position(id).expect("a key of the table")], text)
    }

    #[test]
    fn durations_carry_units_and_bare_numbers_are_seconds() {
        for (text, ms) in [("150ms", 150), ("5s", 5_000), ("2m", 120_000), ("5.0", 5_000), ("0.5", 500), ("1 s", 1_000)]
        {
            assert_eq!(read("batch.interval", text), Ok(Value::Duration(Duration::from_millis(ms))), "{text}");
        }
        assert_eq!(read("backend.idle_timeout", "1h"), Ok(Value::Duration(Duration::from_secs(3_600))));
        for text in ["5 parsecs", "", "-1", "1e3", "inf", "NaN", ".", "s", "5ss"] {
            assert!(read("batch.interval", text).unwrap_err().contains("is no duration"), "{text}");
        }
    }

    #[test]
    fn durations_outside_of_their_range_name_it() {
        let error = read("batch.interval", "1ms").unwrap_err();
        assert_eq!(error, "is below the range 10ms to 5m: raise it, or leave it out for the default (5s)");
        assert!(read("batch.interval", "9.9ms").is_err());
        assert!(read("batch.interval", "300.0001").is_err());
        assert!(read("decode.park_age", "86400").is_ok());
        assert!(read("decode.park_age", "24h1").is_err());
        assert!(read("batch.interval", "99999999999999999999999999h").unwrap_err().contains("above"));
    }

    #[test]
    fn sizes_carry_units_and_bare_numbers_are_octets() {
        for (text, octets) in [
            ("33554432", 32 << 20),
            ("32MiB", 32 << 20),
            ("32 mib", 32 << 20),
            ("64Ki", 64 << 10),
            ("1GiB", 1 << 30),
            ("1.5GiB", 3 << 29),
            ("4MB", 4_000_000),
        ] {
            assert_eq!(read("receive.buffer", text), Ok(Value::Octets(octets)), "{text}");
        }
        assert!(read("receive.buffer", "32M").unwrap_err().contains("is no size"));
        assert!(read("receive.buffer", "-1").unwrap_err().contains("is no size"));
        assert!(read("receive.buffer", "1KiB").unwrap_err().contains("below the range 64KiB to 2GiB"));
        assert!(read("receive.buffer", "99999999TiB").unwrap_err().contains("above"));
    }

    #[test]
    fn every_preset_is_a_right_value_and_renders_as_itself() {
        for key in KEYS {
            let text = preset_text(key);
            let value = parse(key, &text).unwrap_or_else(|e| panic!("{} = {text:?} {e}", key.display()));
            assert_eq!(render(&value), text, "{}", key.display());
        }
    }

    #[test]
    fn levels_of_python_are_translated_and_misspelt_ones_refused() {
        assert_eq!(read("log.level", "WARNING"), Ok(Value::Text("warn".into())));
        assert_eq!(read("log.level", "INFO, hyper=Error"), Ok(Value::Text("info,hyper=error".into())));
        assert!(read("log.level", "inof").unwrap_err().contains("is info meant?"));
        assert!(read("log.level", "=debug").is_err());
    }

    #[test]
    fn ports_flags_choices_and_hosts() {
        assert_eq!(read("http.port", "9100-9199"), Ok(Value::Ports(9_100..=9_199)));
        assert!(read("http.port", "9199-9100").is_err());
        assert!(read("http.port", "65536").is_err());
        assert_eq!(read("receive.exclusive", "YES"), Ok(Value::Flag(true)));
        assert!(read("receive.exclusive", "maybe").is_err());
        for (text, word) in
            [("true", "memory"), ("false", "off"), ("off", "off"), ("Disk", "disk"), ("memory", "memory")]
        {
            assert_eq!(read("decode.park", text), Ok(Value::Text(word.to_owned())), "{text}");
        }
        assert!(read("decode.park", "discs").unwrap_err().contains("is disk meant?"));
        assert!(read("receive.steering", "sources").unwrap_err().contains("is source meant?"));
        assert_eq!(read("bind.host", "[::1]"), Ok(Value::Host("::1".parse().unwrap())));
        assert!(read("bind.host", "router.example").is_err());
        assert!(read("instance.name", "a\u{1b}[31m").unwrap_err().contains("control character"));
        assert_eq!(read("receive.workers", "auto"), Ok(Value::Auto));
        assert!(read("batch.size", "auto").is_err());
    }
}
