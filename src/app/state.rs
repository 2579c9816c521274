//! Kept learned state in the process's course: loaded before the sockets are bound, written last but for the HTTP side.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::clock::Clock;
use crate::collect::LearnedTable;
use crate::metrics::Metrics;
use crate::share::{Keeper, StateReport, StateSettings, Store};

/// Time that the thread is given at the end at least: a snapshot is some megabytes at most.
const END_AT_LEAST: Duration = Duration::from_secs(1);

/// What was kept, and where it will be again.
#[derive(Debug)]
pub(super) struct OpenState(Option<Store>);

/// The thread that writes, if there is one.
#[derive(Debug)]
pub(super) struct RunningState(Option<Keeper>);

/// Finds the place of learned state, if it is to be kept. A directory that cannot be used is no error: it shows.
pub(super) fn open(settings: Option<&StateSettings>, clock: &Clock, metrics: &Metrics) -> OpenState {
    OpenState(settings.map(|settings| Store::open(settings.clone(), clock.clone(), metrics.state())))
}

impl OpenState {
    /// Teaches the table what was kept.
    pub(super) fn load(&self, table: &LearnedTable) {
        if let Some(store) = &self.0 {
            store.load(table);
        }
    }

    /// Writes from now on what the table learns.
    ///
    /// # Errors
    /// No thread.
    pub(super) fn start(self, table: LearnedTable) -> anyhow::Result<RunningState> {
        let keeper = self.0.map(|store| Keeper::start(store, Arc::new(table))).transpose().context(
            "the thread that keeps learned state cannot start; check the process's limits (ulimit -u, pids.max)",
        )?;
        Ok(RunningState(keeper))
    }
}

impl RunningState {
    /// True if its thread ended without being told to: a defect of ours.
    pub(super) fn has_ended(&self) -> bool {
        self.0.as_ref().is_some_and(Keeper::has_ended)
    }

    /// Writes what was learned last and ends; what went wrong is told in `notes`. Costs no record, so it is no fault.
    pub(super) fn finish(self, deadline: Duration, notes: &mut Vec<String>) {
        match self.0.map(|keeper| keeper.finish(deadline.max(END_AT_LEAST))) {
            None | Some(StateReport::Written) => {}
            Some(StateReport::Failed) => notes.push(
                "learned state could not be written: the next start decodes what comes after its exporters' templates"
                    .to_owned(),
            ),
            Some(StateReport::Unfinished) => {
                notes.push("writing learned state did not end, its disk does not answer".to_owned());
            }
        }
    }
}
