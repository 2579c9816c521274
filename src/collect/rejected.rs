//! Dead letters of the wire: datagrams that made no sense, whole, in a ring that can be downloaded.
//!
//! Enters: a datagram with the reason, from a worker's [`Sampler`]. Leaves: [`Rejected::capture`], a pcapng file. Promised:
//! a worker never waits (a ring that is being read takes nothing); a flood costs it a hash and a comparison a datagram,
//! since a sender gets REJECTED_BURST at once and then one each REJECTED_EVERY_MS; the ring holds no more than its octets;
//! a sender holds a quarter of them at most, and those of whom nothing was ever decoded a half together, so that neither
//! a flood nor forged addresses push out what a true exporter sent.

mod pcapng;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use crate::decode::{self, DecodeError, Outcome, SetDropKind};
use crate::flow::Version;
use crate::limits::{
    REJECTED_BURST, REJECTED_DATAGRAMS_MAX, REJECTED_EVERY_MS, REJECTED_OVERHEAD_OCTETS, REJECTED_PER_S_MAX,
    REJECTED_SENDER_PART, REJECTED_SLOTS, REJECTED_STRANGERS_PART,
};
use crate::metrics::RejectedFigures;

const SECOND_NS: u64 = 1_000_000_000;

/// What was wrong with a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Nothing of it was used.
    Rejected(DecodeError),
    /// The rest of it was used.
    Partly {
        /// Sets that made no sense.
        sets: u32,
        /// Template records that were refused.
        templates: u32,
        /// The first of the sets: why, where it begins, and its id; neither is known of one that had waited.
        first: Option<(SetDropKind, Option<(u32, u16)>)>,
    },
}

impl Reason {
    /// Of a datagram that was used in part.
    pub(super) fn of_outcome(version: Version, outcome: &Outcome, octets: &[u8]) -> Self {
        let first = outcome.first_malformed.map(|(kind, nth)| (kind, decode::set_at(version, octets, nth)));
        let malformed = SetDropKind::ALL.iter().zip(outcome.sets_dropped).filter(|(kind, _)| kind.is_malformed());
        let sets = malformed.map(|(_, sets)| sets).sum();
        Self::Partly { sets, templates: outcome.templates_rejected, first }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sets, templates, first) = match self {
            Self::Rejected(error) => return write!(f, "rejected: {error}"),
            Self::Partly { sets, templates, first } => (sets, templates, first),
        };
        write!(f, "used in part: {sets} sets dropped, {templates} template records refused")?;
        match first {
            Some((kind, Some((offset, id)))) => write!(f, "; the first: {} at octet {offset}, set {id}", kind.label()),
            Some((kind, None)) => write!(f, "; the first: {}, a set that had waited", kind.label()),
            None => Ok(()),
        }
    }
}

/// A datagram in the ring.
#[derive(Debug, Clone)]
struct Kept {
    receive_ns: u64,
    peer: SocketAddr,
    listener: usize,
    reason: Reason,
    /// Something of the sender's was decoded, or a rule names it.
    known: bool,
    octets: Arc<[u8]>,
}

impl Kept {
    fn weight(&self) -> u64 {
        self.octets.len() as u64 + REJECTED_OVERHEAD_OCTETS
    }
}

/// The ring itself.
#[derive(Debug, Default)]
struct Ring {
    limit: u64,
    /// Oldest first.
    kept: VecDeque<Kept>,
    /// Octets of each sender's.
    senders: HashMap<IpAddr, u64>,
    octets: u64,
    strangers: u64,
    /// Second of the clock, and how many were taken in it.
    second: (u64, u32),
}

impl Ring {
    /// Takes a datagram, if there may be room for it; the oldest of whoever has most make it.
    fn take(&mut self, kept: Kept, now_ns: u64) -> bool {
        let (second, taken) = self.second;
        self.second = if second == now_ns / SECOND_NS { (second, taken + 1) } else { (now_ns / SECOND_NS, 1) };
        let (weight, sender) = (kept.weight(), kept.peer.ip());
        if self.second.1 > REJECTED_PER_S_MAX || weight > self.limit / REJECTED_SENDER_PART {
            return false;
        }
        while self.of(sender) + weight > self.limit / REJECTED_SENDER_PART
            && self.drop_oldest_of(|k| k.peer.ip() == sender)
        {}
        while !kept.known && self.strangers + weight > self.limit / REJECTED_STRANGERS_PART && self.drop_fairly(true) {}
        while (self.octets + weight > self.limit || self.kept.len() >= REJECTED_DATAGRAMS_MAX)
            && self.drop_fairly(false)
        {}
        self.octets += weight;
        self.strangers += if kept.known { 0 } else { weight };
        *self.senders.entry(sender).or_default() += weight;
        self.kept.push_back(kept);
        true
    }

    fn of(&self, sender: IpAddr) -> u64 {
        self.senders.get(&sender).copied().unwrap_or(0)
    }

    /// The oldest of whoever has most; strangers count as one, and may be asked for.
    fn drop_fairly(&mut self, strangers: bool) -> bool {
        let most = |known: bool| self.kept.iter().filter(|k| k.known == known).map(|k| self.of(k.peer.ip())).max();
        let strangers = strangers || most(true).is_none_or(|octets| self.strangers > octets);
        let Some(most) = most(!strangers) else { return false };
        let found = self.kept.iter().position(|k| k.known != strangers && self.of(k.peer.ip()) == most);
        found.is_some_and(|at| self.remove(at))
    }

    fn drop_oldest_of(&mut self, whose: impl Fn(&Kept) -> bool) -> bool {
        self.kept.iter().position(whose).is_some_and(|at| self.remove(at))
    }

    fn remove(&mut self, at: usize) -> bool {
        let Some(gone) = self.kept.remove(at) else { return false };
        let weight = gone.weight();
        self.octets -= weight;
        self.strangers -= if gone.known { 0 } else { weight };
        if let Some(octets) = self.senders.get_mut(&gone.peer.ip()) {
            *octets -= weight;
            if *octets == 0 {
                self.senders.remove(&gone.peer.ip());
            }
        }
        true
    }
}

/// The ring as workers and onlookers share it.
#[derive(Debug)]
pub struct Rejected {
    ring: Mutex<Ring>,
    /// Name and address of each listener.
    listeners: Vec<(String, SocketAddr)>,
    figures: RejectedFigures,
}

impl Rejected {
    /// An empty ring of `limit` octets.
    pub(super) fn new(limit: u64, listeners: Vec<(String, SocketAddr)>, figures: RejectedFigures) -> Self {
        Self { ring: Mutex::new(Ring { limit, ..Ring::default() }), listeners, figures }
    }

    /// All that is kept, oldest first, as a pcapng file: one interface a listener, one block a datagram with the reason
    /// as its comment. The IP and UDP headers are made up from what the socket told. No larger than the ring's octets
    /// and REJECTED_OVERHEAD_OCTETS for each listener.
    #[must_use]
    pub fn capture(&self) -> Vec<u8> {
        // Octets are shared: the ring is held for as long as pointers are copied.
        let kept: Vec<Kept> = {
            let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
            ring.kept.iter().cloned().collect()
        };
        pcapng::write(&self.listeners, &kept)
    }

    fn offer(&self, kept: Kept, now_ns: u64) -> bool {
        let mut ring = match self.ring.try_lock() {
            Ok(ring) => ring,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        let taken = ring.take(kept, now_ns);
        self.figures.octets.set(ring.octets);
        drop(ring);
        self.figures.kept.add(u64::from(taken));
        taken
    }
}

/// What a sender may still leave.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    left: u32,
    at_ns: u64,
}

/// A worker's way to the ring.
#[derive(Debug)]
pub(super) struct Sampler {
    ring: Option<Arc<Rejected>>,
    slots: Vec<Allowance>,
    /// Of its own, so that nobody can choose whose slot to share.
    hash: RandomState,
    not_kept: u64,
}

impl Sampler {
    /// For a worker; without a ring nothing is kept, and nothing counted.
    pub(super) fn new(ring: Option<Arc<Rejected>>) -> Self {
        let slots = if ring.is_some() { REJECTED_SLOTS } else { 0 };
        let full = Allowance { left: REJECTED_BURST, at_ns: 0 };
        Self { ring, slots: vec![full; slots], hash: RandomState::new(), not_kept: 0 }
    }

    /// False if there is no ring: then nobody need find a reason.
    #[inline]
    pub(super) const fn is_on(&self) -> bool {
        self.ring.is_some()
    }

    /// Keeps the datagram, if the sender has not left too many at `now_ns` (monotonic); `known` is asked only then.
    pub(super) fn keep(
        &mut self,
        now_ns: u64,
        listener: usize,
        datagram: &decode::Datagram<'_>,
        reason: impl FnOnce() -> Reason,
        known: impl FnOnce() -> bool,
    ) {
        let Some(ring) = &self.ring else { return };
        let slot = usize::try_from(self.hash.hash_one(datagram.peer.ip())).unwrap_or(0) % self.slots.len().max(1);
        let allowed = self.slots.get_mut(slot).is_some_and(|slot| slot.takes(now_ns));
        let kept = || Kept {
            receive_ns: datagram.receive_ns,
            peer: datagram.peer,
            listener,
            reason: reason(),
            known: known(),
            octets: datagram.octets.into(),
        };
        if !allowed || !ring.offer(kept(), now_ns) {
            self.not_kept += 1;
        }
    }

    /// Adds to the figures what was not kept.
    pub(super) fn publish(&mut self) {
        if let Some(ring) = self.ring.as_ref().filter(|_| self.not_kept != 0) {
            ring.figures.not_kept.add(std::mem::take(&mut self.not_kept));
        }
    }
}

impl Allowance {
    fn takes(&mut self, now_ns: u64) -> bool {
        let every_ns = REJECTED_EVERY_MS * 1_000_000;
        let earned = now_ns.saturating_sub(self.at_ns) / every_ns;
        self.left = self.left.saturating_add(u32::try_from(earned).unwrap_or(u32::MAX)).min(REJECTED_BURST);
        self.at_ns += earned * every_ns;
        let some = self.left > 0;
        self.left -= u32::from(some);
        some
    }
}

#[cfg(test)]
mod tests;
