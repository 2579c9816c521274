//! Which name this instance has: the setting (or POD_NAME), else a UUID that is kept in the data
//! directory, else one for this run.
//!
//! The UUID stands in `state/instance` of the data directory, guarded by a lock that is held until
//! the process ends: two collectors on one directory must not share a name, so the second one makes
//! its own for its run. Nothing here can fail; what went wrong is in the source.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use uuid::Uuid;

use super::Settings;

/// Locks of this process, by directory: a second start in the same process finds its own.
static HELD: Mutex<BTreeMap<PathBuf, File>> = Mutex::new(BTreeMap::new());

/// Name of this instance and where it came from.
#[must_use]
pub fn resolve(settings: &Settings) -> (String, String) {
    if let Some(name) = &settings.instance {
        return (name.clone(), "setting".to_owned());
    }
    let Some(data_dir) = &settings.data_dir else {
        return (of_run(), "made for this run: there is no [data] dir to keep it in".to_owned());
    };
    match kept(&data_dir.join("state")) {
        Ok(name) => (name, format!("file {}", data_dir.join("state/instance").display())),
        Err(e) => (of_run(), format!("made for this run: {} cannot keep it ({e})", data_dir.display())),
    }
}

/// True if the next start will find `instance` in `data_dir`.
#[must_use]
pub fn is_kept(data_dir: &Path, instance: &str) -> bool {
    let kept = std::fs::read_to_string(data_dir.join("state/instance"));
    kept.is_ok_and(|kept| kept.trim() == instance)
}

/// The name of this run: the same each time it is asked for, so that log lines and metrics agree.
fn of_run() -> String {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(fresh).clone()
}

fn fresh() -> String {
    Uuid::new_v4().to_string()
}

fn kept(state: &Path) -> io::Result<String> {
    std::fs::create_dir_all(state)?;
    let state = state.canonicalize()?;
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    if !held.contains_key(&state) {
        let lock = OpenOptions::new().create(true).append(true).open(state.join("instance.lock"))?;
        lock.try_lock().map_err(|e| match e {
            TryLockError::WouldBlock => io::Error::other("another collector uses it"),
            TryLockError::Error(e) => e,
        })?;
        held.insert(state.clone(), lock);
    }
    let path = state.join("instance");
    if let Ok(text) = std::fs::read_to_string(&path)
        && let Ok(uuid) = Uuid::parse_str(text.trim())
    {
        return Ok(uuid.to_string());
    }
    // Written beside and renamed: a crash leaves no half of a name.
    let name = fresh();
    let beside = state.join("instance.new");
    let mut file = File::create(&beside)?;
    writeln!(file, "{name}")?;
    file.sync_all()?;
    std::fs::rename(&beside, &path)?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::defaults;

    fn settings(dir: Option<&Path>) -> Settings {
        Settings { data_dir: dir.map(Path::to_path_buf), ..defaults() }
    }

    #[test]
    fn the_setting_wins() {
        let settings = Settings { instance: Some("collector-0".into()), ..defaults() };
        assert_eq!(resolve(&settings), ("collector-0".into(), "setting".into()));
    }

    #[test]
    fn a_name_is_kept_in_the_data_directory() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (first, source) = resolve(&settings(Some(dir.path())));
        assert!(source.starts_with("file "), "{source}");
        assert_eq!(resolve(&settings(Some(dir.path()))).0, first);
        assert!(is_kept(dir.path(), &first) && !is_kept(dir.path(), "another"));
        std::fs::write(dir.path().join("state/instance"), "nonsense").expect("the file can be written");
        let (third, _) = resolve(&settings(Some(dir.path())));
        assert_ne!(third, first);
        assert_eq!(resolve(&settings(Some(dir.path()))).0, third);
    }

    #[test]
    fn a_directory_that_another_process_holds_gives_a_name_for_this_run() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir_all(dir.path().join("state")).expect("directories can be made");
        let lock = File::create(dir.path().join("state/instance.lock")).expect("the lock can be made");
        lock.lock().expect("the lock is free");
        let (name, source) = resolve(&settings(Some(dir.path())));
        assert!(Uuid::parse_str(&name).is_ok());
        assert!(source.contains("another collector uses it"), "{source}");
    }

    #[test]
    fn without_a_directory_it_is_the_name_of_the_run() {
        assert_eq!(resolve(&settings(None)).0, resolve(&settings(None)).0);
        let (_, source) = resolve(&settings(Some(Path::new("/proc/nowhere"))));
        assert!(source.contains("/proc/nowhere cannot keep it"), "{source}");
    }
}
