//! TCP flags as CERT's exporters tell them: those of the first packet and the union of all later ones, apart.

use super::record::{Place, RecordView};
use crate::decode::wire::value::unsigned;
use crate::flow::{FlowRecord, Presence};

/// CERT's enterprise number, and the bit that reverses its elements.
pub(super) const CERT_PEN: u32 = 6_871;
pub(super) const CERT_REVERSE: u16 = 0x4000;
/// initialTCPFlags, unionTCPFlags.
const FLAGS: [u16; 2] = [14, 15];

/// Where the flags stand, per direction.
#[derive(Debug)]
pub(super) struct Flags {
    forward: Box<[Place]>,
    reverse: Box<[Place]>,
}

impl Flags {
    /// None if the template has none of them.
    pub(super) fn compile(places: &[Place]) -> Option<Self> {
        let of = |bit: u16| -> Box<[Place]> {
            let named = |p: &&Place| p.element.pen == CERT_PEN && FLAGS.iter().any(|id| p.element.id == id | bit);
            places.iter().filter(named).copied().collect()
        };
        let flags = Self { forward: of(0), reverse: of(CERT_REVERSE) };
        (!flags.forward.is_empty() || !flags.reverse.is_empty()).then_some(flags)
    }

    /// Gives `record` its flags if it has none.
    pub(super) fn fill(&self, view: &RecordView<'_>, record: &mut FlowRecord) {
        union(&self.forward, view, record);
    }

    /// The same with those of the other direction.
    pub(super) fn fill_reverse(&self, view: &RecordView<'_>, record: &mut FlowRecord) {
        union(&self.reverse, view, record);
    }
}

fn union(places: &[Place], view: &RecordView<'_>, record: &mut FlowRecord) {
    if places.is_empty() || record.has(Presence::TCP_FLAGS) {
        return;
    }
    let read = |place: &Place| view.field(place).and_then(unsigned).unwrap_or(0);
    // The upper four bits of the word are the TCP header's length, not flags (RFC 7125).
    let flags = places.iter().fold(0, |flags, place| flags | read(place)) & 0x0FFF;
    // A flow of another protocol has the elements too, as zeroes.
    if flags != 0 || record.protocol == 6 {
        record.tcp_flags = u16::try_from(flags).unwrap_or_default();
        record.presence.set(Presence::TCP_FLAGS);
    }
}
