//! How an exporter's datagrams come: rates, the usual gap between them, spells of what went wrong.
//!
//! In go its counters, once a second from the upkeep, so that a datagram costs nothing here; out come
//! figures for the status API. What is kept is bounded: a sample each five seconds of the last minute.

use std::collections::VecDeque;

use crate::limits::{FAULT_LINGER_S, RATE_SAMPLE_S, RATE_SAMPLES_MAX};

const SECOND_NS: u64 = 1_000_000_000;
/// Gaps after which they are believed to be usual.
const GAPS_MIN: u32 = 8;

/// Counters that rates are made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Datagrams.
    pub datagrams: u64,
    /// Octets of payload.
    pub octets: u64,
    /// Flow records.
    pub records: u64,
}

/// Per second, over some time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rates {
    /// Datagrams.
    pub datagrams: f64,
    /// Octets of payload.
    pub octets: f64,
    /// Flow records.
    pub records: f64,
}

/// Something that went wrong again and again, without a longer pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spell {
    /// When it was noticed first, Unix nanoseconds.
    pub since_ns: u64,
    /// How often since then.
    pub count: u64,
}

/// What is known of an exporter's pace at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pacing {
    /// Over the last 10 s; None before the first sample.
    pub last_10s: Option<Rates>,
    /// Over the last 60 s.
    pub last_60s: Option<Rates>,
    /// Longest gap between datagrams that is usual, nanoseconds; None while too few were seen.
    pub usual_gap_ns: Option<u64>,
    /// Datagrams rejected, sets or templates malformed.
    pub malformed: Option<Spell>,
    /// Records whose sampling rate nothing told.
    pub sampling_unknown: Option<Spell>,
    /// Datagrams refused for its rate.
    pub refused: Option<Spell>,
}

/// Counters of one look.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Look {
    pub totals: Totals,
    pub first_seen_ns: u64,
    pub last_seen_ns: u64,
    pub malformed: u64,
    pub sampling_unknown: u64,
    pub refused: u64,
}

/// State of the estimators.
#[derive(Debug, Default)]
pub(super) struct Pace {
    samples: VecDeque<(u64, Totals)>,
    datagrams: u64,
    last_seen_ns: u64,
    usual_gap_ns: u64,
    gaps: u32,
    malformed: Watch,
    sampling_unknown: Watch,
    refused: Watch,
}

#[derive(Debug, Default)]
struct Watch {
    count: u64,
    began: u64,
    since_ns: u64,
    last_ns: u64,
}

impl Watch {
    fn look(&mut self, count: u64, now_ns: u64) {
        if count == self.count {
            return;
        }
        if self.last_ns == 0 || !lingers(self.last_ns, now_ns) {
            self.since_ns = now_ns;
            self.began = self.count;
        }
        self.last_ns = now_ns;
        self.count = count;
    }

    fn spell(&self, now_ns: u64) -> Option<Spell> {
        let on = self.last_ns != 0 && lingers(self.last_ns, now_ns);
        on.then(|| Spell { since_ns: self.since_ns, count: self.count - self.began })
    }
}

const fn lingers(last_ns: u64, now_ns: u64) -> bool {
    now_ns.saturating_sub(last_ns) <= FAULT_LINGER_S * SECOND_NS
}

impl Pace {
    /// Takes note of the counters at `now_ns`; called about once a second.
    pub fn look(&mut self, look: &Look, now_ns: u64) {
        // Clocks can be set back: what was measured against the old time says nothing.
        if self.samples.back().is_some_and(|(at, _)| now_ns < *at) {
            self.samples.clear();
        }
        // Before its first datagram there was nothing: so the first seconds have a rate too.
        if self.datagrams == 0 && self.samples.is_empty() && look.first_seen_ns != 0 && look.first_seen_ns < now_ns {
            self.samples.push_back((look.first_seen_ns, Totals::default()));
        }
        if self.samples.back().is_none_or(|(at, _)| now_ns - at >= RATE_SAMPLE_S * SECOND_NS) {
            if self.samples.len() >= RATE_SAMPLES_MAX {
                self.samples.pop_front();
            }
            self.samples.push_back((now_ns, look.totals));
        }
        if look.totals.datagrams != self.datagrams {
            if self.datagrams != 0 {
                let gap = look.last_seen_ns.saturating_sub(self.last_seen_ns);
                // A long gap is believed at once and forgotten slowly: a pause at night is no alarm each time.
                self.usual_gap_ns = gap.max(self.usual_gap_ns - self.usual_gap_ns / 16);
                self.gaps = self.gaps.saturating_add(1);
            }
            self.datagrams = look.totals.datagrams;
            self.last_seen_ns = look.last_seen_ns;
        }
        self.malformed.look(look.malformed, now_ns);
        self.sampling_unknown.look(look.sampling_unknown, now_ns);
        self.refused.look(look.refused, now_ns);
    }

    /// The figures at `now_ns`, when the counters are `totals`.
    pub fn picture(&self, totals: Totals, now_ns: u64) -> Pacing {
        Pacing {
            last_10s: self.rates(10, totals, now_ns),
            last_60s: self.rates(60, totals, now_ns),
            usual_gap_ns: (self.gaps >= GAPS_MIN).then_some(self.usual_gap_ns),
            malformed: self.malformed.spell(now_ns),
            sampling_unknown: self.sampling_unknown.spell(now_ns),
            refused: self.refused.spell(now_ns),
        }
    }

    /// Since the newest sample that is `seconds` old, or else the oldest there is; None if that is no time.
    fn rates(&self, seconds: u64, totals: Totals, now_ns: u64) -> Option<Rates> {
        let age = |at: u64| now_ns.saturating_sub(at);
        let long_enough = |sample: &&(u64, Totals)| age(sample.0) >= seconds * SECOND_NS;
        let (at, then) = self.samples.iter().rev().find(long_enough).or_else(|| self.samples.front())?;
        let elapsed = age(*at);
        if elapsed < SECOND_NS {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let per_second = |now: u64, then: u64| now.saturating_sub(then) as f64 * SECOND_NS as f64 / elapsed as f64;
        Some(Rates {
            datagrams: per_second(totals.datagrams, then.datagrams),
            octets: per_second(totals.octets, then.octets),
            records: per_second(totals.records, then.records),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = SECOND_NS;

    fn look(datagrams: u64, last_seen_ns: u64) -> Look {
        let totals = Totals { datagrams, octets: datagrams * 100, records: datagrams * 30 };
        Look { totals, last_seen_ns, ..Look::default() }
    }

    #[test]
    fn rates_follow_the_last_seconds() {
        let mut pace = Pace::default();
        assert_eq!(pace.picture(Totals::default(), S).last_10s, None);
        // 10 a second for two minutes, then 100 for ten seconds.
        let mut datagrams = 0;
        for second in 1..=130 {
            datagrams += if second <= 120 { 10 } else { 100 };
            pace.look(&look(datagrams, second * S), second * S);
        }
        let now = pace.picture(look(datagrams, 0).totals, 130 * S);
        let (short, long) = (now.last_10s.unwrap(), now.last_60s.unwrap());
        assert!((short.datagrams - 100.0).abs() < 40.0, "{short:?}: a window of 10 to 15 s");
        assert!((long.datagrams - 25.0).abs() < 5.0, "{long:?}");
        assert!(
            (short.records - 30.0 * short.datagrams).abs() < 1e-6
                && (short.octets - 100.0 * short.datagrams).abs() < 1e-6
        );
        assert_eq!(pace.samples.len(), RATE_SAMPLES_MAX);
        // A minute of silence later there is none.
        for second in 131..=220 {
            pace.look(&look(datagrams, 130 * S), second * S);
        }
        assert_eq!(pace.picture(look(datagrams, 0).totals, 220 * S).last_60s, Some(Rates::default()));
        // A clock that is set back starts again.
        pace.look(&look(datagrams, 0), 5 * S);
        assert_eq!(pace.samples.len(), 1);
        // What comes in the first second counts from the first datagram.
        let mut pace = Pace::default();
        pace.look(&Look { first_seen_ns: 9 * S, ..look(100, 9 * S) }, 10 * S);
        let first = pace.picture(look(100, 0).totals, 19 * S).last_10s.unwrap();
        assert!((first.datagrams - 10.0).abs() < 1e-6, "{first:?}");
    }

    #[test]
    fn the_usual_gap_is_the_longest_of_late() {
        let mut pace = Pace::default();
        for minute in 1..=9 {
            assert_eq!(pace.picture(Totals::default(), 0).usual_gap_ns, None);
            pace.look(&look(minute, minute * 60 * S), minute * 60 * S);
        }
        assert_eq!(pace.picture(Totals::default(), 0).usual_gap_ns, Some(60 * S));
        pace.look(&look(10, 1_000 * S), 1_001 * S);
        assert_eq!(pace.usual_gap_ns, 460 * S);
        for second in 1_001..1_100 {
            pace.look(&look(second, second * S), second * S);
        }
        assert!(pace.usual_gap_ns < 20 * S, "{}", pace.usual_gap_ns);
    }

    #[test]
    fn a_spell_lasts_until_it_was_quiet_for_long() {
        let mut pace = Pace::default();
        let mut at = |malformed: u64, now: u64| {
            pace.look(&Look { malformed, ..look(1, S) }, now);
            pace.picture(Totals::default(), now).malformed
        };
        assert_eq!(at(0, 10 * S), None);
        assert_eq!(at(3, 11 * S), Some(Spell { since_ns: 11 * S, count: 3 }));
        assert_eq!(at(4, 200 * S), Some(Spell { since_ns: 11 * S, count: 4 }));
        assert_eq!(at(4, (200 + FAULT_LINGER_S) * S), Some(Spell { since_ns: 11 * S, count: 4 }));
        assert_eq!(at(4, (201 + FAULT_LINGER_S) * S), None);
        assert_eq!(at(5, 900 * S), Some(Spell { since_ns: 900 * S, count: 1 }));
    }
}
