//! Time: does something keep this host's clock, and does the backend agree with it?
//!
//! Receive times, flow times of NetFlow and delivery lag are all read from this clock; a wrong one puts
//! every flow at the wrong time. Evidence is the kernel's own state, traces of time daemons, and the
//! Date of the backend's answer.

use super::finding::{Finding, Severity};
use super::host::Host;
use crate::collect::{self, KernelClock};
use crate::sink::probe::{Outcome, Probe};

/// Dates have whole seconds, so less cannot be told.
const SKEW_WARNING_S: u64 = 2;
/// Beyond a minute flows fall into other intervals of every chart.
const SKEW_FAULT_S: u64 = 60;
/// Programs that keep a clock, as /proc names them (15 octets).
const DAEMONS: &[&str] = &["chronyd", "ntpd", "ntpsec", "openntpd", "systemd-timesyn", "ptp4l", "phc2sys"];

/// Evidence about the clock.
#[derive(Debug, Clone)]
pub struct ClockFacts {
    /// The kernel's state.
    pub kernel: Result<KernelClock, String>,
    /// Programs that run and keep a clock.
    pub daemons: Vec<String>,
    /// systemd-timesyncd has synchronised since boot.
    pub timesyncd: bool,
}

impl ClockFacts {
    /// Asks the kernel, and looks at the processes that may be seen.
    #[must_use]
    pub fn gather(host: &Host) -> Self {
        let mut daemons: Vec<String> = host
            .names("proc")
            .iter()
            .filter(|name| name.bytes().all(|b| b.is_ascii_digit()))
            .filter_map(|pid| host.text(&format!("proc/{pid}/comm")).ok())
            .map(|name| name.trim_end().to_owned())
            .filter(|name| DAEMONS.contains(&name.as_str()))
            .collect();
        daemons.sort_unstable();
        daemons.dedup();
        Self {
            kernel: collect::kernel_clock().map_err(|e| format!("the kernel does not tell its state: {e}")),
            daemons,
            timesyncd: host.has("run/systemd/timesync/synchronized"),
        }
    }
}

/// The findings; `probe` is None if no backend was asked.
#[must_use]
pub fn judge(facts: &ClockFacts, probe: Option<&Probe>) -> Vec<Finding> {
    vec![synchronised(facts), skew(probe)]
}

fn synchronised(facts: &ClockFacts) -> Finding {
    const CHECK: &str = "clock-sync";
    const CURE: &str = "apt-get install chrony && systemctl enable --now chrony    # or any NTP client; then: timedatectl\n\
                        in a container do it on the host";
    let daemons = facts.daemons.join(", ");
    match &facts.kernel {
        Ok(clock) if clock.synchronised => {
            Finding::ok(CHECK, format!("the kernel's clock is synchronised, within {} ms", clock.error_us / 1_000))
        }
        _ if facts.timesyncd => Finding::ok(CHECK, "systemd-timesyncd has synchronised the clock"),
        Ok(_) if !facts.daemons.is_empty() => Finding::new(
            CHECK,
            Severity::Hint,
            format!("{daemons} runs, but the kernel counts its clock as not synchronised"),
            "it has just started, reaches no server, or does not tell the kernel (chrony without rtcsync)",
            "chronyc tracking    # or: ntpq -p, timedatectl timesync-status",
        ),
        Ok(_) => Finding::new(
            CHECK,
            Severity::Warning,
            "nothing keeps the clock: the kernel counts it as not synchronised, and no time daemon is to be seen",
            "it drifts by seconds a day, and flow times and delivery lag with it",
            CURE,
        ),
        Err(why) if !facts.daemons.is_empty() => {
            Finding::unknown(CHECK, format!("{daemons} runs, but {why}"), "timedatectl    # on the host")
        }
        Err(why) => Finding::unknown(CHECK, why, "timedatectl    # on the host"),
    }
}

fn skew(probe: Option<&Probe>) -> Finding {
    const CHECK: &str = "clock-skew";
    let by_hand = "compare by hand: date -u, here and at the backend";
    let ahead = match probe.map(|p| &p.outcome) {
        None => return Finding::unknown(CHECK, "there is no backend to compare with", by_hand),
        Some(Outcome::Failed { .. }) => {
            return Finding::unknown(CHECK, "the backend did not answer, so its clock was not seen", by_hand);
        }
        Some(Outcome::Answered { ahead_s: None, .. }) => {
            return Finding::unknown(CHECK, "the backend's answer has no Date", by_hand);
        }
        Some(Outcome::Answered { ahead_s: Some(ahead), .. }) => *ahead,
    };
    let (seconds, where_to) = (ahead.unsigned_abs(), if ahead < 0 { "ahead of" } else { "behind" });
    let severity = match seconds {
        SKEW_FAULT_S.. => Severity::Fault,
        SKEW_WARNING_S.. => Severity::Warning,
        _ => return Finding::ok(CHECK, format!("within {SKEW_WARNING_S} s of the backend's")),
    };
    Finding::new(
        CHECK,
        severity,
        format!("this clock is {seconds} s {where_to} the backend's"),
        "one of the two is wrong: flows stand at the wrong time, and delivery lag is wrong by as much",
        "date -u    # here and at the backend; synchronise the wrong one: chronyc makestep, or timedatectl set-ntp true",
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::host::of_files;
    use super::*;

    fn kernel(synchronised: bool) -> Result<KernelClock, String> {
        Ok(KernelClock { synchronised, error_us: 1_500 })
    }

    fn severity(kernel: Result<KernelClock, String>, daemons: &[&str], timesyncd: bool) -> Severity {
        let daemons = daemons.iter().map(|&d| d.to_owned()).collect();
        judge(&ClockFacts { kernel, daemons, timesyncd }, None)[0].severity
    }

    #[test]
    fn the_kernel_is_believed_and_silence_is_not() {
        assert_eq!(severity(kernel(true), &[], false), Severity::Ok);
        assert_eq!(severity(kernel(false), &[], true), Severity::Ok);
        assert_eq!(severity(kernel(false), &["chronyd"], false), Severity::Hint);
        assert_eq!(severity(kernel(false), &[], false), Severity::Warning);
        assert_eq!(severity(Err("no".to_owned()), &[], false), Severity::Unknown);
        assert_eq!(severity(Err("no".to_owned()), &["ntpd"], false), Severity::Unknown);
    }

    #[test]
    fn skew_weighs_by_its_size_and_says_which_way() {
        let of = |ahead_s| {
            let outcome = Outcome::Answered { status: 200, location: None, excerpt: String::new(), ahead_s };
            skew(Some(&Probe { outcome, took: Duration::ZERO }))
        };
        for (ahead, severity) in [
            (None, Severity::Unknown),
            (Some(0), Severity::Ok),
            (Some(-1), Severity::Ok),
            (Some(2), Severity::Warning),
            (Some(-59), Severity::Warning),
            (Some(60), Severity::Fault),
            (Some(i64::MIN), Severity::Fault),
        ] {
            assert_eq!(of(ahead).severity, severity, "{ahead:?}");
        }
        assert!(of(Some(3_600)).seen.contains("3600 s behind"), "{:?}", of(Some(3_600)));
        assert!(of(Some(-3_600)).seen.contains("3600 s ahead of"), "{:?}", of(Some(-3_600)));
        assert_eq!(skew(None).severity, Severity::Unknown);
    }

    #[test]
    fn daemons_are_found_among_the_processes() {
        let (_dir, host) = of_files(&[
            ("proc/12/comm", "chronyd\n"),
            ("proc/13/comm", "bash\n"),
            ("proc/self/comm", "ntpd\n"),
            ("run/systemd/timesync/synchronized", ""),
        ]);
        let facts = ClockFacts::gather(&host);
        assert_eq!(facts.daemons, ["chronyd"]);
        assert!(facts.timesyncd);
    }
}
