//! The backends as dispatch holds them: a client, series and a picture each.
//!
//! Enters: settings, what became of requests, the state of each route. Leaves: clients, metrics, what people are
//! told. Promised: which is which is a place in the operator's list, the same here, in `route` and in the metrics;
//! what is shown of a backend holds no credentials.

use std::sync::Arc;

use super::breaker::State;
use super::route::{Routes, Sharing};
use crate::clock::Clock;
use crate::metrics::{BackendMetrics, SinkMetrics};
use crate::secret::Refresh;
use crate::sink::http::{Answer, Client, Failure};
use crate::sink::target::Target;

/// The present target with what is shown of each backend.
pub(super) struct Targets {
    target: Arc<Target>,
    series: Vec<BackendMetrics>,
}

impl Targets {
    /// Those of `target`; opens nothing yet.
    pub(super) fn of(target: Arc<Target>, metrics: &SinkMetrics, clock: &Clock) -> Self {
        let mut known = metrics.backends.all().into_iter();
        let series = target.backends.iter().map(|one| {
            let series = known.next().unwrap_or_else(BackendMetrics::unseen);
            series.name(&one.display, clock.unix_ns());
            series
        });
        let series = series.collect();
        known.for_each(|gone| gone.gone());
        Self { target, series }
    }

    /// True if requests go to `target`.
    pub(super) fn are(&self, target: &Arc<Target>) -> bool {
        Arc::ptr_eq(&self.target, target)
    }

    /// How they share the work.
    pub(super) fn sharing(&self) -> Sharing {
        Sharing { backends: self.target.backends.len(), balance: self.target.balance, adaptive: self.target.adaptive }
    }

    /// What they are called, without credentials.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        self.target.backends.iter().map(|one| one.display.clone())
    }

    pub(super) fn client(&self, index: usize) -> Arc<Client> {
        Arc::clone(&self.target.backends[index].client)
    }

    /// Idle and old connections are closed.
    pub(super) fn sweep(&self) {
        self.target.backends.iter().for_each(|one| one.client.sweep());
    }

    /// What follows files.
    pub(super) fn watched(&self) -> Vec<Arc<dyn Refresh>> {
        self.target.watched()
    }

    /// A request to `index` with `records` ended at `unix_ns`.
    pub(super) fn note(&self, index: usize, records: u32, result: &Result<Answer, Failure>, unix_ns: u64) {
        let metrics = &self.series[index];
        match result {
            Ok(answer) => {
                metrics.request(itoa::Buffer::new().format(answer.status));
                if (200..300).contains(&answer.status) {
                    metrics.records.add(u64::from(records));
                } else {
                    metrics.failed(format!("HTTP {} {}", answer.status, answer.excerpt).trim_end(), unix_ns);
                }
            }
            Err(failure) => {
                metrics.request(failure.fault.label());
                metrics.failed(&format!("{}: {}", failure.fault.label(), failure.detail), unix_ns);
            }
        }
    }

    /// What `routes` does with each of them.
    pub(super) fn publish(&self, routes: &Routes, unix_ns: u64) {
        for (series, way) in self.series.iter().zip(routes.iter()) {
            let state = match way.breaker.state() {
                State::Closed => 0,
                State::Open => 1,
                State::HalfOpen => 2,
            };
            series.state(state, unix_ns);
            series.in_flight.set(way.under_way as u64);
            series.limit.set(way.pace.limit() as u64);
        }
    }
}
