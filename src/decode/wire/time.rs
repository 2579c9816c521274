//! All clocks of the protocols, as pure functions on integers.
//!
//! Everything comes out as Unix milliseconds. Subtractions wrap on purpose where a 32-bit clock
//! wraps (V5-06), saturate elsewhere; no input panics.

use super::header::Header;
use crate::flow::Version;

/// Largest lead of a stamp over the header's sysUpTime: line cards' clocks run a little ahead (V5-06).
const AHEAD_MS_MAX: u32 = 3_600_000;

/// Seconds from the NTP epoch (1900) to the Unix epoch.
const NTP_UNIX_OFFSET_S: u64 = 2_208_988_800;

/// Length of an NTP era in seconds.
const NTP_ERA_S: u64 = 1 << 32;

/// A header clock that is further from the receive time is not believed: an uptime, a frozen clock (N9-30).
const HEADER_APART_MS_MAX: u64 = 86_400_000;

/// Stamps are believed from seven days before the receive time ...
const STAMP_AGE_MS_MAX: u64 = 7 * 86_400_000;

/// ... to an hour after it (T-1).
const STAMP_LEAD_MS_MAX: u64 = 3_600_000;

/// Header clocks before this are uptimes or zeroes, not times: 2000-01-01T00:00:00Z.
const PLAUSIBLE_EXPORT_MS: u64 = 946_684_800_000;

/// The clock of one message: what its stamps are relative to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) struct MessageClock {
    /// Header time, Unix milliseconds; the receive time where the header's is not a time (N9-30).
    pub export_ms: u64,
    /// sysUpTime of the header, milliseconds; None where the version has none (IPFIX).
    pub sys_uptime_ms: Option<u32>,
    /// systemInitTimeMilliseconds 160 from an options record of this domain.
    pub system_init_ms: Option<u64>,
    /// The header's clock was not believed: `export_ms` is the receive time.
    pub is_receive: bool,
    /// Stamps are believed from here, Unix milliseconds ...
    earliest_ms: u64,
    /// ... for so long.
    span_ms: u64,
}

impl MessageClock {
    /// The clock of a message with header time `export_ms` received at `receive_ns`.
    pub(in crate::decode) fn new(export_ms: u64, sys_uptime_ms: Option<u32>, receive_ns: u64) -> Self {
        let receive_ms = receive_ns / 1_000_000;
        let is_receive = export_ms < PLAUSIBLE_EXPORT_MS && receive_ms != 0;
        let export_ms = if is_receive { receive_ms } else { export_ms };
        Self { export_ms, sys_uptime_ms, system_init_ms: None, is_receive, earliest_ms: 0, span_ms: u64::MAX }
    }

    /// The clock of the message with `header`, held against the receive time where `held` says so.
    pub(in crate::decode) fn of(header: &Header, receive_ns: u64, held: bool) -> Self {
        let uptime = (header.version != Version::Ipfix).then_some(header.sys_uptime_ms);
        let clock = Self::new(header.export_ms, uptime, receive_ns);
        if held { clock.held_against(receive_ns) } else { clock }
    }

    /// The same clock held against the receive time: a header more than a day from it gives way to it (N9-30),
    /// and stamps are believed only within the window of T-1. Without it (an old capture) all stamps are.
    pub(in crate::decode) fn held_against(mut self, receive_ns: u64) -> Self {
        let receive_ms = receive_ns / 1_000_000;
        if receive_ms == 0 {
            return self;
        }
        if self.export_ms.abs_diff(receive_ms) > HEADER_APART_MS_MAX {
            (self.export_ms, self.is_receive) = (receive_ms, true);
        }
        // A header that is some hours off, as of a router set to local time, takes its stamps with it: they are told
        // by it, or by the same clock. Nothing would be won by putting the header's own time in their place.
        self.earliest_ms = receive_ms.min(self.export_ms).saturating_sub(STAMP_AGE_MS_MAX);
        self.span_ms = receive_ms.max(self.export_ms).saturating_add(STAMP_LEAD_MS_MAX) - self.earliest_ms;
        self
    }

    /// True if a stamp can be a time of this message's traffic.
    #[inline]
    pub(in crate::decode) fn believes(&self, stamp_ms: u64) -> bool {
        // One comparison for both ends: what is before the window wraps to far behind it.
        stamp_ms.wrapping_sub(self.earliest_ms) <= self.span_ms
    }

    /// First and last millisecond that are believed.
    pub(in crate::decode) const fn window(&self) -> (u64, u64) {
        // The span was made of the last one: nothing wraps.
        (self.earliest_ms, self.earliest_ms.saturating_add(self.span_ms))
    }

    /// How the message's sysUpTime stamps are read; None where nothing says what sysUpTime 0 was (T-2).
    pub(in crate::decode) fn uptimes(&self) -> Option<Uptimes> {
        let last_ms = self.export_ms.saturating_add(u64::from(AHEAD_MS_MAX));
        match (self.sys_uptime_ms, self.system_init_ms) {
            (Some(uptime), _) => {
                Some(Uptimes { last_ms, last: uptime.wrapping_add(AHEAD_MS_MAX), leads: AHEAD_MS_MAX })
            }
            #[expect(clippy::cast_possible_truncation, reason = "sysUpTime wraps at 32 bits")]
            (None, Some(init)) => {
                let uptime = self.export_ms.wrapping_sub(init) as u32;
                Some(Uptimes { last_ms, last: uptime.wrapping_add(AHEAD_MS_MAX), leads: 0 })
            }
            (None, None) => None,
        }
    }

    /// A sysUpTime stamp (21, 22) as Unix milliseconds, and whether it lies after the header's own
    /// sysUpTime. None where nothing says what sysUpTime 0 was (T-2).
    pub(in crate::decode) fn of_uptime(&self, stamp: u32) -> Option<(u64, bool)> {
        match (self.sys_uptime_ms, self.system_init_ms) {
            (Some(uptime), _) => Some(self.near_export(uptime, stamp)),
            (None, Some(init)) => {
                // The stamp has 32 bits: of an exporter that is up for longer it is the time since the last
                // wrap, which the header's time tells. That has whole seconds: a lead means nothing.
                #[expect(clippy::cast_possible_truncation, reason = "sysUpTime wraps at 32 bits")]
                let uptime = self.export_ms.wrapping_sub(init) as u32;
                Some((self.near_export(uptime, stamp).0, false))
            }
            (None, None) => None,
        }
    }

    /// A stamp of the clock that showed `uptime` at the export: its age, or up to an hour of lead.
    fn near_export(&self, uptime: u32, stamp: u32) -> (u64, bool) {
        let age = uptime.wrapping_sub(stamp);
        if age <= u32::MAX - AHEAD_MS_MAX {
            (self.export_ms.saturating_sub(u64::from(age)), false)
        } else {
            let ahead = stamp.wrapping_sub(uptime);
            (self.export_ms.saturating_add(u64::from(ahead)), true)
        }
    }

    /// flowStartDeltaMicroseconds 158 / 159: a negative offset from the export time (T-3).
    pub(in crate::decode) fn of_delta_us(&self, offset_us: u64) -> u64 {
        let export_us = self.export_ms.saturating_mul(1_000);
        export_us.saturating_sub(offset_us) / 1_000
    }

    /// dateTimeMicroseconds and dateTimeNanoseconds: NTP seconds and fraction, of the era nearest
    /// to the export time (RFC 7011 6.1.9, 6.1.10, 5.2).
    pub(in crate::decode) fn of_ntp(&self, stamp: u64) -> u64 {
        let seconds = stamp >> 32;
        let fraction_ms = ((stamp & 0xFFFF_FFFF) * 1_000) >> 32;
        let export_s = self.export_ms / 1_000 + NTP_UNIX_OFFSET_S;
        let era = export_s / NTP_ERA_S;
        let nearest = [era.saturating_sub(1), era, era + 1]
            .map(|e| e * NTP_ERA_S + seconds)
            .into_iter()
            .min_by_key(|t| t.abs_diff(export_s))
            .unwrap_or(seconds);
        nearest.saturating_sub(NTP_UNIX_OFFSET_S).saturating_mul(1_000).saturating_add(fraction_ms)
    }
}

/// sysUpTime stamps of one message: the same as [`MessageClock::of_uptime`], with what the message decides settled before.
#[derive(Debug, Clone, Copy)]
pub(in crate::decode) struct Uptimes {
    /// The latest stamp that can be, as Unix milliseconds ...
    last_ms: u64,
    /// ... and as sysUpTime.
    last: u32,
    /// Stamps that are less than this before the latest one are ahead of the header.
    leads: u32,
}

impl Uptimes {
    /// A stamp as Unix milliseconds, and whether it lies after the header's own sysUpTime.
    #[inline]
    pub(in crate::decode) fn read(&self, stamp: u32) -> (u64, bool) {
        // Both the age of a stamp and its lead are a distance from the latest one, which never wraps twice.
        let before = self.last.wrapping_sub(stamp);
        (self.last_ms.saturating_sub(u64::from(before)), before < self.leads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPORT_MS: u64 = 1_700_000_000_000;

    fn clock(uptime: u32) -> MessageClock {
        MessageClock::new(EXPORT_MS, Some(uptime), 0)
    }

    #[test]
    fn v5_06_uptime_wraps_and_runs_ahead() {
        assert_eq!(clock(1_000).of_uptime(0xFFFF_FC18), Some((EXPORT_MS - 2_000, false)));
        assert_eq!(clock(66_892_000).of_uptime(66_892_160), Some((EXPORT_MS + 160, true)));
        assert_eq!(clock(5).of_uptime(5), Some((EXPORT_MS, false)));
    }

    #[test]
    fn t_2_uptime_in_ipfix_needs_the_boot_time() {
        let mut clock = MessageClock::new(EXPORT_MS, None, 0);
        assert_eq!(clock.of_uptime(7), None);
        let init = EXPORT_MS - 5_000;
        clock.system_init_ms = Some(init);
        assert_eq!(clock.of_uptime(7), Some((init + 7, false)));
        assert_eq!(clock.of_uptime(5_900), Some((init + 5_900, false)), "a header of whole seconds");
    }

    #[test]
    fn t_2_uptime_in_ipfix_wraps_as_in_the_other_versions() {
        const WRAP_MS: u64 = 1 << 32;
        let of = |init, stamp| {
            MessageClock { system_init_ms: Some(init), ..MessageClock::new(EXPORT_MS, None, 0) }.of_uptime(stamp)
        };
        for wraps in 0..4 {
            assert_eq!(of(EXPORT_MS - wraps * WRAP_MS - 5_000, 4_000), Some((EXPORT_MS - 1_000, false)));
        }
        // A flow that began before the boot, as an exporter has it that was restarted or reads a file.
        assert_eq!(of(EXPORT_MS - 5_000, 0_u32.wrapping_sub(20_000)), Some((EXPORT_MS - 25_000, false)));
        // A boot time in the future, by a clock that was set back.
        assert_eq!(of(EXPORT_MS + 1_000, 0_u32.wrapping_sub(2_000)), Some((EXPORT_MS - 1_000, false)));
    }

    #[test]
    fn t_3_deltas_are_negative_offsets() {
        assert_eq!(MessageClock { export_ms: 1_000_000, ..clock(0) }.of_delta_us(1_500_000), 998_500);
        assert_eq!(MessageClock { export_ms: 1, ..clock(0) }.of_delta_us(u64::MAX), 0);
    }

    #[test]
    fn ix_34_ntp_stamps_take_the_nearest_era() {
        let c = clock(0);
        let seconds = EXPORT_MS / 1_000 + NTP_UNIX_OFFSET_S;
        assert_eq!(c.of_ntp(seconds << 32 | 0x8000_0000), EXPORT_MS + 500);
        // A stamp just after the era's end, exported just before it.
        let end = (NTP_ERA_S - NTP_UNIX_OFFSET_S) * 1_000;
        let late = MessageClock { export_ms: end - 10_000, ..c };
        assert_eq!(late.of_ntp(5 << 32), end + 5_000);
        let _ = c.of_ntp(u64::MAX);
    }

    #[test]
    fn n9_30_a_header_clock_that_is_an_uptime_gives_way_to_the_receive_time() {
        assert_eq!(MessageClock::new(12_345, Some(1), EXPORT_MS * 1_000_000).export_ms, EXPORT_MS);
        assert_eq!(MessageClock::new(EXPORT_MS, Some(1), 5).export_ms, EXPORT_MS);
    }

    #[test]
    fn n9_30_a_header_clock_more_than_a_day_off_gives_way_to_the_receive_time() {
        const DAY_MS: u64 = 86_400_000;
        let of = |export_ms, receive_ms: u64| {
            let clock =
                MessageClock::new(export_ms, Some(1), receive_ms * 1_000_000).held_against(receive_ms * 1_000_000);
            (clock.export_ms, clock.is_receive)
        };
        assert_eq!(of(EXPORT_MS, EXPORT_MS + DAY_MS), (EXPORT_MS, false));
        assert_eq!(of(EXPORT_MS, EXPORT_MS + DAY_MS + 1), (EXPORT_MS + DAY_MS + 1, true), "a frozen clock");
        assert_eq!(of(EXPORT_MS + DAY_MS + 1, EXPORT_MS), (EXPORT_MS, true));
        assert_eq!(of(5_000, EXPORT_MS), (EXPORT_MS, true), "1970");
        // Without a receive time there is nothing to hold it against.
        assert_eq!(MessageClock::new(EXPORT_MS, None, 0).held_against(0), MessageClock::new(EXPORT_MS, None, 0));
    }

    #[test]
    fn t_1_the_window_is_seven_days_and_an_hour() {
        let clock = MessageClock::new(EXPORT_MS, None, 0).held_against(EXPORT_MS * 1_000_000);
        for (stamp, believed) in [
            (EXPORT_MS - STAMP_AGE_MS_MAX - 1, false),
            (EXPORT_MS - STAMP_AGE_MS_MAX, true),
            (EXPORT_MS + STAMP_LEAD_MS_MAX, true),
            (EXPORT_MS + STAMP_LEAD_MS_MAX + 1, false),
            (0, false),
            (u64::MAX, false),
        ] {
            assert_eq!(clock.believes(stamp), believed, "{stamp}");
        }
        assert!(MessageClock::new(EXPORT_MS, None, 0).believes(u64::MAX) && clock.believes(EXPORT_MS));
        // Two hours fast: so are its stamps. The receive time's window holds as well.
        let fast = MessageClock::new(EXPORT_MS + 7_200_000, None, 0).held_against(EXPORT_MS * 1_000_000);
        assert!(fast.believes(EXPORT_MS + 7_200_000) && fast.believes(EXPORT_MS) && !fast.is_receive);
        assert!(!fast.believes(EXPORT_MS + 7_200_000 + STAMP_LEAD_MS_MAX + 1));
        // A header that is not believed widens nothing.
        let frozen = MessageClock::new(EXPORT_MS * 2, None, 0).held_against(EXPORT_MS * 1_000_000);
        assert!(!frozen.believes(EXPORT_MS + STAMP_LEAD_MS_MAX + 1));
    }

    #[test]
    fn uptimes_of_a_message_are_those_of_one_stamp() {
        for (export_ms, receive_ms) in [(EXPORT_MS, EXPORT_MS), (0, 0), (3_599_999, 0), (12_345, EXPORT_MS)] {
            for uptime in [0, 1, 3_600_000, 0x7FFF_FFFF, u32::MAX] {
                let header = MessageClock::new(export_ms, Some(uptime), receive_ms * 1_000_000);
                let booted = MessageClock {
                    sys_uptime_ms: None,
                    system_init_ms: Some(header.export_ms.wrapping_sub(u64::from(uptime))),
                    ..header
                };
                let ends = [0, 1, 3_599_999, 3_600_000, 3_600_001, 1 << 31, u32::MAX - 3_600_000, u32::MAX - 3_599_999];
                for stamp in ends.into_iter().flat_map(|end| [end, uptime.wrapping_add(end), uptime.wrapping_sub(end)])
                {
                    for clock in [header, booted] {
                        assert_eq!(
                            clock.uptimes().map(|all| all.read(stamp)),
                            clock.of_uptime(stamp),
                            "{uptime} {stamp}"
                        );
                    }
                }
            }
        }
        assert!(MessageClock::new(EXPORT_MS, None, 0).uptimes().is_none());
    }

    #[test]
    fn t_1_the_ends_of_the_window_are_what_is_believed() {
        for clock in [clock(1), clock(1).held_against(EXPORT_MS * 1_000_000), clock(1).held_against(u64::MAX)] {
            let (first, last) = clock.window();
            for stamp in [first, last] {
                assert!(clock.believes(stamp));
            }
            assert!(first == 0 || !clock.believes(first - 1));
            assert!(last == u64::MAX || !clock.believes(last + 1));
        }
    }
}
