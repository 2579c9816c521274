//! What elements are called at run time: the built-in tables, and what was added to them.
//!
//! Asked where a template is compiled or an output meets an element for the first time, never per record. The
//! operator's elements win over the built-in ones, except IANA's 1 to 127 (RG-03).

use std::borrow::Cow;

use super::learned::Learned;
use super::operator::{OperatorElement, OperatorElements, is_fixed};
use super::{DataType, NETFLOW9_VENDOR_FIRST, by_name, by_netflow9_name, lookup, lookup_netflow9, sole_maker};
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
    pub(super) operator: OperatorElements,
}

impl Registry {
    /// The built-in tables and the operator's elements.
    #[must_use]
    pub fn with_operator(rows: Vec<OperatorElement>) -> Self {
        Self { operator: OperatorElements::new(rows), learned: Learned::default() }
    }

    /// What `exporter` means by `element` in a message of `version`; `maker` is its Private Enterprise Number, which
    /// NetFlow v9 field types above 32767 need where more than one maker uses them.
    #[must_use]
    pub fn find(
        &self,
        exporter: &Exporter,
        version: Version,
        element: ElementId,
        maker: Option<u32>,
    ) -> Option<ElementName> {
        let is_v9 = version == Version::V9 && element.pen == 0;
        let maker = match element.id {
            id if is_v9 && id >= NETFLOW9_VENDOR_FIRST => maker.or_else(|| self.sole_maker(id)),
            _ => maker,
        };
        let meant = match maker {
            Some(pen) if is_v9 && element.id >= NETFLOW9_VENDOR_FIRST => ElementId { pen, ..element },
            _ => element,
        };
        if let Some(own) = self.operator.find(meant) {
            return Some(ElementName { name: Cow::Owned(own.name.to_string()), data_type: own.data_type });
        }
        let known = if is_v9 { lookup_netflow9(element.id, maker) } else { lookup(element) };
        let known = known.map(|known| ElementName { name: Cow::Borrowed(known.name), data_type: known.data_type });
        known.or_else(|| self.learned.find(exporter, meant))
    }

    /// The element of this name: IANA's 1 to 127, else the operator's, else the built-in one. What only NetFlow v9 names
    /// is its maker and field type.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<ElementId> {
        let known = by_name(name).or_else(|| by_netflow9_name(name)).map(|element| element.id);
        known.filter(|id| is_fixed(*id)).or_else(|| self.operator.by_name(name)).or(known)
    }

    /// The one maker that uses a NetFlow v9 field type above 32767; None if several do, or nobody is known to (N9-27).
    #[must_use]
    pub fn sole_maker(&self, field_type: u16) -> Option<u32> {
        self.operator.sole_maker(field_type).unwrap_or_else(|| sole_maker(field_type))
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
