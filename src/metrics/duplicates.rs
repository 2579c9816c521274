//! Batches that the backend may have written more than once: the last of them, by their Idempotency-Key.
//!
//! Enters: a request that ended without saying whether it was processed, and each further request with the same
//! batch. Leaves: rows for people, who look for these keys at the backend. Bounded: the oldest row makes room.
//! The count of records is `records_possibly_duplicated_total`; a row with `sent_again` 0 is in doubt and was
//! not sent again, so it is no duplicate yet.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use crate::limits::DUPLICATES_KEPT;

/// Why a batch is here that came from a spool with its mark, and of whose first request this process knows no more.
pub const RECOVERED: &str = "recovered";

/// A batch as requests name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchName {
    /// Id of the whole.
    pub id: Uuid,
    /// 0 for the whole; the halves of part p are 2p + 1 and 2p + 2.
    pub part: u64,
    /// What its `Idempotency-Key` says.
    pub key: Uuid,
    /// Records.
    pub records: u64,
}

/// A batch that the backend may have more than once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// Ascends with the order in which they came here, from 1.
    pub number: u64,
    /// The batch.
    pub batch: BatchName,
    /// What left it in doubt: `timeout`, `reset`, `protocol`, an HTTP status, or [`RECOVERED`].
    pub why: Box<str>,
    /// When it came into doubt first, Unix nanoseconds.
    pub first_ns: u64,
    /// When it was in doubt or sent last.
    pub last_ns: u64,
    /// Requests with it since.
    pub sent_again: u64,
}

#[derive(Debug, Default)]
struct List {
    rows: VecDeque<Duplicate>,
    number: u64,
}

/// The list; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Duplicates(Arc<Mutex<List>>);

impl Duplicates {
    /// A request with the batch ended at `now_ns` and may have been processed.
    pub fn doubt(&self, batch: BatchName, why: &str, now_ns: u64) {
        self.with(batch, Some(why), now_ns, |_| {});
    }

    /// A batch in doubt is sent again at `now_ns`.
    pub fn sent_again(&self, batch: BatchName, now_ns: u64) {
        self.with(batch, None, now_ns, |row| row.sent_again += 1);
    }

    fn with(&self, batch: BatchName, why: Option<&str>, now_ns: u64, change: impl FnOnce(&mut Duplicate)) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let row = list.row(batch, why, now_ns);
        row.last_ns = now_ns;
        change(row);
    }

    /// The rows before number `before` (all of them without it), the newest first, `limit` at most; and how many there
    /// are in all.
    #[must_use]
    pub fn page(&self, before: Option<u64>, limit: usize) -> (Vec<Duplicate>, usize) {
        let list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = list.rows.iter().rev().filter(|row| before.is_none_or(|before| row.number < before));
        (rows.take(limit).cloned().collect(), list.rows.len())
    }
}

impl List {
    fn row(&mut self, batch: BatchName, why: Option<&str>, now_ns: u64) -> &mut Duplicate {
        let place = |rows: &VecDeque<Duplicate>, part: u64| {
            rows.iter().rposition(|row| (row.batch.id, row.batch.part) == (batch.id, part))
        };
        let at = place(&self.rows, batch.part).unwrap_or_else(|| {
            // A part is in doubt for what happened to the whole.
            let above = std::iter::successors(Some(batch.part), |part| part.checked_sub(1).map(|below| below / 2));
            let inherited = above.skip(1).find_map(|part| place(&self.rows, part)).map(|at| self.rows[at].why.clone());
            let why = why.map(Into::into).or(inherited).unwrap_or_else(|| RECOVERED.into());
            if self.rows.len() >= DUPLICATES_KEPT {
                self.rows.pop_front();
            }
            self.number += 1;
            let row = Duplicate { number: self.number, batch, why, first_ns: now_ns, last_ns: now_ns, sent_again: 0 };
            self.rows.push_back(row);
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(id: u128, part: u64) -> BatchName {
        BatchName { id: Uuid::from_u128(id), part, key: Uuid::from_u128(id * 1_000 + u128::from(part)), records: 7 }
    }

    #[test]
    fn a_batch_has_one_row_with_its_first_reason_and_its_times() {
        let list = Duplicates::default();
        list.doubt(name(1, 0), "timeout", 10);
        list.sent_again(name(1, 0), 20);
        list.doubt(name(1, 0), "reset", 30);
        list.sent_again(name(1, 0), 40);
        let (rows, all) = list.page(None, 10);
        assert_eq!(all, 1);
        let row = &rows[0];
        assert_eq!((&*row.why, row.first_ns, row.last_ns, row.sent_again), ("timeout", 10, 40, 2));
    }

    #[test]
    fn parts_are_in_doubt_for_their_whole_and_strangers_are_recovered() {
        let list = Duplicates::default();
        list.doubt(name(1, 0), "500", 10);
        list.sent_again(name(1, 5), 20);
        list.sent_again(name(2, 5), 30);
        let (rows, _) = list.page(None, 10);
        let whys: Vec<_> = rows.iter().map(|row| (row.batch.part, &*row.why)).collect();
        assert_eq!(whys, [(5, RECOVERED), (5, "500"), (0, "500")], "the newest first");
    }

    #[test]
    fn the_oldest_make_room_and_pages_join() {
        let list = Duplicates::default();
        let many = DUPLICATES_KEPT as u128 + 3;
        for id in 1..=many {
            list.doubt(name(id, 0), "timeout", 1);
        }
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let (rows, all) = list.page(before, 100);
            assert_eq!(all, DUPLICATES_KEPT);
            let Some(last) = rows.last() else { break };
            before = Some(last.number);
            seen.extend(rows.iter().map(|row| row.batch.id.as_u128()));
        }
        assert_eq!(seen, (4..=many).rev().collect::<Vec<_>>());
    }
}
