//! The default gateways of this network namespace, as the route tables of /proc name them.
//!
//! Behind a container bridge or a balancer that rewrites addresses, every exporter seems to be the
//! gateway: templates collide and flows get the wrong `switch_id`. So the addresses are read once at
//! start and compared when an exporter is new, never per datagram. A router that is the gateway and
//! exports flows itself looks the same; only people can tell, so it is said and counted, not refused.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// RTF_UP and RTF_GATEWAY of route.h: in use, and by way of a router.
const UP_BY_ROUTER: u32 = 0x0001 | 0x0002;
/// Gateways that are kept: a host has one or two, and balanced routes some more.
const GATEWAYS_MAX: usize = 64;

/// Addresses of the default gateways.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gateways(Vec<IpAddr>);

impl Gateways {
    /// Those of this process's network namespace; none where /proc is not readable.
    #[must_use]
    pub fn of_this_host() -> Self {
        Self::below(Path::new("/"))
    }

    /// The same of the /proc below `root`, which is `/` but in tests.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        let read = |file: &str| fs::read_to_string(root.join(file)).unwrap_or_default();
        let (v4, v6) = (read("proc/net/route"), read("proc/net/ipv6_route"));
        let rows = v4.lines().skip(1).filter_map(v4_gateway).chain(v6.lines().filter_map(v6_gateway));
        let mut gateways: Vec<IpAddr> = rows.take(GATEWAYS_MAX).collect();
        gateways.sort_unstable();
        gateways.dedup();
        Self(gateways)
    }

    /// True if `address` is one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// All of them, in order.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.0
    }
}

impl FromIterator<IpAddr> for Gateways {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        Self(addresses.into_iter().collect())
    }
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask ...`, addresses in hex in the host's octet order.
fn v4_gateway(line: &str) -> Option<IpAddr> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, "00000000", gateway, flags, _, _, _, "00000000", ..] = fields[..] else { return None };
    let is_default = u32::from_str_radix(flags, 16).ok()? & UP_BY_ROUTER == UP_BY_ROUTER;
    let address = Ipv4Addr::from(u32::from_str_radix(gateway, 16).ok()?.to_ne_bytes());
    is_default.then_some(address.into())
}

/// `destination length source length next_hop metric refcnt use flags iface`, addresses as 32 hex digits.
fn v6_gateway(line: &str) -> Option<IpAddr> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [destination, "00", _, _, next_hop, _, _, _, flags, ..] = fields[..] else { return None };
    let is_default = u32::from_str_radix(flags, 16).ok()? & UP_BY_ROUTER == UP_BY_ROUTER;
    let address = Ipv6Addr::from(u128::from_str_radix(next_hop, 16).ok()?);
    (is_default && destination.bytes().all(|b| b == b'0')).then_some(address.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n";

    fn below(v4: &str, v6: &str) -> Vec<String> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir_all(dir.path().join("proc/net")).expect("directories can be made");
        fs::write(dir.path().join("proc/net/route"), v4).expect("a file can be written");
        fs::write(dir.path().join("proc/net/ipv6_route"), v6).expect("a file can be written");
        Gateways::below(dir.path()).addresses().iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn only_default_routes_by_a_router_count() {
        let gateway = u32::from_ne_bytes([172, 17, 0, 1]);
        let v4 = format!(
            "{HEAD}eth0 00000000 {gateway:08X} 0003 0 0 0 00000000 0 0 0\n\
             eth0 000011AC 00000000 0001 0 0 0 0000FFFF 0 0 0\n\
             eth1 0000000A {gateway:08X} 0003 0 0 0 000000FF 0 0 0\n\
             ppp0 00000000 00000000 0001 0 0 0 00000000 0 0 0\n"
        );
        let zero = "0".repeat(32);
        let v6 = format!(
            "{zero} 00 {zero} 00 fd000000000000000000000000000001 400 2 0 00000003 eth0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 1 0 00200200 lo\n\
             fd{} 40 {zero} 00 {zero} 100 1 0 00000001 eth0\n",
            "0".repeat(30)
        );
        assert_eq!(below(&v4, &v6), ["172.17.0.1", "fd00::1"]);
        assert_eq!(below(&v4, ""), ["172.17.0.1"]);
        for end in 0..v4.len() {
            let _ = below(&v4[..end], &v6[..end.min(v6.len())]);
        }
    }

    #[test]
    fn without_proc_there_is_none() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let none = Gateways::below(dir.path());
        assert!(none.addresses().is_empty() && !none.contains("192.0.2.1".parse().expect("address")));
    }
}
