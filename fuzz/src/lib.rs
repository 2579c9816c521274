//! What the fuzz targets share: the promises of the decoder, the capture reader, the elements file, the spool and learned state as
//! checks, an encoder, and a second decoder to compare with.

pub mod captures;
pub mod elements;
pub mod encode;
pub mod invariants;
pub mod reference;
pub mod snapshots;
pub mod spools;
