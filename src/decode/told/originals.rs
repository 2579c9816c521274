//! Exporters behind a mediator (RFC 7119, IX-41): who a flow's own exporter is where one sender speaks for many.
//!
//! Only an exporter whom the operator trusts with it (`profile.is_mediator`) may name others; to everybody else the
//! elements are plain ones. What the operator's rules say of an original exporter is asked once and kept, at most
//! ORIGINALS_PER_MEDIATOR_MAX a mediator and within the budget of what is learned; flows of further ones stay the
//! mediator's own. Nothing is allocated for an exporter that is known. Templates, options and sequence stay the sender's.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rustc_hash::FxHashMap;

use super::budget::LearnedBudget;
use crate::flow::Exporter;
use crate::limits::ORIGINALS_PER_MEDIATOR_MAX;

/// An exporter as the operator's rules know it.
#[derive(Debug, Clone)]
pub struct Original {
    /// Who it is.
    pub exporter: Arc<Exporter>,
    /// Rate if nothing else tells one.
    pub sampling_default: Option<u32>,
    /// Rate that beats everything.
    pub sampling_override: Option<u32>,
}

/// What the operator's rules say of exporters behind a mediator.
pub trait Originals: fmt::Debug + Send + Sync {
    /// The exporter at `address`, for flows of its `observation_domain`.
    fn original(&self, address: IpAddr, observation_domain: u32) -> Original;
}

/// An original exporter in an exporter's table: key and value, its text, and a map that is half empty.
const ORIGINAL_OCTETS: u64 = 512;

/// The exporters that one mediator has spoken for.
#[derive(Debug, Default)]
pub(in crate::decode) struct OriginalsTable {
    known: RwLock<Known>,
    octets: AtomicU64,
}

/// Who is known, and who knows more.
#[derive(Debug, Default)]
struct Known {
    of: FxHashMap<(IpAddr, u32), Original>,
    rules: Option<Arc<dyn Originals>>,
}

impl OriginalsTable {
    /// An empty one that asks `rules`.
    pub(in crate::decode) fn asking(rules: Arc<dyn Originals>) -> Self {
        let known = Known { rules: Some(rules), ..Known::default() };
        Self { known: RwLock::new(known), ..Self::default() }
    }

    /// Gives `then` the exporter at `address` behind `mediator`; None if there is no room for one more.
    pub(in crate::decode) fn with<T>(
        &self,
        address: IpAddr,
        observation_domain: u32,
        mediator: &Exporter,
        budget: &LearnedBudget,
        then: impl FnOnce(&Original) -> T,
    ) -> Option<T> {
        let key = (address, observation_domain);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(original) = known.of.get(&key) {
            return Some(then(original));
        }
        // Under a flood of forged originals a full table costs no lock of its own.
        if known.of.len() >= ORIGINALS_PER_MEDIATOR_MAX {
            return None;
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if !known.of.contains_key(&key) {
            let full = known.of.len() >= ORIGINALS_PER_MEDIATOR_MAX;
            if full || !LearnedBudget::reserve(&budget.learned_octets, ORIGINAL_OCTETS, budget.learned_octets_max) {
                return None;
            }
            self.octets.fetch_add(ORIGINAL_OCTETS, Ordering::AcqRel);
            let original = known.ask(address, observation_domain, mediator);
            known.of.insert(key, original);
        }
        known.of.get(&key).map(then)
    }

    /// Asks `rules` from now on, and again for whom it knows.
    pub(in crate::decode) fn follow(&self, rules: Option<Arc<dyn Originals>>, budget: &LearnedBudget) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.rules = rules;
        known.of.clear();
        // Under the lock: who puts one in counts it there too.
        budget.learned_octets.fetch_sub(self.octets.swap(0, Ordering::AcqRel), Ordering::AcqRel);
    }

    /// How many there are.
    pub(in crate::decode) fn len(&self) -> usize {
        self.known.read().unwrap_or_else(PoisonError::into_inner).of.len()
    }

    /// What it takes of the budget.
    pub(in crate::decode) fn octets(&self) -> u64 {
        self.octets.load(Ordering::Acquire)
    }
}

impl Known {
    #[cold]
    fn ask(&self, address: IpAddr, observation_domain: u32, mediator: &Exporter) -> Original {
        if let Some(rules) = &self.rules {
            return rules.original(address, observation_domain);
        }
        let exporter = Exporter { tenant: Arc::clone(&mediator.tenant), ..Exporter::of_address(address) };
        Original { exporter: Arc::new(exporter), sampling_default: None, sampling_override: None }
    }
}
