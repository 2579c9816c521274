//! Chaos: numbered records through the real binary to the real backend, while one of the three is made to suffer.
//!
//! Every test ends with the same question, by serial number: what was sent is delivered, or counted as lost by name, and
//! what came twice came under the same key, or one derived from it. The short forms run with the other tests; the long
//! ones are the same code with more time (CONTRIBUTING.md, "Chaos").

#[path = "process/child.rs"]
mod child;
#[path = "chaos/day.rs"]
mod day;
#[path = "chaos/flood.rs"]
mod flood;
#[path = "chaos/kills.rs"]
mod kills;
#[path = "chaos/phases.rs"]
mod phases;
#[path = "chaos/rig.rs"]
mod rig;
#[path = "chaos/sick.rs"]
mod sick;
