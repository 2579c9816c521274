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
