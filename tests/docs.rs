//! The documents against the program: what they name exists.
//!
//! Read are all Markdown files of the repository: links and anchors, files, commands with their flags,
//! keys, variables, metrics, names of tests, paths of the HTTP side. A document that promises something
//! that is not there fails here, with its name and line.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clarion_collector::config::{self, KEYS, Machine, Overrides, VARIABLE_PREFIX};
use clarion_collector::metrics::{CATALOG, Descriptor, EXPORTER_CATALOG, PREFIX};

/// Flags in the documents that are of other programs.
const FOREIGN_FLAGS: &[&str] =
    &["--all-targets", "--locked", "--check", "--test", "--bench", "--lib", "--section-key", "--scale"];

/// A line of a document, or a part of one.
struct Piece {
    /// File and line, for people.
    place: String,
    text: String,
}

struct Document {
    path: PathBuf,
    text: String,
}

impl Document {
    fn name(&self) -> String {
        self.path.strip_prefix(root()).unwrap().display().to_string()
    }

    /// Lines with whether they stand in a fenced block, fences left out.
    fn lines(&self) -> Vec<(Piece, bool)> {
        let mut fenced = false;
        let mut lines = Vec::new();
        for (number, line) in self.text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
                continue;
            }
            let place = format!("{}:{}", self.name(), number + 1);
            lines.push((Piece { place, text: line.to_owned() }, fenced));
        }
        assert!(!fenced, "{}: a fenced block has no end", self.name());
        lines
    }

    /// Code spans outside of fenced blocks.
    fn spans(&self) -> Vec<Piece> {
        let prose = self.lines().into_iter().filter(|(_, fenced)| !fenced);
        prose
            .flat_map(|(line, _)| {
                let spans: Vec<Piece> = line
                    .text
                    .split('`')
                    .skip(1)
                    .step_by(2)
                    .map(|text| Piece { place: line.place.clone(), text: text.to_owned() })
                    .collect();
                spans
            })
            .collect()
    }

    /// Lines of fenced blocks.
    fn code(&self) -> Vec<Piece> {
        self.lines().into_iter().filter_map(|(line, fenced)| fenced.then_some(line)).collect()
    }

    /// Anchors of the headings, as GitHub makes them.
    fn anchors(&self) -> BTreeSet<String> {
        let headings = self.lines().into_iter().filter(|(line, fenced)| !fenced && line.text.starts_with('#'));
        headings
            .map(|(line, _)| {
                let title = line.text.trim_start_matches('#').trim().to_lowercase();
                let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
                kept.map(|c| if c == ' ' { '-' } else { c }).collect()
            })
            .collect()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below `dir` with `ending`, but for what git and cargo keep there.
fn files(dir: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() {
            if name != "target" && name != ".git" {
                files(&path, ending, found);
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

fn documents() -> Vec<Document> {
    let mut paths = Vec::new();
    files(root(), ".md", &mut paths);
    paths.sort();
    let documents: Vec<_> =
        paths.into_iter().map(|path| Document { text: fs::read_to_string(&path).unwrap(), path }).collect();
    assert!(documents.iter().any(|d| d.name() == "README.md") && documents.len() > 8, "the walk finds the documents");
    documents
}

/// Fails with all faults at once, or with too few finds: a check that looks at nothing cannot fail.
fn judge(faults: &[String], looked_at: usize, at_least: usize) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert!(looked_at >= at_least, "only {looked_at} found, {at_least} expected: does the search still work?");
}

#[test]
fn links_lead_to_files_and_headings_that_exist() {
    let (mut faults, mut links) = (Vec::new(), 0);
    let documents = documents();
    for document in &documents {
        for (line, _) in document.lines().into_iter().filter(|(_, fenced)| !fenced) {
            for part in line.text.split("](").skip(1) {
                let target = part.split(')').next().unwrap();
                if target.starts_with("http") {
                    continue;
                }
                links += 1;
                let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
                let path =
                    if file.is_empty() { document.path.clone() } else { document.path.parent().unwrap().join(file) };
                let Ok(path) = path.canonicalize() else {
                    faults.push(format!("{}: there is no {file}", line.place));
                    continue;
                };
                let leads = documents.iter().find(|d| d.path.canonicalize().unwrap() == path);
                if !anchor.is_empty() && !leads.is_some_and(|d| d.anchors().contains(anchor)) {
                    faults.push(format!("{}: {file} has no heading #{anchor}", line.place));
                }
            }
        }
    }
    judge(&faults, links, 30);
}

/// True if `name` is a file or folder below `base`; a `*` in the last part stands for anything.
fn exists(base: &Path, name: &str) -> bool {
    let Some((before, after)) = name.split_once('*') else { return base.join(name).exists() };
    let (dir, start) = before.rsplit_once('/').unwrap_or(("", before));
    fs::read_dir(base.join(dir)).is_ok_and(|mut entries| {
        entries.any(|entry| {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            name.starts_with(start) && name.ends_with(after)
        })
    })
}

#[test]
fn files_that_are_named_exist() {
    const ROOTS: &[&str] = &["src/", "tests/", "docs/", "deploy/", "fuzz/", "benches/", "data/", ".ci/"];
    let (mut faults, mut paths) = (Vec::new(), 0);
    for document in documents() {
        for span in document.spans() {
            let text = span.text.as_str();
            let is_path = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-*".contains(c));
            // Modules are named from src/, files beside a document from there.
            let module = text.ends_with(".rs") || (document.name() == "docs/architecture.md" && text.ends_with('/'));
            if !is_path || !(module || ROOTS.iter().any(|root| text.starts_with(root))) {
                continue;
            }
            paths += 1;
            let beside = document.path.parent().unwrap();
            if ![root(), &root().join("src"), beside].iter().any(|base| exists(base, text)) {
                faults.push(format!("{}: there is no {text}", span.place));
            }
        }
    }
    judge(&faults, paths, 30);
}

/// The program's arguments, if `line` calls it: by its name, by a path, or through cargo.
fn arguments(line: &str) -> Option<Vec<String>> {
    let words: Vec<&str> =
        line.split_whitespace().take_while(|w| !matches!(*w, "#" | "|" | "&&" | ";" | "&")).collect();
    let called = words.iter().position(|w| !w.contains('='))?;
    let rest = match words[called..] {
        ["cargo", "run", ref rest @ ..] => &rest[rest.iter().position(|w| *w == "--")? + 1..],
        [name, ref rest @ ..] if name == "clarion-collector" || name.ends_with("/clarion-collector") => rest,
        _ => return None,
    };
    Some(rest.iter().map(|w| w.trim_matches(['"', '\'']).to_owned()).collect())
}

#[test]
fn commands_parse() {
    assert_eq!(arguments("A=b target/release/clarion-collector check # it"), Some(vec!["check".to_owned()]));
    assert_eq!(arguments("cargo run --release -- demo"), Some(vec!["demo".to_owned()]));
    assert_eq!(arguments("cargo test"), None);
    let (mut faults, mut commands) = (Vec::new(), 0);
    for document in documents() {
        let code = document.code().into_iter().map(|piece| (piece, true));
        for (piece, whole) in code.chain(document.spans().into_iter().map(|piece| (piece, false))) {
            // A fuzz target is run by cargo as well.
            let Some(arguments) = arguments(&piece.text).filter(|_| !piece.text.contains("--bin")) else { continue };
            commands += 1;
            let line = std::iter::once("clarion-collector".to_owned()).chain(arguments);
            if let Err(error) = config::parse_command_line(line.map(Into::into))
                && error.exit_code() != 0
                // In a sentence a command may be named without all of its arguments.
                && (whole || error.kind() != ErrorKind::MissingRequiredArgument)
            {
                faults.push(format!("{}: {}: {error}", piece.place, piece.text));
            }
        }
    }
    judge(&faults, commands, 8);
}

#[test]
fn flags_exist() {
    let command = config::command();
    let every = std::iter::once(&command).chain(command.get_subcommands()).flat_map(|c| c.get_arguments());
    let known: BTreeSet<String> = every
        .flat_map(|a| a.get_long_and_visible_aliases().unwrap_or_default())
        .chain(["help", "version"])
        .map(|name| format!("--{name}"))
        .collect();
    let (mut faults, mut flags) = (Vec::new(), 0);
    for document in documents() {
        for span in document.spans() {
            let flag = span.text.split([' ', '=']).next().unwrap();
            if !flag.starts_with("--") || flag.len() == 2 || FOREIGN_FLAGS.contains(&flag) {
                continue;
            }
            flags += 1;
            if !known.contains(flag) {
                faults.push(format!("{}: there is no flag {flag}", span.place));
            }
        }
    }
    judge(&faults, flags, 50);
}

/// Words of `text` that begin with `prefix`.
fn words<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(prefix).map(|(at, _)| {
        let rest = &text[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

/// What the program says to a variable: an error is about its value, so it is known.
fn is_known_variable(name: &str) -> bool {
    let machine = Machine { cores: 1, memory: None, default_file: None };
    match config::load(&Overrides::default(), [(name.to_owned(), "?".to_owned())], &machine) {
        Err(_) => true,
        Ok(loaded) => !loaded.notes.iter().any(|note| note.text.contains("unknown variables")),
    }
}

#[test]
fn variables_are_known() {
    assert!(is_known_variable("CLARION_COLLECTOR_BATCH_SIZE") && is_known_variable("CLARION_COLLECTOR_UDP_RCVBUF"));
    assert!(!is_known_variable("CLARION_COLLECTOR_BATCH_SISE"));
    let (mut faults, mut variables) = (Vec::new(), 0);
    for document in documents() {
        for (line, _) in document.lines() {
            for name in words(&line.text, VARIABLE_PREFIX) {
                // The prefix itself, and the pattern of all names.
                if name == VARIABLE_PREFIX || name == "CLARION_COLLECTOR_SECTION_KEY" {
                    continue;
                }
                variables += 1;
                if !is_known_variable(name) {
                    faults.push(format!("{}: {name} has no effect", line.place));
                }
            }
        }
    }
    judge(&faults, variables, 50);
}

#[test]
fn keys_exist() {
    let (mut faults, mut keys) = (Vec::new(), 0);
    for document in documents() {
        for span in document.spans() {
            // `[section] key`, with or without a value behind it.
            let Some((section, rest)) = span.text.strip_prefix('[').and_then(|rest| rest.split_once("] ")) else {
                continue;
            };
            let section = section.trim_matches(['[', ']']);
            let key = rest.split([' ', '=']).next().unwrap();
            if span.text == "[section] key" {
                continue;
            }
            keys += 1;
            // Keys of lists are read by the loader alone.
            let known = if span.text.starts_with("[[") {
                ["listener", "exporter"].contains(&section)
            } else {
                KEYS.iter().any(|k| (k.section, k.name) == (section, key))
            };
            if !known {
                faults.push(format!("{}: there is no key [{section}] {key}", span.place));
            }
        }
    }
    judge(&faults, keys, 50);
}

/// The metric of this name without the prefix, `_sum` and the like of a histogram included.
fn metric(name: &str) -> Option<&'static Descriptor> {
    let find = |name: &str| CATALOG.iter().chain(EXPORTER_CATALOG).find(|d| d.name == name);
    find(name).or_else(|| {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end))?;
        find(base).filter(|d| d.kind.text_type(d.name) == "histogram")
    })
}

#[test]
fn metrics_exist_with_the_labels_that_are_named() {
    assert!(metric("batch_records_bucket").is_some() && metric("batch_records_max").is_none());
    assert!(metric("sets_seen_total_sum").is_none());
    let (mut faults, mut metrics) = (Vec::new(), 0);
    for document in documents() {
        for (line, _) in document.lines() {
            for name in words(&line.text, PREFIX).filter(|name| *name != PREFIX) {
                metrics += 1;
                if metric(&name[PREFIX.len()..]).is_none() {
                    faults.push(format!("{}: there is no metric {name}", line.place));
                }
            }
        }
        for span in document.spans() {
            let (name, labels) = span.text.split_once('{').unwrap_or((&span.text, ""));
            let name = name.strip_prefix(PREFIX).unwrap_or(name);
            // Without the prefix a name is known for a metric's by its unit, or by labels in braces.
            let word = name.chars().all(|c| c.is_ascii_lowercase() || c == '_') && name.contains('_');
            let by_unit = ["_total", "_ratio", "_seconds"].iter().any(|unit| name.ends_with(unit));
            if !word || !(by_unit || labels.ends_with('}')) {
                continue;
            }
            metrics += 1;
            let Some(found) = metric(name) else {
                faults.push(format!("{}: there is no metric {name}", span.place));
                continue;
            };
            for label in labels.trim_end_matches('}').split(',').filter(|l| !l.is_empty()) {
                let label = label.split('=').next().unwrap().trim();
                if !found.labels.contains(&label) {
                    faults.push(format!("{}: {name} has no label {label}", span.place));
                }
            }
        }
    }
    judge(&faults, metrics, 100);
}

#[test]
fn tests_that_protocols_names_exist() {
    let mut sources = Vec::new();
    files(&root().join("src"), ".rs", &mut sources);
    files(&root().join("tests"), ".rs", &mut sources);
    let code: Vec<String> = sources.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let documents = documents();
    let document = documents.iter().find(|d| d.name() == "docs/protocols.md").unwrap();
    let (mut faults, mut names) = (Vec::new(), 0);
    for span in document.spans() {
        // Tests have sentences for names; so have metrics.
        let name = span.text.as_str();
        let word = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !word || name.matches('_').count() < 2 || metric(name.trim_start_matches(PREFIX)).is_some() {
            continue;
        }
        names += 1;
        let declared = format!("fn {name}(");
        if !code.iter().any(|text| text.contains(&declared)) {
            faults.push(format!("{}: there is no test {name}", span.place));
        }
    }
    judge(&faults, names, 40);
}

#[test]
fn architecture_has_every_module() {
    let text = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let (_, map) = text.split_once("\n## Module map\n").unwrap();
    let map = map.split("\n## ").next().unwrap();
    let mut modules = 0;
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let named = if path.is_dir() { format!("`{name}/`") } else { format!("`{name}`") };
        assert!(map.contains(&named), "docs/architecture.md, module map: {named} is missing");
        modules += 1;
    }
    assert!(modules > 15);
}

#[test]
fn paths_of_the_http_side_answer() {
    let backend = common::backend();
    let running = common::start(common::settings(backend.address()));
    let get = |path: &str| {
        let mut stream = TcpStream::connect(running.http_address()).unwrap();
        stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    let (mut faults, mut paths) = (Vec::new(), BTreeSet::new());
    for document in documents() {
        for span in document.spans() {
            let path = &span.text;
            let ours = ["/api/v1/", "/metrics", "/health", "/livez", "/readyz"].iter().any(|p| path.starts_with(p));
            // An exporter's own path needs one that has been heard.
            if !ours || path.contains('{') || !paths.insert(path.clone()) {
                continue;
            }
            let answer = get(path);
            if !answer.starts_with("HTTP/1.1 200 ") {
                faults.push(format!("{}: {path} answers {:?}", span.place, answer.lines().next()));
            }
        }
    }
    assert!(get("/nothing").starts_with("HTTP/1.1 404 "));
    drop(running.drain());
    judge(&faults, paths.len(), 8);
}
