//! The waiting room of a domain: data sets without a template, and what is behind its lock beside them.
//!
//! Bounded by count, octets and age, fairly by exporter. A set goes in when nobody knows its template, and out when it
//! comes, in the order of arrival.

mod inner;
mod overflow;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustc_hash::FxHashMap;

pub(in crate::decode) use self::inner::{Await, Waits};
pub(in crate::decode) use self::overflow::Overflow;
pub use self::overflow::{Overflowed, ParkOverflow, Stored, WaitingSet, parked_octets};
use super::domain::Domain;
use super::life::{Clash, Storm};
use super::waiting;
use crate::decode::error::SetDropKind;
use crate::decode::outcome::Outcome;
use crate::decode::plan::DecodePlan;
use crate::decode::told::LearnedBudget;
use crate::decode::wire::header::Header;
use crate::limits::{PARKED_OCTETS_PER_EXPORTER_MAX, PARKED_SETS_PER_EXPORTER_MAX};

/// What a parked set takes beside its octets.
const PARKED_OVERHEAD_OCTETS: u64 = 96;

/// Sets and octets that left the waiting room without being decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ParkedCounts {
    /// Sets.
    pub sets: u32,
    /// Octets.
    pub octets: u64,
    /// Of the sets, those that were back from the disk: the books have them there.
    pub returned: u32,
}

/// The datagram that a set came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) struct Envelope {
    pub header: Header,
    pub receive_ns: u64,
    /// UDP source port.
    pub port: u16,
}

/// A data set that waits for its template.
#[derive(Debug)]
pub(in crate::decode) struct ParkedSet {
    pub id: u16,
    pub body: Box<[u8]>,
    pub envelope: Envelope,
    waits: Waits,
}

impl ParkedSet {
    /// True if it is to be read without the templates that its lists name.
    pub fn waited_in_vain(&self) -> bool {
        self.waits == Waits::Nothing
    }

    fn octets(&self) -> u64 {
        self.body.len() as u64 + PARKED_OVERHEAD_OCTETS
    }
}

/// What the waiting room gives.
#[derive(Debug)]
pub(in crate::decode) enum Unparked {
    /// The oldest set that can be decoded now.
    Set(ParkedSet, Arc<DecodePlan>),
    /// There is one, with more rows than asked for.
    TooMany,
    /// Nothing waits that could be decoded.
    None,
}

/// What is behind a domain's mutex.
#[derive(Debug, Default)]
pub(in crate::decode) struct Learned {
    parked: VecDeque<ParkedSet>,
    parked_octets: u64,
    /// In a shared domain: which ports define a template id, and how. Only plans that the port itself
    /// still knows, so that they are within the bounds of the exporter's templates.
    pub(super) offers: FxHashMap<u16, Vec<(u16, Arc<DecodePlan>)>>,
    /// Sets that a datagram took out of the room and over which the decoder failed: they go with the
    /// domain, which is retired for that.
    lost: ParkedCounts,
    /// Changes of layouts lately.
    pub(in crate::decode) storm: Storm,
    /// Templates that lists name and that did not come: they are not waited for again.
    pub(super) given_up: Vec<u16>,
    /// Ports that take templates from each other.
    pub(in crate::decode) clash: Option<Clash>,
    /// Templates that sets came for in vain.
    pub(in crate::decode) waits: waiting::Waits,
}

impl Learned {
    /// Sets and octets that wait.
    pub(in crate::decode) fn parked(&self) -> ParkedCounts {
        let mut counts = ParkedCounts::default();
        self.parked.iter().for_each(|set| counts.note(set));
        debug_assert_eq!(counts.octets, self.parked_octets, "the sum of what waits");
        counts
    }

    /// Empties the room.
    pub(in crate::decode) fn clear(&mut self) -> ParkedCounts {
        let counts = self.parked();
        self.parked.clear();
        self.parked_octets = 0;
        counts
    }

    /// Drops the sets received before what `limit` says of them, Unix nanoseconds.
    pub(in crate::decode) fn expire(&mut self, limit: impl Fn(Waits) -> u64) -> ParkedCounts {
        let mut counts = ParkedCounts::default();
        self.parked.retain(|set| {
            let keep = set.envelope.receive_ns >= limit(set.waits);
            if !keep {
                counts.note(set);
            }
            keep
        });
        self.parked_octets -= counts.octets;
        counts
    }

    /// Takes out what came from `port`, in order.
    pub(super) fn leave_with(&mut self, port: u16) -> VecDeque<ParkedSet> {
        let (theirs, others) = std::mem::take(&mut self.parked).into_iter().partition(|s| s.envelope.port == port);
        self.parked = others;
        let theirs: VecDeque<ParkedSet> = theirs;
        self.parked_octets -= theirs.iter().map(ParkedSet::octets).sum::<u64>();
        // What only that port waited for is its own business now.
        let parked = &self.parked;
        self.waits.retain(|id| parked.iter().any(|set| set.id == id));
        theirs
    }

    /// Puts sets that are older than all others before them.
    pub(super) fn put_first(&mut self, mut older: VecDeque<ParkedSet>) {
        self.parked_octets += older.iter().map(ParkedSet::octets).sum::<u64>();
        older.append(&mut self.parked);
        self.parked = older;
    }

    /// What a failed datagram took out of the room; counted once.
    pub(in crate::decode) fn take_lost(&mut self) -> ParkedCounts {
        std::mem::take(&mut self.lost)
    }
}

impl Domain {
    /// Parks a set without a template, or gives the plan that came while nobody looked.
    pub(in crate::decode) fn park(
        &self,
        id: u16,
        body: &[u8],
        envelope: &Envelope,
        outcome: &mut Outcome,
    ) -> Option<Arc<DecodePlan>> {
        let mut learned = self.learned();
        if let Some(plan) = self.plan(id) {
            return Some(plan);
        }
        learned.waits.note(id, envelope.receive_ns);
        if self.exporter.decided().settings.park_age_ns == 0 {
            outcome.drop_set(SetDropKind::UnknownTemplate);
            return None;
        }
        let octets = body.len() as u64 + PARKED_OVERHEAD_OCTETS;
        if !self.reserve_parked(octets) {
            self.park_elsewhere(id, body, envelope, outcome);
            return None;
        }
        outcome.sets_parked += 1;
        outcome.octets_parked += octets;
        learned.parked_octets += octets;
        learned.parked.push_back(ParkedSet { id, body: body.into(), envelope: *envelope, waits: Waits::Own });
        self.note_waiting(&learned);
        None
    }

    fn reserve_parked(&self, octets: u64) -> bool {
        let (exporter, budget) = (&self.exporter, &self.exporter.budget);
        if !LearnedBudget::reserve(&exporter.parked_sets, 1, PARKED_SETS_PER_EXPORTER_MAX) {
            return false;
        }
        if LearnedBudget::reserve(&exporter.parked_octets, octets, PARKED_OCTETS_PER_EXPORTER_MAX) {
            if LearnedBudget::reserve(&budget.parked_octets, octets, budget.parked_octets_max) {
                return true;
            }
            exporter.parked_octets.fetch_sub(octets, Ordering::AcqRel);
        }
        exporter.parked_sets.fetch_sub(1, Ordering::AcqRel);
        false
    }

    /// Takes the oldest waiting set whose template is known now, if it is at most `rows` records.
    pub(in crate::decode) fn unpark(&self, rows: usize, outcome: &mut Outcome) -> Unparked {
        let mut learned = self.learned();
        let found = learned.parked.iter().enumerate().find_map(|(index, set)| {
            if let Waits::Inner(inner) = set.waits {
                self.plan(inner)?;
            }
            Some((index, self.plan(set.id)?))
        });
        let Some((index, plan)) = found else { return Unparked::None };
        if learned.parked[index].body.len() / plan.record_octets_min > rows {
            return Unparked::TooMany;
        }
        let Some(set) = learned.parked.remove(index) else { return Unparked::None };
        learned.parked_octets -= set.octets();
        self.note_waiting(&learned);
        drop(learned);
        let mut counts = ParkedCounts::default();
        counts.note(&set);
        self.give_back_parked(counts);
        outcome.sets_unparked += counts.sets - counts.returned;
        outcome.sets_unparked_disk += counts.returned;
        outcome.octets_unparked += counts.octets;
        Unparked::Set(set, plan)
    }

    /// The decoder failed over the datagram of `envelope`, and nobody will count what it came to: what it
    /// parked leaves again, and what it took out of the room is kept for [`Domain::retire`] to count.
    pub(in crate::decode) fn undo(&self, envelope: &Envelope, outcome: &Outcome) {
        let mut learned = self.learned();
        let mut back = ParkedCounts::default();
        while back.sets < outcome.sets_parked
            && let Some(at) = learned.parked.iter().rposition(|set| set.envelope == *envelope)
            && let Some(set) = learned.parked.remove(at)
        {
            back.note(&set);
        }
        learned.parked_octets -= back.octets;
        self.note_waiting(&learned);
        // What it parked and took out again was never counted as parked.
        let (sets, octets) = (outcome.sets_parked - back.sets, outcome.octets_parked - back.octets);
        let returned = outcome.sets_unparked_disk;
        learned.lost.sets += outcome.sets_unparked.saturating_sub(sets) + returned;
        learned.lost.returned += returned;
        learned.lost.octets += outcome.octets_unparked.saturating_sub(octets);
        drop(learned);
        self.overflow.uncounted.fetch_add(u64::from(outcome.sets_parked_disk), Ordering::AcqRel);
        self.give_back_parked(back);
    }

    /// True if sets wait here.
    pub(in crate::decode) fn has_parked(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Called under the lock, after each change of the waiting room.
    pub(in crate::decode) fn note_waiting(&self, learned: &Learned) {
        self.waiting.store(!learned.parked.is_empty(), Ordering::Release);
    }
}
