//! Sockets of a listener: bound as a reuseport group, with buffers and timestamps, and left without loss.
//!
//! What enters is a listener's settings, what leaves is one non-blocking socket a worker, all on one
//! port, and what the kernel granted instead of what was asked. A leaving process takes the sockets
//! that end with it out of their group by connecting them to a discard address: the kernel then chooses
//! others, or refuses and counts what comes, and the queue stays readable (plan section 5, promise 7).
//! Sockets that somebody keeps beyond this process stay as they are: what comes waits in them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::company::Seat;
use super::steer::{self, PortLock};
use super::{ListenerSettings, Steering, ports, sys};

/// Why receiving could not start; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// Settings that do not fit together.
    #[error("{0}")]
    Settings(String),
    /// Somebody has the port and does not share it.
    #[error("{0}")]
    AddressInUse(String),
    /// The process may not do it.
    #[error("{0}")]
    NotPermitted(String),
    /// Any other failure of a socket.
    #[error("listener {listener}: cannot {step} on {address}: {source}")]
    Socket {
        /// Name of the listener.
        listener: String,
        /// What was tried.
        step: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

/// One worker's socket of one listener.
#[derive(Debug)]
pub struct ListenerSocket {
    pub(super) socket: Socket,
    pub(super) inode: u64,
    /// Receive buffer that it has, octets.
    pub(super) granted: u64,
    /// What the kernel had dropped there before this process began to read it.
    pub(super) drops_before: u32,
    /// Somebody keeps it open when this process has ended, and the next one reads what waits in it.
    kept: AtomicBool,
}

impl ListenerSocket {
    pub(super) fn new(socket: Socket, granted: u64) -> io::Result<Self> {
        let inode = sys::inode(&socket)?;
        Ok(Self { socket, inode, granted, drops_before: 0, kept: AtomicBool::new(false) })
    }

    /// From now on somebody keeps it beyond this process.
    pub fn keep(&self) {
        self.kept.store(true, Ordering::Release);
    }

    /// True if somebody keeps it beyond this process: leaving means to read it no longer.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Acquire)
    }
}

impl AsFd for ListenerSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Receive buffer of a listener: octets of one of its sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObtainedBuffer {
    /// Asked for: the listener's share of one worker.
    pub asked: u64,
    /// Granted, in the same measure (the kernel's own figure is twice this).
    pub granted: u64,
    /// True if it was set past net.core.rmem_max (CAP_NET_ADMIN).
    pub forced: bool,
}

/// All sockets of one listener.
#[derive(Debug)]
pub struct Group {
    /// Name of the listener.
    pub name: String,
    /// Where it is bound; the port is the one obtained.
    pub address: SocketAddr,
    /// Worker i of n reads those at i, i + n, i + 2n ...: one each, where this process bound them.
    pub sockets: Vec<Arc<ListenerSocket>>,
    /// What the kernel granted.
    pub buffer: ObtainedBuffer,
    /// Sentences for the operator about what was not obtained.
    pub warnings: Vec<String>,
    pub(super) lock: Option<PortLock>,
}

impl Group {
    /// Binds `workers` sockets for `listener`, `receive_buffer` octets together.
    ///
    /// # Errors
    /// The port is taken, forbidden, or a step of it failed.
    pub fn bind(
        listener: &ListenerSettings,
        workers: usize,
        receive_buffer: u64,
        steering: Steering,
        exclusive: bool,
    ) -> Result<Self, CollectError> {
        let lock = if listener.port == 0 { None } else { claim(listener, listener.port, exclusive)? };
        let asked = receive_buffer / workers.max(1) as u64;
        let mut wanted = SocketAddr::new(listener.address, listener.port);
        let first = match open(listener, wanted, asked) {
            Err(CollectError::Socket { source, .. })
                if listener.address == Ipv6Addr::UNSPECIFIED && ipv6_is_missing(&source) =>
            {
                wanted.set_ip(Ipv4Addr::UNSPECIFIED.into());
                open(listener, wanted, asked)?
            }
            other => other?,
        };
        let address = first.0.socket.local_addr().ok().and_then(|a| a.as_socket()).unwrap_or(wanted);
        // A port that the kernel chose is known only now.
        let lock = match lock {
            None if listener.port == 0 => claim(listener, address.port(), exclusive)?,
            lock => lock,
        };
        let (mut sockets, buffer) = (vec![Arc::new(first.0)], first.1);
        for _ in 1..workers {
            sockets.push(Arc::new(open(listener, address, asked)?.0));
        }
        let mut group = Self { name: listener.name.clone(), address, sockets, buffer, warnings: Vec::new(), lock };
        group.settle(listener, workers, steering, exclusive)?;
        Ok(group)
    }

    /// What is left to do when all sockets are there: the port is free of others if it must be, and steered.
    pub(super) fn settle(
        &mut self,
        listener: &ListenerSettings,
        workers: usize,
        steering: Steering,
        exclusive: bool,
    ) -> Result<(), CollectError> {
        if exclusive && let Some(other) = self.others().first() {
            return Err(CollectError::AddressInUse(format!(
                "listener {}: exclusive = true, but UDP port {} is also bound to {}; stop it, or set exclusive = false",
                self.name,
                self.address.port(),
                other.describe()
            )));
        }
        let (first, count) = (&*self.sockets[0], self.sockets.len());
        steer::attach(first, steering, count).map_err(|source| CollectError::Socket {
            listener: listener.name.clone(),
            step: "attach the steering program",
            address: self.address,
            source,
        })?;
        self.warn(listener, workers);
        Ok(())
    }

    fn warn(&mut self, listener: &ListenerSettings, workers: usize) {
        let ObtainedBuffer { asked, granted, .. } = self.buffer;
        if granted < asked {
            self.warnings.push(format!(
                "listener {}: the kernel granted {granted} octets of receive buffer a socket instead of {asked} (the \
                 listener's buffer over {workers} workers), so bursts are lost earlier; set sysctl \
                 net.core.rmem_max={asked} on the host, or give the process CAP_NET_ADMIN",
                self.name
            ));
        }
        if listener.address == Ipv6Addr::UNSPECIFIED && self.address.is_ipv4() {
            self.warnings
                .push(format!("listener {}: no IPv6 here; bound to {} instead of ::", self.name, self.address));
        }
        // Measured: beside a 0.0.0.0 group a :: group gets no IPv4 at all.
        let (ours, theirs) = match self.address.ip() {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => ("::", IpAddr::from(Ipv4Addr::UNSPECIFIED)),
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => ("0.0.0.0", IpAddr::from(Ipv6Addr::UNSPECIFIED)),
            _ => return,
        };
        if let Some(other) = self.others().iter().find(|s| s.address == theirs) {
            self.warnings.push(format!(
                "listener {}: bound to {ours} port {}, which is also bound to {}: the sockets on 0.0.0.0 get all of \
                 IPv4; bind all collectors of this host in one form",
                self.name,
                self.address.port(),
                other.describe()
            ));
        }
    }

    /// Sockets on this port that are not of this group.
    #[must_use]
    pub fn others(&self) -> Vec<ports::PortSocket> {
        let own: Vec<u64> = self.sockets.iter().map(|s| s.inode).collect();
        ports::others_on(self.address.port(), &own)
    }

    /// What tells its sockets from others'.
    pub(super) fn seat(&self) -> Seat {
        let inodes = self.sockets.iter().map(|s| s.inode).collect();
        Seat { name: self.name.clone(), address: self.address.ip(), port: self.address.port(), inodes }
    }

    /// Takes the sockets that end with this process out of their group; their queues stay readable, and nothing new
    /// comes in. Kept ones stay where they are.
    pub fn leave(&self) -> LeavingSocket {
        let (kept, own): (Vec<_>, Vec<_>) = self.sockets.iter().partition(|s| s.is_kept());
        if own.is_empty() {
            return LeavingSocket::Kept;
        }
        let alone = kept.is_empty() && (self.lock.is_some() || self.others().is_empty());
        if !alone && !self.address.ip().is_unspecified() && !kernel_at_least(6, 13) {
            return LeavingSocket::NotPossible(
                "before Linux 6.13 a socket on a specific address cannot leave its group",
            );
        }
        // Port 9 is discard: nothing will ever come from there.
        let discard = match self.address {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 9)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::LOCALHOST, 9)),
        };
        if kept.is_empty() {
            // A program would go on to choose among places that are empty. There is none unless this
            // process steers, or an earlier owner of the port left it behind.
            let _ = sys::detach_steering(&**own[0]);
        }
        // Last first: the kernel moves the last member into the hole that a leaving one makes.
        for socket in own.iter().rev() {
            if let Err(e) = socket.socket.connect(&SockAddr::from(discard)) {
                tracing::warn!(listener = %self.name, error = %e, "a socket could not leave its group");
                return LeavingSocket::NotPossible("connect failed");
            }
        }
        if alone { LeavingSocket::Alone } else { LeavingSocket::Left }
    }
}

/// Tries what a worker's socket of `listener` would get, on a free port: the listener's own would take
/// datagrams away from whom they are meant for. The socket is closed again at once.
///
/// # Errors
/// As binding the listener itself: the address, the interface or the family cannot be had.
pub fn try_bind(
    listener: &ListenerSettings,
    workers: usize,
    receive_buffer: u64,
) -> Result<(SocketAddr, ObtainedBuffer), CollectError> {
    let elsewhere = ListenerSettings { port: 0, ..listener.clone() };
    let share = receive_buffer / workers.max(1) as u64;
    let group = Group::bind(&elsewhere, 1, share, Steering::Kernel, false)?;
    Ok((group.address, group.buffer))
}

/// How the sockets of a listener left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeavingSocket {
    /// Taken out of the group: nothing new comes in, others get it.
    Left,
    /// The same, and nobody else is on the port: what still comes is refused by the kernel (UdpNoPorts).
    Alone,
    /// Kept open by whoever gave or stores them: no longer read, what comes waits for the next process.
    Kept,
    /// Others are on the port and the sockets could not leave; why.
    NotPossible(&'static str),
}

/// Respects and, if `exclusive`, takes the lock of `port`.
pub(super) fn claim(listener: &ListenerSettings, port: u16, exclusive: bool) -> Result<Option<PortLock>, CollectError> {
    let held = || {
        CollectError::AddressInUse(format!(
            "listener {}: another collector on this host has UDP port {port} to itself (exclusive = true), so this one \
             would get nothing; stop it, choose another port, or set exclusive = false there",
            listener.name
        ))
    };
    if exclusive {
        return PortLock::take(port)
            .map_err(|source| CollectError::Socket {
                listener: listener.name.clone(),
                step: "take the port's lock",
                address: SocketAddr::new(listener.address, port),
                source,
            })?
            .map(Some)
            .ok_or_else(held);
    }
    if PortLock::is_held(port) { Err(held()) } else { Ok(None) }
}

fn ipv6_is_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT))
}

/// One socket of the group, bound to `address`.
pub(super) fn open(
    listener: &ListenerSettings,
    address: SocketAddr,
    buffer: u64,
) -> Result<(ListenerSocket, ObtainedBuffer), CollectError> {
    let failed = |step| move |source| CollectError::Socket { listener: listener.name.clone(), step, address, source };
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))
        .map_err(failed("make a socket"))?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false).map_err(failed("accept IPv4 beside IPv6"))?;
    }
    // With the option set, the kernel may choose a port that another group of this user already has:
    // a port of its own choice is bound without it first, and becomes a group afterwards.
    let chosen_by_kernel = address.port() == 0;
    if !chosen_by_kernel {
        socket.set_reuse_port(true).map_err(failed("share the port"))?;
    }
    if let Some(interface) = &listener.interface {
        socket
            .bind_device(Some(interface.as_bytes()))
            .map_err(|source| interface_error(listener, interface, &source))?;
    }
    let obtained = set_buffer(&socket, buffer).map_err(failed("set the receive buffer"))?;
    sys::set_receive_timestamps(&socket).map_err(failed("ask for receive times"))?;
    socket.bind(&SockAddr::from(address)).map_err(|source| bind_error(listener, address, source))?;
    if chosen_by_kernel {
        socket.set_reuse_port(true).map_err(failed("share the port"))?;
    }
    let socket = ListenerSocket::new(socket, obtained.granted).map_err(failed("look at the socket"))?;
    Ok((socket, obtained))
}

/// Sets and reads back. The kernel doubles what it is asked for, to account for its own overhead,
/// and silently caps it at net.core.rmem_max where it may not be forced.
pub(super) fn set_buffer(socket: &Socket, asked: u64) -> io::Result<ObtainedBuffer> {
    let forced = sys::force_receive_buffer(socket, asked).is_ok();
    if !forced {
        socket.set_recv_buffer_size(usize::try_from(asked).unwrap_or(usize::MAX).min(i32::MAX as usize / 2))?;
    }
    let granted = socket.recv_buffer_size()? as u64 / 2;
    Ok(ObtainedBuffer { asked, granted, forced })
}

fn interface_error(listener: &ListenerSettings, interface: &str, source: &io::Error) -> CollectError {
    CollectError::NotPermitted(format!(
        "listener {}: cannot bind to interface {interface:?}: {source}; name an interface of `ip link`, or leave \
         interface out (before Linux 5.7 this needs CAP_NET_RAW)",
        listener.name
    ))
}

fn bind_error(listener: &ListenerSettings, address: SocketAddr, source: io::Error) -> CollectError {
    let (name, port) = (&listener.name, address.port());
    match source.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            let holders: Vec<String> = ports::sockets_on(port).iter().map(ports::PortSocket::describe).collect();
            let holders = if holders.is_empty() { "unknown".to_owned() } else { holders.join(", ") };
            CollectError::AddressInUse(format!(
                "listener {name}: UDP {address} is in use; held on {holders}. Another program must be stopped or given \
                 another port; another collector shares it only under the same numeric user id as this process, and \
                 with SO_REUSEPORT set (all releases of this one set it). Or set another port for this listener"
            ))
        }
        Some(libc::EACCES | libc::EPERM) => CollectError::NotPermitted(format!(
            "listener {name}: not permitted to bind UDP {address}: ports below net.ipv4.ip_unprivileged_port_start \
             (1024 by default) need CAP_NET_BIND_SERVICE; give the process that, or use a port from 1024 to 65535"
        )),
        Some(libc::EADDRNOTAVAIL) if !address.ip().is_unspecified() => CollectError::Settings(format!(
            "listener {name}: {} is no address of this host; use one of `ip addr`, or :: for all",
            address.ip()
        )),
        _ => CollectError::Socket { listener: name.clone(), step: "bind", address, source },
    }
}

/// True if the running kernel is at least `major.minor`.
fn kernel_at_least(major: u32, minor: u32) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|p| p.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (major, minor)
}

#[cfg(test)]
mod tests;
