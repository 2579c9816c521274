//! Who is connected, and who has to go when everybody's place is taken.
//!
//! Connections enter and leave with their peer and the time of their last request. Promised: HTTP_CONNECTIONS_MAX places,
//! and somebody who only sits on one cannot keep a probe out: a newcomer gets the place of a connection that has waited
//! longest, of the peer that holds most. So one peer's thousand idle connections push each other out and nobody else, and
//! there is no bound for each peer, which would hit the many behind one translated address.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxBuildHasher;
use tokio::sync::Notify;

use super::budget::network;
use crate::limits::HTTP_GRACE_MS;

/// An answer may still be on its way for this long after its request.
const ANSWERING_NS: u64 = HTTP_GRACE_MS * 1_000_000;

/// The connections of one server.
#[derive(Debug, Default)]
pub(super) struct Guests(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    next: u64,
    guests: HashMap<u64, Guest, FxBuildHasher>,
}

#[derive(Debug)]
struct Guest {
    peer: IpAddr,
    /// When it came, or asked for the last time.
    since_ns: u64,
    asked: bool,
    leave: Arc<Notify>,
}

/// A place; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    guests: Arc<Guests>,
    id: u64,
    leave: Arc<Notify>,
}

impl Guests {
    /// Writes a newcomer down.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr, now_ns: u64) -> Seat {
        let leave = Arc::new(Notify::new());
        let guest = Guest { peer: network(peer), since_ns: now_ns, asked: false, leave: Arc::clone(&leave) };
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = book.next;
        book.next += 1;
        book.guests.insert(id, guest);
        Seat { guests: Arc::clone(self), id, leave }
    }

    /// Asks one to leave for a newcomer; false if nobody is there.
    pub(super) fn make_room(&self, now_ns: u64) -> bool {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held: HashMap<IpAddr, usize, FxBuildHasher> = HashMap::default();
        for guest in book.guests.values() {
            *held.entry(guest.peer).or_default() += 1;
        }
        let rank = |(id, guest): (&u64, &Guest)| {
            let answered_now = guest.asked && now_ns.saturating_sub(guest.since_ns) < ANSWERING_NS;
            // The least goes: it belongs to whom most belongs, nothing is on its way to it, it never asked, it came first.
            (Reverse(held[&guest.peer]), answered_now, guest.asked, guest.since_ns, *id)
        };
        let longest = book.guests.iter().min_by_key(|(id, guest)| rank((id, guest))).map(|(id, _)| *id);
        match longest.and_then(|id| book.guests.remove(&id)) {
            Some(guest) => {
                guest.leave.notify_one();
                true
            }
            None => false,
        }
    }
}

impl Seat {
    /// It has asked something.
    pub(super) fn asked(&self, now_ns: u64) {
        let mut book = self.guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(guest) = book.guests.get_mut(&self.id) {
            (guest.since_ns, guest.asked) = (now_ns, true);
        }
    }

    /// Waits until it has to leave.
    pub(super) async fn must_leave(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.guests.0.lock().unwrap_or_else(PoisonError::into_inner).guests.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(seats: &[Seat]) -> Vec<usize> {
        let book = seats[0].guests.0.lock().unwrap();
        (0..seats.len()).filter(|at| !book.guests.contains_key(&seats[*at].id)).collect()
    }

    #[test]
    fn the_peer_that_holds_most_gives_way_with_what_waited_longest() {
        let guests = Arc::new(Guests::default());
        let mut seats = vec![guests.enter("192.0.2.1".parse().unwrap(), 0)];
        seats.extend((1..4).map(|ns| guests.enter("192.0.2.2".parse().unwrap(), ns)));
        // The first of the many has asked, so those that never did go before it.
        seats[1].asked(5);
        assert!(guests.make_room(10));
        assert_eq!(left(&seats), [2]);
        assert!(guests.make_room(10));
        assert_eq!(left(&seats), [2, 3]);
        // Now both peers hold one: the one that never asked goes.
        assert!(guests.make_room(10));
        assert_eq!(left(&seats), [0, 2, 3]);
        // What is being answered goes last, but it goes.
        seats.push(guests.enter("192.0.2.3".parse().unwrap(), 9));
        assert!(guests.make_room(10));
        assert_eq!(left(&seats), [0, 2, 3, 4]);
        assert!(guests.make_room(10));
        assert!(!guests.make_room(10), "nobody is left");
    }

    #[test]
    fn a_seat_is_given_back_and_addresses_of_one_network_are_one_peer() {
        let guests = Arc::new(Guests::default());
        let one = guests.enter("2001:db8::1".parse().unwrap(), 5);
        let seats = [guests.enter("192.0.2.2".parse().unwrap(), 0), one];
        let other = guests.enter("2001:db8::2".parse().unwrap(), 6);
        assert!(guests.make_room(9));
        assert_eq!(left(&seats), [1], "the network holds two");
        drop((other, seats));
        assert!(guests.0.lock().unwrap().guests.is_empty());
    }

    #[tokio::test]
    async fn who_has_to_leave_is_told_even_if_it_listens_later() {
        let guests = Arc::new(Guests::default());
        let seat = guests.enter("192.0.2.1".parse().unwrap(), 0);
        assert!(guests.make_room(1));
        seat.must_leave().await;
    }
}
