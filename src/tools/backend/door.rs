//! TLS and the token of the embedded backend.
//!
//! Files and a token enter, an acceptor and a yes or no leave. Files are read again whenever it matters (at a handshake,
//! at a token that does not fit), so that rotation can be tried against it; that costs what a trial may cost.

use std::io;
use std::sync::{Mutex, PoisonError};

use hyper::HeaderMap;
use tokio_rustls::TlsAcceptor;

use crate::secret::{self, Secret, SecretSource, Watched};
use crate::tls::{self, ServerSide, ServerTls};
use crate::web::bearer::{Shown, shown};

/// What stands between a client and the backend.
#[derive(Debug)]
pub(super) struct Door {
    tls: Option<Watched<ServerSide>>,
    token: Mutex<Option<Watched<Secret>>>,
}

impl Door {
    pub(super) fn open(tls: Option<&ServerTls>, token: &SecretSource) -> io::Result<Self> {
        let tls = tls.map(|tls| tls::server(tls, "the backend's", &[b"h2", b"http/1.1"])).transpose();
        Ok(Self { tls: tls.map_err(io::Error::other)?, token: Mutex::new(read(token)?) })
    }

    /// Asks for another token from now on.
    pub(super) fn require(&self, token: &SecretSource) -> io::Result<()> {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = read(token)?;
        Ok(())
    }

    /// True if it speaks TLS.
    pub(super) const fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// For the next handshake; None without TLS.
    pub(super) fn acceptor(&self) -> Option<TlsAcceptor> {
        let tls = self.tls.as_ref()?;
        tls.refresh();
        Some(TlsAcceptor::from(tls.current().config.clone()))
    }

    /// True if the request shows the token, or none is asked for.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(token) = token.as_ref() else { return true };
        let fits = || shown(headers, token.current().expose()) == Shown::Right;
        fits() || {
            token.refresh();
            fits()
        }
    }
}

fn read(token: &SecretSource) -> io::Result<Option<Watched<Secret>>> {
    secret::open(token, "the backend's token").map_err(io::Error::other)
}
