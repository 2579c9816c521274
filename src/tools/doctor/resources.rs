//! What the process may use: kernel, processor quota, cores, open files, memory, the data directory.
//!
//! If a collector runs here, its own cgroup and limits are looked at, not those of this process: a
//! service manager gives them to the service alone.

use std::ffi::CString;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::finding::{Finding, Severity};
use super::host::{Host, named};
use crate::collect::{self, FileSystemRoom, Pin};
use crate::config::{Machine, Settings, approximate};
use crate::limits;

/// The oldest kernel whose behaviour the collector counts on.
const KERNEL_MIN: (u32, u32) = (5, 10);
/// Less room than this keeps nothing worth keeping.
const ROOM_FAULT: u64 = 1 << 20;
/// A minute of spool at 10,000 records a second takes about 160 MB.
const ROOM_WARNING: u64 = 256 << 20;
/// Descriptors beside sockets and connections: files, epoll, pipes.
const FILES_BESIDE: u64 = 64;

/// The cgroup's processor quota.
#[derive(Debug, Clone, PartialEq)]
pub struct Quota {
    /// Cores' worth of time, the smallest of the hierarchy.
    pub cores: f64,
    /// Periods in which the group was stopped until the next one.
    pub throttled: u64,
    /// All periods.
    pub periods: u64,
}

/// What the process may use.
#[derive(Debug, Clone)]
pub struct ResourceFacts {
    /// Release of the kernel.
    pub kernel: Result<String, String>,
    /// Quota at the begin of the look; None without one.
    pub quota: Result<Option<Quota>, String>,
    /// Quota at its end.
    pub quota_after: Result<Option<Quota>, String>,
    /// Process whose cgroup and limits were read, if it is a running collector.
    pub subject: Option<u32>,
    /// Cores that this process may use.
    pub cores: usize,
    /// Workers of the settings.
    pub workers: usize,
    /// Pinning of the settings.
    pub pin: Pin,
    /// Soft bound of open files.
    pub files: Result<u64, String>,
    /// Descriptors that the settings may need.
    pub files_needed: u64,
    /// Memory sum of the settings, and their limit.
    pub memory: (u64, u64),
    /// What bounds memory, and who says so.
    pub bound: Option<(u64, String)>,
    /// MemAvailable.
    pub available: Result<u64, String>,
    /// The data directory, if one is set.
    pub data: Option<DataDir>,
}

/// The data directory.
#[derive(Debug, Clone)]
pub struct DataDir {
    /// As set.
    pub path: PathBuf,
    /// False if it has to be made first; then what follows is about the nearest directory above.
    pub exists: bool,
    /// A file can be made and written there; None if the file system cannot tell without leaving traces.
    pub writable: Option<Result<(), String>>,
    /// Room.
    pub room: Result<FileSystemRoom, String>,
}

impl ResourceFacts {
    /// Reads them; `running` is the process number of a collector that runs here.
    #[must_use]
    pub fn gather(host: &Host, settings: &Settings, machine: &Machine, running: Option<u32>) -> Self {
        let subject = running.filter(|pid| host.text(&format!("proc/{pid}/cgroup")).is_ok());
        let sockets = (settings.collect.workers * settings.collect.listeners.len()) as u64;
        let requests = settings.sink.requests_in_flight as u64;
        Self {
            kernel: host.text("proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
            quota: quota(host, subject),
            quota_after: Ok(None),
            subject,
            cores: machine.cores,
            workers: settings.collect.workers,
            pin: settings.collect.pin,
            files: open_files(host, subject),
            files_needed: sockets + requests + limits::HTTP_CONNECTIONS_MAX as u64 + FILES_BESIDE,
            memory: (settings.memory_sum().iter().map(|post| post.octets).sum(), settings.memory_limit),
            bound: machine.memory.clone(),
            available: available(host),
            data: settings.data_dir.as_deref().map(data_dir),
        }
    }

    /// Reads the quota's counters once more, so that `judge` sees what happens now.
    pub fn look_again(&mut self, host: &Host) {
        self.quota_after = quota(host, self.subject);
    }
}

fn of_subject(subject: Option<u32>, file: &str) -> String {
    subject.map_or_else(|| format!("proc/self/{file}"), |pid| format!("proc/{pid}/{file}"))
}

/// The smallest quota up the hierarchy, of version 2 or 1.
fn quota(host: &Host, subject: Option<u32>) -> Result<Option<Quota>, String> {
    let cgroups = host.text(&of_subject(subject, "cgroup"))?;
    let mut smallest: Option<Quota> = None;
    for line in cgroups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap_or(""), fields.next().unwrap_or("/"));
        let mounts: &[&str] = match controllers {
            "" => &["sys/fs/cgroup", "sys/fs/cgroup/unified"],
            named if named.split(',').any(|c| c == "cpu") => &["sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"],
            _ => continue,
        };
        let normal = |p: &&Path| p.components().all(|c| matches!(c, std::path::Component::Normal(_)));
        for group in Path::new(path.trim_start_matches('/')).ancestors().filter(normal) {
            for mount in mounts {
                let at = Path::new(mount).join(group).display().to_string();
                let found = quota_at(host, at.trim_end_matches('/'));
                if let Some(quota) = found
                    && smallest.as_ref().is_none_or(|s| quota.cores < s.cores)
                {
                    smallest = Some(quota);
                }
            }
        }
    }
    Ok(smallest)
}

fn quota_at(host: &Host, group: &str) -> Option<Quota> {
    let (time, period) = if let Ok(text) = host.text(&format!("{group}/cpu.max")) {
        let mut fields = text.split_ascii_whitespace();
        // "max" is no number: no quota.
        (fields.next()?.parse::<f64>().ok()?, fields.next()?.parse::<f64>().ok()?)
    } else {
        // -1 is no quota.
        let time = host.number(&format!("{group}/cpu.cfs_quota_us")).ok()?;
        let period = host.number(&format!("{group}/cpu.cfs_period_us")).ok()?;
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a period: below 2^53")]
        (time as f64, period as f64)
    };
    let stat = host.text(&format!("{group}/cpu.stat")).unwrap_or_default();
    let counter = |name| named(&stat, name).unwrap_or(0);
    (period > 0.0).then(|| Quota {
        cores: time / period,
        throttled: counter("nr_throttled"),
        periods: counter("nr_periods"),
    })
}

/// The soft limit in /proc/self/limits.
fn open_files(host: &Host, subject: Option<u32>) -> Result<u64, String> {
    let file = of_subject(subject, "limits");
    let text = host.text(&file)?;
    let row = text.lines().find_map(|line| line.strip_prefix("Max open files"));
    match row.and_then(|row| row.split_ascii_whitespace().next()) {
        Some("unlimited") => Ok(u64::MAX),
        Some(number) => number.parse().map_err(|_| format!("/{file}: {number} is no number")),
        None => Err(format!("/{file} does not name the bound of open files")),
    }
}

fn available(host: &Host) -> Result<u64, String> {
    let text = host.text("proc/meminfo")?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib.saturating_mul(1_024)).ok_or_else(|| "/proc/meminfo has no MemAvailable".to_owned())
}

/// Tries the directory, or the nearest one above that exists. A nameless file is gone when it is closed.
fn data_dir(path: &Path) -> DataDir {
    let exists = path.is_dir();
    let nearest = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    let nearest = if exists { path } else { nearest };
    let room = CString::new(nearest.as_os_str().as_bytes())
        .map_err(|e| e.to_string())
        .and_then(|path| collect::file_system_room(&path).map_err(|e| e.to_string()));
    DataDir { path: path.to_owned(), exists, writable: try_write(nearest), room }
}

fn try_write(dir: &Path) -> Option<Result<(), String>> {
    if !dir.is_dir() {
        return Some(Err(format!("{} is no directory", dir.display())));
    }
    let opened = std::fs::OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(dir);
    let written = opened.and_then(|mut file| file.write_all(&[0; 4_096]));
    match written {
        Ok(()) => Some(Ok(())),
        // Some network and overlay file systems have no nameless files.
        Err(e) if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR)) => None,
        Err(e) => Some(Err(e.to_string())),
    }
}

/// The findings.
#[must_use]
pub fn judge(facts: &ResourceFacts) -> Vec<Finding> {
    vec![kernel(facts), cpu_quota(facts), cores(facts), files(facts), memory(facts), data(facts)]
}

fn kernel(facts: &ResourceFacts) -> Finding {
    const CHECK: &str = "kernel";
    let release = match &facts.kernel {
        Ok(release) => release,
        Err(why) => return Finding::unknown(CHECK, why, "uname -r"),
    };
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= KERNEL_MIN {
        return Finding::ok(CHECK, format!("Linux {release}"));
    }
    Finding::new(
        CHECK,
        Severity::Fault,
        format!("Linux {release}"),
        "the collector is made for Linux 5.10 and later: what it counts on may be missing",
        "run it on a host with a newer kernel",
    )
}

fn cpu_quota(facts: &ResourceFacts) -> Finding {
    const CHECK: &str = "cpu-quota";
    let of = facts.subject.map_or_else(|| "this process".to_owned(), |pid| format!("the collector, pid {pid}"));
    let (before, after) = match (&facts.quota, &facts.quota_after) {
        (Ok(Some(before)), Ok(after)) => (before, after.as_ref().unwrap_or(before)),
        (Ok(None), _) => return Finding::ok(CHECK, format!("no quota on {of}")),
        (Err(why), _) | (_, Err(why)) => return Finding::unknown(CHECK, why, "cat /sys/fs/cgroup/cpu.max"),
    };
    let now = after.throttled.saturating_sub(before.throttled);
    let seen = format!(
        "{:.2} cores for {of}; stopped in {} of {} periods, {now} while looking",
        after.cores, after.throttled, after.periods
    );
    let cure = "in Kubernetes: resources.requests.cpu without limits.cpu; Docker: no --cpus, no cpus: in compose;\n\
                systemd: no CPUQuota=. To bound it, give whole cores instead (cpuset, --cpuset-cpus, AllowedCPUs=)";
    let means = "when the quota is used up the process stands still until the next period (100 ms), and full sockets lose \
                 datagrams meanwhile";
    let severity = if after.throttled > 0 { Severity::Warning } else { Severity::Hint };
    Finding::new(CHECK, severity, seen, means, cure)
}

fn cores(facts: &ResourceFacts) -> Finding {
    const CHECK: &str = "cores";
    let seen = format!("{} workers on {} usable cores", facts.workers, facts.cores);
    if facts.workers <= facts.cores {
        return Finding::ok(CHECK, seen);
    }
    let pinned = facts.pin == Pin::On;
    Finding::new(
        CHECK,
        if pinned { Severity::Warning } else { Severity::Hint },
        seen,
        if pinned {
            "pinned workers share cores, and one waits while the other works, whatever else idles"
        } else {
            "more workers than cores gain nothing and split the receive buffer into smaller parts"
        },
        format!("[receive] workers = {}, or leave it out", facts.cores),
    )
}

fn files(facts: &ResourceFacts) -> Finding {
    const CHECK: &str = "open-files";
    let needed = facts.files_needed;
    match &facts.files {
        Err(why) => Finding::unknown(CHECK, why, "ulimit -n"),
        Ok(bound) if *bound < needed => Finding::new(
            CHECK,
            Severity::Fault,
            format!("{bound} files may be open, up to {needed} are needed"),
            "sockets, connections to the backend or the HTTP side fail when the bound is met",
            format!("LimitNOFILE={} in the systemd unit, --ulimit nofile in Docker, or ulimit -n", needed.max(65_536)),
        ),
        Ok(bound) => Finding::ok(CHECK, format!("{bound} may be open, up to {needed} are needed")),
    }
}

fn memory(facts: &ResourceFacts) -> Finding {
    const CHECK: &str = "memory";
    let (sum, limit) = facts.memory;
    let Some((bound, who)) = &facts.bound else {
        return Finding::unknown(CHECK, "nothing tells how much memory there is", "free -m");
    };
    let seen = format!(
        "at most {} by the sum of all bounds, [memory] limit {}, {who} {}",
        approximate(sum),
        approximate(limit),
        approximate(*bound)
    );
    let cure = "lower [memory] limit (75 % of the bound is the default), or give the process more; the posts of the sum: \
                clarion-collector check";
    if sum > *bound {
        let means = "the kernel ends the process when the bound is met, and what it held is lost";
        return Finding::new(CHECK, Severity::Fault, seen, means, cure);
    }
    if limit > *bound / 10 * 9 {
        let means =
            "[memory] limit leaves less than a tenth for what it does not count: the kernel may end the process";
        return Finding::new(CHECK, Severity::Warning, seen, means, cure);
    }
    match &facts.available {
        // What a running collector holds is not available, and counted in its sum.
        Ok(available) if *available < sum && facts.subject.is_none() => Finding::new(
            CHECK,
            Severity::Warning,
            format!("{seen}; {} available now", approximate(*available)),
            "other programs use so much that the bounds cannot all be reached",
            format!("free -m    # end what is not needed\n{cure}"),
        ),
        _ => Finding::ok(CHECK, seen),
    }
}

fn data(facts: &ResourceFacts) -> Finding {
    const CHECK: &str = "data-dir";
    let Some(data) = &facts.data else {
        return Finding::ok(CHECK, "none is set: nothing is kept on disk");
    };
    let path = data.path.display();
    let below = if data.exists { "" } else { ", which does not exist yet" };
    if let Some(Err(why)) = &data.writable {
        return Finding::new(
            CHECK,
            Severity::Fault,
            format!("{path}{below} cannot be written: {why}"),
            "what should outlive a restart is lost: the instance name, and what else the data directory is for",
            format!(
                "install -d -o USER -g GROUP {path}    # the collector's own; mount it writable, free room: df -h {path}"
            ),
        );
    }
    let room = match &data.room {
        Ok(room) => room,
        Err(why) => return Finding::unknown(CHECK, format!("room at {path}: {why}"), format!("df -h {path}")),
    };
    let seen = format!("{path}{below}: {} of {} free", approximate(room.free_octets), approximate(room.octets));
    let files_gone = room.files > 0 && room.free_files == 0;
    if room.free_octets < ROOM_FAULT || files_gone {
        return Finding::new(
            CHECK,
            Severity::Fault,
            if files_gone { format!("{seen}; no inode is free") } else { seen },
            "the file system is full: nothing can be kept",
            format!("df -h {path}; df -i {path}    # and make room"),
        );
    }
    if data.writable.is_none() {
        return Finding::unknown(
            CHECK,
            format!("{seen}; whether it is writable cannot be tried without leaving a file"),
            format!("touch {path}/x && rm {path}/x    # as the collector's user"),
        );
    }
    if room.free_octets < ROOM_WARNING {
        let means = "an outage of the backend fills it within a minute of heavy traffic";
        return Finding::new(CHECK, Severity::Warning, seen, means, format!("df -h {path}    # and make room"));
    }
    Finding::ok(CHECK, seen)
}

#[cfg(test)]
mod tests {
    use super::super::host::of_files;
    use super::*;

    fn facts() -> ResourceFacts {
        ResourceFacts {
            kernel: Ok("6.1.0-amd64".to_owned()),
            quota: Ok(None),
            quota_after: Ok(None),
            subject: None,
            cores: 4,
            workers: 4,
            pin: Pin::Auto,
            files: Ok(1_024),
            files_needed: 200,
            memory: (1 << 30, 2 << 30),
            bound: Some((4 << 30, "the machine's memory".to_owned())),
            available: Ok(3 << 30),
            data: None,
        }
    }

    fn of(check: &str, facts: &ResourceFacts) -> Finding {
        judge(facts).into_iter().find(|f| f.check == check).expect("each check says something")
    }

    #[test]
    fn a_good_host_is_good() {
        assert!(judge(&facts()).iter().all(|f| f.severity == Severity::Ok), "{:?}", judge(&facts()));
    }

    #[test]
    fn old_kernels_few_files_and_many_workers_are_named() {
        let severity = |check, change: fn(&mut ResourceFacts)| {
            let mut facts = facts();
            change(&mut facts);
            of(check, &facts).severity
        };
        assert_eq!(severity("kernel", |f| f.kernel = Ok("5.4.0-generic".to_owned())), Severity::Fault);
        assert_eq!(severity("kernel", |f| f.kernel = Ok("5.10.0".to_owned())), Severity::Ok);
        assert_eq!(severity("kernel", |f| f.kernel = Err("no".to_owned())), Severity::Unknown);
        assert_eq!(severity("open-files", |f| f.files = Ok(199)), Severity::Fault);
        assert_eq!(severity("cores", |f| f.workers = 5), Severity::Hint);
        assert_eq!(severity("cores", |f| (f.workers, f.pin) = (5, Pin::On)), Severity::Warning);
        assert_eq!(severity("memory", |f| f.bound = None), Severity::Unknown);
        assert_eq!(severity("memory", |f| f.memory.0 = 5 << 30), Severity::Fault);
        assert_eq!(severity("memory", |f| f.memory.1 = 4 << 30), Severity::Warning);
        assert_eq!(severity("memory", |f| f.available = Ok(1 << 20)), Severity::Warning);
        assert_eq!(severity("memory", |f| (f.available, f.subject) = (Ok(1 << 20), Some(7))), Severity::Ok);
    }

    #[test]
    fn quotas_of_both_versions_are_found_up_the_hierarchy() {
        let (_dir, two) = of_files(&[
            ("proc/self/cgroup", "0::/pods/one\n"),
            ("sys/fs/cgroup/pods/one/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/pods/cpu.max", "50000 100000\n"),
            ("sys/fs/cgroup/pods/cpu.stat", "usage_usec 1\nnr_periods 10\nnr_throttled 3\n"),
        ]);
        assert_eq!(quota(&two, None), Ok(Some(Quota { cores: 0.5, throttled: 3, periods: 10 })));
        let (_dir, one) = of_files(&[
            ("proc/self/cgroup", "3:cpu,cpuacct:/docker/abc\n2:memory:/x\n"),
            ("proc/9/cgroup", "3:cpu,cpuacct:/other\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu/other/cpu.cfs_quota_us", "200000\n"),
            ("sys/fs/cgroup/cpu/other/cpu.cfs_period_us", "100000\n"),
        ]);
        assert_eq!(quota(&one, None), Ok(None));
        assert_eq!(quota(&one, Some(9)), Ok(Some(Quota { cores: 2.0, throttled: 0, periods: 0 })));
        let (_dir, none) = of_files(&[]);
        assert!(quota(&none, None).is_err());
        let (_dir, out) = of_files(&[("proc/self/cgroup", "0::/../../x\n"), ("x/cpu.max", "1 1\n")]);
        assert_eq!(quota(&out, None), Ok(None), "a path that climbs out is not followed");
    }

    #[test]
    fn throttling_is_a_warning_and_a_quota_alone_a_hint() {
        let with = |before, after| {
            let quota = |throttled| Ok(Some(Quota { cores: 0.5, throttled, periods: 10 }));
            of("cpu-quota", &ResourceFacts { quota: quota(before), quota_after: quota(after), ..facts() })
        };
        assert_eq!(with(0, 0).severity, Severity::Hint);
        let throttled = with(3, 5);
        assert!(throttled.severity == Severity::Warning && throttled.seen.contains("2 while looking"), "{throttled:?}");
        assert_eq!(of("cpu-quota", &ResourceFacts { quota: Err("no".into()), ..facts() }).severity, Severity::Unknown);
    }

    #[test]
    fn the_data_directory_is_tried_and_left_as_it_was() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let deeper = dir.path().join("a/b");
        let file = dir.path().join("file");
        std::fs::write(&file, "x").expect("a file can be written");
        let tried = data_dir(&deeper);
        assert!(!tried.exists && !matches!(tried.writable, Some(Err(_))), "{tried:?}");
        assert!(data_dir(dir.path()).exists);
        assert!(matches!(data_dir(&file).writable, Some(Err(why)) if why.contains("is no directory")));
        assert_eq!(std::fs::read_dir(dir.path()).expect("it can be listed").count(), 1, "no trace but our own file");

        let room = |free_octets, free_files| Ok(FileSystemRoom { free_octets, octets: 1 << 40, free_files, files: 9 });
        let with = |writable, room| {
            let data = DataDir { path: PathBuf::from("/data"), exists: true, writable, room };
            of("data-dir", &ResourceFacts { data: Some(data), ..facts() }).severity
        };
        let big = 1 << 40;
        assert_eq!(with(Some(Ok(())), room(big, 9)), Severity::Ok);
        assert_eq!(with(None, room(big, 9)), Severity::Unknown);
        assert_eq!(with(Some(Err("Read-only file system".to_owned())), room(big, 9)), Severity::Fault);
        assert_eq!(with(Some(Ok(())), room(0, 9)), Severity::Fault);
        assert_eq!(with(Some(Ok(())), room(big, 0)), Severity::Fault);
        assert_eq!(with(Some(Ok(())), room(ROOM_WARNING - 1, 9)), Severity::Warning);
        assert_eq!(with(Some(Ok(())), Err("no".to_owned())), Severity::Unknown);
    }
}
