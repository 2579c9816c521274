//! Who holds a UDP port of this network namespace, read from /proc.
//!
//! Only for messages and for decisions at start and at the end: never on the data path. Where /proc
//! is not readable the answers are empty, and nothing depends on them for correctness.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::Path;

/// One socket bound to a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSocket {
    /// Local address.
    pub address: IpAddr,
    /// User that made it.
    pub uid: u32,
    /// Inode, which the links in `/proc/PID/fd` name it by.
    pub inode: u64,
}

impl PortSocket {
    /// Address, user and, where it may be seen, process.
    #[must_use]
    pub fn describe(&self) -> String {
        let process = owner(Path::new("/"), self.inode).map_or_else(
            || "a process that is not visible from here".to_owned(),
            |p| format!("{} (pid {})", p.name, p.id),
        );
        format!("{} by {process} (uid {})", self.address, self.uid)
    }
}

/// A process that has a socket open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketOwner {
    /// Its number.
    pub id: u32,
    /// Its name, of which the kernel keeps 15 octets; escaped, because a process chooses it itself.
    pub name: String,
}

/// Sockets on `port`, both families.
#[must_use]
pub fn sockets_on(port: u16) -> Vec<PortSocket> {
    sockets_below(Path::new("/"), port)
}

/// The same of the /proc below `root`, which is `/` but in tests.
#[must_use]
pub fn sockets_below(root: &Path, port: u16) -> Vec<PortSocket> {
    ["proc/net/udp", "proc/net/udp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(root.join(table)).ok())
        .flat_map(|text| parse_table(&text, port))
        .collect()
}

/// Sockets on `port` whose inode is not among `own`.
#[must_use]
pub fn others_on(port: u16, own: &[u64]) -> Vec<PortSocket> {
    let mut sockets = sockets_on(port);
    sockets.retain(|s| !own.contains(&s.inode));
    sockets
}

/// TCP sockets that listen on one of `ports`, as the /proc below `root` says.
#[must_use]
pub fn tcp_listeners_below(root: &Path, ports: &RangeInclusive<u16>) -> Vec<(u16, PortSocket)> {
    /// TCP_LISTEN of the kernel's tcp_states.h.
    const LISTEN: &str = "0A";
    ["proc/net/tcp", "proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(root.join(table)).ok())
        .flat_map(|text| text.lines().skip(1).filter_map(parse_row).collect::<Vec<_>>())
        .filter(|row| row.state == LISTEN && ports.contains(&row.port))
        .map(|row| (row.port, row.socket))
        .collect()
}

/// A row of a table of sockets.
struct Row {
    port: u16,
    state: String,
    socket: PortSocket,
}

/// Rows of /proc/net/udp or udp6 for `port`.
fn parse_table(text: &str, port: u16) -> Vec<PortSocket> {
    text.lines().skip(1).filter_map(parse_row).filter(|row| row.port == port).map(|row| row.socket).collect()
}

/// `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode ...`
fn parse_row(line: &str) -> Option<Row> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let state = fields.nth(1)?.to_owned();
    let uid = fields.nth(3)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    Some(Row { port, state, socket: PortSocket { address: parse_address(address)?, uid, inode } })
}

/// Groups of 32 bits in the host's octet order, printed in hex.
fn parse_address(hex: &str) -> Option<IpAddr> {
    let word = |i: usize| Some(u32::from_str_radix(hex.get(i * 8..i * 8 + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut octets = [0; 16];
            for i in 0..4 {
                octets[i * 4..][..4].copy_from_slice(&word(i)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(octets)))
        }
        _ => None,
    }
}

/// A process that has the socket open, as the /proc below `root` says. Only processes of the same user,
/// or all for root, may be seen.
#[must_use]
pub fn owner(root: &Path, inode: u64) -> Option<SocketOwner> {
    let wanted = format!("socket:[{inode}]");
    let holds = |process: &Path| {
        let links = fs::read_dir(process.join("fd")).ok()?;
        links.flatten().find(|l| fs::read_link(l.path()).is_ok_and(|t| t.as_os_str() == wanted.as_str()))
    };
    for process in fs::read_dir(root.join("proc")).ok()?.flatten() {
        let Some(id) = process.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        if holds(&process.path()).is_some() {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(SocketOwner { id, name: name.trim_end().escape_debug().to_string() });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn tables_of_both_families_are_read() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let one = u32::from_ne_bytes([127, 0, 0, 1]);
        let v4 = format!(
            "{head}  7: {one:08X}:0807 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000 0 4711 2 0 0\n"
        );
        let rows = parse_table(&v4, 2055);
        assert_eq!(rows, [PortSocket { address: "127.0.0.1".parse().expect("address"), uid: 1000, inode: 4711 }]);
        assert!(parse_table(&v4, 2056).is_empty());
        let v6 = format!("{head} 7: {:032X}:0807 {:032X}:0000 07 0:0 0:0 0 0 0 12 2 0 0\n", 0, 0);
        assert_eq!(parse_table(&v6, 2055)[0].address, IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        for end in 0..v4.len() {
            let _ = parse_table(&v4[..end], 2055);
        }
    }

    #[test]
    fn a_bound_socket_is_found_with_its_process() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let port = socket.local_addr().expect("address").port();
        let inode = crate::collect::sys::inode(&socket).expect("inode");
        let found = sockets_on(port);
        if found.is_empty() {
            eprintln!("skipped: /proc/net/udp is not readable here");
            return;
        }
        assert!(found.iter().any(|s| s.inode == inode && s.address.is_ipv4()));
        assert!(others_on(port, &[inode]).iter().all(|s| s.inode != inode));
        assert!(found[0].describe().contains(&format!("pid {}", std::process::id())), "{}", found[0].describe());
    }
}
