//! Wire bytes -> Datagram: worker threads with their own sockets. No tokio.
//!
//! [`Collector::bind`] opens everything that can fail for the operator: ports, buffers, rules, cores.
//! [`Collector::start`] lets the workers run; each decodes what it receives and hands full batches to
//! the queue through [`HandOver`]. [`Workers::drain`] leaves the ports without loss and ends them.

mod admit;
mod advice;
mod cache;
mod collector;
mod company;
mod cores;
mod counts;
mod domains;
mod exporters;
mod faults;
mod gateway;
mod inherit;
mod learned;
mod notices;
mod pace;
mod park;
mod picture;
mod pipeline;
mod policy;
mod ports;
mod rejected;
mod rules;
mod socket;
mod steer;
mod sys;
mod worker;

pub use admit::{AdmissionSettings, Prefix, RateLimit, Refusal};
pub use collector::{Collector, DrainReport, Workers};
pub use company::Company;
pub use exporters::ExporterTable;
pub use faults::{Fault, FaultKind, Judge, offset as clock_offset, own_clock, skew_of};
pub use gateway::Gateways;
pub use inherit::Inherited;
pub use learned::LearnedTable;
pub use pace::{Pacing, Rates, Spell, Totals};
pub use picture::{ExporterDetail, ExporterStatus};
pub use pipeline::decoding_now;
pub use policy::{Followed, Policy};
pub use ports::{PortSocket, SocketOwner, owner as socket_owner, sockets_below, tcp_listeners_below};
pub use rejected::Rejected;
pub use socket::{CollectError, LeavingSocket, ObtainedBuffer, try_bind};
pub use steer::{PortLock, validate as validate_steering};
pub use sys::{FileSystemRoom, KernelClock, file_system_room, kernel_clock, monotonic_us, send_with_descriptors};

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::decode::{DecodeSettings, Profile, SessionPolicy};
use crate::flow::FlowBatch;
use crate::queue::FlowSender;

/// Where a worker's full batches go: the queue's sender. Never blocks.
pub trait HandOver: Send {
    /// An empty batch to begin with.
    fn first_batch(&self) -> Box<FlowBatch>;

    /// Takes the records of `batch` and leaves an empty one in its place. What cannot be taken is
    /// dropped and counted by the callee.
    fn hand_over(&self, batch: &mut Box<FlowBatch>);

    /// Records that a batch aims at.
    fn batch_records(&self) -> usize {
        crate::limits::FLOW_BATCH_RECORDS
    }
}

impl HandOver for FlowSender {
    fn first_batch(&self) -> Box<FlowBatch> {
        Self::first_batch(self)
    }

    fn hand_over(&self, batch: &mut Box<FlowBatch>) {
        Self::hand_over(self, batch);
    }

    fn batch_records(&self) -> usize {
        Self::batch_records(self)
    }
}

/// One UDP port that is listened on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSettings {
    /// `listener` label: the name, else the port.
    pub name: String,
    /// Address to bind; `::` takes IPv4 too and falls back to 0.0.0.0 where there is no IPv6.
    pub address: IpAddr,
    /// Port; 0 takes a free one (shared by the workers of this process).
    pub port: u16,
    /// Network interface to bind to.
    pub interface: Option<String>,
    /// Tenant of all that comes in here.
    pub tenant: String,
}

/// How workers are placed on cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pin {
    /// Pin when this process alone may use its cores.
    #[default]
    Auto,
    /// Pin always.
    On,
    /// Leave it to the scheduler.
    Off,
}

/// Which socket of the group gets an exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Steering {
    /// The kernel's 4-tuple hash.
    #[default]
    Kernel,
    /// By source address (needs `exclusive`).
    Source,
    /// By receiving CPU (needs `exclusive`).
    Cpu,
    /// At random (needs `exclusive`).
    Random,
}

/// What the operator says of some exporters; the most specific match wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExporterRule {
    /// Prefix that the address must be in.
    pub prefix: (IpAddr, u8),
    /// Only for this listener, by name or port.
    pub listener: Option<String>,
    /// Only for this observation domain.
    pub domain: Option<u32>,
    /// Name for people.
    pub name: Option<String>,
    /// Tenant instead of the listener's.
    pub tenant: Option<String>,
    /// `switch_id` instead of the address.
    pub switch_id: Option<String>,
    /// Rate if nothing else tells one.
    pub sampling_default: Option<u32>,
    /// Rate that beats everything.
    pub sampling_override: Option<u32>,
    /// Session policy instead of the version's default.
    pub session: Option<SessionPolicy>,
    /// How its messages are meant.
    pub profile: Profile,
    /// Datagrams a second instead of those of all exporters; 0 lifts the limit.
    pub datagrams_per_second: Option<u64>,
    /// Octets a second instead of those of all exporters; 0 lifts the limit.
    pub octets_per_second: Option<u64>,
}

/// What receiving needs to know.
#[derive(Debug, Clone)]
pub struct CollectSettings {
    /// Ports.
    pub listeners: Vec<ListenerSettings>,
    /// Worker threads, each with a socket per listener.
    pub workers: usize,
    /// Receive buffer a listener asks for, shared by its workers, octets.
    pub receive_buffer: u64,
    /// Placing of workers.
    pub pin: Pin,
    /// Spreading of exporters over workers.
    pub steering: Steering,
    /// This process alone may use its ports.
    pub exclusive: bool,
    /// Who may send, and how much.
    pub admission: AdmissionSettings,
    /// Rules, in the order of the file.
    pub rules: Vec<ExporterRule>,
    /// Decoder settings of exporters that no rule changes.
    pub decode: DecodeSettings,
    /// switch_id is the exporter's address; else `switch_id`.
    pub switch_id_from_ip: bool,
    /// switch_id where neither the address nor a rule gives one.
    pub switch_id: String,
    /// Bound of parked sets, octets.
    pub parked_octets_max: u64,
    /// Directory of the files that sets are parked in beyond that; None keeps them in memory alone.
    pub park_dir: Option<PathBuf>,
    /// Bound of these files, octets.
    pub parked_disk_octets_max: u64,
    /// Octets of the ring of datagrams that made no sense; 0 keeps none.
    pub rejected_octets_max: u64,
    /// Bound of templates and options, octets.
    pub learned_octets_max: u64,
    /// Oldest a worker's batch gets before it is handed over.
    pub flow_batch_age: Duration,
    /// After this time without any datagram one line says what to check.
    pub silence_hint: Duration,
}

#[cfg(test)]
mod tests;
