//! The rules of the tree as data, each with its reason; `docs/architecture.md` says the same in prose.

/// Crates of Cargo.toml that a module may name.
#[derive(Debug, Clone, Copy)]
pub enum Crates {
    /// These alone.
    Only(&'static [&'static str]),
    /// All but these.
    AllBut(&'static [&'static str]),
}

/// What one top-level module may know.
#[derive(Debug)]
pub struct Rule {
    /// The module.
    pub module: &'static str,
    /// Our modules, or parts of one (`queue::Outlet`); `*` is any.
    pub may: &'static [&'static str],
    /// Foreign crates.
    pub crates: Crates,
    /// Paths (`std::fs`) or single words (`Instant`) that must not stand in it.
    pub never: &'static [&'static str],
    /// Why.
    pub why: &'static str,
}

use Crates::{AllBut, Only};

/// An operating-system thread must not depend on a runtime, nor parse what the operator wrote.
const NO_RUNTIME: &[&str] = &[
    "tokio",
    "hyper",
    "hyper_util",
    "http_body_util",
    "clap",
    "toml",
    "anyhow",
    "pcap_parser",
    "metrics_exporter_prometheus",
];
/// Asynchronous modules.
const NO_COMMAND_LINE: &[&str] = &["clap", "toml", "anyhow", "pcap_parser", "metrics_exporter_prometheus"];

/// One row a module. A new module needs a row before it can be merged.
pub const RULES: &[Rule] = &[
    Rule { module: "flow", may: &[], crates: Only(&[]), never: IO, why: "the vocabulary: std only, imports none" },
    Rule { module: "limits", may: &[], crates: Only(&[]), never: IO, why: "numbers, a leaf" },
    Rule {
        module: "element",
        may: &["flow", "limits"],
        crates: Only(&[]),
        never: IO,
        why: "tables, a leaf (ElementId)",
    },
    Rule { module: "clock", may: &[], crates: Only(&[]), never: &[], why: "the one place where time comes from" },
    Rule {
        module: "throttle",
        may: &["limits"],
        crates: Only(&[]),
        never: &["Instant", "SystemTime"],
        why: "a leaf; time is passed in",
    },
    Rule {
        module: "secret",
        may: &["limits"],
        crates: Only(&["arc_swap", "thiserror", "tracing"]),
        never: &["Instant", "SystemTime", "std::thread"],
        why: "what must not be shown, and the files it is read from; a leaf",
    },
    Rule {
        module: "tls",
        may: &["secret", "limits"],
        crates: AllBut(&["tokio", "hyper", "clap", "toml", "anyhow"]),
        never: &[],
        why: "certificates and keys for both sides; knows neither",
    },
    Rule {
        module: "decode",
        may: &["flow", "element", "limits"],
        crates: Only(&["nom", "arc_swap", "rustc_hash", "thiserror"]),
        never: IO,
        why: "pure: the same octets give the same flows, in tests, in fuzzing and on the wire",
    },
    Rule {
        module: "collect",
        may: &["decode", "flow", "queue", "share", "metrics", "limits", "clock", "throttle"],
        crates: AllBut(NO_RUNTIME),
        never: &[],
        why: "pinned threads that never wait for delivery",
    },
    Rule {
        module: "queue",
        may: &["flow", "sink::encode", "sink::ExporterRun", "metrics", "limits", "clock", "throttle"],
        crates: AllBut(NO_RUNTIME),
        never: &[],
        why: "batchers encode and offer; what becomes of a batch is not their business",
    },
    Rule {
        module: "share",
        may: &["decode", "metrics", "limits", "clock", "throttle"],
        crates: AllBut(NO_RUNTIME),
        never: &[],
        why: "learned state only, never records",
    },
    Rule {
        module: "sink",
        may: &[
            "flow",
            "element",
            "queue::Outlet",
            "spool",
            "metrics",
            "limits",
            "secret",
            "tls",
            "refresh::tell",
            "clock",
            "throttle",
        ],
        crates: AllBut(NO_COMMAND_LINE),
        never: &[],
        why: "delivers bytes; must not know where they came from",
    },
    Rule {
        module: "spool",
        may: &["metrics", "limits", "clock", "throttle"],
        crates: AllBut(NO_RUNTIME),
        never: &[],
        why: "knows bytes, not flows",
    },
    Rule {
        module: "web",
        may: &["metrics", "limits", "secret", "tls", "clock", "throttle"],
        crates: AllBut(NO_COMMAND_LINE),
        never: &[],
        why: "an onlooker: it is handed snapshot functions",
    },
    Rule {
        module: "monitor",
        may: &["metrics", "limits", "clock", "throttle"],
        crates: AllBut(NO_RUNTIME),
        never: &[],
        why: "reads counters and heartbeats of everybody through metrics",
    },
    Rule {
        module: "notify",
        may: &["limits"],
        crates: Only(&["tracing"]),
        never: &["SystemTime", "std::env"],
        why: "a leaf: what the service manager is told; the environment and the system call are handed in",
    },
    Rule {
        module: "refresh",
        may: &["secret", "metrics", "limits", "clock"],
        crates: AllBut(NO_RUNTIME),
        never: &[],
        why: "reads files again on a thread that may hang with them",
    },
    Rule {
        module: "metrics",
        may: &["decode", "flow", "limits", "clock"],
        crates: AllBut(&["tokio", "hyper", "clap", "toml", "anyhow"]),
        never: &["decode::decode", "decode::Domain"],
        why: "names every metric; of decode it needs the labels",
    },
    Rule {
        module: "config",
        may: &[
            "collect", "decode", "element", "queue", "share", "sink", "spool", "web", "limits", "flow", "throttle",
            "cli", "secret", "tls",
        ],
        crates: AllBut(&["tokio", "hyper", "pcap_parser"]),
        never: &[],
        why: "fills the settings structs that the stages define",
    },
    Rule { module: "cli", may: &[], crates: Only(&["clap"]), never: &[], why: "knows no default values" },
    Rule {
        module: "logging",
        may: &["config", "throttle", "clock", "limits"],
        crates: AllBut(&["tokio", "hyper", "pcap_parser"]),
        never: &[],
        why: "starts before everything else",
    },
    Rule { module: "app", may: &["*"], crates: AllBut(&["pcap_parser"]), never: &["crate::tools"], why: "the wiring" },
    Rule { module: "tools", may: &["*"], crates: AllBut(&[]), never: &[], why: "commands that reuse the path" },
    Rule { module: "lib", may: &[], crates: Only(&[]), never: &[], why: "the tour" },
    Rule {
        module: "main",
        may: &["app", "cli", "config", "logging", "tools"],
        crates: AllBut(&["tokio", "hyper"]),
        never: &[],
        why: "parses, hands over, exits",
    },
];

/// Rooms of modules that have grown large, in the order of the path: each may know those before it and none behind it, nor
/// what the module says outward. The drive, in the last places, may know all.
pub const ROOMS: &[Rooms] = &[Rooms {
    module: "decode",
    rooms: &["error", "key", "selection", "wire", "sequence", "outcome", "told", "plan", "learned"],
    drive: &["message", "v5", "mod"],
}];

/// One row of [`ROOMS`].
#[derive(Debug)]
pub struct Rooms {
    /// The module.
    pub module: &'static str,
    /// Its rooms, files or folders.
    pub rooms: &'static [&'static str],
    /// Files that put them together.
    pub drive: &'static [&'static str],
}

/// What a pure module does not touch: sockets, files, threads, clocks, terminals.
const IO: &[&str] = &[
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "Instant",
    "SystemTime",
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "println",
    "eprintln",
];

/// The one file with unsafe: system calls that no crate offers as we need them.
pub const UNSAFE_FILE: &str = "collect/sys.rs";
/// Lines of a file, tests apart.
pub const FILE_LINES_MAX: usize = 500;
/// Lines of main.rs.
pub const MAIN_LINES_MAX: usize = 80;
/// Words that say nothing about the thing named.
pub const BANNED_WORDS: &[&str] = &["manager", "handler", "util", "utils", "helper", "helpers"];
/// Metrics are named in one module, so that the catalogue is the whole truth.
pub const METRIC_PREFIX: &str = "clarion_collector_";
/// The crate `metrics` is used through our handles alone; its macros find the global recorder.
pub const METRIC_MACROS: &[&str] = &["metrics::counter", "metrics::gauge", "metrics::histogram"];
