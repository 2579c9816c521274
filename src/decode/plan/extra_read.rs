//! Octets of one element -> the value of a field: total functions, any length, nothing allocated.

use std::fmt::Write;

use super::extra::Given;
use super::extra_sources::Read;
use crate::decode::wire::text::{Room, is_whole, text};
use crate::decode::wire::value::unsigned;
use crate::flow::{Field, FlowBatch};
use crate::limits::MPLS_LABELS_MAX;

/// Engine of an application id whose selector begins with an enterprise number (RFC 6759 4.1: PANA-L7-PEN).
const ENGINE_OF_ENTERPRISES: u8 = 20;

/// Gives a row `field` as `octets` say it; nothing if they do not say anything. `zero` keeps an address of zeroes.
pub(super) fn read(field: Field, read: Read, zero: bool, octets: &[u8], given: &mut Given, batch: &mut FlowBatch) {
    let number = match read {
        Read::Number(bits) => unsigned(octets).filter(|value| bits >= 64 || *value >> bits == 0),
        Read::Low(bits) => unsigned(octets).map(|value| value & ((1 << bits) - 1)),
        Read::CodePoint => unsigned(octets).filter(|tos| *tos <= 0xFF).map(|tos| tos >> 2),
        Read::IpVersion => unsigned(octets).filter(|version| matches!(version, 4 | 6)),
        Read::Milliseconds => unsigned(octets).filter(|_| octets.len() == 8),
        Read::Segment => segment(octets).map(|(_, id)| id),
        Read::Encapsulation => segment(octets).map(|(kind, _)| kind).filter(|kind| *kind != 0),
        Read::V4 | Read::V6 | Read::Mac => {
            let length = match read {
                Read::V4 => 4,
                Read::V6 => 16,
                _ => 6,
            };
            if octets.len() == length && (zero || octets.iter().any(|octet| *octet != 0)) {
                given.octets(field, octets, batch);
            }
            return;
        }
        Read::Text => {
            let mut room = Room::new();
            let text = text(octets, &mut room);
            if !text.is_empty() {
                given.octets(field, text.as_bytes(), batch);
            }
            return;
        }
        Read::Octets => {
            given.octets(field, octets, batch);
            return;
        }
        Read::AppLabel => {
            if let Some(label) = unsigned(octets).filter(|label| *label != 0) {
                let mut text = Room::new();
                let _ = write!(text, "{label}");
                given.octets(field, text.as_str().as_bytes(), batch);
            }
            return;
        }
        Read::AppId => {
            if let Some(text) = application(octets) {
                given.octets(field, text.as_str().as_bytes(), batch);
            }
            return;
        }
    };
    if let Some(number) = number {
        given.number(field, number, batch);
    }
}

/// True if the field that is read so shows all that `octets` say.
pub(super) fn shows_all(read: Read, octets: &[u8]) -> bool {
    let fits = |bits: u8| unsigned(octets).is_some_and(|value| bits >= 64 || value >> bits == 0);
    let is_of = |length: usize| octets.len() == length && octets.iter().any(|octet| *octet != 0);
    match read {
        Read::Number(bits) | Read::Low(bits) => fits(bits),
        Read::IpVersion => matches!(unsigned(octets), Some(4 | 6)),
        Read::Milliseconds => octets.len() == 8,
        Read::V4 => is_of(4),
        Read::V6 => is_of(16),
        Read::Mac => is_of(6),
        Read::Text => is_whole(octets),
        Read::Octets => !octets.is_empty(),
        // Only a part of it, or another form.
        Read::CodePoint | Read::Segment | Read::Encapsulation | Read::AppId | Read::AppLabel => false,
    }
}

/// layer2SegmentId 351: the encapsulation in the upper octet, the number of the network in the lower three (RFC 7133).
/// Some send fewer octets than its eight: the upper one is the first that came. Zero is no network.
fn segment(octets: &[u8]) -> Option<(u64, u64)> {
    let value = unsigned(octets).filter(|value| *value != 0)?;
    let kind = match octets.len() {
        0..=3 => 0,
        length @ 4..=8 => value >> (8 * (length - 1)),
        _ => value >> 56,
    };
    Some((kind, value & 0xFF_FFFF))
}

/// applicationId 95 (RFC 6759): an engine, then its selector, here as `engine:selector`; of engine 20 the selector begins
/// with an enterprise number: `20:enterprise:selector`. A selector of more than 64 bits stands in hexadecimal. All zeroes
/// is no application.
fn application(octets: &[u8]) -> Option<Room> {
    let (engine, selector) = octets.split_first()?;
    if selector.is_empty() || octets.iter().all(|octet| *octet == 0) {
        return None;
    }
    let mut text = Room::new();
    let _ = write!(text, "{engine}:");
    let selector = match selector.split_first_chunk() {
        Some((pen, rest)) if *engine == ENGINE_OF_ENTERPRISES && !rest.is_empty() => {
            let _ = write!(text, "{}:", u32::from_be_bytes(*pen));
            rest
        }
        _ => selector,
    };
    match unsigned(selector) {
        Some(number) => {
            let _ = write!(text, "{number}");
        }
        None => {
            let _ = text.write_str("0x");
            // What is past the bound of a text is not looked at.
            for octet in selector.iter().take(crate::limits::TEXT_OCTETS_MAX) {
                let _ = write!(text, "{octet:02x}");
            }
        }
    }
    Some(text)
}

/// Labels of a stack, the outermost first.
#[derive(Debug)]
pub(super) struct Labels {
    octets: [u8; 4 * MPLS_LABELS_MAX],
    count: usize,
    /// Labels but for zeroes at the end: what an exporter has no label for it sends as zeroes.
    used: usize,
    ended: bool,
}

impl Labels {
    pub(super) const fn new() -> Self {
        Self { octets: [0; 4 * MPLS_LABELS_MAX], count: 0, used: 0, ended: false }
    }

    /// Takes an entry: 20 bits of label, 3 of class, the bottom of the stack, and a TTL where it has four octets. Other
    /// lengths are none (DEC-4). False behind the bottom.
    pub(super) fn push(&mut self, entry: &[u8]) -> bool {
        let ([a, b, c] | [a, b, c, _]) = *entry else { return !self.ended };
        let Some(place) = self.octets[4 * self.count..].first_chunk_mut().filter(|_| !self.ended) else {
            return false;
        };
        let word = u32::from_be_bytes([0, a, b, c]);
        *place = (word >> 4).to_be_bytes();
        self.count += 1;
        if word != 0 {
            self.used = self.count;
        }
        self.ended = word & 1 != 0;
        !self.ended
    }

    /// The labels, 4 octets each.
    pub(super) fn as_octets(&self) -> &[u8] {
        &self.octets[..4 * self.used]
    }
}
