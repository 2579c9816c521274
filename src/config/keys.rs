//! The table of scalar keys: one row a key, and everything follows from it.
//!
//! The file reader, the flags, the variables, `deploy/clarion-collector.toml`, the tables of
//! `docs/configuration.md` and the output of `check` are made from [`KEYS`]. A key has one name:
//! `[section] name` = `--section-name` = `CLARION_COLLECTOR_SECTION_NAME`. Aliases are kept for
//! those who come from the Python collector. Ranges and defaults are those of `limits`.

use std::sync::LazyLock;

use crate::limits::{self, Range};

/// Beginning of every variable.
pub const VARIABLE_PREFIX: &str = "CLARION_COLLECTOR_";

/// What a value looks like.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Any text; empty means "not set".
    Text,
    /// A directory; empty means "not set".
    Path,
    /// A file; empty means "not set".
    File,
    /// A secret itself: never shown, neither in errors nor in reports; empty means "not set".
    Secret,
    /// Base URL of the backend; of several with commas, in a file also a list of them.
    Url,
    /// IP address to bind.
    Host,
    /// One UDP port; 0 takes a free one.
    Port,
    /// A TCP port, or a range of which the first free one is taken; 0 takes a free one.
    Ports,
    /// true or false.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// One of these words; true is the first and false the last of them.
    Switch(&'static [&'static str]),
    /// A log level, or directives.
    Level,
    /// Names with commas, in a file also a list of them.
    Names,
    /// A whole number.
    Count(Range),
    /// Octets, with a unit or bare.
    Octets(Range),
    /// A duration, with a unit or in bare seconds; the range counts units of this many milliseconds.
    Duration(Range, u64),
}

/// The value of a key that nobody set.
#[derive(Debug, Clone, Copy)]
pub enum Preset {
    /// The default of the kind's range.
    OfRange,
    /// As an operator would write it.
    Text(&'static str),
    /// `auto`: computed at start; says from what.
    Computed(&'static str),
}

/// One scalar key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Section of the file.
    pub section: &'static str,
    /// Name inside its section.
    pub name: &'static str,
    /// What a value looks like.
    pub kind: Kind,
    /// Value if nobody set it.
    pub preset: Preset,
    /// One sentence for people, without a full stop.
    pub help: &'static str,
    /// Further variables, without the prefix.
    pub variable_aliases: &'static [&'static str],
    /// Further flags, without the dashes.
    pub flag_aliases: &'static [&'static str],
    /// A running process takes a new value up on SIGHUP; else it needs a restart.
    pub reloads: bool,
}

/// Titles of the sections, in the order of the data path.
pub const SECTIONS: &[(&str, &str)] = &[
    ("instance", "Instance"),
    ("data", "Data directory"),
    ("bind", "Listeners"),
    ("netflow", "Listeners"),
    ("ipfix", "Listeners"),
    ("receive", "Receiving"),
    ("admission", "Who may send, and how much"),
    ("switch_id", "Exporters"),
    ("decode", "Decoding"),
    ("queue", "Hand-off to the batchers"),
    ("batch", "Batches"),
    ("output", "Output"),
    ("backend", "Backend"),
    ("retry", "Retries"),
    ("spool", "Spool"),
    ("dead_letters", "Dead letters"),
    ("state", "Learned state"),
    ("http", "HTTP side"),
    ("log", "Logging"),
    ("shutdown", "Shutdown"),
    ("memory", "Memory"),
];

const fn key(section: &'static str, name: &'static str, kind: Kind, preset: Preset, help: &'static str) -> Key {
    Key { section, name, kind, preset, help, variable_aliases: &[], flag_aliases: &[], reloads: false }
}

impl Key {
    const fn also(self, variables: &'static [&'static str], flags: &'static [&'static str]) -> Self {
        Self { variable_aliases: variables, flag_aliases: flags, ..self }
    }

    const fn live(self) -> Self {
        Self { reloads: true, ..self }
    }

    /// Title of its section.
    #[must_use]
    pub fn title(&self) -> &'static str {
        SECTIONS.iter().find(|(section, _)| *section == self.section).map_or(self.section, |(_, title)| title)
    }

    /// The key as a file has it: `[section] name`.
    #[must_use]
    pub fn display(&self) -> String {
        format!("[{}] {}", self.section, self.name)
    }
}

use Kind::{Choice, Count, Duration, File, Flag, Host, Level, Octets, Path, Port, Ports, Secret, Switch, Text, Url};
use Preset::{Computed, OfRange};

const MS: u64 = 1;
const SECOND: u64 = 1_000;

/// Every scalar key, in the order of the sections. Two lines a key, so that it reads as a table.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("instance", "name", Text, Preset::Text(""),
        "Name of this instance in logs, metrics and requests; empty takes POD_NAME, else a UUID that is kept in the data directory"),
    key("data", "dir", Path, Preset::Text(""),
        "Directory for what must outlive a restart (state/, spool/, dead/); empty keeps nothing on disk"),
    key("bind", "host", Host, Preset::Text("::"),
        "Address of listeners that name none; :: takes IPv4 too and falls back to 0.0.0.0 where there is no IPv6"),
    key("netflow", "port", Port, Preset::Text("2055"),
        "First port that is listened on while the file has no [[listener]]; any version is taken on any port"),
    key("ipfix", "port", Port, Preset::Text("4739"),
        "Second port that is listened on while the file has no [[listener]]; any version is taken on any port"),
    key("receive", "workers", Count(limits::WORKERS), Computed("the cores that this process may use, fewer if memory is short"),
        "Worker threads, each with a socket of its own per listener"),
    key("receive", "buffer", Octets(limits::RECEIVE_BUFFER), OfRange,
        "Receive buffer that a listener asks the kernel for, shared by its workers; net.core.rmem_max caps it").also(&["UDP_RCVBUF"], &[]),
    key("receive", "rejected_bytes", Octets(limits::REJECTED_OCTETS), OfRange,
        "Room for datagrams that made no sense, which /api/v1/rejected.pcap gives out; 0 keeps none, and so does an HTTP side without token that is not bound to loopback"),
    key("receive", "pin", Choice(&["auto", "on", "off"]), Preset::Text("auto"),
        "Pin workers to cores; auto does so when this process alone may use its cores"),
    key("receive", "steering", Choice(&["kernel", "source", "cpu", "random"]), Preset::Text("kernel"),
        "Which worker gets an exporter; all but kernel need exclusive = true"),
    key("receive", "exclusive", Flag, Preset::Text("false"),
        "No other process may listen on these ports; a second collector then refuses to start"),
    key("admission", "allow", Text, Preset::Text(""),
        "Prefixes that may send, separated by commas: 10.0.0.0/8, 2001:db8::/32; empty lets all").live(),
    key("admission", "deny", Text, Preset::Text(""),
        "Prefixes that may not send, whatever allow says").live(),
    key("admission", "datagrams_per_second", Count(limits::RATE_DATAGRAMS), OfRange,
        "What one exporter may send, unless an [[exporter]] rule says otherwise; 0 is as much as it likes").live(),
    key("admission", "bytes_per_second", Octets(limits::RATE_OCTETS), OfRange,
        "The same in octets of datagrams; 0 is as much as it likes").live(),
    key("admission", "burst", Duration(limits::RATE_BURST_MS, MS), OfRange,
        "What an exporter may send at once after a silence: what its rate gives in this time").live(),
    key("switch_id", "from_ip", Flag, Preset::Text("true"),
        "switch_id is the exporter's address, unless an [[exporter]] rule gives another").live(),
    key("switch_id", "fixed", Text, Preset::Text("clarion-collector"),
        "switch_id of all exporters while from_ip is false, unless an [[exporter]] rule gives another").live(),
    key("decode", "check_times", Flag, Preset::Text("true"),
        "Times before 7 days ago or after an hour from now give way to the record's next clock, then to the header's, then to the receive time; false takes them as they came, for replayed captures").live(),
    key("decode", "park", Switch(&["memory", "disk", "off"]), Preset::Text("memory"),
        "Keep data sets whose template has not come yet and decode them when it comes: in memory, on disk too (in [data] dir), or not at all; true is memory and false is off"),
    key("decode", "park_age", Duration(limits::PARKED_AGE_S, SECOND), OfRange,
        "Age at which a data set that waits for its template is dropped, or goes to the disk"),
    key("decode", "park_bytes", Octets(limits::PARKED_OCTETS), OfRange,
        "Room for data sets that wait for their template"),
    key("decode", "park_disk_age", Duration(limits::PARKED_DISK_AGE_S, SECOND), OfRange,
        "Age at which a data set is dropped that waits on disk: longer than routers take to send their templates again"),
    key("decode", "park_disk_bytes", Octets(limits::PARKED_DISK_OCTETS), OfRange,
        "Size of the files with data sets that wait on disk"),
    key("decode", "learned_bytes", Octets(limits::LEARNED_OCTETS), OfRange,
        "Room for templates and options tables"),
    key("decode", "elements_file", File, Preset::Text(""),
        "TSV file with further Information Elements, in the columns pen, id, name, abstract_data_type, semantics, units; read at start"),
    key("queue", "batches", Count(limits::QUEUE_BATCHES), OfRange,
        "Batches of flows that may wait between workers and batchers"),
    key("queue", "batchers", Count(limits::BATCHERS), Computed("half the workers, at least 1"),
        "Threads that merge and encode flows"),
    key("batch", "size", Count(limits::BATCH_SIZE), OfRange,
        "Records in a request"),
    key("batch", "interval", Duration(limits::BATCH_INTERVAL_MS, MS), OfRange,
        "Oldest a record gets before its batch is closed, however small"),
    key("output", "kind", Choice(&["backend", "stdout"]), Preset::Text("backend"),
        "Where flows go: POST to the backend, or NDJSON on standard output").also(&["OUTPUT"], &["output"]),
    key("output", "extra_keys", Flag, Preset::Text("true"),
        "Add sampling_rate and sampling_source where the rate is not 1 or not known").live(),
    key("output", "fields", Kind::Names, Preset::Text("clarion"),
        "What records go out with: clarion is the backend's keys, all is everything, a list adds core keys, fields and elements (docs/fields.md) to the backend's keys and is all that a line on standard output has").live(),
    key("output", "counters", Choice(&["raw", "scaled"]), Preset::Text("raw"),
        "Counters as on the wire, or multiplied by the sampling rate").live(),
    key("backend", "url", Url, Preset::Text("http://127.0.0.1:8000"),
        "Base URL of the backend, a path in it is kept; or several, the preferred one first").live(),
    key("backend", "balance", Choice(&["failover", "spread"]), Preset::Text("failover"),
        "Which of several backends gets a batch: the first that takes what it is sent, or all of them in turns").live(),
    key("backend", "endpoint", Text, Preset::Text("/api/netflow/netflow"),
        "Path behind the base URL that flows are posted to").live(),
    key("backend", "requests_in_flight", Count(limits::REQUESTS_IN_FLIGHT), OfRange,
        "Requests under way at once, to all backends together"),
    key("backend", "concurrency", Choice(&["adaptive", "fixed"]), Preset::Text("adaptive"),
        "adaptive sends a backend fewer requests at once where more only make it slower; fixed always sends requests_in_flight").live(),
    key("backend", "in_flight_bytes", Octets(limits::IN_FLIGHT_OCTETS), OfRange,
        "Room for bodies that wait for or are under delivery"),
    key("backend", "request_timeout", Duration(limits::REQUEST_TIMEOUT_MS, MS), OfRange,
        "Longest a whole request may take").live(),
    key("backend", "connect_timeout", Duration(limits::CONNECT_TIMEOUT_MS, MS), OfRange,
        "Longest a TCP connect may take").live(),
    key("backend", "idle_timeout", Duration(limits::IDLE_TIMEOUT_MS, MS), OfRange,
        "Idle time after which a connection is closed").live(),
    key("backend", "connection_max_age", Duration(limits::CONNECTION_AGE_MS, MS), OfRange,
        "Oldest a connection gets, so that load moves to new backend replicas").live(),
    key("backend", "http_version", Choice(&["auto", "1.1", "2"]), Preset::Text("auto"),
        "HTTP to speak: auto lets a TLS backend choose and is 1.1 without TLS; 2 without TLS means prior knowledge").live(),
    key("backend", "compression", Choice(&["none", "gzip", "zstd"]), Preset::Text("none"),
        "Content-Encoding of bodies; the backend must understand it"),
    key("backend", "proxy", Text, Preset::Text("auto"),
        "Proxy to the backend: auto takes HTTPS_PROXY (https), http_proxy (http) and NO_PROXY from the environment; off; or http://[user:password@]host:port").live(),
    key("backend", "tls_ca_file", File, Preset::Text(""),
        "PEM file with the certification authorities to trust; empty trusts the public ones that are built in").live(),
    key("backend", "tls_cert_file", File, Preset::Text(""),
        "PEM file with the client certificate and its chain, for a backend that asks for one").live(),
    key("backend", "tls_key_file", File, Preset::Text(""),
        "PEM file with the client certificate's private key").live(),
    key("backend", "tls_min_version", Choice(&["1.2", "1.3"]), Preset::Text("1.2"),
        "Oldest TLS version that is spoken").live(),
    key("backend", "token", Secret, Preset::Text(""),
        "Sent as Authorization: Bearer; better in a file or variable than on a command line, which others can read").live(),
    key("backend", "token_file", File, Preset::Text(""),
        "File with the token; read again when it changes").live(),
    key("backend", "username", Text, Preset::Text(""),
        "User of basic authentication").live(),
    key("backend", "password", Secret, Preset::Text(""),
        "Password of basic authentication").live(),
    key("backend", "password_file", File, Preset::Text(""),
        "File with the password; read again when it changes").live(),
    key("backend", "headers", Secret, Preset::Text(""),
        "Further headers of requests, one \"Name: value\" a line").live(),
    key("backend", "headers_file", File, Preset::Text(""),
        "File with further headers, one \"Name: value\" a line; read again when it changes").live(),
    key("backend", "threads", Count(limits::DELIVERY_THREADS), OfRange,
        "Threads of the delivery side"),
    key("retry", "attempts", Count(limits::RETRY_ATTEMPTS), OfRange,
        "Tries with one batch before it makes way for the next; it is not dropped then"),
    key("retry", "backoff", Duration(limits::BACKOFF_MS, MS), OfRange,
        "First pause after a failure; doubles with each further one"),
    key("retry", "backoff_max", Duration(limits::BACKOFF_MAX_MS, MS), OfRange,
        "Longest pause after a failure"),
    key("spool", "mode", Choice(&["on_failure", "off", "always"]), Preset::Text("on_failure"),
        "When batches go to disk: when they cannot be delivered now, never, or each before it is sent; on_failure is off without a directory"),
    key("spool", "dir", Path, Preset::Text(""),
        "Directory of the spool; empty takes spool/ in [data] dir"),
    key("spool", "limit", Octets(limits::SPOOL_OCTETS), Computed("10 GiB, or half of the free space if that is less"),
        "Octets on disk"),
    key("spool", "age", Duration(limits::SPOOL_AGE_S, SECOND), OfRange,
        "Age at which a batch in the spool is dropped, by its newest record"),
    key("spool", "keep_free", Count(limits::SPOOL_KEEP_FREE_PERCENT), OfRange,
        "Share of the file system that the spool leaves free, percent"),
    key("spool", "full", Choice(&["drop_oldest", "drop_newest"]), Preset::Text("drop_oldest"),
        "What gives way when the limit is reached"),
    key("spool", "fsync", Choice(&["interval", "never", "always"]), Preset::Text("interval"),
        "When batches are made to reach the disk; only a crash of the whole machine costs what has not"),
    key("spool", "fsync_interval", Duration(limits::SPOOL_FSYNC_MS, MS), OfRange,
        "Time between two such moments with fsync = interval"),
    key("spool", "compress", Flag, Preset::Text("false"),
        "Pack batches on disk with zstd: less disk for more CPU"),
    key("dead_letters", "limit", Octets(limits::DEAD_OCTETS), OfRange,
        "Octets of records that the backend refused for good, kept in dead/ of [data] dir; the oldest go first"),
    key("dead_letters", "age", Duration(limits::DEAD_AGE_S, SECOND), OfRange,
        "Age at which such a record is deleted"),
    key("state", "snapshot_interval", Duration(limits::STATE_INTERVAL_S, SECOND), OfRange,
        "Between two looks whether templates and options are to be written to state/ in [data] dir, for the next start; 0 keeps none"),
    key("state", "max_age", Duration(limits::STATE_AGE_S, SECOND), OfRange,
        "Age at which what was kept is not used any more, by the last datagram of its exporter"),
    key("http", "bind_host", Host, Preset::Text("::"),
        "Address of health, readiness, metrics and status"),
    key("http", "port", Ports, Preset::Text("8081"),
        "Port of health, readiness, metrics and status; of a range such as 9100-9199 the first free one"),
    key("http", "tls_cert_file", File, Preset::Text(""),
        "PEM file with the certificate and its chain; with it the HTTP side speaks TLS only"),
    key("http", "tls_key_file", File, Preset::Text(""),
        "PEM file with the certificate's private key"),
    key("http", "token", Secret, Preset::Text(""),
        "Token that the page and /api/v1 ask for (Authorization: Bearer); empty leaves them open"),
    key("http", "token_file", File, Preset::Text(""),
        "File with that token; read again when it changes"),
    key("http", "metrics_open", Flag, Preset::Text("true"),
        "/metrics, /metrics/prometheus and /metrics/exporters need no token: whoever reaches the port can read counters and exporters' addresses"),
    key("http", "request_rate", Count(limits::HTTP_REQUEST_RATE), OfRange,
        "Requests a second that are answered, of all peers together; health is always answered"),
    key("http", "targets_dir", Path, Preset::Text(""),
        "Directory in which a file says where this process answers, for Prometheus' file discovery; empty writes none"),
    key("http", "advertise_host", Text, Preset::Text(""),
        "Host that this file names; empty takes [http] bind_host if that is one address, else the host's name"),
    key("log", "level", Level, Preset::Text("info"),
        "trace, debug, info, warn, error or off; also per module: info,clarion_collector::sink=debug").live(),
    key("log", "format", Choice(&["auto", "text", "json"]), Preset::Text("auto"),
        "Text, or one JSON object a line; auto is text"),
    key("shutdown", "drain_delay", Duration(limits::DRAIN_DELAY_MS, MS), OfRange,
        "Keep receiving for this long after /readyz began to answer 503; 5s is right in Kubernetes"),
    key("shutdown", "timeout", Duration(limits::SHUTDOWN_TIMEOUT_MS, MS), OfRange,
        "Deadline of the drain; what is undelivered then is in the spool, or dropped and counted"),
    key("memory", "limit", Octets(limits::MEMORY_LIMIT), Computed("75 % of the cgroup's limit, else of the machine's memory"),
        "What the process may hold; learned state, waiting sets, bodies and buffers share it"),
];

/// Names of a key that are made from its section and name.
#[derive(Debug)]
pub struct Names {
    /// `section.name`.
    pub id: String,
    /// Flag without the dashes.
    pub flag: String,
    /// Variable with the prefix.
    pub variable: String,
}

static NAMES: LazyLock<Vec<Names>> = LazyLock::new(|| {
    KEYS.iter()
        .map(|key| Names {
            id: format!("{}.{}", key.section, key.name),
            flag: format!("{}-{}", key.section, key.name).replace('_', "-"),
            variable: format!("{VARIABLE_PREFIX}{}_{}", key.section, key.name).to_uppercase(),
        })
        .collect()
});

/// Names of `KEYS[index]`.
#[must_use]
pub fn names(index: usize) -> &'static Names {
    &NAMES[index]
}

/// Position of `section.name` in [`KEYS`].
#[must_use]
pub fn position(id: &str) -> Option<usize> {
    NAMES.iter().position(|names| names.id == id)
}

/// The name in `known` that `wrong` was probably meant to be.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&wrong.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_across_keys_and_aliases() {
        let mut variables = HashSet::new();
        let mut flags = HashSet::new();
        for (index, key) in KEYS.iter().enumerate() {
            assert!(variables.insert(names(index).variable.clone()), "{}", key.display());
            assert!(flags.insert(names(index).flag.clone()), "{}", key.display());
            for alias in key.variable_aliases {
                assert!(variables.insert(format!("{VARIABLE_PREFIX}{alias}")), "{alias}");
            }
            for alias in key.flag_aliases {
                assert!(flags.insert((*alias).to_owned()), "{alias}");
            }
        }
        for taken in ["config", "help", "version", "mode", "print-default"] {
            assert!(!flags.contains(taken), "{taken}");
        }
    }

    #[test]
    fn no_variable_looks_like_one_of_kubernetes() {
        for index in 0..KEYS.len() {
            assert!(!names(index).variable.contains("_SERVICE_"));
        }
    }

    #[test]
    fn keys_stand_in_the_order_of_the_sections_and_each_section_has_one() {
        let mut seen: Vec<&str> = KEYS.iter().map(|key| key.section).collect();
        seen.dedup();
        let sections: Vec<&str> = SECTIONS.iter().map(|(section, _)| *section).collect();
        assert_eq!(seen, sections);
    }

    #[test]
    fn variables_of_the_python_collector_are_names_or_aliases() {
        let known: HashSet<String> = KEYS
            .iter()
            .enumerate()
            .flat_map(|(index, key)| {
                let aliases = key.variable_aliases.iter().map(|alias| format!("{VARIABLE_PREFIX}{alias}"));
                aliases.chain([names(index).variable.clone()]).collect::<Vec<_>>()
            })
            .collect();
        for name in [
            "BACKEND_URL",
            "NETFLOW_PORT",
            "IPFIX_PORT",
            "BIND_HOST",
            "BATCH_SIZE",
            "BATCH_INTERVAL",
            "SWITCH_ID_FROM_IP",
            "LOG_LEVEL",
            "UDP_RCVBUF",
            "RETRY_ATTEMPTS",
            "RETRY_BACKOFF",
            "DATA_DIR",
            "HTTP_PORT",
            "HTTP_BIND_HOST",
        ] {
            assert!(known.contains(&format!("{VARIABLE_PREFIX}{name}")), "{name}");
        }
    }

    #[test]
    fn nearest_names_the_likely_one_and_keeps_silent_about_others() {
        assert_eq!(nearest("wrokers", ["workers", "buffer"]), Some("workers"));
        assert_eq!(nearest("zzz", ["workers", "buffer"]), None);
    }
}
