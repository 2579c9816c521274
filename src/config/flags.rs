//! The table of keys -> flags of the command line, and back to what was typed.
//!
//! The flags belong to the collector (no command), to `check`, to `doctor` and to the commands of `dead-letter`; another
//! command refuses them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches};

use super::keys::{KEYS, Kind, names};
use super::value::{preset_text, range_text};
use super::written::Overrides;
use crate::cli::Cli;

/// Reads a command line; the first of `line` is the program's name.
///
/// # Errors
/// Wrong usage, and `--help` and `--version`: clap's error prints them and knows the exit code.
pub fn parse_command_line(line: impl IntoIterator<Item = OsString>) -> Result<(Cli, Overrides), clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(line)?;
    let cli = Cli::from_arg_matches(&matches)?;
    let mut overrides = Overrides::default();
    collect(&matches, &mut overrides);
    match matches.subcommand() {
        Some(("check" | "doctor", matches)) => collect(matches, &mut overrides),
        Some(("dead-letter", matches)) => {
            if let Some((_, matches)) = matches.subcommand() {
                collect(matches, &mut overrides);
            }
        }
        Some((other, _)) if overrides != Overrides::default() => {
            let text = format!(
                "flags of settings belong to the collector, to `check`, `doctor` and `dead-letter`: `{other}` does not take them"
            );
            return Err(command.error(ErrorKind::ArgumentConflict, text));
        }
        _ => {}
    }
    Ok((cli, overrides))
}

/// The whole command line, for help and completion.
#[must_use]
pub fn command() -> clap::Command {
    let command = Cli::command().args(flags());
    let command = command.mut_subcommand("check", |check| check.args(flags()));
    let command = command.mut_subcommand("doctor", |doctor| doctor.args(flags()));
    command.mut_subcommand("dead-letter", |letters| letters.mut_subcommands(|one| one.args(flags())))
}

fn collect(matches: &ArgMatches, overrides: &mut Overrides) {
    if let Some(file) = matches.get_one::<PathBuf>("config") {
        overrides.file = Some(file.clone());
    }
    if let Some(mode) = matches.get_one::<String>("mode") {
        overrides.mode = Some(mode.clone());
    }
    for index in 0..KEYS.len() {
        let id = names(index).id.as_str();
        if matches.value_source(id) == Some(ValueSource::CommandLine)
            && let Some(value) = matches.get_one::<String>(id)
        {
            overrides.values.push((id.to_owned(), value.clone()));
        }
    }
}

fn flags() -> Vec<Arg> {
    let mut flags = vec![
        Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Configuration file")
            .long_help(format!(
                "Configuration file [variable: CLARION_COLLECTOR_CONFIG; without both: {} if it exists]",
                super::DEFAULT_FILE
            ))
            .help_heading("Configuration"),
        Arg::new("mode")
            .long("mode")
            .value_name("MODE")
            .help("native; both and agent are the Python collector's and explained when used")
            .help_heading("Configuration"),
    ];
    for (index, key) in KEYS.iter().enumerate() {
        let names = names(index);
        let long = format!(
            "{}\n[default: {}] [range: {}]\n[variable: {}]",
            key.help,
            match key.preset {
                super::keys::Preset::Computed(how) => format!("auto, {how}"),
                _ => format!("{:?}", preset_text(key)),
            },
            range_text(&key.kind),
            names.variable
        );
        flags.push(
            Arg::new(names.id.as_str())
                .long(names.flag.as_str())
                .visible_aliases(key.flag_aliases.iter().copied())
                .value_name(value_name(&key.kind))
                .allow_hyphen_values(true)
                .help(key.help)
                .long_help(long)
                .help_heading(key.title()),
        );
    }
    flags
}

fn value_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Text => "TEXT",
        Kind::Path => "DIR",
        Kind::File => "FILE",
        Kind::Secret => "SECRET",
        Kind::Url => "URL",
        Kind::Host => "ADDR",
        Kind::Port | Kind::Ports => "PORT",
        Kind::Flag => "BOOL",
        Kind::Choice(_) | Kind::Switch(_) => "WORD",
        Kind::Level => "LEVEL",
        Kind::Names => "NAMES",
        Kind::Count(_) => "N",
        Kind::Octets(_) => "SIZE",
        Kind::Duration(..) => "TIME",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Command;

    fn parse(line: &str) -> Result<(Cli, Overrides), clap::Error> {
        parse_command_line(std::iter::once("clarion-collector").chain(line.split_whitespace()).map(OsString::from))
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_key_has_a_flag_that_arrives() {
        for index in 0..KEYS.len() {
            let (_, overrides) = parse(&format!("--{} x", names(index).flag)).expect("a known flag");
            assert_eq!(overrides.values, [(names(index).id.clone(), "x".to_owned())]);
        }
    }

    #[test]
    fn flags_of_the_python_collector_are_taken() {
        let line = "--mode native --backend-url http://b --netflow-port 1 --ipfix-port 2 --batch-size 3 \
                    --batch-interval 4 --log-level INFO --output stdout --config /x";
        let (cli, overrides) = parse(line).expect("known flags");
        assert!(cli.command.is_none());
        assert_eq!(overrides.mode.as_deref(), Some("native"));
        assert_eq!(overrides.file, Some(PathBuf::from("/x")));
        assert_eq!(overrides.values.len(), 7);
        assert!(overrides.values.contains(&("output.kind".to_owned(), "stdout".to_owned())));
    }

    #[test]
    fn check_takes_flags_before_and_behind_its_name_and_others_refuse_them() {
        let (cli, overrides) = parse("--batch-size 3 check --batch-size 4 --config /y").expect("known flags");
        assert!(matches!(cli.command, Some(Command::Check(_))));
        // The later one wins when values of one rank are merged.
        assert_eq!(overrides.values.last(), Some(&("batch.size".to_owned(), "4".to_owned())));
        assert_eq!(overrides.file, Some(PathBuf::from("/y")));
        let error = parse("--batch-size 3 demo").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("`demo` does not take them"), "{error}");
        assert_eq!(parse("demo --batch-size 3").unwrap_err().exit_code(), 2);
    }

    #[test]
    fn commands_and_their_arguments() {
        let (cli, _) =
            parse("generate --to 127.0.0.1:2055 --rate 1.5M --version v9 --exporters 3").expect("right usage");
        match cli.command {
            Some(Command::Generate(args)) => assert_eq!((args.rate, args.exporters), (1_500_000, 3)),
            other => panic!("{other:?}"),
        }
        let (cli, _) = parse("replay a.pcap b.pcap --to [::1]:9 --loop --per-exporter-source").expect("right usage");
        match cli.command {
            Some(Command::Replay(args)) => assert_eq!((args.files.len(), args.repeat), (2, Some(None))),
            other => panic!("{other:?}"),
        }
        for wrong in [
            "generate --to x",
            "backend --fail-rate 2",
            "decode",
            "replay a --to 127.0.0.1:1 --rate 1 --speed 1",
            "nonsense",
        ] {
            assert_eq!(parse(wrong).expect_err(wrong).exit_code(), 2, "{wrong}");
        }
        assert_eq!(parse("--version").unwrap_err().exit_code(), 0);
    }
}
