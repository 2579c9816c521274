//! What the fuzz targets share: the promises of the decoder, the capture reader and the elements file as checks, an encoder,
//! and a second decoder to compare with.

pub mod captures;
pub mod elements;
pub mod encode;
pub mod invariants;
pub mod reference;
