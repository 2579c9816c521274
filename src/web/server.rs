//! The listening side: bind, a thread `web` with a runtime of its own, connections within bounds.
//!
//! In go [`WebSettings`] and [`Sources`], out comes a running [`WebServer`]. A connection has a bound number of
//! neighbours and gives way to a newcomer if it idles; what is spoken on it is `connection`'s business.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{interval, sleep, timeout};
use tracing::{error, info, warn};

use super::connection::{converse, turn_away};
use super::door::Door;
use super::guests::Guests;
use super::route::Desk;
use super::{Sources, WebSettings};
use crate::clock::Clock;
use crate::limits::{HTTP_CONNECTIONS_MAX, HTTP_GRACE_MS, REPEAT_S, SNAPSHOT_AGE_MS};
use crate::secret::{Refresh, SecretError, Watched};
use crate::tls::ServerSide;

/// Why the HTTP side cannot start.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// No port of the range could be bound.
    #[error(
        "http: cannot listen on {} ({}): {}; stop what holds it, or give [http] port (CLARION_COLLECTOR_HTTP_PORT) \
         a free port or a wider range such as 8081-8099",
        bind, Ports(*.first, *.last), source
    )]
    Bind {
        /// Address asked for.
        bind: IpAddr,
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
        /// What the system said of the last port tried.
        source: io::Error,
    },
    /// A certificate, key or token cannot be used.
    #[error("http: {0}")]
    Access(#[from] SecretError),
    /// The system gave no thread or no event queue.
    #[error("http: the system refused a thread or an event queue: {0}; raise the limits of processes and open files")]
    System(#[from] io::Error),
}

struct Ports(u16, u16);

impl std::fmt::Display for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 == self.1 { write!(f, "port {}", self.0) } else { write!(f, "ports {} to {}", self.0, self.1) }
    }
}

/// The running HTTP side; ends with [`WebServer::stop`] or when it is dropped.
pub struct WebServer {
    address: SocketAddr,
    watched: Vec<Arc<dyn Refresh>>,
    certificate: Option<Watched<ServerSide>>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for WebServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl WebServer {
    /// The address obtained.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The token and the certificate, as far as they are in files: to be read again now and then.
    #[must_use]
    pub fn watched(&self) -> Vec<Arc<dyn Refresh>> {
        self.watched.clone()
    }

    /// When the certificate in use ends, Unix seconds; 0 without TLS.
    #[must_use]
    pub fn certificate_expires(&self) -> Box<dyn Fn() -> u64 + Send> {
        let certificate = self.certificate.clone();
        Box::new(move || certificate.as_ref().map_or(0, |tls| tls.current().certificate_expires))
    }

    /// Stops listening, lets answers under way finish within a second, and ends the thread.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            // The thread catches its own panics and has logged them.
            let _ = thread.join();
        }
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.end();
    }
}

/// Binds the first free port of the range and serves on a thread named `web`.
///
/// # Errors
/// [`WebError`] if a certificate, key or token cannot be used, no port of the range can be bound, or the system gives no
/// thread or event queue.
pub fn start(settings: WebSettings, sources: Sources, clock: Clock) -> Result<WebServer, WebError> {
    start_on(settings, None, sources, clock)
}

/// The same on a socket that listens already, non-blocking, in place of one on the settings' address.
///
/// # Errors
/// As [`start`].
pub fn start_on(
    settings: WebSettings,
    inherited: Option<std::net::TcpListener>,
    sources: Sources,
    clock: Clock,
) -> Result<WebServer, WebError> {
    let door = Door::open(&settings)?;
    let listener = inherited.map_or_else(|| bind(&settings), Ok)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _entered = runtime.enter();
        TcpListener::from_std(listener)?
    };
    let (stop, stopped) = watch::channel(false);
    let (watched, certificate) = (door.watched(), door.certificate());
    let tls = certificate.is_some();
    let desk = Arc::new(Desk::new(sources, door, clock));
    let thread = std::thread::Builder::new().name("web".into()).spawn(move || {
        let served = catch_unwind(AssertUnwindSafe(|| runtime.block_on(serve(listener, &desk, &stopped))));
        if served.is_err() {
            error!("the HTTP side ended by a panic: health, metrics and status are gone until the process restarts");
        }
        // Connections that outlived the grace end with the runtime.
        runtime.shutdown_background();
    })?;
    info!(%address, tls, "HTTP side listens");
    Ok(WebServer { address, watched, certificate, stop, thread: Some(thread) })
}

/// The first port of the range that can be bound. `::` takes IPv4 too; where the system has no IPv6
/// it becomes 0.0.0.0.
fn bind(settings: &WebSettings) -> Result<std::net::TcpListener, WebError> {
    let (first, last) = (*settings.ports.start(), *settings.ports.end());
    let mut source = io::Error::new(io::ErrorKind::InvalidInput, "the range of ports is empty");
    for port in settings.ports.clone() {
        let mut bound = listen(SocketAddr::new(settings.bind, port));
        if settings.bind == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && bound.as_ref().is_err_and(lacks_ipv6) {
            bound = listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port));
        }
        match bound {
            Ok(listener) => return Ok(listener),
            Err(error) => source = error,
        }
    }
    Err(WebError::Bind { bind: settings.bind, first, last, source })
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    // More waiting connections than may be open would only wait for their turn to be turned away.
    let backlog = i32::try_from(HTTP_CONNECTIONS_MAX).unwrap_or(i32::MAX);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    // A restart must not wait for connections of the last run to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

async fn serve(listener: TcpListener, desk: &Arc<Desk>, stopped: &watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(HTTP_CONNECTIONS_MAX));
    let guests = Arc::new(Guests::default());
    let mut stopping = stopped.clone();
    let mut tidy = interval(Duration::from_millis(4 * SNAPSHOT_AGE_MS));
    let mut last_warning = None;
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => break,
            _ = tidy.tick() => {
                desk.forget_old_picture();
                        }
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => match slot(&slots, &guests, desk).await {
                    Some(slot) => {
                        let seat = guests.enter(peer.ip(), desk.now_ns());
                        tokio::spawn(converse(stream, peer.ip(), Arc::clone(desk), stopped.clone(), seat, slot));
                    }
                    None => {
                        desk.metrics().refused_connections.add(1);
                        turn_away(stream);
                    }
                },
                Err(error) => {
                    let now = tokio::time::Instant::now();
                    if last_warning.is_none_or(|last| now - last >= Duration::from_secs(REPEAT_S)) {
                        last_warning = Some(now);
                        warn!(%error, "HTTP side cannot accept connections: check the limit of open files (ulimit -n)");
                    }
                    // Out of file descriptors: asking again at once would only burn the core.
                    sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    let all = u32::try_from(HTTP_CONNECTIONS_MAX).unwrap_or(u32::MAX);
    let _ = timeout(Duration::from_millis(HTTP_GRACE_MS), slots.acquire_many(all)).await;
}

/// A place for a newcomer, if need be that of a connection that idles.
async fn slot(slots: &Arc<Semaphore>, guests: &Guests, desk: &Desk) -> Option<OwnedSemaphorePermit> {
    if let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
        return Some(slot);
    }
    if !guests.make_room(desk.now_ns()) {
        return None;
    }
    desk.metrics().refused_idle.add(1);
    // The one that leaves only has to be told; the time is for a runtime that is busy with answers.
    timeout(Duration::from_millis(HTTP_GRACE_MS), Arc::clone(slots).acquire_owned()).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::WebAccess;

    #[test]
    fn the_first_free_port_of_a_range_is_taken_and_a_full_range_is_named() {
        // Two neighbouring ports: hold the first, and look for one whose neighbour is free.
        for _ in 0..50 {
            let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let port = held.local_addr().unwrap().port();
            let Some(next) = port.checked_add(1) else { continue };
            let settings =
                |ports| WebSettings { bind: Ipv4Addr::LOCALHOST.into(), ports, access: WebAccess::default() };
            let Ok(second) = bind(&settings(port..=next)) else { continue };
            assert_eq!(second.local_addr().unwrap().port(), next);
            let error = bind(&settings(port..=next)).unwrap_err().to_string();
            assert!(error.contains(&format!("127.0.0.1 (ports {port} to {next})")), "{error}");
            assert!(error.contains("CLARION_COLLECTOR_HTTP_PORT"), "{error}");
            let error = bind(&settings(port..=port)).unwrap_err().to_string();
            assert!(error.contains(&format!("(port {port})")), "{error}");
            return;
        }
        panic!("no two neighbouring free ports in 50 tries");
    }

    #[test]
    fn the_unspecified_address_takes_ipv4_too() {
        let listener =
            bind(&WebSettings { bind: Ipv6Addr::UNSPECIFIED.into(), ports: 0..=0, access: WebAccess::default() })
                .unwrap();
        let port = listener.local_addr().unwrap().port();
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    }
}
