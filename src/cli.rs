//! The command line: commands and their arguments.
//!
//! Flags of settings are generated from the table of `config` (one `--section-key` each), so that
//! this file knows neither their names nor their defaults. They belong to the collector, to
//! `check` and to `doctor`; the other commands have arguments of their own. Usage errors end the process with 2.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// What was typed.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "clarion-collector",
    version,
    about = "Receives NetFlow v5, v9 and IPFIX, decodes it and delivers every record to a backend, or says where it was lost",
    long_about = "Receives NetFlow v5, v9 and IPFIX, decodes it and delivers every record to a backend, or says where \
                  it was lost.\n\nWithout a command it runs the collector. Every setting can be given in a TOML file, \
                  as a variable CLARION_COLLECTOR_SECTION_KEY or as a flag --section-key; a flag beats a variable, a \
                  variable beats the file.",
    subcommand_help_heading = "Commands",
    max_term_width = 120
)]
pub struct Cli {
    /// What to do; None runs the collector.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Commands beside running the collector.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Check the configuration and print what is in effect, where it came from and the memory sum
    Check(CheckArgs),
    /// Look at this host and at the backend, and say what to do; changes nothing
    Doctor(DoctorArgs),
    /// Show a collector, a backend and a few exporters at work, without configuration or network
    Demo(DemoArgs),
    /// Run the embedded backend: it checks every record and fails on demand
    Backend(BackendArgs),
    /// Decode captures and print their flows as NDJSON
    Decode(DecodeArgs),
    /// Send the UDP payloads of captures to a collector
    Replay(ReplayArgs),
    /// Generate load: NetFlow with a serial number in every record
    Generate(GenerateArgs),
    /// Ask the collector beside this command whether it is alive: exit code 0 or 1, for containers
    Healthcheck(HealthcheckArgs),
    /// List, show or send again what the backend refused for good
    DeadLetter(DeadLetterArgs),
    /// Print the completion script of a shell
    Completions(CompletionsArgs),
    /// Print the manual page, or write it and one page a command into a directory
    Man(ManArgs),
}

/// `check`.
#[derive(Debug, Clone, Default, Args)]
pub struct CheckArgs {
    /// Print a configuration file with every key, commented, at its default, and do nothing else
    #[arg(long)]
    pub print_default: bool,
}

/// `doctor`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Exit code: 0 nothing to do (hints may be there), 1 a fault, 2 wrong usage, 3 warnings.")]
pub struct DoctorArgs {
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}

/// `dead-letter`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Exit code of resend: 0 all were accepted, 1 some were not and are kept.",
    subcommand_help_heading = "Commands"
)]
pub struct DeadLetterArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DeadLetterCommand,
}

/// What to do with dead letters.
#[derive(Debug, Clone, Subcommand)]
pub enum DeadLetterCommand {
    /// Print one JSON object a letter, oldest first
    List(NoArgs),
    /// Print a letter with its records and the backend's answer
    Show(Letter),
    /// Post letters to the backend again, and delete those that it accepts
    Resend(Letters),
}

/// Nothing more.
#[derive(Debug, Clone, Default, Args)]
pub struct NoArgs {}

/// One dead letter.
#[derive(Debug, Clone, Args)]
pub struct Letter {
    /// Id of the letter, or a beginning that no other has
    #[arg(value_name = "ID")]
    pub id: String,
}

/// One dead letter or all.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct Letters {
    /// Id of the letter, or a beginning that no other has
    #[arg(value_name = "ID")]
    pub id: Option<String>,
    /// All letters
    #[arg(long)]
    pub all: bool,
}

/// `demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// End after this many seconds; without it Ctrl-C ends
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: Option<u64>,
    /// Records a second of all exporters together; 5k and 1M are understood
    #[arg(long, value_name = "R", default_value = "2000", value_parser = rate)]
    pub rate: u64,
    /// Synthetic exporters, spread over v5, v9 and IPFIX
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub exporters: u32,
}

/// `backend`.
#[derive(Debug, Clone, Args)]
pub struct BackendArgs {
    /// Address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8000", value_parser = address)]
    pub listen: SocketAddr,
    /// Append every accepted record to this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Append a line for every accepted request to this file: Idempotency-Key, and `bytes` by switch_id, as JSON
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    /// Track the serial numbers that `generate` writes: /stats tells which are missing or doubled
    #[arg(long)]
    pub serials: bool,
    /// Speak TLS with this certificate and its chain (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key", help_heading = "Access")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of that certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = "Access")]
    pub tls_key: Option<PathBuf>,
    /// Ask for client certificates of these authorities (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = "Access")]
    pub client_ca: Option<PathBuf>,
    /// Answer POSTs without this bearer token with 401
    #[arg(long, value_name = "TOKEN", help_heading = "Access")]
    pub token: Option<String>,
    /// The same with the token in a file, which may change
    #[arg(long, value_name = "FILE", conflicts_with = "token", help_heading = "Access")]
    pub token_file: Option<PathBuf>,
    /// Read gzip and zstd bodies; the real backend answers them with 400, and so does this one without the flag
    #[arg(long, help_heading = "Access")]
    pub accept_encodings: bool,
    /// Share of requests that is answered with --status (503 if it is not given), 0 to 1
    #[arg(long, value_name = "P", value_parser = share, help_heading = "Misbehaviour")]
    pub fail_rate: Option<f64>,
    /// Wait this long before each answer: 150ms, 2s, or seconds
    #[arg(long, value_name = "D", value_parser = duration, help_heading = "Misbehaviour")]
    pub delay: Option<Duration>,
    /// HTTP status of failures; without --fail-rate or --poison-serial all requests get it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(200..=599),
          help_heading = "Misbehaviour")]
    pub status: Option<u16>,
    /// Requests with at most this many records are spared by --fail-rate and --status: what is split passes
    #[arg(long, value_name = "N", help_heading = "Misbehaviour")]
    pub fail_above: Option<usize>,
    /// Share of requests whose connection is reset before an answer, 0 to 1
    #[arg(long, value_name = "P", value_parser = share, help_heading = "Misbehaviour")]
    pub reset_rate: Option<f64>,
    /// A request with the record of this serial number is answered with --status (500 if not given)
    #[arg(long, value_name = "N", help_heading = "Misbehaviour")]
    pub poison_serial: Option<u64>,
    /// End after this many seconds; without it Ctrl-C ends
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: Option<u64>,
}

/// `decode`.
#[derive(Debug, Clone, Args)]
pub struct DecodeArgs {
    /// Captures: pcap or pcapng
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Print counts per exporter, version and template instead of flows
    #[arg(long)]
    pub summary: bool,
    /// Print the summary as JSON, a file a line: exporters as /api/v1/exporters/{address} shows them
    #[arg(long, requires = "summary")]
    pub json: bool,
    /// Which elements a flow is printed with
    #[arg(long, value_enum, default_value_t = Elements::Core)]
    pub elements: Elements,
    /// TSV file with further Information Elements, in the columns of `[decode] elements_file`
    #[arg(long, value_name = "FILE")]
    pub elements_file: Option<PathBuf>,
    /// Print flows with these fields and no other: all, or names with commas (docs/fields.md)
    #[arg(long, value_name = "NAMES", conflicts_with_all = ["elements", "summary"])]
    pub fields: Option<String>,
}

/// Which elements are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Elements {
    /// Those with a key of their own
    Core,
    /// All, as on the wire
    All,
}

/// `replay`.
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// Captures: pcap or pcapng
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Where to send: host:port
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub to: SocketAddr,
    /// Datagrams a second; 5k and 1M are understood
    #[arg(long, value_name = "R", value_parser = rate, conflicts_with = "speed")]
    pub rate: Option<u64>,
    /// Keep the capture's timing, this many times as fast: 1 is the original
    #[arg(long, value_name = "X", value_parser = speed)]
    pub speed: Option<f64>,
    /// Send it all N times, without N until Ctrl-C
    #[arg(long = "loop", value_name = "N", num_args = 0..=1)]
    pub repeat: Option<Option<u64>>,
    /// Send from one loopback address per original exporter, so that exporters stay apart
    #[arg(long)]
    pub per_exporter_source: bool,
}

/// `generate`.
#[derive(Debug, Clone, Args)]
pub struct GenerateArgs {
    /// Where to send: host:port
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub to: SocketAddr,
    /// Records a second of all exporters together; 5k and 1M are understood
    #[arg(long, value_name = "R", value_parser = rate)]
    pub rate: u64,
    /// Exporters, each with its own source
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub exporters: u32,
    /// Export protocol
    #[arg(long, value_enum, default_value_t = GenerateVersion::Mixed)]
    pub version: GenerateVersion,
    /// After this many seconds the templates of v9 and IPFIX exporters take ids that others had; from 4 on no guard minds
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    pub churn: Option<u32>,
    /// End after this many seconds
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: Option<u64>,
    /// End after this many records of all exporters together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub records: Option<u64>,
}

/// `healthcheck`.
#[derive(Debug, Clone, Default, Args)]
pub struct HealthcheckArgs {
    /// What to ask; without it /livez of the collector that runs in this container or on this machine
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
}

/// Export protocol of `generate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GenerateVersion {
    /// NetFlow v5
    V5,
    /// NetFlow v9
    V9,
    /// IPFIX
    Ipfix,
    /// The exporters take turns
    Mixed,
}

/// `completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// Whose script
    #[arg(value_enum)]
    pub shell: Shell,
}

/// A shell that completes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash
    Bash,
    /// Elvish
    Elvish,
    /// Fish
    Fish,
    /// Zsh
    Zsh,
}

/// `man`.
#[derive(Debug, Clone, Default, Args)]
pub struct ManArgs {
    /// Write all pages into this directory, which must exist, instead of the main one to standard output
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// A rate above 0; `k` and `M` multiply by a thousand and a million.
fn rate(text: &str) -> Result<u64, String> {
    let (number, factor) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1_000.0),
        Some((at, 'M' | 'm')) => (&text[..at], 1_000_000.0),
        _ => (text, 1.0),
    };
    let value = number.parse::<f64>().map_err(|_| "give a number such as 2000, 5k or 1.5M".to_owned())? * factor;
    // The comparison is false for NaN as well.
    if !(1.0..=1e9).contains(&value) {
        return Err("the rate must be from 1 to 1000M".to_owned());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked above")]
    Ok(value as u64)
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("give a share from 0 to 1, such as 0.25".to_owned()),
    }
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.001..=100_000.0).contains(&value) => Ok(value),
        _ => Err("give a factor from 0.001 to 100000, such as 1 or 2.5".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1e-3),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    match number.parse::<f64>().map(|value| value * unit) {
        Ok(seconds) if (0.0..=3_600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("give a duration from 0 to 3600 s, such as 150ms or 2s".to_owned()),
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.to_socket_addrs()
        .map_err(|e| format!("{e}: give host:port, such as 127.0.0.1:2055 or [::1]:2055"))?
        .next()
        .ok_or_else(|| "the name has no address".to_owned())
}
