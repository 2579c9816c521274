//! A batch on its way through the line, and the words that the line speaks.

use crate::metrics::RecordDrop;
use crate::sink::Balance;
use crate::sink::compress::Packed;
use crate::sink::encode::EncodedBatch;
use crate::sink::retry::Backoff;
use crate::spool::Ticket;

/// Place in the line: arrival, then number of the part (unique within its batch).
pub(super) type Order = (u64, u64);

/// A batch in the line, or under way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) batch: EncodedBatch,
    /// Octets of the budget that it holds.
    pub(super) reserved: u64,
    /// Its body as it was sent, if it was compressed and may be kept.
    pub(super) packed: Option<Packed>,
    /// An earlier request with it may have been processed: sending it now may double its records.
    pub(super) repeated: bool,
    pub(super) order: Order,
    /// What the line knows the batch's age by; parts keep that of the whole.
    pub(super) oldest_receive: u64,
    /// When it was sent last.
    pub(super) sent_ns: u64,
    /// Place of the backend that it was sent to last.
    pub(super) target: usize,
    /// Which backends were asked: those of now, or of before.
    pub(super) epoch: u32,
    /// Requests to that backend at the time, itself included: the most that is known.
    pub(super) company: usize,
    /// It asks whether that backend takes anything again.
    pub(super) is_probe: bool,
    /// Backends that failed it since it last waited: it goes to each of the others at once.
    pub(super) moves: usize,
    /// Backends that gave it up for its own sake, a bit each.
    pub(super) denied: u8,
    /// Tries in a row since it last made way.
    pub(super) tries: u32,
    /// Failures that speak against the batch itself.
    pub(super) strikes: u32,
    /// Acceptances of the line when the whole batch (also that of a part) was tried first.
    pub(super) accepts_at_first_try: Option<u64>,
    /// The same for a part when it was split off: what was accepted later proves more.
    pub(super) accepts_at_split: Option<u64>,
    /// Acceptances of the line when the first strike fell.
    pub(super) accepts_at_first_strike: u64,
    /// A request with it, under this id, may have been accepted: its parts would double records under others.
    pub(super) doubtful: bool,
    /// In the side lane: it failed while others passed.
    pub(super) suspect: bool,
    /// The spool's, if it was handed out by it: then its records stand in the spool's books, and it holds no budget.
    pub(super) ticket: Option<Ticket>,
}

/// What the line wants.
#[derive(Debug)]
pub(super) enum Turn {
    /// Send this, and hand it to `finished` with the verdict.
    Send(Box<Job>),
    /// Nothing before this time.
    Wait(u64),
    /// Nothing before something is pushed or finished.
    Idle,
}

/// What became of a finished job.
#[derive(Debug)]
pub(super) enum Fate {
    /// The backend has it.
    Delivered(Box<Job>),
    /// Given up: a single record.
    Dropped(Box<Job>, RecordDrop),
    /// It will be tried again.
    Kept,
    /// Its halves will be tried.
    Split,
    /// It goes back to the spool, which hands it out again after this pause (nanoseconds).
    GivenBack(Box<Job>, u64),
    /// Its halves take its place in the spool.
    Halved(Box<Job>),
}

/// What happened to a batch of the spool before.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Past {
    /// Its records may have been written.
    pub(super) repeated: bool,
    /// It may have been accepted under its own id.
    pub(super) doubtful: bool,
}

/// What a part inherits from what it was split off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shares {
    order: Order,
    oldest_receive: u64,
    repeated: bool,
    accepts_at_first_try: Option<u64>,
}

impl Job {
    /// A batch that just came.
    pub(super) fn whole(batch: EncodedBatch, reserved: u64, order: Order) -> Self {
        Self {
            oldest_receive: batch.oldest_receive,
            batch,
            reserved,
            packed: None,
            repeated: false,
            order,
            sent_ns: 0,
            target: 0,
            epoch: 0,
            company: 0,
            is_probe: false,
            moves: 0,
            denied: 0,
            tries: 0,
            strikes: 0,
            accepts_at_first_try: None,
            accepts_at_split: None,
            accepts_at_first_strike: 0,
            doubtful: false,
            suspect: false,
            ticket: None,
        }
    }

    /// What its parts inherit.
    pub(super) const fn shares(&self) -> Shares {
        Shares {
            order: self.order,
            oldest_receive: self.oldest_receive,
            repeated: self.repeated,
            accepts_at_first_try: self.accepts_at_first_try,
        }
    }
}

impl Shares {
    /// A part that is split off when the line has counted `accepts` acceptances.
    pub(super) fn part(&self, batch: EncodedBatch, reserved: u64, accepts: u64) -> Job {
        let order = (self.order.0, batch.part);
        Job {
            oldest_receive: self.oldest_receive,
            repeated: self.repeated,
            accepts_at_first_try: self.accepts_at_first_try,
            accepts_at_split: Some(accepts),
            suspect: true,
            ..Job::whole(batch, reserved, order)
        }
    }
}

/// What the line is built with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    /// Requests under way at once.
    pub(super) slots: usize,
    /// Fewer where more would only make a backend slower.
    pub(super) adaptive: bool,
    /// Backends, in the operator's order.
    pub(super) backends: usize,
    /// Which of them gets what.
    pub(super) balance: Balance,
    /// Tries in a row before a batch makes way.
    pub(super) retry_attempts: u32,
    /// Delays.
    pub(super) backoff: Backoff,
}
