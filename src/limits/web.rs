//! Bounds of the HTTP side.

use super::{KIB, Range, range};

/// Requests a second that the HTTP side answers: a page of live figures asks twice a second, a scraper each 15 s,
/// so a hundred onlookers fit, while one that asks in a loop takes no more than a tenth of a core.
pub const HTTP_REQUEST_RATE: Range = range(200, 1, 100_000);
/// Connections to the HTTP side at once; one more takes the place of the one that has idled longest.
pub const HTTP_CONNECTIONS_MAX: usize = 256;
/// Request head.
pub const HTTP_HEAD_OCTETS_MAX: usize = 16 * KIB as usize;
/// Header lines of a request: a browser behind two proxies sends about thirty.
pub const HTTP_HEADERS_MAX: usize = 64;
/// Time for a TLS handshake, milliseconds: a few round trips round the world.
pub const HTTP_HANDSHAKE_MS: u64 = 5_000;
/// Token of the HTTP side: signed ones are seldom longer, and the whole of it is compared.
pub const TOKEN_OCTETS_MAX: usize = 2 * KIB as usize;
/// A token shorter than this is worth a warning: 16 letters and digits are 95 bits, which nobody guesses.
pub const TOKEN_OCTETS_ADVISED: usize = 16;
/// Wrong tokens that a peer may show at once.
pub const WRONG_TOKENS_BURST: u64 = 20;
/// And after that one in this time, milliseconds: five scrapers behind one address, each with an old token, do not lock
/// the address, and a guesser gets 29,000 tries a day.
pub const WRONG_TOKEN_EVERY_MS: u64 = 3_000;
/// Peers whose wrong tokens are counted each for itself.
pub const HTTP_PEERS_MAX: usize = 1_024;
/// Time for a request head, and the longest that a kept connection may idle, milliseconds: one that
/// only sits there must not keep a probe out. A scraper connects again.
pub const HTTP_HEAD_TIMEOUT_MS: u64 = 10_000;
/// Oldest an HTTP connection gets, milliseconds: ends readers that take an answer drop by drop.
pub const HTTP_CONNECTION_AGE_MS: u64 = 300_000;
/// Last answers at the end of a connection's age or of the process, milliseconds.
pub const HTTP_GRACE_MS: u64 = 1_000;
/// Body that counts as large: the ordinary scrape of a big machine stays below.
pub const HTTP_LARGE_BODY_OCTETS: usize = 256 * KIB as usize;
/// Large bodies on their way at once: the exporters' scrape takes about 8 MiB at its cap.
pub const HTTP_LARGE_BODIES_MAX: usize = 8;
/// Files of the targets directory that are looked at when the process starts: one a replica.
pub const TARGETS_FILES_MAX: usize = 4_096;
/// Octets of one that are read; ours have about a hundred.
pub const TARGETS_FILE_OCTETS_MAX: u64 = 64 * KIB;
/// Rows of a page of a list.
pub const HTTP_PAGE_ROWS: Range = range(100, 1, 1_000);
/// Fields of templates in an exporter's detail: some 80 octets each, so that an answer stays below 2 MiB.
pub const HTTP_DETAIL_FIELDS_MAX: usize = 16_384;
/// Age at which the picture of the exporters is taken anew, milliseconds: however often it is asked
/// for, the table is walked a few times a second at most.
pub const SNAPSHOT_AGE_MS: u64 = 250;
/// Exporters with series of their own on the second scrape; the rest is summed.
pub const EXPORTER_SERIES_MAX: usize = 10_000;
