//! Reading snapshots at start, and the thread `state` that writes one when something changed.
//!
//! Enters: a [`Source`]. Leaves: files. Promised: a disk that fails is a line a minute, a count and another try with the
//! next turn; the end of the process writes what was learned last; nothing that was learned earlier is lost to a failure,
//! since the old file stands until the new one is whole.

use std::fs::File;
use std::hash::Hasher as _;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustc_hash::FxHasher;

use super::place::{Place, others};
use super::record::{self, Whose};
use super::snapshot::{self, HEAD_OCTETS, Reader, SnapshotError};
use super::{Source, StateSettings};
use crate::clock::Clock;
use crate::decode::{Lesson, Restored, SharedTable};
use crate::limits::{
    STATE_READ_OCTETS_MAX, STATE_RECORD_OCTETS, STATE_RECORD_OCTETS_MAX, STATE_REWRITE_S, STATE_SNAPSHOT_OCTETS_MAX,
    STATE_TABLE_OCTETS_MAX,
};
use crate::metrics::StateMetrics;
use crate::throttle::Throttle;

const SECOND_NS: u64 = 1_000_000_000;
/// Between two looks at a thread that is about to end.
const JOIN_POLL: Duration = Duration::from_millis(5);

/// Learned state on disk.
#[derive(Debug)]
pub struct Store {
    settings: StateSettings,
    clock: Clock,
    metrics: StateMetrics,
    /// None while no directory can be had.
    place: Option<Place>,
    lines: Throttle,
    /// What the last snapshot says, and when it was written (monotonic); None before the first.
    last: Option<(u64, u64)>,
}

/// What loading came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loaded {
    /// Records that taught something, or what was known already.
    pub restored: u64,
    /// Lessons that were taken.
    pub lessons: u64,
    /// Records that were too old.
    pub too_old: u64,
    /// Places that no checksum vouches for.
    pub damaged: u64,
    /// Records for which there was no place.
    pub refused: u64,
}

impl Store {
    /// Holds a directory below the root, if one can be had.
    #[must_use]
    pub fn open(settings: StateSettings, clock: Clock, metrics: StateMetrics) -> Self {
        let mut store = Self { settings, clock, metrics, place: None, lines: Throttle::default(), last: None };
        if let Err(error) = store.claim() {
            store.failed("no directory for learned state can be had", &error);
        }
        store
    }

    fn claim(&mut self) -> io::Result<()> {
        if self.place.is_none() {
            self.place = Some(Place::claim(&self.settings.root)?);
        }
        Ok(())
    }

    fn failed(&self, what: &str, error: &io::Error) {
        self.metrics.failures.add(1);
        if let Some(times) = self.lines.note(self.clock.monotonic_ns(), 1) {
            let directory = self.settings.root.display();
            tracing::warn!(
                times,
                %directory,
                %error,
                "{what}: templates and options are learned anew after a restart; make room, or make the directory writable"
            );
        }
    }

    /// Teaches `source` what snapshots say: the own one, then those that others left, the newest first.
    pub fn load(&self, source: &dyn Source) -> Loaded {
        let own = self.place.as_ref().map(Place::snapshot).unwrap_or_default();
        let mut loaded = Loaded::default();
        let mut left = STATE_READ_OCTETS_MAX;
        let mut paths = vec![(own.clone(), 0)];
        paths.extend(others(&self.settings.root, &own));
        for (path, octets) in paths {
            if octets > left {
                tracing::info!(path = %path.display(), octets, "learned state of another process is left aside: too much for one start");
                continue;
            }
            left -= octets;
            match self.load_one(source, &path, path == own, &mut loaded) {
                Ok(()) => {}
                Err(SnapshotError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.tell_unread(&path, path == own, &error, &mut loaded),
            }
        }
        let metrics = &self.metrics;
        metrics.restored.add(loaded.restored);
        metrics.too_old.add(loaded.too_old);
        metrics.damaged.add(loaded.damaged);
        metrics.refused.add(loaded.refused);
        let Loaded { restored, lessons, too_old, damaged, refused } = loaded;
        if damaged > 0 {
            tracing::warn!(
                restored,
                lessons,
                too_old,
                damaged,
                refused,
                "learned state restored, but for what is damaged"
            );
        } else if loaded != Loaded::default() {
            tracing::info!(restored, lessons, too_old, refused, "learned state restored");
        }
        loaded
    }

    fn load_one(
        &self,
        source: &dyn Source,
        path: &Path,
        is_own: bool,
        loaded: &mut Loaded,
    ) -> Result<(), SnapshotError> {
        let file = File::open(path)?;
        let octets = file.metadata().map_or(0, |facts| facts.len());
        let mut reader = Reader::new(file)?;
        let now_ns = self.clock.unix_ns();
        let max_age_ns = u64::try_from(self.settings.max_age.as_nanos()).unwrap_or(u64::MAX);
        let is_old = |then_ns: u64| now_ns.saturating_sub(then_ns) > max_age_ns;
        if is_own {
            self.metrics.written_s.set(reader.written_ns / SECOND_NS);
            self.metrics.octets.set(octets);
        }
        let too_old = is_old(reader.written_ns);
        while let Some((mut whose, lessons)) = reader.record()? {
            if too_old || is_old(whose.last_seen_ns) {
                loaded.too_old += 1;
                continue;
            }
            whose.last_seen_ns = whose.last_seen_ns.min(now_ns);
            let Some(domain) = source.domain(&whose) else {
                loaded.refused += 1;
                continue;
            };
            let (mut taken, mut known) = (0, 0);
            for lesson in lessons {
                match domain.restore(&lesson, now_ns) {
                    Restored::Taken => taken += 1,
                    Restored::Known => known += 1,
                    Restored::Refused => {}
                }
            }
            loaded.lessons += taken;
            *if taken + known > 0 { &mut loaded.restored } else { &mut loaded.refused } += 1;
        }
        loaded.damaged += reader.counts.damaged;
        if too_old {
            let age_s = now_ns.saturating_sub(reader.written_ns) / SECOND_NS;
            tracing::info!(path = %path.display(), age_s, "learned state is older than [state] max_age and is not used");
        }
        Ok(())
    }

    fn tell_unread(&self, path: &Path, is_own: bool, error: &SnapshotError, loaded: &mut Loaded) {
        self.metrics.failures.add(1);
        if matches!(error, SnapshotError::Damaged) {
            loaded.damaged += 1;
        }
        let aside = match (error, &self.place) {
            (SnapshotError::Newer(_), Some(place)) if is_own => place.set_newer_aside().ok(),
            _ => None,
        };
        let kept_as = aside.map(|path| path.display().to_string());
        tracing::warn!(
            path = %path.display(),
            %error,
            kept_as,
            "learned state cannot be restored: templates and options are learned anew"
        );
    }

    /// Writes a snapshot if something was learned or forgotten since the last one, or its ages are old; in any case if
    /// `at_end`. False if it should have been written and was not.
    pub(super) fn write(&mut self, source: &dyn Source, at_end: bool) -> bool {
        let (now_ns, turn_ns) = (self.clock.unix_ns(), self.clock.monotonic_ns());
        let walked = match walk(source, now_ns, &mut |_| Ok(())) {
            Ok(walked) => walked,
            Err(_) => return false,
        };
        let due = match self.last {
            // Nothing learned yet: what an earlier run left may still be wanted.
            None => walked.lessons > 0,
            Some((digest, then_ns)) => {
                let is_old = turn_ns.saturating_sub(then_ns) >= STATE_REWRITE_S * SECOND_NS;
                digest != walked.digest || (is_old || at_end) && walked.lessons > 0
            }
        };
        if !due {
            return true;
        }
        let written = self.claim().and_then(|()| match &self.place {
            Some(place) => place.replace(|to| write_snapshot(source, now_ns, to)),
            None => Err(io::Error::other("no directory")),
        });
        match written {
            Ok(Written { octets, is_short, walked }) => {
                self.last = Some((walked.digest, turn_ns));
                self.metrics.octets.set(octets);
                self.metrics.written_s.set(now_ns / SECOND_NS);
                if is_short && self.lines.note(turn_ns, 1).is_some() {
                    tracing::warn!(
                        octets,
                        left_out = walked.left_out,
                        "the snapshot of learned state is full: those heard least recently, and the ends of the largest \
                         tables, are learned anew after a restart"
                    );
                }
                true
            }
            Err(error) => {
                self.failed("learned state could not be written", &error);
                false
            }
        }
    }
}

/// A snapshot that was written.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    /// Its octets.
    pub octets: u64,
    /// Something had no room in it.
    pub is_short: bool,
    walked: Walked,
}

/// Writes all that `source` has learned at `now_ns`, Unix nanoseconds, as far as a snapshot may grow.
///
/// # Errors
/// Those of `to`.
pub fn write_snapshot(source: &dyn Source, now_ns: u64, to: &mut impl io::Write) -> io::Result<Written> {
    let header = snapshot::header(now_ns);
    to.write_all(&header)?;
    let mut octets = header.len() as u64;
    let mut is_full = false;
    let walked = walk(source, now_ns, &mut |record| {
        is_full |= octets + (STATE_RECORD_OCTETS_MAX + HEAD_OCTETS) as u64 > STATE_SNAPSHOT_OCTETS_MAX;
        if !is_full {
            octets += snapshot::write_record(to, record, now_ns)? as u64;
        }
        Ok(())
    })?;
    Ok(Written { octets, is_short: is_full || walked.left_out > 0, walked })
}

/// What a walk over everything came to.
#[derive(Debug, Clone, Copy, Default)]
struct Walked {
    lessons: u64,
    /// Lessons without room.
    left_out: u64,
    /// Sum over all lessons of what they say, ages left out; the order does not matter.
    digest: u64,
}

/// Shows everything that was learned to `emit`, record by record, with no lock held.
fn walk(source: &dyn Source, now_ns: u64, emit: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<Walked> {
    let mut walked = Walked::default();
    let mut result = Ok(());
    let mut pack = Pack::default();
    source.each(&mut |whose, domain, has_shared| {
        if !pack.begin(whose) {
            walked.left_out += 1;
            return true;
        }
        domain.export(now_ns, |lesson| pack.add(lesson, &mut walked));
        result = pack.emit(false, emit);
        if has_shared {
            for table in SharedTable::ALL {
                if result.is_ok() {
                    domain.exporter.export(table, |lesson| pack.add(lesson, &mut walked));
                    result = pack.emit(false, emit);
                }
            }
        }
        if result.is_ok() {
            result = pack.emit(true, emit);
        }
        result.is_ok()
    });
    result.map(|()| walked)
}

/// Lessons of one domain on their way into records.
#[derive(Debug, Default)]
struct Pack {
    whose: Vec<u8>,
    octets: Vec<u8>,
    /// Where in `octets` the closed records end.
    ends: Vec<usize>,
}

impl Pack {
    /// The lessons that come are of `whose`; false if nobody can be told so.
    fn begin(&mut self, whose: &Whose) -> bool {
        self.whose.clear();
        self.octets.clear();
        self.ends.clear();
        whose.put(&mut self.whose)
    }

    fn add(&mut self, lesson: &Lesson<'_>, walked: &mut Walked) {
        let begun = self.ends.last().copied().unwrap_or(0);
        if self.octets.len() >= STATE_TABLE_OCTETS_MAX {
            walked.left_out += 1;
            return;
        }
        let is_first = self.octets.len() == begun;
        if is_first {
            self.octets.extend_from_slice(&self.whose);
        }
        let start = self.octets.len();
        if !record::put(&mut self.octets, lesson) {
            walked.left_out += 1;
            if is_first {
                self.octets.truncate(begun);
            }
            return;
        }
        walked.lessons += 1;
        let mut hasher = FxHasher::default();
        // All but the time at the end, which changes with each datagram.
        hasher.write(&self.whose[..self.whose.len().saturating_sub(8)]);
        let (front, back) = record::content(&self.octets[start..]);
        hasher.write(front);
        hasher.write(back);
        walked.digest = walked.digest.wrapping_add(hasher.finish());
        if self.octets.len() - begun >= STATE_RECORD_OCTETS {
            self.ends.push(self.octets.len());
        }
    }

    /// Hands over the closed records, and the open one if `all`.
    fn emit(&mut self, all: bool, emit: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if all && self.octets.len() > self.ends.last().copied().unwrap_or(0) {
            self.ends.push(self.octets.len());
        }
        let mut start = 0;
        for end in self.ends.drain(..) {
            emit(&self.octets[start..end])?;
            start = end;
        }
        self.octets.drain(..start);
        Ok(())
    }
}

/// The thread that writes.
#[derive(Debug)]
pub struct Keeper {
    /// None once it was finished.
    thread: Option<JoinHandle<bool>>,
    orders: Arc<Orders>,
}

#[derive(Debug, Default)]
struct Orders {
    stop: Mutex<bool>,
    changed: Condvar,
}

/// How the thread ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateReport {
    /// What was learned last is on disk, or there was nothing.
    Written,
    /// It is not, for a reason that was told.
    Failed,
    /// The thread did not end before the deadline, or panicked.
    Unfinished,
}

impl Keeper {
    /// Writes what `source` has learned into `store`, every interval and at the end.
    ///
    /// # Errors
    /// No thread.
    pub fn start(mut store: Store, source: Arc<dyn Source>) -> io::Result<Self> {
        let orders = Arc::new(Orders::default());
        let told = Arc::clone(&orders);
        let body = move || {
            while !told.wait(store.settings.interval) {
                store.write(&*source, false);
            }
            store.write(&*source, true)
        };
        let thread = thread::Builder::new().name("state".to_owned()).spawn(body)?;
        Ok(Self { thread: Some(thread), orders })
    }

    /// True if it ended without being told to: a defect of ours.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Writes what was learned last and ends, if the disk answers before `deadline`.
    #[must_use]
    pub fn finish(mut self, deadline: Duration) -> StateReport {
        let end = Instant::now() + deadline;
        self.orders.end();
        let Some(thread) = self.thread.take() else { return StateReport::Unfinished };
        while !thread.is_finished() {
            if Instant::now() >= end {
                return StateReport::Unfinished;
            }
            thread::sleep(JOIN_POLL);
        }
        match thread.join() {
            Ok(true) => StateReport::Written,
            Ok(false) => StateReport::Failed,
            Err(_) => StateReport::Unfinished,
        }
    }
}

impl Orders {
    fn end(&self) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits for `interval`; true if the thread is to end.
    fn wait(&self, interval: Duration) -> bool {
        let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        let (stop, _) =
            self.changed.wait_timeout_while(stop, interval, |stop| !*stop).unwrap_or_else(PoisonError::into_inner);
        *stop
    }
}

impl Drop for Keeper {
    /// Not finished: the thread ends by itself, since nobody can tell it any more.
    fn drop(&mut self) {
        self.orders.end();
    }
}
