//! Reading octets that nobody vouches for: whole numbers and slices, or nothing.

/// A place in a slice that only moves forward.
#[derive(Debug)]
pub(super) struct Octets<'a>(pub(super) &'a [u8]);

impl<'a> Octets<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// Octets behind their length in 16 bits.
    pub(super) fn counted(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }
}

/// Appends octets behind their length in 16 bits; false, and nothing appended, if they are too many.
pub(super) fn put_counted(octets: &mut Vec<u8>, counted: &[u8]) -> bool {
    let Ok(length) = u16::try_from(counted.len()) else { return false };
    octets.extend_from_slice(&length.to_be_bytes());
    octets.extend_from_slice(counted);
    true
}
