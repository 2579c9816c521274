//! Certificates of the tests' own: authorities, what they sign, and TLS clients that trust them.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clarion_collector::tls::{self, ClientTls, KeyPairFiles, MinVersion, ServerTls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// A blocking TLS client.
pub type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Who signs.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate for localhost and the loopback addresses, and its key, both PEM; it ends with `year`.
    pub fn issue(&self, year: i32) -> (String, String) {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

/// A folder with certificates of one authority.
pub struct Files {
    pub folder: tempfile::TempDir,
    pub authority: Authority,
}

impl Files {
    /// Authority, certificate and key: `ca.pem`, `cert.pem`, `key.pem`.
    pub fn new() -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap(), authority: Authority::new("first") };
        files.write("ca.pem", &files.authority.pem());
        files.put(&files.authority.issue(2090));
        files
    }

    /// Puts a certificate and its key in place.
    pub fn put(&self, (certificate, key): &(String, String)) {
        self.write("cert.pem", certificate);
        self.write("key.pem", key);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces a file by a rename, as tools that rotate do.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let (path, new) = (self.path(name), self.path(".new"));
        std::fs::write(&new, content).unwrap();
        std::fs::rename(new, &path).unwrap();
        path
    }

    pub fn server(&self) -> ServerTls {
        let identity = KeyPairFiles { certificate: self.path("cert.pem"), key: self.path("key.pem") };
        ServerTls { identity, client_authorities: None, min_version: MinVersion::Tls12 }
    }

    /// A client that trusts what is in `ca.pem` now.
    pub fn client(&self) -> Arc<ClientConfig> {
        client(&self.path("ca.pem"), None, &[b"http/1.1"])
    }
}

/// A client that trusts `authorities`, shows `identity` if it has one, and speaks `alpn`.
pub fn client(authorities: &Path, identity: Option<KeyPairFiles>, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let settings = ClientTls { authorities: Some(authorities.to_owned()), identity, min_version: MinVersion::Tls12 };
    Arc::clone(&tls::client(&settings, "[test]", alpn).unwrap().current().config)
}

/// Handshake done, or why not.
pub fn dial(at: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<Tls> {
    let mut tcp = TcpStream::connect(at)?;
    tcp.set_read_timeout(Some(Duration::from_secs(20)))?;
    let name = ServerName::try_from(at.ip().to_string()).unwrap();
    let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(std::io::Error::other)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp)?;
    }
    Ok(StreamOwned::new(tls, tcp))
}
