//! What may stand between the network card and the sockets: connection tracking, reverse path filter,
//! firewall.
//!
//! Most of it only root may see; then the finding is "unknown" with the command to run. A firewall's
//! rules are read for the ports alone, and a rule that is wider than one port is not understood: what is
//! said of them is a reason to look, not a proof.

use std::process::{Command, Stdio};

use super::buffers::Counters;
use super::finding::{Finding, Severity};
use super::host::Host;

/// Share of the connection table, in percent, from which new senders are about to be dropped.
const TABLE_FULL_PERCENT: u64 = 90;

/// What stands in between.
#[derive(Debug, Clone)]
pub struct FilterFacts {
    /// UDP ports that are listened on.
    pub ports: Vec<u16>,
    /// Tracked connections and their bound; None where tracking is not loaded.
    pub conntrack: Option<(u64, u64)>,
    /// The table of tracked connections.
    pub tracked: Result<String, String>,
    /// Interfaces but loopback, with their effective reverse path filter (0 off, 1 strict, 2 loose).
    pub rp_filter: Vec<(String, u64)>,
    /// The firewall's rules as `nft list ruleset` or `iptables-save` print them.
    pub rules: Result<String, String>,
}

impl FilterFacts {
    /// Reads them; asks the firewall only as root, since nobody else gets an answer.
    #[must_use]
    pub fn gather(host: &Host, ports: Vec<u16>) -> Self {
        let count = host.number("proc/sys/net/netfilter/nf_conntrack_count").ok();
        let max = host.number("proc/sys/net/netfilter/nf_conntrack_max").ok();
        Self {
            ports,
            conntrack: count.map(|count| (count, max.unwrap_or(u64::MAX))),
            tracked: host.text("proc/net/nf_conntrack"),
            rp_filter: rp_filter(host),
            rules: rules(host),
        }
    }
}

/// The kernel takes the stricter of `all` and the interface's own, where loose (2) beats strict (1).
fn rp_filter(host: &Host) -> Vec<(String, u64)> {
    let of = |name: &str| host.number(&format!("proc/sys/net/ipv4/conf/{name}/rp_filter")).unwrap_or(0);
    let all = of("all");
    // Not /sys/class/net: its mount may be of another network namespace.
    let names = host.names("proc/sys/net/ipv4/conf");
    names
        .into_iter()
        .filter(|n| !["all", "default", "lo"].contains(&n.as_str()))
        .map(|n| (n.clone(), of(&n).max(all)))
        .collect()
}

fn rules(host: &Host) -> Result<String, String> {
    if !host.is_here() {
        return Err("not this machine".to_owned());
    }
    if host.uid()? != 0 {
        return Err("only root may read the firewall's rules".to_owned());
    }
    let mut why = "neither nft nor iptables-save is installed here".to_owned();
    for (program, arguments) in [("nft", &["list", "ruleset"][..]), ("iptables-save", &[])] {
        match Command::new(program).args(arguments).stdin(Stdio::null()).output() {
            Ok(output) if output.status.success() => return Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                why = format!(
                    "{program} ends with {}: {}",
                    output.status,
                    said.lines().next().unwrap_or("").escape_debug()
                );
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => why = format!("{program} cannot be run: {e}"),
        }
    }
    Err(why)
}

/// The findings; the reverse path filter's drops are those between `before` and `after`, and ever.
#[must_use]
pub fn judge(facts: &FilterFacts, before: &Counters, after: &Counters) -> Vec<Finding> {
    vec![conntrack(facts), reverse_path(facts, before, after), firewall(facts)]
}

fn list(ports: &[u16]) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

fn notrack(ports: &[u16]) -> String {
    format!(
        "nft add table inet notrack\n\
         nft add chain inet notrack in '{{ type filter hook prerouting priority raw; }}'\n\
         nft add rule inet notrack in udp dport '{{ {} }}' notrack    # and into /etc/nftables.conf",
        list(ports)
    )
}

fn conntrack(facts: &FilterFacts) -> Finding {
    const CHECK: &str = "conntrack";
    let Some((count, max)) = facts.conntrack else {
        return Finding::ok(CHECK, "connection tracking is not loaded here");
    };
    if count.saturating_mul(100) > max.saturating_mul(TABLE_FULL_PERCENT) {
        return Finding::new(
            CHECK,
            Severity::Fault,
            format!("{count} of {max} tracked connections"),
            "when the table is full, datagrams of senders that are not in it are dropped before any socket",
            format!("{}\nsysctl -w net.netfilter.nf_conntrack_max={}", notrack(&facts.ports), max.saturating_mul(4)),
        );
    }
    if count == 0 {
        return Finding::ok(CHECK, "loaded, and tracks nothing here");
    }
    let seen = format!("{count} of {max} connections tracked");
    let port = facts.ports.first().copied().unwrap_or(2055);
    match &facts.tracked {
        Err(why) => Finding::unknown(
            CHECK,
            format!("{seen}; whether the ports are among them is not to be seen: {why}"),
            format!(
                "conntrack -L -p udp --orig-port-dst {port}    # as root; if there are any:\n{}",
                notrack(&facts.ports)
            ),
        ),
        Ok(table) => {
            let ours = table.lines().filter(|line| facts.ports.iter().any(|port| is_to(line, *port))).count();
            if ours == 0 {
                return Finding::ok(CHECK, format!("{seen}, none of them on port {}", list(&facts.ports)));
            }
            Finding::new(
                CHECK,
                Severity::Hint,
                format!("{seen}, {ours} on port {}", list(&facts.ports)),
                "each datagram costs a look-up, and with address translation an exporter stays where its entry says, \
                 even if that collector is gone",
                notrack(&facts.ports),
            )
        }
    }
}

/// True if the entry's first direction goes to UDP port `port`.
fn is_to(line: &str, port: u16) -> bool {
    let mut words = line.split_ascii_whitespace();
    words.any(|w| w == "udp") && words.find_map(|w| w.strip_prefix("dport=")) == Some(port.to_string().as_str())
}

fn reverse_path(facts: &FilterFacts, before: &Counters, after: &Counters) -> Finding {
    const CHECK: &str = "rp-filter";
    let (old, new) = match (&before.rp_filter, &after.rp_filter) {
        (Ok(old), Ok(new)) => (*old, *new),
        (Err(why), _) | (_, Err(why)) => return Finding::unknown(CHECK, why, "nstat -az TcpExtIPReversePathFilter"),
    };
    let strict: Vec<&str> =
        facts.rp_filter.iter().filter(|(_, mode)| *mode == 1).map(|(name, _)| name.as_str()).collect();
    let cure = strict
        .iter()
        .map(|name| format!("sysctl -w net.ipv4.conf.{name}.rp_filter=2    # loose"))
        .collect::<Vec<_>>()
        .join("\n");
    let dropped = new.saturating_sub(old);
    if new > 0 && !strict.is_empty() {
        return Finding::new(
            CHECK,
            if dropped > 0 { Severity::Fault } else { Severity::Warning },
            format!("{new} packets dropped since boot, {dropped} while looking; strict on {}", strict.join(", ")),
            "what comes in by another interface than answers would leave by is dropped, without a trace in the collector",
            cure,
        );
    }
    if strict.is_empty() || facts.rp_filter.len() < 2 {
        let names: Vec<String> = facts.rp_filter.iter().map(|(name, mode)| format!("{name} {mode}")).collect();
        return Finding::ok(CHECK, format!("nothing to fear from it ({})", names.join(", ")));
    }
    Finding::new(
        CHECK,
        Severity::Hint,
        format!("strict on {}, with {} interfaces; nothing dropped so far", strict.join(", "), facts.rp_filter.len()),
        "an exporter whose route back leads by another interface would not be heard",
        cure,
    )
}

fn firewall(facts: &FilterFacts) -> Finding {
    const CHECK: &str = "firewall";
    let look =
        "nft list ruleset | grep -nE 'hook input|drop|reject|dport'    # as root; or: iptables-save, ip6tables-save";
    let rules = match &facts.rules {
        Ok(rules) => rules,
        Err(why) => return Finding::unknown(CHECK, why, look),
    };
    let refused: Vec<&str> = rules
        .lines()
        .filter(|line| is_udp(line) && refuses(line) && facts.ports.iter().any(|port| names_port(line, *port)))
        .collect();
    if let Some(rule) = refused.first() {
        return Finding::new(
            CHECK,
            Severity::Fault,
            format!("a rule drops datagrams to the ports: {}", rule.trim().escape_debug()),
            "unless an earlier rule accepts them, exporters are not heard",
            look,
        );
    }
    let missing: Vec<u16> = facts
        .ports
        .iter()
        .copied()
        .filter(|port| !rules.lines().any(|line| accepts(line) && names_port(line, *port)))
        .collect();
    if refuses_by_default(rules) && !missing.is_empty() {
        let open: Vec<String> =
            missing.iter().map(|port| format!("nft add rule inet filter input udp dport {port} accept")).collect();
        return Finding::new(
            CHECK,
            Severity::Warning,
            format!("what no rule accepts is dropped, and no rule names UDP port {}", list(&missing)),
            "unless a wider rule accepts the exporters (by interface or source), they are not heard",
            format!("{}    # table and chain as yours are named\n{look}", open.join("\n")),
        );
    }
    Finding::ok(CHECK, "no rule drops datagrams to the ports")
}

fn word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|w| w == word)
}

fn is_udp(line: &str) -> bool {
    // A rule by port without a protocol is for both.
    word(line, "udp") || word(line, "th") || !word(line, "tcp")
}

fn refuses(line: &str) -> bool {
    ["drop", "reject", "DROP", "REJECT"].iter().any(|w| word(line, w))
}

fn accepts(line: &str) -> bool {
    is_udp(line) && (word(line, "accept") || word(line, "ACCEPT"))
}

/// True if the rule is by destination port and `port` is in its number, set or range.
fn names_port(line: &str, port: u16) -> bool {
    let Some((_, rest)) = line.split_once("dport") else { return false };
    // Up to the end of a set, or the next word of the rule.
    let rest = rest.trim_start_matches('s').trim_start();
    let ports = match rest.strip_prefix('{') {
        Some(set) => set.split('}').next().unwrap_or(set),
        None => rest.split_ascii_whitespace().next().unwrap_or(""),
    };
    ports.split(',').map(str::trim).any(|part| {
        let (first, last) = part.split_once(['-', ':']).unwrap_or((part, part));
        matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(first), Ok(last)) if (first..=last).contains(&port))
    })
}

/// True if a chain at the input drops what no rule of it takes: by its policy, or by a last rule.
fn refuses_by_default(rules: &str) -> bool {
    let mut at_input = false;
    rules.lines().map(str::trim).any(|line| {
        if line.starts_with("chain ") || line == "}" {
            at_input = false;
        }
        at_input |= line.contains("hook input");
        let policy = line.contains("hook input") && line.contains("policy drop");
        let last = at_input && ["drop", "reject", "counter"].iter().any(|w| line.starts_with(w)) && refuses(line);
        policy
            || last
            || line.starts_with(":INPUT DROP")
            || line == "-A INPUT -j DROP"
            || line.starts_with("-A INPUT -j REJECT")
    })
}

#[cfg(test)]
mod tests {
    use super::super::host::of_files;
    use super::*;

    fn facts() -> FilterFacts {
        FilterFacts {
            ports: vec![2055, 4739],
            conntrack: None,
            tracked: Err("only root".to_owned()),
            rp_filter: vec![("eth0".to_owned(), 0)],
            rules: Ok(String::new()),
        }
    }

    fn counters(rp_filter: u64) -> Counters {
        Counters { softnet: Ok((0, 0)), udp: Ok((0, 0)), rp_filter: Ok(rp_filter) }
    }

    fn of(check: &str, facts: &FilterFacts) -> Finding {
        let all = judge(facts, &counters(0), &counters(0));
        all.into_iter().find(|f| f.check == check).expect("each check says something")
    }

    const TO_US: &str = "ipv4 2 udp 17 25 src=10.9.0.2 dst=10.9.0.1 sport=5000 dport=2055 [UNREPLIED] src=10.9.0.1 dst=10.9.0.2 sport=2055 dport=5000\n";

    #[test]
    fn tracked_ports_are_found_and_what_cannot_be_seen_is_unknown() {
        assert_eq!(of("conntrack", &facts()).severity, Severity::Ok);
        let with = |conntrack, tracked: Result<&str, &str>| {
            let tracked = tracked.map(str::to_owned).map_err(str::to_owned);
            of("conntrack", &FilterFacts { conntrack: Some(conntrack), tracked, ..facts() })
        };
        assert_eq!(with((0, 100), Err("no")).severity, Severity::Ok);
        assert_eq!(with((5, 100), Err("no")).severity, Severity::Unknown);
        let hint = with((5, 100), Ok(TO_US));
        assert!(
            hint.severity == Severity::Hint && hint.cure.contains("udp dport '{ 2055, 4739 }' notrack"),
            "{hint:?}"
        );
        let answers = TO_US.replace("dport=2055", "dport=53").replace("sport=5000", "sport=2055");
        assert_eq!(with((5, 100), Ok(&answers)).severity, Severity::Ok, "only the first direction counts");
        assert_eq!(with((91, 100), Ok("")).severity, Severity::Fault);
    }

    #[test]
    fn strict_filters_matter_with_several_interfaces_or_drops() {
        let strict = |n: usize| FilterFacts { rp_filter: (0..n).map(|i| (format!("eth{i}"), 1)).collect(), ..facts() };
        assert_eq!(of("rp-filter", &strict(1)).severity, Severity::Ok);
        let hint = of("rp-filter", &strict(2));
        assert!(hint.severity == Severity::Hint && hint.cure.contains("net.ipv4.conf.eth1.rp_filter=2"), "{hint:?}");
        assert_eq!(judge(&strict(1), &counters(7), &counters(7))[1].severity, Severity::Warning);
        assert_eq!(judge(&strict(1), &counters(7), &counters(8))[1].severity, Severity::Fault);
        let (_dir, host) = of_files(&[
            ("proc/sys/net/ipv4/conf/all/rp_filter", "1"),
            ("proc/sys/net/ipv4/conf/eth0/rp_filter", "2"),
            ("proc/sys/net/ipv4/conf/eth1/rp_filter", "0"),
            ("proc/sys/net/ipv4/conf/lo/rp_filter", "0"),
            ("proc/sys/net/ipv4/conf/default/rp_filter", "1"),
        ]);
        assert_eq!(rp_filter(&host), [("eth0".to_owned(), 2), ("eth1".to_owned(), 1)]);
    }

    fn ruled(rules: &str) -> Severity {
        of("firewall", &FilterFacts { rules: Ok(rules.to_owned()), ..facts() }).severity
    }

    #[test]
    fn rules_of_nft_are_read_for_the_ports() {
        let table = |policy: &str, rules: &str| {
            format!(
                "table inet filter {{\n chain input {{\n  type filter hook input priority 0; policy {policy};\n{rules}\n }}\n}}\n"
            )
        };
        assert_eq!(ruled(""), Severity::Ok);
        assert_eq!(ruled(&table("accept", "  tcp dport 22 accept")), Severity::Ok);
        assert_eq!(ruled(&table("accept", "  udp dport 2055 drop")), Severity::Fault);
        assert_eq!(ruled(&table("accept", "  udp dport { 53, 2000-2100 } counter packets 0 drop")), Severity::Fault);
        assert_eq!(ruled(&table("accept", "  tcp dport 2055 drop")), Severity::Ok);
        assert_eq!(ruled(&table("accept", "  udp dport 20550 drop")), Severity::Ok);
        assert_eq!(ruled(&table("drop", "  tcp dport 22 accept")), Severity::Warning);
        assert_eq!(ruled(&table("drop", "  udp dport 2055 accept")), Severity::Warning, "4739 is missing");
        assert_eq!(ruled(&table("drop", "  udp dport { 2055, 4739 } accept")), Severity::Ok);
        assert_eq!(
            ruled(&table("accept", "  tcp dport 22 accept\n  reject with icmpx admin-prohibited")),
            Severity::Warning
        );
        let forward =
            "table ip filter {\n chain FORWARD {\n  type filter hook forward priority 0; policy drop;\n  drop\n }\n}\n";
        assert_eq!(ruled(forward), Severity::Ok, "what is forwarded is not ours");
    }

    #[test]
    fn rules_of_iptables_are_read_for_the_ports() {
        assert_eq!(ruled(":INPUT ACCEPT [0:0]\n-A INPUT -p udp -m udp --dport 4739 -j DROP\n"), Severity::Fault);
        assert_eq!(ruled(":INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n"), Severity::Warning);
        let open = ":INPUT DROP [0:0]\n-A INPUT -p udp -m multiport --dports 2055,4739 -j ACCEPT\n";
        assert_eq!(ruled(open), Severity::Ok);
        assert_eq!(ruled("-A INPUT -p udp --dport 4000:5000 -j REJECT\n"), Severity::Fault);
        let unknown = FilterFacts { rules: Err("only root".to_owned()), ..facts() };
        assert_eq!(of("firewall", &unknown).severity, Severity::Unknown);
    }
}
