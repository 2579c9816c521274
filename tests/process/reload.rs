//! SIGHUP: what a running process takes up, what it refuses by name, and that nothing is lost meanwhile.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::child::{
    Backend, COLLECTOR, Collector, Load, anywhere, binary, dropped, get, json, number, serials, wait_for,
};

/// A collector with a file that changes.
struct Bench {
    _dir: tempfile::TempDir,
    file: PathBuf,
    out: PathBuf,
    backend: Backend,
    collector: Collector,
}

impl Bench {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, out) = (dir.path().join("c.toml"), dir.path().join("out"));
        let backend = Backend::start(anywhere(), &out, &[]);
        std::fs::write(&file, with_url(&backend, text)).expect("a file");
        let collector = Collector::from_command(command(&file), false);
        Self { _dir: dir, file, out, backend, collector }
    }

    /// Asks for a reload with another file; waits until it was heeded. The answer is `config` of the status.
    fn reload(&self, text: &str) -> Value {
        let before = self.reloads();
        std::fs::write(&self.file, with_url(&self.backend, text)).expect("a file");
        self.collector.process.signal(&["HUP"]);
        wait_for("a reload", || (self.reloads() > before).then_some(()));
        json(self.collector.http, "/api/v1/status")["config"].clone()
    }

    /// Those that were used and refused so far.
    fn reloads(&self) -> u64 {
        ["used", "refused"].iter().map(|state| self.metric(&format!("config_reloads_total{{state=\"{state}\"}}"))).sum()
    }

    fn metric(&self, name: &str) -> u64 {
        let (_, text) = get(self.collector.http, "/metrics/prometheus", "");
        let start = format!("clarion_collector_{name} ");
        let line = text.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no {name}:\n{text}"));
        line[start.len()..].parse().expect("a whole number")
    }

    fn delivered(&self) -> u64 {
        number(&self.collector.ledger(), "/records/delivered")
    }

    fn refused(&self) -> u64 {
        self.metric("datagrams_refused_total{reason=\"denied\"}")
    }
}

fn with_url(backend: &Backend, text: &str) -> String {
    if text.contains("url = ") {
        return text.to_owned();
    }
    format!("[backend]\nurl = \"http://{}\"\n{text}", backend.address)
}

fn command(file: &Path) -> std::process::Command {
    let mut command = binary(COLLECTOR);
    command.arg("--config").arg(file);
    command
}

#[test]
fn a_deny_list_takes_effect_and_goes_again() {
    let bench = Bench::new("");
    let load = Load::start(bench.collector.port, 2_000, 3);
    wait_for("flows", || (bench.delivered() > 500).then_some(()));
    assert_eq!(bench.refused(), 0);
    let told = bench.reload("[admission]\ndeny = \"127.0.0.0/8\"\n");
    assert_eq!(told["last_reload_successful"], true, "{told}");
    wait_for("refusals", || (bench.refused() > 50).then_some(()));
    bench.reload("");
    let (refused, delivered) = (bench.refused(), bench.delivered());
    wait_for("flows again", || (bench.delivered() > delivered + 500).then_some(()));
    // One receive batch may still have been under way.
    assert!(bench.refused() <= refused + 128);
    load.stop();
    let log = bench.collector.process.log();
    assert!(log.contains("\"changed\":\"[admission] deny\""), "{log}");
}

#[test]
fn a_bad_file_changes_nothing_and_is_told() {
    let mut bench = Bench::new("[log]\nlevel = \"info\"\n");
    // One key is right and would show at once; the other is wrong.
    let told = bench.reload("[admission]\ndeny = \"127.0.0.0/8\"\n[batch]\nsiez = 5\n");
    assert_eq!(told["last_reload_successful"], false, "{told}");
    assert!(told["error"].as_str().is_some_and(|why| why.contains("siez") && why.contains("size")), "{told}");
    assert_eq!(bench.metric("config_last_reload_successful"), 0);
    let line = bench.collector.process.line("cannot be used: everything stays as it was");
    assert!(line.contains("siez"), "{line}");
    let load = Load::start(bench.collector.port, 2_000, 3);
    wait_for("flows", || (bench.delivered() > 200).then_some(()));
    load.stop();
    assert_eq!(bench.refused(), 0);
    // Files of secrets are read before anything changes, too.
    let told = bench.reload("token_file = \"/nowhere/token\"\n[admission]\ndeny = \"127.0.0.0/8\"\n");
    assert!(told["error"].as_str().is_some_and(|why| why.contains("/nowhere/token")), "{told}");
    assert_eq!(bench.reload("")["error"], Value::Null);
    assert_eq!(bench.metric("config_last_reload_successful"), 1);
    assert_eq!(bench.refused(), 0);
}

#[test]
fn what_needs_a_restart_is_named_and_stays_while_the_rest_is_taken_up() {
    let mut bench = Bench::new("");
    let listener = "[[listener]]\nport = 0\n[[exporter]]\nprefix = \"127.0.0.0/8\"\nswitch_id = \"edge\"\n";
    let told = bench.reload(&format!("[batch]\nsize = 77\n{listener}"));
    assert_eq!(told["restart_needed"], serde_json::json!(["[batch] size", "[[listener]]"]), "{told}");
    assert_eq!(bench.metric("config_restart_needed_keys"), 2);
    let line = bench.collector.process.line("need a restart");
    assert!(line.contains("[batch] size, [[listener]]"), "{line}");
    let status = json(bench.collector.http, "/api/v1/status");
    assert_eq!((&status["batch_size"], status["listeners"].as_array().map(Vec::len)), (&1_000.into(), Some(2)));
    let load = Load::start(bench.collector.port, 1_000, 1);
    wait_for("flows", || (bench.delivered() > 100).then_some(()));
    load.stop();
    let text = std::fs::read_to_string(&bench.out).expect("the backend's file");
    assert!(text.lines().all(|line| line.contains("\"switch_id\":\"edge\"")), "{text}");
    // Written back, nothing is left to do.
    assert_eq!(bench.reload("")["restart_needed"], serde_json::json!([]));
    assert_eq!(bench.metric("config_restart_needed_keys"), 0);
}

#[test]
fn the_log_level_changes() {
    let mut bench = Bench::new("");
    let taken_up = |bench: &Bench| bench.collector.process.log().matches("taken up").count();
    // The level changes before the line about it is written.
    bench.reload("[log]\nlevel = \"error\"\n");
    bench.reload("[log]\nlevel = \"error\"\n[admission]\nburst = \"2s\"\n");
    assert_eq!(taken_up(&bench), 0);
    bench.reload("[log]\nlevel = \"debug\"\n");
    let line = bench.collector.process.line("taken up");
    assert!(line.contains("[log] level"), "{line}");
    assert_eq!(taken_up(&bench), 1);
}

#[test]
fn output_fields_change_without_new_templates_and_batches_on_their_way_are_delivered() {
    let bench = Bench::new("");
    let load = Load::start(bench.collector.port, 2_000, 3);
    wait_for("flows", || (bench.delivered() > 500).then_some(()));
    bench.reload("[output]\nfields = \"tcp_flags,exporter\"\n");
    let has = |part: &str| {
        let text = std::fs::read_to_string(&bench.out).expect("the backend's file");
        text.lines().filter(|line| line.contains(part)).count()
    };
    wait_for("records with an exporter", || (has("\"exporter\":") > 500).then_some(()));
    bench.reload("[output]\nfields = \"all\"\n");
    wait_for("records with all", || (has("\"time_source\":") > 500).then_some(()));
    bench.reload("");
    let sent = load.stop().records;
    let (distinct, lines) = settled(&bench, sent);
    assert_eq!((distinct, lines), (sent, sent));
}

/// Distinct records and lines at the backend, once all that was sent has met its fate.
fn settled(bench: &Bench, sent: u64) -> (u64, u64) {
    let ledger = wait_for("all delivered", || {
        let ledger = bench.collector.ledger();
        (number(&ledger, "/records/delivered") >= sent || !dropped(&ledger).is_empty()).then_some(ledger)
    });
    assert!(dropped(&ledger).is_empty(), "{ledger}");
    assert_eq!(number(&ledger, "/sets/parked"), 0, "{ledger}");
    let (distinct, lines) = serials(&[&bench.out]);
    (distinct.len() as u64, lines)
}

#[test]
fn requests_go_to_another_backend_with_other_credentials_and_none_is_lost_or_doubled() {
    let bench = Bench::new("");
    let other_out = bench.out.with_extension("other");
    let other = Backend::start(anywhere(), &other_out, &["--token=secret"]);
    let load = Load::start(bench.collector.port, 2_000, 3);
    wait_for("flows", || (bench.delivered() > 500).then_some(()));
    let text = format!("[backend]\nurl = \"http://{}\"\ntoken = \"secret\"\n", other.address);
    assert_eq!(bench.reload(&text)["error"], Value::Null);
    wait_for("flows at the other", || (number(&other.stats(), "/records") > 500).then_some(()));
    assert!(json(bench.collector.http, "/health")["backend_url"].as_str().is_some_and(|url| text.contains(url)));
    let sent = load.stop().records;
    wait_for("all delivered", || (bench.delivered() >= sent).then_some(()));
    let (distinct, lines) = serials(&[&bench.out, &other_out]);
    assert_eq!((distinct.len() as u64, lines), (sent, sent));
    let log = bench.collector.process.log();
    assert!(log.contains("[backend] url, [backend] token") && !log.contains("secret"), "{log}");
}

#[test]
fn twenty_reloads_under_load_lose_nothing() {
    let bench = Bench::new("");
    let load = Load::start(bench.collector.port, 6_000, 6);
    wait_for("flows", || (bench.delivered() > 500).then_some(()));
    let exporter = "[[exporter]]\nprefix = \"127.0.0.0/8\"\n";
    for round in 0..20_u32 {
        let fields = ["clarion", "all", "exporter,tcp_flags"][round as usize % 3];
        let rate = if round % 2 == 0 { "" } else { "datagrams_per_second = 1000000\nname = \"x\"\n" };
        let text = format!(
            "token = \"t{round}\"\n[output]\nfields = \"{fields}\"\n[log]\nlevel = \"{}\"\n{exporter}\
             sampling_override = {}\n{rate}",
            ["info", "debug"][round as usize % 2],
            round + 1
        );
        std::fs::write(&bench.file, with_url(&bench.backend, &text)).expect("a file");
        // Not waited for: some fall together, some meet a file that is being written.
        bench.collector.process.signal(&["HUP"]);
        if round % 4 == 0 {
            let sent = load.sent();
            wait_for("more flows", || (load.sent() > sent + 100).then_some(()));
        }
    }
    bench.reload(&format!("{exporter}sampling_override = 99\n"));
    // The one that was waited for may have been an earlier one, which met half a file.
    wait_for("the last configuration", || {
        (json(bench.collector.http, "/api/v1/status")["config"]["error"] == Value::Null).then_some(())
    });
    let before = load.sent();
    wait_for("flows after the last", || (load.sent() > before + 1_000).then_some(()));
    let sent = load.stop().records;
    let (distinct, lines) = settled(&bench, sent);
    assert_eq!((distinct, lines), (sent, sent));
    let ledger = bench.collector.ledger_at_rest(1);
    assert_eq!(number(&ledger, "/datagrams/kernel_dropped"), 0);
    assert!(bench.metric("config_reloads_total{state=\"used\"}") >= 2);
}

#[test]
fn a_hangup_before_ready_and_in_a_drain_is_harmless() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("c.toml");
    std::fs::write(&file, "[shutdown]\ndrain_delay = \"1s\"\n").expect("a file");
    let mut command = command(&file);
    command.args(["--output=stdout"]);
    let mut process = super::child::Process::start(command, false);
    process.line("configuration read");
    process.signal(&["HUP"]);
    process.signal(&["HUP"]);
    process.line("\"message\":\"ready\"");
    process.line("configuration read again");
    process.signal(&["TERM"]);
    process.line("draining; a second signal");
    process.signal(&["HUP"]);
    process.line("SIGHUP while draining");
    assert_eq!(process.wait(Duration::from_secs(30)).code(), Some(0));
}
