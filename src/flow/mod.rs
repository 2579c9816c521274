//! The vocabulary of the data path: one flow, a batch of flows, and who exported them.
//!
//! Everything imports this module; it imports only std. Terms are those of RFC 7011 section 2.

mod batch;
mod exporter;
mod field;
mod record;

pub use batch::{BatchMark, ElementId, ElementValue, FlowBatch};
pub use exporter::Exporter;
pub use field::{FIELDS, Field, FieldInfo, FieldKind, FieldSet, FieldValue, Value};
pub use record::{BytesKind, FlowRecord, Presence, SamplingSource, TimeSource, Version};
