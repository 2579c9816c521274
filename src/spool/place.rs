//! Whose directory is whose: one process a directory, by a lock that ends with the process.
//!
//! Below the root each replica of a host has a directory of its own: 0, 1, ... Promised: a directory in
//! use is never touched; one that nobody holds and that has segments is found by whoever looks.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::limits;

const LOCK: &str = "lock";

/// A directory that this process holds, as long as this value lives.
#[derive(Debug)]
pub(super) struct Place {
    /// Its number, which is its name below the root.
    pub(super) number: u32,
    pub(super) path: PathBuf,
    _lock: File,
}

/// Holds the first directory that nobody else does, and makes it if need be.
pub(super) fn claim(root: &Path) -> io::Result<Place> {
    for number in 0..limits::SPOOL_REPLICAS_MAX {
        let path = root.join(number.to_string());
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        if let Some(place) = hold(number, path)? {
            return Ok(place);
        }
    }
    let most = limits::SPOOL_REPLICAS_MAX;
    Err(io::Error::new(io::ErrorKind::ResourceBusy, format!("all {most} directories are held by other processes")))
}

/// Holds a directory with segments that nobody else holds; `but` are not looked at.
pub(super) fn orphan(root: &Path, but: impl Fn(u32) -> bool) -> Option<Place> {
    for number in (0..limits::SPOOL_REPLICAS_MAX).filter(|number| !but(*number)) {
        let path = root.join(number.to_string());
        if !has_segments(&path) {
            continue;
        }
        // One that cannot be held for another reason is somebody else's trouble.
        if let Ok(Some(place)) = hold(number, path) {
            // Its owner may have emptied and left it in between.
            if has_segments(&place.path) {
                return Some(place);
            }
        }
    }
    None
}

/// When a file came to the directory or left it last; None if it is not there.
pub(super) fn changed(root: &Path, number: u32) -> Option<SystemTime> {
    fs::metadata(root.join(number.to_string())).and_then(|facts| facts.modified()).ok()
}

fn has_segments(path: &Path) -> bool {
    let Ok(files) = fs::read_dir(path) else { return false };
    files.take(limits::SPOOL_FILES_MAX).flatten().any(|file| file.path().extension().is_some_and(|end| end == "seg"))
}

fn hold(number: u32, path: PathBuf) -> io::Result<Option<Place>> {
    let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(path.join(LOCK))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(Place { number, path, _lock: lock })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_holds_its_own_and_what_is_left_is_found() {
        let root = tempfile::tempdir().unwrap();
        let (first, second) = (claim(root.path()).unwrap(), claim(root.path()).unwrap());
        assert_eq!((first.number, second.number), (0, 1));
        fs::write(second.path.join("0000000000000001.seg"), b"x").unwrap();
        assert!(orphan(root.path(), |_| false).is_none(), "both are held");
        drop(second);
        assert!(orphan(root.path(), |number| number == 1).is_none());
        let found = orphan(root.path(), |number| number == first.number).unwrap();
        assert_eq!(found.number, 1);
        assert_eq!(claim(root.path()).unwrap().number, 2);
        drop(first);
        assert_eq!(claim(root.path()).unwrap().number, 0, "a restart gets its own again");
    }

    #[test]
    fn an_empty_directory_is_no_orphan() {
        let root = tempfile::tempdir().unwrap();
        drop(claim(root.path()).unwrap());
        assert!(orphan(root.path(), |_| false).is_none());
        assert!(orphan(&root.path().join("nowhere"), |_| false).is_none());
    }
}
