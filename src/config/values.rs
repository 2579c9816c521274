//! All keys with their value and where it came from: flag > environment > file > default.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Note;
use super::error::Faults;
use super::keys::{KEYS, Kind, Preset, position};
use super::value::{Value, parse, preset_text, render};
use super::written::{Origin, Written};
use crate::secret::Secret;

/// One value a key, in the order of `KEYS`.
#[derive(Debug, Clone)]
pub(super) struct Values {
    values: Vec<(Value, Origin)>,
    /// Something wrong was written for it.
    wrong: Vec<bool>,
}

impl Values {
    /// Picks the strongest of what was written for each key. All of it is checked: a wrong value in
    /// the file is an error even while a flag beats it.
    pub(super) fn of(written: &[Written], faults: &mut Faults, notes: &mut Vec<Note>) -> Self {
        let mut values: Vec<(Value, Origin)> = KEYS
            .iter()
            .map(|key| {
                // A test holds every preset against its own check.
                let value = parse(key, &preset_text(key)).unwrap_or(Value::Auto);
                let origin = match key.preset {
                    Preset::Computed(how) => Origin::Computed(how.to_owned()),
                    _ => Origin::Default,
                };
                (value, origin)
            })
            .collect();
        let mut wrong = vec![false; KEYS.len()];
        for one in written {
            let key = &KEYS[one.key];
            let textual = matches!(
                key.kind,
                Kind::Text
                    | Kind::Path
                    | Kind::File
                    | Kind::Secret
                    | Kind::Url
                    | Kind::Host
                    | Kind::Choice(_)
                    | Kind::Level
                    | Kind::Names
            );
            let result = if one.scalar.bare && textual {
                Err("is no text: put it in quotes".to_owned())
            } else {
                parse(key, &one.scalar.text)
            };
            match result {
                Err(problem) => {
                    wrong[one.key] = true;
                    let named = match one.origin {
                        Origin::File(..) => format!("{}: {}", one.origin.place(), key.display()),
                        _ => one.origin.place(),
                    };
                    let shown = if matches!(key.kind, Kind::Secret) { "***".to_owned() } else { one.scalar.display() };
                    faults.add(format!("{named} = {shown} {problem}"));
                }
                Ok(value) => {
                    let (current, origin) = &mut values[one.key];
                    let both = matches!(
                        (&*origin, &one.origin),
                        (Origin::Variable(_), Origin::Alias(_)) | (Origin::Alias(_), Origin::Variable(_))
                    );
                    if both && *current != value {
                        notes.push(Note::warning(format!(
                            "{origin} and {} set {} to different values: the name beats its alias",
                            one.origin,
                            key.display()
                        )));
                    }
                    // The later of two of the same rank wins, as flags do everywhere.
                    if one.origin.rank() >= origin.rank() {
                        let origin_now = if value == Value::Auto {
                            match key.preset {
                                Preset::Computed(how) => Origin::Computed(how.to_owned()),
                                _ => one.origin.clone(),
                            }
                        } else {
                            one.origin.clone()
                        };
                        (*current, *origin) = (value, origin_now);
                    }
                }
            }
        }
        Self { values, wrong }
    }

    /// Position of a key that this program itself names.
    ///
    /// # Panics
    /// If the table has no such key: a mistake of ours that every load would show.
    fn at(id: &str) -> usize {
        position(id).unwrap_or_else(|| panic!("the table of keys has no {id}"))
    }

    fn value(&self, id: &str) -> &Value {
        &self.values[Self::at(id)].0
    }

    /// Where the value of `id` came from.
    pub(super) fn origin(&self, id: &str) -> &Origin {
        &self.values[Self::at(id)].1
    }

    /// True if nobody set `id`.
    pub(super) fn is_default(&self, id: &str) -> bool {
        self.origin(id).is_default()
    }

    /// True if nothing wrong was written for any of `ids`.
    pub(super) fn are_right(&self, ids: &[&str]) -> bool {
        ids.iter().all(|id| !self.wrong[Self::at(id)])
    }

    /// Replaces a value that nobody set by what was computed.
    pub(super) fn set(&mut self, id: &str, value: Value, origin: Origin) {
        self.values[Self::at(id)] = (value, origin);
    }

    /// The value of `id` as an operator would write it.
    pub(super) fn value_text(&self, id: &str) -> String {
        render(self.value(id))
    }

    /// Value and origin of `KEYS[index]`.
    pub(super) fn at_index(&self, index: usize) -> &(Value, Origin) {
        &self.values[index]
    }

    /// Takes the value of `KEYS[index]` over from `other`.
    pub(super) fn take(&mut self, index: usize, other: &Self) {
        self.values[index] = other.values[index].clone();
    }

    /// All values, in the order of `KEYS`.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(Value, Origin)> {
        self.values.iter()
    }

    /// A number; None for `auto`.
    pub(super) fn count(&self, id: &str) -> Option<usize> {
        match self.value(id) {
            Value::Count(n) => Some(usize::try_from(*n).unwrap_or(usize::MAX)),
            Value::Auto => None,
            other => mismatch(id, other),
        }
    }

    /// A number of a key without `auto`.
    pub(super) fn number(&self, id: &str) -> usize {
        self.count(id).unwrap_or_else(|| mismatch(id, &Value::Auto))
    }

    /// Octets; None for `auto`.
    pub(super) fn octets(&self, id: &str) -> Option<u64> {
        match self.value(id) {
            Value::Octets(n) => Some(*n),
            Value::Auto => None,
            other => mismatch(id, other),
        }
    }

    /// Octets of a key without `auto`.
    pub(super) fn size(&self, id: &str) -> u64 {
        self.octets(id).unwrap_or_else(|| mismatch(id, &Value::Auto))
    }

    /// A duration.
    pub(super) fn duration(&self, id: &str) -> Duration {
        match self.value(id) {
            Value::Duration(duration) => *duration,
            other => mismatch(id, other),
        }
    }

    /// Yes or no.
    pub(super) fn flag(&self, id: &str) -> bool {
        match self.value(id) {
            Value::Flag(flag) => *flag,
            other => mismatch(id, other),
        }
    }

    /// Text, a word, a URL or a level.
    pub(super) fn text(&self, id: &str) -> &str {
        match self.value(id) {
            Value::Text(text) => text,
            other => mismatch(id, other),
        }
    }

    /// A secret.
    pub(super) fn secret(&self, id: &str) -> &Secret {
        match self.value(id) {
            Value::Secret(secret) => secret,
            other => mismatch(id, other),
        }
    }

    /// An address.
    pub(super) fn host(&self, id: &str) -> IpAddr {
        match self.value(id) {
            Value::Host(host) => *host,
            other => mismatch(id, other),
        }
    }

    /// A port.
    pub(super) fn port(&self, id: &str) -> u16 {
        match self.value(id) {
            Value::Port(port) => *port,
            other => mismatch(id, other),
        }
    }

    /// A port or several.
    pub(super) fn ports(&self, id: &str) -> RangeInclusive<u16> {
        match self.value(id) {
            Value::Ports(ports) => ports.clone(),
            other => mismatch(id, other),
        }
    }
}

#[cold]
fn mismatch(id: &str, value: &Value) -> ! {
    panic!("the table of keys gives {id} another kind than {value:?}")
}
