//! Secrets and certificates, read again once a second on a thread of their own.
//!
//! Enter: the values that follow files, and when certificates end. Leave: one log line per change, the metrics, a
//! warning a day for what ends soon. The thread may hang with a file system that does (a dead NFS server): nothing
//! waits for it, neither the monitor nor the end of the process.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::limits::{CERTIFICATE_WARNING_S, MONITOR_TICK_MS};
use crate::metrics::{SecretMetrics, Tally};
use crate::secret::{Change, Refresh};

const NS_PER_S: u64 = 1_000_000_000;
/// Between two warnings about one certificate.
const DAY_S: u64 = 86_400;

/// A certificate whose end is watched.
pub struct Certificate {
    /// What it is, for people: "the backend's client certificate".
    pub name: &'static str,
    /// End of its validity as it is now, Unix seconds; 0 if there is none.
    pub expires: Box<dyn Fn() -> u64 + Send>,
    /// Where that shows.
    pub gauge: Tally,
}

/// What is looked at.
pub struct RefreshInputs {
    /// Values that follow files, as they are now.
    pub values: Box<dyn Fn() -> Vec<Arc<dyn Refresh>> + Send>,
    /// Certificates in use.
    pub certificates: Vec<Certificate>,
    /// Where it is counted.
    pub metrics: SecretMetrics,
    /// The App's time.
    pub clock: Clock,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for RefreshInputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshInputs").field("certificates", &self.certificates).finish_non_exhaustive()
    }
}

/// The running thread; ends when it is dropped, which does not wait for it.
#[derive(Debug)]
pub struct Refresher {
    _stop: Sender<()>,
}

impl Refresher {
    /// Starts the thread `refresh`, after a first look at the certificates.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(inputs: RefreshInputs) -> io::Result<Self> {
        let (stop, stopped) = channel::<()>();
        let mut rounds = Rounds { told: vec![0; inputs.certificates.len()], inputs };
        rounds.look_at_certificates();
        std::thread::Builder::new().name("refresh".into()).spawn(move || {
            let turned = catch_unwind(AssertUnwindSafe(|| {
                while stopped.recv_timeout(Duration::from_millis(MONITOR_TICK_MS)) == Err(RecvTimeoutError::Timeout) {
                    rounds.turn();
                }
            }));
            if turned.is_err() {
                error!("the thread refresh panicked: secrets and certificates are no longer read again; restart");
            }
        })?;
        Ok(Self { _stop: stop })
    }
}

struct Rounds {
    inputs: RefreshInputs,
    /// When each certificate was warned about, Unix seconds.
    told: Vec<u64>,
}

impl Rounds {
    fn turn(&mut self) {
        let values = (self.inputs.values)();
        for value in &values {
            tell(value.name(), &value.refresh_settled(), &self.inputs.metrics);
        }
        let stale = values.iter().map(|value| value.stale_files()).sum::<usize>();
        self.inputs.metrics.stale.set(stale as u64);
        self.look_at_certificates();
    }

    fn look_at_certificates(&mut self) {
        let now = self.inputs.clock.unix_ns() / NS_PER_S;
        for (certificate, told) in self.inputs.certificates.iter().zip(&mut self.told) {
            let expires = (certificate.expires)();
            certificate.gauge.set(expires);
            if expires == 0 || expires > now + CERTIFICATE_WARNING_S {
                // Another one was put in its place: the next end is worth a line at once.
                *told = 0;
            } else if now >= told.saturating_add(DAY_S) {
                *told = now;
                warn_of_end(certificate.name, expires, now);
            }
        }
    }
}

/// Logs and counts what became of a new content.
pub fn tell(name: &str, change: &Change, metrics: &SecretMetrics) {
    match change {
        Change::Unchanged => {}
        Change::Used => {
            metrics.used.add(1);
            info!(name, "the new content of a secret or certificate file is in use");
        }
        Change::Refused(why) => {
            metrics.refused.add(1);
            warn!(
                name,
                why, "the new content of a secret or certificate file cannot be used: the old one stays in use"
            );
        }
    }
}

fn warn_of_end(name: &str, expires: u64, now: u64) {
    if expires <= now {
        warn!(name, expired_days_ago = (now - expires) / DAY_S, "a certificate has expired: replace it");
    } else {
        warn!(name, days_left = (expires - now) / DAY_S, "a certificate ends soon: replace it");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::metrics::{Metrics, Shape};
    use crate::secret::{Secret, SecretSource, Watched, open};

    fn metrics() -> SecretMetrics {
        let shape = Shape { listeners: vec![], workers: 0, batchers: 0, sink: "backend", instance: "test".into() };
        Metrics::new(&shape).secrets()
    }

    #[test]
    fn a_bad_file_shows_and_heals() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "one").unwrap();
        let token: Watched<Secret> = open(&SecretSource::File(path.clone()), "[x] token_file").unwrap().unwrap();
        let (metrics, shared) = (metrics(), token.clone());
        let inputs = RefreshInputs {
            values: Box::new(move || vec![shared.shared()]),
            certificates: vec![],
            metrics: metrics.clone(),
            clock: Clock::system(),
        };
        let mut rounds = Rounds { inputs, told: vec![] };
        let mut after = |content: &str| {
            std::fs::write(&path, content).unwrap();
            rounds.turn();
            rounds.turn();
            (metrics.stale.value(), metrics.used.value(), metrics.refused.value())
        };
        assert_eq!(after("one"), (0, 0, 0));
        assert_eq!(after("two\n"), (0, 1, 0));
        assert_eq!(after("\n"), (1, 1, 1));
        assert_eq!(after("three"), (0, 2, 1));
        assert_eq!(token.current().expose(), "three");
    }

    #[test]
    fn an_end_that_is_near_is_told_once_a_day() {
        let (clock, hand) = Clock::manual(1_000_000 * NS_PER_S);
        let (end, gauge) = (Arc::new(AtomicU64::new(1_000_000 + CERTIFICATE_WARNING_S + 10)), Tally::default());
        let expires = Arc::clone(&end);
        let certificate =
            Certificate { name: "c", expires: Box::new(move || expires.load(Ordering::Acquire)), gauge: gauge.clone() };
        let inputs =
            RefreshInputs { values: Box::new(Vec::new), certificates: vec![certificate], metrics: metrics(), clock };
        let mut rounds = Rounds { told: vec![0], inputs };
        let mut told_at = |seconds: u64| {
            hand.advance(seconds * NS_PER_S);
            rounds.look_at_certificates();
            rounds.told[0]
        };
        assert_eq!(told_at(9), 0);
        assert_eq!(told_at(1), 1_000_010);
        assert_eq!(told_at(DAY_S - 1), 1_000_010);
        assert_eq!(told_at(1), 1_000_010 + DAY_S);
        assert_eq!(gauge.value(), 1_000_010 + CERTIFICATE_WARNING_S);
        end.store(u64::MAX, Ordering::Release);
        assert_eq!(told_at(1), 0, "it was replaced");
    }

    #[test]
    fn the_thread_ends_with_its_owner() {
        let value = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&value);
        let certificate = Certificate {
            name: "c",
            expires: Box::new(move || seen.fetch_add(1, Ordering::AcqRel)),
            gauge: Tally::default(),
        };
        let inputs = RefreshInputs {
            values: Box::new(Vec::new),
            certificates: vec![certificate],
            metrics: metrics(),
            clock: Clock::system(),
        };
        let refresher = Refresher::start(inputs).unwrap();
        assert_eq!(value.load(Ordering::Acquire), 1, "the first look is the caller's");
        drop(refresher);
        // The thread owns the closure: when it has ended, ours is the last.
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while Arc::strong_count(&value) > 1 {
            assert!(std::time::Instant::now() < deadline, "the thread is still there");
            std::thread::yield_now();
        }
    }
}
