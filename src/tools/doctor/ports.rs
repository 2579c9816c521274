//! Who else is on the ports: sockets on the UDP ports, mixed forms of address, the HTTP port.
//!
//! The UDP ports are looked up in /proc and never bound: a socket that joins a group takes datagrams
//! away from the others. The HTTP port is bound without listening, which nobody can notice.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use socket2::{Domain, SockAddr, Socket, Type};

use super::finding::{Finding, Severity};
use super::host::Host;
use crate::collect::{self, PortLock, PortSocket, SocketOwner};
use crate::config::Settings;

/// The program's name as /proc has it: 15 octets.
const OWN_NAME: &str = "clarion-collect";

/// A socket and the process that has it, if that may be seen.
#[derive(Debug, Clone)]
pub struct Holder {
    /// The socket.
    pub socket: PortSocket,
    /// Its process.
    pub owner: Option<SocketOwner>,
}

impl Holder {
    fn is_collector(&self) -> bool {
        self.owner.as_ref().is_some_and(|o| o.name == OWN_NAME)
    }

    fn describe(&self) -> String {
        let owner = self.owner.as_ref().map_or_else(
            || "a process that is not visible from here".to_owned(),
            |o| format!("{} (pid {})", o.name, o.id),
        );
        format!("{owner}, uid {}, on {}", self.socket.uid, self.socket.address)
    }
}

/// A UDP port.
#[derive(Debug, Clone)]
pub struct UdpPort {
    /// Name of the listener.
    pub listener: String,
    /// What it would bind.
    pub address: SocketAddr,
    /// Who is there.
    pub holders: Vec<Holder>,
    /// A collector has the port to itself (exclusive = true).
    pub locked: bool,
}

/// The HTTP port.
#[derive(Debug, Clone)]
pub struct HttpPort {
    /// The range of the settings.
    pub ports: RangeInclusive<u16>,
    /// The first one that can be bound, or why none can.
    pub free: Result<u16, String>,
    /// Who listens in the range.
    pub holders: Vec<(u16, Holder)>,
}

/// The ports.
#[derive(Debug, Clone)]
pub struct PortFacts {
    /// User of this process.
    pub uid: Result<u32, String>,
    /// False if /proc/net/udp cannot be read.
    pub visible: Result<(), String>,
    /// UDP ports.
    pub udp: Vec<UdpPort>,
    /// `[receive] exclusive` is set.
    pub exclusive: bool,
    /// The HTTP port.
    pub http: HttpPort,
}

impl PortFacts {
    /// Looks at the tables of sockets.
    #[must_use]
    pub fn gather(host: &Host, settings: &Settings) -> Self {
        let holder = |socket: PortSocket| Holder { owner: collect::socket_owner(host.root(), socket.inode), socket };
        let udp = settings.collect.listeners.iter().filter(|l| l.port != 0).map(|listener| UdpPort {
            listener: listener.name.clone(),
            address: SocketAddr::new(listener.address, listener.port),
            holders: collect::sockets_below(host.root(), listener.port).into_iter().map(holder).collect(),
            locked: PortLock::is_held(listener.port),
        });
        let holders = collect::tcp_listeners_below(host.root(), &settings.web.ports);
        Self {
            uid: host.uid(),
            visible: host.text("proc/net/udp").map(|_| ()),
            udp: udp.collect(),
            exclusive: settings.collect.exclusive,
            http: HttpPort {
                ports: settings.web.ports.clone(),
                free: first_free(settings.web.bind, &settings.web.ports),
                holders: holders.into_iter().map(|(port, socket)| (port, holder(socket))).collect(),
            },
        }
    }

    /// A collector that runs on one of the ports.
    #[must_use]
    pub fn running(&self) -> Option<u32> {
        let mut holders = self.udp.iter().flat_map(|p| &p.holders);
        holders.find(|h| h.is_collector()).and_then(|h| Some(h.owner.as_ref()?.id))
    }

    /// Where collectors may be asked over HTTP.
    #[must_use]
    pub fn http_addresses(&self) -> Vec<SocketAddr> {
        let mut addresses: Vec<SocketAddr> = self
            .http
            .holders
            .iter()
            .filter(|(_, holder)| holder.owner.is_none() || holder.is_collector())
            .map(|(port, holder)| {
                let ip = match holder.socket.address {
                    IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
                    IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                    other => other,
                };
                SocketAddr::new(ip, *port)
            })
            .collect();
        addresses.dedup();
        addresses
    }
}

/// The first port of the range that can be bound, as the HTTP side would.
fn first_free(bind: IpAddr, ports: &RangeInclusive<u16>) -> Result<u16, String> {
    let mut why = String::new();
    for port in ports.clone() {
        let mut bound = try_tcp(SocketAddr::new(bind, port));
        if bind == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && bound.as_ref().is_err_and(lacks_ipv6) {
            bound = try_tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
        }
        match bound {
            Ok(()) => return Ok(port),
            Err(e) => why = format!("{}: {e}", SocketAddr::new(bind, port)),
        }
    }
    Err(why)
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT))
}

/// Binds and closes again, without listening: nobody can connect meanwhile.
fn try_tcp(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // As servers do: ports that connections lately closed on are free.
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(address))
}

/// The findings.
#[must_use]
pub fn judge(facts: &PortFacts) -> Vec<Finding> {
    vec![udp_ports(facts), port_forms(facts), http_port(&facts.http)]
}

/// True if sockets on both addresses of one port meet.
fn meet(one: IpAddr, other: IpAddr) -> bool {
    // `::` takes IPv4 too.
    one == other
        || [(one, other), (other, one)].iter().any(|(wide, narrow)| {
            wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4() || narrow.is_unspecified())
        })
}

fn udp_ports(facts: &PortFacts) -> Finding {
    const CHECK: &str = "udp-ports";
    let own = match (&facts.visible, &facts.uid) {
        (Ok(()), Ok(uid)) => *uid,
        (Err(why), _) | (_, Err(why)) => return Finding::unknown(CHECK, why, "ss -ulpn"),
    };
    let mut worst: Option<Finding> = None;
    for port in &facts.udp {
        for holder in port.holders.iter().filter(|h| meet(port.address.ip(), h.socket.address)) {
            let finding = on_port(CHECK, facts, own, port, holder);
            if worst.as_ref().is_none_or(|w| finding.severity > w.severity) {
                worst = Some(finding);
            }
        }
    }
    let ports: Vec<String> = facts.udp.iter().map(|p| p.address.port().to_string()).collect();
    worst.unwrap_or_else(|| Finding::ok(CHECK, format!("nobody else is on {}", ports.join(", "))))
}

/// What `holder` means for a collector that wants `port`.
fn on_port(check: &'static str, facts: &PortFacts, own: u32, port: &UdpPort, holder: &Holder) -> Finding {
    let number = port.address.port();
    let seen = format!("port {number} is held by {}", holder.describe());
    let free = format!("ss -ulpn 'sport = :{number}'    # stop that program, or give the listener another port");
    if facts.exclusive || port.locked {
        return Finding::new(
            check,
            if holder.is_collector() && !facts.exclusive { Severity::Hint } else { Severity::Fault },
            seen,
            "with [receive] exclusive = true on either side a second collector on this port refuses to start",
            format!("{free}\nor set exclusive = false on both"),
        );
    }
    if holder.socket.uid == own && (holder.is_collector() || holder.owner.is_none()) {
        return Finding::new(
            check,
            Severity::Hint,
            seen,
            "a collector started now would share the port with it: each exporter goes to one of them (SO_REUSEPORT)",
            "nothing, if that is meant",
        );
    }
    if holder.socket.uid == own {
        return Finding::new(
            check,
            Severity::Fault,
            seen,
            "another program has the port: the collector does not start, or gets only a part of the datagrams",
            free,
        );
    }
    if own == 0 && holder.is_collector() {
        return Finding::new(
            check,
            Severity::Hint,
            seen,
            "a collector of another user runs; this check runs as root, which says nothing about yours",
            format!(
                "run a second collector under uid {} too: only one user's sockets may share a port",
                holder.socket.uid
            ),
        );
    }
    Finding::new(
        check,
        Severity::Fault,
        seen,
        format!("sockets of different users cannot share a port, and this is uid {own}: the collector does not start"),
        format!("{free}\ncollectors of one host need one numeric user id"),
    )
}

fn port_forms(facts: &PortFacts) -> Finding {
    const CHECK: &str = "port-forms";
    if let Err(why) = &facts.visible {
        return Finding::unknown(CHECK, why, "ss -uln");
    }
    for port in &facts.udp {
        let own = port.address.ip();
        let forms = |form: IpAddr| port.holders.iter().find(|h| h.socket.address == form);
        let (six, four) = (forms(Ipv6Addr::UNSPECIFIED.into()), forms(Ipv4Addr::UNSPECIFIED.into()));
        let mixed = match (six, four, own) {
            (Some(six), Some(four), _) => Some(format!("{}; and {}", six.describe(), four.describe())),
            (None, Some(four), IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => {
                Some(format!("{}; and this configuration binds ::", four.describe()))
            }
            (Some(six), None, IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => {
                Some(format!("{}; and this configuration binds 0.0.0.0", six.describe()))
            }
            _ => None,
        };
        if let Some(mixed) = mixed {
            return Finding::new(
                CHECK,
                Severity::Fault,
                format!("port {} is bound in both forms, :: and 0.0.0.0: {mixed}", port.address.port()),
                "the sockets on 0.0.0.0 get all of IPv4, those on :: none: one side is starved without an error",
                "bind all collectors of this host in one form: [bind] host = \"::\" or \"0.0.0.0\" (--bind-host)",
            );
        }
    }
    Finding::ok(CHECK, "all sockets on the ports are of one form")
}

fn http_port(facts: &HttpPort) -> Finding {
    const CHECK: &str = "http-port";
    let (first, last) = (*facts.ports.start(), *facts.ports.end());
    let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
    let why = match &facts.free {
        Ok(0) => return Finding::ok(CHECK, "any free port is taken"),
        Ok(port) => return Finding::ok(CHECK, format!("{port} of {range} is free")),
        Err(why) => why,
    };
    let holders: Vec<String> = facts.holders.iter().map(|(port, h)| format!("{port} by {}", h.describe())).collect();
    let seen = format!(
        "no port of {range} can be had ({why}); held: {}",
        if holders.is_empty() { "none".to_owned() } else { holders.join("; ") }
    );
    let taken_by_collectors = !facts.holders.is_empty() && facts.holders.iter().all(|(_, h)| h.is_collector());
    if taken_by_collectors {
        return Finding::new(
            CHECK,
            Severity::Hint,
            seen,
            "a collector runs already; a second one finds no HTTP port",
            "for several collectors on one host give a range: [http] port = \"9100-9199\"",
        );
    }
    Finding::new(
        CHECK,
        Severity::Fault,
        seen,
        "the collector does not start without its HTTP side",
        format!("ss -tlpn 'sport = :{first}'    # stop that program, or set [http] port to a free one or a range"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn holder(address: &str, uid: u32, name: Option<&str>) -> Holder {
        let owner = name.map(|name| SocketOwner { id: 77, name: name.to_owned() });
        Holder { socket: PortSocket { address: ip(address), uid, inode: 1 }, owner }
    }

    fn facts(own: u32, bind: &str, holders: Vec<Holder>) -> PortFacts {
        let address = SocketAddr::new(ip(bind), 2055);
        PortFacts {
            uid: Ok(own),
            visible: Ok(()),
            udp: vec![UdpPort { listener: "2055".to_owned(), address, holders, locked: false }],
            exclusive: false,
            http: HttpPort { ports: 8081..=8081, free: Ok(8081), holders: Vec::new() },
        }
    }

    #[test]
    fn who_holds_a_port_decides() {
        let collector = Some(OWN_NAME);
        for (own, bind, holders, severity) in [
            (1_000, "::", vec![], Severity::Ok),
            (1_000, "::", vec![holder("::", 1_000, collector)], Severity::Hint),
            (1_000, "::", vec![holder("::", 1_000, None)], Severity::Hint),
            (1_000, "::", vec![holder("::", 1_000, Some("nfcapd"))], Severity::Fault),
            (1_000, "::", vec![holder("::", 2_000, collector)], Severity::Fault),
            (1_000, "0.0.0.0", vec![holder("::", 2_000, None)], Severity::Fault),
            (0, "::", vec![holder("::", 65_532, collector)], Severity::Hint),
            (0, "::", vec![holder("::", 65_532, None)], Severity::Fault),
            (1_000, "127.0.0.1", vec![holder("127.0.0.2", 2_000, collector)], Severity::Ok),
            (1_000, "::1", vec![holder("0.0.0.0", 2_000, collector)], Severity::Ok),
            (1_000, "::", vec![holder("::", 1_000, collector), holder("::", 5, collector)], Severity::Fault),
        ] {
            let finding = udp_ports(&facts(own, bind, holders.clone()));
            assert_eq!(finding.severity, severity, "{own} {bind} {holders:?}: {finding:?}");
        }
        let mut exclusive = facts(1_000, "::", vec![holder("::", 1_000, collector)]);
        exclusive.exclusive = true;
        assert_eq!(udp_ports(&exclusive).severity, Severity::Fault);
        exclusive.visible = Err("no".to_owned());
        assert_eq!(udp_ports(&exclusive).severity, Severity::Unknown);
    }

    #[test]
    fn both_forms_on_one_port_are_a_fault_named_by_who() {
        for (bind, holders, severity) in [
            ("::", vec!["::"], Severity::Ok),
            ("0.0.0.0", vec!["0.0.0.0"], Severity::Ok),
            ("::", vec!["0.0.0.0"], Severity::Fault),
            ("0.0.0.0", vec!["::"], Severity::Fault),
            ("127.0.0.1", vec!["::", "0.0.0.0"], Severity::Fault),
            ("::", vec!["127.0.0.1"], Severity::Ok),
        ] {
            let holders = holders.into_iter().map(|a| holder(a, 0, Some("nfcapd"))).collect();
            let finding = port_forms(&facts(0, bind, holders));
            assert_eq!(finding.severity, severity, "{bind}: {finding:?}");
            assert_eq!(finding.seen.contains("nfcapd (pid 77)"), severity == Severity::Fault, "{finding:?}");
        }
    }

    #[test]
    fn a_taken_http_port_is_a_hint_if_a_collector_has_it() {
        let mut facts = facts(0, "::", Vec::new());
        assert_eq!(http_port(&facts.http).severity, Severity::Ok);
        facts.http.free = Err("in use".to_owned());
        facts.http.holders = vec![(8081, holder("::", 0, Some("nginx")))];
        let finding = http_port(&facts.http);
        assert!(finding.severity == Severity::Fault && finding.seen.contains("nginx (pid 77)"), "{finding:?}");
        facts.http.holders = vec![(8081, holder("::", 0, Some(OWN_NAME)))];
        assert_eq!(http_port(&facts.http).severity, Severity::Hint);
        assert_eq!(facts.http_addresses(), [SocketAddr::from((Ipv6Addr::LOCALHOST, 8081))]);
    }

    #[test]
    fn a_listening_port_is_not_free_and_looking_leaves_it_alone() {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let taken = std::net::TcpListener::bind((local, 0)).expect("bind");
        let port = taken.local_addr().expect("an address").port();
        assert!(first_free(local, &(port..=port)).is_err());
        drop(taken);
        assert_eq!(first_free(local, &(port..=port)), Ok(port));
        assert!(std::net::TcpListener::bind((local, port)).is_ok(), "it was given back");
    }
}
