//! An answer before it becomes HTTP: status, type and body, with the headers that all answers share.
//!
//! Nothing is stored, framed, sniffed or sent on: the page may run its own script and ask its own server, nothing else.
//!
//! A large body takes a permit and keeps it until its last octet is written or the connection is gone, so that slow readers cannot pile up bodies in memory.

use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{HTTP_LARGE_BODIES_MAX, HTTP_LARGE_BODY_OCTETS};
use crate::metrics::WebMetrics;

pub(super) const JSON: &str = "application/json";
pub(super) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const SCRIPT: &str = "text/javascript; charset=utf-8";
pub(super) const STYLE: &str = "text/css; charset=utf-8";

/// pcapng has no registered type of its own.
pub(super) const CAPTURE: &str = "application/octet-stream";

/// What the page may do. Its script and style are files of their own, so that nothing inline has to be allowed; what
/// came from the wire cannot become markup even by a mistake of ours (Trusted Types).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// Paths of the contract, as the 404 and the page list them.
pub(super) const PATHS: [&str; 12] = [
    "/",
    "/health",
    "/livez",
    "/healthz",
    "/readyz",
    "/metrics",
    "/metrics/prometheus",
    "/metrics/exporters",
    "/api/v1/status",
    "/api/v1/ledger",
    "/api/v1/exporters",
    "/api/v1/rejected.pcap",
];

/// Status, type and body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
    /// The Accept header had a say.
    pub(super) varies: bool,
    /// Seconds after which asking again makes sense.
    pub(super) retry_after: Option<u64>,
}

impl Answer {
    pub(super) fn json(status: StatusCode, value: &Value) -> Self {
        let mut body = value.to_string();
        body.push('\n');
        Self { status, content_type: JSON, body: body.into(), varies: false, retry_after: None }
    }

    pub(super) fn ok(value: &Value) -> Self {
        Self::json(StatusCode::OK, value)
    }

    pub(super) fn text(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, content_type, body: body.into(), varies: false, retry_after: None }
    }

    /// What was wrong with the request, for people.
    pub(super) fn bad_request(error: &str) -> Self {
        Self::json(StatusCode::BAD_REQUEST, &json!({ "error": error }))
    }

    pub(super) fn not_found(error: &str) -> Self {
        Self::json(StatusCode::NOT_FOUND, &json!({ "error": error, "paths": PATHS }))
    }

    /// It is here, and not for everybody.
    pub(super) fn forbidden(error: &str) -> Self {
        Self::json(StatusCode::FORBIDDEN, &json!({ "error": error }))
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::json(StatusCode::METHOD_NOT_ALLOWED, &json!({ "error": "only GET and HEAD are answered here" }))
    }

    /// The token is missing or wrong.
    pub(super) fn unauthorized() -> Self {
        let error = "this path asks for the token of [http] token_file: send it as Authorization: Bearer";
        Self::json(StatusCode::UNAUTHORIZED, &json!({ "error": error }))
    }

    /// Too often; `wait_ns` is until it makes sense again.
    pub(super) fn too_many(error: &str, wait_ns: u64) -> Self {
        let answer = Self::json(StatusCode::TOO_MANY_REQUESTS, &json!({ "error": error }));
        Self { retry_after: Some(wait_ns.div_ceil(1_000_000_000).max(1)), ..answer }
    }

    fn busy() -> Self {
        let error = "too many large answers are on their way: ask again in a second";
        let answer = Self::json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": error }));
        Self { retry_after: Some(1), ..answer }
    }
}

/// Bounds the large bodies that are on their way.
#[derive(Debug, Clone)]
pub(super) struct BodyBound(Arc<Semaphore>);

impl BodyBound {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(HTTP_LARGE_BODIES_MAX)))
    }

    /// The HTTP form of `answer`, or 503 where a large one has no place. `head` leaves the body out
    /// and keeps its length in the headers.
    pub(super) fn response(&self, answer: Answer, head: bool, metrics: &WebMetrics) -> Response<Full<Bytes>> {
        let mut answer = answer;
        if !head && answer.body.len() > HTTP_LARGE_BODY_OCTETS {
            if let Ok(permit) = Arc::clone(&self.0).try_acquire_owned() {
                answer.body = Bytes::from_owner(Permitted { octets: answer.body, _permit: permit });
            } else {
                metrics.refused_snapshots.add(1);
                answer = Answer::busy();
            }
        }
        let length = answer.body.len();
        let body = if head { Bytes::new() } else { answer.body };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = answer.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
        headers.insert(header::CONTENT_LENGTH, length.into());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
        if answer.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        if answer.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"clarion-collector\""));
        }
        if answer.varies {
            headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        }
        if answer.content_type == HTML {
            headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        }
        if answer.content_type == CAPTURE {
            let name = HeaderValue::from_static("attachment; filename=\"rejected.pcapng\"");
            headers.insert(header::CONTENT_DISPOSITION, name);
        }
        if let Some(seconds) = answer.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// A large body's octets with the permit that lets them be there. The permit sits in the buffer
/// itself: the connection lets go of a body as soon as it has queued the octets.
struct Permitted {
    octets: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Permitted {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Metrics, Shape};

    #[test]
    fn slow_readers_cannot_pile_up_large_bodies() {
        let shape = Shape { listeners: vec![], workers: 1, batchers: 1, sink: "backend", instance: String::new() };
        let metrics = Metrics::new(&shape).web();
        let bound = BodyBound::new();
        let large = || Answer::text(PROMETHEUS, vec![b'x'; HTTP_LARGE_BODY_OCTETS + 1]);
        let mut on_their_way: Vec<_> =
            (0..HTTP_LARGE_BODIES_MAX).map(|_| bound.response(large(), false, &metrics)).collect();
        assert!(on_their_way.iter().all(|r| r.status() == StatusCode::OK));

        let refused = bound.response(large(), false, &metrics);
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
        assert_eq!(metrics.refused_snapshots.value(), 1);
        let small = bound.response(Answer::text(PROMETHEUS, "x"), false, &metrics);
        assert_eq!(small.status(), StatusCode::OK, "small answers always have a place");
        let head = bound.response(large(), true, &metrics);
        assert_eq!(head.headers()[header::CONTENT_LENGTH], (HTTP_LARGE_BODY_OCTETS + 1).to_string());

        on_their_way.pop();
        assert_eq!(bound.response(large(), false, &metrics).status(), StatusCode::OK);
    }
}
