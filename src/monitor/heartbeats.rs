//! Liveness: whether our own threads turn, and nothing else.
//!
//! In go the heartbeats that each thread writes once a turn, out come the names of those that stand
//! still. Asked by `/livez` directly, so that a monitor that stands still shows as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::MonitorInputs;
use crate::clock::Clock;
use crate::limits::HEARTBEAT_STALE_S;
use crate::metrics::Tally;

/// The heartbeats of all threads; cheap to clone.
#[derive(Debug, Clone)]
pub struct Heartbeats {
    clock: Clock,
    started_ns: u64,
    beats: Arc<[(String, Tally)]>,
    draining: Arc<AtomicBool>,
}

impl Heartbeats {
    pub(super) fn new(inputs: &MonitorInputs, own: Tally, draining: Arc<AtomicBool>) -> Self {
        let workers = inputs.metrics.workers().iter().map(|w| w.heartbeat_ns.clone());
        let workers = workers.enumerate().map(|(i, beat)| (format!("worker-{i}"), beat));
        let batchers = inputs.metrics.batchers().iter().map(|b| b.heartbeat_ns.clone());
        let batchers = batchers.enumerate().map(|(i, beat)| (format!("batcher-{i}"), beat));
        let others = inputs.heartbeats.iter().cloned().chain([("monitor".to_owned(), own)]);
        Self {
            clock: inputs.clock.clone(),
            started_ns: inputs.clock.monotonic_ns(),
            beats: workers.chain(batchers).chain(others).collect(),
            draining,
        }
    }

    /// Names of the threads without a heartbeat for 10 s; none during the drain, when threads end.
    #[must_use]
    pub fn stale(&self) -> Vec<String> {
        if self.draining.load(Ordering::Acquire) {
            return Vec::new();
        }
        let now = self.clock.monotonic_ns();
        // A thread that has not turned yet has the same time, counted from the start.
        let age = |beat: &Tally| now.saturating_sub(beat.value().max(self.started_ns));
        let stale = self.beats.iter().filter(|(_, beat)| age(beat) > HEARTBEAT_STALE_S * 1_000_000_000);
        stale.map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::{Metrics, Shape};

    const S: u64 = 1_000_000_000;

    #[test]
    fn threads_that_stand_still_are_named() {
        let shape =
            Shape { listeners: vec!["2055".into()], workers: 2, batchers: 1, sink: "backend", instance: "test".into() };
        let (clock, hand) = Clock::manual(0);
        hand.advance(1_000 * S);
        let other = Tally::default();
        let inputs = MonitorInputs {
            metrics: Metrics::new(&shape),
            clock: clock.clone(),
            maintain: Box::new(|_| {}),
            listeners: vec![],
            silence_hint: Duration::ZERO,
            heartbeats: vec![("dispatch".into(), other.clone())],
        };
        let (own, draining) = (Tally::default(), Arc::new(AtomicBool::new(false)));
        let heartbeats = Heartbeats::new(&inputs, own.clone(), Arc::clone(&draining));
        let metrics = &inputs.metrics;
        let beat = |names: &[&str]| {
            let now = clock.monotonic_ns();
            for name in names {
                match *name {
                    "worker-0" => metrics.worker(0).heartbeat_ns.set(now),
                    "worker-1" => metrics.worker(1).heartbeat_ns.set(now),
                    "batcher-0" => metrics.batcher(0).heartbeat_ns.set(now),
                    "dispatch" => other.set(now),
                    _ => own.set(now),
                }
            }
        };
        hand.advance(10 * S);
        assert!(heartbeats.stale().is_empty(), "a start may take its time");
        hand.advance(1);
        assert_eq!(heartbeats.stale(), ["worker-0", "worker-1", "batcher-0", "dispatch", "monitor"]);
        beat(&["worker-0", "batcher-0", "dispatch", "monitor"]);
        assert_eq!(heartbeats.stale(), ["worker-1"]);
        beat(&["worker-1"]);
        hand.advance(9 * S);
        beat(&["worker-0", "worker-1", "batcher-0", "dispatch"]);
        hand.advance(2 * S);
        assert_eq!(heartbeats.stale(), ["monitor"]);
        draining.store(true, Ordering::Release);
        hand.advance(100 * S);
        assert!(heartbeats.stale().is_empty(), "in the drain threads may end");
    }
}
