//! Silence: when no datagram comes at all, one line says what to check, and one when they come again.
//!
//! In go the count of datagrams and the time, out come turns of a small state machine. Silence from
//! the start counts as silence too: it is the usual first fault of a new installation.

use std::net::SocketAddr;

/// What is worth a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing has come for the hint's time.
    Silent {
        /// Since when.
        seconds: u64,
    },
    /// Datagrams come again after a line about silence.
    Resumed {
        /// How long it was silent.
        seconds: u64,
    },
}

/// The state machine.
#[derive(Debug)]
pub(super) struct Silence {
    hint_ns: u64,
    count: u64,
    since_ns: u64,
    told: bool,
}

impl Silence {
    /// Begins at `now_ns`; a hint of 0 never speaks.
    pub(super) const fn new(hint_ns: u64, now_ns: u64) -> Self {
        Self { hint_ns, count: 0, since_ns: now_ns, told: false }
    }

    /// Looks at the count of all datagrams at `now_ns` (monotonic).
    pub(super) fn turn(&mut self, count: u64, now_ns: u64) -> Option<Turn> {
        let silent_ns = now_ns.saturating_sub(self.since_ns);
        let seconds = silent_ns / 1_000_000_000;
        if count != self.count {
            self.count = count;
            self.since_ns = now_ns;
            return std::mem::take(&mut self.told).then_some(Turn::Resumed { seconds });
        }
        if self.told || self.hint_ns == 0 || silent_ns < self.hint_ns {
            return None;
        }
        self.told = true;
        Some(Turn::Silent { seconds })
    }
}

/// What an operator checks when nothing comes.
pub(super) fn what_to_check(listeners: &[(String, SocketAddr)]) -> String {
    let addresses: Vec<String> = listeners.iter().map(|(_, address)| address.to_string()).collect();
    let mut ports: Vec<u16> = listeners.iter().map(|(_, address)| address.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    let ports: Vec<String> = ports.iter().map(|port| format!("udp port {port}")).collect();
    format!(
        "check (1) that the exporters send to this host and to one of {}, (2) that no firewall on the way or on this \
         host drops UDP to it, (3) whether anything arrives: tcpdump -ni any '{}'",
        addresses.join(", "),
        ports.join(" or ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn silence_is_told_once_and_its_end_once() {
        let mut silence = Silence::new(60 * S, 1_000 * S);
        assert_eq!(silence.turn(0, 1_059 * S), None);
        assert_eq!(silence.turn(0, 1_060 * S), Some(Turn::Silent { seconds: 60 }));
        assert_eq!(silence.turn(0, 2_000 * S), None, "once");
        assert_eq!(silence.turn(7, 2_001 * S), Some(Turn::Resumed { seconds: 1_001 }));
        assert_eq!(silence.turn(8, 2_002 * S), None);
        assert_eq!(silence.turn(8, 2_061 * S), None);
        assert_eq!(silence.turn(8, 2_062 * S), Some(Turn::Silent { seconds: 60 }), "and again the next time");
    }

    #[test]
    fn traffic_and_a_hint_of_zero_stay_quiet() {
        let mut silence = Silence::new(60 * S, 0);
        for second in 1..500 {
            assert_eq!(silence.turn(second / 59, second * S), None, "one datagram a minute is no silence");
        }
        let mut off = Silence::new(0, 0);
        assert_eq!(off.turn(0, u64::MAX), None);
    }

    #[test]
    fn the_hint_names_addresses_and_a_command() {
        let listeners = ["[::]:4739", "[::]:2055", "192.0.2.1:2055"].map(|a| (String::new(), a.parse().unwrap()));
        let hint = what_to_check(&listeners);
        assert!(hint.contains("[::]:4739, [::]:2055, 192.0.2.1:2055"), "{hint}");
        assert!(
            hint.contains("firewall") && hint.ends_with("tcpdump -ni any 'udp port 2055 or udp port 4739'"),
            "{hint}"
        );
    }
}
