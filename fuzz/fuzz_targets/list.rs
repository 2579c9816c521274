//! Records that hold lists of every kind, with templates for what stands in them.
#![no_main]

use clarion_collector_fuzz::invariants::check_list;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    check_list(octets);
});
