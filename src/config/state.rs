//! `[state]` -> where and how often learned state is kept.

use std::path::{Path, PathBuf};

use super::Settings;
use super::values::Values;
use crate::share::StateSettings;

impl Settings {
    /// Where learned state is kept, if there is a place and it is wanted.
    #[must_use]
    pub fn kept_state(&self) -> Option<&StateSettings> {
        let usable = !self.state.root.as_os_str().is_empty() && !self.state.interval.is_zero();
        usable.then_some(&self.state)
    }
}

/// Reads the section; without a data directory the root is empty.
pub(super) fn plan(values: &Values) -> StateSettings {
    let data = values.text("data.dir");
    StateSettings {
        root: if data.is_empty() { PathBuf::new() } else { Path::new(data).join("state") },
        interval: values.duration("state.snapshot_interval"),
        max_age: values.duration("state.max_age"),
    }
}
