//! `doctor` on hosts made wrong on purpose: each fault is named, and the exit code says how bad it is.
//!
//! What needs a second user, a mount or a network of its own is made in namespaces of this test; where
//! that is not permitted, or a tool is missing, the test says so and ends. The host's own state shows in
//! other findings: only what a test made is looked at, and that the exit code is that of the severest.

#[path = "process/child.rs"]
mod child;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use child::{Backend, COLLECTOR, Collector, anywhere, binary, wait_for};
use clarion_collector::tools::doctor::CHECKS;
use serde_json::Value;

/// A user who owns nothing here.
const NOBODY: u32 = 12_345;
const DOCTOR: &[&str] = &["doctor", "--json"];
/// Settings that keep the checks away from ports of this host; variables, so that flags beat them.
const QUIET: &[(&str, &str)] = &[
    ("CLARION_COLLECTOR_BIND_HOST", "127.0.0.1"),
    ("CLARION_COLLECTOR_NETFLOW_PORT", "0"),
    ("CLARION_COLLECTOR_IPFIX_PORT", "0"),
    ("CLARION_COLLECTOR_HTTP_PORT", "0"),
];

/// What a run said.
struct Said {
    json: Value,
    output: Output,
}

impl Said {
    /// Reads a run with `--json`; the exit code must be that of the severest finding.
    fn by(mut command: Command) -> Self {
        let output = command.output().expect("the program can be started");
        let text = String::from_utf8_lossy(&output.stdout);
        let json: Value = serde_json::from_str(&text)
            .unwrap_or_else(|e| panic!("{e}: {text}\n{}", String::from_utf8_lossy(&output.stderr)));
        let has = |severity| json["findings"].as_array().expect("findings").iter().any(|f| f["severity"] == severity);
        let code = if has("fault") { 1 } else { 3 * i32::from(has("warning")) };
        assert_eq!(output.status.code(), Some(code), "{json:#}");
        Self { json, output }
    }

    /// With `more` settings.
    fn with(more: &[&str]) -> Self {
        let mut command = binary(DOCTOR);
        command.args(more).envs(QUIET.iter().copied());
        Self::by(command)
    }

    /// The finding of a check.
    fn of(&self, check: &str) -> &Value {
        let findings = self.json["findings"].as_array().expect("findings");
        findings.iter().find(|f| f["check"] == check).unwrap_or_else(|| panic!("no {check}: {:#}", self.json))
    }

    /// Fails unless the check found `severity` and saw `part`.
    fn expect(&self, check: &str, severity: &str, part: &str) {
        let finding = self.of(check);
        let seen = finding["seen"].as_str().expect("text");
        assert!(finding["severity"] == severity && seen.contains(part), "{severity} with {part:?}: {finding:#}");
        let cure = finding["do"].as_str().expect("text");
        assert_eq!(cure.is_empty(), severity == "ok", "what is not ok says what to do: {finding:#}");
    }
}

fn backend() -> (tempfile::TempDir, Backend, String) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let backend = Backend::start(anywhere(), &dir.path().join("out"), &[]);
    let url = format!("--backend-url=http://{}", backend.address);
    (dir, backend, url)
}

fn nobody() -> SocketAddr {
    TcpListener::bind(anywhere()).and_then(|l| l.local_addr()).expect("an address")
}

/// A UDP port that was free a moment ago.
fn free_port() -> u16 {
    UdpSocket::bind("[::]:0").and_then(|s| s.local_addr()).expect("an address").port()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").expect("it is there").uid() == 0
}

fn skip(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// A server that answers every request with `answer`.
fn server(answer: String) -> SocketAddr {
    let listener = TcpListener::bind(anywhere()).expect("bind");
    let address = listener.local_addr().expect("an address");
    // Ends with the test's process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut octets = [0; 1_024];
            while !request.ends_with(b"{\"records\": []}") {
                match stream.read(&mut octets) {
                    Ok(n) if n > 0 => request.extend_from_slice(&octets[..n]),
                    _ => break,
                }
            }
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

#[test]
fn every_check_says_something_and_a_good_backend_is_good() {
    let (_dir, _backend, url) = backend();
    let said = Said::with(&[&url]);
    let mut checks: Vec<&str> =
        said.json["findings"].as_array().expect("findings").iter().filter_map(|f| f["check"].as_str()).collect();
    checks.dedup();
    assert_eq!(checks, CHECKS);
    said.expect("backend", "ok", "answers an empty batch with 201");
    said.expect("clock-skew", "ok", "within 2 s");
    said.expect("configuration", "ok", "right");
    said.expect("udp-ports", "ok", "nobody");
    for key in ["version", "severity", "exit_code"] {
        assert!(!said.json[key].is_null(), "{key}");
    }
    assert_eq!(said.json["exit_code"].as_i64(), said.output.status.code().map(i64::from));
    assert!(said.output.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.output.stderr));
}

#[test]
fn nothing_is_delivered_and_people_get_a_line_a_check() {
    let (dir, backend, url) = backend();
    let mut command = binary(&["doctor", &url]);
    command.args(["--bind-host=127.0.0.1", "--netflow-port=0", "--ipfix-port=0", "--http-port=0"]);
    let output = command.output().expect("the program can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    for check in CHECKS {
        let lines = text.lines().filter(|line| line.split_whitespace().nth(1) == Some(check)).count();
        assert_eq!(lines, 1, "{check}\n{text}");
    }
    assert!(text.lines().last().is_some_and(|line| line.contains(" faults, ") && line.ends_with(" ok")), "{text}");
    assert_eq!(fs::read(dir.path().join("out")).expect("the backend's file"), b"");
    assert_eq!(backend.stats()["records"].as_u64().unwrap_or(0), 0);
}

#[test]
fn a_dead_backend_is_a_fault() {
    let said = Said::with(&[&format!("--backend-url=http://{}", nobody())]);
    said.expect("backend", "fault", "Connection refused");
    said.expect("clock-skew", "unknown", "did not answer");
    assert_eq!(said.output.status.code(), Some(1));
    let said = Said::with(&["--backend-url=http://no-such-host.invalid", "--backend-connect-timeout=5s"]);
    said.expect("backend", "fault", "the name no-such-host.invalid");
    Said::with(&["--output=stdout"]).expect("backend", "ok", "standard output");
}

#[test]
fn each_wrong_answer_of_the_backend_has_its_words() {
    let head = "Content-Length: 3\r\nConnection: close\r\n";
    for (answer, severity, part) in [
        (format!("HTTP/1.1 401 Unauthorized\r\n{head}\r\nwho"), "fault", "it wants other credentials, saying: who"),
        (format!("HTTP/1.1 404 Not Found\r\n{head}\r\nwho"), "fault", "takes flows at this path"),
        (
            format!("HTTP/1.1 302 Found\r\nLocation: https://b/login\r\n{head}\r\nwho"),
            "fault",
            "redirect to https://b/login",
        ),
        (format!("HTTP/1.1 500 Oh\r\n{head}\r\nwho"), "fault", "with 500"),
        (format!("HTTP/1.1 422 No\r\n{head}\r\nwho"), "warning", "refuses the batch, saying: who"),
        (format!("HTTP/1.1 429 Wait\r\n{head}\r\nwho"), "warning", "too busy"),
        ("SSH-2.0-OpenSSH_9.2\r\n\x1b[2J\r\n".to_owned(), "fault", "(protocol)"),
        (String::new(), "fault", "(reset)"),
    ] {
        let said = Said::with(&[&format!("--backend-url=http://{}", server(answer.clone()))]);
        said.expect("backend", severity, part);
        assert!(!String::from_utf8_lossy(&said.output.stdout).contains('\x1b'), "{answer:?}");
    }
}

/// An HTTP date `seconds` from now, by the shell's own calendar.
fn date(seconds: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let at = i64::try_from(now).expect("it fits") + seconds;
    let output = Command::new("date")
        .env("LC_ALL", "C")
        .args(["-u", "-d", &format!("@{at}"), "+%a, %d %b %Y %H:%M:%S GMT"])
        .output()
        .expect("date(1) is there");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_backend_whose_clock_differs_is_told() {
    for (offset, severity, part) in [
        (3_600, "fault", "s behind the backend's"),
        (-3_600, "fault", "s ahead of the backend's"),
        (30, "warning", "s behind the backend's"),
        (0, "ok", "within 2 s"),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\nDate: {}\r\nContent-Length: 2\r\n\r\n{{}}", date(offset));
        let said = Said::with(&[&format!("--backend-url=http://{}", server(answer))]);
        said.expect("clock-skew", severity, part);
        said.expect("backend", "ok", "200");
    }
    let said = Said::with(&[&format!("--backend-url=http://{}", server("HTTP/1.1 204 No\r\n\r\n".to_owned()))]);
    said.expect("clock-skew", "unknown", "no Date");
}

#[test]
fn an_own_clock_that_is_wrong_is_told() {
    if Command::new("faketime").arg("--version").output().is_err() {
        return skip("faketime is not installed");
    }
    let (_dir, _backend, url) = backend();
    let mut command = Command::new("faketime");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
        .args(["-f", "+1h", env!("CARGO_BIN_EXE_clarion-collector")])
        .args(DOCTOR)
        .arg(&url)
        .envs(QUIET.iter().copied());
    let said = Said::by(command);
    said.expect("clock-skew", "fault", "ahead of the backend's");
}

#[test]
fn a_second_collector_on_the_other_form_is_a_fault() {
    let (_dir, backend, url) = backend();
    let port = free_port();
    let mut command = binary(&[&url]);
    command.args(COLLECTOR.iter().filter(|a| !a.starts_with("--bind-host") && !a.starts_with("--netflow-port")));
    command.args(["--bind-host=0.0.0.0".to_owned(), format!("--netflow-port={port}")]);
    let mut other = Collector::from_command(command, false);
    let netflow = format!("--netflow-port={port}");
    let said = Said::with(&["--bind-host=::", &netflow, &url]);
    said.expect("port-forms", "fault", "bound in both forms, :: and 0.0.0.0: clarion-collect (pid ");
    said.expect("udp-ports", "hint", "clarion-collect (pid ");
    // The same form is a group that shares the port.
    let said = Said::with(&["--bind-host=0.0.0.0", &netflow, &url]);
    said.expect("port-forms", "ok", "one form");
    said.expect("udp-ports", "hint", "clarion-collect (pid ");
    // Looking takes nothing away: what comes now reaches the collector.
    let sender = UdpSocket::bind("127.0.0.1:0").expect("bind");
    for _ in 0..20 {
        sender.send_to(&[0; 3], (Ipv4Addr::LOCALHOST, port)).expect("a datagram can be sent");
        drop(Said::with(&["--bind-host=0.0.0.0", &netflow, "--output=stdout"]).json);
        if child::number(&other.ledger(), "/datagrams/received") >= 3 {
            break;
        }
    }
    let ledger = other.ledger_at_rest(3);
    assert_eq!(child::number(&ledger, "/datagrams/kernel_dropped"), 0, "{ledger}");
    other.process.signal(&["TERM"]);
    other.process.wait(std::time::Duration::from_secs(30));
    drop(backend);
}

#[test]
fn another_program_on_a_port_is_a_fault() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let port = socket.local_addr().expect("an address").port();
    let said = Said::with(&[&format!("--netflow-port={port}"), "--output=stdout"]);
    said.expect("udp-ports", "fault", &format!("port {port} is held by "));
    let listener = TcpListener::bind(anywhere()).expect("bind");
    let port = listener.local_addr().expect("an address").port();
    let said = Said::with(&[&format!("--http-port={port}"), "--http-bind-host=127.0.0.1", "--output=stdout"]);
    said.expect("http-port", "fault", &format!("no port of {port} can be had"));
}

#[test]
fn a_configuration_that_is_refused_is_the_only_finding() {
    let said = Said::with(&["--batch-size=0"]);
    said.expect("configuration", "fault", "size");
    assert_eq!(said.json["findings"].as_array().map(Vec::len), Some(1));
    let said = Said::with(&["--memory-limit=64MiB", "--backend-in-flight-bytes=1GiB"]);
    said.expect("configuration", "fault", "memory");
    let mut command = binary(DOCTOR);
    command.envs(QUIET.iter().copied()).env("CLARION_COLLECTOR_BATCH_SISE", "1").arg("--output=stdout");
    Said::by(command).expect("configuration", "warning", "CLARION_COLLECTOR_BATCH_SISE");
    assert_eq!(binary(&["doctor", "--nonsense"]).output().expect("it starts").status.code(), Some(2));
}

/// The program where everybody may run it: its own place may be in a private directory.
fn everybodys() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("permissions can be set");
    let (from, to) = (Path::new(env!("CARGO_BIN_EXE_clarion-collector")), dir.path().join("clarion-collector"));
    if fs::hard_link(from, &to).is_err() {
        fs::copy(from, &to).expect("a copy");
    }
    (dir, to)
}

/// `doctor` as a user without privileges; None where this test may not become one.
fn unprivileged(more: &[&str]) -> Option<Said> {
    if !is_root() {
        return Some(Said::with(more));
    }
    let (_dir, program) = everybodys();
    let mut command = Command::new(program);
    command.env_clear().envs(QUIET.iter().copied()).args(DOCTOR).args(more).uid(NOBODY).gid(NOBODY);
    Some(Said::by(command))
}

#[test]
fn a_bound_below_what_is_asked_is_a_warning_with_the_command() {
    let Ok(text) = fs::read_to_string("/proc/sys/net/core/rmem_max") else {
        return skip("net.core.rmem_max is not readable here");
    };
    let wanted = text.trim().parse::<u64>().expect("a number") * 2;
    let buffer = format!("--receive-buffer={wanted}");
    let more = ["--receive-workers=1", "--output=stdout", buffer.as_str(), "--memory-limit=8GiB"];
    let said = unprivileged(&more).expect("a user");
    said.expect("receive-buffer", "warning", &format!("{wanted} asked"));
    let cure = said.of("receive-buffer")["do"].as_str().expect("text");
    assert!(cure.contains(&format!("sysctl -w net.core.rmem_max={wanted}")), "{cure}");
}

#[test]
fn what_only_root_may_see_is_unknown_to_others() {
    let said = unprivileged(&["--output=stdout"]).expect("a user");
    said.expect("firewall", "unknown", "only root");
    let tracked = said.of("conntrack");
    assert!(["ok", "unknown"].contains(&tracked["severity"].as_str().expect("text")), "{tracked:#}");
}

#[test]
fn a_port_of_another_user_is_a_fault() {
    if !is_root() {
        return skip("a second user needs root");
    }
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let port = format!("--netflow-port={}", socket.local_addr().expect("an address").port());
    let said = unprivileged(&[&port, "--output=stdout"]).expect("a user");
    said.expect("udp-ports", "fault", "not visible from here, uid 0");
}

#[test]
fn a_data_directory_that_cannot_be_written_is_a_fault() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).expect("permissions can be set");
    let data = format!("--data-dir={}", dir.path().display());
    unprivileged(&[&data, "--output=stdout"]).expect("a user").expect("data-dir", "fault", "cannot be written");
}

/// Runs `script` with the program's arguments behind it in namespaces that `unshare` makes by `flags`.
fn apart(flags: &[&str], script: &str, more: &[&str]) -> Option<Said> {
    if !is_root() || !Command::new("unshare").args(flags).arg("true").output().is_ok_and(|o| o.status.success()) {
        skip("namespaces need root and unshare(1)");
        return None;
    }
    let mut command = Command::new("unshare");
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default().to_string_lossy().into_owned() + ":/usr/sbin:/sbin");
    command.args(flags).args(["sh", "-ec", &format!("{script}\nexec \"$@\""), "sh"]);
    command.arg(env!("CARGO_BIN_EXE_clarion-collector")).args(DOCTOR).args(more).envs(QUIET.iter().copied());
    Some(Said::by(command))
}

#[test]
fn full_and_read_only_file_systems_are_faults() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let at = dir.path().display().to_string();
    let data = format!("--data-dir={at}");
    let run = |script: &str| apart(&["--mount"], script, &[&data, "--output=stdout"]);
    let mount = format!("mount -t tmpfs -o size=64k none {at}");
    let Some(said) = run(&format!("{mount}; dd if=/dev/zero of={at}/x 2>/dev/null || true")) else { return };
    said.expect("data-dir", "fault", &at);
    let said = run(&format!("{mount}; mount -o remount,ro {at}")).expect("as before");
    said.expect("data-dir", "fault", "Read-only file system");
    let said = run(&format!("mount -t tmpfs -o size=16m none {at}")).expect("as before");
    said.expect("data-dir", "warning", "16.0 MiB of 16.0 MiB free");
}

#[test]
fn networks_without_ipv6_with_strict_filters_and_with_a_firewall_are_told() {
    let tool = |name: &str| {
        Command::new("which")
            .arg(name)
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .output()
            .is_ok_and(|o| o.status.success())
    };
    if !tool("ip") {
        return skip("ip(8) is not installed");
    }
    let two = "ip link set lo up; ip link add d0 type veth peer name d1; for i in 0 1; do ip link set d$i up; \
               ip addr add 10.77.$i.1/24 dev d$i; done";
    let run = |script: &str| {
        apart(&["--net"], &format!("{two}\n{script}"), &["--bind-host=::", "--netflow-port=2055", "--output=stdout"])
    };
    let all = "for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $f; done";
    let Some(said) = run(all) else { return };
    said.expect("ipv6", "hint", "IPv6 is switched off");
    said.expect("rp-filter", "ok", "d0 0");
    said.expect("gateway-source", "ok", "no default gateway");
    let said = run("for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 > $f; done").expect("as before");
    said.expect("rp-filter", "hint", "strict on d0, d1");
    if !tool("nft") {
        return skip("nft(8) is not installed");
    }
    let chain = |policy| {
        format!(
            "nft add table inet f; nft add chain inet f input '{{ type filter hook input priority 0; policy {policy}; }}'"
        )
    };
    let said = run(&format!("{}; nft add rule inet f input udp dport 2055 drop", chain("accept"))).expect("as before");
    said.expect("firewall", "fault", "udp dport 2055 drop");
    run(&chain("drop")).expect("as before").expect("firewall", "warning", "no rule names UDP port 2055");
    run(&chain("accept")).expect("as before").expect("firewall", "ok", "no rule drops");
}

/// A network namespace with a wire to this one; gone with the value.
struct Network {
    name: String,
    ours: IpAddr,
    theirs: IpAddr,
}

impl Network {
    fn new() -> Option<Self> {
        let id = std::process::id();
        let (name, wire) = (format!("clarion-doctor-{id}"), format!("cd{}", id % 100_000));
        let part = id % 250 + 1;
        let (ours, theirs) =
            (Ipv4Addr::new(10, 213, u8::try_from(part).ok()?, 1), Ipv4Addr::new(10, 213, u8::try_from(part).ok()?, 2));
        let network = Self { name, ours: ours.into(), theirs: theirs.into() };
        let script = format!(
            "ip netns add {0}; ip link add {1} type veth peer name eth0 netns {0}; ip addr add {2}/30 dev {1}; \
             ip link set {1} up; ip -n {0} addr add {3}/30 dev eth0; ip -n {0} link set eth0 up; \
             ip -n {0} link set lo up; ip -n {0} route add default via {2}",
            network.name, wire, ours, theirs
        );
        let made = Command::new("sh").args(["-ec", &script]).output().is_ok_and(|o| o.status.success());
        if !made {
            skip("network namespaces need root and ip(8)");
        }
        made.then_some(network)
    }

    fn inside(&self, args: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.env_clear().env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
        command.args(["netns", "exec", &self.name, env!("CARGO_BIN_EXE_clarion-collector")]).args(args);
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

#[test]
fn datagrams_of_the_default_gateway_are_said_by_the_collector_and_by_doctor() {
    let Some(network) = Network::new() else { return };
    let mut command = network.inside(&["--output=stdout", "--netflow-port=2055", "--ipfix-port=0", "--http-port=8081"]);
    command.args(["--receive-workers=1", "--log-format=json"]);
    let mut process = child::Process::start(command, false);
    process.line("\"message\":\"ready\"");
    let doctor = || {
        let mut command = network.inside(&["doctor", "--json", "--output=stdout", "--netflow-port=2055"]);
        command.args(["--ipfix-port=0", "--http-port=8081"]);
        Said::by(command)
    };
    let before = doctor();
    before.expect("gateway-source", "ok", "is not among the sources");
    before.expect("http-port", "hint", "clarion-collect (pid ");

    // One flow of version 5, from what is the gateway for the other side.
    let mut datagram = vec![0, 5, 0, 1];
    datagram.resize(24 + 48, 0);
    let socket = UdpSocket::bind((network.ours, 0)).expect("bind");
    wait_for("the collector's warning", || {
        socket.send_to(&datagram, (network.theirs, 2055)).expect("a datagram can be sent");
        process.log().contains("default gateway").then_some(())
    });
    let lines = || process.log().lines().filter(|line| line.contains("default gateway")).count();
    assert_eq!(lines(), 1, "{}", process.log());
    let after = wait_for("the exporter in the list", || {
        let said = doctor();
        (said.of("gateway-source")["severity"] != "ok").then_some(said)
    });
    // Where this test runs in a container itself, it is a warning.
    let severity = after.of("gateway-source")["severity"].as_str().expect("text").to_owned();
    assert!(["hint", "warning"].contains(&severity.as_str()), "{severity}");
    after.expect("gateway-source", &severity, &format!("hears from {}", network.ours));
    process.kill();
}

#[test]
fn the_document_explains_every_check_and_no_other() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/doctor.md")).expect("it is there");
    let headings: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(headings, CHECKS);
}
