//! Normalised fields that have no place in `FlowRecord`: kept in the batch's arena, and only if the output wants them.
//!
//! [`FIELDS`] is the catalogue: one row a field, with the name that outputs and `[output] fields` use. A value is an
//! integer, or octets whose meaning is the field's kind. Which elements feed a field is `decode`'s matter.

/// What a field's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// An unsigned integer.
    Unsigned,
    /// An IPv4 or IPv6 address, by its length in octets.
    Address,
    /// A MAC address, 6 octets.
    Mac,
    /// UTF-8 text; what was not UTF-8 has been replaced.
    Text,
    /// A list of unsigned 32-bit integers, 4 octets each.
    Numbers,
    /// Octets without further meaning.
    Octets,
}

/// One row of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct FieldInfo {
    /// Name in outputs.
    pub name: &'static str,
    /// What its value is.
    pub kind: FieldKind,
}

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $kind:ident;)*) => {
        /// A normalised field; the number is its row in [`FIELDS`].
        #[repr(u8)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Field { $($(#[$doc])* $name,)* }

        /// The catalogue, in the order of [`Field`].
        pub const FIELDS: &[FieldInfo] = &[$(FieldInfo { name: $text, kind: FieldKind::$kind },)*];

        impl Field {
            /// Every field, in the order of [`FIELDS`].
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

fields! {
    /// dot1qCustomerVlanId 245.
    InnerVlan = "inner_vlan_id", Unsigned;
    /// Labels of the MPLS stack, the outermost first.
    MplsLabels = "mpls_labels", Numbers;
    /// Number of the overlay network (VXLAN).
    Vni = "vni", Unsigned;
}

impl Field {
    /// Its row.
    #[must_use]
    pub const fn info(self) -> &'static FieldInfo {
        &FIELDS[self as usize]
    }

    /// The field of that name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|field| field.info().name == name)
    }
}

/// Which fields are wanted: one bit a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FieldSet(u128);

const _: () = assert!(FIELDS.len() <= 128);

impl FieldSet {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const ALL: Self = Self(u128::MAX);

    /// Adds `field`.
    pub const fn add(&mut self, field: Field) {
        self.0 |= 1 << field as u8;
    }

    /// True if `field` is wanted.
    #[must_use]
    pub const fn has(self, field: Field) -> bool {
        self.0 & (1 << field as u8) != 0
    }

    /// True if nothing is wanted.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The value of a field of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldValue {
    /// Index of the record it belongs to.
    pub record: u32,
    /// Which field.
    pub field: Field,
    /// The value.
    pub value: Value,
}

/// A value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// An integer.
    Unsigned(u64),
    /// Octets in the batch's arena.
    Octets {
        /// Where they begin.
        offset: u32,
        /// How many.
        length: u16,
    },
}

// A record of a busy firewall has a dozen of them: as small as the alignment of an integer allows.
const _: () = assert!(size_of::<FieldValue>() <= 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for (index, field) in Field::ALL.iter().enumerate() {
            assert_eq!(*field as usize, index);
            assert_eq!(Field::of_name(field.info().name), Some(*field), "{}", field.info().name);
        }
        assert_eq!(Field::of_name("nonsense"), None);
        let mut set = FieldSet::NONE;
        set.add(Field::Vni);
        assert!(set.has(Field::Vni) && !set.has(Field::InnerVlan) && !set.is_empty());
    }
}
