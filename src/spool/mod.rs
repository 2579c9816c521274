//! Encoded batches that cannot be delivered now go to disk and come back, oldest first.
//!
//! Enters: an [`Entry`] by [`Inlet::offer`], which never blocks. Leaves: entries by [`Outlet::next`], each
//! with a [`Ticket`] that is answered once: acknowledged, discarded, given back, or replaced by its halves.
//! A thread of its own ([`Thread`]) owns the directory; it knows octets, not flows. Promised:
//!
//! 1. **Order.** Entries come back in the order in which they were appended; what was given back comes
//!    first again after its pause. The head never blocks: what waits or cannot be read is passed by.
//! 2. **Durability.** What was committed is there after a crash until it was closed. With `fsync = always`
//!    an entry is committed before the thread's turn ends that took it, with `interval` within 1 s by
//!    default, with `never` when the kernel likes (a crash of the process alone loses nothing of it).
//! 3. **At least once.** Closings are noted at once and committed with the next ledger, 1 s later at most. After a kill
//!    what was under way comes back, with the same id and marked as repeated; after a crash of the machine also what was
//!    closed in that second.
//! 4. **Halves before the whole.** No ledger is written before all entries are committed, and no file is
//!    deleted before the ledger that closes its entries (but on a full disk, where deleting comes first:
//!    then a crash may bring entries back). So a split entry is durably closed only after its halves are
//!    there; when a crash shows both, the halves count; when it shows one half, the whole counts.
//! 5. **Books.** Records: appended + recovered = closed + dropped{reason} + in the spool, always; what is
//!    on its way in is told apart. A damaged octet costs the entry that it hits, and is counted.
//! 6. **Bounds.** Octets on disk <= limit (halves take the place of their whole a moment before it goes); 32 MiB a segment, or a sixteenth of the limit;
//!    262,144 entries at about 64 octets of memory; 16 MiB on the way in, 4 entries or 16 MiB on the way
//!    out. While the directory is opened, one segment is in memory.
//! 7. **A sick disk is a state**, not an end: full, read-only or forbidden, the inlet refuses, what is in
//!    hand is kept and tried again after 0.5 to 30 s.
//! 8. One process a directory (a lock); what a process that is gone has left is adopted and delivered.

mod dead;
mod disk;
mod entry;
mod frame;
mod journal;
mod ledger;
mod octets;
mod place;
mod segment;
mod stats;
mod store;
mod thread;

#[cfg(test)]
mod model;
#[cfg(test)]
mod testing;

use std::path::PathBuf;
use std::time::Duration;

pub use dead::{DeadLetter, DeadLetterSummary, DeadLetters, DeadSettings, Evicted};
pub use disk::{Room, RoomOf};
pub use entry::{Entry, EntryError, ExporterCount};
pub use frame::Head;
pub use segment::{Damage, Header, Placed, Scan, read_segment};
pub use stats::{SpoolDrop, SpoolState, Stats};
pub use thread::{Inlet, Outlet, SpoolReport, Spooled, Thread, Ticket, Waker, start};

use crate::limits;

/// What happens when the spool's limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// The oldest segment goes.
    #[default]
    DropOldest,
    /// What comes is not taken.
    DropNewest,
}

/// When what was written is made to reach the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// When the kernel likes.
    Never,
    /// After this time.
    Interval(Duration),
    /// Before the thread goes on.
    Always,
}

/// What the spool needs to know.
#[derive(Debug, Clone)]
pub struct SpoolSettings {
    /// The root: replicas have a directory each below it (`0`, `1`, ...).
    pub root: PathBuf,
    /// Octets on disk; None is 10 GiB or half of the free space, whichever is less.
    pub limit: Option<u64>,
    /// Oldest an entry gets, by the receive time of its newest record.
    pub age: Duration,
    /// Share of the file system that stays free, percent.
    pub keep_free_percent: u64,
    /// What happens when there is no room.
    pub full: WhenFull,
    /// When what was written is made to reach the disk.
    pub fsync: Fsync,
    /// Entries are packed with zstd.
    pub compress: bool,
    /// A segment is closed when it has grown to this, octets.
    pub segment_octets: u64,
    /// Octets on their way in.
    pub inlet_octets: u64,
    /// Entries on their way out and not yet answered for.
    pub leases: usize,
    /// Octets of these; one entry is always allowed.
    pub lease_octets: u64,
    /// Asks for the room on a file system; without it only `limit` counts.
    pub room_of: Option<RoomOf>,
}

impl SpoolSettings {
    /// The defaults of `limits`, for a root.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            limit: None,
            age: Duration::from_secs(limits::SPOOL_AGE_S.default),
            keep_free_percent: limits::SPOOL_KEEP_FREE_PERCENT.default,
            full: WhenFull::default(),
            fsync: Fsync::Interval(Duration::from_millis(limits::SPOOL_FSYNC_MS.default)),
            compress: false,
            segment_octets: limits::SPOOL_SEGMENT_OCTETS.default,
            inlet_octets: limits::SPOOL_INLET_OCTETS.default,
            leases: usize::try_from(limits::SPOOL_LEASES.default).unwrap_or(1),
            lease_octets: limits::SPOOL_LEASE_OCTETS.default,
            room_of: None,
        }
    }
}

/// Why the spool cannot start. A directory that cannot be used is no reason: that is a state.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// No thread.
    #[error("the spool cannot start its thread: {0}; check the process's limits (ulimit -u, pids.max)")]
    Thread(std::io::Error),
}
