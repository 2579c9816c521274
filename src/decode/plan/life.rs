//! How often a template comes again, and when it is too old.
//!
//! A template is too old when its exporter goes on sending templates and leaves this one out for three of its longest
//! intervals, at least two hours in NetFlow v9 and half an hour in IPFIX (N9-16, IX-16), and no data set has used it for as
//! long. So nothing is forgotten that may still be needed: exporters that tell their templates once, at their start, never
//! tell any again, and one that is silent tells none. Time is passed in.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::DecodePlan;
use crate::decode::selection::DecodeSettings;
use crate::flow::Version;
use crate::limits::{TEMPLATE_AGE_IPFIX_S, TEMPLATE_AGE_V9_S};

const SECOND_NS: u64 = 1_000_000_000;
/// A refresh may be lost twice in a row before its template is too old.
const INTERVALS: u64 = 3;

/// What is known of a template's coming and going.
#[derive(Debug, Default)]
pub(in crate::decode) struct Life {
    /// A data set used it since the last look.
    pub(in crate::decode) used: AtomicBool,
    /// The look at which that was last seen.
    pub(in crate::decode) used_ns: AtomicU64,
    /// UDP source port that defined it.
    pub(in crate::decode) author: u16,
    /// Port that defined the layout before, if another.
    before: Option<u16>,
    /// It was kept from an earlier run, and its exporter has not sent it since.
    pub(in crate::decode) is_restored: AtomicBool,
    /// Another layout came for its id and was refused: this one is known to be wrong.
    is_frozen: AtomicBool,
}

impl Life {
    /// The same, as it stands now.
    fn clone_now(&self) -> Self {
        Self {
            used: AtomicBool::new(self.used.load(Ordering::Relaxed)),
            used_ns: AtomicU64::new(self.used_ns.load(Ordering::Relaxed)),
            author: self.author,
            before: self.before,
            is_restored: AtomicBool::new(self.is_restored.load(Ordering::Relaxed)),
            is_frozen: AtomicBool::new(self.is_frozen.load(Ordering::Relaxed)),
        }
    }
}

impl DecodePlan {
    /// It was kept from before, and its exporter has not sent it since.
    pub(in crate::decode) fn is_restored(&self) -> bool {
        self.life.is_restored.load(Ordering::Relaxed)
    }

    /// Its exporter's last word was another layout, which was not taken: no data set may be read with this one.
    #[inline]
    pub(in crate::decode) fn is_frozen(&self) -> bool {
        self.life.is_frozen.load(Ordering::Relaxed)
    }

    /// Another layout came and was refused; until this one comes again, or another takes its place.
    pub(in crate::decode) fn freeze(&self) {
        self.life.is_frozen.store(true, Ordering::Relaxed);
    }

    /// Where it is from.
    pub(in crate::decode) fn note_restored(&mut self, is_restored: bool) {
        self.life.is_restored = AtomicBool::new(is_restored);
    }

    /// The same template compiled for `settings`, with the age and the authors of this one.
    pub(in crate::decode) fn compiled_again(&self, version: Version, settings: &DecodeSettings) -> Self {
        let again = Self::compile(self.template.clone(), version, settings, self.learned_ns);
        again.refreshed_ns.store(self.refreshed_ns.load(Ordering::Relaxed), Ordering::Relaxed);
        again.interval_ns.store(self.interval_ns.load(Ordering::Relaxed), Ordering::Relaxed);
        again.flow_keys.store(self.flow_keys.load(Ordering::Relaxed), Ordering::Relaxed);
        Self { life: self.life.clone_now(), ..again }
    }

    /// The same layout came again.
    pub(in crate::decode) fn refresh(&self, now_ns: u64) {
        self.life.is_restored.store(false, Ordering::Relaxed);
        self.life.is_frozen.store(false, Ordering::Relaxed);
        let last = self.refreshed_ns.swap(now_ns, Ordering::Relaxed);
        // Several in one datagram or burst are one refresh: they say nothing of when the next one comes.
        let interval = now_ns.saturating_sub(last);
        if interval >= SECOND_NS {
            self.interval_ns.fetch_max(interval, Ordering::Relaxed);
        }
    }

    /// The longest time between two refreshes, nanoseconds; None before the first.
    pub(in crate::decode) fn refresh_interval_ns(&self) -> Option<u64> {
        Some(self.interval_ns.load(Ordering::Relaxed)).filter(|interval| *interval != 0)
    }

    /// A data set uses it.
    #[inline]
    pub(in crate::decode) fn note_use(&self) {
        // Read first: all workers read the line, and a store would take it from them.
        if !self.life.used.load(Ordering::Relaxed) {
            self.life.used.store(true, Ordering::Relaxed);
        }
    }

    /// True if it is too old at `now_ns`, in a domain whose last template came at `heard_ns`.
    pub(in crate::decode) fn is_too_old(&self, version: Version, heard_ns: u64, now_ns: u64) -> bool {
        if self.life.used.swap(false, Ordering::Relaxed) {
            self.life.used_ns.store(now_ns, Ordering::Relaxed);
        }
        let Some(interval) = self.refresh_interval_ns() else { return false };
        let floor = if version == Version::Ipfix { TEMPLATE_AGE_IPFIX_S } else { TEMPLATE_AGE_V9_S };
        let age_max = interval.saturating_mul(INTERVALS).max(floor * SECOND_NS);
        let used = self.life.used_ns.load(Ordering::Relaxed);
        heard_ns.saturating_sub(self.refreshed_ns.load(Ordering::Relaxed)) > age_max
            && now_ns.saturating_sub(used) > age_max
    }

    /// `port` defines it, in the place of `old`.
    pub(in crate::decode) fn note_author(&mut self, port: u16, old: Option<&Self>) {
        self.life.author = port;
        self.life.before = old.map(|old| old.life.author).filter(|author| *author != port);
    }

    /// The ports that take this id from each other, if `port` gives it another layout now: it had one before, and the
    /// port that has it now took it from that one.
    pub(in crate::decode) fn contended(&self, port: u16) -> Option<(u16, u16)> {
        let author = self.life.author;
        (author != port && self.life.before == Some(port)).then_some((author.min(port), author.max(port)))
    }
}
