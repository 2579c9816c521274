//! The environment and the file of a real process: what works, what is ignored, what is refused.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Output;
use std::time::Duration;

use super::child::{Backend, Collector, Load, anywhere, binary, json, number, serials, wait_for};

/// What Kubernetes puts into each pod for a Service of this name, as
/// pkg/kubelet/envvars makes it: the host and port variables, and those of Docker's links.
fn injected(service: &str, protocol: &str, ports: &[(&str, u16)], host: &str) -> Vec<(String, String)> {
    let name = service.to_uppercase().replace('-', "_");
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let mut variables = vec![
        (format!("{name}_SERVICE_HOST"), host.to_owned()),
        (format!("{name}_SERVICE_PORT"), ports[0].1.to_string()),
        (format!("{name}_PORT"), format!("{protocol}://{bracketed}:{}", ports[0].1)),
    ];
    let upper = protocol.to_uppercase();
    for (port_name, port) in ports {
        let link = format!("{name}_PORT_{port}_{upper}");
        variables.extend([
            (format!("{name}_SERVICE_PORT_{}", port_name.to_uppercase()), port.to_string()),
            (link.clone(), format!("{protocol}://{bracketed}:{port}")),
            (format!("{link}_PROTO"), protocol.to_owned()),
            (format!("{link}_PORT"), port.to_string()),
            (format!("{link}_ADDR"), host.to_owned()),
        ]);
    }
    variables
}

#[test]
fn what_kubernetes_injects_is_ignored_and_told() {
    let mut variables = injected("clarion-collector", "udp", &[("netflow", 2055), ("ipfix", 4739)], "10.96.0.7");
    variables.extend(injected("clarion-collector-http", "tcp", &[("http", 8081)], "10.96.0.8"));
    variables.extend(injected("clarion-collector-netflow", "udp", &[("netflow", 2055)], "fd00::7"));
    let others = injected("kubernetes", "tcp", &[("https", 443)], "10.96.0.1");
    // The settings that the names hide are flags here, as in a manifest that avoids the clash.
    let mut command = binary(super::child::COLLECTOR);
    command.args(["--output", "stdout"]).envs(variables.clone()).envs(others.clone()).env("POD_NAME", "collector-0");
    let mut collector = Collector::from_command(command, false);
    let told = collector.process.line("ignored variables that Kubernetes injects");
    // Whole names: CLARION_COLLECTOR_PORT is the start of many others.
    let named: BTreeSet<&str> = told
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.contains("_SERVICE_") || word.contains("_PORT"))
        .collect();
    assert_eq!(named, variables.iter().map(|(name, _)| name.as_str()).collect(), "{told}");
    let log = collector.process.log();
    assert!(!log.contains("unknown variables"), "{log}");
    assert_eq!(json(collector.http, "/api/v1/status")["instance"], "collector-0");
    collector.process.signal(&["TERM"]);
    assert_eq!(collector.process.wait(Duration::from_secs(30)).code(), Some(0));
}

/// The ports of the clashing names are the defaults then, not what the URL says.
#[test]
fn a_url_of_kubernetes_leaves_a_port_at_its_default() {
    let variables = injected("clarion-collector-netflow", "udp", &[("netflow", 9_999)], "10.96.0.9")
        .into_iter()
        .chain(injected("clarion-collector-http", "tcp", &[("http", 9_998)], "10.96.0.9"));
    let output = binary(&["check"]).envs(variables).output().expect("it can be started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    let (values, notes) = text.split_once("\nnotes").expect("what was ignored is a note");
    assert!(values.contains("[::]:2055") && values.contains("8081") && !values.contains("999"), "{text}");
    assert!(notes.contains("CLARION_COLLECTOR_NETFLOW_PORT,"), "{text}");
}

#[test]
fn the_variables_of_the_python_collector_work() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (out, data) = (dir.path().join("out"), dir.path().join("data"));
    let backend = Backend::start(anywhere(), &out, &[]);
    let mut command = binary(&["--http-bind-host=127.0.0.1", "--http-port=0", "--log-format=json"]);
    command.envs([
        ("CLARION_COLLECTOR_BACKEND_URL", format!("http://{}/", backend.address).as_str()),
        ("CLARION_COLLECTOR_NETFLOW_PORT", "0"),
        ("CLARION_COLLECTOR_IPFIX_PORT", "0"),
        ("CLARION_COLLECTOR_SFLOW_PORT", "6343"),
        ("CLARION_COLLECTOR_BIND_HOST", "127.0.0.1"),
        ("CLARION_COLLECTOR_BATCH_SIZE", "50"),
        ("CLARION_COLLECTOR_BATCH_INTERVAL", "0.25"),
        ("CLARION_COLLECTOR_SWITCH_ID_FROM_IP", "True"),
        ("CLARION_COLLECTOR_LOG_LEVEL", "INFO"),
        ("CLARION_COLLECTOR_UDP_RCVBUF", "1048576"),
        ("CLARION_COLLECTOR_RETRY_ATTEMPTS", "5"),
        ("CLARION_COLLECTOR_RETRY_BACKOFF", "1.5"),
        ("CLARION_COLLECTOR_MODE", "native"),
        ("CLARION_COLLECTOR_DATA_DIR", data.to_str().expect("a path in UTF-8")),
    ]);
    let mut collector = Collector::from_command(command, false);
    let status = json(collector.http, "/api/v1/status");
    assert_eq!(number(&status, "/batch_size"), 50);
    assert_eq!(status["batch_interval_seconds"], 0.25);
    let kept = std::fs::read_to_string(data.join("state/instance")).expect("the name is kept");
    assert_eq!(status["instance"], kept.trim());
    assert!(collector.process.log().contains("does not listen for sFlow"), "{}", collector.process.log());

    let load = Load::start(collector.port, 2_000, 3);
    wait_for("500 records sent", || (load.sent() > 500).then_some(()));
    let sent = load.stop();
    let ledger = collector.ledger_at_rest(sent.datagrams);
    collector.process.signal(&["TERM"]);
    assert_eq!(collector.process.wait(Duration::from_secs(30)).code(), Some(0));
    let (seen, _) = serials(&[&out]);
    assert_eq!(seen.len() as u64, number(&ledger, "/records/delivered"));
    let names: std::collections::HashSet<_> = seen.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, sent.by_exporter.iter().map(|e| e.source.ip().to_string()).collect());
    let stats = backend.stats();
    assert!(number(&stats, "/requests") >= number(&stats, "/records") / 50, "no request has more than 50: {stats}");
}

fn refused(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(!text.contains("panicked") && !text.contains("RUST_BACKTRACE"), "{text}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    text
}

#[test]
fn every_error_of_a_nonsense_configuration_is_told() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("c.toml");
    let text = "[batch]\nsize = 0\ninterval = \"soon\"\n[recieve]\nworkers = 1\n[queue]\nbatches = true\n\
                [[listener]]\nport = 70000\n[[listener]]\nname = \"x\"\n[[exporter]]\nprefix = \"10.0.0.0/99\"\n\
                [memory]\nlimit = \"1 parsec\"\n[backend]\ntimeout = 3\n";
    std::fs::write(&path, text).expect("the file can be written");
    let file = format!("--config={}", path.display());
    let mut command = binary(&[&file, "--retry-attempts=none", "--http-port=9-", "--shutdown-timeout=-1s"]);
    command.envs([
        ("CLARION_COLLECTOR_BACKEND_URL", "gopher://x"),
        ("CLARION_COLLECTOR_LOG_LEVEL", "loud"),
        ("CLARION_COLLECTOR_BIND_HOST", "nowhere.invalid:x"),
        ("CLARION_COLLECTOR_UDP_RCVBUF", "18446744073709551616"),
        ("RUST_BACKTRACE", "1"),
    ]);
    let told = refused(&command.output().expect("it can be started"), 1);
    for part in [
        "size = 0",
        "soon",
        "recieve",
        "batches",
        "70000",
        "[[listener]]",
        "10.0.0.0/99",
        "parsec",
        "timeout",
        "--retry-attempts",
        "--http-port",
        "--shutdown-timeout",
        "gopher://x",
        "loud",
        "nowhere.invalid:x",
        "18446744073709551616",
    ] {
        assert!(told.contains(part), "{part} is not told:\n{told}");
    }
    let lines = told.lines().filter(|line| line.starts_with("  - ")).count();
    assert!(told.contains(&format!("{lines} errors")) && lines >= 16, "{lines} lines:\n{told}");
}

#[test]
fn files_that_are_no_configuration_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("c.toml");
    let deep = "a = ".to_owned() + &"[".repeat(100_000);
    for octets in [&b"\xff\xfe\x00[batch]"[..], b"[batch", b"size = \x00", b"\x7fELF", deep.as_bytes()] {
        std::fs::write(&path, octets).expect("the file can be written");
        let output = binary(&["--config", path.to_str().expect("UTF-8")]).output().expect("it can be started");
        let told = refused(&output, 1);
        assert!(told.contains(&path.display().to_string()), "{told}");
    }
    // The last one never ends, and says that it is empty.
    for place in [dir.path().to_path_buf(), dir.path().join("missing"), "/dev/zero".into()] {
        let output = binary(&["--config", place.to_str().expect("UTF-8")]).output().expect("it can be started");
        let told = refused(&output, 1);
        assert!(told.contains(&place.display().to_string()), "{told}");
    }
}

#[test]
fn arguments_and_variables_that_are_no_text_do_not_panic() {
    let odd = OsStr::from_bytes(b"\xff\xfe");
    refused(&binary(&[]).arg("--batch-size").arg(odd).output().expect("it can be started"), 2);
    let told = refused(&binary(&[]).env("CLARION_COLLECTOR_BATCH_SIZE", odd).output().expect("it can be started"), 1);
    assert!(told.contains("BATCH_SIZE"), "{told}");
    // A variable that is not ours may hold anything.
    let output = binary(&["check"]).env("OTHER", odd).output().expect("it can be started");
    assert_eq!(output.status.code(), Some(0));
    for nonsense in [&["--netflow-port"][..], &["--batch-size=1", "--batch-size=2"], &["--", "--x"], &[""]] {
        refused(&binary(nonsense).output().expect("it can be started"), 2);
    }
}
