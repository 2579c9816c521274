//! What shows the backend who sends: prepared headers that follow their files.
//!
//! Enter: the sources of token, password and further headers. Leave: headers, put into each request as they are at
//! that time. Promised: all of them are marked as sensitive, so that no library prints or indexes them, and no error
//! quotes a value.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::secret::{Refresh, SecretError, SecretSource, SourceFile, Watched, text_of};
use crate::sink::Credentials;

/// Further headers of a request.
type Headers = Vec<(HeaderName, HeaderValue)>;

/// Headers that follow their files.
#[derive(Debug)]
pub(super) struct Badge {
    authorization: Option<Watched<HeaderValue>>,
    further: Option<Watched<Headers>>,
}

impl Badge {
    /// Reads all files.
    ///
    /// # Errors
    /// A file or value cannot be used: which, and why; never the value.
    pub(super) fn new(credentials: &Credentials) -> Result<Self, SecretError> {
        let user = credentials.username.clone();
        let authorization = if credentials.token.is_some() {
            watched(&credentials.token, "token", bearer)?
        } else if user.is_empty() {
            None
        } else if user.contains(':') {
            return Err(SecretError(
                "[backend] username holds a colon, which ends a user name in basic authentication (RFC 7617): it \
                 cannot be sent"
                    .to_owned(),
            ));
        } else if credentials.password.is_some() {
            watched(&credentials.password, "password", move |password| basic(&user, password))?
        } else {
            let value = basic(&user, "").map_err(|what| SecretError(format!("[backend] username {what}")))?;
            Some(Watched::fixed("[backend] username", value))
        };
        let free = authorization.is_none();
        let further = watched(&credentials.headers, "headers", move |text| headers(text, free))?;
        Ok(Self { authorization, further })
    }

    /// Puts the headers as they are now into a request.
    pub(super) fn put(&self, into: &mut HeaderMap) {
        if let Some(value) = &self.authorization {
            into.insert(header::AUTHORIZATION, HeaderValue::clone(&value.current()));
        }
        if let Some(further) = &self.further {
            for (name, value) in further.current().iter() {
                into.append(name, value.clone());
            }
        }
    }

    /// What follows files.
    pub(super) fn watched(&self) -> Vec<Arc<dyn Refresh>> {
        let files = |has: bool, value: Arc<dyn Refresh>| has.then_some(value);
        let authorization = self.authorization.as_ref().and_then(|w| files(w.has_files(), w.shared()));
        let further = self.further.as_ref().and_then(|w| files(w.has_files(), w.shared()));
        authorization.into_iter().chain(further).collect()
    }
}

fn watched<T: Send + Sync + 'static>(
    source: &SecretSource,
    key: &str,
    make: impl Fn(&str) -> Result<T, String> + Send + Sync + 'static,
) -> Result<Option<Watched<T>>, SecretError> {
    match source {
        SecretSource::None => Ok(None),
        SecretSource::Given(secret) => {
            let key = format!("[backend] {key}");
            let value = make(secret.expose()).map_err(|what| SecretError(format!("{key} {what}")))?;
            Ok(Some(Watched::fixed(key, value)))
        }
        SecretSource::File(path) => {
            let file = SourceFile::private(format!("[backend] {key}_file"), path);
            let of = file.clone();
            Watched::new(format!("[backend] {key}_file"), vec![file], move |contents| {
                text_of(&contents[0]).map_err(str::to_owned).and_then(&make).map_err(|what| of.fault(what))
            })
            .map(Some)
        }
    }
}

fn bearer(token: &str) -> Result<HeaderValue, String> {
    if token.chars().any(|c| !c.is_ascii_graphic()) {
        return Err("holds something that no token holds (a space, a line break, or what is not ASCII): write the \
                    token alone"
            .to_owned());
    }
    sensitive(&format!("Bearer {token}"))
}

/// RFC 7617, in UTF-8.
pub(super) fn basic(user: &str, password: &str) -> Result<HeaderValue, String> {
    if password.chars().chain(user.chars()).any(char::is_control) {
        return Err("holds a control character, which basic authentication cannot carry".to_owned());
    }
    sensitive(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

fn sensitive(value: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(value).map_err(|_| "cannot stand in a header".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Headers that are this program's own, or belong to one connection alone.
const OURS: &[&str] = &[
    "host",
    "content-type",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "upgrade",
    "te",
    "trailer",
    "expect",
    "user-agent",
    "idempotency-key",
];

fn headers(text: &str, authorization_is_free: bool) -> Result<Headers, String> {
    let mut headers = Headers::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let Some((name, value)) = line.split_once(':') else {
            return Err(format!("has no colon in line {number}: write \"Name: value\""));
        };
        let Ok(name) = HeaderName::from_bytes(name.trim().as_bytes()) else {
            return Err(format!("has no header name before the colon of line {number}: write \"Name: value\""));
        };
        if OURS.contains(&name.as_str()) || name.as_str().starts_with("clarion-") {
            return Err(format!("sets {name} in line {number}, which the collector sets itself: remove the line"));
        }
        if name == header::AUTHORIZATION && !authorization_is_free {
            return Err(format!(
                "sets {name} in line {number} while [backend] token or username does too: keep one of them"
            ));
        }
        let value = sensitive(value.trim())
            .map_err(|_| format!("has a value in line {number} ({name}) that cannot stand in a header"))?;
        headers.push((name, value));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn given(text: &str) -> SecretSource {
        SecretSource::Given(Secret::new(text))
    }

    fn put(credentials: &Credentials) -> HeaderMap {
        let mut headers = HeaderMap::new();
        Badge::new(credentials).unwrap().put(&mut headers);
        headers
    }

    #[test]
    fn tokens_passwords_and_headers_become_sensitive_headers() {
        let headers = put(&Credentials { token: given("abc.def"), ..Credentials::default() });
        assert_eq!(headers[header::AUTHORIZATION], "Bearer abc.def");
        assert!(!format!("{headers:?}").contains("abc"), "{headers:?}");
        // The example of RFC 7617 section 2, and one of its section 2.1.
        let user = |name: &str, password: &str| Credentials {
            username: name.to_owned(),
            password: given(password),
            ..Credentials::default()
        };
        let headers = put(&user("Aladdin", "open sesame"));
        assert_eq!(headers[header::AUTHORIZATION], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(put(&user("test", "123\u{a3}"))[header::AUTHORIZATION], "Basic dGVzdDoxMjPCow==");
        let alone = Credentials { username: "x".to_owned(), ..Credentials::default() };
        assert_eq!(put(&alone)[header::AUTHORIZATION], "Basic eDo=");
        let headers = put(&Credentials { headers: given("X-Key: k1\n\nX-Tenant:a b\n"), ..Credentials::default() });
        assert_eq!(
            (&headers["x-key"], &headers["x-tenant"], headers.len()),
            (&"k1".parse().unwrap(), &"a b".parse().unwrap(), 2)
        );
        assert!(put(&Credentials::default()).is_empty());
    }

    #[test]
    fn what_cannot_be_sent_is_named_without_its_value() {
        let error = |credentials: Credentials| Badge::new(&credentials).unwrap_err().to_string();
        let of = |headers: &str| error(Credentials { headers: given(headers), ..Credentials::default() });
        for name in ["Host", "content-length", "Clarion-Records", "Idempotency-Key", "Connection", "Content-Encoding"] {
            let text = of(&format!("A: 1\n{name}: hunter2"));
            assert!(
                text.contains("[backend] headers") && text.contains("line 2") && !text.contains("hunter"),
                "{text}"
            );
        }
        for text in [of("hunter2"), of(": hunter2"), of("X: hunter2\x01"), of("a b: hunter2")] {
            assert!(text.contains("line 1") && !text.contains("hunter"), "{text}");
        }
        let text = error(Credentials { token: given("hunter 2"), ..Credentials::default() });
        assert!(text.contains("[backend] token holds") && !text.contains("hunter"), "{text}");
        let both = Credentials { token: given("t"), headers: given("Authorization: x"), ..Credentials::default() };
        assert!(error(both).contains("keep one of them"));
        let colon = Credentials { username: "a:b".to_owned(), ..Credentials::default() };
        assert!(error(colon).contains("colon"));
    }

    #[test]
    fn a_new_token_is_in_the_next_request() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "one\n").unwrap();
        let source = SecretSource::File(path.clone());
        let badge = Badge::new(&Credentials { token: source, ..Credentials::default() }).unwrap();
        let now = || {
            badge.watched().iter().for_each(|w| drop(w.refresh()));
            let mut headers = HeaderMap::new();
            badge.put(&mut headers);
            headers[header::AUTHORIZATION].to_str().unwrap().to_owned()
        };
        assert_eq!(now(), "Bearer one");
        std::fs::write(&path, "two").unwrap();
        assert_eq!(now(), "Bearer two");
        std::fs::write(&path, "t w o").unwrap();
        assert_eq!(now(), "Bearer two");
        assert_eq!(badge.watched().len(), 1);
    }
}
