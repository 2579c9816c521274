//! A configuration that was read again, held against the one that runs: what is taken up, and what needs a restart.
//!
//! Enters: the running [`Loaded`], and file, environment and flags as they are now. Leaves: a [`Reload`], or everything that
//! is wrong. Promised: what is to be taken up was checked as at a start, twice: as it was written, and together with
//! those old values that only a restart changes. Nothing is changed here.

use std::sync::Arc;

use super::error::Faults;
use super::file::Content;
use super::keys::KEYS;
use super::proxy::Variables;
use super::values::Values;
use super::written::Row;
use super::{ConfigError, ConfigErrors, Loaded, Machine, Overrides, effective, read, resolve};

/// What a configuration was made of, to be held against another.
#[derive(Debug, Clone)]
pub(super) struct Basis {
    pub(super) overrides: Overrides,
    pub(super) machine: Machine,
    /// Before anything was computed.
    pub(super) values: Values,
    pub(super) content: Content,
    pub(super) proxies: Variables,
}

/// What reading the configuration again came to.
#[derive(Debug, Clone)]
pub struct Reload {
    /// What is to run from now on: the new values of what a running process takes up, the old ones of everything else.
    pub loaded: Loaded,
    /// What is different of that, as a file has it: `[section] name`, `[[exporter]]`.
    pub changed: Vec<String>,
    /// What else is different, and needs a restart.
    pub restart: Vec<String>,
}

/// Reads the configuration of `running` again: the same file and flags, and `variables` of the environment.
///
/// # Errors
/// Everything that is wrong, as [`super::load`] tells it; nothing is to be taken up then.
pub fn reload(running: &Loaded, variables: impl IntoIterator<Item = (String, String)>) -> Result<Reload, ConfigErrors> {
    let old = &running.basis;
    let mut faults = Faults::default();
    let mut notes = Vec::new();
    let written = read(&old.overrides, variables, &old.machine, &mut faults, &mut notes);
    // As at a start first: the file must be one that the process would start with.
    let mut values = written.values.clone();
    resolve::settings(&mut values, &written.content, &old.machine, &written.proxies, None, &mut faults, &mut notes);
    faults.or(())?;

    let (mut changed, mut restart) = (Vec::new(), Vec::new());
    let mut merged = old.values.clone();
    for (index, key) in KEYS.iter().enumerate() {
        let is_different = merged.at_index(index).0 != written.values.at_index(index).0;
        if key.reloads {
            merged.take(index, &written.values);
        }
        if is_different {
            (if key.reloads { &mut changed } else { &mut restart }).push(key.display());
        }
    }
    let content = Content { listeners: old.content.listeners.clone(), ..written.content.clone() };
    if says(&old.content.listeners) != says(&written.content.listeners) {
        restart.push("[[listener]]".to_owned());
    }
    if says(&old.content.exporters) != says(&written.content.exporters) {
        changed.push("[[exporter]]".to_owned());
    }

    let mut faults = Faults::default();
    let mut merged_notes = Vec::new();
    let mut values = merged.clone();
    // What exporters taught is in the registry that runs; its file is read at a start.
    let registry = Some(Arc::clone(&running.settings.collect.decode.registry));
    let settings = resolve::settings(
        &mut values,
        &content,
        &old.machine,
        &written.proxies,
        registry,
        &mut faults,
        &mut merged_notes,
    );
    let effective = effective(&values, &settings, &content);
    notes.retain(|note| !running.notes.contains(note));
    let basis = Basis {
        overrides: old.overrides.clone(),
        machine: old.machine.clone(),
        values: merged,
        content,
        proxies: written.proxies,
    };
    let loaded = Loaded { settings, effective, notes, file: written.file, basis };
    faults.or(Reload { loaded, changed, restart: restart.clone() }).map_err(|errors| beside(errors, &restart))
}

/// Faults that only the values of before bring about.
fn beside(errors: ConfigErrors, restart: &[String]) -> ConfigErrors {
    let why = format!(
        "the file is right, but not beside what only a restart changes ({}): restart, or change that back",
        if restart.is_empty() { "[decode] elements_file".to_owned() } else { restart.join(", ") }
    );
    ConfigErrors(std::iter::once(ConfigError(why)).chain(errors.0).collect())
}

/// What rows say, wherever they stand in the file.
fn says(rows: &[Row]) -> Vec<Vec<(&str, &str)>> {
    rows.iter().map(|row| row.fields.iter().map(|(name, value, _)| (&**name, &*value.text)).collect()).collect()
}
