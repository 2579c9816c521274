//! Bounds of what a spool remembers between two ledgers, and of how long it doubts.

use super::{MIB, POISON_STRIKES};

/// Octets of the spool's journal: 37,000 notes, two a batch, until the next ledger ends it. What finds no room in it is
/// known with that ledger.
pub const SPOOL_JOURNAL_OCTETS_MAX: usize = MIB as usize;
/// Failures in a row for which a batch is split that may have been accepted already, under another id than its parts
/// would have: so many that chance does not bring them about (a backend that fails 30 % of all requests: one in 170,000).
pub const POISON_STRIKES_DOUBTFUL: u32 = 10;

const _: () = assert!(POISON_STRIKES_DOUBTFUL > POISON_STRIKES);
