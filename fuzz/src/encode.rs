//! An encoder for tests and fuzzing: what exporters send, from plain values.
//!
//! Values enter, octets leave: messages of every version, templates, options, fields of variable length, lists,
//! biflows, firewall events, headers of sampled packets. It knows the formats alone (RFC 3954, 7011, 5103, 6313,
//! 7133) and nothing of the decoder, and it checks nothing: whoever wants a lie says it. What does not fit a length
//! field is cut to its low bits.

#![allow(dead_code, reason = "each user takes a part of it")]
#![allow(clippy::cast_possible_truncation, reason = "what does not fit is cut, see above")]

use std::net::IpAddr;

use clarion_collector::flow::Version;

/// Length of a field that tells its own length in each record.
pub const VARIABLE: u16 = 0xFFFF;
/// Enterprise number of reverse elements (RFC 5103).
pub const REVERSE_PEN: u32 = 29_305;

/// A field specifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Enterprise number; 0 is IANA. In NetFlow v9 there is none on the wire.
    pub pen: u32,
    /// Element, or field type of v9.
    pub id: u16,
    /// Octets, or [`VARIABLE`].
    pub length: u16,
}

/// A field of IANA's.
pub const fn field(id: u16, length: u16) -> Field {
    Field { pen: 0, id, length }
}

/// A field of an enterprise.
pub const fn enterprise(pen: u32, id: u16, length: u16) -> Field {
    Field { pen, id, length }
}

/// Element `id` of IANA's for the other direction.
pub const fn reverse(id: u16, length: u16) -> Field {
    Field { pen: REVERSE_PEN, id, length }
}

/// Big-endian words.
pub fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// `value` in `length` octets.
pub fn integer(value: u64, length: usize) -> Vec<u8> {
    let octets = u128::from(value).to_be_bytes();
    if length <= 16 { octets[16 - length..].to_vec() } else { [vec![0; length - 16], octets.to_vec()].concat() }
}

/// The octets of an address.
pub fn address(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// A set with its header; padding is the caller's.
pub fn set(id: u16, body: &[u8]) -> Vec<u8> {
    [words(&[id, body.len() as u16 + 4]), body.to_vec()].concat()
}

/// What stands before the sets or rows of a message.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// Version.
    pub version: Version,
    /// Export time, Unix seconds.
    pub export_s: u32,
    /// sysUpTime, milliseconds; not in IPFIX.
    pub uptime_ms: u32,
    /// Sequence number; not in v1.
    pub sequence: u32,
    /// Observation domain; the low 16 bits are the engine of v5.
    pub domain: u32,
    /// Sampling word of v5.
    pub sampling: u16,
}

impl Head {
    /// A message of 2025-01-01 by a box that has been up for two hours.
    pub const fn new(version: Version, domain: u32) -> Self {
        Self { version, export_s: 1_735_689_600, uptime_ms: 7_200_000, sequence: 0, domain, sampling: 0 }
    }

    /// The same with another sequence number.
    pub const fn numbered(self, sequence: u32) -> Self {
        Self { sequence, ..self }
    }

    /// A message of v9 or IPFIX; `records` is v9's count.
    pub fn message(&self, records: u16, sets: &[Vec<u8>]) -> Vec<u8> {
        let body = sets.concat();
        let v9 = self.version == Version::V9;
        let mut octets = words(&[self.version as u16, if v9 { records } else { body.len() as u16 + 16 }]);
        if v9 {
            octets.extend(self.uptime_ms.to_be_bytes());
        }
        for word in [self.export_s, self.sequence, self.domain] {
            octets.extend(word.to_be_bytes());
        }
        octets.extend(body);
        octets
    }

    /// A message of v1, v5 or v7.
    pub fn rows(&self, rows: &[Row]) -> Vec<u8> {
        let mut octets = words(&[self.version as u16, rows.len() as u16]);
        for word in [self.uptime_ms, self.export_s, 0] {
            octets.extend(word.to_be_bytes());
        }
        match self.version {
            Version::V1 => {}
            Version::V7 => octets.extend([self.sequence.to_be_bytes(), [0; 4]].concat()),
            _ => {
                octets.extend(self.sequence.to_be_bytes());
                octets.extend(words(&[self.domain as u16, self.sampling]));
            }
        }
        rows.iter().for_each(|row| octets.extend(row.octets(self.version)));
        octets
    }

    /// A set of templates.
    pub fn templates(&self, records: &[Vec<u8>]) -> Vec<u8> {
        set(if self.version == Version::V9 { 0 } else { 2 }, &records.concat())
    }

    /// A set of options templates.
    pub fn options_templates(&self, records: &[Vec<u8>]) -> Vec<u8> {
        set(if self.version == Version::V9 { 1 } else { 3 }, &records.concat())
    }

    /// A template record.
    pub fn template(&self, id: u16, fields: &[Field]) -> Vec<u8> {
        [words(&[id, fields.len() as u16]), self.specifiers(fields)].concat()
    }

    /// An options template record. Scopes of v9 are scope types.
    pub fn options_template(&self, id: u16, scopes: &[Field], fields: &[Field]) -> Vec<u8> {
        let (scopes, fields) = (self.specifiers(scopes), self.specifiers(fields));
        let head = match self.version {
            Version::V9 => words(&[id, scopes.len() as u16, fields.len() as u16]),
            _ => words(&[id, Self::count(&scopes) + Self::count(&fields), Self::count(&scopes)]),
        };
        [head, scopes, fields].concat()
    }

    fn specifiers(&self, fields: &[Field]) -> Vec<u8> {
        let plain = self.version == Version::V9;
        let specifier = |f: &Field| match f.pen {
            0 => words(&[f.id, f.length]),
            _ if plain => words(&[f.id, f.length]),
            pen => [words(&[f.id | 0x8000, f.length]), pen.to_be_bytes().to_vec()].concat(),
        };
        fields.iter().flat_map(specifier).collect()
    }

    /// How many specifiers these octets are: an enterprise bit makes one longer.
    fn count(mut specifiers: &[u8]) -> u16 {
        let mut count = 0;
        while let Some((first, rest)) = specifiers.split_first() {
            specifiers = rest.get(if first & 0x80 == 0 { 3 } else { 7 }..).unwrap_or_default();
            count += 1;
        }
        count
    }
}

/// A value of variable length in the short form where it fits.
pub fn variable(octets: &[u8]) -> Vec<u8> {
    match octets.len() {
        short @ ..255 => [&[short as u8][..], octets].concat(),
        _ => variable_long(octets),
    }
}

/// The same in the long form, which short values may take as well.
pub fn variable_long(octets: &[u8]) -> Vec<u8> {
    [&[255][..], &(octets.len() as u16).to_be_bytes(), octets].concat()
}

/// A data record: one value a field, as it shall stand; variable fields get their prefix.
pub fn record(fields: &[Field], values: &[Vec<u8>]) -> Vec<u8> {
    let encode = |(field, value): (&Field, &Vec<u8>)| match field.length {
        VARIABLE => variable(value),
        _ => value.clone(),
    };
    fields.iter().zip(values).flat_map(encode).collect()
}

/// A row of v1, v5 or v7; v1 leaves out AS and masks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Row {
    /// Source, destination, next hop.
    pub addresses: [[u8; 4]; 3],
    /// ifIndex in and out.
    pub interfaces: [u16; 2],
    /// Packets and octets.
    pub counters: [u32; 2],
    /// First and Last, milliseconds of sysUpTime.
    pub stamps: [u32; 2],
    /// Source and destination.
    pub ports: [u16; 2],
    /// TCP flags, protocol, type of service.
    pub octets: [u8; 3],
    /// Source and destination.
    pub systems: [u16; 2],
    /// Source and destination.
    pub masks: [u8; 2],
}

impl Row {
    fn octets(&self, version: Version) -> Vec<u8> {
        let [flags, protocol, tos] = self.octets;
        let mut octets = self.addresses.concat();
        octets.extend(words(&self.interfaces));
        for word in self.counters.into_iter().chain(self.stamps) {
            octets.extend(word.to_be_bytes());
        }
        octets.extend(words(&self.ports));
        match version {
            Version::V1 => octets.extend([0, 0, protocol, tos, flags, 0, 0, 0, 0, 0, 0, 0]),
            _ => {
                octets.extend([0, flags, protocol, tos]);
                octets.extend(words(&self.systems));
                octets.extend([self.masks[0], self.masks[1], 0, 0]);
            }
        }
        if version == Version::V7 {
            octets.extend([0; 4]);
        }
        octets
    }
}

/// basicList (RFC 6313 4.5.1) of values of `field`.
pub fn basic_list(semantic: u8, field: Field, values: &[Vec<u8>]) -> Vec<u8> {
    let bit = if field.pen == 0 { 0 } else { 0x8000 };
    let mut octets = [vec![semantic], words(&[field.id | bit, field.length])].concat();
    if field.pen != 0 {
        octets.extend(field.pen.to_be_bytes());
    }
    let fields = vec![field; values.len()];
    octets.extend(record(&fields, values));
    octets
}

/// subTemplateList (RFC 6313 4.5.2).
pub fn sub_template_list(semantic: u8, template: u16, records: &[Vec<u8>]) -> Vec<u8> {
    [vec![semantic], words(&[template]), records.concat()].concat()
}

/// subTemplateMultiList (RFC 6313 4.5.3).
pub fn multi_list(semantic: u8, entries: &[(u16, Vec<Vec<u8>>)]) -> Vec<u8> {
    let entry = |(template, records): &(u16, Vec<Vec<u8>>)| {
        let records = records.concat();
        [words(&[*template, records.len() as u16 + 4]), records].concat()
    };
    [vec![semantic], entries.iter().flat_map(entry).collect()].concat()
}

/// TCP header without options (20 octets), or the eight octets of any other transport.
pub fn transport(protocol: u8, ports: [u16; 2], flags: u8) -> Vec<u8> {
    let ports = words(&ports);
    match protocol {
        6 => [ports, vec![0; 8], vec![0x50, flags, 0, 0, 0, 0, 0, 0]].concat(),
        _ => [ports, vec![0, 8, 0, 0]].concat(),
    }
}

/// An IP packet of either family; `extensions` are IPv6 hop-by-hop headers of eight octets.
pub fn ip(src: IpAddr, dst: IpAddr, protocol: u8, tos: u8, extensions: usize, payload: &[u8]) -> Vec<u8> {
    let ends = [address(src), address(dst)].concat();
    if src.is_ipv4() {
        let length = (20 + payload.len()) as u16;
        let head = [vec![0x45, tos], words(&[length, 1, 0]), vec![64, protocol, 0, 0]].concat();
        return [head, ends, payload.to_vec()].concat();
    }
    let mut chain = Vec::new();
    for at in 0..extensions {
        let next = if at + 1 == extensions { protocol } else { 60 };
        chain.extend([next, 0, 1, 4, 0, 0, 0, 0]);
    }
    let first = if extensions == 0 { protocol } else { 0 };
    let length = (chain.len() + payload.len()) as u16;
    let head = [vec![0x60 | tos >> 4, tos << 4, 0, 0], words(&[length]), vec![first, 64]].concat();
    [head, ends, chain, payload.to_vec()].concat()
}

/// An Ethernet frame with VLAN tags and MPLS labels round an IP packet.
pub fn frame(macs: [[u8; 6]; 2], vlans: &[u16], labels: &[u32], packet: &[u8]) -> Vec<u8> {
    let [src, dst] = macs;
    let mut octets = [dst, src].concat();
    for (at, vlan) in vlans.iter().enumerate() {
        octets.extend(words(&[if at + 1 < vlans.len() { 0x88A8 } else { 0x8100 }, *vlan]));
    }
    let v4 = packet.first().is_some_and(|o| o >> 4 == 4);
    octets.extend(words(&[match (labels.is_empty(), v4) {
        (false, _) => 0x8847,
        (true, true) => 0x0800,
        (true, false) => 0x86DD,
    }]));
    for (at, label) in labels.iter().enumerate() {
        let bottom = u32::from(at + 1 == labels.len());
        octets.extend((label << 12 | bottom << 8 | 64).to_be_bytes());
    }
    octets.extend(packet);
    octets
}

/// Fields of a firewall's event with the counters of both directions (NSEL).
pub const NSEL: [Field; 11] = [
    field(148, 4),
    field(8, 4),
    field(12, 4),
    field(7, 2),
    field(11, 2),
    field(4, 1),
    field(233, 1),
    field(231, 4),
    field(232, 4),
    field(298, 4),
    field(323, 8),
];

/// A record of [`NSEL`]: connection, event, octets there and back, milliseconds.
pub fn nsel(connection: u32, event: u8, octets: [u32; 2], at_ms: u64) -> Vec<u8> {
    let ends = [192, 0, 2, 1, 198, 51, 100, 2];
    let head = [&connection.to_be_bytes()[..], &ends, &words(&[40_000, 443]), &[6, event]].concat();
    let counters = [octets[0].to_be_bytes(), octets[1].to_be_bytes(), 1_u32.to_be_bytes()].concat();
    [head, counters, at_ms.to_be_bytes().to_vec()].concat()
}
