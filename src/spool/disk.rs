//! The spool's view of a file system: one flat directory, few verbs, every failure an `io::Error`.
//!
//! A trait, so that tests can tear writes, lose what was not synced and fail at any verb; `Directory` is
//! the real one. Promised by it: files 0600, the directory 0700, no file is followed out of it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Room on a file system, octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What we may still write.
    pub free: u64,
    /// The whole.
    pub total: u64,
}

/// Asks for the room on the file system that a path is on; the wiring knows the system call.
pub type RoomOf = fn(&Path) -> io::Result<Room>;

/// A directory of files.
pub(super) trait Disk: Send + std::fmt::Debug {
    /// Names and lengths of the plain files, at most `limit` of them.
    fn list(&self, limit: usize) -> io::Result<Vec<(String, u64)>>;
    /// Up to `length` octets from `offset` on.
    fn read(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>>;
    /// A new, empty file; an error if there is one of that name.
    fn create(&mut self, name: &str) -> io::Result<()>;
    /// Writes behind the last octet. After an error any part of it may stand there.
    fn append(&mut self, name: &str, octets: &[u8]) -> io::Result<()>;
    /// Cuts a file off.
    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()>;
    /// The file's octets are on the disk when this returns.
    fn sync(&mut self, name: &str) -> io::Result<()>;
    /// Takes the place of what has that name.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Deletes a file.
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// Names as they are now are on the disk when this returns.
    fn sync_names(&mut self) -> io::Result<()>;
    /// Room on the file system; None if nobody can tell.
    fn room(&self) -> io::Result<Option<Room>>;
}

/// Writes a file whole or not at all: beside it, then renamed over it.
pub(super) fn replace_file(disk: &mut dyn Disk, name: &str, octets: &[u8], durable: bool) -> io::Result<()> {
    let beside = format!("{name}.tmp");
    remove_if_there(disk, &beside)?;
    disk.create(&beside)?;
    let written = disk.append(&beside, octets).and_then(|()| if durable { disk.sync(&beside) } else { Ok(()) });
    if let Err(error) = written {
        // What is left of it is in nobody's way; the first error is what counts.
        let _ = disk.remove(&beside);
        return Err(error);
    }
    disk.rename(&beside, name)?;
    if durable { disk.sync_names() } else { Ok(()) }
}

/// Deletes a file that may have gone already.
pub(super) fn remove_if_there(disk: &mut dyn Disk, name: &str) -> io::Result<()> {
    match disk.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A real directory.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    room_of: Option<RoomOf>,
    /// The file that is being written: opened once, not for each entry.
    open: Option<(String, File)>,
}

impl Directory {
    /// A directory that is there, or is made.
    pub(super) fn new(path: &Path, room_of: Option<RoomOf>) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(Self { path: path.to_owned(), room_of, open: None })
    }

    fn writable(&mut self, name: &str) -> io::Result<&mut File> {
        let file = match self.open.take() {
            Some((open, file)) if open == name => file,
            _ => OpenOptions::new().append(true).open(self.path.join(name))?,
        };
        Ok(&mut self.open.insert((name.to_owned(), file)).1)
    }

    fn forget(&mut self, name: &str) {
        self.open.take_if(|(open, _)| open == name);
    }
}

impl Disk for Directory {
    fn list(&self, limit: usize) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for file in fs::read_dir(&self.path)? {
            let file = file?;
            let Ok(name) = file.file_name().into_string() else { continue };
            // Between listing and asking a file may go: another process takes dead letters away.
            let Ok(facts) = file.metadata() else { continue };
            if facts.is_file() {
                files.push((name, facts.len()));
            }
            if files.len() >= limit {
                break;
            }
        }
        Ok(files)
    }

    fn read(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let file = File::open(self.path.join(name))?;
        // Never more room than the file has octets, whatever a length on disk says.
        let left = file.metadata()?.len().saturating_sub(offset);
        let mut octets = vec![0; length.min(usize::try_from(left).unwrap_or(usize::MAX))];
        let mut filled = 0;
        while filled < octets.len() {
            match file.read_at(&mut octets[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        octets.truncate(filled);
        Ok(octets)
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(self.path.join(name))?;
        self.open = Some((name.to_owned(), file));
        Ok(())
    }

    fn append(&mut self, name: &str, octets: &[u8]) -> io::Result<()> {
        self.writable(name)?.write_all(octets)
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.writable(name)?.set_len(length)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.writable(name)?.sync_data()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.forget(from);
        self.forget(to);
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.forget(name);
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&mut self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn room(&self) -> io::Result<Option<Room>> {
        self.room_of.map(|room_of| room_of(&self.path)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_does_what_its_verbs_say_and_keeps_others_out() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        let mut disk = Directory::new(&path, Some(|_| Ok(Room { free: 5, total: 9 }))).unwrap();
        disk.create("x").unwrap();
        assert_eq!(disk.create("x").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        disk.append("x", b"hello ").unwrap();
        disk.append("x", b"world").unwrap();
        disk.sync("x").unwrap();
        assert_eq!(disk.read("x", 6, usize::MAX).unwrap(), b"world");
        disk.truncate("x", 5).unwrap();
        disk.append("x", b"!").unwrap();
        disk.sync_names().unwrap();
        assert_eq!(
            (disk.read("x", 0, 100).unwrap(), disk.list(9).unwrap()),
            (b"hello!".to_vec(), vec![("x".into(), 6)])
        );
        replace_file(&mut disk, "x", b"other", true).unwrap();
        assert_eq!(disk.read("x", 0, 100).unwrap(), b"other");
        assert_eq!(disk.room().unwrap(), Some(Room { free: 5, total: 9 }));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join("x"))), (0o700, 0o600));
        disk.remove("x").unwrap();
        assert!(remove_if_there(&mut disk, "x").is_ok() && disk.remove("x").is_err());
        assert!(disk.list(9).unwrap().is_empty());
    }
}
