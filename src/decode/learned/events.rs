//! What happened to an exporter's templates: the last events, and how many there were since somebody asked.
//!
//! A template that was learned never goes without a trace here, whatever the reason: that data sets suddenly find none is
//! otherwise not to be explained. Bounded: a ring and a counter for each kind.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::exporter::ExporterState;
use super::status::{TemplateEvent, TemplateEventKind};
use crate::limits::TEMPLATE_EVENTS_PER_EXPORTER;

/// How often each kind of event came, in the order of `TemplateEventKind::ALL`.
pub type TemplateEventCounts = [u64; TemplateEventKind::ALL.len()];

/// The events of one exporter.
#[derive(Debug, Default)]
pub(in crate::decode) struct TemplateEvents {
    ring: Mutex<Ring>,
    /// There is something that nobody has asked for yet: seen without the lock.
    has_news: AtomicBool,
}

#[derive(Debug, Default)]
struct Ring {
    last: VecDeque<TemplateEvent>,
    /// Since the last [`ExporterState::take_template_news`].
    news: TemplateEventCounts,
}

impl TemplateEvents {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an event; the oldest makes room.
    pub fn push(&self, event: TemplateEvent) {
        let mut ring = self.ring();
        if ring.last.len() >= TEMPLATE_EVENTS_PER_EXPORTER {
            ring.last.pop_front();
        }
        ring.last.push_back(event);
        ring.news[event.kind as usize] += 1;
        self.has_news.store(true, Ordering::Release);
    }
}

/// What came of an exporter's templates since this was asked for the last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TemplateNews {
    /// Events by kind.
    pub counts: TemplateEventCounts,
    /// The newest that is worth a line: a layout that changed, made room, or was refused.
    pub last: Option<TemplateEvent>,
}

impl TemplateNews {
    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for (sum, n) in self.counts.iter_mut().zip(other.counts) {
            *sum += n;
        }
        let at = |event: &TemplateEvent| event.at_ns;
        if other.last.as_ref().map(at) > self.last.as_ref().map(at) {
            self.last = other.last;
        }
        self
    }

    /// Events of `kind`.
    #[must_use]
    pub const fn count(&self, kind: TemplateEventKind) -> u64 {
        self.counts[kind as usize]
    }
}

impl ExporterState {
    /// The last events of this exporter's templates, oldest first.
    #[must_use]
    pub fn template_events(&self) -> Vec<TemplateEvent> {
        self.template_events.ring().last.iter().copied().collect()
    }

    /// What is new since the last call; None, and no lock taken, if nothing is.
    #[must_use]
    pub fn take_template_news(&self) -> Option<TemplateNews> {
        let events = &self.template_events;
        if !events.has_news.load(Ordering::Acquire) {
            return None;
        }
        let mut ring = events.ring();
        events.has_news.store(false, Ordering::Release);
        let told = |event: &&TemplateEvent| {
            use TemplateEventKind::{Corrected, Evicted, Frozen, Replaced};
            matches!(event.kind, Replaced | Corrected | Evicted | Frozen)
        };
        let counts = std::mem::take(&mut ring.news);
        // Only among the new ones: they are the last in the ring.
        let new = usize::try_from(counts.iter().sum::<u64>()).unwrap_or(usize::MAX);
        let last = ring.last.iter().rev().take(new).find(told).copied();
        Some(TemplateNews { counts, last })
    }
}
