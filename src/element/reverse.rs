//! Reverse elements by rule (RFC 5103, RG-01): which number and name the other direction of an element has.
//!
//! Shared by `build.rs`, which makes the built-in ones, and by the operator's elements; std only.

/// RFC 5103: element n of this PEN is the reverse of IANA element n.
pub const REVERSE_PEN: u32 = 29305;
/// CERT marks the reverse of one of its own elements by [`CERT_REVERSE_BIT`].
pub const CERT_PEN: u32 = 6871;
/// Bit 14 of an element id of PEN 6871.
pub const CERT_REVERSE_BIT: u16 = 0x4000;

/// IANA elements that describe the process, the message or the flow as a whole: no reverse (RFC 5103 6.1).
pub const NOT_REVERSIBLE: [u16; 30] = [
    40, 41, 42, 130, 131, 137, 138, 141, 142, 143, 144, 145, 148, 149, 163, 164, 165, 166, 167, 168, 173, 210, 211,
    212, 213, 214, 215, 216, 217, 239,
];

/// The reverse of element `id` of `pen`, as (PEN, id); None where there is none by rule.
#[must_use]
pub fn reverse_number(pen: u32, id: u16) -> Option<(u32, u16)> {
    match pen {
        0 if id < 0x8000 && !NOT_REVERSIBLE.contains(&id) => Some((REVERSE_PEN, id)),
        CERT_PEN if id < CERT_REVERSE_BIT => Some((CERT_PEN, id | CERT_REVERSE_BIT)),
        _ => None,
    }
}

/// `reverse` and the name with its first letter in upper case.
#[must_use]
pub fn reverse_name(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    "reverse".chars().chain(first).chain(letters).collect()
}
