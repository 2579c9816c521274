//! A collector under attack, and its victim.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use clarion_collector::app::Running;
use clarion_collector::config::Settings;
use clarion_collector::flow::Version;
use clarion_collector::tools::backend::Backend;
use clarion_collector::tools::synthetic::{SyntheticExporter, SyntheticOptions};

use super::common::{self, assert_balanced, wait_for};
use super::memory::held;

/// One attack at a time: memory is that of the process.
static ALONE: Mutex<()> = Mutex::new(());
/// Datagrams sent before it is waited for the collector: far below any receive buffer.
const BURST: usize = 32;
/// Records in a datagram of the victim.
const RECORDS: usize = 10;

/// Who is attacked: an exporter with templates and numbered records.
const VICTIM: Ipv4Addr = Ipv4Addr::new(127, 1, 1, 1);

pub fn now_ns() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

/// The `n`th address of an attacker.
pub fn forged(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x7F02_0000 + n)
}

pub struct Siege {
    pub running: Running,
    pub backend: Backend,
    victim: UdpSocket,
    exporter: SyntheticExporter,
    to: SocketAddr,
    sent: u64,
    _alone: MutexGuard<'static, ()>,
}

impl Siege {
    pub fn new(victim: Version, change: impl FnOnce(&mut Settings)) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let backend = common::backend();
        let mut settings = common::settings(backend.address());
        settings.collect.workers = 1;
        change(&mut settings);
        let running = common::start(settings);
        let to = common::port(&running);
        let exporter = SyntheticExporter::new(SyntheticOptions::new(victim, 1));
        let mut siege = Self { running, backend, victim: socket(VICTIM), exporter, to, sent: 0, _alone: alone };
        // It is known before the attack begins.
        siege.victim_speaks();
        siege.wait();
        siege
    }

    /// One datagram of the victim.
    pub fn victim_speaks(&mut self) {
        let octets = self.exporter.next_datagram(now_ns(), RECORDS).octets;
        self.victim.send_to(octets, self.to).expect("loopback");
        self.sent += 1;
    }

    /// A datagram of the attacker.
    pub fn send(&mut self, from: &UdpSocket, octets: &[u8]) {
        from.send_to(octets, self.to).expect("loopback");
        self.sent += 1;
        if self.sent.is_multiple_of(BURST as u64) {
            self.victim_speaks();
            self.wait();
        }
    }

    /// Waits until all that was sent was received: nothing is lost on the way, so that every record counts.
    pub fn wait(&self) {
        let (books, sent) = (&self.running.metrics.books, self.sent);
        wait_for("the datagrams", || books.ledger().datagrams_explained >= sent);
    }

    /// A datagram that was sent past `send`.
    pub const fn count_one(&mut self) {
        self.sent += 1;
    }

    /// Runs the attack in two halves; answers by how many octets the process grew in the second one.
    pub fn growth(&mut self, count: u32, mut attack: impl FnMut(&mut Self, u32)) -> i64 {
        for n in 0..count / 2 {
            attack(self, n);
        }
        self.settle();
        let before = held();
        for n in count / 2..count {
            attack(self, n);
        }
        self.settle();
        held() - before
    }

    /// Waits until nothing is in memory that is on its way.
    pub fn settle(&self) {
        self.wait();
        wait_for("the books at rest", || self.running.metrics.books.ledger().pending() == 0);
    }

    /// The victim's flows are at the backend, each of them, once; and the books balance.
    pub fn end(mut self) {
        self.victim_speaks();
        self.settle();
        let (name, serial) = (VICTIM.to_string(), self.exporter.serial());
        let stats = self.backend.stats();
        let seen = stats.serials.get(&name).copied().unwrap_or_default();
        assert_eq!((seen.count, seen.max, seen.missing, seen.doubled), (serial, serial, 0, 0), "the victim's flows");
        assert!(serial >= 2 * RECORDS as u64, "the victim spoke during the attack");
        let report = self.running.drain();
        assert_balanced(&report.ledger);
        assert_eq!(report.ledger.kernel_dropped, 0, "nothing was lost before the collector");
    }
}

/// A socket at an address of loopback.
pub fn socket(address: Ipv4Addr) -> UdpSocket {
    UdpSocket::bind((IpAddr::V4(address), 0)).expect("all of 127.0.0.0/8 is this host's")
}
