//! What an exporter's elements are called in outputs, remembered.
//!
//! The registry is asked when an encoder meets an element of an exporter for the first time, never per record; what it said
//! is kept for `ELEMENT_NAMES_CACHED_MAX` of them and forgotten together. A name that would take the place of a core key
//! or a field, or that is no plain word, gives way to `pen/id`: exporters and files may call their elements what they want.

use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::fields::{Choice, CoreKey, OutputFields};
use crate::element::DataType;
use crate::flow::{ElementId, Exporter, Field, Version};
use crate::limits::ELEMENT_NAMES_CACHED_MAX;

/// Longest name that is written; the longest registered one has less than 80 octets.
const NAME_OCTETS_MAX: usize = 128;

/// Keys of outputs that are none of the core's.
const RESERVED: [&str; 4] = ["ies", "left_out", "left_out_count", "records"];

/// How an element goes out.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its key.
    pub key: Box<str>,
    /// Its type, if it is known.
    pub data_type: Option<DataType>,
    /// It is wanted.
    pub wanted: bool,
    /// Number of the key: elements that share one count together.
    number: u32,
}

/// Names by exporter, version and element.
#[derive(Debug, Default)]
pub(super) struct Names {
    exporter: Option<Arc<Exporter>>,
    /// Number of `exporter`; None if it was not looked up since it came.
    number: Option<u32>,
    exporters: FxHashMap<(Arc<str>, IpAddr, Option<u32>), u32>,
    positions: FxHashMap<(u32, Version, ElementId), u32>,
    entries: Vec<Entry>,
    keys: FxHashMap<Box<str>, u32>,
    /// By number of a key: the record in which it was written last, and how often.
    written: Vec<(u64, u32)>,
    record: u64,
    generation: u32,
}

impl Names {
    /// A record of `exporter` follows.
    pub(super) fn begin(&mut self, exporter: &Arc<Exporter>, fields: &OutputFields) {
        self.record += 1;
        if self.generation != fields.registry.generation() {
            self.forget();
            self.generation = fields.registry.generation();
        }
        if !self.exporter.as_ref().is_some_and(|known| Arc::ptr_eq(known, exporter)) {
            self.exporter = Some(Arc::clone(exporter));
            self.number = None;
        }
    }

    /// How `element` of the record's exporter goes out.
    pub(super) fn of(&mut self, version: Version, element: ElementId, fields: &OutputFields) -> &Entry {
        let number = self.number.unwrap_or_else(|| self.number_exporter());
        if let Some(position) = self.positions.get(&(number, version, element)) {
            return &self.entries[*position as usize];
        }
        self.learn(version, element, fields)
    }

    /// Counts `entry`'s key in the record: 1 for the first time.
    pub(super) fn occurrence(&mut self, number: u32) -> u32 {
        let Some((record, times)) = self.written.get_mut(number as usize) else { return 1 };
        if *record != self.record {
            (*record, *times) = (self.record, 0);
        }
        *times += 1;
        *times
    }

    fn forget(&mut self) {
        self.number = None;
        self.exporters.clear();
        self.positions.clear();
        self.entries.clear();
        self.keys.clear();
        self.written.clear();
    }

    #[cold]
    fn number_exporter(&mut self) -> u32 {
        if self.exporters.len() >= ELEMENT_NAMES_CACHED_MAX {
            self.forget();
        }
        let next = u32::try_from(self.exporters.len()).unwrap_or(u32::MAX);
        let number = self.exporter.as_ref().map_or(0, |exporter| {
            let key = (Arc::clone(&exporter.tenant), exporter.address, exporter.maker);
            *self.exporters.entry(key).or_insert(next)
        });
        self.number = Some(number);
        number
    }

    #[cold]
    fn learn(&mut self, version: Version, element: ElementId, fields: &OutputFields) -> &Entry {
        if self.entries.len() >= ELEMENT_NAMES_CACHED_MAX {
            self.forget();
        }
        let exporter_number = self.number.unwrap_or_else(|| self.number_exporter());
        let known = self
            .exporter
            .as_ref()
            .and_then(|exporter| fields.registry.find(exporter, version, element, exporter.maker));
        let data_type = known.as_ref().map(|known| known.data_type);
        let name = known.as_ref().map(|known| &*known.name).filter(|name| is_plain(name));
        let by_number = || format!("{}/{}", element.pen, element.id).into_boxed_str();
        let (key, wanted) = match &fields.choice {
            Choice::Clarion => (by_number(), false),
            Choice::All => (name.map_or_else(by_number, Box::from), true),
            Choice::These(these) => {
                let numbered = these.elements.iter().find(|asked| asked.by_number && asked.may_be(element));
                let named = || {
                    let is_it = |key: &str| name == Some(key);
                    these.elements.iter().find(|asked| !asked.by_number && is_it(&asked.key))
                };
                match numbered.or_else(named) {
                    Some(asked) => (asked.key.clone(), true),
                    None => (by_number(), false),
                }
            }
        };
        let next = u32::try_from(self.written.len()).unwrap_or(u32::MAX);
        let number = *self.keys.entry(key.clone()).or_insert(next);
        if number == next {
            self.written.push((0, 0));
        }
        let position = self.entries.len();
        self.entries.push(Entry { key, data_type, wanted, number });
        let key = (exporter_number, version, element);
        self.positions.insert(key, u32::try_from(position).unwrap_or(u32::MAX));
        &self.entries[position]
    }
}

impl Entry {
    /// Number of its key, for [`Names::occurrence`].
    pub(super) const fn number(&self) -> u32 {
        self.number
    }
}

/// True for a word that is nobody else's key. `#` and `:` are left to what is put behind a name, `/` to numbers.
fn is_plain(name: &str) -> bool {
    let word = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'-' | b'.');
    (1..=NAME_OCTETS_MAX).contains(&name.len())
        && name.bytes().all(word)
        && !RESERVED.contains(&name)
        && CoreKey::of_name(name).is_none()
        && Field::of_name(name).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exporter(last: u8) -> Arc<Exporter> {
        Arc::new(Exporter::of_address(IpAddr::from([192, 0, 2, last])))
    }

    fn all() -> OutputFields {
        OutputFields::parse("all", Arc::default()).expect("right")
    }

    #[test]
    fn g_06_a_known_element_has_its_name_and_an_unknown_one_its_number() {
        let (mut names, fields) = (Names::default(), all());
        names.begin(&exporter(1), &fields);
        let mut key = |pen, id| names.of(Version::Ipfix, ElementId { pen, id }, &fields).key.to_string();
        assert_eq!(key(0, 238), "tcpWindowScale");
        assert_eq!(key(29_305, 1), "reverseOctetDeltaCount");
        assert_eq!(key(u32::MAX, 32_767), "4294967295/32767");
    }

    #[test]
    fn ordinary_names_are_words_and_others_are_not() {
        let (mut words, mut others) = (0, Vec::new());
        for name in crate::element::names() {
            if is_plain(name) { words += 1 } else { others.push(name) }
        }
        assert!(words > 2_000 && others.is_empty(), "{others:?}");
        for name in [
            "src_ip",
            "app_name",
            "ies",
            "left_out",
            "left_out_count",
            "",
            "a b",
            "a\"b",
            "a#2",
            "9/1",
            "\u{fc}",
            &"x".repeat(129),
        ] {
            assert!(!is_plain(name), "{name:?}");
        }
    }

    #[test]
    fn a_key_is_counted_anew_in_each_record_whatever_element_it_is_of() {
        let (mut names, fields) = (Names::default(), all());
        let exporter = exporter(1);
        for _ in 0..2 {
            names.begin(&exporter, &fields);
            let number = names.of(Version::Ipfix, ElementId { pen: 0, id: 238 }, &fields).number();
            assert_eq!((names.occurrence(number), names.occurrence(number)), (1, 2));
            let other = names.of(Version::Ipfix, ElementId { pen: 0, id: 239 }, &fields).number();
            assert_eq!(names.occurrence(other), 1);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut names, fields) = (Names::default(), all());
        let exporters = [exporter(1), exporter(2)];
        for id in 0..40_000_u32 {
            names.begin(&exporters[id as usize % 2], &fields);
            let element = ElementId { pen: 7_000_000, id: id as u16 };
            assert_eq!(*names.of(Version::Ipfix, element, &fields).key, *format!("7000000/{}", element.id));
            assert!(names.entries.len() <= ELEMENT_NAMES_CACHED_MAX && names.keys.len() <= names.entries.len());
        }
    }
}
