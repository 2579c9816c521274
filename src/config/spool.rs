//! `[spool]` and `[dead_letters]` -> what the spool runs on.

use std::path::PathBuf;
use std::time::Duration;

use super::Settings;
use super::error::Faults;
use super::values::Values;
use crate::limits;
use crate::sink::{Output, SpoolMode};
use crate::spool::{DeadSettings, Fsync, SpoolSettings, WhenFull};

/// What cannot be delivered now, and what never will be.
#[derive(Debug, Clone)]
pub struct SpoolPlan {
    /// As written; see [`Settings::spool_mode`].
    pub mode: SpoolMode,
    /// The spool's settings; without a directory the root is empty.
    pub spool: SpoolSettings,
    /// Dead letters; without a data directory the path is empty.
    pub dead: DeadSettings,
}

impl Settings {
    /// When batches go through the spool, with what this output and the directories allow.
    #[must_use]
    pub fn spool_mode(&self) -> SpoolMode {
        let usable = self.sink.output == Output::Backend && !self.spool.spool.root.as_os_str().is_empty();
        if usable { self.spool.mode } else { SpoolMode::Off }
    }

    /// Where dead letters are kept, if they are.
    #[must_use]
    pub fn dead_letters(&self) -> Option<&DeadSettings> {
        let usable = self.sink.output == Output::Backend && !self.spool.dead.path.as_os_str().is_empty();
        usable.then_some(&self.spool.dead)
    }

    /// Memory that the spool takes, octets: what is on its way in and out, a segment while a directory is opened, and a
    /// note of each entry.
    pub(super) fn spool_octets(&self) -> u64 {
        let spool = &self.spool.spool;
        let entries = 64 * limits::SPOOL_ENTRIES_MAX as u64;
        spool.inlet_octets + spool.lease_octets + spool.segment_octets + entries
    }
}

/// Reads both sections.
pub(super) fn plan(values: &Values, faults: &mut Faults) -> SpoolPlan {
    let mode = match values.text("spool.mode") {
        "always" => SpoolMode::Always,
        "off" => SpoolMode::Off,
        _ => SpoolMode::OnFailure,
    };
    let below = |name: &str| -> PathBuf {
        let data = values.text("data.dir");
        if data.is_empty() { PathBuf::new() } else { PathBuf::from(data).join(name) }
    };
    let root =
        Some(values.text("spool.dir")).filter(|dir| !dir.is_empty()).map_or_else(|| below("spool"), PathBuf::from);
    if mode == SpoolMode::Always && root.as_os_str().is_empty() {
        faults.add(format!(
            "{}: [spool] mode = \"always\" needs a directory: set [spool] dir or [data] dir, or mode = \"on_failure\"",
            values.origin("spool.mode").place()
        ));
    }
    let leases = (limits::SPOOL_LEASES_PER_REQUEST * values.number("backend.requests_in_flight"))
        .clamp(1, usize::try_from(limits::SPOOL_LEASES.max).unwrap_or(usize::MAX));
    let spool = SpoolSettings {
        limit: values.octets("spool.limit"),
        age: values.duration("spool.age"),
        keep_free_percent: values.number("spool.keep_free") as u64,
        full: if values.text("spool.full") == "drop_newest" { WhenFull::DropNewest } else { WhenFull::DropOldest },
        fsync: fsync(values.text("spool.fsync"), values.duration("spool.fsync_interval")),
        compress: values.flag("spool.compress"),
        leases,
        ..SpoolSettings::new(root)
    };
    let dead = DeadSettings {
        path: below("dead"),
        limit: values.size("dead_letters.limit"),
        age: values.duration("dead_letters.age"),
    };
    SpoolPlan { mode, spool, dead }
}

fn fsync(word: &str, interval: Duration) -> Fsync {
    match word {
        "never" => Fsync::Never,
        "always" => Fsync::Always,
        _ => Fsync::Interval(interval),
    }
}
