//! SIGHUP: the configuration is read again and taken up while everything runs.
//!
//! Enters: a wish, of which one waits at most. Leaves: new decisions in every stage, one log line that names what changed, and
//! how it went for the status API. Promised: all that can fail (reading, checking, rules, files of secrets and certificates)
//! comes before the first change, so a configuration is taken up whole or not at all; what only a restart changes is
//! named and stays. It happens on a thread of its own: a file system that hangs costs neither a signal nor the path.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, thread};

use super::{Course, Running};
use crate::clock::Clock;
use crate::collect::{self, ExporterTable, Followed, Policy};
use crate::config::{self, ConfigErrors, Loaded, Reload};
use crate::logging::{self, NewLevel};
use crate::metrics::{Books, ConfigMetrics, Metrics};
use crate::notify::Notifier;
use crate::queue::{Writing, WritingNow};
use crate::sink::{Aim, Target};
use crate::web::ConfigRow;

const NS_PER_S: u64 = 1_000_000_000;

/// What a configuration reaches while everything runs.
#[derive(Debug)]
struct Reach {
    table: Arc<ExporterTable>,
    writing: WritingNow,
    /// None where nothing goes to a backend.
    aim: Option<Aim>,
    instance: String,
    /// Where series for further backends are made.
    series: Arc<Metrics>,
}

/// How the last one went, for onlookers.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome(Arc<Mutex<ConfigRow>>);

/// The thread's own.
struct Reloader {
    running: Loaded,
    reach: Reach,
    outcome: Outcome,
    metrics: ConfigMetrics,
    books: Books,
    clock: Clock,
    course: Arc<Course>,
    notifier: Notifier,
}

impl Running {
    /// Reads the configuration again for each of `wishes` from now on; `loaded` is the one that was started with.
    pub(super) fn heed_hangups(&self, loaded: Loaded, wishes: Receiver<()>) -> io::Result<()> {
        let reach = Reach {
            table: Arc::clone(&self.table),
            writing: self.batchers.writing(),
            aim: self.sink.aim(),
            instance: self.instance.clone(),
            series: Arc::clone(&self.metrics),
        };
        let (metrics, books) = (self.metrics.config(), self.metrics.books.clone());
        let (outcome, course) = (self.outcome.clone(), Arc::clone(&self.course));
        let (clock, notifier) = (self.clock.clone(), self.notifier.clone());
        let reloader = Reloader { running: loaded, reach, outcome, metrics, books, clock, course, notifier };
        reloader.start(wishes)
    }
}

/// Everything that is to be exchanged, made and checked.
struct Prepared {
    level: Option<NewLevel>,
    policy: Option<Policy>,
    writing: Option<Writing>,
    target: Option<Target>,
}

impl Outcome {
    /// A configuration was taken up at the start, at `at_ns`.
    pub fn started(at_ns: u64) -> Self {
        Self(Arc::new(Mutex::new(ConfigRow { taken_up_ns: at_ns, error: None, restart: Vec::new() })))
    }

    pub fn now(&self) -> ConfigRow {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, change: impl FnOnce(&mut ConfigRow)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Reloader {
    /// Reads the configuration again for each of `wishes`, until nobody can wish any more.
    ///
    /// # Errors
    /// The system refuses a thread.
    fn start(mut self, wishes: Receiver<()>) -> io::Result<()> {
        thread::Builder::new().name("reload".into()).spawn(move || {
            while wishes.recv().is_ok() {
                if self.course.is_draining() {
                    tracing::info!("SIGHUP while draining: the configuration is not read again");
                    continue;
                }
                self.notifier.reloading(collect::monotonic_us());
                if catch_unwind(AssertUnwindSafe(|| self.again())).is_err() {
                    self.refused("a defect of ours, which the line before this one tells; please report it");
                }
                // In any case: a manager that waits for the end must not take the service for dead.
                self.notifier.ready(match self.outcome.now().error {
                    None => "configuration read again",
                    Some(_) => "configuration read again and refused: everything stays as it was; see the log",
                });
            }
        })?;
        Ok(())
    }

    fn again(&mut self) {
        match config::reload(&self.running, config::variables_here()) {
            Err(errors) => self.refused(&one_line(&errors)),
            Ok(reload) => match self.prepare(&reload) {
                Err(why) => self.refused(&why),
                Ok(prepared) => self.take_up(reload, prepared),
            },
        }
    }

    /// Makes all that is new; nothing has changed if this fails.
    fn prepare(&self, reload: &Reload) -> Result<Prepared, String> {
        let (old, new) = (&self.running.settings, &reload.loaded.settings);
        let (collect, queue) = (&new.collect, &new.queue);
        let level = (old.log.level != new.log.level).then(|| NewLevel::parse(&new.log.level)).transpose();
        let is_same_policy = old.collect.rules == collect.rules
            && old.collect.admission == collect.admission
            && old.collect.decode == collect.decode
            && (old.collect.switch_id_from_ip, &old.collect.switch_id)
                == (collect.switch_id_from_ip, &collect.switch_id);
        let policy = (!is_same_policy).then(|| self.reach.table.prepare(collect)).transpose()?;
        let is_same_writing = old.queue.encode == queue.encode && old.queue.fields == queue.fields;
        let writing = (!is_same_writing).then(|| Writing { encode: queue.encode, fields: queue.fields.clone() });
        let mut sink = new.sink.clone();
        sink.instance.clone_from(&self.reach.instance);
        let aim = self.reach.aim.as_ref().filter(|_| !old.sink.reaches_as(&sink));
        let target = aim.map(|aim| aim.prepare(&sink)).transpose().map_err(|error| error.to_string())?;
        Ok(Prepared { level: level.map_err(|error| error.to_string())?, policy, writing, target })
    }

    /// Exchanges everything; nothing of it can fail.
    fn take_up(&mut self, reload: Reload, prepared: Prepared) {
        let Reload { loaded, changed, restart } = reload;
        let Prepared { level, policy, writing, target } = prepared;
        // Before what is decoded for it comes: a batch that lacks a field goes out without it, either way.
        if let Some(writing) = writing {
            self.reach.writing.turn_to(writing);
        }
        let followed = policy.map(|policy| self.reach.table.follow(policy)).unwrap_or_default();
        if let (Some(aim), Some(target)) = (&self.reach.aim, target) {
            self.reach.series.backends(target.backends());
            aim.turn_to(target);
        }
        if let Some(level) = level {
            logging::set_level(level);
        }
        let now_ns = self.clock.unix_ns();
        self.books.config_ok.set(1.0);
        self.metrics.used.add(1);
        self.metrics.taken_up_at.set(now_ns / NS_PER_S);
        self.metrics.need_restart.set(restart.len() as u64);
        logging::write_notes(&loaded.notes);
        tell(&changed, &restart, followed);
        self.outcome.note(|row| *row = ConfigRow { taken_up_ns: now_ns, error: None, restart });
        let notes = std::mem::take(&mut self.running.notes);
        self.running = loaded;
        // What was said is not said again with each reload.
        self.running.notes.extend(notes);
    }

    fn refused(&self, why: &str) {
        self.books.config_ok.set(0.0);
        self.metrics.refused.add(1);
        tracing::error!(why, "the configuration was read again and cannot be used: everything stays as it was");
        self.outcome.note(|row| row.error = Some(why.to_owned()));
    }
}

fn tell(changed: &[String], restart: &[String], followed: Followed) {
    if changed.is_empty() {
        tracing::info!("configuration read again: nothing new that a running process takes up");
    } else {
        let Followed { exporters, domains_forgotten, sets_dropped } = followed;
        let changed = changed.join(", ");
        tracing::info!(changed, exporters, domains_forgotten, sets_dropped, "configuration read again and taken up");
    }
    if !restart.is_empty() {
        tracing::warn!(
            restart = restart.join(", "),
            "the configuration has changes that need a restart: the old values stay in use until then"
        );
    }
}

fn one_line(errors: &ConfigErrors) -> String {
    errors.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
