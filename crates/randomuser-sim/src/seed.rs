//! Seeds: how the server turns `seed` and `page` into users, and how it invents a seed where none is given.

use std::sync::{Mutex, PoisonError};

use md5::{Digest, Md5};

use crate::draw::Draw;
use crate::nationality::Nationality;
use crate::query::Query;

/// Which nationality a user gets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Choice {
    /// One of these with equal chances.
    OneOf(Vec<Nationality>),
    /// Always this one.
    Always(Nationality),
}

/// What a seed stands for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Resolved {
    /// The text that users are drawn from.
    pub(crate) text: String,
    pub(crate) choice: Choice,
    /// What `info.seed` says.
    pub(crate) shown: String,
}

/// Resolves the seed of a request; `None` where the real server throws and never answers: an 18-character seed
/// whose last two characters are no index of a nationality.
pub(crate) fn resolve(query: &Query, seed: &str) -> Option<Resolved> {
    let fixed = if seed.encode_utf16().count() == 18 {
        Some(nationality_of(seed)?)
    } else if query.lego {
        Some(Nationality::Lego)
    } else {
        None
    };
    let mut text = match fixed {
        Some(nationality) if nationality != Nationality::Lego => seed.chars().take(16).collect(),
        _ => seed.to_owned(),
    };
    // Page 1 adds nothing, so seed=ab&page=12 is seed=ab1&page=2.
    if query.page != 1.0 {
        text.push_str(&query.page.to_string());
    }
    let shown = match fixed {
        None => seed.to_owned(),
        // The position of LEGO in the list of nationalities is -1.
        Some(Nationality::Lego) => format!("{seed}-1"),
        Some(nationality) => format!("{seed}{:02x}", nationality as usize),
    };
    let choice = match fixed {
        Some(nationality) => Choice::Always(nationality),
        None if query.nationalities.is_empty() => Choice::OneOf(Nationality::REAL.to_vec()),
        None => Choice::OneOf(query.nationalities.clone()),
    };
    Some(Resolved { text, choice, shown })
}

/// The nationality that the last two characters name, read like JavaScript's `parseInt(…, 16)`: up to the first
/// character that is no hexadecimal digit.
fn nationality_of(seed: &str) -> Option<Nationality> {
    let start = seed.char_indices().rev().nth(1).map_or(0, |(position, _)| position);
    let tail = seed[start..].trim_start();
    let digits = tail.find(|letter: char| !letter.is_ascii_hexdigit()).map_or(tail, |end| &tail[..end]);
    Nationality::REAL.get(usize::from_str_radix(digits, 16).ok()?).copied()
}

/// The seeds of requests without one.
///
/// As on the real server each follows from the one before through 32 bits, so that a long series repeats itself
/// after some ten thousand to a hundred thousand requests.
pub(crate) struct SeedChain(Mutex<u32>);

impl SeedChain {
    pub(crate) fn starting_at(state: u32) -> Self {
        Self(Mutex::new(state))
    }

    /// 16 hexadecimal digits.
    pub(crate) fn next_seed(&self) -> String {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut draw = Draw::from_number(u64::from(*state));
        let seed: String = (0..16).map(|_| char::from(*draw.pick(b"abcdef1234567890"))).collect();
        let digest: [u8; 16] = Md5::digest(seed.as_bytes()).into();
        *state = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        seed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(seed: &str, more: &[(&str, &str)]) -> Option<Resolved> {
        let pairs: Vec<_> = more.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        resolve(&Query::parse(&pairs), seed)
    }

    #[test]
    fn seed_and_page_are_glued() {
        let text = |seed, page| resolved(seed, &[("page", page)]).unwrap().text;
        assert_eq!(text("ab", "1"), "ab");
        assert_eq!(text("ab", "12"), text("ab1", "2"));
    }

    #[test]
    fn eighteen_characters_choose_the_nationality() {
        let found = resolved("0123456789abcdef14", &[("nat", "gb"), ("page", "2")]).unwrap();
        assert_eq!(found.choice, Choice::Always(Nationality::Us));
        assert_eq!(
            (found.text.as_str(), found.shown.as_str()),
            ("0123456789abcdef2", "0123456789abcdef1414")
        );
        assert_eq!(resolved("0123456789abcdef15", &[]), None, "there are 0x15 nationalities, counted from 0");
        assert_eq!(resolved("0123456789abcdefgg", &[]), None);
        let lax = resolved("0123456789abcdef4z", &[]).unwrap();
        assert_eq!(
            (lax.choice, lax.shown.as_str()),
            (Choice::Always(Nationality::De), "0123456789abcdef4z04")
        );
    }

    #[test]
    fn lego_is_no_nationality() {
        let found = resolved("golf", &[("lego", "")]).unwrap();
        assert_eq!((found.choice, found.shown.as_str()), (Choice::Always(Nationality::Lego), "golf-1"));
    }

    #[test]
    fn invented_seeds_repeat_after_a_while() {
        let chain = SeedChain::starting_at(1);
        let mut seen = std::collections::HashSet::new();
        let before_repeat = (0..2_000_000).find(|_| !seen.insert(chain.next_seed()));
        assert!(before_repeat.is_some_and(|count| count > 1_000), "{before_repeat:?}");
    }
}
