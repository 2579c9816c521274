//! A snapshot of learned state, as a disk or a stranger may give it.
#![no_main]

use clarion_collector_fuzz::snapshots::check_snapshot;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    check_snapshot(octets);
});
