//! Settings, metrics and outlets for tests of the queue and of outlets.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Outlet, QueueSettings};
use crate::metrics::{Metrics, Shape};
use crate::sink::encode::{Counters, EncodeSettings, EncodedBatch, Format, OutputFields};

/// Backend JSON, one batcher, bodies of ten records that wait for five seconds.
pub(crate) fn settings(queue_batches: usize, flow_batch_records: usize) -> QueueSettings {
    QueueSettings {
        queue_batches,
        flow_batch_records,
        batchers: 1,
        batch_size: 10,
        batch_interval: Duration::from_secs(5),
        encode: EncodeSettings { format: Format::BackendJson, extra_keys: false, counters: Counters::Raw },
        fields: OutputFields::default(),
    }
}

/// Metrics of an App with two workers and as many batchers as asked.
pub(crate) fn metrics(batchers: usize) -> Arc<Metrics> {
    Metrics::new(&Shape {
        listeners: vec!["0".to_owned()],
        workers: 2,
        batchers,
        sink: "test",
        instance: "test".to_owned(),
    })
}

/// Waits until `done`; a test that waits for longer than ten seconds has failed.
pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not come within ten seconds");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What an outlet does with an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Takes it, and counts it as delivered.
    Take,
    /// Gives it back.
    Refuse,
    /// Panics.
    Panic,
}

/// Keeps what it takes.
#[derive(Debug)]
pub(crate) struct Basket {
    metrics: Arc<Metrics>,
    mood: Mutex<Mood>,
    taken: Mutex<Vec<EncodedBatch>>,
}

impl Basket {
    pub(crate) fn new(metrics: &Arc<Metrics>) -> Arc<Self> {
        let (mood, taken) = (Mutex::new(Mood::Take), Mutex::default());
        Arc::new(Self { metrics: Arc::clone(metrics), mood, taken })
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        *self.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    }

    /// Records of each batch taken, in their order.
    pub(crate) fn sizes(&self) -> Vec<u32> {
        self.taken().iter().map(|b| b.records).collect()
    }

    pub(crate) fn taken(&self) -> Vec<EncodedBatch> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Outlet for Basket {
    fn offer(&self, batch: EncodedBatch) -> Result<(), EncodedBatch> {
        let mood = *self.mood.lock().unwrap_or_else(PoisonError::into_inner);
        match mood {
            Mood::Take => {
                self.metrics.books.delivered.add(u64::from(batch.records));
                self.taken.lock().unwrap_or_else(PoisonError::into_inner).push(batch);
                Ok(())
            }
            Mood::Refuse => Err(batch),
            Mood::Panic => panic!("an outlet panics because a test wants it"),
        }
    }
}
