//! The journal: which records came under which key, in the order in which they were accepted.
//!
//! Enters: an accepted request. Leaves: one line of JSON with the time, the Idempotency-Key and the serials by
//! switch_id. Counts forget which record came in which request; whoever looks for a doubled one needs it.

use std::collections::BTreeMap;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use uuid::Uuid;

use super::contract::Record;

#[derive(Serialize)]
struct Line<'a> {
    unix_ms: u64,
    key: Option<String>,
    serials: BTreeMap<&'a str, Vec<u64>>,
}

/// The line of one request, with its end.
pub(super) fn line(records: &[Record<'_>], key: Option<Uuid>) -> io::Result<Vec<u8>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut serials = BTreeMap::<&str, Vec<u64>>::new();
    for record in records {
        serials.entry(record.switch_id()).or_default().push(record.bytes());
    }
    let unix_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let mut line = serde_json::to_vec(&Line { unix_ms, key: key.map(|key| key.to_string()), serials })?;
    line.push(b'\n');
    Ok(line)
}
