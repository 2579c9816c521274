//! A segment of the spool, as a disk may give it back.
#![no_main]

use clarion_collector_fuzz::spools::check_spool;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    check_spool(octets);
});
