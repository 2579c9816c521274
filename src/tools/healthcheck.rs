//! `healthcheck`: asks a collector whether it is alive; exit code 0 if it is, 1 with one line if not.
//!
//! For containers without a shell. Without `--url` it asks the collector that runs beside it: in a
//! container that is the one of the container, even where several share the host's network and took
//! their port from a range, because `/proc` shows this container's processes only. Writes nothing,
//! needs no privilege, and ends within 3 s.

mod ask;
mod beside;

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::cli::HealthcheckArgs;
use crate::config::{self, Overrides};
use ask::Url;

/// Longest that the whole check takes: a container's health check has a timeout of its own behind it.
const PATIENCE: Duration = Duration::from_secs(3);
/// What is asked where no URL names a path.
const PATH: &str = "/livez";

/// Runs the command.
///
/// # Errors
/// One line that says why the collector is not healthy, or cannot be found.
pub fn run(args: &HealthcheckArgs) -> anyhow::Result<ExitCode> {
    let end = Instant::now() + PATIENCE;
    let url = match &args.url {
        Some(url) => Url::parse(url)?,
        None => Url::of(find()?, PATH),
    };
    let answer = ask::ask(&url, end)?;
    if answer.status != 200 {
        bail!("not healthy: {} answered {}: {}", answer.url, answer.status, answer.first_line());
    }
    // Nobody may be reading.
    let _ = writeln!(std::io::stdout(), "healthy: {} answered 200", answer.url);
    Ok(ExitCode::SUCCESS)
}

/// Where the collector beside us answers.
fn find() -> anyhow::Result<SocketAddr> {
    let found = beside::listening();
    // Flags of the collector are not ours to see, so what it really listens on goes before what is set.
    if let [only] = found.as_slice() {
        return Ok(reachable(*only));
    }
    let loaded = config::load_here(&Overrides::default())
        .context("which port to ask cannot be told, because the configuration is wrong; mend it or give --url")?;
    let web = &loaded.settings.web;
    pick(&found, web.bind, *web.ports.start(), *web.ports.end())
}

/// The address to ask, out of the collectors found and the configured ports.
fn pick(found: &[SocketAddr], bind: IpAddr, first: u16, last: u16) -> anyhow::Result<SocketAddr> {
    let ports = if first == last { first.to_string() } else { format!("{first}-{last}") };
    let fixed = first == last && first != 0;
    match found {
        [only] => Ok(reachable(*only)),
        _ if fixed => Ok(reachable(SocketAddr::new(bind, first))),
        [] => bail!(
            "not healthy: no collector listens here, and [http] port = {ports} does not say which port to ask; give --url \
             http://127.0.0.1:PORT{PATH} if one runs where this user cannot see it"
        ),
        several => {
            let list: Vec<String> = several.iter().map(SocketAddr::to_string).collect();
            bail!(
                "{} collectors listen here ({}), and [http] port = {ports} does not say which to ask: give --url \
                 http://127.0.0.1:PORT{PATH}",
                several.len(),
                list.join(", ")
            )
        }
    }
}

/// The unspecified address as one that can be connected to. `::` takes IPv4 too.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) | IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port())
        }
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn what_listens_goes_before_what_is_configured() {
        let bind = Ipv6Addr::UNSPECIFIED.into();
        let one = [at("127.0.0.1:9105")];
        assert_eq!(pick(&one, bind, 9100, 9199).expect("one"), at("127.0.0.1:9105"));
        assert_eq!(pick(&one, bind, 8081, 8081).expect("one"), at("127.0.0.1:9105"));
        assert_eq!(pick(&[], bind, 8081, 8081).expect("the port set"), at("127.0.0.1:8081"));
        let two = [at("[::]:9100"), at("[::]:9101")];
        assert_eq!(pick(&two, bind, 9101, 9101).expect("the port set"), at("127.0.0.1:9101"));
    }

    #[test]
    fn a_neighbour_is_never_asked_by_guess() {
        let bind = Ipv6Addr::UNSPECIFIED.into();
        let text = pick(&[], bind, 9100, 9199).expect_err("nobody is there").to_string();
        assert!(text.contains("9100-9199") && text.contains("--url"), "{text}");
        let two = [at("[::]:9100"), at("[::]:9101")];
        let text = pick(&two, bind, 9100, 9199).expect_err("two are there").to_string();
        assert!(text.contains("2 collectors") && text.contains("[::]:9101"), "{text}");
        assert!(pick(&[], bind, 0, 0).is_err());
    }
}
