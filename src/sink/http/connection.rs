//! Open connections: one request at a time (HTTP/1.1), or many that share one (HTTP/2).

use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use rustls::ClientConfig;
use socket2::Socket;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::body::CountedBody;
use super::request::Form;
use super::wire::Wire;

/// A connection that can take a request.
#[derive(Debug)]
pub(super) enum Connection {
    /// HTTP/1.1.
    One(One),
    /// HTTP/2.
    Two(Arc<Two>),
}

/// A connection of HTTP/1.1; dropping it closes it.
#[derive(Debug)]
pub(super) struct One {
    pub(super) sender: http1::SendRequest<CountedBody>,
    pub(super) wire: Arc<Wire>,
    /// The same socket, to look at it without hyper.
    socket: Socket,
    /// What it was encrypted with: a connection made with an old certificate is not used again.
    tls: Option<Arc<ClientConfig>>,
    /// Not used for a new request after this.
    pub(super) expires: Instant,
    /// When the last answer was complete.
    pub(super) idle_since: Instant,
    /// The task that moves octets.
    task: AbortHandle,
    pub(super) form: Form,
}

impl One {
    pub(super) fn new(
        sender: http1::SendRequest<CountedBody>,
        wire: Arc<Wire>,
        socket: Socket,
        tls: Option<Arc<ClientConfig>>,
        expires: Instant,
        task: AbortHandle,
        form: Form,
    ) -> Self {
        Self { sender, wire, socket, tls, expires, idle_since: Instant::now(), task, form }
    }

    /// True if an idle connection can take a request: open as far as hyper knows, and as the kernel
    /// knows, who hears of the peer's end first. Anything to read here is the end, or what nobody asked for.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed() && nothing_to_read(&self.socket)
    }

    pub(super) fn is_usable(&self, now: Instant, idle: Duration, tls: Option<&Arc<ClientConfig>>) -> bool {
        now < self.expires
            && now.saturating_duration_since(self.idle_since) < idle
            && same(self.tls.as_ref(), tls)
            && self.is_open()
    }
}

impl Drop for One {
    fn drop(&mut self) {
        // Not left to hyper: after a timeout the socket must be gone before the batch is sent again.
        self.task.abort();
    }
}

/// A connection of HTTP/2. When the last that holds it lets go, it ends as soon as its requests have.
#[derive(Debug)]
pub(super) struct Two {
    pub(super) sender: http2::SendRequest<CountedBody>,
    pub(super) wire: Arc<Wire>,
    socket: Socket,
    tls: Option<Arc<ClientConfig>>,
    expires: Instant,
    idle_since: Mutex<Instant>,
    /// It failed somebody: nothing new is sent on it.
    retired: AtomicBool,
}

/// Longest that a new request waits for what an idle connection has to say.
const SETTLE: Duration = Duration::from_millis(5);

impl Two {
    pub(super) fn new(
        sender: http2::SendRequest<CountedBody>,
        wire: Arc<Wire>,
        socket: Socket,
        tls: Option<Arc<ClientConfig>>,
        expires: Instant,
    ) -> Self {
        let idle_since = Mutex::new(Instant::now());
        Self { sender, wire, socket, tls, expires, idle_since, retired: AtomicBool::new(false) }
    }

    /// No further request goes on it.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// An answer was complete just now.
    pub(super) fn touch(&self) {
        *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// `shared` if requests are under way on it.
    pub(super) fn is_usable(
        &self,
        now: Instant,
        idle: Duration,
        tls: Option<&Arc<ClientConfig>>,
        shared: bool,
    ) -> bool {
        let since = *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner);
        now < self.expires
            && !self.retired.load(Ordering::Acquire)
            && !self.sender.is_closed()
            && (shared || now.saturating_duration_since(since) < idle)
            && same(self.tls.as_ref(), tls)
    }

    /// True if an idle connection is still open: what the peer has sent meanwhile (perhaps its farewell) is read
    /// first, because a request that is written after it costs a repetition that may double records.
    pub(super) async fn is_still_open(&self) -> bool {
        let end = Instant::now() + SETTLE;
        while !nothing_to_read(&self.socket) {
            if self.sender.is_closed() || Instant::now() >= end {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        !self.sender.is_closed()
    }
}

fn nothing_to_read(socket: &Socket) -> bool {
    let read = socket.peek(&mut [MaybeUninit::uninit()]);
    read.is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
}

fn same(one: Option<&Arc<ClientConfig>>, other: Option<&Arc<ClientConfig>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}
