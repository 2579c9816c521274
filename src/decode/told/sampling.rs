//! Which sampling rate applies to a record, and where it came from (protocol.md IX-48).
//!
//! Tables are per exporter and outlive templates. What an options record costs does not depend on
//! the size of its table (DEC-8); entries are bounded by `OPTIONS_ENTRIES_PER_TABLE_MAX` each.

mod pairs;

use rustc_hash::FxHashMap;

use self::pairs::Pairs;
use crate::flow::SamplingSource;
use crate::limits::{OPTIONS_ENTRIES_PER_TABLE_MAX, SAMPLING_RATE_MAX};

/// What one record, of data or of options, says of sampling.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::decode) struct SamplingFacts {
    /// samplingInterval 34, else samplerRandomInterval 50: 1 in N.
    pub direct: Option<u64>,
    /// samplingPacketInterval 305.
    pub interval: Option<u64>,
    /// samplingPacketSpace 306.
    pub space: Option<u64>,
    /// samplingSize 309.
    pub size: Option<u64>,
    /// samplingPopulation 310.
    pub population: Option<u64>,
    /// samplingProbability 311.
    pub probability: Option<f64>,
}

impl SamplingFacts {
    /// 1 in N; 0 where the exporter says 0 (which counts as 1). None if nothing is said, or what is
    /// said cannot be believed.
    pub(in crate::decode) fn rate(&self) -> Option<u32> {
        let rate = match (self.interval, self.space) {
            (Some(interval), Some(space)) if interval > 0 => Some(interval.saturating_add(space) / interval),
            // By the letter 305 alone means "all"; routers mean 1 in N by it.
            (Some(interval), None) => Some(interval),
            _ => None,
        };
        let rate = rate.or_else(|| match (self.size, self.population) {
            (Some(size), Some(population)) if size > 0 => Some(population / size),
            _ => None,
        });
        let rate = rate.or_else(|| self.probability.and_then(rate_of_probability)).or(self.direct)?;
        u32::try_from(rate).ok().filter(|r| *r <= SAMPLING_RATE_MAX)
    }
}

fn rate_of_probability(probability: f64) -> Option<u64> {
    if !(probability > 0.0 && probability <= 1.0) {
        return None;
    }
    let rate = (1.0 / probability).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "held against the limit first")]
    (rate <= f64::from(SAMPLING_RATE_MAX)).then_some(rate as u64)
}

/// What an options record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::decode) enum SamplingScope {
    /// The sampler with this id (302 or 48: one id space).
    Sampler(u64),
    /// The sampler with this id where it works for this interface (IX-27).
    SamplerOn(u64, u32),
    /// An interface.
    Interface(u32),
    /// A template.
    Template(u16),
    /// A line card.
    LineCard(u32),
    /// The whole observation domain.
    Domain,
}

/// Rates of one observation domain that hold without a look at the record.
#[derive(Debug, Clone, Copy, Default)]
struct DomainRates {
    wide: Option<u32>,
    samplers: u32,
    last_sampler: u32,
    /// Different rates that its line cards tell now, and the one told last.
    card_rates: u32,
    last_card: u32,
}

impl DomainRates {
    /// The domain's rate, if it has one: said outright, by its only sampler, or by all its line cards alike.
    fn rate(&self) -> Option<u32> {
        let by_sampler = || (self.samplers == 1).then_some(self.last_sampler);
        let by_cards = || (self.card_rates == 1).then_some(self.last_card);
        self.wide.or_else(by_sampler).or_else(by_cards)
    }
}

/// Sampling as an exporter's options records told it.
#[derive(Debug, Default)]
pub(in crate::decode) struct SamplingTables {
    samplers: FxHashMap<(u32, u64), u32>,
    /// Sampler ids whatever the domain: how many domains have one of it, and the rate of the latest.
    sampler_ids: FxHashMap<u64, (u32, u32)>,
    pairs: Pairs,
    cards: FxHashMap<(u32, u32), u32>,
    /// How many cards of a domain tell a rate; no more entries than `cards`.
    card_rates: FxHashMap<(u32, u32), u32>,
    interfaces: FxHashMap<(u32, u32), u32>,
    templates: FxHashMap<(u32, u16), u32>,
    domains: FxHashMap<u32, DomainRates>,
}

/// Domains that are compared when one without a rate asks the others.
const DOMAINS_COMPARED_MAX: usize = 256;

impl SamplingTables {
    /// Learns that `scope` of `domain` is sampled 1 in `rate`; true if that changes anything.
    pub(in crate::decode) fn learn(&mut self, domain: u32, scope: SamplingScope, rate: u32) -> bool {
        match scope {
            SamplingScope::Sampler(id) => {
                let known = self.samplers.contains_key(&(domain, id));
                let changed = insert(&mut self.samplers, (domain, id), rate);
                if changed {
                    let (domains, latest) = self.sampler_ids.entry(id).or_default();
                    *domains += u32::from(!known);
                    *latest = rate;
                }
                if changed && let Some(rates) = bounded_entry(&mut self.domains, domain) {
                    rates.samplers += u32::from(!known);
                    rates.last_sampler = rate;
                }
                changed
            }
            SamplingScope::SamplerOn(id, index) => self.pairs.learn(domain, id, index, rate),
            SamplingScope::Interface(index) => insert(&mut self.interfaces, (domain, index), rate),
            SamplingScope::Template(id) => insert(&mut self.templates, (domain, id), rate),
            SamplingScope::LineCard(card) => self.learn_card(domain, card, rate),
            SamplingScope::Domain => match bounded_entry(&mut self.domains, domain) {
                Some(rates) => rates.wide.replace(rate) != Some(rate),
                None => false,
            },
        }
    }

    /// Also keeps how many different rates the domain's cards tell, so that asking needs no look at all of them.
    fn learn_card(&mut self, domain: u32, card: u32, rate: u32) -> bool {
        let before = self.cards.get(&(domain, card)).copied();
        if before == Some(rate) || before.is_none() && self.cards.len() >= OPTIONS_ENTRIES_PER_TABLE_MAX {
            return false;
        }
        let Some(rates) = bounded_entry(&mut self.domains, domain) else { return false };
        self.cards.insert((domain, card), rate);
        if let Some(before) = before
            && let Some(cards) = self.card_rates.get_mut(&(domain, before))
        {
            *cards -= 1;
            if *cards == 0 {
                self.card_rates.remove(&(domain, before));
                rates.card_rates -= 1;
            }
        }
        let cards = self.card_rates.entry((domain, rate)).or_default();
        *cards += 1;
        rates.card_rates += u32::from(*cards == 1);
        rates.last_card = rate;
        true
    }

    /// True if there is an entry that `learn` would only change.
    pub(in crate::decode) fn knows(&self, domain: u32, scope: SamplingScope) -> bool {
        match scope {
            SamplingScope::Sampler(id) => self.samplers.contains_key(&(domain, id)),
            SamplingScope::SamplerOn(id, index) => self.pairs.knows(domain, id, index),
            SamplingScope::Interface(index) => self.interfaces.contains_key(&(domain, index)),
            SamplingScope::Template(id) => self.templates.contains_key(&(domain, id)),
            SamplingScope::LineCard(card) => self.cards.contains_key(&(domain, card)),
            SamplingScope::Domain => self.domains.contains_key(&domain),
        }
    }

    /// Steps 5 and 6: the rate of a domain as a whole.
    pub(in crate::decode) fn of_domain(&self, domain: u32) -> Option<(u32, SamplingSource)> {
        if let Some(rate) = self.domains.get(&domain).and_then(DomainRates::rate) {
            return Some((rate, SamplingSource::Domain));
        }
        if let Some(rate) = self.domains.get(&0).and_then(DomainRates::rate) {
            return Some((rate, SamplingSource::Exporter));
        }
        if self.domains.len() > DOMAINS_COMPARED_MAX {
            return None;
        }
        let mut rates = self.domains.values().filter_map(DomainRates::rate);
        let first = rates.next()?;
        rates.all(|r| r == first).then_some((first, SamplingSource::Exporter))
    }

    /// Steps 2 to 4: what the record's own sampler, interface or template says.
    pub(in crate::decode) fn of_record(
        &self,
        domain: u32,
        sampler: Option<u64>,
        interface: Option<u32>,
        template: u16,
    ) -> Option<(u32, SamplingSource)> {
        if let Some(id) = sampler
            && let Some(rate) = self.pairs.of(domain, id, interface).or_else(|| self.sampler(domain, id))
        {
            return Some((rate, SamplingSource::Sampler));
        }
        // Domain 0 speaks for the whole exporter (IX-23).
        let of_interface = |i| self.interfaces.get(&(domain, i)).or_else(|| self.interfaces.get(&(0, i)));
        if let Some(rate) = interface.and_then(of_interface) {
            return Some((*rate, SamplingSource::Interface));
        }
        self.templates.get(&(domain, template)).map(|rate| (*rate, SamplingSource::Template))
    }

    /// Step 2: the sampler of this domain, of the exporter as a whole, or the exporter's only one with this id.
    fn sampler(&self, domain: u32, id: u64) -> Option<u32> {
        let known = self.samplers.get(&(domain, id)).or_else(|| self.samplers.get(&(0, id))).copied();
        let known = known.or_else(|| self.pairs.agreed(domain, id));
        known.or_else(|| self.sampler_ids.get(&id).and_then(|(domains, rate)| (*domains == 1).then_some(*rate)))
    }

    /// Step 4: what the record's line card says.
    pub(in crate::decode) fn of_card(&self, domain: u32, card: u32) -> Option<(u32, SamplingSource)> {
        let rate = self.cards.get(&(domain, card)).or_else(|| self.cards.get(&(0, card)))?;
        Some((*rate, SamplingSource::Template))
    }

    /// True if the answer can differ from record to record without a sampler id in it.
    pub(in crate::decode) fn is_scoped(&self) -> bool {
        !self.interfaces.is_empty() || !self.templates.is_empty() || !self.cards.is_empty()
    }

    /// Entries in all tables.
    pub(in crate::decode) fn len(&self) -> usize {
        // A card counts for its rate too, which comes and goes.
        let cards = 2 * self.cards.len();
        self.samplers.len()
            + self.sampler_ids.len()
            + self.pairs.len()
            + cards
            + self.interfaces.len()
            + self.templates.len()
            + self.domains.len()
    }
}

fn bounded_entry(map: &mut FxHashMap<u32, DomainRates>, key: u32) -> Option<&mut DomainRates> {
    if map.len() >= OPTIONS_ENTRIES_PER_TABLE_MAX && !map.contains_key(&key) {
        return None;
    }
    Some(map.entry(key).or_default())
}

/// Inserts while there is room; a full table keeps what it has (the newest would push out what
/// records refer to). True if the value is new or another one.
fn insert<K: std::hash::Hash + Eq>(map: &mut FxHashMap<K, u32>, key: K, rate: u32) -> bool {
    if map.len() >= OPTIONS_ENTRIES_PER_TABLE_MAX && !map.contains_key(&key) {
        return false;
    }
    map.insert(key, rate) != Some(rate)
}

impl SamplingTables {
    /// Everything that was told, as (domain, scope, rate), in no order.
    pub(in crate::decode) fn told(&self) -> impl Iterator<Item = (u32, SamplingScope, u32)> {
        let samplers = self.samplers.iter().map(|((d, id), r)| (*d, SamplingScope::Sampler(*id), *r));
        let interfaces = self.interfaces.iter().map(|((d, i), r)| (*d, SamplingScope::Interface(*i), *r));
        let templates = self.templates.iter().map(|((d, t), r)| (*d, SamplingScope::Template(*t), *r));
        let cards = self.cards.iter().map(|((d, c), r)| (*d, SamplingScope::LineCard(*c), *r));
        let wide = self.domains.iter().filter_map(|(d, rates)| Some((*d, SamplingScope::Domain, rates.wide?)));
        samplers.chain(self.pairs.iter()).chain(interfaces).chain(templates).chain(cards).chain(wide)
    }

    /// True if `scope` has a rate that was told of it.
    pub(in crate::decode) fn tells(&self, domain: u32, scope: SamplingScope) -> bool {
        match scope {
            SamplingScope::Domain => self.domains.get(&domain).is_some_and(|rates| rates.wide.is_some()),
            _ => self.knows(domain, scope),
        }
    }

    /// Up to `most` entries that speak of less than a domain, as (domain, scope, rate), in the order of their numbers.
    pub(in crate::decode) fn entries(&self, most: usize) -> Vec<(u32, SamplingScope, u32)> {
        let mut entries: Vec<_> =
            self.samplers.iter().map(|((d, id), r)| (*d, SamplingScope::Sampler(*id), *r)).collect();
        entries.extend(self.pairs.iter());
        entries.extend(self.interfaces.iter().map(|((d, i), r)| (*d, SamplingScope::Interface(*i), *r)));
        entries.extend(self.templates.iter().map(|((d, t), r)| (*d, SamplingScope::Template(*t), *r)));
        entries.extend(self.cards.iter().map(|((d, c), r)| (*d, SamplingScope::LineCard(*c), *r)));
        entries.sort_unstable();
        entries.truncate(most);
        entries
    }

    /// Rates that domains as a whole have, at most `most`.
    pub(in crate::decode) fn wide(&self, most: usize) -> Vec<(u32, u32)> {
        let mut rates: Vec<_> = self.domains.iter().filter_map(|(d, rates)| Some((*d, rates.rate()?))).collect();
        rates.sort_unstable();
        rates.truncate(most);
        rates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ix_48_rates() {
        let none = SamplingFacts::default();
        assert_eq!(none.rate(), None);
        assert_eq!(SamplingFacts { interval: Some(1), space: Some(999), ..none }.rate(), Some(1_000));
        assert_eq!(SamplingFacts { interval: Some(100), ..none }.rate(), Some(100));
        assert_eq!(SamplingFacts { size: Some(2), population: Some(64), ..none }.rate(), Some(32));
        assert_eq!(SamplingFacts { probability: Some(0.001), ..none }.rate(), Some(1_000));
        assert_eq!(SamplingFacts { probability: Some(0.0), ..none }.rate(), None);
        assert_eq!(SamplingFacts { probability: Some(1e-9), ..none }.rate(), None);
        assert_eq!(SamplingFacts { probability: Some(f64::NAN), ..none }.rate(), None);
        assert_eq!(SamplingFacts { direct: Some(u64::from(u32::MAX)), ..none }.rate(), None);
        assert_eq!(SamplingFacts { direct: Some(0), ..none }.rate(), Some(0));
        assert_eq!(SamplingFacts { interval: Some(0), space: Some(9), direct: Some(7), ..none }.rate(), Some(7));
        let extreme = SamplingFacts { interval: Some(u64::MAX), space: Some(u64::MAX), ..none };
        assert_eq!(extreme.rate(), Some(1));
    }

    #[test]
    fn ix_48_the_most_specific_scope_wins() {
        let mut tables = SamplingTables::default();
        assert_eq!(tables.of_domain(7), None);
        assert!(tables.learn(0, SamplingScope::Domain, 10));
        assert_eq!(tables.of_domain(7), Some((10, SamplingSource::Exporter)));
        assert!(tables.learn(7, SamplingScope::Sampler(1), 2_000));
        assert_eq!(tables.of_domain(7), Some((2_000, SamplingSource::Domain)));
        assert!(tables.learn(7, SamplingScope::Sampler(2), 4_000));
        // Two samplers: neither speaks for the domain.
        assert_eq!(tables.of_domain(7), Some((10, SamplingSource::Exporter)));
        assert_eq!(tables.of_record(7, Some(2), None, 256), Some((4_000, SamplingSource::Sampler)));
        assert_eq!(tables.of_record(7, Some(3), Some(5), 256), None);
        assert!(tables.learn(7, SamplingScope::Interface(5), 50) && tables.is_scoped());
        assert_eq!(tables.of_record(7, Some(3), Some(5), 256), Some((50, SamplingSource::Interface)));
        assert!(!tables.learn(7, SamplingScope::Interface(5), 50));
    }

    #[test]
    fn a_10_tables_are_bounded() {
        let mut tables = SamplingTables::default();
        for id in 0..40_000_u32 {
            tables.learn(id, SamplingScope::Sampler(u64::from(id)), 5);
            tables.learn(id, SamplingScope::Domain, 5);
        }
        assert_eq!(tables.len(), 3 * OPTIONS_ENTRIES_PER_TABLE_MAX);
        assert!(tables.learn(1, SamplingScope::Sampler(1), 9));
        let before = tables.len();
        for card in 0..40_000_u32 {
            tables.learn(1, SamplingScope::LineCard(card), card);
        }
        assert_eq!(tables.len(), before + 2 * OPTIONS_ENTRIES_PER_TABLE_MAX);
        assert_eq!(tables.card_rates.len(), tables.cards.len());
    }

    #[test]
    fn ix_48_a_sampler_of_another_domain_counts_if_it_is_the_only_one_of_its_id() {
        let mut tables = SamplingTables::default();
        assert!(tables.learn(7, SamplingScope::Sampler(3), 500));
        assert_eq!(tables.of_record(8, Some(3), None, 256), Some((500, SamplingSource::Sampler)));
        assert!(tables.learn(7, SamplingScope::Sampler(3), 600));
        assert_eq!(tables.of_record(8, Some(3), None, 256), Some((600, SamplingSource::Sampler)));
        assert!(tables.learn(9, SamplingScope::Sampler(3), 700));
        assert_eq!(tables.of_record(8, Some(3), None, 256), None, "which of the two?");
        assert_eq!(tables.of_record(9, Some(3), None, 256), Some((700, SamplingSource::Sampler)));
    }

    #[test]
    fn ix_48_line_cards_speak_for_their_domain_while_they_agree() {
        let mut tables = SamplingTables::default();
        for card in 1..=3 {
            assert!(tables.learn(7, SamplingScope::LineCard(card), 1_000));
        }
        assert_eq!(tables.of_domain(7), Some((1_000, SamplingSource::Domain)));
        assert!(tables.is_scoped());
        // The operator changes them one after the other.
        for card in 1..=3 {
            assert!(tables.learn(7, SamplingScope::LineCard(card), 2_000));
            assert_eq!(tables.of_card(7, card), Some((2_000, SamplingSource::Template)));
            let of_domain = (card == 3).then_some((2_000, SamplingSource::Domain));
            assert_eq!(tables.of_domain(7), of_domain, "{card}");
        }
        assert!(!tables.learn(7, SamplingScope::LineCard(3), 2_000));
        assert_eq!(tables.of_card(7, 4), None);
    }

    #[test]
    fn ix_23_what_stands_in_domain_0_is_for_the_whole_exporter() {
        let mut tables = SamplingTables::default();
        tables.learn(0, SamplingScope::Sampler(1), 10);
        tables.learn(0, SamplingScope::Sampler(2), 20);
        tables.learn(0, SamplingScope::Interface(5), 30);
        tables.learn(0, SamplingScope::LineCard(6), 40);
        tables.learn(4, SamplingScope::Sampler(2), 50);
        assert_eq!(tables.of_record(7, Some(2), Some(5), 256), Some((20, SamplingSource::Sampler)), "0 before others");
        assert_eq!(tables.of_record(7, None, Some(5), 256), Some((30, SamplingSource::Interface)));
        assert_eq!(tables.of_card(7, 6), Some((40, SamplingSource::Template)));
    }
}
