//! A worker's private cache over the exporter table: sender -> domain, without a lock.
//!
//! Neighbouring datagrams mostly have one sender, so the last one is tried first. A domain's `retired`
//! flag is looked at once a turn (one receive batch). Slots are numbered and stay where they are for
//! the turn, so that what was counted for a sender needs no second search.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustc_hash::FxHashMap;

use super::admit::Refusal;
use super::domains::Found;
use super::exporters::{ExporterCounts, ExporterTable};
use crate::decode::{self, Header, SequenceNote};
use crate::flow::Version;
use crate::limits::{EXPORTERS_UNKNOWN_MAX, WORKER_CACHE_MAX};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Sender {
    peer: SocketAddr,
    observation_domain: u32,
    version: Version,
    listener: u16,
}

#[derive(Debug)]
struct Slot {
    found: Found,
    /// Turn in which the slot was last used, and its run in that turn.
    turn: u64,
    run: u32,
}

/// What one turn counted for one domain.
#[derive(Debug, Default)]
pub(super) struct Run {
    slot: usize,
    /// For the exporter's counters.
    pub counts: ExporterCounts,
    /// For sequence accounting.
    pub notes: Vec<SequenceNote>,
    /// Templates were learned.
    pub learned: bool,
    /// The last header, with its receive time and UDP source port.
    pub header: Option<(Header, u64, u16)>,
}

/// The cache with the runs of the current turn.
#[derive(Debug, Default)]
pub(super) struct Cache {
    index: FxHashMap<Sender, u32>,
    slots: Vec<Slot>,
    last: Option<(Sender, u32)>,
    /// Slots of exporters that were not known when they were looked up: forged ones come once, and would keep what the
    /// table has forgotten.
    strangers: usize,
    turn: u64,
    // The first `open` belong to this turn; the others keep their memory for later ones.
    runs: Vec<Run>,
    open: usize,
}

impl Cache {
    /// Begins a turn; a cache that is full, or that knows as many strangers as the table, begins anew.
    pub fn begin(&mut self) {
        self.turn += 1;
        self.open = 0;
        if self.slots.len() >= WORKER_CACHE_MAX || self.strangers >= EXPORTERS_UNKNOWN_MAX {
            self.strangers = 0;
            self.index.clear();
            self.slots.clear();
            self.last = None;
        }
    }

    /// Run of the domain that a datagram belongs to.
    ///
    /// # Errors
    /// The table has no room for its exporter.
    #[inline]
    pub fn run(
        &mut self,
        table: &ExporterTable,
        listener: usize,
        peer: SocketAddr,
        header: &Header,
        octets: &[u8],
        now_ns: u64,
    ) -> Result<usize, Refusal> {
        let sender = Sender {
            peer,
            observation_domain: header.observation_domain,
            version: header.version,
            listener: u16::try_from(listener).unwrap_or(u16::MAX),
        };
        let at = match self.last {
            Some((last, at)) if last == sender => Some(at),
            _ => self.index.get(&sender).copied(),
        };
        let at = match at {
            Some(at) if self.holds(at, header, octets) => at,
            stale => self.look_up(stale, sender, table, header, octets, now_ns)?,
        };
        self.last = Some((sender, at));
        let slot = &self.slots[at as usize];
        if slot.turn == self.turn {
            return Ok(slot.run as usize);
        }
        Ok(self.open_run(at as usize))
    }

    /// False if the slot's domain was forgotten, or if the port may have got one of its own.
    #[inline]
    fn holds(&self, at: u32, header: &Header, octets: &[u8]) -> bool {
        let slot = &self.slots[at as usize];
        let found = &slot.found;
        if slot.turn != self.turn && found.domain.retired.load(Ordering::Acquire) {
            return false;
        }
        found.port_domains.is_none_or(|seen| {
            found.exporter.port_domains.load(Ordering::Acquire) == seen && !decode::carries_templates(header, octets)
        })
    }

    #[cold]
    fn look_up(
        &mut self,
        stale: Option<u32>,
        sender: Sender,
        table: &ExporterTable,
        header: &Header,
        octets: &[u8],
        now_ns: u64,
    ) -> Result<u32, Refusal> {
        let carries = || decode::carries_templates(header, octets);
        let found = table.find(usize::from(sender.listener), sender.peer, header, carries, now_ns)?;
        self.strangers += usize::from(!found.exporter.is_known());
        let slot = Slot { found, turn: self.turn.wrapping_sub(1), run: 0 };
        // A slot that this turn has used already stays as it is: its run counts for the old domain.
        let at = match stale {
            Some(at) if self.slots[at as usize].turn != self.turn => {
                self.slots[at as usize] = slot;
                at
            }
            _ => {
                self.slots.push(slot);
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.index.insert(sender, at);
        Ok(at)
    }

    /// Senders that share a domain share a run, so that its sequence numbers are sorted together.
    fn open_run(&mut self, at: usize) -> usize {
        let domain = &self.slots[at].found.domain;
        let shared = self.runs[..self.open].iter().position(|r| Arc::ptr_eq(&self.slots[r.slot].found.domain, domain));
        let run = shared.unwrap_or_else(|| {
            if self.open == self.runs.len() {
                self.runs.push(Run::default());
            }
            let run = &mut self.runs[self.open];
            run.slot = at;
            run.counts = ExporterCounts::default();
            run.notes.clear();
            run.learned = false;
            run.header = None;
            self.open += 1;
            self.open - 1
        });
        self.slots[at].turn = self.turn;
        self.slots[at].run = u32::try_from(run).unwrap_or(u32::MAX);
        run
    }

    /// The domain of `run` is gone: whoever comes next is looked up again.
    pub fn distrust(&mut self, run: usize) {
        let slots = &self.slots;
        let domain = &slots[self.runs[run].slot].found.domain;
        self.index.retain(|_, at| !Arc::ptr_eq(&slots[*at as usize].found.domain, domain));
        self.last = None;
    }

    /// Domain and exporter of run `run` of this turn.
    pub fn found(&self, run: usize) -> &Found {
        &self.slots[self.runs[run].slot].found
    }

    /// Run `run` of this turn.
    pub fn run_mut(&mut self, run: usize) -> &mut Run {
        &mut self.runs[run]
    }

    /// All runs of this turn, with their domains.
    pub fn runs(&mut self) -> impl Iterator<Item = (&Found, &mut Run)> {
        let slots = &self.slots;
        self.runs[..self.open].iter_mut().map(|r| (&slots[r.slot].found, r))
    }
}
