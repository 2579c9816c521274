//! `Entry`: one encoded batch as the spool knows it, and its octets.
//!
//! Enters and leaves: whatever is needed to deliver, split and account for a batch without reading its
//! body. Promised: `decode(encode(e)) == e`; what decodes keeps the relations that its readers rely on
//! (record ends ascend and lie inside the body, counts agree), whoever wrote the octets. What a scan of
//! a segment must know without the body stands in the frame's head (`frame`), the rest in the payload here.

use bytes::Bytes;

use super::octets::Reader;
use crate::limits;

/// Records of one exporter that stand next to each other in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExporterCount {
    /// Name of the exporter, as its writer spells it; 512 octets at most.
    pub key: Box<str>,
    /// How many records in a row.
    pub records: u32,
}

/// An encoded batch on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Id of the batch, the same on every retry.
    pub id: [u8; 16],
    /// 0 for a whole batch; the halves of part p are 2p + 1 and 2p + 2.
    pub part: u64,
    /// Name of the output that it is for; 64 octets at most.
    pub output: Box<str>,
    /// Name of the body's format; 64 octets at most.
    pub format: Box<str>,
    /// Records in the body.
    pub records: u32,
    /// Receive time of the oldest record, Unix nanoseconds.
    pub first_receive_ns: u64,
    /// The same of the newest.
    pub last_receive_ns: u64,
    /// How often it was handed out and came back.
    pub attempts: u16,
    /// A request with it may have been processed: sending it may double its records.
    pub repeated: bool,
    /// Whose records, in their order; empty if nobody knows.
    pub exporters: Vec<ExporterCount>,
    /// Offset behind each record in the body.
    pub record_ends: Vec<u32>,
    /// The body.
    pub body: Bytes,
}

/// Why an entry cannot be kept, or octets are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The octets end too early, or go on behind the end.
    #[error("an entry's lengths do not fit its octets")]
    Length,
    /// A name is too long, or no UTF-8.
    #[error("a name of an entry is too long or no UTF-8")]
    Name,
    /// Counts disagree, or record ends do not ascend inside the body.
    #[error("counts or record ends of an entry disagree")]
    Counts,
    /// It is larger than any batch.
    #[error("an entry is larger than {} octets", limits::SPOOL_ENTRY_OCTETS_MAX)]
    Size,
    /// The parts of a split are not the halves of what was split.
    #[error("the parts of a split are not its halves")]
    Parts,
}

impl Entry {
    /// Memory that it takes, octets: what a bound on waiting entries counts.
    #[must_use]
    pub fn octets(&self) -> u64 {
        let keys: usize = self.exporters.iter().map(|count| count.key.len()).sum();
        let lists = size_of_val(self.exporters.as_slice()) + size_of_val(self.record_ends.as_slice());
        (size_of::<Self>() + self.body.len() + self.output.len() + self.format.len() + keys + lists) as u64
    }

    /// Checks what its readers rely on.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self) -> Result<(), EntryError> {
        let names = [&self.output, &self.format];
        let long = self.exporters.iter().any(|count| count.key.len() > limits::SPOOL_KEY_OCTETS_MAX);
        if long || names.iter().any(|name| name.len() > limits::SPOOL_NAME_OCTETS_MAX) {
            return Err(EntryError::Name);
        }
        let body = u32::try_from(self.body.len()).map_err(|_| EntryError::Size)?;
        let inside = self.record_ends.is_sorted() && self.record_ends.last().is_none_or(|end| *end <= body);
        let sum: u64 = self.exporters.iter().map(|count| u64::from(count.records)).sum();
        let agree = self.exporters.is_empty() || sum == u64::from(self.records);
        if !inside || !agree || self.record_ends.len() != self.records as usize {
            return Err(EntryError::Counts);
        }
        if self.payload_octets() > limits::SPOOL_ENTRY_OCTETS_MAX {
            return Err(EntryError::Size);
        }
        Ok(())
    }

    /// Length of [`Entry::payload`].
    pub(super) fn payload_octets(&self) -> usize {
        let exporters: usize = self.exporters.iter().map(|count| 6 + count.key.len()).sum();
        2 + self.output.len() + self.format.len() + 12 + exporters + 4 * self.record_ends.len() + self.body.len()
    }

    /// What stands behind the head of its frame; the entry has passed [`Entry::check`].
    pub(super) fn payload(&self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(self.payload_octets());
        for name in [&self.output, &self.format] {
            octets.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            octets.extend_from_slice(name.as_bytes());
        }
        octets.extend_from_slice(&length(self.exporters.len()));
        for count in &self.exporters {
            octets.extend_from_slice(&u16::try_from(count.key.len()).unwrap_or(u16::MAX).to_be_bytes());
            octets.extend_from_slice(count.key.as_bytes());
            octets.extend_from_slice(&count.records.to_be_bytes());
        }
        octets.extend_from_slice(&length(self.record_ends.len()));
        for end in &self.record_ends {
            octets.extend_from_slice(&end.to_be_bytes());
        }
        octets.extend_from_slice(&length(self.body.len()));
        octets.extend_from_slice(&self.body);
        octets
    }

    /// Fills an entry whose head is known from its payload.
    ///
    /// # Errors
    /// What is wrong with the octets.
    pub(super) fn fill(mut self, payload: &Bytes) -> Result<Self, EntryError> {
        let mut reader = Reader::new(payload);
        self.output = name(&mut reader)?;
        self.format = name(&mut reader)?;
        // No list is given room before the octets that it is to be read from are known to be there.
        let exporters = reader.u32().ok_or(EntryError::Length)? as usize;
        if exporters > reader.left() / 6 {
            return Err(EntryError::Length);
        }
        self.exporters = Vec::with_capacity(exporters);
        for _ in 0..exporters {
            let octets = usize::from(reader.u16().ok_or(EntryError::Length)?);
            let key = text(reader.take(octets).ok_or(EntryError::Length)?)?;
            self.exporters.push(ExporterCount { key, records: reader.u32().ok_or(EntryError::Length)? });
        }
        let ends = reader.u32().ok_or(EntryError::Length)? as usize;
        if ends > reader.left() / 4 {
            return Err(EntryError::Length);
        }
        self.record_ends = (0..ends).map_while(|_| reader.u32()).collect();
        let body = reader.u32().ok_or(EntryError::Length)? as usize;
        if body != reader.left() {
            return Err(EntryError::Length);
        }
        self.body = payload.slice(payload.len() - body..);
        self.check()?;
        Ok(self)
    }
}

/// The exporters at the front of a payload, of which a part may be missing: those that are there whole.
pub(super) fn exporters_in(front: &[u8]) -> Vec<ExporterCount> {
    let mut reader = Reader::new(front);
    let mut found = Vec::new();
    if name(&mut reader).and_then(|_| name(&mut reader)).is_err() {
        return found;
    }
    for _ in 0..reader.u32().unwrap_or(0) {
        let key = reader.u16().and_then(|octets| reader.take(usize::from(octets))).and_then(|key| text(key).ok());
        let (Some(key), Some(records)) = (key, reader.u32()) else { break };
        found.push(ExporterCount { key, records });
    }
    found
}

/// Lengths of a checked entry fit: the whole of it is below 2^32.
fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

fn name(reader: &mut Reader<'_>) -> Result<Box<str>, EntryError> {
    let octets = usize::from(reader.u8().ok_or(EntryError::Length)?);
    text(reader.take(octets).ok_or(EntryError::Length)?)
}

fn text(octets: &[u8]) -> Result<Box<str>, EntryError> {
    std::str::from_utf8(octets).map(Into::into).map_err(|_| EntryError::Name)
}

#[cfg(test)]
mod tests {
    use super::super::testing::entry;
    use super::*;

    #[test]
    fn lists_that_cannot_be_used_are_refused() {
        let good = entry(1, 3);
        assert_eq!(good.check(), Ok(()));
        let beyond = Entry { record_ends: vec![1, 2, 1_000_000], ..good.clone() };
        assert_eq!(beyond.check(), Err(EntryError::Counts));
        let back = Entry { record_ends: vec![2, 1, 3], ..good.clone() };
        assert_eq!(back.check(), Err(EntryError::Counts));
        let few = Entry { record_ends: vec![1, 2], ..good.clone() };
        assert_eq!(few.check(), Err(EntryError::Counts));
        let sum = vec![ExporterCount { key: "a".into(), records: 2 }];
        assert_eq!(Entry { exporters: sum, ..good.clone() }.check(), Err(EntryError::Counts));
        assert_eq!(Entry { exporters: vec![], ..good.clone() }.check(), Ok(()));
        let long = "x".repeat(limits::SPOOL_NAME_OCTETS_MAX + 1);
        assert_eq!(Entry { output: long.into(), ..good }.check(), Err(EntryError::Name));
    }

    #[test]
    fn every_cut_of_a_payload_is_refused_and_the_whole_is_the_entry() {
        let good = entry(7, 4);
        let payload = Bytes::from(good.payload());
        assert_eq!(payload.len(), good.payload_octets());
        let empty = || Entry { output: "".into(), format: "".into(), body: Bytes::new(), ..good.clone() };
        assert_eq!(empty().fill(&payload), Ok(good.clone()));
        for end in 0..payload.len() {
            assert!(empty().fill(&payload.slice(..end)).is_err(), "{end}");
        }
        let longer = [&payload[..], &[0]].concat();
        assert_eq!(empty().fill(&Bytes::from(longer)), Err(EntryError::Length));
    }

    #[test]
    fn exporters_are_read_from_any_front_of_a_payload() {
        let good = entry(7, 4);
        let payload = good.payload();
        assert_eq!(exporters_in(&payload), good.exporters);
        assert!(!good.exporters.is_empty());
        for end in 0..payload.len() {
            let found = exporters_in(&payload[..end]);
            assert!(good.exporters.starts_with(&found), "{end}");
        }
    }

    #[test]
    fn lengths_that_lie_ask_for_no_memory() {
        let mut octets = entry(7, 4).payload();
        let at = 2 + "backend".len() + "json".len();
        octets[at..at + 4].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(entry(7, 4).fill(&Bytes::from(octets)), Err(EntryError::Length));
    }
}
