//! Writes one message, v5, v9 or IPFIX, octet by octet: header, sets, records.
//!
//! The caller says what stands in it; counts and lengths of header and sets are filled in here, so
//! that a message is well formed whatever goes in. The buffer is used again for the next message.

use crate::flow::Version;

/// Information element of the wire: enterprise 0 is IANA (or a v9 field type).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Private Enterprise Number; must be 0 in v9.
    pub enterprise: u32,
    /// Element id or v9 field type (in options of v9: scope type).
    pub id: u16,
    /// Octets; [`VARIABLE`] in IPFIX.
    pub length: u16,
}

/// Field length that says "each value has its own length" (RFC 7011 section 7).
pub const VARIABLE: u16 = 65_535;
/// Octets of the fixed header of v5.
pub const V5_HEADER_OCTETS: usize = 24;
/// Octets of a v5 record.
pub const V5_RECORD_OCTETS: usize = 48;

impl Field {
    /// A field of the IANA registry.
    #[must_use]
    pub const fn iana(id: u16, length: u16) -> Self {
        Self { enterprise: 0, id, length }
    }
}

/// What the header of a message says, besides counts and lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageHeader {
    /// V5, V9 or Ipfix; V1 and V7 are not written.
    pub version: Version,
    /// Export time, Unix nanoseconds.
    pub export_ns: u64,
    /// sysUpTime, milliseconds; IPFIX has none.
    pub sys_uptime_ms: u32,
    /// Sequence number in the version's unit.
    pub sequence: u32,
    /// Source ID or observation domain; in v5 engine type and engine id, its low 16 bits.
    pub observation_domain: u32,
    /// v5: the sampling word.
    pub sampling: u16,
}

/// A message that is being written.
#[derive(Debug)]
pub struct MessageWriter {
    octets: Vec<u8>,
    version: Version,
    /// Where the open set begins.
    set: Option<usize>,
    /// Records of all kinds: the count of v5 and v9.
    records: u16,
}

impl Default for MessageWriter {
    fn default() -> Self {
        Self { octets: Vec::with_capacity(2_048), version: Version::Ipfix, set: None, records: 0 }
    }
}

impl MessageWriter {
    /// Forgets the last message and writes the header of the next.
    pub fn begin(&mut self, header: &MessageHeader) {
        self.octets.clear();
        self.set = None;
        self.records = 0;
        self.version = header.version;
        #[expect(clippy::cast_possible_truncation, reason = "the wire's clock has 32 bits until 2106")]
        let (seconds, nanoseconds) =
            ((header.export_ns / 1_000_000_000) as u32, (header.export_ns % 1_000_000_000) as u32);
        self.put16(header.version as u16);
        self.put16(0); // count or length: see finish
        match header.version {
            Version::Ipfix => {
                self.put32(seconds);
                self.put32(header.sequence);
                self.put32(header.observation_domain);
            }
            Version::V9 => {
                self.put32(header.sys_uptime_ms);
                self.put32(seconds);
                self.put32(header.sequence);
                self.put32(header.observation_domain);
            }
            Version::V1 | Version::V5 | Version::V7 => {
                self.put32(header.sys_uptime_ms);
                self.put32(seconds);
                self.put32(nanoseconds);
                self.put32(header.sequence);
                #[expect(clippy::cast_possible_truncation, reason = "engine type and id are 16 bits")]
                self.put16(header.observation_domain as u16);
                self.put16(header.sampling);
            }
        }
    }

    /// Opens a set; an open one is closed.
    pub fn begin_set(&mut self, id: u16) {
        self.end_set();
        self.set = Some(self.octets.len());
        self.put16(id);
        self.put16(0);
    }

    /// Closes the set: pads it to four octets and writes its length.
    pub fn end_set(&mut self) {
        let Some(start) = self.set.take() else { return };
        while !(self.octets.len() - start).is_multiple_of(4) {
            self.octets.push(0);
        }
        self.write_length(start + 2, start);
    }

    /// A set with one data template.
    pub fn template(&mut self, id: u16, fields: &[Field]) {
        self.begin_set(if self.version == Version::V9 { 0 } else { 2 });
        self.put16(id);
        self.put16(short(fields.len()));
        self.specifiers(fields);
        self.records += 1;
        self.end_set();
    }

    /// A set with one options template. v9: `scopes` are scope types (1 is System).
    pub fn options_template(&mut self, id: u16, scopes: &[Field], fields: &[Field]) {
        let v9 = self.version == Version::V9;
        self.begin_set(if v9 { 1 } else { 3 });
        self.put16(id);
        if v9 {
            // Octets of the specifiers, not their number (RFC 3954 section 6.1).
            self.put16(short(scopes.len() * 4));
            self.put16(short(fields.len() * 4));
        } else {
            self.put16(short(scopes.len() + fields.len()));
            self.put16(short(scopes.len()));
        }
        self.specifiers(scopes);
        self.specifiers(fields);
        self.records += 1;
        self.end_set();
    }

    /// A data record (of the open set, or of v5), all its octets.
    #[inline]
    pub fn record(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
        self.records = self.records.wrapping_add(1);
    }

    /// Goes on with the last record: a value with its length before it (RFC 7011 section 7).
    pub fn variable(&mut self, value: &[u8]) {
        let length = short(value.len());
        match u8::try_from(length) {
            Ok(length) if length < 255 => self.octets.push(length),
            _ => {
                self.octets.push(255);
                self.put16(length);
            }
        }
        self.octets.extend_from_slice(&value[..usize::from(length)]);
    }

    /// Octets so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.octets.len()
    }

    /// True before the first header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// Closes the message and gives it out.
    pub fn finish(&mut self) -> &[u8] {
        self.end_set();
        match self.version {
            Version::Ipfix => self.write_length(2, 0),
            _ if self.octets.len() >= 4 => self.octets[2..4].copy_from_slice(&self.records.to_be_bytes()),
            _ => {}
        }
        &self.octets
    }

    fn specifiers(&mut self, fields: &[Field]) {
        for field in fields {
            let enterprise = field.enterprise != 0 && self.version == Version::Ipfix;
            self.put16(if enterprise { field.id | 0x8000 } else { field.id });
            self.put16(field.length);
            if enterprise {
                self.put32(field.enterprise);
            }
        }
    }

    fn write_length(&mut self, at: usize, start: usize) {
        let length = short(self.octets.len() - start);
        if let Some(place) = self.octets.get_mut(at..at + 2) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }

    fn put16(&mut self, value: u16) {
        self.octets.extend_from_slice(&value.to_be_bytes());
    }

    fn put32(&mut self, value: u32) {
        self.octets.extend_from_slice(&value.to_be_bytes());
    }
}

/// Lengths and numbers of the wire; what a caller overfills stays parseable as far as it fits.
fn short(value: usize) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: Version) -> MessageHeader {
        MessageHeader {
            version,
            export_ns: 1_700_000_000_123_456_789,
            sys_uptime_ms: 0x0102_0304,
            sequence: 0x0a0b_0c0d,
            observation_domain: 0x1122_3344,
            sampling: 0x4064,
        }
    }

    #[test]
    fn headers_and_counts() {
        let mut writer = MessageWriter::default();
        writer.begin(&header(Version::V5));
        writer.record(&[7; V5_RECORD_OCTETS]);
        writer.record(&[8; V5_RECORD_OCTETS]);
        let v5 = writer.finish();
        assert_eq!(v5.len(), V5_HEADER_OCTETS + 2 * V5_RECORD_OCTETS);
        assert_eq!(v5[..8], [0, 5, 0, 2, 1, 2, 3, 4]);
        assert_eq!(v5[8..12], 1_700_000_000_u32.to_be_bytes());
        assert_eq!(v5[12..16], 123_456_789_u32.to_be_bytes());
        assert_eq!(v5[16..24], [0x0a, 0x0b, 0x0c, 0x0d, 0x33, 0x44, 0x40, 0x64]);

        writer.begin(&header(Version::V9));
        writer.template(256, &[Field::iana(8, 4), Field::iana(4, 1)]);
        writer.begin_set(256);
        writer.record(&[192, 0, 2, 1, 6]);
        let v9 = writer.finish();
        assert_eq!(v9[..4], [0, 9, 0, 2], "templates count as records");
        assert_eq!(v9[20..36], [0, 0, 0, 16, 1, 0, 0, 2, 0, 8, 0, 4, 0, 4, 0, 1]);
        assert_eq!(v9[36..], [1, 0, 0, 12, 192, 0, 2, 1, 6, 0, 0, 0], "padded to four octets");
    }

    #[test]
    fn ipfix_enterprise_and_variable_fields() {
        let mut writer = MessageWriter::default();
        writer.begin(&header(Version::Ipfix));
        writer.template(300, &[Field { enterprise: 9, id: 1_232, length: 2 }, Field::iana(96, VARIABLE)]);
        writer.options_template(301, &[Field::iana(149, 4)], &[Field::iana(34, 4)]);
        writer.begin_set(300);
        writer.record(&[0, 5]);
        writer.variable(b"ssh");
        writer.record(&[0, 6]);
        writer.variable(&[b'x'; 300]);
        let message = writer.finish().to_vec();
        assert_eq!(usize::from(u16::from_be_bytes([message[2], message[3]])), message.len());
        assert_eq!(message[16..36], [0, 2, 0, 20, 1, 44, 0, 2, 0x84, 0xd0, 0, 2, 0, 0, 0, 9, 0, 96, 255, 255]);
        assert_eq!(message[36..56], [0, 3, 0, 20, 1, 45, 0, 2, 0, 1, 0, 149, 0, 4, 0, 34, 0, 4, 0, 0][..]);
        assert_eq!(message[60..69], [0, 5, 3, b's', b's', b'h', 0, 6, 255]);
        assert_eq!(message[69..72], [1, 44, b'x']);
    }
}
