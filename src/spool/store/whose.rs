//! Whose records an entry holds that is dropped unread: asked of its first octets on the disk.
//!
//! Enters: the place of an entry that nobody has in hand. Leaves: exporters with their records, as many as stand in
//! the part that is read. Promised: at most `SPOOL_NAMED_MAX` entries a turn and `SPOOL_NAMES_OCTETS` of each are
//! read; what cannot be read, or says more than its head, names nobody and costs nothing but the names.

use std::io::Read as _;

use super::super::entry::{ExporterCount, exporters_in};
use super::super::frame::{HEAD_OCTETS, Head};
use super::super::stats::SpoolDrop;
use super::{Position, Store, file_name};
use crate::limits;

impl Store {
    /// Names may be read again: once a turn.
    pub(super) const fn refill_names(&mut self) {
        self.names_left = limits::SPOOL_NAMED_MAX;
    }

    /// Drops an entry that nobody has in hand, and counts whose it was as far as that is known.
    pub(super) fn drop_unread(&mut self, position: Position, reason: SpoolDrop) {
        let named = self.whose(position);
        self.close(position, Some(reason));
        self.stats.name_lost(reason, &named);
    }

    fn whose(&mut self, position: Position) -> Vec<ExporterCount> {
        let Some(left) = self.names_left.checked_sub(1) else { return Vec::new() };
        self.names_left = left;
        let Some(slot) = self.slot(position) else { return Vec::new() };
        let (offset, octets) = (slot.offset, (slot.octets as usize).min(HEAD_OCTETS + limits::SPOOL_NAMES_OCTETS));
        let Ok(front) = self.disk.read(&file_name(position.0), offset, octets) else { return Vec::new() };
        let Some(head) = Head::read(&front).filter(|head| head.index == position.1) else { return Vec::new() };
        let payload = front.get(HEAD_OCTETS..).unwrap_or_default();
        let named = if head.is_packed() {
            let mut plain = Vec::new();
            // The stream is cut off: what came before that is kept.
            let unpacked = zstd::stream::read::Decoder::new(payload)
                .map(|decoder| decoder.take(limits::SPOOL_NAMES_OCTETS as u64).read_to_end(&mut plain));
            if unpacked.is_err() {
                return Vec::new();
            }
            exporters_in(&plain)
        } else {
            exporters_in(payload)
        };
        // No checksum vouches for a part of a payload: what cannot be true is not believed.
        let sum: u64 = named.iter().map(|count| u64::from(count.records)).sum();
        if sum <= u64::from(head.records) { named } else { Vec::new() }
    }
}
