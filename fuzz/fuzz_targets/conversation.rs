//! Several datagrams of one exporter: templates, data before and after them, redefinitions, pauses.
#![no_main]

use clarion_collector_fuzz::invariants::check_conversation;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    check_conversation(input);
});
