//! What the operator wrote -> [`Settings`]: checked, in the units the program uses, and where each came from.

use std::path::PathBuf;
use std::time::Duration;

use crate::collect::CollectSettings;
use crate::queue::QueueSettings;
use crate::sink::SinkSettings;
use crate::web::WebSettings;

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
    /// HTTP side.
    pub web: WebSettings,
    /// Logging.
    pub log: LogSettings,
    /// Keep receiving for this long after readiness ended.
    pub drain_delay: Duration,
    /// Deadline of the drain.
    pub shutdown_timeout: Duration,
}
