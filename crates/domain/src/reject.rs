//! Why the transform refused a record.

/// The closed set of reasons, as in the dead letter's `dlq.error.kind` and in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RejectKind {
    /// A column that the transform can't do without is null.
    MissingField,
    /// `id` is not a UUID in its usual form.
    InvalidId,
    /// `__op` is none of c, u, d and r.
    InvalidOperation,
    /// `nat` is not two upper-case letters.
    InvalidCountry,
    /// `email` has not one `@` between two texts without white space.
    InvalidEmail,
    /// `phone` or `cell` has no digit or more than a telephone number may have.
    InvalidPhone,
    /// A coordinate is no number of degrees on Earth.
    InvalidCoordinates,
    /// A date is beyond what a living person may have.
    ImplausibleDate,
    /// `registered_at` is earlier than `date_of_birth`.
    RegisteredBeforeBirth,
}

impl RejectKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::MissingField,
        Self::InvalidId,
        Self::InvalidOperation,
        Self::InvalidCountry,
        Self::InvalidEmail,
        Self::InvalidPhone,
        Self::InvalidCoordinates,
        Self::ImplausibleDate,
        Self::RegisteredBeforeBirth,
    ];

    /// The kind in `snake_case`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingField => "missing_field",
            Self::InvalidId => "invalid_id",
            Self::InvalidOperation => "invalid_operation",
            Self::InvalidCountry => "invalid_country",
            Self::InvalidEmail => "invalid_email",
            Self::InvalidPhone => "invalid_phone",
            Self::InvalidCoordinates => "invalid_coordinates",
            Self::ImplausibleDate => "implausible_date",
            Self::RegisteredBeforeBirth => "registered_before_birth",
        }
    }
}

/// A record that breaks a rule. The message names the field and the rule, and never quotes personal data: it ends
/// up in headers and on screens, while the record itself stays whole in the dead letter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Reject {
    /// Which rule.
    pub kind: RejectKind,
    /// For people.
    pub message: String,
}

impl Reject {
    pub(crate) fn new(kind: RejectKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}
