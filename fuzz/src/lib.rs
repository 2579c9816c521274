//! What the fuzz targets share: the promises of the decoder as checks.

pub mod invariants;
