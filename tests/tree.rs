//! House-keeping as a test: who may import whom, where unsafe may stand, who names a metric, how long a
//! file may be, which words names may not hold. The rules are data in tree/rules.rs, each with a reason.

#[path = "tree/rules.rs"]
mod rules;
#[path = "tree/source.rs"]
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use rules::{
    BANNED_WORDS, Crates, FILE_LINES_MAX, MAIN_LINES_MAX, METRIC_MACROS, METRIC_PREFIX, ROOMS, RULES, Rooms, Rule,
    UNSAFE_FILE,
};
use source::{NamePath, Source, definitions, words};

const LIBRARY: &str = "clarion_collector";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn tree() -> Vec<Source> {
    let mut sources = Vec::new();
    read_folder(&root().join("src"), "", &mut sources);
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    without_test_files(sources)
}

fn read_folder(folder: &Path, prefix: &str, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            read_folder(&path, &format!("{name}/"), sources);
        } else if name.ends_with(".rs") {
            sources.push(Source::new(&name, &fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Leaves out files whose module is declared under `#[cfg(test)]`.
fn without_test_files(sources: Vec<Source>) -> Vec<Source> {
    let roots: Vec<String> = sources
        .iter()
        .flat_map(|s| s.test_modules.iter().map(move |name| format!("{}/{name}", s.children_folder())))
        .map(|path| path.trim_start_matches('/').to_owned())
        .collect();
    let is_test = |path: &str| roots.iter().any(|r| path == format!("{r}.rs") || path.starts_with(&format!("{r}/")));
    sources.into_iter().filter(|s| !is_test(&s.path)).collect()
}

/// Crates of `[dependencies]`, as code names them.
fn dependencies(manifest: &str) -> Vec<String> {
    manifest
        .lines()
        .skip_while(|line| line.trim() != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('=').map(|(name, _)| name.trim().replace('-', "_")))
        .collect()
}

/// True if `path` is `prefix` or lies below it.
fn below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn check_imports(source: &Source, rules: &[Rule], crates: &[String]) -> Vec<String> {
    let module = source.module();
    let Some(rule) = rules.iter().find(|r| r.module == module) else {
        return vec![format!(
            "{}: module {module} has no row in tests/tree/rules.rs: add one with a reason",
            source.path
        )];
    };
    let mut faults = Vec::new();
    for NamePath { segments, line, used } in source.paths() {
        let mut names: Vec<&str> = segments.iter().map(String::as_str).filter(|s| *s != "self").collect();
        if names.first() == Some(&LIBRARY) {
            names[0] = "crate";
        }
        let at = format!("src/{}:{line}", source.path);
        let full = names.join("::");
        let mut say = |what: &str| faults.push(format!("{at}: {full}: {what} ({module}: {})", rule.why));
        if names.len() > 1 && names[0] == "crate" {
            let target = names[1..].join("::");
            let own = names[1] == module;
            if !own && !rule.may.iter().any(|may| *may == "*" || below(&target, may)) {
                say("not in the module's import row");
            }
        } else if (names.len() > 1 || used) && crates.iter().any(|c| names.first() == Some(&c.as_str())) {
            // `metrics` is also the name of a module of ours: its own rules stand below.
            let ours = names[0] == "metrics" && rule.may.contains(&"metrics");
            let allowed = match rule.crates {
                Crates::Only(list) => list.contains(&names[0]),
                Crates::AllBut(list) => !list.contains(&names[0]),
            };
            if !allowed && !ours {
                say("a crate that the module must not know");
            }
        }
        if module != "metrics" && METRIC_MACROS.iter().any(|m| below(&full, m)) {
            say("metrics are touched through the handles of our metrics module");
        }
        if rule
            .never
            .iter()
            .filter(|n| n.contains("::"))
            .any(|n| below(&full, n) || below(&full, &format!("crate::{n}")))
        {
            say("the module must not use it");
        }
    }
    let found = words(&source.code).into_iter().filter(|(word, _)| rule.never.contains(word));
    faults.extend(found.map(|(word, line)| {
        format!("src/{}:{line}: {word}: the module must not use it ({module}: {})", source.path, rule.why)
    }));
    faults
}

/// Rooms of one module know only those before them.
fn check_rooms(source: &Source, rooms: &[Rooms]) -> Vec<String> {
    let module = source.module();
    let own: Vec<&str> = source.path.trim_end_matches(".rs").split('/').filter(|s| *s != "mod").collect();
    let Some(Rooms { rooms, drive, .. }) = rooms.iter().find(|r| r.module == module) else { return Vec::new() };
    let name = own.get(1).copied().unwrap_or("mod");
    if drive.contains(&name) {
        return Vec::new();
    }
    let Some(place) = rooms.iter().position(|room| *room == name) else {
        return vec![format!("src/{}: room {name} has no place in ROOMS of tests/tree/rules.rs: add one", source.path)];
    };
    let mut faults = Vec::new();
    for NamePath { segments, line, .. } in source.paths() {
        let names: Vec<&str> = segments.iter().map(String::as_str).filter(|s| *s != "self").collect();
        let up = names.iter().take_while(|s| **s == "super").count();
        let full = match names.first() {
            Some(&"crate") => names[1..].to_vec(),
            Some(&"super") if up <= own.len() => [&own[..own.len() - up], &names[up..]].concat(),
            _ => continue,
        };
        // `pub(in crate::decode)` names the module itself, and nothing in it.
        let Some(target) = full.get(1).filter(|_| full[0] == module) else { continue };
        let before = rooms.iter().position(|room| room == target).is_some_and(|at| at <= place);
        if !before {
            let path = names.join("::");
            faults.push(format!("src/{}:{line}: {path}: {target} is not before {name} in {module}", source.path));
        }
    }
    faults
}

fn check_unsafe(source: &Source) -> Vec<String> {
    if source.path == UNSAFE_FILE {
        return Vec::new();
    }
    let found = words(&source.code_with_tests).into_iter().filter(|(word, _)| *word == "unsafe");
    found.map(|(_, line)| format!("src/{}:{line}: unsafe outside src/{UNSAFE_FILE}", source.path)).collect()
}

fn check_metric_names(source: &Source) -> Vec<String> {
    if source.module() == "metrics" {
        return Vec::new();
    }
    let lines = source.text.lines().enumerate().filter(|(_, line)| line.contains(METRIC_PREFIX));
    lines.map(|(i, _)| format!("src/{}:{}: a metric's name outside src/metrics", source.path, i + 1)).collect()
}

fn check_length(source: &Source) -> Vec<String> {
    let max = if source.path == "main.rs" { MAIN_LINES_MAX } else { FILE_LINES_MAX };
    if source.lines <= max {
        return Vec::new();
    }
    vec![format!(
        "src/{}: {} lines without tests, at most {max}: split it along the data path",
        source.path, source.lines
    )]
}

fn check_names(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for (before, name, line) in definitions(&source.code) {
        let banned = parts(&name).into_iter().find(|part| BANNED_WORDS.contains(&part.as_str()));
        let fault = match banned {
            Some(word) => format!("holds the word {word}"),
            None if before == "fn" && name.starts_with("get_") => "begins with get_".to_owned(),
            None if name.ends_with("_config") => "ends in _config".to_owned(),
            None => continue,
        };
        faults.push(format!("src/{}:{line}: name {name} {fault}: say what it does", source.path));
    }
    let file = source.path.trim_end_matches(".rs").split('/').find(|part| BANNED_WORDS.contains(part));
    faults.extend(file.map(|word| format!("src/{}: file or folder named {word}", source.path)));
    faults
}

/// Words of a snake_case or CamelCase name, in lower case.
fn parts(name: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    for c in name.chars() {
        if (c == '_' || c.is_uppercase()) && out.last().is_some_and(|part| !part.is_empty()) {
            out.push(String::new());
        }
        if c != '_'
            && let Some(part) = out.last_mut()
        {
            part.extend(c.to_lowercase());
        }
    }
    out
}

fn assert_none(rule: &str, faults: Vec<String>) {
    assert!(faults.is_empty(), "{rule}:\n  {}", faults.join("\n  "));
}

#[test]
fn modules_import_only_what_the_plan_allows() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let crates = dependencies(&manifest);
    assert!(crates.iter().any(|c| c == "tokio"), "Cargo.toml's [dependencies] were not understood: {crates:?}");
    assert_none("import rows", tree().iter().flat_map(|s| check_imports(s, RULES, &crates)).collect());
}

#[test]
fn rooms_know_only_those_before_them() {
    assert_none("rooms", tree().iter().flat_map(|s| check_rooms(s, ROOMS)).collect());
    for rooms in ROOMS {
        for room in rooms.rooms.iter().chain(rooms.drive) {
            let at = root().join("src").join(rooms.module).join(room);
            assert!(at.is_dir() || at.with_extension("rs").is_file(), "{}: no room {room}", rooms.module);
        }
    }
}

#[test]
fn unsafe_stands_in_one_file() {
    assert_none("unsafe", tree().iter().flat_map(check_unsafe).collect());
}

#[test]
fn only_the_metrics_module_names_metrics() {
    assert_none("metric names", tree().iter().flat_map(check_metric_names).collect());
}

#[test]
fn files_stay_readable() {
    assert_none("file size", tree().iter().flat_map(check_length).collect());
}

#[test]
fn names_say_what_things_are() {
    assert_none("names", tree().iter().flat_map(check_names).collect());
}

/// The checks themselves, on small trees that break the rules.
mod checks {
    use super::*;

    fn imports(path: &str, code: &str) -> Vec<String> {
        let crates = ["tokio", "hyper", "tracing", "metrics", "crossbeam_channel", "nom", "clap"].map(str::to_owned);
        check_imports(&Source::new(path, code), RULES, &crates)
    }

    #[test]
    fn forbidden_imports_are_found_in_every_spelling() {
        for (path, code) in [
            ("decode/v9.rs", "use crate::metrics::Tally;"),
            ("decode/v9.rs", "fn f() { crate::queue::x(); }"),
            ("decode/v9.rs", "use crate::{flow::FlowBatch, collect::Pin};"),
            ("decode/v9.rs", "use super::super::clock::Clock;"),
            ("decode/mod.rs", "mod a { use super::super::clock::Clock; }"),
            ("decode/mod.rs", "pub(in crate::sink) fn f() {}"),
            ("decode/mod.rs", "use std::net::UdpSocket;"),
            ("decode/mod.rs", "use std::{net::{IpAddr, TcpStream}, fmt};"),
            ("decode/mod.rs", "fn f() { let t = std::time::Instant::now(); }"),
            ("decode/mod.rs", "use std::time; fn f() { time::SystemTime::now(); }"),
            ("decode/mod.rs", "fn f() { tracing::info!(\"x\"); }"),
            ("decode/mod.rs", "use tokio;"),
            ("decode/mod.rs", "use ::tokio::spawn;"),
            ("decode/mod.rs", "fn f() { ::metrics::counter!(\"x\"); }"),
            ("decode/mod.rs", "use crossbeam_channel::{bounded, Sender};"),
            ("flow/record.rs", "use nom::IResult;"),
            ("queue/mod.rs", "use crate::decode::Domain;"),
            ("queue/mod.rs", "use crate::sink::SinkSettings;"),
            ("queue/mod.rs", "use crate::sink;"),
            ("sink/dispatch.rs", "use crate::queue::{Outlet, FlowSender};"),
            ("sink/dispatch.rs", "use crate::collect::Pin as P;"),
            ("collect/worker.rs", "use tokio::net::UdpSocket;"),
            ("web/mod.rs", "use crate::collect::ExporterTable;"),
            ("monitor.rs", "use super::queue::Outlet;"),
            ("metrics/handles.rs", "use crate::decode::decode;"),
            ("config/mod.rs", "use crate::app::App;"),
            ("cli.rs", "use crate::limits::BATCH_SIZE;"),
            ("app.rs", "use crate::tools::demo;"),
            ("main.rs", "use clarion_collector::queue::Outlet;"),
            ("collect/worker.rs", "fn f() { metrics::counter!(\"x\"); }"),
            ("brand_new.rs", ""),
        ] {
            let faults = imports(path, code);
            assert!(!faults.is_empty(), "{path}: {code}");
        }
    }

    #[test]
    fn allowed_imports_comments_literals_and_tests_pass() {
        for (path, code) in [
            ("decode/v9.rs", "use crate::{flow::FlowBatch, limits, element::{self, DataType}};"),
            ("decode/v9.rs", "use super::domain::Domain; use nom::IResult; pub(crate) fn f() {}"),
            ("decode/mod.rs", "use std::net::{IpAddr, SocketAddr}; // tokio::spawn, Instant"),
            ("decode/mod.rs", "/* use /* nested */ crate::app; */ const S: &str = \"crate::app \\\" tokio::x\";"),
            ("decode/mod.rs", "const R: &str = r#\"use crate::app::\"x\";\"#; fn f<'a>(x: &'a str) -> char { '\"' }"),
            ("decode/mod.rs", "fn f() {}\n#[cfg(test)]\nmod tests { use crate::clock::Clock; fn g() { if 1 > 0 {} } }"),
            ("decode/mod.rs", "#[cfg(test)]\nuse crate::{clock::Clock, app};\nfn f() {}"),
            ("decode/mod.rs", "mod a { use super::domain; fn f() { super::decode(); } }"),
            ("queue/batcher.rs", "use crate::sink::encode::EncodedBatch; use super::Outlet;"),
            ("sink/dispatch.rs", "use crate::queue::Outlet; use tokio::spawn;"),
            ("collect/mod.rs", "use crate::metrics; fn f(metrics: u8) { metrics::Tally::default(); }"),
            ("tools/demo.rs", "use crate::app::App; use tokio::spawn;"),
            ("main.rs", "use clarion_collector::{app, cli::Cli};"),
        ] {
            assert_eq!(imports(path, code), Vec::<String>::new(), "{path}: {code}");
        }
    }

    #[test]
    fn a_room_that_knows_one_behind_it_is_found() {
        let check = |path, code| check_rooms(&Source::new(path, code), ROOMS).len();
        for (path, code) in [
            ("decode/plan/run.rs", "use crate::decode::learned::Domain;"),
            ("decode/plan/run.rs", "use super::super::learned::Domain;"),
            ("decode/told/mod.rs", "use super::plan::DecodePlan;"),
            ("decode/wire/set.rs", "use crate::decode::Header;"),
            ("decode/sequence.rs", "fn f() { super::told::x(); }"),
            ("decode/brand_new.rs", ""),
        ] {
            assert_eq!(check(path, code), 1, "{path}: {code}");
        }
        for (path, code) in [
            ("decode/plan/run.rs", "use super::column::Column; use crate::decode::wire::time::MessageClock;"),
            ("decode/plan/mod.rs", "pub(in crate::decode) use run::x; pub(super) use super::told::Purse;"),
            ("decode/message.rs", "use super::learned::Domain; use super::Outcome;"),
            ("queue/batcher.rs", "use super::Outlet;"),
        ] {
            assert_eq!(check(path, code), 0, "{path}: {code}");
        }
    }

    #[test]
    fn faults_name_file_line_and_path() {
        let faults =
            imports("decode/v9.rs", "// one\n/* two\n three */\nuse crate::{\n    flow::FlowBatch,\n    web,\n};");
        assert!(faults[0].starts_with("src/decode/v9.rs:4: crate::web: "), "{faults:?}");
    }

    #[test]
    fn unsafe_is_found_in_code_alone() {
        let check = |path, code| check_unsafe(&Source::new(path, code)).len();
        assert_eq!(check("collect/socket.rs", "fn f() { unsafe { g() } }"), 1);
        assert_eq!(check("collect/socket.rs", "#[cfg(test)] mod t { unsafe fn g() {} }"), 1);
        assert_eq!(check("collect/sys.rs", "fn f() { unsafe { g() } }"), 0);
        assert_eq!(check("lib.rs", "#![deny(unsafe_code)] // unsafe\nconst S: &str = \"unsafe\";"), 0);
    }

    #[test]
    fn metric_names_are_found_in_literals() {
        let check = |path, code| check_metric_names(&Source::new(path, code)).len();
        let code = "const N: &str = \"clarion_collector_x_total\";";
        assert_eq!(check("web/mod.rs", code), 1);
        assert_eq!(check("metrics/catalog.rs", code), 0);
        assert_eq!(check("web/mod.rs", "// clarion_collector_x\nuse clarion_collector::x;"), 0);
        assert_eq!(check("config/mod.rs", "const V: &str = \"CLARION_COLLECTOR_BACKEND_URL\";"), 0);
        assert_eq!(check("web/mod.rs", &format!("#[cfg(test)]\nmod tests {{ {code} }}")), 0);
    }

    #[test]
    fn long_files_are_found_and_their_tests_do_not_count() {
        let check = |path, lines, tests: &str| {
            check_length(&Source::new(path, &format!("{}{tests}", "fn f() {}\n".repeat(lines)))).len()
        };
        assert_eq!(check("flow/record.rs", FILE_LINES_MAX, ""), 0);
        assert_eq!(check("flow/record.rs", FILE_LINES_MAX + 1, ""), 1);
        assert_eq!(check("main.rs", MAIN_LINES_MAX + 1, ""), 1);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "fn g() {}\n".repeat(FILE_LINES_MAX));
        assert_eq!(check("flow/record.rs", FILE_LINES_MAX, &tests), 0);
        assert_eq!(check("flow/record.rs", FILE_LINES_MAX, &format!("{tests}fn h() {{}}\n")), 1);
    }

    #[test]
    fn banned_words_are_found_where_a_name_is_given() {
        for code in [
            "struct QueueManager;",
            "fn handler_of() {}",
            "mod utils;",
            "fn f(helper: u8) {}",
            "fn get_rate() {}",
            "fn f() { let sink_config = 1; }",
        ] {
            assert_eq!(check_names(&Source::new("flow/x.rs", code)).len(), 1, "{code}");
        }
        let fine = "fn f() { x.get_mut(); handler(); } struct Manages; fn target() {} const CONFIG_FILE: u8 = 1;";
        assert_eq!(check_names(&Source::new("flow/x.rs", fine)), Vec::<String>::new());
        assert_eq!(check_names(&Source::new("flow/utils.rs", "")).len(), 1);
    }

    #[test]
    fn files_of_test_modules_are_left_out() {
        let sources = vec![
            Source::new("queue/mod.rs", "#[cfg(test)]\nmod tests;\nmod batcher;"),
            Source::new("queue/batcher.rs", "#[cfg(test)]\nmod cases;"),
            Source::new("queue/batcher/cases.rs", "use crate::app;"),
            Source::new("queue/tests.rs", "use crate::app;"),
            Source::new("queue/tests/more.rs", "use crate::app;"),
        ];
        let left: Vec<String> = without_test_files(sources).into_iter().map(|s| s.path).collect();
        assert_eq!(left, ["queue/mod.rs", "queue/batcher.rs"]);
    }

    #[test]
    fn the_rules_name_each_module_once_and_give_a_reason() {
        for (i, rule) in RULES.iter().enumerate() {
            assert!(RULES[..i].iter().all(|r| r.module != rule.module), "{} stands twice", rule.module);
            assert!(!rule.why.is_empty(), "{}", rule.module);
            let known = |m: &&str| *m == "*" || RULES.iter().any(|r| below(m, r.module));
            assert!(rule.may.iter().all(known), "{}: {:?}", rule.module, rule.may);
        }
    }
}
