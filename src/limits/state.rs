//! Bounds of kept learned state: how often it is written, how old it may be, how much it takes.

use super::{EXPORTER_FORGET_S, KIB, MIB, Range, SPOOL_REPLICAS_MAX, range};

/// Between two looks whether learned state has to be written, seconds; 0 keeps none.
pub const STATE_INTERVAL_S: Range = range(60, 0, 86_400);
/// Age at which kept state is not believed any more, seconds: after a day of silence an exporter is forgotten anyway.
pub const STATE_AGE_S: Range = range(EXPORTER_FORGET_S, 60, EXPORTER_FORGET_S);
/// Where nothing was learned anew, the ages of what is kept are written this often, seconds.
pub const STATE_REWRITE_S: u64 = 600;
/// Octets of a snapshot: what fills `LEARNED_OCTETS` takes less than half of it on disk.
pub const STATE_SNAPSHOT_OCTETS_MAX: u64 = 256 * MIB;
/// Octets of all snapshots that a start reads: its own, and what other processes left.
pub const STATE_READ_OCTETS_MAX: u64 = 2 * STATE_SNAPSHOT_OCTETS_MAX;
/// A record of a snapshot is closed when it has grown to this: damage costs one record.
pub const STATE_RECORD_OCTETS: usize = 64 * KIB as usize;
/// Largest record: the last lesson began below that, and has a length of 16 bits; the rest is who it is of.
pub const STATE_RECORD_OCTETS_MAX: usize = 3 * STATE_RECORD_OCTETS;
/// Octets that one options table of an exporter, or the templates of a domain, take in a snapshot: 16,384 interfaces with
/// descriptions of 80 octets are a third of it. They are in memory while they are written.
pub const STATE_TABLE_OCTETS_MAX: usize = 8 * MIB as usize;
/// Replicas of one host that keep learned state, each in a directory of its own.
pub const STATE_REPLICAS_MAX: u32 = SPOOL_REPLICAS_MAX;
/// Octets of a tenant's or a listener's name in a snapshot.
pub const STATE_NAME_OCTETS_MAX: usize = 512;

// The last lesson of a record, who it is of, and the head of either.
const _: () =
    assert!(STATE_RECORD_OCTETS_MAX >= STATE_RECORD_OCTETS + 65_535 + 2 * STATE_NAME_OCTETS_MAX + KIB as usize);
