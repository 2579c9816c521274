//! Which proxy leads to the backend: the setting, or the variables that other programs obey too.
//!
//! The rules are those of curl: `HTTPS_PROXY` for https, `http_proxy` for http, `ALL_PROXY` for both, in lower case
//! first; `NO_PROXY` excepts. Of `HTTP_PROXY` in capitals nothing is believed, as curl does not: behind a web server
//! the header `Proxy:` of any request becomes that variable. Unlike curl, loopback addresses are never asked for
//! through a proxy that the environment names: that would be the proxy's own loopback.

use std::net::IpAddr;

use super::Note;
use super::error::Faults;
use super::url::{BaseUrl, mask};
use super::values::Values;
use crate::secret::Secret;
use crate::sink::{BackendUrl, Proxy};

/// The variables that matter, with their names as they were written.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables(Vec<(String, Secret)>);

/// Names that are kept; the first of a pair is believed first.
const NAMES: &[&str] =
    &["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"];

impl Variables {
    /// Keeps a variable if it is one of these.
    pub(super) fn note(&mut self, name: &str, value: &str) {
        if NAMES.contains(&name) && !value.trim().is_empty() {
            self.0.push((name.to_owned(), Secret::new(value.trim())));
        }
    }

    fn first(&self, names: &[&str]) -> Option<(&str, &str)> {
        names.iter().find_map(|name| {
            self.0.iter().find(|(known, _)| known == name).map(|(known, value)| (known.as_str(), value.expose()))
        })
    }
}

/// The proxy for `backend`, if there is one; tells which and why.
pub(super) fn choose(
    values: &Values,
    backend: &BackendUrl,
    variables: &Variables,
    faults: &mut Faults,
    notes: &mut Vec<Note>,
) -> Option<Proxy> {
    let text = values.text("backend.proxy");
    if text.eq_ignore_ascii_case("off") {
        return None;
    }
    let (origin, url) = if text.is_empty() || text.eq_ignore_ascii_case("auto") {
        let (name, url) = of_environment(backend, variables, notes)?;
        (name.to_owned(), url)
    } else {
        (format!("{}: [backend] proxy", values.origin("backend.proxy").place()), text)
    };
    match parse(url) {
        Ok((host, port, credentials, display)) => {
            notes.push(Note::info(format!("the backend is reached through the proxy {display} ({origin})")));
            Some(Proxy { host, port, credentials, display: format!("{display} ({origin})") })
        }
        Err(problem) => {
            faults.add(format!(
                "{origin} = {:?} {problem}; write http://[user:password@]host:port, or set [backend] proxy = \"off\"",
                mask(url)
            ));
            None
        }
    }
}

fn of_environment<'a>(
    backend: &BackendUrl,
    variables: &'a Variables,
    notes: &mut Vec<Note>,
) -> Option<(&'a str, &'a str)> {
    let own: &[&str] = if backend.tls { &["https_proxy", "HTTPS_PROXY"] } else { &["http_proxy"] };
    let chosen = variables.first(own).or_else(|| variables.first(&["all_proxy", "ALL_PROXY"]));
    if is_loopback(&backend.host) {
        return None;
    }
    let Some((name, url)) = chosen else {
        if !backend.tls && variables.first(&["HTTP_PROXY"]).is_some() {
            notes.push(Note::info(
                "HTTP_PROXY is ignored, because whoever sends a request to a web server can set it there: write http_proxy",
            ));
        }
        return None;
    };
    if let Some((no, list)) = variables.first(&["no_proxy", "NO_PROXY"])
        && let Some(entry) = excepted(list, &backend.host, backend.port)
    {
        notes.push(Note::info(format!("{name} is not used for the backend, because of {entry} in {no}")));
        return None;
    }
    Some((name, url))
}

/// Host, port, `user:password` and what may be shown.
fn parse(text: &str) -> Result<(String, u16, Option<Secret>, String), String> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    if !whole.to_ascii_lowercase().starts_with("http://") {
        return Err("is a proxy that is reached by TLS or SOCKS, which this collector does not do".to_owned());
    }
    let base = BaseUrl::parse(&whole)?;
    let url = base.with_endpoint("");
    if url.path != "/" {
        return Err("has a path, and a proxy has none".to_owned());
    }
    let credentials = match base.credentials() {
        None => None,
        Some(raw) => Some(Secret::new(decoded(raw.expose())?)),
    };
    Ok((url.host, url.port, credentials, url.display))
}

/// `user:password` of a URL with its percent codes resolved.
///
/// # Errors
/// What is wrong with it; never the text.
pub(super) fn decoded(credentials: &str) -> Result<String, String> {
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let wrong = || "has user or password with a percent sign that begins no code: write %25 for it".to_owned();
    let user = percent_decoded(user).ok_or_else(wrong)?;
    if user.contains(':') {
        return Err("has a user name with a colon, which basic authentication cannot carry".to_owned());
    }
    Ok(format!("{user}:{}", percent_decoded(password).ok_or_else(wrong)?))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        if *first == b'%' {
            let code = behind.get(..2).and_then(|code| std::str::from_utf8(code).ok())?;
            octets.push(u8::from_str_radix(code, 16).ok()?);
            rest = &behind[2..];
        } else {
            octets.push(*first);
            rest = behind;
        }
    }
    String::from_utf8(octets).ok()
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// The entry of a NO_PROXY list that excepts `host`, if one does.
fn excepted<'a>(list: &'a str, host: &str, port: u16) -> Option<&'a str> {
    let entries = list.split([',', ' ', '\t']).map(str::trim).filter(|entry| !entry.is_empty());
    entries.into_iter().find(|entry| *entry == "*" || matches(entry, host, port))
}

fn matches(entry: &str, host: &str, port: u16) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return matches_address(entry, address, port);
    }
    let (name, wanted) = split_port(entry);
    if wanted.is_some_and(|wanted| wanted != port) {
        return false;
    }
    let name = name.trim_start_matches("*.").trim_matches('.').to_ascii_lowercase();
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    !name.is_empty() && (host == name || host.strip_suffix(&name).is_some_and(|before| before.ends_with('.')))
}

fn matches_address(entry: &str, address: IpAddr, port: u16) -> bool {
    let address = address.to_canonical();
    let bare = |text: &str| {
        let text = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
    };
    if let Some((network, length)) = entry.split_once('/') {
        let (Some(network), Ok(length)) = (bare(network), length.parse::<u32>()) else { return false };
        return in_network(address, network, length);
    }
    if bare(entry) == Some(address) {
        return true;
    }
    let (name, wanted) = split_port(entry);
    wanted == Some(port) && bare(name) == Some(address)
}

/// `host` and the port behind its last colon; an IPv6 address with a port stands in brackets.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    match entry.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            port.parse().map_or((entry, None), |port| (name, Some(port)))
        }
        _ => (entry, None),
    }
}

fn in_network(address: IpAddr, network: IpAddr, length: u32) -> bool {
    let equal = |a: u128, b: u128, width: u32| length <= width && (length == 0 || (a ^ b) >> (width - length) == 0);
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => equal(u32::from(a).into(), u32::from(b).into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => equal(a.into(), b.into(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Machine, Overrides, load};

    fn machine() -> Machine {
        Machine { cores: 2, memory: Some((8 << 30, "a test".into())), default_file: None }
    }

    /// The proxy's host and port for `url` under these variables.
    fn proxy(url: &str, variables: &[(&str, &str)]) -> Option<(String, u16)> {
        let overrides = Overrides::default().with("backend.url", url);
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let loaded = load(&overrides, variables, &machine()).expect("a right configuration");
        loaded.settings.sink.access.proxy.map(|proxy| (proxy.host, proxy.port))
    }

    fn is(host: &str, port: u16) -> Option<(String, u16)> {
        Some((host.to_owned(), port))
    }

    #[test]
    fn the_environment_names_proxies_as_it_does_for_curl() {
        let (secure, plain) = ("https://b.example", "http://b.example");
        assert_eq!(proxy(secure, &[("HTTPS_PROXY", "http://p:3128")]), is("p", 3_128));
        assert_eq!(proxy(secure, &[("https_proxy", "q:1"), ("HTTPS_PROXY", "http://p:3128")]), is("q", 1));
        assert_eq!(proxy(secure, &[("http_proxy", "http://p:3128")]), None);
        assert_eq!(proxy(plain, &[("http_proxy", "http://p:3128/")]), is("p", 3_128));
        assert_eq!(proxy(plain, &[("HTTP_PROXY", "http://p:3128")]), None, "anybody can set it behind a web server");
        assert_eq!(proxy(plain, &[("ALL_PROXY", "http://p:3128")]), is("p", 3_128));
        assert_eq!(proxy(plain, &[("ALL_PROXY", " ")]), None);
        for loopback in ["http://localhost:8000", "http://127.0.0.5", "http://[::1]:1"] {
            assert_eq!(proxy(loopback, &[("http_proxy", "http://p:3128")]), None, "{loopback}");
        }
        assert_eq!(proxy(secure, &[("HTTPS_PROXY", "p:1"), ("NO_PROXY", "example")]), None);
    }

    #[test]
    fn the_setting_beats_the_environment_and_wrong_proxies_are_refused_without_their_password() {
        let with = |setting: &str, variable: &str| {
            let overrides =
                Overrides::default().with("backend.url", "https://b.example").with("backend.proxy", setting);
            load(&overrides, [("https_proxy".to_owned(), variable.to_owned())], &machine())
        };
        assert_eq!(with("off", "http://p:1").unwrap().settings.sink.access.proxy, None);
        let loaded = with("http://u%3A:hunter%202@q:2", "http://p:1");
        let text = loaded.unwrap_err().to_string();
        assert!(text.contains("colon") && !text.contains("hunter"), "{text}");
        let loaded = with("http://u:hunter%202@q:2", "http://p:1").unwrap();
        let proxy = loaded.settings.sink.access.proxy.unwrap();
        assert_eq!((proxy.host.as_str(), proxy.credentials.unwrap().expose()), ("q", "u:hunter 2"));
        assert!(!format!("{:?} {:?}", loaded.notes, loaded.effective).contains("hunter"));
        for wrong in
            ["socks5://u:hunter2@p", "https://u:hunter2@p", "http://u:hunter2@p/path", "http://u:%zz@p", "http://"]
        {
            for text in [with(wrong, "http://p:1"), with("auto", wrong)].map(|loaded| loaded.unwrap_err().to_string()) {
                assert!(text.contains("proxy") && text.contains("\"off\"") && !text.contains("hunter"), "{text}");
            }
        }
    }

    #[test]
    fn exceptions_are_suffixes_addresses_networks_and_ports() {
        let host = |list: &str, host: &str| excepted(list, host, 8_000).is_some();
        for list in
            ["*", "b.example", "example", ".example", "*.example", "x, b.example:8000", "B.Example", "x b.example"]
        {
            assert!(host(list, "b.example"), "{list}");
        }
        for list in ["", "ample", "a.b.example", "b.example:80", "x", "example.b"] {
            assert!(!host(list, "b.example"), "{list}");
        }
        for list in ["192.0.2.7", "192.0.2.0/24", "192.0.2.7:8000", "0.0.0.0/0", "::ffff:192.0.2.7"] {
            assert!(host(list, "192.0.2.7"), "{list}");
        }
        for list in ["192.0.2.8", "192.0.2.7:80", "192.0.3.0/24", "2.7", "192.0.2.0/33", "::/0"] {
            assert!(!host(list, "192.0.2.7"), "{list}");
        }
        for list in ["2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:8000", "2001:db8::/32"] {
            assert!(host(list, "2001:db8::1"), "{list}");
        }
        assert!(!host("2001:db9::/32", "2001:db8::1") && !host("[2001:db8::1]:80", "2001:db8::1"));
    }
}
