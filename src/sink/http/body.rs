//! A request's body, which counts what of it was taken.
//!
//! Promised: `taken` is never less than what has left the process. HTTP takes octets when the layer below does (TLS or
//! the kernel), or earlier when it copies a small body: so a body that was not taken whole cannot have been processed.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};

/// A body of one piece.
#[derive(Debug)]
pub(super) struct CountedBody(Option<CountedOctets>);

/// Octets that count how many of them were taken.
#[derive(Debug)]
pub(super) struct CountedOctets {
    octets: Bytes,
    taken: Arc<AtomicU64>,
}

impl CountedBody {
    pub(super) fn new(octets: Bytes, taken: Arc<AtomicU64>) -> Self {
        Self(Some(CountedOctets { octets, taken }))
    }
}

impl Body for CountedBody {
    type Data = CountedOctets;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<CountedOctets>, Infallible>>> {
        Poll::Ready(self.0.take().map(|octets| Ok(Frame::data(octets))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |octets| octets.remaining() as u64))
    }
}

impl Buf for CountedOctets {
    fn remaining(&self) -> usize {
        self.octets.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.octets.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.octets.advance(count);
        self.taken.fetch_add(count as u64, Ordering::AcqRel);
    }
}
