//! Bounds of the ring of datagrams that could not be decoded (`collect::rejected`).

use super::{MIB, Range, range};

/// Octets of the ring, and so of the file that it is downloaded as; 0 keeps nothing. No more than the largest other
/// answer of the HTTP side, since as many copies of it may be on their way at once.
pub const REJECTED_OCTETS: Range = range(MIB, 0, 8 * MIB);
/// What a datagram counts beside its own octets: 100 in memory; in the file 32 of its block, 48 of made-up headers,
/// and a comment of 160 at most.
pub const REJECTED_OVERHEAD_OCTETS: u64 = 256;
/// Datagrams in the ring: what its octets allow if all are empty; making room goes through all of them.
pub const REJECTED_DATAGRAMS_MAX: usize = (REJECTED_OCTETS.max / REJECTED_OVERHEAD_OCTETS) as usize;
/// One sender holds at most this part of the ring.
pub const REJECTED_SENDER_PART: u64 = 4;
/// Senders of whom nothing was ever decoded hold at most this part in all: their addresses may be forged.
pub const REJECTED_STRANGERS_PART: u64 = 2;
/// Datagrams of a sender that a worker keeps at once.
pub const REJECTED_BURST: u32 = 16;
/// And after that one in this time, milliseconds: enough to see that it goes on.
pub const REJECTED_EVERY_MS: u64 = 500;
/// Senders that a worker tells apart for this; further ones share.
pub const REJECTED_SLOTS: usize = 256;
/// Datagrams a second that all workers keep: with forged senders, what the ring costs at most.
pub const REJECTED_PER_S_MAX: u32 = 512;
