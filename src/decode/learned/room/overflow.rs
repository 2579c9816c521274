//! Sets that wait longer, or are more, than the waiting room in memory takes.
//!
//! In goes what would be dropped otherwise; out, through [`ParkOverflow`], to whoever keeps it: this module does no I/O and
//! never waits. The keeper asks [`Domain::knows_template`] and gives the sets back with [`Domain::unpark_from_disk`] into the
//! same room, within its bounds, from where they are replayed with the next datagram. Sets of which only a list's template
//! is missing stay in memory: they can be read without.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use super::{Domain, Envelope, Outcome, PARKED_OVERHEAD_OCTETS, ParkedCounts, ParkedSet, SetDropKind, Waits};
use crate::decode::wire::header::Header;

/// A data set without a template, with what it is decoded with later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingSet<'a> {
    /// Its id: that of its template.
    pub id: u16,
    /// UDP source port it came from.
    pub port: u16,
    /// Kernel receive time, Unix nanoseconds.
    pub receive_ns: u64,
    /// Header of its message.
    pub header: Header,
    /// What follows the set's header.
    pub body: &'a [u8],
}

/// What the keeper says to a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It has it.
    Taken,
    /// Not now: too many are under way to it.
    Busy,
    /// There is no room for it.
    Full,
}

/// Octets of memory that a set of `body` octets takes while it is parked.
#[must_use]
pub const fn parked_octets(body: usize) -> u64 {
    body as u64 + PARKED_OVERHEAD_OCTETS
}

/// Keeps sets for which memory has no room. Workers call it under the domain's lock: nothing in it may wait.
pub trait ParkOverflow: fmt::Debug + Send + Sync {
    /// Offers a set of `domain`.
    fn store(&self, domain: &Arc<Domain>, set: &WaitingSet<'_>) -> Stored;
    /// Something changed for the sets of `domain`: a template came, the room has space, or it was retired.
    fn look(&self, domain: &Arc<Domain>);
    /// What `from` keeps of `port` belongs to `to` now: the port has a domain of its own.
    fn adopt(&self, from: &Arc<Domain>, to: &Arc<Domain>, port: u16);
    /// Once a second, Unix nanoseconds.
    fn tick(&self, now_ns: u64);
}

/// What a domain knows of its sets elsewhere.
#[derive(Debug, Default)]
pub(in crate::decode) struct Overflow {
    /// Itself, for who keeps its sets.
    pub me: Weak<Domain>,
    /// Sets that are kept elsewhere.
    pub sets: AtomicU64,
    /// Of these, sets of a datagram over which the decoder failed: nobody has counted them.
    pub uncounted: AtomicU64,
}

/// What one look at the ages came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overflowed {
    /// They went to the disk.
    pub moved: ParkedCounts,
    /// There was no room on it: they are dropped.
    pub refused: ParkedCounts,
}

impl Overflowed {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { moved: self.moved.and(other.moved), refused: self.refused.and(other.refused) }
    }
}

impl ParkedCounts {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            sets: self.sets.saturating_add(other.sets),
            octets: self.octets.saturating_add(other.octets),
            returned: self.returned.saturating_add(other.returned),
        }
    }

    /// One more.
    pub(super) fn note(&mut self, set: &ParkedSet) {
        self.sets += 1;
        self.octets += set.octets();
        self.returned += u32::from(set.waits == Waits::Returned);
    }
}

impl Domain {
    /// The same, which knows itself: only such a domain has sets kept elsewhere.
    #[must_use]
    pub fn reachable_as(self, me: Weak<Self>) -> Self {
        let mut domain = self;
        domain.overflow.me = me;
        domain
    }

    /// True if the template of data sets with id `id` is known.
    #[must_use]
    pub fn knows_template(&self, id: u16) -> bool {
        self.plan(id).is_some()
    }

    /// Sets of it that are kept elsewhere.
    #[must_use]
    pub fn sets_on_disk(&self) -> u64 {
        self.overflow.sets.load(Ordering::Acquire)
    }

    /// `sets` of it left the keeper, or moved to it from another domain.
    pub fn left_disk(&self, sets: u64) {
        self.overflow.sets.fetch_sub(sets, Ordering::AcqRel);
    }

    /// `sets` of another domain are its own now.
    pub fn came_to_disk(&self, sets: u64) {
        self.overflow.sets.fetch_add(sets, Ordering::AcqRel);
    }

    /// Of `sets` that leave the keeper with this domain, how many the books know; the others are told once.
    #[must_use]
    pub fn counted_of(&self, sets: u64) -> u64 {
        let uncounted = &self.overflow.uncounted;
        let rest = |now: u64| Some(now.saturating_sub(sets));
        let before = uncounted.fetch_update(Ordering::AcqRel, Ordering::Acquire, rest).unwrap_or(0);
        sets.saturating_sub(before)
    }

    /// Puts a set back into the waiting room, for the next datagram to replay; false if there is no room now, or the domain
    /// is forgotten.
    pub fn unpark_from_disk(&self, set: &WaitingSet<'_>) -> bool {
        let octets = parked_octets(set.body.len());
        let mut learned = self.learned();
        // The flag under the lock: who retires the domain empties the room after it is up.
        if self.retired.load(Ordering::Acquire) || !self.reserve_parked(octets) {
            return false;
        }
        learned.parked_octets += octets;
        let envelope = Envelope { header: set.header, receive_ns: set.receive_ns, port: set.port };
        learned.parked.push_back(ParkedSet { id: set.id, body: set.body.into(), envelope, waits: Waits::Returned });
        self.note_waiting(&learned);
        drop(learned);
        self.replay_due.store(true, Ordering::Release);
        true
    }

    /// Moves sets that waited for `park_age_ns` to the keeper, if there is one. What it cannot take now stays for the next
    /// look.
    pub fn overflow_parked(&self, now_ns: u64) -> Overflowed {
        let mut done = Overflowed::default();
        if self.exporter.keeper.is_none() || !self.has_parked() {
            return done;
        }
        let before_ns = now_ns.saturating_sub(self.exporter.decided().settings.park_age_ns);
        let mut learned = self.learned();
        learned.parked.retain(|set| {
            if set.waits != Waits::Own || set.envelope.receive_ns >= before_ns {
                return true;
            }
            match self.store(set.id, &set.body, &set.envelope) {
                Stored::Taken => done.moved.note(set),
                Stored::Full => done.refused.note(set),
                Stored::Busy => return true,
            }
            false
        });
        let gone = done.moved.and(done.refused);
        learned.parked_octets -= gone.octets;
        self.note_waiting(&learned);
        drop(learned);
        self.give_back_parked(gone);
        done
    }

    /// Parks a set for which memory has no room.
    #[cold]
    pub(super) fn park_elsewhere(&self, id: u16, body: &[u8], envelope: &Envelope, outcome: &mut Outcome) {
        if self.exporter.keeper.is_none() {
            return outcome.drop_set(SetDropKind::ParkFull);
        }
        match self.store(id, body, envelope) {
            Stored::Taken => outcome.sets_parked_disk += 1,
            Stored::Busy => outcome.drop_set(SetDropKind::ParkFull),
            Stored::Full => outcome.drop_set(SetDropKind::ParkDiskFull),
        }
    }

    fn store(&self, id: u16, body: &[u8], envelope: &Envelope) -> Stored {
        let (Some(keeper), Some(me)) = (&self.exporter.keeper, self.overflow.me.upgrade()) else {
            return Stored::Busy;
        };
        let Envelope { header, receive_ns, port } = *envelope;
        // Before, since the keeper may give it back at once.
        self.came_to_disk(1);
        let stored = keeper.store(&me, &WaitingSet { id, port, receive_ns, header, body });
        if stored != Stored::Taken {
            self.left_disk(1);
        }
        stored
    }

    /// Tells the keeper to look, if it has sets of this domain.
    pub(in crate::decode) fn call_keeper(&self) {
        if self.sets_on_disk() > 0
            && let (Some(keeper), Some(me)) = (&self.exporter.keeper, self.overflow.me.upgrade())
        {
            keeper.look(&me);
        }
    }

    /// Takes over what the keeper has of `port` for the address.
    pub(in crate::decode) fn adopt_kept(&self, fallback: &Self, port: u16) {
        if fallback.sets_on_disk() > 0
            && let Some(keeper) = &self.exporter.keeper
            && let (Some(from), Some(to)) = (fallback.overflow.me.upgrade(), self.overflow.me.upgrade())
        {
            keeper.adopt(&from, &to, port);
            keeper.look(&from);
        }
    }
}
