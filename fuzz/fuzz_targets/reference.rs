//! A template and records of it: the compiled plan against the slow reference decoder.
#![no_main]

use clarion_collector_fuzz::reference::check_reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    check_reference(octets);
});
