//! Structured data (RFC 6313 4.5): basicList 291, subTemplateList 292, subTemplateMultiList 293.
//!
//! These are the envelopes alone: each iterator hands out slices of the octets it was given, and each step takes at least
//! one octet of them or is the last. What records of a template mean is `plan`'s matter.

use crate::decode::wire::template::VARIABLE_LENGTH;
use crate::decode::wire::value::field_positions;
use crate::flow::ElementId;

/// Which kind of list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) enum ListKind {
    /// Values of one element.
    Basic,
    /// Records of one template.
    SubTemplate,
    /// Records of several templates.
    SubTemplateMulti,
}

impl ListKind {
    /// The kind that `element` is; None for what is no list.
    pub(in crate::decode) const fn of(element: ElementId) -> Option<Self> {
        match element {
            ElementId { pen: 0, id: 291 } => Some(Self::Basic),
            ElementId { pen: 0, id: 292 } => Some(Self::SubTemplate),
            ElementId { pen: 0, id: 293 } => Some(Self::SubTemplateMulti),
            _ => None,
        }
    }
}

/// How the elements of a list relate to the record (RFC 6313 4.4): of all but this they are, one or several, its
/// properties.
pub(in crate::decode) const NONE_OF: u8 = 0;

/// A basicList.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) struct BasicList<'a> {
    /// How its values relate to the record.
    pub semantic: u8,
    /// What they are.
    pub element: ElementId,
    length: u16,
    rest: &'a [u8],
}

impl<'a> BasicList<'a> {
    /// None if the header is cut.
    pub(in crate::decode) fn parse(octets: &'a [u8]) -> Option<Self> {
        let (semantic, rest) = octets.split_first()?;
        let (word, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let word = u16::from_be_bytes(*word);
        let (pen, rest) = if word & 0x8000 == 0 {
            (0, rest)
        } else {
            let (pen, rest) = rest.split_first_chunk()?;
            (u32::from_be_bytes(*pen), rest)
        };
        let element = ElementId { pen, id: word & 0x7FFF };
        Some(Self { semantic: *semantic, element, length: u16::from_be_bytes(*length), rest })
    }

    /// Octets of a value, or [`VARIABLE_LENGTH`].
    pub(in crate::decode) const fn value_octets(&self) -> u16 {
        self.length
    }
}

/// The values; ends before one that runs past the list, and at once where values have no octets.
impl<'a> Iterator for BasicList<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let mut position = [(0, 0)];
        let octets = match self.length {
            0 => 0,
            length => field_positions(&[length], self.rest, &mut position).unwrap_or(0),
        };
        // Not even a length prefix: nothing is left, or nothing sensible.
        if octets == 0 {
            self.rest = &[];
            return None;
        }
        let (value, rest) = self.rest.split_at(octets);
        self.rest = rest;
        let (at, _) = position[0];
        debug_assert!(self.length == VARIABLE_LENGTH || at == 0);
        value.get(at as usize..)
    }
}

/// Records of one template inside a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) struct Entry<'a> {
    /// Id of their template.
    pub template: u16,
    /// The records.
    pub records: &'a [u8],
}

/// The entries of a subTemplateList (one) or a subTemplateMultiList (any number).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) struct Entries<'a> {
    /// How the records relate to the one that they are in.
    pub semantic: u8,
    multi: bool,
    rest: &'a [u8],
    /// An entry's length cannot be: the rest of the list is lost.
    pub broken: bool,
}

impl<'a> Entries<'a> {
    /// None for no octets at all.
    pub(in crate::decode) fn parse(multi: bool, octets: &'a [u8]) -> Option<Self> {
        let (semantic, rest) = octets.split_first()?;
        Some(Self { semantic: *semantic, multi, rest, broken: false })
    }

    fn cut(&mut self) -> Option<Entry<'a>> {
        let (template, rest) = self.rest.split_first_chunk()?;
        let template = u16::from_be_bytes(*template);
        if !self.multi {
            return Some(Entry { template, records: rest });
        }
        // The length counts itself and the template id.
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes(*length)).checked_sub(4)?;
        rest.get(..length).map(|records| Entry { template, records })
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.cut();
        let header = if self.multi { 4 } else { 2 };
        self.rest = match &entry {
            Some(entry) => self.rest.get(header + entry.records.len()..).unwrap_or_default(),
            None => &[],
        };
        self.broken |= entry.is_none();
        entry
    }
}
