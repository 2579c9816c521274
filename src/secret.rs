//! What must never be shown, and where it comes from.
//!
//! A [`Secret`] prints as `***` wherever it is formatted, so that no log line, error or report holds it. A
//! [`SecretSource`] says where one is read: given directly, or in a file. A [`Watched`] value follows its files.

mod watched;

pub use watched::{Change, Refresh, SecretError, SourceFile, Watched, open, text_of};

use std::fmt;
use std::path::PathBuf;

/// Text that is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes what must not be shown.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for where it is used; not for people.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { "***" })
    }
}

/// Where a secret comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SecretSource {
    /// There is none.
    #[default]
    None,
    /// From the configuration, environment or command line.
    Given(Secret),
    /// From a file, which may change.
    File(PathBuf),
}

impl SecretSource {
    /// True if there is one.
    #[must_use]
    pub fn is_some(&self) -> bool {
        *self != Self::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?} {:?}", SecretSource::Given(secret.clone())), "*** Given(***)");
        assert_eq!((secret.expose(), secret.is_empty()), ("hunter2", false));
    }
}
