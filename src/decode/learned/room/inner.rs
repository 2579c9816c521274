//! Sets that wait for a template which only their lists name (RFC 6313).
//!
//! Such a set can be read, but for the lists: so it waits in the room of its exporter with the others, and if the template does
//! not come in time it goes on without, and the template is not waited for again.

use std::sync::atomic::Ordering;

use super::{Domain, Envelope, Learned, Outcome, PARKED_OVERHEAD_OCTETS, ParkedSet};

/// Templates of lists that are not waited for again; more of them are.
const GIVEN_UP_MAX: usize = 64;

/// For which template a set waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) enum Waits {
    /// Its own.
    Own,
    /// This one, which its lists name (RFC 6313).
    Inner(u16),
    /// None any more: it is read as far as it can be.
    Nothing,
    /// Its own, which is known: it is back from the disk.
    Returned,
}

/// What becomes of a set whose lists name an unknown template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) enum Await {
    /// It waits.
    Parked,
    /// The template is known by now.
    Known,
    /// No room, no parking, or the template was waited for in vain before.
    Hopeless,
}

impl Learned {
    /// Lets sets received before `before_ns` whose lists wait go on without; true if there were any.
    pub(super) fn release(&mut self, before_ns: u64) -> bool {
        let mut any = false;
        for set in self.parked.iter_mut().filter(|set| set.envelope.receive_ns < before_ns) {
            let Waits::Inner(inner) = set.waits else { continue };
            set.waits = Waits::Nothing;
            any = true;
            if self.given_up.len() < GIVEN_UP_MAX && !self.given_up.contains(&inner) {
                self.given_up.push(inner);
            }
        }
        any
    }
}

impl Domain {
    /// Parks a set of which lists name the unknown template `inner`, if there is hope.
    pub(in crate::decode) fn park_for(
        &self,
        inner: u16,
        id: u16,
        body: &[u8],
        envelope: &Envelope,
        outcome: &mut Outcome,
    ) -> Await {
        let mut learned = self.learned();
        if self.plan(inner).is_some() {
            return Await::Known;
        }
        let octets = body.len() as u64 + PARKED_OVERHEAD_OCTETS;
        let hopeless = self.exporter.decided().settings.park_age_ns == 0 || learned.given_up.contains(&inner);
        if hopeless || !self.reserve_parked(octets) {
            return Await::Hopeless;
        }
        outcome.sets_parked += 1;
        outcome.octets_parked += octets;
        learned.parked_octets += octets;
        learned.parked.push_back(ParkedSet { id, body: body.into(), envelope: *envelope, waits: Waits::Inner(inner) });
        self.note_waiting(&learned);
        Await::Parked
    }

    /// Lets sets received before `before_ns` whose lists wait for a template go on without it, with the next datagram.
    pub(in crate::decode) fn release_lists(&self, before_ns: u64) {
        if self.has_parked() && self.learned().release(before_ns) {
            self.replay_due.store(true, Ordering::Release);
        }
    }

    /// The datagram that the set came with which has waited longest.
    pub(in crate::decode) fn oldest_parked(&self) -> Option<Envelope> {
        self.learned().parked.front().map(|set| set.envelope)
    }
}
