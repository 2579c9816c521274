//! docs/metrics.md against the catalogue, and the text format against promtool.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use clarion_collector::decode::{DecodeErrorKind, SetDropKind};
use clarion_collector::metrics::{
    CATALOG, DROP_REASONS, EXPORTER_CATALOG, ExporterFigures, FAULT_REASONS, Metrics, PREFIX, REFUSE_REASONS, Shape,
    exporters_text,
};

fn document() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md")).unwrap()
}

/// Cells of the table rows of `text`, head and rule left out.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().filter(|line| line.starts_with("| `")).map(|line| {
        let line = line.trim_start_matches('|').trim_end().trim_end_matches('|');
        line.split('|').map(|cell| cell.trim().trim_matches('`')).collect()
    })
}

#[test]
fn the_document_lists_every_metric_with_its_type_and_labels_and_no_other() {
    let document = document();
    let (metrics, _) = document.split_once("\n## Reasons").unwrap();
    let mut documented = BTreeMap::new();
    for row in rows(metrics) {
        let [name, kind, labels, meaning, remedy] = row[..] else { panic!("not five cells: {row:?}") };
        assert!(meaning.ends_with('.') && !remedy.is_empty(), "{name}: meaning and remedy are sentences");
        let before = documented.insert(name.to_owned(), (kind.to_owned(), labels.to_owned()));
        assert_eq!(before, None, "{name} stands twice");
    }
    let registered: BTreeMap<_, _> = CATALOG
        .iter()
        .chain(EXPORTER_CATALOG)
        .map(|d| (format!("{PREFIX}{}", d.name), (d.kind.text_type(d.name).to_owned(), d.labels.join(", "))))
        .collect();
    for (name, is) in &registered {
        assert_eq!(documented.get(name), Some(is), "{name} (left: docs/metrics.md, right: the program)");
    }
    for name in documented.keys() {
        assert!(registered.contains_key(name), "{name} is in docs/metrics.md and not in the program");
    }
}

#[test]
fn the_document_explains_every_reason_and_no_other() {
    let document = document();
    let table = |title: &str, keys: usize| -> Vec<String> {
        let (_, section) = document.split_once(&format!("\n### {title}\n")).unwrap_or_else(|| panic!("no {title}"));
        let section = section.split("\n### ").next().unwrap();
        rows(section)
            .map(|row| {
                assert_eq!(row.len(), keys + 2, "{row:?}");
                row[..keys].join("/")
            })
            .collect()
    };
    assert_eq!(table("exporters_with_fault by reason", 1), FAULT_REASONS);
    assert_eq!(table("datagrams_refused_total by reason", 1), REFUSE_REASONS);
    assert_eq!(table("datagrams_rejected_total by reason", 1), DecodeErrorKind::ALL.map(DecodeErrorKind::label));
    assert_eq!(table("sets_undecodable_total by reason", 1), SetDropKind::ALL.map(SetDropKind::label));
    assert_eq!(
        table("records_dropped_total by stage and reason", 2),
        DROP_REASONS.map(|(stage, reason)| format!("{stage}/{reason}"))
    );
}

#[test]
fn links_inside_the_document_lead_somewhere() {
    let document = document();
    let anchors: Vec<String> = document
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .map(|title| title.to_lowercase().replace(' ', "-"))
        .collect();
    let mut links = 0;
    for part in document.split("](#").skip(1) {
        let target = part.split(')').next().unwrap();
        assert!(anchors.iter().any(|a| a == target), "#{target} leads nowhere: {anchors:?}");
        links += 1;
    }
    assert!(links >= 4);
}

fn busy() -> Arc<Metrics> {
    let metrics = Metrics::new(&Shape {
        listeners: vec!["2055".into(), "core \"a\"\\".into()],
        workers: 3,
        batchers: 2,
        sink: "backend",
        instance: "pod-0 \"x\"\nnext".into(),
    });
    metrics.worker(0).sockets[1].received.add(7);
    metrics.worker(0).busy_ns.add(1_234_567_890);
    metrics.batcher(1).batch_records.record(1_000.0);
    metrics.batcher(1).encode_seconds.record(0.000_2);
    metrics.sink().request("503");
    metrics.sink().request_seconds.record(0.04);
    metrics.sink().lag.record(5.1, 1_000);
    metrics
}

fn promtool(text: &str) -> Option<(bool, String)> {
    let spawned = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            eprintln!("SKIPPED: promtool cannot be run ({error}); install the package prometheus to check the format");
            return None;
        }
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

#[test]
fn promtool_finds_nothing_to_say() {
    let exporters =
        [ExporterFigures { exporter: "a\"b\\\n/192.0.2.1".into(), records: 1, ..ExporterFigures::default() }];
    for text in [busy().render(), exporters_text(&exporters), exporters_text(&[])] {
        let Some((clean, said)) = promtool(&text) else { return };
        assert!(clean && said.trim().is_empty(), "{said}\n{text}");
    }
    // The check itself: a text that it must not like.
    let (clean, _) = promtool("# TYPE x_total gauge\nx_total{a=\"} 1\n").unwrap();
    assert!(!clean);
}
