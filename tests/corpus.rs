//! Real captures, offline: what `decode` makes of them is held against the expected records.
//!
//! The captures are not part of this repository; without them (CLARION_SHARED, or ../shared) these
//! tests say so and pass. The comparison is the corpus's own compare.py, run with every key and every
//! element. Captures that a later version must win stand in `LATER`, with the reason.

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use clarion_collector::decode::{
    Datagram, DecodeSettings, Domain, DomainKey, ExporterState, OptionsStatus, Selection, Session, decode, identify,
};
use clarion_collector::flow::{Exporter, Field, FieldSet, FlowBatch, Value};
use clarion_collector::limits::FLOW_BATCH_RECORDS_MAX;
use clarion_collector::sink::encode::ndjson::write_ndjson;
use clarion_collector::tools::capture::Capture;
use clarion_collector::tools::decode::decode_capture;

/// Captures whose expected records are not reached yet: (name, why).
const LATER: &[(&str, &str)] = &[];

fn captures(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "pcap"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{}", folder.display());
    paths
}

fn decode_to(path: &Path, out: &Path) -> usize {
    let mut capture = Capture::open(path).unwrap();
    let (mut lines, mut records) = (Vec::new(), 0);
    decode_capture(&mut capture, Selection::WIRE, |batch| {
        for (index, record) in batch.records.iter().enumerate() {
            write_ndjson(record, batch, index, &mut lines);
            lines.push(b'\n');
            records += 1;
        }
        Ok(())
    })
    .unwrap();
    fs::write(out, lines).unwrap();
    records
}

#[test]
fn every_capture_decodes_to_its_expected_records() {
    let Some(corpus) = common::corpus() else { return };
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("SKIPPED: compare.py needs python3");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let later: BTreeMap<&str, &str> = LATER.iter().copied().collect();
    let (mut wrong, mut won, mut compared) = (Vec::new(), Vec::new(), 0);
    for path in captures(&corpus) {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let expected = corpus.join(format!("{name}.expected.json"));
        assert!(expected.is_file(), "{name} has no expected records");
        let out = folder.path().join(format!("{name}.ndjson"));
        decode_to(&path, &out);
        let verdict = Command::new("python3").arg(corpus.join("compare.py")).args([&out, &expected]).output().unwrap();
        compared += 1;
        match (verdict.status.success(), later.get(name.as_str())) {
            (true, None) => {}
            (false, Some(why)) => eprintln!("LATER: {name}: {why}"),
            (true, Some(_)) => won.push(name),
            (false, None) => wrong.push(String::from_utf8_lossy(&verdict.stdout).into_owned()),
        }
    }
    assert!(wrong.is_empty(), "{} of {compared} captures differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(won.is_empty(), "take these out of LATER: {won:?}");
}

#[test]
fn malformed_and_foreign_captures_do_no_harm() {
    let Some(corpus) = common::corpus() else { return };
    let folder = tempfile::tempdir().unwrap();
    for path in captures(&corpus.join("malformed")) {
        decode_to(&path, &folder.path().join("out"));
    }
    for path in captures(&corpus.join("sflow")) {
        assert_eq!(decode_to(&path, &folder.path().join("out")), 0, "{}", path.display());
    }
}

/// What the rows of a capture say in `field`, each text once.
fn texts(path: &Path, field: Field) -> BTreeSet<String> {
    let selection = Selection { fields: FieldSet::ALL, ..Selection::CAPTURE };
    let mut texts = BTreeSet::new();
    decode_capture(&mut Capture::open(path).unwrap(), selection, |batch| {
        for said in batch.fields.iter().filter(|said| said.field == field) {
            let Value::Octets { offset, length } = said.value else { panic!("{field:?} is text") };
            let octets = &batch.octets[offset as usize..][..usize::from(length)];
            texts.insert(String::from_utf8(octets.to_vec()).unwrap());
        }
        Ok(())
    })
    .unwrap();
    texts
}

#[test]
fn names_of_options_tables_stand_in_the_rows() {
    let Some(corpus) = common::corpus() else { return };
    // Routers that say what their interfaces, VRFs and samplers are called, and rows that name them by number.
    let expected = [
        ("ipfix_cisco_mpls_vpn_401", Field::InputIfName, "TenGigE0_0_0_16.12"),
        ("ipfix_cisco_mpls_vpn_401", Field::InputIfDescription, "TenGigE0/0/0/16.12"),
        ("ipfix_cisco_mpls_vpn_401", Field::IngressVrf, "A2"),
        ("ipfix_cisco_mpls_vpn_401", Field::SamplerName, "NETFLOW-SAMPLER-MAP"),
        ("ipfix_cisco_srv6_400", Field::InputIfName, "HundredGigE0_0_0_11"),
    ];
    for (name, field, wanted) in expected {
        let texts = texts(&corpus.join(format!("{name}.pcap")), field);
        assert!(texts.contains(wanted), "{name}: {field:?} is {texts:?}");
    }
}

/// What the options records of a capture told, exporter by exporter.
fn options_of(path: &Path) -> BTreeMap<IpAddr, OptionsStatus> {
    let mut exporters: BTreeMap<IpAddr, (Arc<ExporterState>, HashMap<DomainKey, Domain>)> = BTreeMap::new();
    let mut capture = Capture::open(path).unwrap();
    let mut batch = FlowBatch::with_capacity(FLOW_BATCH_RECORDS_MAX);
    while let Some(captured) = capture.next_datagram().unwrap() {
        let Ok(header) = identify(captured.octets) else { continue };
        let (state, domains) = exporters.entry(captured.src.ip()).or_insert_with(|| {
            let exporter = Arc::new(Exporter::of_address(captured.src.ip()));
            (Arc::new(ExporterState::new(exporter, DecodeSettings::default(), Arc::default())), HashMap::new())
        });
        let observation_domain = header.observation_domain;
        let key = DomainKey { session: Session::Any, version: header.version, observation_domain };
        let domain = domains.entry(key).or_insert_with(|| Domain::new(key, Arc::clone(state), None));
        let datagram = Datagram { peer: captured.src, receive_ns: captured.time_ns, octets: captured.octets };
        batch.clear();
        decode(&datagram, &header, domain, &mut batch);
    }
    exporters.into_iter().map(|(address, (state, _))| (address, state.options_status())).collect()
}

#[test]
fn options_tables_of_the_captures_show() {
    let Some(corpus) = common::corpus() else { return };
    let first = |name: &str| {
        let mut all = options_of(&corpus.join(format!("{name}.pcap"))).into_values();
        let status = all.next().unwrap();
        assert!(all.next().is_none(), "{name} has one exporter");
        status
    };
    let entries =
        |status: &OptionsStatus, table: &str| status.entries.iter().find(|(name, _)| *name == table).unwrap().1;
    // Tables of applications and interfaces without a flow that names them.
    assert_eq!(entries(&first("v9_cisco_nbar_options260"), "applications"), 15);
    let telegraf = first("v9_telegraf_options");
    assert_eq!(telegraf.interfaces.len(), 8);
    let loopback = telegraf.interfaces.iter().find(|i| i.id == 10).unwrap();
    assert_eq!((&*loopback.name, &*loopback.description), ("Lo0", "Loopback0"));
    let juniper = first("ipfix_juniper_mx240_options");
    assert_eq!((juniper.boot_ms.len(), juniper.domain_rates.len(), juniper.addresses.len()), (1, 1, 1));
    assert_eq!(first("v9_fortigate_521").domain_rates.len(), 1);
    let cisco = first("ipfix_cisco_mpls_vpn_401");
    assert_eq!((cisco.vrfs.len(), cisco.interfaces.len(), cisco.boot_ms.len()), (6, 5, 1));
    assert_eq!(&*cisco.samplers[0].name, "NETFLOW-SAMPLER-MAP");
}
