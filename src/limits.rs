//! Every bound of the process, each with its reason, and the relations between them.
//!
//! A default that an operator can change stands beside its minimum and maximum; what nobody can
//! change stands alone. Hitting a bound is always a metric. Octets unless the name says otherwise.

mod delivery;
mod learned;
mod leaving;
mod ledger;
mod rejected;
mod route;
mod spool;
mod state;
mod web;

pub use {delivery::*, learned::*, leaving::*, ledger::*, rejected::*, route::*, spool::*, state::*, web::*};

/// A setting's default with the range that `check` accepts.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// Value when nothing is configured.
    pub default: u64,
    /// Smallest value accepted.
    pub min: u64,
    /// Largest value accepted.
    pub max: u64,
}

const fn range(default: u64, min: u64, max: u64) -> Range {
    assert!(min <= default && default <= max);
    Range { default, min, max }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

// ---- receive -------------------------------------------------------------------------------

/// Largest UDP payload over IPv4 and IPv6 without jumbograms: 65,535 - 8 - 20, rounded up.
pub const DATAGRAM_OCTETS_MAX: usize = 65_535;
/// Datagrams a recvmmsg call asks for: past 64 the call's share of the cost no longer falls.
pub const RECEIVE_BATCH: usize = 64;
/// Worker's arena: RECEIVE_BATCH slots of the largest datagram (4 MiB of address space; pages that
/// no large datagram touches stay unbacked).
pub const ARENA_OCTETS: usize = RECEIVE_BATCH * DATAGRAM_OCTETS_MAX.next_power_of_two();
/// Worker threads.
pub const WORKERS_MAX: u64 = 256;
/// Worker threads that can be asked for; the default is the cores that the process may use.
pub const WORKERS: Range = range(1, 1, WORKERS_MAX);
/// Rules for exporters: each new exporter is held against all of them.
pub const EXPORTER_RULES_MAX: usize = 4_096;
/// After this time without any datagram one line says what to check, seconds.
pub const SILENCE_HINT_S: u64 = 60;
/// Listeners; each costs every worker a socket.
pub const LISTENERS_MAX: usize = 16;
/// Receive buffer a listener asks for, shared by its workers.
pub const RECEIVE_BUFFER: Range = range(32 * MIB, 64 * KIB, 2 * GIB);
/// Nap when a receive batch was short, microseconds: a blocked receiver is woken for each datagram.
pub const NAP_US: u64 = 150;
/// Longest a worker waits without looking at its deadlines, milliseconds.
pub const HEARTBEAT_MS: u64 = 250;

/// Longest between two readings of a socket's drop counter, milliseconds: it is 32 bits wide, and a
/// burst shall show soon.
pub const DROP_READING_MS: u64 = 100;
/// Exporters in one open batch before it is handed over: records point to theirs by 16 bits.
pub const BATCH_EXPORTERS_MAX: usize = 60_000;
/// Senders (address, port, version, domain, listener) in a worker's private cache; a full one is
/// emptied and fills again from the table.
pub const WORKER_CACHE_MAX: usize = 16_384;
/// Prefixes in each of the lists of senders.
pub const ADMISSION_PREFIXES_MAX: usize = 16_384;
/// Datagrams a second that one exporter may send; 0 is as many as it likes. The largest is more than a core decodes.
pub const RATE_DATAGRAMS: Range = range(0, 0, 10_000_000);
/// Octets a second that one exporter may send; 0 is as many as it likes.
pub const RATE_OCTETS: Range = range(0, 0, 16 * GIB);
/// What an exporter may send at once after a silence, as the time that it takes at its rate, milliseconds: exporters send
/// what expired in a second in one go.
pub const RATE_BURST_MS: Range = range(2_000, 100, 60_000);
/// Log lines a minute about exporters seen for the first time.
pub const NOTICES_PER_MINUTE: u32 = 60;
/// Octets of a datagram that go into a log line.
pub const LOGGED_OCTETS_MAX: usize = 256;

// ---- batches and queue -----------------------------------------------------------------------

/// Flows a worker's batch aims at before it is handed over.
pub const FLOW_BATCH_RECORDS: usize = 1_024;
/// Flows a worker's batch can hold at most: the target is checked between datagrams, each of which
/// gives its own rows and as many of parked sets.
pub const FLOW_BATCH_RECORDS_MAX: usize = FLOW_BATCH_RECORDS + 2 * ROWS_PER_MESSAGE_MAX;
/// Flows that an empty batch has room for beyond its target: a datagram of a 9,000-octet network
/// brings fewer, so a batch usually never grows.
pub const FLOW_BATCH_SPARE_RECORDS: usize = 512;
/// Arena of further elements that a recycled batch keeps, octets; what grew past it is given back.
pub const FLOW_BATCH_ARENA_KEPT_OCTETS: usize = MIB as usize;
/// Further fields and elements of a worker's batch that end it like enough records do, octets: 1 KiB for each of its
/// records. A batch may hold those of one largest message more.
pub const FLOW_BATCH_ARENA_OCTETS: usize = MIB as usize;
/// FlowBatches between workers and batchers.
pub const QUEUE_BATCHES: Range = range(256, 2, 65_536);
/// Flows in a request.
pub const BATCH_SIZE: Range = range(1_000, 1, 100_000);
/// Oldest a flow gets before its batch is sent, milliseconds.
pub const BATCH_INTERVAL_MS: Range = range(5_000, 10, 300_000);
/// Batcher threads.
pub const BATCHERS_MAX: u64 = 64;
/// Batcher threads that can be asked for; the default is half the workers.
pub const BATCHERS: Range = range(1, 1, BATCHERS_MAX);
/// Oldest a worker's batch gets before it is handed over, milliseconds: a quarter of
/// `batch_interval` up to this, so that the rest of the interval is left to the batcher.
pub const FLOW_BATCH_AGE_MS_MAX: u64 = 250;
/// Body of a request: a batch is closed before it grows past this.
pub const BODY_OCTETS_MAX: usize = 64 * MIB as usize;
/// Names that `[output] fields` takes: about as many as there are core keys and fields, and as many elements.
pub const OUTPUT_FIELDS_MAX: usize = 256;
/// Octets of a record's chosen fields and elements in an output: the largest value of a datagram in hex (131,070) fits
/// beside others. What would go past it is left out by name.
pub const ROW_FIELDS_OCTETS_MAX: usize = 256 * KIB as usize;
/// Names of what was left out of a record that are told; a few say what kind of thing it was.
pub const ROW_LEFT_OUT_NAMES_MAX: usize = 16;
/// Octets of a text from the wire in an output; a longer one is cut visibly.
pub const TEXT_VALUE_OCTETS_MAX: usize = 4_096;
/// Names of elements that an encoder remembers, exporters apart; past it, it begins anew.
pub const ELEMENT_NAMES_CACHED_MAX: usize = 16_384;

// ---- memory ------------------------------------------------------------------------------------

/// What the process may hold; the default is a share of what the machine or its cgroup has.
pub const MEMORY_LIMIT: Range = range(GIB, 64 * MIB, 1 << 50);
/// Program, stacks, allocator, exporter table and the HTTP side: measured at about 20 MiB, with room.
pub const MEMORY_BASE_OCTETS: u64 = 64 * MIB;
/// Share of the cgroup's limit, or of the machine's memory, that is taken by default, percent. The
/// rest is for the kernel's own books and for pages that the allocator has not given back yet.
pub const MEMORY_SHARE_PERCENT: u64 = 75;

// ---- embedded backend --------------------------------------------------------------------------

/// Body that the embedded backend reads: twice the largest that delivery makes.
pub const BACKEND_BODY_OCTETS_MAX: usize = 2 * BODY_OCTETS_MAX;
/// Serials that the embedded backend tracks over all switch_ids (8 MiB of bits).
pub const BACKEND_SERIALS_MAX: usize = 64 << 20;
/// switch_ids that the embedded backend counts by name; the rest counts in the totals only.
pub const BACKEND_SWITCHES_MAX: usize = 65_536;
/// Idempotency keys that the embedded backend remembers; the oldest are forgotten first.
pub const BACKEND_KEYS_MAX: usize = 1 << 20;
/// Octets of a POST to `/mood`: seven short keys.
pub const BACKEND_MOOD_OCTETS_MAX: usize = 4_096;

// ---- monitor -------------------------------------------------------------------------------------

/// Turn of the monitor, milliseconds.
pub const MONITOR_TICK_MS: u64 = 1_000;
/// Window of saturation_ratio, seconds.
pub const SATURATION_WINDOW_S: u64 = 30;
/// Readings in that window: one a turn, and one at each end.
pub const SATURATION_READINGS_MAX: usize = 2 + (SATURATION_WINDOW_S * 1_000 / MONITOR_TICK_MS) as usize;
/// Histograms are emptied into their buckets this often, seconds.
pub const UPKEEP_S: u64 = 5;
/// A thread without a heartbeat for this long is stale, seconds: 40 heartbeats.
pub const HEARTBEAT_STALE_S: u64 = 10;
/// A repeating condition is told once in this time, seconds.
pub const REPEAT_S: u64 = 60;

// ---- tools -------------------------------------------------------------------------------------

/// Buffer of a capture reader: a frame ends at 256 KiB (the largest snap length of libpcap).
pub const CAPTURE_BUFFER_OCTETS: usize = 512 * KIB as usize;
/// Largest block of a capture file: pcapng's name and secret blocks are larger than frames.
pub const CAPTURE_BLOCK_OCTETS_MAX: usize = 16 * MIB as usize;
/// Interfaces of one section of a pcapng file.
pub const CAPTURE_INTERFACES_MAX: usize = 4_096;
/// IP packets of a capture that are being joined at once, or lately were: a few thousand exporters with
/// large datagrams keep far fewer open, for their fragments stand next to each other.
pub const CAPTURE_FRAGMENTED_MAX: usize = 4_096;
/// Octets of fragments that wait: all of them at 4 KiB, some 256 of the largest.
pub const CAPTURE_FRAGMENT_OCTETS_MAX: usize = 16 * MIB as usize;
/// Age at which a packet whose fragments did not all come is given up, seconds of the capture: what Linux
/// takes. Numbers of IPv4 (16 bits) come again soon.
pub const CAPTURE_FRAGMENT_AGE_S: u64 = 30;
/// Sockets that `replay` opens: one for each original address and port; further ones share.
pub const REPLAY_SOCKETS_MAX: usize = 512;
/// Exporters that `generate` plays: each has a socket and a source address of its own.
pub const GENERATE_EXPORTERS_MAX: usize = 4_096;
/// UDP payload of a synthetic datagram: fits an Ethernet frame over IPv6 with room for tags.
pub const SYNTHETIC_DATAGRAM_OCTETS_MAX: usize = 1_400;

// ---- relations ---------------------------------------------------------------------------------

const _: () = assert!(ROWS_PER_MESSAGE_MAX <= FLOW_BATCH_RECORDS_MAX);
const _: () = assert!(RECEIVE_BATCH.is_power_of_two());
const _: () = assert!(BATCH_EXPORTERS_MAX + RECEIVE_BATCH <= 65_536);
const _: () = assert!(DROP_READING_MS <= HEARTBEAT_MS);
const _: () = assert!(EXPORTER_IDLE_S < EXPORTER_FORGET_S);
const _: () = assert!(TEMPLATE_AGE_V9_S < EXPORTER_FORGET_S && 10 * TEMPLATE_LOOK_S <= TEMPLATE_AGE_IPFIX_S);
const _: () = assert!(PARKED_OCTETS_PER_EXPORTER_MAX >= DATAGRAM_OCTETS_MAX as u64);
const _: () =
    assert!(HEARTBEAT_STALE_S * 1_000 >= 4 * HEARTBEAT_MS && HEARTBEAT_STALE_S * 1_000 >= 4 * MONITOR_TICK_MS);
const _: () = assert!(HTTP_HEAD_OCTETS_MAX >= 8_192);
const _: () = assert!(MEMORY_LIMIT.min >= MEMORY_BASE_OCTETS);
const _: () = assert!(IN_FLIGHT_OCTETS.default >= 2 * BODY_OCTETS_MAX as u64);
// A record's fields are written before they are measured: twice a row's share stays far below a body.
const _: () = assert!(ROW_FIELDS_OCTETS_MAX * 4 <= BODY_OCTETS_MAX && ROW_FIELDS_OCTETS_MAX > 2 * 65_535);
const _: () = assert!(SPOOL_ENTRY_OCTETS_MAX >= BODY_OCTETS_MAX + 4 * BATCH_SIZE.max as usize + 4 * MIB as usize);
const _: () = assert!(SPOOL_BACKOFF_MS <= SPOOL_BACKOFF_MAX_MS);
const _: () = assert!(SPOOL_SEGMENT_ENTRIES_MAX <= SPOOL_ENTRIES_MAX);
const _: () =
    assert!(SPOOL_LEDGER_OCTETS_MAX >= SPOOL_ENTRIES_MAX / 8 + 32 * SPOOL_FILES_MAX + 16 * SPOOL_LEDGER_ROWS_MAX);
const _: () = assert!(SPOOL_TURN_MS <= HEARTBEAT_MS);
const _: () = assert!(SPOOL_DRAIN_QUIET_MS > SPOOL_TURN_MS && SPOOL_SPILL_PERCENT < 100);
const _: () = assert!(REQUESTS_IN_FLIGHT.default as usize * SPOOL_LEASES_PER_REQUEST <= SPOOL_LEASES.max as usize);
