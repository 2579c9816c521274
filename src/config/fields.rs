//! `[output] fields` and `decode --fields`: names -> what is decoded and what is written.

use std::sync::Arc;

use super::keys::nearest;
use crate::decode::{Elements, Selection};
use crate::element::{self, Registry};
use crate::flow::FIELDS;
use crate::sink::encode::{CORE_KEYS, FieldsFault, OutputFields};

/// Reads `clarion`, `all` or names with commas.
///
/// # Errors
/// What is wrong with the list, with the nearest name where one is unknown.
pub fn read(text: &str, registry: &Arc<Registry>) -> Result<OutputFields, String> {
    OutputFields::parse(text, Arc::clone(registry)).map_err(|fault| {
        let hint = match &fault {
            FieldsFault::Unknown(name) => hint(name),
            _ => String::new(),
        };
        format!("{fault}{hint}")
    })
}

fn hint(name: &str) -> String {
    if name.contains(|c: char| c.is_whitespace() || matches!(c, ';' | '|' | '[' | ']' | '"' | '\'')) {
        return ": names are written with commas between them and nothing else, such as src_ip,app_name".to_owned();
    }
    if name.contains('/') {
        return ": an element's number is written pen/id, such as 9/1232; a pen has 32 bits, an id 16".to_owned();
    }
    let core = CORE_KEYS.iter().map(|key| key.name).chain(["all", "clarion"]);
    let known = core.chain(FIELDS.iter().map(|field| field.name)).chain(element::names());
    match nearest(name, known) {
        Some(near) => format!(": is {near} meant?"),
        None => ": an element without a registered name is written pen/id, such as 9/1232".to_owned(),
    }
}

/// `base` with what `fields` want of a record beyond its core keys.
#[must_use]
pub fn select(fields: &OutputFields, base: Selection) -> Selection {
    let ids = fields.element_ids();
    let elements = match (fields.is_all(), ids.is_empty()) {
        (true, _) => Elements::Others,
        (false, false) => Elements::These(ids.into()),
        (false, true) => return Selection { fields: fields.field_set(), ..base },
    };
    Selection { fields: fields.field_set(), elements, ..base }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        read(text, &Arc::default()).expect_err("wrong")
    }

    #[test]
    fn an_unknown_name_is_told_with_the_nearest() {
        assert!(wrong("bytes,app_nmae").ends_with("is app_name meant?"));
        assert!(wrong("octets_delta").starts_with("names \"octets_delta\""));
        assert!(wrong("sorce_ip").contains("is src_ip meant?") || wrong("srcip").contains("is src_ip meant?"));
        assert!(wrong("tcpWindowScal").ends_with("is tcpWindowScale meant?"));
        assert!(wrong("9/x").contains("such as 9/1232"));
        assert!(wrong("0/65536").ends_with("an id 16"));
        assert!(wrong("ALL").ends_with("is all meant?"));
        assert!(wrong("Src_IP").ends_with("is src_ip meant?"));
        assert!(wrong("").starts_with("is empty"));
        for list in ["src_ip dst_ip", "src_ip;dst_ip", "[\"src_ip\"]"] {
            assert!(wrong(list).ends_with("such as src_ip,app_name"), "{list}");
        }
        assert!(wrong("qqqqqq").ends_with("such as 9/1232"));
    }

    #[test]
    fn only_what_is_asked_is_decoded() {
        let of = |text: &str| select(&read(text, &Arc::default()).expect("right"), Selection::CORE);
        assert_eq!(of("clarion"), Selection::CORE);
        assert_eq!(of("bytes,src_ip"), Selection::CORE);
        assert_eq!(of("app_name").elements, Elements::None);
        assert!(!of("app_name").fields.is_empty());
        assert!(matches!(of("tcpWindowScale").elements, Elements::These(ids) if ids.len() == 1));
        assert_eq!(of("all").elements, Elements::Others);
    }
}
