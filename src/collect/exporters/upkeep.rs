//! What is done with the exporters once a second: ages of sets, templates, domains and exporters, and what is to tell.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{ExporterEntry, ExporterTable, SECOND_NS, lock};
use crate::decode::{Overflowed, ParkedCounts, SetDropKind, TemplateNews};
use crate::limits::{EXPORTER_FORGET_S, EXPORTER_IDLE_S, RATE_SAMPLE_S};
use crate::metrics::Books;

impl ExporterTable {
    /// Once a second: drops sets that waited too long, forgets who is silent, and sets the levels
    /// `exporters{state}` in `books`.
    pub fn maintain(&self, now_ns: u64, books: &Books) {
        let (mut active, mut idle, mut unknown) = (0, 0, 0);
        let (mut expired, mut overflowed) = (ParkedCounts::default(), Overflowed::default());
        let mut silent = Vec::new();
        let mut entries = Vec::new();
        for shard in &self.shards {
            // Copied out, so that a worker with a new exporter never waits for the whole shard.
            entries.extend(lock(shard).values().cloned());
            for entry in entries.drain(..) {
                let silence = entry.silent_for(now_ns);
                let is_idle = silence > EXPORTER_IDLE_S * SECOND_NS;
                match (entry.is_known(), is_idle) {
                    (true, false) => active += 1,
                    (true, true) => idle += 1,
                    (false, _) => unknown += 1,
                }
                if silence > EXPORTER_FORGET_S * SECOND_NS || (is_idle && !entry.is_known()) {
                    silent.push(entry);
                    continue;
                }
                lock(&entry.pace).look(&entry.look(), now_ns);
                let mut domains = lock(&entry.domains);
                let news = domains.review_templates(now_ns);
                let before = expired.sets;
                overflowed = overflowed.and(domains.overflow_parked(now_ns));
                domains.expire_parked(now_ns, &mut expired);
                let parked = domains.forget_silent(now_ns, EXPORTER_FORGET_S * SECOND_NS);
                drop(domains);
                self.count_retired(parked);
                self.tell_templates(&entry, news, now_ns);
                self.lines.waited_in_vain(now_ns, &entry, expired.sets - before);
            }
        }
        let dropped = |kind: SetDropKind, sets: u32| books.sets_dropped[kind as usize].add(u64::from(sets));
        self.take_off_parked(expired.and(overflowed.moved).and(overflowed.refused));
        books.sets_parked_disk.add(u64::from(overflowed.moved.sets));
        dropped(SetDropKind::ParkDiskFull, overflowed.refused.sets);
        dropped(SetDropKind::ParkExpired, expired.sets - expired.returned);
        dropped(SetDropKind::ParkDiskExpired, expired.returned);
        if let Some(keeper) = &self.keeper {
            keeper.tick(now_ns);
        }
        self.forget_silent(&silent, now_ns);
        books.exporters_active.set(active);
        books.exporters_idle.set(idle);
        books.exporters_unknown.set(unknown);
        // Looks into every domain: not each second. A clock that was set back does not wait for the old time.
        let next_ns = self.next_faults_ns.load(Ordering::Acquire);
        if now_ns >= next_ns || next_ns - now_ns > RATE_SAMPLE_S * SECOND_NS {
            self.next_faults_ns.store(now_ns.saturating_add(RATE_SAMPLE_S * SECOND_NS), Ordering::Release);
            self.count_faults(now_ns, books);
        }
    }

    /// Counts what became of an exporter's templates, with a line once a minute.
    fn tell_templates(&self, entry: &ExporterEntry, news: Option<TemplateNews>, now_ns: u64) {
        let Some(news) = news else { return };
        for (tally, n) in self.books.template_events.iter().zip(news.counts) {
            tally.add(n);
        }
        self.lines.templates(now_ns, entry, &news);
    }

    fn forget_silent(&self, silent: &[Arc<ExporterEntry>], now_ns: u64) {
        if silent.is_empty() {
            return;
        }
        let mut unknown = lock(&self.unknown);
        for entry in silent {
            // It may have spoken, or been forgotten, since it was looked at.
            if !self.holds(entry) || entry.silent_for(now_ns) <= EXPORTER_IDLE_S * SECOND_NS {
                continue;
            }
            self.forget_counted(entry, &mut unknown);
        }
    }

    /// True if `entry` is in the table; it stays there for as long as the caller holds the pool's lock.
    pub(in crate::collect) fn holds(&self, entry: &Arc<ExporterEntry>) -> bool {
        lock(self.shard(entry.key)).get(&entry.key).is_some_and(|e| Arc::ptr_eq(e, entry))
    }

    /// Forgets `entry`, which the table holds, and takes it off its pool.
    pub(in crate::collect) fn forget_counted(&self, entry: &Arc<ExporterEntry>, unknown: &mut Vec<Arc<ExporterEntry>>) {
        if entry.is_known() {
            self.known.fetch_sub(1, Ordering::AcqRel);
        } else {
            unknown.retain(|e| !Arc::ptr_eq(e, entry));
        }
        self.forget(entry);
    }
}
