//! One datagram of any version, received by a collector that has learned nothing.
#![no_main]

use clarion_collector_fuzz::invariants::check_datagram;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    check_datagram(octets);
});
