//! What was learned of exporters, kept across restarts: a snapshot on disk, written by a thread of its own.
//!
//! Enters: domains, by [`Source::each`]. Leaves: [`crate::decode::Lesson`]s, taught again to the domains that
//! [`Source::domain`] gives, before any socket is bound. Promised:
//!
//! 1. **A cache, never a need.** A snapshot that is missing, damaged, too old or of a newer format costs templates, as a
//!    first start does; a disk that is full or read-only costs the snapshot and a line, nothing else.
//! 2. **Nobody vouches for it.** Each record has its checksum, each length its bound; what it says goes through the parsers
//!    and bounds of the wire. A damaged record is counted and passed by, the others are loaded.
//! 3. **Whole or not at all.** A file is written beside the old one, synced and renamed over it; files 0600, directories 0700.
//! 4. **Nobody waits for it.** Templates are read without a lock, options tables one at a time under a lock for reading;
//!    the disk is written to afterwards.
//! 5. One process a directory (a lock); what others wrote below the same root is read too, and never changed.

mod octets;
mod place;
mod record;
mod snapshot;
mod thread;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use record::{Lessons, Whose};
pub use snapshot::{Counts, Reader, SnapshotError};
pub use thread::{Keeper, Loaded, StateReport, Store, Written, write_snapshot};

use crate::decode::Domain;

/// What keeping learned state needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateSettings {
    /// The root: replicas have a directory each below it (`0`, `1`, ...).
    pub root: PathBuf,
    /// Between two looks whether something changed.
    pub interval: Duration,
    /// Oldest that is believed when it is read.
    pub max_age: Duration,
}

/// The table of exporters, as this module knows it.
pub trait Source: Send + Sync {
    /// Shows every domain with who it is of, those of the exporters heard last first; `true` with the first one that has its
    /// exporter's shared tables. Holds no lock while `show` runs; ends when it answers false.
    fn each(&self, show: &mut dyn FnMut(&Whose, &Arc<Domain>, bool) -> bool);

    /// The domain for `whose`, made if there is none; None where the operator's settings would not let it come about, or
    /// where there is no room.
    fn domain(&self, whose: &Whose) -> Option<Arc<Domain>>;
}

#[cfg(test)]
mod tests;
