//! A capture file: pcap or pcapng, plain or packed, any link type, whole or in fragments.
#![no_main]

use clarion_collector_fuzz::captures::check_capture;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    check_capture(octets);
});
