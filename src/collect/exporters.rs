//! Process-wide table of exporters and their domains, shared by all workers.
//!
//! Exporters stand in two pools: known ones, which have sent something decodable or are named
//! by a rule, and unknown ones. A full pool makes room only by forgetting its own; so a million forged
//! addresses cannot push out one that is known. Inside an exporter the domains are bounded and
//! the one not seen for longest goes first. Workers come here only when their private cache misses,
//! and once per receive batch to add what they counted.
//!
//! Lock order: pool, then shard, then exporter, then (inside decode) domain.

use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use rustc_hash::{FxBuildHasher, FxHashMap};

use super::CollectSettings;
use super::admit::{Bucket, Refusal};
use super::domains::{Domains, Ends, Found};
use super::gateway::Gateways;
use super::notices::Notices;
use super::pace::Pace;
use super::policy::Policy;
use super::rules::TenantIndex;
use crate::decode::{Domain, Header, LearnedBudget, ParkOverflow, ParkedCounts, SetDropKind};
use crate::limits::{EXPORTER_HOLD_MS, EXPORTER_IDLE_S, EXPORTERS_MAX, EXPORTERS_UNKNOWN_MAX};
use crate::metrics::Books;
use crate::throttle::Throttle;

/// More shards than cores of any machine this runs on would be no gain: misses are rare.
const SHARDS: usize = 64;
/// After a search for room found none, nanoseconds until the next: under a flood of forged addresses
/// a refusal costs one look-up and no search.
const SEARCH_PAUSE_NS: u64 = 10_000_000;
const SECOND_NS: u64 = 1_000_000_000;

type Key = (TenantIndex, IpAddr);

/// What is known of one exporter, (tenant, address).
#[derive(Debug)]
pub struct ExporterEntry {
    pub(super) key: Key,
    pub(super) first_seen_ns: u64,
    pub(super) last_seen_ns: AtomicU64,
    pub(super) datagrams: AtomicU64,
    pub(super) octets: AtomicU64,
    pub(super) records: AtomicU64,
    pub(super) rejected: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) sampling_unknown: AtomicU64,
    pub(super) refused: AtomicU64,
    /// Listener and observation domain of its first datagram: its rate is that of the rule for them.
    pub(super) admitted_at: (usize, u32),
    /// What it may send.
    pub(super) bucket: Bucket,
    known: AtomicBool,
    /// Its address is that of a default gateway of this host.
    pub(super) is_gateway: bool,
    /// A rule is for it alone.
    pub(super) is_named: AtomicBool,
    /// Looked after by the upkeep.
    pub(super) pace: Mutex<Pace>,
    /// Its first datagram was logged.
    pub(super) announced: AtomicBool,
    /// Its templates changed, made room, or were refused.
    pub(super) template_lines: Throttle,
    /// Its data sets waited for a template that did not come.
    pub(super) waiting_lines: Throttle,
    /// Its first withdrawal of a template was logged.
    pub(super) withdrawal_announced: AtomicBool,
    /// Its first template was logged.
    pub(super) template_announced: AtomicBool,
    /// Raised when a port gets a domain of its own: caches that sent it to the address's look again.
    pub(super) port_domains: AtomicU32,
    pub(super) domains: Mutex<Domains>,
}

/// What a worker counted of one exporter in one receive batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExporterCounts {
    /// Datagrams.
    pub datagrams: u64,
    /// Octets of payload.
    pub octets: u64,
    /// Flow records.
    pub records: u64,
    /// Datagrams rejected.
    pub rejected: u64,
    /// Sets and template records that made no sense.
    pub sets_malformed: u64,
    /// Records whose sampling rate nothing told.
    pub sampling_unknown: u64,
    /// Datagrams refused because they came too fast; not among `datagrams`.
    pub refused: u64,
    /// Sets of data or options that were decoded: what makes an exporter known.
    pub sets_used: u64,
    /// Receive time of the newest, Unix nanoseconds.
    pub last_seen_ns: u64,
}

/// All exporters of the process.
#[derive(Debug)]
pub struct ExporterTable {
    /// Changed with the pool's lock held.
    pub(super) policy: ArcSwap<Policy>,
    pub(super) silence_ns: u64,
    /// What `count_faults` found last.
    pub(super) own_clock_ms: Mutex<Option<i64>>,
    next_faults_ns: AtomicU64,
    gateways: Gateways,
    budget: Arc<LearnedBudget>,
    /// Takes the parked sets for which memory has no room.
    pub(super) keeper: Option<Arc<dyn ParkOverflow>>,
    books: Books,
    shards: Vec<Mutex<FxHashMap<Key, Arc<ExporterEntry>>>>,
    // Also the lock of every change of membership.
    pub(super) unknown: Mutex<Vec<Arc<ExporterEntry>>>,
    known: AtomicUsize,
    next_search_ns: AtomicU64,
    next_known_search_ns: AtomicU64,
    /// Lines about what the upkeep finds.
    lines: Notices,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic is caught around each datagram and counted; what it left here is still consistent,
    // because every change below is a single insertion or removal.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ExporterTable {
    /// An empty table; what it forgets is counted in `books`.
    ///
    /// # Errors
    /// A sentence for the operator: a rule that cannot hold.
    pub fn new(settings: &CollectSettings, books: Books) -> Result<Self, String> {
        let budget = Arc::new(LearnedBudget::new(settings.parked_octets_max, settings.learned_octets_max));
        Ok(Self {
            policy: ArcSwap::from_pointee(Policy::new(settings)?),
            silence_ns: u64::try_from(settings.silence_hint.as_nanos()).unwrap_or(u64::MAX),
            own_clock_ms: Mutex::default(),
            next_faults_ns: AtomicU64::new(0),
            gateways: Gateways::default(),
            budget,
            keeper: None,
            books,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            unknown: Mutex::default(),
            known: AtomicUsize::new(0),
            next_search_ns: AtomicU64::new(0),
            next_known_search_ns: AtomicU64::new(0),
            lines: Notices::default(),
        })
    }

    /// Counts what comes from `gateways`: the true exporters may be hidden behind them.
    #[must_use]
    pub fn watching(self, gateways: Gateways) -> Self {
        Self { gateways, ..self }
    }

    /// Lets `keeper` have the sets for which memory has no room. Before anybody was heard.
    #[must_use]
    pub(super) fn parking_at(self, keeper: Arc<dyn ParkOverflow>) -> Self {
        Self { keeper: Some(keeper), ..self }
    }

    /// What is followed now.
    pub(super) fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// True if `policy` is not followed any more.
    #[inline]
    pub(super) fn has_left(&self, policy: &Arc<Policy>) -> bool {
        !Arc::ptr_eq(&self.policy.load(), policy)
    }

    /// The domain for a datagram that came in at `listener` (its index) from `peer` at `now_ns`, made
    /// if there is none. `carries_templates` is asked only where the answer matters (DEC-3).
    ///
    /// # Errors
    /// The exporter is new and there is no room.
    pub fn lookup(
        &self,
        listener: usize,
        peer: SocketAddr,
        header: &Header,
        carries_templates: impl FnOnce() -> bool,
        now_ns: u64,
    ) -> Result<Arc<Domain>, Refusal> {
        self.find(listener, peer, header, carries_templates, now_ns).map(|found| found.domain)
    }

    /// The same with what a worker's cache needs beside the domain.
    pub(super) fn find(
        &self,
        listener: usize,
        peer: SocketAddr,
        header: &Header,
        carries_templates: impl FnOnce() -> bool,
        now_ns: u64,
    ) -> Result<Found, Refusal> {
        let address = peer.ip();
        let ends = Ends { listener: u16::try_from(listener).unwrap_or(u16::MAX), port: peer.port() };
        let mut carries_templates = Some(carries_templates);
        // An entry may be forgotten between finding it and looking into it; once is bad luck already.
        for _ in 0..8 {
            let policy = self.policy();
            let rules = &policy.rules;
            let rule = rules.find(listener, address, header.observation_domain);
            let key = (rules.tenant(listener, rule), address);
            let known = lock(self.shard(key)).get(&key).cloned();
            let entry = match known {
                Some(entry) => entry,
                None => self.admit(key, (listener, header.observation_domain), now_ns)?,
            };
            let mut domains = lock(&entry.domains);
            // Under the lock, so that who follows another policy finds here what was made for this one.
            if domains.forgotten || self.has_left(&policy) {
                continue;
            }
            let carries = || carries_templates.take().is_some_and(|ask| ask());
            let state = domains.state(rule, rules, key, &self.budget, self.keeper.as_ref());
            let session = rules.session(rule, header.version);
            let made = domains.find_or_make(ends, header, session, state, carries, now_ns);
            if made.port_domain_made {
                entry.port_domains.fetch_add(1, Ordering::AcqRel);
            }
            let port_domains = made.provisional.then(|| entry.port_domains.load(Ordering::Acquire));
            drop(domains);
            if let Some(parked) = made.evicted {
                self.books.evictions.add(1);
                self.count_retired(parked);
            }
            return Ok(Found { domain: made.domain, exporter: entry, port_domains });
        }
        Err(Refusal::ExporterLimit)
    }

    fn shard(&self, key: Key) -> &Mutex<FxHashMap<Key, Arc<ExporterEntry>>> {
        // The high bits: the map inside uses the low ones.
        &self.shards[(FxBuildHasher.hash_one(key) >> 48) as usize % SHARDS]
    }

    /// Makes an entry for `key`, in the pool where it belongs.
    fn admit(&self, key: Key, at: (usize, u32), now_ns: u64) -> Result<Arc<ExporterEntry>, Refusal> {
        let mut unknown = lock(&self.unknown);
        if let Some(entry) = lock(self.shard(key)).get(&key) {
            return Ok(Arc::clone(entry));
        }
        let policy = self.policy();
        let rule = policy.rules.find(at.0, key.1, at.1);
        let is_named = policy.rules.names_one(rule) || policy.admission.names(key.1);
        let known = is_named && self.room_for_known(now_ns);
        if !known && unknown.len() >= EXPORTERS_UNKNOWN_MAX {
            self.evict_unknown(&mut unknown, now_ns)?;
        }
        let entry = Arc::new(ExporterEntry {
            key,
            first_seen_ns: now_ns,
            last_seen_ns: AtomicU64::new(now_ns),
            datagrams: AtomicU64::new(0),
            octets: AtomicU64::new(0),
            records: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
            sampling_unknown: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            admitted_at: at,
            bucket: Bucket::new(policy.rules.rate(rule)),
            known: AtomicBool::new(known),
            is_gateway: self.gateways.contains(key.1),
            is_named: AtomicBool::new(policy.rules.names_one(rule)),
            pace: Mutex::default(),
            announced: AtomicBool::new(false),
            template_lines: Throttle::default(),
            waiting_lines: Throttle::default(),
            withdrawal_announced: AtomicBool::new(false),
            template_announced: AtomicBool::new(false),
            port_domains: AtomicU32::new(0),
            domains: Mutex::default(),
        });
        if known {
            self.known.fetch_add(1, Ordering::AcqRel);
        } else {
            unknown.push(Arc::clone(&entry));
        }
        lock(self.shard(key)).insert(key, Arc::clone(&entry));
        Ok(entry)
    }

    /// Forgets the unknown exporter that was not seen for longest, unless all are recent.
    fn evict_unknown(&self, unknown: &mut Vec<Arc<ExporterEntry>>, now_ns: u64) -> Result<(), Refusal> {
        if now_ns < self.next_search_ns.load(Ordering::Acquire) {
            return Err(Refusal::ExporterLimit);
        }
        let oldest = unknown.iter().enumerate().min_by_key(|(_, e)| e.last_seen_ns.load(Ordering::Acquire));
        let old_enough = |e: &ExporterEntry| e.silent_for(now_ns) >= EXPORTER_HOLD_MS * 1_000_000;
        match oldest {
            Some((at, entry)) if old_enough(entry) => {
                let entry = unknown.swap_remove(at);
                self.forget(&entry);
                self.books.evictions.add(1);
                Ok(())
            }
            _ => {
                self.next_search_ns.store(now_ns.saturating_add(SEARCH_PAUSE_NS), Ordering::Release);
                Err(Refusal::ExporterLimit)
            }
        }
    }

    /// True if one more known exporter fits. A full pool makes room by forgetting the idle one that
    /// was not seen for longest; an active one never goes. The caller holds the pool's lock.
    fn room_for_known(&self, now_ns: u64) -> bool {
        if self.known.load(Ordering::Acquire) < EXPORTERS_MAX {
            return true;
        }
        if now_ns < self.next_known_search_ns.load(Ordering::Acquire) {
            return false;
        }
        // 16,384 entries take a fraction of a millisecond: not more than once in a second.
        self.next_known_search_ns.store(now_ns.saturating_add(SECOND_NS), Ordering::Release);
        let mut idle: Vec<Arc<ExporterEntry>> = Vec::new();
        for shard in &self.shards {
            let idle_here =
                |e: &&Arc<ExporterEntry>| e.is_known() && e.silent_for(now_ns) > EXPORTER_IDLE_S * SECOND_NS;
            idle.extend(lock(shard).values().filter(idle_here).cloned());
        }
        idle.sort_by_key(|e| e.last_seen_ns.load(Ordering::Acquire));
        // Room for more than one, so that the next newcomers need no search.
        for entry in idle.iter().take(EXPORTERS_MAX / 64) {
            self.known.fetch_sub(1, Ordering::AcqRel);
            self.forget(entry);
            self.books.evictions.add(1);
        }
        self.known.load(Ordering::Acquire) < EXPORTERS_MAX
    }

    /// Takes `entry` out of the map and empties it; the caller holds the pool's lock and keeps its counts.
    fn forget(&self, entry: &Arc<ExporterEntry>) {
        let mut shard = lock(self.shard(entry.key));
        if shard.get(&entry.key).is_some_and(|e| Arc::ptr_eq(e, entry)) {
            shard.remove(&entry.key);
        }
        drop(shard);
        let parked = lock(&entry.domains).forget_all();
        self.count_retired(parked);
    }

    /// Sets that went with their domain.
    pub(super) fn count_retired(&self, parked: ParkedCounts) {
        if parked != ParkedCounts::default() {
            self.take_off_parked(parked);
            self.books.sets_dropped[SetDropKind::Retired as usize].add(u64::from(parked.sets));
        }
    }

    /// Sets that left the waiting room: first off the levels, so that they never show twice.
    fn take_off_parked(&self, parked: ParkedCounts) {
        self.books.sets_parked.sub(u64::from(parked.sets - parked.returned));
        self.books.sets_parked_disk.sub(u64::from(parked.returned));
        self.books.parked_bytes.sub(parked.octets);
    }

    /// Adds what a worker counted; the first decoded set makes the exporter known.
    pub(super) fn count(&self, entry: &Arc<ExporterEntry>, counts: &ExporterCounts) {
        let add = |to: &AtomicU64, n: u64| {
            if n != 0 {
                to.fetch_add(n, Ordering::AcqRel);
            }
        };
        add(&entry.datagrams, counts.datagrams);
        add(&entry.octets, counts.octets);
        add(&entry.records, counts.records);
        add(&entry.rejected, counts.rejected);
        add(&entry.malformed, counts.sets_malformed);
        add(&entry.sampling_unknown, counts.sampling_unknown);
        add(&entry.refused, counts.refused);
        if entry.is_gateway {
            self.books.gateway_datagrams.add(counts.datagrams);
        }
        entry.last_seen_ns.fetch_max(counts.last_seen_ns, Ordering::AcqRel);
        if counts.sets_used != 0 && !entry.is_known() {
            self.promote(entry, counts.last_seen_ns);
        }
    }

    #[cold]
    fn promote(&self, entry: &Arc<ExporterEntry>, now_ns: u64) {
        let mut unknown = lock(&self.unknown);
        let at = unknown.iter().position(|e| Arc::ptr_eq(e, entry));
        // Not there: forgotten meanwhile, or another worker was first.
        if let Some(at) = at
            && self.room_for_known(now_ns)
        {
            unknown.swap_remove(at);
            entry.known.store(true, Ordering::Release);
            self.known.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Forgets one domain whose state a panic may have left half done.
    pub(super) fn retire(&self, entry: &ExporterEntry, domain: &Arc<Domain>) {
        let parked = lock(&entry.domains).retire(domain);
        self.count_retired(parked);
    }

    /// Drops what was parked in a domain after it was forgotten.
    pub(super) fn empty(&self, forgotten: &Domain) {
        self.count_retired(forgotten.retire());
    }

    /// All of them, in no order.
    pub(super) fn entries(&self) -> Vec<Arc<ExporterEntry>> {
        let mut entries: Vec<Arc<ExporterEntry>> = Vec::new();
        for shard in &self.shards {
            entries.extend(lock(shard).values().cloned());
        }
        entries
    }

    /// Those of `address`, one a tenant.
    pub(super) fn of_address(&self, address: IpAddr) -> Vec<Arc<ExporterEntry>> {
        let keys = (0..self.policy().rules.tenants()).map(|tenant| (tenant, address));
        keys.filter_map(|key| lock(self.shard(key)).get(&key).cloned()).collect()
    }

    /// How many exporters there are, known and unknown.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.load(Ordering::Acquire) + lock(&self.unknown).len()
    }

    /// Octets that all of them have learned.
    #[cfg(test)]
    pub(super) fn learned_octets(&self) -> u64 {
        self.budget.learned_octets.load(Ordering::Acquire)
    }

    /// True if nobody has sent anything yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ExporterEntry {
    /// It has sent something decodable, or a rule names it.
    pub(super) fn is_known(&self) -> bool {
        self.known.load(Ordering::Acquire)
    }

    fn silent_for(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.last_seen_ns.load(Ordering::Acquire))
    }

    /// Source address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.key.1
    }
}

mod upkeep;

#[cfg(test)]
mod tests;
