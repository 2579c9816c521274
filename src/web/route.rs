//! Path and method -> answer, if the door lets the request pass. No socket here: the whole of it runs in a unit test.
//!
//! The picture of the exporters is kept for SNAPSHOT_AGE_MS, so that however many readers poll, the
//! table is walked a few times a second at most.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Request, Response, StatusCode, header};
use serde_json::json;

use super::accept::{Format, negotiate};
use super::answer::{Answer, BodyBound, CAPTURE, HTML, PROMETHEUS, SCRIPT, STYLE};
use super::door::{Class, Door};
use super::picture::Picture;
use super::{Sources, duplicates, exporters, observation, status};
use crate::clock::Clock;
use crate::limits::SNAPSHOT_AGE_MS;
use crate::metrics::WebMetrics;
use crate::throttle::Throttle;

const PAGE: &str = include_str!("page.html");
const PAGE_SCRIPT: &str = include_str!("page.js");
const PAGE_STYLE: &str = include_str!("page.css");

/// All that an answer is made of; one per server.
pub(super) struct Desk {
    sources: Sources,
    clock: Clock,
    metrics: WebMetrics,
    started_unix_ns: u64,
    started_ns: u64,
    bound: BodyBound,
    door: Door,
    handshakes: Throttle,
    picture: Mutex<Option<(u64, Arc<Picture>)>>,
}

impl Desk {
    pub(super) fn new(sources: Sources, door: Door, clock: Clock) -> Self {
        Self {
            metrics: sources.metrics.web(),
            started_unix_ns: clock.unix_ns(),
            started_ns: clock.monotonic_ns(),
            bound: BodyBound::new(),
            door,
            handshakes: Throttle::default(),
            picture: Mutex::new(None),
            sources,
            clock,
        }
    }

    pub(super) const fn metrics(&self) -> &WebMetrics {
        &self.metrics
    }

    pub(super) const fn door(&self) -> &Door {
        &self.door
    }

    /// A connection came to nothing before it could ask anything.
    pub(super) fn note_handshake(&self, peer: IpAddr, why: &str) {
        self.metrics.refused_tls.add(1);
        if let Some(times) = self.handshakes.note(self.now_ns(), 1) {
            tracing::warn!(%peer, why, times, "TLS handshakes on the HTTP side failed; peer and cause are the last one's");
        }
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.clock.monotonic_ns()
    }

    /// The answer in HTTP's form. The request's body is not looked at: hyper ends the connection behind the answer if
    /// one is still to come.
    pub(super) fn respond<B>(&self, request: &Request<B>, peer: IpAddr) -> Response<Full<Bytes>> {
        let head = request.method() == Method::HEAD;
        self.bound.response(self.answer(request, peer), head, &self.metrics)
    }

    fn answer<B>(&self, request: &Request<B>, peer: IpAddr) -> Answer {
        let path = request.uri().path();
        let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
        let (class, answer) = match path {
            "/" | "" => (Class::Public, Some(Self::page as fn(&Self, &Request<B>) -> Answer)),
            "/page.js" => (Class::Public, Some(Self::script as _)),
            "/page.css" => (Class::Public, Some(Self::style as _)),
            "/health" => (Class::Health, Some(Self::health as _)),
            "/livez" | "/healthz" => (Class::Health, Some(Self::live as _)),
            "/readyz" => (Class::Health, Some(Self::ready as _)),
            "/metrics" => (Class::Metrics, Some(Self::negotiated as _)),
            "/metrics/prometheus" => (Class::Metrics, Some(Self::prometheus as _)),
            "/metrics/exporters" => (Class::Metrics, Some(Self::scrape_exporters as _)),
            "/api/v1/status" => (Class::Guarded, Some(Self::status as _)),
            "/api/v1/ledger" => (Class::Guarded, Some(Self::ledger as _)),
            "/api/v1/duplicates" => (Class::Guarded, Some(Self::duplicates as _)),
            "/api/v1/rejected.pcap" => (Class::Guarded, Some(Self::rejected as _)),
            "/api/v1/exporters" => (Class::Guarded, Some(Self::list as _)),
            _ if path.strip_prefix("/api/v1/exporters/").is_some_and(|rest| !rest.contains('/')) => {
                (Class::Guarded, Some(Self::one as _))
            }
            _ => (Class::Public, None),
        };
        if let Err(refusal) = self.door.pass(class, request.headers(), peer, self.now_ns(), &self.metrics) {
            return refusal;
        }
        let Some(answer) = answer else { return Answer::not_found("there is nothing at this path") };
        match *request.method() {
            Method::GET | Method::HEAD => answer(self, request),
            _ => Answer::method_not_allowed(),
        }
    }

    fn script<B>(&self, _: &Request<B>) -> Answer {
        Answer::text(SCRIPT, PAGE_SCRIPT)
    }

    fn style<B>(&self, _: &Request<B>) -> Answer {
        Answer::text(STYLE, PAGE_STYLE)
    }

    fn page<B>(&self, _: &Request<B>) -> Answer {
        Answer::text(HTML, PAGE)
    }

    fn health<B>(&self, _: &Request<B>) -> Answer {
        let health = (self.sources.health)();
        Answer::ok(&json!({
            "status": health.status,
            "service": health.service,
            "backend_url": health.backend_url,
        }))
    }

    fn live<B>(&self, _: &Request<B>) -> Answer {
        let live = (self.sources.live)();
        let status = if live.live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        Answer::json(status, &json!({ "live": live.live, "stale_threads": live.stale }))
    }

    fn ready<B>(&self, _: &Request<B>) -> Answer {
        let ready = (self.sources.ready)();
        let status = if ready.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let degraded = (self.sources.degraded)();
        Answer::json(status, &json!({ "ready": ready.ready, "reason": ready.reason, "degraded": degraded }))
    }

    fn negotiated<B>(&self, request: &Request<B>) -> Answer {
        let mut accept: Option<String> = None;
        for value in request.headers().get_all(header::ACCEPT) {
            // What is not text names neither format, as any other type that is not offered here.
            let value = value.to_str().unwrap_or("application/octet-stream");
            match &mut accept {
                Some(all) => all.extend([",", value]),
                None => accept = Some(value.to_owned()),
            }
        }
        let mut answer = match negotiate(accept.as_deref()) {
            Format::Json => Answer::ok(&status::polled(&self.sources)),
            Format::Text => self.prometheus(request),
        };
        answer.varies = true;
        answer
    }

    fn prometheus<B>(&self, _: &Request<B>) -> Answer {
        Answer::text(PROMETHEUS, self.sources.metrics.render())
    }

    fn scrape_exporters<B>(&self, _: &Request<B>) -> Answer {
        let picture = self.picture();
        exporters::scrape(&picture.rows, picture.lost_elsewhere)
    }

    fn status<B>(&self, _: &Request<B>) -> Answer {
        let uptime_ns = self.clock.monotonic_ns().saturating_sub(self.started_ns);
        Answer::ok(&status::status(&self.sources, &self.clock, self.started_unix_ns, uptime_ns))
    }

    fn ledger<B>(&self, request: &Request<B>) -> Answer {
        let (books, query) = (&self.sources.metrics.books, request.uri().query().unwrap_or(""));
        let listeners: Vec<String> = self.sources.listeners.iter().map(|(name, _)| name.clone()).collect();
        match observation::observation(&self.picture(), &listeners, books, query) {
            Ok(observation) => {
                let mut ledger = status::ledger(books, self.clock.unix_ns());
                ledger["observation"] = observation;
                Answer::ok(&ledger)
            }
            Err(error) => Answer::bad_request(&error),
        }
    }

    fn duplicates<B>(&self, request: &Request<B>) -> Answer {
        duplicates::list(&self.sources.metrics.books, request.uri().query().unwrap_or(""))
    }

    fn list<B>(&self, request: &Request<B>) -> Answer {
        exporters::list(&self.picture().rows, request.uri().query().unwrap_or(""))
    }

    fn one<B>(&self, request: &Request<B>) -> Answer {
        let path = request.uri().path().trim_end_matches('/');
        let (address, query) = (path.rsplit('/').next().unwrap_or(""), request.uri().query().unwrap_or(""));
        exporters::one(&self.sources.exporter, &self.sources.metrics.books, address, query)
    }

    fn rejected<B>(&self, _: &Request<B>) -> Answer {
        if !self.door.is_private() {
            return Answer::forbidden(
                "captures hold what was on the wire, and this port is open to whoever reaches it: set [http] token_file, \
                 or bind it to loopback ([http] bind_host = \"127.0.0.1\")",
            );
        }
        match (self.sources.rejected)() {
            Some(capture) => Answer::text(CAPTURE, capture),
            None => Answer::not_found("no datagrams are kept: set [receive] rejected_bytes above 0"),
        }
    }

    /// The exporters, no older than SNAPSHOT_AGE_MS, in the order of lists.
    fn picture(&self) -> Arc<Picture> {
        let now = self.clock.monotonic_ns();
        let mut picture = self.picture.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, kept)) = picture.as_ref().filter(|(taken, _)| is_fresh(*taken, now)) {
            return Arc::clone(kept);
        }
        let fresh = Arc::new(Picture::take(&self.sources));
        *picture = Some((now, Arc::clone(&fresh)));
        fresh
    }

    /// Gives the memory of a picture back that nobody asks for any more.
    pub(super) fn forget_old_picture(&self) {
        let now = self.clock.monotonic_ns();
        let mut picture = self.picture.lock().unwrap_or_else(PoisonError::into_inner);
        if picture.as_ref().is_some_and(|(taken, _)| !is_fresh(*taken, now)) {
            *picture = None;
        }
    }
}

const fn is_fresh(taken_ns: u64, now_ns: u64) -> bool {
    now_ns.saturating_sub(taken_ns) < SNAPSHOT_AGE_MS * 1_000_000
}
