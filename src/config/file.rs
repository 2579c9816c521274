//! The TOML file -> what was written where, with lines.
//!
//! Scalars are held against the table of keys, lists against their own few names. An unknown name is
//! an error with its line and the nearest known name: a misspelt key must not be silently without
//! effect. Values are not checked here.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::error::Faults;
use super::keys::{KEYS, Kind, SECTIONS, nearest, position};
use super::written::{Origin, Row, Scalar, Written};

/// Largest file that is read: thousands of rules fit.
const FILE_OCTETS_MAX: u64 = 4 << 20;

/// Keys of `[[listener]]`.
pub(super) const LISTENER_FIELDS: &[&str] = &["name", "address", "port", "interface", "tenant"];
/// Keys of `[[exporter]]`.
pub(super) const EXPORTER_FIELDS: &[&str] = &[
    "prefix",
    "listener",
    "domain",
    "name",
    "tenant",
    "switch_id",
    "sampling_default",
    "sampling_override",
    "session",
    "profile",
    "post_counters",
    "enterprise_in_v9",
    "mediator",
    "drop_odd_padding",
    "teach_elements",
    "datagrams_per_second",
    "bytes_per_second",
];

/// What a file says.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pub(super) written: Vec<Written>,
    pub(super) listeners: Vec<Row>,
    pub(super) exporters: Vec<Row>,
}

struct Reader<'a> {
    path: Arc<Path>,
    text: &'a str,
    content: Content,
    faults: &'a mut Faults,
}

/// Reads `path`; faults are added, and what is right is returned.
pub(super) fn read(path: &Path, faults: &mut Faults) -> Content {
    let text = match text_of(path) {
        Ok(Some(text)) => text,
        Ok(None) => {
            faults.add(format!(
                "file {} has more than {FILE_OCTETS_MAX} octets, and no more are read: is it the right file?",
                path.display()
            ));
            return Content::default();
        }
        Err(e) => {
            faults.add(format!(
                "file {} cannot be read ({e}): check the path and its permissions, or leave --config out",
                path.display()
            ));
            return Content::default();
        }
    };
    let (table, errors) = DeTable::parse_recoverable(&text);
    let mut reader = Reader { path: Arc::from(path), text: &text, content: Content::default(), faults };
    for error in &errors {
        let line = error.span().map_or(1, |span| reader.line(span.start));
        reader.fault(line, &format!("is no TOML: {}", error.message()));
    }
    reader.top(table.get_ref());
    reader.content
}

/// None if there is more than `FILE_OCTETS_MAX`. The length that the system tells is no bound: that of a
/// pipe or device is 0.
fn text_of(path: &Path) -> io::Result<Option<String>> {
    let mut octets = Vec::new();
    File::open(path)?.take(FILE_OCTETS_MAX + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > FILE_OCTETS_MAX {
        return Ok(None);
    }
    String::from_utf8(octets).map(Some).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.utf8_error()))
}

impl Reader<'_> {
    fn line(&self, offset: usize) -> usize {
        1 + self.text.as_bytes()[..offset.min(self.text.len())].iter().filter(|octet| **octet == b'\n').count()
    }

    fn fault(&mut self, line: usize, text: &str) {
        self.faults.add(format!("file {}, line {line}: {text}", self.path.display()));
    }

    fn top(&mut self, table: &DeTable<'_>) {
        for (name, value) in table {
            let line = self.line(name.span().start);
            let name: &str = name.get_ref();
            match (name, value.get_ref()) {
                ("listener", DeValue::Array(rows)) => {
                    self.content.listeners = self.rows("listener", rows, LISTENER_FIELDS, line);
                }
                ("exporter", DeValue::Array(rows)) => {
                    self.content.exporters = self.rows("exporter", rows, EXPORTER_FIELDS, line);
                }
                ("listener" | "exporter", _) => {
                    self.fault(line, &format!("[{name}] is a list: write [[{name}]] above each of its tables"));
                }
                (section, DeValue::Table(keys)) if SECTIONS.iter().any(|(known, _)| *known == section) => {
                    self.section(section, keys);
                }
                (section, DeValue::Table(_)) => {
                    let known = SECTIONS.iter().map(|(known, _)| *known).chain(["listener", "exporter"]);
                    let hint = nearest(section, known).map(|near| format!(": is [{near}] meant?"));
                    self.fault(line, &format!("unknown section [{section}]{}", hint.unwrap_or_default()));
                }
                (key, _) => {
                    let hint = KEYS.iter().find(|known| known.name == key).map(super::keys::Key::display);
                    let hint = hint.map(|known| format!(" (is {known} meant?)")).unwrap_or_default();
                    self.fault(line, &format!("{key} stands outside of any section{hint}: put it under its [section]"));
                }
            }
        }
    }

    fn section(&mut self, section: &str, keys: &DeTable<'_>) {
        for (name, value) in keys {
            let line = self.line(name.span().start);
            let name: &str = name.get_ref();
            let Some(key) = position(&format!("{section}.{name}")) else {
                let hint = unknown_key_hint(section, name);
                self.fault(line, &format!("unknown key [{section}] {name}{hint}"));
                continue;
            };
            let listed = || names(value).filter(|_| matches!(KEYS[key].kind, Kind::Names | Kind::Url));
            match scalar(value).or_else(listed) {
                Some(scalar) => {
                    let origin = Origin::File(Arc::clone(&self.path), line);
                    self.content.written.push(Written { key, scalar, origin });
                }
                None => self.fault(line, &format!("[{section}] {name} takes one value, not a list or table")),
            }
        }
    }

    fn rows(&mut self, list: &str, rows: &DeArray<'_>, known: &[&str], line: usize) -> Vec<Row> {
        let mut found = Vec::new();
        for row in rows {
            let line = if row.span().is_empty() { line } else { self.line(row.span().start) };
            let DeValue::Table(fields) = row.get_ref() else {
                self.fault(line, &format!("{list} is a list of tables: write [[{list}]] above each of them"));
                continue;
            };
            let mut row = Row { path: Arc::clone(&self.path), line, fields: Vec::new() };
            for (name, value) in fields {
                let line = self.line(name.span().start);
                let name: &str = name.get_ref();
                if !known.contains(&name) {
                    let hint = nearest(name, known.iter().copied()).map(|near| format!(": is {near} meant?"));
                    let hint = hint.unwrap_or_else(|| format!("; it has {}", known.join(", ")));
                    self.fault(line, &format!("unknown key {name} in [[{list}]]{hint}"));
                    continue;
                }
                match scalar(value) {
                    Some(scalar) => row.fields.push((name.to_owned(), scalar, line)),
                    None => self.fault(line, &format!("{name} of [[{list}]] takes one value, not a list or table")),
                }
            }
            found.push(row);
        }
        found
    }
}

fn unknown_key_hint(section: &str, name: &str) -> String {
    let siblings = KEYS.iter().filter(|key| key.section == section).map(|key| key.name);
    if let Some(near) = nearest(name, siblings.clone()) {
        return format!(": is {near} meant?");
    }
    // A right name under the wrong head is the next likely mistake.
    match KEYS.iter().find(|key| key.name == name) {
        Some(key) => format!(": is {} meant?", key.display()),
        None => format!("; [{section}] has {}", siblings.collect::<Vec<_>>().join(", ")),
    }
}

fn scalar(value: &Spanned<DeValue<'_>>) -> Option<Scalar> {
    let (text, bare) = match value.get_ref() {
        DeValue::String(text) => (text.to_string(), false),
        DeValue::Integer(n) if n.radix() == 10 => (n.as_str().to_owned(), true),
        DeValue::Integer(n) => {
            // as_str has no prefix; what does not fit is shown as written and refused by the value's check.
            (i64::from_str_radix(n.as_str(), n.radix()).map_or_else(|_| n.as_str().to_owned(), |n| n.to_string()), true)
        }
        DeValue::Float(n) => (n.as_str().to_owned(), true),
        DeValue::Boolean(truth) => (truth.to_string(), true),
        DeValue::Datetime(time) => (time.to_string(), true),
        DeValue::Array(_) | DeValue::Table(_) => return None,
    };
    Some(Scalar { text, bare })
}

/// A list of strings as one text with commas.
fn names(value: &Spanned<DeValue<'_>>) -> Option<Scalar> {
    let DeValue::Array(names) = value.get_ref() else { return None };
    let texts: Option<Vec<&str>> = names
        .iter()
        .map(|name| match name.get_ref() {
            DeValue::String(text) => Some(&**text),
            _ => None,
        })
        .collect();
    Some(Scalar { text: texts?.join(","), bare: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(text: &str) -> (Content, Vec<String>) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("c.toml");
        std::fs::write(&path, text).expect("the file can be written");
        let mut faults = Faults::default();
        let content = read(&path, &mut faults);
        let faults = faults.or(()).err().map(|errors| errors.0.iter().map(ToString::to_string).collect());
        let prefix = format!("file {}, ", path.display());
        let faults: Vec<String> = faults.unwrap_or_default();
        (content, faults.iter().map(|fault| fault.replace(&prefix, "")).collect())
    }

    #[test]
    fn scalars_keep_their_line_and_form() {
        let (content, faults) =
            faults_of("# c\n[batch]\nsize = 10\n\ninterval = \"5s\"\n[receive]\nexclusive = true\n");
        assert_eq!(faults, Vec::<String>::new());
        let seen: Vec<(String, String)> =
            content.written.iter().map(|w| (KEYS[w.key].display(), w.scalar.display())).collect();
        assert!(seen.contains(&("[batch] size".into(), "10".into())));
        assert!(seen.contains(&("[batch] interval".into(), "\"5s\"".into())));
        let size = content.written.iter().find(|w| KEYS[w.key].name == "size").expect("size was written");
        assert!(size.origin.place().ends_with("line 3"), "{}", size.origin.place());
    }

    #[test]
    fn unknown_names_are_errors_with_line_and_nearest_name() {
        let (_, mut faults) = faults_of(
            "size = 1\n[recieve]\nworkers = 1\n[receive]\nwrokers = 1\nsize = 2\nqqq = 3\n[listener]\nport = 1\n[[exporter]]\nprefx = \"::/0\"\n",
        );
        faults.sort();
        assert_eq!(
            faults,
            [
                "line 11: unknown key prefx in [[exporter]]: is prefix meant?",
                "line 1: size stands outside of any section (is [batch] size meant?): put it under its [section]",
                "line 2: unknown section [recieve]: is [receive] meant?",
                "line 5: unknown key [receive] wrokers: is workers meant?",
                "line 6: unknown key [receive] size: is [batch] size meant?",
                "line 7: unknown key [receive] qqq; [receive] has workers, buffer, rejected_bytes, pin, steering, exclusive",
                "line 8: [listener] is a list: write [[listener]] above each of its tables",
            ]
        );
    }

    #[test]
    fn broken_toml_and_lists_as_values_are_told_with_their_line() {
        let (_, faults) = faults_of("[batch]\nsize = \n");
        assert!(faults[0].starts_with("line 2: is no TOML"), "{faults:?}");
        let (_, faults) = faults_of("[batch]\nsize = [1, 2]\n");
        assert_eq!(faults, ["line 2: [batch] size takes one value, not a list or table"]);
    }

    #[test]
    fn rows_of_lists_keep_their_fields() {
        let (content, faults) = faults_of("[[listener]]\nport = 2055\nname = \"a\"\n\n[[listener]]\nport = 0x10\n");
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(content.listeners.len(), 2);
        assert_eq!(content.listeners[1].field("port").expect("a port").0.text, "16");
        assert!(content.listeners[1].place().ends_with("line 5"), "{}", content.listeners[1].place());
    }
}
