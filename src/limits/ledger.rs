//! Bounds of the ledger: losses by exporter, possible duplicates, and the pages that show them.
//!
//! Nobody can change them. Hitting one shows as `other`, as fewer rows, or as a further page.

use super::{EXPORTERS_MAX, KIB};

/// Exporters whose lost records are counted each for itself: as many as are known; what others lose shows in the sum. Some
/// 100 octets each.
pub const LOSS_EXPORTERS_MAX: usize = EXPORTERS_MAX;
/// Batches that may be at the backend twice whose keys are kept: more than are on their way at once by default, and
/// some 150 octets each.
pub const DUPLICATES_KEPT: usize = 1_024;
/// Entries of the spool that are dropped unread and whose exporters are looked up on the disk, in one turn: a segment of
/// usual batches has a hundred.
pub const SPOOL_NAMED_MAX: u32 = 256;
/// Octets of such an entry that are read: the names stand in front, and a batch of 1,000 records has 25 KiB of them where no
/// two neighbours are of one exporter.
pub const SPOOL_NAMES_OCTETS: usize = 64 * KIB as usize;
/// Domains in a page of the ledger: some 300 octets each, so that an answer stays about a MiB.
pub const HTTP_LEDGER_DOMAINS_MAX: usize = 4_096;
