//! What the transform shows of a person's data: a rule per field.
//!
//! - `keep`: the value as it is.
//! - `mask`: only its kind shows: `***` for a text, `***@domain` for an email address, `***` and the last two digits
//!   for a telephone number, one decimal (about 11 km) for a coordinate, 1 January of its year for the date of birth,
//!   null for a picture's URL.
//! - `hmac`: a pseudonym: the first 128 bits of HMAC-SHA256 (RFC 2104) in lower-case hex, of the field's name, a zero
//!   byte and the value. Equal values of a field stay equal, so that they can be counted and joined; without the key
//!   they can't be found by trying. Texts only.
//!
//! A field derived from others never shows more than they do: `full_name`, `address`, `age` and `age_band` are made
//! from the treated values. The `email` is taken to hold the name, so it gets the strictest of its own rule and those
//! of `first_name` and `last_name`; `email_domain` is null where the email is a pseudonym. Empty values stay empty.
//! The identity (`id`, `run_id`, country and `registered_at`) can't be treated: it is the tables' key.

use std::borrow::Cow;
use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// Fewest bytes of a key; RFC 2104 advises against keys shorter than the hash, half of it is what a pseudonym has.
pub const MIN_KEY_BYTES: usize = 16;

/// Bytes of the HMAC that a pseudonym keeps.
const PSEUDONYM_BYTES: usize = 16;

const MASK: &str = "***";

/// Rule of a text, from the most open to the strictest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TextRule {
    /// The value as it is.
    #[default]
    Keep,
    /// Only its kind.
    Mask,
    /// A keyed pseudonym.
    Hmac,
}

/// Rule of a number or a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NumberRule {
    /// The value as it is.
    #[default]
    Keep,
    /// Coarser.
    Mask,
}

/// A rule per field; what is not named is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "named as the fields of users.processed")]
pub struct Rules {
    pub gender: TextRule,
    pub title: TextRule,
    pub first_name: TextRule,
    pub last_name: TextRule,
    pub email: TextRule,
    pub username: TextRule,
    pub phone: TextRule,
    pub cell: TextRule,
    pub street: TextRule,
    pub city: TextRule,
    pub state: TextRule,
    pub postcode: TextRule,
    pub document_value: TextRule,
    /// All three sizes.
    pub picture: TextRule,
    pub latitude: NumberRule,
    pub longitude: NumberRule,
    pub date_of_birth: NumberRule,
}

impl Rules {
    fn texts(&self) -> [TextRule; 14] {
        [
            self.gender,
            self.title,
            self.first_name,
            self.last_name,
            self.email,
            self.username,
            self.phone,
            self.cell,
            self.street,
            self.city,
            self.state,
            self.postcode,
            self.document_value,
            self.picture,
        ]
    }
}

/// Rules that can't be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PiiError {
    /// A field has the rule `hmac` and there is no key.
    #[error(
        "a field is to be replaced by its HMAC, and there is no key; set one of {MIN_KEY_BYTES} bytes or more"
    )]
    NoKey,
    /// The key is too short to withstand trying.
    #[error("the HMAC key has {0} bytes; {MIN_KEY_BYTES} or more are needed")]
    ShortKey(usize),
}

/// Rules with the key they need.
#[derive(Clone)]
pub struct PiiPolicy {
    pub(crate) rules: Rules,
    mac: Option<Hmac<Sha256>>,
}

impl std::fmt::Debug for PiiPolicy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PiiPolicy").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl PiiPolicy {
    /// Everything is kept.
    #[must_use]
    pub fn keep_all() -> Self {
        Self { rules: Rules::default(), mac: None }
    }

    /// The rules with the key for `hmac`; a key that no rule needs is checked all the same.
    ///
    /// # Errors
    /// A rule needs a key and there is none, or the key is too short.
    pub fn new(rules: Rules, key: Option<&[u8]>) -> Result<Self, PiiError> {
        let mac = match key {
            Some(key) if key.len() < MIN_KEY_BYTES => return Err(PiiError::ShortKey(key.len())),
            // HMAC takes keys of any length.
            Some(key) => Hmac::new_from_slice(key).ok(),
            None => None,
        };
        if mac.is_none() && rules.texts().contains(&TextRule::Hmac) {
            return Err(PiiError::NoKey);
        }
        Ok(Self { rules, mac })
    }

    /// The strictest rule of the email and the names that it is taken to hold.
    pub(crate) fn email_rule(&self) -> TextRule {
        self.rules.email.max(self.rules.first_name).max(self.rules.last_name)
    }

    pub(crate) fn text<'a>(&self, rule: TextRule, field: &str, value: Cow<'a, str>) -> Cow<'a, str> {
        self.treat(rule, field, value, |_| MASK.into())
    }

    pub(crate) fn email<'a>(&self, value: &'a str, domain: &str) -> Cow<'a, str> {
        self.treat(self.email_rule(), "email", value.into(), |_| format!("{MASK}@{domain}").into())
    }

    pub(crate) fn phone<'a>(&self, rule: TextRule, field: &str, value: Cow<'a, str>) -> Cow<'a, str> {
        self.treat(rule, field, value, |number| {
            let last = number.get(number.len().saturating_sub(2)..).unwrap_or_default();
            format!("{MASK}{last}").into()
        })
    }

    pub(crate) fn picture<'a>(&self, field: &str, url: Cow<'a, str>) -> Option<Cow<'a, str>> {
        match self.rules.picture {
            TextRule::Mask => None,
            rule @ (TextRule::Keep | TextRule::Hmac) => Some(self.text(rule, field, url)),
        }
    }

    fn treat<'a>(
        &self,
        rule: TextRule,
        field: &str,
        value: Cow<'a, str>,
        mask: impl FnOnce(&str) -> Cow<'a, str>,
    ) -> Cow<'a, str> {
        match rule {
            _ if value.is_empty() => value,
            TextRule::Keep => value,
            TextRule::Mask => mask(&value),
            TextRule::Hmac => Cow::Owned(self.pseudonym(field, &value)),
        }
    }

    fn pseudonym(&self, field: &str, value: &str) -> String {
        // `new` refuses the rule without a key; should the two ever disagree, the value must not show.
        let Some(mut mac) = self.mac.clone() else {
            return MASK.to_owned();
        };
        mac.update(field.as_bytes());
        mac.update(&[0]);
        mac.update(value.as_bytes());
        let mut hex = String::with_capacity(2 * PSEUDONYM_BYTES);
        for byte in mac.finalize().into_bytes().iter().take(PSEUDONYM_BYTES) {
            // Writing to a String does not fail.
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }
}
