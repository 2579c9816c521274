//! What an answer means, and when to try again: pure functions over statuses and transport failures.
//!
//! Enters: an HTTP status, a transport failure, a Retry-After. Leaves: a [`Verdict`] and a delay.
//! Promised: what may be the environment's fault is never taken for the batch's. Statuses that the
//! plan does not name count as environment, because keeping a batch is the mistake that can be mended.

mod date;

use std::time::Duration;

use super::Delivery;
use crate::limits;

/// Why a request got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No connection: name, route, refusal, or too slow.
    Connect,
    /// No complete answer in time.
    Timeout,
    /// The connection ended before the answer.
    Reset,
    /// The answer is not the HTTP that is spoken.
    Protocol,
    /// No TLS: a certificate, or versions.
    Tls,
    /// The proxy gives no way to the backend.
    Proxy,
}

impl Fault {
    /// The `code` label of `delivery_requests_total`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::Tls => "tls",
            Self::Proxy => "proxy",
        }
    }
}

/// How much a failure says about the batch itself, if others pass meanwhile; later ones include the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suspicion {
    /// Nothing: it is the way to the backend, or its door.
    None,
    /// The backend had the request and did not answer: the batch may be set aside, whole.
    Aside,
    /// 503 says that the service is not there: the batch may be split, but no record is given up for it.
    Split,
    /// The backend failed while it worked on the batch: a single record may be given up.
    Poison,
}

/// A finished request, judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Accepted, to be tried again, or refused.
    pub delivery: Delivery,
    /// What the failure says about the batch.
    pub suspicion: Suspicion,
    /// The backend may have written records although it did not acknowledge: a repetition may double them.
    pub maybe_written: bool,
}

/// Judges an answer.
#[must_use]
pub fn of_status(status: u16, after: Option<Duration>) -> Verdict {
    let retry = Delivery::Retry { after };
    let (delivery, suspicion, maybe_written) = match status {
        200..=299 => (Delivery::Accepted, Suspicion::None, false),
        400 | 413 | 422 => (Delivery::Refused { status }, Suspicion::None, false),
        // 501 and 505 are about the method and the version, so nothing was written. 503 is a door that
        // stays shut. The others may come after some records' transactions were committed.
        503 => (retry, Suspicion::Split, false),
        501 | 505 => (retry, Suspicion::Poison, false),
        500..=599 => (retry, Suspicion::Poison, true),
        _ => (retry, Suspicion::None, false),
    };
    Verdict { delivery, suspicion, maybe_written }
}

/// Judges a request without an answer; `handed_over` if the whole request may have reached the backend.
#[must_use]
pub fn of_fault(fault: Fault, handed_over: bool) -> Verdict {
    let suspicion = match fault {
        Fault::Timeout | Fault::Reset if handed_over => Suspicion::Aside,
        _ => Suspicion::None,
    };
    Verdict { delivery: Delivery::Retry { after: None }, suspicion, maybe_written: handed_over }
}

/// A Retry-After, in seconds or as a date, seen at `now` (Unix seconds). At most `RETRY_AFTER_MAX_MS`.
#[must_use]
pub fn retry_after(value: &str, now: u64) -> Option<Duration> {
    let value = value.trim();
    let seconds = if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        value.parse().unwrap_or(u64::MAX)
    } else {
        date::unix_seconds(value)?.saturating_sub(now)
    };
    Some(Duration::from_secs(seconds).min(Duration::from_millis(limits::RETRY_AFTER_MAX_MS)))
}

/// Unix seconds of an HTTP date in any of its three forms.
#[must_use]
pub fn http_date(value: &str) -> Option<u64> {
    date::unix_seconds(value.trim())
}

/// Exponential back-off with full jitter: anything from nothing to the ceiling, so that many collectors
/// do not come back to a backend at the same instant.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// Ceiling of the first delay.
    pub first: Duration,
    /// Ceiling of every delay.
    pub max: Duration,
}

impl Backoff {
    /// Ceiling of the delay after the `failures`-th failure in a row (counted from 1).
    #[must_use]
    pub fn ceiling(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.max)
    }

    /// Delay in nanoseconds after the `failures`-th failure in a row.
    pub fn delay_ns(&self, failures: u32, random: &mut Random) -> u64 {
        random.up_to(u64::try_from(self.ceiling(failures).as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Random numbers for jitter (xorshift64*): spread matters here, secrecy does not.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Starts from `seed`; 0 is replaced, because the sequence would stay there.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(if seed == 0 { 0x9E37_79B9_7F4A_7C15 } else { seed })
    }

    /// Starts from the operating system's randomness.
    #[must_use]
    pub fn from_system() -> Self {
        Self::new(uuid::Uuid::new_v4().as_u64_pair().0)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number from 0 to `ceiling`, both included. The bias of the multiplication is below 2^-20 for
    /// ceilings under an hour in nanoseconds.
    pub fn up_to(&mut self, ceiling: u64) -> u64 {
        let product = u128::from(self.bits()) * (u128::from(ceiling) + 1);
        u64::try_from(product >> 64).unwrap_or(ceiling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_the_class_of_the_plan() {
        let environment = [401, 403, 404, 405, 407, 408, 415, 421, 425, 429];
        for status in 100..=999 {
            let verdict = of_status(status, None);
            match status {
                200..=299 => assert_eq!(verdict.delivery, Delivery::Accepted, "{status}"),
                400 | 413 | 422 => assert_eq!(verdict.delivery, Delivery::Refused { status }, "{status}"),
                _ => assert_eq!(verdict.delivery, Delivery::Retry { after: None }, "{status}"),
            }
            let server = (500..=599).contains(&status);
            assert_eq!(verdict.suspicion >= Suspicion::Split, server, "{status}: only 5xx may lead to a split");
            assert_eq!(verdict.suspicion == Suspicion::Poison, server && status != 503, "{status}");
            if environment.contains(&status) || (300..400).contains(&status) {
                assert_eq!(verdict.suspicion, Suspicion::None, "{status}");
                assert!(!verdict.maybe_written, "{status}");
            }
        }
    }

    #[test]
    fn the_pause_that_the_backend_names_is_kept() {
        let after = Some(Duration::from_secs(7));
        assert_eq!(of_status(503, after).delivery, Delivery::Retry { after });
        assert_eq!(of_status(429, after).delivery, Delivery::Retry { after });
    }

    #[test]
    fn only_a_request_that_left_may_be_doubled() {
        for fault in [Fault::Connect, Fault::Timeout, Fault::Reset, Fault::Protocol] {
            assert!(!of_fault(fault, false).maybe_written);
            assert!(of_fault(fault, true).maybe_written);
            assert_eq!(of_fault(fault, false).suspicion, Suspicion::None);
            assert_eq!(of_fault(fault, true).delivery, Delivery::Retry { after: None });
        }
        assert_eq!(of_fault(Fault::Timeout, true).suspicion, Suspicion::Aside);
        assert_eq!(of_fault(Fault::Protocol, true).suspicion, Suspicion::None);
    }

    #[test]
    fn retry_after_in_both_forms() {
        let now = 784_111_777;
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after(" 0 ", now), Some(Duration::ZERO));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:47 GMT", now), Some(Duration::from_secs(10)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:30 GMT", now), Some(Duration::ZERO), "a date in the past");
        let bound = Some(Duration::from_millis(limits::RETRY_AFTER_MAX_MS));
        assert_eq!(retry_after("86400", now), bound);
        assert_eq!(retry_after("99999999999999999999999", now), bound);
        for nothing in ["", "-1", "1.5", "soon", "+3"] {
            assert_eq!(retry_after(nothing, now), None, "{nothing:?}");
        }
    }

    #[test]
    fn back_off_doubles_to_its_bound_and_jitters_over_all_of_it() {
        let backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(30) };
        let seconds = |n| backoff.ceiling(n).as_secs();
        assert_eq!([1, 2, 3, 4, 5, 6, 7, u32::MAX].map(seconds), [1, 2, 4, 8, 16, 30, 30, 30]);
        let mut random = Random::new(1);
        let delays: Vec<u64> = (0..1_000).map(|_| backoff.delay_ns(3, &mut random)).collect();
        assert!(delays.iter().all(|d| *d <= 4_000_000_000));
        for quarter in 0..4 {
            let range: std::ops::Range<u64> = quarter * 1_000_000_000..(quarter + 1) * 1_000_000_000;
            let share = delays.iter().filter(|d| range.contains(d)).count();
            assert!((150..350).contains(&share), "{share} of 1000 in quarter {quarter}");
        }
    }

    #[test]
    fn random_numbers_stay_in_range() {
        let mut random = Random::new(0);
        assert!((0..100).all(|_| random.up_to(0) == 0));
        assert!((0..1_000).any(|_| random.up_to(3) == 3));
        assert!(random.up_to(u64::MAX) > 0);
    }
}
