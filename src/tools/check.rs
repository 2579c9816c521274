//! `check`: validates the configuration and prints what is in effect, where each value came from, and
//! what the process may hold in memory. Binds nothing, connects to nothing, writes nothing.

use std::fmt::Write as _;
use std::process::ExitCode;

use super::say::print;
use crate::cli::CheckArgs;
use crate::config::{self, KEYS, Loaded, NoteLevel, Overrides, approximate};

/// Runs the command; exit code 1 if the configuration cannot be used.
///
/// # Errors
/// What is wrong with the configuration, or standard output.
pub fn run(args: &CheckArgs, overrides: &Overrides) -> anyhow::Result<ExitCode> {
    let text = if args.print_default { config::default_file() } else { report(&config::load_here(overrides)?) };
    print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// What `check` prints of a right configuration.
#[must_use]
pub fn report(loaded: &Loaded) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = match &loaded.file {
        Some(file) => writeln!(text, "file: {}", file.display()),
        None => writeln!(text, "file: none ({} does not exist)", config::DEFAULT_FILE),
    };
    let name_width = KEYS.iter().map(|key| key.name.len()).max().unwrap_or(0);
    let value_width = loaded.effective.iter().map(|key| key.value.len()).filter(|n| *n <= 40).max().unwrap_or(0);
    let (scalars, lists) = loaded.effective.split_at(KEYS.len().min(loaded.effective.len()));
    let mut section = "";
    for (key, effective) in KEYS.iter().zip(scalars) {
        if key.section != section {
            section = key.section;
            let _ = writeln!(text, "\n[{section}]");
        }
        let value = if effective.value.is_empty() { "\"\"" } else { &effective.value };
        let _ = writeln!(text, "  {:name_width$} = {value:value_width$}  {}", key.name, effective.source);
    }
    let list_width = lists.iter().map(|row| row.name.len()).max().unwrap_or(0);
    text.push('\n');
    for row in lists {
        let _ = writeln!(text, "{:list_width$}  {}  {}", row.name, row.value, row.source);
    }
    memory(loaded, &mut text);
    for (title, level) in [("notes", NoteLevel::Info), ("warnings", NoteLevel::Warning)] {
        let notes: Vec<&str> = loaded.notes.iter().filter(|n| n.level == level).map(|n| n.text.as_str()).collect();
        if !notes.is_empty() {
            let _ = writeln!(text, "\n{title}");
            for note in notes {
                let _ = writeln!(text, "  {note}");
            }
        }
    }
    text.push_str("\nthe configuration is right\n");
    text
}

fn memory(loaded: &Loaded, text: &mut String) {
    let posts = loaded.settings.memory_sum();
    let total: u64 = posts.iter().map(|post| post.octets).sum();
    let width = posts.iter().map(|post| post.name.len()).max().unwrap_or(0);
    let _ = writeln!(text, "\nmemory, at most");
    for post in &posts {
        let _ = writeln!(text, "  {:width$}  {:>12}  {}", post.name, approximate(post.octets), post.how);
    }
    let _ = writeln!(
        text,
        "  {:width$}  {:>12}  of {} ([memory] limit)",
        "sum",
        approximate(total),
        approximate(loaded.settings.memory_limit)
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Machine, load};

    #[test]
    fn the_report_names_every_key_its_source_and_the_sum_and_no_password() {
        let machine = Machine { cores: 2, memory: Some((8 << 30, "a test".into())), default_file: None };
        let overrides = Overrides::default().with("backend.url", "http://user:secret@backend:8000");
        let variables = [("CLARION_COLLECTOR_UDP_RCVBUF".to_owned(), "1MiB".to_owned())];
        let loaded = load(&overrides, variables, &machine).expect("a right configuration");
        let text = report(&loaded);
        for key in KEYS {
            assert!(text.contains(&format!("[{}]", key.section)) && text.contains(key.name), "{}", key.display());
        }
        assert!(!text.contains("secret"), "{text}");
        assert!(text.contains("http://***@backend:8000") && text.contains("flag --backend-url"), "{text}");
        assert!(text.contains("alias CLARION_COLLECTOR_UDP_RCVBUF"), "{text}");
        assert!(text.contains("[[listener]] 2055") && text.contains("[::]:2055"), "{text}");
        assert!(text.contains("socket buffers") && text.contains("sum"), "{text}");
    }
}
