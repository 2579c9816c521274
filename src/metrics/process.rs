//! What the recorder cannot write: counters with a fraction, and the process's own figures from /proc.

use std::fmt::Write as _;
use std::fs;

use super::Tally;
use super::catalog::{PREFIX, descriptor};

/// Clock ticks a second in /proc: USER_HZ is 100 on every Linux that this runs on.
const TICKS_PER_SECOND: u64 = 100;

type Series = (&'static str, Vec<(&'static str, String)>, Tally);

/// Counters of seconds, whose tallies are nanoseconds. Series of one name stand together.
pub(super) fn write_seconds(text: &mut String, series: &[Series]) {
    let mut names: Vec<&str> = series.iter().map(|(name, ..)| *name).collect();
    names.dedup();
    names.sort_unstable();
    names.dedup();
    for name in names {
        head(text, name, "counter");
        for (_, labels, tally) in series.iter().filter(|(n, ..)| *n == name) {
            let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
            let ns = tally.value();
            let (whole, part) = (ns / 1_000_000_000, ns % 1_000_000_000);
            let _ = writeln!(text, "{PREFIX}{name}{{{}}} {whole}.{part:09}", labels.join(","));
        }
        text.push('\n');
    }
}

/// `process_*` under the collector's prefix; a figure that /proc does not give is left out.
pub(super) fn write_process(text: &mut String) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |field: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(field))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    if let Some(cpu) = cpu_ticks() {
        let fraction = (cpu % TICKS_PER_SECOND) * 100 / TICKS_PER_SECOND;
        one(text, "process_cpu_seconds_total", "counter", &format!("{}.{fraction:02}", cpu / TICKS_PER_SECOND));
    }
    if let Some(rss) = kib("VmRSS:") {
        one(text, "process_resident_memory_bytes", "gauge", &(rss * 1024).to_string());
    }
    if let Some(size) = kib("VmSize:") {
        one(text, "process_virtual_memory_bytes", "gauge", &(size * 1024).to_string());
    }
    if let Some(threads) = kib("Threads:") {
        one(text, "process_threads", "gauge", &threads.to_string());
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        one(text, "process_open_fds", "gauge", &entries.count().to_string());
    }
    if let Some(max) = max_fds() {
        one(text, "process_max_fds", "gauge", &max.to_string());
    }
    if let Some(start) = start_time() {
        one(text, "process_start_time_seconds", "gauge", &start.to_string());
    }
}

fn head(text: &mut String, name: &str, kind: &str) {
    let help = descriptor(name).map_or("", |d| d.help);
    let _ = writeln!(text, "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}");
}

fn one(text: &mut String, name: &str, kind: &str, value: &str) {
    head(text, name, kind);
    let _ = writeln!(text, "{PREFIX}{name} {value}\n");
}

/// Field `index` (1-based, as in proc(5)) of /proc/self/stat; the command name may hold blanks.
fn stat_field(index: usize) -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(index.checked_sub(3)?)?.parse().ok()
}

fn cpu_ticks() -> Option<u64> {
    Some(stat_field(14)? + stat_field(15)?)
}

fn start_time() -> Option<u64> {
    let boot = fs::read_to_string("/proc/stat").ok()?;
    let boot: u64 = boot.lines().find_map(|l| l.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + stat_field(22)? / TICKS_PER_SECOND)
}

fn max_fds() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|l| l.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
