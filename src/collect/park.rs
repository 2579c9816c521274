//! Sets that wait for their template on disk (`[decode] park = "disk"`).
//!
//! Workers push through [`ParkOverflow`] into a bounded channel and never wait; one thread writes the sets to files, knows
//! where each is, and gives them back to their domains, oldest first, when their template is known and the waiting room has
//! space. Octets of the files, sets, octets of one exporter, and what is under way are bounded. Every set that was taken
//! leaves in one of these ways: back to its domain, or dropped as too old, as not written or not read, or with its domain.

mod segments;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use rustc_hash::{FxHashMap, FxHashSet};

use self::segments::{Place, Segments, entry_octets};
use crate::decode::{Domain, Header, ParkOverflow, SetDropKind, Stored, WaitingSet};
use crate::limits::{
    PARKED_DISK_EXPORTER_PART, PARKED_DISK_JOBS, PARKED_DISK_PENDING_OCTETS, PARKED_DISK_PORTION, PARKED_DISK_SEGMENTS,
    PARKED_DISK_SETS_MAX,
};
use crate::metrics::Books;
use crate::throttle::Throttle;

/// At the end the thread gets this long to finish what it has under way.
const END: Duration = Duration::from_secs(1);
const END_POLL: Duration = Duration::from_millis(2);

/// The thread that keeps the sets; ends, and drops what it has, when this is dropped.
#[derive(Debug)]
pub(super) struct ParkDisk {
    door: Arc<Door>,
    thread: Option<JoinHandle<()>>,
}

impl ParkDisk {
    /// Makes `dir`, or empties it, and starts the thread. The files are bounded by `octets_max`; sets are dropped at `age_ns`.
    pub fn start(dir: &Path, octets_max: u64, age_ns: u64, books: Books) -> io::Result<Self> {
        let (door, jobs, keeper) = parts(dir, octets_max, age_ns, books)?;
        let thread = thread::Builder::new().name("park-disk".to_owned()).spawn(move || keeper.run(&jobs))?;
        Ok(Self { door, thread: Some(thread) })
    }

    /// Where sets are handed in.
    pub fn door(&self) -> Arc<dyn ParkOverflow> {
        Arc::clone(&self.door) as Arc<dyn ParkOverflow>
    }
}

impl Drop for ParkDisk {
    /// Waits briefly: the disk may hang, and nobody hangs with it.
    fn drop(&mut self) {
        self.door.counts.ended.store(true, Ordering::Release);
        let _ = self.door.jobs.try_send(Job::End);
        let deadline = Instant::now() + END;
        while self.thread.as_ref().is_some_and(|t| !t.is_finished()) && Instant::now() < deadline {
            thread::sleep(END_POLL);
        }
    }
}

/// Both ends, not running yet.
fn parts(dir: &Path, octets_max: u64, age_ns: u64, books: Books) -> io::Result<(Arc<Door>, Receiver<Job>, Keeper)> {
    let segments = Segments::open(dir, octets_max / PARKED_DISK_SEGMENTS)?;
    let (sender, jobs) = crossbeam_channel::bounded(PARKED_DISK_JOBS);
    let counts = Arc::new(Counts::default());
    let door = Door { jobs: sender, counts: Arc::clone(&counts), octets_max };
    let keeper = Keeper {
        counts,
        books,
        segments,
        rooms: FxHashMap::default(),
        due: FxHashSet::default(),
        next_number: 0,
        now_ns: 0,
        age_ns,
        failures: Throttle::default(),
    };
    Ok((Arc::new(door), jobs, keeper))
}

/// What both sides count.
#[derive(Debug, Default)]
struct Counts {
    /// Octets of the files, and of what is on its way into them.
    octets: AtomicU64,
    /// Sets in the files and on their way.
    sets: AtomicU64,
    /// Octets of what is on its way.
    pending: AtomicU64,
    ended: AtomicBool,
}

/// Takes `n` of `counter` if that fits below `max`.
fn reserve(counter: &AtomicU64, n: u64, max: u64) -> bool {
    let fits = |now: u64| now.checked_add(n).filter(|sum| *sum <= max);
    counter.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok()
}

fn give_back(counter: &AtomicU64, n: u64) {
    counter.fetch_sub(n, Ordering::AcqRel);
}

#[derive(Debug)]
enum Job {
    Store { domain: Arc<Domain>, set: OwnedSet },
    Look(Arc<Domain>),
    Adopt { from: Arc<Domain>, to: Arc<Domain>, port: u16 },
    Tick(u64),
    End,
}

/// A set on its way to the thread.
#[derive(Debug)]
struct OwnedSet {
    id: u16,
    port: u16,
    receive_ns: u64,
    header: Header,
    body: Box<[u8]>,
}

impl OwnedSet {
    fn view(&self) -> WaitingSet<'_> {
        let Self { id, port, receive_ns, header, ref body } = *self;
        WaitingSet { id, port, receive_ns, header, body }
    }
}

/// The workers' end.
#[derive(Debug)]
struct Door {
    jobs: Sender<Job>,
    counts: Arc<Counts>,
    octets_max: u64,
}

impl ParkOverflow for Door {
    fn store(&self, domain: &Arc<Domain>, set: &WaitingSet<'_>) -> Stored {
        let counts = &self.counts;
        if counts.ended.load(Ordering::Acquire) {
            return Stored::Busy;
        }
        let octets = entry_octets(set.body.len());
        if !reserve(&counts.sets, 1, PARKED_DISK_SETS_MAX) {
            return Stored::Full;
        }
        let of_exporter = &domain.exporter.kept_octets;
        if !reserve(of_exporter, octets, self.octets_max / PARKED_DISK_EXPORTER_PART) {
            give_back(&counts.sets, 1);
            return Stored::Full;
        }
        let stored = if !reserve(&counts.octets, octets, self.octets_max) {
            Stored::Full
        } else if self.send(domain, set, octets) {
            return Stored::Taken;
        } else {
            give_back(&counts.octets, octets);
            Stored::Busy
        };
        give_back(of_exporter, octets);
        give_back(&counts.sets, 1);
        stored
    }

    fn look(&self, domain: &Arc<Domain>) {
        // If there is no room, the next tick looks.
        let _ = self.jobs.try_send(Job::Look(Arc::clone(domain)));
    }

    fn adopt(&self, from: &Arc<Domain>, to: &Arc<Domain>, port: u16) {
        // If there is no room, the port's next templates try again.
        let _ = self.jobs.try_send(Job::Adopt { from: Arc::clone(from), to: Arc::clone(to), port });
    }

    fn tick(&self, now_ns: u64) {
        let _ = self.jobs.try_send(Job::Tick(now_ns));
    }
}

impl Door {
    fn send(&self, domain: &Arc<Domain>, set: &WaitingSet<'_>, octets: u64) -> bool {
        // Looked at before the octets are copied: a flood that finds it full costs no more than this.
        if self.jobs.is_full() || !reserve(&self.counts.pending, octets, PARKED_DISK_PENDING_OCTETS) {
            return false;
        }
        let WaitingSet { id, port, receive_ns, header, body } = *set;
        let set = OwnedSet { id, port, receive_ns, header, body: body.into() };
        match self.jobs.try_send(Job::Store { domain: Arc::clone(domain), set }) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                give_back(&self.counts.pending, octets);
                false
            }
        }
    }
}

/// What is known of a set in a file.
#[derive(Debug, Clone, Copy)]
struct Kept {
    place: Place,
    port: u16,
}

/// Receive time, and number: the order in which sets of a domain go back.
type Order = (u64, u64);

/// Sets of one domain, by template.
#[derive(Debug)]
struct Room {
    /// Held, so that its address names it, and that what it shares with others stays to be counted in.
    domain: Arc<Domain>,
    templates: BTreeMap<u16, BTreeMap<Order, Kept>>,
}

/// The thread's end.
#[derive(Debug)]
struct Keeper {
    counts: Arc<Counts>,
    books: Books,
    segments: Segments,
    rooms: FxHashMap<usize, Room>,
    /// Rooms to look into next; a name without a room is nothing.
    due: FxHashSet<usize>,
    next_number: u64,
    /// Of the last tick, Unix nanoseconds.
    now_ns: u64,
    age_ns: u64,
    failures: Throttle,
}

fn name(domain: &Arc<Domain>) -> usize {
    Arc::as_ptr(domain) as usize
}

impl Keeper {
    fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            self.work(job);
            // What is on its way may be older than what is here: it goes back after that, and at the latest with a tick.
            if jobs.is_empty() {
                self.look_where_due();
            }
            if self.counts.ended.load(Ordering::Acquire) {
                break;
            }
        }
        self.end(jobs);
    }

    fn work(&mut self, job: Job) {
        match job {
            Job::Store { domain, set } => self.store(domain, &set.view()),
            Job::Look(domain) => _ = self.due.insert(name(&domain)),
            Job::Adopt { from, to, port } => self.adopt(&from, &to, port),
            Job::Tick(now_ns) => self.tick(now_ns),
            Job::End => {}
        }
        self.show_octets();
    }

    fn show_octets(&self) {
        self.books.parked_disk_bytes.set(self.counts.octets.load(Ordering::Acquire));
    }

    /// What is left is dropped: the next process has other books.
    fn end(&mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.try_recv() {
            if let Job::Store { domain, set } = job {
                self.store(domain, &set.view());
            }
        }
        for name in self.rooms.keys().copied().collect::<Vec<_>>() {
            self.drop_room(name);
        }
        self.books.parked_disk_bytes.set(0);
    }

    fn store(&mut self, domain: Arc<Domain>, set: &WaitingSet<'_>) {
        let octets = entry_octets(set.body.len());
        give_back(&self.counts.pending, octets);
        let number = self.next_number;
        self.next_number += 1;
        match self.segments.append(number, set) {
            Ok(place) => {
                let name = name(&domain);
                let kept = Kept { place, port: set.port };
                let (id, knows) = (set.id, domain.knows_template(set.id));
                let room = self.rooms.entry(name).or_insert_with(|| Room { domain, templates: BTreeMap::new() });
                room.templates.entry(id).or_default().insert((set.receive_ns, number), kept);
                // The template came while the set was under way.
                if knows {
                    self.due.insert(name);
                }
            }
            Err(error) => {
                self.tell(&error, "written");
                give_back(&self.counts.octets, octets);
                self.count_out(&domain, octets);
                self.drop_sets(SetDropKind::ParkDiskFailed, 1);
            }
        }
    }

    fn look_where_due(&mut self) {
        for name in std::mem::take(&mut self.due) {
            self.look(name);
        }
        self.show_octets();
    }

    /// Gives back what a domain can take now, oldest first.
    fn look(&mut self, name: usize) {
        let Some(room) = self.rooms.get(&name) else { return };
        let domain = Arc::clone(&room.domain);
        if domain.retired.load(Ordering::Acquire) {
            return self.drop_room(name);
        }
        let known: Vec<u16> = room.templates.keys().copied().filter(|id| domain.knows_template(*id)).collect();
        for _ in 0..PARKED_DISK_PORTION {
            let Some(room) = self.rooms.get(&name) else { return };
            let first = |id: &u16| room.templates.get(id)?.first_key_value().map(|(order, kept)| (*order, *id, *kept));
            let Some((order, id, kept)) = known.iter().filter_map(first).min_by_key(|(order, ..)| *order) else {
                return;
            };
            match self.segments.read(kept.place, order.1) {
                Ok(set) => {
                    let octets = set.body.len();
                    if !domain.unpark_from_disk(&set) {
                        return;
                    }
                    self.books.parked_bytes.add(crate::decode::parked_octets(octets));
                }
                Err(error) => {
                    self.tell(&error, "read back");
                    self.drop_sets(SetDropKind::ParkDiskFailed, 1);
                }
            }
            self.take_out(name, id, order);
        }
    }

    /// The port's sets go on waiting in its own domain.
    fn adopt(&mut self, from: &Arc<Domain>, to: &Arc<Domain>, port: u16) {
        let Some(room) = self.rooms.get_mut(&name(from)) else { return };
        let mut moved: Vec<(u16, Order, Kept)> = Vec::new();
        for (id, sets) in &mut room.templates {
            moved.extend(sets.extract_if(.., |_, kept| kept.port == port).map(|(order, kept)| (*id, order, kept)));
        }
        room.templates.retain(|_, sets| !sets.is_empty());
        if room.templates.is_empty() {
            self.rooms.remove(&name(from));
        }
        if moved.is_empty() {
            return;
        }
        from.left_disk(moved.len() as u64);
        to.came_to_disk(moved.len() as u64);
        let room = Room { domain: Arc::clone(to), templates: BTreeMap::new() };
        let room = self.rooms.entry(name(to)).or_insert(room);
        for (id, order, kept) in moved {
            room.templates.entry(id).or_default().insert(order, kept);
        }
        self.due.insert(name(to));
    }

    /// Drops what is too old, and looks into every room: nothing depends on a message that found the channel full.
    fn tick(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        self.due.clear();
        let before = (now_ns.saturating_sub(self.age_ns), 0);
        for name in self.rooms.keys().copied().collect::<Vec<_>>() {
            let Some(room) = self.rooms.get(&name) else { continue };
            let ids: Vec<u16> = room.templates.keys().copied().collect();
            let mut expired = 0;
            for id in ids {
                while let Some(order) = self.first(name, id).filter(|order| *order < before) {
                    self.take_out(name, id, order);
                    expired += 1;
                }
            }
            self.drop_sets(SetDropKind::ParkDiskExpired, expired);
            self.look(name);
        }
    }

    fn first(&self, name: usize, id: u16) -> Option<Order> {
        self.rooms.get(&name)?.templates.get(&id)?.first_key_value().map(|(order, _)| *order)
    }

    /// Forgets one set, and its room with the last.
    fn take_out(&mut self, name: usize, id: u16, order: Order) {
        let Some(room) = self.rooms.get_mut(&name) else { return };
        let Some(sets) = room.templates.get_mut(&id) else { return };
        let Some(kept) = sets.remove(&order) else { return };
        if sets.is_empty() {
            room.templates.remove(&id);
        }
        let domain = Arc::clone(&room.domain);
        if room.templates.is_empty() {
            self.rooms.remove(&name);
        }
        self.release(&domain, kept);
    }

    /// The domain is forgotten, and what waits goes with it.
    fn drop_room(&mut self, name: usize) {
        let Some(Room { domain, templates }) = self.rooms.remove(&name) else { return };
        let mut sets = 0_u64;
        for kept in templates.into_values().flat_map(BTreeMap::into_values) {
            self.release(&domain, kept);
            sets += 1;
        }
        // Those of a datagram over which the decoder failed were never seen, as far as the books know.
        self.drop_sets(SetDropKind::Retired, domain.counted_of(sets));
    }

    fn release(&mut self, domain: &Arc<Domain>, kept: Kept) {
        give_back(&self.counts.octets, self.segments.release(kept.place));
        self.count_out(domain, kept.place.octets());
    }

    fn count_out(&self, domain: &Arc<Domain>, octets: u64) {
        give_back(&domain.exporter.kept_octets, octets);
        give_back(&self.counts.sets, 1);
        domain.left_disk(1);
    }

    /// Off the level first, so that they never show twice.
    fn drop_sets(&self, kind: SetDropKind, sets: u64) {
        self.books.sets_parked_disk.sub(sets);
        self.books.sets_dropped[kind as usize].add(sets);
    }

    #[cold]
    fn tell(&self, error: &io::Error, what: &str) {
        if let Some(times) = self.failures.note(self.now_ns, 1) {
            tracing::warn!(%error, times, "data sets that wait for their template could not be {what}: they are dropped");
        }
    }
}

#[cfg(test)]
mod tests;
