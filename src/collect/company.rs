//! Who shares the ports of the listeners: sockets of other processes in the same group.
//!
//! Where there are some, the kernel gives this process a part of what comes, so that what is missing by sequence may be
//! with the others. Read from /proc when somebody asks; where that is not readable, nobody shares.

use std::net::IpAddr;

use super::ports;

/// A listener as the table of sockets knows it.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    pub name: String,
    pub address: IpAddr,
    pub port: u16,
    pub inodes: Vec<u64>,
}

/// The sockets of this process, to tell others' from.
#[derive(Debug, Clone)]
pub struct Company(pub(super) Vec<Seat>);

impl Company {
    /// Listeners whose group has other processes' sockets, with their number.
    #[must_use]
    pub fn others(&self) -> Vec<(String, usize)> {
        let others = |seat: &Seat| {
            let sockets = ports::others_on(seat.port, &seat.inodes);
            // Another address is another group: its sockets take nothing from ours.
            sockets.iter().filter(|socket| socket.address == seat.address).count()
        };
        self.0.iter().map(|seat| (seat.name.clone(), others(seat))).filter(|(_, others)| *others > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn our_own_sockets_and_those_of_other_addresses_are_no_company() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let at = socket.local_addr().expect("address");
        let inode = crate::collect::sys::inode(&socket).expect("inode");
        if ports::sockets_on(at.port()).is_empty() {
            eprintln!("skipped: /proc/net/udp is not readable here");
            return;
        }
        let seat = |address: &str, inodes: Vec<u64>| Seat {
            name: "a".into(),
            address: address.parse().expect("an address"),
            port: at.port(),
            inodes,
        };
        assert!(Company(vec![seat("127.0.0.1", vec![inode])]).others().is_empty());
        assert!(Company(vec![seat("127.0.0.2", vec![])]).others().is_empty());
        assert_eq!(Company(vec![seat("127.0.0.1", vec![])]).others(), [("a".to_owned(), 1)]);
    }
}
