//! `replay`: the UDP payloads of captures, sent again in their order.
//!
//! Captures and a target enter; datagrams leave at a set rate, or with the capture's own timing. Each
//! original (address, port) gets a socket and so a source port of its own, which keeps IPFIX sessions
//! apart; with `per_exporter_source` each original address also gets a loopback address of its own,
//! derived from it alone, so that another run maps it to the same one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::capture::Capture;
use super::say::tell;
use super::sender::{Pace, Sender, sleep_until};
use super::stop;
use crate::cli::ReplayArgs;
use crate::limits::REPLAY_SOCKETS_MAX;

/// Datagrams a second where nothing is asked: far below what a collector takes, and a large capture
/// still goes through in minutes.
pub const RATE_DEFAULT: u64 = 1_000;
/// Longest gap between two datagrams that original timing waits for: a stamp that jumps is damage.
const GAP_MAX: Duration = Duration::from_secs(3_600);

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// Datagrams a second.
    Rate(u64),
    /// The capture's own timing, so many times as fast.
    Timing(f64),
    /// As fast as the kernel takes it: a receiver will lose some.
    Unlimited,
}

/// How captures are sent.
#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// How fast.
    pub speed: Speed,
    /// How many times; None: until it is stopped.
    pub rounds: Option<u64>,
    /// A loopback source address for each original exporter.
    pub per_exporter_source: bool,
    /// Changes the mapping of addresses, so that captures with the same exporters stay apart.
    pub salt: u64,
    /// Ends the replay when it is set.
    pub stop: Arc<AtomicBool>,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        Self {
            speed: Speed::Rate(RATE_DEFAULT),
            rounds: Some(1),
            per_exporter_source: false,
            salt: 0,
            stop: Arc::default(),
        }
    }
}

/// What was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// Datagrams.
    pub datagrams: u64,
    /// Octets of UDP payload.
    pub octets: u64,
    /// Datagrams that met a closed port.
    pub refused: u64,
    /// Where each original source was sent from.
    pub sources: BTreeMap<SocketAddr, SocketAddr>,
    /// What was wrong with captures: each that broke off, and frames that were not sent.
    pub problems: Vec<String>,
}

/// The command.
///
/// # Errors
/// The target does not fit the options, sockets cannot be opened, or nothing could be sent at all.
pub fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let options = ReplayOptions {
        speed: match (args.rate, args.speed) {
            (_, Some(factor)) => Speed::Timing(factor),
            (rate, None) => Speed::Rate(rate.unwrap_or(RATE_DEFAULT)),
        },
        rounds: match args.repeat {
            None => Some(1),
            Some(rounds) => rounds,
        },
        per_exporter_source: args.per_exporter_source,
        stop: stop::on_signal()?,
        ..ReplayOptions::default()
    };
    let begun = Instant::now();
    let report = send(&args.files, args.to, &options)?;
    if args.per_exporter_source || std::io::stderr().is_terminal() {
        for (original, source) in &report.sources {
            tell(format_args!("{original} was sent from {source}"));
        }
    }
    for problem in &report.problems {
        tell(problem);
    }
    if report.refused > 0 {
        tell(format_args!(
            "{} of {} datagrams met a closed port: nobody listens on {}",
            report.refused, report.datagrams, args.to
        ));
    }
    let seconds = begun.elapsed().as_secs_f64();
    tell(format_args!(
        "{} datagrams, {} octets sent to {} in {seconds:.1} s",
        report.datagrams, report.octets, args.to
    ));
    Ok(if report.datagrams == 0 || !report.problems.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Sends the UDP payloads of `paths` to `to`, in order, and says what was sent. A capture that is
/// damaged is sent as far as it is whole and named in the report's problems.
///
/// # Errors
/// The target does not fit the options, a capture cannot be opened, or a socket fails.
pub fn send(paths: &[PathBuf], to: SocketAddr, options: &ReplayOptions) -> anyhow::Result<ReplayReport> {
    if options.per_exporter_source && !(to.is_ipv4() && to.ip().is_loopback()) {
        bail!(
            "--per-exporter-source sends from addresses in 127.0.0.0/8, which reach only this machine: \
             the target is {to}, give 127.0.0.1:{}",
            to.port()
        );
    }
    let mut sources =
        Sources { to, options, senders: Vec::new(), of: HashMap::new(), addresses: Addresses::new(options.salt) };
    let mut report = ReplayReport::default();
    let mut pace = Pace::new(match options.speed {
        #[expect(clippy::cast_precision_loss, reason = "rates are far below 2^53")]
        Speed::Rate(rate) => rate.max(1) as f64,
        Speed::Timing(_) | Speed::Unlimited => 1.0,
    });
    let mut round = 0;
    while options.rounds.is_none_or(|rounds| round < rounds) && !options.stop.load(Ordering::Acquire) {
        let before = report.datagrams;
        for path in paths {
            let mut capture = Capture::open(path)?;
            send_capture(&mut capture, &mut sources, &mut pace, &mut report, round == 0)?;
        }
        round += 1;
        if report.datagrams == before {
            // Captures without a datagram would make an endless loop spin.
            break;
        }
    }
    report.refused = sources.senders.iter().map(|s| s.refused).sum();
    Ok(report)
}

fn send_capture(
    capture: &mut Capture,
    sources: &mut Sources<'_>,
    pace: &mut Pace,
    report: &mut ReplayReport,
    first_round: bool,
) -> anyhow::Result<()> {
    let stop = &sources.options.stop;
    let mut at = Instant::now();
    let (mut last_ns, mut too_long) = (None, 0);
    while !stop.load(Ordering::Acquire) {
        let datagram = match capture.next_datagram() {
            Ok(Some(datagram)) => datagram,
            Ok(None) => break,
            Err(error) if first_round => {
                report.problems.push(error.to_string());
                break;
            }
            Err(_) => break,
        };
        match sources.options.speed {
            Speed::Rate(_) => {
                while pace.due() < 1.0 && !stop.load(Ordering::Acquire) {
                    pace.sleep_until_due(1.0);
                }
                pace.count(1.0);
            }
            Speed::Timing(factor) => {
                let gap = Duration::from_nanos(datagram.time_ns.saturating_sub(last_ns.unwrap_or(datagram.time_ns)));
                last_ns = Some(datagram.time_ns);
                at += gap.min(GAP_MAX).div_f64(factor.max(1e-3));
                sleep_until(at, stop);
            }
            Speed::Unlimited => {}
        }
        if stop.load(Ordering::Acquire) {
            break;
        }
        let sender = sources.sender(datagram.src, report)?;
        match sender.send(datagram.octets) {
            Ok(()) => {
                report.datagrams += 1;
                report.octets += datagram.octets.len() as u64;
            }
            // Larger than the way to the target takes: the others still go.
            Err(e) if e.raw_os_error() == Some(libc::EMSGSIZE) => too_long += 1,
            Err(e) => return Err(e).with_context(|| format!("sending to {}", sources.to)),
        }
    }
    let too_long = (too_long, "datagrams were not sent: too long for the way to the target");
    for (count, what) in [too_long].into_iter().chain(capture.counts().left_out()) {
        if first_round && count > 0 {
            report.problems.push(format!("{}: {count} {what}", capture.name()));
        }
    }
    Ok(())
}

/// Sockets by original source.
struct Sources<'a> {
    to: SocketAddr,
    options: &'a ReplayOptions,
    senders: Vec<Sender>,
    /// Original source -> index of its socket.
    of: HashMap<SocketAddr, usize>,
    addresses: Addresses,
}

impl Sources<'_> {
    fn sender(&mut self, original: SocketAddr, report: &mut ReplayReport) -> anyhow::Result<&mut Sender> {
        let index = match self.of.get(&original) {
            Some(index) => *index,
            None => self.open(original, report)?,
        };
        Ok(&mut self.senders[index])
    }

    fn open(&mut self, original: SocketAddr, report: &mut ReplayReport) -> anyhow::Result<usize> {
        let source = self.options.per_exporter_source.then(|| self.addresses.of(original.ip()).into());
        if self.senders.len() >= REPLAY_SOCKETS_MAX {
            // One of the same address, else of any: counted where it is seen, in the mapping.
            let same = self.of.iter().find(|(other, _)| other.ip() == original.ip()).map(|(_, index)| *index);
            let Some(index) = same.or(if source.is_none() { Some(0) } else { None }) else {
                bail!("more than {REPLAY_SOCKETS_MAX} exporters in the captures: replay them in parts");
            };
            self.of.insert(original, index);
            return Ok(index);
        }
        let sender = Sender::open(source, original.port(), self.to)?;
        report.sources.insert(original, sender.local_addr().context("socket without an address")?);
        self.senders.push(sender);
        self.of.insert(original, self.senders.len() - 1);
        Ok(self.senders.len() - 1)
    }
}

/// Original addresses -> addresses in 127.0.0.0/8.
struct Addresses {
    salt: u64,
    given: HashMap<IpAddr, Ipv4Addr>,
    taken: HashSet<Ipv4Addr>,
}

impl Addresses {
    fn new(salt: u64) -> Self {
        Self { salt, given: HashMap::new(), taken: HashSet::new() }
    }

    /// A hash of the address and not its last octets: 10.0.2.1 and 192.0.2.1 shall differ even when
    /// they are in different runs. Two that meet take the next free ones, in the order seen.
    fn of(&mut self, original: IpAddr) -> Ipv4Addr {
        if let Some(address) = self.given.get(&original) {
            return *address;
        }
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ self.salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut mix = |octet: u8| hash = (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3);
        match original {
            IpAddr::V4(v4) => v4.octets().into_iter().for_each(&mut mix),
            IpAddr::V6(v6) => v6.octets().into_iter().for_each(&mut mix),
        }
        hash ^= hash >> 29;
        let mut low = hash.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40;
        let address = loop {
            let [.., x, y, z] = low.to_be_bytes();
            let address = Ipv4Addr::new(127, x, y, z);
            // 127.0.x.y is where services listen, 127.1.x.y is what `generate` takes.
            if x >= 2 && (1..=254).contains(&z) && self.taken.insert(address) {
                break address;
            }
            low = (low + 1) & 0x00ff_ffff;
        };
        self.given.insert(original, address);
        address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_apart_and_the_same_each_time() {
        let originals: Vec<IpAddr> = (0..2_000_u32)
            .map(|i| {
                if i % 2 == 0 {
                    Ipv4Addr::from(0x0a00_0000 + i).into()
                } else {
                    std::net::Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(i)).into()
                }
            })
            .collect();
        let (mut first, mut again, mut salted) = (Addresses::new(0), Addresses::new(0), Addresses::new(1));
        let mut seen = HashSet::new();
        let mut moved = 0;
        for original in &originals {
            let address = first.of(*original);
            assert!(address.is_loopback() && address.octets()[1] >= 2);
            assert!(seen.insert(address), "{address} twice");
            assert_eq!(again.of(*original), address);
            assert_eq!(first.of(*original), address, "asked again");
            moved += usize::from(salted.of(*original) != address);
        }
        assert!(moved > 1_900, "the salt moved {moved} of 2000");
    }

    #[test]
    fn loopback_sources_need_a_loopback_target() {
        let options = ReplayOptions { per_exporter_source: true, ..ReplayOptions::default() };
        for to in ["192.0.2.1:2055", "[::1]:2055"] {
            let error = send(&[], to.parse().expect("an address"), &options).expect_err("unreachable");
            assert!(error.to_string().contains("127.0.0.1:2055"), "{error}");
        }
    }
}
