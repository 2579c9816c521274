//! The drain, in one place: what ends in which order, and what is said of it.
//!
//! In goes a collector that runs; out comes its last reading of the books. Nothing is waited for beyond
//! `[shutdown] timeout` and a little: a thread that hangs is left behind, and what it holds is written off by name.

use std::time::{Duration, Instant};

use super::{Running, RunningSink, leaving};
use crate::limits::BATCHERS_SHARE_OF_TIMEOUT;
use crate::metrics::Ledger;

/// Between two looks at threads that are about to end.
const POLL: Duration = Duration::from_millis(5);

/// How a drain ended.
#[derive(Debug, Clone)]
pub struct DrainReport {
    /// The books after it.
    pub ledger: Ledger,
    /// Everything met its fate before the deadline, and every thread ended well.
    pub clean: bool,
    /// What did not go well, for people.
    pub notes: Vec<String>,
    /// A thread panicked or did not end: the exit code says so.
    pub failed: bool,
}

impl Running {
    /// The drain, in the plan's order: readiness ends, sockets leave their groups and are read empty,
    /// workers flush, the queue closes, batchers finish, delivery delivers or spools, the spool commits, learned state is
    /// written, HTTP ends last.
    /// Takes `shutdown.timeout` and a little; `drain_delay` is the caller's.
    #[must_use]
    pub fn drain(self) -> DrainReport {
        let end = Instant::now() + self.settings.shutdown_timeout;
        let left = || end.saturating_duration_since(Instant::now());
        self.begin_drain();
        let Self {
            metrics,
            workers,
            batchers,
            sink,
            spool,
            state,
            monitor,
            web,
            settings,
            announcement,
            attendance,
            ..
        } = self;
        let mut notes = Vec::new();
        let collected = workers.drain(settings.shutdown_timeout / 3);
        let mut failed = !collected.panicked.is_empty() || !collected.unfinished.is_empty();
        for name in &collected.abandoned {
            notes.push(format!("{name} had not read its sockets empty at the deadline"));
        }
        for name in &collected.unfinished {
            notes.push(format!("{name} did not end"));
        }
        for name in &collected.panicked {
            notes.push(format!("{name} panicked"));
        }
        if !collected.unfinished.is_empty() {
            batchers.close_queue();
        }
        let share = Instant::now() + settings.shutdown_timeout / BATCHERS_SHARE_OF_TIMEOUT;
        while !batchers.finished() && Instant::now() < share {
            std::thread::sleep(POLL);
        }
        let hung = batchers.unfinished();
        notes.extend(hung.iter().map(|place| format!("batcher-{place} did not end")));
        failed |= !hung.is_empty();
        for (name, _) in batchers.join_finished().into_iter().filter(|(_, panicked)| *panicked) {
            failed = true;
            notes.push(format!("{name} panicked"));
        }
        let spool_needs = spool.time_to_end(settings.shutdown_timeout);
        let in_time = match sink {
            RunningSink::Backend(sink) => {
                let report = sink.finish(left().saturating_sub(spool_needs));
                if report.dropped > 0 {
                    notes.push(format!("{} records could not be delivered before the deadline", report.dropped));
                }
                report.in_time
            }
            RunningSink::Stdout(outlet) => outlet.finish(left()),
        };
        let kept = spool.finish(left().max(spool_needs), &mut notes);
        state.finish(left(), &mut notes);
        leaving::write_off(&metrics, &collected.unfinished, &hung, &mut notes);
        monitor.stop();
        metrics.books.refresh();
        let ledger = metrics.books.ledger();
        if ledger.imbalance() != 0 {
            notes.push(format!("the books do not balance: {} records unexplained", ledger.imbalance()));
        }
        // Out of discovery before the port is free for another.
        drop(announcement);
        web.stop();
        drop(attendance);
        DrainReport { ledger, clean: in_time && kept && collected.is_clean() && !failed, notes, failed }
    }
}
