//! Log lines: text for people, or one JSON object a line, on standard error.
//!
//! A fixed sentence with fields. Colours only on a terminal. Whatever a field holds, nothing that
//! could move a cursor or fake a line leaves here: control characters are escaped, since fields may
//! come from the wire. JSON lines carry the instance, for collectors that share a log store.

use std::fmt::{self, Write as _};
use std::io::IsTerminal;
use std::sync::OnceLock;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::{LogFormat, LogSettings, Note, NoteLevel};

/// Variable that sets the level of the commands beside the collector.
const LEVEL_VARIABLE: &str = "CLARION_COLLECTOR_LOG_LEVEL";

/// Starts logging for the collector.
///
/// # Errors
/// If the level is no filter, or logging has been started already.
pub fn start(settings: &LogSettings, instance: &str) -> anyhow::Result<()> {
    let NewLevel(filter) = NewLevel::parse(&settings.level)?;
    let lines = Lines {
        json: settings.format == LogFormat::Json,
        colours: std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        instance: instance.to_owned(),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // Else a line that cannot be written is reported on standard error, by a macro that panics when
        // that is closed: the reader of the log would take every thread that logs with it.
        .log_internal_errors(false)
        .event_format(lines)
        .with_filter_reloading();
    let handle = builder.reload_handle();
    builder.try_init().map_err(|e| anyhow::anyhow!("logging cannot start: {e}"))?;
    // Logging starts once, so nothing was there before.
    let _ = FILTER.set(Box::new(move |filter| drop(handle.reload(filter))));
    Ok(())
}

/// Exchanges the filter of the lines.
type SetFilter = Box<dyn Fn(EnvFilter) + Send + Sync>;

static FILTER: OnceLock<SetFilter> = OnceLock::new();

/// A level or directives, ready to be used.
#[derive(Debug)]
pub struct NewLevel(EnvFilter);

impl NewLevel {
    /// Reads `[log] level`.
    ///
    /// # Errors
    /// It is no filter.
    pub fn parse(level: &str) -> anyhow::Result<Self> {
        EnvFilter::try_new(level)
            .map(Self)
            .map_err(|e| anyhow::anyhow!("[log] level = {level:?} is no filter ({e}): write info"))
    }
}

/// Lines are chosen by `level` from now on, where [`start`] was called.
pub fn set_level(level: NewLevel) {
    if let Some(set) = FILTER.get() {
        set(level.0);
    }
}

/// Starts logging for a tool: warnings only, unless the environment asks for more.
///
/// # Errors
/// As [`start`].
pub fn start_for_tool() -> anyhow::Result<()> {
    let level = std::env::var(LEVEL_VARIABLE).ok().filter(|level| !level.is_empty());
    let level = level.map_or_else(|| "warn".to_owned(), |level| level.to_lowercase().replace("warning", "warn"));
    start(&LogSettings { level, format: LogFormat::Auto }, "")
}

/// Logs what loading the configuration had to say.
pub fn write_notes(notes: &[Note]) {
    for note in notes {
        match note.level {
            NoteLevel::Info => tracing::info!("configuration: {}", note.text),
            NoteLevel::Warning => tracing::warn!("configuration: {}", note.text),
        }
    }
}

/// The look of a line.
struct Lines {
    json: bool,
    colours: bool,
    instance: String,
}

/// Message and fields of an event.
#[derive(Default)]
struct Collected {
    message: String,
    fields: Map<String, Value>,
}

impl Collected {
    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => {
                self.fields.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Collected {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, Value::String(value.to_owned()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut collected = Collected::default();
        event.record(&mut collected);
        let metadata = event.metadata();
        let line = if self.json {
            json_line(&time, *metadata.level(), metadata.target(), &self.instance, collected)
        } else {
            text_line(&time, *metadata.level(), metadata.target(), self.colours, &collected)
        };
        writeln!(writer, "{line}")
    }
}

fn json_line(time: &str, level: Level, target: &str, instance: &str, collected: Collected) -> String {
    let mut line = Map::new();
    line.insert("timestamp".to_owned(), time.into());
    line.insert("level".to_owned(), level.as_str().into());
    line.insert("target".to_owned(), target.into());
    line.insert("instance".to_owned(), instance.into());
    line.insert("message".to_owned(), collected.message.into());
    if !collected.fields.is_empty() {
        line.insert("fields".to_owned(), Value::Object(collected.fields));
    }
    Value::Object(line).to_string()
}

fn text_line(time: &str, level: Level, target: &str, colours: bool, collected: &Collected) -> String {
    let colour = match level {
        Level::ERROR => "31",
        Level::WARN => "33",
        Level::INFO => "32",
        _ => "36",
    };
    let level = format!("{:5}", level.as_str());
    let level = if colours { format!("\u{1b}[{colour}m{level}\u{1b}[0m") } else { level };
    let target = target.strip_prefix("clarion_collector::").unwrap_or(target);
    let mut line = format!("{time} {level} {target}: ");
    escape(&collected.message, &mut line);
    for (name, value) in &collected.fields {
        let _ = write!(line, " {name}=");
        match value {
            Value::String(text) if text.is_empty() || text.contains([' ', '"', '=']) => {
                line.push('"');
                escape(&text.replace('\\', "\\\\").replace('"', "\\\""), &mut line);
                line.push('"');
            }
            Value::String(text) => escape(text, &mut line),
            other => {
                let _ = write!(line, "{other}");
            }
        }
    }
    line
}

/// Escapes what a terminal obeys: control characters, and those that turn the direction of text.
fn escape(text: &str, line: &mut String) {
    for c in text.chars() {
        if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}') {
            let _ = write!(line, "{}", c.escape_default());
        } else {
            line.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panics with it").extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(json: bool, colours: bool, log: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new("info"))
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .event_format(Lines { json, colours, instance: "one".into() })
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let octets = sink.0.lock().expect("nobody panics with it").clone();
        String::from_utf8(octets).expect("lines are UTF-8")
    }

    #[test]
    fn text_lines_are_one_line_whatever_is_in_them() {
        let line = written(false, false, || {
            tracing::warn!(answer = "evil\n\u{1b}[2Jx\u{202e}", n = 3_u64, empty = "", "it \r happened");
        });
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(!line.contains(['\u{1b}', '\r', '\u{202e}']), "{line:?}");
        assert!(line.contains("WARN  logging::tests: it \\r happened answer="), "{line}");
        assert!(line.contains("n=3") && line.contains("empty=\"\""), "{line}");
    }

    #[test]
    fn colours_only_when_asked() {
        assert!(written(false, true, || tracing::info!("x")).contains("\u{1b}[32mINFO"));
        assert!(!written(false, false, || tracing::info!("x")).contains('\u{1b}'));
    }

    #[test]
    fn json_lines_carry_instance_and_fields() {
        let line = written(true, true, || tracing::info!(exporter = %"192.0.2.1", rate = 1.5, "first datagram"));
        let value: Value = serde_json::from_str(&line).expect("a JSON object");
        assert_eq!(value["instance"], "one");
        assert_eq!(value["level"], "INFO");
        assert_eq!(value["message"], "first datagram");
        assert_eq!(value["fields"]["exporter"], "192.0.2.1");
        assert_eq!(value["fields"]["rate"], 1.5);
        assert!(value["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')));
    }

    #[test]
    fn the_filter_is_obeyed() {
        assert_eq!(written(false, false, || tracing::debug!("x")), "");
    }
}
