//! The memory sum: what the process may hold at most, post by post, and whether it fits.
//!
//! Every post is a bound that its stage keeps (promise 3). If nobody set a post and the limit is
//! small, it takes a share instead of its default, so that a container of 256 MiB starts; what the
//! operator set is never changed, and what cannot fit then refuses to start.

use super::Settings;
use super::value::render_octets;
use crate::flow::{Exporter, FlowRecord};
use crate::limits;
use crate::sink::{Output, SpoolMode};

/// One post of the sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPost {
    /// What it is for.
    pub name: &'static str,
    /// Octets at most.
    pub octets: u64,
    /// How the number came about.
    pub how: String,
    /// The keys that change it; empty if none does.
    pub keys: &'static str,
}

/// Which posts nobody set, so that they may take a share.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one bit a post; they are independent")]
pub(super) struct Free {
    pub(super) workers: bool,
    pub(super) batchers: bool,
    pub(super) queue: bool,
    pub(super) in_flight: bool,
    pub(super) learned: bool,
    pub(super) parked: bool,
    pub(super) buffer: bool,
}

/// Records that a batch of the pool has room for: its target and half of it again, because the
/// target is checked between datagrams.
const POOL_BATCH_RECORDS: u64 = limits::FLOW_BATCH_RECORDS as u64 * 3 / 2;
/// A record in a batch, and at worst an entry for its exporter.
const RECORD_OCTETS: u64 = (size_of::<FlowRecord>() + size_of::<std::sync::Arc<Exporter>>()) as u64;
/// Octets of one record in a body: about 260 with IPv4 addresses, and all optional keys.
const BODY_RECORD_OCTETS: u64 = 320;
/// Shares of what is left for the posts that hold traffic, percent: bodies first, since a slow
/// backend is the common case; then templates; then the kernel's buffers; parked sets wait briefly.
const SHARES: [u64; 4] = [35, 30, 25, 10];

impl Settings {
    /// What the process may hold at most, post by post.
    #[must_use]
    pub fn memory_sum(&self) -> Vec<MemoryPost> {
        let workers = self.collect.workers as u64;
        let batchers = self.queue.batchers as u64;
        let listeners = self.collect.listeners.len() as u64;
        let slots = self.queue.queue_batches as u64;
        let post = |name, octets, how, keys| MemoryPost { name, octets, how, keys };
        vec![
            post("program", limits::MEMORY_BASE_OCTETS, "code, stacks, exporter table, HTTP side".to_owned(), ""),
            post(
                "receive arenas",
                workers * limits::ARENA_OCTETS as u64,
                format!("{workers} workers x {}", render_octets(limits::ARENA_OCTETS as u64)),
                "[receive] workers",
            ),
            post(
                "socket buffers",
                2 * listeners * self.collect.receive_buffer,
                format!(
                    "{listeners} listeners x {} x 2 (the kernel doubles)",
                    render_octets(self.collect.receive_buffer)
                ),
                "[receive] buffer",
            ),
            post(
                "learned state",
                self.collect.learned_octets_max,
                "templates and options tables".to_owned(),
                "[decode] learned_bytes",
            ),
            post(
                "parked sets",
                if self.collect.decode.park_age_ns == 0 {
                    0
                } else {
                    self.collect.parked_octets_max + self.disk_octets()
                },
                match self.collect.park_dir {
                    None => "data sets that wait for their template".to_owned(),
                    Some(_) => format!(
                        "data sets that wait for their template, and {} for those on disk",
                        render_octets(self.disk_octets())
                    ),
                },
                "[decode] park_bytes",
            ),
            post(
                "rejected datagrams",
                if self.web.is_private() { self.collect.rejected_octets_max } else { 0 },
                match (self.collect.rejected_octets_max, self.web.is_private()) {
                    (0, _) => "none are kept".to_owned(),
                    (_, true) => "datagrams that made no sense, for /api/v1/rejected.pcap".to_owned(),
                    (_, false) => "none are kept: HTTP has no token and is not bound to loopback".to_owned(),
                },
                "[receive] rejected_bytes",
            ),
            post(
                "queue",
                queue_octets(slots, workers, batchers) + (slots + workers + 2 * batchers) * self.arena_octets(),
                format!(
                    "{slots} slots and {} batches in hand x {POOL_BATCH_RECORDS} records and more{}",
                    workers + 2 * batchers,
                    if self.arena_octets() > 0 { ", with fields" } else { "" }
                ),
                "[queue] batches",
            ),
            post(
                "batcher bodies",
                2 * batchers * self.body_octets(),
                format!(
                    "{batchers} batchers x 2 x {} records x {}",
                    self.queue.batch_size,
                    BODY_RECORD_OCTETS + self.queue.fields.record_octets()
                ),
                "[batch] size, [queue] batchers",
            ),
            post(
                "bodies in flight",
                self.sink.in_flight_octets,
                match self.sink.output {
                    Output::Backend => "bodies that wait for or are under delivery".to_owned(),
                    Output::Stdout => "bodies that wait for standard output".to_owned(),
                },
                "[backend] in_flight_bytes",
            ),
            post(
                "spool",
                if self.spool_mode() == SpoolMode::Off { 0 } else { self.spool_octets() },
                "batches on their way to and from the disk, a segment while it is opened, a note of each entry"
                    .to_owned(),
                "[spool] mode",
            ),
            post(
                "snapshot of learned state",
                if self.kept_state().is_some() { 2 * limits::STATE_TABLE_OCTETS_MAX as u64 } else { 0 },
                match self.kept_state() {
                    Some(_) => {
                        "one table of an exporter while it is written, in a vector that doubled to get there".to_owned()
                    }
                    None => "none is kept".to_owned(),
                },
                "[state] snapshot_interval",
            ),
        ]
    }

    /// Octets that a body of `batch_size` records takes, about.
    pub(super) fn body_octets(&self) -> u64 {
        let record = BODY_RECORD_OCTETS + self.queue.fields.record_octets();
        (self.queue.batch_size as u64 * record).min(limits::BODY_OCTETS_MAX as u64)
    }

    /// Octets of a batch's further fields: what ends it, in vectors that doubled to get there; none if nobody asks for some.
    fn arena_octets(&self) -> u64 {
        if self.queue.fields.needs_arena() { 2 * limits::FLOW_BATCH_ARENA_OCTETS as u64 } else { 0 }
    }

    /// What is known of sets on disk, and those on their way to it.
    const fn disk_octets(&self) -> u64 {
        if self.collect.park_dir.is_some() {
            limits::PARKED_DISK_PENDING_OCTETS + limits::PARKED_DISK_SETS_MAX * limits::PARKED_DISK_SET_OCTETS
        } else {
            0
        }
    }

    fn total(&self) -> u64 {
        self.memory_sum().iter().map(|post| post.octets).sum()
    }
}

/// What the queue and the batches in somebody's hands take.
fn queue_octets(slots: u64, workers: u64, batchers: u64) -> u64 {
    let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    crate::queue::pool_octets(count(slots), count(workers), count(batchers), limits::FLOW_BATCH_RECORDS)
}

/// Lets free posts take a share where the sum exceeds the limit.
pub(super) fn share_out(settings: &mut Settings, free: Free) {
    let limit = settings.memory_limit;
    if settings.total() <= limit {
        return;
    }
    if free.workers {
        let most = (limit / 8 / limits::ARENA_OCTETS as u64).max(1);
        settings.collect.workers = settings.collect.workers.min(usize::try_from(most).unwrap_or(usize::MAX));
    }
    if free.batchers {
        settings.queue.batchers = settings.queue.batchers.min((settings.collect.workers / 2).max(1));
    }
    if free.queue {
        let (workers, batchers) = (settings.collect.workers as u64, settings.queue.batchers as u64);
        let arena = settings.arena_octets();
        let in_hand = queue_octets(0, workers, batchers) + (workers + 2 * batchers) * arena;
        let room = (limit / 8).saturating_sub(in_hand);
        let most = (room / (2 * POOL_BATCH_RECORDS * RECORD_OCTETS + arena)).max(16);
        settings.queue.queue_batches = settings.queue.queue_batches.min(usize::try_from(most).unwrap_or(usize::MAX));
    }
    // Nobody sets these: a small container has small ones.
    let spool = &mut settings.spool.spool;
    spool.inlet_octets = round(limit / 32).clamp(limits::SPOOL_INLET_OCTETS.min, spool.inlet_octets);
    spool.lease_octets = round(limit / 32).clamp(limits::SPOOL_LEASE_OCTETS.min, spool.lease_octets);
    spool.segment_octets = round(limit / 32).clamp(limits::SPOOL_SEGMENT_OCTETS.min, spool.segment_octets);
    let listeners = settings.collect.listeners.len().max(1) as u64;
    let parks = settings.collect.decode.park_age_ns != 0;
    // The four posts that share, in the order of SHARES: wanted octets, and the least they can do with.
    let wanted = [
        (free.in_flight, settings.sink.in_flight_octets, limits::IN_FLIGHT_OCTETS.min),
        (free.learned, settings.collect.learned_octets_max, limits::LEARNED_OCTETS.min),
        (free.buffer, 2 * listeners * settings.collect.receive_buffer, 2 * listeners * limits::RECEIVE_BUFFER.min),
        (free.parked && parks, settings.collect.parked_octets_max, limits::PARKED_OCTETS.min),
    ];
    let sharing: u64 = wanted.iter().filter(|(free, ..)| *free).map(|(_, octets, _)| octets).sum();
    let got = divide(limit.saturating_sub(settings.total() - sharing), wanted);
    if free.in_flight {
        settings.sink.in_flight_octets = got[0];
    }
    if free.learned {
        settings.collect.learned_octets_max = got[1];
    }
    if free.buffer {
        settings.collect.receive_buffer = round(got[2] / (2 * listeners)).max(limits::RECEIVE_BUFFER.min);
    }
    if free.parked && parks {
        settings.collect.parked_octets_max = got[3];
    }
}

/// Divides `rest` by `SHARES`: who wants less than its share takes what it wants, and leaves more for
/// the others.
fn divide(rest: u64, wanted: [(bool, u64, u64); 4]) -> [u64; 4] {
    let mut got = wanted.map(|(_, octets, _)| octets);
    let mut open: Vec<usize> = (0..4).filter(|index| wanted[*index].0).collect();
    let mut rest = rest;
    loop {
        let weights: u64 = open.iter().map(|index| SHARES[*index]).sum();
        let content: Vec<usize> =
            open.iter().copied().filter(|i| got[*i] <= rest / weights.max(1) * SHARES[*i]).collect();
        if content.is_empty() {
            for index in open {
                got[index] = round(rest / weights * SHARES[index]).max(wanted[index].2);
            }
            return got;
        }
        for index in content {
            rest -= got[index];
            open.retain(|other| *other != index);
        }
    }
}

/// Down to a number that reads well.
fn round(octets: u64) -> u64 {
    let step = if octets >= 16 << 20 { 1 << 20 } else { 64 << 10 };
    octets / step * step
}

/// What an operator has to do if the sum exceeds the limit; None if it fits.
pub(super) fn misfit(settings: &Settings) -> Option<String> {
    let mut posts = settings.memory_sum();
    let total: u64 = posts.iter().map(|post| post.octets).sum();
    if total <= settings.memory_limit {
        return None;
    }
    posts.retain(|post| !post.keys.is_empty());
    posts.sort_by_key(|post| std::cmp::Reverse(post.octets));
    let largest: Vec<String> = posts
        .iter()
        .take(3)
        .map(|post| format!("{} {} ({}): lower {}", post.name, approximate(post.octets), post.how, post.keys))
        .collect();
    Some(format!(
        "the memory sum is {} and the limit {}; the largest posts are: {}; or raise [memory] limit or the container's limit",
        approximate(total),
        approximate(settings.memory_limit),
        largest.join("; ")
    ))
}

/// Octets for people: MiB with one decimal.
#[must_use]
pub fn approximate(octets: u64) -> String {
    format!("{}.{} MiB", octets >> 20, ((octets & 0xf_ffff) * 10) >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Machine, Overrides, load};

    fn on(limit_mib: u64, cores: usize, overrides: &Overrides) -> Result<Settings, String> {
        let machine = Machine { cores, memory: Some((limit_mib << 20, "a test".into())), default_file: None };
        load(overrides, [], &machine).map(|loaded| loaded.settings).map_err(|e| e.to_string())
    }

    #[test]
    fn a_container_of_256_mib_starts_whatever_the_cores() {
        for cores in [1, 2, 8, 64, 512] {
            let settings = on(256, cores, &Overrides::default()).expect("it fits");
            assert!(settings.total() <= settings.memory_limit, "{cores} cores: {:?}", settings.memory_sum());
            assert!(settings.sink.in_flight_octets >= 8 << 20, "{:?}", settings.memory_sum());
        }
    }

    #[test]
    fn much_memory_leaves_all_defaults() {
        let settings = on(16 << 10, 4, &Overrides::default()).expect("it fits");
        assert_eq!(settings.sink.in_flight_octets, limits::IN_FLIGHT_OCTETS.default);
        assert_eq!(settings.collect.learned_octets_max, limits::LEARNED_OCTETS.default);
        assert_eq!(settings.collect.parked_octets_max, limits::PARKED_OCTETS.default);
        assert_eq!(settings.collect.receive_buffer, limits::RECEIVE_BUFFER.default);
        assert_eq!(settings.queue.queue_batches as u64, limits::QUEUE_BATCHES.default);
        assert_eq!(settings.collect.workers, 4);
    }

    #[test]
    fn what_the_operator_set_is_never_changed_and_refused_if_it_cannot_fit() {
        let asked = Overrides::default().with("decode.learned_bytes", "40MiB");
        assert_eq!(on(256, 2, &asked).expect("it fits").collect.learned_octets_max, 40 << 20);
        let asked = Overrides::default().with("decode.learned_bytes", "1GiB").with("receive.workers", "64");
        let error = on(256, 2, &asked).unwrap_err();
        assert!(error.contains("learned state 1024.0 MiB"), "{error}");
        assert!(error.contains("lower [decode] learned_bytes") && error.contains("lower [receive] workers"), "{error}");
        assert!(error.contains("raise [memory] limit"), "{error}");
    }

    #[test]
    fn fields_of_batches_are_in_the_sum() {
        let with = |fields: &str| {
            let settings = on(8_192, 4, &Overrides::default().with("output.fields", fields)).expect("right");
            let queue = settings.memory_sum().into_iter().find(|post| post.name == "queue").expect("a post");
            (queue.octets, settings.body_octets())
        };
        // Core keys stand in the records themselves.
        assert_eq!(with("bytes,version").0, with("clarion").0);
        assert!(with("ttl").0 > with("clarion").0 && with("all").0 == with("9/1").0);
        assert!(with("all").1 > with("ttl").1 && with("ttl").1 > with("clarion").1);
        // A small container starts with them too.
        let small = on(256, 4, &Overrides::default().with("output.fields", "all")).expect("it fits");
        assert!(small.queue.queue_batches >= 16);
    }

    #[test]
    fn a_spool_is_in_the_sum_and_a_small_container_starts_with_one() {
        let post = |settings: &Settings| settings.memory_sum().into_iter().find(|post| post.name == "spool");
        let asked = Overrides::default().with("data.dir", "/data");
        let large = on(8_192, 4, &asked).expect("it fits");
        assert_eq!(post(&large).expect("a post").octets, (16 + 16 + 32 + 16) << 20);
        let small = on(256, 4, &asked).expect("it fits");
        assert!(
            small.total() <= small.memory_limit && small.sink.in_flight_octets >= 8 << 20,
            "{:?}",
            small.memory_sum()
        );
        let off = on(8_192, 4, &asked.with("spool.mode", "off")).expect("it fits");
        assert_eq!(post(&off).expect("a post").octets, 0);
        assert_eq!(post(&on(8_192, 4, &Overrides::default()).expect("it fits")).expect("a post").octets, 0);
    }

    #[test]
    fn a_snapshot_is_in_the_sum_where_one_is_kept() {
        let post = |asked: &Overrides| {
            let settings = on(8_192, 4, asked).expect("it fits");
            settings
                .memory_sum()
                .into_iter()
                .find(|post| post.name == "snapshot of learned state")
                .expect("a post")
                .octets
        };
        let asked = Overrides::default().with("data.dir", "/data");
        assert_eq!((post(&Overrides::default()), post(&asked)), (0, 16 << 20));
        assert_eq!(post(&asked.with("state.snapshot_interval", "0")), 0);
    }

    #[test]
    fn too_little_for_anything_is_refused() {
        assert!(on(80, 1, &Overrides::default()).unwrap_err().contains("the memory sum is"));
    }

    #[test]
    fn shares_never_exceed_what_is_there() {
        for limit in (128..4_096).step_by(64) {
            if let Ok(settings) = on(limit, 8, &Overrides::default()) {
                assert!(settings.total() <= settings.memory_limit, "{limit}");
            } else {
                assert!(limit < 160, "{limit} MiB must do");
            }
        }
    }
}
