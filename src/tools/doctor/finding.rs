//! What a check found, and how a report of findings looks.
//!
//! In go findings, out come lines for people (one a check, with what it means and what to do under
//! those that are not ok) or JSON with stable keys, and the exit code.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// How much a finding matters; later ones matter more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Could not be seen, and why.
    Unknown,
    /// Works; could be better, or is worth to know.
    Hint,
    /// Loses data under load, or will one day.
    Warning,
    /// Loses data now, or keeps the collector from working.
    Fault,
}

impl Severity {
    /// The word in reports.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Hint => "hint",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

/// Exit code if there is nothing to do.
pub const EXIT_FINE: u8 = 0;
/// Exit code if there is a fault: the same as of every command that did not work.
pub const EXIT_FAULTS: u8 = 1;
/// Exit code if there are warnings and no faults; 2 is wrong usage.
pub const EXIT_WARNINGS: u8 = 3;

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Name of the check, as in `CHECKS`.
    pub check: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What was seen.
    pub seen: String,
    /// What that means; empty if all is well.
    pub means: String,
    /// What to do, with the command; empty if all is well.
    pub cure: String,
}

impl Finding {
    /// As it should be.
    pub fn ok(check: &'static str, seen: impl Into<String>) -> Self {
        Self { check, severity: Severity::Ok, seen: seen.into(), means: String::new(), cure: String::new() }
    }

    /// Could not be seen: `why`, and what a person can do to see it.
    pub fn unknown(check: &'static str, why: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { check, severity: Severity::Unknown, seen: why.into(), means: String::new(), cure: cure.into() }
    }

    /// Any other.
    pub fn new(
        check: &'static str,
        severity: Severity,
        seen: impl Into<String>,
        means: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self { check, severity, seen: seen.into(), means: means.into(), cure: cure.into() }
    }
}

/// All findings, in the order of `CHECKS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The findings.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The severest of all.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.findings.iter().map(|f| f.severity).max().unwrap_or(Severity::Ok)
    }

    /// 0: nothing to do. 1: a fault. 3: warnings.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.severity() {
            Severity::Fault => EXIT_FAULTS,
            Severity::Warning => EXIT_WARNINGS,
            Severity::Hint | Severity::Unknown | Severity::Ok => EXIT_FINE,
        }
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|f| f.severity == severity).count()
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let width = self.findings.iter().map(|f| f.check.len()).max().unwrap_or(0);
        let mut text = String::new();
        for finding in &self.findings {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{:<7}  {:width$}  {}", finding.severity.label(), finding.check, finding.seen);
            for (title, part) in [("means", &finding.means), ("do", &finding.cure)] {
                for (index, line) in part.lines().enumerate() {
                    let title = if index == 0 { title } else { "" };
                    let _ = writeln!(text, "{:7}  {:width$}    {title:<5}  {line}", "", "");
                }
            }
        }
        let _ = writeln!(
            text,
            "\n{} faults, {} warnings, {} hints, {} unknown, {} ok",
            self.count(Severity::Fault),
            self.count(Severity::Warning),
            self.count(Severity::Hint),
            self.count(Severity::Unknown),
            self.count(Severity::Ok)
        );
        text
    }

    /// For programs: keys are only ever added.
    #[must_use]
    pub fn json(&self) -> Value {
        let finding = |f: &Finding| json!({"check": f.check, "severity": f.severity.label(), "seen": f.seen, "means": f.means, "do": f.cure});
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "severity": self.severity().label(),
            "exit_code": self.exit_code(),
            "findings": self.findings.iter().map(finding).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(severities: &[Severity]) -> Report {
        let finding = |s: &Severity| Finding::new("check", *s, "seen", "means", "do one\ndo two");
        Report { findings: severities.iter().map(finding).collect() }
    }

    #[test]
    fn the_severest_finding_gives_the_exit_code() {
        use Severity::{Fault, Hint, Ok, Unknown, Warning};
        for (severities, code) in [
            (&[][..], 0),
            (&[Ok, Unknown, Hint], 0),
            (&[Warning, Ok, Hint], 3),
            (&[Warning, Fault, Ok], 1),
            (&[Fault, Warning], 1),
        ] {
            assert_eq!(report(severities).exit_code(), code, "{severities:?}");
            assert_eq!(report(severities).json()["exit_code"], code);
        }
    }

    #[test]
    fn people_read_aligned_lines_and_programs_stable_keys() {
        let mut report = report(&[Severity::Warning]);
        report.findings.push(Finding::ok("a-longer-name", "fine"));
        let text = report.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].find("seen"), lines[4].find("fine"), "{text}");
        assert!(lines[2].ends_with("do     do one") && lines[3].ends_with("do two"), "{text}");
        assert!(text.ends_with("0 faults, 1 warnings, 0 hints, 0 unknown, 1 ok\n"), "{text}");
        let json = report.json();
        for key in ["check", "severity", "seen", "means", "do"] {
            assert!(json["findings"][0][key].is_string(), "{key}");
        }
    }
}
