//! Secrets reach the backend and nothing else: no log, however loud, no error, no report, no HTTP answer.

use std::time::Duration;

use crate::child::{COLLECTOR, Collector, Load, binary, get, wait_for};
use crate::pki::write;
use crate::server::{Behaviour, Server};

const TOKEN: &str = "hunter2-token";
const HEADER: &str = "hunter2-header";
const PASSWORD: &str = "hunter2-password";
/// All secrets of a test begin like this, in clear and in Base64 at each offset of its octets.
const MARKS: &[&str] = &["hunter2", "aHVudGVyM", "h1bnRlcj", "odW50ZXIy"];

fn assert_secret(what: &str, text: &str) {
    for mark in MARKS {
        assert!(!text.contains(mark), "{what} shows a secret: {text}");
    }
}

/// Everything that a collector with `args` says, after it has delivered (or tried to).
fn all_outputs(args: &[String], trace: &str) -> String {
    let mut all: Vec<&str> = COLLECTOR.to_vec();
    all.extend(args.iter().map(String::as_str));
    let check: Vec<&str> = std::iter::once("check").chain(all.iter().copied()).collect();
    let output = binary(&check).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    all.push("--log-level=trace");
    let mut collector = Collector::from_command(binary(&all), false);
    let load = Load::start(collector.port, 500, 1);
    collector.process.line(trace);
    for path in [
        "/health",
        "/livez",
        "/metrics",
        "/metrics/prometheus",
        "/metrics/exporters",
        "/api/v1/status",
        "/api/v1/ledger",
        "/",
    ] {
        text.push_str(&get(collector.http, path, "").1);
    }
    load.stop();
    collector.process.signal(&["TERM"]);
    collector.process.wait(Duration::from_secs(60));
    text.push_str(&collector.process.log());
    text
}

#[test]
fn secrets_show_nowhere_but_at_the_backend() {
    let server = Server::start(None, Behaviour::default());
    let folder = tempfile::tempdir().unwrap();
    let (token, headers) = (
        write(folder.path(), "token", &format!("{TOKEN}\n")),
        write(folder.path(), "headers", &format!("X-Api-Key: {HEADER}\n")),
    );
    let url = format!("--backend-url=http://{}", server.address);
    let text = all_outputs(
        &[
            url,
            format!("--backend-token-file={}", token.display()),
            format!("--backend-headers-file={}", headers.display()),
        ],
        "first flows of this exporter delivered",
    );
    assert_secret("a run with a token and headers", &text);
    let head = server.seen.lock().unwrap().heads[0].clone();
    assert!(head.contains(&format!("authorization: Bearer {TOKEN}")) && head.contains(HEADER), "{head}");

    let url = format!("--backend-url=http://someone:{PASSWORD}@{}", server.address);
    let text = all_outputs(&[url], "first flows of this exporter delivered");
    assert_secret("a run with a password in the URL", &text);
    let basic = "authorization: Basic c29tZW9uZTpodW50ZXIyLXBhc3N3b3Jk";
    assert!(server.seen.lock().unwrap().heads.last().unwrap().contains(basic));
}

#[test]
fn secrets_do_not_show_while_the_backend_refuses_them() {
    let server = Server::start(None, Behaviour { authorization: vec!["no".to_owned()], ..Behaviour::default() });
    let proxy = format!("--backend-proxy=http://someone:{PASSWORD}@{}", server.address);
    let args = [format!("--backend-url=http://{}", server.address), format!("--backend-token={TOKEN}"), proxy];
    let mut all: Vec<&str> = COLLECTOR.to_vec();
    all.extend(args.iter().map(String::as_str));
    all.extend(["--log-level=trace", "--shutdown-timeout=100ms"]);
    let mut collector = Collector::from_command(binary(&all), false);
    let load = Load::start(collector.port, 500, 1);
    let line = collector.process.line("the backend takes no flows");
    assert!(line.contains("HTTP 401"), "{line}");
    load.stop();
    collector.process.signal(&["TERM"]);
    collector.process.wait(Duration::from_secs(60));
    assert_secret("a run with refused secrets", &collector.process.log());
}

#[test]
fn a_redirect_is_named_and_takes_no_secret_with_it() {
    let elsewhere = Server::start(None, Behaviour::default());
    let redirect = Some(format!("http://{}/stolen", elsewhere.address));
    let server = Server::start(None, Behaviour { redirect, ..Behaviour::default() });
    let args = [format!("--backend-url=http://{}", server.address), format!("--backend-token={TOKEN}")];
    let mut all: Vec<&str> = COLLECTOR.to_vec();
    all.extend(args.iter().map(String::as_str));
    all.push("--shutdown-timeout=100ms");
    let mut collector = Collector::from_command(binary(&all), false);
    let load = Load::start(collector.port, 500, 1);
    let line = collector.process.line("the backend takes no flows");
    assert!(line.contains("redirect to") && line.contains("/stolen"), "{line}");
    wait_for("several tries", || (server.requests("HTTP/1.1", 307) >= 3).then_some(()));
    load.stop();
    let connections = elsewhere.connections.load(std::sync::atomic::Ordering::Acquire);
    assert_eq!((connections, elsewhere.records()), (0, (0, 0)), "nobody went where the redirect points");
    collector.process.signal(&["TERM"]);
    collector.process.wait(Duration::from_secs(60));
    assert_secret("a run with a redirect", &collector.process.log());
}

#[test]
fn the_proxy_of_the_environment_is_told_without_its_password() {
    let check = |variables: &[(&str, &str)], url: &str| {
        let mut command = binary(&["check", "--backend-url", url]);
        command.envs(variables.iter().copied());
        let output = command.output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_secret("check", &text);
        text
    };
    let proxy = ("HTTPS_PROXY", "http://someone:hunter2-password@proxy.example:3128");
    let text = check(&[proxy], "https://backend.example");
    assert!(text.contains("through the proxy http://proxy.example:3128 (HTTPS_PROXY)"), "{text}");
    let text = check(&[proxy, ("NO_PROXY", "10.0.0.0/8,.example")], "https://backend.example");
    assert!(text.contains("because of .example in NO_PROXY") && !text.contains("through the proxy"), "{text}");
    let text = check(&[("HTTPS_PROXY", "socks5://someone:hunter2-password@p")], "https://backend.example");
    assert!(text.contains("TLS or SOCKS"), "{text}");
}
