//! The spool in the process's course: started before delivery, ended after it, looked at in between.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::clock::Clock;
use crate::collect;
use crate::config::Settings;
use crate::limits;
use crate::metrics::Metrics;
use crate::sink::{Bell, Output, SpoolEnds, SpoolMode};
use crate::spool::{self, DeadLetters, Room, SpoolSettings, SpoolState, Stats, Thread};

/// Time that is kept for the thread's end, of the whole drain: what is on its way in has to reach the disk.
const END: Duration = Duration::from_secs(1);
/// And its most as a share of the drain.
const END_SHARE: u32 = 8;

/// The spool's thread, if there is one.
#[derive(Debug)]
pub(super) struct RunningSpool(Option<Thread>);

/// Starts the spool and opens the dead letters, as far as settings and directories allow.
///
/// # Errors
/// No thread. A directory that cannot be used is none: it shows.
pub(super) fn start(
    settings: &Settings,
    clock: &Clock,
    metrics: &Metrics,
) -> anyhow::Result<(Option<SpoolEnds>, Option<DeadLetters>, RunningSpool)> {
    let letters = settings.dead_letters().and_then(|dead| {
        let opened = DeadLetters::open(dead);
        opened
            .inspect_err(|error| {
                let directory = dead.path.display();
                tracing::warn!(%directory, %error, "no dead letters are kept: what the backend refuses for good is only counted");
            })
            .ok()
    });
    metrics.books.spool.dead_letters.set(u64::from(letters.is_some()));
    if settings.sink.output == Output::Backend && settings.dead_letters().is_none() {
        tracing::warn!(
            "no dead letters are kept: a record that the backend refuses for good is dropped, counted and gone; set [data] dir \
             to keep them"
        );
    }
    let mode = settings.spool_mode();
    if mode == SpoolMode::Off {
        if settings.sink.output == Output::Backend && settings.spool.mode != SpoolMode::Off {
            tracing::info!(
                "no spool: while the backend is away, only memory keeps records; set [data] dir or [spool] dir to keep \
                 them on disk"
            );
        }
        return Ok((None, letters, RunningSpool(None)));
    }
    let stats = stats(metrics);
    let bell = Bell::default();
    let chosen = SpoolSettings { room_of: Some(room_of), ..settings.spool.spool.clone() };
    let (inlet, outlet, thread) =
        spool::start(chosen, clock.clone(), stats.clone(), bell.waker()).context("delivery cannot keep what waits")?;
    Ok((Some(SpoolEnds { mode, inlet, outlet, stats, bell }), letters, RunningSpool(Some(thread))))
}

/// The spool's figures stand in the books.
fn stats(metrics: &Metrics) -> Stats {
    let (books, levels) = (&metrics.books, metrics.books.spool.clone());
    let mut stats = Stats::default();
    stats.octets = levels.octets;
    stats.limit = levels.limit;
    stats.records = levels.records;
    stats.pending_records = levels.pending;
    stats.closing = levels.closing;
    stats.losses = books.losses.clone();
    stats.enabled = levels.enabled;
    stats.damaged_records = levels.damaged;
    stats.foreign_files = levels.foreign;
    stats.oldest_receive_ns = levels.oldest_receive_ns;
    stats.recovered = books.recovered.clone();
    stats.dropped = books.spool_drops();
    stats
}

fn room_of(path: &Path) -> io::Result<Room> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    collect::file_system_room(&path).map(|room| Room { free: room.free_octets, total: room.octets })
}

/// What does not work as it should.
pub(super) fn degraded(stats: &Stats, clock: &Clock) -> Option<String> {
    let quiet_ns = clock.monotonic_ns().saturating_sub(stats.heartbeat_ns.value());
    if stats.heartbeat_ns.value() != 0 && quiet_ns > limits::HEARTBEAT_STALE_S * 1_000_000_000 {
        return Some(format!("the spool's disk has not answered for {} s", quiet_ns / 1_000_000_000));
    }
    match stats.state() {
        SpoolState::Off | SpoolState::Working => None,
        SpoolState::Full => Some("the spool is full: see [spool] limit, keep_free and the room on its disk".to_owned()),
        SpoolState::Failed { reason } => Some(format!("the spool takes nothing: {reason}")),
    }
}

impl RunningSpool {
    /// True if its thread ended without being told to: a defect of ours.
    pub(super) fn has_ended(&self) -> bool {
        self.0.as_ref().is_some_and(Thread::has_ended)
    }

    /// What of a drain of `whole` must be left when it comes to the spool; none without one.
    pub(super) fn time_to_end(&self, whole: Duration) -> Duration {
        if self.0.is_some() { END.min(whole / END_SHARE) } else { Duration::ZERO }
    }

    /// Ends it; false if not all of it is safe on disk. What went wrong is told in `notes`.
    pub(super) fn finish(self, deadline: Duration, notes: &mut Vec<String>) -> bool {
        let Some(thread) = self.0 else { return true };
        let Some(report) = thread.finish(deadline) else {
            notes.push(
                "the spool did not end, its disk does not answer: what was on its way there may be lost".to_owned(),
            );
            return false;
        };
        if report.dropped > 0 {
            notes.push(format!("the spool's disk did not take {} records", report.dropped));
        }
        if report.kept > 0 {
            tracing::info!(records = report.kept, "the spool keeps what was not delivered for the next start");
        }
        report.clean
    }
}
