//! What was kept is taught again: the same plans, the same rows of what follows, and never more than the wire could do.

use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::names::{options, text_of};
use super::*;
use crate::decode::TemplateEventKind::{Corrected, Expired, Restored as RestoredEvent};
use crate::flow::{Field, FieldSet};

const SECOND_NS: u64 = 1_000_000_000;

/// Everything that `from` has learned, for people and comparisons, in an order of its own.
fn told(from: &Domain) -> Vec<String> {
    let mut lessons = Vec::new();
    from.export(RECEIVE_NS, |lesson| lessons.push(format!("{lesson:?}")));
    for table in SharedTable::ALL {
        from.exporter.export(table, |lesson| lessons.push(format!("{lesson:?}")));
    }
    lessons.sort();
    lessons
}

/// Teaches `to` what `from` has learned; what became of each lesson.
fn teach(from: &Domain, to: &Domain) -> Vec<Restored> {
    let mut became = Vec::new();
    from.export(RECEIVE_NS, |lesson| became.push(to.restore(lesson, RECEIVE_NS)));
    for table in SharedTable::ALL {
        from.exporter.export(table, |lesson| became.push(to.restore(lesson, RECEIVE_NS)));
    }
    became
}

fn everything() -> DecodeSettings {
    let selection = Selection { fields: FieldSet::ALL, ..Selection::CORE };
    let profile = Profile { teaches_elements: true, enterprise_in_v9: true, ..Profile::default() };
    DecodeSettings { selection, profile, ..DecodeSettings::default() }
}

fn a_template<'a>(octets: &'a [u8]) -> TemplateLesson<'a> {
    TemplateLesson {
        form: TemplateForm::Netflow9,
        options: false,
        author: 9,
        flow_keys: 0,
        learned_ns: RECEIVE_NS - 100 * SECOND_NS,
        refreshed_ns: RECEIVE_NS - 50 * SECOND_NS,
        interval_ns: 50 * SECOND_NS,
        used_ns: 0,
        octets,
    }
}

/// Rates by interface and by sampler, a boot time, names, flow keys, an element of its own: told once, before a restart.
#[test]
fn what_follows_a_restart_is_read_as_before() {
    let mut before = Bench::with(everything());
    let mut after = Bench::with(everything());
    let of = before.domain(Version::Ipfix, 7);
    let again = after.domain(Version::Ipfix, 7);
    let fields =
        [(0, 8, 4), (0, 12, 4), (0, 10, 4), (0, 302, 2), (0, 1, 4), (0, 22, 4), (0, 21, 4), (999_999, 5, 65_535)];
    let sets = [
        set(2, &list::fields(256, &fields)),
        set(3, &options(257, 1, &[(0, 302, 2), (0, 305, 4), (0, 306, 4)])),
        set(257, &[&[0, 3][..], &1_u32.to_be_bytes(), &99_u32.to_be_bytes()].concat()),
        set(3, &options(258, 1, &[(0, 10, 4), (0, 82, 65_535), (0, 34, 4)])),
        set(258, &[&5_u32.to_be_bytes()[..], &[4], b"eth5", &20_u32.to_be_bytes()].concat()),
        set(3, &options(259, 1, &[(0, 149, 4), (0, 160, 8), (0, 300, 65_535)])),
        set(
            259,
            &[&7_u32.to_be_bytes()[..], &(u64::from(EXPORT_S) * 1_000 - 9_000).to_be_bytes(), &[4], b"core"].concat(),
        ),
        set(3, &options(260, 2, &[(0, 346, 4), (0, 303, 2), (0, 339, 1), (0, 341, 65_535)])),
        set(260, &[&999_999_u32.to_be_bytes()[..], &[0, 5, 13, 9], b"hatColour"].concat()),
        set(3, &options(261, 1, &[(0, 145, 2), (0, 173, 8)])),
        set(261, &[&256_u16.to_be_bytes()[..], &3_u64.to_be_bytes()].concat()),
    ];
    let outcome = before.decode(&of, &ipfix(7, 1, &sets));
    assert_eq!((outcome.templates_rejected, outcome.sets_parked, outcome.options_records), (0, 0, 5), "{outcome:?}");
    assert!(teach(&of, &again).iter().all(|became| *became == Restored::Taken), "{:#?}", told(&of));
    assert_eq!(told(&again), told(&of));
    assert!(told(&again).iter().any(|lesson| lesson.starts_with("Element")), "{:#?}", told(&again));
    let lists_of = |bench: &Bench, domain: &Domain| (domain.templates().len(), bench.state.options_entries());
    assert_eq!(lists_of(&after, &again), lists_of(&before, &of));

    let row = |interface: u32, sampler: u16| {
        let numbers = |numbers: &[u32]| numbers.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<_>>();
        let ids = [numbers(&[0x0A00_0001, 0x0A00_0002, interface]), sampler.to_be_bytes().to_vec()].concat();
        [ids, numbers(&[77, 1_000, 2_000]), vec![3], b"red".to_vec()].concat()
    };
    let data = ipfix(7, 6, &[set(256, &[row(5, 9), row(6, 3)].concat())]);
    let outcomes = [before.decode(&of, &data), after.decode(&again, &data)];
    assert_eq!((outcomes[1].records, outcomes[1].sets_parked, outcomes[1].sampling_unknown), (2, 0, 0));
    assert_eq!(after.batch.records, before.batch.records);
    let names = |bench: &Bench| [0, 1].map(|row| text_of(bench, row, Field::InputIfName));
    assert_eq!(names(&after), names(&before));
    assert_eq!(names(&after)[0].as_deref(), Some("eth5"));
    assert_eq!(after.batch.records.iter().map(FlowRecord::rate).collect::<Vec<_>>(), [20, 100]);
}

#[test]
fn a_restored_template_is_provisional_until_its_exporter_speaks() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    let octets = template(256, &TEMPLATE);
    let other = template(257, &TEMPLATE);
    for octets in [&octets, &other] {
        assert_eq!(domain.restore(&Lesson::Template(a_template(octets)), RECEIVE_NS), Restored::Taken);
    }
    let shown = domain.templates();
    assert_eq!(shown.iter().map(|t| t.restored).collect::<Vec<_>>(), [true, true]);
    assert_eq!(shown[0].learned_ns, RECEIVE_NS - 100 * SECOND_NS);
    assert_eq!(shown[0].refreshed_ns, RECEIVE_NS - 50 * SECOND_NS);
    assert_eq!(shown[0].refresh_interval_ns, Some(50 * SECOND_NS));
    // The same layout confirms it, another one wins at once.
    let sets = [set(0, &octets), set(0, &template(257, &[1, 4])), set(257, &[0, 0, 0, 9])];
    let outcome = bench.decode(&domain, &v9(7, 1, &sets));
    assert_eq!((outcome.templates_learned, outcome.records, bench.last().bytes), (1, 1, 9));
    assert_eq!(domain.templates().iter().map(|t| t.restored).collect::<Vec<_>>(), [false, false]);
    let events: Vec<_> = bench.state.template_events().iter().map(|e| (e.template_id, e.kind)).collect();
    assert_eq!(events, [(256, RestoredEvent), (257, RestoredEvent), (257, Corrected)]);
    // And from now on nothing that was kept takes its place.
    let late = Lesson::Template(TemplateLesson { refreshed_ns: u64::MAX, ..a_template(&other) });
    assert_eq!(domain.restore(&late, RECEIVE_NS), Restored::Known);
    assert_eq!(domain.templates()[1].fields.len(), 1);
}

/// An exporter that sends templates each minute left one out when the collector was away, and goes on leaving it out.
#[test]
fn a_restored_template_expires_when_it_would_have() {
    let mut bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    let (kept, gone) = (template(256, &TEMPLATE), template(257, &TEMPLATE));
    for octets in [&kept, &gone] {
        domain.restore(&Lesson::Template(a_template(octets)), RECEIVE_NS);
    }
    let late_ns = RECEIVE_NS + (limits::TEMPLATE_AGE_V9_S - 100) * SECOND_NS;
    bench.decode_at(&domain, &v9(7, 1, &[set(0, &kept)]), late_ns);
    assert_eq!(domain.expire_templates(late_ns), 0);
    let later_ns = RECEIVE_NS + limits::TEMPLATE_AGE_V9_S * SECOND_NS;
    bench.decode_at(&domain, &v9(7, 2, &[set(0, &kept)]), later_ns);
    assert_eq!(domain.expire_templates(later_ns), 1);
    assert_eq!(bench.state.template_events().last().map(|e| (e.template_id, e.kind)), Some((257, Expired)));
}

#[test]
fn the_newer_of_two_that_were_kept_wins() {
    let bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    let (old, new) = (template(256, &TEMPLATE), template(256, &[1, 4]));
    let at = |octets, age: u64| {
        let ns = RECEIVE_NS - age * SECOND_NS;
        Lesson::Template(TemplateLesson { learned_ns: ns, refreshed_ns: ns, ..a_template(octets) })
    };
    assert_eq!(domain.restore(&at(&old, 60), RECEIVE_NS), Restored::Taken);
    assert_eq!(domain.restore(&at(&new, 30), RECEIVE_NS), Restored::Taken);
    assert_eq!(domain.restore(&at(&old, 45), RECEIVE_NS), Restored::Known);
    assert_eq!(domain.templates()[0].fields.len(), 1);
    // The same layout, heard later by another replica: only its age changes.
    assert_eq!(domain.restore(&at(&new, 10), RECEIVE_NS), Restored::Known);
    assert_eq!(domain.templates()[0].refreshed_ns, RECEIVE_NS - 10 * SECOND_NS);
    assert!(domain.templates()[0].restored);
}

#[test]
fn ports_have_their_own_and_lend_them_to_their_address() {
    let mut before = Bench::new();
    let shared = before.domain(Version::Ipfix, 7);
    let port = before.port(4_000, &shared);
    before.decode_from(&port, &ipfix(7, 1, &[set(2, &template(256, &TEMPLATE))]), 4_000);
    assert!(told(&shared).is_empty(), "what is lent is told by who lends it");
    let mut after = Bench::new();
    let shared_again = after.domain(Version::Ipfix, 7);
    let port_again = after.port(4_000, &shared_again);
    teach(&port, &port_again);
    let data = ipfix(7, 2, &[set(256, &row(5))]);
    assert_eq!(after.decode_from(&port_again, &data, 4_000).records, 1);
    assert_eq!(after.decode_from(&shared_again, &data, 4_001).records, 1);
}

/// N9-28: enterprise fields of IPFIX's form in NetFlow v9, beside field types that use bit 15 for themselves.
#[test]
fn n9_28_both_forms_of_v9_templates_are_the_same_when_they_were_kept() {
    let mut before = Bench::with(everything());
    let after = Bench::with(everything());
    let (of, again) = (before.domain(Version::V9, 7), after.domain(Version::V9, 7));
    let enterprise = words(&[256, 2, 8, 4, 0x8001, 4, 0, 9]);
    let sets = [set(0, &enterprise), set(0, &template(257, &[8, 4, 0x9001, 4]))];
    assert_eq!(before.decode(&of, &v9(7, 1, &sets)).templates_learned, 2);
    let mut forms = Vec::new();
    of.export(RECEIVE_NS, |lesson| {
        if let Lesson::Template(told) = lesson {
            forms.push(told.form);
        }
    });
    assert_eq!(forms, [TemplateForm::Ipfix, TemplateForm::Netflow9]);
    assert!(teach(&of, &again).iter().all(|became| *became == Restored::Taken));
    assert_eq!(told(&again), told(&of));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    let (sound, two) = (template(256, &TEMPLATE), [template(256, &TEMPLATE), template(257, &TEMPLATE)].concat());
    let refused = |lesson: TemplateLesson<'_>| {
        assert_eq!(domain.restore(&Lesson::Template(lesson), RECEIVE_NS), Restored::Refused, "{lesson:?}");
    };
    refused(a_template(&two));
    refused(a_template(&sound[..10]));
    refused(a_template(&template(255, &TEMPLATE)));
    refused(a_template(&[]));
    // Enterprise fields in v9 only where the exporter's profile says so.
    refused(TemplateLesson { form: TemplateForm::Ipfix, ..a_template(&sound) });
    let of_ipfix = bench.domain(Version::Ipfix, 7);
    assert_eq!(of_ipfix.restore(&Lesson::Template(a_template(&sound)), RECEIVE_NS), Restored::Refused);
    assert!(domain.templates().is_empty());

    let rate = Lesson::Sampling { domain: 7, scope: None, rate: limits::SAMPLING_RATE_MAX + 1 };
    assert_eq!(domain.restore(&rate, RECEIVE_NS), Restored::Refused);
    let name = |kind, key, text| Lesson::Name(NameLesson { kind, domain: 7, key, texts: [text, b"", b""] });
    assert_eq!(domain.restore(&name(NameKind::Interface, b"abc", b"x"), RECEIVE_NS), Restored::Refused);
    assert_eq!(domain.restore(&name(NameKind::Domain, b"a", b"x"), RECEIVE_NS), Restored::Refused);
    assert_eq!(domain.restore(&name(NameKind::Application, &[0; 33], b"x"), RECEIVE_NS), Restored::Refused);
    assert_eq!(domain.restore(&name(NameKind::Vrf, &[0; 4], b""), RECEIVE_NS), Restored::Refused);
    assert_eq!(domain.restore(&Lesson::Identity(IdentityLesson::default()), RECEIVE_NS), Restored::Refused);
    let taught = Bench::with(everything());
    let of_any = taught.domain(Version::V9, 7);
    let element = |pen, id, data_type, name| Lesson::Element { pen, id, data_type, name };
    for lesson in
        [element(0, 9, 0, &b"x"[..]), element(9, 0x8000, 0, b"x"), element(9, 1, 99, b"x"), element(9, 1, 0, b"a b")]
    {
        assert_eq!(of_any.restore(&lesson, RECEIVE_NS), Restored::Refused, "{lesson:?}");
    }
    // One that may not teach elements teaches none that was kept.
    assert_eq!(domain.restore(&element(9_999, 1, 0, b"x"), RECEIVE_NS), Restored::Refused);
    assert_eq!(of_any.restore(&element(9_999, 1, 0, b"x"), RECEIVE_NS), Restored::Taken);
    assert_eq!(bench.state.options_entries(), 0);
}

#[test]
fn no_age_lies_in_the_future() {
    let bench = Bench::new();
    let domain = bench.domain(Version::V9, 7);
    let octets = template(256, &TEMPLATE);
    let (learned_ns, refreshed_ns) = (u64::MAX, 0);
    let lesson =
        TemplateLesson { learned_ns, refreshed_ns, interval_ns: u64::MAX, used_ns: u64::MAX, ..a_template(&octets) };
    domain.restore(&Lesson::Heard { heard_ns: u64::MAX, firewall_updates: false }, RECEIVE_NS);
    assert_eq!(domain.restore(&Lesson::Template(lesson), RECEIVE_NS), Restored::Taken);
    let shown = &domain.templates()[0];
    assert_eq!((shown.learned_ns, shown.refreshed_ns), (RECEIVE_NS, RECEIVE_NS));
    assert_eq!(domain.heard_ns.load(Ordering::Acquire), RECEIVE_NS);
    domain.expire_templates(u64::MAX);
}

#[test]
fn a_10_what_is_restored_stays_within_the_bounds_and_gives_back_what_it_took() {
    let bench = Bench::with_learned_octets(4_096);
    let budget = Arc::clone(&bench.state.budget);
    let domain = bench.domain(Version::V9, 7);
    let mut taken = 0;
    for id in 256..400 {
        let octets = template(id, &TEMPLATE);
        taken += usize::from(domain.restore(&Lesson::Template(a_template(&octets)), RECEIVE_NS) == Restored::Taken);
        let rate = Lesson::Sampling { domain: 7, scope: Some(SamplingEntryScope::Interface(id.into())), rate: 5 };
        domain.restore(&rate, RECEIVE_NS);
        assert!(budget.learned_octets.load(Ordering::Acquire) <= 4_096);
    }
    assert!(taken > 0 && domain.templates().len() < taken);
    domain.retire();
    drop((domain, bench));
    assert_eq!(budget.learned_octets.load(Ordering::Acquire), 0);
}

/// A field of a template: any element, of a length that makes records small enough.
fn field() -> impl Strategy<Value = (u32, u16, u16)> {
    let pen = prop_oneof![4 => Just(0_u32), 1 => 1..100_000_u32];
    let length = prop_oneof![6 => 1..17_u16, 1 => Just(0xFFFF_u16), 1 => Just(0)];
    (pen, 1..0x7FFF_u16, length)
}

proptest! {
    /// Any template that is learned from the wire is the same plan when it was kept, in every version and form.
    #[test]
    fn any_template_is_the_same_when_it_was_kept(
        layouts in prop::collection::vec((prop::collection::vec(field(), 1..12), any::<bool>()), 1..6),
        is_v9 in any::<bool>(),
        octets in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut before = Bench::with(everything());
        let mut after = Bench::with(everything());
        let version = if is_v9 { Version::V9 } else { Version::Ipfix };
        let (of, again) = (before.domain(version, 7), after.domain(version, 7));
        let mut sets = Vec::new();
        for (id, (layout, is_options)) in (256..).zip(&layouts) {
            // Field types of v9 may have bit 15 set, and mean themselves.
            let plain: Vec<u16> = layout.iter().flat_map(|(pen, id, length)| {
                [if *pen == 0 { *id } else { 0x8000 | *id }, *length]
            }).collect();
            sets.push(match (is_v9, is_options) {
                (true, false) => set(0, &template(id, &plain)),
                (true, true) => {
                    let all = u16::try_from(plain.len() * 2).unwrap();
                    set(1, &words(&[&[id, 4, all - 4][..], &plain].concat()))
                }
                (false, false) => set(2, &list::fields(id, layout)),
                (false, true) => set(3, &options(id, 1, layout)),
            });
        }
        let message = |sequence, sets: &[Vec<u8>]| {
            if is_v9 { v9(7, sequence, sets) } else { ipfix(7, sequence, sets) }
        };
        for (sequence, set) in (1..).zip(&sets) {
            before.decode(&of, &message(sequence, std::slice::from_ref(set)));
        }
        teach(&of, &again);
        prop_assert_eq!(told(&again), told(&of));
        for id in (256..).take(layouts.len()) {
            let data = message(99, &[set(id, &octets)]);
            let (one, other) = (before.decode(&of, &data), after.decode(&again, &data));
            prop_assert_eq!((one.records, one.options_records, one.sets_dropped), (other.records, other.options_records, other.sets_dropped));
        }
        prop_assert_eq!(&before.batch.records, &after.batch.records);
        prop_assert_eq!(told(&again), told(&of));
    }
}
