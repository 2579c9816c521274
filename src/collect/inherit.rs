//! Sockets that the process was started with: read from the environment, checked, matched to the listeners.
//!
//! What enters is LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES as a service manager sets them, and the descriptors
//! themselves; all of it is checked, since anybody may set variables. What leaves is a group of sockets a listener.
//! They come from a socket unit, or from the manager's store, where an earlier process of this service left its own:
//! the store's names begin with [`KEPT`]. Either way they outlive this process, and datagrams that come while none
//! runs wait in them.
//!
//! The rule: a descriptor belongs to the listener that it is named after, else to the one on its address and port.
//! A listener with descriptors from a unit has these alone; one with descriptors from the store gets further
//! ones where workers would have none. Worker i of n reads those at i, i + n, i + 2n.

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use socket2::{Domain, Socket, Type};

use super::socket::{CollectError, Group, ListenerSocket, ObtainedBuffer, claim, open, set_buffer};
use super::{CollectSettings, ListenerSettings, sys};
use crate::limits::{DESCRIPTOR_NAME_OCTETS_MAX, INHERITED_MAX};

/// How the names of descriptors begin that a process of this service left in the store.
const KEPT: &str = "kept-";
/// Name of a descriptor that is the HTTP side's.
const HTTP: &str = "http";

/// What the process was started with; nothing by default.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<InheritedSocket>,
    http: Option<TcpListener>,
    /// Names in the store that mean nothing any more.
    forgotten: Vec<String>,
}

/// A bound UDP socket that came with the process.
#[derive(Debug)]
struct InheritedSocket {
    place: String,
    name: String,
    address: SocketAddr,
    socket: Socket,
}

impl InheritedSocket {
    fn is_stored(&self) -> bool {
        self.name.starts_with(KEPT)
    }

    /// The listener that it is for: by name, else by address.
    fn fits(&self, listener: &ListenerSettings) -> bool {
        let named = self.name == listener.name;
        let (own, wanted) = (self.address.ip(), listener.address);
        let port = self.address.port() == listener.port || (named && listener.port == 0);
        let interface = self.socket.device().ok().flatten();
        let same_interface = interface.as_deref() == listener.interface.as_ref().map(|name| name.as_bytes());
        // Bound to all of one family is a part of bound to all.
        port && same_interface && (own == wanted || (own.is_unspecified() && wanted.is_unspecified()))
    }

    fn describe(&self) -> String {
        format!("{} is bound to UDP {}", self.place, self.address)
    }
}

impl Inherited {
    /// Takes what `environment` announces for the process `pid`. To be called first of all, and once.
    ///
    /// # Errors
    /// The announcement makes no sense, or a descriptor is not what it must be; each says which and what to do.
    pub fn take(environment: impl Fn(&str) -> Option<OsString>, pid: u32) -> Result<Self, CollectError> {
        let names = announced(&environment, pid).map_err(CollectError::Settings)?;
        let mut inherited = Self::default();
        for ((number, taken), name) in sys::take_inherited(names.len()).into_iter().zip(names) {
            let place = format!("descriptor {number} ({name:?} in LISTEN_FDNAMES)");
            let taken = taken.map_err(|e| {
                CollectError::Settings(format!("LISTEN_FDS announces {place}, but it is not open: {e}; {NOT_OURS}"))
            })?;
            inherited.sort_in(place, name, taken).map_err(CollectError::Settings)?;
        }
        Ok(inherited)
    }

    fn sort_in(&mut self, place: String, name: String, descriptor: OwnedFd) -> Result<(), String> {
        let socket = Socket::from(descriptor);
        let kind = socket.r#type().map_err(|e| format!("{place} is no socket: {e}; {NOT_OURS}"))?;
        let address = socket.local_addr().ok().and_then(|a| a.as_socket());
        let Some(address) = address.filter(|a| a.port() != 0) else {
            return Err(format!("{place} is not bound to an address of IPv4 or IPv6 with a port; {NOT_OURS}"));
        };
        if name == HTTP {
            if kind != Type::STREAM || !socket.is_listener().unwrap_or(false) {
                return Err(format!("{place} is no listening TCP socket: the name http is for that of the HTTP side"));
            }
            if self.http.is_some() {
                return Err(format!("{place}: the HTTP side takes one socket, and this is the second with that name"));
            }
            socket.set_nonblocking(true).map_err(|e| format!("{place} cannot be made non-blocking: {e}"))?;
            self.http = Some(socket.into());
            return Ok(());
        }
        if kind != Type::DGRAM || socket.protocol().ok().flatten() != Some(socket2::Protocol::UDP) {
            return Err(format!(
                "{place} is no UDP socket: flows come by ListenDatagram=; a TCP socket for the HTTP side needs \
                 FileDescriptorName=http"
            ));
        }
        if let Ok(peer) = socket.peer_addr() {
            return Err(format!("{place} is connected to {:?}: it would receive from there alone", peer.as_socket()));
        }
        self.sockets.push(InheritedSocket { place, name, address, socket });
        Ok(())
    }

    /// The HTTP side's listening socket, if there is one.
    pub fn take_http(&mut self) -> Option<TcpListener> {
        self.http.take()
    }

    /// True if nothing came.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty() && self.http.is_none()
    }

    /// Deals the sockets out to `listeners`, in their order. What the store has and no listener wants is closed.
    ///
    /// # Errors
    /// A socket of the unit that no listener is for, or a listener that the unit forgot.
    pub(super) fn deal(&mut self, listeners: &[ListenerSettings]) -> Result<Vec<Dealt>, CollectError> {
        let mut dealt: Vec<Dealt> = listeners.iter().map(|_| Dealt::default()).collect();
        let from_unit = self.sockets.iter().any(|s| !s.is_stored());
        for socket in std::mem::take(&mut self.sockets) {
            let named = listeners.iter().position(|l| socket.name == l.name);
            let place = named.or_else(|| listeners.iter().position(|l| socket.fits(l)));
            match place {
                Some(at) if socket.fits(&listeners[at]) => dealt[at].sockets.push(socket),
                _ if socket.is_stored() => {
                    tracing::info!(address = %socket.address, "a stored socket fits no listener any more and is closed");
                    self.forgotten.push(socket.name);
                }
                Some(at) => return Err(CollectError::Settings(misfit(&socket, &listeners[at]))),
                None => return Err(CollectError::Settings(unwanted(&socket, listeners))),
            }
        }
        let missing = dealt.iter().position(|d| d.sockets.is_empty());
        if let (true, Some(at)) = (from_unit, missing) {
            let ListenerSettings { name, address, port, .. } = &listeners[at];
            return Err(CollectError::Settings(format!(
                "listener {name}: the socket unit passed sockets for others and none for this one; add \
                 ListenDatagram={} to the unit, or take the listener out of the configuration",
                SocketAddr::new(*address, *port)
            )));
        }
        Ok(dealt)
    }

    /// Names in the store that mean nothing any more.
    pub(super) fn forgotten(&mut self) -> Vec<String> {
        self.forgotten.sort();
        self.forgotten.dedup();
        std::mem::take(&mut self.forgotten)
    }
}

const NOT_OURS: &str = "start the process without LISTEN_FDS, or with the sockets that it announces";

/// Names of the descriptors that `environment` announces for `pid`, in their order.
fn announced(environment: impl Fn(&str) -> Option<OsString>, pid: u32) -> Result<Vec<String>, String> {
    let text = |key: &str| {
        environment(key)
            .map(|value| value.into_string().map_err(|_| format!("{key} is no text; {NOT_OURS}")))
            .transpose()
    };
    let Some(count) = text("LISTEN_FDS")? else { return Ok(Vec::new()) };
    let Some(whose) = text("LISTEN_PID")? else { return Ok(Vec::new()) };
    // Meant for a process that started this one and passed its surroundings on.
    if whose.parse::<u32>().map_err(|_| format!("LISTEN_PID={whose:?} is no process id; {NOT_OURS}"))? != pid {
        return Ok(Vec::new());
    }
    let count = count.parse::<usize>().ok().filter(|n| *n <= INHERITED_MAX);
    let Some(count) = count else {
        return Err(format!("LISTEN_FDS is no number from 0 to {INHERITED_MAX}; {NOT_OURS}"));
    };
    let names = match text("LISTEN_FDNAMES")? {
        Some(names) if count > 0 => names.split(':').map(str::to_owned).collect(),
        _ => vec!["unknown".to_owned(); count],
    };
    if names.len() != count {
        return Err(format!(
            "LISTEN_FDNAMES has {} names for the {count} descriptors of LISTEN_FDS; {NOT_OURS}",
            names.len()
        ));
    }
    match names.iter().find(|name| name.len() > DESCRIPTOR_NAME_OCTETS_MAX) {
        Some(_) => {
            Err(format!("LISTEN_FDNAMES has a name of more than {DESCRIPTOR_NAME_OCTETS_MAX} octets; {NOT_OURS}"))
        }
        None => Ok(names),
    }
}

fn misfit(socket: &InheritedSocket, listener: &ListenerSettings) -> String {
    let ListenerSettings { name, address, port, interface, .. } = listener;
    let on = interface.as_ref().map_or_else(String::new, |i| format!(" on interface {i}"));
    format!(
        "{}, but listener {name}, whose name it has, is configured for {}{on}; make the socket unit (ListenDatagram=, \
         BindToDevice=) and the listener agree",
        socket.describe(),
        SocketAddr::new(*address, *port),
    )
}

fn unwanted(socket: &InheritedSocket, listeners: &[ListenerSettings]) -> String {
    let known: Vec<String> =
        listeners.iter().map(|l| format!("{} ({})", l.name, SocketAddr::new(l.address, l.port))).collect();
    format!(
        "{}, and no listener is: there is {}; add a [[listener]] for it, or take it out of the socket unit",
        socket.describe(),
        known.join(", ")
    )
}

/// The inherited sockets of one listener; none by default.
#[derive(Debug, Default)]
pub(super) struct Dealt {
    sockets: Vec<InheritedSocket>,
}

impl Dealt {
    /// The group of `listener`: these sockets, or new ones where there are none.
    ///
    /// # Errors
    /// As binding a group: the port has another owner, or an option cannot be set.
    pub fn into_group(self, listener: &ListenerSettings, settings: &CollectSettings) -> Result<Group, CollectError> {
        let CollectSettings { workers, receive_buffer, steering, exclusive, .. } = *settings;
        let Some(first) = self.sockets.first() else {
            return Group::bind(listener, workers, receive_buffer, steering, exclusive);
        };
        let (address, stored) = (first.address, self.sockets.iter().all(InheritedSocket::is_stored));
        let lock = claim(listener, address.port(), exclusive)?;
        let asked = receive_buffer / self.sockets.len().max(workers) as u64;
        let (mut sockets, mut buffer) = (Vec::with_capacity(self.sockets.len().max(workers)), None);
        let families: Vec<Domain> = self.sockets.iter().map(|s| Domain::for_address(s.address)).collect();
        for inherited in self.sockets {
            let (socket, obtained) = prepare(inherited, listener, asked)?;
            // The smallest one is what a burst meets.
            buffer = buffer.filter(|b: &ObtainedBuffer| b.granted <= obtained.granted).or(Some(obtained));
            sockets.push(Arc::new(socket));
        }
        let inherited = sockets.len();
        while stored && sockets.len() < workers {
            sockets.push(Arc::new(open(listener, address, asked)?.0));
        }
        let buffer = buffer.unwrap_or(ObtainedBuffer { asked, granted: 0, forced: false });
        let mut group = Group { name: listener.name.clone(), address, sockets, buffer, warnings: Vec::new(), lock };
        group.settle(listener, workers, steering, exclusive)?;
        if group.sockets.len() < workers {
            group.warnings.push(format!(
                "listener {}: {inherited} inherited sockets for {workers} workers: the others get nothing of it; give \
                 the socket unit as many ListenDatagram= lines with ReusePort=yes, or set [receive] workers lower",
                listener.name
            ));
        }
        if listener.address.is_ipv6() && !families.contains(&Domain::IPV6) {
            group.warnings.push(format!(
                "listener {}: the inherited sockets are of IPv4 alone, the listener is for {}: no IPv6 exporter is heard",
                listener.name, listener.address
            ));
        }
        Ok(group)
    }
}

/// Sets what can still be set. A buffer only grows: a smaller one would drop what the unit's would hold.
fn prepare(
    inherited: InheritedSocket,
    listener: &ListenerSettings,
    asked: u64,
) -> Result<(ListenerSocket, ObtainedBuffer), CollectError> {
    let InheritedSocket { place, address, socket, .. } = inherited;
    let failed = |step| move |source| CollectError::Socket { listener: listener.name.clone(), step, address, source };
    socket.set_nonblocking(true).map_err(failed("make non-blocking what was inherited"))?;
    sys::set_receive_timestamps(&socket).map_err(failed("ask for receive times"))?;
    let has = socket.recv_buffer_size().map_err(failed("read the receive buffer"))? as u64 / 2;
    let obtained = if has < asked {
        set_buffer(&socket, asked).map_err(failed("set the receive buffer"))?
    } else {
        ObtainedBuffer { asked, granted: has, forced: false }
    };
    let drops = sys::memory_info(&socket).map_err(failed("read the receive memory"))?.drops;
    let mut socket = ListenerSocket::new(socket, obtained.granted).map_err(failed("look at the socket"))?;
    socket.drops_before = drops;
    socket.keep();
    tracing::info!(listener = %listener.name, %address, drops_before = drops, "{place} is taken over");
    if drops > 0 {
        tracing::warn!(
            listener = %listener.name,
            drops,
            "the kernel had dropped datagrams at an inherited socket before this process read it: what the process before \
             did not count is in no counter"
        );
    }
    Ok((socket, obtained))
}

/// Puts the sockets of `groups` that end with this process into a store: `store` is told a name and the
/// sockets, and says whether they are kept from now on. What the store has already is told again, which
/// changes nothing there, so that a name stands for all of its listener.
pub(super) fn keep(groups: &[Group], mut store: impl FnMut(&str, &[BorrowedFd<'_>]) -> bool) {
    for group in groups {
        let sockets: Vec<BorrowedFd<'_>> = group.sockets.iter().map(|s| s.as_fd()).collect();
        if store(&stored_name(&group.name), &sockets) {
            group.sockets.iter().for_each(|s| s.keep());
        }
    }
}

/// A name that the store takes: no colon and no control character, 255 octets at most.
fn stored_name(listener: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() && c != ':' { c } else { '_' };
    let room = DESCRIPTOR_NAME_OCTETS_MAX - KEPT.len();
    KEPT.chars().chain(listener.chars().map(plain).take(room)).collect()
}

#[cfg(test)]
mod tests;
