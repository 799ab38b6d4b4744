//! Damaged profiles: each kind breaks one rule that a careful consumer checks.
//!
//! Which profiles are damaged depends on the plan's seed and the profile's uuid only, so asking again for the
//! same page gives the same damage.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::draw::hash_fraction;

/// What is wrong with a damaged profile. Names in JSON and on the command line are in snake case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Poison {
    /// `login` has no `uuid`.
    MissingUuid,
    /// `login.uuid` is `not-a-uuid`.
    InvalidUuid,
    /// `dob.date` is the 30th of February.
    ImpossibleDate,
    /// `location.postcode` is an object.
    PostcodeObject,
    /// `location.coordinates.latitude` is `abc`.
    LatitudeText,
    /// `location.coordinates.latitude` is `123.4567`.
    LatitudeRange,
    /// The key `name` is absent.
    MissingName,
    /// `email` is null.
    NullEmail,
    /// `gender` is neither `male` nor `female`.
    UnknownGender,
    /// `nat` is `XX`.
    UnknownNationality,
    /// The profile is a string instead of an object.
    NotAnObject,
}

impl Poison {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::MissingUuid,
        Self::InvalidUuid,
        Self::ImpossibleDate,
        Self::PostcodeObject,
        Self::LatitudeText,
        Self::LatitudeRange,
        Self::MissingName,
        Self::NullEmail,
        Self::UnknownGender,
        Self::UnknownNationality,
        Self::NotAnObject,
    ];

    /// The name in JSON, on the command line and in the statistics.
    pub fn name(self) -> &'static str {
        match self {
            Self::MissingUuid => "missing_uuid",
            Self::InvalidUuid => "invalid_uuid",
            Self::ImpossibleDate => "impossible_date",
            Self::PostcodeObject => "postcode_object",
            Self::LatitudeText => "latitude_text",
            Self::LatitudeRange => "latitude_range",
            Self::MissingName => "missing_name",
            Self::NullEmail => "null_email",
            Self::UnknownGender => "unknown_gender",
            Self::UnknownNationality => "unknown_nationality",
            Self::NotAnObject => "not_an_object",
        }
    }
}

impl fmt::Display for Poison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The probabilities in force, for one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct PoisonPlan {
    pub(crate) seed: u64,
    pub(crate) probabilities: BTreeMap<Poison, f64>,
}

impl PoisonPlan {
    /// The damage of the profile with this uuid, if it has any.
    pub(crate) fn of(&self, uuid: u128) -> Option<Poison> {
        if self.probabilities.is_empty() {
            return None;
        }
        choose(&self.probabilities, hash_fraction(self.seed, uuid))
    }
}

/// The kind whose share of the interval 0..1 holds `fraction`.
pub(crate) fn choose<K: Copy>(probabilities: &BTreeMap<K, f64>, fraction: f64) -> Option<K> {
    let mut upper = 0.0;
    probabilities.iter().find_map(|(&kind, &probability)| {
        upper += probability;
        (fraction < upper).then_some(kind)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_json() {
        for kind in Poison::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }
}
