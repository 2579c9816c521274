//! What a domain's headers tell of the device that sends them: its clock, its boot time, its ports.
//!
//! In goes the last header of a receive batch, so that a datagram costs nothing here; out comes what the
//! status API holds against each other. Several boot times that take turns are several devices behind one
//! address. A boot time is counted from the receive time: the header's clock may be wrong.

use crate::decode::wire::header::Header;
use crate::flow::Version;
use crate::limits::{CLOCK_SKEW_MAX_S, FAULT_LINGER_S, OBSERVED_BOOTS_MAX, OBSERVED_PORTS_MAX};

const NS_PER_MS: u64 = 1_000_000;
/// Two boot times that are nearer than this are one, milliseconds: datagrams are late, clocks drift.
const SAME_BOOT_MS: u32 = 10_000;
/// What was not seen for so long no longer counts, nanoseconds.
const LINGER_NS: u64 = FAULT_LINGER_S * 1_000_000_000;

/// What was observed of a domain's sender lately.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observation {
    /// Receive time of the header that this is of, Unix nanoseconds; 0 before the first.
    pub noted_ns: u64,
    /// Header clock minus receive time, milliseconds: above 0 the exporter's clock is ahead.
    pub skew_ms: i64,
    /// Since when it has been off by more than is tolerated; 0 while it is not.
    pub skewed_since_ns: u64,
    /// Boot times seen lately, Unix milliseconds modulo 2^32 (sysUpTime wraps).
    pub boots: Vec<u32>,
    /// How often a boot time came back after another one.
    pub boot_turns: u32,
    /// When the first of these turns was.
    pub boot_turns_since_ns: u64,
    /// UDP source ports seen lately; no more are counted than are kept.
    pub ports: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen<T> {
    value: T,
    last_ns: u64,
}

/// A domain's observations, behind a lock of their own.
#[derive(Debug, Default)]
pub(in crate::decode) struct Observed {
    noted_ns: u64,
    skew_ms: i64,
    skewed_since_ns: u64,
    boots: Vec<Seen<u32>>,
    /// Which of `boots` was seen last.
    boot: usize,
    turns: u32,
    turns_since_ns: u64,
    turned_ns: u64,
    ports: Vec<Seen<u16>>,
}

impl Observed {
    /// A header that came at `receive_ns` from UDP port `port`.
    pub(in crate::decode) fn note(&mut self, header: &Header, receive_ns: u64, port: u16) {
        self.noted_ns = receive_ns;
        let receive_ms = receive_ns / NS_PER_MS;
        self.skew_ms = header.export_ms.cast_signed().saturating_sub(receive_ms.cast_signed());
        if self.skew_ms.unsigned_abs() <= CLOCK_SKEW_MAX_S * 1_000 {
            self.skewed_since_ns = 0;
        } else if self.skewed_since_ns == 0 {
            self.skewed_since_ns = receive_ns;
        }
        if header.version != Version::Ipfix && header.sys_uptime_ms != 0 {
            #[expect(clippy::cast_possible_truncation, reason = "sysUpTime wraps at 2^32 ms, and so does this")]
            self.note_boot((receive_ms as u32).wrapping_sub(header.sys_uptime_ms), receive_ns);
        }
        note(&mut self.ports, OBSERVED_PORTS_MAX, receive_ns, port, |known| known == port);
    }

    fn note_boot(&mut self, boot: u32, now_ns: u64) {
        let same = |known: u32| known.wrapping_sub(boot).wrapping_add(SAME_BOOT_MS) <= 2 * SAME_BOOT_MS;
        let (at, is_new) = note(&mut self.boots, OBSERVED_BOOTS_MAX, now_ns, boot, same);
        if !is_new && at != self.boot {
            if now_ns.saturating_sub(self.turned_ns) > LINGER_NS {
                self.turns = 0;
                self.turns_since_ns = now_ns;
            }
            self.turns = self.turns.saturating_add(1);
            self.turned_ns = now_ns;
        }
        self.boot = at;
    }

    /// What counts still: things not seen for long before the last header are left out.
    pub(in crate::decode) fn picture(&self) -> Observation {
        let lately = |at_ns: u64| self.noted_ns.saturating_sub(at_ns) <= LINGER_NS;
        let turns = lately(self.turned_ns);
        Observation {
            noted_ns: self.noted_ns,
            skew_ms: self.skew_ms,
            skewed_since_ns: self.skewed_since_ns,
            boots: self.boots.iter().filter(|b| lately(b.last_ns)).map(|b| b.value).collect(),
            boot_turns: if turns { self.turns } else { 0 },
            boot_turns_since_ns: if turns { self.turns_since_ns } else { 0 },
            ports: self.ports.iter().filter(|p| lately(p.last_ns)).count(),
        }
    }
}

/// Keeps `value` among at most `max`; gives its place, and whether it was not there before. A value that is
/// the same becomes the newer one: so a slow drift never makes a second.
fn note<T>(list: &mut Vec<Seen<T>>, max: usize, now_ns: u64, value: T, mut same: impl FnMut(T) -> bool) -> (usize, bool)
where
    T: Copy,
{
    let seen = Seen { value, last_ns: now_ns };
    if let Some(at) = list.iter().position(|s| same(s.value)) {
        list[at] = seen;
        return (at, false);
    }
    if list.len() < max {
        list.push(seen);
        return (list.len() - 1, true);
    }
    let at = (0..list.len()).min_by_key(|i| list[*i].last_ns).unwrap_or(0);
    list[at] = seen;
    (at, true)
}

/// How many different boot times there are among those of several domains.
#[must_use]
pub fn distinct_boots<'a>(observations: impl Iterator<Item = &'a Observation>) -> usize {
    let mut distinct: Vec<u32> = Vec::new();
    for boot in observations.flat_map(|o| o.boots.iter().copied()) {
        let known = |d: &u32| d.wrapping_sub(boot).wrapping_add(SAME_BOOT_MS) <= 2 * SAME_BOOT_MS;
        if distinct.len() < OBSERVED_BOOTS_MAX && !distinct.iter().any(known) {
            distinct.push(boot);
        }
    }
    distinct.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const NOW: u64 = 1_700_000_000 * S;

    fn header(version: Version, export_s: u64, uptime_ms: u32) -> Header {
        Header {
            version,
            observation_domain: 0,
            sequence: 0,
            export_ms: export_s * 1_000,
            sys_uptime_ms: uptime_ms,
            count_or_length: 0,
            sampling: 0,
        }
    }

    #[test]
    fn a_clock_is_skewed_from_one_second_past_the_bound_on_and_not_before() {
        let mut observed = Observed::default();
        let at = |observed: &mut Observed, behind_s: u64, now: u64| {
            observed.note(&header(Version::Ipfix, now / S - behind_s, 0), now, 1);
            observed.picture()
        };
        assert_eq!(at(&mut observed, CLOCK_SKEW_MAX_S, NOW).skewed_since_ns, 0);
        let skewed = at(&mut observed, CLOCK_SKEW_MAX_S + 1, NOW + S);
        assert_eq!((skewed.skew_ms, skewed.skewed_since_ns), (-61_000, NOW + S));
        assert_eq!(at(&mut observed, 3_600, NOW + 5 * S).skewed_since_ns, NOW + S, "since when, not how much");
        assert_eq!(at(&mut observed, 0, NOW + 6 * S).skewed_since_ns, 0);
    }

    #[test]
    fn a_reboot_is_no_second_device_and_two_devices_take_turns() {
        let mut observed = Observed::default();
        let mut send = |booted_s: u64, now_s: u64| {
            #[expect(clippy::cast_possible_truncation, reason = "wraps as on the wire")]
            let uptime = ((now_s - booted_s) * 1_000) as u32;
            // The header's own clock says nothing: it stands still.
            observed.note(&header(Version::V9, 1_000, uptime), now_s * S, 1);
            observed.picture()
        };
        // Booted 49 days ago: its uptime wraps meanwhile.
        let (boot, now) = (1_700_000_000_u64 - 49 * 86_400, 1_700_000_000_u64);
        for second in 0..100_000 {
            let picture = send(boot, now + second);
            assert_eq!((picture.boots.len(), picture.boot_turns), (1, 0), "{second}");
        }
        let now = now + 100_000;
        let rebooted = send(now - 10, now);
        assert_eq!((rebooted.boots.len(), rebooted.boot_turns), (2, 0));
        let second = send(boot, now + 1);
        assert_eq!((second.boots.len(), second.boot_turns, second.boot_turns_since_ns), (2, 1, (now + 1) * S));
        assert_eq!(send(now - 10, now + 2).boot_turns, 2);
        let alone = send(now - 10, now + 3 + FAULT_LINGER_S);
        assert_eq!((alone.boots.len(), alone.boot_turns), (1, 0), "the other one has fallen silent");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut observed = Observed::default();
        for i in 0..10_000_u32 {
            observed.note(&header(Version::V5, 1_000, i * 60_000 + 1), NOW, i as u16);
        }
        let picture = observed.picture();
        assert_eq!((picture.boots.len(), picture.ports), (OBSERVED_BOOTS_MAX, OBSERVED_PORTS_MAX));
        assert_eq!(distinct_boots([picture.clone(), picture].iter()), OBSERVED_BOOTS_MAX);
    }
}
