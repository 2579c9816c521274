//! An independent witness: records per exporter, domain and template, as tshark counts them, over the corpus.
//!
//! tshark's dissector shares nothing with this decoder. Where it reads otherwise, the capture and the reason stand in
//! `OTHERWISE` and in docs/protocols.md ("Where tshark reads otherwise"). Without the corpus, or without tshark, the
//! test says so and passes.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clarion_collector::decode::Selection;
use clarion_collector::flow::Version;
use clarion_collector::tools::capture::Capture;
use clarion_collector::tools::decode::decode_capture;

/// (exporter, version, domain, template) -> records; template 0 where the version has none.
type Counts = BTreeMap<(String, u16, u32, u16), u64>;

/// A capture, records that only we count by domain and template, and why.
type Otherwise = (&'static str, &'static [(u32, u16, i64)], &'static str);

/// Captures in which tshark counts otherwise.
const OTHERWISE: &[Otherwise] = &[
    (
        "ipfix_cisco_options_reassign",
        &[(33_312, 347, 9)],
        "it keeps templates apart by UDP port; another port sent them",
    ),
    ("v9_h3c", &[(2_816, 3_281, 16)], "it gives a record up over an address of 2 octets"),
    ("v9_h3c_varstring", &[(0, 3_281, 1)], "it knows no variable length in NetFlow v9"),
    ("v9_softflowd_mixed", &[(0, 1_024, 8)], "it drops sets that come before their template"),
    ("v9_softflowd_wrong_count", &[(0, 1_024, 1), (0, 2_048, 2)], "it stops at the header's count, which is too small"),
    ("v9_templates_and_data_mixed", &[(17_170_432, 257, 11)], "it drops sets that come before their template"),
];

/// What tshark says. Data sets of options templates are left out: by their ids, which PDML names.
fn theirs(path: &Path) -> Option<Counts> {
    // Exporters use any port, and some of them ports of other protocols.
    let decode_as = ["-d", "udp.port==1-65535,cflow"];
    let output = match Command::new("tshark").args(["-n", "-T", "pdml", "-r"]).arg(path).args(decode_as).output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("SKIPPED: tshark: {error}");
            return None;
        }
    };
    assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("PDML is UTF-8");
    let mut counts = Counts::new();
    let mut options: BTreeSet<(String, u32, u16)> = BTreeSet::new();
    let (mut exporter, mut version, mut domain, mut engine) = (String::new(), 0_u16, 0_u32, 0_u32);
    for line in text.lines() {
        let value = |name: &str| {
            let line = line.trim_start().strip_prefix("<field name=\"")?.strip_prefix(name)?.strip_prefix('"')?;
            line.split_once("show=\"")?.1.split_once('"').map(|(value, _)| value)
        };
        let number = |name| value(name).and_then(|v| v.parse::<u32>().ok());
        if let Some(address) = value("ip.src").or(value("ipv6.src")) {
            (exporter, domain, engine) = (address.to_owned(), 0, 0);
        }
        version = number("cflow.version").and_then(|v| u16::try_from(v).ok()).unwrap_or(version);
        domain = number("cflow.source_id").or(number("cflow.od_id")).unwrap_or(domain);
        engine = number("cflow.engine_type").map_or(engine, |v| v << 8);
        domain = number("cflow.engine_id").map_or(domain, |v| engine | v);
        let Some(show) = value("") else { continue };
        let mut add = |template, records| {
            if records != 0 {
                *counts.entry((exporter.clone(), version, domain, template)).or_default() += records;
            }
        };
        if show.starts_with("pdu ") {
            add(0, 1);
        } else if let Some((_, rest)) =
            show.split_once("[id=").filter(|_| show.starts_with("FlowSet ") || show.starts_with("Set "))
        {
            // Without a template there is nothing behind the id.
            let Some((id, what)) = rest.split_once("] (") else { continue };
            let id: u16 = id.parse().expect("a set id");
            if let Some(ids) = what.strip_prefix("Options Template): ") {
                let ids = ids.split(',').filter_map(|id| id.trim().parse().ok());
                options.extend(ids.map(|id| (exporter.clone(), domain, id)));
            } else if let Some(flows) = what.strip_suffix(" flows)")
                && !options.contains(&(exporter.clone(), domain, id))
            {
                add(id, flows.parse().expect("a number of flows"));
            }
        }
    }
    Some(counts)
}

/// The same by the command `decode`.
fn ours(path: &Path) -> Counts {
    let summary = decode_capture(&mut Capture::open(path).unwrap(), Selection::WIRE, |_| Ok(())).unwrap();
    let mut counts = Counts::new();
    for (address, exporter) in summary.exporters {
        for ((version, domain), found) in exporter.domains {
            for (template, records) in found.templates {
                assert_eq!(template == 0, version < Version::V9, "fixed formats alone have no template");
                counts.insert((address.to_string(), version as u16, domain, template), records);
            }
        }
    }
    counts
}

fn captures(corpus: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries.filter(|p| p.extension().is_some_and(|e| e == "pcap")).collect();
    paths.sort();
    paths
}

#[test]
fn tshark_counts_the_same_records_per_template() {
    let Some(corpus) = common::corpus() else { return };
    let (mut wrong, mut records, mut compared) = (Vec::new(), 0, 0);
    let paths = captures(&corpus);
    // Half a second to start each: side by side.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let all: Vec<Option<Counts>> = std::thread::scope(|scope| {
        let parts = paths.chunks(paths.len().div_ceil(threads));
        let running: Vec<_> =
            parts.map(|part| scope.spawn(|| part.iter().map(|path| theirs(path)).collect::<Vec<_>>())).collect();
        running.into_iter().flat_map(|thread| thread.join().expect("a part")).collect()
    });
    for (path, theirs) in paths.iter().zip(all) {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let Some(mut theirs) = theirs else { return };
        let ours = ours(path);
        let declared = OTHERWISE.iter().find(|(declared, ..)| *declared == name);
        for (domain, template, more) in declared.map_or(&[][..], |(_, more, _)| *more) {
            let mine = ours.keys().find(|key| (key.2, key.3) == (*domain, *template)).expect("a template of ours");
            let count = theirs.entry(mine.clone()).or_default();
            *count = count.checked_add_signed(*more).expect("records");
        }
        theirs.retain(|_, records| *records != 0);
        if ours != theirs {
            let keys: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
            let differ = keys.into_iter().filter(|key| ours.get(*key) != theirs.get(*key));
            let shown = differ.map(|key| format!("\n  {key:?}: {:?}, tshark {:?}", ours.get(key), theirs.get(key)));
            wrong.push(format!("{name}:{}", shown.collect::<String>()));
        }
        records += ours.values().sum::<u64>();
        compared += 1;
    }
    assert!(wrong.is_empty(), "{} of {compared} captures differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(records > 1_000 && compared > 60, "{records} records of {compared} captures");
}
