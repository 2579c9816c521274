//! What was written where: the values of one place each, before they are checked.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// Nobody set it, and it follows from something else.
    Computed(String),
    /// A line of the file.
    File(Arc<Path>, usize),
    /// A variable of the environment.
    Variable(String),
    /// A variable that is an alias of the key's own.
    Alias(String),
    /// A flag.
    Flag(String),
}

impl Origin {
    /// Who beats whom: flag > environment > file > default.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Default | Self::Computed(_) => 0,
            Self::File(..) => 1,
            Self::Alias(_) => 2,
            Self::Variable(_) => 3,
            Self::Flag(_) => 4,
        }
    }

    /// True if nobody set the value.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.rank() == 0
    }

    /// The place with its line, for errors.
    pub(super) fn place(&self) -> String {
        match self {
            Self::File(path, line) => format!("file {}, line {line}", path.display()),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Computed(how) => write!(f, "default: {how}"),
            Self::File(path, _) => write!(f, "file {}", path.display()),
            Self::Variable(name) => write!(f, "environment {name}"),
            Self::Alias(name) => write!(f, "alias {name}"),
            Self::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// A scalar as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scalar {
    /// The text, without quotes.
    pub(super) text: String,
    /// The file had it without quotes: a number, truth value or date.
    pub(super) bare: bool,
}

impl Scalar {
    /// From a place that has no quotes: flags and variables.
    pub(super) fn of_text(text: impl Into<String>) -> Self {
        Self { text: text.into(), bare: false }
    }

    /// As it was written, for errors.
    pub(super) fn display(&self) -> String {
        let text: String = super::url::mask(&self.text).chars().take(200).collect();
        if self.bare { text } else { format!("\"{}\"", text.escape_debug()) }
    }
}

/// One value of one key.
#[derive(Debug, Clone)]
pub(super) struct Written {
    /// Position in `KEYS`.
    pub(super) key: usize,
    /// The value.
    pub(super) scalar: Scalar,
    /// Where it stands.
    pub(super) origin: Origin,
}

/// One table of a list: `[[listener]]` or `[[exporter]]`.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// The file.
    pub(super) path: Arc<Path>,
    /// Line of its head.
    pub(super) line: usize,
    /// Name, value and line of its keys.
    pub(super) fields: Vec<(String, Scalar, usize)>,
}

impl Row {
    /// Field `name` with its place.
    pub(super) fn field(&self, name: &str) -> Option<(&Scalar, String)> {
        let (_, scalar, line) = self.fields.iter().find(|(field, ..)| field == name)?;
        Some((scalar, format!("file {}, line {line}", self.path.display())))
    }

    /// Its place.
    pub(super) fn place(&self) -> String {
        format!("file {}, line {}", self.path.display(), self.line)
    }
}

/// What the command line set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// `--mode`.
    pub mode: Option<String>,
    /// `section.name` and value of each flag.
    pub values: Vec<(String, String)>,
}

impl Overrides {
    /// Adds the flag of key `id` (`section.name`).
    #[must_use]
    pub fn with(mut self, id: &str, value: &str) -> Self {
        self.values.push((id.to_owned(), value.to_owned()));
        self
    }
}
