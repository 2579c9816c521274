//! What the ring of rejected datagrams says of itself.

use super::{Registrar, Tally};

/// Figures of the ring; its owner and the workers write them.
#[derive(Debug, Clone, Default)]
pub struct RejectedFigures {
    /// Datagrams that were kept, those included that have made room for others since.
    pub kept: Tally,
    /// Datagrams that were not kept: too many a second, the ring was being read, or one was too large.
    pub not_kept: Tally,
    /// Octets in the ring (a level).
    pub octets: Tally,
}

impl RejectedFigures {
    pub(super) fn register(r: &mut Registrar<'_>) -> Self {
        Self {
            kept: r.counter("rejected_kept_total", &[]),
            not_kept: r.counter("rejected_not_kept_total", &[]),
            octets: r.level_u64("rejected_kept_bytes", &[]),
        }
    }
}
