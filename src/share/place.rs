//! Whose directory is whose: one process a directory, by a lock that ends with the process.
//!
//! Below the root each replica of a host has a directory of its own: 0, 1, ... Anybody may read the snapshots of all of
//! them: they are replaced whole. Promised: a directory that another process holds is never written to.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::limits::STATE_REPLICAS_MAX;

const LOCK: &str = "lock";
const SNAPSHOT: &str = "learned.snapshot";
const BESIDE: &str = "learned.snapshot.tmp";
const NEWER: &str = "learned.snapshot.newer";

/// A directory that this process holds, as long as this value lives.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    _lock: File,
}

impl Place {
    /// Holds the first directory that nobody else does, and makes it if need be.
    pub(super) fn claim(root: &Path) -> io::Result<Self> {
        for number in 0..STATE_REPLICAS_MAX {
            let path = root.join(number.to_string());
            DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
            let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(path.join(LOCK))?;
            match lock.try_lock() {
                Ok(()) => return Ok(Self { path, _lock: lock }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        let kind = io::ErrorKind::ResourceBusy;
        Err(io::Error::new(kind, format!("all {STATE_REPLICAS_MAX} directories are held by other processes")))
    }

    /// Its snapshot.
    pub(super) fn snapshot(&self) -> PathBuf {
        self.path.join(SNAPSHOT)
    }

    /// Replaces the snapshot by what `write` writes, or leaves it as it is.
    pub(super) fn replace<T>(&self, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<T>) -> io::Result<T> {
        let beside = self.path.join(BESIDE);
        let written = (|| {
            // What a crash left is in the way of no one.
            let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
            let mut to = BufWriter::new(file);
            let done = write(&mut to)?;
            to.flush()?;
            to.get_ref().sync_data()?;
            fs::rename(&beside, self.snapshot())?;
            File::open(&self.path)?.sync_all()?;
            Ok(done)
        })();
        if written.is_err() {
            // The first error is what counts; a full disk gets its octets back.
            let _ = fs::remove_file(&beside);
        }
        written
    }

    /// Puts a snapshot that this program cannot read out of the way, for the one that can.
    pub(super) fn set_newer_aside(&self) -> io::Result<PathBuf> {
        let aside = self.path.join(NEWER);
        fs::rename(self.snapshot(), &aside)?;
        Ok(aside)
    }
}

/// The snapshots below `root` but `own`, with their lengths, the newest first.
pub(super) fn others(root: &Path, own: &Path) -> Vec<(PathBuf, u64)> {
    let paths = (0..STATE_REPLICAS_MAX).map(|number| root.join(number.to_string()).join(SNAPSHOT));
    let mut found: Vec<_> = paths
        .filter(|path| path != own)
        .filter_map(|path| {
            let facts = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
            Some((facts.modified().ok()?, path, facts.len()))
        })
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, path, octets)| (path, octets)).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn each_holds_its_own_and_reads_the_others() {
        let root = tempfile::tempdir().unwrap();
        let (first, second) = (Place::claim(root.path()).unwrap(), Place::claim(root.path()).unwrap());
        assert_ne!(first.snapshot(), second.snapshot());
        assert!(others(root.path(), &first.snapshot()).is_empty());
        second.replace(|to| to.write_all(b"hello")).unwrap();
        assert_eq!(others(root.path(), &first.snapshot()), [(second.snapshot(), 5)]);
        assert!(others(root.path(), &second.snapshot()).is_empty());
        let path = second.snapshot();
        drop(first);
        assert_ne!(Place::claim(root.path()).unwrap().snapshot(), path, "a restart gets its own again");
    }

    #[test]
    fn a_snapshot_is_replaced_whole_or_not_at_all_and_is_nobody_elses_to_read() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::claim(root.path()).unwrap();
        place.replace(|to| to.write_all(b"one")).unwrap();
        let failed = place.replace(|to| {
            to.write_all(b"two")?;
            Err::<(), _>(io::Error::other("the disk"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "the disk");
        assert_eq!(fs::read(place.snapshot()).unwrap(), b"one");
        let names: Vec<_> = fs::read_dir(place.snapshot().parent().unwrap()).unwrap().flatten().collect();
        assert_eq!(names.len(), 2, "lock and snapshot: {names:?}");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&place.snapshot()), mode(place.snapshot().parent().unwrap())), (0o600, 0o700));
    }
}
