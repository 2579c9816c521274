//! A connection to the backend: name -> address -> TCP -> HTTP/1.1 handle.
//!
//! Enters: host and port. Leaves: a [`Connection`] that sends requests. Promised: the name is asked at
//! each connect (behind a service name the addresses change), all addresses share one time limit, and
//! dropping a connection closes it. TLS, HTTP/2 and proxies belong between `dial` and the handshake.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Failure;
use crate::limits;
use crate::sink::retry::{Fault, Random};

/// Opens connections to one backend.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) timeout: Duration,
    pub(super) max_age: Duration,
    pub(super) random: Mutex<Random>,
}

/// An open connection; dropping it closes it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: http1::SendRequest<Full<Bytes>>,
    /// Octets handed to the kernel so far.
    written: Arc<AtomicU64>,
    /// The same socket, to look at it without hyper.
    socket: Socket,
    /// The task that moves octets.
    task: AbortHandle,
    /// Not used for a new request after this.
    pub(super) expires: Instant,
    /// When the last answer was complete.
    pub(super) idle_since: Instant,
}

impl Connection {
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// True if an idle connection can take a request: open as far as hyper knows, and as the kernel
    /// knows, who hears of the peer's end first. Anything to read here is the end, or what nobody asked for.
    pub(super) fn is_open(&self) -> bool {
        let nothing_came = || {
            let read = self.socket.peek(&mut [MaybeUninit::uninit()]);
            read.is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
        };
        !self.sender.is_closed() && nothing_came()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Not left to hyper: after a timeout the socket must be gone before the batch is sent again.
        self.task.abort();
    }
}

impl Connector {
    /// A new connection.
    ///
    /// # Errors
    /// `Fault::Connect` with the last address and its reason.
    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        let deadline = Instant::now() + self.timeout;
        let addresses = match tokio::time::timeout_at(deadline, self.resolve()).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(e)) => return Err(failed(format!("the name {} has no address: {e}", self.host))),
            Err(_) => return Err(failed(format!("no answer about the name {} in {:?}", self.host, self.timeout))),
        };
        let mut failure = failed(format!("the name {} has no address", self.host));
        let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        for (index, address) in (0_u32..).zip(addresses) {
            // What is left is shared among the addresses that are left: one that swallows packets (IPv6
            // without a route back) must not use up the time of the next.
            let share = deadline.saturating_duration_since(Instant::now()) / (count - index);
            match tokio::time::timeout(share, dial(address)).await {
                Ok(Ok(stream)) => return self.shake_hands(stream).await,
                Ok(Err(e)) => failure = failed(format!("{address}: {e}")),
                Err(_) => failure = failed(format!("{address}: no connection in {share:?}")),
            }
        }
        Err(failure)
    }

    async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        match self.host.parse::<IpAddr>() {
            Ok(address) => Ok(vec![SocketAddr::new(address, self.port)]),
            Err(_) => Ok(tokio::net::lookup_host((self.host.as_str(), self.port)).await?.collect()),
        }
    }

    async fn shake_hands(&self, stream: TcpStream) -> Result<Connection, Failure> {
        let written = Arc::new(AtomicU64::new(0));
        let socket = SockRef::from(&stream).try_clone().map_err(|e| failed(e.to_string()))?;
        let io = TokioIo::new(Counted { stream, written: Arc::clone(&written) });
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(limits::RESPONSE_OCTETS_MAX)
            .handshake(io)
            .await
            .map_err(|e| failed(e.to_string()))?;
        // Its error reaches whoever waits for an answer through `sender`.
        let task = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        let now = Instant::now();
        Ok(Connection { sender, written, socket, task, expires: now + self.lifetime(), idle_since: now })
    }

    /// The oldest that this connection gets: jittered, so that they do not all end at once.
    fn lifetime(&self) -> Duration {
        let tenth = u64::try_from(self.max_age.as_nanos() / 10).unwrap_or(u64::MAX);
        let early = self.random.lock().unwrap_or_else(PoisonError::into_inner).up_to(tenth);
        self.max_age.saturating_sub(Duration::from_nanos(early))
    }
}

async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // A request is written in one go: waiting for the last segment's company only adds delay.
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn failed(detail: String) -> Failure {
    Failure { fault: Fault::Connect, handed_over: false, untouched: true, detail }
}

/// A stream that counts what the kernel took: only so is it known whether a request can have been
/// processed when its connection breaks.
#[derive(Debug)]
struct Counted {
    stream: TcpStream,
    written: Arc<AtomicU64>,
}

impl Counted {
    fn count(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n)) = &result {
            self.written.fetch_add(*n as u64, Ordering::AcqRel);
        }
        result
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.count(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.count(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
