//! A UDP socket that only sends, and the pace it sends at.
//!
//! Shared by `replay` and `generate`. The socket is connected, which spares the kernel a route
//! look-up per datagram; a port where nobody listens is counted, and is no reason to stop.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// Longest sleep: a request to stop is seen within it.
const SLEEP_MAX: Duration = Duration::from_millis(50);
/// Shortest sleep: below it the scheduler's own delay is larger.
const SLEEP_MIN: Duration = Duration::from_micros(200);
/// How often a full send buffer is waited for before the datagram counts as an error.
const TRIES_MAX: u32 = 100;

/// A connected socket and what nobody took.
#[derive(Debug)]
pub(super) struct Sender {
    socket: UdpSocket,
    /// Datagrams that met a closed port.
    pub(super) refused: u64,
}

impl Sender {
    /// A socket from `source` (None: the kernel's choice) and `port` (0: a free one; one that is
    /// taken or not allowed becomes a free one) to `to`.
    ///
    /// # Errors
    /// The address cannot be bound or reached, or there are no more descriptors.
    pub(super) fn open(source: Option<IpAddr>, port: u16, to: SocketAddr) -> anyhow::Result<Self> {
        let any = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let address = source.unwrap_or(any);
        // Below 1024 a privilege is needed that no tool should ask for.
        let wanted = if port < 1_024 { 0 } else { port };
        let socket =
            UdpSocket::bind((address, wanted)).or_else(|_| UdpSocket::bind((address, 0))).with_context(|| {
                format!("cannot open a socket from {address}: is `ulimit -n` large enough for one socket an exporter?")
            })?;
        socket.connect(to).with_context(|| format!("cannot send from {address} to {to}"))?;
        Ok(Self { socket, refused: 0 })
    }

    /// Address that it sends from.
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Sends one datagram; waits while the kernel has no room for it.
    ///
    /// # Errors
    /// What the kernel says of it, a closed port excepted.
    pub(super) fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        let mut tries = 0;
        loop {
            match self.socket.send(octets) {
                Ok(_) => return Ok(()),
                // An earlier datagram's ICMP answer: this one was not sent yet.
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused && tries < TRIES_MAX => self.refused += 1,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if is_full(&e) && tries < TRIES_MAX => std::thread::sleep(SLEEP_MIN),
                Err(e) => return Err(e),
            }
            tries += 1;
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

/// How many units of a rate are due: an average that is kept, with a bound on catching up.
#[derive(Debug)]
pub(super) struct Pace {
    rate: f64,
    begun: Instant,
    done: f64,
}

/// After a stall at most so many seconds' worth is sent in one go; what lies further back is lost
/// to the rate, since a burst would measure the receiver's buffer and not the rate.
const CATCH_UP_SECONDS: f64 = 0.25;

impl Pace {
    /// `rate` units a second from now on.
    pub(super) fn new(rate: f64) -> Self {
        Self { rate, begun: Instant::now(), done: 0.0 }
    }

    /// Units due now; may be negative after a datagram that was larger than what was due.
    pub(super) fn due(&mut self) -> f64 {
        let expected = self.begun.elapsed().as_secs_f64() * self.rate;
        let most = (self.rate * CATCH_UP_SECONDS).max(1.0);
        if expected - self.done > most {
            self.done = expected - most;
        }
        expected - self.done
    }

    /// Counts `units` as done.
    pub(super) fn count(&mut self, units: f64) {
        self.done += units;
    }

    /// Sleeps until `units` are due, or for the longest sleep.
    pub(super) fn sleep_until_due(&mut self, units: f64) {
        let missing = units - self.due();
        if missing > 0.0 {
            std::thread::sleep(Duration::from_secs_f64((missing / self.rate).min(1.0)).clamp(SLEEP_MIN, SLEEP_MAX));
        }
    }
}

/// Sleeps until `when`, or until `stop` is set.
pub(super) fn sleep_until(when: Instant, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        let left = when.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(SLEEP_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_caught_up_in_bounds() {
        let mut pace = Pace::new(1_000_000.0);
        pace.begun = Instant::now().checked_sub(Duration::from_secs(10)).expect("the machine is up for 10 s");
        let due = pace.due();
        assert!((250_000.0..251_000.0).contains(&due), "{due}");
        pace.count(due);
        assert!(pace.due() >= 0.0);
    }

    #[test]
    fn a_closed_port_is_counted_and_sending_goes_on() {
        // A port that was free a moment ago and that nobody holds now.
        let port = UdpSocket::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("loopback").port();
        let mut sender = Sender::open(None, 0, SocketAddr::from(([127, 0, 0, 1], port))).expect("a socket");
        for _ in 0..4 {
            sender.send(b"x").expect("a closed port is no error");
        }
        assert!(sender.refused > 0);
    }
}
