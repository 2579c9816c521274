//! The journal: what happened to entries since the ledger was written, a few octets each.
//!
//! ```text
//!  notes of 28 octets: segment 8  created 8  index 4  kind 1 (1 lent, 2 closed, 3 back unwritten)  zero 3
//!  crc 4: CRC-32 of all before it in the note
//! ```
//!
//! A ledger is written once a second; a process that is killed in between would not know what it had delivered, nor what
//! was under way. So a note is written before an entry is handed out and as soon as it is closed. It is not synced: it is
//! for a process that ends, not for a machine that does. Promised: what reads back was written, in its order, up to the
//! first note that is torn; a journal that is lost costs what the ledger alone would.

use std::collections::BTreeMap;

use super::octets::Reader;

/// Octets of a note.
pub(super) const NOTE_OCTETS: usize = 28;

/// What happened to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// It was handed out: from here on it may be delivered.
    Lent = 1,
    /// It was delivered, or met its fate elsewhere.
    Closed = 2,
    /// It came back, and none of it was written.
    Back = 3,
}

/// A note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Note {
    /// Segment and place of the entry.
    pub(super) position: (u64, u32),
    /// When the segment was begun: another one of the same number is another one.
    pub(super) created_ns: u64,
    pub(super) event: Event,
}

impl Note {
    /// Its octets.
    pub(super) fn octets(self) -> [u8; NOTE_OCTETS] {
        let mut octets = [0; NOTE_OCTETS];
        octets[..8].copy_from_slice(&self.position.0.to_be_bytes());
        octets[8..16].copy_from_slice(&self.created_ns.to_be_bytes());
        octets[16..20].copy_from_slice(&self.position.1.to_be_bytes());
        octets[20] = self.event as u8;
        let crc = crc32fast::hash(&octets[..24]);
        octets[24..].copy_from_slice(&crc.to_be_bytes());
        octets
    }

    fn read(octets: &[u8; NOTE_OCTETS]) -> Option<Self> {
        let mut reader = Reader::new(octets);
        let (segment, created_ns, index) = (reader.u64()?, reader.u64()?, reader.u32()?);
        let event = match reader.u8()? {
            1 => Event::Lent,
            2 => Event::Closed,
            3 => Event::Back,
            _ => return None,
        };
        reader.take(3)?;
        let sound = reader.u32()? == crc32fast::hash(&octets[..24]);
        sound.then_some(Self { position: (segment, index), created_ns, event })
    }
}

/// The last of what happened to each entry.
pub(super) type Events = BTreeMap<(u64, u32), (u64, Event)>;

/// Reads octets that nobody vouches for, up to the first note that is none; tells where that is.
pub(super) fn read(octets: &[u8]) -> (Events, usize) {
    let (notes, _) = octets.as_chunks::<NOTE_OCTETS>();
    let notes: Vec<Note> = notes.iter().map_while(Note::read).collect();
    let events = notes.iter().map(|note| (note.position, (note.created_ns, note.event))).collect();
    (events, notes.len() * NOTE_OCTETS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(index: u32, event: Event) -> Note {
        Note { position: (7, index), created_ns: 99, event }
    }

    #[test]
    fn the_last_note_of_an_entry_counts_and_a_torn_one_ends_the_journal() {
        let notes = [note(1, Event::Lent), note(2, Event::Lent), note(1, Event::Closed), note(2, Event::Back)];
        let octets = notes.map(Note::octets).concat();
        let all = BTreeMap::from([((7, 1), (99, Event::Closed)), ((7, 2), (99, Event::Back))]);
        assert_eq!(read(&octets), (all, octets.len()));
        for end in 0..octets.len() {
            let (torn, sound) = read(&octets[..end]);
            assert_eq!(sound, end / NOTE_OCTETS * NOTE_OCTETS);
            assert!(torn.len() <= end / NOTE_OCTETS && (end < 3 * NOTE_OCTETS || torn[&(7, 1)].1 == Event::Closed));
        }
        for at in 0..octets.len() {
            let mut damaged = octets.clone();
            damaged[at] ^= 16;
            assert_eq!(read(&damaged), read(&octets[..at / NOTE_OCTETS * NOTE_OCTETS]), "{at}");
        }
    }

    #[test]
    fn the_format_stands_still() {
        let text: String = note(3, Event::Closed).octets().iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(&text[..48], "0000000000000007000000000000006300000003".to_owned() + "02000000");
        assert_eq!(read(&[0; 4 * NOTE_OCTETS]), (Events::new(), 0), "zeroes behind a loss of power");
    }
}
