//! The real processes: collector and backend as an operator starts them, under load, signals and faults.

#[path = "process/beside.rs"]
mod beside;
#[path = "process/child.rs"]
mod child;
#[path = "process/closed.rs"]
mod closed;
#[path = "process/configured.rs"]
mod configured;
#[path = "process/ends.rs"]
mod ends;
#[path = "process/fields.rs"]
mod fields;
#[path = "process/network.rs"]
mod network;
#[path = "process/rejected.rs"]
mod rejected;
#[path = "process/reload.rs"]
mod reload;
#[path = "process/spool.rs"]
mod spool;
#[path = "process/state.rs"]
mod state;
#[path = "process/streams.rs"]
mod streams;
