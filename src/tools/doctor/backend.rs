//! The backend's answer to a batch without records, and what its status says about the way to it.

use super::finding::{Finding, Severity};
use crate::clock::Clock;
use crate::sink::SinkSettings;
use crate::sink::probe::{Outcome, Probe, probe};

const CHECK: &str = "backend";
/// An empty batch costs a backend nothing: an answer that takes longer says that it is busy or far away.
const SLOW_MS: u128 = 1_000;

/// Asks each backend in the operator's order: its base URL without credentials, and what came of it or why no
/// request could be made.
#[must_use]
pub fn ask(settings: &SinkSettings) -> Vec<(String, Result<Probe, String>)> {
    let clock = Clock::system();
    let backends = settings.each_backend().into_iter();
    backends.map(|one| (one.backend.display.clone(), probe(&one, &clock).map_err(|e| e.to_string()))).collect()
}

/// A finding a backend; one without any. A backend that does not work beside one that does is a warning.
#[must_use]
pub fn judge_all(probes: &[(String, Result<Probe, String>)]) -> Vec<Finding> {
    let asked = probes.iter().map(|(url, probe)| judge(url, probe.as_ref().map(Some).map_err(String::as_str)));
    let mut findings: Vec<Finding> = asked.collect();
    if findings.is_empty() {
        return vec![judge("", Ok(None))];
    }
    if findings.iter().any(|finding| matches!(finding.severity, Severity::Ok | Severity::Hint)) {
        for finding in findings.iter_mut().filter(|finding| finding.severity == Severity::Fault) {
            finding.severity = Severity::Warning;
            "its batches go to the other backends of [backend] url, while they take them"
                .clone_into(&mut finding.means);
        }
    }
    findings
}

/// The finding. `url` is the base URL without credentials; `probe` is what came of asking, None if flows
/// go to standard output, and a sentence if a request could not even be made.
#[must_use]
pub fn judge(url: &str, probe: Result<Option<&Probe>, &str>) -> Finding {
    let probe = match probe {
        Ok(Some(probe)) => probe,
        Ok(None) => return Finding::ok(CHECK, "flows go to standard output, no backend is needed"),
        Err(why) => {
            let cure = "correct the setting that is named; clarion-collector check shows where it comes from";
            return Finding::new(CHECK, Severity::Fault, why, "no request can be made", cure);
        }
    };
    let took = probe.took.as_millis();
    let (status, location, excerpt) = match &probe.outcome {
        Outcome::Answered { status, location, excerpt, .. } => (*status, location.as_deref(), excerpt),
        Outcome::Failed { code, detail } => return unreachable(url, code, detail, took),
    };
    let seen = |what: &str| {
        let said = if excerpt.is_empty() { String::new() } else { format!(", saying: {excerpt}") };
        format!("{url} answers an empty batch with {status} after {took} ms{what}{said}")
    };
    let fault = |what: &str, means: &str, cure: &str| Finding::new(CHECK, Severity::Fault, seen(what), means, cure);
    let kept = "flows are kept and tried again, up to [backend] in_flight_bytes; then they are dropped and counted";
    match status {
        200..=299 if took > SLOW_MS => Finding::new(
            CHECK,
            Severity::Hint,
            seen(""),
            "slow for a batch without records: the backend is busy, or far away",
            "look at delivery_request_duration_seconds under load; more [backend] requests_in_flight hides latency",
        ),
        200..=299 => Finding::ok(CHECK, seen("")),
        300..=399 => fault(
            &format!(", a redirect to {}", location.unwrap_or("nowhere")),
            "redirects are not followed, so nothing is delivered",
            "set [backend] url (and endpoint) to where it leads",
        ),
        400 | 413 | 422 => Finding::new(
            CHECK,
            Severity::Warning,
            seen(": reachable, but it refuses the batch"),
            "a breach of the contract: an empty list of records should be accepted; real batches may be refused too, \
             and refused records are dropped",
            "ask the backend's log which part of the body it dislikes, and whether its version takes flows at this path",
        ),
        401 | 403 => fault(
            ": it wants other credentials",
            kept,
            "set the credentials of [backend], and look whether the token or password is still valid there",
        ),
        407 => fault(": a proxy wants credentials", kept, "give the proxy its credentials, or let it pass this host"),
        404 | 405 => fault(
            ": there is nothing that takes flows at this path",
            kept,
            "correct [backend] url and endpoint; the path is the one behind the host in the URL, then the endpoint",
        ),
        408 | 425 | 429 => Finding::new(
            CHECK,
            Severity::Warning,
            seen(": it is too busy for an empty batch"),
            kept,
            "lower [backend] requests_in_flight, raise [batch] size, or give the backend more room",
        ),
        500..=599 => fault(": it fails", kept, "look at the backend's own log and health"),
        _ => fault(
            ": not an answer of the contract",
            kept,
            "something else answers at this address? look at it: curl -i URL",
        ),
    }
}

fn unreachable(url: &str, code: &str, detail: &str, took: u128) -> Finding {
    let cure = if detail.contains("the name ") {
        "getent hosts HOST    # here, and in the container: mend the name or DNS, or set [backend] url to an address"
    } else if detail.contains("ertificate") || code == "tls" {
        "openssl s_client -connect HOST:PORT    # is it TLS at all, whose certificate, until when? then [backend] tls_* \
         keys, the scheme of [backend] url, and the clock"
    } else if detail.contains("proxy") || code == "proxy" {
        "look at HTTPS_PROXY, http_proxy and NO_PROXY of the environment and at [backend] proxy"
    } else if code == "connect" {
        "start the backend, or open the way: curl -v URL from here; look at firewalls, proxies and the port in [backend] url"
    } else if code == "timeout" {
        "look at the backend's load and at proxies on the way; [backend] request_timeout bounds the wait"
    } else {
        "something that does not speak HTTP as expected answers there: look at the scheme and port of [backend] url"
    };
    Finding::new(
        CHECK,
        Severity::Fault,
        format!("{url} is not reached after {took} ms ({code}): {detail}"),
        "nothing is delivered: flows are kept in memory up to [backend] in_flight_bytes, then dropped and counted",
        cure,
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_dead_backend_beside_one_that_answers_is_a_warning() {
        let outcome = |ok: bool| match ok {
            true => Outcome::Answered { status: 201, location: None, excerpt: String::new(), ahead_s: None },
            false => Outcome::Failed { code: "connect", detail: "refused".to_owned() },
        };
        let probe = |ok| ("http://b".to_owned(), Ok(Probe { outcome: outcome(ok), took: Duration::ZERO }));
        let severities = |probes: &[_]| judge_all(probes).iter().map(|f| f.severity).collect::<Vec<_>>();
        assert_eq!(severities(&[probe(false), probe(true)]), [Severity::Warning, Severity::Ok]);
        assert_eq!(severities(&[probe(false), probe(false)]), [Severity::Fault; 2]);
        assert_eq!(severities(&[]), [Severity::Ok]);
    }

    fn answered(status: u16, took_ms: u64) -> Finding {
        let location = (300..400).contains(&status).then(|| "https://elsewhere/".to_owned());
        let excerpt = if status < 300 { String::new() } else { "because".to_owned() };
        let outcome = Outcome::Answered { status, location, excerpt, ahead_s: Some(0) };
        judge("http://b", Ok(Some(&Probe { outcome, took: Duration::from_millis(took_ms) })))
    }

    #[test]
    fn every_status_has_a_severity_and_a_word() {
        for (status, severity, word) in [
            (200, Severity::Ok, "200"),
            (204, Severity::Ok, "204"),
            (302, Severity::Fault, "redirect to https://elsewhere/"),
            (400, Severity::Warning, "refuses"),
            (401, Severity::Fault, "credentials"),
            (403, Severity::Fault, "credentials"),
            (404, Severity::Fault, "path"),
            (407, Severity::Fault, "proxy"),
            (418, Severity::Fault, "not an answer"),
            (422, Severity::Warning, "refuses"),
            (429, Severity::Warning, "busy"),
            (500, Severity::Fault, "fails"),
            (503, Severity::Fault, "fails"),
        ] {
            let finding = answered(status, 5);
            assert_eq!(finding.severity, severity, "{finding:?}");
            assert!(finding.seen.contains(word), "{finding:?}");
            assert_eq!(finding.cure.is_empty(), severity == Severity::Ok, "{finding:?}");
        }
        assert_eq!(answered(201, 1_500).severity, Severity::Hint);
        assert!(answered(500, 1).seen.ends_with("saying: because"), "{:?}", answered(500, 1));
    }

    #[test]
    fn silence_is_a_fault_with_its_step() {
        let failed = |code, detail: &str| {
            let outcome = Outcome::Failed { code, detail: detail.to_owned() };
            judge("http://b", Ok(Some(&Probe { outcome, took: Duration::from_millis(7) })))
        };
        let name = failed("connect", "the name b has no address: not known");
        assert!(name.severity == Severity::Fault && name.cure.contains("getent hosts"), "{name:?}");
        let refused = failed("connect", "127.0.0.1:1: refused");
        assert!(refused.seen.contains("127.0.0.1:1: refused") && refused.cure.contains("curl"), "{refused:?}");
        assert!(failed("connect", "invalid peer certificate: Expired").cure.contains("openssl"));
        assert!(failed("connect", "the proxy refused").cure.contains("NO_PROXY"));
        assert!(failed("protocol", "x").cure.contains("does not speak HTTP"));
        assert!(failed("timeout", "x").cure.contains("request_timeout"));
        assert_eq!(judge("", Ok(None)).severity, Severity::Ok);
        assert_eq!(judge("", Err("a header")).severity, Severity::Fault);
    }
}
