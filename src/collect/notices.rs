//! Log lines of the workers: few, whatever comes in.
//!
//! Rejected and refused datagrams: once a minute per reason with how many there were. New exporters
//! and their first templates: NOTICES_PER_MINUTE together. All workers share one of these; nothing in
//! here is called per datagram but for the first of an exporter. Time is the App's monotonic clock.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::admit::Refusal;
use super::exporters::{ExporterEntry, lock};
use crate::decode::{DecodeError, DecodeErrorKind, TemplateEventKind, TemplateNews};
use crate::flow::Version;
use crate::limits::{LOGGED_OCTETS_MAX, NOTICES_PER_MINUTE};
use crate::throttle::{MINUTE_NS, Throttle};

/// Lines left in the current minute.
#[derive(Debug, Default)]
struct Budget {
    until_ns: u64,
    used: u32,
    swallowed: u64,
}

/// The lines of all workers.
#[derive(Debug, Default)]
pub(super) struct Notices {
    rejected: [Throttle; DecodeErrorKind::ALL.len()],
    refused: [Throttle; Refusal::ALL.len()],
    panics: Throttle,
    socket_errors: Throttle,
    gateway_told: AtomicBool,
    budget: Mutex<Budget>,
}

impl Notices {
    /// True if there is a line left; says once a minute how many there were not.
    fn may_tell(&self, now_ns: u64) -> bool {
        let mut budget = lock(&self.budget);
        if now_ns >= budget.until_ns {
            if budget.swallowed != 0 {
                tracing::info!(
                    lines = budget.swallowed,
                    "more was to tell of exporters and their templates; these lines are left out"
                );
            }
            *budget = Budget { until_ns: now_ns.saturating_add(MINUTE_NS), used: 0, swallowed: 0 };
        }
        let left = budget.used < NOTICES_PER_MINUTE;
        if left {
            budget.used += 1;
        } else {
            budget.swallowed += 1;
        }
        left
    }

    /// An exporter's first datagram.
    pub fn exporter(&self, now_ns: u64, entry: &ExporterEntry, listener: &str, version: Version) {
        if entry.announced.swap(true, Ordering::AcqRel) {
            return;
        }
        let exporter = entry.address();
        // Once a process: how many there are says gateway_source_datagrams_total.
        // Whom a rule names, the operator knows.
        if entry.is_gateway && !entry.is_known() && !self.gateway_told.swap(true, Ordering::AcqRel) {
            tracing::warn!(
                %exporter,
                listener,
                "datagrams come from this host's own default gateway; right if that router exports flows itself (an \
                 [[exporter]] rule for its address keeps this line away), else address translation hides the true \
                 exporters, whose templates and switch_id then mix: give a container the host's network; on a bridge \
                 publish the same port number, with Docker 23 or later, and once run \
                 `conntrack -D -p udp --orig-port-dst PORT` on the host; in Kubernetes use hostNetwork or \
                 externalTrafficPolicy: Local"
            );
        }
        if self.may_tell(now_ns) {
            tracing::info!(%exporter, listener, version = version.label(), "first datagram of an exporter");
        }
    }

    /// An exporter's first template.
    pub fn template(&self, now_ns: u64, entry: &ExporterEntry, version: Version) {
        if !entry.template_announced.swap(true, Ordering::AcqRel) && self.may_tell(now_ns) {
            let exporter = entry.address();
            tracing::info!(%exporter, version = version.label(), "first template of an exporter");
        }
    }

    /// What became of an exporter's templates: once a minute, unless they were only learned or too old.
    pub fn templates(&self, now_ns: u64, entry: &ExporterEntry, news: &TemplateNews) {
        use TemplateEventKind::{Corrected, Evicted, Frozen, Replaced};
        let told = [Replaced, Corrected, Evicted, Frozen].into_iter().map(|kind| news.count(kind)).sum();
        let Some(last) = news.last.filter(|_| told != 0) else { return };
        let Some(events) = entry.template_lines.note(now_ns, told) else { return };
        if self.may_tell(now_ns) {
            tracing::warn!(
                exporter = %entry.address(),
                events,
                last = last.kind.label(),
                template = last.template_id,
                version = last.domain.version.label(),
                domain = last.domain.observation_domain,
                "templates of an exporter changed their layout, made room for others, or came too often since the last \
                 such line"
            );
        }
    }

    /// Data sets of an exporter waited for a template that did not come: once a minute (N9-15).
    pub fn waited_in_vain(&self, now_ns: u64, entry: &ExporterEntry, sets: u32) {
        if sets != 0
            && let Some(sets) = entry.waiting_lines.note(now_ns, u64::from(sets))
            && self.may_tell(now_ns)
        {
            tracing::warn!(
                exporter = %entry.address(),
                sets,
                "data sets of an exporter were dropped since the last such line: no template came for them in time; \
                 let it send its templates more often"
            );
        }
    }

    /// An exporter withdraws templates over UDP, which changes nothing (IX-14).
    pub fn withdrawal(&self, now_ns: u64, entry: &ExporterEntry, version: Version) {
        if !entry.withdrawal_announced.swap(true, Ordering::AcqRel) && self.may_tell(now_ns) {
            let exporter = entry.address();
            tracing::info!(%exporter, version = version.label(), "an exporter withdraws templates over UDP: ignored");
        }
    }

    /// `count` datagrams were rejected, the last of them `peer`'s.
    pub fn rejected(&self, now_ns: u64, count: u64, last: Option<(SocketAddr, DecodeError)>) {
        let Some((peer, error)) = last else { return };
        if let Some(datagrams) = self.rejected[error.kind as usize].note(now_ns, count) {
            let (reason, octet) = (error.kind.label(), error.offset);
            tracing::warn!(datagrams, reason, last_peer = %peer, octet, "datagrams rejected since the last such line");
        }
    }

    /// `count` datagrams were refused for `refusal`, the last of them from `last`'s peer.
    pub fn refused(&self, now_ns: u64, refusal: Refusal, count: u64, last: [Option<SocketAddr>; Refusal::ALL.len()]) {
        let Some(peer) = last[refusal as usize] else { return };
        if let Some(datagrams) = self.refused[refusal as usize].note(now_ns, count) {
            let advice = match refusal {
                Refusal::ExporterLimit => {
                    "too many new source addresses at once, which may be forged; name true exporters in [[exporter]] \
                     rules, list their networks in [admission] allow, or filter by source before this host"
                }
                Refusal::Denied => "[admission] allow and deny say who may send: a true exporter belongs on the first",
                Refusal::RateLimited => {
                    "it sends faster than [admission] or its [[exporter]] rule allows: find out why, or raise \
                     datagrams_per_second or bytes_per_second for it"
                }
            };
            let (reason, last_peer) = (refusal.label(), peer);
            tracing::warn!(datagrams, reason, %last_peer, advice, "datagrams refused since the last such line");
        }
    }

    /// The decoder panicked over a datagram.
    pub fn panicked(&self, now_ns: u64, peer: SocketAddr, message: &str, octets: &[u8]) {
        if let Some(times) = self.panics.note(now_ns, 1) {
            let shown = hex(&octets[..octets.len().min(LOGGED_OCTETS_MAX)]);
            tracing::error!(
                times,
                %peer,
                message = %message.escape_debug(),
                length = octets.len(),
                octets = %shown,
                "the decoder failed on a datagram; it was rejected and its domain forgotten: please report this line"
            );
        }
    }

    /// Reading a socket failed.
    pub fn socket_error(&self, now_ns: u64, listener: &str, error: &std::io::Error) {
        if let Some(times) = self.socket_errors.note(now_ns, 1) {
            tracing::warn!(times, listener, %error, "reading a socket failed");
        }
    }
}

fn hex(octets: &[u8]) -> String {
    use std::fmt::Write;
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_exporters_share_a_bounded_number_of_lines() {
        let notices = Notices::default();
        let told = (0..1_000).filter(|_| notices.may_tell(7)).count();
        assert_eq!(told, NOTICES_PER_MINUTE as usize);
        assert_eq!(lock(&notices.budget).swallowed, 1_000 - u64::from(NOTICES_PER_MINUTE));
        assert!(notices.may_tell(7 + MINUTE_NS));
    }

    #[test]
    fn octets_are_shown_as_hex() {
        assert_eq!(hex(&[0, 5, 0xff]), "0005ff");
    }
}
