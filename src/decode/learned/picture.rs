//! What was learned, as an operator can look at it: templates of a domain, and the rate that holds for it.
//!
//! Read from what data sets read, without taking their time: the plan table is loaded once, and how much
//! is copied out of it is bounded by the caller's [`TemplateRoom`].

use std::sync::atomic::Ordering;

use super::domain::Domain;
use super::status::TemplateStatus;
use crate::decode::plan::DecodePlan;
use crate::decode::wire::template::TemplateKind;

/// How many templates, and fields of them, may still be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TemplateRoom {
    /// Templates.
    pub templates: usize,
    /// Fields of all of them together.
    pub fields: usize,
}

impl TemplateRoom {
    /// Takes what a template of `fields` needs; false if it does not fit.
    fn take(&mut self, fields: usize) -> bool {
        if self.templates == 0 || self.fields < fields {
            // Nothing after it is taken either: a page has no holes.
            self.templates = 0;
            return false;
        }
        self.templates -= 1;
        self.fields -= fields;
        true
    }
}

impl Domain {
    /// All templates that data sets of this domain can use, smallest id first.
    #[must_use]
    pub fn templates(&self) -> Vec<TemplateStatus> {
        let mut room = TemplateRoom { templates: usize::MAX, fields: usize::MAX };
        self.templates_after(None, &mut room).0
    }

    /// How many they are.
    #[must_use]
    pub fn template_count(&self) -> usize {
        self.plans.load().len()
    }

    /// The same behind the id `after`, as far as `room` goes; with how many were left out behind them.
    #[must_use]
    pub fn templates_after(&self, after: Option<u16>, room: &mut TemplateRoom) -> (Vec<TemplateStatus>, usize) {
        let plans = self.plans.load();
        let mut ids: Vec<u16> = plans.keys().copied().filter(|id| after.is_none_or(|after| *id > after)).collect();
        ids.sort_unstable();
        let of_id = |id: &u16| plans.get(id);
        let shown: Vec<TemplateStatus> = ids
            .iter()
            .filter_map(of_id)
            .take_while(|plan| room.take(plan.template.fields.len()))
            .map(|plan| plan.status())
            .collect();
        let left_out = ids.len() - shown.len();
        (shown, left_out)
    }

    /// What options say of the rate of the whole domain: 1 in N, and how that is known.
    #[must_use]
    pub fn sampling(&self) -> (u32, crate::flow::SamplingSource) {
        let decided = self.exporter.decided();
        let settings = &decided.settings;
        settings
            .sampling_override
            .map_or_else(|| self.options_view().sampling, |rate| (rate, crate::flow::SamplingSource::Override))
    }
}

impl DecodePlan {
    fn status(&self) -> TemplateStatus {
        TemplateStatus {
            id: self.template.id,
            scopes: match self.template.kind {
                TemplateKind::Data => None,
                TemplateKind::Options { scopes } => Some(scopes),
            },
            fields: self.template.fields.iter().map(|f| (f.element, f.length)).collect(),
            learned_ns: self.learned_ns,
            refreshed_ns: self.refreshed_ns.load(Ordering::Relaxed),
            refresh_interval_ns: self.refresh_interval_ns(),
            flow_keys: self.flow_keys(),
            assumed_maker: self.assumed_maker,
            restored: self.is_restored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::decode::{Datagram, DecodeSettings, TemplateEventKind, decode, identify};
    use crate::flow::{ElementId, FlowBatch, Version};

    /// A v9 datagram with the templates `(id, fields)` and data sets of `data`.
    fn v9(templates: &[(u16, &[(u16, u16)])], data: &[u16]) -> Vec<u8> {
        let mut sets: Vec<Vec<u16>> = Vec::new();
        for (id, fields) in templates {
            let mut words = vec![0, 8 + 4 * fields.len() as u16, *id, fields.len() as u16];
            words.extend(fields.iter().flat_map(|(element, length)| [*element, *length]));
            sets.push(words);
        }
        sets.extend(data.iter().map(|id| vec![*id, 8, 0xc000, 0x0201]));
        let mut octets = [9, sets.len() as u16].map(u16::to_be_bytes).concat();
        octets.extend([60_000_u32, 1_700_000_000, 1, 7].map(u32::to_be_bytes).concat());
        octets.extend(sets.concat().iter().flat_map(|w| w.to_be_bytes()));
        octets
    }

    fn take(domain: &Domain, octets: &[u8], receive_ns: u64) {
        let header = identify(octets).unwrap();
        let datagram = Datagram { peer: SocketAddr::from(([192, 0, 2, 1], 9)), receive_ns, octets };
        assert_eq!(decode(&datagram, &header, domain, &mut FlowBatch::with_capacity(64)).rejected, None);
    }

    #[test]
    fn templates_come_by_id_in_pages_without_holes() {
        let domain = Domain::alone(Version::V9, 7, DecodeSettings::default());
        take(&domain, &v9(&[(300, &[(8, 4), (12, 4)]), (256, &[(8, 4)]), (299, &[(1, 4), (2, 4), (7, 2)])], &[]), 5);
        let all = domain.templates();
        assert_eq!(all.iter().map(|t| (t.id, t.fields.len())).collect::<Vec<_>>(), [(256, 1), (299, 3), (300, 2)]);
        assert_eq!(all[0].fields, [(ElementId { pen: 0, id: 8 }, 4)]);
        assert_eq!((all[0].learned_ns, all[0].refreshed_ns, all[0].scopes), (5, 5, None));
        let mut room = TemplateRoom { templates: 10, fields: 2 };
        let (shown, left_out) = domain.templates_after(None, &mut room);
        assert_eq!((shown.len(), shown[0].id, left_out), (1, 256, 2), "300 would fit, but 299 stands before it");
        let mut room = TemplateRoom { templates: 1, fields: 100 };
        let (shown, left_out) = domain.templates_after(Some(256), &mut room);
        assert_eq!((shown.len(), shown[0].id, left_out), (1, 299, 1));
    }

    #[test]
    fn n9_15_what_is_waited_for_shows_until_its_template_comes() {
        let domain = Domain::alone(Version::V9, 7, DecodeSettings::default());
        take(&domain, &v9(&[], &[256]), 1_000);
        take(&domain, &v9(&[], &[256, 257]), 2_000);
        let waiting = domain.status().waiting;
        assert_eq!(
            waiting.iter().map(|w| (w.id, w.since_ns, w.sets)).collect::<Vec<_>>(),
            [(256, 1_000, 2), (257, 2_000, 1)]
        );
        // The parked sets are too old, and still wait for the same.
        domain.expire_parked(u64::MAX);
        assert_eq!((domain.status().parked_sets, domain.status().waiting.len()), (0, 2));
        take(&domain, &v9(&[(256, &[(8, 4)])], &[]), 3_000);
        assert_eq!(domain.status().waiting.iter().map(|w| w.id).collect::<Vec<_>>(), [257]);
    }

    #[test]
    fn n9_12_events_tell_what_became_of_a_template() {
        let domain = Domain::alone(Version::V9, 7, DecodeSettings::default());
        take(&domain, &v9(&[(256, &[(8, 4)])], &[]), 1);
        take(&domain, &v9(&[(256, &[(8, 4)])], &[]), 2);
        take(&domain, &v9(&[(256, &[(12, 4)])], &[]), 3);
        let events = domain.exporter.template_events();
        let told: Vec<_> = events.iter().map(|e| (e.at_ns, e.template_id, e.kind)).collect();
        assert_eq!(told, [(1, 256, TemplateEventKind::Learned), (3, 256, TemplateEventKind::Replaced)]);
    }
}
