//! What elements are called at run time: the built-in tables, and what was added to them.
//!
//! Asked where a template is compiled or an output meets an element for the first time, never per record.

use std::borrow::Cow;

use super::learned::Learned;
use super::{DataType, lookup, lookup_netflow9};
use crate::flow::{ElementId, Exporter, Version};

/// An element as outputs name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElementName {
    /// Its name.
    pub name: Cow<'static, str>,
    /// How to read its octets.
    pub data_type: DataType,
}

/// Elements by number and by name.
#[derive(Debug, Default)]
pub struct Registry {
    /// What exporters taught.
    pub(super) learned: Learned,
}

impl Registry {
    /// What `exporter` means by `element` in a message of `version`; `maker` is its Private Enterprise Number, which
    /// NetFlow v9 field types above 32767 need.
    #[must_use]
    pub fn find(
        &self,
        exporter: &Exporter,
        version: Version,
        element: ElementId,
        maker: Option<u32>,
    ) -> Option<ElementName> {
        let known = match (version, element.pen) {
            (Version::V9, 0) => lookup_netflow9(element.id, maker),
            _ => lookup(element),
        };
        let known = known.map(|known| ElementName { name: Cow::Borrowed(known.name), data_type: known.data_type });
        known.or_else(|| self.learned.find(exporter, element))
    }

    /// Grows with each change: what was asked before may be answered otherwise.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.learned.generation()
    }
}

impl PartialEq for Registry {
    /// Two are the same only if they are one.
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Registry {}
