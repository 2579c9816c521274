//! One GET by hand: a URL, a deadline, and back comes the status with the first line of the body.
//!
//! `http://` is tried first where no scheme is known, and `https://` where the answer is none of HTTP:
//! whether the collector has a certificate depends on settings that a check cannot always see. On
//! loopback a certificate is not checked, because it is made out for the host's name and the answer
//! comes from this machine; elsewhere it is, against the built-in roots.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::tls;

/// Octets of an answer that are read: head, and the beginning of the body.
const ANSWER_OCTETS_MAX: u64 = 16 * 1_024;

/// Where to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    /// None: plain first, then TLS.
    tls: Option<bool>,
    host: String,
    port: u16,
    path: String,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    /// The URL that was answered.
    pub(super) url: String,
    pub(super) status: u16,
    body: String,
}

impl Answer {
    /// What the answer says, without what a terminal would obey.
    pub(super) fn first_line(&self) -> String {
        self.body.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(300).collect()
    }
}

impl Url {
    /// `address` with `path`, by whichever of HTTP and HTTPS it speaks.
    pub(super) fn of(address: SocketAddr, path: &str) -> Self {
        Self { tls: None, host: address.ip().to_string(), port: address.port(), path: path.to_owned() }
    }

    /// `http://` or `https://`, a host, and if need be a port and a path.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let wrong = || format!("--url {text:?} is no URL to ask: write one such as http://127.0.0.1:8081/livez");
        let (scheme, rest) = text.split_once("://").with_context(wrong)?;
        let tls = match scheme {
            "http" => false,
            "https" => true,
            _ => bail!(wrong()),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => (&rest[..at], &rest[at..]),
            None => (rest, super::PATH),
        };
        // A colon behind the brackets of an IPv6 address, or the only one.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok().with_context(wrong)?),
            _ => (authority, if tls { 443 } else { 80 }),
        };
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bracketed.unwrap_or(host);
        let named = host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
        let right = match bracketed {
            Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
            None => named && !host.is_empty(),
        };
        if !right || !path.chars().all(|c| c.is_ascii_graphic()) {
            bail!(wrong());
        }
        Ok(Self { tls: Some(tls), host: host.to_owned(), port, path: path.to_owned() })
    }

    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    fn text(&self, tls: bool) -> String {
        format!("{}://{}{}", if tls { "https" } else { "http" }, self.authority(), self.path)
    }
}

/// Asks, until `end` at most.
///
/// # Errors
/// One line: nobody there, no answer in time, no HTTP.
pub(super) fn ask(url: &Url, end: Instant) -> anyhow::Result<Answer> {
    match url.tls {
        Some(tls) => by(url, tls, end),
        None => by(url, false, end).or_else(|plain| {
            // Nobody listens: TLS would change nothing.
            let silent = plain.downcast_ref::<NoHttp>().is_none();
            if silent { Err(plain) } else { by(url, true, end).map_err(|_| plain) }
        }),
    }
}

/// Something answered, but not by HTTP.
#[derive(Debug, thiserror::Error)]
#[error("not healthy: {0} is not answered by HTTP")]
struct NoHttp(String);

fn by(url: &Url, tls: bool, end: Instant) -> anyhow::Result<Answer> {
    let name = url.text(tls);
    let (stream, address) = connect(url, end).with_context(|| format!("not healthy: {name} cannot be reached"))?;
    let mut stream = Timed { stream, end };
    let request =
        format!("GET {} HTTP/1.0\r\nHost: {}\r\nUser-Agent: clarion-collector\r\n\r\n", url.path, url.authority());
    let octets = if tls {
        let server = ServerName::try_from(url.host.clone()).with_context(|| format!("{name}: no name of a server"))?;
        let connection = ClientConnection::new(client(address.ip())?, server)?;
        exchange(&mut StreamOwned::new(connection, stream), &request)
    } else {
        exchange(&mut stream, &request)
    };
    let octets = match octets {
        Ok(octets) => octets,
        Err(error) if is_late(&error) => {
            bail!("not healthy: {name} did not answer within {} s", super::PATIENCE.as_secs())
        }
        // A TLS side ends the connection of a plain request.
        Err(_) if !tls => return Err(NoHttp(name).into()),
        Err(error) => return Err(error).with_context(|| format!("not healthy: {name} cannot be read")),
    };
    let text = String::from_utf8_lossy(&octets);
    let status = text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|code| code.parse().ok());
    let Some(status) = status else { return Err(NoHttp(name).into()) };
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    Ok(Answer { url: name, status, body })
}

fn connect(url: &Url, end: Instant) -> anyhow::Result<(TcpStream, SocketAddr)> {
    let mut last = None;
    for address in (url.host.as_str(), url.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(end)) {
            Ok(stream) => return Ok((stream, address)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| anyhow::anyhow!("the name has no address"), Into::into))
}

/// What is left until `end`; never nothing, which the system would take for "for ever".
fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

fn is_late(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

/// Sends the request and reads until the end, or until enough is there.
fn exchange(stream: &mut (impl Read + Write), request: &str) -> std::io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut octets = Vec::new();
    match stream.take(ANSWER_OCTETS_MAX).read_to_end(&mut octets) {
        // A connection that is cut behind an answer has given it.
        Err(error) if octets.is_empty() || is_late(&error) => Err(error),
        _ => Ok(octets),
    }
}

/// A stream whose every operation ends at the same moment, so that drops of an answer do not add up.
struct Timed {
    stream: TcpStream,
    end: Instant,
}

impl Read for Timed {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if Instant::now() >= self.end {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left(self.end)))?;
        self.stream.read(into)
    }
}

impl Write for Timed {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.end)))?;
        self.stream.write(octets)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

/// TLS towards `address`: the built-in roots, and on loopback whoever answers.
fn client(address: IpAddr) -> anyhow::Result<Arc<ClientConfig>> {
    if address.is_loopback() {
        return Ok(tls::client_that_believes_any_certificate()?);
    }
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    Ok(Arc::new(builder.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    /// A server that takes `connections` and does `with` each.
    fn server(connections: usize, with: impl Fn(TcpStream) + Send + 'static) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let address = listener.local_addr().expect("its address");
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().take(connections) {
                with(stream.expect("a connection"));
            }
        });
        (address, thread)
    }

    /// Reads a request's head; false if there is none.
    fn read_head(stream: &mut impl Read) -> bool {
        let (mut head, mut octet) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut octet), Ok(1)) {
            head.push(octet[0]);
        }
        !head.is_empty()
    }

    #[test]
    fn urls_are_taken_apart() {
        let url = |text| Url::parse(text).map(|url| (url.tls, url.host, url.port, url.path)).ok();
        let of = |tls, host: &str, port, path: &str| Some((Some(tls), host.to_owned(), port, path.to_owned()));
        assert_eq!(url("http://127.0.0.1:9100"), of(false, "127.0.0.1", 9100, "/livez"));
        assert_eq!(url("https://node-3.example/readyz"), of(true, "node-3.example", 443, "/readyz"));
        assert_eq!(url("http://[::1]:8081/"), of(false, "::1", 8081, "/"));
        assert_eq!(url("http://[::1]"), of(false, "::1", 80, "/livez"));
        for wrong in ["", "8081", "ftp://x", "http://", "http://x:70000", "http://::1", "http://[x]", "http://a b/"] {
            assert_eq!(url(wrong), None, "{wrong}");
        }
        assert_eq!(Url::of("[::1]:9100".parse().expect("an address"), "/livez").text(true), "https://[::1]:9100/livez");
    }

    #[test]
    fn the_status_and_the_reason_come_back() {
        let (address, thread) = server(1, |mut stream| {
            assert!(read_head(&mut stream));
            let _ = stream.write_all(b"HTTP/1.0 503 Service Unavailable\r\n\r\nstale: \x1b[31mworker-1\nmore");
        });
        let answer = ask(&Url::of(address, "/livez"), soon()).expect("an answer");
        assert_eq!((answer.status, answer.first_line().as_str()), (503, "stale: [31mworker-1"));
        thread.join().expect("the server ends");
    }

    #[test]
    fn nobody_there_and_nobody_who_answers_are_told() {
        let held = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let address = held.local_addr().expect("its address");
        // Listening, never answering: the kernel takes the connection.
        let late = ask(&Url::of(address, "/livez"), Instant::now() + Duration::from_millis(50));
        assert!(late.expect_err("no answer").to_string().contains("did not answer"));
        drop(held);
        let gone = ask(&Url::of(address, "/livez"), soon()).expect_err("nobody is there");
        assert!(format!("{gone:#}").contains("cannot be reached"), "{gone:#}");
        let (address, thread) = server(2, |mut stream| {
            let _ = stream.write_all(b"220 mail.example ESMTP\r\n");
        });
        let other = ask(&Url::of(address, "/livez"), soon()).expect_err("no HTTP");
        assert!(other.to_string().contains("is not answered by HTTP"), "{other:#}");
        thread.join().expect("the server ends");
    }

    #[test]
    fn a_certificate_of_ones_own_is_taken_on_loopback() {
        let made = rcgen::generate_simple_self_signed(vec!["collector.example".to_owned()]).expect("a certificate");
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("they fit");
        let config = Arc::new(config);
        // The plain request first, which TLS refuses, then the real one.
        let (address, thread) = server(2, move |stream| {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).expect("a connection");
            let mut stream = StreamOwned::new(connection, stream);
            if !read_head(&mut stream) {
                return;
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok");
            stream.conn.send_close_notify();
            let _ = stream.flush();
        });
        let answer = ask(&Url::of(address, "/livez"), soon()).expect("an answer");
        assert_eq!((answer.status, answer.url.as_str()), (200, format!("https://{address}/livez").as_str()));
        thread.join().expect("the server ends");
    }
}
