//! encode -> decode -> equal, for each version and each shape: what the encoder of the tests was given comes out of the
//! decoder. And the decoder's own invariants over whole conversations: what sets come to does not depend on how they
//! are cut into messages, on whether their template came first, or on what was decoded before in another state.

#[path = "encoder/conversations.rs"]
mod conversations;
#[path = "../fuzz/src/encode.rs"]
mod encode;
#[path = "encoder/shapes.rs"]
mod shapes;

use clarion_collector::decode::{Datagram, DecodeSettings, Domain, Outcome, Selection, decode, identify};
use clarion_collector::flow::{FlowBatch, FlowRecord, Version};

/// Receive time: a second after the encoder's header time.
const RECEIVE_NS: u64 = 1_735_689_601_000_000_000;

/// A domain with what it decoded so far.
struct Bench {
    domain: Domain,
    batch: FlowBatch,
}

impl Bench {
    fn new(version: Version) -> Self {
        Self::with(version, Selection::CORE)
    }

    fn with(version: Version, selection: Selection) -> Self {
        let settings = DecodeSettings { selection, ..DecodeSettings::default() };
        Self { domain: Domain::alone(version, 1, settings), batch: FlowBatch::with_capacity(64) }
    }

    fn decode(&mut self, octets: &[u8]) -> Outcome {
        let header = identify(octets).expect("a known version");
        let datagram = Datagram { peer: ([192, 0, 2, 1], 2_055).into(), receive_ns: RECEIVE_NS, octets };
        decode(&datagram, &header, &self.domain, &mut self.batch)
    }

    fn rows(&self) -> &[FlowRecord] {
        &self.batch.records
    }
}
