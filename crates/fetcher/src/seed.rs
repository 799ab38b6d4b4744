//! The API's `seed` of a run.
//!
//! The API glues seed and page number together as text, so seed `ab` with page 12 is seed `ab1` with page 2:
//! a seed must not end in a digit. It also reads a nationality out of the last two characters of a seed of
//! exactly 18. A seed that avoids both makes page N of a run the same users on every try.

use sha2::{Digest as _, Sha256};

/// The length, in UTF-16 units, that the API gives a meaning of its own.
const RESERVED_LENGTH: usize = 18;
/// Hexadecimal digits taken from the hash: 96 bits, so that two runs do not share their users.
const HASH_DIGITS: usize = 24;

/// The seed of a run that was asked for without one: 30 characters, the same for the same run id.
#[must_use]
pub fn for_run(run_id: &str) -> String {
    let mut hash: String =
        Sha256::digest(run_id.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    hash.truncate(HASH_DIGITS);
    format!("run-{hash}-s")
}

/// A given seed as it is sent: itself if the API takes it as it stands, else with a suffix that makes it safe.
#[must_use]
pub fn safe(given: &str) -> String {
    let suffixes = ["", "-s", "-seed"];
    let candidates = suffixes.map(|suffix| format!("{given}{suffix}"));
    let [_, _, last] = &candidates;
    candidates.iter().find(|seed| is_safe(seed)).unwrap_or(last).clone()
}

fn is_safe(seed: &str) -> bool {
    !seed.is_empty()
        && !seed.ends_with(|last: char| last.is_ascii_digit())
        && seed.encode_utf16().count() != RESERVED_LENGTH
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_seeds() {
        assert_eq!(
            for_run("manual__2025-01-01T00:00:00+00:00"),
            for_run("manual__2025-01-01T00:00:00+00:00")
        );
        assert_eq!(for_run("a").len(), 30);
        assert_eq!(safe("alpha"), "alpha");
        assert_eq!(safe("q1"), "q1-s");
        assert_eq!(safe("aaaaaaaaaaaaaaaa0f"), "aaaaaaaaaaaaaaaa0f-s");
        assert_eq!(safe("aaaaaaaaaaaaaaa1"), "aaaaaaaaaaaaaaa1-seed", "16 characters and -s would be 18");
    }

    proptest! {
        #[test]
        fn every_run_has_a_safe_seed_of_its_own(one in "\\PC{1,250}", other in "\\PC{1,250}") {
            prop_assert!(is_safe(&for_run(&one)));
            prop_assert_eq!(for_run(&one).len(), 30);
            prop_assert_eq!(one == other, for_run(&one) == for_run(&other));
        }

        #[test]
        fn a_given_seed_becomes_safe_and_stays(given in "[ -~]{1,100}") {
            let seed = safe(&given);
            prop_assert!(is_safe(&seed), "{}", seed);
            prop_assert!(seed.starts_with(&given));
            prop_assert_eq!(safe(&seed), seed);
        }

        #[test]
        fn seed_and_page_can_be_told_apart(one in "[ -~]{1,40}", other in "[ -~]{1,40}", p in 2..10_000_u32, q in 2..10_000_u32) {
            let (one, other) = (safe(&one), safe(&other));
            prop_assert_eq!(format!("{one}{p}") == format!("{other}{q}"), (&one, p) == (&other, q));
        }
    }
}
