//! A file that tells Prometheus where this process answers, for its file discovery.
//!
//! In go the directory, the instance's name and the address that was bound; out comes `<instance>.json`
//! in the directory, which stands from [`announce`] until the [`Announcement`] is dropped. Needed where
//! several processes share a host and take the first free port of a range: nobody else knows the ports.
//! Promises: a reader sees a whole file or none; files of dead processes that name our address go; what
//! cannot be written is one warning and stops nothing.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tracing::{info, warn};

use crate::limits::{TARGETS_FILE_OCTETS_MAX, TARGETS_FILES_MAX};

/// Where the file goes and which host it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetsSettings {
    /// Directory of Prometheus' `file_sd_configs`; None writes nothing.
    pub dir: Option<PathBuf>,
    /// Host to name; None takes the bound address if it is one address, else the host's name.
    pub host: Option<String>,
    /// The HTTP side speaks TLS: the file tells the scraper.
    pub tls: bool,
}

/// The file, as long as this lives; removed with it, unless another process has taken its place.
#[derive(Debug)]
pub struct Announcement {
    /// None where it could not be written.
    path: Option<PathBuf>,
    target: String,
}

impl Drop for Announcement {
    fn drop(&mut self) {
        let Some(path) = self.path.take() else { return };
        // A process that reuses our name on another port owns the file by now.
        if targets_of(&path).is_some_and(|targets| targets.iter().all(|target| *target == self.target))
            && let Err(error) = fs::remove_file(&path)
        {
            warn!(file = %path.display(), %error, "the targets file cannot be removed: Prometheus goes on asking this process");
        }
    }
}

/// Writes the file of `instance`, which answers at `bound`, and removes those of dead processes that
/// answered there before. None if no directory is set.
#[must_use]
pub fn announce(settings: &TargetsSettings, instance: &str, bound: SocketAddr) -> Option<Announcement> {
    let dir = settings.dir.as_ref()?;
    let target = target(settings.host.as_deref(), bound);
    let path = dir.join(file_name(instance));
    let written = fs::create_dir_all(dir).and_then(|()| {
        // We hold the port, so whoever else names it is gone.
        remove_others(dir, &path, &target);
        write(&path, instance, &target, settings.tls)
    });
    Some(match written {
        Ok(()) => {
            info!(file = %path.display(), target, "written for Prometheus' file discovery");
            Announcement { path: Some(path), target }
        }
        Err(error) => {
            warn!(
                file = %path.display(),
                %error,
                "the targets file cannot be written, Prometheus will not find this process by it: make [http] \
                 targets_dir a directory that this user may write to, or leave it empty"
            );
            Announcement { path: None, target }
        }
    })
}

fn target(host: Option<&str>, bound: SocketAddr) -> String {
    let port = bound.port();
    match host {
        Some(host) => match host.parse::<IpAddr>() {
            Ok(address) => SocketAddr::new(address, port).to_string(),
            Err(_) => format!("{host}:{port}"),
        },
        None if bound.ip().is_unspecified() => format!("{}:{port}", host_name()),
        None => bound.to_string(),
    }
}

/// The host's name as the kernel has it; the loopback name where it has none.
fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() || name == "(none)" { "localhost".to_owned() } else { name.to_owned() }
}

/// `<instance>.json`; what could leave the directory or hide the file is written as `%XX`, so that two
/// names never meet in one file.
fn file_name(instance: &str) -> String {
    let mut name = String::with_capacity(instance.len() + 5);
    for (at, octet) in instance.bytes().enumerate() {
        if octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_' || (octet == b'.' && at > 0) {
            name.push(char::from(octet));
        } else {
            name.push_str(&format!("%{octet:02X}"));
        }
    }
    name + ".json"
}

fn write(path: &Path, instance: &str, target: &str, tls: bool) -> io::Result<()> {
    // Prometheus reads `*.json`; the unfinished file has another ending.
    let beside = path.with_extension("json.new");
    let mut text = json!([{ "targets": [target], "labels": { "instance_name": instance } }]);
    if tls {
        text[0]["labels"]["__scheme__"] = "https".into();
    }
    let mut file = File::create(&beside)?;
    writeln!(file, "{text}")?;
    // Whole before it gets its name, even over a crash of the host.
    file.sync_all()?;
    fs::rename(&beside, path)
}

fn remove_others(dir: &Path, own: &Path, target: &str) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.flatten().take(TARGETS_FILES_MAX).map(|entry| entry.path()) {
        let other = path != own && path.extension().is_some_and(|ending| ending == "json");
        if other && targets_of(&path).is_some_and(|targets| targets == [target]) {
            match fs::remove_file(&path) {
                Ok(()) => {
                    info!(file = %path.display(), target, "removed: its process is gone, the address is ours now")
                }
                Err(error) => {
                    warn!(file = %path.display(), %error, "names our address and cannot be removed: delete it");
                }
            }
        }
    }
}

/// Targets of a file in the form of ours; None for anything else, which is left alone.
fn targets_of(path: &Path) -> Option<Vec<String>> {
    let mut text = String::new();
    File::open(path).ok()?.take(TARGETS_FILE_OCTETS_MAX).read_to_string(&mut text).ok()?;
    let groups: Vec<Value> = serde_json::from_str(&text).ok()?;
    let [group] = groups.as_slice() else { return None };
    group.pointer("/labels/instance_name")?.as_str()?;
    group.get("targets")?.as_array()?.iter().map(|target| target.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn files(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("the directory is there");
        let mut names: Vec<String> =
            entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn settings(dir: &Path, host: Option<&str>) -> TargetsSettings {
        TargetsSettings { dir: Some(dir.to_path_buf()), host: host.map(str::to_owned), tls: false }
    }

    #[test]
    fn the_file_stands_from_the_start_to_the_end() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let below = dir.path().join("made/here");
        let announced = announce(&settings(&below, None), "collector-0", at("127.0.0.1:9100"));
        assert_eq!(files(&below), ["collector-0.json"]);
        let text = fs::read_to_string(below.join("collector-0.json")).expect("the file");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value, json!([{"targets": ["127.0.0.1:9100"], "labels": {"instance_name": "collector-0"}}]));
        drop(announced);
        assert!(files(&below).is_empty());
    }

    #[test]
    fn the_host_is_the_one_given_else_the_address_else_the_name_of_the_host() {
        assert_eq!(target(Some("node-3.example"), at("[::]:9101")), "node-3.example:9101");
        assert_eq!(target(Some("2001:db8::7"), at("[::]:9101")), "[2001:db8::7]:9101");
        assert_eq!(target(None, at("[::1]:9101")), "[::1]:9101");
        assert_eq!(target(None, at("0.0.0.0:9101")), format!("{}:9101", host_name()));
        assert_eq!(target(None, at("[::]:9101")), format!("{}:9101", host_name()));
        assert!(!host_name().is_empty() && !host_name().contains('\n'));
    }

    #[test]
    fn files_of_the_dead_that_name_our_address_go_and_others_stay() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("a file can be written");
        let of = |target: &str| format!(r#"[{{"targets":["{target}"],"labels":{{"instance_name":"x"}}}}]"#);
        write("dead.json", &of("127.0.0.1:9100"));
        write("neighbour.json", &of("127.0.0.1:9101"));
        write("foreign.json", r#"[{"targets":["127.0.0.1:9100"]}]"#);
        write("broken.json", "[{");
        write("dead.txt", &of("127.0.0.1:9100"));
        let _announced = announce(&settings(dir.path(), None), "new", at("127.0.0.1:9100"));
        assert_eq!(files(dir.path()), ["broken.json", "dead.txt", "foreign.json", "neighbour.json", "new.json"]);
    }

    #[test]
    fn a_file_that_another_process_took_over_stays() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let first = announce(&settings(dir.path(), None), "same", at("127.0.0.1:9100"));
        let second = announce(&settings(dir.path(), None), "same", at("127.0.0.1:9101"));
        drop(first);
        assert_eq!(files(dir.path()), ["same.json"]);
        drop(second);
        assert!(files(dir.path()).is_empty());
    }

    #[test]
    fn names_stay_inside_the_directory_and_apart() {
        assert_eq!(file_name("a.b-c_1"), "a.b-c_1.json");
        assert_eq!(file_name("../x"), "%2E.%2Fx.json");
        assert_ne!(file_name("a/b"), file_name("a%2Fb"));
    }

    #[test]
    fn a_directory_that_cannot_be_written_stops_nothing() {
        let announced = announce(&settings(Path::new("/proc/nowhere"), None), "x", at("127.0.0.1:9100"));
        assert!(announced.is_some_and(|announced| announced.path.is_none()));
        assert!(announce(&TargetsSettings { dir: None, host: None, tls: false }, "x", at("127.0.0.1:9100")).is_none());
    }
}
