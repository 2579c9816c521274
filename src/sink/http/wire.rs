//! The octets of a connection: TCP, or TLS over it, with what became of them.
//!
//! Promised: `written` counts what the layer below took of what HTTP wrote (TLS: before it was encrypted, so a little
//! more than the kernel has at most). The reason that a TLS peer gave is kept even where it comes late: with TLS 1.3
//! a refused client certificate shows only when something is read, often after a write has failed.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

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
    /// Read while a reason was looked for, and not given to HTTP yet.
    leftover: Vec<u8>,
}

#[derive(Debug)]
enum Inner {
    Plain(TcpStream),
    // Large: a session's state.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Most that is read while a reason is looked for.
const LEFTOVER_OCTETS: usize = 4_096;

impl Stream {
    pub(super) fn plain(stream: TcpStream, wire: Arc<Wire>) -> Self {
        Self { inner: Inner::Plain(stream), wire, leftover: Vec::new() }
    }

    pub(super) fn tls(stream: TlsStream<TcpStream>, wire: Arc<Wire>) -> Self {
        Self { inner: Inner::Tls(Box::new(stream)), wire, leftover: Vec::new() }
    }

    fn wrote(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Ok(n)) => {
                self.wire.written.fetch_add(n as u64, Ordering::AcqRel);
                Poll::Ready(Ok(n))
            }
            Poll::Ready(Err(e)) => Poll::Ready(Err(self.reason(cx, e))),
            Poll::Pending => Poll::Pending,
        }
    }

    /// A write failed. A TLS peer may have said why before it closed: what it sent can still be read.
    fn reason(&mut self, cx: &mut Context<'_>, error: io::Error) -> io::Error {
        self.wire.note(&error);
        if let Inner::Tls(stream) = &mut self.inner
            && self.wire.tls_error().is_none()
            && self.leftover.is_empty()
        {
            let mut octets = [0; LEFTOVER_OCTETS];
            let mut buf = ReadBuf::new(&mut octets);
            match Pin::new(stream).poll_read(cx, &mut buf) {
                Poll::Ready(Err(e)) => self.wire.note(&e),
                Poll::Ready(Ok(())) => self.leftover.extend_from_slice(buf.filled()),
                Poll::Pending => {}
            }
        }
        match self.wire.tls_error() {
            Some(reason) => io::Error::new(error.kind(), reason.clone()),
            None => error,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.leftover.is_empty() {
            let n = this.leftover.len().min(buf.remaining());
            buf.put_slice(&this.leftover[..n]);
            this.leftover.drain(..n);
            return Poll::Ready(Ok(()));
        }
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
        self.wrote(cx, result)
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
        self.wrote(cx, result)
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
        result.map_err(|e| self.reason(cx, e))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Inner::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
