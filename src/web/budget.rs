//! How often something may happen: one rate for all requests, and one of wrong tokens for each peer.
//!
//! Nanoseconds of a monotonic clock enter, "yes" or the time to wait leaves. Promised: a fixed number of peers is
//! remembered; those that come while all places are taken by others who guess share one budget.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use rustc_hash::FxBuildHasher;

use crate::limits::{HTTP_PEERS_MAX, WRONG_TOKEN_EVERY_MS, WRONG_TOKENS_BURST};

const NS_PER_S: u64 = 1_000_000_000;
/// Requests that may come at once even where few a second are answered: the page alone asks for four.
const BURST_MIN: u64 = 10;

/// A rate with a burst, as one number: the moment at which all of the burst will be there again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    every_ns: u64,
    burst: u64,
    full_again_ns: u64,
}

impl Budget {
    /// `rate` a second; the burst is what a second gives.
    pub(super) fn per_second(rate: u32) -> Self {
        let rate = u64::from(rate.max(1));
        Self { every_ns: NS_PER_S / rate, burst: rate.max(BURST_MIN), full_again_ns: 0 }
    }

    const fn of_wrong_tokens() -> Self {
        Self { every_ns: WRONG_TOKEN_EVERY_MS * 1_000_000, burst: WRONG_TOKENS_BURST, full_again_ns: 0 }
    }

    /// Takes one.
    ///
    /// # Errors
    /// There is none; holds the nanoseconds until there is.
    pub(super) fn take(&mut self, now_ns: u64) -> Result<(), u64> {
        self.left(now_ns)?;
        self.full_again_ns = self.full_again_ns.max(now_ns).saturating_add(self.every_ns);
        Ok(())
    }

    /// As [`Budget::take`], without taking.
    fn left(&self, now_ns: u64) -> Result<(), u64> {
        let room = self.every_ns.saturating_mul(self.burst);
        let after = self.full_again_ns.max(now_ns).saturating_add(self.every_ns);
        match after.saturating_sub(now_ns).saturating_sub(room) {
            0 => Ok(()),
            wait => Err(wait),
        }
    }

    const fn is_full(&self, now_ns: u64) -> bool {
        self.full_again_ns <= now_ns
    }
}

/// Wrong tokens by peer.
#[derive(Debug)]
pub(super) struct Guesses {
    peers: HashMap<IpAddr, Budget, FxBuildHasher>,
    others: Budget,
}

impl Guesses {
    pub(super) fn new() -> Self {
        Self { peers: HashMap::default(), others: Budget::of_wrong_tokens() }
    }

    /// May `peer` show a token?
    ///
    /// # Errors
    /// It has shown too many wrong ones; holds the nanoseconds until it may again.
    pub(super) fn may(&self, peer: IpAddr, now_ns: u64) -> Result<(), u64> {
        match self.peers.get(&network(peer)) {
            Some(budget) => budget.left(now_ns),
            None if self.peers.len() < HTTP_PEERS_MAX => Ok(()),
            None => self.others.left(now_ns),
        }
    }

    /// `peer` has shown a wrong one.
    pub(super) fn note(&mut self, peer: IpAddr, now_ns: u64) {
        let network = network(peer);
        if !self.peers.contains_key(&network) && self.peers.len() >= HTTP_PEERS_MAX {
            self.peers.retain(|_, budget| !budget.is_full(now_ns));
            if self.peers.len() >= HTTP_PEERS_MAX {
                let _ = self.others.take(now_ns);
                return;
            }
        }
        let _ = self.peers.entry(network).or_insert_with(Budget::of_wrong_tokens).take(now_ns);
    }
}

/// What one guesser can choose its addresses from counts as one: the /64 of IPv6.
pub(super) fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_gives_its_burst_and_then_its_rate() {
        let mut budget = Budget::per_second(100);
        let taken = (0..1_000).filter(|_| budget.take(5).is_ok()).count();
        assert_eq!(taken, 100);
        assert_eq!(budget.take(5), Err(NS_PER_S / 100));
        assert!(budget.take(5 + NS_PER_S / 100).is_ok());
        assert!(budget.take(5 + NS_PER_S / 100).is_err());
        // Ten seconds at twice the rate: half of it passes.
        let passed = (0..2_000_u64).filter(|n| budget.take(2 * NS_PER_S + n * NS_PER_S / 200).is_ok()).count();
        assert!((1_090..=1_110).contains(&passed), "{passed}");
        let mut slow = Budget::per_second(1);
        assert_eq!((0..100).filter(|_| slow.take(0).is_ok()).count(), 10, "the page itself must always fit");
    }

    #[test]
    fn a_peer_that_guesses_has_to_wait_and_others_do_not() {
        let (guesser, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let mut guesses = Guesses::new();
        for _ in 0..WRONG_TOKENS_BURST {
            assert!(guesses.may(guesser, 0).is_ok());
            guesses.note(guesser, 0);
        }
        let wait = guesses.may(guesser, 0).unwrap_err();
        assert!(guesses.may("::ffff:192.0.2.1".parse().unwrap(), 0).is_err(), "the same peer in the other family");
        assert!(guesses.may(other, 0).is_ok());
        assert!(guesses.may(guesser, wait).is_ok());
        guesses.note(guesser, wait);
        assert!(guesses.may(guesser, wait).is_err());
    }

    #[test]
    fn a_network_of_guessers_is_one_and_the_table_has_an_end() {
        let mut guesses = Guesses::new();
        for host in 0..100_u128 {
            guesses.note(IpAddr::V6(Ipv6Addr::from(0x2001_0db8 << 96 | host)), 0);
        }
        assert_eq!(guesses.peers.len(), 1);
        for peer in 0..4 * HTTP_PEERS_MAX as u32 {
            guesses.note(IpAddr::V4(peer.into()), 1);
        }
        assert_eq!(guesses.peers.len(), HTTP_PEERS_MAX);
        assert!(guesses.may("203.0.113.9".parse().unwrap(), 1).is_err(), "newcomers share what the table cannot hold");
        // After the time in which all budgets fill up the table takes newcomers again.
        let later = 2 * WRONG_TOKENS_BURST * WRONG_TOKEN_EVERY_MS * 1_000_000;
        guesses.note("203.0.113.9".parse().unwrap(), later);
        assert_eq!(guesses.peers.len(), 1);
    }
}
