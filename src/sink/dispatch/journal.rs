//! What delivery tells people: state changes, each record given up, an exporter's first delivery.
//!
//! Repeating conditions are logged once a minute with how often they came. What the backend wrote
//! arrives here escaped (see `http`).

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::limits;
use crate::metrics::RecordDrop;
use crate::sink::encode::EncodedBatch;
use crate::sink::http::{Answer, Failure};
use crate::sink::retry::Fault;
use crate::throttle::Throttle;

/// What is said of one backend.
#[derive(Debug)]
struct Voice {
    name: String,
    sick: Throttle,
    /// The line about the present sickness was written, so its end is worth one too.
    sick_was_said: bool,
}

/// The voice of delivery.
#[derive(Debug)]
pub(super) struct Journal {
    backends: Vec<Voice>,
    refused: Throttle,
    poison: Throttle,
    delivered: HashSet<(Arc<str>, IpAddr), rustc_hash::FxBuildHasher>,
}

fn voices(backends: impl Iterator<Item = String>) -> Vec<Voice> {
    backends.map(|name| Voice { name, sick: Throttle::default(), sick_was_said: false }).collect()
}

impl Journal {
    pub(super) fn new(backends: impl Iterator<Item = String>) -> Self {
        Self {
            backends: voices(backends),
            refused: Throttle::default(),
            poison: Throttle::default(),
            delivered: HashSet::default(),
        }
    }

    /// Which one that is; empty for one that is none any more.
    fn name(&self, target: usize) -> &str {
        self.backends.get(target).map_or("", |voice| voice.name.as_str())
    }

    /// Requests go to `backends` from now on.
    pub(super) fn turn_to(&mut self, backends: impl Iterator<Item = String>) {
        self.backends = voices(backends);
    }

    /// A request to the backend at `target` failed for the environment's sake; `others_take` what it does not.
    pub(super) fn sick(
        &mut self,
        target: usize,
        result: &Result<Answer, Failure>,
        waiting_records: u64,
        others_take: bool,
        now: u64,
    ) {
        let Some(voice) = self.backends.get_mut(target) else { return };
        let Some(times) = voice.sick.note(now, 1) else { return };
        voice.sick_was_said = true;
        let (reason, advice) = explain(result);
        if others_take {
            tracing::warn!(
                backend = voice.name,
                reason,
                advice,
                waiting_records,
                times,
                "a backend takes no flows: the others get them, and it is asked again"
            );
            return;
        }
        tracing::warn!(
            backend = voice.name,
            reason,
            advice,
            waiting_records,
            times,
            "the backend takes no flows: they are kept and tried again"
        );
    }

    /// The backend at `target` took a batch again.
    pub(super) fn well(&mut self, target: usize, sick_ns: u64, waiting_records: u64) {
        let Some(voice) = self.backends.get_mut(target) else { return };
        if !std::mem::take(&mut voice.sick_was_said) {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a duration for people")]
        let after_seconds = sick_ns as f64 / 1e9;
        tracing::info!(backend = voice.name, after_seconds, waiting_records, "the backend takes flows again");
    }

    /// A single record was given up.
    pub(super) fn dropped(
        &mut self,
        target: usize,
        batch: &EncodedBatch,
        drop: RecordDrop,
        result: &Result<Answer, Failure>,
        now: u64,
    ) {
        let poison = drop == RecordDrop::DeliveryPoison;
        let throttle = if poison { &self.poison } else { &self.refused };
        let Some(times) = throttle.note(now, 1) else { return };
        let exporter = batch.per_exporter.first().map_or_else(String::new, |run| run.address.to_string());
        let (status, answer) = match result {
            Ok(answer) => (answer.status, answer.excerpt.as_str()),
            Err(failure) => (0, failure.detail.as_str()),
        };
        if poison {
            tracing::warn!(
                backend = self.name(target),
                status,
                exporter,
                answer,
                times,
                "the backend failed on this record again and again while it took others: the record was dropped; \
                 its own log says why"
            );
        } else {
            tracing::warn!(
                backend = self.name(target),
                status,
                exporter,
                answer,
                times,
                "the backend refused this record while it took others: the record was dropped"
            );
        }
    }

    /// A batch was delivered: says so once for each exporter.
    pub(super) fn delivered(&mut self, target: usize, batch: &EncodedBatch) {
        for run in &batch.per_exporter {
            // Past the bound nothing is learned and nothing said.
            if self.delivered.len() >= limits::EXPORTERS_MAX {
                return;
            }
            if self.delivered.insert((Arc::clone(&run.tenant), run.address)) {
                tracing::info!(
                    exporter = %run.address,
                    tenant = &*run.tenant,
                    backend = self.name(target),
                    "first flows of this exporter delivered"
                );
            }
        }
    }
}

/// What happened, and what a person can do about it.
fn explain(result: &Result<Answer, Failure>) -> (String, &'static str) {
    match result {
        Ok(answer) => {
            let status = answer.status;
            let quoted = if answer.excerpt.is_empty() { String::new() } else { format!(": {}", answer.excerpt) };
            let reason = match &answer.location {
                Some(location) => format!("HTTP {status}, redirect to {location} (not followed)"),
                None => format!("HTTP {status}{quoted}"),
            };
            let advice = match status {
                300..=399 => "set the backend's URL to where the redirect points, if you trust it",
                401 | 403 | 407 => "check the backend's access rules for this collector",
                404 | 405 => "check the base path of the backend's URL",
                413 => "the backend refuses every body as too large: make batch_size smaller, or raise its limit",
                400 | 415 | 422 => "the backend refuses everything: check that it speaks this collector's contract",
                429 => "the backend asks for a slower pace: give it more capacity or fewer flows",
                _ => "look at the backend's own log",
            };
            (reason, advice)
        }
        Err(failure) => {
            let advice = match failure.fault {
                Fault::Connect => "check that the backend runs, and host and port of its URL",
                Fault::Timeout => {
                    "the backend is slow: give it capacity, make batch_size smaller or request_timeout longer"
                }
                Fault::Reset => "the backend or a proxy before it closed the connection: look at their logs",
                Fault::Protocol => "check that the URL's port speaks HTTP: a port that speaks TLS wants https://",
                Fault::Tls => "the reason says what to change; files are read again by themselves",
                Fault::Proxy => "check [backend] proxy, or the variables that name the proxy, and the proxy's own log",
            };
            (format!("{}: {}", failure.fault.label(), failure.detail), advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_named_with_its_target() {
        let answer = Answer {
            status: 301,
            retry_after: None,
            location: Some("https://elsewhere/".to_owned()),
            date: None,
            excerpt: "moved".to_owned(),
        };
        let (reason, advice) = explain(&Ok(answer));
        assert!(reason.contains("301") && reason.contains("https://elsewhere/"), "{reason}");
        assert!(advice.contains("URL"), "{advice}");
    }
}
