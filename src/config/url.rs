//! The backend's base URL: checked, taken apart, and shown without credentials.
//!
//! `http` and `https`; anything else is refused with what to do instead.

use crate::limits;
use crate::secret::Secret;
use crate::sink::BackendUrl;

/// A base URL in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    tls: bool,
    host: String,
    port: u16,
    /// Without a slash at its end; empty or beginning with one.
    path: String,
    credentials: Option<Secret>,
}

impl BaseUrl {
    /// Takes a base URL apart.
    ///
    /// # Errors
    /// What is wrong with it and what to do; never the credentials in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err("is no URL: write http:// or https://host[:port][/path]".to_owned());
        };
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err("has an unknown scheme: write http:// or https://host[:port][/path]".to_owned()),
        };
        if rest.contains(['?', '#']) {
            return Err("has a query or fragment, which a base URL cannot have: remove it".to_owned());
        }
        if !rest
            .chars()
            .all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}'))
        {
            return Err(
                "holds a character that a URL cannot hold: percent-encode it (a host name: in punycode)".to_owned()
            );
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (credentials, host_port) = authority
            .rsplit_once('@')
            .map_or((None, authority), |(user, host_port)| (Some(Secret::new(user)), host_port));
        let (host, port) = split_port(host_port, if tls { 443 } else { 80 })?;
        Ok(Self { tls, host, port, path: path.trim_end_matches('/').to_owned(), credentials })
    }

    /// `user:password` of the URL, as they stand in it.
    #[must_use]
    pub fn credentials(&self) -> Option<&Secret> {
        self.credentials.as_ref()
    }

    /// The target of requests: base path and `endpoint`.
    #[must_use]
    pub fn with_endpoint(&self, endpoint: &str) -> BackendUrl {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let (scheme, usual) = if self.tls { ("https", 443) } else { ("http", 80) };
        let port = if self.port == usual { String::new() } else { format!(":{}", self.port) };
        let mut path = format!("{}/{}", self.path, endpoint.trim_start_matches('/'));
        if endpoint.is_empty() && path.len() > 1 {
            path.pop();
        }
        BackendUrl {
            tls: self.tls,
            display: format!("{scheme}://{host}{port}{}", self.path),
            host: self.host.clone(),
            port: self.port,
            path,
        }
    }
}

fn split_port(text: &str, usual: u16) -> Result<(String, u16), String> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((host, behind)) = rest.split_once(']') else {
            return Err("has an opening bracket without a closing one: write http://[address]:port".to_owned());
        };
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err("has no IPv6 address between its brackets: write one, such as http://[::1]:8000".to_owned());
        }
        let port = match behind.strip_prefix(':') {
            Some(port) => Some(port),
            None if behind.is_empty() => None,
            None => return Err("has something between the host and the port: remove it".to_owned()),
        };
        (host, port)
    } else {
        text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
    };
    if host.contains(',') {
        return Err("has a host with a comma: write each URL of a list with its own http:// or https://".to_owned());
    }
    if host.is_empty() {
        return Err("has no host: write http://host[:port][/path]".to_owned());
    }
    let port = match port {
        None => usual,
        Some(port) => match port.parse() {
            Ok(port) if port > 0 => port,
            _ => {
                return Err(
                    "has a port outside 1 to 65535: write http://host:port, an IPv6 address in brackets".to_owned()
                );
            }
        },
    };
    Ok((host.to_owned(), port))
}

/// The URLs of a list with commas, each as it was written. A comma that no scheme follows belongs to its URL.
///
/// # Errors
/// What is wrong with one of them, or with the list; never the credentials in it.
pub fn parse_list(text: &str) -> Result<Vec<String>, String> {
    if text.len() > limits::BACKEND_URLS_OCTETS_MAX {
        let max = limits::BACKEND_URLS_OCTETS_MAX;
        return Err(format!("is {} octets long; at most {max} are taken: shorten it", text.len()));
    }
    let mut urls: Vec<String> = Vec::new();
    for part in text.split(',') {
        match urls.last_mut() {
            Some(url) if !part.contains("://") => {
                url.push(',');
                url.push_str(part);
            }
            _ => urls.push(part.to_owned()),
        }
    }
    let urls: Vec<String> = urls.iter().map(|url| url.trim().to_owned()).collect();
    let many = urls.len() > 1;
    let mut shown = Vec::new();
    for (place, url) in (1..).zip(&urls) {
        let base = BaseUrl::parse(url).map_err(|what| if many { format!("(URL {place}) {what}") } else { what })?;
        let display = base.with_endpoint("").display;
        if shown.contains(&display) {
            return Err(format!("holds {display} twice: name each backend once"));
        }
        shown.push(display);
    }
    if urls.len() > limits::BACKENDS_MAX {
        return Err(format!("holds {} URLs; at most {} are taken: leave some out", urls.len(), limits::BACKENDS_MAX));
    }
    Ok(urls)
}

/// `text` with whatever may be credentials of a URL in it replaced by `***`.
///
/// Rather too much than too little: a password with a slash in it makes a wrong URL, and the error
/// that says so must not show it. So everything before the last `@` of the word is taken.
#[must_use]
pub fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, behind) = rest.split_at(at + 3);
        masked.push_str(before);
        let end = behind.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(behind.len());
        match behind[..end].rfind('@') {
            Some(credentials) => {
                masked.push_str("***");
                rest = &behind[credentials..];
            }
            None => rest = behind,
        }
    }
    masked.push_str(rest);
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> BackendUrl {
        BaseUrl::parse(url).expect("a right URL").with_endpoint("/api/netflow/netflow")
    }

    #[test]
    fn base_path_is_kept_and_the_endpoint_put_behind_it() {
        assert_eq!(
            target("http://backend:8000/base/"),
            BackendUrl {
                tls: false,
                host: "backend".into(),
                port: 8_000,
                path: "/base/api/netflow/netflow".into(),
                display: "http://backend:8000/base".into(),
            }
        );
        assert_eq!(target("HTTP://backend").port, 80);
        assert_eq!(target("http://backend").display, "http://backend");
        let secure = target("https://backend/x");
        assert_eq!((secure.tls, secure.port, secure.display.as_str()), (true, 443, "https://backend/x"));
        assert_eq!(target("https://backend:80").display, "https://backend:80");
        assert_eq!(BaseUrl::parse("http://h/x").unwrap().with_endpoint("").path, "/x");
        assert_eq!(BaseUrl::parse("http://h").unwrap().with_endpoint("").path, "/");
    }

    #[test]
    fn ipv6_addresses_stand_in_brackets() {
        let url = target("http://[2001:db8::1]:8000");
        assert_eq!((url.host.as_str(), url.port), ("2001:db8::1", 8_000));
        assert_eq!(url.display, "http://[2001:db8::1]:8000");
        for wrong in ["http://2001:db8::1:8000", "http://[::1", "http://[x]:1", "http://[::1]8"] {
            assert!(BaseUrl::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn wrong_urls_say_what_to_do_and_never_the_password() {
        for wrong in [
            "backend:8000",
            "http://",
            "http://:80",
            "http://h:0",
            "http://h:65536",
            "http://h:x",
            "ftp://user:secret@h",
            "http://h/?q",
            "http://h/a b",
            "http://user:secret@h/\u{e4}",
        ] {
            let error = BaseUrl::parse(wrong).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_list_is_taken_apart_where_a_url_begins() {
        let urls = |text: &str| parse_list(text).unwrap();
        assert_eq!(urls("http://a"), ["http://a"]);
        assert_eq!(urls("http://a , https://b:1/x"), ["http://a", "https://b:1/x"]);
        assert_eq!(urls("http://u:p,w@a/x,y,http://b"), ["http://u:p,w@a/x,y", "http://b"]);
        let nine: Vec<String> = (0..9).map(|n| format!("http://h{n}")).collect();
        for (wrong, why) in [
            (nine.join(","), "at most 8"),
            ("http://a,http://u:secret@a:80/".to_owned(), "http://a twice"),
            ("http://a,b:8000".to_owned(), "own http://"),
            ("http://a,,http://b".to_owned(), "own http://"),
            ("http://a,ftp://u:secret@b".to_owned(), "(URL 2)"),
            (format!("http://{}", "x".repeat(9_000)), "9007 octets"),
        ] {
            let error = parse_list(&wrong).unwrap_err();
            assert!(error.contains(why) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn credentials_are_never_shown() {
        let url = BaseUrl::parse("http://user:pa@ss@backend/x").unwrap();
        assert_eq!(url.credentials().map(Secret::expose), Some("user:pa@ss"));
        assert_eq!(url.with_endpoint("/e").display, "http://backend/x");
        assert_eq!(mask("http://user:pa@ss@backend/x"), "http://***@backend/x");
        assert_eq!(mask("http://user:pa/ss@backend"), "http://***@backend");
        assert_eq!(mask("https://u:p@a and http://b/c"), "https://***@a and http://b/c");
        assert_eq!(mask("no url"), "no url");
    }
}
