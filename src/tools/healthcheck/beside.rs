//! Which collectors run beside this process, and where their HTTP sides listen, out of `/proc`.
//!
//! A collector is a process of this very program, without a command, with a listening TCP socket. Seen
//! are those of our PID namespace whose descriptors this user may read: in a container, its own one.
//! Nothing here fails; what cannot be read is not there.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::config;

/// TCP's state LISTEN in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Listening addresses of the collectors, in order.
pub(super) fn listening() -> Vec<SocketAddr> {
    let Ok(own) = fs::metadata("/proc/self/exe") else { return Vec::new() };
    let sockets = listeners();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found = Vec::new();
    for process in processes.flatten() {
        let path = process.path();
        let id = process.file_name().to_string_lossy().parse::<u32>();
        let Ok(id) = id else { continue };
        let same = fs::metadata(path.join("exe")).is_ok_and(|exe| (exe.dev(), exe.ino()) == (own.dev(), own.ino()));
        if id != std::process::id() && same && is_collector(&path) {
            found.extend(descriptors(&path).filter_map(|inode| sockets.get(&inode)));
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Neither a tool (`backend` listens as well) nor something that only looks like us.
fn is_collector(process: &Path) -> bool {
    let Ok(line) = fs::read(process.join("cmdline")) else { return false };
    let words = line.strip_suffix(b"\0").unwrap_or(&line).split(|octet| *octet == 0);
    let parsed = config::parse_command_line(words.map(|word| OsString::from_vec(word.to_vec())));
    parsed.is_ok_and(|(cli, _)| cli.command.is_none())
}

/// Inodes of the sockets that a process has open.
fn descriptors(process: &Path) -> impl Iterator<Item = u64> {
    let entries = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let link = fs::read_link(entry.path()).ok()?;
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    })
}

/// Inode -> address of every listening TCP socket of our network namespace.
fn listeners() -> HashMap<u64, SocketAddr> {
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    let text: String = tables.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    text.lines().filter_map(listener).collect()
}

/// A row of `/proc/net/tcp`: number, local address, remote address, state, ..., inode as the tenth.
fn listener(row: &str) -> Option<(u64, SocketAddr)> {
    let fields: Vec<&str> = row.split_whitespace().collect();
    if *fields.get(3)? != LISTEN {
        return None;
    }
    let (address, port) = fields[1].split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let inode = fields.get(9)?.parse().ok()?;
    Some((inode, SocketAddr::new(ip(address)?, port)))
}

/// An address as the kernel prints it: words of 32 bits in the machine's order, in hexadecimal.
fn ip(text: &str) -> Option<IpAddr> {
    let words = text.as_bytes().chunks_exact(8).map(|chunk| {
        let word = u32::from_str_radix(std::str::from_utf8(chunk).ok()?, 16).ok()?;
        Some(word.to_ne_bytes())
    });
    let words: Vec<[u8; 4]> = words.collect::<Option<_>>()?;
    match words.as_slice() {
        [v4] => Some(Ipv4Addr::from(*v4).into()),
        [a, b, c, d] => {
            let octets: [u8; 16] = [*a, *b, *c, *d].concat().try_into().ok()?;
            Some(Ipv6Addr::from(octets).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_kernel_are_read() {
        if cfg!(target_endian = "big") {
            return;
        }
        let v4 = "   0: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0";
        assert_eq!(listener(v4), Some((4711, "127.0.0.1:8081".parse().expect("an address"))));
        let v6 = "   1: 00000000000000000000000001000000:238C 00000000000000000000000000000000:0000 0A \
                  00000000:00000000 00:00000000 00000000 65532 0 42 1 0";
        assert_eq!(listener(v6), Some((42, "[::1]:9100".parse().expect("an address"))));
        let established = v4.replace(" 0A ", " 01 ");
        assert_eq!(listener(&established), None);
        for (cut, _) in v4.char_indices() {
            let _ = listener(&v4[..cut]);
        }
        assert_eq!(listener("  sl  local_address rem_address   st tx_queue"), None);
        assert_eq!(listener("0: 7F:1F91 0:0 0A 0:0 0:0 0 0 0 1 1 0"), None);
    }

    #[test]
    fn the_kernel_names_a_socket_of_ours() {
        let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
        let address = held.local_addr().expect("its address");
        let sockets = listeners();
        let ours: Vec<u64> = descriptors(Path::new("/proc/self")).collect();
        assert!(ours.iter().any(|inode| sockets.get(inode) == Some(&address)), "{address} is not in {sockets:?}");
    }

    #[test]
    fn a_test_program_is_no_collector() {
        assert!(!is_collector(Path::new("/proc/nowhere")));
        assert!(listening().is_empty());
    }
}
