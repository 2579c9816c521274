//! What the service manager is told: ready, stopping, reloading, a status line, signs of life, sockets to keep.
//!
//! In go the variables that the manager sets (NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID, FDSTORE), all of
//! them checked, since anybody may set variables; out come datagrams of `NAME=value` lines to its socket. Without
//! a manager nothing is sent. Nobody waits for it: what it does not take at once is logged and gone.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::limits::{DESCRIPTORS_PER_MESSAGE_MAX, STATUS_OCTETS_MAX, STATUS_PAUSE_MS, WATCHDOG_PAUSE_MIN_MS};

/// Sends octets with copies of descriptors over a connected socket: a system call that std lacks.
pub type SendDescriptors = fn(&UnixDatagram, &[u8], &[BorrowedFd<'_>]) -> io::Result<()>;

/// The way to the service manager; cheap to clone. The default has none and does nothing.
#[derive(Clone, Default)]
pub struct Notifier(Option<Arc<Way>>);

struct Way {
    to: SocketAddr,
    send: SendDescriptors,
    watchdog: Option<Duration>,
    store: usize,
    failed: AtomicBool,
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Notifier").field(&self.0.as_ref().map(|way| &way.to)).finish()
    }
}

impl Notifier {
    /// The way that `environment` tells the process `pid`. What makes no sense is logged and left out: the
    /// collector works without a manager as well.
    #[must_use]
    pub fn from_environment(environment: impl Fn(&str) -> Option<OsString>, pid: u32, send: SendDescriptors) -> Self {
        let Some(socket) = environment("NOTIFY_SOCKET").filter(|value| !value.is_empty()) else { return Self(None) };
        let to = match address(socket.as_bytes()) {
            Ok(to) => to,
            Err(why) => {
                tracing::warn!(?socket, why, "NOTIFY_SOCKET cannot be used: the service manager is told nothing");
                return Self(None);
            }
        };
        let number = |key: &str| environment(key).and_then(|value| value.to_str()?.parse::<u64>().ok());
        let mine = environment("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(u64::from(pid));
        let watchdog = number("WATCHDOG_USEC").filter(|us| mine && *us > 0).map(Duration::from_micros);
        if watchdog.is_none() && mine && environment("WATCHDOG_USEC").is_some() {
            tracing::warn!("WATCHDOG_USEC is no number of microseconds: the service manager gets no sign of life");
        }
        let store = number("FDSTORE").and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        Self(Some(Arc::new(Way { to, send, watchdog, store, failed: AtomicBool::new(false) })))
    }

    /// Descriptors that the manager stores for this service; 0 without a store, or if it does not say.
    #[must_use]
    pub fn store_room(&self) -> usize {
        self.0.as_ref().map_or(0, |way| way.store)
    }

    /// Everything runs, or what [`Notifier::reloading`] began is over; `status` is shown to people.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}\n", line(status)));
    }

    /// The settings are being read again, since `monotonic_us` (CLOCK_MONOTONIC, microseconds);
    /// [`Notifier::ready`] ends it.
    pub fn reloading(&self, monotonic_us: u64) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={monotonic_us}\n"));
    }

    /// The process begins to end; `status` says why.
    pub fn stopping(&self, status: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={}\n", line(status)));
    }

    /// One line for people.
    pub fn status(&self, status: &str) {
        self.tell(&format!("STATUS={}\n", line(status)));
    }

    /// Has `sockets` stored under `name`, in place of none. True if the manager was told; whether it has room is known
    /// from [`Notifier::store_room`].
    #[must_use]
    pub fn store(&self, name: &str, sockets: &[BorrowedFd<'_>]) -> bool {
        // A socket has no hang-up to be polled for, and an error on it (an ICMP answer) is no reason to forget it.
        let octets = format!("FDSTORE=1\nFDNAME={}\nFDPOLL=0\n", line(name));
        sockets.chunks(DESCRIPTORS_PER_MESSAGE_MAX).all(|some| self.deliver(octets.as_bytes(), some))
    }

    /// Has what is stored under `name` forgotten.
    pub fn forget(&self, name: &str) {
        self.tell(&format!("FDSTOREREMOVE=1\nFDNAME={}\n", line(name)));
    }

    fn tell(&self, octets: &str) -> bool {
        self.deliver(octets.as_bytes(), &[])
    }

    fn deliver(&self, octets: &[u8], descriptors: &[BorrowedFd<'_>]) -> bool {
        let Some(way) = &self.0 else { return false };
        // A socket for each message: the manager may have been started anew in between.
        let sent = UnixDatagram::unbound().and_then(|socket| {
            socket.connect_addr(&way.to)?;
            (way.send)(&socket, octets, descriptors)
        });
        if let Err(error) = &sent
            && !way.failed.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, "the service manager could not be told (NOTIFY_SOCKET); not logged again");
        }
        sent.is_ok()
    }
}

/// A path or, after `@`, an abstract name.
fn address(socket: &[u8]) -> Result<SocketAddr, &'static str> {
    match socket {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name).map_err(|_| "the abstract name is too long"),
        [b'/', ..] => {
            SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(socket)).map_err(|_| "the path is too long")
        }
        _ => Err("it is neither a path nor an abstract name"),
    }
}

/// One line of bounded length: a line break would begin another message.
fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(STATUS_OCTETS_MAX));
    for c in text.chars() {
        if out.len() + c.len_utf8() > STATUS_OCTETS_MAX {
            break;
        }
        out.push(if c.is_control() { ' ' } else { c });
    }
    out
}

/// The thread `notify`: signs of life at half the time that the manager allows, and a status line every few
/// seconds. Ends when it is dropped.
#[derive(Debug)]
pub struct Attendance {
    // Dropping it is the signal to stop.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Attendance {
    /// Starts it; without a manager there is no thread. `still` names the threads that stand still: while it
    /// names one, no sign of life is given. `status` is the line for people.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(
        notifier: Notifier,
        still: impl Fn() -> Vec<String> + Send + 'static,
        status: impl Fn() -> String + Send + 'static,
    ) -> io::Result<Self> {
        let Some(way) = &notifier.0 else { return Ok(Self { stop: None, thread: None }) };
        let longest = Duration::from_millis(STATUS_PAUSE_MS);
        let pause = way.watchdog.map_or(longest, |limit| limit / 2);
        let pause = pause.clamp(Duration::from_millis(WATCHDOG_PAUSE_MIN_MS), longest);
        let watched = way.watchdog.is_some();
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::Builder::new().name("notify".into()).spawn(move || {
            let (mut last, mut withheld) = (String::new(), false);
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let names = still();
                if watched && names.is_empty() {
                    notifier.tell("WATCHDOG=1\n");
                } else if watched && !withheld {
                    tracing::error!(
                        threads = names.join(", "),
                        "no sign of life to the service manager: threads stand still"
                    );
                }
                withheld = !names.is_empty();
                let now = status();
                if now != last {
                    notifier.status(&now);
                    last = now;
                }
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Not longer than one message takes, and that one does not block.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Instant;

    use super::*;

    fn plain(socket: &UnixDatagram, octets: &[u8], _: &[BorrowedFd<'_>]) -> io::Result<()> {
        socket.send(octets).map(drop)
    }

    fn of(pairs: &[(&str, &str)]) -> Notifier {
        let set: HashMap<String, OsString> = pairs.iter().map(|(k, v)| ((*k).to_owned(), OsString::from(v))).collect();
        Notifier::from_environment(|key| set.get(key).cloned(), 7, plain)
    }

    fn manager(name: &str) -> (UnixDatagram, String) {
        let name = format!("clarion-notify-test-{}-{name}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let socket = UnixDatagram::bind_addr(&address).expect("bind");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        (socket, format!("@{name}"))
    }

    fn heard(manager: &UnixDatagram) -> String {
        let mut octets = [0; 2_048];
        let length = manager.recv(&mut octets).expect("a message");
        String::from_utf8(octets[..length].to_vec()).expect("text")
    }

    #[test]
    fn messages_are_lines_that_nothing_can_break() {
        let (manager, name) = manager("lines");
        let notifier = of(&[("NOTIFY_SOCKET", &name)]);
        notifier.ready("two listeners\nWATCHDOG=1");
        assert_eq!(heard(&manager), "READY=1\nSTATUS=two listeners WATCHDOG=1\n");
        notifier.reloading(12);
        assert_eq!(heard(&manager), "RELOADING=1\nMONOTONIC_USEC=12\n");
        notifier.stopping("SIGTERM");
        assert_eq!(heard(&manager), "STOPPING=1\nSTATUS=SIGTERM\n");
        notifier.status(&"é".repeat(1_000));
        assert_eq!(heard(&manager), format!("STATUS={}\n", "é".repeat(STATUS_OCTETS_MAX / 2)));
        notifier.forget("kept-2055");
        assert_eq!(heard(&manager), "FDSTOREREMOVE=1\nFDNAME=kept-2055\n");
    }

    #[test]
    fn variables_that_make_no_sense_are_left_out() {
        for socket in ["", "relative", "vsock:2:3", &format!("/{}", "x".repeat(200)), &format!("@{}", "x".repeat(200))]
        {
            assert!(of(&[("NOTIFY_SOCKET", socket)]).0.is_none(), "{socket}");
        }
        let of = |more: &[(&str, &str)]| of(&[&[("NOTIFY_SOCKET", "@x")], more].concat()).0.expect("a way");
        assert_eq!(of(&[("WATCHDOG_USEC", "30000000")]).watchdog, Some(Duration::from_secs(30)));
        assert_eq!(of(&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "7")]).watchdog, Some(Duration::from_secs(30)));
        for pid in ["8", "", "x"] {
            assert_eq!(of(&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", pid)]).watchdog, None, "{pid}");
        }
        for time in ["0", "-1", "soon", "99999999999999999999999"] {
            assert_eq!(of(&[("WATCHDOG_USEC", time)]).watchdog, None, "{time}");
        }
        assert_eq!((of(&[("FDSTORE", "512")]).store, of(&[("FDSTORE", "many")]).store, of(&[]).store), (512, 0, 0));
    }

    #[test]
    fn signs_of_life_are_given_only_while_nothing_stands_still() {
        let (manager, name) = manager("watchdog");
        let notifier = of(&[("NOTIFY_SOCKET", &name), ("WATCHDOG_USEC", "1000")]);
        let hung = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&hung);
        let still = move || if seen.load(Ordering::Acquire) { vec!["worker-0".to_owned()] } else { vec![] };
        let turns = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let (hung_now, turned) = (Arc::clone(&hung), Arc::clone(&turns));
        let status = move || {
            turned.fetch_add(1, Ordering::AcqRel);
            if hung_now.load(Ordering::Acquire) { "hung".to_owned() } else { "well".to_owned() }
        };
        let attendance = Attendance::start(notifier, still, status).expect("a thread");
        assert_eq!(
            (heard(&manager), heard(&manager), heard(&manager)),
            ("WATCHDOG=1\n".to_owned(), "STATUS=well\n".to_owned(), "WATCHDOG=1\n".to_owned())
        );
        hung.store(true, Ordering::Release);
        let end = Instant::now() + Duration::from_secs(20);
        while heard(&manager) != "STATUS=hung\n" {
            assert!(Instant::now() < end, "no such status");
        }
        let told = turns.load(Ordering::Acquire);
        while turns.load(Ordering::Acquire) < told + 3 {
            assert!(Instant::now() < end, "no more turns");
            std::thread::yield_now();
        }
        manager.set_nonblocking(true).expect("an option");
        assert!(manager.recv(&mut [0; 64]).is_err(), "a sign of life while a thread stands still");
        manager.set_nonblocking(false).expect("an option");
        hung.store(false, Ordering::Release);
        assert_eq!(heard(&manager), "WATCHDOG=1\n");
        drop(attendance);
    }

    #[test]
    fn nobody_is_waited_for() {
        let (manager, name) = manager("gone");
        drop(manager);
        let notifier = of(&[("NOTIFY_SOCKET", &name), ("FDSTORE", "2")]);
        notifier.ready("x");
        assert!(!notifier.store("kept-2055", &[]) || notifier.store_room() == 2);
        let quiet = Notifier::default();
        quiet.ready("x");
        assert!(Attendance::start(quiet, Vec::new, String::new).expect("none").thread.is_none());
    }
}
