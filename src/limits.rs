//! Every bound of the process, each with its reason, and the relations between them.
//!
//! A default that an operator can change stands beside its minimum and maximum; what nobody can
//! change stands alone. Hitting a bound is always a metric. Octets unless the name says otherwise.

mod leaving;
mod ledger;
mod rejected;
mod spool;
mod state;

pub use {leaving::*, ledger::*, rejected::*, spool::*, state::*};

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

// ---- learned state (protocol.md) --------------------------------------------------

/// Exporters with at least one decoded data set.
pub const EXPORTERS_MAX: usize = 16_384;
/// Exporters that have sent nothing decodable yet: a pool of their own.
pub const EXPORTERS_UNKNOWN_MAX: usize = 1_024;
/// Silence after which an exporter counts as idle, seconds; one that never sent anything decodable
/// is forgotten then, and a known one may make room for another.
pub const EXPORTER_IDLE_S: u64 = 600;
/// Silence after which a known exporter and its templates are forgotten, seconds.
pub const EXPORTER_FORGET_S: u64 = 86_400;
/// An unknown exporter seen within this time keeps its place, milliseconds: forged addresses cannot
/// push each other through the pool faster than that, newcomers are refused instead.
pub const EXPORTER_HOLD_MS: u64 = 1_000;
/// Domains (session x observation domain x version) of one exporter.
pub const DOMAINS_PER_EXPORTER_MAX: usize = 256;
/// Templates of one domain (NetScaler needs about 80).
pub const TEMPLATES_PER_DOMAIN_MAX: usize = 1_024;
/// Templates that a domain waits for and that are told to people.
pub const WAITING_TEMPLATES_MAX: usize = 16;
/// Boot times and UDP ports of a domain that are told apart: two are enough to know of several devices.
pub const OBSERVED_BOOTS_MAX: usize = 8;
/// UDP source ports of a domain that are told apart.
pub const OBSERVED_PORTS_MAX: usize = 16;
/// A header clock that is further from the receive time than this is a fault, seconds.
pub const CLOCK_SKEW_MAX_S: u64 = 60;
/// A fault that comes in bursts shows for this long after the last one, seconds: long enough to be read by a
/// person and by a scraper.
pub const FAULT_LINGER_S: u64 = 300;
/// Between two samples of an exporter's counters, seconds.
pub const RATE_SAMPLE_S: u64 = 5;
/// Samples that are kept: of the last minute, and one before it.
pub const RATE_SAMPLES_MAX: usize = 2 + (60 / RATE_SAMPLE_S) as usize;
/// Fields of one template.
pub const FIELDS_PER_TEMPLATE_MAX: usize = 1_024;
/// Octets of all compiled templates and options entries, whole process.
pub const LEARNED_OCTETS: Range = range(256 * MIB, MIB, 16 * GIB);
/// Events of templates that are kept of one exporter: a screenful.
pub const TEMPLATE_EVENTS_PER_EXPORTER: usize = 64;
/// Templates of one domain that may change their layout in a minute, or all of them once if they are more.
pub const REDEFINITIONS_PER_MINUTE_MAX: usize = 60;
/// A NetFlow v9 template is not forgotten for its age before, seconds: routers tell them each half hour.
pub const TEMPLATE_AGE_V9_S: u64 = 7_200;
/// The same of IPFIX, whose exporters usually tell them each ten minutes.
pub const TEMPLATE_AGE_IPFIX_S: u64 = 1_800;
/// A domain's templates are looked over for their age this often, seconds: ages are hours.
pub const TEMPLATE_LOOK_S: u64 = 60;
/// Octets of templates of one exporter.
pub const TEMPLATE_OCTETS_PER_EXPORTER_MAX: usize = MIB as usize;
/// Rows out of one message: 65 k one-octet records would be an amplifier.
pub const ROWS_PER_MESSAGE_MAX: usize = 4_096;
/// Lists inside lists (RFC 6313) that are looked into; exporters nest two or three.
pub const LIST_DEPTH_MAX: usize = 4;
/// Values and records inside lists that one message is read for, and as many that are only kept as elements: two a row.
pub const LIST_ELEMENTS_PER_MESSAGE_MAX: usize = 2 * ROWS_PER_MESSAGE_MAX;
/// VLAN tags of a sampled packet that are read; two are usual.
pub const SECTION_TAGS_MAX: usize = 8;
/// MPLS labels of a sampled packet that are read.
pub const SECTION_LABELS_MAX: usize = 8;
/// IPv6 extension headers of a sampled packet that are read.
pub const SECTION_EXTENSIONS_MAX: usize = 8;
/// Labels of an MPLS stack that a record tells element by element (70 to 79) or as a whole (316).
pub const MPLS_LABELS_MAX: usize = 10;
/// Octets of a text from the wire: names of users, applications, interfaces (whose descriptions end at 80 to 240). Longer
/// ones are cut.
pub const TEXT_OCTETS_MAX: usize = 256;
/// Fields that the flows of lists in one message inherit from the records round them, 16 a row: more is an amplifier.
pub const FIELDS_LENT_PER_MESSAGE_MAX: usize = 16 * ROWS_PER_MESSAGE_MAX;
/// Entries of one options table of one exporter.
pub const OPTIONS_ENTRIES_PER_TABLE_MAX: usize = 16_384;
/// Keys of one options record, of each kind: routers name an interface as input and as output.
pub const OPTIONS_KEYS_MAX: usize = 4;
/// Octets of an applicationId (RFC 6759) that names are kept for; makers send 4 to 9.
pub const APPLICATION_ID_OCTETS_MAX: usize = 32;
/// Elements that the type records (RFC 5610) of one exporter teach; makers have some hundreds.
pub const LEARNED_ELEMENTS_PER_EXPORTER_MAX: usize = 4_096;
/// Octets of the name of an element that a type record teaches; registered ones end at 50.
pub const LEARNED_ELEMENT_NAME_OCTETS_MAX: usize = 64;
/// Octets of the fields that one set of common properties (RFC 5473) lends each of its rows: what one message can
/// make of it stays at 4 MiB.
pub const COMMON_PROPERTIES_OCTETS_MAX: usize = KIB as usize;
/// Entries of an options table that its picture shows.
pub const OPTIONS_STATUS_ENTRIES_MAX: usize = 64;
/// Largest sampling rate believed (protocol.md A-9).
pub const SAMPLING_RATE_MAX: u32 = 16_777_215;
/// Elements of the operator's file: six times what IANA and makers have.
pub const ELEMENT_FILE_ROWS_MAX: usize = 16_384;
/// Octets of that file: 256 a row.
pub const ELEMENT_FILE_OCTETS_MAX: usize = 4 * MIB as usize;
/// Name of an element that an operator gives: the longest that is registered has 42.
pub const ELEMENT_NAME_OCTETS_MAX: usize = 64;
/// Exporters that one mediator speaks for (IX-41); flows of further ones are the mediator's own.
pub const ORIGINALS_PER_MEDIATOR_MAX: usize = 4_096;
/// Parked sets of one exporter.
pub const PARKED_SETS_PER_EXPORTER_MAX: u64 = 64;
/// Octets of parked sets of one exporter.
pub const PARKED_OCTETS_PER_EXPORTER_MAX: u64 = MIB;
/// Octets of parked sets, whole process.
pub const PARKED_OCTETS: Range = range(64 * MIB, 0, 4 * GIB);
/// Age of a parked set, seconds.
pub const PARKED_AGE_S: Range = range(60, 1, 86_400);
/// Age of a set that is parked on disk, seconds: routers that resend templates each 30 minutes, and some minutes more.
pub const PARKED_DISK_AGE_S: Range = range(35 * 60, 60, 86_400);
/// Octets of the files with parked sets.
pub const PARKED_DISK_OCTETS: Range = range(GIB, 16 * MIB, 64 * GIB);
/// Sets on disk: what is known of them takes 32 MiB of memory.
pub const PARKED_DISK_SETS_MAX: u64 = 262_144;
/// Memory that one of them takes: 24 octets of place and port under a key of 16, in nodes of a tree that are half full.
pub const PARKED_DISK_SET_OCTETS: u64 = 128;
/// One exporter takes at most this part of the files.
pub const PARKED_DISK_EXPORTER_PART: u64 = 4;
/// Files of parked sets at their bound: each goes when its last set has gone, so many keep what is dead small.
pub const PARKED_DISK_SEGMENTS: u64 = 64;
/// Messages on their way to the disk.
pub const PARKED_DISK_JOBS: usize = 4_096;
/// Octets of these sets.
pub const PARKED_DISK_PENDING_OCTETS: u64 = 8 * MIB;
/// Sets that one look gives back to a domain, so that the next domain gets its turn.
pub const PARKED_DISK_PORTION: usize = 64;
/// Messages of the reorder window before the workers' share is added (plan section 4).
pub const SEQUENCE_WINDOW_MIN: usize = 64;

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

// ---- delivery ----------------------------------------------------------------------------------

/// Encoded bodies waiting for or under delivery.
pub const IN_FLIGHT_OCTETS: Range = range(128 * MIB, MIB, 64 * GIB);
/// Requests under way at once.
pub const REQUESTS_IN_FLIGHT: Range = range(4, 1, 256);
/// Whole request, milliseconds: the backend writes each record in a transaction of its own.
pub const REQUEST_TIMEOUT_MS: Range = range(30_000, 100, 600_000);
/// TCP connect, milliseconds.
pub const CONNECT_TIMEOUT_MS: Range = range(5_000, 50, 120_000);
/// Idle connection, milliseconds.
pub const IDLE_TIMEOUT_MS: Range = range(60_000, 100, 3_600_000);
/// Oldest a connection gets, milliseconds: behind a service address one pod would be pinned for ever.
pub const CONNECTION_AGE_MS: Range = range(300_000, 1_000, 86_400_000);
/// An HTTP/2 connection with requests under way is asked for a sign of life after this time without one, and given
/// up after the same again, milliseconds.
pub const HTTP2_PING_MS: u64 = 20_000;
/// First back-off, milliseconds; doubles with each failure.
pub const BACKOFF_MS: Range = range(1_000, 1, 600_000);
/// Longest back-off, milliseconds.
pub const BACKOFF_MAX_MS: Range = range(30_000, 1, 3_600_000);
/// Tries with a batch before it makes way for the next.
pub const RETRY_ATTEMPTS: Range = range(3, 1, 1_000);
/// Threads of the delivery runtime: they wait for the backend and hardly compute.
pub const DELIVERY_THREADS: Range = range(2, 1, 64);
/// Answer body that is read for a log line; the rest is thrown away.
pub const RESPONSE_OCTETS_MAX: usize = 64 * KIB as usize;
/// Longest Retry-After that is believed, milliseconds: a backend's slip must not silence delivery for a day.
pub const RETRY_AFTER_MAX_MS: u64 = 600_000;
/// What a batch costs in delivery's budget beside its body: the structures round it, rounded up.
pub const BATCH_OVERHEAD_OCTETS: u64 = KIB;
/// How long an acceptance proves that the backend takes other batches, seconds.
pub const ACCEPTANCE_EVIDENCE_S: u64 = 30;
/// Refusals in a row after which that proof is stale: a backend that begins to refuse everything must not
/// have the whole line halved.
pub const REFUSALS_IN_A_ROW_MAX: u32 = 16;
/// Failures of one batch, while others passed, after which it is set aside (and a single record is given up).
pub const POISON_STRIKES: u32 = 3;
/// Splits of batches that make the backend fail, per second: each costs the backend two more failures at most.
pub const POISON_SPLITS_PER_S: u64 = 10;
/// Octets of an answer that are quoted in a log line.
pub const ANSWER_EXCERPT_OCTETS: usize = 200;
/// File with a secret, certificates or keys: all public authorities of a system are a quarter of this.
pub const SECRET_FILE_OCTETS_MAX: u64 = MIB;
/// A certificate that ends within this time is told once a day, seconds.
pub const CERTIFICATE_WARNING_S: u64 = 14 * 86_400;
/// Drain at shutdown, milliseconds.
pub const SHUTDOWN_TIMEOUT_MS: Range = range(25_000, 0, 600_000);
/// Keep receiving for this long after readiness ended, milliseconds: 0 outside of Kubernetes.
pub const DRAIN_DELAY_MS: Range = range(0, 0, 600_000);

// ---- spool -------------------------------------------------------------------------------------

/// Octets of the spool; the default is the smaller of this and half of the free space.
pub const SPOOL_OCTETS: Range = range(10 * GIB, 16 * MIB, 1 << 44);
/// Oldest an entry of the spool gets, seconds: flows of the day before yesterday answer nobody's question.
pub const SPOOL_AGE_S: Range = range(86_400, 60, 30 * 86_400);
/// Share of the file system that the spool leaves free, percent.
pub const SPOOL_KEEP_FREE_PERCENT: Range = range(10, 0, 90);
/// A segment is closed when it has grown to this: it is read whole when the process starts, and deleting the
/// oldest must cost a small share of the spool only.
pub const SPOOL_SEGMENT_OCTETS: Range = range(32 * MIB, 64 * KIB, 256 * MIB);
/// Parts of its limit that the spool is made of at least, so that room is made in small steps.
pub const SPOOL_SEGMENTS_MIN: u64 = 16;
/// Largest entry: the largest body, an end for each of its records, a run for each, and their names.
pub const SPOOL_ENTRY_OCTETS_MAX: usize = BODY_OCTETS_MAX + 16 * MIB as usize;
/// Entries of the spool: each takes about 64 octets of memory, 16 MiB in all.
pub const SPOOL_ENTRIES_MAX: usize = 1 << 18;
/// Entries of one segment.
pub const SPOOL_SEGMENT_ENTRIES_MAX: usize = 1 << 16;
/// Files of a spool's directory that are looked at; the default limit makes a fortieth.
pub const SPOOL_FILES_MAX: usize = 16_384;
/// Ledger of the spool that is read: a bit an entry, a row a segment, and the rows of what was tried.
pub const SPOOL_LEDGER_OCTETS_MAX: usize = 4 * MIB as usize;
/// Rows about single entries (tried, under way) in the ledger, the oldest first.
pub const SPOOL_LEDGER_ROWS_MAX: usize = 65_536;
/// Name of an output, or of a format.
pub const SPOOL_NAME_OCTETS_MAX: usize = 64;
/// Name of an exporter: tenant and address.
pub const SPOOL_KEY_OCTETS_MAX: usize = 512;
/// Between two writings to the disk with `fsync = interval`, and of the ledger, milliseconds.
pub const SPOOL_FSYNC_MS: Range = range(1_000, 10, 60_000);
/// Octets on their way into the spool.
pub const SPOOL_INLET_OCTETS: Range = range(16 * MIB, MIB, GIB);
/// Entries read back and not yet answered for.
pub const SPOOL_LEASES: Range = range(4, 1, 256);
/// Octets of these; one entry is always allowed.
pub const SPOOL_LEASE_OCTETS: Range = range(16 * MIB, MIB, GIB);
/// Entries out for each request that may be under way: one that is sent, one that waits behind it or was set aside.
pub const SPOOL_LEASES_PER_REQUEST: usize = 2;
/// While the backend is sick, batches beyond this share of delivery's memory go to the spool, percent.
pub const SPOOL_SPILL_PERCENT: u64 = 50;
/// And all of them when it has been sick for this long, milliseconds: what is in memory is lost with the process,
/// while a backend that only restarts is worth waiting for.
pub const SPOOL_PATIENCE_MS: u64 = 5_000;
/// A drain does not wait for a backend that has been sick for this long, milliseconds: the spool keeps what is left.
pub const SPOOL_DRAIN_PATIENCE_MS: u64 = 2_000;
/// And not for more of the spool's own entries when none has come for this long, milliseconds.
pub const SPOOL_DRAIN_QUIET_MS: u64 = 500;
/// Replicas of one host, each with a directory of its own.
pub const SPOOL_REPLICAS_MAX: u32 = 64;
/// Between two looks for what a replica that is gone has left, milliseconds.
pub const SPOOL_ADOPT_MS: u64 = 30_000;
/// First pause after the disk failed, milliseconds; doubles up to the longest.
pub const SPOOL_BACKOFF_MS: u64 = 500;
/// Longest pause: space that returns is found within this.
pub const SPOOL_BACKOFF_MAX_MS: u64 = 30_000;
/// Pause before a split that the disk did not take is offered again, milliseconds.
pub const SPOOL_SPLIT_RETRY_MS: u64 = 1_000;
/// Longest turn of the spool's thread while nothing comes, milliseconds.
pub const SPOOL_TURN_MS: u64 = 200;
/// Octets of all dead letters.
pub const DEAD_OCTETS: Range = range(64 * MIB, MIB, 64 * GIB);
/// Oldest a dead letter gets, seconds.
pub const DEAD_AGE_S: Range = range(30 * 86_400, 60, 366 * 86_400);
/// Dead letters, a file each.
pub const DEAD_LETTERS_MAX: usize = 4_096;
/// Dead letters that are being written at once; beyond it a record is dropped without one.
pub const DEAD_UNDER_WAY_MAX: usize = 64;
/// Between two looks for letters that are too old, seconds.
pub const DEAD_EXPIRY_S: u64 = 3_600;
/// Octets of the backend's answer that a dead letter keeps.
pub const DEAD_ANSWER_OCTETS: usize = KIB as usize;

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

// ---- web ---------------------------------------------------------------------------------------

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
