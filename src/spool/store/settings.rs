//! How a store keeps its bounds: the operator's settings with what depends on the disk.

use std::io;

use super::nanoseconds;
use crate::limits;
use crate::spool::disk::Disk;
use crate::spool::segment::HEADER_OCTETS;
use crate::spool::{Fsync, SpoolSettings, WhenFull};

/// What a store is built with.
#[derive(Debug, Clone)]
pub(in crate::spool) struct StoreSettings {
    pub(in crate::spool) limit: u64,
    pub(in crate::spool) age_ns: u64,
    pub(in crate::spool) keep_free_percent: u64,
    pub(in crate::spool) full: WhenFull,
    pub(in crate::spool) fsync: Fsync,
    pub(in crate::spool) compress: bool,
    pub(in crate::spool) segment_octets: u64,
}

impl StoreSettings {
    /// With the limit worked out: `settings.limit`, else the default or half of what is free.
    pub(in crate::spool) fn new(settings: &SpoolSettings, disk: &dyn Disk) -> io::Result<Self> {
        let own: u64 = disk.list(limits::SPOOL_FILES_MAX)?.iter().map(|(_, octets)| octets).sum();
        let half = disk.room()?.map_or(u64::MAX, |room| room.free.saturating_add(own) / 2);
        let limit = settings.limit.unwrap_or_else(|| limits::SPOOL_OCTETS.default.min(half));
        Ok(Self {
            limit,
            age_ns: nanoseconds(settings.age),
            keep_free_percent: settings.keep_free_percent,
            full: settings.full,
            fsync: settings.fsync,
            compress: settings.compress,
            segment_octets: settings.segment_octets.min(limit / limits::SPOOL_SEGMENTS_MIN).max(HEADER_OCTETS as u64),
        })
    }

    pub(super) fn durable(&self) -> bool {
        self.fsync != Fsync::Never
    }
}
