//! The octets of a connection: TCP, or TLS over it, with what became of them.
//!
//! Promised: `written` counts what the layer below took of what HTTP wrote (TLS: before it was encrypted, so a little
//! more than the kernel has at most). The reason that a TLS peer gave is kept even where it comes late: with TLS 1.3
//! a refused client certificate shows only when something is read, often after a write has failed.

use std::io::{self, Read as _};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use rustls::ClientConnection;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// What is known about a connection beside what HTTP says.
#[derive(Debug, Default)]
pub(super) struct Wire {
    written: AtomicU64,
    read: AtomicU64,
    tls_error: OnceLock<rustls::Error>,
}

impl Wire {
    /// Octets that were taken so far.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// What TLS failed with.
    pub(super) fn tls_error(&self) -> Option<&rustls::Error> {
        self.tls_error.get()
    }

    /// The peer refused us before it answered anything: what was written cannot have been processed, because a
    /// server reads nothing before it has accepted the client's part of the handshake.
    pub(super) fn was_refused_by_tls(&self) -> bool {
        use rustls::AlertDescription as A;
        let Some(rustls::Error::AlertReceived(alert)) = self.tls_error() else { return false };
        let of_the_handshake = matches!(
            alert,
            A::HandshakeFailure
                | A::BadCertificate
                | A::UnsupportedCertificate
                | A::CertificateRevoked
                | A::CertificateExpired
                | A::CertificateUnknown
                | A::UnknownCA
                | A::AccessDenied
                | A::DecryptError
                | A::CertificateRequired
        );
        of_the_handshake && self.read.load(Ordering::Acquire) == 0
    }

    fn note(&self, error: &io::Error) {
        if let Some(error) = tls_error_of(error) {
            // The first reason counts: what follows is its consequence.
            let _ = self.tls_error.set(error.clone());
        }
    }
}

/// The TLS error in an I/O error.
pub(super) fn tls_error_of(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

/// The stream that HTTP reads and writes.
#[derive(Debug)]
pub(super) struct Stream {
    inner: Inner,
    wire: Arc<Wire>,
}

#[derive(Debug)]
enum Inner {
    Plain(TcpStream),
    // Large: a session's state.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(super) fn plain(stream: TcpStream, wire: Arc<Wire>) -> Self {
        Self { inner: Inner::Plain(stream), wire }
    }

    pub(super) fn tls(stream: TlsStream<TcpStream>, wire: Arc<Wire>) -> Self {
        Self { inner: Inner::Tls(Box::new(stream)), wire }
    }

    fn wrote(&mut self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Ok(n)) => {
                self.wire.written.fetch_add(n as u64, Ordering::AcqRel);
                Poll::Ready(Ok(n))
            }
            Poll::Ready(Err(e)) => Poll::Ready(Err(self.reason(e))),
            Poll::Pending => Poll::Pending,
        }
    }

    /// A write failed. A TLS peer may have said why before it closed: what it sent can still be read.
    fn reason(&mut self, error: io::Error) -> io::Error {
        self.wire.note(&error);
        if let Inner::Tls(stream) = &mut self.inner
            && self.wire.tls_error().is_none()
        {
            let (socket, session) = stream.get_mut();
            if let Err(reason) = read_what_came(socket, session) {
                // Nobody was faster: there is one task a connection.
                let _ = self.wire.tls_error.set(reason);
            }
        }
        match self.wire.tls_error() {
            Some(reason) => io::Error::new(error.kind(), reason.clone()),
            None => error,
        }
    }
}

/// Reads from the socket itself: the runtime may not have heard yet that there is something to read. What is no error
/// stays in the session, for whoever reads next.
fn read_what_came(socket: &TcpStream, session: &mut ClientConnection) -> Result<(), rustls::Error> {
    let socket = SockRef::from(socket);
    let mut octets = [0; 4_096];
    for _ in 0..READS_MAX {
        let Ok(n @ 1..) = (&*socket).read(&mut octets) else { break };
        let mut rest = &octets[..n];
        // Err: the session has no room, as one has that nobody reads.
        while !rest.is_empty() && session.read_tls(&mut rest).is_ok() {
            session.process_new_packets()?;
        }
    }
    Ok(())
}

/// Most reads for a reason: an alert is shorter than one.
const READS_MAX: usize = 16;

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let result = match &mut this.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Inner::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        this.wire.read.fetch_add((buf.filled().len() - before) as u64, Ordering::AcqRel);
        if let Poll::Ready(Err(e)) = &result {
            this.wire.note(e);
        }
        result
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Inner::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Inner::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.inner {
            Inner::Plain(stream) => stream.is_write_vectored(),
            Inner::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Inner::Tls(stream) => Pin::new(stream).poll_flush(cx),
        };
        result.map_err(|e| self.reason(e))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Inner::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
