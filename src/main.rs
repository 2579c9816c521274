//! The program: reads the command line, starts logging, hands over, and ends with an exit code.
//!
//! 0: done. 1: it did not work, and standard error says why. 2: wrong usage. `doctor` adds 3: warnings.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;
use clarion_collector::cli::Command;
use clarion_collector::config::{self, Overrides};
use clarion_collector::{app, logging, tools};

fn main() -> ExitCode {
    let (cli, overrides) = config::parse_command_line(std::env::args_os()).unwrap_or_else(|e| e.exit());
    let done = match cli.command {
        None => collector(&overrides),
        // These speak through their reports.
        Some(Command::Check(args)) => tools::check::run(&args, &overrides),
        Some(Command::Doctor(args)) => tools::doctor::run(&args, &overrides),
        Some(Command::DeadLetter(args)) => tools::dead_letter::run(&args, &overrides),
        Some(command) => logging::start_for_tool().and_then(|()| tool(&command)),
    };
    done.unwrap_or_else(|e| {
        // Not eprintln!, which panics if standard error is closed.
        let _ = writeln!(std::io::stderr(), "clarion-collector: {e:#}");
        ExitCode::FAILURE
    })
}

fn collector(overrides: &Overrides) -> anyhow::Result<ExitCode> {
    // Before anything that takes time: a signal during the start must neither be lost nor end the process half-way.
    let signals = app::Signals::install().context("signals cannot be received")?;
    let loaded = config::load_here(overrides)?;
    let (instance, _) = config::instance::resolve(&loaded.settings);
    logging::start(&loaded.settings.log, &instance)?;
    match &loaded.file {
        Some(file) => tracing::info!(file = %file.display(), "configuration read"),
        None => tracing::info!("no configuration file: defaults, environment and flags"),
    }
    logging::write_notes(&loaded.notes);
    app::run(loaded, signals)
}

fn tool(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo(args) => tools::demo::run(args),
        Command::Backend(args) => tools::backend::run(args),
        Command::Decode(args) => tools::decode::run(args),
        Command::Replay(args) => tools::replay::run(args),
        Command::Generate(args) => tools::generate::run(args),
        Command::Healthcheck(args) => tools::healthcheck::run(args),
        Command::Completions(args) => tools::manual::completions(args),
        Command::Man(args) => tools::manual::man(args),
        Command::Check(args) => tools::check::run(args, &Overrides::default()),
        Command::Doctor(args) => tools::doctor::run(args, &Overrides::default()),
        Command::DeadLetter(args) => tools::dead_letter::run(args, &Overrides::default()),
    }
}
