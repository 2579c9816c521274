//! Bounds of what a process was started with, of its service manager, and of the last seconds of its life.

use super::{HEARTBEAT_STALE_S, LISTENERS_MAX, SHUTDOWN_TIMEOUT_MS, WORKERS_MAX};

/// Descriptors that a process takes over at its start: more than its listeners and workers can use is a
/// mistake of whoever started it, and a number from the environment must not decide how long a loop runs.
pub const INHERITED_MAX: usize = 4_096;
/// Octets of a descriptor's name, as the service manager bounds them.
pub const DESCRIPTOR_NAME_OCTETS_MAX: usize = 255;
/// Descriptors that one message carries at most: the kernel's own bound (SCM_MAX_FD).
pub const DESCRIPTORS_PER_MESSAGE_MAX: usize = 253;
/// Octets of a status line for the service manager: it is one line for people.
pub const STATUS_OCTETS_MAX: usize = 512;
/// Shortest time between two signs of life to the service manager, milliseconds: half of a smaller
/// WATCHDOG_USEC would be a busy loop, and threads beat four times a second.
pub const WATCHDOG_PAUSE_MIN_MS: u64 = 100;
/// Between two status lines, milliseconds.
pub const STATUS_PAUSE_MS: u64 = 5_000;
/// Looks in a row at which a thread must stand still before it counts as hung, four a second: a process that was
/// stopped or a machine that was paused finds all of them stale once, and they beat within the next second.
pub const HUNG_LOOKS: u32 = 8;
/// A drain may pass `[shutdown] timeout` by this, milliseconds: the last appends of the spool, answers of the
/// HTTP side and the seconds that workers get to hand over. Then the process ends as it stands.
pub const DRAIN_OVERRUN_MS: u64 = 8_000;
/// Share of `[shutdown] timeout` that batchers get for their last bodies: they take milliseconds, unless one hangs,
/// and then delivery needs the rest.
pub const BATCHERS_SHARE_OF_TIMEOUT: u32 = 3;

const _: () = assert!(INHERITED_MAX >= LISTENERS_MAX * 2 && INHERITED_MAX as u64 >= WORKERS_MAX);
// The default drain, its overrun included, stays below the 45 s of TimeoutStopSec in the unit.
const _: () = assert!(SHUTDOWN_TIMEOUT_MS.default + DRAIN_OVERRUN_MS <= 45_000);
const _: () = assert!(HEARTBEAT_STALE_S < 30, "WatchdogSec of the unit is 30 s");
