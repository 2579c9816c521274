//! Text of the commands -> standard output and standard error, whoever reads them.
//!
//! The macros of std panic when a reader has gone away. Here a closed standard error loses its lines, and
//! a closed standard output is no fault of the command; any other failure of it is.

use std::fmt::Display;
use std::io::{self, Write as _};

/// One line for people, on standard error.
pub(super) fn tell(line: impl Display) {
    // Formatted first, so that threads do not mix their lines.
    note(format!("{line}\n"));
}

/// Text for people as it is, on standard error.
pub(super) fn note(text: impl AsRef<str>) {
    let _ = io::stderr().write_all(text.as_ref().as_bytes());
}

/// Results, on standard output. False if nobody reads them any more.
///
/// # Errors
/// They cannot be written for another reason, such as a full disk.
pub(super) fn print(octets: &[u8]) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(octets).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(anyhow::Error::new(e).context("cannot write to standard output")),
    }
}
