//! How records are written now: what the operator chose, exchanged while batchers run.
//!
//! A batcher looks before each FlowBatch. The records of one FlowBatch are written in one way; an open body may hold both.
//! A FlowBatch that was decoded for another choice goes out with what it has: a field that it lacks is left out, one that is
//! not wanted any more is passed over.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::QueueSettings;
use crate::sink::encode::{EncodeSettings, Encoder, OutputFields};

/// How records are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writing {
    /// How bodies are made; the format stays that of the start.
    pub encode: EncodeSettings,
    /// What records go out with.
    pub fields: OutputFields,
}

/// The present way, shared by the batchers and by whoever changes it.
#[derive(Debug, Clone)]
pub struct WritingNow(Arc<ArcSwap<Writing>>);

/// One batcher's look at it.
#[derive(Debug)]
pub(super) struct Reading {
    shared: WritingNow,
    seen: Arc<Writing>,
}

impl WritingNow {
    pub(super) fn new(settings: &QueueSettings) -> Self {
        let writing = Writing { encode: settings.encode, fields: settings.fields.clone() };
        Self(Arc::new(ArcSwap::from_pointee(writing)))
    }

    /// Records are written so from now on.
    pub fn turn_to(&self, writing: Writing) {
        self.0.store(Arc::new(writing));
    }

    pub(super) fn reading(&self) -> Reading {
        Reading { shared: self.clone(), seen: self.0.load_full() }
    }
}

impl Reading {
    /// Makes `encoder` write as is chosen now.
    pub fn apply(&mut self, encoder: &mut Encoder) {
        if !Arc::ptr_eq(&self.shared.0.load(), &self.seen) {
            self.seen = self.shared.0.load_full();
            encoder.write_as(self.seen.encode, &self.seen.fields);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::queue::testing::{Basket, metrics, settings, wait_for};
    use crate::queue::{Outlet, channel, spawn_batchers};
    use crate::sink::encode::testing::{numbered, serials};

    #[test]
    fn one_body_holds_records_of_before_and_after_and_none_is_lost() {
        let metrics = metrics(1);
        let basket = Basket::new(&metrics);
        let settings = settings(8, 100);
        let (sender, receiver) = channel(&settings, 1, metrics.queue());
        let outlet: Arc<dyn Outlet> = Arc::clone(&basket) as Arc<dyn Outlet>;
        let (clock, _hand) = Clock::manual(1_700_000_000_000_000_000);
        let batchers = spawn_batchers(&settings, receiver, outlet, clock, vec![metrics.batcher(0)]).expect("a thread");
        let send = |first, records| {
            let (pooled, mut batch) = (sender.pooled(), numbered(first, records));
            sender.hand_over(&mut batch);
            wait_for("the batcher", || sender.is_idle() && sender.pooled() == pooled);
        };
        send(0, 3);
        let fields = OutputFields::parse("exporter", Arc::default()).expect("a core key");
        batchers.writing().turn_to(Writing { encode: settings.encode, fields });
        send(3, 4);
        batchers.writing().turn_to(Writing { encode: settings.encode, fields: OutputFields::default() });
        send(7, 2);
        drop(sender);
        assert_eq!(batchers.join(), [("batcher-0".to_owned(), false)]);
        let bodies = basket.taken();
        let all: Vec<u64> = bodies.iter().flat_map(serials).collect();
        assert_eq!(all, (0..9).collect::<Vec<u64>>());
        let text: String = bodies.iter().map(|batch| String::from_utf8_lossy(&batch.body).into_owned()).collect();
        assert_eq!(text.matches("\"exporter\":").count(), 4, "{text}");
    }
}
