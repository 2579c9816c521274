//! What delivery says of each backend: series under a `sink` label of its own, and a picture for the status API.
//!
//! The first backend's label is `backend`, the others' `backend-2`, `backend-3` and so on: places in the operator's
//! list, never the URL, which is long, changes, and may hold what nobody should see. What stands under `backend`
//! and belongs to delivery as a whole is not repeated for the others.

use std::sync::{Arc, Mutex, PoisonError};

use super::handles::REQUEST_CODES;
use super::{Registrar, Tally};
use crate::limits;

/// States of a backend, in the order of [`BackendMetrics::state`].
pub const BACKEND_STATES: [&str; 3] = ["closed", "open", "half_open"];

/// One backend's handles.
#[derive(Debug, Clone)]
pub struct BackendMetrics {
    /// Finished requests, in the order of `REQUEST_CODES`.
    pub requests: Vec<Tally>,
    /// Records in requests that were accepted.
    pub records: Tally,
    /// Requests under way (a level).
    pub in_flight: Tally,
    /// Requests that may be under way now (a level).
    pub limit: Tally,
    states: [Tally; 3],
    picture: Arc<Mutex<BackendPicture>>,
}

/// A backend as people see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackendPicture {
    /// Its base URL without credentials.
    pub url: String,
    /// Place in `BACKEND_STATES`.
    pub state: usize,
    /// Since when it takes batches, or takes none, Unix nanoseconds; 0 before anything was sent to it.
    pub since_ns: u64,
    /// When a request failed last, Unix nanoseconds, and how, escaped.
    pub last_error: Option<(u64, String)>,
}

/// The backends, in the operator's order. Written at start (and when the list changes), read by the HTTP side.
#[derive(Debug, Clone, Default)]
pub struct Backends(Arc<Mutex<Vec<BackendMetrics>>>);

impl BackendMetrics {
    pub(super) fn register(r: &mut Registrar<'_>, sink: &str) -> Self {
        let own = || ("sink", sink.to_owned());
        let metrics = Self {
            requests: REQUEST_CODES
                .map(|code| r.counter("delivery_requests_total", &[own(), ("code", code.to_owned())]))
                .into(),
            records: r.counter("backend_records_accepted_total", &[own()]),
            in_flight: r.level_u64("requests_in_flight", &[own()]),
            limit: r.level_u64("requests_limit", &[own()]),
            states: BACKEND_STATES.map(|state| r.level_u64("backend_state", &[own(), ("state", state.to_owned())])),
            picture: Arc::default(),
        };
        metrics.states[0].set(1);
        metrics
    }

    /// Handles that no scrape shows: for a backend that no series were made for.
    #[must_use]
    pub fn unseen() -> Self {
        Self {
            requests: REQUEST_CODES.map(|_| Tally::default()).into(),
            records: Tally::default(),
            in_flight: Tally::default(),
            limit: Tally::default(),
            states: Default::default(),
            picture: Arc::default(),
        }
    }

    /// Counts a finished request under `code` (a status or a kind of failure).
    pub fn request(&self, code: &str) {
        let other = REQUEST_CODES.iter().position(|c| *c == "other").unwrap_or(0);
        let index = REQUEST_CODES.iter().position(|c| *c == code).unwrap_or(other);
        self.requests[index].add(1);
    }

    /// It is in this state (a place in `BACKEND_STATES`) at `unix_ns`.
    pub fn state(&self, state: usize, unix_ns: u64) {
        if self.states[state].value() == 1 {
            return;
        }
        for (index, tally) in self.states.iter().enumerate() {
            tally.set(u64::from(index == state));
        }
        let mut picture = self.lock();
        // To and fro between open and half open it is sick all the time.
        if picture.state == 0 || state == 0 {
            picture.since_ns = unix_ns;
        }
        picture.state = state;
    }

    /// A request to it failed at `unix_ns`.
    pub fn failed(&self, error: &str, unix_ns: u64) {
        let mut end = error.len().min(limits::BACKEND_ERROR_OCTETS_MAX);
        while !error.is_char_boundary(end) {
            end -= 1;
        }
        self.lock().last_error = Some((unix_ns, error[..end].to_owned()));
    }

    /// Whose series these are, from `unix_ns` on.
    pub fn name(&self, url: &str, unix_ns: u64) {
        let mut picture = self.lock();
        (picture.url, picture.since_ns) = (url.to_owned(), unix_ns);
    }

    /// The operator's list has no such place any more.
    pub fn gone(&self) {
        self.states.iter().chain([&self.in_flight, &self.limit]).for_each(|tally| tally.set(0));
        *self.lock() = BackendPicture::default();
    }

    /// What people see.
    #[must_use]
    pub fn picture(&self) -> BackendPicture {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BackendPicture> {
        self.picture.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backends {
    /// Label of the backend at `index`.
    #[must_use]
    pub fn label(index: usize) -> String {
        if index == 0 { "backend".to_owned() } else { format!("backend-{}", index + 1) }
    }

    pub(super) fn push(&self, backend: BackendMetrics) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(backend);
    }

    /// Those that the operator's list has now.
    #[must_use]
    pub fn present(&self) -> Vec<BackendMetrics> {
        self.all().into_iter().filter(|backend| !backend.lock().url.is_empty()).collect()
    }

    /// All that have series.
    #[must_use]
    pub fn all(&self) -> Vec<BackendMetrics> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Metrics, Shape};

    #[test]
    fn each_backend_has_its_series_and_its_picture() {
        let metrics = Metrics::new(&Shape {
            listeners: vec![],
            workers: 0,
            batchers: 0,
            sink: "backend",
            instance: "test".into(),
        });
        metrics.backends(2);
        metrics.backends(2);
        let all = metrics.sink().backends.all();
        assert_eq!(all.len(), 2, "asked twice, made once");
        all[1].request("503");
        all[1].request("strange");
        all[1].state(1, 7);
        all[1].state(2, 9);
        all[1].failed(&"\u{e4}".repeat(1_000), 8);
        let text = metrics.render();
        for line in [
            "delivery_requests_total{sink=\"backend\",code=\"503\"} 0",
            "delivery_requests_total{sink=\"backend-2\",code=\"503\"} 1",
            "delivery_requests_total{sink=\"backend-2\",code=\"other\"} 1",
            "backend_state{sink=\"backend\",state=\"closed\"} 1",
            "backend_state{sink=\"backend-2\",state=\"closed\"} 0",
            "backend_state{sink=\"backend-2\",state=\"half_open\"} 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        let picture = all[1].picture();
        assert_eq!((picture.state, picture.since_ns), (2, 7), "sick since it was open first");
        assert!(picture.last_error.is_some_and(|(at, text)| at == 8 && text.len() == 512));
        all[1].state(0, 11);
        assert_eq!(all[1].picture().since_ns, 11);
    }
}
