//! Leaving and coming back: SIGTERM under load in a group and alone, sockets that outlive the process, hung threads.

#[path = "process/child.rs"]
mod child;
#[path = "leaving/group.rs"]
mod group;
#[path = "leaving/inherited.rs"]
mod inherited;
#[path = "leaving/supervised.rs"]
mod supervised;
