//! Elements that exporters taught by type records (RFC 5610): asked last, and only about the exporter that taught them.
//!
//! Whoever calls has bounded how many there may be and has looked at the name. The first word stays: an element that is
//! registered, or was taught otherwise before, is not renamed. What an exporter taught goes with it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::{DataType, ElementName, Registry, lookup};
use crate::flow::{ElementId, Exporter};

/// What became of a type record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taught {
    /// The element has a name now.
    New,
    /// It is called so already.
    Same,
    /// It is IANA's, or is called otherwise.
    Refused,
}

type OfExporter = BTreeMap<ElementId, (Box<str>, DataType)>;

/// Elements by exporter.
#[derive(Debug, Default)]
pub(super) struct Learned {
    elements: RwLock<HashMap<(Arc<str>, IpAddr), OfExporter>>,
    generation: AtomicU32,
}

fn key(exporter: &Exporter) -> (Arc<str>, IpAddr) {
    (Arc::clone(&exporter.tenant), exporter.address)
}

impl Learned {
    /// What `exporter` taught of `element`.
    pub fn find(&self, exporter: &Exporter, element: ElementId) -> Option<ElementName> {
        // IANA's are never taught.
        if element.pen == 0 {
            return None;
        }
        let elements = self.elements.read().unwrap_or_else(PoisonError::into_inner);
        let (name, data_type) = elements.get(&key(exporter))?.get(&element)?;
        Some(ElementName { name: name.to_string().into(), data_type: *data_type })
    }

    /// Grows with each change.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }
}

impl Registry {
    /// Learns that `exporter` calls `element` so.
    pub fn teach(&self, exporter: &Exporter, element: ElementId, name: &str, data_type: DataType) -> Taught {
        if element.pen == 0 {
            return Taught::Refused;
        }
        if let Some(known) = self.find_registered(element) {
            return if known.name == name && known.data_type == data_type { Taught::Same } else { Taught::Refused };
        }
        let mut elements = self.learned.elements.write().unwrap_or_else(PoisonError::into_inner);
        let of_exporter = elements.entry(key(exporter)).or_default();
        if let Some((known, known_type)) = of_exporter.get(&element) {
            return if **known == *name && *known_type == data_type { Taught::Same } else { Taught::Refused };
        }
        of_exporter.insert(element, (name.into(), data_type));
        drop(elements);
        self.learned.generation.fetch_add(1, Ordering::AcqRel);
        Taught::New
    }

    /// True if `exporter` may call `element` so without anything being learned.
    #[must_use]
    pub fn knows(&self, exporter: &Exporter, element: ElementId, name: &str, data_type: DataType) -> bool {
        let known = self.find_registered(element).or_else(|| self.learned.find(exporter, element));
        known.is_some_and(|known| known.name == name && known.data_type == data_type)
    }

    /// What `exporter` taught, by number.
    #[must_use]
    pub fn taught(&self, exporter: &Exporter) -> Vec<(ElementId, Box<str>, DataType)> {
        let elements = self.learned.elements.read().unwrap_or_else(PoisonError::into_inner);
        let of_exporter = elements.get(&key(exporter)).into_iter().flatten();
        of_exporter.map(|(element, (name, data_type))| (*element, name.clone(), *data_type)).collect()
    }

    /// Forgets what `exporter` taught.
    pub fn forget(&self, exporter: &Exporter) {
        let mut elements = self.learned.elements.write().unwrap_or_else(PoisonError::into_inner);
        if elements.remove(&key(exporter)).is_some() {
            self.learned.generation.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// An enterprise element that needs no teaching.
    fn find_registered(&self, element: ElementId) -> Option<ElementName> {
        if let Some(own) = self.operator.find(element) {
            return Some(ElementName { name: own.name.to_string().into(), data_type: own.data_type });
        }
        lookup(element).map(|known| ElementName { name: known.name.into(), data_type: known.data_type })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Version;

    #[test]
    fn ix_38_the_first_word_of_an_exporter_names_its_enterprise_elements() {
        let registry = Registry::default();
        let exporter = |last: u8| Exporter::of_address([192, 0, 2, last].into());
        let (one, other) = (exporter(1), exporter(2));
        let unknown = ElementId { pen: 999_999, id: 1 };
        let teach = |element, name| registry.teach(&one, element, name, DataType::String);
        let before = registry.generation();
        assert_eq!(registry.find(&one, Version::Ipfix, unknown, None), None);
        assert_eq!((teach(unknown, "hatColour"), teach(unknown, "hatColour")), (Taught::New, Taught::Same));
        assert_eq!(registry.generation(), before + 1);
        let found = registry.find(&one, Version::Ipfix, unknown, None).unwrap();
        assert_eq!((&*found.name, found.data_type), ("hatColour", DataType::String));
        assert_eq!(registry.find(&other, Version::Ipfix, unknown, None), None, "another exporter has not said so");
        assert_eq!(teach(unknown, "shoeSize"), Taught::Refused);
        // IANA's, and what is registered for an enterprise.
        assert_eq!(teach(ElementId { pen: 0, id: 60_000 }, "mine"), Taught::Refused);
        assert_eq!(teach(ElementId { pen: 9, id: 1_232 }, "notAGroup"), Taught::Refused);
        registry.forget(&one);
        assert_eq!(registry.find(&one, Version::Ipfix, unknown, None), None);
        assert_eq!((registry.generation(), teach(unknown, "shoeSize")), (before + 2, Taught::New));
    }
}
