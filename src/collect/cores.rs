//! Which cores the workers run on, and whether they are pinned to them.
//!
//! `auto` pins only where this process alone may use its cores: as many cores as workers, no cgroup
//! quota below them, and a lock for each. The lock is an abstract socket name: it goes with the
//! process and needs no file system, but is seen only inside one network namespace. A container may
//! have neighbours on its cores whom it cannot see, so there `auto` pins only to a set of cores that
//! is smaller than the machine's (a cpuset that somebody chose).

use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use core_affinity::CoreId;

use super::Pin;

/// Where each worker runs, for as long as this lives.
#[derive(Debug)]
pub struct Placement {
    /// Core of worker `i`; empty if the scheduler places them.
    pub cores: Vec<CoreId>,
    /// What was decided and why, for the start log.
    pub reason: String,
    _locks: Vec<UnixDatagram>,
}

impl Placement {
    /// Decides for `workers` threads.
    #[must_use]
    pub fn decide(pin: Pin, workers: usize) -> Self {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let facts = Facts { quota: quota(Path::new("/")), container: in_container(), online: online_cores() };
        Self::from_facts(pin, workers, &cores, &facts, take_lock)
    }

    fn from_facts(
        pin: Pin,
        workers: usize,
        allowed: &[CoreId],
        facts: &Facts,
        mut lock: impl FnMut(usize) -> Option<UnixDatagram>,
    ) -> Self {
        let unpinned = |reason: String| Self { cores: Vec::new(), reason, _locks: Vec::new() };
        let all = allowed.len();
        match pin {
            Pin::Off => return unpinned("not pinned: pin = off".to_owned()),
            _ if allowed.is_empty() => return unpinned("not pinned: the kernel does not tell the cores".to_owned()),
            Pin::On => {
                let cores: Vec<CoreId> = allowed.iter().copied().cycle().take(workers).collect();
                let reason = format!("pinned to cores {}: pin = on", list(&cores));
                return Self { cores, reason, _locks: Vec::new() };
            }
            Pin::Auto => {}
        }
        if workers > all {
            return unpinned(format!("not pinned: {workers} workers on {all} cores"));
        }
        if let Some(quota) = facts.quota
            && quota < all as f64
        {
            return unpinned(format!(
                "not pinned: a cgroup quota of {quota:.2} cores is below the {all} cores allowed"
            ));
        }
        if facts.container && all >= facts.online {
            return unpinned(format!(
                "not pinned: a container that may use all {all} cores cannot see who else does; set pin = on if nobody"
            ));
        }
        let (mut cores, mut locks) = (Vec::new(), Vec::new());
        for core in allowed {
            if cores.len() < workers
                && let Some(held) = lock(core.id)
            {
                cores.push(*core);
                locks.push(held);
            }
        }
        if cores.len() < workers {
            return unpinned(format!(
                "not pinned: other collectors have all but {} of the {all} cores to themselves, {workers} are needed",
                cores.len()
            ));
        }
        let reason = format!("pinned to cores {}: this process alone may use them", list(&cores));
        Self { cores, reason, _locks: locks }
    }
}

struct Facts {
    /// cgroup quota in cores; None without one.
    quota: Option<f64>,
    /// This process has a PID namespace of its own.
    container: bool,
    /// Cores of the machine.
    online: usize,
}

fn list(cores: &[CoreId]) -> String {
    cores.iter().map(|c| c.id.to_string()).collect::<Vec<_>>().join(",")
}

fn take_lock(core: usize) -> Option<UnixDatagram> {
    let bind = || -> io::Result<UnixDatagram> {
        UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(format!("clarion-collector-core-{core}"))?)
    };
    bind().ok()
}

/// The first PID namespace has a fixed inode (PROC_PID_INIT_INO).
fn in_container() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|l| l.as_os_str() != "pid:[4026531836]")
}

/// Count of a list such as `0-3,8`.
fn online_cores() -> usize {
    let text = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let size = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(last.parse::<usize>().ok()?.checked_sub(first.parse().ok()?)? + 1)
    };
    text.trim().split(',').filter_map(size).sum()
}

/// Smallest CPU quota of the cgroups that this process is in, in cores. `root` is `/` but in tests.
fn quota(root: &Path) -> Option<f64> {
    let membership = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mut smallest: Option<f64> = None;
    for line in membership.lines() {
        // hierarchy:controllers:path; hierarchy 0 without controllers is version 2.
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let v2 = controllers.is_empty();
        if !v2 && !controllers.split(',').any(|c| c == "cpu") {
            continue;
        }
        let mount = root.join(if v2 { "sys/fs/cgroup" } else { "sys/fs/cgroup/cpu" });
        // In a container the path may be the host's: then only the mount's root is there.
        let mut folder: Option<PathBuf> = Some(mount.join(path.trim_start_matches('/')));
        while let Some(at) = folder {
            let found = if v2 { quota_v2(&at) } else { quota_v1(&at) };
            smallest = match (smallest, found) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            folder = at.parent().filter(|p| p.starts_with(&mount)).map(Path::to_path_buf);
        }
    }
    smallest
}

fn quota_v2(folder: &Path) -> Option<f64> {
    let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    share(quota, period)
}

fn quota_v1(folder: &Path) -> Option<f64> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    share(read("cpu.cfs_quota_us")?.trim(), read("cpu.cfs_period_us")?.trim())
}

/// `max` (version 2) and -1 (version 1) mean no quota.
fn share(quota: &str, period: &str) -> Option<f64> {
    let (quota, period) = (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(count: usize) -> Vec<CoreId> {
        (0..count).map(|id| CoreId { id }).collect()
    }

    const ALONE: Facts = Facts { quota: None, container: false, online: 8 };

    fn free(_: usize) -> Option<UnixDatagram> {
        UnixDatagram::unbound().ok()
    }

    #[test]
    fn auto_pins_only_when_alone() {
        let pins = |workers, facts: &Facts, lock: fn(usize) -> Option<UnixDatagram>| {
            Placement::from_facts(Pin::Auto, workers, &cores(4), facts, lock)
        };
        assert_eq!(pins(4, &ALONE, free).cores, cores(4));
        assert!(pins(5, &ALONE, free).cores.is_empty());
        assert!(pins(2, &Facts { quota: Some(3.5), ..ALONE }, free).cores.is_empty());
        assert_eq!(pins(2, &Facts { quota: Some(4.0), ..ALONE }, free).cores.len(), 2);
        // A container on four of eight cores: somebody chose them. On all four of four: nobody did.
        assert_eq!(pins(2, &Facts { container: true, ..ALONE }, free).cores.len(), 2);
        assert!(pins(2, &Facts { container: true, online: 4, ..ALONE }, free).cores.is_empty());
        // Cores 0 and 1 are another's: the next two are taken, and three are not to be had.
        let odd = |core| if core < 2 { None } else { free(core) };
        assert_eq!(pins(2, &ALONE, odd).cores, [CoreId { id: 2 }, CoreId { id: 3 }]);
        assert!(pins(3, &ALONE, odd).cores.is_empty());
    }

    #[test]
    fn on_pins_always_and_off_never() {
        let none = |_| None;
        let on = Placement::from_facts(Pin::On, 3, &cores(2), &ALONE, none);
        assert_eq!(on.cores.iter().map(|c| c.id).collect::<Vec<_>>(), [0, 1, 0]);
        assert!(on.reason.contains("0,1,0"), "{}", on.reason);
        assert!(Placement::from_facts(Pin::Off, 1, &cores(2), &ALONE, free).cores.is_empty());
        assert!(Placement::from_facts(Pin::On, 1, &[], &ALONE, free).cores.is_empty());
    }

    #[test]
    fn the_smallest_quota_up_the_hierarchy_counts() {
        let root = tempfile::tempdir().expect("tempdir");
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            fs::write(path, text).expect("write");
        };
        assert_eq!(quota(root.path()), None);
        write("proc/self/cgroup", "0::/a/b\n");
        write("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
        assert_eq!(quota(root.path()), None);
        write("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
        assert_eq!(quota(root.path()), Some(1.5));
        write("proc/self/cgroup", "4:cpu,cpuacct:/x\n1:name=systemd:/x\n");
        write("sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "-1\n");
        write("sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000\n");
        assert_eq!(quota(root.path()), None);
        write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n");
        write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
        assert_eq!(quota(root.path()), Some(0.5));
    }

    #[test]
    fn a_lock_is_held_once() {
        // Far past any core that a placement could ask for.
        let held = take_lock(4_000_000).expect("free");
        assert!(take_lock(4_000_000).is_none());
        drop(held);
        assert!(take_lock(4_000_000).is_some());
    }
}
