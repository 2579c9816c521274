//! The text of an elements file, as an operator may have written it.
#![no_main]

use clarion_collector_fuzz::elements::check_elements;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    check_elements(octets);
});
