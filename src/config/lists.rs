//! `[[listener]]` and `[[exporter]]` -> what receiving runs on.

use std::collections::HashSet;
use std::net::IpAddr;

use super::error::Faults;
use super::keys::nearest;
use super::written::{Row, Scalar};
use super::{profile, value};
use crate::collect::{ExporterRule, ListenerSettings, Prefix};
use crate::decode::SessionPolicy;
use crate::limits;

/// The listeners of the file.
pub(super) fn listeners(rows: &[Row], host: IpAddr, faults: &mut Faults) -> Vec<ListenerSettings> {
    if let Some(row) = rows.get(limits::LISTENERS_MAX) {
        faults.add(format!(
            "{}: {} tables [[listener]]; at most {} are taken, since each costs every worker a socket: remove some",
            row.place(),
            rows.len(),
            limits::LISTENERS_MAX
        ));
    }
    let mut listeners = Vec::new();
    let (mut bound, mut taken) = (HashSet::new(), HashSet::new());
    for row in rows.iter().take(limits::LISTENERS_MAX) {
        if row.field("port").is_none() {
            faults.add(format!("{}: [[listener]] has no port: add port = 2055 or another", row.place()));
        }
        let port = number(row, "port", 0, u64::from(u16::MAX), faults).and_then(|port| u16::try_from(port).ok());
        let listener = ListenerSettings {
            name: text(row, "name", faults).unwrap_or_default(),
            address: field(row, "address", faults, value::host).unwrap_or(host),
            port: port.unwrap_or(0),
            interface: field(row, "interface", faults, interface),
            tenant: text(row, "tenant", faults).unwrap_or_default(),
        };
        let socket = (listener.address, listener.port, listener.interface.clone());
        if listener.port != 0 && !bound.insert(socket) {
            faults.add(format!(
                "{}: another [[listener]] has port {} of {} already: remove one of them",
                row.place(),
                listener.port,
                listener.address
            ));
        }
        if !listener.name.is_empty() && !taken.insert(listener.name.clone()) {
            faults.add(format!(
                "{}: another [[listener]] is named {:?} already: metrics tell them apart by name, rename one",
                row.place(),
                listener.name
            ));
        }
        listeners.push(listener);
    }
    name_listeners(&mut listeners);
    listeners
}

/// Names listeners that have none: by port, where that is not unique by address and port.
pub(super) fn name_listeners(listeners: &mut [ListenerSettings]) {
    let given: HashSet<String> = listeners.iter().map(|l| l.name.clone()).filter(|name| !name.is_empty()).collect();
    let ports: Vec<u16> = listeners.iter().filter(|l| l.name.is_empty()).map(|l| l.port).collect();
    let mut taken = given;
    for listener in listeners.iter_mut().filter(|l| l.name.is_empty()) {
        let alone = ports.iter().filter(|port| **port == listener.port).count() == 1;
        let stem = if alone {
            listener.port.to_string()
        } else {
            std::net::SocketAddr::new(listener.address, listener.port).to_string()
        };
        let mut name = stem.clone();
        let mut next = 2;
        while !taken.insert(name.clone()) {
            name = format!("{stem}-{next}");
            next += 1;
        }
        listener.name = name;
    }
}

/// The rules of the file. A rule without a prefix holds for every address of its listener or domain.
pub(super) fn rules(rows: &[Row], listeners: &[ListenerSettings], faults: &mut Faults) -> Vec<ExporterRule> {
    if let Some(row) = rows.get(limits::EXPORTER_RULES_MAX) {
        faults.add(format!(
            "{}: {} tables [[exporter]]; at most {} are taken: match by wider prefixes",
            row.place(),
            rows.len(),
            limits::EXPORTER_RULES_MAX
        ));
        return Vec::new();
    }
    let mut rules = Vec::new();
    let mut seen = HashSet::new();
    for row in rows {
        let listener = field(row, "listener", faults, |name| known_listener(name, listeners));
        let domain = number(row, "domain", 0, u64::from(u32::MAX), faults);
        let prefix = field(row, "prefix", faults, prefix);
        let prefixes = match prefix {
            Some(prefix) => vec![prefix],
            None if row.field("prefix").is_some() => continue,
            None if row.field("listener").is_none() && row.field("domain").is_none() => {
                faults.add(format!(
                    "{}: [[exporter]] matches nothing: add prefix = \"192.0.2.0/24\", listener or domain",
                    row.place()
                ));
                continue;
            }
            None => vec![(IpAddr::from([0; 4]), 0), (IpAddr::from([0; 16]), 0)],
        };
        let rate_max = u64::from(limits::SAMPLING_RATE_MAX);
        let narrow = |n: Option<u64>| n.and_then(|n| u32::try_from(n).ok());
        let template = ExporterRule {
            prefix: prefixes[0],
            listener,
            domain: narrow(domain),
            name: text(row, "name", faults),
            tenant: text(row, "tenant", faults),
            switch_id: text(row, "switch_id", faults),
            sampling_default: narrow(number(row, "sampling_default", 1, rate_max, faults)),
            sampling_override: narrow(number(row, "sampling_override", 1, rate_max, faults)),
            session: field(row, "session", faults, session),
            profile: profile::profile(row, faults),
            datagrams_per_second: rate(row, "datagrams_per_second", limits::RATE_DATAGRAMS, faults),
            octets_per_second: rate(row, "bytes_per_second", limits::RATE_OCTETS, faults),
        };
        for prefix in prefixes {
            let rule = ExporterRule { prefix, ..template.clone() };
            if !seen.insert((rule.prefix, rule.listener.clone(), rule.domain)) {
                faults.add(format!(
                    "{}: another [[exporter]] matches the same prefix, listener and domain: join them",
                    row.place()
                ));
                break;
            }
            rules.push(rule);
        }
    }
    rules
}

/// A rate of an exporter as a whole: one domain of several cannot have its own.
fn rate(row: &Row, name: &str, range: limits::Range, faults: &mut Faults) -> Option<u64> {
    let rate = number(row, name, range.min, range.max, faults)?;
    if row.field("domain").is_some() {
        faults.add(format!(
            "{}: {name} = {rate} beside domain: a rate holds for all domains of an exporter; give it in a rule without domain",
            row.place()
        ));
    }
    Some(rate)
}

/// A comma-separated list of prefixes.
pub(super) fn prefixes(id: &str, place: &str, text: &str, faults: &mut Faults) -> Vec<Prefix> {
    let entries: Vec<&str> = text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect();
    if entries.len() > limits::ADMISSION_PREFIXES_MAX {
        faults.add(format!(
            "{place}: {id} has {} prefixes; at most {} are taken: join them to wider ones",
            entries.len(),
            limits::ADMISSION_PREFIXES_MAX
        ));
        return Vec::new();
    }
    let mut list = Vec::with_capacity(entries.len());
    for entry in entries {
        match prefix(entry) {
            Ok(prefix) => list.push(prefix),
            Err(problem) => faults.add(format!("{place}: {id}: {entry:?} {problem}")),
        }
    }
    list
}

/// A checked text field; empty counts as not given.
fn text(row: &Row, name: &str, faults: &mut Faults) -> Option<String> {
    field(row, name, faults, value::plain_text).filter(|text| !text.is_empty())
}

/// A field in quotes that `check` understands.
pub(super) fn field<T>(
    row: &Row,
    name: &str,
    faults: &mut Faults,
    check: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let (scalar, place) = row.field(name)?;
    let result = if scalar.bare && name != "listener" {
        Err("is no text: put it in quotes".to_owned())
    } else {
        check(scalar.text.trim())
    };
    result.map_err(|problem| faults.add(told(&place, name, scalar, &problem))).ok()
}

/// A switch; off if it is not given.
pub(super) fn flag(row: &Row, name: &str, faults: &mut Faults) -> bool {
    let Some((scalar, place)) = row.field(name) else { return false };
    match (scalar.bare, scalar.text.as_str()) {
        (true, "true") => true,
        (true, "false") => false,
        _ => {
            faults.add(told(&place, name, scalar, "is neither true nor false: write one of them, without quotes"));
            false
        }
    }
}

fn number(row: &Row, name: &str, min: u64, max: u64, faults: &mut Faults) -> Option<u64> {
    let (scalar, place) = row.field(name)?;
    match scalar.text.parse::<u64>() {
        Ok(n) if (min..=max).contains(&n) => Some(n),
        _ => {
            faults.add(told(&place, name, scalar, &format!("is no number from {min} to {max}: write one")));
            None
        }
    }
}

pub(super) fn told(place: &str, name: &str, scalar: &Scalar, problem: &str) -> String {
    format!("{place}: {name} = {} {problem}", scalar.display())
}

/// IFNAMSIZ is 16 with the final zero.
fn interface(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 15 || text.chars().any(|c| c.is_whitespace() || c == '/' || c.is_control()) {
        return Err("is no name of a network interface: `ip link` lists them".to_owned());
    }
    Ok(text.to_owned())
}

fn known_listener(text: &str, listeners: &[ListenerSettings]) -> Result<String, String> {
    let known = listeners.iter().find(|l| l.name == text).or_else(|| {
        let port: u16 = text.parse().ok()?;
        listeners.iter().find(|l| l.port == port)
    });
    match known {
        Some(_) => Ok(text.to_owned()),
        None => {
            let hint = nearest(text, listeners.iter().map(|l| l.name.as_str()));
            let hint = hint.map(|near| format!(" (is {near} meant?)")).unwrap_or_default();
            let names: Vec<&str> = listeners.iter().map(|l| l.name.as_str()).collect();
            Err(format!("is no listener{hint}: write the name or port of one of {}", names.join(", ")))
        }
    }
}

/// `address/length`, or an address alone. IPv4-mapped prefixes become IPv4: peers are folded too.
fn prefix(text: &str) -> Result<(IpAddr, u8), String> {
    let wrong = || "is no prefix: write one such as \"192.0.2.0/24\", \"2001:db8::/32\" or a single address".to_owned();
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u8>().map_err(|_| wrong())?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let length = length.unwrap_or(whole);
    if length > whole {
        return Err(format!("has a length above {whole}: shorten it"));
    }
    let network = match address {
        IpAddr::V4(v4) => {
            IpAddr::from((v4.to_bits() & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)).to_be_bytes())
        }
        IpAddr::V6(v6) => {
            IpAddr::from((v6.to_bits() & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)).to_be_bytes())
        }
    };
    if network != address {
        return Err(format!("has bits set behind its length: is \"{network}/{length}\" meant?"));
    }
    match network {
        IpAddr::V6(v6) if length >= 96 => match v6.to_ipv4_mapped() {
            Some(v4) => Ok((v4.into(), length - 96)),
            None => Ok((network, length)),
        },
        _ => Ok((network, length)),
    }
}

fn session(text: &str) -> Result<SessionPolicy, String> {
    Ok(match value::choice(text, &["any", "port"])? {
        "port" => SessionPolicy::Port,
        _ => SessionPolicy::Any,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_checked_and_mapped_ones_folded() {
        assert_eq!(prefix("10.0.0.0/8"), Ok(("10.0.0.0".parse().unwrap(), 8)));
        assert_eq!(prefix("192.0.2.1"), Ok(("192.0.2.1".parse().unwrap(), 32)));
        assert_eq!(prefix("::/0"), Ok(("::".parse().unwrap(), 0)));
        assert_eq!(prefix("0.0.0.0/0"), Ok(("0.0.0.0".parse().unwrap(), 0)));
        assert_eq!(prefix("::ffff:10.0.0.0/104"), Ok(("10.0.0.0".parse().unwrap(), 8)));
        assert!(prefix("10.0.0.5/24").unwrap_err().contains("is \"10.0.0.0/24\" meant?"));
        assert!(prefix("10.0.0.0/33").is_err());
        assert!(prefix("10.0.0.0/").is_err());
        assert!(prefix("router").is_err());
    }

    #[test]
    fn listeners_without_a_name_are_named_by_port_and_always_uniquely() {
        let listener = |name: &str, port| ListenerSettings {
            name: name.to_owned(),
            address: "::".parse().unwrap(),
            port,
            interface: None,
            tenant: String::new(),
        };
        let mut listeners =
            [listener("", 2055), listener("4739", 1), listener("", 4739), listener("", 0), listener("", 0)];
        name_listeners(&mut listeners);
        assert_eq!(listeners.each_ref().map(|l| l.name.as_str()), ["2055", "4739", "4739-2", "[::]:0", "[::]:0-2"]);
    }
}
