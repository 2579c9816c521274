//! Which templates are waited for, and since when: it outlives the sets that were parked for them.
//!
//! In go misses, one at a time and under the domain's lock; out comes a short list for people. A parked
//! set is dropped after its age, but as long as its kind keeps coming the wait is the same one.

use crate::limits::{FAULT_LINGER_S, WAITING_TEMPLATES_MAX};

/// A template that data sets came for and that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingTemplate {
    /// Its id.
    pub id: u16,
    /// Receive time of the first set without it, Unix nanoseconds.
    pub since_ns: u64,
    /// Receive time of the last one.
    pub last_ns: u64,
    /// Sets that came without it, parked or not.
    pub sets: u64,
}

/// All of a domain; the one that was not asked for the longest makes room.
#[derive(Debug, Default)]
pub(in crate::decode) struct Waits(Vec<WaitingTemplate>);

impl Waits {
    /// A set came whose template `id` is not known.
    pub(in crate::decode) fn note(&mut self, id: u16, now_ns: u64) {
        let fresh = WaitingTemplate { id, since_ns: now_ns, last_ns: now_ns, sets: 1 };
        if let Some(wait) = self.0.iter_mut().find(|w| w.id == id) {
            // After a long quiet it is another wait: the template may have come and gone meanwhile.
            if now_ns.saturating_sub(wait.last_ns) > FAULT_LINGER_S * 1_000_000_000 {
                *wait = fresh;
                return;
            }
            wait.last_ns = wait.last_ns.max(now_ns);
            wait.sets += 1;
        } else if self.0.len() < WAITING_TEMPLATES_MAX {
            self.0.push(fresh);
        } else if let Some(oldest) = self.0.iter_mut().min_by_key(|w| w.last_ns) {
            *oldest = fresh;
        }
    }

    /// Drops those for which `waits` says no.
    pub(in crate::decode) fn retain(&mut self, waits: impl Fn(u16) -> bool) {
        self.0.retain(|w| waits(w.id));
    }

    /// All of them, smallest id first.
    pub(in crate::decode) fn list(&self) -> Vec<WaitingTemplate> {
        let mut list = self.0.clone();
        list.sort_unstable_by_key(|w| w.id);
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_wait_keeps_its_beginning_and_a_new_one_begins_after_a_long_quiet() {
        let mut waits = Waits::default();
        waits.note(256, 10 * S);
        waits.note(256, 12 * S);
        assert_eq!(waits.list(), [WaitingTemplate { id: 256, since_ns: 10 * S, last_ns: 12 * S, sets: 2 }]);
        waits.note(256, (12 + FAULT_LINGER_S) * S);
        assert_eq!(waits.list()[0].since_ns, 10 * S);
        let later = (13 + 2 * FAULT_LINGER_S) * S;
        waits.note(256, later);
        assert_eq!((waits.list()[0].since_ns, waits.list()[0].sets), (later, 1));
        waits.retain(|id| id != 256);
        assert!(waits.list().is_empty());
    }

    #[test]
    fn the_list_is_bounded_and_keeps_what_is_asked_for() {
        let mut waits = Waits::default();
        for id in 256..1_000 {
            waits.note(id, u64::from(id));
            waits.note(256, u64::from(id));
        }
        let list = waits.list();
        assert_eq!(list.len(), WAITING_TEMPLATES_MAX);
        assert_eq!((list[0].id, list[0].since_ns), (256, 256));
        assert_eq!(list.last().unwrap().id, 999);
    }
}
