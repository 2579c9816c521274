//! Where the process runs: on a host, in a container with the host's network, or behind a bridge.
//!
//! Behind a bridge addresses may be rewritten, so that exporters hide behind the gateway. Whether they
//! do, a running collector knows: it is asked over HTTP for exporters that have a gateway's address.

use std::net::{IpAddr, SocketAddr};

use super::finding::{Finding, Severity};
use super::host::Host;
use crate::collect::Gateways;

/// What a container's runtime leaves behind.
const MARKS: &[(&str, &str)] = &[(".dockerenv", "Docker"), ("run/.containerenv", "Podman")];
/// Parts of a cgroup's path that only containers have.
const CGROUP_MARKS: &[(&str, &str)] = &[
    ("kubepods", "Kubernetes"),
    ("docker", "Docker"),
    ("libpod", "Podman"),
    ("containerd", "containerd"),
    ("lxc", "LXC"),
];

/// What a running collector says of the gateways: those among its exporters, or why it does not tell.
pub type AskedCollector = (SocketAddr, Result<Vec<IpAddr>, String>);

/// Where the process runs.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The runtime of the container, if it is one.
    pub container: Option<&'static str>,
    /// The interface of the default route is one end of a pair whose other end is elsewhere.
    pub bridged: bool,
    /// Default gateways.
    pub gateways: Gateways,
    /// IPv6: addresses of the interfaces but loopback, or None without IPv6 in the kernel.
    pub ipv6: Option<usize>,
    /// IPv6 is switched off by net.ipv6.conf.all.disable_ipv6.
    pub ipv6_disabled: bool,
    /// An address of a listener is `::` or another of IPv6.
    pub ipv6_wanted: bool,
    /// Collectors that were asked.
    pub asked: Vec<AskedCollector>,
}

impl Surroundings {
    /// Reads them; `in_kubernetes` if the environment has KUBERNETES_SERVICE_HOST.
    #[must_use]
    pub fn gather(host: &Host, in_kubernetes: bool, ipv6_wanted: bool) -> Self {
        let cgroups = host.text("proc/self/cgroup").unwrap_or_default();
        let container = in_kubernetes
            .then_some("Kubernetes")
            .or_else(|| CGROUP_MARKS.iter().find(|(part, _)| cgroups.contains(part)).map(|(_, name)| *name))
            .or_else(|| MARKS.iter().find(|(file, _)| host.has(file)).map(|(_, name)| *name));
        let addresses = host.text("proc/net/if_inet6").ok();
        let off = host.number("proc/sys/net/ipv6/conf/all/disable_ipv6").is_ok_and(|value| value != 0);
        Self {
            container,
            bridged: container.is_some() && default_interfaces(host).iter().any(|i| is_paired(host, i)),
            gateways: Gateways::below(host.root()),
            ipv6: addresses.map(|text| text.lines().filter(|line| !line.trim_end().ends_with(" lo")).count()),
            ipv6_disabled: off,
            ipv6_wanted,
            asked: Vec::new(),
        }
    }
}

/// Interfaces of the default routes of IPv4.
fn default_interfaces(host: &Host) -> Vec<String> {
    let routes = host.text("proc/net/route").unwrap_or_default();
    let is_default = |line: &&str| line.split_ascii_whitespace().nth(1) == Some("00000000");
    let name = |line: &str| line.split_ascii_whitespace().next().map(str::to_owned);
    routes.lines().skip(1).filter(is_default).filter_map(name).collect()
}

/// A pair's end names the other end's number, every other interface its own.
fn is_paired(host: &Host, interface: &str) -> bool {
    let number = |file: &str| host.number(&format!("sys/class/net/{interface}/{file}")).ok();
    matches!((number("ifindex"), number("iflink")), (Some(own), Some(link)) if own != link)
}

/// The findings.
#[must_use]
pub fn judge(facts: &Surroundings) -> Vec<Finding> {
    vec![container(facts), ipv6(facts), gateway_source(facts)]
}

fn cure_of_bridge(container: &str) -> &'static str {
    if container == "Kubernetes" {
        "hostNetwork: true, or a Service with externalTrafficPolicy: Local (source addresses stay, but exporters that \
         send already stay with their pod)"
    } else {
        "network_mode: host. On a bridge: publish the same number on both sides (2055:2055/udp), Docker 23 or later,\n\
         an IPv6 network of its own for IPv6; and once on the host after a start: conntrack -D -p udp --orig-port-dst 2055"
    }
}

fn container(facts: &Surroundings) -> Finding {
    const CHECK: &str = "container";
    match facts.container {
        None => Finding::ok(CHECK, "not in a container"),
        Some(name) if facts.bridged => Finding::new(
            CHECK,
            Severity::Hint,
            format!("in a container ({name}) behind a bridge"),
            "several containers cannot share a UDP port, and addresses of exporters may be rewritten on the way",
            cure_of_bridge(name),
        ),
        Some(name) => {
            Finding::ok(CHECK, format!("in a container ({name}) with the host's network, as far as can be seen"))
        }
    }
}

fn ipv6(facts: &Surroundings) -> Finding {
    const CHECK: &str = "ipv6";
    let without = |seen: &str| {
        if facts.ipv6_wanted {
            Finding::new(
                CHECK,
                Severity::Hint,
                seen,
                "listeners on :: fall back to 0.0.0.0 or hear IPv4 alone; exporters cannot reach this host by IPv6",
                "fine if no exporter uses IPv6: then set [bind] host = \"0.0.0.0\" on all collectors of this host. Else: \
                 sysctl -w net.ipv6.conf.all.disable_ipv6=0, and an address",
            )
        } else {
            Finding::ok(CHECK, format!("{seen}, and no listener asks for it"))
        }
    };
    match facts.ipv6 {
        None => without("this kernel has no IPv6 here"),
        Some(_) if facts.ipv6_disabled => without("IPv6 is switched off (net.ipv6.conf.all.disable_ipv6)"),
        Some(0) => without("no interface but loopback has an IPv6 address"),
        Some(n) => Finding::ok(CHECK, format!("{n} addresses")),
    }
}

fn gateway_source(facts: &Surroundings) -> Finding {
    const CHECK: &str = "gateway-source";
    let gateways: Vec<String> = facts.gateways.addresses().iter().map(IpAddr::to_string).collect();
    if gateways.is_empty() {
        return Finding::ok(CHECK, "there is no default gateway that exporters could hide behind");
    }
    let gateways = gateways.join(", ");
    let hidden = facts.asked.iter().find_map(|(at, answer)| Some((at, answer.as_ref().ok()?.first()?)));
    if let Some((at, gateway)) = hidden {
        let (severity, cure) = match facts.container {
            Some(name) => (Severity::Warning, cure_of_bridge(name)),
            None => (
                Severity::Hint,
                "if that router exports flows itself, all is well (name it in an [[exporter]] rule); else find what \
                 translates addresses: conntrack -L -p udp",
            ),
        };
        return Finding::new(
            CHECK,
            severity,
            format!("the collector at {at} hears from {gateway}, which is the default gateway"),
            "address translation may hide the true exporters: their templates and switch_id mix \
             (gateway_source_datagrams_total)",
            cure,
        );
    }
    let silent = facts.asked.iter().find_map(|(at, answer)| Some((at, answer.as_ref().err()?)));
    match (silent, facts.asked.is_empty()) {
        (_, true) => Finding::unknown(
            CHECK,
            format!("no collector runs here that could be asked whether {gateways} is among the sources"),
            "start it, wait for datagrams, and run this again",
        ),
        (Some((at, why)), _) => Finding::unknown(
            CHECK,
            format!("the collector at {at} does not tell its exporters: {why}"),
            "look at gateway_source_datagrams_total on /metrics/prometheus",
        ),
        (None, _) => Finding::ok(CHECK, format!("{gateways} is not among the sources")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::host::of_files;
    use super::*;

    fn of(check: &str, facts: &Surroundings) -> Finding {
        judge(facts).into_iter().find(|f| f.check == check).expect("each check says something")
    }

    fn gateway() -> IpAddr {
        "172.17.0.1".parse().expect("an address")
    }

    #[test]
    fn a_bridge_is_told_from_the_hosts_network() {
        let default = "Iface Destination Gateway\neth0 00000000 010011AC 0003 0 0 0 00000000 0 0 0\n";
        let files = |link| {
            [
                (".dockerenv", ""),
                ("proc/net/route", default),
                ("sys/class/net/eth0/ifindex", "4\n"),
                ("sys/class/net/eth0/iflink", link),
            ]
        };
        let (_dir, host) = of_files(&files("17\n"));
        let bridged = Surroundings::gather(&host, false, true);
        assert!(bridged.bridged && bridged.container == Some("Docker"), "{bridged:?}");
        let finding = of("container", &bridged);
        assert!(finding.severity == Severity::Hint && finding.cure.contains("network_mode: host"), "{finding:?}");
        let (_dir, host) = of_files(&files("4\n"));
        assert_eq!(of("container", &Surroundings::gather(&host, false, true)).severity, Severity::Ok);
        let pod = Surroundings::gather(&host, true, true);
        assert_eq!(pod.container, Some("Kubernetes"));
        let (_dir, bare) = of_files(&[("proc/self/cgroup", "0::/user.slice\n")]);
        assert_eq!(Surroundings::gather(&bare, false, true).container, None);
    }

    #[test]
    fn a_gateway_among_the_sources_is_a_warning_in_a_container_and_a_hint_outside() {
        let at = SocketAddr::from(([127, 0, 0, 1], 8081));
        let mut facts = Surroundings { gateways: [gateway()].into_iter().collect(), ..Surroundings::default() };
        assert_eq!(of("gateway-source", &facts).severity, Severity::Unknown);
        facts.asked = vec![(at, Ok(Vec::new()))];
        assert_eq!(of("gateway-source", &facts).severity, Severity::Ok);
        facts.asked.push((at, Err("401".to_owned())));
        assert_eq!(of("gateway-source", &facts).severity, Severity::Unknown);
        facts.asked.push((at, Ok(vec![gateway()])));
        assert_eq!(of("gateway-source", &facts).severity, Severity::Hint);
        facts.container = Some("Kubernetes");
        let finding = of("gateway-source", &facts);
        assert!(finding.severity == Severity::Warning && finding.cure.contains("hostNetwork"), "{finding:?}");
        facts.gateways = Gateways::default();
        assert_eq!(of("gateway-source", &facts).severity, Severity::Ok);
    }

    #[test]
    fn missing_ipv6_matters_to_who_asks_for_it() {
        for (files, wanted, severity) in [
            (&[][..], true, Severity::Hint),
            (&[], false, Severity::Ok),
            (&[("proc/net/if_inet6", "0001 01 80 10 80       lo\n")], true, Severity::Hint),
            (&[("proc/net/if_inet6", "fd00 04 80 00 80     eth0\n")], true, Severity::Ok),
            (
                &[
                    ("proc/net/if_inet6", "fd00 04 80 00 80     eth0\n"),
                    ("proc/sys/net/ipv6/conf/all/disable_ipv6", "1\n"),
                ],
                true,
                Severity::Hint,
            ),
        ] {
            let (_dir, host) = of_files(files);
            let finding = of("ipv6", &Surroundings::gather(&host, false, wanted));
            assert_eq!(finding.severity, severity, "{finding:?}");
        }
    }
}
