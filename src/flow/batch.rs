//! `FlowBatch`: the unit of the queue and of the counters between decode and encode.
//!
//! A worker appends to one batch until it is full or old, then hands it over whole. Batches are
//! recycled: after the first fill nothing here allocates. Batches are chained by whoever needs more
//! records; their arenas are never merged.

use std::sync::Arc;

use super::field::{Field, FieldValue, Value};
use super::{Exporter, FlowRecord};

/// An Information Element: enterprise number (0 for IANA) and element id.
///
/// NetFlow v9 field types stand as `(0, 16-bit type)`; a v9 type above 32767 means nothing without
/// knowing the maker of the exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ElementId {
    /// Private Enterprise Number; 0 for the IANA registry.
    pub pen: u32,
    /// Element id inside it.
    pub id: u16,
}

/// A field that has no place in `FlowRecord`, kept as the octets of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ElementValue {
    /// Index of the record it belongs to.
    pub record: u32,
    /// Which element.
    pub element: ElementId,
    /// Where its octets begin in the batch's arena.
    pub offset: u32,
    /// How many octets.
    pub length: u16,
}

/// Flows of one worker, with their exporters and further elements.
#[derive(Debug)]
pub struct FlowBatch {
    /// The flows, in the order of the wire per exporter.
    pub records: Vec<FlowRecord>,
    /// Exporters that `FlowRecord::exporter` points into. Neighbouring datagrams of one exporter
    /// share an entry; a later one may repeat it.
    pub exporters: Vec<Arc<Exporter>>,
    /// Further elements, ordered by record; empty unless the output wants them.
    pub elements: Vec<ElementValue>,
    /// Normalised fields beyond the record's own, ordered by record; empty unless the output wants them.
    pub fields: Vec<FieldValue>,
    /// Arena of `elements` and `fields`.
    pub octets: Vec<u8>,
    /// Kernel receive time of the oldest datagram in here, Unix nanoseconds; `u64::MAX` when empty.
    pub oldest_receive: u64,
    /// The same of the newest; 0 when empty.
    pub newest_receive: u64,
}

impl FlowBatch {
    /// An empty batch with room for `records` flows.
    #[must_use]
    pub fn with_capacity(records: usize) -> Self {
        Self {
            records: Vec::with_capacity(records),
            exporters: Vec::with_capacity(64),
            elements: Vec::new(),
            fields: Vec::new(),
            octets: Vec::new(),
            oldest_receive: u64::MAX,
            newest_receive: 0,
        }
    }

    /// Number of flows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True if there is no flow in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What its further elements and fields take, octets.
    #[inline]
    #[must_use]
    pub fn arena_octets(&self) -> usize {
        self.octets.len() + size_of_val(self.elements.as_slice()) + size_of_val(self.fields.as_slice())
    }

    /// Index for `exporter`'s records that follow; repeats the last entry if it is the same.
    /// None where the batch already knows 65,536 exporters: the caller flushes first.
    #[inline]
    pub fn exporter_index(&mut self, exporter: &Arc<Exporter>) -> Option<u16> {
        if let Some(last) = self.exporters.last()
            && Arc::ptr_eq(last, exporter)
        {
            return u16::try_from(self.exporters.len() - 1).ok();
        }
        let index = u16::try_from(self.exporters.len()).ok()?;
        self.exporters.push(Arc::clone(exporter));
        Some(index)
    }

    /// Widens the batch's receive times by one datagram's, Unix nanoseconds.
    #[inline]
    pub fn note_receive(&mut self, receive_ns: u64) {
        self.oldest_receive = self.oldest_receive.min(receive_ns);
        self.newest_receive = self.newest_receive.max(receive_ns);
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.truncate(BatchMark::default());
        self.oldest_receive = u64::MAX;
        self.newest_receive = 0;
    }

    /// Where the batch stands now, to come back to by [`FlowBatch::truncate`].
    #[must_use]
    pub fn mark(&self) -> BatchMark {
        BatchMark {
            records: self.records.len(),
            exporters: self.exporters.len(),
            elements: self.elements.len(),
            fields: self.fields.len(),
            octets: self.octets.len(),
        }
    }

    /// Drops all that was appended since `mark` (a message that turned out broken).
    pub fn truncate(&mut self, mark: BatchMark) {
        self.records.truncate(mark.records);
        self.exporters.truncate(mark.exporters);
        self.elements.truncate(mark.elements);
        self.fields.truncate(mark.fields);
        self.octets.truncate(mark.octets);
    }

    /// Elements of record `record`, in wire order.
    pub fn elements_of(&self, record: usize) -> impl Iterator<Item = (&ElementValue, &[u8])> {
        let first = self.elements.partition_point(|e| (e.record as usize) < record);
        self.elements
            .iter()
            .skip(first)
            .take_while(move |e| e.record as usize == record)
            .map(|e| (e, &self.octets[e.offset as usize..][..usize::from(e.length)]))
    }

    /// Gives `record`, which must not be before one that has fields already, a field with an integer.
    pub fn push_number(&mut self, record: usize, field: Field, value: u64) {
        if let Ok(record) = u32::try_from(record) {
            self.fields.push(FieldValue { record, field, value: Value::Unsigned(value) });
        }
    }

    /// The same with octets, which are copied to the arena.
    pub fn push_octets(&mut self, record: usize, field: Field, octets: &[u8]) {
        // An arena of 4 GiB cannot be reached: a batch ends after one message past its target.
        let (Ok(record), Ok(offset), Ok(length)) =
            (u32::try_from(record), u32::try_from(self.octets.len()), u16::try_from(octets.len()))
        else {
            return;
        };
        self.octets.extend_from_slice(octets);
        self.fields.push(FieldValue { record, field, value: Value::Octets { offset, length } });
    }

    /// Fields of record `record`, in the order in which they were given.
    pub fn fields_of(&self, record: usize) -> impl Iterator<Item = &FieldValue> {
        let first = self.fields.partition_point(|f| (f.record as usize) < record);
        self.fields.iter().skip(first).take_while(move |f| f.record as usize == record)
    }
}

/// A position inside a [`FlowBatch`].
#[derive(Debug, Clone, Copy, Default)]
pub struct BatchMark {
    records: usize,
    exporters: usize,
    elements: usize,
    fields: usize,
    octets: usize,
}
