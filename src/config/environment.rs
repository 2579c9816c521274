//! The environment -> what was written where, and what to say about the rest.
//!
//! Variables of Kubernetes stand beside ours: a Service named clarion-collector makes
//! CLARION_COLLECTOR_PORT=tcp://.. and the like, even CLARION_COLLECTOR_HTTP_PORT. They are ignored
//! with one line. Unknown variables are one warning, never an error: the environment is shared.

use super::keys::{KEYS, VARIABLE_PREFIX, names, nearest};
use super::proxy::Variables;
use super::written::{Origin, Scalar, Written};
use super::{Note, NoteLevel};

/// What the environment says.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) written: Vec<Written>,
    /// CLARION_COLLECTOR_CONFIG.
    pub(super) file: Option<String>,
    /// CLARION_COLLECTOR_MODE.
    pub(super) mode: Option<String>,
    /// POD_NAME.
    pub(super) pod_name: Option<String>,
    /// Variables that name proxies.
    pub(super) proxies: Variables,
    pub(super) notes: Vec<Note>,
}

const CONFIG: &str = "CLARION_COLLECTOR_CONFIG";
const MODE: &str = "CLARION_COLLECTOR_MODE";
const SFLOW_PORT: &str = "CLARION_COLLECTOR_SFLOW_PORT";
const POD_NAME: &str = "POD_NAME";
const UDP_RCVBUF: &str = "CLARION_COLLECTOR_UDP_RCVBUF";

/// Sorts the variables; empty ones count as not set, as compose files make them.
pub(super) fn read(variables: impl IntoIterator<Item = (String, String)>) -> Content {
    let mut content = Content::default();
    let mut variables: Vec<(String, String)> = variables
        .into_iter()
        .inspect(|(name, value)| content.proxies.note(name, value))
        .filter(|(name, value)| (name.starts_with(VARIABLE_PREFIX) || name == POD_NAME) && !value.trim().is_empty())
        .collect();
    // The order of an environment means nothing; ours makes the output the same each time.
    variables.sort();
    let (mut injected, mut unknown) = (Vec::new(), Vec::new());
    for (name, value) in variables {
        if is_injected(&name, &value) {
            injected.push(name);
        } else if name == UDP_RCVBUF && value.trim() == "0" {
            // The Python collector's default: it asks for nothing then. Files that spell it out must go on to start.
            content.notes.push(Note::info(format!(
                "{UDP_RCVBUF} = 0 is the Python collector's \"leave it to the kernel\" and has no effect: the default of \
                 [receive] buffer is asked for"
            )));
        } else if let Some((key, alias)) = key_of(&name) {
            let origin = if alias { Origin::Alias(name) } else { Origin::Variable(name) };
            content.written.push(Written { key, scalar: Scalar::of_text(value), origin });
        } else {
            match name.as_str() {
                CONFIG => content.file = Some(value),
                MODE => content.mode = Some(value),
                POD_NAME => content.pod_name = Some(value),
                SFLOW_PORT => content.notes.push(Note::info(format!(
                    "{SFLOW_PORT} is accepted and has no effect: this collector does not listen for sFlow"
                ))),
                _ => unknown.push(name),
            }
        }
    }
    if !injected.is_empty() {
        content.notes.push(Note::info(format!(
            "ignored variables that Kubernetes injects for services: {}",
            injected.join(", ")
        )));
    }
    if !unknown.is_empty() {
        content.notes.push(unknown_note(&unknown));
    }
    content
}

fn key_of(name: &str) -> Option<(usize, bool)> {
    let bare = name.strip_prefix(VARIABLE_PREFIX)?;
    KEYS.iter().enumerate().find_map(|(index, key)| {
        if names(index).variable == name {
            Some((index, false))
        } else {
            key.variable_aliases.contains(&bare).then_some((index, true))
        }
    })
}

/// True for what Kubernetes makes of a Service: `*_SERVICE_*`, `*_PORT_<n>_<protocol>*`, and
/// `*_PORT` with a URL in it.
fn is_injected(name: &str, value: &str) -> bool {
    let Some(bare) = name.strip_prefix(VARIABLE_PREFIX) else { return false };
    let service = bare.starts_with("SERVICE_") || bare.contains("_SERVICE_");
    let numbered = bare.match_indices("PORT_").any(|(at, _)| {
        let before = at == 0 || bare.as_bytes()[at - 1] == b'_';
        let digits: usize = bare[at + 5..].bytes().take_while(u8::is_ascii_digit).count();
        before && digits > 0 && bare[at + 5 + digits..].starts_with('_')
    });
    let is_port = bare == "PORT" || bare.ends_with("_PORT");
    let url = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    service || numbered || (is_port && url)
}

fn unknown_note(unknown: &[String]) -> Note {
    let known: Vec<String> = (0..KEYS.len())
        .map(|index| names(index).variable.clone())
        .chain(KEYS.iter().flat_map(|key| key.variable_aliases).map(|alias| format!("{VARIABLE_PREFIX}{alias}")))
        .chain([CONFIG, MODE, SFLOW_PORT].map(str::to_owned))
        .collect();
    let told: Vec<String> = unknown
        .iter()
        .map(|name| {
            // Without the common prefix, which would make every name look near.
            let bare = |name: &'_ str| name.strip_prefix(VARIABLE_PREFIX).unwrap_or(name).to_owned();
            let bare_known: Vec<String> = known.iter().map(|name| bare(name)).collect();
            match nearest(&bare(name), bare_known.iter().map(String::as_str)) {
                Some(near) => format!("{name} (is {VARIABLE_PREFIX}{near} meant?)"),
                None => name.clone(),
            }
        })
        .collect();
    Note { level: NoteLevel::Warning, text: format!("unknown variables have no effect: {}", told.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Content {
        read(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn what_kubernetes_injects_is_ignored_with_one_line() {
        let content = of(&[
            ("CLARION_COLLECTOR_PORT", "udp://10.0.0.1:2055"),
            ("CLARION_COLLECTOR_PORT_2055_UDP", "udp://10.0.0.1:2055"),
            ("CLARION_COLLECTOR_PORT_2055_UDP_PORT", "2055"),
            ("CLARION_COLLECTOR_PORT_2055_UDP_ADDR", "10.0.0.1"),
            ("CLARION_COLLECTOR_SERVICE_HOST", "10.0.0.1"),
            ("CLARION_COLLECTOR_SERVICE_PORT_NETFLOW", "2055"),
            ("CLARION_COLLECTOR_HTTP_PORT", "tcp://10.0.0.2:8081"),
            ("CLARION_COLLECTOR_HTTP_PORT_8081_TCP_PROTO", "tcp"),
            ("CLARION_COLLECTOR_HTTP_SERVICE_HOST", "10.0.0.2"),
            ("CLARION_COLLECTOR_NETFLOW_PORT", "udp://10.0.0.3:2055"),
        ]);
        assert!(content.written.is_empty(), "{:?}", content.written);
        assert_eq!(content.notes.len(), 1);
        assert_eq!(content.notes[0].level, NoteLevel::Info);
        assert_eq!(content.notes[0].text.matches("CLARION_COLLECTOR_").count(), 10);
    }

    #[test]
    fn ports_of_ours_are_not_taken_for_those_of_kubernetes() {
        let content = of(&[("CLARION_COLLECTOR_HTTP_PORT", "9100-9199"), ("CLARION_COLLECTOR_NETFLOW_PORT", "2056")]);
        assert_eq!(content.written.len(), 2);
        assert!(content.notes.is_empty());
        // A URL is only Kubernetes' where the name is a port's.
        assert_eq!(of(&[("CLARION_COLLECTOR_BACKEND_URL", "tcp://x")]).written.len(), 1);
    }

    #[test]
    fn unknown_variables_are_one_warning_with_the_nearest_names() {
        let content = of(&[
            ("CLARION_COLLECTOR_BATCH_SISE", "1"),
            ("CLARION_COLLECTOR_XYZZY", "1"),
            ("OTHER_THING", "1"),
            ("CLARION_COLLECTOR_EMPTY", ""),
        ]);
        assert_eq!(content.notes.len(), 1);
        assert_eq!(content.notes[0].level, NoteLevel::Warning);
        assert_eq!(
            content.notes[0].text,
            "unknown variables have no effect: CLARION_COLLECTOR_BATCH_SISE (is CLARION_COLLECTOR_BATCH_SIZE meant?), \
             CLARION_COLLECTOR_XYZZY"
        );
    }

    #[test]
    fn a_buffer_of_zero_is_the_python_collectors_default() {
        let content = of(&[("CLARION_COLLECTOR_UDP_RCVBUF", "0")]);
        assert!(content.written.is_empty());
        assert!(content.notes.len() == 1 && content.notes[0].level == NoteLevel::Info, "{:?}", content.notes);
        // The name of our own means what it says, and is refused later.
        assert_eq!(of(&[("CLARION_COLLECTOR_RECEIVE_BUFFER", "0")]).written.len(), 1);
    }

    #[test]
    fn names_aliases_and_specials_are_told_apart() {
        let content = of(&[
            ("CLARION_COLLECTOR_UDP_RCVBUF", "1MiB"),
            ("CLARION_COLLECTOR_RECEIVE_BUFFER", "2MiB"),
            ("CLARION_COLLECTOR_CONFIG", "/x"),
            ("CLARION_COLLECTOR_MODE", "both"),
            ("CLARION_COLLECTOR_SFLOW_PORT", "6343"),
            ("POD_NAME", "collector-0"),
        ]);
        let origins: Vec<String> = content.written.iter().map(|w| w.origin.to_string()).collect();
        assert_eq!(origins, ["environment CLARION_COLLECTOR_RECEIVE_BUFFER", "alias CLARION_COLLECTOR_UDP_RCVBUF"]);
        assert_eq!(content.file.as_deref(), Some("/x"));
        assert_eq!(content.mode.as_deref(), Some("both"));
        assert_eq!(content.pod_name.as_deref(), Some("collector-0"));
        assert_eq!(content.notes.len(), 1);
    }
}
