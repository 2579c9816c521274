//! Content negotiation of `/metrics`: JSON for the backend's poll, Prometheus text for all else.
//!
//! In go the values of the Accept header, out comes one of two formats. An answer is always given:
//! a reader that accepts neither gets the text (RFC 9110 section 12.5.1 allows it).

/// What `/metrics` answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// The JSON object that the backend polls.
    Json,
    /// Prometheus text 0.0.4.
    Text,
}

/// Picks the format. `accept` is the header's values joined by commas, None when it is absent.
///
/// The higher quality wins, a media type by name before a wildcard. Between equals, JSON if it is
/// named or if nothing but `*/*` is; a browser names neither and gets the text.
pub(super) fn negotiate(accept: Option<&str>) -> Format {
    let Some(accept) = accept.filter(|a| !a.trim().is_empty()) else { return Format::Json };
    let mut json = Best::default();
    let mut text = Best::default();
    let mut only_any = true;
    for range in split_outside_quotes(accept, ',') {
        let mut parts = split_outside_quotes(range, ';');
        let media = parts.next().unwrap_or("").trim().to_ascii_lowercase();
        if media.is_empty() {
            continue;
        }
        let quality = parts.find_map(parse_quality).unwrap_or(1_000);
        only_any &= media == "*/*";
        match media.as_str() {
            "*/*" => {
                json.offer(0, quality);
                text.offer(0, quality);
            }
            "application/*" => json.offer(1, quality),
            "text/*" => text.offer(1, quality),
            "application/json" => json.offer(2, quality),
            "text/plain" | "application/openmetrics-text" => text.offer(2, quality),
            _ => {}
        }
    }
    match json.quality.cmp(&text.quality) {
        std::cmp::Ordering::Greater => Format::Json,
        std::cmp::Ordering::Equal if json.quality > 0 && (json.rank > 0 || only_any) => Format::Json,
        _ => Format::Text,
    }
}

/// The quality of the most specific range that matched, in thousandths.
#[derive(Default)]
struct Best {
    rank: u8,
    quality: u16,
}

impl Best {
    fn offer(&mut self, rank: u8, quality: u16) {
        if rank > self.rank {
            *self = Self { rank, quality };
        } else if rank == self.rank {
            self.quality = self.quality.max(quality);
        }
    }
}

/// `q=0.75` as 750; None for other parameters. A value that is no number counts as 0: whoever wrote
/// it did not mean "first".
fn parse_quality(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let value: f32 = value.trim().parse().unwrap_or(0.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1000; NaN casts to 0")]
    let thousandths = (value.clamp(0.0, 1.0) * 1_000.0).round() as u16;
    Some(thousandths)
}

/// Parts of `text` between `separator`s that do not stand in a quoted string.
fn split_outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        if escaped {
            escaped = false;
        } else if quoted && c == '\\' {
            escaped = true;
        } else if c == '"' {
            quoted = !quoted;
        } else if c == separator && !quoted {
            return true;
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::Format::{Json, Text};
    use super::negotiate;

    #[test]
    fn readers_in_the_field_get_what_they_can_read() {
        for (accept, expected) in [
            (None, Json),
            (Some(""), Json),
            (Some("*/*"), Json),
            (Some("*/*;q=0.5"), Json),
            (Some("application/json"), Json),
            (Some("Application/JSON; charset=utf-8"), Json),
            (Some("application/json, text/plain, */*"), Json),
            (Some("application/*"), Json),
            // Prometheus 2 and 3, with and without native histograms; vmagent.
            (Some("application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"), Text),
            (
                Some(
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ),
                Text,
            ),
            (
                Some(
                    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                ),
                Text,
            ),
            (Some("text/plain;version=0.0.4;q=1,*/*;q=0.1"), Text),
            (Some("text/plain"), Text),
            (Some("text/*"), Text),
            // A browser.
            (Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), Text),
            (Some("image/png"), Text),
        ] {
            assert_eq!(negotiate(accept), expected, "{accept:?}");
        }
    }

    #[test]
    fn quality_decides_and_the_named_type_beats_the_wildcard() {
        assert_eq!(negotiate(Some("application/json;q=0.1, text/plain;q=0.2")), Text);
        assert_eq!(negotiate(Some("application/json;q=0.3, text/plain;q=0.2")), Json);
        assert_eq!(negotiate(Some("application/json;q=0.5, */*")), Text, "the wildcard leaves the text at 1");
        assert_eq!(negotiate(Some("text/plain;q=0.1, */*;q=0.5")), Json);
        assert_eq!(negotiate(Some("application/json;q=0")), Text);
        assert_eq!(negotiate(Some("application/json;q=0, */*")), Text);
        assert_eq!(negotiate(Some("*/*;q=0")), Text);
    }

    #[test]
    fn nonsense_is_survived() {
        for accept in [",", ";;,;q=", "application/json;q=x", "application/json;q=-1", "a;b=\"x,y;q=1\\\"", "\"", "q=1"]
        {
            let _ = negotiate(Some(accept));
        }
        assert_eq!(negotiate(Some("x/y;a=\"application/json,\", text/plain")), Text);
        assert_eq!(negotiate(Some("application/json;q=x, text/plain;q=0.1")), Text);
        assert_eq!(negotiate(Some("application/json;a=\";q=0\"")), Json, "a quoted q is none");
    }
}
