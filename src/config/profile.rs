//! `[[exporter]]` profile and switches: what the operator says of how an exporter's messages are meant.
//!
//! A maker is its Private Enterprise Number, by name or in digits. It decides whose NetFlow v9 field types above 32767 are
//! and nothing else: no maker implies `post_counters`, because those of one maker differ by version and set-up, and rows
//! that nobody asked for would be worse than none.

use super::error::Faults;
use super::keys::nearest;
use super::lists::{field, flag, told};
use super::value;
use super::written::Row;
use crate::decode::{PostCounters, Profile};

/// Makers by name, with their number in IANA's registry of enterprises.
const MAKERS: &[(&str, u32)] = &[
    ("a10", 22_610),
    ("antrea", 56_506),
    ("arista", 30_065),
    ("aruba", 14_823),
    ("astaro", 9_789),
    ("barracuda", 10_704),
    ("calix", 6_321),
    ("cert", 6_871),
    ("cesnet", 8_057),
    ("checkpoint", 2_620),
    ("cisco", 9),
    ("citrix", 5_951),
    ("ericsson", 193),
    ("extreme", 1_916),
    ("flowmon", 39_499),
    ("fortinet", 12_356),
    ("gigamon", 26_866),
    ("h3c", 25_506),
    ("huawei", 2_011),
    ("ixia", 3_054),
    ("juniper", 2_636),
    ("mellanox", 33_049),
    ("mikrotik", 14_988),
    ("netfilter", 21_373),
    ("niagara", 47_729),
    ("nokia", 637),
    ("ntop", 35_632),
    ("paloalto", 25_461),
    ("plixer", 13_745),
    ("riverbed", 17_163),
    ("ruijie", 4_881),
    ("sandvine", 15_397),
    ("sonicwall", 8_741),
    ("ubiquiti", 41_112),
    ("velocloud", 45_346),
    ("versa", 42_359),
    ("viptela", 41_916),
    ("vmware", 6_876),
    ("yaf", 6_871),
    ("zte", 3_902),
];

/// The profile of a rule; what it does not say is as without a rule.
pub(super) fn profile(row: &Row, faults: &mut Faults) -> Profile {
    Profile {
        maker: named_maker(row, faults),
        post_counters: field(row, "post_counters", faults, post_counters).unwrap_or_default(),
        enterprise_in_v9: flag(row, "enterprise_in_v9", faults),
        is_mediator: flag(row, "mediator", faults),
        drops_odd_padding: flag(row, "drop_odd_padding", faults),
        teaches_elements: flag(row, "teach_elements", faults),
    }
}

/// What a rule's profile says, as `check` shows it.
pub(super) fn profile_text(profile: &Profile) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(maker) = profile.maker {
        said.push(match MAKERS.iter().find(|(_, pen)| *pen == maker) {
            Some((name, _)) => format!("profile={name:?}"),
            None => format!("profile={maker}"),
        });
    }
    if profile.post_counters == PostCounters::Reverse {
        said.push("post_counters=\"reverse\"".to_owned());
    }
    let switches = [
        ("enterprise_in_v9", profile.enterprise_in_v9),
        ("mediator", profile.is_mediator),
        ("drop_odd_padding", profile.drops_odd_padding),
        ("teach_elements", profile.teaches_elements),
    ];
    said.extend(switches.iter().filter(|(_, on)| *on).map(|(name, _)| format!("{name}=true")));
    said
}

/// A name in quotes, or a number with or without them.
fn named_maker(row: &Row, faults: &mut Faults) -> Option<u32> {
    let (scalar, place) = row.field("profile")?;
    maker(scalar.text.trim()).map_err(|problem| faults.add(told(&place, "profile", scalar, &problem))).ok()
}

fn maker(text: &str) -> Result<u32, String> {
    let wrong = |hint: String| {
        let names: Vec<&str> = MAKERS.iter().map(|(name, _)| *name).collect();
        format!(
            "is no maker{hint}: write one of {}, or the maker's Private Enterprise Number from 1 to {}",
            names.join(", "),
            u32::MAX
        )
    };
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok().filter(|pen| *pen != 0).ok_or_else(|| wrong(String::new()));
    }
    // "Palo Alto", "palo-alto" and "PALOALTO" are one.
    let plain: String = text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    MAKERS.iter().find(|(name, _)| *name == plain).map(|(_, pen)| *pen).ok_or_else(|| {
        let near = nearest(&plain, MAKERS.iter().map(|(name, _)| *name));
        wrong(near.map(|near| format!(" (is {near} meant?)")).unwrap_or_default())
    })
}

fn post_counters(text: &str) -> Result<PostCounters, String> {
    Ok(match value::choice(text, &["post", "reverse"])? {
        "reverse" => PostCounters::Reverse,
        _ => PostCounters::Post,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_maker_is_a_name_or_a_number() {
        assert!(MAKERS.is_sorted_by(|a, b| a.0 < b.0));
        for (text, pen) in
            [("cisco", 9), ("CERT", 6_871), ("yaf", 6_871), ("Palo-Alto", 25_461), ("4294967295", u32::MAX)]
        {
            assert_eq!(maker(text), Ok(pen), "{text}");
        }
        assert!(maker("cisko").unwrap_err().contains("is no maker (is cisco meant?): write one of a10, "));
        for text in ["", "0", "4294967296", "-1", "1.5", "zzz"] {
            let problem = maker(text).unwrap_err();
            assert!(problem.contains("from 1 to 4294967295") && !problem.contains("meant"), "{text}: {problem}");
        }
    }

    #[test]
    fn a_profile_says_what_it_changes() {
        assert!(profile_text(&Profile::default()).is_empty());
        let all = Profile {
            maker: Some(9),
            post_counters: PostCounters::Reverse,
            enterprise_in_v9: true,
            is_mediator: true,
            drops_odd_padding: true,
            teaches_elements: true,
        };
        assert_eq!(
            profile_text(&all).join(" "),
            "profile=\"cisco\" post_counters=\"reverse\" enterprise_in_v9=true mediator=true drop_odd_padding=true \
             teach_elements=true"
        );
        assert_eq!(profile_text(&Profile { maker: Some(77), ..Profile::default() }), ["profile=77"]);
    }
}
