//! A picture of the exporters with what was lost of each: what lists, the ledger and the second scrape show.
//!
//! In go the rows of the table and the losses by exporter; out come rows in the order of lists. What was lost of
//! exporters that the table has forgotten, or of nobody known, is told apart.

use super::{ExporterRow, Sources, exporters};
use crate::metrics::{Books, Loss};

/// The exporters at one moment.
#[derive(Debug, Default)]
pub(super) struct Picture {
    /// In the order of (address, tenant).
    pub rows: Vec<ExporterRow>,
    /// Records lost that are in no row.
    pub lost_elsewhere: u64,
    /// Listeners whose ports other processes share, with the number of their sockets.
    pub shared_ports: Vec<(String, usize)>,
}

impl Picture {
    pub(super) fn take(sources: &Sources) -> Self {
        let mut rows = (sources.exporters)();
        exporters::sort(&mut rows);
        let books = &sources.metrics.books;
        Self { lost_elsewhere: fill_losses(&mut rows, books), rows, shared_ports: (sources.shared_ports)() }
    }
}

/// Puts what was lost of each exporter into its row; tells how many records that leaves.
fn fill_losses(rows: &mut [ExporterRow], books: &Books) -> u64 {
    // Exporters first: what is lost meanwhile shows in the sum, never the other way round.
    let losses = books.losses.all();
    let mut named = 0;
    for row in rows {
        if let Some(loss) = loss_of(&losses, row) {
            row.lost = loss.by_stage;
            named += loss.records();
        }
    }
    books.ledger().dropped.saturating_sub(named)
}

/// What was lost of an exporter; `losses` are in the order of (address, tenant).
fn loss_of<'a>(losses: &'a [Loss], row: &ExporterRow) -> Option<&'a Loss> {
    let key = (row.address, row.tenant.as_str());
    losses.binary_search_by(|loss| (loss.address, &*loss.tenant).cmp(&key)).ok().map(|at| &losses[at])
}

/// Fills in one row.
pub(super) fn fill_one(row: &mut ExporterRow, books: &Books) {
    if let Some(loss) = loss_of(&books.losses.all(), row) {
        row.lost = loss.by_stage;
    }
}
