//! What to type at a router so that its templates come more often, by maker.
//!
//! In goes a Private Enterprise Number, out comes a sentence for the operator. Commands as the makers'
//! public manuals have them; a minute is what the waiting room holds.

/// How templates come once a minute.
pub(super) const fn shorter_template_refresh(maker: Option<u32>) -> &'static str {
    match maker {
        Some(9) => {
            "let templates come each minute: flexible NetFlow, under flow exporter: template data timeout 60; older IOS: \
             ip flow-export template timeout-rate 1; ASA: flow-export template timeout-rate 1"
        }
        Some(2636) => {
            "let templates come each minute: set services flow-monitoring version9 (or version-ipfix) template NAME \
             template-refresh-rate seconds 60"
        }
        Some(2011) => "let templates come each minute: ip netstream export template timeout-rate 1",
        Some(25506) => "let templates come each minute: ip netstream export v9-template refresh-rate time 1",
        Some(637 | 6527) => "let templates come each minute: configure cflowd template-retransmit 60",
        Some(12356) => "let templates come often: config system netflow, set template-tx-timeout to its smallest value",
        Some(14988) => "let templates come each minute: /ip traffic-flow target set [find] v9-template-timeout=1m",
        Some(25461) => {
            "let templates come each minute: Device > Server Profiles > NetFlow, Template Refresh Rate, Minutes 1"
        }
        _ => {
            "let the exporter repeat its templates each minute (template refresh or template timeout in its export \
             settings); profile in an [[exporter]] rule names its maker, and then the command stands here"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_maker_has_a_command_of_its_own() {
        let makers = [9, 2636, 2011, 25506, 6527, 12356, 14988, 25461].map(Some);
        let mut texts: Vec<&str> = makers.into_iter().map(shorter_template_refresh).collect();
        texts.push(shorter_template_refresh(None));
        assert_eq!(shorter_template_refresh(Some(4_000_000)), shorter_template_refresh(None));
        let count = texts.len();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), count);
        assert!(shorter_template_refresh(Some(9)).contains("template data timeout 60"));
    }
}
