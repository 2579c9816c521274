//! Bounds of delivery to one backend.

use super::{GIB, KIB, MIB, Range, range};

/// Encoded bodies waiting for or under delivery.
pub const IN_FLIGHT_OCTETS: Range = range(128 * MIB, MIB, 64 * GIB);
/// Requests under way at once, to all backends together.
pub const REQUESTS_IN_FLIGHT: Range = range(4, 1, 256);
/// Whole request, milliseconds: the backend writes each record in a transaction of its own.
pub const REQUEST_TIMEOUT_MS: Range = range(30_000, 100, 600_000);
/// TCP connect, milliseconds.
pub const CONNECT_TIMEOUT_MS: Range = range(5_000, 50, 120_000);
/// Idle connection, milliseconds.
pub const IDLE_TIMEOUT_MS: Range = range(60_000, 100, 3_600_000);
/// Oldest a connection gets, milliseconds: behind a service address one pod would be pinned for ever.
pub const CONNECTION_AGE_MS: Range = range(300_000, 1_000, 86_400_000);
/// An HTTP/2 connection with requests under way is asked for a sign of life after this time without one, and given
/// up after the same again, milliseconds.
pub const HTTP2_PING_MS: u64 = 20_000;
/// First back-off, milliseconds; doubles with each failure.
pub const BACKOFF_MS: Range = range(1_000, 1, 600_000);
/// Longest back-off, milliseconds.
pub const BACKOFF_MAX_MS: Range = range(30_000, 1, 3_600_000);
/// Tries with a batch before it makes way for the next.
pub const RETRY_ATTEMPTS: Range = range(3, 1, 1_000);
/// Threads of the delivery runtime: they wait for the backend and hardly compute.
pub const DELIVERY_THREADS: Range = range(2, 1, 64);
/// Answer body that is read for a log line; the rest is thrown away.
pub const RESPONSE_OCTETS_MAX: usize = 64 * KIB as usize;
/// Longest Retry-After that is believed, milliseconds: a backend's slip must not silence delivery for a day.
pub const RETRY_AFTER_MAX_MS: u64 = 600_000;
/// What a batch costs in delivery's budget beside its body: the structures round it, rounded up.
pub const BATCH_OVERHEAD_OCTETS: u64 = KIB;
/// How long an acceptance proves that the backend takes other batches, seconds.
pub const ACCEPTANCE_EVIDENCE_S: u64 = 30;
/// Refusals in a row after which that proof is stale: a backend that begins to refuse everything must not
/// have the whole line halved.
pub const REFUSALS_IN_A_ROW_MAX: u32 = 16;
/// Further refusals in a row during which one batch at a time is halved, to find whether a backend still takes a part of one: a batch
/// of 10,000 records is halved 14 times, and both halves are asked about; so for four of them.
pub const REFUSALS_SEARCHED_MAX: u32 = 128;
/// Failures of one batch, while others passed, after which it is set aside (and a single record is given up).
pub const POISON_STRIKES: u32 = 3;
/// Splits of batches that make the backend fail, per second: each costs the backend two more failures at most, so
/// halves start twice as often.
pub const POISON_SPLITS_PER_S: u64 = 10;
/// Octets of an answer that are quoted in a log line.
pub const ANSWER_EXCERPT_OCTETS: usize = 200;
/// File with a secret, certificates or keys: all public authorities of a system are a quarter of this.
pub const SECRET_FILE_OCTETS_MAX: u64 = MIB;
/// A certificate that ends within this time is told once a day, seconds.
pub const CERTIFICATE_WARNING_S: u64 = 14 * 86_400;
/// Drain at shutdown, milliseconds.
pub const SHUTDOWN_TIMEOUT_MS: Range = range(25_000, 0, 600_000);
/// Keep receiving for this long after readiness ended, milliseconds: 0 outside of Kubernetes.
pub const DRAIN_DELAY_MS: Range = range(0, 0, 600_000);
