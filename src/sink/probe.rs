//! One request with no records: can the backend be reached, and what does it say?
//!
//! Enters: the settings of delivery. Leaves: an answer or a failure, how long it took, and how far the
//! backend's clock is from ours. Promised: the way is the same as that of flows (name, proxy, TLS,
//! credentials, path), nothing is delivered, and nothing of it is counted.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use uuid::Uuid;

use super::compress::compress;
use super::http::{Client, Parcel};
use super::{Compression, SinkError, SinkSettings};
use crate::clock::Clock;

/// A batch without records: the smallest thing that the contract allows.
const EMPTY_BATCH: &[u8] = br#"{"records": []}"#;
const SECOND_NS: u64 = 1_000_000_000;

/// What became of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The backend answered.
    Answered {
        /// HTTP status.
        status: u16,
        /// Location of a redirect, escaped.
        location: Option<String>,
        /// The start of the body unless the batch was accepted, escaped.
        excerpt: String,
        /// Seconds that the backend's clock is ahead of ours, below 0 if it is behind; None without a
        /// Date in the answer. What the time on the way explains is 0.
        ahead_s: Option<i64>,
    },
    /// It did not.
    Failed {
        /// As in `delivery_requests_total{code}`: connect, timeout, reset, protocol.
        code: &'static str,
        /// For people.
        detail: String,
    },
}

/// An outcome and the time it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What became of the request.
    pub outcome: Outcome,
    /// From the first look-up to the end of the answer.
    pub took: Duration,
}

/// Sends an empty batch once. Blocks the calling thread, for about the connect and request timeouts at most;
/// it must not be one of an asynchronous runtime.
///
/// # Errors
/// A setting that cannot stand in a request, or no thread.
pub fn probe(settings: &SinkSettings, clock: &Clock) -> Result<Probe, SinkError> {
    let client = Client::new(settings, clock.clone())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| SinkError::Runtime { threads: 1, source })?;
    // As a batch would go out: a backend that cannot read it is found here.
    let (body, encoding) = match settings.access.compression {
        Compression::None => (Bytes::from_static(EMPTY_BATCH), Compression::None),
        encoding => match compress(encoding, EMPTY_BATCH) {
            Ok(body) => (Bytes::from(body), encoding),
            Err(_) => (Bytes::from_static(EMPTY_BATCH), Compression::None),
        },
    };
    let parcel = Parcel { key: Uuid::now_v7(), records: 0, body, encoding };
    let probe = runtime.block_on(async {
        let (start, sent_ns) = (Instant::now(), clock.unix_ns());
        let answer = client.post(&parcel).await;
        let (took, came_ns) = (start.elapsed(), clock.unix_ns());
        let outcome = match answer {
            Ok(answer) => Outcome::Answered {
                status: answer.status,
                location: answer.location,
                excerpt: answer.excerpt,
                ahead_s: answer.date.map(|date| ahead_s(date, sent_ns, came_ns)),
            },
            Err(failure) => Outcome::Failed { code: failure.fault.label(), detail: failure.detail },
        };
        Probe { outcome, took }
    });
    // A name look-up may hang in the system's resolver: nobody waits for that.
    runtime.shutdown_background();
    Ok(probe)
}

/// Seconds that `date` lies outside of the time in which it was written: after `sent_ns`, before `came_ns`.
/// A date is cut to its second, so it may be up to one older.
fn ahead_s(date: u64, sent_ns: u64, came_ns: u64) -> i64 {
    let (earliest, latest) = (sent_ns / SECOND_NS, came_ns / SECOND_NS);
    let seconds = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    if date > latest { seconds(date - latest) } else { -seconds(earliest.saturating_sub(date)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_way_does_not_explain_is_skew() {
        let s = SECOND_NS;
        assert_eq!(ahead_s(100, 100 * s + s / 2, 100 * s + s / 2), 0, "cut to its second");
        assert_eq!(ahead_s(103, 100 * s, 105 * s), 0, "written while we waited");
        assert_eq!(ahead_s(3_700, 100 * s, 101 * s), 3_599);
        assert_eq!(ahead_s(40, 100 * s, 105 * s), -60);
        assert_eq!(ahead_s(0, u64::MAX, u64::MAX), -i64::try_from(u64::MAX / s).unwrap());
    }
}
