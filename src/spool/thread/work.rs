//! What the spool's thread does in a turn: take, append, maintain, hand over, adopt.
//!
//! A failure of the disk sets a time before which it is not tried again, and a state that everybody can
//! read; what is in hand stays in hand. Nothing here ends the thread but being told to.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::super::SpoolSettings;
use super::super::disk::{Directory, Disk};
use super::super::entry::Entry;
use super::super::place::{self, Place};
use super::super::segment::FORMATS;
use super::super::stats::{SpoolDrop, SpoolState, Stats};
use super::super::store::{AppendError, Leased, Position, Store, StoreSettings, is_full, nanoseconds};
use super::{Message, SpoolReport, Spooled, Ticket, Waker, Way};
use crate::clock::Clock;
use crate::limits;
use crate::metrics::Tally;
use crate::throttle::Throttle;

/// Messages taken in one turn: then the disk has its turn.
const INTAKE: usize = 256;
const MS_NS: u64 = 1_000_000;
/// A directory with nothing for us is not looked at again for an hour, unless it changes.
const BARREN_NS: u64 = 3_600_000 * MS_NS;

/// A directory that is open, and held.
#[derive(Debug)]
struct Opened {
    store: Store,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Own,
    Adopted,
}

#[derive(Debug)]
struct Lease {
    whose: Whose,
    position: Position,
    octets: u64,
}

/// Since when, and until when, the disk is left alone.
#[derive(Debug, Default)]
struct Trouble {
    streak: u32,
    until: u64,
}

pub(super) struct Work {
    settings: SpoolSettings,
    clock: Clock,
    stats: Stats,
    way: Arc<Way>,
    ready: Sender<Spooled>,
    waker: Waker,
    own: Option<Opened>,
    adopted: Option<Opened>,
    adopt_at: u64,
    /// Until when it is passed by, if nothing has come or gone there since.
    barren: BTreeMap<u32, (u64, Option<SystemTime>)>,
    in_hand: VecDeque<Box<Entry>>,
    leases: HashMap<u64, Lease>,
    leased_octets: u64,
    tickets: u64,
    trouble: Option<Trouble>,
    /// Octets for which there was no room.
    wanted: Option<u64>,
    state: SpoolState,
    read_errors: Throttle,
    full_lines: Throttle,
}

impl Work {
    pub(super) fn new(
        settings: SpoolSettings,
        clock: Clock,
        stats: Stats,
        way: Arc<Way>,
        ready: Sender<Spooled>,
        waker: Waker,
    ) -> Self {
        Self {
            settings,
            clock,
            stats,
            way,
            ready,
            waker,
            own: None,
            adopted: None,
            adopt_at: 0,
            barren: BTreeMap::new(),
            in_hand: VecDeque::new(),
            leases: HashMap::new(),
            leased_octets: 0,
            tickets: 0,
            trouble: None,
            wanted: None,
            state: SpoolState::Off,
            read_errors: Throttle::default(),
            full_lines: Throttle::default(),
        }
    }

    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        loop {
            self.turn();
            let mut finish = None;
            match messages.recv_timeout(self.pause()) {
                Ok(message) => {
                    let more = messages.try_iter().take(INTAKE);
                    for message in std::iter::once(message).chain(more) {
                        if let Message::Finish(report_to) = message {
                            finish = Some(report_to);
                            break;
                        }
                        self.take(message);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                // Nobody is left who could ask for a report.
                Err(RecvTimeoutError::Disconnected) => {
                    self.end();
                    return;
                }
            }
            if let Some(report_to) = finish {
                // Answers may have come behind the end; offers cannot.
                messages.try_iter().for_each(|message| self.take(message));
                let report = self.end();
                // It took longer than somebody would wait.
                let _ = report_to.send(report);
                return;
            }
        }
    }

    fn pause(&mut self) -> Duration {
        let due = [&self.own, &self.adopted].into_iter().flatten().filter_map(|opened| opened.store.due()).min();
        let left = due.map_or(u64::MAX, |at| at.saturating_sub(self.clock.monotonic_ns()));
        // Never 0: what is due is served once a turn, and may have no free lease.
        Duration::from_nanos(left.clamp(MS_NS, limits::SPOOL_TURN_MS * MS_NS))
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Offer(entry) => self.in_hand.push_back(entry),
            Message::Closed { ticket, records } => {
                if let Some((store, position)) = self.answered(ticket) {
                    store.acknowledge(position);
                }
                self.stats.closing.sub(records);
            }
            Message::GivenBack { ticket, pause, maybe_written } => {
                if let Some((store, position)) = self.answered(ticket) {
                    store.give_back(position, nanoseconds(pause), maybe_written);
                }
            }
            Message::Halves { ticket, halves } => {
                let Some((store, position)) = self.answered(ticket) else { return };
                if let Err(error) = store.replace(position, &halves) {
                    store.give_back(position, limits::SPOOL_SPLIT_RETRY_MS * MS_NS, false);
                    match error {
                        AppendError::Disk(error) => self.fail("writing the halves of an entry", &error),
                        AppendError::Full => {}
                        AppendError::Entry(error) => tracing::error!(%error, "an entry of the spool was split wrongly"),
                    }
                }
            }
            Message::Finish(_) => {}
        }
    }

    fn answered(&mut self, ticket: u64) -> Option<(&mut Store, Position)> {
        let lease = self.leases.remove(&ticket)?;
        self.leased_octets -= lease.octets;
        let opened = match lease.whose {
            Whose::Own => self.own.as_mut(),
            Whose::Adopted => self.adopted.as_mut(),
        };
        opened.map(|opened| (&mut opened.store, lease.position))
    }

    /// One turn; public to the tests, which have no thread.
    pub(super) fn turn(&mut self) {
        self.beat();
        if self.may_try() {
            match self.work() {
                Ok(()) => self.trouble = None,
                Err((what, error)) => self.fail(what, &error),
            }
        }
        if self.own.is_some() && self.trouble.is_none() {
            self.adopt();
        }
        self.hand_over();
        self.publish();
    }

    fn beat(&self) {
        self.stats.heartbeat_ns.set(self.clock.monotonic_ns());
    }

    fn may_try(&self) -> bool {
        self.trouble.as_ref().is_none_or(|trouble| self.clock.monotonic_ns() >= trouble.until)
    }

    /// All that needs the disk to be well.
    fn work(&mut self) -> Result<(), (&'static str, io::Error)> {
        if self.own.is_none() {
            self.own = Some(self.open().map_err(|error| ("opening", error))?);
        }
        self.append_what_is_in_hand().map_err(|error| ("writing", error))?;
        let Some(own) = &mut self.own else { return Ok(()) };
        own.store.maintain().map_err(|error| ("writing", error))?;
        if let Some(wanted) = self.wanted
            && own.store.may_take(wanted).map_err(|error| ("asking for room", error))?
        {
            self.wanted = None;
        }
        Ok(())
    }

    fn open(&self) -> io::Result<Opened> {
        let place = place::claim(&self.settings.root)?;
        let store = self.open_store(&place.path)?;
        let (limit, records) = (store.limit(), self.stats.recovered.value());
        self.stats.limit.set(limit);
        tracing::info!(directory = %place.path.display(), limit, records, "the spool is open");
        Ok(Opened { store, place })
    }

    fn open_store(&self, path: &Path) -> io::Result<Store> {
        let disk = Box::new(Directory::new(path, self.settings.room_of)?);
        let settings = StoreSettings::new(&self.settings, disk.as_ref() as &dyn Disk)?;
        let beat = &mut || self.beat();
        let found = || {
            let stats = &self.stats;
            [&stats.damaged_entries, &stats.damaged_records, &stats.foreign_files, &stats.ledgers_lost]
                .map(Tally::value)
        };
        let before = found();
        let store = Store::open(disk, settings, &FORMATS, self.clock.clone(), self.stats.clone(), beat)?;
        let after = found();
        if after != before {
            let [batches, records, foreign_files, ledgers] = std::array::from_fn(|i| after[i] - before[i]);
            tracing::warn!(
                directory = %path.display(),
                damaged_batches = batches,
                damaged_records = records,
                foreign_files,
                damaged_ledgers = ledgers,
                "not all of the spool can be read: what is damaged is lost and counted, files of another version are left \
                 alone, without a ledger some batches come twice"
            );
        }
        Ok(store)
    }

    fn append_what_is_in_hand(&mut self) -> io::Result<()> {
        while let Some(own) = &mut self.own
            && let Some(entry) = self.in_hand.pop_front()
        {
            match own.store.append(&entry) {
                Ok(_) => self.release(&entry),
                Err(AppendError::Full) => {
                    self.wanted = Some(entry.octets());
                    self.drop_entry(&entry, SpoolDrop::Full);
                    if let Some(times) = self.full_lines.note(self.clock.monotonic_ns(), 1) {
                        tracing::warn!(times, "the spool has no room: what comes is dropped, or kept in memory");
                    }
                }
                Err(AppendError::Entry(error)) => {
                    tracing::error!(%error, "a batch that is none was offered to the spool");
                    self.drop_entry(&entry, SpoolDrop::Failed);
                }
                Err(AppendError::Disk(error)) => {
                    self.in_hand.push_front(entry);
                    return Err(error);
                }
            }
            self.beat();
        }
        Ok(())
    }

    /// After its fate was counted: the books never show it nowhere.
    fn release(&self, entry: &Entry) {
        let octets = entry.octets();
        self.stats.pending_records.sub(u64::from(entry.records));
        self.stats.pending_octets.sub(octets);
        self.way.used.fetch_sub(octets, Ordering::AcqRel);
    }

    /// What never was appended passes through the books as if it had been.
    fn drop_entry(&self, entry: &Entry, drop: SpoolDrop) {
        let records = u64::from(entry.records);
        self.stats.appended.add(records);
        self.stats.drop_records(drop, records);
        self.stats.name_lost(drop, &entry.exporters);
        self.release(entry);
    }

    fn fail(&mut self, what: &str, error: &io::Error) {
        self.stats.disk_errors.add(1);
        let streak = self.trouble.take().map_or(0, |trouble| trouble.streak.saturating_add(1));
        let pause = (limits::SPOOL_BACKOFF_MS << streak.min(16)).min(limits::SPOOL_BACKOFF_MAX_MS) * MS_NS;
        self.trouble = Some(Trouble { streak, until: self.clock.monotonic_ns().saturating_add(pause) });
        let state = if is_full(error) {
            SpoolState::Full
        } else {
            SpoolState::Failed { reason: explain(what, &self.settings.root, error) }
        };
        if state != self.state {
            let reason = explain(what, &self.settings.root, error);
            tracing::warn!(reason, "the spool takes nothing for now: it tries again by itself");
        }
        self.state = state;
    }

    fn publish(&mut self) {
        let state = match (&self.trouble, &self.own) {
            (Some(_), _) => self.state.clone(),
            (None, None) => SpoolState::Off,
            (None, Some(_)) if self.wanted.is_some() => SpoolState::Full,
            (None, Some(_)) => SpoolState::Working,
        };
        if state == SpoolState::Working && matches!(self.state, SpoolState::Full | SpoolState::Failed { .. }) {
            tracing::info!("the spool takes batches again");
        }
        self.state = state;
        self.stats.set_state(&self.state);
        let oldest = [&self.own, &self.adopted].into_iter().flatten().filter_map(|o| o.store.oldest_receive()).min();
        self.stats.oldest_receive_ns.set(oldest.unwrap_or(0));
    }

    fn hand_over(&mut self) {
        loop {
            let room = self.leases.is_empty() || self.leased_octets < self.settings.lease_octets;
            if !room || self.leases.len() >= self.settings.leases.max(1) {
                return;
            }
            let heads = [(Whose::Own, &mut self.own), (Whose::Adopted, &mut self.adopted)];
            let heads = heads.into_iter().filter_map(|(whose, opened)| Some((opened.as_mut()?, whose)));
            let oldest = heads.filter_map(|(opened, whose)| Some((opened.store.peek()?, whose, opened)));
            let Some((_, whose, opened)) = oldest.min_by_key(|(first, _, _)| *first) else { return };
            match opened.store.lease() {
                Ok(Some(leased)) => {
                    let (octets, records) = (leased.entry.octets(), u64::from(leased.entry.records));
                    self.tickets += 1;
                    self.leases.insert(self.tickets, Lease { whose, position: leased.position, octets });
                    self.leased_octets += octets;
                    // Room for all leases is in the hand-over; one that nobody takes any more stays on disk.
                    let Leased { entry, doubtful, .. } = leased;
                    let ticket = Ticket { number: self.tickets, records };
                    let _ = self.ready.try_send(Spooled { ticket, entry, doubtful });
                    (self.waker)();
                }
                // What was there was too old or damaged.
                Ok(None) => {}
                Err(error) => {
                    self.stats.disk_errors.add(1);
                    if let Some(times) = self.read_errors.note(self.clock.monotonic_ns(), 1) {
                        let reason = explain("reading", &self.settings.root, &error);
                        tracing::warn!(reason, times, "an entry of the spool cannot be read now: it is passed by");
                    }
                    return;
                }
            }
        }
    }

    /// Looks for what a process that is gone has left, and lets go of what is delivered.
    fn adopt(&mut self) {
        if let Some(adopted) = &mut self.adopted {
            let end = if adopted.store.is_empty() { adopted.store.finish() } else { adopted.store.maintain() };
            if end.is_err() {
                // Tried again in the next turn; what counts is that nothing is closed before it is.
                self.stats.disk_errors.add(1);
            } else if adopted.store.is_empty()
                && let Some(Opened { store, place }) = self.adopted.take()
            {
                store.forget();
                self.pass_by(&place);
            }
            return;
        }
        let now = self.clock.monotonic_ns();
        if now < self.adopt_at {
            return;
        }
        self.adopt_at = now.saturating_add(limits::SPOOL_ADOPT_MS * MS_NS);
        self.barren.retain(|_, (until, _)| *until > now);
        let own = self.own.as_ref().map(|own| own.place.number);
        let root = &self.settings.root;
        // Another process may have used it since, and be gone as well.
        let same =
            |number: u32| self.barren.get(&number).is_some_and(|(_, mark)| *mark == place::changed(root, number));
        let skipped = |number: u32| own == Some(number) || same(number);
        let Some(place) = place::orphan(&self.settings.root, skipped) else { return };
        match self.open_store(&place.path) {
            Ok(store) => {
                let directory = place.path.display();
                tracing::info!(%directory, "a directory of the spool that another process has left is taken over");
                self.adopted = Some(Opened { store, place });
            }
            Err(error) => {
                self.stats.disk_errors.add(1);
                tracing::warn!(directory = %place.path.display(), %error, "a directory of the spool cannot be taken over");
                self.pass_by(&place);
            }
        }
    }

    /// What is still there is not for us.
    fn pass_by(&mut self, place: &Place) {
        let until = self.clock.monotonic_ns().saturating_add(BARREN_NS);
        self.barren.insert(place.number, (until, place::changed(&self.settings.root, place.number)));
    }

    fn end(&mut self) -> SpoolReport {
        let appended = self.append_what_is_in_hand();
        let left: Vec<_> = self.in_hand.drain(..).collect();
        let dropped = left.iter().map(|entry| u64::from(entry.records)).sum();
        left.iter().for_each(|entry| self.drop_entry(entry, SpoolDrop::Failed));
        let mut clean = appended.is_ok() && left.is_empty();
        for opened in [&mut self.own, &mut self.adopted].into_iter().flatten() {
            if let Err(error) = opened.store.finish() {
                clean = false;
                let directory = opened.place.path.display();
                tracing::warn!(%directory, %error, "the spool could not be closed in peace: entries may come back");
            }
        }
        self.publish();
        SpoolReport { kept: self.stats.records.level(), dropped, clean }
    }
}

/// What was tried, where, what was said, and what to do about it.
fn explain(what: &str, root: &Path, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room there",
        io::ErrorKind::PermissionDenied => "let this process's user write there",
        io::ErrorKind::ReadOnlyFilesystem => "mount it writable, or choose another directory",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "something else stands where the directory should"
        }
        io::ErrorKind::ResourceBusy => "end one of the processes, or give this one a directory of its own",
        _ => "look at the system's log",
    };
    format!("{what} the spool in {}: {error}; {advice}", root.display())
}
