//! A flow collector that accounts for every record between the wire and the backend.
//!
//! ```text
//!  exporters --UDP--> collect ----> decode ----> flow ------> queue -----> sink --------> backend
//!                     Datagram      Message      FlowRecord   FlowBatch    EncodedBatch   HTTP POST
//!                     (borrowed)    Set/Template (plain old   (bounded     (bytes::Bytes)
//!                      pinned       DecodePlan    data)        hand-off)    tokio side
//!                      OS thread    pure, no I/O               OS threads     |    ^
//!                                                                             v    |
//!                                                                           spool (own thread, disk)
//!  web and metrics read counters and snapshots of every stage; nothing in the path ever waits for them.
//! ```
//!
//! The modules follow a datagram: read them in this order. `docs/architecture.md` is the long form.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "clarion-collector needs Linux >= 5.10 (recvmmsg, SO_REUSEPORT groups, SO_MEMINFO): run it in its container"
);

pub mod element;
pub mod flow;
pub mod limits;

pub mod collect;
pub mod decode;
pub mod queue;
pub mod secret;
pub mod share;
pub mod sink;
pub mod spool;
pub mod tls;

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod logging;
pub mod metrics;
pub mod monitor;
pub mod notify;
pub mod refresh;
pub mod throttle;
pub mod tools;
pub mod web;
