//! Bounds of learned state (protocol.md ).

use super::{GIB, KIB, MIB, Range, range};

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
