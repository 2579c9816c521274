//! What the fuzz targets share: the promises of the decoder and of the capture reader as checks.

pub mod captures;
pub mod invariants;
