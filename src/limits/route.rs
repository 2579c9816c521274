//! Bounds of routing: how many backends, and when one is too slow.

/// URLs of backends: which of them gave up a batch is a bit each of one octet.
pub const BACKENDS_MAX: usize = 8;
/// Octets of all URLs as they are written: as much as eight long ones have.
pub const BACKEND_URLS_OCTETS_MAX: usize = 8 * 1_024;
/// An answer that takes this many times what is usual for its backend was too slow: twice the time under twice the
/// load is a backend that works through a line of its own, and more requests only make that line longer.
pub const PACE_TOLERANCE: f64 = 2.0;
/// What an answer may take beyond the usual without being too slow, milliseconds: less is chance, and less than
/// a batch waits to be filled.
pub const PACE_SLACK_MS: u64 = 50;
/// Batches under suspicion, and halves of refused ones, that are remembered while the spool has them; the oldest make
/// room. Each comes back after 30 seconds at most, and at twenty a second that is more than can be under way; a half
/// that is forgotten waits for its turn among the twenty.
pub const SUSPECTS_REMEMBERED_MAX: usize = 1_024;
/// Octets of the last error of a backend that are shown.
pub const BACKEND_ERROR_OCTETS_MAX: usize = 512;

const _: () = assert!(BACKENDS_MAX <= u8::BITS as usize);
