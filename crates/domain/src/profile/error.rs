//! Why a profile was refused.

use std::fmt;

use super::json::Leaf;

/// The closed set of reasons, as stored in `fetch_rejects.reason` and counted in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Not JSON, or JSON with a key twice.
    MalformedJson,
    /// A field is absent or null.
    MissingField,
    /// A field has another JSON type than the API documents.
    InvalidType,
    /// `login.uuid` is not a UUID.
    InvalidUuid,
    /// Not an RFC 3339 date, or a day that does not exist.
    InvalidDate,
    /// A coordinate is not a number.
    InvalidNumber,
    /// A text that PostgreSQL can't hold.
    InvalidText,
    /// A number, a date or a text's length is beyond its limit.
    OutOfRange,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::MalformedJson,
        Self::MissingField,
        Self::InvalidType,
        Self::InvalidUuid,
        Self::InvalidDate,
        Self::InvalidNumber,
        Self::InvalidText,
        Self::OutOfRange,
    ];

    /// The reason in `snake_case`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MalformedJson => "malformed_json",
            Self::MissingField => "missing_field",
            Self::InvalidType => "invalid_type",
            Self::InvalidUuid => "invalid_uuid",
            Self::InvalidDate => "invalid_date",
            Self::InvalidNumber => "invalid_number",
            Self::InvalidText => "invalid_text",
            Self::OutOfRange => "out_of_range",
        }
    }
}

/// A refused profile: the reason, the field's path and what was found there. Never a login secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {detail}")]
pub struct ProfileError {
    reason: Reason,
    field: &'static str,
    detail: String,
}

impl ProfileError {
    pub(super) const fn new(reason: Reason, field: &'static str, detail: String) -> Self {
        Self { reason, field, detail }
    }

    pub(super) fn missing(field: &'static str) -> Self {
        Self::new(Reason::MissingField, field, "the field is missing or null".to_owned())
    }

    pub(super) fn wrong_type(field: &'static str, expected: &str, found: &Leaf<'_>) -> Self {
        Self::new(Reason::InvalidType, field, format!("expected {expected}, found {found}"))
    }

    pub(super) fn out_of_range(field: &'static str, detail: String) -> Self {
        Self::new(Reason::OutOfRange, field, detail)
    }

    /// The reason as `fetch_rejects.reason` stores it: one of [`Reason`] in `snake_case`.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.reason.as_str()
    }

    /// The field's path in the profile, such as `login.uuid`.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        self.field
    }
}

/// The value in quotes, control characters escaped, cut after 64 characters: messages stay readable.
pub(super) fn quote(value: &str) -> impl fmt::Display {
    const LIMIT: usize = 64;
    match value.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{:?}…", &value[..end]),
        None => format!("{value:?}"),
    }
}
