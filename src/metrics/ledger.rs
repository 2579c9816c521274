//! Reading the books: the three equations of promise 1, as one reading and by reason.
//!
//! In goes nothing but the tallies of [`Books`]; out comes a [`Ledger`] whose counters were read
//! downstream first, so that in motion nothing is seen to leave before it came. Writers keep the
//! same rule from their side: what came is published before what became of it.

use super::{Books, DROP_REASONS, REFUSE_REASONS, Tally};
use crate::decode::{DecodeErrorKind, SetDropKind};
use crate::flow::Version;

/// One reading of the books, downstream first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ledger {
    /// Records delivered.
    pub delivered: u64,
    /// Records dropped, all stages.
    pub dropped: u64,
    /// Records that the stages say they hold.
    pub held: u64,
    /// Records in the spool, or on their way into it.
    pub spooled: u64,
    /// Records taken over from an earlier spool.
    pub recovered: u64,
    /// Records decoded.
    pub decoded: u64,
    /// Sets decoded, parked in memory and on disk, dropped, options and templates.
    pub sets_explained: u64,
    /// Sets seen.
    pub sets_seen: u64,
    /// Datagrams refused, rejected and processed.
    pub datagrams_explained: u64,
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Datagrams that the kernel dropped.
    pub kernel_dropped: u64,
}

impl Ledger {
    /// Records decoded or recovered and neither delivered, dropped nor spooled.
    #[must_use]
    pub const fn pending(&self) -> u64 {
        (self.decoded + self.recovered).saturating_sub(self.delivered + self.dropped + self.spooled)
    }

    /// What the record equation leaves unexplained: exact only at rest.
    #[must_use]
    pub const fn imbalance(&self) -> i64 {
        (self.decoded + self.recovered).cast_signed()
            - (self.delivered + self.dropped + self.held + self.spooled).cast_signed()
    }

    /// What the set equation leaves unexplained; in motion it is what is being decoded, never negative.
    #[must_use]
    pub const fn sets_imbalance(&self) -> i64 {
        self.sets_seen.cast_signed() - self.sets_explained.cast_signed()
    }

    /// What the datagram equation leaves unexplained; in motion it is what is being decoded, never negative.
    #[must_use]
    pub const fn datagrams_imbalance(&self) -> i64 {
        self.datagrams_received.cast_signed() - self.datagrams_explained.cast_signed()
    }

    /// True when all three equations hold: exact only at rest.
    #[must_use]
    pub const fn balances(&self) -> bool {
        self.imbalance() == 0 && self.sets_imbalance() == 0 && self.datagrams_imbalance() == 0
    }
}

fn sum(tallies: &[Tally]) -> u64 {
    tallies.iter().map(Tally::value).sum()
}

fn by_label(
    labels: impl IntoIterator<Item = &'static str>,
    tallies: &[Tally],
) -> impl Iterator<Item = (&'static str, u64)> {
    labels.into_iter().zip(tallies.iter().map(Tally::value))
}

impl Books {
    /// All datagrams received, over all sockets.
    #[must_use]
    pub fn datagrams_received(&self) -> u64 {
        sum(&self.received)
    }

    /// Octets of all datagrams received, over all sockets.
    #[must_use]
    pub fn octets_received(&self) -> u64 {
        sum(&self.received_octets)
    }

    /// Datagrams that the kernel dropped, over all sockets.
    #[must_use]
    pub fn kernel_dropped(&self) -> u64 {
        sum(&self.kernel_dropped)
    }

    /// By socket, a worker's behind each other: datagrams received, and dropped by the kernel.
    pub fn sockets(&self) -> impl Iterator<Item = (u64, u64)> {
        self.received.iter().map(Tally::value).zip(self.kernel_dropped.iter().map(Tally::value))
    }

    /// All records decoded, over all versions.
    #[must_use]
    pub fn records_decoded(&self) -> u64 {
        sum(&self.decoded)
    }

    /// Datagrams refused, with the `reason` label.
    pub fn refused_by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        by_label(REFUSE_REASONS, &self.refused)
    }

    /// Datagrams rejected, with the `reason` label.
    pub fn rejected_by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        by_label(DecodeErrorKind::ALL.map(DecodeErrorKind::label), &self.rejected)
    }

    /// Sets dropped, with the `reason` label.
    pub fn sets_dropped_by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        by_label(SetDropKind::ALL.map(SetDropKind::label), &self.sets_dropped)
    }

    /// Records decoded, with the `version` label.
    pub fn decoded_by_version(&self) -> impl Iterator<Item = (&'static str, u64)> {
        by_label(Version::ALL.map(Version::label), &self.decoded)
    }

    /// Units missing by sequence, with the `version` label.
    pub fn missing_by_version(&self) -> impl Iterator<Item = (&'static str, u64)> {
        by_label(Version::ALL.map(Version::label), &self.missing)
    }

    /// Records dropped, with the `stage` and `reason` labels.
    pub fn dropped_by_reason(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        DROP_REASONS.into_iter().zip(self.dropped.iter().map(Tally::value)).map(|((s, r), n)| (s, r, n))
    }

    /// Reads the books, downstream first, so that nothing is seen to leave before it came.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        // The fields are evaluated in the order in which they are written here: that order is the
        // promise. A parked set later becomes decoded or dropped, so the levels are read last of the
        // explained ones: read earlier, a set that moves in between would count twice. From memory it
        // may go to the disk, and never back in the books: so memory comes last.
        Ledger {
            delivered: self.delivered.value(),
            dropped: sum(&self.dropped),
            held: self.held.total(),
            spooled: self.spool.spooled(),
            recovered: self.recovered.value(),
            decoded: sum(&self.decoded),
            sets_explained: self.sets_decoded.value()
                + self.sets_options.value()
                + self.sets_templates.value()
                + sum(&self.sets_dropped)
                + self.sets_parked_disk.level()
                + self.sets_parked.level(),
            sets_seen: self.sets_seen.value(),
            datagrams_explained: sum(&self.refused) + sum(&self.rejected) + self.processed.value(),
            datagrams_received: sum(&self.received),
            kernel_dropped: sum(&self.kernel_dropped),
        }
    }

    /// Brings `pending` up to date: at each scrape.
    pub fn refresh_pending(&self) {
        self.pending.set(self.ledger().pending());
    }

    /// Brings the derived levels up to date, once a second: pending always, the imbalance only when
    /// nothing has moved since the last call. Two readings in one breath would not do: a thread that
    /// is put aside between two of its additions looks like a loss.
    pub fn refresh(&self) {
        let reading = self.ledger();
        self.pending.set(reading.pending());
        let mut last = self.last_reading.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.replace(reading) == Some(reading) {
            #[expect(clippy::cast_precision_loss, reason = "2^53 records more or less are the same defect")]
            self.imbalance.set(reading.imbalance() as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::{Metrics, RecordDrop, tests::shape};

    #[test]
    fn the_imbalance_shows_only_when_nothing_moved_between_two_refreshes() {
        let metrics = Metrics::new(&shape());
        let books = &metrics.books;
        books.decoded[1].add(10);
        books.delivered.add(4);
        books.held.sink.add(5);
        books.refresh();
        assert_eq!(books.pending.value(), 6);
        assert!(books.imbalance.value().abs() < f64::EPSILON, "the first reading has nothing to agree with");
        books.refresh();
        assert!((books.imbalance.value() - 1.0).abs() < f64::EPSILON, "one record is nowhere");

        books.delivered.add(1);
        books.refresh();
        assert!((books.imbalance.value() - 1.0).abs() < f64::EPSILON, "in motion the last verdict stands");
        books.refresh();
        assert!(books.imbalance.value().abs() < f64::EPSILON);

        books.drop_records(RecordDrop::DispatchFull, 1);
        books.refresh();
        books.refresh();
        assert!((books.imbalance.value() + 1.0).abs() < f64::EPSILON, "one record is in two places");
    }

    #[test]
    fn what_is_delivered_and_not_yet_off_the_disk_is_in_one_place() {
        let metrics = Metrics::new(&shape());
        let books = &metrics.books;
        books.decoded[1].add(10);
        books.spool.records.add(10);
        assert_eq!(books.ledger().imbalance(), 0);
        books.delivered.add(4);
        books.spool.closing.add(4);
        for _ in 0..2 {
            // However long the disk hangs.
            books.refresh();
            assert_eq!((books.ledger().imbalance(), books.ledger().spooled, books.ledger().pending()), (0, 6, 0));
        }
        assert!(books.imbalance.value().abs() < f64::EPSILON);
        books.spool.records.sub(4);
        books.spool.closing.sub(4);
        assert_eq!((books.ledger().imbalance(), books.ledger().spooled), (0, 6));
    }

    #[test]
    fn equations_name_what_they_cannot_explain() {
        let metrics = Metrics::new(&shape());
        let books = &metrics.books;
        metrics.worker(0).sockets[0].received.add(3);
        books.processed.add(2);
        books.sets_seen.add(5);
        books.sets_decoded.add(3);
        books.sets_parked.add(2);
        let ledger = books.ledger();
        assert_eq!((ledger.datagrams_imbalance(), ledger.sets_imbalance(), ledger.imbalance()), (1, 0, 0));
        assert!(!ledger.balances());
        books.refused[0].add(1);
        assert!(books.ledger().balances());
    }

    #[test]
    fn parts_by_reason_add_up_to_the_ledger() {
        let metrics = Metrics::new(&shape());
        let books = &metrics.books;
        for (i, tally) in books.dropped.iter().chain(&books.rejected).chain(&books.refused).enumerate() {
            tally.add(i as u64 + 1);
        }
        let ledger = books.ledger();
        assert_eq!(books.dropped_by_reason().map(|(.., n)| n).sum::<u64>(), ledger.dropped);
        let datagrams: u64 = books.rejected_by_reason().chain(books.refused_by_reason()).map(|(_, n)| n).sum();
        assert_eq!(datagrams, ledger.datagrams_explained);
        let delivery_shutdown = books.dropped_by_reason().nth(RecordDrop::DeliveryShutdown as usize).unwrap();
        assert_eq!((delivery_shutdown.0, delivery_shutdown.1), ("delivery", "shutdown"));
    }

    /// Promise 1 in motion: records go decoded -> worker -> queue -> batcher -> sink -> delivered or
    /// dropped, sets through the waiting room, while readers look at any moment.
    #[test]
    fn no_reading_sees_a_record_leave_before_it_came() {
        const ROUNDS: u64 = 100_000;
        let metrics = Metrics::new(&shape());
        let done = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..2)
            .map(|w| {
                let (worker, batcher) = (metrics.worker(w), metrics.batcher(0));
                let (queue, sink) = (metrics.queue(), metrics.sink());
                std::thread::spawn(move || {
                    for round in 0..ROUNDS {
                        let n = round % 7 + 1;
                        worker.sockets[0].received.add(1);
                        worker.books.sets_seen.add(2);
                        worker.books.sets_parked.add(1);
                        worker.books.sets_decoded.add(1);
                        worker.books.processed.add(1);
                        worker.books.decoded[w].add(n);
                        worker.held.set(n);
                        queue.held.add(n);
                        worker.held.set(0);
                        batcher.held.add(n);
                        queue.held.sub(n);
                        sink.held.add(n);
                        batcher.held.sub(n);
                        if round % 5 == 0 {
                            sink.books.drop_records(RecordDrop::DeliveryRefused, n);
                        } else {
                            sink.books.delivered.add(n);
                        }
                        sink.held.sub(n);
                        worker.books.sets_parked.sub(1);
                        worker.books.sets_dropped[0].add(1);
                    }
                })
            })
            .collect();
        let reader = std::thread::spawn({
            let (metrics, done) = (Arc::clone(&metrics), Arc::clone(&done));
            move || {
                let mut readings = 0_u64;
                while !done.load(Ordering::Acquire) || readings < 100 {
                    let ledger = metrics.books.ledger();
                    let (came, left) = (ledger.decoded + ledger.recovered, ledger.delivered + ledger.dropped);
                    assert!(left <= came, "{left} records left, {came} came");
                    assert!(ledger.sets_imbalance() >= 0, "{ledger:?}");
                    assert!(ledger.datagrams_imbalance() >= 0, "{ledger:?}");
                    readings += 1;
                }
                readings
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Release);
        assert!(reader.join().unwrap() >= 100);
        let ledger = metrics.books.ledger();
        assert!(ledger.balances(), "{ledger:?}");
        assert_eq!((ledger.pending(), ledger.held), (0, 0));
    }
}
