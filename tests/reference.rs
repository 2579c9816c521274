//! The compiled plans of the decoder against a slow decoder that was written apart from them: random templates (fixed
//! and variable lengths, odd ones, repeated elements, both families of addresses), random records.

#[path = "../fuzz/src/encode.rs"]
mod encode;
#[path = "../fuzz/src/reference.rs"]
mod reference;

use clarion_collector::flow::Version;
use encode::{Head, field};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn plans_and_the_reference_decoder_agree(octets in prop::collection::vec(any::<u8>(), 0..1_200)) {
        let case = reference::Case::from_octets(&octets);
        prop_assert_eq!(reference::check_case(&case), case.records.len());
    }
}

/// The reference itself, on a record whose fields are written down here: a reference that knows nothing agrees with
/// a decoder that knows nothing.
#[test]
fn the_reference_reads_what_was_written() {
    let head = Head::new(Version::V9, 1);
    let fields = [field(8, 4), field(12, 4), field(7, 2), field(4, 1), field(1, 3), field(22, 4), field(21, 4)];
    let record = [
        &[10, 0, 0, 1, 10, 0, 0, 2][..],
        &[1, 187, 6, 1, 0, 0],
        &(head.uptime_ms - 5_000).to_be_bytes(),
        &(head.uptime_ms - 1_000).to_be_bytes(),
    ]
    .concat();
    let rows = reference::rows(&fields, &head, &[&record[..], &[0, 0]].concat()).unwrap();
    let export_ms = u128::from(head.export_s) * 1_000;
    let expected = [
        ("src_v4", 0x0A00_0001),
        ("dst_v4", 0x0A00_0002),
        ("src_port", 443),
        ("protocol", 6),
        ("bytes", 0x01_0000),
        ("bytes_kind", 0),
        ("start", export_ms - 5_000),
        ("end", export_ms - 1_000),
    ];
    assert_eq!(rows, [expected.into_iter().collect()]);
    assert_eq!(reference::rows(&[field(82, encode::VARIABLE)], &head, &[9, 1]), None, "a length past the set");
}
