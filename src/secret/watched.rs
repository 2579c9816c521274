//! A value that is made of files and follows them.
//!
//! Enters: files and a function from their octets to the value. Leaves: [`Watched::current`], which takes no lock.
//! Promised: what cannot be used is an error at start, and later leaves the old value in its place; contents are
//! compared, not dates, because Kubernetes exchanges a directory of links; a file is read to a bound. Who reads
//! again, and when, is `refresh`'s business.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use arc_swap::ArcSwap;

use super::{Secret, SecretSource};
use crate::limits::SECRET_FILE_OCTETS_MAX;

/// A file that a value is made of.
#[derive(Debug, Clone)]
pub struct SourceFile {
    key: String,
    path: PathBuf,
    private: bool,
}

impl SourceFile {
    /// A file that anybody may read, such as a certificate; `key` is the setting that names it (`[http] tls_cert_file`).
    #[must_use]
    pub fn open(key: impl Into<String>, path: &Path) -> Self {
        Self { key: key.into(), path: path.to_owned(), private: false }
    }

    /// A file that holds a secret: one that everybody may read is worth a warning.
    #[must_use]
    pub fn private(key: impl Into<String>, path: &Path) -> Self {
        Self { private: true, ..Self::open(key, path) }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong with it, for people: `[http] tls_cert_file = /x: ...`.
    #[must_use]
    pub fn fault(&self, what: impl fmt::Display) -> String {
        format!("{} = {}: {what}", self.key, self.path.display())
    }

    fn read(&self) -> Content {
        self.octets().map_err(|what| self.fault(what))
    }

    fn octets(&self) -> Result<Vec<u8>, String> {
        let missing = |e: std::io::Error| format!("cannot be read: {e}");
        // Looked at before it is opened: a pipe would hold up whoever opens it.
        let metadata = std::fs::metadata(&self.path).map_err(missing)?;
        if !metadata.is_file() {
            return Err("is no regular file: name the file itself".to_owned());
        }
        let mut octets = Vec::new();
        let bound = SECRET_FILE_OCTETS_MAX + 1;
        File::open(&self.path).and_then(|file| file.take(bound).read_to_end(&mut octets)).map_err(missing)?;
        if octets.len() as u64 == bound {
            return Err(format!("is longer than {SECRET_FILE_OCTETS_MAX} octets: name another file"));
        }
        Ok(octets)
    }

    fn warn_if_everybody_may_read(&self) {
        // An unreadable file is a fault that is told elsewhere.
        let open = self.private && std::fs::metadata(&self.path).is_ok_and(|m| m.mode() & 0o007 != 0);
        if open {
            tracing::warn!(
                file = %self.path.display(),
                setting = self.key,
                "everybody on this machine may read this secret: chmod o= it (in Kubernetes, defaultMode 0440 with an \
                 fsGroup)"
            );
        }
    }
}

/// What a second look at the files brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Nothing new, or nothing new that is finished.
    Unchanged,
    /// A new value is in use, or the one in use is what the files hold again.
    Used,
    /// What the files hold cannot be used, and why; the old value stays.
    Refused(String),
}

/// A value that follows its files, seen without its type.
pub trait Refresh: Send + Sync {
    /// What it is, for people.
    fn name(&self) -> &str;
    /// Reads the files and uses what they hold. Blocks as long as a file system does.
    fn refresh(&self) -> Change;
    /// The same, but a content counts only once two looks have found it alike: a file that is being written, or a
    /// certificate whose key is still to come, is no fault.
    fn refresh_settled(&self) -> Change;
    /// Files whose newest content could not be used.
    fn stale_files(&self) -> usize;
}

/// Octets of a file, or why there are none.
type Content = Result<Vec<u8>, String>;
/// From the octets of all files, in their order, to the value.
type Build<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync>;

/// A value that follows its files; cheap to clone.
pub struct Watched<T>(Arc<Inner<T>>);

struct Inner<T> {
    name: String,
    files: Vec<SourceFile>,
    build: Build<T>,
    current: ArcSwap<T>,
    stale: AtomicUsize,
    looks: Mutex<Looks>,
}

/// What was found in the files.
#[derive(Default)]
struct Looks {
    /// The value in use was made of this.
    used: Vec<Content>,
    /// This was judged last.
    judged: Vec<Content>,
    /// This was seen last.
    seen: Vec<Content>,
}

/// A value cannot be made of its files at start; says which file and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SecretError(pub String);

impl<T> Watched<T> {
    /// Reads `files` and makes the value of them.
    ///
    /// # Errors
    /// A file cannot be read, or `build` refused what is in it.
    pub fn new(
        name: impl Into<String>,
        files: Vec<SourceFile>,
        build: impl Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, SecretError> {
        let contents: Vec<Content> = files.iter().map(SourceFile::read).collect();
        let value = octets_of(&contents).and_then(|octets| build(&octets)).map_err(SecretError)?;
        files.iter().for_each(SourceFile::warn_if_everybody_may_read);
        let looks = Looks { judged: contents.clone(), seen: contents.clone(), used: contents };
        Ok(Self(Arc::new(Inner {
            name: name.into(),
            files,
            build: Box::new(build),
            current: ArcSwap::from_pointee(value),
            stale: AtomicUsize::new(0),
            looks: Mutex::new(looks),
        })))
    }

    /// A value that depends on no file.
    #[must_use]
    pub fn fixed(name: impl Into<String>, value: T) -> Self {
        Self(Arc::new(Inner {
            name: name.into(),
            files: Vec::new(),
            // Never called: without files there is nothing new.
            build: Box::new(|_| Err(String::new())),
            current: ArcSwap::from_pointee(value),
            stale: AtomicUsize::new(0),
            looks: Mutex::default(),
        }))
    }

    /// The value in use.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        self.0.current.load_full()
    }

    /// True if it is made of files.
    #[must_use]
    pub fn has_files(&self) -> bool {
        !self.0.files.is_empty()
    }
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// The same value for a list of those that are read again.
    #[must_use]
    pub fn shared(&self) -> Arc<dyn Refresh> {
        Arc::clone(&self.0) as Arc<dyn Refresh>
    }

    /// [`Refresh::refresh`].
    pub fn refresh(&self) -> Change {
        self.0.look(false)
    }
}

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the value nor the contents: most of them are secrets.
        f.debug_struct("Watched").field("name", &self.0.name).field("files", &self.0.files).finish_non_exhaustive()
    }
}

impl<T> Inner<T> {
    fn look(&self, only_settled: bool) -> Change {
        if self.files.is_empty() {
            return Change::Unchanged;
        }
        let mut looks = match self.looks.try_lock() {
            Ok(looks) => looks,
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            // Somebody else is looking; on a file system that hangs, one thread that waits is enough.
            Err(TryLockError::WouldBlock) => return Change::Unchanged,
        };
        let contents: Vec<Content> = self.files.iter().map(SourceFile::read).collect();
        let settled = contents == looks.seen;
        looks.seen.clone_from(&contents);
        if contents == looks.judged || only_settled && !settled && contents != looks.used {
            return Change::Unchanged;
        }
        looks.judged.clone_from(&contents);
        if contents == looks.used {
            self.stale.store(0, Ordering::Release);
            return Change::Used;
        }
        match octets_of(&contents).and_then(|octets| (self.build)(&octets)) {
            Ok(value) => {
                self.current.store(Arc::new(value));
                self.stale.store(0, Ordering::Release);
                looks.used = contents;
                Change::Used
            }
            Err(why) => {
                let stale = contents.iter().zip(&looks.used).filter(|(new, used)| new != used).count();
                self.stale.store(stale, Ordering::Release);
                Change::Refused(why)
            }
        }
    }
}

impl<T: Send + Sync> Refresh for Inner<T> {
    fn name(&self) -> &str {
        &self.name
    }

    fn refresh(&self) -> Change {
        self.look(false)
    }

    fn refresh_settled(&self) -> Change {
        self.look(true)
    }

    fn stale_files(&self) -> usize {
        self.stale.load(Ordering::Acquire)
    }
}

fn octets_of(contents: &[Content]) -> Result<Vec<Vec<u8>>, String> {
    contents.iter().cloned().collect()
}

/// The secret that a source gives; None if there is none. `key` is the setting of a file: `[http] token_file`.
///
/// # Errors
/// The file cannot be read, is empty, or holds what no line of text holds.
pub fn open(source: &SecretSource, key: &str) -> Result<Option<Watched<Secret>>, SecretError> {
    match source {
        SecretSource::None => Ok(None),
        SecretSource::Given(secret) => Ok(Some(Watched::fixed(key, secret.clone()))),
        SecretSource::File(path) => {
            let file = SourceFile::private(key, path);
            let of = file.clone();
            let line = move |contents: &[Vec<u8>]| line_of(&contents[0]).map_err(|what| of.fault(what));
            Watched::new(key, vec![file], line).map(Some)
        }
    }
}

/// The text of a file without the line break that editors put behind it.
///
/// # Errors
/// It is empty or not UTF-8.
pub fn text_of(octets: &[u8]) -> Result<&str, &'static str> {
    let text = std::str::from_utf8(octets).map_err(|_| "is no UTF-8 text: write the secret as text")?;
    let text = text.trim_end_matches(['\n', '\r']);
    if text.trim().is_empty() { Err("is empty: write the secret into it") } else { Ok(text) }
}

fn line_of(octets: &[u8]) -> Result<Secret, &'static str> {
    let text = text_of(octets)?;
    if text.chars().any(char::is_control) {
        return Err("holds more than one line, or a control character: write the secret alone, on one line");
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(contents: &[Vec<u8>]) -> Result<u32, String> {
        std::str::from_utf8(&contents[0]).unwrap().trim().parse().map_err(|_| "is no number".to_owned())
    }

    #[test]
    fn a_good_content_is_used_and_a_bad_one_keeps_the_old() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n");
        std::fs::write(&path, "1\n").unwrap();
        let watched = Watched::new("n", vec![SourceFile::open("[x] n_file", &path)], number).unwrap();
        assert_eq!((*watched.current(), watched.refresh()), (1, Change::Unchanged));
        std::fs::write(&path, "2").unwrap();
        assert_eq!((watched.refresh(), *watched.current()), (Change::Used, 2));
        std::fs::write(&path, "x").unwrap();
        assert_eq!(watched.refresh(), Change::Refused("is no number".to_owned()));
        assert_eq!((watched.refresh(), *watched.current(), watched.0.stale_files()), (Change::Unchanged, 2, 1));
        std::fs::remove_file(&path).unwrap();
        let Change::Refused(why) = watched.refresh() else { panic!("a file that is gone cannot be used") };
        assert!(why.starts_with("[x] n_file = ") && why.contains("No such file"), "{why}");
        assert_eq!(*watched.current(), 2);
        std::fs::write(&path, "2").unwrap();
        assert_eq!((watched.refresh(), watched.0.stale_files()), (Change::Used, 0));
    }

    #[test]
    fn what_is_still_being_written_waits_for_a_second_look() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n");
        std::fs::write(&path, "1").unwrap();
        let watched = Watched::new("n", vec![SourceFile::open("n", &path)], number).unwrap().shared();
        std::fs::write(&path, "").unwrap();
        assert_eq!(watched.refresh_settled(), Change::Unchanged);
        std::fs::write(&path, "3").unwrap();
        assert_eq!(watched.refresh_settled(), Change::Unchanged);
        assert_eq!(watched.refresh_settled(), Change::Used);
        std::fs::write(&path, "").unwrap();
        assert_eq!(watched.refresh_settled(), Change::Unchanged);
        assert!(matches!(watched.refresh_settled(), Change::Refused(_)));
        assert_eq!((watched.refresh_settled(), watched.stale_files()), (Change::Unchanged, 1));
        std::fs::write(&path, "3").unwrap();
        assert_eq!((watched.refresh_settled(), watched.stale_files()), (Change::Used, 0), "what is in use is known");
    }

    #[test]
    fn links_that_are_exchanged_are_seen_although_no_date_changes() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        for name in ["1", "2"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("1", &link).unwrap();
        let watched = Watched::new("n", vec![SourceFile::open("n", &link)], number).unwrap();
        let other = folder.path().join("other");
        std::os::unix::fs::symlink("2", &other).unwrap();
        std::fs::rename(&other, &link).unwrap();
        assert_eq!((watched.refresh(), *watched.current()), (Change::Used, 2));
    }

    #[test]
    fn secrets_of_files_are_one_line_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let source = SecretSource::File(path.clone());
        let error = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            open(&source, "[x] token_file").unwrap_err().to_string()
        };
        for (content, part) in [
            (&b""[..], "is empty"),
            (b" \n", "is empty"),
            (b"hunter2\nhunter3\n", "more than one line"),
            (b"hunter2\x1b", "control character"),
            (b"\xffhunter2", "no UTF-8"),
        ] {
            let text = error(content);
            assert!(text.contains(part) && text.contains("[x] token_file"), "{text}");
            assert!(!text.contains("hunter"), "{text}");
        }
        assert!(error(&vec![b'x'; 1 << 21]).contains("longer than"));
        std::fs::write(&path, "hunter2\r\n").unwrap();
        let watched = open(&source, "[x] token_file").unwrap().unwrap();
        assert_eq!(watched.current().expose(), "hunter2");
        assert!(!format!("{watched:?}").contains("hunter2"));
        assert!(open(&SecretSource::None, "x").unwrap().is_none());
        let given = open(&SecretSource::Given(Secret::new("a")), "x").unwrap().unwrap();
        assert_eq!((given.current().expose(), given.refresh()), ("a", Change::Unchanged));
    }

    #[test]
    fn a_folder_and_a_pipe_are_no_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let error = open(&SecretSource::File(folder.path().to_owned()), "k").unwrap_err();
        assert!(error.to_string().contains("no regular file"), "{error}");
    }
}
