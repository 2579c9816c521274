//! TLS for both sides: what the operator set, turned into rustls configurations.
//!
//! Settings enter; what `sink` and `web` hand to their connections leaves, as values that follow their files. PEM
//! files are named in errors with what is wrong in them; private keys never are shown. The cryptography is ring's,
//! named at each place: no process-wide default is set or needed.

mod pem;
mod unverified;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use crate::secret::{SecretError, SourceFile, Watched};

pub use pem::expiry;
pub use unverified::client_that_believes_any_certificate;

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

/// What a client's connections are made with.
#[derive(Clone)]
pub struct ClientSide {
    /// For tokio-rustls.
    pub config: Arc<ClientConfig>,
    /// End of the client certificate's validity, Unix seconds; 0 without one.
    pub certificate_expires: u64,
    /// When the last authority of the file ends, Unix seconds; 0 with the built-in ones.
    pub authorities_expire: u64,
}

/// What a server's connections are accepted with.
#[derive(Clone)]
pub struct ServerSide {
    /// For tokio-rustls.
    pub config: Arc<ServerConfig>,
    /// End of the certificate's validity, Unix seconds.
    pub certificate_expires: u64,
}

impl fmt::Debug for ClientSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSide").field("certificate_expires", &self.certificate_expires).finish_non_exhaustive()
    }
}

impl fmt::Debug for ServerSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSide").field("certificate_expires", &self.certificate_expires).finish_non_exhaustive()
    }
}

/// TLS of a client; `section` is where its settings stand (`[backend]`), `alpn` what it speaks, best first.
///
/// # Errors
/// A file cannot be read or used: which, and why.
pub fn client(settings: &ClientTls, section: &str, alpn: &[&[u8]]) -> Result<Watched<ClientSide>, SecretError> {
    let alpn: Vec<Vec<u8>> = alpn.iter().map(|name| name.to_vec()).collect();
    let authorities =
        settings.authorities.as_ref().map(|path| SourceFile::open(format!("{section} tls_ca_file"), path));
    let identity = settings.identity.as_ref().map(|files| identity_files(files, section));
    let versions = versions(settings.min_version);
    let files = authorities.iter().cloned().chain(identity.iter().flatten().cloned()).collect();
    Watched::new(format!("{section} TLS"), files, move |contents| {
        let (mut roots, mut authorities_expire) = (RootCertStore::empty(), 0);
        let mut contents = contents.iter();
        if let Some((file, octets)) =
            authorities.as_ref().zip(if authorities.is_some() { contents.next() } else { None })
        {
            (roots, authorities_expire) = pem::authorities(file, octets)?;
        } else {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|e| format!("{}: {e}", name_of(authorities.as_ref())))?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(|e| e.to_string())?
            .with_webpki_verifier(verifier);
        let (mut config, certificate_expires) = match identity.as_ref().zip(contents.next().zip(contents.next())) {
            Some(([certificate, key], (chain, secret))) => {
                let (chain, expires) = pem::chain(certificate, chain)?;
                let secret = pem::key(key, secret)?;
                let config =
                    builder.with_client_auth_cert(chain, secret).map_err(|e| pem::unfit(certificate, key, &e))?;
                (config, expires)
            }
            None => (builder.with_no_client_auth(), 0),
        };
        config.alpn_protocols.clone_from(&alpn);
        Ok(ClientSide { config: Arc::new(config), certificate_expires, authorities_expire })
    })
}

/// TLS of a server; `section` is where its settings stand (`[http]`), `alpn` what it speaks, best first.
///
/// # Errors
/// A file cannot be read or used: which, and why.
pub fn server(settings: &ServerTls, section: &str, alpn: &[&[u8]]) -> Result<Watched<ServerSide>, SecretError> {
    let alpn: Vec<Vec<u8>> = alpn.iter().map(|name| name.to_vec()).collect();
    let [certificate, key] = identity_files(&settings.identity, section);
    let authorities = settings
        .client_authorities
        .as_ref()
        .map(|path| SourceFile::open(format!("{section} tls_client_ca_file"), path));
    let versions = versions(settings.min_version);
    let files = [certificate.clone(), key.clone()].into_iter().chain(authorities.clone()).collect();
    Watched::new(format!("{section} TLS"), files, move |contents| {
        let (chain, certificate_expires) = pem::chain(&certificate, &contents[0])?;
        let secret = pem::key(&key, &contents[1])?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(|e| e.to_string())?;
        let builder = match authorities.as_ref().zip(contents.get(2)) {
            None => builder.with_no_client_auth(),
            Some((file, octets)) => {
                let (roots, _) = pem::authorities(file, octets)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
                    .build()
                    .map_err(|e| file.fault(e))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, secret).map_err(|e| pem::unfit(&certificate, &key, &e))?;
        config.alpn_protocols.clone_from(&alpn);
        if authorities.is_some() {
            // A session that is resumed is not asked for its certificate again, which may have ended meanwhile.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(ServerSide { config: Arc::new(config), certificate_expires })
    })
}

fn identity_files(files: &KeyPairFiles, section: &str) -> [SourceFile; 2] {
    [
        SourceFile::open(format!("{section} tls_cert_file"), &files.certificate),
        SourceFile::private(format!("{section} tls_key_file"), &files.key),
    ]
}

fn name_of(authorities: Option<&SourceFile>) -> String {
    authorities.map_or_else(|| "the built-in authorities".to_owned(), |file| file.fault("its authorities"))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

static SINCE_TLS12: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
static SINCE_TLS13: [&SupportedProtocolVersion; 1] = [&version::TLS13];

fn versions(oldest: MinVersion) -> &'static [&'static SupportedProtocolVersion] {
    match oldest {
        MinVersion::Tls12 => &SINCE_TLS12,
        MinVersion::Tls13 => &SINCE_TLS13,
    }
}

#[cfg(test)]
mod tests;
