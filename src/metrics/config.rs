//! Handles of the configuration: what became of reading it again.

use super::{Registrar, Tally};

/// Handles of the configuration that runs.
#[derive(Debug, Clone)]
pub struct ConfigMetrics {
    /// Unix seconds at which a configuration was taken up last, at the start or later.
    pub taken_up_at: Tally,
    /// Configurations that were read again and taken up, also where nothing was new.
    pub used: Tally,
    /// Configurations that were read again and could not be used.
    pub refused: Tally,
    /// Keys and lists that differ from what runs and need a restart (a level).
    pub need_restart: Tally,
}

impl ConfigMetrics {
    pub(super) fn register(r: &mut Registrar<'_>) -> Self {
        let mut reloads = |state: &str| r.counter("config_reloads_total", &[("state", state.to_owned())]);
        Self {
            used: reloads("used"),
            refused: reloads("refused"),
            taken_up_at: r.level_u64("config_last_reload_success_timestamp_seconds", &[]),
            need_restart: r.level_u64("config_restart_needed_keys", &[]),
        }
    }
}
