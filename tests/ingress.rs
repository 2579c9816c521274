//! Who may ask the HTTP side and who may not: TLS, the token, rates, places, and clients that mean no good.

#[path = "web/certificates.rs"]
mod certificates;
#[path = "process/child.rs"]
mod child;
mod common;
#[path = "web/fixture.rs"]
mod fixture;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use certificates::{Authority, Files, dial};
use clarion_collector::app::Running;
use clarion_collector::config::Settings;
use clarion_collector::limits::{
    HTTP_CONNECTIONS_MAX, HTTP_HANDSHAKE_MS, HTTP_HEAD_OCTETS_MAX, HTTP_HEADERS_MAX, WRONG_TOKENS_BURST,
};
use clarion_collector::secret::{Change, Secret, SecretSource};
use clarion_collector::tls;
use clarion_collector::web::WebAccess;
use fixture::{Fixture, Reply, ask, ask_on, connect, read, start, start_with};

const TOKEN: &str = "a-token-of-the-test-7f3a";
const BEARER: &str = "Authorization: Bearer a-token-of-the-test-7f3a\r\n";

fn guarded() -> WebAccess {
    WebAccess { token: SecretSource::Given(Secret::new(TOKEN)), ..WebAccess::default() }
}

fn encrypted(files: &Files) -> WebAccess {
    WebAccess { tls: Some(files.server()), ..WebAccess::default() }
}

fn read_tls(fixture: &Fixture, files: &Files, path: &str) -> Reply {
    ask_on(dial(fixture.server.address(), &files.client()).expect("a handshake"), "GET", path, "")
}

#[test]
fn the_api_asks_for_the_token_and_health_never_does() {
    let fixture = start_with(guarded());
    let at = fixture.server.address();
    let guarded = ["/api/v1/status", "/api/v1/ledger", "/api/v1/exporters", "/api/v1/exporters/192.0.2.7"];
    for path in guarded {
        for headers in ["", "Authorization: Basic eDp5\r\n", "Authorization: Bearer wrong\r\n"] {
            for method in ["GET", "HEAD", "POST"] {
                let reply = ask(at, method, path, &format!("{headers}Content-Length: 0\r\n"));
                assert_eq!(reply.status, 401, "{method} {path} {headers}");
                assert!(reply.header("www-authenticate").unwrap().starts_with("Bearer"), "{}", reply.head);
                assert!(!reply.body.contains("192.0.2"), "{}", reply.body);
            }
            // Every wrong one is counted: a minute later the peer may go on.
            fixture.hand.advance(60_000_000_000);
        }
        assert_eq!(ask(at, "GET", path, BEARER).status, 200, "{path}");
        assert_eq!(ask(at, "POST", path, &format!("{BEARER}Content-Length: 0\r\n")).status, 405, "{path}");
    }
    for path in
        ["/health", "/livez", "/healthz", "/readyz", "/", "/metrics", "/metrics/prometheus", "/metrics/exporters"]
    {
        assert_eq!(read(at, path).status, 200, "{path}");
    }
    assert_eq!(read(at, "/api/v2").status, 404);
    assert_eq!(ask(at, "POST", "/api/v2", "Content-Length: 0\r\n").status, 404);
    assert!(fixture.metrics.web().refused_unauthorized.value() >= 36);
}

#[test]
fn metrics_ask_for_the_token_if_they_shall() {
    let fixture = start_with(WebAccess { metrics_open: false, ..guarded() });
    let at = fixture.server.address();
    for path in ["/metrics", "/metrics/prometheus", "/metrics/exporters"] {
        assert_eq!(read(at, path).status, 401, "{path}");
        assert_eq!(ask(at, "GET", path, BEARER).status, 200, "{path}");
    }
    assert_eq!(read(at, "/livez").status, 200);
}

#[test]
fn past_the_rate_health_still_answers() {
    let fixture = start_with(WebAccess { request_rate: 30, ..WebAccess::default() });
    let at = fixture.server.address();
    let answers: Vec<u16> = (0..60).map(|_| read(at, "/metrics").status).collect();
    assert_eq!(answers.iter().filter(|status| **status == 200).count(), 30, "{answers:?}");
    let reply = read(at, "/api/v1/status");
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("1")));
    for path in ["/livez", "/readyz", "/health", "/healthz"] {
        assert_eq!(read(at, path).status, 200, "{path}");
    }
    assert_eq!(fixture.metrics.web().refused_rate.value(), 31);
    fixture.hand.advance(1_000_000_000);
    assert_eq!(read(at, "/metrics").status, 200);
}

#[test]
fn whoever_guesses_tokens_is_stopped_and_health_still_answers() {
    let fixture = start_with(guarded());
    let at = fixture.server.address();
    for guess in 0..WRONG_TOKENS_BURST {
        let reply = ask(at, "GET", "/api/v1/status", &format!("Authorization: Bearer {guess}\r\n"));
        assert_eq!(reply.status, 401, "guess {guess}");
    }
    let reply = ask(at, "GET", "/api/v1/status", BEARER);
    assert_eq!((reply.status, fixture.metrics.web().refused_guessing.value()), (429, 1));
    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert_eq!(read(at, "/livez").status, 200);
    fixture.hand.advance(wait * 1_000_000_000);
    assert_eq!(ask(at, "GET", "/api/v1/status", BEARER).status, 200);
}

#[test]
fn tls_is_spoken_and_its_certificate_and_the_token_follow_their_files() {
    let files = Files::new();
    files.write("token", TOKEN);
    let access = WebAccess { token: SecretSource::File(files.path("token")), ..encrypted(&files) };
    let fixture = start_with(access);
    let at = fixture.server.address();
    let mut kept = dial(at, &files.client()).unwrap();
    assert_eq!(kept.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    let status = |headers: &str| ask_on(dial(at, &files.client()).unwrap(), "GET", "/api/v1/status", headers).status;
    assert_eq!((status(""), status(BEARER)), (401, 200));
    let first_end = (fixture.server.certificate_expires())();

    // Another authority signs the next certificate; who trusts the first alone is not served any more.
    let old_client = files.client();
    let next = Authority::new("second");
    files.put(&next.issue(2091));
    files.write("ca.pem", &next.pem());
    files.write("token", "another-token-entirely\n");
    let changes: Vec<Change> = fixture.server.watched().iter().map(|value| value.refresh()).collect();
    assert_eq!(changes, [Change::Used, Change::Used]);
    assert!((fixture.server.certificate_expires())() > first_end);
    assert!(dial(at, &old_client).is_err());
    assert_eq!((status(BEARER), status("Authorization: Bearer another-token-entirely\r\n")), (401, 200));
    // A connection from before goes on.
    write!(kept, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(fixture::read_reply(&mut kept, true).status, 200);

    files.write("cert.pem", "no certificate at all");
    let refused = fixture.server.watched().iter().filter(|v| matches!(v.refresh(), Change::Refused(_))).count();
    assert_eq!((refused, status("Authorization: Bearer another-token-entirely\r\n")), (1, 200));
}

#[test]
fn whoever_does_not_speak_tls_is_told_so_and_nobody_else_suffers() {
    let files = Files::new();
    let fixture = start_with(encrypted(&files));
    let at = fixture.server.address();
    let reply = read(at, "/metrics");
    assert_eq!((reply.status, reply.header("connection")), (400, Some("close")));
    assert!(reply.body.contains("https://"), "{}", reply.body);

    for bad in [&b"\x16\x03\x01\xff\xff"[..], b"\x00", b"\x16\x03\x01\x00\x05hello\x17\x03\x03", &[0xff; 4_096]] {
        let mut stream = connect(at);
        let _ = stream.write_all(bad);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 64 && !answer.starts_with(b"HTTP"), "an alert at most: {answer:?}");
    }
    // What only looks whether somebody listens, as load balancers do, is no failure.
    drop(connect(at));
    // A client that does not trust the certificate goes away by itself.
    let other = Files::new();
    assert!(dial(at, &other.client()).is_err());
    let metrics = fixture.metrics.web();
    common::wait_for("six failed handshakes", || metrics.refused_tls.value() == 6);
    assert_eq!(read_tls(&fixture, &files, "/livez").status, 200);
    assert_eq!(metrics.refused_tls.value(), 6);
}

#[test]
fn a_health_check_that_believes_any_certificate_gets_its_answer() {
    let files = Files::new();
    let fixture = start_with(encrypted(&files));
    let config = tls::client_that_believes_any_certificate().unwrap();
    let stream = dial(fixture.server.address(), &config).unwrap();
    assert_eq!(ask_on(stream, "GET", "/livez", "").status, 200);
}

/// Six hundred that connect, write `first` and wait; then a probe.
fn probe_in_a_crowd(at: SocketAddr, first: &[u8], probe: impl Fn() -> Reply) {
    let crowd: Vec<TcpStream> = (0..600)
        .map(|_| {
            let mut stream = connect(at);
            let _ = stream.write_all(first);
            stream
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(probe().status, 200);
    }
    drop(crowd);
}

#[test]
fn a_crowd_that_idles_does_not_keep_a_probe_out() {
    let fixture = start();
    let at = fixture.server.address();
    probe_in_a_crowd(at, b"", || read(at, "/livez"));
    probe_in_a_crowd(at, b"GET /livez HTTP/1.1\r\nHost: ", || read(at, "/readyz"));
    let metrics = fixture.metrics.web();
    assert!(metrics.refused_idle.value() >= 2 * (600 - HTTP_CONNECTIONS_MAX as u64), "{metrics:?}");
    assert_eq!(metrics.refused_connections.value(), 0);
}

#[test]
fn handshakes_that_stand_still_do_not_keep_a_probe_out_and_have_an_end() {
    let files = Files::new();
    let fixture = start_with(encrypted(&files));
    let at = fixture.server.address();
    // The head of a record of 512 octets that never come.
    let half = b"\x16\x03\x01\x02\x00\x01";
    probe_in_a_crowd(at, half, || read_tls(&fixture, &files, "/livez"));
    probe_in_a_crowd(at, b"", || read_tls(&fixture, &files, "/livez"));

    let began = Instant::now();
    let mut slow = connect(at);
    slow.write_all(half).unwrap();
    let mut answer = Vec::new();
    let end = slow.read_to_end(&mut answer);
    assert!(!end.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock), "nobody ended it");
    let took = began.elapsed();
    let patience = Duration::from_millis(HTTP_HANDSHAKE_MS);
    assert!(took >= patience.mul_f32(0.8), "ended after {took:?}, before its time");
    assert!(answer.is_empty(), "{answer:?}");
}

#[test]
fn heads_with_too_many_lines_and_bodies_are_not_read_to_their_end() {
    let fixture = start();
    let at = fixture.server.address();
    let many = |lines: usize| (0..lines).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    assert_eq!(ask(at, "GET", "/livez", &many(HTTP_HEADERS_MAX - 2)).status, 200);
    assert_eq!(ask(at, "GET", "/livez", &many(HTTP_HEADERS_MAX)).status, 431);

    for (method, status) in [("GET", 200), ("POST", 405)] {
        for framing in ["Content-Length: 9000000000", "Transfer-Encoding: chunked"] {
            let mut stream = connect(at);
            write!(stream, "{method} /livez HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n").unwrap();
            let reply = fixture::read_reply(&mut stream, true);
            assert_eq!((reply.status, reply.header("connection")), (status, Some("close")), "{method} {framing}");
            // Closed, though the body never came.
            assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0, "{method} {framing}");
        }
    }
}

#[test]
fn the_page_runs_nothing_inline_and_tells_nothing_by_itself() {
    let fixture = start_with(guarded());
    let at = fixture.server.address();
    let page = read(at, "/");
    let policy = page.header("content-security-policy").unwrap();
    assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(page.header(name), Some(value));
    }
    for inline in ["<style", "style=", "javascript:", "onclick", "onload", "onsubmit"] {
        assert!(!page.body.contains(inline), "{inline}");
    }
    assert_eq!(page.body.matches("<script").count(), 1);
    assert!(page.body.contains("<script src=\"page.js\" defer></script>"));
    let (script, style) = (read(at, "/page.js"), read(at, "/page.css"));
    assert_eq!(script.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert_eq!(style.header("content-type"), Some("text/css; charset=utf-8"));
    for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "localStorage", "cookie"] {
        assert!(!script.body.contains(sink), "{sink}");
    }
    assert!(script.body.contains("sessionStorage") && script.body.contains("\"Bearer \""));
    for part in [&page, &script, &style] {
        assert!(!part.body.contains("test-0") && !part.body.contains("192.0.2"), "it names this site");
    }
}

/// What a browser makes of the page; None without one.
fn browse(url: &str) -> Option<String> {
    let Some(browser) =
        ["/usr/bin/chromium", "/usr/bin/chromium-browser"].map(PathBuf::from).into_iter().find(|p| p.is_file())
    else {
        eprintln!("SKIPPED: no chromium (Debian package chromium)");
        return None;
    };
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--virtual-time-budget=3000"])
        .args(["--ignore-certificate-errors", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(url)
        .output()
        .unwrap();
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_browser_shows_figures_where_it_may_and_asks_for_the_token_where_it_must() {
    let open = start();
    let Some(page) = browse(&format!("http://{}/", open.server.address())) else { return };
    assert!(page.contains(&format!("{}, test-0", env!("CARGO_PKG_VERSION"))), "{page}");
    assert!(page.contains("<form id=\"ask\" hidden"), "{page}");

    let files = Files::new();
    let guarded = start_with(WebAccess { tls: Some(files.server()), ..guarded() });
    let page = browse(&format!("https://{}/", guarded.server.address())).unwrap();
    assert!(page.contains("this collector asks for a token") && !page.contains("test-0"), "{page}");
    assert!(page.contains("<form id=\"ask\" autocomplete"), "the form shows: {page}");
}

/// Octets without a plan, the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn octets(&mut self, most: u64) -> Vec<u8> {
        (0..self.next() % most).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// A request with some octets changed, left out or doubled.
    fn almost_a_request(&mut self) -> Vec<u8> {
        let mut octets = b"GET /api/v1/exporters?limit=3&after=%20 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer y\r\n\
                           Content-Length: 3\r\nAccept: a/b;q=0.1, */*\r\nConnection: keep-alive\r\n\r\nabc"
            .to_vec();
        for _ in 0..=self.next() % 6 {
            let at = usize::try_from(self.next()).unwrap_or(0) % octets.len();
            match self.next() % 3 {
                0 => octets[at] = self.next().to_le_bytes()[0],
                1 => octets.truncate(at + 1),
                _ => octets.extend_from_within(at..),
            }
        }
        octets
    }
}

#[test]
fn random_octets_hurt_nobody() {
    let files = Files::new();
    let (plain, tls) = (start_with(guarded()), start_with(WebAccess { tls: Some(files.server()), ..guarded() }));
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for round in 0..300 {
        for fixture in [&plain, &tls] {
            let octets = if round % 2 == 0 { noise.octets(600) } else { noise.almost_a_request() };
            let mut stream = connect(fixture.server.address());
            let _ = stream.write_all(&octets);
            let _ = stream.shutdown(Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            // What is answered at all is a refusal or an alert, or health for a request that survived.
            assert!(
                !answer.windows(9).any(|w| w == b"192.0.2.7"),
                "a guarded answer: {:?}",
                String::from_utf8_lossy(&octets)
            );
        }
        if round % 50 == 0 {
            // The noise goes on inside of TLS as well.
            let mut stream = dial(tls.server.address(), &files.client()).unwrap();
            let _ = stream.write_all(&noise.octets(HTTP_HEAD_OCTETS_MAX as u64 * 2));
            let mut answer = Vec::new();
            let _ = stream.sock.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut answer);
            assert_eq!(read(plain.server.address(), "/livez").status, 200);
            assert_eq!(read_tls(&tls, &files, "/livez").status, 200);
        }
        // So that rates are not what refuses.
        for fixture in [&plain, &tls] {
            fixture.hand.advance(60_000_000_000);
        }
    }
}

fn collector(change: impl FnOnce(&mut Settings)) -> Running {
    let mut settings = common::settings(common::nobody());
    change(&mut settings);
    common::start(settings)
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn rotation_under_requests_fails_none_of_them() {
    let files = Files::new();
    let next = Authority::new("second");
    // Who asks trusts both authorities, as it should while one takes over from the other.
    files.write("both.pem", &format!("{}{}", files.authority.pem(), next.pem()));
    files.write("token", TOKEN);
    let running = collector(|settings| {
        settings.web.access =
            WebAccess { tls: Some(files.server()), token: SecretSource::File(files.path("token")), ..guarded() };
    });
    let (at, client) = (running.http_address(), certificates::client(&files.path("both.pem"), None, &[b"http/1.1"]));
    let asked = |token: &str| {
        let headers = format!("Authorization: Bearer {token}\r\n");
        ask_on(dial(at, &client).expect("a handshake"), "GET", "/api/v1/ledger", &headers).status
    };
    let expiry = || {
        let reply = ask_on(dial(at, &client).expect("a handshake"), "GET", "/metrics/prometheus", "");
        let figure = |name: &str| {
            let line = reply.body.lines().find_map(|l| l.strip_prefix(name)).expect("the metric is there");
            line.trim().parse::<f64>().expect("a number")
        };
        (
            figure("clarion_collector_http_certificate_expiry_timestamp_seconds"),
            figure("clarion_collector_secret_files_stale"),
        )
    };
    let ((first_end, _), stop) = (expiry(), Arc::new(AtomicBool::new(false)));
    assert!(first_end > 0.0);
    let trusting = &client;
    std::thread::scope(|scope| {
        // A failed assertion must end the onlookers too: the scope waits for them.
        let stopping = StopAtEnd(&stop);
        let onlookers: Vec<_> = (0..2)
            .map(|_| {
                let stop = Arc::clone(&stop);
                scope.spawn(move || {
                    let mut asked = 0;
                    while !stop.load(Ordering::Acquire) {
                        let reply = ask_on(dial(at, trusting).expect("a handshake"), "GET", "/readyz", "");
                        assert_eq!(reply.status, 200);
                        asked += 1;
                        std::thread::park_timeout(Duration::from_millis(20));
                    }
                    asked
                })
            })
            .collect();
        assert_eq!(asked(TOKEN), 200);
        files.put(&next.issue(2091));
        files.write("token", "the-second-token-of-the-test");
        common::wait_for("the second token", || asked("the-second-token-of-the-test") == 200);
        assert_eq!(asked(TOKEN), 401, "the newest alone is right");
        common::wait_for("the second certificate", || expiry().0 > first_end);
        let only_next = certificates::client(&files.write("next.pem", &next.pem()), None, &[b"http/1.1"]);
        assert!(dial(at, &only_next).is_ok());

        files.write("key.pem", "not a key");
        common::wait_for("a stale file that shows", || expiry().1 > 0.5);
        assert!(dial(at, &only_next).is_ok(), "the old key stays");
        drop(stopping);
        let asked: u32 = onlookers.into_iter().map(|onlooker| onlooker.join().expect("no request failed")).sum();
        assert!(asked > 10, "{asked}");
    });
    let _ = running.drain();
}

#[test]
fn prometheus_scrapes_with_tls_and_the_token() {
    let Some(prometheus) =
        ["/usr/bin/prometheus", "/usr/local/bin/prometheus"].map(PathBuf::from).into_iter().find(|p| p.is_file())
    else {
        eprintln!("SKIPPED: no prometheus (Debian package prometheus)");
        return;
    };
    let files = Files::new();
    files.write("token", TOKEN);
    files.write("wrong", "another-token-entirely");
    let running = collector(|settings| {
        settings.web.access = WebAccess {
            tls: Some(files.server()),
            token: SecretSource::File(files.path("token")),
            metrics_open: false,
            ..WebAccess::default()
        };
    });
    let job = |name: &str, token: &str| {
        format!(
            "  - job_name: {name}\n    scheme: https\n    metrics_path: /metrics/prometheus\n    \
             tls_config: {{ca_file: '{}'}}\n    authorization: {{credentials_file: '{}'}}\n    \
             static_configs: [{{targets: ['{}']}}]\n",
            files.path("ca.pem").display(),
            files.path(token).display(),
            running.http_address()
        )
    };
    let config =
        format!("global: {{scrape_interval: 1s}}\nscrape_configs:\n{}{}", job("right", "token"), job("wrong", "wrong"));
    let config = files.write("prometheus.yml", &config);
    let mut command = Command::new(prometheus);
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", files.path("data").display()));
    command.arg("--web.listen-address=127.0.0.1:0");
    let mut prometheus = child::Process::start(command, false);
    let listens = prometheus.line("msg=\"Listening on\"");
    let address = listens.split("address=").nth(1).and_then(|a| a.split_whitespace().next()).expect("an address");
    let at: SocketAddr = address.parse().expect("an address");
    prometheus.line("Server is ready to receive web requests");
    for (job, health, error) in [("right", "up", ""), ("wrong", "down", "401 Unauthorized")] {
        let target = child::wait_for(&format!("a scrape of {job}"), || {
            let targets = child::json(at, "/api/v1/targets?state=active");
            let targets = targets["data"]["activeTargets"].as_array().expect("a list");
            let target = targets.iter().find(|target| target["labels"]["job"] == job)?;
            (target["health"] != "unknown").then(|| target.clone())
        });
        assert_eq!(target["health"], health, "{target}");
        assert!(target["lastError"].as_str().is_some_and(|text| text.contains(error)), "{target}");
    }
    prometheus.kill();
    let _ = running.drain();
}

#[test]
fn no_answer_and_no_log_line_holds_a_secret() {
    let nobody = common::nobody();
    let (url, token) = (format!("--backend-url=http://robot:hunter2@{nobody}/base"), format!("--http-token={TOKEN}"));
    let mut args: Vec<&str> = child::COLLECTOR.to_vec();
    args.extend([url.as_str(), token.as_str(), "--log-level=trace"]);
    let mut process = child::Process::start(child::binary(&args), true);
    let ready: serde_json::Value = serde_json::from_str(&process.line("\"message\":\"ready\"")).unwrap();
    let at: SocketAddr = ready["fields"]["http"].as_str().unwrap().parse().unwrap();
    let health = read(at, "/health");
    assert_eq!(health.json()["backend_url"], format!("http://{nobody}/base"));
    let _ = ask(at, "GET", "/api/v1/status", "Authorization: Bearer hunter3-is-a-guess\r\n");
    let mut said = vec![health.body];
    for path in ["/", "/page.js", "/readyz", "/metrics", "/metrics/prometheus", "/metrics/exporters"] {
        said.push(read(at, path).body);
    }
    for path in ["/api/v1/status", "/api/v1/ledger", "/api/v1/exporters"] {
        let reply = ask(at, "GET", path, BEARER);
        assert_eq!(reply.status, 200, "{path}");
        said.extend([reply.head, reply.body]);
    }
    process.signal(&["TERM"]);
    assert!(process.wait(Duration::from_secs(60)).success(), "{}", process.log());
    said.push(process.log());
    for secret in [TOKEN, "hunter2", "hunter3", "robot"] {
        assert!(said.iter().all(|text| !text.contains(secret)), "{secret} was told");
    }
    assert!(process.log().contains("wrong token"), "a wrong token is worth a line: {}", process.log());
}
