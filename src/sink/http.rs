//! POST to the backend over a small pool of keep-alive connections.
//!
//! Enters: a [`Parcel`]. Leaves: an [`Answer`] or a [`Failure`] that says whether the request can have
//! been processed. Promised: a body is never copied; an answer is read to its bound and no further;
//! redirects are reported, not followed; a pooled connection that the peer closed while it was idle is
//! replaced at once and counts against nobody. When to try again is `retry`'s and `dispatch`'s matter.

mod connect;

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use tokio::time::Instant;
use uuid::Uuid;

use super::retry::{self, Fault, Random};
use super::{SinkError, SinkSettings};
use crate::clock::Clock;
use crate::limits;
use connect::{Connection, Connector};

/// One request's contents.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    pub(super) key: Uuid,
    pub(super) records: u32,
    pub(super) body: Bytes,
}

/// What the backend said.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Retry-After, bounded.
    pub(super) retry_after: Option<Duration>,
    /// Location of a redirect, escaped.
    pub(super) location: Option<String>,
    /// Date, Unix seconds: the backend's clock.
    pub(super) date: Option<u64>,
    /// The body's first octets, escaped; empty if the batch was accepted.
    pub(super) excerpt: String,
}

/// Why the backend said nothing.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) fault: Fault,
    /// The kernel took all of the request, so the backend may have processed it.
    pub(super) handed_over: bool,
    /// The kernel took nothing of the request.
    pub(super) untouched: bool,
    /// For people.
    pub(super) detail: String,
}

/// The client of one backend.
#[derive(Debug)]
pub(super) struct Client {
    connector: Connector,
    template: RequestTemplate,
    // The last one in is the first one out: what traffic does not need grows old and is closed.
    idle: Mutex<Vec<Connection>>,
    idle_timeout: Duration,
    request_timeout: Duration,
    clock: Clock,
}

impl Client {
    /// Opens nothing yet.
    ///
    /// # Errors
    /// `SinkError::Header` or `SinkError::Path` if a setting cannot stand in a request.
    pub(super) fn new(settings: &SinkSettings, clock: Clock) -> Result<Self, SinkError> {
        Ok(Self {
            connector: Connector {
                host: settings.backend.host.clone(),
                port: settings.backend.port,
                timeout: settings.connect_timeout,
                max_age: settings.connection_max_age,
                random: Mutex::new(Random::from_system()),
            },
            template: RequestTemplate::new(settings)?,
            idle: Mutex::default(),
            idle_timeout: settings.idle_timeout,
            request_timeout: settings.request_timeout,
            clock,
        })
    }

    /// Sends `parcel` and reads the answer.
    ///
    /// # Errors
    /// No complete answer head came: how far the request got is in the [`Failure`].
    pub(super) async fn post(&self, parcel: &Parcel) -> Result<Answer, Failure> {
        if let Some(connection) = self.checkout() {
            match self.exchange(connection, parcel).await {
                // Closed by the peer while idle, and nothing of the request left: no failure of the batch.
                Err(failure) if failure.untouched => {}
                answer => return answer,
            }
        }
        let connection = self.connector.connect().await?;
        self.exchange(connection, parcel).await
    }

    /// Closes connections that are idle for too long, too old, or closed by the peer.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        self.pool().retain(|c| self.usable(c, now));
    }

    fn checkout(&self) -> Option<Connection> {
        let now = Instant::now();
        let mut pool = self.pool();
        std::iter::from_fn(|| pool.pop()).find(|c| self.usable(c, now))
    }

    fn usable(&self, connection: &Connection, now: Instant) -> bool {
        now < connection.expires
            && now.saturating_duration_since(connection.idle_since) < self.idle_timeout
            && connection.is_open()
    }

    fn pool(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn exchange(&self, mut connection: Connection, parcel: &Parcel) -> Result<Answer, Failure> {
        let deadline = Instant::now() + self.request_timeout;
        let before = connection.written();
        let response = tokio::time::timeout_at(deadline, async {
            connection.sender.ready().await?;
            connection.sender.send_request(self.template.request(parcel)).await
        });
        let (fault, detail) = match response.await {
            Ok(Ok(response)) => return Ok(self.read(connection, response, deadline).await),
            Ok(Err(e)) if e.is_parse() => (Fault::Protocol, chain(&e)),
            Ok(Err(e)) => (Fault::Reset, chain(&e)),
            Err(_) => (Fault::Timeout, format!("no answer in {:?}", self.request_timeout)),
        };
        let written = connection.written() - before;
        // The head is longer than nothing, so up to the body's length something is surely missing.
        Err(Failure { fault, handed_over: written > parcel.body.len() as u64, untouched: written == 0, detail })
    }

    /// The status decides; a body that does not come to its end only costs the connection.
    async fn read(&self, mut connection: Connection, response: Response<Incoming>, deadline: Instant) -> Answer {
        let (head, mut body) = response.into_parts();
        let status = head.status.as_u16();
        let text = |name: HeaderName| head.headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()));
        let mut answer = Answer {
            status,
            retry_after: text(header::RETRY_AFTER)
                .and_then(|v| retry::retry_after(&v, self.clock.unix_ns() / 1_000_000_000)),
            location: text(header::LOCATION)
                .filter(|_| head.status.is_redirection())
                .map(|v| escape(v.as_bytes(), limits::ANSWER_EXCERPT_OCTETS)),
            date: text(header::DATE).and_then(|v| retry::http_date(&v)),
            excerpt: String::new(),
        };
        let (mut octets, mut start) = (0, Vec::new());
        let complete = loop {
            match tokio::time::timeout_at(deadline, body.frame()).await {
                Ok(None) => break true,
                Ok(Some(Ok(frame))) => {
                    let data = frame.into_data().unwrap_or_default();
                    octets += data.len();
                    let wanted = limits::ANSWER_EXCERPT_OCTETS.saturating_sub(start.len()).min(data.len());
                    start.extend_from_slice(&data[..wanted]);
                    if octets > limits::RESPONSE_OCTETS_MAX {
                        break false;
                    }
                }
                Ok(Some(Err(_))) | Err(_) => break false,
            }
        };
        if !head.status.is_success() {
            answer.excerpt = escape(&start, limits::ANSWER_EXCERPT_OCTETS);
        }
        let now = Instant::now();
        if complete && now < connection.expires && !connection.sender.is_closed() {
            connection.idle_since = now;
            self.pool().push(connection);
        }
        answer
    }
}

/// What all requests have in common, prepared once.
#[derive(Debug)]
struct RequestTemplate {
    uri: Uri,
    headers: HeaderMap,
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const CLARION_INSTANCE: HeaderName = HeaderName::from_static("clarion-instance");
const CLARION_RECORDS: HeaderName = HeaderName::from_static("clarion-records");

impl RequestTemplate {
    fn new(settings: &SinkSettings) -> Result<Self, SinkError> {
        let backend = &settings.backend;
        let uri = backend.path.parse().map_err(|_| SinkError::Path { path: backend.path.clone() })?;
        let bracketed = backend.host.contains(':');
        let host = if bracketed { format!("[{}]", backend.host) } else { backend.host.clone() };
        let host = if backend.port == 80 { host } else { format!("{host}:{}", backend.port) };
        let agent = format!("clarion-collector/{} ({})", env!("CARGO_PKG_VERSION"), settings.instance);
        let headers = [
            (header::HOST, "Host", host),
            (header::CONTENT_TYPE, "Content-Type", "application/json".to_owned()),
            (header::USER_AGENT, "User-Agent", agent),
            (CLARION_INSTANCE, "Clarion-Instance", settings.instance.clone()),
        ]
        .into_iter()
        .map(|(name, title, value)| match HeaderValue::from_str(&value) {
            Ok(prepared) => Ok((name, prepared)),
            Err(_) => Err(SinkError::Header { header: title, value }),
        })
        .collect::<Result<HeaderMap, _>>()?;
        Ok(Self { uri, headers })
    }

    /// Content-Length is set by hyper from the body's size.
    fn request(&self, parcel: &Parcel) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(parcel.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        headers.insert(CLARION_RECORDS, HeaderValue::from(parcel.records));
        let mut text = Uuid::encode_buffer();
        if let Ok(key) = HeaderValue::from_str(parcel.key.hyphenated().encode_lower(&mut text)) {
            headers.insert(IDEMPOTENCY_KEY, key);
        }
        request
    }
}

/// At most `octets` of what a stranger wrote, so that no terminal obeys it.
fn escape(text: &[u8], octets: usize) -> String {
    let (text, more) = text.split_at(text.len().min(octets));
    let mut escaped = String::with_capacity(text.len() + 3);
    for character in String::from_utf8_lossy(text).chars() {
        // escape_debug also catches what is no control character but turns a line round (U+202E).
        match character {
            '"' | '\'' => escaped.push(character),
            _ => escaped.extend(character.escape_debug()),
        }
    }
    if !more.is_empty() {
        escaped.push_str("...");
    }
    escaped
}

/// An error with its causes: hyper's own text alone does not say "connection reset by peer".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let _ = write!(text, ": {e}");
        cause = e.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::sink::{Access, BackendUrl, Output};

    #[test]
    fn what_strangers_write_cannot_steer_a_terminal() {
        assert_eq!(escape(b"plain \"text\" it's", 200), "plain \"text\" it's");
        assert_eq!(escape("gr\u{fc}n".as_bytes(), 200), "gr\u{fc}n");
        let escaped = escape("\x1b[2J\r\n\\ \u{9b}\u{202e}\u{7f}\0".as_bytes(), 200);
        assert!(escaped.is_ascii() && !escaped.contains(char::is_control), "{escaped}");
        assert_eq!(escape(b"abcdef", 3), "abc...");
        assert_eq!(escape(b"\xff\xfe", 3), "\u{fffd}\u{fffd}");
    }

    /// Answers 201 to every request, `requests` on a connection, then closes it; counts connections.
    async fn server(requests: usize) -> (u16, Arc<AtomicUsize>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::AcqRel);
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    for _ in 0..requests {
                        while !request.ends_with(b"BODY") {
                            if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                                return;
                            }
                        }
                        request.clear();
                        stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
                    }
                });
            }
        });
        (port, connections)
    }

    fn client(port: u16, change: impl FnOnce(&mut SinkSettings)) -> Client {
        let mut settings = SinkSettings {
            output: Output::Backend,
            backend: BackendUrl {
                tls: false,
                host: "127.0.0.1".to_owned(),
                port,
                path: "/api/netflow/netflow".to_owned(),
                display: String::new(),
            },
            instance: "i".to_owned(),
            requests_in_flight: 1,
            in_flight_octets: 1 << 20,
            request_timeout: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(600),
            connection_max_age: Duration::from_secs(600),
            retry_attempts: 1,
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(1),
            threads: 1,
            access: Access::default(),
        };
        change(&mut settings);
        Client::new(&settings, Clock::system()).unwrap()
    }

    fn parcel() -> Parcel {
        Parcel { key: Uuid::nil(), records: 1, body: Bytes::from_static(b"BODY") }
    }

    async fn accepted(client: &Client, times: usize) {
        for _ in 0..times {
            assert_eq!(client.post(&parcel()).await.unwrap().status, 201);
        }
    }

    #[tokio::test]
    async fn a_connection_serves_many_requests() {
        let (port, connections) = server(usize::MAX).await;
        let client = client(port, |_| {});
        accepted(&client, 20).await;
        assert_eq!((connections.load(Ordering::Acquire), client.pool().len()), (1, 1));
        client.sweep();
        assert_eq!(client.pool().len(), 1, "neither idle for long nor old");
    }

    #[tokio::test]
    async fn a_name_with_several_addresses_is_tried_through() {
        // localhost is ::1 as well on most machines; the server has only 127.0.0.1.
        let (port, connections) = server(usize::MAX).await;
        let client = client(port, |s| s.backend.host = "localhost".to_owned());
        accepted(&client, 2).await;
        assert_eq!(connections.load(Ordering::Acquire), 1);
    }

    #[tokio::test]
    async fn old_and_idle_connections_are_not_used_again() {
        let (port, connections) = server(usize::MAX).await;
        accepted(&client(port, |s| s.connection_max_age = Duration::ZERO), 3).await;
        assert_eq!(connections.load(Ordering::Acquire), 3);
        let client = client(port, |s| s.idle_timeout = Duration::ZERO);
        accepted(&client, 3).await;
        assert_eq!(connections.load(Ordering::Acquire), 6);
        client.sweep();
        assert!(client.pool().is_empty());
    }

    #[tokio::test]
    async fn connections_that_the_peer_closed_are_replaced_without_a_failure() {
        let (port, connections) = server(2).await;
        let client = client(port, |_| {});
        accepted(&client, 2).await;
        while client.pool().iter().any(Connection::is_open) {
            tokio::task::yield_now().await;
        }
        accepted(&client, 2).await;
        assert_eq!(connections.load(Ordering::Acquire), 2);
    }

    #[tokio::test]
    async fn a_request_on_a_closed_connection_leaves_nothing() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = client(listener.local_addr().unwrap().port(), |_| {});
        let connection = client.connector.connect().await.unwrap();
        drop(listener.accept().await.unwrap());
        while !connection.sender.is_closed() {
            tokio::task::yield_now().await;
        }
        let failure = client.exchange(connection, &parcel()).await.unwrap_err();
        assert!(failure.untouched && !failure.handed_over, "{failure:?}");
    }

    #[tokio::test]
    async fn the_peers_end_is_seen_before_the_runtime_hears_of_it() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = client(listener.local_addr().unwrap().port(), |_| {});
        let connection = client.connector.connect().await.unwrap();
        assert!(connection.is_open());
        // No await from here on: the runtime has no chance to look at the socket.
        drop(listener.accept().unwrap());
        assert!(!connection.sender.is_closed() && !connection.is_open());
    }

    #[tokio::test]
    async fn a_failure_says_how_far_the_request_got() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = client(listener.local_addr().unwrap().port(), |_| {});
        let peer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"BODY") {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            }
        };
        let parcel = parcel();
        let (failure, ()) = tokio::join!(client.post(&parcel), peer);
        let failure = failure.unwrap_err();
        assert_eq!((failure.fault, failure.handed_over, failure.untouched), (Fault::Reset, true, false));
        drop(listener);
        let failure = client.post(&parcel).await.unwrap_err();
        assert_eq!((failure.fault, failure.handed_over), (Fault::Connect, false));
        assert!(failure.detail.contains("127.0.0.1"), "{}", failure.detail);
    }

    #[tokio::test]
    async fn an_address_that_swallows_everything_ends_with_the_connect_timeout() {
        // 192.0.2.0/24 is never routed. A firewall may refuse it at once: a connect failure as well.
        let client = client(9, |s| {
            s.backend.host = "192.0.2.1".to_owned();
            s.connect_timeout = Duration::from_millis(50);
        });
        let failure = client.post(&parcel()).await.unwrap_err();
        assert_eq!(failure.fault, Fault::Connect);
        assert!(failure.detail.contains("192.0.2.1"), "{}", failure.detail);
    }
}
