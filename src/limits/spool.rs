//! Bounds of the spool and of dead letters; how much it remembers between two ledgers, and how long it doubts.

use super::{BODY_OCTETS_MAX, GIB, KIB, MIB, POISON_STRIKES, Range, range};

/// Octets of the spool's journal: 37,000 notes, two a batch, until the next ledger ends it. What finds no room in it is
/// known with that ledger.
pub const SPOOL_JOURNAL_OCTETS_MAX: usize = MIB as usize;
/// Failures in a row for which a batch is split that may have been accepted already, under another id than its parts
/// would have: so many that chance does not bring them about (a backend that fails 30 % of all requests: one in 170,000).
pub const POISON_STRIKES_DOUBTFUL: u32 = 10;

const _: () = assert!(POISON_STRIKES_DOUBTFUL > POISON_STRIKES);

/// Octets of the spool; the default is the smaller of this and half of the free space.
pub const SPOOL_OCTETS: Range = range(10 * GIB, 16 * MIB, 1 << 44);
/// Oldest an entry of the spool gets, seconds: flows of the day before yesterday answer nobody's question.
pub const SPOOL_AGE_S: Range = range(86_400, 60, 30 * 86_400);
/// Share of the file system that the spool leaves free, percent.
pub const SPOOL_KEEP_FREE_PERCENT: Range = range(10, 0, 90);
/// A segment is closed when it has grown to this: it is read whole when the process starts, and deleting the
/// oldest must cost a small share of the spool only.
pub const SPOOL_SEGMENT_OCTETS: Range = range(32 * MIB, 64 * KIB, 256 * MIB);
/// Parts of its limit that the spool is made of at least, so that room is made in small steps.
pub const SPOOL_SEGMENTS_MIN: u64 = 16;
/// Largest entry: the largest body, an end for each of its records, a run for each, and their names.
pub const SPOOL_ENTRY_OCTETS_MAX: usize = BODY_OCTETS_MAX + 16 * MIB as usize;
/// Entries of the spool: each takes about 64 octets of memory, 16 MiB in all.
pub const SPOOL_ENTRIES_MAX: usize = 1 << 18;
/// Entries of one segment.
pub const SPOOL_SEGMENT_ENTRIES_MAX: usize = 1 << 16;
/// Files of a spool's directory that are looked at; the default limit makes a fortieth.
pub const SPOOL_FILES_MAX: usize = 16_384;
/// Ledger of the spool that is read: a bit an entry, a row a segment, and the rows of what was tried.
pub const SPOOL_LEDGER_OCTETS_MAX: usize = 4 * MIB as usize;
/// Rows about single entries (tried, under way) in the ledger, the oldest first.
pub const SPOOL_LEDGER_ROWS_MAX: usize = 65_536;
/// Name of an output, or of a format.
pub const SPOOL_NAME_OCTETS_MAX: usize = 64;
/// Name of an exporter: tenant and address.
pub const SPOOL_KEY_OCTETS_MAX: usize = 512;
/// Between two writings to the disk with `fsync = interval`, and of the ledger, milliseconds.
pub const SPOOL_FSYNC_MS: Range = range(1_000, 10, 60_000);
/// Octets on their way into the spool.
pub const SPOOL_INLET_OCTETS: Range = range(16 * MIB, MIB, GIB);
/// Entries read back and not yet answered for.
pub const SPOOL_LEASES: Range = range(4, 1, 256);
/// Octets of these; one entry is always allowed.
pub const SPOOL_LEASE_OCTETS: Range = range(16 * MIB, MIB, GIB);
/// Entries out for each request that may be under way: one that is sent, one that waits behind it or was set aside.
pub const SPOOL_LEASES_PER_REQUEST: usize = 2;
/// While the backend is sick, batches beyond this share of delivery's memory go to the spool, percent.
pub const SPOOL_SPILL_PERCENT: u64 = 50;
/// And all of them when it has been sick for this long, milliseconds: what is in memory is lost with the process,
/// while a backend that only restarts is worth waiting for.
pub const SPOOL_PATIENCE_MS: u64 = 5_000;
/// A drain does not wait for a backend that has been sick for this long, milliseconds: the spool keeps what is left.
pub const SPOOL_DRAIN_PATIENCE_MS: u64 = 2_000;
/// And not for more of the spool's own entries when none has come for this long, milliseconds.
pub const SPOOL_DRAIN_QUIET_MS: u64 = 500;
/// Replicas of one host, each with a directory of its own.
pub const SPOOL_REPLICAS_MAX: u32 = 64;
/// Between two looks for what a replica that is gone has left, milliseconds.
pub const SPOOL_ADOPT_MS: u64 = 30_000;
/// First pause after the disk failed, milliseconds; doubles up to the longest.
pub const SPOOL_BACKOFF_MS: u64 = 500;
/// Longest pause: space that returns is found within this.
pub const SPOOL_BACKOFF_MAX_MS: u64 = 30_000;
/// Pause before a split that the disk did not take is offered again, milliseconds.
pub const SPOOL_SPLIT_RETRY_MS: u64 = 1_000;
/// Longest turn of the spool's thread while nothing comes, milliseconds.
pub const SPOOL_TURN_MS: u64 = 200;
/// Octets of all dead letters.
pub const DEAD_OCTETS: Range = range(64 * MIB, MIB, 64 * GIB);
/// Oldest a dead letter gets, seconds.
pub const DEAD_AGE_S: Range = range(30 * 86_400, 60, 366 * 86_400);
/// Dead letters, a file each.
pub const DEAD_LETTERS_MAX: usize = 4_096;
/// Dead letters that are being written at once; beyond it a record is dropped without one.
pub const DEAD_UNDER_WAY_MAX: usize = 64;
/// Between two looks for letters that are too old, seconds.
pub const DEAD_EXPIRY_S: u64 = 3_600;
/// Octets of the backend's answer that a dead letter keeps.
pub const DEAD_ANSWER_OCTETS: usize = KIB as usize;
