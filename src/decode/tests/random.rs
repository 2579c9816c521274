//! Random conversations: whatever comes, nothing panics, rows stay bounded, the set equation holds;
//! and what a list of sets comes to does not depend on how it is cut into messages.

use proptest::prelude::*;

use super::*;

/// Layouts that ids are defined and redefined with; all but the last hold a serial in octetDeltaCount.
const LAYOUTS: [&[u16]; 4] = [&TEMPLATE, &[8, 4, 12, 4, 1, 4], &[82, 0xFFFF, 1, 8], &[56, 6, 48, 1]];

#[derive(Debug, Clone)]
enum Piece {
    Template(u16, usize),
    Options(u16),
    Data(u16, Vec<u8>),
    Reserved(u16),
}

impl Piece {
    fn set(&self, version: Version) -> Vec<u8> {
        let v9 = version == Version::V9;
        match self {
            Self::Template(id, layout) => set(if v9 { 0 } else { 2 }, &template(*id, LAYOUTS[*layout])),
            Self::Options(id) if v9 => set(1, &words(&[*id, 4, 8, 1, 4, 48, 1, 50, 4])),
            Self::Options(id) => set(3, &words(&[*id, 2, 1, 302, 4, 305, 4])),
            Self::Data(id, body) => set(*id, body),
            Self::Reserved(id) => set(*id, &[1, 2, 3]),
        }
    }
}

fn id() -> impl Strategy<Value = u16> {
    256..260_u16
}

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        3 => (id(), 0..LAYOUTS.len()).prop_map(|(id, layout)| Piece::Template(id, layout)),
        1 => id().prop_map(Piece::Options),
        4 => (id(), prop::collection::vec(any::<u8>(), 0..90)).prop_map(|(id, body)| Piece::Data(id, body)),
        2 => (id(), 0..4_u32).prop_map(|(id, rows_of)| Piece::Data(id, rows(0..rows_of))),
        1 => (4..256_u16).prop_map(Piece::Reserved),
    ]
}

fn message(version: Version, sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    if version == Version::V9 { v9(7, sequence, sets) } else { ipfix(7, sequence, sets) }
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V9), Just(Version::Ipfix)]
}

/// What all datagrams of a conversation came to.
#[derive(Debug, Default)]
struct Sum {
    seen: u32,
    explained: u32,
    parked: u32,
}

impl Sum {
    fn add(&mut self, bench: &mut Bench, domain: &Domain, octets: &[u8]) -> Result<(), TestCaseError> {
        let before = bench.batch.len();
        let outcome = bench.decode(domain, octets);
        prop_assert_eq!(outcome.records as usize, bench.batch.len() - before);
        prop_assert!(outcome.records as usize <= 2 * limits::ROWS_PER_MESSAGE_MAX);
        self.seen += outcome.sets_seen;
        self.explained += outcome.sets_decoded + outcome.sets_options + outcome.sets_templates;
        self.explained += outcome.sets_dropped.iter().sum::<u32>();
        self.parked = self.parked + outcome.sets_parked - outcome.sets_unparked;
        prop_assert_eq!(self.parked as usize, domain.status().parked_sets);
        prop_assert_eq!(self.seen, self.explained + self.parked, "the set equation");
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn rows_do_not_depend_on_how_sets_are_cut_into_messages(
        version in version(),
        pieces in prop::collection::vec(piece(), 1..40),
        cuts in prop::collection::vec(1..6_usize, 40),
    ) {
        let sets: Vec<Vec<u8>> = pieces.iter().map(|p| p.set(version)).collect();
        let (mut whole, mut cut) = (Bench::new(), Bench::new());
        let domain = whole.domain(version, 7);
        Sum::default().add(&mut whole, &domain, &message(version, 0, &sets))?;
        let (domain, mut sum, mut rest) = (cut.domain(version, 7), Sum::default(), &sets[..]);
        for (sequence, size) in (0..).zip(cuts) {
            let (some, after) = rest.split_at(size.min(rest.len()));
            sum.add(&mut cut, &domain, &message(version, sequence, some))?;
            rest = after;
        }
        prop_assert_eq!(format!("{:?}", whole.batch.records), format!("{:?}", cut.batch.records));
    }

    #[test]
    fn damaged_conversations_balance(
        version in version(),
        messages in prop::collection::vec((prop::collection::vec(piece(), 0..6), any::<u16>(), any::<u8>(), 0..4_u8), 1..30),
    ) {
        let mut bench = Bench::new();
        let domain = bench.domain(version, 7);
        let mut sum = Sum::default();
        for (sequence, (pieces, at, octet, damage)) in (0..).zip(messages) {
            let sets: Vec<Vec<u8>> = pieces.iter().map(|p| p.set(version)).collect();
            let mut octets = message(version, sequence, &sets);
            let at = usize::from(at) % octets.len();
            match damage {
                // The version stays, so that the datagram meets this domain.
                1 if at >= 2 => octets[at] = octet,
                2 => octets.truncate(at),
                3 => octets.extend([octet; 9]),
                _ => {}
            }
            sum.add(&mut bench, &domain, &octets)?;
        }
        let left = domain.retire();
        prop_assert_eq!(left.sets, sum.parked);
        let budget = Arc::clone(&bench.state.budget);
        // Options tables go with the exporter.
        drop((domain, bench));
        prop_assert_eq!(budget.parked_octets.load(std::sync::atomic::Ordering::Relaxed), 0);
        prop_assert_eq!(budget.learned_octets.load(std::sync::atomic::Ordering::Relaxed), 0);
    }
}
