//! What stands on the wire, as it stands there: headers, sets, templates, values, lists, sampled packets, texts, clocks.
//!
//! In go octets, out come shapes that borrow them. Nothing here knows what was learned, and nothing is kept.

pub(super) mod fixed;
pub(super) mod header;
pub(super) mod list;
pub(super) mod padding;
pub(super) mod section;
pub(super) mod set;
pub(super) mod template;
pub(super) mod text;
pub(super) mod time;
pub(super) mod value;
