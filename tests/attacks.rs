//! What a hostile sender may try, tried: each test bears the id of the attack (docs/protocols.md, "What a hostile sender
//! may try"), measures the bound, and has a victim: an exporter whose numbered flows come between the attack's datagrams
//! and must all arrive, once each.
//!
//! Everything is real but the network: a collector on loopback, senders at addresses of 127.0.0.0/8, a backend that
//! knows every serial. Counts are scaled to seconds; `cargo test --release --test attacks -- --ignored` runs the full
//! ones. A counting allocator says what memory is held; tests wait for each other, so that it is theirs.

#![allow(unsafe_code, reason = "an allocator cannot be written without; it only counts and passes on")]

#[path = "process/child.rs"]
mod child;
mod common;
#[path = "../fuzz/src/encode.rs"]
mod encode;
#[path = "attacks/exporters.rs"]
mod exporters;
#[path = "common/frames.rs"]
mod frames;
#[path = "attacks/memory.rs"]
mod memory;
#[path = "attacks/octets.rs"]
mod octets;
#[path = "attacks/siege.rs"]
mod siege;
#[path = "attacks/text.rs"]
mod text;
