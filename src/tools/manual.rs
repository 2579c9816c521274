//! `completions` and `man`: what a package installs beside the binary, made from the command line itself.
//!
//! Pages and scripts come from the same clap command that parses, flags of settings included, so that they
//! cannot name a flag that is not there. What clap does not know stands here: variables, files, exit codes
//! and signals. The date of a page is that of SOURCE_DATE_EPOCH, so that packages can be built twice alike.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap_complete::aot;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::{CompletionsArgs, ManArgs, Shell};
use crate::config::{self, DEFAULT_FILE};
use crate::web::time;

/// Section of the manual: commands.
const SECTION: &str = "1";

/// Variable by which builds agree on a date (reproducible-builds.org).
const EPOCH_VARIABLE: &str = "SOURCE_DATE_EPOCH";

/// Prints the completion script of a shell.
///
/// # Errors
/// Standard output.
pub fn completions(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    to_stdout(&completion_script(args.shell))
}

/// Prints the main page, or writes all pages.
///
/// # Errors
/// Standard output, a file that cannot be written, or a wrong SOURCE_DATE_EPOCH.
pub fn man(args: &ManArgs) -> anyhow::Result<ExitCode> {
    let pages = pages(&date(std::env::var(EPOCH_VARIABLE).ok())?)?;
    match &args.out {
        None => to_stdout(pages.first().map_or(&[], |page| page.text.as_slice())),
        Some(dir) => {
            for page in &pages {
                page.write(dir)?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The completion script of `shell`.
#[must_use]
pub fn completion_script(shell: Shell) -> Vec<u8> {
    let shell = match shell {
        Shell::Bash => aot::Shell::Bash,
        Shell::Elvish => aot::Shell::Elvish,
        Shell::Fish => aot::Shell::Fish,
        Shell::Zsh => aot::Shell::Zsh,
    };
    let mut script = Vec::new();
    aot::generate(shell, &mut config::command(), env!("CARGO_PKG_NAME"), &mut script);
    if shell == aot::Shell::Bash { with_one_name(script) } else { script }
}

/// clap_complete 4.6 spells a program with a dash in its name in two ways in one script, so that nothing behind
/// a command completes in Bash (clap-rs/clap#6421). Where it spells it in one, this changes nothing.
fn with_one_name(script: Vec<u8>) -> Vec<u8> {
    let spelt = |separator: &str| env!("CARGO_PKG_NAME").replace('-', separator);
    String::from_utf8(script)
        .map_or_else(|e| e.into_bytes(), |text| text.replace(&spelt("__subcmd__"), &spelt("__")).into_bytes())
}

/// A page of the manual.
#[derive(Debug, Clone)]
pub struct Page {
    /// Name of its file.
    pub file: String,
    /// roff with the macros of man(7).
    pub text: Vec<u8>,
}

impl Page {
    fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let path = dir.join(&self.file);
        std::fs::write(&path, &self.text)
            .with_context(|| format!("cannot write {}: --out takes a directory that exists", path.display()))
    }
}

/// All pages, the main one first; `date` as in `2024-02-29`.
///
/// # Errors
/// Never in practice: it is written to memory.
pub fn pages(date: &str) -> std::io::Result<Vec<Page>> {
    let mut command = config::command().disable_help_subcommand(true);
    // Names of subcommands become whole: `clarion-collector-check`.
    command.build();
    let mut pages = vec![page(&command, date, Some(&command))?];
    for subcommand in command.get_subcommands() {
        pages.push(page(subcommand, date, None)?);
    }
    Ok(pages)
}

/// The page of `command`; the main one, which is given the names of the others, has all sections.
fn page(command: &clap::Command, date: &str, main: Option<&clap::Command>) -> std::io::Result<Page> {
    let source = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone().subcommand_help_heading("COMMANDS"))
        .section(SECTION)
        .date(date)
        .source(source)
        .manual("User Commands");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    // As --help has it: with forty settings nobody wants each of them in the synopsis.
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage).to_owned();
    let mut synopsis = Roff::default();
    synopsis.control("SH", ["SYNOPSIS"]).text([bold(usage)]).to_writer(&mut text)?;
    man.render_description_section(&mut text)?;
    if main.is_some() {
        man.render_subcommands_section(&mut text)?;
    }
    man.render_options_section(&mut text)?;
    if command.get_after_help().is_some() || command.get_after_long_help().is_some() {
        man.render_extra_section(&mut text)?;
    }
    let mut roff = Roff::default();
    let main_page = format!("{}({SECTION})", env!("CARGO_PKG_NAME"));
    match main {
        None => {
            list(&mut roff, "EXIT STATUS", EXIT_STATUS_OF_A_COMMAND);
            roff.control("SH", ["SEE ALSO"]).text([bold(main_page)]);
        }
        Some(command) => {
            for (heading, rows) in SECTIONS {
                list(&mut roff, heading, rows);
            }
            roff.control("SH", ["SEE ALSO"]);
            let names = command.get_subcommands().filter_map(clap::Command::get_display_name);
            let mut names: Vec<String> = names.map(|name| format!("{name}({SECTION})")).collect();
            names.sort_unstable();
            roff.text([roman(names.join(",\n"))]);
        }
    }
    roff.to_writer(&mut text)?;
    Ok(Page { file: man.get_filename(), text: without_idle_breaks(&text) })
}

/// Drops line breaks beside a blank line, which mean nothing and which `mandoc -T lint` reports.
fn without_idle_breaks(text: &[u8]) -> Vec<u8> {
    let lines: Vec<&[u8]> = text.split_inclusive(|octet| *octet == b'\n').collect();
    let blank = |index: usize| lines.get(index).is_some_and(|line| *line == b"\n");
    let idle = |index: usize| lines[index] == b".br\n" && (blank(index + 1) || index > 0 && blank(index - 1));
    (0..lines.len()).filter(|index| !idle(*index)).flat_map(|index| lines[index]).copied().collect()
}

/// A section of terms and what each means.
fn list(roff: &mut Roff, heading: &str, rows: &[(&str, &str)]) {
    roff.control("SH", [heading]);
    for (term, meaning) in rows {
        roff.control("TP", []).text([bold(*term)]).text([roman(*meaning)]);
    }
}

type Rows = &'static [(&'static str, &'static str)];

const SECTIONS: &[(&str, Rows)] =
    &[("ENVIRONMENT", ENVIRONMENT), ("FILES", FILES), ("EXIT STATUS", EXIT_STATUS), ("SIGNALS", SIGNALS)];

const ENVIRONMENT: Rows = &[
    (
        "CLARION_COLLECTOR_SECTION_KEY",
        "Sets the key [section] key; it beats the file and is beaten by the flag --section-key. Each option above names \
         its variable.",
    ),
    ("CLARION_COLLECTOR_CONFIG", "The configuration file, as --config."),
    (
        "CLARION_COLLECTOR_LOG_LEVEL",
        "As --log-level; the commands beside the collector log warnings only unless it asks for more.",
    ),
    ("POD_NAME", "Name of the instance where [instance] name is not set."),
    ("HTTPS_PROXY, http_proxy, NO_PROXY", "The proxy on the way to the backend, while [backend] proxy is auto."),
    ("NO_COLOR", "If it is not empty, the log has no colours on a terminal either."),
    (EPOCH_VARIABLE, "Seconds since 1970: the date of pages that the command man makes."),
];

const FILES: Rows = &[
    (DEFAULT_FILE, "The configuration, if neither --config nor CLARION_COLLECTOR_CONFIG names another one."),
    (
        "[data] dir",
        "What outlives a restart. state/instance in it is the name of this instance; under the systemd unit the \
         directory is /var/lib/clarion-collector.",
    ),
];

const EXIT_STATUS: Rows = &[
    ("0", "Done: drained, and everything that was received was delivered or counted."),
    ("1", "It could not start, or a thread of its own failed; standard error says why."),
    ("2", "Wrong usage: an unknown flag or command."),
    ("130", "Ended at once by a second signal."),
];

const EXIT_STATUS_OF_A_COMMAND: Rows = &[
    ("0", "It worked, and what it looked at is right."),
    ("1", "It did not, or something is wrong: the report or standard error says what."),
    ("2", "Wrong usage."),
    ("3", "doctor only: there are warnings, and no fault."),
];

const SIGNALS: Rows = &[
    (
        "SIGTERM, SIGINT",
        "The first one drains: the sockets are read empty, what was received is delivered until [shutdown] timeout, the \
         rest is counted as dropped. A second one ends the process at once.",
    ),
    (
        "SIGHUP",
        "Not caught: it ends the process without a drain. A changed configuration needs a restart; a file that holds a \
         secret is read again when it changes, without a signal.",
    ),
];

/// The day that pages bear: that of `epoch`, which is what SOURCE_DATE_EPOCH says, else today.
fn date(epoch: Option<String>) -> anyhow::Result<String> {
    /// The last second of the year 9999: a man page has four digits.
    const LAST_S: u64 = 253_402_300_799;
    let seconds = match epoch {
        Some(text) => text.parse().ok().filter(|seconds| *seconds <= LAST_S).with_context(|| {
            format!("{EPOCH_VARIABLE} = {text:?} is no time: give seconds since 1970, 0 to {LAST_S}, or unset it")
        })?,
        None => std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |age| age.as_secs()),
    };
    Ok(time::day(seconds))
}

fn to_stdout(text: &[u8]) -> anyhow::Result<ExitCode> {
    match std::io::stdout().write_all(text) {
        // The reader has seen enough.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        other => other.map(|()| ExitCode::SUCCESS).map_err(Into::into),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{KEYS, VARIABLE_PREFIX};

    fn all() -> Vec<(String, String)> {
        let text = |page: Page| (page.file, String::from_utf8(page.text).expect("roff is text"));
        pages("2024-02-29").expect("memory takes it").into_iter().map(text).collect()
    }

    #[test]
    fn there_is_a_page_for_each_command_with_its_own_flags() {
        let pages = all();
        let files: Vec<&str> = pages.iter().map(|(file, _)| file.as_str()).collect();
        assert_eq!(files[0], "clarion-collector.1");
        assert_eq!(files.len(), 1 + config::command().get_subcommands().count(), "{files:?}");
        let page = |name: &str| &pages.iter().find(|(file, _)| file == name).expect("the page").1;
        assert!(page("clarion-collector-generate.1").contains(r"\fB\-\-exporters\fR"));
        assert!(!page("clarion-collector-generate.1").contains("backend"));
        assert!(page("clarion-collector-check.1").contains(r"\fB\-\-backend\-url\fR"));
        for (file, text) in &pages {
            assert!(text.contains("2024-02-29"), "{file}");
            assert!(text.contains(&format!("\"clarion-collector {}\"", env!("CARGO_PKG_VERSION"))), "{file}");
        }
    }

    #[test]
    fn the_main_page_has_every_setting_and_what_clap_does_not_know() {
        let (_, text) = all().swap_remove(0);
        for key in KEYS {
            let flag = format!("{}-{}", key.section, key.name).replace('_', "-").replace('-', r"\-");
            assert!(text.contains(&format!(r"\fB\-\-{flag}\fR")), "{}", key.display());
            let variable = format!("{VARIABLE_PREFIX}{}_{}", key.section, key.name).to_uppercase();
            assert!(text.contains(&variable), "{variable}");
        }
        for heading in ["ENVIRONMENT", "FILES", "EXIT STATUS", "SIGNALS", "SEE ALSO"] {
            assert!(text.contains(&format!("\n.SH \"{heading}\"\n")) || text.contains(&format!("\n.SH {heading}\n")));
        }
    }

    #[test]
    fn the_date_is_that_of_the_build_and_a_wrong_one_is_named() {
        assert_eq!(date(Some("1709251199".to_owned())).expect("a time"), "2024-02-29");
        for wrong in ["", "x", "-1", "253402300800"] {
            let error = date(Some(wrong.to_owned())).expect_err(wrong).to_string();
            assert!(error.contains(&format!("{EPOCH_VARIABLE} = {wrong:?}")), "{error}");
        }
        assert!(date(None).expect("now").starts_with("20"));
    }

    #[test]
    fn every_shell_gets_a_script_with_the_settings() {
        for shell in [Shell::Bash, Shell::Elvish, Shell::Fish, Shell::Zsh] {
            let script = String::from_utf8(completion_script(shell)).expect("a script is text");
            assert!(script.contains("backend-url") && script.contains("generate"), "{shell:?}");
        }
    }
}
