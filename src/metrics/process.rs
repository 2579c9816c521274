//! The process's own figures, read from /proc at each scrape.
//!
//! A figure that /proc does not give is left out: a scrape never fails because of it.

use std::fmt::Write as _;
use std::fs;
use std::sync::OnceLock;

use super::catalog::PREFIX;
use super::text::head;

/// Clock ticks a second in /proc: USER_HZ is 100 on every Linux that this runs on.
const TICKS_PER_SECOND: u64 = 100;

/// `process_*` under the collector's prefix; a figure that /proc does not give is left out.
pub(super) fn write_process(text: &mut String) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |field: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(field))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    if let Some(cpu) = cpu_ticks() {
        let fraction = (cpu % TICKS_PER_SECOND) * 100 / TICKS_PER_SECOND;
        one(text, "process_cpu_seconds_total", &format!("{}.{fraction:02}", cpu / TICKS_PER_SECOND));
    }
    if let Some(rss) = kib("VmRSS:") {
        one(text, "process_resident_memory_bytes", &(rss * 1024).to_string());
    }
    if let Some(size) = kib("VmSize:") {
        one(text, "process_virtual_memory_bytes", &(size * 1024).to_string());
    }
    if let Some(threads) = kib("Threads:") {
        one(text, "process_threads", &threads.to_string());
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        one(text, "process_open_fds", &entries.count().to_string());
    }
    if let Some(max) = max_fds() {
        one(text, "process_max_fds", &max.to_string());
    }
    if let Some(start) = start_time() {
        one(text, "process_start_time_seconds", &start.to_string());
    }
}

fn one(text: &mut String, name: &str, value: &str) {
    head(text, name);
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

/// Read once: the kernel derives `btime` from the wall clock, so it moves with every step of it, and a
/// process that was not restarted would seem to be.
fn start_time() -> Option<u64> {
    static START: OnceLock<Option<u64>> = OnceLock::new();
    *START.get_or_init(read_start_time)
}

fn read_start_time() -> Option<u64> {
    let boot = fs::read_to_string("/proc/stat").ok()?;
    let boot: u64 = boot.lines().find_map(|l| l.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + stat_field(22)? / TICKS_PER_SECOND)
}

fn max_fds() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|l| l.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
