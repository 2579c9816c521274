//! What the fuzz targets share: the promises of the decoder, the capture reader and the elements file as checks.

pub mod captures;
pub mod elements;
pub mod invariants;
