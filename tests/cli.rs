//! The binary from outside: help, version, `check`, exit codes and what stands on which stream.

use std::process::{Command, Output};

fn run(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clarion-collector"));
    // Nothing of the surroundings may reach it but what the test gives.
    command.env_clear().args(args).envs(env.iter().copied());
    command.output().expect("the binary can be started")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_and_version_end_with_0() {
    let help = run(&["--help"], &[]);
    assert_eq!(help.status.code(), Some(0));
    for text in ["Commands", "check", "generate", "Backend:", "--backend-url", "CLARION_COLLECTOR_BACKEND_URL"] {
        assert!(out(&help).contains(text), "{text} in {}", out(&help));
    }
    let version = run(&["-V"], &[]);
    assert_eq!(out(&version).trim(), format!("clarion-collector {}", env!("CARGO_PKG_VERSION")));
    for command in ["demo", "backend", "decode", "replay", "generate", "check", "doctor", "completions", "man"] {
        let help = run(&[command, "--help"], &[]);
        assert_eq!(help.status.code(), Some(0), "{command}");
        assert_eq!(out(&help).contains("--backend-url"), ["check", "doctor"].contains(&command), "{command}");
    }
}

#[test]
fn check_prints_values_sources_and_the_memory_sum() {
    let output = run(&["check", "--batch-size", "10"], &[("CLARION_COLLECTOR_BACKEND_URL", "http://u:secret@b")]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let text = out(&output);
    for part in
        ["flag --batch-size", "environment CLARION_COLLECTOR_BACKEND_URL", "http://***@b", "memory, at most", "sum"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("secret") && !err(&output).contains("secret"));
}

#[test]
fn check_tells_all_errors_and_ends_with_1() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("c.toml");
    std::fs::write(&path, "[batch]\nsize = 0\n[recieve]\nworkers = 1\n").expect("the file can be written");
    let output = run(&["check", "--config", path.to_str().expect("a path in UTF-8")], &[("RUST_BACKTRACE", "1")]);
    assert_eq!(output.status.code(), Some(1));
    let text = err(&output);
    assert!(text.contains("2 errors") && text.contains("line 2") && text.contains("is [receive] meant?"), "{text}");
    assert!(!text.contains("stack backtrace") && !text.contains("panicked"), "{text}");
    assert_eq!(out(&output), "");
}

#[test]
fn running_with_a_wrong_configuration_ends_with_1_before_anything_starts() {
    let output = run(&["--mode", "agent"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("leave --mode out"), "{}", err(&output));
}

#[test]
fn wrong_usage_ends_with_2() {
    for args in [&["--no-such-flag"][..], &["nonsense"], &["check", "--seconds", "1"], &["demo", "--batch-size", "1"]] {
        assert_eq!(run(args, &[]).status.code(), Some(2), "{args:?}");
    }
    assert_eq!(run(&["--batch-size", "1", "demo"], &[]).status.code(), Some(2));
}

#[test]
fn the_default_file_is_printed_and_accepted() {
    let printed = run(&["check", "--print-default"], &[]);
    assert_eq!(printed.status.code(), Some(0));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("c.toml");
    std::fs::write(&path, &printed.stdout).expect("the file can be written");
    let output = run(&["check"], &[("CLARION_COLLECTOR_CONFIG", path.to_str().expect("a path in UTF-8"))]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(out(&output).starts_with(&format!("file: {}", path.display())), "{}", out(&output));
}

#[test]
fn man_writes_a_page_a_command_that_readers_of_pages_accept() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let out_dir = dir.path().to_str().expect("a path in UTF-8");
    let output = run(&["man", "--out", out_dir], &[("SOURCE_DATE_EPOCH", "1709164800")]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let main = std::fs::read(dir.path().join("clarion-collector.1")).expect("the main page");
    let printed = run(&["man"], &[("SOURCE_DATE_EPOCH", "1709164800")]);
    assert!(printed.stdout == main && out(&printed).contains("2024-02-29"));
    let missing = run(&["man", "--out", "/nonexistent"], &[]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(err(&missing).contains("--out takes a directory that exists"), "{}", err(&missing));

    let mut pages: Vec<_> =
        std::fs::read_dir(dir.path()).expect("the directory").map(|entry| entry.expect("an entry").path()).collect();
    pages.sort();
    assert!(pages.len() >= 9, "{pages:?}");
    for page in &pages {
        let tools: [(&str, &[&str]); 2] =
            [("mandoc", &["-T", "lint", "-W", "warning"]), ("groff", &["-man", "-Tutf8", "-ww", "-z", "-K", "utf8"])];
        for (tool, arguments) in tools {
            match Command::new(tool).args(arguments).arg(page).output() {
                Ok(said) => assert!(
                    said.status.success() && said.stdout.is_empty() && said.stderr.is_empty(),
                    "{tool} of {}: {}{}",
                    page.display(),
                    out(&said),
                    err(&said)
                ),
                Err(_) => eprintln!("SKIPPED: {tool} is not here"),
            }
        }
    }
}

#[test]
fn bash_completes_commands_flags_and_words() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("clarion-collector");
    let script = run(&["completions", "bash"], &[]);
    assert_eq!(script.status.code(), Some(0), "{}", err(&script));
    std::fs::write(&path, &script.stdout).expect("the file can be written");
    assert_eq!(run(&["completions", "tcsh"], &[]).status.code(), Some(2));
    // What Tab does: the words go to the function that the script has registered.
    let complete = |words: &[&str]| {
        let typed = words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" ");
        let program = format!(
            "source {path:?} && words=({typed}) && COMP_WORDS=(\"${{words[@]}}\") && COMP_CWORD=$((${{#words[@]}} - 1)) \
             && row=$(complete -p clarion-collector) && row=${{row##*-F }} \
             && ${{row%% *}} clarion-collector \"${{words[-1]}}\" \"${{words[-2]}}\" && echo \"${{COMPREPLY[@]}}\""
        );
        match Command::new("bash").args(["--norc", "-c", &program]).output() {
            Ok(said) => {
                assert!(said.stderr.is_empty(), "{}", err(&said));
                Some(out(&said).trim().to_owned())
            }
            Err(_) => {
                eprintln!("SKIPPED: bash is not here");
                None
            }
        }
    };
    for (words, expected) in [
        (&["clarion-collector", "--backend-ur"][..], "--backend-url"),
        (&["clarion-collector", "check", "--batch-siz"], "--batch-size"),
        (&["clarion-collector", "gene"], "generate"),
        (&["clarion-collector", "generate", "--version", "ip"], "ipfix"),
        (&["clarion-collector", "generate", "--backend-ur"], ""),
    ] {
        if let Some(found) = complete(words) {
            assert_eq!(found, expected, "{words:?}");
        }
    }
}
