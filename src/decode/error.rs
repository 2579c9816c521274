//! Why a datagram or a set was not used: by cause, with a bounded label and where it was.

use std::fmt;

/// Cause of a rejected datagram: nothing of it was used.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DecodeErrorKind {
    /// Shorter than the fixed header of its version (G-02).
    TooShort,
    /// The first 16 bits are no version that is decoded (G-01).
    UnsupportedVersion,
    /// NetFlow v8 or sFlow: recognised, not decoded.
    NotDecoded,
    /// v5 family: count is 0 or above the version's maximum (V5-02).
    BadCount,
    /// The header's count or length does not fit the datagram (V5-03, IX-02).
    BadLength,
    /// IPFIX: the set headers do not add up to the message (IX-03).
    BadFraming,
    /// The kernel cut the datagram (MSG_TRUNC).
    Truncated,
    /// The decoder panicked; the octets are kept for the report.
    Panic,
}

impl DecodeErrorKind {
    /// All kinds, in the order of their index.
    pub const ALL: [Self; 8] = [
        Self::TooShort,
        Self::UnsupportedVersion,
        Self::NotDecoded,
        Self::BadCount,
        Self::BadLength,
        Self::BadFraming,
        Self::Truncated,
        Self::Panic,
    ];

    /// The `reason` label of `datagrams_rejected_total`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::TooShort => "too_short",
            Self::UnsupportedVersion => "unsupported_version",
            Self::NotDecoded => "not_decoded",
            Self::BadCount => "bad_count",
            Self::BadLength => "bad_length",
            Self::BadFraming => "bad_framing",
            Self::Truncated => "truncated",
            Self::Panic => "panic",
        }
    }
}

/// A rejected datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeError {
    /// Cause.
    pub kind: DecodeErrorKind,
    /// Octet of the datagram where it showed.
    pub offset: u32,
    /// Set it was in; 0 outside any.
    pub set_id: u16,
}

impl DecodeError {
    #[cold]
    pub(crate) const fn at(kind: DecodeErrorKind, offset: u32) -> Self {
        Self { kind, offset, set_id: 0 }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at octet {}", self.kind.label(), self.offset)?;
        if self.set_id != 0 { write!(f, " in set {}", self.set_id) } else { Ok(()) }
    }
}

impl std::error::Error for DecodeError {}

/// Cause of a set that was not used, while its message was.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SetDropKind {
    /// Length below 4 or past the message (N9-04).
    Malformed,
    /// Set id that the version reserves (N9-05, IX-04).
    ReservedId,
    /// No template, and the waiting room for this exporter or the process was full.
    ParkFull,
    /// No template came within the parking time.
    ParkExpired,
    /// No template, and there was no room for it on the disk.
    ParkDiskFull,
    /// No template came within the time that sets are kept on disk.
    ParkDiskExpired,
    /// It could not be written to the disk, or not read back.
    ParkDiskFailed,
    /// No template, and parking is off.
    UnknownTemplate,
    /// The records do not fit the template (variable length past the set's end).
    BadRecord,
    /// The message's row limit was reached.
    TooManyRows,
    /// Decoded around a changed layout, order unknown (steering cpu and random).
    RedefinitionRace,
    /// The domain's waiting sets went with it (evicted or retired).
    Retired,
    /// What stands behind its records is not zero, and the operator wants such sets dropped (IX-05).
    OddPadding,
    /// Its template changed too often: the last layout was refused, and the one before is known to be wrong.
    Frozen,
}

impl SetDropKind {
    /// All kinds, in the order of their index.
    pub const ALL: [Self; 14] = [
        Self::Malformed,
        Self::ReservedId,
        Self::ParkFull,
        Self::ParkExpired,
        Self::ParkDiskFull,
        Self::ParkDiskExpired,
        Self::ParkDiskFailed,
        Self::UnknownTemplate,
        Self::BadRecord,
        Self::TooManyRows,
        Self::RedefinitionRace,
        Self::Retired,
        Self::OddPadding,
        Self::Frozen,
    ];

    /// Its octets made no sense, as against what came without a template or met a bound.
    #[must_use]
    pub const fn is_malformed(self) -> bool {
        matches!(self, Self::Malformed | Self::ReservedId | Self::BadRecord | Self::OddPadding)
    }

    /// The `reason` label of `sets_undecodable_total`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::ReservedId => "reserved_id",
            Self::ParkFull => "park_full",
            Self::ParkExpired => "park_expired",
            Self::ParkDiskFull => "park_disk_full",
            Self::ParkDiskExpired => "park_disk_expired",
            Self::ParkDiskFailed => "park_disk_failed",
            Self::UnknownTemplate => "unknown_template",
            Self::BadRecord => "bad_record",
            Self::TooManyRows => "too_many_rows",
            Self::RedefinitionRace => "redefinition_race",
            Self::Retired => "retired",
            Self::OddPadding => "odd_padding",
            Self::Frozen => "frozen",
        }
    }
}
