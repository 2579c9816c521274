//! Room between the network card and the collector: receive buffers, the backlog, and who dropped what.
//!
//! The kernel's counters run since boot. They are read twice, so that what is lost now is told apart
//! from what was lost once: a drop while we look is a fault, an old one a warning or a hint.

use super::finding::{Finding, Severity};
use super::host::{Host, named, paired};
use crate::collect::{self, ObtainedBuffer};
use crate::config::{Settings, approximate};

/// A backlog that holds a burst of one core's queue: the kernel's default is 1,000.
const BACKLOG_WANTED: u64 = 10_000;
/// What every socket of the host gets unasked should stay far below what a collector asks for.
const RMEM_DEFAULT_MAX: u64 = 16 << 20;
/// One datagram in this many lost since boot is worth a warning; less was a burst some day.
const OLD_LOSS_SHARE: u64 = 100_000;

/// What the settings ask for.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Octets a socket.
    pub socket: u64,
    /// Octets of all sockets together, in the kernel's own (doubled) measure.
    pub together: u64,
}

impl Asked {
    /// Of `settings`.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let (workers, listeners) = (settings.collect.workers as u64, settings.collect.listeners.len() as u64);
        Self {
            socket: settings.collect.receive_buffer / workers.max(1),
            together: 2 * listeners * settings.collect.receive_buffer,
        }
    }
}

/// The sockets that were tried, and the host's bounds.
#[derive(Debug, Clone)]
pub struct BufferFacts {
    /// What the settings ask for.
    pub asked: Asked,
    /// By listener: what the kernel granted on a free port, or why there was no socket.
    pub obtained: Vec<(String, Result<ObtainedBuffer, String>)>,
    /// net.core.rmem_max.
    pub rmem_max: Result<u64, String>,
    /// net.core.rmem_default.
    pub rmem_default: Result<u64, String>,
    /// net.core.netdev_max_backlog.
    pub backlog: Result<u64, String>,
    /// Octets that all UDP sockets of the host may hold: the last figure of net.ipv4.udp_mem.
    pub udp_mem: Result<u64, String>,
}

/// Counters of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters {
    /// Packets that came from the cards, and those dropped at the backlog, over all cores.
    pub softnet: Result<(u64, u64), String>,
    /// Datagrams received, and lost for want of buffer or memory, both families.
    pub udp: Result<(u64, u64), String>,
    /// Packets dropped by the reverse path filter.
    pub rp_filter: Result<u64, String>,
}

impl BufferFacts {
    /// Reads the bounds and tries a socket of each listener.
    #[must_use]
    pub fn gather(host: &Host, settings: &Settings) -> Self {
        let collect = &settings.collect;
        let try_one = |listener| {
            collect::try_bind(listener, collect.workers, collect.receive_buffer)
                .map(|(_, obtained)| obtained)
                .map_err(|e| e.to_string())
        };
        Self {
            asked: Asked::of(settings),
            obtained: collect.listeners.iter().map(|l| (l.name.clone(), try_one(l))).collect(),
            rmem_max: host.number("proc/sys/net/core/rmem_max"),
            rmem_default: host.number("proc/sys/net/core/rmem_default"),
            backlog: host.number("proc/sys/net/core/netdev_max_backlog"),
            udp_mem: udp_mem(host),
        }
    }
}

impl Counters {
    /// Reads them.
    #[must_use]
    pub fn read(host: &Host) -> Self {
        let netstat = host.text("proc/net/netstat");
        let filtered = |text: String| {
            paired(&text, "TcpExt", "IPReversePathFilter")
                .ok_or_else(|| "/proc/net/netstat has no IPReversePathFilter".to_owned())
        };
        Self {
            softnet: host.text("proc/net/softnet_stat").map(|text| softnet(&text)),
            udp: udp(host),
            rp_filter: netstat.and_then(filtered),
        }
    }
}

/// Columns 1 and 2 of each core's row, in hex: processed and dropped.
fn softnet(text: &str) -> (u64, u64) {
    let hex = |field: Option<&str>| field.and_then(|f| u64::from_str_radix(f, 16).ok()).unwrap_or(0);
    text.lines().fold((0, 0), |(processed, dropped), line| {
        let mut fields = line.split_ascii_whitespace();
        (processed + hex(fields.next()), dropped + hex(fields.next()))
    })
}

fn udp(host: &Host) -> Result<(u64, u64), String> {
    let text = host.text("proc/net/snmp")?;
    let of = |name| paired(&text, "Udp", name).unwrap_or(0);
    // Absent without IPv6.
    let six = host.text("proc/net/snmp6").unwrap_or_default();
    let of6 = |name| named(&six, name).unwrap_or(0);
    let received = of("InDatagrams") + of6("Udp6InDatagrams");
    let lost = of("RcvbufErrors") + of("MemErrors") + of6("Udp6RcvbufErrors") + of6("Udp6MemErrors");
    Ok((received, lost))
}

fn udp_mem(host: &Host) -> Result<u64, String> {
    let text = host.text("proc/sys/net/ipv4/udp_mem")?;
    let pages = text.split_ascii_whitespace().nth(2).and_then(|n| n.parse::<u64>().ok());
    pages
        .map(|n| n.saturating_mul(page_octets(host)))
        .ok_or_else(|| "/proc/sys/net/ipv4/udp_mem is not three numbers".to_owned())
}

/// AT_PAGESZ of the auxiliary vector: pages have 4 KiB on amd64, 4, 16 or 64 KiB on arm64.
fn page_octets(host: &Host) -> u64 {
    const AT_PAGESZ: u64 = 6;
    let octets = std::fs::read(host.root().join("proc/self/auxv")).unwrap_or_default();
    let (pairs, _) = octets.as_chunks::<16>();
    let word = |half: &[u8]| half.iter().rev().fold(0_u64, |n, octet| n << 8 | u64::from(*octet));
    pairs.iter().find(|p| word(&p[..8]) == AT_PAGESZ).map_or(4_096, |p| word(&p[8..]))
}

/// The findings: buffers, bounds, and what was dropped between `before` and `after`, and ever.
#[must_use]
pub fn judge(facts: &BufferFacts, before: &Counters, after: &Counters) -> Vec<Finding> {
    vec![
        receive_buffer(facts),
        rmem_default(facts),
        backlog(facts, before, after),
        udp_drops(facts, before, after),
        udp_memory(facts),
    ]
}

fn sysctl(key: &str, value: u64) -> String {
    format!("sysctl -w {key}={value}    # and in /etc/sysctl.d/, so that it outlives a restart")
}

fn receive_buffer(facts: &BufferFacts) -> Finding {
    const CHECK: &str = "receive-buffer";
    let asked = facts.asked.socket;
    let mut least: Option<ObtainedBuffer> = None;
    for (listener, obtained) in &facts.obtained {
        match obtained {
            Ok(buffer) if least.is_none_or(|l| buffer.granted < l.granted) => least = Some(*buffer),
            Ok(_) => {}
            Err(why) => {
                return Finding::new(
                    CHECK,
                    Severity::Fault,
                    format!("listener {listener} gets no socket: {why}"),
                    "the collector will not start",
                    "set the listener's address or interface to what this host has ([bind] host, [[listener]])",
                );
            }
        }
    }
    let max = facts.rmem_max.as_ref().map_or_else(|_| "unknown".to_owned(), ToString::to_string);
    let Some(buffer) = least else {
        return Finding::unknown(CHECK, "there is no listener to try", "");
    };
    let seen = format!("{} octets granted a socket, {asked} asked, net.core.rmem_max {max}", buffer.granted);
    let burst = "the buffer is what bridges a burst or a pause of the process; what does not fit is lost in the kernel \
                 (kernel_dropped_datagrams_total)";
    if buffer.granted < asked {
        let cure = format!(
            "{}\nin a container set it on the host; in Kubernetes on the node; or give the process CAP_NET_ADMIN",
            sysctl("net.core.rmem_max", asked)
        );
        return Finding::new(CHECK, Severity::Warning, seen, burst, cure);
    }
    if buffer.forced && facts.rmem_max.as_ref().is_ok_and(|max| *max < asked) {
        return Finding::new(
            CHECK,
            Severity::Hint,
            format!("{seen}; forced"),
            "this process may go past the bound (CAP_NET_ADMIN); a collector without that privilege gets less",
            sysctl("net.core.rmem_max", asked),
        );
    }
    Finding::ok(CHECK, seen)
}

fn rmem_default(facts: &BufferFacts) -> Finding {
    const CHECK: &str = "rmem-default";
    match &facts.rmem_default {
        Err(why) => Finding::unknown(CHECK, why, "sysctl net.core.rmem_default    # on the host"),
        Ok(octets) if *octets > RMEM_DEFAULT_MAX => Finding::new(
            CHECK,
            Severity::Hint,
            format!("net.core.rmem_default is {octets}"),
            "every socket of the host may hold that much unasked; the collector asks for its buffers and needs none of it",
            sysctl("net.core.rmem_default", 212_992),
        ),
        Ok(octets) => Finding::ok(CHECK, format!("net.core.rmem_default is {octets}; the collector asks for its own")),
    }
}

/// Severity of `lost` of `all` since boot, `now` of them while we looked.
fn loss(lost: u64, all: u64, now: u64) -> Severity {
    if now > 0 {
        Severity::Fault
    } else if lost.saturating_mul(OLD_LOSS_SHARE) > all {
        Severity::Warning
    } else if lost > 0 {
        Severity::Hint
    } else {
        Severity::Ok
    }
}

fn backlog(facts: &BufferFacts, before: &Counters, after: &Counters) -> Finding {
    const CHECK: &str = "backlog";
    let (old, new) = match (&before.softnet, &after.softnet) {
        (Ok(old), Ok(new)) => (*old, *new),
        (Err(why), _) | (_, Err(why)) => return Finding::unknown(CHECK, why, "cat /proc/net/softnet_stat"),
    };
    let now = new.1.saturating_sub(old.1);
    let length = facts.backlog.as_ref().map_or_else(|_| "unknown".to_owned(), ToString::to_string);
    let seen = format!(
        "{} packets dropped at the backlog of {} since boot, {now} while looking; net.core.netdev_max_backlog {length}",
        new.1, new.0
    );
    let severity = loss(new.1, new.0, now);
    if severity == Severity::Ok {
        return Finding::ok(CHECK, seen);
    }
    let means = "packets are lost before any socket sees them: a core takes them from the card slower than they come; \
                 nothing counts them as flows";
    let cure = match facts.backlog {
        Ok(length) if length >= BACKLOG_WANTED => {
            "spread the card's queues over more cores: ethtool -l DEVICE, cat /proc/interrupts".to_owned()
        }
        _ => sysctl("net.core.netdev_max_backlog", BACKLOG_WANTED),
    };
    Finding::new(CHECK, severity, seen, means, cure)
}

fn udp_drops(facts: &BufferFacts, before: &Counters, after: &Counters) -> Finding {
    const CHECK: &str = "udp-drops";
    let (old, new) = match (&before.udp, &after.udp) {
        (Ok(old), Ok(new)) => (*old, *new),
        (Err(why), _) | (_, Err(why)) => return Finding::unknown(CHECK, why, "nstat -az UdpRcvbufErrors"),
    };
    let now = new.1.saturating_sub(old.1);
    let seen = format!(
        "{} datagrams lost to full buffers since boot (all sockets here), {} received, {now} lost while looking",
        new.1, new.0
    );
    let severity = loss(new.1, new.0, now);
    if severity == Severity::Ok {
        return Finding::ok(CHECK, seen);
    }
    Finding::new(
        CHECK,
        severity,
        seen,
        "sockets were full: kernel_dropped_datagrams_total of the collector says whether they were its own",
        format!(
            "{}\nthen a larger [receive] buffer, or more [receive] workers; counters of one socket: ss -uamn",
            sysctl("net.core.rmem_max", facts.asked.socket)
        ),
    )
}

fn udp_memory(facts: &BufferFacts) -> Finding {
    const CHECK: &str = "udp-mem";
    let wanted = facts.asked.together;
    match &facts.udp_mem {
        Err(why) => Finding::unknown(CHECK, why, "sysctl net.ipv4.udp_mem    # on the host"),
        Ok(octets) if *octets < wanted => Finding::new(
            CHECK,
            Severity::Warning,
            format!(
                "all UDP sockets may hold {}, the listeners' buffers {}",
                approximate(*octets),
                approximate(wanted)
            ),
            "the kernel drops datagrams before the buffers are full (MemErrors)",
            "raise the three figures of net.ipv4.udp_mem (pages), or lower [receive] buffer: sysctl net.ipv4.udp_mem",
        ),
        Ok(octets) => Finding::ok(
            CHECK,
            format!(
                "all UDP sockets may hold {}, the listeners' buffers {}",
                approximate(*octets),
                approximate(wanted)
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::host::of_files;
    use super::*;

    fn facts(granted: u64, forced: bool, rmem_max: u64) -> BufferFacts {
        let obtained = ObtainedBuffer { asked: 1 << 20, granted, forced };
        BufferFacts {
            asked: Asked { socket: 1 << 20, together: 8 << 20 },
            obtained: vec![("2055".to_owned(), Ok(obtained))],
            rmem_max: Ok(rmem_max),
            rmem_default: Ok(212_992),
            backlog: Ok(1_000),
            udp_mem: Ok(1 << 30),
        }
    }

    fn counters(processed: u64, softnet: u64, received: u64, udp: u64) -> Counters {
        Counters { softnet: Ok((processed, softnet)), udp: Ok((received, udp)), rp_filter: Ok(0) }
    }

    fn of(check: &str, facts: &BufferFacts, before: &Counters, after: &Counters) -> Finding {
        judge(facts, before, after).into_iter().find(|f| f.check == check).expect("each check says something")
    }

    #[test]
    fn a_buffer_that_the_bound_cut_is_a_warning_with_the_command() {
        let none = counters(1, 0, 1, 0);
        let finding = of("receive-buffer", &facts(212_992, false, 212_992), &none, &none);
        assert_eq!(finding.severity, Severity::Warning);
        assert!(finding.seen.contains("212992 octets granted a socket, 1048576 asked"), "{finding:?}");
        assert!(finding.cure.contains("sysctl -w net.core.rmem_max=1048576"), "{finding:?}");
        let forced = of("receive-buffer", &facts(1 << 20, true, 212_992), &none, &none);
        assert_eq!(forced.severity, Severity::Hint, "a service without the privilege gets less");
        assert_eq!(of("receive-buffer", &facts(1 << 20, true, 4 << 20), &none, &none).severity, Severity::Ok);
        assert_eq!(of("receive-buffer", &facts(1 << 20, false, 1 << 20), &none, &none).severity, Severity::Ok);
    }

    #[test]
    fn an_address_that_is_not_here_is_a_fault() {
        let mut facts = facts(1, false, 1);
        facts.obtained.push(("x".to_owned(), Err("192.0.2.1 is no address of this host".to_owned())));
        let none = counters(1, 0, 1, 0);
        let finding = of("receive-buffer", &facts, &none, &none);
        assert_eq!(finding.severity, Severity::Fault);
        assert!(finding.seen.contains("listener x gets no socket: 192.0.2.1"), "{finding:?}");
    }

    #[test]
    fn losses_now_are_faults_and_old_ones_weigh_by_their_share() {
        let facts = facts(1 << 20, false, 1 << 20);
        let million = 1_000_000;
        for (check, before, after, severity) in [
            ("udp-drops", counters(1, 0, million, 0), counters(1, 0, million, 0), Severity::Ok),
            ("udp-drops", counters(1, 0, million, 10), counters(1, 0, million, 10), Severity::Hint),
            ("udp-drops", counters(1, 0, million, 11), counters(1, 0, million, 11), Severity::Warning),
            ("udp-drops", counters(1, 0, million, 0), counters(1, 0, million, 1), Severity::Fault),
            ("backlog", counters(million, 0, 1, 0), counters(million, 0, 1, 0), Severity::Ok),
            ("backlog", counters(million, 500, 1, 0), counters(million, 500, 1, 0), Severity::Warning),
            ("backlog", counters(million, 500, 1, 0), counters(million, 501, 1, 0), Severity::Fault),
        ] {
            let finding = of(check, &facts, &before, &after);
            assert_eq!(finding.severity, severity, "{finding:?}");
        }
        let finding = of("backlog", &facts, &counters(1, 0, 1, 0), &counters(1, 1, 1, 0));
        assert!(finding.cure.contains("netdev_max_backlog=10000"), "{finding:?}");
    }

    #[test]
    fn bounds_that_are_too_small_or_too_large_are_named() {
        let mut facts = facts(1 << 20, false, 1 << 20);
        let none = counters(1, 0, 1, 0);
        facts.udp_mem = Ok(1 << 20);
        facts.rmem_default = Ok(64 << 20);
        assert_eq!(of("udp-mem", &facts, &none, &none).severity, Severity::Warning);
        assert_eq!(of("rmem-default", &facts, &none, &none).severity, Severity::Hint);
    }

    #[test]
    fn files_of_the_kernel_are_read_and_what_is_missing_is_unknown() {
        let (_dir, host) = of_files(&[
            ("proc/net/softnet_stat", "000000ff 00000001 00000000\n00000001 00000010 0\n"),
            ("proc/net/snmp", "Udp: InDatagrams RcvbufErrors MemErrors\nUdp: 100 7 2\n"),
            ("proc/net/snmp6", "Udp6InDatagrams 10\nUdp6RcvbufErrors 1\n"),
            ("proc/net/netstat", "TcpExt: A IPReversePathFilter\nTcpExt: 1 42\n"),
            ("proc/sys/net/ipv4/udp_mem", "1\t2\t3\n"),
        ]);
        let read = Counters::read(&host);
        assert_eq!(read, Counters { softnet: Ok((256, 17)), udp: Ok((110, 10)), rp_filter: Ok(42) });
        assert_eq!(udp_mem(&host), Ok(3 * 4_096));
        let (_dir, nothing) = of_files(&[]);
        let read = Counters::read(&nothing);
        let facts = BufferFacts { udp_mem: udp_mem(&nothing), ..facts(1 << 20, false, 1) };
        for check in ["backlog", "udp-drops", "udp-mem"] {
            assert_eq!(of(check, &facts, &read, &read).severity, Severity::Unknown, "{check}");
        }
        assert!(page_octets(&Host::default()).is_power_of_two());
    }
}
