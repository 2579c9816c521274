use std::sync::Arc;

use super::*;
use crate::collect::{Pacing, Spell};
use crate::decode::{DomainKey, SequenceUnit, WaitingTemplate};
use crate::flow::Version;

const S: u64 = SECOND_NS;
const NOW: u64 = 1_700_000_000 * S;

fn judge() -> Judge {
    Judge::at(NOW, 60 * S, None)
}

fn domain_status(observation_domain: u32) -> DomainStatus {
    DomainStatus {
        key: DomainKey { session: Session::Any, version: Version::V9, observation_domain },
        templates: 1,
        options_templates: 0,
        parked_sets: 0,
        parked_octets: 0,
        received_units: 0,
        missing_units: 0,
        gap_units: 0,
        next_sequence: None,
        highest_sequence: None,
        messages: 0,
        is_interleaved: false,
        last_seen_ns: NOW,
        storm_since_ns: None,
        clash_ports: None,
        listener: 0,
        assumed_maker: false,
        odd_padding_sets: 0,
        duplicates: 0,
        sequence_unit: SequenceUnit::Datagrams,
        waiting: vec![],
        observed: Observation { noted_ns: NOW, ..Observation::default() },
    }
}

/// An exporter with which nothing is wrong.
fn healthy() -> ExporterStatus {
    ExporterStatus {
        tenant: Arc::from(""),
        address: [192, 0, 2, 1].into(),
        name: None,
        switch_id: "192.0.2.1".into(),
        maker: None,
        known: true,
        is_gateway: false,
        first_seen_ns: NOW - 3_600 * S,
        last_seen_ns: NOW - S,
        datagrams: 100,
        octets: 10_000,
        records: 3_000,
        rejected: 0,
        refused: 0,
        malformed: 0,
        sampling_unknown: 0,
        pace: Pacing { usual_gap_ns: Some(S), ..Pacing::default() },
        domains_evicted: 0,
        domains: vec![domain_status(7)],
        faults: vec![],
    }
}

/// The one fault of `picture`, which must be a `kind`; None if there is none.
fn only(judge: &Judge, picture: &ExporterStatus, kind: FaultKind) -> Option<Fault> {
    let mut faults = judge.faults(picture);
    assert!(faults.len() <= 1, "{faults:?}");
    let fault = faults.pop()?;
    assert_eq!(fault.kind, kind);
    assert!(!fault.evidence.is_empty() && !fault.remedy.is_empty());
    Some(fault)
}

#[test]
fn nothing_is_wrong_with_a_healthy_exporter() {
    assert_eq!(judge().faults(&healthy()), []);
}

#[test]
fn names_are_those_of_the_metric_in_its_order() {
    assert_eq!(FaultKind::ALL.map(FaultKind::label), FAULT_REASONS);
    assert!(FaultKind::ALL.is_sorted());
}

#[test]
fn waiting_for_a_template_shows_ids_since_when_and_the_makers_command() {
    let mut picture = healthy();
    let wait = |id, since_ns, last_ns| WaitingTemplate { id, since_ns, last_ns, sets: 5 };
    picture.domains[0].waiting =
        vec![wait(256, NOW - 1_000 * S, NOW - FAULT_LINGER_S * S), wait(257, NOW - 900 * S, NOW)];
    picture.maker = Some(9);
    let fault = only(&judge(), &picture, FaultKind::WaitingForTemplate).unwrap();
    assert_eq!(fault.since_ns, NOW - 1_000 * S);
    assert!(
        fault.evidence.starts_with("10 data sets") && fault.evidence.contains("256 of v9 domain 7, 257"),
        "{}",
        fault.evidence
    );
    assert!(fault.remedy.contains("template data timeout 60"));
    picture.domains[0].waiting[0].last_ns -= 1;
    let fault = only(&judge(), &picture, FaultKind::WaitingForTemplate).unwrap();
    assert_eq!(fault.since_ns, NOW - 900 * S, "256 no longer comes");
    picture.domains[0].waiting = (0..16).map(|i| wait(300 + i, NOW, NOW)).collect();
    let fault = only(&judge(), &picture, FaultKind::WaitingForTemplate).unwrap();
    assert!(fault.evidence.ends_with("307 of v9 domain 7, 8 more"), "{}", fault.evidence);
    picture.domains[0].waiting.clear();
    assert_eq!(only(&judge(), &picture, FaultKind::WaitingForTemplate), None);
}

#[test]
fn spells_become_faults() {
    let mut picture = healthy();
    let spell = Some(Spell { since_ns: NOW - 5 * S, count: 12 });
    picture.pace.sampling_unknown = spell;
    let fault = only(&judge(), &picture, FaultKind::SamplingUnknown).unwrap();
    assert_eq!(fault.since_ns, NOW - 5 * S);
    assert!(fault.evidence.starts_with("12 records") && fault.remedy.contains("sampling_default"));
    picture.pace = Pacing { malformed: spell, ..Pacing::default() };
    assert!(only(&judge(), &picture, FaultKind::Malformed).unwrap().evidence.starts_with("12 "));
    picture.pace = Pacing { refused: spell, ..Pacing::default() };
    let fault = only(&judge(), &picture, FaultKind::Refused).unwrap();
    assert!(fault.evidence.starts_with("12 datagrams were refused") && fault.since_ns == NOW - 5 * S, "{fault:?}");
}

#[test]
fn a_clash_names_both_ports_and_a_storm_its_domain() {
    let mut picture = healthy();
    picture.domains[0].clash_ports = Some((50_000, 50_001));
    let fault = only(&judge(), &picture, FaultKind::DomainClash).unwrap();
    assert!(fault.evidence.contains("50000 and 50001") && fault.evidence.contains("v9 domain 7"), "{}", fault.evidence);
    picture.domains[0].clash_ports = None;
    picture.domains.push(DomainStatus { storm_since_ns: Some(NOW - S), ..domain_status(8) });
    let fault = only(&judge(), &picture, FaultKind::RedefinitionStorm).unwrap();
    assert!(fault.since_ns == NOW - S && fault.evidence.contains("v9 domain 8"), "{fault:?}");
}

#[test]
fn a_gateway_is_told() {
    let picture = ExporterStatus { is_gateway: true, ..healthy() };
    let fault = only(&judge(), &picture, FaultKind::SourceIsGateway).unwrap();
    assert_eq!(fault.since_ns, picture.first_seen_ns);
}

#[test]
fn nat_shows_by_boot_times_that_take_turns_by_many_of_them_or_by_many_ports() {
    let mut picture = healthy();
    let observed = |boots: &[u32], boot_turns| Observation {
        noted_ns: NOW,
        boots: boots.to_vec(),
        boot_turns,
        boot_turns_since_ns: NOW - 9 * S,
        ..Observation::default()
    };
    picture.domains[0].observed = observed(&[0, 100_000], BOOT_TURNS_MIN - 1);
    assert_eq!(only(&judge(), &picture, FaultKind::LooksLikeNat), None, "a reboot and late datagrams");
    picture.domains[0].observed.boot_turns += 1;
    let fault = only(&judge(), &picture, FaultKind::LooksLikeNat).unwrap();
    assert!(fault.since_ns == NOW - 9 * S && fault.evidence.contains("2 boot times take turns"), "{fault:?}");
    picture.domains[0].observed.noted_ns = NOW - FAULT_LINGER_S * S - 1;
    assert_eq!(only(&judge(), &picture, FaultKind::LooksLikeNat), None, "long ago");

    picture.domains =
        (0..3).map(|d| DomainStatus { observed: observed(&[d * 100_000], 0), ..domain_status(d) }).collect();
    assert_eq!(only(&judge(), &picture, FaultKind::LooksLikeNat), None, "cards of a chassis");
    picture.domains.push(DomainStatus { observed: observed(&[900_000], 0), ..domain_status(9) });
    assert!(only(&judge(), &picture, FaultKind::LooksLikeNat).unwrap().evidence.contains("4 or more boot times"));

    let of_port = |port, observation_domain| DomainStatus {
        key: DomainKey { session: Session::Port(port), version: Version::Ipfix, observation_domain },
        ..domain_status(0)
    };
    picture.domains = vec![of_port(1, 7), of_port(2, 7), of_port(3, 7), of_port(4, 8)];
    assert_eq!(only(&judge(), &picture, FaultKind::LooksLikeNat), None);
    picture.domains.push(of_port(5, 7));
    assert!(only(&judge(), &picture, FaultKind::LooksLikeNat).unwrap().evidence.contains("4 UDP ports"));
    // Two ports that each of two listeners hears are two.
    let heard_at = |port, listener| DomainStatus { listener, ..of_port(port, 7) };
    picture.domains = vec![heard_at(1, 0), heard_at(2, 0), heard_at(1, 1), heard_at(2, 1)];
    assert_eq!(only(&judge(), &picture, FaultKind::LooksLikeNat), None);
}

#[test]
fn a_clock_that_is_off_is_the_exporters_unless_most_are_off_the_same_way() {
    let mut picture = healthy();
    picture.domains[0].observed.skew_ms = -61_200;
    picture.domains[0].observed.skewed_since_ns = NOW - 7 * S;
    let fault = only(&judge(), &picture, FaultKind::ClockSkew).unwrap();
    assert!(fault.since_ns == NOW - 7 * S && fault.evidence.contains("61.2 s behind the receive time"), "{fault:?}");
    let ours = Judge { own_clock_ms: Some(-70_000), ..judge() };
    assert!(only(&ours, &picture, FaultKind::AllSkewed).unwrap().remedy.contains("this host's clock"));
    let other_way = Judge { own_clock_ms: Some(70_000), ..judge() };
    assert!(only(&other_way, &picture, FaultKind::ClockSkew).is_some());
    assert_eq!(skew_of(&judge(), &picture), Some(-61_200));
    picture.domains[0].observed.noted_ns = NOW - FAULT_LINGER_S * S - 1;
    assert_eq!(only(&judge(), &picture, FaultKind::ClockSkew), None);
    assert_eq!(skew_of(&judge(), &picture), None);
}

#[test]
fn offsets_are_told_in_units_that_people_read() {
    for (skew_ms, told) in [
        (61_249, "61.2 s ahead of"),
        (-172_799_999, "172799.9 s behind"),
        (-172_800_000, "2 days behind"),
        (i64::MIN, "106751991167 days behind"),
    ] {
        assert_eq!(offset(skew_ms), told);
    }
}

#[test]
fn our_own_clock_is_the_suspect_if_more_than_half_agree() {
    let bound = (CLOCK_SKEW_MAX_S * 1_000).cast_signed();
    for (skews, expected) in [
        (&[][..], None),
        (&[-90_000, -90_000], None),
        (&[-90_000, -91_000, 5], Some(-90_000)),
        (&[90_000, 91_000, -90_000], Some(90_000)),
        (&[90_000, 91_000, 0, 0], None),
        (&[90_000, 91_000, 92_000, 0], Some(90_000)),
        (&[-90_000, -91_000, -92_000, 0], Some(-90_000)),
        (&[90_000, -90_000, 90_000, -90_000], None),
        (&[bound, bound, bound], None),
        (&[bound + 1, bound + 1, 0], Some(bound + 1)),
        // All are late, each by its own time: captures that are replayed.
        (&[-90_000, -900_000, -9_000_000], None),
        (&[-900_000, -900_000 - bound, -9_000_000], Some(-900_000 - bound)),
        (&[-900_000, -900_001 - bound, -9_000_000], None),
    ] {
        assert_eq!(own_clock(&mut skews.to_vec()), expected, "{skews:?}");
    }
}

#[test]
fn silence_is_more_than_three_usual_gaps_and_at_least_the_hint() {
    let silent_for = |silence_ns, usual_gap_ns| {
        let mut picture = ExporterStatus { last_seen_ns: NOW - silence_ns, ..healthy() };
        picture.pace.usual_gap_ns = usual_gap_ns;
        picture
    };
    for (silence_s, usual_s, expected) in
        [(59, Some(1), false), (60, Some(1), true), (90, Some(30), false), (91, Some(30), true), (86_000, None, false)]
    {
        let picture = silent_for(silence_s * S, usual_s.map(|s: u64| s * S));
        let fault = only(&judge(), &picture, FaultKind::Silent);
        assert_eq!(fault.is_some(), expected, "{silence_s} {usual_s:?}");
        assert!(fault.is_none_or(|f| f.since_ns == picture.last_seen_ns));
    }
    let off = Judge { silence_ns: 0, ..judge() };
    assert_eq!(only(&off, &silent_for(86_000 * S, Some(S)), FaultKind::Silent), None);
}
