//! A connection to the backend: name -> address -> TCP -> proxy -> TLS -> HTTP.
//!
//! Enters: host and port. Leaves: a [`Connection`] that sends requests. Promised: the name is asked at each connect
//! (behind a service name the addresses change), all addresses share one time limit, each later step has the same
//! limit again, and dropping a connection of HTTP/1.1 closes it. What fails is told with its cause; nothing of a
//! request has left then.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, Socket};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Failure;
use super::connection::{Connection, One, Two};
use super::request::{Form, RequestTemplate};
use super::wire::{Stream, Wire, tls_error_of};
use super::{trouble, tunnel};
use crate::limits;
use crate::metrics::Tally;
use crate::secret::Watched;
use crate::sink::retry::{Fault, Random};
use crate::sink::{HttpVersion, Proxy, SinkError, SinkSettings};
use crate::tls::{self, ClientSide};

const ALPN_TWO: &[u8] = b"h2";
const ALPN_ONE: &[u8] = b"http/1.1";

/// Opens connections to one backend.
#[derive(Debug)]
pub(super) struct Connector {
    host: String,
    port: u16,
    /// `host:port`, for a tunnel.
    authority: String,
    timeout: Duration,
    max_age: Duration,
    version: HttpVersion,
    proxy: Option<Proxy>,
    tls: Option<(Watched<ClientSide>, ServerName<'static>)>,
    shows_certificate: bool,
    /// End of the validity of the certificate that the backend showed last, Unix seconds.
    server_expiry: Tally,
    random: Mutex<Random>,
}

impl Connector {
    /// # Errors
    /// A file for TLS cannot be used, or the host is no name that a certificate could hold.
    pub(super) fn new(settings: &SinkSettings) -> Result<Self, SinkError> {
        let (backend, access) = (&settings.backend, &settings.access);
        let alpn: &[&[u8]] = match access.http_version {
            HttpVersion::Auto => &[ALPN_TWO, ALPN_ONE],
            HttpVersion::One => &[ALPN_ONE],
            HttpVersion::Two => &[ALPN_TWO],
        };
        let tls = if backend.tls {
            let name = ServerName::try_from(backend.host.clone())
                .map_err(|_| SinkError::ServerName { host: backend.host.clone() })?;
            Some((tls::client(&access.tls, "[backend]", alpn)?, name))
        } else {
            None
        };
        let host = if backend.host.contains(':') { format!("[{}]", backend.host) } else { backend.host.clone() };
        Ok(Self {
            host: backend.host.clone(),
            port: backend.port,
            authority: format!("{host}:{}", backend.port),
            timeout: settings.connect_timeout,
            max_age: settings.connection_max_age,
            version: access.http_version,
            proxy: access.proxy.clone(),
            tls,
            shows_certificate: access.tls.identity.is_some(),
            server_expiry: Tally::default(),
            random: Mutex::new(Random::from_system()),
        })
    }

    /// What TLS is made of; None without TLS.
    pub(super) fn tls(&self) -> Option<&Watched<ClientSide>> {
        self.tls.as_ref().map(|(side, _)| side)
    }

    /// End of the validity of the certificate that the backend showed last, Unix seconds; 0 before it showed one.
    pub(super) fn server_expiry(&self) -> Tally {
        self.server_expiry.clone()
    }

    /// The configuration that a connection of now would have.
    pub(super) fn tls_now(&self) -> Option<Arc<ClientConfig>> {
        self.tls().map(|side| Arc::clone(&side.current().config))
    }

    /// True if HTTP/2 may be spoken.
    pub(super) fn may_speak_two(&self) -> bool {
        match self.version {
            HttpVersion::One => false,
            HttpVersion::Two => true,
            HttpVersion::Auto => self.tls.is_some(),
        }
    }

    /// A proxy that is given whole URLs; a tunnel needs no other form.
    fn form(&self) -> Form {
        if self.proxy.is_some() && !self.tunnels() { Form::Proxied } else { Form::Origin }
    }

    fn tunnels(&self) -> bool {
        self.tls.is_some() || self.version == HttpVersion::Two
    }

    /// A new connection.
    ///
    /// # Errors
    /// `Fault::Connect`, `Fault::Proxy` or `Fault::Tls` with the reason.
    pub(super) async fn connect(&self, template: &RequestTemplate) -> Result<Connection, Failure> {
        let stream = match &self.proxy {
            None => self.reach(&self.host, self.port).await.map_err(|detail| failed(Fault::Connect, detail))?,
            Some(proxy) => self
                .through(proxy, template)
                .await
                .map_err(|detail| failed(Fault::Proxy, format!("the proxy {}: {detail}", proxy.display)))?,
        };
        let socket = SockRef::from(&stream).try_clone().map_err(|e| failed(Fault::Connect, e.to_string()))?;
        let wire = Arc::new(Wire::default());
        let Some((side, name)) = &self.tls else {
            let stream = Stream::plain(stream, Arc::clone(&wire));
            return self.shake_hands(stream, self.version == HttpVersion::Two, wire, socket, None).await;
        };
        let config = Arc::clone(&side.current().config);
        let stream = self.encrypt(stream, Arc::clone(&config), name.clone()).await?;
        let session = stream.get_ref().1;
        if let Some(leaf) = session.peer_certificates().and_then(|chain| chain.first()) {
            self.server_expiry.set(tls::expiry(leaf));
        }
        let two = session.alpn_protocol() == Some(ALPN_TWO);
        if self.version == HttpVersion::Two && !two {
            let detail = "the backend does not offer HTTP/2 (ALPN h2): set [backend] http_version to auto or 1.1";
            return Err(failed(Fault::Tls, detail.to_owned()));
        }
        let stream = Stream::tls(stream, Arc::clone(&wire));
        self.shake_hands(stream, two, wire, socket, Some(config)).await
    }

    /// TCP to `host`.
    async fn reach(&self, host: &str, port: u16) -> Result<TcpStream, String> {
        let deadline = Instant::now() + self.timeout;
        let addresses = match tokio::time::timeout_at(deadline, resolve(host, port)).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(e)) => return Err(format!("the name {host} has no address: {e}")),
            Err(_) => return Err(format!("no answer about the name {host} in {:?}", self.timeout)),
        };
        let mut failure = format!("the name {host} has no address");
        let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        for (index, address) in (0_u32..).zip(addresses) {
            // What is left is shared among the addresses that are left: one that swallows packets (IPv6
            // without a route back) must not use up the time of the next.
            let share = deadline.saturating_duration_since(Instant::now()) / (count - index);
            match timeout(share, dial(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(e)) => failure = format!("{address}: {e}"),
                Err(_) => failure = format!("{address}: no connection in {share:?}"),
            }
        }
        Err(failure)
    }

    async fn through(&self, proxy: &Proxy, template: &RequestTemplate) -> Result<TcpStream, String> {
        let mut stream = self.reach(&proxy.host, proxy.port).await?;
        if self.tunnels() {
            let opened = tunnel::open(&mut stream, &self.authority, template.proxy_authorization());
            match timeout(self.timeout, opened).await {
                Ok(opened) => opened?,
                Err(_) => return Err(format!("no answer to CONNECT {} in {:?}", self.authority, self.timeout)),
            }
        }
        Ok(stream)
    }

    async fn encrypt(
        &self,
        stream: TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let detail = match timeout(self.timeout, TlsConnector::from(config).connect(name, stream)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(e)) => match tls_error_of(&e) {
                Some(reason) => self.explain(reason),
                None => format!("the backend closed the connection during the TLS handshake: {e}"),
            },
            Err(_) => trouble::too_slow(self.timeout),
        };
        Err(failed(Fault::Tls, detail))
    }

    /// A TLS error in words.
    pub(super) fn explain(&self, error: &rustls::Error) -> String {
        trouble::explain(error, &self.host, self.shows_certificate)
    }

    async fn shake_hands(
        &self,
        stream: Stream,
        two: bool,
        wire: Arc<Wire>,
        socket: Socket,
        config: Option<Arc<ClientConfig>>,
    ) -> Result<Connection, Failure> {
        let io = TokioIo::new(stream);
        let expires = Instant::now() + self.lifetime();
        let broken = |e: hyper::Error| failed(Fault::Connect, super::chain(&e));
        if two {
            let ping = Duration::from_millis(limits::HTTP2_PING_MS);
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(ping)
                .keep_alive_timeout(ping)
                .handshake(io)
                .await
                .map_err(broken)?;
            // Its end shows in `sender`.
            tokio::spawn(async move { drop(connection.await) });
            return Ok(Connection::Two(Arc::new(Two::new(sender, wire, socket, config, expires))));
        }
        let (sender, connection) =
            http1::Builder::new().max_buf_size(limits::RESPONSE_OCTETS_MAX).handshake(io).await.map_err(broken)?;
        // Its error reaches whoever waits for an answer through `sender`.
        let task = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Ok(Connection::One(One::new(sender, wire, socket, config, expires, task, self.form())))
    }

    /// The oldest that this connection gets: jittered, so that they do not all end at once.
    fn lifetime(&self) -> Duration {
        let tenth = u64::try_from(self.max_age.as_nanos() / 10).unwrap_or(u64::MAX);
        let early = self.random.lock().unwrap_or_else(PoisonError::into_inner).up_to(tenth);
        self.max_age.saturating_sub(Duration::from_nanos(early))
    }
}

async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    match host.parse::<IpAddr>() {
        Ok(address) => Ok(vec![SocketAddr::new(address, port)]),
        Err(_) => Ok(tokio::net::lookup_host((host, port)).await?.collect()),
    }
}

async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // A request is written in one go: waiting for the last segment's company only adds delay.
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn failed(fault: Fault, detail: String) -> Failure {
    Failure { fault, handed_over: false, untouched: true, detail }
}
