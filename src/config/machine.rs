//! What the machine gives this process: cores and memory.
//!
//! Read once, then passed as data, so that a configuration can be loaded for any machine. The cores
//! are those that the affinity mask and the cgroup's quota leave; the memory is the smallest limit of
//! our cgroup and of those above it (version 2 and 1), else what the machine has.

use std::path::{Path, PathBuf};

/// File that is read when nobody names one, if it exists.
pub const DEFAULT_FILE: &str = "/etc/clarion-collector/clarion-collector.toml";

/// Cores, memory and the default file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// Octets that this process may use at most, and what says so; None where nothing does.
    pub memory: Option<(u64, String)>,
    /// File that is read when nobody names one, if it exists.
    pub default_file: Option<PathBuf>,
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn detect() -> Self {
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory: memory(Path::new("/")),
            default_file: Some(PathBuf::from(DEFAULT_FILE)),
        }
    }
}

/// The smallest bound on memory below `root`, which is `/` but in tests.
fn memory(root: &Path) -> Option<(u64, String)> {
    let total = mem_total(root).map(|octets| (octets, "the machine's memory".to_owned()));
    let cgroups = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = cgroups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next(), fields.next().unwrap_or(""), fields.next().unwrap_or("/"));
        if controllers.is_empty() {
            limits_up(&root.join("sys/fs/cgroup"), path, "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            limits_up(&root.join("sys/fs/cgroup/memory"), path, "memory.limit_in_bytes")
        } else {
            Vec::new()
        }
    });
    // Without a limit version 1 says "about 2^63"; what exceeds the machine bounds nothing.
    let smallest = limits.min().map(|octets| (octets, "the cgroup's memory limit".to_owned()));
    match (smallest, total) {
        (Some(limit), Some(total)) if limit.0 < total.0 => Some(limit),
        (Some(limit), None) if limit.0 < 1 << 60 => Some(limit),
        (_, total) => total,
    }
}

/// Limits of the cgroup at `path` and of all above it. In a container without a cgroup namespace the
/// path is the host's and not to be seen; the mount's root is then our own cgroup and is read too.
fn limits_up(mount: &Path, path: &str, file: &str) -> Vec<u64> {
    Path::new(path.trim_start_matches('/'))
        .ancestors()
        .filter(|ancestor| ancestor.components().all(|part| matches!(part, std::path::Component::Normal(_))))
        .filter_map(|ancestor| std::fs::read_to_string(mount.join(ancestor).join(file)).ok()?.trim().parse().ok())
        .collect()
}

fn mem_total(root: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let kib: u64 =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a file has a directory")).expect("directories can be made");
            std::fs::write(path, text).expect("files can be written");
        }
        dir
    }

    #[test]
    fn version_2_takes_the_smallest_limit_up_the_hierarchy() {
        let dir = tree(&[
            ("proc/meminfo", "MemTotal:  1048576 kB\n"),
            ("proc/self/cgroup", "0::/pods/one\n"),
            ("sys/fs/cgroup/pods/one/memory.max", "max\n"),
            ("sys/fs/cgroup/pods/memory.max", "268435456\n"),
        ]);
        assert_eq!(memory(dir.path()), Some((256 << 20, "the cgroup's memory limit".into())));
    }

    #[test]
    fn version_1_falls_back_to_the_root_of_the_mount() {
        let dir = tree(&[
            ("proc/meminfo", "MemTotal:  1048576 kB\n"),
            ("proc/self/cgroup", "3:cpu,cpuacct:/\n2:memory:/docker/abc\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "134217728\n"),
        ]);
        assert_eq!(memory(dir.path()), Some((128 << 20, "the cgroup's memory limit".into())));
    }

    #[test]
    fn without_a_limit_it_is_the_machine() {
        let dir = tree(&[
            ("proc/meminfo", "MemFree: 1 kB\nMemTotal:  1048576 kB\n"),
            ("proc/self/cgroup", "2:memory:/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert_eq!(memory(dir.path()), Some((1 << 30, "the machine's memory".into())));
        assert_eq!(memory(tree(&[]).path()), None);
    }

    #[test]
    fn a_path_that_climbs_out_is_not_followed() {
        let dir = tree(&[("proc/self/cgroup", "0::/../../x\n"), ("x/memory.max", "1\n")]);
        assert_eq!(memory(dir.path()), None);
    }
}
