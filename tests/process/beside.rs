//! What other programs on the host learn of a real process: Prometheus by its targets file, a container's
//! health check by the command for it.

use std::net::SocketAddr;
use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};

use super::child::{Collector, Process, anywhere, binary, wait_for};

fn asked(args: &[&str]) -> Output {
    binary(&[&["healthcheck"], args].concat()).output().expect("it can be started")
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

#[test]
fn the_targets_file_stands_while_the_process_runs() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let of = |name: &str| {
        let dir = format!("--http-targets-dir={}", dir.path().display());
        let name = format!("--instance-name={name}");
        Collector::from_command(binary(&[super::child::COLLECTOR, &["--output=stdout", &dir, &name]].concat()), false)
    };
    let (first, second) = (of("first"), of("second/2"));
    let read = |name: &str| -> Option<Value> {
        serde_json::from_str(&std::fs::read_to_string(dir.path().join(name)).ok()?).ok()
    };
    let content = |address: SocketAddr, name: &str| {
        Some(json!([{"targets": [address.to_string()], "labels": {"instance_name": name}}]))
    };
    assert_eq!(read("first.json"), content(first.http, "first"));
    assert_eq!(read("second%2F2.json"), content(second.http, "second/2"));

    let Collector { mut process, .. } = first;
    process.signal(&["TERM"]);
    assert_eq!(process.wait(Duration::from_secs(30)).code(), Some(0));
    assert_eq!(read("first.json"), None);
    // A kill leaves the file; whoever gets its port next takes it away.
    let port = second.http.port();
    second.process.kill();
    assert!(read("second%2F2.json").is_some());
    let (dir_flag, port_flag) = (format!("--http-targets-dir={}", dir.path().display()), format!("--http-port={port}"));
    let mut args: Vec<&str> = super::child::COLLECTOR.to_vec();
    args.retain(|arg| !arg.starts_with("--http-port"));
    args.extend(["--output=stdout", "--instance-name=third", &dir_flag, &port_flag]);
    let third = Collector::from_command(binary(&args), false);
    assert_eq!((read("second%2F2.json"), read("third.json")), (None, content(third.http, "third")));
}

#[test]
fn a_targets_directory_that_cannot_be_written_is_one_warning() {
    let args = [super::child::COLLECTOR, &["--output=stdout", "--http-targets-dir=/proc/nowhere"]].concat();
    let collector = Collector::from_command(binary(&args), false);
    let log = collector.process.log();
    assert_eq!(log.matches("targets file cannot be written").count(), 1, "{log}");
}

#[test]
fn healthcheck_tells_alive_from_gone_and_from_something_else() {
    let collector = Collector::from_command(binary(&[super::child::COLLECTOR, &["--output=stdout"]].concat()), false);
    let livez = format!("http://{}/livez", collector.http);
    let output = asked(&["--url", &livez]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), format!("healthy: {livez} answered 200\n")));
    let output = asked(&["--url", &format!("http://{}/nothing", collector.http)]);
    let told = text(&output.stderr);
    assert!(output.status.code() == Some(1) && told.contains("answered 404"), "{told}");
    collector.process.kill();
    let output = asked(&["--url", &livez]);
    let told = text(&output.stderr);
    assert!(output.status.code() == Some(1) && told.contains("cannot be reached"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    let output = asked(&["--url", "8081"]);
    let told = text(&output.stderr);
    assert!(output.status.code() == Some(1) && told.contains("is no URL"), "{told}");
}

/// Alone in a PID namespace, as in a container: the port comes from the process, not from settings.
#[test]
fn healthcheck_finds_the_collector_of_its_own_container() {
    let unshare = |script: &str| {
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount-proc", "--pid", "--fork", "/bin/sh", "-c", script]);
        command
    };
    if !unshare("exit 0").output().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: no PID namespace can be made here (unshare, or the right to)");
        return;
    }
    let program = env!("CARGO_BIN_EXE_clarion-collector");
    // A neighbour outside, on a port of the same range: it must not be taken for ours.
    let neighbour = Collector::from_command(binary(&[super::child::COLLECTOR, &["--output=stdout"]].concat()), false);
    let range = format!("{}-{}", neighbour.http.port(), neighbour.http.port().saturating_add(50));
    let args = super::child::COLLECTOR.join(" ").replace("--http-port=0", &format!("--http-port={range}"));
    let script = format!(
        "export CLARION_COLLECTOR_HTTP_PORT={range} CLARION_COLLECTOR_HTTP_BIND_HOST=127.0.0.1\n\
         '{program}' healthcheck 1>&2; echo \"before $?\" 1>&2\n\
         '{program}' {args} --output=stdout >/dev/null & collector=$!\n\
         until '{program}' healthcheck 1>&2; do kill -0 $collector || exit 9; sleep 0.1; done\n\
         '{program}' backend --listen {backend} >/dev/null & backend=$!\n\
         '{program}' healthcheck 1>&2; echo \"beside a backend $?\" 1>&2\n\
         kill -KILL $collector; wait $collector\n\
         '{program}' healthcheck 1>&2; echo \"after $?\" 1>&2\n\
         kill -KILL $backend",
        backend = anywhere(),
    );
    let mut inside = Process::start(unshare(&script), false);
    wait_for("the end of the script", || inside.log().contains("after ").then_some(()));
    inside.wait(Duration::from_secs(30));
    let log = inside.log();
    assert!(log.contains("before 1") && log.contains("beside a backend 0") && log.contains("after 1"), "{log}");
    let port = format!(":{}/livez", neighbour.http.port());
    let healthy: Vec<&str> = log.lines().filter(|line| line.starts_with("healthy: ")).collect();
    assert!(healthy.len() >= 2 && healthy.iter().all(|line| !line.contains(&port)), "{log}");
    assert!(log.contains("no collector listens here"), "{log}");
}
