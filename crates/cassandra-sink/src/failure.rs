//! Why a write failed, and what is done about it.

use scylla::errors::{BadQuery, DbError, ExecutionError, RequestAttemptError};

/// Kind of a failed write, a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No connection to a node that could take it, or the connection broke.
    Unreachable,
    /// No answer in time, from the coordinator or from enough replicas.
    TimedOut,
    /// Too few replicas are alive.
    Unavailable,
    /// A node has too much to do or is still starting.
    Overloaded,
    /// Replicas or the coordinator failed inside.
    Internal,
    /// The role may not write.
    Unauthorized,
    /// The statement does not fit the table, or the values do not fit the statement.
    Invalid,
    /// A value can't be bound to its column.
    InvalidValue,
    /// The row is too large for the protocol.
    TooLarge,
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Try again for as long as it takes.
    Retry,
    /// Try again if the table is not what it was when the statement was prepared, otherwise give the record up.
    CheckTable,
    /// Give the record up: it fails whenever it is tried.
    GiveUp,
}

impl Failure {
    /// Every kind, for metrics.
    pub const ALL: [Self; 9] = [
        Self::Unreachable,
        Self::TimedOut,
        Self::Unavailable,
        Self::Overloaded,
        Self::Internal,
        Self::Unauthorized,
        Self::Invalid,
        Self::InvalidValue,
        Self::TooLarge,
    ];

    /// What is done about it.
    #[must_use]
    pub const fn policy(self) -> Policy {
        match self {
            Self::Unreachable
            | Self::TimedOut
            | Self::Unavailable
            | Self::Overloaded
            | Self::Internal
            | Self::Unauthorized => Policy::Retry,
            Self::Invalid => Policy::CheckTable,
            Self::InvalidValue | Self::TooLarge => Policy::GiveUp,
        }
    }

    /// In `snake_case`, as in metrics and, of those that are given up, in `dlq.error.kind`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Unavailable => "unavailable",
            Self::Overloaded => "overloaded",
            Self::Internal => "internal",
            Self::Unauthorized => "unauthorized",
            Self::Invalid => "refused",
            Self::InvalidValue => "invalid_value",
            Self::TooLarge => "too_large",
        }
    }

    /// What the service says it waits for.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Unreachable => "no node can be reached",
            Self::TimedOut => "writes are not answered in time",
            Self::Unavailable => "too few replicas are alive for the consistency",
            Self::Overloaded => "the nodes are overloaded or starting",
            Self::Internal => "the nodes fail to write",
            Self::Unauthorized => "the role may not write to the tables; grant it MODIFY",
            Self::Invalid => "the nodes do not agree on the tables yet",
            Self::InvalidValue | Self::TooLarge => "",
        }
    }
}

/// Sorts the driver's error. Its enums are open, so what is new in one counts as internal: it is retried.
impl From<&ExecutionError> for Failure {
    fn from(error: &ExecutionError) -> Self {
        match error {
            ExecutionError::BadQuery(BadQuery::SerializationError(_)) => Self::InvalidValue,
            ExecutionError::BadQuery(BadQuery::ValuesTooLongForKey(..)) => Self::TooLarge,
            ExecutionError::BadQuery(_) => Self::Invalid,
            ExecutionError::EmptyPlan | ExecutionError::ConnectionPoolError(_) => Self::Unreachable,
            ExecutionError::RequestTimeout(_) => Self::TimedOut,
            ExecutionError::LastAttemptError(attempt) => attempt.into(),
            _ => Self::Internal,
        }
    }
}

impl From<&RequestAttemptError> for Failure {
    fn from(error: &RequestAttemptError) -> Self {
        match error {
            RequestAttemptError::SerializationError(_) => Self::InvalidValue,
            RequestAttemptError::CqlRequestSerialization(_) => Self::TooLarge,
            RequestAttemptError::UnableToAllocStreamId => Self::Overloaded,
            RequestAttemptError::BrokenConnectionError(_) => Self::Unreachable,
            RequestAttemptError::DbError(error, _) => error.into(),
            _ => Self::Internal,
        }
    }
}

impl From<&DbError> for Failure {
    fn from(error: &DbError) -> Self {
        match error {
            DbError::Unavailable { .. } => Self::Unavailable,
            DbError::Overloaded | DbError::IsBootstrapping | DbError::RateLimitReached { .. } => {
                Self::Overloaded
            }
            DbError::WriteTimeout { .. } | DbError::ReadTimeout { .. } => Self::TimedOut,
            DbError::AuthenticationError | DbError::Unauthorized => Self::Unauthorized,
            DbError::Invalid
            | DbError::SyntaxError
            | DbError::ConfigError
            | DbError::AlreadyExists { .. }
            | DbError::FunctionFailure { .. } => Self::Invalid,
            _ => Self::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn answered(error: DbError) -> ExecutionError {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, "words of the node".to_owned()))
    }

    #[test]
    fn what_may_pass_is_retried_and_what_cannot_is_given_up() {
        for (error, failure, policy) in [
            (ExecutionError::EmptyPlan, Failure::Unreachable, Policy::Retry),
            (ExecutionError::RequestTimeout(Duration::from_secs(1)), Failure::TimedOut, Policy::Retry),
            (answered(DbError::Overloaded), Failure::Overloaded, Policy::Retry),
            (answered(DbError::ServerError), Failure::Internal, Policy::Retry),
            (answered(DbError::Unauthorized), Failure::Unauthorized, Policy::Retry),
            (answered(DbError::Invalid), Failure::Invalid, Policy::CheckTable),
            (
                ExecutionError::BadQuery(BadQuery::ValuesTooLongForKey(70_000, 65_535)),
                Failure::TooLarge,
                Policy::GiveUp,
            ),
        ] {
            assert_eq!(Failure::from(&error), failure, "{error}");
            assert_eq!(failure.policy(), policy, "{error}");
        }
    }
}
