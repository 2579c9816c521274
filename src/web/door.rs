//! The door of the HTTP side: who is let in, how often, and by which certificate it is known.
//!
//! Settings enter and are checked at start; for each request a path's class, its headers and its peer enter, and leave
//! to pass or the answer that refuses it. Promised: health passes always, before any bound. Token and certificate follow
//! their files; only the newest token is right.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::header::HeaderMap;

use super::WebSettings;
use super::answer::Answer;
use super::bearer::{self, Shown};
use super::budget::{Budget, Guesses};
use crate::limits::TOKEN_OCTETS_ADVISED;
use crate::metrics::WebMetrics;
use crate::secret::{Refresh, Secret, SecretError, SecretSource, SourceFile, Watched, text_of};
use crate::throttle::Throttle;
use crate::tls::{self, ServerSide};

/// What stands behind a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Probes: always answered.
    Health,
    /// Nothing of this site: the empty page, what is not there.
    Public,
    /// Counters; the scrape of exporters names their addresses.
    Metrics,
    /// Status and exporters.
    Guarded,
}

/// What a request is held against.
#[derive(Debug)]
pub(super) struct Door {
    token: Option<Watched<Secret>>,
    tls: Option<Watched<ServerSide>>,
    metrics_open: bool,
    is_private: bool,
    rate: Mutex<Budget>,
    guesses: Mutex<Guesses>,
    wrong_tokens: Throttle,
}

impl Door {
    /// Reads the files and says in one line what whoever reaches the port can do.
    ///
    /// # Errors
    /// A file that cannot be used, or a token that no client could send: at start nothing older could stay.
    pub(super) fn open(settings: &WebSettings) -> Result<Self, SecretError> {
        let access = &settings.access;
        let tls = access.tls.as_ref().map(|tls| tls::server(tls, "[http]", &[b"http/1.1"])).transpose()?;
        let door = Self {
            token: token(&access.token)?,
            tls,
            metrics_open: access.metrics_open,
            is_private: settings.is_private(),
            rate: Mutex::new(Budget::per_second(access.request_rate)),
            guesses: Mutex::new(Guesses::new()),
            wrong_tokens: Throttle::default(),
        };
        if let Some(word) = consequence(settings) {
            tracing::info!("{word}");
        }
        if door.token.as_ref().is_some_and(|token| token.current().expose().len() < TOKEN_OCTETS_ADVISED) {
            tracing::warn!(
                "the token of [http] is shorter than {TOKEN_OCTETS_ADVISED} characters: make one by, say, openssl rand -hex 32"
            );
        }
        Ok(door)
    }

    /// What the connections speak; None is plain HTTP.
    pub(super) fn tls(&self) -> Option<Arc<ServerSide>> {
        self.tls.as_ref().map(Watched::current)
    }

    /// The certificate, as it follows its files.
    pub(super) fn certificate(&self) -> Option<Watched<ServerSide>> {
        self.tls.clone()
    }

    /// What is made of files, to be read again.
    pub(super) fn watched(&self) -> Vec<Arc<dyn Refresh>> {
        let token = self.token.iter().filter(|token| token.has_files()).map(Watched::shared);
        token.chain(self.tls.iter().map(Watched::shared)).collect()
    }

    /// True if who passes is on this machine or knows the token.
    pub(super) const fn is_private(&self) -> bool {
        self.is_private
    }

    /// Lets a request pass, or gives what it is answered instead.
    pub(super) fn pass(
        &self,
        class: Class,
        headers: &HeaderMap,
        peer: IpAddr,
        now_ns: u64,
        metrics: &WebMetrics,
    ) -> Result<(), Answer> {
        if class == Class::Health {
            return Ok(());
        }
        if let Err(wait) = self.rate.lock().unwrap_or_else(PoisonError::into_inner).take(now_ns) {
            metrics.refused_rate.add(1);
            let error = "more requests a second than [http] request_rate allows, of all clients together";
            return Err(Answer::too_many(error, wait));
        }
        let asked = match class {
            Class::Health | Class::Public => false,
            Class::Metrics => !self.metrics_open,
            Class::Guarded => true,
        };
        let Some(token) = self.token.as_ref().filter(|_| asked) else { return Ok(()) };
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(wait) = guesses.may(peer, now_ns) {
            metrics.refused_guessing.add(1);
            let error = "too many wrong tokens came from this address: correct the token and wait";
            return Err(Answer::too_many(error, wait));
        }
        match bearer::shown(headers, token.current().expose()) {
            Shown::Right => return Ok(()),
            // No token is no guess: a browser, or a probe of a wrong path.
            Shown::Nothing => {}
            Shown::Wrong => {
                guesses.note(peer, now_ns);
                if let Some(times) = self.wrong_tokens.note(now_ns, 1) {
                    tracing::warn!(%peer, times, "HTTP requests came with a wrong token; the address is the last one's");
                }
            }
        }
        metrics.refused_unauthorized.add(1);
        Err(Answer::unauthorized())
    }
}

/// The token that is asked for, checked to be one that can be sent.
fn token(source: &SecretSource) -> Result<Option<Watched<Secret>>, SecretError> {
    match source {
        SecretSource::None => Ok(None),
        SecretSource::Given(secret) => match bearer::unfit(secret.expose()) {
            None => Ok(Some(Watched::fixed("[http] token", secret.clone()))),
            Some(why) => Err(SecretError(format!("[http] token: {why}"))),
        },
        SecretSource::File(path) => {
            let file = SourceFile::private("[http] token_file", path);
            let of = file.clone();
            let read = move |contents: &[Vec<u8>]| {
                let text = text_of(contents.first().map_or(&[][..], Vec::as_slice)).map_err(|why| of.fault(why))?;
                match bearer::unfit(text) {
                    None => Ok(Secret::new(text)),
                    Some(why) => Err(of.fault(why)),
                }
            };
            Watched::new("the token of the HTTP side", vec![file], read).map(Some)
        }
    }
}

/// What the settings mean for whoever reaches the port; None if that is this machine alone, or nothing is left to say.
fn consequence(settings: &WebSettings) -> Option<&'static str> {
    let access = &settings.access;
    if settings.bind.to_canonical().is_loopback() {
        return None;
    }
    Some(match (access.token.is_some(), access.tls.is_some(), access.metrics_open) {
        (false, _, _) => {
            "HTTP asks for no token: whoever reaches the port reads metrics, status and exporters' addresses; \
             set [http] token_file, bind it to loopback, or restrict the port"
        }
        (true, false, true) => {
            "HTTP without TLS: the token crosses the network in clear text (set [http] tls_cert_file); metrics need none: \
             whoever reaches the port reads counters and exporters' addresses ([http] metrics_open = false closes them)"
        }
        (true, false, false) => {
            "HTTP without TLS: the token crosses the network in clear text; set [http] tls_cert_file and tls_key_file"
        }
        (true, true, true) => {
            "metrics need no token: whoever reaches the port reads counters and exporters' addresses; \
             [http] metrics_open = false closes them"
        }
        (true, true, false) => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use hyper::StatusCode;
    use hyper::header::AUTHORIZATION;

    use super::*;
    use crate::limits::WRONG_TOKENS_BURST;
    use crate::metrics::{Metrics, Shape};
    use crate::web::WebAccess;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn metrics() -> WebMetrics {
        let shape = Shape { listeners: vec![], workers: 1, batchers: 1, sink: "backend", instance: String::new() };
        Metrics::new(&shape).web()
    }

    fn settings(access: WebAccess) -> WebSettings {
        WebSettings { bind: Ipv4Addr::LOCALHOST.into(), ports: 0..=0, access }
    }

    fn guarded(token: &str) -> WebAccess {
        WebAccess { token: SecretSource::Given(Secret::new(token)), ..WebAccess::default() }
    }

    fn bearer(token: &str) -> HeaderMap {
        [(AUTHORIZATION, format!("Bearer {token}").parse().unwrap())].into_iter().collect()
    }

    fn status(passed: Result<(), Answer>) -> u16 {
        passed.map_or_else(|answer| answer.status, |()| StatusCode::OK).as_u16()
    }

    #[test]
    fn what_asks_for_the_token_depends_on_the_class_and_the_switch() {
        let metrics = metrics();
        let none = HeaderMap::new();
        for (access, expected) in [
            (WebAccess::default(), [200, 200, 200, 200]),
            (guarded("a-long-enough-token"), [200, 200, 200, 401]),
            (WebAccess { metrics_open: false, ..guarded("a-long-enough-token") }, [200, 200, 401, 401]),
        ] {
            let door = Door::open(&settings(access)).unwrap();
            let classes = [Class::Health, Class::Public, Class::Metrics, Class::Guarded];
            assert_eq!(classes.map(|class| status(door.pass(class, &none, PEER, 0, &metrics))), expected);
            let with = bearer("a-long-enough-token");
            assert_eq!(classes.map(|class| status(door.pass(class, &with, PEER, 0, &metrics))), [200; 4]);
        }
        assert_eq!(metrics.refused_unauthorized.value(), 3);
    }

    #[test]
    fn health_passes_when_nothing_else_does() {
        let metrics = metrics();
        let door = Door::open(&settings(WebAccess { request_rate: 20, ..WebAccess::default() })).unwrap();
        let none = HeaderMap::new();
        let passed = (0..100).filter(|_| door.pass(Class::Public, &none, PEER, 7, &metrics).is_ok()).count();
        assert_eq!((passed, metrics.refused_rate.value()), (20, 80));
        assert_eq!(status(door.pass(Class::Health, &none, PEER, 7, &metrics)), 200);
        let answer = door.pass(Class::Metrics, &none, PEER, 7, &metrics).unwrap_err();
        assert_eq!((answer.status.as_u16(), answer.retry_after), (429, Some(1)));
        assert_eq!(status(door.pass(Class::Metrics, &none, PEER, 1_000_000_007, &metrics)), 200);
    }

    #[test]
    fn whoever_guesses_is_not_even_told_when_the_guess_is_right() {
        let metrics = metrics();
        let door = Door::open(&settings(guarded("a-long-enough-token"))).unwrap();
        let ask = |token: &str, peer| status(door.pass(Class::Guarded, &bearer(token), peer, 0, &metrics));
        for _ in 0..WRONG_TOKENS_BURST {
            assert_eq!(ask("wrong", PEER), 401);
        }
        assert_eq!(ask("a-long-enough-token", PEER), 429);
        assert_eq!(ask("a-long-enough-token", Ipv4Addr::new(192, 0, 2, 2).into()), 200);
        // A request without a token is no guess, however often it comes.
        let other = IpAddr::V6(Ipv6Addr::LOCALHOST);
        for _ in 0..2 * WRONG_TOKENS_BURST {
            assert_eq!(status(door.pass(Class::Guarded, &HeaderMap::new(), other, 0, &metrics)), 401);
        }
        assert_eq!(ask("a-long-enough-token", other), 200);
        assert_eq!(metrics.refused_guessing.value(), 1);
    }

    #[test]
    fn the_newest_token_of_a_file_is_the_right_one_and_no_other() {
        let metrics = metrics();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "the-first-token-of-all\n").unwrap();
        let access = WebAccess { token: SecretSource::File(path.clone()), ..WebAccess::default() };
        let door = Door::open(&settings(access)).unwrap();
        let ask = |token: &str| status(door.pass(Class::Guarded, &bearer(token), PEER, 0, &metrics));
        assert_eq!((ask("the-first-token-of-all"), ask("the-second-token")), (200, 401));
        std::fs::write(&path, "the-second-token\n").unwrap();
        assert_eq!(door.watched().len(), 1);
        door.watched()[0].refresh();
        assert_eq!((ask("the-first-token-of-all"), ask("the-second-token")), (401, 200));
        std::fs::write(&path, "no token\n").unwrap();
        let crate::secret::Change::Refused(why) = door.watched()[0].refresh() else { panic!("it holds a space") };
        assert!(why.contains("[http] token_file") && !why.contains("no token"), "{why}");
        assert_eq!(ask("the-second-token"), 200, "a bad one keeps the old");
    }

    #[test]
    fn a_token_that_cannot_be_used_is_a_fault_at_start() {
        let error = Door::open(&settings(guarded("two words"))).unwrap_err().to_string();
        assert!(error.contains("[http] token") && !error.contains("two words"), "{error}");
        let access = WebAccess { token: SecretSource::File("/nowhere/token".into()), ..WebAccess::default() };
        let error = Door::open(&settings(access)).unwrap_err().to_string();
        assert!(error.contains("[http] token_file = /nowhere/token"), "{error}");
    }

    #[test]
    fn the_consequence_is_told_unless_only_this_machine_can_reach_it() {
        let told = |bind: IpAddr, access| consequence(&WebSettings { bind, ports: 0..=0, access });
        let (anywhere, token) = (IpAddr::V6(Ipv6Addr::UNSPECIFIED), || guarded("a-long-enough-token"));
        assert!(told(anywhere, WebAccess::default()).unwrap().contains("no token"));
        assert!(told(anywhere, token()).unwrap().contains("clear text"));
        let closed = WebAccess { metrics_open: false, ..token() };
        assert!(!told(anywhere, closed).unwrap().contains("metrics"));
        assert_eq!(told(Ipv6Addr::LOCALHOST.into(), WebAccess::default()), None);
    }
}
