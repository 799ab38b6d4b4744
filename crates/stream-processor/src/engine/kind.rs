//! The closed set of reasons for a dead letter.

use domain::RejectKind;

/// Why a record is a dead letter: it is no user, or one that breaks a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No key.
    MissingKey,
    /// The key is another user's.
    KeyMismatch,
    /// Not in the wire format of the Schema Registry.
    NotAvro,
    /// The registry answers that there is no such schema.
    UnknownSchema,
    /// The registry's schema is not one.
    UnusableSchema,
    /// The value was not written with its schema, or the schema is not that of a user.
    Undecodable,
    /// A rule of the transform is broken.
    Rejected(RejectKind),
    /// The result is larger than a record may be.
    TooLarge,
}

impl Kind {
    /// The reason in `snake_case`, as in `dlq.error.kind` and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingKey => "missing_key",
            Self::KeyMismatch => "key_mismatch",
            Self::NotAvro => "not_avro",
            Self::UnknownSchema => "unknown_schema",
            Self::UnusableSchema => "unusable_schema",
            Self::Undecodable => "undecodable",
            Self::Rejected(reject) => reject.as_str(),
            Self::TooLarge => "too_large",
        }
    }
}
