//! The table of keys as documents: the commented default file and the tables of the manual.

use std::fmt::Write;

use super::keys::{KEYS, Key, Kind, Preset, VARIABLE_PREFIX, names};
use super::value::{preset_text, range_text};

/// A configuration file with every key, commented, at its default. A line that begins with `#` and a
/// letter is a key at its default; one that begins with `# ` is prose.
#[must_use]
pub fn default_file() -> String {
    let mut text = String::from(HEAD);
    let mut section = "";
    for (index, key) in KEYS.iter().enumerate() {
        if key.section != section {
            section = key.section;
            let _ = write!(text, "\n# ---- {} ----\n[{section}]\n", key.title());
        }
        let _ = writeln!(text, "\n# {}.", key.help);
        let computed = match key.preset {
            Preset::Computed(how) => format!("; auto: {how}"),
            _ => String::new(),
        };
        let aliases: String =
            key.variable_aliases.iter().map(|alias| format!(", alias {VARIABLE_PREFIX}{alias}")).collect();
        let reloads = if key.reloads { " SIGHUP takes it up." } else { "" };
        let _ = writeln!(text, "# Range: {}{computed}.{reloads}", range_text(&key.kind));
        let _ = writeln!(text, "# {}{aliases}, --{}", names(index).variable, names(index).flag);
        let _ = writeln!(text, "#{} = {}", key.name, toml_preset(key));
    }
    text.push_str(LISTS);
    text
}

/// The default as TOML.
fn toml_preset(key: &Key) -> String {
    let text = preset_text(key);
    match key.kind {
        Kind::Count(_) | Kind::Port | Kind::Ports | Kind::Flag if !matches!(key.preset, Preset::Computed(_)) => text,
        _ => format!("{text:?}"),
    }
}

/// The table of all keys for the manual, in Markdown.
#[must_use]
pub fn key_table() -> String {
    let mut text = String::from(
        "| key | default | range | meaning | SIGHUP | flag, variable |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for (index, key) in KEYS.iter().enumerate() {
        let default = match key.preset {
            Preset::Computed(how) => format!("`\"auto\"`: {how}"),
            _ => format!("`{}`", toml_preset(key)),
        };
        let (range, names) = (range_text(&key.kind), names(index));
        let _ = writeln!(
            text,
            "| `{}` | {default} | {range} | {} | {} | `--{}` `{}` |",
            key.display(),
            key.help,
            if key.reloads { "yes" } else { "" },
            names.flag,
            names.variable
        );
    }
    text
}

/// The table of aliases for the manual, in Markdown.
#[must_use]
pub fn alias_table() -> String {
    let mut text = String::from("| alias | key |\n| --- | --- |\n");
    for key in KEYS {
        for alias in key.variable_aliases {
            let _ = writeln!(text, "| `{VARIABLE_PREFIX}{alias}` | `{}` |", key.display());
        }
        for alias in key.flag_aliases {
            let _ = writeln!(text, "| `--{alias}` | `{}` |", key.display());
        }
    }
    text
}

const HEAD: &str = "\
# clarion-collector: every key, commented, at its default.
#
# Read from the path in --config or CLARION_COLLECTOR_CONFIG, else from
# /etc/clarion-collector/clarion-collector.toml if that exists. A flag beats a variable, a variable
# beats this file. Unknown keys are errors. `clarion-collector check` tells what is in effect, where
# each value came from and what the process may hold in memory.
#
# Durations: \"150ms\", \"5s\", \"2m\", \"1h\"; bare numbers are seconds. Sizes: \"64KiB\", \"32MiB\", \"1GiB\",
# \"4MB\"; bare numbers are octets.
";

const LISTS: &str = "
# ---- Lists ----
# They can only stand in this file. With at least one [[listener]] the two default ports are not
# listened on any more.
#
# [[listener]]
# port = 2055                       # needed; 0 takes a free port
# address = \"::\"                    # default: [bind] host
# name = \"campus\"                   # label in metrics; default: the port
# interface = \"eth0\"                # only what comes in here
# tenant = \"blue\"                   # equal addresses of two tenants are two exporters
#
# A rule for exporters: of those that match, the one with the longest prefix wins.
#
# [[exporter]]
# prefix = \"192.0.2.0/24\"           # or a single address; default: every address
# listener = \"campus\"               # only on this listener, by name or port
# domain = 256                      # only this observation domain (v9: Source ID)
# name = \"border\"                   # for people
# tenant = \"blue\"                   # instead of the listener's
# switch_id = \"border-1\"            # instead of the address
# sampling_default = 1000           # rate if nothing else tells one
# sampling_override = 1000          # rate that beats what the exporter says
# profile = \"cisco\"                # its maker, by name or enterprise number: NetFlow v9 types above 32767
# post_counters = \"reverse\"        # elements 23 and 24 count the other direction; default: \"post\"
# enterprise_in_v9 = true           # NetFlow v9 templates may hold IPFIX's enterprise fields; default: false
# mediator = true                   # it forwards for others, whom its records name; default: false
# drop_odd_padding = true           # drop sets whose padding is not zero; default: false
# teach_elements = true             # its type records (RFC 5610) name enterprise elements; default: false
# session = \"port\"                  # any: all source ports of an address share templates; port: each has its own
#
# Rates hold for an exporter as a whole: they stand in rules without domain.
#
# [[exporter]]
# prefix = \"198.51.100.0/24\"
# datagrams_per_second = 5000       # instead of [admission] datagrams_per_second; 0 lifts the limit
# bytes_per_second = 4000000        # instead of [admission] bytes_per_second, in octets; 0 lifts the limit
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Machine, Overrides, load};

    fn load_text(text: &str) -> crate::config::Loaded {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("c.toml");
        std::fs::write(&path, text).expect("the file can be written");
        let machine = Machine { cores: 4, memory: Some((8 << 30, "a test".into())), default_file: None };
        load(&Overrides { file: Some(path), ..Overrides::default() }, [], &machine).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn the_default_file_says_the_defaults() {
        let text = default_file();
        let uncommented: String = text
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => format!("{key}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let (commented, written) = (load_text(&text), load_text(&uncommented));
        assert_eq!(format!("{:?}", commented.settings), format!("{:?}", written.settings));
        let set = |loaded: &crate::config::Loaded| {
            loaded.effective.iter().filter(|key| key.source.starts_with("file ")).count()
        };
        assert_eq!(set(&commented), 0);
        let computed = KEYS.iter().filter(|key| matches!(key.preset, Preset::Computed(_))).count();
        assert_eq!(set(&written), KEYS.len() - computed);
    }

    #[test]
    fn the_examples_of_lists_are_right() {
        let examples: String = LISTS
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| line.contains(" = ") || line.starts_with("[["))
            .fold(String::new(), |text, line| text + line + "\n");
        let settings = load_text(&examples).settings;
        assert_eq!(settings.collect.listeners.len(), 1);
        assert_eq!(settings.collect.listeners[0].name, "campus");
        assert_eq!(settings.collect.rules.len(), 2);
        assert_eq!(settings.collect.rules[0].sampling_override, Some(1_000));
        assert_eq!(settings.collect.rules[1].octets_per_second, Some(4_000_000));
    }
}
