//! Authorization: Bearer of a request, held against the token that is asked for.
//!
//! Headers and a token enter, one of three words leaves. Promised: how long the comparison takes says nothing about the
//! token, neither how much of it was right nor how long it is.

use hyper::header::{self, HeaderMap};
use subtle::ConstantTimeEq as _;

use crate::limits::TOKEN_OCTETS_MAX;

/// What a request showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// No Authorization, or one that is no bearer token.
    Nothing,
    /// A token, but not the one asked for: a guess, or an old one.
    Wrong,
    /// The token.
    Right,
}

/// Holds the Authorization of `headers` against `token`. Several of them are as good as a wrong one: which one counts
/// would be anybody's guess.
pub(crate) fn shown(headers: &HeaderMap, token: &str) -> Shown {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Shown::Nothing };
    if values.next().is_some() {
        return Shown::Wrong;
    }
    let Some((scheme, given)) = value.as_bytes().split_at_checked(BEARER.len()) else { return Shown::Nothing };
    if !scheme.eq_ignore_ascii_case(BEARER) {
        return Shown::Nothing;
    }
    if same(given.trim_ascii(), token.as_bytes()) { Shown::Right } else { Shown::Wrong }
}

/// What is wrong with a token that is to be asked for; None if it can be sent in a header.
pub(crate) fn unfit(token: &str) -> Option<String> {
    if token.len() > TOKEN_OCTETS_MAX {
        Some(format!("a token of {} octets: at most {TOKEN_OCTETS_MAX} can be asked for", token.len()))
    } else if !token.bytes().all(|octet| octet.is_ascii_graphic()) {
        Some("the token holds a space or a character outside of ASCII, which no client could send".to_owned())
    } else {
        None
    }
}

const BEARER: &[u8] = b"Bearer ";

/// Both are laid on plates of one size first: a comparison of slices would end at once where lengths differ.
fn same(given: &[u8], token: &[u8]) -> bool {
    let lay = |text: &[u8]| {
        let mut plate = [0_u8; TOKEN_OCTETS_MAX];
        for (to, from) in plate.iter_mut().zip(text) {
            *to = *from;
        }
        plate
    };
    let lengths = (given.len() as u64).ct_eq(&(token.len() as u64));
    bool::from(lay(given).ct_eq(&lay(token)) & lengths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (header::AUTHORIZATION, value.parse().unwrap())).collect()
    }

    #[test]
    fn the_token_alone_is_right() {
        for right in ["Bearer secret-7", "bearer secret-7", "BEARER   secret-7 "] {
            assert_eq!(shown(&with(&[right]), "secret-7"), Shown::Right, "{right}");
        }
        for wrong in ["Bearer secret-", "Bearer secret-77", "Bearer Secret-7", "Bearer ", "Bearer secret-7\u{e9}"] {
            assert_eq!(shown(&with(&[wrong]), "secret-7"), Shown::Wrong, "{wrong}");
        }
        for nothing in ["", "secret-7", "Basic c2VjcmV0LTc=", "Bearersecret-7", "Bearer"] {
            assert_eq!(shown(&with(&[nothing]), "secret-7"), Shown::Nothing, "{nothing}");
        }
        assert_eq!(shown(&HeaderMap::new(), "secret-7"), Shown::Nothing);
        assert_eq!(shown(&with(&["Bearer secret-7", "Bearer secret-7"]), "secret-7"), Shown::Wrong);
    }

    #[test]
    fn what_differs_behind_the_plate_or_is_filled_with_zeroes_differs() {
        let long = "x".repeat(TOKEN_OCTETS_MAX);
        assert!(same(long.as_bytes(), long.as_bytes()));
        assert!(!same(format!("{long}y").as_bytes(), long.as_bytes()));
        assert!(!same(b"x\0", b"x"));
        assert!(!same(b"", b"x"));
    }

    #[test]
    fn a_token_that_no_client_could_send_is_named() {
        assert_eq!(unfit("a-Z0.9_~+/="), None);
        assert!(unfit("two words").unwrap().contains("space"));
        assert!(unfit("\u{fc}").is_some() && unfit("a\nb").is_some());
        assert!(unfit(&"x".repeat(TOKEN_OCTETS_MAX + 1)).unwrap().contains("octets"));
    }
}
