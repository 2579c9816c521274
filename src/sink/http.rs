//! POST to the backend over a small pool of connections.
//!
//! Enters: a [`Parcel`]. Leaves: an [`Answer`] or a [`Failure`] that says whether the request can have
//! been processed. Promised: a body is never copied; an answer is read to its bound and no further;
//! redirects are reported, not followed; what surely was not processed (a pooled connection that the peer
//! closed while it was idle, a stream that an HTTP/2 server refused) is sent again at once and counts
//! against nobody. When to try again otherwise is `retry`'s and `dispatch`'s matter.

mod body;
mod connect;
mod connection;
mod credentials;
mod request;
mod trouble;
mod tunnel;
mod wire;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::{self, HeaderName};
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use super::retry::{self, Fault};
use super::{Compression, SinkError, SinkSettings};
use crate::clock::Clock;
use crate::limits;
use crate::metrics::Tally;
use crate::secret::{Refresh, Watched};
use crate::tls::ClientSide;
use connect::Connector;
use connection::{Connection, One, Two};
use request::{Form, RequestTemplate};

/// One request's contents.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    pub(super) key: Uuid,
    pub(super) records: u32,
    /// As it goes out: compressed where `encoding` says so.
    pub(super) body: Bytes,
    pub(super) encoding: Compression,
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
    /// All of the request was taken, so the backend may have processed it.
    pub(super) handed_over: bool,
    /// Nothing of the request was taken, or the backend said that it looked at nothing of it.
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
    idle: Mutex<Vec<One>>,
    /// The connection that all requests share, with HTTP/2.
    shared: Mutex<Option<Arc<Two>>>,
    /// Held while the shared connection is opened, so that one is.
    opening: tokio::sync::Mutex<()>,
    /// The backend chose HTTP/1.1 last.
    speaks_one: AtomicBool,
    connect_timeout: Duration,
    idle_timeout: Duration,
    request_timeout: Duration,
    clock: Clock,
}

/// Requests that surely were not processed are sent again at once, this often: a server that refuses every stream
/// must not keep us busy.
const REPEATS: u32 = 3;
/// Longest that a given up request of HTTP/2 is waited for until all of it was let go.
const LETTING_GO: Duration = Duration::from_millis(100);

impl Client {
    /// Opens nothing yet.
    ///
    /// # Errors
    /// A setting cannot stand in a request, or a file of credentials or TLS cannot be used.
    pub(super) fn new(settings: &SinkSettings, clock: Clock) -> Result<Self, SinkError> {
        Ok(Self {
            connector: Connector::new(settings)?,
            template: RequestTemplate::new(settings)?,
            idle: Mutex::default(),
            shared: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            speaks_one: AtomicBool::new(false),
            connect_timeout: settings.connect_timeout,
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
        let mut repeats = 0;
        loop {
            let (connection, fresh) = self.connection(repeats > 0).await?;
            let one = matches!(connection, Connection::One(_));
            match self.exchange(connection, parcel).await {
                // A new connection of HTTP/1.1 that takes nothing is a failure; a pooled one was only closed while it
                // was idle, and a stream that was refused says that another may be taken.
                Err(failure) if failure.untouched && repeats < REPEATS && !(one && fresh) => repeats += 1,
                answer => return answer,
            }
        }
    }

    /// Closes connections that are idle for too long, too old, or closed by the peer.
    pub(super) fn sweep(&self) {
        let (now, tls) = (Instant::now(), self.connector.tls_now());
        lock(&self.idle).retain(|c| c.is_usable(now, self.idle_timeout, tls.as_ref()));
        let mut shared = lock(&self.shared);
        // The slot's own hold is one.
        if shared
            .as_ref()
            .is_some_and(|two| !two.is_usable(now, self.idle_timeout, tls.as_ref(), Arc::strong_count(two) > 1))
        {
            *shared = None;
        }
    }

    /// What follows files: credentials, and TLS.
    pub(super) fn watched(&self) -> Vec<Arc<dyn Refresh>> {
        let tls = self.connector.tls().filter(|side| side.has_files()).map(Watched::shared);
        self.template.badge().watched().into_iter().chain(tls).collect()
    }

    /// What TLS is made of; None without TLS.
    pub(super) fn tls(&self) -> Option<Watched<ClientSide>> {
        self.connector.tls().cloned()
    }

    /// End of the validity of the certificate that the backend showed last, Unix seconds.
    pub(super) fn server_expiry(&self) -> Tally {
        self.connector.server_expiry()
    }

    /// A connection for one request, and whether it is new; `new_one` asks for none of the pool of HTTP/1.1.
    async fn connection(&self, new_one: bool) -> Result<(Connection, bool), Failure> {
        if !new_one && let Some(one) = self.checkout() {
            return Ok((Connection::One(one), false));
        }
        if !self.connector.may_speak_two() {
            return Ok((self.connector.connect(&self.template).await?, true));
        }
        if let Some(two) = self.shared().await {
            return Ok((Connection::Two(two), false));
        }
        let single = !self.speaks_one.load(Ordering::Acquire);
        let _opening = if single {
            // Another request is opening it; should that hang, this one does not hang for much longer.
            Some(timeout(self.connect_timeout, self.opening.lock()).await.map_err(|_| Failure {
                fault: Fault::Connect,
                handed_over: false,
                untouched: true,
                detail: format!("another request has not opened a connection in {:?}", self.connect_timeout),
            })?)
        } else {
            None
        };
        if single && let Some(two) = self.shared().await {
            return Ok((Connection::Two(two), false));
        }
        let connection = self.connector.connect(&self.template).await?;
        self.speaks_one.store(matches!(connection, Connection::One(_)), Ordering::Release);
        if let Connection::Two(two) = &connection {
            *lock(&self.shared) = Some(Arc::clone(two));
        }
        Ok((connection, true))
    }

    fn checkout(&self) -> Option<One> {
        let (now, tls) = (Instant::now(), self.connector.tls_now());
        let mut pool = lock(&self.idle);
        std::iter::from_fn(|| pool.pop()).find(|c| c.is_usable(now, self.idle_timeout, tls.as_ref()))
    }

    /// The shared connection, if it can take a request.
    async fn shared(&self) -> Option<Arc<Two>> {
        let two = lock(&self.shared).clone()?;
        // The slot's hold and ours are two.
        let others = Arc::strong_count(&two) > 2;
        let tls = self.connector.tls_now();
        let usable = two.is_usable(Instant::now(), self.idle_timeout, tls.as_ref(), others);
        if usable && (others || two.is_still_open().await) {
            return Some(two);
        }
        self.retire(&two);
        None
    }

    /// Nothing new is sent on `two`; what is under way on it comes to its end.
    fn retire(&self, two: &Arc<Two>) {
        two.retire();
        let mut shared = lock(&self.shared);
        if shared.as_ref().is_some_and(|current| Arc::ptr_eq(current, two)) {
            *shared = None;
        }
    }

    async fn exchange(&self, connection: Connection, parcel: &Parcel) -> Result<Answer, Failure> {
        match connection {
            Connection::One(one) => self.exchange_one(one, parcel).await,
            Connection::Two(two) => self.exchange_two(two, parcel).await,
        }
    }

    async fn exchange_one(&self, mut one: One, parcel: &Parcel) -> Result<Answer, Failure> {
        let deadline = Instant::now() + self.request_timeout;
        let before = one.wire.written();
        let response = timeout_at(deadline, async {
            one.sender.ready().await?;
            one.sender.send_request(self.template.request(parcel, one.form, Arc::default())).await
        });
        let (fault, detail) = match response.await {
            Ok(Ok(response)) => {
                let (answer, complete) = self.read(response, deadline).await;
                let now = Instant::now();
                if complete && now < one.expires && !one.sender.is_closed() {
                    one.idle_since = now;
                    lock(&self.idle).push(one);
                }
                return Ok(answer);
            }
            Ok(Err(e)) if e.is_parse() => (Fault::Protocol, chain(&e)),
            Ok(Err(e)) => (Fault::Reset, chain(&e)),
            Err(_) => (Fault::Timeout, format!("no answer in {:?}", self.request_timeout)),
        };
        let written = one.wire.written() - before;
        let (fault, detail) = self.by_tls(&one.wire).unwrap_or((fault, detail));
        // The head is longer than nothing, so up to the body's length something is surely missing.
        let handed_over = written > parcel.body.len() as u64 && !one.wire.was_refused_by_tls();
        Err(Failure { fault, handed_over, untouched: written == 0, detail })
    }

    async fn exchange_two(&self, two: Arc<Two>, parcel: &Parcel) -> Result<Answer, Failure> {
        let deadline = Instant::now() + self.request_timeout;
        let taken = Arc::new(AtomicU64::new(0));
        let request = self.template.request(parcel, Form::Two, Arc::clone(&taken));
        let response = timeout_at(deadline, two.sender.clone().try_send_request(request)).await;
        let (fault, detail, untouched) = match response {
            Ok(Ok(response)) => {
                let (answer, _) = self.read(response, deadline).await;
                two.touch();
                return Ok(answer);
            }
            // The library gives the request back: it had not begun with it.
            Ok(Err(e)) if e.message().is_some() => (Fault::Reset, chain(e.error()), true),
            Ok(Err(e)) => {
                let text = chain(e.error());
                let refused = was_not_processed(&text);
                // What we object to is told as an error that was detected, what the peer says as one received.
                let fault = if text.contains("error detected") { Fault::Protocol } else { Fault::Reset };
                (fault, text, refused)
            }
            Err(_) => (Fault::Timeout, format!("no answer in {:?}", self.request_timeout), false),
        };
        if !detail.contains(REFUSED_STREAM) {
            self.retire(&two);
        }
        let (fault, detail) = self.by_tls(&two.wire).unwrap_or((fault, detail));
        let whole = !all_let_go(&taken).await || taken.load(Ordering::Acquire) >= parcel.body.len() as u64;
        let handed_over = whole && !untouched && !two.wire.was_refused_by_tls();
        Err(Failure { fault, handed_over, untouched, detail })
    }

    /// What TLS failed with is the cause, whatever HTTP makes of it.
    fn by_tls(&self, wire: &wire::Wire) -> Option<(Fault, String)> {
        wire.tls_error().map(|error| (Fault::Tls, self.connector.explain(error)))
    }

    /// The status decides; a body that does not come to its end only costs the connection: says whether it did.
    async fn read(&self, response: Response<Incoming>, deadline: Instant) -> (Answer, bool) {
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
            match timeout_at(deadline, body.frame()).await {
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
        (answer, complete)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How the library words REFUSED_STREAM and a GOAWAY of the peer. Its error type is not within reach, so its text
/// is read; should that change, such requests count as perhaps processed, and tests fail.
const REFUSED_STREAM: &str = "stream error received: refused stream";
const GOAWAY: &str = "connection error received";

/// True if the peer says that it looked at nothing of a request: it refused the stream (RFC 9113, section 8.7), or its
/// GOAWAY names a lower one as its last (section 6.8; streams up to that one end without this text).
fn was_not_processed(error: &str) -> bool {
    error.contains(REFUSED_STREAM) || error.contains(GOAWAY)
}

/// Waits until the library holds nothing of a request any more: what was taken is final then.
async fn all_let_go(taken: &Arc<AtomicU64>) -> bool {
    let end = Instant::now() + LETTING_GO;
    while Arc::strong_count(taken) > 1 {
        if Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    true
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

    async fn one(client: &Client) -> One {
        match client.connector.connect(&client.template).await.unwrap() {
            Connection::One(one) => one,
            Connection::Two(_) => panic!("HTTP/2 was not asked for"),
        }
    }

    fn parcel() -> Parcel {
        Parcel { key: Uuid::nil(), records: 1, body: Bytes::from_static(b"BODY"), encoding: Compression::None }
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
        assert_eq!((connections.load(Ordering::Acquire), lock(&client.idle).len()), (1, 1));
        client.sweep();
        assert_eq!(lock(&client.idle).len(), 1, "neither idle for long nor old");
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
        assert!(lock(&client.idle).is_empty());
    }

    #[tokio::test]
    async fn connections_that_the_peer_closed_are_replaced_without_a_failure() {
        let (port, connections) = server(2).await;
        let client = client(port, |_| {});
        accepted(&client, 2).await;
        while lock(&client.idle).iter().any(One::is_open) {
            tokio::task::yield_now().await;
        }
        accepted(&client, 2).await;
        assert_eq!(connections.load(Ordering::Acquire), 2);
    }

    #[tokio::test]
    async fn a_request_on_a_closed_connection_leaves_nothing() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = client(listener.local_addr().unwrap().port(), |_| {});
        let connection = one(&client).await;
        drop(listener.accept().await.unwrap());
        while !connection.sender.is_closed() {
            tokio::task::yield_now().await;
        }
        let failure = client.exchange_one(connection, &parcel()).await.unwrap_err();
        assert!(failure.untouched && !failure.handed_over, "{failure:?}");
    }

    #[tokio::test]
    async fn the_peers_end_is_seen_before_the_runtime_hears_of_it() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = client(listener.local_addr().unwrap().port(), |_| {});
        let connection = one(&client).await;
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
