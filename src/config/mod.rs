//! What the operator wrote -> [`Settings`]: checked, in the units the program uses, and where each came from.
//!
//! ```text
//! file, environment, flags -> what was written where -> values (checked by the table of keys)
//!                          -> Settings (what depends on the machine, on each other and on memory)
//! ```
//!
//! [`load`] is a function of its arguments and of the file it is told to read; all errors are told at
//! once. Nothing is logged here: notes are handed back for when logging has started.

mod access;
mod backends;
mod document;
mod elements;
mod environment;
mod error;
pub mod fields;
mod file;
mod flags;
pub mod instance;
mod keys;
mod lists;
mod machine;
mod memory;
mod profile;
mod proxy;
mod reload;
mod resolve;
mod spool;
mod state;
mod url;
mod value;
mod values;
mod written;

pub use document::{alias_table, default_file, key_table};
pub use elements::read_elements;
pub use error::{ConfigError, ConfigErrors};
pub use flags::{command, parse_command_line};
pub use keys::{KEYS, Key, Kind, Preset, VARIABLE_PREFIX};
pub use machine::{DEFAULT_FILE, Machine};
pub use memory::{MemoryPost, approximate};
pub use reload::{Reload, reload};
pub use spool::SpoolPlan;
pub use url::{BaseUrl, mask};
pub use written::Overrides;

use std::path::PathBuf;
use std::time::Duration;

use crate::collect::CollectSettings;
use crate::queue::QueueSettings;
use crate::share::StateSettings;
use crate::sink::SinkSettings;
use crate::web::{TargetsSettings, WebSettings};
use error::Faults;
use reload::Basis;
use values::Values;
use written::{Origin, Scalar, Written};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere is left to the operator: text.
    #[default]
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// tracing's filter: a level, or directives.
    pub level: String,
    /// Look of a line.
    pub format: LogFormat,
}

/// Everything the program runs on.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of this instance if the operator or POD_NAME gave one.
    pub instance: Option<String>,
    /// Root of spool/, state/ and dead/; None where nothing may be written.
    pub data_dir: Option<PathBuf>,
    /// Bound of what the process may hold, octets.
    pub memory_limit: u64,
    /// Receiving and decoding.
    pub collect: CollectSettings,
    /// Hand-off and batching.
    pub queue: QueueSettings,
    /// Delivery.
    pub sink: SinkSettings,
    /// What cannot be delivered now, and what never will be.
    pub spool: SpoolPlan,
    /// Learned state; see [`Settings::kept_state`].
    pub state: StateSettings,
    /// HTTP side.
    pub web: WebSettings,
    /// File that tells Prometheus where the HTTP side is.
    pub targets: TargetsSettings,
    /// Logging.
    pub log: LogSettings,
    /// Keep receiving for this long after readiness ended.
    pub drain_delay: Duration,
    /// Deadline of the drain.
    pub shutdown_timeout: Duration,
}

/// A loaded configuration.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the program runs on.
    pub settings: Settings,
    /// Every key with its value and where it came from; lists behind the scalars.
    pub effective: Vec<EffectiveKey>,
    /// To be logged once logging has started.
    pub notes: Vec<Note>,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// What it was made of.
    basis: Basis,
}

/// A key in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveKey {
    /// `section.name`, or the head of a list's table.
    pub name: String,
    /// The value as an operator would write it; credentials masked.
    pub value: String,
    /// Where it came from.
    pub source: String,
}

/// How much a note matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoteLevel {
    /// Good to know.
    Info,
    /// Probably not what was meant.
    Warning,
}

/// Something to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// How much it matters.
    pub level: NoteLevel,
    /// What to say.
    pub text: String,
}

impl Note {
    fn info(text: impl Into<String>) -> Self {
        Self { level: NoteLevel::Info, text: text.into() }
    }

    fn warning(text: impl Into<String>) -> Self {
        Self { level: NoteLevel::Warning, text: text.into() }
    }
}

/// Loads the configuration from the file that is named (or the default one), `variables` of the
/// environment and the command line, for `machine`.
///
/// # Errors
/// Everything that is wrong, each with its place, value, range and what to do.
pub fn load(
    overrides: &Overrides,
    variables: impl IntoIterator<Item = (String, String)>,
    machine: &Machine,
) -> Result<Loaded, ConfigErrors> {
    let (mut faults, mut notes) = (Faults::default(), Vec::new());
    let Read { values, content, proxies, file } = read(overrides, variables, machine, &mut faults, &mut notes);
    let basis = Basis { overrides: overrides.clone(), machine: machine.clone(), values, content, proxies };
    let mut values = basis.values.clone();
    let (content, proxies) = (&basis.content, &basis.proxies);
    let settings = resolve::settings(&mut values, content, machine, proxies, None, &mut faults, &mut notes);
    let effective = effective(&values, &settings, content);
    faults.or(Loaded { settings, effective, notes, file, basis })
}

/// What was written, checked key by key.
struct Read {
    values: Values,
    content: file::Content,
    proxies: proxy::Variables,
    file: Option<PathBuf>,
}

fn read(
    overrides: &Overrides,
    variables: impl IntoIterator<Item = (String, String)>,
    machine: &Machine,
    faults: &mut Faults,
    notes: &mut Vec<Note>,
) -> Read {
    let mut environment = environment::read(variables);
    notes.append(&mut environment.notes);
    let path = overrides
        .file
        .clone()
        .or_else(|| environment.file.as_ref().map(PathBuf::from))
        .or_else(|| machine.default_file.clone().filter(|path| path.exists()));
    let content = path.as_ref().map(|path| file::read(path, faults)).unwrap_or_default();
    mode(overrides.mode.as_ref().or(environment.mode.as_ref()), faults, notes);

    let mut written = content.written.clone();
    written.append(&mut environment.written);
    written.extend(flags_written(overrides, faults));
    let mut values = Values::of(&written, faults, notes);
    if let Some(pod_name) = environment.pod_name
        && values.text("instance.name").is_empty()
    {
        values.set("instance.name", value::Value::Text(pod_name), Origin::Variable("POD_NAME".to_owned()));
    }
    Read { values, content, proxies: environment.proxies, file: path }
}

/// Loads the configuration of this process: its environment and machine.
///
/// # Errors
/// As [`load`].
pub fn load_here(overrides: &Overrides) -> Result<Loaded, ConfigErrors> {
    load(overrides, variables_here(), &Machine::detect())
}

/// The environment of this process.
pub fn variables_here() -> impl Iterator<Item = (String, String)> {
    // A name or value that is not UTF-8 cannot be one of ours; lossy, it is told as a wrong value.
    std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
}

/// The defaults on this machine: no file, no environment. For the demo and for tests, which change
/// what they need.
///
/// # Panics
/// If the defaults are refused: a mistake in the table of keys, which every test would show.
#[must_use]
pub fn defaults() -> Settings {
    let machine = Machine { default_file: None, ..Machine::detect() };
    // A machine too small for the defaults still runs a demo: the sum is an upper bound.
    load(&Overrides::default(), [], &machine)
        .or_else(|_| load(&Overrides::default(), [], &Machine { memory: None, cores: 1, default_file: None }))
        .map(|loaded| loaded.settings)
        .expect("the defaults are a right configuration")
}

fn flags_written(overrides: &Overrides, faults: &mut Faults) -> Vec<Written> {
    let mut written = Vec::new();
    for (id, value) in &overrides.values {
        match keys::position(id) {
            Some(key) => {
                let origin = Origin::Flag(keys::names(key).flag.clone());
                written.push(Written { key, scalar: Scalar::of_text(value.clone()), origin });
            }
            None => faults.add(format!("there is no key {id}")),
        }
    }
    written
}

/// `--mode` of the Python collector.
fn mode(mode: Option<&String>, faults: &mut Faults, notes: &mut Vec<Note>) {
    match mode.map(|mode| mode.trim().to_ascii_lowercase()).as_deref() {
        None | Some("native") => {}
        Some("both") => notes.push(Note::warning(
            "mode = both: this collector has no agent side and runs as mode = native; leave --mode out",
        )),
        Some("agent") => faults.add(
            "mode = agent: this collector has no agent side. To receive NetFlow and IPFIX here, leave --mode out (and \
             CLARION_COLLECTOR_MODE unset); to go on with agents, run the Python collector in mode agent beside it",
        ),
        Some(other) => faults.add(format!("mode = {other:?} is unknown: native is the only one, leave --mode out")),
    }
}

fn effective(values: &Values, settings: &Settings, file: &file::Content) -> Vec<EffectiveKey> {
    let mut effective: Vec<EffectiveKey> = values
        .iter()
        .enumerate()
        .map(|(index, (value, origin))| EffectiveKey {
            name: keys::names(index).id.clone(),
            value: mask(&value::render(value)),
            source: origin.to_string(),
        })
        .collect();
    for (index, listener) in settings.collect.listeners.iter().enumerate() {
        let mut value = std::net::SocketAddr::new(listener.address, listener.port).to_string();
        if let Some(interface) = &listener.interface {
            value.push_str(&format!(" on {interface}"));
        }
        if !listener.tenant.is_empty() {
            value.push_str(&format!(" tenant {:?}", listener.tenant));
        }
        let source = file.listeners.get(index).map_or_else(
            || "default: [bind] host, [netflow] port, [ipfix] port".to_owned(),
            |row| format!("file {}", row.path.display()),
        );
        effective.push(EffectiveKey { name: format!("[[listener]] {}", listener.name), value, source });
    }
    for rule in &settings.collect.rules {
        let path = file.exporters.first().map(|row| row.path.display().to_string()).unwrap_or_default();
        effective.push(EffectiveKey {
            name: format!("[[exporter]] {}/{}", rule.prefix.0, rule.prefix.1),
            value: rule_text(rule),
            source: format!("file {path}"),
        });
    }
    effective
}

fn rule_text(rule: &crate::collect::ExporterRule) -> String {
    let quoted = |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("{name}={value:?}"));
    let number = |name: &str, value: Option<u32>| value.map(|value| format!("{name}={value}"));
    let parts = [
        quoted("listener", &rule.listener),
        number("domain", rule.domain),
        quoted("name", &rule.name),
        quoted("tenant", &rule.tenant),
        quoted("switch_id", &rule.switch_id),
        number("sampling_default", rule.sampling_default),
        number("sampling_override", rule.sampling_override),
        rule.session.map(|session| format!("session={session:?}").to_lowercase()),
    ];
    parts.into_iter().flatten().chain(profile::profile_text(&rule.profile)).collect::<Vec<_>>().join(" ")
}
