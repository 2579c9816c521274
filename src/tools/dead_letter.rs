//! `dead-letter`: what the backend refused for good, listed, shown and sent again.
//!
//! Reads the directory of the collector's own settings, also while a collector runs on it. What strangers wrote
//! (answers, records) leaves as JSON strings or escaped. A letter goes only when the backend has accepted it.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use uuid::Uuid;

use super::say::{print, tell};
use crate::cli::{DeadLetterArgs, DeadLetterCommand, Letters};
use crate::clock::Clock;
use crate::config::{self, Overrides, Settings};
use crate::sink::kept::batch_of;
use crate::sink::probe::Outcome;
use crate::sink::{Resender, retry};
use crate::spool::{DeadLetter, DeadLetterSummary, DeadLetters};
use crate::web::time::rfc3339;

/// Ending of the files, which nobody has to type.
const ENDING: &str = ".dead";

/// The command.
///
/// # Errors
/// The settings are wrong, there is no such directory or letter, or the backend cannot be spoken to.
pub fn run(args: &DeadLetterArgs, overrides: &Overrides) -> anyhow::Result<ExitCode> {
    let settings = config::load_here(overrides)?.settings;
    let Some(dead) = settings.dead_letters() else {
        bail!("no dead letters are kept: they need a data directory ([data] dir) and output to the backend");
    };
    // Nothing was refused yet: that is an empty list, not a fault.
    if !dead.path.exists() {
        tell(format!("no dead letters: there is no directory {}", dead.path.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let mut letters = DeadLetters::existing(&dead.path)
        .with_context(|| format!("the dead letters in {} cannot be looked at", dead.path.display()))?;
    match &args.command {
        DeadLetterCommand::List(_) => list(&letters),
        DeadLetterCommand::Show(one) => show(&letters, &one.id),
        DeadLetterCommand::Resend(which) => resend(&mut letters, which, &settings),
    }
}

fn id_of(name: &str) -> &str {
    name.strip_suffix(ENDING).unwrap_or(name)
}

fn list(letters: &DeadLetters) -> anyhow::Result<ExitCode> {
    for letter in letters.list()? {
        if !print(format!("{}\n", row(&letter)).as_bytes())? {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(letter: &DeadLetterSummary) -> Value {
    json!({
        "id": id_of(&letter.name),
        "time": rfc3339(letter.at_ns),
        "status": letter.status,
        "records": letter.records,
        "octets": letter.octets,
        "answer": letter.answer,
    })
}

fn show(letters: &DeadLetters, id: &str) -> anyhow::Result<ExitCode> {
    let name = find(letters, id)?;
    let DeadLetter { at_ns, status, answer, entry } = letters.show(&name).with_context(|| name.clone())?;
    let text = String::from_utf8_lossy(&entry.body);
    let body = serde_json::from_str::<Value>(&text).unwrap_or_else(|_| Value::String(text.into_owned()));
    let exporters: Vec<Value> =
        entry.exporters.iter().map(|count| json!({ "exporter": count.key, "records": count.records })).collect();
    let shown = json!({
        "id": id_of(&name),
        "time": rfc3339(at_ns),
        "status": status,
        "answer": answer,
        "batch": Uuid::from_bytes(entry.id).to_string(),
        "part": entry.part,
        "records": entry.records,
        "received": rfc3339(entry.first_receive_ns),
        "possibly_written": entry.repeated,
        "exporters": exporters,
        "body": body,
    });
    print(format!("{}\n", serde_json::to_string_pretty(&shown)?).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The name of the only letter whose id is `id`, or begins with it.
fn find(letters: &DeadLetters, id: &str) -> anyhow::Result<String> {
    let id = id_of(id);
    let names: Vec<String> = letters.list()?.into_iter().map(|letter| letter.name).collect();
    pick(names, id)
}

fn pick(names: Vec<String>, id: &str) -> anyhow::Result<String> {
    if let Some(name) = names.iter().find(|name| id_of(name) == id) {
        return Ok(name.clone());
    }
    let mut alike = names.into_iter().filter(|name| !id.is_empty() && name.starts_with(id));
    match (alike.next(), alike.next()) {
        (Some(name), None) => Ok(name),
        (Some(_), Some(_)) => bail!("several dead letters begin with {id:?}: write more of the id"),
        (None, _) => bail!("there is no dead letter {id:?}: `dead-letter list` names all"),
    }
}

fn resend(letters: &mut DeadLetters, which: &Letters, settings: &Settings) -> anyhow::Result<ExitCode> {
    let names = match &which.id {
        Some(id) => vec![find(letters, id)?],
        None => letters.list()?.into_iter().map(|letter| letter.name).collect(),
    };
    let resender = Resender::new(&settings.sink, &Clock::system())?;
    let (mut accepted, mut kept) = (0_u64, 0_u64);
    for name in names {
        match send(letters, &resender, &name) {
            Ok((records, by)) => {
                accepted += records;
                tell(format!("{}: accepted by {by}, {records} records", id_of(&name)));
            }
            Err(why) => {
                kept += 1;
                tell(format!("{}: kept: {why:#}", id_of(&name)));
            }
        }
    }
    tell(format!("{accepted} records accepted, {kept} letters kept"));
    Ok(if kept == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How many records were accepted, and by whom.
fn send(letters: &mut DeadLetters, resender: &Resender, name: &str) -> anyhow::Result<(u64, String)> {
    let batch = batch_of(letters.show(name)?.entry).map_err(|(reason, _)| reason)?;
    let (outcome, by) = resender.send(&batch);
    match outcome {
        Outcome::Answered { status, .. }
            if retry::of_status(status, None).delivery == crate::sink::Delivery::Accepted =>
        {
            letters.remove(name).context("accepted, but the letter cannot be deleted: it would be sent twice")?;
            Ok((u64::from(batch.records), by.to_owned()))
        }
        Outcome::Answered { status, excerpt, .. } => bail!("{by}: HTTP {status}: {excerpt}"),
        Outcome::Failed { code, detail } => bail!("{by}: {code}: {detail}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_found_by_its_id_or_a_beginning_that_is_its_alone() {
        let names = || vec!["aab.dead".to_owned(), "aac.dead".to_owned(), "aa.dead".to_owned()];
        assert_eq!(pick(names(), "aa").unwrap(), "aa.dead");
        assert_eq!(pick(names(), "aab").unwrap(), "aab.dead");
        assert!(pick(names(), "a").unwrap_err().to_string().contains("several"));
        assert!(pick(names(), "").is_err() && pick(names(), "b").is_err());
    }
}
