//! TLS for both sides: what the operator set, turned into rustls configurations.
//!
//! Settings enter; what `sink` and `web` hand to their connections leaves. PEM files are named in errors with what
//! is wrong in them; private keys never are shown.

use std::path::PathBuf;

/// Oldest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// Certificate chain and private key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPairFiles {
    /// The certificate, its chain behind it.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// TLS towards a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// Authorities to trust; None trusts the built-in public ones.
    pub authorities: Option<PathBuf>,
    /// What the client shows if it is asked.
    pub identity: Option<KeyPairFiles>,
    /// Oldest version.
    pub min_version: MinVersion,
}

/// TLS towards clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// What the server shows.
    pub identity: KeyPairFiles,
    /// Authorities of client certificates; None asks for none.
    pub client_authorities: Option<PathBuf>,
    /// Oldest version.
    pub min_version: MinVersion,
}
