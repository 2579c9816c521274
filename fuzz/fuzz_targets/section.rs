//! The octets of a sampled packet inside a record: frames, label stacks, IP headers.
#![no_main]

use clarion_collector_fuzz::invariants::check_section;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    check_section(octets);
});
