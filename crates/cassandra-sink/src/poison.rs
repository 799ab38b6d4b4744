//! Records that can't be written, whenever they are tried.

use crate::failure::Failure;

/// Why a record is a dead letter, a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Larger than the configuration allows.
    TooLarge,
    /// Not in the wire format of the Schema Registry.
    NotAvro,
    /// The registry answers that there is no such schema.
    UnknownSchema,
    /// The registry's schema is not that of a change, or does not fit the tables.
    UnusableSchema,
    /// The value was not written with its schema.
    Undecodable,
    /// The change metadata says nothing sensible.
    InvalidChange,
    /// A column of a primary key would be null.
    NullKey,
    /// Cassandra, or the driver on its behalf, refuses the row.
    Refused(Failure),
}

/// A record that is a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poison {
    /// For machines.
    pub kind: Kind,
    /// For people; quotes no personal data.
    pub message: String,
}

impl Kind {
    /// In `snake_case`, as in `dlq.error.kind` and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::NotAvro => "not_avro",
            Self::UnknownSchema => "unknown_schema",
            Self::UnusableSchema => "unusable_schema",
            Self::Undecodable => "undecodable",
            Self::InvalidChange => "invalid_change",
            Self::NullKey => "null_key",
            Self::Refused(failure) => failure.as_str(),
        }
    }
}

impl Poison {
    /// With the words of what went wrong.
    #[must_use]
    pub fn new(kind: Kind, message: impl std::fmt::Display) -> Self {
        Self { kind, message: message.to_string() }
    }
}
