//! What is known of batches under suspicion while the spool has them, which keeps only that they were tried.
//!
//! Without it a batch that makes a backend fail would begin anew each time it comes from the spool, and never be
//! convicted. Held in memory: the evidence (what was accepted since) is that of this process. Promised: bounded;
//! what is forgotten only costs further tries.

use std::collections::HashMap;

use uuid::Uuid;

use super::super::job::Job;
use crate::limits;

/// A batch's name, and the number of its part.
type Name = (Uuid, u64);

#[derive(Debug, Clone, Copy)]
struct Record {
    at: u64,
    strikes: u32,
    accepts_at_first_try: Option<u64>,
    accepts_at_split: Option<u64>,
    accepts_at_first_strike: u64,
    suspect: bool,
    denied: u8,
    /// It is half of what was refused, which costs the backend next to nothing: it need not wait for a slot of splits.
    of_refused: bool,
}

impl Record {
    const fn of(job: &Job) -> Self {
        Self {
            at: 0,
            strikes: job.strikes,
            accepts_at_first_try: job.accepts_at_first_try,
            accepts_at_split: job.accepts_at_split,
            accepts_at_first_strike: job.accepts_at_first_strike,
            suspect: job.suspect,
            denied: job.denied,
            of_refused: false,
        }
    }
}

/// The memory.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    records: HashMap<Name, Record, rustc_hash::FxBuildHasher>,
    arrivals: u64,
}

const fn name_of(job: &Job) -> Name {
    (job.batch.id, job.batch.part)
}

impl Suspects {
    /// `job` leaves for the spool.
    pub(super) fn keep(&mut self, job: &Job) {
        if job.strikes == 0 && job.denied == 0 {
            return;
        }
        self.insert(name_of(job), Record::of(job));
    }

    /// `job` of the spool was refused and is halved there, when the line has counted `accepts` acceptances.
    pub(super) fn keep_halves(&mut self, job: &Job, accepts: u64) {
        let half =
            Record { strikes: 0, accepts_at_split: Some(accepts), suspect: true, of_refused: true, ..Record::of(job) };
        let (id, part) = name_of(job);
        for number in [1, 2] {
            self.insert((id, part.wrapping_mul(2).wrapping_add(number)), half);
        }
    }

    fn insert(&mut self, name: Name, record: Record) {
        if self.records.len() >= limits::SUSPECTS_REMEMBERED_MAX
            && let Some(oldest) = self.records.iter().min_by_key(|(_, record)| record.at).map(|(name, _)| *name)
        {
            self.records.remove(&oldest);
        }
        self.arrivals += 1;
        self.records.insert(name, Record { at: self.arrivals, ..record });
    }

    /// `job` came from the spool: it is what it was. True if it may be sent at once, though it is a part.
    pub(super) fn restore(&mut self, job: &mut Job) -> bool {
        let Some(record) = self.records.remove(&name_of(job)) else { return false };
        job.strikes = record.strikes;
        job.accepts_at_first_try = record.accepts_at_first_try;
        job.accepts_at_split = record.accepts_at_split;
        job.accepts_at_first_strike = record.accepts_at_first_strike;
        job.suspect |= record.suspect;
        job.denied = record.denied;
        record.of_refused
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }
}
