//! Where requests go now: clients that others can take the place of.
//!
//! Enters: settings for the backends that may differ from those of before. Leaves: a [`Target`] that cannot fail to be used.
//! Promised: what is under way comes to its end with the client that it was begun with; each request begins with the newest.
//! The line, its room and its books know nothing of it.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::dispatch::WatchedEnd;
use super::http::Client;
use super::{Balance, Concurrency, SinkError, SinkSettings};
use crate::clock::Clock;
use crate::metrics::{SecretMetrics, Tally};
use crate::secret::Refresh;

/// One backend, and how it is reached.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) client: Arc<Client>,
    /// Its base URL as people may see it.
    pub(super) display: String,
}

/// The backends, in the operator's order, and how they share the work.
#[derive(Debug)]
pub struct Target {
    pub(super) backends: Vec<Backend>,
    pub(super) balance: Balance,
    /// Fewer requests at once where more only make a backend slower.
    pub(super) adaptive: bool,
}

/// The present target, shared by delivery and by whoever changes it.
#[derive(Clone)]
pub struct Aim {
    target: Arc<ArcSwap<Target>>,
    clock: Clock,
}

impl fmt::Debug for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aim").field("backends", &self.display()).finish_non_exhaustive()
    }
}

impl Aim {
    /// At the backends of `settings`.
    pub(super) fn at(settings: &SinkSettings, clock: Clock) -> Result<Self, SinkError> {
        let target = Target::new(settings, &clock)?;
        Ok(Self { target: Arc::new(ArcSwap::from_pointee(target)), clock })
    }

    /// The backends of `settings`, with their files read. Opens nothing yet.
    ///
    /// # Errors
    /// A setting that cannot stand in a request, or a file that cannot be used.
    pub fn prepare(&self, settings: &SinkSettings) -> Result<Target, SinkError> {
        Target::new(settings, &self.clock)
    }

    /// Requests go there from now on.
    pub fn turn_to(&self, target: Target) {
        self.target.store(Arc::new(target));
    }

    /// Base URLs of the backends as people may see them, with commas.
    #[must_use]
    pub fn display(&self) -> String {
        self.now().backends.iter().map(|one| one.display.as_str()).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn now(&self) -> Arc<Target> {
        self.target.load_full()
    }

    /// Values that follow files, to be read again.
    #[must_use]
    pub fn watched(&self) -> Vec<Arc<dyn Refresh>> {
        self.now().watched()
    }

    /// Certificates whose end is watched: name, end of validity (0 without one), where it shows.
    #[must_use]
    pub fn certificates(&self, metrics: &SecretMetrics) -> Vec<WatchedEnd> {
        let of_tls = |end: fn(&crate::tls::ClientSide) -> u64| {
            let aim = self.clone();
            Box::new(move || {
                let target = aim.now();
                target.backends.iter().find_map(|one| one.client.tls()).map_or(0, |tls| end(&tls.current()))
            })
        };
        let server = self.clone();
        vec![
            (
                "the client certificate ([backend] tls_cert_file)",
                of_tls(|side| side.certificate_expires),
                metrics.backend_client_expiry.clone(),
            ),
            (
                "the last authority of [backend] tls_ca_file",
                of_tls(|side| side.authorities_expire),
                // A warning is enough: what it signed ends with it, and that shows.
                Tally::default(),
            ),
            (
                "the backend's certificate",
                // Of several the one that ends first.
                Box::new(move || {
                    let target = server.now();
                    let ends = target.backends.iter().map(|one| one.client.server_expiry().value());
                    ends.filter(|end| *end > 0).min().unwrap_or(0)
                }),
                metrics.backend_server_expiry.clone(),
            ),
        ]
    }
}

impl Target {
    fn new(settings: &SinkSettings, clock: &Clock) -> Result<Self, SinkError> {
        let backends = settings.each_backend().into_iter().map(|one| {
            Ok(Backend { client: Arc::new(Client::new(&one, clock.clone())?), display: one.backend.display })
        });
        let routing = &settings.access.routing;
        let adaptive = routing.concurrency == Concurrency::Adaptive;
        Ok(Self { backends: backends.collect::<Result<_, SinkError>>()?, balance: routing.balance, adaptive })
    }

    /// How many backends there are.
    #[must_use]
    pub fn backends(&self) -> usize {
        self.backends.len()
    }

    pub(super) fn watched(&self) -> Vec<Arc<dyn Refresh>> {
        self.backends.iter().flat_map(|one| one.client.watched()).collect()
    }
}

impl SinkSettings {
    /// True if requests that were made for `self` go out as those for `other` do, to the same place.
    #[must_use]
    pub fn reaches_as(&self, other: &Self) -> bool {
        let times = |s: &Self| (s.request_timeout, s.connect_timeout, s.idle_timeout, s.connection_max_age);
        self.backend == other.backend && self.access == other.access && times(self) == times(other)
    }
}
