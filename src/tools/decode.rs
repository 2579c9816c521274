//! `decode`: captures -> one flow a line, without a collector.
//!
//! Capture files enter, NDJSON leaves (or, with `--summary`, counts per exporter, version, domain and
//! template); what could not be used is summed up on stderr. Each file is decoded with fresh state by
//! the collector's own decoder and under its default rules, so that what is seen here is what a
//! collector would deliver. Data sets wait for their template to the end of the file.

mod offline;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};

use super::capture::Capture;
use super::say::tell;
use crate::cli::{DecodeArgs, Elements};
use crate::config::{fields, read_elements};
use crate::decode::{DecodeSettings, Selection};
use crate::flow::FlowBatch;
use crate::sink::encode::OutputFields;
use crate::sink::encode::ndjson::{Lines, write_ndjson};

pub use offline::{DomainSummary, ExporterSummary, Offline, Summary};

/// Lines are handed to the kernel in pieces of about so many octets.
const FLUSH_OCTETS: usize = 64 * 1024;
/// A set waits for its template as long as the file lasts: 10 years, in nanoseconds.
const PARK_AGE_NS: u64 = 10 * 366 * 86_400 * 1_000_000_000;

/// The command.
///
/// # Errors
/// Standard output cannot be written to; a reader that went away is no error.
pub fn run(args: &DecodeArgs) -> anyhow::Result<ExitCode> {
    let registry = match &args.elements_file {
        None => Arc::default(),
        Some(path) => match read_elements(path) {
            Ok(registry) => Arc::new(registry),
            Err(problems) => {
                problems.iter().for_each(tell);
                return Ok(ExitCode::FAILURE);
            }
        },
    };
    let fields = match &args.fields {
        Some(names) => fields::read(names, &registry).map_err(|problem| anyhow!("--fields {problem}"))?,
        None => OutputFields::of_registry(registry),
    };
    let (selection, mut print) = match args.elements {
        // When a capture was made says little about when its exporters' clocks ran.
        Elements::Core => (fields::select(&fields, Selection::CAPTURE), Print::Lines(Lines::new(&fields))),
        Elements::All => (Selection::WIRE, Print::Wire),
    };
    if args.json {
        print = Print::Json;
    } else if args.summary {
        print = Print::Summary;
    }
    let settings = DecodeSettings { selection, registry: Arc::clone(fields.registry()), ..offline_settings() };
    let (mut failed, mut out) = (false, io::stdout().lock());
    for path in &args.files {
        match one_file(path, &settings, &mut print, &mut out) {
            Ok(whole) => failed |= !whole,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
            Err(error) => return Err(error).context("cannot write to standard output"),
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What is printed of a file.
#[derive(Debug)]
enum Print {
    /// Flows as they came over the wire.
    Wire,
    /// Flows as a collector would print them.
    Lines(Lines),
    /// Counts.
    Summary,
    /// The same as JSON.
    Json,
}

/// Decodes a file, prints it, and says on stderr what was not used. True if it was read to its end.
fn one_file(path: &Path, settings: &DecodeSettings, print: &mut Print, out: &mut impl Write) -> io::Result<bool> {
    let mut capture = match Capture::open(path) {
        Ok(capture) => capture,
        Err(error) => {
            tell(error);
            return Ok(false);
        }
    };
    let mut lines = Vec::with_capacity(FLUSH_OCTETS * 2);
    let summary = decode_with(&mut capture, settings.clone(), |batch| {
        for (index, record) in batch.records.iter().enumerate() {
            match print {
                Print::Wire => write_ndjson(record, batch, index, &mut lines),
                Print::Lines(print) => print.write(batch, index, &mut lines),
                Print::Summary | Print::Json => return Ok(()),
            }
            lines.push(b'\n');
            if lines.len() >= FLUSH_OCTETS {
                out.write_all(&lines)?;
                lines.clear();
            }
        }
        Ok(())
    })?;
    if let Print::Json = print {
        writeln!(lines, "{}", summary.to_json(capture.name()))?;
    } else if matches!(print, Print::Summary) {
        write!(lines, "{}: {summary}", capture.name())?;
    }
    out.write_all(&lines)?;
    out.flush()?;
    for problem in summary.problems() {
        tell(format_args!("{}: {problem}", capture.name()));
    }
    if let Some(damage) = &summary.damage {
        tell(damage);
    }
    Ok(summary.damage.is_none())
}

/// Decodes a capture to its end with fresh state; `flows` gets the flows of each datagram that had
/// any, in order.
///
/// # Errors
/// Those of `flows`. Damage of the capture stands in the summary.
pub fn decode_capture(
    capture: &mut Capture,
    selection: Selection,
    flows: impl FnMut(&FlowBatch) -> io::Result<()>,
) -> io::Result<Summary> {
    decode_with(capture, DecodeSettings { selection, ..offline_settings() }, flows)
}

/// The settings of a capture's exporters.
fn offline_settings() -> DecodeSettings {
    DecodeSettings { park_age_ns: PARK_AGE_NS, ..DecodeSettings::default() }
}

fn decode_with(
    capture: &mut Capture,
    settings: DecodeSettings,
    mut flows: impl FnMut(&FlowBatch) -> io::Result<()>,
) -> io::Result<Summary> {
    let mut offline = Offline::new(settings);
    let damage = loop {
        match capture.next_datagram() {
            Ok(Some(datagram)) => {
                let batch = offline.datagram(&datagram);
                if !batch.is_empty() {
                    flows(batch)?;
                }
            }
            Ok(None) => break None,
            Err(error) => break Some(error.to_string()),
        }
    };
    while let Some(batch) = offline.flush() {
        if !batch.is_empty() {
            flows(batch)?;
        }
    }
    Ok(Summary { damage, ..offline.finish(capture.counts()) })
}
