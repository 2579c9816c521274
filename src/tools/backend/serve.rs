//! The embedded backend's HTTP side: requests in, answers out, and the misbehaviour that was asked for.
//!
//! HTTP/1.1 and HTTP/2 (by ALPN or by prior knowledge), with or without TLS. A connection that shall be reset is closed
//! with a linger of zero, so that the peer sees what a crashed backend looks like (RST), not an orderly end; under HTTP/2
//! that takes every request of the connection with it.

use std::convert::Infallible;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use uuid::Uuid;

use super::contract::{self, Fault};
use super::door::Door;
use super::encoding::{self, Coding};
use super::journal;
use super::mood::{Mood, Plan, Reset};
use super::tally::Tally;
use crate::limits;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) tally: Mutex<Tally>,
    pub(super) mood: Mutex<Mood>,
    pub(super) out: Option<Mutex<std::fs::File>>,
    pub(super) journal: Option<Mutex<std::fs::File>>,
    pub(super) door: Door,
    /// Compressed bodies are read; the real backend answers them with 400.
    pub(super) accept_encodings: bool,
}

enum Reply {
    Answer(Response<Full<Bytes>>),
    Reset,
}

/// A peer that does not finish its handshake gives up its connection after this time.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepts connections until the runtime ends.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                tokio::spawn(converse(stream, Arc::clone(&shared)));
            }
            // Out of file descriptors, mostly: others end, then it works again.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    use std::os::fd::AsFd as _;
    // A second descriptor of the socket: whoever owns the first, this one can still say how it ends.
    let Ok(twin) = stream.as_fd().try_clone_to_owned() else { return };
    let reset = match shared.door.acceptor() {
        None => speak(stream, &shared).await,
        Some(acceptor) => {
            let handshake = tokio::time::timeout(HANDSHAKE_PATIENCE, acceptor.accept(stream));
            match handshake.await {
                Ok(Ok(stream)) => speak(stream, &shared).await,
                Ok(Err(error)) => {
                    lock(&shared.tally).totals.failed_handshakes += 1;
                    tracing::debug!(%error, "TLS handshake failed");
                    false
                }
                Err(_) => {
                    lock(&shared.tally).totals.failed_handshakes += 1;
                    false
                }
            }
        }
    };
    if reset {
        let _ = socket2::SockRef::from(&twin).set_linger(Some(Duration::ZERO));
    }
}

/// Answers requests until the peer ends the connection; true if it shall be reset.
async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shared: &Arc<Shared>) -> bool {
    let reset = Arc::new(Notify::new());
    let service = {
        let (reset, shared) = (Arc::clone(&reset), Arc::clone(shared));
        service_fn(move |request| {
            let (shared, reset) = (Arc::clone(&shared), Arc::clone(&reset));
            async move {
                match answer(&shared, request).await {
                    Reply::Answer(response) => Ok::<_, Infallible>(response),
                    Reply::Reset => {
                        reset.notify_one();
                        std::future::pending().await
                    }
                }
            }
        })
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new());
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // An error here is the peer's: it went away.
        _ = connection => false,
        () = reset.notified() => true,
    }
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Reply {
    let path = request.uri().path().trim_end_matches('/');
    match (request.method(), path) {
        (&Method::GET, "/health") => Reply::Answer(json(StatusCode::OK, &serde_json::json!({"status": "healthy"}))),
        (&Method::GET, "/stats") => {
            let stats = lock(&shared.tally).stats();
            Reply::Answer(json(StatusCode::OK, &stats))
        }
        (&Method::POST, "/mood") => Reply::Answer(change_mood(shared, request).await),
        (method, path) if path.ends_with("/api/netflow/netflow") => {
            if method == Method::POST {
                post(shared, request).await
            } else {
                Reply::Answer(detail(StatusCode::METHOD_NOT_ALLOWED, &format!("Method \"{method}\" not allowed.")))
            }
        }
        _ => Reply::Answer(detail(StatusCode::NOT_FOUND, "Not found.")),
    }
}

/// From the next request on it behaves as the body says, all of it: what is not named ends.
async fn change_mood(shared: &Shared, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if !shared.door.admits(request.headers()) {
        return unauthorized();
    }
    let body = match Limited::new(request.into_body(), limits::BACKEND_MOOD_OCTETS_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(e) => return detail(StatusCode::BAD_REQUEST, &e.to_string()),
    };
    match lock(&shared.mood).change(&body) {
        Ok(()) => json(StatusCode::OK, &serde_json::json!({})),
        Err(why) => detail(StatusCode::BAD_REQUEST, &why),
    }
}

async fn post(shared: &Shared, request: Request<Incoming>) -> Reply {
    {
        let mut tally = lock(&shared.tally);
        tally.totals.requests += 1;
        *tally.totals.http_versions.entry(version(request.version()).to_owned()).or_default() += 1;
    }
    if !shared.door.admits(request.headers()) {
        lock(&shared.tally).totals.unauthorized_requests += 1;
        return Reply::Answer(unauthorized());
    }
    let plan = lock(&shared.mood).plan();
    if plan.reset == Some(Reset::BeforeReading) {
        lock(&shared.tally).totals.failed_on_purpose += 1;
        return Reply::Reset;
    }
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, limits::BACKEND_BODY_OCTETS_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(e) if e.is::<http_body_util::LengthLimitError>() => {
            lock(&shared.tally).totals.refused_requests += 1;
            return Reply::Answer(detail(StatusCode::PAYLOAD_TOO_LARGE, "Request body too large."));
        }
        // The peer went away: nobody hears an answer.
        Err(_) => return Reply::Reset,
    };
    let mut response = decide(shared, &plan, &head.headers, &body);
    if let Some(after) = plan.retry_after.filter(|_| !response.status().is_success()) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs()));
    }
    if plan.reset == Some(Reset::AfterAccepting) {
        lock(&shared.tally).totals.failed_on_purpose += 1;
        return Reply::Reset;
    }
    if !plan.delay.is_zero() {
        tokio::time::sleep(plan.delay).await;
    }
    Reply::Answer(response)
}

fn decide(shared: &Shared, plan: &Plan, headers: &header::HeaderMap, body: &[u8]) -> Response<Full<Bytes>> {
    let on_purpose = |status: u16| {
        lock(&shared.tally).totals.failed_on_purpose += 1;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = detail(status, "Failed on purpose.");
        if status.is_redirection() {
            response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/health"));
        }
        response
    };
    let refused = |status, why: &str| {
        lock(&shared.tally).totals.refused_requests += 1;
        detail(status, why)
    };
    if let (Some(status), None) = (plan.status, plan.fail_above) {
        return on_purpose(status);
    }
    let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
    if !text(header::CONTENT_TYPE).is_some_and(|t| t.trim_start().starts_with("application/json")) {
        return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported media type: send application/json.");
    }
    let coding = match headers.get(header::CONTENT_ENCODING).map(|value| Coding::of(value.as_bytes())) {
        None | Some(Some(Coding::Identity)) => Coding::Identity,
        Some(_) if !shared.accept_encodings => {
            return refused(StatusCode::BAD_REQUEST, "JSON parse error: compressed bodies are not read.");
        }
        Some(Some(coding)) => coding,
        Some(None) => {
            let mut response = refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported encoding: send gzip or zstd.");
            response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd"));
            return response;
        }
    };
    let body = match encoding::decode(coding, body) {
        Ok(body) => body,
        Err(encoding::Fault::TooLarge) => {
            return refused(StatusCode::PAYLOAD_TOO_LARGE, "Request body too large once it is decompressed.");
        }
        Err(encoding::Fault::Broken(why)) => return refused(StatusCode::BAD_REQUEST, &why),
    };
    let body = body.as_ref();
    let records = match contract::read(body) {
        Ok(records) => records,
        Err(Fault::Refused(why)) => return refused(StatusCode::BAD_REQUEST, &why),
        Err(Fault::Overflow(why)) => return refused(StatusCode::INTERNAL_SERVER_ERROR, &why),
    };
    if let (Some(status), Some(above)) = (plan.status, plan.fail_above)
        && records.len() > above
    {
        return on_purpose(status);
    }
    if plan.poison.is_some_and(|serial| records.iter().any(|r| r.bytes() == serial)) {
        return on_purpose(plan.poison_status);
    }
    // A key that is no UUID is folded to one: 16 octets each, whatever a client sends.
    let key = headers.get("idempotency-key").map(|key| match key.to_str().map(Uuid::try_parse) {
        Ok(Ok(uuid)) => uuid,
        _ => Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_bytes()),
    });
    let kept = append(shared, body).and_then(|()| match &shared.journal {
        Some(journal) => lock(journal).write_all(&journal::line(&records, key)?),
        None => Ok(()),
    });
    if let Err(e) = kept {
        tracing::error!(error = %e, "a file of --out or --journal cannot be written: the batch is answered with 500");
        return refused(StatusCode::INTERNAL_SERVER_ERROR, "The output file cannot be written.");
    }
    let mut tally = lock(&shared.tally);
    tally.accept(&records, key);
    *tally.totals.encodings.entry(coding.name().to_owned()).or_default() += 1;
    drop(tally);
    json(StatusCode::CREATED, &serde_json::json!({ "created": records.len() }))
}

/// Every record as it came, one a line. Read a second time: who asks for a file has the time.
fn append(shared: &Shared, body: &[u8]) -> std::io::Result<()> {
    let Some(out) = &shared.out else { return Ok(()) };
    let value: serde_json::Value = serde_json::from_slice(body)?;
    let mut lines = Vec::with_capacity(body.len());
    for record in value["records"].as_array().into_iter().flatten() {
        serde_json::to_writer(&mut lines, record)?;
        lines.push(b'\n');
    }
    lock(out).write_all(&lines)
}

/// A version as `/stats` names it.
fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_11 => "1.1",
        _ => "1.0",
    }
}

fn unauthorized() -> Response<Full<Bytes>> {
    let mut response = detail(StatusCode::UNAUTHORIZED, "Authentication credentials were not provided or are wrong.");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

fn detail(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    json(status, &serde_json::json!({ "detail": text }))
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Response<Full<Bytes>> {
    let text = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
