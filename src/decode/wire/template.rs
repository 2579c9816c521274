//! Template, OptionsTemplate, FieldSpecifier: parse and validate (RFC 7011 3.4, RFC 3954 5.2, 6.1).
//!
//! NetFlow v9 terms get their IPFIX names here: a field type becomes element `(0, type)`, a Source ID
//! is the observation domain. Lengths come from the wire and are never corrected by a registry (G-07).

use nom::number::complete::{be_u16, be_u32};
use nom::{IResult, Parser};

use crate::decode::wire::padding::Rest;
use crate::flow::{ElementId, Version};
use crate::limits::{DATAGRAM_OCTETS_MAX, FIELDS_PER_TEMPLATE_MAX};

/// Length that means "variable, prefixed" (RFC 7011 7; N9-11 for v9).
pub(in crate::decode) const VARIABLE_LENGTH: u16 = 0xFFFF;

/// Smallest id of a data set and so of a template.
pub(in crate::decode) const TEMPLATE_ID_MIN: u16 = 256;

/// One field of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) struct FieldSpecifier {
    /// Which element. In a scope field of v9 the id is a scope type (N9-21), not a field type.
    pub element: ElementId,
    /// Octets, or [`VARIABLE_LENGTH`].
    pub length: u16,
}

/// What the data sets of a template hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) enum TemplateKind {
    /// Flow records.
    Data,
    /// Options records, the first `scopes` fields being the scope.
    Options {
        /// Number of scope fields.
        scopes: u16,
    },
}

/// A template as the wire gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::decode) struct Template {
    /// Template id, 256 or above.
    pub id: u16,
    /// Data or options.
    pub kind: TemplateKind,
    /// Fields in wire order, at least one.
    pub fields: Vec<FieldSpecifier>,
}

impl Template {
    /// Smallest record, octets: a variable-length field takes at least its prefix (IX-06).
    pub(in crate::decode) fn record_octets_min(&self) -> usize {
        self.fields.iter().map(|f| if f.length == VARIABLE_LENGTH { 1 } else { usize::from(f.length) }).sum()
    }

    /// True if any field is of variable length.
    pub(in crate::decode) fn is_variable(&self) -> bool {
        self.fields.iter().any(|f| f.length == VARIABLE_LENGTH)
    }
}

/// What a template set said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::decode) struct TemplateSet {
    /// Templates that can be used, in wire order.
    pub templates: Vec<Template>,
    /// Template records that were refused.
    pub rejected: u32,
    /// Withdrawals: ignored over UDP (IX-14), which is the only transport so far.
    pub withdrawals: u32,
    /// They were kept from an earlier run: their exporter did not say it now.
    pub is_restored: bool,
}

impl TemplateSet {
    /// As [`TemplateSet::parse`]; where `enterprise_in_v9`, fields of a v9 template may be enterprise fields of IPFIX's
    /// form, if the octets of the set fit that reading and not the plain one (N9-28). The lengths of v9's options
    /// templates are in octets of 4-octet fields: they leave no room for another reading.
    pub(in crate::decode) fn read(version: Version, options: bool, body: &[u8], enterprise_in_v9: bool) -> Self {
        if version != Version::V9 || options || !enterprise_in_v9 {
            return Self::parse(version, options, body);
        }
        let (plain, plain_rest) = Self::walk(body, v9_template);
        if plain.fits(plain_rest) {
            return plain;
        }
        let (enterprise, rest) = Self::walk(body, |octets| v9_template_of(octets, ipfix_field));
        if enterprise.fits(rest) { enterprise } else { plain }
    }

    /// True if nothing was refused and what is left is padding without doubt.
    fn fits(&self, rest: &[u8]) -> bool {
        self.rejected == 0 && Rest::of(rest) != Rest::NotZero
    }

    /// A template or an options template set of `version`.
    pub(in crate::decode) fn parse(version: Version, options: bool, body: &[u8]) -> Self {
        let record = match (version, options) {
            (Version::Ipfix, false) => ipfix_template,
            (Version::Ipfix, true) => ipfix_options_template,
            (_, false) => v9_template,
            (_, true) => v9_options_template,
        };
        Self::walk(body, record).0
    }

    /// Reads template records one after the other; what they leave is the second part.
    fn walk<'a>(body: &'a [u8], record: impl Fn(&'a [u8]) -> Parsed<'a>) -> (Self, &'a [u8]) {
        let mut set = Self::default();
        let mut rest = body;
        // Each turn takes at least the 4 octets of a record header, so the loop ends (G-03).
        while rest.len() >= 4 {
            match record(rest) {
                Parsed::Padding => break,
                Parsed::Withdrawal(after) => {
                    set.withdrawals += 1;
                    rest = after;
                }
                Parsed::Template(template, after) => {
                    if sound(&template) {
                        set.templates.push(template);
                    } else {
                        set.rejected += 1;
                    }
                    rest = after;
                }
                // Nothing says where the next record would begin: the rest of the set goes.
                Parsed::Broken => {
                    set.rejected += 1;
                    break;
                }
            }
        }
        (set, rest)
    }
}

enum Parsed<'a> {
    Template(Template, &'a [u8]),
    Withdrawal(&'a [u8]),
    Padding,
    Broken,
}

/// An id that data sets can have, fields, and records that are neither empty (a data set of them
/// would never end, N9-10) nor longer than a datagram can be.
fn sound(template: &Template) -> bool {
    let octets = template.record_octets_min();
    template.id >= TEMPLATE_ID_MIN
        && !template.fields.is_empty()
        && template.fields.len() <= FIELDS_PER_TEMPLATE_MAX
        && (1..=DATAGRAM_OCTETS_MAX).contains(&octets)
}

fn two(octets: &[u8]) -> IResult<&[u8], (u16, u16)> {
    (be_u16, be_u16).parse(octets)
}

fn three(octets: &[u8]) -> IResult<&[u8], (u16, u16, u16)> {
    (be_u16, be_u16, be_u16).parse(octets)
}

fn v9_field(octets: &[u8]) -> IResult<&[u8], FieldSpecifier> {
    let (rest, (id, length)) = two(octets)?;
    Ok((rest, FieldSpecifier { element: ElementId { pen: 0, id }, length }))
}

fn ipfix_field(octets: &[u8]) -> IResult<&[u8], FieldSpecifier> {
    let (rest, (id, length)) = two(octets)?;
    if id & 0x8000 == 0 {
        return Ok((rest, FieldSpecifier { element: ElementId { pen: 0, id }, length }));
    }
    let (rest, pen) = be_u32(rest)?;
    Ok((rest, FieldSpecifier { element: ElementId { pen, id: id & 0x7FFF }, length }))
}

fn fields<'a>(
    mut rest: &'a [u8],
    count: usize,
    field: fn(&'a [u8]) -> IResult<&'a [u8], FieldSpecifier>,
) -> Option<(Vec<FieldSpecifier>, &'a [u8])> {
    // A count that the octets cannot hold is refused before anything is allocated for it.
    if count * 4 > rest.len() {
        return None;
    }
    let mut fields = Vec::with_capacity(count.min(FIELDS_PER_TEMPLATE_MAX + 1));
    for _ in 0..count {
        let (after, specifier) = field(rest).ok()?;
        // One above the limit is kept so that `sound` refuses the template; the rest is walked over.
        if fields.len() <= FIELDS_PER_TEMPLATE_MAX {
            fields.push(specifier);
        }
        rest = after;
    }
    Some((fields, rest))
}

fn v9_template(octets: &[u8]) -> Parsed<'_> {
    v9_template_of(octets, v9_field)
}

fn v9_template_of<'a>(octets: &'a [u8], field: fn(&'a [u8]) -> IResult<&'a [u8], FieldSpecifier>) -> Parsed<'a> {
    let Ok((rest, (id, count))) = two(octets) else { return Parsed::Padding };
    // Fewer octets than a template with one field takes: padding, whatever it holds (N9-07).
    if octets.len() < 8 {
        return Parsed::Padding;
    }
    if id == 0 && count == 0 {
        return Parsed::Padding;
    }
    match fields(rest, usize::from(count), field) {
        Some((fields, rest)) => Parsed::Template(Template { id, kind: TemplateKind::Data, fields }, rest),
        None => Parsed::Broken,
    }
}

fn v9_options_template(octets: &[u8]) -> Parsed<'_> {
    let Ok((rest, (id, scope_octets, option_octets))) = three(octets) else { return Parsed::Padding };
    if id == 0 && scope_octets == 0 && option_octets == 0 {
        return Parsed::Padding;
    }
    // Both lengths are octets of 4-octet fields (N9-19).
    if scope_octets % 4 != 0 || option_octets % 4 != 0 {
        return Parsed::Broken;
    }
    let scopes = scope_octets / 4;
    match fields(rest, usize::from(scopes) + usize::from(option_octets / 4), v9_field) {
        Some((fields, rest)) => Parsed::Template(Template { id, kind: TemplateKind::Options { scopes }, fields }, rest),
        None => Parsed::Broken,
    }
}

fn ipfix_template(octets: &[u8]) -> Parsed<'_> {
    let Ok((rest, (id, count))) = two(octets) else { return Parsed::Padding };
    if count == 0 {
        // Id 2 withdraws all templates of the domain; what is not an id at all is padding (IX-13).
        return if id == 2 || id >= TEMPLATE_ID_MIN { Parsed::Withdrawal(rest) } else { Parsed::Padding };
    }
    match fields(rest, usize::from(count), ipfix_field) {
        Some((fields, rest)) => Parsed::Template(Template { id, kind: TemplateKind::Data, fields }, rest),
        None if octets.len() < 8 => Parsed::Padding,
        None => Parsed::Broken,
    }
}

fn ipfix_options_template(octets: &[u8]) -> Parsed<'_> {
    let Ok((rest, (id, count))) = two(octets) else { return Parsed::Padding };
    if count == 0 {
        return if id == 3 || id >= TEMPLATE_ID_MIN { Parsed::Withdrawal(rest) } else { Parsed::Padding };
    }
    if octets.len() < 10 {
        return Parsed::Padding;
    }
    let Ok((rest, scopes)) = be_u16::<_, nom::error::Error<&[u8]>>(rest) else { return Parsed::Padding };
    let Some((mut fields, rest)) = fields(rest, usize::from(count), ipfix_field) else { return Parsed::Broken };
    // The scope count must be 1 to the field count (IX-12): a template without fields is refused.
    if scopes == 0 || scopes > count {
        fields.clear();
    }
    Parsed::Template(Template { id, kind: TemplateKind::Options { scopes }, fields }, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_be_bytes()).collect()
    }

    fn v9(body: &[u16]) -> TemplateSet {
        TemplateSet::parse(Version::V9, false, &words(body))
    }

    #[test]
    fn n9_07_several_templates_and_padding_of_any_value() {
        let three = [256, 1, 8, 4, 257, 2, 8, 4, 12, 4, 258, 1, 1, 4];
        let set = v9(&three);
        assert_eq!(set.templates.iter().map(|t| t.id).collect::<Vec<_>>(), [256, 257, 258]);
        for pad in 0..8 {
            let mut octets = words(&three);
            octets.extend(std::iter::repeat_n(0xAA, pad));
            let padded = TemplateSet::parse(Version::V9, false, &octets);
            assert_eq!(padded.templates.len(), 3, "{pad} octets of padding");
        }
    }

    #[test]
    fn n9_08_09_bad_ids_and_counts() {
        for bad in [0, 1, 255] {
            let set = v9(&[bad, 1, 8, 4, 256, 1, 12, 4]);
            assert_eq!((set.templates.len(), set.rejected, set.templates[0].id), (1, 1, 256), "{bad}");
        }
        let set = v9(&[256, 0, 257, 1, 12, 4]);
        assert_eq!((set.templates.len(), set.rejected, set.withdrawals), (1, 1, 0));
        let set = v9(&[256, 9, 8, 4]);
        assert_eq!((set.templates.len(), set.rejected), (0, 1));
    }

    #[test]
    fn n9_10_zero_length_fields() {
        let set = v9(&[256, 2, 8, 4, 90, 0, 257, 1, 8, 0]);
        assert_eq!((set.templates.len(), set.rejected), (1, 1));
        assert_eq!(set.templates[0].record_octets_min(), 4);
    }

    #[test]
    fn n9_19_options_lengths_are_octets() {
        let octets = words(&[256, 4, 8, 1, 4, 34, 4, 35, 1, 0]);
        let set = TemplateSet::parse(Version::V9, true, &octets);
        assert_eq!(set.templates[0].kind, TemplateKind::Options { scopes: 1 });
        assert_eq!(set.templates[0].fields.len(), 3);
        assert_eq!(TemplateSet::parse(Version::V9, true, &words(&[256, 3, 8, 1, 4, 34, 4, 35, 1])).rejected, 1);
        assert_eq!(TemplateSet::parse(Version::V9, true, &words(&[256, 0, 4, 34, 4])).templates.len(), 1);
    }

    #[test]
    fn ix_09_enterprise_fields_and_a_missing_number() {
        let octets = words(&[256, 2, 0x8001, 4, 0, 9, 8, 4]);
        let set = TemplateSet::parse(Version::Ipfix, false, &octets);
        assert_eq!(set.templates[0].fields[0].element, ElementId { pen: 9, id: 1 });
        // The bit with number 0 says nothing that IANA's element does not say.
        let zero = TemplateSet::parse(Version::Ipfix, false, &words(&[256, 2, 0x8008, 4, 0, 0, 12, 4]));
        assert_eq!(zero.templates[0].fields[0].element, ElementId { pen: 0, id: 8 });
        let cut = words(&[256, 2, 8, 4, 0x8001, 4, 0]);
        assert_eq!(TemplateSet::parse(Version::Ipfix, false, &cut), TemplateSet { rejected: 1, ..Default::default() });
    }

    #[test]
    fn ix_12_scope_counts() {
        for (scopes, sound) in [(0, false), (1, true), (2, true), (3, false)] {
            let octets = words(&[256, 2, scopes, 10, 4, 34, 4]);
            let set = TemplateSet::parse(Version::Ipfix, true, &octets);
            assert_eq!(set.templates.len() == 1, sound, "{scopes}");
        }
    }

    #[test]
    fn ix_13_14_withdrawals_are_counted_and_change_nothing() {
        let set = TemplateSet::parse(Version::Ipfix, false, &words(&[256, 0, 2, 0, 257, 1, 8, 4]));
        assert_eq!((set.withdrawals, set.templates.len(), set.rejected), (2, 1, 0));
        assert_eq!(TemplateSet::parse(Version::Ipfix, true, &words(&[256, 0])).withdrawals, 1);
    }

    #[test]
    fn every_cut_of_a_template_set_is_survived() {
        for version in [Version::V9, Version::Ipfix] {
            for options in [false, true] {
                let octets = words(&[256, 4, 8, 0x8001, 4, 0, 9, 8, 4, 12, 4, 257, 1, 8, 4, 0, 0]);
                for end in 0..=octets.len() {
                    let _ = TemplateSet::parse(version, options, &octets[..end]);
                }
            }
        }
    }

    #[test]
    fn a_4_field_counts_are_bounded() {
        let mut body = vec![256, 1_025];
        for _ in 0..1_025 {
            body.extend([8, 4]);
        }
        body.extend([257, 1, 8, 4]);
        let set = v9(&body);
        assert_eq!((set.templates.len(), set.rejected), (1, 1));
    }
}
