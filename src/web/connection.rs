//! One connection: TLS if it is set, HTTP/1.1 on top, each step with an end.
//!
//! An accepted socket enters; answers leave on it. A handshake, a head, the whole connection have a bound time, and whoever
//! idles gives way to a newcomer. Plain HTTP on a TLS port is answered in plain, because its sender could read nothing else.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::guests::Seat;
use super::route::Desk;
use crate::limits::{
    HTTP_CONNECTION_AGE_MS, HTTP_GRACE_MS, HTTP_HANDSHAKE_MS, HTTP_HEAD_OCTETS_MAX, HTTP_HEAD_TIMEOUT_MS,
    HTTP_HEADERS_MAX,
};

/// One connection, until the peer ends it, its age is reached, its place is needed, or the process stops.
pub(super) async fn converse(
    stream: TcpStream,
    peer: IpAddr,
    desk: Arc<Desk>,
    stopped: watch::Receiver<bool>,
    seat: Seat,
    slot: OwnedSemaphorePermit,
) {
    // Answers are written whole: waiting for more would only delay their end.
    let _ = stream.set_nodelay(true);
    let seat = Arc::new(seat);
    tokio::select! {
        () = seat.must_leave() => {}
        () = welcome(stream, peer, &desk, stopped, &seat) => {}
    }
    drop(slot);
}

async fn welcome(stream: TcpStream, peer: IpAddr, desk: &Arc<Desk>, stopped: watch::Receiver<bool>, seat: &Arc<Seat>) {
    let Some(tls) = desk.door().tls() else { return speak(stream, peer, desk, stopped, seat).await };
    let patience = Duration::from_millis(HTTP_HANDSHAKE_MS);
    match timeout(patience, shake_hands(stream, TlsAcceptor::from(Arc::clone(&tls.config)))).await {
        Ok(Ok(Some(stream))) => speak(stream, peer, desk, stopped, seat).await,
        // Somebody only looked whether the port is open, as load balancers do.
        Ok(Ok(None)) => {}
        Ok(Err(why)) => desk.note_handshake(peer, &why),
        Err(_) => desk.note_handshake(peer, "it did not finish in time"),
    }
}

/// The TLS stream, or why there is none; None if the peer went away without a word.
async fn shake_hands(mut stream: TcpStream, acceptor: TlsAcceptor) -> Result<Option<TlsStream<TcpStream>>, String> {
    let mut first = [0_u8; 1];
    if !stream.peek(&mut first).await.is_ok_and(|came| came > 0) {
        return Ok(None);
    }
    // A method's first letter; a TLS record of a handshake begins with 22.
    if first[0].is_ascii_alphabetic() {
        answer_in_plain(&mut stream).await;
        return Err("it spoke plain HTTP".to_owned());
    }
    acceptor.accept(stream).await.map(Some).map_err(|e| e.to_string())
}

/// Tells a client that speaks plain HTTP what to do.
async fn answer_in_plain(stream: &mut TcpStream) {
    const WORDS: &str = "this port speaks TLS: write https:// in place of http://\n";
    let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n";
    // What was sent is read, once: closing over unread octets would reset the connection, and the answer with it.
    let mut request = vec![0_u8; HTTP_HEAD_OCTETS_MAX];
    let _ = stream.read(&mut request).await;
    let _ = stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{WORDS}", WORDS.len()).as_bytes()).await;
    let _ = stream.shutdown().await;
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: IpAddr,
    desk: &Arc<Desk>,
    mut stopped: watch::Receiver<bool>,
    seat: &Arc<Seat>,
) {
    let service = service_fn(move |request| {
        seat.asked(desk.now_ns());
        let response = desk.respond(&request, peer);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(HTTP_HEAD_TIMEOUT_MS))
        .max_header_size(HTTP_HEAD_OCTETS_MAX)
        .max_headers(HTTP_HEADERS_MAX)
        .max_buf_size(HTTP_HEAD_OCTETS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // An error here is the peer's: it went away or spoke no HTTP, and was answered if it could be.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = sleep(Duration::from_millis(HTTP_CONNECTION_AGE_MS)) => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(Duration::from_millis(HTTP_GRACE_MS), connection).await;
}

/// Tells a connection too many why it is closed, if its buffer takes the few octets at once.
pub(super) fn turn_away(stream: TcpStream) {
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write(
            b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        );
    }
}
