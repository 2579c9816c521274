//! Reading the host: files of /proc, /sys and /run below a root that is `/` but in tests.
//!
//! Enters: a path without its first slash. Leaves: text, or why it could not be read, in words for
//! people: what cannot be read is never taken for well. Nothing is written, no privilege is needed.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Octets that are read of a file: a table of 262,144 tracked connections takes about 50 MiB, and the
/// first part of it says enough.
const READ_MAX: u64 = 8 << 20;

/// The host as files.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
}

impl Default for Host {
    fn default() -> Self {
        Self::below("/")
    }
}

impl Host {
    /// The host whose files stand below `root`.
    #[must_use]
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where its files stand.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// True if it is this machine, so that commands and sockets speak of the same host as the files.
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Text of a file, or a sentence that says why not.
    ///
    /// # Errors
    /// The sentence.
    pub fn text(&self, path: &str) -> Result<String, String> {
        let mut octets = Vec::new();
        File::open(self.root.join(path))
            .and_then(|file| file.take(READ_MAX).read_to_end(&mut octets))
            .map(|_| String::from_utf8_lossy(&octets).into_owned())
            .map_err(|e| format!("/{path} cannot be read: {e}"))
    }

    /// A file that holds one number.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub fn number(&self, path: &str) -> Result<u64, String> {
        let text = self.text(path)?;
        text.trim().parse().map_err(|_| format!("/{path} holds no number"))
    }

    /// True if the file is there.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// Names in a directory, sorted; none if it cannot be read.
    #[must_use]
    pub fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort_unstable();
        names
    }

    /// Effective user of this process.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub fn uid(&self) -> Result<u32, String> {
        let status = self.text("proc/self/status")?;
        // Real, effective, saved, file system.
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        let uid = line.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse().ok());
        uid.ok_or_else(|| "/proc/self/status names no user".to_owned())
    }
}

/// The value under `name` in a file of /proc/net where a line of names stands above a line of values,
/// both behind `group` (snmp, netstat).
#[must_use]
pub fn paired(text: &str, group: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(group)?.strip_prefix(':'));
    let at = lines.next()?.split_ascii_whitespace().position(|n| n == name)?;
    lines.next()?.split_ascii_whitespace().nth(at)?.parse().ok()
}

/// The value behind `name` where each line is a name and a value (snmp6, cpu.stat).
#[must_use]
pub fn named(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix([' ', '\t'])?.trim().parse().ok())
}

/// A host made of files, for tests.
#[cfg(test)]
pub fn of_files(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().expect("a file has a directory")).expect("directories can be made");
        fs::write(path, text).expect("files can be written");
    }
    let host = Host::below(dir.path());
    (dir, host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_under_their_names() {
        let snmp = "Udp: InDatagrams NoPorts\nUdp: 7 8\nUdpLite: InDatagrams NoPorts\nUdpLite: 9 10\n";
        assert_eq!(paired(snmp, "Udp", "NoPorts"), Some(8));
        assert_eq!(paired(snmp, "UdpLite", "InDatagrams"), Some(9));
        assert_eq!(paired(snmp, "Udp", "Nothing"), None);
        assert_eq!(named("nr_periods 5\nnr_throttled 3\n", "nr_throttled"), Some(3));
        assert_eq!(named("Udp6InDatagrams   \t12\n", "Udp6InDatagrams"), Some(12));
        assert_eq!(named("nr_periods_x 5\n", "nr_periods"), None);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let (_dir, host) =
            of_files(&[("proc/self/status", "Name: x\nUid:\t0\t65532\t0\t0\n"), ("a", " 12\n"), ("b", "x")]);
        assert_eq!((host.uid(), host.number("a")), (Ok(65_532), Ok(12)));
        assert!(host.number("b").unwrap_err().contains("/b holds no number"));
        assert!(host.text("c").unwrap_err().contains("/c cannot be read"));
        assert!(host.has("a") && !host.has("c") && !host.is_here() && Host::default().is_here());
    }
}
