//! Dead letters of dispatch: what was refused for good is written down before it is counted and let go.
//!
//! The file work (with its fsync) is done on blocking threads, a bounded number at once, so that nothing waits for
//! it but the record itself. Promised: a job that was handed in comes back once, whatever the disk did.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::{Id, JoinError, JoinSet};

use super::job::Job;
use crate::clock::Clock;
use crate::limits;
use crate::metrics::RecordDrop;
use crate::sink::http::{Answer, Failure};
use crate::sink::kept::entry_of;
use crate::spool::{DeadLetter, DeadLetters, Evicted};
use crate::throttle::Throttle;

const SECOND_NS: u64 = 1_000_000_000;

/// What became of the file work.
pub(super) type Written = Result<(Id, io::Result<Evicted>), JoinError>;

/// Letters under way.
pub(super) struct Graves {
    letters: Option<Arc<Mutex<DeadLetters>>>,
    tasks: JoinSet<io::Result<Evicted>>,
    jobs: HashMap<Id, (Box<Job>, RecordDrop), rustc_hash::FxBuildHasher>,
    clock: Clock,
    expired_at: u64,
    failed: Throttle,
    evicted: Throttle,
}

impl Graves {
    pub(super) fn new(letters: Option<DeadLetters>, clock: Clock) -> Self {
        Self {
            letters: letters.map(|letters| Arc::new(Mutex::new(letters))),
            tasks: JoinSet::new(),
            jobs: HashMap::default(),
            clock,
            expired_at: 0,
            failed: Throttle::default(),
            evicted: Throttle::default(),
        }
    }

    /// True if nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Writes a letter for a job that was given up; it comes back by [`Graves::next`].
    ///
    /// # Errors
    /// The job itself, if no letters are kept or too many are being written.
    pub(super) fn keep(
        &mut self,
        job: Box<Job>,
        drop: RecordDrop,
        result: &Result<Answer, Failure>,
    ) -> Result<(), Box<Job>> {
        let Some(letters) = self.letters.as_ref().filter(|_| self.jobs.len() < limits::DEAD_UNDER_WAY_MAX) else {
            return Err(job);
        };
        let (status, answer) = match result {
            Ok(answer) => (answer.status, answer.excerpt.clone()),
            Err(failure) => (0, failure.detail.clone()),
        };
        let entry = entry_of(&job.batch, job.tries, job.repeated);
        let letter = DeadLetter { at_ns: self.clock.unix_ns(), status, answer, entry };
        let letters = Arc::clone(letters);
        let task =
            self.tasks.spawn_blocking(move || letters.lock().unwrap_or_else(PoisonError::into_inner).add(&letter));
        self.jobs.insert(task.id(), (job, drop));
        Ok(())
    }

    /// The next that is done; None if nothing is under way.
    pub(super) async fn next(&mut self) -> Option<Written> {
        self.tasks.join_next_with_id().await
    }

    /// What was written, or not: the job comes back. None for what was no letter.
    pub(super) fn done(&mut self, written: Written) -> Option<(Box<Job>, RecordDrop)> {
        let (id, result) = match written {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(io::Error::other(error.to_string()))),
        };
        let now = self.clock.monotonic_ns();
        match result {
            Err(error) => {
                if let Some(times) = self.failed.note(now, 1) {
                    tracing::warn!(%error, times, "a dead letter cannot be written: look at the data directory");
                }
            }
            Ok(Evicted { letters: 0, .. }) => {}
            Ok(evicted) => {
                if let Some(letters) = self.evicted.note(now, evicted.letters) {
                    tracing::warn!(letters, "the oldest dead letters had to go: see [dead_letters] limit and age");
                }
            }
        }
        self.jobs.remove(&id)
    }

    /// Lets go of what is too old, now and then.
    pub(super) fn expire(&mut self) {
        let now = self.clock.monotonic_ns();
        let Some(letters) = &self.letters else { return };
        if self.expired_at != 0 && now.saturating_sub(self.expired_at) < limits::DEAD_EXPIRY_S * SECOND_NS {
            return;
        }
        self.expired_at = now.max(1);
        let (letters, unix_ns) = (Arc::clone(letters), self.clock.unix_ns());
        self.tasks.spawn_blocking(move || letters.lock().unwrap_or_else(PoisonError::into_inner).expire(unix_ns, 0));
    }

    /// Everything whose letter is not known to be written.
    pub(super) fn take_all(&mut self) -> Vec<(Box<Job>, RecordDrop)> {
        self.jobs.drain().map(|(_, job)| job).collect()
    }
}
