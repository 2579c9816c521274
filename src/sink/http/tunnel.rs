//! CONNECT: a way through a proxy (RFC 9110, section 9.3.6).

use hyper::header::HeaderValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::escape;
use crate::limits;

/// Longest head of a proxy's answer.
const HEAD_OCTETS_MAX: usize = 16 * 1_024;

/// Asks the proxy at the other end of `stream` for a way to `authority` (host:port).
///
/// # Errors
/// What the proxy said, or that it said nothing that can be understood.
pub(super) async fn open(
    stream: &mut TcpStream,
    authority: &str,
    authorization: Option<&HeaderValue>,
) -> Result<(), String> {
    let mut head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n").into_bytes();
    if let Some(value) = authorization {
        head.extend_from_slice(b"Proxy-Authorization: ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    stream.write_all(&head).await.map_err(|e| format!("the request for a tunnel could not be sent: {e}"))?;
    let mut answer = Vec::new();
    // Octet by octet, once a connection: what comes behind the head belongs to the tunnel.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= HEAD_OCTETS_MAX {
            return Err(format!("its answer has a head of more than {HEAD_OCTETS_MAX} octets"));
        }
        match stream.read_u8().await {
            Ok(octet) => answer.push(octet),
            Err(e) if answer.is_empty() => return Err(format!("it closed the connection without an answer: {e}")),
            Err(e) => return Err(format!("its answer broke off: {e}")),
        }
    }
    let line = answer.split(|octet| *octet == b'\r').next().unwrap_or_default();
    let text = escape(line, limits::ANSWER_EXCERPT_OCTETS);
    let mut words = text.splitn(3, ' ');
    let status = words.next().filter(|version| version.starts_with("HTTP/1.")).and_then(|_| words.next());
    match status.and_then(|status| status.parse::<u16>().ok()) {
        Some(200..=299) => Ok(()),
        Some(407) => Err(format!(
            "it answered CONNECT {authority} with {text}: give it user and password, http://user:password@host:port"
        )),
        Some(_) => Err(format!(
            "it answered CONNECT {authority} with {text}: its own log and rules say why (many allow port 443 alone)"
        )),
        None => Err(format!("it answered CONNECT {authority} with what is not HTTP/1.1: {text}")),
    }
}
